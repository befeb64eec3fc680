//! Where a session goes that has outgrown its model's context (S2-14).

use crate::base::money::PicoUsdPerToken;

/// A model, as far as a session that needs another home goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its place in the catalog.
    pub place: usize,
    /// How able it is; the larger the better.
    pub tier: u8,
    /// Tokens of input and output together; `None` = not known.
    pub context_tokens: Option<u64>,
    /// What a token of its input costs.
    pub input: PicoUsdPerToken,
    /// Takes images.
    pub vision: bool,
    /// Takes tools.
    pub tools: bool,
}

/// The closest of `homes` whose context holds `tokens`: the same tier before others, nearer tiers before
/// farther ones, then the cheapest, then the smallest context. What the present one can do is not lost.
/// Contexts that are not known do not count as larger.
pub fn closest(present: &Home, homes: &[Home], tokens: u64) -> Option<usize> {
    let keeps = |home: &Home| home.vision >= present.vision && home.tools >= present.tools;
    let holds = |home: &Home| home.context_tokens.is_some_and(|most| most >= tokens);
    let fitting =
        homes.iter().filter(|home| home.place != present.place && keeps(home) && holds(home));
    let order = |home: &&Home| (home.tier.abs_diff(present.tier), home.input, home.context_tokens);
    fitting.min_by_key(order).map(|home| home.place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(place: usize, tier: u8, context: u64, price: i64) -> Home {
        let input = PicoUsdPerToken(price);
        Home { place, tier, context_tokens: Some(context), input, vision: false, tools: true }
    }

    #[test]
    fn the_same_tier_comes_first_and_then_the_price() {
        let present = home(0, 1, 100, 10);
        let homes = [
            present,
            home(1, 0, 900, 1),
            home(2, 1, 900, 9),
            home(3, 1, 500, 9),
            home(4, 1, 99, 1),
        ];
        assert_eq!(closest(&present, &homes, 200), Some(3));
        assert_eq!(closest(&present, &homes, 600), Some(2));
        assert_eq!(closest(&present, &homes[..2], 200), Some(1));
        assert_eq!(closest(&present, &homes, 901), None);
    }

    #[test]
    fn nothing_that_the_session_had_is_lost() {
        let present = Home { vision: true, ..home(0, 1, 100, 10) };
        let blind = home(1, 1, 900, 1);
        let toolless = Home { vision: true, tools: false, ..home(2, 1, 900, 1) };
        let unknown = Home { vision: true, context_tokens: None, ..home(3, 1, 0, 1) };
        assert_eq!(closest(&present, &[blind, toolless, unknown], 200), None);
        let whole = Home { vision: true, ..home(4, 2, 900, 99) };
        assert_eq!(closest(&present, &[blind, toolless, unknown, whole], 200), Some(4));
    }
}
