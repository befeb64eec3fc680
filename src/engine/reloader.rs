//! Brings a changed configuration into force, all of it or nothing: on SIGHUP, when a watched file
//! changes, and when an administrator asks.
//!
//! A configuration with any problem changes nothing. Running requests keep the one they began with.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::base::limit::{FOLLOW_INTERVAL_MS, WATCH_INTERVAL_MS};
use crate::config::budgets::Opening;
use crate::config::problem::Problem;
use crate::config::snapshot::{AccessLog as Target, Snapshot};
use crate::engine::accounts::Accounts;
use crate::engine::bookkeeper::Bookkeeper;
use crate::engine::live::Live;
use crate::engine::recorder::Recorder;
use crate::engine::source::{Source, Stamp};
use crate::ledger::account::{AccountKey, Terms};
use crate::ledger::plan::Planned;
use crate::ledger::shown;
use crate::store::registry::{self, KeyError, RegistryError};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::labels::Names;
use crate::telemetry::metrics::Metrics;

/// A file is read only when it looked the same twice this far apart: half a file can be a valid one.
const SETTLE: Duration = Duration::from_millis(100);

/// The parts that a reload touches.
pub struct Targets {
    /// What is in force.
    pub live: Arc<Live>,
    /// Whose labels are configured names.
    pub metrics: Arc<Metrics>,
    /// Whose log may lie elsewhere.
    pub recorder: Arc<Recorder>,
    /// Whose accounts are configured.
    pub keeper: Arc<Bookkeeper>,
    /// What joins the configuration of the file.
    pub accounts: Arc<Accounts>,
}

/// What reloads.
pub struct Reloader {
    source: Source,
    on: Targets,
    /// Held through a reload, so that two of them cannot cross; holds what the last one failed with.
    last_failure: Mutex<Vec<Problem>>,
}

/// What asked for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// SIGHUP.
    Signal,
    /// A file changed under `--watch`.
    Watch,
    /// `POST /api/reload`.
    Admin,
}

impl Trigger {
    /// The name used in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Watch => "watch",
            Self::Admin => "admin",
        }
    }
}

/// A reload that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The version now in force.
    pub version: u64,
    /// The agents now known.
    pub agents: Vec<Arc<str>>,
    /// What is different, in brief: `models: +new -old`.
    pub changes: Vec<String>,
    /// What the operator should know: parts that need a restart, and the configuration's own warnings.
    pub warnings: Vec<String>,
}

impl Reloader {
    /// A reloader of what is in force in `live`, read from `source`.
    pub fn new(source: Source, on: Targets) -> Self {
        let current = on.live.load_full();
        on.keeper.configure(&current.snapshot.budgets);
        Self { source, on, last_failure: Mutex::default() }
    }

    /// Reads the configuration and puts it in force, or says everything that is wrong with it.
    /// Reads files: not for async tasks.
    pub fn reload(&self, trigger: Trigger) -> Result<Reloaded, Vec<Problem>> {
        let mut last_failure = self.last_failure.lock();
        let result = self.replace();
        self.on.metrics.config_reloaded(result.is_ok());
        match &result {
            Ok(reloaded) => {
                last_failure.clear();
                report(trigger, reloaded);
            }
            Err(problems) => {
                last_failure.clone_from(problems);
                for problem in problems {
                    tracing::error!(trigger = trigger.name(), "configuration kept: {problem}");
                }
            }
        }
        result
    }

    /// What the last reload failed with; empty if it went well or there was none.
    pub fn last_failure(&self) -> Vec<Problem> {
        self.last_failure.lock().clone()
    }

    /// Waits for SIGHUP and, with `watch`, for changes of the files, until `shutdown` ends.
    pub async fn run(
        self: Arc<Self>,
        watch: bool,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut shutdown = pin!(shutdown);
        let mut hangup = signal(SignalKind::hangup())?;
        let mut look = interval(Duration::from_millis(WATCH_INTERVAL_MS));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut follow = interval(Duration::from_millis(FOLLOW_INTERVAL_MS));
        follow.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = Stamp::default();
        loop {
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                _ = hangup.recv() => self.clone().on_signal().await,
                _ = follow.tick() => self.clone().follow().await,
                _ = look.tick(), if watch => self.clone().look(&mut seen).await,
            }
        }
    }

    async fn on_signal(self: Arc<Self>) {
        self.in_background(|own| {
            own.reopen_log();
            own.reload(Trigger::Signal).is_ok()
        })
        .await;
    }

    /// A SIGHUP is also how log rotation says that it has moved the file away.
    fn reopen_log(&self) {
        match AccessLog::open(&self.on.live.load().snapshot.log.access) {
            Ok(log) => self.on.recorder.replace_log(log),
            Err(error) => tracing::error!(%error, "the access log cannot be opened again"),
        }
    }

    async fn look(self: Arc<Self>, seen: &mut Stamp) {
        let now = self.source.stamp();
        if now == *seen {
            return;
        }
        sleep(SETTLE).await;
        if self.source.stamp() != now {
            return;
        }
        *seen = now;
        self.in_background(|own| own.source.has_changed() && own.reload(Trigger::Watch).is_ok())
            .await;
    }

    /// Accounts and switches that another process has changed.
    async fn follow(self: Arc<Self>) {
        self.in_background(|own| match own.on.accounts.follow() {
            Ok(changed) => changed,
            Err(error) => {
                tracing::warn!(%error, "accounts and switches cannot be read at present");
                false
            }
        })
        .await;
    }

    async fn in_background(self: Arc<Self>, work: impl FnOnce(&Self) -> bool + Send + 'static) {
        if let Err(error) = tokio::task::spawn_blocking(move || work(&self)).await {
            tracing::error!(%error, "a reload broke off");
        }
    }

    fn replace(&self) -> Result<Reloaded, Vec<Problem>> {
        let file = self.source.read()?;
        let turn = self.on.accounts.turn();
        let keys = file.profiles.keys.as_deref();
        registry::check_keys(&*self.on.accounts.registry, keys).map_err(|why| vec![shut(&why)])?;
        let joined = turn.join(&file).map_err(|error| vec![unreadable(&error)])?;
        let snapshot = &joined.snapshot;
        let old = self.on.live.load_full();
        let mut changes = changes(&old.snapshot, snapshot);
        let mut warnings = needs_restart(&old.snapshot, snapshot);
        let told = old.snapshot.leaves.changes(&snapshot.leaves);
        changes.extend(told.into_iter().filter(|path| !waits_for_restart(path)));
        warnings.extend(snapshot.warnings.iter().cloned());
        // Opened before anything is put in force, because it can fail.
        let log = if old.snapshot.log == snapshot.log { None } else { Some(open_log(snapshot)?) };
        let agents = snapshot.gate.agents.all().iter().map(|agent| agent.id.clone()).collect();
        // Accounts first: a request that sees the new agents must find theirs.
        self.on.keeper.configure(&snapshot.budgets);
        let version = turn.put(joined, Some(file));
        if let Some(log) = log {
            self.on.recorder.replace_log(log);
        }
        Ok(Reloaded { version, agents, changes, warnings })
    }
}

fn shut(why: &KeyError) -> Problem {
    Problem { path: "profiles.kms_key".to_owned(), message: why.to_string(), line: None }
}

fn unreadable(error: &RegistryError) -> Problem {
    let message = format!("the accounts in it cannot be read: {error}");
    Problem { path: "store".to_owned(), message, line: None }
}

/// Opens the log that the configuration names.
pub fn open_log(snapshot: &Snapshot) -> Result<AccessLog, Vec<Problem>> {
    AccessLog::open(&snapshot.log.access).map_err(|error| shut_log(&error))
}

/// Whether that log could be opened, without making it: a check leaves nothing behind.
///
/// # Errors
/// There is no such folder, or something else than a file that can be written.
pub fn log_can_be_opened(snapshot: &Snapshot) -> Result<(), Vec<Problem>> {
    let Target::File(path) = &snapshot.log.access else { return Ok(()) };
    let opened = match std::fs::metadata(path) {
        // A pipe would wait for its reader.
        Ok(found) if !found.is_file() && !found.is_dir() => Ok(()),
        Ok(_) => File::options().append(true).open(path).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            folder.map_or(Ok(()), |folder| std::fs::read_dir(folder).map(drop))
        }
        Err(error) => Err(error),
    };
    opened.map_err(|error| shut_log(&error))
}

fn shut_log(error: &io::Error) -> Vec<Problem> {
    let message = format!("cannot be opened: {error}");
    vec![Problem { path: "log.access".to_owned(), message, line: None }]
}

fn report(trigger: Trigger, reloaded: &Reloaded) {
    let changes = reloaded.changes.join("; ");
    tracing::info!(
        trigger = trigger.name(),
        version = reloaded.version,
        changes,
        "configuration reloaded"
    );
    for warning in &reloaded.warnings {
        tracing::warn!("{warning}");
    }
}

/// Names that came and went, and budgets that are others now.
fn changes(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let budgets = budget_changes(&old.budgets.accounts, &new.budgets.accounts);
    let (old, new) = (Names::of(old), Names::of(new));
    let sets = [
        ("providers", old.providers, new.providers),
        ("models", old.models, new.models),
        ("agents", old.agents, new.agents),
    ];
    let lines = sets.into_iter().filter_map(|(kind, old, new)| {
        let came: BTreeSet<String> = new.difference(&old).map(|name| format!("+{name}")).collect();
        let went: BTreeSet<String> = old.difference(&new).map(|name| format!("-{name}")).collect();
        let all: Vec<String> = came.into_iter().chain(went).collect();
        (!all.is_empty()).then(|| format!("{kind}: {}", all.join(" ")))
    });
    lines.chain(budgets).collect()
}

/// What is different about the accounts that were there before: `budget of builder: limit_usd 5 -> 10`.
fn budget_changes(old: &[Opening], new: &[Opening]) -> Vec<String> {
    let known: HashMap<&AccountKey, &Terms> =
        old.iter().map(|opening| (&opening.planned.key, &opening.planned.terms)).collect();
    let lines = new.iter().filter_map(|opening| {
        let Planned { key, terms, .. } = &opening.planned;
        let all = terms_changes(known.get(key)?, terms);
        let name = shown::name(key);
        (!all.is_empty()).then(|| format!("budget of {name}: {}", all.join(", ")))
    });
    lines.collect()
}

fn terms_changes(old: &Terms, new: &Terms) -> Vec<String> {
    let limit = |terms: &Terms| terms.limit.map_or("none".to_owned(), |limit| limit.to_string());
    let all = [
        ("limit_usd", limit(old), limit(new)),
        ("period", old.cadence.name().to_owned(), new.cadence.name().to_owned()),
        ("timezone", old.zone.to_string(), new.zone.to_string()),
        ("hard_cap", old.hard.to_string(), new.hard.to_string()),
    ];
    let different = all.into_iter().filter(|(_, old, new)| old != new);
    different.map(|(key, old, new)| format!("{key} {old} -> {new}")).collect()
}

/// Settings that stay as they were until the process starts anew, as their paths begin.
const RESTART: [&str; 7] = [
    "server.listen",
    "server.admin",
    "server.tls",
    "server.threads",
    "server.h2c",
    "server.upgrade_sock",
    "store",
];

/// Whether what is told (`PATH: changed`) is of such a setting, or of something below it.
fn waits_for_restart(told: &str) -> bool {
    let below = |rest: &str| rest.starts_with(['.', '[', ':']);
    RESTART.iter().any(|at| told.strip_prefix(at).is_some_and(below))
}

/// Settings that were changed but stay as they were until the process starts anew.
fn needs_restart(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let store = old.store != new.store;
    let (old, new) = (&old.server, &new.server);
    let settings = [
        ("server.listen", old.listen != new.listen),
        ("server.admin", old.admin != new.admin),
        ("server.tls", old.tls != new.tls),
        ("server.threads", old.threads != new.threads),
        ("server.h2c", old.h2c != new.h2c),
        ("server.upgrade_sock", old.upgrade_sock != new.upgrade_sock),
        ("store", store),
    ];
    let changed = settings.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(path, _)| format!("{path}: changed, but needs a restart")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::accounts;
    use crate::engine::recorder::Stage;
    use crate::engine::source::sample::{self, Folder};
    use crate::ledger::book::Book;
    use crate::ledger::saved::Saved;
    use crate::record::sample as records;

    struct Stand {
        folder: Folder,
        reloader: Arc<Reloader>,
    }

    fn stand(name: &str) -> Stand {
        let folder = Folder::new(name);
        let path = folder.write("weir.yaml", &sample::yaml("one"));
        let source = Source::with_env(path, Box::new(sample::env));
        let metrics = Arc::new(Metrics::new("0").unwrap());
        let file = source.read().unwrap();
        let (accounts, live) = accounts::sample::accounts(folder.path(), file, metrics.clone());
        let log = AccessLog::to_memory().0;
        let recorder = Arc::new(Recorder::new(metrics.clone(), log));
        let keeper = Arc::new(Bookkeeper::new(Book::restore(Saved::default()), metrics.clone()));
        let on = Targets { live, metrics, recorder, keeper, accounts };
        Stand { folder, reloader: Arc::new(Reloader::new(source, on)) }
    }

    fn page(reloader: &Reloader) -> String {
        reloader.on.metrics.render().unwrap()
    }

    #[test]
    fn a_good_file_is_put_in_force_and_its_changes_are_told() {
        let Stand { folder, reloader } = stand("good");
        let other = sample::yaml("two").replace("threads: 1", "threads: 2");
        folder.write("weir.yaml", &format!("{other}store: 'sqlite:other.db'\n"));
        let reloaded = reloader.reload(Trigger::Admin).unwrap();
        assert_eq!(reloaded.version, 2);
        assert_eq!(reloaded.changes, ["models: +two -one"]);
        assert_eq!(reloaded.warnings[0], "server.threads: changed, but needs a restart");
        assert_eq!(reloaded.warnings[1], "store: changed, but needs a restart");
        assert_eq!(&*reloader.on.live.load().snapshot.catalog.models()[0].id, "two");
        assert!(page(&reloader).contains("weir_config_reloads_total{result=\"success\"} 1"));
        let dearer =
            other.replace("input: 1", "input: 7").replace("{mode: auto}", "{mode: manual}");
        folder.write("weir.yaml", &dearer);
        let reloaded = reloader.reload(Trigger::Admin).unwrap();
        let wanted = ["agents.worker.mode: changed", "models[two].price.input: changed"];
        assert_eq!(reloaded.changes, wanted);
    }

    #[test]
    fn only_what_lies_below_a_setting_waits_with_it() {
        for waits in [
            "store: added",
            "store.path: changed",
            "server.listen[0]: gone",
            "server.tls.key: changed",
        ] {
            assert!(waits_for_restart(waits), "{waits}");
        }
        for at_once in ["stored: added", "store_more.path: changed", "server.listeners: gone"] {
            assert!(!waits_for_restart(at_once), "{at_once}");
        }
    }

    #[test]
    fn other_budgets_are_told() {
        let Stand { folder, reloader } = stand("budgets");
        let with = |budget: &str| {
            let fleet = "fleet: {budget: {limit_usd: 50}}\n";
            let text =
                sample::yaml("one").replace("{mode: auto}", &format!("{{budget: {budget}}}"));
            folder.write("weir.yaml", &format!("{text}{fleet}"));
            let told = reloader.reload(Trigger::Admin).unwrap().changes.into_iter();
            told.filter(|line| line.starts_with("budget of ")).collect::<Vec<_>>()
        };
        assert_eq!(
            with("{limit_usd: 5, period: monthly}"),
            ["budget of worker: limit_usd none -> 5, period none -> monthly"]
        );
        let zone = with("{limit_usd: 5, period: monthly, timezone: Europe/Berlin}");
        assert_eq!(zone, ["budget of worker: timezone UTC -> Europe/Berlin"]);
        assert_eq!(with("{limit_usd: 5, period: monthly, timezone: Europe/Berlin}"), [""; 0]);
    }

    #[test]
    fn a_bad_file_changes_nothing_and_says_why() {
        let Stand { folder, reloader } = stand("bad");
        folder.write("weir.yaml", "providers: 5\nmodels: []\nnonsense: 1\n");
        let problems = reloader.reload(Trigger::Admin).unwrap_err();
        assert!(problems.len() > 1, "every problem: {problems:?}");
        assert_eq!(reloader.last_failure(), problems);
        assert_eq!(reloader.on.live.load().snapshot.version, 1);
        assert!(page(&reloader).contains("weir_config_reloads_total{result=\"failure\"} 1"));
        folder.write("weir.yaml", &sample::yaml("one"));
        reloader.reload(Trigger::Admin).unwrap();
        assert!(reloader.last_failure().is_empty());
    }

    #[test]
    fn the_access_log_moves_with_the_configuration() {
        let Stand { folder, reloader } = stand("log");
        let lines = folder.0.join("lines.jsonl");
        let with_log = |path: &str| format!("{}log: {{access: \"{path}\"}}\n", sample::yaml("one"));
        folder.write("weir.yaml", &with_log("/nonexistent/folder/lines.jsonl"));
        let problems = reloader.reload(Trigger::Admin).unwrap_err();
        assert_eq!(problems[0].path, "log.access");
        folder.write("weir.yaml", &with_log(&lines.display().to_string()));
        reloader.reload(Trigger::Admin).unwrap();
        reloader.on.recorder.start().unwrap();
        reloader.on.recorder.send(records::record());
        assert!(reloader.on.recorder.flush(Stage::Logged, Duration::from_secs(5)));
        assert_eq!(std::fs::read_to_string(lines).unwrap().lines().count(), 1);
    }

    #[tokio::test]
    async fn a_hangup_opens_a_rotated_log_again() {
        let Stand { folder, reloader } = stand("rotated");
        let lines = folder.0.join("lines.jsonl");
        let log = format!("{}log: {{access: \"{}\"}}\n", sample::yaml("one"), lines.display());
        folder.write("weir.yaml", &log);
        reloader.reload(Trigger::Admin).unwrap();
        reloader.on.recorder.start().unwrap();
        for moved in ["old.jsonl", "older.jsonl"] {
            reloader.on.recorder.send(records::record());
            assert!(reloader.on.recorder.flush(Stage::Logged, Duration::from_secs(5)));
            std::fs::rename(&lines, folder.0.join(moved)).unwrap();
            reloader.clone().on_signal().await;
        }
        assert!(lines.exists());
        let old = std::fs::read_to_string(folder.0.join("old.jsonl")).unwrap();
        assert_eq!((old.lines().count(), reloader.on.live.load().snapshot.version), (1, 4));
    }

    #[tokio::test]
    async fn a_watched_file_is_reloaded_when_it_changes() {
        let Stand { folder, reloader } = stand("watch");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(reloader.clone().run(true, async {
            let _ = stopped.await;
        }));
        folder.write("weir.yaml", &sample::yaml("two"));
        for _ in 0..100 {
            if reloader.on.live.load().snapshot.version == 2 {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(reloader.on.live.load().snapshot.version, 2);
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
    }
}
