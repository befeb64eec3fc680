//! Floor 0: the values that every other room speaks in. No IO, no clock, no randomness.

pub mod backoff;
pub mod fault;
pub mod hex;
pub mod id;
pub mod limit;
pub mod money;
pub mod surface;
