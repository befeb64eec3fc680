//! The pins of all sessions, shared by all requests: looked up before a plan, changed after an answer.
//!
//! Hot path: one lock of one shard, held for a lookup. What pins mean is `pinning`'s business; the store, where
//! they outlive a restart, `pin_keeper`'s.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::base::limit::{PIN_QUEUE_MAX, PIN_SHARDS, PINS_MAX};
use crate::config::current::Current;
use crate::exchange::asked::Asked;
use crate::exchange::pinned::{Leash, Lesson};
use crate::exchange::{route, session};
use crate::pinning::habits::{Habits, Hits};
use crate::pinning::pin::{Pin, SessionKey};
use crate::pinning::shelf::Shelf;
use crate::store::pins::Change;

/// All pins, and what was learnt of sessions.
pub struct Pins {
    shards: Box<[Mutex<Shelf>]>,
    /// By agent; as many as there are agents.
    habits: Mutex<HashMap<Arc<str>, Arc<Habits>>>,
    hits: Mutex<Arc<Hits>>,
    /// Whether changes are left for the store.
    keeps: AtomicBool,
    changes: Mutex<VecDeque<Change>>,
    lost: AtomicU64,
}

impl Default for Pins {
    fn default() -> Self {
        let shard = |_| Mutex::new(Shelf::new(PINS_MAX / PIN_SHARDS));
        Self {
            shards: (0..PIN_SHARDS).map(shard).collect(),
            habits: Mutex::default(),
            hits: Mutex::default(),
            keeps: AtomicBool::new(false),
            changes: Mutex::default(),
            lost: AtomicU64::new(0),
        }
    }
}

impl Pins {
    /// What is known of a request's session; `None` where it does not matter, or is not to be known.
    pub fn leash(&self, current: &Current, asked: &Asked, unix_ms: u64) -> Option<Leash> {
        if !route::concerns_session(current, asked) {
            return None;
        }
        let key = session::key(asked)?;
        let life_ms = current.snapshot.pinning.windows.soft_ms;
        let pin =
            self.shard(key).and_then(|shard| shard.lock().get(key, unix_ms, life_ms).cloned());
        let habits = self.habits.lock().get(&asked.principal.agent.id).cloned();
        let hits = Arc::clone(&self.hits.lock());
        Some(Leash { key, pin, habits: habits.unwrap_or_default(), hits, now_ms: unix_ms })
    }

    /// A session's pin, if it was used within `life_ms` before `unix_ms`.
    pub fn pin(&self, key: SessionKey, unix_ms: u64, life_ms: u64) -> Option<Pin> {
        self.shard(key)?.lock().get(key, unix_ms, life_ms).cloned()
    }

    /// Takes in what an answer to that agent has changed, at `unix_ms`.
    pub fn learn(&self, agent: &Arc<str>, lesson: Lesson, unix_ms: u64) {
        let Lesson { key, pin, pause_ms, hit } = lesson;
        if let Some(pin) = &pin {
            let mut all = self.habits.lock();
            let habits = Arc::make_mut(all.entry(Arc::clone(agent)).or_default());
            habits.lengths.saw(pin.turns);
            if let Some(pause_ms) = pause_ms {
                habits.pauses.saw(pause_ms);
            }
        }
        if let Some((model, hit_ppm, guess_ppm)) = hit {
            Arc::make_mut(&mut self.hits.lock()).saw(&model, hit_ppm, guess_ppm);
        }
        if self.keeps.load(Ordering::Relaxed) {
            self.leave(Change { key, at_ms: unix_ms, pin: pin.clone() });
        }
        self.set(key, pin);
    }

    /// How many sessions are pinned at `unix_ms`, where pins live for `life_ms`; lets go of the others.
    pub fn active(&self, unix_ms: u64, life_ms: u64) -> usize {
        self.shards.iter().map(|shard| shard.lock().expire(unix_ms, life_ms)).sum()
    }

    /// From now on changes are left for the store.
    pub fn keep(&self) {
        self.keeps.store(true, Ordering::Relaxed);
    }

    /// The oldest changes that wait for the store, at most so many.
    pub fn take_changes(&self, most: usize) -> Vec<Change> {
        let mut changes = self.changes.lock();
        let count = changes.len().min(most);
        changes.drain(..count).collect()
    }

    /// Gives back changes that the store did not take; they were the oldest.
    pub fn give_back(&self, batch: Vec<Change>) {
        let mut changes = self.changes.lock();
        for change in batch.into_iter().rev() {
            changes.push_front(change);
        }
        let over = changes.len().saturating_sub(PIN_QUEUE_MAX);
        // The oldest are the first to be outdated.
        changes.drain(..over);
        self.lost.fetch_add(over as u64, Ordering::Relaxed);
    }

    /// Changes that never came into the store, because too many waited.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes over what another process, or this one before, has kept, unless something newer is known.
    pub fn adopt(&self, change: Change) {
        let Some(place) = self.shard(change.key) else { return };
        let mut pins = place.lock();
        let own = pins.get(change.key, change.at_ms, u64::MAX);
        let is_known = match own {
            Some(own) => own.used_ms >= change.at_ms,
            // What it has lost since then, the store may not know yet.
            None => self.waits(change.key, change.at_ms),
        };
        if is_known {
            return;
        }
        match change.pin {
            Some(pin) => pins.put(change.key, pin),
            None => pins.remove(change.key),
        }
    }

    /// Whether a change of that session waits for the store that is no older.
    fn waits(&self, key: SessionKey, at_ms: u64) -> bool {
        self.changes.lock().iter().any(|own| own.key == key && own.at_ms >= at_ms)
    }

    fn leave(&self, change: Change) {
        let mut changes = self.changes.lock();
        changes.push_back(change);
        if changes.len() > PIN_QUEUE_MAX {
            changes.pop_front();
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn set(&self, key: SessionKey, pin: Option<Pin>) {
        let Some(shard) = self.shard(key) else { return };
        match pin {
            Some(pin) => shard.lock().put(key, pin),
            None => shard.lock().remove(key),
        }
    }

    fn shard(&self, key: SessionKey) -> Option<&Mutex<Shelf>> {
        let count = self.shards.len().max(1) as u128;
        self.shards.get(usize::try_from(key % count).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: SessionKey, used_ms: u64) -> Change {
        let pin = Pin { used_ms, turns: 1, ..Pin::default() };
        Change { key, at_ms: used_ms, pin: Some(pin) }
    }

    fn lesson(key: SessionKey, used_ms: u64) -> Lesson {
        Lesson { key, pin: change(key, used_ms).pin, pause_ms: None, hit: None }
    }

    #[test]
    fn the_newer_word_counts_whoever_says_it() {
        let pins = Pins::default();
        pins.adopt(change(1, 100));
        pins.adopt(change(1, 50));
        let used =
            |key| pins.shard(key).unwrap().lock().get(key, 100, 1_000).map(|pin| pin.used_ms);
        assert_eq!(used(1), Some(100));
        pins.adopt(Change { pin: None, ..change(1, 99) });
        assert_eq!(used(1), Some(100), "dropped before it was pinned again");
        pins.adopt(Change { pin: None, ..change(1, 101) });
        assert_eq!(used(1), None);
    }

    #[test]
    fn what_a_session_has_lost_does_not_come_back_from_the_store() {
        let pins = Pins::default();
        pins.keep();
        let agent = Arc::from("a");
        pins.learn(&agent, lesson(1, 100), 100);
        let kept = pins.take_changes(1).remove(0);
        pins.learn(&agent, Lesson { pin: None, ..lesson(1, 0) }, 120);
        pins.adopt(kept);
        assert_eq!(pins.pin(1, 120, 1_000), None, "its removal waits for the store");
        pins.adopt(change(1, 130));
        assert!(pins.pin(1, 130, 1_000).is_some(), "pinned anew by another node");
    }

    #[test]
    fn changes_wait_for_the_store_up_to_a_bound() {
        let pins = Pins::default();
        let agent = Arc::from("a");
        pins.learn(&agent, lesson(0, 1), 1);
        assert!(pins.take_changes(9).is_empty(), "nobody keeps them");
        pins.keep();
        (0..PIN_QUEUE_MAX as u128 + 3).for_each(|key| pins.learn(&agent, lesson(key, 2), 2));
        assert_eq!(pins.lost(), 3);
        let batch = pins.take_changes(2);
        assert_eq!(batch.iter().map(|change| change.key).collect::<Vec<_>>(), [3, 4]);
        pins.give_back(batch);
        assert_eq!(pins.take_changes(1)[0].key, 3);
        assert_eq!(pins.active(2, 1_000), pins.active(2, 1_000));
        assert_eq!(pins.active(2_000, 1_000), 0);
    }
}
