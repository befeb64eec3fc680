//! Money for an exchange: who pays, the hold before each attempt, and its settlement.
//!
//! What is held and what it comes to is the exchange's word; that it is durable is the bookkeeper's.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;

use tokio::sync::Semaphore;

use crate::base::fault::{Code, Fault};
use crate::base::limit::{COUNTS_AT_ONCE_MAX, GENERATION_BYTES_MAX, HOLD_TROUBLE_TOLD_MS};
use crate::base::money::NanoUsd;
use crate::config::budgets::{AgentBudget, Opening, RunawayAction};
use crate::config::current::Current;
use crate::engine::bookkeeper::NoHold;
use crate::engine::lookup;
use crate::engine::runaways::Alarm;
use crate::exchange::asked::Asked;
use crate::exchange::exhausted::{self, Offer};
use crate::exchange::purse::Purse;
use crate::exchange::rewrite::Attempt;
use crate::exchange::{Exchange, Now};
use crate::ledger::account::{AccountId, AccountKey};
use crate::ledger::entry::Reason;
use crate::ledger::hold::{HoldOrder, Outcome, SpendOrder};
use crate::proxy::ctx::Ctx;
use crate::routing::runaway::Facts;
use crate::wire::gist;

/// Who may count at present.
static COUNTING: Semaphore = Semaphore::const_new(COUNTS_AT_ONCE_MAX);

/// Where `OpenRouter` names an attempt.
const GENERATION: &str = "x-generation-id";

/// Finds out who pays for a request.
///
/// # Errors
/// `budget_exhausted` for a frozen account; `overloaded` if a session's account cannot be opened.
pub async fn purse(ctx: &Ctx, current: &Current, asked: &Asked) -> Result<Option<Purse>, Fault> {
    let keeper = &ctx.shared.keeper;
    let agent = &asked.principal.agent;
    let Some(budget) = current.snapshot.budgets.agent(agent.index) else { return Ok(None) };
    let Some(account) = keeper.account(&budget.account) else {
        // Its account could not be opened. Where anybody has a limit nothing may go uncounted.
        let limits = current.snapshot.budgets.accounts.iter().any(Opening::is_limited);
        return if limits { Err(not_durable()) } else { Ok(None) };
    };
    let leaf = match budget.session.as_ref().zip(asked.session.as_ref()) {
        None => account,
        Some((terms, session)) => {
            let key = AccountKey::session(&agent.id, session);
            let opened = keeper.session(account, key, terms.clone()).await;
            opened.map_err(|error| {
                if may_tell(ctx.now()) {
                    tracing::error!(error, "a session's account cannot be opened");
                }
                not_durable()
            })?
        }
    };
    let at_ms = unix_ms(ctx.now());
    let view = keeper.view(leaf, at_ms);
    let payer = account;
    if let Some(account) = &view.frozen {
        return Err(unserved(ctx, (payer, &agent.id), exhausted::frozen(account)));
    }
    let alarm = runaway(ctx, budget, (account, asked));
    if let Some(alarm) = alarm.filter(|alarm| alarm.action == RunawayAction::Stop) {
        return Err(unserved(ctx, (payer, &agent.id), exhausted::stopped(alarm.sign.name())));
    }
    Ok(Some(Purse {
        agent: account,
        leaf,
        limited: view.limited,
        strict: view.strict,
        room: view.room,
        last_tier: ctx.shared.tiers.last(account),
        dependable: dependable(ctx, budget, (account, at_ms)),
        level: keeper.level(),
        is_running_away: alarm.is_some_and(|alarm| alarm.action == RunawayAction::Downgrade),
    }))
}

/// What of the agent's own budget can be depended on, where its tiers go by that.
fn dependable(
    ctx: &Ctx,
    budget: &AgentBudget,
    (account, at_ms): (AccountId, i64),
) -> Option<NanoUsd> {
    if !budget.tiers_by_forecast {
        return None;
    }
    let keeper = &ctx.shared.keeper;
    let standing = keeper.look(|book, _| book.standing(account, at_ms))?;
    keeper.paces.dependable(&standing, at_ms)
}

/// Whether the agent looks like one that has lost its way.
fn runaway(
    ctx: &Ctx,
    budget: &AgentBudget,
    (account, asked): (AccountId, &Asked),
) -> Option<Alarm> {
    let rule = budget.runaway.as_ref()?;
    let gist = gist::gist(asked.envelope.as_deref()?, &asked.body);
    let session_hash = asked.session.as_ref().map(|session| {
        let mut hasher = DefaultHasher::new();
        session.hash(&mut hasher);
        hasher.finish()
    });
    let facts = Facts { request_hash: gist.request, tool_call_hash: gist.tool_call, session_hash };
    let seen = ctx.shared.keeper.runaways.request(account, rule, (&facts, ctx.now().ms()))?;
    let (agent, sign, action) = (&*asked.principal.agent.id, seen.sign.name(), seen.action.name());
    ctx.shared.metrics.money.ran_away(agent, sign, action);
    tracing::warn!(agent, sign, action, request_id = %ctx.id, "an agent seems to have lost its way");
    Some(seen)
}

/// Notes what a request came to, for the speed at which its agent spends.
pub fn note_spent(ctx: &Ctx, (agent, cost): (AccountId, NanoUsd), now: Now) {
    if cost > NanoUsd::ZERO {
        ctx.shared.keeper.runaways.spent(agent, cost, now.ms());
        ctx.shared.keeper.paces.spent(agent, cost, now.unix_ms);
    }
}

fn unix_ms(now: Now) -> i64 {
    i64::try_from(now.unix_ms).unwrap_or(i64::MAX)
}

/// The next candidate's request, with its worst case durably held. Candidates that there is no money for
/// are passed over; `None` when all have had their turn.
///
/// # Errors
/// `internal`, or `overloaded` when nothing can be made durable.
pub async fn next_attempt(ctx: &mut Ctx) -> Result<Option<Attempt>, Fault> {
    settle_given_up(ctx);
    loop {
        let now = ctx.now();
        let at_ms = unix_ms(now);
        let leaf = ctx.exchange.as_ref().and_then(|exchange| Some(exchange.purse()?.leaf));
        let view = leaf.map(|leaf| ctx.shared.keeper.view(leaf, at_ms));
        let Some(exchange) = ctx.exchange.as_mut() else {
            return Err(Fault::new(Code::Internal, "no exchange"));
        };
        // A limit that was set since the request came in binds what follows.
        if let Some(view) = &view {
            exchange.set_limits(view.limited, view.strict);
        }
        let Some(next) = exchange.next_candidate(now)? else { return Ok(None) };
        let Some(mut order) = next.hold else { return exchange.attempt(None).map(Some) };
        let strict = exchange.purse().is_some_and(|purse| purse.strict);
        if let Some(room) = view.and_then(|view| view.room)
            && let Some(counted) = counted(exchange, &order, room.tightest).await
        {
            order = counted;
        }
        match ctx.shared.keeper.hold(&order, at_ms).await {
            Ok(held) => {
                let grant = *held.grant();
                ctx.held = Some(held);
                return exchange.attempt(Some(grant)).map(Some);
            }
            Err(NoHold::Refused(refusal)) => exchange.on_no_money(&refusal),
            Err(NoHold::NoRoom) => exchange.pass_over(exhausted::elsewhere()),
            // Without a durable hold a hard cap could be exceeded; a soft one only warns anyway.
            Err(NoHold::NotDurable(why)) if strict => {
                if may_tell(now) {
                    tracing::error!(error = why, "holds cannot be made durable");
                }
                return Err(not_durable());
            }
            Err(NoHold::NotDurable(_)) => return exchange.attempt(None).map(Some),
        }
    }
}

/// The same order with its input counted in tokens, where its bytes do not fit into what is left and the
/// tokens might. Off the threads that carry streams, and for a few requests at a time.
async fn counted(exchange: &mut Exchange, order: &HoldOrder, room: NanoUsd) -> Option<HoldOrder> {
    let (vocabulary, body) = exchange.countable(order, room)?;
    let _turn = COUNTING.try_acquire().ok()?;
    let count = tokio::task::spawn_blocking(move || vocabulary.count(&body));
    exchange.recounted(vocabulary, count.await.ok()??)
}

/// Keeps the provider's name for the attempt with its hold, where the answer's header has one.
pub fn name(ctx: &mut Ctx, headers: &HeaderMap) {
    let provider = ctx.exchange.as_ref().and_then(|exchange| exchange.current_provider());
    let can_be_asked = provider.is_some_and(lookup::asks);
    let Some(held) = &mut ctx.held else { return };
    let named = headers.get(GENERATION).and_then(|value| value.to_str().ok());
    let fits = |name: &&str| {
        (1..=GENERATION_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    if let Some(name) = named.filter(fits) {
        held.name(Arc::from(name), can_be_asked);
    }
}

/// Settles the attempt before, which has been given up.
fn settle_given_up(ctx: &mut Ctx) {
    let Some(held) = ctx.held.take() else { return spend_given_up(ctx) };
    let owed = match &ctx.exchange {
        Some(exchange) if held.is_sent() => exchange.owed(),
        _ => Outcome::Nothing { reason: Reason::NotSent },
    };
    if let Some(settled) = held.settle(&owed) {
        ctx.booked = ctx.booked.saturating_add(settled.cost);
    }
}

/// Books an attempt that was sent without a hold and has been given up.
fn spend_given_up(ctx: &mut Ctx) {
    if !std::mem::take(&mut ctx.is_sent_unheld) {
        return;
    }
    let Some(exchange) = &ctx.exchange else { return };
    let (Some(purse), Outcome::Cost { cost, tokens, reason }) = (exchange.purse(), exchange.owed())
    else {
        return;
    };
    let order = SpendOrder {
        leaf: purse.leaf,
        cost,
        request: ctx.id,
        attempt: 0,
        model: exchange.last_model(),
        price_version: exchange.snapshot().catalog.price_version,
        tokens,
        reason,
    };
    ctx.booked = ctx.booked.saturating_add(cost);
    ctx.shared.keeper.spend(&order, unix_ms(ctx.now()));
}

/// Settles an attempt over a connection that turned out to be closed. Nobody knows whether the provider read
/// it before; the next try has a hold of its own.
pub fn settle_lost(ctx: &mut Ctx) {
    let (Some(held), Some(exchange)) = (ctx.held.take(), &ctx.exchange) else { return };
    if let Some(settled) = held.settle(&exchange.lost(Reason::Cut)) {
        ctx.booked = ctx.booked.saturating_add(settled.cost);
    }
}

/// Settles an answer whose cost is known already, before its last byte goes out.
pub fn settle_known(ctx: &mut Ctx) {
    let Some(known) = ctx.exchange.as_ref().and_then(|exchange| exchange.known_cost()) else {
        return;
    };
    if let Some(settled) = ctx.held.take().and_then(|held| held.settle(&known)) {
        ctx.booked = ctx.booked.saturating_add(settled.cost);
        ctx.is_settled = true;
    }
}

/// Settles the last attempt as the finished exchange says. What the whole request was booked at, if it was
/// booked.
pub fn settle_last(
    ctx: &mut Ctx,
    (outcome, unheld): (&Outcome, Option<SpendOrder>),
    now: Now,
) -> Option<NanoUsd> {
    if ctx.is_settled {
        return Some(ctx.booked);
    }
    match (ctx.held.take(), unheld) {
        (Some(held), _) => {
            let not_sent = Outcome::Nothing { reason: Reason::NotSent };
            let outcome = if held.is_sent() { outcome } else { &not_sent };
            let settled = held.settle(outcome)?;
            Some(ctx.booked.saturating_add(settled.cost))
        }
        (None, Some(order)) if ctx.is_sent_unheld && order.cost > NanoUsd::ZERO => {
            let booked = ctx.booked.saturating_add(order.cost);
            ctx.shared.keeper.spend(&order, unix_ms(now));
            Some(booked)
        }
        (None, _) => (ctx.booked > NanoUsd::ZERO).then_some(ctx.booked),
    }
}

/// Whether it may be told now that holds cannot be made durable. Every request would say so; that the store fails
/// and works again is told by the scribe, each once.
fn may_tell(now: Now) -> bool {
    static TOLD_US: AtomicU64 = AtomicU64::new(0);
    let told = TOLD_US.load(Ordering::Relaxed);
    let is_due = told == 0 || now.us.saturating_sub(told) >= HOLD_TROUBLE_TOLD_MS * 1_000;
    is_due
        && TOLD_US
            .compare_exchange(told, now.us.max(1), Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
}

fn not_durable() -> Fault {
    Fault::new(Code::Overloaded, "the ledger cannot be written at present; nothing was sent")
}

/// A budget refusal with how the agent's own account stands (S0-09), for an agent that was not let in.
fn unserved(ctx: &Ctx, (payer, agent): (AccountId, &str), fault: Fault) -> Fault {
    let standing = ctx.shared.keeper.look(|book, at_ms| book.standing(payer, at_ms));
    let offer = Offer { models: Vec::new(), tier: None };
    exhausted::explained(fault, agent, standing.as_ref(), &offer)
}

/// The same for a request that was planned already.
pub fn explained(ctx: &Ctx, fault: &Fault) -> Fault {
    let fault = fault.clone();
    let Some(exchange) = &ctx.exchange else { return fault };
    let Some(payer) = exchange.purse().map(|purse| purse.agent) else { return fault };
    let standing = ctx.shared.keeper.look(|book, at_ms| book.standing(payer, at_ms));
    exchange.explained(fault, standing.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_once_a_minute() {
        let at = |us| may_tell(Now { us, unix_ms: 0 });
        assert!(at(5) && !at(6) && !at(4));
        assert!(!at(HOLD_TROUBLE_TOLD_MS * 1_000) && at(HOLD_TROUBLE_TOLD_MS * 1_000 + 5));
    }
}
