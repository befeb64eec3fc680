//! What a request is about, as far as a strategy asks (S2-02): task, difficulty, size, tools, images, language.
//!
//! Hot path: `benches/routing.rs`. Only what the user said last is read, and of that only its beginning and its
//! end; words of the rest are reckoned from a sample. All word lists are looked up in one pass of an automaton,
//! so that no text can make it slow. What follows from a feature is decided by `rules`, `tree` and the learned
//! router.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::base::limit::{CUES_HALF_BYTES, ROUTING_TEXT_HALF_BYTES, WORDS_COUNTED_BYTES_MAX};
use crate::routing::cues::{self, Cue, Sign};
use crate::wire::texts::{Piece, Source, Texts};

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Task {
    /// Call a tool.
    ToolCall,
    /// Write or repair a program.
    Code,
    /// Think about something.
    Reason,
    /// Take something out of a text, or bring it into a form.
    Extract,
    /// Make a text shorter.
    Summarize,
    /// Find something.
    Search,
    /// None of these.
    #[default]
    General,
}

impl Task {
    /// All; where a text speaks of several, the first of them counts.
    pub const ALL: [Self; 7] = [
        Self::ToolCall,
        Self::Code,
        Self::Reason,
        Self::Extract,
        Self::Summarize,
        Self::Search,
        Self::General,
    ];

    /// The name used in logs and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ToolCall => "tool_call",
            Self::Code => "code",
            Self::Reason => "reason",
            Self::Extract => "extract",
            Self::Summarize => "summarize",
            Self::Search => "search",
            Self::General => "general",
        }
    }

    /// The task of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name)
    }
}

/// How hard it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Difficulty {
    /// Nothing speaks for more.
    #[default]
    Easy,
    /// Several steps.
    Medium,
    /// Only the best will do.
    Hard,
}

impl Difficulty {
    /// The name used in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Easy => "easy",
            Self::Medium => "medium",
            Self::Hard => "hard",
        }
    }
}

/// In which language the user writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    /// English, or any other than those below.
    #[default]
    English,
    /// Hebrew.
    Hebrew,
}

impl Language {
    /// The name used in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Hebrew => "he",
        }
    }
}

/// The features of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// What is to be done.
    pub task: Task,
    /// How hard it is.
    pub difficulty: Difficulty,
    /// Tokens of all texts: words times 1.3.
    pub token_count: u64,
    /// Whether tools are offered.
    pub has_tools: bool,
    /// Whether there are images.
    pub has_images: bool,
    /// In which language the user writes.
    pub language: Language,
}

/// What was read of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Its features.
    pub features: Features,
    /// What the user said last, without escapes: all of it, or its beginning and its end.
    pub text: String,
}

/// Reads the request `body`, whose texts are `texts`.
pub fn read(body: &[u8], texts: &Texts, has_tools: bool) -> Reading {
    let text = last_words(body, &texts.pieces);
    let found = Found::of(&text);
    let features = Features {
        task: found.task(),
        difficulty: found.difficulty,
        token_count: tokens(body, &texts.pieces),
        has_tools,
        has_images: texts.images,
        language: language(&text),
    };
    Reading { features, text }
}

/// The signs that a text gives.
#[derive(Default)]
struct Found {
    tasks: [bool; Task::ALL.len()],
    difficulty: Difficulty,
}

/// The word lists, and the automaton that finds their words. `None` cannot be: a test builds it.
static CUES: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    AhoCorasick::builder()
        .kind(Some(AhoCorasickKind::DFA))
        .match_kind(MatchKind::LeftmostLongest)
        .ascii_case_insensitive(true)
        .build(cues::ALL.iter().map(|cue| cue.text))
        .ok()
});

impl Found {
    fn of(text: &str) -> Self {
        let mut found = Self::default();
        let head = text.floor_char_boundary(CUES_HALF_BYTES);
        let tail = text.floor_char_boundary(text.len().saturating_sub(CUES_HALF_BYTES)).max(head);
        found.look_through(&text[..head]);
        found.look_through(&text[tail..]);
        found
    }

    fn look_through(&mut self, text: &str) {
        let Some(automaton) = &*CUES else { return };
        for hit in automaton.find_iter(text) {
            let cue = &cues::ALL[hit.pattern().as_usize()];
            if stands_alone(text.as_bytes(), cue, hit.start()..hit.end()) {
                self.note(cue.sign);
            }
        }
    }

    fn note(&mut self, sign: Sign) {
        match sign {
            Sign::Task(task) => self.tasks[task as usize] = true,
            Sign::Difficulty(difficulty) => self.difficulty = self.difficulty.max(difficulty),
            Sign::Both(task, difficulty) => {
                self.note(Sign::Task(task));
                self.note(Sign::Difficulty(difficulty));
            }
        }
    }

    fn task(&self) -> Task {
        let mut all = Task::ALL.into_iter();
        all.find(|task| self.tasks[*task as usize]).unwrap_or_default()
    }
}

/// Whether a word begins where the cue does, and ends there too if the cue is a whole word.
fn stands_alone(text: &[u8], cue: &Cue, at: std::ops::Range<usize>) -> bool {
    let is_inside = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let starts_in_word = cue.text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && is_inside(at.start.checked_sub(1).and_then(|before| text.get(before)));
    let goes_on = cue.whole && is_inside(text.get(at.end));
    !(starts_in_word || goes_on)
}

/// What the user said last. A tool's result or a document is not what he said.
fn last_words(body: &[u8], pieces: &[Piece]) -> String {
    let said = |piece: &&Piece| piece.source == Source::User;
    let Some(turn) = pieces.iter().rev().find(said).map(|piece| piece.turn) else {
        return String::new();
    };
    let of_turn = |piece: &&Piece| said(piece) && piece.turn == turn;
    let mut text = String::new();
    let mut room = ROUTING_TEXT_HALF_BYTES;
    for piece in pieces.iter().filter(of_turn) {
        let raw = piece.span.of(body);
        let taken = raw.len().min(room);
        unescape_into(&raw[..taken], &mut text);
        text.push('\n');
        room -= taken;
        if room == 0 {
            break;
        }
    }
    if room == 0 {
        last_part(body, (pieces, turn), &mut text);
    }
    text
}

/// Adds the end of that turn, from where the beginning ends or later.
fn last_part(body: &[u8], (pieces, turn): (&[Piece], Option<u32>), text: &mut String) {
    let of_turn = |piece: &&Piece| piece.source == Source::User && piece.turn == turn;
    let total: usize = pieces.iter().filter(of_turn).map(|piece| piece.span.len()).sum();
    let mut passed = total.saturating_sub(ROUTING_TEXT_HALF_BYTES).max(ROUTING_TEXT_HALF_BYTES);
    for piece in pieces.iter().filter(of_turn) {
        let raw = piece.span.of(body);
        if let Some(rest) = raw.get(passed..) {
            unescape_into(rest, text);
            text.push('\n');
        }
        passed = passed.saturating_sub(raw.len());
    }
}

/// Adds a piece of a JSON string as text. It may begin and end anywhere: what is cut through is left out, or read
/// as the letters that it is made of.
fn unescape_into(raw: &[u8], text: &mut String) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        text.push_str(&String::from_utf8_lossy(&rest[..at]));
        let (letter, taken) = escape(&rest[at + 1..]);
        text.push(letter);
        rest = &rest[(at + 1 + taken).min(rest.len())..];
    }
    text.push_str(&String::from_utf8_lossy(rest));
}

/// The character of an escape, and how many bytes it takes after its backslash. Half a pair becomes a blank.
fn escape(after: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits = std::str::from_utf8(after.get(at..at + 4)?).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    match after.first() {
        Some(b'n' | b'r' | b't' | b'b' | b'f') => ('\n', 1),
        Some(b'u') => {
            let Some(first) = unit(1) else { return (' ', 1) };
            let second = (after.get(5..7) == Some(b"\\u")).then(|| unit(7)).flatten();
            let pair = std::iter::once(first).chain(second);
            match char::decode_utf16(pair).next() {
                Some(Ok(letter)) => (letter, 4 + 1 + 6 * (letter.len_utf16() - 1)),
                _ => (' ', 5),
            }
        }
        Some(&letter) if letter.is_ascii() => (char::from(letter), 1),
        _ => (' ', 0),
    }
}

/// Tokens of all texts: 1.3 for each word (S2-02), but at least one for 8 bytes, because not every language
/// writes blanks. Only the newest texts are counted, the others reckoned from them.
fn tokens(body: &[u8], pieces: &[Piece]) -> u64 {
    let total: u64 = pieces.iter().map(|piece| piece.span.len() as u64).sum();
    let (mut words, mut counted) = (0_u64, 0_usize);
    for piece in pieces.iter().rev() {
        let raw = piece.span.of(body);
        let sample = &raw[..raw.len().min(WORDS_COUNTED_BYTES_MAX - counted)];
        words += words_of(sample);
        counted += sample.len();
        if counted == WORDS_COUNTED_BYTES_MAX {
            break;
        }
    }
    let counted = counted as u64;
    if counted < total {
        words = words.saturating_mul(total) / counted.max(1);
    }
    (words.saturating_mul(13) / 10).max(total / 8)
}

/// Words of a string as written: an escape parts words, most of all because it is the end of a line.
fn words_of(raw: &[u8]) -> u64 {
    let mut words = 0_u64;
    let mut was_blank = true;
    for &byte in raw {
        let is_blank = byte <= b' ' || byte == b'\\';
        words += u64::from(was_blank && !is_blank);
        was_blank = is_blank;
    }
    words
}

/// Hebrew where every eighth letter is, so that one quoted word does not count.
fn language(text: &str) -> Language {
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    // All Hebrew letters, and hardly anything else, begin with this byte.
    let hebrew = memchr::memchr_iter(0xd7, text.as_bytes()).count();
    if hebrew > 1 && hebrew * 8 >= letters { Language::Hebrew } else { Language::English }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::texts;
    use proptest::prelude::*;

    fn of(prompt: &str) -> Features {
        reading(&serde_json::json!({"messages": [{"role": "user", "content": prompt}]})).features
    }

    fn reading(body: &serde_json::Value) -> Reading {
        let body = body.to_string().into_bytes();
        read(&body, &texts::texts(&body), body.windows(7).any(|it| it == b"\"tools\""))
    }

    #[test]
    fn every_word_list_is_found() {
        let automaton = CUES.as_ref().unwrap();
        assert_eq!(automaton.patterns_len(), cues::ALL.len());
    }

    #[test]
    fn tasks_are_told_by_their_words() {
        for (prompt, task) in [
            ("why does this algorithm fail?", Task::Reason),
            ("implement a binary search tree", Task::Code),
            ("extract all emails from this document", Task::Extract),
            ("summarize this PDF in 3 bullet points", Task::Summarize),
            ("call the get_weather function", Task::ToolCall),
            ("search for recent papers on LLM routing", Task::Search),
            ("SUMMARIZE THIS", Task::Summarize),
            ("TL;DR please", Task::Summarize),
            ("Fix the bug in this Python code", Task::Code),
            ("```\nfn main() {}\n```", Task::Code),
            ("Prove that there are infinitely many primes", Task::Reason),
            ("hello there", Task::General),
            ("a plant on a planet in a restaurant", Task::General),
            ("basically recall the explanation-free greeting", Task::General),
            ("\u{5ea}\u{5e1}\u{5db}\u{5dd} \u{5d0}\u{5ea} \u{5d6}\u{5d4}", Task::Summarize),
            ("", Task::General),
        ] {
            assert_eq!(of(prompt).task, task, "{prompt}");
        }
    }

    #[test]
    fn difficulty_is_the_highest_that_is_spoken_of() {
        let hard = of("debug this undocumented multi-round agent pipeline");
        assert_eq!((hard.difficulty, hard.task), (Difficulty::Hard, Task::Code));
        let medium = of("build a multi-step pipeline for data extraction");
        assert_eq!(medium.difficulty, Difficulty::Medium);
        assert_eq!(of("say hello").difficulty, Difficulty::Easy);
    }

    #[test]
    fn hebrew_is_a_matter_of_share() {
        assert_eq!(of("\u{5e9}\u{5dc}\u{5d5}\u{5dd}, \u{5ea}\u{5e1}\u{5db}\u{5dd} \u{5d0}\u{5ea} \u{5d4}\u{5de}\u{5e1}\u{5de}\u{5da}").language, Language::Hebrew);
        assert_eq!(of("what does the single letter \u{5d0} stand for").language, Language::English);
        assert_eq!(of("").language, Language::English);
    }

    #[test]
    fn tokens_are_words_times_one_and_three_tenths() {
        assert_eq!(of("one two three four five six seven eight nine ten").token_count, 13);
        assert_eq!(of("one\ntwo\tthree").token_count, 3);
        assert_eq!(of("").token_count, 0);
        assert_eq!(of(&"\u{6c49}".repeat(800)).token_count, 300, "no blanks: 2,400 bytes");
        let all = of(&"word ".repeat(10_000)).token_count;
        assert!((12_900..=13_100).contains(&all), "{all}: reckoned from a sample");
        let system = serde_json::json!({"messages": [
            {"role": "system", "content": "a b c d e"}, {"role": "user", "content": "f g h i j"}]});
        assert_eq!(reading(&system).features.token_count, 13, "all texts count");
    }

    #[test]
    fn only_what_the_user_said_last_is_read() {
        let body = serde_json::json!({"tools": [{}], "messages": [
            {"role": "user", "content": "summarize this"},
            {"role": "assistant", "content": "implement it"},
            {"role": "user", "content": [{"type": "text", "text": "thank"}, {"type": "text", "text": "you"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"role": "tool", "content": "why search the code"}]});
        let read = reading(&body);
        assert_eq!(read.text, "thank\nyou\n");
        assert_eq!(read.features.task, Task::General);
        assert!(read.features.has_images && read.features.has_tools);
        let image = serde_json::json!({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]});
        let only = reading(&image);
        assert_eq!((only.text.as_str(), only.features.has_images), ("", true));
        assert_eq!(reading(&serde_json::json!({})), Reading::default());
    }

    #[test]
    fn of_a_long_text_both_ends_are_read() {
        let middle = "x \" \n".repeat(200_000);
        let body = serde_json::json!({"input": format!("summarize {middle} prove")});
        let read = reading(&body);
        assert!(read.text.starts_with("summarize x") && read.text.trim_end().ends_with("prove"));
        assert!(read.text.len() <= 2 * ROUTING_TEXT_HALF_BYTES + 2, "{}", read.text.len());
        let half = ROUTING_TEXT_HALF_BYTES;
        for length in [half - 1, half, half + 1, 2 * half - 1, 2 * half, 2 * half + 1] {
            let whole = "a".repeat(length);
            let read = reading(&serde_json::json!({"input": whole}));
            let letters = read.text.bytes().filter(|byte| *byte == b'a').count();
            assert_eq!(letters, length.min(2 * half), "nothing is lost or doubled");
        }
    }

    #[test]
    fn escapes_become_letters() {
        let mut text = String::new();
        unescape_into(br#"a\n\"b\" \\ \u05d0 \ud83d\ude00 \ud83d x \u12"#, &mut text);
        assert_eq!(text, "a\n\"b\" \\ \u{5d0} \u{1f600}   x  12");
    }

    proptest! {
        #[test]
        fn whole_texts_come_out_as_they_were(text in "\\PC{0,300}") {
            let read = reading(&serde_json::json!({"input": text.clone()}));
            prop_assert_eq!(read.text.trim_end_matches('\n'), text.trim_end_matches('\n'));
        }

        #[test]
        fn any_cut_is_safe(raw in prop::collection::vec(any::<u8>(), 0..60)) {
            unescape_into(&raw, &mut String::new());
        }
    }
}
