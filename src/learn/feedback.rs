//! The feedback loop: what became of requests moves the table of task by model. Each cell is a Beta counter, whose
//! evidence is what it rests on so far; nothing else of the router is touched. A request log holds no prompt, and none
//! is needed.
//!
//! That an answer came does not make it good: quality is learnt of scores alone, lengths of all answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::BuildHasher;

use serde_json::Value;
use thiserror::Error;

use super::fold;
use super::lines::LineError;
use crate::base::limit;
use crate::learned::heads::{Tier, Weights};

/// Requests of a model that is not known yet before it gets a column of its own.
const NEW_MODEL_REQUESTS: usize = 30;
/// Observations that a new model's tier weighs.
const TIER_EVIDENCE: f32 = 10.0;
/// One observation of so many is held out.
const HOLD_OUT: usize = 5;
/// Observations that must be held out; with less the comparison is luck.
const HELD_MIN: usize = 20;

/// One thing seen: how well a model did at a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    task: String,
    model: String,
    score: Option<f64>,
    tokens: Option<f64>,
    held: bool,
}

/// All that a log tells, and what it does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    seen: Vec<Seen>,
    /// Lines that name no task or no model.
    pub without_task: usize,
    /// Lines with a score.
    pub scored: usize,
    /// Lines passed over, because they were learnt from before.
    pub passed: usize,
    /// The request of the last line; empty without one.
    pub last: String,
}

/// Why a candidate is not better than what there is.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum FeedbackError {
    /// Too little of the log is about tasks and models of this router.
    #[error(
        "only {held} requests of the log are held out for the comparison, and {HELD_MIN} are needed ({unknown} name a task that this router does not know)"
    )]
    TooLittle {
        /// Observations held out.
        held: usize,
        /// Observations of unknown tasks.
        unknown: usize,
    },
    /// The candidate is not better where neither has learnt.
    #[error(
        "the candidate is not better than the current file: its error of {of} on {held} held-out requests is {candidate:.5}, that of the current one {current:.5}"
    )]
    NotBetter {
        /// What was compared.
        of: Measure,
        /// Observations held out.
        held: usize,
        /// Mean squared error of the candidate.
        candidate: f64,
        /// That of the current file.
        current: f64,
    },
}

/// By what a candidate is compared with the current file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The scores of answers.
    Quality,
    /// Their lengths in tokens: too few were scored.
    Length,
}

impl Measure {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quality => "quality",
            Self::Length => "length",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the loop found.
#[derive(Clone, Debug, PartialEq)]
pub struct Improved {
    /// The candidate's numbers.
    pub weights: Weights,
    /// Observations learnt from.
    pub learnt: usize,
    /// What was compared; of the length alone, no quality was touched.
    pub by: Measure,
    /// Observations held out.
    pub held: usize,
    /// Mean squared error of the candidate on those, and of the current file.
    pub errors: (f64, f64),
    /// Models that got a column of their own.
    pub new_models: Vec<String>,
}

/// Scores by request: lines of `{"id", "score"}`.
///
/// # Errors
/// The line and the field that is wrong.
pub fn scores<'a>(lines: impl Iterator<Item = &'a str>) -> Result<HashMap<String, f64>, LineError> {
    let mut scores = HashMap::new();
    for (at, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |field: &str, why: &str| LineError {
            line: at + 1,
            field: field.into(),
            why: why.into(),
        };
        let value: Value =
            serde_json::from_str(line).map_err(|error| wrong("the line", &error.to_string()))?;
        let id = id(&value).ok_or_else(|| wrong("id", "missing, or not a name"))?;
        let score = value.get("score").and_then(Value::as_f64);
        let score = score.filter(|score| (0.0..=1.0).contains(score));
        scores.insert(id, score.ok_or_else(|| wrong("score", "not a number between 0 and 1"))?);
    }
    Ok(scores)
}

fn id(value: &Value) -> Option<String> {
    let known = ["request_id", "id"].iter().find_map(|field| value.get(*field)?.as_str());
    known.map(str::to_owned)
}

/// Reads a request log behind the line of the request `after`, where that is in it; logs grow, and no line is to be
/// learnt twice.
///
/// # Errors
/// The line that is not an object of JSON, or too many of them.
pub fn read<'a, S: BuildHasher>(
    lines: impl Iterator<Item = &'a str>,
    scores: &HashMap<String, f64, S>,
    after: &str,
) -> Result<Log, LineError> {
    let mut log = Log::default();
    for (at, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |field: &str, why: String| LineError { line: at + 1, field: field.into(), why };
        if log.seen.len() >= limit::LEARN_LOG_LINES_MAX {
            return Err(wrong(
                "the log",
                format!("more than {} requests", limit::LEARN_LOG_LINES_MAX),
            ));
        }
        let value: Value =
            serde_json::from_str(line).map_err(|error| wrong("the line", error.to_string()))?;
        if !value.is_object() {
            return Err(wrong("the line", "not an object".to_owned()));
        }
        let held = fold::of(fold::key(line, 0), HOLD_OUT) == 0;
        log.take(&value, scores, held);
        log.last = id(&value).unwrap_or_default();
        if !after.is_empty() && log.last == after {
            let passed = at + 1;
            log = Log { passed, last: log.last, ..Log::default() };
        }
    }
    Ok(log)
}

impl Log {
    fn take<S: BuildHasher>(
        &mut self,
        value: &Value,
        scores: &HashMap<String, f64, S>,
        held: bool,
    ) {
        let text =
            |field: &str| value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(task) = text("task_type") else {
            self.without_task += 1;
            return;
        };
        let score = id(value).and_then(|id| scores.get(&id).copied());
        self.scored += usize::from(score.is_some());
        let Some(model) = text("final_model").or_else(|| text("decision_model")) else { return };
        // An answer that broke off says nothing of lengths.
        let is_whole = value.get("ok").and_then(Value::as_bool) != Some(false);
        let tokens = value.get("completion_tokens").and_then(Value::as_f64);
        let tokens = tokens.filter(|count| is_whole && *count > 0.0);
        self.seen.push(Seen { task: task.into(), model: model.into(), score, tokens, held });
    }
}

/// The table moved by a log, if that is better where neither has learnt.
///
/// # Errors
/// The log says too little, or the candidate is not better.
pub fn improve(current: &Weights, log: &Log) -> Result<Improved, FeedbackError> {
    let (started, new_models) = with_new_models(current, log);
    let mut weights = started.clone();
    let mut known = Vec::new();
    for seen in &log.seen {
        let task = weights.tasks.iter().position(|task| *task == seen.task);
        let model = weights.models.iter().position(|model| *model == seen.model);
        if let (Some(task), Some(model)) = (task, model) {
            known.push((task * weights.columns() + model, seen));
        }
    }
    let unknown = log.seen.iter().filter(|seen| !weights.tasks.contains(&seen.task)).count();
    let held = |measure| {
        let own = known.iter().filter(|(_, seen)| seen.held);
        own.filter_map(|(cell, seen)| Some((*cell, seen.of(measure)?))).collect::<Vec<_>>()
    };
    let (scored, lengths) = (held(Measure::Quality), held(Measure::Length));
    let (by, held) = if scored.len() < HELD_MIN {
        (Measure::Length, lengths)
    } else {
        (Measure::Quality, scored)
    };
    if held.len() < HELD_MIN {
        return Err(FeedbackError::TooLittle { held: held.len(), unknown });
    }
    let learnt = learn(&mut weights, &known, by);
    let (candidate, before) = (error(&weights, &held, by), error(&started, &held, by));
    if candidate >= before {
        return Err(FeedbackError::NotBetter {
            of: by,
            held: held.len(),
            candidate,
            current: before,
        });
    }
    let errors = (candidate, before);
    Ok(Improved { weights, learnt, by, held: held.len(), errors, new_models })
}

impl Seen {
    /// What it says of that measure.
    fn of(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Quality => self.score,
            Measure::Length => self.tokens,
        }
    }
}

/// Mean squared error of the table in those cells.
fn error(of: &Weights, held: &[(usize, f64)], by: Measure) -> f64 {
    let table = match by {
        Measure::Quality => &of.quality,
        Measure::Length => &of.tokens,
    };
    let misses = held.iter().map(|(cell, value)| f64::from(table[*cell]) - value);
    let squares = misses.map(|miss| miss * miss);
    squares.sum::<f64>() / held.len().max(1) as f64
}

/// Moves the table by all that is not held out; says by how much of it.
fn learn(weights: &mut Weights, known: &[(usize, &Seen)], by: Measure) -> usize {
    // Lengths are known whether or not an answer was scored, so that they have evidence of their own.
    let mut lengths: Vec<f64> = weights.evidence.iter().map(|one| f64::from(*one)).collect();
    let mut learnt = 0;
    for (cell, seen) in known.iter().filter(|(_, seen)| !seen.held) {
        let score = seen.score.filter(|_| by == Measure::Quality);
        learnt += usize::from(score.is_some() || seen.tokens.is_some());
        if let Some(tokens) = seen.tokens {
            lengths[*cell] += 1.0;
            let length = f64::from(weights.tokens[*cell]);
            weights.tokens[*cell] = (length + (tokens - length) / lengths[*cell]) as f32;
        }
        if let Some(score) = score {
            let evidence = f64::from(weights.evidence[*cell]);
            let sum = f64::from(weights.quality[*cell]) * evidence + score;
            weights.quality[*cell] = (sum / (evidence + 1.0)) as f32;
            weights.evidence[*cell] = (evidence + 1.0) as f32;
        }
    }
    learnt
}

/// Adds a column for each model that the log speaks of often enough; it starts as the middle tier.
fn with_new_models(current: &Weights, log: &Log) -> (Weights, Vec<String>) {
    let known: BTreeSet<&str> = current.models.iter().map(String::as_str).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seen in log.seen.iter().filter(|seen| !known.contains(seen.model.as_str())) {
        *counts.entry(&seen.model).or_default() += 1;
    }
    let room = limit::LEARNED_MODELS_MAX.saturating_sub(current.models.len());
    let new: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| *count >= NEW_MODEL_REQUESTS)
        .take(room)
        .map(|(model, _)| model.to_owned())
        .collect();
    let mut weights = current.clone();
    let widen = |matrix: &[f32], fresh: &dyn Fn(f32) -> f32| -> Vec<f32> {
        let mut wide = Vec::new();
        for row in matrix.chunks_exact(current.columns()) {
            let (models, tiers) = row.split_at(current.models.len());
            wide.extend_from_slice(models);
            wide.extend(std::iter::repeat_n(fresh(tiers[tiers.len() / 2]), new.len()));
            wide.extend_from_slice(tiers);
        }
        wide
    };
    debug_assert_eq!(Tier::ALL[Tier::ALL.len() / 2], Tier::Reasoning);
    weights.quality = widen(&current.quality, &|tier| tier);
    weights.evidence = widen(&current.evidence, &|_| TIER_EVIDENCE);
    weights.tokens = widen(&current.tokens, &|tier| tier);
    weights.spread = widen(&current.spread, &|_| 0.0);
    weights.models.extend(new.iter().cloned());
    (weights, new)
}
