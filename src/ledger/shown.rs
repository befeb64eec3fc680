//! How an account is shown: the seed's fields of `GET /api/spend`, and ours behind them (S0-15).
//!
//! The same words go to whoever asks and to the console. Who may see which account is decided elsewhere.

use crate::ledger::account::{AccountKey, Node};
use crate::ledger::forecast::Forecast;
use crate::ledger::standing::Standing;
use crate::wire::object::Object;

/// The name by which an account is shown and asked for: an agent's id, or `fleet`, `team:NAME`.
pub fn name(key: &AccountKey) -> &str {
    match key.node() {
        Node::Agent => key.name(),
        _ => key.as_str(),
    }
}

/// One account with where it is heading from `now_ms` on, as a JSON object.
pub fn foreseen(standing: &Standing, forecast: &Forecast, now_ms: i64) -> String {
    let seconds = forecast.exhausted_in_ms.map(|ms| (ms / 1_000).to_string());
    let end = forecast.exhausted_in_ms.and_then(|ms| now_ms.checked_add_unsigned(ms));
    let ahead = Object::default()
        .usd("hourly_usd", Some(forecast.hourly))
        .usd("projected_usd", forecast.projected)
        .raw("exhausted_in_s", seconds.as_deref().unwrap_or("null"))
        .time("exhausted_at", end)
        .end();
    object(standing).raw("forecast", &ahead).end()
}

/// One account, as a JSON object.
pub fn json(standing: &Standing) -> String {
    object(standing).end()
}

fn object(standing: &Standing) -> Object {
    let end = Some(standing.end_ms).filter(|end| *end != i64::MAX);
    // What has no end has no beginning either.
    let start = end.map(|_| standing.start_ms);
    let object = Object::default().text("agent_id", name(&standing.key));
    let object = match &standing.parent {
        Some(parent) => object.text("parent", name(parent)),
        None => object.raw("parent", "null"),
    };
    object
        .usd("budget_total", standing.limit)
        .usd("budget_spent", Some(standing.spent))
        .usd("budget_held", Some(standing.held))
        .usd("budget_remaining", standing.remaining)
        .text("budget_source", standing.source.name())
        .text("period", standing.cadence.name())
        .time("period_reset", standing.reset_at_ms.or(start))
        .time("period_ends", end)
        .flag("hard_cap", standing.hard)
        .flag("frozen", standing.frozen)
}
