//! Which query is held out when: by a hash of its text, so that a text that is there twice is never on both sides, and
//! the same data is split in the same way whatever its order.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;

/// What a text is split by, under `seed`.
pub fn key(text: &str, seed: u64) -> u64 {
    FixedState::with_seed(seed ^ 0x7765_6972).hash_one(text.as_bytes())
}

/// The fold, of `folds`, that a key belongs to.
pub fn of(key: u64, folds: usize) -> usize {
    (((key >> 32) * folds as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_held_out_together_and_folds_are_alike() {
        let texts: Vec<String> = (0..1_000).map(|at| format!("query {}", at / 2)).collect();
        let folds: Vec<usize> = texts.iter().map(|text| of(key(text, 7), 5)).collect();
        assert!(folds.chunks(2).all(|pair| pair[0] == pair[1]));
        for fold in 0..5 {
            let size = folds.iter().filter(|at| **at == fold).count();
            assert!((120..280).contains(&size), "{size}");
        }
    }

    #[test]
    fn another_seed_splits_in_another_way() {
        let moved =
            (0..100).filter(|at| of(key(&at.to_string(), 1), 5) != of(key(&at.to_string(), 2), 5));
        assert!(moved.count() > 50);
    }
}
