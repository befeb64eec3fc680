//! What is saved is measured against always asking the dearest model.

use std::sync::Arc;

use crate::base::money::NanoUsd;
use crate::config::catalog::Catalog;
use crate::usage::count::Usage;
use crate::usage::price::Price;

/// The dearest model of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Yardstick {
    /// Its id.
    pub model: Arc<str>,
    price: Price,
}

impl Yardstick {
    /// The enabled model whose token of input and token of output cost most together; `None` if no price is
    /// known.
    pub fn of(catalog: &Catalog) -> Option<Self> {
        let priced = catalog
            .models()
            .iter()
            .filter(|model| model.enabled && model.priced && !model.is_wildcard());
        // The first of equals, as the file has them.
        let dearest =
            priced.reduce(
                |dearest, model| {
                    if rate(&model.price) > rate(&dearest.price) { model } else { dearest }
                },
            );
        dearest.map(|model| Self { model: Arc::clone(&model.id), price: model.price })
    }

    /// What that usage would have cost there.
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        self.price.cost(usage)
    }

    #[cfg(test)]
    pub(crate) fn sample() -> Self {
        use crate::base::money::PicoUsdPerToken;
        use crate::usage::price::Rates;
        let pico = |usd: i64| PicoUsdPerToken(usd * 1_000_000);
        let base =
            Rates { input: pico(10), output: pico(50), cache_read: pico(1), ..Rates::default() };
        Self { model: "oracle".into(), price: Price { base, ..Price::default() } }
    }
}

fn rate(price: &Price) -> i64 {
    price.base.input.0.saturating_add(price.base.output.0)
}
