//! Writes a whole answer as an object of this dialect.

use crate::dialect::canonical::answer::{Answer, Block, Stop};
use crate::dialect::canonical::event::Start;
use crate::dialect::canonical::request::{Call, Input};
use crate::dialect::canonical::style::Style;
use crate::dialect::openai_responses::item::{self, Called, Kind, Said, Seal, Status};
use crate::dialect::openai_responses::object::{self, Head, Standing};

/// What is being written.
struct Items<'w> {
    style: &'w Style,
    output: Vec<u8>,
    /// How many items there are.
    count: usize,
    /// The parts of the message that is open.
    content: Vec<u8>,
    /// Whether the answer was cut off, so that its last item is not whole.
    is_cut: bool,
}

/// Appends the answer's body.
pub fn write(answer: &Answer<'_>, style: &Style, out: &mut Vec<u8>) {
    let is_cut = matches!(answer.stop, Some(Stop::Length | Stop::Window));
    let (output, content) = (Vec::new(), Vec::new());
    let mut items = Items { style, output, count: 0, content, is_cut };
    for (at, block) in answer.blocks.iter().enumerate() {
        items.block(block, at + 1 == answer.blocks.len());
    }
    let start = Start {
        id: answer.id.clone(),
        model: answer.model.clone(),
        created: answer.created,
        usage: None,
    };
    let head = Head::new(&start, style);
    // Clients take an answer without usage for a broken one.
    let usage = answer.usage.unwrap_or_default();
    object::push(&head, Standing::of_stop(answer.stop), (&items.output, Some(&usage)), out);
}

impl Items<'_> {
    fn block(&mut self, block: &Block<'_>, is_last: bool) {
        let status = if is_last && self.is_cut { Status::Incomplete } else { Status::Completed };
        match block {
            Block::Text(text) => self.say(Said::Text, text.as_written()),
            Block::Refusal(text) => self.say(Said::Refusal, text.as_written()),
            Block::Call(call) => {
                self.close_message(Status::Completed);
                self.call(call, status);
            }
            Block::Thinking(thinking) => {
                let signature = thinking.signature.as_ref();
                let seal = signature.map_or(Seal::None, |text| Seal::Signature(text.as_written()));
                self.think(thinking.text.as_written(), seal);
            }
            Block::Redacted(data) => self.think(b"", Seal::Redacted(data.as_written())),
        }
        if is_last {
            self.close_message(status);
        }
    }

    fn say(&mut self, said: Said, text: &[u8]) {
        if !self.content.is_empty() {
            self.content.push(b',');
        }
        item::push_part(said, text, &mut self.content);
    }

    fn think(&mut self, summary: &[u8], seal: Seal<'_>) {
        self.close_message(Status::Completed);
        let place = self.next();
        let id = item::id(Kind::Thoughts, self.style, place);
        item::push_thoughts(&id, summary, seal, &mut self.output);
    }

    fn call(&mut self, call: &Call<'_>, status: Status) {
        let place = self.next();
        let mut called = Called::new(&call.id, &call.name, self.style, place);
        called.is_custom |= matches!(call.input, Input::Free(_));
        let input = item::input_of(&call.input, called.is_custom);
        called.push(status, &input, &mut self.output);
    }

    fn close_message(&mut self, status: Status) {
        if self.content.is_empty() {
            return;
        }
        let place = self.next();
        let content = std::mem::take(&mut self.content);
        let id = item::id(Kind::Message, self.style, place);
        item::push_message(&id, status, &content, &mut self.output);
    }

    /// The place of the next item.
    fn next(&mut self) -> usize {
        if self.count > 0 {
            self.output.push(b',');
        }
        self.count += 1;
        self.count - 1
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::dialect::canonical::request::Thinking;
    use crate::dialect::canonical::style::Memory;
    use crate::dialect::canonical::text::{Raw, Text};
    use crate::dialect::openai_responses::answer;
    use crate::usage::count::Usage;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    /// A style with a name that was made shorter, and a custom tool.
    pub fn style() -> Style {
        let mut memory = Memory::default();
        memory.alias(&Text::of("short"), &Text::of("a long name"));
        memory.custom(&Text::of("patch"));
        Style {
            request_id: "7".into(),
            created: 5,
            model: "asked".into(),
            stream_usage: false,
            memory: Arc::new(memory),
        }
    }

    fn written(answer: &Answer<'_>) -> Value {
        let mut out = Vec::new();
        write(answer, &style(), &mut out);
        serde_json::from_slice(&out).expect("JSON")
    }

    fn call<'a>(id: &str, name: &str, input: Input<'a>) -> Block<'a> {
        Block::Call(Call { id: Text::of(id), name: Text::of(name), input })
    }

    #[test]
    fn every_block_becomes_an_item() {
        let answer = Answer {
            id: Some(Text::of("msg_01")),
            blocks: vec![
                Block::Thinking(Thinking {
                    text: Text::of("hm"),
                    signature: Some(Text::of("sig")),
                }),
                Block::Redacted(Text::of("data")),
                Block::Text(Text::of("a")),
                Block::Text(Text::of("b")),
                call("c1", "short", Input::Object(Raw(br#"{"x":"\n"}"#))),
                call("", "patch", Input::Object(Raw(br#"{"input":"*** \"p\""}"#))),
                call("c3", "f", Input::Quoted(Text::default())),
            ],
            stop: Some(Stop::Tools),
            usage: Some(Usage {
                input: 3,
                cache_read: 4,
                output: 5,
                reasoning: 2,
                ..Usage::default()
            }),
            ..Answer::default()
        };
        let value = written(&answer);
        let part =
            |text| json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text});
        assert_eq!(
            value["output"],
            json!([
                {"id": "rs_weir_7_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "weir1:sig"},
                {"id": "rs_weir_7_1", "type": "reasoning", "summary": [], "encrypted_content": "weir1r:data"},
                {"id": "msg_weir_7_2", "type": "message", "status": "completed", "role": "assistant", "content": [part("a"), part("b")]},
                {"id": "fc_weir_7_3", "type": "function_call", "status": "completed", "arguments": "{\"x\":\"\\n\"}", "call_id": "c1", "name": "a long name"},
                {"id": "fc_weir_7_4", "type": "custom_tool_call", "status": "completed", "input": "*** \"p\"", "call_id": "call_7_4", "name": "patch"},
                {"id": "fc_weir_7_5", "type": "function_call", "status": "completed", "arguments": "{}", "call_id": "c3", "name": "f"}])
        );
        assert_eq!(value["id"], json!("resp_msg_01"));
        assert_eq!((&value["model"], &value["created_at"]), (&json!("asked"), &json!(5)));
        assert_eq!(
            value["usage"],
            json!({"input_tokens": 7, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
                "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}, "total_tokens": 12})
        );
        assert_eq!((&value["status"], &value["error"]), (&json!("completed"), &json!(null)));
    }

    #[test]
    fn a_cut_answer_says_why_and_what_is_not_whole() {
        let cut = |stop| Answer {
            id: Some(Text::of("resp_1")),
            blocks: vec![
                Block::Text(Text::of("a")),
                call("c", "f", Input::Quoted(Text::of("{\"x"))),
            ],
            stop: Some(stop),
            ..Answer::default()
        };
        let value = written(&cut(Stop::Length));
        assert_eq!(value["id"], json!("resp_1"));
        assert_eq!(value["incomplete_details"], json!({"reason": "max_output_tokens"}));
        let status = |value: &Value, at: usize| value["output"][at]["status"].clone();
        assert_eq!(
            (status(&value, 0), status(&value, 1)),
            (json!("completed"), json!("incomplete"))
        );
        let value = written(&cut(Stop::Refusal));
        assert_eq!(value["incomplete_details"], json!({"reason": "content_filter"}));
        assert_eq!(value["usage"]["total_tokens"], json!(0));
    }

    fn block() -> impl Strategy<Value = Block<'static>> {
        let text = || any::<String>().prop_map(|text| Text::of(&text));
        prop_oneof![
            text().prop_map(Block::Text),
            text().prop_map(Block::Refusal),
            text().prop_map(Block::Redacted),
            (text(), prop::option::of("[a-zA-Z]{1,9}")).prop_map(|(text, signature)| {
                let signature = signature.map(|signature| Text::of(&signature));
                Block::Thinking(Thinking { text, signature })
            }),
            ("[a-z]{1,5}", text()).prop_map(|(id, text)| {
                let input = Input::Quoted(Text::of(&format!("x{}", text.as_written().len())));
                Block::Call(Call { id: Text::of(&id), name: Text::of("f"), input })
            }),
            text().prop_map(|text| {
                let input = Input::Free(text);
                Block::Call(Call { id: Text::of("c"), name: Text::of("p"), input })
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(
            blocks in prop::collection::vec(block(), 0..8),
            (input, cache_read, output) in (0..9_u64, 0..9_u64, 0..9_u64),
            is_cut: bool,
        ) {
            let calls = blocks.iter().any(|block| matches!(block, Block::Call(_)));
            let stop = match (is_cut, calls) {
                (true, _) => Stop::Length,
                (false, true) => Stop::Tools,
                (false, false) => Stop::End,
            };
            // Thoughts that say nothing and are known by nothing leave no trace.
            let leaves_none = |block: &Block<'_>| matches!(block, Block::Thinking(thinking)
                if thinking.text.is_empty() && thinking.signature.is_none());
            let answer = Answer {
                id: Some(Text::of("resp_1")),
                model: Some(Text::of("m")),
                created: Some(7),
                blocks: blocks.into_iter().filter(|block| !leaves_none(block)).collect(),
                stop: Some(stop),
                stop_sequence: None,
                usage: Some(Usage { input, cache_read, output, ..Usage::default() }),
            };
            let mut out = Vec::new();
            write(&answer, &Style::default(), &mut out);
            let again = answer::read(&out);
            prop_assert_eq!(again.as_ref(), Some(&answer));
        }
    }
}
