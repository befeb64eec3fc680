//! A writer of flat JSON into a kept buffer, for lines that are built thousands of times a second.
//!
//! It knows nothing of requests. Keys and words are ours and need no escaping; texts are foreign and
//! are escaped.

use std::fmt::Display;
use std::io::Write;

use jiff::Timestamp;

/// The name of a member as it stands in a line: `,"name":`. Made by `key!`, when the program is built: a line
/// has some fifty of them, and joining them one by one was a third of its price.
#[derive(Clone, Copy)]
pub(super) struct Key(pub(super) &'static str);

/// The `Key` of that name.
macro_rules! key {
    ($name:literal) => {
        $crate::telemetry::json_line::Key(concat!(",\"", $name, "\":"))
    };
}

/// An object being written.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

/// A list being written.
pub(super) struct List<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    pub(super) fn close(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, key: Key) -> &mut Vec<u8> {
        self.out.extend_from_slice(&key.0.as_bytes()[usize::from(self.empty)..]);
        self.empty = false;
        self.out
    }

    /// A foreign text, or null.
    pub(super) fn text(&mut self, key: Key, text: Option<&str>) {
        let out = self.key(key);
        match text {
            Some(text) => quoted(out, text),
            None => out.extend_from_slice(b"null"),
        }
    }

    /// A word of our own, or null.
    pub(super) fn word(&mut self, key: Key, word: Option<&'static str>) {
        let out = self.key(key);
        match word {
            Some(word) => plain(out, word),
            None => out.extend_from_slice(b"null"),
        }
    }

    pub(super) fn flag(&mut self, key: Key, flag: bool) {
        let word: &[u8] = if flag { b"true" } else { b"false" };
        self.key(key).extend_from_slice(word);
    }

    pub(super) fn number(&mut self, key: Key, number: u64) {
        decimal(self.key(key), number, 1);
    }

    /// A share in millionths, as a decimal.
    pub(super) fn millionths(&mut self, key: Key, ppm: u32) {
        let (out, ppm) = (self.key(key), u64::from(ppm));
        decimal(out, ppm / 1_000_000, 1);
        out.push(b'.');
        decimal(out, ppm % 1_000_000, 6);
    }

    /// Microseconds as milliseconds with three digits after the point, or null.
    pub(super) fn millis(&mut self, key: Key, us: Option<u64>) {
        let out = self.key(key);
        match us {
            Some(us) => {
                decimal(out, us / 1000, 1);
                out.push(b'.');
                decimal(out, us % 1000, 3);
            }
            None => out.extend_from_slice(b"null"),
        }
    }

    /// Something of ours whose text needs no escaping, in quotes.
    pub(super) fn display(&mut self, key: Key, value: impl Display) {
        let out = self.key(key);
        // Writing to memory cannot fail.
        let _ = write!(out, "\"{value}\"");
    }

    /// A time in UTC with milliseconds, as RFC 3339 writes it.
    pub(super) fn time(&mut self, key: Key, unix_ms: u64) {
        let ms = i64::try_from(unix_ms).ok();
        let time = ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
        self.display(key, format_args!("{time:.3}"));
    }

    pub(super) fn list(&mut self, key: Key, fill: impl FnOnce(&mut List<'_>)) {
        let out = self.key(key);
        out.push(b'[');
        fill(&mut List { out: &mut *out, empty: true });
        out.push(b']');
    }
}

impl List<'_> {
    fn next(&mut self) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        self.out
    }

    /// A foreign text.
    pub(super) fn text(&mut self, text: &str) {
        quoted(self.next(), text);
    }

    pub(super) fn object(&mut self, fill: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::open(self.next());
        fill(&mut object);
        object.close();
    }
}

fn plain(out: &mut Vec<u8>, word: &str) {
    out.push(b'"');
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}

/// `number` in at least `width` digits.
fn decimal(out: &mut Vec<u8>, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    at = at.min(digits.len() - width);
    out.extend_from_slice(&digits[at..]);
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    let clean = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    if text.bytes().all(clean) {
        plain(out, text);
        return;
    }
    out.push(b'"');
    for c in text.chars() {
        escaped(out, c);
    }
    out.push(b'"');
}

/// Controls (ASCII, C1) could end a line or steer a terminal, and marks of direction could make a line
/// read as another one: both are written as `\u`.
fn escaped(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
        c if c.is_control() => {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_and_times_are_written_by_hand_and_right() {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        object.number(key!("zero"), 0);
        object.number(key!("most"), u64::MAX);
        object.millis(key!("ms"), Some(12_005));
        object.millis(key!("none"), None);
        object.time(key!("ts"), 1_700_000_000_007);
        object.close();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"zero":0,"most":18446744073709551615,"ms":12.005,"none":null,"ts":"2023-11-14T22:13:20.007Z"}"#
        );
    }

    proptest! {
        #[test]
        fn every_text_comes_back_and_is_one_line(text in any::<String>()) {
            let mut out = Vec::new();
            quoted(&mut out, &text);
            let line = String::from_utf8(out).unwrap();
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}
