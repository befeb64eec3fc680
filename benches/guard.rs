//! The cost of the output filter: whole texts, deltas of four characters and of one, texts made to be slow, and
//! the same as arguments of calls.
//!
//! `cargo bench --no-default-features --bench guard`. The goals: 4 KB and 100 KB in proportion, a delta within a
//! microsecond, hostile text at most four times as slow as normal text.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::guard::canary::{Canary, Token};
use weir::guard::detect::policy::Policy;
use weir::guard::filter::Filter;
use weir::guard::json_inner::Form;
use weir::guard::json_text::JsonText;

const PROSE: &str = "The gateway keeps 3 accounts per team, and \"agents\" may call `read_file` (see README.md, line 42). \
    On 2026-11-21 at 10:20:50 request call_H5ACCA6f9U3JLaXDSBY3Vpkh cost 0.0123 USD; the password was not asked for.\n";

/// A small generator: the same text in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % sides
    }
}

fn mix(parts: &[&str], bytes: usize) -> String {
    let (mut dice, mut text) = (Dice(0x9E37_79B9_7F4A_7C15), String::new());
    while text.len() < bytes {
        text.push_str(parts[dice.roll(parts.len())]);
    }
    text
}

fn texts() -> Vec<(&'static str, String)> {
    let letters: Vec<String> = (b'0'..=b'z')
        .filter(u8::is_ascii_alphanumeric)
        .map(|b| char::from(b).to_string())
        .collect();
    let mut noise: Vec<&str> = letters.iter().map(String::as_str).collect();
    noise.extend(["+", "/", "=", "\n"]);
    let prefixes = [
        "sk-",
        "sk-ant-",
        "ghp_",
        "gsk_",
        "xai-",
        "AKIA",
        "AIza",
        "eyJ",
        "SG.",
        "xoxb-",
        "glpat-",
        "hf_",
        "-----BEGIN ",
        "password",
        "=",
        ": \"",
        "a1B2",
        "Z9",
        "postgres://",
        "DE89",
        " ",
    ];
    let mut texts = vec![
        ("normal", PROSE.repeat(102_400 / PROSE.len())),
        ("fragments", mix(&["sk-", "-", "sk-ant-"], 102_400)),
        ("prefixes", mix(&prefixes, 102_400)),
        ("noise", mix(&noise, 102_400)),
        ("digits", mix(&["1", "42", "4111", "-", " ", ".", "219-09-", "5"], 102_400)),
        ("headers", mix(&["-----BEGIN RSA PRIVATE KEY-----"], 102_400)),
        ("keys_without_end", mix(&HEADERS, 102_400)),
        ("long_numbers", mix(&["1", "42", "4111", "7", "90"], 102_400)),
        ("almost_cards", mix(&ALMOST_CARDS, 102_400)),
        ("almost_jwts", mix(&ALMOST_JWTS, 102_400)),
        (
            "jwts_of_examples",
            EXAMPLE_JWT.map(|(part, times)| part.repeat(times)).concat().repeat(9),
        ),
        ("keys_of_examples", ("-sk-ant-".repeat(25) + "example ").repeat(480)),
        ("names", mix(&["password", "api_key", "=", ": ", "\"", " ", "a1B2c3D4", "\\"], 102_400)),
    ];
    texts.extend(ROWS.map(|(name, row)| {
        let unit = row.map(|(part, times)| part.repeat(times)).concat();
        (name, unit.repeat(102_400 / unit.len()))
    }));
    texts
}

/// What a search among hostile shapes found to be slowest, as rows of parts with how often each comes.
const ROWS: [(&str, [(&str, usize); 3]); 7] = [
    ("urls", [("redis://", 120), ("xoxb-fw_fw_fw_fw_fw_fw_", 1), ("exampleexample", 1)]),
    ("projects", [("sk-proj-", 20), ("88", 1), ("=FK", 1)]),
    ("almost_ibans", [("GB82 WEST ", 1), ("", 1), ("", 1)]),
    ("almost_google_keys", [("-AIza", 1), ("", 1), ("", 1)]),
    ("names_in_quotes", [("db_password=\"", 1), ("", 1), ("", 1)]),
    ("keys_of_fillers", [("-sk-ant-", 25), ("aaaaaa", 1), (" ", 1)]),
    ("nothing_but_keys", [(" glrt-", 1), ("q7Zk2Vb9Lx4Wm8Rt3Ny6", 1), ("", 1)]),
];

/// Private keys that begin and never end.
const HEADERS: [&str; 5] = [
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\n",
    "MIIEowIBAAKCAQEAq7Zk2Vb9Lx4Wm8Rt3Ny6Hc5J\n",
    "-----",
    "-",
];
/// Cards whose last digit is wrong, or missing.
const ALMOST_CARDS: [&str; 6] = [
    "4111 1111 1111 1112 ",
    "4111-1111-1111-111",
    "5500005555555558 ",
    "378282246310004,",
    "6011 1111 1111 1118\n",
    "4111 ",
];
/// A token with a thousand beginnings whose last word says that it is none.
const EXAMPLE_JWT: [(&str, usize); 6] =
    [("-eyJ", 1_000), (".ey", 1), ("q7Zk2Vb9", 900), (".", 1), ("a1B2c3D4example", 8), (" ", 1)];
/// Tokens of three parts of which one is missing.
const ALMOST_JWTS: [&str; 5] = ["eyJhbGciOiJIUzI1", ".eyJzdWIiOiIx", ".", "eyJ", "Q7Zk2Vb9"];

fn filtered(policy: &Arc<Policy>, text: &str, size: usize, out: &mut Vec<u8>) {
    out.clear();
    let mut filter = Filter::new(Arc::clone(policy));
    for piece in text.as_bytes().chunks(size) {
        filter.feed(black_box(piece), out);
    }
    filter.finish(out);
}

fn whole(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filter");
    let (policy, mut out) = (Arc::new(Policy::default()), Vec::new());
    for (name, text) in texts() {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{name}_100k"), |bencher| {
            bencher.iter(|| filtered(&policy, &text, text.len(), &mut out));
        });
    }
    let small = PROSE.repeat(4_096 / PROSE.len());
    group.throughput(Throughput::Bytes(small.len() as u64));
    group.bench_function("normal_4k", |bencher| {
        bencher.iter(|| filtered(&policy, &small, small.len(), &mut out));
    });
}

fn deltas(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deltas");
    let (policy, mut out) = (Arc::new(Policy::default()), Vec::new());
    for (name, text) in texts() {
        group.throughput(Throughput::Elements(text.len() as u64 / 4));
        group.bench_function(name, |bencher| {
            bencher.iter(|| filtered(&policy, &text, 4, &mut out));
        });
    }
}

/// The worst cut: every byte by itself.
fn bytes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bytes");
    let (policy, mut out) = (Arc::new(Policy::default()), Vec::new());
    for (name, text) in texts() {
        group.throughput(Throughput::Elements(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| filtered(&policy, &text, 1, &mut out));
        });
    }
}

/// The texts as a string in the arguments of a call, which stand in a string themselves: backslashes and quotes
/// have escapes of escapes.
fn arguments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("arguments");
    let (policy, mut out) = (Arc::new(Policy::default()), Vec::new());
    let escaped = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    let mut all = texts();
    all.push(("escapes", "\u{1}".repeat(102_400 / 7)));
    for (name, text) in all {
        let inner = escaped(&text).replace('\u{1}', r"\u0001");
        let written = escaped(&format!("{{\"c\":\"{inner}\"}}"));
        group.throughput(Throughput::Bytes(written.len() as u64));
        group.bench_function(format!("{name}_100k"), |bencher| {
            bencher.iter(|| {
                out.clear();
                let mut args = JsonText::new(Arc::clone(&policy), Form::Wrapped);
                args.feed(black_box(written.as_bytes()), &mut out);
                args.finish(&mut out);
            });
        });
    }
}

fn canary(criterion: &mut Criterion) {
    let Some(token) = Token::derive(b"secret", ("tenant", "session"), 1) else { return };
    let text = PROSE.repeat(102_400 / PROSE.len());
    let mut group = criterion.benchmark_group("canary");
    group.throughput(Throughput::Elements(text.len() as u64 / 4));
    group.bench_function("deltas", |bencher| {
        bencher.iter(|| {
            let mut canary = Canary::new(&token);
            text.as_bytes().chunks(4).any(|piece| canary.feed(black_box(piece)))
        });
    });
}

criterion_group!(benches, whole, deltas, bytes, arguments, canary);
criterion_main!(benches);
