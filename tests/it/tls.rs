//! TLS on both sides: clients that come over it, and providers that are called over it and have to prove who
//! they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use loadtest::upstream::server::Upstream;
use tokio::net::TcpStream;

use crate::certificate::{Authority, HOST};
use crate::client::{Ask, Line, Piece};
use crate::gateway::{AGENT_KEY, Gateway, SOON, Setup, free_port, new_folder, wait_until};
use crate::http2_client::Wire;
use crate::provider::{anthropic, mock, openai};

fn yaml(up: &Upstream) -> String {
    format!(
        "providers:\n{}{}models:\n  - {{id: m, provider: up, price: {{input: 1, output: 2}}}}\n\
         \x20 - {{id: long, provider: up, upstream_id: mock-chunks=100000-interval=20}}\n\
         \x20 - {{id: bad, provider: up, upstream_id: mock-503}}\n\
         \x20 - {{id: claude-x, provider: claude}}\nrouting: {{cooldown_ms: 0, fallbacks: {{bad: [m]}}}}\n",
        openai("up", up.addr, ""),
        anthropic("claude", up.addr, "")
    )
}

/// A gateway that speaks TLS as that host, and the mock behind it.
async fn secure(authority: &Authority, host: &str) -> (Gateway, Upstream) {
    let up = mock("up").await;
    let server = format!("{}, drain_ms: 0", authority.tls_of(host));
    (Setup::new(yaml(&up)).server(&server).start().await, up)
}

fn asks() -> [Ask; 9] {
    [
        Ask::chat("m", false),
        Ask::chat("m", true),
        Ask::chat("bad", true),
        Ask::messages("claude-x", true),
        Ask::responses("m", false),
        Ask::get("/v1/models"),
        Ask::new("GET", "/livez"),
        Ask::chat("nothing", false),
        Ask::chat("m", false).without("authorization"),
    ]
}

/// What stays the same whenever a request is repeated.
fn stable(text: &str) -> String {
    let words = text.split(['"', ',', ':', ' ', '}', '{', '[', ']', '\n']);
    let is_own = |word: &&str| {
        let number = word.chars().any(|c| c.is_ascii_digit()) && word.len() > 4;
        !word.is_empty() && !number
    };
    words.filter(is_own).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn both_versions_of_http_answer_alike_over_tls() {
    let authority = Authority::new();
    let (gateway, up) = secure(&authority, HOST).await;
    let stream = authority.connect(gateway.data, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "it prefers HTTP/2");
    let wire = Wire::over(stream).await.unwrap();
    for (at, ask) in asks().iter().enumerate() {
        let second = wire.ask(ask).await.unwrap();
        for protocols in [&["http/1.1"][..], &[]] {
            let stream = authority.connect(gateway.data, protocols).await.unwrap();
            let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(agreed.is_some(), !protocols.is_empty(), "{protocols:?}");
            let first = Line::on(stream).ask(ask).await.unwrap();
            assert!(first.whole && second.whole, "request {at}");
            assert_eq!(first.status, second.status, "request {at}: {}", second.text());
            assert_eq!(stable(&first.text()), stable(&second.text()), "request {at}");
            for name in ["content-type", "x-gateway-model-used", "x-gateway-attempt-count"] {
                assert_eq!(first.header(name), second.header(name), "request {at}: {name}");
            }
            assert!(first.has("x-gateway-request-id") && second.has("x-gateway-request-id"));
        }
        for name in ["connection", "transfer-encoding", "keep-alive"] {
            assert!(!second.has(name), "request {at}: {name} has no place in HTTP/2");
        }
    }
    assert!(up.requests().iter().all(|seen| !seen.carried(AGENT_KEY)));
}

#[tokio::test]
async fn many_requests_over_one_tls_connection_and_large_ones_too() {
    let authority = Authority::new();
    let (gateway, up) = secure(&authority, HOST).await;
    let stream = authority.connect(gateway.data, &["http/1.1"]).await.unwrap();
    let mut line = Line::on(stream);
    let text = "x".repeat(2 * 1024 * 1024);
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
    for ask in [Ask::post("/v1/chat/completions", body.as_str()), Ask::chat("m", true)] {
        for ask in [ask.clone(), ask.chunked(5_000)] {
            let answer = line.ask(&ask).await.unwrap();
            assert_eq!((answer.status, answer.whole), (200, true));
        }
    }
    let sizes: Vec<u64> = up.requests().iter().map(|seen| seen.body_bytes).collect();
    assert!(sizes[..2].iter().all(|size| *size >= text.len() as u64), "{sizes:?}");
}

#[tokio::test]
async fn who_does_not_speak_tls_gets_no_answer_and_disturbs_nobody() {
    let authority = Authority::new();
    let (gateway, up) = secure(&authority, HOST).await;
    for bytes in [Ask::chat("m", false).to_bytes(), vec![0; 4096], b"\x16\x03\x01".to_vec()] {
        let mut line = Line::open(gateway.data).await.unwrap();
        line.send(&bytes).await;
        line.finish().await;
        let said = line.until_closed(SOON).await.expect("it is closed");
        assert!(!said.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&said));
    }
    // A client that does not trust the certificate leaves in the middle of the handshake.
    let stranger = Authority::new();
    assert!(stranger.connect(gateway.data, &["h2"]).await.is_err());
    // Nor is there a protocol for one that offers only unknown ones.
    assert!(authority.connect(gateway.data, &["spdy/3"]).await.is_err());
    assert_eq!(up.requests().len(), 0);
    let stream = authority.connect(gateway.data, &["http/1.1"]).await.unwrap();
    assert_eq!(Line::on(stream).ask(&Ask::chat("m", false)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_over_tls_ends_its_stream() {
    let authority = Authority::new();
    let (gateway, up) = secure(&authority, HOST).await;
    let stream = authority.connect(gateway.data, &["http/1.1"]).await.unwrap();
    let mut line = Line::on(stream);
    assert_eq!(line.begin(&Ask::chat("long", true)).await.unwrap().status, 200);
    assert!(matches!(line.piece().await, Piece::Bytes(_)));
    drop(line);
    assert!(up.wait_for(SOON, |seen| seen.closed_early).await.is_some());
}

#[test]
fn a_certificate_that_cannot_be_used_ends_the_start() {
    let (authority, folder) = (Authority::new(), new_folder());
    fs::write(folder.join("empty"), "").unwrap();
    let right = authority.tls_of("one.test");
    let other = authority.tls_of("two.test");
    let key_of_other = other.split("key: ").nth(1).unwrap();
    let swapped = format!("{}key: {key_of_other}", right.split("key: ").next().unwrap());
    let broken = |end: &str| right.replace(&format!(".{end}'"), &format!(".{end}.gone'"));
    let empty = |end: &str| {
        let (before, after) = right.split_once(&format!("{end}: '")).unwrap();
        let rest = after.split_once('\'').unwrap().1;
        format!("{before}{end}: '{}'{rest}", folder.join("empty").display())
    };
    for tls in [broken("crt"), broken("key"), empty("cert"), empty("key"), swapped] {
        let said = refusal(&folder, &tls);
        assert!(said.contains("server.tls"), "{tls}: {said}");
        assert!(!said.contains("panicked") && !said.contains("PRIVATE"), "{tls}: {said}");
    }
    fs::remove_dir_all(folder).unwrap();
}

/// What a gateway with that setting says when it does not start.
fn refusal(folder: &Path, tls: &str) -> String {
    let (data, admin) = (free_port(), free_port());
    let sock = folder.join("up.sock");
    let yaml = format!(
        "server: {{listen: '{data}', admin: '{admin}', upgrade_sock: '{}', {tls}}}\n\
         providers: {{up: {{dialect: openai, base_url: 'http://127.0.0.1:9/v1', api_key: k}}}}\n\
         models: [{{id: m, provider: up, price: {{input: 1, output: 2}}}}]\n",
        sock.display()
    );
    fs::write(folder.join("weir.yaml"), yaml).unwrap();
    let output = Command::new("timeout")
        .args(["20", env!("CARGO_BIN_EXE_weir"), "serve", "-c", "weir.yaml"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{tls}: {said}");
    said
}

/// The configuration of a gateway whose provider is a second one behind TLS.
fn before(back: &Gateway, ca: Option<&Path>) -> String {
    let ca = ca.map_or(String::new(), |path| format!(", ca: '{}'", path.display()));
    format!(
        "providers:\n  back: {{dialect: openai, base_url: 'https://{}/v1', api_key: {AGENT_KEY}{ca}}}\n\
         models: [{{id: m, provider: back}}, {{id: long, provider: back}}]\n\
         routing: {{cooldown_ms: 0}}\n",
        back.data
    )
}

#[tokio::test]
async fn a_provider_behind_a_private_authority_is_called() {
    let authority = Authority::new();
    let (back, up) = secure(&authority, "127.0.0.1").await;
    let setup = Setup::new(before(&back, Some(&authority.pem))).server("drain_ms: 0");
    let front = setup.start().await;
    let text = "x".repeat(5 * 1024 * 1024);
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
    for ask in
        [Ask::chat("m", false), Ask::chat("m", true), Ask::post("/v1/chat/completions", body)]
    {
        let answer = front.ask(ask).await;
        assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
        assert_eq!(answer.header("x-gateway-provider"), "back");
    }
    assert_eq!(up.requests().len(), 3);
    assert!(up.requests()[2].body_bytes >= text.len() as u64);
    // Both ends are HTTP/2 here: a client that leaves is felt through the whole chain.
    let mut line = Line::open(front.data).await.unwrap();
    assert_eq!(line.begin(&Ask::chat("long", true)).await.unwrap().status, 200);
    assert!(matches!(line.piece().await, Piece::Bytes(_)));
    drop(line);
    assert!(up.wait_for(SOON, |seen| seen.closed_early).await.is_some());
}

#[tokio::test]
async fn a_provider_that_cannot_prove_itself_is_sent_nothing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (back, up) = secure(&authority, "127.0.0.1").await;
    let (misnamed, other_up) = secure(&authority, "other.test").await;
    for (back, ca) in
        [(&back, Some(&stranger.pem)), (&back, None), (&misnamed, Some(&authority.pem))]
    {
        let front = Setup::new(before(back, ca.map(PathBuf::as_path))).start().await;
        for stream in [false, true] {
            let answer = front.ask(Ask::chat("m", stream)).await;
            assert_eq!(answer.status, 502, "{ca:?}: {}", answer.text());
            assert_eq!(answer.openai_code(), "upstream_unreachable");
        }
    }
    for (gateway, up) in [(&back, &up), (&misnamed, &other_up)] {
        assert!(gateway.lines().is_empty(), "{:?}", gateway.lines());
        assert_eq!(up.requests().len(), 0);
    }
}

#[tokio::test]
async fn a_reload_with_other_authorities_uses_no_old_connection() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (back, up) = secure(&authority, "127.0.0.1").await;
    let front = Setup::new(before(&back, Some(&authority.pem))).start().await;
    assert_eq!(front.ask(Ask::chat("m", false)).await.status, 200);
    for (ca, status) in [
        (Some(stranger.pem.as_path()), 502),
        (Some(authority.pem.as_path()), 200),
        (None, 502),
        (Some(authority.pem.as_path()), 200),
    ] {
        front.write(&before(&back, ca));
        assert_eq!(front.reload().await.status, 200);
        assert_eq!(front.ask(Ask::chat("m", false)).await.status, status, "{ca:?}");
    }
    assert_eq!(up.requests().len(), 3);
    // A file that is gone keeps the configuration in force.
    front.write(&before(&back, Some(&front.folder.join("gone.pem"))));
    let refused = front.reload().await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("providers.back.ca"), "{}", refused.text());
    assert_eq!(front.ask(Ask::chat("m", false)).await.status, 200);
    // One gateway closes; the other says so in words of its own, and comes back with it.
    let connected = || async { TcpStream::connect(back.data).await.is_ok() };
    back.signal("TERM");
    wait_until("the provider is gone", || async { !connected().await }).await;
    let answer = front.ask(Ask::chat("m", false)).await;
    assert_eq!((answer.status, answer.openai_code().as_str()), (502, "upstream_unreachable"));
}
