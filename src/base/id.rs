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
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}
