//! Writes a request of Chat Completions: what a provider of this dialect is asked.
//!
//! It says only what nearly all of those providers understand: text that another dialect splits into
//! blocks is one string here, unless cache marks have to stand on its parts.

use crate::dialect::canonical::fields::find;
use crate::dialect::canonical::index::Index;
use crate::dialect::canonical::loss::{Losses, Refused};
use crate::dialect::canonical::members::{flag_member, key, member, text_member};
use crate::dialect::canonical::names;
use crate::dialect::canonical::request::{
    Choice, Effort, Field, Format, Reasoning, Request, Takes, Tool,
};
use crate::dialect::canonical::shortening;
use crate::dialect::canonical::style::{Memory, Target};
use crate::dialect::canonical::text::{Raw, Text};
use crate::dialect::openai_chat::script::Script;

/// Most texts that may end an answer.
const STOPS_MAX: usize = 4;

/// Fields of other dialects that mean the same here.
const KINDRED: [&str; 9] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
];

/// Fields without which the request would mean or cost something else.
const NEVER: [&str; 7] = [
    "background",
    "container",
    "context_management",
    "conversation",
    "mcp_servers",
    "previous_response_id",
    "prompt",
];

/// Writes `request` for a provider that takes what `target` says, and returns what the names in its
/// answer will stand for. What was left out is in `losses`.
///
/// # Errors
/// If something cannot be said in this dialect and must not be left out.
pub fn write(
    request: &Request<'_>,
    target: &Target,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<Memory, Refused> {
    out.extend_from_slice(b"{\"messages\":");
    Script::new(target, losses, out).write(request)?;
    if let Some(Raw(model)) = request.model {
        member("model", model, out);
    }
    let memory = tools(request, target, losses, out)?;
    settings(request, target, losses, out)?;
    shape(request, target, out);
    for field in &request.rest {
        rest(field, losses, out)?;
    }
    out.push(b'}');
    Ok(memory)
}

/// Writes a tool's name as it is sent.
pub(super) fn name_into(name: &Text<'_>, out: &mut Vec<u8>) {
    names::alias(name).as_ref().unwrap_or(name).quote_into(out);
}

fn tools(
    request: &Request<'_>,
    target: &Target,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<Memory, Refused> {
    let mut memory = Memory::default();
    if request.tools.is_empty() {
        return Ok(memory);
    }
    key("tools", out);
    for (at, one) in request.tools.iter().enumerate() {
        out.push(if at == 0 { b'[' } else { b',' });
        tool(one, out);
        match one.cache {
            Some(Raw(mark)) if target.keeps_cache_marks => member("cache_control", mark, out),
            Some(_) => losses.drop_field("cache_control")?,
            None => {}
        }
        out.push(b'}');
        if let Some(sent) = names::alias(&one.name) {
            memory.alias(&sent, &one.name);
        }
    }
    out.push(b']');
    if let Some(wanted) = &request.choice {
        key("tool_choice", out);
        choice(wanted, &request.tools, out);
    }
    if let Some(several) = request.parallel_calls {
        flag_member("parallel_tool_calls", several, out);
    }
    Ok(memory)
}

/// Writes a tool, up to its closing brace.
fn tool(tool: &Tool<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(match tool.takes {
        Takes::Schema(_) => b"{\"type\":\"function\",\"function\":{\"name\":".as_slice(),
        Takes::Free(_) => b"{\"type\":\"custom\",\"custom\":{\"name\":",
    });
    name_into(&tool.name, out);
    if let Some(description) = &tool.description {
        text_member("description", description, out);
    }
    match tool.takes {
        Takes::Schema(Some(Raw(schema))) => member("parameters", schema, out),
        Takes::Free(Some(Raw(format))) => grammar(format, out),
        Takes::Schema(None) | Takes::Free(None) => {}
    }
    if let (Some(strict), Takes::Schema(_)) = (tool.strict, &tool.takes) {
        flag_member("strict", strict, out);
    }
    out.push(b'}');
}

/// Writes the format of a custom tool's input. Responses has the parts of a grammar beside its type,
/// Chat one level deeper.
fn grammar(format: &[u8], out: &mut Vec<u8>) {
    let (Some(syntax), Some(definition)) = (find(format, "syntax"), find(format, "definition"))
    else {
        return member("format", format, out);
    };
    key("format", out);
    out.extend_from_slice(b"{\"type\":\"grammar\",\"grammar\":{\"syntax\":");
    out.extend_from_slice(syntax);
    member("definition", definition, out);
    out.extend_from_slice(b"}}");
}

fn choice(choice: &Choice<'_>, tools: &[Tool<'_>], out: &mut Vec<u8>) {
    match choice {
        Choice::Auto => out.extend_from_slice(b"\"auto\""),
        Choice::None => out.extend_from_slice(b"\"none\""),
        Choice::Any => out.extend_from_slice(b"\"required\""),
        Choice::Tool(name) => named(name, &customs(tools), out),
        Choice::Allowed { names, required } => {
            out.extend_from_slice(b"{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"");
            out.extend_from_slice(if *required { b"required" } else { b"auto" });
            out.extend_from_slice(b"\",\"tools\":[");
            let customs = customs(tools);
            for (at, name) in names.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                named(name, &customs, out);
            }
            out.extend_from_slice(b"]}}");
        }
    }
}

/// The names of the custom tools.
fn customs<'t>(tools: &'t [Tool<'_>]) -> Index<'t, ()> {
    let mut customs = Index::default();
    for tool in tools.iter().filter(|tool| matches!(tool.takes, Takes::Free(_))) {
        customs.insert(Text::written(tool.name.as_written()), ());
    }
    customs
}

/// Names one tool, of its kind.
fn named(name: &Text<'_>, customs: &Index<'_, ()>, out: &mut Vec<u8>) {
    let kind: &[u8] = if customs.has(name) { b"custom" } else { b"function" };
    for piece in [b"{\"type\":\"", kind, b"\",\"", kind, b"\":{\"name\":"] {
        out.extend_from_slice(piece);
    }
    name_into(name, out);
    out.extend_from_slice(b"}}");
}

/// How the model is to answer.
fn settings(
    request: &Request<'_>,
    target: &Target,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let plain = [
        (target.output_cap_field, request.output_cap),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("verbosity", request.verbosity),
        ("service_tier", request.common_tier()),
    ];
    for (name, value) in plain {
        if let Some(Raw(value)) = value {
            member(name, value, out);
        }
    }
    if request.top_k.is_some() {
        losses.drop_field("top_k")?;
    }
    if let Some(user) = &request.user {
        text_member("user", user, out);
    }
    if !request.stop.is_empty() {
        stops(&request.stop, losses, out)?;
    }
    if let Some(reasoning) = &request.reasoning {
        thinking(reasoning, losses, out)?;
    }
    Ok(())
}

fn stops(stops: &[Text<'_>], losses: &mut Losses, out: &mut Vec<u8>) -> Result<(), Refused> {
    key("stop", out);
    for (at, stop) in stops.iter().take(STOPS_MAX).enumerate() {
        out.push(if at == 0 { b'[' } else { b',' });
        stop.quote_into(out);
    }
    out.push(b']');
    if stops.len() > STOPS_MAX { losses.drop_field("stop_sequences") } else { Ok(()) }
}

fn thinking(
    reasoning: &Reasoning<'_>,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    if let Some(effort) = reasoning.effort.or(reasoning.budget_tokens.map(Effort::of_budget)) {
        // There is no word beyond it here.
        let effort = effort.min(Effort::XHigh);
        key("reasoning_effort", out);
        Text::written(effort.name().as_bytes()).quote_into(out);
    } else if reasoning.adaptive {
        // Whether it thinks at all is the model's own habit here.
        losses.drop_field("thinking")?;
    }
    // Without more words, thoughts are shown as far as the provider shows any: that is asked by these.
    match reasoning.summary {
        None | Some(Raw(b"\"auto\"" | b"\"summarized\"")) => Ok(()),
        Some(_) => losses.drop_field("reasoning.summary"),
    }
}

/// In which form the answer is to come.
fn shape(request: &Request<'_>, target: &Target, out: &mut Vec<u8>) {
    if request.stream {
        member("stream", b"true", out);
        if request.stream_usage || target.ask_usage {
            member("stream_options", b"{\"include_usage\":true}", out);
        }
    }
    match &request.format {
        None => {}
        Some(Format::JsonObject) => member("response_format", b"{\"type\":\"json_object\"}", out),
        Some(Format::JsonSchema { name, description, schema, strict }) => {
            key("response_format", out);
            out.extend_from_slice(b"{\"type\":\"json_schema\",\"json_schema\":{\"name\":");
            name.as_ref().unwrap_or(&Text::written(b"answer")).quote_into(out);
            if let Some(description) = description {
                text_member("description", description, out);
            }
            member("schema", schema.0, out);
            if let Some(strict) = strict {
                flag_member("strict", *strict, out);
            }
            out.extend_from_slice(b"}}");
        }
    }
}

/// Takes over, leaves out or refuses a field that the neutral form has no place for.
fn rest(field: &Field<'_>, losses: &mut Losses, out: &mut Vec<u8>) -> Result<(), Refused> {
    let Field { name, value: Raw(value) } = *field;
    if says_nothing(name, value) {
        return Ok(());
    }
    if name == "context_management" && shortening::is_all(value) {
        return losses.drop_field(name);
    }
    if NEVER.contains(&name) {
        return Err(Refused::new(name, "cannot be carried to the provider's dialect"));
    }
    if KINDRED.contains(&name) {
        member(name, value, out);
        return Ok(());
    }
    losses.drop_field(name)
}

/// Whether a field is what the provider does anyway.
fn says_nothing(name: &str, value: &[u8]) -> bool {
    match name {
        "stream_options" => true,
        "truncation" => value == b"\"disabled\"",
        "include" => value == b"[]",
        _ => value == b"null" || value == b"false",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::request::{
        Call, Content, Input, Media, Part, Place, Role, Source, Thinking, ToolResult, Turn,
    };
    use crate::dialect::openai_chat::request::read;
    use serde_json::{Value, json};

    const PLAIN: Target = Target {
        output_cap_field: "max_completion_tokens",
        output_cap_default: 4_096,
        keeps_cache_marks: false,
        ask_usage: false,
    };
    const BROKER: Target = Target { keeps_cache_marks: true, ask_usage: true, ..PLAIN };

    fn asked(request: &Request<'_>, target: &Target) -> (Value, Vec<String>) {
        let mut losses = Losses::new(false);
        let mut out = Vec::new();
        write(request, target, &mut losses, &mut out).expect("a request");
        let text = String::from_utf8_lossy(&out).into_owned();
        (serde_json::from_slice(&out).expect(&text), losses.dropped().to_vec())
    }

    fn refused(request: &Request<'_>) -> String {
        let mut out = Vec::new();
        let refused = write(request, &PLAIN, &mut Losses::new(false), &mut out);
        refused.expect_err("refused").field
    }

    fn part(kind: Content<'_>) -> Part<'_> {
        Part { kind, cache: None, place: Place { item: 2, part: Some(1) } }
    }

    fn text(text: &'static str) -> Part<'static> {
        part(Content::Text(Text::written(text.as_bytes())))
    }

    fn of_turn(role: Role, parts: Vec<Part<'_>>) -> Request<'_> {
        Request { turns: vec![Turn { role, parts }], ..Request::default() }
    }

    #[test]
    fn results_come_first_and_their_pictures_behind_them() {
        let source =
            Source::Base64 { media_type: Text::written(b"image/png"), data: Text::written(b"AA") };
        let image = part(Content::Image(Media { source, detail: None, name: None }));
        let result = |id: &'static str, parts, is_error| {
            let id = Text::written(id.as_bytes());
            part(Content::Result(ToolResult { id, parts, is_error, is_custom: false }))
        };
        let parts = vec![
            text("and then"),
            result("a", vec![text("no file"), text("at all")], true),
            result("b", vec![image], false),
        ];
        let (body, dropped) = asked(&of_turn(Role::User, parts), &PLAIN);
        assert_eq!(
            body["messages"],
            json!([
                {"role": "tool", "tool_call_id": "a", "content": "Error: no file\n\nat all"},
                {"role": "tool", "tool_call_id": "b", "content": "(see the next message)"},
                {"role": "user", "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
                    {"type": "text", "text": "and then"}]}
            ])
        );
        assert!(dropped.is_empty());
    }

    #[test]
    fn a_model_s_turn_is_one_message() {
        let call = |input| {
            part(Content::Call(Call { id: Text::written(b"c"), name: Text::written(b"f"), input }))
        };
        let thinking =
            Thinking { text: Text::written(b"hm"), signature: Some(Text::written(b"S")) };
        let parts = vec![
            part(Content::Thinking(thinking)),
            part(Content::Redacted(Text::written(b"R"))),
            text("a"),
            text("b"),
            call(Input::Object(Raw(br#"{"x":"\"1\n"}"#))),
            call(Input::Quoted(Text::default())),
            call(Input::Free(Text::written(b"free"))),
        ];
        let request = of_turn(Role::Assistant, parts);
        let (body, dropped) = asked(&request, &PLAIN);
        let function = |arguments: &str| json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}});
        let custom = json!({"id": "c", "type": "custom", "custom": {"name": "f", "input": "free"}});
        let calls = json!([function(r#"{"x":"\"1\n"}"#), function("{}"), custom]);
        let expected = json!({"role": "assistant", "content": "ab", "tool_calls": calls});
        assert_eq!(body["messages"][0], expected);
        assert_eq!(dropped, ["thinking", "redacted_thinking"]);
        let (body, dropped) = asked(&request, &BROKER);
        let details = json!([
            {"type": "reasoning.text", "text": "hm", "signature": "S", "format": "anthropic-claude-v1", "index": 0},
            {"type": "reasoning.encrypted", "data": "R", "format": "anthropic-claude-v1", "index": 1}]);
        assert_eq!(body["messages"][0]["reasoning_details"], details);
        assert!(dropped.is_empty());
    }

    #[test]
    fn thoughts_of_nobody_stay_where_their_provider_looks() {
        let thinking = Thinking { text: Text::written(b"hm"), signature: None };
        let request = of_turn(Role::Assistant, vec![part(Content::Thinking(thinking)), text("a")]);
        let (body, _) = asked(&request, &PLAIN);
        assert_eq!(body["messages"][0]["reasoning_content"], "hm");
    }

    #[test]
    fn marks_are_kept_for_who_knows_them() {
        let mark = Some(Raw(br#"{"type":"ephemeral"}"#));
        let marked = |text| Part { cache: mark, ..text };
        let request = Request { system: vec![text("a"), marked(text("b"))], ..Request::default() };
        let (body, dropped) = asked(&request, &PLAIN);
        assert_eq!(body["messages"], json!([{"role": "system", "content": "a\n\nb"}]));
        assert_eq!(dropped, ["cache_control"]);
        let (body, dropped) = asked(&request, &BROKER);
        assert_eq!(
            body["messages"][0]["content"][1]["cache_control"],
            json!({"type": "ephemeral"})
        );
        assert!(dropped.is_empty());
    }

    #[test]
    fn long_names_are_sent_as_aliases_and_remembered() {
        let long = "n".repeat(80);
        let name = Text::of(&long);
        let tool = Tool {
            name: name.clone(),
            description: None,
            takes: Takes::Schema(None),
            strict: None,
            cache: None,
        };
        let choice = Some(Choice::Tool(name.clone()));
        let request = Request { tools: vec![tool], choice, ..Request::default() };
        let mut out = Vec::new();
        let memory = write(&request, &PLAIN, &mut Losses::new(true), &mut out).expect("written");
        let body: Value = serde_json::from_slice(&out).expect("JSON");
        let sent = body["tools"][0]["function"]["name"].as_str().expect("a name");
        assert!(sent.len() <= 64);
        assert_eq!(body["tool_choice"]["function"]["name"], sent);
        assert_eq!(memory.original(&Text::of(sent)), name);
    }

    #[test]
    fn settings_in_the_provider_s_words() {
        let request = Request {
            output_cap: Some(Raw(b"9")),
            top_k: Some(Raw(b"4")),
            service_tier: Some(Raw(b"\"standard_only\"")),
            stop: ["a", "b", "c", "d", "e"].into_iter().map(Text::of).collect(),
            stream: true,
            reasoning: Some(Reasoning { budget_tokens: Some(9_000), ..Reasoning::default() }),
            rest: vec![
                Field { name: "metadata", value: Raw(br#"{"a":"b"}"#) },
                Field { name: "truncation", value: Raw(b"\"auto\"") },
                Field { name: "background", value: Raw(b"false") },
            ],
            ..Request::default()
        };
        let target = Target { output_cap_field: "max_tokens", ..BROKER };
        let (body, dropped) = asked(&request, &target);
        assert_eq!(
            body,
            json!({"messages": [], "max_tokens": 9, "service_tier": "default",
                   "stop": ["a", "b", "c", "d"], "reasoning_effort": "medium", "stream": true,
                   "stream_options": {"include_usage": true}, "metadata": {"a": "b"}})
        );
        assert_eq!(dropped, ["top_k", "stop_sequences", "truncation"]);
        let quiet = Request { stream: true, ..Request::default() };
        assert_eq!(asked(&quiet, &PLAIN).0, json!({"messages": [], "stream": true}));
    }

    #[test]
    fn what_would_change_the_meaning_is_refused() {
        let field = Field { name: "previous_response_id", value: Raw(b"\"resp_1\"") };
        let request = Request { rest: vec![field], ..Request::default() };
        assert_eq!(refused(&request), "previous_response_id");
        let source = Source::File(Text::written(b"file_1"));
        let image = part(Content::Image(Media { source, detail: None, name: None }));
        assert_eq!(refused(&of_turn(Role::User, vec![image])), "messages[2].content[1]");
        let source = Source::Url(Text::written(b"https://a/b.pdf"));
        let file = part(Content::Document(Media { source, detail: None, name: None }));
        assert_eq!(refused(&of_turn(Role::User, vec![file.clone()])), "messages[2].content[1]");
        assert_eq!(refused(&of_turn(Role::Assistant, vec![file])), "messages[2].content[1]");
    }

    #[test]
    fn a_grammar_stands_where_chat_has_it() {
        let format = Raw(br#"{"type":"grammar","syntax":"lark","definition":"start: /x/"}"#);
        let tool = Tool {
            name: Text::written(b"p"),
            description: None,
            takes: Takes::Free(Some(format)),
            strict: None,
            cache: None,
        };
        let names = vec![Text::written(b"p")];
        let choice = Some(Choice::Allowed { names, required: true });
        let (body, _) = asked(&Request { tools: vec![tool], choice, ..Request::default() }, &PLAIN);
        let grammar =
            json!({"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}});
        assert_eq!(body["tools"][0]["custom"]["format"], grammar);
        let allowed = &body["tool_choice"]["allowed_tools"];
        assert_eq!(allowed["tools"][0], json!({"type": "custom", "custom": {"name": "p"}}));
    }

    /// A conversation in all its forms, written by the rules of this writer.
    const WHOLE: &str = r#"{"messages":[{"role":"system","content":"s"},
        {"role":"user","content":[{"type":"text","text":"a\u00e9","cache_control":{"type":"ephemeral"}},
            {"type":"image_url","image_url":{"url":"https://a/b","detail":"low"}},
            {"type":"file","file":{"filename":"f.pdf","file_data":"data:application/pdf;base64,AA"}},
            {"type":"file","file":{"file_id":"file-1"}}]},
        {"role":"assistant","content":"t","refusal":"r","reasoning_details":[
            {"type":"reasoning.text","text":"hm","signature":"S","format":"anthropic-claude-v1","index":0},
            {"type":"reasoning.encrypted","data":"R","format":"anthropic-claude-v1","index":1}],
            "tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},
            {"id":"c2","type":"custom","custom":{"name":"g","input":"x"}}]},
        {"role":"tool","tool_call_id":"c1","content":"r"},
        {"role":"tool","tool_call_id":"c2","content":"q"},
        {"role":"system","content":"later"},{"role":"user","content":"end"}],
        "model":"m","tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":false},"cache_control":{"type":"ephemeral"}},
            {"type":"custom","custom":{"name":"g","format":{"type":"text"}}}],
        "tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}}]}},
        "parallel_tool_calls":true,"max_completion_tokens":5,"temperature":1,"top_p":0.5,"verbosity":"low",
        "service_tier":"flex","user":"u","stop":["a"],"reasoning_effort":"none","stream":true,
        "stream_options":{"include_usage":true},"response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d","schema":{},"strict":true}},
        "seed":7,"prompt_cache_key":"k"}"#;

    #[test]
    fn a_request_comes_back_as_it_was() {
        let request = read(WHOLE.as_bytes()).expect("a request");
        let mut out = Vec::new();
        let mut losses = Losses::new(true);
        write(&request, &BROKER, &mut losses, &mut out).expect("nothing is lost");
        let parsed: Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(parsed, serde_json::from_str::<Value>(WHOLE).expect("JSON"));
        assert_eq!(read(&out).expect("a request"), request);
    }

    mod any_request {
        use super::*;
        use proptest::prelude::*;

        fn content() -> impl Strategy<Value = Value> {
            let part = prop_oneof![
                "[a-zé\"\\\\\n]{0,6}".prop_map(|text| json!({"type": "text", "text": text})),
                Just(
                    json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}})
                ),
                Just(json!({"type": "file", "file": {"file_id": "f"}})),
            ];
            prop_oneof![
                "[a-zé\"\\\\\n]{0,6}".prop_map(Value::String),
                prop::collection::vec(part, 1..4).prop_map(Value::Array),
            ]
        }

        fn message() -> impl Strategy<Value = Vec<Value>> {
            let call = json!([{"id": "c", "type": "function",
                "function": {"name": "f", "arguments": "{\"a\": \"\\u00e9\"}"}}]);
            prop_oneof![
                content().prop_map(|content| vec![json!({"role": "user", "content": content})]),
                "[a-z]{0,4}".prop_map(|text| vec![json!({"role": "developer", "content": text})]),
                "[a-z]{0,4}".prop_map(|said| {
                    vec![json!({"role": "assistant", "content": said, "reasoning_content": "x"})]
                }),
                content().prop_map(move |content| {
                    vec![
                        json!({"role": "assistant", "tool_calls": call}),
                        json!({"role": "tool", "tool_call_id": "c", "content": content}),
                    ]
                }),
            ]
        }

        proptest! {
            /// Writing may join what stands apart, but what it wrote stays as it is.
            #[test]
            fn what_was_written_reads_and_writes_the_same(
                messages in prop::collection::vec(message(), 0..6),
            ) {
                let body = json!({"messages": messages.concat(), "model": "m"}).to_string();
                let request = read(body.as_bytes()).expect("a request");
                let (mut first, mut second) = (Vec::new(), Vec::new());
                write(&request, &PLAIN, &mut Losses::new(false), &mut first).expect("written");
                let again = read(&first).expect("a request");
                write(&again, &PLAIN, &mut Losses::new(false), &mut second).expect("written");
                prop_assert_eq!(String::from_utf8(first), String::from_utf8(second));
            }
        }
    }
}
