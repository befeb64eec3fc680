//! Floor 4: what operators see of the gateway: metrics, the access log and the program's own log.
//!
//! Requests are known here only as a finished `record::Record`.

// First, for its macro.
#[macro_use]
mod json_line;

pub mod access_log;
pub mod labels;
pub mod logging;
pub mod metrics;
pub mod money;
pub mod pins;
pub mod process;
pub mod savings;
mod series;
