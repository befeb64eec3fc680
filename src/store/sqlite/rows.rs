//! Rows of the ledger as values: entries, accounts, paths, balances.
//!
//! A row that means nothing (an unknown code, half a count of tokens) is an error, never a default:
//! it says that the file was changed by somebody else.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Result, Row};

use crate::base::id::RequestId;
use crate::base::limit::STORE_INTERNED_MAX;
use crate::base::money::NanoUsd;
use crate::ledger::account::{Account, AccountId, AccountKey, Cadence, Terms};
use crate::ledger::entry::{Entry, HoldId, Kind, Reason, Step, Tokens};
use crate::ledger::saved::Balance;

/// The columns of `line`. The request of an entry that resolves a hold stands in the hold's entry.
pub const LINES: &str = "
    SELECT e.seq, e.hash, e.at_ms, e.kind, e.reason,
           CASE WHEN e.made IS NULL THEN e.hold ELSE h.hold END, e.path, e.held, e.spent,
           CASE WHEN e.made IS NULL THEN e.request ELSE h.request END, e.attempt, n.text,
           e.price_version, e.input, e.cache_read, e.cache_write, e.cache_write_1h, e.output,
           e.reasoning, e.made, e.made IS NOT NULL AND (h.seq IS NULL OR e.hold IS NOT NULL OR e.request IS NOT NULL)
               OR e.model IS NOT NULL AND n.id IS NULL,
           a.id, a.key, a.parent, a.limit_nano, a.cadence, a.zone, a.hard, a.limit_set_nano,
           a.frozen, a.reset_at_ms, e.generation
    FROM entry e
    LEFT JOIN entry h ON h.seq = e.made
    LEFT JOIN name n ON n.id = e.model
    LEFT JOIN account_change a ON a.seq = e.seq";

/// The columns of `account`, in the order that it reads.
pub const ACCOUNT: &str =
    "id, key, parent, limit_nano, cadence, zone, hard, limit_set_nano, frozen, reset_at_ms";

/// One row of the chain.
#[derive(Debug)]
pub struct Line {
    /// Its place.
    pub seq: i64,
    /// The hash that was written with it.
    pub hash: [u8; 32],
    /// The row of the hold that it resolves.
    pub made: Option<i64>,
    /// The number of its path.
    pub path: Option<i64>,
    /// Whether it has values that its hold should have, or leads to a row that is not there.
    pub stray: bool,
    /// What it says.
    pub entry: Entry,
}

/// Reads one row of `LINES`.
pub fn line(row: &Row<'_>, conn: &Connection, paths: &mut Paths) -> Result<Line> {
    let path: Option<i64> = row.get(6)?;
    let steps = path.map_or_else(|| Ok(Arc::from([])), |id| paths.steps(conn, id))?;
    let entry = Entry {
        at_ms: row.get(2)?,
        kind: Kind::from_code(row.get(3)?).ok_or_else(|| senseless(3, "a kind of entry"))?,
        hold: row.get::<_, Option<i64>>(5)?.map(|hold| HoldId(hold.cast_unsigned())),
        path: steps,
        held: row.get(7)?,
        spent: row.get(8)?,
        request: row.get::<_, Option<[u8; 16]>>(9)?.map(request),
        attempt: row.get(10)?,
        model: row.get::<_, Option<Arc<str>>>(11)?,
        price_version: row.get::<_, i64>(12)?.cast_unsigned(),
        tokens: tokens(row)?,
        generation: row.get::<_, Option<Arc<str>>>(31)?,
        reason: Reason::from_code(row.get(4)?).ok_or_else(|| senseless(4, "a reason"))?,
        account: match row.get::<_, Option<i64>>(21)? {
            Some(_) => Some(Arc::new(account(row, 21)?)),
            None => None,
        },
        was: None,
    };
    Ok(Line {
        seq: row.get(0)?,
        hash: row.get(1)?,
        made: row.get(19)?,
        path,
        stray: row.get(20)?,
        entry,
    })
}

/// A request id as it is stored.
pub fn request(bytes: [u8; 16]) -> RequestId {
    RequestId::from_bits(u128::from_be_bytes(bytes))
}

/// The columns of `account`, from column `at` on.
pub fn account(row: &Row<'_>, at: usize) -> Result<Account> {
    let key: String = row.get(at + 1)?;
    let cadence: String = row.get(at + 4)?;
    let cadence = Cadence::ALL.into_iter().find(|known| known.name() == cadence);
    Ok(Account {
        id: AccountId(row.get(at)?),
        key: AccountKey::parse(&key).ok_or_else(|| senseless(at + 1, "an account's key"))?,
        parent: row.get::<_, Option<u32>>(at + 2)?.map(AccountId),
        terms: Terms {
            limit: row.get::<_, Option<i64>>(at + 3)?.map(NanoUsd),
            cadence: cadence.ok_or_else(|| senseless(at + 4, "a cadence"))?,
            zone: row.get(at + 5)?,
            hard: flag(row, at + 6)?,
        },
        limit_set: row.get::<_, Option<i64>>(at + 7)?.map(NanoUsd),
        frozen: flag(row, at + 8)?,
        reset_at_ms: row.get(at + 9)?,
    })
}

/// `account, start_ms, end_ms, spent, held`.
pub fn balance(row: &Row<'_>) -> Result<Balance> {
    Ok(Balance {
        account: AccountId(row.get(0)?),
        start_ms: row.get(1)?,
        end_ms: row.get(2)?,
        spent: row.get(3)?,
        held: row.get(4)?,
    })
}

/// An error that says which column makes no sense.
pub fn senseless(column: usize, what: &'static str) -> Error {
    Error::FromSqlConversionFailure(column, Type::Null, format!("is not {what}").into())
}

/// A column that is 0 or 1.
pub fn flag(row: &Row<'_>, at: usize) -> Result<bool> {
    match row.get::<_, i64>(at)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(senseless(at, "0 or 1")),
    }
}

fn tokens(row: &Row<'_>) -> Result<Option<Tokens>> {
    let mut counts = [0; 6];
    let mut known = 0;
    for (at, count) in counts.iter_mut().enumerate() {
        if let Some(found) = row.get::<_, Option<i64>>(13 + at)? {
            *count = found.cast_unsigned();
            known += 1;
        }
    }
    let [input, cache_read, cache_write, cache_write_1h, output, reasoning] = counts;
    match known {
        0 => Ok(None),
        6 => Ok(Some(Tokens { input, cache_read, cache_write, cache_write_1h, output, reasoning })),
        _ => Err(senseless(13, "a whole count of tokens")),
    }
}

/// Paths by their number, as many as are remembered.
#[derive(Debug, Default)]
pub struct Paths {
    known: HashMap<i64, Arc<[Step]>>,
}

impl Paths {
    /// The steps of one path; none for a number that is not there.
    pub fn steps(&mut self, conn: &Connection, path: i64) -> Result<Arc<[Step]>> {
        if let Some(steps) = self.known.get(&path) {
            return Ok(Arc::clone(steps));
        }
        let steps: Arc<[Step]> = read_steps(conn, path)?.into();
        if self.known.len() >= STORE_INTERNED_MAX {
            self.known.clear();
        }
        self.known.insert(path, Arc::clone(&steps));
        Ok(steps)
    }

    /// Forgets what may not be there any more.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}

/// The steps of one path, leaf first.
pub fn read_steps(conn: &Connection, path: i64) -> Result<Vec<Step>> {
    let mut steps = conn.prepare_cached(
        "SELECT at, account, start_ms, end_ms, cap FROM path_step WHERE path = ? ORDER BY at",
    )?;
    let mut rows = steps.query([path])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if usize::try_from(row.get::<_, i64>(0)?) != Ok(found.len()) {
            return Err(senseless(0, "the next step of its path"));
        }
        found.push(Step {
            account: AccountId(row.get(1)?),
            start_ms: row.get(2)?,
            end_ms: row.get(3)?,
            cap: row.get::<_, Option<i64>>(4)?.map(NanoUsd),
        });
    }
    Ok(found)
}

/// The end of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last entry's place; 0 before the first.
    pub seq: i64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// The last row of the chain.
pub const HEAD: &str = "SELECT seq, hash FROM entry WHERE seq = (SELECT max(seq) FROM entry)";

/// When the last entry was written, in milliseconds since the Unix epoch; 0 if there is none.
pub fn last_ms(conn: &Connection) -> Result<i64> {
    let last = "SELECT at_ms FROM entry WHERE seq = (SELECT max(seq) FROM entry)";
    Ok(conn.prepare_cached(last)?.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Reads the end of the chain.
pub fn head(conn: &Connection) -> Result<Head> {
    let found = conn
        .prepare_cached(HEAD)?
        .query_row([], |row| Ok(Head { seq: row.get(0)?, hash: row.get(1)? }))
        .optional()?;
    Ok(found.unwrap_or(Head { seq: 0, hash: crate::ledger::chain::GENESIS }))
}
