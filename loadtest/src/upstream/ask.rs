//! A request as the mock understands it: surface, model, and the counts its usage is made of.
//!
//! The counts are deterministic, so that a test can tell them from the request: input tokens are
//! the bytes of the request's text over 4, rounded up; output tokens are the content chunks. It
//! does not validate: whatever is missing has a default.

use hyper::HeaderMap;
use serde_json::Value;

use super::fault::Fault;
use super::manner::{Manner, UsageAsked};

/// Content chunks of an answer that nobody asked to be longer or shorter.
const CHUNKS_DEFAULT: u64 = 4;
/// Most choices of one chat answer.
const CHOICES_MAX: u64 = 8;
/// The model named by an answer to a request that names none.
const MODEL_DEFAULT: &str = "mock-model";

/// Which API a path belongs to. Any prefix before the last segments is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Surface {
    /// `/chat/completions`
    Chat,
    /// `/completions`
    Completions,
    /// `/embeddings`
    Embeddings,
    /// `/responses`
    Responses,
    /// `/messages`
    Messages,
    /// `/messages/count_tokens`
    CountTokens,
    /// `/models`
    Models,
    /// `/models/{id}`
    Model(String),
    /// `/key`, `OpenRouter`'s account
    Key,
    /// `/health`, `/` and the like
    Health,
    /// Anything else below `/v1`
    Other,
    /// Not found
    Unknown,
}

impl Surface {
    /// Reads the path (without query).
    pub fn of(path: &str) -> Self {
        let path = path.trim_end_matches('/');
        let ends = |tail: &str| path.ends_with(tail);
        if ends("/chat/completions") {
            return Self::Chat;
        }
        if let Some((_, id)) = path.split_once("/models/") {
            return Self::Model(id.to_owned());
        }
        match path {
            _ if ends("/completions") => Self::Completions,
            _ if ends("/embeddings") => Self::Embeddings,
            _ if ends("/responses") => Self::Responses,
            _ if ends("/messages/count_tokens") => Self::CountTokens,
            _ if ends("/messages") => Self::Messages,
            _ if ends("/models") => Self::Models,
            _ if ends("/v1/key") => Self::Key,
            _ if path.is_empty() || ends("/health") || ends("/healthz") => Self::Health,
            _ if path.contains("/v1/") || ends("/v1") => Self::Other,
            _ => Self::Unknown,
        }
    }

    /// True for Anthropic's forms.
    pub fn is_anthropic(&self) -> bool {
        matches!(self, Self::Messages | Self::CountTokens)
    }
}

/// One request, understood.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The API.
    pub surface: Surface,
    /// The model that answers; the first healthy one of `models` if that list came.
    pub model: String,
    /// The model named, if one was.
    pub named: Option<String>,
    /// The faults asked for.
    pub fault: Fault,
    /// Whose habits the answer follows.
    pub manner: Manner,
    /// A stream was asked for.
    pub stream: bool,
    /// What `stream_options` says about usage.
    pub usage_asked: UsageAsked,
    /// Input tokens: bytes of text / 4, rounded up, at least 1.
    pub input_tokens: u64,
    /// Content chunks, which are the output tokens of one choice.
    pub chunks: u64,
    /// The output was cut by the request's own limit.
    pub limited: bool,
    /// Choices of a chat answer.
    pub choices: u64,
    /// Name of the tool to call, if one is to be called.
    pub tool: Option<String>,
    /// Inputs of an embeddings request.
    pub inputs: u64,
    /// Embeddings are wanted as base64, as some SDKs always want them.
    pub base64: bool,
}

impl Ask {
    /// Reads a request; a body that is no JSON asks for nothing.
    pub fn read(surface: Surface, headers: &HeaderMap, body: &[u8], home: Manner) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let named = named_model(&surface, &body);
        let fault = Fault::read(headers, named.as_deref());
        let manner = fault.manner.unwrap_or(home);
        let wanted = fault.chunks.unwrap_or(CHUNKS_DEFAULT);
        let cap = output_cap(&body, manner).unwrap_or(u64::MAX);
        let tool = fault.tools.then(|| tool_name(&body));
        Self {
            surface,
            model: named.clone().unwrap_or_else(|| MODEL_DEFAULT.to_owned()),
            named,
            manner,
            stream: is_true(&body["stream"]),
            usage_asked: usage_asked(&body["stream_options"]),
            input_tokens: input_tokens(&body),
            chunks: wanted.min(cap),
            limited: cap < wanted,
            choices: body["n"].as_u64().unwrap_or(1).clamp(1, CHOICES_MAX),
            tool,
            inputs: body["input"].as_array().map_or(1, |list| list.len() as u64),
            base64: body["encoding_format"] == "base64",
            fault,
        }
    }

    /// The text of content chunk `index`: `w0 `, `w1 ` and so on, or the share of `bytes`.
    pub fn piece(&self, index: u64) -> String {
        let Some(bytes) = self.fault.bytes else { return format!("w{index} ") };
        let chunks = self.chunks.max(1);
        let share = bytes / chunks + u64::from(index < bytes % chunks);
        "x".repeat(usize::try_from(share).unwrap_or_default())
    }

    /// All pieces in one.
    pub fn text(&self) -> String {
        (0..self.chunks).map(|index| self.piece(index)).collect()
    }

    /// Output tokens of all choices without reasoning.
    pub fn output_tokens(&self) -> u64 {
        self.chunks * self.choices
    }
}

/// Input tokens that the mock reports for this JSON body.
pub fn input_tokens(body: &Value) -> u64 {
    let keys = ["system", "instructions", "messages", "input", "prompt"];
    let bytes: u64 = keys.iter().map(|key| text_bytes(&body[*key])).sum();
    bytes.div_ceil(4).max(1)
}

/// Bytes of text below a value: strings, and what lies under `content` and `text`.
fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(list) => list.iter().map(text_bytes).sum(),
        Value::Object(object) => {
            ["content", "text"].iter().filter_map(|key| object.get(*key)).map(text_bytes).sum()
        }
        // A token id in an embeddings request.
        Value::Number(_) => 4,
        _ => 0,
    }
}

fn is_true(value: &Value) -> bool {
    value.as_bool().unwrap_or_default()
}

fn usage_asked(options: &Value) -> UsageAsked {
    match (is_true(&options["include_usage"]), is_true(&options["continuous_usage_stats"])) {
        (true, true) => UsageAsked::Continuous,
        (true, false) => UsageAsked::AtEnd,
        (false, _) => UsageAsked::No,
    }
}

/// The model of the body or path. Of `models` the first that is not asked to fail (`OpenRouter`
/// goes down the list), else the first.
fn named_model(surface: &Surface, body: &Value) -> Option<String> {
    if let Surface::Model(id) = surface {
        return Some(id.clone());
    }
    let list: Vec<&str> =
        body["models"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let healthy = list.iter().find(|name| Fault::from_model(name).status.is_none());
    let named = healthy.or(list.first()).copied().or_else(|| body["model"].as_str());
    named.map(str::to_owned)
}

/// The request's own limit on output. Ollama does not know `max_completion_tokens`.
fn output_cap(body: &Value, manner: Manner) -> Option<u64> {
    let keys = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
    let skipped = usize::from(manner == Manner::Ollama);
    keys[skipped..].iter().find_map(|key| body[*key].as_u64())
}

fn tool_name(body: &Value) -> String {
    let first = &body["tools"][0];
    let name = first["function"]["name"].as_str().or_else(|| first["name"].as_str());
    name.unwrap_or("mock_tool").to_owned()
}
