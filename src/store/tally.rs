//! What follows from the entries: accounts, balances and open holds, counted anew from the first entry.
//!
//! `verify` compares it with the tables, `replay` writes it into them. It is deliberately not the code
//! that keeps the tables up to date: one mistake shall not hide another.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::ledger::account::Account;
use crate::ledger::entry::{Entry, Kind, Reason};

/// A row of `period`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodRow {
    /// When it ends (exclusive), in milliseconds.
    pub end_ms: i64,
    /// The cap of the latest hold or spend.
    pub cap: Option<i64>,
    /// Spent, in nano-dollars.
    pub spent: i64,
    /// Held, in nano-dollars.
    pub held: i64,
}

/// A row of `open`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRow {
    /// Whether its outcome is unknown.
    pub limbo: bool,
    /// The entry that made it.
    pub made: i64,
    /// Its path's number.
    pub path: i64,
    /// What it held at first, in nano-dollars.
    pub held: i64,
    /// In limbo, the provider's name for the attempt.
    pub generation: Option<Arc<str>>,
    /// In limbo, the estimate that it is booked at, if that is not all that was held.
    pub booked: Option<i64>,
}

/// All that the tables say beside the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// By number.
    pub accounts: BTreeMap<u32, Account>,
    /// By account and start.
    pub periods: BTreeMap<(u32, i64), PeriodRow>,
    /// By hold.
    pub open: BTreeMap<i64, OpenRow>,
}

/// One entry, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// Its place in the chain.
    pub seq: i64,
    /// The entry of the hold that it resolves.
    pub made: Option<i64>,
    /// The number of its path.
    pub path: Option<i64>,
    /// What it says.
    pub entry: &'a Entry,
}

/// The count.
#[derive(Debug, Default)]
pub struct Tally {
    /// What follows so far.
    pub tables: Tables,
    /// Every pair of child and parent that there ever was: a process that is handing over still
    /// writes with the tree it knew.
    edges: HashSet<(u32, Option<u32>)>,
    /// Periods whose spend was set by hand; a later refund may bring them below zero.
    set_by_hand: HashSet<(u32, i64)>,
}

impl Tally {
    /// Adds one entry. What is wrong with it comes back; it is counted all the same, as far as it can be.
    pub fn add(&mut self, placed: Placed<'_>) -> Option<String> {
        let entry = placed.entry;
        let ill_formed = self.ill_formed(placed);
        match entry.kind {
            Kind::Account => {
                if let Some(account) = &entry.account {
                    self.edges.insert((account.id.0, account.parent.map(|parent| parent.0)));
                    self.tables.accounts.insert(account.id.0, (**account).clone());
                }
            }
            Kind::Hold => self.open(placed),
            Kind::Limbo => {
                let hold = entry.hold.map(|hold| hold.0.cast_signed()).unwrap_or_default();
                if let Some(open) = self.tables.open.get_mut(&hold) {
                    open.limbo = true;
                    open.generation.clone_from(&entry.generation);
                    open.booked = Some(entry.spent).filter(|booked| *booked != open.held);
                }
            }
            Kind::Settle | Kind::Void | Kind::Refund => {
                let hold = entry.hold.map(|hold| hold.0.cast_signed()).unwrap_or_default();
                self.tables.open.remove(&hold);
            }
            Kind::Spend | Kind::Adjust | Kind::Reset => {}
        }
        let unbalanced = self.move_balances(entry);
        ill_formed.or(unbalanced)
    }

    fn open(&mut self, placed: Placed<'_>) {
        let (Some(id), Some(path)) = (placed.entry.hold, placed.path) else { return };
        let (made, held) = (placed.seq, placed.entry.held);
        let row = OpenRow { limbo: false, made, path, held, generation: None, booked: None };
        self.tables.open.insert(id.0.cast_signed(), row);
    }

    /// What an entry says that it must not say after those before it.
    fn ill_formed(&self, placed: Placed<'_>) -> Option<String> {
        let entry = placed.entry;
        if entry.kind == Kind::Account {
            let fits = placed.path.is_none() && placed.made.is_none() && entry.account.is_some();
            return (!fits).then(|| "does not say how the account is".to_owned());
        }
        if entry.account.is_some() {
            return Some("is about money, and changes an account".to_owned());
        }
        if entry.path.is_empty() {
            return Some("moves no account".to_owned());
        }
        let resolves = matches!(entry.kind, Kind::Settle | Kind::Void | Kind::Limbo | Kind::Refund);
        if placed.made.is_some() != resolves {
            return Some("is of another kind than its row".to_owned());
        }
        if entry.generation.is_some() && !matches!(entry.kind, Kind::Settle | Kind::Limbo) {
            return Some("has a provider's name for an attempt that it does not settle".to_owned());
        }
        match entry.kind {
            _ if resolves => self.ill_resolved(placed),
            Kind::Adjust | Kind::Reset => self.unknown_account(entry),
            Kind::Hold => self.ill_held(entry).or_else(|| self.off_the_tree(entry)),
            _ => self.off_the_tree(entry),
        }
    }

    fn ill_held(&self, entry: &Entry) -> Option<String> {
        let Some(hold) = entry.hold else { return Some("is a hold without a number".to_owned()) };
        if self.tables.open.contains_key(&hold.0.cast_signed()) {
            return Some("opens a hold that is open".to_owned());
        }
        (entry.held < 0 || entry.spent != 0)
            .then(|| "holds less than nothing, or spends".to_owned())
    }

    /// I5 and I6: a hold is resolved once, as a whole, and in the periods that admitted it.
    fn ill_resolved(&self, placed: Placed<'_>) -> Option<String> {
        let entry = placed.entry;
        let hold = entry.hold.map(|hold| hold.0.cast_signed());
        let Some(open) = hold.and_then(|hold| self.tables.open.get(&hold)) else {
            return Some("resolves a hold that is not open".to_owned());
        };
        if open.limbo != (entry.kind == Kind::Refund) {
            return Some("resolves a hold that is not in that state".to_owned());
        }
        if (placed.made, placed.path) != (Some(open.made), Some(open.path)) {
            return Some("leads to another entry or path than its hold".to_owned());
        }
        let fits = match entry.kind {
            Kind::Refund => {
                let booked = open.booked.unwrap_or(open.held);
                entry.held == 0 && (-booked..=0).contains(&entry.spent)
            }
            Kind::Void => entry.held == -open.held && entry.spent == 0,
            Kind::Limbo if entry.reason != Reason::Estimated => {
                entry.held == -open.held && entry.spent == open.held
            }
            _ => entry.held == -open.held && entry.spent >= 0,
        };
        (!fits).then(|| format!("moves other amounts than its hold of {} allows", open.held))
    }

    fn unknown_account(&self, entry: &Entry) -> Option<String> {
        let unknown =
            entry.path.iter().find(|step| !self.tables.accounts.contains_key(&step.account.0));
        unknown.map(|step| format!("moves account {}, which is not known", step.account.0))
    }

    /// I8: what a leaf pays, each account above it pays too, up to the root, and each of them once.
    fn off_the_tree(&self, entry: &Entry) -> Option<String> {
        let above = entry.path.iter().skip(1).map(|step| Some(step.account.0)).chain([None]);
        for (step, parent) in entry.path.iter().zip(above) {
            if !self.edges.contains(&(step.account.0, parent)) {
                let parent = parent.map_or("nothing".to_owned(), |parent| parent.to_string());
                return Some(format!(
                    "has {parent} above account {}, which was never so",
                    step.account.0
                ));
            }
        }
        None
    }

    /// I2 and I4: no balance below zero, no hold above a cap.
    fn move_balances(&mut self, entry: &Entry) -> Option<String> {
        let resolves = matches!(entry.kind, Kind::Settle | Kind::Void | Kind::Limbo | Kind::Refund);
        let mut wrong = None;
        for step in entry.path.iter() {
            let key = (step.account.0, step.start_ms);
            let cap = step.cap.map(|cap| cap.0);
            let new = PeriodRow { end_ms: step.end_ms, cap, spent: 0, held: 0 };
            let period = self.tables.periods.entry(key).or_insert(new);
            period.spent = period.spent.saturating_add(entry.spent);
            period.held = period.held.saturating_add(entry.held);
            if !resolves {
                (period.end_ms, period.cap) = (step.end_ms, cap);
            }
            if matches!(entry.kind, Kind::Adjust | Kind::Reset) {
                self.set_by_hand.insert(key);
            }
            let below = period.held < 0 || period.spent < 0 && !self.set_by_hand.contains(&key);
            let sum = i128::from(period.spent) + i128::from(period.held);
            let above = entry.kind == Kind::Hold && cap.is_some_and(|cap| sum > i128::from(cap));
            if below || above {
                let which = if below { "below zero" } else { "above its cap" };
                let PeriodRow { spent, held, .. } = period;
                let account = step.account.0;
                wrong =
                    Some(format!("brings account {account} {which}: spent {spent}, held {held}"));
            }
        }
        wrong
    }
}

impl Tables {
    /// What these say and `other` does not, and the reverse, in words.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = differing("account", &self.accounts, &other.accounts);
        found.extend(differing("period", &self.periods, &other.periods));
        found.extend(differing("open hold", &self.open, &other.open));
        found
    }
}

fn differing<K, V>(what: &str, follows: &BTreeMap<K, V>, stored: &BTreeMap<K, V>) -> Vec<String>
where
    K: Ord + std::fmt::Debug,
    V: PartialEq + std::fmt::Debug,
{
    let mut found = Vec::new();
    for (key, row) in follows {
        match stored.get(key) {
            Some(other) if other == row => {}
            Some(other) => {
                found.push(format!("{what} {key:?}: {other:?} is stored, {row:?} follows"));
            }
            None => found.push(format!("{what} {key:?}: nothing is stored, {row:?} follows")),
        }
    }
    let too_many = stored.iter().filter(|(key, _)| !follows.contains_key(key));
    found.extend(
        too_many.map(|(key, row)| format!("{what} {key:?}: {row:?} is stored, nothing follows")),
    );
    found
}
