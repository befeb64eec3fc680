//! What a body weighs: everything in it that decides how much the request can cost at most.
//!
//! Hot path: `benches/envelope.rs`. One walk along the structure of a body that was scanned before;
//! words that merely stand in a text are never taken for fields. What cannot be bounded from the body
//! is named, not guessed; prices and limits are the business of `usage::bound`.

use memchr::memmem;

use crate::wire::envelope::Envelope;
use crate::wire::growth;
use crate::wire::json;
use crate::wire::part::{self, Part, Payload, Reason, Tool};
use crate::wire::pull::Pull;
use crate::wire::slot::Slot;
use crate::wire::syntax::Span;

/// What decides about the size of one request. Counts are upper bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Bytes of the body or of its NFKC form, whichever is more, without images in base64. A
    /// byte-level tokenizer makes no more tokens of it than it has bytes.
    pub text_bytes: u64,
    /// Messages, items and prompts: each has a frame of a few tokens around it.
    pub messages: u64,
    /// Tools that the provider describes to the model itself, at the client's cost.
    pub builtin_tools: u64,
    /// Images.
    pub images: u32,
    /// Pieces of sound.
    pub audio: u32,
    /// Answers that are paid: `n` or `best_of`, for each prompt of a list.
    pub answers: u64,
    /// Tokens of output beside the answers: a prediction is billed where it is not met.
    pub predicted_bytes: u64,
    /// The first reason why there may be more input than the body shows. It is bounded by the
    /// context window only.
    pub unbounded: Option<Reason>,
    /// The first reason why not even the context window bounds the cost.
    pub open: Option<Reason>,
    /// Tools that the provider runs: each run bills the input again.
    pub server_tools: ServerTools,
    /// Tokens that are to be set aside for thinking; the cap of the output must be above.
    pub thinking_tokens: Option<u64>,
    /// Whether it asks for a cache of long life, the writing of which is dearer.
    pub long_cache: bool,
    /// The service tier asked for.
    pub service_tier: Option<Tier>,
    /// Whether it asks for the fast and dear way (`speed`).
    pub fast: bool,
    /// Whether it names a region (`inference_geo`), which may cost more.
    pub region: bool,
}

/// How often a provider may run tools for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerTools {
    /// It has none to run.
    #[default]
    None,
    /// As many times at most.
    Limited(u64),
    /// The body names no limit, or not for all of them.
    Unlimited,
}

/// The service tier that a body asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// What the project's settings say.
    Auto,
    /// The ordinary one (`default`, `standard_only`).
    Default,
    /// Slower and cheaper.
    Flex,
    /// Faster and dearer (`priority`, `fast`).
    Priority,
    /// One that is not known, or several at once.
    Other,
}

impl Tier {
    /// The tier of that value, as written in the body.
    fn read(token: &[u8]) -> Option<Self> {
        Some(match token {
            b"null" => return None,
            b"\"auto\"" => Self::Auto,
            b"\"default\"" | b"\"standard_only\"" | b"\"standard\"" => Self::Default,
            b"\"flex\"" => Self::Flex,
            b"\"priority\"" | b"\"fast\"" => Self::Priority,
            _ => Self::Other,
        })
    }
}

/// Weighs a body that `envelope::scan` has found `envelope` in.
pub fn weigh(envelope: &Envelope, body: &[u8]) -> Weight {
    let mut scale = Scale {
        body,
        pull: Pull::new(body, Span::whole(body)),
        weight: Weight { answers: envelope.answers().unwrap_or(1).max(1), ..Weight::default() },
        prompts: 1,
        image_bytes: 0,
        runs: Runs::default(),
        responses: envelope.slot(Slot::Input).is_some(),
    };
    scale.request();
    let Scale { mut weight, image_bytes, prompts, runs, .. } = scale;
    let grown = growth::growth(body, envelope.is_wide());
    weight.text_bytes = (body.len() as u64).saturating_sub(image_bytes) + grown;
    weight.answers = weight.answers.saturating_mul(prompts);
    weight.server_tools = runs.most();
    weight
}

/// What was read about tools that the provider runs.
#[derive(Clone, Copy, Debug, Default)]
struct Runs {
    /// `max_tool_calls`.
    of_request: Option<u64>,
    /// The sum over the tools that have a limit of their own.
    of_tools: u64,
    /// Whether one of those that `max_tool_calls` counts has none.
    unlimited: bool,
    /// Whether there is one that no field limits.
    boundless: bool,
    /// Whether there is any.
    any: bool,
}

impl Runs {
    /// Adds a tool that runs as many times at most.
    fn add(&mut self, runs_max: Option<u64>) {
        self.any = true;
        self.unlimited |= runs_max.is_none();
        self.of_tools = self.of_tools.saturating_add(runs_max.unwrap_or(0));
    }

    fn most(self) -> ServerTools {
        match (self.of_request, self.unlimited) {
            _ if self.boundless => ServerTools::Unlimited,
            _ if !self.any => ServerTools::None,
            (runs, false) => ServerTools::Limited(self.of_tools.min(runs.unwrap_or(u64::MAX))),
            (Some(runs), true) => ServerTools::Limited(runs),
            (None, true) => ServerTools::Unlimited,
        }
    }
}

/// A body on its way over the scale.
struct Scale<'b> {
    body: &'b [u8],
    pull: Pull<'b>,
    weight: Weight,
    prompts: u64,
    image_bytes: u64,
    runs: Runs,
    /// Whether it is a body of Responses, the one API that knows `max_tool_calls`.
    responses: bool,
}

/// What was seen of one part, item or message.
#[derive(Default)]
struct Seen {
    /// The value of `type`.
    kind: Option<Span>,
    /// More than one `type`: readers may differ about which one holds.
    twice: bool,
    /// Something that only messages and outputs of shells have, which need no type.
    untyped: bool,
    /// The picture or document.
    media: Option<Media>,
    /// Whether hidden reasoning is sealed in it.
    sealed: bool,
}

/// Where a part says what it shows.
#[derive(Clone, Copy)]
enum Media {
    /// A `source`, as Messages has it.
    Source(Span),
    /// A URL, or an object with one in it.
    Url(Span),
}

impl Scale<'_> {
    /// The one object of the body.
    fn request(&mut self) {
        self.pull.enter();
        while let Some(key) = self.pull.key() {
            let key = part::plain(key.of(self.body));
            match &*key {
                b"messages" | b"input" | b"system" => self.content(true),
                b"prompt" => self.prompt(),
                b"tools" => self.tools(),
                _ => {
                    let value = self.pull.skip();
                    self.field(&key, value.of(self.body));
                }
            }
        }
    }

    /// A small field of the request.
    fn field(&mut self, key: &[u8], token: &[u8]) {
        let given = !matches!(token, b"null" | b"false" | b"[]" | b"{}");
        match key {
            b"best_of" => self.weight.answers = self.weight.answers.max(count(token)),
            b"service_tier" => self.service_tier(Tier::read(token)),
            b"max_tool_calls" if self.responses => {
                self.runs.of_request = given.then(|| count(token));
            }
            b"thinking" => self.weight.thinking_tokens = thinking(token),
            b"prediction" if given => {
                self.weight.predicted_bytes = token.len() as u64 + growth::growth(token, true);
            }
            b"speed" => self.weight.fast |= given && token != b"\"standard\"",
            b"inference_geo" => self.weight.region |= given,
            b"cache_control" => self.cache_control(token),
            b"prompt_cache_options" | b"prompt_cache_retention" => self.weight.long_cache |= given,
            b"previous_response_id" if given => self.hide(Reason::PreviousResponse),
            b"conversation" if given => self.hide(Reason::Conversation),
            b"container" if given => self.hide(Reason::Document),
            // vLLM: a template may write what it likes.
            b"chat_template" if given => self.hide(Reason::StoredPrompt),
            // Gemini takes fields of its own in here.
            b"extra_body" if memmem::find(token, b"cached").is_some() => {
                self.hide(Reason::StoredPrompt);
            }
            b"web_search_options"
            | b"search_parameters"
            | b"enable_search"
            | b"mcp_servers"
            | b"plugins"
                if given =>
            {
                self.runs.boundless = true;
            }
            b"background" if given => self.leave_open(Reason::Background),
            b"models" | b"fallbacks" if given => self.leave_open(Reason::OtherModel),
            b"context_management" if compacts(token) => self.leave_open(Reason::Compaction),
            b"modalities" if given && !all_text(token) => {
                self.leave_open(Reason::OutputMedia);
            }
            _ => {}
        }
    }

    fn service_tier(&mut self, tier: Option<Tier>) {
        let seen = &mut self.weight.service_tier;
        *seen = match (*seen, tier) {
            (Some(a), Some(b)) if a != b => Some(Tier::Other),
            (a, b) => b.or(a),
        };
    }

    fn cache_control(&mut self, token: &[u8]) {
        // Anything but the known short form counts as long.
        let short = token == b"null"
            || !token.contains(&b'\\') && json::find(token, Span::whole(token), "ttl").is_none()
            || json::find(token, Span::whole(token), "ttl")
                .is_some_and(|ttl| ttl.of(token) == b"\"5m\"");
        self.weight.long_cache |= !short;
    }

    fn hide(&mut self, reason: Reason) {
        self.weight.unbounded.get_or_insert(reason);
    }

    fn leave_open(&mut self, reason: Reason) {
        self.weight.open.get_or_insert(reason);
    }

    /// A completion's prompt or prompts, each of which gets its own answers; or a prompt that is
    /// kept at the provider.
    fn prompt(&mut self) {
        match self.pull.peek() {
            b'{' => {
                self.pull.skip();
                self.hide(Reason::StoredPrompt);
            }
            b'[' => {
                self.pull.enter();
                let mut prompts: u64 = 0;
                while self.pull.item() {
                    // One prompt may also be a list of token numbers.
                    prompts += u64::from(matches!(self.pull.peek(), b'"' | b'['));
                    self.pull.skip();
                }
                self.prompts = prompts.max(1);
                self.weight.messages += prompts;
            }
            _ => {
                self.pull.skip();
            }
        }
    }

    /// The tools on offer.
    fn tools(&mut self) {
        if self.pull.peek() != b'[' {
            self.pull.skip();
            return;
        }
        self.pull.enter();
        while self.pull.item() {
            if self.pull.peek() == b'{' {
                self.tool();
            } else {
                self.pull.skip();
            }
        }
    }

    fn tool(&mut self) {
        let (mut kind, mut runs_max) = (None, None);
        self.pull.enter();
        while let Some(key) = self.pull.key() {
            let key = part::plain(key.of(self.body));
            if &*key == b"tools" {
                self.tools();
                continue;
            }
            let value = self.pull.skip().of(self.body);
            match &*key {
                b"type" => {
                    let this = Tool::of_type(&name(value));
                    kind = Some(if kind.is_some_and(|other| other != this) {
                        Tool::Boundless
                    } else {
                        this
                    });
                }
                b"max_uses" if value != b"null" => runs_max = Some(count(value)),
                b"cache_control" => self.cache_control(value),
                _ => {}
            }
        }
        match kind.unwrap_or(Tool::Described) {
            Tool::Described | Tool::Folder => {}
            Tool::Builtin => self.weight.builtin_tools += 1,
            Tool::Search => self.runs.add(runs_max),
            Tool::Server => self.runs.add(None),
            Tool::Boundless => self.runs.boundless = true,
        }
    }

    /// The content of something: a text, a list of parts or one part.
    fn content(&mut self, counted: bool) {
        match self.pull.peek() {
            b'[' => {
                self.pull.enter();
                while self.pull.item() {
                    self.weight.messages += u64::from(counted);
                    if self.pull.peek() == b'{' {
                        self.part();
                    } else {
                        self.pull.skip();
                    }
                }
            }
            b'{' => self.part(),
            _ => {
                self.pull.skip();
            }
        }
    }

    /// One message, item or part; `content` may hold more of them.
    fn part(&mut self) {
        let mut seen = Seen::default();
        self.pull.enter();
        while let Some(key) = self.pull.key() {
            let key = part::plain(key.of(self.body));
            match &*key {
                b"content" | b"output" | b"images" => self.content(false),
                _ => {
                    let value = self.pull.skip();
                    self.part_field(&mut seen, &key, value);
                }
            }
        }
        self.judge(&seen);
    }

    fn part_field(&mut self, seen: &mut Seen, key: &[u8], value: Span) {
        let token = value.of(self.body);
        match key {
            b"type" => seen.twice |= seen.kind.replace(value).is_some(),
            b"role" | b"stdout" => seen.untyped = true,
            b"image_url" if token != b"null" => seen.media = Some(Media::Url(value)),
            b"source" => seen.media = Some(Media::Source(value)),
            b"encrypted_content" => seen.sealed = token.starts_with(b"\""),
            b"cache_control" => self.cache_control(token),
            // The sound of an earlier answer, named by its number.
            b"audio" if token != b"null" => self.sound(),
            _ => {}
        }
    }

    fn judge(&mut self, seen: &Seen) {
        let part = match seen.kind {
            _ if seen.twice => Part::Hidden(Reason::UnknownPart),
            Some(kind) if kind.of(self.body) != b"null" => Part::of_type(&name(kind.of(self.body))),
            _ if seen.untyped => Part::Text,
            _ => Part::Hidden(Reason::UnknownPart),
        };
        match part {
            Part::Text => {}
            Part::Image => self.image(seen),
            Part::Audio => self.sound(),
            Part::Document => self.document(seen),
            Part::Reasoning if seen.sealed => {}
            Part::Reasoning => self.hide(Reason::StoredItem),
            Part::Hidden(reason) => self.hide(reason),
        }
    }

    fn sound(&mut self) {
        self.weight.audio = self.weight.audio.saturating_add(1);
        self.leave_open(Reason::Audio);
    }

    /// An image costs by its size in pixels, whatever its bytes.
    fn image(&mut self, seen: &Seen) {
        self.weight.images = self.weight.images.saturating_add(1);
        let payload = match seen.media {
            None => return,
            Some(Media::Source(source)) => part::of_source(self.body, source),
            Some(Media::Url(media)) => {
                let url = json::find(self.body, media, "url").unwrap_or(media);
                part::of_url(url.of(self.body))
            }
        };
        match payload {
            Payload::Image(bytes) => self.image_bytes += bytes as u64,
            Payload::Elsewhere => {}
            Payload::NoImage => self.hide(Reason::Document),
        }
    }

    /// A document of `Messages`: text, parts, or something with pages.
    fn document(&mut self, seen: &Seen) {
        let Some(Media::Source(source)) = seen.media else {
            return self.hide(Reason::Document);
        };
        let mut parts = None;
        let mut bounded = None;
        for member in json::members(self.body, source) {
            match &*part::plain(member.key.of(self.body)) {
                b"type" => {
                    let kind = member.value.of(self.body);
                    let text = matches!(kind, b"\"text\"" | b"\"content\"");
                    bounded = Some(text && bounded.unwrap_or(true));
                }
                b"content" => parts = Some(member.value),
                _ => {}
            }
        }
        if bounded != Some(true) {
            self.hide(Reason::Document);
        }
        let Some(parts) = parts else { return };
        let outer = std::mem::replace(&mut self.pull, Pull::new(self.body, parts));
        self.content(false);
        self.pull = outer;
    }
}

/// The text of a string value; what is no string has none.
fn name(token: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let raw = token.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    part::plain(raw.unwrap_or_default())
}

/// A count; what is none is as large as can be.
fn count(token: &[u8]) -> u64 {
    if token == b"null" {
        return 0;
    }
    std::str::from_utf8(token).ok().and_then(|digits| digits.parse().ok()).unwrap_or(u64::MAX)
}

/// Whether a list of modalities asks for nothing but text.
fn all_text(token: &[u8]) -> bool {
    let mut pull = Pull::new(token, Span::whole(token));
    if pull.peek() != b'[' {
        return false;
    }
    pull.enter();
    let mut all = true;
    while pull.item() {
        all &= pull.skip().of(token) == b"\"text\"";
    }
    all
}

fn thinking(token: &[u8]) -> Option<u64> {
    let budget = json::find(token, Span::whole(token), "budget_tokens")?.of(token);
    std::str::from_utf8(budget).ok()?.parse().ok()
}

/// Whether management of the context may start a run to shorten it. Only the known harmless edits
/// do not.
fn compacts(token: &[u8]) -> bool {
    let whole = Span::whole(token);
    let edits = json::find(token, whole, "edits").unwrap_or(whole);
    let mut pull = Pull::new(token, edits);
    if token == b"null" {
        return false;
    }
    if pull.peek() != b'[' {
        return true;
    }
    pull.enter();
    let mut harmless = true;
    while pull.item() {
        let edit = pull.skip();
        let kind = json::find(token, edit, "type").map(|kind| name(kind.of(token)).into_owned());
        harmless &= kind.is_some_and(|kind| kind.starts_with(b"clear_"));
    }
    !harmless
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::envelope;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use unicode_normalization::UnicodeNormalization;

    fn of(body: &Value) -> Weight {
        of_text(&body.to_string())
    }

    fn of_text(body: &str) -> Weight {
        let envelope = envelope::scan(body.as_bytes()).unwrap_or_else(|e| panic!("{e}: {body}"));
        weigh(&envelope, body.as_bytes())
    }

    fn user(parts: &Value) -> Value {
        json!({"model": "m", "messages": [{"role": "user", "content": parts}]})
    }

    /// The reason why the input is not bounded, of a body with that one part.
    fn hidden(part: &Value) -> Option<Reason> {
        of(&user(&json!([part]))).unbounded
    }

    fn with(field: &str, value: Value) -> Weight {
        let mut body = user(&json!("x"));
        body[field] = value;
        of(&body)
    }

    /// What agents send all day, in the three APIs.
    fn ordinary() -> [Value; 3] {
        let png = format!("data:image/png;base64,{}", "A".repeat(4_000));
        let schema = json!({"type": "object", "properties": {
            "type": {"type": "string", "enum": ["document", "file", "video"]},
            "source": {"type": "object"}, "previous_response_id": {"type": "string"}}});
        let text = "a \"type\":\"document\" and {\"type\":\"file\"} within a text";
        let short = json!({"type": "ephemeral"});
        [
            json!({"model": "m", "stream": true, "max_tokens": 9, "service_tier": null, "tools": [
                {"type": "function", "function": {"name": "f", "parameters": schema}}],
              "messages": [
                {"role": "system", "content": text},
                {"role": "user", "content": [{"type": "text", "text": text},
                    {"type": "image_url", "image_url": {"detail": "low", "url": png}}]},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function",
                    "function": {"name": "f", "arguments": "{\"type\":\"document\"}"}}]},
                {"role": "tool", "tool_call_id": "c", "content": text}]}),
            json!({"model": "m", "max_tokens": 9, "system": [
                {"type": "text", "text": text, "cache_control": short}],
              "thinking": {"type": "enabled", "budget_tokens": 1024},
              "tools": [{"name": "f", "input_schema": schema, "cache_control": short},
                {"type": "bash_20250124", "name": "bash"}],
              "messages": [
                {"role": "user", "content": text},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "t", "signature": "s"},
                    {"type": "redacted_thinking", "data": "d"},
                    {"type": "tool_use", "id": "t", "name": "f",
                     "input": {"type": "document", "source": {"type": "url"}}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [
                    {"type": "text", "text": text},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                        "data": "A".repeat(4_000)}}]}]}]}),
            json!({"model": "m", "instructions": text, "store": false, "max_output_tokens": 9,
              "tools": [{"type": "function", "name": "f", "parameters": schema},
                {"type": "custom", "name": "g"}, {"type": "local_shell"}],
              "previous_response_id": null, "background": false,
              "input": [
                {"role": "user", "content": [{"type": "input_text", "text": text},
                    {"type": "input_image", "image_url": png}]},
                {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "e"},
                {"type": "message", "role": "assistant", "content": [
                    {"type": "output_text", "text": text, "annotations": []}]},
                {"type": "function_call", "call_id": "c", "name": "f",
                 "arguments": "{\"type\":\"file\"}"},
                {"type": "function_call_output", "call_id": "c", "output": text}]}),
        ]
    }

    #[test]
    fn ordinary_traffic_is_bounded() {
        for body in ordinary() {
            let weight = of(&body);
            let len = body.to_string().len() as u64;
            assert_eq!((weight.unbounded, weight.open), (None, None), "{body}");
            assert_eq!((weight.images, weight.audio, weight.answers), (1, 0, 1), "{body}");
            assert!(weight.text_bytes < len - 4_000 && weight.text_bytes > len - 4_100, "{body}");
            assert_eq!(weight.server_tools, ServerTools::None);
            assert_eq!((weight.service_tier, weight.long_cache), (None, false));
        }
        let [_, messages, responses] = ordinary().map(|body| of(&body));
        assert_eq!((messages.thinking_tokens, messages.builtin_tools), (Some(1024), 1));
        assert_eq!((responses.messages, responses.builtin_tools), (5, 1));
    }

    #[test]
    fn order_and_escapes_hide_nothing() {
        let late = r#"{"messages":[{"content":[{"source":{"file_id":"f"},"type":"document"}],"role":"user"}]}"#;
        assert_eq!(of_text(late).unbounded, Some(Reason::Document));
        let escaped =
            r#"{"m\u0065ssages":[{"\u0063ontent":[{"\u0074ype":"d\u006fcument"}],"role":"u"}]}"#;
        assert_eq!(of_text(escaped).unbounded, Some(Reason::Document));
        let escaped = r#"{"previous_\u0072esponse_id":"r"}"#;
        assert_eq!(of_text(escaped).unbounded, Some(Reason::PreviousResponse));
        let twice = r#"{"messages":[{"content":[{"type":"file","type":"text"}],"role":"user"}]}"#;
        assert_eq!(of_text(twice).unbounded, Some(Reason::UnknownPart));
        let spaced =
            "{ \"messages\" : [ { \"role\" : 1 , \"content\" : [ { \"type\" : \"file\" } ] } ] }";
        assert_eq!(of_text(spaced).unbounded, Some(Reason::Document));
    }

    #[test]
    fn parts_without_a_bound_are_named() {
        for (part, reason) in [
            (json!({"type": "file", "file": {"file_id": "f"}}), Some(Reason::Document)),
            (json!({"type": "input_file", "file_data": "AAAA"}), Some(Reason::Document)),
            (
                json!({"type": "document", "source": {"type": "base64", "data": "A"}}),
                Some(Reason::Document),
            ),
            (
                json!({"type": "document", "source": {"type": "url", "url": "u"}}),
                Some(Reason::Document),
            ),
            (json!({"type": "document", "source": null}), Some(Reason::Document)),
            (json!({"type": "document"}), Some(Reason::Document)),
            (json!({"type": "document", "source": {"type": "text", "data": "t"}}), None),
            (json!({"type": "document", "source": {"type": "content", "content": "t"}}), None),
            (
                json!({"type": "document", "source": {"type": "content", "content": [
                {"type": "document", "source": {"type": "file"}}]}}),
                Some(Reason::Document),
            ),
            (json!({"type": "search_result", "source": "s", "content": [{"type": "text"}]}), None),
            (json!({"type": "video_url", "video_url": {"url": "u"}}), Some(Reason::Video)),
            (
                json!({"type": "image_url", "image_url": {"url": "data:application/pdf;base64,A"}}),
                Some(Reason::Document),
            ),
            (json!({"type": "image_url", "image_url": {"url": "https://e/x.png"}}), None),
            (json!({"type": "input_image", "file_id": "f"}), None),
            (
                json!({"type": "web_search_tool_result", "content": []}),
                Some(Reason::ServerToolResult),
            ),
            (
                json!({"type": "tool_result", "content": [{"type": "document"}]}),
                Some(Reason::Document),
            ),
            (json!({"type": "reasoning", "id": "r"}), Some(Reason::StoredItem)),
            (json!({"type": "hologram"}), Some(Reason::UnknownPart)),
            (json!({"text": "t"}), Some(Reason::UnknownPart)),
        ] {
            assert_eq!(hidden(&part), reason, "{part}");
        }
        assert_eq!(with("conversation", json!({"id": "c"})).unbounded, Some(Reason::Conversation));
        assert_eq!(with("prompt", json!({"id": "p"})).unbounded, Some(Reason::StoredPrompt));
        assert_eq!(with("input", json!([{"id": "i"}])).unbounded, Some(Reason::UnknownPart));
        assert_eq!(with("container", json!("c")).unbounded, Some(Reason::Document));
    }

    #[test]
    fn sound_counts_and_stays_open() {
        let weight = of(&user(&json!([{"type": "input_audio", "input_audio": {"data": "A"}}])));
        assert_eq!((weight.audio, weight.open), (1, Some(Reason::Audio)));
        let weight = of(&json!({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}));
        assert_eq!((weight.audio, weight.open), (1, Some(Reason::Audio)));
        assert_eq!(with("modalities", json!(["text"])).open, None);
        assert_eq!(with("modalities", json!(["text", "audio"])).open, Some(Reason::OutputMedia));
    }

    #[test]
    fn images_leave_their_bytes_and_only_theirs() {
        let url = format!("data:image/png;base64,{}", "A".repeat(1_000));
        let image = json!({"type": "image_url", "image_url": {"url": url}});
        let bytes = |body: &Value| of(body).text_bytes;
        let with_image = user(&json!([image]));
        assert_eq!(bytes(&with_image), (with_image.to_string().len() - url.len() - 1) as u64);
        // The same words as arguments of a tool are text.
        let argument = user(&json!([{"type": "tool_use", "id": "t", "name": "n", "input": image}]));
        assert_eq!(bytes(&argument), argument.to_string().len() as u64);
        assert_eq!(of(&argument).images, 0);
        let screen = json!({"model": "m", "input": [{"type": "computer_call_output", "call_id": "c",
            "output": {"type": "computer_screenshot", "image_url": url}}]});
        assert_eq!((of(&screen).images, of(&screen).unbounded), (1, None));
    }

    #[test]
    fn answers_multiply() {
        let answers = |body: Value| of(&body).answers;
        assert_eq!(answers(json!({"prompt": "a"})), 1);
        assert_eq!(answers(json!({"prompt": "a", "n": 3, "best_of": 5})), 5);
        assert_eq!(answers(json!({"prompt": "a", "n": 6, "best_of": null})), 6);
        assert_eq!(answers(json!({"prompt": ["a", "b"], "n": 3})), 6);
        assert_eq!(answers(json!({"prompt": [[1, 2], [3]]})), 2);
        assert_eq!(answers(json!({"prompt": [1, 2, 3]})), 1);
        assert_eq!(answers(json!({"prompt": [], "n": 0})), 1);
        assert_eq!(answers(json!({"prompt": ["a", "b"], "best_of": -1})), u64::MAX);
    }

    #[test]
    fn tools_of_the_provider_need_a_limit() {
        let tools = |tools: Value, max: Value| {
            of(&json!({"input": "x", "tools": tools, "max_tool_calls": max})).server_tools
        };
        let search = json!({"type": "web_search"});
        assert_eq!(
            tools(json!([{"type": "function", "name": "web_search"}]), json!(3)),
            ServerTools::None
        );
        assert_eq!(tools(json!([search]), Value::Null), ServerTools::Unlimited);
        assert_eq!(tools(json!([search]), json!(3)), ServerTools::Limited(3));
        assert_eq!(tools(json!([{"type": "mcp"}]), json!(3)), ServerTools::Unlimited);
        assert_eq!(tools(json!([{"type": "image_generation"}]), json!(3)), ServerTools::Unlimited);
        let inner = json!([{"type": "namespace", "name": "n", "tools": [search]}]);
        assert_eq!(tools(inner, Value::Null), ServerTools::Unlimited);
        let both = json!([{"type": "web_search_20250305", "max_uses": 2},
            {"type": "web_fetch_20250910", "max_uses": 3}]);
        assert_eq!(with("tools", both.clone()).server_tools, ServerTools::Limited(5));
        let mut one = both;
        one[1]["max_uses"].take();
        assert_eq!(with("tools", one).server_tools, ServerTools::Unlimited);
        // Chat and Messages know no such field, so it limits nothing there.
        let mut body = user(&json!("x"));
        body["max_tool_calls"] = json!(1);
        body["tools"] = json!([search]);
        assert_eq!(of(&body).server_tools, ServerTools::Unlimited);
        for field in ["mcp_servers", "plugins", "web_search_options", "search_parameters"] {
            assert_eq!(with(field, json!([{"id": "web"}])).server_tools, ServerTools::Unlimited);
            assert_eq!(with(field, Value::Null).server_tools, ServerTools::None);
        }
    }

    #[test]
    fn what_makes_it_dearer_is_noted() {
        let tier = |name: &str| with("service_tier", json!(name)).service_tier;
        assert_eq!(tier("auto"), Some(Tier::Auto));
        assert_eq!(tier("standard_only"), Some(Tier::Default));
        assert_eq!(tier("priority"), Some(Tier::Priority));
        assert_eq!(tier("warp"), Some(Tier::Other));
        assert!(with("speed", json!("fast")).fast && !with("speed", json!("standard")).fast);
        assert!(with("inference_geo", json!("us")).region);
        assert_eq!(with("background", json!(true)).open, Some(Reason::Background));
        assert_eq!(with("models", json!(["a"])).open, Some(Reason::OtherModel));
        let managed =
            |kind: &str| with("context_management", json!({"edits": [{"type": kind}]})).open;
        assert_eq!(managed("clear_tool_uses_20250919"), None);
        assert_eq!(managed("compact_20260112"), Some(Reason::Compaction));
        assert_eq!(with("prediction", json!({"content": "abc"})).predicted_bytes, 17);
    }

    #[test]
    fn a_cache_of_long_life_is_noted_wherever_it_is_asked_for() {
        let long = json!({"type": "ephemeral", "ttl": "1h"});
        let short = json!({"type": "ephemeral", "ttl": "5m"});
        let text =
            |control: &Value| json!([{"type": "text", "text": "ttl 1h", "cache_control": control}]);
        for (control, expected) in [(long, true), (short, false), (Value::Null, false)] {
            assert_eq!(of(&user(&text(&control))).long_cache, expected);
            let result = json!([{"type": "tool_result", "content": text(&control)}]);
            assert_eq!(of(&user(&result)).long_cache, expected);
            assert_eq!(with("system", text(&control)).long_cache, expected);
            assert_eq!(with("cache_control", control.clone()).long_cache, expected);
            let tools = json!([{"name": "n", "cache_control": control}]);
            assert_eq!(with("tools", tools).long_cache, expected);
        }
        let escaped = r#"{"cache_control":{"ttl":"1\u0068"}}"#;
        assert!(of_text(escaped).long_cache);
    }

    #[test]
    fn a_bomb_of_compatibility_characters_is_weighed() {
        let bomb = "\u{fdfa}".repeat(1_000);
        assert!(of(&user(&json!(bomb))).text_bytes > 33_000);
        let escaped = user(&json!("BOMB")).to_string().replace("BOMB", &r"\ufdfa".repeat(1_000));
        assert!(of_text(&escaped).text_bytes > 33_000);
    }

    /// Every string of a tree, keys included, in its NFKC form: how many bytes.
    fn normal_bytes(value: &Value) -> u64 {
        let of_string = |text: &str| text.nfkc().map(char::len_utf8).sum::<usize>() as u64;
        match value {
            Value::String(text) => of_string(text),
            Value::Array(items) => items.iter().map(normal_bytes).sum(),
            Value::Object(members) => {
                members.iter().map(|(key, value)| of_string(key) + normal_bytes(value)).sum()
            }
            _ => 0,
        }
    }

    fn part() -> impl Strategy<Value = Value> {
        let text = "[a-zé\u{fdfa}ﬃ가\u{1d160}\"\\\\😀]{0,12}";
        prop_oneof![
            text.prop_map(|text| json!({"type": "text", "text": text})),
            text.prop_map(|text| json!({"text": text, "type": "hologram"})),
            text.prop_map(|text| json!({"type": "tool_use", "input": {"type": "image", "source":
                {"type": "base64", "data": text}}})),
            (text, any::<bool>()).prop_map(|(text, url)| json!({"type": "tool_result", "content":
                [{"type": "text", "text": text, "source": url}]})),
        ]
    }

    proptest! {
        #[test]
        fn text_is_never_weighed_too_light(
            parts in prop::collection::vec(part(), 0..6),
            escaped in any::<bool>(),
        ) {
            let body = user(&Value::Array(parts));
            let mut text = body.to_string();
            if escaped {
                let units = |c: char| {
                    let mut buffer = [0; 2];
                    c.encode_utf16(&mut buffer).iter().fold(String::new(), |all, unit| format!("{all}\\u{unit:04x}"))
                };
                text = text.chars().fold(String::new(), |all, c| {
                    if c.is_ascii() { all + c.encode_utf8(&mut [0; 4]) } else { all + &units(c) }
                });
            }
            let weight = of_text(&text);
            prop_assert!(weight.text_bytes >= normal_bytes(&body));
            prop_assert_eq!(weight.images, 0);
        }

        #[test]
        fn any_body_is_answered(
            tokens in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"type\"", "\"content\"", "\"messages\"", "\"image\"",
                "\"source\"", "\"document\"", "\"tools\"", "\"prompt\"", "1", "null",
            ]), 0..16)
        ) {
            let body = format!("{{\"input\":[{}]}}", tokens.concat());
            if let Ok(envelope) = envelope::scan(body.as_bytes()) {
                weigh(&envelope, body.as_bytes());
            }
        }
    }
}
