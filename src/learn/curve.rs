//! Cost against quality: the line of single models, the router's, the oracle's, and what lies between them. A point
//! is a mean over queries; between two points lies whoever flips a coin between their policies.

/// A policy: its mean cost (nano-dollars) and its mean quality.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Mean cost.
    pub cost: f64,
    /// Mean quality.
    pub quality: f64,
}

/// The stretch of cost in which curves are compared: from the cheapest single model to the best one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// The cheapest (of equally cheap ones the best).
    pub cheapest: Point,
    /// The best (of equally good ones the cheapest).
    pub best: Point,
}

impl Span {
    /// Of single models. `None` without one.
    pub fn of(singles: &[Point]) -> Option<Self> {
        let cheapest = singles.iter().copied().min_by(|one, other| {
            one.cost.total_cmp(&other.cost).then(other.quality.total_cmp(&one.quality))
        })?;
        let best = singles.iter().copied().max_by(|one, other| {
            one.quality.total_cmp(&other.quality).then(other.cost.total_cmp(&one.cost))
        })?;
        Some(Self { cheapest, best })
    }

    /// Its length in nano-dollars; 0 if the cheapest is the best.
    pub fn length(&self) -> f64 {
        self.best.cost - self.cheapest.cost
    }
}

/// A line that rises with cost: the best that policies and coin flips between them reach.
#[derive(Clone, Debug)]
pub struct Line(Vec<Point>);

impl Line {
    /// The upper hull of policies: what is reached by mixing them blindly.
    pub fn hull(points: &[Point]) -> Self {
        let mut sorted: Vec<Point> = points.to_vec();
        sorted.sort_by(|one, other| {
            one.cost.total_cmp(&other.cost).then(other.quality.total_cmp(&one.quality))
        });
        let mut hull: Vec<Point> = Vec::with_capacity(sorted.len());
        for point in sorted {
            if hull.last().is_some_and(|last| point.quality <= last.quality) {
                continue;
            }
            while hull.len() > 1 && !bends_down(hull[hull.len() - 2], hull[hull.len() - 1], point) {
                hull.pop();
            }
            hull.push(point);
        }
        Self(hull)
    }

    /// Quality at a mean cost: 0 below the cheapest policy, that of the dearest above it.
    pub fn at(&self, cost: f64) -> f64 {
        let after = self.0.partition_point(|point| point.cost <= cost);
        let Some(before) = after.checked_sub(1).map(|at| self.0[at]) else { return 0.0 };
        match self.0.get(after) {
            Some(next) if next.cost > before.cost => {
                let share = (cost - before.cost) / (next.cost - before.cost);
                before.quality + share * (next.quality - before.quality)
            }
            _ => before.quality,
        }
    }

    /// Mean quality over a span of cost (AIQ).
    pub fn mean_quality(&self, span: &Span) -> f64 {
        let (from, to) = (span.cheapest.cost, span.best.cost);
        if to <= from {
            return self.at(to);
        }
        let inside = self.0.iter().map(|point| point.cost).filter(|cost| (from..to).contains(cost));
        let mut stops: Vec<f64> = std::iter::once(from).chain(inside).chain([to]).collect();
        stops.dedup();
        let areas = stops.windows(2).map(|stop| {
            // Just before the end, as two policies of one cost make a step there.
            let right = self.before(stop[1]);
            (stop[1] - stop[0]) * (self.at(stop[0]) + right) / 2.0
        });
        areas.sum::<f64>() / (to - from)
    }

    /// Quality as `cost` is approached from below.
    fn before(&self, cost: f64) -> f64 {
        let after = self.0.partition_point(|point| point.cost < cost);
        match (after.checked_sub(1).map(|at| self.0[at]), self.0.get(after)) {
            (Some(before), Some(next)) => {
                let share = (cost - before.cost) / (next.cost - before.cost);
                before.quality + share * (next.quality - before.quality)
            }
            (Some(before), None) => before.quality,
            (None, _) => 0.0,
        }
    }

    /// The least cost at which it reaches `quality`, if it does.
    pub fn cost_of(&self, quality: f64) -> Option<f64> {
        let at = self.0.iter().position(|point| point.quality >= quality)?;
        let reached = self.0[at];
        let Some(before) = at.checked_sub(1).map(|at| self.0[at]) else {
            return Some(reached.cost);
        };
        let share = (quality - before.quality) / (reached.quality - before.quality);
        Some(before.cost + share * (reached.cost - before.cost))
    }
}

/// Whether the way over `middle` lies above the straight one.
fn bends_down(first: Point, middle: Point, last: Point) -> bool {
    (middle.quality - first.quality) * (last.cost - first.cost)
        > (last.quality - first.quality) * (middle.cost - first.cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(cost: f64, quality: f64) -> Point {
        Point { cost, quality }
    }

    #[test]
    fn the_hull_leaves_out_what_mixing_beats() {
        let singles = [point(1.0, 0.2), point(3.0, 0.3), point(5.0, 0.8), point(6.0, 0.7)];
        let Line(hull) = Line::hull(&singles);
        assert_eq!(hull, vec![point(1.0, 0.2), point(5.0, 0.8)]);
    }

    #[test]
    fn a_line_is_read_between_its_points() {
        let line = Line::hull(&[point(1.0, 0.2), point(5.0, 0.8)]);
        assert!((line.at(3.0) - 0.5).abs() < 1e-12);
        assert!(line.at(0.5) == 0.0 && (line.at(9.0) - 0.8).abs() < 1e-12);
        assert!((line.cost_of(0.5).unwrap_or_default() - 3.0).abs() < 1e-12);
        assert_eq!(line.cost_of(0.9), None);
    }

    #[test]
    fn mean_quality_is_the_area_over_the_span() {
        let singles = [point(1.0, 0.2), point(5.0, 0.8)];
        let span = Span::of(&singles).map(|span| (span, Line::hull(&singles).mean_quality(&span)));
        let Some((span, mean)) = span else { panic!("no span") };
        assert!((mean - 0.5).abs() < 1e-12);
        let step = Line(vec![point(1.0, 0.2), point(3.0, 0.2), point(3.0, 0.8), point(5.0, 0.8)]);
        assert!((step.mean_quality(&span) - 0.5).abs() < 1e-12, "{}", step.mean_quality(&span));
    }
}
