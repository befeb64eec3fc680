//! The calls of the control API about money: spend, budgets, resets, freezing, limbo (S0-15 to S0-17).
//!
//! Amounts are written as decimals from integers and read digit by digit: no float comes near them. What a
//! caller may see or change is decided before these are called.

use std::sync::Arc;

use serde_json::Value;

use crate::admin::handlers::{Parts, Refusal};
use crate::base::fault::Code;
use crate::base::limit::LIMBO_LISTED_MAX;
use crate::base::money::{MoneyError, NanoUsd};
use crate::config::snapshot::Snapshot;
use crate::engine::bookkeeper::Bookkeeper;
use crate::identity::keyring::Grant;
use crate::ledger::account::{AccountId, AccountKey, Node};
use crate::ledger::amount::{self, Amount, BadAmount};
use crate::ledger::book::Book;
use crate::ledger::entry::{Entry, HoldId, Reason};
use crate::ledger::saved::OpenHold;
use crate::ledger::shown;
use crate::ledger::standing::Standing;
use crate::telemetry::money::Shown;
use crate::wire::object::Object;
use crate::wire::syntax::Span;

/// Whose spend a caller may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Everybody's.
    All,
    /// That of one agent.
    Own(Arc<str>),
}

impl Sight {
    /// What a key lets its holder see.
    ///
    /// # Errors
    /// `agent_forbidden` for keys that speak for any agent, and so are nobody's own.
    pub fn of(grant: Option<Grant>, snapshot: &Snapshot) -> Result<Self, Refusal> {
        match grant {
            Some(Grant::Admin) => Ok(Self::All),
            Some(Grant::Agent(index)) => match snapshot.gate.agents.at(index) {
                Some(agent) => Ok(Self::Own(Arc::clone(&agent.id))),
                None => Err(forbidden()),
            },
            _ => Err(forbidden()),
        }
    }

    fn shows(&self, agent: &str) -> bool {
        match self {
            Self::All => true,
            Self::Own(own) => &**own == agent,
        }
    }
}

fn forbidden() -> Refusal {
    let message = "spend is shown to an admin key, or to a key that is bound to the agent";
    Refusal::new(Code::AgentForbidden, message)
}

fn unknown(agent: &str) -> Refusal {
    let message = format!("no agent `{agent}` is configured");
    Refusal { status: 404, code: "agent_not_found", message: message.into(), problems: Vec::new() }
}

/// The account that a name in a path means: an agent's id, or `fleet`, `team:NAME`, `session:AGENT/ID`.
fn key_of(snapshot: &Snapshot, name: &str) -> Result<AccountKey, Refusal> {
    if let Some(agent) = snapshot.gate.agents.get(name) {
        return Ok(AccountKey::agent(&agent.id));
    }
    AccountKey::parse(name).ok_or_else(|| unknown(name))
}

fn standing(keeper: &Bookkeeper, key: &AccountKey) -> Result<Standing, Refusal> {
    keeper.standing(key).ok_or_else(|| unknown(key.name()))
}

/// `GET /api/spend`: every account that the caller may see, by name.
///
/// # Errors
/// None at present.
pub fn spend_all(keeper: &Bookkeeper, sight: &Sight) -> String {
    keeper.spend_json(|key| match key.node() {
        Node::Agent => sight.shows(key.name()),
        Node::Fleet | Node::Team => *sight == Sight::All,
        Node::Session => false,
    })
}

/// `GET /api/spend/{agent}` (S0-15).
///
/// # Errors
/// `agent_not_found`; `agent_forbidden` for somebody else's.
pub fn spend_one(
    (keeper, snapshot): (&Bookkeeper, &Snapshot),
    sight: &Sight,
    name: &str,
) -> Result<String, Refusal> {
    if !sight.shows(name) {
        return Err(Refusal::new(Code::AgentForbidden, "this key may read its own spend only"));
    }
    let standing = standing(keeper, &key_of(snapshot, name)?)?;
    let now_ms = keeper.unix_ms();
    Ok(shown::foreseen(&standing, &keeper.paces.forecast(&standing, now_ms), now_ms))
}

/// What `POST /api/budget/{agent}` changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetChange {
    /// The new limit; `Some(None)` = that of the configuration again.
    pub total: Option<Option<NanoUsd>>,
    /// What counts as spent in the present period.
    pub spent: Option<NanoUsd>,
}

impl BudgetChange {
    /// Reads the body.
    ///
    /// # Errors
    /// `invalid_json`; `invalid_request` naming the field.
    pub fn read(body: &[u8]) -> Result<Self, Refusal> {
        check_object(body)?;
        let total = match amount(body, "budget_total")? {
            Amount::Absent => None,
            Amount::Null => Some(None),
            Amount::Usd(usd) => Some(Some(usd)),
        };
        let spent = required(body, "budget_spent")?;
        if total.is_none() && spent.is_none() {
            let message = "name budget_total or budget_spent";
            return Err(Refusal::new(Code::InvalidRequest, message));
        }
        Ok(Self { total, spent })
    }
}

fn check_object(body: &[u8]) -> Result<(), Refusal> {
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err(Refusal::new(Code::InvalidRequest, "the body must be a JSON object")),
        Err(error) => Err(Refusal::new(Code::InvalidJson, format!("the body is no JSON: {error}"))),
    }
}

fn amount(body: &[u8], field: &'static str) -> Result<Amount, Refusal> {
    amount::member(body, Span::whole(body), field).map_err(|bad| refused(&bad))
}

/// An amount that cannot be `null`.
fn required(body: &[u8], field: &'static str) -> Result<Option<NanoUsd>, Refusal> {
    match amount(body, field)? {
        Amount::Absent => Ok(None),
        Amount::Null => Err(refused(&BadAmount { field, why: MoneyError::NotDecimal })),
        Amount::Usd(usd) => Ok(Some(usd)),
    }
}

fn refused(bad: &BadAmount) -> Refusal {
    Refusal::new(Code::InvalidRequest, bad.to_string())
}

/// `POST /api/budget/{agent}` (S0-16). Durable when it answers.
///
/// Whoever says what is spent vouches for the whole budget: the limit in force is then the console's too,
/// and holds until `budget_total: null` gives it back to the configuration.
///
/// # Errors
/// `agent_not_found`, a bad body, a ledger that cannot be written.
pub async fn set_budget(parts: &Parts, name: &str, body: &[u8]) -> Result<String, Refusal> {
    let key = key_of(&parts.live.load().snapshot, name)?;
    let change = BudgetChange::read(body)?;
    change_account(parts, &key, move |book, account, at_ms| {
        let mut entries = Vec::new();
        let in_force = book.standing(account, at_ms).and_then(|standing| standing.limit);
        let pinned = in_force.filter(|_| change.spent.is_some()).map(Some);
        if let Some(total) = change.total.or(pinned) {
            entries.extend(book.set_limit(account, total, Reason::Admin, at_ms));
        }
        if let Some(spent) = change.spent {
            entries.extend(book.set_spent(account, spent, Reason::Admin, at_ms));
        }
        entries
    })
    .await?;
    changed(parts, &key, "updated")
}

/// `POST /api/reset/{agent}` (S0-17). Durable when it answers.
///
/// # Errors
/// `agent_not_found`, a ledger that cannot be written.
pub async fn reset(parts: &Parts, name: &str) -> Result<String, Refusal> {
    let key = key_of(&parts.live.load().snapshot, name)?;
    change_account(parts, &key, |book, account, at_ms| book.reset(account, Reason::Admin, at_ms))
        .await?;
    changed(parts, &key, "reset")
}

/// `POST /api/freeze/{agent}` and `/api/thaw/{agent}`. Durable when it answers.
///
/// # Errors
/// `agent_not_found`, a ledger that cannot be written.
pub async fn set_frozen(parts: &Parts, name: &str, frozen: bool) -> Result<String, Refusal> {
    let key = key_of(&parts.live.load().snapshot, name)?;
    change_account(parts, &key, move |book, account, at_ms| {
        book.set_frozen(account, frozen, Reason::Admin, at_ms).into_iter().collect()
    })
    .await?;
    if !frozen && let Some(standing) = parts.keeper.standing(&key) {
        parts.keeper.runaways.forget(standing.id);
    }
    changed(parts, &key, if frozen { "frozen" } else { "thawed" })
}

async fn change_account(
    parts: &Parts,
    key: &AccountKey,
    change: impl FnOnce(&mut Book, AccountId, i64) -> Vec<Entry>,
) -> Result<(), Refusal> {
    let found = parts.keeper.change(|book, at_ms| match book.id(key) {
        Some(account) => (true, change(book, account, at_ms)),
        None => (false, Vec::new()),
    });
    match found.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(unknown(key.name())),
        Err(error) => Err(not_yet_durable(&error)),
    }
}

/// The change counts from now on, as a freeze should when the disk is full; only an end of the process before the
/// ledger can be written again would lose it.
fn not_yet_durable(error: &str) -> Refusal {
    let told =
        "the change is in force, but would be lost with the process: the ledger cannot be written";
    Refusal::new(
        Code::Overloaded,
        format!("{told} at present, and will be when that is over: {error}"),
    )
}

fn not_durable(error: &str) -> Refusal {
    Refusal::new(Code::Overloaded, format!("the ledger cannot be written at present: {error}"))
}

fn changed(parts: &Parts, key: &AccountKey, status: &str) -> Result<String, Refusal> {
    let standing = standing(&parts.keeper, key)?;
    let head = Object::default().text("status", status).end();
    // One object: the status first, as the seed has it, then how the account stands now.
    Ok(format!("{},{}", head.trim_end_matches('}'), &shown::json(&standing)[1..]))
}

/// `GET /api/limbo`: holds of which nobody knows what became of them, oldest first.
///
/// # Errors
/// The ledger cannot be read.
pub async fn limbo(parts: &Parts) -> Result<String, Refusal> {
    let open = parts.keeper.limbo(LIMBO_LISTED_MAX).await.map_err(|error| not_durable(&error))?;
    let accounts = parts.keeper.accounts();
    let name = |hold: &OpenHold| {
        let leaf = hold.path.first().map(|step| step.account);
        let account = accounts.iter().find(|account| Some(account.id) == leaf);
        account.map(|account| shown::name(&account.key).to_owned()).unwrap_or_default()
    };
    let total: i128 = open.iter().map(|hold| i128::from(hold.booked())).sum();
    let items: Vec<String> = open.iter().map(|hold| limbo_json(hold, &name(hold))).collect();
    let total = NanoUsd(i64::try_from(total).unwrap_or(i64::MAX));
    Ok(Object::default()
        .raw("count", &items.len().to_string())
        .usd("total", Some(total))
        .raw("holds", &format!("[{}]", items.join(",")))
        .end())
}

fn limbo_json(hold: &OpenHold, agent: &str) -> String {
    let request = hold.made.request.map(|id| id.to_string()).unwrap_or_default();
    Object::default()
        .text("hold", &hold.hold.0.to_string())
        .text("agent_id", agent)
        .text("request_id", &request)
        .raw("attempt", &hold.made.attempt.to_string())
        .text("model", hold.made.model.as_deref().unwrap_or_default())
        .text("generation_id", hold.generation.as_deref().unwrap_or_default())
        .usd("held", Some(NanoUsd(hold.made.held)))
        .usd("booked", Some(NanoUsd(hold.booked())))
        .time("at", Some(hold.made.at_ms))
        .end()
}

/// `POST /api/limbo/{hold}`: what a hold in limbo really cost; the rest comes back, and what it cost
/// beyond its hold is charged.
///
/// # Errors
/// A bad body, no such hold, a ledger that cannot be written.
pub async fn settle_limbo(parts: &Parts, name: &str, body: &[u8]) -> Result<String, Refusal> {
    check_object(body)?;
    let Some(cost) = required(body, "cost")? else {
        return Err(Refusal::new(Code::InvalidRequest, "name the `cost`, in USD"));
    };
    let hold = name.parse().map(HoldId);
    let hold = hold.map_err(|_| Refusal::new(Code::NotFound, "a hold is a whole number"))?;
    let change = parts.keeper.correct(hold, cost, Reason::Admin).await;
    match change.map_err(|error| not_durable(&error))? {
        None => Err(Refusal::new(Code::NotFound, "no such hold is in limbo")),
        Some(NanoUsd(change)) => Ok(Object::default()
            .text("status", "settled")
            .text("hold", name)
            .usd("refunded", Some(NanoUsd(change.saturating_neg().max(0))))
            .usd("charged", Some(NanoUsd(change.max(0))))
            .end()),
    }
}

/// Sets the gauges of all configured budgets.
pub fn show(parts: &Parts) {
    let current = parts.live.load();
    let of_config = |key: &AccountKey| {
        key.node() != Node::Session
            && (key.node() != Node::Agent || current.snapshot.gate.agents.get(key.name()).is_some())
    };
    let accounts = parts.keeper.accounts();
    let standings = accounts
        .iter()
        .filter(|account| of_config(&account.key))
        .filter_map(|account| parts.keeper.standing(&account.key));
    let shown: Vec<Shown> = standings
        .map(|standing| Shown {
            agent: shown::name(&standing.key).to_owned(),
            limit: standing.limit.map(|limit| limit.0),
            spent: standing.spent.0,
            held: standing.held.0,
            forecast: parts.keeper.paces.forecast(&standing, parts.keeper.unix_ms()),
        })
        .collect();
    parts.metrics.money.show(&shown, i64::from(parts.keeper.level() as u8));
}
