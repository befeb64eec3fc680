//! Who is shut out, on the data plane: refused before the body is read; and strikes, durable before whoever
//! caused them is answered.
//!
//! Which finding is a strike is decided by whoever calls; what strikes lead to by `guard::quarantine`.

use std::sync::Arc;

use pingora_core::protocols::http::ServerSession;
use tokio::task::spawn_blocking;

use crate::base::fault::Fault;
use crate::config::snapshot::Snapshot;
use crate::engine::warden::Warden;
use crate::exchange::asked;
use crate::exchange::infer_reply;
use crate::guard::quarantine::{KeyId, Strike, Terms};
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

/// Counts a strike for a request that was screened: for one that was refused at once, for another one if the
/// canary comes back (guardrails that only observe shut nobody out).
///
/// # Errors
/// An identity header that came twice.
pub async fn judge(
    session: &ServerSession,
    ctx: &mut Ctx,
    (snapshot, principal): (&Snapshot, &Principal),
    is_refused: bool,
) -> Result<(), Fault> {
    let Some(content) = content(ctx) else { return Ok(()) };
    let presented = asked::presented(&session.req_header().headers)?;
    let striker = Striker::of(snapshot, &presented, principal);
    if is_refused {
        strike(ctx, snapshot, (&striker, content)).await;
    } else {
        ctx.striker = Some(striker);
    }
    Ok(())
}

/// What speaks against the holder of the key: the newest of his own words of which the guard is sure, by its
/// hash.
fn content(ctx: &Ctx) -> Option<u64> {
    let hash = ctx.draft.screened.as_ref()?.strike?;
    Some(hash[..8].iter().fold(0, |bits, it| bits << 8 | u64::from(*it)))
}

/// Counts the strike of a request whose answer gave the canary away. Nobody waits for it: the answer is on
/// its way.
pub fn strike_soon(ctx: &mut Ctx) {
    let (Some(striker), Some(exchange)) = (ctx.striker.take(), &ctx.exchange) else { return };
    let (terms, content) = (exchange.snapshot().quarantine, content(ctx));
    if let Some(content) = content.filter(|_| terms.enabled) {
        let warden = Arc::clone(&ctx.shared.warden);
        drop(spawn_blocking(move || one(&warden, &terms, (&striker, content))));
    }
}

fn one(warden: &Warden, terms: &Terms, (striker, content): (&Striker, u64)) {
    let strike = Strike { content, at_ms: warden.now_ms() };
    warden.strike(&Blow { key: striker.key, agent: striker.agent.to_string(), strike }, terms);
}

/// Counts a strike, unless its content is known. One request is one strike at most, whatever is in it: each
/// waits for the disk, and nobody is to be shut out for good by what he said in one breath.
pub async fn strike(ctx: &Ctx, snapshot: &Snapshot, (striker, content): (&Striker, u64)) {
    let terms = snapshot.quarantine;
    if !terms.enabled {
        return;
    }
    let (warden, striker) = (Arc::clone(&ctx.shared.warden), striker.clone());
    let struck = spawn_blocking(move || one(&warden, &terms, (&striker, content)));
    if let Err(error) = struck.await {
        tracing::error!(%error, request_id = %ctx.id, "a strike could not be counted");
    }
}
