//! A request in the neutral form.
//!
//! Readers fill in what their dialect says and put everything else into `rest`, so that nothing gets
//! lost without being listed. Writers take what theirs can say.

use crate::dialect::canonical::text::{Raw, Text};

/// What a client wants of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request<'a> {
    /// The model's name as the client wrote it; it is replaced for each attempt.
    pub model: Option<Raw<'a>>,
    /// The instructions before the conversation: `Part::Text` only, each with its own cache mark.
    pub system: Vec<Part<'a>>,
    /// The conversation in order. Consecutive turns of one role are allowed.
    pub turns: Vec<Turn<'a>>,
    /// The tools on offer.
    pub tools: Vec<Tool<'a>>,
    /// Which of them may or must be used; `None` = not said.
    pub choice: Option<Choice<'a>>,
    /// Whether several calls in one answer are allowed; `None` = not said.
    pub parallel_calls: Option<bool>,
    /// Most tokens of the answer, a JSON number.
    pub output_cap: Option<Raw<'a>>,
    /// A JSON number.
    pub temperature: Option<Raw<'a>>,
    /// A JSON number.
    pub top_p: Option<Raw<'a>>,
    /// A JSON number; Messages only.
    pub top_k: Option<Raw<'a>>,
    /// Texts that end the answer.
    pub stop: Vec<Text<'a>>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// Whether the client wants a usage chunk at the end of a stream (Chat).
    pub stream_usage: bool,
    /// The form of the answer; `None` = text.
    pub format: Option<Format<'a>>,
    /// How much to think; `None` = not said.
    pub reasoning: Option<Reasoning<'a>>,
    /// How wordy the answer is to be (`low`, `medium`, `high`), a JSON string; `OpenAI` only.
    pub verbosity: Option<Raw<'a>>,
    /// The end user, for the provider's own watch over abuse.
    pub user: Option<Text<'a>>,
    /// How fast and how dear: the word that the client's own dialect uses, a JSON string.
    pub service_tier: Option<Raw<'a>>,
    /// Every other top-level field, as it came: a writer of a kindred dialect may take it over, all
    /// others list it as dropped or refuse it.
    pub rest: Vec<Field<'a>>,
}

impl<'a> Request<'a> {
    /// How fast and how dear, by the word of most dialects: Messages has one of its own for the ordinary.
    pub fn common_tier(&self) -> Option<Raw<'a>> {
        let common = |tier: Raw<'a>| {
            if tier.0 == b"\"standard_only\"" { Raw(b"\"default\"") } else { tier }
        };
        self.service_tier.map(common)
    }

    /// The same without the places of its parts: those change where a request is written anew.
    #[cfg(test)]
    #[must_use]
    pub fn without_places(mut self) -> Self {
        fn clear(parts: &mut [Part<'_>]) {
            for part in parts {
                part.place = Place::default();
                if let Content::Result(result) = &mut part.kind {
                    clear(&mut result.parts);
                }
            }
        }
        clear(&mut self.system);
        self.turns.iter_mut().for_each(|turn| clear(&mut turn.parts));
        self
    }
}

/// A top-level field that the neutral form has no place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its key as written, without quotes.
    pub name: &'a str,
    /// Its value.
    pub value: Raw<'a>,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order. Tool results stand in turns of the user.
    pub parts: Vec<Part<'a>>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The user, and the tools that answer.
    User,
    /// The model.
    Assistant,
    /// Instructions in the middle of the conversation.
    System,
}

/// One piece of a message, with the cache mark that may stand on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<'a> {
    /// What it is.
    pub kind: Content<'a>,
    /// `cache_control` as written: the prompt up to here is to be cached.
    pub cache: Option<Raw<'a>>,
    /// Where it stood, for errors that only a writer can find: `messages[2].content[0]`.
    pub place: Place,
}

/// Where something stood in the client's body: the item of its list of messages (or input items), and
/// the part of that item's content where it has several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The message or item, from 0.
    pub item: usize,
    /// The part of it, from 0; `None` where the content is one string.
    pub part: Option<usize>,
}

/// What a piece of a message is.
#[derive(Clone, Debug, PartialEq)]
pub enum Content<'a> {
    /// Text.
    Text(Text<'a>),
    /// The model declined (an assistant's turn).
    Refusal(Text<'a>),
    /// A picture.
    Image(Media<'a>),
    /// A document.
    Document(Media<'a>),
    /// A call of a tool by the model.
    Call(Call<'a>),
    /// What the tool answered.
    Result(ToolResult<'a>),
    /// What the model thought aloud.
    Thinking(Thinking<'a>),
    /// Thoughts that only their provider can read (Anthropic `redacted_thinking.data`).
    Redacted(Text<'a>),
}

/// Bytes or a place to get them.
#[derive(Clone, Debug, PartialEq)]
pub struct Media<'a> {
    /// Where its content is.
    pub source: Source<'a>,
    /// `OpenAI`'s `detail` of a picture, a JSON string.
    pub detail: Option<Raw<'a>>,
    /// The name of a document.
    pub name: Option<Text<'a>>,
}

impl Media<'_> {
    /// The name of a document, where a dialect wants one; one that fits what it holds if it has none.
    pub fn name_or_usual(&self) -> Text<'_> {
        let is_text = |media_type: &Text<'_>| {
            media_type.plain().is_some_and(|name| name.to_ascii_lowercase().starts_with("text/"))
        };
        match (&self.name, &self.source) {
            (Some(name), _) => name.clone(),
            (None, Source::Base64 { media_type, .. }) if is_text(media_type) => {
                Text::written(b"document.txt")
            }
            _ => Text::written(b"document.pdf"),
        }
    }
}

/// Where the content of a picture or document is.
#[derive(Clone, Debug, PartialEq)]
pub enum Source<'a> {
    /// In the request, as base64.
    Base64 {
        /// `image/png`, `application/pdf`.
        media_type: Text<'a>,
        /// The base64 text.
        data: Text<'a>,
    },
    /// At a URL that the provider fetches.
    Url(Text<'a>),
    /// In the request, as text (Anthropic's text documents).
    Plain(Text<'a>),
    /// Stored at the provider.
    File(Text<'a>),
}

/// One call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Call<'a> {
    /// By which its result names it.
    pub id: Text<'a>,
    /// The tool.
    pub name: Text<'a>,
    /// What it is called with.
    pub input: Input<'a>,
}

/// What a tool is called with.
#[derive(Clone, Debug, PartialEq)]
pub enum Input<'a> {
    /// A JSON object, as itself (Messages).
    Object(Raw<'a>),
    /// The text of a JSON object inside a string (Chat, Responses). May be empty, or no JSON at all.
    Quoted(Text<'a>),
    /// Free text for a custom tool.
    Free(Text<'a>),
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult<'a> {
    /// The call.
    pub id: Text<'a>,
    /// `Content::Text`, `Image` and `Document` only.
    pub parts: Vec<Part<'a>>,
    /// Whether the tool failed.
    pub is_error: bool,
    /// Whether it answers a call of a custom tool.
    pub is_custom: bool,
}

/// What a model thought aloud.
#[derive(Clone, Debug, PartialEq)]
pub struct Thinking<'a> {
    /// The text; may be a summary or empty.
    pub text: Text<'a>,
    /// By which its provider knows it again. Without one it cannot be sent to Anthropic.
    pub signature: Option<Text<'a>>,
}

/// A tool on offer.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// What it does.
    pub description: Option<Text<'a>>,
    /// What it takes.
    pub takes: Takes<'a>,
    /// Whether the provider must hold the schema to the letter; `None` = not said.
    pub strict: Option<bool>,
    /// `cache_control` as written.
    pub cache: Option<Raw<'a>>,
}

/// What a tool takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Takes<'a> {
    /// Arguments by a JSON schema; `None` = none was given.
    Schema(Option<Raw<'a>>),
    /// Free text, in a `format` as written where one was given (custom tools of `OpenAI`).
    Free(Option<Raw<'a>>),
}

/// Which tools may or must be used.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice<'a> {
    /// The model decides.
    Auto,
    /// None.
    None,
    /// At least one.
    Any,
    /// This one.
    Tool(Text<'a>),
    /// Of these only; at least one of them if `required`.
    Allowed {
        /// Their names.
        names: Vec<Text<'a>>,
        /// Whether one must be used.
        required: bool,
    },
}

/// The form of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Format<'a> {
    /// Any JSON object.
    JsonObject,
    /// JSON by a schema.
    JsonSchema {
        /// A name for it; Chat and Responses want one.
        name: Option<Text<'a>>,
        /// What it is for.
        description: Option<Text<'a>>,
        /// The schema.
        schema: Raw<'a>,
        /// Whether the schema must be held to the letter; `None` = not said.
        strict: Option<bool>,
    },
}

/// How much to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasoning<'a> {
    /// By word.
    pub effort: Option<Effort>,
    /// By tokens (Messages, `thinking.budget_tokens`).
    pub budget_tokens: Option<u64>,
    /// Whether thinking is on but left to the model (`adaptive`).
    pub adaptive: bool,
    /// How thoughts are to be shown (`summary` of Responses, `display` of Messages), a JSON string.
    pub summary: Option<Raw<'a>>,
}

/// How much to think, by word, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    Off,
    /// As little as possible.
    Minimal,
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// Very much.
    XHigh,
    /// As much as possible.
    Max,
}

/// Budgets below this are little thinking. Claude Code's own words ask for 4,000, 10,000 and 31,999
/// tokens: each of the three falls into a class of its own.
const LOW_BELOW: u64 = 8_192;
/// Budgets below this are some thinking, those from here on much.
const MEDIUM_BELOW: u64 = 24_576;

impl Effort {
    /// What a budget of thinking tokens is called in dialects that have words only.
    pub const fn of_budget(tokens: u64) -> Self {
        match tokens {
            0 => Self::Off,
            1..LOW_BELOW => Self::Low,
            LOW_BELOW..MEDIUM_BELOW => Self::Medium,
            _ => Self::High,
        }
    }

    /// Both dialects' word for it. `Off` is `none` at `OpenAI`; Messages says it by `thinking`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// What a word means.
    pub fn from_name(name: &str) -> Option<Self> {
        let all =
            [Self::Off, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max];
        all.into_iter().find(|effort| effort.name() == name)
    }
}
