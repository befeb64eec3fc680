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
    /// 0 = as in the file, 1 = off, 2 = on.
    thinking: AtomicU8,
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
        said(&self.tool_results)
    }

    /// Switches the compression of tool results on or off.
    pub fn set_tool_results(&self, on: bool) {
        self.tool_results.store(1 + u8::from(on), Ordering::Relaxed);
    }

    /// Whether models are told to think where a strategy asks for it; `None` where the file's word holds.
    pub fn thinking(&self) -> Option<bool> {
        said(&self.thinking)
    }

    /// Lets strategies have models told to think, or not.
    pub fn set_thinking(&self, on: bool) {
        self.thinking.store(1 + u8::from(on), Ordering::Relaxed);
    }
}

/// What a switch says; `None` where the file's word holds.
fn said(switch: &AtomicU8) -> Option<bool> {
    match switch.load(Ordering::Relaxed) {
        AS_IN_FILE => None,
        word => Some(word > 1),
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
        assert_eq!((controls.tool_results(), controls.thinking()), (Some(true), None));
        controls.set_thinking(false);
        assert_eq!((controls.tool_results(), controls.thinking()), (Some(true), Some(false)));
    }
}
