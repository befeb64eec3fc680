//! Every provider fixture through the running gateway: bytes, usage, cost and end, at several chunkings.
//!
//! What must come out is worked out here from the fixture by a reader of its own. The differences that are
//! allowed are those of the README: a byte order mark goes, a missing last blank line comes, a truncated
//! stream ends in an error event, and a usage chunk that nobody asked for is cut out.

use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use crate::client::{Answer, Ask};
use crate::gateway::{Gateway, Setup, sum_of};
use crate::provider::{anthropic, mock, openai};

/// How the mock cuts a stream: at once, byte by byte, at two random sequences of places.
const CHUNKINGS: [&str; 4] = ["whole", "byte", "rand1", "rand77"];

/// One fixture and what its manifest says of it.
struct Fixture {
    name: String,
    facts: Value,
    bytes: Vec<u8>,
}

impl Fixture {
    fn fact(&self, key: &str) -> &str {
        self.facts[key].as_str().unwrap_or_default()
    }

    fn is_stream(&self) -> bool {
        Path::new(&self.name).extension().is_some_and(|extension| extension == "sse")
    }

    fn is_chat(&self) -> bool {
        self.fact("dialect").starts_with("openai_chat")
    }

    /// What the client says about usage when it says what the fixture's client said.
    fn options(&self) -> &'static str {
        match self.fact("asked") {
            "stream_options.include_usage" => r#","stream_options":{"include_usage":true}"#,
            "stream_options.include_usage+continuous_usage_stats" => {
                r#","stream_options":{"include_usage":true,"continuous_usage_stats":true}"#
            }
            _ => "",
        }
    }

    /// The request that makes the mock replay it.
    fn ask(&self, chunking: &str, options: &str) -> Ask {
        let model = format!("mock-fixture={}+{chunking}", self.name);
        let stream = self.is_stream();
        let rest = match self.fact("dialect") {
            "openai_responses" => r#""input":"hi""#,
            _ => r#""max_tokens":64,"messages":[{"role":"user","content":"hi"}]"#,
        };
        let body = format!(r#"{{"model":"{model}","stream":{stream}{options},{rest}}}"#);
        let path = match self.fact("dialect") {
            "anthropic_messages" => "/v1/messages",
            "openai_responses" => "/v1/responses",
            "gemini_native" => "/v1/gemini/stream",
            _ => "/v1/chat/completions",
        };
        Ask::post(path, body).header("anthropic-version", "2023-06-01")
    }

    /// How the access log should say that it ended.
    fn end(&self) -> &'static str {
        match self.fact("end") {
            "error" | "response.failed" => "error_event",
            end if end.starts_with("cut") => "cut",
            _ => "complete",
        }
    }
}

fn fixtures() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let entries = manifest["fixtures"].as_object().unwrap().iter();
    let read = |(name, facts): (&String, &Value)| Fixture {
        bytes: std::fs::read(folder.join(name)).unwrap(),
        name: name.clone(),
        facts: facts.clone(),
    };
    entries.map(read).collect()
}

fn streams() -> Vec<Fixture> {
    let all = fixtures();
    let streams: Vec<Fixture> = all.into_iter().filter(Fixture::is_stream).collect();
    assert!(streams.len() >= 25, "fixtures are missing");
    streams
}

/// One mock behind a wildcard of each dialect, with round prices.
async fn start() -> (loadtest::upstream::server::Upstream, Gateway) {
    let up = mock("up").await;
    let (first, second) = (openai("up", up.addr, ""), anthropic("claude", up.addr, ""));
    let price =
        "{input: 1.00, output: 10.00, cache_read: 0.10, cache_write: 2.00, cache_write_1h: 4.00}";
    let yaml = format!(
        "providers:\n{first}{second}models:\n  - {{id: '*', provider: up, price: {price}}}\n  \
         - {{id: '*', provider: claude, price: {price}}}\nrouting: {{cooldown_ms: 0}}\n"
    );
    (up, Setup::new(yaml).start().await)
}

/// The blocks of a stream (events with their blank lines), by any kind of line end.
fn blocks(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut out, mut start, mut line_start, mut at) = (Vec::new(), 0, 0, 0);
    while at < bytes.len() {
        let next = match bytes[at] {
            b'\r' if bytes.get(at + 1) == Some(&b'\n') => at + 2,
            b'\r' | b'\n' => at + 1,
            _ => {
                at += 1;
                continue;
            }
        };
        if at == line_start {
            out.push(start..next);
            start = next;
        }
        (line_start, at) = (next, next);
    }
    if start < bytes.len() {
        out.push(start..bytes.len());
    }
    out
}

/// The data of a block, its lines joined.
fn data_of(block: &[u8]) -> String {
    let text = String::from_utf8_lossy(block).replace("\r\n", "\n").replace('\r', "\n");
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.map(|data| data.strip_prefix(' ').unwrap_or(data)).collect::<Vec<_>>().join("\n")
}

fn is_usage_only(block: &[u8]) -> bool {
    let json: Value = serde_json::from_str(&data_of(block)).unwrap_or_default();
    json["usage"].is_object() && json["choices"].as_array().is_some_and(Vec::is_empty)
}

/// The stream without its usage chunk.
fn without_usage(bytes: &[u8]) -> Vec<u8> {
    let kept = blocks(bytes).into_iter().filter(|block| !is_usage_only(&bytes[block.clone()]));
    kept.flat_map(|block| bytes[block].to_vec()).collect()
}

/// The length of the part that is made of whole events.
fn whole_events(bytes: &[u8]) -> usize {
    let complete = |block: &&Range<usize>| {
        let block = &bytes[(*block).clone()];
        block.ends_with(b"\n\n") || block.ends_with(b"\r\n\r\n") || block.ends_with(b"\r\r")
    };
    blocks(bytes).iter().filter(complete).map(|block| block.end).max().unwrap_or(0)
}

/// Compares a stream with what came of it, but for the differences that are documented.
fn check_bytes(what: &str, fixture: &Fixture, sent: &[u8], answer: &Answer) {
    let sent = sent.strip_prefix(b"\xef\xbb\xbf").unwrap_or(sent);
    let (expected, tail) = match fixture.end() {
        "cut" => answer.body.split_at(whole_events(sent).min(answer.body.len())),
        _ => answer.body.split_at(sent.len().min(answer.body.len())),
    };
    let same = expected.iter().zip(sent).take_while(|(came, sent)| came == sent).count();
    assert_eq!(same, expected.len(), "{what}: differs at byte {same}\n{}", answer.text());
    if fixture.end() == "cut" {
        assert_eq!(expected.len(), whole_events(sent), "{what}: {}", answer.text());
        let error: Value = serde_json::from_str(&data_of(tail)).expect(what);
        assert!(error["error"]["message"].is_string(), "{what}: {error}");
        assert!(tail.ends_with(b"\n\n") && blocks(tail).len() == 1, "{what}: {}", answer.text());
        return;
    }
    assert_eq!(expected.len(), sent.len(), "{what}: not everything came");
    let completes = whole_events(sent) < sent.len();
    if completes {
        assert_eq!(tail, b"\n\n", "{what}: the last blank line");
    } else {
        // A cut usage chunk may leave an unfinished event behind it that needs no blank line.
        assert!(
            tail.iter().all(|byte| *byte == b'\n'),
            "{what}: {:?}",
            String::from_utf8_lossy(tail)
        );
    }
}

/// Compares a line of the access log with the manifest.
fn check_line(what: &str, fixture: &Fixture, line: &Value) {
    assert_eq!(line["end"], fixture.end(), "{what}: {line}");
    assert_eq!(line["status"], 200, "{what}");
    let usage = &fixture.facts["usage"];
    if usage.is_null() {
        assert_ne!(line["usage_source"], "exact", "{what}: {line}");
        return;
    }
    let number = |key: &str| usage[key].as_u64().unwrap();
    let expected = [
        ("input_tokens", number("input_plain")),
        ("cached_tokens", number("cache_read")),
        ("cache_write_tokens", number("cache_write") - number("cache_write_1h")),
        ("cache_write_1h_tokens", number("cache_write_1h")),
        ("completion_tokens", number("output")),
        ("reasoning_tokens", number("reasoning_within_output")),
    ];
    assert_eq!(line["usage_source"], "exact", "{what}: {line}");
    for (key, count) in expected {
        assert_eq!(line[key], count, "{what}: {key} in {line}");
    }
    assert_eq!(line["cost_usd"], cost(fixture), "{what}: {line}");
}

/// The cost in USD: what the provider says, else by the prices of `start`, rounded up to 1e-9.
fn cost(fixture: &Fixture) -> String {
    let usage = &fixture.facts["usage"];
    if let Some(own) = usage["provider_cost_usd"].as_str() {
        return own.to_owned();
    }
    let number = |key: &str| usage[key].as_u64().unwrap();
    let long = number("cache_write_1h");
    // Ten-millionths of a dollar: the cheapest token costs one.
    let tenths = number("input_plain") * 10
        + number("output") * 100
        + number("cache_read")
        + (number("cache_write") - long) * 20
        + long * 40;
    // What says that it was bound to a region costs a tenth more.
    let is_bound = memchr::memmem::find(&fixture.bytes, br#""inference_geo":"us""#).is_some();
    let hundredths = tenths * if is_bound { 11 } else { 10 };
    let text = format!("{}.{:08}", hundredths / 100_000_000, hundredths % 100_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[tokio::test]
async fn every_stream_passes_byte_for_byte_and_is_metered() {
    let (_up, gateway) = start().await;
    for fixture in streams() {
        for chunking in CHUNKINGS {
            let what = format!("{} {chunking}", fixture.name);
            let answer = gateway.ask(fixture.ask(chunking, fixture.options())).await;
            assert_eq!((answer.status, answer.whole), (200, true), "{what}: {}", answer.text());
            assert_eq!(answer.header("content-type"), "text/event-stream", "{what}");
            check_bytes(&what, &fixture, &fixture.bytes, &answer);
            check_line(&what, &fixture, &gateway.line_of(&answer).await);
        }
    }
}

#[tokio::test]
async fn a_usage_chunk_that_nobody_asked_for_is_cut_out_and_nothing_else() {
    let (up, gateway) = start().await;
    let mut cuts = 0;
    for fixture in streams().into_iter().filter(Fixture::is_chat) {
        let expected = without_usage(&fixture.bytes);
        cuts += usize::from(expected != fixture.bytes);
        for chunking in CHUNKINGS {
            let what = format!("{} {chunking} not asked", fixture.name);
            up.clear();
            let answer = gateway.ask(fixture.ask(chunking, "")).await;
            check_bytes(&what, &fixture, &expected, &answer);
            check_line(&what, &fixture, &gateway.line_of(&answer).await);
            let seen = up.requests().pop().unwrap().json();
            assert_eq!(seen["stream_options"]["include_usage"], true, "{what}: we ask for it");
        }
    }
    assert!(cuts >= 12, "only {cuts} fixtures have a usage chunk");
}

#[tokio::test]
async fn a_whole_answer_gains_our_object_and_nothing_else() {
    let (_up, gateway) = start().await;
    let whole = fixtures().into_iter().filter(|one| one.fact("end") == "body");
    let mut count = 0;
    for fixture in whole {
        count += 1;
        for chunking in CHUNKINGS {
            let what = format!("{} {chunking}", fixture.name);
            let answer = gateway.ask(fixture.ask(chunking, "")).await;
            assert_eq!((answer.status, answer.whole), (200, true), "{what}");
            let brace = fixture.bytes.iter().rposition(|byte| *byte == b'}').unwrap();
            let (before, after) = fixture.bytes.split_at(brace);
            assert!(answer.body.starts_with(before), "{what}: {}", answer.text());
            assert!(answer.body.ends_with(after), "{what}: {}", answer.text());
            let own = &answer.body[before.len()..answer.body.len() - after.len()];
            assert!(own.starts_with(br#","_weir":{"#), "{what}: {}", answer.text());
            assert_eq!(answer.header("content-length"), answer.body.len().to_string(), "{what}");
            assert!(answer.json()["_weir"].is_object(), "{what}");
            let own_cost = format!("\"cost\":{},", cost(&fixture));
            assert!(answer.text().contains(&own_cost), "{what}: {own_cost} {}", answer.text());
            check_line(&what, &fixture, &gateway.line_of(&answer).await);
        }
    }
    assert_eq!(count, 3);
}

#[tokio::test]
async fn error_answers_pass_with_status_headers_and_bytes() {
    let (_up, gateway) = start().await;
    let errors = fixtures().into_iter().filter(|one| one.fact("end") == "http_error");
    let mut count = 0;
    for fixture in errors {
        count += 1;
        let file: Value = serde_json::from_slice(&fixture.bytes).unwrap();
        let answer = gateway.ask(fixture.ask("whole", "")).await;
        let name = &fixture.name;
        if file["status"] == 401 {
            // Our credential was refused: that is between us and the provider.
            assert_eq!(answer.status, 502, "{name}");
            assert_eq!(answer.openai_code(), "upstream_auth_failed");
            continue;
        }
        assert_eq!(u64::from(answer.status), file["status"].as_u64().unwrap(), "{name}");
        let text = String::from_utf8_lossy(&fixture.bytes);
        let body = text.split_once("\"body\":").unwrap().1.trim_end().strip_suffix('}').unwrap();
        assert_eq!(answer.text(), body, "{name}");
        for (header, value) in file["headers"].as_object().unwrap() {
            assert_eq!(answer.header(header), value.as_str().unwrap(), "{name}: {header}");
        }
        assert_eq!(gateway.line_of(&answer).await["error_type"], "upstream_status", "{name}");
    }
    assert_eq!(count, 8);
}

#[tokio::test]
async fn the_metrics_are_the_sum_of_the_reports() {
    let (_up, gateway) = start().await;
    let mut sums = [0_u64; 5];
    let metered: Vec<Fixture> =
        streams().into_iter().filter(|one| one.facts["usage"].is_object()).collect();
    for fixture in &metered {
        let answer = gateway.ask(fixture.ask("whole", fixture.options())).await;
        assert_eq!(answer.status, 200);
        let usage = &fixture.facts["usage"];
        let keys =
            ["input_plain", "cache_read", "cache_write", "output", "reasoning_within_output"];
        for (sum, key) in sums.iter_mut().zip(keys) {
            *sum += usage[key].as_u64().unwrap();
        }
    }
    let page = gateway.metrics_after(metered.len()).await;
    for (sum, kind) in
        sums.into_iter().zip(["input", "cache_read", "cache_write", "output", "reasoning"])
    {
        let label = format!("kind=\"{kind}\"");
        assert_eq!(sum_of(&page, "weir_tokens_total", &[&label]), sum, "{kind}");
    }
    assert_eq!(sum_of(&page, "weir_usage_unknown_total", &[]), 0);
}
