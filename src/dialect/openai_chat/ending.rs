//! How an answer ends: the reasons in both directions (`wire.md` 5.4), and its usage as this dialect
//! writes it.

use crate::dialect::canonical::answer::Stop;
use crate::usage::count::{Report, Usage};
use crate::usage::finish::Finish;

/// What a provider says of an answer's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Said(Stop),
    /// The empty string, which says nothing: xAI sends it with tool calls, others on every chunk.
    Silent,
    /// A wrong answer with a finish reason.
    Failed,
}

/// Gemini's words for calls that it could not write.
const FAILED: [&[u8]; 3] =
    [b"\"MALFORMED_FUNCTION_CALL\"", b"\"UNEXPECTED_TOOL_CALL\"", b"\"MISSING_THOUGHT_SIGNATURE\""];

/// What `finish_reason` says; `None` if it is no string.
pub(super) fn read(value: &[u8]) -> Option<Ending> {
    if !value.starts_with(b"\"") {
        return None;
    }
    if FAILED.iter().any(|word| word.eq_ignore_ascii_case(value)) {
        return Some(Ending::Failed);
    }
    Some(match Finish::of(value) {
        None => Ending::Silent,
        Some(Finish::Stop | Finish::Other) => Ending::Said(Stop::End),
        Some(Finish::Length) => Ending::Said(Stop::Length),
        Some(Finish::ToolCalls) => Ending::Said(Stop::Tools),
        Some(Finish::Filtered) => Ending::Said(Stop::Refusal),
        Some(Finish::Error) => Ending::Failed,
    })
}

/// The reason why an answer with or without calls ended. Gemini and Ollama say `stop` with calls too,
/// by which clients of other dialects would take the turn for finished.
pub(super) const fn reason(said: Option<Stop>, has_calls: bool) -> Option<Stop> {
    match said {
        None | Some(Stop::End) if has_calls => Some(Stop::Tools),
        _ => said,
    }
}

/// This dialect's word for a reason.
pub(super) const fn word(stop: Stop) -> &'static str {
    match stop {
        Stop::End | Stop::StopSequence | Stop::Pause => "stop",
        Stop::Length | Stop::Window => "length",
        Stop::Tools => "tool_calls",
        Stop::Refusal => "content_filter",
    }
}

/// What a usage object says.
pub(super) fn usage(object: &[u8]) -> Option<Usage> {
    Report::read(object).map(|report| report.usage)
}

/// Writes the usage object. Cache reads and writes are parts of the prompt here.
pub(super) fn usage_into(usage: &Usage, out: &mut Vec<u8>) {
    let written = usage.cache_write.saturating_add(usage.cache_write_1h);
    let pieces = [
        ("{\"prompt_tokens\":", usage.input_total()),
        (",\"completion_tokens\":", usage.output),
        (",\"total_tokens\":", usage.total()),
        (",\"prompt_tokens_details\":{\"cached_tokens\":", usage.cache_read),
        (",\"cache_write_tokens\":", written),
        ("},\"completion_tokens_details\":{\"reasoning_tokens\":", usage.reasoning),
    ];
    for (lead, count) in pieces {
        out.extend_from_slice(lead.as_bytes());
        number_into(count, out);
    }
    out.extend_from_slice(b"}}");
}

/// Writes a number.
pub(super) fn number_into(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = number;
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + u8::try_from(left % 10).unwrap_or_default();
        }
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_known_by_all_their_names() {
        for (value, ending) in [
            ("\"stop\"", Some(Ending::Said(Stop::End))),
            ("\"eos\"", Some(Ending::Said(Stop::End))),
            ("\"length\"", Some(Ending::Said(Stop::Length))),
            ("\"tool_calls\"", Some(Ending::Said(Stop::Tools))),
            ("\"function_call\"", Some(Ending::Said(Stop::Tools))),
            ("\"content_filter\"", Some(Ending::Said(Stop::Refusal))),
            ("\"\"", Some(Ending::Silent)),
            ("\"error\"", Some(Ending::Failed)),
            ("\"malformed_function_call\"", Some(Ending::Failed)),
            ("7", None),
        ] {
            assert_eq!(read(value.as_bytes()), ending, "{value}");
        }
        assert_eq!(reason(Some(Stop::End), true), Some(Stop::Tools));
        assert_eq!(reason(Some(Stop::Length), true), Some(Stop::Length));
        assert_eq!(reason(None, false), None);
    }

    #[test]
    fn usage_comes_back_as_it_was() {
        let usage_of = Usage {
            input: 10,
            cache_read: 20,
            cache_write: 30,
            output: 1_234_567_890,
            reasoning: 7,
            ..Usage::default()
        };
        let mut out = Vec::new();
        usage_into(&usage_of, &mut out);
        // More tokens than any answer has are held by the reader.
        let small = Usage { output: 50, ..usage_of };
        assert!(out.windows(10).any(|window| window == b"1234567890"));
        out.clear();
        usage_into(&small, &mut out);
        assert_eq!(usage(&out), Some(small));
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for number in [0, 7, 10, 999, u64::MAX] {
            let mut out = Vec::new();
            number_into(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
