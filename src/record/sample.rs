//! A `Record` with something in every field, for tests and timings. Not in the program.

use crate::base::id::RequestId;
use crate::base::money::NanoUsd;
use crate::base::surface::Surface;
use crate::record::{AttemptRecord, End, Outcome, Record, UsageSource};
use crate::usage::count::Usage;

/// A stream that `gpt` refused with 429 and `claude` answered.
pub(crate) fn record() -> Record {
    Record {
        request_id: RequestId::from_bits(0x1f),
        started_unix_ms: 1_700_000_000_007,
        duration_us: 2_500_500,
        first_byte_us: Some(300_000),
        overhead_us: 45,
        surface: Some(Surface::Chat),
        agent: "agent-1".into(),
        agent_alias: None,
        session: Some("s-1".into()),
        requested_model: "auto".into(),
        served_model: Some("claude".into()),
        provider: Some("openrouter".into()),
        decision: "round_robin",
        status: 200,
        fault: None,
        attempts: vec![
            attempt("gpt", Outcome::RetryStatus, 429),
            attempt("claude", Outcome::Answered, 200),
        ],
        switched: true,
        notice: true,
        streaming: true,
        end: End::Complete,
        bound: Some("hard"),
        usage: Some(Usage {
            input: 100,
            cache_read: 20,
            cache_write: 3,
            cache_write_1h: 4,
            output: 50,
            reasoning: 7,
            provider_cost: Some(NanoUsd(570_000)),
        }),
        usage_source: UsageSource::Exact,
        cost: NanoUsd(570_000),
        table_cost: NanoUsd(570_000),
        unpriced: false,
        audited: false,
        prompt_sha256: None,
        choice: None,
        saved_tokens: 0,
        saved_cost: NanoUsd::ZERO,
        mutators: "",
        guard: None,
        request_bytes: 1_234,
        response_bytes: 5_678,
    }
}

/// An attempt at one of `openrouter`'s models.
pub(crate) fn attempt(model: &str, outcome: Outcome, status: u16) -> AttemptRecord {
    AttemptRecord {
        model: model.into(),
        provider: "openrouter".into(),
        outcome,
        status,
        duration_us: 150_250,
    }
}
