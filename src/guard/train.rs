//! Learns the linear model's weights from examples: logistic regression on the heaviest window of each text.
//!
//! Deterministic: the same examples in the same order give the same weights. Reading and writing files is the
//! caller's; nothing here is on the path of a request.

use std::collections::HashMap;

use crate::guard::linear::{
    FEATURE_BITS, LONG_SHARE, Model, SHORT, SPARE, Trail, WINDOW, WORDS_FROM, rule_feature,
    rule_of, spare,
};
use crate::guard::progress;
use crate::guard::rules;
use crate::guard::tokens::{SEED, Words, mix};
use crate::guard::verdict;

/// One text of which it is known what it is.
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
#[derive(Clone, Debug)]
pub struct Example {
    /// The text.
    pub text: String,
    /// Whether it is an attack.
    pub is_attack: bool,
    /// What kind of text, for reports.
    pub slice: String,
    /// Where it comes from.
    pub source: String,
    /// Its language, for reports.
    pub lang: String,
    /// Whether weights may be learned from it. All may be judged by.
    pub is_for_training: bool,
    /// Whether it counts when cuts are chosen.
    pub is_for_cuts: bool,
    /// Whether it is of the project's own phrases: they teach in every fold, and are never judged as if unseen.
    pub is_own: bool,
}

/// A text as numbers: features of its words, in every way to read it.
pub struct Sample {
    views: Vec<Features>,
    /// What being as long as it is costs.
    cost: f32,
    is_attack: bool,
    /// Whether it counts less than others.
    is_light: bool,
}

/// Features of the words of one reading.
#[derive(Default)]
struct Features {
    all: Vec<u32>,
    /// Where the features of each word end.
    ends: Vec<u32>,
}

/// The heaviest words of one of the readings.
#[derive(Clone, Copy)]
struct Found {
    view: usize,
    /// The short and the long stretch: from, to, and what each word counts there.
    stretches: [(usize, usize, f32); 2],
    score: f32,
}

/// How fast weights are learned, and how fast they fade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Passes over all examples.
    pub rounds: usize,
    /// How far each step goes at first.
    pub step: f32,
    /// How fast weights fade that nothing holds up.
    pub fade: f32,
    /// What a feature is taken to have moved before its first step: the more, the less rare words count.
    pub doubt: f32,
    /// How much more an attack counts than a benign text.
    pub attack_weight: f32,
    /// How much an own benign text counts, but for those of `IN_FULL`: they were written to be as close to attacks
    /// as honest texts can be, which few are.
    pub own_benign_weight: f32,
    /// How much faster words are learned than ideas and rules.
    pub words: f32,
    /// What a word or a run of words weighs at most, for or against.
    pub words_most: f32,
    /// How much of what a rule was said to be worth it weighs at least.
    pub rules_least: f32,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rounds: 20,
            step: 0.1,
            fade: 2e-5,
            doubt: 0.03,
            attack_weight: 3.0,
            own_benign_weight: 0.05,
            words: 4.0,
            words_most: 1.0,
            rules_least: 0.75,
        }
    }
}

/// Words of a long benign text that are one example.
const CHUNK: usize = 192;
/// Units of a quantised weight for each natural logarithm of the odds.
const UNIT: f32 = 32.0;
/// What a word of the long window counts.
const LONG: f32 = 0.25;
const _: () = assert!(LONG_SHARE == 2, "a power of a half, as `LONG` says it");
/// Slices whose own benign texts count in full. Honest tales, parts to play and delicate questions do come that close
/// to attacks, and other sources have many of them.
const IN_FULL: [&str; 3] = ["chat_sensitive", "roleplay_benign", "code"];
/// Times that everything is learned anew, in another order; the weights are the mean.
const RUNS: usize = 12;
/// Groups that take turns to be judged by weights learned from the others.
pub const FOLDS: usize = 5;

/// Weights while they are learned.
struct Learner {
    weights: Vec<f32>,
    squares: Vec<f32>,
    bias: f32,
}

/// The examples as numbers, those of a long benign text in chunks.
pub fn samples(examples: &[&Example]) -> Vec<Sample> {
    let mut out = Vec::new();
    for example in examples {
        let views: Vec<Features> =
            verdict::views(&example.text).iter().map(|view| features(&view.folded.text)).collect();
        if example.is_attack {
            out.push(Sample::new(views, example));
            continue;
        }
        for view in views {
            let chunks = view.chunks().into_iter();
            out.extend(chunks.map(|chunk| Sample::new(vec![chunk], example)));
        }
    }
    out
}

fn features(folded: &str) -> Features {
    let mut out = Features::default();
    let words = || Words::new(folded.as_bytes());
    let mut hits = progress::hits(words().filter(|token| token.idea > 0)).into_iter().peekable();
    let mut trail = Trail::default();
    for token in words() {
        trail.step(&token, |feature| out.all.push(feature));
        while let Some((_, hit)) = hits.next_if(|(place, _)| *place == token.place) {
            out.all.push(rule_feature(hit.rule));
        }
        out.ends.push(u32::try_from(out.all.len()).unwrap_or(u32::MAX));
    }
    out
}

impl Sample {
    #[expect(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "a fraction below 2")]
    fn new(views: Vec<Features>, example: &Example) -> Self {
        let words = views.iter().map(|view| view.ends.len()).max().unwrap_or(0);
        let cost = spare(words) as f32 / SPARE as f32;
        let is_light = example.is_own && !IN_FULL.contains(&&*example.slice);
        Self { views, cost, is_attack: example.is_attack, is_light }
    }
}

impl Features {
    fn of(&self, from: usize, to: usize) -> &[u32] {
        let start = from.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        let end = to.checked_sub(1).map_or(0, |last| self.ends[last] as usize);
        &self.all[start..end.max(start)]
    }

    fn chunks(self) -> Vec<Self> {
        if self.ends.len() <= CHUNK * 2 {
            return vec![self];
        }
        let starts = (0..self.ends.len()).step_by(CHUNK);
        starts
            .map(|from| {
                let to = (from + CHUNK).min(self.ends.len());
                let base = from.checked_sub(1).map_or(0, |before| self.ends[before]);
                let ends = self.ends[from..to].iter().map(|end| end - base).collect();
                Self { all: self.of(from, to).to_vec(), ends }
            })
            .collect()
    }
}

#[expect(
    clippy::float_arithmetic,
    reason = "learning is about fractions; what is learned is whole numbers"
)]
impl Learner {
    fn new(plan: &Plan) -> Self {
        let size = 1 << FEATURE_BITS;
        let first = |feature| plan.bounded(feature, 0.0);
        let weights = (0..1 << FEATURE_BITS).map(first).collect();
        Self { weights, squares: vec![plan.doubt; size], bias: -2.0 }
    }

    fn sum(&self, features: &[u32]) -> f32 {
        features.iter().map(|feature| self.weights[*feature as usize]).sum()
    }

    /// What the heaviest of all ways to read it weighs, and by which words.
    fn heaviest(&self, sample: &Sample) -> Option<Found> {
        let of_view = |(view, features): (usize, &Features)| self.found(view, features);
        let all = sample.views.iter().enumerate().filter_map(of_view);
        all.max_by(|one, other| one.score.total_cmp(&other.score))
    }

    fn found(&self, view: usize, features: &Features) -> Option<Found> {
        let count = features.ends.len();
        let mut sums = Vec::with_capacity(count + 1);
        sums.push(0.0);
        for word in 0..count {
            sums.push(sums[word] + self.sum(features.of(word, word + 1)));
        }
        let heaviest = |len: usize| -> Option<(f32, usize, usize)> {
            let len = len.min(count);
            let all = (len..=count).map(|to| (sums[to] - sums[to - len], to - len, to));
            all.max_by(|one, other| one.0.total_cmp(&other.0))
        };
        let (short, from, to) = (count > 0).then(|| heaviest(SHORT))??;
        let (long, long_from, long_to) = heaviest(WINDOW)?;
        let share = if long > short { LONG } else { 0.0 };
        let score = self.bias + short + (long - short) * share;
        let stretches = [(from, to, 1.0 - share), (long_from, long_to, share)];
        Some(Found { view, stretches, score })
    }

    fn learn(&mut self, sample: &Sample, (rate, plan): (f32, &Plan)) {
        let Some(found) = self.heaviest(sample) else { return };
        let odds = 1.0 / (1.0 + (sample.cost - found.score).exp());
        let error = odds - if sample.is_attack { 1.0 } else { 0.0 };
        if error.abs() < 1e-3 {
            return;
        }
        let whole = error * plan.weight(sample);
        for (from, to, share) in found.stretches.into_iter().filter(|it| it.2 > 0.0) {
            let slope = whole * share;
            for feature in sample.views[found.view].of(from, to) {
                let at = *feature as usize;
                self.squares[at] += slope * slope;
                let step = rate * (slope / self.squares[at].sqrt() + plan.fade * self.weights[at]);
                self.weights[at] =
                    plan.bounded(*feature, self.weights[at] - step * plan.pace(*feature));
            }
        }
        self.bias -= rate * 0.02 * whole;
    }

    /// Whole numbers, the few that are too large cut off.
    #[expect(clippy::cast_possible_truncation, reason = "clamped just before")]
    fn quantised(&self) -> Model {
        let whole = |weight: &f32| (weight * UNIT).round().clamp(-127.0, 127.0) as i8;
        Model {
            weights: self.weights.iter().map(whole).collect(),
            bias: (self.bias * UNIT).round() as i32,
            unit: UNIT as i32,
            ..Model::blank()
        }
    }
}

/// What the weights were after each of the later rounds of all runs, summed: their mean depends less on the order of the
/// examples than the last of them.
#[derive(Default)]
struct Mean {
    weights: Vec<f32>,
    bias: f32,
    count: f32,
}

#[expect(clippy::float_arithmetic, reason = "learning is about fractions")]
impl Mean {
    fn add(&mut self, learner: &Learner) {
        self.weights.resize(learner.weights.len(), 0.0);
        self.weights.iter_mut().zip(&learner.weights).for_each(|(sum, weight)| *sum += weight);
        self.bias += learner.bias;
        self.count += 1.0;
    }

    fn take(self, learner: &mut Learner) {
        if self.count > 0.0 {
            learner.weights = self.weights.iter().map(|sum| sum / self.count).collect();
            learner.bias = self.bias / self.count;
        }
    }
}

#[expect(clippy::float_arithmetic, reason = "learning is about fractions")]
impl Plan {
    fn weight(&self, sample: &Sample) -> f32 {
        match (sample.is_attack, sample.is_light) {
            (true, _) => self.attack_weight,
            (false, true) => self.own_benign_weight,
            (false, false) => 1.0,
        }
    }

    fn pace(&self, feature: u32) -> f32 {
        if feature < WORDS_FROM { 1.0 } else { self.words }
    }

    fn bounded(&self, feature: u32, weight: f32) -> f32 {
        if feature >= WORDS_FROM {
            weight.clamp(-self.words_most, self.words_most)
        } else if let Some(rule) = rule_of(feature) {
            weight.max(self.rules_least * f32::from(rules::worth(rule)) / 4.0)
        } else {
            weight
        }
    }
}

/// Learns from samples. `said` hears after each round how far it is.
#[expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "learning is about fractions"
)]
pub fn learn(plan: &Plan, samples: &[&Sample], mut said: impl FnMut(usize, usize)) -> Model {
    let mut mean = Mean::default();
    let mut seed = 0x5eed_u64;
    for run in 0..RUNS {
        let mut learner = Learner::new(plan);
        let mut order: Vec<usize> = (0..samples.len()).collect();
        for round in 0..plan.rounds {
            shuffle(&mut order, &mut seed);
            let rate = plan.step / (1.0 + round as f32 * 0.5);
            for at in &order {
                learner.learn(samples[*at], (rate, plan));
            }
            if round * 2 >= plan.rounds {
                mean.add(&learner);
            }
            said(run * plan.rounds + round + 1, RUNS * plan.rounds);
        }
    }
    let mut learner = Learner::new(plan);
    mean.take(&mut learner);
    learner.quantised()
}

fn shuffle(order: &mut [usize], seed: &mut u64) {
    for at in (1..order.len()).rev() {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from((*seed >> 33) % (at as u64 + 1)).unwrap_or(0);
        order.swap(at, other);
    }
}

/// A number for each example; near copies of one another have the same, and so are never on both sides.
pub fn groups(examples: &[Example]) -> Vec<u32> {
    let mut parents: Vec<u32> = (0u32..).take(examples.len()).collect();
    let mut seen: HashMap<(usize, u64), u32> = HashMap::new();
    for (at, example) in (0u32..).zip(examples) {
        for (band, key) in bands(&example.text).into_iter().enumerate() {
            let other = *seen.entry((band, key)).or_insert(at);
            let (a, b) = (root(&mut parents, at), root(&mut parents, other));
            parents[a.max(b) as usize] = a.min(b);
        }
    }
    (0u32..).take(examples.len()).map(|at| root(&mut parents, at)).collect()
}

fn root(parents: &mut [u32], mut at: u32) -> u32 {
    while parents[at as usize] != at {
        parents[at as usize] = parents[parents[at as usize] as usize];
        at = parents[at as usize];
    }
    at
}

/// Signatures of a text: two texts that share half of their triples of words mostly share one.
fn bands(text: &str) -> [u64; 6] {
    let mut least = [u32::MAX; 12];
    let mut words = [SEED; 3];
    for token in
        verdict::views(text).first().iter().flat_map(|view| Words::new(view.folded.text.as_bytes()))
    {
        words = [words[1], words[2], token.hash];
        let triple = words.iter().fold(SEED, |hash, word| mix(hash, *word));
        for (salt, smallest) in (1u32..).zip(&mut least) {
            let mixed = (triple ^ salt.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
            *smallest = (*smallest).min((mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35));
        }
    }
    std::array::from_fn(|band| (u64::from(least[band * 2]) << 32) | u64::from(least[band * 2 + 1]))
}

/// What a text weighs in its heaviest way to be read, in the model's unit; no rule's tier counts.
pub fn weigh(model: &Model, text: &str) -> i32 {
    let weights = verdict::views(text).into_iter().map(|view| model.read(&view.folded.text).best);
    weights.max().unwrap_or(i32::MIN)
}

/// The weight that no more than `per_mille` of 1,000 benign texts reach.
pub fn cut(benign: &[i32], per_mille: usize) -> i32 {
    let mut all = benign.to_vec();
    all.sort_unstable_by(|a, b| b.cmp(a));
    let spent = all.len() * per_mille / 1_000;
    all.get(spent).map_or(i32::MAX, |weight| weight.saturating_add(1))
}
