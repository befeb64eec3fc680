//! A response body that plays a script: send, flush, wait, break off.
//!
//! Hot path: in load runs one `Play` serves every request; a script is shared, not copied. It
//! does not know what the bytes mean.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::answer::Answer;
use super::bill::Charge;
use super::seen::Watch;
use super::tap::Tap;

/// One act of a response body.
#[derive(Debug, Clone)]
pub enum Step {
    /// Hands these bytes to the connection: one HTTP chunk.
    Send(Bytes),
    /// Makes the connection write what it holds.
    Flush,
    /// Waits.
    Wait(Duration),
    /// Closes the connection.
    Cut,
    /// Resets the connection.
    Reset,
    /// Never goes on.
    Stall,
}

/// A script being played on one connection.
#[derive(Debug)]
pub struct Play {
    script: Arc<[Step]>,
    at: usize,
    /// The content length; none means chunked encoding.
    bytes_total: Option<u64>,
    is_whole: bool,
    flushing: bool,
    sleep: Option<Pin<Box<Sleep>>>,
    tap: Arc<Tap>,
    audience: Audience,
}

/// Those who want to know how a script ended. The charge comes first, so that whoever is told by
/// the watch finds the bill complete.
#[derive(Debug, Default)]
pub struct Audience {
    /// The request's line on the bill.
    pub charge: Charge,
    /// The request's entry among those seen.
    pub watch: Watch,
}

impl Audience {
    /// The mock has done what it was asked for; `is_whole` if that is a whole answer.
    pub fn finish(&mut self, is_whole: bool) {
        self.charge.finish(is_whole);
        self.watch.finish();
    }
}

impl Play {
    /// Plays the script of this answer.
    pub fn new(answer: &Answer, tap: Arc<Tap>, audience: Audience) -> Self {
        let mut play = Self {
            script: Arc::clone(&answer.script),
            at: 0,
            bytes_total: answer.bytes_total,
            is_whole: answer.is_whole,
            flushing: false,
            sleep: None,
            tap,
            audience,
        };
        if play.is_over() {
            play.audience.finish(play.is_whole);
        }
        play
    }

    fn is_over(&self) -> bool {
        self.at >= self.script.len()
    }

    fn advance(&mut self) {
        self.at += 1;
        if self.is_over() {
            self.audience.finish(self.is_whole);
        }
    }

    /// Pending once per flush: hyper writes its buffer when a body has nothing more for now.
    fn poll_flush(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.flushing = !self.flushing;
        if self.flushing {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.advance();
        Poll::Ready(())
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>, time: Duration) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.sleep = None;
        self.advance();
        Poll::Ready(())
    }

    fn break_off(&mut self) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.audience.finish(false);
        self.at = self.script.len();
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())))
    }
}

impl Body for Play {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            let Some(step) = self.script.get(self.at).cloned() else { return Poll::Ready(None) };
            let poll = match step {
                Step::Send(bytes) => {
                    self.audience.charge.sent(bytes.len());
                    self.advance();
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Step::Flush => self.poll_flush(cx),
                Step::Wait(time) => self.poll_wait(cx, time),
                Step::Cut => return self.break_off(),
                Step::Reset => {
                    self.tap.reset_at_end();
                    return self.break_off();
                }
                Step::Stall => Poll::Pending,
            };
            if poll.is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes_total.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
