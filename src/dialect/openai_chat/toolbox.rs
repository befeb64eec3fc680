//! Reads the tools on offer, which of them may be used, and the calls of them in a conversation: in
//! today's form and in the older one of `functions`.

use crate::dialect::canonical::fields::{
    array, find, flag, items, members, name, object, text, within,
};
use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::request::{Call, Choice, Input, Takes, Tool};
use crate::dialect::canonical::text::{Raw, Text};

/// The value of `tools`.
pub(super) fn tools(value: &[u8]) -> Result<Vec<Tool<'_>>, Refused> {
    let one = |(at, value)| tool(value).map_err(within(|| format!("tools[{at}]")));
    items(array(value, "tools")?).enumerate().map(one).collect()
}

/// The value of `functions`.
pub(super) fn functions(value: &[u8]) -> Result<Vec<Tool<'_>>, Refused> {
    let one = |(at, value)| function(value).map_err(within(|| format!("functions[{at}]")));
    items(array(value, "functions")?).enumerate().map(one).collect()
}

fn tool(value: &[u8]) -> Result<Tool<'_>, Refused> {
    let kind = find(object(value, "")?, "type");
    let body = |name| find(value, name).ok_or_else(|| Refused::new(name, "is missing"));
    let mut tool = match kind {
        Some(b"\"function\"") => {
            function(body("function")?).map_err(within(|| "function".into()))?
        }
        Some(b"\"custom\"") => custom(body("custom")?).map_err(within(|| "custom".into()))?,
        _ => return Err(Refused::new("type", "must be `function` or `custom`")),
    };
    let cache = find(value, "cache_control");
    tool.cache = match cache {
        Some(cache) => Some(Raw(object(cache, "cache_control")?)),
        None => tool.cache,
    };
    Ok(tool)
}

fn function(value: &[u8]) -> Result<Tool<'_>, Refused> {
    let mut tool = nameless(Takes::Schema(None));
    let mut named = None;
    for (key, value) in members(object(value, "")?) {
        match &*key {
            b"name" => named = Some(value),
            b"description" => tool.description = Some(text(value, "description")?),
            b"parameters" => {
                tool.takes = Takes::Schema(Some(Raw(object(value, "parameters")?)));
            }
            b"strict" => tool.strict = Some(flag(value, "strict")?),
            b"cache_control" => tool.cache = Some(Raw(object(value, "cache_control")?)),
            _ => {}
        }
    }
    tool.name = name(named, "name")?;
    Ok(tool)
}

fn custom(value: &[u8]) -> Result<Tool<'_>, Refused> {
    let mut tool = nameless(Takes::Free(None));
    let mut named = None;
    for (key, value) in members(object(value, "")?) {
        match &*key {
            b"name" => named = Some(value),
            b"description" => tool.description = Some(text(value, "description")?),
            b"format" => tool.takes = Takes::Free(Some(Raw(object(value, "format")?))),
            _ => {}
        }
    }
    tool.name = name(named, "name")?;
    Ok(tool)
}

fn nameless(takes: Takes<'_>) -> Tool<'_> {
    Tool { name: Text::default(), description: None, takes, strict: None, cache: None }
}

const CHOICES: &str = "must be `auto`, `none`, `required`, or an object that names a function, a \
                       custom tool or the allowed tools";

/// The value of `tool_choice`.
pub(super) fn choice(value: &[u8]) -> Result<Choice<'_>, Refused> {
    let unknown = || Refused::new("tool_choice", CHOICES);
    if let Some(word) = Text::token(value) {
        return choice_word(&word).ok_or_else(unknown);
    }
    object(value, "tool_choice").map_err(|_| unknown())?;
    match find(value, "type") {
        Some(b"\"allowed_tools\"") => allowed(find(value, "allowed_tools").unwrap_or(value)),
        Some(_) => named(value).map(Choice::Tool).ok_or_else(unknown),
        None => Err(unknown()),
    }
}

/// The value of `function_call` at the top level.
pub(super) fn old_choice(value: &[u8]) -> Result<Choice<'_>, Refused> {
    if let Some(choice) = Text::token(value).and_then(|word| choice_word(&word)) {
        return Ok(choice);
    }
    name(find(value, "name"), "function_call.name").map(Choice::Tool)
}

fn choice_word(word: &Text<'_>) -> Option<Choice<'static>> {
    match &*word.plain()? {
        "auto" => Some(Choice::Auto),
        "none" => Some(Choice::None),
        // Mistral's word.
        "required" | "any" => Some(Choice::Any),
        _ => None,
    }
}

/// The name in `{"type":"function","function":{"name":..}}`, or the same of a custom tool.
fn named(value: &[u8]) -> Option<Text<'_>> {
    let inner = match find(value, "type")? {
        b"\"function\"" => find(value, "function")?,
        b"\"custom\"" => find(value, "custom")?,
        _ => return None,
    };
    name(find(inner, "name"), "").ok()
}

fn allowed(value: &[u8]) -> Result<Choice<'_>, Refused> {
    let field = "tool_choice.allowed_tools";
    let required = match find(value, "mode") {
        Some(b"\"required\"") => true,
        Some(b"\"auto\"") | None => false,
        Some(_) => {
            return Err(Refused::new(format!("{field}.mode"), "must be `auto` or `required`"));
        }
    };
    let list = format!("{field}.tools");
    let tools = find(value, "tools").ok_or_else(|| Refused::new(&*list, "is missing"))?;
    let one = |(at, tool)| {
        let why = "must name a function or a custom tool";
        named(tool).ok_or_else(|| Refused::new(format!("{list}[{at}]"), why))
    };
    let names = items(array(tools, &list)?).enumerate().map(one).collect::<Result<_, _>>()?;
    Ok(Choice::Allowed { names, required })
}

/// One entry of a message's `tool_calls`.
pub(super) fn call(value: &[u8]) -> Result<Call<'_>, Refused> {
    let (mut id, mut kind, mut function, mut custom) = (None, None, None, None);
    for (key, value) in members(object(value, "")?) {
        match &*key {
            b"id" => id = Some(value),
            b"type" => kind = Some(value),
            b"function" => function = Some(value),
            b"custom" => custom = Some(value),
            _ => {}
        }
    }
    let id = name(id, "id")?;
    match (kind, function, custom) {
        (Some(b"\"function\"") | None, Some(function), _) => {
            function_call(function, id).map_err(within(|| "function".into()))
        }
        (Some(b"\"custom\"") | None, _, Some(custom)) => {
            let called = name(find(custom, "name"), "custom.name")?;
            let input = find(custom, "input").map(|input| text(input, "custom.input"));
            let input = Input::Free(input.transpose()?.unwrap_or_default());
            Ok(Call { id, name: called, input })
        }
        (Some(b"\"function\""), None, _) => Err(Refused::new("function", "is missing")),
        (Some(b"\"custom\""), ..) => Err(Refused::new("custom", "is missing")),
        _ => Err(Refused::new("type", "must be `function` or `custom`")),
    }
}

/// The function of a call, or an old `function_call`.
pub(super) fn function_call<'a>(value: &'a [u8], id: Text<'a>) -> Result<Call<'a>, Refused> {
    let called = name(find(object(value, "")?, "name"), "name")?;
    let arguments = find(value, "arguments").map(|value| text(value, "arguments")).transpose()?;
    // An answer that was cut off leaves arguments that are no JSON, and clients send them back.
    Ok(Call { id, name: called, input: Input::Quoted(arguments.unwrap_or_default()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(plain: &'static str) -> Text<'static> {
        Text::written(plain.as_bytes())
    }

    #[test]
    fn tools_of_both_kinds_and_of_old() {
        let value = br#"[{"type":"function","function":{"name":"a","description":"d","parameters":{"type":"object"},"strict":true}},
            {"type":"custom","custom":{"name":"b","format":{"type":"text"}}},
            {"type":"function","function":{"name":"c","parameters":null},"cache_control":{"type":"ephemeral"}}]"#;
        let all = tools(value).expect("tools");
        assert_eq!(all[0].takes, Takes::Schema(Some(Raw(br#"{"type":"object"}"#))));
        assert_eq!((&all[0].description, all[0].strict), (&Some(text_of("d")), Some(true)));
        assert_eq!(all[1].takes, Takes::Free(Some(Raw(br#"{"type":"text"}"#))));
        assert!(all[2].takes == Takes::Schema(None) && all[2].cache.is_some());
        assert_eq!(functions(br#"[{"name":"a"}]"#).expect("old")[0].name, text_of("a"));
        for (bad, field) in [
            ("7", "tools"),
            ("[7]", "tools[0]"),
            (r#"[{"type":"web_search"}]"#, "tools[0].type"),
            (r#"[{"type":"function"}]"#, "tools[0].function"),
            (r#"[{"type":"function","function":{"name":""}}]"#, "tools[0].function.name"),
            (
                r#"[{"type":"function","function":{"name":"a","parameters":"x"}}]"#,
                "tools[0].function.parameters",
            ),
        ] {
            assert_eq!(tools(bad.as_bytes()).expect_err(bad).field, field);
        }
    }

    #[test]
    fn choices_in_all_their_forms() {
        for (value, expected) in [
            (r#""auto""#, Choice::Auto),
            (r#""none""#, Choice::None),
            (r#""required""#, Choice::Any),
            (r#"{"type":"function","function":{"name":"a"}}"#, Choice::Tool(text_of("a"))),
            (r#"{"type":"custom","custom":{"name":"b"}}"#, Choice::Tool(text_of("b"))),
            (
                r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"a"}}]}}"#,
                Choice::Allowed { names: vec![text_of("a")], required: true },
            ),
        ] {
            assert_eq!(choice(value.as_bytes()), Ok(expected));
        }
        for bad in [r#""maybe""#, "7", "{}", r#"{"type":"function","function":{}}"#] {
            assert_eq!(choice(bad.as_bytes()).expect_err(bad).field, "tool_choice");
        }
        assert_eq!(old_choice(br#"{"name":"a"}"#), Ok(Choice::Tool(text_of("a"))));
        assert_eq!(old_choice(br#""none""#), Ok(Choice::None));
    }

    #[test]
    fn calls_must_be_whole() {
        let value =
            br#"{"id":"c","type":"function","function":{"name":"a","arguments":"{\"x\":1}"}}"#;
        let expected = Input::Quoted(text_of(r#"{\"x\":1}"#));
        assert_eq!(call(value).expect("a call").input, expected);
        let value = br#"{"id":"c","type":"custom","custom":{"name":"a","input":"free"}}"#;
        assert_eq!(call(value).expect("a call").input, Input::Free(text_of("free")));
        let value = br#"{"id":"c","function":{"name":"a","arguments":"{\"x\":"}}"#;
        assert_eq!(call(value).expect("a cut call").input, Input::Quoted(text_of(r#"{\"x\":"#)));
        for (bad, field) in [
            (r#"{"type":"function","function":{"name":"a","arguments":"{}"}}"#, "id"),
            (r#"{"id":"c","type":"function"}"#, "function"),
            (r#"{"id":"c","type":"other","function":{}}"#, "type"),
            (r#"{"id":"c","function":{"arguments":"{}"}}"#, "function.name"),
            (r#"{"id":"c","function":{"name":"a","arguments":{}}}"#, "function.arguments"),
        ] {
            assert_eq!(call(bad.as_bytes()).expect_err(bad).field, field);
        }
    }
}
