//! The record of all tests with what only this room looks at: how the model was chosen, and what that saved.
//! Not in the program.

use crate::base::money::NanoUsd;
use crate::record::{AttemptRecord, ChoiceRecord, Record, sample};
use crate::usage::count::Usage;

/// A stream that `gpt` of `broker` refused with 429 and `claude` answered, both chosen by rules.
pub(crate) fn record() -> Record {
    let plain = sample::record();
    let of_broker = |attempt: AttemptRecord| AttemptRecord { provider: "broker".into(), ..attempt };
    Record {
        provider: Some("broker".into()),
        decision: "rule_based",
        attempts: plain.attempts.into_iter().map(of_broker).collect(),
        usage: plain.usage.map(|usage| Usage { reasoning: 0, provider_cost: None, ..usage }),
        choice: Some(Box::new(ChoiceRecord {
            task_type: "code".into(),
            difficulty: "hard",
            token_count: 130,
            language: "en",
            strategy: "rule_based",
            model: "gpt".into(),
            reason: "hard code".into(),
            confidence_ppm: 900_000,
            escalations: 1,
            pin_state: "fresh",
            ..ChoiceRecord::default()
        })),
        saved_tokens: 10,
        saved_cost: NanoUsd::ZERO,
        bound: None,
        ..plain
    }
}
