//! Black-box tests: the real `weir` binary on loopback, mock providers beside it, and `api.md` as the law.
//!
//! One binary, one module per subject. `gateway` starts and stops the process, `client` speaks HTTP/1.1 so
//! plainly that a test sees every byte, `http2_client` the other version, `certificate` signs for both, `provider` answers with bytes that no mock would send. A test waits
//! for conditions with a bound, never for a time, and nothing here measures speed.
//!
//! Run: `cargo nextest run --test it` or `cargo test --test it`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agents;
mod bad_input;
mod bad_upstream;
mod budget;
mod budget_clock;
mod budget_control;
mod budget_crash;
mod budget_ends;
mod budget_full;
mod budget_reports;
mod budget_rules;
mod certificate;
mod client;
mod clients;
mod console;
mod dashboard;
mod exact_url;
mod fallback;
mod fallback_transport;
mod farewell;
mod fixtures;
mod gateway;
mod golden;
mod guard;
mod guard_ends;
mod guard_large;
mod guard_texts;
mod http2;
mod http2_client;
mod http2_frames;
mod http2_hostile;
mod infer;
mod infer_parts;
mod ledger;
mod models;
mod mutators;
mod operation;
mod pins;
mod process;
mod profiles;
mod provider;
mod quarantine;
mod raw_http;
mod reload;
mod routing;
mod setup;
mod strategies;
mod streaming;
mod tidy;
mod tls;
mod translation;
mod vault;
