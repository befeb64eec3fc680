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
use crate::learn::solve::Grid;
use crate::learn::train::{self, Wish};
use crate::learned::embedding::Scratch;
use crate::learned::file::{self, INPUTS, Router, Setting, Source};
use crate::learned::table::Table;

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
    /// What is evaluated; lines to compare with are always printed
    #[arg(long, value_enum, default_value_t = Strategy::Learned)]
    strategy: Strategy,
    /// Evaluate this router file as it is, instead of cross-validating its training
    #[arg(short, long, value_name = "FILE")]
    router: Option<PathBuf>,
    #[command(flatten)]
    split: Split,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Strategy {
    /// What is learnt of the prompt
    #[value(alias = "trouter", alias = "perf_router")]
    Learned,
    /// What is learnt of its length alone
    Length,
    /// Always the best single model
    Passthrough,
    /// All models in turn
    #[value(name = "round_robin", alias = "round-robin")]
    RoundRobin,
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
    tell(&trained.accounts, "learned")?;
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
/// What cannot be read.
pub fn eval(told: &Eval) -> Result<(), String> {
    let suites = read_all(&told.data)?;
    let accounts = match &told.router {
        Some(path) => replayed(path, &suites)?,
        None => cross_validated(told, &suites)?,
    };
    if told.strategy == Strategy::Learned {
        let name = if told.router.is_some() { "learned (file)" } else { "learned (unseen)" };
        return tell(&accounts, name);
    }
    for account in &accounts {
        say(&account.line(match told.strategy {
            Strategy::Passthrough => report::Line::Best,
            Strategy::RoundRobin => report::Line::Turns,
            Strategy::Length | Strategy::Learned => report::Line::Length,
        }))?;
    }
    Ok(())
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
