//! The conversation of a request: `input` and `instructions`, as turns.
//!
//! Items of this dialect are flat: text, thoughts, calls and their results stand in one list. What one
//! answer of the model brought becomes one turn, and results that follow each other become one.

use std::collections::HashSet;

use crate::dialect::canonical::fields::{
    Walk, array, find, items, members, needed, needed_text, object, text, within,
};
use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::request::{
    Call, Content, Input, Part, Place, Role, Thinking, ToolResult, Turn,
};
use crate::dialect::canonical::text::Text;
use crate::dialect::openai_responses::content::{self, Speaker};
use crate::dialect::openai_responses::thoughts::Encrypted;

/// The conversation.
#[derive(Debug, Default)]
pub struct Conversation<'a> {
    /// The instructions before it.
    pub system: Vec<Part<'a>>,
    /// What was said.
    pub turns: Vec<Turn<'a>>,
    /// Whether thoughts were left out that only another provider can read.
    pub has_opaque_thoughts: bool,
    /// The calls so far, by their ids as written.
    calls: HashSet<&'a [u8]>,
    /// Whether the item before was the result of a call.
    after_result: bool,
}

/// The members of an item that have a meaning.
#[derive(Default)]
struct Found<'a> {
    kind: Option<&'a [u8]>,
    role: Option<&'a [u8]>,
    content: Option<&'a [u8]>,
    call_id: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    arguments: Option<&'a [u8]>,
    input: Option<&'a [u8]>,
    output: Option<&'a [u8]>,
    summary: Option<&'a [u8]>,
    encrypted: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    fn read(item: &'a [u8]) -> Result<Self, Refused> {
        let mut found = Self::default();
        for (key, value) in members(object(item, "")?) {
            let value = Some(value);
            match &*key {
                b"type" => found.kind = value,
                b"role" => found.role = value,
                b"content" => found.content = value,
                b"call_id" => found.call_id = value,
                b"name" => found.name = value,
                b"arguments" => found.arguments = value,
                b"input" => found.input = value,
                b"output" => found.output = value,
                b"summary" => found.summary = value,
                b"encrypted_content" => found.encrypted = value,
                _ => {}
            }
        }
        Ok(found)
    }
}

impl<'a> Conversation<'a> {
    /// Reads `input` where `walk` stands before it: most of a request, so it is entered and not passed
    /// over first.
    ///
    /// # Errors
    /// What is not as the dialect has it, and what only one provider could know.
    pub fn read(walk: &mut Walk<'a>) -> Result<Self, Refused> {
        let mut conversation = Self::default();
        if walk.peek() != b'[' {
            let text = Text::token(walk.skip());
            let text =
                text.ok_or_else(|| Refused::new("input", "must be a string or an array of items"))?;
            conversation.say(Role::User, Content::Text(text), Place::default());
            return Ok(conversation);
        }
        walk.enter();
        let mut number = 0;
        while walk.item() {
            let read = conversation.item(number, walk.skip());
            read.map_err(within(|| format!("input[{number}]")))?;
            number += 1;
        }
        Ok(conversation)
    }

    /// Puts `instructions` in front.
    ///
    /// # Errors
    /// If they are no string.
    pub fn instruct(&mut self, instructions: &'a [u8]) -> Result<(), Refused> {
        let kind = Content::Text(text(instructions, "instructions")?);
        self.system.insert(0, Part { kind, cache: None, place: Place::default() });
        Ok(())
    }

    fn item(&mut self, number: usize, item: &'a [u8]) -> Result<(), Refused> {
        let found = Found::read(item)?;
        let kind = found.kind.or(found.role.map(|_| &b"\"message\""[..]));
        let is_result =
            matches!(kind, Some(b"\"function_call_output\"" | b"\"custom_tool_call_output\""));
        match needed(kind, "type")? {
            b"\"message\"" => self.message(number, &found)?,
            b"\"function_call\"" => self.call(number, &found, false)?,
            b"\"custom_tool_call\"" => self.call(number, &found, true)?,
            b"\"function_call_output\"" => self.result(number, &found, false)?,
            b"\"custom_tool_call_output\"" => self.result(number, &found, true)?,
            b"\"reasoning\"" => self.reasoning(number, &found)?,
            other => return Err(foreign(other)),
        }
        self.after_result = is_result;
        Ok(())
    }

    fn message(&mut self, number: usize, found: &Found<'a>) -> Result<(), Refused> {
        let (role, speaker) = match needed(found.role, "role")? {
            b"\"user\"" => (Role::User, Speaker::User),
            b"\"assistant\"" => (Role::Assistant, Speaker::Assistant),
            b"\"system\"" | b"\"developer\"" => (Role::System, Speaker::System),
            _ => {
                let why = "must be user, assistant, system or developer";
                return Err(Refused::new("role", why));
            }
        };
        let value = needed(found.content, "content")?;
        let parts = content::read(value, "content", speaker, number)?;
        match role {
            Role::System if self.turns.is_empty() => self.system.extend(parts),
            Role::Assistant => {
                for part in parts {
                    self.say(role, part.kind, part.place);
                }
            }
            _ if parts.is_empty() => {}
            _ => self.turns.push(Turn { role, parts }),
        }
        Ok(())
    }

    fn call(&mut self, number: usize, found: &Found<'a>, custom: bool) -> Result<(), Refused> {
        let id = needed_text(found.call_id, "call_id")?;
        let name = needed_text(found.name, "name")?;
        let input = if custom {
            Input::Free(needed_text(found.input, "input")?)
        } else {
            Input::Quoted(needed_text(found.arguments, "arguments")?)
        };
        self.calls.extend(found.call_id);
        let call = Content::Call(Call { id, name, input });
        self.say(Role::Assistant, call, Place { item: number, part: None });
        Ok(())
    }

    fn result(&mut self, number: usize, found: &Found<'a>, custom: bool) -> Result<(), Refused> {
        let written = needed(found.call_id, "call_id")?;
        let id = text(written, "call_id")?;
        if !self.calls.contains(written) {
            return Err(Refused::new("call_id", "answers no call that stands before it"));
        }
        let output = needed(found.output, "output")?;
        let parts = content::read(output, "output", Speaker::User, number)?;
        let kind = Content::Result(ToolResult { id, parts, is_error: false, is_custom: custom });
        let place = Place { item: number, part: None };
        let part = Part { kind, cache: None, place };
        match self.turns.last_mut() {
            Some(turn) if self.after_result => turn.parts.push(part),
            _ => self.turns.push(Turn { role: Role::User, parts: vec![part] }),
        }
        Ok(())
    }

    /// Thoughts. Those that only their provider can read are left out, and noted.
    fn reasoning(&mut self, number: usize, found: &Found<'a>) -> Result<(), Refused> {
        let place = Place { item: number, part: None };
        let signature = match found.encrypted.map(|value| {
            Encrypted::read(value)
                .ok_or_else(|| Refused::new("encrypted_content", "must be a string"))
        }) {
            None => None,
            Some(encrypted) => match encrypted? {
                Encrypted::Signed(signature) => Some(Text::written(signature)),
                Encrypted::Redacted(data) => {
                    self.say(Role::Assistant, Content::Redacted(Text::written(data)), place);
                    return Ok(());
                }
                Encrypted::Opaque(_) => {
                    self.has_opaque_thoughts = true;
                    return Ok(());
                }
            },
        };
        let mut texts = Vec::new();
        thought_texts("summary", found.summary, &mut texts)?;
        if texts.is_empty() {
            thought_texts("content", found.content, &mut texts)?;
        }
        if texts.is_empty() && signature.is_some() {
            texts.push(Text::default());
        }
        let last = texts.len().saturating_sub(1);
        for (at, text) in texts.into_iter().enumerate() {
            let signature = signature.clone().filter(|_| at == last);
            self.say(Role::Assistant, Content::Thinking(Thinking { text, signature }), place);
        }
        Ok(())
    }

    /// One more part, in the turn that is open if it is of that role. Turns of the user's own
    /// messages stay apart.
    fn say(&mut self, role: Role, kind: Content<'a>, place: Place) {
        let part = Part { kind, cache: None, place };
        match self.turns.last_mut() {
            Some(turn) if turn.role == role && role == Role::Assistant => turn.parts.push(part),
            _ => self.turns.push(Turn { role, parts: vec![part] }),
        }
    }
}

/// The texts of `summary` or `content` of a reasoning item.
fn thought_texts<'a>(
    field: &str,
    value: Option<&'a [u8]>,
    into: &mut Vec<Text<'a>>,
) -> Result<(), Refused> {
    let Some(value) = value else { return Ok(()) };
    for (number, part) in items(array(value, field)?).enumerate() {
        let said = |part| find(part, "text").map(|value| text(value, "text")).transpose();
        let said = object(part, "").and_then(said);
        let said = said.map_err(within(|| format!("{field}[{number}]")))?;
        into.extend(said.filter(|text| !text.is_empty()));
    }
    Ok(())
}

/// An item that has no place in any other dialect.
fn foreign(kind: &[u8]) -> Refused {
    let why = match kind {
        b"\"item_reference\"" => {
            "refers to an item that only another provider has stored; with `store: false` clients send items whole"
        }
        b"\"compaction\"" => "is bound to the provider that wrote it",
        _ => {
            "must be message, function_call, function_call_output, custom_tool_call, custom_tool_call_output or reasoning"
        }
    };
    Refused::new("type", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &str) -> Result<Conversation<'_>, Refused> {
        Conversation::read(&mut Walk::new(input.as_bytes()))
    }

    fn shape(conversation: &Conversation<'_>) -> String {
        let letter = |part: &Part<'_>| match &part.kind {
            Content::Text(_) => 't',
            Content::Refusal(_) => 'r',
            Content::Image(_) => 'i',
            Content::Document(_) => 'd',
            Content::Call(_) => 'c',
            Content::Result(_) => 'o',
            Content::Thinking(_) => 'h',
            Content::Redacted(_) => 'x',
        };
        let turn = |turn: &Turn<'_>| {
            let parts: String = turn.parts.iter().map(letter).collect();
            let role = match turn.role {
                Role::User => 'U',
                Role::Assistant => 'A',
                Role::System => 'S',
            };
            format!("{role}{parts}")
        };
        conversation.turns.iter().map(turn).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_agents_conversation_becomes_turns() {
        let input = r#"[
            {"type":"message","role":"developer","content":[{"type":"input_text","text":"rules"}]},
            {"role":"user","content":"go"},
            {"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"https://x"}]},
            {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"weir1:sig"},
            {"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"weir1r:data"},
            {"type":"reasoning","id":"rs_3","summary":[],"content":null,"encrypted_content":"gAAA"},
            {"type":"message","role":"assistant","id":"msg_1","status":"completed","content":[{"type":"output_text","text":"b","annotations":[]}]},
            {"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{}"},
            {"type":"custom_tool_call","call_id":"c2","name":"p","input":"*** patch"},
            {"type":"function_call_output","call_id":"c1","output":"1"},
            {"type":"custom_tool_call_output","call_id":"c2","output":[{"type":"input_text","text":"2"},{"type":"input_image","file_id":"file-1"}]},
            {"role":"system","content":"more rules"},
            {"role":"user","content":"on"}]"#;
        let conversation = read(input).expect("a conversation");
        assert_eq!(shape(&conversation), "Ut Uti Ahxtcc Uoo St Ut");
        assert_eq!(conversation.system.len(), 1);
        assert!(conversation.has_opaque_thoughts);
        let Content::Thinking(thinking) = &conversation.turns[2].parts[0].kind else { panic!() };
        assert_eq!(thinking.signature, Some(Text::written(b"sig")));
        let Content::Result(result) = &conversation.turns[3].parts[1].kind else { panic!() };
        assert!(result.is_custom && result.parts.len() == 2);
        assert_eq!(conversation.turns[3].parts[1].place.item, 10);
    }

    #[test]
    fn a_string_is_one_message_of_the_user() {
        let mut conversation = read("\"hi\"").expect("valid");
        conversation.instruct(b"\"be kind\"").expect("a string");
        assert_eq!((shape(&conversation).as_str(), conversation.system.len()), ("Ut", 1));
        assert!(!conversation.has_opaque_thoughts);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        for (input, field) in [
            ("7", "input"),
            ("[7]", "input[0]"),
            (r#"["a"]"#, "input[0]"),
            (r"[{}]", "input[0].type"),
            (r#"[{"role":"tool","content":"a"}]"#, "input[0].role"),
            (r#"[{"role":"user"}]"#, "input[0].content"),
            (r#"[{"role":"user","content":{"a":1}}]"#, "input[0].content"),
            (
                r#"[{"role":"user","content":[{"type":"input_text","text":1}]}]"#,
                "input[0].content[0].text",
            ),
            (r#"[{"type":"item_reference","id":"msg_1"}]"#, "input[0].type"),
            (r#"[{"type":"web_search_call"}]"#, "input[0].type"),
            (r#"[{"type":"function_call","name":"f","arguments":"{}"}]"#, "input[0].call_id"),
            (
                r#"[{"type":"function_call","call_id":"c","name":"f","arguments":{}}]"#,
                "input[0].arguments",
            ),
            (r#"[{"type":"custom_tool_call","call_id":"c","name":"f"}]"#, "input[0].input"),
            (r#"[{"type":"function_call_output","call_id":"c","output":"x"}]"#, "input[0].call_id"),
            (r#"[{"type":"reasoning","summary":{}}]"#, "input[0].summary"),
            (r#"[{"type":"reasoning","summary":[{"text":1}]}]"#, "input[0].summary[0].text"),
            (r#"[{"type":"reasoning","encrypted_content":1}]"#, "input[0].encrypted_content"),
        ] {
            let refused = read(input).map(|_| ()).expect_err(input);
            assert_eq!(refused.field, field, "{input}: {}", refused.why);
        }
    }
}
