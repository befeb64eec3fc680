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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::upstream::breaker::Cooldowns;

    #[test]
    fn the_switch_goes_before_the_file() {
        let shortens = |yaml: &str, switched: Option<bool>| {
            let yaml = format!(
                "providers:\n  p: {{dialect: openai, base_url: 'http://127.0.0.1:9/v1'}}\n\
                 models: [{{id: m, provider: p}}]\n{yaml}"
            );
            let snapshot = config::load(&yaml, "test", &|_| None).unwrap();
            let endpoints = snapshot.endpoints(&mut Cooldowns::default());
            let controls = Arc::new(Controls::default());
            if let Some(on) = switched {
                controls.set_tool_results(on);
            }
            Current { snapshot, endpoints, controls }.shortens_tool_results()
        };
        let on = "mutators: {tool_results: {enabled: true}}\n";
        assert!(shortens(on, None) && !shortens(on, Some(false)));
        let off = "";
        assert!(!shortens(off, None) && shortens(off, Some(true)));
    }
}
