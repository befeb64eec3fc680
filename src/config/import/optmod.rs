//! optmod's `config.yaml` (S2-03, S2-05, S2-09, S2-13): its pool of models, and of its settings what this
//! version has.
//!
//! Its routers come along by name; what they have learnt does not: files and measures of its training are of another
//! form, and the learned ones judge by the router of this program.

use crate::base::money::NanoUsd;
use crate::config::bound;
use crate::config::catalog::Tier;
use crate::config::import::draft::{Draft, Model, Provider, quoted};
use crate::config::import::reader::Reader;
use crate::config::problem::At;
use crate::config::section::Section;
use crate::config::yaml::Node;
use crate::routing::tier;

/// Where clients look for it (C-01).
const HOST: &str = "127.0.0.1";
const PORT: u64 = 8765;
const TIERS: [Tier; 3] = [Tier::Fast, Tier::Reasoning, Tier::Oracle];
const PASSTHROUGH: &str = "passthrough";
const ROUTERS: [&str; 5] = [PASSTHROUGH, "rule_based", "decision_tree", "trouter", "perf_router"];
/// Those that have learnt.
const LEARNED: [&str; 2] = ["trouter", "perf_router"];
/// How often it escalates, unless its file says otherwise.
const ESCALATIONS: u64 = 2;

/// What is read of the whole file.
const READ: [&str; 8] = [
    "router",
    "primary_model",
    "models",
    "log_path",
    "escalation",
    "max_escalations",
    "host",
    "port",
];
const OF_ROUTERS: [&str; 7] = [
    "policy_path",
    "perf_router",
    "perf_router_cost_weight",
    "perf_router_baseline",
    "perf_router_degradation_threshold",
    "perf_router_min_similarity",
    "trouter",
];
const HARD_WINDOW: &str = "session_pin_hard_window_s";
const SOFT_WINDOW: &str = "session_pin_soft_window_s";
const BONUS_WEIGHT: &str = "session_pin_soft_bonus_weight";
const OF_PINS: [&str; 3] = [HARD_WINDOW, SOFT_WINDOW, BONUS_WEIGHT];
const COMPRESSOR: &str = "tool_result_compressor";
const OF_MUTATORS: [&str; 2] = ["mutator", "mutators"];

/// What is read of one model.
const OF_MODEL: [&str; 13] = [
    "name",
    "provider",
    "base_url",
    "api_key_env",
    "tier",
    "tier_name",
    "context_window",
    "cost_per_1k",
    "supports_tools",
    "supports_vision",
    "thinking_mode",
    "thinking_default",
    "timeout_s",
];

/// A model, with what decides its place.
struct Pooled {
    model: Model,
    tier: Tier,
}

/// Gathers what the file says.
pub(super) fn draft<'a>(node: &'a Node, reader: &Reader<'a>) -> Draft {
    let top = super::top(node, reader);
    leave_later(&top, reader);
    let mut draft = Draft { listen: Some(listen(&top, reader)), ..Draft::default() };
    let items = top.items("models").unwrap_or_default();
    if items.is_empty() {
        top.problem("models", "is empty (at least one model)");
    }
    let mut pool: Vec<Pooled> = Vec::new();
    for (node, place) in items {
        let section = reader.open(node, place, &OF_MODEL);
        let Some(pooled) = pooled(&section, reader, &mut draft) else { continue };
        if pool.iter().any(|known| known.model.id == pooled.model.id) {
            section.problem("name", "is the name of a model before it (each has one of its own)");
        }
        pool.push(pooled);
    }
    draft.routing = order(&top, reader, &mut pool);
    draft.models = pool.into_iter().map(|pooled| pooled.model).collect();
    let escalations = escalations(&top, reader);
    draft.routing.push(format!("max_escalations: {escalations}"));
    draft.routing.push(format!("attempts_max: {}", escalations + 1));
    draft.rest = log(&top, &mut draft) + &pins(&top, reader) + &compressor(&top, reader);
    draft
}

/// What this version does not have.
fn leave_later(top: &Section<'_>, reader: &Reader<'_>) {
    let known = [&READ[..], &OF_ROUTERS, &OF_PINS, &OF_MUTATORS, &[COMPRESSOR]].concat();
    reader.leave_strangers(top, &known);
    reader.leave(
        top,
        &OF_ROUTERS,
        "is of its own training; routing.learned and routing.decision_tree are ours",
    );
    reader.leave(top, &OF_MUTATORS, "models are told to think where a strategy asks for it");
}

fn listen(top: &Section<'_>, reader: &Reader<'_>) -> String {
    let port = reader.count(top, "port", u64::from(u16::MAX)).unwrap_or(PORT);
    let local = ["127.0.0.1", "localhost", "::1"];
    if let Some(at) = top.text("host").filter(|at| !local.contains(&at.value.text.trim())) {
        let why = "the network is not listened to before there are keys: add auth.agent_keys, and then the \
                   address to server.listen";
        reader.losses.add(&at.place, why);
    }
    format!("{HOST}:{port}")
}

fn pooled(section: &Section<'_>, reader: &Reader<'_>, draft: &mut Draft) -> Option<Pooled> {
    section.require("name", "the name of the model at its provider");
    section.require("base_url", "like https://openrouter.ai/api/v1");
    let tier = tier(section, reader);
    let provider = provider(section, reader, draft);
    let name = section.text("name").filter(|name| reader.has_name(name))?;
    let mut model = Model::new(&draft.carried(&name.value.text), &provider?).tier(tier);
    if let Some(price) = price(section, reader) {
        model.more.push(("price", price));
    }
    if let Some(tokens) = reader.count(section, "context_window", bound::CONTEXT_TOKENS.max) {
        model.more.push(("context_tokens", tokens.to_string()));
    }
    for (theirs, ours) in
        [("supports_vision", "vision"), ("supports_tools", "tools"), ("thinking_mode", "thinking")]
    {
        if let Some(flag) = section.flag(theirs) {
            model.more.push((ours, flag.value.to_string()));
        }
    }
    if section.flag_or("thinking_default", false) {
        let why = "models are told to think where a strategy asks for it, not in each request";
        reader.losses.add(&section.place_of("thinking_default"), why);
    }
    Some(Pooled { model, tier })
}

/// By number, by name, or both if they agree; without either it is in the middle.
fn tier(section: &Section<'_>, reader: &Reader<'_>) -> Tier {
    let number = section.text("tier").and_then(|at| {
        let found = at.value.text.parse().ok().and_then(|at: usize| TIERS.get(at).copied());
        if found.is_none() {
            reader.refuse(&at, "is not a tier (0 to 2)");
        }
        found
    });
    let name = section.text("tier_name").and_then(|at| {
        let found = TIERS.into_iter().find(|tier| tier.name() == at.value.text);
        if found.is_none() {
            reader.refuse(&at, "is not the name of a tier (fast, reasoning, oracle)");
        }
        found
    });
    if let (Some(number), Some(name)) = (number, name)
        && number != name
    {
        let message = format!("is another tier than `tier`, which is {}", number.name());
        section.problem("tier_name", message);
    }
    number.or(name).unwrap_or_default()
}

/// Its one price is that of input; without another one, output counts the same.
fn price(section: &Section<'_>, reader: &Reader<'_>) -> Option<String> {
    const THOUSANDS_IN_MILLION: i64 = 1_000;
    let per_thousand = reader.usd(section, "cost_per_1k")?;
    let Some(per_million) = per_thousand.value.0.checked_mul(THOUSANDS_IN_MILLION) else {
        section.problem("cost_per_1k", "is too large (USD for 1000 tokens)");
        return None;
    };
    let usd = NanoUsd(per_million);
    if usd > NanoUsd::ZERO {
        let why =
            "is one price for all tokens, so output is counted at it as well: see what it costs";
        reader.losses.add(&per_thousand.place, why);
    }
    Some(format!("{{input: {usd}, output: {usd}}}"))
}

/// The provider of a model: one for each name, address and key.
fn provider(section: &Section<'_>, reader: &Reader<'_>, draft: &mut Draft) -> Option<String> {
    let variable = reader.variable_name(section, "api_key_env");
    let timeout = reader.millis(section, "timeout_s");
    let given = section.text("provider");
    let base = reader.url(section, "base_url", false)?;
    let base = draft.address(&base.value.text);
    let key = variable.map(|name| draft.reference(&name));
    let wish = given.map_or_else(|| host(&base).to_owned(), |given| given.value.text);
    let alike = |known: &&mut Provider| {
        known.base_url == base && known.key == key && (known.name == wish || wish.is_empty())
    };
    if let Some(known) = draft.providers.iter_mut().find(alike) {
        slowest(known, timeout, section, reader);
        return Some(known.name.clone());
    }
    let name = draft.provider_name(&wish);
    let mut provider = Provider::new(name.clone(), base);
    provider.key = key;
    provider.timeout_ms = timeout;
    draft.providers.push(provider);
    Some(name)
}

/// Models of one provider wait equally long here.
fn slowest(known: &mut Provider, timeout: Option<u64>, section: &Section<'_>, reader: &Reader<'_>) {
    if timeout.is_some() && known.timeout_ms.is_some() && known.timeout_ms != timeout {
        let why =
            "the models of one provider wait equally long here, and the longest time was taken";
        reader.losses.add(&section.place_of("timeout_s"), why);
    }
    known.timeout_ms = known.timeout_ms.max(timeout);
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or(rest)
}

/// Puts the models in the order in which they are tried, and says who chooses among them.
fn order(top: &Section<'_>, reader: &Reader<'_>, pool: &mut [Pooled]) -> Vec<String> {
    let router = top.text("router");
    let name = router.as_ref().map_or("perf_router", |at| at.value.text.as_str());
    if let Some(at) = router.as_ref().filter(|at| !ROUTERS.contains(&at.value.text.as_str())) {
        reader.refuse(at, &format!("is not a router ({})", ROUTERS.join(", ")));
    }
    let rank = |tier: Tier| TIERS.iter().position(|known| *known == tier);
    pool.sort_by_key(|pooled| rank(pooled.tier));
    let primary = top.text("primary_model");
    let place = primary.as_ref().and_then(|at| {
        let place = pool.iter().position(|pooled| pooled.model.id == at.value.text);
        if place.is_none() {
            reader.refuse(at, "is not the name of a model of this file");
        }
        place
    });
    if name == PASSTHROUGH {
        if let Some(place) = place {
            pool[..=place].rotate_right(1);
        }
        return vec!["strategy: passthrough   # the first of the models, then the next".to_owned()];
    }
    if LEARNED.contains(&name) {
        let why = "is learned here; what its own training has found does not come along";
        reader.losses.add(&top.place_of("router"), why);
    }
    let primary = place.and_then(|place| pool.get(place)).map(|pooled| quoted(&pooled.model.id));
    let primary = primary.map(|id| format!("primary_model: {id}"));
    std::iter::once(format!("strategy: {name}")).chain(primary).collect()
}

/// How often a stronger model is tried.
fn escalations(top: &Section<'_>, reader: &Reader<'_>) -> u64 {
    let nested = top.child("escalation");
    let nested = nested.inspect(|it| reader.leave_strangers(it, &["max_escalations"]));
    let of = |section: &Section<'_>| {
        let at = section.text("max_escalations")?;
        let number = at.value.text.parse().ok().filter(|it| *it < bound::ATTEMPTS.max);
        if number.is_none() {
            let allowed =
                format!("is not a number of escalations (0 to {})", bound::ATTEMPTS.max - 1);
            reader.refuse(&at, &allowed);
        }
        number
    };
    let given = nested.and_then(|nested| of(&nested)).or_else(|| of(top));
    given.unwrap_or(ESCALATIONS)
}

/// Its compressor, without what that loses.
fn compressor(top: &Section<'_>, reader: &Reader<'_>) -> String {
    if !top.flag_or(COMPRESSOR, false) {
        return String::new();
    }
    let why = "comes along without its limits, by which facts are lost; `lossy: true` sets them";
    reader.losses.add(&top.place_of(COMPRESSOR), why);
    "\nmutators:\n  tool_results: {enabled: true}\n".to_owned()
}

/// The windows of session pins (S2-13), where the file names any.
fn pins(top: &Section<'_>, reader: &Reader<'_>) -> String {
    let hard = reader.count(top, HARD_WINDOW, bound::HARD_WINDOW_S.max);
    let soft = reader.count(top, SOFT_WINDOW, bound::SOFT_WINDOW_S.max);
    // There a soft window that ends before the hard one is none.
    let ends = soft.unwrap_or(bound::SOFT_WINDOW_S.default);
    let soft = hard.map(|hard| ends.max(hard)).or(soft);
    let weight = top.text(BONUS_WEIGHT).filter(|at| {
        let is_share = tier::parse_share(&at.value.text).is_ok();
        if !is_share {
            reader.refuse(at, "is not a share (0 to 1)");
        }
        is_share
    });
    let line = |key: &str, value: Option<String>| value.map(|value| format!("  {key}: {value}\n"));
    let lines = [
        line("hard_window_s", hard.map(|it| it.to_string())),
        line("soft_window_s", soft.map(|it| it.to_string())),
        line("soft_bonus_weight", weight.map(|at| at.value.text.trim().to_owned())),
    ];
    let lines: String = lines.into_iter().flatten().collect();
    if lines.is_empty() { lines } else { format!("\npinning:\n{lines}") }
}

/// A line for each request, in the file where it was, though with our fields (S2-18).
fn log(top: &Section<'_>, draft: &mut Draft) -> String {
    let Some(At { value, .. }) = top.text("log_path") else { return String::new() };
    let path = value.text.trim();
    let path = match path.strip_prefix("~/") {
        Some(rest) => format!("${{HOME}}/{rest}"),
        None if path.contains('/') || path.is_empty() => path.to_owned(),
        None => format!("./{path}"),
    };
    if path.is_empty() {
        return String::new();
    }
    format!("\nlog:\n  access: {}\n", quoted(&draft.carried(&path)))
}
