//! Puts requests into the audit, and forgets old rows, on a thread of its own.
//!
//! No request waits for it: the recorder's thread leaves rows in a bounded queue, and what does not fit is
//! counted and gone. A store that fails keeps the queue waiting, which `/status` shows; it stops nothing else.
//! Each transaction is small, and a pause follows it, since the ledger's writer has to get in between.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};

use crate::base::limit::{
    AUDIT_BATCH_MAX, AUDIT_FORGET_PIECES_MAX, AUDIT_PAUSE_MS, AUDIT_QUEUE_MAX,
};
use crate::engine::live::Live;
use crate::engine::rounds::{Round, Rounds};
use crate::record::Record;
use crate::store::registry::{Registry, RegistryError, RequestRow};
use crate::telemetry::metrics::Metrics;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Where rows wait for the audit.
pub struct Auditor {
    shared: Arc<Shared>,
    thread: Mutex<Option<Rounds>>,
}

struct Shared {
    rows: Mutex<VecDeque<RequestRow>>,
    registry: Arc<dyn Registry>,
    metrics: Arc<Metrics>,
    trouble: Mutex<Option<String>>,
    /// Set at the end, which ends all pauses.
    ending: Mutex<bool>,
    bell: Condvar,
}

impl Auditor {
    /// An auditor whose thread does not run yet. Rows may be left already.
    pub fn new(registry: Arc<dyn Registry>, metrics: Arc<Metrics>) -> Self {
        let (rows, trouble, ending) = (Mutex::default(), Mutex::default(), Mutex::default());
        let bell = Condvar::new();
        let shared = Arc::new(Shared { rows, registry, metrics, trouble, ending, bell });
        Self { shared, thread: Mutex::default() }
    }

    /// Starts the thread. How long rows are kept is what is in force in `live`.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(&self, live: Arc<Live>) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let rounds = Rounds::start("weir-auditor", move |round| {
            shared.keep();
            let days = live.load().snapshot.audit.retention_days;
            if let (Some(before), Round::Usual) = (horizon(now_ms(), days), round) {
                shared.forget(before);
            }
        })?;
        *self.thread.lock() = Some(rounds);
        Ok(())
    }

    /// Leaves the rows of those requests that are to be audited. Never waits.
    pub fn leave(&self, records: &[Record]) {
        let mut audited = records.iter().filter(|record| record.audited).peekable();
        if audited.peek().is_none() {
            return;
        }
        let mut rows = self.shared.rows.lock();
        let room = AUDIT_QUEUE_MAX.saturating_sub(rows.len());
        rows.extend(audited.by_ref().take(room).map(row));
        drop(rows);
        self.shared.metrics.audit_dropped(audited.count() as u64);
    }

    /// What keeps the audit from being written, if anything does.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble.lock().clone()
    }

    /// Writes what lies here, as far as the store takes it, and ends the thread.
    pub fn stop(&self) {
        *self.shared.ending.lock() = true;
        self.shared.bell.notify_all();
        if let Some(rounds) = self.thread.lock().take() {
            rounds.stop();
        }
    }
}

impl Shared {
    /// Writes all rows that wait now, batch by batch; what the store does not take waits on.
    fn keep(&self) {
        loop {
            let mut rows = self.rows.lock();
            let count = rows.len().min(AUDIT_BATCH_MAX);
            let batch: Vec<RequestRow> = rows.drain(..count).collect();
            drop(rows);
            if batch.is_empty() {
                return;
            }
            let kept = self.registry.audit(&batch);
            let failed = kept.is_err();
            self.note(kept);
            if failed {
                self.give_back(batch);
                return;
            }
            self.pause();
        }
    }

    /// Leaves the store to others for a moment, unless the end waits.
    fn pause(&self) {
        let mut ending = self.ending.lock();
        if !*ending {
            self.bell.wait_for(&mut ending, Duration::from_millis(AUDIT_PAUSE_MS));
        }
    }

    /// The rows were the oldest; those that came meanwhile and do not fit beside them are dropped.
    fn give_back(&self, batch: Vec<RequestRow>) {
        let mut rows = self.rows.lock();
        for row in batch.into_iter().rev() {
            rows.push_front(row);
        }
        let over = rows.len().saturating_sub(AUDIT_QUEUE_MAX);
        rows.truncate(AUDIT_QUEUE_MAX);
        drop(rows);
        self.metrics.audit_dropped(over as u64);
    }

    /// Forgets old rows piece by piece; what is left over is for the next round.
    fn forget(&self, before_ms: i64) {
        for _ in 0..AUDIT_FORGET_PIECES_MAX {
            match self.registry.forget_before(before_ms, AUDIT_BATCH_MAX) {
                Ok(AUDIT_BATCH_MAX) => self.pause(),
                Ok(_) => return,
                Err(error) => return self.note(Err(error)),
            }
        }
    }

    /// Tells a failure once, and again only after the store has worked.
    fn note(&self, done: Result<(), RegistryError>) {
        let mut trouble = self.trouble.lock();
        if let (Err(error), None) = (&done, &*trouble) {
            tracing::error!(%error, "the audit cannot be written");
        }
        *trouble = done.err().map(|error| error.to_string());
    }
}

fn row(record: &Record) -> RequestRow {
    let text = |name: &Option<Arc<str>>| name.as_deref().unwrap_or_default().to_owned();
    RequestRow {
        id: 0,
        at_ms: i64::try_from(record.started_unix_ms).unwrap_or(i64::MAX),
        request_id: record.request_id.to_string(),
        agent: record.agent_alias.as_ref().unwrap_or(&record.agent).to_string(),
        provider: text(&record.provider),
        model: text(&record.served_model),
        surface: record.surface.map_or("", |surface| surface.name()).to_owned(),
        status: record.status,
        prompt_sha256: record.prompt_sha256,
    }
}

/// The instant before which rows are forgotten; `None` where they are kept for ever.
fn horizon(now_ms: i64, days: u64) -> Option<i64> {
    let days = i64::try_from(days).ok().filter(|days| *days > 0)?;
    Some(now_ms.saturating_sub(days.saturating_mul(DAY_MS)))
}

/// A clock before 1970 forgets nothing.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::source::Source;
    use crate::engine::source::sample::{self as files, Folder};
    use crate::record::sample;
    use crate::store::registry::Page;
    use crate::store::sqlite::registry::SqliteRegistry;

    struct Stand {
        folder: Folder,
        registry: Arc<SqliteRegistry>,
        metrics: Arc<Metrics>,
        auditor: Auditor,
    }

    fn stand(name: &str) -> Stand {
        let folder = Folder::new(name);
        let registry = SqliteRegistry::open(&folder.path().join("weir.db")).unwrap();
        let (registry, metrics) = (Arc::new(registry), Arc::new(Metrics::new("0").unwrap()));
        let auditor = Auditor::new(registry.clone(), metrics.clone());
        Stand { folder, registry, metrics, auditor }
    }

    fn audited(at_ms: u64) -> Record {
        let prompt_sha256 = Some([7; 32]);
        Record { started_unix_ms: at_ms, audited: true, prompt_sha256, ..sample::record() }
    }

    fn rows(stand: &Stand) -> Vec<RequestRow> {
        stand.registry.requests(Page { after: 0, limit: 1_000 }).unwrap()
    }

    fn dropped(stand: &Stand) -> u64 {
        let page = stand.metrics.render().unwrap();
        let line = page.lines().find(|line| line.starts_with("weir_audit_dropped_total")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_audited_comes_into_the_store_and_nothing_else() {
        let stand = stand("auditor-keep");
        let ignored = Record { audited: false, ..sample::record() };
        stand.auditor.leave(&[audited(5), ignored]);
        stand.auditor.leave(&[audited(6)]);
        stand.auditor.shared.keep();
        let expected = RequestRow {
            id: 1,
            at_ms: 5,
            request_id: "0000000000000000000000000000001f".to_owned(),
            agent: "agent-1".to_owned(),
            provider: "openrouter".to_owned(),
            model: "claude".to_owned(),
            surface: "chat".to_owned(),
            status: 200,
            prompt_sha256: Some([7; 32]),
        };
        let found = rows(&stand);
        assert_eq!((found.len(), &found[0]), (2, &expected));
        assert_eq!((stand.auditor.trouble(), dropped(&stand)), (None, 0));
    }

    #[test]
    fn a_store_that_fails_keeps_rows_waiting_up_to_a_bound() {
        let stand = stand("auditor-full");
        let pages = stand.registry.limit_pages(1);
        let many: Vec<Record> = (0..AUDIT_QUEUE_MAX as u64 + 3).map(audited).collect();
        stand.auditor.leave(&many);
        assert_eq!(dropped(&stand), 3);
        stand.auditor.shared.keep();
        assert!(stand.auditor.trouble().is_some_and(|why| why.contains("full")));
        stand.auditor.leave(&many[..2]);
        assert_eq!(dropped(&stand), 5);
        assert_eq!(stand.auditor.shared.rows.lock().len(), AUDIT_QUEUE_MAX);
        stand.registry.limit_pages(pages + 100_000);
        stand.auditor.shared.rows.lock().truncate(AUDIT_BATCH_MAX + 1);
        stand.auditor.shared.keep();
        assert_eq!((stand.auditor.trouble(), rows(&stand).len()), (None, AUDIT_BATCH_MAX + 1));
        assert_eq!(rows(&stand)[0].at_ms, 0);
    }

    #[test]
    fn the_thread_writes_forgets_and_leaves_nothing_behind() {
        let stand = stand("auditor-thread");
        let path = stand.folder.write("weir.yaml", &files::yaml("one"));
        let live = Live::new(Source::with_env(path, Box::new(files::env)).read().unwrap());
        let now = u64::try_from(now_ms()).unwrap();
        let old: Vec<Record> = (0..=AUDIT_BATCH_MAX as u64).map(audited).collect();
        stand.auditor.leave(&old);
        stand.auditor.shared.keep();
        stand.auditor.start(Arc::new(live)).unwrap();
        stand.auditor.leave(&[audited(now)]);
        stand.auditor.stop();
        let kept = rows(&stand);
        assert_eq!(kept.iter().map(|row| row.at_ms).collect::<Vec<_>>(), [now.cast_signed()]);
    }

    #[test]
    fn rows_are_kept_so_many_days_or_for_ever() {
        assert_eq!(horizon(10 * DAY_MS, 3), Some(7 * DAY_MS));
        assert_eq!((horizon(5, 0), horizon(5, u64::MAX)), (None, None));
        assert!(horizon(0, 36_500).unwrap() < 0);
    }
}
