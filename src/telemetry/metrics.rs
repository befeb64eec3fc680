//! How a finished request moves the metrics, and the page that Prometheus reads.
//!
//! Hot path: `observe` runs once per request, on the recorder's thread. Looking a series up by its
//! label values hashes each of them under a lock; so the series of every combination that was seen are
//! kept in small maps, and a request in steady state costs three lookups and no allocation.
//!
//! The names and label sets are in `series`, what may be a label value in `labels`.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::FixedState;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge, Registry, TextEncoder};

use crate::base::fault::Code;
use crate::base::surface::{Dialect, Surface};
use crate::record::{AttemptRecord, GuardRecord, Outcome, Record, UsageSource};
use crate::telemetry::labels::{Labels, NONE, Names, OTHER};
use crate::telemetry::money::Money;
use crate::telemetry::pins::PinCounts;
use crate::telemetry::process::Vitals;
use crate::telemetry::savings::Savings;
use crate::telemetry::series::{Counts, Levels, Times};
use crate::usage::count::Usage;

/// Combinations of labels whose series are kept at hand. More than this (many agents times models)
/// only means that some are looked up again.
const CACHED_SERIES_MAX: usize = 8 * 1024;

/// The kinds of tokens, in the order of `token_counts`.
const TOKEN_KINDS: [&str; 5] = ["input", "cache_read", "cache_write", "output", "reasoning"];

/// The metrics of one process.
pub struct Metrics {
    /// Budgets and the ledger.
    pub money: Money,
    /// Pinned sessions.
    pub pins: PinCounts,
    registry: Registry,
    counts: Counts,
    times: Times,
    levels: Levels,
    savings: Savings,
    desk: Mutex<Desk>,
    scrape: Mutex<()>,
}

/// The known names and the series found so far.
#[derive(Default)]
struct Desk {
    labels: Labels,
    requests: Cache<RequestKey, RequestSeries>,
    attempts: Cache<(Arc<str>, Arc<str>, Outcome), IntCounter>,
    decisions: Cache<(&'static str, Arc<str>), IntCounter>,
}

/// Series by their labels. Names are hashed three times for each request, which the standard hasher makes half
/// of all the counting. Whoever makes names collide gains nothing: the maps are small, and emptied when full.
type Cache<K, V> = HashMap<K, V, FixedState>;

#[derive(PartialEq, Eq, Hash)]
struct RequestKey {
    agent: Arc<str>,
    model: Arc<str>,
    provider: Option<Arc<str>>,
    dialect: Option<Dialect>,
    status: u16,
    /// Whether something was sent to that model, so that it may become a label of its own.
    routed: bool,
}

/// The series of one kind of request. Tokens and money wait for the first of them, so that refusals
/// do not fill the page with zeros.
struct RequestSeries {
    requests: IntCounter,
    agent: String,
    model: String,
    tokens: [Option<IntCounter>; TOKEN_KINDS.len()],
    spend: Option<IntCounter>,
}

/// Counts something as going on until it is dropped.
#[must_use]
pub struct Ongoing(IntGauge);

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// A fresh set, all zero. Fails only if two metrics share a name.
    pub fn new(version: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counts = Counts::register(&registry)?;
        let times = Times::register(&registry)?;
        let levels = Levels::register(&registry, version)?;
        let money = Money::register(&registry)?;
        let savings = Savings::register(&registry)?;
        let pins = PinCounts::register(&registry)?;
        let (desk, scrape) = (Mutex::default(), Mutex::default());
        Ok(Self { money, pins, registry, counts, times, levels, savings, desk, scrape })
    }

    /// Takes the names of a new configuration: from now on they, and no others, are labels.
    pub fn set_names(&self, names: Names) {
        let mut desk = self.desk.lock();
        *desk = Desk { labels: std::mem::take(&mut desk.labels), ..Desk::default() };
        desk.labels.replace(names);
    }

    /// Counts one finished request.
    pub fn observe(&self, record: &Record) {
        self.observe_all(std::slice::from_ref(record));
    }

    /// Counts several finished requests under one lock.
    pub fn observe_all(&self, records: &[Record]) {
        let mut desk = self.desk.lock();
        for record in records {
            desk.request(&self.counts, record);
            desk.attempts(&self.counts, record);
            if record.fault == Some(Code::BudgetExhausted.name()) {
                self.money.refused(desk.labels.agent(&record.agent));
            }
            if record.notice {
                self.counts.notices.inc();
            }
            self.pins.observe(record);
            if let Some(guard) = &record.guard {
                self.counts.guard(guard);
            }
            self.times.observe(record);
            self.savings.observe(record);
        }
    }

    /// Counts a request as being served for as long as the value lives.
    pub fn request_opened(&self) -> Ongoing {
        ongoing(&self.levels.inflight)
    }

    /// Counts a stream as open for as long as the value lives.
    pub fn stream_opened(&self) -> Ongoing {
        ongoing(&self.levels.streams_open)
    }

    /// Counts one reload of the configuration.
    pub fn config_reloaded(&self, success: bool) {
        let result = if success { "success" } else { "failure" };
        self.counts.reloads.with_label_values(&[result]).inc();
    }

    /// Counts access log lines that could not be written.
    pub fn log_lines_dropped(&self, lines: u64) {
        self.counts.log_lines_dropped.inc_by(lines);
    }

    /// Counts requests that did not come into the audit.
    pub fn audit_dropped(&self, requests: u64) {
        self.counts.audit_dropped.inc_by(requests);
    }

    /// How many access log lines could not be written so far.
    pub fn log_lines_dropped_total(&self) -> u64 {
        self.counts.log_lines_dropped.get()
    }

    /// The page for Prometheus.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        // Two scrapes at once would set the processor time twice.
        let _one_at_a_time = self.scrape.lock();
        self.levels.look_at(Vitals::read());
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn ongoing(gauge: &IntGauge) -> Ongoing {
    gauge.inc();
    Ongoing(gauge.clone())
}

impl Desk {
    fn request(&mut self, all: &Counts, record: &Record) {
        let found = match self.requests.get_mut(&RequestKey::of(record)) {
            Some(found) => found,
            None => self.open(all, record),
        };
        found.requests.inc();
        if let Some(usage) = &record.usage {
            found.count_tokens(all, usage);
        }
        if let Ok(cost @ 1..) = u64::try_from(record.cost.0) {
            let spend = found.spend.get_or_insert_with(|| {
                all.spend.with_label_values(&[&*found.agent, &*found.model])
            });
            spend.inc_by(cost);
        }
        all.provider_reports(record, &self.labels);
    }

    /// Finds the series of a combination that was not seen before.
    fn open(&mut self, all: &Counts, record: &Record) -> &mut RequestSeries {
        let mut key = RequestKey::of(record);
        let agent = self.labels.agent(&key.agent).to_owned();
        let model = if key.routed {
            self.labels.model(&key.model).to_owned()
        } else {
            self.labels.asked_model(&key.model).to_owned()
        };
        let provider = key.provider.as_deref().map_or(NONE, |name| self.labels.provider(name));
        let dialect = key.dialect.map_or(NONE, Dialect::name);
        let status = key.status.to_string();
        let requests =
            all.requests.with_label_values(&[&*agent, &*model, provider, dialect, &*status]);
        // Names that are counted together share one entry, or clients could fill the map.
        shorten(&mut key.agent, &agent);
        shorten(&mut key.model, &model);
        if self.requests.len() >= CACHED_SERIES_MAX {
            self.requests.clear();
        }
        let series =
            RequestSeries { requests, agent, model, tokens: Default::default(), spend: None };
        self.requests.entry(key).or_insert(series)
    }

    fn attempts(&mut self, all: &Counts, record: &Record) {
        for attempt in &record.attempts {
            let key = (attempt.provider.clone(), attempt.model.clone(), attempt.outcome);
            let labels = &mut self.labels;
            cached(&mut self.attempts, key, || {
                let outcome = attempt.outcome.name();
                let provider = labels.provider(&attempt.provider);
                all.attempts.with_label_values(&[provider, labels.model(&attempt.model), outcome])
            })
            .inc();
            if attempt.outcome == Outcome::AuthFailed {
                let provider = self.labels.provider(&attempt.provider);
                all.auth_failures.with_label_values(&[provider]).inc();
            }
        }
        for pair in record.attempts.windows(2) {
            self.fallback(all, pair);
        }
        if let (Some(first), false) = (record.attempts.first(), record.decision.is_empty()) {
            let labels = &mut self.labels;
            cached(&mut self.decisions, (record.decision, first.model.clone()), || {
                all.decisions.with_label_values(&[record.decision, labels.model(&first.model)])
            })
            .inc();
        }
    }

    fn fallback(&mut self, all: &Counts, pair: &[AttemptRecord]) {
        let [from, to] = pair else { return };
        let trigger = match from.status {
            0 => from.outcome.name().to_owned(),
            status => status.to_string(),
        };
        let from_model = self.labels.model(&from.model);
        let to_model = self.labels.model(&to.model);
        all.fallbacks.with_label_values(&[from_model, to_model, &*trigger]).inc();
    }
}

fn shorten(name: &mut Arc<str>, label: &str) {
    if label == OTHER && &**name != OTHER {
        *name = OTHER.into();
    }
}

/// The counter under that key, looked up by its labels the first time.
fn cached<K: Eq + Hash>(
    map: &mut Cache<K, IntCounter>,
    key: K,
    find: impl FnOnce() -> IntCounter,
) -> &IntCounter {
    if map.len() >= CACHED_SERIES_MAX && !map.contains_key(&key) {
        map.clear();
    }
    map.entry(key).or_insert_with(find)
}

impl RequestKey {
    /// The model that answered, else the last one tried, else the one that was asked for.
    fn of(record: &Record) -> Self {
        let last = record.attempts.last();
        let routed = record.served_model.as_ref().or(last.map(|attempt| &attempt.model));
        let provider = record.provider.as_ref().or(last.map(|attempt| &attempt.provider));
        Self {
            agent: record.agent.clone(),
            model: routed.unwrap_or(&record.requested_model).clone(),
            provider: provider.cloned(),
            dialect: record.surface.map(Surface::dialect),
            status: record.status,
            routed: routed.is_some(),
        }
    }
}

impl RequestSeries {
    fn count_tokens(&mut self, all: &Counts, usage: &Usage) {
        for (at, count) in token_counts(usage).into_iter().enumerate() {
            if count == 0 {
                continue;
            }
            let counter = self.tokens[at].get_or_insert_with(|| {
                all.tokens.with_label_values(&[&*self.agent, &*self.model, TOKEN_KINDS[at]])
            });
            counter.inc_by(count);
        }
    }
}

fn token_counts(usage: &Usage) -> [u64; TOKEN_KINDS.len()] {
    let written = usage.cache_write.saturating_add(usage.cache_write_1h);
    [usage.input, usage.cache_read, written, usage.output, usage.reasoning]
}

/// Whether the provider's own figure and our price table differ by more than one per cent: then the
/// table is out of date.
fn cost_differs(record: &Record) -> bool {
    let theirs = record.usage.and_then(|usage| usage.provider_cost).map_or(0, |cost| cost.0);
    let ours = record.table_cost.0;
    theirs > 0 && ours > 0 && theirs.abs_diff(ours) > theirs.unsigned_abs() / 100
}

impl Counts {
    /// What the guards found. Rules and actions are words of fixed lists.
    fn guard(&self, guard: &GuardRecord) {
        for (rule, action) in &guard.verdicts {
            self.guard_verdicts.with_label_values(&[*rule, *action]).inc();
        }
        self.guard_failures.inc_by(u64::from(guard.failures));
        self.canary_leaks.inc_by(u64::from(guard.canary_leaked));
    }

    /// What is worth an alarm about one provider's reports. Rare, so looked up each time.
    fn provider_reports(&self, record: &Record, labels: &Labels) {
        let provider = || labels.provider(record.provider.as_deref().unwrap_or_default());
        if record.usage_source == UsageSource::Estimated || record.unpriced {
            self.usage_unknown.with_label_values(&[provider()]).inc();
        }
        if cost_differs(record) {
            self.cost_mismatch.with_label_values(&[provider()]).inc();
        }
    }
}

impl Times {
    fn observe(&self, record: &Record) {
        self.duration.observe(seconds(record.duration_us));
        // Refusals and our own answers would drown what these two are read for.
        if record.attempts.is_empty() {
            return;
        }
        self.overhead.observe(seconds(record.overhead_us));
        if let Some(first_byte_us) = record.first_byte_us {
            self.ttft.observe(seconds(first_byte_us));
        }
    }
}

impl Levels {
    fn look_at(&self, vitals: Vitals) {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.resident_bytes.set(signed(vitals.resident_bytes));
        self.open_files.set(signed(vitals.open_files));
        self.threads.set(signed(vitals.threads));
        self.cpu_seconds.reset();
        self.cpu_seconds.inc_by(seconds(vitals.cpu_ms.saturating_mul(1000)));
    }
}

#[expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "Prometheus counts time in floating seconds; no money passes through here"
)]
fn seconds(us: u64) -> f64 {
    us as f64 / 1_000_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::money::NanoUsd;
    use crate::record::sample;

    fn metrics() -> Metrics {
        let metrics = Metrics::new("1.2.3").unwrap();
        let names = |all: &[&str]| all.iter().map(|name| Arc::from(*name)).collect();
        metrics.set_names(Names {
            agents: names(&["agent-1"]),
            models: names(&["gpt", "claude"]),
            providers: names(&["openrouter"]),
            wildcard: false,
        });
        metrics
    }

    #[track_caller]
    fn has(page: &str, line: &str) {
        assert!(page.lines().any(|have| have == line), "no line {line}\nin\n{page}");
    }

    #[test]
    fn one_request_moves_every_series_it_touches() {
        let metrics = metrics();
        metrics.observe(&sample::record());
        let page = metrics.render().unwrap();
        for line in [
            r#"weir_requests_total{agent="agent-1",dialect="openai",model="claude",provider="openrouter",status="200"} 1"#,
            r#"weir_attempts_total{model="gpt",outcome="retry_status",provider="openrouter"} 1"#,
            r#"weir_attempts_total{model="claude",outcome="answered",provider="openrouter"} 1"#,
            r#"weir_fallbacks_total{from_model="gpt",to_model="claude",trigger="429"} 1"#,
            r#"weir_route_decisions_total{model="gpt",strategy="round_robin"} 1"#,
            r#"weir_tokens_total{agent="agent-1",kind="input",model="claude"} 100"#,
            r#"weir_tokens_total{agent="agent-1",kind="cache_read",model="claude"} 20"#,
            r#"weir_tokens_total{agent="agent-1",kind="cache_write",model="claude"} 7"#,
            r#"weir_tokens_total{agent="agent-1",kind="output",model="claude"} 50"#,
            r#"weir_tokens_total{agent="agent-1",kind="reasoning",model="claude"} 7"#,
            r#"weir_spend_nanodollars_total{agent="agent-1",model="claude"} 570000"#,
            r#"weir_build_info{version="1.2.3"} 1"#,
            r#"weir_overhead_seconds_bucket{le="0.00005"} 1"#,
            r#"weir_overhead_seconds_bucket{le="0.00003"} 0"#,
            "weir_request_duration_seconds_count 1",
            "weir_ttft_seconds_sum 0.3",
            "weir_notices_total 1",
            "weir_streams_open 0",
            "weir_requests_inflight 0",
            "weir_log_lines_dropped_total 0",
            "weir_audit_dropped_total 0",
        ] {
            has(&page, line);
        }
        assert!(!page.contains("weir_usage_unknown_total{"), "{page}");
    }

    #[test]
    fn names_that_are_not_configured_are_counted_together() {
        let metrics = metrics();
        let mut record = sample::record();
        (record.served_model, record.provider, record.attempts) = (None, None, Vec::new());
        record.decision = "";
        record.status = 404;
        for at in 0..3 {
            record.requested_model = format!("made-up-{at}").into();
            record.agent = format!("nobody-{at}").into();
            metrics.observe(&record);
        }
        record.requested_model = "".into();
        record.agent = "".into();
        record.surface = None;
        metrics.observe(&record);
        let page = metrics.render().unwrap();
        has(
            &page,
            r#"weir_requests_total{agent="other",dialect="openai",model="other",provider="none",status="404"} 3"#,
        );
        has(
            &page,
            r#"weir_requests_total{agent="none",dialect="none",model="none",provider="none",status="404"} 1"#,
        );
        assert_eq!(metrics.desk.lock().requests.len(), 2, "unknown names share an entry");
    }

    #[test]
    fn a_new_agent_has_its_own_series_after_a_reload() {
        let metrics = metrics();
        let mut record = sample::record();
        record.agent = "agent-2".into();
        metrics.observe(&record);
        metrics.set_names(Names {
            agents: ["agent-2".into()].into(),
            models: ["claude".into()].into(),
            ..Names::default()
        });
        metrics.observe(&record);
        let page = metrics.render().unwrap();
        has(&page, r#"weir_spend_nanodollars_total{agent="other",model="claude"} 570000"#);
        has(&page, r#"weir_spend_nanodollars_total{agent="agent-2",model="claude"} 570000"#);
    }

    #[test]
    fn alarms_about_providers() {
        let metrics = metrics();
        let mut record = sample::record();
        record.attempts = vec![sample::attempt("gpt", Outcome::AuthFailed, 401)];
        record.table_cost = NanoUsd(575_800);
        record.usage_source = UsageSource::Estimated;
        metrics.observe(&record);
        record.table_cost = NanoUsd(575_700);
        metrics.observe(&record);
        metrics.config_reloaded(true);
        metrics.config_reloaded(false);
        let page = metrics.render().unwrap();
        has(&page, r#"weir_upstream_auth_failures_total{provider="openrouter"} 2"#);
        has(&page, r#"weir_cost_mismatch_total{provider="openrouter"} 1"#);
        has(&page, r#"weir_usage_unknown_total{provider="openrouter"} 2"#);
        has(&page, r#"weir_config_reloads_total{result="failure"} 1"#);
    }

    #[test]
    fn what_goes_on_is_counted_while_it_goes_on() {
        let metrics = metrics();
        let stream = metrics.stream_opened();
        let _request = metrics.request_opened();
        has(&metrics.render().unwrap(), "weir_streams_open 1");
        drop(stream);
        let page = metrics.render().unwrap();
        has(&page, "weir_streams_open 0");
        has(&page, "weir_requests_inflight 1");
    }
}
