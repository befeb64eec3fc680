//! What a router is worth on queries whose outcomes are known: its curve of cost and quality beside that of single
//! models and of an oracle, and the figures that are read off them. What it predicts was learnt on other queries.

use super::curve::{Line, Point, Span};
use crate::learned::choose::{Preference, weigh};

/// The dial of a router: points of quality that the cost of the best single model must bring.
pub const ALPHAS: [f32; 49] = [
    0.0, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.006, 0.007, 0.008, 0.01, 0.012,
    0.014, 0.017, 0.02, 0.024, 0.028, 0.033, 0.04, 0.047, 0.056, 0.067, 0.08, 0.095, 0.11, 0.13,
    0.15, 0.18, 0.21, 0.25, 0.3, 0.36, 0.42, 0.5, 0.6, 0.72, 0.86, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0,
    8.0, 15.0, 40.0, 200.0, 10_000.0,
];

/// One query of a trial. All lists have one value for each model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    /// Its place among all queries.
    pub row: usize,
    /// What each model made of it.
    pub quality: Vec<f64>,
    /// What each cost, in nano-dollars.
    pub cost: Vec<i64>,
    /// What the router expects of each.
    pub expected: Vec<f32>,
    /// What the router expects each to cost.
    pub price: Vec<i64>,
}

/// Queries with what was expected and what came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// Names of the models.
    pub models: Vec<String>,
    /// All queries.
    pub questions: Vec<Question>,
    /// What costs are weighed against; 0: the dearest model of each query.
    pub yardstick: i64,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Queries.
    pub queries: usize,
    /// From the cheapest single model to the best.
    pub span: Span,
    /// Mean quality of the hull of single models over the span.
    pub hull: f64,
    /// Mean quality of the router over the span (AIQ): of the hull of its settings, as that of single models is
    /// taken as well.
    pub router: f64,
    /// Mean quality of the oracle over the span.
    pub oracle: f64,
    /// Cost saved against the best single model at 98 % of its quality, 0 to 1.
    pub save_98: Option<f64>,
    /// The same for the hull.
    pub hull_save_98: Option<f64>,
    /// With two models: mean gap recovered over all shares of calls to the better one.
    pub apgr: Option<f64>,
}

impl Measured {
    /// The share of the area between hull and oracle that the router wins.
    pub fn gap(&self) -> f64 {
        self.share(self.router)
    }

    fn share(&self, quality: f64) -> f64 {
        let room = self.oracle - self.hull;
        if room > 1e-9 { (quality - self.hull) / room } else { 0.0 }
    }
}

impl Trial {
    /// The policy that always asks one model.
    pub fn single(&self, model: usize) -> Point {
        self.policy(|_| model)
    }

    /// All of them.
    pub fn singles(&self) -> Vec<Point> {
        let models = self.questions.first().map_or(0, |question| question.quality.len());
        (0..models).map(|model| self.single(model)).collect()
    }

    /// What comes of a policy.
    pub fn policy(&self, pick: impl Fn(&Question) -> usize) -> Point {
        let count = self.questions.len().max(1) as f64;
        let (mut cost, mut quality) = (0.0, 0.0);
        for question in &self.questions {
            let model = pick(question);
            cost += question.cost[model] as f64;
            quality += question.quality[model];
        }
        Point { cost: cost / count, quality: quality / count }
    }

    /// The router's choice with its dial at `alpha`.
    pub fn pick(&self, question: &Question, alpha: f32) -> usize {
        let wish = Preference { alpha, yardstick: self.yardstick, ..Preference::default() };
        weigh(&question.expected, &question.price, &wish).map_or(0, |choice| choice.index)
    }

    /// The router over all settings of its dial.
    pub fn sweep(&self) -> Vec<Point> {
        ALPHAS.iter().map(|alpha| self.policy(|question| self.pick(question, *alpha))).collect()
    }

    /// The oracle over all settings of a dial.
    fn oracle(&self, span: &Span) -> Vec<Point> {
        let yardstick = (span.best.cost.round() as i64).max(1);
        let wish = |alpha| Preference { alpha, yardstick, ..Preference::default() };
        let best = |question: &Question, alpha| {
            let quality: Vec<f32> =
                question.quality.iter().map(|quality| *quality as f32).collect();
            weigh(&quality, &question.cost, &wish(alpha)).map_or(0, |choice| choice.index)
        };
        ALPHAS.iter().map(|alpha| self.policy(|question| best(question, *alpha))).collect()
    }

    /// The line that the oracle and single models reach together.
    pub fn best_line(&self, span: &Span) -> Line {
        let mut oracle = self.oracle(span);
        oracle.extend(self.singles());
        Line::hull(&oracle)
    }

    /// All figures. `None` without queries.
    pub fn measure(&self) -> Option<Measured> {
        let singles = self.singles();
        let span = Span::of(&singles)?;
        let hull = Line::hull(&singles);
        let mut settings = self.sweep();
        // Whoever routes may always ask the cheapest.
        settings.push(span.cheapest);
        let router = Line::hull(&settings);
        let saved = |line: &Line| {
            line.cost_of(0.98 * span.best.quality).map(|cost| 1.0 - cost / span.best.cost.max(1e-9))
        };
        Some(Measured {
            queries: self.questions.len(),
            hull: hull.mean_quality(&span),
            router: router.mean_quality(&span),
            oracle: self.best_line(&span).mean_quality(&span),
            save_98: saved(&router),
            hull_save_98: saved(&hull),
            apgr: (singles.len() == 2).then(|| self.apgr(&singles)),
            span,
        })
    }

    /// How much of the gap between two models is recovered, in the mean over all shares of calls to the better.
    fn apgr(&self, singles: &[Point]) -> f64 {
        let strong = usize::from(singles[1].quality > singles[0].quality);
        let weak = 1 - strong;
        let gap = singles[strong].quality - singles[weak].quality;
        let gain = |question: &Question| question.expected[strong] - question.expected[weak];
        let mut order: Vec<&Question> = self.questions.iter().collect();
        order.sort_by(|one, other| gain(other).total_cmp(&gain(one)));
        let count = order.len().max(1) as f64;
        let (mut won, mut area) = (0.0, 0.0);
        for question in order {
            let more = question.quality[strong] - question.quality[weak];
            // Half before and half after: what is won by the middle of this step.
            area += won + more / 2.0;
            won += more;
        }
        if gap > 1e-9 { area / count / count / gap } else { 0.5 }
    }
}
