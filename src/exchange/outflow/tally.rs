//! What was found in an answer, and what could not be looked at, counted for the record. No text is kept.

use crate::config::guards::{Canary, OnFailure};
use crate::exchange::outflow::Stop;
use crate::exchange::screening::FAILURE;
use crate::guard::detect::Action;
use crate::guard::filter::Finding;
use crate::record::GuardRecord;

/// The rule that a canary is counted under.
pub const CANARY: &str = "canary";

/// What speaks against showing a text. Both can be true of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Against {
    /// The canary is in it.
    pub canary: bool,
    /// Something that blocks is in it.
    pub block: bool,
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// Rules with what was done, each once.
    verdicts: Vec<(&'static str, &'static str)>,
    redactions: u64,
    canary: bool,
    failures: u32,
}

impl Tally {
    /// Adds what was found in a text. What only repeats another text of the answer is not counted again.
    pub fn add(&mut self, findings: &[Finding], repeats: bool) {
        for found in findings {
            let verdict = (found.rule, found.action.name());
            if !self.verdicts.contains(&verdict) {
                self.verdicts.push(verdict);
            }
            if found.action == Action::Redact && !repeats {
                self.redactions += found.count;
            }
        }
    }

    /// What a find means: an alarm for the canary, and the end unless it is only watched; the end for what blocks.
    pub fn judge(&mut self, canary: Canary, against: Against) -> Option<Stop> {
        if against.canary {
            if !std::mem::replace(&mut self.canary, true) {
                self.verdicts.push((CANARY, canary.name()));
            }
            if canary == Canary::Block {
                return Some(Stop::Canary);
            }
        }
        against.block.then_some(Stop::Found)
    }

    /// Something could not be looked at; why the answer must not go on, if it must not.
    pub fn failed(&mut self, on_failure: OnFailure) -> Option<Stop> {
        self.failures += 1;
        let verdict = (FAILURE, on_failure.name());
        if !self.verdicts.contains(&verdict) {
            self.verdicts.push(verdict);
        }
        (on_failure == OnFailure::Block).then_some(Stop::Failed)
    }

    /// Whether anything could not be looked at.
    pub const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Whether the canary was seen.
    pub const fn canary_leaked(&self) -> bool {
        self.canary
    }

    /// For the record; `None` if nothing was found.
    pub fn record(&self) -> Option<GuardRecord> {
        if self.verdicts.is_empty() {
            return None;
        }
        let strength = |action: &str| {
            ["pass", "observe", "redact", "block"].iter().position(|it| *it == action)
        };
        let strongest =
            self.verdicts.iter().map(|(_, action)| *action).max_by_key(|it| strength(it));
        Some(GuardRecord {
            action: strongest.unwrap_or_default(),
            rules: self.verdicts.iter().map(|(rule, _)| *rule).collect(),
            verdicts: self.verdicts.clone(),
            failures: self.failures,
            redactions: u32::try_from(self.redactions).unwrap_or(u32::MAX),
            canary_leaked: self.canary,
            ..GuardRecord::default()
        })
    }
}
