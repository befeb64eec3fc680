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
pub const RIDGES: [f64; 4] = [400.0, 1_600.0, 4_000.0, 10_000.0];
/// Rank of the correction. With half of it a suite of fifteen models lost most of what the correction won.
pub const RANK: usize = 16;
/// The penalty of the classifier.
pub const PENALTY: f64 = 40.0;
/// Folds of the inner cross-validation.
pub const INNER_FOLDS: usize = 5;
/// Standard errors by which the correction must be better than none: it is tried in several ways, and has many more
/// parameters to be right by chance with than a table has.
const SURE: f64 = 3.0;

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
    let strengths = STRENGTHS.into_iter().chain([BLIND]);
    let tables = strengths.map(|strength| {
        field.try_plan(Plan { strength, ..blind });
        (strength, field.miss().iter().sum::<f64>())
    });
    let table = tables.min_by(|one, other| one.1.total_cmp(&other.1)).map_or(BLIND, |one| one.0);
    step();
    let plan = field.correct(Plan { strength: table, ..blind });
    step();
    field.try_plan(plan);
    Decision { plan, expected: field.expected }
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
    /// The plan with the correction that misses least, if it surely misses less than the plan alone.
    fn correct(&mut self, plain: Plan) -> Plan {
        self.try_plan(plain);
        let alone = self.miss();
        let table = self.expected.quality.clone();
        let mut best: Option<(Plan, Vec<f64>)> = None;
        for ridge in RIDGES {
            self.try_plan(Plan { ridge, weight: 1.0, ..plain });
            let weight = self.weaken(&table);
            let miss = self.miss();
            let sum = |miss: &[f64]| miss.iter().sum::<f64>();
            if best.as_ref().is_none_or(|(_, least)| sum(&miss) < sum(least)) {
                best = Some((Plan { ridge, weight, ..plain }, miss));
            }
        }
        match best {
            Some((best, miss)) if best.weight > 0.0 && surely_less(&miss, &alone) => best,
            _ => plain,
        }
    }

    fn try_plan(&mut self, plan: Plan) {
        for one in &self.inner {
            let learnt = Learnt::new_on(one.basis.clone(), self.examples, &one.train, plan);
            for (row, odds) in one.test.iter().zip(&one.odds) {
                self.expected.quality.row_mut(*row).copy_from_slice(&learnt.expect(*row, odds));
            }
        }
    }

    /// Draws what is expected back to `table`, to where its differences miss least, and returns how much is left.
    fn weaken(&mut self, table: &Grid) -> f64 {
        let (mut along, mut length) = (0.0, 0.0);
        for &row in self.rows {
            let more = self.differences(row, &|model| {
                self.expected.quality.row(row)[model] - table.row(row)[model]
            });
            let rest = self.differences(row, &|model| -table.row(row)[model]);
            let came = self.came(row);
            for ((more, rest), came) in more.iter().zip(&rest).zip(&came) {
                along += more * (came + rest);
                length += more * more;
            }
        }
        let weight = (along / f64::max(length, 1e-12)).clamp(0.0, 1.0);
        let known = table.cells.iter().zip(self.expected.quality.cells.iter_mut());
        known.for_each(|(table, cell)| *cell = table + weight * (*cell - table));
        weight
    }

    /// How far the expected differences between each row's models are from those that came, squared: what all models
    /// have in common does not matter for a choice.
    fn miss(&self) -> Vec<f64> {
        let miss = |row: &usize| {
            let expected = self.differences(*row, &|model| self.expected.quality.row(*row)[model]);
            let off = expected.iter().zip(self.came(*row)).map(|(one, other)| one - other);
            off.map(|off| off * off).sum()
        };
        self.rows.iter().map(miss).collect()
    }

    /// The qualities of a row's models, less their mean.
    fn came(&self, row: usize) -> Vec<f64> {
        let known = &self.examples.outcomes[row];
        centred(known.iter().filter_map(|(_, one)| one.quality).collect())
    }

    /// The same of any value of those models.
    fn differences(&self, row: usize, of: &dyn Fn(usize) -> f64) -> Vec<f64> {
        centred(self.examples.outcomes[row].iter().map(|(model, _)| of(*model)).collect())
    }
}

fn centred(mut values: Vec<f64>) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    for value in &mut values {
        *value -= mean;
    }
    values
}

/// Whether `one` is less than `other`, row by row, beyond chance.
fn surely_less(one: &[f64], other: &[f64]) -> bool {
    let count = one.len().max(1) as f64;
    let gains = || one.iter().zip(other).map(|(one, other)| other - one);
    let mean = gains().sum::<f64>() / count;
    let spread = gains().map(|gain| (gain - mean) * (gain - mean)).sum::<f64>() / count;
    mean > SURE * (spread / count).sqrt()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::dataset::{Outcome, Query, Suite};
    use crate::learned::file::INPUTS;

    /// Two models for one task, of which the first is good where `leans` says so, by the first number of a prompt.
    fn examples(leans: impl Fn(usize, f64) -> bool) -> Examples {
        let mut inputs = Grid::new(160, INPUTS);
        let mut suite = Suite { models: vec!["one".into(), "other".into()], ..Suite::default() };
        for at in 0..inputs.rows() {
            let first = (at * 37 % 101) as f64 / 50.0 - 1.0;
            inputs.row_mut(at)[0] = first;
            let one = if leans(at, first) { 0.9 } else { 0.1 };
            let outcome = |quality| Outcome { quality: Some(quality), cost: Some(1), tokens: None };
            suite.queries.push(Query {
                text: format!("query {at}"),
                group: Some("all".into()),
                outcomes: vec![outcome(one), outcome(0.5)],
                ..Query::default()
            });
        }
        Examples::new(&[suite], inputs, 1)
    }

    fn plan(examples: &Examples) -> Plan {
        let rows: Vec<usize> = (0..examples.len()).collect();
        let mut steps = 0;
        let decision = select(examples, &rows, &mut || steps += 1);
        assert_eq!(steps, STEPS);
        decision.plan
    }

    #[test]
    fn the_correction_is_taken_where_it_surely_helps() {
        assert!(plan(&examples(|_, first| first > 0.0)).weight > 0.5);
    }

    #[test]
    fn what_may_be_chance_is_left() {
        let by_chance = |at: usize, _: f64| (at * 2_654_435_761) >> 7 & 1 == 0;
        assert!(plan(&examples(by_chance)).weight <= 0.0);
        assert!(!surely_less(&[0.9, 1.1, 0.8], &[1.0, 1.0, 1.0]));
        assert!(surely_less(&[0.5, 0.6, 0.5], &[1.0, 1.0, 1.0]));
        assert!(!surely_less(&[], &[]));
    }
}
