//! Streams and answers of every dialect, cut anywhere: what comes out is the redaction of the whole text, and
//! what is clean comes out as it was.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::document::document;
use super::tally::CANARY;
use super::*;
use crate::config::guards::Canary;
use crate::guard::detect::policy::Policy;
use crate::guard::detect::{self, Action, Detector};
use crate::guard::filter;
use crate::wire::sse::write_event;

const KEY: &str = "gsk_q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsTuEaKiXoBvQlMwYzCrDhSg";
const MARK: &str = "[REDACTED_API_KEY_GROQ_1]";
const SURFACES: [Surface; 3] = [Surface::Chat, Surface::Messages, Surface::Responses];

fn guards(policy: Policy) -> Guards {
    Guards { output: Some(Arc::new(policy)), ..Guards::default() }
}

fn terms(guards: Guards) -> Terms {
    let token = (guards.canary != Canary::Off).then(token);
    let canary = token.as_ref().map(guard::canary::Canary::new);
    Terms { guards: Arc::new(guards), canary, token, seam: Seam::default() }
}

fn token() -> Token {
    Token::derive(b"secret of the test", ("a", "b"), 1).unwrap()
}

fn redacting() -> Terms {
    terms(guards(Policy::default()))
}

/// What comes out of those pieces, and why it stopped.
fn flown(terms: Terms, surface: Surface, pieces: &[&[u8]]) -> (String, Option<Stop>) {
    let mut flow = Outflow::new(terms, surface);
    let mut out = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let passed = flow.feed(Bytes::copy_from_slice(piece), at + 1 == pieces.len());
        out.extend_from_slice(&passed.bytes);
        if let Some(stop) = passed.stop {
            out.extend_from_slice(&flow.closing(stop));
            return (String::from_utf8(out).unwrap(), Some(stop));
        }
    }
    (String::from_utf8(out).unwrap(), None)
}

/// A stream that says those pieces of a text, and calls a tool with those pieces of arguments.
fn stream(surface: Surface, text: &[String], arguments: &[String]) -> String {
    let events = match surface {
        Surface::Messages => messages(text, arguments),
        Surface::Responses => responses(text, arguments),
        _ => chat(text, arguments),
    };
    let mut out = Vec::new();
    for event in events {
        write_event(&mut out, event["type"].as_str(), event.to_string().as_bytes());
    }
    if surface == Surface::Chat {
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
    String::from_utf8(out).unwrap()
}

fn messages(text: &[String], arguments: &[String]) -> Vec<Value> {
    let start = |index: u32, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta = |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let stop = |index: u32| json!({"type": "content_block_stop", "index": index});
    let mut out = vec![
        json!({"type": "message_start", "message": {"id": "m", "content": []}}),
        start(0, json!({"type": "text", "text": ""})),
    ];
    out.extend(text.iter().map(|it| delta(0, json!({"type": "text_delta", "text": it}))));
    out.extend([
        stop(0),
        start(1, json!({"type": "tool_use", "id": "t", "name": "f", "input": {}})),
    ]);
    let call = |it: &String| delta(1, json!({"type": "input_json_delta", "partial_json": it}));
    out.extend(arguments.iter().map(call));
    let reason = json!({"stop_reason": "tool_use"});
    out.extend([
        stop(1),
        json!({"type": "message_delta", "delta": reason, "usage": {"output_tokens": 3}}),
        json!({"type": "message_stop"}),
    ]);
    out
}

fn responses(text: &[String], arguments: &[String]) -> Vec<Value> {
    let said = |kind: &str, name: &str, value: &str| {
        json!({"type": format!("response.output_text.{kind}"), "item_id": "i", "output_index": 0,
            "content_index": 0, name: value, "logprobs": []})
    };
    let called = |kind: &str, name: &str, value: &str| {
        json!({"type": format!("response.function_call_arguments.{kind}"), "item_id": "c",
            "output_index": 1, name: value})
    };
    let first = json!({"id": "r", "instructions": "be kind", "output": []});
    let mut out = vec![json!({"type": "response.created", "response": first})];
    out.extend(text.iter().map(|it| said("delta", "delta", it)));
    let (text, whole) = (text.concat(), arguments.concat());
    out.push(said("done", "text", &text));
    out.extend(arguments.iter().map(|it| called("delta", "delta", it)));
    out.push(called("done", "arguments", &whole));
    let output = json!([{"type": "message", "id": "i", "content": [{"type": "output_text", "text": text}]},
        {"type": "function_call", "id": "c", "name": "f", "arguments": whole}]);
    out.push(json!({"type": "response.completed", "response": {"id": "r", "output": output}}));
    out
}

fn chat(text: &[String], arguments: &[String]) -> Vec<Value> {
    let chunk = |delta: Value, reason: Value| {
        json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
    };
    let more = |delta: Value| chunk(delta, Value::Null);
    let mut out = vec![more(json!({"role": "assistant", "content": ""}))];
    out.extend(text.iter().map(|it| more(json!({"content": it}))));
    out.push(more(json!({"tool_calls": [{"index": 0, "id": "c", "type": "function",
        "function": {"name": "f", "arguments": ""}}]})));
    let call =
        |it: &String| more(json!({"tool_calls": [{"index": 0, "function": {"arguments": it}}]}));
    out.extend(arguments.iter().map(call));
    out.push(chunk(json!({}), json!("tool_calls")));
    out.push(json!({"id": "x", "choices": [], "usage": {"prompt_tokens": 1}}));
    out
}

/// The data of every event.
fn events(stream: &str) -> Vec<Value> {
    let mut out = Vec::new();
    let mut decoder = Decoder::new();
    decoder.feed(stream.as_bytes(), |event| {
        if event.has_data && event.data != b"[DONE]" {
            out.push(serde_json::from_slice(event.data).unwrap());
        }
    });
    assert_eq!(decoder.open_start(), stream.len() as u64, "an event is not whole");
    out
}

/// The text and the arguments that a client puts together.
fn heard(surface: Surface, stream: &str) -> (String, String) {
    let (mut text, mut arguments) = (String::new(), String::new());
    let add = |to: &mut String, value: &Value| to.push_str(value.as_str().unwrap_or_default());
    for event in events(stream) {
        match surface {
            Surface::Messages => {
                add(&mut text, &event["delta"]["text"]);
                add(&mut arguments, &event["delta"]["partial_json"]);
            }
            Surface::Responses => match event["type"].as_str().unwrap() {
                "response.output_text.delta" => add(&mut text, &event["delta"]),
                "response.function_call_arguments.delta" => add(&mut arguments, &event["delta"]),
                "response.output_text.done" => assert_eq!(event["text"], *text),
                "response.completed" => {
                    assert_eq!(event["response"]["output"][0]["content"][0]["text"], *text);
                    assert_eq!(event["response"]["output"][1]["arguments"], *arguments);
                }
                _ => {}
            },
            _ => {
                let delta = &event["choices"][0]["delta"];
                add(&mut text, &delta["content"]);
                add(&mut arguments, &delta["tool_calls"][0]["function"]["arguments"]);
            }
        }
    }
    (text, arguments)
}

/// An event of that dialect that says a word.
fn said(surface: Surface, text: &str) -> Value {
    match surface {
        Surface::Messages => {
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
        }
        Surface::Responses => {
            json!({"type": "response.output_text.delta", "output_index": 0, "delta": text})
        }
        _ => json!({"choices": [{"index": 0, "delta": {"content": text}}]}),
    }
}

#[test]
fn what_is_no_object_is_searched_in_every_dialect() {
    for surface in SURFACES {
        let word = said(surface, "word");
        for (told, shown) in [
            (
                format!("data: Internal error, key {KEY}\n\n"),
                format!("data: Internal error, key {MARK}\n\n"),
            ),
            (format!("data: [\"{KEY}\"]\n\n"), format!("data: [\"{MARK}\"]\n\n")),
            (format!("data: \"{KEY}\"\r\n\r\n"), format!("data: \"{MARK}\"\r\n\r\n")),
            (format!("data: {{\"a\": {KEY}\n\n"), format!("data: {{\"a\": {MARK}\n\n")),
            (format!("data: {{}} {KEY}\n\n"), format!("data: {{}} {MARK}\n\n")),
            (format!("data: oops\ndata: {KEY}\n\n"), format!("data: oops\ndata: {MARK}\n\n")),
            (format!(": key={KEY}\n"), format!(": key={MARK}\n")),
            (format!(": key={KEY}\n\n"), format!(": key={MARK}\n\n")),
            (format!("id: {KEY}\r\n\r\n"), format!("id: {MARK}\r\n\r\n")),
            (format!("database: {KEY}\n\n"), format!("database: {MARK}\n\n")),
            (
                format!(": {KEY}\nid: {KEY}\ndata: {word}\n\n"),
                format!(": {MARK}\nid: {MARK}\ndata: {word}\n\n"),
            ),
            (format!("event: {KEY}\ndata: {word}\n\n"), format!("event: {MARK}\ndata: {word}\n\n")),
            (format!("data: {word}\nx: {KEY}\n\n"), format!("data: {word}\nx: {MARK}\n\n")),
            (format!("data:  {{\"x\":\"{KEY}\"}}\n\n"), format!("data:  {{\"x\":\"{MARK}\"}}\n\n")),
        ] {
            let told = format!("data: {word}\n\n{told}data: {word}\n\n");
            let shown = format!("data: {word}\n\n{shown}data: {word}\n\n");
            let cuts = [told.len(), told.len() / 2, 3, 1];
            for cut in cuts {
                let pieces: Vec<&[u8]> = told.as_bytes().chunks(cut).collect();
                assert_eq!(flown(redacting(), surface, &pieces), (shown.clone(), None), "{told}");
            }
            let blocking = terms(guards(Policy::all(Action::Block)));
            let (out, stop) = flown(blocking, surface, &[told.as_bytes()]);
            assert_eq!(stop, Some(Stop::Found), "{told}");
            assert!(!out.contains("q7Zk"), "{out}");
        }
    }
}

#[test]
fn what_is_held_is_taken_from_the_data_and_not_from_a_comment_that_says_the_same() {
    for surface in SURFACES {
        let word = said(surface, "gsk_").to_string();
        for before in [format!(": {word}\n"), format!("id: {word}\r\n"), format!("x:{word}\r")] {
            let told = format!("{before}data: {word}\n\n");
            let (out, stop) = flown(redacting(), surface, &[told.as_bytes()]);
            assert_eq!((out.starts_with(&before), stop), (true, None), "{out}");
            assert_eq!(heard(surface, &out).0, "gsk_", "{out}");
        }
    }
}

#[test]
fn what_is_held_to_the_end_follows_an_event_that_lacks_its_blank_line() {
    for surface in SURFACES {
        for end in ["", "\n", "\r", "\r\n", "\n:", "\n: a\n"] {
            let told = format!("data: {}{end}", said(surface, "gsk_"));
            let (out, stop) = flown(redacting(), surface, &[told.as_bytes()]);
            assert_eq!((heard(surface, &out).0, stop), ("gsk_".to_owned(), None), "{out}");
        }
    }
}

#[test]
fn the_canary_beside_the_data_ends_the_stream() {
    let canary = || terms(Guards { canary: Canary::Block, ..Guards::default() });
    for surface in SURFACES {
        for told in [format!(": {}\n", token().as_str()), format!("data: {}\n\n", token().as_str())]
        {
            assert_eq!(flown(canary(), surface, &[told.as_bytes()]).1, Some(Stop::Canary));
        }
    }
}

#[test]
fn signs_of_life_pass_as_they_are_and_at_once() {
    for surface in SURFACES {
        let mut flow = Outflow::new(redacting(), surface);
        for piece in [
            ": ping\n\n",
            ":\n\n",
            ": OPENROUTER PROCESSING\n\n",
            ": ping - 2026-11-21 23:18:00.123456+00:00\r\n\r\n",
            "event: ping\ndata: {\"type\": \"ping\"}\n\n",
            "id: 17\nretry: 3000\n\n",
            "data:\n\n",
            "\n",
            "data: [DONE]\n\n",
        ] {
            let bytes = Bytes::from_static(piece.as_bytes());
            let passed = flow.feed(bytes.clone(), false);
            assert_eq!((&passed.bytes, passed.stop), (&bytes, None), "{piece:?}");
            assert_eq!(passed.bytes.as_ptr(), bytes.as_ptr(), "{piece:?} was copied");
        }
    }
}

#[test]
fn what_stands_beside_a_delta_is_searched_as_well() {
    let of = |surface, events: &[Value]| {
        let mut told = Vec::new();
        for event in events {
            write_event(&mut told, None, event.to_string().as_bytes());
        }
        let (out, stop) = flown(redacting(), surface, &[&told]);
        assert_eq!(stop, None);
        assert!(!out.contains("q7Zk"), "{out}");
        out
    };
    let delta = |more: Value| {
        let mut event = json!({"type": "response.mcp_call_arguments.delta", "output_index": 0});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    for more in [
        json!({"delta": {"k": KEY}}),
        json!({"delta": [KEY]}),
        json!({"delta": null, "text": KEY}),
        json!({"delta": "a", "text": KEY}),
        json!({"type": "response.new.delta", "words": {"of": KEY}}),
        json!({"type": "response.completed", "response": {"output": []}, "note": KEY}),
        json!({"type": "response.failed", "response": KEY}),
    ] {
        let out = of(Surface::Responses, &[delta(more.clone())]);
        assert!(out.contains("[REDACTED_API_KEY_GROQ_"), "{more}: {out}");
    }
    for event in [
        json!({"type": "ping", "note": KEY}),
        json!({"type": "content_block_stop", "index": 0, "note": KEY}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}, "note": KEY}),
        json!({"type": "content_block_delta", "index": 0, "delta": KEY}),
    ] {
        of(Surface::Messages, &[event]);
    }
    // What is held goes out in an event that is made of the one that it came in.
    let mut held = said(Surface::Responses, "a gsk_");
    held["note"] = KEY.into();
    let out = of(Surface::Responses, &[held, said(Surface::Responses, "-")]);
    assert_eq!(heard(Surface::Responses, &out).0, "a gsk_-");
}

fn redacted(text: &str) -> String {
    let mut filter = filter::Filter::new(Arc::new(Policy::default()));
    let mut out = Vec::new();
    filter.feed(text.as_bytes(), &mut out);
    filter.finish(&mut out);
    String::from_utf8(out).unwrap()
}

fn pieces(text: &str, sizes: &[usize]) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let (mut out, mut at, mut sizes) = (Vec::new(), 0, sizes.iter().cycle());
    while at < letters.len() {
        let size = sizes.next().copied().unwrap_or(3).max(1);
        let end = letters.len().min(at + size);
        out.push(letters[at..end].iter().collect());
        at = end;
    }
    out
}

fn cut_at<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Words, quotes and secrets.
fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        5 => "[a-zA-Z0-9 .,\"\\\\\\né😀-]{1,9}",
        1 => Just(format!(" {KEY} ")),
        1 => Just(" 219-09-9999 ".to_owned()),
        1 => Just(" gsk_".to_owned()),
        1 => Just("4111 1111 1111 ".to_owned()),
    ];
    prop::collection::vec(word, 0..9).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_comes_out_is_the_redaction_of_the_whole(
        text in words(), value in words(),
        sizes in prop::collection::vec(1_usize..9, 1..5),
        cuts in prop::collection::vec(any::<usize>(), 0..30),
    ) {
        let arguments = json!({"q": value}).to_string();
        for surface in SURFACES {
            let stream = stream(surface, &pieces(&text, &sizes), &pieces(&arguments, &sizes));
            let (out, stop) = flown(redacting(), surface, &cut_at(stream.as_bytes(), &cuts));
            prop_assert_eq!(stop, None);
            let (said, called) = heard(surface, &out);
            prop_assert_eq!(&said, &redacted(&text));
            let called: Value = serde_json::from_str(&called).unwrap();
            prop_assert!(!called.to_string().contains(KEY));
            if redacted(&text) == text && redacted(&arguments) == arguments && !text.contains("gsk_")
                && !text.contains(char::is_numeric) && !arguments.contains(char::is_numeric) {
                prop_assert!(out == stream || !text.is_empty() || !value.is_empty());
            }
        }
    }

    #[test]
    fn any_bytes_are_answered(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        events in r#"((data: |event: |\{"choices":\[|"delta":|"index":1|\{|\}|\[|\]|,|"content":"x"|\n|"type":"content_block_delta")){0,60}"#,
        cuts in prop::collection::vec(any::<usize>(), 0..9),
    ) {
        for surface in SURFACES {
            for text in [&bytes[..], events.as_bytes()] {
                let mut flow = Outflow::new(redacting(), surface);
                for piece in cut_at(text, &cuts) {
                    flow.feed(Bytes::copy_from_slice(piece), false);
                }
                flow.feed(Bytes::new(), true);
            }
        }
    }
}

#[test]
fn clean_streams_stay_byte_for_byte_and_whole_chunks_are_not_copied() {
    let text = ["Hello ".to_owned(), "world, \"né\"\n".to_owned(), "done".to_owned()];
    let arguments = ["{\"path\":".to_owned(), "\"a b\"}".to_owned()];
    for surface in SURFACES {
        let stream = stream(surface, &text, &arguments);
        for size in 1..stream.len() {
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            assert_eq!(flown(redacting(), surface, &pieces).0, stream, "{surface:?} {size}");
        }
        let mut flow = Outflow::new(redacting(), surface);
        let bytes = Bytes::from(stream);
        let out = flow.feed(bytes.clone(), false).bytes;
        assert_eq!(out.as_ptr(), bytes.as_ptr());
    }
}

#[test]
fn fixtures_of_providers_stay_byte_for_byte() {
    let all: [(Surface, &[u8]); 2] = [
        (Surface::Chat, include_bytes!("../../../tests/fixtures/openai_chat_stream_usage.sse")),
        (Surface::Chat, include_bytes!("../../../tests/fixtures/openrouter_stream_comments.sse")),
    ];
    for (surface, bytes) in all {
        for size in [1, 7, 64, 1000] {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(flown(redacting(), surface, &pieces).0.as_bytes(), bytes);
        }
    }
}

#[test]
fn what_is_held_comes_before_the_end_of_its_field() {
    for surface in SURFACES {
        let stream = stream(surface, &["the prefix gsk_".to_owned()], &["{}".to_owned()]);
        let (out, _) = flown(redacting(), surface, &[stream.as_bytes()]);
        assert_eq!(heard(surface, &out).0, "the prefix gsk_", "{surface:?}");
        let end = match surface {
            Surface::Messages => "content_block_stop",
            Surface::Responses => "output_text.done",
            _ => "\"finish_reason\":\"tool_calls\"",
        };
        assert!(out.rfind("gsk_").is_some());
        let last_delta = out.find("gsk_").unwrap();
        assert!(last_delta < out.find(end).unwrap(), "{out}");
    }
}

#[test]
fn numbers_in_arguments_leave_json_behind() {
    let arguments = r#"{"card": 4111111111111111, "list": [4111111111111111], "text": "\"4111 1111 1111 1111\""}"#;
    for surface in SURFACES {
        for size in [1, 3, 200] {
            let stream = stream(surface, &[], &pieces(arguments, &[size]));
            let (out, _) = flown(redacting(), surface, &[stream.as_bytes()]);
            let (_, called) = heard(surface, &out);
            let called: Value = serde_json::from_str(&called).unwrap();
            assert!(called["card"].as_str().unwrap().starts_with("[REDACTED_"), "{called}");
            assert!(called["list"][0].as_str().unwrap().starts_with("[REDACTED_"), "{called}");
            assert!(!called.to_string().contains("4111"), "{called}");
        }
    }
}

#[test]
fn a_block_ends_the_stream_in_its_dialect() {
    let blocking =
        || terms(guards(Policy::default().with(&[(Detector::ApiKey, detect::Action::Block)])));
    for surface in SURFACES {
        for size in [1, 5, 500] {
            let text = pieces(&format!("Before it, {KEY} and after"), &[size]);
            let stream = stream(surface, &text, &[]);
            let (out, stop) = flown(blocking(), surface, &[stream.as_bytes()]);
            assert_eq!(stop, Some(Stop::Found));
            assert!(!out.contains("and after") && !out.contains("q7Zk"), "{out}");
            let events = events(&out);
            let last = &events[events.len() - 1];
            match surface {
                Surface::Messages => {
                    assert_eq!(last["error"]["details"]["error_code"], "output_blocked");
                    let types: Vec<&str> =
                        events.iter().map(|it| it["type"].as_str().unwrap()).collect();
                    assert!(
                        types.ends_with(&["content_block_stop", "message_delta", "error"]),
                        "{types:?}"
                    );
                }
                Surface::Responses => {
                    assert_eq!(events[events.len() - 2]["code"], "output_blocked");
                    assert_eq!(last["response"]["incomplete_details"]["reason"], "content_filter");
                }
                _ => {
                    assert_eq!(last["error"]["code"], "output_blocked");
                    let finish = &events[events.len() - 2];
                    assert_eq!(finish["choices"][0]["finish_reason"], "content_filter");
                    assert_eq!(finish["id"], "x");
                }
            }
        }
    }
}

#[test]
fn the_canary_is_found_split_and_dressed_up() {
    let token = token();
    let spaced: Vec<String> = token.as_str().chars().map(|c| format!("{c}\n")).collect();
    for told in [token.as_str().to_owned(), token.as_str().to_uppercase(), spaced.concat()] {
        for (canary, stopped) in [(Canary::Observe, None), (Canary::Block, Some(Stop::Canary))] {
            for surface in SURFACES {
                let stream = stream(surface, &pieces(&format!("It is {told} ok"), &[3]), &[]);
                let mut flow = Outflow::new(terms(Guards { canary, ..Guards::default() }), surface);
                let passed = flow.feed(Bytes::from(stream.clone()), true);
                assert_eq!(passed.stop, stopped);
                assert!(flow.canary_leaked());
                assert_eq!(flow.record().unwrap().rules, [CANARY]);
                if stopped.is_none() {
                    assert_eq!(passed.bytes, stream);
                }
            }
        }
    }
}

#[test]
fn a_canary_that_is_only_watched_hides_no_block() {
    let policy = || Policy::default().with(&[(Detector::ApiKey, detect::Action::Block)]);
    let told = format!("It is {} and {KEY} ok", token().as_str());
    for (canary, stop) in [(Canary::Observe, Stop::Found), (Canary::Block, Stop::Canary)] {
        let terms = || terms(Guards { canary, ..guards(policy()) });
        for surface in SURFACES {
            for size in [3, 500] {
                let stream = stream(surface, &pieces(&told, &[size]), &[]);
                let mut flow = Outflow::new(terms(), surface);
                let passed = flow.feed(Bytes::from(stream), true);
                assert_eq!((passed.stop, flow.canary_leaked()), (Some(stop), true), "{surface:?}");
            }
        }
        let body =
            json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": told}}]});
        let mut tally = Tally::default();
        let passed = document(&terms(), Surface::Chat, Bytes::from(body.to_string()), &mut tally);
        assert_eq!((passed.stop, tally.canary_leaked()), (Some(stop), true));
    }
}

#[test]
fn probabilities_go_where_text_goes() {
    let chunk = |text: &str, reason: Value| {
        json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason,
            "logprobs": {"content": [{"token": text, "logprob": -1}]}}]})
    };
    let mut bytes = Vec::new();
    for text in ["clean ", "gsk_q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5J", "d1Pf0GsTuEaKiXoBvQlMwYzCrDhSg", " end"]
    {
        write_event(&mut bytes, None, chunk(text, Value::Null).to_string().as_bytes());
    }
    let (out, _) = flown(redacting(), Surface::Chat, &[&bytes]);
    assert!(!out.contains("q7Zk") && !out.contains("GsTu"), "{out}");
    let events = events(&out);
    assert_eq!(events[0]["choices"][0]["logprobs"]["content"][0]["token"], "clean ");
    assert_eq!(events[1]["choices"][0]["logprobs"], Value::Null);
    assert_eq!(heard(Surface::Chat, &out).0, format!("clean {MARK} end"));
}

#[test]
fn whole_answers_are_searched_and_seals_left_alone() {
    let sealed = KEY.to_owned();
    let cases = [
        (
            Surface::Chat,
            json!({"id": "a", "choices": [{"index": 0, "message": {"role": "assistant", "content": format!("k {KEY}"),
            "reasoning_content": KEY, "refusal": null, "tool_calls": [{"id": "c", "function": {"name": "f",
            "arguments": json!({"k": KEY, "n": 4_111_111_111_111_111_u64}).to_string()}}]},
            "logprobs": {"content": [{"token": KEY}]}, "finish_reason": "stop"}], "usage": {}}),
        ),
        (
            Surface::Messages,
            json!({"id": "a", "content": [{"type": "thinking", "thinking": KEY, "signature": sealed},
            {"type": "text", "text": KEY}, {"type": "tool_use", "id": "t", "name": "f",
            "input": {"k": KEY, "n": 4_111_111_111_111_111_u64}}]}),
        ),
        (
            Surface::Responses,
            json!({"id": "a", "instructions": "mine", "output": [{"type": "reasoning",
            "encrypted_content": sealed, "summary": [{"type": "summary_text", "text": KEY}]},
            {"type": "message", "content": [{"type": "output_text", "text": KEY, "logprobs": [{"token": KEY}]}]},
            {"type": "function_call", "arguments": json!({"k": KEY}).to_string()}]}),
        ),
    ];
    for (surface, body) in cases {
        let mut tally = Tally::default();
        let passed = document(&redacting(), surface, Bytes::from(body.to_string()), &mut tally);
        let text = std::str::from_utf8(&passed.bytes).unwrap();
        let clean: Value = serde_json::from_str(text).unwrap();
        // What another provider has sealed stays; what is signed was changed, so nobody has signed it.
        let left = usize::from(surface == Surface::Responses);
        assert_eq!(text.matches(KEY).count(), left, "{clean}");
        if surface == Surface::Messages {
            assert_eq!(clean["content"][0]["signature"], "weir-unsigned");
        }
        assert!(!text.contains("4111111111111111"), "{clean}");
        if let Some(arguments) =
            clean["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].as_str()
        {
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            assert_eq!(arguments["k"], MARK);
        }
        assert!(tally.record().unwrap().redactions >= 3);
        let blocked = terms(guards(Policy::all(detect::Action::Block)));
        let passed = document(&blocked, surface, Bytes::from(body.to_string()), &mut tally);
        assert_eq!((passed.stop, passed.bytes.len()), (Some(Stop::Found), 0));
    }
}

#[test]
fn a_part_that_breaks_blocks_unless_it_may_not() {
    for (on_failure, stop) in [(OnFailure::Block, Some(Stop::Failed)), (OnFailure::Pass, None)] {
        let terms = || Terms {
            seam: Seam(Some("text")),
            ..terms(Guards { on_failure, ..guards(Policy::default()) })
        };
        let stream = stream(Surface::Chat, &["text".to_owned()], &[]);
        let mut flow = Outflow::new(terms(), Surface::Chat);
        let passed = flow.feed(Bytes::from(stream.clone()), false);
        assert_eq!(passed.stop, stop);
        assert_eq!(flow.record().unwrap().failures, 1);
        if stop.is_none() {
            assert_eq!(passed.bytes, stream);
            let more = Bytes::from_static(b"data: [DONE]\n\n");
            assert_eq!(flow.feed(more.clone(), true).bytes, more);
        }
        let mut tally = Tally::default();
        let body = Bytes::from(json!({"choices": [{"message": {"content": "text"}}]}).to_string());
        let passed = document(&terms(), Surface::Chat, body.clone(), &mut tally);
        assert_eq!((passed.stop, passed.bytes.is_empty()), (stop, stop.is_some()));
        let passed =
            document(&redacting(), Surface::Chat, Bytes::from_static(b"{\"choices\""), &mut tally);
        assert_eq!(passed.stop, Some(Stop::Failed));
    }
}

/// A stream of those events, one after another.
fn written(events: &[Value]) -> String {
    let mut out = Vec::new();
    for event in events {
        let name = event["type"].as_str();
        match event.as_str() {
            Some(bare) => write_event(&mut out, name, bare.as_bytes()),
            None => write_event(&mut out, name, event.to_string().as_bytes()),
        }
    }
    String::from_utf8(out).unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "as `json!` makes them")]
fn delta(index: u32, delta: Value, reason: Value) -> Value {
    json!({"choices": [{"index": index, "delta": delta, "finish_reason": reason}]})
}

#[test]
fn a_secret_in_the_last_words_ends_the_stream_as_one() {
    let policy = Policy::default().with(&[(Detector::ApiKey, Action::Block)]);
    let said = |text: &str| delta(0, json!({"content": text}), Value::Null);
    let finish = delta(0, json!({}), json!("stop"));
    for tail in [vec![json!("[DONE]")], vec![finish, json!("[DONE]")], vec![]] {
        let stream = written(&[&[said("it is "), said(KEY)][..], &tail].concat());
        let (out, stop) = flown(terms(guards(policy.clone())), Surface::Chat, &[stream.as_bytes()]);
        assert!(stop.is_some() && !out.contains(KEY), "{out}");
    }
}

#[test]
fn events_that_say_nothing_do_not_cut_a_secret_in_two() {
    let (first, last) = KEY.split_at(20);
    let chat = |text: &str| delta(0, json!({"content": text}), Value::Null);
    let between = ["", "x", r#"{"object":"ping"}"#, r#"{"choices":null}"#, r#"{"choices":[]}"#];
    for between in between {
        let stream = written(&[chat(first), json!(between), chat(last), json!("[DONE]")]);
        let (out, _) = flown(redacting(), Surface::Chat, &[stream.as_bytes()]);
        assert!(!out.contains(first) && out.contains(MARK), "{between}: {out}");
    }
    let said = |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    for between in [json!({"type": "news"}), json!({"type": "ping"}), json!({"x": 1})] {
        let stream = written(&[said(first), between, said(last)]);
        let (out, _) = flown(redacting(), Surface::Messages, &[stream.as_bytes()]);
        assert!(!out.contains(first) && out.contains(MARK), "{out}");
    }
}

#[test]
fn an_empty_reason_ends_nothing() {
    let chunk = |text: &str, reason: &str| delta(0, json!({"content": text}), json!(reason));
    let (first, last) = KEY.split_at(20);
    let stream = written(&[chunk(first, ""), chunk(last, ""), chunk("", "stop")]);
    let (out, _) = flown(redacting(), Surface::Chat, &[stream.as_bytes()]);
    assert!(!out.contains(first) && out.contains(MARK), "{out}");
    let mut flow = Outflow::new(redacting(), Surface::Chat);
    flow.feed(Bytes::from(written(&[chunk("a", "")])), false);
    let closing = flow.closing(Stop::Found);
    assert_eq!(events(str::from_utf8(&closing).unwrap())[0]["choices"][0]["index"], 0);
}

#[test]
fn what_is_whole_is_not_gone_on_with() {
    let cited = |title: &str| {
        let annotation =
            json!({"type": "url_citation", "url_citation": {"title": title, "content": title}});
        delta(0, json!({"annotations": [annotation]}), Value::Null)
    };
    let stream = written(&[cited("Windows 11"), cited("Windows 11"), cited("4111 1111")]);
    assert_eq!(flown(redacting(), Surface::Chat, &[stream.as_bytes()]).0, stream);
}

#[test]
fn choices_that_finish_together_end_no_other() {
    let (first, last) = KEY.split_at(20);
    let ended = |index: u32| json!({"index": index, "delta": {}, "finish_reason": "stop"});
    let stream = written(&[
        delta(2, json!({"content": first}), Value::Null),
        json!({"choices": [ended(0), ended(1)]}),
        delta(2, json!({"content": last}), Value::Null),
    ]);
    let (out, _) = flown(redacting(), Surface::Chat, &[stream.as_bytes()]);
    assert!(!out.contains(first) && out.contains(MARK), "{out}");
}

#[test]
fn reasoning_that_is_broken_by_words_or_calls_is_one_text() {
    let (first, last) = KEY.split_at(20);
    let thought = |text: &str| delta(0, json!({"reasoning_content": text}), Value::Null);
    let calls = json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]});
    for between in [json!({"content": "words"}), calls] {
        let between = delta(0, between, Value::Null);
        let end = delta(0, json!({}), json!("stop"));
        let stream = written(&[thought(first), between.clone(), thought(last), end.clone()]);
        let (out, _) = flown(redacting(), Surface::Chat, &[stream.as_bytes()]);
        assert!(!out.contains(first) && !out.contains(last) && out.contains(MARK), "{out}");
        let stream = written(&[thought("= gsk_"), between, end]);
        let (out, _) = flown(redacting(), Surface::Chat, &[stream.as_bytes()]);
        let said = |event: &Value| {
            let text = &event["choices"][0]["delta"]["reasoning_content"];
            text.as_str().unwrap_or_default().to_owned()
        };
        let heard: Vec<String> = events(&out).iter().map(said).collect();
        assert_eq!(heard.concat(), "= gsk_");
        assert!(out.rfind("gsk_").unwrap() < out.find("\"stop\"").unwrap(), "{out}");
    }
}

/// A stream whose first `start` pieces of text stand in the event that begins it, said twice for Responses:
/// by the item and by the part.
fn begun(surface: Surface, (start, more): (&str, &[String]), kind: &str) -> String {
    let mut out = Vec::new();
    match surface {
        Surface::Messages => {
            let member = if kind == "reasoning" { "thinking" } else { "text" };
            out.push(json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": member, member: start}}));
            out.extend(more.iter().map(|it| {
                json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": format!("{member}_delta"), member: it}})
            }));
            out.push(json!({"type": "content_block_stop", "index": 0}));
            out.push(json!({"type": "message_stop"}));
        }
        Surface::Responses => {
            let (part, number) = if kind == "reasoning" {
                ("summary_text", "summary_index")
            } else {
                ("output_text", "content_index")
            };
            let events = if kind == "reasoning" { "reasoning_summary_text" } else { "output_text" };
            let added = if kind == "reasoning" { "reasoning_summary_part" } else { "content_part" };
            let parts = json!([{"type": part, "text": start}]);
            let list = if kind == "reasoning" { "summary" } else { "content" };
            let item = if kind == "reasoning" { "reasoning" } else { "message" };
            out.push(json!({"type": "response.output_item.added", "output_index": 0,
                "item": {"id": "i", "type": item, list: parts}}));
            out.push(json!({"type": format!("response.{added}.added"), "item_id": "i",
                "output_index": 0, number: 0, "part": {"type": part, "text": start}}));
            out.extend(more.iter().map(|it| {
                json!({"type": format!("response.{events}.delta"), "item_id": "i",
                "output_index": 0, number: 0, "delta": it})
            }));
            out.push(json!({"type": "response.output_item.done", "output_index": 0,
                "item": {"id": "i", "type": item}}));
            out.push(json!({"type": "response.completed", "response": {"id": "r", "output": []}}));
        }
        _ => {
            let member = if kind == "reasoning" { "reasoning_content" } else { "content" };
            out.push(delta(0, json!({"role": "assistant", member: start}), Value::Null));
            out.extend(more.iter().map(|it| delta(0, json!({member: it}), Value::Null)));
            out.push(delta(0, json!({}), json!("stop")));
        }
    }
    written(&out)
}

/// What a client puts together of a stream that `begun` has made; the part counts, not the item.
fn gathered(surface: Surface, stream: &str) -> String {
    let mut heard = String::new();
    let mut add = |value: &Value| heard.push_str(value.as_str().unwrap_or_default());
    for event in events(stream) {
        match surface {
            Surface::Messages => {
                for from in ["content_block", "delta"] {
                    add(&event[from]["text"]);
                    add(&event[from]["thinking"]);
                }
            }
            Surface::Responses => {
                add(&event["part"]["text"]);
                add(&event["delta"]);
            }
            _ => {
                add(&event["choices"][0]["delta"]["content"]);
                add(&event["choices"][0]["delta"]["reasoning_content"]);
            }
        }
    }
    heard
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_text_that_begins_in_its_first_event_is_one_text(
        text in words(), at in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(1_usize..9, 1..5),
        cuts in prop::collection::vec(any::<usize>(), 0..30),
    ) {
        let letters: Vec<char> = text.chars().collect();
        let (start, rest) = letters.split_at(at.index(letters.len() + 1));
        let (start, rest): (String, String) = (start.iter().collect(), rest.iter().collect());
        for surface in SURFACES {
            for kind in ["text", "reasoning"] {
                let stream = begun(surface, (&start, &pieces(&rest, &sizes)), kind);
                let (out, stop) = flown(redacting(), surface, &cut_at(stream.as_bytes(), &cuts));
                prop_assert_eq!(stop, None);
                prop_assert_eq!(gathered(surface, &out), redacted(&text), "{:?} {}", surface, out);
                let starts = out.matches("content_block_start").count();
                prop_assert_eq!(starts, stream.matches("content_block_start").count());
            }
        }
    }

    #[test]
    fn a_message_that_is_said_again_and_again_is_one_text(
        text in words(), sizes in prop::collection::vec(1_usize..9, 1..5),
        cuts in prop::collection::vec(any::<usize>(), 0..30), has_end in any::<bool>(),
    ) {
        let (mut all, mut so_far) = (Vec::new(), String::new());
        for piece in pieces(&text, &sizes) {
            so_far.push_str(&piece);
            all.push(json!({"choices": [{"index": 0, "delta": {"content": piece},
                "message": {"role": "assistant", "content": so_far}, "finish_reason": null}]}));
        }
        if has_end {
            all.push(json!({"choices": [{"index": 0, "delta": {"role": "assistant"},
                "message": {"role": "assistant", "content": so_far}, "finish_reason": "stop"}]}));
        }
        let stream = written(&all);
        let (out, stop) = flown(redacting(), Surface::Chat, &cut_at(stream.as_bytes(), &cuts));
        prop_assert_eq!(stop, None);
        let whole = redacted(&text);
        let (mut heard, mut last) = (String::new(), String::new());
        for event in events(&out) {
            let choice = &event["choices"][0];
            heard.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            if let Some(text) = choice["message"]["content"].as_str() {
                prop_assert!(whole.starts_with(text), "{} of {}", text, whole);
                text.clone_into(&mut last);
            }
        }
        prop_assert_eq!(&heard, &whole);
        prop_assert_eq!(&last, &whole);
    }
}

#[test]
fn what_calls_begin_with_is_the_beginning_of_their_arguments() {
    let (first, last) = KEY.split_at(20);
    let (first, last) = (format!("{{\"k\":\"{first}"), format!("{last}\"}}"));
    let more = json!({"type": "response.function_call_arguments.delta", "item_id": "c",
        "output_index": 3, "delta": last});
    let stream = written(&[
        json!({"type": "response.output_item.added", "output_index": 3, "sequence_number": 7,
            "item": {"id": "c", "type": "function_call", "name": "f", "arguments": first}}),
        more,
        json!({"type": "response.output_item.done", "output_index": 3, "item": {"id": "c"}}),
    ]);
    let (out, _) = flown(redacting(), Surface::Responses, &[stream.as_bytes()]);
    assert!(!out.contains("q7Zk") && out.contains(MARK), "{out}");
    let broken_off = stream.split("event: response.function_call_arguments").next().unwrap();
    let (out, _) = flown(redacting(), Surface::Responses, &[broken_off.as_bytes()]);
    let events = events(&out);
    let wanted = json!({"type": "response.function_call_arguments.delta", "sequence_number": 7,
        "item_id": "c", "output_index": 3, "delta": KEY.split_at(20).0});
    assert_eq!(events[1], wanted);
}

#[test]
fn thoughts_that_are_changed_lose_their_signature_and_others_keep_it() {
    let started = json!({"type": "content_block_start", "index": 0,
        "content_block": {"type": "thinking", "thinking": "", "signature": ""}});
    let more = |delta: Value| json!({"type": "content_block_delta", "index": 0, "delta": delta});
    for (thought, signature) in [(KEY, "weir-unsigned"), ("it is 42", "Ab9/"), ("gsk_", "Ab9/")] {
        let (first, last) = thought.split_at(3);
        let stream = written(&[
            started.clone(),
            more(json!({"type": "thinking_delta", "thinking": first})),
            more(json!({"type": "thinking_delta", "thinking": last})),
            more(json!({"type": "signature_delta", "signature": "Ab9/"})),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "thinking", "thinking": "next"}}),
            more(json!({"type": "signature_delta", "signature": "Cd8/"})),
        ]);
        let (out, _) = flown(redacting(), Surface::Messages, &[stream.as_bytes()]);
        let signatures: Vec<Value> = events(&out)
            .iter()
            .map(|event| event["delta"]["signature"].clone())
            .filter(|it| !it.is_null())
            .collect();
        assert_eq!(signatures, [json!(signature), json!("Cd8/")], "{out}");
        assert!(out.find("thinking_delta") < out.find("signature_delta"));
        let at_once = json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "thinking", "thinking": thought, "signature": "Ab9/"}});
        let (out, _) = flown(redacting(), Surface::Messages, &[written(&[at_once]).as_bytes()]);
        assert_eq!(events(&out)[0]["content_block"]["signature"], signature);
    }
}

#[test]
fn what_was_held_when_a_part_breaks_goes_out_where_failures_pass() {
    for (on_failure, stop) in [(OnFailure::Block, Some(Stop::Failed)), (OnFailure::Pass, None)] {
        let said = |text: &str| delta(0, json!({"content": text}), Value::Null);
        for (breaks_at, second) in [
            ("breaks", vec![said("breaks")]),
            ("breaks", vec![said("two"), said("breaks")]),
            ("", vec![]),
        ] {
            let terms = Terms {
                seam: Seam(Some(breaks_at)),
                ..terms(Guards { on_failure, ..guards(Policy::default()) })
            };
            let mut flow = Outflow::new(terms, Surface::Chat);
            let passed = flow.feed(Bytes::from(written(&[said("gsk_one")])), false);
            assert_eq!(heard(Surface::Chat, str::from_utf8(&passed.bytes).unwrap()).0, "");
            let stream = written(&[&second[..], &[said(" end")]].concat());
            let all = if second.is_empty() { String::new() } else { stream };
            let passed = flow.feed(Bytes::from(all), second.is_empty());
            assert_eq!(passed.stop, stop);
            let out = heard(Surface::Chat, str::from_utf8(&passed.bytes).unwrap()).0;
            let wanted = match second.len() {
                0 => "gsk_one",
                1 => "gsk_onebreaks end",
                _ => "gsk_onetwobreaks end",
            };
            assert_eq!(out, if stop.is_none() { wanted } else { "" });
        }
    }
}

#[test]
fn a_part_that_breaks_within_an_event_says_no_text_of_it_twice() {
    let on_failure = OnFailure::Pass;
    let terms = || Terms {
        seam: Seam(Some("breaks")),
        ..terms(Guards { on_failure, ..guards(Policy::default()) })
    };
    let both = |first: &str, second: &str| {
        delta(0, json!({"content": first, "reasoning_content": second}), Value::Null)
    };
    let content = |out: &str| heard(Surface::Chat, out).0;
    // Held before, held by the event that breaks, held before and let go by it.
    for (before, first) in [("one ", "gsk_two"), ("gsk_one", "two"), ("gsk_one", " two")] {
        let stream = written(&[both(before, "fine "), both(first, "breaks"), both(" end", "")]);
        let (out, stop) = flown(terms(), Surface::Chat, &[stream.as_bytes()]);
        assert_eq!((content(&out), stop), (format!("{before}{first} end"), None), "{out}");
    }
}

#[test]
fn a_block_that_is_begun_twice_loses_nothing_of_the_first() {
    let start = |text: &str| {
        json!({"type": "content_block_start", "index": 0,
        "content_block": {"type": "text", "text": text}})
    };
    let more = |text: &str| {
        json!({"type": "content_block_delta", "index": 0,
        "delta": {"type": "text_delta", "text": text}})
    };
    let stop = json!({"type": "content_block_stop", "index": 0});
    let (head, tail) = KEY.split_at(20);
    for (all, wanted) in [
        (vec![start("x gsk_"), start("y gsk_"), stop.clone()], "x gsk_y gsk_".to_owned()),
        (vec![start("gsk_"), start("gsk_"), stop.clone()], "gsk_gsk_".to_owned()),
        (vec![start("x gsk_"), start(""), more("y "), stop.clone()], "x gsk_y ".to_owned()),
        (vec![start(""), more("sk"), start("y "), stop.clone()], "sky ".to_owned()),
        (vec![start("gsk_"), start(head), more(tail), stop], format!("gsk_{MARK}")),
    ] {
        let (out, _) = flown(redacting(), Surface::Messages, &[written(&all).as_bytes()]);
        assert_eq!(gathered(Surface::Messages, &out), wanted, "{out}");
        // What was held stands before the second beginning.
        let second = out.rfind("content_block_start").unwrap();
        assert!(out.find("delta").is_some_and(|at| at < second), "{out}");
    }
    let part = |text: &str| {
        json!({"type": "response.content_part.added", "item_id": "i",
        "output_index": 0, "content_index": 0, "part": {"type": "output_text", "text": text}})
    };
    let all = [part("x gsk_"), part("y gsk_"), json!({"type": "response.completed"})];
    let (out, _) = flown(redacting(), Surface::Responses, &[written(&all).as_bytes()]);
    assert_eq!(gathered(Surface::Responses, &out), "x gsk_y gsk_", "{out}");
}

#[test]
fn details_of_reasoning_that_are_changed_lose_their_signature() {
    let detail = |index: u32, member: &str, text: &str| json!({"type": "reasoning.text", "index": index, member: text});
    let chunk = |details: Value| delta(0, json!({"reasoning_details": details}), Value::Null);
    let (head, tail) = KEY.split_at(20);
    let stream = written(&[
        chunk(json!([detail(0, "text", head)])),
        chunk(json!([detail(0, "text", tail)])),
        chunk(json!([detail(0, "signature", "Ab9/")])),
        chunk(json!([detail(1, "text", "it is sk-")])),
        chunk(json!([detail(1, "signature", "Cd8/")])),
        delta(0, json!({"content": "done"}), json!("stop")),
    ]);
    let (out, _) = flown(redacting(), Surface::Chat, &[stream.as_bytes()]);
    let all = events(&out);
    let details = all.iter().map(|it| it["choices"][0]["delta"]["reasoning_details"][0].clone());
    let signatures: Vec<Value> =
        details.clone().map(|it| it["signature"].clone()).filter(|it| !it.is_null()).collect();
    assert_eq!(signatures, [json!("weir-unsigned"), json!("Cd8/")], "{out}");
    let text: String = details.map(|it| it["text"].as_str().unwrap_or("").to_owned()).collect();
    assert_eq!(text, format!("{MARK}it is sk-"), "{out}");
    assert!(out.rfind("sk-").unwrap() < out.find("Cd8/").unwrap(), "{out}");

    let message = json!({"content": "ok", "reasoning_details": [
        {"type": "reasoning.text", "text": KEY, "signature": "Ab9/"},
        {"type": "reasoning.text", "text": "fine", "signature": "Cd8/"}]});
    let body = Bytes::from(json!({"choices": [{"message": message}]}).to_string());
    let passed = document(&redacting(), Surface::Chat, body, &mut Tally::default());
    let clean: Value = serde_json::from_slice(&passed.bytes).unwrap();
    let details = &clean["choices"][0]["message"]["reasoning_details"];
    assert_eq!(
        (&details[0]["text"], &details[0]["signature"]),
        (&json!(MARK), &json!("weir-unsigned"))
    );
    assert_eq!(details[1]["signature"], "Cd8/");
}

#[test]
fn an_event_without_an_end_does_not_pile_up() {
    for (on_failure, stop) in [(OnFailure::Block, Some(Stop::Failed)), (OnFailure::Pass, None)] {
        let terms = terms(Guards { on_failure, ..guards(Policy::default()) });
        let mut flow = Outflow::new(terms, Surface::Chat);
        let piece = Bytes::from(vec![b'a'; 64 * 1024]);
        let (mut fed, mut passed) = (0, flow.feed(Bytes::from_static(b"data: "), false));
        while passed.stop.is_none() && fed <= 2 * SSE_EVENT_BYTES_MAX {
            passed = flow.feed(piece.clone(), false);
            fed += piece.len();
            assert!(flow.tail.len() <= SSE_EVENT_BYTES_MAX);
        }
        assert_eq!(passed.stop, stop);
        assert_eq!(flow.record().unwrap().failures, 1);
        if stop.is_none() {
            let end = flow.feed(Bytes::from_static(b"\n\n"), false).bytes;
            assert_eq!(end, "\n\n");
            let next = written(&[delta(0, json!({"content": format!("{KEY} ")}), json!("stop"))]);
            let next = flow.feed(Bytes::from(next), true).bytes;
            assert!(str::from_utf8(&next).unwrap().contains(MARK));
        }
    }
}

#[test]
fn what_stands_beside_the_choices_is_searched() {
    let choices = json!([{"index": 0, "delta": {"content": "a"}, "message": {"content": "a"}}]);
    let body = json!({"choices": choices, "citations": [KEY], "error": {"message": KEY}});
    let (out, _) =
        flown(redacting(), Surface::Chat, &[written(std::slice::from_ref(&body)).as_bytes()]);
    assert!(!out.contains(KEY) && out.matches(MARK).count() == 2, "{out}");
    let mut tally = Tally::default();
    let body = Bytes::from(body.to_string());
    let passed = document(&redacting(), Surface::Chat, body, &mut tally);
    let out = str::from_utf8(&passed.bytes).unwrap();
    assert!(!out.contains(KEY) && out.matches(MARK).count() == 2, "{out}");
}

/// Arguments with what their strings hide behind escapes, and what is left of them.
fn hiding() -> Vec<(String, String)> {
    let all = KEY.chars().map(|letter| format!("\\u{:04x}", u32::from(letter)));
    let all = all.collect::<Vec<_>>().concat();
    let one = KEY.replacen('Z', "\\u005A", 1);
    let mut cases = Vec::new();
    for around in
        ["\\n", "\\t", "\\r", "\\u00e9", "\\u003e", "\\u0026", "\\ud83d\\ude00", "\\\"", "\\/"]
    {
        for (secret, mark) in [
            (KEY, MARK),
            (&one, MARK),
            (&all, MARK),
            ("foo@bar.com", "[REDACTED_EMAIL_1]"),
            ("219-09-9999", "[REDACTED_SSN_1]"),
            ("4111 1111 1111 1111", "[REDACTED_CREDIT_CARD_1]"),
        ] {
            let arguments =
                |text: &str| format!(r#"{{"c": "to:{around}{text}{around}", "n": -4}}"#);
            cases.push((arguments(secret), arguments(mark)));
        }
    }
    cases.push((format!(r#"{{"{one}":1}}"#), format!(r#"{{"{MARK}":1}}"#)));
    cases
}

fn redacting_addresses() -> Terms {
    let policy = Policy::default().with(&[(Detector::Email, detect::Action::Redact)]);
    terms(guards(policy))
}

#[test]
fn what_arguments_hide_behind_escapes_is_found_wherever_a_stream_is_cut() {
    for (at, (arguments, wanted)) in hiding().into_iter().enumerate() {
        let letters: Vec<char> = arguments.chars().collect();
        // Every cut for some of them: each one is a stream of its own.
        let stride = if at % 13 == 0 { 1 } else { 23 };
        for surface in SURFACES {
            for cut in (0..letters.len()).step_by(stride) {
                let (first, last) = letters.split_at(cut);
                let pieces: [String; 2] = [first.iter().collect(), last.iter().collect()];
                let stream = stream(surface, &[], &pieces);
                let (out, stop) = flown(redacting_addresses(), surface, &[stream.as_bytes()]);
                assert_eq!(
                    (heard(surface, &out).1, stop),
                    (wanted.clone(), None),
                    "{surface:?} {cut}"
                );
            }
            let stream = stream(surface, &[], &pieces(&arguments, &[1]));
            let (out, _) = flown(redacting_addresses(), surface, &[stream.as_bytes()]);
            assert_eq!(heard(surface, &out).1, wanted);
        }
    }
}

#[test]
fn what_arguments_of_the_old_kind_hide_is_found() {
    for (arguments, wanted) in hiding() {
        for size in [1, 5, 400] {
            let call = |text: &String| {
                delta(0, json!({"function_call": {"arguments": text}}), Value::Null)
            };
            let mut all: Vec<Value> = pieces(&arguments, &[size]).iter().map(call).collect();
            all.push(delta(0, json!({}), json!("function_call")));
            let stream = written(&all);
            let (out, _) = flown(redacting_addresses(), Surface::Chat, &[stream.as_bytes()]);
            let said = |event: &Value| {
                let text = &event["choices"][0]["delta"]["function_call"]["arguments"];
                text.as_str().unwrap_or_default().to_owned()
            };
            assert_eq!(events(&out).iter().map(said).collect::<String>(), wanted);
        }
    }
}

#[test]
fn what_arguments_hide_is_found_in_whole_answers() {
    for (arguments, wanted) in hiding() {
        let body = |surface: Surface, arguments: &str| {
            let call = json!({"name": "f", "arguments": arguments});
            match surface {
                Surface::Messages => format!(
                    r#"{{"content":[{{"type":"tool_use","id":"t","name":"f","input":{arguments}}}]}}"#
                ),
                Surface::Responses => {
                    json!({"output": [{"type": "function_call", "id": "c", "name": "f", "arguments": arguments}]})
                        .to_string()
                }
                _ => json!({"choices": [{"index": 0, "message": {"function_call": call,
                    "tool_calls": [{"id": "c", "type": "function", "function": call}]}}]})
                .to_string(),
            }
        };
        for surface in SURFACES {
            let before = Bytes::from(body(surface, &arguments));
            let passed = document(&redacting_addresses(), surface, before, &mut Tally::default());
            assert_eq!(passed.bytes, body(surface, &wanted), "{surface:?}");
        }
    }
}

#[test]
fn the_canary_is_found_behind_escapes_of_arguments() {
    let secret = token();
    let spread: Vec<String> = secret.as_str().chars().map(|it| it.to_string()).collect();
    let escaped = secret.as_str().chars().map(|letter| format!("\\u{:04x}", u32::from(letter)));
    let watching = || terms(Guards { canary: Canary::Block, ..Guards::default() });
    let escaped = escaped.collect::<Vec<_>>().concat();
    for told in [spread.join("\\n"), spread.join("\\u00e9"), escaped] {
        let arguments = format!(r#"{{"c":"{told}"}}"#);
        for surface in SURFACES {
            for size in [1, 4, 9, 900] {
                let stream = stream(surface, &[], &pieces(&arguments, &[size]));
                let (_, stop) = flown(watching(), surface, &[stream.as_bytes()]);
                assert_eq!(stop, Some(Stop::Canary), "{surface:?} {size} {told}");
            }
        }
    }
}

#[test]
fn the_name_of_a_tool_is_searched() {
    let call = json!({"index": 0, "id": "c", "function": {"name": KEY, "arguments": "{}"}});
    let stream = written(&[delta(0, json!({"tool_calls": [call]}), Value::Null)]);
    let (out, _) = flown(redacting(), Surface::Chat, &[stream.as_bytes()]);
    assert!(!out.contains(KEY) && out.contains(MARK), "{out}");
    let block = json!({"type": "tool_use", "id": "t", "name": KEY, "input": {}});
    let stream =
        written(&[json!({"type": "content_block_start", "index": 0, "content_block": block})]);
    let (out, _) = flown(redacting(), Surface::Messages, &[stream.as_bytes()]);
    assert!(!out.contains(KEY) && out.contains(MARK), "{out}");
}
