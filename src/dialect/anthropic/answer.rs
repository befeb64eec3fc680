//! Reads a whole answer of the Messages API.
//!
//! Blocks that only Anthropic's own servers make (searches, code that was run) are passed over: no
//! other dialect has a place for them, and their outcome is in the text.

use crate::dialect::anthropic::words::stop_of;
use crate::dialect::canonical::answer::{Answer, Block};
use crate::dialect::canonical::fields::{items, pick};
use crate::dialect::canonical::marks::UNSIGNED;
use crate::dialect::canonical::request::{Call, Input, Thinking};
use crate::dialect::canonical::text::{Raw, Text};
use crate::usage::count::Report;
use crate::wire::json;

/// Reads an answer; `None` if it is none of this dialect.
pub fn read(body: &[u8]) -> Option<Answer<'_>> {
    let whole = json::check(body).ok()?;
    let [kind, id, model, content, stop, sequence, usage] = pick(
        whole.of(body),
        ["type", "id", "model", "content", "stop_reason", "stop_sequence", "usage"],
    );
    let content = content.filter(|content| content.starts_with(b"["))?;
    if !matches!(kind, None | Some(b"\"message\"")) {
        return None;
    }
    Some(Answer {
        id: id.and_then(Text::token),
        model: model.and_then(Text::token),
        created: None,
        blocks: items(content).filter_map(block).collect(),
        stop: stop.map(stop_of),
        stop_sequence: sequence.and_then(Text::token),
        usage: usage.and_then(Report::read).map(|report| report.usage),
    })
}

fn block(block: &[u8]) -> Option<Block<'_>> {
    let [kind, text, id, name, input, thinking, signature, data] =
        pick(block, ["type", "text", "id", "name", "input", "thinking", "signature", "data"]);
    Some(match kind? {
        b"\"text\"" => Block::Text(Text::token(text?)?),
        b"\"tool_use\"" => Block::Call(Call {
            id: id.and_then(Text::token).unwrap_or_default(),
            name: Text::token(name?)?,
            input: Input::Object(Raw(input.filter(|one| one.starts_with(b"{")).unwrap_or(b"{}"))),
        }),
        b"\"thinking\"" => {
            let signature = signature.and_then(Text::token);
            let signature = signature.filter(|one| !one.is_empty() && !one.is(UNSIGNED));
            let text = thinking.and_then(Text::token).unwrap_or_default();
            Block::Thinking(Thinking { text, signature })
        }
        b"\"redacted_thinking\"" => Block::Redacted(Text::token(data?)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::answer::Stop;

    #[test]
    fn blocks_are_read_and_unknown_ones_passed_over() {
        let body = br#" {"type":"message","id":"msg_1","role":"assistant","model":"m","content":[
            {"type":"thinking","thinking":"a\n","signature":"s"},
            {"type":"thinking","thinking":"b","signature":"weir-unsigned"},
            {"type":"redacted_thinking","data":"ZZ"},
            {"type":"server_tool_use","id":"srv","name":"web_search","input":{}},
            {"type":"text","text":"hi","citations":null},
            {"type":"tool_use","id":"t1","name":"f","input":{"a": [1]}},
            {"type":"tool_use","id":"t2","name":"g"}],
            "stop_reason":"tool_use","stop_sequence":null,
            "usage":{"input_tokens":3,"output_tokens":5}} "#;
        let answer = read(body).expect("an answer");
        let call = |id, name, input: &'static [u8]| {
            let input = Input::Object(Raw(input));
            Block::Call(Call { id: Text::written(id), name: Text::written(name), input })
        };
        let thinking = |text, signature| Block::Thinking(Thinking { text, signature });
        let expected = vec![
            thinking(Text::written(br"a\n"), Some(Text::written(b"s"))),
            thinking(Text::written(b"b"), None),
            Block::Redacted(Text::written(b"ZZ")),
            Block::Text(Text::written(b"hi")),
            call(b"t1", b"f", br#"{"a": [1]}"#),
            call(b"t2", b"g", b"{}"),
        ];
        assert_eq!(answer.blocks, expected);
        assert_eq!((answer.stop, answer.stop_sequence), (Some(Stop::Tools), None));
        let usage = answer.usage.expect("usage");
        assert_eq!((usage.input, usage.output), (3, 5));
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        for body in [
            &b""[..],
            b"[]",
            b"{}",
            br#"{"type":"error","error":{"type":"api_error","message":"x"}}"#,
            br#"{"type":"error","content":[]}"#,
            br#"{"type":"message","content":"text"}"#,
            br#"{"type":"message","content":[]"#,
            br#"{"choices":[]}"#,
        ] {
            assert_eq!(read(body), None);
        }
    }
}
