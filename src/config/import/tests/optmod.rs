//! optmod's `config.yaml`.

use crate::routing::strategy::Strategy;

use super::{fault, imported, tells};

const CONFIG: &str = include_str!("../../../../tests/fixtures/seeds/config.yaml");

#[test]
fn a_pool_comes_along() {
    let (imported, snapshot) = imported(CONFIG);
    assert_eq!(imported.seed, "optmod config.yaml");
    let yaml = &imported.yaml;
    let ids: Vec<&str> = snapshot.catalog.models().iter().map(|model| &*model.id).collect();
    let expected = [
        "openai/gpt-oss-120b:free",
        "openai/gpt-4o-mini",
        "deepseek-v4-flash",
        "google/gemini-3.1-flash-lite",
        "deepseek-v4-pro",
        "anthropic/claude-sonnet-4.6",
    ];
    assert_eq!(ids, expected, "in the order of their tiers");
    assert!(yaml.contains("listen: [\"127.0.0.1:8765\"]"));
    assert!(yaml.contains("attempts_max: 3") && yaml.contains("strategy: perf_router"));
    assert!(yaml.contains("primary_model: deepseek-v4-pro") && yaml.contains("max_escalations: 2"));
    assert_eq!(snapshot.routing.strategy, Strategy::Learned);
    assert!(
        yaml.contains(
            "tier: oracle, price: {input: 0.435, output: 0.435}, context_tokens: 1000000"
        ),
        "{yaml}"
    );
    assert!(yaml.contains("access: \"./routing.log.jsonl\""));
    assert!(
        snapshot.mutators.tool_results.enabled && !snapshot.mutators.tool_results.settings.lossy
    );
    let names: Vec<&str> = imported.variables.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["OPENROUTER_API_KEY", "DEEPSEEK_API_KEY"]);
    assert_eq!(snapshot.providers.len(), 2, "one for each name, address and key");
    for path in [
        "router",
        "policy_path",
        "perf_router_cost_weight",
        "tool_result_compressor",
        "models[4].timeout_s",
        "models[4].cost_per_1k",
    ] {
        assert!(tells(&imported, path), "{path}: {:?}", imported.losses);
    }
}

#[test]
fn the_windows_of_pins_come_along() {
    let (_, snapshot) = imported(&CONFIG.replace("window_s: 1800", "window_s: 100"));
    let windows = snapshot.pinning.windows;
    assert_eq!((windows.hard_ms, windows.soft_ms), (300_000, 300_000), "it cannot end before");
    let odd = CONFIG.replace("bonus_weight: 0.5", "bonus_weight: 7");
    assert!(fault(&odd).contains("session_pin_soft_bonus_weight"));
}

#[test]
fn passthrough_begins_with_the_primary_model() {
    let text = CONFIG.replace("router: perf_router", "router: passthrough");
    let (imported, snapshot) = imported(&text);
    assert_eq!(&*snapshot.catalog.models()[0].id, "deepseek-v4-pro");
    assert_eq!(
        &*snapshot.catalog.models()[1].id,
        "openai/gpt-oss-120b:free",
        "the rest stays in order"
    );
    assert!(!tells(&imported, "router") && !tells(&imported, "primary_model"));
}

const SMALL: &str = "models:\n  - {name: m, base_url: 'http://a/v1', tier: 0}\n";

#[test]
fn the_least_that_works() {
    let (imported, snapshot) = imported(SMALL);
    assert!(imported.variables.is_empty() && snapshot.providers.len() == 1);
    let (imported, _) =
        super::imported(&format!("{SMALL}log_path: ~/logs/x\nport: 9999\nhost: 0.0.0.0\n"));
    assert!(imported.yaml.contains("access: \"${HOME}/logs/x\""));
    assert!(imported.yaml.contains("127.0.0.1:9999") && tells(&imported, "host"));
}

#[test]
fn what_is_wrong_is_told_with_its_path() {
    let model = |more: &str| SMALL.replace("tier: 0", more);
    let cases = [
        ("models: []\n".to_owned(), "models: is empty"),
        (SMALL.replace("name: m, ", ""), "models[0].name: is missing"),
        (SMALL.replace("base_url: 'http://a/v1', ", ""), "models[0].base_url: is missing"),
        (model("tier: 3"), "models[0].tier: \"3\" is not a tier"),
        (model("tier_name: best"), "models[0].tier_name: \"best\""),
        (model("tier: 0, tier_name: oracle"), "models[0].tier_name: is another tier"),
        (model("cost_per_1k: cheap"), "models[0].cost_per_1k: \"cheap\""),
        (model("cost_per_1k: 9000000000"), "models[0].cost_per_1k: is too large"),
        (model("timeout_s: soon"), "models[0].timeout_s: \"soon\""),
        (model("context_window: 0"), "models[0].context_window: \"0\""),
        (model("supports_tools: 3"), "models[0].supports_tools: \"3\""),
        (model("api_key_env: '${X}'"), "models[0].api_key_env: \"${X}\""),
        (
            format!("{SMALL}  - {{name: m, base_url: 'http://b', tier: 0}}\n"),
            "models[1].name: is the name",
        ),
        (format!("{SMALL}router: magic\n"), "router: \"magic\""),
        (format!("{SMALL}primary_model: n\n"), "primary_model: \"n\""),
        (
            format!("{SMALL}escalation: {{max_escalations: 99}}\n"),
            "escalation.max_escalations: \"99\"",
        ),
        (format!("{SMALL}port: 0\n"), "port: \"0\""),
    ];
    for (text, expected) in cases {
        let said = fault(&text);
        assert!(said.starts_with(expected), "{text}{said}");
    }
}
