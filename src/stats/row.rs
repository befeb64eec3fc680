//! One request as the sums and the table of recent requests see it: names of bounded length, counts, times.

use std::sync::Arc;

use crate::base::id::RequestId;
use crate::base::limit::STATS_NAME_BYTES_MAX;
use crate::base::money::NanoUsd;
use crate::base::surface::Surface;
use crate::record::{AttemptRecord, ChoiceRecord, GuardRecord, Outcome, Record};
use crate::routing::strategy::Strategy;
use crate::stats::yardstick::Yardstick;
use crate::wire::object::Object;

/// One request.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its number in the order of the ends; the first has 1.
    pub seq: u64,
    /// When it ended, in milliseconds since the Unix epoch.
    pub ended_ms: u64,
    /// When its head had been read, by the same clock.
    pub started_ms: u64,
    /// Its id.
    pub request_id: RequestId,
    /// Which API it spoke.
    pub surface: Option<Surface>,
    /// Who asked; empty if that was never known.
    pub agent: Arc<str>,
    /// The client's session.
    pub session: Option<Arc<str>>,
    /// The model that the client named.
    pub requested: Arc<str>,
    /// The model that answered, or else the last one tried.
    pub model: Option<Arc<str>>,
    /// Its provider.
    pub provider: Option<Arc<str>>,
    /// How the model was chosen, where no strategy chose.
    pub decision: &'static str,
    /// How a strategy chose.
    pub choice: Option<Box<ChoiceRecord>>,
    /// Every model tried, in order.
    pub tried: Box<[AttemptRecord]>,
    /// How often another model had to be tried.
    pub escalations: u64,
    /// Whether the client got a complete answer that is no error.
    pub is_ok: bool,
    /// What went wrong.
    pub error: Option<&'static str>,
    /// The status sent.
    pub status: u16,
    /// Whether the answer was a stream.
    pub streaming: bool,
    /// From the head to the last byte, in microseconds.
    pub latency_us: u64,
    /// From the head to the first byte of the answer, in microseconds.
    pub first_byte_us: Option<u64>,
    /// All input tokens.
    pub prompt: u64,
    /// Those of them that came out of a prompt cache.
    pub cached: u64,
    /// Output tokens.
    pub completion: u64,
    /// Tokens of input that mutators saved.
    pub saved_tokens: u64,
    /// Which mutators.
    pub mutators: &'static str,
    /// What it cost.
    pub cost: NanoUsd,
    /// What it would have cost at the dearest model.
    pub baseline: NanoUsd,
    /// What the guards found.
    pub guard: Option<Box<GuardRecord>>,
}

/// Whether a record is of a request for a model: one that was sent to a provider, or was refused before.
pub fn counts(record: &Record) -> bool {
    !record.attempts.is_empty() || (record.surface.is_some() && record.fault.is_some())
}

impl Row {
    /// The row of a record that ended at that time.
    pub fn of(record: &Record, yardstick: Option<&Yardstick>, ended_ms: u64) -> Self {
        let last = record.attempts.last();
        let model = record.served_model.as_ref().or(last.map(|attempt| &attempt.model));
        // What goes to a provider without a model's name belongs to no model.
        let model = model.filter(|model| !model.is_empty());
        let provider = record.provider.as_ref().or(last.map(|attempt| &attempt.provider));
        let usage = record.usage.unwrap_or_default();
        let baseline = match (yardstick, &record.usage) {
            (Some(yardstick), Some(usage)) if !record.unpriced => yardstick.cost(usage),
            // What is not known cannot have been saved.
            _ => record.cost,
        };
        Self {
            seq: 0,
            ended_ms,
            started_ms: record.started_unix_ms,
            request_id: record.request_id,
            surface: record.surface,
            agent: short(&record.agent),
            session: record.session.as_ref().map(short),
            requested: short(&record.requested_model),
            model: model.map(short),
            provider: provider.map(short),
            decision: record.decision,
            choice: record.choice.clone(),
            tried: record.attempts.as_slice().into(),
            escalations: record.escalations(),
            is_ok: record.is_ok(),
            error: record.error_type(),
            status: record.status,
            streaming: record.streaming,
            latency_us: record.duration_us,
            first_byte_us: record.first_byte_us,
            prompt: usage.input_total(),
            cached: usage.cache_read,
            completion: usage.output,
            saved_tokens: record.saved_tokens,
            mutators: record.mutators,
            cost: record.cost,
            baseline,
            guard: record.guard.clone(),
        }
    }

    /// The strategy that chose; `None` where the client had named a model.
    pub fn strategy(&self) -> Option<&'static str> {
        let chosen = self.choice.as_ref().map(|choice| choice.strategy);
        let decision = || Strategy::from_name(self.decision).map(Strategy::name);
        chosen.filter(|strategy| !strategy.is_empty()).or_else(decision)
    }

    /// The row as JSON, in the words of the request log (S2-18).
    pub fn json(&self) -> String {
        let choice = self.choice.as_deref();
        let ms = |ms: u64| i64::try_from(ms).ok();
        let object = Object::default()
            .raw("seq", &self.seq.to_string())
            .time("ts", ms(self.started_ms))
            .time("ended", ms(self.ended_ms))
            .text("request_id", &self.request_id.to_string())
            .text("agent", &self.agent);
        let object = text_or_null(object, "session_id", self.session.as_deref());
        let object = text_or_null(object, "surface", self.surface.map(Surface::name))
            .text("requested_model", &self.requested);
        let object = text_or_null(object, "final_model", self.model.as_deref());
        let object = text_or_null(object, "provider", self.provider.as_deref());
        let object = text_or_null(object, "task_type", choice.map(|choice| &*choice.task_type));
        let object = text_or_null(object, "difficulty", choice.map(|choice| choice.difficulty))
            .text("router", self.strategy().unwrap_or(self.decision));
        let object = text_or_null(object, "decision_model", choice.map(|choice| &*choice.model));
        let reason = choice.map_or(self.decision, |choice| &*choice.reason);
        let confidence = choice.map(|choice| u64::from(choice.confidence_ppm));
        let object = object
            .text("decision_reason", reason)
            .raw("confidence", &confidence.map_or_else(|| "null".to_owned(), |ppm| decimal(ppm, 6)))
            .text("mutator", self.mutators);
        let object = text_or_null(object, "pin_state", choice.map(|choice| choice.pin_state));
        self.outcome(object)
    }

    fn outcome(&self, object: Object) -> String {
        let quoted = |text: &str| format!("\"{}\"", escaped(text));
        let tried: Vec<String> = self.tried.iter().map(|one| quoted(&one.model)).collect();
        let attempts: Vec<String> = self.tried.iter().map(attempt_json).collect();
        let object = object
            .raw("models_tried", &format!("[{}]", tried.join(",")))
            .raw("attempts", &format!("[{}]", attempts.join(",")))
            .raw("escalation_count", &self.escalations.to_string())
            .flag("ok", self.is_ok)
            .raw("status", &self.status.to_string())
            .flag("streaming", self.streaming);
        let first_byte = self.first_byte_us.map_or_else(|| "null".to_owned(), millis);
        let object = text_or_null(object, "error_type", self.error)
            .raw("latency_ms", &millis(self.latency_us))
            .raw("ttft_ms", &first_byte)
            .raw("prompt_tokens", &self.prompt.to_string())
            .raw("completion_tokens", &self.completion.to_string())
            .raw("cached_tokens", &self.cached.to_string())
            .usd("cost_usd", Some(self.cost))
            .usd("baseline_usd", Some(self.baseline));
        let guard = self.guard.as_deref();
        let rules: Vec<String> =
            guard.iter().flat_map(|guard| &guard.rules).map(|rule| quoted(rule)).collect();
        text_or_null(object, "guard_action", guard.map(|guard| guard.action))
            .raw("guard_rules", &format!("[{}]", rules.join(",")))
            .end()
    }
}

/// Why the next model had to be tried: the status, or what became of the attempt.
pub fn trigger(attempt: &AttemptRecord) -> Arc<str> {
    match (attempt.outcome, attempt.status) {
        (Outcome::RetryStatus, status @ 1..) => status.to_string().into(),
        (outcome, _) => outcome.name().into(),
    }
}

fn attempt_json(attempt: &AttemptRecord) -> String {
    Object::default()
        .text("model", &attempt.model)
        .text("provider", &attempt.provider)
        .text("outcome", attempt.outcome.name())
        .raw("status", &attempt.status.to_string())
        .raw("ms", &millis(attempt.duration_us))
        .end()
}

fn escaped(text: &str) -> String {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    crate::wire::json::quote_into(text, &mut quoted);
    let quoted = String::from_utf8_lossy(&quoted);
    quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned()
}

fn text_or_null(object: Object, name: &str, text: Option<&str>) -> Object {
    match text {
        Some(text) => object.text(name, text),
        None => object.raw(name, "null"),
    }
}

/// A name of bounded length: clients may send any.
fn short(name: &Arc<str>) -> Arc<str> {
    if name.len() <= STATS_NAME_BYTES_MAX {
        return Arc::clone(name);
    }
    let end = name.floor_char_boundary(STATS_NAME_BYTES_MAX);
    format!("{}…", &name[..end]).into()
}

/// Microseconds as milliseconds with one digit after the point.
pub fn millis(us: u64) -> String {
    decimal((us + 50) / 100, 1)
}

/// A whole number of units of 10^-`digits`, as a decimal.
pub fn decimal(value: u64, digits: u32) -> String {
    let unit = 10_u64.pow(digits);
    let (whole, part) = (value / unit, value % unit);
    let width = digits as usize;
    format!("{whole}.{part:0width$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::sample;
    use serde_json::{Value, json};

    fn shown(record: &Record) -> Value {
        let yardstick = Yardstick::sample();
        serde_json::from_str(&Row::of(record, Some(&yardstick), 7).json()).unwrap()
    }

    #[test]
    fn a_row_speaks_the_words_of_the_log() {
        let row = shown(&sample::record());
        assert_eq!(row["models_tried"], json!(["gpt", "claude"]));
        assert_eq!((&row["final_model"], &row["router"]), (&json!("claude"), &json!("rule_based")));
        assert_eq!((&row["confidence"], &row["pin_state"]), (&json!(0.9), &json!("fresh")));
        assert_eq!((&row["latency_ms"], &row["ttft_ms"]), (&json!(2500.5), &json!(300.0)));
        assert_eq!((&row["prompt_tokens"], &row["cached_tokens"]), (&json!(127), &json!(20)));
        assert_eq!(row["attempts"][0]["outcome"], "retry_status");
        assert_eq!(row["escalation_count"], 1);
        assert_eq!((&row["cost_usd"], &row["baseline_usd"]), (&json!(0.00057), &json!(0.00352)));
        assert_eq!((&row["guard_action"], &row["guard_rules"]), (&Value::Null, &json!([])));
    }

    #[test]
    fn what_is_missing_is_null_and_what_is_too_long_is_cut() {
        let mut record = sample::record();
        record.choice = None;
        record.decision = "named";
        record.requested_model = "\u{e9}\"\n".repeat(500).into();
        record.guard = Some(Box::new(GuardRecord {
            action: "block",
            rules: vec!["injection", "pii"],
            ..GuardRecord::default()
        }));
        let row = shown(&record);
        assert_eq!((&row["task_type"], &row["confidence"]), (&Value::Null, &Value::Null));
        assert_eq!((&row["router"], &row["decision_reason"]), (&json!("named"), &json!("named")));
        assert!(row["requested_model"].as_str().unwrap().len() <= STATS_NAME_BYTES_MAX + 3);
        assert_eq!(row["guard_rules"], json!(["injection", "pii"]));
        for decision in ["named", "manual", "offered", "budget", ""] {
            record.decision = decision;
            assert_eq!(Row::of(&record, None, 7).strategy(), None, "{decision}");
        }
        record.decision = "round_robin";
        assert_eq!(Row::of(&record, None, 7).strategy(), Some("round_robin"));
        record.unpriced = true;
        assert_eq!(Row::of(&record, Some(&Yardstick::sample()), 7).baseline, record.cost);
    }

    #[test]
    fn only_requests_for_models_count() {
        let mut record = sample::record();
        assert!(counts(&record));
        record.attempts.clear();
        assert!(!counts(&record), "answered by ourselves: a list of models, health");
        record.fault = Some("invalid_key");
        assert!(counts(&record));
        record.surface = None;
        assert!(!counts(&record), "a path that is no API");
    }

    #[test]
    fn decimals_are_made_of_integers() {
        assert_eq!((decimal(5, 4), decimal(12_345, 1)), ("0.0005".to_owned(), "1234.5".to_owned()));
        assert_eq!(millis(1_249_951), "1250.0");
    }
}
