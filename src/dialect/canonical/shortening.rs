//! Which wishes about the length of a conversation may be left out: those that only shorten it.
//!
//! Without them the model reads more than it had to, and says the same. What puts something else in the place of
//! what was said, such as a summary, is not among them.

use crate::dialect::canonical::fields::{find, items, members};
use crate::wire::json;

/// How the kinds of edits begin that take old results of tools, or old thoughts, out of the conversation. A date
/// follows.
const KINDS: [&str; 2] = ["clear_tool_uses_", "clear_thinking_"];

/// Whether `management`, the value of `context_management` of Messages, asks for nothing else.
pub fn is_all(management: &[u8]) -> bool {
    let known =
        members(management).all(|(key, value)| *key == *b"edits" && value.starts_with(b"["));
    let kind = |edit| find(edit, "type").and_then(json::string);
    let shortens = |edit| {
        kind(edit).is_some_and(|kind| KINDS.iter().any(|beginning| kind.starts_with(beginning)))
    };
    management.starts_with(b"{")
        && known
        && find(management, "edits").is_none_or(|edits| items(edits).all(shortens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_edits_that_take_out_are_shortening() {
        for yes in [
            "{}",
            r#"{"edits":[]}"#,
            r#"{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]}"#,
            r#"{"edits":[{"type":"clear_tool_uses_20250919","keep":{"type":"tool_uses","value":3}},{"type":"clear_thinking_20251015"}]}"#,
        ] {
            assert!(is_all(yes.as_bytes()), "{yes}");
        }
        for no in [
            "7",
            "[]",
            r#"[{"type":"compaction","compact_threshold":1000}]"#,
            r#"{"edits":7}"#,
            r#"{"edits":[7]}"#,
            r#"{"edits":[{}]}"#,
            r#"{"edits":[{"type":"compact_20260112"}]}"#,
            r#"{"edits":[{"type":"clear_thinking_20251015"},{"type":"compact_20260112"}]}"#,
            r#"{"edits":[],"memory":true}"#,
        ] {
            assert!(!is_all(no.as_bytes()), "{no}");
        }
    }
}
