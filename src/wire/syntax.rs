//! Where things lie in a JSON text, and what can be wrong with it.
//!
//! The shared words of the wire room: byte ranges and syntax errors. Errors carry offsets and fixed
//! phrases only, never text of the body, so that a prompt cannot leak into an answer or a log.

use std::fmt;

use crate::base::limit;

/// A range of bytes of one held body, `start` included and `end` not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
}

impl Span {
    /// The range from `start` up to, not including, `end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// All of those bytes.
    pub const fn whole(body: &[u8]) -> Self {
        Self { start: 0, end: body.len() }
    }

    /// How many bytes it covers.
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether it covers none.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The bytes it covers; none if it does not lie within `body`.
    pub fn of(self, body: &[u8]) -> &[u8] {
        body.get(self.start..self.end).unwrap_or_default()
    }
}

/// One member of an object: what is needed to read it, to replace its value or to remove it whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The key as it was written, without its quotes; escapes are still in it.
    pub key: Span,
    /// The value; a string's quotes are part of it.
    pub value: Span,
    /// Offset of the `{` or `,` in front.
    pub before: usize,
    /// Offset of the `,` or `}` behind.
    pub after: usize,
}

impl Member {
    /// From the key's opening quote to the end of the value.
    pub const fn span(&self) -> Span {
        Span { start: self.key.start.saturating_sub(1), end: self.value.end }
    }
}

/// What stands in the way of reading a text as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A value had to start here.
    Value,
    /// The body's one object had to start here.
    Object,
    /// A key, or the end of an object that is still empty.
    KeyOrClose,
    /// A key had to follow the comma.
    Key,
    /// The colon between key and value.
    Colon,
    /// A comma, or the end of the object.
    CommaOrObjectEnd,
    /// A comma, or the end of the array.
    CommaOrArrayEnd,
    /// A number lacks a digit, or has one too many in front.
    Digit,
    /// After a backslash, something that is no escape.
    Escape,
    /// A string without its closing quote.
    StringEnd,
    /// A raw control character in a string.
    Control,
    /// More nesting than `limit::JSON_DEPTH_MAX`.
    TooDeep,
    /// Something follows the object.
    Trailing,
    /// The body opens with a byte order mark.
    ByteOrderMark,
    /// The bytes are not UTF-8.
    Encoding,
}

impl Problem {
    /// What should have stood there, to follow the words "expected".
    const fn expected(self) -> &'static str {
        match self {
            Self::Value => "a JSON value",
            Self::Object => "a JSON object",
            Self::KeyOrClose => "a key in double quotes or `}`",
            Self::Key => "a key in double quotes",
            Self::Colon => "`:`",
            Self::CommaOrObjectEnd => "`,` or `}`",
            Self::CommaOrArrayEnd => "`,` or `]`",
            Self::Digit => "a number as JSON writes it",
            Self::Escape => "one of the escapes of JSON strings",
            Self::StringEnd => "the closing quote of a string",
            Self::Control => "an escape in place of a raw control character",
            Self::TooDeep => "less nesting",
            Self::Trailing => "the end of the body",
            Self::ByteOrderMark => "UTF-8 without a byte order mark",
            Self::Encoding => "UTF-8",
        }
    }
}

/// A text that is not JSON: what is wrong and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub problem: Problem,
    /// Offset in bytes from the start of the body.
    pub offset: usize,
    /// Whether the body ends there, so that more of it might have helped.
    pub ended: bool,
}

impl SyntaxError {
    /// That problem at that offset of `body`.
    #[cold]
    pub fn at(problem: Problem, body: &[u8], offset: usize) -> Self {
        Self { problem, offset, ended: offset >= body.len() }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { problem, offset, ended } = *self;
        match problem {
            Problem::TooDeep => {
                write!(f, "nested deeper than {} levels at byte {offset}", limit::JSON_DEPTH_MAX)
            }
            _ if ended => {
                write!(f, "ends at byte {offset} where {} was expected", problem.expected())
            }
            _ => write!(f, "at byte {offset}: expected {}", problem.expected()),
        }
    }
}

impl std::error::Error for SyntaxError {}
