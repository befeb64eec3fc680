//! Opening the file: made if there is none, refused if it is not a whole ledger of a known schema.
//!
//! The checks read a few pages however long the ledger is. Whether all of it is true is asked by
//! `verify`, which reads everything.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::base::limit::{STORE_BUSY_MS_MAX, STORE_WAL_BYTES_MAX};
use crate::config::snapshot::Synchronous;
use crate::ledger::chain;
use crate::store::StoreError;
use crate::store::sqlite::rows::{self, Line, Paths};

/// `Weir` in ASCII: whose file it is, in the header that `file` and `SQLite`'s own tools show.
const APPLICATION: i64 = 0x5765_6972;
/// The schema that this program writes.
pub const SCHEMA: i64 = 3;
/// What leads from each schema to the next one, from an empty file on.
const STEPS: [&str; 3] = [
    include_str!("../schema/ledger.sql"),
    include_str!("../schema/2.sql"),
    include_str!("../schema/3.sql"),
];
/// How every file of the engine begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Prepared statements that are kept; there are fewer.
const STATEMENTS_KEPT: usize = 64;

/// Opens the ledger at `file` for writing; makes it if there is none and `is_owner`.
pub fn writer(
    file: &Path,
    synchronous: Synchronous,
    is_owner: bool,
) -> Result<Connection, StoreError> {
    if !exists(file)? {
        if !is_owner {
            return Err(unusable(file, "does not exist, though another process has its lock"));
        }
        create(file)?;
    }
    check_links(file)?;
    check_magic(file)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let said = said(file);
    let conn = Connection::open_with_flags(file, flags).map_err(&said)?;
    let found = check_kind(&conn, file)?;
    if conn.is_readonly("main").map_err(&said)? {
        return Err(unusable(file, "is read-only"));
    }
    settle_in(&conn, synchronous).map_err(&said)?;
    if found < SCHEMA {
        migrate(&conn).map_err(&said)?;
    }
    if is_owner {
        check_length(&conn, file)?;
    }
    check_head(&conn, file)?;
    Ok(conn)
}

/// Opens the ledger at `file` for reading, beside a gateway that may be writing to it.
pub fn reader(file: &Path) -> Result<Connection, StoreError> {
    if !exists(file)? {
        return Err(unusable(file, "does not exist"));
    }
    check_magic(file)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags).map_err(said(file))?;
    conn.busy_timeout(Duration::from_millis(STORE_BUSY_MS_MAX)).map_err(said(file))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    let found = check_kind(&conn, file)?;
    if found < SCHEMA {
        let detail = format!(
            "was written by an older version (schema {found}); the next start of the gateway brings \
             it to schema {SCHEMA}"
        );
        return Err(unusable(file, detail));
    }
    Ok(conn)
}

/// What an error of the engine means for the file.
pub fn said(file: &Path) -> impl Fn(rusqlite::Error) -> StoreError {
    let path = file.display().to_string();
    move |error| {
        let (path, detail) = (path.clone(), error.to_string());
        match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..)
            | rusqlite::Error::QueryReturnedNoRows => StoreError::Corrupt { path, detail },
            other => match other.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    StoreError::Corrupt { path, detail }
                }
                _ => StoreError::Unusable { path, detail },
            },
        }
    }
}

/// An error of the place, not of what lies there.
pub fn unusable(file: &Path, detail: impl Display) -> StoreError {
    StoreError::Unusable { path: file.display().to_string(), detail: detail.to_string() }
}

/// An error of what lies there.
pub fn corrupt(file: &Path, detail: impl Display) -> StoreError {
    StoreError::Corrupt { path: file.display().to_string(), detail: detail.to_string() }
}

/// Whether the ledger is there. A log of the engine without its file is a ledger that lost its body.
fn exists(file: &Path) -> Result<bool, StoreError> {
    match std::fs::metadata(file) {
        Ok(found) if found.is_file() => Ok(true),
        Ok(_) => Err(unusable(file, "is not a file")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            check_folder(file)?;
            let log = beside(file, "-wal");
            if std::fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
                let detail = format!("the file is gone, but {} is there", log.display());
                return Err(corrupt(file, detail));
            }
            Ok(false)
        }
        Err(error) => Err(unusable(file, error)),
    }
}

/// Says which folder is missing, which the engine does not.
pub fn check_folder(file: &Path) -> Result<(), StoreError> {
    let folder = folder(file);
    if folder.is_dir() {
        return Ok(());
    }
    Err(unusable(file, format!("there is no folder {}", folder.display())))
}

fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes an empty ledger under another name and gives it its own name when it is whole, so that a
/// crash on the way leaves no ledger rather than half of one.
fn create(file: &Path) -> Result<(), StoreError> {
    let new = beside(file, ".new");
    let broken = |error: std::io::Error| unusable(&new, error);
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match std::fs::remove_file(beside(&new, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(broken(error));
            }
            _ => {}
        }
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(broken)?;
    fill(&new).map_err(said(file))?;
    File::open(&new).and_then(|made| made.sync_all()).map_err(broken)?;
    std::fs::rename(&new, file).map_err(broken)?;
    File::open(folder(file)).and_then(|folder| folder.sync_all()).map_err(broken)
}

fn fill(new: &Path) -> rusqlite::Result<()> {
    let conn = Connection::open_with_flags(new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.pragma_update(None, "application_id", APPLICATION)?;
    make_tables(&conn, SCHEMA)?;
    conn.execute(
        "INSERT INTO meta (key, value) VALUES ('made_by', ?)",
        [concat!("weir ", env!("CARGO_PKG_VERSION"))],
    )?;
    conn.pragma_update(None, "user_version", SCHEMA)?;
    conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    conn.close().map_err(|(_, error)| error)
}

/// Behind a second name another process could write without knowing of us: neither our lock nor the log of
/// the engine, which both go by the name, would be the same.
fn check_links(file: &Path) -> Result<(), StoreError> {
    let links = std::fs::metadata(file).map_err(|error| unusable(file, error))?.nlink();
    if links > 1 {
        let detail = format!(
            "has {links} names (hard links), and another process might use it by another one; remove \
             the others, or copy it"
        );
        return Err(unusable(file, detail));
    }
    Ok(())
}

fn check_magic(file: &Path) -> Result<(), StoreError> {
    let mut start = Vec::new();
    let opened = File::open(file).map_err(|error| unusable(file, error))?;
    opened
        .take(MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(|error| unusable(file, error))?;
    if start.is_empty() {
        return Err(corrupt(file, "the file is empty"));
    }
    if start != MAGIC {
        return Err(corrupt(file, "the file is not a database"));
    }
    Ok(())
}

/// Makes the tables of a schema in an empty file.
pub fn make_tables(conn: &Connection, schema: i64) -> rusqlite::Result<()> {
    (1..=schema).zip(STEPS).try_for_each(|(_, step)| conn.execute_batch(step))
}

/// Brings an older ledger to our schema, all at once. Columns and tables are only ever added, so that the
/// older process of a hand-over goes on writing.
fn migrate(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let done = || {
        // Another process may have done it meanwhile.
        let found: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
        (1..=SCHEMA)
            .zip(STEPS)
            .filter(|(to, _)| *to > found)
            .try_for_each(|(_, step)| conn.execute_batch(step))?;
        conn.pragma_update(None, "user_version", SCHEMA)
    };
    let end = done().and_then(|()| conn.execute_batch("COMMIT"));
    if end.is_err() {
        // Nothing of it is kept; the error says why.
        let _ = conn.execute_batch("ROLLBACK");
    }
    end
}

/// Whether the file is a ledger, of a schema that we know; which one.
fn check_kind(conn: &Connection, file: &Path) -> Result<i64, StoreError> {
    let said = said(file);
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let found = pragma("application_id").map_err(&said)?;
    if found != APPLICATION {
        return Err(corrupt(file, "the database belongs to another program"));
    }
    let version = pragma("user_version").map_err(&said)?;
    if version > SCHEMA {
        let path = file.display().to_string();
        return Err(StoreError::Newer { path, found: version, known: SCHEMA });
    }
    let wanted = Connection::open_in_memory().and_then(|empty| {
        make_tables(&empty, version)?;
        shape(&empty)
    });
    if version < 1 || shape(conn).map_err(&said)? != wanted.map_err(&said)? {
        return Err(corrupt(file, "its tables are not those of a ledger"));
    }
    Ok(version)
}

/// The tables of the ledger; those of the registry and of the guard have versions of their own.
fn shape(conn: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let mut tables = conn.prepare(
        "SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' AND
             tbl_name NOT LIKE 'guard_%' AND tbl_name NOT IN
             ('registry_meta', 'profiles', 'models', 'agent_state', 'audit_switches',
              'audit_requests', 'pins')
         ORDER BY name",
    )?;
    tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn settle_in(conn: &Connection, synchronous: Synchronous) -> rusqlite::Result<()> {
    conn.busy_timeout(Duration::from_millis(STORE_BUSY_MS_MAX))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    let synchronous = match synchronous {
        Synchronous::Full => "full",
        Synchronous::Normal => "normal",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    // Otherwise the engine looks at the values bound to a statement to plan it, and plans it anew for others:
    // that was a fifth of what a hold cost.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let bytes = STORE_WAL_BYTES_MAX.cast_signed();
    conn.pragma_update_and_check(None, "journal_size_limit", bytes, |_| Ok(()))?;
    conn.pragma_update(None, "trusted_schema", false)
}

/// Whether the file is as long as its own count of pages. Only the owner can ask: it first brings
/// everything from the log into the file, which a hand-over's other process may be using.
fn check_length(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    let said = said(file);
    let busy: i64 =
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(&said)?;
    if busy != 0 {
        // A reader is at work; the pages that it needs stay in the log.
        return Ok(());
    }
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
    let pages = pragma("page_count").map_err(&said)?;
    let bytes = u64::from(pages) * u64::from(pragma("page_size").map_err(&said)?);
    let found = std::fs::metadata(file).map_err(|error| unusable(file, error))?.len();
    if found < bytes {
        return Err(corrupt(file, format!("{found} bytes are left of {bytes}")));
    }
    Ok(())
}

/// Whether the last entry follows from the one before.
fn check_head(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    let last = last_two(conn).map_err(said(file))?;
    let Some(last_line) = last.first() else { return Ok(()) };
    let prev = last.get(1).map_or(chain::GENESIS, |line| line.hash);
    let prev_seq = last.get(1).map_or(0, |line| line.seq);
    if last_line.seq != prev_seq + 1 || chain::next(&prev, &last_line.entry) != last_line.hash {
        let detail = format!("entry {} does not follow from the one before", last_line.seq);
        return Err(corrupt(file, detail));
    }
    Ok(())
}

fn last_two(conn: &Connection) -> rusqlite::Result<Vec<Line>> {
    let mut paths = Paths::default();
    let mut last = conn.prepare(&format!("{} ORDER BY e.seq DESC LIMIT 2", rows::LINES))?;
    last.query_map([], |row| rows::line(row, conn, &mut paths))?.collect()
}
