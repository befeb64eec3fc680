//! Requests: what is read, what is refused, what is written, and that one undoes the other.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::dialect::anthropic::{ask, request};
use crate::dialect::canonical::loss::{Losses, Refused};
use crate::dialect::canonical::request::{
    Call, Choice, Content, Effort, Field, Format, Input, Media, Part, Place, Reasoning, Request,
    Role, Source, Takes, Thinking, Tool, ToolResult, Turn,
};
use crate::dialect::canonical::style::{Memory, Target};
use crate::dialect::canonical::text::{Raw, Text};

const TARGET: Target = Target {
    output_cap_field: "max_tokens",
    output_cap_default: 4096,
    keeps_cache_marks: false,
    ask_usage: false,
};

fn written(request: &Request<'_>) -> Result<(Value, Vec<String>, Memory), Refused> {
    let mut losses = Losses::new(false);
    let mut out = Vec::new();
    let memory = ask::write(request, &TARGET, &mut losses, &mut out)?;
    let body = serde_json::from_slice(&out).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&out));
    });
    Ok((body, losses.dropped().to_vec(), memory))
}

/// The body as it is written, without the fields that are not asked for.
fn sent(request: &Request<'_>) -> Value {
    written(request).expect("can be written").0
}

fn refused_field(body: &str) -> String {
    request::read(body.as_bytes()).expect_err(body).field
}

fn messages(messages: &Value) -> String {
    json!({"max_tokens": 9, "messages": messages}).to_string()
}

const RICH: &str = r#"{"model":"claude","max_tokens":900,"stream":true,
"system":[{"type":"text","text":"Be\nbrief.","cache_control":{"type":"ephemeral","ttl":"1h"}},{"type":"text","text":"x"}],
"messages":[
 {"role":"user","content":[{"type":"text","text":"look"},
  {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}},
  {"type":"image","source":{"type":"url","url":"https://x.test/a.png"},"cache_control":{"type":"ephemeral"}},
  {"type":"document","title":"d","source":{"type":"base64","media_type":"application/pdf","data":"BBBB"}},
  {"type":"document","source":{"type":"text","media_type":"text/plain","data":"plain"}}]},
 {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"redacted_thinking","data":"ZZ"},
  {"type":"text","text":"ok"},{"type":"tool_use","id":"t1","name":"f","input":{"a":[1, 2]}},{"type":"tool_use","id":"t2","name":"g","input":{}}]},
 {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"done","cache_control":{"type":"ephemeral"}},
  {"type":"tool_result","tool_use_id":"t2","is_error":true,"content":[{"type":"text","text":"no"},{"type":"image","source":{"type":"base64","media_type":"image/gif","data":"CC"}}]},
  {"type":"text","text":"go on"}]},
 {"role":"assistant","content":"prefill"}],
"tools":[{"name":"f","description":"d","input_schema":{"type":"object","properties":{"a":{"type":"array"}}},"strict":true,"cache_control":{"type":"ephemeral"}},
 {"type":"custom","name":"g","input_schema":{"type":"object"}}],
"tool_choice":{"type":"auto","disable_parallel_tool_use":true},
"stop_sequences":["END"],"thinking":{"type":"enabled","budget_tokens":4000,"display":"summarized"},
"output_config":{"effort":"max","format":{"type":"json_schema","schema":{"type":"object"}}},
"metadata":{"user_id":"u1"},"service_tier":"standard_only","cache_control":{"type":"ephemeral"}}"#;

#[test]
fn a_rich_request_survives_the_way_there_and_back() {
    let first = request::read(RICH.as_bytes()).expect("a request");
    let mut losses = Losses::new(true);
    let mut out = Vec::new();
    let memory = ask::write(&first, &TARGET, &mut losses, &mut out).expect("nothing is lost");
    assert_eq!(memory, Memory::default());
    let again = request::read(&out).expect("a request");
    assert_eq!(again.without_places(), first.without_places());
}

#[test]
fn what_is_said_is_found() {
    let request = request::read(RICH.as_bytes()).expect("a request");
    assert_eq!(request.system[0].cache, Some(Raw(br#"{"type":"ephemeral","ttl":"1h"}"#)));
    assert_eq!(request.turns.len(), 4);
    let Content::Result(result) = &request.turns[2].parts[1].kind else { panic!() };
    assert!(result.is_error && result.parts.len() == 2);
    assert_eq!(request.turns[2].parts[1].place, Place { item: 2, part: Some(1) });
    let Content::Call(call) = &request.turns[1].parts[3].kind else { panic!() };
    assert_eq!(call.input, Input::Object(Raw(br#"{"a":[1, 2]}"#)));
    assert_eq!(request.parallel_calls, Some(false));
    let reasoning = request.reasoning.expect("thinks");
    assert_eq!((reasoning.effort, reasoning.budget_tokens), (Some(Effort::Max), Some(4000)));
    assert_eq!(
        request.rest,
        [Field { name: "cache_control", value: Raw(br#"{"type":"ephemeral"}"#) }]
    );
    assert_eq!(request.user, Some(Text::of("u1")));
}

#[test]
fn odd_forms_are_understood() {
    let body = r#"{"messages":[{"content":"a","role":"user"},
        {"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"weir-unsigned"},{"type":"tool_use","id":"t","name":"f"}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"t"},
          {"type":"search_result","title":"T","source":"S","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
          {"type":"document","source":{"type":"content","content":"c"}}]},
        {"role":"system","content":"mid"}],
        "system":"s","container":null,"mcp_servers":[],"speed":"standard","\u006dodel":"m"}"#;
    let request = request::read(body.as_bytes()).expect("a request");
    assert_eq!(request.model, Some(Raw(b"\"m\"")));
    assert!(request.rest.is_empty());
    let kinds = |turn: usize| request.turns[turn].parts.iter().map(|part| &part.kind);
    let unsigned = Thinking { text: Text::of("x"), signature: None };
    assert_eq!(kinds(1).next(), Some(&Content::Thinking(unsigned)));
    let Content::Call(call) = kinds(1).next_back().expect("a call") else { panic!() };
    assert_eq!(call.input, Input::Object(Raw(b"{}")));
    let later: Vec<_> = kinds(2).skip(1).collect();
    let plain = Media { source: Source::Plain(Text::of("c")), detail: None, name: None };
    let found = Content::Text(Text::written(br"T\nS\na\nb"));
    assert_eq!(later, [&found, &Content::Document(plain)]);
    assert_eq!(request.turns[3].role, Role::System);
}

#[test]
fn what_is_wrong_is_named() {
    let user = |content: Value| messages(&json!([{"role": "user", "content": content}]));
    let model = |content: Value| messages(&json!([{"role": "assistant", "content": content}]));
    for (body, field) in [
        ("{}".to_owned(), "messages"),
        (r#"{"messages":{}}"#.into(), "messages"),
        (messages(&json!([1])), "messages[0]"),
        (messages(&json!([{"role": "user"}])), "messages[0].content"),
        (messages(&json!([{"role": "tool", "content": "a"}])), "messages[0].role"),
        (messages(&json!([{"content": "a"}])), "messages[0].role"),
        (user(json!(7)), "messages[0].content"),
        (user(json!([{"text": "a"}])), "messages[0].content[0].type"),
        (user(json!(["a"])), "messages[0].content[0].type"),
        (user(json!([{"type": "text", "text": 1}])), "messages[0].content[0].text"),
        (
            user(json!([{"type": "text", "text": "a"}, {"type": "container_upload"}])),
            "messages[0].content[1].type",
        ),
        (
            user(json!([{"type": "tool_use", "id": "a", "name": "b", "input": {}}])),
            "messages[0].content[0].type",
        ),
        (
            model(json!([{"type": "tool_use", "id": "a", "name": "b", "input": "{}"}])),
            "messages[0].content[0].input",
        ),
        (model(json!([{"type": "tool_use", "name": "b"}])), "messages[0].content[0].id"),
        (model(json!([{"type": "server_tool_use"}])), "messages[0].content[0].type"),
        (
            model(json!([{"type": "image", "source": {"type": "url", "url": "x"}}])),
            "messages[0].content[0].type",
        ),
        (
            user(json!([{"type": "image", "source": {"type": "x"}}])),
            "messages[0].content[0].source.type",
        ),
        (user(json!([{"type": "image"}])), "messages[0].content[0].source"),
        (
            user(json!([{"type": "tool_result", "tool_use_id": "x"}])),
            "messages[0].content[0].tool_use_id",
        ),
        (
            user(json!([{"type": "tool_result", "tool_use_id": "x", "is_error": 1}])),
            "messages[0].content[0].is_error",
        ),
        (
            user(
                json!([{"type": "tool_result", "tool_use_id": "x", "content": [{"type": "tool_result"}]}]),
            ),
            "messages[0].content[0].content[0].type",
        ),
    ] {
        assert_eq!(refused_field(&body), field, "{body}");
    }
}

#[test]
fn what_is_wrong_beside_the_conversation_is_named() {
    for (body, field) in [
        (r#"{"messages":[],"system":[{"type":"image"}]}"#.to_owned(), "system[0].type"),
        (r#"{"messages":[],"system":1}"#.into(), "system"),
        (r#"{"messages":[],"model":1}"#.into(), "model"),
        (r#"{"messages":[],"max_tokens":1.5}"#.into(), "max_tokens"),
        (r#"{"messages":[],"temperature":"1"}"#.into(), "temperature"),
        (r#"{"messages":[],"stream":1}"#.into(), "stream"),
        (r#"{"messages":[],"stop_sequences":["a",1]}"#.into(), "stop_sequences[1]"),
        (r#"{"messages":[],"metadata":{"user_id":1}}"#.into(), "metadata.user_id"),
        (r#"{"messages":[],"tools":{}}"#.into(), "tools"),
        (
            r#"{"messages":[],"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#
                .into(),
            "tools[0].type",
        ),
        (
            r#"{"messages":[],"tools":[{"name":"a","input_schema":[]}]}"#.into(),
            "tools[0].input_schema",
        ),
        (r#"{"messages":[],"tool_choice":"auto"}"#.into(), "tool_choice.type"),
        (r#"{"messages":[],"tool_choice":{"type":"tool"}}"#.into(), "tool_choice.name"),
        (r#"{"messages":[],"thinking":{"type":"on"}}"#.into(), "thinking.type"),
        (r#"{"messages":[],"thinking":{"type":"enabled"}}"#.into(), "thinking.budget_tokens"),
        (r#"{"messages":[],"output_config":{"effort":"none"}}"#.into(), "output_config.effort"),
        (
            r#"{"messages":[],"output_config":{"format":{"type":"text"}}}"#.into(),
            "output_config.format.type",
        ),
        (
            r#"{"messages":[],"output_config":{"format":{"type":"json_schema"}}}"#.into(),
            "output_config.format.schema",
        ),
        (r#"{"messages":[],"container":"c"}"#.into(), "container"),
        (r#"{"messages":[],"mcp_servers":[{}]}"#.into(), "mcp_servers"),
        (
            r#"{"messages":[],"context_management":{"edits":[{"type":"compact_20260112"}]}}"#
                .into(),
            "context_management",
        ),
    ] {
        assert_eq!(refused_field(&body), field, "{body}");
    }
}

#[test]
fn results_must_answer_the_calls_before_them() {
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let result = |id: &str| json!({"type": "tool_result", "tool_use_id": id});
    let good = messages(&json!([
        {"role": "assistant", "content": [call("a")]}, {"role": "assistant", "content": [call("b")]},
        {"role": "user", "content": [result("b")]}, {"role": "user", "content": [result("a")]},
    ]));
    assert!(request::read(good.as_bytes()).is_ok());
    let late = messages(&json!([
        {"role": "assistant", "content": [call("a")]}, {"role": "user", "content": [result("a")]},
        {"role": "assistant", "content": "x"}, {"role": "user", "content": ["text", result("a")]},
    ]))
    .replace("\"text\",", "");
    assert_eq!(refused_field(&late), "messages[3].content[0].tool_use_id");
}

fn part(kind: Content<'_>) -> Part<'_> {
    Part { kind, cache: None, place: Place { item: 3, part: Some(1) } }
}

fn said(text: &str) -> Part<'static> {
    part(Content::Text(Text::of(text)))
}

fn turn(role: Role, parts: Vec<Part<'_>>) -> Turn<'_> {
    Turn { role, parts }
}

fn call(id: &str, name: &str, input: Input<'static>) -> Part<'static> {
    part(Content::Call(Call { id: Text::of(id), name: Text::of(name), input }))
}

fn result(id: &str, parts: Vec<Part<'static>>) -> Part<'static> {
    let id = Text::of(id);
    part(Content::Result(ToolResult { id, parts, is_error: false, is_custom: false }))
}

/// A request as clients of `OpenAI`'s dialects write them.
fn foreign(long: &str) -> Request<'static> {
    Request {
        model: Some(Raw(b"\"gpt\"")),
        system: vec![said("one"), said("  "), said("two")],
        turns: vec![
            turn(Role::User, vec![said("hello")]),
            turn(Role::System, vec![said("be kind")]),
            turn(
                Role::Assistant,
                vec![
                    part(Content::Thinking(Thinking { text: Text::of("hm"), signature: None })),
                    said(" \n"),
                    call("call|1", long, Input::Quoted(Text::of("{\"a\":1}"))),
                    call("c2", "patch", Input::Free(Text::of("+ x\n"))),
                ],
            ),
            turn(Role::User, vec![said("meanwhile"), result("call|1", vec![said("r1")])]),
            turn(Role::User, vec![result("c2", vec![])]),
            turn(
                Role::Assistant,
                vec![part(Content::Thinking(Thinking { text: Text::of("hm"), signature: None }))],
            ),
        ],
        tools: vec![
            Tool {
                name: Text::of(long),
                description: Some(Text::of("d")),
                takes: Takes::Schema(None),
                strict: None,
                cache: None,
            },
            Tool {
                name: Text::of("patch"),
                description: None,
                takes: Takes::Free(Some(Raw(br#"{"type":"grammar"}"#))),
                strict: None,
                cache: None,
            },
        ],
        parallel_calls: Some(false),
        temperature: Some(Raw(b"1.5")),
        stop: vec![Text::of("\n"), Text::of("END")],
        format: Some(Format::JsonObject),
        verbosity: Some(Raw(b"\"low\"")),
        rest: vec![
            Field { name: "seed", value: Raw(b"1") },
            Field { name: "store", value: Raw(b"false") },
            Field { name: "n", value: Raw(b"1") },
            Field { name: "safety_identifier", value: Raw(b"\"who\"") },
        ],
        ..Request::default()
    }
}

#[test]
fn a_request_of_another_dialect_becomes_one_that_is_taken() {
    let long = "very.".repeat(20);
    let request = foreign(&long);
    let (body, dropped, memory) = written(&request).expect("can be written");
    let alias = body["tools"][0]["name"].as_str().expect("a name").to_owned();
    assert!(alias.len() <= 64);
    assert_eq!(memory.original(&Text::of(&alias)), Text::of(&long));
    assert!(memory.is_custom(&Text::of("patch")));
    let id = body["messages"][1]["content"][0]["id"].as_str().expect("an id").to_owned();
    assert!(!id.contains('|'));
    let expected = json!([
        {"role": "user", "content": [{"type": "text", "text": "hello"}, {"type": "text", "text": "be kind"}]},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": id, "name": alias, "input": {"a": 1}},
            {"type": "tool_use", "id": "c2", "name": "patch", "input": {"input": "+ x\n"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": id, "content": "r1"},
            {"type": "tool_result", "tool_use_id": "c2"},
            {"type": "text", "text": "meanwhile"}]},
    ]);
    assert_eq!(body["messages"], expected);
    assert_eq!(body["system"].as_array().map(Vec::len), Some(3));
    assert_eq!((&body["max_tokens"], &body["temperature"]), (&json!(4096), &json!(1)));
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!(body["metadata"], json!({"user_id": "who"}));
    assert_eq!(body["tools"][0]["input_schema"], json!({"type": "object", "properties": {}}));
    let choice = json!({"type": "auto", "disable_parallel_tool_use": true});
    assert_eq!(body["tool_choice"], choice);
    let lost = [
        "response_format",
        "reasoning_content",
        "tools.format",
        "temperature",
        "stop",
        "verbosity",
        "seed",
    ];
    assert_eq!(dropped, lost);
    let strict = ask::write(&request, &TARGET, &mut Losses::new(true), &mut Vec::new());
    assert_eq!(strict.expect_err("strict").field, "response_format");
}

#[test]
fn efforts_become_thinking() {
    let of = |reasoning: Reasoning<'static>| {
        let body = sent(&Request { reasoning: Some(reasoning), ..Request::default() });
        (body["thinking"].clone(), body["output_config"]["effort"].clone())
    };
    let by_word = |effort| of(Reasoning { effort: Some(effort), ..Reasoning::default() });
    let adaptive = json!({"type": "adaptive"});
    assert_eq!(by_word(Effort::Off), (json!({"type": "disabled"}), Value::Null));
    for (effort, word) in [
        (Effort::Minimal, "low"),
        (Effort::Low, "low"),
        (Effort::Medium, "medium"),
        (Effort::High, "high"),
        (Effort::XHigh, "xhigh"),
        (Effort::Max, "max"),
    ] {
        assert_eq!(by_word(effort), (adaptive.clone(), json!(word)));
    }
    let nothing = Request { reasoning: Some(Reasoning::default()), ..Request::default() };
    let (body, dropped, _) = written(&nothing).expect("can be written");
    assert!(body.get("thinking").is_none() && dropped.is_empty());
    let budget = Reasoning { budget_tokens: Some(2048), ..Reasoning::default() };
    assert_eq!(of(budget), (json!({"type": "enabled", "budget_tokens": 2048}), Value::Null));
    let shown = Reasoning {
        effort: Some(Effort::High),
        summary: Some(Raw(b"\"auto\"")),
        ..Reasoning::default()
    };
    assert_eq!(of(shown).0, json!({"type": "adaptive", "display": "summarized"}));
}

#[test]
fn a_forced_tool_rules_thinking_out() {
    let tool = Tool {
        name: Text::of("f"),
        description: None,
        takes: Takes::Schema(Some(Raw(br#"{"properties":{}}"#))),
        strict: Some(false),
        cache: None,
    };
    let request = |choice| Request {
        tools: vec![tool.clone(), Tool { name: Text::of("g"), ..tool.clone() }],
        choice: Some(choice),
        reasoning: Some(Reasoning { effort: Some(Effort::High), ..Reasoning::default() }),
        ..Request::default()
    };
    let (body, dropped, _) = written(&request(Choice::Any)).expect("can be written");
    assert_eq!((&body["tool_choice"], &body["thinking"]), (&json!({"type": "any"}), &Value::Null));
    assert_eq!(body["output_config"]["effort"], "high");
    assert_eq!(dropped, ["reasoning_effort"]);
    let schema = json!({"type": "object", "properties": {}});
    assert_eq!(body["tools"][0]["input_schema"], schema);
    let names = vec![Text::of("g")];
    let body = sent(&request(Choice::Allowed { names, required: false }));
    assert_eq!(body["tools"].as_array().map(Vec::len), Some(1));
    assert_eq!(body["tool_choice"], json!({"type": "auto"}));
    let none = Choice::Allowed { names: vec![], required: true };
    assert_eq!(written(&request(none)).expect_err("no tool").field, "tool_choice");
}

#[test]
fn what_would_change_the_answer_or_the_bill_is_refused() {
    let rest = |name, value: &'static str| Request {
        rest: vec![Field { name, value: Raw(value.as_bytes()) }],
        ..Request::default()
    };
    for (name, value) in [
        ("n", "2"),
        ("previous_response_id", "\"r\""),
        ("conversation", "\"c\""),
        ("background", "true"),
        ("prompt", "{\"id\":\"p\"}"),
        ("context_management", "[{}]"),
        ("mcp_servers", "[{}]"),
        ("functions", "[{}]"),
    ] {
        assert_eq!(written(&rest(name, value)).expect_err(name).field, name);
        assert!(written(&rest(name, "null")).is_ok());
    }
    for tier in ["\"flex\"", "\"priority\"", "\"scale\"", "1"] {
        let request = Request { service_tier: Some(Raw(tier.as_bytes())), ..Request::default() };
        assert_eq!(written(&request).expect_err(tier).field, "service_tier");
    }
    let tier = Request { service_tier: Some(Raw(b"\"default\"")), ..Request::default() };
    assert_eq!(sent(&tier)["service_tier"], "standard_only");
}

#[test]
fn what_the_model_cannot_see_is_refused() {
    let with =
        |kind| Request { turns: vec![turn(Role::User, vec![part(kind)])], ..Request::default() };
    let base64 = |media_type: &str| Source::Base64 {
        media_type: Text::of(media_type),
        data: Text::of("AA"),
    };
    let media = |source| Media { source, detail: None, name: None };
    for kind in [
        Content::Image(media(base64("image/tiff"))),
        Content::Image(media(Source::File(Text::of("file-1")))),
        Content::Document(media(base64("text/html"))),
        Content::Document(media(Source::File(Text::of("file-1")))),
    ] {
        let field = written(&with(kind.clone())).expect_err("no such thing").field;
        assert_eq!(field, "messages[3].content[1]", "{kind:?}");
    }
    let broken = call("c", "f", Input::Quoted(Text::of("{oops")));
    let request =
        Request { turns: vec![turn(Role::Assistant, vec![broken])], ..Request::default() };
    // It is shown as the text that it is, and listed; nothing more is lost by it.
    let field = "messages[3].tool_calls[1].function.arguments";
    let (body, dropped, _) = written(&request).expect("lenient");
    assert_eq!(body["messages"][0]["content"][0]["input"], json!({"input": "{oops"}));
    assert_eq!(dropped, [field]);
    let strict = ask::write(&request, &TARGET, &mut Losses::new(true), &mut Vec::new());
    assert_eq!(strict.expect_err("no object").field, field);
}

/// Texts with all that JSON has to escape.
fn plain() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z\\\\\"\n]{1,20}"].prop_map(|text| format!("x{text}"))
}

fn block(of_user: bool) -> BoxedStrategy<Value> {
    let text = (plain(), any::<bool>()).prop_map(|(text, cached)| {
        let mut block = json!({"type": "text", "text": text});
        if cached {
            block["cache_control"] = json!({"type": "ephemeral"});
        }
        block
    });
    if of_user {
        let image = "[A-Za-z0-9]{0,9}".prop_map(|data| json!({"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": data}}));
        prop_oneof![text, image].boxed()
    } else {
        let thinking = (plain(), plain()).prop_map(|(text, signature)| json!({"type": "thinking", "thinking": text, "signature": signature}));
        let call = (plain(), plain()).prop_map(|(key, value)| json!({"type": "tool_use", "id": "id", "name": "f", "input": {key: value}}));
        prop_oneof![text, thinking, call].boxed()
    }
}

prop_compose! {
    fn body()(
        turns in prop::collection::vec((prop::collection::vec(block(true), 1..4), prop::collection::vec(block(false), 1..4)), 1..4),
        system in prop::option::of(plain()),
        stop in prop::collection::vec(plain(), 0..3),
        stream: bool,
        temperature in prop::option::of(prop::sample::select(vec!["0", "0.25", "1.0"])),
        tool in prop::option::of((plain(), any::<bool>())),
        choice in prop::sample::select(vec!["auto", "any", "none"]),
    ) -> Value {
        let said = |role: &str, content: Vec<Value>| json!({"role": role, "content": content});
        let messages: Vec<Value> = turns.into_iter().flat_map(|(user, model)| [said("user", user), said("assistant", model)]).collect();
        let mut body = json!({"max_tokens": 5, "messages": messages, "stream": stream, "stop_sequences": stop, "system": system});
        if let Some(temperature) = temperature {
            body["temperature"] = serde_json::from_str(temperature).expect("a number");
        }
        if let Some((description, strict)) = tool {
            body["tools"] = json!([{"name": "f", "description": description, "input_schema": {"type": "object"}, "strict": strict}]);
            body["tool_choice"] = json!({"type": choice});
        }
        body
    }
}

proptest! {
    #[test]
    fn a_request_survives_the_way_there_and_back(body in body()) {
        let text = body.to_string();
        let first = request::read(text.as_bytes()).expect("a request");
        let mut out = Vec::new();
        ask::write(&first, &TARGET, &mut Losses::new(true), &mut out).expect("nothing is lost");
        let again = request::read(&out).expect("a request");
        prop_assert_eq!(again.without_places(), first.clone().without_places());
        prop_assert_eq!(ask::version(&first) == "2023-06-01", body.get("temperature").is_some());
    }

    #[test]
    fn no_body_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), at in any::<usize>(), len in 0_usize..9) {
        let _ = request::read(&bytes);
        let mut broken = RICH.as_bytes().to_vec();
        let at = at % broken.len();
        broken.drain(at..(at + len).min(RICH.len()));
        if let Ok(request) = request::read(&broken) {
            let _ = ask::write(&request, &TARGET, &mut Losses::new(false), &mut Vec::new());
        }
    }
}
