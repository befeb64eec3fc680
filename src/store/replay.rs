//! Rebuilds what follows from the entries: accounts, balances, open holds.
//!
//! Only for a ledger that no gateway is using, and whose chain is whole: from a broken chain nothing
//! follows.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::config::snapshot::Synchronous;
use crate::store::StoreError;
use crate::store::lock::{self, Lock};
use crate::store::sqlite::opening::{self, corrupt, said};
use crate::store::sqlite::reading::Reading;
use crate::store::sqlite::{accounts, sums};
use crate::store::tally::Tables;
use crate::store::verify::Walk;

/// Rebuilds the tables of the ledger at `file` in one transaction, and says what was different.
///
/// # Errors
/// A gateway is using it, its chain is broken, or it cannot be written.
pub fn replay(file: &Path) -> Result<Vec<String>, StoreError> {
    opening::check_folder(file)?;
    // Looked at before the lock, whose file shall not appear beside a ledger that is none.
    drop(opening::reader(file)?);
    let Some(_lock) = Lock::try_take(file)? else {
        let path = file.display().to_string();
        return Err(StoreError::Taken { path, detail: lock::owner(file) });
    };
    let conn = opening::writer(file, Synchronous::Full, true)?;
    let reading = Reading::of(conn, file)?;
    let mut walk = Walk::new();
    reading.lines(|line| {
        walk.look(line);
        walk.chained
    })?;
    if !walk.chained {
        let broken = walk.into_found().broken;
        let first = broken.iter().find_map(|broken| Some((broken.seq?, &broken.what)));
        let detail = first.map_or_else(String::new, |(seq, what)| format!("entry {seq} {what}"));
        return Err(corrupt(file, detail));
    }
    let follows = walk.tally.tables;
    // Tables that make no sense at all are simply replaced.
    let stored = reading.tables();
    let conn = reading.end()?;
    let found = match stored {
        Ok(stored) => follows.differences(&stored),
        Err(StoreError::Corrupt { detail, .. }) => vec![format!("a row made no sense: {detail}")],
        Err(error) => return Err(error),
    };
    if !found.is_empty() {
        write(conn, &follows).map_err(said(file))?;
    }
    Ok(found)
}

fn write(mut conn: Connection, follows: &Tables) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch("DELETE FROM account; DELETE FROM period; DELETE FROM open")?;
    for account in follows.accounts.values() {
        accounts::write(&tx, account)?;
    }
    for (key, row) in &follows.periods {
        sums::write_period(&tx, *key, row)?;
    }
    for (hold, row) in &follows.open {
        sums::write_open(&tx, *hold, row)?;
    }
    tx.commit()
}
