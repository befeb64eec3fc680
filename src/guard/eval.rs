//! How well the model judges texts that its weights were not learned from.
//!
//! Figures as whole numbers, for `weir guard eval` and for the note inside the file of weights. Reading files
//! is the caller's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::guard::linear::Model;
use crate::guard::rules::Tier;
use crate::guard::train::{self, Example, FOLDS, Plan, Sample};
use crate::guard::verdict;

/// What was found in one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// What it weighs.
    pub weight: i32,
    /// Whether a rule of the first tier came true.
    pub is_sure: bool,
}

/// An attack inside of a long text.
#[derive(Clone, Debug)]
pub struct Needle {
    /// Which benign example it was put into.
    pub base: usize,
    /// The whole.
    pub text: String,
}

/// Where suspicion and certainty begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// At most one benign text in 100 comes here.
    pub suspect: i32,
    /// At most one in 1,000.
    pub certain: i32,
}

/// How examples are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// Near copies stay together.
    Copies,
    /// All of one source stay together: the harder question.
    Sources,
}

/// Slices of attacks that the goals are about.
const CORE: [&str; 6] = ["persona", "override", "extract", "cse_explicit", "indirect", "grammar"];

/// What `model` finds in a text.
pub fn judged(model: &Model, text: &str) -> Judged {
    let mut out = Judged { weight: i32::MIN, is_sure: false };
    for view in verdict::views(text) {
        let reading = model.read(&view.folded.text);
        out.weight = out.weight.max(reading.best);
        out.is_sure |= reading.tier() == Some(Tier::A);
    }
    out
}

/// Judges each example, and each needle, by weights that were learned without its group.
pub fn out_of_fold(
    (examples, needles): (&[Example], &[Needle]),
    apart: Apart,
    plan: &Plan,
    mut said: impl FnMut(&str),
) -> (Vec<Judged>, Vec<Judged>) {
    let folds = folds(examples, apart);
    let samples: Vec<Vec<Sample>> = (0..=FOLDS)
        .map(|fold| {
            let of_fold =
                examples.iter().zip(&folds).filter(|(it, at)| **at == fold && it.is_for_training);
            train::samples(&of_fold.map(|(example, _)| example).collect::<Vec<_>>())
        })
        .collect();
    let mut out = vec![Judged::default(); examples.len()];
    let mut found = vec![Judged::default(); needles.len()];
    for fold in 0..FOLDS {
        said(&format!("fold {} of {FOLDS}", fold + 1));
        let others = samples.iter().enumerate().filter(|(at, _)| *at != fold);
        let model = train::learn(
            plan,
            &others.flat_map(|(_, samples)| samples).collect::<Vec<_>>(),
            |_, _| {},
        );
        for (at, example) in examples.iter().enumerate().filter(|(at, _)| folds[*at] == fold) {
            out[at] = judged(&model, &example.text);
        }
        for (at, needle) in needles.iter().enumerate().filter(|(_, it)| folds[it.base] == fold) {
            found[at] = judged(&model, &needle.text);
        }
    }
    (out, found)
}

/// The fold in which each example is judged. Own phrases are in none: they lie in the one after the last.
fn folds(examples: &[Example], apart: Apart) -> Vec<usize> {
    let judged = || examples.iter().filter(|it| !it.is_own);
    let names: BTreeMap<(bool, &str), usize> =
        judged().map(source).collect::<BTreeSet<_>>().into_iter().zip(0..).collect();
    let groups = match apart {
        Apart::Copies => train::groups(examples),
        Apart::Sources => Vec::new(),
    };
    let fold = |(at, example): (usize, &Example)| match (example.is_own, apart) {
        (true, _) => FOLDS,
        (false, Apart::Copies) => spread(groups[at] as usize),
        (false, Apart::Sources) => names.get(&source(example)).map_or(0, |name| name % FOLDS),
    };
    examples.iter().enumerate().map(fold).collect()
}

/// What has one source. Disguised copies and generated attacks are made from one another.
fn source(example: &Example) -> (bool, &str) {
    let is_made = example.is_attack && example.source.starts_with("own ");
    (example.is_attack, if is_made { "own" } else { &example.source })
}

fn spread(group: usize) -> usize {
    (group.wrapping_mul(0x9e37_79b9) >> 7) % FOLDS
}

/// Cuts by what benign texts weigh.
pub fn cuts(examples: &[Example], judged: &[Judged]) -> Cuts {
    let benign = benign(examples, judged);
    Cuts { suspect: train::cut(&benign, 10), certain: train::cut(&benign, 1) }
}

/// What the benign texts weigh that count when cuts are chosen.
fn benign(examples: &[Example], judged: &[Judged]) -> Vec<i32> {
    let counted = examples.iter().zip(judged).filter(|(it, _)| it.is_for_cuts && !it.is_attack);
    counted.map(|(_, judged)| judged.weight).collect()
}

/// How many of how many were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    all: usize,
    suspect: usize,
    between: usize,
    certain: usize,
    sure: usize,
}

impl Tally {
    fn add(&mut self, judged: Judged, (cuts, between): (Cuts, i32)) {
        let is_found = |cut: i32| usize::from(judged.is_sure || judged.weight >= cut);
        self.all += 1;
        self.suspect += is_found(cuts.suspect);
        self.between += is_found(between);
        self.certain += is_found(cuts.certain);
        self.sure += usize::from(judged.is_sure);
    }
}

/// The table of figures: what was found of each slice at both cuts, at one between them (two in 1,000 of the benign
/// texts judged here come there; nothing is decided by it), and by rules of the first tier alone.
pub fn report(examples: &[Example], judged: &[Judged], needles: &[Judged], cuts: Cuts) -> String {
    let mut rows: BTreeMap<String, Tally> = BTreeMap::new();
    let between = train::cut(&benign(examples, judged), 2);
    let all = (cuts, between);
    let mut add = |name: String, judged| rows.entry(name).or_default().add(judged, all);
    for (example, judged) in examples.iter().zip(judged).filter(|(it, _)| !it.is_own) {
        if example.is_attack {
            add(format!("attack {}", example.slice), *judged);
            if CORE.contains(&&*example.slice) {
                add("total core attacks".to_owned(), *judged);
            }
            if example.slice.starts_with("obf_") {
                add("total obfuscated attacks".to_owned(), *judged);
            }
            if CORE.contains(&&*example.slice) && example.lang != "en" {
                add("total multilingual attacks".to_owned(), *judged);
            }
        } else {
            add(format!("benign {}", example.slice), *judged);
            if example.is_for_cuts {
                add("total benign".to_owned(), *judged);
            }
        }
    }
    for judged in needles {
        add("total needles".to_owned(), *judged);
    }
    table(&rows, all)
}

fn table(rows: &BTreeMap<String, Tally>, (cuts, between): (Cuts, i32)) -> String {
    let mut out =
        format!("cuts: suspect {}, at .2 % {between}, certain {}\n", cuts.suspect, cuts.certain);
    let _ = writeln!(
        out,
        "{:<34}{:>6}{:>10}{:>10}{:>10}{:>10}",
        "slice", "texts", "at 1 %", "at .2 %", "at .1 %", "sure rule"
    );
    for (name, tally) in rows {
        let _ = write!(out, "{name:<34}{:>6}", tally.all);
        for part in [tally.suspect, tally.between, tally.certain, tally.sure] {
            let mille = part * 10_000 / tally.all.max(1);
            let _ = write!(out, "{:>10}", format!("{}.{:02}", mille / 100, mille % 100));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(slice: &str, is_attack: bool) -> Example {
        Example {
            text: String::new(),
            is_attack,
            slice: slice.to_owned(),
            source: "x".to_owned(),
            lang: "en".to_owned(),
            is_for_training: true,
            is_for_cuts: !is_attack,
            is_own: false,
        }
    }

    #[test]
    fn a_text_is_found_at_each_cut_that_it_comes_to() {
        let benign = (0..1_000).map(|weight| (example("chat", false), weight));
        let attacks = [0, 991, 999, 1_000].map(|weight| (example("persona", true), weight));
        let (examples, weights): (Vec<_>, Vec<_>) = benign.chain(attacks).unzip();
        let judged: Vec<Judged> =
            weights.into_iter().map(|weight| Judged { weight, is_sure: false }).collect();
        let cuts = cuts(&examples, &judged);
        assert_eq!(cuts, Cuts { suspect: 990, certain: 999 });
        let report = report(&examples, &judged, &[], cuts);
        assert!(report.starts_with("cuts: suspect 990, at .2 % 998, certain 999\n"), "{report}");
        let line = report.lines().find(|line| line.starts_with("total core")).unwrap();
        let figures: Vec<&str> = line.split_whitespace().skip(3).collect();
        assert_eq!(figures, ["4", "75.00", "50.00", "50.00", "0.00"], "{report}");
    }
}
