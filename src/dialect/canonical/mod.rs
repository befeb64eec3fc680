//! The neutral form of requests, answers and stream events, in which every dialect is read and from
//! which every dialect is written.
//!
//! It borrows. A JSON string means the same in every dialect, so text is carried as it was written,
//! escapes and all, and never decoded; what has to be looked into is looked into by its reader. No
//! dialect is named here, and nothing is decided: what a dialect cannot say is its writer's business.

pub mod answer;
pub mod event;
pub mod fields;
pub mod index;
pub mod inside;
pub mod loss;
pub mod marks;
pub mod members;
pub mod names;
pub mod picture;
pub mod request;
pub mod shortening;
pub mod style;
pub mod text;
