//! Writes the items of an answer: messages, thoughts, calls of tools.
//!
//! Every field is there that typed clients ask for, even where it can only be empty.

use crate::dialect::canonical::inside;
use crate::dialect::canonical::marks::REDACTED;
use crate::dialect::canonical::request::Input;
use crate::dialect::canonical::style::Style;
use crate::dialect::canonical::text::Text;
use crate::dialect::openai_responses::number;
use crate::dialect::openai_responses::thoughts;

/// What kind of item it is, by the beginning of the id that we make for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message.
    Message,
    /// Thoughts.
    Thoughts,
    /// A call of a tool.
    Call,
}

/// How far an item has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// More of it follows.
    InProgress,
    /// It is whole.
    Completed,
    /// It was cut off.
    Incomplete,
}

impl Status {
    /// The dialect's word for it.
    pub const fn name(self) -> &'static [u8] {
        match self {
            Self::InProgress => b"in_progress",
            Self::Completed => b"completed",
            Self::Incomplete => b"incomplete",
        }
    }
}

/// Whether a part of a message is text or a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Text.
    Text,
    /// The model declined.
    Refusal,
}

/// The id of the item at a place of the answer, between its quotes.
pub fn id(kind: Kind, style: &Style, place: usize) -> Vec<u8> {
    let prefix: &[u8] = match kind {
        Kind::Message => b"msg_weir_",
        Kind::Thoughts => b"rs_weir_",
        Kind::Call => b"fc_weir_",
    };
    let mut id = prefix.to_vec();
    id.extend_from_slice(Text::of(&style.request_id).as_written());
    id.push(b'_');
    number::push(place as u64, &mut id);
    id
}

/// The id of a call that its provider gave none, between its quotes.
pub fn call_id(style: &Style, place: usize) -> Vec<u8> {
    let mut id = b"call_".to_vec();
    id.extend_from_slice(Text::of(&style.request_id).as_written());
    id.push(b'_');
    number::push(place as u64, &mut id);
    id
}

/// Appends a string, given what is between its quotes.
pub fn push_string(inside: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(inside);
    out.push(b'"');
}

/// Appends a part of a message.
pub fn push_part(said: Said, text: &[u8], out: &mut Vec<u8>) {
    let head: &[u8] = match said {
        Said::Text => b"{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":",
        Said::Refusal => b"{\"type\":\"refusal\",\"refusal\":",
    };
    out.extend_from_slice(head);
    push_string(text, out);
    out.push(b'}');
}

/// Appends a message, given what is between the brackets of its content.
pub fn push_message(id: &[u8], status: Status, content: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    push_string(id, out);
    out.extend_from_slice(b",\"type\":\"message\",\"status\":");
    push_string(status.name(), out);
    out.extend_from_slice(b",\"role\":\"assistant\",\"content\":[");
    out.extend_from_slice(content);
    out.extend_from_slice(b"]}");
}

/// By what thoughts are known again.
#[derive(Clone, Copy, Debug)]
pub enum Seal<'s> {
    /// By nothing.
    None,
    /// By a signature.
    Signature(&'s [u8]),
    /// They are redacted as a whole.
    Redacted(&'s [u8]),
}

/// Appends thoughts.
pub fn push_thoughts(id: &[u8], summary: &[u8], seal: Seal<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    push_string(id, out);
    out.extend_from_slice(b",\"type\":\"reasoning\",\"summary\":[");
    if !summary.is_empty() {
        push_summary(summary, out);
    }
    out.push(b']');
    match seal {
        Seal::None => {}
        Seal::Signature(signature) => {
            out.extend_from_slice(b",\"encrypted_content\":\"");
            thoughts::push_signature(signature, out);
            out.push(b'"');
        }
        Seal::Redacted(data) => {
            out.extend_from_slice(b",\"encrypted_content\":\"");
            out.extend_from_slice(REDACTED.as_bytes());
            out.extend_from_slice(data);
            out.push(b'"');
        }
    }
    out.push(b'}');
}

/// Appends the one part of a summary.
pub fn push_summary(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"summary_text\",\"text\":");
    push_string(text, out);
    out.push(b'}');
}

/// A call of a tool, its texts as written and without quotes.
#[derive(Clone, Debug)]
pub struct Called {
    /// Our id of the item.
    pub id: Vec<u8>,
    /// By which its result names it.
    pub call_id: Vec<u8>,
    /// The tool, by the client's name for it.
    pub name: Vec<u8>,
    /// Whether the client knows the tool as a custom one.
    pub is_custom: bool,
}

impl Called {
    /// The call at a place of the answer.
    pub fn new(id: &Text<'_>, name: &Text<'_>, style: &Style, place: usize) -> Self {
        let given = id.as_written();
        Self {
            id: self::id(Kind::Call, style, place),
            call_id: if given.is_empty() { call_id(style, place) } else { given.to_vec() },
            name: style.memory.original(name).as_written().to_vec(),
            is_custom: style.memory.is_custom(name),
        }
    }

    /// Appends the item, given what the tool is called with.
    pub fn push(&self, status: Status, input: &[u8], out: &mut Vec<u8>) {
        let (kind, field): (&[u8], &[u8]) = if self.is_custom {
            (b"custom_tool_call", b",\"input\":")
        } else {
            (b"function_call", b",\"arguments\":")
        };
        out.extend_from_slice(b"{\"id\":");
        push_string(&self.id, out);
        out.extend_from_slice(b",\"type\":");
        push_string(kind, out);
        out.extend_from_slice(b",\"status\":");
        push_string(status.name(), out);
        out.extend_from_slice(field);
        push_string(input, out);
        out.extend_from_slice(b",\"call_id\":");
        push_string(&self.call_id, out);
        out.extend_from_slice(b",\"name\":");
        push_string(&self.name, out);
        out.push(b'}');
    }
}

/// What a tool is called with, as the inside of a string: unwrapped where a function with one
/// argument stood for a custom tool, and never empty for a function.
pub fn input_of(input: &Input<'_>, is_custom: bool) -> Vec<u8> {
    match input {
        Input::Object(raw) => {
            let free = Some(raw.0).filter(|_| is_custom).and_then(inside::free_text);
            free.map_or_else(|| quoted(raw.0), |text| text.as_written().to_vec())
        }
        Input::Quoted(text) if is_custom => {
            let object = inside::object_of(text);
            let free = object.as_deref().and_then(inside::free_text);
            free.as_ref().unwrap_or(text).as_written().to_vec()
        }
        Input::Quoted(text) if text.is_empty() => b"{}".to_vec(),
        Input::Quoted(text) | Input::Free(text) => text.as_written().to_vec(),
    }
}

fn quoted(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    inside::quote(raw, &mut out);
    out
}
