//! The kinds of provider that an account can be made at through the API.
//!
//! A provider of the file has no kind: whoever wrote the file has said everything about it.

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::base::surface::Dialect;

/// What kind of provider an account belongs to (S3-05).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// `OpenAI` itself, unless a base URL says otherwise.
    OpenAi,
    /// Anthropic itself, unless a base URL says otherwise.
    Anthropic,
    /// Anything that copies the API of `OpenAI`; its base URL must be given.
    OpenAiCompatible,
}

impl ProviderKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OpenAi, Self::Anthropic, Self::OpenAiCompatible];

    /// The word of the API and of the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::OpenAiCompatible => "openai_compatible",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The base URL where none is given (S3-05).
    pub const fn base_url(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com"),
            Self::OpenAiCompatible => None,
        }
    }

    /// The wire format that it speaks.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::OpenAi | Self::OpenAiCompatible => Dialect::OpenAi,
            Self::Anthropic => Dialect::Anthropic,
        }
    }

    /// The header that carries that key, marked as sensitive; `None` if the key cannot stand in one.
    pub fn credential(self, key: &str) -> Option<(HeaderName, HeaderValue)> {
        let (name, text) = match self.dialect() {
            Dialect::OpenAi => (AUTHORIZATION, format!("Bearer {key}")),
            Dialect::Anthropic => (HeaderName::from_static("x-api-key"), key.to_owned()),
        };
        // Bytes beyond ASCII would pass, of which no two servers think the same.
        let mut value = HeaderValue::from_str(&text).ok().filter(|_| key.is_ascii())?;
        value.set_sensitive(true);
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_found_by_its_name_and_sends_its_key_as_its_dialect_has_it() {
        for kind in ProviderKind::ALL {
            assert_eq!(ProviderKind::from_name(kind.name()), Some(kind));
            let (name, value) = kind.credential("sk-1").expect("a header");
            let is_bearer = name == AUTHORIZATION && value == "Bearer sk-1";
            assert_eq!(is_bearer, kind.dialect() == Dialect::OpenAi);
            assert!(value.is_sensitive());
        }
        assert_eq!(ProviderKind::from_name("other"), None);
        for key in ["two\nlines", "cl\u{e9}"] {
            assert!(ProviderKind::OpenAi.credential(key).is_none(), "{key}");
        }
    }
}
