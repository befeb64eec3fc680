//! One configuration together with the rests of its endpoints: what a request keeps from its beginning
//! to its end, so that a reload disturbs nothing that runs.

use crate::config::snapshot::Snapshot;
use crate::upstream::breaker::Endpoints;

/// One configuration and the breakers of its models.
#[derive(Debug)]
pub struct Current {
    /// The configuration.
    pub snapshot: Snapshot,
    /// Its breakers, in the order of its catalog.
    pub endpoints: Endpoints,
}
