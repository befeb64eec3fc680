//! Floor 2: what our own words look like in each client's dialect. Bytes out, no state.
//!
//! Same-dialect traffic never passes through here: it is relayed byte for byte. Only what the gateway
//! itself says (refusals, notices, the error that ends a broken stream) is written by this room.

pub mod error_body;
pub mod notice;
