//! The shape of a text: how long it is, how it is laid out, what kinds of characters and of words it has.
//!
//! It looks at the window that was embedded and at nothing else. Lengths are logarithms, shares are square
//! roots, so that the usual values of all features lie between 0 and 1 and none above. Logarithms are taken
//! between powers of two by a straight line: the last bit of a real one differs from machine to machine.

#![expect(clippy::float_arithmetic, reason = "lengths and shares, never money")]

use crate::learned::wordpiece::Vocabulary;

/// Features of a shape.
pub const SHAPE_FEATURES: usize = 32;

/// What each feature is, in their order.
pub const NAMES: [&str; SHAPE_FEATURES] = [
    // Logarithms: tokens of the text, bytes of a token, lines of the window, bytes of a line.
    "tokens",
    "token_bytes",
    "lines",
    "line_bytes",
    // Shares of all lines: empty, indented, items of a list, choices of a question ("B)", "(c)", "D."),
    // ends of code, labels that end in a colon.
    "blank_lines",
    "indented_lines",
    "list_lines",
    "choice_lines",
    "code_lines",
    "label_lines",
    // Logarithm: fences of code.
    "fences",
    // Shares of all bytes.
    "digits",
    "capitals",
    "foreign",
    "spaces",
    "stops",
    "signs",
    "latex",
    "brackets",
    "quotes",
    "underscores",
    // Logarithm: question marks.
    "questions",
    // 1 if the text ends so.
    "ends_asking",
    "ends_open",
    // Shares of all tokens: unknown ones, those that continue a word, words of six kinds.
    "unknown_tokens",
    "pieces",
    "asking_words",
    "code_words",
    "math_words",
    "writing_words",
    "condensing_words",
    "reasoning_words",
];

/// Words of the six kinds, as the vocabulary has them: in lower case, and each one token.
const WORDS: [&str; 6] = [
    "what which who whom whose when where why how is are does did can could would should",
    "code function class def return import int string array list file python java javascript sql html css \
     script api method variable loop compile compiler debug bug error exception test tests algorithm program \
     null true false const var void static public private struct async print input output",
    "number numbers sum equation equations solve integer integers triangle circle angle probability prime \
     polynomial matrix vector theorem proof graph modulo digit digits square root length area volume ratio \
     percent fraction calculate compute positive negative maximum minimum coordinates divided equal",
    "write create generate compose draft story poem essay email blog article design brainstorm suggest \
     imagine rewrite script dialogue character letter speech song",
    "summarize summary extract classify translate translation paraphrase rewrite title sentence passage \
     paragraph text document entities sentiment label category keywords format json table context",
    "explain reason reasoning step steps because therefore prove why compare analyze evaluate suppose assume \
     if then follows correct true false justify conclude imply hence given",
];

/// Kinds of a token: none, unknown, continuing, and those of `WORDS`.
const KINDS: usize = 3 + WORDS.len();

/// What kind of word each token of a vocabulary is.
#[derive(Debug)]
pub struct Kinds(Box<[u8]>);

impl Kinds {
    /// Looks the words up. One that the vocabulary cuts is left out, and the first kind of a word counts.
    pub fn new(vocabulary: &Vocabulary) -> Self {
        let mut kinds: Box<[u8]> =
            vocabulary.continuing().map(|continues| if continues { 2 } else { 0 }).collect();
        let mut set = |token: u16, kind: u8| {
            if let Some(place) = kinds.get_mut(usize::from(token)).filter(|place| **place == 0) {
                *place = kind;
            }
        };
        set(vocabulary.unknown(), 1);
        for (kind, words) in (3..).zip(WORDS) {
            let words = words.split_whitespace();
            let found = words.filter_map(|word| vocabulary.find(word.as_bytes(), false));
            found.for_each(|token| set(token, kind));
        }
        Self(kinds)
    }

    /// How many tokens there are of each kind, and of all.
    fn count(&self, tokens: [&[u16]; 2]) -> ([u32; KINDS], u32) {
        let mut counts = [0; KINDS];
        for token in tokens.into_iter().flatten() {
            let kind = self.0.get(usize::from(*token)).copied().unwrap_or_default();
            if let Some(count) = counts.get_mut(usize::from(kind)) {
                *count += 1;
            }
        }
        (counts, counts.iter().sum())
    }
}

/// Classes of bytes: none, those that `NAMES` has a share of, and question marks.
const CLASSES: usize = 12;
/// The class of question marks.
const QUESTION: usize = 11;
/// The class of each byte.
static CLASS: [u8; 256] = classes();

#[expect(clippy::cast_possible_truncation, reason = "of 256")]
const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < 256 {
        classes[at] = match at as u8 {
            b'0'..=b'9' => 1,
            b'A'..=b'Z' => 2,
            0x80.. => 3,
            b' ' | b'\t' | b'\n' | b'\r' => 4,
            b'.' | b',' | b';' | b':' | b'!' => 5,
            b'+' | b'-' | b'*' | b'/' | b'=' | b'<' | b'>' | b'%' | b'|' | b'&' => 6,
            b'\\' | b'$' | b'^' => 7,
            b'(' | b')' | b'[' | b']' | b'{' | b'}' => 8,
            b'"' | b'\'' | b'`' => 9,
            b'_' => 10,
            b'?' => 11,
            _ => 0,
        };
        at += 1;
    }
    classes
}

/// What of a text was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The parts of the text that were read.
    pub parts: [&'a str; 2],
    /// Those of their tokens that count.
    pub tokens: [&'a [u16]; 2],
    /// Tokens of the whole text.
    pub all_tokens: u32,
    /// Bytes of the whole text.
    pub all_bytes: usize,
}

/// The features of what was seen.
pub fn shape(seen: &Seen, kinds: &Kinds) -> [f32; SHAPE_FEATURES] {
    let (classes, bytes) = count_bytes(seen.parts);
    let (kinds, tokens) = kinds.count(seen.tokens);
    let mut lines = Lines::default();
    seen.parts.into_iter().for_each(|part| lines.count(part.as_bytes()));
    let all_bytes = u32::try_from(seen.all_bytes).unwrap_or(u32::MAX);
    let lengths = [
        log(seen.all_tokens, 20),
        log(all_bytes.checked_div(seen.all_tokens).unwrap_or_default(), 6),
        log(lines.all, 12),
        log(bytes.checked_div(lines.all).unwrap_or_default(), 12),
    ];
    let last = seen.parts.map(|part| part.trim_ascii_end().as_bytes().last().copied());
    let last = last[1].or(last[0]);
    let endings = [b'?', b':'].map(|byte| if last == Some(byte) { 1.0 } else { 0.0 });
    let questions = log(classes[QUESTION], 6);
    let features = lengths
        .into_iter()
        .chain(lines.shares())
        .chain([log(lines.fences, 4)])
        .chain(classes[1..QUESTION].iter().map(|count| share(*count, bytes)))
        .chain([questions])
        .chain(endings)
        .chain(kinds[1..].iter().map(|count| share(*count, tokens)));
    let mut shape = [0.0; SHAPE_FEATURES];
    shape.iter_mut().zip(features).for_each(|(place, feature)| *place = feature);
    shape
}

/// How many bytes there are of each class, and of all.
fn count_bytes(parts: [&str; 2]) -> ([u32; CLASSES], u32) {
    // Counters take turns, so that a run of one class does not wait for itself.
    let mut counts = [[0_u32; 16]; 4];
    for part in parts {
        let (fours, rest) = part.as_bytes().as_chunks::<4>();
        for four in fours {
            for (counts, byte) in counts.iter_mut().zip(four) {
                counts[usize::from(CLASS[usize::from(*byte)] & 15)] += 1;
            }
        }
        for byte in rest {
            counts[0][usize::from(CLASS[usize::from(*byte)] & 15)] += 1;
        }
    }
    let classes = std::array::from_fn(|at| counts.iter().map(|counts| counts[at]).sum());
    (classes, counts.iter().flatten().sum())
}

/// Counts of lines.
#[derive(Debug, Default)]
struct Lines {
    all: u32,
    blank: u32,
    indented: u32,
    listed: u32,
    choices: u32,
    code: u32,
    labels: u32,
    fences: u32,
}

impl Lines {
    fn count(&mut self, text: &[u8]) {
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', text).chain([text.len()]) {
            if begin < text.len() {
                self.look_at(text.get(begin..end).unwrap_or_default());
            }
            begin = end + 1;
        }
    }

    fn look_at(&mut self, line: &[u8]) {
        self.all += 1;
        let inner = line.trim_ascii();
        let (&[first, ref rest @ ..], Some(last)) = (inner, inner.last()) else {
            self.blank += 1;
            return;
        };
        self.indented += u32::from(line.starts_with(b"  ") || line.starts_with(b"\t"));
        self.listed += u32::from(is_listed(first, rest));
        self.choices += u32::from(is_choice(inner));
        self.code += u32::from(matches!(last, b';' | b'{' | b'}'));
        self.labels += u32::from(*last == b':');
        self.fences += u32::from(inner.starts_with(b"```"));
    }

    fn shares(&self) -> [f32; 6] {
        [self.blank, self.indented, self.listed, self.choices, self.code, self.labels]
            .map(|count| share(count, self.all))
    }
}

/// `- item`, `* item`, `12. item`, `3) item`.
fn is_listed(first: u8, rest: &[u8]) -> bool {
    match first {
        b'-' | b'*' => rest.first() == Some(&b' '),
        b'0'..=b'9' => {
            let digits = rest.iter().take(2).take_while(|byte| byte.is_ascii_digit()).count();
            matches!(rest.get(digits..), Some([b'.' | b')', b' ', ..]))
        }
        _ => false,
    }
}

/// `B) choice`, `(c) choice`, `D. choice`, `E: choice`.
fn is_choice(line: &[u8]) -> bool {
    let (letter, after) = match line {
        [b'(', letter, b')', ..] => return letter.is_ascii_alphabetic(),
        [letter, after, ..] => (letter, after),
        _ => return false,
    };
    letter.is_ascii_alphabetic() && matches!(after, b')' | b'.' | b':')
}

/// The square root of a share, from 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a window has a few thousand bytes")]
fn share(count: u32, all: u32) -> f32 {
    (count.min(all) as f32 / all.max(1) as f32).sqrt()
}

/// About the logarithm of a number, on a scale that ends at two to the `bits`: 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a feature, not a count")]
fn log(number: u32, bits: u8) -> f32 {
    let above = number.saturating_add(1);
    let whole = above.ilog2();
    let part = above as f32 / (1_u32 << whole) as f32 - 1.0;
    ((whole as f32 + part) / f32::from(bits)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learned::embedding::Scratch;
    use crate::learned::table::Table;

    /// The features of a text that are not zero, by name.
    fn shape_of(text: &str) -> impl Fn(&str) -> f32 {
        let table = Table::parse(include_bytes!("../../conf/router/embedding.bin")).unwrap();
        let shape = table.embed(text, &mut Scratch::default()).shape;
        move |name| shape[NAMES.iter().position(|other| *other == name).expect("a feature")]
    }

    fn near(found: f32, expected: f32) {
        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    }

    #[test]
    fn names_are_told_apart() {
        let mut names = NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SHAPE_FEATURES);
    }

    #[test]
    fn lines_are_counted_by_what_they_are() {
        let of = shape_of("List:\n\n- one\n  * two\n3. three;\n(A) red\nB) blue\n```\n");
        near(of("lines"), log(8, 12));
        near(of("blank_lines"), share(1, 8));
        near(of("indented_lines"), share(1, 8));
        near(of("list_lines"), share(3, 8));
        near(of("choice_lines"), share(2, 8));
        near(of("code_lines"), share(1, 8));
        near(of("label_lines"), share(1, 8));
        near(of("fences"), log(1, 4));
    }

    #[test]
    fn bytes_are_counted_by_what_they_are() {
        let text = "Is 12+3 = \\pi_0 \"é\"? (No.)";
        let of = shape_of(text);
        let bytes = u32::try_from(text.len()).unwrap();
        for (name, count) in [
            ("digits", 4),
            ("capitals", 2),
            ("foreign", 2),
            ("spaces", 5),
            ("stops", 1),
            ("signs", 2),
            ("latex", 1),
            ("brackets", 2),
            ("quotes", 2),
            ("underscores", 1),
        ] {
            near(of(name), share(count, bytes));
        }
        near(of("questions"), log(1, 6));
    }

    #[test]
    fn the_end_of_a_text_counts() {
        assert!((shape_of("Really? \n")("ends_asking") - 1.0).abs() < 1e-6);
        assert!(shape_of("Really? No")("ends_asking") < 1e-6);
        assert!((shape_of("Continue:")("ends_open") - 1.0).abs() < 1e-6);
        let long = "word ".repeat(5_000) + "ok?";
        assert!((shape_of(&long)("ends_asking") - 1.0).abs() < 1e-6);
    }

    #[test]
    fn words_are_counted_by_kind() {
        let of = shape_of("which function solves this equation? explain");
        near(of("asking_words"), share(1, 8));
        near(of("code_words"), share(1, 8));
        near(of("math_words"), share(2, 8));
        near(of("reasoning_words"), share(1, 8));
        near(of("pieces"), share(1, 8));
        near(of("unknown_tokens"), 0.0);
        assert!(shape_of("\u{10437}")("unknown_tokens") > 0.99);
    }

    #[test]
    fn logarithms_grow_and_end_at_one() {
        near(log(0, 20), 0.0);
        near(log(1, 20), 0.05);
        near(log(2, 20), 1.5 / 20.0);
        near(log(u32::MAX, 20), 1.0);
        assert!((1..5_000).all(|number| log(number, 20) > log(number - 1, 20)));
    }

    #[test]
    fn lists_and_choices_are_known() {
        for (line, listed, choice) in [
            (&b"- item"[..], true, false),
            (b"-5 degrees", false, false),
            (b"7. item", true, false),
            (b"12) item", true, false),
            (b"3.14 is pi", false, false),
            (b"(b) item", false, true),
            (b"C. item", false, true),
            (b"d", false, false),
            (b"Eve: hi", false, false),
        ] {
            let text = String::from_utf8_lossy(line);
            assert_eq!(is_listed(line[0], &line[1..]), listed, "{text}");
            assert_eq!(is_choice(line), choice, "{text}");
        }
    }
}
