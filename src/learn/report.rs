//! What a suite's evaluation is told as: a table for people, an object for the router's file. The hull of single models
//! and the length-only line stand beside every result.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::curve::Point;
use super::dataset::Suite;
use super::measure::{Measured, Trial};
use super::operate::{Kept, TARGETS};
use super::rivals::Rivals;
use crate::routing::strategy::Strategy;

/// The account of one suite.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// The suite's name.
    pub suite: String,
    /// Its models.
    pub models: usize,
    /// The router.
    pub router: Option<Measured>,
    /// What prompt length alone does.
    pub length: Option<Measured>,
    /// What each promise of `TARGETS` kept; nothing where nothing was learnt.
    pub kept: Option<[Kept; TARGETS.len()]>,
    /// Always the best single model.
    pub best: Point,
    /// What was asked and what came.
    pub trial: Trial,
    /// What the other strategies make of it.
    pub rivals: Rivals,
}

fn percent(share: f64) -> f64 {
    (share * 1_000.0).round() / 10.0
}

fn thousandths(share: f64) -> f64 {
    (share * 1_000.0).round() / 1_000.0
}

impl Account {
    /// Of a suite, what was expected of it, and what its lengths alone would have let expect.
    pub fn new(suite: &Suite, trial: Trial, length: &Trial, kept: [Kept; TARGETS.len()]) -> Self {
        let router = trial.measure();
        Self { router, kept: Some(kept), ..Self::unlearnt(suite, trial, length) }
    }

    /// The same of strategies that learn nothing.
    pub fn unlearnt(suite: &Suite, trial: Trial, length: &Trial) -> Self {
        let length = length.measure();
        let nothing = Point { cost: 0.0, quality: 0.0 };
        Self {
            suite: suite.name.clone(),
            models: suite.models.len(),
            router: None,
            kept: None,
            best: length.as_ref().map_or(nothing, |measured| measured.span.best),
            length,
            trial,
            rivals: Rivals::default(),
        }
    }

    /// The object of the router's file.
    pub fn json(&self) -> Value {
        let Some(router) = &self.router else {
            return json!({"suite": self.suite, "queries": 0});
        };
        let kept = TARGETS.iter().zip(self.kept.iter().flatten()).map(|(target, kept)| {
            json!({"target": target, "quality": thousandths(kept.quality), "saved": thousandths(kept.saved)})
        });
        json!({
            "suite": self.suite,
            "queries": router.queries,
            "models": self.models,
            "gap_percent": percent(router.gap()),
            "length_gap_percent": self.length.as_ref().map(|length| percent(length.gap())),
            "save_98_percent": router.save_98.map(percent),
            "hull_save_98_percent": router.hull_save_98.map(percent),
            "aiq": thousandths(router.router),
            "hull_aiq": thousandths(router.hull),
            "oracle_aiq": thousandths(router.oracle),
            "apgr": router.apgr.map(thousandths),
            "kept": kept.collect::<Vec<_>>(),
        })
    }

    /// The table for people; `name` is what the router is called in it.
    pub fn text(&self, name: &str) -> String {
        let mut text = String::new();
        let Some(known) = self.router.as_ref().or(self.length.as_ref()) else {
            return format!(
                "{}: no query was answered by all of its models; nothing can be compared\n\n",
                self.suite
            );
        };
        let _ = writeln!(text, "{}: {} queries, {} models", self.suite, known.queries, self.models);
        let _ = writeln!(
            text,
            "  {:<22}{:>7}{:>9}{:>14}{:>8}",
            "", "AIQ", "gap %", "saved at 98 %", "APGR"
        );
        line(&mut text, name, self.router.as_ref());
        line(&mut text, "prompt length only", self.length.as_ref());
        let _ = writeln!(
            text,
            "  {:<22}{:>7.3}{:>9.1}{:>14}{:>8}",
            "single models, mixed",
            known.hull,
            0.0,
            shown(known.hull_save_98),
            if known.apgr.is_some() { "0.500" } else { "" }
        );
        let _ = writeln!(text, "  {:<22}{:>7.3}{:>9.1}", "oracle", known.oracle, 100.0);
        self.points(&mut text);
        text.push('\n');
        text
    }

    /// What single settings come to.
    fn points(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "  {:<22}{:>9}{:>12}{:>9}{:>12}{:>8}",
            "at one setting", "quality", "USD/1000", "saved %", "over mixed", "gap %"
        );
        for row in &self.rivals.rows {
            let _ = writeln!(
                text,
                "  {:<22}{:>9.3}{:>12.3}{:>9.1}{:>+12.3}{:>8.1}",
                row.strategy.name(),
                row.point.quality,
                row.point.cost / 1e6,
                100.0 * self.saved(row.point),
                row.above,
                100.0 * row.gap,
            );
        }
        for (target, kept) in TARGETS.iter().zip(self.kept.iter().flatten()) {
            let name = format!("{:.0} % of the best", target * 100.0);
            let (quality, dollars) =
                (kept.quality * self.best.quality, (1.0 - kept.saved) * self.best.cost / 1e6);
            let share = format!("({:.1} % of it)", kept.quality * 100.0);
            let _ = writeln!(
                text,
                "  {name:<22}{quality:>9.3}{dollars:>12.3}{:>9.1}  {share}",
                kept.saved * 100.0
            );
        }
        text.push_str(&self.rivals.cast);
    }

    /// What a point saves against the best single model, 0 to 1.
    fn saved(&self, point: Point) -> f64 {
        1.0 - point.cost / self.best.cost.max(1e-9)
    }

    /// Leaves of the other strategies one, and the one that savings are counted against.
    pub fn only(&mut self, strategy: Strategy) {
        let kept = [strategy, Strategy::Passthrough];
        self.rivals.rows.retain(|row| kept.contains(&row.strategy));
    }
}

fn shown(saved: Option<f64>) -> String {
    saved.map_or_else(|| "-".to_owned(), |saved| format!("{:.1} %", saved * 100.0))
}

fn line(text: &mut String, name: &str, measured: Option<&Measured>) {
    let Some(measured) = measured else { return };
    let apgr = measured.apgr.map_or_else(String::new, |apgr| format!("{apgr:.3}"));
    let (gap, saved) = (measured.gap() * 100.0, shown(measured.save_98));
    let _ = writeln!(text, "  {name:<22}{:>7.3}{gap:>9.1}{saved:>14}{apgr:>8}", measured.router);
}

/// The mean over suites, for people.
pub fn means(accounts: &[Account]) -> String {
    if accounts.len() < 2 {
        return String::new();
    }
    let mut text = String::new();
    let gaps: Vec<f64> =
        accounts.iter().filter_map(|account| Some(account.router.as_ref()?.gap())).collect();
    if !gaps.is_empty() {
        let mean = 100.0 * gaps.iter().sum::<f64>() / gaps.len() as f64;
        let _ = writeln!(text, "mean gap over {} suites: {mean:.1} %", gaps.len());
    }
    for (at, target) in TARGETS.iter().enumerate() {
        let kept: Vec<Kept> =
            accounts.iter().filter_map(|account| Some(account.kept?[at])).collect();
        if kept.is_empty() {
            continue;
        }
        let mean =
            |of: fn(&Kept) -> f64| 100.0 * kept.iter().map(of).sum::<f64>() / kept.len() as f64;
        let least = kept.iter().map(|kept| kept.quality).fold(f64::INFINITY, f64::min);
        let _ = writeln!(
            text,
            "promised {:.0} %: kept {:.1} % in the mean, {:.1} % at least; saved {:.1} %",
            target * 100.0,
            mean(|kept| kept.quality),
            least * 100.0,
            mean(|kept| kept.saved)
        );
    }
    for strategy in Strategy::ALL {
        settled(&mut text, (accounts, strategy));
    }
    text
}

/// The mean of one setting.
fn settled(text: &mut String, (accounts, strategy): (&[Account], Strategy)) {
    let found = |account: &Account| -> Option<[f64; 3]> {
        let row = account.rivals.rows.iter().find(|row| row.strategy == strategy)?;
        let share = row.point.quality / account.best.quality.max(1e-9);
        Some([share, account.saved(row.point), row.gap])
    };
    let all: Vec<[f64; 3]> = accounts.iter().filter_map(found).collect();
    if all.is_empty() {
        return;
    }
    let mean = |at: usize| 100.0 * all.iter().map(|one| one[at]).sum::<f64>() / all.len() as f64;
    let _ = writeln!(
        text,
        "{}: {:.1} % of the best in the mean, saved {:.1} %, gap at its cost {:.1} %",
        strategy.name(),
        mean(0),
        mean(1),
        mean(2)
    );
}
