//! Keeps in step with the console, where one is configured: pulls limits from it and pushes spend to it
//! (S0-06, S0-23), on a thread of its own, so that no request ever waits for it.
//!
//! Every `sync_interval_seconds`, both with `Authorization: Bearer <api_key>` if there is one:
//!
//! - `GET {url}/budgets`, answered by `{"budgets": {"agent-1": {"budget_total": 50.0}}}` (`directive` says
//!   what is read of it). A limit that is not in force as the console's is set, like `POST /api/budget`
//!   does; accounts that are not named keep what they have.
//! - `POST {url}/spend` with what `GET /api/spend` answers: all accounts but sessions.
//!
//! Any 2xx is a yes. After failures the wait doubles, up to `CONSOLE_BACKOFF_MS_MAX`; limits stay as they
//! are meanwhile, and hold over restarts. The log has one line when it begins to fail and one when it is
//! well again. Nothing is told to people here: that is `outbox`.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::backoff::Backoff;
use crate::base::limit::{CONSOLE_ANSWER_BYTES_MAX, CONSOLE_BACKOFF_MS_MAX, CONSOLE_UNKNOWN_MAX};
use crate::config::snapshot::{Console, Snapshot};
use crate::engine::bookkeeper::Bookkeeper;
use crate::engine::caller::{Callee, Caller};
use crate::engine::live::Live;
use crate::engine::rounds::{Round, Rounds};
use crate::ledger::account::{AccountKey, Node};
use crate::ledger::directive::{self, Limits};
use crate::ledger::entry::Reason;
use crate::telemetry::metrics::Metrics;

/// Starts the thread. It follows the configuration in force: what a reload says of the console holds from
/// its next look on.
///
/// # Errors
/// The thread cannot be made.
pub fn start(
    live: Arc<Live>,
    keeper: Arc<Bookkeeper>,
    metrics: Arc<Metrics>,
) -> io::Result<Rounds> {
    let mut link = Link {
        live,
        keeper,
        metrics,
        caller: Caller::default(),
        turns: Turns::default(),
        unknown: BTreeSet::new(),
    };
    Rounds::start("weir-console", move |round| {
        if round == Round::Usual {
            link.look();
        }
    })
}

struct Link {
    live: Arc<Live>,
    keeper: Arc<Bookkeeper>,
    metrics: Arc<Metrics>,
    caller: Caller,
    turns: Turns,
    /// Names that nobody knows, and that the log has.
    unknown: BTreeSet<String>,
}

/// When the next exchange is due, and how the last one went.
#[derive(Default)]
struct Turns {
    /// The console that this is about.
    with: Option<Console>,
    /// `None` = at once.
    due: Option<Instant>,
    failures: u32,
    /// `None` = there was no exchange yet.
    well: Option<bool>,
}

impl Link {
    fn look(&mut self) {
        let current = self.live.load_full();
        let Some(console) = self.turns.due(current.snapshot.console.as_ref(), Instant::now())
        else {
            return;
        };
        let done = self.exchange(&console, &current.snapshot);
        self.metrics.money.synced(done.is_ok());
        // The wait begins when the exchange has ended, however long it took.
        let was = self.turns.well;
        self.turns.note(console.sync_interval_seconds, done.is_ok(), Instant::now());
        match done {
            Ok(()) if was != Some(true) => tracing::info!("in step with the console"),
            Err(error) if was != Some(false) => {
                tracing::warn!(%error, "out of step with the console");
            }
            _ => {}
        }
    }

    /// Spend is pushed even if what was pulled is of no use.
    fn exchange(&mut self, console: &Console, snapshot: &Snapshot) -> Result<(), String> {
        let pulled = self.pull(console, snapshot).map_err(|error| format!("budgets: {error}"));
        let pushed = self.push(console).map_err(|error| format!("spend: {error}"));
        pulled.and(pushed)
    }

    fn pull(&mut self, console: &Console, snapshot: &Snapshot) -> Result<(), String> {
        let callee = callee(console, "/budgets");
        let answer = self.caller.get(&callee, CONSOLE_ANSWER_BYTES_MAX)?;
        let limits = directive::read(&answer).map_err(|error| error.to_string())?;
        self.obey(&limits, snapshot)
    }

    fn push(&mut self, console: &Console) -> Result<(), String> {
        let spend = self.keeper.spend_json(|key| key.node() != Node::Session);
        self.caller.post(&callee(console, "/spend"), &spend)
    }

    /// Changes the limits that are others. Each takes the book's lock for itself, so that requests get in
    /// between.
    fn obey(&mut self, limits: &Limits, snapshot: &Snapshot) -> Result<(), String> {
        let mut unknown = Vec::new();
        for (name, &limit) in limits {
            let key = key_of(snapshot, name);
            let Some(standing) = key.and_then(|key| self.keeper.standing(&key)) else {
                unknown.push(name);
                continue;
            };
            if !directive::changes(&standing, limit) {
                continue;
            }
            let set = self.keeper.change_soon(|book, at_ms| {
                book.set_limit(standing.id, limit, Reason::Console, at_ms)
            });
            if !set {
                return Err("the ledger cannot be written at present".to_owned());
            }
            let limit = limit.map(|usd| usd.to_string());
            tracing::info!(account = standing.key.as_str(), limit, "the console sets a limit");
        }
        self.tell_unknown(&unknown);
        Ok(())
    }

    fn tell_unknown(&mut self, names: &[&String]) {
        for name in names {
            if self.unknown.len() >= CONSOLE_UNKNOWN_MAX {
                return;
            }
            if self.unknown.insert(directive::shortened(name)) {
                let name = directive::shortened(name);
                tracing::warn!(name, "the console names an account that is not configured");
            }
        }
    }
}

impl Turns {
    /// The console, if it is its turn. Another one, or other terms, begin anew.
    fn due(&mut self, console: Option<&Console>, now: Instant) -> Option<Console> {
        if self.with.as_ref() != console {
            *self = Self { with: console.cloned(), ..Self::default() };
        }
        if self.due.is_some_and(|due| now < due) {
            return None;
        }
        self.with.clone()
    }

    fn note(&mut self, interval_seconds: u64, well: bool, now: Instant) {
        self.failures = if well { 0 } else { self.failures.saturating_add(1) };
        let first_ms = interval_seconds.saturating_mul(1_000);
        let wait = Backoff { first_ms, max_ms: CONSOLE_BACKOFF_MS_MAX }.after(self.failures);
        self.due = Some(now + Duration::from_millis(wait));
        self.well = Some(well);
    }
}

fn callee<'a>(console: &'a Console, path: &str) -> Callee<'a> {
    Callee { url: console.base.url(path), authorization: console.authorization.as_ref() }
}

/// The account that a name means: a configured agent's id, `fleet`, or `team:NAME`.
fn key_of(snapshot: &Snapshot, name: &str) -> Option<AccountKey> {
    if let Some(agent) = snapshot.gate.agents.get(name) {
        return Some(AccountKey::agent(&agent.id));
    }
    AccountKey::parse(name).filter(|key| matches!(key.node(), Node::Fleet | Node::Team))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::target::BaseUrl;

    fn console(url: &str) -> Console {
        let base = BaseUrl::parse(url, false).unwrap();
        Console { base, sync_interval_seconds: 60, authorization: None }
    }

    #[test]
    fn turns_come_by_the_interval_and_later_after_failures() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        let here = console("http://c");
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(turns.due(Some(&here), start).is_some(), "at once");
        turns.note(60, true, start);
        assert!(turns.due(Some(&here), after(59)).is_none());
        assert!(turns.due(Some(&here), after(60)).is_some());
        let mut now = 60;
        for wait in [120, 240, 300, 300] {
            turns.note(60, false, after(now));
            assert!(turns.due(Some(&here), after(now + wait - 1)).is_none(), "{wait}");
            now += wait;
            assert!(turns.due(Some(&here), after(now)).is_some(), "{wait}");
        }
        turns.note(60, true, after(now));
        assert!(turns.due(Some(&here), after(now + 60)).is_some(), "well again");
    }

    #[test]
    fn another_console_is_asked_at_once_and_none_is_never_asked() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        assert!(turns.due(None, now).is_none());
        assert_eq!(turns.due(Some(&console("http://c")), now), Some(console("http://c")));
        turns.note(60, false, now);
        assert_eq!(turns.due(Some(&console("http://d")), now), Some(console("http://d")));
        assert_eq!((turns.failures, turns.well), (0, None));
        turns.note(60, true, now);
        let sooner = Console { sync_interval_seconds: 1, ..console("http://d") };
        assert!(turns.due(Some(&sooner), now).is_some(), "a reload takes effect");
        assert!(turns.due(None, now).is_none());
    }
}
