//! The top-level members of a chunk, event or answer that say anything about usage, errors or the
//! end, of whichever provider, found in one pass.

use crate::usage::field::Counts;
use crate::usage::scan::{is_empty, members};

/// Raw members; `null` counts as absent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Top<'a> {
    pub(crate) kind: Option<&'a [u8]>,
    pub(crate) model: Option<&'a [u8]>,
    pub(crate) service_tier: Option<&'a [u8]>,
    pub(crate) usage: Option<&'a [u8]>,
    pub(crate) x_groq: Option<&'a [u8]>,
    /// What each model behind Groq's compound ones has used.
    pub(crate) breakdown: Option<&'a [u8]>,
    /// What the tools of a Responses answer have used beside `usage`.
    pub(crate) tool_usage: Option<&'a [u8]>,
    pub(crate) usage_metadata: Option<&'a [u8]>,
    pub(crate) timings: Option<&'a [u8]>,
    pub(crate) error: Option<&'a [u8]>,
    pub(crate) errors: Option<&'a [u8]>,
    /// `status`, `code` and `errorCode`, where a seed's upstreams put error codes.
    pub(crate) codes: [Option<&'a [u8]>; 3],
    /// Chat and legacy completions.
    pub(crate) choices: Option<&'a [u8]>,
    /// Gemini's own format.
    pub(crate) candidates: Option<&'a [u8]>,
    /// Messages answers.
    pub(crate) content: Option<&'a [u8]>,
    /// Responses answers.
    pub(crate) output: Option<&'a [u8]>,
    /// The Messages answer inside `message_start`.
    pub(crate) message: Option<&'a [u8]>,
    /// The Responses answer inside its events.
    pub(crate) response: Option<&'a [u8]>,
    pub(crate) delta: Option<&'a [u8]>,
    pub(crate) stop_reason: Option<&'a [u8]>,
    /// Why a Responses answer is not complete.
    pub(crate) incomplete: Option<&'a [u8]>,
    /// There are counts at the top level itself (Ollama's own format).
    native_counts: bool,
    /// There are members, none of which is known to be envelope, that hold something.
    pub(crate) has_more: bool,
    /// How many members there are.
    pub(crate) len: usize,
    /// The offset behind the closing brace, if the object is whole.
    pub(crate) end: Option<usize>,
}

impl<'a> Top<'a> {
    /// Reads the object that `json` starts with; empty if it starts with none.
    pub(crate) fn read(json: &'a [u8]) -> Self {
        let mut top = Self::default();
        let end = members(json, |key, value| top.member(key, value));
        top.end = end;
        top
    }

    /// The last usage report in here. `json` is the text that this was read from.
    pub(crate) fn counts(&self, json: &[u8]) -> Option<Counts> {
        let mut counts = self.own_counts(json)?;
        if let Some(tier) = self.service_tier {
            counts.served.member(b"service_tier", tier);
        }
        if let Some(breakdown) = self.breakdown.or_else(|| self.inside_groq(b"usage_breakdown")) {
            counts.breakdown(breakdown);
        }
        if let Some(tools) = self.tool_usage {
            counts.tool_usage(tools);
        }
        Some(counts)
    }

    fn own_counts(&self, json: &[u8]) -> Option<Counts> {
        [self.usage, self.inside_groq(b"usage"), self.usage_metadata, self.timings]
            .into_iter()
            .flatten()
            .find_map(Counts::read)
            .or_else(|| self.native_counts.then(|| Counts::read(json)).flatten())
    }

    /// The error, including the one that Groq has inside `x_groq`. Clients take empty values for no
    /// error, and so do we.
    pub(crate) fn any_error(&self) -> Option<&'a [u8]> {
        let says_no = |error: &&[u8]| !is_empty(error) && *error != b"false";
        self.error.or_else(|| self.inside_groq(b"error")).filter(says_no)
    }

    fn inside_groq(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        let mut found = None;
        members(self.x_groq?, |key, value| {
            if key == wanted && value != b"null" {
                found = Some(value);
            }
        });
        found
    }

    fn member(&mut self, key: &'a [u8], value: &'a [u8]) {
        self.len += 1;
        if value == b"null" {
            return;
        }
        let place = match key {
            b"type" => &mut self.kind,
            b"model" => &mut self.model,
            b"service_tier" => &mut self.service_tier,
            b"usage" => &mut self.usage,
            b"x_groq" => &mut self.x_groq,
            b"usage_breakdown" => &mut self.breakdown,
            b"tool_usage" => &mut self.tool_usage,
            b"usageMetadata" => &mut self.usage_metadata,
            b"timings" => &mut self.timings,
            b"error" => &mut self.error,
            b"errors" => &mut self.errors,
            b"status" => &mut self.codes[0],
            b"code" => &mut self.codes[1],
            b"errorCode" => &mut self.codes[2],
            b"choices" => &mut self.choices,
            b"candidates" => &mut self.candidates,
            b"content" => &mut self.content,
            b"output" => &mut self.output,
            b"message" => &mut self.message,
            b"response" => &mut self.response,
            b"delta" => &mut self.delta,
            b"stop_reason" => &mut self.stop_reason,
            b"incomplete_details" => &mut self.incomplete,
            _ => return self.other(key, value),
        };
        *place = Some(value);
    }

    fn other(&mut self, key: &[u8], value: &[u8]) {
        self.native_counts |= matches!(key, b"prompt_eval_count" | b"eval_count");
        let envelope = matches!(
            key,
            b"id" | b"object" | b"created" | b"system_fingerprint" | b"obfuscation" | b"provider"
        );
        self.has_more |= !envelope && !is_empty(value);
    }
}
