//! Finds the texts of a JSON value that a client will show, use or keep: every string but names, numbers of
//! things and what only its maker can read. The name of a tool that is called is a text: the model writes it.
//!
//! Values must have been checked, or come from a provider: what is no JSON is safe to hand in, and is passed
//! over. Nothing is changed here.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;

use crate::base::limit::JSON_DEPTH_MAX;
use crate::wire::json;
use crate::wire::pull::Pull;
use crate::wire::syntax::Span;

/// Members that are no text: names and numbers of things, words of the protocol, signatures, what is sealed,
/// pictures and sound.
const SKIPPED: [&[u8]; 31] = [
    b"id",
    b"type",
    b"role",
    b"name",
    b"model",
    b"object",
    b"status",
    b"index",
    b"call_id",
    b"item_id",
    b"tool_use_id",
    b"tool_call_id",
    b"file_id",
    b"container_id",
    b"signature",
    b"thought_signature",
    b"encrypted_content",
    b"encrypted_index",
    b"b64_json",
    b"result",
    b"format",
    b"finish_reason",
    b"stop_reason",
    b"native_finish_reason",
    b"obfuscation",
    b"phase",
    b"usage",
    b"media_type",
    b"system_fingerprint",
    b"service_tier",
    b"provider",
];

/// A text that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The inside of a string; the whole value for JSON that stands in none.
    pub span: Span,
    /// What tells its place in the value from others, the same in every event.
    pub path: u64,
    /// What it is.
    pub what: What,
    /// Whether later events may go on with it, by its name; else it is whole wherever it stands.
    pub goes_on: bool,
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Words.
    Text,
    /// JSON in a string.
    Json,
    /// JSON that stands in no string.
    Bare,
    /// Not a text: probabilities of tokens.
    Logprobs,
}

/// The texts of the value that lies at `value`.
pub fn texts(json: &[u8], value: Span) -> Vec<Found> {
    let mut walk = Walk { json, found: Vec::new() };
    walk.value(value, Way::START);
    walk.found
}

/// Texts that come piece by piece, in one event after another, besides all that is named like reasoning.
const GOING_ON: [&[u8]; 9] = [
    b"content",
    b"text",
    b"refusal",
    b"thinking",
    b"summary",
    b"arguments",
    b"partial_json",
    b"input",
    b"transcript",
];
/// Members in which nothing goes on: what they hold comes whole.
const WHOLE: [&[u8]; 5] = [b"annotations", b"citations", b"citation", b"search_results", b"images"];

/// The texts of an object, but for those in that member.
pub fn texts_beside(json: &[u8], object: Span, name: &str) -> Vec<Found> {
    let mut walk = Walk { json, found: Vec::new() };
    walk.members(object, Way::START, Some(name));
    walk.found
}

struct Walk<'b> {
    json: &'b [u8],
    found: Vec<Found>,
}

/// Whose member a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Other,
    Audio,
    /// A tool of the client's own making.
    Custom,
    /// A call of a tool.
    Call,
}

/// What calls of tools are called where they say their type.
const CALLS: [&[u8]; 6] = [
    b"tool_use",
    b"server_tool_use",
    b"mcp_tool_use",
    b"function_call",
    b"mcp_call",
    b"custom_tool_call",
];

/// What is known of a value from the way to it.
#[derive(Clone, Copy)]
struct Way {
    path: u64,
    what: What,
    goes_on: bool,
    /// Nothing below can go on.
    is_whole: bool,
    within: Within,
    depth: usize,
}

impl Way {
    const START: Self = Self {
        path: 0,
        what: What::Text,
        goes_on: false,
        is_whole: false,
        within: Within::Other,
        depth: 0,
    };

    fn member(self, key: &[u8], what: What) -> Self {
        let is_whole = self.is_whole || WHOLE.contains(&key);
        let is_named = key.starts_with(b"reasoning");
        Self {
            path: joined(self.path, key),
            what,
            goes_on: !is_whole && (is_named || GOING_ON.contains(&key)),
            is_whole,
            within: match key {
                b"audio" | b"input_audio" => Within::Audio,
                b"custom" => Within::Custom,
                b"function" | b"function_call" => Within::Call,
                _ => Within::Other,
            },
            depth: self.depth + 1,
        }
    }
}

impl Walk<'_> {
    fn value(&mut self, value: Span, way: Way) {
        if way.depth > JSON_DEPTH_MAX {
            return;
        }
        match value.of(self.json).first() {
            Some(b'"') if value.len() > 2 => {
                self.push(Span::new(value.start + 1, value.end - 1), way);
            }
            Some(b'{') => self.members(value, way, None),
            Some(b'[') => self.list(value, way),
            _ => {}
        }
    }

    fn push(&mut self, span: Span, Way { path, what, goes_on, .. }: Way) {
        self.found.push(Found { span, path, what, goes_on });
    }

    fn members(&mut self, value: Span, way: Way, but: Option<&str>) {
        for member in json::members(self.json, value) {
            let key = json::meaning(member.key.of(self.json));
            let key = &*key;
            if key == b"name" && self.is_call(value, way) {
                self.value(member.value, way.member(key, What::Text));
                continue;
            }
            if SKIPPED.contains(&key) || but.is_some_and(|name| key == name.as_bytes()) {
                continue;
            }
            if key == b"data" && (way.within == Within::Audio || self.is_sealed(value)) {
                continue;
            }
            let first = member.value.of(self.json).first().copied();
            match key {
                b"logprobs" => self.push(member.value, way.member(key, What::Logprobs)),
                b"input"
                    if way.within == Within::Custom || self.is_a(value, &[b"custom_tool_call"]) =>
                {
                    self.value(member.value, way.member(key, What::Text));
                }
                b"arguments" | b"partial_json" | b"input" if first == Some(b'"') => {
                    self.value(member.value, way.member(key, What::Json));
                }
                b"arguments" | b"input" if matches!(first, Some(b'{' | b'[')) => {
                    self.push(member.value, way.member(key, What::Bare));
                }
                _ => self.value(member.value, way.member(key, What::Text)),
            }
        }
    }

    /// Whether an object calls a tool.
    fn is_call(&self, object: Span, way: Way) -> bool {
        matches!(way.within, Within::Call | Within::Custom) || self.is_a(object, &CALLS)
    }

    /// Whether the type of an object is one of those.
    fn is_a(&self, object: Span, kinds: &[&[u8]]) -> bool {
        let kind = json::find(self.json, object, "type").map(|kind| kind.of(self.json));
        let word = kind.and_then(|kind| kind.strip_prefix(b"\"")?.strip_suffix(b"\""));
        word.is_some_and(|word| kinds.contains(&word))
    }

    /// Whether the data of an object is of no use to readers: a picture, a sound, or sealed.
    fn is_sealed(&self, object: Span) -> bool {
        const KINDS: [&[u8]; 3] = [b"base64", b"redacted_thinking", b"reasoning.encrypted"];
        let is_media = ["media_type", "mime_type", "mimeType"];
        self.is_a(object, &KINDS)
            || is_media.iter().any(|name| json::find(self.json, object, name).is_some())
    }

    fn list(&mut self, value: Span, way: Way) {
        let mut pull = Pull::new(self.json, value);
        pull.enter();
        let mut place = 0_u64;
        while pull.item() {
            let item = pull.skip();
            if item.is_empty() {
                return;
            }
            let index = index(self.json, item).unwrap_or(place);
            let path = joined(way.path, &index.to_le_bytes());
            self.value(item, Way { path, what: What::Text, depth: way.depth + 1, ..way });
            place += 1;
        }
    }
}

/// The inside of a string value.
pub fn inside(json: &[u8], value: Span) -> Option<Span> {
    let is_text = value.of(json).starts_with(b"\"") && value.len() > 1;
    is_text.then(|| Span::new(value.start + 1, value.end - 1))
}

/// The items of a list; any other value is one.
pub fn items(json: &[u8], value: Span) -> Vec<Span> {
    if !value.of(json).starts_with(b"[") {
        return vec![value];
    }
    let mut pull = Pull::new(json, value);
    pull.enter();
    let mut items = Vec::new();
    while pull.item() {
        let item = pull.skip();
        if item.is_empty() {
            break;
        }
        items.push(item);
    }
    items
}

/// The `index` of an object.
pub fn index(json: &[u8], object: Span) -> Option<u64> {
    if !object.of(json).starts_with(b"{") {
        return None;
    }
    number(json, object, "index")
}

/// A number of an object, by its name.
pub fn number(json: &[u8], object: Span, name: &str) -> Option<u64> {
    let value = json::find(json, object, name)?;
    str::from_utf8(value.of(json)).ok()?.parse().ok()
}

/// A path and one more step.
pub fn joined(path: u64, step: &[u8]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_u64(path);
    hasher.write(step);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(json: &str) -> Vec<(String, What)> {
        let found = texts(json.as_bytes(), Span::whole(json.as_bytes()));
        let text = |it: Found| {
            (String::from_utf8_lossy(it.span.of(json.as_bytes())).into_owned(), it.what)
        };
        found.into_iter().map(text).collect()
    }

    #[test]
    fn texts_are_told_from_names_and_seals() {
        let json = r#"{"id":"x","content":"a\n","tool_calls":[{"id":"c","function":{"name":"f",
            "arguments":"{}x"}}],"thinking":"t","signature":"sss","input":{"k":4},"logprobs":{"content":[]}}"#;
        let wanted = [
            (r"a\n", What::Text),
            ("f", What::Text),
            ("{}x", What::Json),
            ("t", What::Text),
            (r#"{"k":4}"#, What::Bare),
            (r#"{"content":[]}"#, What::Logprobs),
        ];
        assert_eq!(told(json), wanted.map(|(text, what)| (text.to_owned(), what)));
    }

    #[test]
    fn only_pictures_sound_and_seals_have_data_that_is_no_text() {
        let json = r#"[{"data":"a"},{"type":"base64","data":"b"},{"audio":{"data":"c"}},
            {"type":"redacted_thinking","data":"d"},{"data":"e","media_type":"image/png"}]"#;
        assert_eq!(told(json), [("a".to_owned(), What::Text)]);
    }

    #[test]
    fn what_tools_of_the_clients_own_get_is_text() {
        let json =
            r#"[{"type":"custom_tool_call","input":"a"},{"custom":{"input":"b"}},{"input":"c"}]"#;
        let wanted = [("a", What::Text), ("b", What::Text), ("c", What::Json)];
        assert_eq!(told(json), wanted.map(|(text, what)| (text.to_owned(), what)));
    }

    #[test]
    fn a_key_is_what_its_escapes_stand_for() {
        let json = r#"{"ty\u0070e":"a","\u0063ontent":"b","logprob\u0073":[]}"#;
        let found = texts(json.as_bytes(), Span::whole(json.as_bytes()));
        let wanted: Vec<_> = found.iter().map(|it| (it.what, it.goes_on)).collect();
        assert_eq!(wanted, [(What::Text, true), (What::Logprobs, false)]);
        let plain = texts(br#"{"content":"b"}"#, Span::whole(br#"{"content":"b"}"#));
        assert_eq!(found[0].path, plain[0].path);
    }

    #[test]
    fn the_place_of_a_call_is_told_by_its_index() {
        let path = |json: &str| texts(json.as_bytes(), Span::whole(json.as_bytes()))[0].path;
        let call = |index: u32| {
            format!(r#"{{"c":[{{"function":{{"arguments":"a"}},"name":"n","index":{index}}}]}}"#)
        };
        assert_eq!(path(&call(1)), path(&call(1)));
        assert_ne!(path(&call(1)), path(&call(0)));
    }

    proptest! {
        #[test]
        fn any_text_comes_to_an_end(text in r#"([\[\]{},: "a1]|"arguments"|"index"|\\n|true){0,60}"#) {
            told(&text);
        }
    }
}
