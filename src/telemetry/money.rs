//! The metrics of budgets: what is left of each, what was refused, how the ledger keeps up.
//!
//! Balances are set at each scrape from what the bookkeeper says; the rest is counted as it happens. Only
//! configured agents become labels, and the caller knows which they are.

use std::time::Duration;

use prometheus::{Error, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::ledger::forecast::Forecast;
use crate::telemetry::series::{gauge, gauges, histogram, one, vec};

/// Times of one transaction of the ledger.
const FLUSH_SECONDS: [f64; 12] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

/// The metrics of budgets.
pub struct Money {
    limit: IntGaugeVec,
    remaining: IntGaugeVec,
    held: IntGaugeVec,
    spent: IntGaugeVec,
    projected: IntGaugeVec,
    exhaustion: IntGaugeVec,
    level: IntGauge,
    refusals: IntCounterVec,
    alerts: IntCounterVec,
    runaways: IntCounterVec,
    bound_violations: IntCounter,
    flush: Histogram,
    failures: IntCounter,
    syncs: IntCounterVec,
    webhook: IntCounterVec,
}

/// What became of a call of the web hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The alert was taken.
    Delivered,
    /// The call failed, and is made again.
    Failed,
    /// The alert was given up.
    Dropped,
}

/// One budget as a scrape shows it, in nano-dollars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The agent's id, or `fleet`, `team:NAME`.
    pub agent: String,
    /// Its limit; `None` = not limited.
    pub limit: Option<i64>,
    /// What is spent in the present period.
    pub spent: i64,
    /// What is held.
    pub held: i64,
    /// Where it is heading.
    pub forecast: Forecast,
}

impl Money {
    /// Registers all of them.
    pub(super) fn register(to: &Registry) -> Result<Self, Error> {
        let agent = &["agent"];
        Ok(Self {
            limit: gauges(to, "weir_budget_limit_nanodollars", "Limit of the period", agent)?,
            remaining: gauges(
                to,
                "weir_budget_remaining_nanodollars",
                "Limit less what is spent and held",
                agent,
            )?,
            held: gauges(to, "weir_budget_held_nanodollars", "Held for open requests", agent)?,
            spent: gauges(to, "weir_budget_spent_nanodollars", "Spent in the period", agent)?,
            projected: gauges(
                to,
                "weir_budget_projected_nanodollars",
                "Foreseen to be spent by the end of the period",
                agent,
            )?,
            exhaustion: gauges(
                to,
                "weir_budget_exhaustion_seconds",
                "Foreseen until the limit is reached; not there if it is not within the period",
                agent,
            )?,
            level: gauge(to, "weir_fleet_level", "0 normal to 4 emergency")?,
            refusals: vec(to, "weir_budget_refusals_total", "Requests refused with 402", agent)?,
            alerts: vec(
                to,
                "weir_budget_alerts_total",
                "Changes of a level, and shares of a soft budget that were passed",
                &["account", "level"],
            )?,
            runaways: vec(
                to,
                "weir_runaway_total",
                "Requests that looked like those of an agent that has lost its way",
                &["agent", "rule", "action"],
            )?,
            bound_violations: one(
                to,
                "weir_budget_bound_violation_total",
                "Attempts that cost more than the worst case that was held; always 0",
            )?,
            flush: histogram(
                to,
                ("weir_ledger_flush_seconds", "Transactions of the ledger"),
                &FLUSH_SECONDS,
            )?,
            failures: one(to, "weir_ledger_failures_total", "Transactions that failed")?,
            syncs: vec(
                to,
                "weir_console_syncs_total",
                "Exchanges with the console: success or failure",
                &["result"],
            )?,
            webhook: vec(
                to,
                "weir_webhook_calls_total",
                "Alerts delivered and dropped, and calls that failed and are made again",
                &["result"],
            )?,
        })
    }

    /// Sets the balances.
    pub fn show(&self, budgets: &[Shown], level: i64) {
        self.level.set(level);
        // Agents that are gone from the configuration are gone from the page too.
        let Self { limit, remaining, held, spent, projected, exhaustion, .. } = self;
        for gauges in [limit, remaining, held, spent, projected, exhaustion] {
            gauges.reset();
        }
        for budget in budgets {
            let agent = [budget.agent.as_str()];
            self.spent.with_label_values(&agent).set(budget.spent);
            self.held.with_label_values(&agent).set(budget.held);
            if let Some(projected) = budget.forecast.projected {
                self.projected.with_label_values(&agent).set(projected.0);
            }
            if let Some(ms) = budget.forecast.exhausted_in_ms {
                let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
                self.exhaustion.with_label_values(&agent).set(seconds);
            }
            if let Some(limit) = budget.limit {
                let remaining = limit.saturating_sub(budget.spent).saturating_sub(budget.held);
                self.limit.with_label_values(&agent).set(limit);
                self.remaining.with_label_values(&agent).set(remaining);
            }
        }
    }

    /// Counts a request refused for want of money.
    pub fn refused(&self, agent: &str) {
        self.refusals.with_label_values(&[agent]).inc();
    }

    /// Counts an alert.
    pub fn alerted(&self, account: &str, level: &str) {
        self.alerts.with_label_values(&[account, level]).inc();
    }

    /// Counts a sign of a runaway.
    pub fn ran_away(&self, agent: &str, rule: &str, action: &str) {
        self.runaways.with_label_values(&[agent, rule, action]).inc();
    }

    /// Counts a provider's charge above the worst case.
    pub fn bound_violated(&self) {
        self.bound_violations.inc();
    }

    /// Notes one transaction.
    pub fn flushed(&self, took: Duration) {
        self.flush.observe(took.as_secs_f64());
    }

    /// Counts a transaction that failed.
    pub fn flush_failed(&self) {
        self.failures.inc();
    }

    /// Counts an exchange with the console.
    pub fn synced(&self, success: bool) {
        self.syncs.with_label_values(&[if success { "success" } else { "failure" }]).inc();
    }

    /// Counts a call of the web hook, or an alert that was given up.
    pub fn webhook_called(&self, result: Delivery) {
        let result = match result {
            Delivery::Delivered => "delivered",
            Delivery::Failed => "failed",
            Delivery::Dropped => "dropped",
        };
        self.webhook.with_label_values(&[result]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::money::NanoUsd;

    #[test]
    fn balances_are_those_of_the_last_look() {
        let registry = Registry::new();
        let money = Money::register(&registry).unwrap();
        let forecast = Forecast {
            hourly: NanoUsd(1),
            projected: Some(NanoUsd(77)),
            exhausted_in_ms: Some(61_999),
        };
        let shown =
            |agent: &str, limit| Shown { agent: agent.into(), limit, spent: 30, held: 5, forecast };
        money.show(&[shown("a", Some(100)), shown("b", None)], 2);
        money.show(&[shown("a", Some(30))], 1);
        let page = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "weir_budget_remaining_nanodollars{agent=\"a\"} -5",
            "weir_budget_held_nanodollars{agent=\"a\"} 5",
            "weir_fleet_level 1",
            "weir_budget_projected_nanodollars{agent=\"a\"} 77",
            "weir_budget_exhaustion_seconds{agent=\"a\"} 61",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        assert!(!page.contains("agent=\"b\""), "{page}");
    }
}
