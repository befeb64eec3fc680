//! Quality against cost: which of the models that may answer is asked. It knows neither prompts nor prices; health,
//! budgets and pins have had their say before.

#![expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "qualities are estimates; costs are integers, and only compared"
)]

use super::heads::Judgement;

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preference {
    /// Points of quality (0 to 1) that a cost as large as the yardstick must bring. 0: quality at any price.
    pub alpha: f32,
    /// What costs are measured with, in nano-dollars. 0: the dearest of the models that may answer.
    pub yardstick: i64,
    /// Points of predicted quality that may be lost, against the baseline if there is one, else against the best.
    pub degradation: f32,
    /// The place, among the models, of the one that savings are counted against.
    pub baseline: Option<usize>,
    /// Below this confidence in the task nothing is predicted.
    pub min_confidence: f32,
    /// Below this similarity to all training data nothing is predicted.
    pub min_similarity: f32,
}

impl Default for Preference {
    fn default() -> Self {
        Self {
            alpha: 0.1,
            yardstick: 0,
            degradation: 1.0,
            baseline: None,
            min_confidence: 0.0,
            min_similarity: 0.0,
        }
    }
}

/// Why a model was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The best of quality less weighed cost.
    BestValue,
    /// A cheaper one had more value, but would have lost more quality than allowed.
    Guarded,
    /// The prompt is unlike the training data: the baseline, else the best in general.
    Unsure,
    /// There was one only.
    OnlyOne,
}

impl Reason {
    /// For logs and explanations.
    pub fn name(self) -> &'static str {
        match self {
            Self::BestValue => "best_value",
            Self::Guarded => "degradation_guard",
            Self::Unsure => "below_min_similarity",
            Self::OnlyOne => "only_candidate",
        }
    }
}

/// The model to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its place among the models judged.
    pub index: usize,
    /// Why.
    pub reason: Reason,
}

/// Picks one of the models judged, whose expected costs are `costs` in nano-dollars. `None` if there is none.
pub fn choose(judgement: &Judgement<'_>, costs: &[i64], wish: &Preference) -> Option<Choice> {
    let quality = judgement.quality();
    let unsure =
        judgement.confidence < wish.min_confidence || judgement.similarity < wish.min_similarity;
    if quality.len() > 1 && unsure {
        let index = wish.baseline.filter(|at| *at < quality.len()).or_else(|| best(quality))?;
        return Some(Choice { index, reason: Reason::Unsure });
    }
    weigh(quality, costs, wish)
}

/// The same from bare qualities, without a question of confidence.
pub fn weigh(quality: &[f32], costs: &[i64], wish: &Preference) -> Option<Choice> {
    let top = best(quality)?;
    let against = wish.baseline.and_then(|at| quality.get(at)).unwrap_or(&quality[top]);
    let floor = against - wish.degradation;
    let dearest = || costs.iter().copied().max().unwrap_or_default();
    let yardstick = if wish.yardstick > 0 { wish.yardstick } else { dearest() }.max(1);
    // A preference, not a sum of money: what is paid is computed elsewhere, from integers.
    let weight = f64::from(wish.alpha) / yardstick as f64;
    let mut free = Best::default();
    let mut guarded = Best::default();
    for (index, (quality, cost)) in quality.iter().zip(costs).enumerate() {
        let value = f64::from(*quality) - weight * *cost as f64;
        free.offer(index, value, *cost);
        // The best itself is always allowed, also with a baseline that it does not reach.
        if *quality >= floor || index == top {
            guarded.offer(index, value, *cost);
        }
    }
    let index = guarded.index?;
    let reason = match () {
        () if quality.len() == 1 => Reason::OnlyOne,
        () if free.index != guarded.index => Reason::Guarded,
        () => Reason::BestValue,
    };
    Some(Choice { index, reason })
}

#[derive(Default)]
struct Best {
    index: Option<usize>,
    value: f64,
    cost: i64,
}

impl Best {
    /// More value, or the same for less; the first of equal ones stays.
    fn offer(&mut self, index: usize, value: f64, cost: i64) {
        let better = self.index.is_none()
            || value > self.value
            || value.total_cmp(&self.value).is_eq() && cost < self.cost;
        if better {
            (self.index, self.value, self.cost) = (Some(index), value, cost);
        }
    }
}

fn best(quality: &[f32]) -> Option<usize> {
    let mut places = quality.iter().enumerate();
    let (mut at, mut most) = places.next()?;
    for (place, quality) in places {
        if quality > most {
            (at, most) = (place, quality);
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish(alpha: f32) -> Preference {
        Preference { alpha, ..Preference::default() }
    }

    fn index(choice: Option<Choice>) -> Option<usize> {
        choice.map(|choice| choice.index)
    }

    #[test]
    fn the_dial_goes_from_quality_to_cost() {
        let (quality, costs) = ([0.5, 0.7, 0.9], [1, 10, 100]);
        assert_eq!(index(weigh(&quality, &costs, &wish(0.0))), Some(2));
        assert_eq!(index(weigh(&quality, &costs, &wish(0.5))), Some(1));
        assert_eq!(index(weigh(&quality, &costs, &wish(10.0))), Some(0));
    }

    #[test]
    fn quality_is_not_given_away_beyond_the_threshold() {
        let (quality, costs) = ([0.5, 0.7, 0.9], [1, 10, 100]);
        let guarded = Preference { degradation: 0.25, ..wish(10.0) };
        let choice = weigh(&quality, &costs, &guarded);
        assert_eq!(choice, Some(Choice { index: 1, reason: Reason::Guarded }));
        let of_baseline = Preference { baseline: Some(1), ..guarded };
        assert_eq!(index(weigh(&quality, &costs, &of_baseline)), Some(0));
        let strict = Preference { degradation: 0.0, ..wish(10.0) };
        assert_eq!(index(weigh(&quality, &costs, &strict)), Some(2));
    }

    #[test]
    fn equal_value_goes_to_the_cheaper_and_then_to_the_first() {
        assert_eq!(index(weigh(&[0.5, 0.5, 0.5], &[9, 3, 3], &wish(0.0))), Some(1));
        assert_eq!(index(weigh(&[0.5], &[9], &wish(0.0))), Some(0));
        assert_eq!(weigh(&[0.5], &[9], &wish(0.0)).map(|one| one.reason), Some(Reason::OnlyOne));
        assert_eq!(weigh(&[], &[], &wish(0.0)), None);
    }

    #[test]
    fn a_yardstick_measures_all_requests_alike() {
        // Against the dearest candidate both requests are the same; against a fixed cost the small one is cheap.
        let absolute = Preference { yardstick: 1_000_000, ..wish(0.5) };
        assert_eq!(index(weigh(&[0.5, 0.9], &[10, 1_000], &absolute)), Some(1));
        assert_eq!(index(weigh(&[0.5, 0.9], &[10_000, 1_000_000], &absolute)), Some(0));
        assert_eq!(index(weigh(&[0.5, 0.9], &[10, 1_000], &wish(0.5))), Some(0));
    }

    proptest! {
        #[test]
        fn no_choice_falls_below_the_floor(
            models in prop::collection::vec((0.0f32..1.0, 0i64..1_000_000_000), 1..20),
            alpha in 0.0f32..10.0, degradation in 0.0f32..1.0,
        ) {
            let (quality, costs): (Vec<f32>, Vec<i64>) = models.into_iter().unzip();
            let wish = Preference { degradation, ..wish(alpha) };
            let choice = weigh(&quality, &costs, &wish).map(|choice| quality[choice.index]);
            let best = quality.iter().copied().fold(0.0, f32::max);
            prop_assert!(choice.is_some_and(|chosen| chosen >= best - degradation));
        }
    }
}
