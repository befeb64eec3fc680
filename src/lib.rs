//! Weir, an LLM edge gateway: the rooms in floor order. `src/README.md` is the map.

// Floor 0: values.
pub mod base;
// Floor 1: bytes.
pub mod wire;
// Floor 2: domain rooms, strangers to each other (but `dialect` may see `usage`).
pub mod dialect;
pub mod guard;
pub mod identity;
pub mod learned;
pub mod ledger;
pub mod mutate;
pub mod pinning;
pub mod routing;
pub mod upstream;
pub mod usage;
// Floor 3: configuration.
pub mod config;
// What the heads of `learned` are trained and measured with.
pub mod learn;
// Floor 4: the life of one request, and the outside.
pub mod exchange;
pub mod record;
pub mod stats;
#[cfg(feature = "gateway")]
pub mod store;
#[cfg(feature = "gateway")]
pub mod telemetry;
// Floor 5: long-lived parts.
#[cfg(feature = "gateway")]
pub mod engine;
// Floor 6: the admin port.
#[cfg(feature = "gateway")]
pub mod admin;
// Floor 7: the data plane on Pingora.
#[cfg(feature = "gateway")]
pub mod proxy;
// The roof: composition and commands.
#[cfg(feature = "gateway")]
pub mod app;
#[cfg(feature = "gateway")]
pub mod cli;
#[cfg(feature = "gateway")]
pub mod demo;
#[cfg(feature = "gateway")]
pub mod guard_cli;
#[cfg(feature = "gateway")]
pub mod setup;
#[cfg(feature = "gateway")]
pub mod train_cli;
