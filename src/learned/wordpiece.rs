//! BERT's uncased `WordPiece`: a text to the tokens of a vocabulary.
//!
//! What the crate `tokenizers` does in five passes is one pass here: a word of ASCII is lower-cased in a register
//! and looked up whole; only words that the vocabulary lacks are cut, from the left, into the longest pieces that
//! it has. Everything else goes character by character: controls are dropped, accents stripped, ideographs and
//! punctuation are words by themselves. Special tokens have no text here: `[MASK]` in a prompt is two brackets
//! and a word.

use unicode_normalization::char::decompose_canonical;
use wide::u8x16;

use crate::learned::letters::{Letter, letter};
use crate::learned::table::TableError;

/// A word with more characters is unknown as a whole, as it was to the encoder.
const WORD_CHARS_MAX: usize = 100;
/// Bytes of a token that fit into a key: one is left for the length and the mark of a continuation.
const KEY_TEXT_BYTES: usize = 15;
/// Beginnings of tokens are told apart by so many bits: 32 KiB of lengths, rarely two in one place.
const LENGTHS_BITS: u32 = 14;
/// Begins the tokens that continue a word.
const CONTINUES: &str = "##";
/// What a word is whose pieces the vocabulary lacks.
const UNKNOWN: &str = "[UNK]";

/// Tokens by their texts.
#[derive(Debug)]
pub struct Vocabulary {
    /// Open addressing. A place without a token has the key zero.
    keys: Box<[u128]>,
    /// The tokens of the keys.
    tokens: Box<[u16]>,
    /// How far a hash is shifted to become a place.
    shift: u32,
    /// Tokens that are too long for a key, sorted: fourteen in BERT's vocabulary.
    long: Box<[(LongText, u16)]>,
    /// Bytes of the longest text, and of the longest that continues a word.
    longest: [usize; 2],
    /// By a hash of the first three bytes: which lengths tokens have that begin so.
    lengths: Box<[u16]>,
    /// Tokens of the single characters of ASCII.
    ascii: [u16; 128],
    unknown: u16,
    /// For each token, whether it continues a word.
    continuing: Box<[bool]>,
}

/// A text, and whether it continues a word.
type LongText = (Box<[u8]>, bool);

/// A word that is put together character by character.
#[derive(Debug)]
pub struct Word {
    bytes: [u8; WORD_CHARS_MAX * 4],
    length: usize,
    chars: usize,
}

impl Default for Word {
    fn default() -> Self {
        Self { bytes: [0; WORD_CHARS_MAX * 4], length: 0, chars: 0 }
    }
}

impl Word {
    fn clear(&mut self) {
        self.length = 0;
        self.chars = 0;
    }

    fn push(&mut self, character: char) {
        self.chars += 1;
        let end = self.length + character.len_utf8();
        if self.chars <= WORD_CHARS_MAX
            && let Some(room) = self.bytes.get_mut(self.length..end)
        {
            character.encode_utf8(room);
            self.length = end;
        }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// What a run of a tokenizer needs beside the vocabulary; used again and again, it allocates at first only.
#[derive(Debug, Default)]
pub struct Pieces {
    /// The tokens that were found.
    pub tokens: Vec<u16>,
    word: Word,
}

/// The key of the lowest bytes of `text`, at most `KEY_TEXT_BYTES`.
#[inline]
const fn key(text: u128, length: usize, continues: bool) -> u128 {
    let kept = text & ((1 << (8 * length)) - 1);
    kept | (length as u128 | (continues as u128) << 7) << (8 * KEY_TEXT_BYTES)
}

/// The first sixteen bytes as a number, the first one lowest; what is missing is zero.
#[inline]
fn load(bytes: &[u8]) -> u128 {
    if let Some(all) = bytes.first_chunk() {
        return u128::from_le_bytes(*all);
    }
    let mut padded = [0; 16];
    for (to, from) in padded.iter_mut().zip(bytes) {
        *to = *from;
    }
    u128::from_le_bytes(padded)
}

/// Where a key is looked for first.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a hash takes the halves of a number")]
const fn first_place(key: u128, shift: u32) -> usize {
    let low = (key as u64) ^ 0x9e37_79b9_7f4a_7c15;
    let high = ((key >> 64) as u64) ^ 0xd1b5_4a32_d192_ed03;
    let product = (low as u128) * (high as u128);
    (((product as u64) ^ ((product >> 64) as u64)) >> shift) as usize
}

/// Where the lengths of tokens stand that begin with the first three bytes of a text.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "three bytes are wanted")]
const fn beginning(text: u128, continues: bool) -> usize {
    let three = (text as u32) & 0x00ff_ffff | (continues as u32) << 24;
    (three.wrapping_mul(0x9e37_79b1) >> (32 - LENGTHS_BITS)) as usize
}

impl Vocabulary {
    /// From the texts of all tokens in their order; those that continue a word begin with `##`.
    pub fn new(texts: &[&str]) -> Result<Self, TableError> {
        let places = (texts.len().max(1) * 2).next_power_of_two();
        let mut made = Self {
            keys: vec![0; places].into(),
            tokens: vec![0; places].into(),
            shift: 64 - places.trailing_zeros(),
            long: Box::default(),
            longest: [0; 2],
            lengths: vec![0; 1 << LENGTHS_BITS].into(),
            ascii: [0; 128],
            unknown: 0,
            continuing: texts.iter().map(|text| is_continuing(text)).collect(),
        };
        let mut long = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            let wrong = |what| TableError::Vocabulary { at, what };
            let token = u16::try_from(at).map_err(|_| wrong("there are too many"))?;
            let continues = is_continuing(text);
            let text = text.as_bytes().get(if continues { CONTINUES.len() } else { 0 }..);
            let text = text.unwrap_or_default();
            let longest = &mut made.longest[usize::from(continues)];
            *longest = text.len().max(*longest);
            match text.len() {
                0 => return Err(wrong("it has no text")),
                1..=KEY_TEXT_BYTES => made
                    .insert(key(load(text), text.len(), continues), token)
                    .ok_or_else(|| wrong("it is there twice"))?,
                _ => long.push(((text.into(), continues), token)),
            }
        }
        long.sort_unstable();
        made.long = long.into();
        made.name_singles()?;
        Ok(made)
    }

    /// The tokens that are found without a look at the table.
    fn name_singles(&mut self) -> Result<(), TableError> {
        let what = "there is no [UNK] before it";
        let missing = TableError::Vocabulary { at: self.continuing.len(), what };
        self.unknown = self.find(UNKNOWN.as_bytes(), false).ok_or(missing)?;
        for byte in 0_u8..128 {
            let token = self.find(&[byte], false).unwrap_or(self.unknown);
            if let Some(place) = self.ascii.get_mut(usize::from(byte)) {
                *place = token;
            }
        }
        Ok(())
    }

    /// `None` if it is there already.
    fn insert(&mut self, key: u128, token: u16) -> Option<()> {
        let last = self.keys.len() - 1;
        let mut place = first_place(key, self.shift);
        // At least half of the places are empty.
        while self.keys.get(place)? != &0 {
            if self.keys.get(place)? == &key {
                return None;
            }
            place = (place + 1) & last;
        }
        *self.keys.get_mut(place)? = key;
        *self.tokens.get_mut(place)? = token;
        let mark = key >> (8 * KEY_TEXT_BYTES);
        *self.lengths.get_mut(beginning(key, mark & 0x80 != 0))? |= 1 << (mark & 0xf);
        Some(())
    }

    #[inline]
    fn find_key(&self, key: u128) -> Option<u16> {
        let last = self.keys.len() - 1;
        let mut place = first_place(key, self.shift);
        loop {
            let found = *self.keys.get(place)?;
            if found == key {
                return self.tokens.get(place).copied();
            }
            if found == 0 {
                return None;
            }
            place = (place + 1) & last;
        }
    }

    /// The token of a text, without the mark of a continuation.
    pub fn find(&self, text: &[u8], continues: bool) -> Option<u16> {
        if text.len() <= KEY_TEXT_BYTES {
            return self.find_key(key(load(text), text.len(), continues));
        }
        let before = |other: &(LongText, u16)| (&*other.0.0, other.0.1).cmp(&(text, continues));
        self.long.binary_search_by(before).ok().and_then(|at| self.long.get(at)).map(|it| it.1)
    }

    /// For each token in order, whether it continues a word.
    pub fn continuing(&self) -> impl Iterator<Item = bool> {
        self.continuing.iter().copied()
    }

    /// The token of words that cannot be cut into pieces.
    pub const fn unknown(&self) -> u16 {
        self.unknown
    }

    /// Adds the tokens of a text until it ends, or until there are `limit` of them: then it stops behind a
    /// word, whose last pieces may exceed the limit. Tells how many bytes it has read.
    pub fn tokenise(&self, text: &str, limit: usize, pieces: &mut Pieces) -> usize {
        let bytes = text.as_bytes();
        let mut at = 0;
        while pieces.tokens.len() < limit
            && let Some(byte) = bytes.get(at)
        {
            at += match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                    match self.plain_word(bytes.get(at..).unwrap_or_default(), pieces) {
                        0 => self.any_word(text.get(at..).unwrap_or_default(), pieces),
                        read => read,
                    }
                }
                0x80.. => self.any_word(text.get(at..).unwrap_or_default(), pieces),
                0x21..=0x7e => {
                    pieces
                        .tokens
                        .push(self.ascii.get(usize::from(*byte)).copied().unwrap_or(self.unknown));
                    1
                }
                // White space, and controls that stand between words.
                _ => 1,
            };
        }
        at
    }

    /// A word of at most fifteen letters and digits of ASCII; 0 if it is another.
    #[inline]
    fn plain_word(&self, rest: &[u8], pieces: &mut Pieces) -> usize {
        let lanes = match rest.first_chunk() {
            Some(all) => u8x16::new(*all),
            None => u8x16::new(
                (load(rest) | u128::from_le_bytes([b' '; 16]) & !ones(rest.len())).to_le_bytes(),
            ),
        };
        let lower = lanes | u8x16::splat(0x20);
        let letters =
            (lower - u8x16::splat(b'a')).min(u8x16::splat(25)).simd_eq(lower - u8x16::splat(b'a'));
        let digits =
            (lanes - u8x16::splat(b'0')).min(u8x16::splat(9)).simd_eq(lanes - u8x16::splat(b'0'));
        let length = (letters | digits).to_bitmask().trailing_ones() as usize;
        // What follows may belong to the word: an accent, or a control that is dropped.
        let next = lanes.as_array().get(length).copied().unwrap_or(0x80);
        if next >= 0x7f || next < b' ' && !matches!(next, b'\t' | b'\n' | b'\r') {
            return 0;
        }
        // Digits have the bit of lower case already.
        let text = u128::from_le_bytes(lower.to_array());
        if let Some(token) = self.find_key(key(text, length, false)) {
            pieces.tokens.push(token);
        } else {
            let word = lower.as_array().get(..length).unwrap_or_default();
            self.cut(word, &mut pieces.tokens);
        }
        length
    }

    /// A word of any characters, or what is between words; as many bytes as were read, at least one character.
    #[cold]
    #[inline(never)]
    fn any_word(&self, rest: &str, pieces: &mut Pieces) -> usize {
        let before = pieces.tokens.len();
        pieces.word.clear();
        for (at, character) in rest.char_indices() {
            let class = class(character);
            match class {
                Letter::Dropped => continue,
                Letter::Space => self.close(pieces),
                Letter::Ideograph => {
                    self.close(pieces);
                    self.ideograph(character, pieces);
                }
                _ => self.spread(character, pieces),
            }
            if class == Letter::Space || pieces.tokens.len() > before && pieces.word.chars == 0 {
                return at + character.len_utf8();
            }
        }
        self.close(pieces);
        rest.len()
    }

    /// Adds a word of one ideograph.
    fn ideograph(&self, character: char, pieces: &mut Pieces) {
        if is_unified(character) {
            let mut bytes = [0; 4];
            let text = character.encode_utf8(&mut bytes).as_bytes();
            pieces.tokens.push(self.find(text, false).unwrap_or(self.unknown));
        } else {
            self.spread(character, pieces);
            self.close(pieces);
        }
    }

    /// Adds to the open word what a character becomes in lower case and without accents.
    fn spread(&self, character: char, pieces: &mut Pieces) {
        if character.is_ascii_alphanumeric() {
            return pieces.word.push(character.to_ascii_lowercase());
        }
        decompose_canonical(character, |part| {
            let class = class(part);
            if class == Letter::Plain && is_caseless(part) {
                pieces.word.push(part);
            } else if class != Letter::Accent {
                part.to_lowercase().for_each(|lower| self.add(lower, pieces));
            }
        });
    }

    /// Adds a character as it is, which may be a word by itself.
    fn add(&self, character: char, pieces: &mut Pieces) {
        match class(character) {
            Letter::Punctuation => {
                self.close(pieces);
                pieces.word.push(character);
                self.close(pieces);
            }
            Letter::Space => self.close(pieces),
            _ => pieces.word.push(character),
        }
    }

    /// Ends the open word.
    fn close(&self, pieces: &mut Pieces) {
        let Pieces { tokens, word } = pieces;
        if word.chars > WORD_CHARS_MAX {
            tokens.push(self.unknown);
        } else if word.chars > 0 {
            match self.find(word.text(), false) {
                Some(token) => tokens.push(token),
                None => self.cut(word.text(), tokens),
            }
        }
        word.clear();
    }

    /// Adds the pieces of a word that the vocabulary lacks: from the left the longest there is.
    fn cut(&self, word: &[u8], tokens: &mut Vec<u16>) {
        let before = tokens.len();
        let mut begin = 0;
        while begin < word.len() {
            let rest = word.get(begin..).unwrap_or_default();
            let Some((token, length)) = self.longest_of(rest, begin > 0) else {
                tokens.truncate(before);
                tokens.push(self.unknown);
                return;
            };
            tokens.push(token);
            begin += length;
        }
    }

    /// The longest token that a text begins with, and its length.
    fn longest_of(&self, text: &[u8], continues: bool) -> Option<(u16, usize)> {
        let most = text.len().min(self.longest[usize::from(continues)]);
        for length in (KEY_TEXT_BYTES + 1..=most).rev() {
            if let Some(token) = self.find(text.get(..length)?, continues) {
                return Some((token, length));
            }
        }
        let all = load(text);
        let begun = self.lengths.get(beginning(all, continues)).copied().unwrap_or_default();
        // Of one and two bytes there may always be some.
        let mut lengths = (begun | 0b110) & (u16::MAX >> KEY_TEXT_BYTES.saturating_sub(most));
        while let Some(length) = lengths.checked_ilog2() {
            if let Some(token) = self.find_key(key(all, length as usize, continues)) {
                return Some((token, length as usize));
            }
            lengths &= !(1 << length);
        }
        None
    }
}

/// `##` alone is a text.
fn is_continuing(text: &str) -> bool {
    text.starts_with(CONTINUES) && text.len() > CONTINUES.len()
}

/// As many bytes of ones.
const fn ones(bytes: usize) -> u128 {
    if bytes >= 16 { u128::MAX } else { (1 << (8 * bytes)) - 1 }
}

/// Characters of scripts that have one case: those between Hebrew and Burmese, Korean, Chinese and Japanese.
const fn is_caseless(character: char) -> bool {
    matches!(character,
        '\u{590}'..='\u{109f}' | '\u{1100}'..='\u{139f}' | '\u{2e80}'..='\u{a63f}' | '\u{ac00}'..='\u{faff}')
}

/// Ideographs that are their own decomposition.
const fn is_unified(character: char) -> bool {
    matches!(character, '\u{3400}'..='\u{9fff}')
}

/// The class of any character.
fn class(character: char) -> Letter {
    match character {
        '\t' | '\n' | '\r' | ' ' => Letter::Space,
        '\0'..='\x1f' | '\x7f' => Letter::Dropped,
        _ if character.is_ascii_punctuation() => Letter::Punctuation,
        _ if character.is_ascii() => Letter::Plain,
        _ => letter(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_without_a_case_have_none() {
        let all = ('\0'..=char::MAX).filter(|character| is_caseless(*character));
        for character in all {
            assert!(character.to_lowercase().eq([character]), "{character:?}");
        }
    }

    #[test]
    fn unified_ideographs_stay_what_they_are() {
        for character in ('\0'..=char::MAX).filter(|character| is_unified(*character)) {
            decompose_canonical(character, |part| assert_eq!(part, character));
        }
    }

    #[test]
    fn a_vocabulary_without_the_unknown_token_is_none() {
        let what = "there is no [UNK] before it";
        let expected = TableError::Vocabulary { at: 1, what };
        assert_eq!(Vocabulary::new(&["a"]).unwrap_err(), expected);
    }

    #[test]
    fn no_token_is_there_twice_or_empty() {
        for (texts, at, what) in [
            (["[UNK]", "a", "a"], 2, "it is there twice"),
            (["[UNK]", "", "a"], 1, "it has no text"),
        ] {
            let expected = TableError::Vocabulary { at, what };
            assert_eq!(Vocabulary::new(&texts).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_word_and_its_continuation_are_two_tokens() {
        let texts = ["[UNK]", "new", "##new", "##s", "##", "telecommunications"];
        let vocabulary = Vocabulary::new(&texts).unwrap();
        let mut pieces = Pieces::default();
        let read = vocabulary.tokenise("New newnews newsx ##s Telecommunications", 99, &mut pieces);
        assert_eq!(read, 40);
        assert_eq!(pieces.tokens, [1, 1, 2, 3, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn a_limit_is_kept_but_for_the_pieces_of_the_last_word() {
        let vocabulary = Vocabulary::new(&["[UNK]", "a", "##b"]).unwrap();
        let mut pieces = Pieces::default();
        assert_eq!(vocabulary.tokenise("a abbb a a", 2, &mut pieces), 6);
        assert_eq!(pieces.tokens, [1, 1, 2, 2, 2]);
    }
}
