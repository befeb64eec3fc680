//! Every key of the file, by section: the keys that this version reads, and those that are promised
//! for later, which must not be ignored in silence.
//!
//! A test walks these tables and looks each key up in `conf/weir.yaml`.

/// The keys of one section.
#[derive(Debug)]
pub struct Table {
    /// The section, as people write it.
    pub name: &'static str,
    /// What is read.
    pub known: &'static [&'static str],
    /// What is documented, but not yet read.
    pub later: &'static [&'static str],
}

/// The top of the file.
pub const TOP: Table = Table {
    name: "",
    known: &[
        "server",
        "auth",
        "providers",
        "models",
        "aliases",
        "routing",
        "stream",
        "mutators",
        "budget",
        "fleet",
        "teams",
        "agents",
        "guard",
        "store",
        "console",
        "profiles",
        "audit",
        "pinning",
        "infer",
        "log",
    ],
    later: &[],
};

/// `server`.
pub const SERVER: Table = Table {
    name: "server",
    known: &[
        "listen",
        "admin",
        "tls",
        "threads",
        "body_bytes_max",
        "grace_seconds",
        "allow_open",
        "h2c",
        "requests_max",
        "streams_max",
        "connections_max",
        "drain_ms",
        "upgrade_sock",
    ],
    later: &[],
};

/// `server.tls`.
pub const TLS: Table = Table { name: "server.tls", known: &["cert", "key"], later: &[] };

/// `auth`.
pub const AUTH: Table = Table {
    name: "auth",
    known: &["admin_keys", "agent_keys", "require_agent_key", "pass_through"],
    later: &[],
};

/// `providers.<name>`.
pub const PROVIDER: Table = Table {
    name: "providers.<name>",
    known: &[
        "dialect",
        "base_url",
        "ca",
        "api_key",
        "api_keys",
        "auth_header",
        "auth_prefix",
        "headers",
        "connect_timeout_ms",
        "first_byte_timeout_ms",
        "idle_timeout_ms",
        "native_fallback",
        "exact_url",
        "chat",
        "responses",
        "ask_usage",
        "generation_lookup",
        "output_cap_field",
        "enabled",
    ],
    later: &[],
};

/// `models[]`.
pub const MODEL: Table = Table {
    name: "models[]",
    known: &[
        "id",
        "provider",
        "upstream_id",
        "tier",
        "price",
        "context_tokens",
        "output_tokens_max",
        "image_tokens_max",
        "vision",
        "tools",
        "thinking",
        "thinking_param",
        "tokenizer",
        "translation",
        "cache_ttl_s",
        "enabled",
    ],
    later: &[],
};

/// `models[].price`.
pub const PRICE: Table = Table {
    name: "models[].price",
    known: &[
        "input",
        "output",
        "cache_read",
        "cache_write",
        "cache_write_1h",
        "long_context",
        "request",
        "search",
    ],
    later: &[],
};

/// `models[].price.long_context`.
pub const LONG_CONTEXT: Table = Table {
    name: "models[].price.long_context",
    known: &["above_tokens", "input", "output", "cache_read", "cache_write", "cache_write_1h"],
    later: &[],
};

/// `routing`.
pub const ROUTING: Table = Table {
    name: "routing",
    known: &[
        "auto_names",
        "strategy",
        "primary_model",
        "max_escalations",
        "decision_tree",
        "learned",
        "retry_statuses",
        "attempts_max",
        "retry_on_timeout",
        "fallbacks",
        "fallback_default",
        "cooldown_ms",
        "translation",
    ],
    later: &[],
};

/// `routing.decision_tree`.
pub const DECISION_TREE: Table =
    Table { name: "routing.decision_tree", known: &["file", "on_error"], later: &[] };

/// `routing.learned`.
pub const LEARNED: Table = Table {
    name: "routing.learned",
    known: &[
        "file",
        "on_error",
        "alpha",
        "degradation_threshold",
        "min_similarity",
        "baseline",
        "models",
    ],
    later: &[],
};

/// `stream`.
pub const STREAM: Table =
    Table { name: "stream", known: &["notice", "metadata_field"], later: &[] };

/// `mutators`.
pub const MUTATORS: Table =
    Table { name: "mutators", known: &["tool_results", "thinking"], later: &[] };

/// `mutators.tool_results`.
pub const TOOL_RESULTS: Table = Table {
    name: "mutators.tool_results",
    known: &["enabled", "min_chars", "lossy", "with_cache_markers"],
    later: &[],
};

/// `budget`.
pub const POLICY: Table = Table {
    name: "budget",
    known: &[
        "unknown_price",
        "output_floor_tokens",
        "image_tokens_max",
        "charge_5xx",
        "hysteresis_percent",
    ],
    later: &[],
};

/// `fleet`.
pub const FLEET: Table = Table {
    name: "fleet",
    known: &["budget", "levels", "downgrade", "cheapest", "webhook"],
    later: &[],
};

/// `fleet.levels`.
pub const LEVELS: Table = Table {
    name: "fleet.levels",
    known: &["warning_usd", "soft_usd", "hard_usd", "emergency_usd"],
    later: &[],
};

/// `teams.<name>`.
pub const TEAM: Table = Table { name: "teams.<name>", known: &["parent", "budget"], later: &[] };

/// `budget` of the fleet, of a team, of an agent.
pub const BUDGET: Table = Table {
    name: "agents.<id>.budget",
    known: &["limit_usd", "spent_usd", "period", "timezone", "hard_cap"],
    later: &[],
};

/// `agents.<id>`.
pub const AGENT: Table = Table {
    name: "agents.<id>",
    known: &[
        "keys",
        "mode",
        "models",
        "may_route",
        "team",
        "budget",
        "session_budget",
        "tiers",
        "tiers_by_forecast",
        "breaker",
        "guard",
    ],
    later: &[],
};

/// `agents.<id>.session_budget`.
pub const SESSION_BUDGET: Table =
    Table { name: "agents.<id>.session_budget", known: &["limit_usd", "hard_cap"], later: &[] };

/// `agents.<id>.tiers[]`.
pub const TIER: Table = Table {
    name: "agents.<id>.tiers[]",
    known: &["remaining_min", "threshold", "models"],
    later: &[],
};

/// `agents.<id>.breaker`.
pub const BREAKER: Table = Table {
    name: "agents.<id>.breaker",
    known: &[
        "same_request_max",
        "same_tool_call_max",
        "window_seconds",
        "spend_usd_per_minute",
        "turns_per_session_max",
        "action",
    ],
    later: &[],
};

/// `guard`.
pub const GUARD: Table = Table {
    name: "guard",
    known: &["input", "output", "canary", "canary_secret", "weights", "on_failure", "quarantine"],
    later: &[],
};

/// `agents.<id>.guard`.
pub const AGENT_GUARD: Table = Table {
    name: "agents.<id>.guard",
    known: &["input", "output", "canary", "on_failure"],
    later: &[],
};

/// `guard.input`.
pub const GUARD_INPUT: Table = Table {
    name: "guard.input",
    known: &["user", "tool", "document", "assistant", "on_suspicion", "seed_rules"],
    later: &[],
};

/// `guard.output`.
pub const GUARD_OUTPUT: Table = Table {
    name: "guard.output",
    known: &["secrets", "private_keys", "ssn", "cards", "iban", "email", "phone", "prompt_leak"],
    later: &[],
};

/// `console`.
pub const CONSOLE: Table = Table {
    name: "console",
    known: &["enabled", "url", "sync_interval_seconds", "api_key"],
    later: &[],
};

/// `profiles`.
pub const PROFILES: Table = Table {
    name: "profiles",
    known: &[
        "kms_key",
        "kms_key_file",
        "kms_keys_old",
        "key_from_admin_key",
        "allow_private",
        "allow",
    ],
    later: &[],
};

/// `audit`.
pub const AUDIT: Table =
    Table { name: "audit", known: &["requests", "retention_days"], later: &[] };

/// `guard.quarantine`.
pub const QUARANTINE: Table = Table {
    name: "quarantine",
    known: &["enabled", "strikes", "window_s", "minutes", "permanent_strikes"],
    later: &[],
};

/// `infer`.
pub const INFER: Table = Table {
    name: "infer",
    known: &[
        "enabled",
        "input_chars_max",
        "turns_max",
        "system_chars_max",
        "output_tokens_max",
        "seed_rules",
        "screening",
        "canary",
    ],
    later: &[],
};

/// `log`.
pub const LOG: Table = Table { name: "log", known: &["access"], later: &[] };

/// `pinning`.
pub const PINNING: Table = Table {
    name: "pinning",
    known: &[
        "enabled",
        "hard_window_s",
        "soft_window_s",
        "soft_bonus_weight",
        "cache_aware",
        "expected_turns",
        "switch_margin",
        "cache_ttl_s",
        "keep",
    ],
    later: &[],
};

/// All tables.
pub const ALL: &[&Table] = &[
    &TOP,
    &SERVER,
    &TLS,
    &AUTH,
    &PROVIDER,
    &MODEL,
    &PRICE,
    &LONG_CONTEXT,
    &ROUTING,
    &DECISION_TREE,
    &LEARNED,
    &STREAM,
    &MUTATORS,
    &TOOL_RESULTS,
    &POLICY,
    &FLEET,
    &LEVELS,
    &TEAM,
    &BUDGET,
    &AGENT,
    &SESSION_BUDGET,
    &TIER,
    &BREAKER,
    &GUARD,
    &AGENT_GUARD,
    &GUARD_INPUT,
    &GUARD_OUTPUT,
    &CONSOLE,
    &PROFILES,
    &AUDIT,
    &PINNING,
    &QUARANTINE,
    &INFER,
    &LOG,
];
