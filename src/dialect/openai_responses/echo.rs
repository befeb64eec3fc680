//! What an answer repeats of its request, as clients of this dialect expect it.
//!
//! It is told as it was asked, byte for byte, not as the provider took it: what was left out on the way is listed
//! in a header. `store` is not among it, since nothing is ever stored.

use crate::dialect::canonical::fields::{find, meant, pick, written_members};
use crate::dialect::canonical::style::Echo;

/// The fields, those last that may be too long to be kept.
const FIELDS: [&str; 14] = [
    "max_output_tokens",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "top_p",
    "truncation",
    "user",
    "metadata",
    "instructions",
    "tools",
];

/// Takes what is to be repeated out of a request.
pub fn read(body: &[u8]) -> Echo {
    let mut echo = Echo::default();
    for (name, value) in FIELDS.into_iter().zip(pick(body, FIELDS)) {
        if let Some(value) = value {
            echo.keep(name, value);
        }
    }
    echo
}

/// Appends a member of the answer: what was asked, or else `silent`.
pub fn push(echo: &Echo, (name, silent): (&str, &[u8]), out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(echo.get(name).unwrap_or(silent));
}

/// Appends the form of the answer, which always has a format.
pub fn push_text(echo: &Echo, out: &mut Vec<u8>) {
    const PLAIN: &[u8] = b"{\"format\":{\"type\":\"text\"}";
    let text = echo.get("text").unwrap_or(b"{}");
    out.extend_from_slice(b",\"text\":");
    if find(text, "format").is_some() {
        out.extend_from_slice(text);
        return;
    }
    out.extend_from_slice(PLAIN);
    for (key, value) in written_members(text) {
        // A format that is `null` stands there already.
        if *meant(key) != *b"format" {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(key);
            out.extend_from_slice(b"\":");
            out.extend_from_slice(value);
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &str) -> String {
        let mut out = Vec::new();
        push_text(&read(body.as_bytes()), &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_form_has_one_format() {
        let plain = r#","text":{"format":{"type":"text"}"#;
        for (asked, told) in [
            ("{}", ""),
            (r#"{"text":{ }}"#, ""),
            (r#"{"text":{"format":null}}"#, ""),
            (r#"{"text":{"verbosity":"low"}}"#, r#","verbosity":"low""#),
        ] {
            assert_eq!(text(asked), format!("{plain}{told}}}"), "{asked}");
        }
        let own = r#"{"verbosity":"low","format":{"type":"json_object"}}"#;
        assert_eq!(text(&format!(r#"{{"text":{own}}}"#)), format!(r#","text":{own}"#));
    }

    #[test]
    fn what_was_asked_is_said_again_and_nothing_else() {
        let body = br#"{"input":"x","top_p":0.50,"user":null,"store":true,"tools":[ {"a":1}]}"#;
        let (echo, mut out) = (read(body), Vec::new());
        for field in ["top_p", "user", "tools", "store"] {
            push(&echo, (field, b"0"), &mut out);
        }
        assert_eq!(out, br#","top_p":0.50,"user":0,"tools":[ {"a":1}],"store":0"#);
    }
}
