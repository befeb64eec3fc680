//! What people were told of an account, in the file.
//!
//! It follows from no entry: money does not move by it, and `replay` leaves it alone.

use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::base::money::NanoUsd;
use crate::ledger::account::AccountId;
use crate::ledger::level::{Alarm, Level, Share, Thresholds, Told};
use crate::store::sqlite::rows;

/// What was told of an account.
pub fn read(conn: &Connection, account: AccountId) -> Result<Option<Told>> {
    conn.prepare_cached(
        "SELECT level, lifted, start_ms, reset_at_ms, limit_nano, share FROM told WHERE account = ?",
    )?
    .query_row([account.0], |row| {
        let level = usize::try_from(row.get::<_, i64>(0)?).ok();
        let level = level.and_then(|level| Level::ALL.get(level).copied());
        let share = row.get::<_, Option<u8>>(5)?.map(|percent| {
            let known = Share::ALL.into_iter().find(|share| share.percent() == percent);
            known.ok_or_else(|| rows::senseless(5, "a share"))
        });
        let level = level.ok_or_else(|| rows::senseless(0, "a level"))?;
        Ok(Told {
            alarm: Alarm::restored(level, rows::flag(row, 1)?),
            shares: Thresholds {
                began: (row.get(2)?, row.get(3)?),
                limit: row.get::<_, Option<i64>>(4)?.map(NanoUsd),
                told: share.transpose()?,
            },
        })
    })
    .optional()
}

/// Keeps what is told of an account from now on.
pub fn write(conn: &Connection, account: AccountId, told: &Told) -> Result<()> {
    let Told { alarm, shares } = told;
    let (start_ms, reset_at_ms) = shares.began;
    conn.prepare_cached(
        "INSERT OR REPLACE INTO told (account, level, lifted, start_ms, reset_at_ms, limit_nano, share)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        account.0,
        alarm.level() as u8,
        alarm.is_lifted(),
        start_ms,
        reset_at_ms,
        shares.limit.map(|limit| limit.0),
        shares.told.map(Share::percent),
    ])?;
    Ok(())
}
