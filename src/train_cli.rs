//! `weir train` and `weir eval`: files in, a router file and tables out. What is learnt, and how it is measured, is
//! `learn`; what is read of a file's name, its compression and the terminal is here.

use std::fs::File;
use std::io::{IsTerminal, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::base::hex::hex;
use crate::base::limit;
use crate::learn::dataset::Suite;
use crate::learn::feedback::{self, Measure};
use crate::learn::lines::Lines;
use crate::learn::replay;
use crate::learn::report::{self, Account};
use crate::learn::rivals::{self, Casting};
use crate::learn::solve::Grid;
use crate::learn::train::{self, Wish};
use crate::learned::embedding::Scratch;
use crate::learned::file::{self, INPUTS, Router, Setting, Source};
use crate::learned::table::Table;
use crate::routing::decision::Aim;
use crate::routing::strategy::Strategy;
use crate::routing::tree::Tree;

/// Where the embedding lies in a checkout.
const EMBEDDING: &str = "conf/router/embedding.bin";

/// What `weir train` is told.
#[derive(Debug, Args)]
pub struct Train {
    /// Labelled queries: JSONL, also .gz; one line for each query, or one for each answer
    #[arg(required_unless_present = "from_log", value_name = "DATA")]
    data: Vec<PathBuf>,
    /// Where the router goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Improve a router by what became of requests: its request log (JSONL)
    #[arg(long, value_name = "LOG", requires = "router", conflicts_with = "data")]
    from_log: Option<PathBuf>,
    /// Scores of logged requests: JSONL with `id` and `score` (0 to 1)
    #[arg(long, value_name = "FILE", requires = "from_log")]
    scores: Option<PathBuf>,
    /// The router to improve
    #[arg(short, long, value_name = "FILE", requires = "from_log")]
    router: Option<PathBuf>,
    #[command(flatten)]
    split: Split,
}

/// How queries are embedded and split.
#[derive(Debug, Args)]
struct Split {
    /// The table of the embedding
    #[arg(long, value_name = "FILE", default_value = EMBEDDING)]
    embedding: PathBuf,
    /// How queries are split into folds
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folds of the cross-validation
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=20))]
    folds: u64,
}

impl Split {
    fn wish(&self) -> Wish {
        Wish { seed: self.seed, folds: usize::try_from(self.folds).unwrap_or(usize::MAX) }
    }
}

/// What `weir eval` is told.
#[derive(Debug, Args)]
pub struct Eval {
    /// Labelled queries: JSONL, also .gz
    #[arg(required = true, value_name = "DATA")]
    data: Vec<PathBuf>,
    /// What is evaluated, `all` of them unless told; lines to compare with are always printed
    #[arg(long, value_enum, default_value_t = Which::Learned)]
    strategy: Which,
    /// Who stands for fast, reasoning and oracle; unless told, of the models that nothing cheaper beats the cheapest,
    /// the one nearest to the middle of the logarithm of cost, and the best
    #[arg(long, value_name = "TIER=MODEL", value_delimiter = ',', value_parser = cast)]
    tiers: Vec<(Aim, String)>,
    /// The model of passthrough; unless told, the best single one
    #[arg(long, value_name = "MODEL")]
    primary: Option<String>,
    /// The file of `decision_tree`; without one it goes by the nine rules
    #[arg(long, value_name = "FILE")]
    tree: Option<PathBuf>,
    /// Evaluate this router file as it is, instead of cross-validating its training
    #[arg(short, long, value_name = "FILE")]
    router: Option<PathBuf>,
    #[command(flatten)]
    split: Split,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// What is learnt of the prompt, and all others
    #[value(alias = "trouter", alias = "perf_router", alias = "all")]
    Learned,
    /// What is learnt of its length alone
    Length,
    /// Always one model
    Passthrough,
    /// The nine rules
    #[value(name = "rule_based", alias = "rule-based")]
    RuleBased,
    /// A trained tree
    #[value(name = "decision_tree", alias = "decision-tree")]
    DecisionTree,
    /// All models in turn
    #[value(name = "round_robin", alias = "round-robin")]
    RoundRobin,
}

impl Which {
    /// The strategy of the gateway, if it is one that learns nothing.
    const fn rival(self) -> Option<Strategy> {
        match self {
            Self::Learned | Self::Length => None,
            Self::Passthrough => Some(Strategy::Passthrough),
            Self::RuleBased => Some(Strategy::RuleBased),
            Self::DecisionTree => Some(Strategy::DecisionTree),
            Self::RoundRobin => Some(Strategy::RoundRobin),
        }
    }
}

/// `fast=NAME`.
fn cast(told: &str) -> Result<(Aim, String), String> {
    let (tier, model) = told.split_once('=').ok_or("it is TIER=MODEL")?;
    let aim = Aim::from_name(tier).ok_or("the tiers are fast, reasoning and oracle")?;
    Ok((aim, model.to_owned()))
}

/// `weir train`.
///
/// # Errors
/// What cannot be read, learnt or written; a candidate that is not better than the current router.
pub fn train(told: &Train) -> Result<(), String> {
    match (&told.from_log, &told.router) {
        (Some(log), Some(router)) => from_log(told, log, router),
        _ => from_data(told),
    }
}

fn from_data(told: &Train) -> Result<(), String> {
    let suites = read_all(&told.data)?;
    let table = read_whole(&told.split.embedding)?;
    let parsed = Table::parse(&table)
        .map_err(|error| format!("{}: {error}", told.split.embedding.display()))?;
    let wish = told.split.wish();
    let inputs = embed(&parsed, &suites);
    let mut bar = Bar::new("training", train::steps(suites.len(), wish));
    let trained = train::train(&suites, &inputs, wish, &mut || bar.step());
    bar.end();
    let bytes =
        file::write(&trained.weights, &trained.about, &table).map_err(|error| error.to_string())?;
    write(&told.output, &bytes)?;
    let mut accounts = trained.accounts;
    for (account, suite) in accounts.iter_mut().zip(&suites) {
        account.rivals = rivals::compare(suite, &account.trial, &Casting::default())?;
    }
    tell(&accounts, "learned")?;
    say(&format!(
        "{}: {} bytes, {} tasks, {} models\n",
        told.output.display(),
        bytes.len(),
        trained.weights.tasks.len(),
        trained.weights.models.len()
    ))
}

fn from_log(told: &Train, log: &Path, router: &Path) -> Result<(), String> {
    let bytes = read_whole(router)?;
    let current =
        Router::parse(&bytes).map_err(|error| format!("{}: {error}", router.display()))?;
    let scores = match &told.scores {
        Some(path) => feedback::scores(text(path)?.lines())
            .map_err(|error| format!("{}: {error}", path.display()))?,
        None => std::collections::HashMap::new(),
    };
    let lines = text(log)?;
    let digest = hex(&Sha256::digest(lines.as_bytes()));
    if current.about().data.iter().any(|source| source.digest == digest) {
        return Err(format!(
            "{}: {} has learnt from this log already",
            log.display(),
            router.display()
        ));
    }
    let name = name_of(log);
    let learnt = current.about().data.iter().rev().find(|source| source.name == name);
    let after = learnt.map_or("", |source| &source.last);
    let read = feedback::read(lines.lines(), &scores, after)
        .map_err(|error| format!("{}: {error}", log.display()))?;
    let better =
        feedback::improve(current.heads().weights(), &read).map_err(|error| error.to_string())?;
    let mut about = current.about().clone();
    about.data.push(Source {
        name,
        source: "request log".to_owned(),
        licence: String::new(),
        queries: better.learnt,
        digest,
        last: read.last.clone(),
    });
    // They were measured with another table.
    about.evaluation.clear();
    about.operating.clear();
    let table = Router::table_of(&bytes).map_err(|error| error.to_string())?;
    let bytes = file::write(&better.weights, &about, table).map_err(|error| error.to_string())?;
    write(&told.output, &bytes)?;
    say(&format!(
        "{}: learnt {} from {} outcomes ({} requests scored, {} without a task, {} learnt before); error of {} on {} held-out ones {:.4}, was {:.4}; new models: {}; its evaluation and settings of the dial were measured before and are left out\n",
        told.output.display(),
        match better.by {
            Measure::Quality => "qualities and lengths",
            Measure::Length => "lengths only, for want of scores,",
        },
        better.learnt,
        read.scored,
        read.without_task,
        read.passed,
        better.by,
        better.held,
        better.errors.0,
        better.errors.1,
        if better.new_models.is_empty() { "none".to_owned() } else { better.new_models.join(", ") }
    ))
}

/// `weir eval`.
///
/// # Errors
/// What cannot be read, or a model's name that a suite does not have.
pub fn eval(told: &Eval) -> Result<(), String> {
    let casting = casting(told)?;
    let suites = read_all(&told.data)?;
    let mut accounts = match (told.strategy, &told.router) {
        (Which::Learned, Some(path)) => replayed(path, &suites)?,
        (Which::Learned, None) => cross_validated(told, &suites)?,
        _ => unlearnt(told, &suites)?,
    };
    for (account, suite) in accounts.iter_mut().zip(&suites) {
        account.rivals = rivals::compare(suite, &account.trial, &casting)
            .map_err(|why| format!("{}: {why}", suite.name))?;
        match (told.strategy, told.strategy.rival()) {
            (_, Some(rival)) => account.only(rival),
            (Which::Length, None) => account.only(Strategy::Passthrough),
            (_, None) => {}
        }
    }
    tell(&accounts, if told.router.is_some() { "learned (file)" } else { "learned (unseen)" })
}

/// Who stands for what, as it was told.
fn casting(told: &Eval) -> Result<Casting, String> {
    let tree = told.tree.as_ref().map(|path| {
        Tree::parse(&read_whole(path)?).map_err(|why| format!("{}: {why}", path.display()))
    });
    let mut casting =
        Casting { primary: told.primary.clone(), tree: tree.transpose()?, ..Casting::default() };
    for (aim, model) in &told.tiers {
        casting.tiers[*aim as usize] = Some(model.clone());
    }
    Ok(casting)
}

fn unlearnt(told: &Eval, suites: &[Suite]) -> Result<Vec<Account>, String> {
    let path = &told.split.embedding;
    let table =
        Table::parse(&read_whole(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    let account = |suite: &Suite| {
        train::unlearnt(suite, embed(&table, std::slice::from_ref(suite)), told.split.wish())
    };
    Ok(suites.iter().map(account).collect())
}

fn cross_validated(told: &Eval, suites: &[Suite]) -> Result<Vec<Account>, String> {
    let path = &told.split.embedding;
    let table =
        Table::parse(&read_whole(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    let wish = told.split.wish();
    let mut bar = Bar::new("evaluating", suites.len() * train::evaluation_steps(wish));
    let mut evaluate = |suite: &Suite| {
        let inputs = embed(&table, std::slice::from_ref(suite));
        train::evaluate(suite, inputs, wish, &mut || bar.step())
    };
    let accounts = suites.iter().map(&mut evaluate).collect();
    bar.end();
    Ok(accounts)
}

fn replayed(path: &Path, suites: &[Suite]) -> Result<Vec<Account>, String> {
    let router = Router::parse(&read_whole(path)?)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let mut scratch = Scratch::default();
    let mut accounts = Vec::new();
    for suite in suites {
        let inputs: Vec<[f32; INPUTS]> = suite
            .queries
            .iter()
            .map(|query| {
                file::inputs(
                    &router.read(&query.text, &mut scratch),
                    Setting { tools: query.tools },
                )
            })
            .collect();
        let replayed = replay::replay(&router, suite, &inputs);
        if !replayed.by_tier.is_empty() {
            say(&format!(
                "{}: judged by tier, as the router does not know them: {}\n",
                suite.name,
                replayed.by_tier.join(", ")
            ))?;
        }
        accounts.push(replayed.account);
    }
    Ok(accounts)
}

fn tell(accounts: &[Account], name: &str) -> Result<(), String> {
    for account in accounts {
        say(&account.text(name))?;
    }
    say(&report::means(accounts))
}

/// To the standard output; whoever has closed it has read enough.
fn say(text: &str) -> Result<(), String> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn embed(table: &Table, suites: &[Suite]) -> Grid {
    let mut scratch = Scratch::default();
    let mut cells = Vec::new();
    for query in suites.iter().flat_map(|suite| &suite.queries) {
        let inputs =
            file::inputs(&table.embed(&query.text, &mut scratch), Setting { tools: query.tools });
        cells.extend(inputs.map(f64::from));
    }
    Grid { columns: INPUTS, cells }
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Suite>, String> {
    paths.iter().map(|path| read_suite(path)).collect()
}

fn read_suite(path: &Path) -> Result<Suite, String> {
    let named = |error: crate::learn::lines::LineError| format!("{}: {error}", path.display());
    let mut lines = Lines::new(&name_of(path));
    for line in text(path)?.lines() {
        lines.push(line).map_err(named)?;
    }
    let suite = lines.finish().map_err(named)?;
    if suite.without_text > 0 {
        let count = suite.without_text;
        say(&format!(
            "{}: {count} queries without a text are left out
",
            path.display()
        ))?;
    }
    Ok(suite)
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.strip_suffix(".jsonl").unwrap_or(name).to_owned()
}

fn text(path: &Path) -> Result<String, String> {
    String::from_utf8(read_whole(path)?).map_err(|error| {
        format!("{}: byte {} is not UTF-8", path.display(), error.utf8_error().valid_up_to())
    })
}

/// All bytes of a file, decompressed if its name says so.
fn read_whole(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(told)?;
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let source: Box<dyn Read> =
        if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut bytes = Vec::new();
    source.take(limit::LEARN_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 > limit::LEARN_FILE_BYTES_MAX {
        return Err(format!("{}: more than {} bytes", path.display(), limit::LEARN_FILE_BYTES_MAX));
    }
    Ok(bytes)
}

/// Writes beside the file and renames, so that a gateway never reads half of one.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = File::create(&beside).map_err(told)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(told)?;
    std::fs::rename(&beside, path).map_err(told)
}

/// How far a long piece of work has come: a bar on a terminal, nothing elsewhere.
struct Bar {
    what: &'static str,
    done: usize,
    all: usize,
    shown: bool,
    plain: bool,
}

/// Cells of the bar.
const BAR_CELLS: usize = 30;

impl Bar {
    fn new(what: &'static str, all: usize) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let bar =
            Self { what, done: 0, all: all.max(1), shown: std::io::stderr().is_terminal(), plain };
        bar.show();
        bar
    }

    fn step(&mut self) {
        self.done = (self.done + 1).min(self.all);
        self.show();
    }

    fn show(&self) {
        if !self.shown {
            return;
        }
        let full = BAR_CELLS * self.done / self.all;
        let (one, other) = ("█".repeat(full), "░".repeat(BAR_CELLS - full));
        let (on, off) = if self.plain { ("", "") } else { ("\u{1b}[36m", "\u{1b}[0m") };
        let share = 100 * self.done / self.all;
        // A terminal that is gone does not end the work.
        let _gone = write!(std::io::stderr(), "\r{} {on}{one}{off}{other} {share:>3} %", self.what);
    }

    fn end(&self) {
        if self.shown {
            let _gone = write!(std::io::stderr(), "\r\u{1b}[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_cast_by_name() {
        assert_eq!(cast("oracle=vendor/a=b"), Ok((Aim::Oracle, "vendor/a=b".to_owned())));
        assert!(cast("oracle").unwrap_err().contains("TIER=MODEL"));
        assert!(cast("best=x").unwrap_err().contains("fast, reasoning and oracle"));
    }

    #[test]
    fn every_strategy_of_the_gateway_is_one_that_can_be_evaluated() {
        for strategy in Strategy::ALL {
            let found = Which::from_str(strategy.name(), false);
            assert!(
                found.is_ok_and(|which| which.rival().unwrap_or(Strategy::Learned) == strategy)
            );
        }
    }
}
