//! The guard's calls on the admin port, for services that have an answer of their own to look at (S1-22).
//!
//! What was found is told by kind and number. No text is kept, logged or told but the one that was asked for.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::admin::handlers::Refusal;
use crate::base::fault::Code;
use crate::guard::detect::Action;
use crate::guard::detect::policy::Policy;
use crate::guard::filter::{Filter, Finding};

/// `POST /api/guard/filter-output`: the text without its secrets, by that policy, and what they were.
///
/// # Errors
/// `invalid_request` for a body without a text.
pub fn filter_output(body: &[u8], policy: Arc<Policy>) -> Result<Value, Refusal> {
    let asked: Value = serde_json::from_slice(body)
        .map_err(|_| Refusal::new(Code::InvalidRequest, "the body is not JSON"))?;
    let text = asked.get("output").or_else(|| asked.get("text")).and_then(Value::as_str);
    let text = text.ok_or_else(|| {
        Refusal::new(Code::InvalidRequest, "`output` (or `text`) must be a string")
    })?;
    let mut filter = Filter::new(policy);
    let mut out = Vec::with_capacity(text.len());
    filter.feed(text.as_bytes(), &mut out);
    filter.finish(&mut out);
    let clean = String::from_utf8(out)
        .map_err(|_| Refusal::new(Code::Internal, "the filter cut a character"))?;
    let findings: Vec<Value> = filter.findings().iter().map(finding_json).collect();
    let is_safe = filter.findings().iter().all(|found| found.action == Action::Observe);
    Ok(json!({
        "safe": is_safe && !filter.is_blocked(),
        "filtered": clean,
        "output": clean,
        "findings": findings,
        "sessionId": asked.get("sessionId").filter(|id| id.is_string()),
    }))
}

fn finding_json(found: &Finding) -> Value {
    json!({
        "type": found.detector,
        "rule": found.rule,
        "action": found.action.name(),
        "count": found.count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::detect::Detector;

    fn answer(body: &Value) -> Value {
        by(Policy::default(), body)
    }

    fn by(policy: Policy, body: &Value) -> Value {
        filter_output(body.to_string().as_bytes(), Arc::new(policy)).unwrap()
    }

    #[test]
    fn what_is_done_is_what_the_policy_says() {
        let body = json!({"output": "It is 219-09-9999, or ann@corp.com"});
        let policy = Policy::default().with(&[(Detector::Email, Action::Redact)]);
        let said = by(policy.with(&[(Detector::Ssn, Action::Off)]), &body);
        assert_eq!(said["output"], "It is 219-09-9999, or [REDACTED_EMAIL_1]");
        let said = by(policy.with(&[(Detector::Ssn, Action::Block)]), &body);
        assert_eq!((&said["output"], &said["safe"]), (&json!("It is "), &json!(false)));
    }

    #[test]
    fn secrets_are_marked_and_counted() {
        let said =
            answer(&json!({"output": "It is 219-09-9999, not 666-09-9999.", "sessionId": "s"}));
        assert_eq!(said["filtered"], "It is [REDACTED_SSN_1], not 666-09-9999.");
        assert_eq!((&said["safe"], &said["sessionId"]), (&json!(false), &json!("s")));
        let found = json!([{"type": "ssn", "rule": "us_ssn", "action": "redact", "count": 1}]);
        assert_eq!(said["findings"], found);
    }

    #[test]
    fn clean_text_is_safe_and_as_it_was() {
        let said = answer(&json!({"text": "née \"x\"\n"}));
        assert_eq!((&said["safe"], &said["output"]), (&json!(true), &json!("née \"x\"\n")));
        let said = answer(&json!({"text": "My instructions are secret"}));
        assert_eq!(
            (&said["safe"], &said["findings"][0]["type"]),
            (&json!(true), &json!("prompt_leak"))
        );
    }

    #[test]
    fn a_body_without_text_is_refused() {
        for body in ["", "{}", r#"{"output": 5}"#, "[]"] {
            assert_eq!(
                filter_output(body.as_bytes(), Arc::default()).unwrap_err().status,
                400,
                "{body}"
            );
        }
    }
}
