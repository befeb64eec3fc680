//! What is refused about money: every bad input with the path and the words of its problem.

use super::*;

const TIERS: &str = "tiers: [{remaining_min: 0, models: [a]}]";
const BUDGET: &str = "budget: {limit_usd: 50}";

/// Exactly one problem for an agent `x` with these keys.
#[track_caller]
fn agent_refused(keys: &str, path: &str, fragment: &str) {
    refused(&format!("agents: {{x: {{{keys}}}}}"), path, fragment);
}

#[test]
fn bad_amounts_name_their_key() {
    let bad = [
        ("-1", "\"-1\" must not be negative (USD, at most 9 digits"),
        ("-0.01", "must not be negative"),
        (".nan", "not a plain decimal"),
        (".inf", "not a plain decimal"),
        ("-.inf", "must not be negative"),
        ("infinity", "not a plain decimal"),
        ("50 USD", "\"50 USD\" is not a plain decimal"),
        ("$50", "not a plain decimal"),
        ("\"1,5\"", "not a plain decimal"),
        ("0x10", "not a plain decimal"),
        ("true", "not a plain decimal"),
        ("\"\"", "not a plain decimal"),
        ("0.0000000001", "more digits after the point"),
        ("9223372036.854775808", "too large"),
        ("1e99", "too large"),
        ("[1]", "not a list"),
        ("{usd: 1}", "not a mapping"),
    ];
    for (amount, fragment) in bad {
        let limit = format!("limit_usd: {amount}");
        agent_refused(&format!("budget: {{{limit}}}"), "agents.x.budget.limit_usd", fragment);
        let session = format!("session_budget: {{{limit}}}");
        agent_refused(&session, "agents.x.session_budget.limit_usd", fragment);
        let spent = format!("budget: {{limit_usd: 1, spent_usd: {amount}}}");
        agent_refused(&spent, "agents.x.budget.spent_usd", fragment);
        let breaker = format!("breaker: {{spend_usd_per_minute: {amount}}}");
        agent_refused(&breaker, "agents.x.breaker.spend_usd_per_minute", fragment);
        refused(&format!("fleet: {{budget: {{{limit}}}}}"), "fleet.budget.limit_usd", fragment);
        refused(
            &format!("teams: {{t: {{budget: {{{limit}}}}}}}"),
            "teams.t.budget.limit_usd",
            fragment,
        );
        let level = format!("fleet: {{levels: {{warning_usd: {amount}}}}}");
        refused(&level, "fleet.levels.warning_usd", fragment);
    }
    agent_refused("budget: {limit_usd: '${SECRET}'}", "agents.x.budget.limit_usd", "not shown");
}

#[test]
fn a_budget_has_a_limit_and_a_form() {
    agent_refused("budget: {}", "agents.x.budget.limit_usd", "is missing (USD");
    agent_refused("session_budget: {}", "agents.x.session_budget.limit_usd", "is missing");
    refused("fleet: {budget: {period: daily}}", "fleet.budget.limit_usd", "is missing");
    agent_refused("budget: 50", "agents.x.budget", "must be a mapping");
    agent_refused("budget: {limit_us: 5, limit_usd: 5}", "agents.x.budget.limit_us", "`limit_usd`");
    let with = |keys: &str| format!("budget: {{limit_usd: 5, {keys}}}");
    let periods = "(none, hourly, daily, weekly, monthly)";
    agent_refused(&with("period: yearly"), "agents.x.budget.period", periods);
    agent_refused(&with("hard_cap: 1"), "agents.x.budget.hard_cap", "(true, false)");
    for zone in ["Mars/Olympus", "Europe", "+02:00", "Etc/Unknown", "\"\"", "../etc/passwd"] {
        let keys = with(&format!("timezone: {zone}"));
        agent_refused(&keys, "agents.x.budget.timezone", "is not a time zone (an IANA name");
    }
    let session = "session_budget: {limit_usd: 5, period: daily}";
    agent_refused(session, "agents.x.session_budget.period", "is not a known key");
}

#[test]
fn no_agent_takes_the_name_of_another_account() {
    refused("agents: {fleet: {}}", "agents.fleet", "names an account of another kind");
    refused("teams: {x: {}}\nagents: {\"team:x\": {}}", "agents[\"team:x\"]", "another kind");
    refused("agents: {\"agent:x\": {}, x: {}}", "agents[\"agent:x\"]", "another kind");
    refused("agents: {\"session:x\": {}}", "agents[\"session:x\"]", "another kind");
    super::sound("agents: {fleets: {}, team: {}}");
}

#[test]
fn teams_exist_and_form_a_tree() {
    refused("agents: {x: {team: t}}", "agents.x.team", "\"t\" is not a team (configured: none)");
    refused("teams: {red: {}}\nagents: {x: {team: rad}}", "agents.x.team", "did you mean `red`?");
    refused("teams: {a: {parent: b}}", "teams.a.parent", "\"b\" is not a team");
    refused("teams: {a: {parent: a}}", "teams.a.parent", "\"a\" belongs to this team itself");
    let circle = "teams: {d: {parent: a}, a: {parent: b}, b: {parent: c}, c: {parent: a}, e: }";
    refused(circle, "teams.a.parent", "\"b\" belongs to this team itself (teams form a tree)");
    refused("teams: {\"a b\": {}}", "teams[\"a b\"]", "visible ASCII");
    refused("teams: {a: {parents: b}}", "teams.a.parents", "`parent`");
    let two = unsound("teams: {a: {parent: b}, b: {parent: a}, c: {parent: c}}");
    let paths: Vec<&str> = two.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["teams.a.parent", "teams.c.parent"]);
}

#[test]
fn a_circle_of_teams_is_one_problem_even_with_a_model_without_a_price() {
    let text = format!(
        "{PROVIDERS}models: [{{id: a, provider: p}}]\nteams: {{t: {{parent: u}}, u: {{parent: t}}}}\n\
                        agents: {{x: {{team: t}}}}"
    );
    assert_problem(&read(&text).unwrap_err(), "teams.t.parent", "belongs to this team itself");
}

#[test]
fn tiers_are_shares_with_models() {
    let tier = |keys: &str| format!("{BUDGET}, tiers: [{{{keys}}}]");
    let refused = |keys: &str, path: &str, fragment: &str| {
        agent_refused(&tier(keys), &format!("agents.x.tiers[0].{path}"), fragment);
    };
    for (share, fragment) in [
        ("80", "\"80\" is more than the whole (0 to 1"),
        ("1.1", "more than the whole"),
        ("-0.1", "not a plain decimal"),
        ("80%", "not a plain decimal"),
        ("high", "not a plain decimal"),
        (".nan", "not a plain decimal"),
        ("0.1234567", "more digits after the point"),
    ] {
        refused(&format!("remaining_min: {share}, models: [a]"), "remaining_min", fragment);
        refused(&format!("threshold: {share}, models: [a]"), "threshold", fragment);
    }
    refused("models: [a]", "remaining_min", "is missing");
    refused("remaining_min: 0.5", "models", "is missing");
    refused("remaining_min: 0.5, models: []", "models", "is empty");
    refused("remaining_min: 0.5, models: [z]", "models[0]", "\"z\" is not the id of a model");
    refused("remaining_min: 0.5, models: [a, a]", "models[1]", "stands twice");
    refused("remaining_min: 0, models: [gpt]", "models[0]", "is not the id of a model");
    let both = "remaining_min: 0.5, threshold: 0.5, models: [a]";
    refused(both, "threshold", "another name of remaining_min");
    refused("remaining_mn: 0.5, remaining_min: 0, models: [a]", "remaining_mn", "`remaining_min`");
    agent_refused(&format!("{BUDGET}, tiers: []"), "agents.x.tiers", "is empty");
    let other = format!("{BUDGET}, models: [b], {TIERS}");
    agent_refused(&other, "agents.x.tiers[0].models[0]", "no model of this agent");
}

#[test]
fn tiers_are_no_names_of_aliases() {
    let text = format!(
        "aliases: {{gpt: a}}\nagents: {{x: {{{BUDGET}, tiers: [{{threshold: 0, models: [gpt]}}]}}}}"
    );
    refused(&text, "agents.x.tiers[0].models[0]", "is not the id of a model");
}

#[test]
fn mode_budget_needs_a_budget_and_tiers() {
    agent_refused(&format!("mode: budget, {BUDGET}"), "agents.x.tiers", "mode: budget");
    agent_refused(&format!("mode: budget, {TIERS}"), "agents.x.budget", "mode: budget needs one");
    agent_refused(TIERS, "agents.x.budget", "tiers are shares of it");
    assert_eq!(unsound("agents: {x: {mode: budget}}").len(), 2);
    let broken = format!("mode: budget, {TIERS}, budget: {{limit_usd: x}}");
    agent_refused(&broken, "agents.x.budget.limit_usd", "not a plain decimal");
}

#[test]
fn breakers_have_a_limit() {
    agent_refused("breaker: {}", "agents.x.breaker", "has no limit (one of same_request_max");
    agent_refused("breaker: {action: stop}", "agents.x.breaker", "has no limit");
    let with = |keys: &str| format!("breaker: {{turns_per_session_max: 9, {keys}}}");
    let refused = |keys: &str, key: &str, fragment: &str| {
        agent_refused(&with(keys), &format!("agents.x.breaker.{key}"), fragment);
    };
    refused("same_request_max: 1", "same_request_max", "(2 to 1000000 times in one window)");
    refused("same_tool_call_max: 0", "same_tool_call_max", "out of range");
    refused("window_seconds: 0", "window_seconds", "(1 to 86400 seconds)");
    refused("action: kill", "action", "(warn, downgrade, stop)");
    refused("action: downgrade", "action", "needs agents.x.tiers");
    refused("window: 5", "window", "is not a known key");
}

#[test]
fn the_fleet_is_checked() {
    refused("fleet: {level: {}}", "fleet.level", "`levels`");
    refused("fleet: {levels: {soft_us: 5}}", "fleet.levels.soft_us", "`soft_usd`");
    let falls = "fleet: {levels: {warning_usd: 100, hard_usd: 99.99}, cheapest: [a]}";
    refused(falls, "fleet.levels.hard_usd", "is less than warning_usd (levels rise)");
    refused("fleet: {downgrade: {z: a}}", "fleet.downgrade.z", "is not the id of a model");
    refused("fleet: {downgrade: {a: z}}", "fleet.downgrade.a", "\"z\" is not the id of a model");
    refused("fleet: {downgrade: {a: a}}", "fleet.downgrade.a", "would take its own place");
    refused("fleet: {cheapest: [z]}", "fleet.cheapest[0]", "is not the id of a model");
    refused("fleet: {cheapest: [a, a]}", "fleet.cheapest[1]", "stands twice");
    refused("fleet: {cheapest: []}", "fleet.cheapest", "is empty");
    refused("fleet: {webhook: 'ftp://h'}", "fleet.webhook", "must begin with https://");
    refused("fleet: {webhook: 'https://u:p@h'}", "fleet.webhook", "user name or password");
}

#[test]
fn the_policy_is_checked() {
    let price = "(refuse, assume_max, free)";
    refused("budget: {unknown_price: guess}", "budget.unknown_price", price);
    refused(
        "budget: {output_floor_tokens: 0}",
        "budget.output_floor_tokens",
        "(1 to 1000000 tokens",
    );
    refused("budget: {image_tokens_max: 0}", "budget.image_tokens_max", "out of range");
    refused("budget: {charge_5xx: maybe}", "budget.charge_5xx", "(true, false)");
    refused("budget: {hysteresis_percent: 51}", "budget.hysteresis_percent", "(0 to 50 percent");
    refused("budget: {hysteresis_percent: 2.5}", "budget.hysteresis_percent", "not a whole number");
    model_refused("image_tokens_max: 0", "models[0].image_tokens_max", "out of range");
    let nobody = format!(
        "{PROVIDERS}models: [{{id: a, provider: p}}]\nbudget: {{unknown_price: assume_max}}"
    );
    assert_problem(&read(&nobody).unwrap_err(), "budget.unknown_price", "no model has a price");
}

#[test]
fn stores_are_checked() {
    for (store, fragment) in [
        ("'postgres://u:hunter2@h/db'", "is not supported yet by this version (sqlite:PATH)"),
        ("'postgresql://u:hunter2@h/db'", "is not supported yet"),
        ("'mysql://u:hunter2@h'", "is not a store"),
        ("'sqlite:x://u:hunter2@h?a'", "has an unknown option"),
        ("weir.db", "\"weir.db\" is not a store (sqlite:PATH"),
        ("'redis://h'", "is not a store"),
        ("'sqlite:'", "names no file"),
        ("'sqlite:?synchronous=full'", "names no file"),
        ("'sqlite::memory:'", "lost with the process"),
        ("'sqlite:file:x?mode=memory'", "unknown option"),
        ("'sqlite:file:x'", "does not name a file"),
        ("\"sqlite:a\\0b\"", "does not name a file"),
        ("'sqlite:weir.db?synchronous=off'", "unknown option"),
        ("'sqlite:weir.db?synchronous=full&x=1'", "unknown option"),
        ("''", "is not a store"),
        ("{path: weir.db}", "not a mapping"),
    ] {
        refused(&format!("store: {store}"), "store", fragment);
        assert!(!unsound(&format!("store: {store}"))[0].to_string().contains("hunter2"));
    }
}

#[test]
fn consoles_are_checked() {
    refused("console: {enabled: true}", "console.url", "is missing (like https://");
    refused("console: {url: 'console.example.com'}", "console.url", "is not a URL");
    refused("console: {sync_interval_seconds: 0}", "console.sync_interval_seconds", "(1 to 86400");
    refused("console: {api_key: \"a\\nb\"}", "console.api_key", "cannot stand in a header");
    refused("console: {interval: 5}", "console.interval", "is not a known key");
}

#[test]
fn secrets_of_console_and_webhook_are_never_shown() {
    let text = "console: {enabled: true, url: 'https://c', api_key: '${SECRET}'}\n\
                fleet: {webhook: 'https://h/services/${SECRET}'}\n";
    assert!(!format!("{:?}", sound(text)).contains("super-secret"));
    let text = "console: {enabled: true, url: 'x://${SECRET}', api_key: '${BAD_SECRET}'}\n\
                fleet: {webhook: '${SECRET}'}\nstore: '${SECRET}'\n";
    let problems = unsound(text);
    assert_eq!(problems.len(), 4);
    for problem in problems {
        assert!(!problem.to_string().contains("super-secret"), "{problem}");
    }
}

#[test]
fn providers_have_one_output_cap() {
    let keys = "dialect: anthropic, base_url: http://h, output_cap_field: max_completion_tokens";
    provider_refused(keys, "providers.p.output_cap_field", "in the anthropic dialect");
    let keys = "dialect: openai, base_url: http://h, output_cap_field: max_output_tokens";
    let path = "providers.p.output_cap_field";
    provider_refused(keys, path, "(max_tokens, max_completion_tokens)");
}
