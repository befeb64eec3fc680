//! Where a budget is heading: when it will be exhausted, and what will be spent by the end of its period.
//!
//! The near future is taken to go on at the recent pace, what comes after it at the period's average; a burst
//! then tells at once without being taken for a month. All in integers, and time is a parameter. Nothing is spent
//! or refused here.

use crate::base::money::NanoUsd;

/// After so long, what was spent counts half.
const HALF_LIFE_MS: u64 = 30 * 60 * 1_000;
/// So long the recent pace is taken to last.
const HORIZON_MS: u64 = 2 * HALF_LIFE_MS;
/// What is seen of shorter times than this is taken as if it had taken as long: one request is no pace.
const SEEN_MS_MIN: u64 = 10 * 60 * 1_000;
/// One, in the fractions that fade.
const ONE: u128 = 1 << 32;
/// Halves after which nothing is left.
const HALVES_MAX: u64 = 63;
/// The terms of 2^-x up to the fifth power, the last first, in parts of `ONE`.
const SERIES: [u128; 6] = [5_726_777, 41_309_550, 238_388_332, 1_031_764_991, 2_977_044_472, ONE];
/// Milliseconds of an hour.
const HOUR_MS: u128 = 3_600_000;
/// Half a life, as the time that all that fades by halves adds up to: the half-life divided by ln 2.
const MEAN_LIFE_MS: u128 = 2_596_853;
/// One whole in parts per million.
const WHOLE_PPM: i128 = 1_000_000;

/// How fast an account spends, with what is long ago fading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Nano-dollars, faded, as of `at_ms`.
    faded: u64,
    /// The latest instant that something was noted at.
    at_ms: u64,
    /// The first one.
    since_ms: u64,
}

/// An account in its present period; amounts in nano-dollars, instants in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// Spent and held.
    pub spent: i64,
    /// Most that may be spent; `None` = not limited.
    pub limit: Option<i64>,
    /// When the period began.
    pub start_ms: i64,
    /// When it ends; `i64::MAX` if never.
    pub end_ms: i64,
}

/// Where it is heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// What is spent in an hour at present.
    pub hourly: NanoUsd,
    /// Spent by the end of the period; `None` where it has no end.
    pub projected: Option<NanoUsd>,
    /// Milliseconds until the limit is reached: 0 = it is; `None` = not within the period, or there is no limit.
    pub exhausted_in_ms: Option<u64>,
}

impl Pace {
    /// Notes what was spent at `now_ms`. A clock that was set back fades nothing.
    pub fn spent(&mut self, amount: NanoUsd, now_ms: u64) {
        if self.at_ms == 0 {
            self.since_ms = now_ms;
        }
        let kept = self.at(now_ms);
        self.at_ms = self.at_ms.max(now_ms);
        self.faded = kept.saturating_add(u64::try_from(amount.0).unwrap_or(0));
    }

    /// What is left of it at `now_ms`.
    fn at(&self, now_ms: u64) -> u64 {
        let left = u128::from(self.faded) * fading(now_ms.saturating_sub(self.at_ms)) / ONE;
        u64::try_from(left).unwrap_or(u64::MAX)
    }

    /// Nano-dollars in an hour, as of `now_ms`; `None` before anything was spent.
    fn hourly(&self, now_ms: u64) -> Option<u128> {
        if self.at_ms == 0 {
            return None;
        }
        let seen_ms = now_ms.saturating_sub(self.since_ms).max(SEEN_MS_MIN);
        // Of an even pace this much has not faded.
        let weight_ms = MEAN_LIFE_MS * (ONE - fading(seen_ms)) / ONE;
        Some(u128::from(self.at(now_ms)) * HOUR_MS / weight_ms.max(1))
    }
}

/// Two to the power of minus the half-lives in that time, in parts of `ONE`: halvings by shifts, and the first terms
/// of the series in between, so exact that many small steps come to what one large step does.
fn fading(passed_ms: u64) -> u128 {
    let halves = (passed_ms / HALF_LIFE_MS).min(HALVES_MAX);
    let part = u128::from(passed_ms % HALF_LIFE_MS) * ONE / u128::from(HALF_LIFE_MS);
    let term = |rest: u128, factor: u128| factor - part * rest / ONE;
    SERIES.into_iter().fold(0, term) >> halves
}

/// Looks ahead from `now_ms`. Without a pace of its own an account goes on as the period has been.
pub fn look(course: &Course, pace: Option<&Pace>, now_ms: i64) -> Forecast {
    let now = u64::try_from(now_ms).unwrap_or_default();
    let passed_ms = u64::try_from(now_ms.saturating_sub(course.start_ms)).unwrap_or_default();
    let has_end = course.end_ms != i64::MAX;
    let spent = u128::try_from(course.spent).unwrap_or_default();
    // A period without an end has no beginning to reckon an average from.
    let average = has_end.then(|| spent * HOUR_MS / u128::from(passed_ms.max(SEEN_MS_MIN)));
    let recent = pace.and_then(|pace| pace.hourly(now)).or(average).unwrap_or(0);
    let ahead = Ahead { recent, later: average.unwrap_or(recent) };
    let left_ms = u64::try_from(course.end_ms.saturating_sub(now_ms)).unwrap_or_default();
    let projected = has_end.then(|| {
        let more = i128::try_from(ahead.within(left_ms)).unwrap_or(i128::MAX);
        nano(i128::from(course.spent).saturating_add(more))
    });
    let room = course.limit.map(|limit| i128::from(limit) - i128::from(course.spent));
    let exhausted_in_ms = room.and_then(|room| match u128::try_from(room) {
        Ok(room) if room > 0 => ahead.until(room).filter(|&ms| !has_end || ms < left_ms),
        _ => Some(0),
    });
    Forecast {
        hourly: nano(i128::try_from(recent).unwrap_or(i128::MAX)),
        projected,
        exhausted_in_ms,
    }
}

/// What a choice of tiers should take for the rest of a budget: the rest itself where it lasts to the end of the
/// period at the pace that is foreseen; of a rest that is foreseen to last for half of what is needed, half.
pub fn dependable(course: &Course, forecast: &Forecast) -> Option<NanoUsd> {
    let rest = i128::from(course.limit?) - i128::from(course.spent);
    let Some(projected) = forecast.projected else { return Some(nano(rest)) };
    let needed = i128::from(projected.0) - i128::from(course.spent);
    if rest <= 0 || needed <= rest {
        return Some(nano(rest));
    }
    let share = rest * WHOLE_PPM / needed;
    Some(nano(rest * share / WHOLE_PPM))
}

/// Nano-dollars in an hour: at first, and later.
struct Ahead {
    recent: u128,
    later: u128,
}

impl Ahead {
    /// What is spent within that time.
    fn within(&self, ms: u64) -> u128 {
        let near = ms.min(HORIZON_MS);
        let far = ms - near;
        (self.recent.saturating_mul(u128::from(near)))
            .saturating_add(self.later.saturating_mul(u128::from(far)))
            / HOUR_MS
    }

    /// The time until so much is spent; `None` = never.
    fn until(&self, amount: u128) -> Option<u64> {
        let near = self.within(HORIZON_MS);
        let (base, amount, pace) = if amount <= near {
            (0, amount, self.recent)
        } else {
            (HORIZON_MS, amount - near, self.later)
        };
        let ms = amount.saturating_mul(HOUR_MS).checked_div(pace)?;
        Some(base.saturating_add(u64::try_from(ms).unwrap_or(u64::MAX)))
    }
}

fn nano(amount: i128) -> NanoUsd {
    NanoUsd(i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::dice::Dice;

    const HOUR: u64 = 3_600_000;
    const DAY: i64 = 86_400_000;
    /// Some midnight.
    const START: i64 = 20_000 * DAY;

    fn course(spent: i64, limit: i64) -> Course {
        Course { spent, limit: Some(limit), start_ms: START, end_ms: START + DAY }
    }

    fn at(hour: u64) -> u64 {
        START.unsigned_abs() + hour * HOUR
    }

    /// A pace of so much a minute, from one hour to another.
    fn even(per_minute: i64, from: u64, to: u64) -> Pace {
        let mut pace = Pace::default();
        let minutes = (at(from)..at(to)).step_by(60_000);
        minutes.for_each(|now| pace.spent(NanoUsd(per_minute), now));
        pace
    }

    #[test]
    fn an_even_pace_is_foreseen_to_the_end() {
        let pace = even(1_000, 0, 6);
        let found = look(&course(360_000, 1_000_000), Some(&pace), at(6).cast_signed());
        let near = |found: i64, wanted: i64| (found - wanted).abs() * 100 <= wanted * 8;
        assert!(near(found.hourly.0, 60_000), "{found:?}");
        assert!(near(found.projected.unwrap().0, 1_440_000), "{found:?}");
        let hours = found.exhausted_in_ms.unwrap().cast_signed() * 100 / HOUR.cast_signed();
        assert!(near(hours, 1_066), "{found:?}");
        let enough = look(&course(360_000, 2_000_000), Some(&pace), at(6).cast_signed());
        assert_eq!(enough.exhausted_in_ms, None);
        let over = look(&course(360_000, 300_000), Some(&pace), at(6).cast_signed());
        assert_eq!(over.exhausted_in_ms, Some(0));
    }

    #[test]
    fn a_burst_tells_and_fades() {
        let mut pace = even(100, 0, 10);
        let now = at(10).cast_signed();
        let calm = look(&course(60_000, 1_000_000), Some(&pace), now);
        assert_eq!(calm.exhausted_in_ms, None);
        pace.spent(NanoUsd(800_000), at(10));
        let burst = look(&course(860_000, 1_000_000), Some(&pace), now);
        assert!(burst.exhausted_in_ms.is_some_and(|ms| ms < HOUR), "{burst:?}");
        let later = look(&course(860_000, 1_000_000), Some(&pace), at(18).cast_signed());
        assert!(later.hourly.0 < 60, "{later:?}");
    }

    #[test]
    fn one_request_is_no_pace_and_nothing_is_none() {
        let mut pace = Pace::default();
        pace.spent(NanoUsd(1_000), at(0));
        let found = look(&course(1_000, 1_000_000), Some(&pace), at(0).cast_signed());
        assert!(found.hourly.0 <= 6_800, "ten minutes of it at least: {found:?}");
        let none = look(&course(0, 1_000), None, at(5).cast_signed());
        assert_eq!((none.hourly, none.projected), (NanoUsd(0), Some(NanoUsd(0))));
        assert_eq!(none.exhausted_in_ms, None);
        let average = look(&course(5_000, 1_000_000), None, at(5).cast_signed());
        assert_eq!(average.projected, Some(NanoUsd(24_000)));
        let endless = Course { end_ms: i64::MAX, ..course(5_000, 10_000) };
        let found = look(&endless, Some(&even(10, 0, 2)), at(2).cast_signed());
        assert!(found.projected.is_none() && found.exhausted_in_ms.is_some());
    }

    #[test]
    fn what_lasts_may_be_used_and_what_does_not_counts_less() {
        let with = |projected| Forecast {
            hourly: NanoUsd(0),
            projected: Some(NanoUsd(projected)),
            exhausted_in_ms: None,
        };
        let half = course(500, 1_000);
        assert_eq!(dependable(&half, &with(1_000)), Some(NanoUsd(500)));
        assert_eq!(dependable(&half, &with(1_500)), Some(NanoUsd(250)));
        assert_eq!(dependable(&course(1_100, 1_000), &with(9_999)), Some(NanoUsd(-100)));
        assert_eq!(dependable(&Course { limit: None, ..half }, &with(0)), None);
    }

    /// Prices of the three tiers, of which 50 %, 20 % and nothing have to be left.
    const TIERS: [(i64, i64); 3] = [(500_000, 100), (200_000, 30), (0, 6)];

    /// How a day of requests ends: the minute in which nothing was left, or 1,440; by thresholds of the plain rest,
    /// or of what can be depended on.
    fn day(seed: u64, limit: i64, by_forecast: bool) -> usize {
        let mut dice = Dice::new(seed);
        let (busy, calm) = (1 + dice.up_to(5), dice.up_to(2));
        let (begin, end) = (dice.below(12) * 60, 720 + dice.below(12) * 60);
        let (mut spent, mut pace) = (0, Pace::default());
        for minute in 0..1_440_usize {
            let now = START + i64::try_from(minute).unwrap() * 60_000;
            let works = (begin..end).contains(&minute);
            for _ in 0..dice.up_to(if works { busy } else { calm }) {
                let here = course(spent, limit);
                let forecast = look(&here, Some(&pace), now);
                let plain = Some(NanoUsd(limit - spent));
                let left = if by_forecast { dependable(&here, &forecast) } else { plain };
                let share = left.map_or(0, |left| left.0 * 1_000_000 / limit);
                let tier = TIERS.iter().find(|(least, _)| share >= *least);
                let cost = tier.map_or(6, |(_, cost)| *cost);
                if spent + cost > limit {
                    return minute;
                }
                spent += cost;
                pace.spent(NanoUsd(cost), now.unsigned_abs());
            }
        }
        1_440
    }

    #[test]
    fn tiers_by_forecast_run_dry_on_fewer_days() {
        let (mut plain, mut early, mut sooner) = (0, 0, 0);
        for seed in 0..120 {
            let limit = 15_000 + i64::try_from(seed % 8).unwrap() * 5_000;
            let (by_plain, by_forecast) = (day(seed, limit, false), day(seed, limit, true));
            plain += u32::from(by_plain < 1_440);
            early += u32::from(by_forecast < 1_440);
            sooner += u32::from(by_forecast < by_plain);
        }
        assert_eq!(sooner, 0, "never earlier than by plain thresholds");
        assert!(plain >= 10 && early * 2 <= plain, "{early} days instead of {plain}");
    }

    proptest! {
        #[test]
        fn no_numbers_break_it(
            spent in any::<i64>(), limit in any::<i64>(), start in any::<i64>(), end in any::<i64>(),
            now in any::<i64>(), amounts in proptest::collection::vec((any::<i64>(), any::<u64>()), 0..9),
        ) {
            let mut pace = Pace::default();
            for (amount, at) in amounts {
                pace.spent(NanoUsd(amount), at);
            }
            let course = Course { spent, limit: Some(limit), start_ms: start, end_ms: end };
            let found = look(&course, Some(&pace), now);
            prop_assert!(dependable(&course, &found).is_some());
            prop_assert!(found.hourly.0 >= 0);
        }
    }
}
