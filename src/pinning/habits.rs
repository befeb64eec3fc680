//! How sessions of an agent usually go on: how many turns they have, and how long they pause between two.
//!
//! Only counts are kept. A session that pauses beyond the soft window begins anew here, and one that still runs
//! is counted as far as it came, so that what is expected is rather too little than too much.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::limit::{HIT_MODELS_MAX, SESSION_TURNS_COUNTED, SESSIONS_LEARNT_MAX};
use crate::pinning::cache::{Rule, WHOLE_PPM};

/// Seconds up to which pauses are counted together; what is longer is in the last place.
const PAUSE_STEPS: [u64; 8] = [60, 120, 180, 300, 450, 600, 1_800, 3_600];

/// Pauses that were not seen, and count as short: agents answer their tools within seconds.
const PRIOR_PAUSES: u32 = 16;

/// Pauses counted before what was learnt of them counts half.
const PAUSES_LEARNT_MAX: u32 = 4_096;

/// Sessions that what is configured counts for, beside those that were seen.
const PRIOR_SESSIONS: u64 = 16;

/// Of so many hits the last one is one part.
const HITS_WEIGHT: u32 = 64;

/// How many sessions came how far.
#[derive(Clone, Debug)]
pub struct Lengths {
    /// At place n, sessions that had at least n + 1 turns.
    reached: [u32; SESSION_TURNS_COUNTED],
}

impl Default for Lengths {
    fn default() -> Self {
        Self { reached: [0; SESSION_TURNS_COUNTED] }
    }
}

impl Lengths {
    /// Counts the turn of that number (from 1) of a session. When very many have been counted, all count half,
    /// so that what was learnt long ago fades.
    pub fn saw(&mut self, turn: u32) {
        let Some(count) = place(turn).and_then(|at| self.reached.get_mut(at)) else { return };
        *count = count.saturating_add(1);
        if *count >= SESSIONS_LEARNT_MAX {
            self.reached.iter_mut().for_each(|count| *count /= 2);
        }
    }

    /// Turns, in thousandths, that are still to come in a session which is at its turn of that number.
    /// `prior` is what an operator expects of any session; it gives way to what was seen.
    pub fn more_milli(&self, turn: u32, prior: u64) -> u64 {
        let prior_milli = prior.saturating_mul(1_000);
        let at = place(turn).unwrap_or(0);
        let (Some(&here), Some(later)) = (self.reached.get(at), self.reached.get(at + 1..)) else {
            return prior_milli;
        };
        let here = u64::from(here);
        let later: u64 = later.iter().map(|&count| u64::from(count).min(here)).sum();
        let seen = later.saturating_mul(1_000);
        seen.saturating_add(prior_milli.saturating_mul(PRIOR_SESSIONS)) / (here + PRIOR_SESSIONS)
    }
}

/// How often sessions paused how long.
#[derive(Clone, Debug)]
pub struct Pauses {
    counts: [u32; PAUSE_STEPS.len() + 1],
    total: u32,
}

impl Default for Pauses {
    fn default() -> Self {
        let mut counts = [0; PAUSE_STEPS.len() + 1];
        counts[0] = PRIOR_PAUSES;
        Self { counts, total: PRIOR_PAUSES }
    }
}

impl Pauses {
    /// Counts a pause.
    pub fn saw(&mut self, pause_ms: u64) {
        let at = PAUSE_STEPS.iter().position(|&most| pause_ms <= most.saturating_mul(1_000));
        if let Some(count) = self.counts.get_mut(at.unwrap_or(PAUSE_STEPS.len())) {
            *count += 1;
            self.total += 1;
        }
        if self.total >= PAUSES_LEARNT_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    /// The probability that a cache of that kind outlives the next pause, in millionths.
    pub fn outlived_ppm(&self, rule: &Rule, is_long: bool) -> u32 {
        let alive = |(&count, &most): (&u32, &u64)| {
            u64::from(count) * u64::from(rule.alive_ppm(most.saturating_mul(1_000), is_long))
        };
        let sum: u64 = self.counts.iter().zip(&PAUSE_STEPS).map(alive).sum();
        u32::try_from(sum / u64::from(self.total.max(1))).unwrap_or(WHOLE_PPM)
    }
}

/// Of each model, the share of expected hits of its cache that came true in all sessions.
#[derive(Clone, Debug, Default)]
pub struct Hits(HashMap<Arc<str>, u32>);

impl Hits {
    /// That of a model, in millionths; `None` before any could be seen.
    pub fn of(&self, model: &str) -> Option<u32> {
        self.0.get(model).copied()
    }

    /// Counts one more of a model; `guess_ppm` is what was thought before the first.
    pub fn saw(&mut self, model: &Arc<str>, hit_ppm: u32, guess_ppm: u32) {
        if self.0.len() >= HIT_MODELS_MAX && !self.0.contains_key(model) {
            return;
        }
        let usual = self.0.entry(Arc::clone(model)).or_insert(guess_ppm);
        *usual = *usual - *usual / HITS_WEIGHT + hit_ppm / HITS_WEIGHT;
    }
}

/// Both, of one agent.
#[derive(Clone, Debug, Default)]
pub struct Habits {
    /// How many turns.
    pub lengths: Lengths,
    /// How long between two.
    pub pauses: Pauses,
}

fn place(turn: u32) -> Option<usize> {
    usize::try_from(turn).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pinning::cache;

    fn learnt(lengths: &[u32]) -> Lengths {
        let mut all = Lengths::default();
        lengths.iter().flat_map(|&length| 1..=length).for_each(|turn| all.saw(turn));
        all
    }

    #[test]
    fn what_was_seen_takes_the_place_of_what_was_expected() {
        let none = Lengths::default();
        assert_eq!((none.more_milli(1, 10), none.more_milli(500, 10)), (10_000, 10_000));
        let all = learnt(&[5; 1_600]);
        assert_eq!(all.more_milli(1, 10), 4_059);
        assert_eq!(all.more_milli(5, 10), 99, "nobody came further");
        assert!(all.more_milli(2, 0) < 3_000 && all.more_milli(2, 0) > 2_900);
    }

    #[test]
    fn who_came_far_goes_on() {
        let mut mixed = vec![1; 900];
        mixed.extend([40; 100]);
        let all = learnt(&mixed);
        assert!(all.more_milli(1, 4) < 5_000 && all.more_milli(2, 4) > 30_000);
    }

    #[test]
    fn a_cache_outlives_the_pauses_that_it_usually_outlives() {
        let (claude, gpt) = (cache::rule("claude-sonnet-5", true), cache::rule("gpt-5.4", false));
        let mut pauses = Pauses::default();
        assert_eq!(pauses.outlived_ppm(&claude, false), WHOLE_PPM);
        (0..16).for_each(|_| pauses.saw(400_000));
        assert_eq!(pauses.outlived_ppm(&claude, false), 500_000);
        assert_eq!(pauses.outlived_ppm(&claude, true), WHOLE_PPM);
        assert_eq!(pauses.outlived_ppm(&gpt, false), 750_000);
        (0..PAUSES_LEARNT_MAX * 3).for_each(|_| pauses.saw(u64::MAX));
        assert!(pauses.total < PAUSES_LEARNT_MAX && pauses.outlived_ppm(&gpt, false) < 10_000);
    }

    #[test]
    fn hits_are_learnt_model_by_model() {
        let (mut hits, model) = (Hits::default(), Arc::from("m"));
        assert_eq!(hits.of("m"), None);
        (0..1_000).for_each(|_| hits.saw(&model, 200_000, WHOLE_PPM));
        assert!(hits.of("m").is_some_and(|ppm| ppm.abs_diff(200_000) < 1_000));
        (0..HIT_MODELS_MAX).for_each(|at| hits.saw(&Arc::from(at.to_string()), 0, 0));
        assert_eq!(hits.0.len(), HIT_MODELS_MAX);
    }

    #[test]
    fn counts_are_bounded_and_fade() {
        let mut all = Lengths::default();
        for _ in 0..=SESSIONS_LEARNT_MAX {
            all.saw(1);
            all.saw(2);
        }
        assert!(all.reached.iter().all(|&count| count < SESSIONS_LEARNT_MAX));
        all.saw(0);
        all.saw(u32::MAX);
    }
}
