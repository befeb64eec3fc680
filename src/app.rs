//! The composition root: builds every part by hand, in order, and starts what a command asks for.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use loadtest::upstream::server::{self as mock_server, MockConfig};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::admin::handlers::Parts as AdminParts;
use crate::base::limit::HANDOVER_ACCOUNTS;
use crate::config::problem::Problem;
use crate::config::raw_pinning::Keep;
use crate::config::snapshot::{self, Snapshot};
use crate::demo;
use crate::engine::accounts::Accounts;
use crate::engine::auditor::Auditor;
use crate::engine::bookkeeper::Bookkeeper;
use crate::engine::clock::{Clock, SystemClock};
use crate::engine::console;
use crate::engine::descriptors;
use crate::engine::lookup;
use crate::engine::outbox;
use crate::engine::pin_keeper::PinKeeper;
use crate::engine::recorder::Recorder;
use crate::engine::reloader::{self, Reloader, Targets};
use crate::engine::rounds::Rounds;
use crate::engine::sentry::Sentry;
use crate::engine::source::{self, Source};
use crate::engine::warden::Warden;
use crate::exchange::defence::{self, Defence};
use crate::guard::trial::{Report, Row};
use crate::identity::key;
use crate::identity::vault::{Key, Keys};
use crate::ledger::book::Book;
use crate::proxy::background::{Admin, Leave, Reloading};
use crate::proxy::server::{self, Parts};
use crate::proxy::shared::{Guards, Shared};
use crate::store::export::{self, ExportError, Wish};
use crate::store::lock::Lock;
use crate::store::pins::PinStore;
use crate::store::registry::{self, Registry};
use crate::store::replay;
use crate::store::sqlite::registry::SqliteRegistry;
use crate::store::sqlite::ward::SqliteWard;
use crate::store::sqlite::{Opening, SqliteStore};
use crate::store::verify::{self, Verified};
use crate::store::{Store, StoreError};
use crate::telemetry::logging::{self, Format};
use crate::telemetry::metrics::Metrics;

/// How the gateway is started.
pub struct Start {
    /// Looks at the configuration file, and reloads it when it changes.
    pub watch: bool,
    /// Takes over from a process that is running.
    pub upgrade: bool,
    /// By which periods begin and end.
    pub clock: Arc<dyn Clock>,
    /// The security parts of `/infer`.
    pub defence: Arc<dyn Defence>,
}

impl Start {
    /// By the system's clock, with the guard of this program.
    pub fn new(watch: bool, upgrade: bool) -> Self {
        Self { watch, upgrade, clock: Arc::new(SystemClock), defence: Arc::new(defence::Guard) }
    }
}

/// `weir serve`.
///
/// # Errors
/// What is wrong, for people: a bad configuration, a port that is taken.
pub fn serve(path: PathBuf, start: Start) -> Result<(), String> {
    start_log(Format::Json)?;
    let source = Source::new(path);
    let snapshot = source.read().map_err(|problems| listed(&problems))?;
    let raised = descriptors::raise().err();
    let too_few = descriptors::warning(snapshot.server.connections_max);
    for warning in snapshot.warnings.iter().chain(&raised).chain(&too_few) {
        tracing::warn!("{warning}");
    }
    if !start.upgrade {
        snapshot.server.listen.iter().try_for_each(|address| bind(*address).map(drop))?;
    }
    run(source, snapshot, start)
}

/// Builds and runs the gateway.
///
/// # Errors
/// A part that cannot start.
pub fn run(source: Source, snapshot: Snapshot, start: Start) -> Result<(), String> {
    let Start { watch, upgrade, clock, defence } = start;
    logging::keep_text_out_of_panics();
    let settings = snapshot.server.clone();
    // The process that hands over keeps the admin port until it begins to stop.
    let admin_listener = if upgrade { None } else { Some(bind(settings.admin)?) };
    let log = reloader::open_log(&snapshot).map_err(|problems| listed(&problems))?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION")).map_err(|error| error.to_string())?;
    let metrics = Arc::new(metrics);
    let recorder = Arc::new(Recorder::new(Arc::clone(&metrics), log));
    recorder.start().map_err(|error| format!("the recorder cannot start: {error}"))?;
    let (store, keys) = (snapshot.store.clone(), snapshot.profiles.keys.clone());
    let book = book(&store, upgrade)?;
    let clock_of_bans = Arc::clone(&clock);
    let keeper = keeper(book, &metrics, clock)?;
    let registry = open_registry(&store, keys.as_deref())?;
    let keeps_pins = snapshot.pinning.keep == Keep::Store;
    let pin_store = keeps_pins.then(|| Arc::clone(&registry) as Arc<dyn PinStore>);
    let registry: Arc<dyn Registry> = registry;
    let auditor = Arc::new(Auditor::new(Arc::clone(&registry), Arc::clone(&metrics)));
    recorder.audit_to(Arc::clone(&auditor));
    let warden = open_ward(&store, Arc::clone(&clock_of_bans))?;
    recorder.count_at(Arc::clone(&warden));
    let joined = Accounts::open(Arc::clone(&registry), snapshot, Arc::clone(&metrics));
    let (accounts, live) = joined.map_err(|error| format!("store: {error}"))?;
    recorder.statistics.price_by(Arc::clone(&live));
    let on = Targets { live, metrics, recorder, keeper, accounts: Arc::new(accounts) };
    let prefix = u64::from_le_bytes(random()?);
    // The store's secret, so that canaries stay the same over restarts and on all nodes.
    let sentry = Arc::new(Sentry::new(*warden.secret()));
    let guards = Guards { warden: Arc::clone(&warden), defence: Arc::clone(&defence), sentry };
    let shared = Arc::new(Shared::new(&on, guards, prefix));
    let admin_parts = AdminParts {
        live: Arc::clone(&on.live),
        recorder: Arc::clone(&on.recorder),
        metrics: Arc::clone(&on.metrics),
        keeper: Arc::clone(&on.keeper),
        accounts: Arc::clone(&on.accounts),
        registry,
        auditor,
        pins: Arc::clone(&shared.pins),
        warden,
        defence,
        draining: Arc::clone(&shared.draining),
        reloader: Arc::new(Reloader::new(source, on)),
    };
    let reloading = Reloading { reloader: Arc::clone(&admin_parts.reloader), watch };
    let calls = Calls::start(&admin_parts, pin_store)?;
    let leave = leaving(&admin_parts, calls);
    let admin = Admin {
        address: settings.admin,
        listener: Mutex::new(admin_listener),
        parts: Arc::new(admin_parts),
        handing_over: Arc::default(),
    };
    tracing::info!(listen = ?settings.listen, admin = %settings.admin, "weir is up");
    server::run(&settings, Parts { shared, admin, reloading, leave, upgrade })
}

/// The threads that make calls of our own.
struct Calls {
    console: Rounds,
    lookup: Rounds,
    outbox: Rounds,
    /// Keeps pins in the store, if that is wanted.
    pins: Option<Rounds>,
}

impl Calls {
    fn start(parts: &AdminParts, pin_store: Option<Arc<dyn PinStore>>) -> Result<Self, String> {
        let failed = |error| format!("a thread for outgoing calls cannot start: {error}");
        let (live, keeper) = (Arc::clone(&parts.live), Arc::clone(&parts.keeper));
        parts
            .auditor
            .start(Arc::clone(&live))
            .map_err(|error| format!("the audit's thread cannot start: {error}"))?;
        parts
            .warden
            .start(Arc::clone(&live))
            .map_err(|error| format!("the guard's thread cannot start: {error}"))?;
        let console = console::start(live, Arc::clone(&keeper), Arc::clone(&parts.metrics))
            .map_err(failed)?;
        let (live, asks) = (Arc::clone(&parts.live), Arc::clone(&keeper));
        let lookup = lookup::start(live, asks).map_err(failed)?;
        let outbox =
            outbox::start(Arc::clone(&keeper), Arc::clone(&parts.metrics)).map_err(failed)?;
        let pins = pin_store.map(|store| {
            let keeper = PinKeeper::open(Arc::clone(&parts.pins), store);
            keeper.start(Arc::clone(&parts.live), Arc::clone(&parts.keeper)).map_err(failed)
        });
        Ok(Self { console, lookup, outbox, pins: pins.transpose()? })
    }
}

/// The last things to do, in order: the console changes the book, and the book's last entries may be alerts.
fn leaving(parts: &AdminParts, calls: Calls) -> Leave {
    let (records, entries) = (Arc::clone(&parts.recorder), Arc::clone(&parts.keeper));
    let (auditor, warden) = (Arc::clone(&parts.auditor), Arc::clone(&parts.warden));
    Arc::new(move || {
        records.stop();
        auditor.stop();
        if let Some(pins) = &calls.pins {
            pins.stop();
        }
        warden.stop();
        calls.console.stop();
        calls.lookup.stop();
        entries.stop();
        calls.outbox.stop();
        demo::clean_up();
        std::process::exit(0)
    })
}

/// Opens the ledger. A process that takes over from another one shares it with that one until that one has
/// settled everything.
fn book(store: &snapshot::Store, upgrade: bool) -> Result<(Book, SqliteStore), String> {
    let opening = if upgrade { Opening::TakeOver } else { Opening::Own };
    let refused = |error: StoreError| format!("store: {error}");
    let mut store = SqliteStore::open(&store.path, store.synchronous, opening).map_err(refused)?;
    let mut saved = store.open_epoch().map_err(refused)?;
    if upgrade {
        // The process before this one may still open accounts for sessions; their numbers are its own.
        saved.next_account.0 = saved.next_account.0.saturating_add(HANDOVER_ACCOUNTS);
    }
    Ok((Book::restore(saved), store))
}

/// Starts the scribe of a ledger.
fn keeper(
    (book, store): (Book, SqliteStore),
    metrics: &Arc<Metrics>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Bookkeeper>, String> {
    let keeper = Arc::new(Bookkeeper::timed(book, Arc::clone(metrics), clock));
    keeper
        .start(Box::new(store))
        .map_err(|error| format!("the ledger's thread cannot start: {error}"))?;
    Ok(keeper)
}

/// Opens what operators keep beside the ledger, and makes sure that its credentials can be opened.
fn open_registry(
    store: &snapshot::Store,
    keys: Option<&Keys>,
) -> Result<Arc<SqliteRegistry>, String> {
    let registry = SqliteRegistry::open(&store.path).map_err(|error| format!("store: {error}"))?;
    registry::check_keys(&registry, keys).map_err(|error| error.to_string())?;
    Ok(Arc::new(registry))
}

/// Opens what the guard keeps beside the ledger.
fn open_ward(store: &snapshot::Store, clock: Arc<dyn Clock>) -> Result<Arc<Warden>, String> {
    let ward = SqliteWard::open(&store.path).map_err(|error| format!("store: {error}"))?;
    Warden::open(Arc::new(ward), clock).map(Arc::new)
}

/// `weir check`.
///
/// # Errors
/// Every problem, one a line.
pub fn check(path: PathBuf) -> Result<(), String> {
    let source = Source::new(path);
    let snapshot = source.read().map_err(|problems| listed(&problems))?;
    reloader::log_can_be_opened(&snapshot).map_err(|problems| listed(&problems))?;
    let too_few = descriptors::warning(snapshot.server.connections_max);
    for warning in snapshot.warnings.iter().chain(&too_few) {
        tell(&format!("warning: {warning}"))?;
    }
    let (models, providers) = (snapshot.catalog.models().len(), snapshot.providers.len());
    tell(&format!("{}: ok, {models} models at {providers} providers", source.path().display()))
}

/// `weir mock`.
///
/// # Errors
/// A port that is taken, a log that cannot be opened.
pub fn mock(listen: SocketAddr, log: Option<PathBuf>) -> Result<(), String> {
    let config = MockConfig { listen, log, ..MockConfig::default() };
    mock_server::run(config, |address| say(&format!("mock providers on http://{address}/v1")))
        .map_err(|error| format!("{listen}: {error}"))
}

/// `weir key new`.
///
/// # Errors
/// No randomness from the system, an output that cannot be written.
pub fn new_key() -> Result<(), String> {
    let fresh = key::fresh(&random()?);
    tell(&fresh.key)?;
    tell(&fresh.hash.to_string())
}

/// Where the ledger lies: the file named, or the one of the configuration.
///
/// # Errors
/// Everything that is wrong with the configuration, if that is what is asked.
pub fn ledger_file(config: PathBuf, file: Option<PathBuf>) -> Result<PathBuf, String> {
    if let Some(file) = file {
        return Ok(file);
    }
    let snapshot = Source::new(config).read().map_err(|problems| listed(&problems))?;
    Ok(snapshot.store.path)
}

/// `weir ledger export`.
///
/// # Errors
/// A ledger that cannot be read, an output that cannot be written.
pub fn export(file: &Path, wish: Wish, output: Option<&Path>) -> Result<(), String> {
    let mut out: Box<dyn Write> = match output {
        Some(path) => {
            let there =
                |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
            let ledger = there(file).map_err(|error| format!("{}: {error}", file.display()))?;
            if there(path).is_ok_and(|found| found == ledger) {
                return Err(format!("{} is the ledger itself", path.display()));
            }
            let made =
                File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Box::new(BufWriter::new(made))
        }
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    match export::export(file, wish, &mut out) {
        // Whoever reads has seen enough.
        Err(ExportError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.map(drop).map_err(|error| error.to_string()),
    }
}

/// `weir guard eval --secrets`: the output filter on labelled texts.
///
/// # Errors
/// The first line that cannot be read.
pub fn guard_eval(file: &Path) -> Result<(), String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let opened = File::open(file).map_err(|error| named(&error))?;
    let is_packed = file.extension().is_some_and(|extension| extension == "gz");
    let bytes: Box<dyn Read> =
        if is_packed { Box::new(MultiGzDecoder::new(opened)) } else { Box::new(opened) };
    let mut report = Report::default();
    for (number, line) in (1..).zip(BufReader::new(bytes).lines()) {
        let line = line.map_err(|error| named(&error))?;
        let row = Row::read(&line).map_err(|error| named(&format!("line {number}: {error}")))?;
        report.judge(&row);
    }
    say(&report.table());
    Ok(())
}

/// `weir ledger verify`.
///
/// # Errors
/// The first broken entry, after everything that is wrong has been printed.
pub fn verify(file: &Path) -> Result<(), String> {
    let found = verify::verify(file).map_err(|error| error.to_string())?;
    for broken in &found.broken {
        say(&broken.to_string());
    }
    if found.more > 0 {
        say(&format!("and {} more", found.more));
    }
    let Verified { entries, head, held, limbo, .. } = &found;
    say(&format!("{entries} entries, {held} holds open, {limbo} in limbo, last hash {head}"));
    let Some(first) = found.broken.first() else {
        say(&format!("{}: ok", file.display()));
        return Ok(());
    };
    Err(format!("{}: broken; first, {first}", file.display()))
}

/// `weir ledger replay`.
///
/// # Errors
/// A ledger that is in use or cannot be rebuilt.
pub fn replay(file: &Path) -> Result<(), String> {
    let different = replay::replay(file).map_err(|error| error.to_string())?;
    for what in &different {
        say(what);
    }
    say(&format!("{}: {} rows were wrong", file.display(), different.len()));
    Ok(())
}

/// `weir profiles rotate-key`: with the key of that file, or of that variable.
///
/// # Errors
/// A key that is none, or that a running gateway does not know yet; a credential that does not open; a store
/// that cannot be used. Nothing is changed then.
pub fn rotate_key(config: PathBuf, file: Option<&Path>, env: Option<&str>) -> Result<(), String> {
    let snapshot = Source::new(config).read().map_err(|problems| listed(&problems))?;
    let new = new_key_of(file, env)?;
    let keys = snapshot.profiles.keys.as_deref();
    let path = &snapshot.store.path;
    if !path.exists() {
        return Err(format!("{} does not exist: there is nothing to seal", path.display()));
    }
    // Held to the end, so that no gateway starts in between that knows the former key only.
    let alone = Lock::try_take(path).map_err(|error| format!("store: {error}"))?;
    if alone.is_none() && !keys.is_some_and(|keys| keys.has(&new)) {
        return Err("the gateway is running, and this key is not in its configuration: name it in \
                    profiles.kms_key (and the former one in profiles.kms_keys_old), reload, and try \
                    again"
            .to_owned());
    }
    let registry = SqliteRegistry::open(path).map_err(|error| format!("store: {error}"))?;
    let count = registry::rotate(&registry, keys, &new, &mut random)
        .map_err(|error| format!("nothing was changed: {error}"))?;
    say(&format!("{count} credentials are sealed with the key {}", new.id()));
    if !keys.is_some_and(|keys| keys.current().same_as(&new)) {
        say("the configuration seals with another key: name this one in profiles.kms_key");
    }
    Ok(())
}

fn new_key_of(file: Option<&Path>, env: Option<&str>) -> Result<Key, String> {
    let (name, text) = match (file, env) {
        (Some(file), _) => (file.display().to_string(), source::key_file(file)),
        (None, Some(name)) => {
            let text = std::env::var(name).map(Zeroizing::new);
            (name.to_owned(), text.map_err(|error| error.to_string()))
        }
        (None, None) => return Err("the new key is missing (--new-key-file FILE)".to_owned()),
    };
    let key = text.and_then(|text| Key::from_base64(&text).map_err(|error| error.to_string()));
    key.map_err(|error| format!("{name} {error}"))
}

/// Starts the program's own log.
///
/// # Errors
/// A filter in `WEIR_LOG` that cannot be read.
pub fn start_log(format: Format) -> Result<(), String> {
    let filter = std::env::var("WEIR_LOG").ok();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    logging::init(format, filter.as_deref(), no_color).map_err(|error| error.to_string())
}

/// Random bytes from the system.
///
/// # Errors
/// None are to be had.
pub fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| format!("no randomness: {error}"))?;
    Ok(bytes)
}

/// Prints a line for people. A closed pipe is no reason to fail.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line that is what a command was called for. Whoever closed the pipe has seen enough.
///
/// # Errors
/// An output that takes no more, such as a full disk.
pub fn tell(line: &str) -> Result<(), String> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("the standard output cannot be written: {error}"))
        }
        _ => Ok(()),
    }
}

/// Prints why a command failed.
pub fn say_error(problem: &str) {
    let _ = writeln!(std::io::stderr(), "{problem}");
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Makes sure that the address can be had. Pingora would only panic on a thread of its own.
fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let refused = |error| format!("cannot listen on {address}: {error}");
    let listener = TcpListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    Ok(listener)
}
