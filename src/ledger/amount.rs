//! Amounts in JSON that people and control planes send: read digit by digit, as number or as text.
//!
//! The text must have been checked to be JSON. What an amount is for is not known here.

use crate::base::money::{MoneyError, NanoUsd};
use crate::wire::json;
use crate::wire::syntax::Span;

/// What stands for an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// No such member.
    Absent,
    /// `null`.
    Null,
    /// So many US dollars.
    Usd(NanoUsd),
}

/// A member that is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {why}, in USD")]
pub struct BadAmount {
    /// Its name.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: MoneyError,
}

/// The amount that is the member `field` of the object at `within`.
///
/// # Errors
/// It is negative, finer than a nano-dollar, too large, or no number at all.
pub fn member(text: &[u8], within: Span, field: &'static str) -> Result<Amount, BadAmount> {
    let Some(span) = json::find(text, within, field) else { return Ok(Amount::Absent) };
    let raw = span.of(text).trim_ascii();
    if raw == b"null" {
        return Ok(Amount::Null);
    }
    let raw = String::from_utf8_lossy(raw);
    let plain = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&raw);
    NanoUsd::parse_usd(plain).map(Amount::Usd).map_err(|why| BadAmount { field, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Amount, MoneyError> {
        member(text.as_bytes(), Span::whole(text.as_bytes()), "usd").map_err(|bad| bad.why)
    }

    #[test]
    fn numbers_and_texts_are_read_digit_by_digit() {
        for (text, nano) in [
            (r#"{"usd": 50.0}"#, 50_000_000_000),
            (r#"{"usd":"0.1"}"#, 100_000_000),
            (r#"{"usd":0.000000001}"#, 1),
            (r#"{"usd":1e-9}"#, 1),
            (r#"{"usd":1,"usd":2}"#, 2_000_000_000),
            (r#"{"x":{"usd":1},"usd":0}"#, 0),
        ] {
            assert_eq!(read(text), Ok(Amount::Usd(NanoUsd(nano))), "{text}");
        }
        assert_eq!(read(r#"{"x":1}"#), Ok(Amount::Absent));
        assert_eq!(read(r#"{"usd":null}"#), Ok(Amount::Null));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for (text, why) in [
            (r#"{"usd":-1}"#, MoneyError::Negative),
            (r#"{"usd":true}"#, MoneyError::NotDecimal),
            (r#"{"usd":{"usd":1}}"#, MoneyError::NotDecimal),
            (r#"{"usd":[1]}"#, MoneyError::NotDecimal),
            (r#"{"usd":""}"#, MoneyError::NotDecimal),
            (r#"{"usd":"NaN"}"#, MoneyError::NotDecimal),
            (r#"{"usd":0.0000000001}"#, MoneyError::TooFine),
            (r#"{"usd":1e30}"#, MoneyError::TooLarge),
        ] {
            assert_eq!(read(text), Err(why), "{text}");
        }
    }
}
