//! Who is shut out, known here without asking the store; strikes that lead there; and what the guard counts by
//! day. A thread of its own follows what other processes on the same store have changed, and writes what has
//! been counted.
//!
//! Asking costs one load of an atomic as long as nobody is shut out. A strike is durable before whoever caused
//! it is answered; if the store cannot take it, it counts in this process all the same: the guard fails closed.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::base::limit::{
    GUARD_AUDIT_QUEUE_MAX, GUARD_COUNTED_MAX, GUARD_DAYS_MAX, STRUCK_IN_MEMORY_MAX,
};
use crate::engine::clock::Clock;
use crate::engine::live::Live;
use crate::engine::rounds::{Round, Rounds};
use crate::guard::quarantine::{Ban, KeyId, Sheet, Struck, Terms};
use crate::record::Record;
use crate::store::StoreError;
use crate::store::registry::Page;
use crate::store::ward::{Blow, Count, Line, SECRET_BYTES, Standing, Ward};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Rounds between two looks for what can be forgotten.
const FORGET_ROUNDS: u32 = 600;

/// What happened, for the counts by day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A text or a request was looked at.
    Validation,
    /// Something was refused.
    Block,
    /// Something was taken out of an answer.
    Redaction,
    /// A strike.
    Strike,
    /// Somebody was shut out.
    Quarantine,
}

impl Event {
    /// Its name in the store and in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Validation => "validations",
            Self::Block => "blocks",
            Self::Redaction => "redactions",
            Self::Strike => "strikes",
            Self::Quarantine => "quarantines",
        }
    }
}

/// Who is shut out.
pub struct Warden {
    ward: Arc<dyn Ward>,
    clock: Arc<dyn Clock>,
    /// What canaries are made of.
    secret: [u8; SECRET_BYTES],
    bans: RwLock<HashMap<KeyId, Ban>>,
    /// How many there are; none costs nothing.
    count: AtomicUsize,
    /// Strikes that the store has not taken.
    unstored: Mutex<HashMap<KeyId, Sheet>>,
    /// How often this process has changed `bans` by itself; written under its lock.
    own: AtomicU64,
    /// The store's version that `bans` shows.
    seen: AtomicI64,
    waiting: Mutex<Waiting>,
    trouble: Mutex<Option<String>>,
    thread: Mutex<Option<Rounds>>,
}

/// What waits to be written.
#[derive(Default)]
struct Waiting {
    counts: BTreeMap<(i64, &'static str, String), u64>,
    lines: Vec<Line>,
}

impl Warden {
    /// Reads who is shut out. The thread does not run yet.
    ///
    /// # Errors
    /// A store that cannot be read or written, or no randomness for the secret of a new one.
    pub fn open(ward: Arc<dyn Ward>, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let mut fresh = [0; SECRET_BYTES];
        getrandom::fill(&mut fresh).map_err(|error| format!("no randomness: {error}"))?;
        let failed = |error: StoreError| format!("store: {error}");
        let secret = ward.secret(fresh).map_err(failed)?;
        let warden = Self {
            ward,
            clock,
            secret,
            bans: RwLock::default(),
            count: AtomicUsize::new(0),
            own: AtomicU64::new(0),
            unstored: Mutex::default(),
            // No version is negative, so that the first look reads.
            seen: AtomicI64::new(-1),
            waiting: Mutex::default(),
            trouble: Mutex::default(),
            thread: Mutex::default(),
        };
        warden.follow().map_err(failed)?;
        Ok(warden)
    }

    /// Starts the thread that follows other processes and writes counts.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(self: &Arc<Self>, live: Arc<Live>) -> io::Result<()> {
        let own = Arc::clone(self);
        let mut round_number = 0_u32;
        let rounds = Rounds::start("weir-warden", move |round| {
            let done = own.follow().and_then(|()| own.write());
            own.note_trouble(done);
            if round == Round::Usual && round_number.is_multiple_of(FORGET_ROUNDS) {
                let terms = live.load().snapshot.quarantine;
                own.note_trouble(own.forget(&terms));
            }
            round_number = round_number.wrapping_add(1);
        })?;
        *self.thread.lock() = Some(rounds);
        Ok(())
    }

    /// Writes what has been counted, and ends the thread.
    pub fn stop(&self) {
        if let Some(thread) = self.thread.lock().take() {
            thread.stop();
        }
    }

    /// What keeps it from being written or read, if anything does.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// What canaries are made of.
    pub const fn secret(&self) -> &[u8; SECRET_BYTES] {
        &self.secret
    }

    /// Whether anybody at all is shut out: asked before a key's name is made.
    pub fn has_bans(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Whether that key is shut out.
    pub fn ban(&self, key: KeyId) -> Option<Ban> {
        let ban = self.bans.read().get(&key).copied();
        ban.filter(|ban| ban.holds(self.clock.unix_ms()))
    }

    /// The time that bans are judged by, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.clock.unix_ms()
    }

    /// Counts a strike. Blocks for the store.
    pub fn strike(&self, blow: &Blow, terms: &Terms) -> Struck {
        // Who is shut out for good cannot be shut out more: no disk is written for it.
        if !terms.enabled || self.bans.read().get(&blow.key) == Some(&Ban::Permanent) {
            return Struck::Known;
        }
        let struck = match self.ward.strike(blow, terms) {
            Ok(struck) => struck,
            Err(error) => {
                self.note_trouble(Err(error));
                self.strike_here(blow, terms)
            }
        };
        if struck != Struck::Known {
            self.count(Event::Strike, "", 1);
        }
        if let Struck::Out(ban) = struck {
            self.count(Event::Quarantine, ban.name(), 1);
            self.shut_out(blow.key, ban);
            let (key, agent, kind) = (blow.key.to_string(), &*blow.agent, ban.name());
            tracing::warn!(key, agent, kind, "a key is shut out");
        }
        struck
    }

    /// The store cannot take it: it counts for this process.
    fn strike_here(&self, blow: &Blow, terms: &Terms) -> Struck {
        let mut unstored = self.unstored.lock();
        if unstored.len() >= STRUCK_IN_MEMORY_MAX && !unstored.contains_key(&blow.key) {
            // Any of them: it has as many strikes in the store as it had before.
            if let Some(other) = unstored.keys().next().copied() {
                unstored.remove(&other);
            }
        }
        unstored.entry(blow.key).or_default().strike(blow.strike, terms)
    }

    fn shut_out(&self, key: KeyId, ban: Ban) {
        let mut bans = self.bans.write();
        bans.insert(key, ban);
        self.own.fetch_add(1, Ordering::Relaxed);
        self.count.store(bans.len(), Ordering::Relaxed);
    }

    /// Lets a key in again, whichever way it was shut out; how it stood. `None` = nothing was held against
    /// it. Blocks for the store.
    ///
    /// # Errors
    /// The store cannot be written; nothing has changed then.
    pub fn release(&self, key: KeyId, by: &str) -> Result<Option<Standing>, StoreError> {
        let line = Line {
            at_ms: self.clock.unix_ms(),
            event: "released".to_owned(),
            key: key.to_string(),
            by: by.to_owned(),
            ..Line::default()
        };
        let found = self.ward.release(key, &line)?;
        let unstored = self.unstored.lock().remove(&key);
        let mut bans = self.bans.write();
        bans.remove(&key);
        self.own.fetch_add(1, Ordering::Relaxed);
        self.count.store(bans.len(), Ordering::Relaxed);
        drop(bans);
        let here = |sheet: Sheet| Standing {
            key,
            agent: String::new(),
            strikes: sheet.strikes.len() as u64,
            last_ms: sheet.strikes.last().map_or(0, |strike| strike.at_ms),
            ban: sheet.ban,
        };
        Ok(found.or_else(|| unstored.map(here)))
    }

    /// Keys that have strikes or are shut out, at most `max`. Blocks for the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn standings(&self, max: usize) -> Result<Vec<Standing>, StoreError> {
        self.ward.standings(max)
    }

    /// A piece of the guard's audit, with what was noted last. Blocks for the store.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn lines(&self, page: Page) -> Result<Vec<Line>, StoreError> {
        self.write()?;
        self.ward.lines(page)
    }

    /// The counts of the last `days` days, today among them. Blocks for the store.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn counts(&self, days: i64) -> Result<Vec<Count>, StoreError> {
        self.write()?;
        self.ward.counts(self.today() - days.max(1) + 1)
    }

    /// The day that counts go to, in days since the Unix epoch.
    pub fn today(&self) -> i64 {
        self.clock.unix_ms().div_euclid(DAY_MS)
    }

    /// Counts something that happened today. Never waits for the store.
    pub fn count(&self, event: Event, name: &str, times: u64) {
        if times == 0 {
            return;
        }
        let key = (self.today(), event.name(), name.to_owned());
        let mut waiting = self.waiting.lock();
        if waiting.counts.len() < GUARD_COUNTED_MAX || waiting.counts.contains_key(&key) {
            let count = waiting.counts.entry(key).or_default();
            *count = count.saturating_add(times);
        }
    }

    /// Leaves a line for the audit. Never waits for the store; whether it was left.
    pub fn tell(&self, line: Line) -> bool {
        let mut waiting = self.waiting.lock();
        let has_room = waiting.lines.len() < GUARD_AUDIT_QUEUE_MAX;
        if has_room {
            waiting.lines.push(line);
        }
        has_room
    }

    /// Counts what the guard did for those requests.
    pub fn leave(&self, records: &[Record]) {
        for guard in records.iter().filter_map(|record| record.guard.as_deref()) {
            self.count(Event::Validation, "", 1);
            for (rule, action) in &guard.verdicts {
                match *action {
                    "block" => self.count(Event::Block, rule, 1),
                    "redact" => self.count(Event::Redaction, rule, 1),
                    _ => {}
                }
            }
        }
    }

    /// Reads who is shut out, if another process has changed it.
    fn follow(&self) -> Result<(), StoreError> {
        let version = self.ward.version()?;
        if version == self.seen.load(Ordering::Relaxed) {
            return Ok(());
        }
        let now_ms = self.clock.unix_ms();
        let before = self.own.load(Ordering::Relaxed);
        let mut all: HashMap<KeyId, Ban> = self.ward.bans(now_ms)?.into_iter().collect();
        for (key, sheet) in self.unstored.lock().iter() {
            if let Some(ban) = sheet.ban(now_ms) {
                all.entry(*key).or_insert(ban);
            }
        }
        let mut bans = self.bans.write();
        if self.own.load(Ordering::Relaxed) != before {
            // What this process did in between may not be in what was read: it is read again in the next round.
            return Ok(());
        }
        self.count.store(all.len(), Ordering::Relaxed);
        *bans = all;
        self.seen.store(version, Ordering::Relaxed);
        Ok(())
    }

    /// Writes what has been counted; what the store does not take waits on.
    fn write(&self) -> Result<(), StoreError> {
        let Waiting { counts, lines } = std::mem::take(&mut *self.waiting.lock());
        let rows: Vec<Count> = counts
            .iter()
            .map(|((day, kind, name), count)| Count {
                day: *day,
                kind: (*kind).to_owned(),
                name: name.clone(),
                count: *count,
            })
            .collect();
        let done = self.ward.note(&lines, &rows);
        if done.is_err() {
            let mut waiting = self.waiting.lock();
            for (key, count) in counts {
                let sum = waiting.counts.entry(key).or_default();
                *sum = sum.saturating_add(count);
            }
            let newer = std::mem::replace(&mut waiting.lines, lines);
            waiting.lines.extend(newer);
            waiting.lines.truncate(GUARD_AUDIT_QUEUE_MAX);
        }
        done
    }

    fn forget(&self, terms: &Terms) -> Result<(), StoreError> {
        let now_ms = self.clock.unix_ms();
        let before_ms = now_ms.saturating_sub(terms.window_ms.max(terms.rest_ms));
        self.ward.forget(before_ms, self.today() - GUARD_DAYS_MAX)?;
        let mut bans = self.bans.write();
        bans.retain(|_, ban| ban.holds(now_ms));
        self.count.store(bans.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Tells a failure once, and again only after the store has worked.
    fn note_trouble(&self, done: Result<(), StoreError>) {
        let mut trouble = self.trouble.lock();
        if let (Err(error), None) = (&done, &*trouble) {
            tracing::error!(%error, "the guard's tables cannot be used");
        }
        *trouble = done.err().map(|error| error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::snapshot::Synchronous;
    use crate::engine::clock::SystemClock;
    use crate::engine::source::sample::Folder;
    use crate::guard::quarantine::Strike;
    use crate::record::GuardRecord;
    use crate::record::sample;
    use crate::store::sqlite::ward::SqliteWard;
    use crate::store::sqlite::{Opening, SqliteStore};

    fn stand(name: &str) -> (Folder, Warden, Warden) {
        let folder = Folder::new(name);
        let file = folder.path().join("weir.db");
        SqliteStore::open(&file, Synchronous::Normal, Opening::Own).unwrap();
        let open = || {
            let ward = Arc::new(SqliteWard::open(&file).unwrap());
            Warden::open(ward, Arc::new(SystemClock)).unwrap()
        };
        let wardens = (open(), open());
        (folder, wardens.0, wardens.1)
    }

    fn blow(warden: &Warden, content: u64) -> Blow {
        let key = KeyId::parse("0123456789ab").unwrap();
        let strike = Strike { content, at_ms: warden.now_ms() };
        Blow { key, agent: "worker".to_owned(), strike }
    }

    #[test]
    fn one_process_shuts_out_and_another_one_follows() {
        let (_folder, one, two) = stand("warden-two");
        let key = blow(&one, 0).key;
        for content in 0..3 {
            one.strike(&blow(&one, content), &Terms::default());
        }
        assert!(one.ban(key).is_some() && !two.has_bans());
        two.follow().unwrap();
        assert_eq!(two.ban(key), one.ban(key));
        two.release(key, "admin").unwrap().unwrap();
        assert!(!two.has_bans() && one.has_bans());
        one.follow().unwrap();
        assert!(!one.has_bans());
        assert_eq!(one.secret(), two.secret());
    }

    /// A store in which something happens right after the bans were read.
    struct Meanwhile {
        ward: Arc<dyn Ward>,
        then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    }

    impl Ward for Meanwhile {
        fn strike(&self, blow: &Blow, terms: &Terms) -> Result<Struck, StoreError> {
            self.ward.strike(blow, terms)
        }
        fn release(&self, key: KeyId, line: &Line) -> Result<Option<Standing>, StoreError> {
            self.ward.release(key, line)
        }
        fn bans(&self, at_ms: i64) -> Result<Vec<(KeyId, Ban)>, StoreError> {
            let read = self.ward.bans(at_ms);
            let then = self.then.lock().take();
            if let Some(then) = then {
                then();
            }
            read
        }
        fn standings(&self, max: usize) -> Result<Vec<Standing>, StoreError> {
            self.ward.standings(max)
        }
        fn note(&self, lines: &[Line], counts: &[Count]) -> Result<(), StoreError> {
            self.ward.note(lines, counts)
        }
        fn lines(&self, page: Page) -> Result<Vec<Line>, StoreError> {
            self.ward.lines(page)
        }
        fn counts(&self, from_day: i64) -> Result<Vec<Count>, StoreError> {
            self.ward.counts(from_day)
        }
        fn forget(&self, before_ms: i64, day: i64) -> Result<(), StoreError> {
            self.ward.forget(before_ms, day)
        }
        fn secret(&self, fresh: [u8; SECRET_BYTES]) -> Result<[u8; SECRET_BYTES], StoreError> {
            self.ward.secret(fresh)
        }
        fn version(&self) -> Result<i64, StoreError> {
            self.ward.version()
        }
    }

    #[test]
    fn who_is_shut_out_while_the_store_is_read_stays_out() {
        let (_folder, one, two) = stand("warden-meanwhile");
        let ward = Arc::new(Meanwhile { ward: Arc::clone(&one.ward), then: Mutex::default() });
        let third = Arc::new(Warden::open(Arc::clone(&ward) as _, Arc::clone(&one.clock)).unwrap());
        let other = Blow { key: KeyId::parse("ba9876543210").unwrap(), ..blow(&two, 0) };
        for content in 0..3 {
            two.strike(
                &Blow { strike: blow(&two, content).strike, ..other.clone() },
                &Terms::default(),
            );
        }
        let own = Arc::clone(&third);
        let key = blow(&one, 0).key;
        *ward.then.lock() = Some(Box::new(move || {
            for content in 0..3 {
                own.strike(&blow(&own, content), &Terms::default());
            }
        }));
        third.follow().unwrap();
        assert!(third.ban(key).is_some());
        third.follow().unwrap();
        assert!(third.ban(key).is_some() && third.ban(other.key).is_some());
    }

    #[test]
    fn terms_that_are_off_shut_nobody_out() {
        let (_folder, one, _) = stand("warden-off");
        let off = Terms { enabled: false, ..Terms::default() };
        for content in 0..20 {
            assert_eq!(one.strike(&blow(&one, content), &off), Struck::Known);
        }
        assert!(!one.has_bans() && one.standings(9).unwrap().is_empty());
    }

    #[test]
    fn who_is_shut_out_for_good_is_struck_no_more() {
        let (_folder, one, _) = stand("warden-good");
        let terms = Terms::default();
        let struck: Vec<Struck> =
            (0..20).map(|content| one.strike(&blow(&one, content), &terms)).collect();
        assert_eq!((struck[9], struck[10]), (Struck::Out(Ban::Permanent), Struck::Known));
        assert_eq!(one.standings(9).unwrap()[0].strikes, 10);
        assert_eq!(one.lines(Page { after: 0, limit: 99 }).unwrap().len(), 8);
    }

    #[test]
    fn what_requests_left_is_counted_by_rule() {
        let (_folder, one, _) = stand("warden-records");
        let mut record = sample::record();
        let verdicts = vec![("seed.ignore", "block"), ("ssn", "redact"), ("model", "observe")];
        record.guard = Some(Box::new(GuardRecord { verdicts, ..GuardRecord::default() }));
        one.leave(&[record, sample::record()]);
        let counts = one.counts(1).unwrap();
        let said: Vec<_> = counts.iter().map(|it| (&*it.kind, &*it.name, it.count)).collect();
        assert_eq!(
            said,
            [("blocks", "seed.ignore", 1), ("redactions", "ssn", 1), ("validations", "", 1)]
        );
    }
}
