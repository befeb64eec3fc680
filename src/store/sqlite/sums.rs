//! Balances and open holds in the file: the one place where their columns are written.
//!
//! What they come to is said by `batch` while entries come in, and by `tally` when all is counted anew.

use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::store::tally::{OpenRow, PeriodRow};

/// Writes the balance of an account's period.
pub fn write_period(
    conn: &Connection,
    (account, start_ms): (u32, i64),
    row: &PeriodRow,
) -> Result<()> {
    let PeriodRow { end_ms, cap, spent, held } = row;
    conn.prepare_cached(
        "INSERT INTO period (account, start_ms, end_ms, cap, spent, held)
         VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET end_ms = excluded.end_ms, cap = excluded.cap,
             spent = excluded.spent, held = excluded.held",
    )?
    .execute(params![account, start_ms, end_ms, cap, spent, held])?;
    Ok(())
}

/// Writes the balance of a period that is there and ends when it ended before. Its end is in an index: to
/// set it is to write that too, be it the same as before.
pub fn write_balance(
    conn: &Connection,
    (account, start_ms): (u32, i64),
    row: &PeriodRow,
) -> Result<()> {
    let PeriodRow { cap, spent, held, .. } = row;
    conn.prepare_cached(
        "UPDATE period SET cap = ?3, spent = ?4, held = ?5 WHERE account = ?1 AND start_ms = ?2",
    )?
    .execute(params![account, start_ms, cap, spent, held])?;
    Ok(())
}

/// The balance of an account's period.
pub fn period(conn: &Connection, key: (u32, i64)) -> Result<Option<PeriodRow>> {
    conn.prepare_cached(
        "SELECT end_ms, cap, spent, held FROM period WHERE account = ? AND start_ms = ?",
    )?
    .query_row(key, |row| {
        let (end_ms, cap) = (row.get(0)?, row.get(1)?);
        Ok(PeriodRow { end_ms, cap, spent: row.get(2)?, held: row.get(3)? })
    })
    .optional()
}

/// Writes a hold without an outcome, or in limbo.
pub fn write_open(conn: &Connection, hold: i64, row: &OpenRow) -> Result<()> {
    let OpenRow { limbo, made, path, held, generation, booked } = row;
    conn.prepare_cached(
        "INSERT INTO open (hold, limbo, made, path, held, generation, booked)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![hold, limbo, made, path, held, generation, booked])?;
    Ok(())
}
