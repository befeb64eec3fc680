//! One text field of an answer: searched for secrets and for the canary as it comes, written as the inside of a
//! JSON string.
//!
//! Arguments of tool calls are JSON in a string. A number that is found there gives way to a mark in quotes, so
//! that what is inside stays JSON too.

use memchr::memmem;

use crate::exchange::outflow::{Stop, Terms};
use crate::guard::canary::Canary;
use crate::guard::filter::Finding;
use crate::guard::json_text::JsonText;
use crate::wire::json;

/// How every mark begins.
const MARK: &[u8] = b"[REDACTED_";

/// Makes the search of one text, which may be JSON itself.
pub type Maker = fn(&Terms, bool) -> Field;

/// What finds secrets in a text.
pub trait Filter: std::fmt::Debug + Send + Sync {
    /// More of the inside of a JSON string in; what may go on comes out.
    fn feed(&mut self, raw: &[u8], out: &mut Vec<u8>);
    /// The end of the text: the rest comes out.
    fn finish(&mut self, out: &mut Vec<u8>);
    /// Whether something was found that blocks.
    fn is_blocked(&self) -> bool;
    /// Bytes that are held back.
    fn held(&self) -> usize;
    /// The same bytes as they came.
    fn held_text(&self) -> Vec<u8>;
    /// What was found so far.
    fn findings(&self) -> &[Finding];
}

impl Filter for JsonText {
    fn feed(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        Self::feed(self, raw, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        Self::finish(self, out);
    }

    fn is_blocked(&self) -> bool {
        Self::is_blocked(self)
    }

    fn held(&self) -> usize {
        Self::held(self)
    }

    fn held_text(&self) -> Vec<u8> {
        Self::held_text(self)
    }

    fn findings(&self) -> &[Finding] {
        Self::findings(self)
    }
}

/// The search of one text.
#[derive(Debug)]
pub struct Field {
    filter: Option<Box<dyn Filter>>,
    canary: Option<Box<Canary>>,
    /// For text that is JSON itself.
    inside: Option<Inside>,
    /// Counts of findings that were told already, by rule.
    told: Vec<(&'static str, u64)>,
}

/// The search that answers get.
pub fn usual(terms: &Terms, is_json: bool) -> Field {
    let filter = terms.guards.output.as_ref();
    let filter = filter.map(|policy| Box::new(JsonText::new(policy.clone())) as Box<dyn Filter>);
    Field::new(filter, terms, is_json)
}

impl Field {
    /// A text at its beginning, searched by `filter`.
    pub fn new(filter: Option<Box<dyn Filter>>, terms: &Terms, is_json: bool) -> Self {
        Self {
            filter,
            canary: terms.canary.clone().map(Box::new),
            inside: is_json.then(|| Inside::new(Quote::Escaped)),
            told: Vec::new(),
        }
    }

    /// The same for JSON that stands in no string.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.inside = Some(Inside::new(Quote::Bare));
        self
    }

    /// More of the text in, as it is written; what may go on comes out.
    pub fn feed(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        if let Some(canary) = &mut self.canary {
            match json::unescape(raw) {
                Some(text) => canary.feed(text.as_bytes()),
                None => canary.feed(raw),
            };
        }
        self.pass(out, |filter, out| filter.feed(raw, out), raw);
    }

    /// The end of the text: the rest comes out.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.pass(out, |filter, out| filter.finish(out), b"");
    }

    fn pass(
        &mut self,
        out: &mut Vec<u8>,
        step: impl FnOnce(&mut dyn Filter, &mut Vec<u8>),
        raw: &[u8],
    ) {
        let from = out.len();
        match &mut self.filter {
            Some(filter) => step(filter.as_mut(), out),
            None => out.extend_from_slice(raw),
        }
        if let Some(inside) = &mut self.inside {
            inside.quote_marks(out, from);
        }
    }

    /// Bytes that are held back.
    pub fn held(&self) -> usize {
        self.filter.as_ref().map_or(0, |filter| filter.held())
    }

    /// The same bytes as they came.
    pub fn held_text(&self) -> Vec<u8> {
        self.filter.as_ref().map(|filter| filter.held_text()).unwrap_or_default()
    }

    /// Why the text must not go on.
    pub fn stop(&self) -> Option<Stop> {
        if self.canary.as_ref().is_some_and(|canary| canary.is_found()) {
            return Some(Stop::Canary);
        }
        self.filter.as_ref().filter(|filter| filter.is_blocked()).map(|_| Stop::Found)
    }

    /// What was found since this was asked last.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        let Some(filter) = &self.filter else { return Vec::new() };
        let mut fresh = Vec::new();
        for found in filter.findings() {
            let told = self.told.iter_mut().find(|(rule, _)| *rule == found.rule);
            let before = told.as_ref().map_or(0, |(_, count)| *count);
            if found.count > before {
                fresh.push(Finding { count: found.count - before, ..*found });
                match told {
                    Some((_, count)) => *count = found.count,
                    None => self.told.push((found.rule, found.count)),
                }
            }
        }
        fresh
    }
}

/// How a quote of JSON is written where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    /// In JSON itself.
    Bare,
    /// In JSON within a string.
    Escaped,
}

/// The length of the mark that a text begins with.
fn mark_end(text: &[u8]) -> Option<usize> {
    let name = text.get(MARK.len()..)?;
    let length = name.iter().position(|byte| !matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))?;
    (length > 0 && name[length] == b']').then_some(MARK.len() + length + 1)
}

/// Whether the present place of a text of JSON is inside of a string.
#[derive(Clone, Copy, Debug)]
struct Inside {
    quote: Quote,
    in_string: bool,
    /// The next character is escaped.
    escaped: bool,
}

impl Inside {
    const fn new(quote: Quote) -> Self {
        Self { quote, in_string: false, escaped: false }
    }

    /// Passes over what `out` got from `from` on, and puts marks that stand for values into quotes.
    fn quote_marks(&mut self, out: &mut Vec<u8>, from: usize) {
        // Made at the first mark that needs quotes: most texts have none.
        let mut quoted: Option<Vec<u8>> = None;
        let (mut at, mut done) = (from, from);
        while let Some(found) = memmem::find(&out[at..], MARK) {
            let start = at + found;
            let Some(end) = mark_end(&out[start..]).map(|length| start + length) else {
                // Words of the model that only begin like a mark.
                self.read(&out[at..start + MARK.len()]);
                at = start + MARK.len();
                continue;
            };
            self.read(&out[at..start]);
            if !self.in_string {
                let quote: &[u8] = if self.quote == Quote::Bare { b"\"" } else { b"\\\"" };
                let quoted = quoted.get_or_insert_with(|| Vec::with_capacity(out.len()));
                for part in [&out[done..start], quote, &out[start..end], quote] {
                    quoted.extend_from_slice(part);
                }
                done = end;
            }
            self.escaped = false;
            at = end;
        }
        self.read(&out[at..]);
        if let Some(mut quoted) = quoted {
            quoted.extend_from_slice(&out[done..]);
            out.truncate(from);
            out.append(&mut quoted);
        }
    }

    fn read(&mut self, raw: &[u8]) {
        let mut at = 0;
        while at < raw.len() {
            let (byte, wide) = match (self.quote, &raw[at..]) {
                (Quote::Escaped, [b'\\', b'u', b'0', b'0', high, low, ..]) => match (high, low) {
                    (b'2', b'2') => (b'"', 6),
                    (b'5', b'c' | b'C') => (b'\\', 6),
                    _ => (b'u', 6),
                },
                (Quote::Escaped, [b'\\', next, ..]) => match next {
                    b'"' | b'\\' => (*next, 2),
                    _ => (b'n', 2),
                },
                (_, [byte, ..]) => (*byte, 1),
                (_, []) => return,
            };
            at += wide;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = self.in_string,
                b'"' => self.in_string = !self.in_string,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(quote: Quote, pieces: &[&str]) -> String {
        let mut inside = Inside::new(quote);
        let mut out = b"before ".to_vec();
        for piece in pieces {
            let from = out.len();
            out.extend_from_slice(piece.as_bytes());
            inside.quote_marks(&mut out, from);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn marks_outside_of_strings_get_quotes() {
        let text = r#"{"a":[REDACTED_X_1],"b":"[REDACTED_Y_2]","c":[REDACTED_Z_3]}"#;
        let wanted = r#"before {"a":"[REDACTED_X_1]","b":"[REDACTED_Y_2]","c":"[REDACTED_Z_3]"}"#;
        assert_eq!(quoted(Quote::Bare, &[text]), wanted);
    }

    #[test]
    fn words_that_begin_like_a_mark_do_not_hide_the_end_of_their_string() {
        let wanted = r#"before ["[REDACTED_",5,"[REDACTED_X_1]"]"#;
        assert_eq!(quoted(Quote::Bare, &[r#"["[REDACTED_",5,[REDACTED_X_1]]"#]), wanted);
        assert_eq!(quoted(Quote::Bare, &[r#"["[REDACTED_"#, r#"",5,[REDACTED_X_1]]"#]), wanted);
    }

    #[test]
    fn many_marks_take_time_by_their_number() {
        // With a copy of the rest for each mark this takes minutes.
        let text = format!("[{}0]", "[REDACTED_SSN_1],".repeat(400_000));
        let out = quoted(Quote::Bare, &[&text]);
        assert_eq!(out.matches("\"[REDACTED_SSN_1]\"").count(), 400_000);
    }
}
