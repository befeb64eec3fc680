//! Accounts in the file: the one place where their columns are written.
//!
//! What an account is from now on is decided in `batch`, inside its transaction.

use rusqlite::{Connection, OptionalExtension, Result, ToSql, params};

use crate::ledger::account::{Account, AccountId, AccountKey};
use crate::store::sqlite::rows;

/// Writes an account as it is now.
pub fn write(conn: &Connection, account: &Account) -> Result<()> {
    let sql = "INSERT INTO account (id, key, parent, limit_nano, cadence, zone, hard,
                   limit_set_nano, frozen, reset_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
               ON CONFLICT (id) DO UPDATE SET key = excluded.key, parent = excluded.parent,
                   limit_nano = excluded.limit_nano, cadence = excluded.cadence,
                   zone = excluded.zone, hard = excluded.hard,
                   limit_set_nano = excluded.limit_set_nano, frozen = excluded.frozen,
                   reset_at_ms = excluded.reset_at_ms";
    bound(account, |columns| conn.prepare_cached(sql)?.execute(columns).map(drop))
}

/// Writes how an account is after entry `seq`.
pub fn write_change(conn: &Connection, seq: i64, account: &Account) -> Result<()> {
    let sql = "INSERT INTO account_change (id, key, parent, limit_nano, cadence, zone, hard,
                   limit_set_nano, frozen, reset_at_ms, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    bound(account, |columns| {
        let mut all = columns.to_vec();
        all.push(&seq);
        conn.prepare_cached(sql)?.execute(&*all).map(drop)
    })
}

/// The columns of `rows::ACCOUNT`, bound in that order.
fn bound<T>(account: &Account, write: impl FnOnce(&[&dyn ToSql]) -> T) -> T {
    let Account { id, key, parent, terms, limit_set, frozen, reset_at_ms } = account;
    write(params![
        id.0,
        key.as_str(),
        parent.map(|parent| parent.0),
        terms.limit.map(|limit| limit.0),
        terms.cadence.name(),
        terms.zone,
        terms.hard,
        limit_set.map(|limit| limit.0),
        frozen,
        reset_at_ms,
    ])
}

/// The account of that number.
pub fn by_number(conn: &Connection, id: AccountId) -> Result<Option<Account>> {
    let sql = format!("SELECT {} FROM account WHERE id = ?", rows::ACCOUNT);
    conn.prepare_cached(&sql)?.query_row([id.0], |row| rows::account(row, 0)).optional()
}

/// The account of that name.
pub fn by_key(conn: &Connection, key: &AccountKey) -> Result<Option<Account>> {
    let sql = format!("SELECT {} FROM account WHERE key = ?", rows::ACCOUNT);
    conn.prepare_cached(&sql)?.query_row([key.as_str()], |row| rows::account(row, 0)).optional()
}

/// A number larger than that of every account.
pub fn next(conn: &Connection) -> Result<AccountId> {
    let sql = "SELECT coalesce(max(id), 0) + 1 FROM account";
    Ok(AccountId(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?))
}
