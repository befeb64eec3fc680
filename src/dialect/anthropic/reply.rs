//! Writes a whole answer as one of the Messages API.

use crate::dialect::anthropic::words::{Begun, Said, stop_into, usage_into};
use crate::dialect::canonical::answer::{Answer, Block};
use crate::dialect::canonical::inside::{object_of, wrap_free};
use crate::dialect::canonical::marks::UNSIGNED;
use crate::dialect::canonical::request::{Call, Input, Thinking};
use crate::dialect::canonical::style::Style;
use crate::dialect::canonical::text::Text;
use crate::wire::json::quote_into;

/// Appends `answer` as the body of a Messages answer.
pub fn write(answer: &Answer<'_>, style: &Style, out: &mut Vec<u8>) {
    head_into(answer.id.as_ref(), answer.model.as_ref(), style, out);
    let mut said = Said::default();
    for (n, block) in answer.blocks.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        said.has_calls |= matches!(block, Block::Call(_));
        said.has_refusal |= matches!(block, Block::Refusal(_));
        block_into(block, n, style, out);
    }
    out.extend_from_slice(b"],");
    stop_into(answer.stop, answer.stop_sequence.as_ref(), said, out);
    out.extend_from_slice(b",\"stop_details\":null,\"usage\":");
    usage_into(&answer.usage.unwrap_or_default(), out);
    out.push(b'}');
}

/// Appends a message up to the bracket that opens its content.
pub fn head_into(
    id: Option<&Text<'_>>,
    model: Option<&Text<'_>>,
    style: &Style,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"id\":");
    match id.filter(|id| !id.is_empty()) {
        Some(id) => id.quote_into(out),
        None => quote_into(&format!("msg_{}", style.request_id), out),
    }
    out.extend_from_slice(b",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    match model.filter(|model| !model.is_empty()) {
        Some(model) => model.quote_into(out),
        None => quote_into(&style.model, out),
    }
    out.extend_from_slice(b",\"content\":[");
}

fn block_into(block: &Block<'_>, index: usize, style: &Style, out: &mut Vec<u8>) {
    match block {
        Block::Text(text) | Block::Refusal(text) => {
            out.extend_from_slice(b"{\"type\":\"text\",\"text\":");
            text.quote_into(out);
        }
        Block::Call(call) => call_into(call, index, style, out),
        Block::Thinking(Thinking { text, signature }) => {
            out.extend_from_slice(b"{\"type\":\"thinking\",\"thinking\":");
            text.quote_into(out);
            out.extend_from_slice(b",\"signature\":");
            match signature {
                Some(signature) => signature.quote_into(out),
                None => quote_into(UNSIGNED, out),
            }
        }
        Block::Redacted(data) => {
            out.extend_from_slice(b"{\"type\":\"redacted_thinking\",\"data\":");
            data.quote_into(out);
        }
    }
    out.push(b'}');
}

fn call_into(call: &Call<'_>, index: usize, style: &Style, out: &mut Vec<u8>) {
    let (id, name) = (call.id.clone(), call.name.clone());
    call_head_into(&Begun { index, id, name, is_custom: false }, style, out);
    match &call.input {
        Input::Object(object) => out.extend_from_slice(object.0),
        Input::Free(free) => wrap_free(free, out),
        Input::Quoted(quoted) => quoted_into(quoted, out),
    }
}

fn quoted_into(quoted: &Text<'_>, out: &mut Vec<u8>) {
    if let Some(object) = object_of(quoted) {
        out.extend_from_slice(&object);
        return;
    }
    // There must be an object, and what the model wrote is none: the client shall see what it wrote,
    // and fail by the tool's schema.
    out.extend_from_slice(b"{\"malformed_arguments\":");
    quoted.quote_into(out);
    out.push(b'}');
}

/// Appends a block of a call up to the value of its input.
pub fn call_head_into(call: &Begun<'_>, style: &Style, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"tool_use\",\"id\":");
    if call.id.is_empty() {
        quote_into(&format!("toolu_{}_{}", style.request_id, call.index), out);
    } else {
        call.id.quote_into(out);
    }
    out.extend_from_slice(b",\"name\":");
    style.memory.original(&call.name).quote_into(out);
    out.extend_from_slice(b",\"input\":");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::anthropic::answer;
    use crate::dialect::canonical::answer::Stop;
    use crate::dialect::canonical::style::Memory;
    use crate::usage::count::Usage;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn written(answer: &Answer<'_>) -> Value {
        let mut memory = Memory::default();
        memory.alias(&Text::of("short"), &Text::of("a.long"));
        let style = Style {
            request_id: "r1".into(),
            model: "m".into(),
            memory: Arc::new(memory),
            ..Style::default()
        };
        let mut out = Vec::new();
        write(answer, &style, &mut out);
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn calls_carry_objects_and_their_own_names() {
        let call =
            |id, input| Block::Call(Call { id: Text::of(id), name: Text::of("short"), input });
        let written = written(&Answer {
            blocks: vec![
                call("c1", Input::Quoted(Text::of("{\"a\": 1}"))),
                call("", Input::Quoted(Text::of(""))),
                call("c3", Input::Quoted(Text::of("{oops"))),
                call("c4", Input::Free(Text::of("free\n"))),
            ],
            stop: Some(Stop::End),
            ..Answer::default()
        });
        let of = |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "a.long", "input": input});
        let content = json!([
            of("c1", json!({"a": 1})),
            of("toolu_r1_1", json!({})),
            of("c3", json!({"malformed_arguments": "{oops"})),
            of("c4", json!({"input": "free\n"})),
        ]);
        assert_eq!(written["content"], content);
        assert_eq!((&written["id"], &written["model"]), (&json!("msg_r1"), &json!("m")));
        assert_eq!(written["stop_reason"], "tool_use");
        assert_eq!(written["usage"]["output_tokens"], 0);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = |plain: &str| Text::of(plain);
        let first = Answer {
            id: Some(text("msg_9")),
            model: Some(text("claude")),
            created: None,
            blocks: vec![
                Block::Thinking(Thinking { text: text("a"), signature: Some(text("s")) }),
                Block::Thinking(Thinking { text: text("b"), signature: None }),
                Block::Redacted(text("data")),
                Block::Text(text("\"é\"")),
            ],
            stop: Some(Stop::StopSequence),
            stop_sequence: Some(text("END")),
            usage: Some(Usage { input: 1, cache_write: 2, output: 3, ..Usage::default() }),
        };
        let mut out = Vec::new();
        write(&first, &Style::default(), &mut out);
        assert_eq!(answer::read(&out), Some(first));
    }
}
