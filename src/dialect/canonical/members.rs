//! Writes members of a JSON object that has some already: the comma, the key, the value.
//!
//! Keys are names of ours, which need no escapes.

use crate::dialect::canonical::text::Text;

/// Appends a key; its value must follow.
pub fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends a member whose value is given as JSON.
pub fn member(name: &str, value: &[u8], out: &mut Vec<u8>) {
    key(name, out);
    out.extend_from_slice(value);
}

/// Appends a member that is a truth.
pub fn flag_member(name: &str, value: bool, out: &mut Vec<u8>) {
    member(name, if value { b"true" } else { b"false" }, out);
}

/// Appends a member that is a string.
pub fn text_member(name: &str, value: &Text<'_>, out: &mut Vec<u8>) {
    key(name, out);
    value.quote_into(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_follow_others() {
        let mut out = b"{\"a\":1".to_vec();
        member("b", b"[2]", &mut out);
        flag_member("c", true, &mut out);
        text_member("d", &Text::of("\n"), &mut out);
        out.push(b'}');
        let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(value, serde_json::json!({"a": 1, "b": [2], "c": true, "d": "\n"}));
    }
}
