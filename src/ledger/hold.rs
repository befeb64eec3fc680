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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::dice::Dice;
    use proptest::prelude::*;

    fn order(fixed: i128, per_output_token: i128, output_cap: u64, output_floor: u64) -> HoldOrder {
        HoldOrder {
            leaf: AccountId(0),
            fixed: PicoUsd(fixed),
            per_output_token: PicoUsd(per_output_token),
            output_cap,
            output_floor,
            request: RequestId::from_bits(0),
            attempt: 1,
            model: Arc::from("m"),
            price_version: 0,
        }
    }

    #[test]
    fn what_no_amount_can_be_is_refused() {
        assert_eq!(order(i128::MAX, 1, 1, 1).amount(1), None);
        assert_eq!(order(i128::MAX, 0, 0, 0).fit(i64::MAX), None);
        assert_eq!(order(0, i128::MAX, 2, 2).fit(i64::MAX), None);
        assert_eq!(order(i128::from(i64::MAX) * 1_000 + 1, 0, 0, 0).amount(0), None);
        assert_eq!(order(i128::from(i64::MAX) * 1_000, 0, 0, 0).amount(0), Some(i64::MAX));
        let huge = order(0, i128::from(i64::MAX), u64::MAX, 1).fit(i64::MAX).unwrap();
        assert_eq!((huge.output_cap, huge.amount), (1_000, i64::MAX), "lowered, not saturated");
    }

    #[test]
    fn the_floor_is_no_higher_than_the_wish() {
        assert_eq!(order(0, 1_000, 10, 256).fit(10), Some(Fit { amount: 10, output_cap: 10 }));
        assert_eq!(order(0, 1_000, 10, 256).fit(9), None);
        assert_eq!(order(0, 1_000, 300, 256).fit(256), Some(Fit { amount: 256, output_cap: 256 }));
        assert_eq!(order(0, 1_000, 300, 256).fit(255), None);
        assert_eq!(order(0, 0, 300, 256).fit(0), Some(Fit { amount: 0, output_cap: 300 }));
        assert_eq!(
            order(0, 0, 300, 256).fit(-1),
            None,
            "an overdraft admits nothing, not even gifts"
        );
    }

    /// Numbers of any length as 32-bit digits, lowest first, and schoolbook arithmetic: nothing in
    /// common with the code that it judges.
    #[derive(Clone, PartialEq, Eq)]
    struct Big([u32; 5]);

    impl Big {
        fn of(mut value: u128) -> Self {
            let mut digits = [0; 5];
            for digit in &mut digits[..4] {
                *digit = (value & 0xffff_ffff) as u32;
                value >>= 32;
            }
            Self(digits)
        }

        fn plus(&self, other: &Self) -> Self {
            let (mut digits, mut carry) = ([0; 5], 0u64);
            for (at, digit) in digits.iter_mut().enumerate() {
                let sum = u64::from(self.0[at]) + u64::from(other.0[at]) + carry;
                (*digit, carry) = ((sum & 0xffff_ffff) as u32, sum >> 32);
            }
            assert_eq!(carry, 0);
            Self(digits)
        }

        /// Times a number of 64 bits.
        fn times(&self, by: u64) -> Self {
            let row = |factor: u64, shift: usize| {
                let (mut digits, mut carry) = ([0; 5], 0u64);
                for (digit, own) in digits[shift..].iter_mut().zip(self.0) {
                    let product = u64::from(own) * factor + carry;
                    (*digit, carry) = ((product & 0xffff_ffff) as u32, product >> 32);
                }
                assert_eq!(carry, 0);
                Self(digits)
            };
            row(by & 0xffff_ffff, 0).plus(&row(by >> 32, 1))
        }

        fn at_most(&self, other: &Self) -> bool {
            self.0.iter().rev().le(other.0.iter().rev())
        }
    }

    /// Whether `fixed + cap * price <= nano * 1000`.
    fn pays(order: &HoldOrder, cap: u64, nano: u64) -> bool {
        let price = Big::of(order.per_output_token.0.unsigned_abs());
        let cost = Big::of(order.fixed.0.unsigned_abs()).plus(&price.times(cap));
        cost.at_most(&Big::of(u128::from(nano)).times(1_000))
    }

    struct Seen<'a>(&'a HoldOrder, u64);

    impl std::fmt::Display for Seen<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:?}, room {}", self.0, self.1)
        }
    }

    fn agrees(order: &HoldOrder, room: u64) {
        let seen = Seen(order, room);
        match order.fit(i64::try_from(room).unwrap()) {
            Some(Fit { amount, output_cap }) => {
                let amount = u64::try_from(amount).unwrap();
                assert!(amount <= room, "{seen}");
                assert!(
                    output_cap >= order.least_cap() && output_cap <= order.output_cap,
                    "{seen}"
                );
                assert!(pays(order, output_cap, amount), "the amount is too small: {seen}");
                let is_least = amount == 0 || !pays(order, output_cap, amount - 1);
                assert!(is_least, "the amount is too large: {seen}");
                let is_most = output_cap == order.output_cap || !pays(order, output_cap + 1, room);
                assert!(is_most, "the cap is too low: {seen}");
            }
            None => assert!(!pays(order, order.least_cap(), room), "refused what fits: {seen}"),
        }
    }

    #[test]
    fn amounts_and_caps_agree_with_long_arithmetic_in_a_million_cases() {
        let seed = 0x5eed_0003;
        let mut dice = Dice::new(seed);
        let mut order = order(0, 0, 0, 0);
        for _ in 0..1_000_000 {
            order.fixed = PicoUsd(i128::from(dice.any(64)) * i128::from(dice.any(20)));
            order.per_output_token = PicoUsd(i128::from(dice.any(50)));
            (order.output_cap, order.output_floor) = (dice.any(64), dice.any(12));
            agrees(&order, dice.any(63));
        }
    }

    proptest! {
        #[test]
        fn amounts_grow_with_the_cap(
            fixed in 0i128..1 << 80, price in 0i128..1 << 60, cap in 0u64..1 << 40, room in any::<i64>(),
        ) {
            let order = order(fixed, price, cap, 256);
            if let Some(amount) = order.amount(cap) {
                prop_assert!(order.amount(cap / 2).is_some_and(|half| half <= amount));
            }
            if room >= 0 {
                agrees(&order, room.unsigned_abs());
            } else {
                prop_assert_eq!(order.fit(room), None);
            }
        }
    }
}
