//! Whether a body of the right form is a real secret: its check, or its variety. Examples in documents
//! (`sk-xxxx`, `AKIA...EXAMPLE`, `your_api_key`) and prose in hyphens have the form too.

use std::num::NonZeroUsize;

/// What a body must be, beyond its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Its last six characters are the check of the others.
    Crc62,
    /// Varied enough for its length, and no example.
    Varied,
    /// The same, and a long part of it mixes letters and digits: for prefixes that prose may have.
    Random,
    /// It holds these words, and is varied.
    Holds(&'static str),
}

/// What is known of a text and of all of its ends: hostile text has hundreds of beginnings in one body, of which
/// each would be read to its end. Everything is read from right to left, only when it is asked for, and only until
/// it is known for every longer end as well; so an end is judged alike whatever lies to its left.
#[derive(Clone, Debug)]
pub struct Body {
    from: usize,
    to: usize,
    /// By how many different characters there are: the place of the shortest end that has so many.
    distinct: [Place; DISTINCT_MOST + 1],
    /// A filler is in the end.
    filled: Option<Place>,
    /// Noise is in it.
    noise: Option<Place>,
    mixed: Option<Place>,
    noisy: Option<Place>,
}

/// Where the shortest end begins of which something is true; it is true of all that begin further left.
type Place = Option<NonZeroUsize>;

/// One more than the place itself, which may be the first.
const fn place_of(at: usize) -> Place {
    NonZeroUsize::new(at + 1)
}

/// A text with what is known to the left of it, and the place of its first byte.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The text.
    pub text: &'a [u8],
    /// The place of its first byte.
    pub base: usize,
}

impl<'a> Page<'a> {
    fn span(self, from: usize, to: usize) -> &'a [u8] {
        self.text.get(from - self.base..to - self.base).unwrap_or_default()
    }
}

fn holds_from(place: Place, at: usize) -> bool {
    place.is_some_and(|place| at < place.get())
}

impl Body {
    /// The body of a text that lies there.
    pub fn of(page: Page<'_>, from: usize, to: usize) -> Self {
        let mut distinct = [None; DISTINCT_MOST + 1];
        let (mut seen, mut count) = ([false; 128], 0);
        for (at, byte) in page.span(from, to).iter().enumerate().rev() {
            let known = &mut seen[usize::from(byte & 127)];
            if *known {
                continue;
            }
            *known = true;
            count += 1;
            distinct[count] = place_of(from + at);
            if count == DISTINCT_MOST {
                break;
            }
        }
        Self { from, to, distinct, filled: None, noise: None, mixed: None, noisy: None }
    }

    /// Where it begins.
    pub const fn from(&self) -> usize {
        self.from
    }

    /// Whether it is known of what lies there.
    pub const fn covers(&self, from: usize, to: usize) -> bool {
        self.from <= from && self.to == to
    }

    /// Whether the end that begins there has enough different characters for its length, and is no example.
    pub fn is_varied(&mut self, page: Page<'_>, at: usize) -> bool {
        let needed = needed(self.to - at);
        holds_from(self.distinct[needed], at) && !self.is_example(page, at)
    }

    fn is_example(&mut self, page: Page<'_>, at: usize) -> bool {
        let within = (self.from, self.to);
        let filled = *self.filled.get_or_insert_with(|| filled(page, within, REPEATED));
        if !holds_from(filled, at) {
            return false;
        }
        let noise = *self.noise.get_or_insert_with(|| noise(page, within, REPEATED));
        !holds_from(noise, at) || is_signed_example(page.span(at, self.to))
    }

    /// Whether a part of the end that begins there mixes letters and digits.
    pub fn has_mixed_part(&mut self, page: Page<'_>, at: usize) -> bool {
        let (from, to) = (self.from, self.to);
        let mixed = self.mixed.get_or_insert_with(|| {
            let bytes = page.span(from, to);
            long_parts(bytes).find_map(|(start, end)| {
                let mut part = Part::default();
                let at = bytes[start..end].iter().rposition(|byte| part.with(*byte))?;
                place_of(from + start + at)
            })
        });
        holds_from(*mixed, at)
    }

    /// Whether the end that begins there could be a password without quotes: it has three kinds of characters, and
    /// digits at more than one place, while names in code have theirs at the end.
    pub fn is_noisy(&mut self, page: Page<'_>, at: usize) -> bool {
        let (from, to) = (self.from, self.to);
        let noisy = self.noisy.get_or_insert_with(|| {
            let (mut seen, mut changes, mut right) = (0, 0, None);
            let is_noisy = |byte: &u8| {
                seen |= kind(*byte);
                let is_digit = byte.is_ascii_digit();
                changes += usize::from(right.replace(is_digit).is_some_and(|it| it != is_digit));
                changes >= MIXED_CHANGES && seen.count_ones() >= 3
            };
            page.span(from, to).iter().rposition(is_noisy).and_then(|at| place_of(from + at))
        });
        holds_from(*noisy, at)
    }
}

/// Words of examples, in lower case.
const EXAMPLES: [&str; 12] = [
    "example",
    "xxxx",
    "your",
    "placeholder",
    "changeme",
    "redacted",
    "dummy",
    "insert",
    "0123456789",
    "1234567890",
    "abcdefghij",
    "sample",
];

/// One character repeated so often in a row is a filler, like a word of examples.
const REPEATED: usize = 6;

/// Enough different characters for its length, and no example.
pub fn is_varied(text: &[u8]) -> bool {
    let page = Page { text, base: 0 };
    Body::of(page, 0, text.len()).is_varied(page, 0)
}

/// The most different characters that are asked for.
const DISTINCT_MOST: usize = 9;

/// How many different characters a body of that length must have.
fn needed(length: usize) -> usize {
    (length / 3).clamp(4, DISTINCT_MOST)
}

/// How many different characters there are.
pub fn distinct(body: &[u8]) -> usize {
    let seen = body.iter().fold(0_u128, |seen, byte| seen | 1 << (byte & 127));
    seen.count_ones() as usize
}

/// By character: the words of examples that end with it, as bits, and those that have it before their last one.
/// Letters of both cases are the same.
const ENDS: [[u16; 256]; 2] = [words_with(1), words_with(2)];

const fn words_with(back: usize) -> [u16; 256] {
    let (mut words, mut at) = ([0; 256], 0);
    while at < EXAMPLES.len() {
        let word = EXAMPLES[at].as_bytes();
        let byte = word[word.len() - back];
        words[byte.to_ascii_lowercase() as usize] |= 1 << at;
        words[byte.to_ascii_uppercase() as usize] |= 1 << at;
        at += 1;
    }
    words
}

/// Whether a password is one of the usual examples: a word of them is in it, and nowhere noise. A word alone says
/// nothing: noise holds every word by chance, and whoever wants a key out puts one into it. That a character is
/// repeated says nothing of passwords: people do that.
pub fn is_example(text: &[u8]) -> bool {
    let (page, within) = (Page { text, base: 0 }, (0, text.len()));
    let is_filled = filled(page, within, usize::MAX).is_some();
    is_filled && (noise(page, within, usize::MAX).is_none() || is_signed_example(text))
}

/// The length of the filler that a text ends in: one character so often in a row, or a word of examples; 0 if it
/// ends in none.
///
/// Hot path on hostile text: nearly always the last two characters tell that there is none.
#[inline]
fn filler(text: &[u8], repeated: usize) -> usize {
    let [.., before, last] = text else { return 0 };
    if before == last {
        let row = text.len().checked_sub(repeated).map(|at| &text[at..]);
        if row.is_some_and(|row| row.iter().all(|byte| byte == last)) {
            return repeated;
        }
    }
    let words = ENDS[0][usize::from(*last)] & ENDS[1][usize::from(*before)];
    if words == 0 { 0 } else { word(text, words) }
}

/// The length of the first of those words that a text ends in; 0 if it ends in none.
fn word(text: &[u8], mut words: u16) -> usize {
    while words > 0 {
        let word = EXAMPLES[words.trailing_zeros() as usize];
        let at = text.len().checked_sub(word.len());
        if at.is_some_and(|at| text[at..].eq_ignore_ascii_case(word.as_bytes())) {
            return word.len();
        }
        words &= words - 1;
    }
    0
}

/// Whether it is as long as a key or a secret of AWS and ends in the word: so does the noise in its documents,
/// which is known to everybody. Behind anything else the word hides nothing.
fn is_signed_example(body: &[u8]) -> bool {
    let is_key = matches!(body.len(), 16 | 20) && body.ends_with(b"EXAMPLE");
    is_key || body.len() == 40 && body.ends_with(b"EXAMPLEKEY")
}

/// So much of what lies to the left of a body is looked at, for fillers that reach into it.
pub const LEFT: usize = 16;

/// Where the last filler of a body begins. One that reaches into it from the left is none of it.
fn filled(page: Page<'_>, (from, to): (usize, usize), repeated: usize) -> Place {
    let text = page.span(page.base, to);
    let ends = (from - page.base + 1..=text.len()).rev();
    let found =
        ends.map(|end| (end, filler(&text[..end], repeated))).find(|(_, length)| *length > 0);
    found.and_then(|(end, length)| place_of(page.base + end - length))
}

/// Where the last noise of a body begins. Fillers are left out of what is judged, also one that reaches into the
/// body from the left: so it does not matter where that begins.
fn noise(page: Page<'_>, (from, to): (usize, usize), repeated: usize) -> Place {
    let last = to.saturating_sub(NOISE_MIN);
    let mut parts = long_parts(page.span(from, to));
    let found =
        parts.find_map(|(start, end)| noise_in(page, (from + start, from + end), (last, repeated)));
    found.and_then(place_of)
}

/// Where noise begins in a part, read from right to left; no further right than `last`.
fn noise_in(
    page: Page<'_>,
    (from, to): (usize, usize),
    (last, repeated): (usize, usize),
) -> Option<usize> {
    let (text, base) = (page.span(page.base, to), page.base);
    let (mut beside, mut end) = (Beside::default(), text.len());
    while let Some(byte) = text[..end].last().filter(|_| from < base + end) {
        let length = filler(&text[..end], repeated);
        if length == 0 {
            end -= 1;
            if beside.is_noise_with(*byte) && base + end <= last {
                return Some(base + end);
            }
            continue;
        }
        end -= length;
        if length == repeated {
            // The rest of characters in a row is no noise either.
            end -= text[..end].iter().rev().take_while(|it| *it == byte).count();
        }
    }
    None
}

/// What stands beside the fillers of a part, as if they were not there.
#[derive(Clone, Copy, Default)]
struct Beside {
    part: Part,
    /// Letters that follow one another, and those of them that do so in the alphabet too.
    pairs: usize,
    in_order: usize,
    /// The first letter, in lower case; 0 = there is none.
    letter: u8,
}

/// Characters of the shortest end that holds noise.
const NOISE_MIN: usize = 16;

impl Beside {
    /// Takes one more character on the left. Whether that makes it noise: letters and digits mixed, and not most
    /// of the letters in a row.
    #[inline]
    fn is_noise_with(&mut self, byte: u8) -> bool {
        let letter = byte | 0x20;
        if letter.is_ascii_lowercase() {
            let right = std::mem::replace(&mut self.letter, letter);
            self.pairs += usize::from(right > 0);
            self.in_order += usize::from(right.wrapping_sub(letter) <= 1);
        }
        self.part.with(byte) && self.in_order * 2 < self.pairs
    }
}

/// A part between hyphens, as far as it has been read.
#[derive(Clone, Copy, Default)]
struct Part {
    length: usize,
    /// Changes between letter and digit.
    changes: usize,
    /// Whether its first character is a digit.
    is_digit: bool,
}

/// Characters of a part between hyphens that must mix letters and digits.
const MIXED_PART: usize = 12;
/// Changes between letter and digit that such a part must have: names end in a number, noise does not.
const MIXED_CHANGES: usize = 3;

impl Part {
    /// Takes one more character on the left. Whether letters and digits are mixed with it.
    #[inline]
    fn with(&mut self, byte: u8) -> bool {
        let is_digit = byte.is_ascii_digit();
        self.changes += usize::from(self.length > 0 && is_digit != self.is_digit);
        self.length += 1;
        self.is_digit = is_digit;
        self.length >= MIXED_PART && self.changes >= MIXED_CHANGES
    }
}

/// The parts between hyphens that are long enough to mix letters and digits, the last one first.
fn long_parts(text: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let hyphens = text.iter().enumerate().rev().filter(|(_, byte)| matches!(byte, b'-' | b'_'));
    let starts = hyphens.map(|(at, _)| at + 1).chain(std::iter::once(0));
    let mut end = text.len();
    starts.filter_map(move |start| {
        let part = (start, end);
        end = start.saturating_sub(1);
        (part.0 + MIXED_PART <= part.1).then_some(part)
    })
}

/// How many of lower case, upper case, digits and other marks occur. Hyphen, underscore and full stop join
/// words and count for nothing.
pub fn kinds(body: &[u8]) -> usize {
    body.iter().fold(0, |kinds, byte| kinds | kind(*byte)).count_ones() as usize
}

const fn kind(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        b'0'..=b'9' => 4,
        b'-' | b'_' | b'.' => 0,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn noise_is_varied_and_examples_are_not() {
        assert!(is_varied(b"9c6InG2svIdgYYHg7aBIcNzSOo9Q"));
        assert!(is_varied(b"e7c1b89df0a24536"));
        for example in
            ["xxxxxxxxxxxxxxxxxxxxxxxx", "XXXXyyyy", "IOSFODNN7EXAMPLE", "your-api-key-goes-here"]
        {
            assert!(!is_varied(example.as_bytes()), "{example}");
        }
    }

    #[test]
    fn a_word_of_examples_within_noise_makes_none() {
        let noise = "q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsT";
        for word in EXAMPLES {
            for at in [0, 10, noise.len()] {
                let (left, right) = noise.split_at(at);
                assert!(is_varied(format!("{left}{word}{right}").as_bytes()), "{word} at {at}");
            }
        }
        for example in [
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "0123456789abcdef0123456789abcdef",
            "a1b2c3d4e5f6g7h8i9j0k1l2xxxxxxxx",
            "your-openai-api-key-2024-v1-goes-here",
            "AbCdEf0123456789gHiJkLmNoPqRsTuVwXyZAbCdEf0123456789gHiJkLmNoPqRsTuVwXyZ",
            "xxxx-xxxx-xxxx-1a2b",
        ] {
            assert!(!is_varied(example.as_bytes()), "{example}");
        }
    }

    #[test]
    fn prose_in_hyphens_is_not_mixed() {
        let is_mixed = |text: &[u8]| {
            let page = Page { text, base: 0 };
            Body::of(page, 0, text.len()).has_mixed_part(page, 0)
        };
        assert!(!is_mixed(b"assessment-for-the-third-quarter-report-2025"));
        assert!(!is_mixed(b"internationalization2025"));
        assert!(is_mixed(b"n66nVberACpdclsxHK1fT3x9"));
    }

    #[test]
    fn noise_with_a_character_over_and_over_makes_no_example() {
        let noise = "q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsT";
        for filler in ["aaaaaa", "XXXXXXXXXX", "0000000", "------"] {
            for at in [0, 10, noise.len()] {
                let (left, right) = noise.split_at(at);
                let text = format!("{left}{filler}{right}");
                assert!(is_varied(text.as_bytes()), "{text}");
            }
        }
        for example in [
            "aaaaaaaaaaaaaaaaaaaa1b2C3d4E5f6",
            "1234abcd5678efgh000000000000000000000000",
            "sk1a2b3c4d5e6f7g8h9i0000000000",
            "some-name-of-mine-in-2024-v1-000000",
            "7d3c89ab000000000000",
        ] {
            assert!(!is_varied(example.as_bytes()), "{example}");
        }
    }

    fn changes(text: &[u8]) -> usize {
        text.windows(2).filter(|two| two[0].is_ascii_digit() != two[1].is_ascii_digit()).count()
    }

    fn parts(text: &[u8]) -> impl Iterator<Item = &[u8]> {
        text.split(|byte| matches!(byte, b'-' | b'_'))
    }

    fn is_mixed(part: &[u8]) -> bool {
        part.len() >= MIXED_PART && changes(part) >= MIXED_CHANGES
    }

    proptest! {
        #[test]
        fn ends_are_judged_alike_whatever_was_asked_before(
            text in "([a-c1-3X-]|xxxx|your|placeholder|a{5,8}|n66nVberACpd|EXAMPLEKEY){0,40}",
            asked in any::<prop::sample::Index>(),
        ) {
            let (text, to) = (text.as_bytes(), text.len());
            let page = Page { text, base: 0 };
            for at in 0..to {
                let mut known = Body::of(page, asked.index(at + 1), to);
                let _ = known.is_varied(page, asked.index(at + 1));
                let (mut own, end) = (Body::of(page, at, to), &text[at..]);
                let is_varied = known.is_varied(page, at);
                prop_assert_eq!(is_varied, own.is_varied(page, at), "{}", at);
                prop_assert!(!is_varied || distinct(end) >= needed(end.len()));
                let is_mixed = parts(end).any(is_mixed);
                prop_assert_eq!(known.has_mixed_part(page, at), is_mixed, "{}", at);
                let is_noisy = kinds(end) >= 3 && changes(end) >= MIXED_CHANGES;
                prop_assert_eq!(known.is_noisy(page, at), is_noisy, "{}", at);
                // What lies more than a word to the left does not matter at all.
                let near = Page { text: &text[at.saturating_sub(LEFT)..], base: at.saturating_sub(LEFT) };
                prop_assert_eq!(Body::of(near, at, to).is_varied(near, at), is_varied, "{}", at);
            }
        }

        #[test]
        fn what_holds_noise_is_no_example_whatever_is_added(left in "[a-zA-Z0-9]{0,40}", filler in "(xxxx|your|0{6,9}|example){0,3}") {
            let noise = "q7Zk2Vb9Lx4Wm8Rt3Ny6";
            let text = format!("{left}-{noise}{filler}");
            prop_assert!(is_varied(text.as_bytes()), "{}", text);
        }
    }

    #[test]
    fn kinds_are_counted() {
        assert_eq!(kinds(b"abc-def_g.h"), 1);
        assert_eq!(kinds(b"aB1#"), 4);
    }
}
