//! The section `agents.<id>`.

use crate::base::limit::ID_HEADER_BYTES_MAX;
use crate::config::keys;
use crate::config::problem::{At, Problems};
use crate::config::raw::check_name;
use crate::config::raw_budget::{self, RawBudget, RawRunaway, RawTier};
use crate::config::raw_guard::{self, RawPart};
use crate::config::raw_server::{self, Keys};
use crate::config::section::Section;
use crate::config::yaml::{Node, Text};
use crate::identity::agent::Mode;
use crate::ledger::account::{AccountKey, Terms};

/// `agents.<id>`.
pub struct RawAgent {
    /// Its id.
    pub id: At<Text>,
    /// Its own keys.
    pub keys: Keys,
    /// How its models are chosen.
    pub mode: Mode,
    /// The ids of the models it may use; `None` = all.
    pub models: Option<Vec<At<Text>>>,
    /// Whether its requests may name a strategy.
    pub may_route: bool,
    /// The name of its team.
    pub team: Option<At<Text>>,
    /// What it may spend.
    pub budget: Option<RawBudget>,
    /// Whether a budget was given, usable or not.
    pub has_budget: bool,
    /// What each of its sessions may spend.
    pub session_budget: Option<Terms>,
    /// Its models by what is left.
    pub tiers: Option<Vec<RawTier>>,
    /// Whether they go by the forecast.
    pub tiers_by_forecast: bool,
    /// When it counts as running away.
    pub runaway: Option<RawRunaway>,
    /// Its own guards.
    pub guard: Option<RawPart>,
}

/// Reads one agent.
pub fn read(id: At<Text>, node: &Node, problems: &Problems) -> RawAgent {
    check_name(&id, ID_HEADER_BYTES_MAX, problems);
    if AccountKey::parse(&id.value.text).is_some() {
        let message = "names an account of another kind (an agent must not be called fleet, nor \
                       begin with team:, agent: or session:)";
        problems.add(&id.place, message);
    }
    let section = Section::open(node, id.place.clone(), &keys::AGENT, problems);
    let words = [Mode::Auto, Mode::Budget, Mode::Pinned, Mode::Manual];
    let words = words.map(|mode| (mode.name(), mode));
    let models = section.texts("models");
    if models.as_ref().is_some_and(Vec::is_empty) {
        section
            .problem("models", "is empty (name at least one model, or leave it out to allow all)");
    }
    RawAgent {
        keys: raw_server::keys(&section, "keys", problems),
        mode: section.choice("mode", &words, &[]).unwrap_or_default(),
        models,
        may_route: section.flag_or("may_route", true),
        team: section.text("team"),
        budget: raw_budget::budget(&section, "budget"),
        has_budget: section.is_given("budget"),
        session_budget: raw_budget::session_budget(&section),
        tiers: raw_budget::tiers(&section, problems),
        tiers_by_forecast: section.flag_or("tiers_by_forecast", false),
        runaway: raw_budget::runaway(&section),
        guard: raw_guard::of_agent(&section),
        id,
    }
}
