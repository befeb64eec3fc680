//! Prices of one model and the cost of one usage.
//!
//! All in integers: 1e-12 USD for products, rounded up once to 1e-9 USD. Where prices come from, and
//! which model's price holds, is decided by `config` and `exchange`.

use crate::base::money::{NanoUsd, PicoUsd, PicoUsdPerToken};
use crate::usage::count::Usage;

/// What one token of each kind costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Input that was neither read from nor written to a prompt cache.
    pub input: PicoUsdPerToken,
    /// Output, hidden reasoning included.
    pub output: PicoUsdPerToken,
    /// Input served from a prompt cache.
    pub cache_read: PicoUsdPerToken,
    /// Input written to a prompt cache with the short life time (5 or 30 minutes).
    pub cache_write: PicoUsdPerToken,
    /// Input written to a prompt cache with the long life time (1 or 12 hours).
    pub cache_write_1h: PicoUsdPerToken,
}

/// The price of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// The ordinary rates.
    pub base: Rates,
    /// The dearer rates of the whole request when its input is longer than the threshold.
    pub long_context: Option<LongContext>,
    /// What each request costs beside its tokens.
    pub request: NanoUsd,
    /// What each run of a tool of the provider costs beside its tokens, where that is known.
    pub search: Option<NanoUsd>,
}

/// What one run of a provider's own tool costs beside its tokens where nothing else is said: the dearest
/// web search has 25 USD per thousand.
pub const SEARCH_FEE: NanoUsd = NanoUsd(25_000_000);

/// A long-context step: above `above_input_tokens` of input (cache kinds included), `rates` hold
/// for every token of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongContext {
    /// Input tokens up to which the ordinary rates hold.
    pub above_input_tokens: u64,
    /// The rates beyond.
    pub rates: Rates,
}

/// The rates of one model as an operator writes them: what is not written follows from the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotedRates {
    /// Plain input.
    pub input: PicoUsdPerToken,
    /// Output.
    pub output: PicoUsdPerToken,
    /// Cache reads; without it the price of plain input, since a discount is not a given.
    pub cache_read: Option<PicoUsdPerToken>,
    /// Short cache writes; without it 1.25 times plain input (Anthropic 5 minutes, `OpenAI` 30).
    pub cache_write: Option<PicoUsdPerToken>,
    /// Long cache writes; without it 1.6 times short ones, which is 2 times plain input.
    pub cache_write_1h: Option<PicoUsdPerToken>,
}

impl QuotedRates {
    /// The rates with all gaps filled, rounded up.
    pub fn rates(self) -> Rates {
        let cache_write = self.cache_write.unwrap_or_else(|| self.input.scaled_up(5, 4));
        Rates {
            input: self.input,
            output: self.output,
            cache_read: self.cache_read.unwrap_or(self.input),
            cache_write,
            cache_write_1h: self.cache_write_1h.unwrap_or_else(|| cache_write.scaled_up(8, 5)),
        }
    }
}

impl Rates {
    /// What `usage` costs, not yet rounded.
    pub fn exact(&self, usage: &Usage) -> PicoUsd {
        // Reasoning is a part of the output and has no rate of its own.
        PicoUsd::default()
            .plus(usage.input, self.input)
            .plus(usage.cache_read, self.cache_read)
            .plus(usage.cache_write, self.cache_write)
            .plus(usage.cache_write_1h, self.cache_write_1h)
            .plus(usage.output, self.output)
    }
}

impl Price {
    /// The rates that hold for a request with that much input, cache kinds included.
    pub fn rates(&self, input_tokens: u64) -> &Rates {
        match &self.long_context {
            Some(step) if input_tokens > step.above_input_tokens => &step.rates,
            _ => &self.base,
        }
    }

    /// What the tokens of `usage` cost, not yet rounded: for sums over the turns of one answer, which are
    /// rounded once like everything else. The fee of the request comes once, on top.
    pub fn exact(&self, usage: &Usage) -> PicoUsd {
        self.rates(usage.input_total()).exact(usage)
    }

    /// What each run of a tool of the provider costs beside its tokens.
    pub fn search_fee(&self) -> NanoUsd {
        self.search.unwrap_or(SEARCH_FEE)
    }

    /// Whether no request can cost more by this price than by the ordinary rates of `other`.
    pub fn is_at_most(&self, other: &Self) -> bool {
        let steps = [Some(&self.base), self.long_context.as_ref().map(|step| &step.rates)];
        let cheaper = |rates: &Rates| {
            rates.input <= other.base.input
                && rates.output <= other.base.output
                && rates.cache_read <= other.base.cache_read
                && rates.cache_write <= other.base.cache_write
                && rates.cache_write_1h <= other.base.cache_write_1h
        };
        self.request <= other.request
            && self.search_fee() <= other.search_fee()
            && steps.into_iter().flatten().all(cheaper)
    }

    /// What one request with that `usage` costs by this price, rounded up.
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        self.exact(usage).round_up().saturating_add(self.request)
    }

    /// What to book for `usage`: the provider's own figure where it gave one, else ours.
    pub fn charge(&self, usage: &Usage) -> Charge {
        Charge::new(usage.provider_cost, self.cost(usage))
    }
}

/// What to book, beside what our price table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The amount to book.
    pub cost: NanoUsd,
    /// The amount by our price table.
    pub table_cost: NanoUsd,
    /// The provider's figure and ours differ by more than 1 %: the table is wrong or stale.
    pub differs: bool,
}

impl Charge {
    /// Prefers the provider's figure over ours and compares the two.
    pub fn new(provider_cost: Option<NanoUsd>, table_cost: NanoUsd) -> Self {
        let cost = provider_cost.unwrap_or(table_cost);
        let gap = (i128::from(cost.0) - i128::from(table_cost.0)).abs();
        // Both were rounded up to a whole nano-dollar, so that 1 of them means nothing.
        let differs = gap > 1 && gap * 100 > i128::from(cost.0);
        Self { cost, table_cost, differs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn pico(value: i64) -> PicoUsdPerToken {
        PicoUsdPerToken(value)
    }

    #[test]
    fn an_answer_is_priced_kind_by_kind() {
        // Claude Sonnet: 3.00 in, 15.00 out, 0.30 cache reads, 3.75 and 6.00 cache writes.
        let quoted = QuotedRates {
            input: pico(3_000_000),
            output: pico(15_000_000),
            cache_read: Some(pico(300_000)),
            ..QuotedRates::default()
        };
        let price = Price { base: quoted.rates(), ..Price::default() };
        assert_eq!(price.base.cache_write, pico(3_750_000));
        assert_eq!(price.base.cache_write_1h, pico(6_000_000));
        let usage = Usage {
            input: 21,
            cache_read: 18_000,
            cache_write: 456,
            cache_write_1h: 1_592,
            output: 89,
            ..Usage::default()
        };
        // 63 + 5,400 + 1,710 + 9,552 + 1,335 millionths of a dollar.
        assert_eq!(price.cost(&usage), NanoUsd(18_060_000));
    }

    #[test]
    fn gaps_are_filled_upwards() {
        let rates = QuotedRates { input: pico(3), ..QuotedRates::default() }.rates();
        assert_eq!(
            (rates.cache_read, rates.cache_write, rates.cache_write_1h),
            (pico(3), pico(4), pico(7))
        );
        let quoted = QuotedRates {
            cache_write: Some(pico(10)),
            cache_write_1h: Some(pico(1)),
            ..QuotedRates::default()
        };
        assert_eq!(quoted.rates().cache_write_1h, pico(1));
    }

    #[test]
    fn long_context_counts_all_input_and_changes_every_rate() {
        let long = Rates { input: pico(2_000), output: pico(20_000), ..Rates::default() };
        let base = Rates { input: pico(1_000), output: pico(10_000), ..Rates::default() };
        let step = LongContext { above_input_tokens: 200, rates: long };
        let price = Price { base, long_context: Some(step), ..Price::default() };
        let usage = Usage { input: 100, cache_read: 100, output: 1, ..Usage::default() };
        assert_eq!(price.cost(&usage), NanoUsd(110));
        let usage = Usage { cache_write: 1, ..usage };
        assert_eq!(price.cost(&usage), NanoUsd(220));
    }

    #[test]
    fn the_providers_figure_wins_and_a_gap_is_told() {
        let table = NanoUsd(1_000_000);
        let charge = |cost| Charge::new(Some(NanoUsd(cost)), table);
        assert_eq!(charge(1_010_000).cost, NanoUsd(1_010_000));
        assert!(!charge(1_010_000).differs);
        assert!(charge(1_010_102).differs);
        assert!(charge(980_000).differs);
        assert!(charge(0).differs);
        assert!(!Charge::new(None, table).differs);
        assert!(!Charge::new(Some(NanoUsd(57)), NanoUsd(58)).differs);
        assert_eq!(charge(0).table_cost, table);
    }

    /// The reference: decimal strings multiplied digit by digit.
    mod by_hand {
        pub(super) fn sum(parts: &[(u64, i64)]) -> String {
            let mut digits = vec![0_u32; 60];
            for (tokens, price) in parts {
                let (a, b) = (reversed(&tokens.to_string()), reversed(&price.to_string()));
                for (i, x) in a.iter().enumerate() {
                    for (j, y) in b.iter().enumerate() {
                        digits[i + j] += x * y;
                    }
                }
                carry(&mut digits);
            }
            // Round up to thousands.
            if digits[..3].iter().any(|digit| *digit != 0) {
                digits[3] += 1;
                carry(&mut digits);
            }
            let text: String = digits[3..]
                .iter()
                .rev()
                .map(|digit| char::from_digit(*digit, 10).unwrap())
                .collect();
            text.trim_start_matches('0').to_owned()
        }

        fn reversed(text: &str) -> Vec<u32> {
            text.chars().rev().map(|c| c.to_digit(10).unwrap()).collect()
        }

        fn carry(digits: &mut [u32]) {
            for at in 0..digits.len() - 1 {
                digits[at + 1] += digits[at] / 10;
                digits[at] %= 10;
            }
        }
    }

    proptest! {
        #[test]
        fn costs_agree_with_long_multiplication(
            tokens in proptest::array::uniform5(0_u64..2_000_000_000),
            rates in proptest::array::uniform5(0_i64..2_000_000_000),
        ) {
            let [input, cache_read, cache_write, cache_write_1h, output] = tokens;
            let usage = Usage { input, cache_read, cache_write, cache_write_1h, output, ..Usage::default() };
            let base = Rates {
                input: pico(rates[0]),
                cache_read: pico(rates[1]),
                cache_write: pico(rates[2]),
                cache_write_1h: pico(rates[3]),
                output: pico(rates[4]),
            };
            let price = Price { base, ..Price::default() };
            let parts: Vec<_> = tokens.into_iter().zip(rates).collect();
            let reference = by_hand::sum(&parts);
            let ours = price.cost(&usage).0.to_string();
            let ours = ours.trim_start_matches('0');
            let reference: i128 = format!("0{reference}").parse().unwrap();
            prop_assert_eq!(format!("0{ours}").parse::<i128>().unwrap(), reference.min(i64::MAX.into()));
        }

        #[test]
        fn no_usage_overflows(tokens in any::<u64>(), rate in 0..=i64::MAX) {
            let usage = Usage { input: tokens, output: tokens, cache_read: tokens, ..Usage::default() };
            let rates = QuotedRates { input: pico(rate), output: pico(rate), ..QuotedRates::default() };
            let price = Price { base: rates.rates(), ..Price::default() };
            prop_assert!(price.cost(&usage) >= NanoUsd::ZERO);
        }
    }
}
