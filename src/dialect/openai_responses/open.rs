//! The items of a streamed answer while they are open: each writes its own events, and keeps what the
//! dialect repeats when it closes.

use crate::dialect::canonical::inside::Unwrap;
use crate::dialect::canonical::text::Text;
use crate::dialect::openai_responses::item::{self, Called, Said, Seal, Status, push_string};
use crate::dialect::openai_responses::number;
use crate::dialect::openai_responses::pen::Pen;

/// Which item it is.
#[derive(Clone, Debug)]
pub struct Spot {
    /// Its place in the answer.
    pub place: usize,
    /// Our id of it, between its quotes.
    pub id: Vec<u8>,
}

impl Spot {
    fn push(&self, data: &mut Vec<u8>) {
        data.extend_from_slice(b",\"item_id\":");
        push_string(&self.id, data);
        self.push_place(data);
    }

    fn push_place(&self, data: &mut Vec<u8>) {
        data.extend_from_slice(b",\"output_index\":");
        number::push(self.place as u64, data);
    }

    /// The item as a whole, at its beginning or its end.
    fn item(&self, name: &str, item: &[u8], pen: &mut Pen<'_>) {
        pen.event(name, |data| {
            self.push_place(data);
            data.extend_from_slice(b",\"item\":");
            data.extend_from_slice(item);
        });
    }
}

const ADDED: &str = "response.output_item.added";
const DONE: &str = "response.output_item.done";

/// Appends a member that is a string, given what is between its quotes.
fn member(name: &[u8], text: &[u8], data: &mut Vec<u8>) {
    data.extend_from_slice(b",\"");
    data.extend_from_slice(name);
    data.extend_from_slice(b"\":");
    push_string(text, data);
}

/// A message.
#[derive(Debug)]
pub struct Message {
    spot: Spot,
    /// The parts that are closed.
    content: Vec<u8>,
    closed: usize,
    /// The part that is open.
    part: Option<Said>,
    /// Its text so far.
    text: Vec<u8>,
}

impl Message {
    /// Opens it.
    pub fn open(spot: Spot, pen: &mut Pen<'_>) -> Self {
        let mut item = Vec::new();
        item::push_message(&spot.id, Status::InProgress, b"", &mut item);
        spot.item(ADDED, &item, pen);
        Self { spot, content: Vec::new(), closed: 0, part: None, text: Vec::new() }
    }

    /// More text, or more of a refusal.
    pub fn say(&mut self, said: Said, piece: &[u8], pen: &mut Pen<'_>) {
        if self.part != Some(said) {
            self.close_part(pen);
            self.part = Some(said);
            pen.event("response.content_part.added", |data| self.push_part(said, data));
        }
        self.text.extend_from_slice(piece);
        let name = match said {
            Said::Text => "response.output_text.delta",
            Said::Refusal => "response.refusal.delta",
        };
        pen.event(name, |data| {
            self.push_content_place(data);
            member(b"delta", piece, data);
            if said == Said::Text {
                data.extend_from_slice(b",\"logprobs\":[]");
            }
        });
    }

    fn push_content_place(&self, data: &mut Vec<u8>) {
        self.spot.push(data);
        data.extend_from_slice(b",\"content_index\":");
        number::push(self.closed as u64, data);
    }

    fn push_part(&self, said: Said, data: &mut Vec<u8>) {
        self.push_content_place(data);
        data.extend_from_slice(b",\"part\":");
        item::push_part(said, &self.text, data);
    }

    fn close_part(&mut self, pen: &mut Pen<'_>) {
        let Some(said) = self.part.take() else { return };
        let (name, field): (&str, &[u8]) = match said {
            Said::Text => ("response.output_text.done", b"text"),
            Said::Refusal => ("response.refusal.done", b"refusal"),
        };
        pen.event(name, |data| {
            self.push_content_place(data);
            member(field, &self.text, data);
            if said == Said::Text {
                data.extend_from_slice(b",\"logprobs\":[]");
            }
        });
        pen.event("response.content_part.done", |data| self.push_part(said, data));
        if self.closed > 0 {
            self.content.push(b',');
        }
        item::push_part(said, &self.text, &mut self.content);
        self.text.clear();
        self.closed += 1;
    }

    /// Closes it. Returns its place, and itself as JSON.
    pub fn close(mut self, status: Status, pen: &mut Pen<'_>) -> (usize, Vec<u8>) {
        self.close_part(pen);
        let mut item = Vec::new();
        item::push_message(&self.spot.id, status, &self.content, &mut item);
        self.spot.item(DONE, &item, pen);
        (self.spot.place, item)
    }

    /// Its place in the answer.
    pub const fn place(&self) -> usize {
        self.spot.place
    }
}

/// Thoughts.
#[derive(Debug)]
pub struct Thoughts {
    spot: Spot,
    summary: Vec<u8>,
    signature: Vec<u8>,
}

impl Thoughts {
    /// Opens them.
    pub fn open(spot: Spot, pen: &mut Pen<'_>) -> Self {
        let mut item = Vec::new();
        item::push_thoughts(&spot.id, b"", Seal::None, &mut item);
        spot.item(ADDED, &item, pen);
        Self { spot, summary: Vec::new(), signature: Vec::new() }
    }

    /// Whether they are signed, so that further thoughts are others.
    pub const fn is_signed(&self) -> bool {
        !self.signature.is_empty()
    }

    /// More thoughts.
    pub fn think(&mut self, piece: &[u8], pen: &mut Pen<'_>) {
        if piece.is_empty() {
            return;
        }
        if self.summary.is_empty() {
            pen.event("response.reasoning_summary_part.added", |data| self.push_part(data));
        }
        self.summary.extend_from_slice(piece);
        pen.event("response.reasoning_summary_text.delta", |data| {
            self.push_summary_place(data);
            member(b"delta", piece, data);
        });
    }

    /// More of the signature.
    pub fn sign(&mut self, piece: &[u8]) {
        self.signature.extend_from_slice(piece);
    }

    fn push_summary_place(&self, data: &mut Vec<u8>) {
        self.spot.push(data);
        data.extend_from_slice(b",\"summary_index\":0");
    }

    fn push_part(&self, data: &mut Vec<u8>) {
        self.push_summary_place(data);
        data.extend_from_slice(b",\"part\":");
        item::push_summary(&self.summary, data);
    }

    /// Closes them. Returns their place, and themselves as JSON.
    pub fn close(self, pen: &mut Pen<'_>) -> (usize, Vec<u8>) {
        if !self.summary.is_empty() {
            pen.event("response.reasoning_summary_text.done", |data| {
                self.push_summary_place(data);
                member(b"text", &self.summary, data);
            });
            pen.event("response.reasoning_summary_part.done", |data| self.push_part(data));
        }
        let seal = if self.is_signed() { Seal::Signature(&self.signature) } else { Seal::None };
        let mut item = Vec::new();
        item::push_thoughts(&self.spot.id, &self.summary, seal, &mut item);
        self.spot.item(DONE, &item, pen);
        (self.spot.place, item)
    }

    /// Writes redacted thoughts, which come all at once.
    pub fn redacted(spot: Spot, data: &[u8], pen: &mut Pen<'_>) -> (usize, Vec<u8>) {
        let thoughts = Self::open(spot, pen);
        let mut item = Vec::new();
        item::push_thoughts(&thoughts.spot.id, b"", Seal::Redacted(data), &mut item);
        thoughts.spot.item(DONE, &item, pen);
        (thoughts.spot.place, item)
    }
}

/// A call of a tool.
#[derive(Debug)]
pub struct Call {
    spot: Spot,
    called: Called,
    input: Vec<u8>,
    /// Where a function with one argument stands for a custom tool.
    unwrap: Option<Unwrap>,
}

impl Call {
    /// Opens it, at that place of the answer.
    pub fn open(called: Called, place: usize, unwraps: bool, pen: &mut Pen<'_>) -> Self {
        let spot = Spot { place, id: called.id.clone() };
        let mut item = Vec::new();
        called.push(Status::InProgress, b"", &mut item);
        spot.item(ADDED, &item, pen);
        let unwrap = unwraps.then(Unwrap::new);
        Self { spot, called, input: Vec::new(), unwrap }
    }

    /// More of what the tool is called with.
    pub fn feed(&mut self, piece: &Text<'_>, pen: &mut Pen<'_>) {
        let before = self.input.len();
        match &mut self.unwrap {
            Some(unwrap) => unwrap.feed(piece, &mut self.input),
            None => self.input.extend_from_slice(piece.as_written()),
        }
        self.told_from(before, pen);
    }

    /// Writes what has come since.
    fn told_from(&self, before: usize, pen: &mut Pen<'_>) {
        let piece = self.input.get(before..).unwrap_or_default();
        if piece.is_empty() {
            return;
        }
        let name = if self.called.is_custom {
            "response.custom_tool_call_input.delta"
        } else {
            "response.function_call_arguments.delta"
        };
        pen.event(name, |data| {
            self.spot.push(data);
            member(b"delta", piece, data);
        });
    }

    /// Closes it. Returns its place, and itself as JSON.
    pub fn close(mut self, status: Status, pen: &mut Pen<'_>) -> (usize, Vec<u8>) {
        if self.input.is_empty() && !self.called.is_custom {
            // Arguments are an object, if an empty one.
            self.input.extend_from_slice(b"{}");
            self.told_from(0, pen);
        }
        if self.called.is_custom {
            pen.event("response.custom_tool_call_input.done", |data| {
                self.spot.push(data);
                member(b"input", &self.input, data);
            });
        } else {
            pen.event("response.function_call_arguments.done", |data| {
                self.spot.push(data);
                member(b"name", &self.called.name, data);
                member(b"arguments", &self.input, data);
            });
        }
        let mut item = Vec::new();
        self.called.push(status, &self.input, &mut item);
        self.spot.item(DONE, &item, pen);
        (self.spot.place, item)
    }

    /// Its place in the answer.
    pub const fn place(&self) -> usize {
        self.spot.place
    }
}
