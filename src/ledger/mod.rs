//! Floor 2: money that may be spent: accounts, periods, holds and their settlement, in integers.
//!
//! Everything here is a value: no clock, no file, no lock. `store` keeps it durably, `engine::bookkeeper`
//! drives it, `exchange` says what is to be held and what it came to.

pub mod account;
pub mod entry;
pub mod plan;
pub mod saved;
