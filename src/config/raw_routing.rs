//! The keys of `routing` about strategies: who chooses, from which files, and how far a failure leads up.
//!
//! Files come as bytes from outside; what is wrong with one is a problem, or a warning where the nine rules shall
//! take its place.

use std::path::Path;
use std::sync::Arc;

use crate::config::bound;
use crate::config::keys;
use crate::config::learned::Wish;
use crate::config::problem::{At, Problems};
use crate::config::section::{Section, shown, text};
use crate::config::yaml::{Node, Text};
use crate::learned::file::Router;
use crate::routing::strategy::Strategy;
use crate::routing::tree::Tree;

/// The highest `alpha`: ten times all quality that there is, for the cost of the dearest model.
const ALPHA_MAX: f32 = 10.0;

/// `routing`, as far as strategies go.
pub struct RawStrategies {
    /// Who chooses.
    pub strategy: Strategy,
    /// The id of the model that `passthrough` always takes.
    pub primary_model: Option<At<Text>>,
    /// How often a failure leads to another model.
    pub max_escalations: u64,
    /// `routing.decision_tree`, if given.
    tree_file: Option<RawFile>,
    /// What it holds.
    pub tree: Option<Arc<Tree>>,
    /// `routing.learned`, if given.
    pub learned: Option<RawLearned>,
}

/// `routing.learned`.
pub struct RawLearned {
    file: Option<RawFile>,
    /// What that holds.
    pub router: Option<Arc<Router>>,
    /// What is wanted of it, but for what names lead to.
    pub wish: Wish,
    /// The id of the model that savings are counted against.
    pub baseline: Option<At<Text>>,
    /// Ids of models, and what they are called in the file.
    pub names: Vec<(At<Text>, At<Text>)>,
}

/// A file that a strategy is read from.
struct RawFile {
    path: At<Text>,
    on_error: OnError,
}

/// What a file that cannot be used leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OnError {
    /// The configuration is refused.
    #[default]
    Fail,
    /// The nine rules decide in its place, and it is told.
    RuleBased,
}

impl OnError {
    const WORDS: [(&'static str, Self); 2] =
        [("fail", Self::Fail), ("rule_based", Self::RuleBased)];
}

/// The content of a file that a strategy is read from, its path relative to the configuration; or why it cannot
/// be read.
pub type RouterFile = Result<Vec<u8>, String>;

/// Reads the keys.
pub fn read(section: &Section<'_>, problems: &Problems) -> RawStrategies {
    RawStrategies {
        strategy: section.choice("strategy", &Strategy::WORDS, &[]).unwrap_or_default(),
        primary_model: section.text("primary_model"),
        max_escalations: section.number("max_escalations", &bound::ESCALATIONS),
        tree_file: section.section_if_given("decision_tree", &keys::DECISION_TREE).and_then(
            |section| {
                section.require("file", "the path of a file, relative to this one");
                file(&section)
            },
        ),
        tree: None,
        learned: section
            .section_if_given("learned", &keys::LEARNED)
            .map(|section| learned(&section, problems)),
    }
}

fn learned(section: &Section<'_>, problems: &Problems) -> RawLearned {
    let name = |(id, node): (At<Text>, &Node)| {
        let called = text(node, id.place.clone(), problems)?;
        Some((id, called))
    };
    RawLearned {
        file: file(section),
        router: None,
        wish: Wish {
            alpha: points(section, "alpha", ALPHA_MAX),
            degradation: points(section, "degradation_threshold", 1.0),
            min_similarity: points(section, "min_similarity", 1.0),
            ..Wish::default()
        },
        baseline: section.text("baseline"),
        names: section.map("models").into_iter().filter_map(name).collect(),
    }
}

/// A number from 0 to `most` that is no money.
fn points(section: &Section<'_>, key: &str, most: f32) -> Option<f32> {
    let At { value, .. } = section.text(key)?;
    let number = value.text.parse::<f32>().ok().filter(|number| (0.0..=most).contains(number));
    if number.is_none() {
        section
            .problem(key, format!("{} is not allowed (a number from 0 to {most})", shown(&value)));
    }
    number
}

fn file(section: &Section<'_>) -> Option<RawFile> {
    let on_error = section.choice("on_error", &OnError::WORDS, &[]).unwrap_or_default();
    Some(RawFile { path: section.text("file")?, on_error })
}

impl RawStrategies {
    /// Whether a router's file is named that cannot be used, so that rules take its place.
    pub fn learned_by_rules(&self) -> bool {
        self.learned.as_ref().is_some_and(|it| it.file.is_some() && it.router.is_none())
    }

    /// Reads the files that are named.
    pub fn read_files(
        &mut self,
        read: &dyn Fn(&Path) -> RouterFile,
        problems: &Problems,
        warnings: &mut Vec<String>,
    ) {
        if let Some(file) = &self.tree_file {
            self.tree = file.content(read, Tree::parse, (problems, warnings)).map(Arc::new);
        }
        if let Some(learned) = &mut self.learned
            && let Some(file) = &learned.file
        {
            let parse = |bytes: &[u8]| Router::parse(bytes).map_err(|error| error.to_string());
            learned.router = file.content(read, parse, (problems, warnings)).map(Arc::new);
        }
    }
}

impl RawFile {
    /// What the file holds, as `parse` understands it.
    fn content<T>(
        &self,
        read: &dyn Fn(&Path) -> RouterFile,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
        (problems, warnings): (&Problems, &mut Vec<String>),
    ) -> Option<T> {
        let At { value, place } = &self.path;
        let why = match read(Path::new(&value.text)).and_then(|bytes| parse(&bytes)) {
            Ok(content) => return Some(content),
            Err(why) => why,
        };
        match self.on_error {
            OnError::Fail => problems.add(place, why),
            OnError::RuleBased => {
                warnings.push(format!("{}: {why}; rule_based takes its place", place.path));
            }
        }
        None
    }
}
