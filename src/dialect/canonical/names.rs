//! Names that another dialect cannot spell: short aliases of tools, and ids of calls in plain letters.
//!
//! Both are worked out from the name alone, so that every request of a conversation gives the same
//! ones. What an alias stands for is remembered in `style::Memory`, not here.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::dialect::canonical::text::Text;

/// Most characters of a tool's name at `OpenAI` and Anthropic.
const NAME_CHARS_MAX: usize = 64;

/// Hexadecimal digits that tell one alias from another: two of a million names collide once in
/// 36 million requests.
const HASH_CHARS: usize = 16;

/// The alias of a tool's name that is longer than 64 characters, or has others than `[a-zA-Z0-9_-]`;
/// `None` where the name can be sent as it is.
pub fn alias(name: &Text<'_>) -> Option<Text<'static>> {
    let written = name.as_written();
    if written.len() <= NAME_CHARS_MAX && is_plain(written) {
        return None;
    }
    let plain = name.plain().unwrap_or_else(|| String::from_utf8_lossy(written));
    if plain.len() <= NAME_CHARS_MAX && is_plain(plain.as_bytes()) {
        return None;
    }
    Some(Text::of(&cleaned(&plain, NAME_CHARS_MAX - HASH_CHARS - 1)))
}

/// The id of a call as Anthropic takes it: itself if it consists of `[a-zA-Z0-9_-]`, else a stable one
/// that does.
pub fn call_id<'t>(id: &'t Text<'_>) -> Text<'t> {
    if is_plain(id.as_written()) {
        return Text::written(id.as_written());
    }
    let plain = id.plain().unwrap_or_else(|| String::from_utf8_lossy(id.as_written()));
    Text::of(&cleaned(&plain, NAME_CHARS_MAX - HASH_CHARS - 1))
}

fn is_plain(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| is_plain_byte(byte))
}

const fn is_plain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// The beginning of `name`, every other character replaced, and the hash of all of it.
fn cleaned(name: &str, chars: usize) -> String {
    let plain = |letter: char| u8::try_from(letter).is_ok_and(is_plain_byte);
    let mut out: String =
        name.chars().take(chars).map(|letter| if plain(letter) { letter } else { '_' }).collect();
    out.push('_');
    let hash = Sha256::digest(name.as_bytes());
    for byte in hash.iter().take(HASH_CHARS / 2) {
        // Writing to a `String` cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_can_be_sent_stays_as_it_is() {
        let longest = "x".repeat(64);
        for name in ["a", "read_file", "mcp__server-1__tool", &longest] {
            assert_eq!(alias(&Text::of(name)), None);
            assert_eq!(call_id(&Text::of(name)), Text::of(name));
        }
        assert_eq!(alias(&Text::written(br"\u0061b")), None, "an escape is not part of the name");
    }

    #[test]
    fn what_cannot_gets_a_stable_and_telling_name() {
        let long = "x".repeat(65);
        let first = alias(&Text::of(&long)).expect("too long");
        assert_eq!(Some(&first), alias(&Text::of(&long)).as_ref());
        assert_ne!(Some(first), alias(&Text::of(&"x".repeat(66))));
        let dotted = alias(&Text::of("files.read/é")).expect("other characters");
        assert!(dotted.as_written().starts_with(b"files_read___"));
        let written = alias(&Text::written(br"files.read/\u00e9")).expect("the same name");
        assert_eq!(dotted, written);
        assert!(alias(&Text::of("")).is_some());
    }

    #[test]
    fn ids_that_differ_stay_different() {
        assert_ne!(call_id(&Text::of("a.b")), call_id(&Text::of("a:b")));
        let long = "y".repeat(100);
        assert_eq!(call_id(&Text::of(&long)), Text::of(&long), "length is no fault of an id");
    }

    proptest! {
        #[test]
        fn every_name_becomes_one_that_is_taken(name in any::<String>()) {
            let text = Text::of(&name);
            let sent = alias(&text).unwrap_or_else(|| text.clone());
            let sent = sent.plain().expect("text").into_owned();
            prop_assert!(is_plain(sent.as_bytes()) && sent.len() <= NAME_CHARS_MAX, "{sent}");
            prop_assert!(is_plain(call_id(&text).as_written()));
        }
    }
}
