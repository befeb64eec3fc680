//! Figures of a run, and one table out of many runs.
//!
//! A run is one line of JSON; the table takes medians over rounds and ratios to bare Pingora. It
//! measures nothing itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// The proxy that ratios refer to.
const BASE: &str = "pingora";

/// What a load run did.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Requests answered as they should be.
    pub done: u64,
    /// All others.
    pub failed: u64,
    /// SSE events in good answers.
    pub events: u64,
    /// The first failure.
    pub failure: Option<String>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Times to the end of each answer, in microseconds.
    pub total_us: Vec<u32>,
    /// Times to the first body byte.
    pub first_byte_us: Vec<u32>,
}

impl Tally {
    /// Counts one good answer.
    pub fn hit(&mut self, total: Duration, first_byte: Duration, events: u64) {
        self.done += 1;
        self.events += events;
        self.total_us.push(u32::try_from(total.as_micros()).unwrap_or(u32::MAX));
        self.first_byte_us.push(u32::try_from(first_byte.as_micros()).unwrap_or(u32::MAX));
    }

    /// Adds another part of the same run.
    pub fn add(&mut self, part: Self) {
        self.done += part.done;
        self.failed += part.failed;
        self.events += part.events;
        self.total_us.extend(part.total_us);
        self.first_byte_us.extend(part.first_byte_us);
        self.failure = self.failure.take().or(part.failure);
    }

    /// The figures, as the `loadtest` commands print them.
    pub fn to_json(&self) -> Value {
        let per_second = u128::from(self.done) * 1_000_000 / self.elapsed.as_micros().max(1);
        json!({
            "requests": self.done,
            "failed": self.failed,
            "events": self.events,
            "elapsed_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            "req_per_s": u64::try_from(per_second).unwrap_or(u64::MAX),
            "p50_us": percentile(&self.total_us, 500),
            "p99_us": percentile(&self.total_us, 990),
            "first_byte_p50_us": percentile(&self.first_byte_us, 500),
            "first_byte_p99_us": percentile(&self.first_byte_us, 990),
            "failure": self.failure,
        })
    }
}

/// The value below which so many thousandths of the samples lie.
pub fn percentile(samples: &[u32], permille: usize) -> u32 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * permille).div_ceil(1000).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or(0)
}

/// One measured round: what the table is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// Name of the scenario.
    pub scenario: String,
    /// `pingora`, `weir`, `nginx`, `direct`.
    pub proxy: String,
    /// Good answers.
    pub requests: u64,
    /// All others.
    pub failed: u64,
    /// Good answers per second.
    pub req_per_s: u64,
    /// Median time of an answer.
    pub p50_us: u64,
    /// And its 99th percentile.
    pub p99_us: u64,
    /// CPU of the proxy per unit (request or event), in nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory of the proxy after the run.
    pub rss_kib: u64,
    /// Resident memory per open stream, where that was measured.
    pub kib_per_stream: u64,
}

impl Round {
    /// As one line of a results file.
    pub fn to_json(&self) -> Value {
        json!({
            "scenario": self.scenario, "proxy": self.proxy, "requests": self.requests,
            "failed": self.failed, "req_per_s": self.req_per_s, "p50_us": self.p50_us,
            "p99_us": self.p99_us, "cpu_ns": self.cpu_ns, "rss_kib": self.rss_kib,
            "kib_per_stream": self.kib_per_stream,
        })
    }

    /// Reads such a line.
    pub fn from_json(line: &Value) -> Self {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| line[key].as_u64().unwrap_or_default();
        Self {
            scenario: text("scenario"),
            proxy: text("proxy"),
            requests: number("requests"),
            failed: number("failed"),
            req_per_s: number("req_per_s"),
            p50_us: number("p50_us"),
            p99_us: number("p99_us"),
            cpu_ns: number("cpu_ns"),
            rss_kib: number("rss_kib"),
            kib_per_stream: number("kib_per_stream"),
        }
    }
}

/// Reads what a load tool printed: oha's JSON, in which answers of that status are good ones, or ours. Returns
/// the round without CPU and memory, and the events counted (0 if the tool counts none).
pub fn read_tool(output: &Value, status: u16) -> (Round, u64) {
    let status = status.to_string();
    if output.get("summary").is_none() {
        return (Round::from_json(output), output["events"].as_u64().unwrap_or_default());
    }
    let sum = |object: &Value, wanted: &dyn Fn(&str) -> bool| -> u64 {
        let entries = object.as_object().into_iter().flatten();
        entries.filter(|(key, _)| wanted(key)).filter_map(|(_, count)| count.as_u64()).sum()
    };
    let statuses = &output["statusCodeDistribution"];
    let errors = sum(&output["errorDistribution"], &|key| !key.contains("deadline"));
    let requests = sum(statuses, &|key| key == status);
    let micros = |value: &Value| -> u64 {
        let time = Duration::try_from_secs_f64(value.as_f64().unwrap_or_default());
        time.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    };
    let round = Round {
        requests,
        failed: errors + sum(statuses, &|key| key != status),
        req_per_s: (requests * 1_000_000)
            .checked_div(micros(&output["summary"]["total"]))
            .unwrap_or(0),
        p50_us: micros(&output["latencyPercentiles"]["p50"]),
        p99_us: micros(&output["latencyPercentiles"]["p99"]),
        ..Round::default()
    };
    (round, 0)
}

/// The table of all rounds: medians, and CPU as a ratio to bare Pingora in the same scenario.
pub fn table(rounds: &[Round]) -> String {
    let mut groups: BTreeMap<(usize, &str), BTreeMap<&str, Vec<&Round>>> = BTreeMap::new();
    for round in rounds {
        let first = rounds.iter().position(|other| other.scenario == round.scenario);
        let key = (first.unwrap_or_default(), round.scenario.as_str());
        groups.entry(key).or_default().entry(round.proxy.as_str()).or_default().push(round);
    }
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<26} {:<8} {:>6} {:>9} {:>9} {:>9} {:>10} {:>7} {:>8} {:>10} {:>7}",
        "scenario (CPU unit)",
        "proxy",
        "rounds",
        "req/s",
        "p50 us",
        "p99 us",
        "CPU us/u",
        "ratio",
        "RSS MiB",
        "KiB/stream",
        "failed"
    );
    for ((_, scenario), proxies) in &groups {
        let base = proxies.get(BASE).map_or(0, |list| median(list, |round| round.cpu_ns));
        for (proxy, list) in proxies {
            let _ = writeln!(out, "{}", row(scenario, proxy, list, base));
        }
    }
    out
}

fn row(scenario: &str, proxy: &str, list: &[&Round], base: u64) -> String {
    let cpu = median(list, |round| round.cpu_ns);
    let ratio = (cpu * 100).checked_div(base).filter(|_| cpu > 0);
    let streams = median(list, |round| round.kib_per_stream);
    format!(
        "{scenario:<26} {proxy:<8} {:>6} {:>9} {:>9} {:>9} {:>10} {:>7} {:>8} {:>10} {:>7}",
        list.len(),
        median(list, |round| round.req_per_s),
        median(list, |round| round.p50_us),
        median(list, |round| round.p99_us),
        if cpu == 0 { "-".to_owned() } else { format!("{}.{}", cpu / 1000, cpu % 1000 / 100) },
        ratio.map_or("-".to_owned(), |ratio| format!("{}.{:02}", ratio / 100, ratio % 100)),
        median(list, |round| round.rss_kib) / 1024,
        if streams == 0 { "-".to_owned() } else { streams.to_string() },
        list.iter().map(|round| round.failed).sum::<u64>(),
    )
}

fn median(list: &[&Round], figure: impl Fn(&Round) -> u64) -> u64 {
    let mut figures: Vec<u64> = list.iter().map(|round| figure(round)).collect();
    figures.sort_unstable();
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_medians() {
        let samples: Vec<u32> = (1..=100).rev().collect();
        assert_eq!((percentile(&samples, 500), percentile(&samples, 990)), (50, 99));
        assert_eq!(percentile(&[], 500), 0);
    }

    #[test]
    fn the_table_compares_with_bare_pingora() {
        let round = |proxy: &str, cpu_ns| Round {
            scenario: "unary".to_owned(),
            proxy: proxy.to_owned(),
            cpu_ns,
            ..Round::default()
        };
        let rounds = [
            round("pingora", 40_000),
            round("weir", 90_000),
            round("weir", 50_000),
            round("weir", 48_000),
            round("direct", 0),
        ];
        let text = table(&rounds);
        let weir = text.lines().find(|line| line.contains("weir")).unwrap();
        assert!(weir.contains("50.0") && weir.contains("1.25"), "{weir}");
        assert!(text.lines().any(|line| line.contains("direct") && line.contains('-')));
        assert_eq!(Round::from_json(&rounds[1].to_json()), rounds[1]);
    }

    #[test]
    fn oha_and_our_own_output_are_read() {
        let oha = json!({
            "summary": {"total": 2.0}, "latencyPercentiles": {"p50": 0.000_25, "p99": 0.001},
            "statusCodeDistribution": {"200": 1000, "503": 3},
            "errorDistribution": {"aborted due to deadline": 5, "connection closed": 2},
        });
        let (round, events) = read_tool(&oha, 200);
        assert_eq!((round.requests, round.failed, round.req_per_s), (1000, 5, 500));
        assert_eq!((round.p50_us, round.p99_us, events), (250, 1000, 0));
        let (refused, _) = read_tool(&oha, 503);
        assert_eq!((refused.requests, refused.failed), (3, 1002));
        let mut tally = Tally { elapsed: Duration::from_secs(1), ..Tally::default() };
        tally.hit(Duration::from_micros(70), Duration::from_micros(50), 3);
        let (round, events) = read_tool(&tally.to_json(), 200);
        assert_eq!((round.requests, round.p50_us, events), (1, 70, 3));
    }
}
