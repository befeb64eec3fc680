//! `infer`: the limits and rules of `POST /infer`, which start as those of the seed (S1-16 to S1-18).

use crate::config::bound;
use crate::config::section::Section;
use crate::guard::verdict::Action;

/// The limits and rules of `/infer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Infer {
    /// Whether it is served.
    pub enabled: bool,
    /// Most characters of one message of the user.
    pub input_chars_max: usize,
    /// Most messages.
    pub turns_max: usize,
    /// Most characters of the system prompt.
    pub system_chars_max: usize,
    /// The cap on the answer's tokens.
    pub output_tokens_max: u64,
    /// Whether the seed's phrases block and the seed's patterns are taken out.
    pub seed_rules: bool,
    /// What is done about attacks that our own rules are sure of: off, observe or block.
    pub screening: Action,
    /// Whether a canary stands in the system prompt.
    pub canary: bool,
}

/// Reads `infer`.
pub fn infer(section: &Section<'_>) -> Infer {
    let words = [Action::Off, Action::Observe, Action::Block].map(|action| (action.name(), action));
    Infer {
        enabled: section.flag_or("enabled", true),
        input_chars_max: section.count("input_chars_max", &bound::INPUT_CHARS),
        turns_max: section.count("turns_max", &bound::INFER_TURNS),
        system_chars_max: section.count("system_chars_max", &bound::SYSTEM_CHARS),
        output_tokens_max: section.number("output_tokens_max", &bound::INFER_OUTPUT_TOKENS),
        seed_rules: section.flag_or("seed_rules", true),
        screening: section.choice("screening", &words, &[]).unwrap_or(Action::Observe),
        canary: section.flag_or("canary", true),
    }
}
