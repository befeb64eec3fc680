//! Floor 2: which candidate comes first.

pub mod round_robin;
pub mod tier;
