//! What a request is about in two numbers, so that a loop can be noticed without keeping its text.
//!
//! One stands for the whole conversation: the same request again has it again. The other stands for the
//! tool call that the conversation ends with: an agent that makes one call over and over has it again,
//! although its history grows. Nothing is judged here, and nothing is read that the answer does not
//! depend on: how it is sent (`stream`), who pays (`user`, `metadata`), which model, or how long it may be.
//!
//! Hot path: `benches/envelope.rs`. The hash is fast, not secret, and its seed is fixed. Who finds two
//! texts with one hash gains nothing: hashes are compared within one agent only, so the worst is that it
//! stops itself; and to escape notice, changing one byte is easier. Numbers of other builds or machines
//! must not be compared with these.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;

use crate::wire::envelope::Envelope;
use crate::wire::json;
use crate::wire::rear;
use crate::wire::slot::Slot;
use crate::wire::syntax::Span;

/// The fields that make up a conversation. What a stored one continues belongs to it.
const CONTENT: [Slot; 8] = [
    Slot::Messages,
    Slot::System,
    Slot::Instructions,
    Slot::Input,
    Slot::Prompt,
    Slot::Tools,
    Slot::PreviousResponseId,
    Slot::Conversation,
];

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gist {
    /// Hash of the conversation as it is written; of the whole body if none of its fields is known.
    pub request: u64,
    /// Hash of name and arguments of the tool call that the conversation ends with, as they are written:
    /// the last call of the last thing that the model said. `None` if it said something without a call
    /// after it, so that a user who talks on does not repeat it.
    pub tool_call: Option<u64>,
}

/// The gist of `body`, the one that `envelope` was scanned from.
pub fn gist(envelope: &Envelope, body: &[u8]) -> Gist {
    let span = |slot: Slot| envelope.slot(slot).map(|member| member.value);
    let call = span(Slot::Messages)
        .and_then(|messages| in_messages(body, messages))
        .or_else(|| in_items(body, span(Slot::Input)?));
    let request = if CONTENT.into_iter().any(|slot| span(slot).is_some()) {
        hash(CONTENT.into_iter().map(|slot| span(slot).map(|value| value.of(body))))
    } else {
        hash([Some(body)])
    };
    Gist { request, tool_call: call.and_then(|call| call.hash(body)) }
}

/// One hash over parts, each with its length, so that no text can move from one into the next.
fn hash<'b>(parts: impl IntoIterator<Item = Option<&'b [u8]>>) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    for part in parts {
        hasher.write_usize(part.map_or(usize::MAX, <[u8]>::len));
        hasher.write(part.unwrap_or_default());
    }
    hasher.finish()
}

/// Where the parts of a call lie.
#[derive(Clone, Copy, Debug, Default)]
struct Call {
    name: Option<Span>,
    arguments: Option<Span>,
}

impl Call {
    fn hash(self, body: &[u8]) -> Option<u64> {
        self.name.or(self.arguments)?;
        Some(hash([self.name, self.arguments].map(|part| part.map(|span| span.of(body)))))
    }

    /// Reads the two from an object that names them so in any dialect. Their order does not matter.
    fn read(body: &[u8], within: Span) -> Self {
        let mut call = Self::default();
        for member in json::members(body, within) {
            match member.key.of(body) {
                b"name" => call.name = Some(member.value),
                b"arguments" | b"input" => call.arguments = Some(member.value),
                _ => {}
            }
        }
        call
    }
}

/// Whether the value at that place is that word.
fn is_word(body: &[u8], value: Span, word: &str) -> bool {
    let token = value.of(body);
    let raw = token.strip_prefix(b"\"").and_then(|token| token.strip_suffix(b"\""));
    raw.is_some_and(|raw| json::key_is(raw, word))
}

/// The last call of the last message of the assistant: Chat and Messages.
fn in_messages(body: &[u8], messages: Span) -> Option<Call> {
    rear::elements(body, messages).find_map(|message| said(body, message))?.call(body)
}

/// Where a message of the assistant keeps its calls.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    tool_calls: Option<Span>,
    function_call: Option<Span>,
    content: Option<Span>,
}

/// What the assistant said in that message; `None` if it is somebody else's, whose text is not read on.
fn said(body: &[u8], message: Span) -> Option<Said> {
    let mut said = Said::default();
    let mut is_assistant = false;
    for member in json::members(body, message) {
        match member.key.of(body) {
            b"role" if !is_word(body, member.value, "assistant") => return None,
            b"role" => is_assistant = true,
            b"tool_calls" => said.tool_calls = Some(member.value),
            b"function_call" => said.function_call = Some(member.value),
            b"content" => said.content = Some(member.value),
            _ => {}
        }
    }
    is_assistant.then_some(said)
}

impl Said {
    /// Its last call. A field that is null, empty or of another kind holds none.
    fn call(self, body: &[u8]) -> Option<Call> {
        let of_chat =
            || rear::elements(body, self.tool_calls?).find_map(|call| chat_call(body, call));
        let of_messages = || rear::elements(body, self.content?).find_map(|it| tool_use(body, it));
        let of_old_chat = || {
            let call = self.function_call.filter(|call| call.of(body).starts_with(b"{"))?;
            Some(Call::read(body, call))
        };
        of_chat().or_else(of_messages).or_else(of_old_chat)
    }
}

/// A call of Chat: its parts lie under `function`, or `custom` for tools that take plain text.
fn chat_call(body: &[u8], call: Span) -> Option<Call> {
    let is_inner = |key: &[u8]| key == b"function" || key == b"custom";
    let inner = json::members(body, call).find(|member| is_inner(member.key.of(body)))?;
    Some(Call::read(body, inner.value))
}

/// A call of Messages: a block of that type.
fn tool_use(body: &[u8], block: Span) -> Option<Call> {
    let kind = json::members(body, block).find(|member| member.key.of(body) == b"type")?;
    is_word(body, kind.value, "tool_use").then(|| Call::read(body, block))
}

/// The last call among the items of Responses, if the assistant said nothing after it.
fn in_items(body: &[u8], items: Span) -> Option<Call> {
    for item in rear::elements(body, items) {
        // The type stands in front of the text in all but odd bodies, and says most.
        let kind = json::members(body, item).find(|it| it.key.of(body) == b"type");
        let is_kind = |word| kind.is_some_and(|kind| is_word(body, kind.value, word));
        if is_kind("function_call") || is_kind("custom_tool_call") {
            return Some(Call::read(body, item));
        }
        let may_be_message = kind.is_none() || is_kind("message");
        if may_be_message && said(body, item).is_some() {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::envelope::scan;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn of(body: &str) -> Gist {
        gist(&scan(body.as_bytes()).unwrap(), body.as_bytes())
    }

    fn of_value(body: &Value) -> Gist {
        of(&body.to_string())
    }

    fn chat_turn(id: &str, arguments: &str) -> [Value; 2] {
        [
            json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "first", "type": "function", "function": {"name": "ls", "arguments": id}},
                {"id": id, "type": "function", "function": {"name": "cat", "arguments": arguments}}]}),
            json!({"role": "tool", "tool_call_id": id, "content": "}],\"role\":\"assistant\""}),
        ]
    }

    fn messages_turn(id: &str, path: &str) -> [Value; 2] {
        [
            json!({"role": "assistant", "content": [{"type": "text", "text": id},
                {"type": "tool_use", "id": id, "name": "cat", "input": {"path": path, "type": "x"}}]}),
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id,
                "content": "[{\"tool_use\": 1}]"}]}),
        ]
    }

    fn responses_turn(id: &str, arguments: &str) -> [Value; 2] {
        [
            json!({"type": "function_call", "call_id": id, "name": "cat", "arguments": arguments}),
            json!({"type": "function_call_output", "call_id": id, "output": "text"}),
        ]
    }

    type Turn = fn(&str, &str) -> [Value; 2];
    const DIALECTS: [(&str, Turn); 3] =
        [("messages", chat_turn), ("messages", messages_turn), ("input", responses_turn)];

    fn body(field: &str, turns: &[[Value; 2]]) -> Value {
        let start = json!({"role": "user", "content": "go"});
        let all: Vec<Value> =
            std::iter::once(start).chain(turns.iter().flatten().cloned()).collect();
        json!({"model": "m", field: all})
    }

    #[test]
    fn a_loop_repeats_its_call_in_growing_histories() {
        for (field, turn) in DIALECTS {
            let one = of_value(&body(field, &[turn("a", "x")]));
            let two = of_value(&body(field, &[turn("a", "x"), turn("b", "x")]));
            let other = of_value(&body(field, &[turn("a", "x"), turn("b", "y")]));
            assert!(one.tool_call.is_some(), "{field}");
            assert_eq!(one.tool_call, two.tool_call, "ids do not matter");
            assert_ne!(one.request, two.request);
            assert_ne!(two.tool_call, other.tool_call);
            assert_eq!(of_value(&body(field, &[])).tool_call, None);
        }
    }

    #[test]
    fn a_call_that_was_talked_about_is_over() {
        for (field, turn) in DIALECTS {
            let mut talked = body(field, &[turn("a", "x")]);
            let all = talked[field].as_array_mut().unwrap();
            all.push(json!({"role": "user", "content": "well?"}));
            assert!(of_value(&talked).tool_call.is_some(), "only a user has spoken");
            let all = talked[field].as_array_mut().unwrap();
            all.push(json!({"role": "assistant", "content": "It says x."}));
            all.push(json!({"role": "user", "content": "thanks"}));
            assert_eq!(of_value(&talked).tool_call, None, "{field}");
        }
    }

    #[test]
    fn how_it_is_sent_does_not_matter_and_what_it_says_does() {
        let plain = of(r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#);
        let sent = of(r#"{"user":"u","stream":true,"metadata":{"a":1},"max_tokens":5, "n":2,
            "messages" : [{"role":"user","content":"a"}],"model":"other","session_id":"s"}"#);
        assert_eq!(plain, sent);
        for other in [
            r#"{"messages":[{"role":"user","content":"b"}]}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"system":"s"}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"tools":[]}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"previous_response_id":"r"}"#,
            r#"{"input":[{"role":"user","content":"a"}]}"#,
        ] {
            assert_ne!(of(other).request, plain.request, "{other}");
        }
        assert_ne!(of(r#"{"prompt":"a"}"#).request, of(r#"{"input":"a"}"#).request);
        assert_ne!(of(r#"{"query":"a"}"#).request, of(r#"{"query":"b"}"#).request);
    }

    #[test]
    fn other_forms_of_calls_are_read() {
        let call = |message: &str| of(&format!(r#"{{"messages":[{message}]}}"#)).tool_call;
        let old = r#"{"role":"assistant","function_call":{"arguments":"1","name":"f"}}"#;
        let new =
            r#"{"tool_calls":[{"function":{"name":"f","arguments":"1"}}],"role":"assistant"}"#;
        let custom = r#"{"role":"assistant","tool_calls":[{"custom":{"name":"f","input":"1"}}]}"#;
        assert!(call(old).is_some());
        assert_eq!([call(old), call(custom)], [call(new); 2]);
        let item = r#"{"input":[{"name":"f","input":"1","type":"custom_tool_call"}]}"#;
        assert_eq!(of(item).tool_call, call(new));
        let moved = r#"{"role":"assistant","function_call":{"arguments":"","name":"f1"}}"#;
        assert_ne!(call(moved), call(old));
    }

    #[test]
    fn odd_bodies_hold_no_call() {
        for messages in [
            "null",
            "1",
            "\"x\"",
            "{}",
            "[]",
            "[null,1,\"a\",[]]",
            r#"[{"role":"assistant"}]"#,
            r#"[{"role":"assistant","tool_calls":null,"content":null,"function_call":null}]"#,
            r#"[{"role":"assistant","tool_calls":[],"content":[]}]"#,
            r#"[{"role":"assistant","tool_calls":{},"content":{},"function_call":[]}]"#,
            r#"[{"role":"assistant","tool_calls":[null,{},{"function":null}]}]"#,
            r#"[{"role":"assistant","content":[{"type":null},{"type":"tool_use"}]}]"#,
            r#"[{"role":null,"tool_calls":[{"function":{"name":"f"}}]}]"#,
            r#"[{"tool_calls":[{"function":{"name":"f"}}]}]"#,
            r#"[{"type":"function_call"}]"#,
        ] {
            for field in ["messages", "input"] {
                let body = format!(r#"{{"{field}":{messages}}}"#);
                assert_eq!(of(&body).tool_call, None, "{body}");
            }
        }
    }

    proptest! {
        #[test]
        fn one_byte_makes_another_request(text in "[ -!#-\\[\\]-~]{1,300}", at in any::<prop::sample::Index>()) {
            let body = format!(r#"{{"prompt":"{text}"}}"#);
            let mut other = body.clone().into_bytes();
            let at = 11 + at.index(text.len());
            other[at] = if other[at] == b'a' { b'b' } else { b'a' };
            let other = String::from_utf8(other).unwrap();
            prop_assert_ne!(of(&body).request, of(&other).request);
            prop_assert_eq!(of(&body), of(&body));
        }
    }
}
