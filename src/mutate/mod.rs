//! Changes of a request before it goes out: shorter tool results, and a model told to think.
//!
//! **Prompt caches.** Providers cache the beginning of a request byte by byte, and an agent sends its whole
//! conversation again with every turn. What a tool result becomes therefore depends on its own text (and the
//! configuration) alone, never on its place, its age or what stands around it: the turn that was shortened
//! yesterday is shortened in the same way today, and the cached beginning is found again. Old turns are not
//! shortened further. Turning the mutator on or off in the middle of a conversation costs one cached prefix.
//!
//! **Cache markers.** A marker (`cache_control`, `prompt_cache_breakpoint`) covers everything before it and
//! moves on from turn to turn. Sparing only what it covers would send a result short while it is new and whole
//! once the marker has passed it, or the other way round: each time the cache is lost, at a write price above
//! that of input. So it is all or nothing: requests with markers are left alone, unless the operator says
//! `with_cache_markers`, and then all their results are shortened like any other.
//!
//! **Signatures.** A text in a block that bears a `signature` (or `encrypted_content`) is never touched: the
//! provider checks it.
//!
//! Nothing here learns, samples or remembers. What is cut is gone for the model, not for the client, who holds
//! the conversation and sends it whole every time.

pub mod build_lines;
pub mod clean;
pub mod compress;
pub mod covered;
pub mod diff;
pub mod git_status;
pub mod grep;
pub mod kind;
pub mod lines;
pub mod log;
pub mod long_listing;
pub mod path_list;
pub mod repeats;
pub mod run;
pub mod stamp;
pub mod test_lines;
pub mod thinking;
pub mod tool_results;
pub mod tree;
pub mod truncate;
pub mod wrapper;

#[cfg(test)]
mod goal_tests;
