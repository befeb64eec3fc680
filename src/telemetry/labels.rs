//! Which names may become label values of a metric. Model and agent names come from clients, and
//! every distinct value is a series that is kept for ever: so only configured names are labels, all
//! others are counted together.
//!
//! No metric is defined here.

use std::collections::HashSet;
use std::sync::Arc;

use crate::base::limit;
use crate::config::catalog::Wildcards;
use crate::config::snapshot::Snapshot;

/// The value for a name that is not in the configuration.
pub const OTHER: &str = "other";
/// The value where there is no name at all: a request refused before its agent was known.
pub const NONE: &str = "none";

/// The names of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Ids of agents.
    pub agents: HashSet<Arc<str>>,
    /// Ids of models.
    pub models: HashSet<Arc<str>>,
    /// Names of providers.
    pub providers: HashSet<Arc<str>>,
    /// Whether a `"*"` model sends names upstream that are not in the configuration.
    pub wildcard: bool,
}

impl Names {
    /// The names of that configuration.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            agents: snapshot.gate.agents.all().iter().map(|agent| agent.id.clone()).collect(),
            models: snapshot.catalog.models().iter().map(|model| model.id.clone()).collect(),
            providers: snapshot.providers.iter().map(|provider| provider.name.clone()).collect(),
            wildcard: snapshot.catalog.wildcards() != Wildcards::default(),
        }
    }
}

/// The configured names, and those that a wildcard let in.
#[derive(Debug, Default)]
pub(super) struct Labels {
    names: Names,
    wild_models: HashSet<Arc<str>>,
}

impl Labels {
    /// Takes the names of a new configuration. Series of names that are gone stay as they are.
    pub(super) fn replace(&mut self, names: Names) {
        self.names = names;
    }

    /// The label of an agent.
    pub(super) fn agent<'a>(&self, name: &'a str) -> &'a str {
        bounded(name, self.names.agents.contains(name))
    }

    /// The label of a provider.
    pub(super) fn provider<'a>(&self, name: &'a str) -> &'a str {
        bounded(name, self.names.providers.contains(name))
    }

    /// The label of a model that a client named and that nothing was sent to.
    pub(super) fn asked_model<'a>(&self, name: &'a str) -> &'a str {
        bounded(name, self.names.models.contains(name))
    }

    /// The label of a model that was routed to. Under a wildcard route the first so many new names
    /// become labels too.
    pub(super) fn model<'a>(&mut self, name: &'a str) -> &'a str {
        if self.names.models.contains(name) || self.wild_models.contains(name) {
            return bounded(name, true);
        }
        let room = self.names.wildcard && self.wild_models.len() < limit::METRIC_LABELS_MAX;
        if room && !name.is_empty() {
            self.wild_models.insert(name.into());
        }
        bounded(name, room)
    }
}

fn bounded(name: &str, known: bool) -> &str {
    match (name.is_empty(), known) {
        (true, _) => NONE,
        (false, true) => name,
        (false, false) => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_configured_names_are_labels() {
        let mut labels = Labels::default();
        labels.replace(Names {
            agents: HashSet::from(["a".into()]),
            models: HashSet::from(["m".into()]),
            ..Names::default()
        });
        assert_eq!((labels.agent("a"), labels.agent("b"), labels.agent("")), ("a", OTHER, NONE));
        assert_eq!(
            (labels.model("m"), labels.model("n"), labels.provider("p")),
            ("m", OTHER, OTHER)
        );
    }

    #[test]
    fn a_wildcard_lets_in_a_bounded_number_of_names() {
        let mut labels = Labels::default();
        labels.replace(Names { wildcard: true, ..Names::default() });
        for at in 0..limit::METRIC_LABELS_MAX {
            let name = format!("wild-{at}");
            assert_eq!(labels.model(&name), name);
        }
        assert_eq!(labels.model("one-too-many"), OTHER);
        assert_eq!(labels.model("wild-0"), "wild-0");
        assert_eq!(labels.asked_model("never-routed"), OTHER);
    }
}
