//! JSON inside a JSON string, into it and out of it: the arguments of tools as `OpenAI`'s dialects write
//! them, and the one text argument behind which a custom tool stands where there are none.
//!
//! What the JSON says is not looked at beyond that.

use std::borrow::Cow;

use crate::dialect::canonical::text::Text;
use crate::wire::block::Block;
use crate::wire::json;
use crate::wire::syntax::Span;

/// The one argument of a function that stands for a custom tool.
pub const FREE_ARGUMENT: &str = "input";

/// What a function takes that stands for a custom tool, as a JSON schema.
pub const FREE_SCHEMA: &[u8] = br#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#;

/// The JSON object that stands inside a string; `{}` where the string is empty or blank. `None` if it
/// is anything else.
pub fn object_of<'t>(quoted: &'t Text<'_>) -> Option<Cow<'t, [u8]>> {
    let text = quoted.plain()?;
    if text.trim_ascii().is_empty() {
        return Some(Cow::Borrowed(b"{}"));
    }
    let span = json::check(text.as_bytes()).ok()?;
    if !span.of(text.as_bytes()).starts_with(b"{") {
        return None;
    }
    match text {
        Cow::Borrowed(text) => Some(Cow::Borrowed(span.of(text.as_bytes()))),
        Cow::Owned(text) if span == Span::whole(text.as_bytes()) => {
            Some(Cow::Owned(text.into_bytes()))
        }
        Cow::Owned(text) => Some(Cow::Owned(span.of(text.as_bytes()).to_vec())),
    }
}

/// Appends JSON, or any piece of it, as the inside of a JSON string, without the quotes around it.
pub fn quote(raw: &[u8], out: &mut Vec<u8>) {
    out.reserve(raw.len() + raw.len() / 8);
    let mut at = 0;
    let mut plain = 0;
    while at < raw.len() {
        let block = Block::at(raw, at);
        let mut special = block.equal(b'"') | block.equal(b'\\') | block.control();
        while special != 0 {
            let place = at + special.trailing_zeros() as usize;
            special &= special - 1;
            // Beyond the end a block reads as control characters.
            let Some(&byte) = raw.get(place) else { break };
            out.extend_from_slice(Span::new(plain, place).of(raw));
            escape(byte, out);
            plain = place + 1;
        }
        at += 64;
    }
    out.extend_from_slice(Span::new(plain, raw.len()).of(raw));
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let letter = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        b'"' | b'\\' => byte,
        _ => {
            let digit = |half: u8| HEX.get(usize::from(half)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

/// Appends the object by which a function is called that stands for a custom tool.
pub fn wrap_free(text: &Text<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"input\":");
    text.quote_into(out);
    out.push(b'}');
}

/// The free text in the object by which a function was called that stands for a custom tool; `None`
/// if it has none.
pub fn free_text(object: &[u8]) -> Option<Text<'_>> {
    Text::token(json::find(object, Span::whole(object), FREE_ARGUMENT)?.of(object))
}

/// Takes the free text for a custom tool out of `{"input":"..."}` while it still comes in, in pieces
/// cut anywhere. What is not of that form gives no text.
#[derive(Clone, Debug, Default)]
pub struct Unwrap {
    state: State,
    /// Containers that are open.
    depth: usize,
    /// Whether a colon has been passed since the last comma of the outer object.
    has_key: bool,
    /// How much of the key was as expected; `None` once it was not.
    key: Option<usize>,
    /// An escape of the inner string that has not come whole.
    escape: Vec<u8>,
}

/// Where in the inner JSON the reader stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between strings.
    #[default]
    Between,
    /// In a key of the outer object.
    Key,
    /// In a string that does not matter; `true` behind a backslash.
    Other(bool),
    /// In the text.
    Wanted,
    /// Behind the text.
    Done,
}

impl Unwrap {
    /// Before the first piece.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a piece, and appends to `out` what it brings of the text, as written.
    pub fn feed(&mut self, piece: &Text<'_>, out: &mut Vec<u8>) {
        let mut rest = piece.as_written();
        while let Some(at) = memchr::memchr(b'\\', rest) {
            let (plain, escaped) = rest.split_at(at);
            self.plain(plain, out);
            rest = self.outer_escape(escaped, out);
        }
        self.plain(rest, out);
    }

    /// Whether the whole text has come.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes in the escape of the outer string at the start of `text`; returns what follows it.
    fn outer_escape<'t>(&mut self, text: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
        let len = if text.get(1) == Some(&b'u') { 6 } else { 2 };
        let (escape, rest) = text.split_at_checked(len).unwrap_or((text, &[]));
        let byte = match escape.get(1) {
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                // Beyond ASCII it means the same in the inner string.
                let Some(byte) = ascii(escape) else {
                    self.whole(escape, out);
                    return rest;
                };
                byte
            }
            Some(&letter) => letter,
            None => return rest,
        };
        self.step(byte, out);
        rest
    }

    /// Takes in a run without escapes of the outer string, thus without quotes and backslashes.
    fn plain(&mut self, run: &[u8], out: &mut Vec<u8>) {
        let mut rest = run;
        while let Some((&byte, behind)) = rest.split_first() {
            if self.state == State::Wanted && self.escape.is_empty() {
                out.extend_from_slice(rest);
                return;
            }
            self.step(byte, out);
            rest = behind;
        }
    }

    /// Takes in several bytes that are one character.
    fn whole(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.state {
            State::Wanted if matches!(self.escape.len(), 0 | 6) => {
                out.append(&mut self.escape);
                out.extend_from_slice(bytes);
            }
            State::Wanted => self.state = State::Done,
            State::Key => self.key = None,
            State::Other(_) => self.state = State::Other(false),
            State::Between | State::Done => {}
        }
    }

    /// Takes in one byte of the inner JSON.
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            State::Between => self.between(byte),
            State::Key | State::Other(false) if byte == b'"' => self.state = State::Between,
            State::Key => {
                let wanted = self.key.and_then(|at| FREE_ARGUMENT.as_bytes().get(at));
                self.key = self.key.filter(|_| wanted == Some(&byte)).map(|at| at + 1);
                if byte == b'\\' {
                    self.state = State::Other(true);
                }
            }
            State::Other(escaped) => self.state = State::Other(!escaped && byte == b'\\'),
            State::Wanted => self.wanted(byte, out),
            State::Done => {}
        }
    }

    fn between(&mut self, byte: u8) {
        match byte {
            b'"' if self.depth != 1 => self.state = State::Other(false),
            b'"' if !self.has_key => (self.state, self.key) = (State::Key, Some(0)),
            b'"' if self.key == Some(FREE_ARGUMENT.len()) => self.state = State::Wanted,
            b'"' => self.state = State::Other(false),
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b':' if self.depth == 1 => self.has_key = true,
            b',' if self.depth == 1 => self.has_key = false,
            _ => {}
        }
    }

    /// Takes in one byte of the text. Escapes are given out whole only, and pairs of surrogates
    /// together, so that every piece is valid by itself.
    fn wanted(&mut self, byte: u8, out: &mut Vec<u8>) {
        match (self.escape.len(), byte) {
            (0, b'"') => self.state = State::Done,
            (0 | 6, b'\\') | (1 | 7, b'u') => self.escape.push(byte),
            // No JSON, but models write it; it can only be meant as itself.
            (0, 0..0x20) => escape(byte, out),
            (0, _) => out.push(byte),
            (1 | 7, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                out.append(&mut self.escape);
                out.push(byte);
            }
            (2..=5 | 8..=11, _) if byte.is_ascii_hexdigit() => {
                self.escape.push(byte);
                let half = matches!(
                    *self.escape,
                    [_, _, b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', _, _]
                );
                if self.escape.len() == 12 || self.escape.len() == 6 && !half {
                    out.append(&mut self.escape);
                }
            }
            // Half a pair without the other half.
            (6, _) => {
                out.append(&mut self.escape);
                self.wanted(byte, out);
            }
            // No escape of JSON: what follows cannot be understood.
            _ => self.state = State::Done,
        }
    }
}

/// The character of `\u0041`, if it is ASCII.
fn ascii(escape: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(escape.get(2..6)?).ok()?;
    u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(quoted: &str) -> Option<String> {
        let text = Text::written(quoted.as_bytes());
        object_of(&text).map(|object| String::from_utf8_lossy(&object).into_owned())
    }

    #[test]
    fn an_object_is_taken_out_of_its_string() {
        assert_eq!(object(r#"{\"a\":\"\\n\\u00e9\"}"#).as_deref(), Some(r#"{"a":"\n\u00e9"}"#));
        assert_eq!(object(r#" {\"a\": 1}\n"#).as_deref(), Some(r#"{"a": 1}"#));
        for blank in ["", " ", r"\n\t "] {
            assert_eq!(object(blank).as_deref(), Some("{}"));
        }
        for bad in ["[]", "null", "1", "{", r#"{\"a\":}"#, r"{\u0022a\u0022", "{} {}", r"\ud800"] {
            assert_eq!(object(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_quoted_is_a_string() {
        let mut out = Vec::new();
        quote(b"{\"a\":\n\t\"\\u00e9\x01\"}", &mut out);
        assert_eq!(out, br#"{\"a\":\n\t\"\\u00e9\u0001\"}"#);
    }

    fn unwrapped(pieces: &[&str]) -> (String, bool) {
        let mut unwrap = Unwrap::new();
        let mut text = String::new();
        for piece in pieces {
            let mut out = Vec::new();
            unwrap.feed(&Text::of(piece), &mut out);
            assert!(serde_json::from_slice::<String>(&[b"\"", &*out, b"\""].concat()).is_ok());
            text.push_str(&String::from_utf8(out).unwrap());
        }
        (text, unwrap.is_done())
    }

    #[test]
    fn only_the_one_argument_is_unwrapped() {
        assert_eq!(unwrapped(&[r#" { "input" : "a\n" } "#]), (r"a\n".into(), true));
        assert_eq!(
            unwrapped(&[r#"{"x":{"input":"no"},"y":["input","\"no"],"input":"yes"}"#]),
            ("yes".into(), true)
        );
        for none in ["", "{}", r#"["input","a"]"#, r#"{"inputs":"a"}"#, r#"{"input":7}"#, "text"] {
            assert_eq!(unwrapped(&[none]), (String::new(), false), "{none}");
        }
        assert_eq!(unwrapped(&[r#"{"input":"a\q"#, r#"b"}"#]), ("a".into(), true));
        assert_eq!(unwrapped(&[r#"{"in"#, r#"put":"cut"#]), ("cut".into(), false));
        let object = br#"{"input":"a\n"}"#;
        assert_eq!(free_text(object), Some(Text::written(br"a\n")));
        assert_eq!(free_text(br#"{"input":1}"#), None);
    }

    proptest! {
        #[test]
        fn quoting_is_undone(text in any::<String>()) {
            let wrapped = serde_json::json!({"input": text, "\u{1}": [text]}).to_string();
            let mut out = Vec::new();
            quote(wrapped.as_bytes(), &mut out);
            let text = Text::written(&out);
            let object = object_of(&text);
            prop_assert_eq!(object.as_deref(), Some(wrapped.as_bytes()));
        }

        #[test]
        fn any_cut_unwraps_to_the_same(text in any::<String>(), ascii: bool, cuts in prop::collection::vec(any::<usize>(), 0..6)) {
            let mut free = Vec::new();
            let quoted = Text::of(&text).into_owned();
            wrap_free(&quoted, &mut free);
            let mut whole = String::from_utf8(free).unwrap();
            if ascii {
                let escaped = |c: char| {
                    let units: Vec<u16> = c.encode_utf16(&mut [0; 2]).to_vec();
                    let of_unit = |unit: &u16| format!("\\u{unit:04x}");
                    if c.is_ascii() { c.to_string() } else { units.iter().map(of_unit).collect() }
                };
                whole = whole.chars().map(escaped).collect();
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (whole.len() + 1)).collect();
            cuts.extend([0, whole.len()]);
            cuts.retain(|&cut| whole.is_char_boundary(cut));
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
            let (written, done) = unwrapped(&pieces);
            prop_assert!(done);
            let read = json::unescape(written.as_bytes());
            prop_assert_eq!(read.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn escapes_of_the_outer_string_are_undone(units in prop::collection::vec(any::<u16>(), 0..20)) {
            let mut unwrap = Unwrap::new();
            let mut out = Vec::new();
            unwrap.feed(&Text::of(r#"{"input":""#), &mut out);
            for unit in &units {
                unwrap.feed(&Text::written(format!("\\u{unit:04x}").as_bytes()), &mut out);
            }
            prop_assert!(json::check(&[b"\"", &*out, b"\""].concat()).is_ok());
        }
    }
}
