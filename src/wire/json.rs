//! Small readers and writers over raw JSON: check it, step through an object or array, undo a
//! string's escapes, write a string. No tree is built and nothing is copied without need.
//!
//! The readers check what they pass, so that bytes of any kind are safe to hand in: where the text
//! stops being JSON, they end.

use std::borrow::Cow;

use memchr::memchr;

use crate::wire::cursor::{Cursor, Walk};
use crate::wire::syntax::{Member, Problem, Span, SyntaxError};

/// Checks that `text` is exactly one JSON value in UTF-8, nested no deeper than
/// `limit::JSON_DEPTH_MAX`. Returns where the value lies.
pub fn check(text: &[u8]) -> Result<Span, SyntaxError> {
    let mut cursor = Cursor::new(text, Span::whole(text));
    let value = cursor.value()?;
    finish(text, cursor)?;
    Ok(value)
}

/// Checks what only the end of a walk over all of `text` can tell: nothing follows, and every byte
/// is UTF-8.
pub fn finish(text: &[u8], mut cursor: Cursor<'_>) -> Result<(), SyntaxError> {
    cursor.finish()?;
    if !cursor.is_wide() {
        return Ok(());
    }
    // Vectorised, so it costs a tenth of the scan where the standard library's triples it; the
    // price of that is that its errors do not say where.
    if simdutf8::basic::from_utf8(text).is_ok() {
        return Ok(());
    }
    let valid = std::str::from_utf8(text).map_or_else(|error| error.valid_up_to(), str::len);
    Err(SyntaxError::at(Problem::Encoding, text, valid))
}

/// The members of the object that lies at `within`, with offsets into `text`. Ends early where the
/// text is not a JSON object; check it first where that matters.
pub fn members(text: &[u8], within: Span) -> impl Iterator<Item = Member> {
    let mut walk = Walk::enter(Cursor::new(text, within)).ok();
    std::iter::from_fn(move || walk.as_mut()?.next_member().ok()?)
}

/// The value of the member `name` of the object at `within`: the last one if it stands there more
/// than once, as most readers take it.
pub fn find(text: &[u8], within: Span, name: &str) -> Option<Span> {
    let named = |member: &Member| key_is(member.key.of(text), name);
    members(text, within).filter(named).last().map(|member| member.value)
}

/// Whether a key as written, without its quotes, means `name`.
pub fn key_is(raw: &[u8], name: &str) -> bool {
    if !raw.contains(&b'\\') {
        return raw == name.as_bytes();
    }
    unescape(raw).is_some_and(|key| key == name)
}

/// The text of a string as written, between its quotes; borrowed where there is no escape. `None`
/// if it is no JSON string or holds half a surrogate pair, which is not text.
pub fn unescape(raw: &[u8]) -> Option<Cow<'_, str>> {
    let text = simdutf8::basic::from_utf8(raw).ok()?;
    let Some(mut at) = memchr(b'\\', raw) else { return Some(Cow::Borrowed(text)) };
    let mut out = String::with_capacity(text.len());
    out.push_str(text.get(..at)?);
    while let Some(escape) = raw.get(at + 1..) {
        // One escape is often right behind another, where a search would cost more than it finds.
        let (letter, length) = read_escape(escape)?;
        out.push(letter);
        at += 1 + length;
        if raw.get(at) != Some(&b'\\') {
            let plain = text.get(at..)?;
            let length = next_escape(plain.as_bytes()).unwrap_or(plain.len());
            out.push_str(plain.get(..length)?);
            at += length;
        }
    }
    Some(Cow::Owned(out))
}

/// Where the next escape begins. Near ones are looked for in one word: a call for a few bytes costs more than them.
fn next_escape(text: &[u8]) -> Option<usize> {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    let Some((near, far)) = text.split_first_chunk() else { return memchr(b'\\', text) };
    // A byte becomes zero where it is one; what is subtracted first borrows from there, and never before it.
    let word = u64::from_le_bytes(*near) ^ (EACH * u64::from(b'\\'));
    let found = word.wrapping_sub(EACH) & !word & (EACH << 7);
    if found == 0 {
        return memchr(b'\\', far).map(|at| near.len() + at);
    }
    usize::try_from(found.trailing_zeros() / 8).ok()
}

/// What a key or a word means to readers of JSON, however it is written; as it is written, if that is nothing.
pub fn meaning(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    match unescape(raw) {
        Some(text) => Cow::Owned(text.into_owned().into_bytes()),
        None => Cow::Borrowed(raw),
    }
}

/// The text of a whole string value, quotes included; otherwise like `unescape`.
pub fn string(token: &[u8]) -> Option<Cow<'_, str>> {
    unescape(token.strip_prefix(b"\"")?.strip_suffix(b"\"")?)
}

/// What the letter of an escape of one letter stands for; zero for every other.
const MEANT: [u8; 256] = {
    let mut meant = [0; 256];
    meant[b'"' as usize] = b'"';
    meant[b'\\' as usize] = b'\\';
    meant[b'/' as usize] = b'/';
    meant[b'b' as usize] = 0x08;
    meant[b'f' as usize] = 0x0c;
    meant[b'n' as usize] = b'\n';
    meant[b'r' as usize] = b'\r';
    meant[b't' as usize] = b'\t';
    meant
};

/// Reads one escape behind its backslash. Returns the character and how many bytes it took. By a table: which escape
/// comes next in a text of many is not to be foretold.
fn read_escape(escape: &[u8]) -> Option<(char, usize)> {
    let (letter, digits) = escape.split_first()?;
    match MEANT[usize::from(*letter)] {
        0 if *letter == b'u' => read_unicode(digits),
        0 => None,
        plain => Some((char::from(plain), 1)),
    }
}

/// Reads the four digits after `\u`, and a second escape if the first is half of a pair.
fn read_unicode(digits: &[u8]) -> Option<(char, usize)> {
    let (high, after) = read_unit(digits)?;
    if !(0xd800..0xdc00).contains(&high) {
        return Some((char::from_u32(high)?, "uXXXX".len()));
    }
    let (low, _) = read_unit(after.strip_prefix(b"\\u")?)?;
    let low = low.checked_sub(0xdc00).filter(|&low| low < 0x400)?;
    let pair = 0x1_0000 + ((high - 0xd800) << 10) + low;
    Some((char::from_u32(pair)?, "uXXXX\\uXXXX".len()))
}

fn read_unit(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, after) = text.split_first_chunk::<4>()?;
    let mut unit = 0;
    for digit in digits {
        unit = unit << 4 | char::from(*digit).to_digit(16)?;
    }
    Some((unit, after))
}

/// Writes `text` as a JSON string with its quotes. Only what must be escaped is.
pub fn quote_into(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..0x20) {
            continue;
        }
        out.extend_from_slice(text.as_bytes().get(plain..at).unwrap_or_default());
        escape_into(byte, out);
        plain = at + 1;
    }
    out.extend_from_slice(text.as_bytes().get(plain..).unwrap_or_default());
    out.push(b'"');
}

fn escape_into(byte: u8, out: &mut Vec<u8>) {
    let letter = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        8 => b'b',
        12 => b'f',
        b'"' | b'\\' => byte,
        _ => {
            let hex = |digit: u8| char::from_digit(u32::from(digit), 16).map_or(b'0', |c| c as u8);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `serde_json` says to the same question. `IgnoredAny` checks neither UTF-8 nor depth.
    fn reference(text: &[u8]) -> bool {
        std::str::from_utf8(text).is_ok()
            && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
    }

    #[test]
    fn json_is_told_from_what_looks_like_it() {
        for text in [
            "{}",
            " [ ] ",
            "0",
            "-0",
            "-0.5e+10",
            "1E400",
            "\"\"",
            "null",
            "true",
            "false",
            "[1,2]",
            "{\"a\":{\"b\":[{}]},\"a\":1}",
            "\t\r\n 1 ",
            "\"\\ud800\"",
            "\"\u{7f}é漢😀\"",
        ] {
            assert!(check(text.as_bytes()).is_ok() && reference(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "-",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "nul",
            "truE",
            "\"",
            "\"\t\"",
            "\"\\x\"",
            "1 2",
            "[1}",
            "{\"a\":1]",
            "'a'",
            "NaN",
            "Infinity",
            "/**/1",
            "\u{feff}1",
            "\u{a0}1",
            "[1 2]",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
            "\"\\u12g4\"",
            "0x1",
            "1\0",
            "\u{c}1",
            "--1",
            "1.e5",
        ] {
            assert!(check(text.as_bytes()).is_err() && !reference(text.as_bytes()), "{text}");
        }
        for bad in
            [b"\"\xff\"".as_slice(), b"\"\xc3\"", b"\"\xed\xa0\x80\"", b"\xc3\xa9", b"\"\xc0\x80\""]
        {
            assert!(check(bad).is_err() && !reference(bad));
        }
    }

    #[test]
    fn depth_is_bounded_and_exact() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check(nested(128).as_bytes()).is_ok());
        let error = check(nested(129).as_bytes()).unwrap_err();
        assert_eq!((error.problem, error.offset), (Problem::TooDeep, 128));
        assert_eq!(error.to_string(), "nested deeper than 128 levels at byte 128");
        assert!(check("[".repeat(3_000_000).as_bytes()).is_err());
        let mixed = format!("{}1{}", "{\"a\":[".repeat(64), "]}".repeat(64));
        assert!(check(mixed.as_bytes()).is_ok());
    }

    #[test]
    fn errors_name_place_and_expectation() {
        let told = |text: &str| check(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(told("{\"a\":1,}"), "at byte 7: expected a key in double quotes");
        assert_eq!(told("{\"a\" 1}"), "at byte 5: expected `:`");
        assert_eq!(told("[1"), "ends at byte 2 where `,` or `]` was expected");
        assert_eq!(told("1 x"), "at byte 2: expected the end of the body");
        assert_eq!(
            told("\"secret"),
            "ends at byte 7 where the closing quote of a string was expected"
        );
    }

    #[test]
    fn members_are_walked_with_their_places() {
        let text = b" { \"a\" : 1 , \"b\":{\"c\":[1,2]} } ";
        let all: Vec<_> = members(text, Span::whole(text)).collect();
        let [a, b] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((a.key.of(text), a.value.of(text)), (b"a".as_slice(), b"1".as_slice()));
        assert_eq!(
            (text[a.before], text[a.after], text[b.before], text[b.after]),
            (b'{', b',', b',', b'}')
        );
        assert_eq!(a.span().of(text), b"\"a\" : 1");
        let inner = find(text, b.value, "c").unwrap();
        assert_eq!(inner.of(text), b"[1,2]");
        assert_eq!(find(text, b.value, "d"), None);
        assert_eq!(members(b"[1]", Span::new(0, 3)).count(), 0);
        assert_eq!(members(b"{\"a\":1,\"b\"", Span::new(0, 99)).count(), 1);
    }

    #[test]
    fn the_last_of_two_is_found() {
        let text = b"{\"a\":1,\"\\u0061\":2}";
        assert_eq!(find(text, Span::whole(text), "a").unwrap().of(text), b"2");
    }

    #[test]
    fn half_a_surrogate_pair_is_no_text() {
        assert_eq!(unescape(br"\ud83d\ude00").as_deref(), Some("😀"));
        for half in [
            r"\ud83d",
            r"\ude00",
            r"\ud83dx",
            r"\ud83d\n",
            r"\ud83d\u0041",
            r"\ud83d\ud83d",
            r"\u12",
            r"\u+123",
        ] {
            assert_eq!(unescape(half.as_bytes()), None, "{half}");
        }
        assert!(matches!(unescape("é".as_bytes()), Some(Cow::Borrowed("é"))));
        assert_eq!(string(b"\"a\\/b\"").as_deref(), Some("a/b"));
        assert_eq!(string(b"1"), None);
        assert_eq!(string(b"\""), None);
    }

    proptest! {
        #[test]
        fn quoting_and_unescaping_are_inverse(text in any::<String>()) {
            let mut quoted = Vec::new();
            quote_into(&text, &mut quoted);
            let read = string(&quoted);
            prop_assert_eq!(read.as_deref(), Some(text.as_str()));
            prop_assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), text.clone());
            let theirs = serde_json::to_vec(&text).unwrap();
            let read = string(&theirs);
            prop_assert_eq!(read.as_deref(), Some(text.as_str()));
        }

        #[test]
        fn unescape_agrees_with_serde(raw in r#"([a-zé😀]|\\[nrtbf/"\\xu]|\\u[0-9a-f]{4}|\\ud8[0-9]{2}\\udc[0-9]{2}){0,40}"#) {
            let theirs = serde_json::from_str::<String>(&format!("\"{raw}\"")).ok();
            let ours = unescape(raw.as_bytes());
            prop_assert_eq!(ours.as_deref(), theirs.as_deref());
        }

        #[test]
        fn soup_of_tokens_is_judged_as_serde_does(
            tokens in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"a\"", "\"\\n\"", "1", "-0", "0", "1.5e3", "true",
                "false", "null", " ", "\n", "\"", "\\", "é", "\u{1}", "-", ".", "e",
            ]), 0..12)
        ) {
            let text = tokens.concat();
            prop_assert_eq!(check(text.as_bytes()).is_ok(), reference(text.as_bytes()), "{}", text);
        }
    }
}
