//! Learning to choose: labelled queries in, the heads of `learned` and an honest account of them out. It reads no
//! file and starts no thread (`train_cli` does), and whatever it does twice is the same twice.

// Statistics; money is only compared here, and paid elsewhere.
#![allow(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

pub mod curve;
pub mod dataset;
pub mod feedback;
pub mod fit;
pub mod fold;
pub mod length;
pub mod lines;
pub mod measure;
pub mod operate;
pub mod prices;
pub mod replay;
pub mod report;
pub mod rivals;
pub mod select;
pub mod softmax;
pub mod solve;

pub mod table;
pub mod taxonomy;
pub mod train;

#[cfg(test)]
mod train_tests;
