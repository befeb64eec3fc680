//! The events of a streamed answer in the neutral form.
//!
//! What every reader keeps to, and every writer may rely on:
//!
//! 1. `Start` comes exactly once, before everything but `Ping` and `Error`.
//! 2. Tool calls are numbered from 0 in the order of their first appearance; `CallStart` comes once
//!    for each, before its `CallInput`s. Pieces of different calls may be interleaved.
//! 3. `Signature` belongs to the thinking before it.
//! 4. `Stop` comes at most once, after all content; `Usage` at any time, and the last one counts.
//! 5. `End` comes exactly once, last, if the stream came to the end that its dialect prescribes.
//!    A stream that broke off has none. `Error` is the last event of a stream that failed.

use crate::dialect::canonical::answer::Stop;
use crate::dialect::canonical::text::Text;
use crate::usage::count::Usage;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The answer begins.
    Start(Start<'a>),
    /// More text.
    Text(Text<'a>),
    /// More of a refusal.
    Refusal(Text<'a>),
    /// More thoughts.
    Thinking(Text<'a>),
    /// By which the thoughts before it are known again.
    Signature(Text<'a>),
    /// Thoughts that only their provider can read, all at once.
    Redacted(Text<'a>),
    /// A call of a tool begins.
    CallStart {
        /// Its number.
        index: usize,
        /// By which its result will name it; empty where the provider gives none.
        id: Text<'a>,
        /// The tool.
        name: Text<'a>,
        /// Whether it is a custom tool, whose input is free text.
        is_custom: bool,
    },
    /// More of what the tool is called with: JSON text in pieces, or free text for a custom tool.
    CallInput {
        /// The number of the call.
        index: usize,
        /// The piece.
        piece: Text<'a>,
    },
    /// Why the answer ended.
    Stop {
        /// The reason.
        stop: Stop,
        /// The text that ended it, where that is known.
        sequence: Option<Text<'a>>,
    },
    /// What was used so far.
    Usage(Usage),
    /// A sign of life.
    Ping,
    /// The provider failed in the middle.
    Error(Failure<'a>),
    /// The stream came to its prescribed end.
    End,
}

/// How an answer begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Start<'a> {
    /// The provider's id of it.
    pub id: Option<Text<'a>>,
    /// The model that the provider says it is.
    pub model: Option<Text<'a>>,
    /// Seconds since the Unix epoch.
    pub created: Option<u64>,
    /// What is known of the input's tokens already.
    pub usage: Option<Usage>,
}

/// An error of a provider in the neutral form, from a body or from a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failure<'a> {
    /// The HTTP status that it is, or would be; `None` where it cannot be told.
    pub status: Option<u16>,
    /// Its kind as the provider names it (`type`).
    pub kind: Option<Text<'a>>,
    /// Its code as the provider names it (`code`, `details.error_code`).
    pub code: Option<Text<'a>>,
    /// For people.
    pub message: Option<Text<'a>>,
    /// The field of the request that it is about.
    pub param: Option<Text<'a>>,
}
