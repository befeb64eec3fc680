//! Credentials at rest: AES-256-GCM with the id of the record as associated data, so that a sealed
//! credential cannot be moved to another record, nor changed.
//!
//! No randomness: the caller draws each nonce from the system, 96 bits of it. A key may seal 2^32 credentials
//! before two nonces are likely to be the same; operators have some hundred. Neither keys nor credentials have
//! a `Debug`, and both are wiped when they are dropped.

use std::fmt;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::base::limit::CREDENTIAL_BYTES_MAX;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// The first byte of what is sealed: how the rest is to be read.
const VERSION: u8 = 1;
/// Most characters that are looked at of a key's text. One of the right length has 44.
const KEY_CHARS_MAX: usize = 1_024;
/// Padding may be left out, as some tools do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key that seals and opens credentials.
pub struct Key {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

/// Why a text is no key. None of them shows the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Nothing at all, which is what an unset variable looks like.
    #[error("is empty (32 random bytes in base64; `openssl rand -base64 32` makes a key)")]
    Empty,
    /// A character that base64 does not have, or one too few.
    #[error("is not base64 (letters, digits, + and /; `openssl rand -base64 32` makes a key)")]
    Alphabet,
    /// Too few or too many bytes.
    #[error(
        "has {0} bytes (a key has 32, in base64 44 characters; `openssl rand -base64 32` makes one)"
    )]
    Length(usize),
    /// So long that it is not even looked at.
    #[error("is too long (a key has 32 bytes, in base64 44 characters)")]
    TooLong,
}

/// Why a credential was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a credential has at most {CREDENTIAL_BYTES_MAX} bytes")]
pub struct TooLong;

/// Why a sealed credential was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No key of that id is at hand.
    #[error("no key at hand has the id that it was sealed with")]
    UnknownKey,
    /// It was written by a newer version of this program.
    #[error("it is sealed in a way that this version does not know")]
    Version,
    /// It was sealed by another key or for another record, or it was changed.
    #[error("it was sealed by another key or for another record, or it is damaged")]
    Refused,
}

impl Key {
    /// The key of 32 bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self { bytes: Zeroizing::new(bytes) }
    }

    /// Reads a key in base64, with or without padding; blanks around it do not matter.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub fn from_base64(text: &str) -> Result<Self, BadKey> {
        let text = text.trim();
        match text.len() {
            0 => return Err(BadKey::Empty),
            length if length > KEY_CHARS_MAX => return Err(BadKey::TooLong),
            _ => {}
        }
        // With room for all from the start, no copy is left behind.
        let mut decoded = Zeroizing::new(Vec::with_capacity(KEY_CHARS_MAX));
        BASE64.decode_vec(text, &mut decoded).map_err(|_| BadKey::Alphabet)?;
        let bytes: [u8; KEY_BYTES] =
            decoded.as_slice().try_into().map_err(|_| BadKey::Length(decoded.len()))?;
        Ok(Self::new(bytes))
    }

    /// The key that the seed system made of its admin key where it had no other (S3-04): its SHA-256. It is
    /// no better than the admin key, and the same as the hash by which one may be configured.
    pub fn derived_from_admin_key(admin_key: &str) -> Self {
        Self::new(Sha256::digest(admin_key.as_bytes()).into())
    }

    /// What the key is called: the first 8 bytes of its SHA-256 in hex.
    pub fn id(&self) -> String {
        let digest = Sha256::digest(self.bytes.as_slice());
        digest[..8].iter().fold(String::with_capacity(16), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
            text
        })
    }

    /// Whether both are the same key.
    pub fn same_as(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        self.bytes.ct_eq(other.bytes.as_slice()).into()
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&(*self.bytes).into())
    }
}

/// Seals a credential for the record of that id. The nonce must never have been used with this key.
///
/// # Errors
/// It is longer than a credential may be.
pub fn seal(
    key: &Key,
    nonce: [u8; NONCE_BYTES],
    record_id: &str,
    plain: &[u8],
) -> Result<Vec<u8>, TooLong> {
    if plain.len() > CREDENTIAL_BYTES_MAX {
        return Err(TooLong);
    }
    let payload = Payload { msg: plain, aad: record_id.as_bytes() };
    let encrypted = key.cipher().encrypt(&Nonce::from(nonce), payload).map_err(|_| TooLong)?;
    Ok([&[VERSION], &nonce[..], &encrypted].concat())
}

/// Opens what was sealed for the record of that id.
///
/// # Errors
/// It was not sealed by this key for this record, or it was changed.
pub fn open(key: &Key, record_id: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (&version, rest) = sealed.split_first().ok_or(OpenError::Refused)?;
    if version != VERSION {
        return Err(OpenError::Version);
    }
    let (nonce, encrypted) = rest.split_first_chunk().ok_or(OpenError::Refused)?;
    let payload = Payload { msg: encrypted, aad: record_id.as_bytes() };
    let opened = key.cipher().decrypt(&Nonce::from(*nonce as [u8; NONCE_BYTES]), payload);
    opened.map(Zeroizing::new).map_err(|_| OpenError::Refused)
}

/// The key that seals, and those that may still open what was sealed before it.
pub struct Keys {
    current: Key,
    old: Vec<Key>,
}

impl Keys {
    /// These keys.
    pub fn new(current: Key, old: Vec<Key>) -> Self {
        Self { current, old }
    }

    /// The key that seals.
    pub fn current(&self) -> &Key {
        &self.current
    }

    /// The ids of all of them, first the one that seals.
    pub fn ids(&self) -> Vec<String> {
        self.all().map(Key::id).collect()
    }

    /// Whether that key is one of them.
    pub fn has(&self, key: &Key) -> bool {
        self.all().any(|known| known.same_as(key))
    }

    /// Opens what the key of that id has sealed for the record of that id.
    ///
    /// # Errors
    /// None of the keys has that id, or it does not open it.
    pub fn open(
        &self,
        key_id: &str,
        record_id: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let key = self.all().find(|key| key.id() == key_id).ok_or(OpenError::UnknownKey)?;
        open(key, record_id, sealed)
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(&self.old)
    }
}

impl fmt::Debug for Keys {
    /// Only their ids.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.ids().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2);
        pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn key(hex: &str) -> Key {
        Key::new(bytes(hex).try_into().unwrap())
    }

    fn other(seed: u8) -> Key {
        Key::new([seed; KEY_BYTES])
    }

    const NIST_KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
    const NIST_NONCE: &str = "cafebabefacedbaddecaf888";
    const NIST_PLAIN: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c\
        95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255";
    const NIST_SEALED: &str = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08\
        e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad";

    /// Test cases 13, 14 and 15 of the GCM submission to NIST: AES-256 without associated data.
    #[test]
    fn it_is_aes_256_gcm() {
        let zero = "0".repeat(64);
        let nonce = "0".repeat(24);
        let cases = [
            (&*zero, &*nonce, "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
            (
                &zero,
                &nonce,
                "00000000000000000000000000000000",
                "cea7403d4d606b6e074ec5d3baf39d18",
                "d0d1c8a799996bf0265b98b5d48ab919",
            ),
            (NIST_KEY, NIST_NONCE, NIST_PLAIN, NIST_SEALED, "b094dac5d93471bdec1a502270e3cc6c"),
        ];
        for (key_hex, nonce, plain, encrypted, tag) in cases {
            let (key, nonce) = (key(key_hex), bytes(nonce));
            let sealed = seal(&key, nonce.clone().try_into().unwrap(), "", &bytes(plain)).unwrap();
            let expected = [&[1], &*nonce, &bytes(encrypted), &bytes(tag)].concat();
            assert_eq!(sealed, expected);
            assert_eq!(*open(&key, "", &sealed).unwrap(), bytes(plain));
        }
    }

    /// Test case 16 has associated data, which are no text; so only the cipher itself is asked.
    #[test]
    fn associated_data_count_as_they_should() {
        let aad = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let (plain, nonce) = (bytes(NIST_PLAIN), bytes(NIST_NONCE));
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().unwrap();
        let payload = Payload { msg: &plain[..60], aad: &aad };
        let sealed = key(NIST_KEY).cipher().encrypt(&Nonce::from(nonce), payload).unwrap();
        let tag = bytes("76fc6ece0f4e1768cddf8853bb2d551b");
        assert_eq!(sealed, [&bytes(NIST_SEALED)[..60], &tag].concat());
    }

    #[test]
    fn a_key_is_32_bytes_in_base64() {
        let text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let counted: [u8; KEY_BYTES] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        for text in [text.to_owned(), format!(" {text}\n"), text.trim_end_matches('=').to_owned()] {
            assert!(Key::from_base64(&text).ok().unwrap().same_as(&Key::new(counted)), "{text:?}");
        }
        // The SHA-256 of the bytes 0 to 31.
        assert_eq!(Key::new(counted).id(), "630dcd2966c43366");
        let long = "A".repeat(KEY_CHARS_MAX + 1);
        let cases = [
            ("", BadKey::Empty),
            (" \n", BadKey::Empty),
            ("put-your-key-here", BadKey::Alphabet),
            ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-=", BadKey::Alphabet),
            ("AAECAwQFBgcICQoLDA0ODw==", BadKey::Length(16)),
            (&long, BadKey::TooLong),
        ];
        for (text, why) in cases {
            assert_eq!(Key::from_base64(text).err(), Some(why), "{text:?}");
        }
        assert!(!BadKey::Alphabet.to_string().contains("put-your"));
    }

    #[test]
    fn the_seeds_derivation_is_the_sha_256_of_the_admin_key() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(Key::derived_from_admin_key("abc").same_as(&key(expected)));
    }

    #[test]
    fn the_key_is_found_by_its_id() {
        let (new, old) = (other(1), other(2));
        let sealed = [&new, &old].map(|key| seal(key, [3; 12], "r", b"secret").unwrap());
        let ids = [new.id(), old.id()];
        let keys = Keys::new(new, vec![old]);
        assert_eq!(keys.ids(), ids);
        for (id, sealed) in ids.iter().zip(&sealed) {
            assert_eq!(**keys.open(id, "r", sealed).unwrap(), *b"secret");
        }
        assert_eq!(keys.open(&ids[0], "r", &sealed[1]).err(), Some(OpenError::Refused));
        assert_eq!(keys.open("0", "r", &sealed[0]).err(), Some(OpenError::UnknownKey));
        assert!(keys.has(&other(2)) && !keys.has(&other(3)));
        assert_eq!(format!("{keys:?}"), format!("Keys({}, {})", ids[0], ids[1]));
    }

    #[test]
    fn what_is_too_long_or_too_short_is_refused() {
        let plain = vec![b'x'; CREDENTIAL_BYTES_MAX + 1];
        assert!(seal(&other(1), [0; 12], "r", &plain[1..]).is_ok());
        assert_eq!(seal(&other(1), [0; 12], "r", &plain), Err(TooLong));
        let sealed = seal(&other(1), [0; 12], "r", b"").unwrap();
        for length in 0..sealed.len() {
            let opened = open(&other(1), "r", &sealed[..length]);
            assert_eq!(opened.err(), Some(OpenError::Refused), "{length}");
        }
        assert!(open(&other(1), "r", &sealed).is_ok());
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(
            key in any::<[u8; KEY_BYTES]>(),
            nonce in any::<[u8; NONCE_BYTES]>(),
            record in ".{0,20}",
            plain in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let key = Key::new(key);
            let sealed = seal(&key, nonce, &record, &plain).unwrap();
            prop_assert_eq!(&**open(&key, &record, &sealed).unwrap(), &plain);
            let elsewhere = open(&key, &format!("{record}x"), &sealed);
            prop_assert_eq!(elsewhere.err(), Some(OpenError::Refused));
        }

        #[test]
        fn a_flipped_bit_is_noticed(
            plain in prop::collection::vec(any::<u8>(), 0..40),
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let mut sealed = seal(&other(1), [5; 12], "r", &plain).unwrap();
            let at = at.index(sealed.len());
            sealed[at] ^= 1_u8 << bit;
            prop_assert!(open(&other(1), "r", &sealed).is_err());
        }

        #[test]
        fn another_key_opens_nothing(one in any::<[u8; 32]>(), two in any::<[u8; 32]>()) {
            prop_assume!(one != two);
            let sealed = seal(&Key::new(one), [5; 12], "r", b"secret").unwrap();
            prop_assert_eq!(open(&Key::new(two), "r", &sealed).err(), Some(OpenError::Refused));
        }
    }
}
