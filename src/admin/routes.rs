//! The table of the control API: every path, who may ask, and what comes back. The router and
//! `/openapi.json` are both made from it, so that neither can know a path that the other does not.

use axum::routing::MethodFilter;

use crate::admin::dashboard::Piece;

/// What a route asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Open,
    /// Nothing on this machine, an admin key elsewhere.
    Local,
    /// An admin key.
    Admin,
    /// Any key of ours; what an agent may see and change is decided where it is.
    Agent,
}

/// What a route does: one handler each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Health, in the union shape of C-02.
    Health,
    /// The process answers.
    Live,
    /// The process takes traffic.
    Ready,
    /// The metrics.
    Metrics,
    /// The condition of every part.
    Status,
    /// Reload of the configuration.
    Reload,
    /// Every account that the caller may see.
    SpendAll,
    /// One account.
    Spend,
    /// Another limit, or what counts as spent.
    Budget,
    /// Nothing counts as spent.
    Reset,
    /// Nothing is admitted.
    Freeze,
    /// It is again.
    Thaw,
    /// Holds that nobody knows the end of.
    Limbo,
    /// What one of them came to.
    SettleLimbo,
    /// A new account at a provider.
    AddProfile,
    /// All accounts.
    Profiles,
    /// No such account any more.
    RemoveProfile,
    /// A model of an account.
    PutModel,
    /// The models that a provider lists.
    SyncModels,
    /// All models by account.
    Models,
    /// Another model for an agent.
    Switch,
    /// The model of an agent.
    Active,
    /// Tool results are shortened, or not.
    ToolResults,
    /// Models are told to think, or not.
    Thinking,
    /// Requests of the past.
    AuditRequests,
    /// Switches of the past.
    AuditSwitches,
    /// Whether a text tries to take a model over.
    ValidateInput,
    /// A text without its secrets.
    FilterOutput,
    /// Who chooses models, and among whom.
    Routing,
    /// Another strategy.
    SetStrategy,
    /// The same, in the words of the seed.
    SetRouter,
    /// A reload, in the words of the seed.
    Restart,
    /// The access log begins anew.
    ClearLog,
    /// Sums of the last requests.
    Stats,
    /// The few that move most.
    StatsLive,
    /// Both, as they move.
    StatsStream,
    /// A file of the dashboard.
    Dashboard(Piece),
    /// A system prompt with a canary.
    PreparePrompt,
    /// Who is shut out, and who has strikes.
    Quarantine,
    /// Lets a key in again, however it was shut out.
    Release,
    /// The same for one that is shut out for a while.
    ReleaseTemporary,
    /// The same for one that is shut out for good.
    ReleasePermanent,
    /// What the guard did, by day.
    GuardStats,
    /// What the guard did, line by line.
    GuardAudit,
    /// This table as an `OpenAPI` document.
    OpenApi,
}

/// The methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET, and HEAD with it.
    Get,
    /// POST.
    Post,
    /// DELETE.
    Delete,
}

impl Method {
    /// As axum wants it.
    pub const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        }
    }

    /// As `OpenAPI` writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Delete => "delete",
        }
    }
}

/// One answer that a route can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// When.
    pub meaning: &'static str,
    /// The name of its schema in `openapi`; `None` = plain text.
    pub schema: Option<&'static str>,
}

/// One method of one path.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: &'static str,
    /// The parameters of its query, all of them optional.
    pub query: &'static [&'static str],
    /// Who may ask.
    pub access: Access,
    /// What it does.
    pub call: Call,
    /// What it is for, in one line.
    pub summary: &'static str,
    /// What it answers, besides refusals.
    pub replies: &'static [Reply],
}

const HEALTH: &[Reply] =
    &[reply(200, "Alive; agents and providers are shown only to a key.", "Health")];
const LIVE: &[Reply] = &[reply(200, "The process answers.", "Ok")];
const READY: &[Reply] = &[
    reply(200, "The gateway takes requests.", "Ok"),
    reply(
        503,
        "The gateway is stopping, or refuses whoever has a hard cap: the ledger cannot be written.",
        "Ok",
    ),
];
const STATUS: &[Reply] = &[
    reply(200, "Every part works.", "Status"),
    reply(503, "At least one part does not.", "Status"),
];
const RELOAD: &[Reply] = &[
    reply(200, "The configuration is in force.", "Reloaded"),
    reply(422, "It has problems, all listed, and the old one stays in force.", "Error"),
];
const SPEND_ALL: &[Reply] =
    &[reply(200, "Accounts by name: agents by id, others as `fleet` and `team:NAME`.", "Accounts")];
const SPEND: &[Reply] = &[reply(200, "How the account stands.", "Account"), NO_AGENT];
const CHANGED: &[Reply] = &[
    reply(200, "Done, and durable; how the account stands now.", "Changed"),
    NO_AGENT,
    reply(400, "The body makes no sense; the field is named.", "Error"),
    NOT_DURABLE,
];
const FROZEN: &[Reply] = &[
    reply(200, "Done, and durable; how the account stands now.", "Changed"),
    NO_AGENT,
    NOT_DURABLE,
];
const LIMBO: &[Reply] = &[reply(200, "The oldest first.", "Limbo"), NOT_DURABLE];
const LIMBO_SETTLED: &[Reply] = &[
    reply(200, "Done, and durable.", "Refunded"),
    reply(400, "The body makes no sense; the field is named.", "Error"),
    reply(404, "No such hold is in limbo.", "Error"),
    NOT_DURABLE,
];
const PROFILES: &[Reply] = &[reply(200, "All accounts, without their credentials.", "Profiles")];
const ADDED: &[Reply] = &[
    reply(201, "The account can be used.", "Profile"),
    BAD_FIELD,
    reply(409, "The name is taken, or there is no key to seal credentials with.", "Error"),
    NOT_DURABLE,
];
const REMOVED: &[Reply] = &[
    reply(200, "It is gone, with its models.", "Removed"),
    NO_PROFILE,
    reply(409, "Agents are switched to it.", "Error"),
    NOT_DURABLE,
];
const MODEL: &[Reply] =
    &[reply(200, "The model as it is now.", "ProfileModel"), BAD_FIELD, NO_PROFILE, NOT_DURABLE];
const SYNCED: &[Reply] = &[
    reply(200, "What the provider lists, or `ok: false` and why it could not be asked.", "Synced"),
    NO_PROFILE,
    NOT_DURABLE,
];
const MODELS: &[Reply] = &[reply(200, "Enabled and disabled models.", "ProfileModels"), NO_PROFILE];
const SWITCHED: &[Reply] = &[
    reply(200, "The next request of the agent uses it.", "Switched"),
    BAD_FIELD,
    NO_PROFILE,
    NOT_DURABLE,
];
const TOOL_RESULTS: &[Reply] = &[reply(200, "From the next request on.", "Compressor"), BAD_FIELD];
const THINKING: &[Reply] = &[reply(200, "From the next request on.", "ThinkingSwitch"), BAD_FIELD];
const ACTIVE: &[Reply] = &[
    reply(200, "The model that the agent is switched to.", "Active"),
    BAD_FIELD,
    reply(404, "It is switched to none.", "Error"),
];
const AUDIT_REQUESTS: &[Reply] = &[reply(200, "The oldest first.", "AuditRequests"), BAD_FIELD];
const AUDIT_SWITCHES: &[Reply] = &[reply(200, "The oldest first.", "AuditSwitches"), BAD_FIELD];
const BAD_FIELD: Reply = reply(400, "A field makes no sense; it is named.", "Error");
const NO_PROFILE: Reply = reply(404, "No such profile.", "Error");
const VALIDATED: &[Reply] = &[
    reply(
        200,
        "What was found in it and where, never its text, and what `guard.input` (for all agents) does about \
         it; without one, what is certain is blocked. `start` and `end` of a span are bytes (UTF-8) of the text \
         as it is read, both 0 where it lies in several texts together; `message` counts from 0, and `text` is \
         where that text stands in the body, as written.",
        "Validated",
    ),
    reply(400, "The body has no text.", "Error"),
];
const FILTERED: &[Reply] = &[
    reply(
        200,
        "The text with marks where secrets were, and what they were, by the policy of `guard.output` (for \
         all agents), or the default one where there is none.",
        "Filtered",
    ),
    reply(400, "The body has no text.", "Error"),
];
const PREPARED: &[Reply] = &[
    reply(200, "The prompt with a canary behind it.", "Prepared"),
    reply(400, "The body has no prompt.", "Error"),
];
const QUARANTINE: &[Reply] = &[reply(200, "Those struck last first.", "Quarantine"), NOT_DURABLE];
const RELEASED: &[Reply] = &[
    reply(200, "Done, and durable; its strikes are forgotten.", "Released"),
    BAD_FIELD,
    reply(404, "Nothing is held against that key.", "Error"),
    reply(409, "It is in the other kind of quarantine.", "Error"),
    NOT_DURABLE,
];
const GUARD_STATS: &[Reply] =
    &[reply(200, "Days on which something happened, the oldest first.", "GuardStats"), BAD_FIELD];
const GUARD_AUDIT: &[Reply] = &[reply(200, "The oldest first.", "GuardAudit"), BAD_FIELD];
const NO_AGENT: Reply = reply(404, "No such agent.", "Error");
const NOT_DURABLE: Reply = reply(503, "The ledger cannot be written at present.", "Error");
const ROUTING: &[Reply] = &[reply(200, "The strategy in force, and the models.", "Routing")];
const STRATEGY: &[Reply] = &[
    reply(200, "The next request is routed by it.", "SwitchedStrategy"),
    reply(400, "There is no such strategy.", "Error"),
];
const ROUTER: &[Reply] = &[
    reply(200, "The next request is routed by it.", "SwitchedStrategy"),
    reply(400, "There is no such strategy.", "SeedError"),
];
const RESTARTED: &[Reply] = &[
    reply(200, "The configuration is in force.", "Done"),
    reply(422, "It has problems, all listed, and the old one stays in force.", "Error"),
];
const METRICS: &[Reply] =
    &[Reply { status: 200, meaning: "Metrics in the Prometheus text format.", schema: None }];
const STATS: &[Reply] =
    &[reply(200, "Sums of the range: 1h, 6h, 24h, all, or the last N (200).", "Stats")];
const STATS_LIVE: &[Reply] = &[reply(200, "The few numbers that move most.", "StatsLive")];
const STATS_STREAM: &[Reply] = &[
    Reply {
        status: 200,
        meaning: "Server-sent events: at most one a second, each with new rows and the sums.",
        schema: None,
    },
    reply(406, "The request does not accept text/event-stream.", "Error"),
    reply(503, "Too many streams are open.", "Error"),
];
const LOG_CLEARED: &[Reply] = &[
    reply(200, "The log is empty, if it is a file; so are the sums.", "LogCleared"),
    reply(503, "The log stands still.", "Error"),
];
const UI: &[Reply] = &[Reply { status: 200, meaning: "A file of the dashboard.", schema: None }];
const OPEN_API: &[Reply] = &[reply(200, "The description of this API.", "Document")];

/// Everything that the control API serves.
pub const ROUTES: &[Route] = &[
    get("/health", Access::Open, Call::Health, ("Health of the gateway", HEALTH)),
    get("/api/health", Access::Open, Call::Health, ("Health of the gateway", HEALTH)),
    get("/healthz", Access::Open, Call::Live, ("Liveness", LIVE)),
    get("/livez", Access::Open, Call::Live, ("Liveness", LIVE)),
    get("/readyz", Access::Open, Call::Ready, ("Readiness", READY)),
    get("/metrics", Access::Open, Call::Metrics, ("Metrics for Prometheus", METRICS)),
    get("/status", Access::Local, Call::Status, ("Condition of every part", STATUS)),
    get("/openapi.json", Access::Open, Call::OpenApi, ("Description of this API", OPEN_API)),
    get("/api/spend", Access::Agent, Call::SpendAll, ("Spend of all agents", SPEND_ALL)),
    get("/api/spend/{agent}", Access::Agent, Call::Spend, ("Spend of one agent", SPEND)),
    asking(
        get("/api/models", Access::Agent, Call::Models, ("Models by account", MODELS)),
        &["profile"],
    ),
    asking(
        get("/api/active", Access::Agent, Call::Active, ("Model of an agent", ACTIVE)),
        &["agent_id"],
    ),
    Route {
        access: Access::Agent,
        ..post("/api/switch", Call::Switch, ("Switch an agent to another model", SWITCHED))
    },
    asking(
        get(
            "/api/audit/requests",
            Access::Admin,
            Call::AuditRequests,
            ("Requests, by hashes", AUDIT_REQUESTS),
        ),
        &["after", "limit"],
    ),
    asking(
        get(
            "/api/audit/switches",
            Access::Admin,
            Call::AuditSwitches,
            ("Switches", AUDIT_SWITCHES),
        ),
        &["after", "limit"],
    ),
    get("/admin/profiles", Access::Admin, Call::Profiles, ("Accounts at providers", PROFILES)),
    post("/admin/profiles", Call::AddProfile, ("Add an account at a provider", ADDED)),
    Route {
        method: Method::Delete,
        ..post("/admin/profiles/{id}", Call::RemoveProfile, ("Remove an account", REMOVED))
    },
    post(
        "/admin/profiles/{id}/sync-models",
        Call::SyncModels,
        ("Ask the provider for its models", SYNCED),
    ),
    post("/admin/models", Call::PutModel, ("Add or change a model of an account", MODEL)),
    asking(
        get("/api/stats", Access::Admin, Call::Stats, ("Sums of the last requests", STATS)),
        &["range"],
    ),
    get("/api/stats/live", Access::Admin, Call::StatsLive, ("The few that move most", STATS_LIVE)),
    asking(
        get(
            "/api/stats/stream",
            Access::Admin,
            Call::StatsStream,
            ("The sums as they move", STATS_STREAM),
        ),
        &["range"],
    ),
    post("/api/log/clear", Call::ClearLog, ("Empty the request log", LOG_CLEARED)),
    post("/optmod/log/clear", Call::ClearLog, ("Empty the request log", LOG_CLEARED)),
    piece("/ui", Piece::Page),
    piece("/ui/app.js", Piece::Script),
    piece("/ui/style.css", Piece::Style),
    piece("/ui/uplot.js", Piece::Charts),
    piece("/ui/uplot.css", Piece::ChartStyle),
    get("/api/limbo", Access::Admin, Call::Limbo, ("Holds of unknown outcome", LIMBO)),
    post("/api/reload", Call::Reload, ("Read the configuration anew, all or nothing", RELOAD)),
    post("/api/budget/{agent}", Call::Budget, ("Set limit or spend of an agent", CHANGED)),
    post("/api/reset/{agent}", Call::Reset, ("Set the spend of an agent to nothing", FROZEN)),
    post("/api/freeze/{agent}", Call::Freeze, ("Stop an agent, a team or the fleet", FROZEN)),
    post("/api/thaw/{agent}", Call::Thaw, ("Let them go on", FROZEN)),
    post("/api/guard/validate-input", Call::ValidateInput, ("Screen a text", VALIDATED)),
    post("/api/guard/filter-output", Call::FilterOutput, ("Take secrets out of a text", FILTERED)),
    get("/api/routing", Access::Admin, Call::Routing, ("Strategy and models", ROUTING)),
    get("/optmod/status", Access::Admin, Call::Routing, ("Strategy and models", ROUTING)),
    post("/api/routing/{strategy}", Call::SetStrategy, ("Switch the strategy", STRATEGY)),
    post("/optmod/router/{router}", Call::SetRouter, ("Switch the strategy", ROUTER)),
    post("/optmod/restart", Call::Restart, ("Read the configuration anew", RESTARTED)),
    post(
        "/api/mutators/tool-results/{switch}",
        Call::ToolResults,
        ("Shorten tool results, on or off", TOOL_RESULTS),
    ),
    post(
        "/api/mutators/thinking/{switch}",
        Call::Thinking,
        ("Let strategies have models told to think, on or off", THINKING),
    ),
    post(
        "/optmod/compressor/{switch}",
        Call::ToolResults,
        ("Shorten tool results, on or off", TOOL_RESULTS),
    ),
    post(
        "/api/guard/prepare-system-prompt",
        Call::PreparePrompt,
        ("Plant a canary in a system prompt", PREPARED),
    ),
    post("/validate-input", Call::ValidateInput, ("Screen a text", VALIDATED)),
    post("/filter-output", Call::FilterOutput, ("Take secrets out of a text", FILTERED)),
    post(
        "/prepare-system-prompt",
        Call::PreparePrompt,
        ("Plant a canary in a system prompt", PREPARED),
    ),
    get(
        "/api/guard/quarantine",
        Access::Admin,
        Call::Quarantine,
        ("Keys in quarantine, and keys with strikes", QUARANTINE),
    ),
    get(
        "/admin/flagged",
        Access::Admin,
        Call::Quarantine,
        ("Keys in quarantine, and keys with strikes", QUARANTINE),
    ),
    post("/api/guard/release/{key_id}", Call::Release, ("Let a key in again", RELEASED)),
    post(
        "/admin/unquarantine-temp",
        Call::ReleaseTemporary,
        ("Let in a key that is shut out for a while", RELEASED),
    ),
    post(
        "/admin/unquarantine-permanent",
        Call::ReleasePermanent,
        ("Let in a key that is shut out for good", RELEASED),
    ),
    asking(
        get(
            "/api/guard/stats",
            Access::Admin,
            Call::GuardStats,
            ("What the guard did, by day", GUARD_STATS),
        ),
        &["days"],
    ),
    asking(
        get(
            "/admin/stats",
            Access::Admin,
            Call::GuardStats,
            ("What the guard did, by day", GUARD_STATS),
        ),
        &["days"],
    ),
    asking(
        get(
            "/api/guard/audit",
            Access::Admin,
            Call::GuardAudit,
            ("What the guard did, by hashes", GUARD_AUDIT),
        ),
        &["after", "limit"],
    ),
    asking(
        get(
            "/admin/audit",
            Access::Admin,
            Call::GuardAudit,
            ("What the guard did, by hashes", GUARD_AUDIT),
        ),
        &["after", "limit"],
    ),
    post("/api/limbo/{hold}", Call::SettleLimbo, ("Say what a hold came to", LIMBO_SETTLED)),
];

const fn reply(status: u16, meaning: &'static str, schema: &'static str) -> Reply {
    Reply { status, meaning, schema: Some(schema) }
}

const fn get(
    path: &'static str,
    access: Access,
    call: Call,
    (summary, replies): (&'static str, &'static [Reply]),
) -> Route {
    Route { method: Method::Get, path, query: &[], access, call, summary, replies }
}

const fn piece(path: &'static str, piece: Piece) -> Route {
    get(path, Access::Open, Call::Dashboard(piece), ("The dashboard", UI))
}

const fn post(
    path: &'static str,
    call: Call,
    (summary, replies): (&'static str, &'static [Reply]),
) -> Route {
    Route { method: Method::Post, path, query: &[], access: Access::Admin, call, summary, replies }
}

const fn asking(route: Route, query: &'static [&'static str]) -> Route {
    Route { query, ..route }
}
