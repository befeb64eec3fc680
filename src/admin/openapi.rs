//! The `OpenAPI` document, made from the table of routes.

use serde_json::{Map, Value, json};

use crate::admin::handlers::VERSION;
use crate::admin::routes::{Access, ROUTES, Reply, Route};

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
        "components": {"schemas": schemas(), "securitySchemes": {
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
    if let Some(name) = parameter(route.path) {
        let schema = json!({"type": "string"});
        operation["parameters"] =
            json!([{"name": name, "in": "path", "required": true, "schema": schema}]);
    }
    operation
}

/// The name of the one parameter that a path may have.
fn parameter(path: &str) -> Option<&str> {
    path.split_once('{')?.1.strip_suffix('}')
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
        "Filtered": object(
            &[
                ("safe", json!({"type": "boolean"})),
                ("filtered", text()),
                ("output", text()),
                ("findings", json!({"type": "array", "items": finding()})),
            ],
            &[("sessionId", json!({"type": ["string", "null"]}))],
        ),
        "Validated": object(
            &[
                ("valid", json!({"type": "boolean"})),
                ("errors", texts()),
                ("score", number()),
                ("rules", texts()),
                ("action", json!({"enum": ["off", "observe", "sanitize", "block"]})),
            ],
            &[],
        ),
        "Error": object(&[("error", error_schema())], &[]),
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
    object(&[more, &own].concat(), &[])
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
