//! The cost of reading along: SSE decoding, stream metering, and reading JSON answers.
//!
//! `cargo bench --no-default-features --bench sse`. The goal is 60 ns for a small event and 1 GB/s
//! for large ones; the results stand in the README.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::base::surface::Surface;
use weir::usage::answer::read_answer;
use weir::usage::meter::Meter;
use weir::wire::sse::Decoder;

const HEAD: &str = r#"{"id":"chatcmpl-fx0001","object":"chat.completion.chunk","created":1790000000,"model":"gpt-5.6","service_tier":"default","system_fingerprint":"fp_fixture","choices":["#;
const USAGE: &str = r#""usage":{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,"prompt_tokens_details":{"cached_tokens":1920,"cache_write_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":192,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#;

/// A stream of 200 events as `OpenAI` sends them with `include_usage`.
fn openai_stream() -> Vec<String> {
    let mut events = Vec::new();
    for at in 0..197 {
        let padding = "qwertyuiop".get(..at % 10 + 1).unwrap_or_default();
        events.push(format!(
            "data: {HEAD}{{\"index\":0,\"delta\":{{\"content\":\" token{}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"{padding}\"}}\n\n",
            at % 7
        ));
    }
    events.push(format!("data: {HEAD}{{\"index\":0,\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":null}}\n\n"));
    events.push(format!("data: {HEAD}],{USAGE}}}\n\n"));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// The same with a running usage on every chunk, as vLLM and Gemini send it.
fn continuous_stream() -> Vec<String> {
    openai_stream().into_iter().map(|event| event.replace("\"usage\":null", USAGE)).collect()
}

fn anthropic_stream() -> Vec<String> {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-sonnet-5-5\",\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n";
    let mut events = vec![start.to_owned()];
    for at in 0..197 {
        events.push(format!("event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\" token{}\"}}}}\n\n", at % 7));
    }
    events.push("event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":300}}\n\n".to_owned());
    events.push("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned());
    events
}

fn large_event() -> Vec<u8> {
    let text = "All work and no play makes a \\\"dull\\\" gateway.\\n".repeat(64 * 1024 / 50);
    format!("data: {HEAD}{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null}}\n\n").into_bytes()
}

fn chat_answer() -> Vec<u8> {
    let text = "Blue herons wade slowly. ".repeat(20);
    format!("{HEAD}{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}],{USAGE}}}").into_bytes()
}

fn embeddings_answer() -> Vec<u8> {
    let mut body = String::from(r#"{"object":"list","data":["#);
    for index in 0..55 {
        let separator = if index == 0 { "" } else { "," };
        let _ = write!(body, r#"{separator}{{"object":"embedding","index":{index},"embedding":["#);
        let floats: Vec<String> =
            (0..1536).map(|at| format!("-0.0{:08}", at * 7919 + index)).collect();
        body.push_str(&floats.join(","));
        body.push_str("]}");
    }
    body.push_str(r#"],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}"#);
    body.into_bytes()
}

fn meter(surface: Surface, chunks: &[Vec<u8>]) -> u64 {
    let mut meter = Meter::new(surface);
    let mut events = 0;
    for chunk in chunks {
        meter.feed(black_box(chunk), |_| events += 1);
    }
    black_box(meter.finish(|_| {}));
    events
}

/// One chunk per event, and the same bytes in chunks of 4 KiB.
fn chunkings(events: &[String]) -> [(&'static str, Vec<Vec<u8>>); 2] {
    let single = events.iter().map(|event| event.clone().into_bytes()).collect();
    let joined = events.concat().into_bytes();
    [("per_event", single), ("4k", joined.chunks(4096).map(<[u8]>::to_vec).collect())]
}

fn streams(criterion: &mut Criterion) {
    let streams = [
        ("openai", Surface::Chat, openai_stream()),
        ("anthropic", Surface::Messages, anthropic_stream()),
        ("continuous", Surface::Chat, continuous_stream()),
    ];
    for (name, surface, events) in streams {
        for (how, chunks) in chunkings(&events) {
            let mut group = criterion.benchmark_group("meter");
            group.throughput(Throughput::Elements(events.len() as u64));
            group.bench_function(format!("{name}_{how}"), |bencher| {
                bencher.iter(|| meter(surface, &chunks));
            });
        }
    }
    for (how, chunks) in chunkings(&openai_stream()) {
        let mut group = criterion.benchmark_group("decode");
        group.throughput(Throughput::Elements(200));
        group.bench_function(format!("openai_{how}"), |bencher| {
            bencher.iter(|| {
                let (mut decoder, mut bytes) = (Decoder::new(), 0);
                for chunk in &chunks {
                    decoder.feed(black_box(chunk), |event| bytes += event.data.len());
                }
                bytes
            });
        });
    }
}

fn large(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("large_event");
    let event = large_event();
    group.throughput(Throughput::Bytes(event.len() as u64));
    let in_4k: Vec<Vec<u8>> = event.chunks(4096).map(<[u8]>::to_vec).collect();
    let whole = vec![event];
    let tens =
        |chunks: &[Vec<u8>]| -> Vec<Vec<u8>> { (0..10).flat_map(|_| chunks.to_vec()).collect() };
    let (whole, in_4k) = (tens(&whole), tens(&in_4k));
    group.throughput(Throughput::Bytes(whole.iter().map(|chunk| chunk.len() as u64).sum()));
    group.bench_function("whole", |bencher| bencher.iter(|| meter(Surface::Chat, &whole)));
    group.bench_function("4k", |bencher| bencher.iter(|| meter(Surface::Chat, &in_4k)));
}

fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read_answer");
    let cases = [
        ("chat_1k", Surface::Chat, chat_answer()),
        ("embeddings_1m", Surface::Embeddings, embeddings_answer()),
    ];
    for (name, surface, body) in cases {
        assert!(read_answer(surface, &body).usage.is_some());
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| read_answer(surface, black_box(&body)));
        });
    }
}

criterion_group!(benches, streams, large, answers);
criterion_main!(benches);
