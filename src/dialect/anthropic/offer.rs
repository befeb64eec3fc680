//! Tools on offer and which of them may be used: read from and written for Messages.
//!
//! Tools that run on Anthropic's servers, or that only its models know, are refused.

use crate::dialect::anthropic::place::At;
use crate::dialect::canonical::fields::{
    array, flag, items, needed_text, object, pick, refused, text,
};
use crate::dialect::canonical::index::Index;
use crate::dialect::canonical::inside::FREE_SCHEMA;
use crate::dialect::canonical::loss::{Losses, Refused};
use crate::dialect::canonical::members::{flag_member, member, text_member};
use crate::dialect::canonical::names;
use crate::dialect::canonical::request::{Choice, Field, Request, Takes, Tool};
use crate::dialect::canonical::style::Memory;
use crate::dialect::canonical::text::{Raw, Text};

/// Reads `tools`.
pub fn tools(value: &[u8]) -> Result<Vec<Tool<'_>>, Refused> {
    let tools = items(array(value, "tools")?).enumerate();
    tools.map(|(n, tool)| read_tool(tool, At::item("tools", n))).collect()
}

/// What tools say that no other dialect can, as it is listed; each once.
pub fn lost(value: &[u8]) -> impl Iterator<Item = Field<'_>> {
    const NAMES: [&str; 2] = ["defer_loading", "input_examples"];
    const LISTED: [&str; 2] = ["tools.defer_loading", "tools.input_examples"];
    let mut found = [None; NAMES.len()];
    for tool in items(value) {
        for (slot, value) in found.iter_mut().zip(pick(tool, NAMES)) {
            *slot = slot.or(value.filter(|value| *value != b"false"));
        }
    }
    let listed = LISTED.into_iter().zip(found);
    listed.filter_map(|(name, value)| Some(Field { name, value: Raw(value?) }))
}

fn read_tool(tool: &[u8], at: At) -> Result<Tool<'_>, Refused> {
    let tool = object(tool, at)?;
    let [kind, name, description, schema, strict, cache] =
        pick(tool, ["type", "name", "description", "input_schema", "strict", "cache_control"]);
    if !matches!(kind, None | Some(b"\"custom\"")) {
        return Err(refused(at.dot("type"), "is a tool that only an Anthropic provider has"));
    }
    let schema =
        schema.map(|schema| object(schema, at.dot("input_schema")).map(Raw)).transpose()?;
    Ok(Tool {
        name: needed_text(name, at.dot("name"))?,
        description: description.map(|one| text(one, at.dot("description"))).transpose()?,
        takes: Takes::Schema(schema),
        strict: strict.map(|strict| flag(strict, at.dot("strict"))).transpose()?,
        cache: cache.map(Raw),
    })
}

/// What `tool_choice` says: which tools, and whether several calls at once are allowed.
type Chosen<'a> = (Option<Choice<'a>>, Option<bool>);

/// Reads `tool_choice`.
pub fn choice(value: &[u8]) -> Result<Chosen<'_>, Refused> {
    let [kind, name, single] = pick(value, ["type", "name", "disable_parallel_tool_use"]);
    let choice = match kind.unwrap_or_default() {
        b"\"auto\"" => Choice::Auto,
        b"\"any\"" => Choice::Any,
        b"\"none\"" => Choice::None,
        b"\"tool\"" => Choice::Tool(needed_text(name, "tool_choice.name")?),
        _ => return Err(refused("tool_choice.type", "must be `auto`, `any`, `tool` or `none`")),
    };
    let field = "tool_choice.disable_parallel_tool_use";
    let single = single.map(|single| flag(single, field)).transpose()?;
    Ok((Some(choice), single.map(|single| !single)))
}

/// Whether the model has no choice but to call a tool.
pub fn is_forced(request: &Request<'_>) -> bool {
    match &request.choice {
        Some(Choice::Any | Choice::Tool(_)) => true,
        Some(Choice::Allowed { required, .. }) => *required,
        Some(Choice::Auto | Choice::None) | None => false,
    }
}

/// The name by which a tool is sent: its own, or an alias.
pub fn sent_name<'t>(name: &'t Text<'_>) -> Text<'t> {
    names::alias(name).unwrap_or_else(|| Text::written(name.as_written()))
}

/// Writes `tools` and `tool_choice`, as members that follow others.
pub fn write(
    request: &Request<'_>,
    losses: &mut Losses,
    memory: &mut Memory,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let names = allowed_names(request);
    let allowed = |tool: &&Tool<'_>| names.as_ref().is_none_or(|names| names.has(&tool.name));
    let mut separator: &[u8] = b",\"tools\":[";
    for tool in request.tools.iter().filter(allowed) {
        out.extend_from_slice(separator);
        separator = b",";
        write_tool(tool, losses, memory, out)?;
    }
    let none_allowed = separator != b",";
    if none_allowed && is_forced(request) {
        return Err(refused("tool_choice", "asks for a tool that is not in `tools`"));
    }
    if !none_allowed {
        out.push(b']');
        write_choice(request, out);
    }
    Ok(())
}

/// The names of the tools that may be used; `None` if all may.
fn allowed_names<'r>(request: &'r Request<'_>) -> Option<Index<'r, ()>> {
    let Some(Choice::Allowed { names, .. }) = &request.choice else { return None };
    let mut allowed = Index::default();
    for name in names {
        allowed.insert(Text::written(name.as_written()), ());
    }
    Some(allowed)
}

fn write_tool(
    tool: &Tool<'_>,
    losses: &mut Losses,
    memory: &mut Memory,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let sent = sent_name(&tool.name);
    if sent != tool.name {
        memory.alias(&sent, &tool.name);
    }
    out.extend_from_slice(b"{\"name\":");
    sent.quote_into(out);
    if let Some(description) = &tool.description {
        text_member("description", description, out);
    }
    out.extend_from_slice(b",\"input_schema\":");
    match &tool.takes {
        Takes::Schema(schema) => write_schema(schema.map_or(b"{}", |schema| schema.0), out),
        Takes::Free(form) => {
            memory.custom(&sent);
            // The form of free text without rules is no loss.
            if form.is_some_and(|form| pick(form.0, ["type"]) != [Some(&b"\"text\""[..])]) {
                losses.drop_field("tools.format")?;
            }
            out.extend_from_slice(FREE_SCHEMA);
        }
    }
    if let Some(strict) = tool.strict {
        flag_member("strict", strict, out);
    }
    if let Some(cache) = tool.cache {
        member("cache_control", cache.0, out);
    }
    out.push(b'}');
    Ok(())
}

/// Writes a schema, which Anthropic wants to say that it is of an object.
fn write_schema(schema: &[u8], out: &mut Vec<u8>) {
    let [kind] = pick(schema, ["type"]);
    let inside = schema.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    match inside {
        Some(inside) if kind.is_none() && inside != b"}" => {
            out.extend_from_slice(b"{\"type\":\"object\",");
            out.extend_from_slice(inside);
        }
        Some(_) if kind.is_some() => out.extend_from_slice(schema),
        _ => out.extend_from_slice(b"{\"type\":\"object\",\"properties\":{}}"),
    }
}

fn write_choice(request: &Request<'_>, out: &mut Vec<u8>) {
    let choice = match (&request.choice, request.parallel_calls) {
        (None, None | Some(true)) => return,
        (None, Some(false)) => &Choice::Auto,
        (Some(choice), _) => choice,
    };
    out.extend_from_slice(b",\"tool_choice\":{\"type\":");
    match choice {
        Choice::Auto | Choice::Allowed { required: false, .. } => {
            out.extend_from_slice(b"\"auto\"");
        }
        Choice::None => out.extend_from_slice(b"\"none\""),
        Choice::Any | Choice::Allowed { required: true, .. } => out.extend_from_slice(b"\"any\""),
        Choice::Tool(name) => {
            out.extend_from_slice(b"\"tool\",\"name\":");
            sent_name(name).quote_into(out);
        }
    }
    match request.parallel_calls {
        Some(parallel) if *choice != Choice::None => {
            flag_member("disable_parallel_tool_use", !parallel, out);
        }
        _ => {}
    }
    out.push(b'}');
}
