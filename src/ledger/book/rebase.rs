//! What another process has written to a shared store.

use super::Book;
use crate::ledger::entry::{Entry, Step};
use crate::ledger::saved::Balance;

impl Book {
    /// Takes over what the store holds after another process has written to it. `pending` are our own
    /// entries that are not in the store yet: they come on top.
    pub fn rebase(&mut self, balances: &[Balance], pending: &[&Entry]) {
        for balance in balances {
            self.now_ms = self.now_ms.max(balance.start_ms);
            self.tree.put(balance);
        }
        let anew = |step: &Step| {
            balances.iter().any(|new| new.account == step.account && new.start_ms == step.start_ms)
        };
        for entry in pending {
            let steps: Vec<Step> = entry.path.iter().copied().filter(anew).collect();
            self.tree.shift(&steps, entry.held, entry.spent);
        }
        let ours = self.held_by(|hold| hold.epoch() == self.epoch);
        for balance in balances {
            let step = Step {
                account: balance.account,
                start_ms: balance.start_ms,
                end_ms: balance.end_ms,
                cap: None,
            };
            if let Some(amounts) = self.tree.amounts_mut(&step) {
                let own = ours.get(&(balance.account, balance.start_ms)).copied();
                amounts.foreign = amounts.held.saturating_sub(own.unwrap_or(0));
            }
        }
    }
}
