//! What sound budgets become: accounts, policies, tiers, levels, warnings.

use super::*;

use crate::base::money::NanoUsd;
use crate::config::bound;
use crate::config::budgets::{Opening, Policy, RunawayAction, UnknownPrice};
use crate::config::snapshot::Synchronous;
use crate::identity::agent::Mode;
use crate::ledger::account::{AccountKey, Cadence};
use crate::upstream::provider::OutputCapField;

const USD: i64 = 1_000_000_000;

/// `key<parent limit cadence zone hard spent` of every account.
fn plan(snapshot: &Snapshot) -> Vec<String> {
    let line = |Opening { planned, initial_spent }: &Opening| {
        let terms = &planned.terms;
        let parent = planned.parent.as_ref().map_or("", |parent| parent.as_str());
        let limit = terms.limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
        let (cadence, zone, hard) = (terms.cadence.name(), &terms.zone, terms.hard);
        format!("{}<{parent} {limit} {cadence} {zone} {hard} {initial_spent}", planned.key)
    };
    snapshot.budgets.accounts.iter().map(line).collect()
}

#[test]
fn without_budgets_every_agent_is_counted() {
    assert_eq!(plan(&sound("")), ["agent:default< - none UTC true 0"]);
    let snapshot = sound("teams: {t: {}}\nagents: {x: {team: t}, y: {}}");
    let expected = [
        "team:t< - none UTC true 0",
        "agent:x<team:t - none UTC true 0",
        "agent:y< - none UTC true 0",
    ];
    assert_eq!(plan(&snapshot), expected);
    assert_eq!(snapshot.budgets.agents.len(), 2);
    assert_eq!(snapshot.budgets.agent(1).unwrap().account.as_str(), "agent:y");
    assert!(snapshot.budgets.agent(2).is_none());
    assert_eq!(sound("").budgets.agents.len(), sound("").gate.agents.all().len());
}

#[test]
fn budgets_bring_the_fleet_and_stand_below_their_parents() {
    let text = "agents:\n  x: {team: c, budget: {limit_usd: '5', spent_usd: 1.5, period: weekly, timezone: \
                europe/berlin, hard_cap: false}}\n  y: {}\nteams: {c: {parent: b}, b: {parent: a, budget: \
                {limit_usd: 1e2}}, a: }\n";
    let expected = [
        "fleet< - none UTC true 0",
        "team:a<fleet - none UTC true 0",
        "team:b<team:a 100 none UTC true 0",
        "team:c<team:b - none UTC true 0",
        "agent:x<team:c 5 weekly Europe/Berlin false 1.5",
        "agent:y<fleet - none UTC true 0",
    ];
    assert_eq!(plan(&sound(text)), expected);
    let fleet = sound("fleet: {budget: {limit_usd: 0}}");
    assert_eq!(plan(&fleet), ["fleet< 0 none UTC true 0", "agent:default<fleet - none UTC true 0"]);
    let session = sound("agents: {x: {session_budget: {limit_usd: 2}}}");
    assert_eq!(plan(&session)[0], "fleet< - none UTC true 0");
    let terms = session.budgets.agents[0].session.clone().unwrap();
    assert_eq!(
        (terms.limit, terms.cadence, terms.hard),
        (Some(NanoUsd(2 * USD)), Cadence::None, true)
    );
}

#[test]
fn every_parent_stands_before_its_children() {
    let text = "teams: {e: {parent: d}, d: {parent: c}, c: {parent: b}, b: {parent: a}, a: , z: {parent: e}}\n\
                fleet:\n  levels: {}\n";
    let accounts = sound(text).budgets.accounts;
    for (at, Opening { planned, .. }) in accounts.iter().enumerate() {
        let stands_before =
            |parent: &AccountKey| accounts[..at].iter().any(|before| before.planned.key == *parent);
        assert!(planned.parent.as_ref().is_none_or(stands_before), "{}", planned.key);
    }
    assert_eq!(accounts.len(), 8);
}

#[test]
fn levels_are_those_of_a_day_unless_said_otherwise() {
    let fleet = |rest: &str| {
        let levels = "levels: {warning_usd: 1, emergency_usd: 4}";
        plan(&sound(&format!("fleet: {{{levels}{rest}}}")))[0].clone()
    };
    assert_eq!(fleet(""), "fleet< - daily UTC true 0");
    assert_eq!(fleet(", budget: {limit_usd: 9}"), "fleet< 9 daily UTC true 0");
    assert_eq!(fleet(", budget: {limit_usd: 9, period: none}"), "fleet< 9 none UTC true 0");
    assert_eq!(fleet(", budget: {limit_usd: 9, period: monthly}"), "fleet< 9 monthly UTC true 0");
}

#[test]
fn the_fleet_is_lowered_to_places() {
    let models = "  - {id: c, provider: p, tier: fast, price: {input: 1, output: 1}}\n  - {id: d, provider: p, \
                  tier: fast, enabled: false, price: {input: 1, output: 1}}\n";
    let fleet = |keys: &str| {
        let text = format!("{PROVIDERS}{MODELS}{models}fleet: {{{keys}}}\n{KEY}");
        let snapshot = read(&text).unwrap();
        (snapshot.budgets.fleet.clone(), snapshot.warnings)
    };
    let levels = "levels: {warning_usd: 100, soft_usd: 250, hard_usd: 250, emergency_usd: '1e3'}";
    let (all, warnings) = fleet(&format!(
        "{levels}, downgrade: {{a: c, b: d}}, cheapest: [c, a], webhook: 'https://h/x/y'"
    ));
    assert_eq!(all.levels.soft, Some(NanoUsd(250 * USD)));
    assert_eq!(all.levels.emergency, Some(NanoUsd(1_000 * USD)));
    assert_eq!((&*all.downgrade, &*all.cheapest), (&[Some(2), None, None, None][..], &[0, 2][..]));
    assert_eq!(all.webhook.unwrap().0.path(), "/x/y");
    assert_eq!(warnings, ["fleet.downgrade: \"d\" is not enabled, so \"b\" stays"]);
    let (fast, warnings) = fleet("levels: {hard_usd: 5}");
    assert_eq!((&*fast.cheapest, warnings.len()), (&[2][..], 0));
    assert_eq!(fleet("webhook: ''").0.webhook, None);
    assert!(
        fleet("levels: {soft_usd: 5}").1[0].contains("changes nothing without fleet.downgrade")
    );
    assert!(
        fleet("downgrade: {a: c}").1[0].contains("changes nothing without fleet.levels.soft_usd")
    );
    let (none, warnings) = fleet("levels: {hard_usd: 5}, cheapest: [d]");
    assert!(none.cheapest.is_empty() && warnings[0].contains("hard_usd: refuses everything"));
}

#[test]
fn tiers_are_lowered_to_shares_and_places() {
    let tiers = "tiers: [{remaining_min: 0.80, models: [b, a]}, {threshold: '0.3', models: a}]";
    let snapshot = sound(&format!(
        "agents: {{x: {{mode: budget, budget: {{limit_usd: 1}}, {tiers}}}}}\n{KEY}"
    ));
    let tiers = snapshot.budgets.agents[0].tiers.clone().unwrap();
    let shares: Vec<u32> = tiers.iter().map(|tier| tier.remaining_min_ppm).collect();
    assert_eq!(shares, [800_000, 300_000]);
    assert_eq!((&*tiers[0].models, &*tiers[1].models), (&[1, 0][..], &[0][..]));
    assert_eq!(snapshot.gate.agents.get("x").unwrap().mode, Mode::Budget);
    assert!(snapshot.warnings.is_empty(), "{:?}", snapshot.warnings);
}

#[test]
fn doubtful_tiers_bring_warnings() {
    let text = format!(
        "agents: {{x: {{budget: {{limit_usd: 1}}, tiers: [{{remaining_min: 0.3, models: [a]}}, {{remaining_min: \
         0.8, models: [b]}}]}}}}\n{KEY}"
    );
    let warnings = sound(&text).warnings;
    assert!(
        warnings[0].starts_with("agents.x.tiers[1].remaining_min: the tier is never reached"),
        "{warnings:?}"
    );
    let text = format!(
        "{PROVIDERS}{MODELS}  - {{id: c, provider: p, enabled: false, price: {{input: 1, output: 1}}}}\n{KEY}\
         agents: {{x: {{budget: {{limit_usd: 1}}, tiers: [{{remaining_min: 0, models: [c]}}]}}}}\n"
    );
    let snapshot = read(&text).unwrap();
    assert!(snapshot.warnings[0].contains("none of the tier's models is enabled"));
    assert!(snapshot.budgets.agents[0].tiers.as_ref().unwrap()[0].models.is_empty());
}

#[test]
fn breakers_are_lowered() {
    let runaway = |keys: &str| {
        let snapshot = sound(&format!("agents: {{x: {{breaker: {{{keys}}}}}}}"));
        snapshot.budgets.agents[0].runaway.unwrap()
    };
    let all = runaway(
        "same_request_max: 2, same_tool_call_max: 3, window_seconds: 4, spend_usd_per_minute: 0.5, \
         turns_per_session_max: 6, action: warn",
    );
    assert_eq!((all.same_request_max, all.same_tool_call_max), (Some(2), Some(3)));
    assert_eq!((all.window_seconds, all.turns_per_session_max), (4, Some(6)));
    assert_eq!((all.spend_per_minute, all.action), (Some(NanoUsd(USD / 2)), RunawayAction::Warn));
    let one = runaway("same_request_max: 2");
    assert_eq!((one.window_seconds, one.action), (300, RunawayAction::Stop));
    assert_eq!((one.same_tool_call_max, one.spend_per_minute), (None, None));
}

#[test]
fn the_policy_has_safe_defaults() {
    let defaults = Policy {
        unknown_price: UnknownPrice::Refuse,
        output_floor_tokens: 256,
        charge_5xx: false,
        hysteresis_ppm: 20_000,
        image_tokens_max: bound::IMAGE_TOKENS.default,
    };
    assert_eq!(sound("").budgets.policy, defaults);
    let other = "budget: {unknown_price: assume_max, output_floor_tokens: 1, charge_5xx: true, \
                 hysteresis_percent: 50, image_tokens_max: 7}";
    let snapshot = sound(other);
    let policy = snapshot.budgets.policy;
    assert_eq!((policy.unknown_price, policy.hysteresis_ppm), (UnknownPrice::AssumeMax, 500_000));
    assert_eq!(snapshot.catalog.models()[0].image_tokens_max, 7);
    let own = "models: [{id: a, provider: p, price: {input: 1, output: 1}, image_tokens_max: 9}]";
    let model = read(&format!("{PROVIDERS}{own}")).unwrap().catalog.models()[0].clone();
    assert_eq!((model.image_tokens_max, model.priced), (9, true));
}

#[test]
fn a_missing_price_under_a_hard_cap_is_told() {
    let warning = |rest: &str| {
        let models = "models: [{id: a, provider: p}, {id: b, provider: q, price: {input: 1, output: 1}, output_tokens_max: 9}]";
        let snapshot = read(&format!("{PROVIDERS}{models}\n{KEY}{rest}")).unwrap();
        assert!(!snapshot.catalog.models()[0].priced);
        assert_eq!(snapshot.warnings.len(), 1, "{:?}", snapshot.warnings);
        snapshot.warnings[0].clone()
    };
    let refused = "models[0].id: has no price, so its use is refused under a hard cap";
    let free = "models[0].id: has no price, so its use is counted as free";
    for capped in [
        "fleet: {budget: {limit_usd: 5}}",
        "agents: {x: {budget: {limit_usd: 5}}}",
        "agents: {x: {budget: {limit_usd: 5}, models: [a]}}",
        "agents: {x: {session_budget: {limit_usd: 5}}}",
        "teams: {t: {parent: u}, u: {budget: {limit_usd: 5}}}\nagents: {x: {team: t}}",
    ] {
        assert!(warning(capped).starts_with(refused), "{capped}");
    }
    for uncapped in [
        "",
        "agents: {x: {budget: {limit_usd: 5, hard_cap: false}}}",
        "agents: {x: {budget: {limit_usd: 5}, models: [b]}}",
        "teams: {t: {budget: {limit_usd: 5}}}\nagents: {x: {}}",
        "fleet: {budget: {limit_usd: 5}}\nbudget: {unknown_price: free}",
    ] {
        assert_eq!(warning(uncapped), free, "{uncapped}");
    }
    assert!(warning("budget: {unknown_price: assume_max}").contains("dearest rates"));
}

#[test]
fn the_store_is_a_file() {
    let store = |text: &str| {
        let store = sound(&format!("store: '{text}'")).store;
        (store.path.display().to_string(), store.synchronous)
    };
    let default = sound("").store;
    assert_eq!((default.path.to_str(), default.synchronous), (Some("weir.db"), Synchronous::Full));
    assert_eq!(store("sqlite:/var/lib/w.db"), ("/var/lib/w.db".to_owned(), Synchronous::Full));
    assert_eq!(
        store("sqlite:a b.db?synchronous=normal"),
        ("a b.db".to_owned(), Synchronous::Normal)
    );
    assert_eq!(store("sqlite:w?synchronous=full"), ("w".to_owned(), Synchronous::Full));
}

#[test]
fn the_console_is_off_unless_enabled() {
    let url = "url: 'https://c.example'";
    assert!(sound("").console.is_none());
    assert!(sound(&format!("console: {{{url}, api_key: k}}")).console.is_none());
    let console = sound(&format!("console: {{enabled: true, {url}, api_key: k}}")).console.unwrap();
    let value = console.authorization.unwrap();
    assert_eq!((value.to_str().unwrap(), value.is_sensitive()), ("Bearer k", true));
    assert_eq!((console.sync_interval_seconds, console.base.tls), (30, true));
    let plain = sound(&format!("console: {{enabled: true, {url}, api_key: '${{EMPTY}}'}}"));
    assert!(plain.console.unwrap().authorization.is_none());
}

#[test]
fn what_leaves_the_machine_in_clear_text_is_told() {
    let warnings = |text: &str| sound(&format!("{text}\n{KEY}")).warnings.join("\n");
    let console =
        |host: &str| warnings(&format!("console: {{enabled: true, url: 'http://{host}'}}"));
    assert!(console("far.example").starts_with("console.url: budgets go over the network"));
    assert_eq!((console("localhost:1"), console("[::1]:1")), (String::new(), String::new()));
    let webhook = |host: &str| warnings(&format!("fleet: {{webhook: 'http://{host}/x'}}"));
    assert!(webhook("far.example").starts_with("fleet.webhook: alerts go over the network"));
    assert_eq!(webhook("127.0.0.1:1"), "");
}

#[test]
fn the_output_cap_follows_the_host() {
    let field = |url: &str, keys: &str| {
        let provider = format!("providers: {{p: {{base_url: '{url}', {keys}}}}}\n");
        let snapshot = read(&format!("{provider}models: [{{id: a, provider: p}}]")).unwrap();
        snapshot.providers[0].abilities.output_cap_field
    };
    let (short, long) = (OutputCapField::MaxTokens, OutputCapField::MaxCompletionTokens);
    for (url, expected) in [
        ("https://api.openai.com/v1", long),
        ("https://me.openai.azure.com/openai/v1", long),
        ("https://api.openai.com.evil.example/v1", short),
        ("https://notopenai.azure.com/v1", short),
        ("https://openrouter.ai/api/v1", short),
        ("http://127.0.0.1:1/v1", short),
    ] {
        assert_eq!(field(url, "dialect: openai"), expected, "{url}");
    }
    assert_eq!(field("https://api.openai.com/v1", "dialect: anthropic"), short);
    let said = "dialect: openai, output_cap_field: max_completion_tokens";
    assert_eq!(field("http://127.0.0.1:1/v1", said), long);
    let said = "dialect: openai, output_cap_field: max_tokens";
    assert_eq!(field("https://api.openai.com/v1", said), short);
}

#[test]
fn the_price_table_has_a_version() {
    let snapshot = |a: &str, b: &str| {
        let text = format!("{PROVIDERS}models: [{{id: {a}}}, {{id: {b}}}]");
        read(&text).unwrap().catalog
    };
    let a = "a, provider: p, price: {input: 1, output: 2}";
    let b = "b, provider: q, price: {input: 3, output: 1, long_context: {above_tokens: 9, input: 5, output: 1}}";
    let version = snapshot(a, b).price_version;
    assert_eq!(snapshot(b, a).price_version, version, "the order does not matter");
    for (other_a, other_b) in [
        ("c, provider: p, price: {input: 1, output: 2}", b),
        ("a, provider: p, price: {input: 1.000001, output: 2}", b),
        ("a, provider: p", b),
        ("a, provider: p, price: {input: 1, output: 2, request: 0.000000001}", b),
        ("a, provider: p, price: {input: 1, output: 2, cache_read: 0}", b),
        (a, "b, provider: q, price: {input: 3, output: 1}"),
    ] {
        assert_ne!(snapshot(other_a, other_b).price_version, version, "{other_a} {other_b}");
    }
    let renamed = "a, provider: p, upstream_id: x, price: {input: 1, output: 2}, vision: true";
    assert_eq!(snapshot(renamed, b).price_version, version);
    assert_ne!(
        snapshot("a, provider: p", b).price_version,
        snapshot("a, provider: p, price: {input: 0, output: 0}", b).price_version
    );
    let free = "a, provider: p, price: {input: 1, output: 2, request: 0}";
    assert_eq!(snapshot(free, b).price_version, version, "no fee is no change");
    let dearest = snapshot(a, b).dearest;
    assert_eq!(
        (dearest.input.0, dearest.output.0, dearest.cache_write.0),
        (5_000_000, 2_000_000, 6_250_000)
    );
}
