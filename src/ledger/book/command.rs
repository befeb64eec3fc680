//! What people say about money: limits, resets, corrections, freezing.
//!
//! Who may say it is decided elsewhere.

use std::sync::Arc;

use super::{About, Book};
use crate::base::money::NanoUsd;
use crate::ledger::account::AccountId;
use crate::ledger::entry::{Entry, Kind, Reason, Step};

impl Book {
    /// Says what an account has spent in its present period, whatever was known before. `None` if there
    /// is no such account.
    pub fn set_spent(
        &mut self,
        account: AccountId,
        spent: NanoUsd,
        reason: Reason,
        at_ms: i64,
    ) -> Option<Entry> {
        self.tick(at_ms);
        self.level(account, spent.0.max(0), Kind::Adjust, reason)
    }

    /// Forgives what an account has spent in its present period. Holds stay. Empty if there is no such
    /// account.
    pub fn reset(&mut self, account: AccountId, reason: Reason, at_ms: i64) -> Vec<Entry> {
        let now_ms = self.tick(at_ms);
        let mut entries: Vec<Entry> =
            self.level(account, 0, Kind::Reset, reason).into_iter().collect();
        if let Some(holder) = self.tree.get_mut(account) {
            holder.account.reset_at_ms = Some(now_ms);
        }
        entries.extend(self.account_entry(account, reason));
        entries
    }

    /// Sets a limit that goes before the configured one, or takes it back. `None` if there is no such
    /// account.
    pub fn set_limit(
        &mut self,
        account: AccountId,
        limit: Option<NanoUsd>,
        reason: Reason,
        at_ms: i64,
    ) -> Option<Entry> {
        self.tick(at_ms);
        self.tree.get_mut(account)?.account.limit_set = limit;
        self.tree.touch();
        self.account_entry(account, reason)
    }

    /// Freezes or thaws an account. `None` if it is so already, or if there is no such account.
    pub fn set_frozen(
        &mut self,
        account: AccountId,
        frozen: bool,
        reason: Reason,
        at_ms: i64,
    ) -> Option<Entry> {
        self.tick(at_ms);
        let was = std::mem::replace(&mut self.tree.get_mut(account)?.account.frozen, frozen);
        if was == frozen { None } else { self.account_entry(account, reason) }
    }

    /// Brings `spent` of one account's present period to a value.
    pub(super) fn level(
        &mut self,
        id: AccountId,
        to: i64,
        kind: Kind,
        reason: Reason,
    ) -> Option<Entry> {
        let now_ms = self.now_ms;
        let step = *self.tree.path(id, now_ms)?.first()?;
        let path: Arc<[Step]> = Arc::new([step]);
        let spent = self.tree.amounts(&step)?.spent;
        // What is held has to fit on top.
        let to = spent.saturating_add(self.bookable(&path, to.saturating_sub(spent), 0));
        self.tree.shift(&path, 0, to - spent);
        Some(self.entry(&About { kind, reason, held: 0, spent: to - spent, path: &path }))
    }
}
