//! One configuration, checked and ready: all that a request may read. It never changes; a reload
//! makes a new one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::header::HeaderValue;

use crate::base::surface::{Dialect, Surface};
use crate::config::budgets::Budgets;
use crate::config::catalog::Catalog;
use crate::config::guards::Guarding;
use crate::config::learned::Learned;
use crate::config::leaves::Leaves;
use crate::config::mutators::Mutators;
use crate::config::overlay::ActiveTable;
use crate::config::raw_infer::Infer;
use crate::config::raw_pinning::Pinning;
use crate::dialect::notice::NoticeMode;
use crate::guard::quarantine::Terms;
use crate::identity::principal::Gate;
use crate::identity::vault::Keys;
use crate::routing::strategy::Strategy;
use crate::routing::tree::Tree;
use crate::upstream::breaker::{Cooldowns, Endpoints};
use crate::upstream::provider::Provider;
use crate::upstream::reach::Fence;
use crate::upstream::retry::RetryPolicy;
use crate::upstream::target::BaseUrl;

/// A configuration.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Set by the caller, who knows how many came before; 0 until then.
    pub version: u64,
    /// What the operator should know although nothing is wrong, as `path: message`.
    pub warnings: Vec<String>,
    /// Listeners and limits.
    pub server: Server,
    /// Keys, agents, and the rule that joins them.
    pub gate: Gate,
    /// The providers in the order of the file.
    pub providers: Vec<Arc<Provider>>,
    /// The models.
    pub catalog: Catalog,
    /// What each agent is switched to.
    pub active: ActiveTable,
    /// Accounts, and what money decides.
    pub budgets: Budgets,
    /// Where the ledger lies. A change needs a restart.
    pub store: Store,
    /// The control plane that budgets are pulled from and spend is pushed to; `None` = none.
    pub console: Option<Console>,
    /// Accounts that are made through the API.
    pub profiles: Profiles,
    /// What is screened, and searched for in answers.
    pub guarding: Guarding,
    /// What is kept of switches and requests.
    pub audit: Audit,
    /// When a key is shut out, and for how long.
    pub quarantine: Terms,
    /// The limits and rules of `/infer`.
    pub infer: Infer,
    /// How candidates are chosen and tried.
    pub routing: Routing,
    /// How long sessions stay with a model.
    pub pinning: Pinning,
    /// What the gateway adds to answers.
    pub stream: Stream,
    /// What is changed of requests.
    pub mutators: Mutators,
    /// Where the log goes.
    pub log: Log,
    /// What the file says, to tell what another one changes.
    pub leaves: Leaves,
}

impl Snapshot {
    /// The breakers of its models, old ones where they exist.
    pub fn endpoints(&self, cooldowns: &mut Cooldowns) -> Endpoints {
        let names = self.catalog.places().map(|model| (&model.provider.rest_key, &model.id));
        Endpoints::of(names, cooldowns)
    }

    /// The first enabled provider that has the other paths of a dialect: it takes requests that name no model
    /// (S4-01).
    pub fn first_provider(&self, dialect: Dialect) -> Option<&Arc<Provider>> {
        let has =
            |it: &&Arc<Provider>| it.enabled && it.surface_for(Surface::Other(dialect)).is_some();
        self.providers.iter().find(has)
    }
}

/// Listeners and limits. Changes of the listeners, of TLS and of `threads` need a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The addresses of the data plane.
    pub listen: Vec<SocketAddr>,
    /// The address of the control API and of the metrics.
    pub admin: SocketAddr,
    /// The certificate of the data plane; `None` = clear text.
    pub tls: Option<Tls>,
    /// Worker threads; 0 = one per core.
    pub threads: usize,
    /// Most bytes of a request body after decoding.
    pub body_bytes_max: usize,
    /// Seconds that running requests get when the process is asked to stop.
    pub grace_seconds: u64,
    /// Whether HTTP/2 in clear text is spoken on the same ports.
    pub h2c: bool,
    /// Most requests at work at the same time.
    pub requests_max: usize,
    /// Most streams open at the same time.
    pub streams_max: usize,
    /// Most connections of clients at the same time.
    pub connections_max: usize,
    /// How long a stream that its client left is read on to learn its usage, in milliseconds.
    pub drain_ms: u64,
    /// The socket over which an old process hands its listeners to a new one.
    pub upgrade_sock: PathBuf,
}

/// Where the ledger lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The file of the embedded database; relative to the working directory unless absolute.
    pub path: PathBuf,
    /// When a commit counts as durable.
    pub synchronous: Synchronous,
}

/// When a commit counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// When it is on the disk: it survives a loss of power.
    #[default]
    Full,
    /// When the system has it: it survives the end of the process, but not always a loss of power.
    Normal,
}

impl Synchronous {
    /// The name used in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
        }
    }
}

/// The control plane (S0-06).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// Where it is.
    pub base: BaseUrl,
    /// Seconds between two exchanges with it.
    pub sync_interval_seconds: u64,
    /// The value of `Authorization`, marked as sensitive, so that it is never printed.
    pub authorization: Option<HeaderValue>,
}

/// Accounts that are made through the API.
#[derive(Clone, Debug, Default)]
pub struct Profiles {
    /// What seals and opens their credentials; `None` = there can be no such accounts. Shows only ids.
    pub keys: Option<Arc<Keys>>,
    /// Where they may lead.
    pub fence: Arc<Fence>,
}

/// What is kept of switches and requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Which requests are kept. Switches always are.
    pub requests: Audited,
    /// How many days; 0 = for ever.
    pub retention_days: u64,
}

/// Which requests the audit keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audited {
    /// All that are proxied.
    #[default]
    All,
    /// Those of agents in manual mode.
    Manual,
    /// None.
    Off,
}

impl Audited {
    /// The name used in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Manual => "manual",
            Self::Off => "off",
        }
    }
}

/// Files in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate and its chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// How candidates are chosen and tried.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Who chooses for an auto name.
    pub strategy: Strategy,
    /// The place of the model that `passthrough` always takes; `None` = the first of those that could answer.
    pub primary: Option<usize>,
    /// How often a failure of a model that was chosen by what is asked leads to another one.
    pub max_escalations: u32,
    /// The tree of `decision_tree`; without one, the nine rules decide.
    pub tree: Option<Arc<Tree>>,
    /// The router of `learned`; where its file cannot be used and that is allowed, the nine rules decide.
    pub learned: Option<Arc<Learned>>,
    /// What calls for the next candidate.
    pub retry: RetryPolicy,
    /// How long an endpoint rests after a failure, in milliseconds, if it does not say itself.
    pub cooldown_ms: u64,
}

/// What the gateway adds to answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// How a switch of models is told.
    pub notice: NoticeMode,
    /// The key of our object in JSON answers; empty = none.
    pub metadata_field: String,
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// One line per request.
    pub access: AccessLog,
}

/// Where the line of each request goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// Nowhere.
    Off,
    /// The end of that file.
    File(PathBuf),
}
