//! Writes the conversation of a request as items.
//!
//! Thoughts go to the provider that encrypted them and to no other one: all others are left out.

use crate::dialect::canonical::loss::{Losses, Refused};
use crate::dialect::canonical::request::{
    Call, Content, Input, Media, Part, Place, Request, Role, Source, Thinking, ToolResult, Turn,
};
use crate::dialect::canonical::style::Memory;
use crate::dialect::canonical::text::Text;
use crate::dialect::openai_responses::ask_tools::{push_name, push_quoted_object};
use crate::dialect::openai_responses::thoughts::{self, SEALED};

/// In front of what a tool that failed answered: the dialect has no other place for it.
const FAILED: &[u8] = b"Error: ";

/// What writing the conversation needs beside it.
pub struct Told<'w> {
    /// What cannot be carried.
    pub losses: &'w mut Losses,
    /// The names that are sent for others.
    pub memory: &'w mut Memory,
    /// The body.
    pub out: &'w mut Vec<u8>,
}

impl Told<'_> {
    /// Appends the array of items.
    ///
    /// # Errors
    /// What cannot be carried and must not be left out.
    pub fn input(mut self, request: &Request<'_>) -> Result<(), Refused> {
        self.out.push(b'[');
        if let [_, _, ..] = &*request.system {
            self.message("system", &request.system)?;
        }
        for turn in &request.turns {
            match turn.role {
                Role::User => self.user(turn)?,
                Role::Assistant => self.assistant(turn)?,
                Role::System => self.message("system", &turn.parts)?,
            }
        }
        self.out.push(b']');
        Ok(())
    }

    /// Results come first: the dialect wants them right behind their calls.
    fn user(&mut self, turn: &Turn<'_>) -> Result<(), Refused> {
        for part in &turn.parts {
            self.mark(part)?;
            if let Content::Result(result) = &part.kind {
                self.result(result)?;
            }
        }
        let is_result = |part: &Part<'_>| matches!(part.kind, Content::Result(_));
        if !turn.parts.iter().any(is_result) {
            return self.message("user", &turn.parts);
        }
        let rest: Vec<Part<'_>> =
            turn.parts.iter().filter(|part| !is_result(part)).cloned().collect();
        if rest.is_empty() { Ok(()) } else { self.message("user", &rest) }
    }

    /// Text and refusals that follow each other become one message.
    fn assistant(&mut self, turn: &Turn<'_>) -> Result<(), Refused> {
        let mut rest = &*turn.parts;
        while let Some(first) = rest.first() {
            let said = rest.iter().take_while(|part| is_said(part)).count();
            if let Some((message, behind)) = rest.split_at_checked(said.max(1)) {
                rest = behind;
                if said > 0 {
                    self.message("assistant", message)?;
                    continue;
                }
            }
            self.mark(first)?;
            match &first.kind {
                Content::Call(call) => self.call(call),
                Content::Thinking(thinking) => self.thinking(thinking)?,
                Content::Redacted(_) => self.losses.drop_field("redacted_thinking")?,
                _ => return Err(misplaced(first.place)),
            }
        }
        Ok(())
    }

    fn message(&mut self, role: &str, parts: &[Part<'_>]) -> Result<(), Refused> {
        self.next_item();
        self.out.extend_from_slice(b"{\"role\":\"");
        self.out.extend_from_slice(role.as_bytes());
        self.out.extend_from_slice(b"\",\"content\":");
        self.content(parts, role)?;
        self.out.push(b'}');
        Ok(())
    }

    /// One text alone as a string, everything else as an array.
    fn content(&mut self, parts: &[Part<'_>], role: &str) -> Result<(), Refused> {
        if let [part @ Part { kind: Content::Text(text), .. }] = parts {
            self.mark(part)?;
            text.quote_into(self.out);
            return Ok(());
        }
        self.out.push(b'[');
        for (number, part) in parts.iter().enumerate() {
            if number > 0 {
                self.out.push(b',');
            }
            self.mark(part)?;
            self.part(part, role)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn part(&mut self, part: &Part<'_>, role: &str) -> Result<(), Refused> {
        match (&part.kind, role) {
            (Content::Text(text), "assistant") => {
                self.out.extend_from_slice(b"{\"type\":\"output_text\",\"text\":");
                text.quote_into(self.out);
                // Typed servers want it in an array of parts, though most of them fill it in.
                self.out.extend_from_slice(b",\"annotations\":[]}");
            }
            (Content::Text(text), _) => {
                self.out.extend_from_slice(b"{\"type\":\"input_text\",\"text\":");
                text.quote_into(self.out);
                self.out.push(b'}');
            }
            (Content::Refusal(text), "assistant") => {
                self.out.extend_from_slice(b"{\"type\":\"refusal\",\"refusal\":");
                text.quote_into(self.out);
                self.out.push(b'}');
            }
            (Content::Image(media), "user") => self.image(media, part.place)?,
            (Content::Document(media), "user") => self.document(media),
            _ => return Err(misplaced(part.place)),
        }
        Ok(())
    }

    fn image(&mut self, media: &Media<'_>, place: Place) -> Result<(), Refused> {
        self.out.extend_from_slice(b"{\"type\":\"input_image\",");
        match &media.source {
            Source::Base64 { media_type, data } => {
                self.out.extend_from_slice(b"\"image_url\":\"data:");
                self.out.extend_from_slice(media_type.as_written());
                self.out.extend_from_slice(b";base64,");
                self.out.extend_from_slice(data.as_written());
                self.out.push(b'"');
            }
            Source::Url(url) => {
                self.out.extend_from_slice(b"\"image_url\":");
                url.quote_into(self.out);
            }
            Source::File(id) => {
                self.out.extend_from_slice(b"\"file_id\":");
                id.quote_into(self.out);
            }
            Source::Plain(_) => return Err(misplaced(place)),
        }
        if let Some(detail) = media.detail {
            self.out.extend_from_slice(b",\"detail\":");
            self.out.extend_from_slice(detail.0);
        }
        self.out.push(b'}');
        Ok(())
    }

    fn document(&mut self, media: &Media<'_>) {
        let (key, value) = match &media.source {
            Source::Plain(text) => {
                self.out.extend_from_slice(b"{\"type\":\"input_text\",\"text\":");
                text.quote_into(self.out);
                self.out.push(b'}');
                return;
            }
            Source::Base64 { media_type, data } => return self.file_data(media, media_type, data),
            Source::Url(url) => (&b"\"file_url\":"[..], url),
            Source::File(id) => (&b"\"file_id\":"[..], id),
        };
        self.out.extend_from_slice(b"{\"type\":\"input_file\",");
        self.out.extend_from_slice(key);
        value.quote_into(self.out);
        self.out.push(b'}');
    }

    fn file_data(&mut self, media: &Media<'_>, media_type: &Text<'_>, data: &Text<'_>) {
        // The dialect wants a name beside the data.
        self.out.extend_from_slice(b"{\"type\":\"input_file\",\"filename\":");
        media.name_or_usual().quote_into(self.out);
        self.out.extend_from_slice(b",\"file_data\":\"data:");
        self.out.extend_from_slice(media_type.as_written());
        self.out.extend_from_slice(b";base64,");
        self.out.extend_from_slice(data.as_written());
        self.out.extend_from_slice(b"\"}");
    }

    fn call(&mut self, call: &Call<'_>) {
        self.next_item();
        let is_free = matches!(call.input, Input::Free(_));
        let kind: &[u8] = if is_free { b"custom_tool_call" } else { b"function_call" };
        self.out.extend_from_slice(b"{\"type\":\"");
        self.out.extend_from_slice(kind);
        self.out.extend_from_slice(b"\",\"call_id\":");
        call.id.quote_into(self.out);
        self.out.extend_from_slice(b",\"name\":");
        push_name(&call.name, self.memory, self.out);
        let key: &[u8] = if is_free { b",\"input\":" } else { b",\"arguments\":" };
        self.out.extend_from_slice(key);
        match &call.input {
            Input::Object(raw) => push_quoted_object(*raw, self.out),
            Input::Quoted(text) if text.is_empty() => self.out.extend_from_slice(b"\"{}\""),
            Input::Quoted(text) | Input::Free(text) => text.quote_into(self.out),
        }
        self.out.push(b'}');
    }

    fn result(&mut self, result: &ToolResult<'_>) -> Result<(), Refused> {
        self.next_item();
        let kind: &[u8] =
            if result.is_custom { b"custom_tool_call_output" } else { b"function_call_output" };
        self.out.extend_from_slice(b"{\"type\":\"");
        self.out.extend_from_slice(kind);
        self.out.extend_from_slice(b"\",\"call_id\":");
        result.id.quote_into(self.out);
        self.out.extend_from_slice(b",\"output\":");
        let start = self.out.len();
        match &*result.parts {
            [] => self.out.extend_from_slice(b"\"\""),
            parts => self.content(parts, "user")?,
        }
        if result.is_error {
            self.mark_failed(start);
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Puts the word for failure in front of an output that begins at `start`.
    fn mark_failed(&mut self, start: usize) {
        let output = self.out.split_off(start);
        let (open, close): (&[u8], &[u8]) = match output.first() {
            Some(b'"') => (b"\"", b""),
            _ => (b"[{\"type\":\"input_text\",\"text\":\"", b"\"},"),
        };
        self.out.extend_from_slice(open);
        self.out.extend_from_slice(FAILED);
        self.out.extend_from_slice(close);
        self.out.extend_from_slice(output.get(1..).unwrap_or_default());
    }

    fn thinking(&mut self, thinking: &Thinking<'_>) -> Result<(), Refused> {
        let Some(signature) = &thinking.signature else {
            return self.losses.drop_field("reasoning_content");
        };
        let Some(own) = thoughts::behind(signature.as_written(), SEALED) else {
            return self.losses.drop_field("thinking");
        };
        self.next_item();
        self.out.extend_from_slice(b"{\"type\":\"reasoning\",\"summary\":[");
        if !thinking.text.is_empty() {
            self.out.extend_from_slice(b"{\"type\":\"summary_text\",\"text\":");
            thinking.text.quote_into(self.out);
            self.out.push(b'}');
        }
        self.out.extend_from_slice(b"],\"encrypted_content\":\"");
        self.out.extend_from_slice(own);
        self.out.extend_from_slice(b"\"}");
        Ok(())
    }

    fn mark(&mut self, part: &Part<'_>) -> Result<(), Refused> {
        if part.cache.is_some() { self.losses.drop_field("cache_control") } else { Ok(()) }
    }

    fn next_item(&mut self) {
        if self.out.last() != Some(&b'[') {
            self.out.push(b',');
        }
    }
}

fn is_said(part: &Part<'_>) -> bool {
    matches!(part.kind, Content::Text(_) | Content::Refusal(_))
}

/// Something that must not stand where it does. No reader lets the user say what only a model can, so
/// this is rare.
#[cold]
fn misplaced(place: Place) -> Refused {
    let part = place.part.map_or(String::new(), |part| format!(".content[{part}]"));
    let field = format!("messages[{}]{part}", place.item);
    Refused::new(field, "is of a kind that cannot stand there in the provider's dialect")
}
