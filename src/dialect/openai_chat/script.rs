//! Writes the messages of a request.
//!
//! The order is this dialect's: the answers of tools come right behind the calls, and what they cannot
//! hold (pictures, files) in a message of the user behind them.

use crate::dialect::canonical::inside;
use crate::dialect::canonical::loss::{Losses, Refused};
use crate::dialect::canonical::marks::UNSIGNED;
use crate::dialect::canonical::request::{
    Call, Content, Input, Media, Part, Place, Request, Role, Source, ToolResult, Turn,
};
use crate::dialect::canonical::style::Target;
use crate::dialect::canonical::text::{Raw, Text};
use crate::dialect::openai_chat::ask::name_into;
use crate::dialect::openai_chat::thought::FORMAT;

/// What a tool answers that answered with pictures or files only.
const ELSEWHERE: &[u8] = b"(see the next message)";

/// Between texts that were blocks of their own, as written in JSON.
const PARAGRAPH: &[u8] = br"\n\n";

/// The messages being written.
pub(super) struct Script<'w> {
    target: &'w Target,
    losses: &'w mut Losses,
    out: &'w mut Vec<u8>,
    is_first: bool,
}

impl<'w> Script<'w> {
    pub(super) fn new(target: &'w Target, losses: &'w mut Losses, out: &'w mut Vec<u8>) -> Self {
        Self { target, losses, out, is_first: true }
    }

    /// Writes all of them, as an array.
    pub(super) fn write(mut self, request: &Request<'_>) -> Result<(), Refused> {
        self.out.push(b'[');
        if !request.system.is_empty() {
            self.spoken(b"system", &request.system.iter().collect::<Vec<_>>())?;
        }
        let mut turns = request.turns.as_slice();
        while let Some((turn, rest)) = turns.split_first() {
            let run = turns.iter().take_while(|turn| turn.role == Role::User).count();
            let (users, others) = turns.split_at_checked(run).unwrap_or_default();
            turns = match turn.role {
                Role::User => {
                    self.users(users)?;
                    others
                }
                Role::Assistant => {
                    self.assistant(turn)?;
                    rest
                }
                Role::System => {
                    self.spoken(b"system", &turn.parts.iter().collect::<Vec<_>>())?;
                    rest
                }
            };
        }
        self.out.push(b']');
        Ok(())
    }

    /// Begins a message.
    fn open(&mut self, role: &[u8]) {
        self.out.extend_from_slice(if self.is_first { b"{\"role\":\"" } else { b",{\"role\":\"" });
        self.is_first = false;
        self.out.extend_from_slice(role);
        self.out.push(b'"');
    }

    fn put(&mut self, json: &[u8]) {
        self.out.extend_from_slice(json);
    }

    /// Turns of the user in a row: all results first, as the calls before them demand.
    fn users(&mut self, turns: &[Turn<'_>]) -> Result<(), Refused> {
        let mut media: Vec<&Part<'_>> = Vec::new();
        for part in turns.iter().flat_map(|turn| &turn.parts) {
            if let Content::Result(result) = &part.kind {
                self.result(result, part.cache)?;
                media.extend(result.parts.iter().filter(|part| is_media(part)));
            }
        }
        for turn in turns {
            let said = turn.parts.iter().filter(|part| !matches!(part.kind, Content::Result(_)));
            let mut parts = std::mem::take(&mut media);
            parts.extend(said);
            if !parts.is_empty() {
                self.spoken(b"user", &parts)?;
            }
        }
        Ok(())
    }

    /// What a tool answered.
    fn result(&mut self, result: &ToolResult<'_>, mark: Option<Raw<'_>>) -> Result<(), Refused> {
        self.open(b"tool");
        self.put(b",\"tool_call_id\":");
        result.id.quote_into(self.out);
        self.put(b",\"content\":");
        let marks = result.parts.iter().filter_map(|part| part.cache);
        let mark = self.kept(mark.into_iter().chain(marks).last())?;
        if mark.is_some() {
            self.put(b"[{\"type\":\"text\",\"text\":");
        }
        self.put(if result.is_error { b"\"Error: " } else { b"\"" });
        let texts = result.parts.iter().filter_map(text_of);
        let is_elsewhere = join(texts, PARAGRAPH, self.out) == 0 && !result.parts.is_empty();
        if is_elsewhere {
            self.put(ELSEWHERE);
        }
        self.put(b"\"");
        if let Some(Raw(mark)) = mark {
            self.mark(mark);
            self.put(b"}]");
        }
        self.put(b"}");
        Ok(())
    }

    /// A message of text, and of pictures and files where it is the user's.
    fn spoken(&mut self, role: &[u8], parts: &[&Part<'_>]) -> Result<(), Refused> {
        self.open(role);
        self.put(b",\"content\":");
        let is_plain = |part: &&Part<'_>| text_of(part).is_some();
        let has_marks = parts.iter().any(|part| part.cache.is_some());
        if parts.iter().all(is_plain) && !(has_marks && self.target.keeps_cache_marks) {
            if has_marks {
                self.losses.drop_field("cache_control")?;
            }
            self.put(b"\"");
            join(parts.iter().filter_map(|part| text_of(part)), PARAGRAPH, self.out);
            self.put(b"\"}");
            return Ok(());
        }
        for (at, part) in parts.iter().enumerate() {
            self.put(if at == 0 { b"[" } else { b"," });
            self.part(part)?;
        }
        self.put(b"]}");
        Ok(())
    }

    fn part(&mut self, part: &Part<'_>) -> Result<(), Refused> {
        match &part.kind {
            Content::Text(text) | Content::Refusal(text) => self.text_part(text),
            Content::Image(media) => self.image(media, part.place)?,
            Content::Document(media) => self.document(media, part.place)?,
            _ => return Err(misplaced(part.place)),
        }
        if let Some(Raw(mark)) = self.kept(part.cache)? {
            self.mark(mark);
        }
        self.put(b"}");
        Ok(())
    }

    /// The mark, if the provider understands marks.
    fn kept<'a>(&mut self, mark: Option<Raw<'a>>) -> Result<Option<Raw<'a>>, Refused> {
        if mark.is_none() || self.target.keeps_cache_marks {
            return Ok(mark);
        }
        self.losses.drop_field("cache_control").map(|()| None)
    }

    fn mark(&mut self, mark: &[u8]) {
        self.put(b",\"cache_control\":");
        self.put(mark);
    }

    fn text_part(&mut self, text: &Text<'_>) {
        self.put(b"{\"type\":\"text\",\"text\":");
        text.quote_into(self.out);
    }

    fn image(&mut self, image: &Media<'_>, place: Place) -> Result<(), Refused> {
        self.put(b"{\"type\":\"image_url\",\"image_url\":{\"url\":");
        match &image.source {
            Source::Base64 { media_type, data } => self.data_url(media_type, data),
            Source::Url(url) => url.quote_into(self.out),
            Source::File(_) | Source::Plain(_) => {
                let why = "must be a picture as base64 or at a URL for this provider";
                return Err(Refused::new(path(place), why));
            }
        }
        if let Some(Raw(detail)) = image.detail {
            self.put(b",\"detail\":");
            self.put(detail);
        }
        self.put(b"}");
        Ok(())
    }

    fn document(&mut self, file: &Media<'_>, place: Place) -> Result<(), Refused> {
        if let Source::Plain(text) = &file.source {
            self.text_part(text);
            return Ok(());
        }
        self.put(b"{\"type\":\"file\",\"file\":{");
        if let Source::File(id) = &file.source {
            self.put(b"\"file_id\":");
            id.quote_into(self.out);
            self.put(b"}");
            return Ok(());
        }
        self.put(b"\"filename\":");
        file.name_or_usual().quote_into(self.out);
        self.put(b",\"file_data\":");
        match &file.source {
            Source::Base64 { media_type, data } => self.data_url(media_type, data),
            // OpenRouter alone fetches files.
            Source::Url(url) if self.target.keeps_cache_marks => url.quote_into(self.out),
            _ => {
                let why = "must be a document as base64 or text for this provider";
                return Err(Refused::new(path(place), why));
            }
        }
        self.put(b"}");
        Ok(())
    }

    fn data_url(&mut self, media_type: &Text<'_>, data: &Text<'_>) {
        let (media_type, data) = (media_type.as_written(), data.as_written());
        self.out.reserve(media_type.len() + data.len() + 16);
        for piece in [b"\"data:", media_type, b";base64,", data, b"\""] {
            self.put(piece);
        }
    }

    /// What the model said.
    fn assistant(&mut self, turn: &Turn<'_>) -> Result<(), Refused> {
        let mut marks = turn.parts.iter().filter_map(|part| part.cache);
        let mark = self.kept(marks.next_back())?;
        self.open(b"assistant");
        let calls = || turn.parts.iter().filter_map(call_of);
        let has_text = turn.parts.iter().any(|part| matches!(part.kind, Content::Text(_)));
        let has_more =
            turn.parts.iter().any(|p| matches!(p.kind, Content::Refusal(_) | Content::Call(_)));
        self.put(b",\"content\":");
        if has_text || !has_more {
            self.said(turn, mark.filter(|_| has_text));
        } else {
            self.put(b"null");
        }
        self.refusal(turn);
        self.thoughts(turn)?;
        for (at, call) in calls().enumerate() {
            self.put(if at == 0 { b",\"tool_calls\":[" } else { b"," });
            self.call(call);
        }
        self.put(if calls().next().is_some() { b"]}" } else { b"}" });
        match turn.parts.iter().find(|part| is_media(part)) {
            Some(part) => Err(misplaced(part.place)),
            None => Ok(()),
        }
    }

    /// The text that the model said. Blocks of it are cut anywhere, so nothing comes between them.
    fn said(&mut self, turn: &Turn<'_>, mark: Option<Raw<'_>>) {
        if mark.is_some() {
            self.put(b"[{\"type\":\"text\",\"text\":");
        }
        self.put(b"\"");
        let said = turn.parts.iter().filter_map(|part| match &part.kind {
            Content::Text(text) => Some(text),
            _ => None,
        });
        join(said, b"", self.out);
        self.put(b"\"");
        if let Some(Raw(mark)) = mark {
            self.mark(mark);
            self.put(b"}]");
        }
    }

    fn refusal(&mut self, turn: &Turn<'_>) {
        let refused = || {
            turn.parts.iter().filter_map(|part| match &part.kind {
                Content::Refusal(text) => Some(text),
                _ => None,
            })
        };
        if refused().next().is_some() {
            self.put(b",\"refusal\":\"");
            join(refused(), b"", self.out);
            self.put(b"\"");
        }
    }

    /// What the model thought. Thoughts that nobody signed go where those providers look for them that
    /// have such; signed ones can only be used by a broker that hands them on to who signed.
    fn thoughts(&mut self, turn: &Turn<'_>) -> Result<(), Refused> {
        let signed = turn.parts.iter().any(|part| match &part.kind {
            Content::Thinking(thinking) => thinking.signature.as_ref().is_some_and(is_anthropic),
            Content::Redacted(_) => true,
            _ => false,
        });
        if signed && self.target.keeps_cache_marks {
            self.details(turn);
            return Ok(());
        }
        let mut unsigned = Vec::new();
        for part in &turn.parts {
            match &part.kind {
                Content::Thinking(thinking)
                    if !thinking.signature.as_ref().is_some_and(is_anthropic) =>
                {
                    unsigned.push(&thinking.text);
                }
                Content::Thinking(_) => self.losses.drop_field("thinking")?,
                Content::Redacted(_) => self.losses.drop_field("redacted_thinking")?,
                _ => {}
            }
        }
        if !unsigned.is_empty() {
            self.put(b",\"reasoning_content\":\"");
            join(unsigned.into_iter(), PARAGRAPH, self.out);
            self.put(b"\"");
        }
        Ok(())
    }

    fn details(&mut self, turn: &Turn<'_>) {
        let mut index = 0;
        for part in &turn.parts {
            let lead = if index == 0 { b",\"reasoning_details\":[".as_slice() } else { b"," };
            match &part.kind {
                Content::Thinking(thinking) => {
                    self.put(lead);
                    aloud_detail(&thinking.text, thinking.signature.as_ref(), index, self.out);
                }
                Content::Redacted(data) => {
                    self.put(lead);
                    redacted_detail(data, index, self.out);
                }
                _ => continue,
            }
            index += 1;
        }
        self.put(b"]");
    }

    fn call(&mut self, call: &Call<'_>) {
        self.put(b"{\"id\":");
        call.id.quote_into(self.out);
        if let Input::Free(text) = &call.input {
            self.put(b",\"type\":\"custom\",\"custom\":{\"name\":");
            name_into(&call.name, self.out);
            self.put(b",\"input\":");
            text.quote_into(self.out);
        } else {
            self.put(b",\"type\":\"function\",\"function\":{\"name\":");
            name_into(&call.name, self.out);
            self.put(b",\"arguments\":");
            arguments_into(&call.input, self.out);
        }
        self.put(b"}}");
    }
}

/// Writes what a function is called with, as JSON inside a string; `{}` where there is nothing.
pub(super) fn arguments_into(input: &Input<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    match input {
        Input::Object(Raw(object)) => inside::quote(object, out),
        Input::Quoted(text) | Input::Free(text) if text.as_written().trim_ascii().is_empty() => {
            out.extend_from_slice(b"{}");
        }
        Input::Quoted(text) | Input::Free(text) => out.extend_from_slice(text.as_written()),
    }
    out.push(b'"');
}

/// Writes an entry of `reasoning_details` for a thought.
pub(super) fn aloud_detail(
    text: &Text<'_>,
    signature: Option<&Text<'_>>,
    index: usize,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"type\":\"reasoning.text\",\"text\":");
    text.quote_into(out);
    if let Some(signature) = signature.filter(|one| is_anthropic(one)) {
        out.extend_from_slice(b",\"signature\":");
        signature.quote_into(out);
        format_into(out);
    }
    index_into(index, out);
}

/// Whether a signature is Anthropic's. What another dialect's provider has encrypted travels as one too,
/// behind our mark, and is nothing that a client of this dialect could send back.
pub(super) fn is_anthropic(signature: &Text<'_>) -> bool {
    !signature.as_written().starts_with(UNSIGNED.as_bytes())
}

/// Writes an entry of `reasoning_details` for redacted thoughts.
pub(super) fn redacted_detail(data: &Text<'_>, index: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"reasoning.encrypted\",\"data\":");
    data.quote_into(out);
    format_into(out);
    index_into(index, out);
}

fn format_into(out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"format\":\"");
    out.extend_from_slice(FORMAT.as_bytes());
    out.push(b'"');
}

fn index_into(index: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"index\":");
    out.extend_from_slice(index.to_string().as_bytes());
    out.push(b'}');
}

/// Writes texts one behind the other; returns how many there were.
pub(super) fn join<'t, 'a: 't>(
    texts: impl Iterator<Item = &'t Text<'a>>,
    between: &[u8],
    out: &mut Vec<u8>,
) -> usize {
    let mut written = 0;
    for text in texts {
        out.reserve(text.as_written().len() + 16);
        if written > 0 {
            out.extend_from_slice(between);
        }
        out.extend_from_slice(text.as_written());
        written += 1;
    }
    written
}

fn text_of<'t, 'a>(part: &'t Part<'a>) -> Option<&'t Text<'a>> {
    match &part.kind {
        Content::Text(text) | Content::Refusal(text) => Some(text),
        _ => None,
    }
}

fn call_of<'t, 'a>(part: &'t Part<'a>) -> Option<&'t Call<'a>> {
    match &part.kind {
        Content::Call(call) => Some(call),
        _ => None,
    }
}

fn is_media(part: &Part<'_>) -> bool {
    matches!(part.kind, Content::Image(_) | Content::Document(_))
}

fn misplaced(place: Place) -> Refused {
    Refused::new(path(place), "cannot stand in a message of this role for this provider")
}

/// Where something stood, as a client of Chat or Messages calls it.
fn path(place: Place) -> String {
    let Place { item, part } = place;
    part.map_or_else(
        || format!("messages[{item}].content"),
        |part| format!("messages[{item}].content[{part}]"),
    )
}
