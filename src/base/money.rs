//! Money as integers: nano-dollars for amounts, pico-dollars per token for prices.
//!
//! Nothing here touches a binary float: decimals are read digit by digit, and a product is rounded
//! up exactly once, when a cost is formed.

use std::fmt;

/// Nano-dollars in one US dollar.
const NANO_PER_USD: u64 = 1_000_000_000;
/// Pico-dollars in one nano-dollar.
const PICO_PER_NANO: i128 = 1_000;

/// An amount of money in units of 1e-9 USD. An `i64` holds up to 9.2 billion dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(pub i64);

/// A price in units of 1e-12 USD for one token. One dollar per million tokens is 1,000,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PicoUsdPerToken(pub i64);

/// A running sum of `tokens x price` in 1e-12 USD, before the one rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PicoUsd(pub i128);

/// Why a decimal could not be read as money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is not `digits[.digits][e[+-]digits]`.
    #[error("is not a plain decimal number (write it like 2.50)")]
    NotDecimal,
    /// A minus sign where only zero or more makes sense.
    #[error("must not be negative")]
    Negative,
    /// More digits than the unit holds; they would be lost in silence.
    #[error("has more digits after the point than are kept")]
    TooFine,
    /// Beyond what an `i64` of the unit holds.
    #[error("is too large")]
    TooLarge,
}

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a decimal amount of US dollars, at most 9 digits after the point.
    pub fn parse_usd(text: &str) -> Result<Self, MoneyError> {
        parse_scaled(text, 9, Excess::Refuse).map(Self)
    }

    /// Reads an amount that somebody else calculated (a provider's own cost figure): digits beyond
    /// the ninth are rounded up, so that we never book less than was charged.
    pub fn parse_usd_rounding_up(text: &str) -> Result<Self, MoneyError> {
        parse_scaled(text, 9, Excess::RoundUp).map(Self)
    }

    /// The sum, held at the ends of the range instead of wrapping.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for NanoUsd {
    /// A plain decimal in USD without trailing zeros: `0.00057`, `12`, `-0.5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written from its end, by hand: this stands in every answer and every line of the log.
        let amount = self.0.unsigned_abs();
        let (mut whole, mut part) = (amount / NANO_PER_USD, amount % NANO_PER_USD);
        let mut text = [0; 24];
        let mut end = text.len();
        let mut push = |digit: u8| {
            end -= 1;
            text[end] = digit;
        };
        let mut written = false;
        for _ in 0..9 {
            let digit = last_digit(part);
            part /= 10;
            written |= digit != b'0';
            if written {
                push(digit);
            }
        }
        if written {
            push(b'.');
        }
        push(last_digit(whole));
        while whole > 9 {
            whole /= 10;
            push(last_digit(whole));
        }
        if self.0 < 0 {
            push(b'-');
        }
        f.write_str(std::str::from_utf8(&text[end..]).unwrap_or_default())
    }
}

impl PicoUsdPerToken {
    /// Free.
    pub const ZERO: Self = Self(0);

    /// Reads a decimal number of US dollars per million tokens, at most 6 digits after the point.
    pub fn parse_usd_per_million(text: &str) -> Result<Self, MoneyError> {
        parse_scaled(text, 6, Excess::Refuse).map(Self)
    }

    /// This price times `numerator / denominator`, rounded up.
    #[must_use]
    pub fn scaled_up(self, numerator: i64, denominator: i64) -> Self {
        debug_assert!(denominator > 0);
        let product = i128::from(self.0) * i128::from(numerator);
        let scaled = div_ceil(product, i128::from(denominator));
        Self(i64::try_from(scaled).unwrap_or(i64::MAX))
    }
}

impl PicoUsd {
    /// Adds `tokens` at `price`.
    #[must_use]
    pub fn plus(self, tokens: u64, price: PicoUsdPerToken) -> Self {
        Self(self.0.saturating_add(i128::from(tokens).saturating_mul(i128::from(price.0))))
    }

    /// The amount in nano-dollars, rounded up: the only rounding between a usage and its cost.
    pub fn round_up(self) -> NanoUsd {
        NanoUsd(i64::try_from(div_ceil(self.0, PICO_PER_NANO)).unwrap_or(i64::MAX))
    }
}

/// As an ASCII digit.
fn last_digit(number: u64) -> u8 {
    b'0' + u8::try_from(number % 10).unwrap_or_default()
}

fn div_ceil(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

/// What becomes of digits finer than the unit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Excess {
    Refuse,
    RoundUp,
}

/// Reads `text` as a non-negative decimal times `10^scale`. The exponent form counts because JSON
/// and YAML numbers may use it (`1e-06`).
fn parse_scaled(text: &str, scale: i32, excess: Excess) -> Result<i64, MoneyError> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(MoneyError::Negative);
    }
    let (mantissa, exponent) = split_exponent(text.strip_prefix('+').unwrap_or(text))?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = whole.len() + fraction.len();
    if digits == 0 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(MoneyError::NotDecimal);
    }
    // The value is `digits x 10^shift` in the unit asked for.
    let shift =
        exponent + scale - i32::try_from(fraction.len()).map_err(|_| MoneyError::TooFine)?;
    let mut value: i128 = 0;
    let mut lost = false;
    let kept =
        if shift < 0 { digits.saturating_sub(shift.unsigned_abs() as usize) } else { digits };
    for (at, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
        let digit = i128::from(digit - b'0');
        if at < kept {
            value = value.checked_mul(10).ok_or(MoneyError::TooLarge)? + digit;
        } else {
            lost |= digit != 0;
        }
    }
    for _ in 0..shift.max(0) {
        if value == 0 {
            break;
        }
        value = value.checked_mul(10).ok_or(MoneyError::TooLarge)?;
    }
    if lost && excess == Excess::Refuse {
        return Err(MoneyError::TooFine);
    }
    i64::try_from(value + i128::from(lost)).map_err(|_| MoneyError::TooLarge)
}

fn split_exponent(text: &str) -> Result<(&str, i32), MoneyError> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return Ok((text, 0));
    };
    // Four characters are enough for every exponent that can matter, and bound the loops above.
    if exponent.len() > 4 {
        return Err(MoneyError::NotDecimal);
    }
    Ok((mantissa, exponent.parse().map_err(|_| MoneyError::NotDecimal)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_become_integers_without_floats() {
        assert_eq!(PicoUsdPerToken::parse_usd_per_million("3.00"), Ok(PicoUsdPerToken(3_000_000)));
        assert_eq!(PicoUsdPerToken::parse_usd_per_million("0.1"), Ok(PicoUsdPerToken(100_000)));
        assert_eq!(NanoUsd::parse_usd("50"), Ok(NanoUsd(50_000_000_000)));
        assert_eq!(NanoUsd::parse_usd("5.7e-4"), Ok(NanoUsd(570_000)));
        assert_eq!(NanoUsd::parse_usd("1E-9"), Ok(NanoUsd(1)));
        assert_eq!(NanoUsd::parse_usd(".5"), Ok(NanoUsd(500_000_000)));
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        assert_eq!(NanoUsd::parse_usd("0.0000000001"), Err(MoneyError::TooFine));
        assert_eq!(NanoUsd::parse_usd_rounding_up("0.0000000001"), Ok(NanoUsd(1)));
        assert_eq!(NanoUsd::parse_usd("-1"), Err(MoneyError::Negative));
        for bad in ["", ".", "1,5", "0x10", "NaN", "inf", "1e", "1e99999", "1.2.3", "12 USD"] {
            assert_eq!(NanoUsd::parse_usd(bad), Err(MoneyError::NotDecimal), "{bad:?}");
        }
        assert_eq!(NanoUsd::parse_usd("1e30"), Err(MoneyError::TooLarge));
    }

    #[test]
    fn amounts_are_shown_as_plain_decimals() {
        for (nano, shown) in [
            (0, "0"),
            (570_000, "0.00057"),
            (12_000_000_000, "12"),
            (-500_000_000, "-0.5"),
            (-30_000_000_000, "-30"),
            (1_234_567_891, "1.234567891"),
            (10_000_000_010, "10.00000001"),
            (i64::MAX, "9223372036.854775807"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(NanoUsd(nano).to_string(), shown);
        }
    }

    #[test]
    fn a_cost_is_rounded_up_once() {
        let price = PicoUsdPerToken(1);
        assert_eq!(PicoUsd::default().plus(1, price).plus(1, price).round_up(), NanoUsd(1));
        assert_eq!(PicoUsd::default().plus(1_000, price).round_up(), NanoUsd(1));
        assert_eq!(PicoUsd::default().plus(1_001, price).round_up(), NanoUsd(2));
        assert_eq!(PicoUsdPerToken(3).scaled_up(5, 4), PicoUsdPerToken(4));
    }

    proptest! {
        #[test]
        fn printing_and_reading_agree(amount in 0i64..) {
            let money = NanoUsd(amount);
            prop_assert_eq!(NanoUsd::parse_usd(&money.to_string()), Ok(money));
        }

        #[test]
        fn what_is_read_exactly_is_not_rounded(text in "\\PC{0,24}|[0-9]{0,9}\\.[0-9]{0,11}") {
            let rounded = NanoUsd::parse_usd_rounding_up(&text);
            match NanoUsd::parse_usd(&text) {
                Ok(exact) => prop_assert_eq!(rounded, Ok(exact)),
                Err(MoneyError::TooFine) => prop_assert!(rounded.is_ok_and(|usd| usd > NanoUsd::ZERO)),
                Err(why) => prop_assert_eq!(rounded, Err(why)),
            }
        }
    }
}
