//! The last step: what was read and checked becomes what requests work with. Nothing can fail here,
//! and nothing is looked up by name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use crate::base::surface::Dialect;
use crate::config::build_budget;
use crate::config::catalog::{Catalog, CatalogParts, Model, Translation, WILDCARD};
use crate::config::check::Links;
use crate::config::guards::Guarding;
use crate::config::learned::Learned;
use crate::config::leaves::Leaves;
use crate::config::raw::{Raw, RawRouting};
use crate::config::raw_agent::RawAgent;
use crate::config::raw_model::RawModel;
use crate::config::raw_provider::RawProvider;
use crate::config::raw_routing::RawStrategies;
use crate::config::raw_server::{RawAuth, RawServer};
use crate::config::snapshot::{Profiles, Routing, Server, Snapshot};
use crate::identity::agent::{Agent, Agents};
use crate::identity::key::KeyHash;
use crate::identity::keyring::{Grant, Keyring};
use crate::identity::principal::Gate;
use crate::pinning::cache;
use crate::routing::strategy::Strategy;
use crate::upstream::provider::Provider;
use crate::upstream::retry::{RetryPolicy, StatusSet};
use crate::upstream::target::BaseUrl;
use crate::usage::vocabulary::Vocabulary;

/// Headers that carry a credential at one provider or another.
pub const CREDENTIAL_HEADERS: [&str; 4] =
    ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// Makes the snapshot of a configuration without problems.
pub fn build(raw: Raw, profiles: Profiles, links: Links) -> Snapshot {
    let budgets = build_budget::build(&raw, &links);
    let keyring = keyring(&raw.auth, &raw.agents);
    let agents = agents(raw.agents, links.agent_models);
    let providers: Vec<Arc<Provider>> =
        raw.providers.into_iter().enumerate().filter_map(|(at, raw)| provider(at, raw)).collect();
    let models = raw.models.into_iter().zip(links.model_providers);
    let defaults = Defaults {
        image_tokens_max: raw.budget.policy.image_tokens_max,
        translation: raw.routing.translation,
        cache_ttl_s: raw.pinning.cache_ttl_s,
    };
    let models = models.filter_map(|(raw, at)| Some(model(raw, providers.get(at)?, defaults)));
    let catalog = Catalog::new(CatalogParts {
        models: models.collect(),
        aliases: links.aliases,
        auto_names: raw.routing.auto_names.iter().map(|name| name.value.text.clone()).collect(),
        fallbacks: links.fallbacks,
        fallback_default: links.fallback_default,
    });
    let strategies = &raw.routing.strategies;
    let learned = (!strategies.learned_by_rules()).then(|| {
        let given = strategies.learned.as_ref().and_then(|learned| learned.router.clone());
        let learned = Learned::new(given, &links.learned, &catalog);
        if strategies.strategy == Strategy::Learned {
            learned.ready();
        }
        Arc::new(learned)
    });
    let routing = Routing { learned, ..routing(&raw.routing, links.primary) };
    Snapshot {
        version: 0,
        warnings: links.warnings,
        server: server(raw.server),
        gate: Gate {
            keyring,
            agents,
            require_agent_key: links.require_agent_key,
            pass_through: raw.auth.pass_through,
        },
        providers,
        catalog,
        active: HashMap::new(),
        budgets,
        store: raw.store,
        console: raw.console.console,
        profiles,
        guarding: Guarding::default(),
        audit: raw.audit,
        pinning: raw.pinning,
        routing,
        quarantine: raw.guard.quarantine,
        infer: raw.infer,
        stream: raw.stream,
        mutators: raw.mutators,
        log: raw.log,
        leaves: Leaves::default(),
    }
}

fn keyring(auth: &RawAuth, agents: &[RawAgent]) -> Keyring {
    let admin = auth.admin_keys.hashes.iter().map(|key| (key.value, Grant::Admin));
    let any = auth.agent_keys.hashes.iter().map(|key| (key.value, Grant::AnyAgent));
    let bound = agents.iter().enumerate().flat_map(|(at, agent)| {
        agent.keys.hashes.iter().map(move |key| (key.value, Grant::Agent(at)))
    });
    Keyring::new(admin.chain(any).chain(bound))
}

fn agents(raw: Vec<RawAgent>, models: Vec<Option<Box<[usize]>>>) -> Agents {
    let agent = |(raw, models): (RawAgent, Option<Box<[usize]>>)| Agent {
        index: 0,
        id: Arc::from(raw.id.value.text),
        mode: raw.mode,
        models,
        keyed: raw.keys.given,
        may_route: raw.may_route,
    };
    Agents::new(raw.into_iter().zip(models).map(agent).collect())
}

fn provider(index: usize, raw: RawProvider) -> Option<Arc<Provider>> {
    let base = raw.base?;
    let given = raw.auth.clone();
    let (auth, headers) = credential(raw.auth, raw.headers);
    // A fixed header that took the place of the first key stands for all of them.
    let more = if given == auth { raw.more_auth } else { Vec::new() };
    let own_rest_key = rest_key(&raw.name.value.text, &base, auth.iter().chain(&headers));
    // A host that was parsed as part of a URL is always a good header value.
    let authority = HeaderValue::from_str(&base.authority).ok()?;
    let account_of = (!more.is_empty()).then(|| Arc::from(format!("file {}", raw.name.value.text)));
    let first = Provider {
        name: Arc::from(raw.name.value.text),
        index,
        dialect: raw.dialect?,
        base,
        authority,
        authorities: raw.authorities.map(Arc::new),
        auth,
        headers,
        timeouts: raw.timeouts,
        abilities: raw.abilities,
        enabled: raw.enabled,
        rest_key: own_rest_key,
        fence: None,
        account_of,
        other_keys: Vec::new(),
    };
    let with = |key: Header| {
        let rest_key =
            rest_key(&first.name, &first.base, std::iter::once(&key).chain(&first.headers));
        Arc::new(Provider { auth: Some(key), rest_key, ..first.clone() })
    };
    let other_keys = more.into_iter().map(with).collect();
    Some(Arc::new(Provider { other_keys, ..first }))
}

fn rest_key<'a>(name: &str, base: &BaseUrl, headers: impl Iterator<Item = &'a Header>) -> Arc<str> {
    Arc::from(format!("{name}#{}", fingerprint(base, headers)))
}

type Header = (HeaderName, HeaderValue);

/// The credential and the other fixed headers. S4-08: a fixed header wins over what `api_key` makes; and
/// one that carries a credential counts as ours, so that no client's is sent beside it.
fn credential(auth: Option<Header>, mut headers: Vec<Header>) -> (Option<Header>, Vec<Header>) {
    let replaces = |(name, _): &Header| match &auth {
        Some((auth, _)) => name == auth,
        None => CREDENTIAL_HEADERS.contains(&name.as_str()),
    };
    match headers.iter().position(replaces) {
        Some(at) => (Some(headers.swap_remove(at)), headers),
        None => (auth, headers),
    }
}

/// Tells one address and credential from another without giving the credential away.
pub fn fingerprint<'a>(base: &BaseUrl, headers: impl Iterator<Item = &'a Header>) -> String {
    let mut bytes = format!("{}{}", base.authority, base.path()).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(b"\n");
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    KeyHash::of(&bytes).id()
}

/// What holds for models that do not say otherwise.
#[derive(Clone, Copy)]
struct Defaults {
    image_tokens_max: u64,
    translation: Translation,
    cache_ttl_s: Option<u64>,
}

fn model(raw: RawModel, provider: &Arc<Provider>, defaults: Defaults) -> Model {
    let id: Arc<str> = Arc::from(raw.id.value.text);
    let upstream_id = raw.upstream_id.map_or_else(|| Arc::clone(&id), Arc::from);
    let model_json = match &*id {
        WILDCARD => Bytes::new(),
        _ => Bytes::from(serde_json::Value::from(&*upstream_id).to_string()),
    };
    // Others may serve whatever they like under these names.
    let has_own = matches!(provider.host(), "api.openai.com") || provider.is_openrouter();
    let by_name = || Vocabulary::of_model(&upstream_id).filter(|_| has_own);
    let vocabulary = raw.vocabulary.unwrap_or_else(by_name);
    Model {
        id,
        model_json,
        provider: Arc::clone(provider),
        price: raw.price.unwrap_or_default(),
        priced: raw.price.is_some(),
        tier: raw.tier,
        context_tokens: raw.context_tokens,
        output_tokens_max: raw.output_tokens_max,
        image_tokens_max: raw.image_tokens_max.unwrap_or(defaults.image_tokens_max),
        vision: raw.vision,
        tools: raw.tools,
        thinking: raw.thinking,
        thinking_param: raw.thinking_param,
        vocabulary,
        translation: raw.translation.unwrap_or(defaults.translation),
        cache_rule: cache::rule(&upstream_id, provider.dialect == Dialect::Anthropic)
            .lasting(raw.cache_ttl_s.or(defaults.cache_ttl_s)),
        enabled: raw.enabled && provider.enabled,
        upstream_id,
    }
}

fn server(raw: RawServer) -> Server {
    // The port keeps two gateways on one machine apart; an upgrade keeps its port and so finds the
    // socket of the process that it takes over from.
    let port = raw.listen.first().map_or(0, |address| address.value.port());
    let default_sock = || PathBuf::from(format!("/tmp/weir_upgrade_{port}.sock"));
    Server {
        listen: raw.listen.iter().map(|address| address.value).collect(),
        admin: raw.admin.value,
        tls: raw.tls.map(|tls| tls.value),
        threads: raw.threads,
        body_bytes_max: raw.body_bytes_max,
        grace_seconds: raw.grace_seconds,
        h2c: raw.h2c,
        requests_max: raw.requests_max,
        streams_max: raw.streams_max,
        connections_max: raw.connections_max,
        drain_ms: raw.drain_ms,
        upgrade_sock: raw.upgrade_sock.unwrap_or_else(default_sock),
    }
}

fn routing(raw: &RawRouting, primary: Option<usize>) -> Routing {
    let RawStrategies { strategy, max_escalations, tree, .. } = &raw.strategies;
    Routing {
        strategy: *strategy,
        primary,
        max_escalations: u32::try_from(*max_escalations).unwrap_or(u32::MAX),
        tree: tree.clone(),
        learned: None,
        retry: RetryPolicy {
            statuses: StatusSet::new(raw.retry_statuses.iter().map(|status| status.value)),
            attempts_max: raw.attempts_max,
            on_timeout: raw.retry_on_timeout,
        },
        cooldown_ms: raw.cooldown_ms,
    }
}
