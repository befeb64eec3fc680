//! Reads a request of this dialect into the neutral form.
//!
//! The body has been checked to be one JSON object. What only the provider could know that the client
//! thinks of, such as an earlier answer that it stored, is refused by name.

use crate::dialect::canonical::fields::{
    Walk, array, flag, items, listed, meant, members, needed, number, object, text, word,
};
use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::request::{Effort, Field, Reasoning, Request};
use crate::dialect::canonical::text::Raw;
use crate::dialect::openai_responses::input::Conversation;
use crate::dialect::openai_responses::offer;

/// The name under which thoughts are listed that only another provider can read.
const OPAQUE_THOUGHTS: &str = "reasoning.encrypted_content";

/// Bytes of a client's key that an error repeats.
const KEY_BYTES_MAX: usize = 64;

/// What has been read so far.
#[derive(Default)]
struct Reading<'a> {
    request: Request<'a>,
    instructions: Option<&'a [u8]>,
}

/// Reads a whole request.
///
/// # Errors
/// What is not as the dialect has it, and what no other dialect can say.
pub fn read(body: &[u8]) -> Result<Request<'_>, Refused> {
    let mut reading = Reading::default();
    let mut conversation = None;
    let mut walk = Walk::new(body);
    walk.enter();
    while let Some(key) = walk.key() {
        let name = meant(key);
        if &*name == b"input" && walk.peek() != b'n' {
            conversation = Some(Conversation::read(&mut walk)?);
            continue;
        }
        let value = walk.skip();
        if value != b"null" && !reading.field(&name, value)? {
            reading.other(key, value)?;
        }
    }
    let Reading { mut request, instructions } = reading;
    let mut conversation = needed(conversation, "input")?;
    if let Some(instructions) = instructions {
        conversation.instruct(instructions)?;
    }
    request.system = conversation.system;
    request.turns = conversation.turns;
    if conversation.has_opaque_thoughts {
        request.rest.push(Field { name: OPAQUE_THOUGHTS, value: Raw(b"true") });
    }
    Ok(request)
}

impl<'a> Reading<'a> {
    /// Takes a field that the neutral form has a place for. Returns whether it was one.
    fn field(&mut self, name: &[u8], value: &'a [u8]) -> Result<bool, Refused> {
        let request = &mut self.request;
        match name {
            b"model" => request.model = Some(word(value, "model")?),
            b"instructions" => self.instructions = Some(value),
            b"stream" => request.stream = flag(value, "stream")?,
            b"tools" => request.tools = offer::tools(value)?,
            b"tool_choice" => request.choice = Some(offer::choice(value)?),
            b"parallel_tool_calls" => {
                request.parallel_calls = Some(flag(value, "parallel_tool_calls")?);
            }
            b"text" => offer::form(value, request)?,
            b"reasoning" => request.reasoning = reasoning(value)?,
            b"max_output_tokens" => {
                request.output_cap = Some(number(value, "max_output_tokens")?);
            }
            b"temperature" => request.temperature = Some(number(value, "temperature")?),
            b"top_p" => request.top_p = Some(number(value, "top_p")?),
            b"user" => request.user = Some(text(value, "user")?),
            b"service_tier" => request.service_tier = Some(word(value, "service_tier")?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Fields that the neutral form has no place for: refused, without meaning, or kept for the
    /// writer.
    fn other(&mut self, key: &'a [u8], value: &'a [u8]) -> Result<(), Refused> {
        match key {
            b"previous_response_id" | b"conversation" | b"prompt" => {
                Err(bound(key, "refers to what only another provider has stored"))
            }
            b"context_management" => Err(bound(key, "cannot be carried to the provider's dialect")),
            b"background" if value != b"false" => {
                Err(bound(key, "cannot be carried to the provider's dialect"))
            }
            // They ask for what is done anyway, or say how the stream is padded.
            b"background" | b"stream_options" => Ok(()),
            b"store" if value == b"false" => Ok(()),
            b"truncation" if value == b"\"disabled\"" => Ok(()),
            b"include" if is_only_reasoning(array(value, "include")?) => Ok(()),
            _ => self.keep(key, value),
        }
    }

    fn keep(&mut self, key: &'a [u8], value: &'a [u8]) -> Result<(), Refused> {
        // A key in disguise could pass by a check of its name.
        let Some(name) = listed(key) else {
            return Err(bound(key, "must be written without escapes"));
        };
        self.request.rest.push(Field { name, value: Raw(value) });
        Ok(())
    }
}

#[cold]
fn bound(key: &[u8], why: &str) -> Refused {
    let name = String::from_utf8_lossy(key.get(..KEY_BYTES_MAX).unwrap_or(key));
    Refused::new(name, why)
}

/// Whether `include` asks for nothing but encrypted thoughts.
fn is_only_reasoning(include: &[u8]) -> bool {
    items(include).all(|item| item == b"\"reasoning.encrypted_content\"")
}

fn reasoning(value: &[u8]) -> Result<Option<Reasoning<'_>>, Refused> {
    let mut reasoning = Reasoning::default();
    for (key, value) in members(object(value, "reasoning")?) {
        match &*key {
            b"effort" => reasoning.effort = Some(effort(value)?),
            b"summary" => reasoning.summary = Some(word(value, "reasoning.summary")?),
            // Its former name.
            b"generate_summary" if reasoning.summary.is_none() => {
                reasoning.summary = Some(word(value, "reasoning.generate_summary")?);
            }
            _ => {}
        }
    }
    Ok(Some(reasoning).filter(|reasoning| *reasoning != Reasoning::default()))
}

fn effort(value: &[u8]) -> Result<Effort, Refused> {
    let field = "reasoning.effort";
    let word = text(value, field)?.plain().and_then(|word| Effort::from_name(&word));
    word.ok_or_else(|| {
        Refused::new(field, "must be none, minimal, low, medium, high, xhigh or max")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::request::{Choice, Role};
    use proptest::prelude::*;

    /// A request as Codex sends it.
    const CODEX: &str = r#"{"model":"gpt-5.6-codex","instructions":"You are a coding agent.","input":[
        {"type":"message","role":"developer","content":[{"type":"input_text","text":"<permissions>"}]},
        {"type":"message","role":"user","content":[{"type":"input_text","text":"fix it"}]},
        {"type":"reasoning","summary":[],"encrypted_content":"gAAAA"},
        {"type":"function_call","name":"shell","arguments":"{\"command\":[\"ls\"]}","call_id":"call_1"},
        {"type":"function_call_output","call_id":"call_1","output":"src"}],
        "tools":[{"type":"function","name":"shell","description":"d","strict":false,"parameters":{"type":"object"}},
        {"type":"custom","name":"apply_patch","description":"d","format":{"type":"grammar","syntax":"lark","definition":"start: x"}}],
        "tool_choice":"auto","parallel_tool_calls":false,"reasoning":{"effort":"medium","summary":"auto"},
        "store":false,"stream":true,"include":["reasoning.encrypted_content"],"prompt_cache_key":"k","text":{"verbosity":"low"}}"#;

    #[test]
    fn a_coding_agents_request_is_read() {
        let request = read(CODEX.as_bytes()).expect("valid");
        assert_eq!(request.model, Some(Raw(b"\"gpt-5.6-codex\"")));
        assert_eq!(request.system.len(), 2);
        let roles: Vec<Role> = request.turns.iter().map(|turn| turn.role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant, Role::User]);
        assert_eq!((request.tools.len(), request.choice), (2, Some(Choice::Auto)));
        assert_eq!((request.stream, request.parallel_calls), (true, Some(false)));
        let reasoning = request.reasoning.expect("reasoning");
        assert_eq!(reasoning.effort, Some(Effort::Medium));
        let rest: Vec<&str> = request.rest.iter().map(|field| field.name).collect();
        assert_eq!(rest, ["prompt_cache_key", OPAQUE_THOUGHTS]);
    }

    #[test]
    fn what_only_the_provider_knows_is_refused_by_name() {
        for (field, value) in [
            ("previous_response_id", "\"resp_1\""),
            ("conversation", "\"conv_1\""),
            ("prompt", "{\"id\":\"p\"}"),
            ("background", "true"),
            ("context_management", "[]"),
            ("instructions", "7"),
            ("model", "7"),
            ("stream", "\"true\""),
            ("max_output_tokens", "\"7\""),
            ("temperature", "true"),
            ("user", "1"),
            ("include", "\"x\""),
            ("reasoning", "[]"),
        ] {
            let body = format!(r#"{{"input":"a","{field}":{value}}}"#);
            let refused = read(body.as_bytes()).expect_err(&body);
            assert_eq!(refused.field, field, "{body}");
            let null = format!(r#"{{"input":"a","{field}":null}}"#);
            assert!(read(null.as_bytes()).is_ok(), "{null}");
        }
        assert_eq!(read(b"{}").expect_err("no input").field, "input");
        let disguised = br#"{"input":"a","previous\u005fresponse_id":"x"}"#;
        assert!(read(disguised).is_err());
        let effort = br#"{"input":"a","reasoning":{"effort":"extreme"}}"#;
        assert_eq!(read(effort).expect_err("unknown").field, "reasoning.effort");
    }

    #[test]
    fn what_changes_nothing_is_not_kept() {
        let body = br#"{"input":"a","store":false,"background":false,"truncation":"disabled","include":[],
            "stream_options":{"include_obfuscation":false},"reasoning":{"effort":null},"metadata":null}"#;
        let request = read(body).expect("valid");
        assert!(request.rest.is_empty() && request.reasoning.is_none());
        let body = br#"{"input":"a","store":true,"truncation":"auto","include":["message.output_text.logprobs"],"max_tool_calls":3}"#;
        let kept = read(body).expect("valid");
        let names: Vec<&str> = kept.rest.iter().map(|field| field.name).collect();
        assert_eq!(names, ["store", "truncation", "include", "max_tool_calls"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = read(&bytes);
        }

        #[test]
        fn any_damage_is_answered(at in 0..CODEX.len(), byte: u8, cut in 0..CODEX.len()) {
            let mut body = CODEX.as_bytes().to_vec();
            body[at] = byte;
            let _ = read(&body);
            let _ = read(&body[..cut]);
        }
    }
}
