//! Whether a body of the right form is a real secret: its check, or its variety. Examples in documents
//! (`sk-xxxx`, `AKIA...EXAMPLE`, `your_api_key`) and prose in hyphens have the form too.

use super::checksum::is_crc62;

/// What a body must be, beyond its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: the form says enough.
    None,
    /// Its last six characters are the check of the others.
    Crc62,
    /// Varied enough for its length, and no example.
    Varied,
    /// The same, and a long part of it mixes letters and digits: for prefixes that prose may have.
    Random,
    /// It holds these words, and is varied.
    Holds(&'static str),
}

impl Proof {
    /// Whether a body passes. What is known of it is asked for only where it matters.
    pub fn is_passed<'a>(self, body: &[u8], known: impl FnOnce() -> Rest<'a>) -> bool {
        match self {
            Self::None => true,
            Self::Crc62 => is_crc62(body),
            Self::Varied => known().is_varied(body),
            Self::Random => {
                let known = known();
                known.is_varied(body) && known.has_mixed_part()
            }
            Self::Holds(words) => known().is_varied(body) && holds(body, words),
        }
    }
}

/// What is known of a text and of all of its ends: hostile text has hundreds of beginnings in one body, of which
/// each would be read to its end.
#[derive(Clone, Debug)]
pub struct Body {
    length: usize,
    /// By character: the place after the last one; 0 = there is none.
    last: [u32; 128],
    /// The places after the beginnings of the last repetition, of the last example, and of the last part that
    /// mixes letters and digits; 0 = there is none.
    repeated: u32,
    example: u32,
    mixed: u32,
}

/// The end of a body from a place on.
#[derive(Clone, Copy, Debug)]
pub struct Rest<'a> {
    /// What is known.
    pub body: &'a Body,
    /// Where the end begins.
    pub at: usize,
}

impl Body {
    /// Reads a text once.
    pub fn of(text: &[u8]) -> Self {
        let mut body =
            Self { length: text.len(), last: [0; 128], repeated: 0, example: 0, mixed: 0 };
        let (mut before, mut same, mut part) = (None, 0, 0);
        for (place, byte) in (0_u32..).zip(text) {
            let at = place as usize;
            body.last[usize::from(byte & 127)] = place + 1;
            same = if before == Some(*byte) { same + 1 } else { 1 };
            before = Some(*byte);
            if same >= REPEATED {
                body.repeated = place + 2 - u32::try_from(REPEATED).unwrap_or_default();
            }
            if example_at(text, at) > 0 {
                body.example = place + 1;
            }
            if matches!(byte, b'-' | b'_') {
                body.note_part(part, &text[part..at]);
                part = at + 1;
            }
        }
        body.note_part(part, &text[part..]);
        body
    }

    fn note_part(&mut self, at: usize, part: &[u8]) {
        if is_mixed(part) {
            self.mixed = u32::try_from(at + 1).unwrap_or(u32::MAX);
        }
    }
}

impl Rest<'_> {
    fn has(self, place: u32) -> bool {
        place as usize > self.at
    }

    /// The same as `is_varied` of its text, which is read only where a word of examples is in it.
    pub fn is_varied(self, text: &[u8]) -> bool {
        if self.has(self.body.repeated) || self.has(self.body.example) && is_example(text) {
            return false;
        }
        let distinct = self.body.last.iter().filter(|place| self.has(**place)).count();
        distinct >= needed(self.body.length - self.at)
    }

    /// Whether a part of it mixes letters and digits, if it begins with a part.
    fn has_mixed_part(self) -> bool {
        self.has(self.body.mixed)
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

/// One character repeated so often in a row is an example.
const REPEATED: usize = 6;

/// Enough different characters for its length, none of them over and over, and no word of an example.
pub fn is_varied(body: &[u8]) -> bool {
    has_distinct(body, needed(body.len())) && !has_repetition(body) && !is_example(body)
}

/// How many different characters a body of that length must have.
fn needed(length: usize) -> usize {
    (length / 3).clamp(4, 9)
}

/// How many different characters there are.
pub fn distinct(body: &[u8]) -> usize {
    let seen = body.iter().fold(0_u128, |seen, byte| seen | 1 << (byte & 127));
    seen.count_ones() as usize
}

/// Whether there are so many different characters; most bodies show it soon.
fn has_distinct(body: &[u8], needed: usize) -> bool {
    let (mut seen, mut count) = ([false; 128], 0);
    body.iter().any(|byte| {
        let known = &mut seen[usize::from(byte & 127)];
        count += usize::from(!std::mem::replace(known, true));
        count >= needed
    })
}

fn has_repetition(body: &[u8]) -> bool {
    let (mut before, mut same) = (None, 0);
    body.iter().any(|byte| {
        same = if before == Some(*byte) { same + 1 } else { 1 };
        before = Some(*byte);
        same >= REPEATED
    })
}

/// By character: the words of examples that begin with it, as bits, and those that go on with it. Letters of
/// both cases are the same.
const BEGINNINGS: [[u16; 256]; 2] = [words_with(0), words_with(1)];

const fn words_with(place: usize) -> [u16; 256] {
    let (mut words, mut at) = ([0; 256], 0);
    while at < EXAMPLES.len() {
        let byte = EXAMPLES[at].as_bytes()[place];
        words[byte.to_ascii_lowercase() as usize] |= 1 << at;
        words[byte.to_ascii_uppercase() as usize] |= 1 << at;
        at += 1;
    }
    words
}

/// Whether it is one of the usual examples: a word of them is in it, and what stands beside is no noise. A
/// word alone says nothing: noise holds every word by chance, and whoever wants a key out puts one into it.
///
/// Hot path on hostile text, where one body has hundreds of beginnings: most places are passed over by two
/// characters alone.
pub fn is_example(body: &[u8]) -> bool {
    let at = (0..body.len()).find(|at| example_at(body, *at) > 0);
    at.is_some_and(|at| !Beside::of(body, at).is_noise() || is_signed_example(body))
}

/// The length of the word of examples that begins there; 0 if none does.
fn example_at(body: &[u8], at: usize) -> usize {
    let [first, second] = &BEGINNINGS;
    let Some([one, two, ..]) = body.get(at..) else { return 0 };
    if first[usize::from(*one)] & second[usize::from(*two)] == 0 {
        return 0;
    }
    let begins = |words: &&&str| {
        let part = body.get(at..at + words.len());
        part.is_some_and(|part| part.eq_ignore_ascii_case(words.as_bytes()))
    };
    EXAMPLES.iter().find(begins).map_or(0, |words| words.len())
}

/// Whether it is as long as a key or a secret of AWS and ends in the word: so does the noise in its documents,
/// which is known to everybody. Behind anything else the word hides nothing.
fn is_signed_example(body: &[u8]) -> bool {
    let is_key = matches!(body.len(), 16 | 20) && body.ends_with(b"EXAMPLE");
    is_key || body.len() == 40 && body.ends_with(b"EXAMPLEKEY")
}

/// What stands beside the words of examples, as if they were not there.
#[derive(Default)]
struct Beside {
    length: usize,
    /// Of the present part between hyphens.
    part: usize,
    changes: usize,
    has_mixed_part: bool,
    /// Letters that follow one another, and those of them that do so in the alphabet too.
    pairs: usize,
    in_order: usize,
    before: Option<u8>,
    letter: Option<u8>,
}

/// Characters of the shortest noise.
const NOISE_MIN: usize = 16;

impl Beside {
    /// Beside the words from `first` on, where the first of them begins.
    fn of(body: &[u8], first: usize) -> Self {
        let mut beside = Self::default();
        let mut at = 0;
        while let Some(byte) = body.get(at) {
            let word = if at < first { 0 } else { example_at(body, at) };
            if word == 0 {
                beside.take(*byte);
            }
            at += word.max(1);
        }
        beside
    }

    fn take(&mut self, byte: u8) {
        if matches!(byte, b'-' | b'_') {
            (self.part, self.changes, self.before) = (0, 0, None);
            return;
        }
        self.length += 1;
        self.part += 1;
        let is_change = self.before.is_some_and(|it| it.is_ascii_digit() != byte.is_ascii_digit());
        self.changes += usize::from(is_change);
        self.before = Some(byte);
        self.has_mixed_part |= self.part >= MIXED_PART && self.changes >= MIXED_CHANGES;
        if byte.is_ascii_alphabetic() {
            let byte = byte.to_ascii_lowercase();
            if let Some(letter) = self.letter.replace(byte) {
                self.pairs += 1;
                self.in_order += usize::from(matches!(byte.wrapping_sub(letter), 0 | 1));
            }
        }
    }

    /// Enough of it, letters and digits mixed, and not most of the letters in a row.
    const fn is_noise(&self) -> bool {
        self.length >= NOISE_MIN && self.has_mixed_part && self.in_order * 2 < self.pairs
    }
}

fn holds(body: &[u8], words: &str) -> bool {
    memchr::memmem::find(body, words.as_bytes()).is_some()
}

/// Characters of a part between hyphens that must mix letters and digits.
const MIXED_PART: usize = 12;
/// Changes between letter and digit that such a part must have: names end in a number, noise does not.
const MIXED_CHANGES: usize = 3;

fn is_mixed(part: &[u8]) -> bool {
    let changes = part.windows(2).filter(|two| two[0].is_ascii_digit() != two[1].is_ascii_digit());
    part.len() >= MIXED_PART && changes.count() >= MIXED_CHANGES
}

/// How many of lower case, upper case, digits and other marks occur. Hyphen, underscore and full stop join
/// words and count for nothing.
pub fn kinds(body: &[u8]) -> usize {
    let kind = |byte: &u8| match byte {
        b'a'..=b'z' => 1_u8,
        b'A'..=b'Z' => 2,
        b'0'..=b'9' => 4,
        b'-' | b'_' | b'.' => 0,
        _ => 8,
    };
    body.iter().fold(0, |kinds, byte| kinds | kind(byte)).count_ones() as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rule::Form;
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
    fn prose_in_hyphens_is_not_random() {
        let is_random = |text: &[u8]| {
            let body = Body::of(text);
            Proof::Random.is_passed(text, || Rest { body: &body, at: 0 })
        };
        assert!(!is_random(b"assessment-for-the-third-quarter-report-2025"));
        assert!(!is_random(b"internationalization2025"));
        assert!(is_random(b"n66nVberACpdclsxHK1fT3x9"));
    }

    proptest! {
        #[test]
        fn ends_are_judged_like_texts_of_their_own(text in "([a-c1-3X-]|xxxx|your|aaaaaa|n66nVberACpd){0,40}") {
            let body = Body::of(text.as_bytes());
            for at in 0..text.len() {
                let rest = Rest { body: &body, at };
                let end = &text.as_bytes()[at..];
                prop_assert_eq!(rest.is_varied(end), is_varied(end), "{}", at);
                let begins = at == 0 || matches!(text.as_bytes()[at - 1], b'-' | b'_');
                if begins {
                    let mut parts = text.as_bytes()[at..].split(|byte| matches!(byte, b'-' | b'_'));
                    prop_assert_eq!(rest.has_mixed_part(), parts.any(is_mixed));
                }
            }
        }
    }

    /// Of a body that begins within a part nobody asks whether that is mixed.
    #[test]
    fn what_must_be_random_begins_with_a_part() {
        for rule in super::super::rules::RULES.iter().copied().flatten() {
            if let Form::Parts(_, Proof::Random) = rule.form {
                assert!(rule.literals.iter().all(|it| it.ends_with(['-', '_'])), "{}", rule.id);
            }
        }
    }

    #[test]
    fn kinds_are_counted() {
        assert_eq!(kinds(b"abc-def_g.h"), 1);
        assert_eq!(kinds(b"aB1#"), 4);
    }
}
