//! Watches the totals after each transaction: levels of the fleet, shares of soft budgets, one alert per
//! change (S1-23).
//!
//! A canary that has leaked is told on the same way (S1-20).
//!
//! An alert is a line in the log, a count in the metrics and, where one is configured, a call of a web hook,
//! which `outbox` makes. What was told is kept in the store. What a level takes away is `exchange::route`'s business; an emergency freezes the
//! fleet's account, so that it outlives the process.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use crate::base::limit::{
    ALERTS_WAITING_MAX, CANARY_ALERTS_WAITING_MAX, SESSIONS_IN_MEMORY_MAX, TELL_TRIES_MAX,
};
use crate::config::budgets::{Fleet, Webhook};
use crate::engine::scribe::{Desk, OnDesk};
use crate::ledger::account::{AccountId, AccountKey, Node};
use crate::ledger::entry::Reason;
use crate::ledger::level::{self, Alarm, Change, Level, Levels};
use crate::ledger::standing::Standing;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::money::Delivery;

/// What the levels are, and what is on its way to the web hook.
#[derive(Default)]
pub struct Watch {
    state: Mutex<State>,
    /// The level in force, to be read by every request.
    level: AtomicU8,
}

#[derive(Default)]
struct State {
    /// `None` before the first configuration: nothing is looked at before.
    levels: Option<Levels>,
    hook: Option<Webhook>,
    alerts: Vec<Alert>,
}

/// What was told of each account, as far as it was asked for since the start. Only the scribe has it.
#[derive(Default)]
pub(super) struct Told {
    rows: HashMap<AccountId, Row>,
    /// All accounts have been looked at once.
    begun: bool,
    /// The fleet was frozen when it was looked at last.
    was_frozen: bool,
}

/// What was told of one account.
#[derive(Clone, Copy, Default)]
struct Row {
    /// As the store has it.
    kept: Option<level::Told>,
    now: level::Told,
}

/// Something to be told to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Which account.
    pub account: String,
    /// The level or share that it has come to.
    pub level: String,
    /// What has happened.
    pub news: News,
    /// When that was seen, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Where this is to be told.
    pub hook: Webhook,
}

/// What people are told of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It has come to another level.
    Budget {
        /// What it has spent in its present period, in USD.
        spent: String,
        /// Its limit, where it has one, in USD.
        limit: Option<String>,
    },
    /// An answer gave its canary away (S1-20).
    CanaryLeak {
        /// The request, by its id; empty where a service has asked about a text of its own.
        request: String,
    },
}

/// The level of an alert that does not wait.
pub const CRITICAL: &str = "CRITICAL";

impl Watch {
    /// Tells that an answer to this agent gave its canary away. Few such alerts wait at a time, so that those
    /// about money always find room.
    pub fn canary_leaked(&self, metrics: &Metrics, (agent, request): (&str, String), at_ms: i64) {
        let mut state = self.state.lock();
        let Some(hook) = state.hook.clone() else { return };
        let is_leak = |alert: &&Alert| matches!(alert.news, News::CanaryLeak { .. });
        if state.alerts.iter().filter(is_leak).count() >= CANARY_ALERTS_WAITING_MAX
            || state.alerts.len() >= ALERTS_WAITING_MAX
        {
            metrics.money.webhook_called(Delivery::Dropped);
            return;
        }
        let (account, level) = (agent.to_owned(), CRITICAL.to_owned());
        state.alerts.push(Alert {
            account,
            level,
            news: News::CanaryLeak { request },
            at_ms,
            hook,
        });
    }

    /// The level in force.
    pub fn level(&self) -> Level {
        let level = usize::from(self.level.load(Ordering::Relaxed));
        Level::ALL.get(level).copied().unwrap_or_default()
    }

    /// Takes the levels of a configuration.
    pub fn configure(&self, fleet: &Fleet) {
        let levels = &fleet.levels;
        let mut state = self.state.lock();
        state.levels = Some(Levels {
            warning: levels.warning,
            soft: levels.soft,
            hard: levels.hard,
            emergency: levels.emergency,
        });
        state.hook.clone_from(&fleet.webhook);
    }

    /// Alerts that wait to be told over the network.
    pub fn take_alerts(&self) -> Vec<Alert> {
        std::mem::take(&mut self.state.lock().alerts)
    }
}

/// Looks at the fleet, and at the soft budgets that a transaction has moved; at all of them the first time.
/// What is told is kept before, so that neither a restart nor another process tells it again.
pub(super) fn look(
    desk: &Desk,
    store: &mut dyn Store,
    told: &mut Told,
    moved: &BTreeSet<AccountId>,
) {
    let Some(levels) = desk.watch.state.lock().levels else { return };
    let at_ms = desk.unix_ms();
    let is_first = !std::mem::replace(&mut told.begun, true);
    let (fleet, soft) = {
        let book = &desk.lock().book;
        let all = is_first.then(|| book.accounts().map(|account| account.id).collect());
        let fleet = book.id(&AccountKey::fleet()).and_then(|id| book.standing(id, at_ms));
        let soft: Vec<Standing> = all
            .as_ref()
            .unwrap_or(moved)
            .iter()
            .filter_map(|id| book.standing(*id, at_ms))
            .filter(|standing| !standing.hard && standing.limit.is_some())
            .collect();
        (fleet, soft)
    };
    let mut news: Vec<(Standing, String)> = Vec::new();
    if let Some(standing) = fleet {
        let change = fleet_level(desk, (store, &mut *told), &standing, &levels);
        news.extend(change.map(|change| (standing, change.to.name().to_owned())));
    }
    for standing in soft {
        let share = told.agree(store, standing.id, |told, _| told.shares.step(&standing));
        news.extend(share.map(|share| (standing, format!("{}%", share.percent()))));
    }
    let mut state = desk.watch.state.lock();
    for (standing, level) in &news {
        state.tell(&desk.metrics, (standing, at_ms), level);
    }
}

/// Which level the fleet has come to. An emergency freezes it, and ends when somebody thaws it.
fn fleet_level(
    desk: &Desk,
    (store, told): (&mut dyn Store, &mut Told),
    standing: &Standing,
    levels: &Levels,
) -> Option<Change> {
    let is_known = told.rows.contains_key(&standing.id);
    let mut is_thawed = told.was_frozen && !standing.frozen;
    let change = told.agree(store, standing.id, |told, kept| {
        let alarm = &mut told.alarm;
        if !is_known && kept.is_none() && standing.frozen && levels.emergency.is_some() {
            // A version that kept no levels has frozen it, and told so.
            *alarm = Alarm::restored(Level::Emergency, false);
        }
        // Once: an emergency that another process has just told has not frozen the fleet here yet.
        if alarm.is_latched() && (std::mem::take(&mut is_thawed) || levels.emergency.is_none()) {
            return alarm.lift();
        }
        alarm.step(standing.spent, levels)
    });
    let alarm = told.rows.get(&standing.id)?.now.alarm;
    desk.watch.level.store(alarm.level() as u8, Ordering::Relaxed);
    told.was_frozen = standing.frozen || alarm.is_latched();
    if alarm.is_latched() && !standing.frozen {
        // It has just come to this, or the process before has ended on its way to here.
        let mut on_desk = desk.lock();
        let OnDesk { book, tray } = &mut *on_desk;
        let frozen = book.set_frozen(standing.id, true, Reason::Breaker, desk.unix_ms());
        if let Some(entry) = frozen {
            tray.put(entry);
        }
    }
    change
}

impl Told {
    /// Makes `step` with what was told of an account, and keeps what came of it. What another process has
    /// told meanwhile counts; where the store does not work, what is in memory does.
    fn agree<T>(
        &mut self,
        store: &mut dyn Store,
        account: AccountId,
        mut step: impl FnMut(&mut level::Told, Option<&level::Told>) -> Option<T>,
    ) -> Option<T> {
        if self.rows.len() > SESSIONS_IN_MEMORY_MAX {
            // They are asked for again.
            self.rows.retain(|_, row| row.now.alarm != Alarm::default() || !row.is_kept());
        }
        let mut row = match self.rows.get(&account) {
            Some(row) => *row,
            None => Row::of(failing(store.told(account)).flatten()),
        };
        let mut news = None;
        for _ in 0..TELL_TRIES_MAX {
            news = step(&mut row.now, row.kept.as_ref());
            if row.is_kept() {
                break;
            }
            match failing(store.tell(account, row.kept.as_ref(), &row.now)) {
                Some(true) => {
                    row.kept = Some(row.now);
                    break;
                }
                Some(false) => row = Row::of(failing(store.told(account)).flatten()),
                // It is told all the same, and kept later.
                None => break,
            }
        }
        self.rows.insert(account, row);
        news
    }
}

impl Row {
    fn of(kept: Option<level::Told>) -> Self {
        Self { kept, now: kept.unwrap_or_default() }
    }

    /// Whether the store says what it should.
    fn is_kept(&self) -> bool {
        self.kept.map_or_else(|| self.now.is_nothing(), |kept| kept == self.now)
    }
}

fn failing<T>(answer: Result<T, StoreError>) -> Option<T> {
    answer.inspect_err(|error| tracing::error!(%error, "what was told cannot be kept")).ok()
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
        let news = News::Budget { spent, limit };
        self.alerts.push(Alert { account, level, news, at_ms, hook });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::target::BaseUrl;

    #[test]
    fn leaks_leave_room_for_alerts_about_money() {
        let (watch, metrics) = (Watch::default(), Metrics::new("test").unwrap());
        let leak = |watch: &Watch| watch.canary_leaked(&metrics, ("a", "r".to_owned()), 1);
        leak(&watch);
        assert!(watch.take_alerts().is_empty(), "there is no hook");
        watch.state.lock().hook = Some(Webhook(BaseUrl::parse("http://h/", true).unwrap()));
        for _ in 0..1_000 {
            leak(&watch);
        }
        let alerts = watch.take_alerts();
        assert_eq!(alerts.len(), CANARY_ALERTS_WAITING_MAX);
        assert!(alerts.len() < ALERTS_WAITING_MAX);
        assert_eq!(alerts[0].news, News::CanaryLeak { request: "r".to_owned() });
        assert_eq!((&*alerts[0].account, &*alerts[0].level), ("a", "CRITICAL"));
    }
}
