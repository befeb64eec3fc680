//! Who pays for an exchange, and what has to be held before an attempt may be sent.
//!
//! The worst case comes from `usage::bound`; whether there is money for it is decided by `ledger::book`,
//! which `engine` asks between `next_candidate` and `attempt`.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::fault::{Code, Fault};
use crate::base::limit::{BYTES_PER_TOKEN_MAX, COUNTED_BYTES_MAX};
use crate::base::money::NanoUsd;
use crate::base::surface::Surface;
use crate::config::budgets::UnknownPrice;
use crate::config::catalog::Model;
use crate::exchange::Exchange;
use crate::exchange::exhausted;
use crate::exchange::mutation;
use crate::exchange::rewrite::{self, Within};
use crate::ledger::account::AccountId;
use crate::ledger::hold::{HoldOrder, Refusal};
use crate::ledger::level::Level;
use crate::ledger::standing::Room;
use crate::usage::bound::{self, Ask, Bound};
use crate::usage::searching;
use crate::usage::served::Served;
use crate::usage::vocabulary::Vocabulary;
use crate::wire::weigh::{self, ServerTools, Weight};

/// Input that Anthropic takes of a request that asks for its wide window by `anthropic-beta`.
const WIDE_CONTEXT_TOKENS: u64 = 1_000_000;

/// The factor on all rates that a request can meet at that model's provider, in percent.
fn rate_percent(model: &Model, weight: &Weight) -> u64 {
    bound::rate_percent(weight, may_be_dearer(model, weight))
}

/// Whether the provider may take a dearer service tier than the ordinary one.
fn may_be_dearer(model: &Model, weight: &Weight) -> bool {
    let pinned = rewrite::ordinary_tier(&model.provider, weight).is_some();
    !pinned && weight.service_tier.is_some()
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
    /// What of the agent's budget can be depended on by the forecast, where its tiers go by that.
    pub dependable: Option<NanoUsd>,
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
    /// Caps every answer at so many tokens, by the field that its provider reads. The body must say so too, so
    /// that it is reckoned with.
    pub const fn cap_answers(&mut self, tokens: u64) {
        self.answer_cap = Some(tokens);
    }

    /// The factor on all rates of an answer, in percent: by what it says itself of how it was served, else
    /// by what was asked for, where that was looked at.
    pub(super) fn served_percent(&self, served: Served) -> u64 {
        let is_limited = self.purse.as_ref().is_some_and(|purse| purse.limited);
        let asked = self.weight().zip(self.current_model()).filter(|_| is_limited);
        let asked = asked.map(|(weight, model)| (weight, may_be_dearer(model, weight)));
        bound::served_percent(asked, served)
    }

    /// Whether the client asks for a cache of long life.
    pub(super) fn asks_long_cache(&self) -> bool {
        if let Some(weight) = self.weight() {
            return weight.long_cache;
        }
        let heard = self.heard();
        let envelope = heard.envelope.as_ref();
        envelope.is_some_and(|envelope| weigh::weigh(envelope, &heard.body).long_cache)
    }

    /// What the current attempt has to keep within; `None` = nothing.
    pub(super) fn within(&self) -> Option<Within<'_>> {
        let Some(grant) = &self.grant else {
            let ours = |output_cap| Within { output_cap, price: None, weight: None };
            return self.answer_cap.map(ours);
        };
        Some(Within {
            output_cap: grant.output_cap,
            price: self.current_model().filter(|model| model.priced).map(|model| &model.price),
            weight: self.weight(),
        })
    }

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
        self.rate_percent = self.weight().map_or(100, |weight| rate_percent(model, weight));
        let bound = match self.bound(model, strict, self.counted_at(model)) {
            Ok(bound) => bound,
            Err(_) if !strict => return Ok(None),
            Err(fault) => return Err(fault),
        };
        self.bound_class = Some(bound.class);
        let policy = &around.snapshot.budgets.policy;
        // Messages refuses a cap that leaves nothing beyond the thinking that was asked for.
        let thinking = self.weight().and_then(|weight| weight.thinking_tokens);
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

    /// Weighs the body that goes out, once for all attempts that send the same one.
    fn weigh(&mut self) {
        let (asked, weight) = match &mut self.rendition {
            Some(rendition) => (&rendition.asked, &mut rendition.weight),
            None => (&self.asked, &mut self.weight),
        };
        if weight.is_none()
            && let Some(envelope) = &asked.envelope
        {
            *weight = Some(weigh::weigh(envelope, &asked.body));
        }
    }

    /// What the body that goes out weighs, once it is known.
    pub(super) fn weight(&self) -> Option<&Weight> {
        self.rendition.as_ref().map_or(self.weight.as_ref(), |rendition| rendition.weight.as_ref())
    }

    /// The worst case at that model.
    fn bound(
        &self,
        model: &Model,
        strict: bool,
        counted_input: Option<u64>,
    ) -> Result<Bound, Fault> {
        let snapshot = &self.around.snapshot;
        // A client names what it likes under a wildcard, and one price for all of that is a guess.
        let priced = model.priced && !(strict && model.is_wildcard());
        if strict && !priced && snapshot.budgets.policy.unknown_price == UnknownPrice::Refuse {
            return Err(unpriced(model));
        }
        let price = self.price_of(model);
        let name = if model.is_wildcard() { self.asked.model() } else { Some(&*model.upstream_id) };
        if strict && price.request == NanoUsd::ZERO && name.is_some_and(searching::runs_tools) {
            return Err(hidden_fee(model));
        }
        let heard = self.heard();
        let (Some(weight), Some(envelope)) = (self.weight(), &heard.envelope) else {
            return Err(unmetered());
        };
        let thinks = self.plan.think && model.thinking;
        let grown = thinks.then(|| mutation::grown(weight));
        let weight = grown.as_ref().unwrap_or(weight);
        let more = weight.text_bytes - self.weight().map_or(0, |weight| weight.text_bytes);
        let counted_input = counted_input.map(|tokens| tokens.saturating_add(more));
        let ask = Ask {
            weight,
            surface: heard.surface,
            // Some providers take 0 for no limit at all. To Anthropic itself it says that nothing but the
            // cache is to be written.
            output_cap: envelope
                .meant_output_cap()
                .filter(|cap| *cap > 0 || model.provider.writes_nothing_at_zero()),
            counted_input,
            rate_percent: self.rate_percent,
        };
        let facts = bound::Model {
            price: &price,
            context_tokens: if heard.wide_context {
                model.context_tokens.map(|tokens| tokens.max(WIDE_CONTEXT_TOKENS))
            } else {
                model.context_tokens
            },
            output_tokens_max: model.output_tokens_max,
            image_tokens_max: model.image_tokens_max,
            tool_run_fee: price.search_fee(),
            proved: model.provider.ordinary_tier().is_some(),
        };
        bound::bound(&ask, &facts).map_err(|why| {
            let message = format!("model `{}`: {why}; this agent has a hard budget", model.id);
            exhausted::unbounded(message)
        })
    }

    /// The tokens of the input by that model's vocabulary, if they were counted.
    fn counted_at(&self, model: &Model) -> Option<u64> {
        let (vocabulary, tokens) = self.counted?;
        (model.vocabulary == Some(vocabulary)).then_some(tokens)
    }

    /// What can be counted so that the current candidate's worst case may become one that fits into
    /// `room`: the bytes of it do not fit, and its tokens might.
    pub fn countable(&self, order: &HoldOrder, room: NanoUsd) -> Option<(Vocabulary, Bytes)> {
        let model = self.current_model()?;
        let vocabulary = model.vocabulary.filter(|_| self.counted_at(model).is_none())?;
        let weight = self.weight()?;
        let body = &self.heard().body;
        let is_text = weight.unbounded.is_none()
            && weight.images == 0
            && weight.audio == 0
            && weight.server_tools == ServerTools::None;
        let fits = order.amount(order.output_cap).is_some_and(|amount| amount <= room.0);
        if fits || !is_text || body.len() > COUNTED_BYTES_MAX {
            return None;
        }
        let strict = self.purse.as_ref().is_some_and(|purse| purse.strict);
        let few = weight.text_bytes / BYTES_PER_TOKEN_MAX;
        let best = self.bound(model, strict, Some(few)).ok()?;
        let is_worth_it = best.at(order.least_cap()) <= room;
        is_worth_it.then(|| (vocabulary, body.clone()))
    }

    /// What must be held for the current candidate, now that its input was counted.
    pub fn recounted(&mut self, vocabulary: Vocabulary, tokens: u64) -> Option<HoldOrder> {
        self.counted = Some((vocabulary, tokens));
        self.order().ok().flatten()
    }

    /// The candidate's worst case does not fit the budget: it is passed over.
    pub fn on_no_money(&mut self, refusal: &Refusal) {
        self.pass_over(exhausted::refused(&self.asked.principal.agent.id, refusal));
    }

    /// The candidate cannot be asked for a reason of ours.
    pub fn pass_over(&mut self, fault: Fault) {
        self.current = None;
        // The first reason is about the best candidate, which is what the client wanted.
        self.refusal.get_or_insert(fault);
    }
}

fn unmetered() -> Fault {
    let message =
        "this agent has a hard budget, and what this path costs cannot be known beforehand";
    Fault::new(Code::UnmeteredPath, message)
}

/// The refusal for a model that runs tools by itself, at a fee that nobody has named.
fn hidden_fee(model: &Model) -> Fault {
    let message = format!(
        "model `{}` runs tools of its provider by itself, and their fee is not known (`price.request` of the \
         model), so its cost cannot be held against this agent's hard budget",
        model.id
    );
    exhausted::unbounded(message).param("model")
}

fn unpriced(model: &Model) -> Fault {
    let message = format!(
        "model `{}` has no price, so its cost cannot be held against this agent's hard budget",
        model.id
    );
    exhausted::unbounded(message).param("model")
}
