//! From suites to a router: each suite is cross-validated by itself for the account, then all are learnt together, and
//! what was learnt is laid out as heads. Models that are in no suite are judged by tiers, which come of the suites'
//! own ranks of price and quality.

use super::dataset::Suite;
use super::fit::Examples;
use super::length;
use super::measure::Trial;
use super::operate::{self, Kept};
use super::report::Account;
use super::select::{self, Learnt};
use super::solve::Grid;
use super::table::Moments;
use super::taxonomy;
use crate::learned::file::{About, Operating, Source};
use crate::learned::heads::{Tier, VECTOR, Weights};

/// Tokens of an answer where none was ever counted.
const TOKENS_UNKNOWN: f64 = 300.0;
/// Answers that the mean length of a model weighs against that of one task.
const TOKENS_HOLD: f64 = 20.0;
/// Below this confidence a task has no name.
const OTHER_BELOW: f32 = 0.25;

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How queries are split.
    pub seed: u64,
    /// Folds of the cross-validation.
    pub folds: usize,
}

/// A router, but for the table of its embedding, and the account of it.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The heads' numbers.
    pub weights: Weights,
    /// What the file says of itself.
    pub about: About,
    /// The cross-validation of each suite.
    pub accounts: Vec<Account>,
}

/// How many pieces of work `train` tells of.
pub fn steps(suites: usize, wish: Wish) -> usize {
    suites * evaluation_steps(wish) + select::STEPS + 1
}

/// How many `evaluate` tells of.
pub fn evaluation_steps(wish: Wish) -> usize {
    wish.folds * (select::STEPS + 1)
}

/// A suite, cross-validated by itself: trained on the others of its queries, for each.
pub fn evaluate(suite: &Suite, inputs: Grid, wish: Wish, step: &mut dyn FnMut()) -> Account {
    let examples = Examples::new(std::slice::from_ref(suite), inputs, wish.seed);
    let crossed = select::cross_validate(&examples, wish.folds, step);
    let rows: Vec<usize> = (0..examples.len()).collect();
    let trial = first(select::trials(&examples, &rows, &crossed.expected));
    let length =
        first(select::trials(&examples, &rows, &length::cross_validate(&examples, wish.folds)));
    let kept = std::array::from_fn(|at| {
        operate::kept(&trial, |question| crossed.dials[examples.fold(question.row, wish.folds)][at])
    });
    Account::new(suite, trial, &length, kept)
}

/// A suite for strategies that learn nothing, beside what prompt length teaches.
pub fn unlearnt(suite: &Suite, inputs: Grid, wish: Wish) -> Account {
    let examples = Examples::new(std::slice::from_ref(suite), inputs, wish.seed);
    let rows: Vec<usize> = (0..examples.len()).collect();
    let length = length::cross_validate(&examples, wish.folds);
    let trial = first(select::trials(&examples, &rows, &length));
    Account::unlearnt(suite, trial.clone(), &trial)
}

fn first(trials: Vec<Trial>) -> Trial {
    trials.into_iter().next().unwrap_or_default()
}

/// Learns from all suites; `inputs` has a row for each query, in the order of suites and queries.
pub fn train(suites: &[Suite], inputs: &Grid, wish: Wish, step: &mut dyn FnMut()) -> Trained {
    let mut accounts = Vec::new();
    let mut from = 0;
    for suite in suites {
        let to = from + suite.queries.len();
        let cells = inputs.cells[from * inputs.columns..to * inputs.columns].to_vec();
        accounts.push(evaluate(suite, Grid { columns: inputs.columns, cells }, wish, step));
        from = to;
    }
    let examples = Examples::new(suites, inputs.clone(), wish.seed);
    let rows: Vec<usize> = (0..examples.len()).collect();
    let decision = select::select(&examples, &rows, step);
    let known = select::trials(&examples, &rows, &decision.expected);
    let learnt = Learnt::new(&examples, &rows, decision.plan);
    step();
    let about = About {
        data: suites.iter().map(source).collect(),
        seed: wish.seed,
        folds: wish.folds,
        evaluation: accounts.iter().map(Account::json).collect(),
        operating: operating(&known, &accounts),
    };
    Trained { weights: weights(&examples, suites, &learnt), about, accounts }
}

fn source(suite: &Suite) -> Source {
    Source {
        name: suite.name.clone(),
        source: suite.source.clone().unwrap_or_default(),
        licence: suite.licence.clone().unwrap_or_default(),
        queries: suite.queries.len(),
        digest: suite.digest.clone(),
        last: String::new(),
    }
}

/// The dial as it is set by all that is known, and what so set dials kept of what they had not seen.
fn operating(known: &[Trial], accounts: &[Account]) -> Vec<Operating> {
    let count = accounts.len().max(1) as f64;
    let mean = |at: usize, of: fn(&Kept) -> f64| {
        let kept = accounts.iter().filter_map(|account| Some(of(&account.kept?[at])));
        kept.sum::<f64>() / count
    };
    let point = |(at, target): (usize, &f64)| Operating {
        target: *target,
        alpha: f64::from(operate::settle(known, *target)),
        quality: mean(at, |kept| kept.quality),
        saved: mean(at, |kept| kept.saved),
    };
    operate::TARGETS.iter().enumerate().map(point).collect()
}

fn weights(examples: &Examples, suites: &[Suite], learnt: &Learnt) -> Weights {
    let tasks = examples.taxonomy.tasks.len();
    let labels: Vec<Option<usize>> = examples.taxonomy.labels.iter().copied().map(Some).collect();
    let mut vectors = Grid::new(examples.len(), VECTOR);
    for row in 0..examples.len() {
        vectors.row_mut(row).copy_from_slice(&examples.inputs.row(row)[..VECTOR]);
    }
    let tiers = Tiers::new(examples, suites);
    let counts = &learnt.basis.moments.counts;
    let strength = learnt.plan.strength.min(1e6);
    let evidence = Grid {
        columns: counts.columns,
        cells: counts.cells.iter().map(|count| count + strength).collect(),
    };
    let mut spread = Vec::new();
    for row in learnt.spread.cells.chunks_exact(examples.models.len()) {
        spread.extend(row.iter().map(|cell| *cell as f32));
        spread.extend([0.0; Tier::ALL.len()]);
    }
    Weights {
        tasks: examples.taxonomy.tasks.clone(),
        models: examples.models.clone(),
        offset: narrow(&learnt.basis.scale.offset),
        scale: narrow(&learnt.basis.scale.scale),
        classifier: narrow(&learnt.basis.classifier.cells),
        centroids: narrow(&taxonomy::middles(&vectors, &labels, tasks).cells),
        quality: tiers.widen(&learnt.table, (0.0, 1.0)),
        evidence: tiers.widen(&evidence, (0.0, f64::MAX)),
        tokens: tiers.widen(&lengths(&learnt.basis.tokens), (1.0, 1e6)),
        rise: narrow(&learnt.rise.cells),
        spread,
        other_below: OTHER_BELOW,
    }
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

/// Lengths of answers, by task and model; where a suite counted none, those that others counted.
fn lengths(tokens: &Moments) -> Grid {
    if tokens.counts.cells.iter().all(|count| *count == 0.0) {
        let cells = vec![TOKENS_UNKNOWN; tokens.sums.cells.len()];
        return Grid { columns: tokens.sums.columns, cells };
    }
    tokens.drawn(&tokens.additive(), TOKENS_HOLD)
}

/// Which models of each suite stand for which tier, and how many queries of each task each suite has.
struct Tiers {
    /// By suite and tier.
    models: Vec<[Vec<usize>; Tier::ALL.len()]>,
    /// By task and suite.
    shares: Grid,
}

impl Tiers {
    fn new(examples: &Examples, suites: &[Suite]) -> Self {
        let mut shares = Grid::new(examples.taxonomy.tasks.len(), suites.len());
        for (label, suite) in examples.taxonomy.labels.iter().zip(&examples.suites) {
            shares.row_mut(*label)[*suite] += 1.0;
        }
        let models = suites.iter().map(|suite| {
            let ranks = ranks(&suite.means(), &suite.mean_costs());
            ranks.map(|tier| {
                tier.into_iter().map(|model| examples.place(&suite.models[model])).collect()
            })
        });
        Self { models: models.collect(), shares }
    }

    /// A table with the columns of tiers behind those of models, all values between `least` and `most`.
    fn widen(&self, table: &Grid, (least, most): (f64, f64)) -> Vec<f32> {
        let mut wide = Vec::new();
        for task in 0..table.rows() {
            let row = table.row(task);
            wide.extend(row.iter().map(|cell| cell.clamp(least, most) as f32));
            for tier in 0..Tier::ALL.len() {
                let (mut sum, mut weight) = (0.0, 0.0);
                for (suite, share) in self.models.iter().zip(self.shares.row(task)) {
                    let models = &suite[tier];
                    let mean = models.iter().map(|model| row[*model]).sum::<f64>()
                        / models.len().max(1) as f64;
                    sum += share * mean;
                    weight += share;
                }
                wide.push((sum / weight.max(1e-9)).clamp(least, most) as f32);
            }
        }
        wide
    }
}

/// The models of a suite that stand for each tier: of those that nothing cheaper beats, the cheap, the middle and the
/// dear third on a logarithmic scale of cost; the nearest one where a third has none.
pub fn ranks(quality: &[f64], cost: &[f64]) -> [Vec<usize>; 3] {
    let beaten = |model: &usize| {
        (0..quality.len()).any(|other| {
            quality[other] > quality[*model] && cost[other] <= cost[*model]
                || quality[other] >= quality[*model] && cost[other] < cost[*model]
        })
    };
    let front: Vec<usize> = (0..quality.len()).filter(|model| !beaten(model)).collect();
    let place = |model: usize| cost[model].max(1e-9).ln();
    let least = front.iter().map(|model| place(*model)).fold(f64::INFINITY, f64::min);
    let most = front.iter().map(|model| place(*model)).fold(f64::NEG_INFINITY, f64::max);
    let share =
        |model: usize| if most > least { (place(model) - least) / (most - least) } else { 1.0 };
    std::array::from_fn(|tier| {
        let (from, to) = (tier as f64 / 3.0, (tier + 1) as f64 / 3.0);
        let inside: Vec<usize> =
            front.iter().copied().filter(|model| (from..=to).contains(&share(*model))).collect();
        if !inside.is_empty() {
            return inside;
        }
        let middle = f64::midpoint(from, to);
        let off = |model: &usize| (share(*model) - middle).abs();
        front
            .iter()
            .copied()
            .min_by(|one, other| off(one).total_cmp(&off(other)))
            .into_iter()
            .collect()
    })
}
