//! The manners of providers: how each one departs from `OpenAI`'s form of a chat answer.
//!
//! Facts from `wire.md` section 2. It only says what differs; `chat` does the writing.

use std::str::FromStr;

/// Whose habits an answer follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// Plain `OpenAI`: usage only if asked for, in a last chunk with `choices: []`.
    #[default]
    OpenAi,
    /// Comments while queued, usage with `cost` always, `X-Generation-Id`, own error form.
    OpenRouter,
    /// `: keep-alive` comments, usage on the finish chunk, blank lines before unary JSON.
    DeepSeek,
    /// A first chunk with `choices: []`, an empty id and `prompt_filter_results`.
    Azure,
    /// Usage under `x_groq.usage` of the finish chunk.
    Groq,
    /// Reasoning tokens outside `completion_tokens`, `cost_in_usd_ticks`.
    Xai,
    /// `Anthropic`: the Messages form; on the `OpenAI` surfaces the same as `OpenAi`.
    Anthropic,
    /// No token details, `max_completion_tokens` ignored.
    Ollama,
    /// `continuous_usage_stats`, an error chunk is followed by `[DONE]`.
    Vllm,
}

impl FromStr for Manner {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "openai" => Self::OpenAi,
            "openrouter" => Self::OpenRouter,
            "deepseek" => Self::DeepSeek,
            "azure" => Self::Azure,
            "groq" => Self::Groq,
            "xai" => Self::Xai,
            "anthropic" => Self::Anthropic,
            "ollama" => Self::Ollama,
            "vllm" => Self::Vllm,
            _ => return Err(()),
        })
    }
}

/// What a chat request asks of a stream's usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageAsked {
    /// Nothing.
    No,
    /// `stream_options.include_usage`.
    AtEnd,
    /// And vLLM's `continuous_usage_stats`.
    Continuous,
}

/// Where a chat stream carries its usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsagePlace {
    /// Nowhere, even if asked.
    None,
    /// In a chunk of its own after the finish chunk.
    Last,
    /// On the finish chunk.
    Finish,
    /// On every chunk, cumulative, and in a chunk of its own at the end.
    Every,
    /// As `x_groq.usage` on the finish chunk.
    XGroq,
}

impl FromStr for UsagePlace {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "none" => Self::None,
            "last" => Self::Last,
            "finish" => Self::Finish,
            "every" => Self::Every,
            "x_groq" => Self::XGroq,
            _ => return Err(()),
        })
    }
}

impl Manner {
    /// Where this provider puts the usage of a stream.
    pub fn usage_place(self, asked: UsageAsked) -> UsagePlace {
        match self {
            Self::OpenRouter => UsagePlace::Last,
            Self::DeepSeek => UsagePlace::Finish,
            Self::Groq => UsagePlace::XGroq,
            Self::Vllm if asked == UsageAsked::Continuous => UsagePlace::Every,
            _ if asked == UsageAsked::No => UsagePlace::None,
            _ => UsagePlace::Last,
        }
    }

    /// The comment this provider sends while a request is queued.
    pub fn comment(self) -> Option<&'static str> {
        match self {
            Self::OpenRouter => Some(": OPENROUTER PROCESSING\n\n"),
            Self::DeepSeek => Some(": keep-alive\n\n"),
            _ => None,
        }
    }
}
