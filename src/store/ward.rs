//! What the guard keeps: strikes and who is shut out for them, its own audit, its counts by day, and the
//! secret that canaries are made of. Shared by all processes on one store.
//!
//! No text is kept: of what was looked at a hash, a length and the names of rules; of a key its name.

use crate::guard::quarantine::{Ban, KeyId, Strike, Struck, Terms};
use crate::store::StoreError;
use crate::store::registry::Page;

/// Bytes of the secret.
pub const SECRET_BYTES: usize = 32;

/// A strike, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blow {
    /// The key.
    pub key: KeyId,
    /// The agent that it spoke for.
    pub agent: String,
    /// What for, and when.
    pub strike: Strike,
}

/// How one key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The key.
    pub key: KeyId,
    /// The agent that it spoke for last.
    pub agent: String,
    /// Its strikes that are kept.
    pub strikes: u64,
    /// The last of them, in milliseconds since the Unix epoch.
    pub last_ms: i64,
    /// Whether it is shut out, or was.
    pub ban: Option<Ban>,
}

/// One line of the guard's audit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Its place, rising; 0 before it is stored.
    pub id: i64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What was done: `temporary`, `permanent`, `released`, or which call was made.
    pub event: String,
    /// Which key it is about; empty if none.
    pub key: String,
    /// Who did it: a key's name, or `gateway`.
    pub by: String,
    /// The first digits of the SHA-256 of what was looked at; empty if nothing was.
    pub sha256: String,
    /// Its bytes.
    pub bytes: u64,
    /// The rules that found something, with commas between.
    pub rules: String,
}

/// How often something happened on one day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// The day: days since the Unix epoch, UTC.
    pub day: i64,
    /// What: `validations`, `blocks`, `redactions`, `strikes`, `quarantines`.
    pub kind: String,
    /// By which rule or detector; empty where there is none.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// The store of it. All calls block; they may come from several threads.
pub trait Ward: Send + Sync {
    /// Counts a strike and says what it has led to; durable, and in one transaction, so that processes that
    /// share a store count together.
    fn strike(&self, blow: &Blow, terms: &Terms) -> Result<Struck, StoreError>;

    /// Lets a key in again and forgets its strikes; what it was shut out by. `None` = it was not there.
    fn release(&self, key: KeyId, line: &Line) -> Result<Option<Standing>, StoreError>;

    /// Every key that is shut out at that instant.
    fn bans(&self, at_ms: i64) -> Result<Vec<(KeyId, Ban)>, StoreError>;

    /// Keys that have strikes or are shut out, those struck last first, at most `max`.
    fn standings(&self, max: usize) -> Result<Vec<Standing>, StoreError>;

    /// Keeps lines of the audit and adds to counts, in one transaction. Not durable against a loss of power.
    fn note(&self, lines: &[Line], counts: &[Count]) -> Result<(), StoreError>;

    /// A piece of the audit.
    fn lines(&self, page: Page) -> Result<Vec<Line>, StoreError>;

    /// All counts from that day on.
    fn counts(&self, from_day: i64) -> Result<Vec<Count>, StoreError>;

    /// Forgets strikes and bans that ended before that instant, and counts before that day.
    fn forget(&self, before_ms: i64, day: i64) -> Result<(), StoreError>;

    /// The secret of this store; `fresh` if it has none yet.
    fn secret(&self, fresh: [u8; SECRET_BYTES]) -> Result<[u8; SECRET_BYTES], StoreError>;

    /// A number that changes when somebody is shut out or let in, by whichever process.
    fn version(&self) -> Result<i64, StoreError>;
}
