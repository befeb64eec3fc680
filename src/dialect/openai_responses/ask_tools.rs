//! Writes the tools on offer, the choice among them and the form of the answer.
//!
//! A function without a word on strictness is written as not strict: this dialect takes silence for
//! strict, the others do not.

use crate::dialect::canonical::index::Index;
use crate::dialect::canonical::inside;
use crate::dialect::canonical::members::flag_member;
use crate::dialect::canonical::names;
use crate::dialect::canonical::request::{Choice, Format, Request, Takes, Tool};
use crate::dialect::canonical::style::Memory;
use crate::dialect::canonical::text::{Raw, Text};

/// The schema of a function that was given none.
const NO_PARAMETERS: &[u8] = br#"{"type":"object","properties":{}}"#;

/// The name of a form of answer that was given none; the dialect wants one.
const FORMAT_NAME: &[u8] = b"answer";

/// A tool's name as it is sent: an alias where the dialect cannot spell it, which `memory` then knows.
pub fn push_name(name: &Text<'_>, memory: &mut Memory, out: &mut Vec<u8>) {
    let Some(alias) = names::alias(name) else { return name.quote_into(out) };
    memory.alias(&alias, name);
    alias.quote_into(out);
}

/// Appends the array of tools.
pub fn push_tools(tools: &[Tool<'_>], memory: &mut Memory, out: &mut Vec<u8>) {
    out.push(b'[');
    for (number, tool) in tools.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        push_tool(tool, memory, out);
    }
    out.push(b']');
}

fn push_tool(tool: &Tool<'_>, memory: &mut Memory, out: &mut Vec<u8>) {
    let is_custom = matches!(tool.takes, Takes::Free(_));
    out.extend_from_slice(kind(is_custom));
    out.extend_from_slice(b",\"name\":");
    push_name(&tool.name, memory, out);
    if let Some(description) = &tool.description {
        out.extend_from_slice(b",\"description\":");
        description.quote_into(out);
    }
    match &tool.takes {
        Takes::Schema(schema) => {
            out.extend_from_slice(b",\"parameters\":");
            out.extend_from_slice(schema.map_or(NO_PARAMETERS, |schema| schema.0));
            flag_member("strict", tool.strict.unwrap_or(false), out);
        }
        Takes::Free(Some(format)) => {
            out.extend_from_slice(b",\"format\":");
            out.extend_from_slice(format.0);
        }
        Takes::Free(None) => {}
    }
    out.push(b'}');
}

const fn kind(is_custom: bool) -> &'static [u8] {
    if is_custom { b"{\"type\":\"custom\"" } else { b"{\"type\":\"function\"" }
}

/// Appends the choice among the tools of `request`.
pub fn push_choice(
    choice: &Choice<'_>,
    request: &Request<'_>,
    memory: &mut Memory,
    out: &mut Vec<u8>,
) {
    match choice {
        Choice::Auto => out.extend_from_slice(b"\"auto\""),
        Choice::None => out.extend_from_slice(b"\"none\""),
        Choice::Any => out.extend_from_slice(b"\"required\""),
        Choice::Tool(name) => push_chosen(name, &kinds(&request.tools), memory, out),
        Choice::Allowed { names, required } => {
            out.extend_from_slice(b"{\"type\":\"allowed_tools\",\"mode\":");
            let mode: &[u8] = if *required { b"\"required\"" } else { b"\"auto\"" };
            out.extend_from_slice(mode);
            out.extend_from_slice(b",\"tools\":[");
            let kinds = kinds(&request.tools);
            for (number, name) in names.iter().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                push_chosen(name, &kinds, memory, out);
            }
            out.extend_from_slice(b"]}");
        }
    }
}

/// Whether the tools are custom ones, by their names; the first of a name counts.
fn kinds<'t>(tools: &'t [Tool<'_>]) -> Index<'t, bool> {
    let mut kinds = Index::default();
    for tool in tools.iter().rev() {
        let name = Text::written(tool.name.as_written());
        kinds.insert(name, matches!(tool.takes, Takes::Free(_)));
    }
    kinds
}

fn push_chosen(name: &Text<'_>, kinds: &Index<'_, bool>, memory: &mut Memory, out: &mut Vec<u8>) {
    out.extend_from_slice(kind(kinds.get(name).is_some_and(|&is_custom| is_custom)));
    out.extend_from_slice(b",\"name\":");
    push_name(name, memory, out);
    out.push(b'}');
}

/// Appends `text`: the form of the answer and how wordy it is to be.
pub fn push_text(format: Option<&Format<'_>>, verbosity: Option<Raw<'_>>, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(format) = format {
        out.extend_from_slice(b"\"format\":");
        push_format(format, out);
    }
    if let Some(verbosity) = verbosity {
        if format.is_some() {
            out.push(b',');
        }
        out.extend_from_slice(b"\"verbosity\":");
        out.extend_from_slice(verbosity.0);
    }
    out.push(b'}');
}

fn push_format(format: &Format<'_>, out: &mut Vec<u8>) {
    let Format::JsonSchema { name, description, schema, strict } = format else {
        out.extend_from_slice(b"{\"type\":\"json_object\"}");
        return;
    };
    out.extend_from_slice(b"{\"type\":\"json_schema\",\"name\":");
    name.as_ref().unwrap_or(&Text::written(FORMAT_NAME)).quote_into(out);
    if let Some(description) = description {
        out.extend_from_slice(b",\"description\":");
        description.quote_into(out);
    }
    out.extend_from_slice(b",\"schema\":");
    out.extend_from_slice(schema.0);
    if let Some(strict) = strict {
        flag_member("strict", *strict, out);
    }
    out.push(b'}');
}

/// Appends a JSON object as the inside of a string, with quotes around it.
pub fn push_quoted_object(raw: Raw<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    inside::quote(raw.0, out);
    out.push(b'"');
}
