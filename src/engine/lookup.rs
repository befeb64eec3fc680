//! Asks providers afterwards what an attempt has cost whose end nobody saw, and has the ledger corrected: on a
//! thread of its own, a few at a time, each later than the one before, and not for ever.
//!
//! `GET {base}/generation?id=`, as `OpenRouter` answers it: `{"data": {"total_cost": 0.0123}}`. Only attempts
//! in limbo are asked about that the provider has named: under a hard cap they count as their worst case,
//! else as an estimate. What nobody answers stays in limbo, for an administrator to decide.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::AUTHORIZATION;
use tokio::runtime::{Builder, Runtime};

use crate::base::backoff::Backoff;
use crate::base::limit::{
    LOOKUP_AGE_MS_MAX, LOOKUP_ANSWER_BYTES_MAX, LOOKUP_BACKOFF_MS, LOOKUP_SCAN_MS,
    LOOKUP_TRIES_MAX, LOOKUPS_MAX, LOOKUPS_PER_SCAN,
};
use crate::base::money::NanoUsd;
use crate::config::snapshot::Snapshot;
use crate::engine::bookkeeper::Bookkeeper;
use crate::engine::caller::{self, Callee, Caller, Fenced};
use crate::engine::live::Live;
use crate::engine::rounds::{Round, Rounds};
use crate::ledger::entry::{HoldId, Reason};
use crate::ledger::saved::OpenHold;
use crate::upstream::provider::Provider;
use crate::wire::json;
use crate::wire::syntax::Span;

/// Starts the thread. It follows the configuration in force.
///
/// # Errors
/// The thread cannot be made.
pub fn start(live: Arc<Live>, keeper: Arc<Bookkeeper>) -> io::Result<Rounds> {
    let mut lookups = Lookups {
        live,
        keeper,
        caller: Caller::default(),
        waiting: Builder::new_current_thread().build()?,
        tries: HashMap::new(),
        due: None,
    };
    Rounds::start("weir-lookup", move |round| {
        if round == Round::Usual {
            lookups.look(Instant::now());
        }
    })
}

struct Lookups {
    live: Arc<Live>,
    keeper: Arc<Bookkeeper>,
    caller: Caller,
    /// To wait for the scribe.
    waiting: Runtime,
    /// Attempts that were asked about in vain: how often, and when it is their turn again.
    tries: HashMap<HoldId, (u32, Instant)>,
    /// When to look next; `None` = at once.
    due: Option<Instant>,
}

impl Lookups {
    fn look(&mut self, now: Instant) {
        let current = self.live.load_full();
        let snapshot = &current.snapshot;
        let is_early = self.due.is_some_and(|due| now < due);
        if is_early || !snapshot.providers.iter().any(|provider| asks(provider)) {
            return;
        }
        self.due = Some(now + Duration::from_millis(LOOKUP_SCAN_MS));
        let since_ms = self.keeper.unix_ms().saturating_sub(LOOKUP_AGE_MS_MAX);
        let open = match self.waiting.block_on(self.keeper.named(since_ms, LOOKUPS_MAX)) {
            Ok(open) => open,
            Err(error) => return tracing::debug!(%error, "attempts in limbo cannot be read"),
        };
        self.tries.retain(|hold, _| open.iter().any(|open| open.hold == *hold));
        let turn = |open: &&OpenHold| {
            self.tries
                .get(&open.hold)
                .is_none_or(|(tries, due)| *tries < LOOKUP_TRIES_MAX && *due <= now)
        };
        let asked: Vec<(&OpenHold, &Provider)> = open
            .iter()
            .filter(turn)
            .filter_map(|open| Some((open, provider_of(snapshot, open)?)))
            .take(LOOKUPS_PER_SCAN)
            .collect();
        for (open, provider) in asked {
            if let Err(why) = self.ask(open, provider) {
                self.note(open, &why);
            }
        }
    }

    /// Asks about one attempt, and books what is said.
    fn ask(&mut self, open: &OpenHold, provider: &Provider) -> Result<(), String> {
        let name = open.generation.as_deref().ok_or("it has no name")?;
        let authorization = provider.auth.as_ref().map(|(_, value)| value);
        let url = provider.base.url(&format!("/v1/generation?id={name}"));
        let answer = match (&provider.fence, &provider.auth) {
            (Some(fence), Some(auth)) => {
                let fence = Arc::clone(fence);
                let call = Fenced { url, headers: std::slice::from_ref(auth), fence };
                caller::get_fenced(&call, LOOKUP_ANSWER_BYTES_MAX)
            }
            _ => self.caller.get(&Callee { url, authorization }, LOOKUP_ANSWER_BYTES_MAX),
        }?;
        let cost = cost(&answer)?;
        if self.waiting.block_on(self.keeper.correct(open.hold, cost, Reason::Lookup))?.is_some() {
            let booked = open.booked();
            tracing::info!(
                generation = name,
                booked,
                cost = cost.0,
                "a lost attempt was looked up"
            );
        }
        Ok(())
    }

    fn note(&mut self, open: &OpenHold, why: &str) {
        let tries = self.tries.get(&open.hold).map_or(0, |(tries, _)| *tries);
        let (first_ms, max_ms) = LOOKUP_BACKOFF_MS;
        let wait = Duration::from_millis(Backoff { first_ms, max_ms }.after(tries));
        // The wait begins when the call has ended, however long it took.
        self.tries.insert(open.hold, (tries + 1, Instant::now() + wait));
        let generation = open.generation.as_deref();
        tracing::debug!(
            generation,
            tries = tries + 1,
            why,
            "the cost of a lost attempt is not told"
        );
        if tries + 1 == LOOKUP_TRIES_MAX {
            tracing::warn!(generation, why, "a lost attempt stays as it is booked; see /api/limbo");
        }
    }
}

/// Whether a provider can be asked, with a credential of ours.
pub fn asks(provider: &Provider) -> bool {
    provider.enabled
        // One whole address has no other path beside it.
        && !provider.base.is_exact()
        && provider.abilities.generation_lookup
        && provider.auth.as_ref().is_some_and(|(name, _)| name == AUTHORIZATION)
}

/// Who has answered an attempt, if that one can be asked.
fn provider_of<'a>(snapshot: &'a Snapshot, open: &OpenHold) -> Option<&'a Provider> {
    let id = open.made.model.as_deref()?;
    let model = snapshot.catalog.models().iter().find(|model| *model.id == *id)?;
    Some(&*model.provider).filter(|provider| asks(provider))
}

/// What an answer says that an attempt has cost. With a key of the customer's own the total covers only the
/// broker's part, and the inference is charged by the provider behind it.
fn cost(answer: &[u8]) -> Result<NanoUsd, String> {
    let whole = json::check(answer).map_err(|error| format!("the answer is no JSON: {error}"))?;
    let data = json::find(answer, whole, "data").ok_or("the answer has no `data`")?;
    let total = usd(answer, data, "total_cost")?.ok_or("the answer has no `data.total_cost`")?;
    let is_own = json::find(answer, data, "is_byok")
        .is_some_and(|span| span.of(answer).trim_ascii() == b"true");
    let behind = if is_own { usd(answer, data, "upstream_inference_cost")? } else { None };
    Ok(total.saturating_add(behind.unwrap_or(NanoUsd::ZERO)))
}

/// An amount, digit by digit and rounded up; `None` where there is none.
fn usd(answer: &[u8], within: Span, field: &str) -> Result<Option<NanoUsd>, String> {
    let Some(span) = json::find(answer, within, field) else { return Ok(None) };
    let raw = span.of(answer).trim_ascii();
    if raw == b"null" {
        return Ok(None);
    }
    let raw = String::from_utf8_lossy(raw);
    let plain = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&raw);
    let usd = NanoUsd::parse_usd_rounding_up(plain);
    usd.map(Some).map_err(|why| format!("`{field}` of the answer {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_read_digit_by_digit_and_rounded_up() {
        for (data, nano) in [
            (r#"{"total_cost": 0.000066}"#, Ok(66_000)),
            (r#"{"total_cost": "0.0000000001"}"#, Ok(1)),
            (r#"{"total_cost": 0}"#, Ok(0)),
            (r#"{"total_cost":1,"is_byok":true,"upstream_inference_cost":2}"#, Ok(3_000_000_000)),
            (r#"{"total_cost":1,"is_byok":false,"upstream_inference_cost":2}"#, Ok(1_000_000_000)),
            (r#"{"total_cost":1,"is_byok":true}"#, Ok(1_000_000_000)),
            (r#"{"total_cost": null}"#, Err("no `data.total_cost`")),
            (r#"{"cost": 1}"#, Err("no `data.total_cost`")),
            (r#"{"total_cost": -1}"#, Err("`total_cost`")),
            (r#"{"total_cost": "much"}"#, Err("`total_cost`")),
        ] {
            let found = cost(format!(r#"{{"data": {data}}}"#).as_bytes());
            match (found, nano) {
                (Ok(found), Ok(nano)) => assert_eq!(found, NanoUsd(nano), "{data}"),
                (Err(found), Err(part)) => assert!(found.contains(part), "{data}: {found}"),
                (found, _) => panic!("{data}: {found:?}"),
            }
        }
        assert!(cost(b"{}").is_err() && cost(b"no").is_err());
    }
}
