//! The book: what may be held, what was spent, and an entry for everything that moves.
//!
//! It lives in memory and keeps nothing: `store` makes its entries durable, and `engine` says when. Time
//! is a parameter, and never runs backwards here whatever the caller's clock does.

pub mod check;
mod command;
mod look;
#[cfg(test)]
mod model;
mod rebase;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::base::limit::REFUNDS_REMEMBERED_MAX;
use crate::base::money::NanoUsd;
use crate::ledger::account::{Account, AccountId, AccountKey, Terms};
use crate::ledger::entry::{Entry, HoldId, Kind, Reason, Step};
use crate::ledger::hold::{Grant, Held, HoldOrder, Outcome, Refusal, Settled, SpendOrder};
use crate::ledger::plan::Planned;
use crate::ledger::saved::{Balance, OpenHold, Saved, Stretch};
use crate::ledger::tree::{Placed, PlanError, Tree};

/// All accounts with their balances, and all open holds.
#[derive(Clone, Debug, Default)]
pub struct Book {
    epoch: u32,
    /// The number of the next hold.
    next_hold: u64,
    /// The latest instant that was ever given.
    now_ms: i64,
    tree: Tree,
    holds: HashMap<HoldId, Held>,
    /// Holds that this process has refunded: the store may not know it yet.
    refunded: BTreeSet<HoldId>,
    /// What new periods of other calendars count too generously, until `take_stretches`.
    stretches: Vec<Stretch>,
}

/// What the path of a hold allows.
struct Verdict {
    /// The account that leaves least of those that can refuse.
    narrowest: AccountId,
    /// What it leaves, in nano-dollars.
    room: i64,
    /// What the tightest limit leaves, also of those that refuse nothing.
    remaining: Option<i64>,
}

/// What an entry says beside the movement itself.
struct About<'a> {
    kind: Kind,
    reason: Reason,
    held: i64,
    spent: i64,
    path: &'a Arc<[Step]>,
}

impl Book {
    /// The book of a new epoch. Holds that other epochs have left open are taken over, to be settled by
    /// `recover`. The clock starts at the latest period that was ever begun, so that a clock that was
    /// set back opens none again.
    pub fn restore(saved: Saved) -> Self {
        let mut tree = Tree::new(saved.next_account);
        saved.accounts.into_iter().for_each(|account| tree.insert(account));
        let carried: HashMap<(AccountId, i64), i64> =
            saved.carried.iter().map(|it| ((it.account, it.start_ms), it.amount)).collect();
        for balance in &saved.balances {
            let carried = carried.get(&(balance.account, balance.start_ms));
            tree.put(balance, carried.copied().unwrap_or(0));
        }
        saved.past.iter().for_each(|past| tree.put_past(past));
        let begun = saved.balances.iter().map(|balance| balance.start_ms);
        let made = saved.open.iter().map(|open| open.made.at_ms);
        let now_ms = begun.chain(made).max().unwrap_or(0);
        let open = saved.open.into_iter().filter(|open| !open.limbo);
        let holds = open.map(|open| (open.hold, Held::from(&open.made))).collect();
        Self { epoch: saved.epoch, next_hold: 1, now_ms, tree, holds, ..Self::default() }
    }

    /// Takes over holds that other epochs have left open; `recover` settles them.
    pub fn adopt(&mut self, open: &[OpenHold]) {
        for hold in open.iter().filter(|hold| !hold.limbo) {
            self.now_ms = self.now_ms.max(hold.made.at_ms);
            self.holds.entry(hold.hold).or_insert_with(|| Held::from(&hold.made));
        }
    }

    /// Settles every hold that another epoch has left open: nobody knows what became of it, so all of
    /// it is spent until somebody does.
    pub fn recover(&mut self, at_ms: i64) -> Vec<Entry> {
        let epoch = self.epoch;
        let mut left: Vec<HoldId> =
            self.holds.keys().copied().filter(|hold| hold.epoch() != epoch).collect();
        left.sort_unstable();
        let outcome = Outcome::Unknown { reason: Reason::Restart };
        left.iter()
            .filter_map(|hold| self.settle(*hold, &outcome, at_ms))
            .flat_map(|settled| settled.entries)
            .collect()
    }

    /// The latest instant that the book knows. A clock far behind it has been set back, or was ahead.
    pub const fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Opens the accounts of a plan and gives known ones its terms and parents, with one entry for each
    /// that changes, and one for what is carried into the period of another calendar. What the control
    /// API has set, freezing and balances stay. Accounts that are not
    /// planned any more stay as they are: they are history.
    pub fn configure(&mut self, plan: &[Planned], at_ms: i64) -> Result<Vec<Entry>, PlanError> {
        self.tree.judge(plan)?;
        let now_ms = self.tick(at_ms);
        let mut entries = Vec::new();
        for planned in plan {
            if let Some(placed) = self.tree.place(planned, now_ms) {
                entries.extend(self.placed_entries(placed));
            }
        }
        Ok(entries)
    }

    /// The number of that account.
    pub fn id(&self, key: &AccountKey) -> Option<AccountId> {
        self.tree.id(key)
    }

    /// Takes in an account that the store had and the book had not: a session of long ago. One that is
    /// known already stays as it is.
    pub fn admit_account(&mut self, account: Account, balance: Option<Balance>) {
        if self.tree.get(account.id).is_some() || self.tree.id(&account.key).is_some() {
            return;
        }
        self.tree.insert(account);
        if let Some(balance) = balance {
            self.now_ms = self.now_ms.max(balance.start_ms);
            self.tree.put(&balance, 0);
        }
    }

    /// The account of one session, opened or given other terms where that is due, with the entries that
    /// say so. Where it cannot have one of its own, the agent's is given, and `hold` judges that.
    pub fn open_session(
        &mut self,
        agent: AccountId,
        key: AccountKey,
        terms: Terms,
        at_ms: i64,
    ) -> (AccountId, Vec<Entry>) {
        let now_ms = self.tick(at_ms);
        // Without its agent, a session would pay to nobody above it.
        let Some(parent) = self.tree.get(agent).map(|holder| holder.account.key.clone()) else {
            return (agent, Vec::new());
        };
        let planned = Planned { key, parent: Some(parent), terms };
        match self.tree.place(&planned, now_ms) {
            None => (agent, Vec::new()),
            Some(placed) => (placed.id, self.placed_entries(placed)),
        }
    }

    /// Holds the worst case of one attempt on every account from the leaf to the root, in their present
    /// periods, or nothing at all. The output cap is lowered to what the narrowest hard limit leaves.
    ///
    /// Hot path: see `benches/ledger.rs`.
    pub fn hold(&mut self, order: &HoldOrder, at_ms: i64) -> Result<(Grant, Entry), Refusal> {
        let now_ms = self.tick(at_ms);
        let unknown = Refusal::Unknown { leaf: order.leaf };
        let path = self.tree.path(order.leaf, now_ms).ok_or_else(|| unknown.clone())?;
        let verdict = self.judge(&path, now_ms)?.ok_or(unknown)?;
        let Some(fit) = order.fit(verdict.room) else {
            return Err(self.refuse(&verdict, order, now_ms));
        };
        self.tree.shift(&path, fit.amount, 0);
        let hold = HoldId::new(self.epoch, self.next_hold);
        self.next_hold += 1;
        let taken = Held {
            path,
            amount: fit.amount,
            request: Some(order.request),
            attempt: order.attempt,
            model: Some(Arc::clone(&order.model)),
            price_version: order.price_version,
        };
        let entry = self.entry_of(
            hold,
            &taken,
            &About {
                kind: Kind::Hold,
                reason: Reason::Admitted,
                held: fit.amount,
                spent: 0,
                path: &taken.path,
            },
        );
        self.holds.insert(hold, taken);
        let remaining = verdict.remaining.map(|left| NanoUsd(left.saturating_sub(fit.amount)));
        let amount = NanoUsd(fit.amount);
        Ok((Grant { hold, amount, output_cap: fit.output_cap, remaining }, entry))
    }

    /// Takes a hold back that the store has not kept: it never was.
    pub fn undo_hold(&mut self, hold: HoldId) {
        if let Some(taken) = self.holds.remove(&hold) {
            self.release(hold, &taken, 0);
        }
    }

    /// Books what a hold came to, in the periods in which it was made. `None` if it is not open: it was
    /// settled before, or never made.
    ///
    /// A cost above the hold is booked in full, and where a hard limit relied on the bound, the leaf is
    /// frozen: the next request could break it too.
    pub fn settle(&mut self, hold: HoldId, outcome: &Outcome, at_ms: i64) -> Option<Settled> {
        self.settle_as(hold, outcome, (at_ms, false))
    }

    /// Books what a hold came to as `settle` does; an estimate until somebody knows better: it can be
    /// refunded, or looked up, like a hold in limbo.
    pub fn settle_for_now(
        &mut self,
        hold: HoldId,
        outcome: &Outcome,
        at_ms: i64,
    ) -> Option<Settled> {
        self.settle_as(hold, outcome, (at_ms, true))
    }

    fn settle_as(
        &mut self,
        hold: HoldId,
        outcome: &Outcome,
        (at_ms, for_now): (i64, bool),
    ) -> Option<Settled> {
        let taken = self.holds.remove(&hold)?;
        let now_ms = self.tick(at_ms);
        let (kind, cost, tokens, reason) = match *outcome {
            Outcome::Cost { cost, tokens, reason } => {
                let is_open = for_now && reason == Reason::Estimated;
                let kind = if is_open { Kind::Limbo } else { Kind::Settle };
                (kind, cost.0.max(0), tokens, reason)
            }
            Outcome::Nothing { reason } => (Kind::Void, 0, None, reason),
            Outcome::Unknown { reason } => (Kind::Limbo, taken.amount, None, reason),
        };
        let cost = self.bookable(&taken.path, cost, taken.amount);
        self.release(hold, &taken, cost);
        let about = About { kind, reason, held: -taken.amount, spent: cost, path: &taken.path };
        let mut entries = vec![Entry { tokens, ..self.entry_of(hold, &taken, &about) }];
        // What may still turn out to be more counts in full.
        if kind != Kind::Limbo {
            entries.extend(self.uncarry(hold, &taken.path, taken.amount - cost));
        }
        let bound_violated = cost > taken.amount;
        let leaf = taken.path.first().map(|step| step.account);
        if bound_violated && taken.path.iter().any(|step| step.cap.is_some()) {
            let frozen = leaf.and_then(|leaf| self.set_frozen(leaf, true, Reason::Breaker, now_ms));
            entries.extend(frozen);
        }
        let remaining = leaf.and_then(|leaf| self.room(leaf, now_ms)).map(|room| room.tightest);
        Some(Settled { entries, cost: NanoUsd(cost), bound_violated, remaining })
    }

    /// Gives back what a hold in limbo did not cost. `None` if it is not in limbo, or was refunded.
    ///
    /// An account that was reset since, or has less spent than comes back, gets nothing: its spend was
    /// forgiven already, and a credit would let it pass its limit.
    pub fn refund(
        &mut self,
        open: &OpenHold,
        actual: NanoUsd,
        reason: Reason,
        at_ms: i64,
    ) -> Option<Entry> {
        if !open.limbo || !self.refunded.insert(open.hold) {
            return None;
        }
        if self.refunded.len() > REFUNDS_REMEMBERED_MAX {
            self.refunded.pop_first();
        }
        self.tick(at_ms);
        let back = (open.booked() - actual.0.max(0)).max(0);
        // All or none: a part of the path that was reset owes nothing any more, and every entry moves all
        // of its path alike.
        let owed = open.path.iter().all(|step| self.owes(step, back, open.made.at_ms));
        let spent = if owed { -back } else { 0 };
        let path = Arc::clone(&open.path);
        let spent = self.bookable(&path, spent, 0);
        self.tree.shift(&path, 0, spent);
        let about = About { kind: Kind::Refund, reason, held: 0, spent, path: &path };
        Some(self.entry_of(open.hold, &Held::from(&open.made), &about))
    }

    /// Books what a hold in limbo turns out to have cost: gives the rest back, or charges
    /// what it cost above what is booked, and freezes the leaf where a hard limit relied on the bound. Empty
    /// if it is not in limbo, or was refunded.
    pub fn correct(
        &mut self,
        open: &OpenHold,
        actual: NanoUsd,
        reason: Reason,
        at_ms: i64,
    ) -> Vec<Entry> {
        let Some(refund) = self.refund(open, actual, reason, at_ms) else { return Vec::new() };
        let above = actual.0.saturating_sub(open.booked());
        if above <= 0 {
            let rest = self.refund_rest(open, &refund, above.saturating_neg());
            return std::iter::once(refund).chain(rest).collect();
        }
        let path = Arc::clone(&open.path);
        let cost = self.bookable(&path, above, 0);
        self.tree.shift(&path, 0, cost);
        let about = About { kind: Kind::Spend, reason, held: 0, spent: cost, path: &path };
        let charge =
            Entry { hold: None, ..self.entry_of(open.hold, &Held::from(&open.made), &about) };
        let is_broken = actual.0 > open.made.held && path.iter().any(|step| step.cap.is_some());
        let leaf = path.first().filter(|_| is_broken);
        let frozen =
            leaf.and_then(|leaf| self.set_frozen(leaf.account, true, Reason::Breaker, at_ms));
        // The charge first: what is cut off behind it is asked for again, and counts twice at worst.
        [charge, refund].into_iter().chain(frozen).collect()
    }

    /// What comes back to those of a path that owe it, where others of it were reset, so that the refund itself
    /// moves none of them.
    fn refund_rest(&mut self, open: &OpenHold, refund: &Entry, back: i64) -> Option<Entry> {
        if back <= 0 || refund.spent != 0 {
            return None;
        }
        let owing = open.path.iter().filter(|step| self.owes(step, back, open.made.at_ms));
        let path: Arc<[Step]> = owing.copied().collect();
        if path.is_empty() || path.len() == open.path.len() {
            return None;
        }
        self.tree.shift(&path, 0, -back);
        let reason = refund.reason;
        let about = About { kind: Kind::Adjust, reason, held: 0, spent: -back, path: &path };
        // It names the hold: the store keeps it only together with the refund.
        Some(self.entry_of(open.hold, &Held::from(&open.made), &about))
    }

    /// Books a cost that was never held. `None` if the leaf, or an account above it, is not in memory: it
    /// has to be opened again first.
    pub fn spend(&mut self, order: &SpendOrder, at_ms: i64) -> Option<Entry> {
        let now_ms = self.tick(at_ms);
        let path = self.tree.path(order.leaf, now_ms)?;
        self.mark_used(&path, now_ms);
        let cost = self.bookable(&path, order.cost.0.max(0), 0);
        self.tree.shift(&path, 0, cost);
        let about =
            About { kind: Kind::Spend, reason: order.reason, held: 0, spent: cost, path: &path };
        Some(Entry {
            request: Some(order.request),
            attempt: order.attempt,
            model: Some(Arc::clone(&order.model)),
            price_version: order.price_version,
            tokens: order.tokens,
            ..self.entry(&about)
        })
    }

    /// Drops the sessions used longest ago, until at most `keep` of them are in memory; those with open
    /// holds stay. Their balances are in the store. Call it when all entries are durable.
    pub fn forget_sessions(&mut self, keep: usize) -> usize {
        self.tree.forget_sessions(keep)
    }

    fn tick(&mut self, at_ms: i64) -> i64 {
        self.now_ms = self.now_ms.max(at_ms);
        self.now_ms
    }

    fn mark_used(&mut self, path: &[Step], now_ms: i64) {
        if let Some(leaf) = path.first().and_then(|step| self.tree.get_mut(step.account)) {
            leaf.used_ms = now_ms;
        }
    }

    /// What the path allows; `None` if an account of it is not in memory.
    fn judge(&mut self, path: &[Step], now_ms: i64) -> Result<Option<Verdict>, Refusal> {
        self.mark_used(path, now_ms);
        let mut verdict: Option<Verdict> = None;
        for step in path {
            let Some(holder) = self.tree.get(step.account) else { return Ok(None) };
            if holder.account.frozen {
                return Err(Refusal::Frozen { account: holder.account.key.clone() });
            }
            let amounts = holder.balances.current();
            // Without a cap there is still the largest sum that can be written down.
            let room = amounts.room(step.cap.map_or(i64::MAX, |cap| cap.0));
            let left = holder.account.limit().map(|limit| amounts.room(limit.0));
            let found =
                verdict.get_or_insert(Verdict { narrowest: step.account, room, remaining: None });
            if room < found.room {
                (found.narrowest, found.room) = (step.account, room);
            }
            found.remaining = left.into_iter().chain(found.remaining).min();
        }
        Ok(verdict)
    }

    fn refuse(&self, verdict: &Verdict, order: &HoldOrder, now_ms: i64) -> Refusal {
        let needed = NanoUsd(order.amount(order.least_cap()).unwrap_or(i64::MAX));
        match self.standing(verdict.narrowest, now_ms) {
            None => Refusal::Unknown { leaf: order.leaf },
            Some(standing) => Refusal::Exhausted {
                account: standing.key.clone(),
                needed,
                standing: Box::new(standing),
            },
        }
    }

    /// Frees what a hold holds, and books what it cost.
    fn release(&mut self, hold: HoldId, taken: &Held, cost: i64) {
        let is_foreign = hold.epoch() != self.epoch;
        for step in taken.path.iter() {
            if let Some(amounts) = self.tree.amounts_mut(step) {
                amounts.shift(-taken.amount, cost);
                amounts.foreign -= if is_foreign { taken.amount } else { 0 };
            }
        }
    }

    /// The part of a cost that every sum of the path can still take, `freed` being given back at the
    /// same time: all of it, unless somebody spends nine billion dollars.
    fn bookable(&self, path: &[Step], cost: i64, freed: i64) -> i64 {
        let amounts = path.iter().filter_map(|step| self.tree.amounts(step));
        let most = amounts.map(|amounts| amounts.room(i64::MAX).saturating_add(freed)).min();
        cost.min(most.unwrap_or(i64::MAX).max(0))
    }

    /// Whether a step's account still counts what a hold in limbo has cost it.
    fn owes(&self, step: &Step, back: i64, made_ms: i64) -> bool {
        let Some(holder) = self.tree.get(step.account) else { return true };
        let was_reset = holder
            .account
            .reset_at_ms
            .is_some_and(|reset| made_ms <= reset && step.start_ms <= reset && reset < step.end_ms);
        let spent = holder.balances.of(step.start_ms).map(|amounts| amounts.spent);
        !was_reset && spent.is_none_or(|spent| back <= spent)
    }

    /// What a plan has changed. The period that a new calendar begins is written down at once, so that
    /// a restart does not go on with the old one.
    fn placed_entries(&mut self, placed: Placed) -> Vec<Entry> {
        let Placed { id, is_new, was, carried } = placed;
        if !is_new {
            return Vec::new();
        }
        let carry = carried.and_then(|carry| self.carry(id, &carry));
        self.account_entry(id, was, Reason::Config).into_iter().chain(carry).collect()
    }

    /// The entry that says how an account is from now on.
    fn account_entry(
        &self,
        id: AccountId,
        was: Option<Arc<Account>>,
        reason: Reason,
    ) -> Option<Entry> {
        let account = Arc::new(self.tree.get(id)?.account.clone());
        let path: Arc<[Step]> = Arc::new([]);
        let about = About { kind: Kind::Account, reason, held: 0, spent: 0, path: &path };
        Some(Entry { account: Some(account), was, ..self.entry(&about) })
    }

    fn entry_of(&self, hold: HoldId, taken: &Held, about: &About<'_>) -> Entry {
        Entry {
            hold: Some(hold),
            request: taken.request,
            attempt: taken.attempt,
            model: taken.model.clone(),
            price_version: taken.price_version,
            ..self.entry(about)
        }
    }

    fn entry(&self, about: &About<'_>) -> Entry {
        Entry {
            at_ms: self.now_ms,
            kind: about.kind,
            hold: None,
            path: Arc::clone(about.path),
            held: about.held,
            spent: about.spent,
            request: None,
            attempt: 0,
            model: None,
            price_version: 0,
            tokens: None,
            generation: None,
            reason: about.reason,
            account: None,
            was: None,
        }
    }
}

impl From<&Entry> for Held {
    /// The hold that an entry of kind `Hold` has made.
    fn from(made: &Entry) -> Self {
        Self {
            path: Arc::clone(&made.path),
            amount: made.held,
            request: made.request,
            attempt: made.attempt,
            model: made.model.clone(),
            price_version: made.price_version,
        }
    }
}
