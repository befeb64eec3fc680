//! An answer before it is played: head, frames, and the steps that the faults make of them.
//!
//! The surfaces write [`Frames`]; [`Answer`] is what goes to the connection. No surface knows of
//! cuts, stalls or splits, and nothing here knows a dialect.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::fault::{Ending, Fault, Split};
use super::play::Step;

/// Pause before a connection is broken off, so that what was written has left.
const BREAK_PAUSE: Duration = Duration::from_millis(5);
/// Longest piece of a random split.
const PIECE_BYTES_MAX: u64 = 40;

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, content type included.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Content length; none means chunked.
    pub bytes_total: Option<u64>,
    /// The acts of the body.
    pub script: Arc<[Step]>,
    /// Sent in place of the whole answer.
    pub instead: Option<Bytes>,
    /// Bytes of the body as its surface wrote it, of which the script may send a part.
    pub bytes_written: u64,
    /// The script plays the body to its proper end.
    pub is_whole: bool,
}

/// One SSE event (or comment) of a stream.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its bytes with the blank line.
    pub bytes: Bytes,
    /// Comments are not counted by faults.
    pub is_comment: bool,
}

/// A stream as its surface wrote it.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    /// All events in order.
    pub list: Vec<Frame>,
    /// How many of them a clean cut may keep at most: those before the finish.
    pub open_count: usize,
    /// What the dialect sends when it fails in mid-stream.
    pub failure: Vec<Bytes>,
}

impl Frames {
    /// Adds an event.
    pub fn push(&mut self, event: String) {
        self.list.push(Frame { bytes: event.into(), is_comment: false });
    }

    /// Adds `data: <json>`.
    pub fn data(&mut self, json: &str) {
        self.push(format!("data: {json}\n\n"));
    }

    /// Adds a comment with its blank line.
    pub fn comment(&mut self, comment: &'static str) {
        self.list.push(Frame { bytes: Bytes::from_static(comment.as_bytes()), is_comment: true });
    }

    /// What follows is the end of the stream: finish, usage, `[DONE]`.
    pub fn mark_end(&mut self) {
        self.open_count = self.list.iter().filter(|frame| !frame.is_comment).count();
    }
}

impl Answer {
    /// A JSON answer with content length.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::whole(status, "application/json", body.into())
    }

    /// Any body with content length.
    pub fn whole(status: u16, content_type: &'static str, body: Bytes) -> Self {
        let bytes_written = body.len() as u64;
        let script: Arc<[Step]> =
            if body.is_empty() { Arc::new([]) } else { Arc::new([Step::Send(body)]) };
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static(content_type))];
        let bytes_total = Some(bytes_written);
        Self { status, headers, bytes_total, script, instead: None, bytes_written, is_whole: true }
    }

    /// A chunked body of these steps.
    pub fn chunked(content_type: &'static str, steps: Vec<Step>) -> Self {
        let mut answer = Self::whole(200, content_type, Bytes::new());
        answer.bytes_total = None;
        answer.script = steps.into();
        answer
    }

    /// An event stream with the faults asked for.
    pub fn stream(frames: &Frames, fault: &Fault) -> Self {
        let mut answer = Self::chunked("text/event-stream", steps(frames, fault));
        answer.bytes_written = frames.list.iter().map(|frame| frame.bytes.len() as u64).sum();
        answer.is_whole = fault.ending == Ending::Full;
        answer
            .headers
            .push((HeaderName::from_static("cache-control"), HeaderValue::from_static("no-cache")));
        answer
    }

    /// Adds a header; a value that is none is left out.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }

    /// Cuts the body bytes anew, as `x-mock-split` says.
    #[must_use]
    pub fn split(mut self, split: Split) -> Self {
        let mut steps = Vec::new();
        let mut run = BytesMut::new();
        for step in self.script.iter() {
            match step {
                Step::Send(bytes) => run.extend_from_slice(bytes),
                Step::Flush => {}
                other => {
                    cut_run(&mut steps, run.split().freeze(), split);
                    steps.push(other.clone());
                }
            }
        }
        cut_run(&mut steps, run.freeze(), split);
        if matches!(steps.last(), Some(Step::Flush)) {
            steps.pop();
        }
        self.script = steps.into();
        self.bytes_total = None;
        self
    }
}

/// Appends a run of bytes in pieces, a flush after each.
fn cut_run(steps: &mut Vec<Step>, mut run: Bytes, split: Split) {
    let mut state = match split {
        Split::Random(seed) => seed.wrapping_mul(2).wrapping_add(1),
        Split::Whole | Split::Byte => 0,
    };
    while !run.is_empty() {
        let piece = match split {
            Split::Whole => run.len(),
            Split::Byte => 1,
            Split::Random(_) => next_piece(&mut state).min(run.len()),
        };
        steps.push(Step::Send(run.split_to(piece)));
        steps.push(Step::Flush);
    }
}

/// Xorshift: the same seed cuts the same way on every machine.
fn next_piece(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state % PIECE_BYTES_MAX + 1).unwrap_or(1)
}

/// Frames to steps: interval, flush per event, and the ending.
fn steps(frames: &Frames, fault: &Fault) -> Vec<Step> {
    let limit = match fault.ending {
        Ending::Full => usize::MAX,
        Ending::Clean(count) => count.min(frames.open_count),
        Ending::Cut(count)
        | Ending::CutHalf(count)
        | Ending::Reset(count)
        | Ending::Stall(count)
        | Ending::Error(count) => count,
    };
    let mut steps = Vec::with_capacity(frames.list.len() * 2 + 4);
    let mut sent = 0;
    let mut next = None;
    for frame in &frames.list {
        if !frame.is_comment && sent == limit {
            next = Some(&frame.bytes);
            break;
        }
        if sent > 0 && !frame.is_comment && fault.interval_ms > 0 {
            steps.push(Step::Wait(Duration::from_millis(fault.interval_ms)));
        }
        steps.push(Step::Send(frame.bytes.clone()));
        if !fault.burst {
            steps.push(Step::Flush);
        }
        sent += usize::from(!frame.is_comment);
    }
    end_steps(&mut steps, fault.ending, next, &frames.failure);
    if matches!(steps.last(), Some(Step::Flush)) {
        steps.pop();
    }
    steps
}

fn end_steps(steps: &mut Vec<Step>, ending: Ending, next: Option<&Bytes>, failure: &[Bytes]) {
    match ending {
        Ending::Full | Ending::Clean(_) => {}
        Ending::Stall(_) => steps.push(Step::Stall),
        Ending::Error(_) => steps.extend(failure.iter().cloned().map(Step::Send)),
        Ending::Reset(_) => steps.extend([Step::Flush, Step::Wait(BREAK_PAUSE), Step::Reset]),
        Ending::Cut(_) => steps.extend([Step::Flush, Step::Wait(BREAK_PAUSE), Step::Cut]),
        Ending::CutHalf(_) => {
            if let Some(next) = next {
                steps.push(Step::Send(next.slice(..next.len() / 2)));
            }
            steps.extend([Step::Flush, Step::Wait(BREAK_PAUSE), Step::Cut]);
        }
    }
}
