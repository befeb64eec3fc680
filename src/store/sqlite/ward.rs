//! What the guard keeps, in the file of the ledger, over a connection of its own. Its tables are told in
//! `schema/ward.sql`; nothing here reads or writes others.
//!
//! What a strike leads to is `guard::quarantine`'s word; here it is asked inside of the transaction, so that
//! two processes never count past each other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use crate::base::limit;
use crate::config::snapshot::Synchronous;
use crate::guard::quarantine::{Ban, KeyId, Sheet, Strike, Struck, Terms};
use crate::store::StoreError;
use crate::store::registry::Page;
use crate::store::sqlite::opening::{self, said};
use crate::store::sqlite::rows::senseless;
use crate::store::ward::{Blow, Count, Line, SECRET_BYTES, Standing, Ward};

/// The schema of its tables that this program writes.
const SCHEMA: i64 = 1;
const SQL: &str = include_str!("../schema/ward.sql");

/// The guard's tables in a `SQLite` file that is also a ledger.
#[derive(Debug)]
pub struct SqliteWard {
    conn: Mutex<Connection>,
    file: PathBuf,
}

impl SqliteWard {
    /// Opens them in `file`, which must be a ledger, and makes them if there are none.
    ///
    /// # Errors
    /// The file is no ledger, was written by a newer version, or cannot be written.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        let mut conn = opening::writer(file, Synchronous::Full, false)?;
        let said = said(file);
        let busy = Duration::from_millis(limit::REGISTRY_BUSY_MS_MAX);
        conn.busy_timeout(busy).map_err(&said)?;
        let found = settle_in(&mut conn).map_err(&said)?;
        if found > SCHEMA {
            let path = file.display().to_string();
            return Err(StoreError::Newer { path, found, known: SCHEMA });
        }
        if found != SCHEMA {
            return Err(opening::corrupt(file, "its guard has no schema that was ever written"));
        }
        Ok(Self { conn: Mutex::new(conn), file: file.to_owned() })
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        read(&self.conn.lock()).map_err(said(&self.file))
    }

    fn write<T>(
        &self,
        durable: bool,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut conn = self.conn.lock();
        let done = || {
            let synchronous = if durable { "full" } else { "normal" };
            conn.pragma_update(None, "synchronous", synchronous)?;
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = change(&tx)?;
            tx.commit()?;
            Ok(done)
        };
        let done: rusqlite::Result<T> = done();
        done.map_err(said(&self.file))
    }
}

/// Makes the tables if there are none, and says which schema they have.
fn settle_in(conn: &mut Connection) -> rusqlite::Result<i64> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'guard_meta')";
    let there: bool = tx.query_row(sql, [], |row| row.get(0))?;
    if !there {
        tx.execute_batch(SQL)?;
        tx.execute("INSERT INTO guard_meta (one, schema, version) VALUES (1, ?, 0)", [SCHEMA])?;
    }
    let schema = tx.query_row("SELECT schema FROM guard_meta", [], |row| row.get(0))?;
    tx.commit()?;
    Ok(schema)
}

impl Ward for SqliteWard {
    fn strike(&self, blow: &Blow, terms: &Terms) -> Result<Struck, StoreError> {
        self.write(true, |tx| {
            let mut sheet = sheet(tx, blow.key)?;
            if sheet.ban == Some(Ban::Permanent) {
                return Ok(Struck::Known);
            }
            let struck = sheet.strike(blow.strike, terms);
            if struck == Struck::Known {
                return Ok(struck);
            }
            keep(tx, blow, terms, sheet.ban)?;
            if let Struck::Out(ban) = struck {
                let (event, by) = (ban.name().to_owned(), "gateway".to_owned());
                let (at_ms, key) = (blow.strike.at_ms, blow.key.to_string());
                add_line(tx, &Line { at_ms, event, key, by, ..Line::default() })?;
                changed(tx)?;
            }
            bound(tx)?;
            bound_audit(tx)?;
            Ok(struck)
        })
    }

    fn release(&self, key: KeyId, line: &Line) -> Result<Option<Standing>, StoreError> {
        self.write(true, |tx| {
            let sql = format!("{STANDINGS} WHERE k.key_id = ? GROUP BY k.key_id");
            let found = tx.query_row(&sql, [key.to_string()], standing).optional()?;
            if found.is_none() {
                return Ok(None);
            }
            tx.execute("DELETE FROM guard_strikes WHERE key_id = ?", [key.to_string()])?;
            tx.execute("DELETE FROM guard_keys WHERE key_id = ?", [key.to_string()])?;
            add_line(tx, line)?;
            changed(tx)?;
            Ok(found)
        })
    }

    fn bans(&self, at_ms: i64) -> Result<Vec<(KeyId, Ban)>, StoreError> {
        let sql = "SELECT key_id, until_ms FROM guard_keys
                   WHERE banned = 1 AND (until_ms IS NULL OR until_ms > ?)";
        self.read(|conn| {
            let mut rows = conn.prepare_cached(sql)?;
            rows.query_map([at_ms], |row| {
                let until: Option<i64> = row.get(1)?;
                Ok((key_id(row, 0)?, until.map_or(Ban::Permanent, Ban::Until)))
            })?
            .collect()
        })
    }

    fn standings(&self, max: usize) -> Result<Vec<Standing>, StoreError> {
        let sql = format!("{STANDINGS} GROUP BY k.key_id ORDER BY k.last_ms DESC LIMIT ?");
        self.read(|conn| conn.prepare_cached(&sql)?.query_map([count(max)], standing)?.collect())
    }

    fn note(&self, lines: &[Line], counts: &[Count]) -> Result<(), StoreError> {
        if lines.is_empty() && counts.is_empty() {
            return Ok(());
        }
        self.write(false, |tx| {
            lines.iter().try_for_each(|line| add_line(tx, line))?;
            let sql = "INSERT INTO guard_days (day, kind, name, count) VALUES (?, ?, ?, ?)
                       ON CONFLICT DO UPDATE SET count = count + excluded.count";
            for Count { day, kind, name, count } in counts {
                let count = count.cast_signed();
                tx.prepare_cached(sql)?.execute(params![day, kind, name, count])?;
            }
            bound_audit(tx)
        })
    }

    fn lines(&self, page: Page) -> Result<Vec<Line>, StoreError> {
        let sql = "SELECT id, at_ms, event, key_id, by_key, sha256, bytes, rules FROM guard_audit
                   WHERE id > ? ORDER BY id LIMIT ?";
        let limit = count(page.limit.min(limit::AUDIT_PAGE_MAX));
        self.read(|conn| {
            conn.prepare_cached(sql)?.query_map(params![page.after, limit], line)?.collect()
        })
    }

    fn counts(&self, from_day: i64) -> Result<Vec<Count>, StoreError> {
        let sql = "SELECT day, kind, name, count FROM guard_days WHERE day >= ?
                   ORDER BY day, kind, name";
        self.read(|conn| {
            let mut rows = conn.prepare_cached(sql)?;
            rows.query_map([from_day], |row| {
                let count: i64 = row.get(3)?;
                let count = count.cast_unsigned();
                Ok(Count { day: row.get(0)?, kind: row.get(1)?, name: row.get(2)?, count })
            })?
            .collect()
        })
    }

    fn forget(&self, before_ms: i64, day: i64) -> Result<(), StoreError> {
        self.write(false, |tx| {
            tx.execute("DELETE FROM guard_strikes WHERE at_ms < ?", [before_ms])?;
            tx.execute(
                "DELETE FROM guard_keys WHERE last_ms < ?1 AND
                     (banned = 0 OR until_ms IS NOT NULL AND until_ms < ?1)",
                [before_ms],
            )?;
            tx.execute("DELETE FROM guard_days WHERE day < ?", [day])?;
            Ok(())
        })
    }

    fn secret(&self, fresh: [u8; SECRET_BYTES]) -> Result<[u8; SECRET_BYTES], StoreError> {
        self.write(true, |tx| {
            let sql = "UPDATE guard_meta SET secret = ? WHERE secret IS NULL";
            tx.execute(sql, [fresh])?;
            tx.query_row("SELECT secret FROM guard_meta", [], |row| row.get(0))
        })
    }

    fn version(&self) -> Result<i64, StoreError> {
        let sql = "SELECT version FROM guard_meta";
        self.read(|conn| conn.prepare_cached(sql)?.query_row([], |row| row.get(0)))
    }
}

const STANDINGS: &str =
    "SELECT k.key_id, k.agent, k.last_ms, k.banned, k.until_ms, count(s.content)
    FROM guard_keys k LEFT JOIN guard_strikes s ON s.key_id = k.key_id";

fn standing(row: &Row<'_>) -> rusqlite::Result<Standing> {
    let (banned, until): (bool, Option<i64>) = (row.get(3)?, row.get(4)?);
    let strikes: i64 = row.get(5)?;
    Ok(Standing {
        key: key_id(row, 0)?,
        agent: row.get(1)?,
        strikes: strikes.cast_unsigned(),
        last_ms: row.get(2)?,
        ban: banned.then(|| until.map_or(Ban::Permanent, Ban::Until)),
    })
}

fn key_id(row: &Row<'_>, at: usize) -> rusqlite::Result<KeyId> {
    let text: String = row.get(at)?;
    KeyId::parse(&text).ok_or_else(|| senseless(at, "the name of a key"))
}

fn line(row: &Row<'_>) -> rusqlite::Result<Line> {
    let bytes: i64 = row.get(6)?;
    Ok(Line {
        id: row.get(0)?,
        at_ms: row.get(1)?,
        event: row.get(2)?,
        key: row.get(3)?,
        by: row.get(4)?,
        sha256: row.get(5)?,
        bytes: bytes.cast_unsigned(),
        rules: row.get(7)?,
    })
}

fn add_line(tx: &Transaction<'_>, line: &Line) -> rusqlite::Result<()> {
    let Line { at_ms, event, key, by, sha256, bytes, rules, .. } = line;
    let sql = "INSERT INTO guard_audit (at_ms, event, key_id, by_key, sha256, bytes, rules)
               VALUES (?, ?, ?, ?, ?, ?, ?)";
    let row = params![at_ms, event, key, by, sha256, bytes.cast_signed(), rules];
    tx.prepare_cached(sql)?.execute(row).map(drop)
}

/// What is held against a key.
fn sheet(tx: &Transaction<'_>, key: KeyId) -> rusqlite::Result<Sheet> {
    let sql = "SELECT content, at_ms FROM guard_strikes WHERE key_id = ? ORDER BY at_ms";
    let mut strikes = tx.prepare_cached(sql)?;
    let strikes = strikes.query_map([key.to_string()], |row| {
        let content: i64 = row.get(0)?;
        Ok(Strike { content: content.cast_unsigned(), at_ms: row.get(1)? })
    })?;
    let sql = "SELECT banned, until_ms FROM guard_keys WHERE key_id = ?";
    let ban: Option<(bool, Option<i64>)> =
        tx.query_row(sql, [key.to_string()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let ban =
        ban.and_then(|(banned, until)| banned.then(|| until.map_or(Ban::Permanent, Ban::Until)));
    Ok(Sheet { strikes: strikes.collect::<rusqlite::Result<_>>()?, ban })
}

/// Keeps a strike that counts, and how its key stands.
fn keep(
    tx: &Transaction<'_>,
    blow: &Blow,
    terms: &Terms,
    ban: Option<Ban>,
) -> rusqlite::Result<()> {
    let (key, at_ms) = (blow.key.to_string(), blow.strike.at_ms);
    let sql = "DELETE FROM guard_strikes WHERE key_id = ? AND at_ms <= ?";
    tx.prepare_cached(sql)?.execute(params![key, at_ms.saturating_sub(terms.window_ms)])?;
    let sql = "INSERT OR REPLACE INTO guard_strikes (key_id, content, at_ms) VALUES (?, ?, ?)";
    let content = blow.strike.content.cast_signed();
    tx.prepare_cached(sql)?.execute(params![key, content, at_ms])?;
    // As many as a sheet holds: each strike reads them all.
    let sql = "DELETE FROM guard_strikes WHERE key_id = ?1 AND content IN
                   (SELECT content FROM guard_strikes WHERE key_id = ?1
                    ORDER BY at_ms DESC LIMIT -1 OFFSET ?2)";
    tx.prepare_cached(sql)?.execute(params![key, count(limit::STRIKES_PER_KEY_MAX)])?;
    let until = match ban {
        Some(Ban::Until(until_ms)) => Some(until_ms),
        Some(Ban::Permanent) | None => None,
    };
    let sql = "INSERT OR REPLACE INTO guard_keys (key_id, agent, last_ms, banned, until_ms)
               VALUES (?, ?, ?, ?, ?)";
    let row = params![key, blow.agent, at_ms, ban.is_some(), until];
    tx.prepare_cached(sql)?.execute(row).map(drop)
}

fn changed(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute("UPDATE guard_meta SET version = version + 1", []).map(drop)
}

/// Forgets the oldest lines of an audit that has become too long.
fn bound_audit(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let sql = "DELETE FROM guard_audit WHERE id <= (SELECT max(id) FROM guard_audit) - ?";
    tx.prepare_cached(sql)?.execute([count(limit::GUARD_AUDIT_MAX)]).map(drop)
}

/// Forgets the oldest of strikes and keys, where there are too many.
fn bound(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let sql = "DELETE FROM guard_strikes WHERE (key_id, content) IN
                   (SELECT key_id, content FROM guard_strikes ORDER BY at_ms DESC
                    LIMIT -1 OFFSET ?)";
    tx.prepare_cached(sql)?.execute([count(limit::STRIKES_STORED_MAX)])?;
    // Those that are shut out for good stay longest.
    let sql = "DELETE FROM guard_keys WHERE key_id IN
                   (SELECT key_id FROM guard_keys
                    ORDER BY banned = 1 AND until_ms IS NULL DESC, last_ms DESC LIMIT -1 OFFSET ?)";
    tx.prepare_cached(sql)?.execute([count(limit::QUARANTINED_MAX)]).map(drop)
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{Opening, SqliteStore};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("weir-ward-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn ledger(&self) -> PathBuf {
            let file = self.0.join("weir.db");
            SqliteStore::open(&file, Synchronous::Normal, Opening::Own).unwrap();
            file
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn blow(content: u64, at_ms: i64) -> Blow {
        let key = KeyId::parse("0123456789ab").unwrap();
        Blow { key, agent: "worker".to_owned(), strike: Strike { content, at_ms } }
    }

    #[test]
    fn two_processes_count_together_and_a_restart_forgets_nothing() {
        let folder = Folder::new("two");
        let file = folder.ledger();
        let (one, two) = (SqliteWard::open(&file).unwrap(), SqliteWard::open(&file).unwrap());
        let terms = Terms::default();
        assert_eq!(one.strike(&blow(1, 10), &terms).unwrap(), Struck::Counted);
        assert_eq!(two.strike(&blow(1, 11), &terms).unwrap(), Struck::Known);
        assert_eq!(two.strike(&blow(2, 12), &terms).unwrap(), Struck::Counted);
        assert_eq!(two.version().unwrap(), 0);
        let until = Ban::Until(13 + terms.rest_ms);
        assert_eq!(one.strike(&blow(3, 13), &terms).unwrap(), Struck::Out(until));
        assert_eq!(two.version().unwrap(), 1);
        drop((one, two));
        let again = SqliteWard::open(&file).unwrap();
        assert_eq!(again.bans(14).unwrap(), [(blow(0, 0).key, until)]);
        assert_eq!(again.bans(14 + terms.rest_ms).unwrap(), []);
        let found = again.standings(10).unwrap();
        assert_eq!((found.len(), found[0].strikes, &*found[0].agent), (1, 3, "worker"));
        // The ledger is still one for whoever opens it next.
        SqliteStore::open(&file, Synchronous::Normal, Opening::Own).unwrap();
    }

    #[test]
    fn who_is_let_in_begins_anew_and_both_changes_are_audited() {
        let folder = Folder::new("release");
        let ward = SqliteWard::open(&folder.ledger()).unwrap();
        let terms = Terms::default();
        for content in 0..10 {
            ward.strike(&blow(content, 5), &terms).unwrap();
        }
        let key = blow(0, 0).key;
        assert_eq!(ward.bans(i64::MAX).unwrap(), [(key, Ban::Permanent)]);
        let said = |event: &str, by: &str| Line {
            event: event.to_owned(),
            by: by.to_owned(),
            key: key.to_string(),
            at_ms: 9,
            ..Line::default()
        };
        let lifted = ward.release(key, &said("released", "admin")).unwrap().unwrap();
        assert_eq!((lifted.ban, lifted.strikes), (Some(Ban::Permanent), 10));
        assert_eq!(ward.release(key, &said("released", "admin")).unwrap(), None);
        assert_eq!(ward.bans(6).unwrap(), []);
        assert_eq!(ward.strike(&blow(99, 7), &terms).unwrap(), Struck::Counted);
        let lines = ward.lines(Page { after: 0, limit: 100 }).unwrap();
        let events: Vec<&str> = lines.iter().map(|line| &*line.event).collect();
        assert_eq!((lines.len(), events[7], events[8]), (9, "permanent", "released"));
        assert!(lines.iter().all(|line| line.key == key.to_string()));
    }

    #[test]
    fn a_key_keeps_no_more_strikes_than_a_sheet_holds() {
        let folder = Folder::new("rows");
        let ward = SqliteWard::open(&folder.ledger()).unwrap();
        let most = limit::STRIKES_PER_KEY_MAX as u64;
        let row = "INSERT INTO guard_strikes (key_id, content, at_ms) VALUES (?, ?, ?)";
        let key = blow(0, 0).key.to_string();
        let fill = |tx: &Transaction<'_>| {
            (0..most + 5).try_for_each(|at| {
                let at = at.cast_signed();
                tx.prepare_cached(row)?.execute(params![key, at, at]).map(drop)
            })
        };
        ward.write(false, fill).unwrap();
        let terms = Terms { strikes: 5_000, permanent_strikes: 5_000, ..Terms::default() };
        ward.strike(&blow(9_999, 9_999), &terms).unwrap();
        assert_eq!(ward.standings(1).unwrap()[0].strikes, most);
        assert_eq!(ward.strike(&blow(9_999, 9_999), &terms).unwrap(), Struck::Known);
    }

    #[test]
    fn a_key_that_is_shut_out_for_good_is_written_no_more() {
        let folder = Folder::new("good");
        let ward = SqliteWard::open(&folder.ledger()).unwrap();
        for content in 0..30 {
            ward.strike(&blow(content, 5), &Terms::default()).unwrap();
        }
        assert_eq!(ward.standings(1).unwrap()[0].strikes, 10);
        assert_eq!(ward.lines(Page { after: 0, limit: 100 }).unwrap().len(), 8);
    }

    #[test]
    fn counts_add_up_by_day_and_old_ones_go() {
        let folder = Folder::new("days");
        let ward = SqliteWard::open(&folder.ledger()).unwrap();
        let count = |day, count| Count {
            day,
            kind: "blocks".to_owned(),
            name: "seed.ignore".to_owned(),
            count,
        };
        ward.note(&[], &[count(1, 2), count(2, 5)]).unwrap();
        ward.note(&[Line::default()], &[count(2, 3)]).unwrap();
        assert_eq!(ward.counts(0).unwrap(), [count(1, 2), count(2, 8)]);
        ward.strike(&blow(1, 10), &Terms::default()).unwrap();
        ward.forget(11, 2).unwrap();
        assert_eq!(ward.counts(0).unwrap(), [count(2, 8)]);
        assert_eq!(ward.standings(9).unwrap(), []);
    }

    #[test]
    fn the_secret_is_made_once() {
        let folder = Folder::new("secret");
        let file = folder.ledger();
        let first = SqliteWard::open(&file).unwrap().secret([1; 32]).unwrap();
        let second = SqliteWard::open(&file).unwrap().secret([2; 32]).unwrap();
        assert_eq!((first, second), ([1; 32], [1; 32]));
    }
}
