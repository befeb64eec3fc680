//! One configuration together with the rests of its endpoints: what a request keeps from its beginning
//! to its end, so that a reload disturbs nothing that runs. Switches that operators turn at run time are
//! beside it, and outlive reloads.

use std::sync::Arc;

use crate::config::controls::Controls;
use crate::config::snapshot::Snapshot;
use crate::routing::strategy::Strategy;
use crate::upstream::breaker::Endpoints;

/// One configuration and the breakers of its models.
#[derive(Debug)]
pub struct Current {
    /// The configuration.
    pub snapshot: Snapshot,
    /// Its breakers, in the order of its catalog.
    pub endpoints: Endpoints,
    /// What operators have switched at run time.
    pub controls: Arc<Controls>,
}

impl Current {
    /// Who chooses for an auto name: as an operator has switched, else as the file says.
    pub fn strategy(&self) -> Strategy {
        let switched = self.controls.strategy().and_then(Strategy::at);
        switched.unwrap_or(self.snapshot.routing.strategy)
    }

    /// Whether results of tools are shortened: as an operator has switched, else as the file says.
    pub fn shortens_tool_results(&self) -> bool {
        let in_file = self.snapshot.mutators.tool_results.enabled;
        self.controls.tool_results().unwrap_or(in_file)
    }
}
