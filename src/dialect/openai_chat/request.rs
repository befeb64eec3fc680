//! Reads a request of Chat Completions.
//!
//! What may be left out and what must be refused is decided by the writer of the other dialect, from
//! `Request::rest`; refused here is what is malformed, and what no other dialect could ever say.

use crate::dialect::canonical::fields::{
    array, count, find, flag, items, listed, meant, members, number, object, text, word,
    written_members,
};
use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::request::{Choice, Effort, Field, Format, Reasoning, Request};
use crate::dialect::canonical::text::{Raw, Text};
use crate::dialect::openai_chat::{talk, toolbox};

/// Bytes of a client's key that an error repeats.
const KEY_BYTES_MAX: usize = 64;

/// Reads the body of a request, which has been checked to be one JSON object.
///
/// # Errors
/// If a field is not what this dialect allows: its path, and what is allowed.
pub fn read(body: &[u8]) -> Result<Request<'_>, Refused> {
    let mut reading = Reading::default();
    for (key, value) in written_members(body) {
        let name = meant(key);
        if !reading.conversation(&name, value)?
            && !reading.settings(&name, value)?
            && !reading.shape(&name, value)?
            && !is_nothing(&name, value)
        {
            // A field in disguise could pass by those who look for its name.
            let why = "must be written without escapes";
            let short = || String::from_utf8_lossy(name.get(..KEY_BYTES_MAX).unwrap_or(&name));
            let name = listed(key).ok_or_else(|| Refused::new(short(), why))?;
            reading.request.rest.push(Field { name, value: Raw(value) });
        }
    }
    reading.finish()
}

/// A request being read, with the older forms of some fields.
#[derive(Default)]
struct Reading<'a> {
    request: Request<'a>,
    has_messages: bool,
    max_tokens: Option<Raw<'a>>,
    old_choice: Option<Choice<'a>>,
}

impl<'a> Reading<'a> {
    /// What is said, and the tools.
    fn conversation(&mut self, name: &[u8], value: &'a [u8]) -> Result<bool, Refused> {
        let request = &mut self.request;
        match name {
            b"model" => request.model = Some(Raw(value)),
            b"messages" => {
                let talk = talk::read(value)?;
                (request.system, request.turns) = (talk.system, talk.turns);
                request.rest.extend(talk.rest);
                self.has_messages = true;
            }
            b"tools" => request.tools.extend(toolbox::tools(value)?),
            b"functions" => request.tools.extend(toolbox::functions(value)?),
            b"tool_choice" => request.choice = Some(toolbox::choice(value)?),
            b"function_call" => self.old_choice = Some(toolbox::old_choice(value)?),
            b"parallel_tool_calls" => {
                request.parallel_calls = Some(flag(value, "parallel_tool_calls")?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// How the model is to answer.
    fn settings(&mut self, name: &[u8], value: &'a [u8]) -> Result<bool, Refused> {
        let request = &mut self.request;
        match name {
            b"max_completion_tokens" => {
                count(value, "max_completion_tokens")?;
                request.output_cap = Some(Raw(value));
            }
            b"max_tokens" => {
                count(value, "max_tokens")?;
                self.max_tokens = Some(Raw(value));
            }
            b"temperature" => request.temperature = Some(number(value, "temperature")?),
            b"top_p" => request.top_p = Some(number(value, "top_p")?),
            // Not OpenAI's, but that of many who copy its API.
            b"top_k" => request.top_k = Some(number(value, "top_k")?),
            b"stop" => request.stop = stop(value)?,
            b"reasoning_effort" => {
                let effort = Some(effort(value, "reasoning_effort")?);
                request.reasoning.get_or_insert_default().effort = effort;
            }
            b"reasoning" => reasoning(value, request.reasoning.get_or_insert_default())?,
            b"verbosity" => request.verbosity = Some(word(value, "verbosity")?),
            b"user" => request.user = Some(text(value, "user")?),
            b"service_tier" => request.service_tier = Some(word(value, "service_tier")?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// In which form the answer is to come.
    fn shape(&mut self, name: &[u8], value: &'a [u8]) -> Result<bool, Refused> {
        let request = &mut self.request;
        match name {
            b"stream" => request.stream = flag(value, "stream")?,
            b"stream_options" => {
                let wanted = find(object(value, "stream_options")?, "include_usage");
                let field = "stream_options.include_usage";
                request.stream_usage = wanted.map_or(Ok(false), |value| flag(value, field))?;
            }
            b"response_format" => request.format = format(value)?,
            b"n" if value != b"1" => {
                let why = "must be 1: the provider's dialect knows one answer only";
                return Err(Refused::new("n", why));
            }
            b"n" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(mut self) -> Result<Request<'a>, Refused> {
        if !self.has_messages {
            return Err(Refused::new("messages", "is missing"));
        }
        let request = &mut self.request;
        request.output_cap = request.output_cap.or(self.max_tokens);
        request.choice = request.choice.take().or(self.old_choice);
        Ok(self.request)
    }
}

/// Whether a field that we do not carry says nothing but what is so anyway.
fn is_nothing(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"store" | b"logprobs" => value == b"false",
        b"frequency_penalty" | b"presence_penalty" | b"top_logprobs" => {
            matches!(value, b"0" | b"0.0")
        }
        b"logit_bias" | b"metadata" => members(value).next().is_none() && value.starts_with(b"{"),
        b"modalities" => items(value).all(|item| item == b"\"text\""),
        _ => false,
    }
}

fn stop(value: &[u8]) -> Result<Vec<Text<'_>>, Refused> {
    if let Some(text) = Text::token(value) {
        return Ok(vec![text]);
    }
    if array(value, "stop").is_err() {
        return Err(Refused::new("stop", "must be a string or an array of strings"));
    }
    let one = |(at, item)| text(item, format_args!("stop[{at}]"));
    items(value).enumerate().map(one).collect()
}

fn effort(value: &[u8], field: &str) -> Result<Effort, Refused> {
    let word = text(value, field)?;
    word.plain().and_then(|word| Effort::from_name(&word)).ok_or_else(|| {
        let why = "must be `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`";
        Refused::new(field, why)
    })
}

/// `OpenRouter`'s object for the same.
fn reasoning<'a>(value: &'a [u8], into: &mut Reasoning<'a>) -> Result<(), Refused> {
    for (key, value) in members(object(value, "reasoning")?) {
        match &*key {
            b"effort" => into.effort = Some(effort(value, "reasoning.effort")?),
            b"max_tokens" => into.budget_tokens = Some(count(value, "reasoning.max_tokens")?),
            b"enabled" if flag(value, "reasoning.enabled")? => into.adaptive = true,
            b"enabled" => into.effort = Some(Effort::Off),
            b"summary" => into.summary = Some(word(value, "reasoning.summary")?),
            _ => {}
        }
    }
    Ok(())
}

fn format(value: &[u8]) -> Result<Option<Format<'_>>, Refused> {
    match find(object(value, "response_format")?, "type") {
        Some(b"\"text\"") => Ok(None),
        Some(b"\"json_object\"") => Ok(Some(Format::JsonObject)),
        Some(b"\"json_schema\"") => schema(value).map(Some),
        _ => {
            let why = "must be `text`, `json_object` or `json_schema`";
            Err(Refused::new("response_format.type", why))
        }
    }
}

fn schema(value: &[u8]) -> Result<Format<'_>, Refused> {
    let field = "response_format.json_schema";
    let (mut name, mut description, mut schema, mut strict) = (None, None, Raw(b"{}"), None);
    let value = find(value, "json_schema").ok_or_else(|| Refused::new(field, "is missing"))?;
    for (key, value) in members(object(value, field)?) {
        match &*key {
            b"name" => name = Some(text(value, format_args!("{field}.name"))?),
            b"description" => description = Some(text(value, format_args!("{field}.description"))?),
            b"schema" => schema = Raw(object(value, format_args!("{field}.schema"))?),
            b"strict" => strict = Some(flag(value, format_args!("{field}.strict"))?),
            _ => {}
        }
    }
    Ok(Format::JsonSchema { name, description, schema, strict })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = r#""messages":[{"role":"user","content":"hi"}]"#;

    fn with<T>(more: &str, look: impl FnOnce(Request<'_>) -> T) -> T {
        let body = format!("{{{HELLO},{more}}}");
        look(read(body.as_bytes()).expect(more))
    }

    #[test]
    fn the_settings_of_a_request() {
        let more = r#""model":"m","max_tokens":5,"max_completion_tokens":7,"temperature":0.5,"top_p":1,
            "stop":["a","b"],"stream":true,"stream_options":{"include_usage":true},"verbosity":"low",
            "reasoning_effort":"xhigh","user":"u","service_tier":"flex","parallel_tool_calls":false,"n":1"#;
        with(more, |request| {
            assert_eq!(request.model, Some(Raw(b"\"m\"")));
            assert_eq!(request.output_cap, Some(Raw(b"7")));
            assert_eq!(request.temperature, Some(Raw(b"0.5")));
            assert_eq!(request.stop.len(), 2);
            assert!(request.stream && request.stream_usage);
            assert_eq!(request.reasoning.and_then(|one| one.effort), Some(Effort::XHigh));
            assert_eq!(request.parallel_calls, Some(false));
            assert_eq!(request.service_tier, Some(Raw(b"\"flex\"")));
            assert!(request.rest.is_empty());
        });
        with(r#""max_tokens":5,"stop":"x""#, |request| {
            assert_eq!(request.output_cap, Some(Raw(b"5")));
            assert_eq!(request.stop, [Text::of("x")]);
        });
    }

    #[test]
    fn the_rest_is_kept_and_what_says_nothing_is_not() {
        let more = r#""seed":1,"metadata":{"a":"b"},"store":false,"logit_bias":{},"modalities":["text"],
            "presence_penalty":0,"prediction":null,"logprobs":true"#;
        with(more, |request| {
            let names: Vec<&str> = request.rest.iter().map(|field| field.name).collect();
            assert_eq!(names, ["seed", "metadata", "logprobs"]);
        });
    }

    #[test]
    fn names_that_no_field_has_may_be_written_with_escapes() {
        with(r#""\u00e9":1,"a\"b":2"#, |request| {
            let names: Vec<&str> = request.rest.iter().map(|field| field.name).collect();
            assert_eq!(names, [r"\u00e9", r#"a\"b"#]);
        });
    }

    #[test]
    fn forms_of_the_answer() {
        with(r#""response_format":{"type":"text"}"#, |request| assert_eq!(request.format, None));
        let more = r#""response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"a":1},"strict":true}}"#;
        with(more, |request| {
            let expected = Format::JsonSchema {
                name: Some(Text::of("x")),
                description: None,
                schema: Raw(br#"{"a":1}"#),
                strict: Some(true),
            };
            assert_eq!(request.format, Some(expected));
        });
    }

    #[test]
    fn reasoning_as_a_word_or_an_object() {
        with(r#""reasoning":{"effort":"low","max_tokens":2000}"#, |request| {
            let reasoning = request.reasoning.expect("some");
            assert_eq!(reasoning.effort, Some(Effort::Low));
            assert_eq!(reasoning.budget_tokens, Some(2000));
        });
        with(r#""reasoning":{"enabled":true}"#, |request| {
            assert!(request.reasoning.expect("some").adaptive);
        });
    }

    #[test]
    fn old_functions_are_tools() {
        let more = r#""functions":[{"name":"f"}],"function_call":{"name":"f"}"#;
        with(more, |request| {
            assert_eq!(request.tools.len(), 1);
            assert_eq!(request.choice, Some(Choice::Tool(Text::of("f"))));
        });
    }

    #[test]
    fn what_is_malformed_is_refused_by_name() {
        for (more, field) in [
            (r#""n":2"#, "n"),
            (r#""max_tokens":-1"#, "max_tokens"),
            (r#""temperature":"hot""#, "temperature"),
            (r#""stop":7"#, "stop"),
            (r#""stop":["a",7]"#, "stop[1]"),
            (r#""stream":"yes""#, "stream"),
            (r#""reasoning_effort":"huge""#, "reasoning_effort"),
            (r#""response_format":{"type":"grammar"}"#, "response_format.type"),
            (r#""response_format":{"type":"json_schema"}"#, "response_format.json_schema"),
            (r#""tool_choice":"perhaps""#, "tool_choice"),
            (r#""stre\u0061m":"yes""#, "stream"),
            (r#""user":{}"#, "user"),
            (r#""mcp\u005fservers":[]"#, "mcp_servers"),
        ] {
            let body = format!("{{{HELLO},{more}}}");
            assert_eq!(read(body.as_bytes()).expect_err(more).field, field);
        }
        assert_eq!(read(b"{}").expect_err("empty").field, "messages");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered(text in r#"(\{|\}|\[|\]|:|,|"|messages|role|user|content|tool|\\u0061|7| ){0,40}"#) {
            let _ = read(text.as_bytes());
        }
    }
}
