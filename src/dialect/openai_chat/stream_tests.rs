//! Streams of Chat Completions: every fixture of this dialect against its manifest, whole and cut at
//! every byte; the traps that no fixture holds; and what was written read again.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::base::limit::{SIGNED_THOUGHT_BYTES_MAX, STREAMED_CALLS_MAX};
use crate::dialect::canonical::answer::Stop;
use crate::dialect::canonical::event::{Event, Failure, Start};
use crate::dialect::canonical::style::{Memory, Style};
use crate::dialect::canonical::text::Text;
use crate::dialect::openai_chat::play::Writer;
use crate::dialect::openai_chat::stream::Reader;
use crate::usage::count::Usage;
use crate::wire::sse::Decoder;

const MANIFEST: &str = include_str!("../../../tests/fixtures/manifest.json");

macro_rules! fixtures {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../../tests/fixtures/", $name)).as_slice())),*]
    };
}

const FIXTURES: [(&str, &[u8]); 8] = fixtures![
    "deepseek_stream.sse",
    "ollama_stream.sse",
    "openai_chat_stream_nousage.sse",
    "openai_chat_stream_tools.sse",
    "openai_chat_stream_truncated.sse",
    "openai_chat_stream_usage.sse",
    "openrouter_stream_comments.sse",
    "vllm_continuous_usage.sse",
];

const BROKEN: &[u8] = include_bytes!("../../../tests/fixtures/openrouter_midstream_error.sse");

/// The events of a stream that comes in chunks of that many bytes.
fn events(stream: &[u8], chunk: usize) -> Vec<Event<'static>> {
    let mut all = Vec::new();
    let (mut decoder, mut reader) = (Decoder::new(), Reader::new());
    for bytes in stream.chunks(chunk.max(1)) {
        decoder.feed(bytes, |event| {
            if event.has_data {
                reader.read(event.name, event.data, &mut |event| all.push(owned(event)));
            }
        });
    }
    reader.finish(&mut |event| all.push(owned(event)));
    all
}

fn owned(event: Event<'_>) -> Event<'static> {
    let free = |text: Option<Text<'_>>| text.map(Text::into_owned);
    match event {
        Event::Start(Start { id, model, created, usage }) => {
            Event::Start(Start { id: free(id), model: free(model), created, usage })
        }
        Event::Text(text) => Event::Text(text.into_owned()),
        Event::Refusal(text) => Event::Refusal(text.into_owned()),
        Event::Thinking(text) => Event::Thinking(text.into_owned()),
        Event::Signature(text) => Event::Signature(text.into_owned()),
        Event::Redacted(text) => Event::Redacted(text.into_owned()),
        Event::CallStart { index, id, name, is_custom } => {
            let (id, name) = (id.into_owned(), name.into_owned());
            Event::CallStart { index, id, name, is_custom }
        }
        Event::CallInput { index, piece } => Event::CallInput { index, piece: piece.into_owned() },
        Event::Stop { stop, sequence } => Event::Stop { stop, sequence: free(sequence) },
        Event::Usage(usage) => Event::Usage(usage),
        Event::Ping => Event::Ping,
        Event::Error(Failure { status, kind, code, message, param }) => Event::Error(Failure {
            status,
            kind: free(kind),
            code: free(code),
            message: free(message),
            param: free(param),
        }),
        Event::End => Event::End,
    }
}

/// What a stream comes to.
#[derive(Debug, Default, PartialEq)]
struct Told {
    text: String,
    thinking: String,
    signatures: Vec<String>,
    /// Id, name, input.
    calls: Vec<[String; 3]>,
    stop: Option<Stop>,
    usage: Option<Usage>,
    error: Option<String>,
    has_ended: bool,
}

/// Tells a stream, and holds it to the rules of the neutral form.
fn told(events: &[Event<'_>]) -> Told {
    let plain = |text: &Text<'_>| text.plain().expect("text").into_owned();
    let mut told = Told::default();
    for (at, event) in events.iter().enumerate() {
        let may_be_first = matches!(event, Event::Start(_) | Event::Ping | Event::Error(_));
        assert!(at > 0 || may_be_first, "{events:?}");
        assert!(!told.has_ended && told.error.is_none(), "something behind the end: {events:?}");
        match event {
            Event::Start(_) => assert_eq!(at, 0),
            Event::Text(text) | Event::Refusal(text) => told.text += &plain(text),
            Event::Thinking(text) => told.thinking += &plain(text),
            Event::Signature(text) | Event::Redacted(text) => told.signatures.push(plain(text)),
            Event::CallStart { index, id, name, .. } => {
                assert_eq!(*index, told.calls.len());
                told.calls.push([plain(id), plain(name), String::new()]);
            }
            Event::CallInput { index, piece } => {
                assert!(!piece.is_empty());
                told.calls[*index][2] += &plain(piece);
            }
            Event::Stop { stop, .. } => assert!(told.stop.replace(*stop).is_none()),
            Event::Usage(usage) => told.usage = Some(*usage),
            Event::Ping => {}
            Event::Error(failure) => {
                told.error = Some(failure.message.as_ref().map(plain).unwrap_or_default());
            }
            Event::End => told.has_ended = true,
        }
    }
    told
}

fn of_chunks(chunks: &[Value]) -> Told {
    let mut reader = Reader::new();
    let mut all = Vec::new();
    for chunk in chunks {
        reader.read(None, chunk.to_string().as_bytes(), &mut |event| all.push(owned(event)));
    }
    reader.read(None, b"[DONE]", &mut |event| all.push(owned(event)));
    told(&all)
}

fn delta(delta: &Value) -> Value {
    json!({"id": "x", "choices": [{"index": 0, "delta": delta}]})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn call(name: &str) -> Value {
    json!({"function": {"name": name, "arguments": "{}"}})
}

#[test]
fn fixtures_say_what_their_manifest_says() {
    let manifest: Value = serde_json::from_str(MANIFEST).unwrap();
    for (name, stream) in FIXTURES {
        let expected = &manifest["fixtures"][name];
        let told = told(&events(stream, usize::MAX));
        assert_eq!(told.text, expected["text"].as_str().unwrap_or_default(), "{name}");
        assert_eq!(told.thinking, expected["reasoning"].as_str().unwrap_or_default(), "{name}");
        for (at, call) in expected["tool_calls"].as_array().into_iter().flatten().enumerate() {
            let of = |key: &str| call[key].as_str().unwrap_or_default();
            assert_eq!(told.calls[at], [of("id"), of("name"), of("arguments")], "{name}");
        }
        let stop = match expected["finish"].as_str() {
            Some("stop") => Some(Stop::End),
            Some("length") => Some(Stop::Length),
            Some("tool_calls") => Some(Stop::Tools),
            _ => None,
        };
        let is_cut = name.contains("truncated");
        assert_eq!(told.stop, stop.filter(|_| !is_cut), "{name}");
        assert_eq!(told.has_ended, !is_cut, "{name}");
        let counts = told.usage.map(|usage| {
            json!([usage.input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning])
        });
        let of = |key: &str| expected["usage"][key].clone();
        let expected = expected["usage"].is_object().then(|| {
            json!([
                of("input_plain"),
                of("cache_read"),
                of("cache_write"),
                of("output"),
                of("reasoning_within_output")
            ])
        });
        assert_eq!(counts, expected, "{name}");
    }
}

#[test]
fn a_cut_anywhere_changes_nothing() {
    for (name, stream) in FIXTURES {
        let whole = events(stream, usize::MAX);
        for chunk in [1, 2, 3, 7, 64] {
            assert_eq!(events(stream, chunk), whole, "{name} in pieces of {chunk}");
        }
    }
}

#[test]
fn a_stream_that_breaks_off_has_no_end() {
    for (name, stream) in FIXTURES {
        let end = events(stream, usize::MAX);
        for cut in 0..stream.len() {
            let told = told(&events(&stream[..cut], usize::MAX));
            assert!(told.error.is_none(), "{name} cut at {cut}");
            assert!(told.stop.is_none() || end.contains(&Event::End), "{name} cut at {cut}");
            assert_eq!(told.has_ended, told.stop.is_some(), "{name} cut at {cut}");
        }
    }
}

#[test]
fn an_error_in_the_middle_ends_the_stream() {
    let broken = told(&events(BROKEN, usize::MAX));
    assert_eq!(broken.error.as_deref(), Some("Provider disconnected unexpectedly"));
    assert_eq!((broken.stop, broken.has_ended), (None, false));
    for chunk in [
        json!({"error": {"message": "m"}}),
        json!({"error": "m"}),
        json!({"object": "error", "message": "m"}),
        json!({"type": "error", "error": {"message": "m"}}),
        json!({"choices": [], "x_groq": {"error": "m"}}),
        json!({"choices": [{"index": 0, "delta": {}, "error": {"message": "m"}, "finish_reason": "error"}]}),
    ] {
        let told = of_chunks(&[delta(&json!({"content": "a"})), chunk.clone()]);
        assert_eq!((told.text.as_str(), told.error.as_deref()), ("a", Some("m")), "{chunk}");
    }
    let named = |name: Option<&[u8]>, data: &[u8]| {
        let mut all = Vec::new();
        Reader::new().read(name, data, &mut |event| all.push(owned(event)));
        told(&all).error
    };
    assert_eq!(named(Some(b"error"), br#"{"message":"m"}"#).as_deref(), Some("m"));
    assert!(named(None, b"{").is_some_and(|message| message.contains("not JSON")));
    assert!(of_chunks(&[finish("error")]).error.is_some());
    assert!(of_chunks(&[finish("MALFORMED_FUNCTION_CALL")]).error.is_some());
    let fine = json!({"error": null, "choices": [{"delta": {"content": "a"}, "error": null}]});
    assert_eq!(of_chunks(&[fine]).error, None);
}

#[test]
fn chunks_without_choices_say_nothing_or_usage() {
    let azure = json!({"id": "", "model": "", "choices": [], "prompt_filter_results": [{}]});
    let first =
        json!({"id": "real", "model": "m", "created": 5, "choices": [{"delta": {"content": "a"}}]});
    let mut all = Vec::new();
    let mut reader = Reader::new();
    for chunk in [azure, first] {
        reader.read(None, chunk.to_string().as_bytes(), &mut |event| all.push(owned(event)));
    }
    let Event::Start(start) = &all[0] else { panic!("{all:?}") };
    assert_eq!((&start.id, start.created), (&Some(Text::of("real")), Some(5)));
    for usage in [
        json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}),
        json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}),
        json!({"choices": [], "x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}}),
        json!({"choices": [{"delta": {}, "usage": {"prompt_tokens": 3, "completion_tokens": 4}}]}),
        json!({"choices": [], "timings": {"prompt_n": 3, "predicted_n": 4}}),
    ] {
        let told = of_chunks(&[delta(&json!({"content": "a"})), finish("stop"), usage.clone()]);
        let counts = told.usage.map(|usage| (usage.input, usage.output));
        assert_eq!((counts, told.stop), (Some((3, 4)), Some(Stop::End)), "{usage}");
    }
}

#[test]
fn calls_are_told_apart_in_every_way() {
    let of = |calls: Value| delta(&json!({"tool_calls": calls}));
    let with = |mut call: Value, more: Value| {
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call
    };
    let two = |chunks: &[Value]| {
        let told = of_chunks(&[chunks, &[finish("stop")]].concat());
        assert_eq!(told.stop, Some(Stop::Tools), "{chunks:?}");
        told.calls.into_iter().map(|[_, name, input]| [name, input]).collect::<Vec<_>>()
    };
    let expected = [["f", "{}"], ["g", "{}"]];
    // Whole, without an index; by id, without one; by id under one index; with nothing at all.
    assert_eq!(
        two(&[of(json!([
            with(call("f"), json!({"id": "a"})),
            with(call("g"), json!({"id": "b"}))
        ]))]),
        expected
    );
    let same = |id: &str, name: &str| with(call(name), json!({"id": id, "index": 0}));
    assert_eq!(two(&[of(json!([same("a", "f"), same("b", "g")]))]), expected);
    assert_eq!(two(&[of(json!([call("f")])), of(json!([call("g")]))]), expected);
    // Interleaved.
    let piece = |index: u64, text: &str| json!([{"index": index, "function": {"arguments": text}}]);
    let open = |index: u64, name: &str| json!([{"index": index, "id": name, "function": {"name": name, "arguments": ""}}]);
    let chunks =
        [open(0, "f"), open(1, "g"), piece(1, "{"), piece(0, "{"), piece(1, "}"), piece(0, "}")];
    assert_eq!(two(&chunks.map(of)), expected);
    // The name behind the arguments; arguments as an object; the older form.
    let late = [
        json!([{"index": 0, "id": "a", "function": {"arguments": "{"}}]),
        json!([{"index": 0, "function": {"name": "f", "arguments": "}"}}]),
    ];
    assert_eq!(two(&late.map(of)), [["f", "{}"]]);
    let object = json!([{"id": "a", "function": {"name": "f", "arguments": {"x": "\""}}}]);
    assert_eq!(two(&[of(object)]), [["f", r#"{"x":"\""}"#]]);
    let old = |value: Value| delta(&json!({"function_call": value}));
    assert_eq!(
        two(&[old(json!({"name": "f", "arguments": ""})), old(json!({"arguments": "{}"}))]),
        [["f", "{}"]]
    );
}

#[test]
fn calls_have_their_bounds() {
    let many: Vec<Value> = (0..=STREAMED_CALLS_MAX)
        .map(|at| json!({"index": at, "id": at.to_string(), "function": {"name": "f"}}))
        .collect();
    let told = of_chunks(&[delta(&json!({"tool_calls": many}))]);
    assert!(told.error.is_some_and(|message| message.contains("too many")));
    let nameless = json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]});
    assert!(of_chunks(&[delta(&nameless)]).error.is_some());
}

#[test]
fn thoughts_by_all_their_names() {
    let signed = json!({"type": "reasoning.text", "text": "hm", "signature": "S", "format": "anthropic-claude-v1"});
    for one in [
        json!({"reasoning_content": "hm"}),
        json!({"reasoning": "hm"}),
        json!({"reasoning": "hm", "reasoning_content": "hm"}),
        json!({"reasoning": "hm", "reasoning_details": [signed]}),
        json!({"reasoning_details": [signed]}),
        json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
    ] {
        let told = of_chunks(&[delta(&one), finish("stop")]);
        assert_eq!(told.thinking, "hm", "{one}");
        let has_details = one.get("reasoning_details").is_some();
        assert_eq!(told.signatures.len(), usize::from(has_details), "{one}");
    }
}

#[test]
fn an_end_without_a_reason() {
    let said = delta(&json!({"content": "a"}));
    let silent = json!({"choices": [{"delta": {"content": "a"}, "finish_reason": ""}]});
    assert_eq!(of_chunks(std::slice::from_ref(&said)).stop, None);
    assert_eq!(of_chunks(std::slice::from_ref(&silent)).stop, Some(Stop::End));
    let called = json!({"choices": [{"delta": {"tool_calls": [call("f")]}, "finish_reason": ""}]});
    assert_eq!(of_chunks(&[called]).stop, Some(Stop::Tools));
    assert!(!told(&events(format!("data: {silent}\n\n").as_bytes(), 9)).has_ended);
    let bare = format!("data: {said}\n\ndata: {}\n\n", finish("length"));
    assert_eq!(told(&events(bare.as_bytes(), 9)).stop, Some(Stop::Length));
}

fn style() -> Style {
    let mut memory = Memory::default();
    memory.alias(&Text::of("short"), &Text::of("a.long.name"));
    memory.custom(&Text::of("patch"));
    Style {
        request_id: "r1".into(),
        created: 7,
        model: "m".into(),
        stream_usage: true,
        memory: Arc::new(memory),
    }
}

fn played(events: &[Event<'_>], style: Style) -> String {
    let (mut writer, mut out) = (Writer::new(style), Vec::new());
    for event in events {
        writer.write(event, &mut out);
    }
    String::from_utf8(out).unwrap()
}

/// The chunks of a written stream.
fn chunks(stream: &str) -> Vec<Value> {
    let lines = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.filter(|line| *line != "[DONE]").map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn call_start<'a>(index: usize, id: &'a str, name: &'a str) -> Event<'a> {
    let (id, name) = (Text::written(id.as_bytes()), Text::written(name.as_bytes()));
    Event::CallStart { index, id, name, is_custom: false }
}

fn call_input(index: usize, piece: &str) -> Event<'_> {
    Event::CallInput { index, piece: Text::written(piece.as_bytes()) }
}

#[test]
fn fixtures_survive_being_written_and_read() {
    for (name, stream) in FIXTURES {
        let first = events(stream, usize::MAX);
        let second = told(&events(played(&first, style()).as_bytes(), 5));
        let mut first = told(&first);
        // What the provider charges us is not the client's business.
        first.usage = first.usage.map(|usage| Usage { provider_cost: None, ..usage });
        assert_eq!(second, first, "{name}");
    }
}

#[test]
fn a_stream_in_all_its_parts() {
    let usage = Usage { input: 1, output: 2, ..Usage::default() };
    let stream = played(
        &[
            Event::Start(Start::default()),
            Event::Ping,
            Event::Thinking(Text::of("h")),
            Event::Thinking(Text::of("m")),
            Event::Signature(Text::of("S")),
            Event::Redacted(Text::of("R")),
            Event::Text(Text::of("a\n")),
            call_start(0, "", "short"),
            call_start(1, "c", "patch"),
            call_input(1, r#"{\"input\":\"x"#),
            call_input(1, r#"y\"}"#),
            Event::Stop { stop: Stop::Tools, sequence: None },
            Event::Usage(usage),
            Event::End,
            Event::Text(Text::of("never")),
        ],
        style(),
    );
    assert!(stream.contains("\n\n: ping\n\ndata: ") && stream.ends_with("data: [DONE]\n\n"));
    assert!(!stream.contains("never"));
    let all = chunks(&stream);
    let deltas: Vec<Value> = all.iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect();
    assert_eq!(
        deltas,
        [
            json!({"role": "assistant", "content": ""}),
            json!({"reasoning_content": "h"}),
            json!({"reasoning_content": "m"}),
            json!({"reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "S", "format": "anthropic-claude-v1", "index": 0}]}),
            json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "R", "format": "anthropic-claude-v1", "index": 1}]}),
            json!({"content": "a\n"}),
            json!({"tool_calls": [{"index": 0, "id": "call_r1_0", "type": "function", "function": {"name": "a.long.name", "arguments": ""}}]}),
            json!({"tool_calls": [{"index": 1, "id": "c", "type": "custom", "custom": {"name": "patch", "input": ""}}]}),
            json!({"tool_calls": [{"index": 1, "custom": {"input": "x"}}]}),
            json!({"tool_calls": [{"index": 1, "custom": {"input": "y"}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
            json!({}),
            Value::Null,
        ]
    );
    for chunk in &all {
        assert_eq!(
            (&chunk["id"], &chunk["created"], &chunk["model"]),
            (&json!("chatcmpl-r1"), &json!(7), &json!("m"))
        );
        assert_eq!(chunk["object"], "chat.completion.chunk");
    }
    let [.., last, count] = all.as_slice() else { panic!("{stream}") };
    assert_eq!(last["choices"][0]["finish_reason"], "tool_calls");
    assert!(last["usage"].is_null() && last.get("usage").is_some());
    assert_eq!((&count["choices"], &count["usage"]["total_tokens"]), (&json!([]), &json!(3)));
}

#[test]
fn usage_comes_only_when_asked_for() {
    let events = [
        Event::Start(Start::default()),
        Event::Stop { stop: Stop::End, sequence: None },
        Event::Usage(Usage::default()),
        Event::End,
    ];
    let stream = played(&events, Style::default());
    assert!(!stream.contains("usage") && chunks(&stream).len() == 2);
}

#[test]
fn nothing_is_invented_for_a_stream_that_fails() {
    let start = Event::Start(Start::default());
    let stop = Event::Stop { stop: Stop::End, sequence: None };
    let cut = played(&[start.clone(), Event::Text(Text::of("a")), stop.clone()], style());
    let said: String = chunks(&cut)
        .iter()
        .filter_map(|it| it["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(said, "a");
    assert!(chunks(&cut).iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()));
    assert!(!cut.contains("[DONE]"));
    let failure = Failure { status: Some(529), message: Some(Text::of("m")), ..Failure::default() };
    let failed = played(&[start, stop, Event::Error(failure), Event::End], style());
    let last = chunks(&failed).pop().unwrap();
    assert_eq!(last["error"]["code"], "server_is_overloaded");
    assert!(!failed.contains("[DONE]"));
}

#[test]
fn a_long_thought_has_its_signature_alone() {
    let piece = Text::of(&"x".repeat(1_000));
    let mut events = vec![Event::Start(Start::default())];
    events.extend((0..=SIGNED_THOUGHT_BYTES_MAX / 1_000).map(|_| Event::Thinking(piece.clone())));
    events.push(Event::Signature(Text::of("S")));
    let last = chunks(&played(&events, style())).pop().unwrap();
    let detail = &last["choices"][0]["delta"]["reasoning_details"][0];
    assert_eq!((&detail["text"], &detail["signature"]), (&json!(""), &json!("S")));
}

fn any_events() -> impl Strategy<Value = Vec<Event<'static>>> {
    let text = || "[a-zé\"\\\\\n]{1,8}".prop_map(|text| Text::of(&text));
    let one = prop_oneof![
        text().prop_map(Event::Text),
        text().prop_map(Event::Thinking),
        text().prop_map(Event::Redacted),
        (0usize..3, text()).prop_map(|(index, piece)| Event::CallInput { index, piece }),
        (0u64..1_000, 0u64..1_000).prop_map(|(input, output)| {
            Event::Usage(Usage { input, output, ..Usage::default() })
        }),
    ];
    prop::collection::vec(one, 0..12).prop_map(|said| {
        let names = ["f", "g", "h"];
        let calls =
            names.into_iter().enumerate().map(|(at, name)| owned(call_start(at, name, name)));
        let start = Event::Start(Start::default());
        let stop = Event::Stop { stop: Stop::Tools, sequence: None };
        let usage = Event::Usage(Usage { input: 1, output: 1, ..Usage::default() });
        let tail = [stop, usage, Event::End];
        [start].into_iter().chain(calls).chain(said).chain(tail).collect()
    })
}

proptest! {
    #[test]
    fn what_was_written_reads_the_same(events_in in any_events(), chunk in 1usize..50) {
        let stream = played(&events_in, Style { stream_usage: true, ..Style::default() });
        let mut expected = told(&events_in);
        // A call without input is written as one without arguments.
        for [_, _, input] in &mut expected.calls {
            if input.is_empty() {
                *input = "{}".into();
            }
        }
        prop_assert_eq!(told(&events(stream.as_bytes(), chunk)), expected);
    }

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200), chunk in 1usize..20) {
        events(&bytes, chunk);
    }

    #[test]
    fn any_json_is_read(text in r#"(\{|\}|\[|\]|:|,|"|choices|delta|content|tool_calls|function|name|7| ){0,30}"#) {
        let whole = format!(r#"{{"choices":[{{"delta":{text}}}]}}"#);
        for data in [text, whole] {
            Reader::new().read(None, data.as_bytes(), &mut |_| {});
        }
    }
}
