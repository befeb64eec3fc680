//! What a JSON answer (not a stream) says about usage, errors and its own shape.
//!
//! One pass over the top level; nothing is decoded that is not needed, so that an embeddings answer
//! of megabytes costs no more than a walk. The text may be anything: what cannot be read is absent.
//!
//! Hot path: `benches/sse.rs`, `read_answer`.

use crate::base::surface::Surface;
use crate::usage::code;
use crate::usage::count::{Iteration, Remarks, Report, Usage};
use crate::usage::field::{self, Counts};
use crate::usage::scan::skip_white;
use crate::usage::text;
use crate::usage::top::Top;

/// The facts of one JSON answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one answer")]
pub struct AnswerFacts {
    /// The provider's report, where it made one.
    pub usage: Option<Usage>,
    /// The turns of the answer, where listed; see [`Report::iterations`].
    pub iterations: Vec<Iteration>,
    /// The report contradicts itself; the larger reading was taken.
    pub inconsistent: bool,
    /// Web searches and fetches that the provider ran.
    pub server_tool_requests: u64,
    /// Something was consumed that has a price of its own, which no table of ours has.
    pub unpriced: bool,
    /// What the report says beside its counts.
    pub remarks: Remarks,
    /// A code in `status`, `code` or `errorCode` at the top level, in `error`, or in `errors[]`
    /// (S4-04). It may be below 400.
    pub error_code: Option<u16>,
    /// Whether there is an `error` that is not null.
    pub has_error: bool,
    /// Bytes of text in the answer, for the estimate; 0 where a report says what the output was, as nobody asks then.
    pub output_bytes: u64,
    /// The model that the answer names.
    pub model: Option<Box<str>>,
    /// The service tier that was billed.
    pub service_tier: Option<Box<str>>,
    /// Where the closing brace is, if the answer is one whole JSON object and nothing more: the
    /// place to insert members of our own.
    pub closing_brace: Option<usize>,
    /// Whether that object has no members yet, so that an insertion needs no comma.
    pub is_empty_object: bool,
}

/// What some servers put before JSON, and clients take off again.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the body of a JSON answer.
pub fn read_answer(surface: Surface, body: &[u8]) -> AnswerFacts {
    // DeepSeek keeps a connection alive with blank lines before the JSON.
    let start =
        skip_white(body, if body.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 });
    let top = Top::read(&body[start..]);
    let mut facts = AnswerFacts {
        error_code: error_code(&top),
        has_error: top.any_error().is_some(),
        model: top.model.and_then(field::text),
        service_tier: top.service_tier.and_then(field::text),
        ..AnswerFacts::default()
    };
    if let Some(end) = top.end.map(|len| start + len)
        && skip_white(body, end) == body.len()
    {
        facts.closing_brace = Some(end - 1);
        facts.is_empty_object = top.len == 0;
    }
    // Counting tokens is free: its `input_tokens` is the answer, not a usage.
    if surface != Surface::CountTokens {
        let report = top.counts(&body[start..]).and_then(Counts::into_report);
        facts.take_report(surface, report);
    }
    if facts.usage.is_none() || facts.remarks.output_lost {
        facts.output_bytes = output_bytes(&top);
    }
    facts
}

impl AnswerFacts {
    fn take_report(&mut self, surface: Surface, report: Option<Report>) {
        let Some(mut report) = report else {
            return;
        };
        if surface == Surface::Embeddings {
            // There is no output; some providers report nothing but a total.
            report.usage.input = report.usage.input.saturating_add(report.usage.output);
            report.usage.output = 0;
            report.usage.reasoning = 0;
        }
        self.usage = Some(report.usage);
        self.iterations = report.iterations;
        self.inconsistent = report.inconsistent;
        self.server_tool_requests = report.server_tool_requests;
        self.unpriced = report.unpriced;
        self.remarks = report.remarks;
    }
}

fn error_code(top: &Top<'_>) -> Option<u16> {
    let mut found = None;
    for value in top.codes.into_iter().flatten() {
        found = code::worse(found, code::numeric(value));
    }
    found = code::worse(found, top.error.and_then(code::in_object));
    code::worse(found, top.errors.and_then(code::in_list))
}

/// Each kind of answer has its text in another member, and none has two of them.
fn output_bytes(top: &Top<'_>) -> u64 {
    [top.choices, top.content, top.output, top.candidates]
        .into_iter()
        .flatten()
        .filter_map(|value| text::measure(value, 0))
        .map(|(bytes, _)| bytes)
        .sum()
}
