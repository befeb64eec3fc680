//! Thoughts of a model, read from the fields in which providers of this dialect put them:
//! `reasoning_content` (`DeepSeek` and those who copy it), `reasoning` and `reasoning_details`
//! (`OpenRouter`).
//!
//! A signature is taken only where it is Anthropic's: those of others mean nothing to any provider
//! that the neutral form reaches.

use crate::dialect::canonical::fields::{items, members};
use crate::dialect::canonical::request::Thinking;
use crate::dialect::canonical::text::Text;

/// By this `format` a signature or redacted thoughts are known to be Anthropic's.
pub(super) const FORMAT: &str = "anthropic-claude-v1";

/// One thought.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Thought<'a> {
    Aloud(Thinking<'a>),
    Redacted(Text<'a>),
}

/// One entry of `reasoning_details`.
#[derive(Clone, Debug, Default)]
pub(super) struct Detail<'a> {
    pub(super) text: Option<Text<'a>>,
    /// Anthropic's only.
    pub(super) signature: Option<Text<'a>>,
    /// Anthropic's only.
    pub(super) redacted: Option<Text<'a>>,
    /// To which thought it belongs, a JSON number.
    index: &'a [u8],
    /// It holds sealed thoughts of another provider.
    pub(super) is_foreign: bool,
}

impl<'a> Detail<'a> {
    /// Reads one; what is of no known form comes out empty.
    pub(super) fn read(entry: &'a [u8]) -> Self {
        let mut detail = Self::default();
        let (mut is_ours, mut data) = (true, None);
        for (key, value) in members(entry) {
            match &*key {
                b"text" | b"summary" => detail.text = Text::token(value),
                b"signature" => detail.signature = Text::token(value).filter(|one| !one.is_empty()),
                b"data" => data = Text::token(value).filter(|one| !one.is_empty()),
                b"index" => detail.index = value,
                b"format" => is_ours = Text::token(value).is_some_and(|format| format.is(FORMAT)),
                _ => {}
            }
        }
        if is_ours {
            detail.redacted = data;
        } else {
            detail.signature = None;
            detail.is_foreign = data.is_some();
        }
        detail
    }
}

/// The thoughts of a whole message. Its details are better than its plain text, which is used where
/// they have none.
pub(super) fn read<'a>(plain: Option<Text<'a>>, details: Option<&'a [u8]>) -> Vec<Thought<'a>> {
    let plain = plain.filter(|text| !text.is_empty());
    let mut thoughts = of_details(details.unwrap_or_default());
    let said =
        |thought: &Thought<'_>| matches!(thought, Thought::Aloud(said) if !said.text.is_empty());
    let Some(plain) = plain.filter(|_| !thoughts.iter().any(said)) else {
        // A signature without its text would be refused by whoever gave it.
        thoughts.retain(|thought| said(thought) || matches!(thought, Thought::Redacted(_)));
        return thoughts;
    };
    let mut signed: Vec<Text<'a>> = Vec::new();
    thoughts.retain(|thought| match thought {
        Thought::Aloud(said) => {
            signed.extend(said.signature.clone());
            false
        }
        Thought::Redacted(_) => true,
    });
    // Of several signatures none can be told to be that of the whole text.
    let signature = if signed.len() == 1 { signed.pop() } else { None };
    thoughts.insert(0, Thought::Aloud(Thinking { text: plain, signature }));
    thoughts
}

/// The thoughts that an array of details makes up. Clients that put a stream together may have left
/// a thought in pieces; they are joined up to its signature.
fn of_details(details: &[u8]) -> Vec<Thought<'_>> {
    let mut thoughts = Vec::new();
    let mut open: Option<Piece<'_>> = None;
    for detail in items(details).map(Detail::read) {
        let continues = open.as_ref().is_some_and(|open| open.index == detail.index);
        if !continues || detail.redacted.is_some() {
            thoughts.extend(open.take().map(Piece::thought));
        }
        if let Some(data) = detail.redacted {
            thoughts.push(Thought::Redacted(data));
            continue;
        }
        let piece = open.get_or_insert_with(|| Piece { index: detail.index, ..Piece::default() });
        piece.texts.extend(detail.text);
        if detail.signature.is_some() {
            piece.signature = detail.signature;
            thoughts.extend(open.take().map(Piece::thought));
        }
    }
    thoughts.extend(open.map(Piece::thought));
    thoughts
}

/// A thought being put together.
#[derive(Default)]
struct Piece<'a> {
    index: &'a [u8],
    texts: Vec<Text<'a>>,
    signature: Option<Text<'a>>,
}

impl<'a> Piece<'a> {
    fn thought(mut self) -> Thought<'a> {
        let text = match self.texts.len() {
            0 | 1 => self.texts.pop().unwrap_or_default(),
            _ => {
                let all: Vec<&[u8]> = self.texts.iter().map(Text::as_written).collect();
                Text::written(&all.concat()).into_owned()
            }
        };
        Thought::Aloud(Thinking { text, signature: self.signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aloud(text: &'static str, signature: Option<&'static str>) -> Thought<'static> {
        let written = |text: &'static str| Text::written(text.as_bytes());
        Thought::Aloud(Thinking { text: written(text), signature: signature.map(written) })
    }

    fn plain(text: &str) -> Text<'_> {
        Text::written(text.as_bytes())
    }

    #[test]
    fn plain_thoughts_are_unsigned() {
        assert_eq!(read(Some(plain("hm")), None), [aloud("hm", None)]);
        assert_eq!(read(Some(plain("")), None), []);
        assert_eq!(read(None, Some(b"7")), []);
    }

    #[test]
    fn details_bring_signatures_and_sealed_thoughts() {
        let details = br#"[{"type":"reasoning.text","text":"a","signature":"S","format":"anthropic-claude-v1","index":0},
            {"type":"reasoning.encrypted","data":"X","format":"anthropic-claude-v1","index":1},
            {"type":"reasoning.encrypted","data":"Y","format":"openai-responses-v1","index":2},
            {"type":"reasoning.text","text":"b","signature":"G","format":"google-gemini-v1","index":3}]"#;
        let expected =
            [aloud("a", Some("S")), Thought::Redacted(Text::written(b"X")), aloud("b", None)];
        assert_eq!(read(Some(plain("ab")), Some(details)), expected);
    }

    #[test]
    fn pieces_of_a_stream_are_joined() {
        let details =
            br#"[{"text":"a","index":0},{"text":"b","index":0},{"signature":"S","index":0},
            {"text":"c","index":1},{"text":"","signature":"T","index":1}]"#;
        assert_eq!(read(None, Some(details)), [aloud("ab", Some("S")), aloud("c", Some("T"))]);
    }

    #[test]
    fn a_lone_signature_belongs_to_the_plain_text() {
        assert_eq!(
            read(Some(plain("a")), Some(br#"[{"signature":"S"}]"#)),
            [aloud("a", Some("S"))]
        );
        let two = br#"[{"signature":"S","index":0},{"signature":"T","index":1}]"#;
        assert_eq!(read(Some(plain("a")), Some(two)), [aloud("a", None)]);
        assert_eq!(read(None, Some(two)), []);
    }
}
