//! Finds the texts of a JSON value that a client will show, use or keep: every string but names, numbers of
//! things and what only its maker can read.
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
const SKIPPED: [&[u8]; 30] = [
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
    b"data",
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
    walk.value(value, 0, (What::Text, 0));
    walk.found
}

struct Walk<'b> {
    json: &'b [u8],
    found: Vec<Found>,
}

impl Walk<'_> {
    fn value(&mut self, value: Span, path: u64, (what, depth): (What, usize)) {
        if depth > JSON_DEPTH_MAX {
            return;
        }
        match value.of(self.json).first() {
            Some(b'"') if value.len() > 2 => {
                let span = Span::new(value.start + 1, value.end - 1);
                self.found.push(Found { span, path, what });
            }
            Some(b'{') => self.object(value, path, depth),
            Some(b'[') => self.list(value, path, depth),
            _ => {}
        }
    }

    fn object(&mut self, value: Span, path: u64, depth: usize) {
        for member in json::members(self.json, value) {
            let key = member.key.of(self.json);
            if SKIPPED.contains(&key) {
                continue;
            }
            let path = joined(path, key);
            let first = member.value.of(self.json).first().copied();
            match key {
                b"logprobs" => {
                    self.found.push(Found { span: member.value, path, what: What::Logprobs });
                }
                b"arguments" | b"partial_json" | b"input" if first == Some(b'"') => {
                    self.value(member.value, path, (What::Json, depth + 1));
                }
                b"arguments" | b"input" if matches!(first, Some(b'{' | b'[')) => {
                    self.found.push(Found { span: member.value, path, what: What::Bare });
                }
                _ => self.value(member.value, path, (What::Text, depth + 1)),
            }
        }
    }

    fn list(&mut self, value: Span, path: u64, depth: usize) {
        let mut pull = Pull::new(self.json, value);
        pull.enter();
        let mut place = 0_u64;
        while pull.item() {
            let item = pull.skip();
            if item.is_empty() {
                return;
            }
            let index = index(self.json, item).unwrap_or(place);
            self.value(item, joined(path, &index.to_le_bytes()), (What::Text, depth + 1));
            place += 1;
        }
    }
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
            ("{}x", What::Json),
            ("t", What::Text),
            (r#"{"k":4}"#, What::Bare),
            (r#"{"content":[]}"#, What::Logprobs),
        ];
        assert_eq!(told(json), wanted.map(|(text, what)| (text.to_owned(), what)));
    }

    #[test]
    fn the_place_of_a_call_is_told_by_its_index() {
        let path = |json: &str| texts(json.as_bytes(), Span::whole(json.as_bytes()))[0].path;
        let call =
            |index: u32| format!(r#"{{"c":[{{"function":{{"arguments":"a"}},"index":{index}}}]}}"#);
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
