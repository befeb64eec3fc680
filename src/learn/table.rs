//! The table of task by model: means that are drawn towards what task and model alone would say. Drawn all the way,
//! the order of models is the same for all tasks, and the router is a constant mix.

use super::solve::Grid;

/// Rounds in which models and tasks are told apart. Suites that share few models need some dozens.
const ROUNDS: usize = 60;
/// Observations that a task, or a model, is held to the mean with.
const HOLD: f64 = 2.0;

/// Sums over observations, by task and model.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    /// Sums of values.
    pub sums: Grid,
    /// Counts, or weights.
    pub counts: Grid,
}

impl Moments {
    /// None yet.
    pub fn new(tasks: usize, models: usize) -> Self {
        Self { sums: Grid::new(tasks, models), counts: Grid::new(tasks, models) }
    }

    /// One more observation.
    pub fn add(&mut self, task: usize, model: usize, value: f64) {
        self.sums.row_mut(task)[model] += value;
        self.counts.row_mut(task)[model] += 1.0;
    }

    /// What task and model alone would say of each cell: their effects, added.
    pub fn additive(&self) -> Grid {
        let (tasks, models) = (self.sums.rows(), self.sums.columns);
        let total: f64 = self.counts.cells.iter().sum();
        let mean = if total > 0.0 { self.sums.cells.iter().sum::<f64>() / total } else { 0.5 };
        let mut by_task = vec![0.0; tasks];
        let mut by_model = vec![0.0; models];
        for _ in 0..ROUNDS {
            for (model, effect) in by_model.iter_mut().enumerate() {
                let cells = (0..tasks).map(|task| (task, model, by_task[task]));
                *effect = self.effect(mean, cells);
            }
            for (task, effect) in by_task.iter_mut().enumerate() {
                let cells = (0..models).map(|model| (task, model, by_model[model]));
                *effect = self.effect(mean, cells);
            }
        }
        let mut grid = Grid::new(tasks, models);
        for (task, effect) in by_task.iter().enumerate() {
            for (cell, of_model) in grid.row_mut(task).iter_mut().zip(&by_model) {
                *cell = mean + effect + of_model;
            }
        }
        grid
    }

    fn effect(&self, mean: f64, cells: impl Iterator<Item = (usize, usize, f64)>) -> f64 {
        let (mut sum, mut count) = (0.0, HOLD);
        for (task, model, known) in cells {
            let seen = self.counts.row(task)[model];
            sum += self.sums.row(task)[model] - seen * (mean + known);
            count += seen;
        }
        sum / count
    }

    /// Means drawn to `prior`, which weighs as much as `strength` observations.
    pub fn drawn(&self, prior: &Grid, strength: f64) -> Grid {
        let mut grid = prior.clone();
        let seen = self.sums.cells.iter().zip(&self.counts.cells);
        for (cell, (sum, count)) in grid.cells.iter_mut().zip(seen) {
            *cell = (sum + strength * *cell) / (count + strength).max(1e-9);
        }
        grid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments() -> Moments {
        let mut moments = Moments::new(2, 2);
        for at in 0..100 {
            moments.add(0, 0, 0.9);
            moments.add(0, 1, if at % 2 == 0 { 1.0 } else { 0.2 });
            moments.add(1, 0, 0.1);
        }
        moments
    }

    #[test]
    fn what_was_never_seen_follows_from_task_and_model() {
        let prior = moments().additive();
        // Model 1 is 0.3 worse than model 0 on task 0, and so, it is thought, on task 1.
        assert!((prior.row(1)[1] - (prior.row(1)[0] - 0.3)).abs() < 0.05, "{prior:?}");
    }

    #[test]
    fn strength_draws_to_the_prior() {
        let moments = moments();
        let prior = Grid { columns: 2, cells: vec![0.5; 4] };
        assert!((moments.drawn(&prior, 0.0).row(0)[0] - 0.9).abs() < 1e-9);
        assert!((moments.drawn(&prior, 100.0).row(0)[0] - 0.7).abs() < 1e-9);
        assert!((moments.drawn(&prior, 1e12).row(0)[0] - 0.5).abs() < 1e-6);
        assert!((moments.drawn(&prior, 5.0).row(1)[1] - 0.5).abs() < 1e-9, "nothing was seen");
    }
}
