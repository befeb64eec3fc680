//! Who pays for an exchange, and what has to be held before an attempt may be sent.
//!
//! The worst case comes from `usage::bound`; whether there is money for it is decided by `ledger::book`,
//! which `engine` asks between `next_candidate` and `attempt`.

use std::sync::Arc;

use crate::base::fault::{Code, Fault};
use crate::base::money::NanoUsd;
use crate::base::surface::Surface;
use crate::config::budgets::UnknownPrice;
use crate::config::catalog::Model;
use crate::exchange::Exchange;
use crate::exchange::rewrite;
use crate::ledger::account::AccountId;
use crate::ledger::hold::{HoldOrder, Refusal};
use crate::ledger::level::Level;
use crate::ledger::standing::{Room, Standing};
use crate::usage::bound::{self, Ask, Bound};
use crate::wire::json::quote_into;
use crate::wire::weigh::{self, Weight};

/// What one run of a provider's own tool costs beside its tokens: the dearest web search has 25 USD per
/// thousand.
pub const TOOL_RUN_FEE: NanoUsd = NanoUsd(25_000_000);

/// Input that Anthropic takes of a request that asks for its wide window by `anthropic-beta`.
const WIDE_CONTEXT_TOKENS: u64 = 1_000_000;

/// The factor on all rates that a request can meet at that model's provider, in percent.
fn rate_percent(model: &Model, weight: &Weight) -> u64 {
    let pinned = rewrite::ordinary_tier(&model.provider, weight).is_some();
    bound::rate_percent(weight, !pinned && weight.service_tier.is_some())
}

/// Who pays.
#[derive(Clone, Debug)]
pub struct Purse {
    /// The account of the agent.
    pub agent: AccountId,
    /// The account of the agent, or of its session.
    pub leaf: AccountId,
    /// Somebody on the way from there to the root has a limit.
    pub limited: bool,
    /// One of those limits is hard.
    pub strict: bool,
    /// What was left when the request came in.
    pub room: Option<Room>,
    /// The tier that the agent's last request was given.
    pub last_tier: Option<usize>,
    /// How much the whole fleet has spent.
    pub level: Level,
    /// The agent behaves like one that has lost its way, and gets a lower tier.
    pub is_running_away: bool,
}

/// The candidate whose turn it is.
#[derive(Clone, Debug)]
pub struct Next {
    /// What must be held durably before it may be asked.
    pub hold: Option<HoldOrder>,
}

impl Exchange {
    /// What must be held before the current candidate may be asked; `None` if nothing.
    ///
    /// # Errors
    /// `unmetered_path` or `budget_exhausted`, if its cost has no bound and a limit is hard.
    pub(super) fn order(&mut self) -> Result<Option<HoldOrder>, Fault> {
        let Some(purse) = self.purse.as_ref().filter(|purse| purse.limited) else {
            return Ok(None);
        };
        let (leaf, strict) = (purse.leaf, purse.strict);
        if self.asked.surface == Surface::CountTokens {
            // Providers do not charge for counting.
            return Ok(None);
        }
        let place = self.current.as_ref().and_then(|current| current.candidate.place());
        let index = match place {
            Some(index) if !matches!(self.asked.surface, Surface::Other(_)) => index,
            _ => return if strict { Err(unmetered()) } else { Ok(None) },
        };
        self.weigh();
        let around = Arc::clone(&self.around);
        let Some(model) = around.snapshot.catalog.get(index) else { return Ok(None) };
        self.rate_percent = self.weight.as_ref().map_or(100, |weight| rate_percent(model, weight));
        let bound = match self.bound(model, strict) {
            Ok(bound) => bound,
            Err(_) if !strict => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let policy = &around.snapshot.budgets.policy;
        // Messages refuses a cap that leaves nothing beyond the thinking that was asked for.
        let thinking = self.weight.as_ref().and_then(|weight| weight.thinking_tokens);
        let least = thinking.map_or(0, |tokens| tokens.saturating_add(1));
        Ok(Some(HoldOrder {
            leaf,
            fixed: bound.fixed,
            per_output_token: bound.per_output_token,
            output_cap: bound.output_cap,
            output_floor: policy.output_floor_tokens.max(least),
            request: self.id,
            attempt: u8::try_from(self.tried).unwrap_or(u8::MAX),
            model: Arc::clone(&model.id),
            price_version: around.snapshot.catalog.price_version,
        }))
    }

    /// Weighs the body, once for all attempts.
    fn weigh(&mut self) {
        if self.weight.is_none()
            && let Some(envelope) = &self.asked.envelope
        {
            self.weight = Some(weigh::weigh(envelope, &self.asked.body));
        }
    }

    /// The worst case at that model.
    fn bound(&self, model: &Model, strict: bool) -> Result<Bound, Fault> {
        let snapshot = &self.around.snapshot;
        // A client names what it likes under a wildcard, and one price for all of that is a guess.
        let priced = model.priced && !(strict && model.is_wildcard());
        if strict && !priced && snapshot.budgets.policy.unknown_price == UnknownPrice::Refuse {
            return Err(unpriced(model));
        }
        let price = self.price_of(model);
        let (Some(weight), Some(envelope)) = (&self.weight, &self.asked.envelope) else {
            return Err(unmetered());
        };
        let ask = Ask {
            weight,
            surface: self.asked.surface,
            // Some providers take 0 for no limit at all.
            output_cap: envelope.meant_output_cap().filter(|cap| *cap > 0),
            counted_input: None,
            rate_percent: self.rate_percent,
        };
        let facts = bound::Model {
            price: &price,
            context_tokens: if self.asked.wide_context {
                model.context_tokens.map(|tokens| tokens.max(WIDE_CONTEXT_TOKENS))
            } else {
                model.context_tokens
            },
            output_tokens_max: model.output_tokens_max,
            image_tokens_max: model.image_tokens_max,
            tool_run_fee: TOOL_RUN_FEE,
            proved: model.provider.ordinary_tier().is_some(),
        };
        bound::bound(&ask, &facts).map_err(|why| {
            let message = format!("model `{}`: {why}; this agent has a hard budget", model.id);
            Fault::new(Code::BudgetExhausted, message)
        })
    }

    /// The candidate's worst case does not fit the budget: it is passed over.
    pub fn on_no_money(&mut self, refusal: &Refusal) {
        let fault = self.exhausted(refusal);
        self.pass_over(fault);
    }

    /// The candidate cannot be asked for a reason of ours.
    pub fn pass_over(&mut self, fault: Fault) {
        self.current = None;
        // The first reason is about the best candidate, which is what the client wanted.
        self.refusal.get_or_insert(fault);
    }

    /// The refusal with the fields of S0-09.
    fn exhausted(&self, refusal: &Refusal) -> Fault {
        let agent = &self.asked.principal.agent.id;
        match refusal {
            Refusal::Frozen { account } => frozen(agent, account.as_str()),
            Refusal::Unknown { .. } => {
                Fault::new(Code::Overloaded, "the session's budget is being opened; try again")
            }
            Refusal::Exhausted { account, needed, standing } => {
                let left = standing.remaining.unwrap_or_default();
                let message = if left.0 <= 0 {
                    format!("the budget of {account} is used up")
                } else {
                    format!(
                        "the budget of {account} has {left} USD left, and this request may cost {needed} USD"
                    )
                };
                let models = self.plan.candidates.iter().filter_map(|one| self.model_of(one));
                let models: Vec<&str> = models.map(|model| &*model.id).collect();
                with_standing(Fault::new(Code::BudgetExhausted, message), agent, standing)
                    .extra("models_allowed", json_list(&models))
                    .extra(
                        "current_tier",
                        self.plan.tier.map_or_else(|| "null".to_owned(), |at| at.to_string()),
                    )
            }
        }
    }
}

/// The refusal for an agent that may not spend at all at present.
pub fn frozen(agent: &str, account: &str) -> Fault {
    let message = format!("{account} is frozen; an administrator can thaw it");
    Fault::new(Code::BudgetExhausted, message)
        .extra("agent_id", json_text(agent))
        .extra("frozen", "true".to_owned())
        .extra("exhausted", "true".to_owned())
}

/// The refusal for an agent that seems to have lost its way.
pub fn stopped(agent: &str, sign: &str) -> Fault {
    let message = format!(
        "this agent was stopped because it seems to have lost its way ({sign}); an administrator can thaw it, \
         and it can go on by itself when it has been quiet for a while"
    );
    Fault::new(Code::BudgetExhausted, message)
        .extra("agent_id", json_text(agent))
        .extra("runaway", json_text(sign))
        .extra("exhausted", "true".to_owned())
}

/// Adds what a client of the seed reads from a budget refusal.
fn with_standing(fault: Fault, agent: &str, standing: &Standing) -> Fault {
    let limit = standing.limit.unwrap_or_default();
    let left = standing.remaining.unwrap_or_default();
    fault
        .extra("agent_id", json_text(agent))
        .extra("budget_total", limit.to_string())
        .extra("budget_spent", standing.spent.to_string())
        .extra("budget_held", standing.held.to_string())
        .extra("budget_remaining", left.to_string())
        .extra("budget_percentage", percentage(left, limit))
        .extra("hard_cap", standing.hard.to_string())
        .extra("exhausted", "true".to_owned())
}

/// What is left of the limit, in percent with two digits after the point, rounded down.
pub fn percentage(left: NanoUsd, limit: NanoUsd) -> String {
    if limit.0 <= 0 || left.0 <= 0 {
        return "0".to_owned();
    }
    let hundredths = i128::from(left.0) * 10_000 / i128::from(limit.0);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

fn json_text(text: &str) -> String {
    let mut out = Vec::new();
    quote_into(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn json_list(names: &[&str]) -> String {
    format!("[{}]", names.iter().map(|name| json_text(name)).collect::<Vec<_>>().join(","))
}

fn unmetered() -> Fault {
    let message =
        "this agent has a hard budget, and what this path costs cannot be known beforehand";
    Fault::new(Code::UnmeteredPath, message)
}

fn unpriced(model: &Model) -> Fault {
    let message = format!(
        "model `{}` has no price, so its cost cannot be held against this agent's hard budget",
        model.id
    );
    Fault::new(Code::BudgetExhausted, message).param("model")
}
