//! How a reasoning item and thoughts with a signature become each other.
//!
//! A signature from another dialect travels as the item's `encrypted_content` behind a mark of ours;
//! what a provider of this dialect encrypted travels as a signature behind another one. Whoever does
//! not know a mark leaves the thoughts out: no provider can read those of another.

use crate::dialect::canonical::marks::{REDACTED, SIGNED};
use crate::dialect::canonical::text::Text;

/// In front of this dialect's `encrypted_content` where it travels as a signature. It starts like the
/// mark of thoughts that nobody signed, since to every other dialect they are that.
pub const SEALED: &str = "weir-unsigned:";

/// What is behind a mark in the text of a string.
pub fn behind<'t>(text: &'t [u8], mark: &str) -> Option<&'t [u8]> {
    text.strip_prefix(mark.as_bytes())
}

/// What `encrypted_content` says, between its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encrypted<'a> {
    /// A signature of another dialect.
    Signed(&'a [u8]),
    /// Redacted thoughts of another dialect.
    Redacted(&'a [u8]),
    /// Only the provider that wrote it knows.
    Opaque(&'a [u8]),
}

impl<'a> Encrypted<'a> {
    /// What a value says; `None` if it is no string.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let text = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let found = behind(text, SIGNED).map(Self::Signed);
        Some(
            found
                .or_else(|| behind(text, REDACTED).map(Self::Redacted))
                .unwrap_or(Self::Opaque(text)),
        )
    }
}

/// What a provider of this dialect encrypted, as a signature; `None` if it is no text.
pub fn seal(opaque: &[u8]) -> Option<Text<'static>> {
    Text::written(opaque).plain().map(|plain| Text::of(&format!("{SEALED}{plain}")))
}

/// Appends a signature as the inside of `encrypted_content`.
pub fn push_signature(signature: &[u8], out: &mut Vec<u8>) {
    if let Some(own) = behind(signature, SEALED) {
        out.extend_from_slice(own);
        return;
    }
    out.extend_from_slice(SIGNED.as_bytes());
    out.extend_from_slice(signature);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_tell_whose_thoughts_they_are() {
        assert_eq!(Encrypted::read(b"\"weir1:abc\""), Some(Encrypted::Signed(b"abc")));
        assert_eq!(Encrypted::read(b"\"weir1r:abc\""), Some(Encrypted::Redacted(b"abc")));
        assert_eq!(Encrypted::read(b"\"gAAA\""), Some(Encrypted::Opaque(b"gAAA")));
        assert_eq!(Encrypted::read(b"null"), None);
        let mut out = Vec::new();
        push_signature(b"abc", &mut out);
        out.push(b' ');
        push_signature(b"weir-unsigned:gAAA", &mut out);
        assert_eq!(out, b"weir1:abc gAAA");
    }
}
