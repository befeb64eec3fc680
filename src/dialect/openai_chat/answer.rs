//! Reads a whole answer of Chat Completions, of whichever provider.
//!
//! The first choice only: requests for more are refused when they are read.

use crate::dialect::canonical::answer::{Answer, Block};
use crate::dialect::canonical::fields::{find, items, members};
use crate::dialect::canonical::request::{Call, Input, Thinking};
use crate::dialect::canonical::text::{Raw, Text};
use crate::dialect::openai_chat::ending::{self, Ending};
use crate::dialect::openai_chat::failure::is_error;
use crate::dialect::openai_chat::thought::{self, Thought};
use crate::wire::json;

/// Reads the body of an answer. `None` if it is none of this dialect: also an error under a status
/// of success, which `OpenRouter` sends once the model had started.
pub fn read(body: &[u8]) -> Option<Answer<'_>> {
    let body = json::check(body).ok()?.of(body);
    let mut answer = Answer::default();
    let mut choices = None;
    for (key, value) in members(body) {
        match &*key {
            b"id" => answer.id = filled(value),
            b"model" => answer.model = filled(value),
            b"created" => answer.created = seconds(value),
            b"choices" => choices = Some(value),
            b"usage" => answer.usage = ending::usage(value).or(answer.usage),
            b"x_groq" => {
                answer.usage = answer.usage.or_else(|| ending::usage(find(value, "usage")?));
            }
            b"timings" => answer.usage = answer.usage.or_else(|| ending::usage(value)),
            b"error" if is_error(value) => return None,
            _ => {}
        }
    }
    choice(items(choices?).next()?, &mut answer)?;
    Some(answer)
}

/// A text that says something.
pub(super) fn filled(value: &[u8]) -> Option<Text<'_>> {
    Text::token(value).filter(|text| !text.is_empty())
}

/// A time as providers write it, some of them with a fraction.
pub(super) fn seconds(value: &[u8]) -> Option<u64> {
    let whole = value.split(|&byte| byte == b'.').next()?;
    std::str::from_utf8(whole).ok()?.parse().ok()
}

fn choice<'a>(value: &'a [u8], answer: &mut Answer<'a>) -> Option<()> {
    let (mut message, mut said) = (None, None);
    for (key, value) in members(value) {
        match &*key {
            b"message" => message = Some(value),
            b"finish_reason" => match ending::read(value) {
                Some(Ending::Failed) => return None,
                Some(Ending::Said(stop)) => said = Some(stop),
                Some(Ending::Silent) | None => {}
            },
            b"error" if is_error(value) => return None,
            _ => {}
        }
    }
    blocks(message?, &mut answer.blocks);
    let has_calls = answer.blocks.iter().any(|block| matches!(block, Block::Call(_)));
    answer.stop = ending::reason(said, has_calls);
    Some(())
}

/// What the message says, in the order of the neutral form: thoughts, text, refusal, calls.
fn blocks<'a>(message: &'a [u8], out: &mut Vec<Block<'a>>) {
    let (mut content, mut refusal, mut calls, mut old_call) = (None, None, None, None);
    let (mut plain, mut details) = (None, None);
    for (key, value) in members(message) {
        match &*key {
            b"content" => content = Some(value),
            b"refusal" => refusal = filled(value),
            b"tool_calls" => calls = Some(value),
            b"function_call" => old_call = Some(value),
            b"reasoning_content" => plain = filled(value).or(plain),
            b"reasoning" => plain = plain.or_else(|| filled(value)),
            b"reasoning_details" => details = Some(value),
            _ => {}
        }
    }
    out.extend(thought::read(plain, details).into_iter().map(|thought| match thought {
        Thought::Aloud(thinking) => Block::Thinking(thinking),
        Thought::Redacted(data) => Block::Redacted(data),
    }));
    pieces(content.unwrap_or_default(), |piece| {
        out.push(match piece {
            Piece::Text(text) => Block::Text(text),
            Piece::Thinking(text) => Block::Thinking(Thinking { text, signature: None }),
        });
    });
    out.extend(refusal.map(Block::Refusal));
    let calls = items(calls.unwrap_or_default()).filter_map(call);
    let old = old_call.and_then(|value| function(value, Text::default()));
    out.extend(calls.chain(old).map(Block::Call));
}

/// A piece of what a message or a delta says.
pub(super) enum Piece<'a> {
    Text(Text<'a>),
    Thinking(Text<'a>),
}

/// Gives the pieces of a content: a string, or, at Mistral, parts with thoughts among them.
pub(super) fn pieces<'a>(content: &'a [u8], mut give: impl FnMut(Piece<'a>)) {
    if let Some(text) = Text::token(content) {
        if !text.is_empty() {
            give(Piece::Text(text));
        }
        return;
    }
    for part in items(content) {
        match find(part, "type") {
            Some(b"\"text\"") => {
                find(part, "text")
                    .and_then(filled)
                    .into_iter()
                    .map(Piece::Text)
                    .for_each(&mut give);
            }
            Some(b"\"thinking\"") => {
                let texts = items(find(part, "thinking").unwrap_or_default());
                let texts = texts.filter_map(|item| find(item, "text").and_then(filled));
                texts.map(Piece::Thinking).for_each(&mut give);
            }
            _ => {}
        }
    }
}

fn call(value: &[u8]) -> Option<Call<'_>> {
    let (mut id, mut inner, mut custom) = (Text::default(), None, None);
    for (key, value) in members(value) {
        match &*key {
            b"id" => id = Text::token(value).unwrap_or_default(),
            b"function" => inner = Some(value),
            b"custom" => custom = Some(value),
            _ => {}
        }
    }
    if let Some(custom) = custom {
        let name = find(custom, "name").and_then(filled)?;
        let input = find(custom, "input").and_then(Text::token).unwrap_or_default();
        return Some(Call { id, name, input: Input::Free(input) });
    }
    function(inner?, id)
}

/// The function of a call. Its arguments should be a string; some providers send the object itself.
fn function<'a>(value: &'a [u8], id: Text<'a>) -> Option<Call<'a>> {
    let (mut name, mut input) = (None, Input::Quoted(Text::default()));
    for (key, value) in members(value) {
        match &*key {
            b"name" => name = filled(value),
            b"arguments" if value.starts_with(b"{") => input = Input::Object(Raw(value)),
            b"arguments" => input = Input::Quoted(Text::token(value).unwrap_or_default()),
            _ => {}
        }
    }
    Some(Call { id, name: name?, input })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::answer::Stop;
    use crate::usage::count::Usage;

    const FIXTURE: &[u8] = include_bytes!("../../../tests/fixtures/openai_chat_nonstream.json");
    const DEEPSEEK: &[u8] =
        include_bytes!("../../../tests/fixtures/deepseek_nonstream_blank_lines.txt");

    fn text(text: &str) -> Text<'_> {
        Text::written(text.as_bytes())
    }

    fn of_message(message: &str, finish: &str) -> Option<(usize, Option<Stop>)> {
        let body = format!(r#"{{"choices":[{{"message":{message},"finish_reason":{finish}}}]}}"#);
        read(body.as_bytes()).map(|answer| (answer.blocks.len(), answer.stop))
    }

    #[test]
    fn the_fixtures_say_what_their_list_says() {
        let answer = read(FIXTURE).expect("an answer");
        let [Block::Text(said)] = answer.blocks.as_slice() else { panic!("{answer:?}") };
        assert_eq!(said.plain().as_deref(), Some("Blue herons wade \u{2014} slowly \u{9dfa}."));
        assert_eq!(answer.stop, Some(Stop::End));
        let usage =
            Usage { input: 86, cache_read: 1_920, output: 300, reasoning: 192, ..Usage::default() };
        assert_eq!(answer.usage, Some(usage));
        let answer = read(DEEPSEEK).expect("an answer behind blank lines");
        let [Block::Thinking(thought), Block::Text(said)] = answer.blocks.as_slice() else {
            panic!("{answer:?}")
        };
        assert_eq!((&thought.text, said), (&text("Thinking"), &text("Four.")));
        let usage =
            Usage { input: 76, cache_read: 1_024, output: 40, reasoning: 25, ..Usage::default() };
        assert_eq!(answer.usage, Some(usage));
    }

    #[test]
    fn calls_in_all_their_forms() {
        let body = br#"{"choices":[{"finish_reason":"stop","message":{"content":"","tool_calls":[
            {"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},
            {"type":"function","function":{"name":"g","arguments":{"y":2}}},
            {"id":"c","type":"custom","custom":{"name":"h","input":"free"}},
            {"id":"d","type":"function","function":{"arguments":"{}"}}],
            "function_call":{"name":"old","arguments":""}}}],
            "x_groq":{"usage":{"prompt_tokens":3,"completion_tokens":4}}}"#;
        let answer = read(body).expect("an answer");
        let inputs: Vec<&Input<'_>> = answer
            .blocks
            .iter()
            .filter_map(
                |block| if let Block::Call(call) = block { Some(&call.input) } else { None },
            )
            .collect();
        let quoted = Input::Quoted(text(r#"{\"x\":1}"#));
        let object = Input::Object(Raw(br#"{"y":2}"#));
        let free = Input::Free(text("free"));
        assert_eq!(inputs, [&quoted, &object, &free, &Input::Quoted(Text::default())]);
        assert_eq!(answer.stop, Some(Stop::Tools), "who calls tools has not finished");
        assert_eq!(answer.usage.map(|usage| (usage.input, usage.output)), Some((3, 4)));
    }

    #[test]
    fn parts_refusals_and_thoughts() {
        let mistral = r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"a"},{"type":"other"}]}"#;
        assert_eq!(of_message(mistral, "\"stop\""), Some((2, Some(Stop::End))));
        let refusal = r#"{"content":null,"refusal":"no"}"#;
        assert_eq!(of_message(refusal, "\"content_filter\""), Some((1, Some(Stop::Refusal))));
        let thoughts = r#"{"content":"a","reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"S","format":"anthropic-claude-v1"}]}"#;
        assert_eq!(of_message(thoughts, "null"), Some((2, None)));
    }

    proptest::proptest! {
        #[test]
        fn any_json_is_read(text in r#"(\{|\}|\[|\]|:|,|"|content|tool_calls|function|name|7| ){0,30}"#) {
            read(text.as_bytes());
            read(format!(r#"{{"choices":[{{"message":{text}}}]}}"#).as_bytes());
        }
    }

    #[test]
    fn what_is_no_answer() {
        for body in [
            "",
            "{",
            "7",
            "[]",
            "{}",
            r#"{"choices":[]}"#,
            r#"{"choices":[{}]}"#,
            r#"{"error":{"message":"m"}}"#,
            r#"{"error":"m","choices":[{"message":{"content":"a"}}]}"#,
            r#"{"choices":[{"message":{"content":"a"},"finish_reason":"error"}]}"#,
        ] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
        assert!(read(br#"{"error":null,"choices":[{"message":{"content":"a"}}]}"#).is_some());
    }
}
