//! How fast each agent spends, and what follows for its budget. What a pace is, `ledger::forecast` knows.
//!
//! In memory only: after a restart an agent goes on as its period has been until it has spent again.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::base::money::NanoUsd;
use crate::ledger::account::AccountId;
use crate::ledger::forecast::{self, Course, Forecast, Pace};
use crate::ledger::standing::Standing;

/// The paces of all agents that have spent. As many as there are agents in the ledger.
#[derive(Default)]
pub struct Paces(Mutex<HashMap<AccountId, Pace>>);

impl Paces {
    /// Notes what an agent has spent, at `unix_ms`.
    pub fn spent(&self, agent: AccountId, amount: NanoUsd, unix_ms: u64) {
        self.0.lock().entry(agent).or_default().spent(amount, unix_ms);
    }

    /// Where an account is heading from `unix_ms` on.
    pub fn forecast(&self, standing: &Standing, unix_ms: i64) -> Forecast {
        let pace = self.0.lock().get(&standing.id).copied();
        forecast::look(&course(standing), pace.as_ref(), unix_ms)
    }

    /// What of an account's rest can be depended on; `None` where it has no limit.
    pub fn dependable(&self, standing: &Standing, unix_ms: i64) -> Option<NanoUsd> {
        forecast::dependable(&course(standing), &self.forecast(standing, unix_ms))
    }
}

fn course(standing: &Standing) -> Course {
    Course {
        spent: standing.spent.saturating_add(standing.held).0,
        limit: standing.limit.map(|limit| limit.0),
        start_ms: standing.start_ms,
        end_ms: standing.end_ms,
    }
}
