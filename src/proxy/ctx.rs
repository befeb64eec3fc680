//! The context that Pingora carries along with a request: one exchange, and what it takes to record it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use crate::base::fault::{Code, Fault};
use crate::base::id::RequestId;
use crate::base::money::NanoUsd;
use crate::base::surface::{Dialect, Surface};
use crate::engine::bookkeeper::Held;
use crate::exchange::answer::X_GATEWAY_REQUEST_ID;
use crate::exchange::infer_reply;
use crate::exchange::pinned;
use crate::exchange::relay::{Kind, Step};
use crate::exchange::rewrite::Attempt;
use crate::exchange::screening::Screened;
use crate::exchange::settle::{self, Bill};
use crate::exchange::{Conclusion, Exchange, Now};
use crate::mutate::tool_results;
use crate::proxy::farewell::Seat;
use crate::proxy::funds;
use crate::proxy::guards;
use crate::proxy::held::{Drain, Gate};
use crate::proxy::infer::{self, Infer};
use crate::proxy::inflate::Inflate;
use crate::proxy::reply::{self, Reply as LocalReply};
use crate::proxy::service;
use crate::proxy::shared::{Shared, Ticket};
use crate::proxy::ward::Striker;
use crate::record::{End, GuardRecord, Record};
use crate::telemetry::metrics::Ongoing;
use crate::upstream::retry::Reply;
use crate::usage::meter::StreamEnd;

/// Everything that is known of one request.
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one request")]
pub struct Ctx {
    /// What all requests share.
    pub shared: Arc<Shared>,
    /// Its id.
    pub id: RequestId,
    /// When its head had been read.
    pub started: Now,
    /// What holds back its answer.
    pub gate: Arc<Gate>,
    /// Its life, once it is known to go to a provider.
    pub exchange: Option<Box<Exchange>>,
    /// What it said of itself, for requests that are refused before that.
    pub draft: Draft,
    /// The call of `/infer` that it is, if it is one.
    pub infer: Option<Box<Infer>>,
    /// Whom a canary that comes back counts against: somebody whose own words looked like an attack.
    pub striker: Option<Striker>,
    /// The attempt that runs.
    pub attempt: Option<Attempt>,
    /// The first attempt, made before an upstream was looked for.
    pub ready: Option<Attempt>,
    /// What is held for it.
    pub held: Option<Held>,
    /// What the attempts before it were booked at, and it too once it is settled.
    pub booked: NanoUsd,
    /// The present attempt was sent, and nothing was held for it.
    pub is_sent_unheld: bool,
    /// The answer has been settled.
    pub is_settled: bool,
    /// What undoes the content encoding of the present answer.
    pub inflate: Option<Inflate>,
    /// A refusal to be written when Pingora has given up the upstream.
    pub refusal: Option<Fault>,
    /// An error was made on purpose, to have the next candidate tried.
    pub wants_next: bool,
    /// How it ended, once that is known.
    pub end: Option<End>,
    /// The status sent to the client; 0 before.
    pub status: u16,
    /// When the first body byte went to the client.
    pub first_byte_us: Option<u64>,
    /// Time spent waiting for others up to the first byte.
    pub waited_us: u64,
    /// Since when an upstream is waited for.
    pub waiting_since_us: Option<u64>,
    /// Body bytes sent to the client.
    pub response_bytes: u64,
    /// Whether the last failure was silence.
    pub timed_out: bool,
    /// Whether the request on a reused connection has been repeated already.
    pub repeated: bool,
    /// The canary's alarm was raised.
    pub is_alarmed: bool,
    /// Its place among the open requests and streams.
    pub tickets: Vec<Ticket>,
    /// Its place among those who are told that the process ends.
    seat: Option<Seat>,
    /// The open stream in the metrics.
    pub stream: Option<Ongoing>,
    /// The open request in the metrics.
    _request: Ongoing,
    recorded: bool,
}

/// What a request said of itself before there was an exchange.
pub struct Draft {
    /// The agent it counts to; empty before it is known.
    pub agent: Arc<str>,
    /// The id that it named, where no agent of that id is configured.
    pub agent_alias: Option<Arc<str>>,
    /// Which API it spoke.
    pub surface: Option<Surface>,
    /// The model it named.
    pub model: Arc<str>,
    /// Its session.
    pub session: Option<Arc<str>>,
    /// Bytes of its decoded body.
    pub request_bytes: u64,
    /// What `audit` will be when there is a plan.
    pub to_audit: Option<Option<[u8; 32]>>,
    /// Whether the audit keeps it, and the hash of its prompt.
    pub audit: Option<Option<[u8; 32]>>,
    /// Tokens of its input that mutators saved.
    pub saved_tokens: u64,
    /// What the guards found in it, where they found anything.
    pub screened: Option<Box<Screened>>,
    /// Our refusal, if that was the answer.
    pub fault: Option<&'static str>,
}

impl Ctx {
    /// The context of a request whose head has just been read.
    pub fn new(shared: &Arc<Shared>) -> Self {
        let empty: Arc<str> = Arc::from("");
        Self {
            id: shared.next_id(),
            started: shared.now(),
            shared: Arc::clone(shared),
            gate: Arc::new(Gate::default()),
            exchange: None,
            infer: None,
            striker: None,
            attempt: None,
            ready: None,
            held: None,
            booked: NanoUsd::ZERO,
            is_sent_unheld: false,
            is_settled: false,
            inflate: None,
            draft: Draft {
                agent: Arc::clone(&empty),
                agent_alias: None,
                surface: None,
                model: empty,
                session: None,
                request_bytes: 0,
                to_audit: None,
                audit: None,
                saved_tokens: 0,
                screened: None,
                fault: None,
            },
            refusal: None,
            wants_next: false,
            end: None,
            status: 0,
            first_byte_us: None,
            waited_us: 0,
            waiting_since_us: None,
            response_bytes: 0,
            timed_out: false,
            repeated: false,
            is_alarmed: false,
            tickets: Vec::new(),
            seat: None,
            stream: None,
            _request: shared.metrics.request_opened(),
            recorded: false,
        }
    }

    /// The clocks. One reading serves both: the wall clock is read once per request. A reading takes
    /// up to 60 ns on a virtual machine, so what happens at once shares one.
    pub fn now(&self) -> Now {
        let us = self.shared.live.now_us();
        let passed_ms = us.saturating_sub(self.started.us) / 1_000;
        Now { us, unix_ms: self.started.unix_ms + passed_ms }
    }

    /// The dialect in which to refuse.
    pub fn dialect(&self) -> Dialect {
        self.draft.surface.map_or(Dialect::OpenAi, Surface::dialect)
    }

    /// Asks to be told when the process ends.
    pub fn attend(&mut self) {
        self.seat = Some(self.shared.farewell.attend(&self.gate));
    }

    /// Notes that somebody else is waited for.
    pub fn wait_begins(&mut self) {
        self.waiting_since_us.get_or_insert(self.now().us);
    }

    /// Notes that the wait is over.
    pub fn wait_ends(&mut self) {
        if self.waiting_since_us.is_some() {
            self.wait_ended(self.now());
        }
    }

    /// The same by a reading that was made just now. Waits after the first byte do not count as overhead anyway.
    fn wait_ended(&mut self, now: Now) {
        if let Some(since) = self.waiting_since_us.take()
            && self.first_byte_us.is_none()
        {
            self.waited_us += now.us.saturating_sub(since);
        }
    }

    /// Notes bytes of a body that go to the client.
    pub fn body_goes_out(&mut self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.response_bytes += bytes as u64;
        if self.first_byte_us.is_none() {
            let now = self.now();
            self.wait_ended(now);
            self.first_byte_us = Some(now.us.saturating_sub(self.started.us));
        }
    }

    /// Notes a refusal of ours as the answer.
    pub fn refused(&mut self, code: Code) {
        self.draft.fault = Some(code.name());
        self.status = code.status();
        self.end = Some(End::Local);
    }

    /// The error that leads Pingora to the next candidate.
    pub fn next_candidate(&mut self) -> Box<Error> {
        self.wants_next = true;
        self.wait_ends();
        let mut error =
            service::upstream_error(ErrorType::HTTPStatus(502), "the next candidate is tried");
        error.set_retry(true);
        error
    }

    /// Sends a piece of the answer through the relay and moves the gate as it says.
    ///
    /// # Errors
    /// An error that leads to the next candidate.
    pub fn relay(&mut self, chunk: Bytes, end: bool) -> Result<Bytes> {
        let now = self.now();
        let chunk = match &mut self.inflate {
            Some(inflate) => inflate.feed(&chunk, end).map_err(|_| service::broken_encoding())?,
            None => chunk,
        };
        let Some(exchange) = self.exchange.as_mut() else { return Ok(chunk) };
        let bytes = match exchange.on_body(chunk, end, now) {
            Step::Hold => Bytes::new(),
            Step::Open { bytes, content_length } if self.infer.is_some() && self.is_good() => {
                return infer::deliver(self, &bytes, content_length.is_some());
            }
            Step::Open { bytes, content_length } => {
                self.gate.open(content_length);
                self.attempt = None;
                bytes
            }
            Step::Pass(bytes) | Step::Whole(bytes) => bytes,
            Step::Cut(bytes) => {
                self.cut();
                bytes
            }
            Step::Refuse(fault) => {
                guards::alarm(self);
                self.refusal = Some(fault);
                self.wait_ends();
                return Err(service::internal("the guard keeps the answer back"));
            }
            Step::Retry => return Err(self.next_candidate()),
        };
        guards::alarm(self);
        if self.held.is_some() {
            funds::settle_known(self);
        }
        self.body_goes_out(bytes.len());
        Ok(bytes)
    }

    /// The answer ends here, by our own will.
    fn cut(&mut self) {
        self.gate.open(None);
        self.gate.cut();
        self.attempt = None;
        self.end = Some(End::ErrorEvent);
        self.draft.fault = Some(Code::OutputBlocked.name());
    }

    /// A stream is about to pass: it is counted, and may be read on after the client has left.
    pub fn stream_begins(&mut self) {
        self.stream = Some(self.shared.metrics.stream_opened());
        let Some(exchange) = &self.exchange else { return };
        let drain_ms = exchange.snapshot().server.drain_ms;
        if drain_ms > 0 {
            let gauge = Arc::clone(&self.shared.load.drains);
            self.gate.allow_drain(Drain { time: Duration::from_millis(drain_ms), gauge });
        }
    }

    /// The provider could not be reached. Whether another attempt follows.
    pub fn cannot_connect(&mut self) -> bool {
        let now = self.now();
        self.wait_ended(now);
        self.exchange
            .as_mut()
            .is_some_and(|exchange| exchange.on_failure(Reply::ConnectFailed, now))
    }

    /// An attempt broke. Whether another one follows.
    pub fn attempt_broke(&mut self, error: &Error, reused: bool) -> bool {
        let now = self.now();
        self.wait_ended(now);
        let Some(exchange) = self.exchange.as_mut() else { return false };
        if self.gate.is_leaving() && !self.gate.client_gone() {
            exchange.on_stop(now);
            self.refusal = Some(service::stopping());
            return false;
        }
        let expired = self.gate.expired();
        if self.gate.client_gone() || !expired && service::is_downstream(error) {
            exchange.on_client_gone(now);
            self.end = Some(End::ClientGone);
            return false;
        }
        let heard = if expired { Reply::TimedOut } else { service::heard(error) };
        // The provider closed an idle connection just as we took it from the pool, most likely before it
        // saw the request: it is asked once more over a new one.
        if reused && heard == Reply::Broken && !self.repeated && exchange.repeat_attempt() {
            self.repeated = true;
            funds::settle_lost(self);
            return true;
        }
        self.timed_out = heard == Reply::TimedOut;
        exchange.on_failure(heard, now)
    }

    /// Writes what a client gets of a failed exchange; the status, 0 if nothing could be written.
    pub async fn finish_failed(&mut self, session: &mut Session) -> u16 {
        if self.end == Some(End::ClientGone) {
            session.set_keepalive(None);
            return 0;
        }
        // A `100 Continue` of ours is no answer.
        if session.response_written().is_some_and(|header| !header.status.is_informational()) {
            return self.finish_broken(session).await;
        }
        infer::strike_leak(self).await;
        let mut reply = self.failed_reply();
        reply.close = true;
        self.status = reply.status;
        self.body_goes_out(reply.body.len());
        let status = reply.status;
        if let Err(error) = reply::write(session, self.id, reply).await {
            tracing::debug!(request_id = %self.id, %error, "the client could not be told");
        }
        status
    }

    /// An answer under way cannot be taken back: a stream ends in an error event, anything else in a
    /// closed connection, which clients see as an incomplete body.
    async fn finish_broken(&mut self, session: &mut Session) -> u16 {
        let is_stopped = self.gate.is_leaving();
        let fault =
            if is_stopped { service::stopping() } else { service::broken_stream(self.timed_out) };
        let event =
            self.exchange.as_mut().map(|exchange| exchange.break_off(&fault)).unwrap_or_default();
        session.set_keepalive(None);
        if event.is_empty() {
            session.shutdown().await;
            return 0;
        }
        // Whose fault it was not that the stream is cut.
        self.draft.fault = is_stopped.then(|| fault.code.name()).or(self.draft.fault);
        self.body_goes_out(event.len());
        if let Err(error) = session.downstream_session.write_response_body(event, true).await {
            tracing::debug!(request_id = %self.id, %error, "the client could not be told");
        }
        self.status
    }

    /// The last answer of a candidate as it came, or why there is none.
    pub fn failed_reply(&mut self) -> LocalReply {
        let headers =
            self.exchange.as_ref().map(|exchange| exchange.gateway_headers()).unwrap_or_default();
        let concluded = self.exchange.as_mut().map(|exchange| exchange.conclude());
        let mut reply = match (self.refusal.take(), concluded) {
            (None, Some(Conclusion::Answer(answer))) => {
                // It goes out whole, whatever broke before.
                self.end.get_or_insert(End::Complete);
                LocalReply {
                    status: answer.status,
                    headers: answer.headers,
                    body: answer.body,
                    close: false,
                }
            }
            (Some(fault), _) | (None, Some(Conclusion::Refuse(fault))) => {
                self.refusal_reply(&fault)
            }
            (None, None) => self.refusal_reply(&Fault::new(Code::Internal, "the request was lost")),
        };
        // `reply::write` says the id of every answer.
        reply.headers.extend(headers.into_iter().filter(|(name, _)| *name != X_GATEWAY_REQUEST_ID));
        reply
    }

    /// A refusal of ours as the answer.
    pub fn refusal_reply(&mut self, fault: &Fault) -> LocalReply {
        if fault.code == Code::BudgetExhausted {
            return self.refuse(&funds::explained(self, fault));
        }
        self.refuse(fault)
    }

    /// The same for what needs no explanation.
    pub fn refuse(&mut self, fault: &Fault) -> LocalReply {
        self.refused(fault.code);
        let mut reply = LocalReply::refusal(self.dialect(), fault);
        if self.infer.is_some() {
            reply.body = Bytes::from(infer_reply::refusal(fault));
        }
        let found = self.draft.screened.as_ref().and_then(|screened| screened.header());
        if let Some(found) = found.and_then(|found| HeaderValue::from_str(&found).ok()) {
            reply.headers.push((service::X_GATEWAY_GUARD, found));
        }
        reply
    }

    /// What the guards found, for the record.
    fn guard_record(&mut self) -> Option<Box<GuardRecord>> {
        let of_infer = self.infer.as_mut().and_then(|infer| infer.guard.take());
        let screened = self.draft.screened.as_ref();
        of_infer.or_else(|| screened.map(|screened| Box::new(screened.record())))
    }

    /// Whether the answer under way is a good one.
    fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Leaves the record, once. Called at the end of the request, and by `drop` when Pingora ends a
    /// request without saying so (at the end of a shutdown's grace).
    pub fn record(&mut self, fallback_end: End) {
        if std::mem::replace(&mut self.recorded, true) {
            return;
        }
        let now = self.now();
        self.wait_ended(now);
        let end = self.end.or_else(|| self.stream_end()).unwrap_or(fallback_end);
        let record = self.make_record(end, now);
        self.shared.recorder.send(record);
    }

    fn stream_end(&self) -> Option<End> {
        if self.gate.client_gone() {
            return Some(End::ClientGone);
        }
        let relay = self.exchange.as_ref()?.relay()?;
        if relay.kind() != Kind::Stream {
            return None;
        }
        relay.stream_end().map(|end| match end {
            StreamEnd::ErrorEvent => End::ErrorEvent,
            StreamEnd::Cut => End::Cut,
            StreamEnd::DoneUsage | StreamEnd::DoneNoUsage => End::Complete,
        })
    }

    fn make_record(&mut self, end: End, now: Now) -> Record {
        let first_byte = self.first_byte_us;
        let up_to_first = first_byte.unwrap_or(now.us.saturating_sub(self.started.us));
        let mut record = Record {
            request_id: self.id,
            started_unix_ms: self.started.unix_ms,
            duration_us: now.us.saturating_sub(self.started.us),
            first_byte_us: first_byte,
            overhead_us: up_to_first.saturating_sub(self.waited_us),
            surface: self.draft.surface,
            agent: Arc::clone(&self.draft.agent),
            agent_alias: self.draft.agent_alias.take(),
            session: self.draft.session.take(),
            requested_model: Arc::clone(&self.draft.model),
            served_model: None,
            provider: None,
            decision: "",
            status: self.status,
            fault: self.draft.fault,
            attempts: Vec::new(),
            switched: false,
            notice: false,
            streaming: false,
            end,
            bound: None,
            usage: None,
            usage_source: crate::record::UsageSource::None,
            cost: Bill::NONE.cost,
            table_cost: Bill::NONE.table_cost,
            unpriced: false,
            audited: self.draft.audit.is_some(),
            prompt_sha256: self.draft.audit.flatten(),
            choice: None,
            saved_tokens: self.draft.saved_tokens,
            saved_cost: NanoUsd::ZERO,
            mutators: if self.draft.saved_tokens > 0 { tool_results::NAME } else { "" },
            guard: self.guard_record(),
            request_bytes: self.draft.request_bytes,
            response_bytes: self.response_bytes,
        };
        if let Some(mut exchange) = self.exchange.take() {
            let session = exchange.take_session();
            let around = exchange.around();
            let (leaf, agent) = exchange.purse().map(|purse| (purse.leaf, purse.agent)).unzip();
            let version = exchange.snapshot().catalog.price_version;
            let outcome = settle::complete(*exchange, &mut record, now);
            let unheld = leaf.map(|leaf| settle::spend_order(&record, &outcome, leaf, version));
            if let Some(booked) = funds::settle_last(self, (&outcome, unheld), now) {
                record.cost = booked;
            }
            if let Some(agent) = agent {
                funds::note_spent(self, (agent, record.cost), now);
            }
            if let Some(session) = session {
                let told = (&around.snapshot, now.unix_ms);
                if let Some(lesson) = pinned::learn(&session, &mut record, told) {
                    self.shared.pins.learn(&record.agent, lesson, now.unix_ms);
                }
            }
        }
        record
    }
}

impl Drop for Ctx {
    fn drop(&mut self) {
        self.record(End::Dropped);
    }
}
