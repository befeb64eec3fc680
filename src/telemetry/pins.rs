//! The metrics of pinned sessions.

use prometheus::{Error, IntCounter, IntCounterVec, IntGauge, Registry};

use crate::record::Record;
use crate::telemetry::series::{gauge, one, vec};

/// The metrics of pinned sessions.
pub struct PinCounts {
    active: IntGauge,
    states: IntCounterVec,
    saved: IntCounter,
}

impl PinCounts {
    /// Registers all of them.
    pub(super) fn register(to: &Registry) -> Result<Self, Error> {
        Ok(Self {
            active: gauge(to, "weir_pins_active", "Sessions that are pinned to a model")?,
            states: vec(
                to,
                "weir_pin_states_total",
                "Requests whose session was looked at, by how its pin took part",
                &["state"],
            )?,
            saved: one(
                to,
                "weir_pin_saved_nanodollars_total",
                "What staying with a warm prompt cache has saved, in billionths of a dollar",
            )?,
        })
    }

    /// Sets how many sessions are pinned.
    pub fn show(&self, active: usize) {
        self.active.set(i64::try_from(active).unwrap_or(i64::MAX));
    }

    /// Counts a request.
    pub(super) fn observe(&self, record: &Record) {
        let Some(choice) = record.choice.as_deref().filter(|it| !it.pin_state.is_empty()) else {
            return;
        };
        self.states.with_label_values(&[choice.pin_state]).inc();
        self.saved.inc_by(u64::try_from(choice.pin_saved.0).unwrap_or_default());
    }
}
