//! Where something stands in a Messages request, for refusals: written as a path only if there is one.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_as_paths() {
        let at = At { part: Some(1), inner: Some(0), ..At::item("messages", 3) };
        assert_eq!(at.dot("text").to_string(), "messages[3].content[1].content[0].text");
        assert_eq!(At::item("tools", 2).to_string(), "tools[2]");
    }
}
