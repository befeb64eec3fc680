//! Turns by turns: each request with an auto name begins at the next candidate (S4-02).
//!
//! It orders candidates; what a candidate is, and when one rests, the caller knows.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Whose turn it is. One for the process, kept across reloads.
#[derive(Debug, Default)]
pub struct Rotation {
    turn: AtomicUsize,
}

impl Rotation {
    /// The place to begin at among `count` candidates; the next call begins one further.
    pub fn next_start(&self, count: usize) -> usize {
        // Wrapping around at the end of the range disturbs one turn in 2^64.
        self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(count).unwrap_or(0)
    }
}

/// The order to try candidates in: from `start` on and around, those that rest behind the others but
/// not dropped (if all rest, they are tried all the same), at most `attempts_max` of them.
pub fn plan(
    candidates: &[usize],
    start: usize,
    attempts_max: usize,
    is_resting: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let start = start.checked_rem(candidates.len()).unwrap_or(0);
    let (before, from_start) = candidates.split_at(start);
    let (resting, mut order): (Vec<usize>, Vec<usize>) =
        from_start.iter().chain(before).copied().partition(|&candidate| is_resting(candidate));
    order.extend(resting);
    order.truncate(attempts_max);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_request_begins_one_further() {
        let rotation = Rotation::default();
        let turns: Vec<usize> = (0..7).map(|_| rotation.next_start(3)).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(rotation.next_start(0), 0);
    }

    #[test]
    fn the_rest_follows_in_order_and_the_resting_last() {
        let candidates = [10, 11, 12, 13];
        assert_eq!(plan(&candidates, 0, 4, |_| false), [10, 11, 12, 13]);
        assert_eq!(plan(&candidates, 2, 4, |_| false), [12, 13, 10, 11]);
        assert_eq!(plan(&candidates, 2, 4, |c| c == 12), [13, 10, 11, 12]);
        assert_eq!(plan(&candidates, 1, 4, |_| true), [11, 12, 13, 10]);
        assert_eq!(plan(&candidates, 5, 2, |_| false), [11, 12]);
        assert!(plan(&[], 3, 4, |_| false).is_empty());
    }

    proptest! {
        #[test]
        fn nobody_is_lost_or_doubled(count in 0usize..20, start: usize, resting: u32) {
            let candidates: Vec<usize> = (0..count).collect();
            let mut order = plan(&candidates, start, usize::MAX, |c| resting >> c & 1 == 1);
            order.sort_unstable();
            prop_assert_eq!(order, candidates);
        }
    }
}
