//! Writes a request in the neutral form as a Messages request.
//!
//! What Messages cannot say is refused or listed, field by field as in `wire.md` section 5.1. Forms of
//! answers: a schema is carried; "any JSON object" has no equivalent, so the model is told in words,
//! and the field is listed as dropped because nothing enforces it.

use crate::dialect::anthropic::{offer, said, sampling, think};
use crate::dialect::canonical::fields::{pick, refused};
use crate::dialect::canonical::loss::{Losses, Refused};
use crate::dialect::canonical::members::member;
use crate::dialect::canonical::request::{Field, Format, Request};
use crate::dialect::canonical::style::{Memory, Target};
use crate::dialect::canonical::text::Text;

/// What stands in the system texts for "any JSON object".
const JSON_ONLY: &str = "Answer with exactly one JSON object and nothing else: no text before or \
                         after it, no Markdown fences around it.";

/// Fields of other dialects without which the answer would be another one, or another bill.
const REFUSED: [(&str, &str); 11] = [
    ("n", "must be 1: Anthropic gives one answer"),
    ("previous_response_id", "names what only the provider that made it knows"),
    ("conversation", "names what only the provider that made it knows"),
    ("prompt", "names what only the provider that made it knows"),
    ("background", "is not possible at an Anthropic provider"),
    ("context_management", "is not possible across dialects"),
    ("container", "is not possible across dialects"),
    ("mcp_servers", "is not possible across dialects"),
    ("functions", "must be given as `tools`"),
    ("function_call", "must be given as `tool_choice`"),
    ("audio", "is not possible at an Anthropic provider"),
];

/// The version of the API (`anthropic-version`) that a request as written here needs.
pub fn version(request: &Request<'_>) -> &'static str {
    sampling::version(request)
}

/// Appends `request` as the body of a Messages request.
///
/// # Errors
/// If it asks for what Messages cannot do, or under strict losses for what it cannot say.
pub fn write(
    request: &Request<'_>,
    target: &Target,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<Memory, Refused> {
    let mut memory = Memory::default();
    out.extend_from_slice(b"{\"max_tokens\":");
    match request.output_cap {
        Some(cap) => out.extend_from_slice(cap.0),
        None => out.extend_from_slice(target.output_cap_default.to_string().as_bytes()),
    }
    if let Some(model) = request.model {
        member("model", model.0, out);
    }
    system(request, losses, out)?;
    out.extend_from_slice(b",\"messages\":");
    said::write(&request.turns, losses, out)?;
    offer::write(request, losses, &mut memory, out)?;
    sampling::write(request, losses, out)?;
    stop(request, losses, out)?;
    if request.stream {
        member("stream", b"true", out);
    }
    think::write(request, losses, out)?;
    output_config(request, out);
    tier(request, out)?;
    rest(request, losses, out)?;
    out.push(b'}');
    Ok(memory)
}

fn system(request: &Request<'_>, losses: &mut Losses, out: &mut Vec<u8>) -> Result<(), Refused> {
    let start = out.len();
    out.extend_from_slice(b",\"system\":[");
    let mut count = said::texts(&request.system, out);
    if request.format == Some(Format::JsonObject) {
        losses.drop_field("response_format")?;
        said::text(&Text::of(JSON_ONLY), None, &mut count, out);
    }
    if count == 0 {
        out.truncate(start);
    } else {
        out.push(b']');
    }
    Ok(())
}

fn stop(request: &Request<'_>, losses: &mut Losses, out: &mut Vec<u8>) -> Result<(), Refused> {
    let mut separator: &[u8] = b",\"stop_sequences\":[";
    for stop in &request.stop {
        // Anthropic refuses those.
        if said::is_blank(stop) {
            losses.drop_field("stop")?;
            continue;
        }
        out.extend_from_slice(separator);
        stop.quote_into(out);
        separator = b",";
    }
    if separator == b"," {
        out.push(b']');
    }
    Ok(())
}

fn output_config(request: &Request<'_>, out: &mut Vec<u8>) {
    let mut separator: &[u8] = b",\"output_config\":{";
    if let Some(effort) = think::effort(request) {
        out.extend_from_slice(separator);
        out.extend_from_slice(b"\"effort\":\"");
        out.extend_from_slice(effort.as_bytes());
        out.push(b'"');
        separator = b",";
    }
    if let Some(Format::JsonSchema { schema, .. }) = &request.format {
        out.extend_from_slice(separator);
        out.extend_from_slice(b"\"format\":{\"type\":\"json_schema\",\"schema\":");
        out.extend_from_slice(schema.0);
        out.push(b'}');
        separator = b",";
    }
    if separator == b"," {
        out.push(b'}');
    }
}

/// The tier, where it has the same price in both dialects.
fn tier(request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
    match request.common_tier().map(|tier| tier.0) {
        None => {}
        Some(b"\"auto\"") => member("service_tier", b"\"auto\"", out),
        Some(b"\"default\"") => member("service_tier", b"\"standard_only\"", out),
        Some(_) => {
            let why = "must be `auto` or `default`: other tiers have other prices elsewhere";
            return Err(refused("service_tier", why));
        }
    }
    Ok(())
}

fn rest(request: &Request<'_>, losses: &mut Losses, out: &mut Vec<u8>) -> Result<(), Refused> {
    let mut user = request.user.clone();
    if request.verbosity.is_some_and(|verbosity| verbosity.0 != b"\"medium\"") {
        losses.drop_field("verbosity")?;
    }
    for field in &request.rest {
        match field.name {
            "cache_control" => member("cache_control", field.value.0, out),
            "safety_identifier" if user.is_none() => user = Text::token(field.value.0),
            _ => left_out(field, losses)?,
        }
    }
    if let Some(user) = user {
        out.extend_from_slice(b",\"metadata\":{\"user_id\":");
        user.quote_into(out);
        out.push(b'}');
    }
    Ok(())
}

/// A field that is not sent: listed if it asked for something.
fn left_out(field: &Field<'_>, losses: &mut Losses) -> Result<(), Refused> {
    let value = field.value.0;
    let asks_nothing = match field.name {
        "n" => value == b"1",
        "stream_options" | "stream" => true,
        "presence_penalty" | "frequency_penalty" | "top_logprobs" => value == b"0",
        "truncation" => value == b"\"disabled\"",
        "include" => value == b"[\"reasoning.encrypted_content\"]",
        "modalities" => value == b"[\"text\"]",
        "text" | "response_format" => pick(value, ["type"]) == [Some(&b"\"text\""[..])],
        _ => false,
    };
    // A search without more wishes is one.
    let is_empty = matches!(value, b"[]" | b"{}") && field.name != "web_search_options";
    if asks_nothing || is_empty || matches!(value, b"null" | b"false") {
        return Ok(());
    }
    match REFUSED.iter().find(|(name, _)| *name == field.name) {
        Some((name, why)) => Err(refused(name, why)),
        None => losses.drop_field(field.name),
    }
}
