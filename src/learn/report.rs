//! What a suite's evaluation is told as: a table for people, an object for the router's file. The hull of single models
//! and the length-only line stand beside every result.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::curve::Point;
use super::dataset::Suite;
use super::measure::{Measured, Trial};
use super::operate::{Kept, TARGETS};

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
    /// What each promise of `TARGETS` kept.
    pub kept: [Kept; TARGETS.len()],
    /// Always the best single model.
    pub best: Point,
    /// All models in turn.
    pub turns: Point,
}

fn percent(share: f64) -> f64 {
    (share * 1_000.0).round() / 10.0
}

fn thousandths(share: f64) -> f64 {
    (share * 1_000.0).round() / 1_000.0
}

impl Account {
    /// Of a suite, what was expected of it, and what its lengths alone would have let expect.
    pub fn new(suite: &Suite, trial: &Trial, length: &Trial, kept: [Kept; TARGETS.len()]) -> Self {
        let router = trial.measure();
        let singles = trial.singles();
        let count = singles.len().max(1) as f64;
        let sum =
            singles.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.cost, sum.1 + one.quality));
        let nothing = Point { cost: 0.0, quality: 0.0 };
        Self {
            suite: suite.name.clone(),
            models: suite.models.len(),
            best: router.as_ref().map_or(nothing, |measured| measured.span.best),
            turns: Point { cost: sum.0 / count, quality: sum.1 / count },
            length: length.measure(),
            router,
            kept,
        }
    }

    /// The object of the router's file.
    pub fn json(&self) -> Value {
        let Some(router) = &self.router else {
            return json!({"suite": self.suite, "queries": 0});
        };
        let kept = TARGETS.iter().zip(&self.kept).map(|(target, kept)| {
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
        let Some(router) = &self.router else {
            return format!(
                "{}: no query was answered by all of its models; nothing can be compared\n\n",
                self.suite
            );
        };
        let _ =
            writeln!(text, "{}: {} queries, {} models", self.suite, router.queries, self.models);
        let _ = writeln!(
            text,
            "  {:<22}{:>7}{:>9}{:>14}{:>8}",
            "", "AIQ", "gap %", "saved at 98 %", "APGR"
        );
        line(&mut text, name, Some(router));
        line(&mut text, "prompt length only", self.length.as_ref());
        let _ = writeln!(
            text,
            "  {:<22}{:>7.3}{:>9.1}{:>14}{:>8}",
            "single models, mixed",
            router.hull,
            0.0,
            shown(router.hull_save_98),
            if router.apgr.is_some() { "0.500" } else { "" }
        );
        let _ = writeln!(text, "  {:<22}{:>7.3}{:>9.1}", "oracle", router.oracle, 100.0);
        self.points(&mut text);
        text.push('\n');
        text
    }

    fn points(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "  {:<22}{:>9}{:>12}{:>9}",
            "at one setting", "quality", "USD/1000", "saved %"
        );
        let saved = |point: Point| 100.0 * (1.0 - point.cost / self.best.cost.max(1e-9));
        for (name, point) in [("passthrough (best)", self.best), ("round_robin", self.turns)] {
            let dollars = point.cost / 1e6;
            let _ = writeln!(
                text,
                "  {name:<22}{:>9.3}{dollars:>12.3}{:>9.1}",
                point.quality,
                saved(point)
            );
        }
        for (target, kept) in TARGETS.iter().zip(&self.kept) {
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
    }
}

/// One of the lines to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Prompt length.
    Length,
    /// The best single model.
    Best,
    /// All in turn.
    Turns,
}

impl Account {
    /// One strategy, in one line.
    pub fn line(&self, which: Line) -> String {
        let point = match which {
            Line::Length => {
                let mut text = format!("{}: ", self.suite);
                line(&mut text, "prompt length only", self.length.as_ref());
                return text;
            }
            Line::Best => self.best,
            Line::Turns => self.turns,
        };
        let saved = 100.0 * (1.0 - point.cost / self.best.cost.max(1e-9));
        let dollars = point.cost / 1e6;
        format!(
            "{}: quality {:.3}, {dollars:.3} USD per 1000 queries, {saved:.1} % saved\n",
            self.suite, point.quality
        )
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
    let gaps: Vec<f64> =
        accounts.iter().filter_map(|account| Some(account.router.as_ref()?.gap())).collect();
    if gaps.len() < 2 {
        return String::new();
    }
    let mut text = format!(
        "mean gap over {} suites: {:.1} %\n",
        gaps.len(),
        100.0 * gaps.iter().sum::<f64>() / gaps.len() as f64
    );
    for (at, target) in TARGETS.iter().enumerate() {
        let count = accounts.len() as f64;
        let quality = accounts.iter().map(|account| account.kept[at].quality).sum::<f64>() / count;
        let saved = accounts.iter().map(|account| account.kept[at].saved).sum::<f64>() / count;
        let least =
            accounts.iter().map(|account| account.kept[at].quality).fold(f64::INFINITY, f64::min);
        let _ = writeln!(
            text,
            "promised {:.0} %: kept {:.1} % in the mean, {:.1} % at least; saved {:.1} %",
            target * 100.0,
            quality * 100.0,
            least * 100.0,
            saved * 100.0
        );
    }
    text
}
