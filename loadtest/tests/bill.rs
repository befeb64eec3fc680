//! The mock's own bill, seen from outside: what is booked for answers, cuts, errors and silence, and
//! that the usage reported is the usage billed.
//!
//! Expected costs are written out as products, with no help of the code under test.

#![allow(clippy::unwrap_used, reason = "the whole file is tests; the lint knows only functions")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use loadtest::fetch::{Ask, Fetched, fetch};
use loadtest::upstream::bill::BillLine;
use loadtest::upstream::fault::Fault;
use loadtest::upstream::manner::Manner;
use loadtest::upstream::price::Price;
use loadtest::upstream::server::{MockConfig, Upstream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const WAIT: Duration = Duration::from_secs(5);
const CHAT: &str = "/v1/chat/completions";

async fn mock() -> Upstream {
    Upstream::start(MockConfig::default()).await.unwrap()
}

async fn post(addr: SocketAddr, path: &str, body: &Value) -> Fetched {
    let headers = [("x-request-id", "weir-1"), ("authorization", "Bearer hidden")];
    let body = body.to_string();
    fetch(Ask { addr, method: "POST", path, headers: &headers, body: body.as_bytes() })
        .await
        .unwrap()
}

async fn get(addr: SocketAddr, path: &str) -> Fetched {
    fetch(Ask { addr, method: "GET", path, headers: &[], body: b"" }).await.unwrap()
}

/// A request of 8 bytes of text, which are 2 tokens.
fn body(model: &str, extra: &Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "12345678"}]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

async fn open(addr: SocketAddr, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let body = body.to_string();
    let length = body.len();
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the connection ends in whatever way.
async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // A reset is an end as well.
    let _ = tokio::time::timeout(WAIT, stream.read_to_end(&mut all)).await.unwrap();
    all
}

async fn only_line(mock: &Upstream) -> BillLine {
    assert!(mock.wait_for_bill(WAIT, |lines| lines.len() == 1 && lines[0].ended).await);
    mock.bill().remove(0)
}

/// The JSON of every `data:` line.
fn events(answer: &Fetched) -> Vec<Value> {
    let text = answer.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| data.parse().unwrap()).collect()
}

#[tokio::test]
async fn every_surface_bills_what_it_reports() {
    for stream in [false, true] {
        let surfaces = [
            (CHAT, "/usage/completion_tokens", "/usage/completion_tokens"),
            ("/v1/completions", "/usage/completion_tokens", "/usage/completion_tokens"),
            ("/v1/messages", "/usage/output_tokens", "/usage/output_tokens"),
            ("/v1/responses", "/usage/output_tokens", "/response/usage/output_tokens"),
        ];
        for (path, whole, streamed) in surfaces {
            let mock = mock().await;
            let extra = json!({
                "stream": stream, "stream_options": {"include_usage": true},
                "max_tokens": 40, "max_output_tokens": 40,
            });
            let model = "mock-reasoning=30-chunks=20-price=3:15";
            let got = post(mock.addr, path, &body(model, &extra)).await;
            let told = if stream {
                let events = events(&got);
                events.iter().rev().find_map(|event| event.pointer(streamed).cloned())
            } else {
                got.json().pointer(whole).cloned()
            };
            assert_eq!(told, Some(json!(40)), "{path} {stream}");
            let line = only_line(&mock).await;
            assert_eq!((line.tokens.input, line.tokens.output, line.tokens.reasoning), (2, 40, 30));
            assert_eq!(line.cost_nano, 2 * 3_000 + 40 * 15_000, "{path} {stream}");
            assert_eq!((line.status, line.completed, line.stream), (200, true, stream));
            assert_eq!((line.number, line.header("x-request-id")), (1, Some("weir-1")));
            assert_eq!(line.header("authorization"), None);
            assert_eq!(mock.bill_total(), line.cost_nano);
        }
    }
}

#[tokio::test]
async fn embeddings_bill_input_and_lookups_nothing() {
    let mock = mock().await;
    post(mock.addr, "/v1/embeddings", &json!({"model": "mock", "input": "12345"})).await;
    post(mock.addr, "/v1/messages/count_tokens", &body("mock", &json!({}))).await;
    get(mock.addr, "/v1/models").await;
    let line = only_line(&mock).await;
    assert_eq!((line.tokens.prompt(), line.tokens.output, line.cost_nano), (2, 0, 2_000));
}

#[tokio::test]
async fn the_price_is_the_requests_then_the_models_then_that_of_others() {
    let prices = [("dear", Price::of(1_000_000_000, 0)), ("*", Price::of(7_000, 0))];
    let prices: BTreeMap<String, Price> =
        prices.iter().map(|(name, price)| ((*name).to_owned(), *price)).collect();
    let mock = Upstream::start(MockConfig { prices, ..MockConfig::default() }).await.unwrap();
    for model in ["dear", "other", "mock-price=0:1"] {
        post(mock.addr, CHAT, &body(model, &json!({}))).await;
    }
    let costs: Vec<i64> = mock.bill().iter().map(|line| line.cost_nano).collect();
    assert_eq!(costs, [2_000_000, 14, 4_000]);
    assert_eq!(mock.bill_total(), 2_004_014);
}

#[tokio::test]
async fn only_the_honoured_field_limits_what_is_billed() {
    let mock = mock().await;
    let limits = json!({"max_tokens": 10, "max_completion_tokens": 20});
    for (cap, output) in [("max_tokens", 10), ("max_completion_tokens", 20), ("none", 100)] {
        let model = format!("mock-reasoning=100-chunks=0-cap={cap}");
        post(mock.addr, CHAT, &body(&model, &limits)).await;
        assert_eq!(mock.bill().pop().unwrap().tokens.output, output, "{cap}");
    }
}

#[tokio::test]
async fn answers_multiply_and_an_overrun_exceeds() {
    let mock = mock().await;
    let extra = json!({"n": 3, "max_tokens": 10});
    let got = post(mock.addr, CHAT, &body("mock-reasoning=9-overrun=5", &extra)).await;
    assert_eq!(got.json()["usage"]["completion_tokens"], 45);
    let best = json!({"n": 1, "best_of": 4});
    post(mock.addr, "/v1/completions", &body("mock-chunks=2", &best)).await;
    let outputs: Vec<u64> = mock.bill().iter().map(|line| line.tokens.output).collect();
    assert_eq!(outputs, [45, 8]);
}

#[tokio::test]
async fn a_client_that_leaves_is_billed_by_the_rule() {
    let rules = [("full", 100), ("seen", 2), ("none", 0)];
    for (rule, most) in rules {
        let mock = mock().await;
        let model = format!("mock-chunks=100-interval=60000-price=0:1-bill={rule}");
        let mut stream = open(mock.addr, &body(&model, &json!({"stream": true}))).await;
        let mut some = [0; 256];
        assert!(stream.read(&mut some).await.unwrap() > 0);
        drop(stream);
        let line = only_line(&mock).await;
        assert!(!line.completed, "{rule}");
        assert!(line.tokens.output <= most, "{rule}: {:?}", line.tokens);
        assert_eq!(line.tokens.output > 0, most > 0, "{rule}");
        assert_eq!(line.cost_nano, i64::try_from(line.tokens.output).unwrap() * 1_000);
        assert!(rule != "full" || line.tokens.output == 100);
    }
}

#[tokio::test]
async fn cut_answers_are_billed_in_full() {
    for model in ["mock-cut=2", "mock-cuthalf=2", "mock-reset=2", "mock-cleancut=2", "mock-error=2"]
    {
        for stream in [true, false] {
            let mock = mock().await;
            rest(open(mock.addr, &body(model, &json!({"stream": stream}))).await).await;
            let line = only_line(&mock).await;
            assert_eq!(line.cost_nano, 2 * 1_000 + 4 * 2_000, "{model} {stream}");
            let ignores = !stream && matches!(model, "mock-cleancut=2" | "mock-error=2");
            assert_eq!(line.completed, ignores, "{model} {stream}");
        }
    }
}

#[tokio::test]
async fn what_was_read_and_never_answered_is_billed() {
    for (rule, cost) in [("full", 10_000), ("seen", 2_000), ("none", 0)] {
        let mock = mock().await;
        let model = format!("mock-nohead-bill={rule}");
        let got = rest(open(mock.addr, &body(&model, &json!({}))).await).await;
        assert!(got.is_empty(), "no byte of an answer");
        let line = only_line(&mock).await;
        assert_eq!((line.status, line.cost_nano), (0, cost), "{rule}");
        assert!(mock.requests()[0].finished);

        mock.reset_bill();
        let model = format!("mock-hang-bill={rule}");
        let stream = open(mock.addr, &body(&model, &json!({}))).await;
        assert!(mock.wait_for_bill(WAIT, |lines| lines.len() == 1).await);
        assert!(!mock.bill()[0].ended);
        drop(stream);
        assert_eq!(only_line(&mock).await.cost_nano, cost, "{rule}");
    }
}

#[tokio::test]
async fn a_request_that_never_arrived_costs_nothing() {
    let mock = mock().await;
    let mut stream = TcpStream::connect(mock.addr).await.unwrap();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{\"model\"");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(mock.wait_for(WAIT, |_| true).await.is_some());
    drop(stream);
    assert!(mock.wait_for(WAIT, |seen| seen.closed_early).await.is_some());
    assert_eq!((mock.bill().len(), mock.bill_total()), (0, 0));
}

#[tokio::test]
async fn errors_cost_nothing_unless_told() {
    let stream = json!({"stream": true});
    let mock = mock().await;
    for model in ["mock-429", "mock-500", "mock-inside=429"] {
        post(mock.addr, CHAT, &body(model, &json!({}))).await;
        post(mock.addr, CHAT, &body(&format!("{model}-cost=5"), &json!({}))).await;
    }
    post(mock.addr, CHAT, &body("mock-error=0", &stream)).await;
    post(mock.addr, CHAT, &body("mock-fail=1-503", &json!({}))).await;
    assert_eq!((mock.bill().len(), mock.bill_total()), (8, 0));
    post(mock.addr, CHAT, &body("mock-fail=1-503", &json!({}))).await;
    assert_eq!(mock.bill_total(), 10_000);
    post(mock.addr, CHAT, &body("mock-500-billerror", &json!({}))).await;
    assert_eq!(mock.bill_total(), 20_000);
}

#[tokio::test]
async fn a_billed_error_carries_its_usage() {
    let mock = mock().await;
    for (path, kind) in [
        (CHAT, "completion_tokens"),
        ("/v1/messages", "output_tokens"),
        ("/v1/responses", "output_tokens"),
    ] {
        for manner in ["openai", "openrouter"] {
            mock.reset_bill();
            let model = format!("mock-manner={manner}-billerror-inside=502");
            let got = post(mock.addr, path, &body(&model, &json!({}))).await.json();
            assert!(got["error"].is_object());
            assert_eq!(got["usage"][kind], 4, "{path} {manner}");
            let model = format!("mock-manner={manner}-billerror-error=0");
            let got = post(mock.addr, path, &body(&model, &json!({"stream": true}))).await;
            let first = events(&got).remove(0);
            let usage = first.get("usage").unwrap_or(&first["response"]["usage"]);
            assert_eq!(usage[kind], 4, "{path} {manner}: {first}");
            assert_eq!(mock.bill_total(), 20_000);
        }
    }
    let hidden = post(mock.addr, CHAT, &body("mock-billerror-usage=none-inside", &json!({}))).await;
    assert_eq!(hidden.json().get("usage"), None);
}

#[tokio::test]
async fn a_fixed_cost_is_told_and_billed() {
    let habits = Fault::from_model("mock-cost=0.0123");
    let config = MockConfig { manner: Manner::OpenRouter, habits, ..MockConfig::default() };
    let mock = Upstream::start(config).await.unwrap();
    let list = json!({"models": ["anthropic/claude-sonnet-4.5", "openai/gpt-5"]});
    let got = post(mock.addr, CHAT, &body("x", &list)).await;
    assert_eq!(got.json()["model"], "anthropic/claude-sonnet-4.5");
    assert_eq!(got.json()["usage"]["cost"].to_string(), "0.0123");
    assert_eq!(mock.bill_total(), 12_300_000);
    let free = post(mock.addr, CHAT, &body("mock-cost=0", &json!({}))).await;
    assert_eq!(free.json()["usage"]["cost"].to_string(), "0.0");
    assert_eq!(mock.bill_total(), 12_300_000);
    for path in ["/v1/messages", "/v1/responses", "/v1/embeddings"] {
        let got = post(mock.addr, path, &body("x", &json!({"input": "1"}))).await;
        assert_eq!(got.json()["usage"]["cost"].to_string(), "0.0123", "{path}");
    }
}

#[tokio::test]
async fn a_generation_can_be_looked_up_when_its_stream_was_cut() {
    let config = MockConfig { manner: Manner::OpenRouter, ..MockConfig::default() };
    let mock = Upstream::start(config).await.unwrap();
    let model = "mock-stall=3-price=3:15";
    let mut stream = open(mock.addr, &body(model, &json!({"stream": true}))).await;
    let mut head = [0; 1024];
    let count = stream.read(&mut head).await.unwrap();
    let head = String::from_utf8_lossy(&head[..count]).into_owned();
    let (_, id) = head.split_once("x-generation-id: ").unwrap();
    let path = format!("/api/v1/generation?id={}", id.lines().next().unwrap());
    assert_eq!(get(mock.addr, &path).await.status, 404, "not while it runs");
    drop(stream);
    only_line(&mock).await;
    let told = get(mock.addr, &path).await.json();
    assert_eq!(told["data"]["total_cost"].to_string(), "0.000066");
    assert_eq!(told["data"]["cancelled"], true);
    let unknown = get(mock.addr, "/v1/generation?id=gen-none").await;
    assert_eq!((unknown.status, &unknown.json()["error"]["code"]), (404, &json!(404)));
}

#[tokio::test]
async fn caches_are_told_and_billed_at_their_own_rates() {
    let mock = mock().await;
    let model = "mock-cache=write1h-price=1:0:0.1:1.25:2-tokens=bytes";
    let got = post(mock.addr, "/v1/messages", &body(model, &json!({}))).await.json();
    // role, user, content, 12345678
    let tokens = 4 + 4 + 7 + 8;
    assert_eq!(got["usage"]["cache_creation"]["ephemeral_1h_input_tokens"], tokens);
    assert_eq!(got["usage"]["input_tokens"], 0);
    assert_eq!(mock.bill_total(), tokens * 2_000);
    let got = post(mock.addr, CHAT, &body(model, &json!({}))).await.json();
    let details = &got["usage"]["prompt_tokens_details"];
    assert_eq!(got["usage"]["prompt_tokens"], tokens);
    assert_eq!(details["cache_write_tokens"], tokens);
    assert_eq!(details["cache_write_tokens_details"]["ttl_12h_tokens"], tokens);
    assert_eq!(mock.bill_total(), 2 * tokens * 2_000);
}

#[tokio::test]
async fn the_bill_is_read_and_reset_over_http() {
    for requests_max in [0, 10] {
        let mock =
            Upstream::start(MockConfig { requests_max, ..MockConfig::default() }).await.unwrap();
        for _ in 0..3 {
            post(mock.addr, CHAT, &body("mock", &json!({}))).await;
        }
        let bill = get(mock.addr, "/mock/bill").await.json();
        assert_eq!((&bill["total_nano_usd"], &bill["count"]), (&json!(30_000), &json!(3)));
        assert_eq!(bill["lines"].as_array().unwrap().len(), requests_max.min(3));
        if requests_max > 0 {
            assert_eq!(bill["lines"][2]["cost_nano_usd"], 10_000);
            assert_eq!(bill["lines"][2]["completed"], true);
            assert_eq!(mock.requests().len(), 3, "reading the bill is no request");
        }
        assert_eq!(get(mock.addr, "/mock/bill/reset").await.status, 404);
        let empty = post(mock.addr, "/mock/bill/reset", &json!({})).await.json();
        assert_eq!(empty, json!({"total_nano_usd": 0, "count": 0, "lines": []}));
    }
}

#[tokio::test]
async fn repeats_from_memory_are_billed_as_well() {
    let mock =
        Upstream::start(MockConfig { requests_max: 0, ..MockConfig::default() }).await.unwrap();
    let mut stream = TcpStream::connect(mock.addr).await.unwrap();
    let body = body("mock-price=1:1", &json!({})).to_string();
    let request =
        format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for number in 1..=5 {
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 8192]).await.unwrap() > 100);
        assert_eq!(mock.bill_total(), number * 6_000);
    }
}

#[tokio::test]
async fn many_at_once_add_up() {
    let mock = mock().await;
    let asks = (0..200).map(|number| {
        let (addr, model) = (mock.addr, format!("mock-chunks={number}-price=0.000001:0.000003"));
        tokio::spawn(async move { post(addr, CHAT, &body(&model, &json!({}))).await.status })
    });
    for ask in asks.collect::<Vec<_>>() {
        assert_eq!(ask.await.unwrap(), 200);
    }
    let expected: i64 = (0..200_i64).map(|number| (2 + 3 * number + 999) / 1000).sum();
    assert_eq!(mock.bill_total(), expected);
    assert_eq!(mock.bill().iter().map(|line| line.cost_nano).sum::<i64>(), expected);
}
