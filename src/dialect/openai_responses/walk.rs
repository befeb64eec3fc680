//! Steps through the objects and arrays of a checked body, and names the place of what is not as it
//! must be.
//!
//! Errors start at the innermost field and get the names around it on the way out, so that a sound
//! request pays nothing for them.

use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::text::{Raw, Text};
use crate::wire::pull::Pull;
use crate::wire::syntax::Span;

/// Calls `visit` with the key and the value of each member of an object, as written.
pub fn members<'a>(
    object: &'a [u8],
    mut visit: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let mut pull = Pull::new(object, Span::whole(object));
    pull.enter();
    while let Some(key) = pull.key() {
        let value = pull.skip();
        visit(key.of(object), value.of(object))?;
    }
    Ok(())
}

/// The same where nothing can be wrong.
pub fn each<'a>(object: &'a [u8], mut visit: impl FnMut(&'a [u8], &'a [u8])) {
    if !object.starts_with(b"{") {
        return;
    }
    let mut pull = Pull::new(object, Span::whole(object));
    pull.enter();
    while let Some(key) = pull.key() {
        let value = pull.skip();
        visit(key.of(object), value.of(object));
    }
}

/// Calls `visit` with each item of an array, and its number; with nothing if it is none.
pub fn items<'a>(
    array: &'a [u8],
    mut visit: impl FnMut(usize, &'a [u8]) -> Result<(), Refused>,
) -> Result<(), Refused> {
    if !array.starts_with(b"[") {
        return Ok(());
    }
    let mut pull = Pull::new(array, Span::whole(array));
    pull.enter();
    let mut number = 0;
    while pull.item() {
        visit(number, pull.skip().of(array))?;
        number += 1;
    }
    Ok(())
}

/// The same where nothing can be wrong.
pub fn each_item<'a>(array: &'a [u8], mut visit: impl FnMut(&'a [u8])) {
    if !array.starts_with(b"[") {
        return;
    }
    let mut pull = Pull::new(array, Span::whole(array));
    pull.enter();
    while pull.item() {
        visit(pull.skip().of(array));
    }
}

/// Puts the name of what is around it in front of an error's field.
pub fn within<T>(outer: impl FnOnce() -> String, result: Result<T, Refused>) -> Result<T, Refused> {
    result.map_err(|refused| {
        let dot = if refused.field.is_empty() || refused.field.starts_with('[') { "" } else { "." };
        Refused { field: format!("{}{dot}{}", outer(), refused.field), why: refused.why }
    })
}

/// The text of a value that must be a string.
pub fn text<'a>(field: &str, value: &'a [u8]) -> Result<Text<'a>, Refused> {
    Text::token(value).ok_or_else(|| Refused::new(field, "must be a string"))
}

/// The same where `null` stands for nothing.
pub fn maybe_text<'a>(field: &str, value: &'a [u8]) -> Result<Option<Text<'a>>, Refused> {
    if value == b"null" { Ok(None) } else { text(field, value).map(Some) }
}

/// A value that must be a string, as written.
pub fn string<'a>(field: &str, value: &'a [u8]) -> Result<Raw<'a>, Refused> {
    text(field, value).map(|_| Raw(value))
}

/// A value that must be a number.
pub fn number<'a>(field: &str, value: &'a [u8]) -> Result<Raw<'a>, Refused> {
    match value.first() {
        Some(b'-' | b'0'..=b'9') => Ok(Raw(value)),
        _ => Err(Refused::new(field, "must be a number")),
    }
}

/// A value that must be `true` or `false`; `null` stands for nothing.
pub fn maybe_flag(field: &str, value: &[u8]) -> Result<Option<bool>, Refused> {
    match value {
        b"true" => Ok(Some(true)),
        b"false" => Ok(Some(false)),
        b"null" => Ok(None),
        _ => Err(Refused::new(field, "must be true or false")),
    }
}

/// A value that must be an object.
pub fn object<'a>(field: &str, value: &'a [u8]) -> Result<&'a [u8], Refused> {
    if value.starts_with(b"{") { Ok(value) } else { Err(Refused::new(field, "must be an object")) }
}

/// A value that must be an array.
pub fn array<'a>(field: &str, value: &'a [u8]) -> Result<&'a [u8], Refused> {
    if value.starts_with(b"[") { Ok(value) } else { Err(Refused::new(field, "must be an array")) }
}

/// What was found under a name, or the error that it has to be there.
pub fn needed<T>(field: &str, found: Option<T>) -> Result<T, Refused> {
    found.ok_or_else(|| Refused::new(field, "is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_from_the_outside_in() {
        let inner = text("name", b"1").map(|_| ());
        let part = within(|| "content[1]".into(), inner);
        let whole = within(|| "input[2]".into(), part).expect_err("no string");
        assert_eq!(whole.field, "input[2].content[1].name");
        let bare = within(|| "input".into(), Err::<(), _>(Refused::new("[3]", "x")));
        assert_eq!(bare.expect_err("refused").field, "input[3]");
    }

    #[test]
    fn values_are_what_their_field_says() {
        assert!(number("n", b"-1.5e3").is_ok() && number("n", b"\"1\"").is_err());
        assert_eq!(maybe_flag("f", b"null"), Ok(None));
        assert!(maybe_flag("f", b"1").is_err() && object("o", b"[]").is_err());
        assert!(array("a", b"{}").is_err() && needed::<u8>("x", None).is_err());
    }

    #[test]
    fn what_is_no_container_has_nothing_in_it() {
        each(b"7", |_, _| panic!("no member"));
        each_item(b"{}", |_| panic!("no item"));
        let mut seen = Vec::new();
        each_item(b"[1, 2 ,[3]]", |item| seen.push(item));
        assert_eq!(seen, [&b"1"[..], b"2", b"[3]"]);
    }
}
