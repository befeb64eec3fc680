//! Writes a whole answer for clients of Chat Completions.

use std::borrow::Cow;

use crate::dialect::canonical::answer::{Answer, Block};
use crate::dialect::canonical::inside;
use crate::dialect::canonical::request::{Call, Input};
use crate::dialect::canonical::style::Style;
use crate::dialect::canonical::text::{Raw, Text};
use crate::dialect::openai_chat::ending::{number_into, usage_into, word};
use crate::dialect::openai_chat::script::{
    aloud_detail, arguments_into, is_anthropic, join, redacted_detail,
};
use crate::wire::json::quote_into;

/// Writes the body of `answer`.
pub fn write(answer: &Answer<'_>, style: &Style, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    id_into(answer.id.as_ref(), style, out);
    out.extend_from_slice(b",\"object\":\"chat.completion\",\"created\":");
    number_into(answer.created.unwrap_or(style.created), out);
    out.extend_from_slice(b",\"model\":");
    model_into(answer.model.as_ref(), style, out);
    out.extend_from_slice(
        b",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":",
    );
    message(answer, style, out);
    out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":");
    match answer.stop {
        Some(stop) => quote_into(word(stop), out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b"}]");
    if let Some(usage) = &answer.usage {
        out.extend_from_slice(b",\"usage\":");
        usage_into(usage, out);
    }
    out.push(b'}');
}

/// Writes the answer's id: the provider's, or one made of ours.
pub(super) fn id_into(id: Option<&Text<'_>>, style: &Style, out: &mut Vec<u8>) {
    match id {
        Some(id) => id.quote_into(out),
        None => quote_into(&format!("chatcmpl-{}", style.request_id), out),
    }
}

/// Writes the model that the provider names, or else the one that was asked.
pub(super) fn model_into(model: Option<&Text<'_>>, style: &Style, out: &mut Vec<u8>) {
    match model {
        Some(model) => model.quote_into(out),
        None => quote_into(&style.model, out),
    }
}

/// Writes a call's id: the provider's, or one made of ours and the number of the call.
pub(super) fn call_id_into(id: &Text<'_>, index: usize, style: &Style, out: &mut Vec<u8>) {
    if id.is_empty() {
        quote_into(&format!("call_{}_{index}", style.request_id), out);
    } else {
        id.quote_into(out);
    }
}

/// Writes the members of the message, from the value of its content on.
fn message(answer: &Answer<'_>, style: &Style, out: &mut Vec<u8>) {
    let texts = || {
        answer.blocks.iter().filter_map(|block| match block {
            Block::Text(text) => Some(text),
            _ => None,
        })
    };
    let refusals = || {
        answer.blocks.iter().filter_map(|block| match block {
            Block::Refusal(text) => Some(text),
            _ => None,
        })
    };
    joined(texts, b"", out);
    out.extend_from_slice(b",\"refusal\":");
    joined(refusals, b"", out);
    thoughts(answer, out);
    let calls = answer.blocks.iter().filter_map(|block| match block {
        Block::Call(call) => Some(call),
        _ => None,
    });
    let mut count = 0;
    for (index, call) in calls.enumerate() {
        out.extend_from_slice(if index == 0 { b",\"tool_calls\":[" } else { b"," });
        tool_call(call, index, style, out);
        count += 1;
    }
    if count > 0 {
        out.push(b']');
    }
}

/// Writes texts as one string; `null` if there are none.
fn joined<'t, 'a: 't, I>(texts: impl Fn() -> I, between: &[u8], out: &mut Vec<u8>)
where
    I: Iterator<Item = &'t Text<'a>>,
{
    if texts().next().is_none() {
        out.extend_from_slice(b"null");
        return;
    }
    out.push(b'"');
    join(texts(), between, out);
    out.push(b'"');
}

/// Writes what the model thought: as text for those who show it, and with the signatures for those who
/// send it back.
fn thoughts(answer: &Answer<'_>, out: &mut Vec<u8>) {
    let texts = || {
        answer.blocks.iter().filter_map(|block| match block {
            Block::Thinking(thinking) => Some(&thinking.text),
            _ => None,
        })
    };
    if texts().next().is_some() {
        out.extend_from_slice(b",\"reasoning_content\":");
        joined(texts, br"\n\n", out);
    }
    let is_signed = answer.blocks.iter().any(|block| match block {
        Block::Thinking(thinking) => thinking.signature.as_ref().is_some_and(is_anthropic),
        Block::Redacted(_) => true,
        _ => false,
    });
    if !is_signed {
        return;
    }
    let mut index = 0;
    for block in &answer.blocks {
        let lead = if index == 0 { b",\"reasoning_details\":[".as_slice() } else { b"," };
        match block {
            Block::Thinking(thinking) => {
                out.extend_from_slice(lead);
                aloud_detail(&thinking.text, thinking.signature.as_ref(), index, out);
            }
            Block::Redacted(data) => {
                out.extend_from_slice(lead);
                redacted_detail(data, index, out);
            }
            _ => continue,
        }
        index += 1;
    }
    out.push(b']');
}

fn tool_call(call: &Call<'_>, index: usize, style: &Style, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    call_id_into(&call.id, index, style, out);
    let name = style.memory.original(&call.name);
    if let Some(text) = free_text(call, style) {
        out.extend_from_slice(b",\"type\":\"custom\",\"custom\":{\"name\":");
        name.quote_into(out);
        out.extend_from_slice(b",\"input\":\"");
        out.extend_from_slice(&text);
        out.push(b'"');
    } else {
        out.extend_from_slice(b",\"type\":\"function\",\"function\":{\"name\":");
        name.quote_into(out);
        out.extend_from_slice(b",\"arguments\":");
        arguments_into(&call.input, out);
    }
    out.extend_from_slice(b"}}");
}

/// The free text, as written, of a call of a custom tool. A tool that stood in as a function has it
/// in its one argument; without that argument there is none.
fn free_text<'t>(call: &'t Call<'_>, style: &Style) -> Option<Cow<'t, [u8]>> {
    let is_custom = style.memory.is_custom(&call.name);
    let of_object =
        |object: &[u8]| inside::free_text(object).unwrap_or_default().as_written().to_vec();
    match &call.input {
        Input::Free(text) => Some(Cow::Borrowed(text.as_written())),
        Input::Object(Raw(object)) if is_custom => Some(Cow::Owned(of_object(object))),
        Input::Quoted(quoted) if is_custom => {
            Some(Cow::Owned(of_object(&inside::object_of(quoted).unwrap_or_default())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::answer::Stop;
    use crate::dialect::canonical::request::Thinking;
    use crate::dialect::canonical::style::Memory;
    use crate::dialect::openai_chat::answer::read;
    use crate::usage::count::Usage;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn style() -> Style {
        let mut memory = Memory::default();
        memory.alias(&Text::of("short"), &Text::of("a.long.name"));
        memory.custom(&Text::of("patch"));
        Style {
            request_id: "r1".into(),
            created: 7,
            model: "m".into(),
            stream_usage: false,
            memory: Arc::new(memory),
        }
    }

    fn written(answer: &Answer<'_>) -> Value {
        let mut out = Vec::new();
        write(answer, &style(), &mut out);
        serde_json::from_slice(&out).expect("JSON")
    }

    fn call<'a>(id: &'a str, name: &'a str, input: Input<'a>) -> Block<'a> {
        let (id, name) = (Text::written(id.as_bytes()), Text::written(name.as_bytes()));
        Block::Call(Call { id, name, input })
    }

    #[test]
    fn an_answer_in_all_its_parts() {
        let thinking =
            |signature| Block::Thinking(Thinking { text: Text::written(b"hm"), signature });
        let answer = Answer {
            blocks: vec![
                thinking(Some(Text::written(b"S"))),
                Block::Redacted(Text::written(b"R")),
                Block::Text(Text::written(br"a\n")),
                Block::Text(Text::written(b"b")),
                call("", "short", Input::Quoted(Text::default())),
                call("c", "patch", Input::Object(Raw(br#"{"input":"x\"y"}"#))),
                call("d", "patch", Input::Quoted(Text::written(br#"{\"input\":\"z\"}"#))),
            ],
            stop: Some(Stop::Tools),
            usage: Some(Usage { input: 1, cache_read: 2, output: 3, ..Usage::default() }),
            ..Answer::default()
        };
        let body = written(&answer);
        let message = json!({"role": "assistant", "content": "a\nb", "refusal": null,
            "reasoning_content": "hm", "reasoning_details": [
                {"type": "reasoning.text", "text": "hm", "signature": "S", "format": "anthropic-claude-v1", "index": 0},
                {"type": "reasoning.encrypted", "data": "R", "format": "anthropic-claude-v1", "index": 1}],
            "tool_calls": [
                {"id": "call_r1_0", "type": "function", "function": {"name": "a.long.name", "arguments": "{}"}},
                {"id": "c", "type": "custom", "custom": {"name": "patch", "input": "x\"y"}},
                {"id": "d", "type": "custom", "custom": {"name": "patch", "input": "z"}}]});
        assert_eq!(
            body,
            json!({"id": "chatcmpl-r1", "object": "chat.completion", "created": 7, "model": "m",
                "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": "tool_calls"}],
                "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6,
                    "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 0}}})
        );
    }

    #[test]
    fn an_answer_comes_back_as_it_was() {
        let thinking = Thinking { text: Text::written(b"hm"), signature: None };
        let answer = Answer {
            id: Some(Text::written(b"id-1")),
            model: Some(Text::written(b"m-2")),
            created: Some(9),
            blocks: vec![
                Block::Thinking(thinking),
                Block::Text(Text::written(b"a")),
                Block::Refusal(Text::written(b"no")),
                call("c", "f", Input::Quoted(Text::written(br#"{\"a\":1}"#))),
                call("d", "g", Input::Free(Text::written(b"free"))),
            ],
            stop: Some(Stop::Length),
            stop_sequence: None,
            usage: Some(Usage { input: 1, output: 3, reasoning: 2, ..Usage::default() }),
        };
        let mut out = Vec::new();
        write(&answer, &style(), &mut out);
        assert_eq!(read(&out), Some(answer));
    }

    #[test]
    fn nothing_said_is_null() {
        let body = written(&Answer { stop: Some(Stop::Pause), ..Answer::default() });
        assert!(body["choices"][0]["message"]["content"].is_null());
        assert_eq!(body["choices"][0]["finish_reason"], "stop");
        assert!(body.get("usage").is_none());
    }
}
