//! Finds the end of a JSON string and checks everything in it on the way.
//!
//! Hot path: `benches/envelope.rs`. Nearly all bytes of a request are inside strings, so this loop
//! is the speed of the scan. It only finds out that something is wrong; what and where is told by
//! a plain walk over the same string afterwards. UTF-8 is not checked here: the caller learns
//! whether there was anything but ASCII and then checks the whole body at once.

use crate::wire::block::{self, Block};
use crate::wire::syntax::{Problem, SyntaxError};

/// Finds the closing quote of the string whose first byte after the opening quote is at `open`.
/// Returns the offset after it, and sets `wide` if bytes beyond ASCII were met.
#[inline]
pub fn skip(body: &[u8], open: usize, wide: &mut bool) -> Result<usize, SyntaxError> {
    // Keys and small values end within sixteen bytes: 8.1 to 5.8 us for 32 KiB with tool schemas.
    let Some(masks) = block::masks16_at(body, open) else {
        return skip_long(body, open, open, wide);
    };
    *wide |= masks.wide != 0;
    if masks.special == 0 {
        return skip_long(body, open, open + 16, wide);
    }
    let at = open + masks.special.trailing_zeros() as usize;
    if body.get(at) == Some(&b'"') {
        return Ok(at + 1);
    }
    skip_long(body, open, at, wide)
}

/// The same for a string that is known to be good: only its end is looked for. `None` if it has none.
#[inline]
pub fn pass(body: &[u8], open: usize) -> Option<usize> {
    let (mut at, mut carry) = (open, 0);
    while at < body.len() {
        let block = Block::at(body, at);
        let escaped = escaped_bytes(block.equal(b'\\'), &mut carry);
        let closing = block.equal(b'"') & !escaped;
        if closing != 0 {
            return Some(at + closing.trailing_zeros() as usize + 1);
        }
        at += 64;
    }
    None
}

/// The same from `at` on, where everything between `open` and `at` is plain.
fn skip_long(
    body: &[u8],
    open: usize,
    mut at: usize,
    wide: &mut bool,
) -> Result<usize, SyntaxError> {
    let mut carry = 0;
    loop {
        let block = Block::at(body, at);
        *wide |= block.wide() != 0;
        let (quote, backslash) = (block.equal(b'"'), block.equal(b'\\'));
        let escaped = escaped_bytes(backslash, &mut carry);
        let closing = quote & !escaped;
        // Every bit below the first closing quote; all of them if there is none.
        let inside = closing.wrapping_sub(1) & !closing;
        let unusual = escaped & inside & !(quote | backslash);
        if block.control() & inside != 0
            || unusual != 0 && !escapes_are_valid(body, at, unusual & !block.newline_or_tab())
        {
            return Err(explain(body, open));
        }
        if closing != 0 {
            return Ok(at + closing.trailing_zeros() as usize + 1);
        }
        at += 64;
    }
}

/// Which bytes of a block stand right after a backslash that is not escaped itself. `carry` is 1
/// if the first byte of the block does, and is left so for the next block.
///
/// The trick of simdjson: runs of backslashes end at an odd or an even place, and a subtraction
/// finds which, for all runs of the block at once. Without a shortcut for blocks that have none:
/// on source code that branch is a coin toss (128 to 118 us for 1 MiB).
#[inline]
fn escaped_bytes(backslash: u64, carry: &mut u64) -> u64 {
    const ODD_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let start = backslash & !*carry;
    let codes = ((start << 1) | ODD_BITS).wrapping_sub(start) ^ ODD_BITS;
    let escaped = codes ^ (backslash | *carry);
    *carry = (codes & backslash) >> 63;
    escaped
}

/// Whether the bytes at those bits of the block at `at` may follow a backslash.
#[inline]
fn escapes_are_valid(body: &[u8], at: usize, mut bits: u64) -> bool {
    while bits != 0 {
        let place = at + bits.trailing_zeros() as usize;
        if escape_len(body, place).is_none() {
            return false;
        }
        bits &= bits - 1;
    }
    true
}

/// How many bytes the escape has whose letter is at `at`, the letter included; `None` if it is no
/// escape.
#[inline]
fn escape_len(body: &[u8], at: usize) -> Option<usize> {
    match body.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(1),
        b'u' => body.get(at + 1..at + 5)?.iter().all(u8::is_ascii_hexdigit).then_some(5),
        _ => None,
    }
}

/// Walks a string that is known to be bad, byte by byte, to say why.
#[cold]
fn explain(body: &[u8], open: usize) -> SyntaxError {
    let mut at = open;
    loop {
        at += match body.get(at) {
            Some(b'\\') => match escape_len(body, at + 1) {
                Some(len) => 1 + len,
                None if at + 1 >= body.len() => {
                    return SyntaxError::at(Problem::StringEnd, body, at + 1);
                }
                None => return SyntaxError::at(Problem::Escape, body, at),
            },
            Some(0..0x20) => return SyntaxError::at(Problem::Control, body, at),
            None | Some(b'"') => return SyntaxError::at(Problem::StringEnd, body, at),
            Some(_) => 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The plain walk that the masks have to agree with.
    fn reference(body: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            match body.get(at)? {
                b'"' => return Some(at + 1),
                b'\\' => at += 1 + escape_len(body, at + 1)?,
                0..0x20 => return None,
                _ => at += 1,
            }
        }
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => "[a-z ]{0,40}",
            3 => prop::sample::select(vec![
                "\\n", "\\\"", "\\\\", "\\t", "\\/", "\\u12aF", "\\ud800", "é", "漢", "\\\\\\\\\\\\",
            ]).prop_map(String::from),
            1 => prop::sample::select(vec!["\"", "\\", "\n", "\\x", "\\u12", "\\u"])
                .prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|parts| parts.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn a_good_string_is_passed_to_where_it_ends(
            raw in r#"([a-z]{1,40}|\\["\\nt]|é){0,60}"#, behind in r#"["\\a]{0,8}"#,
        ) {
            let body = format!("{raw}\"{behind}");
            prop_assert_eq!(pass(body.as_bytes(), 0), skip(body.as_bytes(), 0, &mut false).ok());
            prop_assert_eq!(pass(raw.as_bytes(), 0), None);
        }

        #[test]
        fn masks_and_a_plain_walk_agree(text in pieces()) {
            let mut closed = text;
            closed.push(b'"');
            let mut wide = false;
            let found = skip(&closed, 0, &mut wide);
            prop_assert_eq!(found.ok(), reference(&closed));
            if let Ok(end) = found {
                prop_assert!(wide || closed[..end].is_ascii());
            }
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(skip(&bytes, 0, &mut false).ok(), reference(&bytes));
        }
    }

    #[test]
    fn runs_of_backslashes_cross_every_border() {
        for before in 0..140 {
            for slashes in 0..140 {
                let text = format!("{}{}\"x\"", "a".repeat(before), "\\".repeat(slashes));
                let expected = before + slashes + if slashes % 2 == 0 { 1 } else { 3 };
                assert_eq!(skip(text.as_bytes(), 0, &mut false), Ok(expected));
            }
        }
    }

    #[test]
    fn the_reason_and_the_place_are_named() {
        let long = "x".repeat(70);
        for (text, problem, offset) in [
            ("abc", Problem::StringEnd, 3),
            ("abc\\", Problem::StringEnd, 4),
            ("ab\nc\"", Problem::Control, 2),
            ("ab\\x\"", Problem::Escape, 2),
            ("\\n\\u12\"", Problem::Escape, 2),
            ("\\u00g0\"", Problem::Escape, 0),
        ] {
            let error = skip(text.as_bytes(), 0, &mut false).unwrap_err();
            assert_eq!((error.problem, error.offset), (problem, offset), "{text:?}");
            let shifted = format!("{long}{text}");
            let error = skip(shifted.as_bytes(), 0, &mut false).unwrap_err();
            assert_eq!((error.problem, error.offset), (problem, offset + 70), "{text:?}");
        }
    }
}
