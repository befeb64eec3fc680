//! What a request is expected to cost at a model: an outlook for comparing models, never a bound for holding
//! money (`usage::bound`) nor a bill (`settle`).

use crate::base::money::NanoUsd;
use crate::config::catalog::{Catalog, Model};
use crate::usage::count::Usage;
use crate::usage::price::Price;

/// What a request is expected to consume at one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Tokens of its input, those in a cache among them.
    pub input_tokens: u64,
    /// How many of these lie in the model's prompt cache already.
    pub warm_tokens: u64,
    /// Tokens of its answer.
    pub output_tokens: u64,
}

impl Outlook {
    /// What that costs, rounded up once. Input that is not warm counts as plain: whether it will be written to a
    /// cache, and at what price, nobody knows before.
    pub fn cost(&self, price: &Price) -> NanoUsd {
        let warm = self.warm_tokens.min(self.input_tokens);
        let usage = Usage {
            input: self.input_tokens - warm,
            cache_read: warm,
            output: self.output_tokens,
            ..Usage::default()
        };
        price.cost(&usage)
    }
}

/// The price by which a model is compared: one without any counts as dear as the dearest, so that nobody is
/// chosen for being unknown.
pub fn price_of(model: &Model, catalog: &Catalog) -> Price {
    if model.priced {
        return model.price;
    }
    Price { base: catalog.dearest, request: catalog.dearest_request, ..Price::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::money::PicoUsdPerToken;
    use crate::usage::price::{QuotedRates, Rates};
    use proptest::prelude::*;

    fn rates() -> Rates {
        let quoted = QuotedRates {
            input: PicoUsdPerToken(3_000_000),
            output: PicoUsdPerToken(15_000_000),
            cache_read: Some(PicoUsdPerToken(300_000)),
            ..QuotedRates::default()
        };
        quoted.rates()
    }

    #[test]
    fn a_warm_prefix_is_cheaper_by_its_own_rate() {
        let price = Price { base: rates(), request: NanoUsd(7), ..Price::default() };
        let cold = Outlook { input_tokens: 10_000, warm_tokens: 0, output_tokens: 100 };
        assert_eq!(cold.cost(&price), NanoUsd(30_000_000 + 1_500_000 + 7));
        let warm = Outlook { warm_tokens: 9_000, ..cold };
        assert_eq!(warm.cost(&price), NanoUsd(3_000_000 + 2_700_000 + 1_500_000 + 7));
        let too_warm = Outlook { warm_tokens: 99_000, ..cold };
        assert_eq!(too_warm.cost(&price), NanoUsd(3_000_000 + 1_500_000 + 7));
    }

    proptest! {
        #[test]
        fn more_of_anything_never_costs_less(input in 0..1_000_000_u64, warm in 0..1_000_000_u64, output in 0..100_000_u64) {
            let price = Price { base: rates(), ..Price::default() };
            let outlook = Outlook { input_tokens: input, warm_tokens: warm, output_tokens: output };
            let more = Outlook { input_tokens: input + 1, output_tokens: output + 1, ..outlook };
            prop_assert!(more.cost(&price) >= outlook.cost(&price));
            let warmer = Outlook { warm_tokens: warm + 1, ..outlook };
            prop_assert!(warmer.cost(&price) <= outlook.cost(&price));
        }
    }
}
