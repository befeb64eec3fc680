//! What all requests of the data plane share: configuration, clocks, counters, the recorder.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::base::id::RequestId;
use crate::base::limit::{DRAIN_LOOK_MS, LINGER_MS};
use crate::engine::accounts::Accounts;
use crate::engine::bookkeeper::Bookkeeper;
use crate::engine::descriptors;
use crate::engine::live::Live;
use crate::engine::pins::Pins;
use crate::engine::recorder::Recorder;
use crate::engine::reloader::Targets;
use crate::engine::sentry::Sentry;
use crate::engine::warden::Warden;
use crate::exchange::Now;
use crate::exchange::defence::Defence;
use crate::ledger::account::AccountId;
use crate::proxy::farewell::Farewell;
use crate::proxy::peer::{Resolver, Trust};
use crate::routing::round_robin::Rotation;
use crate::telemetry::metrics::Metrics;

/// The parts that guard the data plane.
pub struct Guards {
    /// Who is shut out.
    pub warden: Arc<Warden>,
    /// The security parts of `/infer`.
    pub defence: Arc<dyn Defence>,
    /// What the guards remember.
    pub sentry: Arc<Sentry>,
}

/// The parts of the data plane.
pub struct Shared {
    /// The configuration.
    pub live: Arc<Live>,
    /// Where records go.
    pub recorder: Arc<Recorder>,
    /// Who has money.
    pub keeper: Arc<Bookkeeper>,
    /// Accounts at providers, and switches.
    pub accounts: Arc<Accounts>,
    /// Who is shut out.
    pub warden: Arc<Warden>,
    /// The security parts of `/infer`.
    pub defence: Arc<dyn Defence>,
    /// Gauges that are moved while a request runs.
    pub metrics: Arc<Metrics>,
    /// Addresses of providers.
    pub resolver: Resolver,
    /// The certificates of providers that have their own.
    pub trust: Trust,
    /// Whose turn it is.
    pub rotation: Rotation,
    /// Where sessions are pinned.
    pub pins: Arc<Pins>,
    /// The tier that each agent's last request was given, for the hysteresis.
    pub tiers: Tiers,
    /// What the guards remember.
    pub sentry: Arc<Sentry>,
    /// Work that is going on.
    pub load: Load,
    /// Set when the process begins to stop.
    pub draining: Arc<AtomicBool>,
    /// Whom to tell when it is about to end.
    pub farewell: Arc<Farewell>,
    /// Connections that file descriptors suffice for.
    connections_possible: usize,
    id_prefix: u64,
    id_next: AtomicU64,
}

impl Shared {
    /// The parts, with request ids that begin with `id_prefix` (random per process).
    pub fn new(on: &Targets, guards: Guards, id_prefix: u64) -> Self {
        let Guards { warden, defence, sentry } = guards;
        Self {
            live: Arc::clone(&on.live),
            recorder: Arc::clone(&on.recorder),
            keeper: Arc::clone(&on.keeper),
            accounts: Arc::clone(&on.accounts),
            warden,
            defence,
            metrics: Arc::clone(&on.metrics),
            resolver: Resolver::default(),
            trust: Trust::default(),
            rotation: Rotation::default(),
            pins: Arc::default(),
            tiers: Tiers::default(),
            sentry,
            load: Load::default(),
            draining: Arc::default(),
            farewell: Arc::default(),
            connections_possible: descriptors::connections(),
            id_prefix,
            id_next: AtomicU64::new(1),
        }
    }

    /// A new request id: unique in the process by its counter, among processes by its prefix.
    pub fn next_id(&self) -> RequestId {
        let count = self.id_next.fetch_add(1, Ordering::Relaxed);
        RequestId::from_bits(u128::from(self.id_prefix) << 64 | u128::from(count))
    }

    /// Connections that are let in: no more than there are file descriptors for. Who ran out of them could not
    /// even answer at the admin port.
    pub fn connections_max(&self) -> usize {
        self.live.load().snapshot.server.connections_max.min(self.connections_possible)
    }

    /// The clocks.
    pub fn now(&self) -> Now {
        let unix_ms = u64::try_from(self.keeper.unix_ms()).unwrap_or_default();
        Now { us: self.live.now_us(), unix_ms }
    }
}

/// The tier of each agent's last request. As many as there are agents in the ledger.
#[derive(Default)]
pub struct Tiers(Mutex<HashMap<AccountId, usize>>);

impl Tiers {
    /// The last tier of that agent.
    pub fn last(&self, agent: AccountId) -> Option<usize> {
        self.0.lock().get(&agent).copied()
    }

    /// Notes the tier that it is given now.
    pub fn note(&self, agent: AccountId, tier: usize) {
        self.0.lock().insert(agent, tier);
    }
}

/// How much is going on. Limits are the caller's: they may change with a reload.
#[derive(Default)]
pub struct Load {
    /// Requests between their head and their record.
    pub requests: Arc<Gauge>,
    /// Streams among them.
    pub streams: Arc<Gauge>,
    /// Client connections.
    pub connections: Arc<Gauge>,
    /// Abandoned streams that are read on.
    pub drains: Arc<Gauge>,
}

impl Load {
    /// Waits until no client is connected any more, but not for long: idle connections may be cut.
    pub async fn linger(&self) {
        let mut look = tokio::time::interval(Duration::from_millis(DRAIN_LOOK_MS));
        let empty = async {
            while self.connections.count() > 0 {
                look.tick().await;
            }
        };
        // Whether they went by themselves makes no difference.
        let _ = tokio::time::timeout(Duration::from_millis(LINGER_MS), empty).await;
    }
}

/// A count of things that are open.
#[derive(Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// How many are open.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Opens one more if fewer than `max` are open; it is closed when the ticket is dropped.
    pub fn enter(self: &Arc<Self>, max: usize) -> Option<Ticket> {
        if self.0.fetch_add(1, Ordering::Relaxed) < max {
            return Some(Ticket(Arc::clone(self)));
        }
        self.0.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

/// One open thing.
pub struct Ticket(Arc<Gauge>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
