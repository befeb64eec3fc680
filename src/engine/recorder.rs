//! Takes the finished requests from the tasks that served them, and counts and logs them on a thread of
//! its own.
//!
//! Hot path: `send` is one short lock and one move. Waking a thread costs more than all the rest of a
//! record (5 to 50 us), so the recorder is not woken per request: it looks by itself every `LOOK_MS`
//! while there is traffic, and is woken only by the first request after a silence, by a full
//! batch, by `flush` and at the end.
//!
//! `send` never waits. The queue can only fill up while the log's reader or disk stands still (the
//! counting part takes a million records a second): then the sender counts its record itself, so that no
//! token and no cent is lost, and only the log line is, which is counted too.

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::base::limit;
use crate::engine::auditor::Auditor;
use crate::engine::statistics::Statistics;
use crate::engine::warden::Warden;
use crate::record::Record;
use crate::telemetry::access_log::{AccessLog, LinesLost};
use crate::telemetry::metrics::Metrics;

/// How long records lie before they are counted and logged.
const LOOK: Duration = Duration::from_millis(50);
/// So many records are a batch that is looked at earlier: on a core that is shared, the requests behind a
/// larger one would feel it.
const BATCH: usize = 256;
/// Looks in vain before the recorder goes to sleep until it is woken.
const VAIN_LOOKS_MAX: u32 = 20;
/// Records that the queue keeps room for after a burst.
const QUEUE_KEPT: usize = 1024;
/// How long the end of the process, or a late record, waits for a log that stands still.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// The recorder's handle.
pub struct Recorder {
    /// What the last requests came to.
    pub statistics: Arc<Statistics>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something to do before the next look.
    work: Condvar,
    /// Some records were counted or logged.
    progress: Condvar,
    metrics: Arc<Metrics>,
    statistics: Arc<Statistics>,
    log: Mutex<AccessLog>,
    /// The log to write to from the next batch on. Apart from `log`, whose lock is held while a write
    /// stands still.
    next_log: Mutex<Option<AccessLog>>,
    log_error: Mutex<Option<String>>,
    /// Where requests are left for the audit.
    auditor: OnceLock<Arc<Auditor>>,
    /// What counts the guard's work.
    warden: OnceLock<Arc<Warden>>,
}

#[derive(Default)]
struct Queue {
    records: Vec<Record>,
    accepted: u64,
    counted: u64,
    logged: u64,
    /// Nobody looks until woken.
    asleep: bool,
    /// Somebody waits for the records that lie here.
    urgent: bool,
    /// No more records are taken.
    closed: bool,
}

/// How far `flush` waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Until the metrics hold every record sent before.
    Counted,
    /// Until their log lines are written as well.
    Logged,
}

/// What `/status` shows of the recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Records that wait.
    pub queued: usize,
    /// Log lines lost so far.
    pub lines_dropped: u64,
    /// Why it does not do its work, or why the last write to the log failed.
    pub error: Option<String>,
}

impl Recorder {
    /// A recorder whose thread does not run yet. Records may be sent already.
    pub fn new(metrics: Arc<Metrics>, log: AccessLog) -> Self {
        let statistics = Arc::<Statistics>::default();
        let shared = Shared {
            queue: Mutex::new(Queue { asleep: true, ..Queue::default() }),
            work: Condvar::new(),
            progress: Condvar::new(),
            metrics,
            statistics: Arc::clone(&statistics),
            log: Mutex::new(log),
            next_log: Mutex::default(),
            log_error: Mutex::default(),
            auditor: OnceLock::new(),
            warden: OnceLock::new(),
        };
        Self { statistics, shared: Arc::new(shared), thread: Mutex::default() }
    }

    /// Starts the thread: after the fork, where the process becomes a daemon. A second call does nothing.
    pub fn start(&self) -> std::io::Result<()> {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let shared = self.shared.clone();
            let named = std::thread::Builder::new().name("weir-recorder".into());
            *thread = Some(named.spawn(move || shared.run())?);
        }
        Ok(())
    }

    /// From now on what the guard did for requests is counted too. Only the first call counts.
    pub fn count_at(&self, warden: Arc<Warden>) {
        // Later ones are left with what was given first.
        let _ = self.shared.warden.set(warden);
    }

    /// From now on requests are left for the audit too. Only the first call counts.
    pub fn audit_to(&self, auditor: Arc<Auditor>) {
        // A second one would be a mistake of the composition, and changes nothing.
        let _ = self.shared.auditor.set(auditor);
    }

    /// Hands over a finished request.
    pub fn send(&self, record: Record) {
        let mut queue = self.shared.queue.lock();
        let full = queue.records.len() >= limit::RECORD_QUEUE_MAX;
        if full || queue.closed {
            let closed = queue.closed;
            drop(queue);
            self.shared.take_in_place(&record, closed);
            return;
        }
        queue.records.push(record);
        queue.accepted += 1;
        let batch_full = queue.records.len() == BATCH;
        let wake = batch_full || std::mem::take(&mut queue.asleep);
        drop(queue);
        if wake {
            self.shared.work.notify_one();
        }
    }

    /// Waits until every record sent before has come that far. Says whether that happened in time.
    /// Blocks the thread: not for async tasks.
    pub fn flush(&self, stage: Stage, wait: Duration) -> bool {
        self.shared.flush(stage, Instant::now() + wait)
    }

    /// Takes in what was sent, ends the thread, and waits for that (not for ever). Records sent later
    /// are still counted and logged, by their senders.
    pub fn stop(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.work.notify_one();
        let Some(thread) = self.thread.lock().take() else {
            // Never started, or stopped before: what lies here would be lost.
            let rest = std::mem::take(&mut self.shared.queue.lock().records);
            for record in &rest {
                self.shared.take_in_place(record, true);
            }
            return;
        };
        if self.shared.flush(Stage::Logged, Instant::now() + LAST_WAIT) {
            // A panic over there has been reported already, and there is nothing left to save.
            let _ = thread.join();
        }
    }

    /// Puts another log in place of the present one, which may be the same file opened again after a
    /// rotation. Does not wait for a write that stands still.
    pub fn replace_log(&self, log: AccessLog) {
        *self.shared.next_log.lock() = Some(log);
        self.shared.queue.lock().urgent = true;
        self.shared.work.notify_one();
    }

    /// Makes the log empty, of all requests sent before. Says whether there is a file to be emptied.
    /// Blocks the thread: not for async tasks.
    ///
    /// # Errors
    /// The log stands still, or the file cannot be cut.
    pub fn clear_log(&self) -> std::io::Result<bool> {
        let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
        if !self.flush(Stage::Logged, LAST_WAIT) {
            return Err(late());
        }
        self.shared.log.try_lock_for(LAST_WAIT).ok_or_else(late)?.clear()
    }

    /// How it is doing.
    pub fn condition(&self) -> Condition {
        let ended = self.thread.lock().as_ref().is_some_and(JoinHandle::is_finished);
        let error = ended.then(|| "the recorder's thread has ended".to_owned());
        Condition {
            queued: self.shared.queue.lock().records.len(),
            lines_dropped: self.shared.metrics.log_lines_dropped_total(),
            error: error.or_else(|| self.shared.log_error.lock().clone()),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self) {
        let mut batch = Vec::new();
        let mut vain_looks = 0;
        while self.collect(&mut batch, &mut vain_looks) {
            self.metrics.observe_all(&batch);
            self.statistics.observe_all(&batch);
            self.leave_for_audit(&batch);
            let count = batch.len() as u64;
            self.queue.lock().counted += count;
            self.progress.notify_all();
            self.write_log(self.log.lock(), &batch);
            self.queue.lock().logged += count;
            self.progress.notify_all();
            batch.clear();
            batch.shrink_to(QUEUE_KEPT);
        }
    }

    /// Waits for the next look and takes what lies there. False at the end.
    fn collect(&self, batch: &mut Vec<Record>, vain_looks: &mut u32) -> bool {
        let mut queue = self.queue.lock();
        if *vain_looks >= VAIN_LOOKS_MAX && queue.records.is_empty() {
            queue.asleep = true;
            self.work.wait_while(&mut queue, |queue| queue.asleep && !queue.hurry());
        }
        if !queue.hurry() {
            self.work.wait_for(&mut queue, LOOK);
        }
        queue.asleep = false;
        queue.urgent = false;
        *vain_looks = if queue.records.is_empty() { *vain_looks + 1 } else { 0 };
        std::mem::swap(batch, &mut queue.records);
        !(queue.closed && batch.is_empty())
    }

    fn flush(&self, stage: Stage, deadline: Instant) -> bool {
        let mut queue = self.queue.lock();
        let goal = queue.accepted;
        let reached = |queue: &MutexGuard<'_, Queue>| match stage {
            Stage::Counted => queue.counted >= goal,
            Stage::Logged => queue.logged >= goal,
        };
        while !reached(&queue) {
            queue.urgent = true;
            self.work.notify_one();
            if self.progress.wait_until(&mut queue, deadline).timed_out() {
                return reached(&queue);
            }
        }
        true
    }

    /// The sender does the recorder's work: with a full queue the counting alone, because the log does
    /// not move; after the end both.
    fn take_in_place(&self, record: &Record, closed: bool) {
        self.metrics.observe(record);
        self.statistics.observe_all(std::slice::from_ref(record));
        self.leave_for_audit(std::slice::from_ref(record));
        let log = if closed { self.log.try_lock_for(LAST_WAIT) } else { None };
        match log {
            Some(log) => self.write_log(log, std::slice::from_ref(record)),
            None => self.metrics.log_lines_dropped(1),
        }
    }

    fn leave_for_audit(&self, records: &[Record]) {
        if let Some(auditor) = self.auditor.get() {
            auditor.leave(records);
        }
        if let Some(warden) = self.warden.get() {
            warden.leave(records);
        }
    }

    fn write_log(&self, mut log: MutexGuard<'_, AccessLog>, records: &[Record]) {
        if let Some(next) = self.next_log.lock().take() {
            *log = next;
        }
        let written = log.write(records);
        drop(log);
        self.note(written);
    }

    fn note(&self, written: Result<(), LinesLost>) {
        if let Err(lost) = &written {
            self.metrics.log_lines_dropped(lost.lines);
        }
        let mut last = self.log_error.lock();
        // Once, not per batch: the log of this message may be on the same full disk.
        if let (Err(error), None) = (&written, &*last) {
            tracing::error!(%error, "the access log cannot be written");
        }
        *last = written.err().map(|error| error.to_string());
    }
}

impl Queue {
    /// Whether to look now rather than at the next look.
    fn hurry(&self) -> bool {
        self.urgent || self.closed || self.records.len() >= BATCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample;

    fn recorder() -> (Recorder, Arc<Metrics>, Arc<Mutex<Vec<u8>>>) {
        let metrics = Arc::new(Metrics::new("0").unwrap());
        let (log, memory) = AccessLog::to_memory();
        (Recorder::new(metrics.clone(), log), metrics, memory)
    }

    fn counted(metrics: &Metrics) -> u64 {
        let page = metrics.render().unwrap();
        let line =
            page.lines().find_map(|l| l.strip_prefix("weir_request_duration_seconds_count "));
        line.unwrap().parse().unwrap()
    }

    fn lines(memory: &Mutex<Vec<u8>>) -> usize {
        String::from_utf8(memory.lock().clone()).unwrap().lines().count()
    }

    #[test]
    fn what_was_sent_is_there_after_a_flush() {
        let (recorder, metrics, memory) = recorder();
        recorder.send(sample::record());
        recorder.start().unwrap();
        assert!(recorder.flush(Stage::Counted, Duration::from_secs(5)));
        assert_eq!(counted(&metrics), 1);
        recorder.send(sample::record());
        assert!(recorder.flush(Stage::Logged, Duration::from_secs(5)));
        assert_eq!((counted(&metrics), lines(&memory)), (2, 2));
        assert!(recorder.flush(Stage::Logged, Duration::ZERO), "nothing to wait for");
    }

    #[test]
    fn records_of_many_threads_arrive_without_a_flush() {
        let (recorder, metrics, memory) = recorder();
        recorder.start().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5_000).for_each(|_| recorder.send(sample::record())));
            }
        });
        let late = Instant::now() + Duration::from_secs(20);
        while counted(&metrics) < 20_000 && Instant::now() < late {
            std::thread::yield_now();
        }
        // They are counted by then; the end would wait a moment only for their lines.
        assert!(recorder.flush(Stage::Logged, Duration::from_secs(20)));
        recorder.stop();
        let dropped = metrics.log_lines_dropped_total();
        assert_eq!(counted(&metrics), 20_000);
        assert_eq!(lines(&memory) as u64 + dropped, 20_000);
    }

    #[test]
    fn a_log_that_stands_still_costs_lines_but_no_money() {
        let (recorder, metrics, memory) = recorder();
        recorder.start().unwrap();
        let stuck = recorder.shared.log.lock();
        let sent = limit::RECORD_QUEUE_MAX * 3;
        for _ in 0..sent {
            recorder.send(sample::record());
        }
        assert!(!recorder.flush(Stage::Logged, Duration::from_millis(20)));
        assert!(recorder.condition().queued <= limit::RECORD_QUEUE_MAX);
        drop(stuck);
        assert!(recorder.flush(Stage::Logged, Duration::from_secs(20)));
        let dropped = metrics.log_lines_dropped_total();
        assert!(dropped > 0);
        assert_eq!(counted(&metrics), sent as u64);
        assert_eq!(lines(&memory) as u64 + dropped, sent as u64);
    }

    #[test]
    fn records_that_come_after_the_end_are_kept_too() {
        let (recorder, metrics, memory) = recorder();
        recorder.start().unwrap();
        recorder.send(sample::record());
        recorder.stop();
        recorder.send(sample::record());
        assert_eq!((counted(&metrics), lines(&memory)), (2, 2));
    }

    #[test]
    fn without_a_thread_a_flush_gives_up_and_the_end_does_the_work() {
        let (recorder, metrics, memory) = recorder();
        recorder.send(sample::record());
        assert!(!recorder.flush(Stage::Counted, Duration::from_millis(1)));
        drop(recorder);
        assert_eq!((counted(&metrics), lines(&memory)), (1, 1));
    }
}
