//! `OpenAI` Responses, in both directions: requests, answers, streams and errors, from its form into the
//! neutral one and back.
//!
//! What each field means is `wire.md` sections 6 and 7.2. Nothing here names another dialect, and
//! nothing is decoded that needs not be looked into.

pub mod answer;
pub mod ask;
mod ask_input;
mod ask_tools;
mod content;
pub mod echo;
pub mod failure;
mod input;
mod item;
mod number;
mod object;
mod offer;
mod open;
mod outcome;
mod pen;
pub mod play;
pub mod reply;
pub mod request;
pub mod stream;
mod thoughts;
