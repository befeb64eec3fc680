//! The linear model: what hashed words, pairs and triples of words, ideas and rules weigh together within a few
//! words at the place where they weigh most, and by a smaller share within many words.
//!
//! Hot path: `benches/guard_in.rs`. Whole numbers only; the fractions of training are `train`'s.

use crate::base::limit::GUARD_DECODES_MAX;
use crate::guard::decode::NUMBERS_MIN;
use crate::guard::progress::{BLOCK, Progress};
use crate::guard::rules::{Hit, RULES, Rule, Tier};
use crate::guard::tokens::{Token, Words, mix};

/// Bits of a feature's number: 256 KiB of weights, which stay in the second cache.
pub const FEATURE_BITS: u32 = 18;
/// Words of the long window, in which many small signs come together. What they weigh beyond the short one is added
/// by its `LONG_SHARE`, so that a long text is no attack for being long.
pub const WINDOW: usize = 64;
/// Words of the short window: one order and what it is about.
pub const SHORT: usize = 12;
/// What a word of the long window counts, as a power of a half.
pub const LONG_SHARE: u32 = 2;

/// Words beyond the short window that cost a text one natural logarithm of the odds: the more windows it has, the
/// heavier the heaviest is by chance. What is longer than the long window costs no more, since much that is honest
/// and long may carry one order.
pub const SPARE: i32 = 52;
const _: () = assert!(SHORT + SPARE as usize == WINDOW, "the words between");

/// How many of them a text of so many words has.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "at most `SPARE`")]
pub const fn spare(words: usize) -> i32 {
    let most = if words < WINDOW { words } else { WINDOW };
    most.saturating_sub(SHORT) as i32
}

/// What has been learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// What each feature weighs.
    pub weights: Box<[i8]>,
    /// What nothing weighs.
    pub bias: i32,
    /// From here on a text is suspect: at most one benign text in 100.
    pub suspect: i32,
    /// From here on it is as good as certain: at most one in 1,000.
    pub certain: i32,
    /// How much of the unit of weights makes one natural logarithm of the odds.
    pub unit: i32,
}

/// What came before, and the features that a word makes with it.
#[derive(Clone, Debug)]
pub struct Trail {
    /// Features met a short time ago (the upper half), each in the only place it can have, and the count of
    /// words by then (the lower). What is repeated counts once: a log that says the same in every line is no
    /// proof of anything.
    met: Box<[u64; MET]>,
    count: u32,
    behind: Behind,
}

/// The words and ideas before.
#[derive(Clone, Copy, Debug, Default)]
struct Behind {
    words: [u32; 2],
    /// Ideas, the latest first.
    ideas: [u8; IDEAS_BEHIND],
    /// Their places.
    places: [u32; IDEAS_BEHIND],
    /// A bit for each of them that did not come again since.
    latest: u32,
}

/// Ideas before a word that make pairs with it.
const IDEAS_BEHIND: usize = 5;

/// Places for features met, a power of two: 32 words have some 200.
const MET: usize = 1_024;
/// Words after which a feature counts again.
const MET_WORDS: u32 = 32;
/// Where counting starts: what is zero has been met too long ago.
const FIRST_COUNT: u32 = MET_WORDS + 1;
/// Pairs of ideas count up to this many words apart.
const PAIR_WORDS: u32 = 14;
/// Triples of ideas count up to this many words apart.
const TRIPLE_WORDS: u32 = 24;

/// Features below this are of ideas and rules, each with a number of its own but for triples; from here on they
/// are of words. What is said of the one in training need not hold for the other.
pub const WORDS_FROM: u32 = 1 << 16;
/// Where the numbers of rules, pairs and triples of ideas start.
const RULES_FROM: u32 = 128;
const PAIRS_FROM: u32 = 1 << 14;
const TRIPLES_FROM: u32 = 1 << 15;

#[inline]
const fn scattered(value: u32) -> u32 {
    let mixed = value.wrapping_mul(0x85eb_ca6b);
    let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0xc2b2_ae35);
    mixed ^ (mixed >> 16)
}

/// The feature of words by their hash: one of the numbers that are left.
#[inline]
const fn feature(kind: u32, hash: u32) -> u32 {
    let left = (1_u64 << FEATURE_BITS) - WORDS_FROM as u64;
    let mixed = scattered(hash ^ kind.wrapping_mul(0x9e37_79b9)) as u64;
    WORDS_FROM + ((mixed * left) >> 32) as u32
}

#[inline]
const fn pair_feature(one: u32, other: u32) -> u32 {
    let (least, most) = if one < other { (one, other) } else { (other, one) };
    PAIRS_FROM + (least & 127) * 128 + (most & 127)
}

#[inline]
const fn triple_feature(one: u32, two: u32, three: u32) -> u32 {
    TRIPLES_FROM + scattered((one << 16) | (two << 8) | three) % (WORDS_FROM - TRIPLES_FROM)
}

/// The feature that a rule is.
pub const fn rule_feature(rule: u8) -> u32 {
    RULES_FROM + rule as u32
}

/// The rule that a feature is.
pub fn rule_of(feature: u32) -> Option<&'static Rule> {
    let rule = feature.checked_sub(RULES_FROM)?;
    RULES.get(rule as usize)
}

impl Default for Trail {
    fn default() -> Self {
        Self { met: Box::new([0; MET]), count: FIRST_COUNT, behind: Behind::default() }
    }
}

impl Trail {
    /// Starts anew, without a look at the table: its counts are too old from now on.
    fn restart(&mut self) {
        if self.count > u32::MAX / 2 {
            self.met.fill(0);
            self.count = 0;
        }
        self.count += FIRST_COUNT;
        self.behind = Behind::default();
    }

    /// Takes the next word, and gives out its features.
    #[inline]
    pub fn step(&mut self, token: &Token, mut give: impl FnMut(u32)) {
        self.each(token, |feature, is_new| {
            if is_new {
                give(feature);
            }
        });
    }

    /// Takes the next word. Returns what its features weigh: all are looked up, since a branch on whether one
    /// counts could not be foreseen in a hostile text.
    #[inline]
    fn weigh(&mut self, token: &Token, weights: &[i8]) -> i32 {
        let mut sum = 0;
        self.each(token, |feature, is_new| {
            sum += i32::from(weights[feature as usize]) & -i32::from(is_new);
        });
        sum
    }

    #[inline]
    fn each(&mut self, token: &Token, mut give: impl FnMut(u32, bool)) {
        self.count += 1;
        let count = self.count;
        let Self { met, behind, .. } = self;
        behind.features(token, |feature, is_there| {
            let place = &mut met[feature as usize & (MET - 1)];
            let now = (u64::from(feature) << 32) | u64::from(count);
            // Of another feature the difference is larger than any count.
            let is_new = now.wrapping_sub(*place) > u64::from(MET_WORDS);
            *place ^= (*place ^ now) & u64::from(is_there).wrapping_neg();
            give(feature, is_new & is_there);
        });
    }
}

impl Behind {
    #[inline]
    fn features(&mut self, token: &Token, mut give: impl FnMut(u32, bool)) {
        // Next to others a word counts as its idea: what was learned of one way to say it holds for all.
        let idea = u32::from(token.idea);
        let this = if idea > 0 { idea } else { token.hash };
        let [two, one] = self.words;
        let pair = mix(one, this).rotate_left(9);
        give(feature(1, token.hash), true);
        give(feature(2, pair), true);
        give(feature(3, mix(two, pair)), true);
        self.words = [one, this];
        if idea > 0 {
            self.idea(token, give);
        }
    }

    #[inline]
    fn idea(&mut self, token: &Token, mut give: impl FnMut(u32, bool)) {
        let idea = u32::from(token.idea);
        give(idea, true);
        // Itself, and what came again nearer, make no pair. All are asked about: which do could not be foreseen in
        // a hostile text.
        let Self { ideas, places, latest, .. } = self;
        if places[0] + PAIR_WORDS >= token.place {
            for (at, (other, place)) in ideas.iter().zip(&*places).enumerate() {
                *latest &= !(u32::from(*other == token.idea) << at);
                let is_near = u32::from(*place + PAIR_WORDS >= token.place);
                give(pair_feature(idea, u32::from(*other)), is_near & (*latest >> at) != 0);
            }
        }
        let [one, two, ..] = *ideas;
        if two > 0 && places[1] + TRIPLE_WORDS >= token.place {
            give(triple_feature(u32::from(two), u32::from(one), idea), true);
        }
        *latest = (*latest << 1 | 1) & ((1 << IDEAS_BEHIND) - 1);
        ideas.copy_within(..IDEAS_BEHIND - 1, 1);
        places.copy_within(..IDEAS_BEHIND - 1, 1);
        (ideas[0], places[0]) = (token.idea, token.place);
    }
}

/// What one reading of a folded text found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What the heaviest window weighs.
    pub best: i32,
    /// Where that window starts.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Rules that came true, each once, with their first place.
    pub hits: Vec<Hit>,
    /// Stretches of letters that stand alone.
    pub apart: Vec<(usize, usize)>,
    /// Stretches of numbers.
    pub numbers: Vec<(usize, usize)>,
    /// Words that hint at letters turned by 13.
    pub turned: u32,
    /// Words that hint at text that runs backwards.
    pub reversed: u32,
    /// What it took to read it: bytes, words and ideas, in steps of about a nanosecond.
    pub work: u64,
    /// Whether there was more to read than it might take.
    pub is_cut: bool,
}

/// What a word takes to read beside its bytes, and an idea beside its word.
const WORD_WORK: u64 = 24;
const IDEA_WORK: u64 = 40;

/// Letters in a row that stand alone before they are put together.
const APART_MIN: usize = 6;
/// Stretches of each kind that are remembered: one more than may be read.
const STRETCHES_MAX: usize = GUARD_DECODES_MAX + 1;

/// Runs of words of one kind.
#[derive(Default)]
struct Run {
    count: usize,
    start: usize,
    end: usize,
}

impl Run {
    fn step(&mut self, token: &Token, goes_on: bool, min: usize, out: &mut Vec<(usize, usize)>) {
        if goes_on {
            if self.count == 0 {
                self.start = token.start;
            }
            self.count += 1;
            self.end = token.end;
        } else if self.count > 0 {
            self.close(min, out);
        }
    }

    fn close(&mut self, min: usize, out: &mut Vec<(usize, usize)>) {
        if self.count >= min && out.len() < STRETCHES_MAX {
            out.push((self.start, self.end));
        }
        self.count = 0;
    }
}

/// Words that a window keeps: no fewer than it needs, and a power of two.
const RING: usize = WINDOW.next_power_of_two();

/// Weights of the last words, and what those of the long and of the short window come to. The short one is for
/// a few words in the middle of something long.
struct Window {
    weights: [i32; RING],
    starts: [usize; RING],
    count: usize,
    bias: i32,
    long: i32,
    short: i32,
    /// The most that the long one came to.
    longest: i32,
}

/// The tables that a reading needs. Most texts are so short that setting them up would cost more than reading.
#[derive(Default)]
pub struct Tables {
    trail: Trail,
    progress: Progress,
    block: Block,
    window: Window,
}

/// Words that wait for the rules that may come true at them: their weights, then they join the window.
struct Block {
    words: [Word; BLOCK as usize],
    count: usize,
    /// By place in the block.
    weights: [i32; BLOCK as usize],
    /// A bit for each rule that has come true in the text.
    rules: [u64; 4],
}

/// A word that waits.
#[derive(Clone, Copy, Default)]
struct Word {
    /// Its place in the block.
    at: u8,
    start: usize,
    end: usize,
}

impl Default for Block {
    fn default() -> Self {
        let words = [Word::default(); BLOCK as usize];
        Self { words, count: 0, weights: [0; BLOCK as usize], rules: [0; 4] }
    }
}

impl Block {
    #[inline]
    fn push(&mut self, token: &Token, weight: i32) {
        let at = (token.place % BLOCK) as u8;
        // As many words as places at most.
        if let Some(word) = self.words.get_mut(self.count) {
            *word = Word { at, start: token.start, end: token.end };
            self.count += 1;
        }
        self.weights[usize::from(at)] = weight;
    }
}

impl Model {
    /// A model that knows nothing, for tests and for the start of training.
    pub fn blank() -> Self {
        let weights = vec![0; 1 << FEATURE_BITS].into();
        Self { weights, bias: 0, suspect: i32::MAX, certain: i32::MAX, unit: 1 }
    }

    /// Reads a folded text once.
    pub fn read(&self, text: &str) -> Reading {
        self.read_with(text, &mut Tables::default(), u64::MAX)
    }

    /// The same, with tables that another text has been read with, and no farther than so much work goes, but for
    /// a few words.
    pub fn read_with(&self, text: &str, tables: &mut Tables, most: u64) -> Reading {
        let mut reading = Reading { best: i32::MIN, ..Reading::default() };
        tables.window.restart(self.bias);
        tables.trail.restart();
        tables.progress.restart();
        tables.block.rules = [0; 4];
        let (mut apart, mut numbers) = (Run::default(), Run::default());
        let bytes = text.as_bytes();
        for token in Words::new(bytes) {
            if tables.progress.is_beyond(token.place) {
                self.settle(tables, &mut reading);
                tables.progress.go_on(token.place);
                reading.is_cut = reading.work + token.start as u64 > most;
                if reading.is_cut {
                    break;
                }
            }
            tables.block.push(&token, tables.trail.weigh(&token, &self.weights));
            if token.idea > 0 {
                reading.turned += u32::from(token.idea == crate::guard::lexicon::ROTCUE);
                reading.reversed += u32::from(token.idea == crate::guard::lexicon::REVCUE);
                tables.progress.meet(&token);
                reading.work += IDEA_WORK;
            }
            let len = token.end - token.start;
            let is_letter = len == 1 && bytes[token.start].is_ascii_alphanumeric();
            apart.step(&token, is_letter, APART_MIN, &mut reading.apart);
            let is_number = is_number(&bytes[token.start..token.end]);
            numbers.step(&token, is_number, NUMBERS_MIN, &mut reading.numbers);
        }
        self.settle(tables, &mut reading);
        let words = tables.window.close(bytes.len(), &mut reading);
        reading.work += bytes.len() as u64;
        if words > 0 {
            reading.best -= self.unit * spare(words) / SPARE;
        }
        apart.close(APART_MIN, &mut reading.apart);
        numbers.close(NUMBERS_MIN, &mut reading.numbers);
        reading
    }

    /// Ends a block: what its words weigh with the rules that came true at them.
    fn settle(&self, tables: &mut Tables, reading: &mut Reading) {
        let Tables { progress, block, window, .. } = tables;
        let from = reading.hits.len();
        let hits = &mut reading.hits;
        progress.finish(|at, hit| {
            block.weights[at as usize] += i32::from(self.weights[rule_feature(hit.rule) as usize]);
            let (known, bit) = (&mut block.rules[usize::from(hit.rule >> 6)], 1 << (hit.rule & 63));
            if *known & bit == 0 {
                *known |= bit;
                hits.push(hit);
            }
        });
        hits[from..].sort_unstable_by_key(|hit| (hit.end, hit.rule));
        for word in &block.words[..block.count] {
            window.step((word.start, word.end), block.weights[usize::from(word.at)], reading);
        }
        reading.work += WORD_WORK * block.count as u64;
        block.count = 0;
    }
}

/// Whether a word may be a number that stands for a letter.
#[inline]
fn is_number(word: &[u8]) -> bool {
    let digits = match word {
        [b'0', b'x', digits @ ..] if digits.len() == 2 => digits,
        digits if matches!(digits.len(), 2..=3 | 7..=8) => digits,
        _ => return false,
    };
    digits.iter().all(u8::is_ascii_hexdigit)
}

impl Default for Window {
    fn default() -> Self {
        let (weights, starts) = ([0; RING], [0; RING]);
        Self { weights, starts, count: 0, bias: 0, long: 0, short: 0, longest: i32::MIN }
    }
}

impl Window {
    /// Without words.
    fn restart(&mut self, bias: i32) {
        self.weights[..self.count.min(RING)].fill(0);
        (self.count, self.bias, self.long, self.short) = (0, bias, 0, bias);
        self.longest = i32::MIN;
    }

    #[inline]
    fn step(&mut self, (start, end): (usize, usize), weight: i32, reading: &mut Reading) {
        // The word so many words ago; before the first one there are weights of 0.
        let ago = |words: usize| self.count.wrapping_sub(words) % RING;
        let (at, leaves_long, leaves_short) = (ago(0), ago(WINDOW), ago(SHORT));
        self.long += weight - self.weights[leaves_long];
        self.short += weight - self.weights[leaves_short];
        self.weights[at] = weight;
        self.starts[at] = start;
        self.count += 1;
        if self.short > reading.best && self.count >= SHORT {
            reading.note(self.short, (self.starts[(leaves_short + 1) % RING], end));
        }
        self.longest = self.longest.max(if self.count >= WINDOW { self.long } else { i32::MIN });
    }

    /// A text that is shorter than a window is one. What the many words around weigh more than the few heaviest
    /// counts by its share. Returns how many words the text had.
    fn close(&self, end: usize, reading: &mut Reading) -> usize {
        if self.count == 0 {
            return 0;
        }
        if self.count < SHORT {
            reading.note(self.short, (0, end));
        }
        let long = self.bias + if self.count < WINDOW { self.long } else { self.longest };
        reading.best += (long - reading.best).max(0) >> LONG_SHARE;
        self.count
    }
}

impl Reading {
    fn note(&mut self, weight: i32, (start, end): (usize, usize)) {
        self.best = weight;
        self.start = start;
        self.end = end;
    }

    /// The surest of the rules.
    pub fn tier(&self) -> Option<Tier> {
        self.hits.iter().map(|hit| RULES[usize::from(hit.rule)].tier).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::normal;

    fn model(words: &[(&str, i8)]) -> Model {
        let mut model = Model::blank();
        for (word, weight) in words {
            let folded = normal::folded(word);
            let token = Words::new(folded.as_bytes()).next().unwrap();
            model.weights[feature(1, token.hash) as usize] = *weight;
        }
        model
    }

    #[test]
    fn the_heaviest_window_is_found_wherever_it_is() {
        let model = model(&[("evil", 50), ("wicked", 50)]);
        let text = format!("{} evil wicked {}", "plain ".repeat(300), "plain ".repeat(300));
        let reading = model.read(&text);
        assert_eq!(reading.best, 100 - 1, "as long as it is");
        assert!(text[reading.start..reading.end].contains("evil wicked"));
    }

    #[test]
    fn words_leave_the_window() {
        let model = model(&[("evil", 10)]);
        let text = format!("evil {}", "plain ".repeat(40)).repeat(40);
        assert_eq!(
            model.read(&text).best,
            10 + ((20 - 10) >> LONG_SHARE) - 1,
            "one in 12, two in 64"
        );
        assert_eq!(model.read(&"evil ".repeat(400)).best, 10 - 1, "the same words count once");
    }

    #[test]
    fn being_long_costs_a_text_up_to_one_unit() {
        let model = Model { unit: 52, ..Model::blank() };
        for (words, cost) in [(1, 0), (12, 0), (13, 1), (64, 52), (5_000, 52)] {
            assert_eq!(model.read(&"plain ".repeat(words)).best, -cost, "{words}");
        }
    }

    #[test]
    fn many_small_signs_come_together_in_the_long_window() {
        let words: Vec<String> = ('a'..='m').map(|letter| format!("q{letter}")).collect();
        let signs: Vec<(&str, i8)> = words.iter().map(|word| (&**word, 10)).collect();
        let text: String = words.iter().flat_map(|word| [word.as_str(), " x x x x "]).collect();
        assert_eq!(model(&signs).read(&text).best, 30 + ((130 - 30) >> LONG_SHARE) - 1);
        assert_eq!(model(&signs[..3]).read(&text).best, 30 - 1, "three of them within 12 words");
    }

    #[test]
    fn harmless_words_around_an_order_take_nothing_away() {
        let model = model(&[("evil", 50), ("plain", -3)]);
        let words: Vec<String> =
            ('a'..='z').map(|letter| format!("plain q{letter} x{letter} ")).collect();
        let around = words.concat();
        assert_eq!(model.read(&format!("{around} evil a b c d e f g h i j {around}")).best, 50 - 1);
    }

    #[test]
    fn hidden_stretches_are_noticed() {
        let reading =
            Model::blank().read("say i g n o r e and 105 103 110 111 114 101 32 105 vtaber");
        assert_eq!((reading.apart.len(), reading.numbers.len(), reading.turned), (1, 1, 1));
        let empty = Model::blank().read("");
        assert_eq!(empty.best, i32::MIN);
    }
}
