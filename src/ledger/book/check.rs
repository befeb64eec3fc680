//! Whether the sums of the book agree with each other: for tests, and for a look at a running process.

use std::collections::HashMap;

use super::Book;
use crate::ledger::account::{AccountId, AccountKey};
use crate::ledger::balance::Amounts;
use crate::ledger::entry::HoldId;

/// What the sums of the book contradict. Only a mistake in this program can bring it about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The open holds of an account do not add up.
    #[error("{account}, period from {start_ms}: {held} held, but the open holds come to {open}")]
    Held {
        /// The account.
        account: AccountKey,
        /// The period.
        start_ms: i64,
        /// What its balance says.
        held: i64,
        /// What its holds say.
        open: i64,
    },
    /// An open hold lies in a period that is not kept.
    #[error("hold {hold:?} lies in a period of {account:?} that is not kept")]
    Lost {
        /// The hold.
        hold: HoldId,
        /// The account.
        account: AccountId,
    },
    /// Names and numbers disagree, or parents run in a circle.
    #[error("the tree of accounts is not sound")]
    Tree,
}

impl Book {
    /// Whether the sums of the book agree with each other.
    pub fn check(&self) -> Result<(), Broken> {
        if !self.tree.is_sound() {
            return Err(Broken::Tree);
        }
        // A hold of nothing keeps no period.
        for (hold, taken) in self.holds.iter().filter(|(_, taken)| taken.amount != 0) {
            let lost = taken.path.iter().find(|step| self.tree.amounts(step).is_none());
            if let Some(step) = lost {
                return Err(Broken::Lost { hold: *hold, account: step.account });
            }
        }
        let ours = self.held_by(|hold| hold.epoch() == self.epoch);
        for holder in self.tree.all() {
            for Amounts { span, held, foreign, .. } in holder.balances.all() {
                let own = ours.get(&(holder.account.id, span.start_ms)).copied().unwrap_or(0);
                let open = own.saturating_add(*foreign);
                if open != *held || *held < 0 || *foreign < 0 {
                    let account = holder.account.key.clone();
                    return Err(Broken::Held {
                        account,
                        start_ms: span.start_ms,
                        held: *held,
                        open,
                    });
                }
            }
        }
        Ok(())
    }

    /// What holds come to, per account and period.
    pub(super) fn held_by(
        &self,
        counts: impl Fn(&HoldId) -> bool,
    ) -> HashMap<(AccountId, i64), i64> {
        let mut sums = HashMap::new();
        for (_, held) in self.holds.iter().filter(|(hold, _)| counts(hold)) {
            for step in held.path.iter() {
                *sums.entry((step.account, step.start_ms)).or_default() += held.amount;
            }
        }
        sums
    }
}
