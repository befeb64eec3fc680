//! Sessions that stay with a model: because the windows say so, or because leaving a warm prompt cache costs
//! more than it gains.
//!
//! Times, prices and counts are parameters. Where pins are kept between requests, and who the other model
//! would be, is known to others.

pub mod cache;
pub mod habits;
pub mod pin;
pub mod prospect;
pub mod rehome;
pub mod shelf;
pub mod window;
pub mod worth;

#[cfg(test)]
mod simulation;
