//! What operators switch at run time: it goes before the file until the process ends, and a reload leaves it
//! as it is.
//!
//! Atomic words, read once per request. Who may switch, and what is written down about it, is the admin
//! API's business.

use std::sync::atomic::{AtomicU8, Ordering};

/// The file's own word holds.
const AS_IN_FILE: u8 = 0;

/// The switches.
#[derive(Debug, Default)]
pub struct Controls {
    /// 0 = as in the file; else 1 more than the strategy's place in `Strategy::ALL`.
    strategy: AtomicU8,
    /// 0 = as in the file, 1 = off, 2 = on.
    tool_results: AtomicU8,
}

impl Controls {
    /// The place in the list of strategies that was switched to; `None` where the file's holds.
    pub fn strategy(&self) -> Option<usize> {
        usize::from(self.strategy.load(Ordering::Relaxed)).checked_sub(1)
    }

    /// Switches to the strategy at that place of the list of all.
    pub fn set_strategy(&self, place: u8) {
        self.strategy.store(place.saturating_add(1), Ordering::Relaxed);
    }

    /// Whether tool results are compressed; `None` where the file's word holds.
    pub fn tool_results(&self) -> Option<bool> {
        match self.tool_results.load(Ordering::Relaxed) {
            AS_IN_FILE => None,
            word => Some(word > 1),
        }
    }

    /// Switches the compression of tool results on or off.
    pub fn set_tool_results(&self, on: bool) {
        self.tool_results.store(1 + u8::from(on), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_switched_is_as_in_the_file() {
        let controls = Controls::default();
        assert_eq!((controls.strategy(), controls.tool_results()), (None, None));
        controls.set_strategy(0);
        controls.set_tool_results(false);
        assert_eq!((controls.strategy(), controls.tool_results()), (Some(0), Some(false)));
        controls.set_tool_results(true);
        assert_eq!(controls.tool_results(), Some(true));
    }
}
