//! What a store gives back at the start, and what it is told to keep.
//!
//! Values only: `store` fills and reads them, `book` makes and takes them.

use std::sync::Arc;

use crate::ledger::account::{Account, AccountId};
use crate::ledger::entry::{Entry, HoldId, Step};

/// The balance of one account in one period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The account.
    pub account: AccountId,
    /// When the period began, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// When it ends (exclusive); `i64::MAX` if never.
    pub end_ms: i64,
    /// Spent, in nano-dollars.
    pub spent: i64,
    /// Held, in nano-dollars.
    pub held: i64,
}

/// What an account has spent in a period before its latest one, without what was carried into that from
/// periods of another calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// The account.
    pub account: AccountId,
    /// When the period began, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// When it was over (exclusive), be it by another calendar.
    pub end_ms: i64,
    /// Spent, in nano-dollars.
    pub spent: i64,
}

/// What was carried into a period from those of another calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The account.
    pub account: AccountId,
    /// When the period began, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// How much of what is spent in it, in nano-dollars.
    pub amount: i64,
}

/// What was counted into a new period of another calendar though a part of it was spent before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The account.
    pub account: AccountId,
    /// The period into which it was counted, by its start.
    pub into_ms: i64,
    /// When the new period has begun by the calendar.
    pub from_ms: i64,
    /// When what was counted begins: its periods begin then or later.
    pub start_ms: i64,
    /// When what was counted ends (exclusive).
    pub until_ms: i64,
    /// How much was counted, in nano-dollars.
    pub counted: i64,
}

/// A hold that is not settled, or settled in limbo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHold {
    /// Its number.
    pub hold: HoldId,
    /// Who pays, leaf first, in which period.
    pub path: Arc<[Step]>,
    /// The entry that made it (kind `Hold`), with request, attempt and model.
    pub made: Entry,
    /// The provider's name for the attempt, where it is in limbo and was given one.
    pub generation: Option<Arc<str>>,
    /// What it is booked at in limbo, in nano-dollars, where that is an estimate and not all of it.
    pub booked: Option<i64>,
    /// Whether it was spent because nobody knows what became of it; it may be refunded.
    pub limbo: bool,
}

/// Everything that a book needs at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The epoch of this process: larger than every one before.
    pub epoch: u32,
    /// A number larger than that of every account ever opened, also of sessions that are not given here.
    /// A smaller one does no harm if all accounts are given.
    pub next_account: AccountId,
    /// All accounts of fleet, teams and agents, and the sessions used last.
    pub accounts: Vec<Account>,
    /// Their latest periods, and every earlier one that has open holds.
    pub balances: Vec<Balance>,
    /// Periods before those, oldest first, as far as one of another calendar could reach back.
    pub past: Vec<Past>,
    /// What was carried into the periods of `balances`. Too little of it only counts spending twice.
    pub carried: Vec<Carried>,
    /// Holds of other epochs that are open or in limbo.
    pub open: Vec<OpenHold>,
}

/// What other processes have written to a shared store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The accounts that have changed or come to be, as they are now.
    pub accounts: Vec<Account>,
    /// The balances that have moved, as they are now.
    pub balances: Vec<Balance>,
}

impl OpenHold {
    /// What it is booked at in limbo, in nano-dollars.
    pub fn booked(&self) -> i64 {
        self.booked.unwrap_or(self.made.held)
    }
}

/// What became of one entry that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is durable.
    Done,
    /// It is a hold, and the store knows of other spending that leaves no room for it. Nothing was
    /// written.
    NoRoom,
    /// It concerns a hold that is not open (settled before, or never made). Nothing was written.
    NotOpen,
}
