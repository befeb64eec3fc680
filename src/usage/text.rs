//! How many bytes of an answer are the model's own words, for the estimate when no usage comes.
//!
//! It adds up the string values below a value, less those of keys that carry envelope: a cheap
//! stand-in for knowing every provider's shape of deltas, reasoning and tool calls. Escapes count as
//! written, so `\n` is two bytes: the estimate errs on the dear side.
//!
//! Hot path: `benches/sse.rs`, run for every delta of a stream.

use crate::usage::scan::{skip_white, string_end, value_end};

/// The bytes of text below the value that starts at `at`, and the offset behind it. `None` if the
/// value is not whole.
pub(crate) fn measure(json: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let mut bytes = 0;
    let mut depth = 0_usize;
    loop {
        match json.get(at)? {
            b'"' => {
                let end = string_end(json, at + 1)?;
                let string = &json[at + 1..end];
                at = skip_white(json, end + 1);
                if depth > 0 && json.get(at)? == &b':' {
                    at = skip_white(json, at + 1);
                    at = if is_envelope(string) { value_end(json, at)? } else { at };
                    continue;
                }
                bytes += string.len() as u64;
                // The caller wants the offset behind the string, not behind the space after it.
                at = if depth == 0 { end + 1 } else { at };
            }
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            _ if depth == 0 => at = value_end(json, at)?,
            _ => at = skip_plain(json, at),
        }
        if depth == 0 {
            return Some((bytes, at));
        }
    }
}

/// Passes over commas, white space, numbers and bare words.
fn skip_plain(json: &[u8], at: usize) -> usize {
    let rest = &json[at..];
    let plain = |byte: &u8| !matches!(byte, b'"' | b'{' | b'}' | b'[' | b']');
    at + rest.iter().position(|byte| !plain(byte)).unwrap_or(rest.len())
}

/// Keys whose values the model did not write: names of the protocol, ids, signatures, a second copy
/// of the reasoning (`reasoning_details`), media that is not charged as text.
fn is_envelope(key: &[u8]) -> bool {
    matches!(
        key,
        b"role"
            | b"type"
            | b"id"
            | b"object"
            | b"model"
            | b"status"
            | b"signature"
            | b"reasoning_details"
            | b"format"
            | b"logprobs"
            | b"annotations"
            | b"finish_reason"
            | b"native_finish_reason"
            | b"finishReason"
            | b"stop_reason"
            | b"call_id"
            | b"item_id"
            | b"encrypted_content"
            | b"obfuscation"
            | b"usage"
            | b"metadata"
            | b"citations"
            | b"safetyRatings"
            | b"content_filter_results"
            | b"images"
            | b"image_url"
            | b"b64_json"
            | b"inlineData"
            | b"audio"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn bytes(json: &str) -> u64 {
        let (bytes, end) = measure(json.as_bytes(), 0).unwrap();
        assert_eq!(end, json.len());
        bytes
    }

    #[test]
    fn only_the_models_words_count() {
        assert_eq!(bytes(r#"{"content":"Blue"}"#), 4);
        assert_eq!(bytes(r#""Two""#), 3);
        assert_eq!(bytes("{}"), 0);
        assert_eq!(bytes(r#"{"role":"assistant","content":"","refusal":null}"#), 0);
        assert_eq!(bytes(r#"{"content":null,"reasoning_content":"Think"}"#), 5);
        assert_eq!(
            bytes(
                r#"{"tool_calls":[{"index":0,"id":"call_a1","type":"function","function":{"name":"grep","arguments":"{\"p"}}]}"#
            ),
            4 + 4
        );
        assert_eq!(
            bytes(
                r#"{ "reasoning" : "Count", "reasoning_details" : [ {"text":"Count"} ], "n": 3 }"#
            ),
            5
        );
        assert_eq!(bytes(r#"{"type":"input_json_delta","partial_json":"{\"path\""}"#), 9);
    }

    #[test]
    fn a_value_that_is_not_whole_has_no_measure() {
        for cut in ["", "{", "\"a", "{\"content\":\"Bl", "{\"content\"", "[[1]", "nul", "}"] {
            assert_eq!(measure(cut.as_bytes(), 0), None, "{cut}");
        }
        assert_eq!(measure(b"null}", 0), Some((0, 4)));
        assert_eq!(measure(b"\"ab\" }", 0), Some((2, 4)));
    }
}
