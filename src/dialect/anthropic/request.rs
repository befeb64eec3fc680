//! Reads a Messages request.
//!
//! What only Anthropic can do (server tools, containers, summaries of a conversation) is refused by name.

use crate::dialect::anthropic::turns;
use crate::dialect::anthropic::{offer, think};
use crate::dialect::canonical::fields::{
    Walk, array, count, flag, items, meant, number, object, pick, refused, text, word,
};
use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::request::{Field, Format, Request};
use crate::dialect::canonical::shortening;
use crate::dialect::canonical::text::Raw;

/// Fields without which the answer would be another one, or another bill.
const ANTHROPIC_ONLY: [&str; 4] =
    ["container", "mcp_servers", "context_management", "inference_geo"];

/// Reads the body of a Messages request, which has been checked to be one JSON object.
///
/// # Errors
/// If a field that matters is not what Messages allows, or only Anthropic can do what it asks for.
pub fn read(body: &[u8]) -> Result<Request<'_>, Refused> {
    let mut walk = Walk::new(body);
    let mut reading = Reading::default();
    let mut has_messages = false;
    if walk.peek() == b'{' {
        walk.enter();
    }
    while let Some(key) = walk.key() {
        let name = meant(key);
        if &*name == b"messages" {
            has_messages = true;
            turns::read(&mut walk, &mut reading.request)?;
            continue;
        }
        let value = walk.skip();
        if value != b"null" && !reading.knob(&name, value)? && !reading.instruction(&name, value)? {
            reading.other(key, value)?;
        }
    }
    if !has_messages {
        return Err(refused("messages", "must be an array of messages"));
    }
    reading.end()
}

/// A request being read, and those of its fields that are understood together.
#[derive(Default)]
struct Reading<'a> {
    request: Request<'a>,
    thinking: Option<&'a [u8]>,
    output_config: Option<&'a [u8]>,
}

impl<'a> Reading<'a> {
    /// Takes a field that is one value. Returns whether it was one.
    fn knob(&mut self, name: &[u8], value: &'a [u8]) -> Result<bool, Refused> {
        let request = &mut self.request;
        match name {
            b"model" => request.model = Some(word(value, "model")?),
            b"max_tokens" => {
                count(value, "max_tokens")?;
                request.output_cap = Some(Raw(value));
            }
            b"temperature" => request.temperature = Some(number(value, "temperature")?),
            b"top_p" => request.top_p = Some(number(value, "top_p")?),
            b"top_k" => request.top_k = Some(number(value, "top_k")?),
            b"stream" => request.stream = flag(value, "stream")?,
            b"service_tier" => request.service_tier = Some(word(value, "service_tier")?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes a field that has others in it. Returns whether it was one.
    fn instruction(&mut self, name: &[u8], value: &'a [u8]) -> Result<bool, Refused> {
        let request = &mut self.request;
        match name {
            b"system" => request.system = turns::system(value)?,
            b"tools" => {
                request.tools = offer::tools(value)?;
                request.rest.extend(offer::lost(value));
            }
            b"tool_choice" => {
                (request.choice, request.parallel_calls) = offer::choice(value)?;
            }
            b"stop_sequences" => {
                for (n, stop) in items(array(value, "stop_sequences")?).enumerate() {
                    request.stop.push(text(stop, format_args!("stop_sequences[{n}]"))?);
                }
            }
            b"metadata" => {
                let [user] = pick(object(value, "metadata")?, ["user_id"]);
                request.user = user.map(|user| text(user, "metadata.user_id")).transpose()?;
            }
            b"thinking" => self.thinking = Some(object(value, "thinking")?),
            b"output_config" => self.output_config = Some(object(value, "output_config")?),
            b"output_format" => request.format = format(value, "output_format")?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes any other field.
    fn other(&mut self, key: &'a [u8], value: &'a [u8]) -> Result<(), Refused> {
        let name = std::str::from_utf8(key).unwrap_or_default();
        let nothing = matches!(value, b"[]" | b"{}" | b"\"global\"");
        if name == "context_management" && !nothing && shortening::is_all(value) {
            self.request.rest.push(Field { name, value: Raw(value) });
            return Ok(());
        }
        if let Some(name) = ANTHROPIC_ONLY.iter().find(|one| **one == name && !nothing) {
            return Err(refused(name, "can only be served by an Anthropic provider"));
        }
        let ordinary = name == "speed" && value == b"\"standard\"";
        if !ordinary && !ANTHROPIC_ONLY.contains(&name) {
            self.request.rest.push(Field { name, value: Raw(value) });
        }
        Ok(())
    }

    /// The request, once all its fields are known.
    fn end(mut self) -> Result<Request<'a>, Refused> {
        let [effort, wanted] =
            self.output_config.map_or([None; 2], |config| pick(config, ["effort", "format"]));
        if let Some(wanted) = wanted {
            self.request.format = format(wanted, "output_config.format")?;
        }
        self.request.reasoning = think::read(self.thinking, effort)?;
        Ok(self.request)
    }
}

fn format<'a>(value: &'a [u8], field: &str) -> Result<Option<Format<'a>>, Refused> {
    let [kind, schema] = pick(value, ["type", "schema"]);
    if kind != Some(b"\"json_schema\"") {
        return Err(refused(format_args!("{field}.type"), "must be `json_schema`"));
    }
    let schema = object(schema.unwrap_or_default(), format_args!("{field}.schema"))?;
    let schema = Raw(schema);
    Ok(Some(Format::JsonSchema { name: None, description: None, schema, strict: None }))
}
