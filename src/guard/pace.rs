//! How soon answers pass the output filter, measured: benign texts in, cut into deltas like those of a model, and
//! out come the share of deltas that pass at once and the delay of the others. What `weir guard eval --answers`
//! prints.
//!
//! The deltas follow a rule of our own instead of a vocabulary: pieces of the sizes that tokens have, cut where
//! vocabularies cut, the same in every run. It measures no time, and finds are no matter here.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use super::canary::{Canary, Token};
use super::detect::policy::Policy;
use super::detect::{Action, Detector};
use super::json_inner::Form;
use super::json_text::JsonText;
use crate::wire::json;

/// Bytes of the letters in one delta at most: with it deltas of English have four bytes in the mean.
const LETTERS: usize = 6;
/// Digits in one delta at most, as in the vocabularies of newer models.
const DIGITS: usize = 3;

/// What a character is to vocabularies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Digit,
    Space,
    Mark,
}

impl Kind {
    fn of(letter: char) -> Self {
        match letter {
            it if it.is_alphabetic() => Self::Letter,
            it if it.is_numeric() => Self::Digit,
            it if it.is_whitespace() => Self::Space,
            _ => Self::Mark,
        }
    }

    /// Bytes of it in one delta at most.
    const fn most(self) -> usize {
        match self {
            Self::Letter => LETTERS,
            Self::Digit => DIGITS,
            Self::Space | Self::Mark => usize::MAX,
        }
    }
}

/// The first delta of a text: a run of letters, of digits, of marks or of white space, no longer than that; a
/// blank before letters or marks belongs to them.
fn delta(text: &str) -> &str {
    let blank = usize::from(text.starts_with(' '));
    let joined = text[blank..].chars().next().map(Kind::of);
    let blank = if matches!(joined, Some(Kind::Letter | Kind::Mark)) { blank } else { 0 };
    let run = &text[blank..];
    let Some(kind) = run.chars().next().map(Kind::of) else { return text };
    let mut end = 0;
    for (at, letter) in run.char_indices() {
        let after = at + letter.len_utf8();
        let is_last_blank = kind == Kind::Space && letter == ' ' && {
            let next = run[after..].chars().next().map(Kind::of);
            matches!(next, Some(Kind::Letter | Kind::Mark))
        };
        let fits = Kind::of(letter) == kind && (at == 0 || after <= kind.most());
        if !fits || is_last_blank && at > 0 {
            break;
        }
        end = after;
    }
    &text[..blank + end]
}

/// A text in deltas.
pub fn deltas(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (first, after) = rest.split_at(delta(rest).len());
        rest = after;
        (!first.is_empty()).then_some(first)
    })
}

/// What most gateways look for.
const NUMBERED: [(Detector, Action); 3] = [
    (Detector::ApiKey, Action::Redact),
    (Detector::Card, Action::Redact),
    (Detector::Ssn, Action::Redact),
];

/// What is looked for in a measurement.
struct Setting {
    name: &'static str,
    policy: Arc<Policy>,
    /// The canary is looked for as well.
    canary: Option<Canary>,
}

/// What is held of a text after its deltas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    deltas: usize,
    bytes: usize,
    /// Deltas after which nothing was held.
    at_once: usize,
    /// For how many further deltas the last bytes of a delta were held, summed.
    late: usize,
    /// Bytes that were held after a delta, summed.
    held: usize,
    most: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.deltas += other.deltas;
        self.bytes += other.bytes;
        self.at_once += other.at_once;
        self.late += other.late;
        self.held += other.held;
        self.most = self.most.max(other.most);
    }

    fn row(&self, name: &str, out: &mut String) {
        let all = self.deltas.max(1);
        let share = self.at_once * 10_000 / all;
        let part = |sum: usize| format!("{}.{:03}", sum / all, sum % all * 1_000 / all);
        let _ = writeln!(
            out,
            "{name:<22}{:>9}{:>10}{:>12}{:>13}{:>12}{:>10}",
            self.deltas,
            part(self.bytes),
            format!("{}.{:02} %", share / 100, share % 100),
            part(self.late),
            part(self.held),
            self.most
        );
    }
}

/// The measurement.
pub struct Pace {
    settings: Vec<(Setting, BTreeMap<String, Tally>)>,
}

impl Default for Pace {
    /// With keys and numbers alone, with what is on by default, and with every detector and the canary.
    fn default() -> Self {
        let canary = Token::derive(b"pace", ("tenant", "session"), 0);
        let setting = |name, policy, canary| {
            (Setting { name, policy: Arc::new(policy), canary }, BTreeMap::new())
        };
        Self {
            settings: vec![
                setting(
                    "keys, cards and social security numbers",
                    Policy::all(Action::Off).with(&NUMBERED),
                    None,
                ),
                setting("what is on by default", Policy::default(), None),
                setting(
                    "everything, also mail, telephone and the canary",
                    Policy::all(Action::Redact),
                    canary.as_ref().map(Canary::new),
                ),
            ],
        }
    }
}

impl Pace {
    /// Measures one text.
    pub fn measure(&mut self, slice: &str, text: &str) {
        for (setting, rows) in &mut self.settings {
            let tally = held(setting, text);
            rows.entry(slice.to_owned()).or_default().add(tally);
        }
    }

    /// The figures by slice and in sum.
    pub fn table(&self) -> String {
        let mut out = String::new();
        for (setting, rows) in &self.settings {
            let _ = writeln!(out, "{}:", setting.name);
            let _ = writeln!(
                out,
                "{:<22}{:>9}{:>10}{:>12}{:>13}{:>12}{:>10}",
                "slice", "deltas", "bytes", "at once", "late, deltas", "held, bytes", "at most"
            );
            let mut sum = Tally::default();
            for (slice, tally) in rows {
                tally.row(slice, &mut out);
                sum.add(*tally);
            }
            sum.row("all", &mut out);
        }
        out
    }
}

/// Sends a text through the filter of streams, delta by delta.
fn held(setting: &Setting, text: &str) -> Tally {
    let mut filter = JsonText::new(Arc::clone(&setting.policy), Form::Words);
    let mut canary = setting.canary.clone();
    let (mut tally, mut out, mut quoted) = (Tally::default(), Vec::new(), Vec::new());
    // Where deltas end of which something is held.
    let mut late = VecDeque::new();
    for delta in deltas(text) {
        quoted.clear();
        json::quote_into(delta, &mut quoted);
        out.clear();
        let written = &quoted[1..quoted.len() - 1];
        filter.feed(written, &mut out);
        if canary.as_mut().is_some_and(|canary| canary.feed(delta.as_bytes())) {
            break;
        }
        tally.deltas += 1;
        tally.bytes += written.len();
        late.push_back(tally.bytes);
        let held = filter.held();
        while late.front().is_some_and(|end| *end <= tally.bytes - held) {
            late.pop_front();
        }
        tally.at_once += usize::from(held == 0);
        tally.late += late.len();
        tally.held += held;
        tally.most = tally.most.max(held);
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_are_cut_like_tokens() {
        let text = "It's  a well-known\n 1234567 $x internationally, 密钥是";
        let cut: Vec<&str> = deltas(text).collect();
        let wanted = [
            "It", "'", "s", " ", " a", " well", "-", "known", "\n ", "123", "456", "7", " $", "x",
            " intern", "ationa", "lly", ",", " 密钥", "是",
        ];
        assert_eq!(cut, wanted);
    }

    #[test]
    fn what_is_held_is_late() {
        let mut pace = Pace::default();
        pace.measure("s", "plain words");
        // `sk-` may be a key until the blank.
        let tally = held(&pace.settings[0].0, "up sk-b up");
        assert_eq!((tally.deltas, tally.at_once, tally.most), (5, 2, 4), "{tally:?}");
        assert!(pace.table().contains("100.00 %"));
    }

    #[test]
    fn a_text_is_the_sum_of_its_deltas() {
        for text in ["", " ", "  \n\n", "a  ", "é1٣ x", "- -- 5"] {
            assert_eq!(deltas(text).collect::<String>(), text);
        }
    }
}
