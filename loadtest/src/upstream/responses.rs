//! `/responses`: `OpenAI`'s Responses API, one answer or named events with `sequence_number`.
//!
//! Writes frames only; faults are applied by `answer`. There is no `[DONE]` in this dialect.

use serde_json::{Value, json};

use super::answer::{Answer, Frames};
use super::ask::Ask;
use super::chat::{self, CREATED, TOOL_ARGUMENTS};
use super::manner::{Manner, UsagePlace};
use super::price::dollars;
use super::refuse;

/// The non-stream answer.
pub fn unary(ask: &Ask, serial: u64) -> Answer {
    Answer::json(200, finished(ask, serial).to_string())
}

/// The events of a stream.
pub fn stream(ask: &Ask, serial: u64) -> Frames {
    let mut writer = Writer { frames: Frames::default(), sequence: 0 };
    let response = response(ask, serial);
    writer.event("response.created", json!({"response": response}));
    writer.event("response.in_progress", json!({"response": response}));
    match &ask.tool {
        Some(_) => writer.tool(ask),
        None => writer.text(ask),
    }
    writer.frames.mark_end();
    let name = if ask.limited { "response.incomplete" } else { "response.completed" };
    let sequence = writer.sequence;
    writer.event(name, json!({"response": finished(ask, serial)}));
    writer.frames.failure = refuse::in_stream(ask, &id(serial), sequence);
    writer.frames
}

struct Writer {
    frames: Frames,
    sequence: u64,
}

impl Writer {
    fn event(&mut self, name: &str, mut data: Value) {
        data["type"] = json!(name);
        data["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        self.frames.push(format!("event: {name}\ndata: {data}\n\n"));
    }

    fn text(&mut self, ask: &Ask) {
        let opened = json!({
            "id": "msg_mock", "type": "message", "status": "in_progress", "role": "assistant",
            "content": [],
        });
        self.event("response.output_item.added", json!({"output_index": 0, "item": opened}));
        let place = json!({"item_id": "msg_mock", "output_index": 0, "content_index": 0});
        let with = |key: &str, value: Value| {
            let mut data = place.clone();
            data[key] = value;
            data
        };
        self.event("response.content_part.added", with("part", part("")));
        for piece in 0..ask.chunks {
            let delta = with("delta", json!(ask.piece(piece)));
            self.event("response.output_text.delta", delta);
        }
        let text = ask.text();
        self.event("response.output_text.done", with("text", json!(text)));
        self.event("response.content_part.done", with("part", part(&text)));
        self.event("response.output_item.done", json!({"output_index": 0, "item": item(ask)}));
    }

    fn tool(&mut self, ask: &Ask) {
        let mut opened = item(ask);
        opened["arguments"] = json!("");
        opened["status"] = json!("in_progress");
        self.event("response.output_item.added", json!({"output_index": 0, "item": opened}));
        let (left, right) = TOOL_ARGUMENTS.split_at(TOOL_ARGUMENTS.len() / 2);
        for delta in [left, right] {
            let data = json!({"item_id": "fc_mock", "output_index": 0, "delta": delta});
            self.event("response.function_call_arguments.delta", data);
        }
        let data = json!({"item_id": "fc_mock", "output_index": 0, "arguments": TOOL_ARGUMENTS});
        self.event("response.function_call_arguments.done", data);
        self.event("response.output_item.done", json!({"output_index": 0, "item": item(ask)}));
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}

/// The one output item in its final form.
fn item(ask: &Ask) -> Value {
    match &ask.tool {
        Some(tool) => json!({
            "id": "fc_mock", "type": "function_call", "status": "completed",
            "call_id": "call_mock", "name": tool, "arguments": TOOL_ARGUMENTS,
        }),
        None => json!({
            "id": "msg_mock", "type": "message", "status": "completed", "role": "assistant",
            "content": [part(&ask.text())],
        }),
    }
}

/// The response object at its start.
fn id(serial: u64) -> String {
    format!("resp_mock_{serial}")
}

fn response(ask: &Ask, serial: u64) -> Value {
    json!({
        "id": id(serial),
        "object": "response",
        "created_at": CREATED,
        "status": "in_progress",
        "error": null,
        "incomplete_details": null,
        "model": ask.model,
        "output": [],
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "store": false,
        "tool_choice": "auto",
        "tools": [],
        "usage": null,
    })
}

/// The response object at its end.
fn finished(ask: &Ask, serial: u64) -> Value {
    let mut response = response(ask, serial);
    response["output"] = json!([item(ask)]);
    response["status"] = json!("completed");
    if ask.limited {
        response["status"] = json!("incomplete");
        response["incomplete_details"] = json!({"reason": "max_output_tokens"});
    }
    if ask.fault.usage != Some(UsagePlace::None) {
        response["usage"] = usage(ask);
    }
    response
}

/// The usage object.
pub fn usage(ask: &Ask) -> Value {
    let tokens = &ask.tokens;
    let input = tokens.prompt();
    let mut details = json!({"cached_tokens": tokens.cache_read, "cache_write_tokens": 0});
    chat::tell_written(&mut details, tokens);
    let mut usage = json!({
        "input_tokens": input,
        "input_tokens_details": details,
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": input.saturating_add(tokens.output),
    });
    if ask.fault.costs.is_told || ask.manner == Manner::OpenRouter {
        usage["cost"] = dollars(ask.cost_nano(tokens));
    }
    usage
}
