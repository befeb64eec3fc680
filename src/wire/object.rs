//! Writes a JSON object member by member: text, amounts as plain decimals, instants.
//!
//! Nothing is read here, and no float comes near an amount.

use jiff::Timestamp;

use crate::base::money::NanoUsd;
use crate::wire::json::quote_into;

/// A JSON object in the making.
#[derive(Default)]
pub struct Object(Vec<u8>);

impl Object {
    /// With one more member; `value` must be JSON.
    #[must_use]
    pub fn raw(mut self, name: &str, value: &str) -> Self {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        quote_into(name, &mut self.0);
        self.0.push(b':');
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    /// With one more text.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        let mut quoted = Vec::with_capacity(value.len() + 2);
        quote_into(value, &mut quoted);
        self.raw(name, &String::from_utf8_lossy(&quoted))
    }

    /// With one more truth.
    #[must_use]
    pub fn flag(self, name: &str, value: bool) -> Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    /// With one more amount, in USD; `null` if there is none.
    #[must_use]
    pub fn usd(self, name: &str, value: Option<NanoUsd>) -> Self {
        self.raw(name, &value.map_or_else(|| "null".to_owned(), |value| value.to_string()))
    }

    /// With one more instant, in milliseconds since the Unix epoch; `null` if there is none.
    #[must_use]
    pub fn time(self, name: &str, unix_ms: Option<i64>) -> Self {
        match unix_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
            Some(time) => self.text(name, &time.to_string()),
            None => self.raw(name, "null"),
        }
    }

    /// The whole.
    pub fn end(mut self) -> String {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.push(b'}');
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_in_order_and_amounts_are_decimals() {
        assert_eq!(Object::default().end(), "{}");
        let object = Object::default()
            .text("a\"", "b\n")
            .usd("usd", Some(NanoUsd(-1_500_000_000)))
            .usd("none", None)
            .time("at", Some(0))
            .time("never", None)
            .flag("yes", true);
        let expected = r#"{"a\"":"b\n","usd":-1.5,"none":null,"at":"1970-01-01T00:00:00Z","never":null,"yes":true}"#;
        assert_eq!(object.end(), expected);
    }
}
