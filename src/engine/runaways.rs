//! One tracker for each agent that has a breaker: whether it looks like one that has lost its way.
//!
//! What counts as a sign is `routing::runaway`'s word, what follows is the configuration's.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::config::budgets::{Runaway, RunawayAction};
use crate::ledger::account::AccountId;
use crate::routing::runaway::{Facts, Limits, Sign, Tracker};

/// The trackers. As many as there are agents with a breaker; one that is quiet holds nothing.
#[derive(Default)]
pub struct Runaways(Mutex<HashMap<AccountId, Tracker>>);

/// A sign, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// What was seen.
    pub sign: Sign,
    /// What follows.
    pub action: RunawayAction,
}

impl Runaways {
    /// Looks at one request of an agent.
    pub fn request(
        &self,
        agent: AccountId,
        rule: &Runaway,
        (facts, now_ms): (&Facts, u64),
    ) -> Option<Alarm> {
        let limits = Limits {
            same_request_max: rule.same_request_max,
            same_tool_call_max: rule.same_tool_call_max,
            window_seconds: rule.window_seconds,
            spend_per_minute: rule.spend_per_minute,
            turns_per_session_max: rule.turns_per_session_max,
        };
        let mut trackers = self.0.lock();
        let sign = trackers.entry(agent).or_default().request(&limits, facts, now_ms)?;
        Some(Alarm { sign, action: rule.action })
    }

    /// Notes what a request of an agent cost.
    pub fn spent(&self, agent: AccountId, cost: crate::base::money::NanoUsd, now_ms: u64) {
        if let Some(tracker) = self.0.lock().get_mut(&agent) {
            tracker.spent(cost, now_ms);
        }
    }

    /// Forgets what was seen of an agent: an administrator has looked.
    pub fn forget(&self, agent: AccountId) {
        self.0.lock().remove(&agent);
    }
}
