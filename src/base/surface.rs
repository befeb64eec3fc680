//! Which API a request speaks: the surface (one path family) and its dialect (the provider family).
//!
//! Only names live here. What a surface's bodies look like is the business of `dialect` and `usage`.

/// The family of wire formats that a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `OpenAI` and everything that copies its API.
    OpenAi,
    /// Anthropic Messages.
    Anthropic,
}

impl Dialect {
    /// The name used in configuration, logs and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    /// The one that it is not.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::OpenAi => Self::Anthropic,
            Self::Anthropic => Self::OpenAi,
        }
    }

    /// The dialect of that name, as written in configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "openai" => Some(Self::OpenAi),
            "anthropic" => Some(Self::Anthropic),
            _ => None,
        }
    }
}

/// One family of paths with one shape of request, answer, stream and error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/completions` (the legacy text API).
    Completions,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /v1/responses`.
    Responses,
    /// `POST /v1/messages`, also below `/anthropic`.
    Messages,
    /// `POST /v1/messages/count_tokens`, also below `/anthropic`. Free of charge upstream.
    CountTokens,
    /// Any other `/v1/*` path: passed on, metered only when a usage object comes back.
    Other(Dialect),
}

impl Surface {
    /// The dialect that requests, answers and errors on this surface use.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
            Self::Other(dialect) => dialect,
            _ => Dialect::OpenAi,
        }
    }

    /// Whether what comes back is the answer of a model.
    pub const fn is_answered(self) -> bool {
        matches!(self, Self::Chat | Self::Completions | Self::Responses | Self::Messages)
    }

    /// The name used in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Other(_) => "other",
        }
    }
}
