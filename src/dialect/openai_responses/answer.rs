//! Reads a whole answer of a provider into the neutral form.
//!
//! An answer that failed, or is not there yet, is none.

use crate::dialect::canonical::answer::{Answer, Block};
use crate::dialect::canonical::fields::items;
use crate::dialect::openai_responses::outcome::{Item, Outcome};
use crate::wire::json;

/// Reads a body; `None` if it is no answer of this dialect.
pub fn read(body: &[u8]) -> Option<Answer<'_>> {
    let object = json::check(body).ok()?.of(body);
    let outcome = Outcome::read(object);
    let output = outcome.output.filter(|output| output.starts_with(b"["))?;
    if outcome.error.is_some()
        || !matches!(outcome.status, None | Some(b"\"completed\"" | b"\"incomplete\""))
    {
        return None;
    }
    let mut blocks = Vec::new();
    for item in items(output) {
        Item::read(item).blocks(&mut |block| blocks.push(block));
    }
    let stop = outcome.stop(blocks.iter().any(|block| matches!(block, Block::Call(_))));
    Some(Answer {
        blocks,
        stop: Some(stop),
        stop_sequence: None,
        usage: outcome.usage,
        id: outcome.id,
        model: outcome.model,
        created: outcome.created,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::answer::Stop;
    use crate::dialect::canonical::request::{Call, Input, Thinking};
    use crate::dialect::canonical::text::Text;
    use proptest::prelude::*;

    const ANSWER: &str = r#"{"id":"resp_1","object":"response","created_at":1790000000.5,"status":"completed","error":null,"model":"m",
        "output":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"},
        {"type":"reasoning","id":"rs_2","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"weir1:sig"},
        {"type":"web_search_call","id":"ws_1"},
        {"type":"message","role":"assistant","content":[{"type":"output_text","text":"a\n","annotations":[]},{"type":"refusal","refusal":"no"}]},
        {"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},
        {"type":"custom_tool_call","call_id":"c2","name":"p","input":"x"}],
        "usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},"output_tokens":3,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":13}}"#;

    #[test]
    fn an_answer_is_read_block_by_block() {
        let answer = read(ANSWER.as_bytes()).expect("an answer");
        let text = Text::of;
        let thinking = |thought, signature| {
            Block::Thinking(Thinking { text: text(thought), signature: Some(text(signature)) })
        };
        let call = |id, name, input| Block::Call(Call { id: text(id), name: text(name), input });
        assert_eq!(
            answer.blocks,
            [
                thinking("", "weir-unsigned:gAAA"),
                thinking("hm", "sig"),
                Block::Text(text("a\n")),
                Block::Refusal(text("no")),
                call("c1", "f", Input::Quoted(text("{}"))),
                call("c2", "p", Input::Free(text("x"))),
            ]
        );
        assert_eq!((answer.stop, answer.created), (Some(Stop::Tools), Some(1_790_000_000)));
        let usage = answer.usage.expect("usage");
        assert_eq!((usage.input, usage.cache_read, usage.output, usage.reasoning), (6, 4, 3, 1));
    }

    #[test]
    fn what_failed_is_no_answer() {
        for body in [
            "",
            "7",
            "{}",
            r#"{"output":{}}"#,
            r#"{"output":[],"status":"failed","error":{"code":"server_error"}}"#,
            r#"{"output":[],"status":"in_progress"}"#,
            r#"{"output":[]} x"#,
        ] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
        assert!(read(br#"{"output":[]}"#).is_some());
    }

    proptest! {
        #[test]
        fn any_damage_is_answered(at in 0..ANSWER.len(), byte: u8, cut in 0..ANSWER.len()) {
            let mut body = ANSWER.as_bytes().to_vec();
            body[at] = byte;
            let _ = read(&body);
            prop_assert_eq!(read(&body[..cut]), None);
        }
    }
}
