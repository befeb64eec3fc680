//! Every provider fixture through the meter, whole, byte by byte and cut at random places, against
//! the counts of its manifest; and the traps of `wire.md` that no fixture holds.

use proptest::prelude::*;
use serde_json::Value;

use crate::base::money::NanoUsd;
use crate::base::surface::{Dialect, Surface};
use crate::usage::answer::{AnswerFacts, read_answer};
use crate::usage::count::{Iteration, Report, Usage};
use crate::usage::finish::Finish;
use crate::usage::meter::{EventFact, EventKind, Meter, MeterOutcome, StreamEnd};

const MANIFEST: &str = include_str!("../../tests/fixtures/manifest.json");

macro_rules! fixtures {
    ($($name:literal)*) => {
        &[$(($name, include_bytes!(concat!("../../tests/fixtures/", $name)))),*]
    };
}

const FIXTURES: &[(&str, &[u8])] = fixtures! {
    "anthropic_message_nonstream.json" "anthropic_stream_text.sse" "anthropic_stream_thinking.sse"
    "anthropic_stream_tools.sse" "deepseek_nonstream_blank_lines.txt" "deepseek_stream.sse"
    "errors/anthropic_429_spend.json" "errors/anthropic_529.json" "errors/gateway_402_anthropic.json"
    "errors/gateway_402_openai.json" "errors/openai_400_context.json" "errors/openai_401.json"
    "errors/openai_429_rate.json" "errors/openrouter_402.json" "gemini_native_stream.sse"
    "ollama_stream.sse" "openai_chat_nonstream.json" "openai_chat_stream_nousage.sse"
    "openai_chat_stream_tools.sse" "openai_chat_stream_truncated.sse" "openai_chat_stream_usage.sse"
    "openrouter_midstream_error.sse" "openrouter_stream_comments.sse" "responses_stream.sse"
    "responses_stream_failed.sse" "sse/bom.sse" "sse/comments_everywhere.sse" "sse/cr_only.sse"
    "sse/crlf.sse" "sse/done_no_space.sse" "sse/event_gateway_notice.sse" "sse/id_then_comment.sse"
    "sse/multiline_data.sse" "sse/no_final_blank_line.sse" "sse/no_space_after_colon.sse"
    "sse/null_choices_error_null.sse" "vllm_continuous_usage.sse"
};

fn fixture(name: &str) -> &'static [u8] {
    FIXTURES.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes).unwrap()
}

fn surface(dialect: &str) -> Surface {
    match dialect {
        "anthropic_messages" => Surface::Messages,
        "openai_responses" => Surface::Responses,
        "gemini_native" => Surface::Other(Dialect::OpenAi),
        _ => Surface::Chat,
    }
}

fn meter(surface: Surface, stream: &[u8], cuts: &[usize]) -> (Vec<EventFact>, MeterOutcome) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    let (mut meter, mut facts) = (Meter::new(surface), Vec::new());
    for pair in cuts.windows(2) {
        meter.feed(&stream[pair[0]..pair[1]], |fact| facts.push(fact));
    }
    let outcome = meter.finish(|fact| facts.push(fact));
    (facts, outcome)
}

fn metered(surface: Surface, stream: &str) -> MeterOutcome {
    meter(surface, stream.as_bytes(), &[]).1
}

/// Whole, byte by byte, and at random places of a fixed seed.
fn chunkings(len: usize) -> Vec<Vec<usize>> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ len as u64;
    let mut random = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    };
    let mut all = vec![vec![], (0..len).collect()];
    for pieces in [3, 10, 40] {
        all.push((0..pieces).map(|_| random()).collect());
    }
    all
}

fn expected(usage: &Value) -> Option<Usage> {
    let number = |key: &str| usage[key].as_u64().unwrap();
    usage.as_object()?;
    let long = number("cache_write_1h");
    Some(Usage {
        input: number("input_plain"),
        cache_read: number("cache_read"),
        cache_write: number("cache_write") - long,
        cache_write_1h: long,
        output: number("output"),
        reasoning: number("reasoning_within_output"),
        provider_cost: usage["provider_cost_usd"]
            .as_str()
            .map(|usd| NanoUsd::parse_usd(usd).unwrap()),
    })
}

#[test]
fn every_fixture_is_metered_as_its_manifest_says() {
    let manifest: Value = serde_json::from_str(MANIFEST).unwrap();
    let entries = manifest["fixtures"].as_object().unwrap();
    assert_eq!(entries.len(), FIXTURES.len());
    for (name, entry) in entries {
        let bytes = fixture(name);
        assert_eq!(bytes.len() as u64, entry["bytes"].as_u64().unwrap(), "{name}");
        let surface = surface(entry["dialect"].as_str().unwrap());
        let usage = expected(&entry["usage"]);
        let end = entry["end"].as_str().unwrap();
        match end {
            "http_error" => {}
            "body" => {
                let facts = read_answer(surface, bytes);
                assert_eq!(facts.usage, usage, "{name}");
                assert_eq!(facts.closing_brace.map(|at| bytes[at]), Some(b'}'), "{name}");
                assert!(!facts.inconsistent && !facts.has_error, "{name}");
                // Its words are measured only where they have to stand in for the report.
                let silent = read_answer(surface, &without_report(bytes));
                assert_eq!((silent.usage, facts.output_bytes), (None, 0), "{name}");
                assert!(silent.output_bytes > 0, "{name}");
            }
            _ => {
                let finish = entry["finish"].as_str();
                check_stream(name, surface, &Expected { usage, end, finish });
            }
        }
    }
}

/// The same answer, in which every place of a report has another name.
fn without_report(body: &[u8]) -> Vec<u8> {
    let text = str::from_utf8(body).unwrap();
    ["usage", "usageMetadata", "timings", "x_groq", "prompt_eval_count", "eval_count"]
        .into_iter()
        .fold(text.to_owned(), |text, name| text.replace(&format!("\"{name}\""), "\"unknown\""))
        .into_bytes()
}

struct Expected<'a> {
    usage: Option<Usage>,
    end: &'a str,
    finish: Option<&'a str>,
}

fn check_stream(name: &str, surface: Surface, expected: &Expected<'_>) {
    let bytes = fixture(name);
    let end = match expected.end {
        "error" | "response.failed" => StreamEnd::ErrorEvent,
        cut if cut.starts_with("cut") => StreamEnd::Cut,
        _ if expected.usage.is_some() => StreamEnd::DoneUsage,
        _ => StreamEnd::DoneNoUsage,
    };
    let finish = match expected.finish.unwrap_or("none") {
        "stop" | "end_turn" | "STOP" | "completed" => Some(Finish::Stop),
        "tool_calls" | "tool_use" => Some(Finish::ToolCalls),
        "error" => Some(Finish::Error),
        _ => None,
    };
    let (reference, _) = meter(surface, bytes, &[]);
    for cuts in chunkings(bytes.len()) {
        let (facts, outcome) = meter(surface, bytes, &cuts);
        assert_eq!(facts, reference, "{name}");
        assert_eq!(outcome.usage, expected.usage, "{name}");
        assert_eq!(outcome.end, end, "{name}");
        assert_eq!(outcome.finish, finish, "{name}");
        assert!(!outcome.inconsistent, "{name}");
        assert!(outcome.output_bytes > 0 && outcome.content_events > 0, "{name}");
    }
}

/// The kinds of a fixture's events, comments and contents left out.
fn kinds(name: &str, surface: Surface) -> Vec<EventKind> {
    let (facts, _) = meter(surface, fixture(name), &[]);
    let special = |kind: &EventKind| !matches!(kind, EventKind::Content | EventKind::Comment);
    facts.into_iter().map(|fact| fact.kind).filter(special).collect()
}

#[test]
fn only_a_chunk_of_nothing_but_usage_is_for_cutting() {
    use EventKind::{Done, Error, Opening, UsageOnly};
    let cases: &[(&str, &[EventKind])] = &[
        ("openai_chat_stream_usage.sse", &[UsageOnly, Done]),
        ("openai_chat_stream_tools.sse", &[UsageOnly, Done]),
        ("openai_chat_stream_nousage.sse", &[Done]),
        ("sse/multiline_data.sse", &[UsageOnly, Done]),
        ("sse/no_final_blank_line.sse", &[UsageOnly]),
        ("sse/null_choices_error_null.sse", &[UsageOnly, Done]),
        ("vllm_continuous_usage.sse", &[UsageOnly, Done]),
        ("ollama_stream.sse", &[UsageOnly, Done]),
        ("deepseek_stream.sse", &[Done]),
        ("openrouter_stream_comments.sse", &[Done]),
        ("openrouter_midstream_error.sse", &[Error(Some(502)), Done]),
        ("openai_chat_stream_truncated.sse", &[]),
    ];
    for (name, expected) in cases {
        assert_eq!(kinds(name, Surface::Chat), *expected, "{name}");
    }
    let responses = kinds("responses_stream.sse", Surface::Responses);
    assert_eq!(responses, [Opening, Opening, Done]);
    let failed = kinds("responses_stream_failed.sse", Surface::Responses);
    assert_eq!(failed, [Opening, Opening, Error(Some(500))]);
    assert_eq!(kinds("anthropic_stream_text.sse", Surface::Messages), [Opening, Opening, Done]);
}

#[test]
fn chunks_without_choices_that_hold_more_stay() {
    let usage = r#""usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}"#;
    let kind = |chunk: &str| {
        let (facts, _) = meter(Surface::Chat, format!("data: {chunk}\n\n").as_bytes(), &[]);
        facts[0].kind
    };
    let azure = r#"{"choices":[],"id":"","model":"","prompt_filter_results":[{"prompt_index":0}]}"#;
    assert_eq!(kind(azure), EventKind::Content);
    assert_eq!(
        kind(&format!(r#"{{"choices":[],"moderation":{{"a":1}},{usage}}}"#)),
        EventKind::Content
    );
    assert_eq!(kind(&format!(r#"{{"choices":[{{"index":0}}],{usage}}}"#)), EventKind::Content);
    assert_eq!(kind(r#"{"choices":[],"usage":null}"#), EventKind::Content);
    assert_eq!(kind(&format!("{{{usage}}}")), EventKind::Content);
    let quiet = r#""choices":[ ],"id":"x","service_tier":"default","moderation":null,"x":[]"#;
    assert_eq!(kind(&format!("{{{quiet}, {usage} }}")), EventKind::UsageOnly);
    let (facts, _) =
        meter(Surface::Messages, format!("data: {{{quiet},{usage}}}\n\n").as_bytes(), &[]);
    assert_eq!(facts[0].kind, EventKind::Content);
}

#[test]
fn errors_are_told_with_their_code() {
    let code = |surface, data: &str| {
        let outcome = metered(surface, data);
        assert_eq!(outcome.end, StreamEnd::ErrorEvent, "{data}");
        outcome.error_code
    };
    let overloaded =
        "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}";
    let messages = Surface::Messages;
    assert_eq!(code(messages, &format!("event: error\ndata: {overloaded}\n\n")), Some(529));
    assert_eq!(code(messages, &format!("data: {overloaded}\n\n")), Some(529));
    assert_eq!(code(messages, &format!("data:{{\"x\":1,{}", &overloaded[1..])), Some(529));
    let chat = Surface::Chat;
    assert_eq!(
        code(chat, "data: {\"error\":{\"message\":\"x\",\"code\":\"429\"}}\n\ndata: [DONE]\n\n"),
        Some(429)
    );
    assert_eq!(
        code(chat, "data: {\"error\":{\"message\":\"x\",\"type\":\"server_error\"}}\n\n"),
        Some(500)
    );
    assert_eq!(code(chat, "data: {\"error\":\"gone\"}\n\n"), None);
    assert_eq!(code(chat, "event: error\ndata: {}\n\n"), None);
    assert_eq!(code(chat, "data: {\"x_groq\":{\"error\":\"over capacity\"}}\n\n"), None);
    assert_eq!(
        code(
            chat,
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\"}]}\n\n"
        ),
        None
    );
    let first = "data: {\"error\":{\"code\":503}}\n\ndata: {\"error\":{\"code\":400}}\n\n";
    assert_eq!(code(chat, first), Some(503));
    for none in ["null", "\"\"", "{}", "false", "[]"] {
        let outcome = metered(chat, &format!("data: {{\"error\":{none}}}\n\ndata: [DONE]\n\n"));
        assert_eq!(outcome.end, StreamEnd::DoneNoUsage, "{none}");
    }
}

#[test]
fn each_surface_has_its_own_end() {
    let finished =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let two = "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
    let delta = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":5}}\n\n";
    let stop = "event: message_stop\ndata: {}\n\n";
    let cases = [
        (Surface::Chat, finished.to_owned(), StreamEnd::DoneNoUsage),
        (Surface::Chat, format!("{two}{finished}"), StreamEnd::Cut),
        (Surface::Chat, format!("{two}{finished}data: [DONE]\n\n"), StreamEnd::DoneNoUsage),
        (Surface::Chat, "data: [DONE]".to_owned(), StreamEnd::DoneNoUsage),
        (Surface::Chat, String::new(), StreamEnd::Cut),
        (Surface::Chat, finished.replace("stop", ""), StreamEnd::Cut),
        (Surface::Responses, "data: [DONE]\n\n".to_owned(), StreamEnd::Cut),
        (Surface::Messages, delta.to_owned(), StreamEnd::Cut),
        (Surface::Messages, format!("{delta}{stop}"), StreamEnd::DoneUsage),
        (Surface::Messages, stop.to_owned(), StreamEnd::DoneNoUsage),
    ];
    for (surface, stream, end) in cases {
        assert_eq!(metered(surface, &stream).end, end, "{surface:?} {stream}");
    }
    assert!(metered(Surface::Messages, delta).usage_is_final);
}

#[test]
fn the_start_of_a_message_is_known_but_not_final() {
    let text = std::str::from_utf8(fixture("anthropic_stream_tools.sse")).unwrap();
    let (start, _) = text.split_once("event: message_delta").unwrap();
    let outcome = metered(Surface::Messages, start);
    assert_eq!((outcome.end, outcome.usage_is_final), (StreamEnd::Cut, false));
    assert_eq!(outcome.usage.unwrap().cache_write_1h, 1592);
    let stopped =
        metered(Surface::Messages, &format!("{start}event: message_stop\ndata: {{}}\n\n"));
    assert_eq!(stopped.end, StreamEnd::DoneNoUsage);
    assert_eq!(stopped.model.as_deref(), Some("claude-sonnet-5-5"));
    assert_eq!(stopped.service_tier.as_deref(), Some("standard"));
}

#[test]
fn an_event_too_large_to_read_leaves_the_usage_unknown() {
    let mut meter =
        Meter::with_decoder(Surface::Chat, crate::wire::sse::Decoder::with_event_bytes_max(64));
    let usage =
        format!("data: {{\"usage\":{{\"prompt_tokens\":1}},\"x\":\"{}\"}}\n\n", "y".repeat(64));
    meter.feed(usage.as_bytes(), |fact| assert_eq!(fact.kind, EventKind::Content));
    meter.feed(b"data: [DONE]\n\n", |_| {});
    let outcome = meter.finish(|_| {});
    assert_eq!((outcome.end, outcome.oversized_events), (StreamEnd::DoneNoUsage, 1));
}

#[track_caller]
fn report(json: &str) -> Report {
    Report::read(json.as_bytes()).unwrap()
}

/// Input, cache read, cache write, long cache write, output, reasoning.
fn numbers(usage: &Usage) -> [u64; 6] {
    let Usage { input, cache_read, cache_write, cache_write_1h, output, reasoning, .. } = *usage;
    [input, cache_read, cache_write, cache_write_1h, output, reasoning]
}

/// Provider, its report, and the numbers of its normal form.
const NORMAL_FORMS: &[(&str, &str, [u64; 6])] = &[
    (
        "xAI",
        r#"{"prompt_tokens":100,"completion_tokens":10,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":60},"completion_tokens_details":{"reasoning_tokens":40}}"#,
        [40, 60, 0, 0, 50, 40],
    ),
    (
        "Gemini compat",
        r#"{"prompt_tokens":14,"completion_tokens":5,"total_tokens":183}"#,
        [14, 0, 0, 0, 169, 0],
    ),
    (
        "Gemini",
        r#"{"promptTokenCount":20,"cachedContentTokenCount":8,"toolUsePromptTokenCount":30,"candidatesTokenCount":5,"thoughtsTokenCount":7,"totalTokenCount":62}"#,
        [42, 8, 0, 0, 12, 7],
    ),
    (
        "DeepSeek",
        r#"{"prompt_tokens":30,"completion_tokens":4,"total_tokens":34,"prompt_cache_hit_tokens":10,"prompt_cache_miss_tokens":20}"#,
        [20, 10, 0, 0, 4, 0],
    ),
    (
        "OpenAI 12h",
        r#"{"prompt_tokens":100,"completion_tokens":1,"total_tokens":101,"prompt_tokens_details":{"cached_tokens":10,"cache_write_tokens":50,"cache_write_tokens_details":{"ttl_12h_tokens":30,"ttl_30m_tokens":20}}}"#,
        [40, 10, 20, 30, 1, 0],
    ),
    (
        "Responses",
        r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":10,"cache_write_tokens":50},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":107}"#,
        [40, 10, 50, 0, 7, 3],
    ),
    (
        "Anthropic",
        r#"{"input_tokens":5,"cache_read_input_tokens":10,"cache_creation_input_tokens":20,"output_tokens":7,"output_tokens_details":{"thinking_tokens":6}}"#,
        [5, 10, 20, 0, 7, 6],
    ),
    ("Anthropic bare", r#"{"input_tokens":5,"output_tokens":7}"#, [5, 0, 0, 0, 7, 0]),
    (
        "LiteLLM",
        r#"{"prompt_tokens":35,"completion_tokens":7,"total_tokens":42,"cache_read_input_tokens":10,"cache_creation_input_tokens":20}"#,
        [5, 10, 20, 0, 7, 0],
    ),
    (
        "both names",
        r#"{"prompt_tokens":35,"completion_tokens":7,"total_tokens":42,"input_tokens":0,"output_tokens":0}"#,
        [35, 0, 0, 0, 7, 0],
    ),
    ("Mistral", r#"{"prompt_tokens":9,"prompt_audio_seconds":null}"#, [9, 0, 0, 0, 0, 0]),
    ("Ollama native", r#"{"prompt_eval_count":26,"eval_count":9}"#, [26, 0, 0, 0, 9, 0]),
    (
        "llama.cpp",
        r#"{"cache_n":236,"prompt_n":1,"prompt_ms":30.958,"predicted_n":35,"predicted_per_second":52.9}"#,
        [1, 236, 0, 0, 35, 0],
    ),
    ("total alone", r#"{"total_tokens":12}"#, [0, 0, 0, 0, 12, 0]),
];

#[test]
fn every_provider_has_one_normal_form() {
    for (name, json, expected) in NORMAL_FORMS {
        let report = report(json);
        assert_eq!(numbers(&report.usage), *expected, "{name}");
        assert!(!report.inconsistent, "{name}");
    }
    for nothing in [
        "{}",
        "null",
        "[]",
        "1",
        "",
        "{\"x\":1}",
        "{\"prompt_tokens\":null}",
        "{\"prompt_tokens\":1",
    ] {
        assert_eq!(Report::read(nothing.as_bytes()), None, "{nothing}");
    }
}

#[test]
fn contradictions_count_at_their_larger_reading() {
    let cases: &[(&str, [u64; 6])] = &[
        (
            r#"{"prompt_tokens":10,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":50}}"#,
            [0, 50, 0, 0, 1, 0],
        ),
        (r#"{"prompt_tokens":10,"completion_tokens":9,"total_tokens":5}"#, [10, 0, 0, 0, 9, 0]),
        (
            r#"{"prompt_tokens":10,"completion_tokens":1,"completion_tokens_details":{"reasoning_tokens":40}}"#,
            [10, 0, 0, 0, 41, 40],
        ),
        (
            r#"{"prompt_tokens":10,"prompt_cache_hit_tokens":20,"prompt_cache_miss_tokens":30}"#,
            [30, 20, 0, 0, 0, 0],
        ),
        (
            r#"{"input_tokens":1,"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":9,"ephemeral_1h_input_tokens":9}}"#,
            [1, 0, 9, 9, 0, 0],
        ),
        (r#"{"prompt_tokens":-10,"completion_tokens":2.5}"#, [0, 0, 0, 0, 3, 0]),
        (r#"{"prompt_tokens":"10","completion_tokens":[]}"#, [10, 0, 0, 0, 0, 0]),
        (
            r#"{"prompt_tokens":1e300,"completion_tokens":18446744073709551616}"#,
            [1_000_000_000, 0, 0, 0, 1_000_000_000, 0],
        ),
        (r#"{"prompt_tokens":5,"input_tokens":7,"total_tokens":7}"#, [7, 0, 0, 0, 0, 0]),
    ];
    for (json, expected) in cases {
        let report = report(json);
        assert_eq!(numbers(&report.usage), *expected, "{json}");
        assert!(report.inconsistent, "{json}");
    }
}

#[test]
fn the_providers_charge_is_read_digit_by_digit() {
    let cost = |json: &str| report(json).usage.provider_cost;
    assert_eq!(cost(r#"{"cost":0.00057}"#), Some(NanoUsd(570_000)));
    assert_eq!(
        cost(r#"{"cost":5.7e-4,"is_byok":false,"cost_details":{"upstream_inference_cost":9}}"#),
        Some(NanoUsd(570_000))
    );
    assert_eq!(
        cost(r#"{"cost":0.1,"is_byok":true,"cost_details":{"upstream_inference_cost":0.2}}"#),
        Some(NanoUsd(300_000_000))
    );
    assert_eq!(
        cost(r#"{"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":null}}"#),
        Some(NanoUsd(0))
    );
    assert_eq!(cost(r#"{"cost":0.00000000012}"#), Some(NanoUsd(1)));
    assert_eq!(
        cost(r#"{"prompt_tokens":1,"cost_in_usd_ticks":37756001}"#),
        Some(NanoUsd(3_775_601))
    );
    assert_eq!(
        cost(r#"{"prompt_tokens":1,"cost_in_usd_ticks":500000000000}"#),
        Some(NanoUsd(50_000_000_000))
    );
    for odd in [r#""cost":-1"#, r#""cost":"much""#, r#""cost":true"#, r#""cost_in_usd_ticks":1.5"#]
    {
        let report = report(&format!(r#"{{"prompt_tokens":1,{odd}}}"#));
        assert_eq!(report.usage.provider_cost, None, "{odd}");
        assert!(report.inconsistent, "{odd}");
    }
    assert!(!report(r#"{"prompt_tokens":1,"cost":{"total_cost":1},"x":null}"#).inconsistent);
}

#[test]
fn iterations_add_up_and_keep_their_models() {
    let report = report(
        r#"{"input_tokens":5,"output_tokens":7,"server_tool_use":{"web_search_requests":2,"web_fetch_requests":1},
            "iterations":[{"type":"compaction","model":"small","input_tokens":100,"output_tokens":20},
                          {"type":"message","input_tokens":5,"output_tokens":7,"cache_read_input_tokens":3}]}"#,
    );
    assert_eq!(numbers(&report.usage), [105, 3, 0, 0, 27, 0]);
    let models: Vec<_> = report.iterations.iter().map(|turn| turn.model.as_deref()).collect();
    assert_eq!(models, [Some("small"), None]);
    assert_eq!(report.server_tool_requests, 3);
    assert!(report.iterations.iter().all(|turn| !turn.is_other) && !report.unpriced);
    let short = Report::read(br#"{"input_tokens":50,"iterations":[{"input_tokens":5}]}"#).unwrap();
    assert_eq!((short.usage.input, short.iterations.len(), short.inconsistent), (50, 0, true));
    let turn = r#"{"input_tokens":1}"#;
    let many =
        Report::read(format!(r#"{{"iterations":[{}]}}"#, vec![turn; 1000].join(",")).as_bytes())
            .unwrap();
    assert_eq!((many.usage.input, many.iterations.len()), (1000, 64));
}

#[test]
fn the_models_behind_a_compound_one_are_told_apart() {
    let usage = r#""usage":{"prompt_tokens":30,"completion_tokens":9,"total_tokens":39}"#;
    let breakdown = r#""usage_breakdown":{"models":[
        {"model":"big","usage":{"prompt_tokens":20,"completion_tokens":5,"total_tokens":25}},
        {"model":"small","usage":{"prompt_tokens":10,"completion_tokens":4,"total_tokens":14}}]}"#;
    let seen = |iterations: &[Iteration]| -> Vec<_> {
        let part = |one: &Iteration| (one.model.clone(), one.is_other, one.usage.input);
        iterations.iter().map(part).collect()
    };
    let wanted = [(Some("big".into()), true, 20), (Some("small".into()), true, 10)];
    let read = facts(&format!("{{{usage},{breakdown}}}"));
    assert_eq!(
        (numbers(&read.usage.unwrap()), seen(&read.iterations)),
        ([30, 0, 0, 0, 9, 0], wanted.to_vec())
    );
    assert!(facts(&format!(r#"{{{usage},"usage_breakdown":null}}"#)).iterations.is_empty());
    let finish = r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}]"#;
    for place in [format!(r#""x_groq":{{{usage},{breakdown}}}"#), format!("{usage},{breakdown}")] {
        let text = format!("data: {{{finish},{place}}}\n\ndata: [DONE]\n\n")
            .replace("\n        ", "")
            .replace("\n            ", "");
        let outcome = metered(Surface::Chat, &text);
        assert_eq!(seen(&outcome.iterations), wanted, "{text}");
        assert!(outcome.usage_is_final && !outcome.unpriced);
    }
    // A breakdown that says less than the whole is not used.
    let less = r#""usage_breakdown":{"models":[{"model":"big","usage":{"prompt_tokens":1}}]}"#;
    let read = facts(&format!("{{{usage},{less}}}"));
    assert!(read.iterations.is_empty() && read.inconsistent);
}

#[test]
fn what_tools_used_beside_the_usage_is_seen() {
    let usage = r#""usage":{"input_tokens":30,"output_tokens":9,"total_tokens":39}"#;
    for (tools, requests, unpriced) in [
        ("null", 0, false),
        ("{}", 0, false),
        (
            r#"{"web_search":{"num_requests":3},"image_gen":{"input_tokens":0,"output_tokens":0}}"#,
            3,
            false,
        ),
        (r#"{"image_gen":{"input_tokens":7,"output_tokens":4160,"total_tokens":4167}}"#, 0, true),
    ] {
        let json = format!(r#"{{"object":"response",{usage},"tool_usage":{tools}}}"#);
        let read = read_answer(Surface::Responses, json.as_bytes());
        assert_eq!((read.server_tool_requests, read.unpriced), (requests, unpriced), "{tools}");
        let event = format!(
            "event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{json}}}\n\n"
        );
        let outcome = metered(Surface::Responses, &event);
        assert_eq!(
            (outcome.server_tool_requests, outcome.unpriced),
            (requests, unpriced),
            "{tools}"
        );
        assert_eq!(numbers(&outcome.usage.unwrap()), [30, 0, 0, 0, 9, 0]);
    }
    let xai = r#"{"prompt_tokens":1,"num_sources_used":4,"server_side_tool_usage":{"SERVER_SIDE_TOOL_WEB_SEARCH":2}}"#;
    assert_eq!(report(xai).server_tool_requests, 6);
}

#[test]
fn usage_is_found_wherever_a_chunk_has_it() {
    let chunk = |inside: &str| {
        let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
        metered(Surface::Chat, &format!("{text}{text}data: {{{inside}}}\n\ndata: [DONE]\n\n")).usage
    };
    let finish = r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}]"#;
    let both = |input, output| Some(Usage { input, output, ..Usage::default() });
    assert_eq!(
        chunk(&format!(
            r#"{finish},"x_groq":{{"id":"r","usage":{{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}}}"#
        )),
        both(3, 4)
    );
    assert_eq!(
        chunk(&format!(r#"{finish},"timings":{{"prompt_n":3,"predicted_n":4}}"#)),
        both(3, 4)
    );
    assert_eq!(
        chunk(&format!(
            r#"{finish},"usage":{{"prompt_tokens":3,"completion_tokens":4}},"timings":{{"prompt_n":9}}"#
        )),
        both(3, 4)
    );
    assert_eq!(chunk(&format!(r#"{finish},"usage":null"#)), None);
}

fn facts(json: &str) -> AnswerFacts {
    read_answer(Surface::Chat, json.as_bytes())
}

#[test]
fn codes_inside_a_good_answer_are_found() {
    let cases: &[(&str, Option<u16>)] = &[
        (r#"{"status":429}"#, Some(429)),
        (r#"{"code":"503"}"#, Some(503)),
        (r#"{"errorCode":412}"#, Some(412)),
        (r#"{"error":{"code":429,"message":"x"}}"#, Some(429)),
        (r#"{"error":{"status":"502"}}"#, Some(502)),
        (r#"{"errors":[{"message":"x"},{"code":500}]}"#, Some(500)),
        (r#"{"status":200,"error":{"code":429}}"#, Some(429)),
        (r#"{"status":"completed","error":null}"#, None),
        (r#"{"error":{"code":"server_error"}}"#, None),
        (r#"{"code":42}"#, None),
        (r#"{"choices":[{"code":429}]}"#, None),
        (r#"{"choices":[{"message":{"content":"{\"code\":429}"}}]}"#, None),
    ];
    for (json, code) in cases {
        assert_eq!(facts(json).error_code, *code, "{json}");
    }
    assert!(facts(r#"{"error":{"code":"server_error"}}"#).has_error);
}

#[test]
fn the_place_for_our_members_is_found() {
    let place = |json: &str| (facts(json).closing_brace, facts(json).is_empty_object);
    assert_eq!(place("{}"), (Some(1), true));
    assert_eq!(place("\n\n { \"a\" : 1 } \r\n"), (Some(13), false));
    assert_eq!(place("{\"a\":null}"), (Some(9), false));
    for none in ["", "[]", "{\"a\":1", "{} {}", "{}x", "\"{}\"", "null"] {
        assert_eq!(place(none).0, None, "{none}");
    }
}

#[test]
fn surfaces_without_output_have_none() {
    let total = br#"{"data":[{"embedding":[0.1,-2e-3]}],"usage":{"total_tokens":8}}"#;
    let usage = Some(Usage { input: 8, ..Usage::default() });
    assert_eq!(read_answer(Surface::Embeddings, total).usage, usage);
    let odd =
        br#"{"usage":{"prompt_tokens":2,"completion_tokens_details":{"reasoning_tokens":6}}}"#;
    assert_eq!(read_answer(Surface::Embeddings, odd).usage, usage);
    assert_eq!(read_answer(Surface::CountTokens, br#"{"input_tokens":8}"#).usage, None);
    let native = br#"{"model":"m","message":{"content":"x"},"done":true,"prompt_eval_count":3,"eval_count":4}"#;
    let usage = Some(Usage { input: 3, output: 4, ..Usage::default() });
    assert_eq!(read_answer(Surface::Other(Dialect::OpenAi), native).usage, usage);
}

proptest! {
    #[test]
    fn chunking_changes_no_measurement(
        pick in 0..FIXTURES.len(),
        cuts in proptest::collection::vec(any::<usize>(), 0..20),
        noise in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
    ) {
        let mut stream = FIXTURES[pick].1.to_vec();
        for (at, byte) in noise {
            let at = at % stream.len();
            stream[at] = byte;
        }
        for surface in [Surface::Chat, Surface::Messages, Surface::Responses] {
            let (facts, outcome) = meter(surface, &stream, &cuts);
            let (reference, expected) = meter(surface, &stream, &[]);
            prop_assert_eq!(facts, reference);
            prop_assert_eq!(format!("{outcome:?}"), format!("{expected:?}"));
        }
        read_answer(Surface::Chat, &stream);
    }

    #[test]
    fn no_report_breaks_the_bounds(
        values in proptest::collection::vec("-?[0-9]{1,25}(\\.[0-9]{1,3})?(e[0-9]{1,3})?|null|\"x\"|\\[\\]", 24),
    ) {
        let keys = [
            "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens",
            "prompt_cache_hit_tokens", "prompt_cache_miss_tokens", "cache_read_input_tokens",
            "cache_creation_input_tokens", "reasoning_tokens", "cached_tokens", "cost",
            "cost_in_usd_ticks", "promptTokenCount", "thoughtsTokenCount", "prompt_n",
        ];
        for skip in 0..keys.len() {
            let members: Vec<String> = keys.iter().zip(&values).skip(skip)
                .map(|(key, value)| format!("\"{key}\":{value}")).collect();
            let json = format!("{{{},\"cache_creation\":{{\"ephemeral_1h_input_tokens\":{}}}}}", members.join(","), values[20]);
            if let Some(report) = Report::read(json.as_bytes()) {
                prop_assert!(report.usage.total() < 10_000_000_000);
                prop_assert!(report.usage.reasoning <= report.usage.output);
                prop_assert!(report.usage.provider_cost >= Some(NanoUsd::ZERO) || report.usage.provider_cost.is_none());
            }
        }
    }
}
