//! Steps through a checked body and asks its values to be of the kind they must be.
//!
//! Which fields there are is not known here.

use std::borrow::Cow;
use std::fmt;

use crate::dialect::canonical::loss::Refused;
use crate::dialect::canonical::text::{Raw, Text};
use crate::wire::json;
use crate::wire::pull::Pull;
use crate::wire::syntax::Span;

/// A place in a checked JSON text.
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

    /// Steps over the object that starts here, and returns the members of those names, in their order;
    /// what is `null` is as good as absent. All are absent where there is no object.
    pub fn pick<const N: usize>(&mut self, names: [&str; N]) -> [Option<&'b [u8]>; N] {
        let mut found = [None; N];
        if self.peek() != b'{' {
            self.skip();
            return found;
        }
        self.enter();
        while let Some(key) = self.key() {
            let value = self.skip();
            let index = names.iter().position(|name| name.as_bytes() == key).or_else(|| {
                let escaped = key.contains(&b'\\');
                names.iter().position(|name| escaped && json::key_is(key, name))
            });
            if let Some(slot) = index.and_then(|index| found.get_mut(index)) {
                *slot = (value != b"null").then_some(value);
            }
        }
        found
    }
}

/// The members of those names of a whole object, by itself.
pub fn pick<'b, const N: usize>(object: &'b [u8], names: [&str; N]) -> [Option<&'b [u8]>; N] {
    Walk::new(object).pick(names)
}

/// A key as it is meant.
pub fn meant(key: &[u8]) -> Cow<'_, [u8]> {
    if !key.contains(&b'\\') {
        return Cow::Borrowed(key);
    }
    json::unescape(key).map_or(Cow::Borrowed(key), |key| Cow::Owned(key.into_owned().into_bytes()))
}

/// The items of an array; none if it is no array.
pub fn items(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut walk = Walk::new(array);
    let is_array = walk.peek() == b'[';
    if is_array {
        walk.enter();
    }
    std::iter::from_fn(move || (is_array && walk.item()).then(|| walk.skip()))
}

/// Where something stands in the request, for errors.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// The list that it is in.
    pub list: &'static str,
    /// The item of the list.
    pub item: usize,
    /// The part of the item's content.
    pub part: Option<usize>,
    /// The part of that part's content.
    pub inner: Option<usize>,
}

impl At {
    /// An item of a list.
    pub const fn item(list: &'static str, item: usize) -> Self {
        Self { list, item, part: None, inner: None }
    }

    /// A field of it.
    pub const fn dot(self, field: &'static str) -> Dot {
        Dot(self, field)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.list, self.item)?;
        for part in [self.part, self.inner].into_iter().flatten() {
            write!(f, ".content[{part}]")?;
        }
        Ok(())
    }
}

/// A field of something.
#[derive(Clone, Copy, Debug)]
pub struct Dot(At, &'static str);

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A refusal because of that field.
pub fn refused(field: impl fmt::Display, why: &str) -> Refused {
    Refused::new(field.to_string(), why)
}

/// The value as a string.
pub fn text(value: &[u8], field: impl fmt::Display) -> Result<Text<'_>, Refused> {
    Text::token(value).ok_or_else(|| refused(field, "must be a string"))
}

/// The value as a string that has to be there.
pub fn needed(value: Option<&[u8]>, field: impl fmt::Display) -> Result<Text<'_>, Refused> {
    text(value.unwrap_or_default(), field)
}

/// The value as a number.
pub fn number(value: &[u8], field: impl fmt::Display) -> Result<Raw<'_>, Refused> {
    match value.first() {
        Some(b'-' | b'0'..=b'9') => Ok(Raw(value)),
        _ => Err(refused(field, "must be a number")),
    }
}

/// The value as a count.
pub fn count(value: &[u8], field: impl fmt::Display) -> Result<u64, Refused> {
    let digits = std::str::from_utf8(value).ok();
    let count = digits.and_then(|digits| digits.parse().ok());
    count.ok_or_else(|| refused(field, "must be a whole number that is not negative"))
}

/// The value as a truth.
pub fn truth(value: &[u8], field: impl fmt::Display) -> Result<bool, Refused> {
    match value {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(refused(field, "must be true or false")),
    }
}

/// The value as an object.
pub fn object(value: &[u8], field: impl fmt::Display) -> Result<Raw<'_>, Refused> {
    if value.starts_with(b"{") {
        return Ok(Raw(value));
    }
    Err(refused(field, "must be an object"))
}

/// The value as an array.
pub fn array(
    value: &[u8],
    field: impl fmt::Display,
) -> Result<impl Iterator<Item = &[u8]>, Refused> {
    if value.starts_with(b"[") {
        return Ok(items(value));
    }
    Err(refused(field, "must be an array"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_picked_by_what_their_keys_mean() {
        let object = br#" {"a":1,"\u0062":[2],"c":null,"d":"x","a":3} "#;
        let [a, b, c, e] = pick(object, ["a", "b", "c", "e"]);
        assert_eq!((a, b), (Some(&b"3"[..]), Some(&b"[2]"[..])));
        assert_eq!((c, e), (None, None));
        assert_eq!(pick(b"[1]", ["a"]), [None]);
        assert_eq!(items(b"[1, [2]]").collect::<Vec<_>>(), [&b"1"[..], b"[2]"]);
        assert_eq!(items(b"{}").count(), 0);
    }

    #[test]
    fn places_are_told_as_paths() {
        let at = At { part: Some(1), inner: Some(0), ..At::item("messages", 3) };
        assert_eq!(at.dot("text").to_string(), "messages[3].content[1].content[0].text");
        assert_eq!(At::item("tools", 2).to_string(), "tools[2]");
    }
}
