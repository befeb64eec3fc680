//! A JSON string as it was written, and any JSON value as it was written.

use std::borrow::Cow;

use crate::wire::json;

/// Any JSON value as it was written; checked before it comes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(pub &'a [u8]);

/// What stands between the quotes of a JSON string, escapes and all: valid inside any other JSON
/// string, so that text crosses dialects without being decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, [u8]>);

impl<'a> Text<'a> {
    /// The text between the quotes of a string that has been checked.
    pub const fn written(between_quotes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(between_quotes))
    }

    /// The text of a whole string token; `None` if `token` is not one.
    pub fn token(token: &'a [u8]) -> Option<Self> {
        token.strip_prefix(b"\"")?.strip_suffix(b"\"").map(Self::written)
    }

    /// Plain text, escaped where it must be.
    pub fn of(plain: &str) -> Text<'static> {
        let mut quoted = Vec::new();
        json::quote_into(plain, &mut quoted);
        quoted.pop();
        quoted.remove(0);
        Text(Cow::Owned(quoted))
    }

    /// What it means; `None` if it holds half a surrogate pair, which is not text.
    pub fn plain(&self) -> Option<Cow<'_, str>> {
        json::unescape(&self.0)
    }

    /// What it means, to be compared with other texts: the same for all ways to write it. What is not
    /// text stays as it is written, behind a byte that no text has.
    pub fn meaning(self) -> Cow<'a, [u8]> {
        match self.0 {
            Cow::Borrowed(written) => meant(written),
            Cow::Owned(written) => Cow::Owned(meant(&written).into_owned()),
        }
    }

    /// Whether it says `plain`.
    pub fn is(&self, plain: &str) -> bool {
        json::key_is(&self.0, plain)
    }

    /// Its bytes, without quotes.
    pub fn as_written(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes it as a JSON string, with quotes.
    pub fn quote_into(&self, out: &mut Vec<u8>) {
        out.reserve(self.0.len() + 2);
        out.push(b'"');
        out.extend_from_slice(&self.0);
        out.push(b'"');
    }

    /// The same, independent of the body that it was read from.
    pub fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

fn meant(written: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', written).is_none() {
        return Cow::Borrowed(written);
    }
    let plain = json::unescape(written).map(|plain| plain.into_owned().into_bytes());
    Cow::Owned(plain.unwrap_or_else(|| [b"\xff", written].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_carried_as_written_and_understood_when_asked() {
        let text = Text::token(br#""a\u00e9\n""#).expect("a string");
        assert_eq!(text.as_written(), br"a\u00e9\n");
        assert_eq!(text.plain().as_deref(), Some("a\u{e9}\n"));
        assert!(text.is("a\u{e9}\n") && !text.is("a"));
        let mut out = Vec::new();
        Text::of("q\"\u{1}").quote_into(&mut out);
        assert_eq!(out, br#""q\"\u0001""#);
        assert_eq!(Text::token(b"12"), None);
    }
}
