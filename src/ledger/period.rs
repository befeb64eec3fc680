//! Periods: when a budget begins anew, by the calendar of its time zone, as UTC instants.
//!
//! Periods of one cadence and zone tile time: each ends where the next begins, whatever a zone does
//! to its clock. What was spent in them lies in `balance`.

use std::fmt;
use std::sync::Arc;

use jiff::civil::{Date, DateTime, time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};

use crate::ledger::account::Cadence;

/// 1000-01-01T00:00Z. All time before it is one period, so that no instant is beyond the calendar.
const EARLIEST_MS: i64 = -30_610_224_000_000;
/// 9000-01-01T00:00Z. All time from it on is one period.
const LATEST_MS: i64 = 221_845_392_000_000;
const MS_PER_HOUR: i64 = 3_600_000;

/// A time zone in whose calendar periods begin.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: Arc<str>,
    rules: TimeZone,
}

/// The text names no zone of the IANA database that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a time zone of the IANA database (write it like Europe/Berlin or UTC)")]
pub struct UnknownZone;

/// A stretch of time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Its first instant, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// The first instant after it; `i64::MAX` if it never ends.
    pub end_ms: i64,
}

impl Zone {
    /// The zone of UTC.
    pub fn utc() -> Self {
        Self { name: Arc::from("UTC"), rules: TimeZone::UTC }
    }

    /// The zone of that IANA name, from the database that is built in: the same on every machine.
    /// Upper and lower case do not matter; the name is kept as the database writes it.
    pub fn parse(name: &str) -> Result<Self, UnknownZone> {
        let rules = TimeZoneDatabase::bundled().get(name).map_err(|_| UnknownZone)?;
        if rules.is_unknown() {
            return Err(UnknownZone);
        }
        Ok(Self { name: rules.iana_name().unwrap_or(name).into(), rules })
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

impl Span {
    /// All of time, for budgets without periods.
    pub const EVER: Self = Self { start_ms: 0, end_ms: i64::MAX };

    /// Whether it holds that instant.
    pub const fn contains(self, at_ms: i64) -> bool {
        self.start_ms <= at_ms && at_ms < self.end_ms
    }
}

/// The period that holds `at_ms`. `Cadence::None` has one period, `Span::EVER`.
///
/// A day begins at the first instant whose clock shows midnight or later, and lasts 23, 24 or 25 hours
/// as the zone has it. An hour that the clock shows twice is two periods.
pub fn period_at(cadence: Cadence, zone: &Zone, at_ms: i64) -> Span {
    if cadence == Cadence::None {
        return Span::EVER;
    }
    if at_ms < EARLIEST_MS {
        return Span { start_ms: i64::MIN, end_ms: EARLIEST_MS };
    }
    if at_ms >= LATEST_MS {
        return Span { start_ms: LATEST_MS, end_ms: i64::MAX };
    }
    let span = match cadence {
        Cadence::None => Span::EVER,
        Cadence::Hourly => hour_at(&zone.rules, at_ms),
        Cadence::Daily | Cadence::Weekly | Cadence::Monthly => {
            dates_at(cadence, &zone.rules, at_ms)
        }
    };
    Span { start_ms: span.start_ms.max(EARLIEST_MS), end_ms: span.end_ms.min(LATEST_MS) }
}

/// The whole hour of the clock around `at_ms`, cut where the clock was moved.
fn hour_at(rules: &TimeZone, at_ms: i64) -> Span {
    let offset_at = |ms| i64::from(rules.to_offset(instant(ms)).seconds());
    let offset = offset_at(at_ms);
    let start_ms = at_ms - (at_ms + offset * 1_000).rem_euclid(MS_PER_HOUR);
    let end_ms = start_ms + MS_PER_HOUR;
    let moved_before = rules
        .preceding(instant(at_ms + 1))
        .map(|moved| moved.timestamp().as_millisecond())
        .take_while(|moved| *moved > start_ms)
        .find(|moved| offset_at(*moved - 1) != offset);
    let moved_after = rules
        .following(instant(at_ms))
        .map(|moved| moved.timestamp().as_millisecond())
        .take_while(|moved| *moved < end_ms)
        .find(|moved| offset_at(*moved) != offset);
    Span { start_ms: moved_before.unwrap_or(start_ms), end_ms: moved_after.unwrap_or(end_ms) }
}

/// The period of whole days around `at_ms`.
///
/// A period is bounded by instants, not by what the clock shows in it: where the clock falls back over
/// midnight, the hour that it shows again belongs to the day that has begun already.
fn dates_at(cadence: Cadence, rules: &TimeZone, at_ms: i64) -> Span {
    let mut first = first_date(cadence, rules.to_datetime(instant(at_ms)).date());
    let mut start_ms = begin_of(rules, first);
    while start_ms > at_ms {
        first = neighbour(cadence, first, -1);
        start_ms = begin_of(rules, first);
    }
    loop {
        first = neighbour(cadence, first, 1);
        let end_ms = begin_of(rules, first);
        if at_ms < end_ms {
            return Span { start_ms, end_ms };
        }
        start_ms = end_ms;
    }
}

/// The first date of the period that holds `date`.
fn first_date(cadence: Cadence, date: Date) -> Date {
    match cadence {
        Cadence::Weekly => {
            let back = date.weekday().to_monday_zero_offset();
            date.saturating_sub(i64::from(back).days())
        }
        Cadence::Monthly => date.first_of_month(),
        Cadence::None | Cadence::Hourly | Cadence::Daily => date,
    }
}

/// The first date of the period `by` periods later.
fn neighbour(cadence: Cadence, first: Date, by: i64) -> Date {
    first.saturating_add(match cadence {
        Cadence::Weekly => by.weeks(),
        Cadence::Monthly => by.months(),
        Cadence::None | Cadence::Hourly | Cadence::Daily => by.days(),
    })
}

/// The first instant whose clock shows that date's midnight or later.
fn begin_of(rules: &TimeZone, date: Date) -> i64 {
    let midnight = date.to_datetime(time(0, 0, 0, 0));
    match rules.to_ambiguous_timestamp(midnight).offset() {
        AmbiguousOffset::Unambiguous { offset } => at_offset(midnight, offset.seconds()),
        // Shown twice: the first of them.
        AmbiguousOffset::Fold { before, .. } => at_offset(midnight, before.seconds()),
        // Not shown at all: the instant at which the clock was moved over it.
        AmbiguousOffset::Gap { before, after } => {
            let latest = at_offset(midnight, before.seconds());
            rules
                .following(instant(at_offset(midnight, after.seconds())))
                .map(|moved| moved.timestamp().as_millisecond())
                .take_while(|moved| *moved <= latest)
                .find(|moved| rules.to_offset(instant(*moved)) == after)
                .unwrap_or(latest)
        }
    }
}

/// The instant at which a clock that is `offset_s` seconds ahead of UTC shows `shown`.
fn at_offset(shown: DateTime, offset_s: i32) -> i64 {
    let as_utc = TimeZone::UTC.to_ambiguous_timestamp(shown).unambiguous();
    let as_utc_ms = as_utc.map_or(LATEST_MS, Timestamp::as_millisecond);
    as_utc_ms - i64::from(offset_s) * 1_000
}

/// The caller keeps `at_ms` within a day of the bounds above, which the calendar holds with ease.
fn instant(at_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zone(name: &str) -> Zone {
        Zone::parse(name).unwrap()
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    /// The period, as UTC text.
    fn period(cadence: Cadence, name: &str, instant: &str) -> (String, String) {
        let span = period_at(cadence, &zone(name), at(instant));
        let text = |ms| Timestamp::from_millisecond(ms).unwrap().to_string();
        (text(span.start_ms), text(span.end_ms))
    }

    fn is(start: &str, end: &str) -> (String, String) {
        (start.to_owned(), end.to_owned())
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(&**zone("europe/berlin").name(), "Europe/Berlin");
        assert_eq!(Zone::parse("UTC").unwrap().name(), Zone::utc().name());
        for bad in ["", "Mars/Olympus", "Etc/Unknown", "+02:00", "Europe/Berlin ", "../etc/passwd"]
        {
            assert_eq!(Zone::parse(bad), Err(UnknownZone), "{bad:?}");
        }
    }

    #[test]
    fn no_cadence_is_for_ever() {
        for ms in [0, 1, i64::MAX - 1] {
            assert_eq!(period_at(Cadence::None, &Zone::utc(), ms), Span::EVER);
        }
    }

    #[test]
    fn days_follow_the_zone_through_summer_time() {
        let berlin = |instant| period(Cadence::Daily, "Europe/Berlin", instant);
        assert_eq!(
            berlin("2026-03-29T12:00:00Z"),
            is("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            "23 hours"
        );
        assert_eq!(
            berlin("2026-10-25T12:00:00Z"),
            is("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            "25 hours"
        );
        assert_eq!(
            berlin("2026-03-28T22:59:59.999Z"),
            is("2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z")
        );
        assert_eq!(
            period(Cadence::Daily, "Asia/Kathmandu", "2026-01-01T18:14:59Z"),
            is("2025-12-31T18:15:00Z", "2026-01-01T18:15:00Z"),
            "offsets are not whole hours"
        );
    }

    #[test]
    fn a_day_without_midnight_begins_after_the_gap() {
        // Clocks went from 00:00 to 01:00.
        assert_eq!(
            period(Cadence::Daily, "America/Sao_Paulo", "2018-11-04T12:00:00Z"),
            is("2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z")
        );
        // From 23:30 to 00:30: the first instant after the gap shows half past midnight.
        assert_eq!(
            period(Cadence::Daily, "America/Toronto", "1919-03-31T12:00:00Z"),
            is("1919-03-31T04:30:00Z", "1919-04-01T04:00:00Z")
        );
        // 30 December 2011 did not take place.
        assert_eq!(
            period(Cadence::Daily, "Pacific/Apia", "2011-12-30T09:59:59Z"),
            is("2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z")
        );
        assert_eq!(
            period(Cadence::Daily, "Pacific/Apia", "2011-12-30T10:00:00Z"),
            is("2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z")
        );
    }

    #[test]
    fn a_midnight_that_comes_twice_begins_one_day() {
        // At 00:01 the clock went back to 23:01 of the day before.
        let expected = is("2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z");
        for instant in ["2010-11-07T02:30:30Z", "2010-11-07T02:31:00Z", "2010-11-07T03:45:00Z"] {
            assert_eq!(period(Cadence::Daily, "America/St_Johns", instant), expected, "{instant}");
        }
        // At 01:00 back to 00:00.
        assert_eq!(
            period(Cadence::Daily, "America/Havana", "2025-11-02T05:30:00Z"),
            is("2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z")
        );
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        assert_eq!(
            period(Cadence::Weekly, "UTC", "2026-11-22T23:59:59Z"),
            is("2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z")
        );
        assert_eq!(
            period(Cadence::Weekly, "Europe/Berlin", "2026-03-26T00:00:00Z"),
            is("2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z")
        );
        assert_eq!(
            period(Cadence::Monthly, "America/New_York", "2026-03-31T23:00:00Z"),
            is("2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z")
        );
        assert_eq!(
            period(Cadence::Monthly, "UTC", "2024-02-29T12:00:00Z"),
            is("2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z")
        );
    }

    #[test]
    fn an_hour_that_comes_twice_is_two_periods() {
        let berlin = |instant| period(Cadence::Hourly, "Europe/Berlin", instant);
        assert_eq!(
            berlin("2026-10-25T00:30:00Z"),
            is("2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z")
        );
        assert_eq!(
            berlin("2026-10-25T01:30:00Z"),
            is("2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z")
        );
        // Half an hour is repeated: 01:30 to 02:00.
        let howe = |instant| period(Cadence::Hourly, "Australia/Lord_Howe", instant);
        assert_eq!(
            howe("2026-04-04T14:45:00Z"),
            is("2026-04-04T14:00:00Z", "2026-04-04T15:00:00Z")
        );
        assert_eq!(
            howe("2026-04-04T15:10:00Z"),
            is("2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z")
        );
        assert_eq!(
            howe("2026-04-04T15:30:00Z"),
            is("2026-04-04T15:30:00Z", "2026-04-04T16:30:00Z")
        );
        assert_eq!(
            period(Cadence::Hourly, "Asia/Kolkata", "2026-01-01T00:29:59Z"),
            is("2025-12-31T23:30:00Z", "2026-01-01T00:30:00Z")
        );
    }

    fn any_zone() -> impl Strategy<Value = Zone> {
        let names: Vec<String> =
            TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect();
        proptest::sample::select(names)
            .prop_filter_map("a zone with a calendar", |name| Zone::parse(&name).ok())
    }

    fn any_cadence() -> impl Strategy<Value = Cadence> {
        proptest::sample::select(&Cadence::ALL[1..])
    }

    /// From 1850, when zones still had offsets with seconds, to 2100.
    const LIVED: std::ops::Range<i64> = -3_786_825_600_000..4_102_444_800_000;

    fn tiles(cadence: Cadence, zone: &Zone, at_ms: i64) -> Result<(), TestCaseError> {
        let span = period_at(cadence, zone, at_ms);
        prop_assert!(span.contains(at_ms), "{zone:?} {cadence:?} {at_ms} {span:?}");
        prop_assert_eq!(period_at(cadence, zone, span.start_ms), span);
        prop_assert_eq!(period_at(cadence, zone, span.end_ms - 1), span);
        prop_assert_eq!(period_at(cadence, zone, span.end_ms).start_ms, span.end_ms);
        prop_assert_eq!(period_at(cadence, zone, span.start_ms - 1).end_ms, span.start_ms);
        Ok(())
    }

    proptest! {
        #[test]
        fn periods_tile_time(zone in any_zone(), cadence in any_cadence(), at_ms in LIVED) {
            tiles(cadence, &zone, at_ms)?;
        }

        #[test]
        fn periods_tile_time_where_clocks_are_moved(
            zone in any_zone(), cadence in any_cadence(), at_ms in LIVED, near in -90_000_000i64..90_000_000,
        ) {
            let moved = zone.rules.following(instant(at_ms)).next();
            let moved_ms = moved.map_or(at_ms, |moved| moved.timestamp().as_millisecond());
            tiles(cadence, &zone, moved_ms)?;
            tiles(cadence, &zone, moved_ms - 1)?;
            tiles(cadence, &zone, moved_ms + near)?;
        }

        #[test]
        fn no_instant_is_beyond_the_calendar(
            zone in any_zone(), cadence in any_cadence(), at_ms in i64::MIN..i64::MAX,
        ) {
            prop_assert!(period_at(cadence, &zone, at_ms).contains(at_ms));
        }

        #[test]
        fn the_ends_of_the_calendar_tile_as_well(
            zone in any_zone(), cadence in any_cadence(), near in -5_000_000_000i64..5_000_000_000,
        ) {
            for edge in [EARLIEST_MS, LATEST_MS] {
                prop_assert!(period_at(cadence, &zone, edge + near).contains(edge + near));
                prop_assert_eq!(period_at(cadence, &zone, edge).start_ms, edge);
                prop_assert_eq!(period_at(cadence, &zone, edge - 1).end_ms, edge);
            }
        }
    }
}
