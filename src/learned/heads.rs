//! What follows from a prompt's vector: its task, and a quality and a length of answer for each model. It is a
//! softmax over tasks, a table of task by model, and a correction of low rank. It does not weigh quality against
//! cost (`choose`), and is not trained here (`learn::train`).

#![expect(
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "qualities are estimates; costs are integers, and only compared"
)]

use thiserror::Error;

use crate::base::limit;
use crate::learned::table::DIMENSIONS;

/// Numbers that describe a vector of the embedding.
pub const VECTOR: usize = DIMENSIONS;
/// Weights of one row are padded to this many, so that all rows are whole SIMD registers.
const LANES: usize = 8;
/// How far from its mean, in standard deviations, an input may lie. Further out nothing was seen in training, and a
/// line drawn there would lead anywhere.
const INPUT_SPAN: f32 = 4.0;
/// The task of prompts that look like none of the known ones.
pub const OTHER: &str = "other";

/// The rank of a model in a catalog. Models that were not in the training data are judged by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Cheap and quick.
    Fast,
    /// In the middle.
    Reasoning,
    /// The best there is.
    Oracle,
}

impl Tier {
    /// All, from cheap to dear: the order of the columns behind those of the models.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Reasoning, Self::Oracle];

    fn place(self) -> usize {
        match self {
            Self::Fast => 0,
            Self::Reasoning => 1,
            Self::Oracle => 2,
        }
    }
}

/// A column of the table: a trained model, or a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column(usize);

/// All numbers of the heads, as they are trained and filed. Matrices are row after row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// Names of the tasks.
    pub tasks: Vec<String>,
    /// Names of the trained models.
    pub models: Vec<String>,
    /// What is taken from each input, then by what it is multiplied.
    pub offset: Vec<f32>,
    /// See `offset`.
    pub scale: Vec<f32>,
    /// Inputs and a constant by tasks: the logits of the softmax.
    pub classifier: Vec<f32>,
    /// Tasks by `VECTOR`: the middle of each task, of length one.
    pub centroids: Vec<f32>,
    /// Tasks by models and tiers: the quality expected, 0 to 1.
    pub quality: Vec<f32>,
    /// Tasks by models and tiers: how many observations the quality rests on.
    pub evidence: Vec<f32>,
    /// Tasks by models and tiers: tokens of an answer.
    pub tokens: Vec<f32>,
    /// Inputs and a constant by rank, the first half of the correction.
    pub rise: Vec<f32>,
    /// Rank by models and tiers, the second half of the correction.
    pub spread: Vec<f32>,
    /// Below this confidence the task is called `OTHER`.
    pub other_below: f32,
}

impl Weights {
    /// Columns of the table.
    pub fn columns(&self) -> usize {
        self.models.len() + Tier::ALL.len()
    }

    /// Rank of the correction; 0 without one.
    pub fn rank(&self) -> usize {
        self.rise.len() / (self.offset.len() + 1)
    }
}

/// Why numbers are not heads.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HeadsError {
    /// Another number of values than the names ask for.
    #[error("{what}: {found} values where {wanted} belong")]
    Size {
        /// Which matrix.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        wanted: usize,
    },
    /// A value that is no finite number.
    #[error("{what}: value {at} is not a finite number")]
    Infinite {
        /// Which matrix.
        what: &'static str,
        /// Its place.
        at: usize,
    },
    /// No tasks, no models, or more than there may be.
    #[error("{what}: {found} of 1 to {most}")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
}

/// Heads that are ready to judge.
#[derive(Clone, Debug)]
pub struct Heads {
    weights: Weights,
    /// The classifier in rows of whole registers.
    classifier: Vec<f32>,
    lanes: usize,
    rise: Vec<f32>,
    rank_lanes: usize,
}

/// What is expected of each of the models that were asked for.
#[derive(Clone, Debug)]
pub struct Judgement<'a> {
    /// The task that is most likely, or `OTHER`.
    pub task: &'a str,
    /// How likely it is, 0 to 1.
    pub confidence: f32,
    /// Cosine to the middle of the nearest task; small for prompts that are unlike all training data.
    pub similarity: f32,
    quality: [f32; limit::ROUTED_MODELS_MAX],
    output_tokens: [u32; limit::ROUTED_MODELS_MAX],
    models: usize,
}

impl Judgement<'_> {
    /// Expected quality of each column that was asked for, 0 to 1, in their order.
    pub fn quality(&self) -> &[f32] {
        &self.quality[..self.models]
    }

    /// Expected tokens of the answer of each column that was asked for, in their order.
    pub fn output_tokens(&self) -> &[u32] {
        &self.output_tokens[..self.models]
    }
}

/// A matrix with rows of `from` values in rows of `to`, filled with zeros.
fn padded(values: &[f32], from: usize, to: usize) -> Vec<f32> {
    let mut wide = Vec::with_capacity(values.len() / from.max(1) * to);
    for row in values.chunks_exact(from.max(1)) {
        wide.extend_from_slice(row);
        wide.resize(wide.len() + to - from, 0.0);
    }
    wide
}

impl Heads {
    /// Checks the numbers and lays them out.
    ///
    /// # Errors
    /// What is missing, too much, or not a number.
    pub fn new(weights: Weights) -> Result<Self, HeadsError> {
        count("tasks", weights.tasks.len(), limit::LEARNED_TASKS_MAX)?;
        count("models", weights.models.len(), limit::LEARNED_MODELS_MAX)?;
        count("inputs", weights.offset.len(), limit::LEARNED_INPUTS_MAX)?;
        let (tasks, columns) = (weights.tasks.len(), weights.columns());
        let (inputs, rank) = (weights.offset.len(), weights.rank());
        count("rank of the correction", rank + 1, limit::LEARNED_RANK_MAX + 1)?;
        for (what, values, wanted) in [
            ("scale", &weights.scale, inputs),
            ("offset", &weights.offset, inputs.max(VECTOR)),
            ("classifier", &weights.classifier, (inputs + 1) * tasks),
            ("centroids", &weights.centroids, tasks * VECTOR),
            ("quality", &weights.quality, tasks * columns),
            ("evidence", &weights.evidence, tasks * columns),
            ("tokens", &weights.tokens, tasks * columns),
            ("rise", &weights.rise, (inputs + 1) * rank),
            ("spread", &weights.spread, rank * columns),
        ] {
            numbers(what, values, wanted)?;
        }
        numbers("other_below", &[weights.other_below], 1)?;
        let lanes = tasks.next_multiple_of(LANES);
        let rank_lanes = rank.next_multiple_of(LANES);
        let classifier = padded(&weights.classifier, tasks, lanes);
        let rise = padded(&weights.rise, rank, rank_lanes);
        Ok(Self { weights, classifier, lanes, rise, rank_lanes })
    }

    /// The numbers behind it.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// How many numbers describe a prompt.
    pub fn inputs(&self) -> usize {
        self.weights.offset.len()
    }

    /// The column of a trained model, else of a tier.
    pub fn resolve(&self, name: &str, tier: Tier) -> Column {
        let known = self.weights.models.iter().position(|model| model == name);
        Column(known.unwrap_or(self.weights.models.len() + tier.place()))
    }

    /// Whether a model of this name was trained.
    pub fn knows(&self, name: &str) -> bool {
        self.weights.models.iter().any(|model| model == name)
    }

    /// What is expected of each of `columns` for a prompt of these inputs (the first `VECTOR` are its vector). Columns
    /// beyond `limit::ROUTED_MODELS_MAX` are not judged.
    pub fn judge(&self, inputs: &[f32], columns: &[Column]) -> Judgement<'_> {
        let mut seen = [0.0f32; limit::LEARNED_INPUTS_MAX];
        let known = self.weights.offset.iter().zip(&self.weights.scale);
        for ((place, value), (offset, scale)) in seen.iter_mut().zip(inputs).zip(known) {
            *place = ((value - offset) * scale).clamp(-INPUT_SPAN, INPUT_SPAN);
        }
        let seen = &seen[..self.inputs()];
        let mut odds = [0.0f32; limit::LEARNED_TASKS_MAX];
        multiply(&self.classifier, seen, &mut odds[..self.lanes]);
        let odds = &mut odds[..self.weights.tasks.len()];
        softmax(odds);
        let (task, confidence) = largest(odds);
        let name =
            if confidence < self.weights.other_below { OTHER } else { &self.weights.tasks[task] };
        let mut judgement = Judgement {
            task: name,
            confidence,
            similarity: self.similarity(inputs),
            quality: [0.0; limit::ROUTED_MODELS_MAX],
            output_tokens: [0; limit::ROUTED_MODELS_MAX],
            models: columns.len().min(limit::ROUTED_MODELS_MAX),
        };
        self.fill(seen, odds, columns, &mut judgement);
        judgement
    }

    fn fill(&self, seen: &[f32], odds: &[f32], columns: &[Column], judgement: &mut Judgement<'_>) {
        let weights = &self.weights;
        let wide = weights.columns();
        let mut lean = [0.0f32; limit::LEARNED_RANK_MAX];
        multiply(&self.rise, seen, &mut lean[..self.rank_lanes]);
        let mut tokens = [0.0f32; limit::ROUTED_MODELS_MAX];
        for (task, odd) in odds.iter().enumerate() {
            let (from, to) = (task * wide, (task + 1) * wide);
            let (quality, length) = (&weights.quality[from..to], &weights.tokens[from..to]);
            for (place, Column(column)) in columns.iter().enumerate().take(judgement.models) {
                judgement.quality[place] += odd * quality.get(*column).copied().unwrap_or_default();
                tokens[place] += odd * length.get(*column).copied().unwrap_or_default();
            }
        }
        for (row, lean) in weights.spread.chunks_exact(wide).zip(&lean) {
            for (place, Column(column)) in columns.iter().enumerate().take(judgement.models) {
                judgement.quality[place] += lean * row.get(*column).copied().unwrap_or_default();
            }
        }
        for (place, tokens) in tokens.iter().enumerate().take(judgement.models) {
            judgement.quality[place] = judgement.quality[place].clamp(0.0, 1.0);
            // As a cast saturates, this is the nearest number that there is.
            judgement.output_tokens[place] = tokens.round() as u32;
        }
    }

    /// Cosine to the nearest centroid; the vector of a prompt without words is zero, and near to nothing.
    fn similarity(&self, inputs: &[f32]) -> f32 {
        let vector = &inputs[..VECTOR.min(inputs.len())];
        let near =
            self.weights.centroids.chunks_exact(VECTOR).map(|centroid| cosine(vector, centroid));
        near.fold(0.0, f32::max)
    }
}

/// The inner product in eight sums, always in the same order.
fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (one, other) in one.chunks_exact(LANES).zip(other.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += one[lane] * other[lane];
        }
    }
    sums.iter().sum()
}

/// The constant's row, and each input times its row.
fn multiply(rows: &[f32], inputs: &[f32], sums: &mut [f32]) {
    if sums.is_empty() {
        return;
    }
    let (rows, constant) = rows.split_at(inputs.len() * sums.len());
    sums.copy_from_slice(&constant[..sums.len()]);
    for (input, row) in inputs.iter().zip(rows.chunks_exact(sums.len())) {
        for (sum, weight) in sums.iter_mut().zip(row) {
            *sum += input * weight;
        }
    }
}

/// Logits to shares of one.
fn softmax(odds: &mut [f32]) {
    let most = odds.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for odd in odds.iter_mut() {
        *odd = (*odd - most).exp();
        sum += *odd;
    }
    for odd in odds {
        *odd /= sum;
    }
}

/// The place and the value of the largest; the first of equal ones.
fn largest(odds: &[f32]) -> (usize, f32) {
    odds.iter()
        .copied()
        .enumerate()
        .fold((0, 0.0), |most, one| if one.1 > most.1 { one } else { most })
}

fn count(what: &'static str, found: usize, most: usize) -> Result<(), HeadsError> {
    if found == 0 || found > most {
        return Err(HeadsError::Count { what, found, most });
    }
    Ok(())
}

fn numbers(what: &'static str, values: &[f32], wanted: usize) -> Result<(), HeadsError> {
    if values.len() != wanted {
        return Err(HeadsError::Size { what, found: values.len(), wanted });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(HeadsError::Infinite { what, at }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learned::choose::{self, Preference, Reason};

    /// Two tasks along the first direction of the vector, two models, one of which is good at each.
    fn weights() -> Weights {
        let inputs = VECTOR + 2;
        let mut classifier = vec![0.0; (inputs + 1) * 2];
        classifier[0] = 4.0;
        classifier[1] = -4.0;
        let mut centroids = vec![0.0; 2 * VECTOR];
        centroids[0] = 1.0;
        centroids[VECTOR] = -1.0;
        Weights {
            tasks: vec!["code".into(), "prose".into()],
            models: vec!["coder".into(), "writer".into()],
            offset: vec![0.0; inputs],
            scale: vec![1.0; inputs],
            classifier,
            centroids,
            quality: vec![0.9, 0.2, 0.3, 0.5, 0.8, 0.1, 0.7, 0.3, 0.5, 0.8],
            evidence: vec![1.0; 10],
            tokens: vec![100.0, 200.0, 50.0, 60.0, 70.0, 300.0, 400.0, 50.0, 60.0, 70.0],
            rise: Vec::new(),
            spread: Vec::new(),
            other_below: 0.6,
        }
    }

    fn prompt(first: f32) -> Vec<f32> {
        let mut inputs = vec![0.0; VECTOR + 2];
        inputs[0] = first;
        inputs
    }

    #[test]
    fn the_task_decides_what_is_expected_of_a_model() {
        let heads = Heads::new(weights()).unwrap();
        let columns = [heads.resolve("coder", Tier::Fast), heads.resolve("writer", Tier::Fast)];
        let code = heads.judge(&prompt(1.0), &columns);
        assert_eq!(code.task, "code");
        assert!(code.quality()[0] > 0.85 && code.quality()[1] < 0.25, "{:?}", code.quality());
        assert_eq!(code.output_tokens(), [100, 200]);
        let prose = heads.judge(&prompt(-1.0), &columns);
        assert!(prose.task == "prose" && prose.quality()[1] > prose.quality()[0]);
    }

    #[test]
    fn an_unknown_model_is_judged_by_its_tier() {
        let heads = Heads::new(weights()).unwrap();
        let columns = Tier::ALL.map(|tier| heads.resolve("never seen", tier));
        let judged = heads.judge(&prompt(1.0), &columns);
        let quality: Vec<f32> = judged.quality().iter().map(|one| (one * 100.0).round()).collect();
        assert_eq!(quality, [30.0, 50.0, 80.0]);
        assert!(heads.knows("coder") && !heads.knows("never seen"));
    }

    #[test]
    fn what_looks_like_nothing_known_has_no_name_and_no_prediction() {
        let heads = Heads::new(weights()).unwrap();
        let columns = [heads.resolve("coder", Tier::Fast), heads.resolve("writer", Tier::Fast)];
        let judged = heads.judge(&prompt(0.0), &columns);
        assert_eq!((judged.task, judged.confidence), (OTHER, 0.5));
        assert!(judged.similarity < 0.01);
        let wish = Preference { min_similarity: 0.1, baseline: Some(1), ..Preference::default() };
        let choice = choose::choose(&judged, &[1, 2], &wish);
        assert_eq!(choice.map(|one| (one.index, one.reason)), Some((1, Reason::Unsure)));
    }

    #[test]
    fn the_correction_moves_single_prompts() {
        let mut corrected = weights();
        corrected.rise = vec![0.0; VECTOR + 3];
        corrected.rise[VECTOR] = 0.5;
        corrected.spread = vec![0.0, 0.4, 0.0, 0.0, 0.0];
        let heads = Heads::new(corrected).unwrap();
        let columns = [heads.resolve("coder", Tier::Fast), heads.resolve("writer", Tier::Fast)];
        let mut inputs = prompt(1.0);
        let before = heads.judge(&inputs, &columns).quality()[1];
        inputs[VECTOR] = 1.0;
        let after = heads.judge(&inputs, &columns);
        assert!((after.quality()[1] - before - 0.2).abs() < 1e-5, "{:?}", after.quality());
        inputs[VECTOR] = f32::MAX;
        let far = heads.judge(&inputs, &columns).quality()[1];
        assert!((far - before - 0.8).abs() < 1e-2, "inputs are cut, and so is what follows: {far}");
    }

    #[test]
    fn numbers_that_are_no_heads_are_refused_by_name() {
        let refused = |change: &dyn Fn(&mut Weights)| {
            let mut wrong = weights();
            change(&mut wrong);
            Heads::new(wrong).unwrap_err().to_string()
        };
        assert!(refused(&|one| one.quality[3] = f32::NAN).contains("quality: value 3"));
        assert!(refused(&|one| one.tokens.truncate(9)).contains("tokens: 9 values where 10"));
        assert!(refused(&|one| one.models.clear()).contains("models: 0 of 1"));
        assert!(refused(&|one| one.tasks = vec!["x".into(); 33]).contains("tasks: 33"));
    }

    #[test]
    fn more_columns_than_may_be_asked_for_are_not_judged() {
        let heads = Heads::new(weights()).unwrap();
        let columns = vec![heads.resolve("coder", Tier::Fast); limit::ROUTED_MODELS_MAX + 9];
        assert_eq!(heads.judge(&prompt(1.0), &columns).quality().len(), limit::ROUTED_MODELS_MAX);
    }
}
