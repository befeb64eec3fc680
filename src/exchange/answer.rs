//! What the gateway reads from an answer's header and adds to an answer: kind, notice, own object,
//! own headers.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::fault::{Code, Fault};
use crate::base::money::NanoUsd;
use crate::base::surface::Surface;
use crate::config::catalog::Model;
use crate::dialect::error_body;
use crate::dialect::notice::{self, ChunkFrame, Notice, NoticeMode};
use crate::dialect::translate::Passage;
use crate::exchange::asked::{is_event_stream, is_json};
use crate::exchange::headers::answer_header_passes;
use crate::exchange::relay::{Kind, Relay, Step};
use crate::exchange::route::Candidate;
use crate::exchange::settle;
use crate::exchange::{Exchange, Now, OnHeader};
use crate::record::{AttemptRecord, Outcome};
use crate::upstream::retry::{Reply, Verdict};
use crate::usage::answer::{self, AnswerFacts};
use crate::usage::count::Report;
use crate::wire::json::quote_into;

/// The answer of a candidate that failed, kept to be returned as it came.
#[derive(Clone, Debug)]
pub struct FailedAnswer {
    /// Its status.
    pub status: u16,
    /// Its headers, as far as they describe the body or the wait.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body, up to `limit::ERROR_BODY_BYTES_MAX`.
    pub body: Bytes,
}

impl FailedAnswer {
    /// The same as the client reads it, if it came in another dialect.
    #[must_use]
    pub fn in_dialect_of_client(mut self, passage: Option<Passage>) -> Self {
        let Some(passage) = passage else { return self };
        let (status, body) = passage.failure(self.status, &self.body);
        self.headers.retain(|(name, _)| name != CONTENT_TYPE);
        self.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        Self { status, body: Bytes::from(body), ..self }
    }
}

/// What an answer with these headers is made of.
pub fn kind_of(headers: &HeaderMap) -> Kind {
    match headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) {
        Some(value) if is_event_stream(value) => Kind::Stream,
        Some(value) if is_json(value) => Kind::Json,
        _ => Kind::Opaque,
    }
}

/// Whether a good answer with these headers cannot be one of a model: it has no body, or is a page for people.
pub fn is_none(headers: &HeaderMap) -> bool {
    let is_page = headers.get(CONTENT_TYPE).is_some_and(|value| {
        value.as_bytes().get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"text/html"))
    });
    is_page || headers.get(CONTENT_LENGTH).is_some_and(|value| value.as_bytes() == b"0")
}

/// Whether a header is kept beside the body of a failed answer: not its framing, which is made anew.
pub fn kept_with_body(name: &str) -> bool {
    answer_header_passes(name) && !matches!(name, "content-length" | "transfer-encoding")
}

/// The refusal when no candidate gave an answer that may be shown.
pub fn unanswered(attempts: &[AttemptRecord]) -> Fault {
    let outcome = attempts.last().map(|attempt| attempt.outcome);
    let tried = attempts.len();
    let fault = match outcome {
        Some(Outcome::TimedOut) => Fault::new(
            Code::UpstreamTimeout,
            format!("no provider answered in time ({tried} attempts)"),
        ),
        Some(Outcome::AuthFailed) => Fault::new(
            Code::UpstreamAuthFailed,
            "the provider refused the gateway's credential; the operator has been told",
        ),
        Some(Outcome::Broken) => Fault::new(
            Code::UpstreamInvalid,
            format!(
                "the provider's answer broke off, or was none that can be read ({tried} attempts)"
            ),
        ),
        _ => Fault::new(
            Code::UpstreamUnreachable,
            format!("no provider could be reached ({tried} attempts)"),
        ),
    };
    // The seed's field (S4-12, C-08).
    let mut detail = Vec::new();
    quote_into(&fault.message, &mut detail);
    fault.extra("detail", String::from_utf8_lossy(&detail).into_owned())
}

/// The notice that goes before the first event of a stream; empty without a switch.
pub fn notice_prefix(exchange: &Exchange, now: Now) -> Vec<u8> {
    let mode = exchange.around.snapshot.stream.notice;
    let Some(facts) = exchange.switch().filter(|_| mode != NoticeMode::Off) else {
        return Vec::new();
    };
    let id = format!("weir-{}", exchange.id);
    let frame = ChunkFrame { id: &id, created: now.unix_ms / 1_000 };
    notice::stream_prefix(mode, exchange.asked.surface, &facts, frame)
}

const X_GATEWAY_MODEL_USED: HeaderName = HeaderName::from_static("x-gateway-model-used");
const X_GATEWAY_PROVIDER: HeaderName = HeaderName::from_static("x-gateway-provider");
const X_GATEWAY_ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-gateway-attempt-count");
const X_GATEWAY_SWITCHED: HeaderName = HeaderName::from_static("x-gateway-switched");
/// The id of the exchange.
pub const X_GATEWAY_REQUEST_ID: HeaderName = HeaderName::from_static("x-gateway-request-id");
const X_GATEWAY_BUDGET_REMAINING_USD: HeaderName =
    HeaderName::from_static("x-gateway-budget-remaining-usd");
const X_GATEWAY_EXPLAIN: HeaderName = HeaderName::from_static("x-gateway-explain");
const X_GATEWAY_DROPPED_PARAMS: HeaderName = HeaderName::from_static("x-gateway-dropped-params");

/// The headers that tell the client who answered.
pub fn gateway_headers(exchange: &Exchange) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(5);
    let text = |value: &str| HeaderValue::from_str(value).ok();
    let model = exchange.current_model().map(|model| exchange.shown_id(model));
    if let Some(model) = model.or(exchange.asked.model()).and_then(text) {
        headers.push((X_GATEWAY_MODEL_USED, model));
    }
    if let Some(provider) =
        exchange.current.as_ref().and_then(|current| text(&current.provider.name))
    {
        headers.push((X_GATEWAY_PROVIDER, provider));
    }
    headers.push((X_GATEWAY_ATTEMPT_COUNT, HeaderValue::from(exchange.attempts_made())));
    let switched = if exchange.switched() { "1" } else { "0" };
    headers.push((X_GATEWAY_SWITCHED, HeaderValue::from_static(switched)));
    if let Some(id) = text(&exchange.id.to_string()) {
        headers.push((X_GATEWAY_REQUEST_ID, id));
    }
    if let Some(left) = exchange.left().and_then(|left| text(&left.to_string())) {
        headers.push((X_GATEWAY_BUDGET_REMAINING_USD, left));
    }
    if let Some(explained) = exchange.plan.explain.as_deref().and_then(text) {
        headers.push((X_GATEWAY_EXPLAIN, explained));
    }
    if let Some(dropped) = exchange.dropped_fields().and_then(|dropped| text(&dropped)) {
        headers.push((X_GATEWAY_DROPPED_PARAMS, dropped));
    }
    headers
}

impl Exchange {
    /// Whether what comes back ought to be the answer of a model, which is never empty.
    pub const fn expects_answer(&self) -> bool {
        self.asked.surface.is_answered()
    }

    /// Whether another model answers than the one chosen first.
    pub fn switched(&self) -> bool {
        let first = self.model_of(&self.plan.first_choice);
        match (self.current_model(), first) {
            (Some(current), Some(first)) => !is_same_but_for_key(current, first),
            _ => false,
        }
    }

    /// How many requests went to providers, the present one among them.
    fn attempts_made(&self) -> usize {
        let running = self.current.as_ref().is_some_and(|current| !current.recorded);
        self.attempts.len() + usize::from(running)
    }

    /// The facts of the switch, if there was one.
    fn switch(&self) -> Option<Notice<'_>> {
        if !self.switched() {
            return None;
        }
        let from = self.model_of(&self.plan.first_choice)?;
        let to = self.current_model()?;
        Some(Notice {
            from_model: &from.id,
            to_model: &to.id,
            // An endpoint that rests was not asked; 503 says what it would have said. One that was passed
            // over for its price was refused by us.
            trigger_status: self.trigger_status.unwrap_or(if self.refusal.is_some() {
                402
            } else {
                503
            }),
            from_route: &from.provider.name,
            to_route: &to.provider.name,
            attempts: self.attempts_made(),
        })
    }

    /// A whole JSON answer: read, judged, and completed with what the gateway adds.
    pub(super) fn complete_json(&mut self, body: Bytes, now: Now) -> Step {
        let mut facts = answer::read_answer(self.heard().surface, &body);
        let shown = self.answer_is_shown();
        if facts.closing_brace.is_none() && !shown && self.asked.surface.is_answered() {
            // Nothing, half an object, a page for people: to a client it would be a success without an answer.
            // What it says of its usage may be true all the same, and what came may be owed.
            self.failed_bill = Some(match &facts.usage {
                Some(_) => settle::of_answer(self, &facts),
                None => settle::of_unread(self, body.len() as u64),
            });
            self.rest_endpoint(now, None);
            self.record_attempt(Outcome::Broken, now, 502);
            return Step::Retry;
        }
        if let Some(code) = facts.error_code
            && self.has_next()
            && !shown
            && self.around.snapshot.routing.retry.judge(Reply::CodeInside(code), true)
                == Verdict::Next
        {
            self.failed_bill = facts.usage.is_some().then(|| settle::of_answer(self, &facts));
            let passage = self.rendition.as_ref().map(|rendition| rendition.passage);
            self.keep_failed(body, passage);
            self.rest_endpoint(now, None);
            self.record_attempt(Outcome::ErrorInside, now, code);
            return Step::Retry;
        }
        let bill = settle::of_answer(self, &facts);
        let body = match self.in_dialect_of_client(&body, &facts, now) {
            Ok(None) => body,
            Ok(Some(translated)) => {
                facts = answer::read_answer(self.asked.surface, &translated);
                translated
            }
            Err(failure) => {
                self.failed_bill = facts.usage.is_some().then_some(bill);
                self.record_attempt(failure, now, facts.error_code.unwrap_or(502));
                return Step::Retry;
            }
        };
        let members = self.own_members(&bill);
        let insert_at =
            facts.closing_brace.filter(|_| !members.is_empty() && !self.length_is_promised());
        let bytes = match insert_at {
            Some(at) => insert(&body, at, facts.is_empty_object, &members),
            None => body,
        };
        let bytes = match self.searched_whole(bytes, &bill, now) {
            Ok(bytes) => bytes,
            Err(step) => return step,
        };
        self.bill = Some(bill);
        if shown {
            return Step::Pass(bytes);
        }
        let content_length = Some(bytes.len());
        if let Some(relay) = &mut self.relay {
            relay.mark_open();
        }
        Step::Open { bytes, content_length }
    }

    /// The answer as the client reads it; `None` if it is that already. An answer that is none is an error
    /// of that kind, and is kept in case that nobody else answers.
    fn in_dialect_of_client(
        &mut self,
        body: &Bytes,
        facts: &AnswerFacts,
        now: Now,
    ) -> Result<Option<Bytes>, Outcome> {
        let Some((passage, style)) = self.style(now) else { return Ok(None) };
        let shown = self.answer_is_shown();
        if facts.has_error {
            let status = facts.error_code.filter(|code| (400..600).contains(code)).unwrap_or(502);
            if shown {
                return Ok(Some(Bytes::from(passage.failure(status, body).1)));
            }
            if let Some(current) = &mut self.current {
                current.status = status;
            }
            let policy = &self.around.snapshot.routing.retry;
            if facts
                .error_code
                .is_some_and(|code| policy.judge(Reply::CodeInside(code), true) == Verdict::Return)
            {
                // As it would be with that status: nobody else is asked.
                self.tried = self.plan.candidates.len();
            }
            self.keep_failed(body.clone(), Some(passage));
            return Err(Outcome::ErrorInside);
        }
        match passage.answer(body, &style) {
            Some(answer) => Ok(Some(Bytes::from(answer))),
            None if shown => {
                let fault = Fault::new(Code::UpstreamInvalid, "the provider's answer is not one");
                Ok(Some(Bytes::from(error_body::body(self.asked.surface.dialect(), &fault))))
            }
            None => Err(Outcome::Broken),
        }
    }

    /// The present answer is a failure: keep it in case that all candidates fail.
    pub(super) fn give_up_answer(&mut self, now: Now) -> Step {
        // The last one's refusal is what the client gets, read before or not.
        let is_last = self.reads_failures() && !self.hides_failures() && !self.has_next();
        let outcome = match &self.relay {
            Some(relay) if relay.kind() == Kind::Failed && is_last => Outcome::Answered,
            Some(relay) if relay.kind() == Kind::Failed => Outcome::RetryStatus,
            Some(relay) if relay.is_error() => Outcome::ErrorInside,
            // It ended before it said anything.
            _ => Outcome::Broken,
        };
        // A refusal is told by its status, also if its body never came; a whole one that came before is better.
        let counts = self.reads_failures() || self.failed.is_none();
        let is_told = |relay: &Relay| counts && relay.kind() == Kind::Failed;
        let told = self.relay.as_mut().filter(|relay| relay.is_returnable() || is_told(relay));
        if let Some(relay) = told {
            let (is_whole, is_stream) = (relay.is_returnable(), relay.kind() == Kind::Stream);
            let body = relay.take_held_for_client();
            let rendition = self.rendition.as_ref().filter(|_| !is_stream);
            let passage = rendition.map(|rendition| rendition.passage);
            if is_whole || passage.is_some() {
                self.keep_failed(body, passage);
            } else {
                self.keep_status();
            }
        }
        if outcome == Outcome::ErrorInside {
            self.failed_bill = self.relay.take().and_then(|relay| settle::of_failed(self, relay));
        }
        if !matches!(outcome, Outcome::RetryStatus | Outcome::Answered) {
            self.rest_endpoint(now, None);
        }
        let status = self.current.as_ref().map_or(502, |current| current.status);
        self.record_attempt(outcome, now, status);
        Step::Retry
    }

    /// The process is about to end: no more attempts. What the present one came to is noted at the end, but for
    /// one that was refused already.
    pub fn on_stop(&mut self, now: Now) {
        self.tried = self.plan.candidates.len();
        if self.relay.as_ref().is_some_and(|relay| relay.kind() == Kind::Failed) {
            self.give_up_answer(now);
        }
    }

    /// Keeps a failed answer; `passage` if it has to be translated.
    pub(super) fn keep_failed(&mut self, body: Bytes, passage: Option<Passage>) {
        let Some(current) = &mut self.current else { return };
        let (status, headers) = (current.status, std::mem::take(&mut current.headers));
        self.failed = Some(FailedAnswer { status, headers, body }.in_dialect_of_client(passage));
    }

    /// Keeps of a failed answer what came whole: part of its body under its status would be another answer.
    fn keep_status(&mut self) {
        let said = "the provider refused, and what it said of it was too long or broke off";
        let fault = Fault::new(Code::UpstreamInvalid, said);
        self.keep_failed(error_body::body(self.asked.surface.dialect(), &fault).into(), None);
        if let Some(failed) = &mut self.failed {
            failed.headers.retain(|(name, _)| name != CONTENT_TYPE);
            failed.headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
    }

    /// Whether what a provider refuses with is read before it is shown: it is translated, or searched.
    pub(super) const fn reads_failures(&self) -> bool {
        self.rendition.is_some() || self.guard.is_some()
    }

    /// The provider refuses, and what it says is read before the client hears it: the body is collected, and
    /// nobody else is asked.
    pub(super) fn collect_refusal(&mut self, headers: &HeaderMap, now: Now) -> OnHeader {
        self.tried = self.plan.candidates.len();
        self.keep_headers(headers);
        self.start_relay(Kind::Failed, now);
        OnHeader::Relay
    }

    /// Whether a length has already been told to the client.
    pub(super) fn length_is_promised(&self) -> bool {
        self.answer_is_shown()
            && self.current.as_ref().is_some_and(|current| current.length_announced)
    }

    /// Whether the usage chunk of a stream tells what it cost: the client has asked for that chunk, and
    /// somebody limits what it spends. All other streams stay as they are.
    pub(super) fn tells_cost(&self) -> bool {
        matches!(self.asked.surface, Surface::Chat | Surface::Completions)
            && self.asked.wish.usage
            && self.purse.as_ref().is_some_and(|purse| purse.limited)
            && !self.around.snapshot.stream.metadata_field.is_empty()
    }

    /// The same bytes with our own object in their usage chunk, whose last brace is at that offset.
    pub(super) fn with_cost(&self, step: Step, at: usize, report: &Report) -> Step {
        let members = self.metadata(&settle::of_report(self, report));
        match step {
            Step::Pass(bytes) => Step::Pass(insert(&bytes, at, false, &members)),
            Step::Open { bytes, content_length } => {
                Step::Open { bytes: insert(&bytes, at, false, &members), content_length }
            }
            step => step,
        }
    }

    /// What the gateway adds to a JSON answer, as members without braces.
    fn own_members(&self, bill: &settle::Bill) -> Vec<u8> {
        let mut members = Vec::new();
        if self.around.snapshot.stream.notice != NoticeMode::Off
            && let Some(facts) = self.switch()
        {
            members.extend_from_slice(b"\"gateway_notice\":");
            members.extend_from_slice(&notice::object(&facts));
        }
        let metered = !matches!(self.asked.surface, Surface::Other(_) | Surface::CountTokens);
        if metered && !self.around.snapshot.stream.metadata_field.is_empty() {
            if !members.is_empty() {
                members.push(b',');
            }
            members.extend_from_slice(&self.metadata(bill));
        }
        members
    }

    /// The object of S0-11 as a member, under the name that the configuration gives it.
    fn metadata(&self, bill: &settle::Bill) -> Vec<u8> {
        // Some names of models: growing three times would cost more than all the rest of it.
        let mut member = Vec::with_capacity(256);
        quote_into(&self.around.snapshot.stream.metadata_field, &mut member);
        member.push(b':');
        self.push_metadata(&mut member, bill);
        member
    }

    /// The object of S0-11.
    fn push_metadata(&self, out: &mut Vec<u8>, bill: &settle::Bill) {
        out.extend_from_slice(b"{\"agent_id\":");
        quote_into(&self.asked.principal.agent.id, out);
        out.extend_from_slice(b",\"cost\":");
        out.extend_from_slice(self.booked(bill).to_string().as_bytes());
        if let Some(left) = self.left_after(bill) {
            out.extend_from_slice(b",\"budget_remaining\":");
            out.extend_from_slice(left.to_string().as_bytes());
        }
        out.extend_from_slice(b",\"original_model\":");
        quote_into(self.asked.model().unwrap_or_default(), out);
        out.extend_from_slice(b",\"model\":");
        quote_into(self.shown_model(), out);
        out.extend_from_slice(b",\"models_allowed\":[");
        // Another key is no other model.
        let models = self.plan.candidates.iter().filter(|one| !matches!(one, Candidate::Spare(_)));
        let models = models.filter_map(|candidate| self.model_of(candidate));
        for (at, model) in models.enumerate() {
            if at > 0 {
                out.push(b',');
            }
            quote_into(self.shown_id(model), out);
        }
        out.extend_from_slice(b"]}");
    }

    /// What is left when the hold has become the cost.
    fn left_after(&self, bill: &settle::Bill) -> Option<NanoUsd> {
        let held = self.grant.as_ref().map_or(0, |grant| grant.amount.0);
        Some(NanoUsd(self.left()?.0.saturating_add(held).saturating_sub(self.booked(bill).0)))
    }

    /// What is left while the answer runs. Where nothing is held, what was left before.
    fn left(&self) -> Option<NanoUsd> {
        let before = || Some(self.purse.as_ref()?.room?.remaining);
        self.grant.as_ref().map_or_else(before, |grant| grant.remaining)
    }

    /// What the client calls the model that answers; empty if there is none.
    pub(super) fn shown_model(&self) -> &str {
        self.current_model().map_or("", |model| self.shown_id(model))
    }

    /// What a client calls that model: under a wildcard, the name that it sent itself.
    fn shown_id<'a>(&'a self, model: &'a Model) -> &'a str {
        if model.is_wildcard() { self.asked.model().unwrap_or_default() } else { &model.id }
    }
}

/// Whether two models are one and the same at its provider, asked with different keys.
fn is_same_but_for_key(one: &Model, other: &Model) -> bool {
    let same_account = one.provider.is_account_like(&other.provider);
    one.id == other.id || same_account && one.upstream_id == other.upstream_id
}

fn insert(body: &Bytes, at: usize, empty_object: bool, members: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len() + members.len() + 1);
    out.extend_from_slice(&body[..at]);
    if !empty_object {
        out.extend_from_slice(b",");
    }
    out.extend_from_slice(members);
    out.extend_from_slice(&body[at..]);
    out.freeze()
}
