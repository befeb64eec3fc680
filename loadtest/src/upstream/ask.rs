//! A request as the mock understands it: surface, model, and the counts its usage is made of.
//!
//! The counts are deterministic, so that a test can tell them from the request; `count` makes
//! them, and `price` what they cost. It does not validate: whatever is missing has a default.

use hyper::HeaderMap;
use serde_json::Value;

use super::count::{self, Output, Tokens};
use super::fault::Fault;
use super::manner::{Manner, UsageAsked};
use super::price::Price;
use super::server::MockConfig;

/// Content chunks of an answer that nobody asked to be longer or shorter.
const CHUNKS_DEFAULT: u64 = 4;
/// Most choices of one chat answer, as at `OpenAI`.
const CHOICES_MAX: u64 = 128;
/// The entry of the prices for models that have none.
const PRICE_OF_OTHERS: &str = "*";
/// The types of blocks and items that are a tool's answer.
const RESULTS: [&str; 3] = ["tool_result", "function_call_output", "custom_tool_call_output"];
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
    /// `/generation?id=`, `OpenRouter`'s account of one answer
    Generation,
    /// `/mock/bill`
    Bill,
    /// `/mock/bill/reset`
    BillReset,
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
            _ if ends("/v1/generation") => Self::Generation,
            "/mock/bill" => Self::Bill,
            "/mock/bill/reset" => Self::BillReset,
            _ if path.is_empty() || ends("/health") || ends("/healthz") => Self::Health,
            _ if path.contains("/v1/") || ends("/v1") => Self::Other,
            _ => Self::Unknown,
        }
    }

    /// True for requests that a model works on, and that therefore cost something.
    pub fn is_billed(&self) -> bool {
        matches!(
            self,
            Self::Chat | Self::Completions | Self::Embeddings | Self::Responses | Self::Messages
        )
    }

    /// True for the mock's own account, which is no provider's surface.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Bill | Self::BillReset)
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
    /// What the whole answer counts.
    pub tokens: Tokens,
    /// What its tokens cost.
    pub price: Price,
    /// Content chunks, which are the visible output tokens of one choice.
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
    pub fn read(surface: Surface, headers: &HeaderMap, body: &[u8], config: &MockConfig) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let named = named_model(&surface, &body);
        let fault = Fault::read(headers, named.as_deref(), &config.habits);
        let manner = fault.manner.unwrap_or(config.manner);
        let wanted = fault.chunks.unwrap_or(CHUNKS_DEFAULT);
        let output = Output::under(fault.cap.read(&body, manner), wanted, &fault);
        let model = named.clone().unwrap_or_else(|| MODEL_DEFAULT.to_owned());
        let listed = config.prices.get(&model).or_else(|| config.prices.get(PRICE_OF_OTHERS));
        let choices = choices(&surface, &body, "n");
        Self {
            tokens: tokens(&surface, &body, &fault, output),
            price: fault.costs.price.or(listed.copied()).unwrap_or_default(),
            surface,
            model,
            named,
            manner,
            stream: is_true(&body["stream"]),
            usage_asked: usage_asked(&body["stream_options"]),
            chunks: output.chunks,
            limited: output.limited,
            choices,
            tool: calls_tool(&fault, &body).then(|| tool_name(&body)),
            inputs: body["input"].as_array().map_or(1, |list| list.len() as u64),
            base64: body["encoding_format"] == "base64",
            fault,
        }
    }

    /// What so many tokens of this answer cost, in nano-dollars.
    pub fn cost_nano(&self, tokens: &Tokens) -> i64 {
        self.fault.costs.fixed_nano.unwrap_or_else(|| self.price.cost_nano(tokens))
    }

    /// The tokens once so many content tokens were sent: what is hidden counts from the start.
    pub fn tokens_at(&self, content: u64) -> Tokens {
        let unseen = self.content_tokens().saturating_sub(content);
        self.tokens.with_output(self.tokens.output.saturating_sub(unseen))
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

    /// Visible output tokens of all choices.
    pub fn content_tokens(&self) -> u64 {
        self.chunks * self.choices
    }
}

/// All that the answer counts. `best_of` makes answers that nobody sees.
fn tokens(surface: &Surface, body: &Value, fault: &Fault, output: Output) -> Tokens {
    let input = count::input(body, fault);
    let answers = match surface {
        Surface::Embeddings | Surface::CountTokens => 0,
        _ => choices(surface, body, "n").max(choices(surface, body, "best_of")),
    };
    let all = output.counted.saturating_mul(answers);
    Tokens { output: all, reasoning: output.reasoning.saturating_mul(answers), ..input }
}

/// How many answers a body asks for; only two surfaces know of more than one.
fn choices(surface: &Surface, body: &Value, key: &str) -> u64 {
    match (surface, key) {
        (Surface::Chat, "n") | (Surface::Completions, _) => {
            body[key].as_u64().unwrap_or(1).clamp(1, CHOICES_MAX)
        }
        _ => 1,
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

/// Whether the model's answer is a call.
fn calls_tool(fault: &Fault, body: &Value) -> bool {
    let offered = !fault.offered_only || body["tools"][0].is_object();
    fault.tools && offered && !ends_in_tool_result(body)
}

/// Whether a tool has just answered, in any dialect: then it is the model's turn to speak.
fn ends_in_tool_result(body: &Value) -> bool {
    let last = |list: &str| body[list].as_array().and_then(|items| items.last());
    let answers = |item: &Value| {
        item["role"] == "tool" || item["type"].as_str().is_some_and(|kind| RESULTS.contains(&kind))
    };
    let within =
        |item: &Value| item["content"].as_array().is_some_and(|all| all.iter().any(answers));
    let ends = |list| last(list).is_some_and(|item| answers(item) || within(item));
    ends("messages") || ends("input")
}

fn tool_name(body: &Value) -> String {
    let first = &body["tools"][0];
    let name = first["function"]["name"].as_str().or_else(|| first["name"].as_str());
    name.unwrap_or("mock_tool").to_owned()
}
