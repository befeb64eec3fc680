//! Reading a whole ledger, beside a gateway that may be writing to it: one unchanging view of it, row by
//! row.
//!
//! It judges nothing; a row that cannot be read is given to the caller as one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::base::limit::STORE_INTERNED_MAX;
use crate::ledger::account::{AccountId, AccountKey};
use crate::store::StoreError;
use crate::store::sqlite::batch;
use crate::store::sqlite::opening::{self, said};
use crate::store::sqlite::rows::{self, Line, Paths};
use crate::store::sqlite::told;
use crate::store::tally::{OpenRow, PeriodRow, Tables};

/// A row of the chain, or its place and why it cannot be read.
pub type Read = Result<Line, (i64, String)>;

/// One unchanging view of a ledger.
#[derive(Debug)]
pub struct Reading {
    conn: Connection,
    file: PathBuf,
    names: HashMap<u32, Option<AccountKey>>,
}

impl Reading {
    /// Opens the ledger at `file` and keeps what it says at this moment.
    ///
    /// # Errors
    /// There is none, or it is no ledger that this program knows.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        Self::of(opening::reader(file)?, file)
    }

    /// Reads over a connection that is there.
    pub fn of(conn: Connection, file: &Path) -> Result<Self, StoreError> {
        conn.execute_batch("BEGIN").map_err(said(file))?;
        Ok(Self { conn, file: file.to_owned(), names: HashMap::new() })
    }

    /// Ends the view, and gives the connection back.
    pub fn end(self) -> Result<Connection, StoreError> {
        self.conn.execute_batch("COMMIT").map_err(said(&self.file))?;
        Ok(self.conn)
    }

    /// Shows every entry to `each`, the first one first, until it says `false`.
    ///
    /// # Errors
    /// The file cannot be read any further.
    pub fn lines(&self, mut each: impl FnMut(Read) -> bool) -> Result<(), StoreError> {
        let said = said(&self.file);
        let mut paths = Paths::default();
        let sql = format!("{} ORDER BY e.seq", rows::LINES);
        let mut statement = self.conn.prepare(&sql).map_err(&said)?;
        let mut found = statement.query([]).map_err(&said)?;
        while let Some(row) = found.next().map_err(&said)? {
            let seq = row.get(0).map_err(&said)?;
            let line = match rows::line(row, &self.conn, &mut paths) {
                Ok(line) => Ok(line),
                Err(error @ rusqlite::Error::SqliteFailure(..)) => return Err(said(error)),
                Err(error) => Err((seq, error.to_string())),
            };
            if !each(line) {
                break;
            }
        }
        Ok(())
    }

    /// The name of an account.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn account_key(&mut self, id: u32) -> Result<Option<AccountKey>, StoreError> {
        read_key(&self.conn, &mut self.names, id).map_err(said(&self.file))
    }

    /// What the tables say.
    ///
    /// # Errors
    /// The file cannot be read, or a row makes no sense.
    pub fn tables(&self) -> Result<Tables, StoreError> {
        self.read_tables().map_err(said(&self.file))
    }

    fn read_tables(&self) -> rusqlite::Result<Tables> {
        let mut tables = Tables::default();
        let sql = format!("SELECT {} FROM account", rows::ACCOUNT);
        for account in self.conn.prepare(&sql)?.query_map([], |row| rows::account(row, 0))? {
            let account = account?;
            tables.accounts.insert(account.id.0, account);
        }
        let mut periods =
            self.conn.prepare("SELECT account, start_ms, end_ms, cap, spent, held FROM period")?;
        for period in periods.query_map([], |row| {
            let (end_ms, cap) = (row.get(2)?, row.get(3)?);
            let (spent, held) = (row.get(4)?, row.get(5)?);
            Ok(((row.get(0)?, row.get(1)?), PeriodRow { end_ms, cap, spent, held }))
        })? {
            let (key, row) = period?;
            tables.periods.insert(key, row);
        }
        let mut open = self
            .conn
            .prepare("SELECT hold, limbo, made, path, held, generation, booked FROM open")?;
        for hold in open.query_map([], |row| {
            let limbo = rows::flag(row, 1)?;
            let (made, path, held) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let (generation, booked) = (row.get(5)?, row.get(6)?);
            Ok((row.get(0)?, OpenRow { limbo, made, path, held, generation, booked }))
        })? {
            let (key, row) = hold?;
            tables.open.insert(key, row);
        }
        Ok(tables)
    }

    /// Rows that no entry leads to, or that say something else than what leads to them, in words.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn stray(&self) -> Result<Vec<String>, StoreError> {
        self.read_stray().map_err(said(&self.file))
    }

    fn read_stray(&self) -> rusqlite::Result<Vec<String>> {
        let mut found: Vec<String> = self
            .conn
            .prepare(
                "SELECT 'account change ' || seq || ' belongs to no entry' FROM account_change
                     WHERE seq NOT IN (SELECT seq FROM entry)
                 UNION ALL SELECT 'a step of path ' || path || ' belongs to no path' FROM path_step
                     WHERE path NOT IN (SELECT id FROM path)
                 UNION ALL SELECT 'hold ' || hold || ' is of epoch ' || (hold >> 40)
                         || ', which has ended or never was' FROM open
                     WHERE limbo = 0 AND hold >> 40 NOT IN
                         (SELECT epoch FROM node WHERE ended_ms IS NULL)",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let mut told = self.conn.prepare(
            "SELECT account, account IN (SELECT id FROM account) FROM told ORDER BY account",
        )?;
        for row in told.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (account, is_known): (u32, bool) = row?;
            if !is_known {
                found.push(format!("something was told of account {account}, which is not known"));
            }
            if let Err(error) = told::read(&self.conn, AccountId(account)) {
                found.push(format!("what was told of account {account} makes no sense: {error}"));
            }
        }
        let mut checks = self.conn.prepare("PRAGMA integrity_check(10)")?;
        for said in checks.query_map([], |row| row.get::<_, String>(0))? {
            found.extend(Some(said?).filter(|said| said != "ok"));
        }
        let mut paths = self.conn.prepare("SELECT id, digest FROM path")?;
        for path in paths.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (id, digest): (i64, i64) = path?;
            if batch::digest(&rows::read_steps(&self.conn, id)?) != digest {
                found.push(format!("path {id} has another digest than its steps"));
            }
        }
        Ok(found)
    }
}

fn read_key(
    conn: &Connection,
    names: &mut HashMap<u32, Option<AccountKey>>,
    id: u32,
) -> rusqlite::Result<Option<AccountKey>> {
    if let Some(key) = names.get(&id) {
        return Ok(key.clone());
    }
    let mut keys = conn.prepare_cached("SELECT key FROM account WHERE id = ?")?;
    let found: Option<String> = keys.query_map([id], |row| row.get(0))?.next().transpose()?;
    let key = found.and_then(|text| AccountKey::parse(&text));
    if names.len() >= STORE_INTERNED_MAX {
        names.clear();
    }
    names.insert(id, key.clone());
    Ok(key)
}
