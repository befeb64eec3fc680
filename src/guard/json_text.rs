//! The output filter under the strings of JSON: what goes in is the inside of string literals as it was
//! written, piece by piece, and so is what comes out. Text that passes keeps the escapes it came with, byte
//! for byte; only what is found is replaced, by marks that need no escape.
//!
//! Pieces are cut between characters and escapes, as events of a stream are, each of which is JSON of its own.
//! It does not look for strings in JSON; whoever feeds it has found them.

use std::collections::VecDeque;
use std::sync::Arc;

use super::detect::policy::Policy;
use super::detect::scan::{Hit, Scan, Sink};
use super::filter::{Finding, Findings};

/// The filter of one field of which only JSON is seen.
#[derive(Clone, Debug)]
pub struct JsonText {
    scan: Scan,
    findings: Findings,
    raw: Raw,
    /// Decoded text on its way, kept for its room.
    decoded: Vec<u8>,
}

/// What was fed and has not come out: as it was written, and how that maps to text.
#[derive(Clone, Debug, Default)]
struct Raw {
    bytes: VecDeque<u8>,
    /// Stretches in the order of the text.
    stretches: VecDeque<Stretch>,
}

/// Some bytes of text, and the bytes that they were written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    text: usize,
    raw: usize,
    /// One escape, which cannot be taken apart; else text that stands for itself.
    is_escape: bool,
}

impl Raw {
    fn plain(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let (text, raw) = (bytes.len(), bytes.len());
        match self.stretches.back_mut().filter(|last| !last.is_escape) {
            Some(last) => {
                last.text += text;
                last.raw += raw;
            }
            None => self.stretches.push_back(Stretch { text, raw, is_escape: false }),
        }
    }

    fn escape(&mut self, written: &[u8], text: usize) {
        self.bytes.extend(written);
        self.stretches.push_back(Stretch { text, raw: written.len(), is_escape: true });
    }

    /// How many written bytes stand for the next `text` bytes, which are then gone from the map. An escape
    /// goes with the first byte of its character.
    fn take(&mut self, text: usize) -> usize {
        let (mut left, mut written) = (text, 0);
        while let Some(first) = self.stretches.front_mut().filter(|_| left > 0) {
            let part = left.min(first.text);
            let raw = if first.is_escape { first.raw } else { part };
            left -= part;
            written += raw;
            first.text -= part;
            first.raw -= raw;
            if first.text == 0 {
                self.stretches.pop_front();
            }
        }
        written
    }
}

struct Written<'a> {
    out: &'a mut Vec<u8>,
    raw: &'a mut Raw,
    findings: &'a mut Findings,
}

impl Sink for Written<'_> {
    fn keep(&mut self, text: &[u8]) {
        let written = self.raw.take(text.len());
        self.out.extend(self.raw.bytes.drain(..written));
    }

    fn found(&mut self, hit: &Hit, text: &[u8]) {
        let written = self.raw.take(text.len());
        self.raw.bytes.drain(..written);
        if let Some(mark) = self.findings.count(hit) {
            self.out.extend_from_slice(mark.as_bytes());
        }
    }
}

impl JsonText {
    /// A filter at the beginning of a field.
    pub fn new(policy: Arc<Policy>) -> Self {
        Self {
            scan: Scan::new(policy),
            findings: Findings::default(),
            raw: Raw::default(),
            decoded: Vec::new(),
        }
    }

    /// The inside of one more string literal in, without its quotes; what may go on comes out.
    pub fn feed(&mut self, written: &[u8], out: &mut Vec<u8>) {
        self.decoded.clear();
        let mut rest = written;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            let (plain, escape) = rest.split_at(at);
            self.raw.plain(plain);
            self.decoded.extend_from_slice(plain);
            let length = self.decode(escape);
            rest = &escape[length..];
        }
        self.raw.plain(rest);
        self.decoded.extend_from_slice(rest);
        let Self { scan, findings, raw, decoded } = self;
        scan.feed(decoded, &mut Written { out, raw, findings });
    }

    /// The end of the field: the rest comes out.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let Self { scan, findings, raw, .. } = self;
        scan.finish(&mut Written { out, raw, findings });
    }

    /// Whether something was found whose action is to block. Nothing comes out any more.
    pub const fn is_blocked(&self) -> bool {
        self.scan.is_blocked()
    }

    /// How many bytes of text are held back.
    pub fn held(&self) -> usize {
        self.scan.held()
    }

    /// What is held back, as it was written.
    pub fn held_text(&self) -> Vec<u8> {
        self.raw.bytes.iter().copied().collect()
    }

    /// What was found so far.
    pub fn findings(&self) -> &[Finding] {
        self.findings.all()
    }

    /// Decodes the escape that `rest` begins with, and tells its length. What is no escape stands for itself.
    fn decode(&mut self, rest: &[u8]) -> usize {
        let (length, text) = escape(rest);
        let written = &rest[..length];
        if let Some(text) = text {
            self.decoded.extend_from_slice(text.as_bytes());
            self.raw.escape(written, text.as_bytes().len());
        } else {
            self.decoded.extend_from_slice(written);
            self.raw.plain(written);
        }
        length
    }
}

/// The text that one escape stands for.
#[derive(Clone, Copy, Debug)]
pub struct Escaped {
    bytes: [u8; 4],
    length: usize,
}

impl Escaped {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Reads the escape that `rest` begins with: its length, and what it stands for; `None` if it is no escape and
/// stands for itself.
pub fn escape(rest: &[u8]) -> (usize, Option<Escaped>) {
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
pub fn unit(rest: &[u8]) -> Option<u32> {
    let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

fn unit_after(rest: &[u8]) -> Option<u32> {
    unit(rest.get(6..)?).filter(|low| (0xDC00..=0xDFFF).contains(low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::guard::detect::Action;
    use crate::guard::filter::Filter;

    const KEY: &str = "gsk_q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsTuEaKiXoBvQlMwYzCrDhSg";

    fn through(pieces: &[&str]) -> String {
        let (mut text, mut out) =
            (JsonText::new(Arc::new(Policy::all(Action::Redact))), Vec::new());
        for piece in pieces {
            text.feed(piece.as_bytes(), &mut out);
        }
        text.finish(&mut out);
        assert_eq!(text.held(), 0);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_stay_as_they_were() {
        let written = r#"caf\u00e9 \ud83d\ude00 \ud83d a\/b \"x\" \n\t\\ é"#;
        assert_eq!(through(&[written]), written);
        let (one, two) = (r"\ud83d", r"\ude00");
        assert_eq!(through(&[one, two]), format!("{one}{two}"));
    }

    #[test]
    fn a_key_written_in_escapes_is_found() {
        let escaped = KEY.chars().map(|c| format!("\\u{:04x}", u32::from(c)));
        let escaped = escaped.collect::<Vec<_>>().concat();
        assert_eq!(through(&[&format!("a\\n{escaped}\\nb")]), "a\\n[REDACTED_API_KEY_GROQ_1]\\nb");
        let slashes = "https:\\/\\/hooks.slack.com\\/services\\/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";
        assert_eq!(through(&[slashes]), "[REDACTED_API_KEY_SLACK_1]");
    }

    #[test]
    fn what_is_no_escape_passes() {
        for odd in ["\\", "a\\u12", "\\uzzzz", "\\q"] {
            assert_eq!(through(&[odd]), odd);
        }
    }

    /// One character or escape, or a secret.
    fn token() -> impl Strategy<Value = String> {
        prop_oneof![
            6 => "[a-zA-Z0-9 .,_é😀-]".prop_map(|text| text),
            2 => Just("\\n".to_owned()),
            1 => Just("\\\"".to_owned()),
            1 => Just("\\\\".to_owned()),
            1 => Just("\\u00e9".to_owned()),
            1 => Just("\\ud83d\\ude00".to_owned()),
            1 => Just("\\u0073k-".to_owned()),
            1 => Just(KEY.to_owned()),
            1 => Just("219-09-9999".to_owned()),
            1 => Just("password = \\\"fc4f28Ti0oSGW9kMF5\\\"".to_owned()),
        ]
    }

    fn decoded(written: &str) -> String {
        match serde_json::from_str(&format!("\"{written}\"")) {
            Ok(Value::String(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn it_is_the_filter_of_the_decoded_text(tokens in prop::collection::vec(token(), 0..24), size in 1_usize..4) {
            let pieces: Vec<String> = tokens.chunks(size).map(<[String]>::concat).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let whole = tokens.concat();
            let out = through(&pieces);
            prop_assert_eq!(&out, &through(&[&whole]));
            let (mut filter, mut wanted) = (Filter::new(Arc::new(Policy::all(Action::Redact))), Vec::new());
            filter.feed(decoded(&whole).as_bytes(), &mut wanted);
            filter.finish(&mut wanted);
            prop_assert_eq!(decoded(&out).into_bytes(), wanted);
            if filter.findings().is_empty() {
                prop_assert_eq!(out, whole);
            }
        }
    }
}
