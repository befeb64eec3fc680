//! Reads `mutators`.

use crate::config::bound;
use crate::config::keys;
use crate::config::mutators::{Mutators, ToolResults};
use crate::config::section::Section;
use crate::mutate::compress::Settings;

/// Reads the section.
pub fn mutators(section: &Section<'_>) -> Mutators {
    let results = section.section("tool_results", &keys::TOOL_RESULTS);
    Mutators {
        tool_results: ToolResults {
            enabled: results.flag_or("enabled", false),
            settings: Settings {
                chars_min: results.count("min_chars", &bound::TOOL_RESULT_CHARS),
                lossy: results.flag_or("lossy", false),
            },
            with_cache_markers: results.flag_or("with_cache_markers", false),
        },
        thinking: section.flag_or("thinking", true),
    }
}
