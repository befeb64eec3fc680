//! The output filter of one text field of one answer: text goes in as it comes, and out with marks where
//! secrets were. It holds back what may still become a find, and nothing else; there are no timers.
//!
//! It knows nothing of JSON: `json_text` puts it under the strings of an answer.

use std::sync::Arc;

use super::detect::Action;
use super::detect::policy::Policy;
use super::detect::scan::{Hit, Scan, Sink};

/// What a rule found in a text; the text itself is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static str,
    /// The kind of thing that it finds.
    pub detector: &'static str,
    /// What was done.
    pub action: Action,
    /// How often.
    pub count: u64,
    /// The bytes of all its finds together.
    pub bytes: u64,
}

/// What was found so far, in the order in which rules found something first.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    found: Vec<Finding>,
    /// How often each mark was written.
    marks: Vec<(&'static str, u64)>,
}

impl Findings {
    /// All of them, one per rule.
    pub fn all(&self) -> &[Finding] {
        &self.found
    }

    /// Counts a find. The text that takes its place, if any does: it has no quote and no backslash, so
    /// that JSON around it stays JSON.
    pub fn count(&mut self, hit: &Hit) -> Option<String> {
        let (id, bytes) = (hit.rule.id, (hit.to - hit.from) as u64);
        match self.found.iter_mut().find(|found| found.rule == id) {
            Some(found) => {
                found.count += 1;
                found.bytes += bytes;
            }
            None => self.found.push(Finding {
                rule: id,
                detector: hit.rule.detector.name(),
                action: hit.action,
                count: 1,
                bytes,
            }),
        }
        (hit.action == Action::Redact).then(|| self.mark(hit))
    }

    fn mark(&mut self, hit: &Hit) -> String {
        let name = hit.rule.mark;
        let known = self.marks.iter().position(|(mark, _)| *mark == name);
        let at = known.unwrap_or_else(|| {
            self.marks.push((name, 0));
            self.marks.len() - 1
        });
        self.marks[at].1 += 1;
        let number = self.marks[at].1;
        format!("[REDACTED_{}{name}_{number}]", hit.rule.detector.mark_prefix())
    }
}

/// The filter of one field.
#[derive(Clone, Debug)]
pub struct Filter {
    scan: Scan,
    findings: Findings,
}

struct Plain<'a> {
    out: &'a mut Vec<u8>,
    findings: &'a mut Findings,
}

impl Sink for Plain<'_> {
    fn keep(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }

    fn found(&mut self, hit: &Hit, _: &[u8]) {
        if let Some(mark) = self.findings.count(hit) {
            self.out.extend_from_slice(mark.as_bytes());
        }
    }
}

impl Filter {
    /// A filter at the beginning of a text.
    pub fn new(policy: Arc<Policy>) -> Self {
        Self { scan: Scan::new(policy), findings: Findings::default() }
    }

    /// More text in; what may go on comes out.
    pub fn feed(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.scan.feed(text, &mut Plain { out, findings: &mut self.findings });
    }

    /// The end of the text: the rest comes out.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.scan.finish(&mut Plain { out, findings: &mut self.findings });
    }

    /// Whether something was found whose action is to block. Nothing comes out any more.
    pub const fn is_blocked(&self) -> bool {
        self.scan.is_blocked()
    }

    /// How many bytes are held back.
    pub fn held(&self) -> usize {
        self.scan.held()
    }

    /// What was found so far.
    pub fn findings(&self) -> &[Finding] {
        self.findings.all()
    }
}
