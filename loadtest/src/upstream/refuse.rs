//! Failures in the form of each dialect: statuses, errors inside a 200, errors inside a stream.
//!
//! The wording follows `wire.md` sections 1.3, 3 and 4.5. It does not decide when to fail.

use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::Answer;
use super::ask::{Ask, Surface};
use super::manner::{Manner, UsagePlace};
use super::{chat, messages, responses};

/// Status of a failure that names none.
pub const STATUS_DEFAULT: u16 = 503;

/// An answer with this status and the body of the dialect.
pub fn status(ask: &Ask, status: u16, request_id: &str) -> Answer {
    let body = if (200..400).contains(&status) {
        json!({"mock_status": status})
    } else {
        body(ask, status, request_id)
    };
    let mut answer = Answer::json(status, body.to_string());
    if let Some(seconds) = ask.fault.retry_after {
        answer = answer.with("retry-after", &seconds.to_string());
    }
    if status == 429 && !ask.surface.is_anthropic() {
        answer = answer
            .with("x-ratelimit-limit-requests", "500")
            .with("x-ratelimit-remaining-requests", "0")
            .with("x-ratelimit-reset-requests", "120ms");
    }
    answer
}

/// A 200 whose JSON body is an error.
pub fn inside(ask: &Ask, code: u16, request_id: &str) -> Answer {
    let mut body =
        if ask.surface.is_anthropic() { body(ask, code, request_id) } else { coded(code) };
    if tells_usage(ask) {
        body["usage"] = usage(ask);
    }
    Answer::json(200, body.to_string())
}

/// The usage of the whole answer in the form of its surface.
pub fn usage(ask: &Ask) -> Value {
    match ask.surface {
        Surface::Messages => messages::usage(ask),
        Surface::Responses => responses::usage(ask),
        _ => chat::usage(ask, ask.content_tokens()),
    }
}

/// True if an error inside a 200 carries its usage: it costs something, and nobody hides it.
fn tells_usage(ask: &Ask) -> bool {
    ask.fault.costs.has_errors && ask.fault.usage != Some(UsagePlace::None)
}

/// The error body of the dialect.
fn body(ask: &Ask, status: u16, request_id: &str) -> Value {
    if ask.surface.is_anthropic() {
        return json!({
            "type": "error",
            "error": {"type": anthropic_type(status), "message": message(status)},
            "request_id": request_id,
        });
    }
    if ask.manner == Manner::OpenRouter {
        return coded(status);
    }
    let (kind, code) = openai_type(status);
    json!({"error": {"message": message(status), "type": kind, "param": null, "code": code}})
}

fn coded(code: u16) -> Value {
    let metadata = json!({"error_type": openrouter_type(code)});
    json!({"error": {"code": code, "message": message(code), "metadata": metadata}})
}

/// What the dialect sends when it fails in mid-stream; `head` is the open chunk object of
/// Chat, and the id of a Responses answer.
pub fn in_stream(ask: &Ask, head: &str, sequence: u64) -> Vec<Bytes> {
    let status = ask.fault.inside.unwrap_or(502);
    let text = match (&ask.surface, ask.manner) {
        (Surface::Messages, _) => {
            let error = json!({"type": anthropic_type(status), "message": message(status)});
            let mut event = json!({"type": "error", "error": error});
            if tells_usage(ask) {
                event["usage"] = usage(ask);
            }
            format!("event: error\ndata: {event}\n\n")
        }
        (Surface::Responses, _) => {
            let error = json!({"code": "server_error", "message": message(status)});
            let known = if tells_usage(ask) { usage(ask) } else { Value::Null };
            let response = json!({
                "id": head, "object": "response", "status": "failed", "error": error,
                "model": ask.model, "output": [], "usage": known,
            });
            let event = json!({
                "type": "response.failed", "response": response, "sequence_number": sequence,
            });
            format!("event: response.failed\ndata: {event}\n\n")
        }
        (_, Manner::OpenRouter) => {
            let error = coded(status)["error"].clone();
            let choice = r#"[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"error","native_finish_reason":null}]"#;
            let known =
                if tells_usage(ask) { format!(",\"usage\":{}", usage(ask)) } else { String::new() };
            format!("data: {head},\"choices\":{choice},\"error\":{error}{known}}}\n\n")
        }
        (_, manner) => {
            let (kind, name) = openai_type(status);
            let code = if manner == Manner::Vllm { json!(status) } else { json!(name) };
            let error = json!({
                "message": message(status),
                "type": kind, "param": null, "code": code,
            });
            let mut event = json!({"error": error});
            if tells_usage(ask) {
                event["usage"] = usage(ask);
            }
            format!("data: {event}\n\n")
        }
    };
    let done = Bytes::from_static(b"data: [DONE]\n\n");
    let ends = matches!(ask.manner, Manner::OpenRouter | Manner::Vllm)
        && matches!(ask.surface, Surface::Chat | Surface::Completions);
    if ends { vec![text.into(), done] } else { vec![text.into()] }
}

fn message(status: u16) -> &'static str {
    match status {
        400 => "mock: invalid request",
        401 => "mock: Incorrect API key provided",
        402 => "mock: This request requires more credits, or fewer max_tokens.",
        403 => "mock: permission denied",
        404 => "mock: no such model",
        408 | 504 | 524 => "mock: timed out",
        413 => "mock: request too large",
        429 => "mock: Rate limit reached",
        502 => "mock: Provider disconnected unexpectedly",
        503 | 529 => "mock: Overloaded",
        _ => "mock: asked to fail",
    }
}

fn openai_type(status: u16) -> (&'static str, Option<&'static str>) {
    match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        402 => ("insufficient_quota", Some("insufficient_quota")),
        403 => ("permission_error", None),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("requests", Some("rate_limit_exceeded")),
        503 | 529 => ("server_error", Some("overloaded")),
        500..=599 => ("server_error", None),
        _ => ("invalid_request_error", None),
    }
}

fn openrouter_type(status: u16) -> &'static str {
    match status {
        400 => "context_length_exceeded",
        401 => "authentication",
        402 => "payment_required",
        403 => "content_policy_violation",
        408 | 504 | 524 => "timeout",
        429 => "rate_limit_exceeded",
        502 => "provider_unavailable",
        503 | 529 => "provider_overloaded",
        500 => "server",
        _ => "unmapped",
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    }
}
