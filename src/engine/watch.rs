//! Watches the totals after each transaction: levels of the fleet, shares of soft budgets, one alert per
//! change (S1-23).
//!
//! An alert is a line in the log, a count in the metrics and, where one is configured, a call of a web hook,
//! which `outbox` makes. What a level takes away is `exchange::route`'s business; an emergency freezes the
//! fleet's account, so that it outlives the process.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use crate::base::limit::ALERTS_WAITING_MAX;
use crate::config::budgets::{Fleet, Webhook};
use crate::engine::scribe::{Desk, OnDesk};
use crate::ledger::account::{AccountId, AccountKey, Node};
use crate::ledger::entry::Reason;
use crate::ledger::level::{Alarm, Level, Levels, Thresholds};
use crate::ledger::standing::Standing;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::money::Delivery;

/// What was told so far.
#[derive(Default)]
pub struct Watch {
    state: Mutex<State>,
    /// The level in force, to be read by every request.
    level: AtomicU8,
}

#[derive(Default)]
struct State {
    levels: Levels,
    hook: Option<Webhook>,
    alarm: Alarm,
    shares: HashMap<AccountId, Thresholds>,
    alerts: Vec<Alert>,
}

/// Something to be told to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Which account.
    pub account: String,
    /// The level or share that it has come to.
    pub level: String,
    /// What it has spent in its present period, in USD.
    pub spent: String,
    /// Its limit, where it has one, in USD.
    pub limit: Option<String>,
    /// When that was seen, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Where this is to be told.
    pub hook: Webhook,
}

impl Watch {
    /// The level in force.
    pub fn level(&self) -> Level {
        let level = usize::from(self.level.load(Ordering::Relaxed));
        Level::ALL.get(level).copied().unwrap_or_default()
    }

    /// Takes the levels of a configuration.
    pub fn configure(&self, fleet: &Fleet) {
        let levels = &fleet.levels;
        let mut state = self.state.lock();
        state.levels = Levels {
            warning: levels.warning,
            soft: levels.soft,
            hard: levels.hard,
            emergency: levels.emergency,
        };
        state.hook.clone_from(&fleet.webhook);
    }

    /// Ends an emergency.
    pub fn lift(&self, metrics: &Metrics, fleet: Option<&Standing>, at_ms: i64) {
        let mut state = self.state.lock();
        let Some(change) = state.alarm.lift() else { return };
        tracing::warn!("the fleet's emergency was lifted");
        self.level.store(change.to as u8, Ordering::Relaxed);
        if let Some(standing) = fleet {
            state.tell(metrics, (standing, at_ms), change.to.name());
        }
    }

    /// Alerts that wait to be told over the network.
    pub fn take_alerts(&self) -> Vec<Alert> {
        std::mem::take(&mut self.state.lock().alerts)
    }
}

/// Looks at the fleet, and at the soft budgets that a transaction has moved.
pub(super) fn look(desk: &Desk, moved: &BTreeSet<AccountId>) {
    let at_ms = desk.unix_ms();
    let mut on_desk = desk.lock();
    let OnDesk { book, tray } = &mut *on_desk;
    let mut state = desk.watch.state.lock();
    let fleet = book.id(&AccountKey::fleet());
    if let Some(standing) = fleet.and_then(|id| book.standing(id, at_ms)) {
        let levels = state.levels;
        if standing.frozen && state.alarm.level() != Level::Emergency && levels.emergency.is_some()
        {
            // Frozen by the process before this one.
            state.alarm = Alarm::restored(Level::Emergency, false);
            desk.watch.level.store(Level::Emergency as u8, Ordering::Relaxed);
        }
        if let Some(change) = state.alarm.step(standing.spent, &levels) {
            desk.watch.level.store(change.to as u8, Ordering::Relaxed);
            state.tell(&desk.metrics, (&standing, at_ms), change.to.name());
            if change.to == Level::Emergency {
                let frozen = book.set_frozen(standing.id, true, Reason::Breaker, at_ms);
                if let Some(entry) = frozen {
                    tray.put(entry);
                }
            }
        }
    }
    let standings: Vec<Standing> = moved
        .iter()
        .filter_map(|id| book.standing(*id, at_ms))
        .filter(|standing| !standing.hard && standing.limit.is_some())
        .collect();
    drop(on_desk);
    for standing in standings {
        if let Some(share) = state.shares.entry(standing.id).or_default().step(&standing) {
            state.tell(&desk.metrics, (&standing, at_ms), &format!("{}%", share.percent()));
        }
    }
}

impl State {
    fn tell(&mut self, metrics: &Metrics, (standing, at_ms): (&Standing, i64), level: &str) {
        // Sessions are named by clients: as labels they would be kept for ever.
        let key = &standing.key;
        let account = if key.node() == Node::Session { "session" } else { key.as_str() };
        let (spent, limit) =
            (standing.spent.to_string(), standing.limit.map(|usd| usd.to_string()));
        metrics.money.alerted(account, level);
        tracing::warn!(account, level, spent, limit, "a budget has come to another level");
        let Some(hook) = self.hook.clone() else { return };
        if self.alerts.len() >= ALERTS_WAITING_MAX {
            metrics.money.webhook_called(Delivery::Dropped);
            return;
        }
        let (account, level) = (account.to_owned(), level.to_owned());
        self.alerts.push(Alert { account, level, spent, limit, at_ms, hook });
    }
}
