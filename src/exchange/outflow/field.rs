//! One text field of an answer: searched for secrets and for the canary as it comes, written as the inside of a
//! JSON string.
//!
//! Arguments of tool calls are JSON, in a string or not: what their own strings stand for is searched, and what
//! was JSON stays JSON.

use crate::exchange::outflow::Terms;
use crate::exchange::outflow::tally::Against;
use crate::exchange::outflow::walk::What;
use crate::guard::canary::Canary;
use crate::guard::filter::Finding;
use crate::guard::json_inner::{Form, Listener, Place, Reader};
use crate::guard::json_text::JsonText;
use crate::wire::json;

/// The search of one text.
#[derive(Debug)]
pub struct Field {
    filter: Option<Box<JsonText>>,
    canary: Option<Box<Canary>>,
    /// The search for the canary in what the strings of arguments stand for.
    inner: Option<Box<Inner>>,
    /// Counts of findings that were told already, by rule.
    told: Vec<(&'static str, u64)>,
    seam: Seam,
}

/// Where tests have a search break: at a piece of text; nothing = its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seam(#[cfg(test)] pub Option<&'static str>);

impl Seam {
    /// Breaks as it was told to.
    fn reach(self, raw: &[u8]) {
        #[cfg(test)]
        assert!(self.0.is_none_or(|it| it.as_bytes() != raw), "as told");
        #[cfg(not(test))]
        let _ = (self, raw);
    }
}

/// The canary under the strings of arguments.
#[derive(Debug)]
struct Inner {
    reader: Reader,
    canary: Canary,
}

impl Listener for Canary {
    fn text(&mut self, text: &[u8], _: &[u8], _: (Place, bool)) {
        self.feed(text);
    }
}

impl Field {
    /// A text at its beginning.
    pub fn new(terms: &Terms, what: What) -> Self {
        let form = match what {
            What::Json => Form::Wrapped,
            What::Bare => Form::Bare,
            What::Text | What::Logprobs => Form::Words,
        };
        let filter = terms.guards.output.clone().map(|policy| JsonText::new(policy, form));
        let canary = terms.canary.clone();
        let inner = canary.clone().filter(|_| form == Form::Wrapped);
        Self {
            filter: filter.map(Box::new),
            canary: canary.map(Box::new),
            inner: inner.map(|canary| Box::new(Inner { reader: Reader::new(form), canary })),
            told: Vec::new(),
            seam: terms.seam,
        }
    }

    /// More of the text in, as it is written; what may go on comes out.
    pub fn feed(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        self.seam.reach(raw);
        if let Some(canary) = &mut self.canary {
            match json::unescape(raw) {
                Some(text) => canary.feed(text.as_bytes()),
                None => canary.feed(raw),
            };
        }
        if let Some(inner) = &mut self.inner {
            inner.reader.feed(raw, &mut inner.canary);
        }
        match &mut self.filter {
            Some(filter) => filter.feed(raw, out),
            None => out.extend_from_slice(raw),
        }
    }

    /// The end of the text: the rest comes out.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.seam.reach(b"");
        if let Some(inner) = &mut self.inner {
            inner.reader.finish(&mut inner.canary);
        }
        if let Some(filter) = &mut self.filter {
            filter.finish(out);
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

    /// What speaks against letting the text go on.
    pub fn against(&self) -> Against {
        let canary = self.canary.as_deref();
        let inner = self.inner.as_deref().map(|inner| &inner.canary);
        Against {
            canary: canary.into_iter().chain(inner).any(Canary::is_found),
            block: self.filter.as_ref().is_some_and(|filter| filter.is_blocked()),
        }
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
