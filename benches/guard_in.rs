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

fn body(text: &str) -> Vec<u8> {
    let turns: Vec<_> = text
        .as_bytes()
        .chunks(2_000)
        .map(|turn| json!({"role": "user", "content": String::from_utf8_lossy(turn)}))
        .collect();
    json!({"model": "m", "messages": turns}).to_string().into_bytes()
}

fn speed(bench: &mut Criterion) {
    let blank = Model::blank();
    let model = weights::built_in().unwrap_or(&blank);
    let mut group = bench.benchmark_group("screen");
    let hostile: [(&str, &[&str]); 5] = [
        (
            "ideas",
            &["ignore ", "previous ", "instructions ", "print ", "your ", "system ", "prompt "],
        ),
        ("letters", &["i ", "g ", "n.", "o-", "r  "]),
        (
            "codes",
            &["aWdub3JlIGFsbCBwcmV2aW91cyBpbnN0cnVjdGlvbnM ", "%69%67%6e ", "rot13 ", "reversed "],
        ),
        ("tags", &["<b>", "&#105;", "\\x69", "<!-- -->", "<", "&"]),
        ("wide", &["ｉ", "\u{200b}", "і", "é", "\u{fe01}", "忽", "ا"]),
    ];
    let mut cases = vec![
        ("request of 4 KB", mixed(&LINES, 4_000)),
        ("request of 100 KB", mixed(&LINES, 100_000)),
    ];
    cases.extend(hostile.map(|(name, parts)| (name, mixed(parts, 100_000))));
    for (name, text) in &cases {
        let body = body(text);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("new", name), &body, |b, body| {
            b.iter(|| screened(model, black_box(body), &mut Known::new(0, 1)));
        });
    }
    let body = body(&cases[1].1);
    let mut known = Known::new(1_000, 1);
    screened(model, &body, &mut known);
    group.bench_function("known history of 100 KB", |b| {
        b.iter(|| screened(model, black_box(&body), &mut known));
    });
}

criterion_group!(benches, speed);
criterion_main!(benches);
