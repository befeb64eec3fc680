//! The metrics of mutators: what they saved, as far as it can be estimated.

use prometheus::{Error, IntCounterVec, Registry};

use crate::mutate::tool_results;
use crate::record::Record;
use crate::telemetry::series::vec;

/// What mutators saved.
pub struct Savings {
    tokens: IntCounterVec,
    cost: IntCounterVec,
}

impl Savings {
    /// Registers them.
    pub(super) fn register(to: &Registry) -> Result<Self, Error> {
        let mutator = &["mutator"];
        Ok(Self {
            tokens: vec(
                to,
                "weir_mutator_saved_tokens_total",
                "Tokens of input that mutators saved, estimated as a quarter of the bytes",
                mutator,
            )?,
            cost: vec(
                to,
                "weir_mutator_saved_nanodollars_total",
                "What they would have cost at the average price of their request's input",
                mutator,
            )?,
        })
    }

    /// Counts what one request saved.
    pub(super) fn observe(&self, record: &Record) {
        if record.saved_tokens == 0 {
            return;
        }
        let mutator = [tool_results::NAME];
        self.tokens.with_label_values(&mutator).inc_by(record.saved_tokens);
        let cost = u64::try_from(record.saved_cost.0).unwrap_or(0);
        self.cost.with_label_values(&mutator).inc_by(cost);
    }
}
