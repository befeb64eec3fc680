//! What does not carry over from one dialect to another: refused with the field's name, or dropped and
//! listed.

use crate::base::fault::{Code, Fault};
use crate::base::limit::{DROPPED_FIELD_CHARS_MAX, DROPPED_FIELDS_MAX};

/// A request that cannot be translated, or is not what its dialect allows: an error for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The field, as a path: `messages[2].tool_calls[0].function.arguments`.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Refused {
    /// A refusal because of that field.
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }

    /// The refusal as the client gets it.
    pub fn fault(&self) -> Fault {
        Fault::new(Code::InvalidRequest, format!("`{}` {}", self.field, self.why))
            .param(self.field.clone())
    }
}

/// The fields that were left out on the way, and whether any may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Whether a field that cannot be carried is an error.
    pub strict: bool,
    /// Whether the client's conversation is a list of input items, not of messages, so that calls are named by
    /// the item that they are.
    pub has_items: bool,
    dropped: Vec<String>,
}

impl Losses {
    /// An empty list.
    pub const fn new(strict: bool) -> Self {
        Self { strict, has_items: false, dropped: Vec::new() }
    }

    /// Leaves `field` out, and lists it once.
    ///
    /// # Errors
    /// Under `strict`.
    pub fn drop_field(&mut self, field: &str) -> Result<(), Refused> {
        if self.strict {
            return Err(Refused::new(field, "cannot be carried to the provider's dialect"));
        }
        if self.dropped.len() < DROPPED_FIELDS_MAX
            && !self.dropped.iter().any(|one| *one == shown(field))
        {
            self.dropped.push(shown(field));
        }
        Ok(())
    }

    /// The fields that were left out, each once, in the order of their loss.
    pub fn dropped(&self) -> &[String] {
        &self.dropped
    }

    /// The same, to keep.
    pub fn into_dropped(self) -> Vec<String> {
        self.dropped
    }
}

/// A field's name as it can stand in a header: short, and of visible characters.
fn shown(field: &str) -> String {
    let visible = |letter: char| if letter.is_ascii_graphic() { letter } else { '?' };
    field.chars().take(DROPPED_FIELD_CHARS_MAX).map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_listed_once_or_refused() {
        let mut losses = Losses::new(false);
        losses.drop_field("seed").expect("lenient");
        losses.drop_field("seed").expect("lenient");
        assert_eq!(losses.dropped(), ["seed"]);
        let refused = Losses::new(true).drop_field("seed").expect_err("strict");
        assert_eq!(refused.fault().param.as_deref(), Some("seed"));
    }
}
