//! Floor 2: the client dialects. Our own words in each of them (refusals, notices, the end of a broken
//! stream), and translation between them by way of a neutral form. Bytes in, bytes out.
//!
//! Same-dialect traffic never passes through here: it is relayed byte for byte.

pub mod anthropic;
pub mod canonical;
pub mod error_body;
pub mod notice;
pub mod openai_chat;
pub mod openai_responses;
pub mod translate;

#[cfg(test)]
mod translate_tests;
