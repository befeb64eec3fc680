//! Anthropic Messages to and from the neutral form: requests (`request` reads, `ask` writes), whole
//! answers (`answer`, `reply`), streams (`stream`, `play`) and errors (`failure`).
//!
//! Facts: `wire.md` sections 4 and 5. Same-dialect traffic does not come here.

pub mod answer;
pub mod ask;
pub mod failure;
mod offer;
mod place;
pub mod play;
mod queue;
pub mod reply;
pub mod request;
mod said;
mod sampling;
pub mod stream;
mod think;
mod turns;
mod words;

#[cfg(test)]
mod request_tests;
#[cfg(test)]
mod stream_tests;
