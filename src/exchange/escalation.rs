//! Who is asked after a failure (S2-04): candidates in the order of the plan; where a strategy has looked at the
//! request, stronger tiers first, a bounded number of times, and none after a refusal of our credential.
//!
//! What calls for another attempt at all is `upstream::retry`'s business.

use crate::base::fault::{Code, Fault};
use crate::config::catalog::Tier;
use crate::exchange::Exchange;
use crate::exchange::choose::{Ladder, aim_of};
use crate::exchange::mutation;
use crate::exchange::route::Candidate;
use crate::record::{AttemptRecord, Outcome};
use crate::routing::decision::Failure;
use crate::upstream::retry::{Reply, Verdict};

impl Exchange {
    /// Whether another candidate is left.
    pub fn has_next(&self) -> bool {
        self.next_place().is_some()
    }

    /// The place of the next candidate in the plan. Another key is passed over where the key was not at
    /// fault.
    pub(super) fn next_place(&self) -> Option<usize> {
        if self.asked_count >= self.around.snapshot.routing.retry.attempts_max {
            return None;
        }
        let key_failed = self.current.as_ref().is_some_and(|current| current.key_failed);
        let rest = self.plan.candidates.iter().enumerate().skip(self.tried);
        let mut fitting = rest.filter(|(_, candidate)| {
            let is_spare = matches!(candidate, Candidate::Spare(_));
            if is_spare { key_failed } else { self.may_climb_to(candidate) }
        });
        fitting.next().map(|(place, _)| place)
    }

    fn ladder(&self) -> Option<Ladder> {
        self.plan.choice.as_ref()?.ladder
    }

    /// Whether a failure of the current attempt may lead to that model.
    fn may_climb_to(&self, candidate: &Candidate) -> bool {
        let Some(ladder) = self.ladder() else { return true };
        if self.asked_count == 0 {
            // Those before it were passed over for their price; that is no failure.
            return true;
        }
        if self.escalations() >= ladder.max_escalations {
            return false;
        }
        // Our key or the request was refused: a model that is no stronger may stand in, but nobody is paid more
        // for that.
        let refused = self.current.as_ref().is_some_and(|current| {
            let told = self.attempts.last().filter(|_| current.recorded);
            let failure = told.map_or_else(
                || Failure::of_status(current.status),
                |last| failure_of(last, self.failed_as),
            );
            !failure.escalates() && (failure != Failure::Auth || current.own_credential)
        });
        !refused || self.tier_of(candidate) <= self.current_model().map(|model| model.tier)
    }

    fn tier_of(&self, candidate: &Candidate) -> Option<Tier> {
        self.model_of(candidate).map(|model| model.tier)
    }

    /// Puts the candidates that are left into the order that the last failure calls for. Keys of one model stay
    /// together.
    pub(super) fn climb(&mut self) {
        let (Some(ladder), Some(last)) = (self.ladder(), self.attempts.last()) else { return };
        // A candidate that never saw the request is asked once more, in its own place.
        let has_failed = self.current.as_ref().is_some_and(|current| current.recorded);
        let at = self.current_model().filter(|_| has_failed).map(|model| model.tier);
        let Some(at) = at else { return };
        let (aims, thinks) = ladder.after(at, failure_of(last, self.failed_as));
        self.plan.think |= thinks && mutation::may_think(&self.around);
        let rest = self.plan.candidates.split_off(self.tried.min(self.plan.candidates.len()));
        let mut groups: Vec<(usize, Vec<Candidate>)> = Vec::new();
        for candidate in rest {
            let is_key = matches!(candidate, Candidate::Spare(_));
            match groups.last_mut().filter(|_| is_key) {
                Some((_, group)) => group.push(candidate),
                // Further keys of the model that has failed come first; whether they may, `next_place` says.
                None if is_key => groups.push((0, vec![candidate])),
                None => {
                    let aim = self.tier_of(&candidate).map(aim_of);
                    let rank = aims.iter().position(|one| Some(*one) == aim);
                    groups.push((1 + rank.unwrap_or(aims.len()), vec![candidate]));
                }
            }
        }
        groups.sort_by_key(|(rank, _)| *rank);
        self.plan.candidates.extend(groups.into_iter().flat_map(|(_, group)| group));
    }

    /// How often a failure has led to another model so far; another key is none.
    pub(super) fn escalations(&self) -> u32 {
        let is_running = self.current.as_ref().is_some_and(|current| !current.recorded);
        let running = self.current_model().filter(|_| is_running).map(|model| &model.id);
        let mut ids = self.attempts.iter().map(|attempt| &attempt.model).chain(running);
        let Some(mut last) = ids.next() else { return 0 };
        let mut count = 0;
        for id in ids {
            count += u32::from(id != last);
            last = id;
        }
        count
    }

    /// The refusal when every model that a strategy would have asked has failed; `None` where the last failure is
    /// to be told as it is.
    pub(super) fn all_failed(&self) -> Option<Fault> {
        self.ladder()?;
        let last = self.attempts.last()?;
        let policy = &self.around.snapshot.routing.retry;
        let is_told = match last.outcome {
            Outcome::AuthFailed | Outcome::Answered | Outcome::ClientGone => true,
            Outcome::RetryStatus => {
                policy.judge(Reply::Status(last.status), false) != Verdict::Next
            }
            _ => false,
        };
        let failure = failure_of(last, self.failed_as).name();
        let message = format!("optmod: all models failed ({failure})");
        (!is_told).then(|| Fault::new(Code::AllModelsFailed, message))
    }

    /// Whether the failure of an attempt is kept back even if nobody is left to ask.
    pub(super) fn hides_failures(&self) -> bool {
        self.ladder().is_some()
    }
}

/// Why it failed; `failed_as` is the status that its failure amounts to.
fn failure_of(attempt: &AttemptRecord, failed_as: u16) -> Failure {
    match attempt.outcome {
        Outcome::TimedOut => Failure::Timeout,
        Outcome::AuthFailed => Failure::Auth,
        Outcome::RetryStatus => Failure::of_status(attempt.status),
        Outcome::ErrorInside => Failure::of_status(failed_as),
        _ => Failure::Server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_inside_an_answer_counts_like_a_status() {
        let attempt = |outcome, status| AttemptRecord {
            model: "m".into(),
            provider: "p".into(),
            outcome,
            status,
            duration_us: 1,
        };
        let inside = attempt(Outcome::ErrorInside, 200);
        for (code, failure) in [
            (429, Failure::RateLimit),
            (503, Failure::Server),
            (200, Failure::Server),
            (400, Failure::BadRequest),
        ] {
            assert_eq!(failure_of(&inside, code), failure, "{code}");
        }
        assert_eq!(failure_of(&attempt(Outcome::RetryStatus, 429), 502), Failure::RateLimit);
        assert_eq!(failure_of(&attempt(Outcome::TimedOut, 0), 429), Failure::Timeout);
    }
}
