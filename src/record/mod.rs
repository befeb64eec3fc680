//! The one wide fact that a request leaves behind. Metrics, the access log and (later) the ledger are
//! all made from it; nothing else is told about a request.
//!
//! It holds names, counts and times, never text of a prompt or an answer, nor a key.

#[cfg(test)]
pub(crate) mod sample;

use std::sync::Arc;

use crate::base::id::RequestId;
use crate::base::money::NanoUsd;
use crate::base::surface::Surface;
use crate::usage::count::Usage;

/// Everything worth knowing about one finished exchange.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one exchange")]
pub struct Record {
    /// The id shown to the client as `x-gateway-request-id`.
    pub request_id: RequestId,
    /// When the request head had been read, in milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// From the request head to the last byte of the answer, in microseconds.
    pub duration_us: u64,
    /// From the request head to the first body byte sent to the client, in microseconds.
    pub first_byte_us: Option<u64>,
    /// The part of the time up to the first byte that was spent in the gateway itself: all of it
    /// less the wait for the client's body and for upstreams, in microseconds.
    pub overhead_us: u64,
    /// Which API was spoken; `None` for a path that is none.
    pub surface: Option<Surface>,
    /// The agent that the request was counted to; empty before it was known.
    pub agent: Arc<str>,
    /// The id that the request named, where no agent of that id is configured.
    pub agent_alias: Option<Arc<str>>,
    /// The client's own session id, where it sent one.
    pub session: Option<Arc<str>>,
    /// The model that the client named; empty if none. Unbounded input: label with care.
    pub requested_model: Arc<str>,
    /// The configured model that answered.
    pub served_model: Option<Arc<str>>,
    /// The provider that answered, or was asked last: what an attempt costs is its, shown or not.
    pub provider: Option<Arc<str>>,
    /// How the model was chosen: `named`, `alias`, `wildcard`, or the name of a strategy.
    pub decision: &'static str,
    /// The status sent to the client; 0 if it left before any.
    pub status: u16,
    /// The code of our own refusal, if the answer was one.
    pub fault: Option<&'static str>,
    /// Every request sent upstream, in order.
    pub attempts: Vec<AttemptRecord>,
    /// Whether the answer came from another model than the first one chosen.
    pub switched: bool,
    /// Whether a `gateway_notice` was written.
    pub notice: bool,
    /// Whether the answer was a stream.
    pub streaming: bool,
    /// How the exchange ended.
    pub end: End,
    /// How far the bound that was held for the last attempt can be trusted: `hard`, `counted`, `soft`.
    pub bound: Option<&'static str>,
    /// What the answer consumed, where any of it is known.
    pub usage: Option<Usage>,
    /// Whether that is a report or a guess.
    pub usage_source: UsageSource,
    /// What it cost. The provider's own figure where it gave one, else by our price table.
    pub cost: NanoUsd,
    /// What our price table says, to be compared with the provider's figure.
    pub table_cost: NanoUsd,
    /// A part of the consumption has no price in our table, and the provider names none.
    pub unpriced: bool,
    /// Whether the audit keeps it.
    pub audited: bool,
    /// SHA-256 of the prompt as it came, where it is audited and has one.
    pub prompt_sha256: Option<[u8; 32]>,
    /// How a strategy chose, where one did.
    pub choice: Option<Box<ChoiceRecord>>,
    /// What mutators saved of the request's input, in tokens (an estimate from bytes).
    pub saved_tokens: u64,
    /// What those tokens would have cost, at the average price of this request's input: an estimate.
    pub saved_cost: NanoUsd,
    /// The names of the mutators that changed the request, with commas between; empty if none did.
    pub mutators: &'static str,
    /// What the guards found, where they found anything.
    pub guard: Option<Box<GuardRecord>>,
    /// Bytes of the request body after decoding.
    pub request_bytes: u64,
    /// Bytes of the answer's body as sent to the client.
    pub response_bytes: u64,
}

impl Record {
    /// Whether the client got a complete answer that is no error.
    pub fn is_ok(&self) -> bool {
        (200..400).contains(&self.status) && matches!(self.end, End::Complete | End::Local)
    }

    /// What went wrong, in one word: our refusal, how the answer ended, or that the upstream's own error
    /// was passed on.
    pub fn error_type(&self) -> Option<&'static str> {
        match (self.fault, self.end) {
            (Some(fault), _) => Some(fault),
            _ if self.is_ok() => None,
            (None, End::Complete | End::Local) => Some("upstream_status"),
            (None, end) => Some(end.name()),
        }
    }

    /// How often another model was tried after a failure: by the strategy's count, else by the attempts. Another
    /// key of the same model is none.
    pub fn escalations(&self) -> u64 {
        let hops = || hops(&self.attempts).count() as u64;
        self.choice.as_ref().map_or_else(hops, |choice| u64::from(choice.escalations))
    }
}

/// The attempts that were followed by one at another model, each with that one.
pub fn hops(attempts: &[AttemptRecord]) -> impl Iterator<Item = (&AttemptRecord, &AttemptRecord)> {
    let pairs = attempts.iter().zip(attempts.iter().skip(1));
    pairs.filter(|(from, to)| from.model != to.model)
}

/// How a strategy chose among the models (S2-18). Words of fixed lists, names from the configuration, numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChoiceRecord {
    /// What the request is about: `code`, `reason`, `extract`, … (S2-02), or a task of the learned taxonomy.
    pub task_type: Arc<str>,
    /// `easy`, `medium` or `hard`.
    pub difficulty: &'static str,
    /// The prompt's tokens, estimated.
    pub token_count: u64,
    /// Whether it offers tools.
    pub has_tools: bool,
    /// Whether it holds images.
    pub has_images: bool,
    /// `en`, `he`, …
    pub language: &'static str,
    /// The strategy that chose.
    pub strategy: &'static str,
    /// What it chose, before health, money and pins were looked at.
    pub model: Arc<str>,
    /// Why: the rule or the comparison, in a few words without any text of the request.
    pub reason: Arc<str>,
    /// How sure it was, in millionths.
    pub confidence_ppm: u32,
    /// How the session's pin took part: one of S2-16's words; empty where sessions are not pinned.
    pub pin_state: &'static str,
    /// The first half of the session's key, where it was looked at; 0 = it was not.
    pub session_key: u64,
    /// What staying with a warm prompt cache saved against the strategy's choice.
    pub pin_saved: NanoUsd,
    /// How often a stronger tier was tried after a failure.
    pub escalations: u32,
}

/// What the guards found in a request and its answer. Rules and counts, never text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardRecord {
    /// What was done: `observe`, `sanitize`, `redact` or `block`; the strongest of all.
    pub action: &'static str,
    /// The rules and detectors that fired, each once, in the order of their first find.
    pub rules: Vec<&'static str>,
    /// The highest score of the screening, in thousandths.
    pub score: i32,
    /// Each rule and detector with what it led to (`observe`, `sanitize`, `redact`, `block`), once per request.
    pub verdicts: Vec<(&'static str, &'static str)>,
    /// How often a guard could not do its work.
    pub failures: u32,
    /// Finds that were replaced in the answer.
    pub redactions: u32,
    /// Whether the canary was seen in the answer.
    pub canary_leaked: bool,
}

impl GuardRecord {
    /// Actions from the weakest to the strongest.
    const STRENGTH: [&'static str; 6] = ["off", "pass", "observe", "sanitize", "redact", "block"];

    /// What was found here and there, as one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let strength = |action: &str| Self::STRENGTH.iter().position(|it| *it == action);
        if strength(other.action) > strength(self.action) {
            self.action = other.action;
        }
        for rule in other.rules {
            if !self.rules.contains(&rule) {
                self.rules.push(rule);
            }
        }
        for verdict in other.verdicts {
            if !self.verdicts.contains(&verdict) {
                self.verdicts.push(verdict);
            }
        }
        self.score = self.score.max(other.score);
        self.failures = self.failures.saturating_add(other.failures);
        self.redactions = self.redactions.saturating_add(other.redactions);
        self.canary_leaked |= other.canary_leaked;
        self
    }
}

/// One request to one endpoint.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// The configured model.
    pub model: Arc<str>,
    /// Its provider.
    pub provider: Arc<str>,
    /// What became of it.
    pub outcome: Outcome,
    /// The upstream's status; 0 if there was none.
    pub status: u16,
    /// From the choice of the endpoint to the outcome, in microseconds.
    pub duration_us: u64,
}

/// What became of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its answer went to the client, whatever its status.
    Answered,
    /// A status that calls for the next candidate.
    RetryStatus,
    /// An error code inside a 200 answer, or an error as the first event of a 200 stream.
    ErrorInside,
    /// Our credential was refused.
    AuthFailed,
    /// No connection.
    ConnectFailed,
    /// Connected, but no first byte in time.
    TimedOut,
    /// The connection broke, or what came was not HTTP.
    Broken,
    /// The guard kept its answer back.
    Blocked,
    /// The client left.
    ClientGone,
}

impl Outcome {
    /// The name used in logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::RetryStatus => "retry_status",
            Self::ErrorInside => "error_inside",
            Self::AuthFailed => "auth_failed",
            Self::ConnectFailed => "connect_failed",
            Self::TimedOut => "timed_out",
            Self::Broken => "broken",
            Self::Blocked => "blocked",
            Self::ClientGone => "client_gone",
        }
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The answer was complete.
    Complete,
    /// We refused, or answered ourselves.
    Local,
    /// The stream carried an error event.
    ErrorEvent,
    /// The upstream broke off or fell silent in the middle.
    Cut,
    /// The client left before the end.
    ClientGone,
    /// The process was stopped while the exchange ran.
    Dropped,
}

impl End {
    /// The name used in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Local => "local",
            Self::ErrorEvent => "error_event",
            Self::Cut => "cut",
            Self::ClientGone => "client_gone",
            Self::Dropped => "dropped",
        }
    }
}

/// Where the usage of a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UsageSource {
    /// Nothing was consumed, as far as we know (no attempt, or only refused ones).
    None,
    /// The upstream reported it, completely.
    Exact,
    /// Reported in part or not at all, and filled up by an estimate.
    Estimated,
}

impl UsageSource {
    /// The name used in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Exact => "exact",
            Self::Estimated => "estimated",
        }
    }
}
