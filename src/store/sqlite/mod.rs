//! The embedded engine: one `SQLite` file in WAL mode, one writer, integers in plain columns, so that an
//! operator can ask it with `sqlite3`. The tables are told in `schema/ledger.sql`.
//!
//! One process owns a file by a lock beside it. During a hand-over two processes write to it: every
//! commit therefore reads what it builds on inside its own transaction.

pub mod accounts;
pub mod batch;
mod load;
pub mod opening;
mod pins;
pub mod reading;
pub mod registry;
mod registry_rows;
pub mod rows;
pub mod sums;
pub mod told;
pub mod ward;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::config::snapshot::Synchronous;
use crate::ledger::account::{Account, AccountId, AccountKey};
use crate::ledger::entry::{Entry, HoldId};
use crate::ledger::level::Told;
use crate::ledger::saved::{Balance, Kept, News, OpenHold, Saved, Stretch};
use crate::store::lock::{self, Lock};
use crate::store::sqlite::batch::{Batch, Clash, Interned};
use crate::store::sqlite::opening::{said, unusable};
use crate::store::{Orphans, Store, StoreError};

/// Epochs that fit into the upper bits of a hold, and keep its number positive in the file.
const EPOCH_MAX: i64 = (1 << 23) - 1;

/// How a process comes to a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It is the only one, or it does not start.
    Own,
    /// It takes over from a process that may still be at work, see `Store::orphans`.
    TakeOver,
}

/// A ledger in one `SQLite` file.
#[derive(Debug)]
pub struct SqliteStore {
    conn: Connection,
    file: PathBuf,
    /// `None` as long as the predecessor has it.
    lock: Option<Lock>,
    epoch: Option<u32>,
    /// The last entry up to which all are our own, or known by `refresh`.
    seen: i64,
    /// A transaction has just seen that nobody else has written since.
    is_fresh: bool,
    interned: Interned,
}

impl SqliteStore {
    /// Opens the ledger at `file`, and makes it if there is none.
    ///
    /// # Errors
    /// Every reason not to start: it belongs to another process, was written by a newer version, is
    /// damaged, is no ledger, cannot be read or written, or its folder is missing.
    pub fn open(
        file: &Path,
        synchronous: Synchronous,
        opening: Opening,
    ) -> Result<Self, StoreError> {
        opening::check_folder(file)?;
        let lock = Lock::try_take(file)?;
        if lock.is_none() && opening == Opening::Own {
            let path = file.display().to_string();
            return Err(StoreError::Taken { path, detail: lock::owner(file) });
        }
        let conn = opening::writer(file, synchronous, lock.is_some())?;
        let interned = Interned::default();
        Ok(Self {
            conn,
            file: file.to_owned(),
            lock,
            epoch: None,
            seen: 0,
            is_fresh: false,
            interned,
        })
    }

    /// Lets the file grow to so many pages only, and says how many it has: a disk that is full.
    ///
    /// # Panics
    /// The engine does not do it.
    #[cfg(test)]
    pub fn limit_pages(&self, pages: u32) -> u32 {
        let limit = format!("PRAGMA max_page_count = {pages}");
        self.conn.query_row(&limit, [], |row| row.get::<_, u32>(0)).expect("a pragma");
        self.conn.pragma_query_value(None, "page_count", |row| row.get(0)).expect("a pragma")
    }

    fn begin_epoch(&mut self) -> rusqlite::Result<Option<Saved>> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let epoch: i64 = tx.query_row(
            "INSERT INTO node (pid, started_ms) VALUES (?, CAST(unixepoch('subsec') * 1000 AS INTEGER))
             RETURNING epoch",
            [std::process::id()],
            |row| row.get(0),
        )?;
        let Some(epoch) = u32::try_from(epoch).ok().filter(|_| epoch <= EPOCH_MAX) else {
            return Ok(None);
        };
        let saved = load::saved(&tx, epoch)?;
        let seen = rows::head(&tx)?.seq;
        tx.commit()?;
        (self.epoch, self.seen) = (Some(epoch), seen);
        Ok(Some(saved))
    }

    fn keep(&mut self, entries: &[Entry]) -> rusqlite::Result<Result<Vec<Kept>, Clash>> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut batch = Batch::new(&tx, &mut self.interned, self.seen)?;
        let before = batch.head.seq;
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            kept.push(batch.keep(entry)?);
            if let Some(clash) = batch.clash.take() {
                return Ok(Err(clash));
            }
        }
        batch.write_periods()?;
        let after = batch.head.seq;
        tx.commit()?;
        self.is_fresh = self.seen == before;
        if self.is_fresh {
            self.seen = after;
        }
        Ok(Ok(kept))
    }

    fn end_epoch(&mut self, epoch: u32) -> rusqlite::Result<()> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let now = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
        // An epoch with open holds has not ended: the next process settles them.
        tx.execute(
            &format!(
                "UPDATE node SET ended_ms = {now} WHERE epoch = ?
                 AND epoch NOT IN (SELECT hold >> 40 FROM open WHERE limbo = 0)"
            ),
            [epoch],
        )?;
        if self.lock.is_some() {
            // Those that crashed: this process has settled what they left.
            tx.execute(
                &format!(
                    "UPDATE node SET ended_ms = {now} WHERE ended_ms IS NULL AND epoch < ?
                     AND epoch NOT IN (SELECT hold >> 40 FROM open WHERE limbo = 0)"
                ),
                params![epoch],
            )?;
        }
        tx.commit()?;
        // What cannot be brought back now, because somebody reads it, is the next start's work.
        self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).optional()?;
        Ok(())
    }
}

impl Store for SqliteStore {
    fn open_epoch(&mut self) -> Result<Saved, StoreError> {
        let saved = self.begin_epoch().map_err(said(&self.file))?;
        saved.ok_or_else(|| unusable(&self.file, "it has had as many epochs as it can count"))
    }

    fn orphans(&mut self) -> Result<Option<Orphans>, StoreError> {
        if self.lock.is_none() {
            self.lock = Lock::try_take(&self.file)?;
        }
        let (Some(_), Some(epoch)) = (&self.lock, self.epoch) else { return Ok(None) };
        let found = load::orphans(&self.conn, &mut self.interned.paths, epoch);
        found.map(Some).map_err(said(&self.file))
    }

    fn commit(&mut self, entries: &[Entry]) -> Result<Vec<Kept>, StoreError> {
        let done = self.keep(entries);
        if !matches!(done, Ok(Ok(_))) {
            // The numbers that the transaction gave out went with it.
            self.interned.forget();
        }
        done.map_err(said(&self.file))?.map_err(|Clash { wanted, same, free }| StoreError::Clash {
            path: self.file.display().to_string(),
            wanted,
            same,
            free,
        })
    }

    fn refresh(&mut self) -> Result<Option<News>, StoreError> {
        if std::mem::take(&mut self.is_fresh) {
            return Ok(None);
        }
        let said = said(&self.file);
        let head = rows::head(&self.conn).map_err(&said)?;
        if head.seq == self.seen {
            return Ok(None);
        }
        let news = load::since(&self.conn, self.seen).map_err(&said)?;
        self.seen = head.seq;
        Ok(Some(news))
    }

    fn account(
        &mut self,
        key: &AccountKey,
    ) -> Result<Option<(Account, Option<Balance>)>, StoreError> {
        load::account(&self.conn, key).map_err(said(&self.file))
    }

    fn limbo(&mut self, max: usize) -> Result<Vec<OpenHold>, StoreError> {
        load::limbo(&self.conn, &mut self.interned.paths, max).map_err(said(&self.file))
    }

    fn named(&mut self, since_ms: i64, max: usize) -> Result<Vec<OpenHold>, StoreError> {
        load::named(&self.conn, &mut self.interned.paths, since_ms, max).map_err(said(&self.file))
    }

    fn hold(&mut self, hold: HoldId) -> Result<Option<OpenHold>, StoreError> {
        load::hold(&self.conn, &mut self.interned.paths, hold).map_err(said(&self.file))
    }

    fn spent_within(&mut self, stretch: &Stretch, max: u32) -> Result<Option<i64>, StoreError> {
        load::spent_within(&self.conn, stretch, max).map_err(said(&self.file))
    }

    fn told(&mut self, account: AccountId) -> Result<Option<Told>, StoreError> {
        told::read(&self.conn, account).map_err(said(&self.file))
    }

    fn tell(
        &mut self,
        account: AccountId,
        was: Option<&Told>,
        now: &Told,
    ) -> Result<bool, StoreError> {
        let said = said(&self.file);
        let begin = self.conn.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = begin.map_err(&said)?;
        if told::read(&tx, account).map_err(&said)?.as_ref() != was {
            return Ok(false);
        }
        told::write(&tx, account, now).map_err(&said)?;
        tx.commit().map_err(&said)?;
        Ok(true)
    }

    fn close_epoch(&mut self) -> Result<(), StoreError> {
        let Some(epoch) = self.epoch.take() else { return Ok(()) };
        self.end_epoch(epoch).map_err(said(&self.file))
    }
}
