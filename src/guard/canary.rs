//! Canaries: a token in the system prompt that must never come back (S1-20). It is a keyed hash of who is
//! asking and of the day, so that nothing is stored, and that a prompt's beginning stays the same for the
//! provider's cache. An answer is searched for it while it streams: verbatim, in another case, with anything
//! between its characters, reversed, in hex, rot13 and base64.
//!
//! What a leak means (cut, alarm, strike) is the business of whoever asks.

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Bytes of a token.
const TOKEN_BYTES: usize = 16;
/// Characters of a token in the prompt.
const TOKEN_CHARS: usize = 2 * TOKEN_BYTES;
/// Characters of base64 that a token has at every alignment, without those that its neighbours change.
const BASE64_CHARS: usize = 40;
/// Characters that are looked back at: the longest form, which is hex.
const WINDOW: usize = 2 * TOKEN_CHARS;

/// The token of one session and rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token([u8; TOKEN_CHARS]);

impl Token {
    /// The token of a session of a tenant in a rotation (the day, say); the same for the same words.
    /// `None` never occurs: HMAC takes keys of every length.
    pub fn derive(secret: &[u8], session: (&str, &str), rotation: u64) -> Option<Self> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
        let (tenant, session) = session;
        for part in [tenant, session] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&rotation.to_be_bytes());
        let hash = mac.finalize().into_bytes();
        let mut token = [0; TOKEN_CHARS];
        for (place, nibble) in token.iter_mut().zip(nibbles(&hash[..TOKEN_BYTES])) {
            // Letters only: digits would stay what they are under rot13, and read like a hash anywhere.
            *place = b'a' + nibble;
        }
        Some(Self(token))
    }

    /// The token as it stands in the prompt.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15])
}

/// Characters of a form's end that are compared first.
const TAIL: usize = 8;

/// One way to tell a token, with letters and digits only.
#[derive(Debug)]
struct Form {
    text: Vec<u8>,
    /// Its last characters, as a number.
    tail: u64,
}

impl Form {
    fn of(text: Vec<u8>) -> Self {
        let tail = text.iter().rev().take(TAIL).rev();
        Self { tail: tail.fold(0, |tail, byte| tail << 8 | u64::from(*byte)), text }
    }
}

/// The forms that a token is searched in.
#[derive(Debug)]
struct Forms {
    /// As it is, rot13, in hex, and each reversed; in lower case, whatever the case of the text.
    folded: [Form; 8],
    /// Base64 at three alignments, of the token in lower and in upper case.
    exact: [Form; 6],
}

impl Forms {
    fn of(token: &Token) -> Self {
        let plain = token.0.to_vec();
        let rot13: Vec<u8> = plain.iter().map(|byte| b'a' + (byte - b'a' + 13) % 26).collect();
        let hex = |text: &[u8]| nibbles(text).map(hex_digit).collect::<Vec<u8>>();
        let upper = plain.to_ascii_uppercase();
        let ways = [plain.clone(), rot13, hex(&plain), hex(&upper)];
        let folded = std::array::from_fn(|at| {
            let way = ways[at / 2].iter().copied();
            Form::of(if at % 2 == 0 { way.collect() } else { way.rev().collect() })
        });
        let texts = [&plain, &upper];
        let exact = std::array::from_fn(|at| Form::of(base64(texts[at / 3], at % 3)));
        Self { folded, exact }
    }
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The characters of base64 that a text has wherever it stands `at` bytes after a multiple of three.
fn base64(text: &[u8], at: usize) -> Vec<u8> {
    let padded: Vec<u8> = std::iter::repeat_n(0, at).chain(text.iter().copied()).collect();
    let groups = padded.chunks_exact(3).flat_map(|group| {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| BASE64[bits >> shift & 63])
    });
    let unsure = [0, 2, 3][at];
    groups.skip(unsure).take(BASE64_CHARS - unsure).collect()
}

/// The search for one token in one text. A clone of one that has seen nothing shares its forms, and costs
/// little: every field of an answer needs its own.
///
/// Hot path: `benches/guard.rs`. Two shifts and fourteen comparisons of words for each letter or digit; forms
/// are compared whole only where their last eight characters are there.
#[derive(Clone, Debug)]
pub struct Canary {
    forms: Arc<Forms>,
    /// The last characters that are letters or digits, as they came.
    last: Vec<u8>,
    /// The last eight of them in lower case, as a number.
    folded: u64,
    /// The same as they came.
    exact: u64,
    is_found: bool,
}

impl Canary {
    /// A search at the beginning of a text.
    pub fn new(token: &Token) -> Self {
        let forms = Arc::new(Forms::of(token));
        Self { forms, last: Vec::new(), folded: 0, exact: 0, is_found: false }
    }

    /// Whether the token was in the text so far.
    pub const fn is_found(&self) -> bool {
        self.is_found
    }

    /// More text; tells whether the token has been found by now.
    pub fn feed(&mut self, text: &[u8]) -> bool {
        for byte in text.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
            if self.is_found {
                break;
            }
            self.step(*byte);
        }
        self.is_found
    }

    #[inline]
    fn step(&mut self, byte: u8) {
        if self.last.len() >= 2 * WINDOW {
            self.last.copy_within(WINDOW.., 0);
            self.last.truncate(WINDOW);
        }
        self.last.push(byte);
        self.folded = self.folded << 8 | u64::from(byte.to_ascii_lowercase());
        self.exact = self.exact << 8 | u64::from(byte);
        let ends_folded = self.forms.folded.iter().any(|form| form.tail == self.folded);
        let ends_exact = self.forms.exact.iter().any(|form| form.tail == self.exact);
        if ends_folded || ends_exact {
            self.is_found = self.ends_with_a_form();
        }
    }

    #[cold]
    fn ends_with_a_form(&self) -> bool {
        let end = |form: &Form| self.last.len().checked_sub(form.text.len());
        let folded = |form: &Form| {
            end(form).is_some_and(|from| self.last[from..].eq_ignore_ascii_case(&form.text))
        };
        let exact = |form: &Form| end(form).is_some_and(|from| self.last[from..] == *form.text);
        self.forms.folded.iter().any(folded) || self.forms.exact.iter().any(exact)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> Token {
        Token::derive(b"a secret of the test", ("tenant", "session"), 20_000).unwrap()
    }

    fn found(text: &str, size: usize) -> bool {
        let mut canary = Canary::new(&token());
        text.as_bytes().chunks(size).any(|piece| canary.feed(piece))
    }

    #[test]
    fn a_token_is_stable_and_its_own() {
        let derive = |session, rotation| Token::derive(b"secret", session, rotation).unwrap();
        let first = derive(("a", "bc"), 1);
        assert_eq!(first, derive(("a", "bc"), 1));
        assert_ne!(first, derive(("a", "bc"), 2));
        assert_ne!(first, derive(("ab", "c"), 1));
        assert_eq!(first.as_str().len(), TOKEN_CHARS);
    }

    /// All ways of telling a token.
    fn told(token: &str, left: &str) -> Vec<String> {
        let spaced = |gap: &str| token.chars().map(|c| c.to_string()).collect::<Vec<_>>().join(gap);
        let rot13 = |c: char| char::from(b'a' + (c as u8 - b'a' + 13) % 26);
        let hex = token.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let mixed = token.chars().enumerate();
        let mixed = mixed.map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c });
        vec![
            token.to_owned(),
            token.to_ascii_uppercase(),
            mixed.collect(),
            spaced(" "),
            spaced("-"),
            spaced("\u{200b}"),
            spaced("\n* "),
            token.chars().rev().collect(),
            token.chars().map(rot13).collect(),
            hex.to_ascii_uppercase(),
            token.bytes().map(|byte| format!("0{byte:02x} ").split_off(1)).collect(),
            hex,
            encoded(format!("{left}{token} and more").as_bytes()),
            encoded(format!("{left}{}.", token.to_ascii_uppercase()).as_bytes()),
        ]
    }

    fn encoded(bytes: &[u8]) -> String {
        let groups = bytes.chunks(3).flat_map(|group| {
            let mut three = [0; 3];
            three[..group.len()].copy_from_slice(group);
            let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
            let mut four = [18, 12, 6, 0].map(|shift| char::from(BASE64[bits >> shift & 63]));
            four[group.len() + 1..].fill('=');
            four
        });
        groups.collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn it_is_found_however_it_is_told(before in "[ -~é]{0,80}", left in "[ -~]{0,7}", size in 1_usize..40) {
            let secret = token();
            for way in told(secret.as_str(), &left) {
                let text = format!("{before} {way} after it");
                prop_assert!(found(&text, size), "{}", text);
            }
        }

        #[test]
        fn other_tokens_are_none(before in "[ -~]{0,80}", session in "[a-z]{1,8}", size in 1_usize..40) {
            let other = Token::derive(b"another secret", ("tenant", &session), 1).unwrap();
            for way in told(other.as_str(), "") {
                let text = format!("{before} {way}");
                prop_assert!(!found(&text, size));
            }
        }
    }

    #[test]
    fn noise_raises_no_alarm() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut canary = Canary::new(&token());
        for _ in 0..16 {
            let noise: Vec<u8> = (0..GENERATED / 16)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    b'a' + state.to_be_bytes()[2] % 16
                })
                .collect();
            assert!(!canary.feed(&noise));
        }
    }

    /// Bytes of noise in the token's own alphabet.
    const GENERATED: usize = 1024 * 1024;

    /// A hundred megabytes: seconds in a release build, so it is run by hand.
    /// `cargo test --release --no-default-features --lib -- --ignored a_hundred_megabytes`
    #[test]
    #[ignore = "takes a minute without optimisation"]
    fn a_hundred_megabytes_raise_no_alarm() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut canary = Canary::new(&token());
        let mut words = vec![0_u8; 4_096];
        for _ in 0..100 * 1024 * 1024 / words.len() {
            for byte in &mut words {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let [.., kind, value] = state.to_be_bytes();
                *byte = if kind < 250 { b'a' + value % 16 } else { value };
            }
            assert!(!canary.feed(&words));
        }
    }
}
