//! Floor 3: the configuration, from text to a `Snapshot`. What the file says (`yaml`, `expand`, `raw`)
//! and what the environment says where the file is silent (`seed_env`) is checked as a whole, with every problem reported at once (`check`), and then lowered to what the
//! rooms below work with (`build`).
//!
//! No files and no environment: both come as parameters.

pub mod bound;
pub mod budgets;
pub mod build;
mod build_budget;
pub mod catalog;
pub mod check;
mod check_access;
mod check_budget;
mod check_names;
pub mod current;
pub mod expand;
pub mod keys;
mod price_table;
pub mod problem;
pub mod raw;
pub mod raw_agent;
pub mod raw_budget;
pub mod raw_model;
pub mod raw_provider;
pub mod raw_server;
pub mod raw_store;
mod section;
mod seed_env;
pub mod snapshot;
pub mod yaml;

#[cfg(test)]
mod tests;

use problem::{Place, Problem, Problems};
use snapshot::Snapshot;

/// Reads a configuration. `file_name` is only named in problems; `env` answers for `${VAR}`, and for
/// the names of `seed_env` where the file is silent.
pub fn load(
    text: &str,
    file_name: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Snapshot, Vec<Problem>> {
    let problems = Problems::default();
    let mut node = yaml::read(text, file_name, &problems).map_err(|problem| vec![problem])?;
    expand::expand(&mut node, &Place::top(), env, &problems);
    let warnings = seed_env::overlay(&mut node, env, &problems);
    let raw = raw::read(&node, &problems);
    let mut links = check::check(&raw, &problems);
    links.warnings.extend(warnings);
    if problems.is_empty() { Ok(build::build(raw, links)) } else { Err(problems.into_sorted()) }
}
