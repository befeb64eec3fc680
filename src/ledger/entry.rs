//! Entries: what happened to money, in the form that is kept for ever.
//!
//! An entry is never changed. Balances are sums over entries: every entry moves `held` and `spent` of
//! every step of its path by the same amounts.

use std::sync::Arc;

use crate::base::id::RequestId;
use crate::base::money::NanoUsd;
use crate::ledger::account::{Account, AccountId};

/// The number of one hold: the epoch of the process that made it in the upper 24 bits, a running
/// number below. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId(pub u64);

impl HoldId {
    /// Bits of the running number.
    const NUMBER_BITS: u32 = 40;

    /// The hold of that number in that epoch.
    pub const fn new(epoch: u32, number: u64) -> Self {
        Self((epoch as u64) << Self::NUMBER_BITS | number & ((1 << Self::NUMBER_BITS) - 1))
    }

    /// The epoch that made it.
    pub const fn epoch(self) -> u32 {
        (self.0 >> Self::NUMBER_BITS) as u32
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// An account came to be, or its terms, parent, limit or freezing changed; `account` says how.
    Account = 1,
    /// The worst case of one attempt is held.
    Hold = 2,
    /// What a hold came to: `held` falls by the hold, `spent` rises by the cost.
    Settle = 3,
    /// A hold that came to nothing.
    Void = 4,
    /// A hold whose outcome is not known: all of it is spent until somebody knows better.
    Limbo = 5,
    /// A hold in limbo turned out cheaper, or was forgiven by an administrator.
    Refund = 6,
    /// A cost that was never held, because no limit stood in its way.
    Spend = 7,
    /// The control API set `spent`.
    Adjust = 8,
    /// The control API set `spent` to zero.
    Reset = 9,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Account,
        Self::Hold,
        Self::Settle,
        Self::Void,
        Self::Limbo,
        Self::Refund,
        Self::Spend,
        Self::Adjust,
        Self::Reset,
    ];

    /// Its number in the store.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind of that number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The name used in exports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Hold => "hold",
            Self::Settle => "settle",
            Self::Void => "void",
            Self::Limbo => "limbo",
            Self::Refund => "refund",
            Self::Spend => "spend",
            Self::Adjust => "adjust",
            Self::Reset => "reset",
        }
    }
}

/// Why an entry was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// A request is about to be sent.
    Admitted = 1,
    /// The provider reported its usage.
    Exact = 2,
    /// The usage was estimated (soft accounts only).
    Estimated = 3,
    /// Not a byte of the request was sent.
    NotSent = 4,
    /// The provider answered with an error status, which is not billed.
    Status = 5,
    /// The provider answered 200 with an error inside.
    ErrorInside = 6,
    /// The answer broke off, or never came, and its usage is not known.
    Cut = 7,
    /// The client left, and the usage could not be learnt.
    ClientGone = 8,
    /// The process that held it ended without settling.
    Restart = 9,
    /// The hold could not be made durable.
    NotDurable = 10,
    /// The provider was asked afterwards.
    Lookup = 11,
    /// An administrator said so.
    Admin = 12,
    /// The configuration said so.
    Config = 13,
    /// The console said so.
    Console = 14,
    /// A breaker tripped.
    Breaker = 15,
    /// The provider reported its usage, and a part of it has no price.
    Unpriced = 16,
    /// Spent in periods of another calendar that reach into the one that has begun by it.
    Carried = 17,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Admitted,
        Self::Exact,
        Self::Estimated,
        Self::NotSent,
        Self::Status,
        Self::ErrorInside,
        Self::Cut,
        Self::ClientGone,
        Self::Restart,
        Self::NotDurable,
        Self::Lookup,
        Self::Admin,
        Self::Config,
        Self::Console,
        Self::Breaker,
        Self::Unpriced,
        Self::Carried,
    ];

    /// Its number in the store.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason of that number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// The name used in exports and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Exact => "exact",
            Self::Estimated => "estimated",
            Self::NotSent => "not_sent",
            Self::Status => "status",
            Self::ErrorInside => "error_inside",
            Self::Cut => "cut",
            Self::ClientGone => "client_gone",
            Self::Restart => "restart",
            Self::NotDurable => "not_durable",
            Self::Lookup => "lookup",
            Self::Admin => "admin",
            Self::Config => "config",
            Self::Console => "console",
            Self::Breaker => "breaker",
            Self::Unpriced => "unpriced",
            Self::Carried => "carried",
        }
    }
}

/// One account on the way from the leaf to the root, in the period that pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// The account.
    pub account: AccountId,
    /// When its period began, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// When its period ends (exclusive); `i64::MAX` if never.
    pub end_ms: i64,
    /// The sum of `spent` and `held` that a hold must not exceed; `None` where nothing is refused.
    pub cap: Option<NanoUsd>,
}

/// Tokens of one attempt, as `usage` counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Input that touched no cache.
    pub input: u64,
    /// Input read from a cache.
    pub cache_read: u64,
    /// Input written to a cache, short.
    pub cache_write: u64,
    /// Input written to a cache, long.
    pub cache_write_1h: u64,
    /// All billed output.
    pub output: u64,
    /// The hidden part of it.
    pub reasoning: u64,
}

/// One fact about money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, in milliseconds since the Unix epoch. Does not run backwards within one process.
    pub at_ms: i64,
    /// What.
    pub kind: Kind,
    /// Which hold, for the kinds that concern one.
    pub hold: Option<HoldId>,
    /// The accounts that it moves, leaf first. Empty for `Account`.
    pub path: Arc<[Step]>,
    /// By how much `held` of every step changes, in nano-dollars.
    pub held: i64,
    /// By how much `spent` of every step changes, in nano-dollars.
    pub spent: i64,
    /// The exchange, where there was one.
    pub request: Option<RequestId>,
    /// Which attempt of it, from 1; 0 for none.
    pub attempt: u8,
    /// The configured model.
    pub model: Option<Arc<str>>,
    /// The version of the price table: the first 8 bytes of its hash. 0 where no price was asked.
    pub price_version: u64,
    /// What was consumed, where it is known.
    pub tokens: Option<Tokens>,
    /// The provider's own name for the attempt, with its settlement, where the provider gave one: by it
    /// the cost can be asked for later.
    pub generation: Option<Arc<str>>,
    /// Why.
    pub reason: Reason,
    /// The account as it is from now on, for `Account`.
    pub account: Option<Arc<Account>>,
    /// The account as it was known before, for `Account`; `None` if it is new. Not kept: by it the store
    /// sees what has changed, so that it leaves alone what another process has changed meanwhile.
    pub was: Option<Arc<Account>>,
}

impl Entry {
    /// Names an account by another number, wherever the entry does.
    pub fn renumber(&mut self, from: AccountId, to: AccountId) {
        if let Some(path) = renumbered(&self.path, from, to) {
            self.path = path;
        }
        for account in [&mut self.account, &mut self.was].into_iter().flatten() {
            if account.id != from && account.parent != Some(from) {
                continue;
            }
            let own = Arc::make_mut(account);
            if own.id == from {
                own.id = to;
            }
            if own.parent == Some(from) {
                own.parent = Some(to);
            }
        }
    }
}

/// A path in which an account has another number; `None` if it does not stand in it.
pub fn renumbered(path: &Arc<[Step]>, from: AccountId, to: AccountId) -> Option<Arc<[Step]>> {
    path.iter().any(|step| step.account == from).then(|| {
        let change = |step: &Step| {
            let account = if step.account == from { to } else { step.account };
            Step { account, ..*step }
        };
        path.iter().map(change).collect()
    })
}
