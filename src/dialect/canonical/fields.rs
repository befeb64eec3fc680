//! Walks a body that has been checked to be JSON and asks its values to be of the kind they must be.
//!
//! The readers of all dialects use it; which fields there are is not known here. `null` is everywhere the
//! same as nothing, as the clients and providers of all dialects use it, and a key is what it means, so
//! that no field is smuggled past by escapes. A refusal names the field as seen from here; whoever is
//! around it puts the way to it in front (`within`), so that a sound request pays nothing for its path.

use std::borrow::Cow;
use std::fmt::Display;

use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::text::{Raw, Text};
use crate::wire::json;
use crate::wire::pull::Pull;
use crate::wire::syntax::Span;

/// A place in a checked JSON text, for what is too large to be passed over before it is read.
pub struct Walk<'b> {
    body: &'b [u8],
    pull: Pull<'b>,
}

impl<'b> Walk<'b> {
    /// At the start of `body`.
    pub fn new(body: &'b [u8]) -> Self {
        Self { body, pull: Pull::new(body, Span::whole(body)) }
    }

    /// The first byte of the value that comes next.
    pub fn peek(&mut self) -> u8 {
        self.pull.peek()
    }

    /// Steps into the object or array that starts here.
    pub fn enter(&mut self) {
        self.pull.enter();
    }

    /// The next key of the object around, as written.
    pub fn key(&mut self) -> Option<&'b [u8]> {
        self.pull.key().map(|key| key.of(self.body))
    }

    /// Whether another item of the array around follows.
    pub fn item(&mut self) -> bool {
        self.pull.item()
    }

    /// Steps over the value that starts here, and returns it.
    pub fn skip(&mut self) -> &'b [u8] {
        self.pull.skip().of(self.body)
    }
}

/// The members of those names of an object, in their order; all are absent if it is none.
pub fn pick<'b, const N: usize>(object: &'b [u8], names: [&str; N]) -> [Option<&'b [u8]>; N] {
    let mut found = [None; N];
    for (key, value) in members(object) {
        let index = names.iter().position(|name| *name.as_bytes() == *key);
        if let Some(slot) = index.and_then(|index| found.get_mut(index)) {
            *slot = Some(value);
        }
    }
    found
}

/// The members of an object, each with what its key means; none if it is no object.
pub fn members(object: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, &[u8])> {
    written_members(object).map(|(key, value)| (meant(key), value))
}

/// The same with the keys as written, escapes and all.
pub fn written_members(object: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut walk = Walk::new(object);
    if walk.peek() == b'{' {
        walk.enter();
    }
    std::iter::from_fn(move || {
        loop {
            let key = walk.key()?;
            let value = walk.skip();
            if value != b"null" {
                return Some((key, value));
            }
        }
    })
}

/// What a key as written means.
pub fn meant(key: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', key).is_none() {
        return Cow::Borrowed(key);
    }
    match json::unescape(key) {
        Some(Cow::Owned(name)) => Cow::Owned(name.into_bytes()),
        _ => Cow::Borrowed(key),
    }
}

/// The name under which a field that its reader does not know is listed, for a key as written. `None` if it is
/// in disguise: escapes that stand for nothing but the letters which all known fields are made of, past whom a
/// check of names would not see it. Others are written with escapes by ordinary clients (`\u00e9`), and are no
/// field that anybody knows; they are listed as written.
pub fn listed(key: &[u8]) -> Option<&str> {
    let name = meant(key);
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_disguised = matches!(name, Cow::Owned(_)) && name.iter().all(is_plain);
    std::str::from_utf8(key).ok().filter(|_| !is_disguised)
}

/// The value of the member of that name; the last one if there are several.
pub fn find<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    members(object).filter(|(key, _)| **key == *name.as_bytes()).last().map(|(_, value)| value)
}

/// The items of an array; none if it is no array.
pub fn items(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut walk = Walk::new(array);
    let is_array = walk.peek() == b'[';
    if is_array {
        walk.enter();
    }
    std::iter::from_fn(move || {
        let value = if is_array && walk.item() { walk.skip() } else { &[] };
        (!value.is_empty()).then_some(value)
    })
}

/// A refusal because of that field.
#[cold]
pub fn refused(field: impl Display, why: &str) -> Refused {
    Refused::new(field.to_string(), why)
}

/// Puts the way to an object or item in front of the field in it.
pub fn within(way: impl FnOnce() -> String) -> impl FnOnce(Refused) -> Refused {
    move |refused| {
        let joint =
            if refused.field.is_empty() || refused.field.starts_with('[') { "" } else { "." };
        Refused::new(format!("{}{joint}{}", way(), refused.field), refused.why)
    }
}

/// What was found under a name, or the refusal that it has to be there.
pub fn needed<T>(found: Option<T>, field: impl Display) -> Result<T, Refused> {
    found.ok_or_else(|| refused(field, "is missing"))
}

/// A string.
pub fn text(value: &[u8], field: impl Display) -> Result<Text<'_>, Refused> {
    Text::token(value).ok_or_else(|| refused(field, "must be a string"))
}

/// A string that has to be there.
pub fn needed_text(value: Option<&[u8]>, field: impl Display) -> Result<Text<'_>, Refused> {
    match value {
        Some(value) => text(value, field),
        None => Err(refused(field, "is missing")),
    }
}

/// A string with something in it, that has to be there.
pub fn name(value: Option<&[u8]>, field: impl Display) -> Result<Text<'_>, Refused> {
    let text = value.and_then(Text::token).filter(|text| !text.is_empty());
    text.ok_or_else(|| refused(field, "must be a string that is not empty"))
}

/// A string, as written.
pub fn word(value: &[u8], field: impl Display) -> Result<Raw<'_>, Refused> {
    text(value, field).map(|_| Raw(value))
}

/// A truth.
pub fn flag(value: &[u8], field: impl Display) -> Result<bool, Refused> {
    match value {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(refused(field, "must be true or false")),
    }
}

/// A number, as written.
pub fn number(value: &[u8], field: impl Display) -> Result<Raw<'_>, Refused> {
    match value.first() {
        Some(b'-' | b'0'..=b'9') => Ok(Raw(value)),
        _ => Err(refused(field, "must be a number")),
    }
}

/// A number of things.
pub fn count(value: &[u8], field: impl Display) -> Result<u64, Refused> {
    let digits = std::str::from_utf8(value).ok();
    let count = digits.and_then(|digits| digits.parse().ok());
    count.ok_or_else(|| refused(field, "must be a whole number that is not negative"))
}

/// An object, as written.
pub fn object(value: &[u8], field: impl Display) -> Result<&[u8], Refused> {
    if value.starts_with(b"{") { Ok(value) } else { Err(refused(field, "must be an object")) }
}

/// An array, as written.
pub fn array(value: &[u8], field: impl Display) -> Result<&[u8], Refused> {
    if value.starts_with(b"[") { Ok(value) } else { Err(refused(field, "must be an array")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn members_and_items_are_walked_without_their_nulls() {
        let text = br#" {"a":1,"b":null,"\u0063":[1, {"x":2} ,null]} "#;
        let all: Vec<_> = members(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((&*all[0].0, all[0].1), (b"a".as_slice(), b"1".as_slice()));
        assert_eq!(&*all[1].0, b"c");
        let found: Vec<&[u8]> = items(all[1].1).collect();
        assert_eq!(found, [b"1".as_slice(), br#"{"x":2}"#, b"null"]);
        assert_eq!(find(text, "c"), Some(all[1].1));
        assert_eq!(members(b"[1]").count() + items(b"{}").count() + items(b"7").count(), 0);
    }

    #[test]
    fn members_are_picked_by_what_their_keys_mean() {
        let object = br#" {"a":1,"\u0062":[2],"c":null,"d":"x","a":3} "#;
        let [a, b, c, e] = pick(object, ["a", "b", "c", "e"]);
        assert_eq!((a, b), (Some(&b"3"[..]), Some(&b"[2]"[..])));
        assert_eq!((c, e), (None, None));
        assert_eq!(pick(b"[1]", ["a"]), [None]);
    }

    #[test]
    fn only_what_could_be_a_known_field_is_in_disguise() {
        assert_eq!(listed(b"seed"), Some("seed"));
        assert_eq!(listed("caf\u{e9}".as_bytes()), Some("caf\u{e9}"));
        for kept in [r"caf\u00e9", r"a\u0000b", r#"a\"b"#, r"\ud83d\ude00", r"a\r\nx"] {
            assert_eq!(listed(kept.as_bytes()), Some(kept));
        }
        for disguised in [r"mcp\u005fservers", r"\u006e", r"s\u0065ed"] {
            assert_eq!(listed(disguised.as_bytes()), None, "{disguised}");
        }
    }

    #[test]
    fn values_are_what_their_field_says() {
        assert!(text(b"\"a\"", "x").is_ok() && text(b"1", "x").is_err());
        assert!(word(b"\"a\"", "x").is_ok() && word(b"true", "x").is_err());
        assert!(flag(b"true", "x").is_ok() && flag(b"\"true\"", "x").is_err());
        assert!(number(b"-1.5e3", "x").is_ok() && number(b"\"1\"", "x").is_err());
        assert!(count(b"15", "x") == Ok(15) && count(b"1.5", "x").is_err());
        assert!(object(b"{}", "x").is_ok() && object(b"[]", "x").is_err());
        assert!(array(b"[]", "x").is_ok() && array(b"{}", "x").is_err());
        assert!(needed(Some(1), "x").is_ok() && needed::<u8>(None, "x").is_err());
    }

    #[test]
    fn a_place_is_named_from_the_outside_in() {
        let inner = name(Some(b"\"\""), "name").map_err(within(|| "content[1]".into()));
        let whole = inner.map_err(within(|| "input[2]".into())).expect_err("empty");
        assert_eq!(whole.field, "input[2].content[1].name");
        let bare = within(|| "input".into())(Refused::new("[3]", "x"));
        assert_eq!(bare.field, "input[3]");
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(members(&bytes).count() <= bytes.len());
            prop_assert!(items(&bytes).count() <= bytes.len());
        }
    }
}
