//! What the control API does: typed requests and replies, no sockets. Some of it reads files or waits
//! for a thread, so it is called from threads that may block.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::admin::money;
use crate::base::fault::Code;
use crate::base::limit::SCRAPE_FLUSH_MS;
use crate::config::current::Current;
use crate::config::problem::Problem;
use crate::config::snapshot::Snapshot;
use crate::engine::accounts::Accounts;
use crate::engine::auditor::Auditor;
use crate::engine::bookkeeper::Bookkeeper;
use crate::engine::live::Live;
use crate::engine::pins::Pins;
use crate::engine::recorder::{Recorder, Stage};
use crate::engine::reloader::{Reloaded, Reloader, Trigger};
use crate::engine::warden::Warden;
use crate::exchange::defence::{self, Defence};
use crate::ledger::account::Account;
use crate::store::registry::Registry;
use crate::telemetry::metrics::Metrics;
use crate::upstream::provider::Provider;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The answer of `/livez`, here and on the data plane.
pub const LIVE_BODY: &[u8] = br#"{"status":"ok"}"#;
/// The answer of `/readyz` while requests are taken.
pub const READY_BODY: &[u8] = br#"{"status":"ready"}"#;
/// The answer of `/readyz` while the process stops.
pub const DRAINING_BODY: &[u8] = br#"{"status":"draining"}"#;

/// The answer of `/readyz` while requests under a hard cap are refused because the ledger cannot be written.
pub const BROKEN_BODY: &[u8] = br#"{"status":"ledger_unwritable"}"#;

/// The answer of `/readyz`, here and on the data plane, and its status.
pub fn readiness(is_draining: bool, keeper: &Bookkeeper) -> (u16, &'static [u8]) {
    if is_draining {
        (503, DRAINING_BODY)
    } else if refuses_caps(keeper) {
        (503, BROKEN_BODY)
    } else {
        (200, READY_BODY)
    }
}

/// Whether whoever has a hard cap is refused at present, because no hold can be made durable.
fn refuses_caps(keeper: &Bookkeeper) -> bool {
    let is_cap = |account: &Account| account.terms.hard && account.limit().is_some();
    keeper.trouble().is_some() && keeper.look(|book, _| book.accounts().any(is_cap))
}

/// The parts of the gateway that the control API looks at and moves.
pub struct Parts {
    /// The configuration in force.
    pub live: Arc<Live>,
    /// What changes it.
    pub reloader: Arc<Reloader>,
    /// Where records wait.
    pub recorder: Arc<Recorder>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who has money.
    pub keeper: Arc<Bookkeeper>,
    /// Accounts at providers, and switches.
    pub accounts: Arc<Accounts>,
    /// What operators keep beside the ledger.
    pub registry: Arc<dyn Registry>,
    /// What puts requests into the audit.
    pub auditor: Arc<Auditor>,
    /// Where sessions are pinned.
    pub pins: Arc<Pins>,
    /// Who is shut out.
    pub warden: Arc<Warden>,
    /// The security parts of `/infer`.
    pub defence: Arc<dyn Defence>,
    /// Set when the process has been asked to stop.
    pub draining: Arc<AtomicBool>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What went wrong, for programs.
    pub code: &'static str,
    /// What went wrong, for people.
    pub message: Cow<'static, str>,
    /// Everything that is wrong with a configuration.
    pub problems: Vec<Problem>,
}

impl Refusal {
    /// A refusal of one of the gateway's kinds.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        let (status, code) = (code.status(), code.name());
        Self { status, code, message: message.into(), problems: Vec::new() }
    }

    fn invalid_config(problems: Vec<Problem>) -> Self {
        let message = match &*problems {
            [only] => format!("the configuration was not changed: {only}"),
            all => format!("the configuration was not changed: it has {} problems", all.len()),
        };
        Self { status: 422, code: "invalid_config", message: message.into(), problems }
    }

    /// The body that says so.
    pub fn to_json(&self) -> Value {
        let mut error = json!({"message": self.message, "code": self.code});
        if !self.problems.is_empty() {
            error["problems"] = self.problems.iter().map(problem_json).collect();
        }
        json!({ "error": error })
    }
}

fn problem_json(problem: &Problem) -> Value {
    json!({"path": problem.path, "message": problem.message, "line": problem.line})
}

/// The condition of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// The condition of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Every part but the providers.
    pub checks: Vec<Check>,
    /// Every enabled provider.
    pub providers: Vec<Check>,
    /// The version of the configuration in force.
    pub config_version: u64,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// How many models are enabled.
    pub models: usize,
    /// How many agents are configured.
    pub agents: usize,
}

impl Status {
    /// Whether every part works.
    pub fn is_healthy(&self) -> bool {
        self.checks.iter().chain(&self.providers).all(|check| check.error.is_none())
    }

    /// The body of `/status` (S1-11).
    pub fn to_json(&self) -> Value {
        let mut checks = checks_json(&self.checks);
        let resting: Vec<&str> =
            self.providers.iter().filter(|c| c.error.is_some()).map(|c| &*c.name).collect();
        let mut upstreams = json!({
            "ok": resting.is_empty(),
            "providers": checks_json(&self.providers),
        });
        if !resting.is_empty() {
            upstreams["error"] = format!("not usable now: {}", resting.join(", ")).into();
        }
        checks.insert("upstreams".to_owned(), upstreams);
        json!({
            "status": if self.is_healthy() { "healthy" } else { "degraded" },
            "checks": checks,
            "version": VERSION,
            "uptime_seconds": self.uptime_seconds,
            "config_version": self.config_version,
            "models": self.models,
            "providers": self.providers.len(),
            "agents": self.agents,
        })
    }
}

fn checks_json(checks: &[Check]) -> Map<String, Value> {
    let json = |check: &Check| match &check.error {
        None => json!({"ok": true}),
        Some(error) => json!({"ok": false, "error": error}),
    };
    checks.iter().map(|check| (check.name.clone(), json(check))).collect()
}

/// `GET /metrics`. Waits a little for records on their way, so that a scrape right after a request
/// shows it.
pub fn metrics(parts: &Parts) -> Result<String, Refusal> {
    parts.recorder.flush(Stage::Counted, Duration::from_millis(SCRAPE_FLUSH_MS));
    money::show(parts);
    parts.metrics.pins.show(active_pins(parts));
    parts.metrics.render().map_err(|error| Refusal::new(Code::Internal, error.to_string()))
}

/// How many sessions are pinned now.
pub fn active_pins(parts: &Parts) -> usize {
    let unix_ms = u64::try_from(parts.keeper.unix_ms()).unwrap_or_default();
    parts.pins.active(unix_ms, parts.live.load().snapshot.pinning.windows.soft_ms)
}

/// `GET /status`.
pub fn status(parts: &Parts) -> Status {
    let current = parts.live.load_full();
    let snapshot = &current.snapshot;
    let enabled = snapshot.providers.iter().filter(|provider| provider.enabled);
    let now_ms = parts.live.now_ms();
    Status {
        checks: vec![
            config_check(parts),
            recorder_check(parts),
            ledger_check(parts),
            Check { name: "audit".to_owned(), error: parts.auditor.trouble() },
            guard_check(parts, snapshot),
            store_check(parts),
            drain_check(parts),
        ],
        providers: enabled.map(|provider| provider_check(&current, provider, now_ms)).collect(),
        config_version: snapshot.version,
        uptime_seconds: parts.live.uptime_seconds(),
        models: enabled_models(snapshot),
        agents: snapshot.gate.agents.all().len(),
    }
}

fn config_check(parts: &Parts) -> Check {
    let problems = parts.reloader.last_failure();
    let error = (!problems.is_empty()).then(|| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!("the last reload failed: {}", all.join("; "))
    });
    Check { name: "config".to_owned(), error }
}

fn recorder_check(parts: &Parts) -> Check {
    Check { name: "recorder".to_owned(), error: parts.recorder.condition().error }
}

fn ledger_check(parts: &Parts) -> Check {
    Check { name: "ledger".to_owned(), error: parts.keeper.trouble() }
}

/// The injection defence, tried on an attack and a secret of our own making.
fn guard_check(parts: &Parts, snapshot: &Snapshot) -> Check {
    let error = defence::probe(&*parts.defence, &snapshot.infer).err();
    Check { name: "guard".to_owned(), error }
}

/// What lies beside the ledger in the store: accounts, and who is shut out.
fn store_check(parts: &Parts) -> Check {
    let registry = parts.registry.version().err().map(|error| error.to_string());
    Check { name: "store".to_owned(), error: parts.warden.trouble().or(registry) }
}

fn drain_check(parts: &Parts) -> Check {
    let stopping = !is_ready(parts);
    Check { name: "gateway".to_owned(), error: stopping.then(|| "is stopping".to_owned()) }
}

/// A provider is unusable while its credential rests or every model of it does.
fn provider_check(current: &Current, provider: &Provider, now_ms: u64) -> Check {
    // With its other keys: it can be used as long as one of them can.
    let own = current
        .snapshot
        .catalog
        .places()
        .enumerate()
        .filter(|(_, model)| model.enabled && model.provider.index == provider.index);
    let endpoints: Vec<_> = own.filter_map(|(at, _)| current.endpoints.get(at)).collect();
    let refused = endpoints.iter().all(|endpoint| endpoint.provider.is_resting(now_ms));
    let refused = refused && !endpoints.is_empty();
    let all_rest = endpoints.iter().all(|endpoint| endpoint.is_resting(now_ms));
    let error = match (refused, all_rest && !endpoints.is_empty()) {
        (true, _) => Some("refused our credential a short time ago"),
        (false, true) => Some("all its models rest after failures"),
        (false, false) => None,
    };
    Check { name: provider.name.to_string(), error: error.map(str::to_owned) }
}

/// `POST /api/reload`.
pub fn reload(parts: &Parts) -> Result<Reloaded, Refusal> {
    parts.reloader.reload(Trigger::Admin).map_err(Refusal::invalid_config)
}

/// The body of a reload that went well (S0-17).
pub fn reloaded_json(reloaded: &Reloaded) -> Value {
    let agents: Vec<&str> = reloaded.agents.iter().map(|agent| &**agent).collect();
    json!({
        "status": "reloaded",
        "version": reloaded.version,
        "agents": agents,
        "changes": reloaded.changes,
        "warnings": reloaded.warnings,
    })
}

/// Whether requests are taken.
pub fn is_ready(parts: &Parts) -> bool {
    !parts.draining.load(Ordering::Relaxed)
}

/// The body of `/health` in the union shape of C-02, here and on the data plane. Names of agents and
/// addresses of providers are for callers with a key.
pub fn health_body(snapshot: &Snapshot, with_key: bool) -> Vec<u8> {
    let retry: Vec<u16> = snapshot.routing.retry.statuses.iter().collect();
    let mut health = json!({
        "status": "ok",
        "service": "weir",
        "version": VERSION,
        "retryStatusCodes": retry,
        "enabledRouteCount": enabled_models(snapshot),
    });
    if with_key {
        let agents = snapshot.gate.agents.all().iter().map(|agent| Value::from(&*agent.id));
        health["agents"] = agents.collect();
        let urls = snapshot.providers.iter().map(|p| (p.name.to_string(), url(p).into()));
        health["providers"] = Value::Object(urls.collect());
        let named = |provider: &&Arc<Provider>| &*provider.name == "openrouter";
        let main = snapshot.providers.iter().find(named).or(snapshot.providers.first());
        health["openrouter_url"] = main.map(|provider| url(provider)).into();
    }
    health.to_string().into_bytes()
}

fn enabled_models(snapshot: &Snapshot) -> usize {
    snapshot.catalog.models().iter().filter(|model| model.enabled).count()
}

fn url(provider: &Provider) -> String {
    let scheme = if provider.tls() { "https" } else { "http" };
    format!("{scheme}://{}{}", provider.base.authority, provider.base.path())
}

#[cfg(test)]
pub(crate) mod sample {
    //! A gateway without sockets, for tests of this room.

    use super::*;
    use crate::config::snapshot::Synchronous;
    use crate::engine::accounts;
    use crate::engine::clock::SystemClock;
    use crate::engine::reloader::Targets;
    use crate::engine::source::Source;
    use crate::engine::source::sample::{self, Folder};
    use crate::ledger::book::Book;
    use crate::store::Store;
    use crate::store::sqlite::ward::SqliteWard;
    use crate::store::sqlite::{Opening, SqliteStore};
    use crate::telemetry::access_log::AccessLog;

    pub(crate) fn parts(name: &str) -> (Folder, Arc<Parts>) {
        let folder = Folder::new(name);
        let path = folder.write("weir.yaml", &sample::yaml("one"));
        let source = Source::with_env(path, Box::new(sample::env));
        let metrics = Arc::new(Metrics::new(VERSION).unwrap());
        let file = source.read().unwrap();
        let (accounts, live) = accounts::sample::accounts(folder.path(), file, metrics.clone());
        let recorder = Arc::new(Recorder::new(metrics.clone(), AccessLog::to_memory().0));
        recorder.start().unwrap();
        let file = folder.path().join("weir.db");
        let mut store = SqliteStore::open(&file, Synchronous::Normal, Opening::Own).unwrap();
        let book = Book::restore(store.open_epoch().unwrap());
        let keeper = Arc::new(Bookkeeper::new(book, metrics.clone()));
        keeper.start(Box::new(store)).unwrap();
        let registry = Arc::clone(&accounts.registry);
        let targets = Targets {
            live: live.clone(),
            metrics: metrics.clone(),
            recorder: recorder.clone(),
            keeper: keeper.clone(),
            accounts: accounts.clone(),
        };
        let reloader = Reloader::new(source, targets);
        let (reloader, draining) = (Arc::new(reloader), Arc::default());
        let auditor = Arc::new(Auditor::new(registry.clone(), metrics.clone()));
        let ward = Arc::new(SqliteWard::open(&file).unwrap());
        let warden = Arc::new(Warden::open(ward, Arc::new(SystemClock)).unwrap());
        let parts = Parts {
            live,
            reloader,
            recorder,
            metrics,
            keeper,
            accounts,
            registry,
            auditor,
            pins: Arc::default(),
            warden,
            defence: Arc::new(defence::Guard),
            draining,
        };
        (folder, Arc::new(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::sample as records;

    #[test]
    fn a_healthy_gateway_says_so() {
        let (_folder, parts) = sample::parts("healthy");
        let status = status(&parts);
        assert!(status.is_healthy());
        let json = status.to_json();
        assert_eq!(json["status"], "healthy");
        assert_eq!(json["checks"]["config"], json!({"ok": true}));
        assert_eq!(json["checks"]["upstreams"]["providers"]["openrouter"], json!({"ok": true}));
        assert_eq!((&json["models"], &json["config_version"]), (&json!(1), &json!(1)));
    }

    #[test]
    fn each_part_can_degrade_it() {
        let (folder, parts) = sample::parts("degraded");
        folder.write("weir.yaml", "nonsense: 1\n");
        let refusal = reload(&parts).unwrap_err();
        assert_eq!((refusal.status, refusal.code), (422, "invalid_config"));
        let json = refusal.to_json();
        assert!(json["error"]["problems"].as_array().is_some_and(|all| !all.is_empty()), "{json}");
        let json = status(&parts).to_json();
        assert_eq!(json["status"], "degraded");
        assert_eq!(json["checks"]["config"]["ok"], false);

        let current = parts.live.load_full();
        let endpoint = current.endpoints.get(0).unwrap();
        endpoint.model.report_failure(parts.live.now_ms(), 60_000, None);
        let upstreams = status(&parts).to_json()["checks"]["upstreams"].clone();
        assert_eq!(
            upstreams["providers"]["openrouter"]["error"],
            "all its models rest after failures"
        );
        assert_eq!(upstreams["error"], "not usable now: openrouter");
        endpoint.provider.report_auth_failure(parts.live.now_ms());
        let provider = status(&parts).providers.remove(0);
        assert_eq!(provider.error.unwrap(), "refused our credential a short time ago");

        parts.draining.store(true, Ordering::Relaxed);
        assert_eq!(status(&parts).to_json()["checks"]["gateway"]["error"], "is stopping");
    }

    #[test]
    fn health_shows_names_only_to_a_key() {
        let (_folder, parts) = sample::parts("health");
        let snapshot = &parts.live.load_full().snapshot;
        let health = |with_key| -> Value {
            serde_json::from_slice(&health_body(snapshot, with_key)).unwrap()
        };
        let open = health(false);
        assert_eq!((&open["status"], &open["service"]), (&json!("ok"), &json!("weir")));
        assert_eq!(open["enabledRouteCount"], 1);
        assert_eq!(open["retryStatusCodes"].as_array().unwrap().len(), 9);
        assert!(open.get("agents").is_none() && !open.to_string().contains("9000"));
        let known = health(true);
        assert_eq!(known["agents"], json!(["worker"]));
        assert_eq!(known["openrouter_url"], "http://127.0.0.1:9000/v1");
        assert_eq!(known["providers"]["openrouter"], "http://127.0.0.1:9000/v1");
    }

    #[test]
    fn a_scrape_shows_the_request_before_it() {
        let (_folder, parts) = sample::parts("scrape");
        parts.recorder.send(records::record());
        let page = metrics(&parts).unwrap();
        assert!(page.contains("weir_request_duration_seconds_count 1"), "{page}");
    }
}
