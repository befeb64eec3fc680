//! The output filter under JSON: what goes in is the inside of string literals as it was written, piece by piece,
//! or JSON itself, and so is what comes out. What passes keeps every byte that it was written with; only what is
//! found is replaced, by marks that need no escape.
//!
//! Arguments of a tool are JSON, in a string or as they are: their strings are searched as what they stand for,
//! and everything else around them. What was JSON stays JSON: a mark for a number is put into quotes, and a find that goes over the end of a
//! string takes away no quote and no comma. It does not look whether it is JSON; what is none is searched as it
//! stands.

use std::collections::VecDeque;
use std::sync::Arc;

use super::detect::policy::Policy;
use super::detect::scan::{Hit, Scan, Sink};
use super::filter::{Finding, Findings};
use super::json_inner::{Form, Listener, Place, Reader};

/// The filter of one field of which only JSON is seen.
#[derive(Clone, Debug)]
pub struct JsonText {
    scan: Scan,
    findings: Findings,
    reader: Reader,
    sheet: Sheet,
    /// What stands around values that are no strings yet.
    rim: Rim,
}

/// What was read and has not come out: as it was written, and how that maps to text.
#[derive(Clone, Debug, Default)]
struct Sheet {
    written: VecDeque<u8>,
    /// Stretches in the order of the text.
    stretches: VecDeque<Stretch>,
    /// Text on its way to the scan, kept for its room.
    text: Vec<u8>,
}

/// Some bytes of text, and the bytes that they were written in.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    text: usize,
    written: usize,
    place: Place,
    /// One escape; else text that stands for itself.
    is_whole: bool,
}

impl Listener for Sheet {
    fn text(&mut self, text: &[u8], written: &[u8], (place, is_whole): (Place, bool)) {
        self.text.extend_from_slice(text);
        self.written.extend(written);
        let like = |last: &&mut Stretch| !is_whole && !last.is_whole && last.place == place;
        match self.stretches.back_mut().filter(like) {
            Some(last) => {
                last.text += text.len();
                last.written += written.len();
            }
            None => self.stretches.push_back(Stretch {
                text: text.len(),
                written: written.len(),
                place,
                is_whole,
            }),
        }
    }
}

impl Sheet {
    /// Takes the next stretch of text away, `most` bytes of it at most. An escape goes with the first byte of
    /// its character.
    fn take(&mut self, most: usize) -> Option<Stretch> {
        let first = self.stretches.front_mut()?;
        let text = most.min(first.text);
        let written = if first.is_whole { first.written } else { text };
        let taken = Stretch { text, written, ..*first };
        first.text -= text;
        first.written -= written;
        if first.text == 0 {
            self.stretches.pop_front();
        }
        Some(taken)
    }
}

/// What stands before a value that is no string, and after one that was taken away.
#[derive(Clone, Debug)]
struct Rim {
    /// How a quote is written.
    quote: &'static [u8],
    /// A minus that goes with its number, as it was written.
    minus: Vec<u8>,
    /// A mark stands for the value whose rest may still come.
    is_gone: bool,
}

/// Whether a byte belongs to a value that is no string.
const fn is_of_value(byte: u8) -> bool {
    !matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',' | b':') && !byte.is_ascii_whitespace()
}

struct Answer<'a> {
    out: &'a mut Vec<u8>,
    sheet: &'a mut Sheet,
    rim: &'a mut Rim,
    findings: &'a mut Findings,
}

impl Answer<'_> {
    /// Goes through the next bytes of text, stretch by stretch.
    fn each(&mut self, text: &[u8], mut step: impl FnMut(&mut Self, &[u8], Stretch)) {
        let mut rest = text;
        while !rest.is_empty() {
            let Some(stretch) = self.sheet.take(rest.len()) else { return };
            let (own, after) = rest.split_at(stretch.text);
            step(self, own, stretch);
            rest = after;
        }
    }

    fn write(&mut self, written: usize) {
        self.out.append(&mut self.rim.minus);
        self.out.extend(self.sheet.written.drain(..written));
    }

    fn skip(&mut self, written: usize) {
        self.sheet.written.drain(..written);
    }

    /// What stands between strings goes on, but for the rest of a value that a mark stands for. A minus waits
    /// for its number.
    fn outside(&mut self, text: &[u8], stretch: Stretch) {
        let mut from = 0;
        if self.rim.is_gone {
            from = text.iter().take_while(|byte| is_of_value(**byte)).count();
            self.rim.is_gone = from == text.len();
            let gone = if stretch.is_whole && from > 0 { stretch.written } else { from };
            self.skip(gone);
            if self.rim.is_gone || stretch.is_whole && from > 0 {
                return;
            }
        }
        let written = if stretch.is_whole { stretch.written } else { text.len() - from };
        if text.last() != Some(&b'-') {
            return self.write(written);
        }
        let minus = if stretch.is_whole { written } else { 1 };
        self.write(written - minus);
        self.rim.minus.extend(self.sheet.written.drain(..minus));
    }

    /// A find gives way to its mark. What holds the JSON together stays.
    fn replace(&mut self, text: &[u8], mark: &str) {
        let mut is_marked = false;
        self.each(text, |out, text, stretch| {
            if stretch.place == Place::Inside {
                out.skip(stretch.written);
                out.rim.is_gone = false;
                if !std::mem::replace(&mut is_marked, true) {
                    out.out.append(&mut out.rim.minus);
                    out.out.extend_from_slice(mark.as_bytes());
                }
                return;
            }
            let each = if stretch.is_whole { stretch.written } else { 1 };
            let bytes = if stretch.is_whole { &text[..text.len().min(1)] } else { text };
            for byte in bytes {
                out.around(*byte, each, (mark, &mut is_marked));
            }
        });
    }

    /// One character of a find that stands between strings, in so many bytes.
    fn around(&mut self, byte: u8, written: usize, (mark, is_marked): (&str, &mut bool)) {
        if !is_of_value(byte) {
            self.rim.is_gone = false;
            return self.write(written);
        }
        self.skip(written);
        if std::mem::replace(&mut self.rim.is_gone, true) {
            return;
        }
        self.rim.minus.clear();
        if std::mem::replace(is_marked, true) {
            return self.out.extend_from_slice(b"null");
        }
        for part in [self.rim.quote, mark.as_bytes(), self.rim.quote] {
            self.out.extend_from_slice(part);
        }
    }
}

impl Sink for Answer<'_> {
    fn keep(&mut self, text: &[u8]) {
        self.each(text, |out, text, stretch| match stretch.place {
            Place::Inside => {
                out.rim.is_gone = false;
                out.write(stretch.written);
            }
            Place::Outside => out.outside(text, stretch),
        });
    }

    fn found(&mut self, hit: &Hit, text: &[u8]) {
        if let Some(mark) = self.findings.count(hit) {
            self.replace(text, &mark);
        }
    }
}

impl JsonText {
    /// A filter at the beginning of a field that is written like that.
    pub fn new(policy: Arc<Policy>, form: Form) -> Self {
        let quote: &[u8] = if form == Form::Bare { b"\"" } else { b"\\\"" };
        Self {
            scan: Scan::new(policy),
            findings: Findings::default(),
            reader: Reader::new(form),
            sheet: Sheet::default(),
            rim: Rim { quote, minus: Vec::new(), is_gone: false },
        }
    }

    /// More of the field in, as it is written; what may go on comes out.
    pub fn feed(&mut self, written: &[u8], out: &mut Vec<u8>) {
        self.reader.feed(written, &mut self.sheet);
        self.pass(out);
    }

    /// The end of the field: the rest comes out.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.reader.finish(&mut self.sheet);
        self.pass(out);
        let Self { scan, findings, sheet, rim, .. } = self;
        scan.finish(&mut Answer { out, sheet, rim, findings });
        if !self.scan.is_blocked() {
            out.append(&mut self.rim.minus);
        }
    }

    /// Sends what was read through the scan.
    fn pass(&mut self, out: &mut Vec<u8>) {
        let text = std::mem::take(&mut self.sheet.text);
        let Self { scan, findings, sheet, rim, .. } = self;
        scan.feed(&text, &mut Answer { out, sheet, rim, findings });
        self.sheet.text = text;
        self.sheet.text.clear();
    }

    /// Whether something was found whose action is to block. Nothing comes out any more.
    pub const fn is_blocked(&self) -> bool {
        self.scan.is_blocked()
    }

    /// How many written bytes are held back.
    pub fn held(&self) -> usize {
        if self.is_blocked() {
            return 0;
        }
        self.rim.minus.len() + self.sheet.written.len() + self.reader.held().len()
    }

    /// What is held back, as it was written.
    pub fn held_text(&self) -> Vec<u8> {
        let mut text = self.rim.minus.clone();
        text.extend(&self.sheet.written);
        text.extend_from_slice(self.reader.held());
        text
    }

    /// What was found so far.
    pub fn findings(&self) -> &[Finding] {
        self.findings.all()
    }
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
            (JsonText::new(Arc::new(Policy::all(Action::Redact)), Form::Words), Vec::new());
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

/// JSON that is handed to a tool.
#[cfg(test)]
mod arguments {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::guard::detect::Action;

    const KEY: &str = "gsk_q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsTuEaKiXoBvQlMwYzCrDhSg";
    /// What may belong to a find over the ends of strings.
    const PARTS: [&str; 5] = [
        "-----BEGIN PRIVATE KEY-----\n",
        "MIIEowIBAAKCAQEAq7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsTuEaKiXoBvQlMwYz",
        "-----END PRIVATE KEY-----",
        "password = \"fc4f28Ti0oSGW9kMF5\"",
        "password",
    ];
    const SECRETS: [&str; 4] = [KEY, "219-09-9999", "4111111111111111", "foo@bar.com"];

    const fn form(is_wrapped: bool) -> Form {
        if is_wrapped { Form::Wrapped } else { Form::Bare }
    }

    fn through(is_wrapped: bool, pieces: &[&str]) -> (String, bool) {
        let policy = Arc::new(Policy::all(Action::Redact));
        let (mut args, mut out) = (JsonText::new(policy, form(is_wrapped)), Vec::new());
        let (mut before, mut fed) = (0, 0);
        for piece in pieces {
            args.feed(piece.as_bytes(), &mut out);
            fed += piece.len();
            if args.findings().is_empty() {
                assert_eq!(out.len() + args.held(), fed);
                assert_eq!(args.held_text(), pieces.concat().as_bytes()[out.len()..fed]);
            }
            assert!(out.len() >= before);
            before = out.len();
        }
        args.finish(&mut out);
        assert_eq!(args.held(), 0);
        (String::from_utf8(out).unwrap(), !args.findings().is_empty())
    }

    fn bare(json: &str) -> String {
        through(false, &[json]).0
    }

    #[test]
    fn numbers_give_way_with_their_sign() {
        let json = r#"{"a":-4111111111111111,"b":[ 4111111111111111 ,-4],"c":"-4111111111111111"}"#;
        let wanted = r#"{"a":"[REDACTED_CREDIT_CARD_1]","b":[ "[REDACTED_CREDIT_CARD_2]" ,-4],"c":"-[REDACTED_CREDIT_CARD_3]"}"#;
        assert_eq!(bare(json), wanted);
        assert_eq!(bare("-4111111111111111"), r#""[REDACTED_CREDIT_CARD_1]""#);
        assert_eq!(bare("[-"), "[-");
    }

    #[test]
    fn a_find_that_goes_over_the_ends_of_strings_leaves_them_there() {
        let body = "MIIEowIBAAKCAQEAq7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsTuEaKiXoBvQlMwYz";
        let json = format!(
            r#"{{"l":["-----BEGIN RSA PRIVATE KEY-----","{body}", 12, "{body}","-----END RSA PRIVATE KEY-----"]}}"#
        );
        let out = bare(&json);
        let read: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(read["l"].as_array().unwrap().len(), 5, "{out}");
        assert!(!out.contains("MIIE"), "{out}");
    }

    #[test]
    fn what_is_no_json_is_plain_text() {
        for (text, wanted) in [
            (format!("take {KEY}, please"), "take [REDACTED_API_KEY_GROQ_1], please"),
            (format!("it is \"\\u003e{KEY}\""), r#"it is "\u003e[REDACTED_API_KEY_GROQ_1]""#),
        ] {
            assert_eq!(bare(&text), wanted);
        }
    }

    /// A string as JSON, each character written in one of the ways that there are.
    fn written(text: &str, ways: &[u8]) -> String {
        let mut out = String::from("\"");
        for (letter, way) in text.chars().zip(ways.iter().cycle()) {
            let units = |upper: bool| -> String {
                let mut units = [0; 2];
                let all = letter.encode_utf16(&mut units).iter();
                all.map(|it| if upper { format!("\\u{it:04X}") } else { format!("\\u{it:04x}") })
                    .collect()
            };
            match (way % 8, letter) {
                (0, _) => out.push_str(&units(false)),
                (1, _) => out.push_str(&units(true)),
                (2, '/') => out.push_str("\\/"),
                (_, '"' | '\\') => out.extend(['\\', letter]),
                (_, '\n') => out.push_str("\\n"),
                (_, '\t') => out.push_str("\\t"),
                _ => out.push(letter),
            }
        }
        out + "\""
    }

    fn words() -> impl Strategy<Value = String> {
        let rim = || prop::sample::select(vec!["\n", "\t", ">", "é", " ", "\"", "😀"]);
        let secret = prop::sample::select(SECRETS.to_vec());
        let word = prop_oneof![
            3 => "[a-zA-Z0-9 .,\"\\\\\n/é😀<-]{1,9}",
            1 => Just("gsk_".to_owned()),
            1 => prop::sample::select(PARTS.to_vec()).prop_map(str::to_owned),
            2 => (rim(), secret, rim()).prop_map(|(left, secret, right)| [left, secret, right].concat()),
        ];
        prop::collection::vec(word, 0..5).prop_map(|words| words.concat())
    }

    fn value() -> impl Strategy<Value = String> {
        let ways = prop::collection::vec(any::<u8>(), 1..9);
        prop_oneof![
            4 => (words(), ways).prop_map(|(text, ways)| written(&text, &ways)),
            1 => prop::sample::select(vec!["4111111111111111", "-4111111111111111", "-1.5e+3", "1234567890123456789", "null", "true", "[]"])
                .prop_map(str::to_owned),
        ]
    }

    fn strings(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Array(list) => list.iter().for_each(|it| strings(it, out)),
            Value::Object(members) => members.iter().for_each(|(key, it)| {
                out.push(key.clone());
                strings(it, out);
            }),
            Value::String(text) => out.push(text.clone()),
            other => out.push(other.to_string()),
        }
    }

    fn wrapped(text: &str) -> String {
        let quoted = serde_json::to_string(text).unwrap();
        quoted[1..quoted.len() - 1].to_owned()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn json_stays_json_and_gives_no_secret_away(
            values in prop::collection::vec((value(), value()), 1..4),
            sizes in prop::collection::vec(1_usize..9, 1..5), is_wrapped in any::<bool>(),
        ) {
            let key = |text: String| if text.starts_with('"') { text } else { format!("\"{text}\"") };
            let members = values.into_iter().map(|(name, it)| format!("{}: [{it},0]", key(name)));
            let json = format!("{{{}}}", members.collect::<Vec<_>>().join(" ,"));
            let (mut pieces, mut rest, mut sizes) = (Vec::new(), &json[..], sizes.iter().cycle());
            while !rest.is_empty() {
                let size = sizes.next().copied().unwrap_or(1);
                let at = rest.char_indices().nth(size).map_or(rest.len(), |(at, _)| at);
                let (piece, after) = rest.split_at(at);
                pieces.push(if is_wrapped { wrapped(piece) } else { piece.to_owned() });
                rest = after;
            }
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (out, has_found) = through(is_wrapped, &pieces);
            prop_assert_eq!(&out, &through(is_wrapped, &[&pieces.concat()]).0);
            prop_assert!(has_found || out == pieces.concat());
            let out = if is_wrapped { serde_json::from_str(&format!("\"{out}\"")).unwrap() } else { out };
            prop_assert_eq!(&out, &bare(&json));
            let read: Value = serde_json::from_str(&out).unwrap();
            let mut told = Vec::new();
            strings(&read, &mut told);
            for text in told {
                prop_assert!(!SECRETS.iter().any(|secret| text.contains(secret)), "{} of {}", text, json);
            }
        }
    }
}
