//! The configurations of the systems that Weir takes the place of, turned into one of ours: text in, text
//! out, with a list of everything that could not come along.
//!
//! Keys are never resolved: a variable stays a variable, and a key in clear becomes one. What is written has
//! been read back by `load` before it is handed out. No files and no environment.

mod autoproxy;
pub mod draft;
mod execwall;
mod optmod;
mod reader;

#[cfg(test)]
mod tests;

use crate::config::problem::{Place, Problem, Problems};
use crate::config::section::Section;
use crate::config::yaml::{self, Node, Value};
use draft::Draft;
use reader::Reader;

/// A configuration of ours, made of another one.
#[derive(Debug)]
pub struct Imported {
    /// The system that the file belongs to.
    pub seed: &'static str,
    /// Our file.
    pub yaml: String,
    /// What could not be carried over, or not as it was: where it stands, and why.
    pub losses: Vec<Problem>,
    /// The environment variables that our file needs.
    pub variables: Vec<Variable>,
}

/// An environment variable that a file asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where the value stands in clear in the file read, if it has to be moved to the environment.
    pub moved_from: Option<String>,
    /// Whether it holds an address, or a part of one.
    pub is_address: bool,
}

/// What the three look like, for a file that is none of them.
const FORMS: &str = "is none of the configurations that can be imported: Execwall's policy.yaml has a \
    section `cost_routing`, openclaw-autoproxy's routes.yml a list `routes` (or is a list of routes, each \
    with `url` and `model`), optmod's config.yaml a list `models` whose items have `name` and `base_url`";

/// What stands in for a variable when the result is read back.
const STAND_IN: &str = "stand-in-for-a-variable";
/// The same for addresses.
const STAND_IN_ADDRESS: &str = "http://127.0.0.1:9/v1";

/// Turns a file of one of the three systems into one of ours; `file_name` is only named in problems.
///
/// # Errors
/// Everything that is wrong with the file, or that it is none of the three.
pub fn import(text: &str, file_name: &str) -> Result<Imported, Vec<Problem>> {
    let (faults, losses) = (Problems::default(), Problems::default());
    let node = yaml::read_any(text, file_name, &faults).map_err(|problem| vec![problem])?;
    let seed = recognise(&node).map_err(|message| {
        vec![Problem { path: file_name.to_owned(), message: message.to_owned(), line: None }]
    })?;
    let reader = Reader { faults: &faults, losses: &losses };
    let draft = match seed {
        Seed::Execwall => execwall::draft(&node, &reader),
        Seed::Autoproxy => autoproxy::draft(&node, &reader),
        Seed::Optmod => optmod::draft(&node, &reader),
    };
    if !faults.is_empty() {
        return Err(faults.into_sorted());
    }
    let yaml = draft.yaml(seed.name());
    let Draft { variables, .. } = draft;
    proven(&yaml, &variables)?;
    Ok(Imported { seed: seed.name(), yaml, losses: losses.into_sorted(), variables })
}

/// Which of the three systems a file belongs to.
#[derive(Clone, Copy)]
enum Seed {
    Execwall,
    Autoproxy,
    Optmod,
}

impl Seed {
    const fn name(self) -> &'static str {
        match self {
            Self::Execwall => "Execwall policy.yaml",
            Self::Autoproxy => "openclaw-autoproxy routes.yml",
            Self::Optmod => "optmod config.yaml",
        }
    }
}

fn recognise(node: &Node) -> Result<Seed, &'static str> {
    if matches!(node.value, Value::List(_)) {
        return Ok(Seed::Autoproxy);
    }
    let Value::Map(entries) = &node.value else { return Err(FORMS) };
    let has = |key: &str| entries.iter().any(|entry| entry.key == key);
    if has("cost_routing") {
        Ok(Seed::Execwall)
    } else if has("providers") && has("models") {
        Err("is a configuration of Weir already (`weir check -c FILE` checks it)")
    } else if has("routes") {
        Ok(Seed::Autoproxy)
    } else if has("models") {
        Ok(Seed::Optmod)
    } else {
        Err(FORMS)
    }
}

/// Reads the result back, so that nobody is handed a file that would not start.
fn proven(yaml: &str, variables: &[Variable]) -> Result<(), Vec<Problem>> {
    let env = |name: &str| {
        let variable = variables.iter().find(|variable| variable.name == name)?;
        let stand_in = if variable.is_address { STAND_IN_ADDRESS } else { STAND_IN };
        Some(stand_in.to_owned())
    };
    let in_result = |problem: Problem| {
        let path = format!("{} (of the result)", problem.path);
        Problem { path, line: None, ..problem }
    };
    let read = super::load(yaml, "result", &env);
    read.map(drop).map_err(|problems| problems.into_iter().map(in_result).collect())
}

/// The mapping at the top of a file.
fn top<'a>(node: &'a Node, reader: &Reader<'a>) -> Section<'a> {
    Section::bare(node, Place::top(), reader.faults)
}
