//! Our own marks in what clients send back: thoughts that no provider signed, signatures of one dialect
//! that travel in another, ids that we made up. Where a body goes to a provider of the client's own
//! dialect they are cut out of it here, because nobody else knows them.
//!
//! Between dialects the readers know the marks, and nothing needs to be cut.

use memchr::memmem;

use crate::wire::json;
use crate::wire::pull::Pull;
use crate::wire::splice::Edit;
use crate::wire::syntax::{Member, Span};

/// The signature of thoughts in a Messages answer that nobody signed. A block with it is never sent
/// to Anthropic.
pub const UNSIGNED: &str = "weir-unsigned";

/// In front of a signature that travels as `encrypted_content` of a Responses item.
pub const SIGNED: &str = "weir1:";

/// In front of the data of redacted thoughts that travel as `encrypted_content`.
pub const REDACTED: &str = "weir1r:";

/// In front of the ids of Responses items that we made up: messages, reasoning, function calls.
pub const IDS: [&str; 3] = ["msg_weir_", "rs_weir_", "fc_weir_"];

/// What all marks of a Responses body have in common, to be looked for first.
const ANY: &[u8] = b"weir";

/// The changes that free the body of a Messages request of our marks; none in nearly every case.
///
/// Blocks of thoughts that nobody signed are cut. A message of which nothing would be left is cut
/// whole: the turns around it may then be of one role, which Messages allows, while any text in its
/// place would be put into the model's mouth.
pub fn messages_cuts(body: &[u8]) -> Vec<Edit> {
    let mut edits = Vec::new();
    if memmem::find(body, UNSIGNED.as_bytes()).is_none() {
        return edits;
    }
    for message in items_of(body, Span::whole(body), "messages") {
        let blocks: Vec<Item> = items_of(body, message.span, "content").collect();
        let ours = |item: &&Item| is_unsigned(body, item.span);
        let marked: Vec<&Item> = blocks.iter().filter(ours).collect();
        if !marked.is_empty() && marked.len() == blocks.len() {
            edits.push(message.remove());
        } else {
            edits.extend(marked.into_iter().map(Item::remove));
        }
    }
    edits
}

/// The changes that free the body of a Responses request of our marks; none in nearly every case.
///
/// Reasoning items that we made are cut whole, and from other items the ids that we made up.
pub fn responses_cuts(body: &[u8]) -> Vec<Edit> {
    let mut edits = Vec::new();
    if !may_hold_ours(body) {
        return edits;
    }
    for item in items_of(body, Span::whole(body), "input") {
        let id = json::members(body, item.span).find(|one| json::key_is(one.key.of(body), "id"));
        let ours = id.filter(|id| starts_with_any(body, id.value, &IDS));
        let content = json::find(body, item.span, "encrypted_content");
        let sealed = content.is_some_and(|value| starts_with_any(body, value, &[SIGNED, REDACTED]));
        match (kind(body, item.span), ours) {
            (b"\"reasoning\"", ours) if sealed || ours.is_some() => edits.push(item.remove()),
            // A reference to what nobody else knows is left for the provider to refuse.
            (b"\"item_reference\"", _) | (_, None) => {}
            (_, Some(id)) => edits.push(Edit::remove(&id)),
        }
    }
    edits
}

/// Whether `_weir_` or `"weir1` stands anywhere in a Responses body, found in one pass: nearly every body is
/// passed over once and holds neither.
fn may_hold_ours(body: &[u8]) -> bool {
    memmem::find_iter(body, ANY).any(|at| {
        let before = at.checked_sub(1).and_then(|at| body.get(at));
        let behind = body.get(at + ANY.len());
        matches!((before, behind), (Some(b'_'), Some(b'_')) | (Some(b'"'), Some(b'1')))
    })
}

/// One item of an array.
#[derive(Clone, Copy)]
struct Item {
    span: Span,
    /// Offset of the bracket or comma in front.
    before: usize,
    /// Offset of the comma or bracket behind.
    after: usize,
}

impl Item {
    /// Takes it away, with one of the commas beside it.
    fn remove(&self) -> Edit {
        let start = self.span.start + 1;
        let key = Span::new(start, start);
        Edit::remove(&Member { key, value: self.span, before: self.before, after: self.after })
    }
}

/// The items of the array `name` in the object at `within`; none if it is no array.
fn items_of(body: &[u8], within: Span, name: &str) -> impl Iterator<Item = Item> {
    let array = json::find(body, within, name).filter(|array| array.of(body).starts_with(b"["));
    let mut pull = Pull::new(body, array.unwrap_or_default());
    let mut before = array.map_or(0, |array| array.start);
    if array.is_some() {
        pull.enter();
    }
    std::iter::from_fn(move || {
        let more = array.is_some() && pull.item();
        let span = more.then(|| pull.skip()).filter(|span| !span.is_empty())?;
        let blank = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        let rest = body.get(span.end..).unwrap_or_default();
        let after = span.end + rest.iter().take_while(|byte| blank(byte)).count();
        let item = Item { span, before, after };
        before = after;
        Some(item)
    })
}

fn kind(body: &[u8], object: Span) -> &[u8] {
    json::find(body, object, "type").map_or(b"", |kind| kind.of(body))
}

fn is_unsigned(body: &[u8], block: Span) -> bool {
    let signature = json::find(body, block, "signature").and_then(|one| json::string(one.of(body)));
    // Behind the mark there may be what another dialect's provider encrypted.
    kind(body, block) == b"\"thinking\""
        && signature.is_some_and(|signature| signature.starts_with(UNSIGNED))
}

fn starts_with_any(body: &[u8], value: Span, marks: &[&str]) -> bool {
    let text = value.of(body).strip_prefix(b"\"").unwrap_or_default();
    marks.iter().any(|mark| text.starts_with(mark.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::splice::splice;
    use bytes::Bytes;
    use serde_json::{Value, json};

    fn cut(cuts: fn(&[u8]) -> Vec<Edit>, body: &str) -> Value {
        let body = Bytes::from(body.to_owned());
        let spliced = splice(&body, cuts(&body)).unwrap();
        serde_json::from_slice(&spliced.contiguous()).unwrap()
    }

    const OURS: &str = r#"{"type":"thinking","thinking":"t","signature":"weir-unsigned"}"#;

    #[test]
    fn unsigned_thoughts_are_cut() {
        let theirs = r#"{"type":"thinking","thinking":"t","signature":"abc"}"#;
        let text = r#"{"type":"text","text":"weir-unsigned"}"#;
        for (content, left) in [
            (format!("[{OURS} , {text}]"), format!("[{text}]")),
            (format!("[{theirs},{OURS}]"), format!("[{theirs}]")),
            (format!("[ {OURS}, {OURS} ,{text},{OURS}, {theirs}]"), format!("[{text},{theirs}]")),
            (format!("[{text}]"), format!("[{text}]")),
            (
                format!(
                    r#"[{text},{{"type":"thinking","thinking":"","signature":"weir-unsigned:gAAA"}}]"#
                ),
                format!("[{text}]"),
            ),
            ("[]".into(), "[]".into()),
            ("\"weir-unsigned\"".into(), "\"weir-unsigned\"".into()),
        ] {
            let body = |content| {
                format!(
                    r#"{{"messages":[{{"role":"user","content":"a"}},{{"role":"assistant","content":{content}}}],"x":1}}"#
                )
            };
            let left: Value = serde_json::from_str(&body(left)).unwrap();
            assert_eq!(cut(messages_cuts, &body(content)), left);
        }
    }

    #[test]
    fn a_message_without_content_goes_whole() {
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"a"}} , {{"content":[{OURS},{OURS}],"role":"assistant"}},{{"role":"user","content":"b"}}]}}"#
        );
        let left = json!({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]});
        assert_eq!(cut(messages_cuts, &body), left);
        let alone = format!(r#"{{"messages":[{{"content":[{OURS}],"role":"assistant"}}]}}"#);
        assert_eq!(cut(messages_cuts, &alone), json!({"messages": []}));
    }

    #[test]
    fn our_items_and_ids_are_cut() {
        let body = r#"{"input":[
            {"type":"reasoning","id":"rs_weir_1_0","summary":[]},
            {"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"weir1r:abc"},
            {"type":"reasoning","id":"rs_2","summary":[],"encrypted_content":"gAAA"},
            {"id":"msg_weir_1_1","type":"message","role":"assistant","content":[]},
            {"type":"function_call","id":"fc_weir_1_2"},
            {"type":"item_reference","id":"msg_weir_1_1"},
            {"role":"user","content":"msg_weir_ weir1:"}]}"#;
        let left = json!({"input": [
            {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAA"},
            {"type": "message", "role": "assistant", "content": []},
            {"type": "function_call"},
            {"type": "item_reference", "id": "msg_weir_1_1"},
            {"role": "user", "content": "msg_weir_ weir1:"}]});
        assert_eq!(cut(responses_cuts, body), left);
        assert!(responses_cuts(br#"{"input":"msg_weir_"}"#).is_empty());
    }

    #[test]
    fn every_mark_is_looked_for_and_the_plain_word_is_none() {
        let sealed = [SIGNED, REDACTED].map(|mark| format!("\"{mark}"));
        let ids = IDS.map(|mark| format!("\"{mark}"));
        for mark in sealed.iter().chain(&ids) {
            assert!(may_hold_ours(format!("weir {{{mark}x\"").as_bytes()), "{mark}");
        }
        for text in ["", "weir", "weir1", "\"weir\"", "_weir", "a weir_ \"weir-unsigned\""] {
            assert!(!may_hold_ours(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn without_marks_nothing_is_done() {
        let body = r#"{"messages":[{"role":"user","content":"a"}],"input":[{"id":"msg_1"}]}"#;
        assert!(messages_cuts(body.as_bytes()).is_empty());
        assert!(responses_cuts(body.as_bytes()).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_safe(front in ".{0,20}", back in ".{0,20}") {
            for mark in ["weir-unsigned", "_weir_"] {
                let body = format!(r#"{front}{{"messages":[{mark}],"input":[{{"id":"{mark}{back}"#);
                messages_cuts(body.as_bytes());
                responses_cuts(body.as_bytes());
            }
        }
    }
}
