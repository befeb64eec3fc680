//! Pins in the file of the ledger, over the registry's connection. Their table is told in
//! `schema/registry_2.sql`.

use rusqlite::{Connection, Transaction, params};

use crate::base::limit::MODEL_NAME_BYTES_MAX;
use crate::pinning::pin::SessionKey;
use crate::store::pins::{self, Batch, Change, PinStore};
use crate::store::registry::RegistryError;
use crate::store::sqlite::registry::{Change as What, SqliteRegistry};

impl PinStore for SqliteRegistry {
    fn keep_pins(&self, changes: &[Change]) -> Result<(), RegistryError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.write(What::Audit, |tx| Ok(changes.iter().try_for_each(|change| keep(tx, change))?))
    }

    fn pins_after(&self, seq: i64, most: usize) -> Result<Batch, RegistryError> {
        self.read(|conn| after(conn, seq, most))
    }

    fn forget_pins(&self, before_ms: u64, most: usize) -> Result<usize, RegistryError> {
        let there = "SELECT EXISTS (SELECT 1 FROM pins WHERE at_ms < ?)";
        let before = signed(before_ms);
        let is_there = |conn: &Connection| {
            conn.prepare_cached(there)?.query_row([before], |row| row.get::<_, bool>(0))
        };
        if !self.read(is_there)? {
            return Ok(0);
        }
        self.write(What::Audit, |tx| {
            let sql = "DELETE FROM pins WHERE seq IN
                       (SELECT seq FROM pins WHERE at_ms < ? ORDER BY at_ms LIMIT ?)";
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            Ok(tx.prepare_cached(sql)?.execute(params![before, most])?)
        })
    }
}

fn keep(tx: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    let session = change.key.to_be_bytes();
    let at_ms = signed(change.at_ms);
    let model = change.pin.as_ref().map(|pin| &*pin.model);
    if model.is_some_and(|model| model.len() > MODEL_NAME_BYTES_MAX) {
        return Ok(());
    }
    let detail = change.pin.as_ref().map(pins::detail).unwrap_or_default();
    let older = "DELETE FROM pins WHERE session = ? AND at_ms <= ?";
    tx.prepare_cached(older)?.execute(params![session.as_slice(), at_ms])?;
    let sql = "INSERT OR IGNORE INTO pins (session, at_ms, model, detail) VALUES (?, ?, ?, ?)";
    let row = params![session.as_slice(), at_ms, model, detail];
    tx.prepare_cached(sql)?.execute(row).map(drop)
}

fn after(conn: &Connection, seq: i64, most: usize) -> rusqlite::Result<Batch> {
    let sql =
        "SELECT seq, session, at_ms, model, detail FROM pins WHERE seq > ? ORDER BY seq LIMIT ?";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![seq, i64::try_from(most).unwrap_or(i64::MAX)])?;
    let mut batch = Batch { last: seq, ..Batch::default() };
    while let Some(row) = rows.next()? {
        batch.last = row.get(0)?;
        batch.rows += 1;
        let session: Vec<u8> = row.get(1)?;
        let Ok(session) = <[u8; 16]>::try_from(session.as_slice()) else { continue };
        let at_ms = u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default();
        let (model, detail): (Option<String>, String) = (row.get(3)?, row.get(4)?);
        let key = SessionKey::from_be_bytes(session);
        let Some(model) = model else {
            batch.changes.push(Change { key, at_ms, pin: None });
            continue;
        };
        let pin = pins::pin(&model, at_ms, &detail);
        batch.changes.extend(pin.map(|pin| Change { key, at_ms, pin: Some(pin) }));
    }
    Ok(batch)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
