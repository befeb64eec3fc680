//! Floor 2: what a prompt is like, as numbers, and what follows from it: a static embedding of its text and the shape
//! that it has, its task, a quality and a length of answer for each model, and the choice among them.
//!
//! Nothing here is trained (`learn` does that), and nothing runs a network: a text becomes the mean of the rows of a
//! table that was distilled from a sentence encoder once (`conf/router/`). It reads a bounded part of the text,
//! allocates nothing, and gives the same numbers on every machine. Money comes in, and goes out, as integers only.

pub mod choose;
pub mod embedding;
pub mod file;
pub mod heads;
pub mod letters;
pub mod shape;
pub mod table;
pub mod wordpiece;

#[cfg(test)]
mod parity_tests;
