//! openclaw-autoproxy's `routes.yml`.

use super::{fault, imported, tells};

const ROUTES: &str = include_str!("../../../../tests/fixtures/seeds/routes.yml");

#[test]
fn routes_come_along() {
    let (imported, snapshot) = imported(ROUTES);
    assert_eq!(imported.seed, "openclaw-autoproxy routes.yml");
    let yaml = &imported.yaml;
    assert!(yaml.contains("listen: [\"127.0.0.1:${PORT:-8787}\"]"), "{yaml}");
    assert!(yaml.contains("retry_statuses: [412, 429, 500, 502, 503, 504]"));
    assert!(yaml.contains("attempts_max: 5"), "{yaml}");
    assert!(snapshot.gate.pass_through);
    let of = |id: &str| {
        let model = snapshot.catalog.models().iter().find(|model| &*model.id == id);
        model.unwrap_or_else(|| panic!("{id}"))
    };
    assert!(!of("gpt-3.5-turbo").enabled, "its route is not");
    assert_eq!(of("claude-sonnet-4-6").dialect().name(), "anthropic");
    assert_eq!(of("*").dialect().name(), "openai");
    let names: Vec<&str> = imported.variables.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["OPENAI_API_KEY", "DEFAULT_API_KEY", "ANTHROPIC_API_KEY"]);
    assert_eq!(imported.variables[1].moved_from.as_deref(), Some("defaults.apiKey"));
    assert!(
        !yaml.contains("literal-key") && !format!("{:?}", imported.losses).contains("literal-key")
    );
    for path in
        ["routes[3].model[1]", "retryStatusCodes[6]", "routes[0].headers.host", "routes[1].region"]
    {
        assert!(tells(&imported, path), "{path}: {:?}", imported.losses);
    }
}

#[test]
fn addresses_are_used_as_they_were() {
    let yaml = imported(ROUTES).0.yaml;
    let of = |name: &str| {
        let from = yaml.find(&format!("\n  {name}:")).unwrap_or_else(|| panic!("{name}\n{yaml}"));
        let rest = &yaml[from + 1..];
        let lines = rest.lines().skip(1).take_while(|line| line.starts_with("    "));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert!(!of("openai").contains("exact_url"), "isBaseUrl");
    assert!(of("openai").contains("headers: {X-Team: research}"), "{}", of("openai"));
    assert!(of("gateway").contains("exact_url: true"));
    assert!(
        of("gateway").contains("auth_header: cf-aig-authorization\n    auth_prefix: \"Bearer \"")
    );
    assert!(
        of("claude").contains("auth_header: x-api-key\n    auth_prefix: \"\""),
        "{}",
        of("claude")
    );
    assert!(of("azure").contains("enabled: false"));
    assert!(of("upstream").contains("https://api.openai.com"), "what no route takes (S4-07)");
}

#[test]
fn a_list_of_routes_is_enough() {
    let (imported, snapshot) = imported(
        "- {url: 'http://a/v1/chat/completions', model: m}\n- {url: 'http://b', models: ['*'], isBaseUrl: true}\n",
    );
    assert_eq!(snapshot.catalog.models().len(), 2, "the wildcard is theirs");
    assert!(imported.yaml.contains("  route-1:\n") && imported.yaml.contains("  route-2:\n"));
    assert!(!imported.yaml.contains("UPSTREAM_BASE_URL"));
    assert!(tells(&imported, "[0].apiKeyEnv"), "{:?}", imported.losses);
}

#[test]
fn defaults_have_three_names() {
    for name in ["defaults", "global", "auth"] {
        let text = format!(
            "{name}: {{apiKeyEnv: K, enabled: true}}\nroutes: [{{url: 'http://a', model: m}}]\n"
        );
        let (imported, _) = imported(&text);
        assert!(imported.yaml.contains("api_key: \"${K}\""), "{name}: {}", imported.yaml);
    }
}

#[test]
fn what_is_wrong_is_told_with_its_path() {
    let with = |routes: &str| fault(&format!("routes: {routes}\n"));
    let cases = [
        ("[]", "routes: is empty"),
        ("[{model: m}]", "routes[0].url: is missing"),
        ("[{url: nowhere, model: m}]", "routes[0].url: is not a URL"),
        ("[{url: 'http://a'}]", "routes[0].model: is missing"),
        ("[{url: 'http://a', model: {a: b}}]", "routes[0].model: must be a single value"),
        ("[{url: 'http://a', model: m, enabled: maybe}]", "routes[0].enabled: \"maybe\""),
        ("[{url: 'http://a', model: m, apiKeyEnv: a-b}]", "routes[0].apiKeyEnv: \"a-b\""),
        (
            "[{url: 'http://a', model: m}, {url: 'http://b', model: [n, m]}]",
            "routes[1].model[1]: \"m\" is in the enabled route \"route-1\"",
        ),
    ];
    for (routes, expected) in cases {
        let said = with(routes);
        assert!(said.starts_with(expected), "{routes}: {said}");
    }
    for codes in ["[]", "[many]", "[99]", "[10000]"] {
        let said =
            fault(&format!("retryStatusCodes: {codes}\nroutes: [{{url: 'http://a', model: m}}]\n"));
        assert!(said.starts_with("retryStatusCodes"), "{said}");
    }
}
