//! A whole answer in the neutral form.

use crate::dialect::canonical::request::{Call, Thinking};
use crate::dialect::canonical::text::Text;
use crate::usage::count::Usage;

/// What a model answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer<'a> {
    /// The provider's id of it.
    pub id: Option<Text<'a>>,
    /// The model that the provider says it was.
    pub model: Option<Text<'a>>,
    /// Seconds since the Unix epoch.
    pub created: Option<u64>,
    /// What was said, in order.
    pub blocks: Vec<Block<'a>>,
    /// Why it ended; `None` where the provider does not say.
    pub stop: Option<Stop>,
    /// The text that ended it, where that is known.
    pub stop_sequence: Option<Text<'a>>,
    /// What was used; `None` where the provider does not say.
    pub usage: Option<Usage>,
}

/// One piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Block<'a> {
    /// Text.
    Text(Text<'a>),
    /// The model declined.
    Refusal(Text<'a>),
    /// A call of a tool.
    Call(Call<'a>),
    /// Thoughts.
    Thinking(Thinking<'a>),
    /// Thoughts that only their provider can read.
    Redacted(Text<'a>),
}

/// Why an answer ended (`wire.md` section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The model was done.
    End,
    /// One of the stop texts came.
    StopSequence,
    /// The cap on its length was reached.
    Length,
    /// The context window was full.
    Window,
    /// Tools are to be called.
    Tools,
    /// It was refused or filtered.
    Refusal,
    /// The provider paused a long turn.
    Pause,
}
