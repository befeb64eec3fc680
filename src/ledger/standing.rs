//! How an account stands, for answers, headers and the choice of a tier.
//!
//! Read from the book at one instant; it changes nothing.

use crate::base::money::NanoUsd;
use crate::ledger::account::{AccountId, AccountKey, Cadence, Source};

/// One account at one instant, in its present period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its number.
    pub id: AccountId,
    /// Its name.
    pub key: AccountKey,
    /// The account that has to pay as well.
    pub parent: Option<AccountKey>,
    /// Most that may be spent in one period; `None` = not limited.
    pub limit: Option<NanoUsd>,
    /// Where the limit comes from.
    pub source: Source,
    /// Spent in this period.
    pub spent: NanoUsd,
    /// Held by attempts of this period that are not settled.
    pub held: NanoUsd,
    /// Limit less spent and held: negative shows an overdraft; `None` if not limited.
    pub remaining: Option<NanoUsd>,
    /// How long a period is.
    pub cadence: Cadence,
    /// When this one began, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// When it ends (exclusive); `i64::MAX` if never.
    pub end_ms: i64,
    /// Whether the limit refuses requests.
    pub hard: bool,
    /// Nothing is admitted until an administrator thaws it.
    pub frozen: bool,
    /// When its spend was last reset by hand.
    pub reset_at_ms: Option<i64>,
}

/// What the limits above a leaf leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The least that any limited account of the path leaves; may be negative.
    pub tightest: NanoUsd,
    /// The limit of the leaf, or else of the nearest limited account above it.
    pub limit: NanoUsd,
    /// What that limit leaves.
    pub remaining: NanoUsd,
}
