//! Whether a ledger is true: every hash follows from the one before, every balance from the entries.
//!
//! What is checked, entry by entry: none is missing; each row can be read and its hash, recomputed
//! from its content and the hash before, is the one that was stored; a hold is resolved once, as a
//! whole, in the periods that admitted it (I5); no `held` is ever negative, and no `spent` unless it was
//! set by hand (I2); after a hold no account on its path is above the cap that it was admitted under
//! (I4); a path climbs from its leaf to the root by parents that the accounts had at some time, so that
//! every account has paid what those below it paid (I8). Then, of the tables: accounts, periods and open
//! holds are just what follows from the entries; a hold without an outcome belongs to an epoch that has
//! not ended (I6); paths have their digests; the engine's own check finds no fault in pages and indices.
//!
//! What no chain can show: that entries were cut off at its end together with what followed from them.
//! Whoever fears that keeps the last hash, which the report names, somewhere else.

use std::fmt;
use std::path::Path;

use crate::base::limit::VERIFY_FOUND_MAX;
use crate::ledger::chain;
use crate::store::StoreError;
use crate::store::sqlite::reading::{Read, Reading};
use crate::store::tally::{Placed, Tally};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The entry, if it is one.
    pub seq: Option<i64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            Some(seq) => write!(f, "entry {seq} {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries read.
    pub entries: u64,
    /// The last hash, in hex.
    pub head: String,
    /// Holds without an outcome yet.
    pub held: usize,
    /// Holds in limbo.
    pub limbo: usize,
    /// What is wrong, in the order of the chain; `VERIFY_FOUND_MAX` at most.
    pub broken: Vec<Broken>,
    /// How many more there are.
    pub more: u64,
}

impl Verified {
    fn report(&mut self, seq: Option<i64>, what: String) {
        if self.broken.len() < VERIFY_FOUND_MAX {
            self.broken.push(Broken { seq, what });
        } else {
            self.more += 1;
        }
    }
}

/// The walk along the chain.
#[derive(Debug)]
pub(super) struct Walk {
    /// What follows from the entries so far.
    pub(super) tally: Tally,
    /// Whether all hashes were right.
    pub(super) chained: bool,
    found: Verified,
    seq: i64,
    /// The hash of the entry before; `None` if that could not be read.
    hash: Option<[u8; 32]>,
}

impl Walk {
    /// Before the first entry.
    pub(super) fn new() -> Self {
        let (tally, found) = (Tally::default(), Verified::default());
        Self { tally, chained: true, found, seq: 0, hash: Some(chain::GENESIS) }
    }

    /// Looks at the next row.
    pub(super) fn look(&mut self, read: Read) {
        self.found.entries += 1;
        let line = match read {
            Ok(line) => line,
            Err((seq, why)) => {
                (self.seq, self.hash) = (seq, None);
                return self.unchained(seq, format!("cannot be read: {why}"));
            }
        };
        let seq = line.seq;
        if seq != self.seq + 1 {
            self.unchained(seq, format!("comes after {}", self.seq));
        }
        if line.stray {
            self.unchained(
                seq,
                "leads to a row that is not there, or says more than it may".into(),
            );
        }
        if self.hash.is_some_and(|prev| chain::next(&prev, &line.entry) != line.hash) {
            self.unchained(
                seq,
                "has another hash than its content and its predecessor give".into(),
            );
        }
        let placed = Placed { seq, made: line.made, path: line.path, entry: &line.entry };
        if let Some(what) = self.tally.add(placed) {
            self.found.report(Some(seq), what);
        }
        // The stored hash, so that one bad entry is reported once and not with all its successors.
        (self.seq, self.hash) = (seq, Some(line.hash));
    }

    fn unchained(&mut self, seq: i64, what: String) {
        self.chained = false;
        self.found.report(Some(seq), what);
    }

    /// What was found in the entries.
    pub(super) fn into_found(mut self) -> Verified {
        let hash: Vec<String> =
            self.hash.iter().flatten().map(|byte| format!("{byte:02x}")).collect();
        self.found.head = hash.concat();
        self.found.limbo = self.tally.tables.open.values().filter(|open| open.limbo).count();
        self.found.held = self.tally.tables.open.len() - self.found.limbo;
        self.found
    }
}

/// Checks the ledger at `file`. A gateway may be writing to it; what it writes from now on is not seen.
///
/// # Errors
/// It cannot be read at all. What is wrong with its content is no error but in the report.
pub fn verify(file: &Path) -> Result<Verified, StoreError> {
    let reading = Reading::open(file)?;
    let mut walk = Walk::new();
    reading.lines(|line| {
        walk.look(line);
        true
    })?;
    let differences = walk.tally.tables.differences(&reading.tables()?);
    let mut found = walk.into_found();
    for what in differences.into_iter().chain(reading.stray()?) {
        found.report(None, what);
    }
    Ok(found)
}
