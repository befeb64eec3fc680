//! Models that run tools of their provider without being asked to: searching and compound ones. Each run
//! has a fee, or bills tokens of other models, and no field of a request limits them.
//!
//! Known by their names, as far as they are known; what may be done with them is decided by `exchange`.

/// Names of models of which each request searches, or asks other models, by itself.
const PARTS: [&str; 4] = ["-search-preview", "-search-api", "deep-research", "groq/compound"];

/// Whether a provider's model of that name runs tools by itself.
pub fn runs_tools(upstream_id: &str) -> bool {
    let name = upstream_id.rsplit('/').next().unwrap_or(upstream_id);
    PARTS.iter().any(|part| upstream_id.contains(part))
        || name.starts_with("compound-beta")
        || name == "sonar"
        || name.starts_with("sonar-")
        || name.ends_with(":online")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searching_models_are_known_by_their_names() {
        for name in [
            "gpt-4o-search-preview",
            "gpt-4o-mini-search-preview-2025-03-11",
            "openai/gpt-5-search-api",
            "o3-deep-research",
            "groq/compound",
            "groq/compound-mini",
            "compound-beta",
            "sonar",
            "perplexity/sonar-pro",
            "anthropic/claude-sonnet-4.6:online",
        ] {
            assert!(runs_tools(name), "{name}");
        }
        for name in ["gpt-4o", "compound", "sonarqube", "research", "x/online", "", "resonar-1"] {
            assert!(!runs_tools(name), "{name}");
        }
    }
}
