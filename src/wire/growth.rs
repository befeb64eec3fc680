//! By how much a text may grow when a tokenizer normalises it before it counts.
//!
//! A byte-level tokenizer makes at most one token of a byte, but some normalise to NFKC first, and
//! one character of three bytes (U+FDFA) becomes 33 bytes. What grows is found per character:
//!
//! - NFKD of a text is the decompositions of its characters in another order, so its length is the
//!   sum of theirs.
//! - NFKC is NFKD with some neighbours joined into characters whose canonical decomposition they are,
//!   and no such character is longer than its decomposition (a test goes through all of Unicode).
//!   So NFKC is never longer than that sum.
//!
//! The NFKC forms of single characters would be tighter and no bound: a mark that comes later can
//! split a character that was joined.
//!
//! Hot path: `benches/envelope.rs`. Escapes count whatever the number of backslashes in front: JSON
//! within a string (arguments of tool calls) is unescaped once more by some providers.

use std::sync::LazyLock;

use memchr::memmem;
use unicode_normalization::char::decompose_compatible;

use crate::wire::block::Block;

/// How an escape starts; four digits follow.
const ESCAPE: &[u8] = b"\\u";
/// Above it a character takes four bytes, or two escapes.
const THREE_BYTES_MAX: u32 = 0xffff;

/// By how many bytes each character of up to three bytes grows. A look-up in the tables of the
/// crate takes 10 to 60 ns each, which would make a body of such characters a burden by itself.
static GROWTH: LazyLock<Box<[u8]>> =
    LazyLock::new(|| (0..=THREE_BYTES_MAX).map(|c| char::from_u32(c).map_or(0, grown)).collect());

/// An upper bound of the bytes that the NFKC form of the strings in `body` has more than their form
/// in `body`. `wide` tells whether there may be bytes beyond ASCII.
pub fn growth(body: &[u8], wide: bool) -> u64 {
    let raw = if wide { raw_growth(body) } else { 0 };
    raw + escaped_growth(body)
}

/// Of characters that stand there as themselves.
fn raw_growth(body: &[u8]) -> u64 {
    let mut sum = 0;
    for at in (0..body.len()).step_by(64) {
        let mut leads = Block::at(body, at).leads();
        while leads != 0 {
            let place = at + leads.trailing_zeros() as usize;
            sum += u64::from(growth_at(body.get(place..).unwrap_or_default()));
            leads &= leads - 1;
        }
    }
    sum
}

/// Of the character at the start of `rest`, which is not ASCII.
#[inline]
fn growth_at(rest: &[u8]) -> u8 {
    let low = |byte: u8| u32::from(byte & 0x3f);
    match *rest {
        [a @ 0xc0..=0xdf, b, ..] => of_table(u32::from(a & 0x1f) << 6 | low(b)),
        [a @ 0xe0..=0xef, b, c, ..] => of_table(u32::from(a & 0xf) << 12 | low(b) << 6 | low(c)),
        [a, b, c, d, ..] => of_four(u32::from(a & 7) << 18 | low(b) << 12 | low(c) << 6 | low(d)),
        _ => 0,
    }
}

#[inline]
fn of_table(c: u32) -> u8 {
    GROWTH.get(c as usize).copied().unwrap_or(0)
}

#[inline]
fn of_four(c: u32) -> u8 {
    // Emoji, and the ideographs that have no other form: nearly all there is of four bytes.
    if matches!(c, 0x1_f300..=0x1_faff | 0x2_0000..=0x2_f7ff) {
        return 0;
    }
    char::from_u32(c).map_or(0, grown)
}

fn grown(c: char) -> u8 {
    let mut len = 0;
    decompose_compatible(c, |part| len += part.len_utf8());
    u8::try_from(len.saturating_sub(c.len_utf8())).unwrap_or(u8::MAX)
}

/// Of characters that are written as `\u` and digits. Pairs of escapes need no look: no character
/// that takes a pair becomes longer than the pair.
fn escaped_growth(body: &[u8]) -> u64 {
    let escape = memmem::Finder::new(ESCAPE);
    let mut sum = 0;
    let mut rest = body;
    while let Some(found) = escape.find(rest) {
        rest = rest.get(found..).unwrap_or_default();
        // Where there is one there are many, side by side: 128 to 38 us for 32 KiB of Chinese.
        while let Some(([b'\\', b'u', digits @ ..], behind)) = rest.split_first_chunk::<6>()
            && let Some(c) = unit(*digits)
        {
            sum += growth_over_escape(c);
            rest = behind;
        }
        // One that is none, as in a path; a true one may start right behind it.
        rest = rest.strip_prefix(ESCAPE).unwrap_or(rest);
    }
    sum
}

/// The code unit of four digits.
#[inline]
fn unit(digits: [u8; 4]) -> Option<u32> {
    let value = |digit: u8| u32::from(digit & 0xf) + 9 * u32::from(digit >> 6);
    let whole = digits.iter().fold(0, |whole, &digit| whole << 4 | value(digit));
    digits.iter().all(u8::is_ascii_hexdigit).then_some(whole)
}

/// By how many bytes a character grows over its escape. One that does not grow over its own three
/// bytes at most does not grow over six either.
#[inline]
fn growth_over_escape(c: u32) -> u64 {
    (u64::from(of_table(c)) + utf8_len(c)).saturating_sub(ESCAPE.len() as u64 + 4)
}

const fn utf8_len(c: u32) -> u64 {
    match c {
        0..0x80 => 1,
        0x80..0x800 => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization;

    /// All characters that have a decomposition: nothing is assigned above but marks and private use.
    fn all() -> impl Iterator<Item = char> {
        (0..0x4_0000).filter_map(char::from_u32)
    }

    fn bytes(chars: impl Iterator<Item = char>) -> usize {
        chars.map(char::len_utf8).sum()
    }

    fn of_text(text: &str) -> u64 {
        growth(text.as_bytes(), !text.is_ascii())
    }

    #[test]
    fn no_character_is_longer_than_what_it_is_joined_of() {
        for c in all() {
            let decomposed: String = std::iter::once(c).nfd().collect();
            if decomposed.nfc().eq([c]) {
                assert!(c.len_utf8() <= decomposed.len(), "{c:?}");
            }
        }
    }

    #[test]
    fn every_character_is_measured_in_every_way_of_writing() {
        for c in all() {
            let long = bytes(std::iter::once(c).nfkd());
            let grown = long.saturating_sub(c.len_utf8()) as u64;
            let mut buffer = [0; 4];
            assert_eq!(of_text(c.encode_utf8(&mut buffer)), grown, "{c:?}");
            let mut units = [0; 2];
            let mut escapes = String::new();
            for unit in c.encode_utf16(&mut units) {
                write!(escapes, "\\u{unit:04X}").unwrap();
            }
            let grown = long.saturating_sub(escapes.len()) as u64;
            assert_eq!(of_text(&escapes), grown, "{c:?}");
        }
    }

    #[test]
    fn one_character_can_become_thirty_three_bytes() {
        assert_eq!(of_text("\u{fdfa}"), 30);
        assert_eq!(of_text(r"\ufdfa"), 27);
        assert_eq!(of_text(r"\\\\uFDFA"), 27);
        assert_eq!(of_text(r"\\u\\ufdfa\\users\\\\u\\ufdfa"), 54);
        assert_eq!(of_text(&"\u{fdfa}".repeat(1000)), 30_000);
        assert_eq!(of_text("plain \\n \\\" text \\u12"), 0);
        assert_eq!(growth(b"\xef\xb7", true), 0);
    }

    proptest! {
        #[test]
        fn the_normal_form_never_exceeds_the_bound(
            text in "[a-zé가-힣が\u{fdfa}\u{300}-\u{36f}\u{1d15e}-\u{1d164}ﬃ①½]{0,40}|\\PC{0,40}"
        ) {
            let bound = text.len() as u64 + of_text(&text);
            prop_assert!(bytes(text.chars().nfkc()) as u64 <= bound, "{:?}", text);
            prop_assert!(bytes(text.chars().nfkd()) as u64 <= bound, "{:?}", text);
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            growth(&bytes, true);
        }
    }
}
