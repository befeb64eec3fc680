//! Signatures over thoughts that are not shown as they were: their provider would refuse the next turn with
//! them. They give way to our mark for thoughts that nobody signed, by which the block is left out of later
//! requests.
//!
//! What only its maker can read is never touched: where thoughts are sealed as a whole, what is shown of them
//! is not compared with it.

use crate::base::surface::Surface;
use crate::dialect::canonical::marks::{SIGNED, UNSIGNED};
use crate::exchange::outflow::event::word_of;
use crate::exchange::outflow::walk::{self, items};
use crate::wire::json;
use crate::wire::syntax::Span;

/// A place, and what stands there instead.
type Edit = (Span, Vec<u8>);

/// What becomes of the signatures in an answer or an event of which those places are changed.
pub fn broken(surface: Surface, data: &[u8], edits: &[Edit]) -> Vec<Edit> {
    if edits.is_empty() {
        return Vec::new();
    }
    let white = data.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let whole = Span::new(white, data.len());
    let find = |within, name| json::find(data, within, name);
    let blocks: Vec<Span> = match surface {
        Surface::Messages => {
            let list = find(whole, "content").map(|list| items(data, list)).unwrap_or_default();
            list.into_iter().chain(find(whole, "content_block")).collect()
        }
        Surface::Responses => {
            let response = find(whole, "response").unwrap_or(whole);
            let list = find(response, "output").map(|list| items(data, list)).unwrap_or_default();
            list.into_iter().chain(find(whole, "item")).collect()
        }
        _ => {
            let choices = find(whole, "choices").map(|list| items(data, list)).unwrap_or_default();
            let messages = choices.into_iter().filter_map(|choice| find(choice, "message"));
            let details = messages.filter_map(|message| find(message, "reasoning_details"));
            details.flat_map(|list| items(data, list)).collect()
        }
    };
    blocks.into_iter().filter_map(|block| of_block(data, block, edits)).collect()
}

fn of_block(data: &[u8], block: Span, edits: &[Edit]) -> Option<Edit> {
    let is_in = |(span, _): &Edit| block.start < span.start && span.end < block.end;
    if !edits.iter().any(is_in) {
        return None;
    }
    let (name, mark) = match word_of(data, block, "type") {
        b"thinking" | b"reasoning.text" | b"reasoning.summary" => {
            ("signature", UNSIGNED.to_owned())
        }
        b"reasoning" => ("encrypted_content", format!("{SIGNED}{UNSIGNED}")),
        _ => return None,
    };
    let old = word_of(data, block, name);
    let is_ours = name == "signature" || old.starts_with(SIGNED.as_bytes());
    let span = walk::inside(data, json::find(data, block, name)?)?;
    (is_ours && !old.is_empty()).then(|| (span, mark.into_bytes()))
}
