//! The task classifier: a softmax over linear scores with a penalty, fitted by steps under Böhning's bound. The bound
//! needs one factorisation for all steps, and no step can make the fit worse, so that there is no rate to tune.

use super::solve::{Cholesky, Grid, add_scaled, gram};

/// Steps. The loss changes in the fourth digit after 30.
const STEPS: usize = 40;

/// Fits weights (inputs and a constant, by `tasks`) to the `rows` of `inputs`, whose last column is the constant 1.
pub fn fit(inputs: &Grid, rows: &[usize], labels: &[usize], shape: Shape) -> Grid {
    let mut bound = gram(inputs, rows);
    bound.cells.iter_mut().for_each(|cell| *cell *= 0.5);
    let factor = Cholesky::new(&bound, shape.penalty);
    let mut weights = Grid::new(inputs.columns, shape.tasks);
    let mut odds = vec![0.0; shape.tasks];
    for _ in 0..STEPS {
        let mut slope = weights.clone();
        slope.cells.iter_mut().for_each(|cell| *cell *= -shape.penalty);
        for &at in rows {
            let row = inputs.row(at);
            weights.apply(row, &mut odds);
            share(&mut odds);
            odds[labels[at]] -= 1.0;
            for (place, value) in row.iter().enumerate() {
                add_scaled(slope.row_mut(place), -value, &odds);
            }
        }
        factor.solve(&mut slope);
        add_scaled(&mut weights.cells, 1.0, &slope.cells);
    }
    weights
}

/// How many tasks there are, and how dear large weights.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Tasks.
    pub tasks: usize,
    /// The penalty on squared weights.
    pub penalty: f64,
}

/// Scores to shares of one.
pub fn share(odds: &mut [f64]) {
    let most = odds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for odd in odds.iter_mut() {
        *odd = (*odd - most).exp();
        sum += *odd;
    }
    for odd in odds.iter_mut() {
        *odd /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_three_corners_apart() {
        let corners = [[2.0, 0.0, 1.0], [-1.0, 2.0, 1.0], [-1.0, -2.0, 1.0]];
        let labels: Vec<usize> = (0..60).map(|at| at % 3).collect();
        let mut inputs = Grid::new(60, 3);
        for (at, label) in labels.iter().enumerate() {
            inputs.row_mut(at).copy_from_slice(&corners[*label]);
            inputs.row_mut(at)[0] += (at as f64 - 30.0) / 100.0;
        }
        let rows: Vec<usize> = (0..60).collect();
        let weights = fit(&inputs, &rows, &labels, Shape { tasks: 3, penalty: 1.0 });
        for (at, label) in labels.iter().enumerate() {
            let mut odds = vec![0.0; 3];
            weights.apply(inputs.row(at), &mut odds);
            share(&mut odds);
            assert!(odds[*label] > 0.7, "{odds:?} for {label}");
        }
    }
}
