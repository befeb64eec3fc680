//! A fault in the words of the client's dialect: as an answer's body, or as the event that ends a
//! stream which cannot be completed.
//!
//! Shapes: `wire.md` sections 1.3, 4.5 and 6. Upstream errors that are passed on unchanged never
//! come here.

use crate::base::fault::{Code, Fault};
use crate::base::surface::{Dialect, Surface};
use crate::wire::json::quote_into;
use crate::wire::sse::write_event;

/// The JSON body of a refusal.
pub fn body(dialect: Dialect, fault: &Fault) -> Vec<u8> {
    let mut out = Vec::with_capacity(192);
    match dialect {
        Dialect::OpenAi => {
            out.extend_from_slice(b"{\"error\":");
            push_openai_error(&mut out, fault);
        }
        Dialect::Anthropic => {
            out.extend_from_slice(b"{\"type\":\"error\",\"error\":");
            push_anthropic_error(&mut out, fault);
        }
    }
    // A key that the dialect has itself stays what the dialect says.
    let taken: &[&str] = match dialect {
        Dialect::OpenAi => &["error"],
        Dialect::Anthropic => &["error", "type"],
    };
    for (key, json) in fault.extra.iter().filter(|(key, _)| !taken.contains(key)) {
        out.push(b',');
        quote_into(key, &mut out);
        out.push(b':');
        out.extend_from_slice(json.as_bytes());
    }
    out.push(b'}');
    out
}

/// The event that ends a stream which cannot be completed. Clients must not take such a stream for
/// a whole answer, so no finish reason and no `[DONE]` follow it. `number` is its place in the stream, which
/// only Responses tells.
pub fn stream_event(surface: Surface, fault: &Fault, number: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    match surface {
        Surface::Responses => write_event(&mut out, Some("error"), &responses_error(fault, number)),
        _ if surface.dialect() == Dialect::Anthropic => {
            write_event(&mut out, Some("error"), &body(Dialect::Anthropic, fault));
        }
        _ => write_event(&mut out, None, &body(Dialect::OpenAi, fault)),
    }
    out
}

fn push_openai_error(out: &mut Vec<u8>, fault: &Fault) {
    out.extend_from_slice(b"{\"message\":");
    quote_into(&fault.message, out);
    out.extend_from_slice(b",\"type\":");
    quote_into(openai_type(fault.code), out);
    out.extend_from_slice(b",\"param\":");
    quote_optional(out, fault.param.as_deref());
    out.extend_from_slice(b",\"code\":");
    quote_into(fault.code.name(), out);
    out.push(b'}');
}

fn push_anthropic_error(out: &mut Vec<u8>, fault: &Fault) {
    out.extend_from_slice(b"{\"type\":");
    quote_into(anthropic_type(fault.code), out);
    out.extend_from_slice(b",\"message\":");
    quote_into(&fault.message, out);
    out.extend_from_slice(b",\"details\":{\"error_code\":");
    quote_into(fault.code.name(), out);
    if let Some(param) = &fault.param {
        out.extend_from_slice(b",\"param\":");
        quote_into(param, out);
    }
    out.extend_from_slice(b"}}");
}

fn quote_optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => quote_into(text, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// The Responses API has its own flat error event.
fn responses_error(fault: &Fault, number: u64) -> Vec<u8> {
    let mut json = Vec::with_capacity(160);
    json.extend_from_slice(b"{\"type\":\"error\",\"code\":");
    quote_into(fault.code.name(), &mut json);
    json.extend_from_slice(b",\"message\":");
    quote_into(&fault.message, &mut json);
    json.extend_from_slice(b",\"param\":");
    quote_optional(&mut json, fault.param.as_deref());
    json.extend_from_slice(format!(",\"sequence_number\":{number}}}").as_bytes());
    json
}

/// `error.type` as `OpenAI`'s clients expect it for a status.
const fn openai_type(code: Code) -> &'static str {
    if matches!(code, Code::AllModelsFailed) {
        // The word of the seed that knew this refusal first (S2-04).
        return "proxy_error";
    }
    match code.status() {
        402 => "insufficient_quota",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 => "service_unavailable_error",
        _ => "server_error",
    }
}

/// `error.type` as Anthropic's clients expect it for a status.
const fn anthropic_type(code: Code) -> &'static str {
    match code.status() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parsed(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn each_dialect_has_its_own_envelope_and_the_extra_keys() {
        let fault = Fault::new(Code::UnknownAgent, "no agent \"x\"")
            .param("X-Agent-ID")
            .extra("agent_id", "\"x\"".into());
        assert_eq!(
            parsed(&body(Dialect::OpenAi, &fault)),
            json!({"error": {"message": "no agent \"x\"", "type": "invalid_request_error",
                   "param": "X-Agent-ID", "code": "unknown_agent"}, "agent_id": "x"})
        );
        assert_eq!(
            parsed(&body(Dialect::Anthropic, &fault)),
            json!({"type": "error", "error": {"type": "invalid_request_error",
                   "message": "no agent \"x\"",
                   "details": {"error_code": "unknown_agent", "param": "X-Agent-ID"}},
                   "agent_id": "x"})
        );
    }

    #[test]
    fn who_asked_too_often_is_told_so_in_both_dialects() {
        let fault = Fault::new(Code::KeyQuarantined, "later");
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            assert_eq!(parsed(&body(dialect, &fault))["error"]["type"], "rate_limit_error");
        }
    }

    #[test]
    fn a_stream_ends_in_the_dialect_of_its_surface() {
        let fault = Fault::new(Code::UpstreamInvalid, "cut");
        assert!(stream_event(Surface::Chat, &fault, 5).starts_with(b"data: {\"error\":{"));
        assert!(
            stream_event(Surface::Messages, &fault, 5)
                .starts_with(b"event: error\ndata: {\"type\":\"error\"")
        );
        let event = stream_event(Surface::Responses, &fault, 5);
        let data = parsed(&event[b"event: error\ndata: ".len()..]);
        assert_eq!(
            (&data["code"], &data["sequence_number"]),
            (&json!("upstream_invalid"), &json!(5))
        );
        assert!(event.ends_with(b"\n\n"));
    }
}
