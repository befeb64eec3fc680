//! Request ids: 128 bits, written as 32 hex digits.
//!
//! The bits come from outside (a seeded generator in tests), so that this room stays without
//! randomness of its own.

use std::fmt;

/// The id of one exchange, shown as `x-gateway-request-id` and in every log line of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(u128);

impl RequestId {
    /// An id of those bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// Eight bytes in which both halves of its bits have a part.
    pub fn short(self) -> u64 {
        let bytes = (self.0 ^ self.0 >> 64).to_be_bytes();
        bytes[8..].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand: the formatter of `u128` with its padding costs five times as much, and every request
        // shows its id three times.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0.to_be_bytes()) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_is_shown_in_32_digits(bits in any::<u128>(), shift in 0_u32..128) {
            let bits = bits >> shift;
            prop_assert_eq!(RequestId::from_bits(bits).to_string(), format!("{bits:032x}"));
        }
    }
}
