//! What operators keep beside the file joins the configuration here: accounts that were made through the
//! API become providers and models behind those of the file, and switches a table by agent.
//!
//! Pure and without failures: what does not fit the file (any more) is left out with a warning, because
//! neither a reload nor a start may fail for it. The file wins wherever the two name the same thing.
//! Credentials come opened; who opens them, and where they are kept, is not known here.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use crate::base::surface::Dialect;
use crate::config::bound;
use crate::config::build;
use crate::config::catalog::{Model, Tier};
use crate::config::raw_provider;
use crate::config::snapshot::Snapshot;
use crate::pinning::cache;
use crate::upstream::kind::ProviderKind;
use crate::upstream::provider::{Abilities, OutputCapField, Provider, Timeouts};
use crate::upstream::reach::Fence;
use crate::upstream::target::BaseUrl;

/// What stands between the names of a profile and of its model in the id that clients use.
pub const SEPARATOR: &str = "::";

/// A named account at a provider.
#[derive(Clone)]
pub struct Account {
    /// What it is called.
    pub name: Arc<str>,
    /// Whose account it is.
    pub kind: ProviderKind,
    /// Where the provider is.
    pub base: BaseUrl,
    /// Our credential, marked as sensitive; `None` if it cannot be read, and so the account not be used.
    pub auth: Option<(HeaderName, HeaderValue)>,
    /// Its models.
    pub models: Vec<AccountModel>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("models", &self.models)
            .finish_non_exhaustive()
    }
}

/// A model of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountModel {
    /// What the provider calls it.
    pub name: Arc<str>,
    /// Whether it may be used.
    pub enabled: bool,
    /// Most tokens of an answer; `None` = not said.
    pub max_tokens: Option<u64>,
}

/// The model that an agent is switched to, by names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The agent.
    pub agent: Arc<str>,
    /// The account, or the provider of the file.
    pub profile: Arc<str>,
    /// What the provider calls the model, or its id in the file.
    pub model: Arc<str>,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// Everything that joins a file.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// The accounts, the oldest first.
    pub accounts: Vec<Account>,
    /// The switches.
    pub switches: Vec<Switch>,
    /// Where the accounts may lead.
    pub fence: Arc<Fence>,
}

/// What an agent in `manual` mode uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// The switch.
    pub switch: Switch,
    /// The place of its model in the catalog; `None` if there is none of that name (any more).
    pub model: Option<usize>,
}

/// By agent.
pub type ActiveTable = HashMap<Arc<str>, Active>;

/// The id by which clients ask for a model of an account.
pub fn model_id(profile: &str, model: &str) -> String {
    format!("{profile}{SEPARATOR}{model}")
}

/// The configuration of the file with everything that joins it.
#[must_use]
pub fn apply(mut snapshot: Snapshot, overlay: &Overlay) -> Snapshot {
    let mut models: Vec<Model> = Vec::new();
    for account in &overlay.accounts {
        if snapshot.providers.iter().any(|known| known.name == account.name) {
            let what = "is not used: the file has a provider of that name";
            snapshot.warnings.push(format!("profile {}: {what}", account.name));
            continue;
        }
        let provider = provider(account, snapshot.providers.len(), &overlay.fence);
        let Some(provider) = provider.map(Arc::new) else { continue };
        models.extend(account.models.iter().map(|of| model(of, &provider, &snapshot)));
        snapshot.providers.push(provider);
    }
    let hidden = |model: &Model| snapshot.catalog.knows(&model.id);
    let (hidden, models): (Vec<Model>, Vec<Model>) = models.into_iter().partition(hidden);
    let what = "is not used: the file has a model or an alias of that name";
    snapshot.warnings.extend(hidden.iter().map(|model| format!("model {}: {what}", model.id)));
    snapshot.catalog = snapshot.catalog.extended(models);
    snapshot.active = active_table(&snapshot, &overlay.switches);
    snapshot
}

fn provider(account: &Account, index: usize, fence: &Arc<Fence>) -> Option<Provider> {
    let base = account.base.clone();
    let print = build::fingerprint(&base, account.auth.iter());
    Some(Provider {
        name: Arc::clone(&account.name),
        index,
        dialect: account.kind.dialect(),
        // A host that was parsed as part of a URL is always a good header value.
        authority: HeaderValue::from_str(&base.authority).ok()?,
        authorities: None,
        auth: account.auth.clone(),
        headers: Vec::new(),
        timeouts: Timeouts {
            connect_ms: bound::CONNECT_MS.default,
            first_byte_ms: bound::FIRST_BYTE_MS.default,
            idle_ms: bound::IDLE_MS.default,
        },
        abilities: abilities(account.kind, &base),
        enabled: account.auth.is_some(),
        rest_key: Arc::from(format!("{}#{print}", account.name)),
        fence: Some(Arc::clone(fence)),
        account_of: Some(Arc::from(format!("{} {}", account.kind.name(), base.url("")))),
        other_keys: Vec::new(),
        base,
    })
}

fn abilities(kind: ProviderKind, base: &BaseUrl) -> Abilities {
    let cap = if kind == ProviderKind::OpenAi {
        OutputCapField::MaxCompletionTokens
    } else {
        OutputCapField::MaxTokens
    };
    Abilities {
        native_fallback: false,
        generation_lookup: raw_provider::names_attempts(base),
        chat: kind.dialect() == Dialect::OpenAi,
        responses: kind == ProviderKind::OpenAi,
        ask_usage: kind.dialect() == Dialect::OpenAi && raw_provider::takes_asking(base),
        output_cap_field: cap,
    }
}

/// The model with what the file knows of one of that name: above all its price.
fn model(of: &AccountModel, provider: &Arc<Provider>, snapshot: &Snapshot) -> Model {
    let known = snapshot.catalog.alike(&of.name, provider.dialect);
    Model {
        id: Arc::from(model_id(&provider.name, &of.name)),
        upstream_id: Arc::clone(&of.name),
        model_json: Bytes::from(serde_json::Value::from(&*of.name).to_string()),
        provider: Arc::clone(provider),
        price: known.map(|known| known.price).unwrap_or_default(),
        priced: known.is_some_and(|known| known.priced),
        tier: known.map_or(Tier::default(), |known| known.tier),
        context_tokens: known.and_then(|known| known.context_tokens),
        output_tokens_max: of.max_tokens.or(known.and_then(|known| known.output_tokens_max)),
        image_tokens_max: known
            .map_or(snapshot.budgets.policy.image_tokens_max, |known| known.image_tokens_max),
        vision: known.is_some_and(|known| known.vision),
        tools: known.is_none_or(|known| known.tools),
        thinking: known.is_some_and(|known| known.thinking),
        thinking_param: known.map(|known| known.thinking_param).unwrap_or_default(),
        // Under an account's address others may serve whatever they like.
        vocabulary: None,
        translation: known.map(|known| known.translation).unwrap_or_default(),
        cache_rule: cache::rule(&of.name, provider.dialect == Dialect::Anthropic)
            .lasting(snapshot.pinning.cache_ttl_s),
        enabled: of.enabled && provider.enabled,
    }
}

fn active_table(snapshot: &Snapshot, switches: &[Switch]) -> ActiveTable {
    let active = |switch: &Switch| {
        let model = snapshot.catalog.at_provider(&switch.profile, &switch.model);
        (Arc::clone(&switch.agent), Active { switch: switch.clone(), model })
    };
    switches.iter().map(active).collect()
}
