//! The embedding of a text: the mean of the rows of its tokens, as a unit vector, and beside it the shape of
//! the text.
//!
//! Of a long text the beginning and the end are read, some 256 tokens each: what is asked stands there. Rows
//! are added as integers, and what follows is done in one order with operations that IEEE 754 defines to the
//! last bit, so that a text has the same numbers everywhere.

#![expect(clippy::float_arithmetic, reason = "directions and shares, never money")]

use crate::base::limit::{EMBEDDED_BYTES_MAX, EMBEDDED_TOKENS_MAX};
use crate::learned::shape::{self, SHAPE_FEATURES, Seen};
use crate::learned::table::{DIMENSIONS, Row, Table};
use crate::learned::wordpiece::{Pieces, Vocabulary};

/// Rows whose sums sixteen bits hold, whatever is in them.
const ROWS_AT_ONCE: usize = 256;

/// What a text is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Where its meaning points, as a unit vector; all zero if it has no token with a meaning.
    pub vector: [f32; DIMENSIONS],
    /// Its shape, each feature from 0 to 1 (`shape::NAMES`).
    pub shape: [f32; SHAPE_FEATURES],
    /// Tokens of the whole text: counted, but for the middle of a long one, which is taken to have as many in
    /// its bytes as what was read.
    pub tokens: u32,
}

impl Default for Reading {
    fn default() -> Self {
        Self { vector: [0.0; DIMENSIONS], shape: [0.0; SHAPE_FEATURES], tokens: 0 }
    }
}

/// Room to work in, used again and again: it allocates when it is used first.
#[derive(Debug, Default)]
pub struct Scratch {
    pieces: Pieces,
}

/// The parts of a text that were read.
struct Window<'a> {
    head: &'a str,
    tail: &'a str,
    /// Tokens of the head; those of the tail follow them.
    head_tokens: usize,
}

impl Table {
    /// Reads a text: about a microsecond for 32 tokens of English, 10 for 512, and 12 for a megabyte; some 50 where
    /// every character is taken apart.
    pub fn embed(&self, text: &str, scratch: &mut Scratch) -> Reading {
        let pieces = &mut scratch.pieces;
        pieces.tokens.clear();
        let window = read(&self.vocabulary, text, pieces);
        let count = count_all(text, &window, pieces.tokens.len());
        let (head, tail) = pieces.tokens.split_at(window.head_tokens.min(pieces.tokens.len()));
        let first = tail.len().saturating_sub(EMBEDDED_TOKENS_MAX);
        let parts = [head, tail.get(first..).unwrap_or_default()];
        let all_bytes = text.len();
        let seen =
            Seen { parts: [window.head, window.tail], tokens: parts, all_tokens: count, all_bytes };
        Reading {
            vector: self.direction(parts),
            shape: shape::shape(&seen, &self.kinds),
            tokens: count,
        }
    }

    /// The mean of the rows of all tokens, as a unit vector.
    fn direction(&self, parts: [&[u16]; 2]) -> [f32; DIMENSIONS] {
        let mut sums = [0_i32; DIMENSIONS];
        for tokens in parts.iter().flat_map(|part| part.chunks(ROWS_AT_ONCE)) {
            let part = sum(&self.rows, tokens);
            for (sum, part) in sums.iter_mut().zip(part) {
                *sum += i32::from(part);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "at most 512 times 127")]
        let mut vector: [f32; DIMENSIONS] =
            std::array::from_fn(|at| sums[at] as f32 * self.scales[at]);
        let square: f32 = vector.iter().map(|value| value * value).sum();
        if square > 0.0 {
            let length = square.sqrt();
            for value in &mut vector {
                *value /= length;
            }
        }
        vector
    }
}

/// The sum of the rows of at most `ROWS_AT_ONCE` tokens.
fn sum(rows: &[Row], tokens: &[u16]) -> [i16; DIMENSIONS] {
    let mut sums = [0_i16; DIMENSIONS];
    for token in tokens {
        let Some(row) = rows.get(usize::from(*token)) else { continue };
        for (sum, value) in sums.iter_mut().zip(row.0) {
            *sum = sum.wrapping_add(i16::from(value));
        }
    }
    sums
}

/// Tokenises the beginning and the end of a text, or all of a short one.
fn read<'a>(vocabulary: &Vocabulary, text: &'a str, pieces: &mut Pieces) -> Window<'a> {
    let near = text.get(..text.floor_char_boundary(EMBEDDED_BYTES_MAX)).unwrap_or(text);
    let read = vocabulary.tokenise(near, EMBEDDED_TOKENS_MAX, pieces);
    let (head, rest) = text.split_at_checked(read).unwrap_or((text, ""));
    let head_tokens = pieces.tokens.len();
    // As many bytes as the same number of tokens took at the beginning, and half of that again.
    let wanted = (head.len() * 3 / 2).clamp(EMBEDDED_BYTES_MAX / 4, EMBEDDED_BYTES_MAX);
    let tail = end_of(rest, wanted);
    vocabulary.tokenise(tail, usize::MAX, pieces);
    Window { head, tail, head_tokens }
}

/// The last bytes of a text, from the beginning of a word if one is near.
fn end_of(text: &str, bytes: usize) -> &str {
    let Some(skipped) = text.len().checked_sub(bytes) else { return text };
    let end = text.get(text.ceil_char_boundary(skipped)..).unwrap_or_default();
    let space = end.bytes().take(64).position(|byte| byte.is_ascii_whitespace());
    space.and_then(|at| end.get(at..)).unwrap_or(end)
}

/// Tokens of the whole text.
fn count_all(text: &str, window: &Window, counted: usize) -> u32 {
    let read = (window.head.len() + window.tail.len()).max(1) as u64;
    let all = counted as u64 * text.len() as u64 / read;
    u32::try_from(all).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "every bit counts")]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::parse(include_bytes!("../../conf/router/embedding.bin")).unwrap()
    }

    fn similarity(table: &Table, one: &str, other: &str) -> f32 {
        let mut scratch = Scratch::default();
        let (one, other) = (table.embed(one, &mut scratch), table.embed(other, &mut scratch));
        one.vector.iter().zip(other.vector).map(|(one, other)| one * other).sum()
    }

    #[test]
    fn what_means_the_same_points_the_same_way() {
        let table = table();
        let near = similarity(&table, "How do I bake bread?", "How can I make a sourdough loaf?");
        let far = similarity(&table, "How do I bake bread?", "How do I prove that this diverges?");
        assert!(near > far + 0.05, "{near} {far}");
    }

    #[test]
    fn a_text_without_meaning_is_all_zero() {
        let table = table();
        let mut scratch = Scratch::default();
        for text in ["", " \n\t ", "\u{200b}\u{1}", "\u{10437}"] {
            let reading = table.embed(text, &mut scratch);
            assert_eq!(reading.vector, [0.0; DIMENSIONS], "{text:?}");
        }
        assert_eq!(table.embed("", &mut scratch), Reading::default());
    }

    #[test]
    fn a_vector_has_the_length_one() {
        let table = table();
        let mut scratch = Scratch::default();
        for text in ["a", "the the the", "def f(x): return x", "漢字", &"word ".repeat(10_000)] {
            let vector = table.embed(text, &mut scratch).vector;
            let square: f32 = vector.iter().map(|value| value * value).sum();
            assert!((square - 1.0).abs() < 1e-5, "{text:.20} {square}");
        }
    }

    #[test]
    fn the_numbers_are_the_same_everywhere() {
        let table = table();
        let text = "Write a Python function that reverses a list. Does it run in O(n)?";
        let reading = table.embed(text, &mut Scratch::default());
        // What this program gave when the table was made: heads are trained on these numbers.
        let bits = reading.vector.map(f32::to_bits);
        assert_eq!(bits[..4], [0x3f08_33a0, 0x3e0e_2db7, 0x3d97_dbe7, 0x3d88_c4bd]);
        let bits = reading.shape.map(f32::to_bits);
        assert_eq!(bits[..4], [0x3e59_999a, 0x3eaa_aaab, 0x3daa_aaab, 0x3f01_0000]);
    }

    #[test]
    fn a_text_of_512_tokens_is_read_whole() {
        let table = table();
        let mut pieces = Pieces::default();
        let text = "bread ".repeat(512);
        let window = read(&table.vocabulary, &text, &mut pieces);
        assert_eq!(window.head.len() + window.tail.len(), text.len());
        assert_eq!((window.head_tokens, pieces.tokens.len()), (256, 512));
        assert_eq!(table.embed(&text, &mut Scratch::default()).tokens, 512);
    }

    #[test]
    fn of_a_long_text_both_ends_count() {
        let table = table();
        let mut scratch = Scratch::default();
        let middle = "filler and nothing else. ".repeat(40_000);
        let mut embed = |text: String| table.embed(&text, &mut scratch);
        let plain = embed(format!("{middle}{middle}"));
        let first = embed(format!("Translate this poem to French:{middle}{middle}"));
        let last = embed(format!("{middle}{middle} Translate this poem to French!"));
        let hidden = embed(format!("{middle} Translate this poem to French! {middle}"));
        assert_ne!(first.vector, plain.vector);
        assert_ne!(last.vector, plain.vector);
        assert_eq!(hidden.vector, plain.vector);
        let tokens = f64::from(plain.tokens);
        assert!((tokens / 480_000.0 - 1.0).abs() < 0.02, "{tokens}");
    }

    #[test]
    fn a_scratch_remembers_nothing() {
        let table = table();
        let mut used = Scratch::default();
        for text in ["bread", "", "漢字 and Zürich?", "x".repeat(9_000).as_str(), "bread"] {
            let fresh = table.embed(text, &mut Scratch::default());
            assert_eq!(table.embed(text, &mut used), fresh, "{text:.20}");
        }
    }

    #[test]
    fn sums_do_not_overflow() {
        // The most extreme row, 256 times.
        let row = Row(std::array::from_fn(|at| if at % 2 == 0 { 127 } else { -128 }));
        let sums = sum(&[row], &[0; ROWS_AT_ONCE]);
        assert_eq!((sums[0], sums[1]), (127 * 256, -128 * 256));
    }

    proptest::proptest! {
        #[test]
        fn every_text_is_read(text in "(.|\n| |[a-z]{1,9}){0,400}", times in 1..40_usize) {
            let table = TABLE.with(std::clone::Clone::clone);
            let text = text.repeat(times);
            let reading = table.embed(&text, &mut Scratch::default());
            let square: f32 = reading.vector.iter().map(|value| value * value).sum();
            proptest::prop_assert!(square == 0.0 || (square - 1.0).abs() < 1e-4);
            let all = reading.shape.iter().all(|feature| (0.0..=1.0).contains(feature));
            proptest::prop_assert!(all, "{:?}", reading.shape);
        }
    }

    thread_local! {
        static TABLE: std::rc::Rc<Table> = std::rc::Rc::new(table());
    }
}
