//! What a number of requests came to: one of these for each minute, and one for everything.

use std::sync::Arc;

use crate::base::limit::STATS_LABELS_MAX;
use crate::base::money::NanoUsd;
use crate::record;
use crate::stats::histogram::Histogram;
use crate::stats::row::{self, Row};
use crate::stats::table::{Name, Sum, Table};

/// The sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// All requests.
    pub requests: u64,
    /// Those with a complete answer that is no error.
    pub ok: u64,
    /// Those that another model had to be tried for.
    pub escalated: u64,
    /// Input tokens, cached ones included.
    pub prompt: u64,
    /// Input tokens out of a prompt cache.
    pub cached: u64,
    /// Output tokens.
    pub completion: u64,
    /// Input tokens that mutators saved.
    pub saved_tokens: u64,
    /// What all of it cost.
    pub cost: NanoUsd,
    /// What it would have cost at the dearest model.
    pub baseline: NanoUsd,
    /// What pins saved by leaving prompt caches warm.
    pub pin_saved: NanoUsd,
    /// How long the requests took.
    pub latency: Histogram,
    /// By the model that answered.
    pub models: Table<Arc<str>, Share>,
    /// By agent.
    pub agents: Table<Arc<str>, Share>,
    /// By provider and attempt, not by request.
    pub providers: Table<Arc<str>, Share>,
    /// By what the request was about.
    pub tasks: Table<Arc<str>, u64>,
    /// By the strategy that chose.
    pub strategies: Table<&'static str, u64>,
    /// By what went wrong.
    pub errors: Table<&'static str, u64>,
    /// How often each model took part in an escalation.
    pub escalation: Table<Arc<str>, u64>,
    /// How often one model was followed by another.
    pub hops: Table<(Arc<str>, Arc<str>), u64>,
    /// Why.
    pub reasons: Table<Arc<str>, u64>,
    /// By rule and action of the guards.
    pub verdicts: Table<(&'static str, &'static str), u64>,
    /// By what the session's pin did.
    pub pins: Table<&'static str, u64>,
}

/// The part of one model, agent or provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many requests (or attempts).
    pub requests: u64,
    /// How many of them failed.
    pub errors: u64,
    /// Input tokens.
    pub prompt: u64,
    /// Input tokens out of a prompt cache.
    pub cached: u64,
    /// Output tokens.
    pub completion: u64,
    /// What they cost.
    pub cost: NanoUsd,
    /// What they would have cost at the dearest model.
    pub baseline: NanoUsd,
    /// All their times, in microseconds.
    pub time_us: u64,
}

impl Sum for Share {
    fn plus(&mut self, more: &Self) {
        self.requests += more.requests;
        self.errors += more.errors;
        self.prompt = self.prompt.saturating_add(more.prompt);
        self.cached = self.cached.saturating_add(more.cached);
        self.completion = self.completion.saturating_add(more.completion);
        self.cost = self.cost.saturating_add(more.cost);
        self.baseline = self.baseline.saturating_add(more.baseline);
        self.time_us = self.time_us.saturating_add(more.time_us);
    }

    fn weight(&self) -> u64 {
        self.requests
    }
}

impl Share {
    fn of(row: &Row) -> Self {
        Self {
            requests: 1,
            errors: u64::from(!row.is_ok),
            prompt: row.prompt,
            cached: row.cached,
            completion: row.completion,
            cost: row.cost,
            baseline: row.baseline,
            time_us: row.latency_us,
        }
    }
}

const fn table<K: Name, V: Sum>() -> Table<K, V> {
    Table::with_room(STATS_LABELS_MAX)
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            requests: 0,
            ok: 0,
            escalated: 0,
            prompt: 0,
            cached: 0,
            completion: 0,
            saved_tokens: 0,
            cost: NanoUsd::ZERO,
            baseline: NanoUsd::ZERO,
            pin_saved: NanoUsd::ZERO,
            latency: Histogram::default(),
            models: table(),
            agents: table(),
            providers: table(),
            tasks: table(),
            strategies: table(),
            errors: table(),
            escalation: table(),
            hops: table(),
            reasons: table(),
            verdicts: table(),
            pins: table(),
        }
    }
}

impl Tally {
    /// Counts one request.
    pub fn add(&mut self, row: &Row) {
        self.requests += 1;
        self.ok += u64::from(row.is_ok);
        self.prompt = self.prompt.saturating_add(row.prompt);
        self.cached = self.cached.saturating_add(row.cached);
        self.completion = self.completion.saturating_add(row.completion);
        self.saved_tokens = self.saved_tokens.saturating_add(row.saved_tokens);
        self.cost = self.cost.saturating_add(row.cost);
        self.baseline = self.baseline.saturating_add(row.baseline);
        self.latency.add(row.latency_us);
        let share = Share::of(row);
        if let Some(model) = &row.model {
            self.models.at(model).plus(&share);
        }
        if !row.agent.is_empty() {
            self.agents.at(&row.agent).plus(&share);
        }
        if let Some(error) = row.error {
            *self.errors.at(&error) += 1;
        }
        self.choice(row);
        self.attempts(row);
        if let Some(guard) = &row.guard {
            for rule in &guard.rules {
                *self.verdicts.at(&(rule, guard.action)) += 1;
            }
        }
    }

    fn choice(&mut self, row: &Row) {
        if let Some(strategy) = row.strategy() {
            *self.strategies.at(&strategy) += 1;
        }
        let Some(choice) = &row.choice else { return };
        if !choice.task_type.is_empty() {
            *self.tasks.at(&choice.task_type) += 1;
        }
        if !choice.pin_state.is_empty() {
            *self.pins.at(&choice.pin_state) += 1;
        }
        self.pin_saved = self.pin_saved.saturating_add(choice.pin_saved);
    }

    fn attempts(&mut self, row: &Row) {
        for attempt in &row.tried {
            let provider = self.providers.at(&attempt.provider);
            provider.requests += 1;
            provider.errors += u64::from(is_failed(attempt));
            provider.time_us = provider.time_us.saturating_add(attempt.duration_us);
        }
        if row.escalations == 0 {
            return;
        }
        self.escalated += 1;
        if let Some(first) = row.tried.first() {
            *self.escalation.at(&first.model) += 1;
        }
        for (from, to) in record::hops(&row.tried) {
            *self.escalation.at(&to.model) += 1;
            *self.hops.at(&(Arc::clone(&from.model), Arc::clone(&to.model))) += 1;
            *self.reasons.at(&row::trigger(from)) += 1;
        }
    }

    /// Counts everything that another one has counted.
    pub fn merge(&mut self, more: &Self) {
        self.requests += more.requests;
        self.ok += more.ok;
        self.escalated += more.escalated;
        self.prompt = self.prompt.saturating_add(more.prompt);
        self.cached = self.cached.saturating_add(more.cached);
        self.completion = self.completion.saturating_add(more.completion);
        self.saved_tokens = self.saved_tokens.saturating_add(more.saved_tokens);
        self.cost = self.cost.saturating_add(more.cost);
        self.baseline = self.baseline.saturating_add(more.baseline);
        self.pin_saved = self.pin_saved.saturating_add(more.pin_saved);
        self.latency.merge(&more.latency);
        self.models.merge(&more.models);
        self.agents.merge(&more.agents);
        self.providers.merge(&more.providers);
        self.tasks.merge(&more.tasks);
        self.strategies.merge(&more.strategies);
        self.errors.merge(&more.errors);
        self.escalation.merge(&more.escalation);
        self.hops.merge(&more.hops);
        self.reasons.merge(&more.reasons);
        self.verdicts.merge(&more.verdicts);
        self.pins.merge(&more.pins);
    }
}

/// Whether a provider did not do what it was asked. A client that left, and an answer that names a fault of
/// the request, are none of its.
fn is_failed(attempt: &crate::record::AttemptRecord) -> bool {
    use crate::record::Outcome::{Answered, ClientGone};
    match attempt.outcome {
        ClientGone => false,
        Answered => attempt.status >= 500 || attempt.status == 429,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::sample;
    use crate::stats::yardstick::Yardstick;

    fn row() -> Row {
        Row::of(&sample::record(), Some(&Yardstick::sample()), 7)
    }

    #[test]
    fn one_request_is_counted_everywhere() {
        let mut tally = Tally::default();
        tally.add(&row());
        assert_eq!((tally.requests, tally.ok, tally.escalated), (1, 1, 1));
        assert_eq!((tally.prompt, tally.cached, tally.completion), (127, 20, 50));
        assert_eq!(tally.models.top(9)[0].0.as_ref(), "claude");
        let broker = &tally.providers.top(9)[0].1;
        assert_eq!((broker.requests, broker.errors), (2, 1));
        assert_eq!(tally.hops.top(9), [(("gpt".into(), "claude".into()), 1)]);
        assert_eq!(tally.reasons.top(9), [("429".into(), 1)]);
        assert_eq!(tally.tasks.top(9), [("code".into(), 1)]);
        assert_eq!(tally.pins.top(9), [("fresh", 1)]);
        assert!(tally.baseline > tally.cost);
    }

    #[test]
    fn another_key_of_the_same_model_is_no_escalation() {
        let mut tally = Tally::default();
        let mut keys = sample::record();
        keys.choice = None;
        keys.attempts[0].model = "claude".into();
        assert_eq!(keys.escalations(), 0);
        let row = Row::of(&keys, None, 7);
        assert_eq!(row.escalations, 0);
        tally.add(&row);
        assert_eq!((tally.escalated, tally.hops.top(9)), (0, Vec::new()));
        assert_eq!(tally.providers.top(9)[0].1.requests, 2, "two attempts all the same");
        // And with a second model after both keys of the first.
        keys.attempts.push(keys.attempts[0].clone());
        keys.attempts[2].model = "gpt".into();
        tally.add(&Row::of(&keys, None, 8));
        assert_eq!(tally.hops.top(9), [(("claude".into(), "gpt".into()), 1)]);
        assert_eq!(tally.escalation.top(9).len(), 2);
    }

    #[test]
    fn sums_of_sums_are_sums() {
        let (mut one, mut two, mut both) = (Tally::default(), Tally::default(), Tally::default());
        let mut refused = sample::record();
        refused.attempts.clear();
        (refused.status, refused.fault, refused.served_model) =
            (402, Some("budget_exhausted"), None);
        let refused = Row::of(&refused, None, 8);
        for row in [&row(), &row(), &refused] {
            one.add(row);
            both.add(row);
        }
        two.add(&refused);
        both.add(&refused);
        one.merge(&two);
        assert_eq!(one, both);
        assert_eq!(one.errors.top(9), [("budget_exhausted", 2)]);
    }
}
