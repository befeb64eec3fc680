//! The configuration in force, behind one atomic pointer, and the rests of endpoints, which outlive it.
//!
//! Hot path: `load` takes no lock and does not touch a counter that all threads share. A request keeps
//! what it loaded to its end, so a reload disturbs nothing that runs.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use crate::config::current::Current;
use crate::config::snapshot::Snapshot;
use crate::upstream::breaker::Cooldowns;

/// What is in force.
pub struct Live {
    current: ArcSwap<Current>,
    cooldowns: Mutex<Cooldowns>,
    started: Instant,
}

impl Live {
    /// Puts the first configuration in force, as version 1.
    pub fn new(mut snapshot: Snapshot) -> Self {
        snapshot.version = 1;
        let mut cooldowns = Cooldowns::default();
        let endpoints = snapshot.endpoints(&mut cooldowns);
        Self {
            current: ArcSwap::from_pointee(Current {
                snapshot,
                endpoints,
                controls: Arc::default(),
            }),
            cooldowns: Mutex::new(cooldowns),
            started: Instant::now(),
        }
    }

    /// What is in force, for a look that ends soon.
    pub fn load(&self) -> Guard<Arc<Current>> {
        self.current.load()
    }

    /// What is in force, to be kept over an await.
    pub fn load_full(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Puts another configuration in force and gives its version. Rests stay with endpoints that are
    /// in both.
    pub fn replace(&self, mut snapshot: Snapshot) -> u64 {
        // The lock also puts simultaneous calls in order, so that no version is given twice.
        let mut cooldowns = self.cooldowns.lock();
        let version = self.current.load().snapshot.version + 1;
        snapshot.version = version;
        let endpoints = snapshot.endpoints(&mut cooldowns);
        let controls = Arc::clone(&self.current.load().controls);
        self.current.store(Arc::new(Current { snapshot, endpoints, controls }));
        cooldowns.forget_unused(self.now_ms());
        version
    }

    /// The clock of the breakers: milliseconds since the start.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The same clock in microseconds.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Whole seconds since the start.
    pub fn uptime_seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::source::sample;

    #[test]
    fn versions_count_and_old_ones_stay_readable() {
        let live = Live::new(sample::snapshot("one"));
        let old = live.load_full();
        assert_eq!(live.replace(sample::snapshot("two")), 2);
        assert_eq!(live.load().snapshot.version, 2);
        assert_eq!((old.snapshot.version, &*old.snapshot.catalog.models()[0].id), (1, "one"));
    }

    #[test]
    fn a_rest_survives_a_reload() {
        let live = Live::new(sample::snapshot("one"));
        live.load().endpoints.get(0).unwrap().model.report_failure(live.now_ms(), 60_000, None);
        live.replace(sample::snapshot("one"));
        assert!(live.load().endpoints.is_resting(0, live.now_ms()));
    }
}
