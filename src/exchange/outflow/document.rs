//! A whole answer in JSON, and texts that are whole in one event: each string is searched from its beginning to
//! its end, and so is the JSON of arguments that stand in no string. What goes over the end of a text into the next
//! is found by `across`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use crate::base::surface::Surface;
use crate::exchange::outflow::across::Across;
use crate::exchange::outflow::cut::changed;
use crate::exchange::outflow::tally::{Against, Tally};
use crate::exchange::outflow::walk::{self, Found, What};
use crate::exchange::outflow::{Passed, Terms};
use crate::exchange::outflow::{echo, seal};
use crate::guard::filter::Finding;
use crate::wire::json;
use crate::wire::syntax::Span;

/// What was found in one text.
#[derive(Debug)]
pub struct Text {
    /// Where it lies.
    pub span: Span,
    /// What takes its place, if anything does.
    pub replacement: Option<Vec<u8>>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What speaks against showing it.
    pub against: Against,
}

/// Searches one text.
pub fn text(terms: &Terms, data: &[u8], found: Found) -> Text {
    let raw = found.span.of(data);
    let mut field = terms.field(found.what);
    let mut out = Vec::with_capacity(raw.len());
    field.feed(raw, &mut out);
    field.finish(&mut out);
    let replacement = (out != raw).then_some(out);
    Text {
        span: found.span,
        replacement,
        findings: field.take_findings(),
        against: field.against(),
    }
}

/// Searches a whole answer. What is left of it, and why it must not be shown, if it must not.
pub fn document(terms: &Terms, surface: Surface, body: Bytes, tally: &mut Tally) -> Passed {
    let before = body.clone();
    let look = AssertUnwindSafe(|| look(terms, surface, body, &mut *tally));
    match catch_unwind(look) {
        Ok(passed) => passed,
        Err(_) => match tally.failed(terms.guards.on_failure) {
            Some(stop) => Passed { bytes: Bytes::new(), stop: Some(stop) },
            None => Passed { bytes: before, stop: None },
        },
    }
}

fn look(terms: &Terms, surface: Surface, body: Bytes, tally: &mut Tally) -> Passed {
    if json::check(&body).is_err() {
        // What clients cannot read either: nothing in it can be told apart.
        return match tally.failed(terms.guards.on_failure) {
            Some(stop) => Passed { bytes: Bytes::new(), stop: Some(stop) },
            None => Passed { bytes: body, stop: None },
        };
    }
    let across = Across::of(terms, surface, &body);
    tally.add(&across.findings, false);
    if let Some(stop) = tally.judge(terms.guards.canary, across.against) {
        return Passed { bytes: Bytes::new(), stop: Some(stop) };
    }
    let mut edits = across.edits.clone();
    for found in parts(surface, &body) {
        let (edits_before, is_touched) = (edits.len(), across.touches(&found));
        let texts = found.iter().filter(|one| one.what != What::Logprobs);
        for one in texts.filter_map(|one| across.rest(*one)) {
            let text = text(terms, &body, one);
            tally.add(&text.findings, false);
            if let Some(stop) = tally.judge(terms.guards.canary, text.against) {
                return Passed { bytes: Bytes::new(), stop: Some(stop) };
            }
            edits.extend(text.replacement.map(|with| (text.span, with)));
        }
        if is_touched || edits.len() > edits_before {
            let empty: &[u8] = if surface == Surface::Responses { b"[]" } else { b"null" };
            let probabilities = found.iter().filter(|one| one.what == What::Logprobs);
            edits.extend(probabilities.map(|one| (one.span, empty.to_vec())));
        }
    }
    edits.extend(seal::broken(surface, &body, &edits));
    edits.extend(echo::instructions(terms, surface, &body));
    if edits.is_empty() {
        return Passed { bytes: body, stop: None };
    }
    edits.sort_by_key(|(span, _)| span.start);
    Passed { bytes: Bytes::from(changed(&body, &edits)), stop: None }
}

/// The texts of an answer, by its parts: each choice for itself, and what stands beside them. Of a response only
/// what was said: what it was asked for stands there too, and is the client's own.
fn parts(surface: Surface, body: &[u8]) -> Vec<Vec<Found>> {
    let white = body.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let whole = Span::new(white, body.len());
    let (names, beside): (&[&str], _) = match surface {
        Surface::Messages => (&["content"], Some("content")),
        Surface::Responses => (&["output", "output_text", "error"], None),
        _ => (&["choices"], Some("choices")),
    };
    let values = names.iter().filter_map(|name| json::find(body, whole, name));
    let items = values.flat_map(|value| walk::items(body, value));
    let mut parts: Vec<Vec<Found>> = items.map(|item| walk::texts(body, item)).collect();
    parts.extend(beside.map(|name| walk::texts_beside(body, whole, name)));
    parts
}
