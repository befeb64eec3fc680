//! Who is shut out, on the data plane: refused before the body is read; and strikes, durable before whoever
//! caused them is answered.
//!
//! Which finding is a strike is decided by whoever calls; what strikes lead to by `guard::quarantine`.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::base::fault::Fault;
use crate::config::snapshot::Snapshot;
use crate::exchange::infer_reply;
use crate::guard::quarantine::{KeyId, Strike};
use crate::identity::principal::{Presented, Principal};
use crate::proxy::ctx::Ctx;
use crate::store::ward::Blow;

/// Whom strikes count against.
#[derive(Clone, Debug)]
pub struct Striker {
    /// The key, or what stands for it.
    pub key: KeyId,
    /// The agent.
    pub agent: Arc<str>,
}

impl Striker {
    /// Who made a request.
    pub fn of(snapshot: &Snapshot, presented: &Presented<'_>, principal: &Principal) -> Self {
        let key = snapshot.gate.holder(presented, principal);
        Self { key: KeyId::of_prefix(key.prefix()), agent: Arc::clone(principal.id()) }
    }
}

/// Whether the holder of the key may ask at all. Costs one load of an atomic as long as nobody is shut out.
///
/// # Errors
/// `key_quarantined`, with the seed's fields (S1-05).
pub fn check(
    ctx: &Ctx,
    snapshot: &Snapshot,
    (presented, principal): (&Presented<'_>, &Principal),
) -> Result<(), Fault> {
    let warden = &ctx.shared.warden;
    if !warden.has_bans() || !snapshot.quarantine.enabled {
        return Ok(());
    }
    let striker = Striker::of(snapshot, presented, principal);
    match warden.ban(striker.key) {
        Some(ban) => Err(infer_reply::shut_out(ban, warden.now_ms())),
        None => Ok(()),
    }
}

/// Counts strikes, one for each content that is not known yet.
pub async fn strike(ctx: &Ctx, snapshot: &Snapshot, (striker, contents): (&Striker, Vec<u64>)) {
    let terms = snapshot.quarantine;
    if !terms.enabled || contents.is_empty() {
        return;
    }
    let (warden, at_ms) = (Arc::clone(&ctx.shared.warden), ctx.shared.warden.now_ms());
    let (key, agent) = (striker.key, striker.agent.to_string());
    let struck = spawn_blocking(move || {
        for content in contents {
            let strike = Strike { content, at_ms };
            warden.strike(&Blow { key, agent: agent.clone(), strike }, &terms);
        }
    });
    if let Err(error) = struck.await {
        tracing::error!(%error, request_id = %ctx.id, "a strike could not be counted");
    }
}
