//! What a query will cost on each model, as far as that is known beforehand: a line over the bytes that are sent, and
//! a factor for each task, whose answers are longer or shorter. The gateway computes costs from its own prices; this is
//! what takes their place where only past costs are known.

use super::fit::Examples;
use super::solve::Grid;
use super::table::Moments;

/// Queries that the factor 1 of a task weighs.
const HOLD: f64 = 20.0;

/// Prices of each model.
#[derive(Clone, Debug)]
pub struct Prices {
    /// Nano-dollars of a query, and of each of its bytes, by suite and model.
    lines: Vec<Vec<(f64, f64)>>,
    /// Tasks by models.
    factors: Grid,
}

impl Prices {
    /// Learns from `rows`.
    pub fn learn(examples: &Examples, rows: &[usize]) -> Self {
        let suites = examples.suites.iter().max().map_or(0, |last| last + 1);
        let models = examples.models.len();
        let mut sums = vec![vec![[0.0f64; 5]; models]; suites];
        for &row in rows {
            let bytes = examples.bytes[row];
            for (model, outcome) in &examples.outcomes[row] {
                let Some(cost) = outcome.cost else { continue };
                let cost = cost as f64;
                let one = [1.0, bytes, cost, bytes * bytes, bytes * cost];
                let known = &mut sums[examples.suites[row]][*model];
                known.iter_mut().zip(one).for_each(|(sum, value)| *sum += value);
            }
        }
        let lines: Vec<Vec<(f64, f64)>> =
            sums.iter().map(|suite| suite.iter().map(line).collect()).collect();
        let mut ratios = Moments::new(examples.taxonomy.tasks.len(), models);
        for &row in rows {
            let task = examples.taxonomy.labels[row];
            for (model, outcome) in &examples.outcomes[row] {
                let (level, slope) = lines[examples.suites[row]][*model];
                let guess = level + slope * examples.bytes[row];
                if let Some(cost) = outcome.cost.filter(|_| guess > 0.0) {
                    ratios.add(task, *model, (cost as f64 / guess).min(10.0));
                }
            }
        }
        let ones = Grid { columns: models, cells: vec![1.0; ratios.sums.cells.len()] };
        Self { lines, factors: ratios.drawn(&ones, HOLD) }
    }

    /// What each model is expected to cost for a row, in nano-dollars.
    pub fn of(&self, examples: &Examples, row: usize, odds: &[f64]) -> Vec<i64> {
        let mut factors = vec![0.0; self.factors.columns];
        self.factors.apply(odds, &mut factors);
        let lines = self.lines[examples.suites[row]].iter().zip(factors);
        lines
            .map(|((level, slope), factor)| {
                ((level + slope * examples.bytes[row]) * factor).round() as i64
            })
            .collect()
    }
}

/// The line through costs that neither falls nor starts below zero.
fn line(sums: &[f64; 5]) -> (f64, f64) {
    let [count, x, y, xx, xy] = *sums;
    if count < 1.0 {
        return (0.0, 0.0);
    }
    let spread = xx - x * x / count;
    let slope = if spread > 1e-9 { ((xy - x * y / count) / spread).max(0.0) } else { 0.0 };
    let level = (y - slope * x) / count;
    if level >= 0.0 { (level, slope) } else { (0.0, y / x.max(1e-9)) }
}
