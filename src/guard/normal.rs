//! Text as a model reads it: one case, one width, no invisible characters, no borrowed letters.
//!
//! One pass, and for ASCII hardly that. What is hidden in codes (base64 and the like) is `decode`'s; nothing
//! here judges. Each place of the result can be traced to its place in the original.

use unicode_normalization::char::decompose_compatible;

use crate::base::limit::{GUARD_TAG_BYTES_MAX, GUARD_WORD_CHARS_MAX};

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
        let mut at = 0;
        while at < text.len() {
            let plain = ascii_len(&text.as_bytes()[at..]);
            self.ascii(text, (at, at + plain));
            at += plain;
            while let Some(c) = text[at..].chars().next().filter(|c| !c.is_ascii()) {
                at += self.wide(text, at, c);
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
    fn step(&mut self, origin: usize) {
        let here = self.text.len();
        if self.origin(here) == origin {
            return;
        }
        if self.steps.last().is_some_and(|last| last.0 == here) {
            self.steps.pop();
        }
        self.steps.push((here, origin));
    }

    fn ascii(&mut self, text: &str, (mut from, end): (usize, usize)) {
        let bytes = &text.as_bytes()[..end];
        let mut look = from;
        while let Some(found) = memchr::memchr3(b'<', b'&', b'\\', &bytes[look..]) {
            let at = look + found;
            look = at + 1;
            let Some((letter, len)) = escape(&bytes[at..]) else { continue };
            self.plain(&text[from..at]);
            if let Some(letter) = letter {
                self.text.push(letter.to_ascii_lowercase());
            }
            from = at + len;
            look = from;
            self.step(from);
        }
        self.plain(&text[from..end]);
    }

    fn plain(&mut self, text: &str) {
        let from = self.text.len();
        self.text.push_str(text);
        self.text[from..].make_ascii_lowercase();
    }

    /// One character beyond ASCII, or a run of those that carry hidden bytes. Returns its bytes.
    fn wide(&mut self, text: &str, at: usize, c: char) -> usize {
        let len = c.len_utf8();
        let len = match c {
            '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => self.selectors(&text[at..]),
            '\u{e0020}'..='\u{e007e}' => {
                let ascii = u8::try_from(u32::from(c) - 0xe0000).unwrap_or(b' ');
                self.text.push(char::from(ascii.to_ascii_lowercase()));
                len
            }
            c if is_invisible(c) => len,
            // The middle of what is most of a text in these scripts: nothing to fold.
            '\u{3041}'..='\u{30fa}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' => {
                self.text.push(c);
                len
            }
            c => {
                match lookalike(c).filter(|_| in_latin_word(text, at)).or_else(|| drawn(c)) {
                    Some(letter) => self.text.push(letter),
                    None => decompose_compatible(c, |part| self.part(part)),
                }
                len
            }
        };
        self.step(at + len);
        len
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

    /// A run of variation selectors: one belongs to the emoji before it, many are bytes in hiding.
    fn selectors(&mut self, text: &str) -> usize {
        let value = |c: char| match c {
            '\u{fe00}'..='\u{fe0f}' => u8::try_from(u32::from(c) - 0xfe00).ok(),
            '\u{e0100}'..='\u{e01ef}' => u8::try_from(u32::from(c) - 0xe0100 + 16).ok(),
            _ => None,
        };
        let run = text.chars().map_while(|c| value(c).map(|value| (value, c.len_utf8())));
        let (mut bytes, mut len) = (Vec::new(), 0);
        for (value, width) in run.take(GUARD_TAG_BYTES_MAX) {
            bytes.push(value);
            len += width;
        }
        let hidden = std::str::from_utf8(&bytes).ok().filter(|text| {
            text.len() >= 4 && text.chars().all(|c| !c.is_control() || c.is_whitespace())
        });
        if let Some(hidden) = hidden {
            self.text.push(' ');
            self.plain(hidden);
            self.text.push(' ');
        }
        len
    }
}

/// How many bytes from the start are ASCII.
fn ascii_len(bytes: &[u8]) -> usize {
    let blocks = bytes.chunks(64).take_while(|block| block.is_ascii()).count();
    let from = (blocks * 64).min(bytes.len());
    from + bytes[from..].iter().take_while(|byte| byte.is_ascii()).count()
}

/// What is written at the start in another way: an inline tag (nothing), a character by its number.
fn escape(bytes: &[u8]) -> Option<(Option<char>, usize)> {
    match bytes {
        [b'<', ..] => inline_tag(bytes).map(|len| (None, len)),
        [b'&', b'#', b'x' | b'X', rest @ ..] => number(rest, 16, 3),
        [b'&', b'#', rest @ ..] => number(rest, 10, 2),
        [b'\\', b'x', rest @ ..] => fixed(rest, 2),
        [b'\\', b'u', rest @ ..] => fixed(rest, 4),
        _ => None,
    }
}

/// Digits up to a semicolon.
fn number(digits: &[u8], radix: u32, ahead: usize) -> Option<(Option<char>, usize)> {
    let len = digits.iter().take(7).position(|byte| *byte == b';')?;
    let (letter, _) = value(digits.get(..len)?, radix)?;
    Some((Some(letter), ahead + len + 1))
}

fn fixed(digits: &[u8], len: usize) -> Option<(Option<char>, usize)> {
    let (letter, len) = value(digits.get(..len)?, 16)?;
    Some((Some(letter), 2 + len))
}

/// ASCII that may be shown; everything else is left as it is written.
fn value(digits: &[u8], radix: u32) -> Option<(char, usize)> {
    let text = std::str::from_utf8(digits).ok()?;
    let value = u8::try_from(u32::from_str_radix(text, radix).ok()?).ok()?;
    matches!(value, b' '..=b'~').then_some((char::from(value), digits.len()))
}

/// Bytes of a tag or comment that stands inside of words without being seen.
fn inline_tag(bytes: &[u8]) -> Option<usize> {
    const NAMES: [&[u8]; 15] = [
        b"b", b"i", b"u", b"s", b"em", b"strong", b"span", b"font", b"small", b"big", b"sub",
        b"sup", b"mark", b"wbr", b"!--",
    ];
    let inner = bytes.get(1..)?;
    let inner = inner.strip_prefix(b"/").unwrap_or(inner);
    let lower: Vec<u8> = inner.iter().take(6).map(u8::to_ascii_lowercase).collect();
    let name = NAMES.into_iter().find(|name| {
        lower.starts_with(name)
            && (name == b"!--" || matches!(lower.get(name.len()), Some(b'>' | b' ' | b'/')))
    })?;
    let within = bytes.get(..GUARD_TAG_BYTES_MAX).unwrap_or(bytes);
    if name == b"!--" {
        // What a comment says is read: that is where instructions hide. Empty ones only split words.
        let len = memchr::memmem::find(within, b"-->")? + 3;
        return (len <= 8).then_some(len);
    }
    memchr::memchr(b'>', within).map(|end| end + 1)
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

fn lookalike(c: char) -> Option<char> {
    if !matches!(c, '\u{370}'..='\u{58f}') {
        return None;
    }
    let mut pairs = LOOKALIKES.chars();
    while let (Some(from), Some(to)) = (pairs.next(), pairs.next()) {
        if from == c {
            return Some(to);
        }
    }
    None
}

/// Whether the word around has an ASCII letter.
fn in_latin_word(text: &str, at: usize) -> bool {
    let is_letter = |c: &char| c.is_alphanumeric() || is_invisible(*c);
    let ahead = text[at..].chars().take(GUARD_WORD_CHARS_MAX).take_while(is_letter);
    let behind = text[..at].chars().rev().take(GUARD_WORD_CHARS_MAX).take_while(is_letter);
    ahead.chain(behind).any(|c| c.is_ascii_alphabetic())
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

    proptest! {
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
