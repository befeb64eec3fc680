//! Takes finished requests in, and gives the sums of any range out.
//!
//! Time is told by whoever calls. It may jump: what was counted is never counted twice, and a minute that
//! seems to lie in the future belongs to every range.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::limit::{STATS_HOURS_MAX, STATS_MINUTES_MAX, STATS_ROWS_MAX, STATS_ROWS_SHOWN};
use crate::record::Record;
use crate::stats::outline::{Curve, Point};
use crate::stats::range::Range;
use crate::stats::row::{self, Row};
use crate::stats::tally::Tally;
use crate::stats::yardstick::Yardstick;
use crate::wire::object::Object;

/// A minute in milliseconds.
pub const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// What the seed shows for a router that nobody knows.
const NO_ROUTER: &str = "\u{2014}";

/// Everything that is kept.
#[derive(Debug, Default)]
pub struct Stats {
    rows: VecDeque<Arc<Row>>,
    /// The number of the last row.
    last_seq: u64,
    /// The busy minutes, by their number since the Unix epoch.
    minutes: VecDeque<(u64, Box<Tally>)>,
    /// The busy hours.
    hours: VecDeque<Point>,
    /// Everything before the last of the minutes.
    before: Tally,
    /// When the first request ended.
    since_ms: Option<u64>,
}

/// The sums of a range.
#[derive(Debug)]
pub struct Summed {
    /// The sums.
    pub tally: Tally,
    /// In how many milliseconds.
    pub span_ms: u64,
}

impl Stats {
    /// Counts a request, if it is one for a model. `now_ms` is in milliseconds since the Unix epoch.
    pub fn observe(&mut self, record: &Record, yardstick: Option<&Yardstick>, now_ms: u64) {
        if !row::counts(record) {
            return;
        }
        let mut row = Row::of(record, yardstick, now_ms);
        self.last_seq += 1;
        row.seq = self.last_seq;
        self.since_ms.get_or_insert(now_ms);
        self.minute(now_ms / MINUTE_MS).add(&row);
        self.hour(&row);
        if self.rows.len() >= STATS_ROWS_MAX {
            self.rows.pop_front();
        }
        self.rows.push_back(Arc::new(row));
    }

    fn minute(&mut self, number: u64) -> &mut Tally {
        // A clock that was set back goes on in the last minute that there is.
        if self.minutes.back().is_none_or(|(last, _)| *last < number) {
            if let Some((_, closed)) = self.minutes.back() {
                self.before.merge(closed);
            }
            let too_old = |first: &(u64, _)| first.0 + STATS_MINUTES_MAX < number;
            while self.minutes.front().is_some_and(too_old) {
                self.minutes.pop_front();
            }
            self.minutes.push_back((number, Box::default()));
        }
        let last = self.minutes.len() - 1;
        &mut self.minutes[last].1
    }

    fn hour(&mut self, row: &Row) {
        let at_ms = row.ended_ms / HOUR_MS * HOUR_MS;
        if self.hours.back().is_none_or(|last| last.at_ms < at_ms) {
            if self.hours.len() >= STATS_HOURS_MAX {
                self.hours.pop_front();
            }
            self.hours.push_back(Point { at_ms, ..Point::default() });
        }
        if let Some(hour) = self.hours.back_mut() {
            hour.plus(&Point::of_row(row));
        }
    }

    /// Forgets everything. Rows go on being numbered where they were.
    pub fn clear(&mut self) {
        *self = Self { last_seq: self.last_seq, ..Self::default() };
    }

    /// The number of the last row; it grows with every request.
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The rows behind that number, the oldest first; of too many the newest.
    pub fn rows_after(&self, seq: u64) -> impl Iterator<Item = &Arc<Row>> {
        let new = usize::try_from(self.last_seq.saturating_sub(seq)).unwrap_or(usize::MAX);
        self.last_rows(new.min(STATS_ROWS_SHOWN))
    }

    fn last_rows(&self, rows: usize) -> impl Iterator<Item = &Arc<Row>> {
        self.rows.iter().skip(self.rows.len().saturating_sub(rows))
    }

    /// The sums of a range.
    pub fn sum(&self, range: Range, now_ms: u64) -> Summed {
        let age_ms = self.since_ms.map_or(0, |since| now_ms.saturating_sub(since));
        match range {
            Range::All => {
                let mut tally = self.before.clone();
                if let Some((_, open)) = self.minutes.back() {
                    tally.merge(open);
                }
                Summed { tally, span_ms: age_ms }
            }
            Range::Minutes(minutes) => {
                let mut tally = Tally::default();
                for (_, minute) in self.of_last(minutes, now_ms) {
                    tally.merge(minute);
                }
                Summed { tally, span_ms: age_ms.min(minutes * MINUTE_MS) }
            }
            Range::Last(rows) => {
                let mut tally = Tally::default();
                for row in self.last_rows(rows) {
                    tally.add(row);
                }
                let (from, to) = self.span_of_rows(rows);
                Summed { tally, span_ms: to.saturating_sub(from) }
            }
        }
    }

    fn of_last(&self, minutes: u64, now_ms: u64) -> impl Iterator<Item = &(u64, Box<Tally>)> {
        let now = now_ms / MINUTE_MS;
        self.minutes.iter().filter(move |(number, _)| number + minutes > now)
    }

    fn span_of_rows(&self, rows: usize) -> (u64, u64) {
        let first = self.last_rows(rows).next().map_or(0, |row| row.ended_ms);
        (first, self.rows.back().map_or(0, |row| row.ended_ms))
    }

    /// How a range went.
    pub fn curve(&self, range: Range, now_ms: u64) -> Curve {
        let Some(since_ms) = self.since_ms else { return Curve::empty() };
        let of_minute =
            |(number, tally): &(u64, Box<Tally>)| Point::of_tally(tally, number * MINUTE_MS);
        match range {
            Range::Last(rows) => {
                let points = self.last_rows(rows).map(|row| Point::of_row(row));
                Curve::of(points, self.span_of_rows(rows), 1_000)
            }
            Range::All if now_ms.saturating_sub(since_ms) > STATS_MINUTES_MAX * MINUTE_MS => {
                let first = self.hours.front().map_or(since_ms, |hour| hour.at_ms);
                Curve::of(self.hours.iter().copied(), (first, now_ms), HOUR_MS)
            }
            Range::All => {
                Curve::of(self.minutes.iter().map(of_minute), (since_ms, now_ms), MINUTE_MS)
            }
            Range::Minutes(minutes) => {
                let from = (now_ms / MINUTE_MS).saturating_sub(minutes - 1) * MINUTE_MS;
                Curve::of(self.of_last(minutes, now_ms).map(of_minute), (from, now_ms), MINUTE_MS)
            }
        }
    }

    /// The strategy that chose last, as S2-21 has it.
    pub fn router(&self) -> &'static str {
        self.rows.iter().rev().find_map(|row| row.strategy()).unwrap_or(NO_ROUTER)
    }

    /// The last rows, the newest first, as a JSON list.
    pub fn recent_json(&self, range: Range) -> String {
        let rows = if let Range::Last(rows) = range { rows } else { STATS_ROWS_SHOWN };
        let recent: Vec<String> =
            self.last_rows(rows.min(STATS_ROWS_SHOWN)).map(|row| row.json()).collect();
        format!("[{}]", recent.into_iter().rev().collect::<Vec<_>>().join(","))
    }

    /// The body of `/api/stats/live` (S2-22).
    pub fn live_json(&self) -> String {
        let recent = self.last_rows(STATS_ROWS_SHOWN);
        let ok = recent.filter(|row| row.is_ok).count();
        let open = self.minutes.back().map_or(0, |(_, minute)| minute.requests);
        Object::default()
            .raw("total", &(self.before.requests + open).to_string())
            .raw("recent_ok", &ok.to_string())
            .raw("recent_total", &self.rows.len().min(STATS_ROWS_SHOWN).to_string())
            .text("router", self.router())
            .raw("seq", &self.last_seq.to_string())
            .end()
    }

    /// When the first request that is counted ended, in milliseconds since the Unix epoch.
    pub const fn since_ms(&self) -> Option<u64> {
        self.since_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::sample;

    const START: u64 = 1_700_000_000_000 / HOUR_MS * HOUR_MS;

    fn sums(stats: &Stats, range: &str, now_ms: u64) -> u64 {
        stats.sum(Range::read(Some(range)), now_ms).tally.requests
    }

    #[test]
    fn ranges_forget_what_is_too_old_and_all_does_not() {
        let mut stats = Stats::default();
        let record = sample::record();
        // One request a minute for two days.
        let end = START + 2 * 1_440 * MINUTE_MS;
        for at in (START..end).step_by(60_000) {
            stats.observe(&record, None, at);
        }
        let now = end - 1;
        let got = ["1h", "6h", "24h", "200", "7", "all"].map(|range| sums(&stats, range, now));
        assert_eq!(got, [60, 360, 1_440, 200, 7, 2_880]);
        assert!(stats.minutes.len() as u64 <= STATS_MINUTES_MAX + 1);
        assert_eq!((stats.hours.len(), stats.rows.len()), (48, STATS_ROWS_MAX));
        assert_eq!(stats.curve(Range::Minutes(60), now).requests(), [1; 60]);
        assert_eq!(stats.curve(Range::All, now).requests(), [60; 48]);
        assert_eq!(stats.curve(Range::Last(3), now).requests().iter().sum::<u64>(), 3);
        let later = now + 90 * MINUTE_MS;
        assert_eq!((sums(&stats, "1h", later), sums(&stats, "6h", later)), (0, 270));
        assert_eq!(stats.sum(Range::All, later).span_ms, later - START);
    }

    #[test]
    fn rows_are_numbered_and_given_once() {
        let mut stats = Stats::default();
        for _ in 0..60 {
            stats.observe(&sample::record(), None, START);
        }
        let numbers = |seq| stats.rows_after(seq).map(|row| row.seq).collect::<Vec<_>>();
        assert_eq!(numbers(57), [58, 59, 60]);
        assert_eq!(numbers(60), [0; 0]);
        assert_eq!((numbers(0).len(), numbers(0)[0]), (STATS_ROWS_SHOWN, 11));
        assert_eq!(numbers(99), [0; 0], "of a process before this one");
        let live: serde_json::Value = serde_json::from_str(&stats.live_json()).unwrap();
        assert_eq!((&live["total"], &live["recent_total"]), (&60.into(), &50.into()));
        assert_eq!((&live["recent_ok"], &live["router"]), (&50.into(), &"rule_based".into()));
    }

    #[test]
    fn a_clock_that_jumps_loses_nothing() {
        let mut stats = Stats::default();
        for at in [START - 99 * HOUR_MS, START, START + 5 * HOUR_MS, START, START + 1] {
            stats.observe(&sample::record(), None, at);
        }
        assert_eq!((sums(&stats, "1h", START), stats.minutes.len()), (4, 2));
        assert_eq!(sums(&stats, "all", START), 5);
        stats.curve(Range::All, 0);
        stats.curve(Range::Minutes(60), 0);
    }

    #[test]
    fn cleared_is_empty_but_numbers_go_on() {
        let mut stats = Stats::default();
        assert_eq!(stats.router(), NO_ROUTER);
        stats.observe(&sample::record(), None, START);
        stats.clear();
        assert_eq!((sums(&stats, "all", START), stats.last_seq()), (0, 1));
        stats.observe(&sample::record(), None, START);
        assert_eq!(stats.rows_after(1).count(), 1);
    }

    #[test]
    fn what_is_no_request_for_a_model_is_not_counted() {
        let mut stats = Stats::default();
        let mut record = sample::record();
        record.attempts.clear();
        stats.observe(&record, None, START);
        assert_eq!((stats.last_seq(), stats.since_ms()), (0, None));
    }
}
