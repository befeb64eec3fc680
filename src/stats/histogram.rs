//! A histogram of times with fixed cells: eight to each doubling, so that a percentile is right to some six
//! per cent whatever the times are, and two histograms can be added.
//!
//! No floats, no allocation: 192 counters.

/// Cells to each doubling, as a power of two.
const SUB_BITS: u32 = 3;
/// Cells to each doubling.
const SUBS: usize = 1 << SUB_BITS;
/// Everything below 2^7 microseconds lies in the first cells.
const FIRST_BIT: u32 = 7;
/// Doublings that are told apart: from 128 microseconds to 36 minutes.
const DOUBLINGS: usize = 24;
/// All cells.
const CELLS: usize = DOUBLINGS * SUBS;

/// The seed's buckets, by their upper bounds in milliseconds; the last has none.
pub const BUCKETS: [(&str, u64); 6] = [
    ("lt100", 100),
    ("lt500", 500),
    ("lt1000", 1_000),
    ("lt3000", 3_000),
    ("lt10000", 10_000),
    ("gt10000", u64::MAX),
];

/// Counts of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    cells: [u32; CELLS],
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { cells: [0; CELLS], buckets: [0; BUCKETS.len()], count: 0, sum_us: 0 }
    }
}

impl Histogram {
    /// Counts one time, in microseconds.
    pub fn add(&mut self, us: u64) {
        let cell = &mut self.cells[cell_of(us)];
        *cell = cell.saturating_add(1);
        let bucket = BUCKETS.iter().position(|(_, below)| us / 1_000 < *below);
        self.buckets[bucket.unwrap_or(BUCKETS.len() - 1)] += 1;
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// Counts everything that another one has counted.
    pub fn merge(&mut self, other: &Self) {
        for (own, more) in self.cells.iter_mut().zip(&other.cells) {
            *own = own.saturating_add(*more);
        }
        for (own, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += more;
        }
        self.count += other.count;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// How many times lie in each of `BUCKETS`; exact.
    pub fn buckets(&self) -> impl Iterator<Item = (&'static str, u64)> {
        BUCKETS.iter().zip(self.buckets).map(|((name, _), count)| (*name, count))
    }

    /// The mean, in microseconds; exact. 0 if nothing was counted.
    pub fn mean_us(&self) -> u64 {
        self.sum_us.checked_div(self.count).unwrap_or(0)
    }

    /// The time that so many of a thousand lie at or below, in microseconds; 0 if nothing was counted.
    pub fn permille_us(&self, permille: u64) -> u64 {
        let wanted = (u128::from(self.count) * u128::from(permille)).div_ceil(1_000);
        let wanted = u64::try_from(wanted).unwrap_or(u64::MAX).max(1);
        let mut below = 0;
        for (at, count) in self.cells.iter().map(|count| u64::from(*count)).enumerate() {
            if count > 0 && below + count >= wanted {
                let (from, to) = bounds(at);
                // As if the times of a cell were spread evenly over it.
                return from + (to - from).saturating_mul(wanted - below) / count;
            }
            below += count;
        }
        0
    }

    /// The cells that are not empty, a quarter of a doubling each: the upper bound in microseconds, and how
    /// many times lie between it and the one before.
    pub fn outline(&self) -> impl Iterator<Item = (u64, u64)> {
        self.cells.chunks(2).enumerate().filter_map(|(at, pair)| {
            let count: u64 = pair.iter().map(|count| u64::from(*count)).sum();
            (count > 0).then(|| (bounds(at * 2 + 1).1, count))
        })
    }
}

/// Where a time is counted.
fn cell_of(us: u64) -> usize {
    let Some(high) = us.checked_ilog2().filter(|high| *high >= FIRST_BIT) else {
        // The first doubling has room for all shorter times: its lowest cell.
        return 0;
    };
    let sub = (us >> (high - SUB_BITS)) & (SUBS as u64 - 1);
    let cell = (high - FIRST_BIT) as usize * SUBS + usize::try_from(sub).unwrap_or(0);
    cell.min(CELLS - 1)
}

/// From where to where a cell reaches, in microseconds.
fn bounds(cell: usize) -> (u64, u64) {
    let doubling = u32::try_from(cell / SUBS).unwrap_or(0) + FIRST_BIT;
    let (sub, width) = ((cell % SUBS) as u64, 1_u64 << (doubling - SUB_BITS));
    let from = (1_u64 << doubling) + sub * width;
    let to = from + width;
    (if cell == 0 { 0 } else { from }, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(times: &[u64]) -> Histogram {
        let mut counted = Histogram::default();
        for us in times {
            counted.add(*us);
        }
        counted
    }

    #[test]
    fn the_seeds_buckets_are_exact() {
        let mut times = Histogram::default();
        for ms in [0, 99, 100, 499, 500, 999, 1_000, 2_999, 3_000, 9_999, 10_000, 1_000_000] {
            times.add(ms * 1_000 + 999);
        }
        let counts: Vec<u64> = times.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [2; 6]);
        assert_eq!(times.outline().map(|(_, count)| count).sum::<u64>(), 12);
    }

    #[test]
    fn nothing_counted_is_nothing_shown() {
        let empty = Histogram::default();
        assert_eq!((empty.permille_us(500), empty.mean_us(), empty.outline().count()), (0, 0, 0));
    }

    #[test]
    fn the_longest_times_have_a_cell() {
        let mut times = Histogram::default();
        times.add(u64::MAX);
        times.add(0);
        assert!(times.permille_us(990) > 1_000_000_000);
        assert!(times.permille_us(1) <= 1 << (FIRST_BIT + 1));
    }

    proptest! {
        #[test]
        fn percentiles_are_right_to_an_eighth(
            mut times in prop::collection::vec(128_u64..2_000_000_000, 1..300),
            permille in 1_u64..1000,
        ) {
            let counted = of(&times);
            times.sort_unstable();
            let rank = usize::try_from((times.len() as u64 * permille).div_ceil(1_000)).unwrap();
            let exact = times[rank.max(1) - 1];
            prop_assert!(counted.permille_us(permille).abs_diff(exact) <= exact / 8 + 1);
        }

        #[test]
        fn two_added_are_as_one(
            left in prop::collection::vec(any::<u64>(), 0..50),
            right in prop::collection::vec(any::<u64>(), 0..50),
        ) {
            let mut sum = of(&left);
            sum.merge(&of(&right));
            prop_assert_eq!(sum, of(&[left, right].concat()));
        }
    }
}
