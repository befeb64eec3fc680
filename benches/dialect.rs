//! The cost of translation: requests of 100 KB, whole answers, and streams per event.
//!
//! `cargo bench --no-default-features --bench dialect`. The goals are 500 MB/s for a request and 1.5 us of
//! CPU for an event; the results stand in the README.

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::base::surface::Surface;
use weir::dialect::canonical::style::{Memory, Style, Target};
use weir::dialect::translate::Passage;

const SURFACES: [(&str, Surface); 3] =
    [("chat", Surface::Chat), ("messages", Surface::Messages), ("responses", Surface::Responses)];
const EVENTS: usize = 200;
const TARGET: Target = Target {
    output_cap_field: "max_tokens",
    output_cap_default: 4096,
    keeps_cache_marks: false,
    ask_usage: true,
};
/// What an agent's turn looks like: prose with quotes, code with escapes.
const TEXT: &str = r#"Please read \"src/main.rs\" and tell me why it fails.\nfn main() {\n    println!(\"caf\u00e9 {}\", 1);\n}\n"#;

/// A conversation of about 100 KB with tools, calls and results.
fn request(surface: Surface) -> Vec<u8> {
    let text = TEXT.repeat(10);
    let schema = r#"{"type":"object","properties":{"path":{"type":"string","description":"A path"}},"required":["path"]}"#;
    let (mut items, mut tools) = (String::new(), String::new());
    for at in 0..32 {
        let comma = if at == 0 { "" } else { "," };
        let turn = match surface {
            Surface::Chat => format!(
                r#"{{"role":"user","content":"{text}"}},{{"role":"assistant","content":"{text}","tool_calls":[{{"id":"call_{at}","type":"function","function":{{"name":"read","arguments":"{{\"path\":\"src/{at}.rs\"}}"}}}}]}},{{"role":"tool","tool_call_id":"call_{at}","content":"{text}"}}"#
            ),
            Surface::Messages => format!(
                r#"{{"role":"user","content":[{{"type":"text","text":"{text}"}}]}},{{"role":"assistant","content":[{{"type":"text","text":"{text}"}},{{"type":"tool_use","id":"call_{at}","name":"read","input":{{"path":"src/{at}.rs"}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"call_{at}","content":"{text}"}}]}}"#
            ),
            _ => format!(
                r#"{{"type":"message","role":"user","content":[{{"type":"input_text","text":"{text}"}}]}},{{"type":"message","role":"assistant","content":[{{"type":"output_text","text":"{text}"}}]}},{{"type":"function_call","call_id":"call_{at}","name":"read","arguments":"{{\"path\":\"src/{at}.rs\"}}"}},{{"type":"function_call_output","call_id":"call_{at}","output":"{text}"}}"#
            ),
        };
        let _ = write!(items, "{comma}{turn}");
        if at < 8 {
            let tool = match surface {
                Surface::Chat => format!(
                    r#"{{"type":"function","function":{{"name":"t{at}","description":"Does","parameters":{schema}}}}}"#
                ),
                Surface::Messages => {
                    format!(r#"{{"name":"t{at}","description":"Does","input_schema":{schema}}}"#)
                }
                _ => format!(
                    r#"{{"type":"function","name":"t{at}","description":"Does","parameters":{schema}}}"#
                ),
            };
            let _ = write!(tools, "{comma}{tool}");
        }
    }
    let list = if surface == Surface::Responses { "input" } else { "messages" };
    let cap = if surface == Surface::Responses { "max_output_tokens" } else { "max_tokens" };
    format!(r#"{{"model":"m","{cap}":1000,"{list}":[{items}],"tools":[{tools}]}}"#).into_bytes()
}

/// A stream of about 200 pieces of text, as each dialect sends it.
fn stream(surface: Surface) -> Vec<u8> {
    let mut out = String::new();
    let open = match surface {
        Surface::Chat => {
            "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n"
        }
        Surface::Messages => {
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
        }
        _ => {
            "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"r\",\"object\":\"response\",\"created_at\":1,\"status\":\"in_progress\",\"model\":\"m\",\"output\":[]}}\n\nevent: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"sequence_number\":1,\"output_index\":0,\"item\":{\"id\":\"msg\",\"type\":\"message\",\"status\":\"in_progress\",\"role\":\"assistant\",\"content\":[]}}\n\n"
        }
    };
    out.push_str(open);
    for at in 0..EVENTS {
        let _ = match surface {
            Surface::Chat => write!(
                out,
                "data: {{\"id\":\"chatcmpl-fx0001\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"gpt-5.6\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_fixture\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" token{at}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"qwerty\"}}\n\n"
            ),
            Surface::Messages => write!(
                out,
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\" token{at}\"}}}}\n\n"
            ),
            _ => write!(
                out,
                "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":{at},\"item_id\":\"msg\",\"output_index\":0,\"content_index\":0,\"delta\":\" token{at}\",\"logprobs\":[]}}\n\n"
            ),
        };
    }
    out.into_bytes()
}

fn style() -> Style {
    Style {
        request_id: "0011223344556677".to_owned(),
        created: 1_790_000_000,
        model: "m".to_owned(),
        stream_usage: true,
        memory: Arc::new(Memory::default()),
    }
}

fn passages() -> impl Iterator<Item = (String, Surface, Surface, Passage)> {
    SURFACES.into_iter().flat_map(|(from_name, from)| {
        SURFACES.into_iter().filter_map(move |(to_name, to)| {
            let passage = Passage::between(from, to)?;
            Some((format!("{from_name}_to_{to_name}"), from, to, passage))
        })
    })
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dialect/request");
    for (name, client, _, passage) in passages() {
        let body = request(client);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(&name, |bencher| {
            bencher.iter(|| passage.request(black_box(&body), &TARGET, false).expect("a request"));
        });
    }
    group.finish();
}

/// The provider's dialect stands first in the names of these.
fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dialect/stream");
    for (name, provider, client, _) in passages() {
        let passage = Passage::between(client, provider).expect("a passage");
        let body = stream(provider);
        let events: Vec<&[u8]> = events(&body);
        group.throughput(Throughput::Elements(events.len() as u64));
        group.bench_function(&name, |bencher| {
            let mut out = Vec::with_capacity(4096);
            bencher.iter(|| {
                let mut stream = passage.stream(style());
                for event in &events {
                    out.clear();
                    stream.feed(black_box(event), &mut out);
                }
            });
        });
    }
    group.finish();
}

/// Cut behind every blank line, as most providers send them.
fn events(body: &[u8]) -> Vec<&[u8]> {
    let mut events = Vec::new();
    let mut start = 0;
    for at in memchr::memmem::find_iter(body, b"\n\n") {
        events.push(&body[start..at + 2]);
        start = at + 2;
    }
    events
}

criterion_group!(benches, requests, streams);
criterion_main!(benches);
