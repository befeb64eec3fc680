//! Texts that begin in the event that announces them, before their first delta: the block, part or item that is
//! added may hold words already. They are the beginning of the very field that the deltas go on with.
//!
//! What is held back of them cannot go out in such an event again, which would announce the block twice. So
//! each comes with the delta that could go on with it.

use crate::exchange::outflow::event::{Key, Said, Way, word_of};
use crate::exchange::outflow::walk;
use crate::wire::json;
use crate::wire::syntax::Span;

/// An event that goes on with a text and says nothing yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct More {
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: Vec<u8>,
    /// Where the text goes.
    pub span: Span,
}

/// Blocks of Messages whose text may begin with them: their type, and the member that it stands in.
const BLOCKS: [(&[u8], &str); 3] =
    [(b"text", "text"), (b"thinking", "thinking"), (b"compaction", "content")];

/// The text that a block of Messages begins with. Thoughts that come with their signature are whole.
pub fn block(data: &[u8], group: u64, block: Span) -> Option<(Said, More)> {
    let kind = word_of(data, block, "type");
    let (_, member) = BLOCKS.into_iter().find(|(known, _)| *known == kind)?;
    if !word_of(data, block, "signature").is_empty() {
        return None;
    }
    let span = inside(data, block, member)?;
    let key = Key { group, name: walk::joined(0, member.as_bytes()) };
    let mut head = b"{\"type\":\"content_block_delta\",".to_vec();
    if group != u64::MAX {
        head.extend_from_slice(format!("\"index\":{group},").as_bytes());
    }
    head.extend_from_slice(b"\"delta\":{\"type\":\"");
    head.extend_from_slice(kind);
    head.extend_from_slice(format!("_delta\",\"{member}\":\"").as_bytes());
    let said = Said { key, span, is_json: false, way: Way::Start(0) };
    Some((said, with_tail("content_block_delta", head, b"\"}}")))
}

/// A part of a response: its type, its member, what its events are called, and what they count it by.
struct Part {
    kind: &'static [u8],
    member: &'static str,
    events: &'static str,
    number: &'static str,
}

const PARTS: [Part; 4] = [
    Part {
        kind: b"output_text",
        member: "text",
        events: "response.output_text",
        number: "content_index",
    },
    Part {
        kind: b"refusal",
        member: "refusal",
        events: "response.refusal",
        number: "content_index",
    },
    Part {
        kind: b"reasoning_text",
        member: "text",
        events: "response.reasoning_text",
        number: "content_index",
    },
    Part {
        kind: b"summary_text",
        member: "text",
        events: "response.reasoning_summary_text",
        number: "summary_index",
    },
];

/// Items that are one text themselves: their type, its member, and what its events are called.
const ITEMS: [(&[u8], &str, &str); 4] = [
    (b"function_call", "arguments", "response.function_call_arguments"),
    (b"mcp_call", "arguments", "response.mcp_call_arguments"),
    (b"custom_tool_call", "input", "response.custom_tool_call_input"),
    (b"code_interpreter_call", "code", "response.code_interpreter_call_code"),
];

/// Where a text of a response stands.
struct Place<'a> {
    events: &'a str,
    /// By what its part is counted, and its number there.
    part: Option<(&'a str, u64)>,
    /// The id of its item, as it was written.
    item: &'a [u8],
}

/// The texts that an event of Responses begins, which adds an item or a part.
pub fn added(data: &[u8], kind: &[u8], group: u64) -> Vec<(Said, More)> {
    let whole = Span::whole(data);
    let find = |name| json::find(data, whole, name);
    match kind {
        b"response.content_part.added" | b"response.reasoning_summary_part.added" => {
            let item = find("item_id").map_or(&b"\"\""[..], |id| id.of(data));
            let number = |name| walk::number(data, whole, name);
            let number = number("content_index").or_else(|| number("summary_index"));
            let begun = find("part").map(|part| of_part(data, (group, item), (part, number)));
            begun.flatten().into_iter().collect()
        }
        b"response.output_item.added" => {
            find("item").map(|item| of_item(data, group, item)).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

fn of_part(
    data: &[u8],
    (group, item): (u64, &[u8]),
    (part, number): (Span, Option<u64>),
) -> Option<(Said, More)> {
    let kind = word_of(data, part, "type");
    let known = PARTS.iter().find(|known| known.kind == kind)?;
    let span = inside(data, part, known.member)?;
    let place =
        Place { events: known.events, part: number.map(|number| (known.number, number)), item };
    Some(begun(data, group, span, &place))
}

fn of_item(data: &[u8], group: u64, item: Span) -> Vec<(Said, More)> {
    let kind = word_of(data, item, "type");
    let id = json::find(data, item, "id").map_or(&b"\"\""[..], |id| id.of(data));
    if let Some((_, member, events)) = ITEMS.into_iter().find(|(known, ..)| *known == kind) {
        let place = Place { events, part: None, item: id };
        let text = inside(data, item, member).map(|span| begun(data, group, span, &place));
        return text.into_iter().collect();
    }
    let lists = ["content", "summary"].into_iter().filter_map(|name| json::find(data, item, name));
    let parts = lists.flat_map(|list| (0..).zip(walk::items(data, list)).map(|(at, it)| (it, at)));
    parts.filter_map(|(part, number)| of_part(data, (group, id), (part, Some(number)))).collect()
}

fn begun(data: &[u8], group: u64, span: Span, place: &Place<'_>) -> (Said, More) {
    let Place { events, part, item } = place;
    let number = part.map_or(u64::MAX, |(_, number)| number);
    let key = Key { group, name: walk::joined(number, events.as_bytes()) };
    let name = format!("{events}.delta");
    let mut head = format!("{{\"type\":\"{name}\",").into_bytes();
    if let Some(sequence) = walk::number(data, Span::whole(data), "sequence_number") {
        head.extend_from_slice(format!("\"sequence_number\":{sequence},").as_bytes());
    }
    head.extend_from_slice(b"\"item_id\":");
    head.extend_from_slice(item);
    if group != u64::MAX {
        head.extend_from_slice(format!(",\"output_index\":{group}").as_bytes());
    }
    if let Some((name, number)) = part {
        head.extend_from_slice(format!(",\"{name}\":{number}").as_bytes());
    }
    head.extend_from_slice(b",\"delta\":\"");
    let tail: &[u8] =
        if *events == "response.output_text" { b"\",\"logprobs\":[]}" } else { b"\"}" };
    let is_json = events.ends_with("arguments");
    (Said { key, span, is_json, way: Way::Start(0) }, with_tail(&name, head, tail))
}

fn with_tail(name: &str, mut head: Vec<u8>, tail: &[u8]) -> More {
    let span = Span::new(head.len(), head.len());
    head.extend_from_slice(tail);
    More { name: name.to_owned(), data: head, span }
}

/// The inside of a string member that is not empty.
fn inside(data: &[u8], object: Span, name: &str) -> Option<Span> {
    let value = json::find(data, object, name)?;
    walk::inside(data, value).filter(|span| !span.is_empty())
}
