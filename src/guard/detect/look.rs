//! Looking at text of which the rest may be still to come. Every answer is either sure or `Wait`: a verifier
//! that gets `Wait` is asked again when there is more, and then decides as if it had seen everything at once.

use super::proof::{Body, LEFT, Page};

/// The text does not reach far enough to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait;

/// An answer, or that it cannot be given yet.
pub type Sight<T> = Result<T, Wait>;

/// A class of characters; all are ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// `0-9`
    Digit,
    /// `0-9a-f`
    LowerHex,
    /// `0-9A-Fa-f`
    Hex,
    /// `A-Z0-9`
    Upper,
    /// `A-Za-z0-9`
    Alnum,
    /// `A-Za-z0-9_-`: base64 for URLs.
    Word,
    /// `A-Za-z0-9+/`: base64.
    Base64,
    /// `A-Za-z0-9.%_-/`: the path of a URL.
    Path,
    /// What a URL or a connection string may hold.
    Url,
    /// What a user name in a URL may hold.
    User,
    /// A password between quotes.
    Quoted,
    /// A password without quotes.
    Bare,
    /// The inside of a PEM block, and its last line.
    Pem,
    /// The local part of an e-mail address.
    Local,
    /// Blank, tabulator, line ends.
    Space,
}

const MEMBERS: [u16; 256] = members();

const fn members() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte as usize] = classes_of(byte);
        byte += 1;
    }
    table
}

const fn classes_of(byte: u8) -> u16 {
    let alnum = byte.is_ascii_alphanumeric();
    let upper = byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let graph = byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'`' | b'\\');
    let url = graph && !matches!(byte, b'<' | b'>');
    let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    bit(Class::Digit, byte.is_ascii_digit())
        | bit(Class::LowerHex, byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
        | bit(Class::Hex, byte.is_ascii_hexdigit())
        | bit(Class::Upper, upper)
        | bit(Class::Alnum, alnum)
        | bit(Class::Word, alnum || matches!(byte, b'_' | b'-'))
        | bit(Class::Base64, alnum || matches!(byte, b'+' | b'/'))
        | bit(Class::Path, alnum || matches!(byte, b'.' | b'%' | b'_' | b'-' | b'/'))
        | bit(Class::Url, url)
        | bit(Class::User, alnum || matches!(byte, b'.' | b'%' | b'_' | b'-' | b'+' | b'~'))
        | bit(Class::Quoted, graph)
        | bit(Class::Bare, alnum || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-' | b'!' | b'#'))
        | bit(Class::Pem, alnum || space || is_pem_mark(byte))
        | bit(Class::Local, alnum || matches!(byte, b'.' | b'%' | b'_' | b'-' | b'+'))
        | bit(Class::Space, space)
}

const fn is_pem_mark(byte: u8) -> bool {
    matches!(
        byte,
        b'-' | b'+' | b'/' | b'=' | b'\\' | b':' | b',' | b'.' | b'"' | b'\'' | b'(' | b')' | b'<'
    ) || is_quote_mark(byte)
}

/// What people put before each line of a text that they quote, or put into a comment or a table.
pub const fn is_quote_mark(byte: u8) -> bool {
    matches!(byte, b'>' | b'#' | b'*' | b'|')
}

const fn bit(class: Class, is_member: bool) -> u16 {
    (is_member as u16) << class as u16
}

/// Whether a byte belongs to one of some classes, which are bits of `Class::bit`.
pub const fn is_of(classes: u16, byte: u8) -> bool {
    MEMBERS[byte as usize] & classes != 0
}

impl Class {
    /// Its bit in a set of classes.
    pub const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Whether a byte belongs to it.
    pub const fn has(self, byte: u8) -> bool {
        MEMBERS[byte as usize] & (1 << self as u16) != 0
    }
}

/// How many words are looked for inside of something: ends of keys, and what keys and URLs hold.
const SOUGHT: usize = 3;

/// A part of a run that has been walked: everything from `from` to `to` is of the class.
#[derive(Clone, Copy, Debug)]
struct Known {
    class: Class,
    from: usize,
    to: usize,
    /// It ends there.
    is_whole: bool,
}

/// The runs walked lately. Candidates that lie in one run ask for its end again and again; without this
/// they would walk it as often. Who reads at another place has its own: else each would make the other forget.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    known: Vec<Known>,
    /// Which one was asked for last; it is asked for again most of the time.
    last: usize,
    /// The words looked for lately, each for itself.
    sought: [Option<Sought>; SOUGHT],
    /// The body that was judged last.
    body: Option<Body>,
}

/// How many runs of a class are remembered: as many long ones as a form has one after another.
const fn room(class: Class) -> usize {
    if matches!(class, Class::Word) { 3 } else { 1 }
}

/// A part of the text in which words were looked for: none of it holds them before `at`.
#[derive(Clone, Copy, Debug)]
struct Sought {
    words: &'static str,
    from: usize,
    to: usize,
    at: Option<usize>,
}

impl Runs {
    /// How many bytes of the run that was asked for last follow from a place on, if that is known already.
    #[inline]
    fn known_length(&self, class: Class, from: usize, most: usize) -> Option<usize> {
        let known = self.known.get(self.last)?;
        let is_in = known.class == class && known.from <= from && from < known.to;
        let length = known.to.wrapping_sub(from);
        (is_in && (known.is_whole || length >= most)).then(|| length.min(most))
    }

    fn find(&mut self, class: Class, from: usize) -> &mut Known {
        let fresh = Known { class, from, to: from, is_whole: false };
        let holds = |known: &Known| known.class == class && (known.from..=known.to).contains(&from);
        let at = self.known.iter().position(holds);
        self.last = at.unwrap_or_else(|| self.replace(fresh));
        if self.last == self.known.len() {
            self.known.push(fresh);
        }
        &mut self.known[self.last]
    }

    /// Where a run is put. If there is no room, the one of its class that ends first goes: candidates go from left
    /// to right, so it is the least likely to be asked for.
    fn replace(&mut self, fresh: Known) -> usize {
        let same = self.known.iter().enumerate().filter(|(_, it)| it.class == fresh.class);
        if same.clone().count() < room(fresh.class) {
            return self.known.len();
        }
        let at = same.min_by_key(|(_, it)| it.to).map_or(self.known.len(), |(at, _)| at);
        if let Some(known) = self.known.get_mut(at) {
            *known = fresh;
        }
        at
    }
}

/// Bytes of the longest body that is read again rather than remembered for longer ones.
const SHORT_BODY: usize = 64;
/// Digits and semicolons of the longest colour: `38;2;255;255;255`, and an attribute.
const COLOUR_MAX: usize = 20;
/// Literals that begin together end no further from one another.
const NEAR: usize = 8;

/// The text as far as it is known. Places count from the beginning of the whole text.
pub struct Look<'a> {
    /// What is kept of the text.
    pub text: &'a [u8],
    /// The place of its first byte.
    pub base: usize,
    /// Nothing follows.
    pub is_last: bool,
    /// The runs walked so far.
    pub runs: &'a mut Runs,
}

impl Look<'_> {
    /// Where the known text ends.
    pub fn end(&self) -> usize {
        self.base + self.text.len()
    }

    /// The byte at a place; `None` = the whole text ends there.
    pub fn at(&self, place: usize) -> Sight<Option<u8>> {
        match self.text.get(place - self.base) {
            Some(byte) => Ok(Some(*byte)),
            None if self.is_last => Ok(None),
            None => Err(Wait),
        }
    }

    /// Whether a byte of the class stands at a place.
    pub fn is(&self, class: Class, place: usize) -> Sight<bool> {
        Ok(self.at(place)?.is_some_and(|byte| class.has(byte)))
    }

    /// The byte `back` bytes before a place; `None` before the beginning.
    pub fn before(&self, place: usize, back: usize) -> Option<u8> {
        self.text.get((place - self.base).checked_sub(back)?).copied()
    }

    /// The known bytes of a span.
    pub fn span(&self, from: usize, to: usize) -> &[u8] {
        self.text.get(from - self.base..to - self.base).unwrap_or_default()
    }

    /// What is known from a place on, `most` bytes of it.
    pub fn ahead(&self, from: usize, most: usize) -> &[u8] {
        let rest = self.text.get(from - self.base..).unwrap_or_default();
        rest.get(..most).unwrap_or(rest)
    }

    /// Whether these words stand at a place. A difference is seen as soon as there is one.
    pub fn says(&self, place: usize, words: &str) -> Sight<bool> {
        let seen = self.ahead(place, words.len());
        if seen.len() == words.len() || !words.as_bytes().starts_with(seen) {
            return Ok(seen == words.as_bytes());
        }
        if self.is_last { Ok(false) } else { Err(Wait) }
    }

    /// How many bytes of the class follow from a place on; no more than `most` are counted.
    #[inline]
    pub fn run(&mut self, class: Class, from: usize, most: usize) -> Sight<usize> {
        match self.runs.known_length(class, from, most) {
            Some(length) => Ok(length),
            None => self.walk(class, from, most),
        }
    }

    #[inline(never)]
    fn walk(&mut self, class: Class, from: usize, most: usize) -> Sight<usize> {
        if !self.is(class, from)? {
            return Ok(0);
        }
        let known = self.runs.find(class, from);
        let far = from + most;
        if known.to < far && !known.is_whole {
            let rest = self.text.get(known.to - self.base..).unwrap_or_default();
            let wanted = far - known.to;
            let more = rest.iter().take(wanted).take_while(|byte| class.has(**byte)).count();
            known.to += more;
            if more < wanted {
                known.is_whole = more < rest.len() || self.is_last;
                return if known.is_whole { Ok(known.to - from) } else { Err(Wait) };
            }
        }
        Ok(most.min(known.to - from))
    }

    /// The same, if it is known already.
    #[inline]
    pub fn known_run(&self, class: Class, from: usize, most: usize) -> Option<usize> {
        self.runs.known_length(class, from, most)
    }

    /// The same without remembering anything: for runs that are short, and that nobody asks for again.
    pub fn few(&self, class: Class, from: usize, most: usize) -> Sight<usize> {
        let seen = self.ahead(from, most);
        let count = seen.iter().take_while(|byte| class.has(**byte)).count();
        let is_known = count < seen.len() || seen.len() == most || self.is_last;
        if is_known { Ok(count) } else { Err(Wait) }
    }

    /// Where these words stand first in the run of the class that begins at `from`, of which no more than `most`
    /// bytes are looked at.
    pub fn first(
        &mut self,
        words: &'static str,
        (class, from, most): (Class, usize, usize),
    ) -> Sight<Option<usize>> {
        let run = self.run(class, from, most);
        let to = run.map_or(self.end(), |length| from + length);
        match self.seek(words, from, to) {
            Some(at) => Ok(Some(at)),
            None => run.map(|_| None),
        }
    }

    /// Where these words stand first between two places. What was looked through for a place further left is not
    /// looked through again.
    pub fn seek(&mut self, words: &'static str, from: usize, to: usize) -> Option<usize> {
        let known = self.runs.sought.iter().position(|it| it.is_some_and(|it| it.words == words));
        let slot = known.or_else(|| self.runs.sought.iter().position(Option::is_none)).unwrap_or(0);
        let known = self.runs.sought[slot].filter(|it| {
            it.words == words
                && it.from <= from
                && from <= it.to
                && it.at.is_none_or(|at| from <= at)
        });
        let mut sought = known.unwrap_or(Sought { words, from, to: from, at: None });
        if sought.at.is_none() && sought.to < to {
            let start = (sought.to + 1).saturating_sub(words.len()).max(from);
            let found = memchr::memmem::find(self.span(start, to), words.as_bytes());
            sought = Sought { to, at: found.map(|at| start + at), ..sought };
        }
        self.runs.sought[slot] = Some(sought);
        sought.at.filter(|at| at + words.len() <= to)
    }

    /// Whether the body that lies there is varied enough, and no example.
    pub fn is_varied(&mut self, from: usize, to: usize) -> bool {
        let (page, body) = self.body(from, to);
        body.is_varied(page, from)
    }

    /// Whether a part of it mixes letters and digits.
    pub fn has_mixed_part(&mut self, from: usize, to: usize) -> bool {
        let (page, body) = self.body(from, to);
        body.has_mixed_part(page, from)
    }

    /// Whether it could be a password without quotes.
    pub fn is_noisy(&mut self, from: usize, to: usize) -> bool {
        let (page, body) = self.body(from, to);
        body.is_noisy(page, from)
    }

    /// What is known of the body that lies there, and the text with no more to its left than there always is.
    /// Beginnings of one body follow one another, and those that come together begin near by.
    fn body(&mut self, from: usize, to: usize) -> (Page<'_>, &mut Body) {
        let is_kept = |body: &&Body| self.base <= body.from().saturating_sub(LEFT);
        let known = self.runs.body.as_ref().filter(|body| body.covers(from, to)).filter(is_kept);
        let near = if to - from > SHORT_BODY { NEAR } else { 0 };
        let begin = known.map_or(from.saturating_sub(near).max(self.base), Body::from);
        let base = begin.saturating_sub(LEFT).max(self.base);
        let page = Page { text: self.text.get(base - self.base..).unwrap_or_default(), base };
        if known.is_none() {
            self.runs.body = None;
        }
        (page, self.runs.body.get_or_insert_with(|| Body::of(page, begin, to)))
    }

    /// Whether a word could begin here, as far as the left is concerned. Escapes count as space: in
    /// `\nsk-...` the `n` is no letter, and neither is `3D` in `%3Dsk-...`, nor `0022` in `\u0022sk-...`; so no word
    /// begins with that `n`.
    pub fn is_word_edge(&self, place: usize) -> bool {
        let Some(byte) = self.before(place, 1) else { return true };
        let before = self.before(place, 2);
        if byte == b'\\' {
            return before == Some(b'\\') || !matches!(self.ahead(place, 1), [b'n' | b'r' | b't']);
        }
        if !byte.is_ascii_alphanumeric() {
            return true;
        }
        matches!(byte, b'n' | b'r' | b't') && before == Some(b'\\')
            || self.is_behind_code(place)
            || byte == b'm' && self.is_behind_colour(place)
    }

    /// Whether what ends on the left sets a colour in a terminal: `ESC[1;32m`.
    fn is_behind_colour(&self, place: usize) -> bool {
        let is_number = |back: &usize| {
            self.before(place, *back).is_some_and(|byte| byte.is_ascii_digit() || byte == b';')
        };
        let digits = (2..2 + COLOUR_MAX).take_while(is_number).count();
        self.before(place, 2 + digits) == Some(b'[') && self.before(place, 3 + digits) == Some(0x1b)
    }

    /// Whether the digits on the left are those of a character that is written by its number: `%3D`, `\x3d`, `\u003d`.
    fn is_behind_code(&self, place: usize) -> bool {
        let is_digit = |back| self.before(place, back).is_some_and(|b| b.is_ascii_hexdigit());
        let says = |back, letter| self.before(place, back) == Some(letter);
        is_digit(1)
            && is_digit(2)
            && (says(3, b'%')
                || says(3, b'x') && says(4, b'\\')
                || says(5, b'u') && says(6, b'\\') && is_digit(3) && is_digit(4))
    }

    /// Whether this is the second hyphen of some that are glued to a word.
    pub fn is_dash_edge(&self, place: usize) -> bool {
        self.before(place, 1) == Some(b'-')
            && self.before(place, 2).is_some_and(|b| b.is_ascii_alphanumeric())
            && !self.is_word_edge(place - 1)
    }

    /// Whether a number of its own could begin here: not the inside of a name, of a decimal fraction or
    /// of something with hyphens.
    pub fn is_number_edge(&self, place: usize) -> bool {
        // In long numbers, nearly always.
        let is_digit = |back| self.before(place, back).is_some_and(|b| b.is_ascii_digit());
        if is_digit(1) && !self.is_behind_code(place) {
            return false;
        }
        if !self.is_word_edge(place) {
            return false;
        }
        let before = self.before(place, 2);
        match self.before(place, 1) {
            Some(b'_' | b'$') => false,
            Some(b'.') => !before.is_some_and(|b| b.is_ascii_digit()),
            Some(b'-' | b'+' | b'/') => !before.is_some_and(|b| b.is_ascii_alphanumeric()),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORDS: &str = "aba";

    fn first(text: &str, from: usize, runs: &mut Runs, is_last: bool) -> Sight<Option<usize>> {
        let mut look = Look { text: text.as_bytes(), base: 0, is_last, runs };
        look.first(WORDS, (Class::Alnum, from, 12))
    }

    /// The same without anything remembered.
    fn wanted(text: &str, from: usize) -> Option<usize> {
        let run = text[from..].bytes().take(12).take_while(u8::is_ascii_alphanumeric).count();
        text[from..from + run].find(WORDS).map(|at| from + at)
    }

    proptest! {
        #[test]
        fn words_are_found_first_whatever_was_looked_for_before(
            text in "[ab ]{0,40}", cuts in prop::collection::vec(0_usize..41, 0..6),
        ) {
            let (mut runs, mut cuts) = (Runs::default(), cuts);
            cuts.sort_unstable();
            for end in cuts {
                let seen = &text[..end.min(text.len())];
                for from in 0..=seen.len() {
                    if let Ok(found) = first(seen, from, &mut runs, false) {
                        prop_assert_eq!(found, wanted(&text, from), "{} {}", seen, from);
                    }
                }
            }
            for from in 0..=text.len() {
                prop_assert_eq!(first(&text, from, &mut runs, true), Ok(wanted(&text, from)));
            }
        }
    }
}
