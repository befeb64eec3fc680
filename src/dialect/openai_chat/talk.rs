//! Reads the messages of a request into the instructions before the conversation and its turns.
//!
//! A tool's answer must name a call that came before it: one that does not is refused here, because
//! every provider refuses it in words of its own.

use crate::dialect::canonical::fields::{array, items, members, name, object, text, within};
use crate::dialect::canonical::index::Index;
use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::request::{
    Content, Field, Input, Part, Place, Role, ToolResult, Turn,
};
use crate::dialect::canonical::text::{Raw, Text};
use crate::dialect::openai_chat::piece::{self, Speaker};
use crate::dialect::openai_chat::thought::{self, Detail, Thought};
use crate::dialect::openai_chat::toolbox;

/// The messages of a request, sorted.
#[derive(Debug, Default)]
pub(super) struct Talk<'a> {
    /// The instructions that stand before everything else.
    pub(super) system: Vec<Part<'a>>,
    /// All the rest.
    pub(super) turns: Vec<Turn<'a>>,
    /// What messages say that the neutral form has no place for.
    pub(super) rest: Vec<Field<'a>>,
    /// Whether the calls that a result may name are custom ones, by their ids.
    calls: Index<'a, bool>,
    /// The ids of functions called in the old way, where calls have none, by the functions' names.
    old_calls: Index<'a, Text<'a>>,
    /// Whether the last turn is made of results only, so that the next one joins them.
    in_results: bool,
}

/// The fields of one message.
#[derive(Default)]
struct Message<'a> {
    role: Option<&'a [u8]>,
    content: Option<&'a [u8]>,
    refusal: Option<&'a [u8]>,
    tool_calls: Option<&'a [u8]>,
    function_call: Option<&'a [u8]>,
    tool_call_id: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    /// `reasoning_content`, else `reasoning`.
    reasoning: Option<&'a [u8]>,
    details: Option<&'a [u8]>,
    cache: Option<&'a [u8]>,
}

/// The value of `messages`.
pub(super) fn read(value: &[u8]) -> Result<Talk<'_>, Refused> {
    let mut talk = Talk::default();
    for (at, value) in items(array(value, "messages")?).enumerate() {
        talk.message(at, value).map_err(within(|| format!("messages[{at}]")))?;
    }
    Ok(talk)
}

impl<'a> Talk<'a> {
    fn message(&mut self, at: usize, value: &'a [u8]) -> Result<(), Refused> {
        let message = self.fields(object(value, "")?)?;
        let role = message.role.map(|role| text(role, "role")).transpose()?.unwrap_or_default();
        let (speaker, neutral) = match role.plain().as_deref() {
            Some("system" | "developer") => (Speaker::System, Role::System),
            Some("user") => (Speaker::User, Role::User),
            Some("assistant") => (Speaker::Assistant, Role::Assistant),
            Some("tool") => return self.tool(at, &message),
            Some("function") => return self.function(at, &message),
            _ => {
                let why =
                    "must be `system`, `developer`, `user`, `assistant`, `tool` or `function`";
                return Err(Refused::new("role", why));
            }
        };
        self.in_results = false;
        let parts = match speaker {
            Speaker::Assistant => self.assistant(at, &message)?,
            _ => content(at, &message, speaker)?,
        };
        if neutral == Role::System && self.turns.is_empty() {
            self.system.extend(parts);
        } else {
            self.turns.push(Turn { role: neutral, parts });
        }
        Ok(())
    }

    /// Finds the fields of a message, and keeps those that say something we cannot carry.
    fn fields(&mut self, value: &'a [u8]) -> Result<Message<'a>, Refused> {
        let mut message = Message::default();
        for (key, value) in members(value) {
            match &*key {
                b"role" => message.role = Some(value),
                b"content" => message.content = Some(value),
                b"refusal" => message.refusal = Some(value),
                b"tool_calls" => message.tool_calls = Some(value),
                b"function_call" => message.function_call = Some(value),
                b"tool_call_id" => message.tool_call_id = Some(value),
                b"reasoning_content" => message.reasoning = Some(value),
                b"reasoning" => message.reasoning = message.reasoning.or(Some(value)),
                b"reasoning_details" => message.details = Some(value),
                b"cache_control" => message.cache = Some(value),
                b"audio" => {
                    let why = "is audio, which cannot be carried to the provider";
                    return Err(Refused::new("audio", why));
                }
                b"name" => message.name = Some(value),
                // What clients keep of an answer, without meaning in a request.
                b"annotations" | b"id" | b"index" | b"images" | b"provider_specific_fields" => {}
                _ => self.rest.push(Field { name: "messages[].*", value: Raw(value) }),
            }
        }
        let is_function =
            message.role == Some(b"\"function\"") || message.role == Some(b"\"tool\"");
        if let Some(value) = message.name.filter(|_| !is_function) {
            self.rest.push(Field { name: "messages[].name", value: Raw(value) });
        }
        Ok(message)
    }

    /// What the model said: thoughts, text, a refusal, calls.
    fn assistant(&mut self, at: usize, message: &Message<'a>) -> Result<Vec<Part<'a>>, Refused> {
        let mut parts = self.thoughts(at, message)?;
        let place = Place { item: at, part: None };
        let has_calls = message.tool_calls.is_some() || message.function_call.is_some();
        let whole = |kind| Part { kind, cache: None, place };
        if let Some(value) = message.content {
            let said = content_parts(at, value, Speaker::Assistant, message.cache)?;
            let is_empty =
                |part: &Part<'_>| matches!(&part.kind, Content::Text(text) if text.is_empty());
            let silent = has_calls || message.refusal.is_some();
            parts.extend(said.into_iter().filter(|part| !silent || !is_empty(part)));
        }
        if let Some(refusal) = message.refusal {
            parts.push(whole(Content::Refusal(text(refusal, "refusal")?)));
        }
        for (nth, value) in items(message.tool_calls.unwrap_or_default()).enumerate() {
            let call = toolbox::call(value).map_err(within(|| format!("tool_calls[{nth}]")))?;
            let is_custom = matches!(call.input, Input::Free(_));
            self.calls.insert(call.id.clone(), is_custom);
            let place = Place { item: at, part: Some(nth) };
            parts.push(Part { kind: Content::Call(call), cache: None, place });
        }
        if let Some(value) = message.function_call {
            let id = Text::of(&format!("call_{at}"));
            let call = toolbox::function_call(value, id.clone())
                .map_err(within(|| "function_call".into()))?;
            self.calls.insert(id.clone(), false);
            self.old_calls.insert(call.name.clone(), id);
            parts.push(whole(Content::Call(call)));
        }
        if let Some(calls) = message.tool_calls {
            array(calls, "tool_calls")?;
        }
        Ok(parts)
    }

    fn thoughts(&mut self, at: usize, message: &Message<'a>) -> Result<Vec<Part<'a>>, Refused> {
        let place = Place { item: at, part: None };
        let plain = message.reasoning.map(|value| text(value, "reasoning_content")).transpose()?;
        let details = message.details.unwrap_or_default();
        if items(details).any(|detail| Detail::read(detail).is_foreign) {
            let name = "messages[].reasoning_details";
            self.rest.push(Field { name, value: Raw(details) });
        }
        let part = |thought| {
            let kind = match thought {
                Thought::Aloud(thinking) => Content::Thinking(thinking),
                Thought::Redacted(data) => Content::Redacted(data),
            };
            Part { kind, cache: None, place }
        };
        Ok(thought::read(plain, message.details).into_iter().map(part).collect())
    }

    /// What a tool answered.
    fn tool(&mut self, at: usize, message: &Message<'a>) -> Result<(), Refused> {
        let id = name(message.tool_call_id, "tool_call_id")?;
        let Some(&is_custom) = self.calls.get(&id) else {
            return Err(Refused::new("tool_call_id", "names no call of an earlier message"));
        };
        self.result(at, message, ToolResult { id, parts: Vec::new(), is_error: false, is_custom })
    }

    /// What a function answered, in the old way.
    fn function(&mut self, at: usize, message: &Message<'a>) -> Result<(), Refused> {
        let name = name(message.name, "name")?;
        let Some(id) = self.old_calls.get(&name).cloned() else {
            return Err(Refused::new("name", "names no function called in an earlier message"));
        };
        let result = ToolResult { id, parts: Vec::new(), is_error: false, is_custom: false };
        self.result(at, message, result)
    }

    /// Puts a result with those before it, or into a turn of its own.
    fn result(
        &mut self,
        at: usize,
        message: &Message<'a>,
        mut result: ToolResult<'a>,
    ) -> Result<(), Refused> {
        // A mark on the message or on any part of it stands on the whole result.
        let mut parts = match message.content {
            Some(value) => content_parts(at, value, Speaker::Tool, message.cache)?,
            None => Vec::new(),
        };
        let cache = parts.iter_mut().rev().find_map(|part| part.cache.take());
        result.parts = parts;
        let place = Place { item: at, part: None };
        let part = Part { kind: Content::Result(result), cache, place };
        match self.turns.last_mut().filter(|_| self.in_results) {
            Some(turn) => turn.parts.push(part),
            None => self.turns.push(Turn { role: Role::User, parts: vec![part] }),
        }
        self.in_results = true;
        Ok(())
    }
}

fn content<'a>(
    at: usize,
    message: &Message<'a>,
    speaker: Speaker,
) -> Result<Vec<Part<'a>>, Refused> {
    let value = message.content.ok_or_else(|| Refused::new("content", "is missing"))?;
    content_parts(at, value, speaker, message.cache)
}

/// The parts of a content. A cache mark on the message itself stands on the last of them.
fn content_parts<'a>(
    at: usize,
    value: &'a [u8],
    speaker: Speaker,
    cache: Option<&'a [u8]>,
) -> Result<Vec<Part<'a>>, Refused> {
    let mut parts = piece::read(value, speaker, at)?;
    if let (Some(cache), Some(last)) = (cache, parts.last_mut()) {
        last.cache = last.cache.or(Some(Raw(object(cache, "cache_control")?)));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::request::Thinking;

    fn talk(text: &str) -> Talk<'_> {
        read(text.as_bytes()).expect(text)
    }

    fn refused(text: &str) -> String {
        read(text.as_bytes()).expect_err(text).field
    }

    #[test]
    fn leading_instructions_are_the_system_and_later_ones_turns() {
        let talk = talk(
            r#"[{"role":"system","content":"a"},{"content":[{"type":"text","text":"b"}],"role":"developer"},
            {"role":"user","content":"c"},{"role":"developer","content":"d"}]"#,
        );
        assert_eq!(talk.system.len(), 2);
        let roles: Vec<Role> = talk.turns.iter().map(|turn| turn.role).collect();
        assert_eq!(roles, [Role::User, Role::System]);
    }

    const CALLS: &str = r#"{"role":"assistant","content":"","tool_calls":[
        {"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}},
        {"id":"c2","type":"custom","custom":{"name":"g","input":"x"}}]}"#;

    #[test]
    fn results_in_a_row_are_one_turn() {
        let text = format!(
            r#"[{CALLS},{{"role":"tool","tool_call_id":"c1","content":"r"}},
            {{"role":"tool","tool_call_id":"c\u0032","content":[{{"type":"text","text":"s","cache_control":{{}}}}]}},
            {{"role":"user","content":"go on"}}]"#
        );
        let talk = talk(&text);
        assert_eq!(talk.turns.len(), 3);
        assert_eq!(talk.turns[0].parts.len(), 2, "empty text beside calls says nothing");
        let results = &talk.turns[1];
        assert_eq!((results.role, results.parts.len()), (Role::User, 2));
        let Content::Result(second) = &results.parts[1].kind else { panic!("{results:?}") };
        assert!(second.is_custom && results.parts[1].cache.is_some());
        assert_eq!(results.parts[1].place, Place { item: 2, part: None });
    }

    #[test]
    fn old_functions_get_ids() {
        let talk = talk(
            r#"[{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},
            {"role":"function","name":"f","content":"r"}]"#,
        );
        let Content::Call(call) = &talk.turns[0].parts[0].kind else { panic!("{talk:?}") };
        let Content::Result(result) = &talk.turns[1].parts[0].kind else { panic!("{talk:?}") };
        assert_eq!(call.id, result.id);
    }

    #[test]
    fn thoughts_come_first() {
        let talk = talk(
            r#"[{"role":"assistant","content":"a","refusal":null,"reasoning_content":"hm",
            "reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"S","format":"anthropic-claude-v1","index":0},
            {"type":"reasoning.encrypted","data":"x","format":"openai-responses-v1"}]}]"#,
        );
        let thinking =
            Thinking { text: Text::written(b"hm"), signature: Some(Text::written(b"S")) };
        assert_eq!(talk.turns[0].parts[0].kind, Content::Thinking(thinking));
        assert_eq!(talk.rest[0].name, "messages[].reasoning_details");
    }

    #[test]
    fn what_has_no_place_is_kept_and_what_is_wrong_refused() {
        let talk =
            talk(r#"[{"role":"user","content":"a","name":"bob","mood":1,"annotations":[]}]"#);
        let mut names: Vec<&str> = talk.rest.iter().map(|field| field.name).collect();
        names.sort_unstable();
        assert_eq!(names, ["messages[].*", "messages[].name"]);
        for (text, field) in [
            ("{}", "messages"),
            ("[7]", "messages[0]"),
            (r#"[{"role":"user"}]"#, "messages[0].content"),
            (r#"[{"content":"a"}]"#, "messages[0].role"),
            (r#"[{"role":"robot","content":"a"}]"#, "messages[0].role"),
            (r#"[{"role":7,"content":"a"}]"#, "messages[0].role"),
            (r#"[{"role":"tool","content":"a"}]"#, "messages[0].tool_call_id"),
            (r#"[{"role":"tool","tool_call_id":"x","content":"a"}]"#, "messages[0].tool_call_id"),
            (r#"[{"role":"function","name":"x","content":"a"}]"#, "messages[0].name"),
            (r#"[{"role":"assistant","tool_calls":7}]"#, "messages[0].tool_calls"),
            (
                r#"[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":{}}}]}]"#,
                "messages[1].tool_calls[0].function.arguments",
            ),
        ] {
            assert_eq!(refused(text), field, "{text}");
        }
    }
}
