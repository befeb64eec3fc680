//! Floor 2: what a prompt is like, as numbers: a static embedding of its text and the shape that it has.
//!
//! Nothing here chooses a model, and nothing runs a network: a text becomes the mean of the rows of a table
//! that was distilled from a sentence encoder once (`conf/router/`). It reads a bounded part of the text, allocates
//! nothing, and gives the same numbers on every machine.

pub mod embedding;
pub mod letters;
pub mod shape;
pub mod table;
pub mod wordpiece;

#[cfg(test)]
mod parity_tests;
