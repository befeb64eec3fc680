//! Floor 2: what an answer consumed and what it costs. Bytes in, counts and integers out.

pub mod answer;
pub mod bound;
mod code;
pub mod count;
mod envelope;
pub mod estimate;
pub(crate) mod field;
pub mod finish;
pub mod meter;
pub mod price;
mod scan;
pub mod searching;
pub mod served;
mod text;
mod top;
pub mod vocabulary;
pub mod walk;

#[cfg(test)]
mod fixture_tests;
