//! One provider, ready for requests: where it is, what is sent with every request, how long to wait.
//!
//! Hot path: everything here is made once per reload and only read afterwards.

use std::fmt;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};

use crate::base::surface::{Dialect, Surface};
use crate::upstream::authorities::Authorities;
use crate::upstream::reach::Fence;
use crate::upstream::target::BaseUrl;

/// How long to wait for a provider, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect_ms: u64,
    /// From the request's last byte to the answer's first.
    pub first_byte_ms: u64,
    /// Between two reads of an answer.
    pub idle_ms: u64,
}

impl Timeouts {
    /// The longest wait for any read, of the answer's header too.
    pub fn read_ms(&self) -> u64 {
        self.first_byte_ms.max(self.idle_ms)
    }

    /// The longest pause within an answer, where one read may wait longer than that.
    pub fn shorter_idle_ms(&self) -> Option<u64> {
        (self.idle_ms < self.read_ms()).then_some(self.idle_ms)
    }
}

/// The field of a chat request by which a provider bounds the tokens of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputCapField {
    /// `max_tokens`: nearly everybody, and the only one of the Anthropic dialect.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`: `OpenAI` itself, whose reasoning models refuse the other one.
    MaxCompletionTokens,
}

impl OutputCapField {
    /// The key in the body, which is also the word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// What a provider can do beyond its dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Abilities {
    /// Takes `OpenRouter`'s `models[]` and `route` (S0-04).
    pub native_fallback: bool,
    /// Has `/v1/chat/completions`.
    pub chat: bool,
    /// Has `/v1/responses`.
    pub responses: bool,
    /// Takes `stream_options.include_usage`.
    pub ask_usage: bool,
    /// Tells under `/v1/generation?id=` what an attempt has cost that it has named, as `OpenRouter` does.
    pub generation_lookup: bool,
    /// The one output cap that it honours in chat requests.
    pub output_cap_field: OutputCapField,
}

/// One provider.
#[derive(Clone)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its place in the list of providers.
    pub index: usize,
    /// The wire format it speaks.
    pub dialect: Dialect,
    /// Where it is.
    pub base: BaseUrl,
    /// The value of `Host`, also the HTTP/2 authority.
    pub authority: HeaderValue,
    /// The only certificates that can vouch for it; `None` = those that the system trusts.
    pub authorities: Option<Arc<Authorities>>,
    /// The header that carries our credential; `None` = the provider has no key of ours.
    pub auth: Option<(HeaderName, HeaderValue)>,
    /// Headers added to every request. They win over those of the client and over `auth`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// What it can do.
    pub abilities: Abilities,
    /// Whether it may be used at all.
    pub enabled: bool,
    /// Names this provider with this address and credential: state that must not outlive a change of
    /// either (a rest after a refused key) is kept under it.
    pub rest_key: Arc<str>,
    /// Where its address may lie; `None` = anywhere, on the word of the configuration file.
    pub fence: Option<Arc<Fence>>,
    /// Providers with the same word here are accounts of one and the same: where one is refused, the
    /// others may be asked for the same model. `None` = it stands alone.
    pub account_of: Option<Arc<str>>,
    /// The same provider with each of its further keys.
    pub other_keys: Vec<Arc<Self>>,
}

impl Provider {
    /// Whether to speak TLS.
    pub fn tls(&self) -> bool {
        self.base.tls
    }

    /// The host to connect to: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.base.host
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.base.port
    }

    /// The name to ask for and to verify in the TLS handshake.
    pub fn sni(&self) -> &str {
        &self.base.host
    }

    /// The path and query of an upstream request, given those of the client's.
    pub fn target(&self, path_and_query: &str) -> String {
        self.base.join(path_and_query)
    }

    /// The surface on which it is asked for what a client asks on `asked`: the same one if it has that,
    /// else the one to translate to. `None` if it cannot answer that at all.
    pub fn surface_for(&self, asked: Surface) -> Option<Surface> {
        if let Some(only) = self.only_surface() {
            return (only == asked || is_translated(only) && is_translated(asked)).then_some(only);
        }
        match (asked, self.dialect) {
            (Surface::Chat | Surface::Responses | Surface::Messages, Dialect::Anthropic) => {
                Some(Surface::Messages)
            }
            (Surface::Responses, Dialect::OpenAi) if self.abilities.responses => {
                Some(Surface::Responses)
            }
            (Surface::Chat | Surface::Responses | Surface::Messages, Dialect::OpenAi) => {
                Some(if self.abilities.chat { Surface::Chat } else { Surface::Responses })
            }
            (other, dialect) => (other.dialect() == dialect).then_some(other),
        }
    }

    /// The one thing that can be asked where the whole address is given: whatever else went there would be held,
    /// capped and screened as something that it is not. `None` where paths are added to the address.
    fn only_surface(&self) -> Option<Surface> {
        let usual = match self.dialect {
            Dialect::Anthropic => Surface::Messages,
            Dialect::OpenAi if self.abilities.chat => Surface::Chat,
            Dialect::OpenAi => Surface::Responses,
        };
        self.base.is_exact().then(|| self.base.named_surface().unwrap_or(usual))
    }

    /// Whether this is `OpenRouter`, or something that takes its fields.
    pub fn is_openrouter(&self) -> bool {
        self.abilities.native_fallback || self.base.host.ends_with("openrouter.ai")
    }

    /// The ordinary service tier by its name, where there are dearer ones that the provider may choose
    /// by itself.
    pub fn ordinary_tier(&self) -> Option<&'static str> {
        match &*self.base.host {
            "api.openai.com" => Some("default"),
            "api.anthropic.com" => Some("standard_only"),
            _ => None,
        }
    }

    /// Whether an output cap of 0 asks it for no output at all. That is Anthropic's own word; others that speak
    /// its dialect may take it for no limit.
    pub fn writes_nothing_at_zero(&self) -> bool {
        self.dialect == Dialect::Anthropic && &*self.base.host == "api.anthropic.com"
    }

    /// Whether another provider is an account of the same one.
    pub fn is_account_like(&self, other: &Self) -> bool {
        self.account_of.is_some() && self.account_of == other.account_of
    }

    /// Whether our own credential goes with a request, so that a client's must not.
    pub fn has_credential(&self) -> bool {
        self.auth.is_some()
    }
}

/// Whether requests on a surface can be told on the others of this kind.
const fn is_translated(surface: Surface) -> bool {
    matches!(surface, Surface::Chat | Surface::Responses | Surface::Messages)
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("dialect", &self.dialect)
            .field("authority", &self.base.authority)
            .field("path", &self.base.path())
            .field("has_credential", &self.has_credential())
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}
