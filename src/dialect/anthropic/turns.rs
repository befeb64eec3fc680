//! Reads the conversation of a Messages request: its system texts, its messages, their blocks.
//!
//! Blocks that only Anthropic's own servers make or understand are refused.

use crate::dialect::anthropic::place::At;
use crate::dialect::canonical::fields::{
    Walk, array, flag, items, meant, needed_text, object, pick, refused, text,
};
use crate::dialect::canonical::index::Index;
use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::marks::UNSIGNED;
use crate::dialect::canonical::request::{
    Call, Content, Field, Input, Media, Part, Place, Request, Role, Source, Thinking, ToolResult,
    Turn,
};
use crate::dialect::canonical::text::{Raw, Text};

/// What of documents no other dialect has, as it is listed.
const OF_DOCUMENTS: [&str; 2] = ["document.context", "document.citations"];

/// Reads the messages that start here.
pub fn read<'a>(walk: &mut Walk<'a>, request: &mut Request<'a>) -> Result<(), Refused> {
    if walk.peek() != b'[' {
        return Err(refused("messages", "must be an array of messages"));
    }
    walk.enter();
    while walk.item() {
        let at = At::item("messages", request.turns.len());
        let turn = message(walk, at, &mut request.rest)?;
        request.turns.push(turn);
    }
    results_answer_calls(&request.turns)
}

/// Reads `system`.
pub fn system(value: &[u8]) -> Result<Vec<Part<'_>>, Refused> {
    if let Some(text) = Text::token(value) {
        return Ok(vec![Part { kind: Content::Text(text), cache: None, place: Place::default() }]);
    }
    let blocks = items(array(value, "system")?).enumerate();
    blocks.map(|(n, block)| system_block(block, At::item("system", n))).collect()
}

fn system_block(block: &[u8], at: At) -> Result<Part<'_>, Refused> {
    let [kind, text, cache] = pick(block, ["type", "text", "cache_control"]);
    if kind != Some(b"\"text\"") {
        return Err(refused(at.dot("type"), "must be `text`"));
    }
    let kind = Content::Text(needed_text(text, at.dot("text"))?);
    let place = Place { item: at.item, part: None };
    Ok(Part { kind, cache: cache.map(Raw), place })
}

/// What has been read that no other dialect can say.
type Lost<'l, 'a> = &'l mut Vec<Field<'a>>;

fn message<'a>(walk: &mut Walk<'a>, at: At, lost: Lost<'_, 'a>) -> Result<Turn<'a>, Refused> {
    if walk.peek() != b'{' {
        return Err(refused(at, "must be an object"));
    }
    walk.enter();
    let (mut role, mut parts) = (None, None);
    while let Some(key) = walk.key() {
        match &*meant(key) {
            b"role" => role = Some(walk.skip()),
            b"content" => parts = Some(content(walk, at, lost)?),
            _ => drop(walk.skip()),
        }
    }
    let role = match role {
        Some(b"\"user\"") => Role::User,
        Some(b"\"assistant\"") => Role::Assistant,
        Some(b"\"system\"") => Role::System,
        _ => return Err(refused(at.dot("role"), "must be `user`, `assistant` or `system`")),
    };
    let parts = parts.ok_or_else(|| refused(at.dot("content"), CONTENT))?;
    for part in &parts {
        fits(part, role, At { part: part.place.part, ..at })?;
    }
    Ok(Turn { role, parts })
}

const CONTENT: &str = "must be a string or an array of content blocks";

/// Whether who speaks may say that.
fn fits(part: &Part<'_>, role: Role, at: At) -> Result<(), Refused> {
    let fine = match part.kind {
        Content::Text(_) => true,
        Content::Image(_) | Content::Document(_) | Content::Result(_) => role == Role::User,
        _ => role == Role::Assistant,
    };
    if fine { Ok(()) } else { Err(refused(at.dot("type"), "is not allowed in this role")) }
}

fn content<'a>(walk: &mut Walk<'a>, at: At, lost: Lost<'_, 'a>) -> Result<Vec<Part<'a>>, Refused> {
    let mut parts = Vec::new();
    match walk.peek() {
        b'"' => {
            let text = text(walk.skip(), at.dot("content"))?;
            let place = Place { item: at.item, part: None };
            parts.push(Part { kind: Content::Text(text), cache: None, place });
        }
        b'[' => {
            walk.enter();
            while walk.item() {
                let at = At { part: Some(parts.len()), ..at };
                parts.push(block(&Fields::read(walk), at, lost)?);
            }
        }
        _ => return Err(refused(at.dot("content"), CONTENT)),
    }
    Ok(parts)
}

/// The members of a block, whatever it is.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a [u8]>,
    text: Option<&'a [u8]>,
    cache: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    input: Option<&'a [u8]>,
    tool_use_id: Option<&'a [u8]>,
    content: Option<&'a [u8]>,
    is_error: Option<&'a [u8]>,
    thinking: Option<&'a [u8]>,
    signature: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    title: Option<&'a [u8]>,
    /// In the order of `OF_DOCUMENTS`.
    more: [Option<&'a [u8]>; 2],
}

impl<'a> Fields<'a> {
    /// Reads the block that starts here; what is no object has none.
    fn read(walk: &mut Walk<'a>) -> Self {
        let mut fields = Self::default();
        if walk.peek() != b'{' {
            walk.skip();
            return fields;
        }
        walk.enter();
        while let Some(key) = walk.key() {
            let value = Some(walk.skip()).filter(|value| *value != b"null");
            match &*meant(key) {
                b"type" => fields.kind = value,
                b"text" => fields.text = value,
                b"cache_control" => fields.cache = value,
                b"id" => fields.id = value,
                b"name" => fields.name = value,
                b"input" => fields.input = value,
                b"tool_use_id" => fields.tool_use_id = value,
                b"content" => fields.content = value,
                b"is_error" => fields.is_error = value,
                b"thinking" => fields.thinking = value,
                b"signature" => fields.signature = value,
                b"data" => fields.data = value,
                b"source" => fields.source = value,
                b"title" => fields.title = value,
                b"context" => fields.more[0] = value,
                b"citations" => fields.more[1] = value,
                _ => {}
            }
        }
        fields
    }

    /// Notes what goes with a document and cannot be told elsewhere.
    fn note_lost(&self, lost: Lost<'_, 'a>) {
        if self.kind != Some(b"\"document\"") {
            return;
        }
        for (name, value) in OF_DOCUMENTS.into_iter().zip(self.more) {
            let is_off = |value: &&[u8]| pick(value, ["enabled"]) == [Some(&b"false"[..])];
            let value = value.filter(|value| !is_off(value));
            lost.extend(value.map(|value| Field { name, value: Raw(value) }));
        }
    }
}

/// A block of a message.
fn block<'a>(fields: &Fields<'a>, at: At, lost: Lost<'_, 'a>) -> Result<Part<'a>, Refused> {
    fields.note_lost(lost);
    let kind = match fields.kind.unwrap_or_default() {
        b"\"tool_use\"" => Content::Call(call(fields, at)?),
        b"\"tool_result\"" => Content::Result(result(fields, at, lost)?),
        b"\"thinking\"" => Content::Thinking(thinking(fields, at)?),
        b"\"redacted_thinking\"" => Content::Redacted(needed_text(fields.data, at.dot("data"))?),
        _ => leaf(fields, at)?,
    };
    let place = Place { item: at.item, part: at.part };
    Ok(Part { kind, cache: fields.cache.map(Raw), place })
}

/// A block that may also stand in the result of a tool.
fn leaf<'a>(fields: &Fields<'a>, at: At) -> Result<Content<'a>, Refused> {
    match fields.kind.unwrap_or_default() {
        b"\"text\"" => Ok(Content::Text(needed_text(fields.text, at.dot("text"))?)),
        b"\"image\"" => Ok(Content::Image(media(fields, at)?)),
        b"\"document\"" => Ok(Content::Document(media(fields, at)?)),
        b"\"search_result\"" => Ok(Content::Text(search_result(fields, at)?)),
        b"" => Err(refused(at.dot("type"), "must be given")),
        _ => Err(refused(at.dot("type"), "is no content block that can be translated")),
    }
}

fn call<'a>(fields: &Fields<'a>, at: At) -> Result<Call<'a>, Refused> {
    let input = fields.input.unwrap_or(b"{}");
    Ok(Call {
        id: needed_text(fields.id, at.dot("id"))?,
        name: needed_text(fields.name, at.dot("name"))?,
        input: Input::Object(Raw(object(input, at.dot("input"))?)),
    })
}

fn thinking<'a>(fields: &Fields<'a>, at: At) -> Result<Thinking<'a>, Refused> {
    let signature = fields.signature.map(|one| text(one, at.dot("signature"))).transpose()?;
    let signature = signature.filter(|one| !one.is_empty() && !one.is(UNSIGNED));
    Ok(Thinking { text: needed_text(fields.thinking, at.dot("thinking"))?, signature })
}

fn result<'a>(fields: &Fields<'a>, at: At, lost: Lost<'_, 'a>) -> Result<ToolResult<'a>, Refused> {
    let id = needed_text(fields.tool_use_id, at.dot("tool_use_id"))?;
    let is_error = fields.is_error.map(|one| flag(one, at.dot("is_error"))).transpose()?;
    let place = Place { item: at.item, part: at.part };
    let mut parts = Vec::new();
    match fields.content {
        None => {}
        Some(value) if value.starts_with(b"\"") => {
            let kind = Content::Text(text(value, at.dot("content"))?);
            parts.push(Part { kind, cache: None, place });
        }
        Some(value) if value.starts_with(b"[") => {
            for (n, block) in items(value).enumerate() {
                let at = At { inner: Some(n), ..at };
                let fields = Fields::read(&mut Walk::new(block));
                fields.note_lost(lost);
                let kind = leaf(&fields, at)?;
                parts.push(Part { kind, cache: fields.cache.map(Raw), place });
            }
        }
        Some(_) => return Err(refused(at.dot("content"), CONTENT)),
    }
    Ok(ToolResult { id, parts, is_error: is_error.unwrap_or(false), is_custom: false })
}

fn media<'a>(fields: &Fields<'a>, at: At) -> Result<Media<'a>, Refused> {
    let name = fields.title.map(|title| text(title, at.dot("title"))).transpose()?;
    let source = object(fields.source.unwrap_or_default(), at.dot("source"))?;
    let [kind, media_type, data, url, file, content] =
        pick(source, ["type", "media_type", "data", "url", "file_id", "content"]);
    let is_document = fields.kind == Some(b"\"document\"");
    let source = match kind.unwrap_or_default() {
        b"\"base64\"" => Source::Base64 {
            media_type: needed_text(media_type, at.dot("source.media_type"))?,
            data: needed_text(data, at.dot("source.data"))?,
        },
        b"\"url\"" => Source::Url(needed_text(url, at.dot("source.url"))?),
        b"\"file\"" => Source::File(needed_text(file, at.dot("source.file_id"))?),
        b"\"text\"" if is_document => Source::Plain(needed_text(data, at.dot("source.data"))?),
        b"\"content\"" if is_document => Source::Plain(joined(content, at)?),
        _ => return Err(refused(at.dot("source.type"), "is no source that can be translated")),
    };
    Ok(Media { source, detail: None, name })
}

/// What a search found, as text: title and source first.
fn search_result<'a>(fields: &Fields<'a>, at: At) -> Result<Text<'a>, Refused> {
    let found = joined(fields.content, at)?;
    let mut out = Vec::with_capacity(found.as_written().len() + 128);
    for head in [fields.title, fields.source].into_iter().flatten() {
        out.extend_from_slice(text(head, at)?.as_written());
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(found.as_written());
    Ok(Text::written(&out).into_owned())
}

/// The texts of a list of text blocks as one, or the one string that stands in its place.
fn joined(content: Option<&[u8]>, at: At) -> Result<Text<'_>, Refused> {
    let content = content.unwrap_or_default();
    if let Some(text) = Text::token(content) {
        return Ok(text);
    }
    let mut out = Vec::new();
    for block in items(array(content, at.dot("content"))?) {
        let [kind, text] = pick(block, ["type", "text"]);
        if kind != Some(b"\"text\"") {
            return Err(refused(at.dot("content"), "must be text blocks to be translated"));
        }
        if !out.is_empty() {
            out.extend_from_slice(b"\\n");
        }
        out.extend_from_slice(needed_text(text, at.dot("content"))?.as_written());
    }
    Ok(Text::written(&out).into_owned())
}

/// Checks that every result of a tool answers a call of the assistant's turn before it: no provider
/// takes others.
fn results_answer_calls(turns: &[Turn<'_>]) -> Result<(), Refused> {
    let mut calls = Index::default();
    let mut was_assistant = false;
    for (n, turn) in turns.iter().enumerate() {
        let is_assistant = turn.role == Role::Assistant;
        if is_assistant && !was_assistant {
            calls.clear();
        }
        was_assistant = is_assistant;
        for part in &turn.parts {
            match &part.kind {
                Content::Call(call) => calls.insert(Text::written(call.id.as_written()), ()),
                Content::Result(result) if !calls.has(&result.id) => return Err(unasked(part, n)),
                _ => {}
            }
        }
    }
    Ok(())
}

fn unasked(result: &Part<'_>, turn: usize) -> Refused {
    let at = At { part: result.place.part, ..At::item("messages", turn) };
    refused(at.dot("tool_use_id"), "names no `tool_use` of the assistant's message before it")
}
