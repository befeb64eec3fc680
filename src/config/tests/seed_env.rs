//! What the environment says where the file is silent: each name, its faults, and that the file wins.

use http::HeaderValue;

use super::*;

use crate::base::surface::Dialect;
use crate::config::catalog::Catalog;
use crate::identity::keyring::Grant;
use crate::identity::principal::{Gate, Presented};

/// Reads a file in that environment.
fn read_with(text: &str, set: &[(&str, &str)]) -> Result<Snapshot, Vec<Problem>> {
    let env = |name: &str| {
        set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    load(text, "weir.yaml", &env)
}

fn file(rest: &str) -> String {
    format!("{PROVIDERS}{MODELS}{rest}")
}

/// The snapshot of a sound file with these lines added, in that environment.
#[track_caller]
fn with(rest: &str, set: &[(&str, &str)]) -> Snapshot {
    read_with(&file(rest), set).unwrap()
}

/// Whether just that variable is to blame, in these words.
#[track_caller]
fn blamed(rest: &str, set: &[(&str, &str)], origin: &str, fragment: &str) {
    let problems = read_with(&file(rest), set).expect_err(origin);
    let found: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(problems.len(), 1, "{found:#?}");
    assert_eq!((problems[0].path.as_str(), problems[0].line), (origin, None), "{found:#?}");
    assert!(problems[0].message.contains(fragment), "{found:#?}");
}

#[track_caller]
fn assert_listens(rest: &str, set: &[(&str, &str)], addresses: &[&str]) {
    let listen = with(rest, set).server.listen;
    let found: Vec<String> = listen.iter().map(ToString::to_string).collect();
    assert_eq!(found, addresses, "{set:?}");
}

const OPEN: &str = "server: {allow_open: true}\n";

#[test]
fn the_listener_has_four_names() {
    assert_listens("", &[("PORT", "8787")], &["127.0.0.1:8787"]);
    assert_listens("", &[("ADAPTER_PORT", " 81 ")], &["127.0.0.1:81"]);
    assert_listens("", &[("ORCHESTRATOR_PORT", "3005")], &["127.0.0.1:3005"]);
    assert_listens(OPEN, &[("HOST", "0.0.0.0")], &["0.0.0.0:8080"]);
    assert_listens(OPEN, &[("ADAPTER_HOST", "0.0.0.0"), ("ADAPTER_PORT", "1")], &["0.0.0.0:1"]);
    assert_listens("", &[("HOST", "::1"), ("PORT", "82")], &["[::1]:82"]);
    assert_listens("", &[("HOST", "[::1]"), ("PORT", "82")], &["[::1]:82"]);
    assert_listens("", &[("HOST", "localhost"), ("PORT", "82")], &["127.0.0.1:82"]);
    assert_listens("", &[("HOST", ""), ("PORT", "")], &["127.0.0.1:8080"]);
}

#[test]
fn the_names_of_one_system_go_together_and_the_nearest_wins() {
    let all = [
        ("ORCHESTRATOR_PORT", "3005"),
        ("PORT", "8787"),
        ("HOST", "127.0.0.2"),
        ("ADAPTER_PORT", "8081"),
    ];
    assert_listens("", &all, &["127.0.0.1:8081"]);
    assert_listens("", &all[..3], &["127.0.0.2:8787"]);
    assert_listens("", &[all[0], all[2]], &["127.0.0.2:8080"]);
    assert_listens("", &all[..1], &["127.0.0.1:3005"]);
}

#[test]
fn what_the_file_says_wins() {
    let everything = [
        ("PORT", "nonsense"),
        ("RETRY_STATUS_CODES", "nonsense"),
        ("GLOBAL_FALLBACK_MODELS", "nonsense"),
        ("MODEL_FALLBACK_MAP", "nonsense"),
        ("ROUTER_ADMIN_KEY", "bad"),
        ("ROUTER_AGENT_KEY", "bad"),
        ("REQUIRE_AGENT_KEY_FOR_PROXY", "nonsense"),
        ("REQUEST_TIMEOUT_MS", "nonsense"),
        ("UPSTREAM_TIMEOUT_MS", "nonsense"),
        ("UPSTREAM_API_KEY", "bad\nkey"),
    ];
    let text = "server: {listen: '127.0.0.1:1'}\n\
        auth: {admin_keys: [], agent_keys: [sixteen-letters-x], require_agent_key: true}\n\
        providers:\n  p: {dialect: openai, base_url: 'http://127.0.0.1:9', api_key: own, \
        first_byte_timeout_ms: 5}\n\
        models: [{id: a, provider: p}, {id: b, provider: p}]\n\
        routing: {retry_statuses: 500, fallback_default: [], fallbacks: {a: b}}\n";
    let snapshot = read_with(text, &everything).unwrap();
    assert_eq!(snapshot.server.listen[0].port(), 1);
    let keyring = &snapshot.gate.keyring;
    assert_eq!((keyring.len(), keyring.find(b"sixteen-letters-x")), (1, Some(&Grant::AnyAgent)));
    assert!(snapshot.gate.require_agent_key);
    assert_eq!(snapshot.routing.retry.statuses.iter().collect::<Vec<_>>(), [500]);
    assert_eq!(snapshot.catalog.chain(0), [1]);
    assert_eq!(snapshot.providers[0].timeouts.first_byte_ms, 5);
    assert_eq!(credential(&snapshot, 0).as_deref(), Some("authorization: Bearer own"));
    // A key without a value says nothing.
    assert_listens("server:\n  listen:\n", &[("PORT", "83")], &["127.0.0.1:83"]);
    assert_listens("server:\n", &[("PORT", "83")], &["127.0.0.1:83"]);
}

#[test]
fn a_bad_address_names_its_variable() {
    let port = "environment variable PORT";
    blamed("", &[("PORT", "80a")], port, "server.listen: \"127.0.0.1:80a\" is not an address");
    blamed("", &[("PORT", "0")], port, "is not an address");
    blamed("", &[("PORT", "70000"), ("HOST", "127.0.0.1")], port, "is not an address");
    let host = "environment variable HOST";
    blamed("", &[("PORT", "80"), ("HOST", "some.where")], host, "\"some.where:80\"");
    blamed("", &[("HOST", "some.where")], host, "\"some.where:8080\" is not an address");
    blamed("", &[("ORCHESTRATOR_PORT", "-1")], "environment variable ORCHESTRATOR_PORT", "\"127.");
    let both = "environment variables ADAPTER_HOST and ADAPTER_PORT";
    blamed("", &[("ADAPTER_HOST", "127.0.0.1"), ("ADAPTER_PORT", "0")], both, "is not an address");
}

#[test]
fn a_door_that_the_environment_opens_needs_keys_too() {
    let open = [("HOST", "0.0.0.0"), ("PORT", "8787")];
    let both = "environment variables HOST and PORT";
    blamed("", &open, both, "server.listen: is open to the network, but there is no agent key");
    let with_key = [open[0], open[1], ("ROUTER_AGENT_KEY", "sixteen-letters-x")];
    assert_listens("", &with_key, &["0.0.0.0:8787"]);
    let problems = read_with(&file(""), &[("PORT", "9090")]).unwrap_err();
    assert_problem(
        &problems,
        "server.admin",
        "same port as server.listen (environment variable PORT)",
    );
}

#[test]
fn the_keys_of_the_gateway() {
    let is_let_in = |gate: &Gate, key: &str| {
        let value = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
        gate.identify(&Presented { authorization: Some(&value), ..Presented::default() }).is_ok()
    };
    let set = [
        ("ROUTER_ADMIN_KEY", "admin-key-of-sixteen"),
        ("ROUTER_AGENT_KEY", "agent-key-of-sixteen"),
    ];
    let gate = with("", &set).gate;
    let grants = set.map(|(_, key)| gate.keyring.find(key.as_bytes()).copied());
    assert_eq!(grants, [Some(Grant::Admin), Some(Grant::AnyAgent)]);
    assert!(gate.require_agent_key);
    assert!(is_let_in(&gate, set[0].1) && is_let_in(&gate, set[1].1));
    assert!(gate.identify(&Presented::default()).is_err());
    let relaxed = [set[0], set[1], ("REQUIRE_AGENT_KEY_FOR_PROXY", "false")];
    assert!(with("", &relaxed).gate.identify(&Presented::default()).is_ok());
    let (admin, agent) =
        ("environment variable ROUTER_ADMIN_KEY", "environment variable ROUTER_AGENT_KEY");
    blamed("", &[("ROUTER_ADMIN_KEY", "short")], admin, "auth.admin_keys: ");
    blamed("", &[("ROUTER_AGENT_KEY", "short")], agent, "auth.agent_keys: ");
    let twice = [("ROUTER_ADMIN_KEY", set[0].1), ("ROUTER_AGENT_KEY", set[0].1)];
    blamed(
        "",
        &twice,
        agent,
        "is the same key as auth.admin_keys (environment variable ROUTER_ADMIN_KEY)",
    );
    let require = "environment variable REQUIRE_AGENT_KEY_FOR_PROXY";
    blamed("", &[("REQUIRE_AGENT_KEY_FOR_PROXY", "maybe")], require, "(true, false)");
    blamed("", &[("REQUIRE_AGENT_KEY_FOR_PROXY", "true")], require, "there is no agent key");
}

#[test]
fn retries_and_chains() {
    let statuses = |text: &str| {
        let snapshot = with("", &[("RETRY_STATUS_CODES", text)]);
        snapshot.routing.retry.statuses.iter().collect::<Vec<_>>()
    };
    assert_eq!(statuses("429, 500,,502"), [429, 500, 502]);
    let origin = "environment variable RETRY_STATUS_CODES";
    blamed("", &[("RETRY_STATUS_CODES", "429,5xx")], origin, "retry_statuses[1]: \"5xx\" is not");
    blamed("", &[("RETRY_STATUS_CODES", "99")], origin, "out of range");
    blamed("", &[("RETRY_STATUS_CODES", " , ")], origin, "is empty");
    let chain = |catalog: &Catalog, at| catalog.chain(at).to_vec();
    let both = with("", &[("GLOBAL_FALLBACK_MODELS", " b , a")]).catalog;
    assert_eq!((chain(&both, 0), chain(&both, 1)), (vec![1], vec![0]));
    let origin = "environment variable GLOBAL_FALLBACK_MODELS";
    blamed(
        "",
        &[("GLOBAL_FALLBACK_MODELS", "a,c")],
        origin,
        "fallback_default[1]: \"c\" is not the id",
    );
    // The file's own chains win over the environment's default, as they do over the file's.
    let mixed = with("routing: {fallbacks: {a: []}}", &[("GLOBAL_FALLBACK_MODELS", "b")]).catalog;
    assert!(chain(&mixed, 0).is_empty());
}

#[test]
fn a_map_of_chains_is_json() {
    let map = |text: &str| with("", &[("MODEL_FALLBACK_MAP", text)]).catalog;
    let catalog = map(r#"{"a": "b", "b": ["a"]}"#);
    assert_eq!((catalog.chain(0), catalog.chain(1)), (&[1][..], &[0][..]));
    assert!(map("{}").chain(0).is_empty());
    let origin = "environment variable MODEL_FALLBACK_MAP";
    for (text, fragment) in [
        ("{a: b}", "routing.fallbacks: is not valid JSON"),
        ("[\"a\"]", "is not a JSON object"),
        (r#"{"a": 5}"#, "has something else behind \"a\""),
        (r#"{"a": ["b", null]}"#, "has something else behind \"a\""),
        (r#"{"a": ["x"]}"#, "routing.fallbacks.a[0]: \"x\" is not the id of a model"),
        (r#"{"x": "a"}"#, "routing.fallbacks.x: \"x\" is not the id of a model"),
    ] {
        blamed("", &[("MODEL_FALLBACK_MAP", text)], origin, fragment);
    }
}

#[test]
fn timeouts_of_providers_that_have_none() {
    let text = "providers:\n  p: {dialect: openai, base_url: 'http://127.0.0.1:9', first_byte_timeout_ms: 5}\n\
        \x20 q: {dialect: anthropic, base_url: 'http://127.0.0.1:9'}\nmodels: [{id: a, provider: p}]\n";
    let waits = |set: &[(&str, &str)]| {
        let snapshot = read_with(text, set).unwrap();
        snapshot.providers.iter().map(|of| of.timeouts.first_byte_ms).collect::<Vec<_>>()
    };
    assert_eq!(waits(&[("UPSTREAM_TIMEOUT_MS", "30000")]), [5, 30_000]);
    assert_eq!(waits(&[("REQUEST_TIMEOUT_MS", "1000")]), [5, 1_000]);
    assert_eq!(
        waits(&[("UPSTREAM_TIMEOUT_MS", "2000"), ("REQUEST_TIMEOUT_MS", "3000")]),
        [5, 3_000]
    );
    let origin = "environment variable REQUEST_TIMEOUT_MS";
    let words = "providers.<name>.first_byte_timeout_ms: \"999\" is out of range (1000 to 3600000";
    blamed("", &[("REQUEST_TIMEOUT_MS", "999")], origin, words);
    blamed(
        "",
        &[("UPSTREAM_TIMEOUT_MS", "30s")],
        "environment variable UPSTREAM_TIMEOUT_MS",
        "whole",
    );
}

fn credential(snapshot: &Snapshot, at: usize) -> Option<String> {
    let (name, value) = snapshot.providers[at].auth.clone()?;
    assert!(value.is_sensitive());
    Some(format!("{name}: {}", value.to_str().unwrap()))
}

#[test]
fn the_upstream_key_goes_to_the_one_provider_it_can_be_meant_for() {
    let key = [("UPSTREAM_API_KEY", "sk-from-the-env")];
    let snapshot = with("", &key);
    assert_eq!(credential(&snapshot, 0).as_deref(), Some("authorization: Bearer sk-from-the-env"));
    assert_eq!(credential(&snapshot, 1), None, "not to the other dialect");
    assert_eq!(snapshot.providers[1].dialect, Dialect::Anthropic);
    assert_eq!(credential(&with("auth: {pass_through: true}", &key), 0), None);
    let openai = |keys: &str| format!("{{dialect: openai, base_url: 'https://h'{keys}}}");
    let providers = |list: &[(&str, String)]| {
        let lines: String =
            list.iter().flat_map(|(name, keys)| ["  ", name, ": ", keys, "\n"]).collect();
        let text = format!("providers:\n{lines}models: [{{id: a, provider: p}}]\n");
        let snapshot = read_with(&text, &key).unwrap();
        (0..list.len()).map(|at| credential(&snapshot, at)).collect::<Vec<_>>()
    };
    assert_eq!(providers(&[("p", openai("")), ("r", openai(""))]), [None, None], "D-07");
    let one_has = providers(&[("p", openai(", api_key: own")), ("r", openai(""))]);
    assert_eq!(one_has, [Some("authorization: Bearer own".to_owned()), None], "D-07");
    let fixed = providers(&[("p", openai(", headers: {Api-Key: own}"))]);
    assert_eq!(fixed, [Some("api-key: own".to_owned())], "one credential is enough");
    let named = providers(&[("p", openai(", auth_header: api-key"))]);
    assert_eq!(named, [Some("api-key: sk-from-the-env".to_owned())]);
    let origin = "environment variable UPSTREAM_API_KEY";
    blamed(
        "",
        &[("UPSTREAM_API_KEY", "super\nsecret")],
        origin,
        "api_key: cannot stand in a header",
    );
}

#[test]
fn what_was_taken_is_told() {
    let set = [("PORT", "81"), ("UPSTREAM_API_KEY", "k"), ("REQUEST_TIMEOUT_MS", "2000")];
    let warnings = with("auth: {require_agent_key: false}", &set).warnings.join("\n");
    for line in [
        "server.listen: taken from the environment variable PORT, since the file does not say",
        "providers.p.api_key: taken from the environment variable UPSTREAM_API_KEY",
        "providers.q.first_byte_timeout_ms: taken from the environment variable REQUEST_TIMEOUT_MS",
    ] {
        assert!(warnings.contains(line), "{warnings}");
    }
    assert!(with(KEY, &[]).warnings.is_empty());
}

#[test]
fn secrets_of_the_environment_are_not_shown() {
    for name in ["ROUTER_ADMIN_KEY", "ROUTER_AGENT_KEY", "UPSTREAM_API_KEY"] {
        let problems = read_with(&file(""), &[(name, "hush\u{1}hush")]).unwrap_err();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|problem| problem.contains(name)), "{told:?}");
        assert!(!told.concat().contains("hush"), "{told:?}");
    }
}

#[test]
fn a_broken_file_is_told_as_before() {
    let set = [("PORT", "81"), ("RETRY_STATUS_CODES", "500"), ("UPSTREAM_API_KEY", "k")];
    for (text, path) in [("server: 5", "server"), ("routing: [x]", "routing")] {
        assert_problem(&read_with(&file(text), &set).unwrap_err(), path, "must be a mapping");
    }
    let problems = read_with("providers: {p: }\nmodels: 5", &set).unwrap_err();
    assert!(problems.iter().any(|problem| problem.path == "providers.p.dialect"), "{problems:?}");
    assert!(problems.iter().all(|problem| problem.line.is_some()), "{problems:?}");
}

proptest::proptest! {
    #[test]
    fn any_value_is_answered(value in "[-{}\\[\\]\",:a-b0-9. ]{0,40}") {
        for name in ["PORT", "HOST", "RETRY_STATUS_CODES", "MODEL_FALLBACK_MAP", "REQUEST_TIMEOUT_MS"] {
            if let Err(problems) = read_with(&file(""), &[(name, &value)]) {
                proptest::prop_assert!(problems.iter().all(|problem| problem.path.contains(name)));
            }
        }
    }
}
