//! What Messages answers and streams have in common: how a call begins, why an answer ended, and what it
//! used.

use std::io::Write as _;

use crate::dialect::canonical::answer::Stop;
use crate::dialect::canonical::text::Text;
use crate::usage::count::Usage;

/// How a call begins.
#[derive(Debug)]
pub struct Begun<'a> {
    /// Its number.
    pub index: usize,
    /// Its id.
    pub id: Text<'a>,
    /// Its tool.
    pub name: Text<'a>,
    /// Whether its input is free text.
    pub is_custom: bool,
}

impl Begun<'_> {
    /// The same, independent of the event that it came with.
    pub fn into_owned(self) -> Begun<'static> {
        let Self { index, id, name, is_custom } = self;
        Begun { index, id: id.into_owned(), name: name.into_owned(), is_custom }
    }
}

/// What a `stop_reason` means, by its token. One that is not known is an end like any other.
pub fn stop_of(reason: &[u8]) -> Stop {
    match reason {
        b"\"stop_sequence\"" => Stop::StopSequence,
        b"\"max_tokens\"" => Stop::Length,
        b"\"model_context_window_exceeded\"" => Stop::Window,
        b"\"tool_use\"" => Stop::Tools,
        b"\"refusal\"" => Stop::Refusal,
        b"\"pause_turn\"" | b"\"compaction\"" => Stop::Pause,
        _ => Stop::End,
    }
}

/// What the blocks of an answer say about its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said {
    /// Tools were called.
    pub has_calls: bool,
    /// The model declined.
    pub has_refusal: bool,
}

/// The `stop_reason`. Some providers call an answer with calls, or one that declines, an ordinary
/// end; the clients of Messages go by the reason alone.
pub fn stop_reason(stop: Stop, sequence: Option<&Text<'_>>, said: Said) -> &'static str {
    match stop {
        Stop::StopSequence if sequence.is_some() => "stop_sequence",
        Stop::End | Stop::StopSequence if said.has_calls => "tool_use",
        Stop::End | Stop::StopSequence if said.has_refusal => "refusal",
        Stop::End | Stop::StopSequence => "end_turn",
        Stop::Length => "max_tokens",
        Stop::Window => "model_context_window_exceeded",
        Stop::Tools => "tool_use",
        Stop::Refusal => "refusal",
        Stop::Pause => "pause_turn",
    }
}

/// Appends `"stop_reason":..,"stop_sequence":..`.
pub fn stop_into(stop: Option<Stop>, sequence: Option<&Text<'_>>, said: Said, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"stop_reason\":");
    match stop {
        Some(stop) => {
            out.push(b'"');
            out.extend_from_slice(stop_reason(stop, sequence, said).as_bytes());
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"stop_sequence\":");
    match sequence.filter(|_| stop == Some(Stop::StopSequence)) {
        Some(sequence) => sequence.quote_into(out),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends the object of `usage`.
pub fn usage_into(usage: &Usage, out: &mut Vec<u8>) {
    let (short, long) = (usage.cache_write, usage.cache_write_1h);
    // Writing to a `Vec` cannot fail.
    let _ = write!(
        out,
        "{{\"input_tokens\":{},\"cache_creation_input_tokens\":{},\"cache_read_input_tokens\":{}",
        usage.input,
        short.saturating_add(long),
        usage.cache_read,
    );
    if short > 0 || long > 0 {
        let _ = write!(
            out,
            ",\"cache_creation\":{{\"ephemeral_5m_input_tokens\":{short},\"ephemeral_1h_input_tokens\":{long}}}",
        );
    }
    let _ = write!(out, ",\"output_tokens\":{}", usage.output);
    if usage.reasoning > 0 {
        let _ =
            write!(out, ",\"output_tokens_details\":{{\"thinking_tokens\":{}}}", usage.reasoning);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::count::Report;

    #[test]
    fn every_reason_comes_back_as_itself() {
        let stops = [
            Stop::End,
            Stop::StopSequence,
            Stop::Length,
            Stop::Window,
            Stop::Tools,
            Stop::Refusal,
            Stop::Pause,
        ];
        for stop in stops {
            let word = stop_reason(stop, Some(&Text::of("x")), Said::default());
            assert_eq!(stop_of(format!("\"{word}\"").as_bytes()), stop);
        }
        assert_eq!(stop_of(b"\"something new\""), Stop::End);
        assert_eq!(stop_reason(Stop::StopSequence, None, Said::default()), "end_turn");
        let said = Said { has_calls: true, has_refusal: false };
        assert_eq!(stop_reason(Stop::End, None, said), "tool_use");
        let said = Said { has_calls: false, has_refusal: true };
        assert_eq!(stop_reason(Stop::End, None, said), "refusal");
        assert_eq!(stop_reason(Stop::Length, None, said), "max_tokens");
    }

    #[test]
    fn usage_reads_back() {
        for usage in [
            Usage { input: 1, output: 9, reasoning: 3, ..Usage::default() },
            Usage { cache_read: 4, cache_write: 5, cache_write_1h: 6, ..Usage::default() },
        ] {
            let mut out = Vec::new();
            usage_into(&usage, &mut out);
            assert_eq!(Report::read(&out).expect("a report").usage, usage);
        }
    }
}
