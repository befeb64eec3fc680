//! Speed of the scan and of the splice over bodies such as agents send: tool schemas, source code in
//! strings, many escapes. Beside ours: what a tape (`simd_json`) and a plain check (`serde_json`)
//! of the same body cost.
//!
//! `cargo bench --no-default-features --bench envelope`

#![allow(missing_docs, reason = "the macro of criterion makes a public function")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use weir::base::money::NanoUsd;
use weir::routing::runaway::{Facts, Limits, Tracker};
use weir::wire::envelope::{self, Envelope};
use weir::wire::gist;
use weir::wire::{splice, weigh};

/// Lines of the kind that coding agents carry about.
const LINES: [&str; 12] = [
    "fn settle(&mut self, usage: &Usage) -> Result<NanoUsd, SettleError> {\n",
    "    let cost = self.price.cost(usage)?;\n",
    "\tif cost > self.hold {\n",
    "        warn!(\"cost {} is over the hold {}\", cost, self.hold);\n",
    "    let path = \"C:\\\\agents\\\\run\";\n",
    "    self.book.post(self.id, cost)\n",
    "}\n",
    "\n",
    "The test fails because the hold is placed twice: once when the request is admitted, and again \
     when the first attempt is made. Nothing gives the first one back.\n",
    "  {\"id\": 17, \"name\": \"retry\", \"after_ms\": 250},\n",
    "error[E0308]: mismatched types\n  --> src/ledger.rs:84:60\n   |\n",
    "drwxr-xr-x  2 root root   4096 Nov  3 10:12 target\n",
];

/// Source code, output and prose in a fixed but irregular order: the same text over and over would
/// teach the branch predictor what real bodies do not.
struct Prose(u64);

impl Prose {
    fn lines(&mut self, count: usize) -> String {
        (0..count).map(|_| self.line()).collect()
    }

    fn line(&mut self) -> &'static str {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        LINES[(self.0 >> 33) as usize % LINES.len()]
    }
}

fn tool(n: usize) -> Value {
    json!({"type": "function", "function": {
        "name": format!("edit_file_{n}"),
        "description": "Replaces one piece of text in a file by another. Fails if it is not unique.",
        "strict": true,
        "parameters": {"type": "object", "additionalProperties": false,
            "properties": {
                "path": {"type": "string", "description": "Path of the file"},
                "old": {"type": "string"}, "new": {"type": "string"},
                "line": {"type": ["integer", "null"], "minimum": 1},
                "mode": {"enum": ["first", "all"]}},
            "required": ["path", "old", "new", "line", "mode"]}}})
}

fn turn(n: usize, prose: &mut Prose) -> [Value; 2] {
    let arguments = json!({"path": "src/ledger.rs", "old": prose.lines(8), "line": n}).to_string();
    let result = prose.lines(40);
    [
        json!({"role": "assistant", "content": null, "tool_calls": [{"id": format!("call_{n:08}"),
            "type": "function", "function": {"name": "edit_file_1", "arguments": arguments}}]}),
        json!({"role": "tool", "tool_call_id": format!("call_{n:08}"), "content": result}),
    ]
}

/// A streaming chat request of about that many bytes.
fn agent_body(bytes: usize) -> Vec<u8> {
    let mut prose = Prose(bytes as u64);
    let tools: Vec<_> = (0..(bytes / 2_000).min(24)).map(tool).collect();
    let mut body = json!({"model": "gpt-4o", "stream": true, "max_completion_tokens": 4096,
        "tools": tools, "messages": [
            {"role": "system", "content": "You are a careful engineer.\nAnswer with a patch."},
            {"role": "user", "content": prose.lines(10)}]});
    let mut len = body.to_string().len();
    for n in 0.. {
        let turn = turn(n, &mut prose);
        len += turn.iter().map(|message| message.to_string().len() + 1).sum::<usize>();
        if len > bytes {
            break;
        }
        if let Some(messages) = body["messages"].as_array_mut() {
            messages.extend(turn);
        }
    }
    let missing = bytes.saturating_sub(body.to_string().len());
    body["user"] = "u".repeat(missing.saturating_sub(r#","user":"""#.len())).into();
    body.to_string().into_bytes()
}

/// The same kind of request with text of another kind in it.
fn text_body(text: &str, bytes: usize) -> Vec<u8> {
    let content = text.repeat(bytes / text.len());
    serde_json::to_vec(&json!({"model": "m", "messages": [{"role": "user", "content": content}]}))
        .unwrap_or_default()
}

fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let mebibyte = 1 << 20;
    let pretty: Value = serde_json::from_slice(&agent_body(32 << 10)).unwrap_or_default();
    vec![
        ("1K", agent_body(1 << 10)),
        ("32K", agent_body(32 << 10)),
        ("1M", agent_body(mebibyte)),
        ("1M prose", text_body("Plain words without anything to escape, line by line. ", mebibyte)),
        ("1M accents", text_body("Où est la clé ? Là-bas, près de l’église. ", mebibyte)),
        ("1M chinese", text_body("网关在边缘检查每个请求的预算。", mebibyte)),
        ("1M \\u", with_escapes(&text_body("网关在边缘检查每个请求的预算。", mebibyte / 2))),
        ("32K pretty", serde_json::to_vec_pretty(&pretty).unwrap_or_default()),
    ]
}

/// That text with `\u` escapes for all that is not ASCII, as Python writes JSON by default.
fn with_escapes(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * text.len());
    for unit in String::from_utf8_lossy(text).encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => out.push(byte),
            _ => out.extend_from_slice(format!("\\u{unit:04x}").as_bytes()),
        }
    }
    out
}

fn scans(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    for (name, body) in bodies() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("weir", name), &body, |b, body| {
            b.iter(|| envelope::scan(black_box(body)));
        });
        group.bench_with_input(BenchmarkId::new("copy alone", name), &body, |b, body| {
            b.iter(|| black_box(body).clone());
        });
        group.bench_with_input(
            BenchmarkId::new("copy and simd_json tape", name),
            &body,
            |b, body| {
                b.iter(|| {
                    let mut copy = black_box(body).clone();
                    simd_json::to_tape(&mut copy).map(|tape| tape.0.len())
                });
            },
        );
        group.bench_with_input(BenchmarkId::new("serde_json ignored", name), &body, |b, body| {
            b.iter(|| serde_json::from_slice::<IgnoredAny>(black_box(body)));
        });
        group.bench_with_input(BenchmarkId::new("utf8 alone", name), &body, |b, body| {
            b.iter(|| std::str::from_utf8(black_box(body)).is_ok());
        });
    }
    group.finish();
}

/// The two edits of a usual attempt.
fn usual_edits(envelope: &Envelope, body: &Bytes, model: &Bytes) -> Vec<splice::Edit> {
    let mut edits = vec![splice::set_model(envelope, model)];
    edits.extend(splice::ask_for_usage(envelope, body));
    edits
}

fn splices(c: &mut Criterion) {
    let mut group = c.benchmark_group("splice");
    let model = Bytes::from_static(b"\"anthropic/claude-sonnet-4.6\"");
    for (name, bytes, copied_bytes_max) in [
        ("1K in one piece", 1 << 10, 1 << 14),
        ("32K in one piece", 32 << 10, 1 << 20),
        ("1M in pieces", 1 << 20, 1 << 14),
    ] {
        let body = Bytes::from(agent_body(bytes));
        let Ok(envelope) = envelope::scan(&body) else { return };
        group.bench_function(name, |b| {
            b.iter(|| {
                let edits = usual_edits(&envelope, black_box(&body), &model);
                splice::splice(&body, edits).map(|spliced| spliced.pieces(copied_bytes_max))
            });
        });
    }
    group.finish();
}

/// The weight of a body that was scanned, as every request with a budget needs it.
fn weights(c: &mut Criterion) {
    let mut group = c.benchmark_group("weigh");
    for (name, body) in [
        ("1K", agent_body(1 << 10)),
        ("32K", agent_body(32 << 10)),
        ("32K accents", text_body("Où est la clé ? Là-bas, près de l’église. ", 32 << 10)),
        ("32K chinese", text_body("网关在边缘检查每个请求的预算。", 32 << 10)),
        ("32K \\u", with_escapes(&text_body("网关在边缘检查每个请求的预算。", 16 << 10))),
        ("1M", agent_body(1 << 20)),
        ("1M U+FDFA", text_body("\u{fdfa}", 1 << 20)),
    ] {
        let Ok(envelope) = envelope::scan(&body) else { return };
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| weigh::weigh(black_box(&envelope), black_box(&body)));
        });
    }
    group.finish();
}

/// The hash of a conversation and the search for its last tool call.
fn gists(c: &mut Criterion) {
    let mut group = c.benchmark_group("gist");
    for (name, bytes) in [("1K", 1 << 10), ("32K", 32 << 10), ("1M", 1 << 20)] {
        let body = agent_body(bytes);
        let Ok(envelope) = envelope::scan(&body) else { return };
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| b.iter(|| gist::gist(&envelope, black_box(&body))));
    }
    group.finish();
}

/// A request of an agent that never repeats itself, so that the tables are always full.
fn runaways(c: &mut Criterion) {
    let limits = Limits {
        same_request_max: Some(5),
        same_tool_call_max: Some(5),
        window_seconds: 300,
        spend_per_minute: Some(NanoUsd(1_000_000)),
        turns_per_session_max: Some(100),
    };
    let mut tracker = Tracker::default();
    let mut n = 0_u64;
    c.bench_function("runaway", |b| {
        b.iter(|| {
            n = n.wrapping_add(1);
            let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let facts = Facts {
                request_hash: hash,
                tool_call_hash: Some(!hash),
                session_hash: Some(hash % 64),
            };
            tracker.request(&limits, black_box(&facts), n / 10)
        });
    });
}

criterion_group!(benches, scans, weights, splices, gists, runaways);
criterion_main!(benches);
