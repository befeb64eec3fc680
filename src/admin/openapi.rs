//! The `OpenAPI` document, made from the table of routes.

use serde_json::{Map, Value, json};

use crate::admin::handlers::VERSION;
use crate::admin::routes::{Access, Call, ROUTES, Reply, Route};
use crate::upstream::kind::ProviderKind;

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.name()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Weir control API", "version": VERSION},
        "paths": paths,
        "components": {"schemas": all_schemas(), "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
        }},
    })
}

fn operation(route: &Route) -> Value {
    let mut replies: Map<String, Value> =
        route.replies.iter().map(|one| (one.status.to_string(), reply(one))).collect();
    let security = match route.access {
        Access::Open => json!([]),
        // The empty object says that nothing is needed: from this machine.
        Access::Local => json!([{}, {"bearer": []}, {"key": []}]),
        Access::Admin | Access::Agent => json!([{"bearer": []}, {"key": []}]),
    };
    if route.access != Access::Open {
        let refusal = |status, meaning| reply(&Reply { status, meaning, schema: Some("Error") });
        replies.insert("401".to_owned(), refusal(401, "No key, or an unknown one."));
        replies.insert("403".to_owned(), refusal(403, "A key, but not an admin key."));
    }
    let mut operation =
        json!({"summary": route.summary, "security": security, "responses": replies});
    let schema = json!({"type": "string"});
    let in_path = parameter(route.path).map(
        |name| json!({"name": name, "in": "path", "required": true, "schema": schema.clone()}),
    );
    let in_query = route.query.iter().map(
        |name| json!({"name": name, "in": "query", "required": false, "schema": schema.clone()}),
    );
    let parameters: Vec<Value> = in_path.into_iter().chain(in_query).collect();
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(name) = request_schema(route.call) {
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

/// The schema of what is sent.
const fn request_schema(call: Call) -> Option<&'static str> {
    match call {
        Call::AddProfile => Some("NewProfile"),
        Call::PutModel => Some("NewModel"),
        Call::ReleaseTemporary | Call::ReleasePermanent => Some("KeyName"),
        Call::Switch => Some("NewSwitch"),
        _ => None,
    }
}

/// The name of the one parameter that a path may have.
fn parameter(path: &str) -> Option<&str> {
    Some(path.split_once('{')?.1.split_once('}')?.0)
}

fn reply(reply: &Reply) -> Value {
    let content = match reply.schema {
        None => json!({"text/plain": {"schema": {"type": "string"}}}),
        Some(name) => {
            let schema = json!({"$ref": format!("#/components/schemas/{name}")});
            json!({"application/json": {"schema": schema}})
        }
    };
    json!({"description": reply.meaning, "content": content})
}

/// What the switch of that mutator answers.
fn switched(mutator: &str) -> Value {
    let switch = json!({"enum": ["on", "off"]});
    object(&[("ok", json!({"const": true})), (mutator, switch)], &[])
}

/// Every schema, by its name.
fn all_schemas() -> Map<String, Value> {
    let parts = [
        schemas(),
        registry_schemas(),
        guard_schemas(),
        ward_schemas(),
        routing_schemas(),
        stats_schemas(),
    ];
    let members = parts.into_iter().filter_map(|part| match part {
        Value::Object(members) => Some(members),
        _ => None,
    });
    members.flatten().collect()
}

fn schemas() -> Value {
    let text = || json!({"type": "string"});
    let texts = || json!({"type": "array", "items": {"type": "string"}});
    let number = || json!({"type": "integer"});
    json!({
        "Ok": object(&[("status", text())], &[]),
        "Document": {"type": "object"},
        "Health": object(
            &[
                ("status", text()),
                ("service", text()),
                ("version", text()),
                ("retryStatusCodes", json!({"type": "array", "items": {"type": "integer"}})),
                ("enabledRouteCount", number()),
            ],
            &[
                ("agents", texts()),
                ("providers", json!({"type": "object"})),
                ("openrouter_url", text()),
            ],
        ),
        "Check": object(&[("ok", json!({"type": "boolean"}))], &[("error", text())]),
        "Status": object(
            &[
                ("status", json!({"enum": ["healthy", "degraded"]})),
                ("checks", json!({
                    "type": "object",
                    "additionalProperties": {"$ref": "#/components/schemas/Check"},
                })),
                ("version", text()),
                ("uptime_seconds", number()),
                ("config_version", number()),
                ("models", number()),
                ("providers", number()),
                ("agents", number()),
            ],
            &[],
        ),
        "Compressor": switched("compressor"),
        "ThinkingSwitch": switched("thinking"),
        "Reloaded": object(
            &[
                ("status", json!({"const": "reloaded"})),
                ("version", number()),
                ("agents", texts()),
                ("changes", texts()),
                ("warnings", texts()),
            ],
            &[],
        ),
        "Account": account(&[]),
        "Accounts": json!({
            "type": "object",
            "additionalProperties": {"$ref": "#/components/schemas/Account"},
        }),
        "Changed": account(&[("status", text())]),
        "Limbo": object(
            &[("count", number()), ("total", usd()), ("holds", json!({"type": "array"}))],
            &[],
        ),
        "Refunded": object(
            &[("status", text()), ("hold", text()), ("refunded", usd()), ("charged", usd())],
            &[],
        ),
        "Error": object(&[("error", error_schema())], &[]),
    })
}

/// Of texts that are screened for other services.
fn guard_schemas() -> Value {
    let text = || json!({"type": "string"});
    let texts = || json!({"type": "array", "items": text()});
    let number = || json!({"type": "integer"});
    let place = object(&[("start", number()), ("end", number())], &[]);
    let span = object(
        &[("rule", text()), ("source", text()), ("start", number()), ("end", number())],
        &[("message", number()), ("text", place)],
    );
    json!({
        "Filtered": object(
            &[
                ("safe", json!({"type": "boolean"})),
                ("filtered", text()),
                ("output", text()),
                ("findings", json!({"type": "array", "items": finding()})),
                ("canaryLeaked", json!({"type": "boolean"})),
            ],
            &[("sessionId", json!({"type": ["string", "null"]})), ("severity", text())],
        ),
        "Validated": object(
            &[
                ("valid", json!({"type": "boolean"})),
                ("errors", texts()),
                ("score", number()),
                ("rules", texts()),
                ("spans", json!({"type": "array", "items": span})),
                ("action", json!({"enum": ["off", "observe", "sanitize", "block"]})),
            ],
            &[],
        ),
    })
}

/// The members of the sums (S2-21), by the kind of their values.
const STATS_MEMBERS: [(&str, &str); 6] = [
    (
        "integer",
        "total_requests success_count escalation_count error_count cached_tokens prompt_tokens \
         completion_tokens saved_tokens",
    ),
    (
        "number",
        "rpm success_rate escalation_rate error_rate cache_hit_rate cost_usd baseline_usd saved_usd \
         pin_saved_usd",
    ),
    (
        "object",
        "model_tiers model_tokens model_distribution task_distribution latency_buckets latency_stats \
         escalation_reasons model_costs error_types strategies pin_states agents providers series",
    ),
    ("array", "escalation_flows escalation_hops guard_verdicts latency_histogram recent_requests"),
    ("string", "router range"),
    ("nullable", "since now baseline_model"),
];

/// Of the sums of the last requests.
fn stats_schemas() -> Value {
    let schema = |kind: &str| match kind {
        "nullable" => json!({"type": ["string", "null"]}),
        kind => json!({"type": kind}),
    };
    let all: Vec<(&str, Value)> = STATS_MEMBERS
        .iter()
        .flat_map(|(kind, names)| names.split(' ').map(move |name| (name, schema(kind))))
        .collect();
    let number = || json!({"type": "integer"});
    json!({
        "Stats": object(&all, &[]),
        "StatsLive": object(&[
            ("total", number()), ("recent_ok", number()), ("recent_total", number()),
            ("router", json!({"type": "string"})), ("seq", number()),
        ], &[]),
        "LogCleared": object(
            &[("ok", json!({"const": true})), ("file", json!({"type": "boolean"}))],
            &[],
        ),
    })
}

/// Of strategies.
fn routing_schemas() -> Value {
    let text = || json!({"type": "string"});
    let flag = || json!({"type": "boolean"});
    let model = object(
        &[
            ("name", text()),
            ("provider", text()),
            ("tier", json!({"enum": ["fast", "reasoning", "oracle"]})),
            ("cost_per_1k", usd()),
            ("output_cost_per_1k", usd()),
            ("enabled", flag()),
        ],
        &[],
    );
    json!({
        "Routing": object(&[
            ("router", text()),
            ("router_source", json!({"enum": ["file", "switched"]})),
            ("routers", json!({"type": "array", "items": text()})),
            ("primary_model", text()),
            ("primary", text()),
            ("max_escalations", json!({"type": "integer"})),
            ("decision_tree", flag()),
            ("learned", flag()),
            ("compressor", json!({"enum": ["on", "off"]})),
            ("active_pins", json!({"type": "integer"})),
            ("pinning", pinning()),
            ("models", json!({"type": "array", "items": model})),
        ], &[]),
        "SwitchedStrategy": object(&[("router", text()), ("ok", flag())], &[]),
        "SeedError": object(&[("error", text())], &[]),
        "Done": object(&[("ok", flag())], &[("message", text())]),
    })
}

/// How long sessions stay with a model.
fn pinning() -> Value {
    let number = || json!({"type": "integer"});
    let flag = || json!({"type": "boolean"});
    let known = [
        ("enabled", flag()),
        ("hard_window_s", number()),
        ("soft_window_s", number()),
        ("soft_bonus_weight_ppm", number()),
        ("cache_aware", flag()),
        ("keep", json!({"enum": ["memory", "store"]})),
    ];
    object(&known, &[])
}

/// Of accounts, switches and the audit.
fn registry_schemas() -> Value {
    let text = || json!({"type": "string"});
    let texts = || json!({"type": "array", "items": text()});
    let number = || json!({"type": "integer"});
    let flag = || json!({"type": "boolean"});
    let or_null = |kind: &str| json!({"type": [kind, "null"]});
    let list_of = |name: &str| json!({"type": "array", "items": {"$ref": format!("#/components/schemas/{name}")}});
    let names = [("profile_name", text()), ("model_name", text())];
    let credentials = object(&[("api_key", text())], &[]);
    let kinds = ProviderKind::ALL.map(ProviderKind::name);
    let page =
        |name, rows: &str| object(&[(name, list_of(rows)), ("next", or_null("integer"))], &[]);
    let new_profile = [
        ("profile_name", text()),
        ("provider_type", json!({"enum": kinds})),
        ("credentials", credentials),
    ];
    let row = [("id", number()), ("at_ms", number()), ("agent_id", text())];
    let mut schemas = json!({
        "NewProfile": object(&new_profile, &[("base_url", text())]),
        "Profile": object(&[
            ("id", text()), ("profile_name", text()), ("provider_type", json!({"enum": kinds})),
            ("base_url", text()), ("created_at_ms", number()), ("models", number()),
        ], &[]),
        "Profiles": object(&[("profiles", list_of("Profile"))], &[]),
        "Removed": object(&[("status", text()), ("id", text())], &[]),
        "NewModel": object(&names, &[
            ("enabled", flag()), ("tags", texts()), ("max_tokens", or_null("integer")),
        ]),
        "ProfileModel": object(&[&names[..], &[
            ("id", text()), ("enabled", flag()), ("tags", texts()), ("max_tokens", or_null("integer")),
        ]].concat(), &[]),
        "ProfileModels": object(&[("models", list_of("ProfileModel"))], &[]),
        "Synced": object(
            &[("ok", flag())],
            &[("error", text()), ("count", number()), ("models", texts())],
        ),
        "NewSwitch": object(&names, &[("agent_id", text())]),
    });
    let more = json!({
        "Switched": object(&[&names[..], &[
            ("status", text()), ("agent_id", text()), ("model", text()),
            ("previous", or_null("string")), ("created", flag()), ("mode", or_null("string")),
        ]].concat(), &[]),
        "Active": object(&[&names[..], &[
            ("agent_id", text()), ("model", text()), ("since_ms", number()), ("usable", flag()),
        ]].concat(), &[]),
        "AuditRequest": object(&[&row[..], &[
            ("request_id", text()), ("provider", text()), ("model", text()), ("surface", text()),
            ("status", number()), ("prompt_sha256", or_null("string")),
        ]].concat(), &[]),
        "AuditRequests": page("requests", "AuditRequest"),
        "AuditSwitch": object(&[&row[..], &[
            ("from", or_null("string")), ("to", text()), ("by", text()),
        ]].concat(), &[]),
        "AuditSwitches": page("switches", "AuditSwitch"),
    });
    if let (Some(all), Value::Object(more)) = (schemas.as_object_mut(), more) {
        all.extend(more);
    }
    schemas
}

/// Of the guard's other calls.
fn ward_schemas() -> Value {
    let text = || json!({"type": "string"});
    let number = || json!({"type": "integer"});
    let counts = || json!({"type": "object", "additionalProperties": number()});
    let list = |item: Value| json!({"type": "array", "items": item});
    let maybe = |kind: &str| json!({"type": [kind, "null"]});
    let key = object(
        &[("key_id", text()), ("agent", text()), ("strikes", number()), ("last_at_ms", number())],
        &[
            ("quarantined", json!({"type": "boolean"})),
            ("type", json!({"enum": ["temporary", "permanent"]})),
            ("remaining", maybe("integer")),
            ("remainingMinutes", maybe("integer")),
        ],
    );
    let day = object(
        &[
            ("date", text()),
            ("validations", number()),
            ("blocks", counts()),
            ("redactions", counts()),
            ("strikes", number()),
            ("quarantines", counts()),
        ],
        &[],
    );
    let line = object(
        &[
            ("id", number()),
            ("at_ms", number()),
            ("event", text()),
            ("key_id", text()),
            ("by", text()),
            ("sha256", text()),
            ("bytes", number()),
            ("rules", list(text())),
        ],
        &[],
    );
    json!({
        "Prepared": object(
            &[
                ("systemPrompt", text()),
                ("prompt", text()),
                ("canary", object(&[("injected", json!({"type": "boolean"}))], &[])),
                ("sessionId", maybe("string")),
            ],
            &[],
        ),
        "Quarantine": object(&[("quarantined", list(key.clone())), ("flagged", list(key))], &[]),
        "KeyName": object(&[], &[("key_id", text()), ("keyId", text()), ("apiKey", text())]),
        "Released": object(
            &[
                ("status", json!({"const": "released"})),
                ("key_id", text()),
                ("agent", text()),
                ("was", maybe("string")),
                ("strikes", number()),
            ],
            &[],
        ),
        "GuardStats": object(&[("days", list(day)), ("from_days_ago", number())], &[]),
        "GuardAudit": object(&[("entries", list(line)), ("next_after", number())], &[]),
    })
}

/// What the output filter found, without the text.
fn finding() -> Value {
    let text = || json!({"type": "string"});
    let count = json!({"type": "integer"});
    object(&[("type", text()), ("rule", text()), ("action", text()), ("count", count)], &[])
}

/// An amount in USD: a decimal with up to 9 digits after the point.
fn usd() -> Value {
    json!({"type": ["number", "null"]})
}

/// How an account stands (S0-15).
fn account(more: &[(&str, Value)]) -> Value {
    let text = || json!({"type": "string"});
    let time = || json!({"type": ["string", "null"], "format": "date-time"});
    let yes_or_no = || json!({"type": "boolean"});
    let own = [
        ("agent_id", text()),
        ("parent", json!({"type": ["string", "null"]})),
        ("budget_total", usd()),
        ("budget_spent", usd()),
        ("budget_held", usd()),
        ("budget_remaining", usd()),
        ("budget_source", json!({"enum": ["local", "console"]})),
        ("period", text()),
        ("period_reset", time()),
        ("period_ends", time()),
        ("hard_cap", yes_or_no()),
        ("frozen", yes_or_no()),
    ];
    object(&[more, &own].concat(), &[("forecast", forecast())])
}

/// Where an account is heading; only where one is asked for alone.
fn forecast() -> Value {
    let or_null = |kind: &str| json!({"type": [kind, "null"]});
    let at = json!({"type": ["string", "null"], "format": "date-time"});
    let known = [
        ("hourly_usd", usd()),
        ("projected_usd", usd()),
        ("exhausted_in_s", or_null("integer")),
        ("exhausted_at", at),
    ];
    object(&known, &[])
}

fn error_schema() -> Value {
    let text = || json!({"type": "string"});
    let line = json!({"type": ["integer", "null"]});
    let problem = object(&[("path", text()), ("message", text()), ("line", line)], &[]);
    let problems = json!({"type": "array", "items": problem});
    object(&[("message", text()), ("code", text())], &[("problems", problems)])
}

fn object(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    let all = required.iter().chain(optional);
    let properties: Map<String, Value> =
        all.map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "required": names, "properties": properties})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_every_schema_exists() {
        let document = document();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.name()];
            assert_eq!(operation["summary"], route.summary);
            let replies = operation["responses"].as_object().unwrap();
            assert_eq!(replies.contains_key("401"), route.access != Access::Open);
            for reply in route.replies {
                let schema = reply.schema.unwrap_or("Ok");
                assert!(document["components"]["schemas"][schema].is_object(), "{schema}");
            }
        }
        let described = document["paths"].as_object().unwrap().values();
        let operations: usize = described.map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(operations, ROUTES.len());
    }
}
