//! A router file on labelled queries, as it is: nothing is learnt but what models cost, which an operator knows.

use super::dataset::Suite;
use super::fit::{self, Examples};
use super::length;
use super::measure::Trial;
use super::operate::{self, TARGETS};
use super::prices::Prices;
use super::report::Account;
use super::select::{self, Expected};
use super::solve::Grid;
use super::train::ranks;
use crate::base::limit;
use crate::learned::file::{INPUTS, Router};
use crate::learned::heads::{Column, Tier};

/// Folds of the length-only line, which has to learn from the same queries.
const LENGTH_FOLDS: usize = 5;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The figures.
    pub account: Account,
    /// Models that the router does not know by name.
    pub by_tier: Vec<String>,
}

/// Puts a suite, whose queries have these `inputs`, to a router.
pub fn replay(router: &Router, suite: &Suite, inputs: &[[f32; INPUTS]]) -> Replayed {
    let cells = inputs.iter().flat_map(|one| one.iter().copied().map(f64::from)).collect();
    let examples = Examples::new(std::slice::from_ref(suite), Grid { columns: INPUTS, cells }, 0);
    let (columns, by_tier) = columns(router, suite);
    let rows: Vec<usize> = (0..examples.len()).collect();
    let prices = Prices::learn(&examples, &rows);
    // One factor for all tasks: what a task's answers cost here is not to be known.
    let odds =
        vec![1.0 / examples.taxonomy.tasks.len().max(1) as f64; examples.taxonomy.tasks.len()];
    let mut expected = Expected::new(&examples);
    for row in rows.iter().copied() {
        for (from, some) in columns.chunks(limit::ROUTED_MODELS_MAX).enumerate() {
            let judged = router.heads().judge(&inputs[row], some);
            let places =
                expected.quality.row_mut(row).iter_mut().skip(from * limit::ROUTED_MODELS_MAX);
            places.zip(judged.quality()).for_each(|(place, quality)| *place = f64::from(*quality));
        }
        expected.prices[row] = prices.of(&examples, row, &odds);
    }
    let first = |trials: Vec<Trial>| trials.into_iter().next().unwrap_or_default();
    let trial = first(select::trials(&examples, &rows, &expected));
    let length = length::cross_validate(&examples, LENGTH_FOLDS);
    let length = first(select::trials(&examples, &rows, &length));
    let kept = TARGETS.map(|target| {
        let alpha = router.alpha(target).unwrap_or_default() as f32;
        operate::kept(&trial, |_| alpha)
    });
    Replayed { account: Account::new(suite, trial, &length, kept), by_tier }
}

/// The column of each model of a suite: its own, else that of the tier which its price has among the others.
fn columns(router: &Router, suite: &Suite) -> (Vec<Column>, Vec<String>) {
    let tiers = ranks(&suite.means(), &suite.mean_costs());
    let costs = suite.mean_costs();
    let mut by_tier = Vec::new();
    let columns = suite.models.iter().enumerate().map(|(at, name)| {
        if let Some(known) = fit::known(&router.heads().weights().models, name) {
            return router.resolve(&router.heads().weights().models[known], Tier::Fast);
        }
        by_tier.push(name.clone());
        // The tier whose models cost about what this one does.
        let off = |tier: &usize| {
            let mean = tiers[*tier].iter().map(|model| costs[*model]).sum::<f64>()
                / tiers[*tier].len().max(1) as f64;
            (costs[at].max(1e-9).ln() - mean.max(1e-9).ln()).abs()
        };
        let near = (0..Tier::ALL.len()).min_by(|one, other| off(one).total_cmp(&off(other)));
        router.resolve(name, Tier::ALL[near.unwrap_or_default()])
    });
    let columns = columns.collect();
    (columns, by_tier)
}
