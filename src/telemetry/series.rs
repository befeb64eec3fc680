//! Every metric name, help text and label set of the process (`api.md` section 4), registered once.
//!
//! What moves them is in `metrics`.

use prometheus::core::Collector;
use prometheus::{
    Counter, Error, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

/// Times in the gateway itself: single microseconds matter.
const OVERHEAD_SECONDS: [f64; 18] = [
    0.000_01, 0.000_02, 0.000_03, 0.000_05, 0.000_075, 0.000_1, 0.000_15, 0.000_2, 0.000_3,
    0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0,
];
/// Times to the first byte of a model.
const TTFT_SECONDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];
/// Times of whole answers; an agent's stream may run for many minutes.
const DURATION_SECONDS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0];

/// What is counted by names.
pub(super) struct Counts {
    pub(super) requests: IntCounterVec,
    pub(super) attempts: IntCounterVec,
    pub(super) fallbacks: IntCounterVec,
    pub(super) decisions: IntCounterVec,
    pub(super) tokens: IntCounterVec,
    pub(super) spend: IntCounterVec,
    pub(super) usage_unknown: IntCounterVec,
    pub(super) cost_mismatch: IntCounterVec,
    pub(super) auth_failures: IntCounterVec,
    pub(super) reloads: IntCounterVec,
    pub(super) notices: IntCounter,
    pub(super) guard_verdicts: IntCounterVec,
    pub(super) guard_failures: IntCounter,
    pub(super) canary_leaks: IntCounter,
    pub(super) log_lines_dropped: IntCounter,
    pub(super) audit_dropped: IntCounter,
}

/// How long things take.
pub(super) struct Times {
    pub(super) duration: Histogram,
    pub(super) ttft: Histogram,
    pub(super) overhead: Histogram,
}

/// What is the case now.
pub(super) struct Levels {
    pub(super) inflight: IntGauge,
    pub(super) streams_open: IntGauge,
    pub(super) resident_bytes: IntGauge,
    pub(super) open_files: IntGauge,
    pub(super) threads: IntGauge,
    pub(super) cpu_seconds: Counter,
}

impl Counts {
    pub(super) fn register(to: &Registry) -> Result<Self, Error> {
        let vec = |name, help, labels: &[&str]| vec(to, name, help, labels);
        let one = |name, help| one(to, name, help);
        let request_labels = ["agent", "model", "provider", "dialect", "status"];
        let reported_cost_off =
            "Costs reported by a provider that are over 1 % off our price table";
        Ok(Self {
            requests: vec("weir_requests_total", "Requests answered", &request_labels)?,
            attempts: vec(
                "weir_attempts_total",
                "Requests sent to upstreams",
                &["provider", "model", "outcome"],
            )?,
            fallbacks: vec(
                "weir_fallbacks_total",
                "Steps from one candidate to the next",
                &["from_model", "to_model", "trigger"],
            )?,
            decisions: vec(
                "weir_route_decisions_total",
                "First choices, by what made them",
                &["strategy", "model"],
            )?,
            tokens: vec(
                "weir_tokens_total",
                "Tokens used; reasoning is a part of output",
                &["agent", "model", "kind"],
            )?,
            spend: vec(
                "weir_spend_nanodollars_total",
                "Money spent, in 1e-9 USD",
                &["agent", "model"],
            )?,
            usage_unknown: vec(
                "weir_usage_unknown_total",
                "Answers whose usage had to be estimated",
                &["provider"],
            )?,
            cost_mismatch: vec("weir_cost_mismatch_total", reported_cost_off, &["provider"])?,
            auth_failures: vec(
                "weir_upstream_auth_failures_total",
                "Attempts whose credential was refused",
                &["provider"],
            )?,
            reloads: vec("weir_config_reloads_total", "Configuration reloads", &["result"])?,
            notices: one("weir_notices_total", "Switch notices written")?,
            guard_verdicts: vec(
                "weir_guard_verdicts_total",
                "Requests in which a rule of the guards fired, by what it led to",
                &["rule", "action"],
            )?,
            guard_failures: one(
                "weir_guard_failures_total",
                "Requests and answers that the guards could not look at",
            )?,
            canary_leaks: one("weir_guard_canary_leaks_total", "Answers with the canary in them")?,
            log_lines_dropped: one("weir_log_lines_dropped_total", "Access log lines lost")?,
            audit_dropped: one("weir_audit_dropped_total", "Requests missing in the audit")?,
        })
    }
}

impl Times {
    pub(super) fn register(to: &Registry) -> Result<Self, Error> {
        let times = |name, help, buckets: &[f64]| histogram(to, (name, help), buckets);
        Ok(Self {
            duration: times(
                "weir_request_duration_seconds",
                "Request head to last byte of the answer",
                &DURATION_SECONDS,
            )?,
            ttft: times(
                "weir_ttft_seconds",
                "Request head to first byte of a proxied answer",
                &TTFT_SECONDS,
            )?,
            overhead: times(
                "weir_overhead_seconds",
                "The part of it spent in the gateway itself",
                &OVERHEAD_SECONDS,
            )?,
        })
    }
}

impl Levels {
    pub(super) fn register(to: &Registry, version: &str) -> Result<Self, Error> {
        let build =
            IntGaugeVec::new(Opts::new("weir_build_info", "The running version"), &["version"])?;
        registered(to, build)?.with_label_values(&[version]).set(1);
        let gauge = |name, help| gauge(to, name, help);
        Ok(Self {
            inflight: gauge("weir_requests_inflight", "Requests being served")?,
            streams_open: gauge("weir_streams_open", "Streams being sent")?,
            resident_bytes: gauge("process_resident_memory_bytes", "Resident memory")?,
            open_files: gauge("process_open_fds", "Open file descriptors")?,
            threads: gauge("process_threads", "Threads")?,
            cpu_seconds: registered(
                to,
                Counter::new("process_cpu_seconds_total", "User and system processor time")?,
            )?,
        })
    }
}

/// A counter for each combination of labels.
pub(super) fn vec(
    to: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, Error> {
    registered(to, IntCounterVec::new(Opts::new(name, help), labels)?)
}

/// A gauge for each combination of labels.
pub(super) fn gauges(
    to: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, Error> {
    registered(to, IntGaugeVec::new(Opts::new(name, help), labels)?)
}

/// A counter.
pub(super) fn one(to: &Registry, name: &str, help: &str) -> Result<IntCounter, Error> {
    registered(to, IntCounter::new(name, help)?)
}

/// A gauge.
pub(super) fn gauge(to: &Registry, name: &str, help: &str) -> Result<IntGauge, Error> {
    registered(to, IntGauge::new(name, help)?)
}

/// A histogram with those buckets.
pub(super) fn histogram(
    to: &Registry,
    (name, help): (&str, &str),
    buckets: &[f64],
) -> Result<Histogram, Error> {
    let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    registered(to, Histogram::with_opts(opts)?)
}

fn registered<C: Collector + Clone + 'static>(to: &Registry, metric: C) -> Result<C, Error> {
    to.register(Box::new(metric.clone()))?;
    Ok(metric)
}
