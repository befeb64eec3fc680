//! Mock providers and a small load client for Weir.
//!
//! The crate shares no parser with the gateway, so that one bug cannot hide on both sides of a
//! test. It knows nothing of the gateway's routing, ledger or budgets, and is never part of a
//! release path except for `weir mock` and `weir demo`, which start [`upstream::server::Upstream`].

pub mod budget;
pub mod client;
pub mod faults;
pub mod fetch;
pub mod idle;
pub mod process;
pub mod report;
pub mod upstream;
