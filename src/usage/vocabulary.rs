//! Vocabularies of tokenizers, which models use them, and how many tokens a body has in one of them at
//! most.
//!
//! The count is no reading of what a provider will put into its template: each string of the body is
//! counted by itself, keys too, and every byte between the strings counts as a token, which leaves some
//! four tokens of room around each piece of text for the template's own marks and for words that would
//! be cut otherwise. What may grow in normal form is added, although these vocabularies know none. When
//! it is worth the time is decided by `exchange`.

use crate::usage::scan::string_end;
use crate::wire::growth;
use crate::wire::json;

/// A vocabulary of `OpenAI`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vocabulary {
    /// Of GPT-4, GPT-3.5 and the embeddings.
    Cl100k,
    /// Of GPT-4o and everything after it.
    O200k,
}

/// Beginnings of names, the longer ones first.
const MODELS: [(&str, Vocabulary); 12] = [
    ("chatgpt-4o", Vocabulary::O200k),
    ("gpt-4o", Vocabulary::O200k),
    ("gpt-4.1", Vocabulary::O200k),
    ("gpt-4.5", Vocabulary::O200k),
    ("gpt-5", Vocabulary::O200k),
    ("o1", Vocabulary::O200k),
    ("o3", Vocabulary::O200k),
    ("o4", Vocabulary::O200k),
    ("gpt-4", Vocabulary::Cl100k),
    ("gpt-3.5", Vocabulary::Cl100k),
    ("text-embedding-3", Vocabulary::Cl100k),
    ("text-embedding-ada", Vocabulary::Cl100k),
];

impl Vocabulary {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cl100k, Self::O200k];

    /// The name used in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cl100k => "cl100k",
            Self::O200k => "o200k",
        }
    }

    /// The vocabulary of one of `OpenAI`'s own models, by the name that it or a broker gives it.
    pub fn of_model(upstream_id: &str) -> Option<Self> {
        let name = upstream_id.strip_prefix("openai/").unwrap_or(upstream_id);
        let is_of = |beginning: &str| {
            let rest = name.strip_prefix(beginning)?;
            // A name goes on with a part of its own, not with another letter or digit.
            (!rest.starts_with(|next: char| next.is_ascii_alphanumeric())).then_some(())
        };
        MODELS.into_iter().find_map(|(beginning, vocabulary)| is_of(beginning).map(|()| vocabulary))
    }

    /// Most tokens that the text of a JSON body becomes; `None` if this program was built without
    /// vocabularies.
    pub fn count(self, body: &[u8]) -> Option<u64> {
        let mut tokens = growth::growth(body, true);
        let mut at = 0;
        while let Some(open) = memchr::memchr(b'"', body.get(at..)?) {
            let begin = at + open + 1;
            let end = string_end(body, begin)?;
            let text = json::unescape(&body[begin..end]);
            // What stands between the strings, and the two quotes.
            tokens += open as u64 + 2;
            tokens += match &text {
                Some(text) => self.tokens(text)?,
                // Half a pair of escapes: nobody knows what becomes of it.
                None => (end - begin) as u64,
            };
            at = end + 1;
        }
        Some(tokens + (body.len() - at) as u64)
    }

    #[cfg(feature = "tokenizer")]
    fn tokens(self, text: &str) -> Option<u64> {
        let tokenizer = match self {
            Self::Cl100k => bpe_openai::cl100k_base(),
            Self::O200k => bpe_openai::o200k_base(),
        };
        u64::try_from(tokenizer.count(text)).ok()
    }

    #[cfg(not(feature = "tokenizer"))]
    #[expect(clippy::unused_self, reason = "the same call with and without vocabularies")]
    const fn tokens(self, _: &str) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_the_beginnings_of_their_names() {
        for (name, vocabulary) in [
            ("gpt-4o", Some(Vocabulary::O200k)),
            ("openai/gpt-4o-mini-2024-07-18", Some(Vocabulary::O200k)),
            ("gpt-4.1-nano", Some(Vocabulary::O200k)),
            ("o3-mini", Some(Vocabulary::O200k)),
            ("o1", Some(Vocabulary::O200k)),
            ("gpt-5.2-codex", Some(Vocabulary::O200k)),
            ("gpt-4-turbo", Some(Vocabulary::Cl100k)),
            ("gpt-4", Some(Vocabulary::Cl100k)),
            ("gpt-3.5-turbo", Some(Vocabulary::Cl100k)),
            ("text-embedding-3-small", Some(Vocabulary::Cl100k)),
            ("gpt-4x", None),
            ("gpt-oss-120b", None),
            ("o11", None),
            ("vendor/gpt-4o", None),
            ("anthropic/claude-sonnet-4.6", None),
            ("mock-gpt-4o", None),
            ("", None),
        ] {
            assert_eq!(Vocabulary::of_model(name), vocabulary, "{name}");
        }
    }

    #[cfg(not(feature = "tokenizer"))]
    #[test]
    fn without_vocabularies_nothing_is_counted() {
        assert_eq!(Vocabulary::O200k.count(br#"{"a":"b"}"#), None);
    }

    #[cfg(feature = "tokenizer")]
    mod counted {
        use super::*;
        use crate::wire::{envelope, weigh};
        use bytes::Bytes;
        use proptest::prelude::*;
        use serde_json::json;

        fn tokens(vocabulary: Vocabulary, text: &str) -> u64 {
            vocabulary.tokens(text).unwrap()
        }

        #[test]
        fn the_vocabularies_are_the_published_ones() {
            // Counts of `tiktoken` for these texts.
            for (text, cl100k, o200k) in [
                ("", 0, 0),
                ("hello world", 2, 2),
                ("tiktoken is great!", 6, 6),
                ("<|endoftext|>", 7, 7),
                ("1234567", 3, 3),
            ] {
                assert_eq!(tokens(Vocabulary::Cl100k, text), cl100k, "{text}");
                assert_eq!(tokens(Vocabulary::O200k, text), o200k, "{text}");
            }
        }

        #[test]
        fn prose_is_a_third_of_its_bytes_and_less() {
            let text = "The quick brown fox jumps over the lazy dog. ".repeat(200);
            let body = json!({"messages": [{"role": "user", "content": text}]}).to_string();
            for vocabulary in Vocabulary::ALL {
                let count = vocabulary.count(body.as_bytes()).unwrap();
                assert!(count * 3 < body.len() as u64, "{count} of {}", body.len());
            }
        }

        #[test]
        fn any_bytes_are_answered() {
            for body in [
                &b""[..],
                b"\"",
                b"\"\\",
                b"\"\\ud800\"",
                b"{\"a\":\"\\uD83D\\uDE00\"}",
                b"\xff\"\xff\"",
            ] {
                for vocabulary in Vocabulary::ALL {
                    let _ = vocabulary.count(body);
                }
            }
        }

        fn texts() -> impl Strategy<Value = Vec<String>> {
            let text = prop_oneof![
                "[ -~\\n]{0,80}",
                "\\PC{0,40}",
                "[a-z]{1,9}( [a-z]{1,9}){0,20}",
                "[\u{4e00}-\u{9fa5}]{0,30}",
                Just("\u{fdfa}".repeat(20)),
            ];
            prop::collection::vec(text, 1..6)
        }

        proptest! {
            #[test]
            fn a_count_covers_the_text_and_is_within_the_bytes(texts in texts(), escape in any::<bool>()) {
                let parts: Vec<_> =
                    texts.iter().map(|text| json!({"role": "user", "content": text})).collect();
                let mut body = json!({"model": "m", "messages": parts}).to_string();
                if escape {
                    let escaped = |c: char| {
                        let mut units = [0; 2];
                        let units = c.encode_utf16(&mut units).iter();
                        units.map(|unit| format!("\\u{unit:04x}")).collect::<Vec<_>>().concat()
                    };
                    body = body.chars().map(|c| if c.is_ascii() { c.to_string() } else { escaped(c) }).collect();
                }
                let body = Bytes::from(body);
                let weight = weigh::weigh(&envelope::scan(&body).unwrap(), &body);
                for vocabulary in Vocabulary::ALL {
                    let count = vocabulary.count(&body).unwrap();
                    prop_assert!(count <= weight.text_bytes, "{} {}", count, weight.text_bytes);
                    // However a template joins them, and whether it shows them as they are or as JSON.
                    for joint in ["", " ", "\n", "\n\n", "<|im_end|>"] {
                        let marks = tokens(vocabulary, joint) * texts.len() as u64;
                        let joined = tokens(vocabulary, &texts.join(joint));
                        prop_assert!(count + marks >= joined, "{} {} {:?}", count, joined, texts);
                    }
                }
            }
        }
    }
}
