//! One batch of entries inside one transaction: which of them are kept, and the rows that they change.
//!
//! Hot path: each period's row is read once and written once per batch, however many entries move it;
//! a batch of 64 entries below one fleet costs 2 statements for the fleet's row instead of 128.
//! The transaction has the write lock from its start, so that what was read stays true until its end.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, params};
use sha2::{Digest, Sha256};

use crate::base::id::RequestId;
use crate::base::limit::STORE_INTERNED_MAX;
use crate::ledger::account::{Account, AccountId};
use crate::ledger::chain;
use crate::ledger::entry::{Entry, HoldId, Kind, Step};
use crate::ledger::saved::Kept;
use crate::store::sqlite::accounts;
use crate::store::sqlite::rows::{self, Head, Paths};
use crate::store::sqlite::sums;
use crate::store::tally::{OpenRow, PeriodRow};

/// What is remembered of interned names and paths. Only true for what has been committed.
#[derive(Debug, Default)]
pub struct Interned {
    names: HashMap<Arc<str>, i64>,
    ids: HashMap<Arc<[Step]>, i64>,
    /// Paths by number.
    pub paths: Paths,
}

impl Interned {
    /// Forgets everything, after a transaction that was rolled back.
    pub fn forget(&mut self) {
        self.names.clear();
        self.ids.clear();
        self.paths.forget();
    }

    fn name(&mut self, conn: &Connection, text: &Arc<str>) -> Result<i64> {
        if let Some(id) = self.names.get(text) {
            return Ok(*id);
        }
        let found = conn
            .prepare_cached("SELECT id FROM name WHERE text = ?")?
            .query_row([text], |row| row.get(0))
            .optional()?;
        let id = match found {
            Some(id) => id,
            None => conn.prepare_cached("INSERT INTO name (text) VALUES (?)")?.insert([text])?,
        };
        if self.names.len() >= STORE_INTERNED_MAX {
            self.names.clear();
        }
        self.names.insert(Arc::clone(text), id);
        Ok(id)
    }

    fn path(&mut self, conn: &Connection, steps: &Arc<[Step]>) -> Result<i64> {
        if let Some(id) = self.ids.get(steps) {
            return Ok(*id);
        }
        let id = match stored_path(conn, steps)? {
            Some(id) => id,
            None => store_path(conn, steps)?,
        };
        if self.ids.len() >= STORE_INTERNED_MAX {
            self.ids.clear();
        }
        self.ids.insert(Arc::clone(steps), id);
        Ok(id)
    }
}

/// By which equal paths find each other. Different ones may share it, if only by chance.
pub fn digest(steps: &[Step]) -> i64 {
    let mut hash = Sha256::new();
    for step in steps {
        hash.update(step.account.0.to_le_bytes());
        hash.update(step.start_ms.to_le_bytes());
        hash.update(step.end_ms.to_le_bytes());
        hash.update([u8::from(step.cap.is_some())]);
        hash.update(step.cap.unwrap_or_default().0.to_le_bytes());
    }
    let bytes: [u8; 32] = hash.finalize().into();
    bytes.iter().take(8).fold(0, |sum, byte| sum << 8 | i64::from(*byte))
}

fn stored_path(conn: &Connection, steps: &Arc<[Step]>) -> Result<Option<i64>> {
    let mut equal = conn.prepare_cached("SELECT id FROM path WHERE digest = ?")?;
    let mut rows = equal.query([digest(steps)])?;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        if rows::read_steps(conn, id)? == **steps {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn store_path(conn: &Connection, steps: &Arc<[Step]>) -> Result<i64> {
    let path =
        conn.prepare_cached("INSERT INTO path (digest) VALUES (?)")?.insert([digest(steps)])?;
    let mut insert = conn.prepare_cached(
        "INSERT INTO path_step (path, at, account, start_ms, end_ms, cap) VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for (at, step) in (0_i64..).zip(steps.iter()) {
        let cap = step.cap.map(|cap| cap.0);
        insert.execute(params![path, at, step.account.0, step.start_ms, step.end_ms, cap])?;
    }
    Ok(path)
}

/// A period's row while the batch is under way.
struct Period {
    row: PeriodRow,
    changed: bool,
    /// The row that is there says the same of its end.
    is_stored: bool,
}

/// An account that cannot be stored under its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clash {
    /// That number.
    pub wanted: AccountId,
    /// The number under which its key is stored; `None` if the number is that of another key.
    pub same: Option<AccountId>,
    /// A number larger than that of every stored account.
    pub free: AccountId,
}

/// The hold that an entry resolves.
struct Resolved {
    made: i64,
    path: i64,
    request: Option<RequestId>,
}

/// Where an entry is written.
struct Place {
    path: Option<i64>,
    made: Option<i64>,
}

/// The transaction under way.
pub struct Batch<'a> {
    conn: &'a Connection,
    interned: &'a mut Interned,
    /// The end of the chain, with what has been written so far.
    pub head: Head,
    /// The first account that could not be stored. The batch must not be committed then.
    pub clash: Option<Clash>,
    /// Others have written since we looked last: limits may be others than those that a hold knows.
    stale: bool,
    periods: HashMap<(u32, i64), Period>,
    /// The holds that entries of this transaction have resolved.
    resolved: HashSet<HoldId>,
}

impl<'a> Batch<'a> {
    /// Begins; the transaction must be open and have the write lock. All entries up to `seen` are known to
    /// whoever made the batch.
    pub fn new(conn: &'a Connection, interned: &'a mut Interned, seen: i64) -> Result<Self> {
        let head = rows::head(conn)?;
        let stale = head.seq != seen;
        let (periods, resolved) = (HashMap::new(), HashSet::new());
        Ok(Self { conn, interned, head, clash: None, stale, periods, resolved })
    }

    /// Writes one entry, unless it cannot be kept. An entry without what its kind needs is not.
    pub fn keep(&mut self, entry: &Entry) -> Result<Kept> {
        match (entry.kind, entry.hold, &entry.account) {
            (Kind::Account, _, Some(account)) => {
                // Its row moves nothing, and holds no path.
                let own = Entry { path: Arc::from([]), ..entry.clone() };
                self.account(&own, account)
            }
            (Kind::Hold, Some(hold), _) => self.hold(entry, hold),
            (Kind::Settle | Kind::Void | Kind::Limbo | Kind::Refund, Some(hold), _) => {
                self.resolve(entry, hold)
            }
            // It follows from what the hold came to. Where another process has said that first, or this
            // batch was durable after all, it would count twice.
            (Kind::Adjust, Some(hold), _) if !self.resolved.contains(&hold) => Ok(Kept::NotOpen),
            (Kind::Adjust, Some(_), _) => self.keep(&Entry { hold: None, ..entry.clone() }),
            (Kind::Spend | Kind::Adjust | Kind::Reset, ..) => {
                let path = self.interned.path(self.conn, &entry.path)?;
                self.move_periods(entry)?;
                self.append(entry, &Place { path: Some(path), made: None })?;
                Ok(Kept::Done)
            }
            _ => Ok(Kept::NotOpen),
        }
    }

    /// Writes the balances that changed.
    pub fn write_periods(&mut self) -> Result<()> {
        for (key, period) in self.periods.iter().filter(|(_, period)| period.changed) {
            if period.is_stored {
                sums::write_balance(self.conn, *key, &period.row)?;
            } else {
                sums::write_period(self.conn, *key, &period.row)?;
            }
        }
        Ok(())
    }

    fn hold(&mut self, entry: &Entry, hold: HoldId) -> Result<Kept> {
        let is_open = self
            .conn
            .prepare_cached("SELECT 1 FROM open WHERE hold = ?")?
            .exists([hold.0.cast_signed()])?;
        if is_open {
            // The batch was tried before, and was durable after all.
            return Ok(Kept::Done);
        }
        for step in entry.path.iter() {
            let period = &self.period(step)?.row;
            let sum = i128::from(period.spent) + i128::from(period.held) + i128::from(entry.held);
            if step.cap.is_some_and(|cap| sum > i128::from(cap.0)) {
                return Ok(Kept::NoRoom);
            }
            if self.stale && self.refuses(step, sum)? {
                return Ok(Kept::NoRoom);
            }
        }
        let path = self.interned.path(self.conn, &entry.path)?;
        self.move_periods(entry)?;
        self.append(entry, &Place { path: Some(path), made: None })?;
        let row = OpenRow {
            limbo: false,
            made: self.head.seq,
            path,
            held: entry.held,
            generation: None,
            booked: None,
        };
        sums::write_open(self.conn, hold.0.cast_signed(), &row)?;
        Ok(Kept::Done)
    }

    /// Keeps what a hold came to. Its path and its request are those of the hold.
    fn resolve(&mut self, entry: &Entry, hold: HoldId) -> Result<Kept> {
        let number = hold.0.cast_signed();
        let Some(resolved) = self.resolved(number, entry.kind == Kind::Refund)? else {
            return Ok(Kept::NotOpen);
        };
        let steps = self.interned.paths.steps(self.conn, resolved.path)?;
        let mut entry = Cow::Borrowed(entry);
        if entry.path != steps || entry.request != resolved.request {
            let own = entry.to_mut();
            own.path = steps;
            own.request = resolved.request;
        }
        if entry.kind == Kind::Limbo {
            self.conn
                .prepare_cached(
                    "UPDATE open SET limbo = 1, generation = ?1, booked = nullif(?2, held)
                     WHERE hold = ?3",
                )?
                .execute(params![entry.generation, entry.spent, number])?;
        } else {
            self.conn.prepare_cached("DELETE FROM open WHERE hold = ?")?.execute([number])?;
        }
        self.move_periods(&entry)?;
        self.append(&entry, &Place { path: Some(resolved.path), made: Some(resolved.made) })?;
        self.resolved.insert(hold);
        Ok(Kept::Done)
    }

    fn resolved(&self, hold: i64, limbo: bool) -> Result<Option<Resolved>> {
        self.conn
            .prepare_cached(
                "SELECT o.made, o.path, e.request FROM open o JOIN entry e ON e.seq = o.made
                 WHERE o.hold = ? AND o.limbo = ?",
            )?
            .query_row(params![hold, limbo], |row| {
                let request = row.get::<_, Option<[u8; 16]>>(2)?.map(rows::request);
                Ok(Resolved { made: row.get(0)?, path: row.get(1)?, request })
            })
            .optional()
    }

    fn move_periods(&mut self, entry: &Entry) -> Result<()> {
        let resolves = resolves(entry.kind);
        for step in entry.path.iter() {
            let period = self.period(step)?;
            period.changed = true;
            let row = &mut period.row;
            row.spent = row.spent.saturating_add(entry.spent);
            row.held = row.held.saturating_add(entry.held);
            if !resolves {
                period.is_stored &= row.end_ms == step.end_ms;
                row.end_ms = step.end_ms;
                row.cap = step.cap.map(|cap| cap.0);
            }
        }
        Ok(())
    }

    fn period(&mut self, step: &Step) -> Result<&mut Period> {
        let key = (step.account.0, step.start_ms);
        if !self.periods.contains_key(&key) {
            let found = sums::period(self.conn, key)?;
            let is_stored = found.is_some();
            let cap = step.cap.map(|cap| cap.0);
            let new = PeriodRow { end_ms: step.end_ms, cap, spent: 0, held: 0 };
            let row = found.unwrap_or(new);
            self.periods.insert(key, Period { row, changed: false, is_stored });
        }
        self.periods.get_mut(&key).ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// Stores what has changed of an account, unless its number or its key is another's. An account that
    /// both of two processes have opened is left as the later configuration wants it.
    fn account(&mut self, entry: &Entry, now: &Account) -> Result<Kept> {
        let there = accounts::by_number(self.conn, now.id)?;
        let merged = match &there {
            Some(there) if there.key != now.key => return self.clash(now),
            Some(there) => there.with_change(entry.was.as_deref(), now),
            None if accounts::by_key(self.conn, &now.key)?.is_some() => return self.clash(now),
            None => now.clone(),
        };
        if there.as_ref() == Some(&merged) {
            return Ok(Kept::Done);
        }
        accounts::write(self.conn, &merged)?;
        let merged = Arc::new(merged);
        let entry = Entry { account: Some(Arc::clone(&merged)), ..entry.clone() };
        self.append(&entry, &Place { path: None, made: None })?;
        accounts::write_change(self.conn, self.head.seq, &merged)?;
        Ok(Kept::Done)
    }

    fn clash(&mut self, wanted: &Account) -> Result<Kept> {
        let same = accounts::by_key(self.conn, &wanted.key)?.map(|there| there.id);
        let clash = Clash { wanted: wanted.id, same, free: accounts::next(self.conn)? };
        self.clash.get_or_insert(clash);
        Ok(Kept::NotOpen)
    }

    /// Whether an account's limit or its freezing, as another process may have set them since the hold
    /// was made, refuses it.
    fn refuses(&self, step: &Step, sum: i128) -> Result<bool> {
        let Some(account) = accounts::by_number(self.conn, step.account)? else { return Ok(false) };
        let cap = account.limit().filter(|_| account.terms.hard);
        Ok(account.frozen || cap.is_some_and(|cap| sum > i128::from(cap.0)))
    }

    /// Lengthens the chain by one row.
    fn append(&mut self, entry: &Entry, place: &Place) -> Result<()> {
        // A row holds an account if and only if its kind is `Account`, and a path otherwise.
        let entry = &stored_form(entry);
        let model = entry.model.as_ref().map(|name| self.interned.name(self.conn, name));
        let hash = chain::next(&self.head.hash, entry);
        let hold = entry.hold.filter(|_| place.made.is_none()).map(|hold| hold.0.cast_signed());
        let request = entry.request.filter(|_| place.made.is_none());
        let tokens = entry.tokens.as_ref();
        self.conn
            .prepare_cached(
                "INSERT INTO entry (seq, at_ms, kind, reason, hold, made, path, held, spent, request,
                     attempt, model, price_version, input, cache_read, cache_write, cache_write_1h,
                     output, reasoning, hash, generation)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                self.head.seq + 1,
                entry.at_ms,
                entry.kind.code(),
                entry.reason.code(),
                hold,
                place.made,
                place.path,
                entry.held,
                entry.spent,
                request.map(|id| id.bits().to_be_bytes()),
                entry.attempt,
                model.transpose()?,
                entry.price_version.cast_signed(),
                tokens.map(|tokens| tokens.input.cast_signed()),
                tokens.map(|tokens| tokens.cache_read.cast_signed()),
                tokens.map(|tokens| tokens.cache_write.cast_signed()),
                tokens.map(|tokens| tokens.cache_write_1h.cast_signed()),
                tokens.map(|tokens| tokens.output.cast_signed()),
                tokens.map(|tokens| tokens.reasoning.cast_signed()),
                hash,
                entry.generation,
            ])?;
        self.head = Head { seq: self.head.seq + 1, hash };
        Ok(())
    }
}

/// Whether an entry of that kind says what a hold came to.
pub fn resolves(kind: Kind) -> bool {
    matches!(kind, Kind::Settle | Kind::Void | Kind::Limbo | Kind::Refund)
}

/// The entry as its row can say it: an account in entries about accounts only, which move nothing.
fn stored_form(entry: &Entry) -> Cow<'_, Entry> {
    let is_account = entry.kind == Kind::Account;
    let fits = if is_account { entry.path.is_empty() } else { entry.account.is_none() };
    if fits {
        return Cow::Borrowed(entry);
    }
    let mut own = entry.clone();
    if is_account {
        own.path = Arc::from([]);
    } else {
        own.account = None;
    }
    Cow::Owned(own)
}
