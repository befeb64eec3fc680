//! Reads the values of a body that has been checked to be JSON, and says which of them is of a wrong
//! type.
//!
//! `null` is everywhere the same as nothing: that is how this dialect's clients and providers use it.
//! Refusals name the field as seen from here; whoever called puts the way to it in front.

use std::borrow::Cow;

use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::text::{Raw, Text};
use crate::wire::json;
use crate::wire::pull::Pull;
use crate::wire::syntax::Span;

/// A member of an object: its name, and its value as written.
pub(super) type Member<'a> = (Cow<'a, [u8]>, &'a [u8]);

/// The members of an object that are not `null`; none if it is no object.
pub(super) fn members(object: &[u8]) -> impl Iterator<Item = Member<'_>> {
    written_members(object).map(|(key, value)| (name_of(key), value))
}

/// The same with the keys as written, escapes and all.
pub(super) fn written_members(object: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut pull = Pull::new(object, Span::whole(object));
    if pull.peek() == b'{' {
        pull.enter();
    }
    std::iter::from_fn(move || {
        loop {
            let key = pull.key()?;
            let value = pull.skip().of(object);
            if value != b"null" {
                return Some((key.of(object), value));
            }
        }
    })
}

/// What a key as written says. Nobody writes keys with escapes, but a field must not be smuggled past
/// by them.
pub(super) fn name_of(key: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', key).is_none() {
        return Cow::Borrowed(key);
    }
    match json::unescape(key) {
        Some(Cow::Owned(name)) => Cow::Owned(name.into_bytes()),
        _ => Cow::Borrowed(key),
    }
}

/// The value of the member of that name; the last one if there are several.
pub(super) fn find<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let named = |(key, _): &Member<'_>| **key == *name.as_bytes();
    members(object).filter(named).last().map(|(_, value)| value)
}

/// The items of an array; none if it is no array.
pub(super) fn items(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut pull = Pull::new(array, Span::whole(array));
    let is_array = pull.peek() == b'[';
    if is_array {
        pull.enter();
    }
    std::iter::from_fn(move || {
        let value = if is_array && pull.item() { pull.skip().of(array) } else { &[] };
        (!value.is_empty()).then_some(value)
    })
}

/// A string.
pub(super) fn text<'a>(value: &'a [u8], field: &str) -> Result<Text<'a>, Refused> {
    Text::token(value).ok_or_else(|| Refused::new(field, "must be a string"))
}

/// A string with something in it.
pub(super) fn name<'a>(value: Option<&'a [u8]>, field: &str) -> Result<Text<'a>, Refused> {
    let text = value.and_then(Text::token).filter(|text| !text.is_empty());
    text.ok_or_else(|| Refused::new(field, "must be a string that is not empty"))
}

/// A truth.
pub(super) fn flag(value: &[u8], field: &str) -> Result<bool, Refused> {
    match value {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(Refused::new(field, "must be true or false")),
    }
}

/// A number.
pub(super) fn number<'a>(value: &'a [u8], field: &str) -> Result<Raw<'a>, Refused> {
    match value.first() {
        Some(b'-' | b'0'..=b'9') => Ok(Raw(value)),
        _ => Err(Refused::new(field, "must be a number")),
    }
}

/// A number of things.
pub(super) fn count<'a>(value: &'a [u8], field: &str) -> Result<Raw<'a>, Refused> {
    if value.iter().all(u8::is_ascii_digit) {
        Ok(Raw(value))
    } else {
        Err(Refused::new(field, "must be a whole number that is not negative"))
    }
}

/// An object, as written.
pub(super) fn object<'a>(value: &'a [u8], field: &str) -> Result<&'a [u8], Refused> {
    match value.first() {
        Some(b'{') => Ok(value),
        _ => Err(Refused::new(field, "must be an object")),
    }
}

/// An array, as written.
pub(super) fn array<'a>(value: &'a [u8], field: &str) -> Result<&'a [u8], Refused> {
    match value.first() {
        Some(b'[') => Ok(value),
        _ => Err(Refused::new(field, "must be an array")),
    }
}

/// Puts the way to an object in front of the fields in it.
pub(super) fn within(way: impl FnOnce() -> String) -> impl FnOnce(Refused) -> Refused {
    move |refused| {
        let joint =
            if refused.field.is_empty() || refused.field.starts_with('[') { "" } else { "." };
        Refused::new(format!("{}{joint}{}", way(), refused.field), refused.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn members_and_items_are_walked_without_their_nulls() {
        let text = br#" {"a":1,"b":null,"\u0063":[1, {"x":2} ,null]} "#;
        let all: Vec<Member<'_>> = members(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((&*all[0].0, all[0].1), (b"a".as_slice(), b"1".as_slice()));
        assert_eq!(&*all[1].0, b"c");
        let found: Vec<&[u8]> = items(all[1].1).collect();
        assert_eq!(found, [b"1".as_slice(), br#"{"x":2}"#, b"null"]);
        assert_eq!(find(text, "c"), Some(all[1].1));
        assert_eq!(members(b"[1]").count() + items(b"{}").count(), 0);
    }

    #[test]
    fn types_are_told_apart() {
        assert!(text(b"\"a\"", "x").is_ok() && text(b"1", "x").is_err());
        assert!(flag(b"true", "x").is_ok() && flag(b"\"true\"", "x").is_err());
        assert!(number(b"-1.5", "x").is_ok() && number(b"\"1\"", "x").is_err());
        assert!(count(b"15", "x").is_ok() && count(b"1.5", "x").is_err());
        let refused = name(Some(b"\"\""), "name").map_err(within(|| "tools[0]".into()));
        assert_eq!(refused.expect_err("empty").field, "tools[0].name");
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(members(&bytes).count() <= bytes.len());
            prop_assert!(items(&bytes).count() <= bytes.len());
        }
    }
}
