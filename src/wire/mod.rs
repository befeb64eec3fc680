//! Floor 1: JSON bodies and event streams as bytes. Nothing here knows what a field means, copies a
//! body or waits for one.

pub mod block;
pub mod ceiling;
pub mod cursor;
pub mod envelope;
pub mod form;
pub mod gist;
pub mod growth;
pub mod json;
pub mod object;
pub mod part;
pub mod pull;
pub mod rear;
pub mod slot;
pub mod splice;
pub mod sse;
pub mod string;
pub mod syntax;
pub mod texts;
pub mod weigh;
