//! Floor 2: who is asking. Keys (held as hashes only), agents, and the one rule that turns the
//! credentials of a request into a principal.
//!
//! No sockets and no header maps: the caller picks the header values out, and refuses repeated ones.

pub mod agent;
pub mod key;
pub mod keyring;
pub mod principal;
pub mod vault;
