//! The filter on trial: labelled texts in, precision, recall, coverage and false alarms out, per type. What
//! `weir guard eval --secrets` prints. Reads text and gives text; files are the command's business.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;

use super::detect::Action;
use super::detect::policy::Policy;
use super::detect::scan::{Hit, Scan, Sink};

/// A labelled text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The text.
    pub text: String,
    /// What kind of secret, or of look-alike, it holds.
    pub kind: String,
    /// Whether it holds secrets.
    pub is_positive: bool,
    /// Where they are, in bytes.
    pub spans: Vec<(usize, usize)>,
}

impl Row {
    /// Reads one line: `{text, label, type, spans}`, spans in code points.
    pub fn read(line: &str) -> Result<Self, String> {
        let row: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let text = row["text"].as_str().ok_or("no text")?.to_owned();
        let kind = row["type"].as_str().ok_or("no type")?.to_owned();
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let place = |of: &Value| -> Option<usize> {
            let at = usize::try_from(of.as_u64()?).ok()?;
            Some(places.get(at).copied().unwrap_or(text.len()))
        };
        let spans = row["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
        let spans = spans.iter().map(|span| Some((place(&span[0])?, place(&span[1])?)));
        let spans = spans.collect::<Option<Vec<_>>>().ok_or("a span is not two numbers")?;
        Ok(Self { kind, is_positive: row["label"].as_u64() == Some(1), spans, text })
    }
}

/// The figures of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Texts of this type.
    pub rows: u64,
    /// Texts in which something was found; of those with secrets, something that touches one.
    pub hits: u64,
    /// Spans.
    pub spans: u64,
    /// Spans that are covered to their last byte.
    pub whole: u64,
    /// Finds that touch no span.
    pub false_finds: u64,
    /// Texts whose redaction in small pieces differs from that of the whole.
    pub unequal: u64,
}

impl Score {
    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.hits += other.hits;
        self.spans += other.spans;
        self.whole += other.whole;
        self.false_finds += other.false_finds;
        self.unequal += other.unequal;
    }
}

/// The figures of all types.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Texts with secrets.
    pub positive: BTreeMap<String, Score>,
    /// Look-alikes.
    pub negative: BTreeMap<String, Score>,
}

#[derive(Default)]
struct Spans {
    found: Vec<(usize, usize)>,
    out: Vec<u8>,
}

impl Sink for Spans {
    fn keep(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    fn found(&mut self, hit: &Hit, _: &[u8]) {
        self.found.push((hit.from, hit.to));
        self.out.extend_from_slice(hit.rule.mark.as_bytes());
    }
}

fn scanned<'a>(policy: &Arc<Policy>, pieces: impl Iterator<Item = &'a [u8]>) -> Spans {
    let (mut scan, mut spans) = (Scan::new(Arc::clone(policy)), Spans::default());
    for piece in pieces {
        scan.feed(piece, &mut spans);
    }
    scan.finish(&mut spans);
    spans
}

impl Report {
    /// Judges one text, with every detector on.
    pub fn judge(&mut self, row: &Row) {
        let policy = Arc::new(Policy::all(Action::Redact));
        let whole = scanned(&policy, std::iter::once(row.text.as_bytes()));
        let unequal =
            (1..=4).any(|size| scanned(&policy, row.text.as_bytes().chunks(size)).out != whole.out);
        let touches = |&(from, to): &(usize, usize)| {
            row.spans.iter().any(|span| span.0 < to && from < span.1)
        };
        let covers = |span: &&(usize, usize)| {
            whole.found.iter().any(|found| found.0 <= span.0 && span.1 <= found.1)
        };
        let hit = whole.found.iter().any(|found| !row.is_positive || touches(found));
        let score = Score {
            rows: 1,
            hits: u64::from(hit),
            spans: row.spans.len() as u64,
            whole: row.spans.iter().filter(covers).count() as u64,
            false_finds: whole.found.iter().filter(|found| !touches(found)).count() as u64,
            unequal: u64::from(unequal),
        };
        let side = if row.is_positive { &mut self.positive } else { &mut self.negative };
        side.entry(row.kind.clone()).or_default().add(score);
    }

    /// The sum of one side.
    pub fn total(side: &BTreeMap<String, Score>) -> Score {
        side.values().fold(Score::default(), |mut sum, score| {
            sum.add(*score);
            sum
        })
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut table =
            String::from("type                     rows  precision  recall  whole  unequal\n");
        let (positive, negative) = (Self::total(&self.positive), Self::total(&self.negative));
        for (kind, score) in self.positive.iter().map(|(kind, score)| (kind.as_str(), score)) {
            line(&mut table, kind, score);
        }
        line(&mut table, "all secrets", &positive);
        table.push_str("\nlook-alike               rows  hits\n");
        for (kind, score) in self.negative.iter().filter(|(_, score)| score.hits > 0) {
            let _ = writeln!(table, "{kind:<24} {:>4}  {:>4}", score.rows, score.hits);
        }
        let _ =
            writeln!(table, "{:<24} {:>4}  {:>4}", "all look-alikes", negative.rows, negative.hits);
        let found = positive.hits + positive.false_finds + negative.hits;
        let _ = writeln!(
            table,
            "\nprecision {}  recall {}  whole spans {}  look-alikes hit {}  unequal when cut {}",
            ratio(positive.hits, found),
            ratio(positive.hits, positive.rows),
            ratio(positive.whole, positive.spans),
            ratio(negative.hits, negative.rows),
            positive.unequal + negative.unequal,
        );
        table
    }
}

fn line(table: &mut String, kind: &str, score: &Score) {
    let _ = writeln!(
        table,
        "{kind:<24} {:>4}  {:>9}  {:>6}  {:>5}  {:>7}",
        score.rows,
        ratio(score.hits, score.hits + score.false_finds),
        ratio(score.hits, score.rows),
        ratio(score.whole, score.spans),
        score.unequal,
    );
}

/// Three decimals, rounded down, so that 1.000 means all of them.
fn ratio(part: u64, whole: u64) -> String {
    match (part * 1_000).checked_div(whole) {
        Some(thousandths) => format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.judge(&Row::read(line).unwrap());
        }
        report
    }

    #[test]
    fn figures_of_a_hit_a_miss_and_a_false_alarm() {
        let report = report(&[
            r#"{"text":"é 219-09-9999!","label":1,"type":"ssn","spans":[[2,13]]}"#,
            r#"{"text":"nothing","label":1,"type":"ssn","spans":[[0,7]]}"#,
            r#"{"text":"219-09-9999","label":0,"type":"order","spans":[]}"#,
        ]);
        let ssn = report.positive["ssn"];
        assert_eq!((ssn.rows, ssn.hits, ssn.spans, ssn.whole, ssn.unequal), (2, 1, 2, 1, 0));
        assert_eq!(report.negative["order"].hits, 1);
        let table = report.table();
        assert!(
            table.contains("recall 0.500") && table.contains("look-alikes hit 1.000"),
            "{table}"
        );
    }

    #[test]
    fn lines_that_are_none_are_told() {
        assert!(Row::read("{}").is_err());
        assert!(Row::read(r#"{"text":"a","type":"b","spans":[[0,"x"]]}"#).is_err());
    }
}
