//! How long to wait after failures: each time twice as long, up to a bound.
//!
//! No jitter: those who wait by this call once in a while, from one process.

/// A rule of waiting, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait without a failure.
    pub first_ms: u64,
    /// The longest wait; it never shortens the first.
    pub max_ms: u64,
}

impl Backoff {
    /// The wait after so many failures in a row, in milliseconds.
    pub fn after(self, failures: u32) -> u64 {
        let doubled = 1_u64.checked_shl(failures).and_then(|by| self.first_ms.checked_mul(by));
        doubled.map_or(self.max_ms, |wait| wait.min(self.max_ms)).max(self.first_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_bound() {
        let backoff = Backoff { first_ms: 100, max_ms: 1_000 };
        let waits = [0, 1, 2, 3, 4, 63, 64, u32::MAX].map(|failures| backoff.after(failures));
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000, 1_000, 1_000]);
    }

    #[test]
    fn a_long_first_wait_is_never_shortened() {
        let backoff = Backoff { first_ms: 5_000, max_ms: 1_000 };
        assert!([0, 1, 70].iter().all(|failures| backoff.after(*failures) == 5_000));
    }
}
