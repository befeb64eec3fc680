//! Streams that do not end as they should, keep-alives, clients that leave, clients that do not read.
//!
//! Well-formed streams are the subject of `fixtures`.

use std::time::Duration;

use loadtest::upstream::server::Upstream;
use serde_json::Value;

use crate::client::{Answer, Ask, Line, Piece};
use crate::gateway::{Gateway, SOON, Setup, wait_until};
use crate::provider::{anthropic, mock, openai, scripted};

/// Bytes of answer text that a client leaves unread, in so many pieces.
const LARGE_BYTES: usize = 24 * 1024 * 1024;
const LARGE_PIECES: usize = 3_000;
/// What the gateway may grow by meanwhile. Sockets and buffers on the way hold some hundred KiB.
const GROWTH_KIB_MAX: u64 = 10 * 1024;

/// A gateway before a mock of both dialects, with those keys of `server`.
pub async fn start(provider: &str, server: &str) -> (Upstream, Gateway) {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: '*', provider: up}}\n  - {{id: '*', provider: claude}}\n\
         routing: {{cooldown_ms: 0}}\n",
        openai("up", up.addr, provider),
        anthropic("claude", up.addr, provider),
    );
    let gateway = Setup::new(yaml).server(server).start().await;
    (up, gateway)
}

/// The same request on every surface.
pub fn asks(model: &str) -> [Ask; 3] {
    [Ask::chat(model, true), Ask::messages(model, true), Ask::responses(model, true)]
}

/// The last event of a stream that broke off: in the dialect, whole, and after whole events only.
pub fn check_error_event(at: usize, answer: &Answer, code: &str) {
    let text = answer.text();
    assert_eq!((answer.status, answer.whole), (200, true), "{text}");
    assert!(text.ends_with("\n\n"), "{text}");
    let events: Vec<&str> = text.trim_end().split("\n\n").collect();
    let last = events.last().unwrap();
    let json: Value = serde_json::from_str(last.split_once("data: ").unwrap().1).expect(last);
    let mut number = None;
    for event in &events[..events.len() - 1] {
        let data = event.split_once("data: ").map_or("{}", |(_, data)| data);
        let data = serde_json::from_str::<Value>(data).expect("a whole event");
        number = data["sequence_number"].as_u64().or(number);
    }
    if let Some(number) = number {
        assert_eq!(json["sequence_number"], number + 1, "{text}");
    }
    match at {
        0 => assert_eq!(json["error"]["code"], code, "{text}"),
        1 => {
            assert!(last.starts_with("event: error\n"), "{text}");
            assert_eq!(
                (&json["type"], &json["error"]["details"]["error_code"]),
                (&"error".into(), &code.into())
            );
        }
        _ => {
            assert!(last.starts_with("event: error\n"), "{text}");
            assert_eq!((&json["type"], &json["code"]), (&"error".into(), &code.into()), "{text}");
        }
    }
    for end in ["[DONE]", "message_stop", "response.completed", "finish_reason\":\"stop"] {
        assert!(!text.contains(end), "a broken stream claims its end: {text}");
    }
}

#[tokio::test]
async fn streams_that_break_off_end_in_an_error_event_of_the_dialect() {
    let (_up, gateway) = start("", "drain_ms: 0").await;
    for fault in ["cut=3", "cuthalf=3", "reset=3", "cleancut=3"] {
        for (at, ask) in asks(&format!("mock-{fault}")).into_iter().enumerate() {
            let answer = gateway.ask(ask).await;
            check_error_event(at, &answer, "upstream_invalid");
            let line = gateway.line_of(&answer).await;
            assert_eq!(
                (&line["end"], &line["ok"]),
                (&"cut".into(), &false.into()),
                "{fault}: {line}"
            );
            assert_eq!(line["usage_source"], "estimated", "{fault}: {line}");
        }
    }
    assert!(gateway.metric("weir_usage_unknown_total", &[]).await == 12);
}

#[tokio::test]
async fn a_silent_stream_ends_in_an_error_event_after_its_idle_time() {
    let (_up, gateway) = start(", idle_timeout_ms: 400", "drain_ms: 0").await;
    for (at, ask) in asks("mock-stall=3").into_iter().enumerate() {
        let answer = gateway.ask(ask).await;
        check_error_event(at, &answer, "upstream_timeout");
        assert_eq!(gateway.line_of(&answer).await["end"], "cut");
    }
}

#[tokio::test]
async fn a_stream_may_be_cut_at_any_byte() {
    let bodies = [(
        r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"héron 鷺"},"finish_reason":null}]}"#,
        5,
    )];
    for (event, step) in bodies {
        let stream = format!("{event}\n\n{event}\n\n");
        let first = event.len() + 2;
        for at in (first..stream.len()).step_by(step) {
            let (address, script) = scripted().await;
            let yaml = format!(
                "providers:\n{}models:\n  - {{id: m, provider: up}}\n",
                openai("up", address, "")
            );
            let gateway = Setup::new(yaml).start().await;
            script.send(head_and_chunk(&stream.as_bytes()[..at])).unwrap();
            drop(script);
            let answer = gateway.ask(Ask::chat("m", true)).await;
            let text = answer.text();
            let whole = &stream[..first];
            assert!(text.starts_with(whole), "cut at {at}: {text}");
            let rest = &text[first..];
            assert!(
                rest.starts_with("data: {\"error\":{") && rest.ends_with("}\n\n"),
                "cut at {at}: {text}"
            );
            assert_eq!(rest.matches("data:").count(), 1, "cut at {at}: {text}");
        }
    }
}

/// A stream's head and its first chunk, without the end of the chunked body.
fn head_and_chunk(bytes: &[u8]) -> Vec<u8> {
    let mut out =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    out.extend(chunk(bytes));
    out
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    out
}

#[tokio::test]
async fn comments_reach_the_client_before_the_first_event() {
    let (address, script) = scripted().await;
    let yaml =
        format!("providers:\n{}models:\n  - {{id: m, provider: up}}\n", openai("up", address, ""));
    let gateway = Setup::new(yaml).start().await;
    script.send(head_and_chunk(b": OPENROUTER PROCESSING\n\n")).unwrap();
    let mut line = Line::open(gateway.data).await.unwrap();
    line.send(&Ask::chat("m", true).to_bytes()).await;
    // No event comes before the client has seen a comment.
    let feeding = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        while script.send(chunk(b": OPENROUTER PROCESSING\n\n")).is_ok() {
            tick.tick().await;
        }
    });
    let head = tokio::time::timeout(SOON, line.head()).await.expect("in time").unwrap();
    assert_eq!(head.status, 200);
    let Piece::Bytes(bytes) = line.piece().await else { panic!("no comment came") };
    assert!(bytes.starts_with(b": OPENROUTER PROCESSING\n\n"));
    feeding.abort();
}

#[tokio::test]
async fn blank_lines_reach_the_client_before_the_document() {
    let (address, script) = scripted().await;
    let yaml =
        format!("providers:\n{}models:\n  - {{id: m, provider: up}}\n", openai("up", address, ""));
    let gateway = Setup::new(yaml).start().await;
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    script.send([head.as_bytes(), &chunk(b"\n")].concat()).unwrap();
    let mut line = Line::open(gateway.data).await.unwrap();
    line.send(&Ask::chat("m", false).to_bytes()).await;
    let (told, mut seen) = tokio::sync::oneshot::channel::<()>();
    let feeding = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        while seen.try_recv().is_err() {
            script.send(chunk(b"\n")).unwrap();
            tick.tick().await;
        }
        let body = br#"{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
        script.send([&chunk(body)[..], b"0\r\n\r\n"].concat()).unwrap();
        script.closed().await;
    });
    let head = tokio::time::timeout(SOON, line.head()).await.expect("in time").unwrap();
    let Piece::Bytes(first) = line.piece().await else { panic!("no blank line came") };
    assert!(first.iter().all(|byte| *byte == b'\n'));
    told.send(()).unwrap();
    let answer = line.rest(head).await;
    assert_eq!(answer.json()["_weir"]["agent_id"], "default", "{}", answer.text());
    assert_eq!(gateway.line_of(&answer).await["completion_tokens"], 2);
    feeding.abort();
}

/// Reads so many pieces of a stream and leaves.
async fn read_and_leave(gateway: &Gateway, ask: &Ask, pieces: usize) {
    let mut line = Line::open(gateway.data).await.unwrap();
    let head = line.begin(ask).await.unwrap();
    assert_eq!(head.status, 200);
    for _ in 0..pieces {
        assert!(matches!(line.piece().await, Piece::Bytes(_)));
    }
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_upstream() {
    for drain_ms in [0, 300] {
        let (up, gateway) = start("", &format!("drain_ms: {drain_ms}")).await;
        for (count, ask) in asks("mock-chunks=20000-interval=10").into_iter().enumerate() {
            up.clear();
            read_and_leave(&gateway, &ask, 1 + count * 5).await;
            let gone = up.wait_for(SOON, |seen| seen.closed_early).await;
            assert!(gone.is_some(), "drain {drain_ms}: the upstream is still read");
        }
        for line in gateway.lines_when(3).await {
            assert_eq!(line["end"], "client_gone", "{line}");
            assert_eq!(line["usage_source"], "estimated", "{line}");
        }
        wait_until("no open stream", || async {
            gateway.metric("weir_streams_open", &[]).await == 0
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_closes_the_upstream() {
    let (up, gateway) = start("", "drain_ms: 300").await;
    for stream in [false, true] {
        up.clear();
        let mut line = Line::open(gateway.data).await.unwrap();
        line.send(&Ask::chat("mock-latency=60000", stream).to_bytes()).await;
        assert!(up.wait_for(SOON, |seen| seen.body_bytes > 0).await.is_some());
        drop(line);
        assert!(up.wait_for(SOON, |seen| seen.closed_early).await.is_some());
    }
    for line in gateway.lines_when(2).await {
        assert_eq!((&line["end"], &line["status"]), (&"client_gone".into(), &0.into()), "{line}");
    }
}

#[tokio::test]
async fn an_abandoned_stream_is_read_on_for_its_usage() {
    let (_up, gateway) = start("", "drain_ms: 20000").await;
    read_and_leave(&gateway, &Ask::chat("mock-chunks=40-interval=10", true), 2).await;
    let line = gateway.lines_when(1).await.remove(0);
    assert_eq!(
        (&line["end"], &line["usage_source"]),
        (&"client_gone".into(), &"exact".into()),
        "{line}"
    );
    assert_eq!(line["completion_tokens"], 40, "{line}");
}

/// Waits until the process reads nothing more: it has felt that its client does not.
pub async fn until_it_stops_reading(gateway: &Gateway) {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let (mut last, mut same) = (0, 0);
    for _ in 0..2_000 {
        tick.tick().await;
        let now = gateway.bytes_read();
        // Its own look at the queue of records reads nothing, so that rest is rest.
        same = if now == last { same + 1 } else { 0 };
        last = now;
        if same == 10 {
            return;
        }
    }
    panic!("the gateway never stops reading");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_stream_and_no_memory() {
    let (_up, gateway) = start("", "drain_ms: 0").await;
    // One small request first, so that the pools and stacks are there.
    gateway.ask(Ask::chat("mock", true)).await;
    let before = gateway.memory_kib("VmHWM");
    let ask = Ask::chat(&format!("mock-chunks={LARGE_PIECES}-bytes={LARGE_BYTES}"), true);
    let mut line = Line::open_narrow(gateway.data).await.unwrap();
    let head = line.begin(&ask).await.unwrap();
    until_it_stops_reading(&gateway).await;
    assert!(gateway.bytes_read() < LARGE_BYTES as u64, "it has read everything already");
    let answer = line.rest(head).await;
    let grown = gateway.memory_kib("VmHWM") - before;
    assert!(grown < GROWTH_KIB_MAX, "grown by {grown} KiB");
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"));
    let letters = answer.body.windows(2).filter(|pair| pair == b"xx").count();
    assert!(letters > LARGE_BYTES - 2 * LARGE_PIECES, "only {letters} letters came");
    let line = gateway.line_of(&answer).await;
    assert_eq!(
        (&line["end"], &line["completion_tokens"]),
        (&"complete".into(), &LARGE_PIECES.into())
    );
}

#[tokio::test]
async fn an_error_in_the_middle_is_passed_on_as_it_came() {
    let (_up, gateway) = start("", "drain_ms: 0").await;
    for ask in asks("mock-error=3") {
        let answer = gateway.ask(ask).await;
        assert_eq!((answer.status, answer.whole), (200, true));
        assert_eq!(
            answer.text().matches("mock: Provider disconnected").count(),
            1,
            "{}",
            answer.text()
        );
        assert!(!answer.text().contains("upstream_invalid"), "a second error: {}", answer.text());
        assert_eq!(gateway.line_of(&answer).await["end"], "error_event");
    }
}
