//! Streams: what is read, what is written, however the bytes are cut, and that one undoes the other.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::base::limit::CALLS_HELD_BYTES_MAX;
use crate::dialect::anthropic::play::Writer;
use crate::dialect::anthropic::stream::Reader;
use crate::dialect::anthropic::{answer, failure};
use crate::dialect::canonical::answer::{Block, Stop};
use crate::dialect::canonical::event::{Event, Failure, Start};
use crate::dialect::canonical::style::{Memory, Style};
use crate::dialect::canonical::text::Text;
use crate::usage::count::Usage;
use crate::wire::sse::Decoder;

const MANIFEST: &str = include_str!("../../../tests/fixtures/manifest.json");

macro_rules! fixtures {
    ($($name:literal)*) => {
        &[$(($name, include_bytes!(concat!("../../../tests/fixtures/", $name)))),*]
    };
}

const STREAMS: &[(&str, &[u8])] = fixtures! { "anthropic_stream_text.sse" "anthropic_stream_thinking.sse" "anthropic_stream_tools.sse" };

const WHOLE: &[u8] = include_bytes!("../../../tests/fixtures/anthropic_message_nonstream.json");

fn manifest(name: &str) -> Value {
    let all: Value = serde_json::from_str(MANIFEST).expect("JSON");
    all["fixtures"][name].clone()
}

fn own(event: &Event<'_>) -> Event<'static> {
    let text = |text: &Text<'_>| text.clone().into_owned();
    let maybe = |one: &Option<Text<'_>>| one.as_ref().map(text);
    match event {
        Event::Start(start) => Event::Start(Start {
            id: maybe(&start.id),
            model: maybe(&start.model),
            created: start.created,
            usage: start.usage,
        }),
        Event::Text(said) => Event::Text(text(said)),
        Event::Refusal(said) => Event::Refusal(text(said)),
        Event::Thinking(said) => Event::Thinking(text(said)),
        Event::Signature(said) => Event::Signature(text(said)),
        Event::Redacted(data) => Event::Redacted(text(data)),
        Event::CallStart { index, id, name, is_custom } => {
            let (id, name) = (text(id), text(name));
            Event::CallStart { index: *index, id, name, is_custom: *is_custom }
        }
        Event::CallInput { index, piece } => Event::CallInput { index: *index, piece: text(piece) },
        Event::Stop { stop, sequence } => Event::Stop { stop: *stop, sequence: maybe(sequence) },
        Event::Usage(usage) => Event::Usage(*usage),
        Event::Ping => Event::Ping,
        Event::Error(failure) => Event::Error(Failure {
            status: failure.status,
            kind: maybe(&failure.kind),
            code: maybe(&failure.code),
            message: maybe(&failure.message),
            param: maybe(&failure.param),
        }),
        Event::End => Event::End,
    }
}

/// The events of a stream that is cut at those places.
fn read(stream: &[u8], cuts: &[usize]) -> Vec<Event<'static>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    let (mut decoder, mut reader, mut events) = (Decoder::new(), Reader::new(), Vec::new());
    for pair in cuts.windows(2) {
        decoder.feed(&stream[pair[0]..pair[1]], |event| {
            reader.read(event.name, event.data, &mut |event| events.push(own(&event)));
        });
    }
    reader.finish(&mut |event| events.push(own(&event)));
    events
}

fn style() -> Style {
    Style { request_id: "r1".into(), model: "m".into(), ..Style::default() }
}

fn write(events: &[Event<'_>]) -> Vec<u8> {
    let (mut writer, mut out) = (Writer::new(style()), Vec::new());
    for event in events {
        writer.write(event, &mut out);
    }
    out
}

/// The data of the events of a written stream, each checked against its name.
fn data(stream: &[u8]) -> Vec<Value> {
    let (mut decoder, mut all) = (Decoder::new(), Vec::new());
    decoder.feed(stream, |event| {
        if event.has_data {
            let value: Value = serde_json::from_slice(event.data).expect("JSON");
            assert_eq!(value["type"].as_str().map(str::as_bytes), event.name);
            all.push(value);
        }
    });
    assert_eq!(decoder.open_start(), decoder.offset(), "whole events only");
    all
}

/// An answer put together as the clients' SDKs do, all their demands checked on the way.
fn accumulated(stream: &[u8]) -> Value {
    let mut all = data(stream).into_iter().filter(|event| event["type"] != "ping");
    let mut message = all.next().expect("an event")["message"].clone();
    let mut open: Option<String> = None;
    let mut has_ended = false;
    for event in all {
        assert!(!has_ended, "nothing follows the end");
        let blocks = message["content"].as_array_mut().expect("content");
        match event["type"].as_str().expect("a type") {
            "content_block_start" => {
                assert!(open.replace(String::new()).is_none(), "one block at a time");
                assert_eq!(event["index"], blocks.len());
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                assert_eq!(event["index"], blocks.len() - 1);
                let json = open.as_mut().expect("an open block");
                let block = blocks.last_mut().expect("a block");
                let delta = event["delta"].as_object().expect("a delta");
                for (key, value) in delta.iter().filter(|(key, _)| *key != "type") {
                    let piece = value.as_str().expect("a string");
                    match key.as_str() {
                        "partial_json" => json.push_str(piece),
                        "signature" => block["signature"] = json!(piece),
                        _ => {
                            let before = block[key].as_str().expect("text");
                            block[key] = json!(format!("{before}{piece}"));
                        }
                    }
                }
            }
            "content_block_stop" => {
                assert_eq!(event["index"], blocks.len() - 1);
                let input = open.take().expect("an open block");
                let block = blocks.last_mut().expect("a block");
                if block["type"] == "tool_use" {
                    block["input"] = serde_json::from_str(&input).expect("whole input");
                }
            }
            "message_delta" => {
                assert!(open.is_none());
                for (key, value) in event["delta"].as_object().expect("a delta") {
                    message[key] = value.clone();
                }
                message["usage"] = event["usage"].clone();
            }
            "message_stop" => has_ended = true,
            other => panic!("{other}"),
        }
    }
    assert!(has_ended, "a whole stream");
    message
}

#[test]
fn fixtures_say_what_their_manifest_says() {
    for (name, stream) in STREAMS {
        let truth = manifest(name);
        let written = accumulated(&write(&read(stream, &[])));
        let of = |kind: &str, key: &str| -> String {
            let blocks = written["content"].as_array().expect("content");
            let of_kind = blocks.iter().filter(|block| block["type"] == kind);
            of_kind.filter_map(|block| block[key].as_str()).collect()
        };
        assert_eq!(json!(of("text", "text")), truth["text"], "{name}");
        assert_eq!(of("thinking", "thinking"), truth["reasoning"].as_str().unwrap_or_default());
        assert_eq!(of("thinking", "signature"), truth["signature"].as_str().unwrap_or_default());
        assert_eq!(written["stop_reason"], truth["finish"]);
        let calls: Vec<Value> = written["content"]
            .as_array()
            .expect("content")
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .map(|block| json!({"id": block["id"], "input": block["input"], "name": block["name"]}))
            .collect();
        assert_eq!(calls, truth["tool_calls"].as_array().cloned().unwrap_or_default());
        let usage = read(stream, &[]).into_iter().rev().find_map(|event| match event {
            Event::Usage(usage) => Some(usage),
            _ => None,
        });
        counts(&usage.expect("usage"), &truth["usage"]);
    }
    let whole = answer::read(WHOLE).expect("an answer");
    assert_eq!(whole.blocks, [Block::Text(Text::of("51"))]);
    counts(&whole.usage.expect("usage"), &manifest("anthropic_message_nonstream.json")["usage"]);
}

fn counts(usage: &Usage, truth: &Value) {
    assert_eq!(json!(usage.input), truth["input_plain"]);
    assert_eq!(json!(usage.cache_read), truth["cache_read"]);
    assert_eq!(json!(usage.cache_write), truth["cache_write_5m"]);
    assert_eq!(json!(usage.cache_write_1h), truth["cache_write_1h"]);
    assert_eq!(json!(usage.output), truth["output"]);
    assert_eq!(json!(usage.reasoning), truth["reasoning_within_output"]);
}

#[test]
fn fixtures_of_errors_are_read() {
    let body = |fixture: &[u8]| {
        let fixture: Value = serde_json::from_slice(fixture).expect("JSON");
        fixture["body"].to_string()
    };
    let overloaded = body(include_bytes!("../../../tests/fixtures/errors/anthropic_529.json"));
    let failed = failure::read(529, overloaded.as_bytes());
    assert_eq!(failed.kind, Some(Text::of("overloaded_error")));
    assert_eq!(failed.message, Some(Text::of("Overloaded")));
    let spent = body(include_bytes!("../../../tests/fixtures/errors/anthropic_429_spend.json"));
    let failed = failure::read(429, spent.as_bytes());
    assert_eq!(failed.code, Some(Text::of("enforced_spend_limit_reached")));
}

#[test]
fn a_stream_reads_the_same_wherever_it_is_cut() {
    for (name, stream) in STREAMS {
        let whole = read(stream, &[]);
        let every_byte: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(read(stream, &every_byte), whole, "{name}");
        for cut in 0..stream.len() {
            assert_eq!(read(stream, &[cut]), whole, "{name} at {cut}");
            let front = read(&stream[..cut], &[]);
            assert!(whole.starts_with(&front) && !front.contains(&Event::End), "{name} at {cut}");
        }
    }
}

#[test]
fn what_is_written_is_read_again() {
    for (name, stream) in STREAMS {
        let first = read(stream, &[]);
        let second = read(&write(&first), &[]);
        let third = read(&write(&second), &[]);
        assert_eq!(second, third, "{name}");
        // An empty input is spelled out, and nothing else is new.
        let spelled = |event: &&Event<'_>| !matches!(event, Event::CallInput { index: 1, .. });
        let said: Vec<_> = first.iter().filter(|event| **event != Event::Ping).collect();
        let again: Vec<_> =
            second.iter().filter(|event| **event != Event::Ping).filter(spelled).collect();
        let mut said = said;
        let stop =
            said.iter().position(|event| matches!(event, Event::Stop { .. })).expect("a stop");
        let usage = said.iter().position(|event| matches!(event, Event::Usage(_))).expect("usage");
        assert!(usage < stop);
        assert_eq!(again.len(), said.len(), "{name}");
        said.retain(|event| !matches!(event, Event::Start(_)));
        assert!(said.iter().all(|event| again.contains(event)), "{name}");
    }
}

fn text(said: &str) -> Event<'static> {
    Event::Text(Text::of(said))
}

fn call(index: usize, name: &str) -> Event<'static> {
    let id = Text::of(&format!("id{index}"));
    Event::CallStart { index, id, name: Text::of(name), is_custom: false }
}

fn input(index: usize, piece: &str) -> Event<'static> {
    Event::CallInput { index, piece: Text::of(piece) }
}

fn start() -> Event<'static> {
    Event::Start(Start::default())
}

fn stop(stop: Stop) -> Event<'static> {
    Event::Stop { stop, sequence: None }
}

#[test]
fn mixed_calls_come_one_after_the_other() {
    let events = [
        start(),
        text("a"),
        call(0, "f"),
        call(1, "g"),
        input(1, "{\"b\":"),
        input(0, "{\"a\":"),
        text("late"),
        input(1, "2}"),
        call(2, "h"),
        input(0, "\"}\"}"),
        input(2, "{"),
        input(2, "}"),
        text("!"),
        stop(Stop::End),
        Event::Usage(Usage { input: 5, output: 7, ..Usage::default() }),
        Event::End,
    ];
    let message = accumulated(&write(&events));
    let tool =
        |id, name, input| json!({"type": "tool_use", "id": id, "name": name, "input": input});
    let content = json!([
        {"type": "text", "text": "a"},
        tool("id0", "f", json!({"a": "}"})),
        tool("id1", "g", json!({"b": 2})),
        {"type": "text", "text": "late"},
        tool("id2", "h", json!({})),
        {"type": "text", "text": "!"},
    ]);
    assert_eq!(message["content"], content);
    assert_eq!((&message["id"], &message["model"]), (&json!("msg_r1"), &json!("m")));
    assert_eq!(message["stop_reason"], "tool_use");
    assert_eq!(
        (&message["usage"]["input_tokens"], &message["usage"]["output_tokens"]),
        (&json!(5), &json!(7))
    );
}

#[test]
fn calls_in_order_do_not_wait() {
    let (mut writer, mut out) = (Writer::new(style()), Vec::new());
    for event in [start(), call(0, "f"), input(0, "{\"a\":1}")] {
        writer.write(&event, &mut out);
    }
    out.clear();
    writer.write(&call(1, "g"), &mut out);
    let kinds: Vec<Value> = data(&out).iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["content_block_stop", "content_block_start"]);
    out.clear();
    writer.write(&input(1, "{"), &mut out);
    assert_eq!(data(&out)[0]["index"], 1);
    // The reason of the end waits for the usage.
    writer.write(&input(1, "}"), &mut out);
    out.clear();
    writer.write(&stop(Stop::Tools), &mut out);
    writer.write(&Event::Usage(Usage::default()), &mut out);
    assert_eq!(data(&out).len(), 1, "the block ends");
    out.clear();
    writer.write(&Event::End, &mut out);
    assert_eq!(data(&out).len(), 2);
    out.clear();
    writer.write(&text("more"), &mut out);
    assert!(out.is_empty());
}

#[test]
fn thoughts_that_nobody_signed_are_marked_and_known_again() {
    let signed = [
        start(),
        Event::Thinking(Text::of("a")),
        Event::Signature(Text::of("s1")),
        Event::Signature(Text::of("s2")),
        Event::Thinking(Text::of("b")),
        Event::Redacted(Text::of("r")),
        Event::Thinking(Text::of("c")),
        text("x"),
        stop(Stop::End),
        Event::End,
    ];
    let stream = write(&signed);
    let message = accumulated(&stream);
    let thought =
        |text, signature| json!({"type": "thinking", "thinking": text, "signature": signature});
    let content = json!([
        thought("a", "s1"),
        thought("", "s2"),
        thought("b", "weir-unsigned"),
        {"type": "redacted_thinking", "data": "r"},
        thought("c", "weir-unsigned"),
        {"type": "text", "text": "x"},
    ]);
    assert_eq!(message["content"], content);
    let signatures =
        read(&stream, &[]).into_iter().filter(|event| matches!(event, Event::Signature(_)));
    assert_eq!(signatures.count(), 2);
}

#[test]
fn names_and_free_text_are_put_back() {
    let mut memory = Memory::default();
    memory.alias(&Text::of("short"), &Text::of("a.long.name"));
    let style = Style { memory: std::sync::Arc::new(memory), ..style() };
    let (mut writer, mut out) = (Writer::new(style), Vec::new());
    let custom = |index| Event::CallStart {
        index,
        id: Text::default(),
        name: Text::of("short"),
        is_custom: true,
    };
    for event in [start(), custom(0), input(0, "a\"\n"), input(0, "é"), custom(1), Event::End] {
        writer.write(&event, &mut out);
    }
    let message = accumulated(&out);
    let tool = |id, input| json!({"type": "tool_use", "id": id, "name": "a.long.name", "input": {"input": input}});
    assert_eq!(message["content"], json!([tool("toolu_r1_0", "a\"\né"), tool("toolu_r1_1", "")]));
}

#[test]
fn signs_of_life_and_errors_have_their_own_forms() {
    let failed = Event::Error(Failure {
        status: Some(529),
        message: Some(Text::of("busy")),
        ..Failure::default()
    });
    let stream = write(&[Event::Ping, start(), Event::Ping, failed, text("lost"), Event::End]);
    assert!(stream.starts_with(b": ping\n\nevent: message_start\n"));
    let all = data(&stream);
    assert_eq!(all.len(), 3);
    assert_eq!(all[1], json!({"type": "ping"}));
    assert_eq!(all[2]["error"], json!({"type": "overloaded_error", "message": "busy"}));
    let Some(Event::Error(failure)) = read(&stream, &[]).pop() else { panic!("no error") };
    assert_eq!((failure.status, failure.message), (Some(529), Some(Text::of("busy"))));
}

#[test]
fn too_much_that_waits_is_an_error() {
    let mut events = vec![start(), call(0, "f"), call(1, "g")];
    let piece = "x".repeat(CALLS_HELD_BYTES_MAX / 4);
    events.extend((0..5).map(|_| input(1, &piece)));
    events.push(Event::End);
    let all = data(&write(&events));
    assert_eq!(all.last().expect("events")["type"], "error");
}

fn sse(events: &[Value]) -> Vec<u8> {
    let of = |event: &Value| {
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type"))
    };
    events.iter().map(of).collect::<String>().into_bytes()
}

#[test]
fn odd_streams_are_understood() {
    let stream = sse(&[
        json!({"type": "ping"}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "server_tool_use", "id": "s", "name": "web_search"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "something_new", "text": "x"}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "at once"}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {"a": "b"}}}),
        json!({"type": "content_block_stop", "index": 2}),
        json!({"type": "message_delta", "delta": {"stop_reason": "pause_turn"}, "usage": {"output_tokens": 3}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
        json!({"type": "ping"}),
    ]);
    let usage = |output| Event::Usage(Usage { output, ..Usage::default() });
    let expected = [
        Event::Ping,
        start(),
        text("at once"),
        Event::CallStart { index: 0, id: Text::of("t"), name: Text::of("f"), is_custom: false },
        input(0, "{\"a\":\"b\"}"),
        usage(3),
        stop(Stop::Pause),
        usage(4),
        Event::End,
    ];
    assert_eq!(read(&stream, &[]), expected);
}

#[test]
fn a_broken_event_ends_the_stream() {
    let events =
        read(b"event: ping\ndata: {\"type\":\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n", &[]);
    let [Event::Error(failure)] = &*events else { panic!("{events:?}") };
    assert_eq!(failure.status, Some(502));
    let error = sse(&[
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "m", "details": null}}),
        json!({"type": "message_stop"}),
    ]);
    let events = read(&error, &[]);
    let [Event::Error(failure)] = &*events else { panic!("{events:?}") };
    assert_eq!((failure.status, &failure.kind), (Some(529), &Some(Text::of("overloaded_error"))));
}

/// The events of an answer in any mixture that readers may give.
fn mixture() -> impl Strategy<Value = Vec<Event<'static>>> {
    let call = (any::<String>(), any::<bool>(), any::<usize>());
    let said = prop_oneof![
        any::<String>().prop_map(|said| Event::Text(Text::of(&said))),
        any::<String>().prop_map(|said| Event::Refusal(Text::of(&said))),
        any::<String>().prop_map(|said| Event::Thinking(Text::of(&said))),
        "[a-z]{1,3}".prop_map(|said| Event::Signature(Text::of(&said))),
        Just(Event::Ping),
        Just(Event::Usage(Usage { output: 1, ..Usage::default() })),
    ];
    (prop::collection::vec(call, 0..4), prop::collection::vec((said, any::<prop::sample::Index>()), 0..9)).prop_map(
        |(calls, said)| {
            let mut events = Vec::new();
            for (index, (value, is_empty, cut)) in calls.iter().enumerate() {
                let whole = if *is_empty { String::new() } else { json!({"k": value}).to_string() };
                let cut = (0..=cut % (whole.len() + 1)).rev().find(|&cut| whole.is_char_boundary(cut)).unwrap_or(0);
                let pieces = [call_of(index), input(index, &whole[..cut]), input(index, &whole[cut..])];
                // Each call's own events stay in order, and calls begin in order.
                let mut from = if index == 0 { 0 } else {
                    events.iter().position(|event| matches!(event, Event::CallStart { index: one, .. } if *one == index - 1)).map_or(0, |at| at + 1)
                };
                for piece in pieces {
                    let at = from + (events.len() - from) * (index + 1) % (events.len() - from + 1);
                    events.insert(at, piece);
                    from = at + 1;
                }
            }
            for (event, at) in said {
                events.insert(at.index(events.len() + 1), event);
            }
            events.insert(0, start());
            events.extend([stop(Stop::End), Event::End]);
            events
        },
    )
}

fn call_of(index: usize) -> Event<'static> {
    call(index, "f")
}

proptest! {
    #[test]
    fn any_mixture_becomes_a_stream_that_clients_take(events in mixture()) {
        let message = accumulated(&write(&events));
        let blocks = message["content"].as_array().expect("content");
        let joined = |kind: &str, key: &str| -> String {
            let of_kind = blocks.iter().filter(|block| block["type"] == kind);
            of_kind.filter_map(|block| block[key].as_str()).collect()
        };
        let mut said = (String::new(), String::new());
        let mut inputs: Vec<String> = Vec::new();
        for event in &events {
            match event {
                Event::Text(text) | Event::Refusal(text) => said.0 += &text.plain().expect("text"),
                Event::Thinking(text) => said.1 += &text.plain().expect("text"),
                Event::CallStart { .. } => inputs.push(String::new()),
                Event::CallInput { index, piece } => inputs[*index] += &piece.plain().expect("text"),
                _ => {}
            }
        }
        prop_assert_eq!(joined("text", "text"), said.0);
        prop_assert_eq!(joined("thinking", "thinking"), said.1);
        let calls: Vec<&Value> = blocks.iter().filter(|block| block["type"] == "tool_use").collect();
        prop_assert_eq!(calls.len(), inputs.len());
        for (n, (call, input)) in calls.iter().zip(&inputs).enumerate() {
            let id = format!("id{n}");
            prop_assert_eq!(call["id"].as_str(), Some(id.as_str()));
            let input = if input.is_empty() { "{}" } else { input };
            let input: Value = serde_json::from_str(input).expect("JSON");
            prop_assert_eq!(&call["input"], &input);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        name in prop::sample::select(vec!["message_start", "content_block_delta", "message_delta", "error", "x"]),
        at in any::<prop::sample::Index>(),
        len in 0_usize..7,
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut reader = Reader::new();
        reader.read(Some(name.as_bytes()), &bytes, &mut |_| {});
        reader.finish(&mut |_| {});
        answer::read(&bytes);
        failure::read(500, &bytes);
        for (_, stream) in STREAMS {
            let mut broken = stream.to_vec();
            let at = at.index(broken.len());
            broken.drain(at..(at + len).min(stream.len()));
            write(&read(&broken, &[]));
        }
    }
}
