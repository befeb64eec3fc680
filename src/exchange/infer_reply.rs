//! What `/infer` answers, in the shapes of the seed (S1-02, S1-04 to S1-07): the model's text, filtered and
//! with what it cost, or why there is none.
//!
//! A filter that is down blocks (S1-10). Amounts are decimals, never floats. What a model itself refuses does
//! not come here: it is passed on as it came.

use std::sync::Arc;

use crate::base::fault::{Code, Fault};
use crate::base::money::NanoUsd;
use crate::exchange::defence::{self, Defence, Down};
use crate::exchange::infer::Sanitized;
use crate::guard::canary::Token;
use crate::guard::detect::Action;
use crate::guard::detect::policy::Policy;
use crate::guard::filter::Finding;
use crate::guard::quarantine::Ban;
use crate::ledger::level::Level;
use crate::wire::json;
use crate::wire::object::Object;
use crate::wire::pull::Pull;
use crate::wire::syntax::Span;

/// The seed's word for each level, mildest first.
const LEVELS: [&str; 5] = ["OK", "WARNING", "SOFT", "HARD", "EMERGENCY"];

/// An answer that may go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filtered {
    /// The text, with marks where secrets were.
    pub text: String,
    /// What was found in it.
    pub findings: Vec<Finding>,
}

/// What an answer costs, and how the one who pays stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Of this request.
    pub this: NanoUsd,
    /// Of the payer in its period; `None` if nobody counts.
    pub total: Option<NanoUsd>,
    /// How alarming the spend of the fleet is.
    pub level: Level,
}

/// What is told beside the text.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What the validation has found.
    pub input: &'a Sanitized,
    /// What it cost.
    pub cost: Cost,
    /// Whether a canary stood in the system prompt.
    pub canary: bool,
    /// Milliseconds from the request to this answer.
    pub duration_ms: u64,
}

/// The text of a whole Chat answer; `None` if it is none.
pub fn output(body: &[u8]) -> Option<String> {
    let whole = json::check(body).ok()?;
    let choices = json::find(body, whole, "choices")?;
    let mut pull = Pull::new(body, choices);
    if pull.peek() != b'[' {
        return None;
    }
    pull.enter();
    if !pull.item() {
        return None;
    }
    let message = json::find(body, pull.skip(), "message")?;
    let member = |name| json::find(body, message, name);
    let said = |at: &Span| at.of(body) != b"null";
    match member("content").filter(said).or_else(|| member("refusal").filter(said)) {
        None => Some(String::new()),
        Some(content) => content_text(body, content),
    }
}

fn content_text(body: &[u8], content: Span) -> Option<String> {
    if content.of(body).first() != Some(&b'[') {
        return json::string(content.of(body)).map(std::borrow::Cow::into_owned);
    }
    let mut out = String::new();
    let mut pull = Pull::new(body, content);
    pull.enter();
    while pull.item() {
        let part = pull.skip();
        if let Some(text) = json::find(body, part, "text") {
            out.push_str(&json::string(text.of(body))?);
        }
    }
    Some(out)
}

/// Looks at an answer before anything of it goes out.
///
/// # Errors
/// `OUTPUT_SECURITY_CHECK_FAILED` (S1-06), also where the filter is down; `PROMPT_INJECTION_DETECTED` where
/// the canary is in it (S1-20).
pub fn filter(
    output: &str,
    canary: Option<&Token>,
    policy: &Arc<Policy>,
    parts: &dyn Defence,
) -> Result<Filtered, Fault> {
    let looked = defence::ask(|| parts.filter(output, canary, policy));
    let looked = looked.map_err(|Down(why)| {
        let details = Object::default().raw("findings", "[]").text("unavailable", why).end();
        unsafe_output(details)
    })?;
    if looked.has_leaked {
        let message = "the answer held the canary of the system prompt, and was blocked";
        return Err(Fault::new(Code::OutputBlocked, message)
            .extra("error", "\"PROMPT_INJECTION_DETECTED\"".to_owned())
            .extra("severity", "\"CRITICAL\"".to_owned()));
    }
    if looked.is_blocked {
        let details = Object::default().raw("findings", &findings_json(&[], &looked.findings));
        return Err(unsafe_output(details.end()));
    }
    Ok(Filtered { text: looked.text, findings: looked.findings })
}

fn unsafe_output(details: String) -> Fault {
    let message = "Model output contains sensitive information and was blocked";
    Fault::new(Code::OutputBlocked, message)
        .extra("error", "\"OUTPUT_SECURITY_CHECK_FAILED\"".to_owned())
        .extra("details", details)
}

/// Whether a refusal is that of a leaked canary, which counts as an attempt (S1-20).
pub fn is_leak(fault: &Fault) -> bool {
    fault.extra.iter().any(|(key, _)| *key == "severity")
}

/// The answer (S1-02).
pub fn success(answer: &Filtered, told: &Told<'_>) -> String {
    let redacted = answer.findings.iter().any(|found| found.action == Action::Redact);
    let rules = told.input.noted.iter().map(|rule| (*rule, "observe"));
    let rules: Vec<_> =
        told.input.stripped.iter().map(|rule| (*rule, "sanitize")).chain(rules).collect();
    let cost = Object::default()
        .usd("thisCycle", Some(told.cost.this))
        .usd("total", told.cost.total)
        .text("state", LEVELS[told.cost.level as usize]);
    let metadata = Object::default()
        .flag("sanitized", redacted || !told.input.stripped.is_empty())
        .raw("findings", &findings_json(&rules, &answer.findings))
        .raw("cost", &cost.end())
        .raw("canary", &Object::default().flag("injected", told.canary).end())
        .raw("duration", &told.duration_ms.to_string());
    Object::default()
        .flag("success", true)
        .text("output", &answer.text)
        .raw("metadata", &metadata.end())
        .end()
}

/// What was found, by rule; never the text.
fn findings_json(input: &[(&str, &str)], output: &[Finding]) -> String {
    let of_input = input.iter().map(|(rule, action)| {
        Object::default().text("type", "input").text("rule", rule).text("action", action).end()
    });
    let of_output = output.iter().map(|found| {
        Object::default()
            .text("type", found.detector)
            .text("rule", found.rule)
            .text("action", found.action.name())
            .raw("count", &found.count.to_string())
            .end()
    });
    format!("[{}]", of_input.chain(of_output).collect::<Vec<_>>().join(","))
}

/// The refusal of a key that is shut out, with the seed's fields (S1-05).
pub fn shut_out(ban: Ban, at_ms: i64) -> Fault {
    let number = |left: Option<i64>| left.map_or_else(|| "null".to_owned(), |it| it.to_string());
    let message = match ban.remaining_minutes(at_ms) {
        Some(minutes) => format!("this key is in quarantine for another {minutes} min"),
        None => "this key is in quarantine until an administrator lifts it".to_owned(),
    };
    let kind = format!("\"{}\"", ban.name());
    let mut fault = Fault::new(Code::KeyQuarantined, message)
        .extra("quarantined", "true".to_owned())
        .extra("type", kind.clone())
        .extra("quarantine_type", kind)
        .extra("remaining", number(ban.remaining_ms(at_ms)))
        .extra("remainingMinutes", number(ban.remaining_minutes(at_ms)));
    // One that does not end by itself: whoever reads only this header should come back seldom.
    let left_ms = ban.remaining_ms(at_ms).unwrap_or(DAY_MS);
    fault.retry_after_s = u32::try_from(left_ms.saturating_add(999) / 1_000).ok();
    fault
}

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Any refusal in the seed's shape: `error` is a word for programs, and every other field stands beside it.
pub fn refusal(fault: &Fault) -> String {
    let own = |name: &str| {
        fault.extra.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    };
    let object = match (own("error"), fault.code) {
        (Some(error), _) => Object::default().raw("error", error),
        (None, Code::BudgetExhausted) => {
            let level = if own("frozen").is_some() { "EMERGENCY" } else { "HARD" };
            Object::default()
                .text("error", "COST_LIMIT_EXCEEDED")
                .text("level", level)
                .raw("total", own("budget_spent").unwrap_or("null"))
                .raw("threshold", own("budget_total").unwrap_or("null"))
        }
        (None, Code::KeyQuarantined) => Object::default().text("error", "API_KEY_QUARANTINED"),
        (None, code) => Object::default().text("error", &code.name().to_ascii_uppercase()),
    };
    let mut object = object.text("message", &fault.message).text("code", fault.code.name());
    if let Some(param) = &fault.param {
        object = object.text("param", param);
    }
    let rest = fault.extra.iter().filter(|(key, _)| !matches!(*key, "error" | "message" | "code"));
    rest.fold(object, |object, (key, value)| object.raw(key, value)).end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::defence::Guard;
    use crate::exchange::defence::broken::Broken;
    use crate::guard::detect::Detector;
    use serde_json::{Value, json};

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn token() -> Token {
        Guard.canary(b"secret", ("tenant", "session"), 1).unwrap()
    }

    fn filtered(text: &str, parts: &dyn Defence) -> Result<Filtered, Fault> {
        filter(text, Some(&token()), &Arc::new(Policy::default()), parts)
    }

    #[test]
    fn the_text_of_every_kind_of_answer_is_read() {
        let of = |message: Value| {
            output(json!({"choices": [{"message": message}]}).to_string().as_bytes())
        };
        assert_eq!(of(json!({"content": "a\"é"})).as_deref(), Some("a\"é"));
        assert_eq!(
            of(json!({"content": [{"text": "a"}, {"type": "x"}, {"text": "b"}]})).as_deref(),
            Some("ab")
        );
        assert_eq!(of(json!({"content": null, "refusal": "no"})).as_deref(), Some("no"));
        assert_eq!(of(json!({"content": null, "tool_calls": []})).as_deref(), Some(""));
        assert_eq!(of(json!({"content": 7})), None);
        for body in ["", "{}", r#"{"choices": []}"#, r#"{"choices": 5}"#, r#"{"error": "x"}"#] {
            assert_eq!(output(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn an_answer_tells_what_was_done_and_what_it_cost() {
        let answer = filtered("It is 219-09-9999.", &Guard).unwrap();
        let input = Sanitized { stripped: vec!["seed.path"], noted: vec!["override.previous"] };
        let cost =
            Cost { this: NanoUsd(1_500), total: Some(NanoUsd(2_000_000_000)), level: Level::Soft };
        let told = Told { input: &input, cost, canary: true, duration_ms: 12 };
        let said = value(&success(&answer, &told));
        assert_eq!(
            (&said["success"], &said["output"]),
            (&json!(true), &json!("It is [REDACTED_SSN_1]."))
        );
        let metadata = &said["metadata"];
        assert_eq!(
            metadata["cost"],
            json!({"thisCycle": 0.000_001_5, "total": 2, "state": "SOFT"})
        );
        assert_eq!(metadata["canary"], json!({"injected": true}));
        assert_eq!((&metadata["sanitized"], &metadata["duration"]), (&json!(true), &json!(12)));
        assert_eq!(metadata["findings"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_canary_that_comes_back_is_critical() {
        let fault = filtered(&format!("my marker is {}", token().as_str()), &Guard).unwrap_err();
        let said = value(&refusal(&fault));
        assert_eq!((fault.code.status(), is_leak(&fault)), (403, true));
        assert_eq!(said["error"], "PROMPT_INJECTION_DETECTED");
        assert_eq!(said["severity"], "CRITICAL");
        assert!(!said.to_string().contains(token().as_str()));
    }

    #[test]
    fn a_filter_that_blocks_or_is_down_lets_nothing_out() {
        let strict = Arc::new(Policy::default().with(&[(Detector::Ssn, Action::Block)]));
        let blocked = filter("MARKER 219-09-9999", None, &strict, &Guard).unwrap_err();
        let down = filtered("MARKER", &Broken { filter: true, ..Broken::default() }).unwrap_err();
        for fault in [blocked, down] {
            let said = value(&refusal(&fault));
            assert_eq!((fault.code.status(), is_leak(&fault)), (403, false));
            assert_eq!(said["error"], "OUTPUT_SECURITY_CHECK_FAILED");
            assert!(said["details"]["findings"].is_array());
            assert!(!said.to_string().contains("MARKER"));
        }
    }

    #[test]
    fn a_refused_budget_is_a_cost_limit() {
        let fault = Fault::new(Code::BudgetExhausted, "used up")
            .extra("budget_total", "500".to_owned())
            .extra("budget_spent", "501.5".to_owned());
        let said = value(&refusal(&fault));
        assert_eq!(said["error"], "COST_LIMIT_EXCEEDED");
        assert_eq!(
            (&said["level"], &said["total"], &said["threshold"]),
            (&json!("HARD"), &json!(501.5), &json!(500))
        );
        let said = value(&refusal(&fault.extra("frozen", "true".to_owned())));
        assert_eq!(said["level"], "EMERGENCY");
    }

    #[test]
    fn who_is_shut_out_is_told_for_how_long() {
        let fault = shut_out(Ban::Until(3_600_000), 0);
        let said = value(&refusal(&fault));
        assert_eq!((fault.code.status(), fault.retry_after_s), (429, Some(3_600)));
        assert_eq!(said["error"], "API_KEY_QUARANTINED");
        assert_eq!((&said["quarantined"], &said["type"]), (&json!(true), &json!("temporary")));
        assert_eq!(
            (&said["remaining"], &said["remainingMinutes"]),
            (&json!(3_600_000), &json!(60))
        );
        let said = value(&refusal(&shut_out(Ban::Permanent, 0)));
        assert_eq!((&said["type"], &said["remaining"]), (&json!("permanent"), &json!(null)));
    }

    #[test]
    fn other_refusals_keep_their_words() {
        let fault = Fault::new(Code::ModelNotFound, "no such model").param("model");
        let said = value(&refusal(&fault));
        assert_eq!((&said["error"], &said["param"]), (&json!("MODEL_NOT_FOUND"), &json!("model")));
    }
}
