//! Writes the conversation of a Messages request.
//!
//! Turns of one role that follow one another become one message, because Anthropic wants all results of
//! tools in the message right after the calls, and before everything else in it. Instructions in the
//! middle become text of the user: only some models take them as what they are.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::dialect::anthropic::offer;
use crate::dialect::anthropic::place::At;
use crate::dialect::canonical::fields::refused;
use crate::dialect::canonical::inside::{self, object_of};
use crate::dialect::canonical::loss::{Losses, Refused};
use crate::dialect::canonical::marks::UNSIGNED;
use crate::dialect::canonical::names;
use crate::dialect::canonical::picture;
use crate::dialect::canonical::request::{
    Call, Content, Input, Media, Part, Place, Role, Source, Thinking, ToolResult, Turn,
};
use crate::dialect::canonical::text::{Raw, Text};

/// Appends the array of messages.
pub fn write(turns: &[Turn<'_>], losses: &mut Losses, out: &mut Vec<u8>) -> Result<(), Refused> {
    let is_model = |turn: &Turn<'_>| turn.role == Role::Assistant;
    let mut separator: &[u8] = b"[";
    for group in turns.chunk_by(|a, b| is_model(a) == is_model(b)) {
        let start = out.len();
        out.extend_from_slice(separator);
        let role: &[u8] = if group.first().is_some_and(is_model) { b"assistant" } else { b"user" };
        out.extend_from_slice(b"{\"role\":\"");
        out.extend_from_slice(role);
        out.extend_from_slice(b"\",\"content\":[");
        let mut blocks = Blocks { count: 0, losses, out };
        blocks.all(group)?;
        if blocks.count == 0 {
            out.truncate(start);
        } else {
            out.extend_from_slice(b"]}");
            separator = b",";
        }
    }
    if separator == b"[" {
        out.push(b'[');
    }
    out.push(b']');
    Ok(())
}

/// Appends text blocks, those that say nothing left out. Returns how many.
pub fn texts(parts: &[Part<'_>], out: &mut Vec<u8>) -> usize {
    let mut count = 0;
    for part in parts {
        if let Content::Text(said) = &part.kind {
            text(said, part.cache, &mut count, out);
        }
    }
    count
}

/// Appends a text block, which must say something: Anthropic refuses others.
pub fn text(said: &Text<'_>, cache: Option<Raw<'_>>, count: &mut usize, out: &mut Vec<u8>) {
    if is_blank(said) {
        return;
    }
    if *count > 0 {
        out.push(b',');
    }
    *count += 1;
    out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
    said.quote_into(out);
    close(cache, out);
}

/// Whether a text consists of white space only.
pub fn is_blank(text: &Text<'_>) -> bool {
    let mut rest = text.as_written();
    loop {
        rest = match rest {
            [] => return true,
            [b' ', behind @ ..] | [b'\\', b'n' | b't' | b'r' | b'f', behind @ ..] => behind,
            _ => return false,
        };
    }
}

/// Ends a block, with its cache mark if it has one.
fn close(cache: Option<Raw<'_>>, out: &mut Vec<u8>) {
    if let Some(cache) = cache {
        out.extend_from_slice(b",\"cache_control\":");
        out.extend_from_slice(cache.0);
    }
    out.push(b'}');
}

/// The blocks of one message being written.
struct Blocks<'w> {
    count: usize,
    losses: &'w mut Losses,
    out: &'w mut Vec<u8>,
}

impl Blocks<'_> {
    fn all(&mut self, group: &[Turn<'_>]) -> Result<(), Refused> {
        let parts = || group.iter().flat_map(|turn| &turn.parts);
        for part in parts() {
            if let Content::Result(result) = &part.kind {
                self.result(result, part)?;
            }
        }
        for part in parts() {
            self.part(part)?;
        }
        Ok(())
    }

    /// Begins a block.
    fn open(&mut self, head: &[u8]) {
        if self.count > 0 {
            self.out.push(b',');
        }
        self.count += 1;
        self.out.extend_from_slice(head);
    }

    fn part(&mut self, part: &Part<'_>) -> Result<(), Refused> {
        match &part.kind {
            Content::Text(said) | Content::Refusal(said) => {
                text(said, part.cache, &mut self.count, self.out);
            }
            Content::Image(media) => self.image(media, part)?,
            Content::Document(media) => self.document(media, part)?,
            Content::Call(call) => self.call(call, part)?,
            Content::Thinking(thinking) => return self.thinking(thinking),
            Content::Redacted(data) => {
                self.open(b"{\"type\":\"redacted_thinking\",\"data\":");
                data.quote_into(self.out);
                self.out.push(b'}');
            }
            // They stand before everything else.
            Content::Result(_) => {}
        }
        Ok(())
    }

    fn call(&mut self, call: &Call<'_>, part: &Part<'_>) -> Result<(), Refused> {
        self.open(b"{\"type\":\"tool_use\",\"id\":");
        names::call_id(&call.id).quote_into(self.out);
        self.out.extend_from_slice(b",\"name\":");
        offer::sent_name(&call.name).quote_into(self.out);
        self.out.extend_from_slice(b",\"input\":");
        match &call.input {
            Input::Object(object) => self.out.extend_from_slice(object.0),
            Input::Free(free) => inside::wrap_free(free, self.out),
            Input::Quoted(quoted) => match object_of(quoted) {
                Some(object) => self.out.extend_from_slice(&object),
                None => self.arguments(quoted, part.place)?,
            },
        }
        close(part.cache, self.out);
        Ok(())
    }

    /// Arguments that are no object, because the answer that they come from was cut off or wrong: the model is
    /// shown its own words as the text that they are. Refusing them would end the conversation.
    fn arguments(&mut self, quoted: &Text<'_>, place: Place) -> Result<(), Refused> {
        let field = match place {
            Place { item, .. } if self.losses.has_items => format!("input[{item}].arguments"),
            Place { item, part: Some(nth) } => {
                format!("messages[{item}].tool_calls[{nth}].function.arguments")
            }
            Place { item, part: None } => format!("messages[{item}].function_call.arguments"),
        };
        if self.losses.strict {
            return Err(Refused::new(field, "must hold a JSON object as text"));
        }
        self.losses.drop_field(&field)?;
        inside::wrap_free(quoted, self.out);
        Ok(())
    }

    /// Thoughts that nobody signed, or that another dialect's provider has encrypted, are left out: Anthropic
    /// refuses them.
    fn thinking(&mut self, thinking: &Thinking<'_>) -> Result<(), Refused> {
        let foreign = |one: &&Text<'_>| one.as_written().starts_with(UNSIGNED.as_bytes());
        let Some(signature) = thinking.signature.as_ref().filter(|one| !foreign(one)) else {
            return self.losses.drop_field("reasoning_content");
        };
        self.open(b"{\"type\":\"thinking\",\"thinking\":");
        thinking.text.quote_into(self.out);
        self.out.extend_from_slice(b",\"signature\":");
        signature.quote_into(self.out);
        self.out.push(b'}');
        Ok(())
    }

    fn result(&mut self, result: &ToolResult<'_>, part: &Part<'_>) -> Result<(), Refused> {
        self.open(b"{\"type\":\"tool_result\",\"tool_use_id\":");
        names::call_id(&result.id).quote_into(self.out);
        match &*result.parts {
            [] => {}
            [Part { kind: Content::Text(said), cache: None, .. }] => {
                self.out.extend_from_slice(b",\"content\":");
                said.quote_into(self.out);
            }
            parts => {
                self.out.extend_from_slice(b",\"content\":[");
                let losses = &mut *self.losses;
                let mut blocks = Blocks { count: 0, losses, out: self.out };
                for part in parts {
                    blocks.part(part)?;
                }
                self.out.push(b']');
            }
        }
        if result.is_error {
            self.out.extend_from_slice(b",\"is_error\":true");
        }
        close(part.cache, self.out);
        Ok(())
    }

    fn image(&mut self, image: &Media<'_>, part: &Part<'_>) -> Result<(), Refused> {
        if image.detail.is_some_and(|detail| detail.0 != b"\"auto\"") {
            self.losses.drop_field("detail")?;
        }
        self.open(b"{\"type\":\"image\",\"source\":");
        match &image.source {
            Source::Base64 { media_type, data } => {
                if !picture::is_known(media_type) {
                    let why = "must be a picture in PNG, JPEG, WebP or GIF";
                    return Err(refused(place(part.place), why));
                }
                self.base64(media_type, data);
            }
            source => self.other_source(source, part.place)?,
        }
        close(part.cache, self.out);
        Ok(())
    }

    fn document(&mut self, document: &Media<'_>, part: &Part<'_>) -> Result<(), Refused> {
        self.open(b"{\"type\":\"document\",\"source\":");
        match &document.source {
            Source::Base64 { media_type, data } if media_type.is("application/pdf") => {
                self.base64(media_type, data);
            }
            Source::Base64 { media_type, data } => {
                let why = "must be a PDF document or plain text in UTF-8";
                let text = decoded(media_type, data);
                let text = text.ok_or_else(|| refused(place(part.place), why))?;
                self.plain(&Text::of(&text));
            }
            Source::Plain(plain) => self.plain(plain),
            source => self.other_source(source, part.place)?,
        }
        if let Some(name) = document.name.as_ref().filter(|name| !name.is_empty()) {
            self.out.extend_from_slice(b",\"title\":");
            name.quote_into(self.out);
        }
        close(part.cache, self.out);
        Ok(())
    }

    fn plain(&mut self, text: &Text<'_>) {
        self.out.extend_from_slice(b"{\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":");
        text.quote_into(self.out);
        self.out.push(b'}');
    }

    fn base64(&mut self, media_type: &Text<'_>, data: &Text<'_>) {
        self.out.extend_from_slice(b"{\"type\":\"base64\",\"media_type\":");
        media_type.quote_into(self.out);
        self.out.extend_from_slice(b",\"data\":");
        data.quote_into(self.out);
        self.out.push(b'}');
    }

    fn other_source(&mut self, source: &Source<'_>, at: Place) -> Result<(), Refused> {
        let Source::Url(url) = source else {
            let why =
                "must come with its content or a URL: other providers' files are out of reach";
            return Err(refused(place(at), why));
        };
        self.out.extend_from_slice(b"{\"type\":\"url\",\"url\":");
        url.quote_into(self.out);
        self.out.push(b'}');
        Ok(())
    }
}

/// The text that a document in base64 is, if it says that it is one; Anthropic takes it only as such.
fn decoded(media_type: &Text<'_>, data: &Text<'_>) -> Option<String> {
    let is_text = media_type.plain()?.to_ascii_lowercase().starts_with("text/");
    let bytes = BASE64_STANDARD.decode(data.plain().filter(|_| is_text)?.as_bytes()).ok()?;
    String::from_utf8(bytes).ok()
}

/// Where a part stood in the client's body.
fn place(place: Place) -> At {
    At { part: place.part, ..At::item("messages", place.item) }
}
