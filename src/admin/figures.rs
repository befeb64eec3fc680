//! The calls of the control API about the sums of the last requests (S2-18, S2-21, S2-22), and the stream of
//! them that the dashboard reads.
//!
//! A stream is a task that looks once a second: what happened in between is one event, and a reader who is slow
//! gets fewer of them, not older ones.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_core::Stream;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::admin::access::Caller;
use crate::admin::ask::Params;
use crate::admin::handlers::{self, Parts, Refusal};
use crate::admin::routes::{Access, Call};
use crate::base::fault::Code;
use crate::base::limit::{SCRAPE_FLUSH_MS, STATS_EVENT_MS};
use crate::engine::recorder::Stage;
use crate::engine::statistics::Seen;
use crate::stats::range::Range;

/// The media type of a stream.
const EVENTS: &str = "text/event-stream";
/// How long an answer waits for records that are still on their way.
const FLUSH: Duration = Duration::from_millis(SCRAPE_FLUSH_MS);

/// `GET /api/stats`, `GET /api/stats/live` and `POST /api/log/clear`. They wait for the recorder.
///
/// # Errors
/// A log that cannot be cut.
pub fn answer(call: Call, parts: &Parts, params: &Params) -> Result<String, Refusal> {
    let statistics = &parts.recorder.statistics;
    match call {
        Call::StatsLive => {
            parts.recorder.flush(Stage::Counted, FLUSH);
            Ok(statistics.live_json())
        }
        Call::ClearLog => clear_log(parts).map(|body| body.to_string()),
        _ => {
            parts.recorder.flush(Stage::Counted, FLUSH);
            Ok(statistics.report_json(&parts.live, Range::read(params.text("range"))))
        }
    }
}

/// Empties the request log and forgets the sums, which the seed made of that log. Metrics and ledger stay.
fn clear_log(parts: &Parts) -> Result<Value, Refusal> {
    let cut = parts.recorder.clear_log().map_err(|error| {
        Refusal::new(Code::Overloaded, format!("the log cannot be emptied at present: {error}"))
    })?;
    parts.recorder.statistics.clear();
    tracing::info!(file = cut, "the request log was emptied");
    Ok(json!({"ok": true, "file": cut}))
}

/// Who reads a stream.
pub struct Reader {
    /// The headers of its request: its key is looked at again when the configuration changes.
    pub headers: HeaderMap,
    /// Where it is.
    pub peer: std::net::IpAddr,
    /// Of which requests it wants the sums.
    pub range: Range,
}

/// `GET /api/stats/stream`: server-sent events.
///
/// # Errors
/// The reader does not say that it takes events, which have no end; there are too many streams.
pub fn stream(parts: Arc<Parts>, reader: Reader) -> Result<Response, Refusal> {
    let accepts = reader.headers.get_all(ACCEPT).iter();
    if !accepts.filter_map(|value| value.to_str().ok()).any(|value| value.contains(EVENTS)) {
        let message = "this is a stream without an end: ask with `accept: text/event-stream`";
        let (status, code) = (406, "not_acceptable");
        return Err(Refusal { status, code, message: message.into(), problems: Vec::new() });
    }
    let Some(permit) = parts.recorder.statistics.stream() else {
        let message = "too many streams are open; close one, or ask /api/stats";
        return Err(Refusal::new(Code::Overloaded, message));
    };
    // Room for one event: a reader that lags is told what is new once it reads again.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(feed(parts, reader, sender, permit));
    let headers = [
        ("content-type", EVENTS),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("x-content-type-options", "nosniff"),
    ];
    Ok((headers, Body::from_stream(Events(receiver))).into_response())
}

/// Sends what is new until the reader leaves, its key is no longer good, or the process stops.
async fn feed(
    parts: Arc<Parts>,
    reader: Reader,
    sender: mpsc::Sender<Bytes>,
    permit: OwnedSemaphorePermit,
) {
    let mut look = interval(Duration::from_millis(STATS_EVENT_MS));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::default();
    let mut version = parts.live.load().snapshot.version;
    let mut goes_on = || handlers::is_ready(&parts) && reader.may_read_on(&parts, &mut version);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = sender.closed() => break,
        }
        if !goes_on() {
            break;
        }
        let Some(event) = event(&parts, reader.range, &mut seen).await else { continue };
        if !deliver(&sender, event, (&mut look, &mut goes_on)).await {
            break;
        }
    }
    drop(permit);
}

/// Waits until the reader takes the event, and looks all the while whether it still may. Whether it took it.
async fn deliver(
    sender: &mpsc::Sender<Bytes>,
    event: Bytes,
    (look, goes_on): (&mut Interval, &mut impl FnMut() -> bool),
) -> bool {
    let mut sent = pin!(sender.send(event));
    loop {
        tokio::select! {
            done = &mut sent => return done.is_ok(),
            _ = look.tick() => if !goes_on() { return false },
        }
    }
}

/// The next event, made on a thread that may take its time.
async fn event(parts: &Arc<Parts>, range: Range, seen: &mut Seen) -> Option<Bytes> {
    let (parts, mut own) = (Arc::clone(parts), *seen);
    let made = tokio::task::spawn_blocking(move || {
        let news = parts.recorder.statistics.news_json(&parts.live, range, &mut own);
        (news, own)
    });
    // A failed look is one without news.
    let (news, own) = made.await.ok()?;
    *seen = own;
    news.map(|news| Bytes::from(format!("event: stats\ndata: {news}\n\n")))
}

impl Reader {
    /// Whether its key still opens this, which a reload can change.
    fn may_read_on(&self, parts: &Parts, version: &mut u64) -> bool {
        let current = parts.live.load_full();
        if current.snapshot.version == *version {
            return true;
        }
        *version = current.snapshot.version;
        let caller = Caller::of(&self.headers, self.peer, &current.snapshot.gate);
        caller.and_then(|caller| caller.may(Access::Admin)).is_ok()
    }
}

/// The events of one stream as a body.
struct Events(mpsc::Receiver<Bytes>);

impl Stream for Events {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|event| event.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_asked_for_its_key_all_the_same() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut look = interval(Duration::from_millis(1));
        let mut looks = 0;
        let mut goes_on = || {
            looks += 1;
            looks < 3
        };
        let event = || Bytes::from_static(b"x");
        assert!(deliver(&sender, event(), (&mut look, &mut || true)).await, "there is room");
        let waits = deliver(&sender, event(), (&mut look, &mut goes_on));
        let waited = tokio::time::timeout(Duration::from_mins(1), waits).await;
        assert_eq!((waited, looks), (Ok(false), 3));
        assert_eq!(receiver.recv().await, Some(event()));
        drop(receiver);
        assert!(!deliver(&sender, event(), (&mut look, &mut || true)).await, "it has left");
    }
}
