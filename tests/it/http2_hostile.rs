//! HTTP/2 that breaks the rules, and floods that keep to them: each is refused by the code that RFC 9113 names,
//! none keeps the gateway from serving others, and none makes it grow (`reliability.md` 3.5).
//!
//! Pingora's HTTP/2 is that of the crate `h2`; what is tested is that we have not switched its bounds off.

use std::net::SocketAddr;

use loadtest::upstream::server::Upstream;
use tokio::net::TcpStream;

use crate::client::Ask;
use crate::gateway::{AGENT_KEY, Gateway, Setup};
use crate::http2_client::Wire;
use crate::http2_frames::{
    CONTINUATION, DATA, Fate, Frames, GOAWAY, HEAD_ONLY, HEADERS, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, fields, frame, get, literal,
};
use crate::provider::{mock, openai};

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const COMPRESSION: u32 = 9;

/// What a flood may cost in memory, in KiB: far less than what it sends.
const GROWTH_KIB: u64 = 48 * 1024;

/// The same where nobody reads the answers, in KiB: half of what they would come to.
const UNREAD_KIB: u64 = 8 * 1024;

async fn start() -> (Gateway, Upstream) {
    let up = mock("up").await;
    let yaml =
        format!("providers:\n{}models:\n  - {{id: m, provider: up}}\n", openai("up", up.addr, ""));
    (Setup::new(yaml).server("h2c: true").start().await, up)
}

async fn serves(address: SocketAddr) {
    let wire = Wire::over(TcpStream::connect(address).await.unwrap()).await.unwrap();
    assert_eq!(wire.ask(&Ask::chat("m", false)).await.unwrap().status, 200);
}

/// What breaks a rule for the whole connection, and the code for it. Where a frame cannot be read at all, `h2`
/// says `PROTOCOL_ERROR` in place of the narrower code, which any client takes just so.
fn breaches() -> Vec<(&'static str, Vec<u8>, u32)> {
    let request = |stream| frame(HEADERS, WHOLE, stream, &get(&[]));
    let setting = |id: u16, value: u32| {
        let payload = [id.to_be_bytes().as_slice(), &value.to_be_bytes()].concat();
        frame(SETTINGS, 0, 0, &payload)
    };
    let open = |stream| frame(HEADERS, 0, stream, &get(&[]));
    vec![
        ("data on the connection", frame(DATA, 0, 0, b"x"), PROTOCOL),
        ("a head on the connection", request(0), PROTOCOL),
        ("a stream of the server's", request(2), PROTOCOL),
        ("streams backwards", [request(5), request(3)].concat(), STREAM_CLOSED),
        ("data before a head", frame(DATA, 1, 1, b"x"), PROTOCOL),
        ("a frame over the size", frame(DATA, 0, 1, &[0; 16_385]), FRAME_SIZE),
        ("half a setting", frame(SETTINGS, 0, 0, &[0; 5]), FRAME_SIZE),
        ("an acknowledgement with settings", frame(SETTINGS, 1, 0, &[0; 6]), FRAME_SIZE),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL),
        ("a push that is neither on nor off", setting(2, 2), PROTOCOL),
        ("a window beyond 31 bits", setting(4, 1 << 31), FLOW_CONTROL),
        ("frames smaller than allowed", setting(5, 16_383), PROTOCOL),
        ("a ping of seven bytes", frame(PING, 0, 0, &[0; 7]), FRAME_SIZE),
        ("a ping on a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL),
        ("a window that grows by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL),
        (
            "a window that overflows",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            FLOW_CONTROL,
        ),
        ("a window of three bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), FRAME_SIZE),
        ("a reset of the connection", frame(RST_STREAM, 0, 0, &[0; 4]), PROTOCOL),
        ("a reset of no stream", frame(RST_STREAM, 0, 1, &[0; 4]), PROTOCOL),
        (
            "a reset of three bytes",
            [open(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            FRAME_SIZE,
        ),
        ("good-bye on a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
        ("more of no head", frame(CONTINUATION, 4, 1, &get(&[])), PROTOCOL),
        ("a ping inside of a head", [open(1), frame(PING, 0, 0, &[0; 8])].concat(), PROTOCOL),
        ("a push by a client", frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2]), PROTOCOL),
        ("an index that means nothing", frame(HEADERS, WHOLE, 1, &[0x80]), COMPRESSION),
        ("an index beyond the table", frame(HEADERS, WHOLE, 1, &[0xff, 0xff, 0x7f]), COMPRESSION),
        ("padding longer than the frame", frame(HEADERS, WHOLE | 8, 1, &[9, 0x82]), PROTOCOL),
    ]
}

#[tokio::test]
async fn a_broken_rule_ends_the_connection_by_its_code() {
    let (gateway, up) = start().await;
    let mut wrong = Vec::new();
    for (name, bytes, code) in breaches() {
        let mut frames = Frames::open(gateway.data).await;
        frames.send(&bytes).await;
        let fate = loop {
            match frames.fate().await {
                // What came before the breach may still be answered.
                Fate::Answered(_) => {}
                fate => break fate,
            }
        };
        if ![PROTOCOL, code].iter().any(|code| fate == Fate::Away(*code)) {
            wrong.push(format!("{name}: {fate:?}, not {code}"));
        }
    }
    assert_eq!(wrong, [""; 0]);
    serves(gateway.data).await;
    assert_eq!(up.requests().len(), 1);
}

#[tokio::test]
async fn a_malformed_request_ends_its_stream_only() {
    let (gateway, up) = start().await;
    let body = r#"{"model":"m","messages":[]}"#;
    let long = "1000000";
    let key = format!("Bearer {AGENT_KEY}");
    let post = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/v1/chat/completions"),
        ("authorization", &key),
        ("content-length", long),
    ];
    let short = [frame(HEADERS, HEAD_ONLY, 1, &fields(&post)), frame(DATA, 1, 1, body.as_bytes())];
    let head = |payload: Vec<u8>| frame(HEADERS, WHOLE, 1, &payload);
    let without_path = fields(&[(":method", "GET"), (":scheme", "http"), ("authorization", &key)]);
    // What cannot be read as a head at all ends the connection, as RFC 9113 5.4.2 allows.
    let (reset, away) = (Fate::Reset(1, PROTOCOL), Fate::Away(PROTOCOL));
    let late = [fields(&[("authorization", &key)]), get(&[])].concat();
    for (name, bytes, wanted) in [
        ("capitals in a name", head(get(&[("X-Name", "v")])), away.clone()),
        ("a field of the connection", head(get(&[("connection", "keep-alive")])), reset.clone()),
        ("an encoding of transfer", head(get(&[("te", "gzip")])), reset.clone()),
        ("a pseudo-field that nobody knows", head(get(&[(":name", "v")])), away.clone()),
        ("a pseudo-field of answers", head(get(&[(":status", "200")])), reset.clone()),
        ("two paths", head(get(&[(":path", "/v1/models")])), reset.clone()),
        ("no path", head(without_path), Fate::Answered(1)),
        ("pseudo-fields behind others", head(late), reset.clone()),
        ("less body than was said", short.concat(), reset.clone()),
        (
            "a stream that waits for itself",
            frame(HEADERS, WHOLE | 0x20, 1, &[vec![0, 0, 0, 1, 16], get(&[])].concat()),
            reset,
        ),
    ] {
        let mut frames = Frames::open(gateway.data).await;
        frames.send(&bytes).await;
        let fate = frames.fate().await;
        assert_eq!(fate, wanted, "{name}");
        if fate == Fate::Away(PROTOCOL) {
            continue;
        }
        frames.send(&frame(HEADERS, WHOLE, 3, &get(&[]))).await;
        assert_eq!(frames.fate().await, Fate::Answered(3), "{name}: the connection goes on");
    }
    assert_eq!(up.requests().len(), 0, "no broken request reaches a provider");
}

#[tokio::test]
async fn what_is_unknown_or_out_of_use_is_ignored() {
    let (gateway, _up) = start().await;
    let mut frames = Frames::open(gateway.data).await;
    for bytes in [
        frame(0x7e, 0xff, 0, b"unknown"),
        frame(SETTINGS, 0, 0, &[0, 0x7f, 0, 0, 0, 1]),
        frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 16]),
        frame(PING, 0xf0, 0, b"12345678"),
    ] {
        assert!(frames.send(&bytes).await);
    }
    let back = loop {
        let frame = frames.next().await.expect("the connection lives");
        if frame.kind == PING {
            break frame;
        }
    };
    assert_eq!((back.flags, back.payload.as_slice()), (1, b"12345678".as_slice()));
    // A head in three pieces is one.
    let head = get(&[]);
    let (one, rest) = head.split_at(7);
    let (two, three) = rest.split_at(30);
    frames.send(&frame(HEADERS, 1, 11, one)).await;
    frames.send(&frame(CONTINUATION, 0, 11, two)).await;
    frames.send(&frame(CONTINUATION, 4, 11, three)).await;
    assert_eq!(frames.fate().await, Fate::Answered(11));
}

/// Sends until the other side stops it or all is sent.
async fn flood(frames: &mut Frames, rounds: u32, bytes: impl Fn(u32) -> Vec<u8>) {
    for round in 0..rounds {
        if !frames.send(&bytes(round)).await {
            return;
        }
    }
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection_not_the_gateway() {
    let (gateway, up) = start().await;
    let before = gateway.memory_kib("VmRSS");
    let mut frames = Frames::open(gateway.data).await;
    flood(&mut frames, 10_000, |round| {
        let stream = round * 2 + 1;
        let cancel = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        [frame(HEADERS, WHOLE, stream, &get(&[])), cancel].concat()
    })
    .await;
    serves(gateway.data).await;
    let grown = gateway.memory_kib("VmRSS").saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{grown} KiB");
    assert_eq!(up.requests().len(), 1);
}

#[tokio::test]
async fn a_head_without_end_is_refused_long_before_it_fills_memory() {
    let (gateway, up) = start().await;
    let before = gateway.memory_kib("VmRSS");
    let filler: Vec<u8> =
        (0..14).flat_map(|_| literal(0, "x-filler", &"y".repeat(1_000))).collect();
    let mut frames = Frames::open(gateway.data).await;
    frames.send(&frame(HEADERS, 1, 1, &get(&[]))).await;
    // 140 MB, were it all taken.
    flood(&mut frames, 10_000, |_| frame(CONTINUATION, 0, 1, &filler)).await;
    let refused = matches!(frames.fate().await, Fate::Away(_) | Fate::Closed | Fate::Reset(..));
    assert!(refused, "nobody waits for its end");
    // Empty pieces cost nothing to send and must not go on for ever either.
    let mut frames = Frames::open(gateway.data).await;
    frames.send(&frame(HEADERS, 1, 1, &get(&[]))).await;
    flood(&mut frames, 200_000, |_| frame(CONTINUATION, 0, 1, &[])).await;
    let refused = matches!(frames.fate().await, Fate::Away(_) | Fate::Closed | Fate::Reset(..));
    assert!(refused, "nor for an end of nothing");
    serves(gateway.data).await;
    let grown = gateway.memory_kib("VmRSS").saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{grown} KiB");
    assert_eq!(up.requests().len(), 1);
}

#[tokio::test]
async fn a_head_that_is_small_on_the_wire_and_large_in_memory_is_refused() {
    let (gateway, up) = start().await;
    let before = gateway.memory_kib("VmRSS");
    let mut frames = Frames::open(gateway.data).await;
    // One field of 3 KB goes into the table, and is then named 12,000 times: 36 MB from 12 KB.
    let mut bomb = get(&[]);
    bomb.extend(literal(0x40, "x-bomb", &"b".repeat(3_000)));
    bomb.extend([0xbe; 12_000]);
    let mut refused = 0;
    for at in 0..20 {
        let stream = at * 2 + 1;
        if !frames.send(&frame(HEADERS, WHOLE, stream, &bomb)).await {
            frames = Frames::open(gateway.data).await;
        }
        match frames.fate().await {
            Fate::Away(_) | Fate::Closed => {
                refused += 1;
                frames = Frames::open(gateway.data).await;
            }
            Fate::Reset(..) | Fate::Answered(_) => refused += 1,
            Fate::Alive => {}
        }
    }
    assert_eq!(refused, 20);
    serves(gateway.data).await;
    let grown = gateway.memory_kib("VmRSS").saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{grown} KiB");
    assert_eq!(up.requests().len(), 1);
}

#[tokio::test]
async fn answers_that_nobody_reads_are_not_heaped_up() {
    let (gateway, _up) = start().await;
    let before = gateway.memory_kib("VmRSS");
    let mut frames = Frames::open(gateway.data).await;
    let pings: Vec<u8> = (0..1_000).flat_map(|_| frame(PING, 0, 0, &[7; 8])).collect();
    // Nothing is read here: 17 MB of questions whose answers nobody takes.
    let stops = tokio::time::timeout(std::time::Duration::from_secs(5), async {
        flood(&mut frames, 1_000, |_| pings.clone()).await;
    });
    assert!(stops.await.is_err(), "it goes on taking what it cannot answer");
    serves(gateway.data).await;
    let grown = gateway.memory_kib("VmRSS").saturating_sub(before);
    assert!(grown < UNREAD_KIB, "{grown} KiB");
}
