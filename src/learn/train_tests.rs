//! Training as a whole, on small data that is made here: prompts of two kinds, models that are good at one of them.

use std::sync::OnceLock;

use super::dataset::{Outcome, Query, Suite};
use super::feedback::{self, FeedbackError, Measure};
use super::fit::Examples;
use super::operate;
use super::select::{self, Learnt, Plan};
use super::solve::Grid;
use super::train::{self, Trained, Wish, ranks};
use crate::learned::file::INPUTS;
use crate::learned::heads::{Heads, OTHER, Tier, Weights};

const WISH: Wish = Wish { seed: 3, folds: 2 };

/// A die that falls the same in every run.
struct Die(u64);

impl Die {
    fn roll(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What each of three models, cheap to dear, makes of the first and of the second kind of prompts.
const SKILLED: [[f64; 2]; 3] = [[0.9, 0.1], [0.5, 0.5], [0.9, 0.9]];
/// The same without anything to learn.
const ALIKE: [[f64; 2]; 3] = [[0.5, 0.5], [0.6, 0.6], [0.8, 0.8]];

fn made(skills: [[f64; 2]; 3], queries: usize) -> (Suite, Grid) {
    let mut die = Die(9);
    let mut suite = Suite {
        name: "made".into(),
        models: vec!["small".into(), "middle".into(), "large".into()],
        ..Suite::default()
    };
    let mut inputs = Grid::new(queries, INPUTS);
    for at in 0..queries {
        let kind = at % 2;
        let row = inputs.row_mut(at);
        row[0] = if kind == 0 { 0.8 } else { -0.8 };
        row.iter_mut().take(16).skip(1).for_each(|value| *value = 0.3 * (die.roll() - 0.5));
        let outcomes = skills.iter().zip([1_000, 4_000, 20_000]).map(|(skill, cost)| Outcome {
            quality: Some(if die.roll() < skill[kind] { 1.0 } else { 0.0 }),
            cost: Some(cost + (die.roll() * 200.0) as i64),
            tokens: Some(if kind == 0 { 50 } else { 500 }),
        });
        let outcomes = outcomes.collect();
        suite.queries.push(Query {
            text: format!("query {at}"),
            group: Some(["sums", "poems"][kind].into()),
            tools: 0,
            bytes: 400,
            outcomes,
        });
    }
    (suite, inputs)
}

/// A training that several tests look at: it takes seconds without optimisation.
fn skilled() -> (Suite, Grid, Trained) {
    static TRAINED: OnceLock<(Suite, Grid, Trained)> = OnceLock::new();
    let trained = TRAINED.get_or_init(|| {
        let (suite, inputs) = made(SKILLED, 240);
        let mut told = 0;
        let trained = train::train(std::slice::from_ref(&suite), &inputs, WISH, &mut || told += 1);
        assert_eq!(told, train::steps(1, WISH), "the bar ends where the work does");
        (suite, inputs, trained)
    });
    trained.clone()
}

#[test]
fn what_can_be_learnt_is_learnt() {
    let (suite, inputs, trained) = skilled();
    let measured = trained.accounts[0].router.clone().unwrap();
    assert!(measured.gap() > 0.25, "{measured:?}");
    let length = trained.accounts[0].length.clone().unwrap();
    assert!(length.gap() < measured.gap() - 0.1, "all prompts have one length: {length:?}");
    let [.., at_95, _] = trained.accounts[0].kept.unwrap();
    assert!(at_95.quality > 0.9 && at_95.saved > 0.2, "{at_95:?}");

    let heads = Heads::new(trained.weights).unwrap();
    let columns: Vec<_> = suite.models.iter().map(|name| heads.resolve(name, Tier::Fast)).collect();
    let row: Vec<f32> = inputs.row(1).iter().map(|value| *value as f32).collect();
    let judged = heads.judge(&row, &columns);
    assert_eq!(judged.task, "poems");
    assert!(judged.quality()[0] < 0.3 && judged.quality()[2] > 0.8, "{:?}", judged.quality());
    assert!(judged.output_tokens()[0] > 400, "{:?}", judged.output_tokens());
    let tiers = Tier::ALL.map(|tier| heads.resolve("of another catalog", tier));
    let judged = heads.judge(&row, &tiers);
    assert!(judged.quality()[0] < judged.quality()[2], "{:?}", judged.quality());
}

#[test]
fn the_same_is_learnt_twice() {
    let (suite, inputs) = made(SKILLED, 60);
    let suites = [suite];
    let one = train::train(&suites, &inputs, WISH, &mut || {});
    let other = train::train(&suites, &inputs, WISH, &mut || {});
    let bits = |weights: &[f32]| weights.iter().map(|weight| weight.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&one.weights.classifier), bits(&other.weights.classifier));
    assert_eq!(bits(&one.weights.spread), bits(&other.weights.spread));
    assert_eq!(one.weights, other.weights);
    assert_eq!(one.about, other.about);
}

#[test]
fn nothing_is_learnt_where_there_is_nothing() {
    let (suite, inputs) = made(ALIKE, 200);
    let account = train::evaluate(&suite, inputs, WISH, &mut || {});
    let measured = account.router.unwrap();
    assert!(measured.gap() > -0.06, "a constant mix is not undercut: {measured:?}");
}

#[test]
fn data_without_groups_costs_or_some_answers_is_learnt_from() {
    let (mut suite, inputs) = made(SKILLED, 120);
    for (at, query) in suite.queries.iter_mut().enumerate() {
        query.group = None;
        query.outcomes[at % 3].quality = query.outcomes[at % 3].quality.filter(|_| at % 7 == 0);
        query.outcomes.iter_mut().for_each(|outcome| outcome.cost = None);
    }
    let examples = Examples::new(&[suite], inputs, 3);
    assert!(examples.taxonomy.tasks.len() > 1, "clusters take the place of groups");
    let rows: Vec<usize> = (0..examples.len()).collect();
    let plan = Plan { strength: 40.0, ridge: 1_600.0, weight: 1.0 };
    let learnt = Learnt::new(&examples, &rows, plan);
    let expected = learnt.expect(1, &learnt.basis.odds(1));
    assert!(
        expected[2] > expected[0] && expected.iter().all(|one| one.is_finite()),
        "{expected:?}"
    );
}

#[test]
fn a_promise_is_kept_by_the_highest_dial_that_may() {
    let (suite, inputs) = made(SKILLED, 120);
    let examples = Examples::new(&[suite], inputs, 3);
    let rows: Vec<usize> = (0..examples.len()).collect();
    let decision = select::select(&examples, &rows, &mut || {});
    let trials = select::trials(&examples, &rows, &decision.expected);
    let dials = operate::TARGETS.map(|target| operate::settle(&trials, target));
    assert!(dials[0] >= dials[1] && dials[1] >= dials[2], "{dials:?}");
    assert!(
        (operate::settle(&trials, 2.0)).abs() < f32::EPSILON,
        "nothing promises twice the best"
    );
}

#[test]
fn tiers_come_of_price_and_quality() {
    let quality = [0.2, 0.5, 0.4, 0.9, 0.1];
    let cost = [1.0, 10.0, 50.0, 100.0, 70.0];
    assert_eq!(ranks(&quality, &cost), [vec![0], vec![1], vec![3]]);
    assert_eq!(ranks(&[0.5, 0.5], &[3.0, 3.0]), [vec![0], vec![0], vec![0, 1]]);
}

fn log(lines: usize, ok: impl Fn(usize) -> bool) -> feedback::Log {
    let text: Vec<String> = (0..lines)
        .map(|at| {
            let (task, model) = (["sums", "poems"][at % 2], ["small", "ours"][at / 2 % 2]);
            let score = i32::from(ok(at));
            format!(r#"{{"id": "r{at}", "task_type": "{task}", "final_model": "{model}", "ok": true, "completion_tokens": 80, "s": {score}}}"#)
        })
        .collect();
    let scores = text.iter().enumerate().map(|(at, _)| {
        format!(r#"{{"id": "r{at}", "score": {}}}"#, if ok(at) { 0.9 } else { 0.1 })
    });
    let scores: Vec<String> = scores.collect();
    let scores = feedback::scores(scores.iter().map(String::as_str)).unwrap();
    feedback::read(text.iter().map(String::as_str), &scores, "").unwrap()
}

#[test]
fn a_log_moves_the_table_when_that_is_better() {
    let (_, inputs, Trained { weights: current, .. }) = skilled();
    // The small model has become good at poems as well, and a new one is good at sums only.
    let log = log(800, |at| at / 2 % 2 == 0 || at % 2 == 0);
    assert_eq!((log.scored, log.without_task), (800, 0));
    let better = feedback::improve(&current, &log).unwrap();
    assert_eq!(better.new_models, ["ours"]);
    assert!(better.errors.0 < better.errors.1, "{:?}", better.errors);
    let heads = Heads::new(better.weights).unwrap();
    let row: Vec<f32> = inputs.row(1).iter().map(|value| *value as f32).collect();
    let columns = ["small", "ours"].map(|name| heads.resolve(name, Tier::Fast));
    let judged = heads.judge(&row, &columns);
    assert!(judged.quality()[0] > judged.quality()[1] + 0.1, "{:?}", judged.quality());
}

/// Answers that nobody scored, of that many tokens.
fn unscored(current: &Weights, lines: usize, tokens: usize) -> Vec<String> {
    let line = |at: usize| {
        format!(
            r#"{{"request_id": "q{at}", "task_type": "{}", "final_model": "small", "ok": true, "completion_tokens": {tokens}}}"#,
            current.tasks[0]
        )
    };
    (0..lines).map(line).collect()
}

#[test]
fn without_scores_lengths_alone_are_learnt() {
    let (_, _, Trained { weights: current, .. }) = skilled();
    let none = std::collections::HashMap::new();
    let lines = unscored(&current, 400, 777);
    let log = feedback::read(lines.iter().map(String::as_str), &none, "").unwrap();
    let better = feedback::improve(&current, &log).unwrap();
    assert_eq!(better.by, Measure::Length);
    assert_eq!(better.weights.quality, current.quality, "that answers came makes none good");
    assert_eq!(better.weights.evidence, current.evidence);
    let of = |weights: &Weights| weights.tokens[0];
    assert!((of(&better.weights) - 777.0).abs() < (of(&current) - 777.0).abs());
}

#[test]
fn a_log_that_has_grown_is_learnt_from_where_it_ended() {
    let (_, _, Trained { weights: current, .. }) = skilled();
    let none = std::collections::HashMap::new();
    let lines = unscored(&current, 400, 50);
    let read = |until: usize, after: &str| {
        feedback::read(lines[..until].iter().map(String::as_str), &none, after).unwrap()
    };
    let first = read(300, "");
    assert_eq!((first.last.as_str(), first.passed), ("q299", 0));
    let more = read(400, &first.last);
    assert_eq!((more.last.as_str(), more.passed), ("q399", 300));
    assert_eq!(read(300, &first.last).passed, 300, "nothing is new");
    assert_eq!(read(300, "of another log"), first);
}

#[test]
fn a_candidate_that_is_not_better_is_refused() {
    let (_, _, Trained { weights: current, .. }) = skilled();
    let short = feedback::improve(&current, &log(20, |_| true));
    assert!(matches!(short, Err(FeedbackError::TooLittle { .. })), "{short:?}");
    let lines: Vec<String> = (0..400)
        .map(|at| {
            format!(
                r#"{{"id": "q{at}", "task_type": "{OTHER}", "final_model": "small", "ok": true}}"#
            )
        })
        .collect();
    let unknown =
        feedback::read(lines.iter().map(String::as_str), &std::collections::HashMap::new(), "")
            .unwrap();
    assert_eq!(
        feedback::improve(&current, &unknown),
        Err(FeedbackError::TooLittle { held: 0, unknown: 400 })
    );
    // Answers as they are expected already: what is learnt of them is noise.
    let cell = current.quality[0];
    let lines: Vec<String> = (0..2_000)
        .map(|at| {
            format!(
                r#"{{"id": "q{at}", "task_type": "{}", "final_model": "small"}}"#,
                current.tasks[0]
            )
        })
        .collect();
    let scores: std::collections::HashMap<String, f64> =
        (0..2_000).map(|at| (format!("q{at}"), f64::from(cell))).collect();
    let same = feedback::read(lines.iter().map(String::as_str), &scores, "").unwrap();
    let refused = feedback::improve(&current, &same);
    assert!(matches!(refused, Err(FeedbackError::NotBetter { .. })), "{refused:?}");
}

#[test]
fn what_is_wrong_with_scores_and_logs_is_told() {
    let scores = |line: &str| feedback::scores(std::iter::once(line)).unwrap_err().to_string();
    assert_eq!(scores(r#"{"id": "a", "score": 7}"#), "line 1: score: not a number between 0 and 1");
    assert_eq!(scores(r#"{"score": 1}"#), "line 1: id: missing, or not a name");
    let none = std::collections::HashMap::new();
    let log = feedback::read(["", "[]"].into_iter(), &none, "").unwrap_err();
    assert_eq!(log.to_string(), "line 2: the line: not an object");
    let escalated =
        r#"{"task_type": "t", "models_tried": ["a", "b"], "final_model": "b", "ok": true}"#;
    assert!(
        feedback::read([escalated, "{}"].into_iter(), &none, "")
            .is_ok_and(|log| log.without_task == 1)
    );
}
