//! Floor 2: money that may be spent: accounts, periods, holds and their settlement, in integers.
//!
//! Everything here is a value: no clock, no file, no lock. `store` keeps it durably, `engine::bookkeeper`
//! drives it, `exchange` says what is to be held and what it came to.

pub mod account;
pub mod amount;
pub mod balance;
pub mod book;
pub mod chain;
#[cfg(test)]
pub(crate) mod dice;
pub mod directive;
pub mod entry;
pub mod forecast;
pub mod hold;
pub mod level;
pub mod period;
pub mod plan;
pub mod saved;
pub mod shown;
pub mod standing;
pub mod tree;
