//! Hostile or broken answers of providers: bounded memory, decoded where possible, refused where not.

use loadtest::upstream::server::Upstream;

use crate::client::{Ask, Line, Piece};
use crate::gateway::{Gateway, SOON, Setup};
use crate::provider::{Canned, mock, openai, scripted};

const KIB_PER_MIB: u64 = 1024;

async fn start() -> (Gateway, Upstream) {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: '*', provider: up}}\nrouting: {{cooldown_ms: 0}}\n",
        openai("up", up.addr, "")
    );
    (Setup::new(yaml).server("drain_ms: 0").start().await, up)
}

async fn with_provider(address: std::net::SocketAddr) -> Gateway {
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up}}\nrouting: {{cooldown_ms: 0}}\n",
        openai("up", address, "")
    );
    Setup::new(yaml).start().await
}

/// A provider of `m`, and a good one that follows where that fails.
async fn with_spare(address: std::net::SocketAddr, good: &Upstream) -> Gateway {
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: m, provider: up}}\n  - {{id: good, provider: good}}\n\
         routing: {{cooldown_ms: 0, fallbacks: {{m: [good]}}}}\n",
        openai("up", address, ""),
        openai("good", good.addr, "")
    );
    Setup::new(yaml).start().await
}

/// What the gateway's memory peak grew by, in MiB, while a request was answered; and how much came.
async fn growth(gateway: &Gateway, ask: Ask) -> (u16, u64, u64) {
    gateway.ask(Ask::chat("mock", true)).await;
    let before = gateway.memory_kib("VmHWM");
    let mut line = Line::open(gateway.data).await.unwrap();
    let status = line.begin(&ask).await.unwrap().status;
    let mut bytes = 0;
    while let Piece::Bytes(piece) = line.piece().await {
        bytes += piece.len() as u64;
    }
    (status, (gateway.memory_kib("VmHWM") - before) / KIB_PER_MIB, bytes)
}

#[tokio::test]
async fn endless_lines_take_bounded_memory() {
    for stream in [true, false] {
        let (gateway, _up) = start().await;
        let (status, grown, bytes) = growth(&gateway, Ask::chat("mock-endless", stream)).await;
        // A document is held up to 16 MiB, in a buffer that grows by doubling and copying.
        assert!(grown < 72, "stream {stream}: grown by {grown} MiB");
        // What is too long to be held is passed on as it is: an event from its first 64 KiB on, a document from 16
        // MiB on.
        assert_eq!((status, bytes >= 63 << 20), (200, true), "stream {stream}: {bytes} bytes");
        assert_eq!(gateway.ask(Ask::chat("mock", false)).await.status, 200);
    }
}

#[tokio::test]
async fn compressed_answers_are_decoded_and_metered() {
    let (gateway, _up) = start().await;
    for stream in [false, true] {
        let answer = gateway.ask(Ask::chat("mock-gzip", stream)).await;
        assert_eq!((answer.status, answer.whole), (200, true));
        assert!(!answer.has("content-encoding"), "stream {stream}");
        let line = gateway.line_of(&answer).await;
        assert_eq!(
            (&line["usage_source"], &line["completion_tokens"]),
            (&"exact".into(), &4.into()),
            "{line}"
        );
        if stream {
            assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
        } else {
            assert!(answer.json()["_weir"].is_object());
        }
    }
}

#[tokio::test]
async fn a_compressed_bomb_takes_bounded_memory() {
    let (gateway, _up) = start().await;
    let (status, grown, _) = growth(&gateway, Ask::chat("mock-gzipbomb", false)).await;
    assert!(grown < 50, "grown by {grown} MiB");
    assert_eq!(status, 502);
    assert_eq!(gateway.ask(Ask::chat("mock", false)).await.status, 200);
}

#[tokio::test]
async fn huge_headers_are_bounded() {
    let (gateway, _up) = start().await;
    let (status, grown, _) = growth(&gateway, Ask::chat("mock-hugeheader", false)).await;
    assert!(grown < 10, "grown by {grown} MiB");
    assert_eq!(status, 200);
    let (address, script) = scripted().await;
    let gateway = with_provider(address).await;
    gateway.ask(Ask::get("/v1/models")).await;
    let before = gateway.memory_kib("VmHWM");
    script.send(b"HTTP/1.1 200 OK\r\n".to_vec()).unwrap();
    for at in 0..1_600 {
        let line = format!("x-{at}: {}\r\n", "h".repeat(64 * 1024));
        if script.send(line.into_bytes()).is_err() {
            break;
        }
    }
    let answer = gateway.ask(Ask::chat("m", false)).await;
    assert_eq!((answer.status, answer.openai_code().as_str()), (502, "upstream_invalid"));
    let grown = (gateway.memory_kib("VmHWM") - before) / KIB_PER_MIB;
    assert!(grown < 16, "grown by {grown} MiB");
}

#[tokio::test]
async fn headers_of_a_provider_are_filtered() {
    let headers = "set-cookie: a=b\r\nx-gateway-model-used: forged\r\nx-gateway-switched: 1\r\nconnection: keep-alive\r\n\
                   strict-transport-security: max-age=1\r\nwww-authenticate: Basic\r\nalt-svc: h2\r\nx-kept: yes\r\n";
    let up = Canned::json("200 OK", headers, br#"{"choices":[]}"#).await;
    let gateway = with_provider(up.address).await;
    let answer = gateway.ask(Ask::chat("m", false)).await;
    assert_eq!(
        (answer.status, answer.header("x-kept"), answer.header("x-gateway-model-used")),
        (200, "yes", "m")
    );
    assert_eq!(answer.header("x-gateway-switched"), "0");
    assert_eq!(answer.headers.iter().filter(|(name, _)| name == "x-gateway-model-used").count(), 1);
    for name in ["set-cookie", "strict-transport-security", "www-authenticate", "alt-svc"] {
        assert!(!answer.has(name), "{name}");
    }
    assert_eq!(up.count(), 1);
}

#[tokio::test]
async fn what_is_no_answer_of_a_model_is_no_success() {
    let good = mock("good").await;
    let page = "content-type: text/html\r\n";
    let json = "content-type: application/json\r\n";
    for (head, body) in [
        (json, ""),
        ("", ""),
        (json, "not json at all"),
        (json, "{\"a\":"),
        (json, "[]"),
        (json, "null"),
        (json, " {} x"),
        (page, "<html>{}</html>"),
    ] {
        let up = Canned::start(sized(head, body)).await;
        let gateway = with_provider(up.address).await;
        for stream in [false, true] {
            let answer = gateway.ask(Ask::chat("m", stream)).await;
            let said = (answer.status, answer.openai_code());
            assert_eq!(said, (502, "upstream_invalid".to_owned()), "{head} {body:?} {stream}");
        }
        let gateway = with_spare(up.address, &good).await;
        let answer = gateway.ask(Ask::chat("m", true)).await;
        assert_eq!((answer.status, answer.header("x-gateway-provider")), (200, "good"), "{body:?}");
    }
    for body in ["{}", "{}\n\n"] {
        let up = Canned::json("200 OK", "", body.as_bytes()).await;
        let answer = with_provider(up.address).await.ask(Ask::chat("m", false)).await;
        assert!(answer.json()["_weir"].is_object(), "{body:?}: {}", answer.text());
    }
    // Other paths have answers of any kind.
    for body in ["", "not json at all", "[]"] {
        let up = Canned::json("200 OK", "", body.as_bytes()).await;
        let answer = with_provider(up.address).await.ask(Ask::get("/v1/files")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, body));
    }
}

#[tokio::test]
async fn interim_answers_are_for_the_gateway_alone() {
    let body = r#"{"choices":[]}"#;
    for interim in ["HTTP/1.1 103 Early Hints\r\nlink: x", "HTTP/1.1 100 Continue"] {
        let answer = sized("content-type: application/json\r\n", body);
        let up = Canned::start(format!("{interim}\r\n\r\n{answer}")).await;
        let gateway = with_provider(up.address).await;
        let mut line = Line::open(gateway.data).await.unwrap();
        line.send(&Ask::chat("m", false).header("connection", "close").to_bytes()).await;
        let said = line.until_closed(SOON).await.expect("it is closed");
        let said = String::from_utf8_lossy(&said);
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    }
}

#[tokio::test]
async fn answers_that_are_framed_wrongly_are_not_passed_as_whole() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let cases = [
        format!("{head}content-length: 100\r\n\r\n{{\"a\":1}}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n5\r\n{{\"a\":"),
        format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n"),
        "HTTP/1.1 999999 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH\r\n".to_owned(),
    ];
    for text in cases {
        let up = Canned::start(text.clone()).await;
        let gateway = with_provider(up.address).await;
        let answer = gateway.ask(Ask::chat("m", false)).await;
        assert_eq!(
            (answer.status, answer.openai_code().as_str()),
            (502, "upstream_invalid"),
            "{text}"
        );
        assert_eq!(up.count(), 1, "{text}");
    }
    // An opaque answer cannot be held: it must be seen to be broken.
    let up = Canned::start(
        "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 100\r\n\r\nabc",
    )
    .await;
    let gateway = with_provider(up.address).await;
    let answer = gateway.ask(Ask::post("/v1/audio/speech", r#"{"model":"m"}"#)).await;
    assert!(!answer.whole || answer.status == 502, "half an answer as a whole one");
}

/// Two events and the usage that nobody asked for.
const STREAM: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n\
                      data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n\
                      data: [DONE]\n\n";

fn sized(head: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{head}content-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn streams_in_odd_dress_are_streams() {
    let types = ["text/event-stream", "text/event-stream; charset=utf-8", "Text/Event-Stream;x=y"];
    for (at, kind) in types.into_iter().enumerate() {
        let head = format!("content-type: {kind}\r\n");
        // With a length, until the connection closes, and in answer to a request for a document.
        let until_close = format!("HTTP/1.1 200 OK\r\n{head}\r\n{STREAM}");
        for (bytes, stream) in
            [(sized(&head, STREAM), true), (until_close, true), (sized(&head, STREAM), at != 0)]
        {
            let up = Canned::start(bytes).await;
            let gateway = with_provider(up.address).await;
            let answer = gateway.ask(Ask::chat("m", stream)).await;
            assert_eq!((answer.status, answer.whole), (200, true), "{kind}");
            assert_eq!(answer.text().contains("prompt_tokens"), !stream, "{}", answer.text());
            assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
            assert_eq!(gateway.line_of(&answer).await["completion_tokens"], 2);
        }
    }
}

#[tokio::test]
async fn documents_in_odd_dress_are_documents() {
    let body =
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"] {
        let head = format!("content-type: {kind}\r\n");
        let until_close = format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}");
        let hints = format!("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{}", sized(&head, body));
        let trailers = format!(
            "HTTP/1.1 200 OK\r\n{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\nx-t: 1\r\n\r\n",
            body.len()
        );
        for bytes in [sized(&head, body), until_close, hints, trailers] {
            let up = Canned::start(bytes.clone()).await;
            let gateway = with_provider(up.address).await;
            for stream in [false, true] {
                let answer = gateway.ask(Ask::chat("m", stream)).await;
                assert_eq!((answer.status, answer.whole), (200, true), "{bytes}");
                assert_eq!(answer.json()["_weir"]["agent_id"], "default", "{bytes}");
                assert_eq!(gateway.line_of(&answer).await["completion_tokens"], 2, "{bytes}");
            }
        }
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    for (head, status) in [
        ("HTTP/1.1 204 No Content\r\nx-kept: yes\r\n\r\n", 204),
        ("HTTP/1.1 304 Not Modified\r\netag: a\r\nx-kept: yes\r\n\r\n", 304),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-kept: yes\r\n\r\n", 200),
    ] {
        let up = Canned::start(head).await;
        let gateway = with_provider(up.address).await;
        let mut line = Line::open(gateway.data).await.unwrap();
        let answer = line.ask(&Ask::get("/v1/files").with_method("DELETE")).await.unwrap();
        assert_eq!((answer.status, answer.header("x-kept")), (status, "yes"), "{head}");
        assert!(answer.whole && answer.body.is_empty(), "{head}");
        let next = line.ask(&Ask::new("GET", "/livez")).await.unwrap();
        assert_eq!(next.json()["status"], "ok", "the connection is still in step after {status}");
    }
}

#[tokio::test]
async fn a_provider_that_answers_before_it_has_read_everything() {
    let up = Canned::start_hasty("HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy").await;
    let good = mock("good").await;
    let gateway = with_spare(up.address, &good).await;
    for size in [1_000, 200_000, 5_000_000] {
        let body = format!(r#"{{"model":"m","messages":[],"x":"{}"}}"#, "x".repeat(size));
        let answer = gateway.ask(Ask::post("/v1/chat/completions", body)).await;
        assert_eq!((answer.status, answer.header("x-gateway-provider")), (200, "good"), "{size}");
    }
}
