//! The downstream session while an exchange runs: replays our body, holds back answers.
//!
//! Hot path: measured by `loadtest/scenarios`.
//!
//! Pingora replays a request body only from a private 64 KiB buffer, and writes an answer's header
//! before its first body byte is known. Both walls fall when the real session is wrapped in a custom
//! one: `Held` gives out each attempt's own body segments instead of what was read from the client,
//! and lets nothing pass to the client while its `Gate` is shut. It decides nothing itself: the gate
//! is moved by `proxy::service` as the exchange says.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Version};
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session as CustomSession;
use pingora_core::protocols::http::{HttpTask, ServerSession};
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tokio::time::Instant;

use crate::base::limit::DRAINS_MAX;
use crate::proxy::shared::{Gauge, Ticket};

/// What `proxy::service` and the wrapped session tell each other. Both live on one task, so the lock
/// is never waited for.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one answer")]
struct State {
    /// Body segments of the current attempt that Pingora has not taken yet.
    body: VecDeque<Bytes>,
    /// Nothing passes to the client while this is set.
    shut: bool,
    /// What arrived while the gate was shut.
    kept: Vec<HttpTask>,
    /// The length to write into the kept header when the gate opens, if the body was changed.
    content_length: Option<usize>,
    /// When the wait that is going on ends in an error.
    deadline: Option<Instant>,
    /// The longest wait for the next piece of the answer; `None` = the connection itself looks after that.
    pause: Option<Duration>,
    /// How long an answer is read on after the client has left, and where that is counted.
    drain: Option<Drain>,
    /// The place among the abandoned answers that are read on.
    draining: Option<Ticket>,
    /// The deadline was passed.
    expired: bool,
    /// The client has left.
    gone: bool,
    /// The process is about to end: nothing is waited for any more.
    leaving: bool,
    /// Who waits, to be woken for that.
    waiter: Option<Waker>,
    /// What is written next is the last: the answer ends there.
    cut: bool,
    /// The answer has been ended; whatever comes is dropped.
    ended: bool,
    /// The real session, put here when the wrapper is dropped.
    returned: Option<Box<ServerSession>>,
}

impl Gate {
    /// Begins an attempt: its body, a shut gate, and nothing kept from the attempt before.
    pub fn begin_attempt(&self, segments: impl IntoIterator<Item = Bytes>, deadline: Instant) {
        let mut state = self.state.lock();
        state.body = segments.into_iter().collect();
        state.shut = true;
        state.kept.clear();
        state.content_length = None;
        state.deadline = Some(deadline);
        state.pause = None;
        state.expired = false;
        state.cut = false;
    }

    /// Sets the end of the wait that is going on.
    pub fn set_deadline(&self, deadline: Instant) {
        self.state.lock().deadline = Some(deadline);
    }

    /// The header has come. From here on only pauses are waited for, `pause_ms` at most where that is given.
    pub fn answer_begins(&self, pause_ms: Option<u64>) {
        let mut state = self.state.lock();
        state.deadline = None;
        state.pause = pause_ms.map(Duration::from_millis);
        state.wait_anew();
    }

    /// Opens the gate. What was kept goes out with the next write. A length is written into the kept
    /// header; it must be given only when the whole body is known.
    pub fn open(&self, content_length: Option<usize>) {
        let mut state = self.state.lock();
        state.shut = false;
        state.content_length = content_length;
    }

    /// Ends the answer with what is written next, whatever else the provider may say.
    pub fn cut(&self) {
        self.state.lock().cut = true;
    }

    /// Ends the wait that is going on, and all that would follow it: the process is about to end.
    pub fn leave(&self) {
        let waiter = {
            let mut state = self.state.lock();
            state.leaving = true;
            state.waiter.take()
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }

    /// Whether the process is about to end.
    pub fn is_leaving(&self) -> bool {
        self.state.lock().leaving
    }

    /// Ready when the process is about to end; until then whoever asks is woken for it.
    fn poll_leaving(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.leaving {
            return Poll::Ready(());
        }
        match &mut state.waiter {
            // Nothing is done if it is the same task as before.
            Some(waiter) => waiter.clone_from(cx.waker()),
            None => state.waiter = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// The error that ends the wait before its time, or at its deadline.
    #[expect(clippy::unnecessary_box_returns, reason = "the form in which Pingora carries errors")]
    fn expire(&self) -> Box<Error> {
        let mut state = self.state.lock();
        if state.gone {
            return Error::explain(ErrorType::ConnectionClosed, "the client left");
        }
        if state.leaving {
            return Error::explain(ErrorType::InternalError, "the process is about to end");
        }
        state.expired = true;
        Error::explain(ErrorType::ReadTimedout, "the deadline of this attempt passed")
    }

    /// Allows the answer to be read on after the client has left.
    pub fn allow_drain(&self, drain: Drain) {
        self.state.lock().drain = Some(drain);
    }

    /// Whether the last wait ended at its deadline. Pingora takes every error of this session for the
    /// client's, so the error itself cannot tell.
    pub fn expired(&self) -> bool {
        self.state.lock().expired
    }

    /// Whether the client has left.
    pub fn client_gone(&self) -> bool {
        self.state.lock().gone
    }
}

/// How an answer is read on when nobody waits for it any more.
pub struct Drain {
    /// For how long.
    pub time: Duration,
    /// Where such answers are counted, so that they stay few.
    pub gauge: Arc<Gauge>,
}

/// The wrapper around the real session.
struct Held {
    real: Option<Box<ServerSession>>,
    gate: Arc<Gate>,
}

/// Puts the wrapper around the session of a request whose body has been read.
pub fn wrap(session: &mut Session, gate: &Arc<Gate>) {
    let empty = Box::new(ServerSession::new_custom(Box::new(())));
    let real = std::mem::replace(&mut session.downstream_session, empty);
    let held = Held { real: Some(real), gate: Arc::clone(gate) };
    *session.downstream_session = ServerSession::new_custom(Box::new(held));
}

/// Takes the wrapper off again. Does nothing when there is none.
pub fn unwrap(session: &mut Session, gate: &Gate) {
    if !session.downstream_session.is_custom() {
        return;
    }
    // The trait cannot be downcast: dropping the wrapper hands the real session to the gate.
    *session.downstream_session = ServerSession::new_custom(Box::new(()));
    let mut state = gate.state.lock();
    if let Some(real) = state.returned.take() {
        session.downstream_session = real;
    }
    if state.gone {
        session.downstream_session.set_keepalive(None);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gate.state.lock().returned = self.real.take();
    }
}

impl Held {
    fn real(&self) -> &ServerSession {
        // Set by `wrap` and taken only by `drop`.
        self.real.as_deref().expect("the wrapper owns a session until it is dropped")
    }

    fn real_mut(&mut self) -> &mut ServerSession {
        self.real.as_deref_mut().expect("the wrapper owns a session until it is dropped")
    }

    /// Waits until the client leaves. Under a drain the wait goes on: the deadline ends it.
    async fn watch_client(&mut self) -> Result<Option<Bytes>> {
        let error = match self.real_mut().read_body_or_idle(true).await {
            Ok(more) => return Ok(more),
            Err(error) => error,
        };
        if self.gate.state.lock().client_left() {
            return std::future::pending().await;
        }
        Err(error)
    }
}

impl State {
    /// A piece of the answer has been taken, however long the client needed for it: the pause begins anew.
    fn wait_anew(&mut self) {
        if let Some(pause) = self.pause.filter(|_| !self.gone) {
            self.deadline = Some(Instant::now() + pause);
        }
    }

    /// Notes that the client has left; whether the answer is read on for a while. Asked again on
    /// every turn of Pingora's loop, so the deadline is set once.
    fn client_left(&mut self) -> bool {
        if !self.gone {
            self.gone = true;
            if let Some(drain) = self.drain.as_ref().filter(|_| !self.shut) {
                self.draining = drain.gauge.enter(DRAINS_MAX);
                self.deadline = Some(Instant::now() + drain.time);
            }
        }
        self.draining.is_some()
    }
}

/// Resolves at the gate's deadline, which may be moved or cleared while this waits. No clock is read: whatever
/// was slept to has passed.
async fn deadline_of(gate: &Gate) {
    let mut passed = None;
    loop {
        let Some(deadline) = gate.state.lock().deadline else {
            return std::future::pending().await;
        };
        if passed >= Some(deadline) {
            return;
        }
        tokio::time::sleep_until(deadline).await;
        passed = Some(deadline);
    }
}

/// Takes the tasks that may go out now.
fn pass(state: &mut State, mut tasks: Vec<HttpTask>) -> Vec<HttpTask> {
    if state.kept.is_empty() {
        return tasks;
    }
    let mut all = std::mem::take(&mut state.kept);
    all.append(&mut tasks);
    // Empty bodies came from filters that held bytes back.
    all.retain(|task| !matches!(task, HttpTask::Body(Some(data), false) if data.is_empty()));
    all
}

fn write_length(tasks: &mut [HttpTask], length: usize) -> Result<()> {
    for task in tasks {
        if let HttpTask::Header(header, _) = task {
            header.remove_header(&http::header::TRANSFER_ENCODING);
            header.set_content_length(length)?;
        }
    }
    Ok(())
}

#[async_trait]
impl CustomSession for Held {
    fn req_header(&self) -> &RequestHeader {
        self.real().req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.real_mut().req_header_mut()
    }

    // --- the request body: what the attempt sends, not what the client sent

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(self.gate.state.lock().body.pop_front())
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected {
            let segment = self.gate.state.lock().body.pop_front();
            if segment.is_some() {
                return Ok(segment);
            }
        }
        let gate = Arc::clone(&self.gate);
        tokio::select! {
            biased;
            seen = self.watch_client() => seen,
            () = poll_fn(|cx| gate.poll_leaving(cx)) => Err(gate.expire()),
            () = deadline_of(&gate) => Err(gate.expire()),
        }
    }

    fn is_body_done(&mut self) -> bool {
        self.gate.state.lock().body.is_empty()
    }

    fn is_body_empty(&mut self) -> bool {
        self.gate.state.lock().body.is_empty()
    }

    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    /// Nothing to replay from a buffer: every attempt reads its own segments above.
    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.real_mut().drain_request_body().await
    }

    fn body_bytes_read(&self) -> usize {
        self.real().body_bytes_read()
    }

    // --- the answer

    async fn response_duplex_vec(&mut self, mut tasks: Vec<HttpTask>) -> Result<bool> {
        fit(&mut tasks, self.req_header().version);
        let ready = {
            let mut state = self.gate.state.lock();
            if state.gone {
                return discard(tasks);
            }
            if state.shut {
                state.wait_anew();
                return keep(&mut state, tasks);
            }
            let mut ready = pass(&mut state, tasks);
            if std::mem::take(&mut state.cut) {
                state.ended = true;
                ready = ended(ready);
            } else if state.ended {
                return discard(ready);
            }
            if let Some(length) = state.content_length.take() {
                write_length(&mut ready, length)?;
            }
            ready
        };
        let is_end = self.real_mut().response_duplex_vec(ready).await;
        self.gate.state.lock().wait_anew();
        is_end
    }

    async fn write_response_header(&mut self, header: Box<ResponseHeader>, _: bool) -> Result<()> {
        self.real_mut().write_response_header(header).await
    }

    async fn write_response_header_ref(&mut self, header: &ResponseHeader, _: bool) -> Result<()> {
        self.real_mut().write_response_header_ref(header).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.real_mut().write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.real_mut().write_response_trailers(trailers).await
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.real().response_written()
    }

    fn body_bytes_sent(&self) -> usize {
        self.real().body_bytes_sent()
    }

    async fn finish(&mut self) -> Result<()> {
        if self.gate.client_gone() {
            return Ok(());
        }
        self.real_mut().finish_body().await
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {
        self.real_mut().shutdown().await;
    }

    // --- plain delegation

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.real_mut().set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.real().get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.real_mut().set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.real().get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.real_mut().set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.real().get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.real().request_summary()
    }

    fn digest(&self) -> Option<&Digest> {
        self.real().digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.real_mut().digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.real().client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.real().server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.real().to_h1_raw()
    }

    // --- custom messages: an extension that HTTP clients do not have

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn futures_core::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>>
    {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _: Box<dyn futures_core::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}

/// Leaves of an answer what that client may be told: no interim answer, of which only the provider's own
/// connection is the better, and no chunks before HTTP/1.1, where the end of the connection is the end of the body.
fn fit(tasks: &mut Vec<HttpTask>, version: Version) {
    let Some(HttpTask::Header(..)) = tasks.first() else { return };
    tasks.retain(
        |task| !matches!(task, HttpTask::Header(header, _) if header.status.is_informational()),
    );
    if version != Version::HTTP_10 {
        return;
    }
    for task in tasks {
        if let HttpTask::Header(header, _) = task {
            header.remove_header(&http::header::TRANSFER_ENCODING);
        }
    }
}

/// An answer that ends with the bytes that are here: what the provider says of its end does not count.
fn ended(tasks: Vec<HttpTask>) -> Vec<HttpTask> {
    let mut out = Vec::with_capacity(tasks.len() + 1);
    for task in tasks {
        match task {
            HttpTask::Header(header, _) => out.push(HttpTask::Header(header, false)),
            HttpTask::Body(Some(data), _) if !data.is_empty() => {
                out.push(HttpTask::Body(Some(data), false));
            }
            _ => {}
        }
    }
    match out.last_mut() {
        Some(HttpTask::Body(_, end)) => *end = true,
        _ => out.push(HttpTask::Body(Some(Bytes::new()), true)),
    }
    out
}

/// What becomes of an answer whose client has left: read to its end and dropped.
fn discard(tasks: Vec<HttpTask>) -> Result<bool> {
    let mut end = false;
    for task in tasks {
        if let HttpTask::Failed(error) = task {
            return Err(error);
        }
        end |= task.is_end();
    }
    Ok(end)
}

/// What becomes of an answer while the gate is shut.
fn keep(state: &mut State, tasks: Vec<HttpTask>) -> Result<bool> {
    let mut end = false;
    for task in tasks {
        if let HttpTask::Failed(error) = task {
            return Err(error);
        }
        end |= task.is_end();
        state.kept.push(task);
    }
    if end {
        // The exchange must have decided by then; to end in silence would lose the answer.
        return Error::e_explain(ErrorType::InternalError, "an answer ended behind a shut gate");
    }
    Ok(false)
}
