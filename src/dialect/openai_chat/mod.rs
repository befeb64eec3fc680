//! `OpenAI` Chat Completions, read into the neutral form and written from it: requests (`request`,
//! `ask`), answers (`answer`, `reply`), streams (`stream`, `play`) and errors (`failure`).
//!
//! Everybody copies this API, and nobody exactly: the readers take what the providers in the field
//! send (`wire.md` sections 1 to 3), the writers keep to what all of them understand.

pub mod answer;
pub mod ask;
pub mod failure;
pub mod play;
pub mod reply;
pub mod request;
pub mod stream;

mod calls;
mod ending;
mod piece;
mod script;
mod talk;
mod thought;
mod toolbox;

#[cfg(test)]
mod stream_tests;
