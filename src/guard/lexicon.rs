//! Words and the ideas that they stand for, in some thirty languages: what lets one rule, and one trained
//! weight, hold for a translation that nobody has seen.
//!
//! The table itself is `lexicon.txt`. Nothing here judges; text must have been folded by `normal`.

use std::sync::OnceLock;

use crate::guard::normal;

/// The ideas, in the order of their numbers (from 1; 0 is none).
pub const IDEAS: [&str; 77] = [
    "IGNORE", "BYPASS", "PREV", "INSTR", "SYSTEM", "PROMPT", "REVEAL", "SHOW", "VERBATIM",
    "HIDDEN", "PASSWORD", "ACT", "UNREST", "DAN", "MODE", "FILTER", "NOW", "ONLY", "NEW", "YOU",
    "YOUR", "ME", "ALL", "NOT", "ANSWER", "STOP", "FOLLOW", "ATTEND", "TEXT", "AI", "MAKER",
    "ADMIN", "CHAR", "SEND", "EXEC", "IMPORT", "RESET", "BEGIN", "PWNED", "REFUSE", "ANYTHING",
    "FREE", "CONFIG", "INSTEAD", "ENCODE", "ILLEGAL", "TOOL", "SILENT", "DESTROY", "MARK", "HUMAN",
    "PROMISE", "ACCESS", "ROTCUE", "HYPO", "LETTER", "CORRECT", "NEXT", "STAY", "BOUND", "MUST",
    "EVIL", "DATA", "ASK", "WHEN", "NAMED", "DUAL", "FEEL", "PUNISH", "GAME", "LAW", "LIE",
    "INSULT", "SHAPE", "LABEL", "COMPLY", "JOB",
];

/// Buckets of the index, a power of two: some 6,000 entries leave half of them empty.
const BUCKETS: usize = 8_192;

/// The number of an idea by its name; 0 if there is none of that name.
pub const fn idea(name: &str) -> u8 {
    if is_same(name, "REVCUE") {
        return REVCUE;
    }
    let mut at = 0;
    while at < IDEAS.len() {
        if is_same(name, IDEAS[at]) {
            #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 127")]
            return at as u8 + 1;
        }
        at += 1;
    }
    0
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// Beyond the ideas that rules know: words that read as such when they are reversed.
pub const REVCUE: u8 = 127;
/// Words of a text that was turned by 13 letters, or that announce one.
pub const ROTCUE: u8 = 54;

struct Entry {
    text: Box<[u8]>,
    idea: u8,
    /// Any ending may follow.
    is_stem: bool,
    /// Of a language without spaces: it may stand inside a run of letters.
    is_dense: bool,
    kind: Kind,
}

/// How an entry is compared with what stands in a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Its head is all of it.
    Head,
    /// All of it, byte by byte.
    Whole,
    /// There is white space in it, which stands for a few bytes of any gap.
    Gaps,
}

/// How entries start, apart from them and side by side: of a hundred in a row hardly one is looked at closer.
#[derive(Clone, Copy)]
struct Head {
    /// The first eight bytes up to a gap; zeros behind it.
    bytes: u64,
    /// Which of them count: those that it has, and the one behind, where the word has to end.
    mask: u64,
    /// The length of an entry that stands where its head does; 0 for those that have to be looked at.
    len: u8,
    idea: u8,
}

/// Of an entry of several words the bytes of its first word, and the first byte behind the gap; 0 for others.
type First = (u8, u8);

/// The table with its index by the first three bytes.
pub struct Lexicon {
    /// By bucket; those of several words first, since they are longer than any other that stands at their place.
    entries: Vec<Entry>,
    heads: Box<[Head]>,
    firsts: Box<[First]>,
    buckets: Box<[Bucket]>,
    /// For buckets of which each entry starts with a letter that stands alone: a bit for each letter that may
    /// follow. All bits for other buckets.
    seconds: Box<[u32]>,
}

/// Entries that start alike.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    from: u16,
    /// Up to there they have several words.
    several_to: u16,
    to: u16,
    /// A bit for each fourth byte that one of them may have (`fourth_bit`). Nearly all words end here.
    fourths: u32,
    /// A bit for each first byte of a second word.
    nexts: u32,
}

/// What was found at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The number of the idea.
    pub idea: u8,
    /// Where the matched entry ends; the word itself may go on.
    pub end: usize,
}

/// The table, read once.
pub fn lexicon() -> &'static Lexicon {
    static LEXICON: OnceLock<Lexicon> = OnceLock::new();
    LEXICON.get_or_init(|| Lexicon::read(include_str!("lexicon.txt"), |text| text))
}

/// The same table for words written with figures for letters: `i` and `l` are one, since `1` stands for both.
pub fn figured() -> &'static Lexicon {
    static LEXICON: OnceLock<Lexicon> = OnceLock::new();
    LEXICON
        .get_or_init(|| Lexicon::read(include_str!("lexicon.txt"), |text| text.replace('i', "l")))
}

impl Lexicon {
    fn read(table: &str, change: impl Fn(String) -> String) -> Self {
        let mut entries = Vec::new();
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, words)) = line.split_once('|') else { continue };
            let idea = idea(name.trim());
            entries.extend(words.split_whitespace().map(|word| entry(word, idea, &change)));
        }
        entries.sort_by_key(|entry| {
            (bucket(&entry.text, 0), !entry.is_several(), std::cmp::Reverse(entry.text.len()))
        });
        let mut buckets: Box<[Bucket]> = vec![Bucket::default(); BUCKETS].into();
        for (at, entry) in (0u16..).zip(&entries) {
            let range = &mut buckets[bucket(&entry.text, 0)];
            if range.to == 0 {
                (range.from, range.several_to) = (at, at);
            }
            range.to = at + 1;
            range.several_to += u16::from(entry.is_several());
            if entry.is_several() {
                range.nexts |= fourth_bit(Some(entry.first().1));
            }
            range.fourths |= if entry.is_mark() { entry.letters() } else { entry.fourths() };
        }
        let mut seconds: Box<[u32]> = vec![0; BUCKETS].into();
        for entry in &entries {
            let first = entry.first();
            let letter = (first.0 == 1).then_some(first.1);
            seconds[bucket(&entry.text, 0)] |= letter.map_or(u32::MAX, |it| fourth_bit(Some(it)));
        }
        let (heads, firsts) = (entries.iter().map(Entry::head), entries.iter().map(Entry::first));
        Self { heads: heads.collect(), firsts: firsts.collect(), entries, buckets, seconds }
    }

    /// The longest entry that stands in `text` at `at`, which must be the start of a word.
    #[inline]
    pub fn find(&self, text: &[u8], at: usize) -> Option<Found> {
        let rest = text.get(at..).unwrap_or_default();
        self.find_word(text, at, rest.iter().take(8).take_while(|byte| is_word(**byte)).count())
    }

    /// The same, where it is known how many bytes from there on are of words; 8 if they are more.
    #[inline]
    pub fn find_word(&self, text: &[u8], at: usize, len: usize) -> Option<Found> {
        let place = bucket(text, at);
        let bucket = self.buckets[place];
        if bucket.fourths & fourth_bit(text.get(at + 3).copied()) == 0 {
            return None;
        }
        // Letters that stand alone: nearly all end here.
        if let Some([_, gap, next, ..]) = text.get(at..)
            && !is_word(*gap)
            && is_word(*next)
            && self.seconds[place] & fourth_bit(Some(*next)) == 0
        {
            return None;
        }
        self.find_in(
            bucket,
            (text, at),
            head(text.get(at..).unwrap_or_default()) & first_bytes(len),
        )
    }

    /// Whether an entry may start with these four bytes.
    #[inline]
    pub fn may_start(&self, four: &[u8]) -> bool {
        self.buckets[bucket(four, 0)].fourths & fourth_bit(four.get(3).copied()) != 0
    }

    fn find_in(&self, bucket: Bucket, (text, at): (&[u8], usize), head: u64) -> Option<Found> {
        let single = usize::from(bucket.several_to);
        // A word that is wholly in the head ends where that does.
        let ends = usize::try_from(head.leading_zeros() / 8).unwrap_or(0);
        let may_be_several = bucket.from < bucket.several_to
            && (ends == 0
                || !is_word(text[at])
                || behind_gap(text, at + 8 - ends)
                    .is_some_and(|next| bucket.nexts & fourth_bit(Some(next)) != 0));
        if may_be_several && let Some(found) = self.find_several(bucket, (text, at), head) {
            return Some(found);
        }
        let others = self.heads.get(single..usize::from(bucket.to))?.iter().enumerate();
        let mut alike = others.filter(|(_, start)| start.is_of(head));
        alike.find_map(|(place, start)| match start.len {
            0 => self.entries[single + place].stands(text, at),
            len => Some(Found { idea: start.idea, end: at + usize::from(len) }),
        })
    }

    /// The same among those of several words.
    fn find_several(&self, bucket: Bucket, (text, at): (&[u8], usize), head: u64) -> Option<Found> {
        let (from, to) = (usize::from(bucket.from), usize::from(bucket.several_to));
        // Behind the gap of entries whose first words are as long: that many bytes, and what follows it.
        let mut behind = (0, None);
        let several = self.firsts.get(from..to)?.iter().zip(&self.heads[from..to]);
        for (place, ((len, byte), start)) in several.enumerate() {
            if behind.0 != *len {
                behind = (*len, behind_gap(text, at + usize::from(*len)));
            }
            if behind.1 == Some(*byte)
                && start.is_of(head)
                && let Some(found) = self.entries[from + place].stands(text, at)
            {
                return Some(found);
            }
        }
        None
    }

    /// Where the longest entry of three letters and more ends that starts there, whatever follows it.
    pub fn find_start(&self, text: &[u8], at: usize) -> Option<usize> {
        let bucket = self.buckets[bucket(text, at)];
        let all = usize::from(bucket.from)..usize::from(bucket.to);
        let (first, head) = (all.start, head(&text[at..]));
        let alike = self.heads.get(all)?.iter().enumerate().filter(|(_, start)| start.begins(head));
        let mut ends = alike.map(|(place, _)| &self.entries[first + place].text);
        ends.find(|entry| entry.len() >= 3 && text[at..].starts_with(entry))
            .map(|entry| at + entry.len())
    }

    /// As `find`, for marks of a template, which start with a byte that no word starts with. Nearly all end at
    /// the first letters behind them.
    pub fn find_mark(&self, text: &[u8], at: usize) -> Option<Found> {
        let bucket = self.buckets[bucket(text, at)];
        let ahead = text.get(at + 1..)?;
        let letter = ahead.iter().take(MARK_BYTES).position(|byte| is_word(*byte))?;
        if bucket.fourths & pair_bit(ahead[letter], ahead.get(letter + 1).copied()) == 0 {
            return None;
        }
        self.find_in(bucket, (text, at), head(text.get(at..)?))
    }
}

/// Bytes behind the first of a mark within which its first letter is: `##`, and a gap.
const MARK_BYTES: usize = 6;

fn entry(word: &str, idea: u8, change: &impl Fn(String) -> String) -> Entry {
    let (word, is_stem) = word.strip_suffix('*').map_or((word, false), |stem| (stem, true));
    let spaced = if word.starts_with(['<', '[', '#']) && !word.contains(' ') && word != "###" {
        word.replacen("###_", "### ", 1)
    } else {
        word.trim_end_matches('_').replace('_', " ")
    };
    let text = change(normal::folded(&spaced)).into_bytes();
    let is_dense = text.first().is_some_and(|byte| *byte >= 0xe0) && normal::is_dense_at(&text, 0);
    // Endings are written onto the word in these scripts: Korean always, Arabic and Indic where it is long.
    let is_stem = is_stem
        || matches!(text.first(), Some(0xea..=0xed)) && !is_dense
        || text.len() >= 8 && matches!(text.first(), Some(0xd8..=0xdb | 0xe0));
    let is_mark = matches!(text.first(), Some(b'<' | b'[' | b'#'));
    let has_gaps = text.contains(&b' ');
    let is_one = is_mark || text.iter().all(|byte| is_word(*byte));
    let kind = match text.len() {
        _ if has_gaps => Kind::Gaps,
        ..=8 if is_one => Kind::Head,
        _ => Kind::Whole,
    };
    Entry { text: text.into(), idea, is_stem, is_dense: is_dense || is_mark, kind }
}

/// The byte behind the gap that starts there, if one does.
fn behind_gap(text: &[u8], at: usize) -> Option<u8> {
    match gap(text, at)? {
        0 => None,
        len => text.get(at + len).copied(),
    }
}

/// White space of an entry stands for up to three bytes that are no letters: how many there are.
#[inline]
fn gap(text: &[u8], at: usize) -> Option<usize> {
    Some(text.get(at..)?.iter().take(3).take_while(|byte| !is_word(**byte)).count())
}

/// Bytes that words are made of, in folded text.
pub const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// The byte itself if words are made of it, otherwise 0.
const LETTERS: [u8; 256] = {
    let mut letters = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let it = byte as u8;
        letters[byte] = if is_word(it) { it } else { 0 };
        byte += 1;
    }
    letters
};

#[inline]
fn bucket(text: &[u8], at: usize) -> usize {
    let letter = |byte: u8| usize::from(LETTERS[usize::from(byte)]);
    let [one, two, three] = match text.get(at..) {
        // Many marks start alike, so that both bytes count.
        Some([one @ (b'<' | b'[' | b'#'), two, ..]) => {
            return (usize::from(*one).wrapping_mul(1_087) ^ usize::from(*two).wrapping_mul(67))
                & (BUCKETS - 1);
        }
        // Of letters of two bytes, the first byte says little.
        Some([one @ 0xc2..=0xdf, two, three, rest @ ..]) if is_word(*three) => {
            [*one, *two, rest.first().map_or(0, |four| LETTERS[usize::from(*four)])]
                .map(usize::from)
        }
        Some([one, two, three, ..]) => [*one, *two, *three].map(letter),
        Some([one, two]) => [letter(*one), letter(*two), 0],
        Some([one]) => [letter(*one), 0, 0],
        _ => [0; 3],
    };
    let three = if two == 0 { 0 } else { three };
    (one.wrapping_mul(1_087) ^ two.wrapping_mul(67) ^ three.wrapping_mul(2_477)) & (BUCKETS - 1)
}

/// The first eight bytes; zeros, which are in no entry, where there are none.
#[inline]
fn head(text: &[u8]) -> u64 {
    u64::from_le_bytes(text.first_chunk().copied().unwrap_or_else(|| {
        let mut head = [0; 8];
        head[..text.len().min(8)].copy_from_slice(&text[..text.len().min(8)]);
        head
    }))
}

/// The bit of a fourth byte; all that are no part of a word share one.
#[inline]
fn fourth_bit(byte: Option<u8>) -> u32 {
    1 << (byte.map_or(0, |byte| LETTERS[usize::from(byte)]) & 31)
}

/// The bit of the first letter of a mark and what follows it.
#[inline]
fn pair_bit(letter: u8, next: Option<u8>) -> u32 {
    let next = next.map_or(0, |byte| LETTERS[usize::from(byte)]);
    1 << ((letter.wrapping_mul(5) ^ next.wrapping_mul(11)) & 31)
}

/// Of so many bytes of a head all bits.
#[inline]
fn first_bytes(count: usize) -> u64 {
    const MASKS: [u64; 9] = {
        let (mut masks, mut count) = ([u64::MAX; 9], 0);
        while count < 8 {
            masks[count] = (1 << (8 * count)) - 1;
            count += 1;
        }
        masks
    };
    MASKS.get(count).copied().unwrap_or(u64::MAX)
}

impl Head {
    /// Whether it may stand where a text has such a head, without what is behind its first word.
    #[inline]
    const fn is_of(self, head: u64) -> bool {
        (self.bytes ^ head) & self.mask == 0
    }

    /// The same wherever its first word ends.
    #[inline]
    const fn begins(self, head: u64) -> bool {
        // A byte of it is never 0.
        let ends = self.bytes.leading_zeros() & !7;
        let mask = if ends >= u64::BITS { 0 } else { u64::MAX >> ends };
        (self.bytes ^ head) & mask & self.mask == 0
    }
}

impl Entry {
    fn head(&self) -> Head {
        let first = self.first();
        let len = if first.0 > 0 { usize::from(first.0) } else { self.text.len() };
        let ends = !self.is_mark() && (first.0 > 0 || !self.is_stem && !self.is_dense);
        let is_all = self.kind == Kind::Head && (len < 8 || !ends);
        Head {
            bytes: head(&self.text[..len]),
            mask: first_bytes(len + usize::from(ends)),
            len: if is_all { u8::try_from(len).unwrap_or(0) } else { 0 },
            idea: self.idea,
        }
    }

    /// Several words, or one with a sign between.
    fn is_several(&self) -> bool {
        self.first().0 > 0
    }

    fn first(&self) -> First {
        let is_gap = |byte: &u8| *byte == b' ' || !self.is_mark() && !is_word(*byte);
        let gap = self.text.iter().position(is_gap);
        match gap.map(|len| (u8::try_from(len), self.text.get(len + 1))) {
            Some((Ok(len), Some(behind))) => (len, *behind),
            _ => (0, 0),
        }
    }

    /// The bits of the fourth bytes of texts that it may stand in.
    fn fourths(&self) -> u32 {
        let (first, rest) = self.text.split_at(self.text.len().min(3));
        let is_fixed = first.len() == 3 && !first.contains(&b' ');
        match rest.first() {
            Some(byte) if is_fixed => fourth_bit(Some(*byte)),
            // The word ends here, and something else follows.
            None if is_fixed && !self.is_stem && !self.is_dense => fourth_bit(None),
            _ => u32::MAX,
        }
    }

    fn is_mark(&self) -> bool {
        matches!(self.text.first(), Some(b'<' | b'[' | b'#'))
    }

    /// The bit of its first letter and what follows that; all of them if the mark ends there.
    fn letters(&self) -> u32 {
        let mut rest = self.text.iter().skip(1).skip_while(|byte| !is_word(**byte));
        match (rest.next(), rest.next()) {
            (Some(letter), Some(next)) => pair_bit(*letter, Some(*next)),
            (Some(_), None) => u32::MAX,
            _ => 0,
        }
    }

    /// Whether it stands there, where its head is known to.
    #[inline]
    fn stands(&self, text: &[u8], at: usize) -> Option<Found> {
        let end = if self.kind == Kind::Gaps {
            self.end_with_gaps(text, at)?
        } else {
            let end = at + self.text.len();
            let stands = text.get(at..end)?;
            (self.kind == Kind::Head || stands == &*self.text).then_some(end)?
        };
        let is_whole = self.is_stem || self.is_dense || !text.get(end).is_some_and(|b| is_word(*b));
        is_whole.then_some(Found { idea: self.idea, end })
    }

    fn end_with_gaps(&self, text: &[u8], mut at: usize) -> Option<usize> {
        for byte in &self.text {
            if *byte == b' ' {
                match gap(text, at)? {
                    0 => return None,
                    len => at += len,
                }
            } else {
                (text.get(at) == Some(byte)).then_some(())?;
                at += 1;
            }
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idea_of(text: &str) -> &'static str {
        let folded = normal::folded(text);
        let found = lexicon().find(folded.as_bytes(), 0);
        found.map_or("", |found| IDEAS[usize::from(found.idea) - 1])
    }

    #[test]
    fn words_of_many_languages_stand_for_one_idea() {
        for word in [
            "Ignore",
            "ignoriere",
            "OUBLIE",
            "olvida",
            "игнорируй",
            "忽略之前",
            "無視してください",
            "무시하고",
            "تجاهل",
            "अनदेखा",
            "bỏ qua",
            "abaikan",
        ] {
            assert_eq!(idea_of(word), "IGNORE", "{word}");
        }
        assert_eq!(idea_of("contraseña"), "PASSWORD");
        assert_eq!(idea_of("从现在起"), "NOW");
    }

    #[test]
    fn an_entry_ends_with_its_word() {
        assert_eq!(idea_of("allow"), "");
        assert_eq!(idea_of("promptly"), "PROMPT");
        assert_eq!(idea_of("rules"), "INSTR");
        assert_eq!(idea_of("ruleset"), "");
    }

    #[test]
    fn the_index_hides_no_entry() {
        let table = lexicon();
        let short = |text: &[u8]| text.len() < 3 || text.contains(&b' ');
        for entry in &table.entries {
            for behind in ["", " ", "s", "x1", ".", "é", "忽"] {
                let text = [&entry.text, behind.as_bytes()].concat();
                // By hand: the longest of all that start with the same three bytes.
                let mut alike =
                    table.entries.iter().filter(|it| bucket(&it.text, 0) == bucket(&text, 0));
                let stands =
                    |it: &Entry| it.text.iter().zip(&text).all(|(a, b)| a == b || *a == b' ');
                let wanted = alike.find_map(|it| stands(it).then(|| it.stands(&text, 0))?);
                let find = if entry.is_mark() { Lexicon::find_mark } else { Lexicon::find };
                assert_eq!(find(table, &text, 0), wanted, "{:?}", String::from_utf8_lossy(&text));
                assert!(wanted.is_some() || !entry.is_stem && !behind.is_empty() || short(&text));
            }
        }
    }

    #[test]
    fn every_line_of_the_table_has_its_idea() {
        for line in include_str!("lexicon.txt").lines().filter(|line| !line.starts_with('#')) {
            let name = line.split('|').next().unwrap().trim();
            assert_ne!(idea(name), 0, "{name}");
        }
        assert!(lexicon().entries.len() > 2_000);
    }
}
