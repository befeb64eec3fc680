//! Where an exchange meets the search of its answer: what the relay would give out goes through it, and what it
//! says becomes a step. What is looked for, and how, is `outflow`'s business.

use bytes::Bytes;

use crate::base::fault::Fault;
use crate::config::guards::OnFailure;
use crate::dialect::error_body;
use crate::exchange::answer::FailedAnswer;
use crate::exchange::outflow::{Outflow, Passed, Stop, Terms, document, echo};
use crate::exchange::relay::{Kind, Step};
use crate::exchange::settle::{self, Bill};
use crate::exchange::{Conclusion, Exchange, Now};
use crate::record::{GuardRecord, Outcome, UsageSource};
use crate::wire::json;

impl Exchange {
    /// The same exchange, whose answer is searched.
    #[must_use]
    pub fn guarded_by(mut self, terms: Option<Terms>) -> Self {
        self.guard = terms.filter(|_| Terms::covers(self.asked.surface));
        self
    }

    /// Begins the search of an answer.
    pub(super) fn start_search(&mut self, kind: Kind) {
        let terms = self.guard.as_ref().filter(|_| kind == Kind::Stream);
        self.outflow = terms.map(|terms| Box::new(Outflow::new(terms.clone(), self.asked.surface)));
    }

    /// The refusal of an answer that does not say what it is: where answers are searched, none passes unread.
    pub(super) fn unreadable(&mut self, good: bool, kind: Kind, now: Now) -> Option<Fault> {
        let terms = self.guard.as_ref().filter(|_| good && kind == Kind::Opaque)?;
        if self.rendition.is_some() {
            return None;
        }
        let stop = self.tally.failed(terms.guards.on_failure)?;
        self.record_attempt(Outcome::Blocked, now, 502);
        self.tried = self.plan.candidates.len();
        Some(stop.fault())
    }

    /// What becomes of a step of the relay. `shown` says whether anything had gone to the client before.
    pub(super) fn searched(&mut self, step: Step, (shown, end): (bool, bool), now: Now) -> Step {
        let is_unread = self.relay.as_ref().is_some_and(|relay| relay.kind() == Kind::Unread);
        match step {
            Step::Open { .. } | Step::Pass(_) if is_unread => self.too_large(step, shown, now),
            Step::Open { bytes, content_length } => {
                let Some(outflow) = &mut self.outflow else {
                    return Step::Open { bytes, content_length };
                };
                let passed = outflow.feed(bytes, end);
                match passed.stop {
                    None => Step::Open { bytes: passed.bytes, content_length },
                    Some(why) => self.stopped(&passed, why, (shown, now)),
                }
            }
            Step::Pass(bytes) => {
                let Some(outflow) = &mut self.outflow else { return Step::Pass(bytes) };
                let passed = outflow.feed(bytes, end);
                match passed.stop {
                    None => Step::Pass(passed.bytes),
                    Some(why) => self.stopped(&passed, why, (shown, now)),
                }
            }
            step => step,
        }
    }

    /// The last bytes of a stream that broke off.
    pub(super) fn searched_last(&mut self, bytes: Bytes) -> Bytes {
        let Some(outflow) = &mut self.outflow else { return bytes };
        let passed = outflow.feed(bytes, true);
        match passed.stop {
            None => passed.bytes,
            Some(why) => joined(&passed.bytes, &outflow.closing(why)),
        }
    }

    /// A stream that must not go on.
    fn stopped(&mut self, passed: &Passed, stop: Stop, (shown, now): (bool, Now)) -> Step {
        if !shown {
            return self.kept_back(stop, now);
        }
        let closing = self.outflow.as_ref().map(|outflow| outflow.closing(stop));
        Step::Cut(joined(&passed.bytes, &closing.unwrap_or_default()))
    }

    /// An answer of which nothing has been shown, and nothing will be.
    fn kept_back(&mut self, stop: Stop, now: Now) -> Step {
        // What came is owed, seen or not; of a document its bill was made before, if it was read.
        if let Some(relay) = &mut self.relay {
            let (told, bytes) = (relay.told(), relay.bytes_seen());
            let bill = match told {
                Some(told) => Some(settle::of_blocked(self, &told)),
                None if self.failed_bill.is_none() => Some(settle::of_unread(self, bytes)),
                None => None,
            };
            self.failed_bill = bill.or(self.failed_bill);
        }
        self.record_attempt(Outcome::Blocked, now, 502);
        self.tried = self.plan.candidates.len();
        // A relay that has shown nothing must not count as one whose answer was.
        if let Some(relay) = &mut self.relay {
            relay.mark_shut();
        }
        Step::Refuse(stop.fault())
    }

    /// A document that is too large to be searched.
    fn too_large(&mut self, step: Step, shown: bool, now: Now) -> Step {
        let Some(terms) = &self.guard else { return step };
        if self.tally.has_failed() && terms.guards.on_failure == OnFailure::Pass {
            return step;
        }
        match self.tally.failed(terms.guards.on_failure) {
            None => step,
            Some(why) if shown => Step::Cut(self.error(why)),
            Some(why) => self.kept_back(why, now),
        }
    }

    fn error(&self, stop: Stop) -> Bytes {
        Bytes::from(error_body::body(self.asked.surface.dialect(), &stop.fault()))
    }

    /// A whole answer, searched; or what the client gets instead.
    ///
    /// # Errors
    /// The step that refuses it.
    pub(super) fn searched_whole(
        &mut self,
        body: Bytes,
        bill: &Bill,
        now: Now,
    ) -> Result<Bytes, Step> {
        let Some(terms) = &self.guard else { return Ok(body) };
        let length = body.len();
        let passed = if is_error(&body) {
            echo::failure(terms, &body, &mut self.tally)
        } else {
            document::document(terms, self.asked.surface, body, &mut self.tally)
        };
        let promised = self.length_is_promised() && passed.bytes.len() != length;
        let stop = passed.stop.or(promised.then_some(Stop::Found));
        let Some(stop) = stop else { return Ok(passed.bytes) };
        if self.answer_is_shown() {
            self.bill = Some(*bill);
            return Err(Step::Cut(self.error(stop)));
        }
        // A guess stays one, and what has no price is one.
        let is_exact = bill.source == UsageSource::Exact && !bill.unpriced;
        let source = if is_exact { UsageSource::Exact } else { UsageSource::Estimated };
        self.failed_bill = Some(Bill { source, ..*bill });
        Err(self.kept_back(stop, now))
    }

    /// The answer of a candidate that failed, searched: servers put requests into their errors.
    pub(super) fn searched_failure(&mut self, mut answer: FailedAnswer) -> Conclusion {
        if let Some(terms) = &self.guard {
            let passed = echo::failure(terms, &answer.body, &mut self.tally);
            if let Some(stop) = passed.stop {
                if let Some(last) = self.attempts.last_mut() {
                    last.outcome = Outcome::Blocked;
                }
                return Conclusion::Refuse(stop.fault());
            }
            answer.body = passed.bytes;
        }
        Conclusion::Answer(answer)
    }

    /// What the guards have found in the request and in the answer, as one.
    pub(super) fn found(&self, request: Option<Box<GuardRecord>>) -> Option<Box<GuardRecord>> {
        let stream = self.outflow.as_ref().and_then(|outflow| outflow.record());
        let whole = self.tally.record();
        let all = [request.map(|it| *it), stream, whole].into_iter().flatten();
        all.reduce(GuardRecord::and).map(Box::new)
    }

    /// Whether the canary came back in the answer.
    pub fn canary_leaked(&self) -> bool {
        self.tally.canary_leaked()
            || self.outflow.as_ref().is_some_and(|outflow| outflow.canary_leaked())
    }
}

/// Whether a document is the body of an error.
fn is_error(body: &[u8]) -> bool {
    let Ok(whole) = json::check(body) else { return false };
    let said = |name| json::find(body, whole, name).map(|value| value.of(body));
    said("error").is_some_and(|error| error != b"null") || said("detail").is_some()
}

fn joined(one: &Bytes, other: &Bytes) -> Bytes {
    Bytes::from([&one[..], &other[..]].concat())
}
