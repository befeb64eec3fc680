//! The tool results of a request, as it is written: each is read from its JSON string, shortened, and written
//! back into its place. Not a byte outside of them changes.

use bytes::Bytes;

use crate::mutate::compress::{self, Settings};
use crate::mutate::covered;
use crate::wire::json;
use crate::wire::splice::Edit;
use crate::wire::syntax::Span;
use crate::wire::texts::{Piece, Source, Texts};

/// The mutator's name in records and metrics.
pub const NAME: &str = "tool_results";

/// Keys whose strings are results.
const KEYS: [&[u8]; 3] = [b"content", b"text", b"output"];

/// What is to be changed of a request.
#[derive(Clone, Debug, Default)]
pub struct Shortened {
    /// The changes, for this body.
    pub edits: Vec<Edit>,
    /// Bytes of text that are saved.
    pub saved_bytes: u64,
}

/// What is to be changed of `body`, whose texts are `texts`. Cache markers are the caller's business.
pub fn shorten(body: &[u8], texts: &Texts, settings: &Settings) -> Shortened {
    let mut out = Shortened::default();
    let mut sealed = None;
    for piece in texts.pieces.iter().filter(|piece| is_result(piece, body, settings)) {
        let sealed: &Vec<Span> = sealed.get_or_insert_with(|| covered::sealed(body));
        if is_within(piece.span, sealed) {
            continue;
        }
        let Some(text) = json::unescape(piece.span.of(body)) else { continue };
        let Some(found) = compress::compress(&text, settings) else { continue };
        let mut quoted = Vec::with_capacity(found.text.len() + found.text.len() / 16);
        json::quote_into(&found.text, &mut quoted);
        let inner = Bytes::from(quoted);
        let inner = inner.slice(1..inner.len() - 1);
        if inner.len() < piece.span.len() {
            out.saved_bytes += (text.len() - found.text.len()) as u64;
            out.edits.push(Edit::replace(piece.span, inner));
        }
    }
    out
}

fn is_result(piece: &Piece, body: &[u8], settings: &Settings) -> bool {
    piece.source == Source::Tool
        && piece.span.len() >= settings.chars_min
        // A piece that is no string but lies too deep to be told apart has no quotes around it.
        && piece.span.start > 0
        && body.get(piece.span.start - 1) == Some(&b'"')
        && body.get(piece.span.end) == Some(&b'"')
        && KEYS.contains(&piece.key.of(body))
}

/// Whether a text lies in one of those objects, which are in their order and never in each other: then only the
/// last that begins before it can hold it.
fn is_within(text: Span, objects: &[Span]) -> bool {
    let before = objects.partition_point(|object| object.start <= text.start);
    objects[..before].last().is_some_and(|object| text.end <= object.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::splice;
    use crate::wire::texts;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn greps(count: usize) -> String {
        (0..count)
            .map(|at| format!("src/exchange/mod.rs:{at}:\tlet \"é\" = {at};\n"))
            .collect::<Vec<_>>()
            .concat()
    }

    fn shortened(body: &str) -> (String, u64) {
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let found = shorten(&bytes, &texts::texts(&bytes), &Settings::default());
        let out = splice::splice(&bytes, found.edits).unwrap().contiguous();
        (String::from_utf8(out.to_vec()).unwrap(), found.saved_bytes)
    }

    fn value(body: &Value) -> Value {
        serde_json::from_str(&shortened(&body.to_string()).0).unwrap()
    }

    /// Whether that text was shortened.
    fn is_short(value: &Value) -> bool {
        value.as_str().is_some_and(|text| text.starts_with("[weir: grep"))
    }

    #[test]
    fn results_of_all_dialects_are_shortened_and_nothing_else() {
        let text = greps(30);
        let chat = value(&json!({"model": "m", "messages": [
            {"role": "system", "content": text}, {"role": "user", "content": text},
            {"role": "assistant", "content": text, "tool_calls": [{"id": "1", "type": "function",
                "function": {"name": "f", "arguments": text}}]},
            {"role": "tool", "tool_call_id": "1", "content": text},
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": text}]}]}));
        let of = |at: usize| &chat["messages"][at]["content"];
        assert!(!is_short(of(0)) && !is_short(of(1)) && !is_short(of(2)) && is_short(of(3)));
        assert!(is_short(&of(4)[0]["text"]));
        assert_eq!(chat["messages"][2]["tool_calls"][0]["function"]["arguments"], text);
        let messages = value(&json!({"messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": text},
            {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": text}]},
            {"type": "text", "text": text}]}]}));
        let blocks = &messages["messages"][0]["content"];
        assert!(is_short(&blocks[0]["content"]) && is_short(&blocks[1]["content"][0]["text"]));
        assert_eq!(blocks[2]["text"], text);
        let responses = value(&json!({"input": [
            {"type": "function_call_output", "call_id": "1", "output": text},
            {"role": "user", "content": text}]}));
        assert!(is_short(&responses["input"][0]["output"]));
        assert_eq!(responses["input"][1]["content"], text);
    }

    #[test]
    fn what_a_signature_covers_stays() {
        let text = greps(30);
        let body = json!({"messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": text, "signature": "s"},
            {"type": "tool_result", "tool_use_id": "2", "content": text}]}]});
        let out = value(&body);
        let blocks = &out["messages"][0]["content"];
        assert_eq!(blocks[0]["content"], text);
        assert!(is_short(&blocks[1]["content"]));
    }

    #[test]
    fn many_seals_before_many_results_cost_one_look_each() {
        // Comparing each with each would take minutes.
        let seals = r#"{"signature":"s"},"#.repeat(150_000);
        let results = r#"{"type":"tool_result","content":"xy"},"#.repeat(150_000);
        let body = format!(r#"{{"messages":[{{"content":[{seals}{results}1]}}]}}"#);
        let settings = Settings { chars_min: 1, ..Settings::default() };
        let found = shorten(body.as_bytes(), &texts::texts(body.as_bytes()), &settings);
        assert_eq!((found.edits.len(), found.saved_bytes), (0, 0));
    }

    #[test]
    fn an_old_turn_is_the_same_bytes_in_every_request() {
        let result = json!({"role": "tool", "tool_call_id": "1", "content": greps(30)}).to_string();
        let first = shortened(&format!("{{\"messages\":[{result}]}}")).0;
        let more =
            format!("{{\"messages\":[{result},{{\"role\":\"user\",\"content\":\"x\"}},{result}]}}");
        let second = shortened(&more).0;
        let start = first.strip_suffix("]}").unwrap();
        assert!(second.starts_with(start));
        assert_eq!(shortened(&second), (second, 0));
    }

    fn leaf() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z]{0,8}",
            Just(greps(20)),
            Just("drwxr-xr-x 2 root root 4096 Nov 21 12:41 base\n".repeat(20)),
            Just("test a ... ok\n".repeat(50)),
            Just("\u{1b}[1mx\u{1b}[0m ".repeat(99)),
        ]
    }

    prop_compose! {
        fn block()(text in leaf(), kind in 0..4usize) -> Value {
            match kind {
                0 => json!({"type": "tool_result", "tool_use_id": "1", "content": text}),
                1 => json!({"type": "text", "text": text}),
                2 => json!({"type": "tool_result", "content": [{"type": "text", "text": text}]}),
                _ => json!({"type": "tool_result", "content": text, "signature": "s"}),
            }
        }
    }

    /// Takes the texts of results out of a request: what is left must not change.
    fn without_results(value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(without_results),
            Value::Object(fields) => {
                if fields.get("type").is_some_and(|it| it == "tool_result")
                    && !fields.contains_key("signature")
                {
                    fields.remove("content");
                }
                fields.values_mut().for_each(without_results);
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn nothing_outside_of_results_changes(
            turns in prop::collection::vec(prop::collection::vec(block(), 0..4), 0..4),
            pretty in any::<bool>(),
        ) {
            let messages: Vec<Value> =
                turns.into_iter().map(|blocks| json!({"role": "user", "content": blocks})).collect();
            let tree = json!({"model": "m", "x": 1.0e5, "messages": messages});
            let body =
                if pretty { serde_json::to_string_pretty(&tree).unwrap() } else { tree.to_string() };
            let bytes = Bytes::from(body);
            let found = shorten(&bytes, &texts::texts(&bytes), &Settings::default());
            let spliced = splice::splice(&bytes, found.edits).unwrap().contiguous();
            prop_assert!(spliced.len() <= bytes.len());
            prop_assert_eq!(spliced.len() < bytes.len(), found.saved_bytes > 0);
            let mut before = tree;
            let mut after: Value = serde_json::from_slice(&spliced).unwrap();
            without_results(&mut before);
            without_results(&mut after);
            prop_assert_eq!(before, after);
        }
    }
}
