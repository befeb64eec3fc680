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
pub mod controls;
pub mod current;
pub mod expand;
pub mod first;
pub mod guards;
pub mod import;
pub mod keys;
pub mod learned;
pub mod leaves;
pub mod mutators;
pub mod overlay;
mod price_table;
pub mod problem;
pub mod raw;
pub mod raw_agent;
pub mod raw_budget;
pub mod raw_guard;
pub mod raw_infer;
pub mod raw_model;
pub mod raw_mutators;
pub mod raw_pinning;
pub mod raw_profiles;
pub mod raw_provider;
pub mod raw_quarantine;
pub mod raw_routing;
pub mod raw_server;
pub mod raw_store;
mod section;
mod seed_env;
pub mod snapshot;
pub mod yaml;

#[cfg(test)]
mod tests;

use std::path::Path;

use zeroize::Zeroizing;

use expand::Env;
use leaves::Leaves;
use problem::{Place, Problem, Problems};
use raw_routing::RouterFile;
use snapshot::{Snapshot, Tls};

/// Certificates in DER form, at least one; or what is wrong with their file.
pub type Certificates = Result<Vec<Vec<u8>>, String>;

/// The text of a file with a key in it; or why it cannot be read.
pub type KeyFile = Result<Zeroizing<String>, String>;

/// The bytes of a file of weights; or why it cannot be read.
pub type WeightsFile = Result<Vec<u8>, String>;

/// Nothing; or which key of `server.tls` names a bad file, and what is wrong with it.
pub type Verdict = Result<(), (&'static str, String)>;

/// What a configuration needs from beyond its text.
pub struct Outside<'a> {
    /// Answers for an environment variable.
    pub env: Env<'a>,
    /// Reads a file of certificates.
    pub certificates: &'a dyn Fn(&Path) -> Certificates,
    /// Reads a file with a key in it.
    pub key_file: &'a dyn Fn(&Path) -> KeyFile,
    /// Reads a file of weights.
    pub weights: &'a dyn Fn(&Path) -> WeightsFile,
    /// Looks at the certificate and the key of the data plane.
    pub server_certificate: &'a dyn Fn(&Tls) -> Verdict,
    /// Reads a file that a strategy is made of.
    pub router_file: &'a dyn Fn(&Path) -> RouterFile,
}

impl<'a> Outside<'a> {
    /// Nothing but the environment: no file can be read, and the certificate of the data plane is taken for good.
    pub fn env_alone(env: Env<'a>) -> Self {
        Self {
            env,
            certificates: &|_| Err("cannot be read here".to_owned()),
            key_file: &|_| Err("cannot be read here".to_owned()),
            weights: &|_| Err("cannot be read here".to_owned()),
            server_certificate: &|_| Ok(()),
            router_file: &|_| Err("cannot be read here".to_owned()),
        }
    }
}

/// Reads a configuration, but none of the files that it names. `file_name` is only named in problems; `env` answers for `${VAR}`, and for
/// the names of `seed_env` where the file is silent.
pub fn load(text: &str, file_name: &str, env: Env<'_>) -> Result<Snapshot, Vec<Problem>> {
    load_with(text, file_name, &Outside::env_alone(env))
}

/// The same with the files that it names.
pub fn load_with(
    text: &str,
    file_name: &str,
    outside: &Outside<'_>,
) -> Result<Snapshot, Vec<Problem>> {
    let env = outside.env;
    let problems = Problems::default();
    let mut node = yaml::read(text, file_name, &problems).map_err(|problem| vec![problem])?;
    expand::expand(&mut node, &Place::top(), env, &problems);
    let warnings = seed_env::overlay(&mut node, env, &problems);
    let leaves = Leaves::of(&node);
    let mut raw = raw::read(&node, &problems);
    raw.server.check_tls(outside, &problems);
    for provider in &mut raw.providers {
        provider.read_ca(outside, &problems);
    }
    let mut links = check::check(&raw, &problems);
    links.warnings.extend(warnings);
    let router_file = outside.router_file;
    raw.routing.strategies.read_files(router_file, &problems, &mut links.warnings);
    let (profiles, warnings) =
        raw.profiles.read(raw.admin_key.as_ref().map(|key| key.as_str()), outside, &problems);
    links.warnings.extend(warnings);
    let guarding = raw_guard::build(&raw.guard, &raw.agents, (outside, &problems));
    if problems.is_empty() {
        Ok(Snapshot { guarding, leaves, ..build::build(raw, profiles, links) })
    } else {
        Err(problems.into_sorted())
    }
}
