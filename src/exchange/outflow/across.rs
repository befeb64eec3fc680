//! Texts of a whole answer that readers see as one: blocks of a message and parts of a response, which SDKs join.
//! What begins in one of them and ends in another is found here, and taken out of both; each of them is searched
//! for itself as well, for nothing may hide behind what its neighbour ends in.
//!
//! Streams are not searched like this: the end of a block would have to wait until the next one has gone on.

use std::sync::Arc;

use crate::base::surface::Surface;
use crate::exchange::outflow::Terms;
use crate::exchange::outflow::event::word_of;
use crate::exchange::outflow::tally::Against;
use crate::exchange::outflow::walk::{Found, inside, items};
use crate::guard::detect::Action;
use crate::guard::detect::policy::Policy;
use crate::guard::detect::scan::{Hit, Scan, Sink};
use crate::guard::filter::{Finding, Findings};
use crate::guard::json_inner::{Form, Listener, Place, Reader};
use crate::wire::json;
use crate::wire::syntax::Span;

/// What was found across the ends of texts.
#[derive(Debug, Default)]
pub struct Across {
    /// What is taken out, and what stands there instead; each at the beginning or the end of a text, or all of it.
    pub edits: Vec<(Span, Vec<u8>)>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What speaks against showing the answer.
    pub against: Against,
}

impl Across {
    /// Searches the texts of an answer that readers see as one.
    pub fn of(terms: &Terms, surface: Surface, body: &[u8]) -> Self {
        let mut across = Self::default();
        for texts in spoken(surface, body).into_iter().filter(|texts| texts.len() > 1) {
            across.search(terms, body, &texts);
        }
        across
    }

    /// What is left of a text to be searched for itself; `None` if nothing is.
    pub fn rest(&self, found: Found) -> Option<Found> {
        let mut span = found.span;
        for (cut, _) in &self.edits {
            if cut.start <= span.start && span.start < cut.end {
                span.start = cut.end.min(span.end);
            } else if span.start < cut.start && cut.start < span.end {
                span.end = cut.start;
            }
        }
        (!span.is_empty() || found.span.is_empty()).then_some(Found { span, ..found })
    }

    /// Whether something was taken out of one of these texts.
    pub fn touches(&self, texts: &[Found]) -> bool {
        let is_in = |cut: &Span| {
            texts.iter().any(|it| it.span.start <= cut.start && cut.end <= it.span.end)
        };
        self.edits.iter().any(|(cut, _)| is_in(cut))
    }

    fn search(&mut self, terms: &Terms, body: &[u8], texts: &[Span]) {
        let sheets: Vec<Sheet> = texts.iter().map(|span| Sheet::of(span.of(body))).collect();
        if let Some(canary) = &terms.canary {
            let mut canary = canary.clone();
            if sheets.iter().any(|sheet| canary.feed(&sheet.text)) {
                self.against.canary = true;
            }
        }
        let Some(policy) = &terms.guards.output else { return };
        let mut findings = Findings::default();
        for hit in crossing(policy, &sheets) {
            let mark = findings.count(&hit);
            if hit.action == Action::Block {
                self.against.block = true;
            }
            self.edits
                .extend(mark.map(|mark| cuts(&hit, &mark, (texts, &sheets))).unwrap_or_default());
        }
        self.findings.extend_from_slice(findings.all());
    }
}

/// The texts that are said in an answer, by what readers see as one.
fn spoken(surface: Surface, body: &[u8]) -> Vec<Vec<Span>> {
    let white = body.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let whole = Span::new(white, body.len());
    let find = |within, name| json::find(body, within, name);
    let list = |within, name| find(within, name).map(|it| items(body, it)).unwrap_or_default();
    let texts = |within: Span, kind: &[u8]| -> Vec<Span> {
        let parts = list(within, "content").into_iter();
        let said = parts.filter(|part| word_of(body, *part, "type") == kind);
        said.filter_map(|part| inside(body, find(part, "text")?)).collect()
    };
    match surface {
        Surface::Messages => vec![texts(whole, b"text")],
        Surface::Responses => {
            let output = list(whole, "output").into_iter();
            let said = output.filter(|item| word_of(body, *item, "type") == b"message");
            vec![said.flat_map(|item| texts(item, b"output_text")).collect()]
        }
        _ => {
            let messages = list(whole, "choices").into_iter();
            let messages = messages.filter_map(|choice| find(choice, "message"));
            messages.map(|message| texts(message, b"text")).collect()
        }
    }
}

/// A text as it is read, and how it was written.
#[derive(Debug, Default)]
struct Sheet {
    text: Vec<u8>,
    /// Lengths of stretches as they are read and as they were written, and whether each is one escape.
    stretches: Vec<(usize, usize, bool)>,
}

impl Listener for Sheet {
    fn text(&mut self, text: &[u8], written: &[u8], (_, is_whole): (Place, bool)) {
        self.text.extend_from_slice(text);
        self.stretches.push((text.len(), written.len(), is_whole));
    }
}

impl Sheet {
    fn of(written: &[u8]) -> Self {
        let (mut reader, mut sheet) = (Reader::new(Form::Words), Self::default());
        reader.feed(written, &mut sheet);
        reader.finish(&mut sheet);
        sheet
    }

    /// How much of what was written stands for so much of the text. Of an escape everything does.
    fn written(&self, text: usize) -> usize {
        let (mut rest, mut written) = (text, 0);
        for (length, bytes, is_whole) in &self.stretches {
            if rest == 0 {
                break;
            }
            written += if *is_whole || rest >= *length { *bytes } else { rest };
            rest = rest.saturating_sub(*length);
        }
        written
    }
}

/// What goes over an end of a text.
#[derive(Default)]
struct Crossing {
    ends: Vec<usize>,
    hits: Vec<Hit>,
}

impl Sink for Crossing {
    fn keep(&mut self, _: &[u8]) {}

    fn found(&mut self, hit: &Hit, _: &[u8]) {
        if self.ends.iter().any(|end| hit.from < *end && *end < hit.to) {
            self.hits.push(*hit);
        }
    }
}

/// The finds in texts that are read as one which go over an end of one of them.
fn crossing(policy: &Arc<Policy>, sheets: &[Sheet]) -> Vec<Hit> {
    let mut end = 0;
    let ends = sheets.iter().map(|sheet| {
        end += sheet.text.len();
        end
    });
    let mut crossing = Crossing { ends: ends.collect(), hits: Vec::new() };
    let mut scan = Scan::new(Arc::clone(policy));
    for sheet in sheets {
        scan.feed(&sheet.text, &mut crossing);
    }
    scan.finish(&mut crossing);
    crossing.hits
}

/// What takes a find out of all of its texts. Its mark stands where it begins.
fn cuts(hit: &Hit, mark: &str, (texts, sheets): (&[Span], &[Sheet])) -> Vec<(Span, Vec<u8>)> {
    let (mut cuts, mut start) = (Vec::new(), 0);
    for (span, sheet) in texts.iter().zip(sheets) {
        let end = start + sheet.text.len();
        let (from, to) = (hit.from.max(start), hit.to.min(end));
        if from < to {
            let place = |at: usize| span.start + sheet.written(at - start);
            let with = if cuts.is_empty() { mark.as_bytes().to_vec() } else { Vec::new() };
            let to = if to == end { span.end } else { place(to) };
            cuts.push((Span::new(place(from), to), with));
        }
        start = end;
    }
    cuts
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::guards::{Canary, Guards};
    use crate::exchange::outflow::Passed;
    use crate::exchange::outflow::Stop;
    use crate::exchange::outflow::document::document;
    use crate::exchange::outflow::tally::Tally;
    use crate::guard::canary::Token;
    use crate::guard::detect::Detector;

    const KEY: &str = "gsk_q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsTuEaKiXoBvQlMwYzCrDhSg";
    const MARK: &str = "[REDACTED_API_KEY_GROQ_1]";
    const SURFACES: [Surface; 3] = [Surface::Chat, Surface::Messages, Surface::Responses];

    fn terms(policy: Policy, token: Option<Token>) -> Terms {
        let canary = if token.is_some() { Canary::Block } else { Canary::Off };
        let guards = Guards { output: Some(Arc::new(policy)), canary, ..Guards::default() };
        Terms::of(&Arc::new(guards), token).unwrap()
    }

    /// An answer that says these texts, each in a block or part of its own.
    fn answer(surface: Surface, texts: &[&str]) -> Value {
        let parts = |kind: &str| -> Vec<Value> {
            texts.iter().map(|text| json!({"type": kind, "text": text})).collect()
        };
        match surface {
            Surface::Messages => json!({"content": parts("text")}),
            Surface::Responses => {
                let items: Vec<Value> = parts("output_text")
                    .into_iter()
                    .map(|part| json!({"type": "message", "content": [part]}))
                    .collect();
                json!({"output": items})
            }
            _ => json!({"choices": [{"index": 0, "message": {"content": parts("text")}}]}),
        }
    }

    fn searched(terms: &Terms, surface: Surface, texts: &[&str]) -> (Value, Passed, Tally) {
        let (mut tally, body) = (Tally::default(), answer(surface, texts));
        let passed = document(terms, surface, Bytes::from(body.to_string()), &mut tally);
        (serde_json::from_slice(&passed.bytes).unwrap_or_default(), passed, tally)
    }

    #[test]
    fn a_key_that_is_cut_in_two_between_blocks_is_found() {
        let (first, last) = KEY.split_at(20);
        let (a, b) = (format!("caf\u{e9} \"is\"\n{first}"), format!("{last}, and\n{KEY}"));
        for surface in SURFACES {
            let terms = terms(Policy::default(), None);
            let (shown, _, tally) = searched(&terms, surface, &["so", &a, &b]);
            let wanted = ["so", &format!("caf\u{e9} \"is\"\n{MARK}"), &format!(", and\n{MARK}")];
            assert_eq!(shown, answer(surface, &wanted));
            assert_eq!(tally.record().unwrap().redactions, 2);
        }
    }

    #[test]
    fn a_key_may_lie_in_three_blocks_or_end_with_one() {
        let terms = terms(Policy::default(), None);
        let parts = [&KEY[..8], &KEY[8..30], &KEY[30..]];
        for surface in SURFACES {
            let (shown, ..) = searched(&terms, surface, &parts);
            assert_eq!(shown, answer(surface, &[MARK, "", ""]));
            // What is whole in one is found there, whatever its neighbours end in.
            let (shown, ..) = searched(&terms, surface, &["word", KEY, "word"]);
            assert!(!shown.to_string().contains("q7Zk") && shown.to_string().contains("word"));
        }
    }

    #[test]
    fn what_blocks_or_is_a_canary_blocks_across_blocks() {
        let blocking = Policy::default().with(&[(Detector::ApiKey, Action::Block)]);
        let token = Token::derive(b"secret of the test", ("a", "b"), 1).unwrap();
        let halves = token.as_str().split_at(9);
        for surface in SURFACES {
            let terms = self::terms(blocking.clone(), Some(token));
            let (first, last) = KEY.split_at(20);
            let passed = searched(&terms, surface, &[first, last]).1;
            assert_eq!(passed.stop, Some(Stop::Found));
            let (_, passed, tally) = searched(&terms, surface, &[halves.0, halves.1]);
            assert_eq!((passed.stop, tally.canary_leaked()), (Some(Stop::Canary), true));
        }
    }

    proptest! {
        #[test]
        fn no_part_of_a_find_stays_however_blocks_are_cut(
            text in "([a-z \"\\\\\n\u{e9}]{0,6}(gsk_q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsTuEaKiXoBvQlMwYzCrDhSg ?)?){0,3}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.retain(|cut| text.is_char_boundary(*cut));
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let parts: Vec<&str> = cuts.windows(2).map(|two| &text[two[0]..two[1]]).collect();
            let (shown, ..) = searched(&terms(Policy::default(), None), Surface::Messages, &parts);
            let read: String = shown["content"].as_array().unwrap().iter()
                .map(|part| part["text"].as_str().unwrap()).collect();
            let is_whole = |at: &(usize, &str)| {
                text[..at.0].chars().next_back().is_none_or(|it| !it.is_ascii_alphanumeric())
            };
            if text.match_indices(KEY).all(|at| is_whole(&at)) {
                prop_assert!(!read.contains("q7Zk") && !read.contains("DhSg"), "{}", read);
            }
            if !text.contains(KEY) {
                prop_assert_eq!(read, text);
            }
        }
    }
}
