//! Execwall's `policy.yaml`.

use super::{fault, imported, tells};

const POLICY: &str = include_str!("../../../../tests/fixtures/seeds/policy.yaml");

#[test]
fn a_policy_comes_along() {
    let (imported, snapshot) = imported(POLICY);
    assert_eq!(imported.seed, "Execwall policy.yaml");
    let names: Vec<&str> = imported.variables.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["OPENROUTER_API_KEY"], "a console that is off needs no key");
    assert_eq!(snapshot.catalog.models().len(), 5, "each model once");
    assert_eq!(snapshot.stream.metadata_field, "_execwall");
    assert!(snapshot.catalog.models().iter().all(|model| model.priced), "a hard cap needs a price");
    assert!(imported.yaml.contains("native_fallback: true"));
    assert!(imported.yaml.contains("first_byte_timeout_ms: 120000"));
    assert!(!imported.yaml.contains("listen"), "ADAPTER_HOST and ADAPTER_PORT stay in force");
    assert!(imported.yaml.contains(
        "      - {remaining_min: 0.80, models: [anthropic/claude-3.5-sonnet, openai/gpt-4o]}"
    ));
    for path in
        ["version", "rules", "cost_routing.spend_log", "cost_routing.agents.research.budget_source"]
    {
        assert!(tells(&imported, path), "{path}: {:?}", imported.losses);
    }
}

#[test]
fn budgets_are_what_they_were() {
    let yaml = imported(POLICY).0.yaml;
    assert!(
        yaml.contains("budget: {limit_usd: 50, spent_usd: 3.25, period: daily, hard_cap: true}"),
        "{yaml}"
    );
    assert!(
        yaml.contains("budget: {limit_usd: 200, period: none, hard_cap: true}"),
        "defaults (S0-07)"
    );
    assert!(yaml.contains("budget: {limit_usd: 10, period: weekly, hard_cap: false}"));
    assert_eq!(yaml.matches("mode: budget").count(), 3, "the tier chooses, whatever is asked for");
}

const SMALL: &str =
    "cost_routing:\n  agents:\n    a: {budget_total: 1, tiers: [{threshold: 0, models: [m]}]}\n";

#[test]
fn what_has_no_place_here_is_listed_and_the_rest_comes_along() {
    let text = "cost_routing:\n  agents:\n    my agent: {budget_total: 1}\n    b: {budget_total: 2, tiers: [\
        {threshold: 0.12345678, models: [m, x y]}, {threshold: 0.1, models: [x y]}, {threshold: 0, models: [n]}]}\n";
    let (imported, snapshot) = imported(text);
    assert_eq!(snapshot.gate.agents.all().iter().filter(|agent| &*agent.id == "b").count(), 1);
    assert_eq!(snapshot.catalog.models().len(), 2);
    assert!(imported.yaml.contains("{remaining_min: 0.123457, models: [m]}"), "{}", imported.yaml);
    assert!(!imported.yaml.contains("my agent") && !imported.yaml.contains("x y"));
    for path in [
        "cost_routing.agents[\"my agent\"]",
        "cost_routing.agents.b.tiers[0].models[1]",
        "cost_routing.agents.b.tiers[1].models[0]",
        "cost_routing.agents.b.tiers[0].threshold",
    ] {
        assert!(tells(&imported, path), "{path}: {:?}", imported.losses);
    }
    assert!(fault("cost_routing: {agents: {my agent: {budget_total: 1}}}").contains("no agent"));
    let whole = SMALL.replace("threshold: 0,", "threshold: 0.99999991,");
    assert!(self::imported(&whole).0.yaml.contains("{remaining_min: 1, models: [m]}"));
}

#[test]
fn without_a_key_the_clients_own_goes_upstream() {
    let (imported, snapshot) = imported(SMALL);
    assert!(snapshot.gate.pass_through && imported.variables.is_empty());
}

#[test]
fn a_key_in_clear_is_moved_and_never_shown() {
    let text = format!("{SMALL}  openrouter: {{api_key: sk-in-clear}}\n");
    let (imported, _) = imported(&text);
    assert!(!imported.yaml.contains("sk-in-clear"));
    let variable = &imported.variables[0];
    assert_eq!(variable.name, "OPENROUTER_API_KEY");
    assert_eq!(variable.moved_from.as_deref(), Some("cost_routing.openrouter.api_key"));
    assert!(!format!("{imported:?}").contains("sk-in-clear"));
}

#[test]
fn an_auto_name_may_be_a_model_of_a_tier() {
    let (imported, _) = imported(&SMALL.replace("[m]", "[openrouter/auto, openrouter/auto]"));
    assert!(imported.yaml.contains("auto_names: [auto, weir, optmod, optmod-router]"));
    assert!(tells(&imported, "cost_routing.agents.a.tiers[0].models[1]"), "{:?}", imported.losses);
}

#[test]
fn what_is_wrong_is_told_with_its_path() {
    let cases = [
        ("budget_total: 1, ", "", "cost_routing.agents.a.budget_total: is missing"),
        (
            "budget_total: 1",
            "budget_total: [1]",
            "cost_routing.agents.a.budget_total: must be a single",
        ),
        ("budget_total: 1", "budget_total: much", "cost_routing.agents.a.budget_total: \"much\""),
        ("budget_total: 1", "budget_total: -1", "cost_routing.agents.a.budget_total: \"-1\""),
        (
            "budget_total: 1",
            "budget_total: 1, period: yearly",
            "cost_routing.agents.a.period: \"yearly\"",
        ),
        (
            "budget_total: 1",
            "budget_total: 1, hard_cap: 7",
            "cost_routing.agents.a.hard_cap: \"7\"",
        ),
        ("threshold: 0, ", "", "cost_routing.agents.a.tiers[0].threshold: is missing"),
        ("threshold: 0", "threshold: 80", "cost_routing.agents.a.tiers[0].threshold: \"80\""),
        ("[m]", "[]", "cost_routing.agents.a.tiers[0].models: is empty"),
        ("    a: {", "    a: 1 #", "cost_routing.agents.a: must be a mapping"),
    ];
    for (good, bad, expected) in cases {
        let text = SMALL.replace(good, bad);
        let faults = super::super::import(&text, "f").expect_err(&text);
        assert!(faults.iter().any(|it| it.to_string().starts_with(expected)), "{text}{faults:?}");
    }
    assert!(fault("cost_routing: {agents: {}}").starts_with("cost_routing.agents: is missing"));
    assert!(fault("cost_routing:\n").starts_with("cost_routing: is missing"));
}
