//! Floor 2: which candidate comes first, and whether an agent runs away.

pub mod recent;
pub mod round_robin;
pub mod runaway;
pub mod tier;
