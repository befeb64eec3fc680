//! The last step for budgets: the plan of accounts, parents first, and what each agent's money means.

use std::sync::Arc;

use crate::base::money::NanoUsd;
use crate::config::budgets::{AgentBudget, Budgets, Fleet, Levels, Opening};
use crate::config::check::Links;
use crate::config::check_budget::TierLink;
use crate::config::raw::Raw;
use crate::config::raw_agent::RawAgent;
use crate::config::raw_budget::{RawBudget, ZONE};
use crate::identity::agent::DEFAULT_AGENT;
use crate::ledger::account::{AccountKey, Cadence, Terms};
use crate::ledger::plan::Planned;
use crate::routing::tier::Tier;

/// Makes the budgets of a configuration without problems.
pub fn build(raw: &Raw, links: &Links) -> Budgets {
    let tree = Tree { raw, links };
    Budgets {
        accounts: tree.accounts(),
        policy: raw.budget.policy,
        fleet: tree.fleet(),
        agents: tree.agents(),
    }
}

struct Tree<'a> {
    raw: &'a Raw,
    links: &'a Links,
}

impl Tree<'_> {
    fn accounts(&self) -> Vec<Opening> {
        let teams = self.teams_parents_first().into_iter().map(|at| self.team(at));
        let agents = self.raw.agents.iter().zip(&self.links.budgets.agent_teams);
        let agents = agents.map(|(agent, team)| {
            let key = AccountKey::agent(&agent.id.value.text);
            opening(key, self.parent(*team), agent.budget.as_ref())
        });
        let none = self.raw.agents.is_empty();
        let default = none.then(|| opening(AccountKey::agent(DEFAULT_AGENT), self.root(), None));
        self.fleet_account().into_iter().chain(teams).chain(agents).chain(default).collect()
    }

    /// The fleet has an account as soon as anything has a budget, so that there is one sum of it all.
    fn has_fleet(&self) -> bool {
        let agent = |agent: &RawAgent| agent.budget.is_some() || agent.session_budget.is_some();
        self.raw.fleet.is_some()
            || self.raw.teams.iter().any(|team| team.budget.is_some())
            || self.raw.agents.iter().any(agent)
    }

    fn root(&self) -> Option<AccountKey> {
        self.has_fleet().then(AccountKey::fleet)
    }

    fn fleet_account(&self) -> Option<Opening> {
        let fleet = self.raw.fleet.as_ref();
        let budget = fleet.and_then(|fleet| fleet.budget.as_ref());
        let mut opening = opening(self.root()?, None, budget);
        let has_levels = fleet.is_some_and(|fleet| fleet.levels != Levels::default());
        if has_levels && budget.is_none_or(|budget| !budget.has_period) {
            // S1-23: the levels are those of one day, unless said otherwise.
            opening.planned.terms.cadence = Cadence::Daily;
        }
        Some(opening)
    }

    /// The account above one that belongs to that team, or to none.
    fn parent(&self, team: Option<usize>) -> Option<AccountKey> {
        let team = team.and_then(|team| self.raw.teams.get(team));
        team.map_or_else(|| self.root(), |team| Some(AccountKey::team(&team.name.value.text)))
    }

    fn team(&self, at: usize) -> Opening {
        let team = &self.raw.teams[at];
        let parent = self.parent(self.links.budgets.team_parents[at]);
        opening(AccountKey::team(&team.name.value.text), parent, team.budget.as_ref())
    }

    /// The places of all teams; a team of a team comes after it. Teams form a tree: that was checked.
    fn teams_parents_first(&self) -> Vec<usize> {
        let parents = &self.links.budgets.team_parents;
        let depth = |at: &usize| {
            let up = |at: &usize| parents.get(*at).copied().flatten();
            std::iter::successors(up(at), up).take(parents.len()).count()
        };
        let mut places: Vec<usize> = (0..self.raw.teams.len()).collect();
        places.sort_by_cached_key(depth);
        places
    }

    fn agents(&self) -> Vec<AgentBudget> {
        let agent = |(agent, tiers): (&RawAgent, &Option<Vec<TierLink>>)| AgentBudget {
            account: AccountKey::agent(&agent.id.value.text),
            tiers: tiers.as_ref().map(|tiers| self.tiers(tiers)),
            tiers_by_forecast: agent.tiers_by_forecast,
            session: agent.session_budget.clone(),
            runaway: agent.runaway.as_ref().map(|runaway| runaway.runaway),
        };
        let agents = self.raw.agents.iter().zip(&self.links.budgets.agent_tiers).map(agent);
        // Without agents in the file there is one all the same.
        let default = self.raw.agents.is_empty().then(|| AgentBudget {
            account: AccountKey::agent(DEFAULT_AGENT),
            tiers: None,
            tiers_by_forecast: false,
            session: None,
            runaway: None,
        });
        agents.chain(default).collect()
    }

    fn tiers(&self, links: &[TierLink]) -> Arc<[Tier]> {
        let tier = |link: &TierLink| Tier {
            remaining_min_ppm: link.remaining_min_ppm,
            models: link.models.iter().copied().filter(|&at| self.is_enabled(at)).collect(),
        };
        links.iter().map(tier).collect()
    }

    fn is_enabled(&self, model: usize) -> bool {
        let provider = self.links.model_providers.get(model);
        let provider = provider.and_then(|&at| self.raw.providers.get(at));
        let enabled = self.raw.models.get(model).is_some_and(|model| model.enabled);
        enabled && provider.is_some_and(|provider| provider.enabled)
    }

    fn fleet(&self) -> Fleet {
        let links = &self.links.budgets;
        let mut downgrade = vec![None; self.raw.models.len()];
        for &(dear, cheaper) in links.downgrade.iter().filter(|pair| self.is_enabled(pair.1)) {
            downgrade[dear] = Some(cheaper);
        }
        let cheapest = links.cheapest.iter().copied();
        let mut cheapest: Vec<usize> = cheapest.filter(|&at| self.is_enabled(at)).collect();
        cheapest.sort_unstable();
        let fleet = self.raw.fleet.as_ref();
        Fleet {
            levels: fleet.map(|fleet| fleet.levels).unwrap_or_default(),
            downgrade: downgrade.into_boxed_slice(),
            cheapest: cheapest.into_boxed_slice(),
            webhook: fleet.and_then(|fleet| Some(fleet.webhook.as_ref()?.value.clone())),
        }
    }
}

/// An account as it begins. Without a budget it is counted, not limited; if the control API limits it
/// one day, that limit is hard.
fn opening(key: AccountKey, parent: Option<AccountKey>, budget: Option<&RawBudget>) -> Opening {
    let unlimited =
        || Terms { limit: None, cadence: Cadence::None, zone: Arc::from(ZONE), hard: true };
    let terms = budget.map_or_else(unlimited, |budget| budget.terms.clone());
    let initial_spent = budget.map_or(NanoUsd::ZERO, |budget| budget.initial_spent);
    Opening { planned: Planned { key, parent, terms }, initial_spent }
}
