//! Whether leaving a warm prompt cache pays: what the next turn and those after it cost here and there.
//!
//! All in integers: pico-dollars times millionths of probability, rounded once. The rest of the session is
//! taken as turns like the last ones, each with its prefix grown by the turn before; nobody knows how many
//! there will be, so that a gain has to exceed the cost of the switch by a margin.

use crate::base::money::{NanoUsd, PicoUsdPerToken};
use crate::pinning::cache::{Rule, WHOLE_PPM};

/// What a model's tokens cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tariff {
    /// Input that is not cached.
    pub input: PicoUsdPerToken,
    /// Output.
    pub output: PicoUsdPerToken,
    /// Input read from the cache.
    pub read: PicoUsdPerToken,
    /// Input written to the cache, for as long as this session's is.
    pub write: PicoUsdPerToken,
    /// Each request.
    pub request: NanoUsd,
}

/// A model as the next one of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// Its prices.
    pub tariff: Tariff,
    /// How it caches.
    pub rule: Rule,
    /// Tokens of the prompt that lie in its cache, if it is warm.
    pub cached_tokens: u64,
    /// The probability that it is, in millionths.
    pub warm_ppm: u32,
    /// The probability that it will be at a later turn, in millionths.
    pub later_ppm: u32,
}

/// The turns to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Tokens of the next prompt.
    pub prompt_tokens: u64,
    /// Tokens of an answer.
    pub output_tokens: u64,
    /// Tokens by which the prompt grows from turn to turn.
    pub growth_tokens: u64,
    /// Turns after the next one that are expected, in thousandths.
    pub later_milli: u64,
}

/// What a switch has to gain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Margin {
    /// The part of the switch's own cost that has to be gained on top of it, in millionths.
    pub of_cost_ppm: u32,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weighed {
    /// Leaving pays.
    pub leaves: bool,
    /// What the next turn is expected to cost here.
    pub next_here: NanoUsd,
    /// And there.
    pub next_there: NanoUsd,
}

impl Side {
    /// Tokens of the next prompt that are expected to be read from the cache.
    pub fn warm_tokens(&self) -> u64 {
        let warm = u128::from(self.cached_tokens) * u128::from(self.warm_ppm);
        u64::try_from(warm / u128::from(WHOLE_PPM)).unwrap_or(u64::MAX)
    }

    /// Whether the prompt is long enough to be cached at all.
    const fn is_cached(&self, prompt_tokens: u64) -> bool {
        prompt_tokens >= self.rule.tokens_min
    }

    /// The price of a prompt's tokens that the cache does not hold.
    const fn unread(&self, prompt_tokens: u64) -> i128 {
        let bills = self.rule.bills_writes && self.is_cached(prompt_tokens) && self.is_asked();
        (if bills { self.tariff.write.0 } else { self.tariff.input.0 }) as i128
    }

    /// A cache that has to be asked for and was not is never warm, and nothing is written to it.
    const fn is_asked(&self) -> bool {
        !self.rule.is_marked || self.later_ppm > 0 || self.warm_ppm > 0
    }

    /// Expected price of one token of a prefix, in pico-dollars times millionths.
    fn prefix(&self, prompt_tokens: u64, warm_ppm: u32) -> i128 {
        let (warm, whole) = (i128::from(warm_ppm.min(WHOLE_PPM)), i128::from(WHOLE_PPM));
        let warm = if self.is_cached(prompt_tokens) { warm } else { 0 };
        warm * i128::from(self.tariff.read.0) + (whole - warm) * self.unread(prompt_tokens)
    }

    /// What a request costs beside its prompt, in pico-dollars times millionths.
    fn beside(&self, output_tokens: u64) -> i128 {
        let output = i128::from(output_tokens) * i128::from(self.tariff.output.0);
        (output + i128::from(self.tariff.request.0) * 1_000) * i128::from(WHOLE_PPM)
    }

    /// The next turn, in pico-dollars times millionths.
    fn next(&self, outlook: &Outlook) -> i128 {
        let prompt = outlook.prompt_tokens;
        let cached = self.cached_tokens.min(prompt);
        let new = i128::from(prompt - cached) * self.unread(prompt) * i128::from(WHOLE_PPM);
        i128::from(cached) * self.prefix(prompt, self.warm_ppm)
            + new
            + self.beside(outlook.output_tokens)
    }

    /// The turns after it, in pico-dollars times millionths.
    fn later(&self, outlook: &Outlook) -> i128 {
        let prompt = outlook.prompt_tokens;
        let growth = i128::from(outlook.growth_tokens);
        let turns = i128::from(outlook.later_milli);
        // Of R turns the k-th finds a prefix of prompt + (k - 1) x growth.
        let pairs = (turns * (turns - 1_000)).max(0) / 2_000;
        let prefix = turns * i128::from(prompt) + pairs * growth;
        let new = turns * growth * self.unread(prompt) * i128::from(WHOLE_PPM);
        let beside = turns * self.beside(outlook.output_tokens);
        (prefix * self.prefix(prompt, self.later_ppm) + new + beside) / 1_000
    }
}

/// What the cache is expected to save in the next turn, in pico-dollars times millionths.
fn saving(side: &Side, outlook: &Outlook) -> i128 {
    Side { warm_ppm: 0, ..*side }.next(outlook) - side.next(outlook)
}

/// Weighs leaving `here` for `there`: the next turn and those after it, everything expected. A model without a
/// warm cache is left as the strategy wants it: there is nothing to lose.
pub fn weigh(here: &Side, there: &Side, (outlook, margin): (&Outlook, &Margin)) -> Weighed {
    let (stay, leave) = (here.next(outlook), there.next(outlook));
    let gain = stay + here.later(outlook) - leave - there.later(outlook);
    let switch = (leave - stay).max(0);
    let asked = switch / i128::from(WHOLE_PPM) * i128::from(margin.of_cost_ppm);
    Weighed {
        leaves: gain > asked || saving(here, outlook) <= 0,
        next_here: nano(stay),
        next_there: nano(leave),
    }
}

/// The seed's rule (S2-12): a part of what the cache is expected to save here counts for staying; lifetimes of
/// the other side's cache and turns to come do not.
pub fn weigh_by_credit(
    here: &Side,
    there: &Side,
    (outlook, weight_ppm): (&Outlook, u32),
) -> Weighed {
    let cold = |side: &Side| Side { warm_ppm: 0, ..*side }.next(outlook);
    let credit = saving(here, outlook) / i128::from(WHOLE_PPM) * i128::from(weight_ppm);
    let (stay, leave) = (here.next(outlook), there.next(outlook));
    Weighed {
        leaves: cold(here) - credit > cold(there) || credit <= 0,
        next_here: nano(stay),
        next_there: nano(leave),
    }
}

fn nano(pico_ppm: i128) -> NanoUsd {
    let unit = i128::from(WHOLE_PPM) * 1_000;
    let up = pico_ppm.div_euclid(unit) + i128::from(pico_ppm.rem_euclid(unit) != 0);
    NanoUsd(i64::try_from(up).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pinning::cache;
    use proptest::prelude::*;

    /// A model by its prices in thousandths of a dollar per million tokens; reads cost `read_percent` of input.
    fn side(name: &str, (input, output, read_percent): (i64, i64, i64), cached: u64) -> Side {
        let rule = cache::rule(name, false);
        let input = PicoUsdPerToken(input * 1_000);
        let write = if rule.bills_writes { input.scaled_up(5, 4) } else { input };
        Side {
            tariff: Tariff {
                input,
                output: PicoUsdPerToken(output * 1_000),
                read: input.scaled_up(read_percent, 100),
                write,
                request: NanoUsd::ZERO,
            },
            rule,
            cached_tokens: cached,
            warm_ppm: if cached > 0 { WHOLE_PPM } else { 0 },
            later_ppm: WHOLE_PPM,
        }
    }

    /// The example of 50,000 tokens in the cache, 1,000 new ones, 500 of output.
    fn outlook(later: u64) -> Outlook {
        Outlook {
            prompt_tokens: 51_000,
            output_tokens: 500,
            growth_tokens: 1_500,
            later_milli: later * 1_000,
        }
    }

    /// After how many turns leaving pays.
    fn pays_after(there: &Side) -> Option<u64> {
        let here = side("claude-opus-4-8", (5_000, 25_000, 10), 50_000);
        let margin = Margin::default();
        (0..40).find(|&later| weigh(&here, there, (&outlook(later), &margin)).leaves)
    }

    #[test]
    fn moves_pay_when_the_arithmetic_says() {
        let here = side("claude-opus-4-8", (5_000, 25_000, 10), 50_000);
        let sonnet = side("claude-sonnet-4-5", (3_000, 15_000, 10), 0);
        let found = weigh(&here, &sonnet, (&outlook(0), &Margin::default()));
        // $0.025 of reads, $0.00625 of writes, $0.0125 of output; and $0.19125 with $0.0075.
        assert_eq!(found.next_here, NanoUsd(43_750_000));
        assert_eq!(found.next_there, NanoUsd(198_750_000));
        let gpt = side("gpt-5.4", (2_500, 15_000, 10), 0);
        let deepseek = side("deepseek-v4-flash", (140, 280, 2), 0);
        assert_eq!(pays_after(&sonnet), Some(8), "sideways moves almost never");
        assert_eq!(pays_after(&gpt), Some(4));
        assert_eq!(pays_after(&deepseek), Some(0), "drops of ten times always");
        let dearer = side("claude-fable-5", (10_000, 50_000, 10), 0);
        assert_eq!(pays_after(&dearer), None);
    }

    #[test]
    fn a_way_back_is_cheap_only_while_the_old_cache_lives() {
        let here = side("gpt-5.4", (2_500, 15_000, 10), 50_000);
        let mut back = side("claude-sonnet-4-5", (2_000, 12_000, 10), 48_000);
        let weighed = |back: &Side| weigh(&here, back, (&outlook(3), &Margin::default())).leaves;
        assert!(weighed(&back));
        back.warm_ppm = 0;
        assert!(!weighed(&back));
    }

    #[test]
    fn the_margin_has_its_say() {
        let here = side("claude-opus-4-8", (5_000, 25_000, 10), 50_000);
        let sonnet = side("claude-sonnet-4-5", (3_000, 15_000, 10), 0);
        let leaves =
            |of_cost_ppm: u32| weigh(&here, &sonnet, (&outlook(9), &Margin { of_cost_ppm })).leaves;
        assert!(leaves(0) && !leaves(4_000_000));
    }

    #[test]
    fn who_has_no_cache_to_lose_goes_where_the_strategy_says() {
        let here = side("claude-haiku-4-5", (1_000, 5_000, 10), 3_000);
        let there = side("claude-opus-4-8", (5_000, 25_000, 10), 0);
        let leaves = |here: &Side, prompt_tokens| {
            let next = Outlook { prompt_tokens, output_tokens: 10, ..Outlook::default() };
            weigh(here, &there, (&next, &Margin::default())).leaves
        };
        assert!(leaves(&here, 3_500), "too short to be cached");
        assert!(!leaves(&here, 4_500));
        assert!(leaves(&Side { warm_ppm: 0, ..here }, 4_500), "cold");
        let plain = Tariff { read: here.tariff.write, ..here.tariff };
        assert!(leaves(&Side { tariff: plain, ..here }, 4_500), "reads cost what writes cost");
    }

    #[test]
    fn the_seeds_credit_is_a_part_of_what_is_saved() {
        let here = side("claude-sonnet-4-5", (3_000, 15_000, 10), 50_000);
        let there = side("gpt-5.4", (2_500, 15_000, 10), 0);
        let leaves = |weight| weigh_by_credit(&here, &there, (&outlook(0), weight)).leaves;
        assert!(leaves(0) && leaves(100_000) && !leaves(500_000) && !leaves(1_000_000));
        let dead = Side { warm_ppm: 0, ..here };
        assert!(weigh_by_credit(&dead, &there, (&outlook(0), 500_000)).leaves, "nothing to credit");
    }

    proptest! {
        #[test]
        fn no_numbers_break_it(
            cached in any::<u64>(), prompt in 0u64..1 << 40, later in 0u64..1 << 20,
            price in 0i64..1 << 40, warm in 0u32..=WHOLE_PPM,
        ) {
            let mut here = side("claude", (1, 1, 10), cached);
            here.tariff.input = PicoUsdPerToken(price);
            here.warm_ppm = warm;
            let all = Outlook { prompt_tokens: prompt, output_tokens: 1, growth_tokens: 9, later_milli: later };
            let same = weigh(&here, &here, (&all, &Margin::default()));
            prop_assert!(same.next_here == same.next_there);
        }
    }
}
