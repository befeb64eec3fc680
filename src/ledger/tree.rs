//! The tree of accounts: who pays for whom, under which terms, and what each has spent in its present
//! period.
//!
//! It moves no money by itself; `book` does, and writes an entry for it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::limit::BUDGET_DEPTH_MAX;
use crate::base::money::NanoUsd;
use crate::ledger::account::{Account, AccountId, AccountKey, Node, Terms};
use crate::ledger::balance::{Amounts, Balances, Since};
use crate::ledger::entry::Step;
use crate::ledger::period::{Span, Zone, period_at};
use crate::ledger::plan::Planned;
use crate::ledger::saved::{Balance, Past};

/// Why a plan cannot be followed. Nothing of it has been done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An account stands in it twice.
    #[error("{0} is planned twice")]
    Twice(AccountKey),
    /// A parent does not stand before its child, which also means that there are no circles.
    #[error("{child} is planned before its parent {parent}, or its parent is not planned at all")]
    NoParent {
        /// The account.
        child: AccountKey,
        /// What it names as its parent.
        parent: AccountKey,
    },
    /// The tree has too many floors.
    #[error("{0} lies deeper than {BUDGET_DEPTH_MAX} accounts")]
    TooDeep(AccountKey),
    /// Its zone is not known.
    #[error("{key}: {zone:?} is no time zone")]
    Zone {
        /// The account.
        key: AccountKey,
        /// The text.
        zone: Arc<str>,
    },
}

/// One account with all that belongs to it.
#[derive(Clone, Debug)]
pub struct Holder {
    /// What is stored of it.
    pub account: Account,
    /// Its balances.
    pub balances: Balances,
    /// When it last stood on the path of a hold or of a cost.
    pub used_ms: i64,
    zone: Zone,
    path: Option<Cached>,
}

/// The path of a leaf, as long as no period on it ends and no terms change.
#[derive(Clone, Debug)]
struct Cached {
    steps: Arc<[Step]>,
    until_ms: i64,
    version: u64,
}

/// What following a plan has come to for one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The account.
    pub id: AccountId,
    /// Whether it is new, or different from before.
    pub is_new: bool,
    /// How it was before, if it is different.
    pub was: Option<Arc<Account>>,
    /// With another calendar: what is spent in the period that has begun by it.
    pub carried: Option<Carry>,
}

/// What is spent in a period of another calendar when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carry {
    /// When the period began here.
    pub start_ms: i64,
    /// When it began by the calendar.
    pub from_ms: i64,
    /// What was spent since.
    pub since: Since,
}

/// All accounts.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    // Boxed, and not in a `Vec` by number: numbers of sessions of long ago leave wide gaps.
    holders: HashMap<AccountId, Box<Holder>>,
    keys: HashMap<AccountKey, AccountId>,
    /// Numbers that accounts had here before another process turned out to have named them first:
    /// requests that are under way still know them by these.
    aliases: HashMap<AccountId, AccountId>,
    next: u32,
    version: u64,
}

impl Holder {
    fn new(account: Account) -> Self {
        let zone = zone_of(&account.terms);
        Self { account, balances: Balances::default(), used_ms: 0, zone, path: None }
    }

    /// The period that holds `now_ms`.
    fn span_at(&self, now_ms: i64) -> Span {
        period_at(self.account.terms.cadence, &self.zone, now_ms)
    }

    /// The balance of the present period, without beginning it.
    pub fn present(&self, now_ms: i64) -> Amounts {
        if self.balances.is_present(now_ms) {
            return *self.balances.current();
        }
        Amounts::new(self.balances.next_span(self.span_at(now_ms)))
    }

    /// Begins the present period, if that has not been done, and gives its step of a path.
    fn step(&mut self, now_ms: i64) -> Step {
        if !self.balances.is_present(now_ms) {
            self.balances.turn(self.balances.next_span(self.span_at(now_ms)));
        }
        let Span { start_ms, end_ms } = self.balances.current().span;
        Step { account: self.account.id, start_ms, end_ms, cap: self.cap() }
    }

    /// The limit, if it may not be exceeded.
    pub fn cap(&self) -> Option<NanoUsd> {
        self.account.limit().filter(|_| self.account.terms.hard)
    }

    /// Takes over how the account stands in the store. The period goes on, also under another calendar:
    /// whoever has changed it has begun the new one, and the store's balance of that comes with it.
    fn learn(&mut self, stored: Account) {
        let (cadence, zone) = (self.account.terms.cadence, &self.account.terms.zone);
        if (cadence, zone) != (stored.terms.cadence, &stored.terms.zone) {
            self.zone = zone_of(&stored.terms);
        }
        self.account = stored;
    }

    /// Takes other terms. With another calendar, a period of it begins now, if money has moved already:
    /// it would be wrong to count into a period that began earlier what it does not know of. Gives what
    /// is spent in it by then.
    fn take_terms(&mut self, terms: Terms, now_ms: i64) -> Option<Carry> {
        let same_calendar =
            terms.cadence == self.account.terms.cadence && terms.zone == self.account.terms.zone;
        self.zone = zone_of(&terms);
        self.account.terms = terms;
        if same_calendar || !self.balances.is_begun() {
            return None;
        }
        let new = self.span_at(now_ms);
        let since = self.balances.since(new.start_ms);
        self.balances.turn_from(Span { start_ms: now_ms, ..new }, new.start_ms);
        Some(Carry { start_ms: now_ms, from_ms: new.start_ms, since })
    }
}

/// Zones are checked when terms are read. One that was stored by a program with a newer database and
/// is unknown here counts as UTC until the configuration says otherwise.
fn zone_of(terms: &Terms) -> Zone {
    Zone::parse(&terms.zone).unwrap_or_else(|_| Zone::utc())
}

impl Tree {
    /// An empty tree whose first new account gets the number `next`.
    pub fn new(next: AccountId) -> Self {
        Self { next: next.0, ..Self::default() }
    }

    /// Takes a stored account in.
    pub fn insert(&mut self, account: Account) {
        self.next = self.next.max(account.id.0.saturating_add(1));
        self.version += 1;
        self.keys.insert(account.key.clone(), account.id);
        self.holders.insert(account.id, Box::new(Holder::new(account)));
    }

    /// Takes an account over as another process has left it. A session's terms are the word of each
    /// process's own configuration, which is asked for with every request; one that is not in memory is
    /// looked up when it is needed.
    pub fn learn(&mut self, mut stored: Account) {
        self.version += 1;
        let is_session = stored.key.node() == Node::Session;
        match self.holders.get_mut(&stored.id) {
            Some(holder) if holder.account.key == stored.key => {
                if is_session {
                    stored.terms = holder.account.terms.clone();
                    stored.parent = holder.account.parent;
                }
                holder.learn(stored);
            }
            // The numbers of the other process are not ours to go on from.
            None if !is_session => {
                self.keys.insert(stored.key.clone(), stored.id);
                self.holders.insert(stored.id, Box::new(Holder::new(stored)));
            }
            Some(_) | None => {}
        }
    }

    /// Makes a change again that is not in the store yet.
    pub fn relearn(&mut self, was: Option<&Account>, now: &Account) {
        self.version += 1;
        if let Some(holder) = self.holders.get_mut(&now.id) {
            let merged = holder.account.with_change(was, now);
            holder.learn(merged);
        }
    }

    /// Gives an account another number. `to` must be free.
    pub fn renumber(&mut self, from: AccountId, to: AccountId) {
        let Some(mut holder) = self.holders.remove(&from) else { return };
        self.version += 1;
        holder.account.id = to;
        self.keys.insert(holder.account.key.clone(), to);
        self.holders.insert(to, holder);
        for holder in self.holders.values_mut() {
            if holder.account.parent == Some(from) {
                holder.account.parent = Some(to);
            }
        }
        self.aliases.values_mut().filter(|there| **there == from).for_each(|there| *there = to);
        self.aliases.insert(from, to);
    }

    /// A number that no account has, here or up to `stored`; `None` if numbers have run out.
    pub fn fresh(&mut self, stored: AccountId) -> Option<AccountId> {
        self.next = self.next.max(stored.0);
        while self.holders.contains_key(&AccountId(self.next)) {
            self.next = self.next.checked_add(1)?;
        }
        let id = AccountId(self.next);
        self.next = self.next.checked_add(1)?;
        Some(id)
    }

    /// Whether an account has that number.
    pub fn holds_number(&self, id: AccountId) -> bool {
        self.holders.contains_key(&id)
    }

    /// The number that an account has now.
    fn now(&self, id: AccountId) -> AccountId {
        if self.aliases.is_empty() || self.holders.contains_key(&id) {
            return id;
        }
        self.aliases.get(&id).copied().unwrap_or(id)
    }

    /// Takes a stored balance in, of which `carried` comes from periods of another calendar. One of an
    /// unknown account is none of ours.
    pub fn put(&mut self, balance: &Balance, carried: i64) {
        let Some(holder) = self.holders.get_mut(&balance.account) else { return };
        let span = Span { start_ms: balance.start_ms, end_ms: balance.end_ms };
        let Balance { spent, held, .. } = *balance;
        let carried = carried.min(spent);
        self.version += 1;
        holder.balances.put(Amounts { span, spent, held, foreign: held, carried });
    }

    /// Takes in what was spent before the stored balances.
    pub fn put_past(&mut self, past: &Past) {
        if let Some(holder) = self.holders.get_mut(&past.account) {
            holder.balances.put_past(past);
        }
    }

    /// The number of that account.
    pub fn id(&self, key: &AccountKey) -> Option<AccountId> {
        self.keys.get(key).copied()
    }

    /// That account.
    pub fn get(&self, id: AccountId) -> Option<&Holder> {
        self.holders.get(&self.now(id)).map(|holder| &**holder)
    }

    /// That account, to change its balances or marks; `touch` afterwards if a limit changes.
    pub fn get_mut(&mut self, id: AccountId) -> Option<&mut Holder> {
        self.holders.get_mut(&self.now(id)).map(|holder| &mut **holder)
    }

    /// All of them, by number.
    pub fn all(&self) -> Vec<&Holder> {
        let mut all: Vec<&Holder> = self.holders.values().map(|holder| &**holder).collect();
        all.sort_unstable_by_key(|holder| holder.account.id);
        all
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        self.holders.len()
    }

    /// Says that limits have changed: paths are looked up anew.
    pub fn touch(&mut self) {
        self.version += 1;
    }

    /// Whether the plan can be followed.
    pub fn judge(&self, plan: &[Planned]) -> Result<(), PlanError> {
        let mut depths: HashMap<&AccountKey, usize> = HashMap::with_capacity(plan.len());
        for planned in plan {
            let key = &planned.key;
            let above = match &planned.parent {
                None => 0,
                Some(parent) => *depths.get(parent).ok_or_else(|| PlanError::NoParent {
                    child: key.clone(),
                    parent: parent.clone(),
                })?,
            };
            // One place is kept free for a session below.
            if above + 2 > BUDGET_DEPTH_MAX {
                return Err(PlanError::TooDeep(key.clone()));
            }
            if depths.insert(key, above + 1).is_some() {
                return Err(PlanError::Twice(key.clone()));
            }
            Zone::parse(&planned.terms.zone).map_err(|_| PlanError::Zone {
                key: key.clone(),
                zone: Arc::clone(&planned.terms.zone),
            })?;
        }
        Ok(())
    }

    /// Opens an account or gives it other terms. `None` if numbers have run out.
    pub fn place(&mut self, planned: &Planned, now_ms: i64) -> Option<Placed> {
        let parent = planned.parent.as_ref().and_then(|key| self.id(key));
        let Some(id) = self.id(&planned.key) else {
            let id = self.fresh(AccountId(0))?;
            let Planned { key, terms, .. } = planned.clone();
            self.insert(Account {
                id,
                key,
                parent,
                terms,
                limit_set: None,
                frozen: false,
                reset_at_ms: None,
            });
            return Some(Placed { id, is_new: true, was: None, carried: None });
        };
        let holder = self.holders.get_mut(&id)?;
        if holder.account.parent == parent && holder.account.terms == planned.terms {
            return Some(Placed { id, is_new: false, was: None, carried: None });
        }
        let was = Some(Arc::new(holder.account.clone()));
        holder.account.parent = parent;
        let carried = holder.take_terms(planned.terms.clone(), now_ms);
        self.version += 1;
        Some(Placed { id, is_new: true, was, carried })
    }

    /// The accounts that pay for `leaf`, itself first. Ends early where a parent is not in memory, or
    /// where a damaged ledger has a circle; `path` refuses both.
    pub fn line(&self, leaf: AccountId) -> impl Iterator<Item = &Holder> {
        let parent = |holder: &&Holder| self.get(holder.account.parent?);
        std::iter::successors(self.get(leaf), parent).take(BUDGET_DEPTH_MAX)
    }

    /// The path of `leaf` in the present periods, which are begun where that is due. `None` if the leaf
    /// or an account above it is not in memory, so that no limit is passed by.
    ///
    /// Hot path: one look-up, as long as no period ends and no terms change.
    pub fn path(&mut self, leaf: AccountId, now_ms: i64) -> Option<Arc<[Step]>> {
        let leaf = self.now(leaf);
        let holder = self.holders.get(&leaf)?;
        match &holder.path {
            Some(cached) if cached.version == self.version && now_ms < cached.until_ms => {
                Some(Arc::clone(&cached.steps))
            }
            _ => self.find_path(leaf, now_ms),
        }
    }

    fn find_path(&mut self, leaf: AccountId, now_ms: i64) -> Option<Arc<[Step]>> {
        let mut steps = Vec::with_capacity(4);
        let mut next = Some(leaf);
        while let Some(id) = next {
            if steps.len() == BUDGET_DEPTH_MAX {
                return None;
            }
            let holder = self.holders.get_mut(&id)?;
            steps.push(holder.step(now_ms));
            next = holder.account.parent;
        }
        let until_ms = steps.iter().map(|step| step.end_ms).min()?;
        let steps: Arc<[Step]> = steps.into();
        let version = self.version;
        self.holders.get_mut(&leaf)?.path =
            Some(Cached { steps: Arc::clone(&steps), until_ms, version });
        Some(steps)
    }

    /// Moves the sums of every step of a path.
    pub fn shift(&mut self, path: &[Step], held: i64, spent: i64) {
        for step in path {
            if let Some(amounts) = self.amounts_mut(step) {
                amounts.shift(held, spent);
            }
        }
    }

    /// The balance that a step means, if it is still kept.
    pub fn amounts_mut(&mut self, step: &Step) -> Option<&mut Amounts> {
        self.holders.get_mut(&step.account)?.balances.of_mut(step.start_ms)
    }

    /// The balance that a step means, if it is still kept.
    pub fn amounts(&self, step: &Step) -> Option<&Amounts> {
        self.holders.get(&step.account)?.balances.of(step.start_ms)
    }

    /// Drops the sessions that were used longest ago, until at most `keep` of them are in memory.
    /// Sessions with open holds stay. Gives how many were dropped.
    pub fn forget_sessions(&mut self, keep: usize) -> usize {
        let sessions =
            self.holders.values().filter(|holder| holder.account.key.node() == Node::Session);
        let total = sessions.clone().count();
        let mut idle: Vec<(i64, AccountId)> = sessions
            .filter(|holder| !holder.balances.is_held())
            .map(|holder| (holder.used_ms, holder.account.id))
            .collect();
        idle.sort_unstable();
        idle.truncate(total.saturating_sub(keep));
        for (_, id) in &idle {
            if let Some(holder) = self.holders.remove(id) {
                self.keys.remove(&holder.account.key);
            }
        }
        let holders = &self.holders;
        self.aliases.retain(|_, there| holders.contains_key(there));
        idle.len()
    }

    /// Whether names and numbers agree, and every line of parents ends.
    pub fn is_sound(&self) -> bool {
        let named = |holder: &Holder| self.id(&holder.account.key) == Some(holder.account.id);
        // A circle would go on for ever; a parent that is not in memory ends a line as well.
        let ends = |holder: &Holder| {
            let last = self.line(holder.account.id).last();
            last.and_then(|last| last.account.parent).and_then(|above| self.get(above)).is_none()
        };
        self.keys.len() == self.holders.len()
            && self.holders.values().all(|holder| named(holder) && ends(holder))
    }
}
