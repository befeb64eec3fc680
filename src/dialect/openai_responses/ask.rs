//! Writes the neutral form as a request of this dialect.
//!
//! Nothing is ever stored at the provider, and what it thinks comes back encrypted, so that the client
//! can bring it along.

use crate::dialect::canonical::loss::{Losses, Refused};
use crate::dialect::canonical::members::{flag_member, member, text_member};
use crate::dialect::canonical::request::{Content, Effort, Field, Reasoning, Request};
use crate::dialect::canonical::shortening;
use crate::dialect::canonical::style::{Memory, Target};
use crate::dialect::canonical::text::Raw;
use crate::dialect::openai_responses::ask_input::Told;
use crate::dialect::openai_responses::ask_tools;

/// Fields of other dialects, or of this one, that mean the same here.
const KINDRED: [&str; 7] = [
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "safety_identifier",
    "truncation",
    "max_tool_calls",
];

/// Fields that change what is asked for, or what it costs, so that they must not be left out.
const BINDING: [&str; 9] = [
    "n",
    "audio",
    "mcp_servers",
    "container",
    "context_management",
    "previous_response_id",
    "conversation",
    "background",
    "prompt",
];

/// Appends the body to `out`. Returns what it did to the names of tools.
///
/// # Errors
/// What cannot be carried and must not be left out; under strict losses, everything that cannot.
pub fn write(
    request: &Request<'_>,
    _target: &Target,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<Memory, Refused> {
    let mut memory = Memory::default();
    out.extend_from_slice(b"{\"store\":false");
    if let Some(model) = request.model {
        member("model", model.0, out);
    }
    if let [part] = &*request.system
        && let Content::Text(text) = &part.kind
    {
        text_member("instructions", text, out);
    }
    if request.system.iter().any(|part| part.cache.is_some()) {
        losses.drop_field("cache_control")?;
    }
    out.extend_from_slice(b",\"input\":");
    Told { losses, memory: &mut memory, out }.input(request)?;
    write_tools(request, losses, &mut memory, out)?;
    write_settings(request, losses, out)?;
    write_reasoning(request.reasoning, losses, out)?;
    for field in &request.rest {
        write_other(field, losses, out)?;
    }
    out.push(b'}');
    Ok(memory)
}

fn write_tools(
    request: &Request<'_>,
    losses: &mut Losses,
    memory: &mut Memory,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    if request.tools.iter().any(|tool| tool.cache.is_some()) {
        losses.drop_field("cache_control")?;
    }
    if !request.tools.is_empty() {
        out.extend_from_slice(b",\"tools\":");
        ask_tools::push_tools(&request.tools, memory, out);
    }
    if let Some(choice) = &request.choice {
        out.extend_from_slice(b",\"tool_choice\":");
        ask_tools::push_choice(choice, request, memory, out);
    }
    if let Some(parallel) = request.parallel_calls {
        flag_member("parallel_tool_calls", parallel, out);
    }
    Ok(())
}

fn write_settings(
    request: &Request<'_>,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let numbers = [
        ("max_output_tokens", request.output_cap),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            member(name, value.0, out);
        }
    }
    if request.stream {
        out.extend_from_slice(b",\"stream\":true");
    }
    if request.format.is_some() || request.verbosity.is_some() {
        out.extend_from_slice(b",\"text\":");
        ask_tools::push_text(request.format.as_ref(), request.verbosity, out);
    }
    if let Some(user) = &request.user {
        text_member("user", user, out);
    }
    if let Some(Raw(tier)) = request.common_tier() {
        member("service_tier", tier, out);
    }
    if !request.stop.is_empty() {
        losses.drop_field("stop")?;
    }
    if request.top_k.is_some() {
        losses.drop_field("top_k")?;
    }
    Ok(())
}

/// Thoughts are asked for encrypted where there will be any: models that do not think refuse that.
fn write_reasoning(
    reasoning: Option<Reasoning<'_>>,
    losses: &mut Losses,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let Some(reasoning) = reasoning else { return Ok(()) };
    let effort = reasoning.effort.or_else(|| reasoning.budget_tokens.map(Effort::of_budget));
    let summary = reasoning.summary.and_then(summary);
    if effort.is_some() || summary.is_some() {
        out.extend_from_slice(b",\"reasoning\":{");
        if let Some(effort) = effort {
            // There is nothing beyond.
            let effort = effort.min(Effort::XHigh);
            out.extend_from_slice(b"\"effort\":\"");
            out.extend_from_slice(effort.name().as_bytes());
            out.push(b'"');
        }
        if let Some(summary) = summary {
            let comma: &[u8] = if effort.is_some() { b"," } else { b"" };
            out.extend_from_slice(comma);
            out.extend_from_slice(b"\"summary\":");
            out.extend_from_slice(summary);
        }
        out.push(b'}');
    }
    if effort.is_none() && reasoning.adaptive {
        // Whether it thinks at all is the model's own habit here.
        losses.drop_field("thinking")?;
    }
    if effort != Some(Effort::Off) && (effort.is_some() || reasoning.adaptive || summary.is_some())
    {
        out.extend_from_slice(b",\"include\":[\"reasoning.encrypted_content\"]");
    }
    Ok(())
}

/// How thoughts are to be shown, by this dialect's word. Messages' words are known too.
fn summary(word: Raw<'_>) -> Option<&[u8]> {
    match word.0 {
        b"\"omitted\"" => None,
        b"\"summarized\"" => Some(b"\"auto\""),
        own => Some(own),
    }
}

fn write_other(other: &Field<'_>, losses: &mut Losses, out: &mut Vec<u8>) -> Result<(), Refused> {
    let name = other.name;
    if other.value.0 == b"null" || name == "n" && other.value.0 == b"1" {
        return Ok(());
    }
    if KINDRED.contains(&name) {
        member(name, other.value.0, out);
        return Ok(());
    }
    if name == "context_management" && shortening::is_all(other.value.0) {
        return losses.drop_field(name);
    }
    if BINDING.contains(&name) {
        return Err(Refused::new(name, "cannot be carried to the provider's dialect"));
    }
    losses.drop_field(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::request::{
        Call, Choice, Input, Media, Part, Place, Role, Source, Takes, Thinking, Tool, ToolResult,
        Turn,
    };
    use crate::dialect::canonical::text::Text;
    use crate::dialect::openai_responses::request;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn target() -> Target {
        Target {
            output_cap_field: "max_output_tokens",
            output_cap_default: 4_096,
            keeps_cache_marks: false,
            ask_usage: false,
        }
    }

    fn part(kind: Content<'_>) -> Part<'_> {
        Part { kind, cache: None, place: Place::default() }
    }

    fn turn(role: Role, kinds: Vec<Content<'_>>) -> Turn<'_> {
        Turn { role, parts: kinds.into_iter().map(part).collect() }
    }

    fn text(text: &str) -> Content<'static> {
        Content::Text(Text::of(text))
    }

    fn written(request: &Request<'_>, losses: &mut Losses) -> Result<(Value, Memory), Refused> {
        let mut out = Vec::new();
        let memory = write(request, &target(), losses, &mut out)?;
        Ok((serde_json::from_slice(&out).expect("JSON"), memory))
    }

    fn lenient(request: &Request<'_>) -> (Value, Vec<String>) {
        let mut losses = Losses::new(false);
        let (value, _) = written(request, &mut losses).expect("written");
        (value, losses.dropped().to_vec())
    }

    #[test]
    fn a_conversation_with_tools_is_written_as_items() {
        let call = |id, input| Content::Call(Call { id: Text::of(id), name: Text::of("f"), input });
        let result = |id, is_error, parts: Vec<Content<'static>>| {
            let parts = parts.into_iter().map(part).collect();
            let id = Text::of(id);
            Content::Result(ToolResult { id, parts, is_error, is_custom: false })
        };
        let image = Content::Image(Media {
            source: Source::Base64 { media_type: Text::of("image/png"), data: Text::of("aGk=") },
            detail: None,
            name: None,
        });
        let sealed =
            Thinking { text: Text::of("hm"), signature: Some(Text::of("weir-unsigned:gAAA")) };
        let request = Request {
            system: vec![part(text("be")), part(text("kind"))],
            turns: vec![
                turn(Role::User, vec![text("go")]),
                turn(
                    Role::Assistant,
                    vec![
                        Content::Thinking(sealed),
                        text("a"),
                        text("b"),
                        call("c1", Input::Object(Raw(br#"{"x":"\n"}"#))),
                        call("c2", Input::Quoted(Text::default())),
                        call("c3", Input::Free(Text::of("free"))),
                    ],
                ),
                turn(
                    Role::User,
                    vec![
                        text("on"),
                        result("c1", true, vec![text("bad")]),
                        result("c2", true, vec![image.clone(), text("t")]),
                        result("c3", false, vec![]),
                    ],
                ),
            ],
            ..Request::default()
        };
        let (value, dropped) = lenient(&request);
        let picture = json!({"type": "input_image", "image_url": "data:image/png;base64,aGk="});
        let expected = json!([
            {"role": "system", "content": [{"type": "input_text", "text": "be"}, {"type": "input_text", "text": "kind"}]},
            {"role": "user", "content": "go"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []},
                {"type": "output_text", "text": "b", "annotations": []}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"x\":\"\\n\"}"},
            {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "c3", "name": "f", "input": "free"},
            {"type": "function_call_output", "call_id": "c1", "output": "Error: bad"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "Error: "}, picture, {"type": "input_text", "text": "t"}]},
            {"type": "function_call_output", "call_id": "c3", "output": ""},
            {"role": "user", "content": "on"}]);
        assert_eq!(value["input"], expected);
        assert_eq!(value["store"], json!(false));
        assert!(dropped.is_empty());
    }

    #[test]
    fn settings_take_this_dialects_names() {
        let tool = |name: &str, takes| Tool {
            name: Text::of(name),
            description: None,
            takes,
            strict: None,
            cache: None,
        };
        let long = "x".repeat(80);
        let request = Request {
            model: Some(Raw(b"\"m\"")),
            system: vec![part(text("be kind"))],
            tools: vec![tool(&long, Takes::Schema(None)), tool("p", Takes::Free(None))],
            choice: Some(Choice::Allowed { names: vec![Text::of("p")], required: true }),
            parallel_calls: Some(false),
            output_cap: Some(Raw(b"100")),
            stream: true,
            verbosity: Some(Raw(b"\"low\"")),
            service_tier: Some(Raw(b"\"standard_only\"")),
            reasoning: Some(Reasoning { effort: Some(Effort::Max), ..Reasoning::default() }),
            stop: vec![Text::of("x")],
            rest: vec![
                Field { name: "seed", value: Raw(b"1") },
                Field { name: "n", value: Raw(b"1") },
                Field { name: "metadata", value: Raw(b"{\"a\":\"b\"}") },
            ],
            ..Request::default()
        };
        let mut losses = Losses::new(false);
        let (mut value, memory) = written(&request, &mut losses).expect("written");
        let alias = value["tools"][0]["name"].take();
        let alias = Text::of(alias.as_str().expect("a name"));
        assert!(memory.original(&alias).is(&long));
        assert_eq!(
            value,
            json!({"store": false, "model": "m", "instructions": "be kind", "input": [],
                "tools": [{"type": "function", "name": null, "parameters": {"type": "object", "properties": {}}, "strict": false},
                    {"type": "custom", "name": "p"}],
                "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "p"}]},
                "parallel_tool_calls": false, "max_output_tokens": 100, "stream": true, "text": {"verbosity": "low"},
                "service_tier": "default", "reasoning": {"effort": "xhigh"}, "include": ["reasoning.encrypted_content"],
                "metadata": {"a": "b"}})
        );
        assert_eq!(losses.dropped(), ["stop", "seed"]);
    }

    #[test]
    fn what_cannot_be_carried_is_refused_or_listed() {
        let other = |name, value| Request {
            rest: vec![Field { name, value: Raw(value) }],
            ..Request::default()
        };
        let refused = written(&other("n", b"2"), &mut Losses::new(false)).expect_err("n");
        assert_eq!(refused.field, "n");
        let strict = written(&other("seed", b"2"), &mut Losses::new(true)).expect_err("strict");
        assert_eq!(strict.field, "seed");
        let signature = Some(Text::of("sig"));
        let thinking = |signature| Content::Thinking(Thinking { text: Text::of("t"), signature });
        let request = Request {
            turns: vec![turn(
                Role::Assistant,
                vec![thinking(signature), thinking(None), Content::Redacted(Text::of("x"))],
            )],
            ..Request::default()
        };
        let (value, dropped) = lenient(&request);
        assert_eq!(value["input"], json!([]));
        assert_eq!(dropped, ["thinking", "reasoning_content", "redacted_thinking"]);
        let misplaced = Request {
            turns: vec![turn(Role::User, vec![Content::Refusal(Text::of("x"))])],
            ..Request::default()
        };
        assert!(written(&misplaced, &mut Losses::new(false)).is_err());
    }

    #[test]
    fn budgets_and_words_of_thought_become_effort() {
        for (reasoning, expected, encrypted) in [
            (
                Reasoning { budget_tokens: Some(1_024), ..Reasoning::default() },
                json!({"effort": "low"}),
                true,
            ),
            (
                Reasoning { budget_tokens: Some(32_000), ..Reasoning::default() },
                json!({"effort": "high"}),
                true,
            ),
            (
                Reasoning { effort: Some(Effort::Off), ..Reasoning::default() },
                json!({"effort": "none"}),
                false,
            ),
            (Reasoning { adaptive: true, ..Reasoning::default() }, json!(null), true),
            (
                Reasoning {
                    adaptive: true,
                    summary: Some(Raw(b"\"summarized\"")),
                    ..Reasoning::default()
                },
                json!({"summary": "auto"}),
                true,
            ),
        ] {
            let request = Request { reasoning: Some(reasoning), ..Request::default() };
            let (value, _) = lenient(&request);
            assert_eq!(value["reasoning"], expected);
            assert_eq!(value.get("include").is_some(), encrypted);
        }
    }

    fn assert_round_trip(body: &str) {
        let read = request::read(body.as_bytes()).expect("readable");
        let mut out = Vec::new();
        write(&read, &target(), &mut Losses::new(true), &mut out).expect("written");
        let again = request::read(&out).expect("readable again");
        assert_eq!(again.without_places(), read.without_places());
    }

    fn item() -> impl Strategy<Value = Value> {
        prop_oneof![
            ("user|system|assistant|developer", any::<String>())
                .prop_map(|(role, text)| json!({"role": role, "content": text})),
            prop::collection::vec(any::<String>(), 0..3).prop_map(|texts| {
                let parts: Vec<Value> =
                    texts.iter().map(|text| json!({"type": "input_text", "text": text})).collect();
                json!({"type": "message", "role": "user", "content": parts})
            }),
            prop::collection::vec(any::<String>(), 0..3).prop_map(|texts| {
                let parts: Vec<Value> =
                    texts.iter().map(|text| json!({"type": "refusal", "refusal": text})).collect();
                json!({"type": "message", "role": "assistant", "content": parts})
            }),
            Just(json!({"role": "user", "content": [
                {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
                {"type": "input_file", "file_id": "file-1"}, {"type": "input_image", "image_url": "https://a/b"}]})),
            any::<String>().prop_map(|input| json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": format!("x{input}")})),
            any::<String>().prop_map(|input| json!({"type": "custom_tool_call", "call_id": "d", "name": "p", "input": input})),
        ]
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_as_the_same(
            items in prop::collection::vec(item(), 0..8),
            instructions in prop::option::of(any::<String>()),
            (output, is_custom, effort) in (any::<String>(), any::<bool>(), "none|low|high"),
        ) {
            let mut items = items;
            let (kind, id) = if is_custom { ("custom_tool_call", "d") } else { ("function_call", "c") };
            items.push(json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}));
            items.push(json!({"type": "custom_tool_call", "call_id": "d", "name": "p", "input": ""}));
            items.push(json!({"type": format!("{kind}_output"), "call_id": id, "output": output}));
            let mut body = json!({"model": "m", "input": items, "reasoning": {"effort": effort, "summary": "auto"},
                "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}, {"type": "custom", "name": "p"}],
                "tool_choice": {"type": "function", "name": "f"}, "temperature": 0.5, "stream": true,
                "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
                "metadata": {"a": "b"}, "user": "u", "service_tier": "flex", "max_output_tokens": 9});
            if let Some(instructions) = instructions {
                body["instructions"] = instructions.into();
            }
            assert_round_trip(&body.to_string());
        }
    }
}
