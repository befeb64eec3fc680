//! Requests that are refused: what is wrong with them, in which words, and that no provider hears of it.
//!
//! Broken HTTP is in `raw_http`, broken answers of providers are in `bad_upstream`.

use std::io::Write;

use loadtest::upstream::server::Upstream;

use crate::client::{Answer, Ask, Line, chat_body};
use crate::gateway::{AGENT_KEY, Gateway, Setup};
use crate::provider::{anthropic, mock, openai};

const BODY_BYTES_MAX: usize = 64 * 1024;
const BOUND_KEY: &str = "it-bound-key-0123456789";

async fn start() -> (Gateway, Upstream) {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: one, provider: up}}\n  - {{id: claude-x, provider: claude}}\n\
         agents: {{known: {{}}, bound: {{keys: [{BOUND_KEY}]}}}}\n",
        openai("up", up.addr, ""),
        anthropic("claude", up.addr, "")
    );
    let server = format!("body_bytes_max: {BODY_BYTES_MAX}");
    (Setup::new(yaml).server(&server).start().await, up)
}

fn known(ask: Ask) -> Ask {
    ask.set("x-agent-id", "known")
}

/// Checks a refusal in both dialects.
async fn refused(gateway: &Gateway, body: &[u8], expected: (u16, &str), param: Option<&str>) {
    let (status, code) = expected;
    let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    for path in ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions"] {
        let answer = gateway.ask(known(Ask::post(path, body))).await;
        assert_eq!(
            (answer.status, answer.openai_code().as_str()),
            (status, code),
            "{path} {shown}: {}",
            answer.text()
        );
        assert_eq!(
            answer.json()["error"]["param"].as_str(),
            param,
            "{path} {shown}: {}",
            answer.text()
        );
    }
    let answer = gateway.ask(known(Ask::post("/v1/messages", body))).await;
    let kind = if status == 404 { "not_found_error" } else { "invalid_request_error" };
    assert_eq!((answer.status, answer.anthropic_type().as_str()), (status, kind), "{shown}");
    let details = &answer.json()["error"]["details"];
    assert_eq!(
        (details["error_code"].as_str(), details["param"].as_str()),
        (Some(code), param),
        "{shown}"
    );
    assert!(answer.has("x-gateway-request-id"));
}

#[tokio::test]
async fn bodies_that_are_no_json_object() {
    let (gateway, up) = start().await;
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let deep_object = format!(r#"{{"model":"one","x":{deep}}}"#);
    let bodies: [&[u8]; 23] = [
        b"",
        b" ",
        b"{",
        b"nonsense",
        b"[]",
        b"[{\"model\":\"one\"}]",
        b"\"one\"",
        b"5",
        b"null",
        b"{\"model\":\"one\"",
        b"{\"model\":\"one\",}",
        b"{'model':'one'}",
        b"{\"model\":\"one\"} x",
        b"{\"model\":\"one\"}{\"model\":\"one\"}",
        b"{\"model\":\"one\",\"x\":NaN}",
        b"{\"model\":\"one\",\"x\":01}",
        b"{\"model\":\"one\",\"x\":\"\t\"}",
        b"\xef\xbb\xbf{\"model\":\"one\"}",
        b"{\"model\":\"one\",\"x\":\"\xff\xfe\"}",
        b"{\"model\":\"one\",\"x\":\"\xed\xa0\x80\"}",
        b"{\"model\":\"one\",\"x\":/*c*/1}",
        b"{\"model\":\"one\",\"x\":\"\\x41\"}",
        deep_object.as_bytes(),
    ];
    for body in bodies {
        refused(&gateway, body, (400, "invalid_json"), None).await;
    }
    assert!(up.requests().is_empty());
}

#[tokio::test]
async fn a_path_of_ours_has_one_spelling_and_its_methods_are_named() {
    let (gateway, up) = start().await;
    for path in [
        "/v1/chat/completions/",
        "/v1//chat/completions",
        "/v1/%63hat/completions",
        "/v1/chat%252Fcompletions",
        "/v1/Messages",
    ] {
        let answer = gateway.ask(Ask::post(path, r#"{"model":"one","messages":[]}"#)).await;
        assert_eq!((answer.status, answer.openai_code().as_str()), (404, "not_found"), "{path}");
        assert!(answer.text().contains("write the path as /v1/"), "{}", answer.text());
    }
    assert!(up.requests().is_empty());
    for (ask, methods) in [
        (Ask::get("/v1/chat/completions"), "POST"),
        (Ask::get("/infer"), "POST"),
        (Ask::get("/livez").with_method("DELETE"), "GET, HEAD"),
        (Ask::get("/api/switch"), "POST"),
        (Ask::post("/api/models", "{}"), "GET, HEAD"),
    ] {
        let answer = gateway.ask(ask.header("x-agent-id", "known")).await;
        assert_eq!((answer.status, answer.header("allow")), (405, methods), "{}", answer.text());
    }
}

#[tokio::test]
async fn models_that_make_no_sense() {
    let (gateway, up) = start().await;
    let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(300));
    let bodies = [
        r#"{"model":5}"#,
        r#"{"model":["one"]}"#,
        r#"{"model":{"id":"one"}}"#,
        r#"{"model":true}"#,
        r#"{"model":""}"#,
        r#"{"model":"one","model":"one"}"#,
        r#"{"model":"one","mod\u0065l":"two"}"#,
        r#"{"model":"one\r\nx-evil: 1"}"#,
        r#"{"model":"one\u0000"}"#,
        r#"{"model":"\ud800"}"#,
        &long,
    ];
    for body in bodies {
        refused(&gateway, body.as_bytes(), (400, "invalid_request"), Some("model")).await;
    }
    let fields = [
        (r#"{"model":"one","stream":"yes"}"#, "stream"),
        (r#"{"model":"one","stream":true,"stream":false}"#, "stream"),
        (r#"{"model":"one","stream_options":5}"#, "stream_options"),
    ];
    for (body, param) in fields {
        refused(&gateway, body.as_bytes(), (400, "invalid_request"), Some(param)).await;
    }
    refused(&gateway, br#"{"model":"unheard-of"}"#, (404, "model_not_found"), Some("model")).await;
    assert!(up.requests().is_empty());
}

fn too_large(answer: &Answer, anthropic: bool) {
    assert_eq!(answer.status, 413, "{}", answer.text());
    if anthropic {
        assert_eq!(answer.anthropic_type(), "request_too_large");
    } else {
        assert_eq!(answer.openai_code(), "body_too_large");
    }
}

#[tokio::test]
async fn an_announced_body_is_refused_before_it_is_read() {
    let (gateway, up) = start().await;
    for (path, anthropic) in
        [("/v1/chat/completions", false), ("/v1/messages", true), ("/v1/files", false)]
    {
        for length in ["65537", "1000000000000", "18446744073709551615"] {
            let mut line = Line::open(gateway.data).await.unwrap();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {AGENT_KEY}\r\nx-agent-id: known\r\n\
                 content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            );
            line.send(head.as_bytes()).await;
            too_large(&line.answer().await.unwrap(), anthropic);
        }
    }
    let mut line = Line::open(gateway.data).await.unwrap();
    let ask = known(Ask::post("/v1/messages", vec![b' '; 4 * BODY_BYTES_MAX])).chunked(8_000);
    too_large(&line.ask(&ask).await.unwrap(), true);
    let mut largest = chat_body("one", false).into_bytes();
    largest.resize(BODY_BYTES_MAX, b' ');
    for chunked in [false, true] {
        let ask = known(Ask::post("/v1/chat/completions", largest.clone()));
        let answer = gateway.ask(if chunked { ask.chunked(1_000) } else { ask }).await;
        assert_eq!(answer.status, 200, "a body of just the size: {}", answer.text());
    }
    assert_eq!(up.requests().len(), 2);
}

#[tokio::test]
async fn keys_and_identities() {
    let (gateway, up) = start().await;
    let chat = || known(Ask::chat("one", false));
    let twice = |name: &str, value: &str| chat().header(name, value).header(name, value);
    let cases = [
        (chat().without("authorization"), 401, "missing_key", None),
        (chat().set("authorization", ""), 401, "missing_key", None),
        (chat().bearer("it-wrong-key-0123456789"), 401, "invalid_key", None),
        (chat().without("authorization").header("x-api-key", "wrong"), 401, "invalid_key", None),
        (chat().bearer(&AGENT_KEY[..AGENT_KEY.len() - 1]), 401, "invalid_key", None),
        (chat().bearer(&format!("{AGENT_KEY}x")), 401, "invalid_key", None),
        (
            chat().header("authorization", &format!("Bearer {AGENT_KEY}")),
            400,
            "invalid_request",
            Some("authorization"),
        ),
        (
            chat().header("authorization", "Bearer other"),
            400,
            "invalid_request",
            Some("authorization"),
        ),
        (twice("x-api-key", AGENT_KEY), 400, "invalid_request", Some("x-api-key")),
        (chat().header("x-agent-id", "known"), 400, "invalid_request", Some("x-agent-id")),
        (chat().bearer(BOUND_KEY), 403, "agent_forbidden", Some("X-Agent-ID")),
        (chat().set("x-agent-id", "nobody"), 400, "unknown_agent", Some("X-Agent-ID")),
        (chat().without("x-agent-id"), 400, "unknown_agent", Some("X-Agent-ID")),
        (chat().set("x-agent-id", &"a".repeat(200)), 400, "invalid_request", Some("X-Agent-ID")),
        (
            chat().header("x-session-id", &"s".repeat(200)),
            400,
            "invalid_request",
            Some("x-session-id"),
        ),
    ];
    for (at, (ask, status, code, param)) in cases.into_iter().enumerate() {
        let answer = gateway.ask(ask).await;
        assert_eq!(
            (answer.status, answer.openai_code().as_str()),
            (status, code),
            "case {at}: {}",
            answer.text()
        );
        assert_eq!(answer.json()["error"]["param"].as_str(), param, "case {at}");
        if code == "unknown_agent" {
            let json = answer.json();
            assert!(
                json["available_agents"].as_array().unwrap().contains(&"known".into()),
                "{json}"
            );
            assert!(json["agent_id"].is_string(), "{json}");
        }
    }
    let claude = known(Ask::messages("claude-x", false));
    for (ask, status, kind) in [
        (claude.clone().bearer("it-wrong-key-0123456789"), 401, "authentication_error"),
        (claude.clone().without("authorization"), 401, "authentication_error"),
        (claude.clone().bearer(BOUND_KEY), 403, "permission_error"),
    ] {
        let answer = gateway.ask(ask).await;
        assert_eq!((answer.status, answer.anthropic_type().as_str()), (status, kind));
    }
    assert!(up.requests().is_empty());
    assert_eq!(
        gateway.ask(claude.without("authorization").header("x-api-key", AGENT_KEY)).await.status,
        200
    );
}

#[tokio::test]
async fn encodings_that_cannot_be_read() {
    let (gateway, up) = start().await;
    let body = chat_body("one", false).into_bytes();
    for encoding in ["br", "deflate", "gzip, zstd", "gzip, gzip", "compress", "foo"] {
        let ask = known(Ask::post("/v1/chat/completions", body.clone()))
            .header("content-encoding", encoding);
        let answer = gateway.ask(ask).await;
        assert_eq!(
            (answer.status, answer.openai_code().as_str()),
            (415, "unsupported_encoding"),
            "{encoding}"
        );
    }
    let ask = known(Ask::post("/v1/chat/completions", body.clone()));
    let answer = gateway
        .ask(ask.header("content-encoding", "gzip").header("content-encoding", "zstd"))
        .await;
    assert_eq!((answer.status, answer.openai_code().as_str()), (415, "unsupported_encoding"));
    let gzip = packed(&body);
    let mut broken = gzip.clone();
    let last = broken.len() - 5;
    broken[last] ^= 0x55;
    let zstd = zstd::encode_all(&body[..], 1).unwrap();
    let cases: [(&str, &[u8]); 6] = [
        ("gzip", &body),
        ("gzip", &gzip[..gzip.len() / 2]),
        ("gzip", &broken),
        ("gzip", b"\x1f\x8b"),
        ("zstd", &body),
        ("zstd", &zstd[..zstd.len() / 2]),
    ];
    for (at, (encoding, bytes)) in cases.into_iter().enumerate() {
        let ask =
            known(Ask::post("/v1/chat/completions", bytes)).header("content-encoding", encoding);
        let answer = gateway.ask(ask).await;
        assert_eq!(
            (answer.status, answer.openai_code().as_str()),
            (400, "invalid_request"),
            "case {at}"
        );
    }
    assert!(up.requests().is_empty());
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn bombs_end_at_the_limit() {
    let (gateway, up) = start().await;
    gateway.ask(known(Ask::chat("one", false))).await;
    // 40 MiB of spaces in some 40 KiB, below the limit while they are packed.
    let bomb = vec![b' '; 40 * 1024 * 1024];
    let (gzip, zstd) = (packed(&bomb), zstd::encode_all(&bomb[..], 3).unwrap());
    assert!(gzip.len() < BODY_BYTES_MAX && zstd.len() < BODY_BYTES_MAX);
    let before = gateway.memory_kib("VmHWM");
    for _ in 0..5 {
        for (encoding, bytes) in [("gzip", &gzip), ("zstd", &zstd)] {
            for path in ["/v1/chat/completions", "/v1/messages"] {
                let ask =
                    known(Ask::post(path, bytes.clone())).header("content-encoding", encoding);
                too_large(&gateway.ask(ask).await, path.ends_with("messages"));
            }
        }
    }
    let grown = gateway.memory_kib("VmHWM") - before;
    assert!(grown < 16 * 1024, "grown by {grown} KiB");
    assert_eq!(up.requests().len(), 1);
}

#[tokio::test]
async fn names_cannot_forge_headers_or_lines() {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: '*', provider: up}}\n",
        openai("up", up.addr, "")
    );
    let gateway = Setup::new(yaml).start().await;
    let odd = "m\u{e9}\u{1f600}\"}';--\u{202e}<script>";
    let body = serde_json::json!({"model": odd, "messages": []}).to_string();
    let answer =
        gateway.ask(Ask::post("/v1/chat/completions", body).header("x-session-id", "s\" {}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let line = gateway.line_of(&answer).await;
    assert_eq!((&line["requested_model"], &line["session_id"]), (&odd.into(), &"s\" {}".into()));
    assert_eq!(up.requests()[0].json()["model"], odd);
    assert!(!gateway.metrics().await.contains("<script>"), "names of clients are no labels");
    for path in ["/v1/models/a%0d%0aX-Evil:%201", "/v1/x%0d%0aX-Evil:%201?q=%0d%0a"] {
        let answer = gateway.ask(Ask::get(path)).await;
        assert!(!answer.has("x-evil"), "{path}");
    }
    let seen = up.requests();
    assert_eq!(seen.len(), 2, "the list of models is the gateway's own");
    assert!(seen.iter().all(|seen| seen.header("x-evil").is_none()));
}
