//! Floor 2: the guard. What must not get out (secrets, personal numbers, our own marks) is found in text that
//! streams; what must not get in is screened. Bytes in, verdicts and bytes out.
//!
//! No text that is looked at is ever kept, logged or returned in a verdict.

pub mod attached;
pub mod canary;
pub mod decode;
pub mod detect;
pub mod eval;
pub mod filter;
pub mod json_inner;
pub mod json_text;
pub mod lexicon;
pub mod linear;
pub mod normal;
pub mod pace;
pub mod progress;
pub mod quarantine;
pub mod rules;
pub mod screen;
pub mod seed;
pub mod tokens;
pub mod train;
pub mod trial;
pub mod verdict;
pub mod weights;
