//! Broken HTTP/1 and slow clients (`reliability.md` 3.2 and 3.5): every request is refused or served whole,
//! nothing is smuggled, nobody is let in for ever, and no client can make a provider look sick.

use std::time::Duration;

use loadtest::upstream::server::Upstream;

use crate::client::{Ask, Line, Piece};
use crate::gateway::{AGENT_KEY, Gateway, Setup, sum_of, wait_until};
use crate::provider::{mock, openai};

/// The deadline of a request head and of an idle connection, and of a body, with room for a busy machine.
const HEAD_BOUND: Duration = Duration::from_secs(30 + 20);
const BODY_BOUND: Duration = Duration::from_secs(120 + 20);
/// How often a slow client sends a byte.
const DRIP: Duration = Duration::from_millis(300);
/// How long an answer to a broken request may take.
const ANSWER: Duration = Duration::from_secs(10);
/// In place of a status: closed without an answer.
const CLOSED: u16 = 0;

async fn start() -> (Gateway, Upstream, Upstream) {
    let (up, spare) = (mock("up").await, mock("spare").await);
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: m, provider: up}}\n  - {{id: spare, provider: spare}}\n\
         routing: {{cooldown_ms: 600000, fallback_default: [spare]}}\n",
        openai("up", up.addr, ""),
        openai("spare", spare.addr, "")
    );
    (Setup::new(yaml).server("body_bytes_max: 1048576").start().await, up, spare)
}

/// A raw request: what it is, its bytes, what may come of it.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    /// Statuses allowed for its (first) answer.
    allowed: Vec<u16>,
    /// How many requests it should bring to the provider.
    served: usize,
    /// The client says that it has finished, as it would otherwise wait for a deadline.
    finish: bool,
}

const BODY: &str = r#"{"model":"m","messages":[]}"#;
const HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer KEY\r\nContent-Type: application/json\r\n";

/// A whole request that must never be taken for one.
fn smuggled() -> String {
    let body = r#"{"model":"m","user":"smuggled","messages":[]}"#;
    format!("{HEAD}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn with_key(text: &str) -> Vec<u8> {
    text.replace("KEY", AGENT_KEY).into_bytes()
}

/// A request with these header lines and this body in place of the usual ones.
fn refused(name: &'static str, lines: &str, body: &str) -> Case {
    let bytes = with_key(&format!("{HEAD}{lines}\r\n{body}"));
    Case { name, bytes, allowed: vec![400], served: 0, finish: false }
}

fn raw(name: &'static str, text: &str, allowed: &[u16]) -> Case {
    Case { name, bytes: with_key(text), allowed: allowed.to_vec(), served: 0, finish: false }
}

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

fn lengths() -> Vec<Case> {
    let inner = smuggled();
    let both = format!("{}{inner}", chunked(BODY));
    let sized = |value: &str| format!("Content-Length: {value}\r\n");
    let mut same =
        refused("equal Content-Lengths", "Content-Length: 27\r\nContent-Length: 27\r\n", BODY);
    same.allowed = vec![200, 400];
    let mut overflow =
        refused("overflowing Content-Length", &sized("99999999999999999999999"), BODY);
    overflow.allowed = vec![400, 413];
    vec![
        refused(
            "CL.TE",
            &format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", 4),
            &both,
        ),
        refused("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &both),
        refused("CL.TE in odd case", "CONTENT-LENGTH: 4\r\ntRANSFER-eNCODING: Chunked\r\n", &both),
        refused("differing Content-Lengths", "Content-Length: 5\r\nContent-Length: 27\r\n", BODY),
        same,
        refused("Content-Length list", &sized("27, 27"), BODY),
        refused("Content-Length list, short", &sized("3, 3"), "abc"),
        refused("signed Content-Length", &sized("+27"), BODY),
        refused("negative Content-Length", &sized("-1"), BODY),
        refused("hex Content-Length", &sized("0x1b"), BODY),
        overflow,
        refused("empty Content-Length", &sized(""), BODY),
        refused("Content-Length in two words", &sized("2 7"), BODY),
        refused("Content-Length with a comma", &sized("27,"), BODY),
        refused("blank before the colon", "Content-Length : 27\r\n", BODY),
    ]
}

fn encodings() -> Vec<Case> {
    let body = chunked(BODY);
    let coded = |value: &str| format!("Transfer-Encoding: {value}\r\n");
    let mut cases = vec![
        refused("misspelt coding", &coded("xchunked"), &body),
        refused("doubled coding", &coded("chunked, chunked"), &body),
        refused(
            "two coding lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            &body,
        ),
        refused("identity coding", &coded("identity"), &body),
        refused("gzip coding", &coded("gzip, chunked"), &body),
        refused("coding with a vertical tab", &coded("\u{b}chunked"), &body),
        refused("folded coding", "Transfer-Encoding:\r\n chunked\r\n", &body),
        refused("coding with a blank before the colon", "Transfer-Encoding : chunked\r\n", &body),
        refused("quoted coding", &coded("\"chunked\""), &body),
        refused("bad chunk size", &coded("chunked"), "zz\r\nabc\r\n0\r\n\r\n"),
        refused("negative chunk size", &coded("chunked"), "-1\r\nabc\r\n0\r\n\r\n"),
        refused("hex prefix in a chunk size", &coded("chunked"), "0x1b\r\nabc\r\n0\r\n\r\n"),
        refused(
            "overflowing chunk size",
            &coded("chunked"),
            "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        ),
        refused("huge chunk size", &coded("chunked"), "7fffffffffffffff\r\nabc"),
        refused(
            "chunk that runs over",
            &coded("chunked"),
            &format!("5\r\n{BODY}\r\n0\r\n\r\n{}", smuggled()),
        ),
        refused("chunk size ended by LF", &coded("chunked"), &format!("1b\n{BODY}\r\n0\r\n\r\n")),
        refused(
            "chunk extension ended by LF",
            &coded("chunked"),
            &format!("1b;x\n{BODY}\r\n0\r\n\r\n"),
        ),
        refused("body that breaks off", "Content-Length: 100\r\n", BODY),
        refused("chunks that break off", &coded("chunked"), "1b\r\n{\"mod"),
        raw(
            "HTTP/1.0 with a coding",
            &(HEAD.replace("1.1", "1.0") + "Transfer-Encoding: chunked\r\n\r\n" + &body),
            &[400],
        ),
    ];
    for case in &mut cases {
        let waits = ["huge chunk", "ended by LF", "break", "overflowing chunk"]
            .iter()
            .any(|part| case.name.contains(part));
        if waits {
            case.finish = true;
            case.allowed.extend([CLOSED, 413]);
        }
    }
    cases
}

fn heads() -> Vec<Case> {
    let length = format!("Content-Length: {}\r\n", BODY.len());
    let line = |extra: &str| refused("", &format!("{length}{extra}"), BODY);
    let named = |name: &'static str, extra: &str| Case { name, ..line(extra) };
    let mut folded = named("folded header", "X-A: b\r\n c\r\n");
    folded.allowed = vec![200, 400];
    folded.served = 0;
    let bare = smuggled().replace("\r\n", "\n");
    vec![
        folded,
        raw("bare LF everywhere", &bare, &[400]),
        named("one bare LF", "X-A: b\nX-C: d\r\n"),
        named("bare CR in a value", "X-A: b\rX-C: d\r\n"),
        named("NUL in a value", "X-A: b\0c\r\n"),
        named("NUL in a name", "X-\0A: b\r\n"),
        named("no name", ": b\r\n"),
        named("no colon", "X-A b\r\n"),
        named("two Hosts", "Host: other\r\n"),
        raw("no Host", &format!("{}{length}\r\n{BODY}", HEAD.replace("Host: g\r\n", "")), &[400]),
        raw(
            "NUL in the path",
            "GET /v1/mod\0els HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer KEY\r\n\r\n",
            &[200, 400],
        ),
        raw(
            "absolute form of another host",
            "GET http://other/v1/models HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer KEY\r\n\r\n",
            &[400],
        ),
        raw("no version", "GET /v1/models\r\n\r\n", &[400, CLOSED]),
        raw("version 9.9", "GET /v1/models HTTP/9.9\r\nHost: g\r\n\r\n", &[400, 505, CLOSED]),
        raw(
            "blank in the path",
            "GET /v1/mod els HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer KEY\r\n\r\n",
            &[200, 400],
        ),
        raw("odd method", "GE\tT /v1/models HTTP/1.1\r\nHost: g\r\n\r\n", &[400]),
        raw(
            "CONNECT",
            "CONNECT up:443 HTTP/1.1\r\nHost: up:443\r\nAuthorization: Bearer KEY\r\n\r\n",
            &[400, 404, 405, 501],
        ),
        raw(
            "too many headers",
            &format!("GET /livez HTTP/1.1\r\nHost: g\r\n{}\r\n", "X-A: b\r\n".repeat(400)),
            &[400, 431, CLOSED],
        ),
        raw(
            "a header of 64 KiB",
            &format!("GET /livez HTTP/1.1\r\nHost: g\r\nX-A: {}\r\n\r\n", "a".repeat(64 * 1024)),
            &[200, 400, 431, CLOSED],
        ),
        raw(
            "headers of 3 MiB",
            &format!(
                "GET /livez HTTP/1.1\r\nHost: g\r\nX-A: {}\r\n\r\n",
                "a".repeat(3 * 1024 * 1024)
            ),
            &[400, 431, CLOSED],
        ),
        raw("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n\r\n", &[400, CLOSED]),
        raw("HTTP/2 without asking", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400, 505, CLOSED]),
    ]
}

/// Requests that are refused or answered before their body is read; the body looks like a request.
fn unread_bodies() -> Vec<Case> {
    let inner = smuggled();
    let length = format!("Content-Length: {}\r\n\r\n{inner}", with_key(&inner).len());
    let chunks = format!(
        "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n",
        with_key(&inner).len()
    );
    let get = "GET PATH HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer KEY\r\n";
    let mut cases = Vec::new();
    for rest in [&length, &chunks] {
        let wrong = HEAD.replace("Bearer KEY", "Bearer it-wrong-key-0123456789");
        cases.push(raw("wrong key", &format!("{wrong}{rest}"), &[401]));
        cases.push(raw(
            "no such path",
            &format!("{}{rest}", HEAD.replace("/v1/chat", "/v9/chat")),
            &[404],
        ));
        cases.push(raw(
            "wrong method",
            &format!("{}{rest}", get.replace("PATH", "/v1/messages")),
            &[405],
        ));
        cases.push(raw(
            "model list",
            &format!("{}{rest}", get.replace("PATH", "/v1/models")),
            &[200],
        ));
        cases.push(raw("liveness", &format!("{}{rest}", get.replace("PATH", "/livez")), &[200]));
        cases.push(raw(
            "unknown encoding",
            &format!("{HEAD}Content-Encoding: br\r\n{rest}"),
            &[415],
        ));
        cases.push(raw(
            "web socket",
            &format!(
                "{}Connection: Upgrade\r\nUpgrade: websocket\r\n{rest}",
                get.replace("PATH", "/v1/responses")
            ),
            &[426],
        ));
    }
    cases
}

fn sound() -> Vec<Case> {
    let one = format!("{HEAD}Content-Length: {}\r\n\r\n{BODY}", BODY.len());
    let ok = |name, text: &str, served| Case { served, ..raw(name, text, &[200]) };
    let ten = one.replace("HTTP/1.1", "HTTP/1.0");
    vec![
        ok("with a length", &one, 1),
        ok("in chunks", &format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{}", chunked(BODY)), 1),
        ok(
            "chunks with extensions and trailers",
            &format!(
                "{HEAD}Transfer-Encoding: chunked\r\n\r\n1b;a=\"b\"\r\n{BODY}\r\n0\r\nX-T: 1\r\n\r\n"
            ),
            1,
        ),
        ok(
            "expecting 100",
            &format!("{HEAD}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n{BODY}", BODY.len()),
            1,
        ),
        ok("HTTP/1.0", &ten, 1),
        ok("two in a row", &one.repeat(2), 2),
        ok("one and garbage", &format!("{one}GARBAGE\r\n\r\n"), 1),
    ]
}

/// Sends a case and returns the status of its first answer. The connection stays open, so that whatever
/// follows on it can happen.
async fn play(gateway: &Gateway, case: &Case) -> (u16, Line) {
    let mut line = Line::open(gateway.data).await.unwrap();
    line.send(&case.bytes).await;
    if case.finish {
        line.finish().await;
    }
    let status = match tokio::time::timeout(ANSWER, line.head()).await {
        Err(_) => 999,
        Ok(Ok(head)) => head.status,
        Ok(Err(_)) => CLOSED,
    };
    if status == 200 && case.served > 0 {
        while matches!(line.piece().await, Piece::Bytes(_)) {}
    }
    (status, line)
}

#[tokio::test]
async fn broken_requests_are_refused_and_nothing_is_smuggled() {
    let (gateway, up, spare) = start().await;
    let cases = [sound(), lengths(), encodings(), heads(), unread_bodies()].concat_cases();
    assert!(cases.len() >= 41);
    let (mut open, mut wrong) = (Vec::new(), Vec::new());
    for case in &cases {
        let (status, line) = play(&gateway, case).await;
        if !case.allowed.contains(&status) {
            wrong.push(format!("{}: {status}, not one of {:?}", case.name, case.allowed));
        }
        open.push(line);
    }
    wait_until("no request in flight", || async {
        gateway.metric("weir_requests_inflight", &[]).await == 0
    })
    .await;
    for seen in up.requests() {
        let odd = seen.path.bytes().any(|byte| byte <= b' ');
        if odd {
            wrong.push(format!("sent upstream: {:?}", seen.path));
        }
    }
    let bodies: Vec<String> =
        up.requests().iter().map(|seen| seen.json()["user"].to_string()).collect();
    assert!(!bodies.iter().any(|user| user.contains("smuggled")), "smuggled: {bodies:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
    let served: usize = cases.iter().map(|case| case.served).sum();
    let lenient =
        cases.iter().filter(|case| case.served == 0 && case.allowed == [200, 400]).count();
    assert!((served..=served + lenient).contains(&up.requests().len()), "{}", up.requests().len());
    assert!(spare.requests().is_empty(), "a client made a provider look sick");
    let answer = gateway.ask(Ask::chat("m", false)).await;
    assert_eq!(
        (answer.status, answer.header("x-gateway-provider")),
        (200, "up"),
        "it does not rest"
    );
    gateway.line_of(&answer).await;
    let page = gateway.metrics().await;
    let attempts = sum_of(&page, "weir_attempts_total", &[]);
    assert_eq!(sum_of(&page, "weir_attempts_total", &["outcome=\"answered\""]), attempts);
    assert_eq!(sum_of(&page, "weir_fallbacks_total", &[]), 0);
    assert_eq!(sum_of(&page, "weir_requests_total", &["status=\"502\""]), 0);
}

/// Lists of cases in one.
trait ConcatCases {
    fn concat_cases(self) -> Vec<Case>;
}

impl<const N: usize> ConcatCases for [Vec<Case>; N] {
    fn concat_cases(self) -> Vec<Case> {
        self.into_iter().flatten().collect()
    }
}

/// Sends the text byte by byte for ever; true once the other side has closed within the bound.
async fn drip(gateway: &Gateway, (start, endless): (&str, &str), bound: Duration) -> bool {
    let mut line = Line::open(gateway.data).await.unwrap();
    line.send(&with_key(start)).await;
    let until = tokio::time::Instant::now() + bound;
    let mut tick = tokio::time::interval(DRIP);
    for byte in endless.bytes().cycle() {
        if tokio::time::Instant::now() > until {
            return false;
        }
        tick.tick().await;
        line.send(&[byte]).await;
        if line.until_closed(Duration::from_millis(1)).await.is_some() {
            return true;
        }
    }
    false
}

async fn silence(gateway: &Gateway, start: &str) -> bool {
    let mut line = Line::open(gateway.data).await.unwrap();
    line.send(&with_key(start)).await;
    line.until_closed(HEAD_BOUND).await.is_some()
}

#[tokio::test]
async fn slow_clients_are_let_go_at_their_deadline() {
    let (gateway, up, _spare) = start().await;
    let chunked = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
    let announced = format!("{HEAD}Content-Length: 100000\r\n\r\n");
    let lines = tokio::join!(
        drip(&gateway, ("GET /v1/models HTTP/1.1\r\nX-A: ", "a"), HEAD_BOUND),
        drip(&gateway, ("", "GET"), HEAD_BOUND),
        drip(&gateway, ("GET /livez HTTP/1.1\r\nHost: g\r\n", "X: y\r\n"), HEAD_BOUND),
        silence(&gateway, ""),
        silence(&gateway, "POST /v1/chat"),
        silence(&gateway, "GET /livez HTTP/1.1\r\nHost: g\r\n\r\n"),
        drip(&gateway, (&announced, " "), BODY_BOUND),
        drip(&gateway, (&chunked, "1\r\n \r\n"), BODY_BOUND),
    );
    assert_eq!(lines, (true, true, true, true, true, true, true, true));
    assert!(up.requests().is_empty());
    let lines = gateway.lines_when(2).await;
    let timed_out = lines.iter().filter(|line| line["fault"] == "request_timeout");
    assert_eq!(timed_out.count(), 2, "{lines:#?}");
    wait_until("no request in flight", || async {
        gateway.metric("weir_requests_inflight", &[]).await == 0
    })
    .await;
}

/// Before HTTP/1.1 there are no chunks: a body without a length ends with its connection.
#[tokio::test]
async fn an_old_client_is_sent_no_chunks() {
    let (gateway, _up, _spare) = start().await;
    for keep in ["", "Connection: keep-alive\r\n"] {
        let body = r#"{"model":"m","stream":true,"max_tokens":3,"messages":[]}"#;
        let head = HEAD.replace("HTTP/1.1", "HTTP/1.0");
        let text = format!("{head}{keep}Content-Length: {}\r\n\r\n{body}", body.len());
        let mut line = Line::open(gateway.data).await.unwrap();
        line.send(&with_key(&text)).await;
        let said = line.until_closed(ANSWER).await.expect("its end is the connection's");
        let said = String::from_utf8_lossy(&said).to_lowercase();
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert!(body.starts_with("data: {") && body.ends_with("data: [done]\n\n"), "{body}");
    }
}
