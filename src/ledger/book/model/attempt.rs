//! One request of the model, and what it is to count as.
//!
//! It takes no step by itself; `model` does.

use crate::ledger::entry::HoldId;

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// Has asked for nothing yet, or was refused and may ask again.
    Idle,
    /// The hold is in memory only.
    Asked,
    /// The hold is durable.
    Held,
    Sent,
    /// The gateway knows what it came to.
    Answered,
    Settled,
    /// Nobody here knows what it came to: all of the hold counts as spent.
    Lost,
    Refunded,
    /// It was never sent, and counts as nothing.
    Void,
}

/// One request, with the eyes of somebody who sees everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    pub(super) phase: Phase,
    pub(super) hold: Option<HoldId>,
    /// What was granted, in nano-dollars.
    pub(super) amount: i64,
    /// The provider has it, and bills.
    pub(super) sent: bool,
    /// What the provider has billed so far.
    pub(super) bill: i64,
    /// The provider has said what it came to, and bills no more.
    pub(super) closed: bool,
}

impl Attempt {
    pub(super) const NEW: Self =
        Self { phase: Phase::Idle, hold: None, amount: 0, sent: false, bill: 0, closed: false };

    /// What it is to count as: spent, and held.
    pub(super) const fn worth(&self) -> (i64, i64) {
        match self.phase {
            Phase::Idle | Phase::Void => (0, 0),
            Phase::Asked | Phase::Held | Phase::Sent | Phase::Answered => (0, self.amount),
            Phase::Settled | Phase::Refunded => (self.bill, 0),
            Phase::Lost => (self.amount, 0),
        }
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Settled | Phase::Lost | Phase::Refunded | Phase::Void)
    }
}
