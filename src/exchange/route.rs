//! From a request to its plan: which models may answer it, in which order.
//!
//! Rules 3 to 5 of `api.md` section 3, "Model choice"; budgets and manual switches come before them
//! when they exist. Whether a candidate answers is found out later, attempt by attempt.

use std::sync::Arc;

use crate::base::fault::{Code, Fault};
use crate::base::surface::Surface;
use crate::config::catalog::{Choice as Meant, Model, Tier, Via, Wildcards};
use crate::config::current::Current;
use crate::config::overlay;
use crate::exchange::asked::Asked;
use crate::exchange::choose::{Choice, Chosen, Desk};
use crate::exchange::explain;
use crate::exchange::pinned::{self, Bench, Leash};
use crate::exchange::purse::Purse;
use crate::exchange::unnamed;
use crate::identity::agent::Mode;
use crate::ledger::level::Level;
use crate::routing::features::Features;
use crate::routing::round_robin::{self, Rotation};
use crate::routing::strategy::Strategy;
use crate::routing::tier::{self, Left, Tier as Allowance};
use crate::upstream::provider::Provider;

/// One way to have a request answered.
#[derive(Clone, Debug)]
pub enum Candidate {
    /// A configured model, by its place in the catalog.
    Model(usize),
    /// The model before it with another key of its provider, to be asked only where the key was at fault.
    Spare(usize),
    /// A provider without a model: the request named none (S4-01).
    Provider(Arc<Provider>),
}

impl Candidate {
    /// Its place in the catalog, if it is a model.
    pub const fn place(&self) -> Option<usize> {
        match self {
            Self::Model(index) | Self::Spare(index) => Some(*index),
            Self::Provider(_) => None,
        }
    }
}

/// The candidates in the order of trying, never empty.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who is asked, in order.
    pub candidates: Vec<Candidate>,
    /// Who would have been asked first if nobody rested.
    pub first_choice: Candidate,
    /// How the choice was made: `named`, `alias`, `wildcard`, `provider`, or a strategy's name.
    pub decision: &'static str,
    /// The client's own credential goes to this provider and to no other (D-07).
    pub credential_for: Option<usize>,
    /// The place of the tier that the budget allowed, if money chose.
    pub tier: Option<usize>,
    /// How a strategy chose, if one did.
    pub choice: Option<Box<Choice>>,
    /// All that in one line, for a client that asked for it.
    pub explain: Option<Box<str>>,
    /// Models that can are told to think.
    pub think: bool,
}

/// What the choice depends on beside the request.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The configuration, and who rests.
    pub current: &'a Current,
    /// Whose turn it is.
    pub rotation: &'a Rotation,
    /// The time, in milliseconds of the clock that the endpoints' rests are counted in.
    pub now_ms: u64,
    /// Who pays; `None` where nobody counts.
    pub purse: Option<&'a Purse>,
    /// What is known of the request's session, where sessions are pinned.
    pub session: Option<&'a Leash>,
}

/// Makes the plan.
///
/// # Errors
/// `model_not_found`, `agent_forbidden`, or `invalid_request` when no candidate speaks the dialect.
pub fn plan(scene: &Scene<'_>, asked: &Asked) -> Result<Plan, Fault> {
    let mut plan = unexplained(scene, asked)?;
    if asked.explain {
        let desk = Desk { snapshot: &scene.current.snapshot, asked, session: scene.session };
        plan.explain = Some(explain::line(scene, &desk, &plan).into_boxed_str());
    }
    Ok(plan)
}

fn unexplained(scene: &Scene<'_>, asked: &Asked) -> Result<Plan, Fault> {
    let surface = asked.surface;
    let catalog = &scene.current.snapshot.catalog;
    let name = asked.model();
    unnamed::readable(asked)?;
    if asked.principal.agent.mode == Mode::Manual {
        return (Chooser { scene, asked }).by_switch();
    }
    if name.is_none() && matches!(surface, Surface::Other(_)) {
        return unnamed::any_provider(scene, asked);
    }
    let choice = Chooser { scene, asked };
    if asked.principal.agent.mode == Mode::Budget {
        return choice.by_budget();
    }
    match catalog.resolve(name) {
        Meant::Auto => choice.by_strategy(),
        Meant::Model { via: Via::Offered, .. } => choice.offered(name.unwrap_or_default()),
        Meant::Model { index, via } => choice.named(index, via),
        Meant::Wildcard(wildcards) => match wildcard(wildcards, surface) {
            Some(index) => choice.wildcard(index),
            None => Err(not_found(
                name.unwrap_or_default(),
                &catalog.close_names(name.unwrap_or_default()),
                false,
            )),
        },
        Meant::Unknown { close, disabled } => {
            Err(not_found(name.unwrap_or_default(), &close, disabled))
        }
    }
}

/// Whether a request's session is looked at.
pub fn concerns_session(current: &Current, asked: &Asked) -> bool {
    let named = asked.route.as_deref().and_then(Strategy::from_name);
    let strategy = named.unwrap_or_else(|| current.strategy());
    pinned::concerns(current, asked, strategy.reads_requests())
}

/// Whether tokens are to be counted by the gateway: the model that is asked for is at a provider that has no
/// such path.
pub fn is_counted_here(scene: &Scene<'_>, asked: &Asked) -> bool {
    if asked.surface != Surface::CountTokens {
        return false;
    }
    let (catalog, active) = (&scene.current.snapshot.catalog, &scene.current.snapshot.active);
    let dialect = asked.surface.dialect();
    let lacks = |index: usize| {
        catalog.get(index).is_some_and(|it| it.provider.surface_for(asked.surface).is_none())
    };
    let agent = &asked.principal.agent;
    match agent.mode {
        // Whatever is named, one of the tiers would answer.
        Mode::Budget => return (Chooser { scene, asked }).by_budget().is_err(),
        Mode::Manual => {
            let switched = active.get(asked.principal.id()).and_then(|active| active.model);
            return switched.is_some_and(lacks);
        }
        _ => {}
    }
    match catalog.resolve(asked.model()) {
        Meant::Model { index, .. } => lacks(index),
        Meant::Auto => catalog.auto_candidates(dialect).iter().all(|&index| lacks(index)),
        Meant::Wildcard(wildcards) => wildcards.of(dialect).is_none_or(lacks),
        Meant::Unknown { .. } => false,
    }
}

/// The wildcard of the client's own dialect, else that of the other one.
fn wildcard(wildcards: Wildcards, surface: Surface) -> Option<usize> {
    let own = surface.dialect();
    wildcards.of(own).or_else(|| wildcards.of(own.other()))
}

struct Chooser<'a> {
    scene: &'a Scene<'a>,
    asked: &'a Asked,
}

impl Chooser<'_> {
    fn named(&self, index: usize, via: Via) -> Result<Plan, Fault> {
        self.allowed(index)?;
        self.speaks(index)?;
        let pinned = self.asked.principal.agent.mode == Mode::Pinned;
        let chain = self.scene.current.snapshot.catalog.chain(index).iter().copied();
        let chain = chain.filter(|_| !pinned);
        let order = std::iter::once(index).chain(chain.filter(|&next| self.usable(next))).collect();
        let decision = match via {
            Via::Named => "named",
            Via::Alias => "alias",
            Via::Offered => "offered",
        };
        Ok(self.ordered(order, self.attempts_max(), decision))
    }

    /// The accounts that offer a model of that name, the oldest first.
    fn offered(&self, name: &str) -> Result<Plan, Fault> {
        let offers = self.scene.current.snapshot.catalog.offers(name);
        let order: Vec<usize> =
            offers.iter().copied().filter(|&index| self.usable(index)).collect();
        let Some(&first) = offers.first().filter(|_| order.is_empty()) else {
            return Ok(self.ordered(order, self.attempts_max(), "offered"));
        };
        self.allowed(first)?;
        self.speaks(first)?;
        Err(nobody())
    }

    /// The model that the agent was switched to, and no other (S3-13).
    fn by_switch(&self) -> Result<Plan, Fault> {
        let snapshot = &self.scene.current.snapshot;
        let id = self.asked.principal.id();
        let refuse =
            |message: String| Err(Fault::new(Code::InvalidRequest, message).param("model"));
        let Some(active) = snapshot.active.get(id) else {
            let hint = "switch it with POST /api/switch";
            return refuse(format!("No active model set for agent_id {id}; {hint}"));
        };
        let shown = overlay::model_id(&active.switch.profile, &active.switch.model);
        let model = active.model.and_then(|index| Some((index, snapshot.catalog.get(index)?)));
        let Some((index, model)) = model else {
            return refuse(format!("the active model `{shown}` does not exist any more"));
        };
        if !model.enabled {
            return refuse(format!("the active model `{shown}` is disabled"));
        }
        self.allowed(index)?;
        if self.asked.model().is_none() && matches!(self.asked.surface, Surface::Other(_)) {
            return unnamed::at_provider(&model.provider, self.asked);
        }
        self.speaks(index)?;
        Ok(self.ordered(vec![index], self.attempts_max(), "manual"))
    }

    fn wildcard(&self, index: usize) -> Result<Plan, Fault> {
        self.allowed(index)?;
        self.speaks(index)?;
        Ok(self.ordered(vec![index], self.attempts_max(), "wildcard"))
    }

    fn by_strategy(&self) -> Result<Plan, Fault> {
        if self.asked.principal.agent.mode == Mode::Pinned {
            let message = "this agent is pinned: its requests must name a model";
            return Err(Fault::new(Code::InvalidRequest, message).param("model"));
        }
        let strategy = self.strategy()?;
        let mut pool = self.auto_candidates(strategy.reads_requests());
        let tier = self.tier();
        if let Some((tiers, at)) = &tier {
            self.keep_tier(&mut pool, &tiers[*at]);
        }
        let in_tier = |index: usize| {
            tier.as_ref().is_none_or(|(tiers, at)| tiers[*at].models.contains(&index))
        };
        let chosen = self.choose(strategy, pool.clone(), in_tier);
        let Chosen { mut order, choice, .. } = self.with_session(chosen, &pool);
        let features = choice.ladder.map(|ladder| ladder.features);
        let last = self.scene.current.snapshot.catalog.fallback_default().iter().copied();
        let last = last.filter(|&index| in_tier(index) && self.usable(index));
        let last = last.filter(|index| !order.contains(index)).collect();
        // Once somebody is there who can do it, nobody stands behind who cannot.
        let last = self.desk().fit(last, features.as_ref(), order.is_empty());
        order.extend(last);
        if order.is_empty() {
            return Err(nobody());
        }
        // Which of them follow a failure is found out when it is known, so none is left out here.
        let count = choice.ladder.map_or(self.attempts_max(), |_| order.len());
        let order = self.within_level(order, features.as_ref());
        let plan = self.arranged(order, count, strategy.name());
        let (tier, think) = (tier.map(|(_, at)| at), choice.thinks);
        Ok(Plan { tier, think, choice: Some(Box::new(choice)), ..plan })
    }

    /// What the strategy makes of those models.
    fn choose(
        &self,
        strategy: Strategy,
        mut pool: Vec<usize>,
        in_tier: impl Fn(usize) -> bool,
    ) -> Chosen {
        let desk = self.desk();
        match strategy {
            Strategy::RoundRobin => {
                let start = self.scene.rotation.next_start(pool.len());
                pool.rotate_left(start);
                desk.unread(strategy, pool)
            }
            Strategy::Passthrough => {
                let primary = self.scene.current.snapshot.routing.primary;
                let primary = primary.filter(|&index| self.usable(index) && in_tier(index));
                if let Some(primary) = primary {
                    pool.retain(|&index| index != primary);
                    pool.insert(0, primary);
                }
                desk.unread(strategy, pool)
            }
            _ => desk.by_request(strategy, &pool),
        }
    }

    /// What the session's earlier requests make of a choice among the models of `pool`.
    fn with_session(&self, mut chosen: Chosen, pool: &[usize]) -> Chosen {
        let (Some(leash), Some(ladder)) = (self.scene.session, &chosen.choice.ladder) else {
            return chosen;
        };
        let Scene { current: Current { snapshot, endpoints, .. }, now_ms, .. } = *self.scene;
        let rests = |index| endpoints.is_resting(index, now_ms);
        let bench = Bench {
            snapshot,
            asked: self.asked,
            pool,
            rests: &|index| rests(index) && self.spares(index).all(rests),
            images: ladder.features.has_images,
            tools: ladder.features.has_tools,
        };
        let session = bench.hold(leash.clone(), &mut chosen);
        chosen.choice.record.pin_state = session.state.name();
        chosen.choice.record.session_key = session.name();
        chosen.choice.session = Some(Box::new(session));
        chosen
    }

    fn desk(&self) -> Desk<'_> {
        let Scene { current, session, .. } = *self.scene;
        Desk { snapshot: &current.snapshot, asked: self.asked, session }
    }

    fn attempts_max(&self) -> usize {
        self.scene.current.snapshot.routing.retry.attempts_max
    }

    /// The models of the tier that the budget allows, then those of the tiers below: what the best one may
    /// cost could be more than is left, while a cheaper one still fits.
    fn by_budget(&self) -> Result<Plan, Fault> {
        let Some((tiers, at)) = self.tier() else { return Err(nobody()) };
        let mut order: Vec<usize> = Vec::new();
        for &index in tiers[at..].iter().flat_map(|tier| &tier.models) {
            if self.usable(index) && !order.contains(&index) {
                order.push(index);
            }
        }
        if order.is_empty() {
            return Err(nobody());
        }
        let plan = self.ordered(order, self.attempts_max(), "budget");
        Ok(Plan { tier: Some(at), ..plan })
    }

    /// The agent's tiers and the place of the one that its budget allows now.
    fn tier(&self) -> Option<(Arc<[Allowance]>, usize)> {
        let snapshot = &self.scene.current.snapshot;
        let agent = &self.asked.principal.agent;
        let tiers = Arc::clone(snapshot.budgets.agent(agent.index)?.tiers.as_ref()?);
        let purse = self.scene.purse?;
        let Some(room) = &purse.room else { return Some((tiers, 0)) };
        let remaining = purse.dependable.map_or(room.remaining, |part| part.min(room.remaining));
        let left = Left { remaining: remaining.0, limit: room.limit.0 };
        let hysteresis = snapshot.budgets.policy.hysteresis_ppm;
        let at = tier::choose(&tiers, left, purse.last_tier, hysteresis);
        let at = (at + usize::from(purse.is_running_away)).min(tiers.len().saturating_sub(1));
        Some((tiers, at))
    }

    /// Keeps those of the tier; if none of them is there, the tier's own models take their place.
    fn keep_tier(&self, order: &mut Vec<usize>, tier: &Allowance) {
        order.retain(|index| tier.models.contains(index));
        if order.is_empty() {
            order.extend(tier.models.iter().copied().filter(|&index| self.usable(index)));
        }
    }

    /// The models that a strategy may choose from: those whose provider speaks the client's own dialect; if
    /// there are none of those, those that the request has to be translated for. `by_tier`: the latter also
    /// stand in for each tier that has none of the former.
    fn auto_candidates(&self, by_tier: bool) -> Vec<usize> {
        let catalog = &self.scene.current.snapshot.catalog;
        let own = self.asked.surface.dialect();
        let of = |dialect| {
            let all = catalog.auto_candidates(dialect).iter().copied();
            all.filter(|&index| self.usable(index)).collect::<Vec<usize>>()
        };
        let mut native = of(own);
        if native.is_empty() || !by_tier {
            return if native.is_empty() { of(own.other()) } else { native };
        }
        let tier = |index: usize| self.model(index).map(|model| model.tier);
        let has = Tier::ALL.map(|one| native.iter().any(|&index| tier(index) == Some(one)));
        let lacks = |index: &usize| tier(*index).is_some_and(|tier| !has[tier as usize]);
        native.extend(of(own.other()).into_iter().filter(lacks));
        native
    }

    /// Who chooses: as the request says, if its agent may say so; else as an operator has switched; else as the
    /// file says. What is no answer of a model cannot be chosen by what is asked.
    fn strategy(&self) -> Result<Strategy, Fault> {
        let refuse = |code, message: String| Err(Fault::new(code, message).param("x-weir-route"));
        let current = self.scene.current;
        let strategy = match self.asked.route.as_deref() {
            Some(_) if !self.asked.principal.agent.may_route => {
                return refuse(Code::AgentForbidden, "this agent may not name a strategy".into());
            }
            Some(name) => match Strategy::from_name(name) {
                Some(strategy) => strategy,
                None => return refuse(Code::InvalidRequest, unknown_router(name)),
            },
            None => current.strategy(),
        };
        let is_answered_by_model = self.asked.surface.is_answered();
        let reads = strategy.reads_requests();
        Ok(if reads && !is_answered_by_model { Strategy::RoundRobin } else { strategy })
    }

    /// The plan for what the fleet's level leaves of that order, of at most `count` models.
    fn ordered(&self, order: Vec<usize>, count: usize, decision: &'static str) -> Plan {
        self.arranged(self.within_level(order, None), count, decision)
    }

    fn arranged(&self, order: Vec<usize>, count: usize, decision: &'static str) -> Plan {
        let Scene { current: Current { endpoints, .. }, now_ms, .. } = *self.scene;
        let first_choice = Candidate::Model(order.first().copied().unwrap_or(0));
        let credential_for = self.credential_for(&order);
        let order: Vec<usize> =
            order.into_iter().filter(|&index| self.may_carry(index, credential_for)).collect();
        let rests = |index| endpoints.is_resting(index, now_ms);
        let all_rest = |index| rests(index) && self.spares(index).all(rests);
        let order = round_robin::plan(&order, 0, count, all_rest);
        let candidates = self.with_spares(&order, rests);
        Plan {
            candidates,
            first_choice,
            decision,
            credential_for,
            tier: None,
            choice: None,
            explain: None,
            think: false,
        }
    }

    /// Each model with its other keys and accounts behind it, those that rest last.
    fn with_spares(&self, order: &[usize], rests: impl Fn(usize) -> bool) -> Vec<Candidate> {
        let mut seen: Vec<usize> = Vec::new();
        let mut candidates = Vec::with_capacity(order.len());
        let catalog = &self.scene.current.snapshot.catalog;
        for &index in order {
            if catalog.spares(index).is_empty() {
                candidates.push(Candidate::Model(index));
                continue;
            }
            let group = std::iter::once(index).chain(self.spares(index));
            let group = group.filter(|place| !seen.contains(place));
            let (resting, mut keys): (Vec<usize>, Vec<usize>) = group.partition(|&at| rests(at));
            keys.extend(resting);
            seen.extend(&keys);
            let spare = |at: &usize| Candidate::Spare(*at);
            let first = keys.first().copied().map(Candidate::Model);
            candidates.extend(first.into_iter().chain(keys.iter().skip(1).map(spare)));
        }
        candidates
    }

    /// The places of the same model with other keys of its provider that this agent may use.
    fn spares(&self, index: usize) -> impl Iterator<Item = usize> {
        let catalog = &self.scene.current.snapshot.catalog;
        let agent = &self.asked.principal.agent;
        let spares = catalog.spares(index).iter().copied();
        spares.filter(|&spare| agent.allows(catalog.listed(spare)))
    }

    /// What the fleet's level leaves of an order (S1-23): from SOFT on dear models give way to cheaper ones,
    /// from HARD on only the cheapest are used; of both those that can do what is asked, if there are any.
    fn within_level(&self, order: Vec<usize>, asked: Option<&Features>) -> Vec<usize> {
        let fleet = &self.scene.current.snapshot.budgets.fleet;
        let level = self.scene.purse.map_or(Level::Normal, |purse| purse.level);
        if level < Level::Soft {
            return order;
        }
        let cheaper = |index: usize| fleet.downgrade.get(index).copied().flatten().unwrap_or(index);
        let cheapest = |index: &usize| level < Level::Hard || fleet.cheapest.contains(index);
        let mut kept: Vec<usize> = Vec::with_capacity(order.len());
        let replaced =
            order.iter().map(|&index| cheaper(index)).filter(|&index| self.usable(index));
        for index in replaced.filter(cheapest) {
            if !kept.contains(&index) {
                kept.push(index);
            }
        }
        if kept.is_empty() && level >= Level::Hard {
            kept.extend(fleet.cheapest.iter().copied().filter(|&index| self.usable(index)));
        }
        let kept = self.desk().fit(kept, asked, true);
        // A fleet without a list of cheapest models, or none that speaks this dialect, goes on as it is:
        // its hard budget is what stops it.
        if kept.is_empty() { order } else { kept }
    }

    /// The first provider of the client's own dialect without a key of ours: the only one that sees the
    /// client's credential, which nobody else has given it.
    fn credential_for(&self, order: &[usize]) -> Option<usize> {
        self.asked.principal.client_credential.as_ref()?;
        let own = self.asked.surface.dialect();
        let providers =
            order.iter().filter_map(|&index| self.model(index)).map(|model| &model.provider);
        providers
            .into_iter()
            .find(|provider| !provider.has_credential() && provider.dialect == own)
            .map(|provider| provider.index)
    }

    /// Whether that model's provider has a key, or is the one that gets the client's.
    fn may_carry(&self, index: usize, credential_for: Option<usize>) -> bool {
        let (Some(chosen), Some(model)) = (credential_for, self.model(index)) else { return true };
        model.provider.has_credential() || model.provider.index == chosen
    }

    fn model(&self, index: usize) -> Option<&Model> {
        self.scene.current.snapshot.catalog.get(index)
    }

    fn usable(&self, index: usize) -> bool {
        self.asked.principal.agent.allows(index) && self.speaks(index).is_ok()
    }

    fn allowed(&self, index: usize) -> Result<(), Fault> {
        if self.asked.principal.agent.allows(index) {
            return Ok(());
        }
        Err(Fault::new(Code::AgentForbidden, "this agent may not use this model").param("model"))
    }

    /// Whether the model's provider takes requests of this surface.
    fn speaks(&self, index: usize) -> Result<(), Fault> {
        let Some(model) = self.model(index) else {
            return Err(Fault::new(Code::Internal, "a model is missing from the catalog"));
        };
        let surface = self.asked.surface;
        if model.provider.surface_for(surface).is_some() {
            return Ok(());
        }
        let (id, dialect) = (&model.id, model.dialect().name());
        let what =
            format!("what is asked on this path ({}) cannot be translated to it", surface.name());
        let message = if model.provider.base.is_exact() {
            format!("model `{id}` is at one address for one kind of request, and {what}")
        } else {
            format!("model `{id}` speaks the {dialect} dialect, and {what}")
        };
        Err(Fault::new(Code::InvalidRequest, message).param("model"))
    }
}

/// The seed's words for a strategy that there is none of (S2-06).
pub fn unknown_router(name: &str) -> String {
    format!("unknown router: {}", crate::exchange::asked::bounded_name(name))
}

fn nobody() -> Fault {
    let message = "no enabled model answers this path for this agent; name a model";
    Fault::new(Code::InvalidRequest, message).param("model")
}

fn not_found(name: &str, close: &[Arc<str>], disabled: bool) -> Fault {
    let shown = crate::exchange::asked::bounded_name(name);
    let mut message = if disabled {
        format!("model `{shown}` is disabled")
    } else {
        format!("no model `{shown}` is configured")
    };
    if !close.is_empty() {
        message.push_str("; close ids: ");
        message.push_str(&close.join(", "));
    }
    Fault::new(Code::ModelNotFound, message).param("model")
}
