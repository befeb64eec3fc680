//! Money: teams that exist and form a tree, tiers that can be reached and used, levels that have an
//! effect, prices that a hard cap needs.

use crate::config::budgets::{RunawayAction, UnknownPrice};
use crate::config::check_access::goes_in_clear;
use crate::config::check_names::Names;
use crate::config::problem::{At, hint};
use crate::config::raw::Raw;
use crate::config::raw_agent::RawAgent;
use crate::config::raw_budget::{RawBudget, RawFleet, RawTier};
use crate::config::section::shown;
use crate::config::yaml::Text;
use crate::identity::agent::Mode;

/// What the names in budgets lead to.
#[derive(Debug, Default)]
pub struct BudgetLinks {
    /// Of each team, the place of the team that it belongs to.
    pub team_parents: Vec<Option<usize>>,
    /// Of each agent, the place of its team.
    pub agent_teams: Vec<Option<usize>>,
    /// Of each agent, its tiers: the share and the places of the models.
    pub agent_tiers: Vec<Option<Vec<TierLink>>>,
    /// Places of a model and of the one that takes its place.
    pub downgrade: Vec<(usize, usize)>,
    /// The places of the only models from the level HARD on.
    pub cheapest: Vec<usize>,
}

/// One tier.
#[derive(Debug)]
pub struct TierLink {
    /// The share that must be left, in parts per million.
    pub remaining_min_ppm: u32,
    /// The places of its models.
    pub models: Vec<usize>,
}

/// Checks everything about money.
pub fn check(names: &Names<'_>, warnings: &mut Vec<String>) -> BudgetLinks {
    let raw = names.raw;
    let teams = Teams { names };
    let links = BudgetLinks {
        team_parents: raw.teams.iter().map(|team| teams.find(team.parent.as_ref()?)).collect(),
        agent_teams: raw.agents.iter().map(|agent| teams.find(agent.team.as_ref()?)).collect(),
        agent_tiers: raw.agents.iter().map(|agent| tiers(names, agent, warnings)).collect(),
        downgrade: raw.fleet.as_ref().map(|fleet| downgrade(names, fleet)).unwrap_or_default(),
        cheapest: raw.fleet.as_ref().map(|fleet| cheapest(names, fleet)).unwrap_or_default(),
    };
    teams.circles(&links.team_parents);
    for agent in &raw.agents {
        agent_is_whole(names, agent);
    }
    prices(names, &links, warnings);
    levels(names, &links, warnings);
    in_clear(raw, warnings);
    links
}

struct Teams<'a> {
    names: &'a Names<'a>,
}

impl Teams<'_> {
    fn find(&self, name: &At<Text>) -> Option<usize> {
        let teams = &self.names.raw.teams;
        let place = teams.iter().position(|team| team.name.value.text == name.value.text);
        if place.is_none() {
            let known = teams.iter().map(|team| team.name.value.text.as_str());
            let hint = hint(&name.value.text, "configured:", known);
            let message = format!("{} is not a team {hint}", shown(&name.value));
            self.names.problems.add(&name.place, message);
        }
        place
    }

    /// Each circle is reported once, at the first of its teams in the file.
    fn circles(&self, parents: &[Option<usize>]) {
        for (at, team) in self.names.raw.teams.iter().enumerate() {
            let is_first = circle(at, parents).is_some_and(|others| others.iter().all(|&o| o > at));
            if let Some(parent) = team.parent.as_ref().filter(|_| is_first) {
                let message = format!("{} belongs to this team itself", shown(&parent.value));
                self.names.problems.add(&parent.place, format!("{message} (teams form a tree)"));
            }
        }
    }
}

/// The other teams on the way from that one up to itself, if the way leads there.
fn circle(at: usize, parents: &[Option<usize>]) -> Option<Vec<usize>> {
    let mut others = Vec::new();
    let mut next = parents[at];
    // A way that is longer than the list runs in a circle that does not hold this team.
    while let Some(place) = next.filter(|_| others.len() < parents.len()) {
        if place == at {
            return Some(others);
        }
        others.push(place);
        next = parents[place];
    }
    None
}

/// The tiers of an agent, with all their models.
fn tiers(names: &Names<'_>, agent: &RawAgent, warnings: &mut Vec<String>) -> Option<Vec<TierLink>> {
    let tiers = agent.tiers.as_ref()?;
    for (at, tier) in tiers.iter().enumerate() {
        let At { value, place } = &tier.remaining_min_ppm;
        let before = tiers[..at].iter().position(|first| first.remaining_min_ppm.value <= *value);
        if let Some(before) = before {
            let why = format!("tiers[{before}] comes before it and needs no more");
            warnings.push(format!("{}: the tier is never reached, as {why}", place.path));
        }
    }
    let link = |tier: &RawTier| {
        let models = tier_models(names, agent, tier);
        if !models.iter().any(|&model| names.is_enabled(model)) {
            let path = &tier.remaining_min_ppm.place.path;
            warnings.push(format!("{path}: none of the tier's models is enabled"));
        }
        TierLink { remaining_min_ppm: tier.remaining_min_ppm.value, models }
    };
    Some(tiers.iter().map(link).collect())
}

fn tier_models(names: &Names<'_>, agent: &RawAgent, tier: &RawTier) -> Vec<usize> {
    for name in tier.models.iter().filter(|name| !may_use(agent, name)) {
        let allowed = format!("(it may use {}.models only)", agent.id.place.path);
        let message = format!("{} is no model of this agent {allowed}", shown(&name.value));
        names.problems.add(&name.place, message);
    }
    names.chain(&tier.models)
}

/// Whether an agent's list of models, if it has one, names that model.
fn may_use(agent: &RawAgent, model: &At<Text>) -> bool {
    let models = agent.models.as_ref();
    models.is_none_or(|models| models.iter().any(|one| one.value.text == model.value.text))
}

/// What belongs together in one agent.
fn agent_is_whole(names: &Names<'_>, agent: &RawAgent) {
    let place = &agent.id.place;
    let missing = |key: &str, why: &str| {
        names.problems.add(&place.key(key, place.line), format!("is missing ({why})"));
    };
    let by_budget = agent.mode == Mode::Budget;
    if by_budget && agent.tiers.is_none() {
        missing("tiers", "mode: budget chooses among them");
    }
    if !agent.has_budget && (by_budget || agent.tiers.is_some()) {
        let why = if by_budget { "mode: budget needs one" } else { "tiers are shares of it" };
        missing("budget", why);
    }
    let downgrades = |action| action == RunawayAction::Downgrade && agent.tiers.is_none();
    if let Some(breaker) = agent.runaway.as_ref().filter(|it| downgrades(it.runaway.action)) {
        let message = format!("\"downgrade\" needs {}.tiers", place.path);
        names.problems.add(&breaker.action_place, message);
    }
}

fn downgrade(names: &Names<'_>, fleet: &RawFleet) -> Vec<(usize, usize)> {
    let pair = |(dear, cheaper): &(At<Text>, At<Text>)| {
        if dear.value.text == cheaper.value.text {
            let message = format!("{} would take its own place", shown(&cheaper.value));
            names.problems.add(&cheaper.place, message);
        }
        let (dear, cheaper) = (names.model(dear), names.model(cheaper));
        Some((dear?, cheaper?))
    };
    fleet.downgrade.iter().filter_map(pair).collect()
}

fn cheapest(names: &Names<'_>, fleet: &RawFleet) -> Vec<usize> {
    fleet.cheapest.as_ref().map_or_else(|| names.fast(), |models| names.chain(models))
}

/// Models without a price: whether anybody can use them, and for how much.
fn prices(names: &Names<'_>, links: &BudgetLinks, warnings: &mut Vec<String>) {
    let raw = names.raw;
    let policy = raw.budget.policy.unknown_price;
    for (at, model) in raw.models.iter().enumerate().filter(|(_, model)| model.price.is_none()) {
        let use_of_it = match policy {
            UnknownPrice::Refuse if is_capped(names, links, at) => {
                "is refused under a hard cap, and else counted as free (budget.unknown_price)"
            }
            UnknownPrice::AssumeMax => "is counted at the dearest rates of all models",
            UnknownPrice::Refuse | UnknownPrice::Free => "is counted as free",
        };
        warnings.push(format!("{}: has no price, so its use {use_of_it}", model.id.place.path));
    }
    for (at, model) in raw.models.iter().enumerate() {
        let is_open = model.output_tokens_max.is_none() && model.context_tokens.is_none();
        if is_open && model.price.is_some() && is_capped(names, links, at) {
            warnings.push(format!(
                "{}: has neither output_tokens_max nor context_tokens, so that requests without an output limit \
                 of their own are refused under a hard cap",
                model.id.place.path
            ));
        }
    }
    if policy == UnknownPrice::AssumeMax && raw.models.iter().all(|model| model.price.is_none()) {
        let message = "is assume_max, but no model has a price (give one, or use refuse or free)";
        names.problems.add(&raw.budget.unknown_price_place, message);
    }
}

/// Whether somebody who may use that model is under a hard cap.
fn is_capped(names: &Names<'_>, links: &BudgetLinks, model: usize) -> bool {
    let raw = names.raw;
    let is_hard = |budget: &Option<RawBudget>| budget.as_ref().is_some_and(|it| it.terms.hard);
    let fleet = raw.fleet.as_ref().is_some_and(|fleet| is_hard(&fleet.budget));
    let up = |team: &usize| links.team_parents.get(*team).copied().flatten();
    let team_is_hard = |team: Option<usize>| {
        // Teams may still run in a circle here.
        let mut above = std::iter::successors(team, up).take(raw.teams.len());
        above.any(|team| is_hard(&raw.teams[team].budget))
    };
    let capped = |(agent, team): (&RawAgent, &Option<usize>)| {
        let session = agent.session_budget.as_ref().is_some_and(|terms| terms.hard);
        let own = session || is_hard(&agent.budget) || team_is_hard(*team);
        own && may_use(agent, &raw.models[model].id)
    };
    fleet || raw.agents.iter().zip(&links.agent_teams).any(capped)
}

/// Levels that change nothing, and changes that no level brings.
fn levels(names: &Names<'_>, links: &BudgetLinks, warnings: &mut Vec<String>) {
    let Some(fleet) = &names.raw.fleet else {
        return;
    };
    let path = &fleet.levels_place.path;
    let by_soft = fleet.levels.soft.is_some();
    if by_soft && fleet.downgrade.is_empty() {
        warnings.push(format!("{path}.soft_usd: changes nothing without fleet.downgrade"));
    }
    if !by_soft && !fleet.downgrade.is_empty() {
        warnings.push(format!("fleet.downgrade: changes nothing without {path}.soft_usd"));
    }
    for &(dear, cheaper) in links.downgrade.iter().filter(|pair| !names.is_enabled(pair.1)) {
        let id = |at: usize| shown(&names.raw.models[at].id.value);
        let why = format!("{} is not enabled, so {} stays", id(cheaper), id(dear));
        warnings.push(format!("fleet.downgrade: {why}"));
    }
    if fleet.levels.hard.is_some() && !links.cheapest.iter().any(|&model| names.is_enabled(model)) {
        let why = "no model of fleet.cheapest (or of the tier fast) is enabled";
        warnings.push(format!("{path}.hard_usd: refuses everything, as {why}"));
    }
}

/// What goes over the network without TLS.
fn in_clear(raw: &Raw, warnings: &mut Vec<String>) {
    let console = raw.console.console.as_ref();
    if let Some(console) = console.filter(|console| goes_in_clear(&console.base)) {
        let path = &raw.console.url_place.path;
        let what = if console.authorization.is_some() { "the api_key goes" } else { "budgets go" };
        warnings.push(format!("{path}: {what} over the network in clear text"));
    }
    let webhook = raw.fleet.as_ref().and_then(|fleet| fleet.webhook.as_ref());
    if let Some(webhook) = webhook.filter(|webhook| goes_in_clear(&webhook.value.0)) {
        let path = &webhook.place.path;
        warnings.push(format!("{path}: alerts go over the network in clear text"));
    }
}
