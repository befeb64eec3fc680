//! Why a model stopped, under one name for all providers (`wire.md` 5.4).
//!
//! For the record and for telling a failed answer from a finished one; translation of stop reasons
//! between dialects is the business of `dialect`.

use crate::usage::scan::{members, unquoted};
use crate::usage::top::Top;

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finish {
    /// It had said all, or met a stop sequence.
    Stop,
    /// It ran into a limit of tokens.
    Length,
    /// It calls tools.
    ToolCalls,
    /// It was stopped for its content, or refused.
    Filtered,
    /// It failed: a wrong answer with a finish reason.
    Error,
    /// A reason that we do not know.
    Other,
}

impl Finish {
    /// Reads a reason. The empty string, which xAI sends with tool calls, says nothing.
    pub(crate) fn of(value: &[u8]) -> Option<Self> {
        Some(match unquoted(value)? {
            b"" => return None,
            b"stop" | b"end_turn" | b"stop_sequence" | b"STOP" => Self::Stop,
            b"length" | b"max_tokens" | b"model_context_window_exceeded" | b"MAX_TOKENS" => {
                Self::Length
            }
            b"tool_calls" | b"function_call" | b"tool_use" => Self::ToolCalls,
            b"content_filter"
            | b"refusal"
            | b"SAFETY"
            | b"RECITATION"
            | b"BLOCKLIST"
            | b"PROHIBITED_CONTENT"
            | b"SPII" => Self::Filtered,
            b"error" => Self::Error,
            _ => Self::Other,
        })
    }

    /// The reason of a finished Responses answer.
    pub(crate) fn of_response(response: &Top<'_>) -> Self {
        let Some(details) = response.incomplete else {
            return Self::Stop;
        };
        let mut finish = Self::Length;
        members(details, |key, value| {
            if (key, value) == (b"reason", b"\"content_filter\"") {
                finish = Self::Filtered;
            }
        });
        finish
    }

    /// The name used in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::Filtered => "content_filter",
            Self::Error => "error",
            Self::Other => "other",
        }
    }
}
