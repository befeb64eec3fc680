//! Every text of a request that a model will read, in any dialect, with who it comes from and in which turn: all
//! turns, tool results and documents, not only the last thing that the user said (D-03).
//!
//! One pass without a tree, nothing is copied. Bodies must have been checked before (`envelope`): of what is no
//! JSON only a part is seen. Images, audio, files as data and names of things are passed over. What a text means
//! to guards, routing or mutators is decided there.

use crate::base::limit::TEXT_NESTING_MAX;
use crate::wire::pull::Pull;
use crate::wire::syntax::Span;

/// Who a text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The operator: the system or developer prompt.
    System,
    /// The key's holder.
    User,
    /// The model itself, in earlier turns: its words, its thoughts and the arguments of its calls.
    Assistant,
    /// A tool's result.
    Tool,
    /// A document that was attached.
    Document,
}

impl Source {
    /// Its name in configuration, answers and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
            Self::Document => "document",
        }
    }
}

/// One text of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Who it comes from.
    pub source: Source,
    /// Its message's place among all, from 0; `None` for a system prompt that stands by itself.
    pub turn: Option<u32>,
    /// The key that it stands under, or its list does, as written: `content`, `text`, `output`, `arguments`, …
    pub key: Span,
    /// Where it lies in the body, between its quotes and as written.
    pub span: Span,
}

/// The texts of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// In the order in which they stand in the body.
    pub pieces: Vec<Piece>,
    /// Whether there are images beside them.
    pub images: bool,
}

/// Fields whose strings are never text for a model, or name things.
const SKIPPED: [&[u8]; 18] = [
    b"id",
    b"type",
    b"role",
    b"model",
    b"tool_call_id",
    b"tool_use_id",
    b"call_id",
    b"signature",
    b"encrypted_content",
    b"image_url",
    b"url",
    b"file_id",
    b"file_data",
    b"media_type",
    b"cache_control",
    b"input_audio",
    b"status",
    b"detail",
];

/// The texts of `body`.
pub fn texts(body: &[u8]) -> Texts {
    let mut walk = Walk {
        body,
        pull: Pull::new(body, Span::whole(body)),
        found: Vec::new(),
        depth: 0,
        images: false,
    };
    if walk.pull.peek() == b'{' {
        walk.pull.enter();
        while let Some(key) = walk.pull.key() {
            walk.field(key);
        }
    }
    let Walk { found, images, .. } = walk;
    let piece = |it: Found| Piece {
        source: it.source.unwrap_or(Source::User),
        turn: it.turn,
        key: it.key,
        span: it.span,
    };
    Texts { pieces: found.into_iter().map(piece).collect(), images }
}

/// A text whose author may still be named by an object around it.
#[derive(Clone, Copy, Debug)]
struct Found {
    source: Option<Source>,
    turn: Option<u32>,
    key: Span,
    span: Span,
}

/// What an object says about the texts within.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    role: Option<Source>,
    kind: Option<Source>,
    is_passed_over: bool,
    is_base64: bool,
    /// The place of a text under `data`.
    data: Option<usize>,
}

struct Walk<'b> {
    body: &'b [u8],
    pull: Pull<'b>,
    found: Vec<Found>,
    depth: usize,
    images: bool,
}

impl Walk<'_> {
    /// A field of the request itself.
    fn field(&mut self, key: Span) {
        let (source, is_list) = match key.of(self.body) {
            b"messages" | b"input" | b"prompt" => (Source::User, true),
            b"system" | b"instructions" | b"systemPrompt" => (Source::System, false),
            _ => {
                self.pull.skip();
                return;
            }
        };
        let first = self.found.len();
        if is_list && self.pull.peek() == b'[' {
            self.turns(key);
        } else {
            self.value(key);
        }
        self.name_authors(first, Some(source));
    }

    fn turns(&mut self, key: Span) {
        self.pull.enter();
        let mut turn = 0;
        while self.pull.item() {
            let first = self.found.len();
            self.value(key);
            self.found[first..].iter_mut().for_each(|it| it.turn = Some(turn));
            turn += 1;
        }
    }

    fn value(&mut self, key: Span) {
        if self.depth >= TEXT_NESTING_MAX {
            // What lies deeper is read as it is written.
            let span = self.pull.skip();
            self.found.push(Found { source: None, turn: None, key, span });
            return;
        }
        self.depth += 1;
        match self.pull.peek() {
            b'"' => self.string(key),
            b'[' => {
                self.pull.enter();
                while self.pull.item() {
                    self.value(key);
                }
            }
            b'{' => self.object(),
            _ => {
                self.pull.skip();
            }
        }
        self.depth -= 1;
    }

    fn string(&mut self, key: Span) {
        let token = self.pull.skip();
        let span = Span::new(token.start + 1, token.end.saturating_sub(1).max(token.start + 1));
        if !span.is_empty() && !span.of(self.body).starts_with(b"data:") {
            self.found.push(Found { source: None, turn: None, key, span });
        }
    }

    fn object(&mut self) {
        self.pull.enter();
        let first = self.found.len();
        let mut said = Said::default();
        while let Some(key) = self.pull.key() {
            self.member(key, &mut said);
        }
        if said.is_passed_over {
            self.found.truncate(first);
        } else if let Some(data) = said.data.filter(|_| said.is_base64) {
            self.found.remove(data);
        }
        self.name_authors(first, said.kind.or(said.role));
    }

    fn member(&mut self, key: Span, said: &mut Said) {
        let name = key.of(self.body);
        match name {
            b"role" => {
                let word = self.pull.skip().of(self.body);
                said.role = said.role.or(by_role(word));
            }
            b"type" => {
                let word = self.pull.skip().of(self.body);
                self.kind(word.strip_prefix(b"\"").unwrap_or(word), said);
            }
            _ if SKIPPED.contains(&name) => {
                self.images |= name == b"image_url";
                self.pull.skip();
            }
            _ => {
                let at = self.found.len();
                self.value(key);
                if name == b"data" && self.found.len() == at + 1 {
                    said.data = Some(at);
                }
            }
        }
    }

    /// What an object's `type` says; `word` ends in a quote.
    fn kind(&mut self, word: &[u8], said: &mut Said) {
        let starts = |with: &[u8]| word.starts_with(with);
        if starts(b"tool_result") || word.ends_with(b"_output\"") {
            said.kind = Some(Source::Tool);
        } else if starts(b"document") || starts(b"search_result") {
            said.kind = Some(Source::Document);
        } else if word.ends_with(b"_call\"") || starts(b"tool_use") {
            said.kind = Some(Source::Assistant);
        } else if starts(b"image") || starts(b"input_image") {
            self.images = true;
            said.is_passed_over = true;
        } else if starts(b"input_audio") || starts(b"redacted_thinking") {
            said.is_passed_over = true;
        } else if starts(b"base64") {
            said.is_base64 = true;
        }
    }

    /// Gives the texts from `first` on to `source`, where nothing within has named another author.
    fn name_authors(&mut self, first: usize, source: Option<Source>) {
        for it in &mut self.found[first..] {
            it.source = it.source.or(source);
        }
    }
}

fn by_role(word: &[u8]) -> Option<Source> {
    Some(match word {
        b"\"system\"" | b"\"developer\"" => Source::System,
        b"\"assistant\"" | b"\"model\"" => Source::Assistant,
        b"\"tool\"" | b"\"function\"" => Source::Tool,
        b"\"user\"" => Source::User,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json;
    use proptest::prelude::*;

    /// Author, turn, key and text of every piece.
    fn told(body: &str) -> Vec<(Source, Option<u32>, String, String)> {
        let text = |span: Span| json::unescape(span.of(body.as_bytes())).unwrap().into_owned();
        let all = texts(body.as_bytes()).pieces.into_iter();
        all.map(|it| (it.source, it.turn, text(it.key), text(it.span))).collect()
    }

    fn of(
        source: Source,
        turn: Option<u32>,
        key: &str,
        text: &str,
    ) -> (Source, Option<u32>, String, String) {
        (source, turn, key.to_owned(), text.to_owned())
    }

    #[test]
    fn every_turn_of_chat_is_found() {
        let body = r#"{"model": "m", "messages": [{"role": "system", "content": "s"},
            {"content": "a\n\"b\"", "role": "user"},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function",
                "function": {"name": "cat", "arguments": "{\"p\":1}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "result"},
            {"role": "user", "content": [{"type": "text", "text": "t"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}], "user": "u"}"#;
        assert_eq!(
            told(body),
            [
                of(Source::System, Some(0), "content", "s"),
                of(Source::User, Some(1), "content", "a\n\"b\""),
                of(Source::Assistant, Some(2), "name", "cat"),
                of(Source::Assistant, Some(2), "arguments", "{\"p\":1}"),
                of(Source::Tool, Some(3), "content", "result"),
                of(Source::User, Some(4), "text", "t"),
            ]
        );
        assert!(texts(body.as_bytes()).images);
    }

    #[test]
    fn results_and_documents_of_messages_are_told_apart() {
        let body = r#"{"system": [{"type": "text", "text": "s"}], "messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "r"}]},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
            {"type": "document", "source": {"data": "AAAA", "type": "base64"}, "title": "e"},
            {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
            {"type": "text", "text": "u"}]}]}"#;
        assert_eq!(
            told(body),
            [
                of(Source::System, None, "text", "s"),
                of(Source::Tool, Some(0), "text", "r"),
                of(Source::Document, Some(0), "data", "d"),
                of(Source::Document, Some(0), "title", "e"),
                of(Source::User, Some(0), "text", "u"),
            ]
        );
    }

    #[test]
    fn items_of_responses_are_found() {
        let body = r#"{"instructions": "s", "input": [{"role": "user", "content": "u"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "a"},
            {"type": "function_call_output", "call_id": "c", "output": "r"}]}"#;
        assert_eq!(
            told(body),
            [
                of(Source::System, None, "instructions", "s"),
                of(Source::User, Some(0), "content", "u"),
                of(Source::Assistant, Some(1), "name", "f"),
                of(Source::Assistant, Some(1), "arguments", "a"),
                of(Source::Tool, Some(2), "output", "r"),
            ]
        );
        assert_eq!(told(r#"{"input": "plain"}"#), [of(Source::User, None, "input", "plain")]);
    }

    #[test]
    fn what_is_nested_too_deep_is_one_text() {
        let deep = format!("{}\"x\"{}", "[".repeat(100), "]".repeat(100));
        let body = format!(r#"{{"messages": [{{"role": "tool", "content": {deep}}}]}}"#);
        let found = texts(body.as_bytes()).pieces;
        assert_eq!((found.len(), found[0].source), (1, Source::Tool));
        assert!(found[0].span.of(body.as_bytes()).ends_with(b"]"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(body in r#"([\[\]{},: "a\\]|"messages"|"content"|"role"|"type"|"data"|"base64"|\\n|true){0,60}"#) {
            for piece in texts(body.as_bytes()).pieces {
                prop_assert!(piece.span.end <= body.len() && piece.span.start <= piece.span.end);
            }
        }
    }
}
