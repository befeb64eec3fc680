//! Signs that an agent runs away: it repeats itself, spends fast, or never ends its session.
//!
//! It only notices; what follows, and what is hashed, the caller decides. Requests that were refused
//! count as well, so an agent that hammers on stays stopped, and one that pauses for a window does not.
//!
//! Windows slide in eight steps: what counts is the current step, however far it has come, and the seven
//! before it. So nothing older than the window is ever counted, and of the window's oldest eighth some
//! may be missing: that is the price of 32 bytes for any number of repetitions. The minute of spend slides in sixty steps of one second in the same way.

use crate::base::limit::CLOCK_BACK_MS_MAX;
use crate::base::money::NanoUsd;
use crate::routing::recent::Recent;

/// Steps in which a window slides.
const STEPS: usize = 8;
/// Steps in which the minute of spend slides.
const SECONDS: usize = 60;

/// When an agent counts as running away; `None` = that is not watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most requests with the same content in one window.
    pub same_request_max: Option<u64>,
    /// Most requests that follow the same tool call in one window.
    pub same_tool_call_max: Option<u64>,
    /// Length of the window, in seconds.
    pub window_seconds: u64,
    /// Most spend in one minute.
    pub spend_per_minute: Option<NanoUsd>,
    /// Most requests in one session.
    pub turns_per_session_max: Option<u64>,
}

/// What a request is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Hash of its content.
    pub request_hash: u64,
    /// Hash of the tool call that it follows.
    pub tool_call_hash: Option<u64>,
    /// Hash of its session.
    pub session_hash: Option<u64>,
}

/// Why an agent counts as running away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sign {
    /// The same request came too often.
    SameRequest,
    /// The same tool call was made too often.
    SameToolCall,
    /// Too much was spent in the last minute.
    SpendVelocity,
    /// The session has too many requests.
    TooManyTurns,
}

impl Sign {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::SameRequest, Self::SameToolCall, Self::SpendVelocity, Self::TooManyTurns];

    /// The name used in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SameRequest => "same_request",
            Self::SameToolCall => "same_tool_call",
            Self::SpendVelocity => "spend_velocity",
            Self::TooManyTurns => "too_many_turns",
        }
    }
}

/// What is remembered of one agent. Its memory is bounded by `limit::RECENT_HASHES_MAX`, taken when a
/// limit that needs it is first looked at, and given back only with the whole tracker.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    requests: Recent<Window>,
    tool_calls: Recent<Window>,
    turns: Recent<u64>,
    spend: Spend,
    /// The latest time seen.
    latest_ms: u64,
    /// The length of the windows counted so far.
    window_seconds: u64,
}

impl Tracker {
    /// Counts a request at `now_ms`, in milliseconds of any clock that grows (see `CLOCK_BACK_MS_MAX` if
    /// it does not), and says whether it is one too many: the first sign in the order of `Sign::ALL`.
    pub fn request(&mut self, limits: &Limits, facts: &Facts, now_ms: u64) -> Option<Sign> {
        let now_ms = self.steady(now_ms);
        if self.window_seconds != limits.window_seconds {
            self.window_seconds = limits.window_seconds;
            self.forget_repetition();
        }
        let step = now_ms / step_ms(limits.window_seconds);
        // All are counted before any is judged, so one sign hides no progress of another.
        let judged = [
            repeats(&mut self.requests, limits.same_request_max, Some(facts.request_hash), step),
            repeats(&mut self.tool_calls, limits.same_tool_call_max, facts.tool_call_hash, step),
            limits.spend_per_minute.is_some_and(|most| self.spend.exceeds(most, now_ms)),
            turns(&mut self.turns, limits.turns_per_session_max, facts.session_hash),
        ];
        Sign::ALL
            .into_iter()
            .zip(judged)
            .find_map(|(sign, is_too_much)| is_too_much.then_some(sign))
    }

    /// Counts what was spent at `now_ms`. A negative amount corrects an earlier one.
    pub fn spent(&mut self, amount: NanoUsd, now_ms: u64) {
        let now_ms = self.steady(now_ms);
        self.spend.add(amount, now_ms);
    }

    /// The time to count by, which never steps back. A short step of the clock is waited out; after a
    /// long one all that was counted by time is forgotten, else it would count until the clock is back.
    fn steady(&mut self, now_ms: u64) -> u64 {
        if self.latest_ms.saturating_sub(now_ms) > CLOCK_BACK_MS_MAX {
            self.forget_repetition();
            self.spend.clear();
            self.latest_ms = now_ms;
        }
        self.latest_ms = self.latest_ms.max(now_ms);
        self.latest_ms
    }

    fn forget_repetition(&mut self) {
        self.requests.clear();
        self.tool_calls.clear();
    }
}

/// Milliseconds of one step of a window.
fn step_ms(window_seconds: u64) -> u64 {
    (window_seconds.saturating_mul(1_000) / STEPS as u64).max(1)
}

/// Counts that hash, and says whether it came more than `most` times within the window.
fn repeats(seen: &mut Recent<Window>, most: Option<u64>, hash: Option<u64>, step: u64) -> bool {
    let (Some(most), Some(hash)) = (most, hash) else { return false };
    seen.see(hash).is_some_and(|window| window.count(step) > most)
}

/// Counts a turn of that session, and says whether it is more than the `most`.
fn turns(seen: &mut Recent<u64>, most: Option<u64>, session: Option<u64>) -> bool {
    let (Some(most), Some(session)) = (most, session) else { return false };
    seen.see(session).is_some_and(|turns| {
        *turns = turns.saturating_add(1);
        *turns > most
    })
}

/// How often one hash came in each step of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// The step counted last.
    step: u64,
    /// Each step in its place modulo their number; all others are zero.
    counts: [u32; STEPS],
}

impl Window {
    /// Counts one more in that step, and returns the count of the window that ends with it.
    fn count(&mut self, step: u64) -> u64 {
        advance(&mut self.counts, self.step, step);
        self.step = step;
        if let Some(count) = self.counts.get_mut(place(step, STEPS)) {
            *count = count.saturating_add(1);
        }
        self.counts.iter().copied().map(u64::from).sum()
    }
}

/// What was spent in each second of the last minute.
#[derive(Clone, Debug, Default)]
struct Spend {
    /// The second counted last.
    second: u64,
    /// Nano-dollars, each second in its place modulo their number; empty until something is spent.
    amounts: Vec<i64>,
}

impl Spend {
    fn add(&mut self, amount: NanoUsd, now_ms: u64) {
        self.amounts.resize(SECONDS, 0);
        let second = self.advance(now_ms);
        if let Some(sum) = self.amounts.get_mut(place(second, SECONDS)) {
            *sum = sum.saturating_add(amount.0);
        }
    }

    fn exceeds(&mut self, most: NanoUsd, now_ms: u64) -> bool {
        self.advance(now_ms);
        let sum: i128 = self.amounts.iter().copied().map(i128::from).sum();
        sum > i128::from(most.0)
    }

    fn advance(&mut self, now_ms: u64) -> u64 {
        let second = now_ms / 1_000;
        advance(&mut self.amounts, self.second, second);
        self.second = second;
        second
    }

    fn clear(&mut self) {
        self.amounts.fill(0);
    }
}

/// Empties the places of the steps after `from` up to `to`; they hold what is a whole round old.
fn advance<T: Copy + Default>(places: &mut [T], from: u64, to: u64) {
    let passed = to.saturating_sub(from);
    if passed >= places.len() as u64 {
        places.fill(T::default());
        return;
    }
    for back in 0..passed {
        let at = place(to - back, places.len());
        if let Some(old) = places.get_mut(at) {
            *old = T::default();
        }
    }
}

/// The place of a step in a ring.
fn place(step: u64, places: usize) -> usize {
    // Below `places`, so nothing is cut off.
    usize::try_from(step % places.max(1) as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: Limits = Limits {
        same_request_max: None,
        same_tool_call_max: None,
        window_seconds: 16,
        spend_per_minute: None,
        turns_per_session_max: None,
    };
    const REQUESTS: Limits = Limits { same_request_max: Some(3), ..NONE };
    const SPEND: Limits = Limits { spend_per_minute: Some(NanoUsd(100)), ..NONE };

    fn facts(request_hash: u64) -> Facts {
        Facts { request_hash, tool_call_hash: None, session_hash: None }
    }

    /// The signs of the same request at those times.
    fn signs(tracker: &mut Tracker, times_ms: &[u64]) -> Vec<bool> {
        let mut sign = |&now_ms: &u64| tracker.request(&REQUESTS, &facts(7), now_ms);
        times_ms.iter().map(|time| sign(time) == Some(Sign::SameRequest)).collect()
    }

    #[test]
    fn more_than_so_many_in_a_window_are_a_sign() {
        let mut tracker = Tracker::default();
        let times = [0, 0, 5_000, 15_999, 16_000, 40_000];
        assert_eq!(
            signs(&mut tracker, &times),
            [false, false, false, true, false, false],
            "the two of the first second have left the window after sixteen"
        );
    }

    #[test]
    fn the_window_slides_by_steps() {
        let mut tracker = Tracker::default();
        let steady: Vec<u64> = (0..50).map(|n| n * 4_000).collect();
        assert!(signs(&mut tracker, &steady[..4]).ends_with(&[true]));
        assert_eq!(signs(&mut tracker, &steady[4..]), [true; 46], "four in any sixteen seconds");
        let mut tracker = Tracker::default();
        let slower: Vec<u64> = (0..50).map(|n| n * 5_400).collect();
        assert_eq!(signs(&mut tracker, &slower), [false; 50]);
    }

    #[test]
    fn growing_histories_repeat_their_tool_call() {
        let limits = Limits { same_tool_call_max: Some(2), same_request_max: Some(2), ..NONE };
        let mut tracker = Tracker::default();
        let mut turn = |n, call| {
            let facts = Facts { tool_call_hash: call, ..facts(n) };
            tracker.request(&limits, &facts, 1_000)
        };
        assert_eq!([turn(1, Some(9)), turn(2, None), turn(3, Some(9))], [None; 3]);
        assert_eq!(turn(4, Some(8)), None);
        assert_eq!(turn(5, Some(9)), Some(Sign::SameToolCall));
        assert_eq!(turn(6, None), None);
    }

    #[test]
    fn the_minute_of_spend_is_exact_to_the_second() {
        let mut tracker = Tracker::default();
        let sign = |tracker: &mut Tracker, now_ms| tracker.request(&SPEND, &facts(0), now_ms);
        assert_eq!(sign(&mut tracker, 0), None);
        tracker.spent(NanoUsd(60), 500);
        tracker.spent(NanoUsd(40), 1_000);
        assert_eq!(sign(&mut tracker, 1_000), None, "the limit itself may be spent");
        tracker.spent(NanoUsd(1), 30_000);
        assert_eq!(sign(&mut tracker, 59_999), Some(Sign::SpendVelocity));
        assert_eq!(sign(&mut tracker, 60_000), None);
        tracker.spent(NanoUsd(i64::MAX), 60_000);
        tracker.spent(NanoUsd(i64::MAX), 60_000);
        assert_eq!(sign(&mut tracker, 60_000), Some(Sign::SpendVelocity));
        assert_eq!(sign(&mut tracker, 120_000), None);
    }

    #[test]
    fn turns_are_counted_by_session() {
        let limits = Limits { turns_per_session_max: Some(2), ..NONE };
        let mut tracker = Tracker::default();
        let mut turn = |session| {
            let facts = Facts { session_hash: session, ..facts(0) };
            tracker.request(&limits, &facts, 0)
        };
        assert_eq!([turn(Some(1)), turn(Some(1)), turn(Some(2)), turn(None)], [None; 4]);
        assert_eq!(turn(Some(1)), Some(Sign::TooManyTurns));
        assert_eq!([turn(Some(2)), turn(None), turn(None)], [None; 3]);
    }

    #[test]
    fn a_sign_hides_no_progress_of_another() {
        let limits = Limits { turns_per_session_max: Some(4), ..REQUESTS };
        let facts = Facts { session_hash: Some(1), ..facts(1) };
        let mut tracker = Tracker::default();
        for _ in 0..5 {
            tracker.request(&limits, &facts, 0);
        }
        let other = Facts { request_hash: 2, ..facts };
        assert_eq!(tracker.request(&limits, &other, 0), Some(Sign::TooManyTurns));
    }

    #[test]
    fn a_short_step_back_is_waited_out_and_a_long_one_starts_anew() {
        let mut tracker = Tracker::default();
        assert_eq!(
            signs(&mut tracker, &[90_000, 90_000, 90_000, 30_000]),
            [false, false, false, true]
        );
        assert_eq!(
            signs(&mut tracker, &[29_999, 29_999, 29_999, 29_999]),
            [false, false, false, true]
        );
        assert_eq!(signs(&mut tracker, &[u64::MAX, 0, u64::MAX, 0]), [false; 4]);
        tracker.spent(NanoUsd(500), u64::MAX);
        assert_eq!(tracker.request(&SPEND, &facts(0), 5), None);
    }

    #[test]
    fn another_window_counts_from_the_start() {
        let mut tracker = Tracker::default();
        assert_eq!(signs(&mut tracker, &[0, 0, 0]), [false; 3]);
        let longer = Limits { window_seconds: 600, ..REQUESTS };
        assert_eq!(tracker.request(&longer, &facts(7), 0), None);
    }

    #[test]
    fn what_is_not_watched_takes_no_memory() {
        let mut tracker = Tracker::default();
        let facts = Facts { request_hash: 1, tool_call_hash: Some(1), session_hash: Some(1) };
        assert_eq!(tracker.request(&NONE, &facts, 0), None);
        assert!(size_of_val(&tracker) <= 256);
        assert_eq!(tracker.spend.amounts.capacity(), 0);
    }

    proptest! {
        #[test]
        fn counts_lie_between_seven_and_eight_steps(
            gaps_ms in prop::collection::vec((0..3_u64, 0..4_000_u64), 1..200),
            most in 0..6_u64,
        ) {
            let limits = Limits { same_request_max: Some(most), ..NONE };
            let mut tracker = Tracker::default();
            let mut seen = Vec::new();
            let mut now_ms = 0;
            for (hash, gap_ms) in gaps_ms {
                now_ms += gap_ms;
                seen.push((hash, now_ms));
                let within = |ms: u64| {
                    let is_in = |&&(h, at): &&(u64, u64)| h == hash && now_ms - at < ms;
                    seen.iter().filter(is_in).count() as u64
                };
                let sign = tracker.request(&limits, &facts(hash), now_ms).is_some();
                prop_assert!(!sign || within(16_000) > most, "never too early");
                prop_assert!(sign || within(14_000) <= most, "late by one step at most");
            }
        }

        #[test]
        fn spend_is_the_sum_of_sixty_seconds(
            steps in prop::collection::vec((0..9_000_u64, -5..50_i64), 1..200)
        ) {
            let mut tracker = Tracker::default();
            let mut book = Vec::new();
            let mut now_ms = 0;
            for (gap_ms, amount) in steps {
                now_ms += gap_ms;
                tracker.spent(NanoUsd(amount), now_ms);
                book.push((now_ms / 1_000, amount));
                let is_in = |(second, _): &&(u64, i64)| now_ms / 1_000 - second < 60;
                let sum: i64 = book.iter().filter(is_in).map(|entry| entry.1).sum();
                let sign = tracker.request(&SPEND, &facts(0), now_ms);
                prop_assert_eq!(sign.is_some(), sum > 100);
            }
        }

        #[test]
        fn no_clock_and_no_limit_breaks_it(
            steps in prop::collection::vec((any::<u64>(), any::<u64>(), any::<i64>()), 0..50)
        ) {
            let mut tracker = Tracker::default();
            for (now_ms, odd, amount) in steps {
                let limits = Limits {
                    same_request_max: Some(odd % 3),
                    same_tool_call_max: Some(0),
                    window_seconds: odd,
                    spend_per_minute: Some(NanoUsd(amount)),
                    turns_per_session_max: Some(u64::MAX),
                };
                let facts =
                    Facts { request_hash: odd, tool_call_hash: None, session_hash: Some(odd) };
                tracker.spent(NanoUsd(amount), now_ms);
                tracker.request(&limits, &facts, now_ms.rotate_left(7));
            }
            prop_assert_eq!(signs(&mut tracker, &[0, 0, 0, 0]).len(), 4);
        }
    }
}
