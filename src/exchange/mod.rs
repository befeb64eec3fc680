//! Floor 4: the life of one request, without a socket. Start here.
//!
//! An `Exchange` is made of what the client asked for and a plan. The proxy then drives it, and does
//! with sockets what each answer says:
//!
//! 1. `next_candidate` -> what must be held before it may be asked, or nothing when all have had their
//!    turn; `attempt` -> the request to send, within what was granted;
//! 2. `on_header` -> relay the answer, try the next candidate, or refuse;
//! 3. `on_body` -> what the client gets of each piece, or that the answer is a failure after all;
//! 4. `on_failure` -> whether a broken attempt is followed by another;
//! 5. `conclude` -> what the client gets when nobody answered;
//! 6. `settle::complete` -> the one wide fact that is left.
//!
//! Times are parameters (`Now`), effects are values, and nothing here waits.

pub mod answer;
pub mod asked;
pub mod canary;
pub mod choose;
pub mod defence;
mod escalation;
pub mod exhausted;
mod explain;
pub mod headers;
pub mod infer;
pub mod infer_reply;
mod judged;
pub mod models;
pub mod mutation;
pub mod outflow;
pub mod outlook;
pub mod path;
pub mod pinned;
pub mod prompt;
pub mod purse;
pub mod relay;
pub mod rendition;
#[cfg(test)]
mod replay_tests;
pub mod rewrite;
pub mod route;
#[cfg(test)]
mod route_tests;
pub mod screening;
pub mod search;
mod sequence;
pub mod session;
pub mod settle;
#[cfg(test)]
mod staged;
pub mod unnamed;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::fault::{Code, Fault};
use crate::base::id::RequestId;
use crate::config::catalog::Model;
use crate::config::current::Current;
use crate::config::snapshot::Snapshot;
use crate::exchange::answer::FailedAnswer;
use crate::exchange::asked::Asked;
use crate::exchange::outflow::tally::Tally;
use crate::exchange::outflow::{Outflow, Terms};
use crate::exchange::purse::{Next, Purse};
use crate::exchange::relay::{Kind, Orders, Relay, Step};
use crate::exchange::rendition::Rendition;
use crate::exchange::rewrite::{Attempt, Carrier, Foreign};
use crate::exchange::route::{Candidate, Plan};
use crate::exchange::settle::Bill;
use crate::ledger::hold::Grant;
use crate::record::{AttemptRecord, Outcome};
use crate::upstream::provider::Provider;
use crate::upstream::retry::{self, Reply, Verdict};
use crate::usage::bound::Class;
use crate::usage::vocabulary::Vocabulary;
use crate::wire::weigh::Weight;

/// A reading of the clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Microseconds of a steady clock.
    pub us: u64,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

impl Now {
    /// Milliseconds of the steady clock.
    pub const fn ms(self) -> u64 {
        self.us / 1_000
    }
}

/// What becomes of an answer, by its header.
#[derive(Debug)]
pub enum OnHeader {
    /// Its body goes through `on_body`.
    Relay,
    /// The next candidate is tried at once.
    Retry,
    /// The client gets this refusal.
    Refuse(Fault),
}

/// What the client gets when every candidate has failed.
#[derive(Debug)]
pub enum Conclusion {
    /// The last answer of a candidate, as it came.
    Answer(FailedAnswer),
    /// A refusal of ours.
    Refuse(Fault),
}

/// One request and its answer.
#[derive(Debug)]
pub struct Exchange {
    id: RequestId,
    around: Arc<Current>,
    asked: Asked,
    plan: Plan,
    /// How many candidates have had their turn; the current one is the last of them.
    tried: usize,
    /// How many of them were asked.
    asked_count: usize,
    current: Option<Running>,
    attempts: Vec<AttemptRecord>,
    trigger_status: Option<u16>,
    /// What the last attempt's failure amounts to: its status, or the code inside an answer of 200.
    failed_as: u16,
    failed: Option<FailedAnswer>,
    relay: Option<Relay>,
    bill: Option<Bill>,
    /// Who pays; `None` where nobody counts.
    purse: Option<Purse>,
    /// What was asked, in the dialect of the current provider where that is another one.
    rendition: Option<Box<Rendition>>,
    /// The body as it came, weighed for the worst case.
    weight: Option<Weight>,
    /// The factor on all rates that the current attempt can meet, in percent.
    rate_percent: u64,
    /// Tokens of the input, once they were counted.
    counted: Option<(Vocabulary, u64)>,
    /// How far the bound of the current attempt can be trusted.
    bound_class: Option<Class>,
    /// What is held for the current attempt.
    grant: Option<Grant>,
    /// Why the first candidate that was passed over could not be asked.
    refusal: Option<Fault>,
    /// What a failed answer reported as consumed.
    failed_bill: Option<Bill>,
    /// Most tokens of an answer, where we say so and not the client.
    answer_cap: Option<u64>,
    /// The answer is read by us, and is shown as something else.
    wants_whole: bool,
    /// What answers are searched for.
    guard: Option<Terms>,
    /// The search of the present answer, if it is a stream.
    outflow: Option<Box<Outflow>>,
    /// What was found in answers that are whole.
    tally: Tally,
}

/// The attempt that runs.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one attempt")]
struct Running {
    candidate: Candidate,
    provider: Arc<Provider>,
    own_credential: bool,
    asks_usage: bool,
    /// Its model was told to think.
    thinks: bool,
    started_us: u64,
    status: u16,
    headers: Vec<(HeaderName, HeaderValue)>,
    recorded: bool,
    length_announced: bool,
    /// Its failure is one of the key it was asked with.
    key_failed: bool,
}

impl Exchange {
    /// An exchange that has not sent anything yet.
    pub fn new(id: RequestId, around: Arc<Current>, asked: Asked, mut plan: Plan) -> Self {
        plan.think = plan.think && mutation::may_think(&around);
        Self {
            id,
            around,
            asked,
            plan,
            tried: 0,
            asked_count: 0,
            current: None,
            attempts: Vec::with_capacity(1),
            trigger_status: None,
            failed_as: 0,
            failed: None,
            relay: None,
            bill: None,
            purse: None,
            rendition: None,
            weight: None,
            rate_percent: 100,
            counted: None,
            bound_class: None,
            grant: None,
            refusal: None,
            failed_bill: None,
            answer_cap: None,
            wants_whole: false,
            guard: None,
            outflow: None,
            tally: Tally::default(),
        }
    }

    /// The same exchange, paid by `purse`.
    #[must_use]
    pub fn paid_by(mut self, purse: Option<Purse>) -> Self {
        self.purse = purse;
        self
    }

    /// Takes over what has changed of the limits since the request came in.
    pub fn set_limits(&mut self, limited: bool, strict: bool) {
        if let Some(purse) = &mut self.purse {
            (purse.limited, purse.strict) = (limited, strict);
        }
    }

    /// Has answers held until they are whole: they are read by us, and shown as something else.
    pub const fn hold_answers(&mut self) {
        self.wants_whole = true;
    }

    /// Who pays.
    pub const fn purse(&self) -> Option<&Purse> {
        self.purse.as_ref()
    }

    /// What was asked.
    pub const fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The configuration that holds for this exchange from beginning to end.
    pub fn snapshot(&self) -> &Snapshot {
        &self.around.snapshot
    }

    /// The same, to be kept beyond its end.
    pub fn around(&self) -> Arc<Current> {
        Arc::clone(&self.around)
    }

    /// The relay of the present answer.
    pub const fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    /// The model of the last attempt; empty if none was made.
    pub fn last_model(&self) -> Arc<str> {
        self.attempts.last().map_or_else(|| Arc::from(""), |attempt| Arc::clone(&attempt.model))
    }

    /// The next candidate that may be asked; `None` when all have had their turn. What it wants to have
    /// held must be granted before `attempt`.
    ///
    /// # Errors
    /// `internal`, if the plan does not fit the catalog.
    pub fn next_candidate(&mut self, now: Now) -> Result<Option<Next>, Fault> {
        self.climb();
        while let Some(place) = self.next_place() {
            let Some(candidate) = self.plan.candidates.get(place).cloned() else { break };
            self.tried = place + 1;
            self.relay = None;
            self.grant = None;
            self.bound_class = None;
            self.failed_bill = None;
            let provider = match (&candidate, self.model_of(&candidate)) {
                (Candidate::Provider(provider), _) => Arc::clone(provider),
                (_, Some(model)) => Arc::clone(&model.provider),
                (_, None) => {
                    return Err(Fault::new(Code::Internal, "a model is missing from the catalog"));
                }
            };
            self.current = Some(Running {
                candidate,
                provider,
                own_credential: false,
                asks_usage: false,
                thinks: false,
                started_us: now.us,
                status: 0,
                headers: Vec::new(),
                recorded: false,
                length_announced: false,
                key_failed: false,
            });
            match self.render().and_then(|()| self.order()) {
                Ok(hold) => return Ok(Some(Next { hold })),
                Err(fault) => self.pass_over(fault),
            }
        }
        Ok(None)
    }

    /// The request to the current candidate, within what was granted for it.
    ///
    /// # Errors
    /// `internal`, if the request cannot be built.
    pub fn attempt(&mut self, grant: Option<Grant>) -> Result<Attempt, Fault> {
        self.grant = grant;
        let Some(current) = &self.current else {
            return Err(Fault::new(Code::Internal, "no candidate has its turn"));
        };
        let provider = Arc::clone(&current.provider);
        let with_theirs = self.plan.credential_for == Some(provider.index);
        let models = self.models_at(&provider, self.current_model());
        let thinks = self.plan.think;
        let carrier = Carrier { provider, with_theirs, within: self.within(), thinks };
        let mut attempt = rewrite::attempt(self.heard(), &models, &carrier)?;
        if let Some(rendition) = &self.rendition {
            attempt.foreign = Some(Foreign { version: rendition.version });
        }
        if let Some(current) = &mut self.current {
            current.own_credential = attempt.own_credential;
            current.asks_usage = attempt.asks_usage;
            current.thinks = attempt.thinks;
        }
        self.asked_count += 1;
        Ok(attempt)
    }

    /// Judges the header of the current attempt's answer. `head_only` says that no body will follow.
    pub fn on_header(&mut self, status: u16, headers: &HeaderMap, now: Now) -> OnHeader {
        let Some(current) = &mut self.current else {
            return OnHeader::Refuse(Fault::new(Code::Internal, "an answer without a request"));
        };
        current.status = status;
        current.key_failed = current.own_credential && matches!(status, 401 | 403 | 429);
        let policy = &self.around.snapshot.routing.retry;
        match policy.judge(Reply::Status(status), current.own_credential) {
            Verdict::NextAuth => self.credential_refused(now),
            Verdict::Next => {
                let wait = retry::retry_after_ms(headers, now.unix_ms);
                self.rest_endpoint(now, wait);
                if self.has_next() || self.reads_failures() || self.hides_failures() {
                    self.keep_headers(headers);
                    self.start_relay(Kind::Failed, now);
                } else {
                    self.start_relay(Kind::Opaque, now);
                }
                OnHeader::Relay
            }
            Verdict::Return => {
                let good = (200..300).contains(&status);
                let mut kind = if good { answer::kind_of(headers) } else { Kind::Opaque };
                if good && self.asked.surface.is_answered() && answer::is_none(headers) {
                    // It is read to its end, and found to be no answer there.
                    kind = Kind::Json;
                }
                if self.reads_failures() && !good {
                    return self.collect_refusal(headers, now);
                }
                if let Some(fault) = self.unreadable(good, kind, now) {
                    return OnHeader::Refuse(fault);
                }
                if self.rendition.is_some() && kind == Kind::Opaque {
                    // It does not say what it is; as it came, the client could not read it.
                    kind = if self.asked.wish.stream { Kind::Stream } else { Kind::Json };
                }
                if kind == Kind::Json || kind == Kind::Stream && self.has_next() {
                    self.keep_headers(headers);
                }
                self.start_relay(kind, now);
                OnHeader::Relay
            }
        }
    }

    /// Takes a piece of the current answer's body.
    pub fn on_body(&mut self, chunk: Bytes, end: bool, now: Now) -> Step {
        let Some(relay) = &mut self.relay else { return Step::Pass(chunk) };
        let shown = relay.is_open();
        let step = relay.feed(chunk, end, now.ms());
        let step = match relay.take_usage_mark() {
            Some((at, report)) => self.with_cost(step, at, &report),
            None => step,
        };
        let step = if self.guard.is_some() { self.searched(step, (shown, end), now) } else { step };
        match step {
            Step::Retry => self.give_up_answer(now),
            Step::Whole(body) => self.complete_json(body, now),
            Step::Open { bytes, content_length } => {
                self.asked.let_go();
                if let Some(rendition) = &mut self.rendition {
                    rendition.asked.let_go();
                }
                Step::Open { bytes, content_length }
            }
            step => step,
        }
    }

    /// The current attempt broke before it answered, or in the middle. Whether another one follows.
    pub fn on_failure(&mut self, reply: Reply, now: Now) -> bool {
        let outcome = match reply {
            Reply::ConnectFailed => Outcome::ConnectFailed,
            Reply::TimedOut => Outcome::TimedOut,
            Reply::ErrorEvent | Reply::CodeInside(_) => Outcome::ErrorInside,
            Reply::Status(_) => Outcome::RetryStatus,
            Reply::Broken => Outcome::Broken,
        };
        if self.relay.as_ref().is_some_and(|relay| relay.kind() == Kind::Failed) {
            // Its status was the failure; that its body broke off as well changes nothing.
            return self.give_up_answer(now) == Step::Retry;
        }
        let verdict = self.around.snapshot.routing.retry.judge(reply, true);
        self.rest_endpoint(now, None);
        let status = if reply == Reply::TimedOut { 504 } else { 502 };
        self.record_attempt(outcome, now, status);
        verdict == Verdict::Next && self.has_next() && !self.answer_is_shown()
    }

    /// Asks the same candidate once more, because it never saw the request. Not possible once it has
    /// begun to answer.
    pub fn repeat_attempt(&mut self) -> bool {
        if self.relay.is_some() || self.tried == 0 {
            return false;
        }
        self.tried -= 1;
        self.asked_count = self.asked_count.saturating_sub(1);
        true
    }

    /// The client sees the answer from its header on: nothing is held back, nothing can be retried.
    pub fn open_now(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.mark_open();
        }
    }

    /// Whether anything of an answer may have gone to the client.
    pub fn answer_is_shown(&self) -> bool {
        self.relay.as_ref().is_some_and(Relay::is_open)
    }

    /// The client has left: no more attempts.
    pub fn on_client_gone(&mut self, now: Now) {
        self.tried = self.plan.candidates.len();
        self.record_attempt(Outcome::ClientGone, now, 499);
    }

    /// What the client gets when every candidate has failed.
    pub fn conclude(&mut self) -> Conclusion {
        if let Some(fault) = self.all_failed() {
            return Conclusion::Refuse(fault);
        }
        if let Some(answer) = self.failed.take() {
            return self.searched_failure(answer);
        }
        if let Some(fault) = self.refusal.take().filter(|_| self.attempts.is_empty()) {
            return Conclusion::Refuse(fault);
        }
        Conclusion::Refuse(answer::unanswered(&self.attempts))
    }

    /// The bytes that end a stream which the upstream broke off.
    pub fn break_off(&mut self, fault: &Fault) -> Bytes {
        let bytes = self.relay.as_mut().map(|relay| relay.break_off(fault)).unwrap_or_default();
        self.searched_last(bytes)
    }

    /// The headers that tell the client who answered.
    pub fn gateway_headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        answer::gateway_headers(self)
    }

    // --- the steps behind

    fn model_of(&self, candidate: &Candidate) -> Option<&Model> {
        self.around.snapshot.catalog.get(candidate.place()?)
    }

    /// The model to ask for, and those that the same provider would be asked for next.
    fn models_at<'a>(&'a self, provider: &Provider, model: Option<&'a Model>) -> Vec<&'a Model> {
        let mut models: Vec<&Model> = model.into_iter().collect();
        if provider.abilities.native_fallback {
            let later = self.plan.candidates[self.tried..].iter().map_while(|candidate| {
                self.model_of(candidate).filter(|model| model.provider.index == provider.index)
            });
            for model in later.filter(|model| !model.is_wildcard()) {
                if models.iter().all(|known| known.upstream_id != model.upstream_id) {
                    models.push(model);
                }
            }
        }
        models
    }

    /// Who answers the current attempt.
    pub fn current_provider(&self) -> Option<&Provider> {
        self.current.as_ref().map(|current| &*current.provider)
    }

    fn current_model(&self) -> Option<&Model> {
        self.model_of(&self.current.as_ref()?.candidate)
    }

    fn credential_refused(&mut self, now: Now) -> OnHeader {
        if let Some(index) = self.current.as_ref().and_then(|current| current.candidate.place())
            && let Some(endpoint) = self.around.endpoints.get(index)
        {
            endpoint.provider.report_auth_failure(now.ms());
        }
        self.record_attempt(Outcome::AuthFailed, now, 502);
        if self.has_next() {
            return OnHeader::Retry;
        }
        match self.conclude() {
            Conclusion::Refuse(fault) => OnHeader::Refuse(fault),
            Conclusion::Answer(answer) => {
                self.failed = Some(answer);
                OnHeader::Retry
            }
        }
    }

    pub(super) fn rest_endpoint(&self, now: Now, retry_after_ms: Option<u64>) {
        let place = self.current.as_ref().and_then(|current| current.candidate.place());
        if let Some(endpoint) = place.and_then(|index| self.around.endpoints.get(index)) {
            endpoint.model.report_failure(
                now.ms(),
                self.around.snapshot.routing.cooldown_ms,
                retry_after_ms,
            );
        }
    }

    fn keep_headers(&mut self, headers: &HeaderMap) {
        let passing = headers.iter().filter(|(name, _)| answer::kept_with_body(name.as_str()));
        let kept = passing.map(|(name, value)| (name.clone(), value.clone())).collect();
        if let Some(current) = &mut self.current {
            current.headers = kept;
            // A translation has a length of its own.
            current.length_announced = self.rendition.is_none()
                && headers.contains_key(http::header::CONTENT_LENGTH)
                && !headers.contains_key(http::header::CONTENT_ENCODING);
        }
    }

    fn start_relay(&mut self, kind: Kind, now: Now) {
        let asks_usage = self.current.as_ref().is_some_and(|current| current.asks_usage);
        let style = if kind == Kind::Stream { self.style(now) } else { None };
        let prefix = match kind {
            Kind::Stream => answer::notice_prefix(self, now),
            _ => Vec::new(),
        };
        self.start_search(kind);
        self.relay = Some(Relay::new(Orders {
            surface: self.asked.surface,
            heard: self.heard().surface,
            translator: style.map(|(passage, style)| Box::new(passage.stream(style))),
            kind,
            may_retry: self.has_next(),
            strip_usage: asks_usage,
            mark_usage: self.tells_cost(),
            whole: self.wants_whole,
            prefix,
            header_at_ms: now.ms(),
        }));
    }

    /// Adds the outcome of the current attempt, once.
    pub(super) fn record_attempt(&mut self, outcome: Outcome, now: Now, trigger_status: u16) {
        let Some(current) = self.current.as_mut().filter(|current| !current.recorded) else {
            return;
        };
        current.recorded = true;
        self.failed_as = trigger_status;
        if outcome != Outcome::Answered && self.trigger_status.is_none() {
            self.trigger_status = Some(trigger_status);
        }
        let provider = Arc::clone(&current.provider.name);
        let (status, started_us) = (current.status, current.started_us);
        let model =
            self.current_model().map_or_else(|| Arc::from(""), |model| Arc::clone(&model.id));
        self.attempts.push(AttemptRecord {
            model,
            provider,
            outcome,
            status,
            duration_us: now.us.saturating_sub(started_us),
        });
    }
}
