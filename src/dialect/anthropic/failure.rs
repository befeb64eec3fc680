//! Errors of the Messages API, in bodies and in streams, and errors of others in its words.
//!
//! Statuses and kinds: `wire.md` section 5.5. Bodies of the client's own dialect are passed on as they
//! are and never come here.

use crate::dialect::canonical::event::Failure;
use crate::dialect::canonical::fields::pick;
use crate::dialect::canonical::text::Text;
use crate::wire::json;

/// Reads the body of an answer with an error status; any bytes.
pub fn read(status: u16, body: &[u8]) -> Failure<'_> {
    let whole = json::check(body).map(|span| span.of(body)).unwrap_or_default();
    let [error] = pick(whole, ["error"]);
    Failure { status: Some(status), ..error.map(of_object).unwrap_or_default() }
}

/// Reads the value of `error`. Its status is what the kind says.
pub fn of_object(error: &[u8]) -> Failure<'_> {
    let [kind, message, details] = pick(error, ["type", "message", "details"]);
    let [code, param] = details.map_or([None; 2], |details| pick(details, ["error_code", "param"]));
    let kind = kind.and_then(Text::token);
    Failure {
        status: kind.as_ref().and_then(status_of_kind),
        kind,
        code: code.and_then(Text::token),
        message: message.and_then(Text::token).or_else(|| Text::token(error)),
        param: param.and_then(Text::token),
    }
}

/// Appends the body of an error answer. Returns the status to send it with.
pub fn write(failure: &Failure<'_>, out: &mut Vec<u8>) -> u16 {
    let status = status(failure);
    out.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"type\":\"");
    out.extend_from_slice(kind_of_status(status).as_bytes());
    out.extend_from_slice(b"\",\"message\":");
    match &failure.message {
        Some(message) => message.quote_into(out),
        None => out.extend_from_slice(b"\"the provider failed and gave no reason\""),
    }
    let code = failure.code.as_ref().map(|code| (&b"\"error_code\":"[..], code));
    let param = failure.param.as_ref().map(|param| (&b"\"param\":"[..], param));
    let mut separator: &[u8] = b",\"details\":{";
    for (key, value) in [code, param].into_iter().flatten() {
        out.extend_from_slice(separator);
        out.extend_from_slice(key);
        value.quote_into(out);
        separator = b",";
    }
    if separator == b"," {
        out.push(b'}');
    }
    out.extend_from_slice(b"}}");
    status
}

/// The status that Anthropic would give.
fn status(failure: &Failure<'_>) -> u16 {
    let says = |words: &[&str]| {
        let told = [&failure.kind, &failure.code];
        told.into_iter().flatten().any(|told| words.iter().any(|word| told.is(word)))
    };
    let status = failure.status.or_else(|| {
        let told = [&failure.code, &failure.kind];
        told.into_iter().flatten().find_map(status_of_kind)
    });
    match status {
        // Anthropic's clients try again at 429, which does not help against an empty account.
        Some(429) if says(&["insufficient_quota"]) => 402,
        Some(503) if says(&["server_is_overloaded", "overloaded_error", "slow_down"]) => 529,
        Some(524) => 504,
        // An error under a status of success has none of its own.
        Some(status @ 400..=599) => status,
        _ => 500,
    }
}

/// What status a kind or code of either provider stands for.
fn status_of_kind(kind: &Text<'_>) -> Option<u16> {
    Some(match &*kind.plain()? {
        "invalid_request_error" | "context_length_exceeded" | "invalid_prompt" => 400,
        "authentication_error" | "invalid_api_key" => 401,
        "billing_error" | "insufficient_quota" | "budget_exceeded" => 402,
        "permission_error" => 403,
        "not_found_error" | "model_not_found" => 404,
        "conflict_error" => 409,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" => 429,
        "api_error" | "server_error" => 500,
        "timeout_error" => 504,
        "overloaded_error" | "server_is_overloaded" | "slow_down" => 529,
        _ => return None,
    })
}

/// The kind that Anthropic's clients expect with a status.
const fn kind_of_status(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        408 | 504 => "timeout_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(failure: &Failure<'_>) -> (u16, serde_json::Value) {
        let mut out = Vec::new();
        let status = write(failure, &mut out);
        (status, serde_json::from_slice(&out).expect("JSON"))
    }

    #[test]
    fn an_error_reads_back() {
        for (status, kind) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (402, "billing_error"),
            (413, "request_too_large"),
            (429, "rate_limit_error"),
            (500, "api_error"),
            (529, "overloaded_error"),
        ] {
            let body = format!(
                r#"{{"type":"error","error":{{"type":"{kind}","message":"no\u00e9","details":{{"error_code":"c"}}}},"request_id":"r"}}"#
            );
            let failure = read(status, body.as_bytes());
            assert_eq!(failure.kind, Some(Text::of(kind)));
            let mut out = Vec::new();
            assert_eq!(write(&failure, &mut out), status);
            assert_eq!(read(status, &out), failure);
        }
    }

    #[test]
    fn any_bytes_are_an_error() {
        for body in [&b""[..], b"<html>", b"{}", b"[1]", b"{\"error\":null}", b"\xff"] {
            let failure = read(502, body);
            assert_eq!(failure, Failure { status: Some(502), ..Failure::default() });
            let (status, body) = written(&failure);
            assert_eq!((status, &body["error"]["type"]), (502, &"api_error".into()));
        }
        assert_eq!(read(500, b"{\"error\":\"plain\"}").message, Some(Text::of("plain")));
    }

    #[test]
    fn errors_of_others_get_the_words_that_clients_know() {
        let of = |status, kind: &str, code: &str| {
            written(&Failure {
                status,
                kind: Some(Text::of(kind)),
                code: Some(Text::of(code)),
                message: Some(Text::of("m")),
                param: Some(Text::of("p")),
            })
        };
        for (given, status, kind) in [
            ((Some(503), "server_error", "server_is_overloaded"), 529, "overloaded_error"),
            ((Some(503), "server_error", "x"), 503, "api_error"),
            ((Some(429), "insufficient_quota", "x"), 402, "billing_error"),
            ((Some(429), "tokens", "rate_limit_exceeded"), 429, "rate_limit_error"),
            ((Some(422), "x", "x"), 422, "invalid_request_error"),
            ((Some(524), "x", "x"), 504, "timeout_error"),
            ((None, "server_error", "rate_limit_exceeded"), 429, "rate_limit_error"),
            ((Some(200), "x", "x"), 500, "api_error"),
            ((None, "x", "x"), 500, "api_error"),
        ] {
            let (got, body) = of(given.0, given.1, given.2);
            assert_eq!((got, &body["error"]["type"]), (status, &kind.into()), "{given:?}");
            assert_eq!(body["error"]["details"]["param"], "p");
        }
    }
}
