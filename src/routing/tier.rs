//! Tiers of models by what is left of a budget (S0-08, C-16): the first tier whose share is met, with a
//! hysteresis on the way up, so that a request that ends cheaper than feared does not make tiers flap.
//!
//! It knows shares and places only; whose budget it is, and what is held of it, the caller knows.

use std::fmt;

/// One whole in parts per million.
pub const WHOLE_PPM: u32 = 1_000_000;

/// Digits after the point that a share may have.
const SHARE_DIGITS: usize = 6;

/// Models that may be used as long as enough of the budget is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// The share of the limit that must be left, in parts per million.
    pub remaining_min_ppm: u32,
    /// The models, as places in the catalog, in the order to try them.
    pub models: Box<[usize]>,
}

/// What is left of a budget. Both amounts in nano-dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The limit less what is spent and held; may be negative.
    pub remaining: i64,
    /// The limit; zero or less counts as a budget of which nothing is left.
    pub limit: i64,
}

impl Left {
    /// Whether at least that share of the limit is left.
    fn reaches(self, share_ppm: u32) -> bool {
        // S0-08: without a limit to divide by, 0 % is left.
        let remaining = if self.limit > 0 { self.remaining } else { 0 };
        let limit = i128::from(self.limit.max(1));
        i128::from(remaining) * i128::from(WHOLE_PPM) >= limit * i128::from(share_ppm)
    }
}

/// The place of the tier to use: the first one in listed order whose share is left, else the last one.
/// From `last`, the tier used before, a better one is only taken when its share and `hysteresis_ppm`
/// on top are left (but never more than the whole); a worse one is taken at once. 0 for no tiers.
pub fn choose(tiers: &[Tier], left: Left, last: Option<usize>, hysteresis_ppm: u32) -> usize {
    let first = |count: usize, extra: u32| {
        let share = |tier: &Tier| tier.remaining_min_ppm.saturating_add(extra).min(WHOLE_PPM);
        // A full budget reaches every tier, also where share and hysteresis are more than the whole.
        tiers.iter().take(count).position(|tier| left.reaches(share(tier)))
    };
    let plain = first(tiers.len(), 0).unwrap_or(tiers.len().saturating_sub(1));
    match last {
        // After a reload there may be fewer tiers than before.
        Some(last) if last < tiers.len() && plain < last => {
            first(last, hysteresis_ppm).unwrap_or(last)
        }
        _ => plain,
    }
}

/// Why a text is no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareError {
    /// Not `digits[.digits]`.
    NotDecimal,
    /// More than one.
    TooLarge,
    /// More digits after the point than are kept.
    TooFine,
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotDecimal => "is not a plain decimal number",
            Self::TooLarge => "is more than the whole",
            Self::TooFine => "has more digits after the point than are kept",
        })
    }
}

/// Reads a decimal from 0 to 1 as parts per million, without rounding.
pub fn parse_share(text: &str) -> Result<u32, ShareError> {
    let text = text.trim();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.bytes().chain(part.bytes());
    if text.len() < 1 + usize::from(text.contains('.'))
        || !digits.clone().all(|b| b.is_ascii_digit())
    {
        return Err(ShareError::NotDecimal);
    }
    let part = part.trim_end_matches('0');
    if part.len() > SHARE_DIGITS {
        return Err(ShareError::TooFine);
    }
    match (whole.trim_start_matches('0'), part) {
        ("", "") => Ok(0),
        ("", part) => format!("{part:0<SHARE_DIGITS$}").parse().map_err(|_| ShareError::NotDecimal),
        ("1", "") => Ok(WHOLE_PPM),
        _ => Err(ShareError::TooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tiers(shares_ppm: &[u32]) -> Vec<Tier> {
        let tier = |&remaining_min_ppm: &u32| Tier { remaining_min_ppm, models: Box::new([0]) };
        shares_ppm.iter().map(tier).collect()
    }

    fn seed_tiers() -> Vec<Tier> {
        tiers(&[800_000, 300_000, 0])
    }

    fn of_fifty(remaining: i64) -> Left {
        Left { remaining: remaining * 1_000_000_000, limit: 50_000_000_000 }
    }

    #[test]
    fn the_first_tier_that_is_met_is_used() {
        let choose = |remaining| choose(&seed_tiers(), of_fifty(remaining), None, 20_000);
        assert_eq!((choose(50), choose(40)), (0, 0), "C-16: exactly 80 % still counts");
        assert_eq!((choose(39), choose(15)), (1, 1));
        assert_eq!((choose(14), choose(10), choose(0)), (2, 2, 2));
        assert_eq!(choose(-5), 2, "an overdraft reaches no share, so the last tier is used");
    }

    #[test]
    fn without_a_limit_nothing_is_left() {
        for limit in [0, -1, i64::MIN] {
            let left = Left { remaining: i64::MAX, limit };
            assert_eq!(choose(&seed_tiers(), left, None, 0), 2);
            assert_eq!(choose(&tiers(&[900_000, 0, 0]), left, None, 0), 1, "0 % meets 0 %");
        }
        assert_eq!(
            choose(&tiers(&[900_000, 500_000]), Left { remaining: 0, limit: 9 }, None, 0),
            1
        );
        assert_eq!(choose(&[], of_fifty(50), None, 0), 0);
    }

    #[test]
    fn going_down_is_immediate_and_going_up_takes_more() {
        let choose = |remaining, last| {
            let left = Left { remaining, limit: 1_000 };
            choose(&seed_tiers(), left, Some(last), 20_000)
        };
        assert_eq!((choose(800, 0), choose(799, 0), choose(100, 0)), (0, 1, 2));
        assert_eq!((choose(819, 1), choose(820, 1)), (1, 0));
        assert_eq!((choose(310, 2), choose(320, 2)), (2, 1));
        assert_eq!(choose(810, 2), 1, "up to the best tier that is met with the hysteresis");
        assert_eq!(choose(1_000, 2), 0);
        assert_eq!(choose(810, 7), 0, "a tier that is no more holds nothing back");
    }

    #[test]
    fn a_full_budget_reaches_every_tier() {
        let left = Left { remaining: 1_000, limit: 1_000 };
        assert_eq!(choose(&tiers(&[WHOLE_PPM, 0]), left, Some(1), 20_000), 0);
    }

    #[test]
    fn the_largest_amounts_do_not_overflow() {
        let left = Left { remaining: i64::MAX, limit: i64::MAX };
        assert_eq!(choose(&seed_tiers(), left, Some(2), u32::MAX), 0);
        let left = Left { remaining: i64::MIN, limit: i64::MAX };
        assert_eq!(choose(&seed_tiers(), left, Some(0), u32::MAX), 2);
    }

    #[test]
    fn shares_are_read_exactly() {
        for (text, ppm) in [
            ("0", 0),
            ("0.00", 0),
            ("0.80", 800_000),
            (".3", 300_000),
            ("0.000001", 1),
            ("1", WHOLE_PPM),
            ("1.", WHOLE_PPM),
            ("01.0000000000", WHOLE_PPM),
            ("0.3000000000000", 300_000),
        ] {
            assert_eq!(parse_share(text), Ok(ppm), "{text:?}");
        }
        for text in ["", ".", "-0.1", "+0.1", "80%", "1e-1", "NaN", "0.5.0", "0,5"] {
            assert_eq!(parse_share(text), Err(ShareError::NotDecimal), "{text:?}");
        }
        for text in ["1.000001", "2", "80", "99999999999999999999999"] {
            assert_eq!(parse_share(text), Err(ShareError::TooLarge), "{text:?}");
        }
        assert_eq!(parse_share("0.0000001"), Err(ShareError::TooFine));
    }

    fn any_tiers() -> impl Strategy<Value = Vec<Tier>> {
        prop::collection::vec(0..=WHOLE_PPM, 1..6).prop_map(|shares| tiers(&shares))
    }

    /// S0-08 as it is written, in exact fractions of the limit.
    fn naive(tiers: &[Tier], Left { remaining, limit }: Left) -> usize {
        let meets = |tier: &&Tier| {
            let (remaining, limit) = if limit > 0 { (remaining, limit) } else { (0, 1) };
            i128::from(remaining) * 1_000_000
                >= i128::from(tier.remaining_min_ppm) * i128::from(limit)
        };
        let met = tiers.iter().find(meets);
        met.map_or(tiers.len() - 1, |met| tiers.iter().position(|tier| tier == met).unwrap())
    }

    proptest! {
        #[test]
        fn without_hysteresis_it_is_the_plain_rule(
            tiers in any_tiers(), remaining: i64, limit: i64, last in prop::option::of(0usize..8),
        ) {
            let left = Left { remaining, limit };
            prop_assert_eq!(choose(&tiers, left, last, 0), naive(&tiers, left));
        }

        #[test]
        fn more_money_never_means_a_worse_tier(
            tiers in any_tiers(), a: i64, b: i64, limit: i64,
            last in prop::option::of(0usize..8), hysteresis in 0..WHOLE_PPM,
        ) {
            let tier = |remaining| choose(&tiers, Left { remaining, limit }, last, hysteresis);
            prop_assert!(tier(a.max(b)) <= tier(a.min(b)));
        }

        /// Whatever the money does within a band narrower than the hysteresis, no tier is left and
        /// entered again: after the first way down, it stays or goes on down.
        #[test]
        fn oscillations_below_the_hysteresis_do_not_flap(
            tiers in any_tiers(), base in 0i64..900_000,
            steps in prop::collection::vec(0i64..20_000, 1..40),
        ) {
            let limit = 1_000_000;
            let mut last = None;
            let mut changes = Vec::new();
            for step in steps {
                let left = Left { remaining: base + step, limit };
                let now = choose(&tiers, left, last, 20_000);
                if last.is_some_and(|last| last != now) {
                    changes.push((last, now));
                }
                last = Some(now);
            }
            let worse = changes.iter().all(|(last, now)| last.is_some_and(|last| last < *now));
            prop_assert!(worse, "{:?}", changes);
        }

        #[test]
        fn every_share_can_be_written_and_read(ppm in 0..=WHOLE_PPM) {
            let text = format!("{}.{:06}", ppm / WHOLE_PPM, ppm % WHOLE_PPM);
            prop_assert_eq!(parse_share(&text), Ok(ppm));
        }

        #[test]
        fn any_text_is_no_share_or_at_most_the_whole(text in "\\PC{0,24}|[01]?\\.?[0-9]{0,8}") {
            prop_assert!(parse_share(&text).is_ok_and(|ppm| ppm <= WHOLE_PPM) || parse_share(&text).is_err());
        }
    }
}
