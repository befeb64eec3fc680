//! `/chat/completions` and `/completions`: one answer or a stream of chunks, in each manner.
//!
//! Writes frames only; faults are applied by `answer`. Key order follows the providers' own.

use serde_json::{Value, json};

use super::answer::{Answer, Frames};
use super::ask::{Ask, Surface};
use super::count::Tokens;
use super::manner::{Manner, UsagePlace};
use super::price::dollars;
use super::refuse;

/// `created` of every answer: fixed, so that answers repeat.
pub const CREATED: u64 = 1_790_000_000;
/// Tool arguments of every tool call, and the pieces they come in.
pub const TOOL_ARGUMENTS: &str = r#"{"path":"src/main.rs"}"#;
/// xAI's ticks (1e10 per dollar) in a nano-dollar.
const TICKS_PER_NANODOLLAR: i64 = 10;

/// The non-stream answer.
pub fn unary(ask: &Ask, serial: u64) -> Answer {
    let list: Vec<Value> = (0..ask.choices).map(|index| whole_choice(ask, index)).collect();
    let mut body = json!({
        "id": id(ask, serial),
        "object": if is_text(ask) { "text_completion" } else { "chat.completion" },
        "created": CREATED,
        "model": ask.model,
        "choices": list,
    });
    let usage_place = ask.fault.usage.unwrap_or(UsagePlace::Last);
    if usage_place != UsagePlace::None {
        body["usage"] = usage(ask, ask.content_tokens());
    }
    match ask.manner {
        Manner::OpenRouter => body["provider"] = json!("Mock"),
        Manner::Groq => body["x_groq"] = json!({"id": "req_mock"}),
        _ => {}
    }
    Answer::json(200, body.to_string())
}

fn whole_choice(ask: &Ask, index: u64) -> Value {
    let finish = finish_reason(ask);
    if is_text(ask) {
        return json!({
            "index": index, "text": ask.text(), "logprobs": null, "finish_reason": finish,
        });
    }
    let mut message = json!({"role": "assistant", "content": ask.text(), "refusal": null});
    if let Some(tool) = &ask.tool {
        let function = json!({"name": tool, "arguments": TOOL_ARGUMENTS});
        message["content"] = Value::Null;
        message["tool_calls"] =
            json!([{"id": "call_mock", "type": "function", "function": function}]);
    }
    json!({"index": index, "message": message, "logprobs": null, "finish_reason": finish})
}

/// The events of a stream.
pub fn stream(ask: &Ask, serial: u64) -> Frames {
    let place = ask.fault.usage.unwrap_or_else(|| ask.manner.usage_place(ask.usage_asked));
    let mut writer = Writer { ask, place, head: head(ask, serial), frames: Frames::default() };
    writer.open();
    writer.content();
    writer.frames.mark_end();
    writer.close();
    writer.frames.failure = refuse::in_stream(ask, &writer.head, 0);
    writer.frames
}

struct Writer<'a> {
    ask: &'a Ask,
    place: UsagePlace,
    /// The chunk object up to `choices`, without the closing brace.
    head: String,
    frames: Frames,
}

impl Writer<'_> {
    fn open(&mut self) {
        if let Some(comment) = self.ask.manner.comment() {
            self.frames.comment(comment);
            self.frames.comment(comment);
        }
        if self.ask.manner == Manner::Azure {
            let object = "chat.completion.chunk";
            self.frames.data(&format!(
                r#"{{"id":"","object":"{object}","created":0,"model":"","choices":[],"prompt_filter_results":[{{"prompt_index":0,"content_filter_results":{{}}}}]}}"#
            ));
        }
        if !is_text(self.ask) {
            for index in 0..self.ask.choices {
                self.delta(index, r#"{"role":"assistant","content":""}"#, None, 0);
            }
        }
    }

    fn content(&mut self) {
        if let Some(tool) = self.ask.tool.clone() {
            return self.tool_call(&tool);
        }
        for piece in 0..self.ask.chunks {
            if let Some(comment) = self.ask.manner.comment().filter(|_| piece % 2 == 1) {
                self.frames.comment(comment);
            }
            for index in 0..self.ask.choices {
                let text = self.ask.piece(piece);
                let delta = if is_text(self.ask) {
                    format!("\"{text}\"")
                } else {
                    format!(r#"{{"content":"{text}"}}"#)
                };
                self.delta(index, &delta, None, piece * self.ask.choices + index + 1);
            }
        }
    }

    fn tool_call(&mut self, tool: &str) {
        let function = json!({"name": tool, "arguments": ""});
        let first = json!([{
            "index": 0, "id": "call_mock", "type": "function", "function": function,
        }]);
        self.delta(0, &json!({"tool_calls": first}).to_string(), None, 1);
        let (left, right) = TOOL_ARGUMENTS.split_at(TOOL_ARGUMENTS.len() / 2);
        for part in [left, right] {
            let call = json!([{"index": 0, "function": {"arguments": part}}]);
            self.delta(0, &json!({"tool_calls": call}).to_string(), None, 1);
        }
    }

    fn close(&mut self) {
        let output = self.ask.content_tokens();
        for index in 0..self.ask.choices {
            let delta = if is_text(self.ask) { "\"\"" } else { "{}" };
            self.delta(index, delta, Some(finish_reason(self.ask)), output);
        }
        if matches!(self.place, UsagePlace::Last | UsagePlace::Every) {
            let choices = if self.ask.manner == Manner::OpenRouter {
                r#"[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null,"native_finish_reason":null}]"#
            } else {
                "[]"
            };
            let usage = usage(self.ask, output);
            let chunk = format!("{},\"choices\":{choices},\"usage\":{usage}}}", self.head);
            self.frames.data(&chunk);
        }
        self.frames.push("data: [DONE]\n\n".to_owned());
    }

    /// One chunk with one choice; `output` counts the tokens sent so far.
    fn delta(&mut self, index: u64, delta: &str, finish: Option<&str>, output: u64) {
        let key = if is_text(self.ask) { "text" } else { "delta" };
        let finish_json = finish.map_or("null".to_owned(), |finish| format!("\"{finish}\""));
        let is_last = finish.is_some() && index + 1 == self.ask.choices;
        let tail = self.usage_tail(is_last, output);
        let chunk = format!(
            r#"{head},"choices":[{{"index":{index},"{key}":{delta},"logprobs":null,"finish_reason":{finish_json}}}]{tail}}}"#,
            head = self.head,
        );
        self.frames.data(&chunk);
    }

    fn usage_tail(&self, is_last: bool, output: u64) -> String {
        let usage = || usage(self.ask, output);
        match (self.place, self.ask.manner) {
            (UsagePlace::Every, _) => format!(",\"usage\":{}", usage()),
            (UsagePlace::Finish, _) if is_last => format!(",\"usage\":{}", usage()),
            (UsagePlace::XGroq, _) if is_last => {
                format!(r#","x_groq":{{"id":"req_mock","usage":{}}}"#, usage())
            }
            (UsagePlace::Last, Manner::OpenAi | Manner::Azure | Manner::Anthropic) => {
                ",\"usage\":null".to_owned()
            }
            _ => String::new(),
        }
    }
}

fn is_text(ask: &Ask) -> bool {
    ask.surface == Surface::Completions
}

fn id(ask: &Ask, serial: u64) -> String {
    match ask.manner {
        Manner::OpenRouter => generation_id(serial),
        _ if is_text(ask) => format!("cmpl-mock-{serial}"),
        _ => format!("chatcmpl-mock-{serial}"),
    }
}

/// `OpenRouter`'s name for an answer, also sent as `X-Generation-Id`.
pub fn generation_id(serial: u64) -> String {
    format!("gen-{CREATED}-{serial}")
}

fn head(ask: &Ask, serial: u64) -> String {
    let object = if is_text(ask) { "text_completion" } else { "chat.completion.chunk" };
    let provider = if ask.manner == Manner::OpenRouter { r#""provider":"Mock","# } else { "" };
    let (id, model) = (id(ask, serial), json!(ask.model));
    format!(r#"{{"id":"{id}",{provider}"object":"{object}","created":{CREATED},"model":{model}"#)
}

fn finish_reason(ask: &Ask) -> &'static str {
    match ask {
        Ask { tool: Some(_), .. } => "tool_calls",
        Ask { limited: true, .. } => "length",
        _ => "stop",
    }
}

/// The usage object in the manner of the provider, once so many content tokens were sent.
pub fn usage(ask: &Ask, content_tokens: u64) -> Value {
    let tokens = ask.tokens_at(content_tokens);
    let prompt = tokens.prompt();
    let is_apart = ask.manner == Manner::Xai;
    let completion = if is_apart { tokens.output - tokens.reasoning } else { tokens.output };
    let mut usage = json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt.saturating_add(tokens.output),
    });
    let cost_nano = ask.cost_nano(&tokens);
    if ask.fault.costs.is_told || ask.manner == Manner::OpenRouter {
        usage["cost"] = dollars(cost_nano);
    }
    if matches!(ask.manner, Manner::Ollama | Manner::Vllm) {
        return usage;
    }
    usage["prompt_tokens_details"] = json!({"cached_tokens": tokens.cache_read, "audio_tokens": 0});
    usage["completion_tokens_details"] = json!({"reasoning_tokens": tokens.reasoning});
    tell_written(&mut usage["prompt_tokens_details"], &tokens);
    match ask.manner {
        Manner::OpenRouter => {
            usage["is_byok"] = json!(false);
            usage["cost_details"] = json!({"upstream_inference_cost": null});
        }
        Manner::DeepSeek => {
            usage["prompt_cache_hit_tokens"] = json!(tokens.cache_read);
            usage["prompt_cache_miss_tokens"] = json!(prompt - tokens.cache_read);
        }
        Manner::Xai => {
            usage["cost_in_usd_ticks"] = json!(cost_nano.saturating_mul(TICKS_PER_NANODOLLAR));
        }
        _ => {}
    }
    usage
}

/// Cache writes in `OpenAI`'s form; the split by age only where there is one.
pub fn tell_written(details: &mut Value, tokens: &Tokens) {
    if tokens.written() > 0 {
        details["cache_write_tokens"] = json!(tokens.written());
    }
    if tokens.cache_write_1h > 0 {
        details["cache_write_tokens_details"] =
            json!({"ttl_12h_tokens": tokens.cache_write_1h, "ttl_30m_tokens": tokens.cache_write});
    }
}
