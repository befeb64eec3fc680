//! The sums of the last requests (`stats`), fed by the recorder's thread and looked at by the admin port.
//!
//! One lock: taken once per batch of records, and for the milliseconds that the sums of a long range take.
//! No request waits for it.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::limit::{STATS_QUIET_EVENTS_MAX, STATS_ROWS_SHOWN, STATS_STREAMS_MAX};
use crate::engine::clock::{Clock, SystemClock};
use crate::engine::live::Live;
use crate::record::Record;
use crate::stats::range::Range;
use crate::stats::report::Report;
use crate::stats::rolling::Stats;
use crate::stats::yardstick::Yardstick;
use crate::wire::object::Object;

/// The sums and what they need to be told.
pub struct Statistics {
    desk: Mutex<Desk>,
    live: OnceLock<Arc<Live>>,
    streams: Arc<Semaphore>,
    /// When this process began to count, in milliseconds since the Unix epoch: rows of another process are
    /// numbered anew.
    boot_ms: u64,
}

#[derive(Default)]
struct Desk {
    stats: Stats,
    yardstick: Option<Yardstick>,
    /// The version of the configuration that it is of; 0 = none.
    version: u64,
}

/// What a reader of a stream has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// The number of the last row.
    seq: u64,
    /// How many events would have said nothing new since the last one.
    pub quiet: u32,
    told: bool,
    empty: bool,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            desk: Mutex::default(),
            live: OnceLock::new(),
            streams: Arc::new(Semaphore::new(STATS_STREAMS_MAX)),
            boot_ms: now_ms(),
        }
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemClock.unix_ms()).unwrap_or_default()
}

impl Statistics {
    /// From now on models have prices and tiers. Only the first call counts.
    pub fn price_by(&self, live: Arc<Live>) {
        // A second one would be a mistake of the composition, and changes nothing.
        let _ = self.live.set(live);
    }

    /// Counts finished requests.
    pub fn observe_all(&self, records: &[Record]) {
        let now_ms = now_ms();
        let mut desk = self.desk.lock();
        if let Some(live) = self.live.get() {
            desk.follow(live);
        }
        let Desk { stats, yardstick, .. } = &mut *desk;
        for record in records {
            stats.observe(record, yardstick.as_ref(), now_ms);
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.desk.lock().stats.clear();
    }

    /// The body of `GET /api/stats`.
    pub fn report_json(&self, live: &Live, range: Range) -> String {
        self.reported(live, range, |report| report.json())
    }

    fn reported(
        &self,
        live: &Live,
        range: Range,
        write: impl FnOnce(Report<'_>) -> String,
    ) -> String {
        let current = live.load_full();
        let mut desk = self.desk.lock();
        desk.follow(live);
        write(Report {
            stats: &desk.stats,
            catalog: &current.snapshot.catalog,
            yardstick: desk.yardstick.as_ref(),
            range,
            now_ms: now_ms(),
        })
    }

    /// The body of `GET /api/stats/live` (S2-22).
    pub fn live_json(&self) -> String {
        self.desk.lock().stats.live_json()
    }

    /// The right to one more stream; `None` if there are too many.
    pub fn stream(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.streams).try_acquire_owned().ok()
    }

    /// What is new for that reader; `None` if nothing is.
    pub fn news_json(&self, live: &Live, range: Range, seen: &mut Seen) -> Option<String> {
        let (rows, last, missed, total_json, empty) = {
            let stats = &self.desk.lock().stats;
            let rows: Vec<_> = stats.rows_after(seen.seq).cloned().collect();
            let last = stats.last_seq();
            let missed = (last - seen.seq.min(last)).saturating_sub(rows.len() as u64);
            (rows, last, missed, stats.live_json(), stats.since_ms().is_none())
        };
        // Rows that went, too: somebody cleared them.
        let is_new = last != seen.seq || !seen.told || seen.empty != empty;
        // Rates and ranges move even when nothing happens.
        if !is_new && seen.quiet < STATS_QUIET_EVENTS_MAX {
            seen.quiet += 1;
            return None;
        }
        let missed = if seen.told { missed } else { 0 };
        *seen = Seen { seq: last, quiet: 0, told: true, empty };
        debug_assert!(rows.len() <= STATS_ROWS_SHOWN, "an event is of bounded length");
        let rows: Vec<String> = rows.iter().map(|row| row.json()).collect();
        let sums = self.reported(live, range, |report| report.sums_json());
        Some(
            Object::default()
                .raw("boot", &self.boot_ms.to_string())
                .raw("live", &total_json)
                .raw("missed", &missed.to_string())
                .raw("rows", &format!("[{}]", rows.join(",")))
                .raw("stats", &sums)
                .end(),
        )
    }
}

impl Desk {
    /// Takes the dearest model of the configuration in force.
    fn follow(&mut self, live: &Live) {
        let current = live.load();
        if current.snapshot.version != self.version {
            self.version = current.snapshot.version;
            self.yardstick = Yardstick::of(&current.snapshot.catalog);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::source::sample as sources;
    use crate::record::sample;
    use serde_json::Value;

    fn live() -> Arc<Live> {
        Arc::new(Live::new(sources::snapshot("claude")))
    }

    fn read(text: Option<String>) -> Value {
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    #[test]
    fn a_reader_is_told_each_row_once_and_now_and_then_that_there_is_none() {
        let (statistics, live) = (Statistics::default(), live());
        statistics.price_by(Arc::clone(&live));
        let mut seen = Seen::default();
        let mut news = || statistics.news_json(&live, Range::All, &mut seen);
        let first = read(news());
        assert_eq!((&first["rows"], &first["missed"]), (&serde_json::json!([]), &0.into()));
        assert_eq!(news(), None);
        statistics.observe_all(&vec![sample::record(); 60]);
        let second = read(news());
        assert_eq!(second["rows"].as_array().unwrap().len(), STATS_ROWS_SHOWN);
        assert_eq!((&second["missed"], &second["live"]["total"]), (&10.into(), &60.into()));
        assert_eq!(second["stats"]["total_requests"], 60);
        assert!(second["stats"].get("recent_requests").is_none());
        let quiet = std::iter::repeat_with(&mut news).take_while(Option::is_none).count();
        assert_eq!(quiet, STATS_QUIET_EVENTS_MAX as usize);
        statistics.clear();
        assert_eq!(read(news())["stats"]["total_requests"], 0);
    }

    #[test]
    fn streams_are_bounded() {
        let statistics = Statistics::default();
        let all: Vec<_> = std::iter::from_fn(|| statistics.stream()).collect();
        assert_eq!(all.len(), STATS_STREAMS_MAX);
        drop(all);
        assert!(statistics.stream().is_some());
    }

    #[test]
    fn a_report_knows_tiers_and_the_dearest_model() {
        let (statistics, live) = (Statistics::default(), live());
        statistics.observe_all(&[sample::record()]);
        let report = read(Some(statistics.report_json(&live, Range::Last(5))));
        assert_eq!(report["model_tiers"]["claude"], "reasoning");
        assert_eq!(report["recent_requests"][0]["final_model"], "claude");
    }
}
