//! The strategies by name: who chooses the model of a request that leaves it open (S2-06 to S2-09).
//!
//! Only names live here; `rules`, `tree` and the learned router choose, `exchange::choose` asks them.

/// Who chooses for an auto name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Each request begins at the next candidate.
    #[default]
    RoundRobin,
    /// Always the primary model.
    Passthrough,
    /// Nine rules over what the request is about.
    RuleBased,
    /// A trained tree; without one, the nine rules.
    DecisionTree,
    /// Predicted quality against expected cost; without a model file, the nine rules.
    Learned,
}

impl Strategy {
    /// All of them. A place in this list is what `Controls` keeps.
    pub const ALL: [Self; 5] =
        [Self::RoundRobin, Self::Passthrough, Self::RuleBased, Self::DecisionTree, Self::Learned];

    /// Every name that is taken, the two of the learned one in the seed among them.
    pub const WORDS: [(&'static str, Self); 7] = [
        ("round_robin", Self::RoundRobin),
        ("passthrough", Self::Passthrough),
        ("rule_based", Self::RuleBased),
        ("decision_tree", Self::DecisionTree),
        ("learned", Self::Learned),
        ("trouter", Self::Learned),
        ("perf_router", Self::Learned),
    ];

    /// The name used in configuration, answers, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Passthrough => "passthrough",
            Self::RuleBased => "rule_based",
            Self::DecisionTree => "decision_tree",
            Self::Learned => "learned",
        }
    }

    /// The strategy of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(word, _)| *word == name).map(|(_, strategy)| *strategy)
    }

    /// The strategy at that place of the list of all.
    pub fn at(place: usize) -> Option<Self> {
        Self::ALL.get(place).copied()
    }

    /// Its place in the list of all.
    pub const fn place(self) -> u8 {
        match self {
            Self::RoundRobin => 0,
            Self::Passthrough => 1,
            Self::RuleBased => 2,
            Self::DecisionTree => 3,
            Self::Learned => 4,
        }
    }

    /// Whether it looks at what is asked, and so chooses among tiers and escalates.
    pub const fn reads_requests(self) -> bool {
        matches!(self, Self::RuleBased | Self::DecisionTree | Self::Learned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strategy_is_found_by_name_and_by_place() {
        for strategy in Strategy::ALL {
            assert_eq!(Strategy::from_name(strategy.name()), Some(strategy));
            assert_eq!(Strategy::at(usize::from(strategy.place())), Some(strategy));
        }
        for old in ["trouter", "perf_router"] {
            assert_eq!(Strategy::from_name(old), Some(Strategy::Learned), "{old}");
        }
        assert_eq!((Strategy::from_name("dice"), Strategy::at(5)), (None, None));
    }
}
