//! Fitting: inputs to a common scale, the classifier, the table, the correction. What strength of each is right is
//! not decided here (`select`); everything here is done for one plan on the rows it is given.

use super::dataset::{Outcome, Suite};
use super::softmax::{self, Shape, share};
use super::solve::{Cholesky, Grid, add_scaled, dot, gram, leading};
use super::table::Moments;
use super::taxonomy::{self, Taxonomy};
use crate::learned::heads::VECTOR;

/// Standard deviations beyond which an input is not believed; the heads cut there as well.
const INPUT_SPAN: f64 = 4.0;

/// All queries of all suites as rows.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// Names of all models; a model that several suites have is one.
    pub models: Vec<String>,
    /// Tasks and labels.
    pub taxonomy: Taxonomy,
    /// What describes each query, as it is read from its prompt.
    pub inputs: Grid,
    /// The suite of each query.
    pub suites: Vec<usize>,
    /// What each query's models made of it: model and outcome.
    pub outcomes: Vec<Vec<(usize, Outcome)>>,
    /// Bytes of each query.
    pub bytes: Vec<f64>,
    /// The text of each query, hashed: equal texts are held out together.
    pub keys: Vec<u64>,
}

/// A model's name as other suites may write it.
fn canonical(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name).to_lowercase().replace(['_', '.'], "-");
    name.strip_prefix("meta-").unwrap_or(&name).to_owned()
}

/// The place, among `models`, of the one that a suite calls `name`.
pub fn known(models: &[String], name: &str) -> Option<usize> {
    let wanted = canonical(name);
    models.iter().position(|known| canonical(known) == wanted)
}

impl Examples {
    /// Of suites whose queries have the rows of `inputs`, to be split by `seed`.
    pub fn new(suites: &[Suite], inputs: Grid, seed: u64) -> Self {
        let mut vectors = Grid::new(inputs.rows(), VECTOR.min(inputs.columns));
        for at in 0..inputs.rows() {
            let wide = vectors.columns;
            vectors.row_mut(at).copy_from_slice(&inputs.row(at)[..wide]);
        }
        let taxonomy = taxonomy::learn(suites, &vectors);
        let mut examples = Self { taxonomy, inputs, ..Self::default() };
        let mut canonicals: Vec<String> = Vec::new();
        for (place, suite) in suites.iter().enumerate() {
            let columns: Vec<usize> = suite
                .models
                .iter()
                .map(|name| {
                    let wanted = canonical(name);
                    canonicals.iter().position(|known| *known == wanted).unwrap_or_else(|| {
                        canonicals.push(wanted);
                        examples.models.push(name.clone());
                        canonicals.len() - 1
                    })
                })
                .collect();
            for query in &suite.queries {
                let known = columns.iter().copied().zip(query.outcomes.iter().copied());
                examples.outcomes.push(known.filter(|(_, one)| one.quality.is_some()).collect());
                examples.suites.push(place);
                examples.bytes.push(query.bytes as f64);
                examples.keys.push(super::fold::key(&query.text, seed));
            }
        }
        examples
    }

    /// The place of a model that one of the suites calls so.
    pub fn place(&self, name: &str) -> usize {
        known(&self.models, name).unwrap_or_default()
    }

    /// How many queries.
    pub fn len(&self) -> usize {
        self.outcomes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// The fold, of `folds`, in which a row is held out.
    pub fn fold(&self, row: usize, folds: usize) -> usize {
        super::fold::of(self.keys[row], folds)
    }

    /// The same for a split within the others.
    pub fn inner_fold(&self, row: usize, folds: usize) -> usize {
        super::fold::of(self.keys[row].rotate_left(32), folds)
    }

    /// What a model made of a row, if it was scored and its cost is known.
    pub fn outcome(&self, row: usize, model: usize) -> Option<Outcome> {
        self.outcomes[row].iter().find(|(at, _)| *at == model).map(|(_, one)| *one)
    }

    /// The models that were tried on at least half of `rows`.
    pub fn tried(&self, rows: &[usize]) -> Vec<usize> {
        let mut counts = vec![0usize; self.models.len()];
        for row in rows {
            self.outcomes[*row].iter().for_each(|(model, _)| counts[*model] += 1);
        }
        let often = |model: &usize| counts[*model] * 2 >= rows.len().max(1);
        (0..self.models.len()).filter(often).collect()
    }

    /// The quality that a model had on a row.
    pub fn quality(&self, row: usize, model: usize) -> Option<f64> {
        self.outcomes[row].iter().find(|(at, _)| *at == model).and_then(|(_, one)| one.quality)
    }
}

/// Means and scales of inputs, learnt on some rows.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Means.
    pub offset: Vec<f64>,
    /// One over standard deviations; the vector's numbers share one, so that its directions keep their weight.
    pub scale: Vec<f64>,
}

impl Scale {
    /// Of the `rows` of `inputs`.
    pub fn of(inputs: &Grid, rows: &[usize]) -> Self {
        let count = rows.len().max(1) as f64;
        let mut offset = vec![0.0; inputs.columns];
        for at in rows {
            add_scaled(&mut offset, 1.0 / count, inputs.row(*at));
        }
        let mut spread = vec![0.0; inputs.columns];
        for at in rows {
            for ((spread, value), mean) in spread.iter_mut().zip(inputs.row(*at)).zip(&offset) {
                *spread += (value - mean) * (value - mean) / count;
            }
        }
        let vector = VECTOR.min(spread.len());
        let common = spread[..vector].iter().sum::<f64>() / vector.max(1) as f64;
        spread[..vector].fill(common);
        // What never varies says nothing, whatever it may be one day.
        let scale =
            spread.iter().map(|spread| if *spread > 1e-9 { 1.0 / spread.sqrt() } else { 0.0 });
        Self { scale: scale.collect(), offset }
    }

    /// All inputs to this scale, and a constant behind them.
    pub fn apply(&self, inputs: &Grid) -> Grid {
        let mut scaled = Grid::new(inputs.rows(), inputs.columns + 1);
        for at in 0..inputs.rows() {
            let row = scaled.row_mut(at);
            let known = self.offset.iter().zip(&self.scale);
            for ((place, value), (offset, scale)) in row.iter_mut().zip(inputs.row(at)).zip(known) {
                *place = ((value - offset) * scale).clamp(-INPUT_SPAN, INPUT_SPAN);
            }
            row[inputs.columns] = 1.0;
        }
        scaled
    }
}

/// What is learnt from some rows before it is decided how strongly the table is drawn and corrected.
#[derive(Clone, Debug)]
pub struct Basis {
    /// The scale of inputs.
    pub scale: Scale,
    /// The classifier: inputs and a constant by tasks.
    pub classifier: Grid,
    /// Sums of quality.
    pub moments: Moments,
    /// Sums of tokens.
    pub tokens: Moments,
    /// What task and model alone say.
    pub prior: Grid,
    /// All rows to scale.
    pub scaled: Grid,
}

impl Basis {
    /// Learns from `rows`.
    pub fn learn(examples: &Examples, rows: &[usize], penalty: f64) -> Self {
        let scale = Scale::of(&examples.inputs, rows);
        let scaled = scale.apply(&examples.inputs);
        let tasks = examples.taxonomy.tasks.len();
        let labels = &examples.taxonomy.labels;
        let classifier = softmax::fit(&scaled, rows, labels, Shape { tasks, penalty });
        let mut moments = Moments::new(tasks, examples.models.len());
        let mut tokens = moments.clone();
        for &row in rows {
            for (model, outcome) in &examples.outcomes[row] {
                if let Some(quality) = outcome.quality {
                    moments.add(labels[row], *model, quality);
                }
                if let Some(length) = outcome.tokens {
                    tokens.add(labels[row], *model, f64::from(length));
                }
            }
        }
        Self { prior: moments.additive(), scale, classifier, moments, tokens, scaled }
    }

    /// How likely each task is for a row.
    pub fn odds(&self, row: usize) -> Vec<f64> {
        let mut odds = vec![0.0; self.classifier.columns];
        self.classifier.apply(self.scaled.row(row), &mut odds);
        share(&mut odds);
        odds
    }
}

/// The correction: inputs and a constant by models, fitted to what `table` leaves of the `rows`.
pub fn residual(
    basis: &Basis,
    examples: &Examples,
    rows: &[usize],
    (table, ridge): (&Grid, f64),
) -> Grid {
    let models = examples.models.len();
    let wide = basis.scaled.columns;
    let mut weights = Grid::new(wide, models);
    let mut last: Option<(Vec<usize>, Cholesky)> = None;
    for model in 0..models {
        let mut known = Vec::new();
        let mut right = Grid::new(wide, 1);
        for &row in rows {
            if let Some(quality) = examples.quality(row, model) {
                let rest = quality - table.row(examples.taxonomy.labels[row])[model];
                add_scaled(&mut right.cells, rest, basis.scaled.row(row));
                known.push(row);
            }
        }
        // Models of one suite have seen the same rows: one factorisation does for all of them.
        let factor = match last.take() {
            Some((seen, factor)) if seen == known => factor,
            _ => Cholesky::new(&gram(&basis.scaled, &known), ridge),
        };
        factor.solve(&mut right);
        for (at, weight) in right.cells.iter().enumerate() {
            weights.row_mut(at)[model] = *weight;
        }
        last = Some((known, factor));
    }
    weights
}

/// The nearest product of a tall and a wide matrix with `rank` between them.
pub fn low_rank(weights: &Grid, rank: usize) -> (Grid, Grid) {
    let rows: Vec<usize> = (0..weights.rows()).collect();
    let spread = leading(&gram(weights, &rows), rank);
    let mut rise = Grid::new(weights.rows(), spread.rows());
    for at in rows {
        for direction in 0..spread.rows() {
            rise.row_mut(at)[direction] = dot(weights.row(at), spread.row(direction));
        }
    }
    (rise, spread)
}
