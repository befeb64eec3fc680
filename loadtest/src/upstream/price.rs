//! What a mock charges: prices per token, and amounts of money as integers.
//!
//! Written for the mock alone, so that an error in the gateway's own arithmetic cannot hide here
//! as well. It knows no model and keeps no sum.

use std::str::FromStr;

use serde_json::Value;

use super::count::Tokens;

/// Pico-dollars in a nano-dollar.
const PICO_PER_NANO: u128 = 1_000;
/// Decimals of a dollar amount: nano-dollars.
const DOLLAR_DIGITS: usize = 9;
/// Decimals of a price in dollars per million tokens: pico-dollars per token.
const PRICE_DIGITS: usize = 6;

/// Pico-dollars (1e-12 USD) per token of each kind: 1 USD per million tokens is 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Input that touched no cache.
    pub input: u64,
    /// Output, hidden reasoning included.
    pub output: u64,
    /// Input read from a cache.
    pub cache_read: u64,
    /// Input written to a cache for some minutes.
    pub cache_write: u64,
    /// Input written to a cache for an hour.
    pub cache_write_1h: u64,
}

impl Default for Price {
    /// 1 USD per million of input, 2 USD per million of output.
    fn default() -> Self {
        Self::of(1_000_000, 2_000_000)
    }
}

impl Price {
    /// Input and output in pico-dollars per token; all cache kinds cost what input costs.
    pub fn of(input: u64, output: u64) -> Self {
        Self { input, output, cache_read: input, cache_write: input, cache_write_1h: input }
    }

    /// The price of these tokens in nano-dollars, rounded up once, `i64::MAX` at most.
    pub fn cost_nano(&self, tokens: &Tokens) -> i64 {
        let parts = [
            (tokens.input, self.input),
            (tokens.cache_read, self.cache_read),
            (tokens.cache_write, self.cache_write),
            (tokens.cache_write_1h, self.cache_write_1h),
            (tokens.output, self.output),
        ];
        let pico = parts
            .iter()
            .map(|&(count, price)| u128::from(count) * u128::from(price))
            .fold(0_u128, u128::saturating_add);
        i64::try_from(pico.div_ceil(PICO_PER_NANO)).unwrap_or(i64::MAX)
    }
}

impl FromStr for Price {
    type Err = ();

    /// `input:output[:cache_read[:cache_write[:cache_write_1h]]]` in dollars per million tokens,
    /// six decimals at most; what is left out costs what input costs.
    fn from_str(text: &str) -> Result<Self, ()> {
        let rates: Option<Vec<u64>> =
            text.split(':').map(|rate| fixed(rate, PRICE_DIGITS)).collect();
        let rates = rates.filter(|rates| (2..=5).contains(&rates.len())).ok_or(())?;
        let rate = |at: usize| rates.get(at).copied().unwrap_or(rates[0]);
        Ok(Self {
            input: rates[0],
            output: rates[1],
            cache_read: rate(2),
            cache_write: rate(3),
            cache_write_1h: rate(4),
        })
    }
}

/// Dollars such as `0.0123` in nano-dollars; none for anything but plain decimals of at most nine
/// places.
pub fn nano_dollars(text: &str) -> Option<i64> {
    i64::try_from(fixed(text, DOLLAR_DIGITS)?).ok()
}

/// A decimal number as an integer of units of the given place.
fn fixed(text: &str, digits: usize) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > digits || !is_plain(whole) || !is_plain(part) {
        return None;
    }
    format!("{whole}{part:0<digits$}").parse().ok()
}

/// Nano-dollars as a JSON number in dollars, without arithmetic on floats.
pub fn dollars(nano: i64) -> Value {
    let (whole, part) = (nano / 1_000_000_000, nano % 1_000_000_000);
    format!("{whole}.{part:09}").parse().unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_in_dollars_per_million() {
        let price: Price = "3:15".parse().unwrap();
        assert_eq!(price, Price::of(3_000_000, 15_000_000));
        let price: Price = "0.8:4:0.08:1:1.6".parse().unwrap();
        assert_eq!((price.input, price.cache_read), (800_000, 80_000));
        assert_eq!((price.cache_write, price.cache_write_1h), (1_000_000, 1_600_000));
        let price: Price = "0.000001:0".parse().unwrap();
        assert_eq!((price.input, price.output), (1, 0));
        for bad in ["", "3", "3:", ":3", "-1:2", "1e3:2", "0.0000001:1", "1:2:3:4:5:6", "1.2.3:4"] {
            assert!(bad.parse::<Price>().is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_are_exact() {
        assert_eq!(nano_dollars("0.0123"), Some(12_300_000));
        assert_eq!(nano_dollars("9223372036.854775807"), Some(i64::MAX));
        assert_eq!(nano_dollars("9223372036.854775808"), None);
        assert_eq!(nano_dollars("0.0000000001"), None);
        assert_eq!(nano_dollars(""), None);
        assert_eq!(dollars(12_300_000).to_string(), "0.0123");
        assert_eq!(dollars(10_000).to_string(), "0.00001");
    }

    #[test]
    fn a_cost_is_rounded_up_once() {
        let tokens = Tokens { input: 1, cache_read: 1, output: 1, ..Tokens::default() };
        assert_eq!(Price::of(1, 1).cost_nano(&tokens), 1, "three parts of 1 pico-dollar");
        assert_eq!(Price::of(500, 0).cost_nano(&tokens), 1, "exactly one is not rounded");
        assert_eq!(Price::of(500, 1).cost_nano(&tokens), 2);
        let many = Tokens { output: u64::MAX, ..Tokens::default() };
        assert_eq!(Price::of(0, u64::MAX).cost_nano(&many), i64::MAX);
    }
}
