//! The ledger as lines for other programs: JSONL with the seed's field names (S0-13), or CSV (RFC 4180).
//!
//! A line without `event` is a settled attempt, or, of an agent without a limit, several of one model that were
//! written together: such a line has no request and attempt id. Money is printed from integers, in USD with up to nine
//! decimals: reading it into a binary float is the reader's own choice.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;

use crate::base::money::NanoUsd;
use crate::ledger::account::{AccountKey, Node};
use crate::ledger::entry::{Entry, Kind};
use crate::store::StoreError;
use crate::store::sqlite::reading::{Read, Reading};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// A header row, and one row a line.
    Csv,
}

/// What is to be printed.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// How.
    pub format: Format,
    /// Holds as well, which come before what they turned out to be.
    pub all: bool,
}

/// Why there is no export, or only its beginning.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The ledger.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// One of its entries.
    #[error("entry {0} cannot be read: {1}")]
    Entry(i64, String),
    /// The output.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// The columns, the seed's first. All but these are left out of a JSON line that has nothing for them.
const COLUMNS: [&str; 26] = [
    "timestamp",
    "agent_id",
    "cost",
    "model",
    "tokens",
    "request_id",
    "event",
    "attempt",
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "output",
    "reasoning",
    "reason",
    "session_id",
    "account",
    "previous_spent",
    "change",
    "held",
    "limit",
    "source",
    "frozen",
    "price_version",
    "generation_id",
    "seq",
];
/// Columns of a settled attempt that stand in its JSON line even if nothing is known: the seed's.
const ALWAYS: usize = 6;

/// A cell.
enum Cell {
    /// A text, to be quoted.
    Text(String),
    /// Digits or a word that JSON takes as it is.
    Plain(String),
}

type Cells = BTreeMap<&'static str, Cell>;

/// Writes the entries of the ledger at `file` to `out`, and says how many lines that made.
///
/// # Errors
/// The ledger cannot be read, or `out` cannot be written.
pub fn export(file: &Path, wish: Wish, out: &mut dyn Write) -> Result<u64, ExportError> {
    let reading = Reading::open(file)?;
    // The names of accounts are asked through a view of their own: the first one is walking.
    let mut names = Reading::open(file)?;
    if wish.format == Format::Csv {
        write!(out, "{}\r\n", COLUMNS.join(","))?;
    }
    let mut lines = 0;
    let mut failed = None;
    reading.lines(|read| match print(read, wish, &mut names, out) {
        Ok(printed) => {
            lines += u64::from(printed);
            true
        }
        Err(error) => {
            failed = Some(error);
            false
        }
    })?;
    match failed {
        Some(error) => Err(error),
        None => out.flush().map(|()| lines).map_err(ExportError::from),
    }
}

fn print(
    read: Read,
    wish: Wish,
    names: &mut Reading,
    out: &mut dyn Write,
) -> Result<bool, ExportError> {
    let line = read.map_err(|(seq, why)| ExportError::Entry(seq, why))?;
    if line.entry.kind == Kind::Hold && !wish.all {
        return Ok(false);
    }
    let mut cells = Cells::from([("seq", Cell::Plain(line.seq.to_string()))]);
    who(&line.entry, names, &mut cells)?;
    what(&line.entry, &mut cells);
    match wish.format {
        Format::Jsonl => json(&cells, out)?,
        Format::Csv => csv(&cells, out)?,
    }
    Ok(true)
}

/// Whose entry it is: the agent and the session on its path, and the leaf.
fn who(entry: &Entry, names: &mut Reading, cells: &mut Cells) -> Result<(), StoreError> {
    let mut keys: Vec<AccountKey> = Vec::new();
    for step in entry.path.iter() {
        keys.extend(names.account_key(step.account.0)?);
    }
    keys.extend(entry.account.as_ref().map(|account| account.key.clone()));
    for key in &keys {
        match key.node() {
            Node::Agent => put_text(cells, "agent_id", key.name()),
            Node::Session => {
                if let Some((agent, session)) = key.name().split_once(' ') {
                    put_text(cells, "agent_id", agent);
                    put_text(cells, "session_id", session);
                }
            }
            Node::Fleet | Node::Team => {}
        }
    }
    if let Some(leaf) = keys.first() {
        put_text(cells, "account", leaf.as_str());
    }
    Ok(())
}

fn what(entry: &Entry, cells: &mut Cells) {
    let at = Timestamp::from_millisecond(entry.at_ms);
    put_text(cells, "timestamp", &at.map_or_else(|_| entry.at_ms.to_string(), |at| at.to_string()));
    put_text(cells, "reason", entry.reason.name());
    if let Some(event) = event(entry.kind) {
        put_text(cells, "event", event);
    }
    let mut plain = |name, value: String| cells.insert(name, Cell::Plain(value));
    let (held, spent) = (NanoUsd(entry.held), NanoUsd(entry.spent));
    match entry.kind {
        Kind::Settle | Kind::Spend | Kind::Limbo | Kind::Refund => plain("cost", spent.to_string()),
        Kind::Hold | Kind::Void => plain("held", held.to_string()),
        Kind::Reset => plain("previous_spent", NanoUsd(entry.spent.saturating_neg()).to_string()),
        Kind::Adjust => plain("change", spent.to_string()),
        Kind::Account => None,
    };
    if entry.attempt > 0 {
        plain("attempt", entry.attempt.to_string());
    }
    if let Some(tokens) = entry.tokens {
        let prompt = [tokens.input, tokens.cache_read, tokens.cache_write, tokens.cache_write_1h];
        let total = prompt.iter().fold(tokens.output, |sum, count| sum.saturating_add(*count));
        for (name, count) in [
            ("tokens", total),
            ("input", tokens.input),
            ("cache_read", tokens.cache_read),
            ("cache_write", tokens.cache_write),
            ("cache_write_1h", tokens.cache_write_1h),
            ("output", tokens.output),
            ("reasoning", tokens.reasoning),
        ] {
            plain(name, count.to_string());
        }
    }
    if entry.price_version != 0 {
        // Hexadecimal and a text: JSON numbers of 64 bits lose digits in many readers.
        let version = format!("{:016x}", entry.price_version);
        cells.insert("price_version", Cell::Text(version));
    }
    if let Some(generation) = &entry.generation {
        put_text(cells, "generation_id", generation);
    }
    let mut plain = |name, value: String| cells.insert(name, Cell::Plain(value));
    if let Some(account) = &entry.account {
        plain("frozen", account.frozen.to_string());
        if let Some(limit) = account.limit() {
            plain("limit", limit.to_string());
        }
        put_text(cells, "source", account.source().name());
    }
    if let Some(model) = &entry.model {
        put_text(cells, "model", model);
    }
    if let Some(request) = entry.request {
        put_text(cells, "request_id", &request.to_string());
    }
}

/// What a line is called that is no settled attempt.
fn event(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Settle | Kind::Spend => None,
        Kind::Account => Some("budget"),
        other => Some(other.name()),
    }
}

fn put_text(cells: &mut Cells, name: &'static str, text: &str) {
    cells.insert(name, Cell::Text(text.to_owned()));
}

fn json(cells: &Cells, out: &mut dyn Write) -> io::Result<()> {
    let is_attempt = !cells.contains_key("event");
    let mut before = '{';
    for (at, name) in COLUMNS.into_iter().enumerate() {
        let value = match cells.get(name) {
            Some(Cell::Plain(value)) => value.clone(),
            Some(Cell::Text(text)) => serde_json::Value::from(text.as_str()).to_string(),
            None if is_attempt && at < ALWAYS => "null".to_owned(),
            None => continue,
        };
        write!(out, "{before}\"{name}\":{value}")?;
        before = ',';
    }
    out.write_all(b"}\n")
}

fn csv(cells: &Cells, out: &mut dyn Write) -> io::Result<()> {
    for (at, name) in COLUMNS.into_iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        match cells.get(name) {
            Some(Cell::Plain(text) | Cell::Text(text)) if text.contains([',', '"', '\r', '\n']) => {
                write!(out, "\"{}\"", text.replace('"', "\"\""))?;
            }
            Some(Cell::Plain(text) | Cell::Text(text)) => out.write_all(text.as_bytes())?,
            None => {}
        }
    }
    out.write_all(b"\r\n")
}
