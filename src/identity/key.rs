//! Keys of the gateway itself: their hash, their form in the configuration, and fresh ones.
//!
//! A key has 256 random bits, so one round of SHA-256 is enough: there is no weak secret to slow
//! down for. The clear text is never kept.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Fewest characters of a key in the configuration. Sixteen random characters cannot be guessed
/// over a network; anything shorter is a password or a placeholder.
pub const KEY_CHARS_MIN: usize = 16;
/// Most characters of a key: room for every real key, and a bound on what is hashed per request.
pub const KEY_CHARS_MAX: usize = 512;

const HASH_PREFIX: &str = "sha256:";
const FRESH_PREFIX: &str = "weir_";

/// The SHA-256 of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash([u8; 32]);

/// Why a text cannot serve as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing at all, which is what an unset variable looks like.
    #[error("is empty (a key has at least {KEY_CHARS_MIN} characters; `weir key new` makes one)")]
    Empty,
    /// Too easy to guess.
    #[error("is too short (at least {KEY_CHARS_MIN} characters; `weir key new` makes one)")]
    TooShort,
    /// Longer than a header should carry.
    #[error("is too long (at most {KEY_CHARS_MAX} characters)")]
    TooLong,
    /// Spaces or control characters, which do not survive a header.
    #[error("holds a character that cannot stand in a header (visible ASCII only)")]
    BadCharacter,
    /// `sha256:` and something that is no hash.
    #[error("is not a hash (sha256: and 64 hex digits)")]
    BadHash,
}

impl KeyHash {
    /// The hash of a presented key.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Reads a key as it stands in the configuration: in clear, or as `sha256:<64 hex digits>`.
    pub fn from_configured(text: &str) -> Result<Self, KeyError> {
        if let Some(hex) = text.strip_prefix(HASH_PREFIX) {
            return from_hex(hex).map(Self).ok_or(KeyError::BadHash);
        }
        match text.len() {
            0 => Err(KeyError::Empty),
            _ if !text.bytes().all(|b| b.is_ascii_graphic()) => Err(KeyError::BadCharacter),
            length if length < KEY_CHARS_MIN => Err(KeyError::TooShort),
            length if length > KEY_CHARS_MAX => Err(KeyError::TooLong),
            _ => Ok(Self::of(text.as_bytes())),
        }
    }

    /// Whether both are the same, in a time that does not depend on where they differ.
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// The first eight bytes as a number: a place to look, not a proof.
    pub fn prefix(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(bytes)
    }

    /// The first 12 hex digits: the id by which a key may be listed (`api.md` section 6).
    pub fn id(&self) -> String {
        to_hex(&self.0[..6])
    }
}

impl fmt::Display for KeyHash {
    /// The form that the configuration takes: `sha256:<64 hex digits>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HASH_PREFIX}{}", to_hex(&self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({})", self.id())
    }
}

/// A key just made; the only time that its clear text is shown.
pub struct FreshKey {
    /// What the client sends.
    pub key: String,
    /// What the configuration may hold instead of it.
    pub hash: KeyHash,
}

/// A key made of 32 bytes that the caller drew from the system's generator.
pub fn fresh(random: &[u8; 32]) -> FreshKey {
    let key = format!("{FRESH_PREFIX}{}", to_hex(random));
    let hash = KeyHash::of(key.as_bytes());
    FreshKey { key, hash }
}

/// Those bytes in lower-case hex.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (hex_digit(pair[0])? << 4) | hex_digit(pair[1])?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    // `to_digit` knows no sign and no space, unlike `from_str_radix`.
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_its_hash_are_the_same_key() {
        let fresh = fresh(&[0xab; 32]);
        assert!(fresh.key.starts_with("weir_abab"));
        assert_eq!(fresh.key.len(), 69);
        let by_hash = KeyHash::from_configured(&fresh.hash.to_string()).unwrap();
        assert!(by_hash.same_as(&KeyHash::from_configured(&fresh.key).unwrap()));
        assert!(by_hash.same_as(&KeyHash::of(fresh.key.as_bytes())));
        assert!(!by_hash.same_as(&KeyHash::of(b"another")));
    }

    #[test]
    fn the_hash_is_sha256() {
        assert_eq!(
            KeyHash::of(b"abc").to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(KeyHash::of(b"abc").id(), "ba7816bf8f01");
        assert_eq!(KeyHash::of(b"abc").prefix(), 0xba78_16bf_8f01_cfea);
    }

    #[test]
    fn bad_keys_are_refused_with_their_reason() {
        let cases = [
            ("", KeyError::Empty),
            ("short", KeyError::TooShort),
            ("a key with blanks in it", KeyError::BadCharacter),
            ("sixteen\r\ncharacters-and-more", KeyError::BadCharacter),
            ("sha256:12", KeyError::BadHash),
            (
                "sha256:zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                KeyError::BadHash,
            ),
            (
                "sha256:+a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                KeyError::BadHash,
            ),
        ];
        for (text, why) in cases {
            assert_eq!(KeyHash::from_configured(text), Err(why), "{text:?}");
        }
        assert_eq!(KeyHash::from_configured(&"x".repeat(513)), Err(KeyError::TooLong));
        assert!(KeyHash::from_configured(&"x".repeat(16)).is_ok());
    }

    #[test]
    fn debug_shows_no_more_than_the_id() {
        assert_eq!(format!("{:?}", KeyHash::of(b"abc")), "KeyHash(ba7816bf8f01)");
    }
}
