//! Keeps pins in the store, and takes over what other nodes have kept there, on a thread of its own.
//!
//! No request waits for it. A store that fails leaves pins in memory, and is told once; what waits is bounded by
//! `Pins`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::base::limit::{AUDIT_FORGET_PIECES_MAX, AUDIT_PAUSE_MS, PIN_BATCH_MAX, PINS_MAX};
use crate::engine::bookkeeper::Bookkeeper;
use crate::engine::live::Live;
use crate::engine::pins::Pins;
use crate::engine::rounds::{Round, Rounds};
use crate::store::pins::PinStore;
use crate::store::registry::RegistryError;

/// What the thread works with.
pub struct PinKeeper {
    /// The pins.
    pub pins: Arc<Pins>,
    /// Where they are kept.
    pub store: Arc<dyn PinStore>,
    /// The number of the last row that was taken over.
    seen: i64,
    is_failing: bool,
}

impl PinKeeper {
    /// Takes over all pins that are kept, so that the first request finds its own; a store that cannot be read is
    /// told, and tried again later.
    pub fn open(pins: Arc<Pins>, store: Arc<dyn PinStore>) -> Self {
        pins.keep();
        let mut keeper = Self { pins, store, seen: 0, is_failing: false };
        keeper.adopt();
        keeper
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(mut self, live: Arc<Live>, clock: Arc<Bookkeeper>) -> io::Result<Rounds> {
        Rounds::start("weir-pins", move |round| {
            self.keep();
            if round == Round::Usual {
                self.adopt();
                let now_ms = u64::try_from(clock.unix_ms()).unwrap_or_default();
                let life_ms = live.load().snapshot.pinning.windows.soft_ms;
                self.forget(now_ms.saturating_sub(life_ms));
            }
        })
    }

    /// Writes what waits, batch by batch.
    fn keep(&mut self) {
        loop {
            let batch = self.pins.take_changes(PIN_BATCH_MAX);
            if batch.is_empty() {
                return;
            }
            let kept = self.store.keep_pins(&batch);
            if !self.note(kept) {
                return self.pins.give_back(batch);
            }
            pause();
        }
    }

    /// Takes over what was kept since the last look, by whomever.
    fn adopt(&mut self) {
        for _ in 0..=PINS_MAX / PIN_BATCH_MAX {
            match self.store.pins_after(self.seen, PIN_BATCH_MAX) {
                Ok(batch) => {
                    self.seen = batch.last;
                    let rows = batch.rows;
                    batch.changes.into_iter().for_each(|change| self.pins.adopt(change));
                    if rows < PIN_BATCH_MAX {
                        return;
                    }
                }
                Err(error) => {
                    self.note(Err(error));
                    return;
                }
            }
        }
    }

    fn forget(&mut self, before_ms: u64) {
        for _ in 0..AUDIT_FORGET_PIECES_MAX {
            match self.store.forget_pins(before_ms, PIN_BATCH_MAX) {
                Ok(PIN_BATCH_MAX) => pause(),
                Ok(_) => return,
                Err(error) => {
                    self.note(Err(error));
                    return;
                }
            }
        }
    }

    /// Tells a failure once, and again only after the store has worked. Whether it worked.
    fn note(&mut self, done: Result<(), RegistryError>) -> bool {
        if let (Err(error), false) = (&done, self.is_failing) {
            tracing::error!(%error, "pins cannot be kept in the store");
        }
        self.is_failing = done.is_err();
        done.is_ok()
    }
}

/// Leaves the store to the ledger's writer for a moment.
fn pause() {
    let gate = Mutex::new(());
    Condvar::new().wait_for(&mut gate.lock(), Duration::from_millis(AUDIT_PAUSE_MS));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::source::sample::Folder;
    use crate::exchange::pinned::Lesson;
    use crate::pinning::pin::Pin;
    use crate::store::sqlite::registry::SqliteRegistry;

    fn node(folder: &Folder) -> PinKeeper {
        let store = SqliteRegistry::open(&folder.path().join("weir.db")).unwrap();
        PinKeeper::open(Arc::default(), Arc::new(store))
    }

    fn pin(node: &PinKeeper, key: u128, model: &str, at_ms: u64) {
        let pin = Pin { model: Arc::from(model), used_ms: at_ms, turns: 1, ..Pin::default() };
        let lesson = Lesson { key, pin: Some(pin), pause_ms: None, hit: None };
        node.pins.learn(&Arc::from("a"), lesson, at_ms);
    }

    fn model(node: &PinKeeper, key: u128) -> Option<String> {
        node.pins.pin(key, 5_000, 5_000).map(|pin| pin.model.to_string())
    }

    #[test]
    fn pins_outlive_a_restart_and_are_shared_by_nodes() {
        let folder = Folder::new("pins-shared");
        let (mut one, mut two) = (node(&folder), node(&folder));
        pin(&one, 1, "a", 1_000);
        pin(&one, 2, "b", 1_000);
        one.keep();
        two.adopt();
        assert_eq!((model(&two, 1).as_deref(), model(&two, 2).as_deref()), (Some("a"), Some("b")));
        pin(&two, 1, "c", 2_000);
        two.keep();
        pin(&one, 1, "late", 1_500);
        one.keep();
        one.adopt();
        assert_eq!(model(&one, 1).as_deref(), Some("c"), "the newer word counts");
        let gone = Lesson { key: 2, pin: None, pause_ms: None, hit: None };
        one.pins.learn(&Arc::from("a"), gone, 3_000);
        one.keep();
        two.adopt();
        assert_eq!(model(&two, 2), None);
        drop((one, two));
        let mut again = node(&folder);
        assert_eq!((model(&again, 1).as_deref(), model(&again, 2)), (Some("c"), None));
        again.forget(2_500);
        assert_eq!(model(&node(&folder), 1), None);
    }

    #[test]
    fn a_store_that_fails_keeps_changes_waiting() {
        let folder = Folder::new("pins-full");
        let store = Arc::new(SqliteRegistry::open(&folder.path().join("weir.db")).unwrap());
        let mut keeper = PinKeeper::open(Arc::default(), store.clone());
        let pages = store.limit_pages(1);
        (0..2_000).for_each(|key| pin(&keeper, key, &"m".repeat(200), 1_000));
        keeper.keep();
        assert!(keeper.is_failing);
        store.limit_pages(pages + 100_000);
        keeper.keep();
        assert!(!keeper.is_failing && keeper.pins.take_changes(1).is_empty());
        assert!(model(&node(&folder), 1_999).is_some());
    }
}
