//! The mock providers do what their model names and headers say, seen through a bare socket.
//!
//! Uses no HTTP client: what is tested is the bytes. `dechunk` is the only parser.

#![allow(clippy::unwrap_used, reason = "the whole file is tests; the lint knows only functions")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use loadtest::upstream::manner::Manner;
use loadtest::upstream::seen::sha256_hex;
use loadtest::upstream::server::{MockConfig, Upstream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const WAIT: Duration = Duration::from_secs(5);

async fn mock() -> Upstream {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let config = MockConfig { fixtures_dir: Some(fixtures), ..MockConfig::default() };
    Upstream::start(config).await.unwrap()
}

/// Sends one request and reads to the end of the connection.
async fn raw(addr: SocketAddr, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let mut stream = open(addr, path, headers, body).await;
    let mut all = Vec::new();
    // A reset is an end as well.
    let _ = tokio::time::timeout(WAIT, stream.read_to_end(&mut all)).await.unwrap();
    all
}

async fn open(addr: SocketAddr, path: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: mock\r\nconnection: close\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// Sizes of the chunks; empty for a content-length body.
    chunks: Vec<usize>,
    /// The body ended as HTTP wants it.
    is_complete: bool,
}

impl Got {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The JSON of every `data:` line.
    fn events(&self) -> Vec<Value> {
        let lines = self.text().lines().filter_map(|line| line.strip_prefix("data: "));
        lines.filter(|data| *data != "[DONE]").map(|data| data.parse().unwrap()).collect()
    }
}

fn parse(bytes: &[u8]) -> Got {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned().to_ascii_lowercase();
    let status = head[9..12].parse().unwrap();
    let body = &bytes[end + 4..];
    if !head.contains("transfer-encoding: chunked") {
        return Got { status, head, body: body.to_vec(), chunks: Vec::new(), is_complete: true };
    }
    let (body, chunks, is_complete) = dechunk(body);
    Got { status, head, body, chunks, is_complete }
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, Vec<usize>, bool) {
    let (mut body, mut chunks) = (Vec::new(), Vec::new());
    loop {
        let Some(line) = rest.windows(2).position(|window| window == b"\r\n") else {
            return (body, chunks, false);
        };
        let size = std::str::from_utf8(&rest[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        rest = &rest[line + 2..];
        if size == 0 {
            return (body, chunks, true);
        }
        if rest.len() < size + 2 {
            body.extend_from_slice(rest);
            return (body, chunks, false);
        }
        body.extend_from_slice(&rest[..size]);
        chunks.push(size);
        rest = &rest[size + 2..];
    }
}

async fn chat(mock: &Upstream, model: &str) -> Got {
    ask(mock, "/v1/chat/completions", model, json!({})).await
}

async fn chat_stream(mock: &Upstream, model: &str) -> Got {
    ask(mock, "/v1/chat/completions", model, json!({"stream": true})).await
}

async fn ask(mock: &Upstream, path: &str, model: &str, extra: Value) -> Got {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "12345678"}]});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    parse(&raw(mock.addr, path, "", &body.to_string()).await)
}

#[tokio::test]
async fn chat_answers_with_deterministic_usage() {
    let mock = mock().await;
    let got = chat(&mock, "mock-model").await;
    assert_eq!(got.status, 200);
    let answer = got.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "w0 w1 w2 w3 ");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["prompt_tokens"], 2);
    assert_eq!(answer["usage"]["completion_tokens"], 4);
    assert_eq!(answer["model"], "mock-model");
}

#[tokio::test]
async fn chat_stream_has_usage_only_when_asked() {
    let mock = mock().await;
    let got = chat_stream(&mock, "mock-chunks=3").await;
    assert!(got.is_complete);
    assert!(got.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(got.events().len(), 5);
    assert!(!got.text().contains("usage"));
    let asked = json!({"stream": true, "stream_options": {"include_usage": true}});
    let got = ask(&mock, "/v1/chat/completions", "mock-chunks=3", asked).await;
    let events = got.events();
    assert_eq!(events.len(), 6);
    assert_eq!(events[0]["usage"], Value::Null);
    assert_eq!(events[5]["choices"], json!([]));
    assert_eq!(events[5]["usage"]["completion_tokens"], 3);
    assert_eq!(got.chunks.len(), 7, "one HTTP chunk per event");
}

#[tokio::test]
async fn output_limit_and_choices_count() {
    let mock = mock().await;
    let limited = json!({"max_tokens": 2, "n": 3});
    let answer = ask(&mock, "/v1/chat/completions", "mock-model", limited).await.json();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 3);
    assert_eq!(answer["choices"][2]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 6);
}

#[tokio::test]
async fn manners_put_usage_where_their_provider_does() {
    let mock = mock().await;
    let router = chat_stream(&mock, "openrouter/mock").await;
    assert!(router.text().starts_with(": OPENROUTER PROCESSING\n\n"));
    assert!(router.head.contains("x-generation-id: gen-"));
    let last = router.events().pop().unwrap();
    assert_eq!(last["usage"]["cost"].to_string(), "0.00001");
    let deepseek = chat_stream(&mock, "deepseek-mock").await;
    let last = deepseek.events().pop().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["usage"]["prompt_cache_miss_tokens"], 2);
    let groq = chat_stream(&mock, "mock-manner=groq").await;
    assert_eq!(groq.events().pop().unwrap()["x_groq"]["usage"]["completion_tokens"], 4);
    let azure = chat_stream(&mock, "azure/mock").await;
    assert_eq!(azure.events()[0]["choices"], json!([]));
    let every = chat_stream(&mock, "mock-usage=every").await;
    assert!(every.events().iter().all(|event| event["usage"]["prompt_tokens"] == 2));
    let xai = chat(&mock, "xai/mock-reasoning=10").await.json();
    assert_eq!(xai["usage"]["completion_tokens"], 4);
    assert_eq!(xai["usage"]["total_tokens"], 16);
}

#[tokio::test]
async fn a_mock_has_a_manner_of_its_own_and_models_fall_through() {
    let config = MockConfig { manner: Manner::OpenRouter, ..MockConfig::default() };
    let mock = Upstream::start(config).await.unwrap();
    let answer = ask(&mock, "/api/v1/chat/completions", "x", json!({"models": ["a/b", "c"]}));
    let answer = answer.await.json();
    assert_eq!(answer["model"], "a/b");
    assert!(answer["usage"]["cost"].is_number());
    let list = json!({"models": ["mock-429", "mock-next"]});
    let answer = ask(&mock, "/api/v1/chat/completions", "x", list).await.json();
    assert_eq!(answer["model"], "mock-next");
    let refused = chat(&mock, "mock-402").await;
    assert_eq!((refused.status, refused.json()["error"]["code"].as_u64()), (402, Some(402)));
}

#[tokio::test]
async fn statuses_by_name_and_header() {
    let mock = mock().await;
    for (model, status) in [("mock-429", 429), ("openai/mock-503", 503), ("mock-529", 529)] {
        assert_eq!(chat(&mock, model).await.status, status);
    }
    let headers = "x-mock-status: 429\r\nx-mock-retry-after: 7\r\n";
    let got = parse(&raw(mock.addr, "/v1/messages", headers, "{}").await);
    assert_eq!(got.status, 429);
    assert!(got.head.contains("retry-after: 7"));
    assert_eq!(got.json()["error"]["type"], "rate_limit_error");
    let inside = chat(&mock, "mock-inside-429").await;
    assert_eq!((inside.status, inside.json()["error"]["code"].as_u64()), (200, Some(429)));
}

#[tokio::test]
async fn fail_first_counts_per_key() {
    let mock = mock().await;
    let body = json!({"model": "mock-fail=2-429"}).to_string();
    let mut statuses = Vec::new();
    for key in ["a", "a", "b", "a", "b", "b"] {
        let headers = format!("authorization: Bearer {key}\r\n");
        statuses.push(parse(&raw(mock.addr, "/v1/chat/completions", &headers, &body).await).status);
    }
    assert_eq!(statuses, [429, 429, 429, 200, 429, 200]);
}

#[tokio::test]
async fn latency_and_interval_wait() {
    let mock = mock().await;
    let start = std::time::Instant::now();
    chat_stream(&mock, "mock-latency=60-chunks=4-interval=10").await;
    assert!(start.elapsed() >= Duration::from_millis(110), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_cut_stream_has_no_end() {
    let mock = mock().await;
    for model in ["mock-cut=3", "mock-reset=3", "mock-cuthalf=3"] {
        let got = chat_stream(&mock, model).await;
        assert!(!got.is_complete, "{model}");
        let whole = got.text().matches("\n\n").count();
        assert_eq!(whole, 3, "{model}");
        assert_eq!(got.body.ends_with(b"\n\n"), model != "mock-cuthalf=3");
    }
    let unary = chat(&mock, "mock-cut").await;
    assert!(!unary.is_complete && unary.body.starts_with(b"{"));
}

#[tokio::test]
async fn a_clean_cut_ends_without_finish() {
    let mock = mock().await;
    let got = chat_stream(&mock, "mock-cleancut=99").await;
    assert!(got.is_complete);
    assert_eq!(got.events().len(), 5);
    assert!(!got.text().contains("[DONE]") && !got.text().contains("\"stop\""));
}

#[tokio::test]
async fn errors_inside_streams() {
    let mock = mock().await;
    let first = chat_stream(&mock, "mock-error=0").await;
    assert_eq!(first.status, 200);
    assert!(first.text().starts_with("data: {\"error\""));
    let later = chat_stream(&mock, "openrouter/mock-error=2-inside=429").await;
    let event = later.events().pop().unwrap();
    assert_eq!(event["error"]["code"], 429);
    assert_eq!(event["choices"][0]["finish_reason"], "error");
    let stream = json!({"stream": true});
    let anthropic = ask(&mock, "/v1/messages", "mock-error=0", stream.clone()).await;
    assert!(anthropic.text().starts_with("event: error\ndata: "));
    let responses = ask(&mock, "/v1/responses", "mock-error=3", stream).await;
    assert_eq!(responses.events().pop().unwrap()["type"], "response.failed");
}

#[tokio::test]
async fn messages_stream_in_order() {
    let mock = mock().await;
    let extra = json!({"stream": true, "system": "1234"});
    let got = ask(&mock, "/anthropic/v1/messages?beta=true", "mock-cached=1", extra).await;
    let events = got.events();
    let names: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["message_start", "content_block_start", "ping"]);
    assert_eq!(names[7..], ["content_block_stop", "message_delta", "message_stop"]);
    let usage = &events[0]["message"]["usage"];
    assert_eq!(usage["input_tokens"], 2);
    assert_eq!(usage["cache_read_input_tokens"], 1);
    assert_eq!(events[8]["usage"]["output_tokens"], 4);
    for block in got.text().trim_end().split("\n\n") {
        assert!(block.starts_with("event: "));
    }
    let unary = ask(&mock, "/v1/messages", "mock", json!({})).await.json();
    assert_eq!(unary["usage"]["output_tokens"], 4);
    let count = ask(&mock, "/v1/messages/count_tokens", "mock", json!({})).await.json();
    assert_eq!(count, json!({"input_tokens": 2}));
}

#[tokio::test]
async fn responses_stream_is_numbered_and_completed() {
    let mock = mock().await;
    let extra = json!({"stream": true, "input": "abcd"});
    let got = ask(&mock, "/v1/responses", "mock-chunks=2", extra).await;
    let events = got.events();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["usage"]["output_tokens"], 2);
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "w0 w1 ");
}

#[tokio::test]
async fn tools_are_called_in_every_dialect() {
    let mock = mock().await;
    let extra = json!({"stream": true, "tools": [{"name": "f", "function": {"name": "f"}}]});
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/responses"] {
        let got = ask(&mock, path, "mock-tools", extra.clone()).await;
        assert!(got.text().contains("\"name\":\"f\""), "{path}");
        let got = ask(&mock, path, "mock-tools=offered", extra.clone()).await;
        assert!(got.text().contains("\"name\":\"f\""), "{path}");
        let got = ask(&mock, path, "mock-tools=offered", json!({})).await;
        assert!(got.text().contains("w0"), "{path} speaks where no tool is offered");
    }
}

#[tokio::test]
async fn no_tool_is_called_again_once_one_has_answered() {
    let mock = mock().await;
    let call = json!({"role": "assistant", "content": null});
    let results = [
        ("/v1/chat/completions", "messages", json!({"role": "tool", "content": "x"})),
        (
            "/v1/messages",
            "messages",
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}),
        ),
        ("/v1/responses", "input", json!({"type": "function_call_output", "output": "x"})),
        ("/v1/responses", "input", json!({"type": "custom_tool_call_output", "output": "x"})),
    ];
    for (path, list, result) in results {
        let body = |items: Vec<Value>| json!({"tools": [{"name": "f"}], list: items});
        let got = ask(&mock, path, "mock-tools", body(vec![call.clone(), result.clone()])).await;
        assert!(got.text().contains("w0 w1"), "{path}: {}", got.text());
        let again = json!({"role": "user", "content": "again"});
        let got = ask(&mock, path, "mock-tools", body(vec![result, again])).await;
        assert!(got.text().contains("\"name\":\"f\""), "{path}: {}", got.text());
    }
}

#[tokio::test]
async fn small_surfaces() {
    let mock = mock().await;
    let vectors = ask(&mock, "/v1/embeddings", "mock", json!({"input": ["ab", "cd"]})).await;
    assert_eq!(vectors.json()["data"].as_array().unwrap().len(), 2);
    let text = ask(&mock, "/v1/completions", "mock", json!({"stream": true})).await;
    assert_eq!(text.events()[0]["choices"][0]["text"], "w0 ");
    let other = ask(&mock, "/v1/rerank?x=1", "mock", json!({})).await.json();
    assert_eq!((&other["method"], &other["path"]), (&json!("POST"), &json!("/v1/rerank?x=1")));
    assert_eq!(ask(&mock, "/nowhere", "mock", json!({})).await.status, 404);
    let mut stream = TcpStream::connect(mock.addr).await.unwrap();
    let request = "GET /api/v1/models/a/b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(parse(&bytes).json()["id"], "a/b");
}

#[tokio::test]
async fn fixtures_come_back_byte_for_byte_however_split() {
    let mock = mock().await;
    let wanted = include_bytes!("fixtures/crlf.sse");
    for (split, fewest) in [("", 1), ("+byte", wanted.len()), ("+rand7", 3)] {
        let got = chat(&mock, &format!("mock-fixture=crlf.sse{split}")).await;
        assert_eq!(got.body, wanted, "{split}");
        assert!(got.chunks.len() >= fewest, "{split}: {:?}", got.chunks);
        assert!(got.head.contains("content-type: text/event-stream"));
    }
    let error = chat(&mock, "mock-fixture=errors/limit.json").await;
    assert_eq!(error.status, 429);
    assert!(error.head.contains("retry-after-ms: 612"));
    assert_eq!(error.text(), r#"{"error":{"z":1,"a":2}}"#);
    assert_eq!(chat(&mock, "mock-fixture=../mock.rs").await.status, 500);
}

#[tokio::test]
async fn echo_tells_what_arrived_without_credentials() {
    let mock = mock().await;
    let body = r#"{"model":"mock-echo" , "x": 1}"#;
    let headers = "authorization: Bearer topsecret\r\nx-trace: 1\r\n";
    let got = parse(&raw(mock.addr, "/api/v1/chat/completions?a=b", headers, body).await);
    let told = got.json();
    assert_eq!(told["body_sha256"], sha256_hex(body.as_bytes()));
    assert_eq!(told["path"], "/api/v1/chat/completions?a=b");
    assert!(!got.text().contains("topsecret"));
    let prefix = format!("sha256:{}", &sha256_hex(b"topsecret")[..16]);
    let headers = told["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["authorization", prefix])));
    assert!(headers.contains(&json!(["x-trace", "1"])));
}

#[tokio::test]
async fn odd_answers() {
    let mock = mock().await;
    let garbage = raw(mock.addr, "/v1/chat/completions", "x-mock-nothttp: 1\r\n", "{}").await;
    assert!(!garbage.starts_with(b"HTTP") && !garbage.is_empty());
    let huge = chat(&mock, "mock-hugeheader").await;
    assert!(huge.head.len() > 256 * 1024);
    let blank = chat(&mock, "mock-blank").await;
    assert!(blank.text().starts_with("\n\n\n\n\n{"));
    let bytes = chat(&mock, "mock-bytes=1000003").await.json();
    assert_eq!(bytes["choices"][0]["message"]["content"].as_str().unwrap().len(), 1_000_003);
    let bomb = chat(&mock, "mock-gzipbomb").await;
    assert!(bomb.head.contains("content-encoding: gzip") && bomb.body.len() < 100_000);
    assert_eq!(gunzip(&bomb.body).len(), 64 * 1024 * 1024);
    let gzip = chat_stream(&mock, "mock-gzip").await;
    assert!(String::from_utf8(gunzip(&gzip.body)).unwrap().ends_with("data: [DONE]\n\n"));
    let endless = chat(&mock, "mock-endless").await;
    assert!(endless.body.len() > 60_000_000 && !endless.body.contains(&b'\n'));
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut out).unwrap();
    out
}

#[tokio::test]
async fn a_leaving_client_is_noticed() {
    let mock = mock().await;
    let body = json!({"model": "mock-stall=2", "stream": true}).to_string();
    let mut stream = open(mock.addr, "/v1/chat/completions", "", &body).await;
    let mut buffer = vec![0; 4096];
    assert!(stream.read(&mut buffer).await.unwrap() > 0);
    assert!(!mock.requests()[0].closed_early);
    drop(stream);
    assert!(mock.wait_for(WAIT, |seen| seen.closed_early).await.is_some());
    let body = json!({"model": "mock-latency=60000"}).to_string();
    drop(open(mock.addr, "/v1/chat/completions", "", &body).await);
    let waiting = |seen: &loadtest::upstream::seen::Seen| seen.number == 2 && seen.closed_early;
    assert!(mock.wait_for(WAIT, waiting).await.is_some());
    chat_stream(&mock, "mock-model").await;
    let whole = mock.wait_for(WAIT, |seen| seen.number == 3 && seen.finished).await.unwrap();
    assert!(!whole.closed_early);
}

#[tokio::test]
async fn requests_are_kept_and_logged_without_credentials() {
    let log = std::env::temp_dir().join(format!("mock-log-{}.jsonl", std::process::id()));
    let config = MockConfig { log: Some(log.clone()), requests_max: 2, ..MockConfig::default() };
    let mock = Upstream::start(config).await.unwrap();
    let headers = "x-api-key: sk-hidden\r\ncookie: session=hidden\r\nx-agent-id: me\r\n";
    for number in 0..3 {
        let body = json!({"model": format!("m{number}"), "messages": ["secret words"]});
        raw(mock.addr, "/v1/messages", headers, &body.to_string()).await;
    }
    let kept = mock.requests();
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[1].model.as_deref(), Some("m2"));
    assert!(kept[1].carried("sk-hidden") && !kept[1].carried("other"));
    assert_eq!(kept[1].header("x-agent-id"), Some("me"));
    assert_eq!(kept[1].credential_sha256.as_deref(), Some(sha256_hex(b"sk-hidden").as_str()));
    assert_eq!(kept[1].json()["model"], "m2");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert!(!text.contains("hidden") && !text.contains("secret words"));
    let line: Value = text.lines().next().unwrap().parse().unwrap();
    assert_eq!((&line["path"], &line["status"]), (&json!("/v1/messages"), &json!(200)));
}

#[tokio::test]
async fn a_load_mock_answers_repeats_from_memory() {
    let config = MockConfig { requests_max: 0, ..MockConfig::default() };
    let mock = Upstream::start(config).await.unwrap();
    let mut stream = TcpStream::connect(mock.addr).await.unwrap();
    for (model, status) in [("mock", "200"), ("mock", "200"), ("mock-429", "429")] {
        let body = json!({"model": model}).to_string();
        let length = body.len();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut buffer = vec![0; 8192];
        let count = stream.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[9..12], status.as_bytes());
        assert!(count > 100);
    }
    assert_eq!(mock.connections(), 1);
    assert!(mock.requests().is_empty());
}

#[tokio::test]
async fn shutdown_lets_answers_end() {
    let mock = mock().await;
    let addr = mock.addr;
    let body = json!({"model": "mock-interval=30", "stream": true}).to_string();
    let mut stream = open(addr, "/v1/chat/completions", "", &body).await;
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.unwrap();
    let stopping = tokio::spawn(mock.shutdown());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"));
    stopping.await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
}
