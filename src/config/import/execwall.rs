//! Execwall's `policy.yaml` (S0-05 to S0-08): of all its sections only `cost_routing`.
//!
//! Execwall knows no prices: it refuses when nothing is left, and books what the provider says afterwards. A
//! hard cap here holds the most that a request can cost before it is sent, so each model gets a price that is
//! dearer than nearly all; what is booked is still what the provider says.

use std::fmt::Write as _;

use crate::config::import::draft::{Draft, Model, Provider, list, quoted};
use crate::config::import::reader::Reader;
use crate::config::problem::At;
use crate::config::section::{Section, shown};
use crate::config::yaml::{Node, Text};
use crate::ledger::account::Cadence;
use crate::routing::tier;

const SECTION: &str = "cost_routing";
const PROVIDER: &str = "openrouter";
const BASE_URL: &str = "https://openrouter.ai/api/v1";
const KEY: &str = "OPENROUTER_API_KEY";
const TIMEOUT_MS: u64 = 120_000;
/// Dearer than nearly all models, in USD per million tokens: an answer that costs more than was held for it
/// stops its agent.
const PRICE: &str = "{input: 15.00, output: 75.00}";
/// What nearly every model can do.
const OUTPUT_TOKENS: &str = "4096";
/// What is said of both.
const ABOUT_MODELS: &str = "Execwall knew no prices. These are dear guesses, by which a hard cap holds the most \
    that a request can cost; what is booked\n  # is what OpenRouter says. With the real price and length of \
    answers of each model, more requests fit near a cap.";
/// The periods that it knows.
const PERIODS: [Cadence; 4] = [Cadence::None, Cadence::Daily, Cadence::Weekly, Cadence::Monthly];

/// Gathers what the file says.
pub(super) fn draft<'a>(node: &'a Node, reader: &Reader<'a>) -> Draft {
    let top = super::top(node, reader);
    for (_, place) in top.strangers(&[SECTION]) {
        reader.losses.add(&place, "is not about models and money, and stays with Execwall");
    }
    let mut draft =
        Draft { metadata_field: "_execwall", about_models: ABOUT_MODELS, ..Draft::default() };
    top.require(SECTION, "the section of the cost router");
    let Some(section) = top.child(SECTION) else { return draft };
    reader.leave_strangers(&section, &["enabled", "console", "spend_log", "openrouter", "agents"]);
    let why = "spend is in the ledger (`weir ledger export` writes lines of this form); what was spent so \
               far is in budget_spent only";
    reader.leave(&section, &["spend_log"], why);
    if section.flag("enabled").is_some_and(|enabled| !enabled.value) {
        let why = "is false, but a gateway that is started serves";
        reader.losses.add(&section.place_of("enabled"), why);
    }
    provider(&section, reader, &mut draft);
    let agents = agents(&section, reader, &mut draft);
    let why = "no price and no length of answers is said for any model, which a hard cap needs to know before \
               it lets a request through: dear ones were written, see `models` in the result";
    reader.losses.add(&section.place_of("agents"), why);
    draft.rest = format!("{POLICY}\nagents:\n{agents}");
    if let Some(console) = section.child("console") {
        let console = self::console(&console, reader, &mut draft);
        draft.rest.push_str(&console);
    }
    draft
}

const POLICY: &str = "
budget:
  hysteresis_percent: 0   # a tier begins and ends at its share exactly
";

fn provider<'a>(section: &Section<'a>, reader: &Reader<'a>, draft: &mut Draft) {
    let given = section.child("openrouter");
    let given = given.inspect(|it| {
        reader.leave_strangers(it, &["base_url", "api_key", "timeout_seconds"]);
    });
    let base = given.as_ref().and_then(|given| reader.url(given, "base_url", false));
    let base = base.map_or_else(|| BASE_URL.to_owned(), |base| draft.address(&base.value.text));
    let key = given.as_ref().and_then(|given| given.text("api_key"));
    let timeout = given.as_ref().and_then(|given| reader.millis(given, "timeout_seconds"));
    let mut provider = Provider::new(PROVIDER.to_owned(), base);
    provider.native_fallback = true;
    provider.timeout_ms = Some(timeout.unwrap_or(TIMEOUT_MS));
    provider.key = key
        .filter(|key| !key.value.text.trim().is_empty())
        .map(|key| draft.secret(key.value.text.trim(), KEY, &key.place));
    draft.pass_through = provider.key.is_none();
    draft.providers.push(provider);
}

fn agents<'a>(section: &Section<'a>, reader: &Reader<'a>, draft: &mut Draft) -> String {
    let agents = section.map("agents");
    if agents.is_empty() {
        section.problem("agents", "is missing (at least one agent)");
        return String::new();
    }
    let mut out = String::new();
    for (id, node) in agents.into_iter().filter(|(id, _)| reader.has_name(id)) {
        agent(&id, node, reader, (draft, &mut out));
    }
    if out.is_empty() {
        section.problem("agents", "has no agent whose name can come along");
    }
    out
}

fn agent<'a>(
    id: &At<Text>,
    node: &'a Node,
    reader: &Reader<'a>,
    (draft, out): (&mut Draft, &mut String),
) {
    let known = [
        "budget_total",
        "budget_spent",
        "budget_source",
        "period",
        "period_reset",
        "hard_cap",
        "tiers",
    ];
    let agent = reader.open(node, id.place.clone(), &known);
    let why = "periods begin by the calendar (budget.timezone, UTC unless said otherwise)";
    reader.leave(&agent, &["period_reset"], why);
    agent.require("budget_total", "USD, like 50.00");
    let total = reader.usd(&agent, "budget_total");
    let spent = reader.usd(&agent, "budget_spent").filter(|spent| spent.value.0 > 0);
    let mut budget = format!("limit_usd: {}", total.map(|at| at.value).unwrap_or_default());
    if let Some(spent) = spent {
        let _ = write!(budget, ", spent_usd: {}", spent.value);
    }
    let period = period(&agent, reader);
    let hard = agent.flag_or("hard_cap", true);
    let _ = write!(budget, ", period: {}, hard_cap: {hard}", period.name());
    source(&agent, reader);
    let tiers = tiers(&agent, reader, draft);
    // Writing to a string cannot fail.
    let _ = write!(out, "  {}:\n    budget: {{{budget}}}\n", quoted(&id.value.text));
    if tiers.is_empty() {
        let why = "has none, so the agent may use every model of this file";
        reader.losses.add(&agent.place_of("tiers"), why);
    } else {
        let _ = write!(
            out,
            "    mode: budget   # the tier chooses, whatever model is asked for\n{tiers}"
        );
    }
}

fn period(agent: &Section<'_>, reader: &Reader<'_>) -> Cadence {
    let Some(at) = agent.text("period") else { return Cadence::None };
    let found = PERIODS.into_iter().find(|period| period.name() == at.value.text);
    if found.is_none() {
        reader.refuse(&at, "is not a period (none, daily, weekly, monthly)");
    }
    found.unwrap_or_default()
}

fn source(agent: &Section<'_>, reader: &Reader<'_>) {
    let Some(at) = agent.text("budget_source") else { return };
    match at.value.text.as_str() {
        "local" => {}
        "console" => {
            let why =
                "is not said per agent here: a limit of the console goes before that of the file";
            reader.losses.add(&at.place, why);
        }
        _ => reader.refuse(&at, "is not a source (local, console)"),
    }
}

fn tiers<'a>(agent: &Section<'a>, reader: &Reader<'a>, draft: &mut Draft) -> String {
    let mut lines = String::new();
    for (node, place) in agent.items("tiers").unwrap_or_default() {
        let tier = reader.open(node, place, &["threshold", "models"]);
        tier.require("threshold", "the share of the budget that must be left, 0 to 1");
        let share = tier.text("threshold").and_then(|at| share(&at, reader));
        let models = models(&tier, reader, draft);
        if let Some(share) = share.filter(|_| !models.is_empty()) {
            let models = list(models.iter().map(String::as_str));
            let _ = writeln!(lines, "      - {{remaining_min: {share}, models: {models}}}");
        }
    }
    if lines.is_empty() { lines } else { format!("    tiers:\n{lines}") }
}

/// The share of a tier, as it is written; one that is finer than ours is taken upwards, so that the tier begins
/// no later than it did.
fn share(at: &At<Text>, reader: &Reader<'_>) -> Option<String> {
    const DIGITS: usize = 6;
    let text = at.value.text.trim();
    let Err(error) = tier::parse_share(text) else { return Some(text.to_owned()) };
    let fraction = text.split_once('.').filter(|(whole, _)| whole.bytes().all(|b| b == b'0'));
    let digits = fraction.and_then(|(_, part)| part.get(..DIGITS)?.parse::<u32>().ok());
    if let (tier::ShareError::TooFine, Some(digits)) = (error, digits) {
        let share = (digits + 1).to_string();
        let is_whole = share.len() > DIGITS;
        let share = if is_whole { "1".to_owned() } else { format!("0.{share:0>DIGITS$}") };
        let why = format!("has more than {DIGITS} digits after the point, so {share} was taken");
        reader.losses.add(&at.place, format!("{} {why}", shown(&at.value)));
        return Some(share);
    }
    reader.refuse(at, &format!("{error} (0 to 1, at most 6 digits after the point)"));
    None
}

/// The models of a tier, each of which becomes one of ours.
fn models<'a>(tier: &Section<'a>, reader: &Reader<'a>, draft: &mut Draft) -> Vec<String> {
    let given = tier.texts("models").unwrap_or_default();
    if given.is_empty() {
        tier.problem("models", "is empty (at least one model)");
    }
    let mut ids: Vec<String> = Vec::new();
    for At { value, place } in given.into_iter().filter(|name| reader.has_name(name)) {
        let id = draft.carried(&value.text);
        if ids.contains(&id) {
            reader.losses.add(&place, format!("{} stands in this tier already", shown(&value)));
            continue;
        }
        if draft.models.iter().all(|model| model.id != id) {
            let mut model = Model::new(&id, PROVIDER);
            model.more.push(("price", PRICE.to_owned()));
            model.more.push(("output_tokens_max", OUTPUT_TOKENS.to_owned()));
            draft.models.push(model);
        }
        ids.push(id);
    }
    ids
}

fn console<'a>(console: &Section<'a>, reader: &Reader<'a>, draft: &mut Draft) -> String {
    reader.leave_strangers(console, &["enabled", "url", "sync_interval_seconds", "api_key"]);
    let enabled = console.flag_or("enabled", false);
    let mut out = format!("\nconsole:\n  enabled: {enabled}\n");
    let url = console.text("url").filter(|url| !url.value.text.trim().is_empty());
    if let Some(at) = url.and_then(|_| reader.url(console, "url", false)) {
        let _ = writeln!(out, "  url: {}", quoted(&draft.address(&at.value.text)));
        let why = "is asked for GET {url}/budgets and told by POST {url}/spend: see whether it knows these";
        reader.losses.add(&at.place, why);
    } else if enabled {
        console.problem("url", "is missing (the console is enabled)");
    }
    if let Some(seconds) = reader.count(console, "sync_interval_seconds", 86_400) {
        let _ = writeln!(out, "  sync_interval_seconds: {seconds}");
    }
    if let Some(at) = console.text("api_key").filter(|at| !at.value.text.trim().is_empty()) {
        let key = key_of_console(&at, enabled, draft);
        let _ = writeln!(out, "  api_key: {}", quoted(&key));
    }
    out
}

/// A console that is not in use must not make its variable needed.
fn key_of_console(at: &At<Text>, enabled: bool, draft: &mut Draft) -> String {
    let given = at.value.text.trim();
    let name = given.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    match name.filter(|name| !enabled && !name.contains(":-")) {
        Some(name) => format!("${{{name}:-}}"),
        None => draft.secret(given, "JETPATCH_API_KEY", &at.place),
    }
}
