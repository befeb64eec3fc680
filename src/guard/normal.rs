//! Text as a model reads it: one case, one width, no invisible characters, no borrowed letters.
//!
//! One pass, and for ASCII hardly that. What is hidden in codes (base64 and the like) is `decode`'s; nothing
//! here judges. Each place of the result can be traced to its place in the original.

use std::sync::OnceLock;

use unicode_normalization::char::decompose_compatible;

use crate::base::limit::{GUARD_FOLDED_BYTES_MAX, GUARD_TAG_BYTES_MAX, GUARD_WORD_CHARS_MAX};

/// Folded text, and where it comes from.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    /// The text.
    pub text: String,
    /// Places (here, in the original) from which on both run in step, in order.
    steps: Vec<(usize, usize)>,
}

/// The folded form of a short text.
pub fn folded(text: &str) -> String {
    let mut folded = Folded::default();
    folded.fold(text);
    folded.text
}

/// Bytes of the character that starts with this byte.
#[inline]
pub const fn char_len(lead: u8) -> usize {
    match lead {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    }
}

/// Whether a character of a script without spaces starts there: Chinese, Japanese, Thai.
#[inline]
pub fn is_dense_at(text: &[u8], at: usize) -> bool {
    match (text.get(at), text.get(at + 1)) {
        (Some(0xe0), Some(0xb8 | 0xb9))
        | (Some(0xe3..=0xe9), _)
        | (Some(0xef), Some(0xa4..=0xab)) => true,
        (Some(0xe2), Some(second)) => *second >= 0xba,
        (Some(0xf0), Some(second)) => *second >= 0xa0,
        _ => false,
    }
}

impl Folded {
    /// Folds `text` into this, over what was here before.
    pub fn fold(&mut self, text: &str) {
        self.text.clear();
        self.steps.clear();
        self.text.reserve(text.len());
        let mut fold = Fold { out: self, source: text, tag_end: (1, 0), latin: Latin::default() };
        let mut at = 0;
        while at < text.len() {
            let plain = ascii_len(&text.as_bytes()[at..]);
            fold.ascii((at, at + plain));
            at += plain;
            while let Some(c) = text[at..].chars().next().filter(|c| !c.is_ascii()) {
                at += fold.wide(at, c);
            }
        }
    }

    /// The place in the original that `at` stands for.
    pub fn origin(&self, at: usize) -> usize {
        let before = self.steps.partition_point(|step| step.0 <= at);
        match before.checked_sub(1) {
            Some(step) => self.steps[step].1 + (at - self.steps[step].0),
            None => at,
        }
    }

    /// From the end of this text on, it runs in step with the original from `origin`.
    #[inline]
    fn step(&mut self, origin: usize) {
        let here = self.text.len();
        // No step lies behind the end.
        let last = self.steps.last().copied();
        if last.map_or(here, |(at, from)| from + (here - at)) == origin {
            return;
        }
        if last.is_some_and(|last| last.0 == here) {
            self.steps.pop();
        }
        self.steps.push((here, origin));
    }

    fn plain(&mut self, text: &str) {
        let from = self.text.len();
        self.text.push_str(text);
        self.text[from..].make_ascii_lowercase();
    }

    /// One character by itself, whatever is around.
    fn single(&mut self, c: char) {
        if is_whole(c) {
            self.text.push(c);
            return;
        }
        match Block::of(c) {
            Some((block, at)) => self.text.push_str(block.folded(at)),
            None => self.text.push(' '),
        }
    }

    /// The same without the tables.
    fn single_by_hand(&mut self, c: char) {
        let from = self.text.len();
        match (is_invisible(c), drawn(c)) {
            (true, _) => {}
            (false, _) if is_whole(c) => self.text.push(c),
            (false, Some(letter)) => self.text.push(letter),
            (false, None) => decompose_compatible(c, |part| self.part(part)),
        }
        if self.text.len() - from > GUARD_FOLDED_BYTES_MAX {
            self.text.truncate(from);
            self.text.push(' ');
        }
    }

    fn part(&mut self, c: char) {
        match c {
            c if c.is_ascii() => self.text.push(c.to_ascii_lowercase()),
            '\u{300}'..='\u{36f}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{64b}'..='\u{655}'
            | '\u{670}'
            | '\u{640}'
            | '\u{93c}'
            | '\u{5b0}'..='\u{5c7}' => {}
            '\u{964}' | '\u{965}' | '\u{3002}' | '\u{61f}' | '\u{6d4}' => self.text.push('.'),
            '\u{2018}' | '\u{2019}' | '\u{2bc}' => self.text.push('\''),
            '\u{900}'..='\u{eff}' => self.text.push(c),
            'ı' => self.text.push('i'),
            'ł' | 'Ł' => self.text.push('l'),
            'đ' | 'Đ' => self.text.push('d'),
            'ø' | 'Ø' => self.text.push('o'),
            'æ' | 'Æ' => self.text.push_str("ae"),
            'ß' => self.text.push_str("ss"),
            c if c.is_alphanumeric() => {
                self.text.extend(c.to_lowercase().filter(|c| c.is_alphanumeric()));
            }
            _ => self.text.push(' '),
        }
    }
}

/// One pass over a text.
struct Fold<'f, 't> {
    out: &'f mut Folded,
    source: &'t str,
    /// From the first of these places on, the next `>` is at the second, or a run of ASCII ends there.
    tag_end: (usize, usize),
    latin: Latin,
}

impl Fold<'_, '_> {
    fn ascii(&mut self, (mut from, end): (usize, usize)) {
        let source = self.source;
        let bytes = &source.as_bytes()[..end];
        let mut look = from;
        while let Some(found) = memchr::memchr3(b'<', b'&', b'\\', &bytes[look..]) {
            let at = look + found;
            look = at + 1;
            let written = if bytes[at] == b'<' {
                self.inline_tag(bytes, at).map(|len| (None, len))
            } else {
                escape(&bytes[at..]).map(|(letter, len)| (Some(letter), len))
            };
            let Some((letter, len)) = written else { continue };
            self.out.plain(&source[from..at]);
            if let Some(letter) = letter {
                self.out.text.push(letter.to_ascii_lowercase());
            }
            from = at + len;
            look = from;
            self.out.step(from);
        }
        self.out.plain(&source[from..end]);
    }

    /// Bytes of a tag or comment that stands inside of words without being seen.
    fn inline_tag(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        if at >= self.tag_end.0 && at < self.tag_end.1 && self.tag_end.1 == bytes.len() {
            // Not one `>` is left.
            return None;
        }
        if is_tag_name(bytes, at + 1)? {
            // What a comment says is read: that is where instructions hide. Empty ones only split words.
            let short = &bytes[at..bytes.len().min(at + COMMENT_BYTES_MAX)];
            return short.windows(3).position(|three| three == b"-->").map(|end| end + 3);
        }
        if at < self.tag_end.0 || at > self.tag_end.1 {
            let end = memchr::memchr(b'>', &bytes[at..]).map_or(bytes.len(), |len| at + len);
            self.tag_end = (at, end);
        }
        let end = self.tag_end.1;
        (end < bytes.len() && end - at < GUARD_TAG_BYTES_MAX).then_some(end - at + 1)
    }

    /// One character beyond ASCII, or a run of those that carry hidden bytes. Returns its bytes.
    #[inline]
    fn wide(&mut self, at: usize, c: char) -> usize {
        let len = match c {
            '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => self.selectors(at),
            '\u{e0020}'..='\u{e007e}' => {
                let ascii = u8::try_from(u32::from(c) - 0xe0000).unwrap_or(b' ');
                self.out.text.push(char::from(ascii.to_ascii_lowercase()));
                c.len_utf8()
            }
            c => {
                match lookalike(c).filter(|_| self.latin.is_around(self.source, at)) {
                    Some(letter) => self.out.text.push(letter),
                    None => self.single(c),
                }
                c.len_utf8()
            }
        };
        self.out.step(at + len);
        len
    }

    #[inline]
    fn single(&mut self, c: char) {
        match usual(c) {
            Some(usual) if usual & Usual::ASK == 0 => {
                let code = usual & Usual::CODE;
                let folded = char::from_u32(u32::from(code)).filter(|_| code != 0);
                self.out.text.extend(folded);
            }
            _ => self.out.single(c),
        }
    }

    /// A run of variation selectors: one belongs to the emoji before it, many are bytes in hiding.
    fn selectors(&mut self, at: usize) -> usize {
        let value = |c: char| match c {
            '\u{fe00}'..='\u{fe0f}' => u8::try_from(u32::from(c) - 0xfe00).ok(),
            '\u{e0100}'..='\u{e01ef}' => u8::try_from(u32::from(c) - 0xe0100 + 16).ok(),
            _ => None,
        };
        let run = || {
            let all = self.source[at..].chars();
            all.map_while(|c| value(c).map(|value| (value, c.len_utf8()))).take(GUARD_TAG_BYTES_MAX)
        };
        let (count, len) = run().fold((0, 0), |(count, len), (_, width)| (count + 1, len + width));
        if count < HIDDEN_BYTES_MIN {
            return len;
        }
        let bytes: Vec<u8> = run().map(|(value, _)| value).collect();
        let is_shown = |c: char| !c.is_control() || c.is_whitespace();
        if let Some(hidden) = std::str::from_utf8(&bytes).ok().filter(|it| it.chars().all(is_shown))
        {
            self.out.text.push(' ');
            self.out.plain(hidden);
            self.out.text.push(' ');
        }
        len
    }
}

/// Fewer bytes in hiding say nothing.
const HIDDEN_BYTES_MIN: usize = 4;
/// Bytes of the longest comment that is empty.
const COMMENT_BYTES_MAX: usize = 8;

/// What single characters become, of the blocks that most text is in. Filled by the way for all others.
struct Usual;

impl Usual {
    /// It becomes this character; nothing if it is 0.
    const CODE: u16 = 0x3fff;
    /// It becomes something else.
    const ASK: u16 = 0x4000;
    /// Words are made of it.
    const LETTER: u16 = 0x8000;
    /// How many have a place.
    const COUNT: usize = 0x2e00;

    #[inline]
    const fn place(c: char) -> Option<usize> {
        match c as usize {
            code @ 0..0x2c00 => Some(code),
            code @ 0x3000..0x3100 => Some(code - 0x3000 + 0x2c00),
            code @ 0xff00..=0xffff => Some(code - 0xff00 + 0x2d00),
            _ => None,
        }
    }

    fn of(c: char) -> u16 {
        let mut folded = Folded::default();
        folded.single_by_hand(c);
        let mut chars = folded.text.chars();
        let code = match (chars.next(), chars.next()) {
            (None, _) => 0,
            (Some(one), None) => u16::try_from(u32::from(one)).unwrap_or(Self::ASK),
            _ => Self::ASK,
        };
        let code = if code > Self::CODE || folded.text == "\0" { Self::ASK } else { code };
        code | if c.is_alphanumeric() || is_invisible(c) { Self::LETTER } else { 0 }
    }
}

#[inline]
fn usual(c: char) -> Option<u16> {
    static TABLE: OnceLock<Box<[u16]>> = OnceLock::new();
    let place = Usual::place(c)?;
    let table = TABLE.get_or_init(|| {
        let mut table = vec![Usual::ASK; Usual::COUNT];
        for c in
            ('\u{80}'..='\u{2bff}').chain('\u{3000}'..='\u{30ff}').chain('\u{ff00}'..='\u{ffff}')
        {
            if let Some(place) = Usual::place(c) {
                table[place] = Usual::of(c);
            }
        }
        table.into()
    });
    table.get(place).copied()
}

/// What 256 characters in a row become. Filled when one of them is first met: to ask the tables of Unicode for
/// each character takes a tenth of a microsecond, which adds up where a text is made of them.
struct Block {
    text: Box<str>,
    /// Where the text of each ends.
    ends: [u16; Block::CHARS],
    /// Words are made of it.
    letters: [bool; Block::CHARS],
    /// It is of an alphabet.
    alphabetic: [bool; Block::CHARS],
}

impl Block {
    const CHARS: usize = 256;
    /// Beyond these, and but for the plane of tags, no character has a meaning.
    const PLANES_END: usize = 0x34000;
    const TAGS: usize = 0xe0000;
    const TAGS_END: usize = 0xe0200;
    const COUNT: usize = (Self::PLANES_END + Self::TAGS_END - Self::TAGS) / Self::CHARS;

    /// The block of a character, and its place there; `None` for those that become a space.
    fn of(c: char) -> Option<(&'static Self, usize)> {
        static BLOCKS: [OnceLock<Box<Block>>; Block::COUNT] = [const { OnceLock::new() }; _];
        let code = c as usize;
        let place = match code {
            0..Self::PLANES_END => code,
            Self::TAGS..Self::TAGS_END => code - Self::TAGS + Self::PLANES_END,
            _ => return None,
        };
        let block = BLOCKS.get(place / Self::CHARS)?;
        Some((block.get_or_init(|| Self::read(code - code % Self::CHARS)), code % Self::CHARS))
    }

    fn read(from: usize) -> Box<Self> {
        let mut folded = Folded::default();
        let mut block = Box::new(Self {
            text: Box::default(),
            ends: [0; Self::CHARS],
            letters: [false; Self::CHARS],
            alphabetic: [false; Self::CHARS],
        });
        for at in 0..Self::CHARS {
            if let Some(c) = u32::try_from(from + at).ok().and_then(char::from_u32) {
                folded.single_by_hand(c);
                block.letters[at] = c.is_alphanumeric() || is_invisible(c);
                block.alphabetic[at] = c.is_alphabetic();
            }
            block.ends[at] = u16::try_from(folded.text.len()).unwrap_or(u16::MAX);
        }
        block.text = folded.text.into();
        block
    }

    #[inline]
    fn folded(&self, at: usize) -> &str {
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(usize::from(from)..usize::from(self.ends[at])).unwrap_or_default()
    }
}

/// Whether words are made of it; what cannot be seen does not end one.
#[inline]
fn is_letter(c: char) -> bool {
    match usual(c) {
        _ if c.is_ascii() => c.is_ascii_alphanumeric(),
        Some(usual) => usual & Usual::LETTER != 0,
        None => Block::of(c).is_some_and(|(block, at)| block.letters[at]),
    }
}

/// As the standard library has it, but fast.
#[inline]
pub fn is_alphabetic(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphabetic();
    }
    Block::of(c).is_some_and(|(block, at)| block.alphabetic[at])
}

/// Where the ASCII letters are that are nearest in the same word. Each character is looked at once on the way
/// there and once on the way back, however many ask.
#[derive(Clone, Copy, Debug, Default)]
struct Latin {
    /// Who asked last, and the place of the letter behind.
    asked: usize,
    behind: Option<usize>,
    /// Where what goes on ahead ends, and whether with such a letter.
    ahead: usize,
    is_ahead: bool,
}

impl Latin {
    /// Whether the word around the letter at `at` has an ASCII letter, not too far away. `at` never falls.
    fn is_around(&mut self, text: &str, at: usize) -> bool {
        for (place, c) in text[self.asked..at].char_indices().rev() {
            if c.is_ascii_alphabetic() {
                self.behind = Some(self.asked + place);
                break;
            }
            if !is_letter(c) {
                self.behind = None;
                break;
            }
        }
        self.asked = at;
        if self.ahead <= at {
            let end =
                text[at..].char_indices().find(|(_, c)| c.is_ascii_alphabetic() || !is_letter(*c));
            self.ahead = end.map_or(text.len(), |(place, _)| at + place);
            self.is_ahead = end.is_some_and(|(_, c)| c.is_ascii_alphabetic());
        }
        let is_near = |from: usize, to: usize, most: usize| {
            to - from <= 4 * GUARD_WORD_CHARS_MAX && text[from..to].chars().count() <= most
        };
        self.is_ahead && is_near(at, self.ahead, GUARD_WORD_CHARS_MAX - 1)
            || self.behind.is_some_and(|from| is_near(from, at, GUARD_WORD_CHARS_MAX))
    }
}

/// How many bytes from the start are ASCII.
fn ascii_len(bytes: &[u8]) -> usize {
    let blocks = bytes.chunks(64).take_while(|block| block.is_ascii()).count();
    let from = (blocks * 64).min(bytes.len());
    from + bytes[from..].iter().take_while(|byte| byte.is_ascii()).count()
}

/// A character that is written at the start by its number.
fn escape(bytes: &[u8]) -> Option<(char, usize)> {
    match bytes {
        [b'&', b'#', b'x' | b'X', rest @ ..] => number(rest, 16, 3),
        [b'&', b'#', rest @ ..] => number(rest, 10, 2),
        [b'\\', b'x', rest @ ..] => fixed(rest, 2),
        [b'\\', b'u', rest @ ..] => fixed(rest, 4),
        _ => None,
    }
}

/// Digits as readers of HTML take them: behind any number of zeros, and with a semicolon or without. Each is looked
/// at once, for no other number begins within it.
fn number(digits: &[u8], radix: u32, ahead: usize) -> Option<(char, usize)> {
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    let is_digit = |byte: &&u8| char::from(**byte).is_digit(radix);
    let len = digits[zeros..].iter().take(VALUE_DIGITS_MAX + 1).take_while(is_digit).count();
    let end = zeros + len;
    let (letter, _) = value(digits.get(zeros..end)?, radix)?;
    Some((letter, ahead + end + usize::from(digits.get(end) == Some(&b';'))))
}

/// No character of ASCII has more.
const VALUE_DIGITS_MAX: usize = 3;

fn fixed(digits: &[u8], len: usize) -> Option<(char, usize)> {
    let (letter, len) = value(digits.get(..len)?, 16)?;
    Some((letter, 2 + len))
}

/// ASCII that may be shown; everything else is left as it is written.
fn value(digits: &[u8], radix: u32) -> Option<(char, usize)> {
    let text = std::str::from_utf8(digits).ok()?;
    let value = u8::try_from(u32::from_str_radix(text, radix).ok()?).ok()?;
    matches!(value, b' '..=b'~').then_some((char::from(value), digits.len()))
}

/// Whether the tag whose name starts there is a comment; `None` if it is neither that nor one that is not seen.
fn is_tag_name(bytes: &[u8], at: usize) -> Option<bool> {
    const NAMES: [&[u8]; 14] = [
        b"b", b"i", b"u", b"s", b"em", b"strong", b"span", b"font", b"small", b"big", b"sub",
        b"sup", b"mark", b"wbr",
    ];
    let inner = bytes.get(at..)?;
    let inner = inner.strip_prefix(b"/").unwrap_or(inner);
    let first = inner.first()?.to_ascii_lowercase();
    let is_name = |name: &&[u8]| {
        name[0] == first
            && inner.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name))
            && matches!(inner.get(name.len()), Some(b'>' | b' ' | b'/'))
    };
    match first {
        b'!' => inner.starts_with(b"!--").then_some(true),
        b'b' | b'i' | b'u' | b's' | b'e' | b'f' | b'm' | b'w' => {
            NAMES.iter().any(is_name).then_some(false)
        }
        _ => None,
    }
}

/// The middle of what is most of a text in scripts without letters: nothing to fold.
#[inline]
fn is_whole(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{30fa}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// Characters that show nothing, or turn what follows.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e001f}' | '\u{e007f}')
}

/// Letters of other scripts that look like Latin ones.
const LOOKALIKES: &str = "аaбbвbеeёeіiїiјjкkмmнhоoрpсcтtуyхxѕsԁdԛqԝwьbһhҽeցgոnսuօoհhաwіiӏlгrпnиuзzАaВbЕeІiЈjКkМmНhОoРpСcТtУyХxЅsԌgҺhӀlαaβbεeηnιiκkνvοoρpτtυuχxωwγyσoϲcϳjАaΑaΒbΕeΖzΗhΙiΚkΜmΝnΟoΡpΤtΥyΧx";

const LOOKALIKES_FROM: usize = 0x370;

/// The same by their numbers; 0 for none.
const LOOKALIKE: [u8; 0x220] = {
    let (pairs, mut table, mut at) = (LOOKALIKES.as_bytes(), [0; 0x220], 0);
    while at < pairs.len() {
        // Two bytes each, and one of the Latin letter.
        assert!(pairs[at] >> 5 == 0b110 && pairs[at + 2].is_ascii());
        let code = ((pairs[at] as usize & 0x1f) << 6) | (pairs[at + 1] as usize & 0x3f);
        if code >= LOOKALIKES_FROM && table[code - LOOKALIKES_FROM] == 0 {
            table[code - LOOKALIKES_FROM] = pairs[at + 2];
        }
        at += 3;
    }
    table
};

#[inline]
fn lookalike(c: char) -> Option<char> {
    let letter = *LOOKALIKE.get((c as usize).wrapping_sub(LOOKALIKES_FROM))?;
    (letter != 0).then(|| char::from(letter))
}

/// Letters that exist as drawings and have no compatible form: small capitals, flags, boxes.
fn drawn(c: char) -> Option<char> {
    const SMALL: &str =
        "ᴀaʙbᴄcᴅdᴇeꜰfɢgʜhɪiᴊjᴋkʟlᴍmɴnᴏoᴘpǫqʀrꜱsᴛtᴜuᴠvᴡwʏyᴢzɑaɡgɩiʋvɐaǝeɟfɥhᴉiʞkɯmɹrʇtʌvʍwʎy";
    let in_row = |first: u32| {
        let at = u32::from(c).checked_sub(first).filter(|at| *at < 26)?;
        char::from_u32(u32::from('a') + at)
    };
    match c {
        '\u{1f1e6}'..='\u{1f1ff}' => in_row(0x1f1e6),
        '\u{1f150}'..='\u{1f169}' => in_row(0x1f150),
        '\u{1f170}'..='\u{1f189}' => in_row(0x1f170),
        '\u{1d00}'..='\u{1d25}'
        | '\u{250}'..='\u{2af}'
        | '\u{a730}'..='\u{a731}'
        | '\u{1eb}'
        | 'ǝ' => {
            let mut pairs = SMALL.chars();
            while let (Some(from), Some(to)) = (pairs.next(), pairs.next()) {
                if from == c {
                    return Some(to);
                }
            }
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn disguises_fall() {
        for disguised in [
            "IGNORE",
            "i\u{200b}g\u{2060}no\u{ad}re",
            "ｉｇｎｏｒｅ",
            "𝐢𝐠𝐧𝐨𝐫𝐞",
            "ⓘⓖⓝⓞⓡⓔ",
            "ìgnörê",
            "i\u{336}g\u{336}n\u{336}o\u{336}r\u{336}e\u{336}",
            "іgnоrе",
            "ig<b>no</b>re",
            "ig<!-- -->nore",
            "&#105;g&#x6e;ore",
            "&#0000105;g&#x00006e;ore",
            "&#105g&#x6Eore",
            "&#000000000000000000000105gnore",
            "\\x69gn\\u006fre",
            "ɪɢɴᴏʀᴇ",
            "🅸🅶🅽🅾🆁🅴",
            "\u{e0069}\u{e0067}\u{e006e}\u{e006f}\u{e0072}\u{e0065}",
        ] {
            assert_eq!(folded(disguised), "ignore", "{disguised}");
        }
        let hidden: String =
            "ignore".bytes().filter_map(|b| char::from_u32(0xe0100 + u32::from(b) - 16)).collect();
        assert_eq!(folded(&format!("😊{hidden}")).trim(), "ignore");
    }

    #[test]
    fn honest_text_stays_whole() {
        assert_eq!(folded("Привет, мир"), "привет, мир");
        assert_eq!(folded("नमस्ते"), "नमस्ते");
        assert_eq!(folded("指令を無視"), "指令を無視");
        assert_eq!(folded("Vec<u8> & \\n"), "vec<u8> & \\n");
        assert_eq!(
            folded("see &#1105; &#; &#x; &#0; and &#9"),
            "see &#1105; &#; &#x; &#0; and &#9"
        );
        assert_eq!(folded("می‌خواهم"), "میخواهم");
    }

    #[test]
    fn places_are_traced_to_the_original() {
        let mut folded = Folded::default();
        let text = "é\u{200b}é say ＩＧＮＯＲＥ it";
        folded.fold(text);
        let at = folded.text.find("ignore").unwrap();
        assert_eq!(&text[folded.origin(at)..folded.origin(at + 6)], "ＩＧＮＯＲＥ");
    }

    #[test]
    fn one_character_that_says_a_lot_says_nothing() {
        assert_eq!(folded("a㌖b ﷺ ㍿"), "a b    ");
        assert_eq!(folded("⑴ ㎏ ㌔ ﷲ ¼"), "(1) kg キロ الله 1 4");
    }

    #[test]
    fn the_table_says_what_each_character_becomes() {
        let mut alone = Folded::default();
        for c in '\u{80}'..=char::MAX {
            alone.text.clear();
            alone.single_by_hand(c);
            assert_eq!(is_letter(c), c.is_alphanumeric() || is_invisible(c), "{c:?}");
            assert_eq!(is_alphabetic(c), c.is_alphabetic(), "{c:?}");
            // Those that hide bytes are read in runs.
            let wide = matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0020}'..='\u{e007e}' | '\u{e0100}'..='\u{e01ef}');
            assert!(wide || folded(&c.to_string()) == alone.text, "{c:?}");
        }
    }

    /// Whether the word around has an ASCII letter, looked for anew.
    fn is_latin(text: &str, at: usize) -> bool {
        let letter = |c: &char| c.is_alphanumeric() || is_invisible(*c);
        let ahead = text[at..].chars().take(GUARD_WORD_CHARS_MAX).take_while(letter);
        let behind = text[..at].chars().rev().take(GUARD_WORD_CHARS_MAX).take_while(letter);
        ahead.chain(behind).any(|c| c.is_ascii_alphabetic())
    }

    #[test]
    fn a_tag_ends_within_its_bounds() {
        let far = |bytes: usize| format!("a<b {}>c", "x".repeat(bytes));
        assert_eq!(folded(&far(GUARD_TAG_BYTES_MAX - 4)), "ac");
        assert_eq!(folded(&far(GUARD_TAG_BYTES_MAX - 3)), far(GUARD_TAG_BYTES_MAX - 3));
        assert_eq!(folded("<b a<b c>d<b e>f<strong>g</strong><stronger>"), "dfg<stronger>");
        assert_eq!(folded("<b é><i x>y"), "<b e>y");
        assert_eq!(folded("a<!---->b<!-- no -->"), "ab<!-- no -->");
    }

    proptest! {
        #[test]
        fn latin_words_are_known_by_one_pass(
            parts in prop::collection::vec(prop::sample::select(vec![
                "о", "і", "a", "1", " ", "\u{200b}", "忽", "ооооооооооооооооооооооо", "11111111111",
            ]), 0..40),
        ) {
            let text = parts.concat();
            let mut latin = Latin::default();
            for (at, c) in text.char_indices().filter(|(_, c)| matches!(c, 'о' | 'і')) {
                prop_assert_eq!(latin.is_around(&text, at), is_latin(&text, at), "{} at {} {}", text, at, c);
            }
        }

        #[test]
        fn any_text_folds_within_its_bounds(text in "\\PC{0,60}[\u{fe00}-\u{fe0f}<&#x;0-9]{0,20}") {
            let mut folded = Folded::default();
            folded.fold(&text);
            for at in 0..=folded.text.len() {
                prop_assert!(folded.origin(at) <= text.len() + folded.text.len());
            }
        }
    }
}
