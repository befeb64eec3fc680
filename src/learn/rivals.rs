//! The strategies that learn nothing, on labelled queries: the nine rules, a tree, one model for all, all in turn. They
//! speak of tiers, suites of models; who stands for which tier is laid down here, by price unless it is told. Whether a
//! rule lets a model think is not in the data, and left out.

use std::fmt::Write as _;

use serde_json::json;

use super::curve::{Line, Point, Span};
use super::dataset::{Query, Suite};
use super::fit;
use super::measure::Trial;
use crate::routing::decision::{Aim, Tried};
use crate::routing::features::{self, Features};
use crate::routing::rules;
use crate::routing::strategy::Strategy;
use crate::routing::tree::Tree;
use crate::wire::texts;

/// Who is to stand for what. What is not told follows from prices.
#[derive(Clone, Debug, Default)]
pub struct Casting {
    /// The model of each tier, in the order of `Aim::ALL`.
    pub tiers: [Option<String>; Aim::ALL.len()],
    /// The model that `passthrough` always asks.
    pub primary: Option<String>,
    /// The tree of `decision_tree`; without one it goes by the nine rules, as a gateway does.
    pub tree: Option<Tree>,
}

/// One strategy at its one setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which.
    pub strategy: Strategy,
    /// Its mean cost and quality.
    pub point: Point,
    /// Points of quality (0 to 1) above what single models reach for the same money when they are mixed blindly.
    pub above: f64,
    /// That as a share of what the oracle is above it at this cost.
    pub gap: f64,
}

/// All of them on one suite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rivals {
    /// In the order of `Strategy::ALL`, but for the one that learns.
    pub rows: Vec<Row>,
    /// Who stood for what, for people.
    pub cast: String,
}

/// Puts a suite's queries to the strategies.
///
/// # Errors
/// A name of the casting that no model of the suite has.
pub fn compare(suite: &Suite, trial: &Trial, casting: &Casting) -> Result<Rivals, String> {
    let singles = trial.singles();
    let Some(span) = Span::of(&singles) else { return Ok(Rivals::default()) };
    let names: Vec<&str> = trial.models.iter().map(String::as_str).collect();
    let place_of = |name: &Option<String>| name.as_ref().map(|name| find(&names, name)).transpose();
    let mut tiers = by_price(&singles);
    for (tier, name) in tiers.iter_mut().zip(&casting.tiers) {
        *tier = place_of(name)?.unwrap_or(*tier);
    }
    let primary = place_of(&casting.primary)?.unwrap_or_else(|| best(&singles));
    let aims = |tree: Option<&Tree>| {
        let aim = |query: &Query| {
            let seen = read(query);
            tree.map_or_else(|| rules::decide(&seen, Tried::default()), |tree| tree.decide(&seen))
        };
        trial.policy(|question| tiers[aim(&suite.queries[question.row]).aim as usize])
    };
    let ruled = aims(None);
    let branched = casting.tree.as_ref().map_or(ruled, |tree| aims(Some(tree)));
    let points = [
        (Strategy::RoundRobin, mean(&singles)),
        (Strategy::Passthrough, singles[primary]),
        (Strategy::RuleBased, ruled),
        (Strategy::DecisionTree, branched),
    ];
    let hull = Line::hull(&singles);
    let oracle = trial.best_line(&span);
    let row = |(strategy, point): (Strategy, Point)| {
        // Whoever is cheaper than the cheapest is compared with it.
        let cost = point.cost.max(span.cheapest.cost);
        let above = point.quality - hull.at(cost);
        let room = (oracle.at(cost) - hull.at(cost)).max(1e-9);
        Row { strategy, point, above, gap: above / room }
    };
    let cast = told(&names, (tiers, primary), casting);
    Ok(Rivals { rows: points.into_iter().map(row).collect(), cast })
}

/// What a gateway would see of a query.
fn read(query: &Query) -> Features {
    let body = json!({"messages": [{"role": "user", "content": query.text}]}).to_string();
    features::read(body.as_bytes(), &texts::texts(body.as_bytes()), query.tools > 0).features
}

fn find(names: &[&str], name: &str) -> Result<usize, String> {
    let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    fit::known(&owned, name)
        .ok_or_else(|| format!("no model is called {name:?}; there are {}", names.join(", ")))
}

/// Of the models that nothing cheaper beats: the cheapest, the one nearest to the middle of the logarithm of cost, and
/// the best.
fn by_price(singles: &[Point]) -> [usize; Aim::ALL.len()] {
    let beaten = |one: usize| {
        (0..singles.len()).any(|other| {
            let (one, it) = (&singles[one], &singles[other]);
            it.quality > one.quality && it.cost <= one.cost
                || it.quality >= one.quality && it.cost < one.cost
        })
    };
    let front: Vec<usize> = (0..singles.len()).filter(|at| !beaten(*at)).collect();
    let cost = |at: &usize| singles[*at].cost.max(1.0).ln();
    let by = |one: &usize, other: &usize| cost(one).total_cmp(&cost(other));
    let fast = front.iter().copied().min_by(by).unwrap_or_default();
    let oracle = best(singles);
    let middle = f64::midpoint(cost(&fast), cost(&oracle));
    let off = |at: &usize| (cost(at) - middle).abs();
    let reasoning = front.iter().copied().min_by(|one, other| off(one).total_cmp(&off(other)));
    [fast, reasoning.unwrap_or(oracle), oracle]
}

/// The best single model, the cheapest of equally good ones.
fn best(singles: &[Point]) -> usize {
    let better = |one: &Point, other: &Point| {
        one.quality > other.quality || one.quality >= other.quality && one.cost < other.cost
    };
    (1..singles.len())
        .fold(0, |best, at| if better(&singles[at], &singles[best]) { at } else { best })
}

fn mean(singles: &[Point]) -> Point {
    let count = singles.len().max(1) as f64;
    let sum = singles.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.cost, sum.1 + one.quality));
    Point { cost: sum.0 / count, quality: sum.1 / count }
}

fn told(
    names: &[&str],
    (tiers, primary): ([usize; Aim::ALL.len()], usize),
    casting: &Casting,
) -> String {
    let mut text = String::from("  ");
    for (aim, at) in Aim::ALL.into_iter().zip(tiers) {
        let _ = write!(text, "{} = {}, ", aim.name(), names[at]);
    }
    let _ = write!(text, "passthrough = {}", names[primary]);
    if casting.tree.is_none() {
        text.push_str("; decision_tree without a tree goes by the rules");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::measure::Question;

    const EASY: &str = "say hello";
    const HARD: &str = "debug this undocumented multi-round agent pipeline";
    const TREE: &str = r#"{"format": "weir-tree", "version": 1, "nodes": [
        {"feature": "has_tools", "at_most": 0, "yes": 1, "no": 2}, {"tier": "fast"}, {"tier": "reasoning"}]}"#;

    /// Two easy queries and a hard one; the small model can do the easy ones, the large one all. `vain` is dearer than
    /// the middle one and no better.
    fn made() -> (Suite, Trial) {
        let models = ["small", "vain", "middle", "vendor/Large-2"].map(str::to_owned).to_vec();
        let mut suite = Suite { models: models.clone(), ..Suite::default() };
        let mut trial = Trial { models, ..Trial::default() };
        let asked = [(EASY, 0, 1.0), (EASY, 3, 1.0), (HARD, 0, 0.0)];
        for (row, (text, tools, small)) in asked.into_iter().enumerate() {
            suite.queries.push(Query { text: text.to_owned(), tools, ..Query::default() });
            trial.questions.push(Question {
                row,
                quality: vec![small, 0.4, 0.7, 1.0],
                cost: vec![1_000, 20_000, 10_000, 100_000],
                ..Question::default()
            });
        }
        (suite, trial)
    }

    fn row(casting: &Casting, strategy: Strategy) -> Row {
        let (suite, trial) = made();
        let rivals = compare(&suite, &trial, casting).unwrap();
        rivals.rows.into_iter().find(|row| row.strategy == strategy).unwrap()
    }

    #[test]
    fn rules_reach_the_tiers_that_prices_make() {
        let (suite, trial) = made();
        let rivals = compare(&suite, &trial, &Casting::default()).unwrap();
        assert!(
            rivals.cast.starts_with(
                "  fast = small, reasoning = middle, oracle = vendor/Large-2, passthrough = vendor/Large-2;"
            ),
            "{}",
            rivals.cast
        );
        let ruled = row(&Casting::default(), Strategy::RuleBased);
        assert!((ruled.point.quality - 1.0).abs() < 1e-9, "the hard one goes to the oracle");
        assert!((ruled.point.cost - 34_000.0).abs() < 1e-6, "{ruled:?}");
        assert!(
            ruled.above > 0.1 && (ruled.gap - 1.0).abs() < 1e-6,
            "as good as can be: {ruled:?}"
        );
        let one = row(&Casting::default(), Strategy::Passthrough);
        assert!((one.point.cost - 100_000.0).abs() < 1e-6 && one.above.abs() < 1e-9, "{one:?}");
    }

    #[test]
    fn a_tree_decides_where_there_is_one() {
        let rules = row(&Casting::default(), Strategy::DecisionTree);
        assert_eq!(rules.point, row(&Casting::default(), Strategy::RuleBased).point);
        let tree = Some(Tree::parse(TREE.as_bytes()).unwrap());
        let branched = row(&Casting { tree, ..Casting::default() }, Strategy::DecisionTree);
        assert!((branched.point.cost - 4_000.0).abs() < 1e-6, "one query has tools: {branched:?}");
    }

    #[test]
    fn names_are_heard_and_unknown_ones_refused() {
        let told = |name: &str| Some(name.to_owned());
        let tiers = [None, None, told("large_2")];
        let casting = Casting { tiers, primary: told("middle"), tree: None };
        assert!((row(&casting, Strategy::Passthrough).point.cost - 10_000.0).abs() < 1e-6);
        assert!((row(&casting, Strategy::RuleBased).point.cost - 34_000.0).abs() < 1e-6);
        let (suite, trial) = made();
        let casting = Casting { primary: told("huge"), ..Casting::default() };
        let why = compare(&suite, &trial, &casting).unwrap_err();
        assert!(why.contains("\"huge\"") && why.contains("small, vain"), "{why}");
    }

    #[test]
    fn nothing_is_compared_where_nothing_was_asked() {
        let rivals = compare(&Suite::default(), &Trial::default(), &Casting::default());
        assert_eq!(rivals, Ok(Rivals::default()));
    }
}
