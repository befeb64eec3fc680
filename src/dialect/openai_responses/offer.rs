//! The tools on offer, which of them may be used, and the form of the answer.
//!
//! Tools that a provider runs itself cannot be carried: they are refused, because leaving them out
//! would change what was asked for and what it costs.

use crate::dialect::canonical::fields::{
    array, find, flag, items, members, needed, needed_text, object, text, within, word,
};
use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::request::{Choice, Format, Request, Takes, Tool};
use crate::dialect::canonical::text::{Raw, Text};

/// Bytes of a kind of tool that an error repeats.
const KIND_BYTES_MAX: usize = 64;

/// Reads `tools`.
///
/// # Errors
/// Tools that are neither functions nor custom ones.
pub fn tools(value: &[u8]) -> Result<Vec<Tool<'_>>, Refused> {
    let one = |(number, tool)| read_tool(tool).map_err(within(|| format!("tools[{number}]")));
    items(array(value, "tools")?).enumerate().map(one).collect()
}

fn read_tool(tool: &[u8]) -> Result<Tool<'_>, Refused> {
    let (mut kind, mut name, mut description) = (None, None, None);
    let (mut parameters, mut format, mut strict) = (None, None, None);
    for (key, value) in members(object(tool, "")?) {
        match &*key {
            b"type" => kind = Some(value),
            b"name" => name = Some(text(value, "name")?),
            b"description" => description = Some(text(value, "description")?),
            b"parameters" => parameters = Some(Raw(object(value, "parameters")?)),
            b"format" => format = Some(Raw(object(value, "format")?)),
            b"strict" => strict = Some(flag(value, "strict")?),
            _ => {}
        }
    }
    let takes = match needed(kind, "type")? {
        b"\"function\"" => Takes::Schema(parameters),
        b"\"custom\"" => Takes::Free(format),
        other => return Err(hosted(other)),
    };
    let name = needed(name, "name")?;
    Ok(Tool { name, description, takes, strict, cache: None })
}

/// The refusal of a tool of another kind. It names the kind: agents have a setting for each.
#[cold]
fn hosted(kind: &[u8]) -> Refused {
    let kind = String::from_utf8_lossy(kind.get(..KIND_BYTES_MAX).unwrap_or(kind));
    let why = format!(
        "is {kind}, but must be function or custom: tools that a provider runs itself cannot be carried to another"
    );
    Refused::new("type", why)
}

/// Reads `tool_choice`.
///
/// # Errors
/// Choices of tools that a provider runs itself.
pub fn choice(value: &[u8]) -> Result<Choice<'_>, Refused> {
    match value {
        b"\"auto\"" => Ok(Choice::Auto),
        b"\"none\"" => Ok(Choice::None),
        b"\"required\"" => Ok(Choice::Any),
        _ if value.starts_with(b"{") => chosen(value).map_err(within(|| "tool_choice".into())),
        _ => Err(Refused::new("tool_choice", "must be auto, none, required or an object")),
    }
}

fn chosen(value: &[u8]) -> Result<Choice<'_>, Refused> {
    let (mut kind, mut name, mut mode, mut tools) = (None, None, None, None);
    for (key, value) in members(value) {
        match &*key {
            b"type" => kind = Some(value),
            b"name" => name = Some(text(value, "name")?),
            b"mode" => mode = Some(value),
            b"tools" => tools = Some(array(value, "tools")?),
            _ => {}
        }
    }
    match needed(kind, "type")? {
        b"\"function\"" | b"\"custom\"" => needed(name, "name").map(Choice::Tool),
        b"\"allowed_tools\"" => {
            let required = match needed(mode, "mode")? {
                b"\"auto\"" => false,
                b"\"required\"" => true,
                _ => return Err(Refused::new("mode", "must be auto or required")),
            };
            let names = allowed(needed(tools, "tools")?)?;
            Ok(Choice::Allowed { names, required })
        }
        _ => Err(Refused::new("type", "must be function, custom or allowed_tools")),
    }
}

fn allowed(tools: &[u8]) -> Result<Vec<Text<'_>>, Refused> {
    let one = |(number, tool)| {
        let name = object(tool, "").and_then(|tool| needed_text(find(tool, "name"), "name"));
        name.map_err(within(|| format!("tools[{number}]")))
    };
    items(tools).enumerate().map(one).collect()
}

/// Reads `text`: the form of the answer, and how wordy it is to be.
///
/// # Errors
/// Forms that are unknown.
pub fn form<'a>(value: &'a [u8], request: &mut Request<'a>) -> Result<(), Refused> {
    for (key, value) in members(object(value, "text")?) {
        match &*key {
            b"format" => {
                request.format = format(value).map_err(within(|| "text.format".into()))?;
            }
            b"verbosity" => request.verbosity = Some(word(value, "text.verbosity")?),
            _ => {}
        }
    }
    Ok(())
}

fn format(value: &[u8]) -> Result<Option<Format<'_>>, Refused> {
    let (mut kind, mut name, mut description) = (None, None, None);
    let (mut schema, mut strict) = (None, None);
    for (key, value) in members(object(value, "")?) {
        match &*key {
            b"type" => kind = Some(value),
            b"name" => name = Some(text(value, "name")?),
            b"description" => description = Some(text(value, "description")?),
            b"schema" => schema = Some(Raw(object(value, "schema")?)),
            b"strict" => strict = Some(flag(value, "strict")?),
            _ => {}
        }
    }
    match needed(kind, "type")? {
        b"\"text\"" => Ok(None),
        b"\"json_object\"" => Ok(Some(Format::JsonObject)),
        b"\"json_schema\"" => {
            let schema = needed(schema, "schema")?;
            Ok(Some(Format::JsonSchema { name, description, schema, strict }))
        }
        _ => Err(Refused::new("type", "must be text, json_object or json_schema")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_custom_tools_are_read() {
        let found = tools(
            br#"[{"type":"function","name":"f","description":null,"parameters":{"type":"object"},"strict":true},
                {"type":"custom","name":"p","description":"d","format":{"type":"grammar"}},
                {"type":"function","name":"g","parameters":null,"strict":null}]"#,
        )
        .expect("tools");
        assert_eq!(found[0].takes, Takes::Schema(Some(Raw(br#"{"type":"object"}"#))));
        assert_eq!((found[0].strict, found[2].strict), (Some(true), None));
        assert_eq!(found[1].takes, Takes::Free(Some(Raw(br#"{"type":"grammar"}"#))));
        assert_eq!(found[2].takes, Takes::Schema(None));
        for (value, field) in [
            (r"{}", "tools"),
            (r"[1]", "tools[0]"),
            (r#"[{"type":"function","name":"f"},{"type":"web_search"}]"#, "tools[1].type"),
            (r#"[{"type":"function"}]"#, "tools[0].name"),
            (r#"[{"type":"function","name":"f","parameters":[]}]"#, "tools[0].parameters"),
        ] {
            assert_eq!(tools(value.as_bytes()).expect_err(value).field, field);
        }
    }

    #[test]
    fn every_form_of_choice_is_read() {
        let name = || Text::written(b"f");
        for (value, expected) in [
            (r#""auto""#, Choice::Auto),
            (r#""none""#, Choice::None),
            (r#""required""#, Choice::Any),
            (r#"{"type":"function","name":"f"}"#, Choice::Tool(name())),
            (r#"{"name":"f","type":"custom"}"#, Choice::Tool(name())),
            (
                r#"{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"}]}"#,
                Choice::Allowed { names: vec![name()], required: true },
            ),
        ] {
            assert_eq!(choice(value.as_bytes()), Ok(expected));
        }
        for (value, field) in [
            ("7", "tool_choice"),
            (r#"{"type":"file_search"}"#, "tool_choice.type"),
            (r#"{"type":"function"}"#, "tool_choice.name"),
            (r#"{"type":"allowed_tools","mode":"x","tools":[]}"#, "tool_choice.mode"),
            (r#"{"type":"allowed_tools","mode":"auto","tools":[{}]}"#, "tool_choice.tools[0].name"),
        ] {
            assert_eq!(choice(value.as_bytes()).expect_err(value).field, field);
        }
    }

    #[test]
    fn the_form_of_the_answer_is_read() {
        let mut request = Request::default();
        let value = br#"{"format":{"type":"json_schema","name":"n","schema":{"a":1},"strict":true},"verbosity":"low"}"#;
        form(value, &mut request).expect("valid");
        assert_eq!(request.verbosity, Some(Raw(b"\"low\"")));
        let Some(Format::JsonSchema { schema, strict, .. }) = request.format else { panic!() };
        assert_eq!((schema, strict), (Raw(br#"{"a":1}"#), Some(true)));
        for (value, field) in [
            ("1", "text"),
            (r#"{"format":{"type":"grammar"}}"#, "text.format.type"),
            (r#"{"format":{"type":"json_schema"}}"#, "text.format.schema"),
            (r#"{"verbosity":1}"#, "text.verbosity"),
        ] {
            let refused = form(value.as_bytes(), &mut Request::default()).expect_err(value);
            assert_eq!(refused.field, field);
        }
    }
}
