//! Choosing by what was learnt: a prompt becomes a short vector, the vector a predicted quality for each model. Nothing
//! here is trained (`learn` does that), reads a file or knows a price.

// Qualities are estimates; money reaches this room, and leaves it, as integers only.
#![allow(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

pub mod choose;
pub mod heads;
