//! Errors of a provider: read from whatever it sent, written as this dialect has them.
//!
//! The table between the dialects is `wire.md` section 5.5. Codes of a provider are kept; where there
//! is none, the code is written by which clients of this dialect know what to do.

use crate::dialect::canonical::event::Failure;
use crate::dialect::canonical::fields::{find, members};
use crate::dialect::canonical::text::Text;
use crate::dialect::openai_responses::number;
use crate::wire::json;

/// What is said where the provider says nothing.
const NO_MESSAGE: &[u8] = b"The provider failed without saying why.";

/// How Anthropic begins to say that a prompt is too long; it has no code for that.
const TOO_LONG: &str = "prompt is too long";

/// Reads an error body, of any bytes.
pub fn read(status: u16, body: &[u8]) -> Failure<'_> {
    let object = json::check(body).map(|span| span.of(body)).unwrap_or_default();
    let failure = of_value(find(object, "error").unwrap_or(object));
    Failure { status: Some(status), ..failure }
}

/// Reads an error object, or a bare message.
pub fn of_value(value: &[u8]) -> Failure<'_> {
    let mut failure = Failure { message: Text::token(value), ..Failure::default() };
    for (key, value) in members(value) {
        match &*key {
            b"message" => failure.message = Text::token(value),
            b"detail" if failure.message.is_none() => failure.message = Text::token(value),
            b"type" => failure.kind = Text::token(value),
            b"code" => failure.code = Text::token(value).or_else(|| digits(value)),
            b"param" => failure.param = Text::token(value),
            _ => {}
        }
    }
    failure.status = failure.code.as_ref().and_then(status_of_code);
    failure
}

fn digits(value: &[u8]) -> Option<Text<'_>> {
    number::read(value).map(|_| Text::written(value))
}

fn status_of_code(code: &Text<'_>) -> Option<u16> {
    let status = match code.as_written() {
        b"invalid_prompt" | b"context_length_exceeded" => 400,
        b"rate_limit_exceeded" | b"insufficient_quota" => 429,
        b"server_error" => 500,
        b"server_is_overloaded" | b"slow_down" => 503,
        number => u16::try_from(number::read(number)?).ok().filter(|status| *status >= 400)?,
    };
    Some(status)
}

/// The words of this dialect for a failure.
pub struct Words<'f> {
    /// The HTTP status.
    pub status: u16,
    /// `error.type`.
    pub kind: &'f [u8],
    /// `error.code`.
    pub code: Option<&'f [u8]>,
    /// For people.
    pub message: &'f [u8],
}

impl<'f> Words<'f> {
    /// Finds them. They are texts as written, without quotes.
    pub fn of(failure: &'f Failure<'_>) -> Self {
        let named = failure.kind.as_ref().map_or(&b""[..], Text::as_written);
        let status = failure.status.filter(|status| *status >= 400);
        let status = status.unwrap_or_else(|| status_of_kind(named));
        let message = failure.message.as_ref().map_or(NO_MESSAGE, Text::as_written);
        let said = failure.code.as_ref().map(Text::as_written).filter(|code| !code.is_empty());
        let code = said.or_else(|| code_of_kind(named, failure.message.as_ref()));
        let kind = kind(named, status);
        // Clients do not know Anthropic's own status.
        let status = if status == 529 { 503 } else { status };
        Self { status, kind, code, message }
    }
}

impl<'f> Words<'f> {
    /// The code in a stream, where clients demand one.
    pub const fn code_in_stream(&self) -> &'f [u8] {
        match (self.code, self.status) {
            (Some(code), _) => code,
            (None, 402) => b"insufficient_quota",
            (None, 429) => b"rate_limit_exceeded",
            (None, 503) => b"server_is_overloaded",
            (None, 400..=499) => b"invalid_prompt",
            (None, _) => b"server_error",
        }
    }
}

/// The code of a kind of error, where clients of this dialect know one.
fn code_of_kind(kind: &[u8], message: Option<&Text<'_>>) -> Option<&'static [u8]> {
    let code: &[u8] = match kind {
        b"invalid_request_error" => {
            message.and_then(Text::plain).filter(|message| message.contains(TOO_LONG))?;
            b"context_length_exceeded"
        }
        b"authentication_error" => b"invalid_api_key",
        b"billing_error" => b"insufficient_quota",
        b"rate_limit_error" => b"rate_limit_exceeded",
        b"overloaded_error" => b"server_is_overloaded",
        _ => return None,
    };
    Some(code)
}

const fn status_of_kind(kind: &[u8]) -> u16 {
    match kind {
        b"invalid_request_error" => 400,
        b"authentication_error" => 401,
        b"billing_error" => 402,
        b"permission_error" => 403,
        b"not_found_error" => 404,
        b"conflict_error" => 409,
        b"request_too_large" => 413,
        b"rate_limit_error" | b"rate_limit_exceeded" | b"insufficient_quota" => 429,
        b"api_error" | b"server_error" => 500,
        b"overloaded_error" => 503,
        b"timeout_error" => 504,
        _ => 502,
    }
}

/// This dialect's word for a kind; its own words stay.
const fn kind(named: &[u8], status: u16) -> &[u8] {
    match (named, status) {
        (b"billing_error", _) | (b"", 402) => b"insufficient_quota",
        (b"rate_limit_error", _) | (b"", 429) => b"rate_limit_exceeded",
        (
            b"authentication_error"
            | b"permission_error"
            | b"not_found_error"
            | b"conflict_error"
            | b"request_too_large",
            _,
        )
        | (b"", 400..=499) => b"invalid_request_error",
        (b"api_error" | b"timeout_error" | b"overloaded_error" | b"", _) => b"server_error",
        (named, _) => named,
    }
}

/// Appends the body of an error. Returns the status to answer with.
pub fn write(failure: &Failure<'_>, out: &mut Vec<u8>) -> u16 {
    let words = Words::of(failure);
    out.extend_from_slice(b"{\"error\":{\"message\":");
    Text::written(words.message).quote_into(out);
    out.extend_from_slice(b",\"type\":");
    Text::written(words.kind).quote_into(out);
    out.extend_from_slice(b",\"param\":");
    push_maybe(failure.param.as_ref(), out);
    out.extend_from_slice(b",\"code\":");
    push_maybe(words.code.map(Text::written).as_ref(), out);
    out.extend_from_slice(b"}}");
    words.status
}

fn push_maybe(text: Option<&Text<'_>>, out: &mut Vec<u8>) {
    match text {
        Some(text) => text.quote_into(out),
        None => out.extend_from_slice(b"null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn written(failure: &Failure<'_>) -> (u16, Value) {
        let mut out = Vec::new();
        let status = write(failure, &mut out);
        (status, serde_json::from_slice(&out).expect("JSON"))
    }

    #[test]
    fn its_own_errors_come_out_as_they_went_in() {
        for body in [
            r#"{"error":{"message":"too \"long\"","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}"#,
            r#"{"error":{"message":"m","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
        ] {
            let (status, value) = written(&read(400, body.as_bytes()));
            let expected: Value = serde_json::from_str(body).expect("JSON");
            assert_eq!((status, value), (400, expected));
        }
    }

    #[test]
    fn errors_of_other_shapes_are_read() {
        let anthropic = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#;
        let (status, value) = written(&read(529, anthropic));
        assert_eq!(status, 503);
        let expected = json!({"error": {"message": "Overloaded", "type": "server_error", "param": null,
            "code": "server_is_overloaded"}});
        assert_eq!(value, expected);
        let openrouter = br#"{"error":{"message":"no money","code":402,"metadata":{}}}"#;
        let (status, value) = written(&read(402, openrouter));
        assert_eq!((status, &value["error"]["code"]), (402, &json!("402")));
        assert_eq!(value["error"]["type"], json!("insufficient_quota"));
        for body in
            [&b"<html>"[..], b"", b"\"text\"", br#"{"detail":"gone"}"#, br#"{"error":"gone"}"#]
        {
            let failure = read(500, body);
            let (status, value) = written(&failure);
            assert_eq!((status, &value["error"]["type"]), (500, &json!("server_error")));
        }
        assert!(read(500, br#"{"detail":"gone"}"#).message.is_some_and(|text| text.is("gone")));
    }

    #[test]
    fn an_error_without_status_gets_the_one_of_its_kind() {
        let failure = |kind: &str, message: &str| Failure {
            kind: Some(Text::of(kind)),
            message: Some(Text::of(message)),
            ..Failure::default()
        };
        let long = failure("invalid_request_error", "prompt is too long: 9 > 8");
        let (status, value) = written(&long);
        assert_eq!((status, &value["error"]["code"]), (400, &json!("context_length_exceeded")));
        assert_eq!(written(&failure("rate_limit_error", "m")).0, 429);
        assert_eq!(written(&Failure::default()).0, 502);
        assert_eq!(of_value(br#"{"code":"server_error","message":"m"}"#).status, Some(500));
    }

    proptest! {
        #[test]
        fn any_bytes_become_an_error(status: u16, bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let failure = read(status, &bytes);
            let (status, value) = written(&failure);
            prop_assert!(status >= 400 && value["error"]["message"].is_string());
        }
    }
}
