//! HTTP/2 frame by frame, for what no proper client would send (RFC 9113, RFC 7541). It knows the few frames
//! that tests need and judges nothing.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::gateway::{AGENT_KEY, SOON};

/// Kinds of frames.
pub const DATA: u8 = 0;
/// Opens a stream.
pub const HEADERS: u8 = 1;
/// Says which streams matter more; long out of use.
pub const PRIORITY: u8 = 2;
/// Takes a stream back.
pub const RST_STREAM: u8 = 3;
/// What each side can take.
pub const SETTINGS: u8 = 4;
/// A request that only servers may make.
pub const PUSH_PROMISE: u8 = 5;
/// Asks for a sign of life.
pub const PING: u8 = 6;
/// The last word on a connection.
pub const GOAWAY: u8 = 7;
/// Lets the other side send more.
pub const WINDOW_UPDATE: u8 = 8;
/// More of a head.
pub const CONTINUATION: u8 = 9;

/// The flags of a whole request without a body: `END_HEADERS | END_STREAM`.
pub const WHOLE: u8 = 5;
/// `END_HEADERS` alone.
pub const HEAD_ONLY: u8 = 4;

/// One frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 for the connection.
    pub stream: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

/// What has become of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server said good-bye, for this reason.
    Away(u32),
    /// It took this stream back, for this reason.
    Reset(u32, u32),
    /// It answered a request on this stream.
    Answered(u32),
    /// It answered a sign of life.
    Alive,
    /// It closed the connection.
    Closed,
}

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = len[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Header fields as HPACK writes them when it saves nothing: literals, not indexed.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(0, name, value)).collect()
}

/// A literal field; `kind` 0 leaves the table of the connection alone, 0x40 adds to it.
pub fn literal(kind: u8, name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![kind];
    for text in [name, value] {
        length(&mut out, text.len());
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// A length of seven bits and more (RFC 7541, 5.1).
fn length(out: &mut Vec<u8>, len: usize) {
    if len < 127 {
        out.push(u8::try_from(len).unwrap());
        return;
    }
    out.push(127);
    let mut rest = len - 127;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

/// The head of a request that is served without a provider, and these fields.
pub fn get(more: &[(&str, &str)]) -> Vec<u8> {
    let key = format!("Bearer {AGENT_KEY}");
    let usual = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "gateway.test"),
        (":path", "/v1/models"),
        ("authorization", key.as_str()),
    ];
    let mut out = fields(&usual);
    out.extend(fields(more));
    out
}

/// A connection on which both sides have told their settings.
pub struct Frames {
    stream: TcpStream,
}

impl Frames {
    /// Opens one.
    pub async fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &[]));
        stream.write_all(&hello).await.unwrap();
        let mut frames = Self { stream };
        let first = frames.next().await.expect("the server's settings");
        assert_eq!(first.kind, SETTINGS);
        frames.send(&frame(SETTINGS, 1, 0, &[])).await;
        frames
    }

    /// Sends bytes; false if the other side takes no more.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(SOON, self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// The next frame; `None` at the end of the connection. Panics where neither comes in time.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        let read = timeout(SOON, self.stream.read_exact(&mut head)).await;
        read.expect("a frame, or the end").ok()?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        let read = timeout(SOON, self.stream.read_exact(&mut payload)).await;
        read.expect("the rest of a frame, or the end").ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// What comes of what was sent.
    pub async fn fate(&mut self) -> Fate {
        loop {
            let Some(next) = self.next().await else { return Fate::Closed };
            let word = |at: usize| {
                let bytes = next.payload.get(at..at + 4).and_then(|it| it.try_into().ok());
                bytes.map_or(u32::MAX, u32::from_be_bytes)
            };
            match next.kind {
                GOAWAY => return Fate::Away(word(4)),
                RST_STREAM => return Fate::Reset(next.stream, word(0)),
                HEADERS => return Fate::Answered(next.stream),
                PING if next.flags == 1 => return Fate::Alive,
                _ => {}
            }
        }
    }
}
