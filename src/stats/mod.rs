//! Floor 4: what the last requests came to, as rolling sums: rates, models, tasks, latencies, money.
//!
//! Pure: records and the time go in, JSON comes out. Sums are kept per minute for a day and per hour for a
//! month, the last requests themselves as rows; all of it is bounded, and no log is ever read again. Where
//! records come from is `engine`'s business, who may look `admin`'s.

pub mod histogram;
pub mod outline;
pub mod range;
pub mod report;
pub mod rolling;
pub mod row;
#[cfg(test)]
mod sample;

pub mod table;
pub mod tally;
pub mod yardstick;
