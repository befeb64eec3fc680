//! `mutators`: what is changed of requests before they go out.

use crate::mutate::compress::Settings;

/// What is changed of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutators {
    /// Tool results are shortened.
    pub tool_results: ToolResults,
    /// Whether models that can are told to think where a strategy asks for it, unless it was switched at run
    /// time.
    pub thinking: bool,
}

impl Default for Mutators {
    fn default() -> Self {
        Self { tool_results: ToolResults::default(), thinking: true }
    }
}

/// How tool results are shortened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolResults {
    /// Whether they are, unless it was switched at run time.
    pub enabled: bool,
    /// What is shortened, and how far.
    pub settings: Settings,
    /// Whether those of requests with cache markers are, too.
    pub with_cache_markers: bool,
}
