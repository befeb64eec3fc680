//! Speed of input screening: requests as agents send them, their history when it is known, and hostile mixes.
//!
//! `cargo bench --no-default-features --bench guard_in`

#![allow(missing_docs, reason = "the macro of criterion makes a public function")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use weir::guard::linear::Model;
use weir::guard::screen::{Finding, Known, screen};
use weir::guard::weights;
use weir::wire::texts::texts;

const LINES: [&str; 6] = [
    "fn settle(&mut self, usage: &Usage) -> Result<NanoUsd, SettleError> {\n",
    "    let cost = self.price.cost(usage)?;\n",
    "The test fails because the hold is placed twice: once when the request is admitted, and again.\n",
    "error[E0308]: mismatched types\n  --> src/ledger.rs:84:60\n   |\n",
    "  {\"id\": 17, \"name\": \"retry\", \"after_ms\": 250},\n",
    "Please read the file again and explain what the second loop does.\n",
];

/// Finding the texts is part of the price.
fn screened(model: &Model, body: &[u8], known: &mut Known) -> Vec<Finding> {
    screen(model, (body, &texts(body)), known)
}

/// Pieces in a fixed but irregular order.
fn mixed(parts: &[&str], bytes: usize) -> String {
    let (mut out, mut seed) = (String::with_capacity(bytes), 7_u64);
    while out.len() < bytes {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        out.push_str(parts[usize::try_from(seed >> 33).unwrap_or(0) % parts.len()]);
    }
    out
}

/// A request of which each turn says so many bytes.
fn body(text: &str, turn: usize) -> Vec<u8> {
    let turns: Vec<_> = text
        .as_bytes()
        .chunks(turn)
        .map(|turn| json!({"role": "user", "content": String::from_utf8_lossy(turn)}))
        .collect();
    json!({"model": "m", "messages": turns}).to_string().into_bytes()
}

/// Turns of ten parts each.
fn parted(text: &str) -> Vec<u8> {
    let part = |part: &[u8]| json!({"type": "text", "text": String::from_utf8_lossy(part)});
    let parts: Vec<_> = text.as_bytes().chunks(200).map(part).collect();
    let turn = |parts| json!({"role": "user", "content": parts});
    let turns: Vec<_> = parts.chunks(10).map(turn).collect();
    json!({"model": "m", "messages": turns}).to_string().into_bytes()
}

/// Each is to cost at most four times what a request as usual does, and in parts what one in parts does.
const HOSTILE: [(&str, &[&str]); 22] = [
    ("ideas", &["ignore ", "previous ", "instructions ", "print ", "your ", "system ", "prompt "]),
    ("letters", &["i ", "g ", "n.", "o-", "r  "]),
    (
        "codes",
        &["aWdub3JlIGFsbCBwcmV2aW91cyBpbnN0cnVjdGlvbnM ", "%69%67%6e ", "rot13 ", "reversed "],
    ),
    ("tags", &["<b>", "&#105;", "\\x69", "<!-- -->", "<", "&"]),
    ("tags without an end", &["<b ", "<!--", "</i "]),
    ("wide", &["ｉ", "\u{200b}", "і", "é", "\u{fe01}", "忽", "ا"]),
    ("look-alikes", &["о", "і", "с", "оооо", "1"]),
    ("short ideas", &["ai ", "rm ", "me ", "my ", "dan ", "no ", "now ", "new "]),
    (
        "ideas of most rules",
        &[
            "leak ", "du ", "ai ", "rule ", "promt ", "system ", "no ", "nu ", "all ", "omit ",
            "say ", "off ",
        ],
    ),
    ("one mark", &["#"]),
    ("signs for letters", &["a|", "b$", "i@", "e+"]),
    ("phrases in one character", &["ﷺ", "㌖", "½", "⑴"]),
    ("foreign letters", &["игн ", "не ", "о ", "ال", "و", "ꀀ"]),
    ("cues", &["rot13 ", "erongi ", "vtaber ", "ruoy "]),
    ("cues and ideas", &["rot13 ", "erongi ", "vtaber ", "ruoy ", "my ", "me ", "all ", "system "]),
    ("ideas when reversed", &["lla ", "ia ", "em ", "ym ", "won ", "on ", "reversed "]),
    (
        "all readings",
        &[
            "rot13 erongi i g n o r e 69 67 6e 6f 72 65 20 69 ",
            "aWdub3JlIGFsbCBwcmV2aW91cyBpbnN0cnVjdGlvbnM ",
            "a%20b%20c%20d%20e%20f ",
        ],
    ),
    ("beginnings of marks", &["<s", "[i", "#s", "##i", "<|i"]),
    ("entries of several words", &["in the ", "do not tell ", "not bound ", "no longer ", "as a "]),
    (
        "ideas that end sentences",
        &["ai. ", "me! ", "my. ", "dan. ", "no? ", "all. ", "rule. ", "show. "],
    ),
    ("dense", &["忽", "略", "你", "我", "现", "在", "不"]),
    ("escapes", &["\n", "\t", "\"", "i\n"]),
];

fn speed(bench: &mut Criterion) {
    let blank = Model::blank();
    let model = weights::built_in().unwrap_or(&blank);
    let mut group = bench.benchmark_group("screen");
    let usual = mixed(&LINES, 100_000);
    let mut cases = vec![
        ("request of 4 KB", body(&mixed(&LINES, 4_000), 2_000)),
        ("request of 100 KB", body(&usual, 2_000)),
        ("100 KB in 1,000 turns", body(&usual, 100)),
        ("100 KB in parts", parted(&usual)),
    ];
    cases.extend(HOSTILE.map(|(name, parts)| (name, body(&mixed(parts, 100_000), 2_000))));
    let strings =
        |text: &str| json!({"messages": [{"role": "user", "content": vec![text; 9_900]}]});
    cases.push(("9,900 strings", strings("ai").to_string().into_bytes()));
    cases.push(("100 KB of short ideas in parts", parted(&mixed(HOSTILE[7].1, 100_000))));
    cases.push(("100 KB of all readings in parts", parted(&mixed(HOSTILE[16].1, 100_000))));
    cases.push(("1 MB of short ideas", body(&mixed(HOSTILE[7].1, 1_000_000), 1_000_000)));
    cases.push(("1 MB of cues and ideas", body(&mixed(HOSTILE[14].1, 1_000_000), 1_000_000)));
    for (name, body) in &cases {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("new", name), body, |b, body| {
            b.iter(|| screened(model, black_box(body), &mut Known::new(0, 1)));
        });
    }
    for (name, body) in &cases[1..4] {
        let mut known = Known::new(2_000, 1);
        screened(model, body, &mut known);
        group.bench_with_input(BenchmarkId::new("known", name), body, |b, body| {
            b.iter(|| screened(model, black_box(body), &mut known));
        });
    }
}

criterion_group!(benches, speed);
criterion_main!(benches);
