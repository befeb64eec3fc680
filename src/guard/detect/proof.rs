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
            Self::Varied => known().is_varied(),
            Self::Random => {
                let known = known();
                known.is_varied() && known.has_mixed_part()
            }
            Self::Holds(words) => known().is_varied() && holds(body, words),
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
            if text.get(at..at + 2).is_some_and(|two| may_begin_example([two[0], two[1]]))
                && begins_example(&text[at..])
            {
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

    /// The same as `is_varied` of its text.
    pub fn is_varied(self) -> bool {
        if self.has(self.body.repeated) || self.has(self.body.example) {
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

/// Whether a word of the usual examples is in it.
///
/// Hot path on hostile text, where one body has hundreds of beginnings: most places are passed over by two
/// characters alone.
pub fn is_example(body: &[u8]) -> bool {
    body.windows(2)
        .enumerate()
        .any(|(at, two)| may_begin_example([two[0], two[1]]) && begins_example(&body[at..]))
}

fn may_begin_example([one, other]: [u8; 2]) -> bool {
    let [first, second] = &BEGINNINGS;
    first[usize::from(one)] & second[usize::from(other)] != 0
}

fn begins_example(rest: &[u8]) -> bool {
    EXAMPLES.iter().any(|words| {
        rest.get(..words.len()).is_some_and(|part| part.eq_ignore_ascii_case(words.as_bytes()))
    })
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
                prop_assert_eq!(rest.is_varied(), is_varied(&text.as_bytes()[at..]), "{}", at);
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
