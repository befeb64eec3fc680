//! The calls of the control API about strategies (S2-06, S2-18 to S2-20), under our paths and under those of the
//! seed. A switch is in force for the next request; nothing of one that runs is changed.

use serde_json::{Value, json};

use crate::admin::handlers::{Parts, Refusal, active_pins, reload};
use crate::base::fault::Code;
use crate::base::money::{PicoUsd, PicoUsdPerToken};
use crate::config::catalog::Model;
use crate::config::current::Current;
use crate::exchange::route::unknown_router;
use crate::routing::strategy::Strategy;
use crate::wire::object::Object;

/// Tokens that a price is told for (S2-03).
const TOLD_TOKENS: u64 = 1_000;

/// `GET /api/routing`, `GET /optmod/status` (S2-19): who chooses, and among whom.
pub fn status(parts: &Parts) -> String {
    let current = parts.live.load_full();
    let routing = &current.snapshot.routing;
    let catalog = &current.snapshot.catalog;
    let own = catalog.models().iter();
    let own = own.filter(|model| !model.is_wildcard() && model.provider.fence.is_none());
    let first = routing.primary.or_else(|| catalog.models().iter().position(|model| model.enabled));
    let primary = first.and_then(|index| catalog.get(index)).map_or("", |model| &*model.id);
    let models: Vec<String> = own.map(model).collect();
    let is_switched = current.controls.strategy().is_some();
    Object::default()
        .text("router", current.strategy().name())
        .text("router_source", if is_switched { "switched" } else { "file" })
        .raw("routers", &json!(Strategy::ALL.map(Strategy::name)).to_string())
        .text("primary_model", primary)
        .text("primary", primary)
        .raw("max_escalations", &routing.max_escalations.to_string())
        .flag("decision_tree", routing.tree.is_some())
        .flag("learned", routing.learned.is_some())
        .text("compressor", compressor(&current))
        .raw("active_pins", &active_pins(parts).to_string())
        .raw("pinning", &pinning(&current).to_string())
        .raw("models", &format!("[{}]", models.join(",")))
        .end()
}

/// How long sessions stay with a model.
fn pinning(current: &Current) -> Value {
    let pinning = &current.snapshot.pinning;
    json!({
        "enabled": pinning.enabled,
        "hard_window_s": pinning.windows.hard_ms / 1_000,
        "soft_window_s": pinning.windows.soft_ms / 1_000,
        "soft_bonus_weight_ppm": pinning.bonus_ppm,
        "cache_aware": pinning.cache_aware,
        "keep": pinning.keep.name(),
    })
}

fn compressor(current: &Current) -> &'static str {
    if current.shortens_tool_results() { "on" } else { "off" }
}

fn model(model: &Model) -> String {
    let per_1k = |rate: PicoUsdPerToken| {
        model.priced.then(|| PicoUsd::default().plus(TOLD_TOKENS, rate).round_up())
    };
    Object::default()
        .text("name", &model.id)
        .text("provider", &model.provider.name)
        .text("tier", model.tier.name())
        .usd("cost_per_1k", per_1k(model.price.base.input))
        .usd("output_cost_per_1k", per_1k(model.price.base.output))
        .flag("enabled", model.enabled)
        .end()
}

/// `POST /api/routing/{strategy}`: that one chooses from now on, until the process ends.
///
/// # Errors
/// There is no such strategy.
pub fn switch(parts: &Parts, name: &str) -> Result<Value, Refusal> {
    let strategy = Strategy::from_name(name)
        .ok_or_else(|| Refusal::new(Code::InvalidRequest, unknown_router(name)))?;
    set(parts, strategy);
    Ok(json!({"router": strategy.name(), "ok": true}))
}

/// `POST /optmod/router/{router}` (S2-06): the same in the words of the seed.
pub fn switch_router(parts: &Parts, name: &str) -> (u16, Value) {
    let Some(strategy) = Strategy::from_name(name) else {
        return (400, json!({"error": unknown_router(name)}));
    };
    set(parts, strategy);
    (200, json!({"router": name, "ok": true}))
}

fn set(parts: &Parts, strategy: Strategy) {
    let current = parts.live.load_full();
    if let Some(learned) = current.snapshot.routing.learned.as_ref()
        && strategy == Strategy::Learned
    {
        // Whoever switches waits for it to be read, and no request does.
        learned.ready();
    }
    current.controls.set_strategy(strategy.place());
    tracing::info!(strategy = strategy.name(), "strategy switched");
}

/// `POST /optmod/restart` (S2-20): reads the configuration anew, as `POST /api/reload` does.
///
/// # Errors
/// It has problems, and the old one stays in force.
pub fn restart(parts: &Parts) -> Result<Value, Refusal> {
    let reloaded = reload(parts)?;
    let message = format!("the configuration was read anew, as version {}", reloaded.version);
    Ok(json!({"ok": true, "message": message}))
}
