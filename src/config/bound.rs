//! The range and default of every number in the configuration, each with its unit.

use std::fmt;

/// What a number may be.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// What holds if the key is not given.
    pub default: u64,
    /// What is counted.
    pub unit: &'static str,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {} {}", self.min, self.max, self.unit)
    }
}

const fn bound(min: u64, max: u64, default: u64, unit: &'static str) -> Bound {
    Bound { min, max, default, unit }
}

const HOUR_MS: u64 = 3_600_000;

/// `server.threads`; 0 = one per core.
pub const THREADS: Bound = bound(0, 1_024, 0, "threads");
/// `server.body_bytes_max`.
pub const BODY_BYTES: Bound = bound(1_024, 1 << 30, 32 << 20, "bytes");
/// `server.grace_seconds`.
pub const GRACE_SECONDS: Bound = bound(0, 3_600, 30, "seconds");
/// `server.requests_max`.
pub const REQUESTS: Bound = bound(1, 1_000_000, 8_192, "requests at the same time");
/// `server.streams_max`.
pub const STREAMS: Bound = bound(1, 1_000_000, 8_192, "streams at the same time");
/// `server.connections_max`.
pub const CONNECTIONS: Bound = bound(1, 1_000_000, 16_384, "connections at the same time");
/// `server.drain_ms`; 0 = close at once.
pub const DRAIN_MS: Bound = bound(0, 60_000, 2_000, "milliseconds");
/// `providers.<name>.connect_timeout_ms`.
pub const CONNECT_MS: Bound = bound(1, 600_000, 5_000, "milliseconds");
/// `providers.<name>.first_byte_timeout_ms`.
pub const FIRST_BYTE_MS: Bound = bound(1, HOUR_MS, 60_000, "milliseconds");
/// The same from the environment (S4-13): below a second it was a slip.
pub const SEED_TIMEOUT_MS: Bound = bound(1_000, HOUR_MS, 60_000, "milliseconds");
/// `providers.<name>.idle_timeout_ms`.
pub const IDLE_MS: Bound = bound(1, HOUR_MS, 120_000, "milliseconds");
/// `models[].context_tokens`; without it, it is not known.
pub const CONTEXT_TOKENS: Bound = bound(1, 1_000_000_000, 0, "tokens");
/// `models[].output_tokens_max`; without it, it is not known.
pub const OUTPUT_TOKENS: Bound = bound(1, 1_000_000_000, 0, "tokens");
/// `models[].price.long_context.above_tokens`; has no default.
pub const ABOVE_TOKENS: Bound = bound(1, 1_000_000_000, 0, "tokens");
/// `routing.retry_statuses[]`.
pub const RETRY_STATUS: Bound = bound(100, 999, 0, "as status codes");
/// `routing.attempts_max`.
pub const ATTEMPTS: Bound = bound(1, 16, 4, "attempts");
/// `routing.max_escalations`; 0 = a failure is final.
pub const ESCALATIONS: Bound = bound(0, 15, 2, "escalations");
/// `routing.cooldown_ms`; 0 = endpoints rest only when they ask for it.
pub const COOLDOWN_MS: Bound = bound(0, 600_000, 10_000, "milliseconds");
/// `budget.output_floor_tokens`.
pub const OUTPUT_FLOOR_TOKENS: Bound = bound(1, 1_000_000, 256, "tokens");
/// `budget.image_tokens_max`, `models[].image_tokens_max`. The default is above the dearest image in the
/// documents of the large providers.
pub const IMAGE_TOKENS: Bound = bound(1, 1_000_000_000, 40_000, "tokens");
/// `budget.hysteresis_percent`; 0 = tiers may flap.
pub const HYSTERESIS_PERCENT: Bound = bound(0, 50, 2, "percent of the limit");
/// `agents.<id>.breaker.same_request_max`, `same_tool_call_max`; without them, nothing is counted. One
/// is no repetition.
pub const SAME_MAX: Bound = bound(2, 1_000_000, 0, "times in one window");
/// `agents.<id>.breaker.window_seconds`.
pub const WINDOW_SECONDS: Bound = bound(1, 86_400, 300, "seconds");
/// `agents.<id>.breaker.turns_per_session_max`; without it, turns are not counted.
pub const TURNS_MAX: Bound = bound(1, 1_000_000, 0, "requests of one session");
/// `audit.retention_days`; 0 = for ever.
pub const RETENTION_DAYS: Bound = bound(0, 36_500, 30, "days");
/// `pinning.hard_window_s`; 0 = a strategy is always asked.
pub const HARD_WINDOW_S: Bound = bound(0, 86_400, 300, "seconds");
/// `pinning.soft_window_s`.
pub const SOFT_WINDOW_S: Bound = bound(0, 604_800, 1_800, "seconds");
/// `pinning.expected_turns`.
pub const EXPECTED_TURNS: Bound = bound(0, 10_000, 8, "turns");
/// `pinning.cache_ttl_s`, `models[].cache_ttl_s`; without them, by the family of the model. 0 = never cached.
pub const CACHE_TTL_S: Bound = bound(0, 604_800, 0, "seconds");
/// `console.sync_interval_seconds`.
pub const SYNC_INTERVAL_SECONDS: Bound = bound(1, 86_400, 30, "seconds");
/// `mutators.tool_results.min_chars`.
pub const TOOL_RESULT_CHARS: Bound = bound(100, 1_000_000, 500, "characters");
