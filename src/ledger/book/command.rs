//! What people say about money: limits, resets, corrections, freezing.
//!
//! Who may say it is decided elsewhere.

use std::sync::Arc;

use super::{About, Book};
use crate::base::money::NanoUsd;
use crate::ledger::account::{Account, AccountId};
use crate::ledger::entry::{Entry, HoldId, Kind, Reason, Step};
use crate::ledger::period::Span;
use crate::ledger::saved::Stretch;
use crate::ledger::tree::Carry;

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
        let changed = self.change(account, reason, |account| account.reset_at_ms = Some(now_ms));
        entries.extend(changed);
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
        self.change(account, reason, |account| account.limit_set = limit)
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
        if self.tree.get(account)?.account.frozen == frozen {
            return None;
        }
        self.change(account, reason, |account| account.frozen = frozen)
    }

    /// Changes an account, and says how it was before.
    fn change(
        &mut self,
        id: AccountId,
        reason: Reason,
        change: impl FnOnce(&mut Account),
    ) -> Option<Entry> {
        let account = &mut self.tree.get_mut(id)?.account;
        let was = Arc::new(account.clone());
        change(account);
        self.tree.touch();
        self.account_entry(was.id, Some(was), reason)
    }

    /// Counts what was spent before into a period that another calendar has begun.
    pub(super) fn carry(&mut self, id: AccountId, carry: &Carry) -> Option<Entry> {
        // One at most, as periods follow each other.
        if let [piece] = &carry.since.straddling[..] {
            self.stretches.push(Stretch {
                account: id,
                into_ms: carry.start_ms,
                from_ms: carry.from_ms,
                start_ms: piece.span.start_ms,
                until_ms: piece.span.end_ms.min(carry.start_ms),
                counted: piece.spent,
            });
        }
        self.level(id, carry.since.most, Kind::Adjust, Reason::Carried)
    }

    /// What the present plan has counted into new periods though it may lie before them.
    pub fn take_stretches(&mut self) -> Vec<Stretch> {
        std::mem::take(&mut self.stretches)
    }

    /// Counts only `exact` of a stretch. `None` if that is not less than what is counted, or if somebody
    /// has said since what is spent.
    pub fn carry_less(&mut self, stretch: &Stretch, exact: i64, at_ms: i64) -> Option<Entry> {
        self.tick(at_ms);
        let less = stretch.counted.saturating_sub(exact.max(0));
        let account = self.tree.get(stretch.account)?.account.id;
        let cap = self.tree.get(account)?.cap();
        let Stretch { into_ms, .. } = *stretch;
        let step = Step { account, start_ms: into_ms, end_ms: into_ms, cap };
        let amounts = self.tree.amounts_mut(&step)?;
        if less <= 0 || amounts.carried < less {
            return None;
        }
        amounts.carried -= less;
        amounts.spent -= less;
        let path: Arc<[Step]> = Arc::new([Step { end_ms: amounts.span.end_ms, ..step }]);
        let (kind, reason) = (Kind::Adjust, Reason::Carried);
        Some(self.entry(&About { kind, reason, held: 0, spent: -less, path: &path }))
    }

    /// Takes off what a hold has not cost where a period of another calendar counts all of it. The entries name
    /// the hold: the store keeps them only together with what it came to.
    pub(super) fn uncarry(&mut self, hold: HoldId, steps: &[Step], less: i64) -> Vec<Entry> {
        let mut entries = Vec::new();
        for step in steps.iter().filter(|_| less > 0) {
            let Some(holder) = self.tree.get_mut(step.account) else { continue };
            let cap = holder.cap();
            let Some(span) = holder.balances.uncarry(step.start_ms, less) else { continue };
            let Span { start_ms, end_ms } = span;
            let path: Arc<[Step]> = Arc::new([Step { start_ms, end_ms, cap, ..*step }]);
            let (kind, reason) = (Kind::Adjust, Reason::Carried);
            let about = About { kind, reason, held: 0, spent: -less, path: &path };
            entries.push(Entry { hold: Some(hold), ..self.entry(&about) });
        }
        entries
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
        if let Some(amounts) = self.tree.amounts_mut(&step) {
            // Whatever people say is the period's own from then on.
            let is_carried = reason == Reason::Carried;
            amounts.carried = if is_carried { amounts.carried + to - spent } else { 0 };
        }
        Some(self.entry(&About { kind, reason, held: 0, spent: to - spent, path: &path }))
    }
}
