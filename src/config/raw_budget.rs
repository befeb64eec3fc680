//! Everything about money in the file: `budget`, `fleet`, `teams`, and the budgets, tiers and limits of
//! agents. What they mean together is `check_budget`'s business.

use std::sync::Arc;

use crate::base::limit::ID_HEADER_BYTES_MAX;
use crate::base::money::NanoUsd;
use crate::config::bound;
use crate::config::budgets::{Levels, Policy, Runaway, RunawayAction, UnknownPrice, Webhook};
use crate::config::keys;
use crate::config::problem::{At, Place, Problems};
use crate::config::raw::check_name;
use crate::config::section::{Section, shown, text};
use crate::config::yaml::{Node, Text};
use crate::ledger::account::{Cadence, Terms};
use crate::routing::tier;
use crate::upstream::target::BaseUrl;

/// The zone of budgets that name none.
pub const ZONE: &str = "UTC";

/// Parts per million in one percent.
const PPM_PER_PERCENT: u32 = 10_000;

/// `budget`.
pub struct RawPolicy {
    /// What holds for all budgets.
    pub policy: Policy,
    /// Where `unknown_price` stands, or would stand.
    pub unknown_price_place: Place,
}

/// A budget.
pub struct RawBudget {
    /// What may be spent.
    pub terms: Terms,
    /// What counts as spent at the very beginning.
    pub initial_spent: NanoUsd,
    /// Whether the period was said.
    pub has_period: bool,
}

/// `fleet`.
pub struct RawFleet {
    /// Its budget.
    pub budget: Option<RawBudget>,
    /// Its levels.
    pub levels: Levels,
    /// Where the levels stand, or would stand.
    pub levels_place: Place,
    /// A model and the one that takes its place.
    pub downgrade: Vec<(At<Text>, At<Text>)>,
    /// The only models from the level HARD on; `None` = those of the tier `fast`.
    pub cheapest: Option<Vec<At<Text>>>,
    /// Where changes of the level are told.
    pub webhook: Option<At<Webhook>>,
}

/// `teams.<name>`.
pub struct RawTeam {
    /// Its name.
    pub name: At<Text>,
    /// The team that it belongs to.
    pub parent: Option<At<Text>>,
    /// Its budget.
    pub budget: Option<RawBudget>,
}

/// `agents.<id>.tiers[]`.
pub struct RawTier {
    /// The share of the limit that must be left, in parts per million, and where it stands.
    pub remaining_min_ppm: At<u32>,
    /// Ids of models.
    pub models: Vec<At<Text>>,
}

/// `agents.<id>.breaker`.
pub struct RawRunaway {
    /// Its limits.
    pub runaway: Runaway,
    /// Where the action stands, or would stand.
    pub action_place: Place,
}

/// Reads `budget`.
pub fn policy(section: &Section<'_>) -> RawPolicy {
    let words = [UnknownPrice::Refuse, UnknownPrice::AssumeMax, UnknownPrice::Free];
    let words = words.map(|word| (word.name(), word));
    let hysteresis_percent = section.number("hysteresis_percent", &bound::HYSTERESIS_PERCENT);
    let hysteresis_percent = u32::try_from(hysteresis_percent).unwrap_or_default();
    RawPolicy {
        policy: Policy {
            unknown_price: section.choice("unknown_price", &words, &[]).unwrap_or_default(),
            output_floor_tokens: section.number("output_floor_tokens", &bound::OUTPUT_FLOOR_TOKENS),
            charge_5xx: section.flag_or("charge_5xx", false),
            hysteresis_ppm: hysteresis_percent * PPM_PER_PERCENT,
            image_tokens_max: section.number("image_tokens_max", &bound::IMAGE_TOKENS),
        },
        unknown_price_place: section.place_of("unknown_price"),
    }
}

/// Reads `fleet`.
pub fn fleet(section: &Section<'_>, problems: &Problems) -> RawFleet {
    let pair = |(name, node): (At<Text>, &Node)| {
        let cheaper = text(node, name.place.clone(), problems)?;
        Some((name, cheaper))
    };
    let levels = section.section("levels", &keys::LEVELS);
    let cheapest = section.texts("cheapest");
    if cheapest.as_ref().is_some_and(Vec::is_empty) {
        let allowed = "(name at least one model, or leave it out for those of the tier fast)";
        section.problem("cheapest", format!("is empty {allowed}"));
    }
    RawFleet {
        budget: budget(section, "budget"),
        levels_place: levels.place.clone(),
        levels: self::levels(&levels),
        downgrade: section.map("downgrade").into_iter().filter_map(pair).collect(),
        cheapest,
        webhook: webhook(section),
    }
}

fn levels(section: &Section<'_>) -> Levels {
    let levels = Levels {
        warning: amount(section, "warning_usd"),
        soft: amount(section, "soft_usd"),
        hard: amount(section, "hard_usd"),
        emergency: amount(section, "emergency_usd"),
    };
    let given = [
        ("warning_usd", levels.warning),
        ("soft_usd", levels.soft),
        ("hard_usd", levels.hard),
        ("emergency_usd", levels.emergency),
    ];
    let mut below: Option<(&str, NanoUsd)> = None;
    for (key, level) in given.into_iter().filter_map(|(key, level)| Some((key, level?))) {
        if let Some((lower, _)) = below.filter(|(_, lower)| *lower > level) {
            section.problem(key, format!("is less than {lower} (levels rise)"));
        }
        below = Some((key, level));
    }
    levels
}

fn webhook(section: &Section<'_>) -> Option<At<Webhook>> {
    let At { value, place } = section.text("webhook")?;
    if value.text.is_empty() {
        return None;
    }
    // The text is not shown: the path of such an address is a secret.
    let base = BaseUrl::parse(value.text.trim(), true);
    let base = base.map_err(|error| section.problem("webhook", error.to_string())).ok()?;
    Some(At { value: Webhook(base), place })
}

/// Reads one team.
pub fn team(name: At<Text>, node: &Node, problems: &Problems) -> RawTeam {
    check_name(&name, ID_HEADER_BYTES_MAX, problems);
    let section = Section::open(node, name.place.clone(), &keys::TEAM, problems);
    RawTeam { parent: section.text("parent"), budget: budget(&section, "budget"), name }
}

/// Reads the budget behind a key.
pub fn budget(parent: &Section<'_>, key: &str) -> Option<RawBudget> {
    let section = parent.section_if_given(key, &keys::BUDGET)?;
    let limit = limit(&section);
    let cadences = Cadence::ALL.map(|cadence| (cadence.name(), cadence));
    let cadence = section.choice("period", &cadences, &[]);
    let terms = Terms {
        limit,
        cadence: cadence.unwrap_or_default(),
        zone: zone(&section),
        hard: section.flag_or("hard_cap", true),
    };
    let initial_spent = amount(&section, "spent_usd").unwrap_or_default();
    Some(RawBudget { terms, initial_spent, has_period: cadence.is_some() })
}

/// Reads the budget of sessions: it has no period, since a session ends.
pub fn session_budget(parent: &Section<'_>) -> Option<Terms> {
    let section = parent.section_if_given("session_budget", &keys::SESSION_BUDGET)?;
    let limit = limit(&section);
    let hard = section.flag_or("hard_cap", true);
    Some(Terms { limit, cadence: Cadence::None, zone: Arc::from(ZONE), hard })
}

fn limit(section: &Section<'_>) -> Option<NanoUsd> {
    section.require("limit_usd", "USD, like 50.00");
    amount(section, "limit_usd")
}

/// An amount of money.
fn amount(section: &Section<'_>, key: &str) -> Option<NanoUsd> {
    let At { value, .. } = section.text(key)?;
    let refuse = |error| {
        let allowed = "(USD, at most 9 digits after the point)";
        section.problem(key, format!("{} {error} {allowed}", shown(&value)));
    };
    NanoUsd::parse_usd(&value.text).map_err(refuse).ok()
}

/// The zone in whose calendar periods begin, as the zone data spells it.
fn zone(section: &Section<'_>) -> Arc<str> {
    let Some(At { value, .. }) = section.text("timezone") else {
        return Arc::from(ZONE);
    };
    zone_name(&value.text).unwrap_or_else(|| {
        let allowed = "(an IANA name, like UTC or Europe/Berlin)";
        let message = format!("{} is not a time zone {allowed}", shown(&value));
        section.problem("timezone", message);
        Arc::from(ZONE)
    })
}

/// The proper spelling of an IANA zone that the built-in zone data knows.
fn zone_name(name: &str) -> Option<Arc<str>> {
    let zone = jiff::tz::TimeZone::get(name).ok().filter(|zone| !zone.is_unknown())?;
    zone.iana_name().map(Arc::from)
}

/// Reads the tiers of an agent.
pub fn tiers(agent: &Section<'_>, problems: &Problems) -> Option<Vec<RawTier>> {
    let items = agent.items("tiers")?;
    if items.is_empty() {
        agent.problem("tiers", "is empty (name at least one tier, or leave it out)");
    }
    let tier = |(node, place)| tier(&Section::open(node, place, &keys::TIER, problems));
    Some(items.into_iter().filter_map(tier).collect())
}

fn tier(section: &Section<'_>) -> Option<RawTier> {
    // `threshold` is the older name of the same thing.
    let key = if section.is_given("threshold") { "threshold" } else { "remaining_min" };
    if key == "threshold" && section.is_given("remaining_min") {
        section.problem(key, "is another name of remaining_min (give one of both)");
    }
    section.require(key, "the share of the limit that must be left, 0 to 1");
    section.require("models", "at least one id of a model");
    let models = section.texts("models").unwrap_or_default();
    if section.items("models").is_some_and(|items| items.is_empty()) {
        section.problem("models", "is empty (at least one id of a model)");
    }
    Some(RawTier { remaining_min_ppm: share(section, key)?, models })
}

fn share(section: &Section<'_>, key: &str) -> Option<At<u32>> {
    let At { value, place } = section.text(key)?;
    let refuse = |error| {
        let allowed = "(0 to 1, at most 6 digits after the point)";
        section.problem(key, format!("{} {error} {allowed}", shown(&value)));
    };
    let value = tier::parse_share(&value.text).map_err(refuse).ok()?;
    Some(At { value, place })
}

/// Reads the limits of an agent that runs away.
pub fn runaway(agent: &Section<'_>) -> Option<RawRunaway> {
    let section = agent.section_if_given("breaker", &keys::BREAKER)?;
    let limits =
        ["same_request_max", "same_tool_call_max", "spend_usd_per_minute", "turns_per_session_max"];
    if !limits.iter().any(|key| section.is_given(key)) {
        agent.problem("breaker", format!("has no limit (one of {})", limits.join(", ")));
    }
    let words = [RunawayAction::Warn, RunawayAction::Downgrade, RunawayAction::Stop];
    let words = words.map(|word| (word.name(), word));
    let runaway = Runaway {
        same_request_max: section.number_if_given("same_request_max", &bound::SAME_MAX),
        same_tool_call_max: section.number_if_given("same_tool_call_max", &bound::SAME_MAX),
        window_seconds: section.number("window_seconds", &bound::WINDOW_SECONDS),
        spend_per_minute: amount(&section, "spend_usd_per_minute"),
        turns_per_session_max: section.number_if_given("turns_per_session_max", &bound::TURNS_MAX),
        action: section.choice("action", &words, &[]).unwrap_or_default(),
    };
    Some(RawRunaway { runaway, action_place: section.place_of("action") })
}
