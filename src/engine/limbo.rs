//! Holds of which nobody knows what became of them: which there are, and what they turn out to have cost.
//!
//! Who says so is decided elsewhere: an administrator, or the provider that `lookup` asks.

use crate::base::money::NanoUsd;
use crate::engine::bookkeeper::Bookkeeper;
use crate::ledger::entry::{HoldId, Reason};
use crate::ledger::saved::OpenHold;

impl Bookkeeper {
    /// Holds in limbo, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn limbo(&self, max: usize) -> Result<Vec<OpenHold>, String> {
        self.ask(move |store, _| store.limbo(max)).await
    }

    /// Holds in limbo that their providers have named, made at `since_ms` or later; the newest.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn named(&self, since_ms: i64, max: usize) -> Result<Vec<OpenHold>, String> {
        self.ask(move |store, _| store.named(since_ms, max)).await
    }

    /// Books what a hold in limbo turns out to have cost, and says by how much that changes what is spent.
    /// `None` if there is no such hold.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn correct(
        &self,
        hold: HoldId,
        actual: NanoUsd,
        reason: Reason,
    ) -> Result<Option<NanoUsd>, String> {
        let found = self.ask(move |store, _| store.hold(hold)).await?;
        let Some(open) = found.filter(|open| open.limbo) else { return Ok(None) };
        if actual.0 > open.made.held {
            self.desk.metrics.money.bound_violated();
            tracing::error!(
                hold = hold.0,
                cost = actual.0,
                "an attempt cost more than the worst case that was held; the account is frozen"
            );
        }
        let corrected = self.change(|book, at_ms| {
            let entries = book.correct(&open, actual, reason, at_ms);
            let change = entries.iter().map(|entry| entry.spent).sum();
            ((!entries.is_empty()).then_some(NanoUsd(change)), entries)
        });
        corrected.await
    }
}
