//! Pins by session, bounded: the one that was put first goes first, and whoever is too old is gone.
//!
//! One shelf is one shard; who spreads sessions over several, and who may touch them at the same time, is the
//! caller's business.

use std::collections::{HashMap, VecDeque};

use crate::pinning::pin::{Pin, SessionKey};

/// A pin and which of the notes in the queue is its own.
#[derive(Clone, Debug)]
struct Kept {
    pin: Pin,
    note: u64,
}

/// Pins of some sessions.
#[derive(Clone, Debug)]
pub struct Shelf {
    pins: HashMap<SessionKey, Kept>,
    /// Sessions in the order in which they were put, each with the number of its note. A session that was put
    /// again has a younger note; the older one means nothing.
    queue: VecDeque<(u64, SessionKey)>,
    next: u64,
    most: usize,
}

impl Shelf {
    /// An empty shelf for at most so many pins.
    pub fn new(most: usize) -> Self {
        Self { pins: HashMap::new(), queue: VecDeque::new(), next: 0, most: most.max(1) }
    }

    /// The pin of a session, if it was used within `life_ms` before `now_ms`.
    pub fn get(&self, key: SessionKey, now_ms: u64, life_ms: u64) -> Option<&Pin> {
        let kept = self.pins.get(&key)?;
        (!kept.pin.is_older(now_ms, life_ms)).then_some(&kept.pin)
    }

    /// Puts a pin in the place of the session's former one.
    pub fn put(&mut self, key: SessionKey, pin: Pin) {
        self.next += 1;
        let note = self.next;
        self.pins.insert(key, Kept { pin, note });
        self.queue.push_back((note, key));
        if self.queue.len() > self.most.saturating_mul(2) {
            // Half of the notes at least mean nothing; on average this costs each put two looks.
            let pins = &self.pins;
            self.queue.retain(|(note, key)| pins.get(key).is_some_and(|kept| kept.note == *note));
        }
        while self.pins.len() > self.most {
            self.drop_front();
        }
    }

    /// Takes a session's pin away.
    pub fn remove(&mut self, key: SessionKey) {
        self.pins.remove(&key);
    }

    /// Lets go of those that were not used within `life_ms` before `now_ms`, and says how many are left.
    pub fn expire(&mut self, now_ms: u64, life_ms: u64) -> usize {
        while let Some((note, key)) = self.queue.front().copied() {
            let kept = self.pins.get(&key).filter(|kept| kept.note == note);
            if kept.is_some_and(|kept| !kept.pin.is_older(now_ms, life_ms)) {
                break;
            }
            self.drop_front();
        }
        self.pins.len()
    }

    /// The oldest note goes, and with it the pin if it has no younger note.
    fn drop_front(&mut self) {
        let Some((note, key)) = self.queue.pop_front() else { return };
        if self.pins.get(&key).is_some_and(|kept| kept.note == note) {
            self.pins.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pin(used_ms: u64) -> Pin {
        Pin { used_ms, ..Pin::default() }
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut shelf = Shelf::new(2);
        shelf.put(1, pin(1));
        shelf.put(2, pin(2));
        shelf.put(1, pin(3));
        shelf.put(3, pin(4));
        let there = [1, 2, 3].map(|key| shelf.get(key, 4, 100).is_some());
        assert_eq!(there, [true, false, true], "who was used again is young");
    }

    #[test]
    fn a_busy_session_pushes_nobody_out() {
        let mut shelf = Shelf::new(2);
        shelf.put(1, pin(1));
        (0..100).for_each(|_| shelf.put(2, pin(2)));
        assert!(shelf.get(1, 2, 100).is_some() && shelf.queue.len() <= 4);
    }

    #[test]
    fn what_is_too_old_is_gone() {
        let mut shelf = Shelf::new(9);
        shelf.put(1, pin(1_000));
        shelf.put(2, pin(2_000));
        assert!(shelf.get(1, 2_000, 1_000).is_some() && shelf.get(1, 2_001, 1_000).is_none());
        assert_eq!(shelf.expire(2_500, 1_000), 1);
        shelf.remove(2);
        assert_eq!(shelf.expire(2_500, 1_000), 0);
        assert!(shelf.queue.is_empty());
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_the_last_put_is_there(
            steps in proptest::collection::vec((0u128..9, any::<bool>()), 1..200),
        ) {
            let mut shelf = Shelf::new(4);
            for (at, (key, put)) in steps.into_iter().enumerate() {
                if put { shelf.put(key, pin(at as u64)) } else { shelf.remove(key) }
                prop_assert_eq!(shelf.get(key, at as u64, 1_000).is_some(), put);
                prop_assert!(shelf.pins.len() <= 4 && shelf.queue.len() <= 8);
            }
        }
    }
}
