//! Reads a stream of the Messages API, event by event.
//!
//! Hot path. Nothing is kept but where the stream stands. Blocks that are not known are passed over with
//! all that is in them: new ones appear all the time, and text is never made up from them.

use crate::dialect::anthropic::failure;
use crate::dialect::anthropic::words::stop_of;
use crate::dialect::canonical::event::{Event, Failure, Start};
use crate::dialect::canonical::fields::pick;
use crate::dialect::canonical::inside::quote;
use crate::dialect::canonical::marks::UNSIGNED;
use crate::dialect::canonical::text::Text;
use crate::usage::count::Usage;
use crate::usage::field::Counts;
use crate::wire::json;

/// Who gets the events.
type Sink<'s> = dyn FnMut(Event<'_>) + 's;

/// A stream being read.
#[derive(Debug, Default)]
pub struct Reader {
    has_started: bool,
    has_stopped: bool,
    is_over: bool,
    /// Calls so far.
    calls: usize,
    block: Block,
    /// The input of a call that came whole with its beginning.
    input: Vec<u8>,
    counts: Counts,
}

/// The block that is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Block {
    /// None, or one of text or thoughts: their pieces say themselves what they are.
    #[default]
    Plain,
    /// A call by its number.
    Call(usize),
    /// One that is passed over.
    Unknown,
}

impl Reader {
    /// Before the first event.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one event: its name, and its data, which may be anything.
    pub fn read(&mut self, name: Option<&[u8]>, data: &[u8], sink: &mut dyn FnMut(Event<'_>)) {
        if self.is_over || data.is_empty() {
            return;
        }
        let Ok(whole) = json::check(data) else {
            self.is_over = true;
            let message = "the provider sent an event that is not JSON";
            return sink(Event::Error(Failure {
                status: Some(502),
                kind: Some(Text::of("api_error")),
                message: Some(Text::of(message)),
                ..Failure::default()
            }));
        };
        let [kind, delta, block, message, usage, error] =
            pick(whole.of(data), ["type", "delta", "content_block", "message", "usage", "error"]);
        let kind = kind.and_then(Text::token);
        match kind.as_ref().map_or(name.unwrap_or_default(), Text::as_written) {
            b"content_block_delta" => self.piece(delta.unwrap_or_default(), sink),
            b"content_block_start" => self.open(block.unwrap_or_default(), sink),
            b"content_block_stop" => self.close(sink),
            b"message_start" => self.start(message.unwrap_or_default(), sink),
            b"message_delta" => self.change(delta.unwrap_or_default(), usage, sink),
            // Of nothing that began, it is the end of nothing.
            b"message_stop" => {
                self.is_over = true;
                sink(Event::End);
            }
            b"ping" => sink(Event::Ping),
            b"error" => {
                self.is_over = true;
                sink(Event::Error(failure::of_object(error.unwrap_or_default())));
            }
            _ => {}
        }
    }

    /// The end of the bytes. A stream of this dialect ends by itself or not at all.
    pub fn finish(&mut self, _sink: &mut dyn FnMut(Event<'_>)) {
        self.is_over = true;
    }

    fn start(&mut self, message: &[u8], sink: &mut Sink<'_>) {
        if std::mem::replace(&mut self.has_started, true) {
            return;
        }
        let [id, model, usage] = pick(message, ["id", "model", "usage"]);
        let usage = usage.and_then(|usage| self.count(usage));
        let (id, model) = (id.and_then(Text::token), model.and_then(Text::token));
        sink(Event::Start(Start { id, model, created: None, usage }));
    }

    /// Whatever comes first, the answer's beginning comes before it.
    fn begun(&mut self, sink: &mut Sink<'_>) {
        if !std::mem::replace(&mut self.has_started, true) {
            sink(Event::Start(Start::default()));
        }
    }

    /// A report of what was used: what it lacks stays as it was.
    fn count(&mut self, usage: &[u8]) -> Option<Usage> {
        self.counts.overlay(Counts::read(usage)?);
        self.counts.clone().into_report().map(|report| report.usage)
    }

    fn open(&mut self, block: &[u8], sink: &mut Sink<'_>) {
        self.begun(sink);
        let [kind, text, thinking, id, name, input, data] =
            pick(block, ["type", "text", "thinking", "id", "name", "input", "data"]);
        self.block = Block::Plain;
        match kind.unwrap_or_default() {
            b"\"text\"" => give(text, Event::Text, sink),
            b"\"thinking\"" => give(thinking, Event::Thinking, sink),
            b"\"redacted_thinking\"" => give(data, Event::Redacted, sink),
            b"\"tool_use\"" => {
                let index = self.calls;
                self.calls += 1;
                self.block = Block::Call(index);
                self.input.clear();
                // Mostly `{}`, and the input follows in pieces.
                let inside = input.and_then(|input| input.strip_prefix(b"{"));
                if let Some(input) =
                    input.filter(|_| inside.is_some_and(|one| one.trim_ascii() != b"}"))
                {
                    quote(input, &mut self.input);
                }
                let id = id.and_then(Text::token).unwrap_or_default();
                let name = name.and_then(Text::token).unwrap_or_default();
                sink(Event::CallStart { index, id, name, is_custom: false });
            }
            _ => self.block = Block::Unknown,
        }
    }

    fn piece(&mut self, delta: &[u8], sink: &mut Sink<'_>) {
        if self.block == Block::Unknown {
            return;
        }
        self.begun(sink);
        let [kind, text, input, thinking, signature] =
            pick(delta, ["type", "text", "partial_json", "thinking", "signature"]);
        match (kind.unwrap_or_default(), self.block) {
            (b"\"text_delta\"", _) => give(text, Event::Text, sink),
            (b"\"thinking_delta\"", _) => give(thinking, Event::Thinking, sink),
            (b"\"signature_delta\"", _) => {
                let theirs =
                    signature.filter(|one| json::string(one).is_none_or(|one| one != UNSIGNED));
                give(theirs, Event::Signature, sink);
            }
            (b"\"input_json_delta\"", Block::Call(index)) => {
                let is_some = input.is_some_and(|input| input != b"\"\"");
                if is_some {
                    self.input.clear();
                }
                give(input, |piece| Event::CallInput { index, piece }, sink);
            }
            _ => {}
        }
    }

    fn close(&mut self, sink: &mut Sink<'_>) {
        if let Block::Call(index) = self.block
            && !self.input.is_empty()
        {
            sink(Event::CallInput { index, piece: Text::written(&self.input) });
            self.input.clear();
        }
        self.block = Block::Plain;
    }

    fn change(&mut self, delta: &[u8], usage: Option<&[u8]>, sink: &mut Sink<'_>) {
        self.begun(sink);
        if let Some(usage) = usage.and_then(|usage| self.count(usage)) {
            sink(Event::Usage(usage));
        }
        let [reason, sequence] = pick(delta, ["stop_reason", "stop_sequence"]);
        if let Some(reason) = reason.filter(|_| !self.has_stopped) {
            self.has_stopped = true;
            let sequence = sequence.and_then(Text::token);
            sink(Event::Stop { stop: stop_of(reason), sequence });
        }
    }
}

/// Gives out a string, if it is one and says anything.
fn give<'a>(
    token: Option<&'a [u8]>,
    event: impl FnOnce(Text<'a>) -> Event<'a>,
    sink: &mut Sink<'_>,
) {
    if let Some(text) = token.and_then(Text::token).filter(|text| !text.is_empty()) {
        sink(event(text));
    }
}
