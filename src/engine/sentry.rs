//! What the guards remember between requests: verdicts of texts that were screened before, and the secret that
//! canaries are derived from where the configuration names none.
//!
//! Hot path: one short lock for each text of a request that is screened. It judges nothing.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;
use parking_lot::Mutex;

use crate::base::limit::GUARD_KNOWN_MAX;
use crate::config::guards::Guarding;
use crate::guard::screen::{Known, Memory, Short};
use crate::wire::texts::Source;

/// Parts of the memory, each with a lock of its own, so that threads seldom meet.
const SHARDS: usize = 16;

/// The memory of the guards.
pub struct Sentry {
    shards: [Mutex<Known>; SHARDS],
    key: FixedState,
    secret: [u8; 32],
}

impl Sentry {
    /// An empty memory. `seed` must be random: half of it keys the hashes, all of it is the secret of canaries.
    pub fn new(seed: [u8; 32]) -> Self {
        let mut key = [0; 8];
        key.copy_from_slice(&seed[..8]);
        let key = u64::from_le_bytes(key);
        Self {
            shards: std::array::from_fn(|_| Mutex::new(Known::new(GUARD_KNOWN_MAX / SHARDS, key))),
            key: FixedState::with_seed(key),
            secret: seed,
        }
    }

    /// What canaries are derived from.
    pub fn secret<'a>(&'a self, guarding: &'a Guarding) -> &'a [u8] {
        guarding.secret.as_ref().map_or(&self.secret[..], |secret| secret.as_slice())
    }

    /// How many texts are remembered.
    pub fn known(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, hash: u64) -> &Mutex<Known> {
        // The top bits: the maps inside use the low ones.
        &self.shards[(hash >> 60) as usize % SHARDS]
    }
}

impl Memory for &Sentry {
    fn hash(&mut self, text: &[u8], source: Source) -> u64 {
        let mut hasher = self.key.build_hasher();
        hasher.write(text);
        hasher.write_u8(source as u8);
        hasher.finish()
    }

    fn get(&mut self, hash: u64) -> Option<Short> {
        self.shard(hash).lock().get(hash)
    }

    fn put(&mut self, hash: u64, short: Short) {
        self.shard(hash).lock().put(hash, short);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::verdict::Level;

    #[test]
    fn what_was_put_is_found_and_the_sum_is_bounded() {
        let sentry = Sentry::new([7; 32]);
        let mut memory = &sentry;
        let short = Short { level: Level::Suspect, score: 3 };
        let hash = memory.hash(b"text", Source::User);
        memory.put(hash, short);
        assert_eq!((memory.get(hash), memory.get(hash ^ 1 << 63)), (Some(short), None));
        for at in 0..3 * GUARD_KNOWN_MAX as u64 {
            memory.put(at.wrapping_mul(0x9E37_79B9_7F4A_7C15), short);
        }
        assert_eq!(sentry.known(), GUARD_KNOWN_MAX / SHARDS * SHARDS);
    }
}
