//! `/messages` and `/messages/count_tokens` in Anthropic's form.
//!
//! Writes frames only; faults are applied by `answer`. Every event has its `event:` line.

use serde_json::{Value, json};

use super::answer::{Answer, Frames};
use super::ask::Ask;
use super::chat::TOOL_ARGUMENTS;
use super::manner::{Manner, UsagePlace};
use super::price::dollars;
use super::refuse;

/// The non-stream answer.
pub fn unary(ask: &Ask, serial: u64) -> Answer {
    let mut message = message(ask, serial);
    message["content"] = match &ask.tool {
        Some(tool) => {
            let input: Value = serde_json::from_str(TOOL_ARGUMENTS).unwrap_or_default();
            json!([{"type": "tool_use", "id": "toolu_mock", "name": tool, "input": input}])
        }
        None => json!([{"type": "text", "text": ask.text()}]),
    };
    message["stop_reason"] = json!(stop_reason(ask));
    if ask.fault.usage == Some(UsagePlace::None) {
        message["usage"] = Value::Null;
    } else {
        message["usage"] = usage(ask);
    }
    Answer::json(200, message.to_string()).with("request-id", &format!("req_mock_{serial}"))
}

/// The answer of `count_tokens`.
pub fn count_tokens(ask: &Ask) -> Answer {
    Answer::json(200, json!({"input_tokens": ask.tokens.prompt()}).to_string())
}

/// The events of a stream.
pub fn stream(ask: &Ask, serial: u64) -> Frames {
    let mut frames = Frames::default();
    let message = message(ask, serial);
    event(&mut frames, &json!({"type": "message_start", "message": message}));
    match &ask.tool {
        Some(tool) => tool_block(&mut frames, tool),
        None => text_block(&mut frames, ask),
    }
    event(&mut frames, &json!({"type": "content_block_stop", "index": 0}));
    frames.mark_end();
    let mut end = json!({
        "type": "message_delta",
        "delta": {"stop_reason": stop_reason(ask), "stop_sequence": null},
    });
    if ask.fault.usage != Some(UsagePlace::None) {
        end["usage"] = json!({"output_tokens": ask.tokens.output});
        tell_cost(&mut end["usage"], ask);
    }
    event(&mut frames, &end);
    event(&mut frames, &json!({"type": "message_stop"}));
    frames.failure = refuse::in_stream(ask, "", 0);
    frames
}

fn text_block(frames: &mut Frames, ask: &Ask) {
    let block = json!({"type": "text", "text": ""});
    event(frames, &json!({"type": "content_block_start", "index": 0, "content_block": block}));
    event(frames, &json!({"type": "ping"}));
    for piece in 0..ask.chunks {
        let delta = json!({"type": "text_delta", "text": ask.piece(piece)});
        event(frames, &json!({"type": "content_block_delta", "index": 0, "delta": delta}));
    }
}

fn tool_block(frames: &mut Frames, tool: &str) {
    let block = json!({"type": "tool_use", "id": "toolu_mock", "name": tool, "input": {}});
    event(frames, &json!({"type": "content_block_start", "index": 0, "content_block": block}));
    let (left, right) = TOOL_ARGUMENTS.split_at(TOOL_ARGUMENTS.len() / 2);
    for part in ["", left, right] {
        let delta = json!({"type": "input_json_delta", "partial_json": part});
        event(frames, &json!({"type": "content_block_delta", "index": 0, "delta": delta}));
    }
}

fn event(frames: &mut Frames, data: &Value) {
    let name = data["type"].as_str().unwrap_or_default();
    frames.push(format!("event: {name}\ndata: {data}\n\n"));
}

/// The message at its start: empty content, and output tokens that are a placeholder.
fn message(ask: &Ask, serial: u64) -> Value {
    json!({
        "id": format!("msg_mock_{serial}"),
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": counts(ask, 1),
    })
}

/// The usage object at the end of the answer.
pub fn usage(ask: &Ask) -> Value {
    let mut usage = counts(ask, ask.tokens.output);
    tell_cost(&mut usage, ask);
    usage
}

fn counts(ask: &Ask, output: u64) -> Value {
    let tokens = &ask.tokens;
    json!({
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": tokens.written(),
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
        "output_tokens": output,
        "service_tier": "standard",
    })
}

/// Cost is nothing that this dialect knows of itself, but `OpenRouter` tells it there as well.
fn tell_cost(usage: &mut Value, ask: &Ask) {
    if ask.fault.costs.is_told || ask.manner == Manner::OpenRouter {
        usage["cost"] = dollars(ask.cost_nano(&ask.tokens));
    }
}

fn stop_reason(ask: &Ask) -> &'static str {
    match ask {
        Ask { tool: Some(_), .. } => "tool_use",
        Ask { limited: true, .. } => "max_tokens",
        _ => "end_turn",
    }
}
