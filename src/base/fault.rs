//! The closed set of refusals that a client can meet: one code, one status, one place.
//!
//! A fault says what is wrong in words that are safe to show. How it looks on the wire is decided by
//! `dialect::error_body`; upstream answers that are passed on unchanged are not faults.

use std::borrow::Cow;

/// What went wrong, from the client's point of view (`api.md` section 3, "Errors of our own").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 400: the body is not a JSON object, or a field of it makes no sense on its own.
    InvalidJson,
    /// 400: the request as a whole cannot be served as asked.
    InvalidRequest,
    /// 400: the named agent does not exist and there is no default agent (S0-02).
    UnknownAgent,
    /// 401: no key was sent and one is required.
    MissingKey,
    /// 401: the key is not ours.
    InvalidKey,
    /// 402: the budget does not allow it, now or until the next period (S0-09).
    BudgetExhausted,
    /// 403: a path whose cost cannot be metered, for an agent under a hard cap.
    UnmeteredPath,
    /// 403: the key is bound to another agent, or the agent may not do this.
    AgentForbidden,
    /// 403: the guard found an attack in the request.
    PromptBlocked,
    /// 403: the guard found something in the answer that must not get out.
    OutputBlocked,
    /// 404: no such model, and no wildcard takes it.
    ModelNotFound,
    /// 404: no such path.
    NotFound,
    /// 405: the path exists, the method does not.
    MethodNotAllowed,
    /// 408: the request did not arrive within the deadline.
    RequestTimeout,
    /// 413: the body is larger than `server.body_bytes_max`.
    BodyTooLarge,
    /// 415: a content encoding that we do not decode.
    UnsupportedEncoding,
    /// 426: a web socket where only plain HTTP is spoken (Codex then uses HTTP).
    UpgradeRequired,
    /// 429: the key is shut out, for a while or until an administrator lets it in (S1-05).
    KeyQuarantined,
    /// 500: our own mistake.
    Internal,
    /// 502: no candidate could be reached.
    UpstreamUnreachable,
    /// 502: every model that a strategy would ask has failed (S2-04).
    AllModelsFailed,
    /// 502: every candidate refused our credential.
    UpstreamAuthFailed,
    /// 502: the answer was not HTTP, too large, or broke off before its first byte.
    UpstreamInvalid,
    /// 503: a limit of concurrent work is reached.
    Overloaded,
    /// 503: the process is stopping.
    Draining,
    /// 504: no candidate answered in time.
    UpstreamTimeout,
}

impl Code {
    /// The code as clients see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidRequest => "invalid_request",
            Self::UnknownAgent => "unknown_agent",
            Self::MissingKey => "missing_key",
            Self::InvalidKey => "invalid_key",
            Self::BudgetExhausted => "budget_exhausted",
            Self::UnmeteredPath => "unmetered_path",
            Self::AgentForbidden => "agent_forbidden",
            Self::PromptBlocked => "prompt_blocked",
            Self::OutputBlocked => "output_blocked",
            Self::ModelNotFound => "model_not_found",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::UpgradeRequired => "upgrade_required",
            Self::KeyQuarantined => "key_quarantined",
            Self::Internal => "internal",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::AllModelsFailed => "all_models_failed",
            Self::UpstreamAuthFailed => "upstream_auth_failed",
            Self::UpstreamInvalid => "upstream_invalid",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }

    /// The HTTP status that carries it.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidJson | Self::InvalidRequest | Self::UnknownAgent => 400,
            Self::MissingKey | Self::InvalidKey => 401,
            Self::BudgetExhausted => 402,
            Self::AgentForbidden
            | Self::UnmeteredPath
            | Self::PromptBlocked
            | Self::OutputBlocked => 403,
            Self::ModelNotFound | Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::UnsupportedEncoding => 415,
            Self::UpgradeRequired => 426,
            Self::KeyQuarantined => 429,
            Self::Internal => 500,
            Self::UpstreamUnreachable
            | Self::AllModelsFailed
            | Self::UpstreamAuthFailed
            | Self::UpstreamInvalid => 502,
            Self::Overloaded | Self::Draining => 503,
            Self::UpstreamTimeout => 504,
        }
    }

    /// Whether the same request may succeed a little later, so that `retry-after` makes sense.
    pub const fn retry_after_seconds(self) -> Option<u32> {
        match self {
            Self::Overloaded | Self::Draining => Some(1),
            _ => None,
        }
    }
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which kind.
    pub code: Code,
    /// What is wrong and with which field; never holds a secret or text of a prompt.
    pub message: Cow<'static, str>,
    /// The field at fault, where there is one (`model`, `stream_options.include_usage`).
    pub param: Option<Cow<'static, str>>,
    /// Extra top-level keys that a seed system's clients expect, already JSON.
    pub extra: Vec<(&'static str, String)>,
    /// Seconds after which the same request may succeed, where this fault knows better than its kind.
    pub retry_after_s: Option<u32>,
    /// The methods that the path has, where it has not the one that was asked for.
    pub allow: Option<Methods>,
}

/// The methods of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Methods {
    /// `POST` alone.
    Post,
    /// Those that only read.
    Read,
    /// All that are passed on.
    Passed,
}

impl Methods {
    /// As the header `Allow` lists them.
    pub const fn list(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Read => "GET, HEAD",
            Self::Passed => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        }
    }
}

impl Fault {
    /// A fault of that kind with a message for people.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            param: None,
            extra: Vec::new(),
            retry_after_s: None,
            allow: None,
        }
    }

    /// The refusal of a method at a path that has only those.
    pub fn only(methods: Methods) -> Self {
        let message = format!("this path takes {} only", methods.list());
        Self { allow: Some(methods), ..Self::new(Code::MethodNotAllowed, message) }
    }

    /// The same fault, naming the field that caused it.
    #[must_use]
    pub fn param(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The same fault with one more top-level key; `json` must be a JSON value.
    #[must_use]
    pub fn extra(mut self, key: &'static str, json: String) -> Self {
        self.extra.push((key, json));
        self
    }
}
