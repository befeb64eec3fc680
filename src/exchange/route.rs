//! From a request to its plan: which models may answer it, in which order.
//!
//! Rules 3 to 5 of `api.md` section 3, "Model choice"; budgets and manual switches come before them
//! when they exist. Whether a candidate answers is found out later, attempt by attempt.

use std::sync::Arc;

use crate::base::fault::{Code, Fault};
use crate::base::surface::Surface;
use crate::config::catalog::{Choice, Model, Via};
use crate::config::current::Current;
use crate::config::snapshot::Strategy;
use crate::exchange::asked::Asked;
use crate::identity::agent::Mode;
use crate::routing::round_robin::{self, Rotation};
use crate::upstream::provider::Provider;

/// One way to have a request answered.
#[derive(Clone, Debug)]
pub enum Candidate {
    /// A configured model, by its place in the catalog.
    Model(usize),
    /// A provider without a model: the request named none (S4-01).
    Provider(Arc<Provider>),
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
}

/// Makes the plan.
///
/// # Errors
/// `model_not_found`, `agent_forbidden`, or `invalid_request` when no candidate speaks the dialect.
pub fn plan(scene: &Scene<'_>, asked: &Asked) -> Result<Plan, Fault> {
    let surface = asked.surface;
    let catalog = &scene.current.snapshot.catalog;
    let name = asked.model();
    if name.is_none() && matches!(surface, Surface::Other(_)) {
        return any_provider(scene, asked);
    }
    let choice = Chooser { scene, asked };
    match catalog.resolve(name) {
        Choice::Auto => choice.by_strategy(),
        Choice::Model { index, via } => choice.named(index, via),
        Choice::Wildcard(wildcards) => match wildcards.of(surface.dialect()) {
            Some(index) => choice.wildcard(index),
            None => Err(not_found(
                name.unwrap_or_default(),
                &catalog.close_names(name.unwrap_or_default()),
                false,
            )),
        },
        Choice::Unknown { close, disabled } => {
            Err(not_found(name.unwrap_or_default(), &close, disabled))
        }
    }
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
        };
        Ok(self.ordered(order, 0, decision))
    }

    fn wildcard(&self, index: usize) -> Result<Plan, Fault> {
        self.allowed(index)?;
        self.speaks(index)?;
        Ok(self.ordered(vec![index], 0, "wildcard"))
    }

    fn by_strategy(&self) -> Result<Plan, Fault> {
        if self.asked.principal.agent.mode == Mode::Pinned {
            let message = "this agent is pinned: its requests must name a model";
            return Err(Fault::new(Code::InvalidRequest, message).param("model"));
        }
        let catalog = &self.scene.current.snapshot.catalog;
        let strategy = self.strategy()?;
        let auto = catalog.auto_candidates(self.asked.surface.dialect()).iter().copied();
        let mut order: Vec<usize> = auto.filter(|&index| self.usable(index)).collect();
        let start = match strategy {
            Strategy::RoundRobin => self.scene.rotation.next_start(order.len()),
            Strategy::Passthrough => 0,
        };
        order.rotate_left(start);
        for &index in catalog.fallback_default() {
            if self.usable(index) && !order.contains(&index) {
                order.push(index);
            }
        }
        if order.is_empty() {
            let message = "no enabled model answers this path for this agent; name a model";
            return Err(Fault::new(Code::InvalidRequest, message).param("model"));
        }
        Ok(self.ordered(order, 0, strategy.name()))
    }

    fn strategy(&self) -> Result<Strategy, Fault> {
        match self.asked.route.as_deref() {
            None => Ok(self.scene.current.snapshot.routing.strategy),
            Some("round_robin") => Ok(Strategy::RoundRobin),
            Some("passthrough") => Ok(Strategy::Passthrough),
            Some(_) => {
                Err(Fault::new(Code::InvalidRequest, "is no strategy (round_robin | passthrough)")
                    .param("x-weir-route"))
            }
        }
    }

    fn ordered(&self, order: Vec<usize>, start: usize, decision: &'static str) -> Plan {
        let Scene { current: Current { snapshot, endpoints }, now_ms, .. } = *self.scene;
        let first_choice = Candidate::Model(order.first().copied().unwrap_or(0));
        let credential_for = self.credential_for(&order);
        let order: Vec<usize> =
            order.into_iter().filter(|&index| self.may_carry(index, credential_for)).collect();
        let rests = |index| endpoints.is_resting(index, now_ms);
        let order = round_robin::plan(&order, start, snapshot.routing.retry.attempts_max, rests);
        let candidates = order.into_iter().map(Candidate::Model).collect();
        Plan { candidates, first_choice, decision, credential_for }
    }

    /// The first provider without a key of ours: the only one that sees the client's credential.
    fn credential_for(&self, order: &[usize]) -> Option<usize> {
        self.asked.principal.client_credential.as_ref()?;
        let providers =
            order.iter().filter_map(|&index| self.model(index)).map(|model| &model.provider);
        providers
            .into_iter()
            .find(|provider| !provider.has_credential())
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
        if model.dialect() != surface.dialect() {
            let message = format!(
                "model `{}` speaks the {} dialect, and this path the {} dialect; translation is not \
                 supported yet by this version",
                model.id,
                model.dialect().name(),
                surface.dialect().name()
            );
            return Err(Fault::new(Code::InvalidRequest, message).param("model"));
        }
        if surface == Surface::Responses && !model.provider.abilities.responses {
            let message = format!("the provider of model `{}` has no /v1/responses", model.id);
            return Err(Fault::new(Code::InvalidRequest, message).param("model"));
        }
        Ok(())
    }
}

fn any_provider(scene: &Scene<'_>, asked: &Asked) -> Result<Plan, Fault> {
    let dialect = asked.surface.dialect();
    let Some(provider) = scene.current.snapshot.first_provider(dialect) else {
        let message = format!("no provider of the {} dialect is configured", dialect.name());
        return Err(Fault::new(Code::InvalidRequest, message));
    };
    let credential_for = asked
        .principal
        .client_credential
        .as_ref()
        .map(|_| provider.index)
        .filter(|_| !provider.has_credential());
    let candidate = Candidate::Provider(Arc::clone(provider));
    Ok(Plan {
        candidates: vec![candidate.clone()],
        first_choice: candidate,
        decision: "provider",
        credential_for,
    })
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
