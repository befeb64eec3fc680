//! A small bounded load client: so many connections, so many requests, every answer verified.
//!
//! For CI smoke runs and what oha cannot do (count events, check that a stream is complete). It
//! does not set a rate; closed loop only.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::report::Tally;

/// Samples kept per run; later ones are counted but not sampled.
const SAMPLES_MAX: usize = 2_000_000;
/// Longest time for one request, so that a hanging proxy ends the run.
const REQUEST_TIME_MAX: Duration = Duration::from_mins(2);
/// Bytes of a stream's end kept to see whether it is complete.
const TAIL_BYTES: usize = 4096;
/// One of these stands in the last bytes of a complete stream.
const STREAM_ENDS: [&[u8]; 3] = [b"[DONE]", b"event: message_stop", b"event: response.completed"];

/// What an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A 200 with a body.
    Unary,
    /// A 200 stream with its dialect's last event.
    Sse,
}

/// The request that is sent over and over.
#[derive(Debug, Clone)]
pub struct Shot {
    /// Where to.
    pub addr: SocketAddr,
    /// Path and query.
    pub path: String,
    /// Headers besides host and content type.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// What the answer must be.
    pub kind: Kind,
}

/// What one answer was.
#[derive(Debug, Clone, Copy)]
pub struct Hit {
    /// Time to its first body byte.
    pub first_byte: Duration,
    /// Time to its end.
    pub total: Duration,
    /// SSE events with data.
    pub events: u64,
}

/// Sends `requests` over `connections` and tells how it went.
pub async fn run(shot: Shot, connections: usize, requests: u64) -> Tally {
    let shot = Arc::new(shot);
    let left = Arc::new(AtomicU64::new(requests));
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        workers.spawn(worker(Arc::clone(&shot), Arc::clone(&left)));
    }
    let mut tally = Tally::default();
    while let Some(part) = workers.join_next().await {
        tally.add(part.unwrap_or_default());
    }
    tally.elapsed = start.elapsed();
    tally
}

async fn worker(shot: Arc<Shot>, left: Arc<AtomicU64>) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
        .is_ok()
    {
        let sent = tokio::time::timeout(REQUEST_TIME_MAX, send(&shot, &mut connection)).await;
        match sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(hit) => {
                tally.done += 1;
                tally.events += hit.events;
                if tally.total_us.len() < SAMPLES_MAX {
                    tally.total_us.push(micros(hit.total));
                    tally.first_byte_us.push(micros(hit.first_byte));
                }
            }
            Err(error) => {
                connection = None;
                tally.failed += 1;
                tally.failure.get_or_insert(error.to_string());
            }
        }
    }
    tally
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// Sends one request over the connection given, or a new one, and reads the answer to its end.
async fn send(shot: &Shot, connection: &mut Option<SendRequest<Full<Bytes>>>) -> io::Result<Hit> {
    if connection.as_ref().is_none_or(SendRequest::is_closed) {
        *connection = Some(connect(shot.addr).await?);
    }
    let Some(sender) = connection.as_mut() else { return Err(io::ErrorKind::NotConnected.into()) };
    sender.ready().await.map_err(io::Error::other)?;
    let start = Instant::now();
    let response = sender.send_request(request(shot)?).await.map_err(io::Error::other)?;
    finish(response, shot.kind, start, || ()).await
}

/// Opens a connection and drives it in a task of its own.
pub async fn connect(addr: SocketAddr) -> io::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (sender, driver) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // The sender sees the same error.
        let _ = driver.await;
    });
    Ok(sender)
}

/// The request as hyper takes it.
pub fn request(shot: &Shot) -> io::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&shot.path)
        .header(HOST, shot.addr.to_string())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(shot.body.clone()))
        .map_err(io::Error::other)?;
    request.headers_mut().extend(shot.headers.iter().cloned());
    Ok(request)
}

/// Reads an answer to its end and verifies it; `on_first` is called at its first body byte.
pub async fn finish(
    response: Response<Incoming>,
    kind: Kind,
    start: Instant,
    on_first: impl FnOnce(),
) -> io::Result<Hit> {
    let status = response.status();
    let mut body = response.into_body();
    let mut events = Events::default();
    let mut on_first = Some(on_first);
    let mut first_byte = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        let Some(bytes) = frame.data_ref() else { continue };
        first_byte.get_or_insert_with(|| start.elapsed());
        if let Some(on_first) = on_first.take() {
            on_first();
        }
        if kind == Kind::Sse {
            events.feed(bytes);
        }
    }
    let total = start.elapsed();
    if status != 200 {
        return Err(io::Error::other(format!("status {status}")));
    }
    if kind == Kind::Sse && !events.is_complete() {
        return Err(io::Error::other("stream without its last event"));
    }
    Ok(Hit { first_byte: first_byte.unwrap_or(total), total, events: events.count })
}

/// Counts `data:` lines and remembers the end of the stream.
#[derive(Debug, Default)]
struct Events {
    count: u64,
    /// Bytes of `data:` seen at the start of the present line; none once the line is another.
    matched: Option<usize>,
    started: bool,
    tail: Vec<u8>,
}

impl Events {
    fn feed(&mut self, bytes: &[u8]) {
        const FIELD: &[u8] = b"data:";
        if !self.started {
            self.started = true;
            self.matched = Some(0);
        }
        for &byte in bytes {
            self.matched = match self.matched {
                _ if byte == b'\n' => Some(0),
                Some(at) if byte == FIELD[at] && at + 1 == FIELD.len() => {
                    self.count += 1;
                    None
                }
                Some(at) if byte == FIELD[at] => Some(at + 1),
                _ => None,
            };
        }
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
        let excess = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..excess);
    }

    fn is_complete(&self) -> bool {
        STREAM_ENDS.iter().any(|end| self.tail.windows(end.len()).any(|window| window == *end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_however_they_are_cut() {
        let stream = b": data:\n\ndata: 1\n\nevent: x\ndata: data:\n\ndata: [DONE]\n\n";
        for size in 1..stream.len() {
            let mut events = Events::default();
            stream.chunks(size).for_each(|bytes| events.feed(bytes));
            assert_eq!((events.count, events.is_complete()), (3, true), "size {size}");
        }
        let mut cut = Events::default();
        cut.feed(&stream[..30]);
        assert!(!cut.is_complete());
    }
}
