//! Seeded random numbers for tests: fast without optimisation, and the same everywhere.

/// A generator (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// The generator of that seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Up to `bits` bits, small and huge numbers equally likely.
    pub fn any(&mut self, bits: u32) -> u64 {
        let keep = u32::try_from(self.roll() % u64::from(bits + 1)).unwrap();
        if keep == 0 { 0 } else { self.roll() >> (64 - keep) }
    }

    /// From 0 to `end`, without it.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end as u64).unwrap()
    }

    /// From 0 to `most`, with it.
    pub fn up_to(&mut self, most: i64) -> i64 {
        i64::try_from(self.roll() % (most.unsigned_abs() + 1)).unwrap()
    }

    /// In that many percent of all cases.
    pub fn happens(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}
