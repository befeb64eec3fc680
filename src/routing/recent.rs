//! A small table of the hashes that were seen last, for those who watch for repetition.
//!
//! Hot path: `benches/envelope.rs`. Bounded by `limit::RECENT_HASHES_MAX`: the hash that was seen longest
//! ago in its set gives way. What is kept of a hash, the caller says; time means nothing here.

use crate::base::limit::{RECENT_HASHES_MAX, RECENT_WAYS};

/// How many sets there are. A hash has its place in one of them only, so a look-up compares few hashes.
const SETS: usize = RECENT_HASHES_MAX / RECENT_WAYS;

const _: () = assert!(SETS.is_power_of_two() && SETS * RECENT_WAYS == RECENT_HASHES_MAX);

/// The most recently seen hashes with what is kept of each. Takes no memory before the first hash, and
/// all that it ever takes at that one.
///
/// A hash stays at least until `RECENT_WAYS` others of its set came after it was last seen. Hashes fall
/// into the sets evenly, so one that comes again within a hundred others is nearly never lost.
#[derive(Clone, Debug)]
pub struct Recent<T> {
    sets: Vec<Set<T>>,
    /// How often a hash was seen; the time of this table.
    sights: u64,
}

/// Hashes that share their places. Each part lies together, since most looks are at one part only.
#[derive(Clone, Copy, Debug)]
struct Set<T> {
    hashes: [u64; RECENT_WAYS],
    /// At which sight each was seen last; 0 = the place is free.
    seen: [u64; RECENT_WAYS],
    kept: [T; RECENT_WAYS],
}

impl<T: Copy + Default> Default for Set<T> {
    fn default() -> Self {
        Self { hashes: [0; RECENT_WAYS], seen: [0; RECENT_WAYS], kept: [T::default(); RECENT_WAYS] }
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { sets: Vec::new(), sights: 0 }
    }
}

impl<T: Copy + Default> Recent<T> {
    /// What is kept of that hash, which is now the last one seen; the default for a new one. Never
    /// `None`, since each hash has its set.
    pub fn see(&mut self, hash: u64) -> Option<&mut T> {
        if self.sets.is_empty() {
            self.sets.resize(SETS, Set::default());
        }
        self.sights += 1;
        self.sets.get_mut(set_of(hash))?.see(hash, self.sights)
    }

    /// Forgets all hashes, and keeps the memory.
    pub fn clear(&mut self) {
        self.sets.fill(Set::default());
    }
}

impl<T: Copy + Default> Set<T> {
    fn see(&mut self, hash: u64, sight: u64) -> Option<&mut T> {
        let mut places = self.hashes.iter().zip(&self.seen);
        let known = places.position(|(&known, &seen)| known == hash && seen > 0);
        let at = known.unwrap_or_else(|| self.oldest());
        let kept = self.kept.get_mut(at)?;
        if known.is_none() {
            *self.hashes.get_mut(at)? = hash;
            *kept = T::default();
        }
        *self.seen.get_mut(at)? = sight;
        Some(kept)
    }

    /// A free place, else that of the hash seen longest ago.
    fn oldest(&self) -> usize {
        let places = self.seen.iter().enumerate();
        places.min_by_key(|&(_, &seen)| seen).map_or(0, |(at, _)| at)
    }
}

/// The set of a hash, by its upper half folded on the lower one: no hash that is strong in only one of
/// them fills one set.
fn set_of(hash: u64) -> usize {
    let folded = hash ^ hash >> 32;
    // Below `SETS`, so nothing is cut off.
    usize::try_from(folded % SETS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(recent: &mut Recent<u64>, hash: u64) -> u64 {
        let seen = recent.see(hash).unwrap();
        *seen += 1;
        *seen
    }

    /// The n-th hash of the first set.
    fn neighbour(n: u64) -> u64 {
        n * SETS as u64
    }

    #[test]
    fn nothing_is_lost_within_the_bound() {
        let mut recent = Recent::default();
        for round in 1..=3 {
            for hash in 0..RECENT_HASHES_MAX as u64 {
                assert_eq!(count(&mut recent, hash), round);
            }
        }
        recent.clear();
        assert_eq!(count(&mut recent, 0), 1);
    }

    #[test]
    fn the_hash_seen_longest_ago_gives_way() {
        let mut recent = Recent::default();
        let ways = RECENT_WAYS as u64;
        for n in 0..ways {
            count(&mut recent, neighbour(n));
        }
        assert_eq!(count(&mut recent, neighbour(0)), 2, "seen again, so the second is the oldest");
        count(&mut recent, neighbour(ways));
        assert_eq!(count(&mut recent, neighbour(0)), 3);
        assert_eq!(count(&mut recent, neighbour(1)), 1);
    }

    #[test]
    fn a_hot_hash_stays_while_strangers_pass() {
        let mut recent = Recent::default();
        for round in 0..1_000 {
            assert_eq!(count(&mut recent, neighbour(0)), round + 1);
            for stranger in 1..RECENT_WAYS as u64 {
                count(&mut recent, neighbour(1 + round * 100 + stranger));
            }
        }
        assert_eq!(recent.sets.len(), SETS);
    }

    proptest! {
        #[test]
        fn each_set_is_a_list_by_last_sight(
            hashes in prop::collection::vec(prop_oneof![
                (0..24_u64).prop_map(neighbour), any::<u64>()
            ], 0..400)
        ) {
            let mut recent = Recent::default();
            let mut sets = vec![Vec::<(u64, u64)>::new(); SETS];
            for hash in hashes {
                let set = &mut sets[set_of(hash)];
                let known = set.iter().position(|known| known.0 == hash);
                let (_, seen) = known.map_or((hash, 0), |at| set.remove(at));
                set.insert(0, (hash, seen + 1));
                set.truncate(RECENT_WAYS);
                prop_assert_eq!(count(&mut recent, hash), seen + 1);
            }
        }
    }
}
