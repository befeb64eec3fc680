//! What a book is given: accounts, balances, holds.
//!
//! Nothing here walks over the entries: a ledger of a million opens as fast as a new one. Sessions are
//! bounded, since every conversation makes one.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::base::limit::{PAST_PIECES_MS_MAX, STORE_SESSIONS_MAX};
use crate::ledger::account::{Account, AccountId, AccountKey, Node};
use crate::ledger::entry::{HoldId, Reason};
use crate::ledger::saved::{Balance, Carried, News, OpenHold, Past, Saved, Stretch};
use crate::store::Orphans;
use crate::store::sqlite::accounts;
use crate::store::sqlite::rows::{self, Paths};

/// The periods of an account that had not ended when the last entry was written, and the latest one.
const PRESENT: &str = "
    SELECT account, start_ms FROM period WHERE account = ?1 AND end_ms > coalesce(
        (SELECT at_ms FROM entry WHERE seq = (SELECT max(seq) FROM entry)), 0)
    UNION SELECT account, max(start_ms) FROM period WHERE account = ?1 GROUP BY account";

/// What entries after a certain one have moved.
const MOVED: &str = "
    SELECT DISTINCT p.account, p.start_ms, p.end_ms, p.spent, p.held
    FROM (SELECT DISTINCT path FROM entry WHERE seq > ?) e
    CROSS JOIN path_step s ON s.path = e.path
    CROSS JOIN period p ON p.account = s.account AND p.start_ms = s.start_ms
    ORDER BY 1, 2";

/// One account's latest period.
const LATEST: &str = "
    SELECT account, start_ms, end_ms, spent, held FROM period WHERE account = ?
    ORDER BY start_ms DESC LIMIT 1";

/// When an account's latest period began. It is the present balance, and none of the past.
const LATEST_START: &str = "SELECT max(start_ms) FROM period WHERE account = ?";

/// The periods of an account before that one which ended after an instant, oldest first.
const PAST: &str = "
    SELECT start_ms, end_ms, spent FROM period
    WHERE account = ?1 AND end_ms > ?2 AND start_ms < ?3 ORDER BY start_ms";

/// What an account has spent in all other periods before that one.
const BEFORE: &str = "
    SELECT coalesce(sum(spent), 0) FROM period
    WHERE account = ?1 AND end_ms <= ?2 AND start_ms < ?3";

/// What was said of the spend of accounts since an instant, in order.
const LEVELS: &str = "
    SELECT s.account, s.start_ms, e.reason, e.spent FROM entry e
    CROSS JOIN path_step s ON s.path = e.path
    WHERE e.kind IN (8, 9) AND e.at_ms >= ? ORDER BY e.seq";

/// What the entries from a certain one on have spent of an account between two instants in the periods of a
/// stretch, and how many of them set what is spent. 17 is what was carried. Entries of one millisecond are told
/// apart by the period into which they were booked.
const WITHIN: &str = "
    SELECT coalesce(sum(max(e.spent, 0)), 0), coalesce(sum(e.kind IN (8, 9)), 0) FROM entry e
    CROSS JOIN path_step s ON s.path = e.path
    WHERE e.seq >= ?1 AND e.at_ms >= ?2 AND e.at_ms <= ?3 AND e.reason != 17 AND s.account = ?4
        AND s.start_ms >= ?5 AND s.start_ms < ?6";

/// Everything that a book of this epoch needs, but for what other epochs left open.
pub fn saved(conn: &Connection, epoch: u32) -> Result<Saved> {
    let accounts = all(conn)?;
    let mut wanted = BTreeSet::new();
    for account in &accounts {
        wanted.extend(present_periods(conn, account.id)?);
    }
    let next_account = accounts::next(conn)?;
    let balances = balances(conn, wanted)?;
    let reach_ms = rows::last_ms(conn)?.saturating_sub(PAST_PIECES_MS_MAX);
    let carried = carried(conn, reach_ms)?;
    let mut past = Vec::new();
    for account in accounts.iter().filter(|account| account.key.node() != Node::Session) {
        past.extend(past_of(conn, account.id, reach_ms, &carried)?);
    }
    let amount = |((account, start_ms), amount)| Carried { account, start_ms, amount };
    let carried = carried.into_iter().map(amount).collect();
    Ok(Saved { epoch, next_account, accounts, balances, past, carried, open: Vec::new() })
}

/// What was carried into periods from those of another calendar. Whatever people say of a period's spend
/// is the period's own.
fn carried(conn: &Connection, since_ms: i64) -> Result<BTreeMap<(AccountId, i64), i64>> {
    let mut carried = BTreeMap::new();
    let mut levels = conn.prepare(LEVELS)?;
    let mut levels = levels.query([since_ms])?;
    while let Some(row) = levels.next()? {
        let place = (AccountId(row.get(0)?), row.get(1)?);
        let (reason, spent): (u8, i64) = (row.get(2)?, row.get(3)?);
        let known = carried.entry(place).or_insert(0_i64);
        let is_carried = reason == Reason::Carried.code();
        *known = if is_carried { known.saturating_add(spent) } else { 0 };
    }
    Ok(carried)
}

/// What an account has spent in its periods but the latest, each without what was carried into it.
fn past_of(
    conn: &Connection,
    account: AccountId,
    reach_ms: i64,
    carried: &BTreeMap<(AccountId, i64), i64>,
) -> Result<Vec<Past>> {
    let latest: Option<i64> =
        conn.prepare_cached(LATEST_START)?.query_row([account.0], |row| row.get(0))?;
    let Some(latest) = latest else { return Ok(Vec::new()) };
    let places = params![account.0, reach_ms, latest];
    let before: i64 = conn.prepare_cached(BEFORE)?.query_row(places, |row| row.get(0))?;
    let mut past: Vec<Past> = Vec::new();
    let mut periods = conn.prepare_cached(PAST)?;
    let mut periods = periods.query(places)?;
    while let Some(row) = periods.next()? {
        let (start_ms, end_ms, spent): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        // Another calendar may have ended the one before early.
        if let Some(last) = past.last_mut() {
            last.end_ms = last.end_ms.min(start_ms);
        }
        let carried = carried.get(&(account, start_ms)).copied().unwrap_or(0);
        past.push(Past { account, start_ms, end_ms, spent: spent.saturating_sub(carried) });
    }
    if let Some(last) = past.last_mut() {
        last.end_ms = last.end_ms.min(latest);
    }
    // No other one ends it: a period without end may have begun before all that it sums up.
    past.insert(0, Past { account, start_ms: i64::MIN, end_ms: reach_ms, spent: before });
    past.retain(|past| past.spent > 0);
    Ok(past)
}

/// The holds that epochs other than `epoch` have left open, and the balances of the periods that they lie
/// in.
pub fn orphans(conn: &Connection, paths: &mut Paths, epoch: u32) -> Result<Orphans> {
    let mut holds = holds(conn, paths, "o.limbo = 0", usize::MAX)?;
    holds.retain(|hold| hold.hold.epoch() != epoch);
    let steps = holds.iter().flat_map(|hold| hold.path.iter());
    let wanted = steps.map(|step| (step.account.0, step.start_ms)).collect();
    let balances = balances(conn, wanted)?;
    Ok(Orphans { holds, balances })
}

fn balances(conn: &Connection, wanted: BTreeSet<(u32, i64)>) -> Result<Vec<Balance>> {
    let mut balances = Vec::with_capacity(wanted.len());
    for (account, start_ms) in wanted {
        balances.extend(balance(conn, account, start_ms)?);
    }
    Ok(balances)
}

/// All accounts but the older sessions.
fn all(conn: &Connection) -> Result<Vec<Account>> {
    let (few, sessions) = (few_accounts(), sessions());
    let mut found: Vec<Account> =
        conn.prepare(&few)?.query_map([], |row| rows::account(row, 0))?.collect::<Result<_>>()?;
    let mut sessions = conn.prepare(&sessions)?;
    for session in sessions.query_map([STORE_SESSIONS_MAX], |row| rows::account(row, 0))? {
        found.push(session?);
    }
    found.sort_by_key(|account| account.id);
    Ok(found)
}

/// Fleet, teams and agents: a range of the key's index for each kind; `;` follows `:`.
fn few_accounts() -> String {
    let columns = rows::ACCOUNT;
    format!(
        "SELECT {columns} FROM account WHERE key = 'fleet'
         UNION ALL SELECT {columns} FROM account WHERE key >= 'team:' AND key < 'team;'
         UNION ALL SELECT {columns} FROM account WHERE key >= 'agent:' AND key < 'agent;'"
    )
}

/// The sessions made last: from the end of the table, where there is hardly anything else.
fn sessions() -> String {
    format!(
        "SELECT {} FROM account WHERE +key >= 'session:' AND +key < 'session;'
         ORDER BY id DESC LIMIT ?",
        rows::ACCOUNT
    )
}

/// The periods in which an account may be charged now. There can be several: a change from daily to monthly begins a period that started earlier.
fn present_periods(conn: &Connection, account: AccountId) -> Result<Vec<(u32, i64)>> {
    conn.prepare_cached(PRESENT)?
        .query_map([account.0], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn balance(conn: &Connection, account: u32, start_ms: i64) -> Result<Option<Balance>> {
    conn.prepare_cached(
        "SELECT account, start_ms, end_ms, spent, held FROM period
         WHERE account = ? AND start_ms = ?",
    )?
    .query_row(params![account, start_ms], rows::balance)
    .optional()
}

/// What entries after `seq` have changed. An entry that comes in between is told again the next time.
pub fn since(conn: &Connection, seq: i64) -> Result<News> {
    let mut moved = conn.prepare_cached(MOVED)?;
    let balances = moved.query_map([seq], rows::balance)?.collect::<Result<_>>()?;
    let mut changed = conn.prepare_cached(&changed())?;
    let accounts = changed.query_map([seq], |row| rows::account(row, 0))?;
    Ok(News { accounts: accounts.collect::<Result<_>>()?, balances })
}

/// The accounts that entries after a certain one have changed.
fn changed() -> String {
    format!(
        "SELECT {} FROM account WHERE id IN (SELECT id FROM account_change WHERE seq > ?)
         ORDER BY id",
        rows::ACCOUNT
    )
}

/// At most what an account has spent within a stretch. What came back is not taken off: it may have been
/// spent before.
pub fn spent_within(conn: &Connection, stretch: &Stretch, max: u32) -> Result<Option<i64>> {
    let Stretch { account, into_ms, from_ms, start_ms, until_ms, .. } = *stretch;
    let last = rows::head(conn)?.seq;
    let first = last.saturating_sub(i64::from(max));
    let oldest: Option<i64> = conn
        .prepare_cached("SELECT at_ms FROM entry WHERE seq = max(?, 1)")?
        .query_row([first], |row| row.get(0))
        .optional()?;
    if first > 0 && oldest.is_none_or(|oldest| oldest >= from_ms) {
        return Ok(None);
    }
    let (spent, said): (i64, i64) = conn
        .prepare_cached(WITHIN)?
        .query_row(params![first, from_ms, into_ms, account.0, start_ms, until_ms], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok((said == 0).then_some(spent))
}

/// One account and its latest balance.
pub fn account(conn: &Connection, key: &AccountKey) -> Result<Option<(Account, Option<Balance>)>> {
    let Some(account) = accounts::by_key(conn, key)? else { return Ok(None) };
    let balance =
        conn.prepare_cached(LATEST)?.query_row([account.id.0], rows::balance).optional()?;
    Ok(Some((account, balance)))
}

/// Open holds for which `condition` is true, oldest first, at most `max`.
fn holds(
    conn: &Connection,
    paths: &mut Paths,
    condition: &str,
    max: usize,
) -> Result<Vec<OpenHold>> {
    let sql = format!("{} WHERE {condition} ORDER BY o.hold LIMIT ?", open_lines());
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    conn.prepare_cached(&sql)?.query_map([max], |row| open_hold(row, conn, paths))?.collect()
}

/// Holds in limbo, oldest first.
pub fn limbo(conn: &Connection, paths: &mut Paths, max: usize) -> Result<Vec<OpenHold>> {
    holds(conn, paths, "o.limbo = 1", max)
}

/// Holds in limbo that their providers have named, made at `since_ms` or later; the newest.
pub fn named(
    conn: &Connection,
    paths: &mut Paths,
    since_ms: i64,
    max: usize,
) -> Result<Vec<OpenHold>> {
    let sql = format!(
        "{} WHERE o.limbo = 1 AND o.generation IS NOT NULL AND e.at_ms >= ?
         ORDER BY o.hold DESC LIMIT ?",
        open_lines()
    );
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let mut named = conn.prepare_cached(&sql)?;
    named.query_map([since_ms, max], |row| open_hold(row, conn, paths))?.collect()
}

/// One hold that is open or in limbo.
pub fn hold(conn: &Connection, paths: &mut Paths, hold: HoldId) -> Result<Option<OpenHold>> {
    let sql = format!("{} WHERE o.hold = ?", open_lines());
    conn.prepare_cached(&sql)?
        .query_row([hold.0.cast_signed()], |row| open_hold(row, conn, paths))
        .optional()
}

/// The columns of a line, and whether its hold is in limbo.
fn open_lines() -> String {
    let from = ", o.limbo, o.hold, o.generation, o.booked FROM open o CROSS JOIN entry e ON e.seq = o.made";
    rows::LINES.replacen("FROM entry e", from, 1)
}

fn open_hold(row: &Row<'_>, conn: &Connection, paths: &mut Paths) -> Result<OpenHold> {
    let made = rows::line(row, conn, paths)?.entry;
    let hold = HoldId(row.get::<_, i64>(33)?.cast_unsigned());
    let (limbo, generation, booked) = (row.get(32)?, row.get(34)?, row.get(35)?);
    Ok(OpenHold { hold, path: made.path.clone(), generation, booked, limbo, made })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::opening::SCHEMA;

    /// How the engine would walk.
    fn plan(sql: &str) -> Vec<String> {
        let conn = Connection::open_in_memory().unwrap();
        crate::store::sqlite::opening::make_tables(&conn, SCHEMA).unwrap();
        let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let unbound = rusqlite::params_from_iter(std::iter::repeat_n(0, explain.parameter_count()));
        explain.query_map(unbound, |row| row.get(3)).unwrap().collect::<Result<_>>().unwrap()
    }

    #[test]
    fn nothing_at_the_start_walks_over_entries() {
        let open = open_lines();
        let (all, one) =
            (format!("{open} WHERE 1 ORDER BY o.hold"), format!("{open} WHERE o.hold = ?"));
        let (few, changed) = (few_accounts(), changed());
        for sql in [
            PRESENT,
            LATEST_START,
            PAST,
            BEFORE,
            LEVELS,
            MOVED,
            LATEST,
            rows::HEAD,
            &all,
            &one,
            &few,
            &changed,
        ] {
            let steps = plan(sql);
            let scans = steps.iter().filter(|step| {
                // A subquery's rows, and the holds without an outcome, are few.
                step.starts_with("SCAN") && !["SCAN e", "SCAN o"].contains(&step.as_str())
            });
            assert_eq!(scans.collect::<Vec<_>>(), Vec::<&String>::new(), "{sql}\n{steps:#?}");
        }
        // `SCAN e` above is the subquery, never the table.
        let bounded = "SEARCH entry USING INTEGER PRIMARY KEY (rowid>?)".to_owned();
        assert!(plan(MOVED).contains(&bounded), "{:#?}", plan(MOVED));
        let wanted = "SEARCH e USING INTEGER PRIMARY KEY (rowid=?)".to_owned();
        assert!(plan(&all).contains(&wanted) && plan(&one).contains(&wanted));
    }

    #[test]
    fn sessions_are_read_from_the_end() {
        assert_eq!(plan(&sessions()), ["SCAN account"]);
    }
}
