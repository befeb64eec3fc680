//! Errors: as the providers of this dialect send them, and as its clients understand them (`wire.md`
//! 1.3 and 5.5).
//!
//! Nothing is taken from a body that is no JSON: a proxy's error page is not for clients.

use crate::dialect::canonical::event::Failure;
use crate::dialect::canonical::fields::{find, items, members};
use crate::dialect::canonical::text::Text;
use crate::wire::json;
use crate::wire::syntax::Span;

/// The status for failures that cannot be told.
const UNKNOWN_STATUS: u16 = 502;

/// Reads the body of an answer that is an error.
pub fn read(status: u16, body: &[u8]) -> Failure<'_> {
    let Ok(span) = json::check(body) else {
        return Failure { status: Some(status), ..Failure::default() };
    };
    let body = span.of(body);
    // Gemini puts it into an array.
    let object = if body.starts_with(b"[") { items(body).next().unwrap_or_default() } else { body };
    let failure = of_body(object);
    Failure { status: Some(status), ..failure }
}

/// Reads an object that may hold an error, or be one.
pub(super) fn of_body(object: &[u8]) -> Failure<'_> {
    match find(object, "error").or_else(|| find(object, "detail")) {
        Some(error) => of_error(error),
        None => of_error(object),
    }
}

/// Reads the value of `error`: an object, or its message alone.
pub(super) fn of_error(error: &[u8]) -> Failure<'_> {
    let mut failure = Failure { message: Text::token(error), ..Failure::default() };
    let (mut kind, mut status_word) = (None, None);
    for (key, value) in members(error) {
        match &*key {
            b"message" => failure.message = Text::token(value),
            b"type" => kind = filled(value),
            b"param" => failure.param = filled(value),
            b"code" => {
                failure.status = status_of(value).or(failure.status);
                failure.code = filled(value).or(failure.code.take());
            }
            // Gemini's word for the kind.
            b"status" => status_word = filled(value),
            b"metadata" => {
                let kind = find(value, "error_type").and_then(filled);
                failure.code = failure.code.take().or(kind);
            }
            _ => {}
        }
    }
    failure.kind = kind.or(status_word);
    failure
}

fn filled(value: &[u8]) -> Option<Text<'_>> {
    Text::token(value).filter(|text| !text.is_empty())
}

/// The status in a `code` that is a number.
fn status_of(value: &[u8]) -> Option<u16> {
    let number: u16 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (400..600).contains(&number).then_some(number)
}

/// Writes the body of an error, and returns the status to answer with.
pub fn write(failure: &Failure<'_>, out: &mut Vec<u8>) -> u16 {
    let status = failure.status.or_else(|| status_of_kind(failure.kind.as_ref()?));
    let status = match status {
        // OpenAI's clients do not know 529.
        Some(529) => 503,
        Some(status @ 400..=599) => status,
        _ => UNKNOWN_STATUS,
    };
    let (kind, code) = words(status, failure.status == Some(529) || is_overload(failure));
    out.extend_from_slice(b"{\"error\":{\"message\":");
    if let Some(message) = &failure.message {
        message.quote_into(out);
    } else {
        json::quote_into(&format!("The provider answered with an error (status {status})."), out);
    }
    out.extend_from_slice(b",\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"param\":");
    match &failure.param {
        Some(param) => param.quote_into(out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"code\":");
    match (&failure.code, code) {
        (_, Some(OVERLOADED)) => json::quote_into(OVERLOADED, out),
        (Some(code), _) => code.quote_into(out),
        (None, Some(code)) => json::quote_into(code, out),
        (None, None) => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b"}}");
    status
}

/// The code by which Codex knows that it should come again later.
const OVERLOADED: &str = "server_is_overloaded";

fn is_overload(failure: &Failure<'_>) -> bool {
    failure.kind.as_ref().is_some_and(|kind| kind.is("overloaded_error"))
}

/// Type and code by status.
const fn words(status: u16, is_overload: bool) -> (&'static str, Option<&'static str>) {
    match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        402 => ("insufficient_quota", Some("budget_exceeded")),
        429 => ("rate_limit_exceeded", Some("rate_limit_exceeded")),
        400..=499 => ("invalid_request_error", None),
        _ if is_overload => ("server_error", Some(OVERLOADED)),
        _ => ("server_error", None),
    }
}

/// The status that a kind of error has at all providers that name it.
fn status_of_kind(kind: &Text<'_>) -> Option<u16> {
    Some(match &*kind.plain()? {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "conflict_error" => 409,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" => 429,
        "api_error" | "server_error" => 500,
        "overloaded_error" => 529,
        "timeout_error" => 504,
        _ => return None,
    })
}

/// Whether a value that stands under `error` is one; some providers send `null`, `false` or nothing.
pub(super) fn is_error(value: &[u8]) -> bool {
    match value.first() {
        Some(b'{') => json::members(value, Span::whole(value)).next().is_some(),
        Some(b'"') => value.len() > 2,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn said(text: Option<&Text<'_>>) -> Option<String> {
        text.and_then(Text::plain).map(std::borrow::Cow::into_owned)
    }

    fn told(status: u16, body: &str) -> (Option<String>, Option<String>, Option<String>) {
        let failure = read(status, body.as_bytes());
        assert_eq!(failure.status, Some(status));
        (said(failure.message.as_ref()), said(failure.kind.as_ref()), said(failure.code.as_ref()))
    }

    #[test]
    fn errors_are_found_in_all_their_forms() {
        let some = |text: &str| Some(text.to_owned());
        for (body, expected) in [
            (
                r#"{"error":{"message":"m","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
                (some("m"), some("tokens"), some("rate_limit_exceeded")),
            ),
            (
                r#"{"error":{"code":402,"message":"m","metadata":{"error_type":"payment_required"}}}"#,
                (some("m"), None, some("payment_required")),
            ),
            (r#"{"error":"m"}"#, (some("m"), None, None)),
            (r#"{"detail":"m"}"#, (some("m"), None, None)),
            (
                r#"{"object":"error","message":"m","type":"t","code":null}"#,
                (some("m"), some("t"), None),
            ),
            (
                r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]"#,
                (some("m"), some("INVALID_ARGUMENT"), None),
            ),
            ("<html>", (None, None, None)),
            ("[]", (None, None, None)),
            ("7", (None, None, None)),
        ] {
            assert_eq!(told(429, body), expected, "{body}");
        }
    }

    fn written(failure: &Failure<'_>) -> (u16, Value) {
        let mut out = Vec::new();
        let status = write(failure, &mut out);
        (status, serde_json::from_slice(&out).expect("JSON"))
    }

    #[test]
    fn every_status_has_its_words() {
        for (status, sent, kind, code) in [
            (400, 400, "invalid_request_error", Value::Null),
            (401, 401, "invalid_request_error", json!("invalid_api_key")),
            (402, 402, "insufficient_quota", json!("budget_exceeded")),
            (404, 404, "invalid_request_error", Value::Null),
            (429, 429, "rate_limit_exceeded", json!("rate_limit_exceeded")),
            (500, 500, "server_error", Value::Null),
            (504, 504, "server_error", Value::Null),
            (529, 503, "server_error", json!("server_is_overloaded")),
            (200, 502, "server_error", Value::Null),
        ] {
            let failure = Failure { status: Some(status), ..Failure::default() };
            let (answered, body) = written(&failure);
            assert_eq!(answered, sent);
            assert_eq!((&body["error"]["type"], &body["error"]["code"]), (&json!(kind), &code));
            assert!(body["error"]["message"].is_string() && body["error"]["param"].is_null());
        }
    }

    #[test]
    fn a_kind_tells_the_status_where_none_came() {
        let failure = |kind: &'static str| Failure {
            kind: Some(Text::written(kind.as_bytes())),
            message: Some(Text::written(br"Over\u006coaded")),
            ..Failure::default()
        };
        let (status, body) = written(&failure("overloaded_error"));
        assert_eq!((status, &body["error"]["code"]), (503, &json!("server_is_overloaded")));
        assert_eq!(body["error"]["message"], "Overloaded");
        assert_eq!(written(&failure("authentication_error")).0, 401);
        assert_eq!(written(&failure("weird")).0, 502);
    }

    #[test]
    fn an_error_comes_back_as_it_was() {
        let body =
            br#"{"error":{"message":"m","type":"rate_limit_exceeded","param":"p","code":"c"}}"#;
        let failure = read(429, body);
        let mut out = Vec::new();
        assert_eq!(write(&failure, &mut out), 429);
        assert_eq!(out, body);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let mut out = Vec::new();
            write(&read(500, &bytes), &mut out);
            serde_json::from_slice::<Value>(&out).expect("JSON");
        }
    }
}
