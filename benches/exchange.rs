//! A whole exchange without IO: scan, identify, plan, splice, judge, relay, bill. What the gateway adds
//! to a request beside sockets.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};
use weir::base::id::RequestId;
use weir::base::surface::Surface;
use weir::config;
use weir::config::current::Current;
use weir::exchange::asked::{self, Asked};
use weir::exchange::route::{self, Scene};
use weir::exchange::{Exchange, Now};
use weir::routing::round_robin::Rotation;
use weir::upstream::breaker::Cooldowns;

const CONFIG: &str = "
providers: {mock: {dialect: openai, base_url: 'http://127.0.0.1:9/v1', api_key: provider-key-0123456789}}
models:
  - {id: first, upstream_id: upstream/first, provider: mock, price: {input: 3.00, output: 15.00}}
  - {id: second, provider: mock, price: {input: 1.00, output: 2.00}}
auth: {agent_keys: [agent-key-0123456789abcdef]}
routing: {fallbacks: {first: [second]}}
";
const NOW: Now = Now { us: 1_000_000, unix_ms: 1_700_000_000_000 };
const ANSWER: &[u8] = include_bytes!("../tests/fixtures/openai_chat_nonstream.json");

struct Stage {
    current: Arc<Current>,
    rotation: Rotation,
    request_headers: HeaderMap,
    json: HeaderMap,
    events: HeaderMap,
}

fn stage() -> Stage {
    let snapshot = config::load(CONFIG, "bench", &|_| None).expect("the configuration is good");
    let endpoints = snapshot.endpoints(&mut Cooldowns::default());
    let with = |name: &'static str, value: &'static str| {
        HeaderMap::from_iter([(name.parse().expect("a name"), HeaderValue::from_static(value))])
    };
    Stage {
        current: Arc::new(Current { snapshot, endpoints, controls: Arc::default() }),
        rotation: Rotation::default(),
        request_headers: with("authorization", "Bearer agent-key-0123456789abcdef"),
        json: with("content-type", "application/json"),
        events: with("content-type", "text/event-stream"),
    }
}

fn body(bytes: usize, stream: bool) -> Bytes {
    let text = "the quick brown fox jumps over the lazy dog ".repeat(bytes / 44 + 1);
    let text = &text[..bytes.saturating_sub(90)];
    format!(
        r#"{{"model":"first","stream":{stream},"messages":[{{"role":"user","content":"{text}"}}]}}"#
    )
    .into()
}

fn begin(stage: &Stage, body: &Bytes) -> Exchange {
    let presented = asked::presented(&stage.request_headers).expect("one of each");
    let principal = stage.current.snapshot.gate.identify(&presented).expect("a good key");
    let envelope = asked::scan(Surface::Chat, &stage.request_headers, body).expect("good JSON");
    let target = "/v1/chat/completions".to_owned();
    let asked = Asked::new(Surface::Chat, principal, target, (body.clone(), envelope));
    let scene = Scene {
        current: &stage.current,
        rotation: &stage.rotation,
        now_ms: NOW.ms(),
        purse: None,
        session: None,
    };
    let plan = route::plan(&scene, &asked).expect("a plan");
    Exchange::new(RequestId::from_bits(7), Arc::clone(&stage.current), asked, plan)
}

fn unary(criterion: &mut Criterion) {
    let stage = stage();
    let answer = Bytes::from_static(ANSWER);
    let mut group = criterion.benchmark_group("exchange");
    for (name, bytes) in
        [("unary 1 KB", 1_000), ("unary 100 KB", 100_000), ("unary 1 MB", 1_000_000)]
    {
        let body = body(bytes, false);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut exchange = begin(&stage, &body);
                exchange.next_candidate(NOW).expect("a candidate");
                black_box(exchange.attempt(None).expect("an attempt"));
                black_box(exchange.on_header(200, &stage.json, NOW));
                black_box(exchange.gateway_headers());
                black_box(exchange.on_body(answer.clone(), true, NOW));
            });
        });
    }
    group.finish();
}

fn stream(criterion: &mut Criterion) {
    let stage = stage();
    let body = body(1_000, true);
    let chunks: Vec<Bytes> =
        (0..200).map(|at| chunk(&format!("\"delta\":{{\"content\":\"word {at} \"}}"))).collect();
    let mut group = criterion.benchmark_group("relay");
    group.throughput(Throughput::Elements(chunks.len() as u64));
    group.bench_function("200 events, one a chunk", |bencher| {
        let prepare = || {
            let mut exchange = begin(&stage, &body);
            exchange.next_candidate(NOW).expect("a candidate");
            exchange.attempt(None).expect("an attempt");
            exchange.on_header(200, &stage.events, NOW);
            exchange
        };
        let run = |mut exchange: Exchange| {
            for chunk in &chunks {
                black_box(exchange.on_body(chunk.clone(), false, NOW));
            }
            exchange
        };
        bencher.iter_batched(prepare, run, BatchSize::SmallInput);
    });
    group.finish();
}

fn chunk(delta: &str) -> Bytes {
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"upstream/first\",\
         \"choices\":[{{\"index\":0,{delta},\"finish_reason\":null}}]}}\n\n"
    )
    .into()
}

criterion_group!(benches, unary, stream);
criterion_main!(benches);
