//! The guards on the way in: a request is screened before anybody pays for it, changed where that is the policy,
//! and given its canary; and the alarm when that comes back.
//!
//! What is judged and how is `exchange::screening`'s business, what is remembered `engine::sentry`'s.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::base::fault::Fault;
use crate::base::limit::{SCREEN_INLINE_BYTES_MAX, SCREEN_WAIT_MS, SCREENS_AT_ONCE_MAX};
use crate::base::surface::Surface;
use crate::config::current::Current;
use crate::config::guards::{Canary, Guards};
use crate::engine::sentry::Sentry;
use crate::exchange::asked::Asked;
use crate::exchange::canary;
use crate::exchange::outflow;
use crate::exchange::screening::{self, Screened};
use crate::guard::canary::Token;
use crate::proxy::ctx::Ctx;
use crate::proxy::ward;
use crate::wire::splice::Edit;
use crate::wire::texts;

/// Whose large request is screened at present.
static SCREENING: Semaphore = Semaphore::const_new(SCREENS_AT_ONCE_MAX);

/// Screens a request under the guards of its agent, and makes the changes that follow. What was found is left
/// in `ctx.draft.screened`, also for a request that is refused. What the answer is searched for comes back.
///
/// # Errors
/// `prompt_blocked`, naming rules.
pub async fn pass(
    ctx: &mut Ctx,
    current: &Current,
    asked: &mut Asked,
) -> Result<Option<outflow::Terms>, Fault> {
    let guarding = &current.snapshot.guarding;
    let Some(guards) = guarding.of(asked.principal.agent.index).cloned() else { return Ok(None) };
    if matches!(asked.surface, Surface::CountTokens | Surface::Embeddings)
        || asked.envelope.is_none()
    {
        // No model answers them.
        return Ok(None);
    }
    let mut edits = Vec::new();
    if let Some(screened) = screened(ctx, (&guards, current.snapshot.version), asked).await {
        let fault = screened.fault();
        edits.clone_from(&screened.edits);
        ctx.draft.screened = Some(Box::new(screened));
        if let Some(fault) = fault {
            return Err(fault);
        }
    }
    let token = plant(ctx, (&guards, current), asked, &mut edits);
    asked.amend(edits)?;
    Ok(outflow::Terms::of(&guards, token))
}

fn plant(
    ctx: &Ctx,
    (guards, current): (&Guards, &Current),
    asked: &Asked,
    edits: &mut Vec<Edit>,
) -> Option<Token> {
    if guards.canary == Canary::Off {
        return None;
    }
    let secret = ctx.shared.sentry.secret(&current.snapshot.guarding);
    let (token, edit) = canary::planted(asked, secret, ctx.now().unix_ms)?;
    edits.push(edit);
    Some(token)
}

/// What the request is found to be; `None` if nothing was found or looked for.
pub async fn screened(
    ctx: &Ctx,
    (guards, version): (&Arc<Guards>, u64),
    asked: &Asked,
) -> Option<Screened> {
    guards.input.as_ref()?;
    let found = if asked.body.len() <= SCREEN_INLINE_BYTES_MAX {
        look(guards, version, (&asked.body, asked.texts()), &ctx.shared.sentry)
    } else {
        elsewhere(guards, version, (asked, &ctx.shared.sentry)).await
    };
    (!found.is_clear()).then_some(found)
}

/// Off the threads that carry streams, and few at a time. Who waits too long for his turn is like one who could
/// not be looked at.
async fn elsewhere(
    guards: &Arc<Guards>,
    version: u64,
    (asked, sentry): (&Asked, &Arc<Sentry>),
) -> Screened {
    let (mine, body, memory) = (Arc::clone(guards), asked.body.clone(), Arc::clone(sentry));
    let work = move || look(&mine, version, (&body, &texts::texts(&body)), &memory);
    let wait = Duration::from_millis(SCREEN_WAIT_MS);
    in_turn(&SCREENING, wait, work).await.unwrap_or_else(|| Screened::failure(guards.on_failure))
}

/// What that work comes to; `None` if no turn came in that time, or the work broke off.
async fn in_turn<T: Send + 'static>(
    turns: &'static Semaphore,
    wait: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let turn = tokio::time::timeout(wait, turns.acquire()).await.ok()?.ok()?;
    // The turn ends with the work, not with the wait for it: a client that leaves would make room for another one
    // while its own request is still looked at.
    let work = move || {
        let done = work();
        drop(turn);
        done
    };
    tokio::task::spawn_blocking(work).await.ok()
}

fn look(
    guards: &Guards,
    version: u64,
    all: (&[u8], &texts::Texts),
    sentry: &Arc<Sentry>,
) -> Screened {
    let Some(input) = &guards.input else { return Screened::default() };
    let terms = screening::Terms { model: &input.model, actions: input.actions, version };
    let mut memory: &Sentry = sentry;
    screening::screen(&terms, all, &mut memory, guards.on_failure)
}

/// The alarm, once, when an answer has given the canary away.
pub fn alarm(ctx: &mut Ctx) {
    let leaked = ctx.exchange.as_ref().is_some_and(|exchange| exchange.canary_leaked());
    if !leaked || std::mem::replace(&mut ctx.is_alarmed, true) {
        return;
    }
    ward::strike_soon(ctx);
    let (agent, id) = (&*ctx.draft.agent, ctx.id);
    tracing::error!(severity = "CRITICAL", agent, request_id = %id, "an answer gave the canary away");
    ctx.shared.keeper.canary_leaked(agent, id.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn nobody_waits_for_ever_for_his_turn() {
        static TURNS: Semaphore = Semaphore::const_new(1);
        let (end, ended) = mpsc::channel::<()>();
        let first = tokio::spawn(in_turn(&TURNS, LONG, move || ended.recv().is_err()));
        while TURNS.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(in_turn(&TURNS, Duration::from_millis(20), || ()).await, None);
        // Whoever asked is gone, and the work goes on: so does its turn.
        first.abort();
        assert!(first.await.is_err());
        assert_eq!(in_turn(&TURNS, Duration::from_millis(20), || ()).await, None);
        drop(end);
        assert_eq!(in_turn(&TURNS, LONG, || 7).await, Some(7));
    }

    #[tokio::test]
    async fn work_that_breaks_off_gives_its_turn_back() {
        static TURNS: Semaphore = Semaphore::const_new(1);
        let broken = in_turn(&TURNS, LONG, || std::panic::panic_any("as the test wants it"));
        assert_eq!(broken.await, None::<()>);
        assert_eq!(in_turn(&TURNS, LONG, || 7).await, Some(7));
    }
}
