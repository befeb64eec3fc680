//! Writes the answer as an object: its head, how it stands, what is in it and what it used.
//!
//! Typed clients ask for fields that repeat the request. Those of which nothing was asked have the values that
//! say nothing.

use std::sync::Arc;

use crate::dialect::canonical::answer::Stop;
use crate::dialect::canonical::event::Start;
use crate::dialect::canonical::style::{Memory, Style};
use crate::dialect::canonical::text::Text;
use crate::dialect::openai_responses::echo;
use crate::dialect::openai_responses::item::push_string;
use crate::dialect::openai_responses::number;
use crate::usage::count::Usage;

/// With what the ids of answers begin.
const ID: &[u8] = b"resp_";

/// What stays the same in every object of one answer, as written and without quotes.
#[derive(Clone, Debug, Default)]
pub struct Head {
    id: Vec<u8>,
    model: Vec<u8>,
    created: u64,
    /// What it repeats of the request.
    memory: Arc<Memory>,
}

impl Head {
    /// From what the provider said, and from what we know where it said nothing.
    pub fn new(start: &Start<'_>, style: &Style) -> Self {
        let own_id = Text::of(&style.request_id);
        let given = start.id.as_ref().filter(|id| !id.is_empty()).unwrap_or(&own_id).as_written();
        let mut id = if given.starts_with(ID) { Vec::new() } else { ID.to_vec() };
        id.extend_from_slice(given);
        let own_model = Text::of(&style.model);
        let model = start.model.as_ref().filter(|model| !model.is_empty()).unwrap_or(&own_model);
        Self {
            id,
            model: model.as_written().to_vec(),
            created: start.created.filter(|created| *created > 0).unwrap_or(style.created),
            memory: Arc::clone(&style.memory),
        }
    }
}

/// How an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'s> {
    /// It has begun.
    InProgress,
    /// It is whole.
    Completed,
    /// It was cut off, for that reason.
    Incomplete(&'static str),
    /// It failed: code and message, as written.
    Failed(&'s [u8], &'s [u8]),
}

impl Standing<'_> {
    /// How an answer stands at its end.
    pub const fn of_stop(stop: Option<Stop>) -> Self {
        match stop {
            Some(Stop::Length | Stop::Window) => Self::Incomplete("max_output_tokens"),
            Some(Stop::Refusal) => Self::Incomplete("content_filter"),
            _ => Self::Completed,
        }
    }

    const fn status(self) -> &'static [u8] {
        match self {
            Self::InProgress => b"in_progress",
            Self::Completed => b"completed",
            Self::Incomplete(_) => b"incomplete",
            Self::Failed(..) => b"failed",
        }
    }
}

/// What is repeated of the request, each with the value that says nothing.
const REPEATED: [(&str, &[u8]); 13] = [
    ("instructions", b"null"),
    ("max_output_tokens", b"null"),
    ("parallel_tool_calls", b"true"),
    ("prompt_cache_key", b"null"),
    ("reasoning", b"{\"effort\":null,\"summary\":null}"),
    ("safety_identifier", b"null"),
    ("temperature", b"null"),
    ("tool_choice", b"\"auto\""),
    ("tools", b"[]"),
    ("top_p", b"null"),
    ("truncation", b"\"disabled\""),
    ("user", b"null"),
    ("metadata", b"{}"),
];

/// Appends the object, given what is between the brackets of its output.
pub fn push(
    head: &Head,
    standing: Standing<'_>,
    (output, usage): (&[u8], Option<&Usage>),
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"id\":");
    push_string(&head.id, out);
    out.extend_from_slice(b",\"object\":\"response\",\"created_at\":");
    number::push(head.created, out);
    out.extend_from_slice(b",\"status\":");
    push_string(standing.status(), out);
    out.extend_from_slice(b",\"background\":false,\"error\":");
    push_error(standing, out);
    out.extend_from_slice(b",\"incomplete_details\":");
    push_details(standing, out);
    out.extend_from_slice(b",\"max_tool_calls\":null,\"model\":");
    push_string(&head.model, out);
    out.extend_from_slice(b",\"output\":[");
    out.extend_from_slice(output);
    out.extend_from_slice(
        b"],\"previous_response_id\":null,\"service_tier\":null,\"store\":false,\"top_logprobs\":0",
    );
    for field in REPEATED {
        echo::push(&head.memory.echo, field, out);
    }
    echo::push_text(&head.memory.echo, out);
    out.extend_from_slice(b",\"usage\":");
    match usage {
        Some(usage) => push_usage(usage, out),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

fn push_error(standing: Standing<'_>, out: &mut Vec<u8>) {
    let Standing::Failed(code, message) = standing else {
        out.extend_from_slice(b"null");
        return;
    };
    out.extend_from_slice(b"{\"code\":");
    push_string(code, out);
    out.extend_from_slice(b",\"message\":");
    push_string(message, out);
    out.push(b'}');
}

fn push_details(standing: Standing<'_>, out: &mut Vec<u8>) {
    let Standing::Incomplete(reason) = standing else {
        out.extend_from_slice(b"null");
        return;
    };
    out.extend_from_slice(b"{\"reason\":");
    push_string(reason.as_bytes(), out);
    out.push(b'}');
}

fn push_usage(usage: &Usage, out: &mut Vec<u8>) {
    let written = usage.cache_write.saturating_add(usage.cache_write_1h);
    for (name, count) in [
        (&b"{\"input_tokens\":"[..], usage.input_total()),
        (b",\"input_tokens_details\":{\"cached_tokens\":", usage.cache_read),
        (b",\"cache_write_tokens\":", written),
        (b"},\"output_tokens\":", usage.output),
        (b",\"output_tokens_details\":{\"reasoning_tokens\":", usage.reasoning),
        (b"},\"total_tokens\":", usage.total()),
    ] {
        out.extend_from_slice(name);
        number::push(count, out);
    }
    out.push(b'}');
}
