//! What another process has written to a shared store.

use super::Book;
use crate::ledger::account::AccountId;
use crate::ledger::entry::{self, Entry, Step};
use crate::ledger::saved::{Balance, News};

impl Book {
    /// Takes over what the store holds after another process has written to it: limits, freezes, resets,
    /// new accounts and balances. `pending` are our own entries that are not in the store yet: they come
    /// on top, and name accounts by the numbers that the store has for them. Of an entry that resolves a
    /// hold, the hold must be in the store, or pending too.
    pub fn rebase(&mut self, news: &News, pending: &mut [&mut Entry]) {
        for account in &news.accounts {
            let ours = self.tree.id(&account.key).filter(|ours| *ours != account.id);
            if let Some(ours) = ours {
                self.renumber((ours, account.id), pending);
            }
            self.tree.learn(account.clone());
        }
        for entry in pending.iter() {
            if let Some(now) = &entry.account {
                self.tree.relearn(entry.was.as_deref(), now);
            }
        }
        self.rebase_sums(&news.balances, pending);
    }

    /// Names an account by the number that another process has given it first, here and in what is not in
    /// the store yet.
    pub fn renumber(&mut self, (from, to): (AccountId, AccountId), pending: &mut [&mut Entry]) {
        if from == to {
            return;
        }
        // One that has the number here is not in the store either, or it would have clashed there.
        if self.tree.holds_number(to)
            && let Some(fresh) = self.tree.fresh(to)
        {
            self.renumber((to, fresh), pending);
        }
        self.tree.renumber(from, to);
        for held in self.holds.values_mut() {
            if let Some(path) = entry::renumbered(&held.path, from, to) {
                held.path = path;
            }
        }
        for entry in pending.iter_mut() {
            entry.renumber(from, to);
        }
    }

    /// Gives an account a number that is free here and in a store whose numbers end before `stored`.
    pub fn renumber_anew(
        &mut self,
        from: AccountId,
        stored: AccountId,
        pending: &mut [&mut Entry],
    ) {
        if let Some(fresh) = self.tree.fresh(stored) {
            self.renumber((from, fresh), pending);
        }
    }

    fn rebase_sums(&mut self, balances: &[Balance], pending: &[&mut Entry]) {
        for balance in balances {
            self.now_ms = self.now_ms.max(balance.start_ms);
            self.tree.put(balance, 0);
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
