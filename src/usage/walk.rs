//! What a JSON answer that is too large to be held says of its usage: a walk over its bytes as they pass,
//! which keeps those top-level members that `usage::top` reads, and nothing of the rest.
//!
//! It does not check the text it passes over: only where strings, objects and lists begin and end. An
//! answer that does not end as one whole object has said nothing.

use memchr::memchr2;

use crate::base::limit::LONG_ANSWER_KEPT_BYTES_MAX;

/// The members that are kept, where they are small enough. None of them holds text of the answer.
const KEPT: [&[u8]; 13] = [
    b"model",
    b"service_tier",
    b"usage",
    b"x_groq",
    b"usage_breakdown",
    b"tool_usage",
    b"usageMetadata",
    b"timings",
    b"error",
    b"errors",
    b"status",
    b"prompt_eval_count",
    b"eval_count",
];
/// No key of those is longer.
const KEY_BYTES_MAX: usize = 24;

/// Where the walk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the document.
    Start,
    /// Inside it; whether a key comes next, where that is at the top level.
    Inside { before_key: bool },
    /// Behind its end.
    Behind,
    /// It is no single object.
    Astray,
}

/// The walk over one answer.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one place in a text")]
pub struct Walk {
    at: At,
    depth: u64,
    in_string: bool,
    is_escaped: bool,
    /// The key that is being read or was read last, without its quotes.
    key: Vec<u8>,
    /// The string that is being read is that key.
    in_key: bool,
    /// The value that is passed is kept.
    is_kept: bool,
    /// The kept members as an object that is not closed yet.
    kept: Vec<u8>,
    /// More than may be kept was to be.
    is_full: bool,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            at: At::Start,
            depth: 0,
            in_string: false,
            is_escaped: false,
            key: Vec::new(),
            in_key: false,
            is_kept: false,
            kept: vec![b'{'],
            is_full: false,
        }
    }
}

impl Walk {
    /// The next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.at != At::Astray {
            let taken = if self.in_string { self.string(bytes) } else { self.plain(bytes[0]) };
            bytes = &bytes[taken..];
        }
    }

    /// The kept members as one object; `None` if the answer was not one whole object, or if there was too
    /// much to keep.
    pub fn finish(&self) -> Option<Vec<u8>> {
        let is_whole = self.at == At::Behind && !self.is_full;
        is_whole.then(|| [&self.kept[..], b"}"].concat())
    }

    /// A piece of a string, up to its closing quote at most.
    fn string(&mut self, bytes: &[u8]) -> usize {
        let len = if self.is_escaped {
            self.is_escaped = false;
            1
        } else {
            match memchr2(b'"', b'\\', bytes) {
                None => bytes.len(),
                Some(at) => {
                    self.is_escaped = bytes[at] == b'\\';
                    self.in_string = self.is_escaped;
                    at + 1
                }
            }
        };
        let piece = &bytes[..len];
        if self.in_key {
            let text = if self.in_string { piece } else { &piece[..len - 1] };
            // A longer one is none of ours, and stays too long to be one.
            let room = (KEY_BYTES_MAX + 1).saturating_sub(self.key.len());
            self.key.extend_from_slice(&text[..text.len().min(room)]);
        } else {
            self.keep(piece);
        }
        if !self.in_string {
            self.in_key = false;
        }
        len
    }

    /// A byte outside of strings.
    fn plain(&mut self, byte: u8) -> usize {
        match (self.at, byte) {
            (_, b' ' | b'\t' | b'\n' | b'\r') | (At::Start, 0xef | 0xbb | 0xbf) => {}
            (At::Start, b'{') => {
                self.at = At::Inside { before_key: true };
                self.depth = 1;
            }
            (At::Inside { before_key }, _) => self.inside(byte, before_key),
            (At::Start | At::Behind | At::Astray, _) => self.at = At::Astray,
        }
        1
    }

    fn inside(&mut self, byte: u8, before_key: bool) {
        let is_top = self.depth == 1;
        match byte {
            b'"' => {
                self.in_string = true;
                self.in_key = is_top && before_key;
                if self.in_key {
                    self.key.clear();
                    return;
                }
            }
            b':' if is_top && before_key => return self.begin_value(),
            b',' if is_top => {
                self.is_kept = false;
                self.at = At::Inside { before_key: true };
                return;
            }
            b'{' | b'[' => self.depth += 1,
            b'}' if is_top => {
                self.is_kept = false;
                self.at = At::Behind;
                return;
            }
            b']' if is_top => {
                self.at = At::Astray;
                return;
            }
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.keep(&[byte]);
    }

    fn begin_value(&mut self) {
        self.at = At::Inside { before_key: false };
        self.is_kept = !self.is_full && KEPT.contains(&&self.key[..]);
        // With its quotes, its colon and a comma.
        let is_too_much = self.kept.len() + self.key.len() + 4 > LONG_ANSWER_KEPT_BYTES_MAX;
        if self.is_kept && is_too_much {
            self.is_full = true;
            self.is_kept = false;
        }
        if self.is_kept {
            if self.kept.len() > 1 {
                self.kept.push(b',');
            }
            self.kept.push(b'"');
            self.kept.extend_from_slice(&self.key);
            self.kept.extend_from_slice(b"\":");
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        if !self.is_kept {
            return;
        }
        if self.kept.len() + piece.len() > LONG_ANSWER_KEPT_BYTES_MAX {
            self.is_full = true;
            self.is_kept = false;
        } else {
            self.kept.extend_from_slice(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::surface::Surface;
    use crate::usage::answer::read_answer;
    use proptest::prelude::*;

    fn walked(text: &[u8], piece: usize) -> Option<String> {
        let mut walk = Walk::default();
        text.chunks(piece).for_each(|piece| walk.feed(piece));
        walk.finish().map(|kept| String::from_utf8(kept).unwrap())
    }

    #[test]
    fn the_members_that_count_are_kept_wherever_they_stand() {
        let text = br#" {"model":"m","data":[{"usage":{"prompt_tokens":9},"e":"\"}],\\"}, 1e3],
            "x":"\"usage\":{}", "usage" : {"prompt_tokens": 7, "note":"a, \"b\": }"},"z":null} "#;
        let expected = r#"{"model":"m","usage":{"prompt_tokens":7,"note":"a, \"b\": }"}}"#;
        for piece in [1, 2, 3, 7, 1_000] {
            assert_eq!(walked(text, piece).as_deref(), Some(expected), "{piece}");
        }
        assert_eq!(walked(b"{}", 1).as_deref(), Some("{}"));
        assert_eq!(walked(b"\xef\xbb\xbf{\"usage\":{}}", 1).as_deref(), Some(r#"{"usage":{}}"#));
    }

    #[test]
    fn what_is_not_one_whole_object_has_said_nothing() {
        for text in ["", "{", r#"{"usage":{"prompt_tokens":1}"#, "[]", "{}{}", "{} x", "{]", "7"] {
            assert_eq!(walked(text.as_bytes(), 1), None, "{text}");
        }
        let fat = format!(r#"{{"usage":"{}"}}"#, "x".repeat(LONG_ANSWER_KEPT_BYTES_MAX));
        assert_eq!(walked(fat.as_bytes(), 1 << 16), None);
    }

    #[test]
    fn nothing_of_a_long_answer_is_held_but_what_counts() {
        let mut walk = Walk::default();
        walk.feed(br#"{"data":[{"embedding":""#);
        for _ in 0..512 {
            walk.feed(&vec![b'A'; 1 << 16]);
        }
        walk.feed(br#""}],"usage":{"prompt_tokens":2048,"total_tokens":2048}}"#);
        assert!(walk.kept.capacity() < 1_024 && walk.key.capacity() < 64);
        let facts = read_answer(Surface::Embeddings, &walk.finish().unwrap());
        assert_eq!(facts.usage.map(|usage| (usage.input, usage.output)), Some((2_048, 0)));
    }

    #[test]
    fn neither_many_members_nor_escaped_keys_are_held() {
        let mut walk = Walk::default();
        walk.feed(b"{");
        for _ in 0..1 << 17 {
            walk.feed(br#""usage":1,"#);
        }
        walk.feed(br#""x":1}"#);
        assert!(walk.kept.len() <= LONG_ANSWER_KEPT_BYTES_MAX && walk.finish().is_none());
        let mut walk = Walk::default();
        walk.feed(b"{\"");
        for _ in 0..1 << 12 {
            walk.feed(br"\n");
        }
        assert!(walk.key.len() <= KEY_BYTES_MAX + 1, "{}", walk.key.len());
        walk.feed(br#"":1,"usage":{}}"#);
        assert_eq!(walk.finish().as_deref(), Some(&br#"{"usage":{}}"#[..]));
    }

    proptest! {
        #[test]
        fn it_finds_what_the_reader_of_whole_answers_finds(
            fill in "[a-z\\\\\"{}\\[\\], :]{0,80}", prompt in 0u64..1000, output in 0u64..1000, first in any::<bool>(), piece in 1usize..40,
        ) {
            let mut quoted = Vec::new();
            crate::wire::json::quote_into(&fill, &mut quoted);
            let quoted = String::from_utf8(quoted).unwrap();
            let usage = format!(r#""usage":{{"prompt_tokens":{prompt},"completion_tokens":{output}}}"#);
            let choices = format!(r#""choices":[{{"message":{{"content":{quoted}}}}}]"#);
            let (one, two) = if first { (&usage, &choices) } else { (&choices, &usage) };
            let text = format!("{{{quoted}:{quoted},{one},{two}}}");
            let kept = walked(text.as_bytes(), piece).unwrap();
            let (short, whole) =
                (read_answer(Surface::Chat, kept.as_bytes()), read_answer(Surface::Chat, text.as_bytes()));
            prop_assert_eq!(short.usage, whole.usage);
        }

        #[test]
        fn no_bytes_upset_it(text in proptest::collection::vec(any::<u8>(), 0..200), piece in 1usize..9) {
            let mut walk = Walk::default();
            text.chunks(piece).for_each(|piece| walk.feed(piece));
            walk.finish();
        }
    }
}
