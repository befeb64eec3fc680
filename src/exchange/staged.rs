//! What tests of this room begin with: a request as it was asked, a purse, and a configuration with a router in it.
//!
//! Nothing is judged here, and what a test is about stands in the test.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::base::surface::Surface;
use crate::config::problem::Problem;
use crate::config::raw_infer::Infer;
use crate::config::raw_routing::RouterFile;
use crate::config::snapshot::Snapshot;
use crate::config::{Outside, load_with};
use crate::exchange::asked::{self, Asked};
use crate::exchange::purse::Purse;
use crate::guard::verdict::Action;
use crate::identity::agent::{Agent, Mode};
use crate::identity::principal::{Presented, Principal};
use crate::learned::file::{self, About, INPUTS};
use crate::learned::heads::{VECTOR, Weights};
use crate::ledger::account::AccountId;
use crate::ledger::level::Level;

const TABLE: &[u8] = include_bytes!("../../conf/router/embedding.bin");

/// A request of whoever comes without a key.
pub fn asked(snapshot: &Snapshot, surface: Surface, body: &str) -> Asked {
    asked_by(snapshot.gate.identify(&Presented::default()).unwrap(), surface, body)
}

/// A request of an agent `a`, of no configuration.
pub fn asked_by_a(surface: Surface, body: &str) -> Asked {
    let agent = Agent {
        index: 0,
        id: Arc::from("a"),
        mode: Mode::Auto,
        models: None,
        keyed: false,
        may_route: true,
    };
    let agent = Arc::new(agent);
    asked_by(Principal { agent, alias: None, grant: None, client_credential: None }, surface, body)
}

fn asked_by(principal: Principal, surface: Surface, body: &str) -> Asked {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let envelope = asked::scan(surface, &HeaderMap::new(), &body).unwrap();
    Asked::new(surface, principal, "/v1/x".to_owned(), (body, envelope))
}

/// A purse with a limit that nobody is near.
pub fn purse() -> Purse {
    Purse {
        agent: AccountId(1),
        leaf: AccountId(1),
        limited: true,
        strict: true,
        room: None,
        dependable: None,
        last_tier: None,
        level: Level::Normal,
        is_running_away: false,
    }
}

/// A configuration whose file of a router is `router`.
pub fn learned(text: &str, router: &RouterFile) -> Result<Snapshot, Vec<Problem>> {
    let router_file = |_: &std::path::Path| router.clone();
    load_with(text, "test", &Outside { router_file: &router_file, ..Outside::env_alone(&|_| None) })
}

/// A router of the tasks, models and qualities of `weights`, which otherwise tells nothing apart; each task is chosen
/// by what `classifier` says, if it says anything.
pub fn router(weights: Weights) -> Vec<u8> {
    let (tasks, cells) = (weights.tasks.len(), weights.quality.len());
    let classifier = match weights.classifier.len() {
        0 => vec![0.0; (INPUTS + 1) * tasks],
        _ => weights.classifier,
    };
    let weights = Weights {
        offset: vec![0.0; INPUTS],
        scale: vec![1.0; INPUTS],
        classifier,
        centroids: vec![0.0; VECTOR * tasks],
        evidence: vec![9.0; cells],
        tokens: vec![300.0; cells],
        ..weights
    };
    file::write(&weights, &About::default(), TABLE).unwrap()
}

/// The limits and rules of `/infer` that hold unless configured.
pub fn infer_rules() -> Infer {
    Infer {
        enabled: true,
        input_chars_max: 4_000,
        turns_max: 50,
        system_chars_max: 2_000,
        output_tokens_max: 2_000,
        seed_rules: true,
        screening: Action::Observe,
        canary: true,
    }
}
