//! What operators keep beside the file, joined with it; and several keys of one provider.

use super::{assert_problem, provider_refused, read};
use crate::base::surface::Dialect;
use crate::config::catalog::{Choice, Via};
use crate::config::overlay::{Account, AccountModel, Overlay, Switch, apply};
use crate::config::snapshot::Snapshot;
use crate::identity::agent::Mode;
use crate::upstream::kind::ProviderKind;
use crate::upstream::provider::OutputCapField;
use crate::upstream::target::BaseUrl;

const FILE: &str = "providers:\n  p: {dialect: openai, base_url: http://127.0.0.1:9000/v1, api_keys: \
                    [k1, k2, k3]}\nmodels:\n  - {id: gpt-4o, provider: p, upstream_id: gpt-4o-x, price: \
                    {input: 2, output: 10}, context_tokens: 9}\n  - {id: other, provider: p}\n";

const MARKER: &str = "sk-MARKER-1";

fn account(name: &str, kind: ProviderKind, models: &[(&str, bool)]) -> Account {
    let model = |(name, enabled): &(&str, bool)| AccountModel {
        name: (*name).into(),
        enabled: *enabled,
        max_tokens: None,
    };
    Account {
        name: name.into(),
        kind,
        base: BaseUrl::parse("https://api.example.com/v1", false).unwrap(),
        auth: kind.credential(MARKER),
        models: models.iter().map(model).collect(),
    }
}

fn joined(accounts: Vec<Account>, switches: &[(&str, &str, &str)]) -> Snapshot {
    let switch = |(agent, profile, model): &(&str, &str, &str)| Switch {
        agent: (*agent).into(),
        profile: (*profile).into(),
        model: (*model).into(),
        since_ms: 7,
    };
    let switches = switches.iter().map(switch).collect();
    apply(read(FILE).unwrap(), &Overlay { accounts, switches, ..Overlay::default() })
}

#[test]
fn accounts_become_providers_and_models_behind_those_of_the_file() {
    let models = [("gpt-4o", true), ("off", false)];
    let snapshot = joined(vec![account("prod", ProviderKind::OpenAi, &models)], &[]);
    let provider = &snapshot.providers[1];
    assert_eq!((&*provider.name, provider.index, provider.dialect), ("prod", 1, Dialect::OpenAi));
    let (name, value) = provider.auth.as_ref().unwrap();
    assert_eq!((name.as_str(), value.to_str().unwrap()), ("authorization", "Bearer sk-MARKER-1"));
    assert!(provider.abilities.responses && provider.fence.is_some());
    assert_eq!(provider.abilities.output_cap_field, OutputCapField::MaxCompletionTokens);
    let model = &snapshot.catalog.models()[2];
    assert_eq!((&*model.id, &*model.upstream_id), ("prod::gpt-4o", "gpt-4o"));
    assert_eq!(
        (model.priced, model.context_tokens),
        (true, Some(9)),
        "as the file says of the name"
    );
    assert!(!snapshot.catalog.models()[3].priced && !snapshot.catalog.models()[3].enabled);
    assert_eq!(snapshot.catalog.auto_candidates(Dialect::OpenAi), [0, 1]);
    let names = |name| snapshot.catalog.resolve(Some(name));
    assert_eq!(names("prod::gpt-4o"), Choice::Model { index: 2, via: Via::Named });
    assert_eq!(names("gpt-4o"), Choice::Model { index: 0, via: Via::Named }, "the file wins");
    assert!(matches!(names("prod::off"), Choice::Unknown { disabled: true, .. }));
    assert!(matches!(names("off"), Choice::Unknown { disabled: false, .. }));
}

#[test]
fn each_kind_speaks_its_dialect_and_no_debug_output_shows_a_credential() {
    let claude = account("c", ProviderKind::Anthropic, &[("claude", true)]);
    let local = account("l", ProviderKind::OpenAiCompatible, &[("llama", true)]);
    let snapshot = joined(vec![claude, local], &[]);
    let [claude, local] = &snapshot.providers[1..] else { panic!() };
    assert_eq!(claude.auth.as_ref().unwrap().0, "x-api-key");
    assert_eq!(claude.dialect, Dialect::Anthropic);
    assert!(!claude.abilities.ask_usage && !claude.abilities.responses);
    assert!(local.abilities.ask_usage && !local.abilities.responses);
    assert_eq!(local.abilities.output_cap_field, OutputCapField::MaxTokens);
    let shown = format!("{snapshot:?}{:?}", account("c", ProviderKind::OpenAi, &[]));
    assert!(!shown.contains("MARKER"));
    assert!(ProviderKind::OpenAi.credential("a\nb").is_none());
}

#[test]
fn the_plain_name_means_every_account_that_offers_it() {
    let old = account("old", ProviderKind::OpenAi, &[("gpt-5", false), ("o1", true)]);
    let mid = account("mid", ProviderKind::OpenAi, &[("gpt-5", true)]);
    let new = account("new", ProviderKind::OpenAi, &[("gpt-5", true)]);
    let other = account("other", ProviderKind::OpenAiCompatible, &[("gpt-5", true)]);
    let catalog = joined(vec![old, mid, new, other], &[]).catalog;
    assert_eq!(catalog.resolve(Some("gpt-5")), Choice::Model { index: 4, via: Via::Offered });
    assert_eq!(catalog.offers("gpt-5"), [4, 5, 6]);
    assert_eq!((catalog.spares(4), catalog.spares(5)), (&[5][..], &[4][..]), "enabled, same kind");
    assert!(catalog.spares(6).is_empty() && catalog.spares(3).is_empty());
}

#[test]
fn further_keys_are_places_that_nobody_names() {
    let snapshot = joined(vec![account("prod", ProviderKind::OpenAi, &[("m", true)])], &[]);
    let catalog = &snapshot.catalog;
    assert_eq!(catalog.models().len(), 3);
    assert_eq!((catalog.spares(0), catalog.spares(1)), (&[3, 4][..], &[5, 6][..]));
    let key = |place: usize| {
        let model = catalog.get(place).unwrap();
        let (_, value) = model.provider.auth.clone().unwrap();
        (model.id.to_string(), value.to_str().unwrap().to_owned(), catalog.listed(place))
    };
    assert_eq!(key(0), ("gpt-4o".to_owned(), "Bearer k1".to_owned(), 0));
    assert_eq!(key(4), ("gpt-4o".to_owned(), "Bearer k3".to_owned(), 0));
    assert_eq!(key(5), ("other".to_owned(), "Bearer k2".to_owned(), 1));
    let rests: std::collections::HashSet<_> =
        catalog.places().map(|model| model.provider.rest_key.clone()).collect();
    assert_eq!(rests.len(), 4, "each key rests on its own");
    assert_eq!(catalog.places().count(), 7);
}

#[test]
fn switches_lead_to_models_of_accounts_and_of_the_file() {
    let prod = account("prod", ProviderKind::OpenAi, &[("m", true), ("off", false)]);
    let switches =
        [("a", "prod", "m"), ("b", "p", "gpt-4o-x"), ("c", "prod", "gone"), ("d", "prod", "off")];
    let snapshot = joined(vec![prod], &switches);
    let at = |agent: &str| snapshot.active[agent].model;
    assert_eq!((at("a"), at("b"), at("c"), at("d")), (Some(2), Some(0), None, Some(3)));
    assert_eq!(snapshot.active["a"].switch.since_ms, 7);
}

#[test]
fn what_the_file_names_hides_what_does_not_fit_it() {
    let same = account("p", ProviderKind::OpenAi, &[("m", true)]);
    let snapshot = joined(vec![same], &[]);
    assert_eq!((snapshot.providers.len(), snapshot.catalog.models().len()), (1, 2));
    assert!(snapshot.warnings.iter().any(|line| line.contains("profile p: is not used")));
    let unread = Account { auth: None, ..account("q", ProviderKind::OpenAi, &[("m", true)]) };
    let snapshot = joined(vec![unread], &[]);
    assert!(!snapshot.providers[1].enabled && !snapshot.catalog.models()[2].enabled);
}

#[test]
fn lists_of_keys_are_checked() {
    let url = "dialect: openai, base_url: http://127.0.0.1:1";
    let both = format!("{url}, api_key: a, api_keys: [b]");
    provider_refused(&both, "providers.p.api_keys", "excludes api_key");
    provider_refused(&format!("{url}, api_keys: [b, b]"), "providers.p.api_keys", "twice");
    provider_refused(&format!("{url}, api_keys: []"), "providers.p.api_keys", "1 to 16");
    provider_refused(&format!("{url}, api_keys: [\"a\\nb\"]"), "providers.p.api_keys", "header");
    let bad = read("providers:\n  p: {dialect: openai}\nmodels: [{id: a, provider: p}]\n");
    assert_problem(&bad.unwrap_err(), "providers.p.base_url", "missing");
}

#[test]
fn agents_may_be_switched_by_hand() {
    let snapshot = read(&format!("{FILE}agents: {{x: {{mode: manual}}}}\n")).unwrap();
    assert_eq!(snapshot.gate.agents.get("x").unwrap().mode, Mode::Manual);
}
