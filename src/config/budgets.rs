//! Budgets as requests and the bookkeeper need them: the plan of accounts, the policy for what cannot be
//! known, the levels of the fleet, and what each agent's money means for its models.
//!
//! Nothing is spent or chosen here: `ledger` holds balances, `routing::tier` chooses.

use std::fmt;
use std::sync::Arc;

use crate::base::money::NanoUsd;
use crate::ledger::account::{AccountKey, Terms};
use crate::ledger::plan::Planned;
use crate::routing::tier::Tier;
use crate::upstream::target::BaseUrl;

/// Everything about budgets.
#[derive(Clone, Debug)]
pub struct Budgets {
    /// The accounts, parents before children: the fleet (if it or any budget is configured), teams, and
    /// every agent.
    pub accounts: Vec<Opening>,
    /// What holds for all budgets.
    pub policy: Policy,
    /// What happens when the fleet spends much.
    pub fleet: Fleet,
    /// What the money of each agent means, by `Agent::index`.
    pub agents: Vec<AgentBudget>,
}

impl Budgets {
    /// What the money of the agent at that place means.
    pub fn agent(&self, index: usize) -> Option<&AgentBudget> {
        self.agents.get(index)
    }
}

/// An account and what it begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The account.
    pub planned: Planned,
    /// What counts as spent when the account first comes to be; means nothing later.
    pub initial_spent: NanoUsd,
}

impl Opening {
    /// Whether the configuration gives it a limit.
    pub const fn is_limited(&self) -> bool {
        self.planned.terms.limit.is_some()
    }
}

/// What holds for all budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What a model without a price costs under a hard cap.
    pub unknown_price: UnknownPrice,
    /// Fewest output tokens worth a request: if the budget leaves room for less, it goes to the next tier
    /// or is refused.
    pub output_floor_tokens: u64,
    /// Whether the whole hold of a hard account is booked when a provider answers 5xx.
    pub charge_5xx: bool,
    /// What must be left above a tier's share before that tier is entered again, in parts per million.
    pub hysteresis_ppm: u32,
    /// Most tokens of one image, for models that say nothing else.
    pub image_tokens_max: u64,
}

/// What a model without a price costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownPrice {
    /// It cannot be used under a hard cap.
    #[default]
    Refuse,
    /// As much as the dearest configured rates (`Catalog::dearest`).
    AssumeMax,
    /// Nothing.
    Free,
}

impl UnknownPrice {
    /// The name used in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::AssumeMax => "assume_max",
            Self::Free => "free",
        }
    }
}

/// What happens when the fleet spends much (S1-23).
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// The levels.
    pub levels: Levels,
    /// Of each model of the catalog, the cheaper one that takes its place from the level SOFT on; its own
    /// entry does not count then. Always an enabled model, but perhaps of another dialect.
    pub downgrade: Box<[Option<usize>]>,
    /// The sorted places of the only models that may be used from the level HARD on, all enabled.
    pub cheapest: Box<[usize]>,
    /// Where each change of the level is told.
    pub webhook: Option<Webhook>,
}

/// Spend of the fleet in its period at which more and more is denied. They rise; `None` = no such level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// It is told.
    pub warning: Option<NanoUsd>,
    /// Dear models give way to cheaper ones.
    pub soft: Option<NanoUsd>,
    /// Only the cheapest models are used.
    pub hard: Option<NanoUsd>,
    /// Nothing is admitted until an administrator says so.
    pub emergency: Option<NanoUsd>,
}

/// Where alerts go. Its path is a secret with many services, so it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook(pub BaseUrl);

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Webhook").field(&self.0.authority).finish()
    }
}

/// What the money of one agent means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentBudget {
    /// Its account.
    pub account: AccountKey,
    /// Its enabled models by what is left, in listed order; at least one tier, but a tier's list may be
    /// empty if all its models are disabled. `None` = money does not choose.
    pub tiers: Option<Arc<[Tier]>>,
    /// The tiers go by what of its budget can be depended on to the end of the period, not by all that is left.
    pub tiers_by_forecast: bool,
    /// What each of its sessions may spend; the account's parent is the agent's.
    pub session: Option<Terms>,
    /// When it counts as running away.
    pub runaway: Option<Runaway>,
}

/// When an agent counts as running away. Every limit is optional, and at least one is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runaway {
    /// Most requests with the same content in one window.
    pub same_request_max: Option<u64>,
    /// Most calls of the same tool with the same arguments in one window.
    pub same_tool_call_max: Option<u64>,
    /// Length of the window, in seconds.
    pub window_seconds: u64,
    /// Most spend in one minute.
    pub spend_per_minute: Option<NanoUsd>,
    /// Most requests in one session.
    pub turns_per_session_max: Option<u64>,
    /// What follows.
    pub action: RunawayAction,
}

/// What follows when an agent runs away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunawayAction {
    /// It is told.
    Warn,
    /// The next lower tier is used.
    Downgrade,
    /// Requests are refused with 402.
    #[default]
    Stop,
}

impl RunawayAction {
    /// The name used in configuration and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Downgrade => "downgrade",
            Self::Stop => "stop",
        }
    }
}
