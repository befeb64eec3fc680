//! The answer of a provider as an object: its head, how it ended, and the items in it. Whole answers
//! and the first and last events of a stream have it in common.
//!
//! Nothing is refused here: what is not understood is passed over.

use crate::dialect::canonical::answer::{Block, Stop};
use crate::dialect::canonical::fields::{find, items, members, pick};
use crate::dialect::canonical::request::{Call, Input, Thinking};
use crate::dialect::canonical::text::Text;
use crate::dialect::openai_responses::number;
use crate::dialect::openai_responses::thoughts::{self, Encrypted};
use crate::usage::count::{Report, Usage};

/// Between the parts of a summary, where they become one text.
pub const PARAGRAPH: &str = "\n\n";

/// What an answer's object says, beside its items.
#[derive(Debug, Default)]
pub struct Outcome<'a> {
    /// Its id.
    pub id: Option<Text<'a>>,
    /// The model.
    pub model: Option<Text<'a>>,
    /// Seconds since the Unix epoch.
    pub created: Option<u64>,
    /// Its status, as written.
    pub status: Option<&'a [u8]>,
    /// Why it is incomplete, as written.
    pub reason: Option<&'a [u8]>,
    /// The error, as written.
    pub error: Option<&'a [u8]>,
    /// What was used.
    pub usage: Option<Usage>,
    /// The array of items, as written.
    pub output: Option<&'a [u8]>,
}

impl<'a> Outcome<'a> {
    /// Reads an object that has been checked to be JSON.
    pub fn read(object: &'a [u8]) -> Self {
        let mut outcome = Self::default();
        for (key, value) in members(object) {
            match &*key {
                b"id" => outcome.id = Text::token(value),
                b"model" => outcome.model = Text::token(value),
                // Some write it with a fraction.
                b"created_at" => {
                    outcome.created =
                        value.split(|byte| *byte == b'.').next().and_then(number::read);
                }
                b"status" => outcome.status = Some(value),
                b"incomplete_details" => outcome.reason = find(value, "reason"),
                b"error" => outcome.error = Some(value),
                b"usage" => outcome.usage = Report::read(value).map(|report| report.usage),
                b"output" => outcome.output = Some(value),
                _ => {}
            }
        }
        outcome
    }

    /// Why it ended, given whether tools were called.
    pub fn stop(&self, has_calls: bool) -> Stop {
        match (self.status, self.reason) {
            (Some(b"\"incomplete\""), Some(b"\"content_filter\"")) => Stop::Refusal,
            (Some(b"\"incomplete\""), Some(b"\"max_output_tokens\"") | None) => Stop::Length,
            (Some(b"\"incomplete\""), _) => Stop::Pause,
            _ if has_calls => Stop::Tools,
            _ => Stop::End,
        }
    }
}

/// One item of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Item<'a> {
    /// Its type, as written.
    pub kind: &'a [u8],
    /// By which the result of a call names it.
    pub call_id: &'a [u8],
    /// The tool.
    pub name: &'a [u8],
    /// What a function is called with.
    pub arguments: &'a [u8],
    /// What a custom tool is called with.
    pub input: &'a [u8],
    content: &'a [u8],
    summary: &'a [u8],
    encrypted: &'a [u8],
}

impl<'a> Item<'a> {
    /// Reads an object that has been checked to be JSON.
    pub fn read(object: &'a [u8]) -> Self {
        let mut item = Self::default();
        for (key, value) in members(object) {
            match &*key {
                b"type" => item.kind = value,
                b"call_id" => item.call_id = value,
                b"name" => item.name = value,
                b"arguments" => item.arguments = value,
                b"input" => item.input = value,
                b"content" => item.content = value,
                b"summary" => item.summary = value,
                b"encrypted_content" => item.encrypted = value,
                _ => {}
            }
        }
        item
    }

    /// Whether it is a call of a tool that the client has, and of a custom one.
    pub fn call_kind(&self) -> Option<bool> {
        match self.kind {
            b"\"function_call\"" => Some(false),
            b"\"custom_tool_call\"" => Some(true),
            _ => None,
        }
    }

    /// What a tool is called with; empty where it has not been said.
    pub fn call_input(&self, is_custom: bool) -> Text<'a> {
        Text::token(if is_custom { self.input } else { self.arguments }).unwrap_or_default()
    }

    /// Calls `visit` with what the item says, piece by piece.
    pub fn blocks(&self, visit: &mut dyn FnMut(Block<'a>)) {
        match self.kind {
            b"\"message\"" => self.said(visit),
            b"\"reasoning\"" => self.thought(visit),
            _ => self.called(visit),
        }
    }

    fn said(&self, visit: &mut dyn FnMut(Block<'a>)) {
        for part in items(self.content) {
            let [kind, text, refusal] = pick(part, ["type", "text", "refusal"]);
            let (text, refusal) = (text.and_then(Text::token), refusal.and_then(Text::token));
            match kind.unwrap_or_default() {
                b"\"output_text\"" => text.map(Block::Text).into_iter().for_each(&mut *visit),
                b"\"refusal\"" => refusal.map(Block::Refusal).into_iter().for_each(&mut *visit),
                _ => {}
            }
        }
    }

    fn called(&self, visit: &mut dyn FnMut(Block<'a>)) {
        let Some(is_custom) = self.call_kind() else { return };
        let text = self.call_input(is_custom);
        let input = if is_custom { Input::Free(text) } else { Input::Quoted(text) };
        let id = Text::token(self.call_id).unwrap_or_default();
        let name = Text::token(self.name).unwrap_or_default();
        visit(Block::Call(Call { id, name, input }));
    }

    fn thought(&self, visit: &mut dyn FnMut(Block<'a>)) {
        let text = self.thought_text();
        match self.signature() {
            Some(Ok(signature)) => {
                visit(Block::Thinking(Thinking { text, signature: Some(signature) }));
            }
            Some(Err(redacted)) => visit(Block::Redacted(redacted)),
            None if text.is_empty() => {}
            None => visit(Block::Thinking(Thinking { text, signature: None })),
        }
    }

    /// The signature of thoughts, or as an error thoughts that are redacted as a whole.
    pub fn signature(&self) -> Option<Result<Text<'a>, Text<'a>>> {
        match Encrypted::read(self.encrypted)? {
            Encrypted::Signed(signature) => Some(Ok(Text::written(signature))),
            Encrypted::Redacted(data) => Some(Err(Text::written(data))),
            Encrypted::Opaque(b"") => None,
            Encrypted::Opaque(opaque) => thoughts::seal(opaque).map(Ok),
        }
    }

    /// The summary of thoughts, or else the thoughts.
    fn thought_text(&self) -> Text<'a> {
        let mut texts = texts(self.summary);
        if texts.is_empty() {
            texts = self::texts(self.content);
        }
        if texts.len() < 2 {
            return texts.pop().unwrap_or_default();
        }
        let plain: Vec<_> = texts.iter().filter_map(Text::plain).collect();
        Text::of(&plain.join(PARAGRAPH))
    }
}

fn texts(parts: &[u8]) -> Vec<Text<'_>> {
    let texts = items(parts).filter_map(|part| Text::token(find(part, "text")?));
    texts.filter(|text| !text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_by_status_reason_and_calls() {
        for (object, has_calls, stop) in [
            (r#"{"status":"completed"}"#, false, Stop::End),
            (r#"{"status":"completed","incomplete_details":null}"#, true, Stop::Tools),
            (
                r#"{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}"#,
                true,
                Stop::Length,
            ),
            (
                r#"{"status":"incomplete","incomplete_details":{"reason":"content_filter"}}"#,
                false,
                Stop::Refusal,
            ),
            (
                r#"{"status":"incomplete","incomplete_details":{"reason":"steered"}}"#,
                false,
                Stop::Pause,
            ),
            (r#"{"status":"incomplete"}"#, false, Stop::Length),
        ] {
            assert_eq!(Outcome::read(object.as_bytes()).stop(has_calls), stop, "{object}");
        }
    }

    #[test]
    fn a_summary_of_several_parts_is_one_text() {
        let item = br#"{"type":"reasoning","summary":[{"type":"summary_text","text":"a\n"},{"text":"b"}]}"#;
        let mut found = Vec::new();
        Item::read(item).blocks(&mut |block| found.push(block));
        let text = Text::of("a\n\n\nb");
        assert_eq!(found, [Block::Thinking(Thinking { text, signature: None })]);
    }
}
