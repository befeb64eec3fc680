//! Finding the few members that metering needs in a JSON text, without building a tree.
//!
//! It steps over values and hands out their raw bytes; it judges nothing. A malformed text ends the
//! walk early, and only values whose end has been seen are handed out, so a number or a string that
//! was cut off is never taken for a whole one. Keys written with escapes are not recognised: no
//! provider writes its own field names that way.
//!
//! Hot path: `benches/sse.rs`.

use memchr::memchr2;

use crate::base::money::{MoneyError, NanoUsd};

/// More tokens than this in one field of one answer are a mistake, not a count: it is a hundred
/// times the largest context window. Reports beyond it are held here and flagged.
pub(crate) const TOKENS_MAX: u64 = 1_000_000_000;

/// Strings and gaps up to this length are searched without a vector search.
const SHORT: usize = 32;

/// Calls `visit` with the key and the raw value of each member of the object that `text` starts
/// with. Returns the offset behind its closing brace, `None` if it is not a whole object.
pub(crate) fn members<'a>(
    text: &'a [u8],
    mut visit: impl FnMut(&'a [u8], &'a [u8]),
) -> Option<usize> {
    let mut at = opening(text, b'{')?;
    loop {
        at = skip_white(text, at);
        match text.get(at)? {
            b'}' => return Some(at + 1),
            b',' => {
                at += 1;
                continue;
            }
            b'"' => {}
            _ => return None,
        }
        let key_end = string_end(text, at + 1)?;
        let key = &text[at + 1..key_end];
        at = skip_white(text, key_end + 1);
        if text.get(at)? != &b':' {
            return None;
        }
        at = skip_white(text, at + 1);
        let end = value_end(text, at)?;
        visit(key, &text[at..end]);
        at = end;
    }
}

/// Calls `visit` with each raw element of the array that `text` starts with. Returns the offset
/// behind its closing bracket, `None` if it is not a whole array.
pub(crate) fn elements<'a>(text: &'a [u8], mut visit: impl FnMut(&'a [u8])) -> Option<usize> {
    let mut at = opening(text, b'[')?;
    loop {
        at = skip_white(text, at);
        match text.get(at)? {
            b']' => return Some(at + 1),
            b',' => at += 1,
            _ => {
                let end = value_end(text, at)?;
                visit(&text[at..end]);
                at = end;
            }
        }
    }
}

/// The offset of the quote that closes the string whose text starts at `at`.
#[inline]
pub(crate) fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = next_quote(text, at)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// The offset of the next quote or backslash. Eight bytes at a time first: most strings are short
/// or full of escapes, and a vector search costs more to set up than it then saves.
#[inline]
fn next_quote(text: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..SHORT / 8 {
        let rest = text.get(at..)?;
        let Some(word) = rest.first_chunk() else {
            return rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|i| at + i);
        };
        let word = u64::from_le_bytes(*word);
        let hits = bytes_equal(word, b'"') | bytes_equal(word, b'\\');
        if hits != 0 {
            return Some(at + (hits.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    memchr2(b'"', b'\\', text.get(at..)?).map(|i| at + i)
}

/// Marks the top bit of each byte of `word` that equals `byte`. Bytes above the lowest hit may be
/// marked by mistake, so only the lowest is to be used.
const fn bytes_equal(word: u64, byte: u8) -> u64 {
    const LOW: u64 = u64::from_le_bytes([1; 8]);
    let differing = word ^ (LOW * byte as u64);
    differing.wrapping_sub(LOW) & !differing & (LOW << 7)
}

/// The offset behind the value that starts at `at`.
pub(crate) fn value_end(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => string_end(text, at + 1).map(|end| end + 1),
        b'{' | b'[' => container_end(text, at),
        _ => {
            // A bare word that nothing follows may have been cut off.
            let len = text[at..].iter().position(|&byte| ends_word(byte))?;
            (len > 0).then_some(at + len)
        }
    }
}

/// The offset of the first byte from `at` on that is not JSON white space.
pub(crate) fn skip_white(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| !is_white(*byte)).unwrap_or(rest.len())
}

/// The text of a string value without its quotes, escapes left as they are.
pub(crate) fn unquoted(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Whether a value says nothing: `null`, `""`, `[]` or `{}`.
pub(crate) fn is_empty(value: &[u8]) -> bool {
    match value {
        b"null" | b"\"\"" => true,
        [b'[', inside @ .., b']'] | [b'{', inside @ .., b'}'] => {
            inside.iter().all(|b| is_white(*b))
        }
        _ => false,
    }
}

/// A token count as reported, and whether it is as it should be. `null` is no report. A negative
/// count is read as 0, a fraction is rounded up, and a number in quotes still is that number.
pub(crate) fn count(value: &[u8]) -> (Option<u64>, bool) {
    if value == b"null" {
        return (None, true);
    }
    let (text, quoted) = match unquoted(value) {
        Some(text) => (text, true),
        None => (value, false),
    };
    if text.len() <= 9 && !text.is_empty() && text.iter().all(u8::is_ascii_digit) {
        let number = text.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        return (Some(number), !quoted);
    }
    let (number, sound) = odd_count(text);
    (number, sound && !quoted)
}

/// Reads a count with a sign, a point, an exponent or many digits. The reader of money does the
/// work, as it handles all of these without binary floats.
fn odd_count(text: &[u8]) -> (Option<u64>, bool) {
    const UNIT: u64 = 1_000_000_000;
    let decimal = std::str::from_utf8(text).map_err(|_| MoneyError::NotDecimal);
    match decimal.and_then(NanoUsd::parse_usd_rounding_up) {
        Ok(NanoUsd(scaled)) => {
            let scaled = scaled.unsigned_abs();
            let number = scaled.div_ceil(UNIT);
            (Some(number.min(TOKENS_MAX)), scaled.is_multiple_of(UNIT) && number <= TOKENS_MAX)
        }
        Err(MoneyError::TooLarge) => (Some(TOKENS_MAX), false),
        Err(MoneyError::Negative) => (Some(0), false),
        Err(MoneyError::NotDecimal | MoneyError::TooFine) => (None, false),
    }
}

/// A decimal amount of US dollars from the raw text of a number, so that no binary float comes in
/// between. `Err` if there is something that is not such an amount.
pub(crate) fn usd(value: &[u8]) -> Result<Option<NanoUsd>, MoneyError> {
    if value == b"null" {
        return Ok(None);
    }
    let text = std::str::from_utf8(unquoted(value).unwrap_or(value));
    NanoUsd::parse_usd_rounding_up(text.map_err(|_| MoneyError::NotDecimal)?).map(Some)
}

fn opening(text: &[u8], bracket: u8) -> Option<usize> {
    let at = skip_white(text, 0);
    (text.get(at) == Some(&bracket)).then_some(at + 1)
}

/// The offset behind the object or array that starts at `at`. Brackets are counted, not matched.
fn container_end(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        at = next_structural(text, at)?;
        match text[at] {
            b'"' => at = string_end(text, at + 1)?,
            b'{' | b'[' => depth += 1,
            _ => depth -= 1,
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// The offset of the next quote, bracket or brace.
fn next_structural(text: &[u8], mut at: usize) -> Option<usize> {
    // Setting bit 5 turns brackets into braces: two comparisons instead of four.
    const FOLD: u64 = u64::from_le_bytes([0x20; 8]);
    for _ in 0..SHORT / 8 {
        let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk) else {
            break;
        };
        let word = u64::from_le_bytes(*word);
        let braces = bytes_equal(word | FOLD, b'{') | bytes_equal(word | FOLD, b'}');
        let hits = braces | bytes_equal(word, b'"');
        if hits != 0 {
            return Some(at + (hits.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = text.get(at..)?;
    let quiet = quiet_blocks(rest);
    rest[quiet..].iter().position(|byte| is_structural(*byte)).map(|i| at + quiet + i)
}

/// Passes over a long stretch of numbers (embeddings) block by block. The inner loop has no early
/// exit, so that the compiler makes vector instructions of it: 1 MB takes 0.1 ms, not 1.4 ms.
fn quiet_blocks(rest: &[u8]) -> usize {
    let (blocks, _) = rest.as_chunks::<64>();
    let is_loud = |block: &&[u8; 64]| {
        block.iter().fold(0, |hit, byte| hit | u8::from(is_structural(*byte))) != 0
    };
    blocks.iter().take_while(|block| !is_loud(block)).count() * 64
}

const fn is_structural(byte: u8) -> bool {
    byte == b'"' || matches!(byte | 0x20, b'{' | b'}')
}

const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

const fn ends_word(byte: u8) -> bool {
    matches!(byte, b',' | b'}' | b']' | b':' | b'"' | b'{' | b'[') || is_white(byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listed(text: &str) -> (Vec<(String, String)>, Option<usize>) {
        let mut found = Vec::new();
        let own = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let end = members(text.as_bytes(), |key, value| found.push((own(key), own(value))));
        (found, end)
    }

    #[test]
    fn members_come_raw_and_in_order() {
        let (found, end) =
            listed(" {\"a\" : [1, {\"x\":\"]}\\\"\"}] ,\"b\":null,\"c\":-1.5e3,\"d\":\"\"} ");
        let values: Vec<&str> = found.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["[1, {\"x\":\"]}\\\"\"}]", "null", "-1.5e3", "\"\""]);
        assert_eq!(end, Some(54));
        assert_eq!(listed("{}"), (vec![], Some(2)));
    }

    #[test]
    fn what_was_cut_off_is_not_handed_out() {
        for cut in ["{\"a\":12", "{\"a\":\"12", "{\"a\":[1,2", "{\"a\"", "{\"a", "{", "", "[1]"] {
            assert_eq!(listed(cut), (vec![], None), "{cut}");
        }
        assert_eq!(listed("{\"a\":1,\"b\":2").0, [("a".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn long_gaps_and_long_strings_are_stepped_over() {
        let floats = vec!["-0.0123456789"; 500].join(",");
        let text = "é".repeat(300) + "\\\"\\\\";
        let (found, end) = listed(&format!("{{\"v\":[{floats}],\"s\":\"{text}\",\"e\":1}}"));
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].1.len(), floats.len() + 2);
        assert_eq!(found[1].1.len(), text.len() + 2);
        assert!(end.is_some());
    }

    #[test]
    fn counts_are_read_without_floats() {
        let cases: &[(&str, Option<u64>, bool)] = &[
            ("0", Some(0), true),
            ("2006", Some(2006), true),
            ("21.0", Some(21), true),
            ("1e3", Some(1000), true),
            ("null", None, true),
            ("12.5", Some(13), false),
            ("-5", Some(0), false),
            ("\"12\"", Some(12), false),
            ("99999999999999999999999999", Some(TOKENS_MAX), false),
            ("1e40", Some(TOKENS_MAX), false),
            ("5000000000", Some(TOKENS_MAX), false),
            ("true", None, false),
            ("{}", None, false),
            ("\"\"", None, false),
            ("", None, false),
        ];
        for (text, number, sound) in cases {
            assert_eq!(count(text.as_bytes()), (*number, *sound), "{text}");
        }
    }

    #[test]
    fn emptiness_has_four_forms() {
        for empty in ["null", "\"\"", "[]", "{}", "[ \n]"] {
            assert!(is_empty(empty.as_bytes()), "{empty}");
        }
        for full in ["0", "false", "[0]", "{\"a\":1}", "\" \""] {
            assert!(!is_empty(full.as_bytes()), "{full}");
        }
    }

    proptest! {
        #[test]
        fn members_agree_with_a_real_parser(value in json(), spaced in any::<bool>()) {
            let object = serde_json::json!({ "first": value, "last": 1 });
            let text = if spaced {
                serde_json::to_string_pretty(&object)
            } else {
                serde_json::to_string(&object)
            };
            let text = text.unwrap();
            let (found, end) = listed(&text);
            prop_assert_eq!(end, Some(text.len()));
            for (key, raw) in found {
                let read: serde_json::Value = serde_json::from_str(&raw).unwrap();
                prop_assert_eq!(&read, &object[key.as_str()]);
            }
        }

        #[test]
        fn no_text_upsets_the_walk(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            members(&text, |_, value| { elements(value, |_| {}); });
            count(&text);
            let _ = usd(&text);
        }

        #[test]
        fn no_punctuation_upsets_the_walk(text in "[\\[\\]{}\",:\\\\ 1n-]{0,60}") {
            members(text.as_bytes(), |_, value| { elements(value, |_| {}); });
            elements(text.as_bytes(), |_| {});
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            "\\PC{0,40}".prop_map(serde_json::Value::from),
            "[\"\\\\\\[\\]{}\n]{0,9}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                proptest::collection::btree_map("\\PC{0,8}", inner, 0..6)
                    .prop_map(serde_json::Value::from_iter),
            ]
        })
    }
}
