//! Puts together the calls of tools that come in pieces, and numbers them.
//!
//! Pieces belong together by `index`. Some providers leave it out, some give every call the same one
//! and tell them apart by `id` (Gemini), some send each call whole (Ollama).

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::base::limit::{EARLY_ARGUMENTS_BYTES_MAX, STREAMED_CALLS_MAX};
use crate::dialect::canonical::event::Event;
use crate::dialect::canonical::fields::members;
use crate::dialect::canonical::inside;
use crate::dialect::canonical::text::Text;
use crate::dialect::openai_chat::answer::filled;
use crate::dialect::openai_chat::stream::Sink;

/// The calls of one stream.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Open>,
    /// Room to write arguments as text that came as an object.
    quoted: Vec<u8>,
}

/// One call.
#[derive(Debug)]
struct Open {
    index: Index,
    /// Hash of its id; 0 if it has none.
    id: u64,
    /// What came before its name; `None` once that has come.
    early: Option<Early>,
}

/// By what the provider numbers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    Number(u64),
    None,
    /// The one call of the older form.
    Old,
}

#[derive(Debug, Default)]
struct Early {
    id: Text<'static>,
    input: Vec<u8>,
}

/// The members of a piece.
#[derive(Default)]
struct Piece<'a> {
    index: Option<u64>,
    id: Option<Text<'a>>,
    name: Option<Text<'a>>,
    input: &'a [u8],
    is_custom: bool,
}

impl Calls {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether some call never got its name.
    pub(super) fn has_nameless(&self) -> bool {
        self.calls.iter().any(|call| call.early.is_some())
    }

    /// Takes in one entry of `tool_calls`, or a `function_call` of old.
    ///
    /// # Errors
    /// If there are too many calls, or too much of one comes before its name.
    pub(super) fn piece(
        &mut self,
        value: &[u8],
        is_old: bool,
        sink: Sink<'_>,
    ) -> Result<(), &'static str> {
        let piece = if is_old { Piece::function(value) } else { Piece::of(value) };
        let number = match self.find(&piece, is_old) {
            Some(number) => number,
            None => self.open(&piece, is_old)?,
        };
        let Self { calls, quoted } = self;
        let Some(call) = calls.get_mut(number) else { return Ok(()) };
        let input = if let Some(text) = Text::token(piece.input) {
            text
        } else {
            quoted.clear();
            if piece.input.starts_with(b"{") {
                inside::quote(piece.input, quoted);
            }
            Text::written(quoted)
        };
        if let Some(early) = &mut call.early {
            let Some(name) = piece.name else { return early.keep(piece.id, &input) };
            let id = piece.id.clone().unwrap_or_else(|| Text::written(early.id.as_written()));
            sink(Event::CallStart { index: number, id, name, is_custom: piece.is_custom });
            if !early.input.is_empty() {
                let piece = Text::written(&early.input);
                sink(Event::CallInput { index: number, piece });
            }
            call.early = None;
        }
        if !input.is_empty() {
            sink(Event::CallInput { index: number, piece: input });
        }
        Ok(())
    }

    /// The call that a piece belongs to; `None` if a new one begins.
    fn find(&self, piece: &Piece<'_>, is_old: bool) -> Option<usize> {
        let id = piece.id_hash();
        let found = match (is_old, piece.index) {
            (true, _) => self.calls.iter().rposition(|call| call.index == Index::Old),
            (_, Some(index)) => {
                self.calls.iter().rposition(|call| call.index == Index::Number(index))
            }
            (_, None) if id != 0 => self.calls.iter().rposition(|call| call.id == id),
            // Without any mark it can only be more of the last one, unless that is whole already.
            _ => self.calls.len().checked_sub(1).filter(|&last| {
                let named = self.calls.get(last).is_some_and(|call| call.early.is_none());
                !(named && piece.name.is_some())
            }),
        }?;
        let call = self.calls.get(found)?;
        let is_other = id != 0 && call.id != 0 && id != call.id && piece.name.is_some();
        (!is_other).then_some(found)
    }

    fn open(&mut self, piece: &Piece<'_>, is_old: bool) -> Result<usize, &'static str> {
        if self.calls.len() >= STREAMED_CALLS_MAX {
            return Err("The provider called too many tools in one answer.");
        }
        let index = match (is_old, piece.index) {
            (true, _) => Index::Old,
            (_, Some(index)) => Index::Number(index),
            (_, None) => Index::None,
        };
        self.calls.push(Open { index, id: piece.id_hash(), early: Some(Early::default()) });
        Ok(self.calls.len() - 1)
    }
}

impl Early {
    /// Keeps what comes before the name.
    fn keep(&mut self, id: Option<Text<'_>>, input: &Text<'_>) -> Result<(), &'static str> {
        let id_len = id.as_ref().map_or(0, |id| id.as_written().len());
        let len = self.input.len() + input.as_written().len() + id_len;
        if len > EARLY_ARGUMENTS_BYTES_MAX {
            return Err("The provider called a tool without its name.");
        }
        if let Some(id) = id {
            self.id = id.into_owned();
        }
        self.input.extend_from_slice(input.as_written());
        Ok(())
    }
}

impl<'a> Piece<'a> {
    fn of(value: &'a [u8]) -> Self {
        let mut piece = Self::default();
        for (key, value) in members(value) {
            match &*key {
                b"index" => {
                    piece.index = std::str::from_utf8(value).ok().and_then(|one| one.parse().ok());
                }
                b"id" => piece.id = filled(value),
                b"type" => piece.is_custom |= value == b"\"custom\"",
                b"function" | b"custom" => {
                    let Piece { name, input, .. } = Piece::function(value);
                    (piece.name, piece.input) = (name, input);
                    piece.is_custom |= &*key == b"custom";
                }
                _ => {}
            }
        }
        piece
    }

    fn function(value: &'a [u8]) -> Self {
        let mut piece = Self::default();
        for (key, value) in members(value) {
            match &*key {
                b"name" => piece.name = filled(value),
                b"arguments" | b"input" => piece.input = value,
                _ => {}
            }
        }
        piece
    }

    fn id_hash(&self) -> u64 {
        let Some(id) = &self.id else { return 0 };
        let mut hasher = DefaultHasher::new();
        id.as_written().hash(&mut hasher);
        hasher.finish().max(1)
    }
}
