//! What the keys of a configuration mean together: names that must exist, names that must not clash,
//! and doors that must not stand open. Every problem is reported, with its path.
//!
//! The answer is the links between the parts, as places in their lists, so that `build` looks nothing
//! up any more.

use crate::config::check_access;
use crate::config::check_budget::{self, BudgetLinks};
use crate::config::check_names::{self, Names};
use crate::config::learned::Wish;
use crate::config::problem::Problems;
use crate::config::raw::Raw;

/// What the names of a configuration lead to. Complete only if no problem was found.
#[derive(Debug, Default)]
pub struct Links {
    /// Of each model, the place of its provider.
    pub model_providers: Vec<usize>,
    /// Alias and place of its model.
    pub aliases: Vec<(String, usize)>,
    /// Place of a model and the places of its chain.
    pub fallbacks: Vec<(usize, Vec<usize>)>,
    /// The places of the default chain.
    pub fallback_default: Vec<usize>,
    /// The place of the model that `passthrough` always takes, if one is named.
    pub primary: Option<usize>,
    /// What the names in `routing.learned` lead to.
    pub learned: Wish,
    /// Of each agent, the sorted places of the models it may use; `None` = all.
    pub agent_models: Vec<Option<Box<[usize]>>>,
    /// What the names in budgets lead to.
    pub budgets: BudgetLinks,
    /// Whether a request needs a key of ours.
    pub require_agent_key: bool,
    /// What the operator should know although nothing is wrong.
    pub warnings: Vec<String>,
}

/// Checks the whole.
pub fn check(raw: &Raw, problems: &Problems) -> Links {
    let names = Names::new(raw, problems);
    let mut links = check_names::check(&names);
    links.budgets = check_budget::check(&names, &mut links.warnings);
    links.require_agent_key = check_access::check(raw, problems, &mut links.warnings);
    links
}
