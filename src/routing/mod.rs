//! Floor 2: which candidate comes first, and whether an agent runs away.

pub mod cues;
pub mod decision;
pub mod features;
pub mod recent;
pub mod round_robin;
pub mod rules;
pub mod runaway;
pub mod strategy;
pub mod tier;
pub mod tree;
