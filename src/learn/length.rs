//! The line to beat: a router that sees the length of the prompt and nothing else. It learns a table of eight lengths
//! by model.

use super::fit::Examples;
use super::prices::Prices;
use super::select::Expected;
use super::table::Moments;

/// Lengths that are told apart, each by an eighth of the queries.
const BINS: usize = 8;
/// Observations that the prior of a cell weighs.
const STRENGTH: f64 = 40.0;

/// What each row is expected to be by its length, learnt from other rows.
pub fn cross_validate(examples: &Examples, folds: usize) -> Expected {
    let mut expected = Expected::new(examples);
    for fold in 0..folds {
        let (train, test): (Vec<usize>, Vec<usize>) =
            (0..examples.len()).partition(|row| examples.fold(*row, folds) != fold);
        let edges = edges(examples, &train);
        let bin = |row: usize| edges.partition_point(|edge| *edge < examples.bytes[row]);
        let mut moments = Moments::new(BINS, examples.models.len());
        for &row in &train {
            for (model, outcome) in &examples.outcomes[row] {
                if let Some(quality) = outcome.quality {
                    moments.add(bin(row), *model, quality);
                }
            }
        }
        let table = moments.drawn(&moments.additive(), STRENGTH);
        let prices = Prices::learn(examples, &train);
        for row in test {
            expected.quality.row_mut(row).copy_from_slice(table.row(bin(row)));
            let mut odds = vec![0.0; examples.taxonomy.tasks.len()];
            odds[examples.taxonomy.labels[row]] = 1.0;
            expected.prices[row] = prices.of(examples, row, &odds);
        }
    }
    expected
}

fn edges(examples: &Examples, rows: &[usize]) -> Vec<f64> {
    let mut lengths: Vec<f64> = rows.iter().map(|row| examples.bytes[*row]).collect();
    lengths.sort_by(f64::total_cmp);
    (1..BINS).filter_map(|bin| lengths.get(bin * lengths.len() / BINS).copied()).collect()
}
