//! Holds: what is asked for before an attempt, what is granted, and what an attempt came to.
//!
//! The arithmetic is exact: pico-dollars in 128 bits, one rounding up, and no saturation.

use std::sync::Arc;

use crate::base::id::RequestId;
use crate::base::money::{NanoUsd, PicoUsd};
use crate::ledger::account::{AccountId, AccountKey};
use crate::ledger::entry::{Entry, HoldId, Reason, Step, Tokens};
use crate::ledger::standing::Standing;

/// Pico-dollars in one nano-dollar.
const PICO_PER_NANO: i128 = 1_000;

/// What is to be held for one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldOrder {
    /// The account that asks; all above it pay as well.
    pub leaf: AccountId,
    /// Input and fees, at the worst.
    pub fixed: PicoUsd,
    /// One more token in the output cap: its price times the number of answers.
    pub per_output_token: PicoUsd,
    /// The output cap that is wanted.
    pub output_cap: u64,
    /// The least output cap that is of use; the wanted one counts if it is lower.
    pub output_floor: u64,
    /// The exchange.
    pub request: RequestId,
    /// Which attempt of it, from 1.
    pub attempt: u8,
    /// The configured model.
    pub model: Arc<str>,
    /// The price table.
    pub price_version: u64,
}

/// A hold that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its number.
    pub hold: HoldId,
    /// What it holds, on every account of the path.
    pub amount: NanoUsd,
    /// The output cap that fits into it: at most what was wanted, at least the floor.
    pub output_cap: u64,
    /// What the tightest limit of the path leaves after it; `None` if nothing on it is limited.
    pub remaining: Option<NanoUsd>,
}

/// Why nothing was held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not fit.
    Exhausted {
        /// The account that leaves least.
        account: AccountKey,
        /// The smallest amount that would be of use.
        needed: NanoUsd,
        /// How that account stands.
        standing: Box<Standing>,
    },
    /// An administrator, or a breaker, has frozen an account of the path.
    Frozen {
        /// That account.
        account: AccountKey,
    },
    /// The leaf, or an account above it, is not in memory (a session that was forgotten): it has to be
    /// opened again before it can hold anything.
    Unknown {
        /// The leaf.
        leaf: AccountId,
    },
}

/// A cost that was never held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendOrder {
    /// The account that has to pay; all above it pay as well.
    pub leaf: AccountId,
    /// How much.
    pub cost: NanoUsd,
    /// The exchange.
    pub request: RequestId,
    /// Which attempt of it, from 1.
    pub attempt: u8,
    /// The configured model.
    pub model: Arc<str>,
    /// The price table.
    pub price_version: u64,
    /// What was consumed, where it is known.
    pub tokens: Option<Tokens>,
    /// How it is known.
    pub reason: Reason,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It cost something.
    Cost {
        /// How much.
        cost: NanoUsd,
        /// What was consumed, where it is known.
        tokens: Option<Tokens>,
        /// How it is known.
        reason: Reason,
    },
    /// It cost nothing.
    Nothing {
        /// How that is known.
        reason: Reason,
    },
    /// Nobody knows: all that was held counts as spent.
    Unknown {
        /// Why not.
        reason: Reason,
    },
}

/// What settling a hold came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What is to be kept, in this order.
    pub entries: Vec<Entry>,
    /// What was booked as spent.
    pub cost: NanoUsd,
    /// Whether the cost was above the hold: the worst case was not the worst.
    pub bound_violated: bool,
    /// What the tightest limit of the path leaves now; `None` if nothing on it is limited.
    pub remaining: Option<NanoUsd>,
}

/// A hold that is not settled, as `book` remembers it.
#[derive(Clone, Debug)]
pub struct Held {
    /// Who pays, leaf first, in which period.
    pub path: Arc<[Step]>,
    /// How much, in nano-dollars.
    pub amount: i64,
    /// The exchange.
    pub request: Option<RequestId>,
    /// Which attempt of it.
    pub attempt: u8,
    /// The configured model.
    pub model: Option<Arc<str>>,
    /// The price table.
    pub price_version: u64,
}

/// What fits into some room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// In nano-dollars.
    pub amount: i64,
    /// The output cap that the amount pays for.
    pub output_cap: u64,
}

impl HoldOrder {
    /// The least output cap that is of use.
    pub fn least_cap(&self) -> u64 {
        self.output_cap.min(self.output_floor)
    }

    /// What an output cap costs at the worst, rounded up; `None` if it is more than an amount can be.
    pub fn amount(&self, output_cap: u64) -> Option<i64> {
        let output = i128::from(output_cap).checked_mul(self.per_output_token.0.max(0))?;
        let pico = self.fixed.0.max(0).checked_add(output)?;
        let nano = pico / PICO_PER_NANO + i128::from(pico % PICO_PER_NANO != 0);
        i64::try_from(nano).ok()
    }

    /// The largest output cap, up to the wanted one, that fits into `room` nano-dollars; `None` if even
    /// the least one does not.
    ///
    /// Since `room` is whole nano-dollars, rounding up cannot lift what fits above it.
    pub fn fit(&self, room: i64) -> Option<Fit> {
        let left = (i128::from(room) * PICO_PER_NANO).checked_sub(self.fixed.0.max(0))?;
        if left < 0 {
            return None;
        }
        let output_cap = match self.per_output_token.0 {
            ..=0 => self.output_cap,
            price => u64::try_from(left / price)
                .map_or(self.output_cap, |fits| fits.min(self.output_cap)),
        };
        if output_cap < self.least_cap() {
            return None;
        }
        self.amount(output_cap).map(|amount| Fit { amount, output_cap })
    }
}
