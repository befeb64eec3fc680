//! The course of traffic, tokens and money over time, as columns for a chart.

use crate::base::limit::STATS_POINTS_MAX;
use crate::base::money::NanoUsd;
use crate::stats::row::Row;
use crate::stats::tally::Tally;
use crate::wire::object::Object;

/// Lengths of a step that people can read, in milliseconds.
const STEPS_MS: [u64; 17] = [
    1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000,
    1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000,
];

/// What happened in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// When it began, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Requests.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Input tokens, cached ones included.
    pub prompt: u64,
    /// Input tokens out of a prompt cache.
    pub cached: u64,
    /// Output tokens.
    pub completion: u64,
    /// What they cost.
    pub cost: NanoUsd,
}

impl Point {
    /// Of one request.
    pub fn of_row(row: &Row) -> Self {
        Self {
            at_ms: row.ended_ms,
            requests: 1,
            errors: u64::from(!row.is_ok),
            prompt: row.prompt,
            cached: row.cached,
            completion: row.completion,
            cost: row.cost,
        }
    }

    /// Of the requests of a time that began there.
    pub fn of_tally(tally: &Tally, at_ms: u64) -> Self {
        Self {
            at_ms,
            requests: tally.requests,
            errors: tally.requests - tally.ok,
            prompt: tally.prompt,
            cached: tally.cached,
            completion: tally.completion,
            cost: tally.cost,
        }
    }

    /// Adds what happened in another one.
    pub fn plus(&mut self, more: &Self) {
        self.requests += more.requests;
        self.errors += more.errors;
        self.prompt = self.prompt.saturating_add(more.prompt);
        self.cached = self.cached.saturating_add(more.cached);
        self.completion = self.completion.saturating_add(more.completion);
        self.cost = self.cost.saturating_add(more.cost);
    }
}

/// Steps of equal length without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Curve {
    step_ms: u64,
    points: Vec<Point>,
}

impl Curve {
    /// The points from one instant to another, gathered into at most `STATS_POINTS_MAX` steps of at least that
    /// length. Points outside of it are left out.
    pub fn of(
        points: impl Iterator<Item = Point>,
        (from_ms, to_ms): (u64, u64),
        least_ms: u64,
    ) -> Self {
        let span = to_ms.saturating_sub(from_ms);
        let fits = |step: &u64| *step >= least_ms && span / step < STATS_POINTS_MAX - 1;
        let widest = span.div_ceil(STATS_POINTS_MAX - 1).max(least_ms);
        let step_ms = STEPS_MS.into_iter().find(fits).unwrap_or(widest).max(1);
        let (first, last) = (from_ms / step_ms, to_ms / step_ms);
        let mut steps: Vec<Point> = (first..=last)
            .map(|step| Point { at_ms: step * step_ms, ..Point::default() })
            .collect();
        for point in points {
            let at = (point.at_ms / step_ms).checked_sub(first);
            let at = at.and_then(|at| usize::try_from(at).ok());
            if let Some(step) = at.and_then(|at| steps.get_mut(at)) {
                step.plus(&point);
            }
        }
        Self { step_ms, points: steps }
    }

    /// A curve without points.
    pub const fn empty() -> Self {
        Self { step_ms: 60_000, points: Vec::new() }
    }

    /// One list of numbers for each column; `t` is in seconds since the Unix epoch.
    pub fn json(&self) -> String {
        let column = |value: &dyn Fn(&Point) -> String| {
            let all: Vec<String> = self.points.iter().map(value).collect();
            format!("[{}]", all.join(","))
        };
        Object::default()
            .raw("step_s", &(self.step_ms / 1_000).to_string())
            .raw("t", &column(&|point| (point.at_ms / 1_000).to_string()))
            .raw("requests", &column(&|point| point.requests.to_string()))
            .raw("errors", &column(&|point| point.errors.to_string()))
            .raw("prompt_tokens", &column(&|point| point.prompt.to_string()))
            .raw("cached_tokens", &column(&|point| point.cached.to_string()))
            .raw("completion_tokens", &column(&|point| point.completion.to_string()))
            .raw("cost_usd", &column(&|point| point.cost.to_string()))
            .end()
    }

    #[cfg(test)]
    pub(crate) fn requests(&self) -> Vec<u64> {
        self.points.iter().map(|point| point.requests).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn steps_have_no_gaps_and_readable_lengths() {
        let at = |at_ms| Point { at_ms, requests: 1, ..Point::default() };
        let curve =
            Curve::of([at(10_500), at(10_999), at(13_000)].into_iter(), (10_500, 13_000), 1_000);
        assert_eq!((curve.step_ms, curve.requests()), (1_000, vec![2, 0, 0, 1]));
        let hours = Curve::of([at(0)].into_iter(), (0, 6 * 3_600_000), 60_000);
        assert_eq!((hours.step_ms, hours.points.len()), (300_000, 73));
        assert!(Curve::empty().json().contains(r#""t":[]"#));
    }

    proptest! {
        #[test]
        fn every_curve_is_short_and_loses_nothing(
            from in 0_u64..1 << 42, span in 0_u64..1 << 40, ends in prop::collection::vec(0_u64..1 << 40, 0..20),
        ) {
            let inside: Vec<u64> = ends.iter().map(|end| from + end.min(&span)).collect();
            let points = inside.iter().map(|at_ms| Point { at_ms: *at_ms, requests: 1, ..Point::default() });
            let curve = Curve::of(points, (from, from + span), 1_000);
            prop_assert!(curve.points.len() as u64 <= STATS_POINTS_MAX);
            prop_assert_eq!(curve.requests().iter().sum::<u64>(), inside.len() as u64);
        }
    }
}
