//! Where the dial is set for a promise of quality: as cheap as the lower confidence bound allows. What it keeps is
//! told on queries that the setting was not made with.

use super::measure::{ALPHAS, Question, Trial};
use crate::learned::choose::{Preference, weigh};

/// Shares of the best single model's quality that can be asked for.
pub const TARGETS: [f64; 3] = [0.90, 0.95, 0.98];
/// One-sided 90 % of a normal distribution.
const BOUND: f64 = 1.2816;
/// Quality by which the lower confidence bound may miss the target: half of the two points within which a promise
/// counts as kept.
const TOLERANCE: f64 = 0.01;
/// Quality that a single suite among several may miss its target by, in its mean.
const SHORT_MAX: f64 = 0.01;

/// What came of a promise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Kept {
    /// Quality, as a share of the best single model's.
    pub quality: f64,
    /// Cost saved against the best single model, 0 to 1.
    pub saved: f64,
}

/// The choice with the dial at `alpha`, measured by the dearest model of each query: what a gateway does, which knows
/// no mean cost of its traffic.
pub fn pick(question: &Question, alpha: f32) -> usize {
    let wish = Preference { alpha, ..Preference::default() };
    weigh(&question.expected, &question.price, &wish).map_or(0, |choice| choice.index)
}

/// The best single model of a trial.
fn best(trial: &Trial) -> usize {
    let singles = trial.singles();
    (1..singles.len())
        .fold(0, |best, at| if singles[at].quality > singles[best].quality { at } else { best })
}

/// The highest setting of the dial that still promises `target`; 0 if none does.
pub fn settle(trials: &[Trial], target: f64) -> f32 {
    let baselines: Vec<usize> = trials.iter().map(best).collect();
    let holds = |alpha: f32| {
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        for (trial, best) in trials.iter().zip(&baselines) {
            let mut short = 0.0;
            for question in &trial.questions {
                let over =
                    question.quality[pick(question, alpha)] - target * question.quality[*best];
                (sum, squares, count) = (sum + over, squares + over * over, count + 1.0);
                short -= over;
            }
            if short > SHORT_MAX * trial.questions.len() as f64 {
                return false;
            }
        }
        let mean = sum / f64::max(count, 1.0);
        let spread = (squares / f64::max(count, 1.0) - mean * mean).max(0.0);
        mean - BOUND * (spread / f64::max(count, 1.0)).sqrt() >= -TOLERANCE
    };
    ALPHAS.iter().copied().rev().find(|alpha| holds(*alpha)).unwrap_or(0.0)
}

/// What a dial that is set for each query (`alpha` of it) keeps on a trial.
pub fn kept(trial: &Trial, alpha: impl Fn(&Question) -> f32) -> Kept {
    let baseline = trial.single(best(trial));
    let reached = trial.policy(|question| pick(question, alpha(question)));
    Kept {
        quality: reached.quality / baseline.quality.max(1e-9),
        saved: 1.0 - reached.cost / baseline.cost.max(1e-9),
    }
}
