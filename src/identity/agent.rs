//! The agents of the configuration: who can be named, and what each may use.

use std::collections::HashMap;
use std::sync::Arc;

/// The agent that requests without `X-Agent-ID` belong to.
pub const DEFAULT_AGENT: &str = "default";

/// How the model of an agent's requests is chosen (`api.md` section 3, "Model choice").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As the request says: a named model, or the strategy for an auto name.
    #[default]
    Auto,
    /// The models of the tier that the budget allows, in order, whatever the request says.
    Budget,
    /// As the request says, and never another model than the first one chosen.
    Pinned,
    /// The model that the agent was switched to by hand, whatever the request says.
    Manual,
}

impl Mode {
    /// The name used in configuration and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Budget => "budget",
            Self::Pinned => "pinned",
            Self::Manual => "manual",
        }
    }
}

/// One agent.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its place in the list of agents, as in `Grant::Agent`; `Agents::new` sets it.
    pub index: usize,
    /// Its name, as in `X-Agent-ID`.
    pub id: Arc<str>,
    /// How its models are chosen.
    pub mode: Mode,
    /// The models it may use, as sorted places in the catalog; `None` = all.
    pub models: Option<Box<[usize]>>,
    /// Whether it has keys of its own, so that nobody may name it without any key.
    pub keyed: bool,
    /// Whether its requests may name a strategy (`x-weir-route`).
    pub may_route: bool,
}

impl Agent {
    /// Whether it may use the model at that place of the catalog.
    pub fn allows(&self, model_index: usize) -> bool {
        self.models.as_ref().is_none_or(|models| models.binary_search(&model_index).is_ok())
    }
}

/// All agents, by id.
#[derive(Clone, Debug)]
pub struct Agents {
    list: Vec<Arc<Agent>>,
    by_id: HashMap<Arc<str>, usize>,
}

impl Agents {
    /// Those agents; with none at all, `default` exists and may do everything.
    pub fn new(agents: Vec<Agent>) -> Self {
        let placed = |(index, agent)| Arc::new(Agent { index, ..agent });
        let mut list: Vec<Arc<Agent>> = agents.into_iter().enumerate().map(placed).collect();
        if list.is_empty() {
            list.push(Arc::new(Agent {
                index: 0,
                id: Arc::from(DEFAULT_AGENT),
                mode: Mode::Auto,
                models: None,
                keyed: false,
                may_route: true,
            }));
        }
        let by_id =
            list.iter().enumerate().map(|(at, agent)| (Arc::clone(&agent.id), at)).collect();
        Self { list, by_id }
    }

    /// The agent of that id.
    pub fn get(&self, id: &str) -> Option<&Arc<Agent>> {
        self.by_id.get(id).map(|&at| &self.list[at])
    }

    /// The agent at that place, as named by `Grant::Agent`.
    pub fn at(&self, index: usize) -> Option<&Arc<Agent>> {
        self.list.get(index)
    }

    /// The agent `default`, where there is one.
    pub fn default_agent(&self) -> Option<&Arc<Agent>> {
        self.get(DEFAULT_AGENT)
    }

    /// All of them, in the order of the configuration.
    pub fn all(&self) -> &[Arc<Agent>] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_agents_means_one_default_agent() {
        let agents = Agents::new(Vec::new());
        let default = agents.default_agent().unwrap();
        assert_eq!((&*default.id, default.mode.name()), ("default", "auto"));
        assert!(default.allows(0) && default.allows(99));
        assert_eq!(agents.all().len(), 1);
        assert!(agents.get("other").is_none());
    }

    #[test]
    fn an_allow_list_allows_only_its_models() {
        let agent = Agent {
            index: 0,
            id: Arc::from("a"),
            mode: Mode::Pinned,
            models: Some(Box::new([1, 4])),
            keyed: true,
            may_route: true,
        };
        assert!(agent.allows(1) && agent.allows(4) && !agent.allows(0) && !agent.allows(2));
    }
}
