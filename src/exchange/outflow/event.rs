//! What one event of a stream says: which texts go on in it, which texts it holds whole, and which fields end
//! with it. One reader for each dialect; what is not known is read like any answer, so that nothing slips
//! through an event that is new.

use crate::base::surface::Surface;
use crate::exchange::outflow::begin;
use crate::exchange::outflow::cut::changed;
use crate::exchange::outflow::walk::{self, What, inside};
use crate::usage::finish::Finish;
use crate::wire::json;
use crate::wire::pull::Pull;
use crate::wire::sse;
use crate::wire::syntax::Span;

/// Tells one field of an answer from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The choice, block or item that it belongs to.
    pub group: u64,
    /// Its place there.
    pub name: u64,
}

/// Which fields end before, or with, an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// One field.
    Field(Key),
    /// Those of a choice, block or item.
    Group(u64),
    /// All.
    All,
}

impl Ends {
    /// Whether that field ends.
    pub fn covers(self, key: Key) -> bool {
        match self {
            Self::Field(field) => field == key,
            Self::Group(group) => group == key.group,
            Self::All => true,
        }
    }

    /// Whether everything of that group ends.
    pub fn covers_all_of(self, group: u64) -> bool {
        match self {
            Self::Field(_) => false,
            Self::Group(ended) => ended == group,
            Self::All => true,
        }
    }
}

/// A piece of a text that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Of which field.
    pub key: Key,
    /// The inside of its string.
    pub span: Span,
    /// Whether the text is JSON itself.
    pub is_json: bool,
    /// What of the field it is.
    pub way: Way,
}

/// What of its field a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It goes on with it.
    More,
    /// It is its beginning; the number is the place in `Parsed::begun` of what could go on with it.
    Start(usize),
    /// It is all that there is of it so far, said again with each event.
    SoFar,
}

/// What an event says.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// Pieces of texts that go on.
    pub texts: Vec<Said>,
    /// Texts that are whole in this event.
    pub wholes: Vec<walk::Found>,
    /// Probabilities of tokens, by group, and what stands in their place if the text is not shown as it is.
    pub logprobs: Vec<(u64, Span, &'static str)>,
    /// What ends.
    pub ends: Vec<Ends>,
    /// The group of the whole texts.
    pub group: u64,
    /// Whether its whole texts were all said before.
    pub repeats: bool,
    /// What could go on with the texts that begin here.
    pub begun: Vec<begin::More>,
    /// Signatures, and the texts that they are over.
    pub signatures: Vec<(Key, Span)>,
    /// The group that begins with it, whether one of that number is open or not.
    pub opens: Option<u64>,
}

impl Parsed {
    /// Whether that field ends.
    pub fn ends(&self, key: Key) -> bool {
        self.ends.iter().any(|ends| ends.covers(key))
    }
}

/// Whether data are the mark of the end.
pub fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

/// Reads an event, whose data are an object from their first byte on, or the mark of the end. Only what ends the text for every client ends it here: else a secret could be cut in two by
/// an event that says nothing.
pub fn parse(surface: Surface, event: &sse::Event<'_>) -> Parsed {
    let data = event.data;
    if is_done(data) {
        return Parsed { ends: vec![Ends::All], ..Parsed::default() };
    }
    let mut parsed = match surface {
        Surface::Messages => messages(data),
        Surface::Responses => responses(data),
        _ => chat(data),
    };
    if surface != Surface::Responses && find(data, "error").is_some_and(|(_, it)| it != b"null") {
        parsed.ends.push(Ends::All);
    }
    parsed
}

fn find<'d>(data: &'d [u8], name: &str) -> Option<(Span, &'d [u8])> {
    let value = json::find(data, Span::whole(data), name)?;
    Some((value, value.of(data)))
}

/// The word of a string member, without its quotes.
pub fn word<'d>(data: &'d [u8], name: &str) -> &'d [u8] {
    word_of(data, Span::whole(data), name)
}

/// The word of a string member of an object in an event, without its quotes.
pub fn word_of<'d>(data: &'d [u8], object: Span, name: &str) -> &'d [u8] {
    let found = json::find(data, object, name).and_then(|value| inside(data, value));
    found.map(|span| span.of(data)).unwrap_or_default()
}

fn chat(data: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let Some((choices, _)) = find(data, "choices").filter(|(_, it)| it.starts_with(b"[")) else {
        parsed.whole(data, Span::whole(data), 0);
        return parsed;
    };
    // Errors, citations and whatever else stands beside the choices.
    parsed.all(walk::texts_beside(data, Span::whole(data), "choices"), u64::MAX);
    let mut pull = Pull::new(data, choices);
    pull.enter();
    let mut place = 0;
    while pull.item() {
        let choice = pull.skip();
        if choice.is_empty() {
            break;
        }
        let group = walk::index(data, choice).unwrap_or(place);
        place += 1;
        parsed.choice(data, choice, group);
    }
    parsed
}

impl Parsed {
    fn choice(&mut self, data: &[u8], choice: Span, group: u64) {
        // A whole message beside a delta is what there is of it so far.
        let has_delta = json::find(data, choice, "delta").is_some_and(|it| it.len() > 2);
        let message = json::find(data, choice, "message").filter(|_| has_delta);
        for found in walk::texts(data, choice) {
            let key = Key { group, name: found.path };
            let is_so_far =
                message.is_some_and(|it| it.start < found.span.start && found.span.end < it.end);
            let way = if is_so_far { Way::SoFar } else { Way::More };
            match found.what {
                What::Logprobs => self.logprobs.push((group, found.span, "null")),
                What::Text | What::Json if found.goes_on => {
                    let is_json = found.what == What::Json;
                    self.texts.push(Said { key, span: found.span, is_json, way });
                }
                _ => self.wholes.push(found),
            }
        }
        self.group = group;
        self.signed(data, choice, group);
        let reason = json::find(data, choice, "finish_reason");
        if reason.is_some_and(|reason| Finish::of(reason.of(data)).is_some()) {
            self.ends.push(Ends::Group(group));
        }
    }

    /// The signatures of a choice's thoughts. Each is over all of its text, so none of that follows.
    fn signed(&mut self, data: &[u8], choice: Span, group: u64) {
        let delta = json::find(data, choice, "delta");
        let Some(list) = delta.and_then(|delta| json::find(data, delta, "reasoning_details"))
        else {
            return;
        };
        let list_path = walk::joined(walk::joined(0, b"delta"), b"reasoning_details");
        for (place, item) in (0..).zip(walk::items(data, list)) {
            let signature = json::find(data, item, "signature").and_then(|it| inside(data, it));
            let Some(span) = signature.filter(|span| !span.is_empty()) else { continue };
            let at = walk::index(data, item).unwrap_or(place);
            let path = walk::joined(list_path, &at.to_le_bytes());
            for member in [&b"text"[..], b"summary"] {
                let key = Key { group, name: walk::joined(path, member) };
                self.signatures.push((key, span));
                self.ends.push(Ends::Field(key));
            }
        }
    }

    /// Those texts are no whole ones, but beginnings.
    fn begin(&mut self, begun: Vec<(Said, begin::More)>) {
        for (said, more) in begun {
            self.wholes.retain(|whole| whole.span != said.span);
            self.texts.push(Said { way: Way::Start(self.begun.len()), ..said });
            self.begun.push(more);
        }
    }

    /// Everything in `value` is whole.
    fn whole(&mut self, data: &[u8], value: Span, group: u64) {
        self.all(walk::texts(data, value), group);
    }

    fn all(&mut self, texts: Vec<walk::Found>, group: u64) {
        self.group = group;
        for found in texts {
            if found.what == What::Logprobs {
                self.logprobs.push((group, found.span, "[]"));
            } else {
                self.wholes.push(found);
            }
        }
    }
}

fn messages(data: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let group = walk::number(data, Span::whole(data), "index").unwrap_or(u64::MAX);
    match word(data, "type") {
        b"content_block_delta" => parsed.block_delta(data, group),
        kind => {
            parsed.whole(data, Span::whole(data), group);
            if kind == b"content_block_start" {
                parsed.opens = Some(group);
                let block = find(data, "content_block");
                let begun = block.and_then(|(block, _)| begin::block(data, group, block));
                parsed.begin(begun.into_iter().collect());
            }
            if kind == b"content_block_stop" {
                parsed.ends.push(Ends::Group(group));
            }
            if [&b"message_delta"[..], b"message_stop", b"error"].contains(&kind) {
                parsed.ends.push(Ends::All);
            }
        }
    }
    parsed
}

impl Parsed {
    fn block_delta(&mut self, data: &[u8], group: u64) {
        let Some((delta, _)) = find(data, "delta").filter(|(_, it)| it.starts_with(b"{")) else {
            self.whole(data, Span::whole(data), group);
            return;
        };
        self.all(walk::texts_beside(data, Span::whole(data), "delta"), group);
        if word_of(data, delta, "type") == b"signature_delta" {
            // It is over all of the thoughts, so none of them follow.
            let key = Key { group, name: walk::joined(0, b"thinking") };
            let signature = json::find(data, delta, "signature").and_then(|it| inside(data, it));
            self.signatures.extend(signature.map(|span| (key, span)));
            self.ends.push(Ends::Field(key));
        }
        for found in walk::texts(data, delta) {
            if found.goes_on && matches!(found.what, What::Text | What::Json) {
                let key = Key { group, name: found.path };
                let is_json = found.what == What::Json;
                self.texts.push(Said { key, span: found.span, is_json, way: Way::More });
            } else {
                self.wholes.push(found);
            }
        }
    }
}

fn responses(data: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let kind = word(data, "type");
    let number = |name| walk::number(data, Span::whole(data), name).unwrap_or(u64::MAX);
    let group = number("output_index");
    let part = number("content_index").min(number("summary_index"));
    let field = |base: &[u8]| Key { group, name: walk::joined(part, base) };
    if let Some(base) = kind.strip_suffix(b".delta") {
        let delta = find(data, "delta").map(|(value, _)| value);
        match delta.and_then(|value| inside(data, value)) {
            Some(span) => {
                let is_json = base.ends_with(b"arguments");
                parsed.texts.push(Said { key: field(base), span, is_json, way: Way::More });
                // Probabilities stand there, and whatever nobody knows yet.
                parsed.all(walk::texts_beside(data, Span::whole(data), "delta"), group);
            }
            None => parsed.whole(data, Span::whole(data), group),
        }
        return parsed;
    }
    match kind.strip_suffix(b".done") {
        Some(b"response.output_item") => parsed.ends.push(Ends::Group(group)),
        Some(base) => parsed.ends.push(Ends::Field(field(base))),
        None if ends_answer(kind) => parsed.ends.push(Ends::All),
        None => {}
    }
    parsed.repeats = true;
    match find(data, "response").filter(|(_, it)| it.starts_with(b"{")) {
        // What is asked for stands there too, and is the client's own.
        Some((response, _)) => {
            let said = ["output", "output_text", "error"];
            for value in said.iter().filter_map(|name| json::find(data, response, name)) {
                parsed.whole(data, value, group);
            }
            parsed.all(walk::texts_beside(data, Span::whole(data), "response"), group);
        }
        None => parsed.whole(data, Span::whole(data), group),
    }
    parsed.opens = (kind == b"response.output_item.added").then_some(group);
    parsed.begin(begin::added(data, kind, group));
    parsed
}

fn ends_answer(kind: &[u8]) -> bool {
    [&b"response.completed"[..], b"response.incomplete", b"response.failed", b"error"]
        .contains(&kind)
}

/// The data of an event that says nothing but the rest of a text, made from the last event of its field, in
/// which the text stood at `span`.
pub fn with_rest(surface: Surface, (data, span): (&[u8], Span), rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + rest.len());
    match surface {
        Surface::Messages | Surface::Responses => {
            // What else stands there has been told, and may be what had to be taken out.
            let others = walk::texts(data, Span::whole(data)).into_iter();
            let others = others.filter(|it| it.span.end < span.start || span.end < it.span.start);
            let mut edits = vec![(span, rest.to_vec())];
            edits.extend(others.map(|it| match it.what {
                What::Text | What::Json => (it.span, Vec::new()),
                What::Bare => (it.span, b"{}".to_vec()),
                What::Logprobs => (it.span, b"[]".to_vec()),
            }));
            edits.sort_by_key(|(span, _)| span.start);
            out = changed(data, &edits);
        }
        _ => {
            let target = Target { data, span, rest };
            target.pruned(Span::whole(data), 0, &mut out);
        }
    }
    out
}

/// A text in an event, of which only the way to it is kept.
struct Target<'a> {
    data: &'a [u8],
    span: Span,
    rest: &'a [u8],
}

/// What a chunk is known by.
const FRAME: [&str; 4] = ["id", "object", "created", "model"];
/// What tells the parts on the way from their neighbours.
const ON_THE_WAY: [&str; 2] = ["index", "type"];

impl Target<'_> {
    const fn is_in(&self, value: Span) -> bool {
        value.start < self.span.start && self.span.end < value.end
    }

    fn pruned(&self, value: Span, depth: usize, out: &mut Vec<u8>) {
        match value.of(self.data).trim_ascii_start().first() {
            Some(b'{') => self.object(value, (depth, 0), out),
            Some(b'[') => {
                out.push(b'[');
                for (place, item) in walk::items(self.data, value).into_iter().enumerate() {
                    if self.is_in(item) {
                        self.item(item, (depth + 1, place), out);
                    }
                }
                out.push(b']');
            }
            _ => {
                out.push(b'"');
                out.extend_from_slice(self.rest);
                out.push(b'"');
            }
        }
    }

    /// The one item of a list that is kept. Its place is told where nothing else tells it from its neighbours.
    fn item(&self, item: Span, (depth, place): (usize, usize), out: &mut Vec<u8>) {
        if item.of(self.data).starts_with(b"{") {
            return self.object(item, (depth, place), out);
        }
        out.extend_from_slice(&b"\"\",".repeat(place));
        self.pruned(item, depth, out);
    }

    fn object(&self, value: Span, (depth, place): (usize, usize), out: &mut Vec<u8>) {
        let kept: &[&str] = if depth == 0 { &FRAME } else { &ON_THE_WAY };
        let is_placed = place > 0 && walk::index(self.data, value).is_none();
        out.push(b'{');
        let mut first = !is_placed;
        if is_placed {
            out.extend_from_slice(format!("\"index\":{place}").as_bytes());
        }
        for member in json::members(self.data, value) {
            let key = member.key.of(self.data);
            let is = |name: &str| json::key_is(key, name);
            let on_the_way = self.is_in(member.value);
            let is_reason = is("finish_reason");
            let is_kept = kept.iter().any(|name| is(name)) && !(is_placed && is("index"));
            if !(on_the_way || is_reason || is_kept) {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            out.push(b'"');
            out.extend_from_slice(key);
            out.extend_from_slice(b"\":");
            if on_the_way {
                self.pruned(member.value, depth + 1, out);
            } else if is_reason {
                out.extend_from_slice(b"null");
            } else {
                out.extend_from_slice(member.value.of(self.data));
            }
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_call_repeats_neither_its_name_nor_its_id() {
        let data = br#"{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":2,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"c0","function":{"name":"g","arguments":"q"}},{"index":1,"id":"c","type":"function","function":{"name":"f","arguments":"sk-"}}]},"logprobs":null,"finish_reason":"stop"}],"usage":null}"#;
        let event = sse::Event {
            name: None,
            data,
            has_data: true,
            range: 0..1,
            oversized: false,
            terminated: true,
        };
        let parsed = parse(Surface::Chat, &event);
        assert_eq!(parsed.ends, [Ends::Group(2)]);
        let said = parsed.texts.iter().find(|it| it.span.of(data) == b"sk-").unwrap();
        let rest = with_rest(Surface::Chat, (data, said.span), b"sk-x");
        let wanted = r#"{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":2,"delta":{"tool_calls":[{"index":1,"type":"function","function":{"arguments":"sk-x"}}]},"finish_reason":null}]}"#;
        assert_eq!(String::from_utf8(rest).unwrap(), wanted);
    }

    #[test]
    fn the_rest_of_what_has_no_number_is_told_at_its_place() {
        let data = br#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":[{"text":"b"},{"text":"sk-"}]}},{"delta":{"content":["c","d"]}}]}"#;
        let rest = |words: &[u8], rest: &[u8]| {
            let at = memchr::memmem::find(data, words).unwrap() + 1;
            let span = Span::new(at, at + words.len() - 2);
            String::from_utf8(with_rest(Surface::Chat, (data, span), rest)).unwrap()
        };
        let wanted = r#"{"choices":[{"index":1,"delta":{"content":[{"index":1,"text":"sk-x"}]}}]}"#;
        assert_eq!(rest(b"\"sk-\"", b"sk-x"), wanted);
        let wanted = r#"{"choices":[{"index":2,"delta":{"content":["","x"]}}]}"#;
        assert_eq!(rest(b"\"d\"", b"x"), wanted);
    }
}
