//! The calendar's clock: which instant it is, as the rest of the world counts it.
//!
//! It may jump in either direction at any time. Whatever waits or measures uses a clock of its own that does
//! not (`Instant`); here is only what decides in which period an amount is booked, and what a log says.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where the process gets the time from; chosen once, where it is composed.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn unix_ms(&self) -> i64;
}

/// The clock of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}
