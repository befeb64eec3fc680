//! How strongly the table is drawn, and whether the correction helps: decided by cross-validation inside of what may
//! be seen. When nothing wins, the table is drawn all the way, and the router is a constant mix.

use super::fit::{Basis, Examples, low_rank, residual};
use super::measure::{Question, Trial};
use super::operate;
use super::prices::Prices;
use super::solve::{Grid, add_scaled};

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Observations that the prior of a cell weighs.
    pub strength: f64,
    /// The penalty on the correction's weights.
    pub ridge: f64,
    /// How much of the correction is believed, 0 to 1.
    pub weight: f64,
}

/// Strengths to try; with `BLIND` all tasks have the same order of models.
pub const STRENGTHS: [f64; 4] = [15.0, 40.0, 120.0, 400.0];
/// The strength of a constant mix.
pub const BLIND: f64 = 1e12;
/// Penalties to try.
pub const RIDGES: [f64; 3] = [1_600.0, 4_000.0, 10_000.0];
/// Weights of the correction to try.
pub const WEIGHTS: [f64; 2] = [0.5, 1.0];
/// Rank of the correction.
pub const RANK: usize = 8;
/// The penalty of the classifier.
pub const PENALTY: f64 = 40.0;
/// Folds of the inner cross-validation.
pub const INNER_FOLDS: usize = 5;
/// Points of gap that each step away from the constant mix must win. Less is chance.
const MARGIN: f64 = 0.002;

/// Points of gap by which a constant mix must beat all tables to be taken.
const LOSS: f64 = 0.005;

/// What was learnt on some rows by one plan.
#[derive(Clone, Debug)]
pub struct Learnt {
    /// Scale, classifier, sums.
    pub basis: Basis,
    /// Tasks by models.
    pub table: Grid,
    /// The correction's halves, with its weight in the second one; empty without one.
    pub rise: Grid,
    /// See `rise`.
    pub spread: Grid,
    /// By which plan.
    pub plan: Plan,
}

impl Learnt {
    /// Learns from `rows` by `plan`.
    pub fn new(examples: &Examples, rows: &[usize], plan: Plan) -> Self {
        Self::new_on(Basis::learn(examples, rows, PENALTY), examples, rows, plan)
    }

    /// The same on what was learnt before.
    pub fn new_on(basis: Basis, examples: &Examples, rows: &[usize], plan: Plan) -> Self {
        let table = basis.moments.drawn(&basis.prior, plan.strength);
        let (mut rise, mut spread) = (Grid::default(), Grid::default());
        if plan.weight > 0.0 {
            (rise, spread) =
                low_rank(&residual(&basis, examples, rows, (&table, plan.ridge)), RANK);
            spread.cells.iter_mut().for_each(|cell| *cell *= plan.weight);
        }
        Self { basis, table, rise, spread, plan }
    }

    /// The quality expected of each model on a row.
    pub fn expect(&self, row: usize, odds: &[f64]) -> Vec<f64> {
        let mut quality = vec![0.0; self.table.columns];
        self.table.apply(odds, &mut quality);
        if !self.rise.cells.is_empty() {
            let mut lean = vec![0.0; self.rise.columns];
            self.rise.apply(self.basis.scaled.row(row), &mut lean);
            for (lean, spread) in
                lean.iter().zip(self.spread.cells.chunks_exact(self.spread.columns))
            {
                add_scaled(&mut quality, *lean, spread);
            }
        }
        quality
    }
}

/// What was expected of rows that were held out: quality and price of each model.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Rows by models.
    pub quality: Grid,
    /// Rows by models, nano-dollars.
    pub prices: Vec<Vec<i64>>,
}

/// One trial for each suite, over those of `rows` on which all its models were tried.
pub fn trials(examples: &Examples, rows: &[usize], expected: &Expected) -> Vec<Trial> {
    let suites = examples.suites.iter().max().map_or(0, |last| last + 1);
    (0..suites).map(|suite| trial(examples, rows, (suite, expected))).collect()
}

fn trial(examples: &Examples, rows: &[usize], (suite, expected): (usize, &Expected)) -> Trial {
    let mine: Vec<usize> =
        rows.iter().copied().filter(|row| examples.suites[*row] == suite).collect();
    let models = examples.tried(&mine);
    let names = models.iter().map(|model| examples.models[*model].clone()).collect();
    let mut trial = Trial { models: names, ..Trial::default() };
    for row in mine {
        let found = models.iter().map(|model| examples.outcome(row, *model));
        let Some(found) = found.collect::<Option<Vec<_>>>() else { continue };
        trial.questions.push(Question {
            row,
            quality: found.iter().map(|one| one.quality.unwrap_or_default()).collect(),
            cost: found.iter().map(|one| one.cost.unwrap_or_default()).collect(),
            expected: models.iter().map(|model| expected.quality.row(row)[*model] as f32).collect(),
            price: models.iter().map(|model| expected.prices[row][*model]).collect(),
        });
    }
    let best =
        trial.singles().into_iter().max_by(|one, other| one.quality.total_cmp(&other.quality));
    trial.yardstick = best.map_or(1, |best| best.cost.round() as i64).max(1);
    trial
}

/// Mean gap over suites.
pub fn score(examples: &Examples, rows: &[usize], expected: &Expected) -> f64 {
    let gaps: Vec<f64> = trials(examples, rows, expected)
        .iter()
        .filter_map(|trial| Some(trial.measure()?.sober_gap()))
        .collect();
    gaps.iter().sum::<f64>() / gaps.len().max(1) as f64
}

/// A fold of the inner cross-validation: what its rest taught, and what that says of its rows.
struct Inner {
    basis: Basis,
    train: Vec<usize>,
    test: Vec<usize>,
    odds: Vec<Vec<f64>>,
}

impl Expected {
    /// Nothing of any row yet.
    pub fn new(examples: &Examples) -> Self {
        let quality = Grid::new(examples.len(), examples.models.len());
        Self { quality, prices: vec![Vec::new(); examples.len()] }
    }
}

/// A decision, and what it rests on.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The plan.
    pub plan: Plan,
    /// What each row was expected to be under it by those who had not seen it.
    pub expected: Expected,
}

/// Decides by cross-validation among `rows`; `step` is told about each piece of work done (`STEPS` of them).
pub fn select(examples: &Examples, rows: &[usize], step: &mut dyn FnMut()) -> Decision {
    let prices = Prices::learn(examples, rows);
    let mut expected = Expected::new(examples);
    let mut inner = Vec::new();
    for fold in 0..INNER_FOLDS {
        let (train, test): (Vec<usize>, Vec<usize>) =
            rows.iter().partition(|row| examples.inner_fold(**row, INNER_FOLDS) != fold);
        let basis = Basis::learn(examples, &train, PENALTY);
        let odds: Vec<Vec<f64>> = test.iter().map(|row| basis.odds(*row)).collect();
        for (row, odds) in test.iter().zip(&odds) {
            expected.prices[*row] = prices.of(examples, *row, odds);
        }
        inner.push(Inner { basis, train, test, odds });
        step();
    }
    let mut field = Field { examples, rows, inner, expected };
    let blind = Plan { strength: BLIND, ridge: RIDGES[0], weight: 0.0 };
    // From weak tables to strong ones: each step must win more than chance does. A weak table that does not help does
    // no harm either, so that only a clear loss makes a constant mix of it.
    let weak = Plan { strength: STRENGTHS[STRENGTHS.len() - 1], ..blind };
    let mut best = (weak, field.try_plan(weak));
    for strength in STRENGTHS.iter().rev().skip(1) {
        best = field.better(best, Plan { strength: *strength, ..blind });
    }
    let constant = field.try_plan(blind);
    if constant > best.1 + LOSS {
        best = (blind, constant);
    }
    step();
    let table = best.0.strength;
    for strength in if table < BLIND { vec![table, BLIND] } else { vec![BLIND] } {
        for (ridge, weight) in
            RIDGES.iter().rev().flat_map(|ridge| WEIGHTS.map(|weight| (*ridge, weight)))
        {
            best = field.better(best, Plan { strength, ridge, weight });
        }
    }
    step();
    field.try_plan(best.0);
    Decision { plan: best.0, expected: field.expected }
}

/// How often `select` tells of its work.
pub const STEPS: usize = INNER_FOLDS + 2;

/// What plans are tried on.
struct Field<'a> {
    examples: &'a Examples,
    rows: &'a [usize],
    inner: Vec<Inner>,
    expected: Expected,
}

impl Field<'_> {
    fn better(&mut self, best: (Plan, f64), plan: Plan) -> (Plan, f64) {
        let score = self.try_plan(plan);
        // A correction has many more ways to be right by chance than a table has.
        let margin = if plan.weight > 0.0 && best.0.weight == 0.0 { 6.0 * MARGIN } else { MARGIN };
        if score > best.1 + margin { (plan, score) } else { best }
    }

    fn try_plan(&mut self, plan: Plan) -> f64 {
        for one in &self.inner {
            let learnt = Learnt::new_on(one.basis.clone(), self.examples, &one.train, plan);
            for (row, odds) in one.test.iter().zip(&one.odds) {
                self.expected.quality.row_mut(*row).copy_from_slice(&learnt.expect(*row, odds));
            }
        }
        score(self.examples, self.rows, &self.expected)
    }
}

/// A cross-validation of all of it, the selection included.
#[derive(Clone, Debug)]
pub struct Crossed {
    /// What each row was expected to be by those who never saw it.
    pub expected: Expected,
    /// The plan of each fold.
    pub plans: Vec<Plan>,
    /// The dial for each of `operate::TARGETS`, for each fold, as it was set without it.
    pub dials: Vec<[f32; operate::TARGETS.len()]>,
}

/// Holds out fold after fold; `step` is told of each piece of work (`STEPS + 1` for each fold).
pub fn cross_validate(examples: &Examples, folds: usize, step: &mut dyn FnMut()) -> Crossed {
    let mut expected = Expected::new(examples);
    let (mut plans, mut dials) = (Vec::new(), Vec::new());
    for fold in 0..folds {
        let (train, test): (Vec<usize>, Vec<usize>) =
            (0..examples.len()).partition(|row| examples.fold(*row, folds) != fold);
        let decision = select(examples, &train, step);
        let known = trials(examples, &train, &decision.expected);
        dials.push(operate::TARGETS.map(|target| operate::settle(&known, target)));
        let learnt = Learnt::new(examples, &train, decision.plan);
        let prices = Prices::learn(examples, &train);
        for row in test {
            let odds = learnt.basis.odds(row);
            expected.quality.row_mut(row).copy_from_slice(&learnt.expect(row, &odds));
            expected.prices[row] = prices.of(examples, row, &odds);
        }
        plans.push(decision.plan);
        step();
    }
    Crossed { expected, plans, dials }
}
