//! Reads text that comes in pieces, written inside a string or not, and tells what it stands for. Of JSON that
//! is what its own strings stand for: each piece of text with the bytes that it was written in, and whether it
//! stands in a string there.
//!
//! Pieces may be cut anywhere in the inner JSON, in the middle of its escapes too; what may still become one is
//! held. Nothing is refused: what is no JSON is told as it stands, but for escapes between quotes. Strings
//! within strings within strings are not opened.

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Words, as the inside of a string, cut between characters and escapes, as events of a stream are, each of
    /// which is JSON of its own.
    Words,
    /// JSON, as the inside of a string that is cut like that.
    Wrapped,
    /// JSON as it is.
    Bare,
}

/// Where a piece of text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a string of the JSON, or in text that is no JSON.
    Inside,
    /// Between strings, the quotes themselves included.
    Outside,
}

/// Who is told.
pub trait Listener {
    /// Text that goes on. `is_whole`: it is one escape, which cannot be taken apart; else it was written as it
    /// is, byte for byte.
    fn text(&mut self, text: &[u8], written: &[u8], at: (Place, bool));
}

/// A character of an inner escape that is not whole yet.
#[derive(Clone, Copy, Debug)]
struct Begun {
    byte: u8,
    /// In how many bytes it was written.
    written: usize,
}

/// The reader of one text.
#[derive(Clone, Debug)]
pub struct Reader {
    form: Form,
    /// Whether the text is JSON, by its first character; `None` before that.
    is_json: Option<bool>,
    in_string: bool,
    /// An inner escape that is not whole, and what it was written in.
    begun: Vec<Begun>,
    written: Vec<u8>,
}

/// What becomes of an inner escape.
enum Verdict {
    /// It may go on.
    Wait,
    /// So many characters of it stand for this one.
    Is(usize, char),
    /// It is none.
    No,
}

impl Reader {
    /// A reader at the beginning of a text.
    pub const fn new(form: Form) -> Self {
        Self { form, is_json: None, in_string: false, begun: Vec::new(), written: Vec::new() }
    }

    /// What is held of an escape that may go on, as it was written.
    pub fn held(&self) -> &[u8] {
        &self.written
    }

    /// More of the text, as it is written.
    pub fn feed(&mut self, written: &[u8], to: &mut impl Listener) {
        if self.form == Form::Bare {
            return self.plain(written, to);
        }
        let mut rest = written;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            let (plain, escape) = rest.split_at(at);
            self.plain(plain, to);
            rest = match read_escape(escape) {
                (length, Some(text)) => {
                    self.one(text.as_bytes(), &escape[..length], to);
                    &escape[length..]
                }
                (length, None) => {
                    self.plain(&escape[..length], to);
                    &escape[length..]
                }
            };
        }
        self.plain(rest, to);
    }

    /// The end of the text.
    pub fn finish(&mut self, to: &mut impl Listener) {
        self.settle(true, to);
    }

    /// Text that was written as it is.
    fn plain(&mut self, text: &[u8], to: &mut impl Listener) {
        if self.form == Form::Words {
            if !text.is_empty() {
                to.text(text, text, (Place::Inside, false));
            }
            return;
        }
        let mut rest = text;
        while let Some(first) = rest.first() {
            let run = match (self.begun.is_empty(), self.in_string) {
                (false, _) if first.is_ascii() => 0,
                (false, _) => {
                    self.settle(true, to);
                    continue;
                }
                (true, true) => memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len()),
                (true, false) => memchr::memchr(b'"', rest).unwrap_or(rest.len()),
            };
            let (run, after) = rest.split_at(run);
            if !run.is_empty() {
                let place = self.place(run);
                to.text(run, run, (place, false));
            }
            rest = match after.split_first() {
                Some((_, rest)) => {
                    self.one(&after[..1], &after[..1], to);
                    rest
                }
                None => after,
            };
        }
    }

    /// One character, or a byte of its own, however it was written.
    fn one(&mut self, text: &[u8], written: &[u8], to: &mut impl Listener) {
        if self.form == Form::Words {
            return to.text(text, written, (Place::Inside, true));
        }
        if !self.begun.is_empty() {
            if let [byte] = text {
                self.begun.push(Begun { byte: *byte, written: written.len() });
                self.written.extend_from_slice(written);
                return self.settle(false, to);
            }
            self.settle(true, to);
        }
        match text {
            b"\\" if self.in_string => {
                self.begun.push(Begun { byte: b'\\', written: written.len() });
                self.written.extend_from_slice(written);
            }
            b"\"" => {
                let place = self.place(text);
                self.in_string = !self.in_string;
                let place = if self.is_json == Some(true) { Place::Outside } else { place };
                to.text(text, written, (place, text != written));
            }
            _ => {
                let place = self.place(text);
                to.text(text, written, (place, text != written));
            }
        }
    }

    /// Where text stands that comes now.
    fn place(&mut self, text: &[u8]) -> Place {
        if self.is_json.is_none() {
            let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
            self.is_json = first.map(|it| matches!(it, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9'));
        }
        if self.in_string || self.is_json == Some(false) { Place::Inside } else { Place::Outside }
    }

    /// Tells what has become of an inner escape, as far as that is sure.
    fn settle(&mut self, is_last: bool, to: &mut impl Listener) {
        while !self.begun.is_empty() {
            let mut seen = [0; PAIR];
            for (place, begun) in seen.iter_mut().zip(&self.begun) {
                *place = begun.byte;
            }
            let seen = &seen[..self.begun.len().min(PAIR)];
            match judged(seen, is_last) {
                Verdict::Wait => return,
                Verdict::Is(length, character) => {
                    let written = self.leave(length);
                    let place = self.place(b"");
                    let mut text = [0; 4];
                    let text = character.encode_utf8(&mut text).as_bytes();
                    to.text(text, &written, (place, true));
                }
                Verdict::No => {
                    let written = self.leave(1);
                    let place = self.place(b"");
                    to.text(b"\\", &written, (place, written.len() > 1));
                }
            }
            self.again(to);
        }
    }

    /// Takes so many characters from what is held; what they were written in.
    fn leave(&mut self, length: usize) -> Vec<u8> {
        let bytes: usize = self.begun.drain(..length).map(|begun| begun.written).sum();
        self.written.drain(..bytes).collect()
    }

    /// What stood behind an escape is read as if it came now.
    fn again(&mut self, to: &mut impl Listener) {
        let (begun, written) = (std::mem::take(&mut self.begun), std::mem::take(&mut self.written));
        let mut rest = &written[..];
        for Begun { byte, written } in begun {
            let (own, after) = rest.split_at(written.min(rest.len()));
            self.one(&[byte], own, to);
            rest = after;
        }
    }
}

/// Characters of a pair of escapes that stands for one character.
const PAIR: usize = 12;
/// Characters of one `\uXXXX`.
const UNIT: usize = 6;

/// What an inner escape is, of which that much is there.
fn judged(seen: &[u8], is_last: bool) -> Verdict {
    let simple = match seen {
        [_, b'u', ..] => return judged_unit(seen, is_last),
        [_] | [] if is_last => return Verdict::No,
        [_] | [] => return Verdict::Wait,
        [_, b'n', ..] => '\n',
        [_, b't', ..] => '\t',
        [_, b'r', ..] => '\r',
        [_, b'b', ..] => '\u{8}',
        [_, b'f', ..] => '\u{C}',
        [_, same @ (b'"' | b'\\' | b'/'), ..] => char::from(*same),
        _ => return Verdict::No,
    };
    Verdict::Is(2, simple)
}

fn judged_unit(seen: &[u8], is_last: bool) -> Verdict {
    let Some(high) = unit(seen) else {
        return if !is_last && may_be_unit(seen) { Verdict::Wait } else { Verdict::No };
    };
    if (0xD800..=0xDBFF).contains(&high) {
        let rest = &seen[UNIT..];
        if let Some(low) = unit(rest).filter(|low| (0xDC00..=0xDFFF).contains(low)) {
            let code = 0x1_0000 + ((high & 0x3FF) << 10) + (low & 0x3FF);
            return Verdict::Is(PAIR, char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        if !is_last && may_be_unit(rest) {
            return Verdict::Wait;
        }
    }
    // Half a pair stands for no character; it passes as it was written.
    Verdict::Is(UNIT, char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
}

/// Whether what is there may become a `\uXXXX`.
fn may_be_unit(seen: &[u8]) -> bool {
    let is_right = |(at, byte): (usize, &u8)| match at {
        0 => *byte == b'\\',
        1 => *byte == b'u',
        _ => byte.is_ascii_hexdigit(),
    };
    seen.len() < UNIT && seen.iter().enumerate().all(is_right)
}

/// The text that one escape stands for.
#[derive(Clone, Copy, Debug)]
struct Escaped {
    bytes: [u8; 4],
    length: usize,
}

impl Escaped {
    /// Its bytes.
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Reads the escape that `rest` begins with: its length, and what it stands for; `None` if it is no escape and
/// stands for itself.
fn read_escape(rest: &[u8]) -> (usize, Option<Escaped>) {
    let simple = match rest.get(1) {
        Some(b'n') => b'\n',
        Some(b't') => b'\t',
        Some(b'r') => b'\r',
        Some(b'b') => 0x08,
        Some(b'f') => 0x0C,
        Some(b'u') => return escaped_unit(rest),
        Some(other) => *other,
        None => return (rest.len(), None),
    };
    (2, Some(Escaped { bytes: [simple, 0, 0, 0], length: 1 }))
}

fn escaped_unit(rest: &[u8]) -> (usize, Option<Escaped>) {
    let Some(unit) = unit(rest) else { return (rest.len().min(2), None) };
    let pair = match unit {
        0xD800..=0xDBFF => unit_after(rest),
        _ => None,
    };
    let (code, length) = match pair {
        Some(low) => (0x1_0000 + ((unit & 0x3FF) << 10) + (low & 0x3FF), 12),
        None => (unit, 6),
    };
    // Half a pair stands for no character; it passes as it was written.
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    let mut bytes = [0; 4];
    let text = character.encode_utf8(&mut bytes).len();
    (length, Some(Escaped { bytes, length: text }))
}

/// The number of an escape `\uXXXX`.
fn unit(rest: &[u8]) -> Option<u32> {
    let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

fn unit_after(rest: &[u8]) -> Option<u32> {
    unit(rest.get(6..)?).filter(|low| (0xDC00..=0xDFFF).contains(low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Heard {
        text: Vec<u8>,
        written: Vec<u8>,
        outside: Vec<u8>,
    }

    impl Listener for Heard {
        fn text(&mut self, text: &[u8], written: &[u8], (place, is_whole): (Place, bool)) {
            assert!(is_whole || text == written);
            self.text.extend_from_slice(text);
            self.written.extend_from_slice(written);
            if place == Place::Outside {
                self.outside.extend_from_slice(text);
            }
        }
    }

    fn read(is_wrapped: bool, pieces: &[&str]) -> (String, String) {
        let (mut reader, mut heard) =
            (Reader::new(if is_wrapped { Form::Wrapped } else { Form::Bare }), Heard::default());
        for piece in pieces {
            reader.feed(piece.as_bytes(), &mut heard);
        }
        reader.finish(&mut heard);
        assert_eq!(String::from_utf8(heard.written).unwrap(), pieces.concat());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(heard.text), text(heard.outside))
    }

    #[test]
    fn strings_are_told_as_what_they_stand_for() {
        let bare = r#"{"k":"a\n\u00e9\ud83d\ude00\/\\","n":[-4,"\""]}"#;
        let wanted = "{\"k\":\"a\né😀/\\\",\"n\":[-4,\"\"\"]}";
        let outside = r#"{"":"","":[-4,""]}"#;
        assert_eq!(read(false, &[bare]), (wanted.to_owned(), outside.to_owned()));
        let wrapped = serde_json::to_string(bare).unwrap();
        let wrapped = &wrapped[1..wrapped.len() - 1];
        assert_eq!(read(true, &[wrapped]), (wanted.to_owned(), outside.to_owned()));
    }

    #[test]
    fn what_is_no_escape_passes_as_it_is() {
        for odd in [r#""\q\u12"#, r#""\ud83dx\ud83d\ud83"#, r#""\ué\"#] {
            let (text, _) = read(false, &[odd]);
            assert_eq!(text.replace('\u{FFFD}', "\\ud83d"), odd);
        }
        let (text, outside) = read(false, &[r#"words "and \u0041" more"#]);
        assert_eq!((text.as_str(), outside.as_str()), (r#"words "and A" more"#, ""));
    }

    proptest! {
        #[test]
        fn pieces_are_told_like_the_whole(
            text in r#"(["\\u{}a0dD8cé\[:]|\\u00e9|\\ud83d|\\ude00|\\n|\\\\){0,30}"#,
            size in 1_usize..5, is_wrapped in any::<bool>(),
        ) {
            let letters: Vec<char> = text.chars().collect();
            let wrap = |text: &str| {
                let quoted = serde_json::to_string(text).unwrap();
                quoted[1..quoted.len() - 1].to_owned()
            };
            let pieces: Vec<String> = letters.chunks(size).map(|it| it.iter().collect()).collect();
            let pieces: Vec<String> = pieces.iter().map(|it| if is_wrapped { wrap(it) } else { it.clone() }).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let whole = pieces.concat();
            prop_assert_eq!(read(is_wrapped, &pieces), read(is_wrapped, &[&whole]));
            prop_assert_eq!(read(is_wrapped, &pieces), read(false, &[&text]));
        }
    }
}
