//! HTTP/2 from clients: many requests on one connection that do not disturb each other, and clear text only
//! where it is wanted.

use loadtest::upstream::server::Upstream;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::certificate::{Authority, HOST};
use crate::client::{Ask, Line, Piece};
use crate::gateway::{Gateway, SOON, Setup, wait_until};
use crate::http2_client::{Call, Wire};
use crate::provider::{mock, openai};

/// A gateway with those keys of `server`, and the mock behind it.
async fn start(server: &str) -> (Gateway, Upstream) {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up, price: {{input: 1, output: 2}}}}\n\
         \x20 - {{id: flood, provider: up, upstream_id: mock-chunks=60000}}\n\
         \x20 - {{id: long, provider: up, upstream_id: mock-chunks=100000-interval=20}}\n\
         \x20 - {{id: other, provider: up, upstream_id: mock-chunks=100001-interval=20}}\n\
         routing: {{cooldown_ms: 0}}\n",
        openai("up", up.addr, ""),
    );
    (Setup::new(yaml).server(server).start().await, up)
}

/// A connection in clear text.
async fn clear(gateway: &Gateway) -> Wire {
    Wire::over(TcpStream::connect(gateway.data).await.unwrap()).await.unwrap()
}

async fn begin(wire: &Wire, model: &str) -> Call {
    let mut call = wire.begin(&Ask::chat(model, true)).await.unwrap();
    assert_eq!(call.head.status, 200);
    assert!(matches!(call.piece().await, Piece::Bytes(_)));
    call
}

fn is_closed(up: &Upstream, model: &str) -> bool {
    let requests = up.requests();
    let mut of_model =
        requests.iter().filter(|seen| seen.model.as_deref().is_some_and(|name| name == model));
    of_model.any(|seen| seen.closed_early)
}

const LONG: &str = "mock-chunks=100000-interval=20";
const OTHER: &str = "mock-chunks=100001-interval=20";

#[tokio::test]
async fn requests_on_one_connection_are_kept_apart() {
    let (gateway, up) = start("h2c: true").await;
    let wire = std::sync::Arc::new(clear(&gateway).await);
    let mut asks = JoinSet::new();
    for at in 0..60_usize {
        let wire = std::sync::Arc::clone(&wire);
        asks.spawn(async move {
            let stream = at % 2 == 0;
            let body = format!(
                r#"{{"model":"m","stream":{stream},"max_tokens":{},"messages":[{{"role":"user","content":"{}"}}]}}"#,
                at % 4 + 1,
                "x".repeat(at * 1_000)
            );
            let answer = wire.ask(&Ask::post("/v1/chat/completions", body)).await.unwrap();
            (at, answer)
        });
    }
    while let Some(done) = asks.join_next().await {
        let (at, answer) = done.unwrap();
        assert_eq!((answer.status, answer.whole), (200, true), "{at}");
        // As many words as tokens were allowed.
        let (last, next) = (format!("w{} ", at % 4), format!("w{} ", at % 4 + 1));
        let text = answer.text();
        assert!(text.contains(&last) && !text.contains(&next), "{at}: {text}");
    }
    assert_eq!(up.requests().len(), 60);
    assert_eq!(wire.streams_max(), 128, "the bound that is told to clients");
}

#[tokio::test]
async fn a_request_that_is_taken_back_ends_only_its_own_upstream() {
    let authority = Authority::new();
    let secure = authority.tls_of(HOST);
    for (server, tls) in [("h2c: true", false), (secure.as_str(), true)] {
        let (gateway, up) = start(&format!("{server}, drain_ms: 0")).await;
        let wire = if tls {
            let stream = authority.connect(gateway.data, &["h2"]).await.unwrap();
            Wire::over(stream).await.unwrap()
        } else {
            clear(&gateway).await
        };
        let (taken_back, mut kept) = (begin(&wire, "long").await, begin(&wire, "other").await);
        assert_eq!(gateway.metric("weir_streams_open", &[]).await, 2);
        taken_back.cancel();
        wait_until("its upstream is closed", || async { is_closed(&up, LONG) }).await;
        for _ in 0..3 {
            assert!(matches!(kept.piece().await, Piece::Bytes(_)), "the other one goes on");
        }
        assert!(!is_closed(&up, OTHER));
        assert_eq!(wire.ask(&Ask::chat("m", false)).await.unwrap().status, 200);
        wait_until("one stream is counted", || async {
            gateway.metric("weir_streams_open", &[]).await == 1
        })
        .await;
        // With the connection all its requests end.
        let second = begin(&wire, "long").await;
        wire.cut();
        drop(second);
        wait_until("its upstream is closed", || async { is_closed(&up, OTHER) }).await;
        wait_until("no stream is counted", || async {
            gateway.metric("weir_streams_open", &[]).await == 0
        })
        .await;
        let line = gateway.line_with(|line| line["requested_model"] == "other").await;
        assert_eq!(line["end"], "client_gone", "{line}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_one_answer_still_gets_the_others() {
    let (gateway, up) = start("h2c: true, drain_ms: 0").await;
    let wire = clear(&gateway).await;
    let unread = wire.begin(&Ask::chat("flood", true)).await.unwrap();
    for _ in 0..5 {
        let answer = wire.ask(&Ask::chat("m", true)).await.unwrap();
        assert_eq!((answer.status, answer.whole), (200, true));
    }
    assert!(!up.requests()[0].finished, "it is held back, not kept in memory");
    let answer = unread.rest().await;
    assert!(answer.whole && answer.text().contains("w59999 "), "{} bytes", answer.body.len());
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn large_bodies_and_refusals_over_http2() {
    let (gateway, up) = start("h2c: true, body_bytes_max: 4000000").await;
    let wire = clear(&gateway).await;
    let with = |bytes: usize| {
        let text = "x".repeat(bytes);
        format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#)
    };
    let large = wire.ask(&Ask::post("/v1/chat/completions", with(3_000_000))).await.unwrap();
    assert_eq!(large.status, 200);
    assert!(up.requests()[0].body_bytes > 3_000_000);
    let too_large = wire.ask(&Ask::post("/v1/chat/completions", with(5_000_000))).await.unwrap();
    assert_eq!((too_large.status, too_large.openai_code().as_str()), (413, "body_too_large"));
    for (ask, status, code) in [
        (Ask::chat("m", false).bearer("it-wrong-key-0123456789"), 401, "invalid_key"),
        (Ask::chat("nothing", false), 404, "model_not_found"),
        (Ask::post("/v1/chat/completions", "{"), 400, "invalid_json"),
        (Ask::get("/v9/none"), 404, "not_found"),
    ] {
        let answer = wire.ask(&ask).await.unwrap();
        assert_eq!((answer.status, answer.openai_code().as_str()), (status, code));
    }
    assert_eq!(
        wire.ask(&Ask::chat("m", false)).await.unwrap().status,
        200,
        "on the same connection"
    );
    assert_eq!(up.requests().len(), 2);
}

#[tokio::test]
async fn clear_text_serves_both_versions_on_one_port() {
    let (gateway, _up) = start("h2c: true").await;
    let wire = clear(&gateway).await;
    let mut line = Line::open(gateway.data).await.unwrap();
    for stream in [false, true] {
        let ask = Ask::chat("m", stream);
        assert_eq!(wire.ask(&ask).await.unwrap().status, 200);
        assert_eq!(line.ask(&ask).await.unwrap().status, 200);
        assert_eq!(line.ask(&upgrade(ask)).await.unwrap().status, 200, "an offer is no order");
    }
}

fn upgrade(ask: Ask) -> Ask {
    ask.header("connection", "Upgrade, HTTP2-Settings")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABkAAQAAP__")
}

#[tokio::test]
async fn without_h2c_clear_text_is_http_1_only() {
    let (gateway, up) = start("").await;
    let stream = TcpStream::connect(gateway.data).await.unwrap();
    if let Ok(wire) = Wire::over(stream).await {
        assert!(wire.ask(&Ask::chat("m", false)).await.is_err());
    }
    let mut line = Line::open(gateway.data).await.unwrap();
    line.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let said = line.until_closed(SOON).await.expect("it is closed");
    assert!(!said.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&said));
    assert_eq!(up.requests().len(), 0);
    let answer = gateway.ask(upgrade(Ask::chat("m", false))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(up.requests()[0].header("upgrade"), None);
}

#[tokio::test]
async fn connections_count_whatever_is_spoken_on_them() {
    let authority = Authority::new();
    let server = format!("{}, connections_max: 2", authority.tls_of(HOST));
    let (gateway, _up) = start(&server).await;
    let connect = async || {
        let stream = authority.connect(gateway.data, &["h2"]).await?;
        let wire = Wire::over(stream).await?;
        let answer = wire.ask(&Ask::new("GET", "/livez")).await?;
        std::io::Result::Ok((wire, answer.status))
    };
    let mut open = Vec::new();
    for _ in 0..2 {
        let (wire, status) = connect().await.unwrap();
        assert_eq!(status, 200);
        open.push(wire);
    }
    assert!(connect().await.is_err(), "a third connection");
    open.pop();
    wait_until("a place is free again", || async {
        connect().await.is_ok_and(|(_, status)| status == 200)
    })
    .await;
}
