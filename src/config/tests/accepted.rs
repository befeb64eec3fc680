//! What a sound file becomes: defaults, prices, credentials, warnings.

use super::*;

use crate::base::money::PicoUsdPerToken;
use crate::base::surface::{Dialect, Surface};
use crate::config::catalog::Tier;
use crate::config::snapshot::AccessLog;
use crate::dialect::notice::NoticeMode;
use crate::identity::agent::Mode;
use crate::identity::keyring::Grant;
use crate::identity::principal::Presented;
use crate::routing::strategy::Strategy;
use crate::upstream::breaker::Cooldowns;
use crate::upstream::retry::RETRY_STATUSES;

const ONE_MODEL: &str = "models: [{id: a, provider: p}]\n";

#[test]
fn defaults_are_those_of_the_contract() {
    let snapshot = sound("");
    let server = &snapshot.server;
    assert_eq!(server.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(server.admin, "127.0.0.1:9090".parse().unwrap());
    assert_eq!((server.threads, server.body_bytes_max, server.grace_seconds), (0, 33_554_432, 30));
    assert_eq!((server.h2c, server.tls.is_none(), server.drain_ms), (false, true, 2_000));
    assert_eq!(
        (server.requests_max, server.streams_max, server.connections_max),
        (8_192, 8_192, 16_384)
    );
    assert_eq!(server.upgrade_sock.to_str(), Some("/tmp/weir_upgrade_8080.sock"));
    assert_eq!(snapshot.routing.strategy, Strategy::RoundRobin);
    assert_eq!(snapshot.routing.cooldown_ms, 10_000);
    let retry = &snapshot.routing.retry;
    assert_eq!(retry.statuses.iter().collect::<Vec<_>>(), RETRY_STATUSES);
    assert_eq!((retry.attempts_max, retry.on_timeout), (4, true));
    assert_eq!(snapshot.stream.notice, NoticeMode::Chunk);
    assert_eq!(snapshot.stream.metadata_field, "_weir");
    assert_eq!(snapshot.log.access, AccessLog::Stdout);
    assert_eq!(snapshot.catalog.auto_names().len(), 5);
    assert_eq!(snapshot.version, 0);
}

#[test]
fn defaults_of_providers_follow_their_dialect() {
    let text = format!(
        "{PROVIDERS}  g: {{dialect: openai, base_url: \"https://api.groq.com/openai/v1\", \
                        api_key: k}}\n  x: {{dialect: anthropic, base_url: \"https://h\", api_key: k}}\n{MODELS}"
    );
    let snapshot = read(&text).unwrap();
    let [p, q, g, x] = snapshot.providers.as_slice() else { panic!("four providers") };
    assert_eq!(
        (p.timeouts.connect_ms, p.timeouts.first_byte_ms, p.timeouts.idle_ms),
        (5_000, 60_000, 120_000)
    );
    assert!(p.abilities.responses && p.abilities.ask_usage && !p.abilities.native_fallback);
    assert!(!q.abilities.responses && !q.abilities.ask_usage);
    assert!(!p.abilities.generation_lookup && !x.abilities.generation_lookup);
    assert!(g.abilities.responses && !g.abilities.ask_usage, "groq.com is not asked for usage");
    assert!(p.auth.is_none() && p.enabled && p.headers.is_empty());
    let auth = |provider: &crate::upstream::provider::Provider| {
        let (name, value) = provider.auth.clone().unwrap();
        assert!(value.is_sensitive());
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    assert_eq!(auth(g), ("authorization".to_owned(), "Bearer k".to_owned()));
    assert_eq!(auth(x), ("x-api-key".to_owned(), "k".to_owned()));
    assert_eq!((x.tls(), x.host(), x.port(), x.index), (true, "h", 443, 3));
    assert!(!x.writes_nothing_at_zero() && !p.writes_nothing_at_zero(), "only Anthropic says so");
    let anthropic = read(&text.replace("https://h\"", "https://api.anthropic.com\"")).unwrap();
    assert!(anthropic.providers[3].writes_nothing_at_zero());
    assert_eq!(p.authority, "127.0.0.1:9000");
    assert_eq!(p.target("/v1/chat/completions"), "/v1/chat/completions");
    assert_eq!(&*snapshot.first_provider(Dialect::Anthropic).unwrap().name, "q");
}

#[test]
fn credentials_take_the_form_that_is_asked_for() {
    let auth = |keys: &str| {
        let text = format!(
            "providers: {{p: {{dialect: openai, base_url: \"https://h\", api_key: k, {keys}}}}}\n\
                            models: [{{id: a, provider: p}}]"
        );
        let snapshot = read(&text).unwrap();
        let (name, value) = snapshot.providers[0].auth.clone()?;
        Some(format!("{name}: {}", value.to_str().unwrap()))
    };
    assert_eq!(auth("auth_header: Api-Key").unwrap(), "api-key: k");
    assert_eq!(auth("auth_prefix: 'Token '").unwrap(), "authorization: Token k");
    assert_eq!(auth("auth_header: x-key, auth_prefix: 'v='").unwrap(), "x-key: v=k");
    assert_eq!(auth("headers: {Authorization: fixed}").unwrap(), "authorization: fixed", "S4-08");
    assert_eq!(auth("headers: {x-api-key: two}").unwrap(), "authorization: Bearer k");
}

#[test]
fn a_credential_in_a_fixed_header_is_ours() {
    let text = "providers: {p: {dialect: openai, base_url: 'https://h', headers: {x-a: b, Api-Key: k}}}\n\
                models: [{id: a, provider: p}]";
    let snapshot = read(text).unwrap();
    let provider = &snapshot.providers[0];
    assert!(provider.has_credential(), "so that no client's credential is sent beside it");
    assert_eq!((provider.headers.len(), provider.headers[0].0.as_str()), (1, "x-a"));
}

#[test]
fn defaults_of_models() {
    let snapshot = sound("");
    let model = snapshot.catalog.get(0).unwrap();
    assert_eq!((&*model.upstream_id, model.tier), ("a", Tier::Reasoning));
    assert_eq!(
        (model.vision, model.tools, model.thinking, model.enabled),
        (false, true, false, true)
    );
    assert_eq!((model.context_tokens, model.output_tokens_max), (None, Some(9)));
    let rates = model.price.base;
    let pico = |rate: PicoUsdPerToken| rate.0;
    assert_eq!((pico(rates.input), pico(rates.output)), (1_000_000, 2_000_000));
    assert_eq!((pico(rates.cache_read), pico(rates.cache_write)), (1_000_000, 1_250_000));
    assert_eq!(pico(rates.cache_write_1h), 2_000_000);
}

#[test]
fn prices_are_decimals_not_floats() {
    let price = |keys: &str| {
        let text = format!("{PROVIDERS}models: [{{id: a, provider: p, price: {{{keys}}}}}]");
        read(&text).unwrap().catalog.get(0).unwrap().price
    };
    let exact = price("input: 0.1, output: \"3.00\"");
    assert_eq!((exact.base.input.0, exact.base.output.0), (100_000, 3_000_000));
    assert_eq!(price("input: 1e-3, output: 0").base.input.0, 1_000);
    assert_eq!(price("input: \"${DIGITS}\", output: 0").base.input.0, 8_123_000_000);
    let long = price(
        "input: 3, output: 15, cache_read: 0.3, long_context: {above_tokens: 200000, input: 6, output: 22.5}",
    );
    let step = long.long_context.unwrap();
    assert_eq!((step.above_input_tokens, step.rates.output.0), (200_000, 22_500_000));
    assert_eq!((long.base.cache_read.0, step.rates.cache_read.0), (300_000, 6_000_000));
}

#[test]
fn chains_may_form_circles() {
    let catalog = sound("routing: {fallbacks: {a: [b], b: [a]}}").catalog;
    assert_eq!((catalog.chain(0), catalog.chain(1)), (&[1][..], &[0][..]));
}

#[test]
fn wildcards_are_one_per_dialect() {
    let wild = |models: &str| read(&format!("{PROVIDERS}{MODELS}{models}"));
    let both = wild("  - {id: '*', provider: p}\n  - {id: '*', provider: q}\n").unwrap();
    assert_eq!(
        (both.catalog.wildcards().openai, both.catalog.wildcards().anthropic),
        (Some(2), Some(3))
    );
    let twice = wild("  - {id: '*', provider: p}\n  - {id: '*', provider: p}\n").unwrap_err();
    assert_problem(&twice, "models[3].id", "(one per dialect)");
    let renamed = wild("  - {id: '*', provider: p, upstream_id: x}\n").unwrap_err();
    assert_problem(&renamed, "models[2].upstream_id", "no meaning");
}

#[test]
fn without_keys_a_local_gateway_is_open_and_says_so() {
    let snapshot = sound("");
    assert!(!snapshot.gate.require_agent_key);
    assert!(snapshot.warnings[0].contains("every local process"), "{:?}", snapshot.warnings);
    assert!(snapshot.gate.identify(&Presented::default()).is_ok());
    assert!(sound(KEY).warnings.is_empty());
    assert!(sound(KEY).gate.identify(&Presented::default()).is_err());
    refused("auth: {require_agent_key: true}", "auth.require_agent_key", "there is no agent key");
    assert!(!sound("auth: {require_agent_key: false}").gate.require_agent_key);
}

#[test]
fn agents_are_lowered() {
    let snapshot = sound(
        "agents:\n  default:\n  x: {mode: pinned, models: [b, a, b], keys: sixteen-letters-x}\n",
    );
    let x = snapshot.gate.agents.get("x").unwrap();
    assert_eq!((x.mode, x.models.as_deref(), x.keyed), (Mode::Pinned, Some(&[0, 1][..]), true));
    assert!(snapshot.gate.agents.default_agent().unwrap().models.is_none());
    assert_eq!(snapshot.gate.keyring.find(b"sixteen-letters-x"), Some(&Grant::Agent(x.index)));
}

#[test]
fn doubtful_settings_bring_warnings() {
    let warnings = |text: &str| read(text).unwrap().warnings.join("\n");
    let far = "providers: {p: {dialect: openai, base_url: 'http://far.example', api_key: k}}\n";
    let model = "models: [{id: a, provider: p, price: {input: 0.000003, output: 1}}]";
    let text = warnings(&format!("{far}{model}"));
    assert!(text.contains("providers.p.base_url: the api_key goes over the network"), "{text}");
    assert!(text.contains("models[0].id: is very cheap"), "{text}");
    let text = warnings(&format!("{PROVIDERS}models: [{{id: a, provider: p, enabled: false}}]"));
    assert!(text.contains("has no price") && text.contains("none is enabled"), "{text}");
}

#[test]
fn an_address_that_is_used_as_it_is_is_asked_for_one_thing() {
    const ALL: [Surface; 8] = [
        Surface::Chat,
        Surface::Completions,
        Surface::Embeddings,
        Surface::Responses,
        Surface::Messages,
        Surface::CountTokens,
        Surface::Other(Dialect::OpenAi),
        Surface::Other(Dialect::Anthropic),
    ];
    let of = |path: &str, keys: &str| {
        let url = format!("base_url: 'http://127.0.0.1:1{path}', exact_url: true");
        let snapshot = read(&format!("providers: {{p: {{{url}, {keys}}}}}\n{ONE_MODEL}")).unwrap();
        let provider = &snapshot.providers[0];
        let asked = ALL.iter().filter_map(|&it| Some((it, provider.surface_for(it)?))).collect();
        let warns = snapshot
            .warnings
            .iter()
            .any(|it| it.starts_with("providers.p.base_url: does not tell"));
        let unnamed = snapshot.first_provider(provider.dialect).is_some();
        assert!(!unnamed, "{path}: it has no other paths");
        (asked, warns)
    };
    let chats = [Surface::Chat, Surface::Responses, Surface::Messages];
    let all_to = |only| chats.map(|asked| (asked, only)).to_vec();
    let openai = |path| of(path, "dialect: openai");
    assert_eq!(openai("/v1/chat/completions"), (all_to(Surface::Chat), false));
    assert_eq!(openai("/v1/responses"), (all_to(Surface::Responses), false));
    assert_eq!(openai("/own/path"), (all_to(Surface::Chat), true), "the usual one");
    let without_chat = of("/own/path", "dialect: openai, chat: false");
    assert_eq!(without_chat, (all_to(Surface::Responses), true));
    for (path, warns) in [("/v1/messages", false), ("/own/path", true), ("", true)] {
        assert_eq!(of(path, "dialect: anthropic"), (all_to(Surface::Messages), warns), "{path}");
    }
    for (path, only) in [
        ("/v1/embeddings", Surface::Embeddings),
        ("/v1/completions", Surface::Completions),
        ("/v1/messages/count_tokens", Surface::CountTokens),
    ] {
        let keys = format!("dialect: {}", only.dialect().name());
        assert_eq!(of(path, &keys), (vec![(only, only)], false), "{path}");
    }
    let keys = "dialect: anthropic, exact_url: true, base_url: 'http://h/v1/chat/completions'";
    provider_refused(keys, "providers.p.base_url", "a path of the openai dialect (chat)");
}

#[test]
fn a_changed_credential_ends_the_rest_that_the_old_one_earned() {
    let snapshot = |key: &str| {
        let provider = format!("p: {{dialect: openai, base_url: 'https://h', api_key: {key}}}");
        read(&format!("providers: {{{provider}}}\nmodels: [{{id: a, provider: p}}]")).unwrap()
    };
    let mut cooldowns = Cooldowns::default();
    let endpoints = snapshot("one").endpoints(&mut cooldowns);
    endpoints.get(0).unwrap().provider.report_auth_failure(0);
    assert!(snapshot("one").endpoints(&mut cooldowns).is_resting(0, 10));
    assert!(!snapshot("two").endpoints(&mut cooldowns).is_resting(0, 10));
    assert!(!snapshot("one").providers[0].rest_key.contains("one"));
}
