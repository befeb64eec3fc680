//! `mutators`: what is changed of requests before they go out.

use crate::mutate::compress::Settings;

/// What is changed of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mutators {
    /// Tool results are shortened.
    pub tool_results: ToolResults,
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
