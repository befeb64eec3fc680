//! The top-level fields of a request that the gateway looks at, under every dialect.
//!
//! Only names live here; `envelope` finds them in a body.

/// One watched field. A body that holds one of them twice is refused, because two readers of it
/// could take different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The model asked for.
    Model,
    /// Whether the answer is to be streamed.
    Stream,
    /// Chat: options of a stream, `include_usage` among them.
    StreamOptions,
    /// Cap of the output in tokens: Messages, and Chat in its old form.
    MaxTokens,
    /// Cap of the output in tokens: Chat.
    MaxCompletionTokens,
    /// Cap of the output in tokens: Responses.
    MaxOutputTokens,
    /// Cap of the output in tokens: Anthropic's old text API.
    MaxTokensToSample,
    /// How many answers are asked for; all of them are paid.
    N,
    /// Chat and Messages: the conversation.
    Messages,
    /// Messages: the system prompt.
    System,
    /// Responses: the system prompt.
    Instructions,
    /// Responses and embeddings: what to work on.
    Input,
    /// Completions: the text to continue.
    Prompt,
    /// The tools on offer.
    Tools,
    /// Attribution chosen by the client.
    Metadata,
    /// The end user.
    User,
    /// `OpenRouter`: the session, for sticky routing.
    SessionId,
    /// Responses: the answer that this one continues.
    PreviousResponseId,
    /// Responses: the stored conversation that this belongs to.
    Conversation,
    /// How fast and how dear the answer may be.
    ServiceTier,
    /// `OpenRouter`: which providers may answer, and at what price.
    Provider,
}

impl Slot {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 21] = [
        Self::Model,
        Self::Stream,
        Self::StreamOptions,
        Self::MaxTokens,
        Self::MaxCompletionTokens,
        Self::MaxOutputTokens,
        Self::MaxTokensToSample,
        Self::N,
        Self::Messages,
        Self::System,
        Self::Instructions,
        Self::Input,
        Self::Prompt,
        Self::Tools,
        Self::Metadata,
        Self::User,
        Self::SessionId,
        Self::PreviousResponseId,
        Self::Conversation,
        Self::ServiceTier,
        Self::Provider,
    ];

    /// The four fields that cap the output. Which of them counts depends on the provider.
    pub const CAPS: [Self; 4] = [
        Self::MaxTokens,
        Self::MaxCompletionTokens,
        Self::MaxOutputTokens,
        Self::MaxTokensToSample,
    ];

    /// The field's name in a body.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Stream => "stream",
            Self::StreamOptions => "stream_options",
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::MaxOutputTokens => "max_output_tokens",
            Self::MaxTokensToSample => "max_tokens_to_sample",
            Self::N => "n",
            Self::Messages => "messages",
            Self::System => "system",
            Self::Instructions => "instructions",
            Self::Input => "input",
            Self::Prompt => "prompt",
            Self::Tools => "tools",
            Self::Metadata => "metadata",
            Self::User => "user",
            Self::SessionId => "session_id",
            Self::PreviousResponseId => "previous_response_id",
            Self::Conversation => "conversation",
            Self::ServiceTier => "service_tier",
            Self::Provider => "provider",
        }
    }

    /// The field of that name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"model" => Self::Model,
            b"stream" => Self::Stream,
            b"stream_options" => Self::StreamOptions,
            b"max_tokens" => Self::MaxTokens,
            b"max_completion_tokens" => Self::MaxCompletionTokens,
            b"max_output_tokens" => Self::MaxOutputTokens,
            b"max_tokens_to_sample" => Self::MaxTokensToSample,
            b"n" => Self::N,
            b"messages" => Self::Messages,
            b"system" => Self::System,
            b"instructions" => Self::Instructions,
            b"input" => Self::Input,
            b"prompt" => Self::Prompt,
            b"tools" => Self::Tools,
            b"metadata" => Self::Metadata,
            b"user" => Self::User,
            b"session_id" => Self::SessionId,
            b"previous_response_id" => Self::PreviousResponseId,
            b"conversation" => Self::Conversation,
            b"service_tier" => Self::ServiceTier,
            b"provider" => Self::Provider,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_slots_are_one_to_one() {
        for (place, slot) in Slot::ALL.into_iter().enumerate() {
            assert_eq!(slot as usize, place);
            assert_eq!(Slot::from_name(slot.name().as_bytes()), Some(slot));
        }
        assert_eq!(Slot::from_name(b"Model"), None);
        assert_eq!(Slot::from_name(b""), None);
    }
}
