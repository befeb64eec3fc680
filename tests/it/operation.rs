//! What an operator sees: limits, the access log, metrics, the control API and its keys.

use std::collections::BTreeSet;

use loadtest::upstream::server::Upstream;

use crate::client::{Ask, Line, Piece};
use crate::gateway::{ADMIN_KEY, AGENT_KEY, Gateway, SOON, Setup, sum_of, wait_until};
use crate::provider::{anthropic, key_of, mock, openai};

async fn start(server: &str) -> (Gateway, Upstream) {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: m, provider: up, price: {{input: 1, output: 2}}}}\n\
         \x20 - {{id: long, provider: up, upstream_id: mock-chunks=100000-interval=20}}\n\
         \x20 - {{id: late, provider: up, upstream_id: mock-latency=60000}}\n  - {{id: bad, provider: up, upstream_id: mock-503}}\n\
         \x20 - {{id: claude-x, provider: claude}}\nrouting: {{cooldown_ms: 0, fallbacks: {{bad: [m]}}}}\n\
         agents: {{default: {{}}, other: {{}}}}\n",
        openai("up", up.addr, ""),
        anthropic("claude", up.addr, "")
    );
    (Setup::new(yaml).server(server).start().await, up)
}

async fn overloaded(gateway: &Gateway, ask: Ask) {
    let answer = gateway.ask(ask.clone()).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1));
    if answer.json()["type"] == "error" {
        assert_eq!(answer.anthropic_type(), "overloaded_error");
    } else {
        assert_eq!(answer.openai_code(), "overloaded");
    }
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let (gateway, up) = start("streams_max: 2, drain_ms: 0").await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut line = Line::open(gateway.data).await.unwrap();
        assert_eq!(line.begin(&Ask::chat("long", true)).await.unwrap().status, 200);
        open.push(line);
    }
    overloaded(&gateway, Ask::chat("m", true)).await;
    overloaded(&gateway, Ask::messages("claude-x", true)).await;
    assert_eq!(gateway.ask(Ask::chat("m", false)).await.status, 200, "no stream, no limit");
    assert_eq!(gateway.metric("weir_streams_open", &[]).await, 2);
    drop(open);
    wait_until("places are free again", || async {
        gateway.ask(Ask::chat("m", true)).await.status == 200
    })
    .await;
    assert!(up.requests().iter().filter(|seen| seen.stream).count() >= 3);
}

#[tokio::test]
async fn more_requests_than_allowed_are_refused() {
    let (gateway, up) = start("requests_max: 3").await;
    let mut open = Vec::new();
    for count in 1..=3 {
        let mut line = Line::open(gateway.data).await.unwrap();
        line.send(&Ask::chat("late", false).to_bytes()).await;
        assert!(up.wait_for(SOON, |seen| seen.number == count).await.is_some());
        open.push(line);
    }
    overloaded(&gateway, Ask::chat("m", false)).await;
    overloaded(&gateway, Ask::messages("claude-x", false)).await;
    assert_eq!(up.requests().len(), 3);
    // It is busy, not dead: nobody who looks for signs of life shall end it.
    for path in ["/livez", "/healthz", "/health", "/readyz"] {
        assert_eq!(gateway.ask(Ask::get(path)).await.status, 200, "{path}");
    }
    drop(open);
    wait_until("places are free again", || async {
        gateway.ask(Ask::chat("m", false)).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn more_connections_than_allowed_are_refused_or_closed() {
    let (gateway, _up) = start("connections_max: 4").await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut line = Line::open(gateway.data).await.unwrap();
        assert_eq!(line.ask(&Ask::new("GET", "/livez")).await.unwrap().status, 200);
        open.push(line);
    }
    let mut refused = 0;
    for _ in 0..40 {
        let mut line = Line::open(gateway.data).await.unwrap();
        match line.ask(&Ask::chat("m", false)).await {
            Ok(answer) => {
                assert_eq!((answer.status, answer.openai_code().as_str()), (503, "overloaded"));
                refused += 1;
            }
            Err(_) => refused += 1,
        }
        open.push(line);
    }
    assert_eq!(refused, 40);
    drop(open);
    wait_until("places are free again", || async {
        let Ok(mut line) = Line::open(gateway.data).await else { return false };
        line.ask(&Ask::chat("m", false)).await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

/// Words that must not be found anywhere but at the provider.
const PROMPT: &str = "marker-of-the-prompt-51";
const CLIENT_SECRET: &str = "sk-marker-of-the-client-52";

fn marked(path: &str, model: &str, stream: bool) -> Ask {
    let body = format!(
        r#"{{"model":"{model}","stream":{stream},"max_tokens":9,"system":"{PROMPT}","input":"{PROMPT}","prompt":"{PROMPT}","messages":[{{"role":"user","content":"{PROMPT}"}}],"user":"{PROMPT}"}}"#
    );
    Ask::post(path, body).header("x-api-key", CLIENT_SECRET).header("cookie", CLIENT_SECRET)
}

#[tokio::test]
async fn one_line_per_request_and_no_secret_anywhere() {
    let (gateway, _up) = start("").await;
    let mut answers = Vec::new();
    for (path, model) in [
        ("/v1/chat/completions", "m"),
        ("/v1/responses", "m"),
        ("/v1/messages", "claude-x"),
        ("/v1/completions", "m"),
        ("/v1/embeddings", "m"),
        ("/v1/chat/completions", "bad"),
        ("/v1/chat/completions", "nothing"),
        ("/v1/messages", "m"),
        ("/v1/moderations", "m"),
    ] {
        for stream in [false, true] {
            answers.push(gateway.ask(marked(path, model, stream)).await);
        }
    }
    let broken = format!(r#"{{"model":"m","messages":"{PROMPT}"#);
    answers.push(gateway.ask(Ask::post("/v1/chat/completions", broken)).await);
    answers.push(
        gateway
            .ask(
                marked("/v1/chat/completions", "m", false)
                    .without("x-api-key")
                    .bearer(CLIENT_SECRET),
            )
            .await,
    );
    answers.push(gateway.ask(Ask::get("/v9/none")).await);
    let lines = gateway.lines_when(answers.len()).await;
    assert_eq!(lines.len(), answers.len());
    let ids = |of: &dyn Fn(usize) -> String| (0..answers.len()).map(of).collect::<BTreeSet<_>>();
    let told = ids(&|at| answers[at].header("x-gateway-request-id").to_owned());
    let logged = ids(&|at| lines[at]["request_id"].as_str().unwrap().to_owned());
    assert_eq!((told.len(), &told), (answers.len(), &logged), "each answer has a line of its own");
    let refused: String = answers
        .iter()
        .filter(|answer| answer.status >= 400)
        .map(crate::client::Answer::text)
        .collect();
    assert!(!refused.is_empty());
    let log = std::fs::read_to_string(gateway.folder.join("access.jsonl")).unwrap();
    let (metrics, said) = (gateway.metrics_after(answers.len()).await, gateway.said());
    for secret in [PROMPT, CLIENT_SECRET, AGENT_KEY, ADMIN_KEY, &key_of("up"), &key_of("claude")] {
        for (place, text) in
            [("log", &log), ("metrics", &metrics), ("errors", &refused), ("own log", &said)]
        {
            assert!(!text.contains(secret), "{secret} stands in the {place}");
        }
    }
}

#[tokio::test]
async fn metrics_have_their_names_and_count_right() {
    let (gateway, _up) = start("").await;
    for agent in ["default", "other", "unheard-of"] {
        for model in ["m", "bad", "nothing"] {
            gateway.ask(Ask::chat(model, true).header("x-agent-id", agent)).await;
        }
    }
    let page = gateway.metrics_after(9).await;
    let sum = |name: &str, labels: &[&str]| sum_of(&page, name, labels);
    assert_eq!(
        sum(
            "weir_requests_total",
            &[
                "agent=\"default\"",
                "model=\"m\"",
                "provider=\"up\"",
                "dialect=\"openai\"",
                "status=\"200\""
            ]
        ),
        4
    );
    assert_eq!(sum("weir_requests_total", &["agent=\"other\""]), 3);
    assert_eq!(sum("weir_requests_total", &["status=\"404\"", "model=\"other\""]), 3);
    assert_eq!(
        sum("weir_attempts_total", &["provider=\"up\"", "model=\"m\"", "outcome=\"answered\""]),
        6
    );
    assert_eq!(
        sum(
            "weir_attempts_total",
            &["provider=\"up\"", "model=\"bad\"", "outcome=\"retry_status\""]
        ),
        3
    );
    assert_eq!(sum("weir_fallbacks_total", &["from_model=\"bad\"", "to_model=\"m\""]), 3);
    assert_eq!(sum("weir_notices_total", &[]), 3);
    assert_eq!(sum("weir_tokens_total", &["model=\"m\"", "kind=\"input\""]), 6 * 2);
    assert_eq!(sum("weir_tokens_total", &["model=\"m\"", "kind=\"output\""]), 6 * 4);
    assert_eq!(sum("weir_spend_nanodollars_total", &["model=\"m\""]), 6 * (2 * 1_000 + 4 * 2_000));
    assert_eq!(sum("weir_route_decisions_total", &["strategy=\"named\""]), 6);
    assert_eq!(sum("weir_request_duration_seconds_count", &[]), sum("weir_requests_total", &[]));
    for name in ["weir_ttft_seconds_count", "weir_overhead_seconds_count"] {
        assert!(sum(name, &[]) >= 6, "{name}");
    }
    // Reloads are counted in `reload`, answers without usage in `streaming`: they are not here before one came.
    for name in ["weir_streams_open", "weir_requests_inflight", "weir_build_info"] {
        assert!(page.contains(&format!("# TYPE {name} ")), "{name}");
    }
    assert!(
        !page.contains("unheard-of") && !page.contains("\"nothing\""),
        "unknown names are no labels"
    );
}

#[tokio::test]
async fn the_control_api_asks_for_an_admin_key() {
    let (gateway, _up) = start("").await;
    let reload = || Ask::new("POST", "/api/reload");
    for (ask, status, code) in [
        (reload(), 401, "missing_key"),
        (reload().bearer("it-wrong-key-0123456789"), 401, "invalid_key"),
        (reload().bearer(AGENT_KEY), 403, "agent_forbidden"),
        (reload().bearer(ADMIN_KEY).header("authorization", "Bearer x"), 400, "invalid_request"),
        (Ask::new("GET", "/api/reload").bearer(ADMIN_KEY), 405, "method_not_allowed"),
        (Ask::new("GET", "/api/nothing").bearer(ADMIN_KEY), 404, "not_found"),
        (Ask::new("POST", "/v1/chat/completions").bearer(AGENT_KEY), 404, "not_found"),
    ] {
        let answer = gateway.ask_admin(ask).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (status, &code.into()),
            "{}",
            answer.text()
        );
        assert!(answer.json()["error"]["message"].is_string());
    }
    for ask in [reload().bearer(ADMIN_KEY), reload().header("x-api-key", ADMIN_KEY)] {
        assert_eq!(gateway.ask_admin(ask).await.status, 200);
    }
    for path in [
        "/metrics",
        "/openapi.json",
        "/status",
        "/health",
        "/livez",
        "/readyz",
        "/healthz",
        "/api/health",
    ] {
        assert_eq!(gateway.ask_admin(Ask::new("GET", path)).await.status, 200, "{path}");
    }
    let away = Ask::new("GET", "/status").header("x-forwarded-for", "192.0.2.1");
    assert_eq!(
        gateway.ask_admin(away.clone()).await.status,
        401,
        "a proxy here speaks for somebody elsewhere"
    );
    assert_eq!(gateway.ask_admin(away.bearer(ADMIN_KEY)).await.status, 200);
}

#[tokio::test]
async fn the_routes_are_those_of_the_document() {
    let (gateway, _up) = start("").await;
    let document = gateway.ask_admin(Ask::new("GET", "/openapi.json")).await.json();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            described.insert(format!("{} {path}", method.to_uppercase()));
            let ask = Ask::new(&method.to_uppercase(), path).bearer(ADMIN_KEY);
            let answer = gateway.ask_admin(ask).await;
            let replies = operation["responses"].as_object().unwrap();
            assert!(
                replies.contains_key(&answer.status.to_string()),
                "{method} {path}: {}",
                answer.status
            );
            let open = operation["security"].as_array().unwrap().is_empty();
            let keyless = gateway.ask_admin(Ask::new(&method.to_uppercase(), path)).await.status;
            assert_eq!(keyless == 401, !open && path != "/status", "{method} {path}");
        }
    }
    let expected = [
        "GET /api/health",
        "GET /health",
        "GET /healthz",
        "GET /livez",
        "GET /metrics",
        "GET /openapi.json",
        "GET /readyz",
        "GET /status",
        "POST /api/reload",
    ];
    assert!(expected.iter().all(|route| described.contains(*route)), "{described:?}");
    // Paths of api.md that a later version will have are absent, not half there.
    for path in ["/api/spend", "/ui", "/admin/profiles"] {
        let status = gateway.ask_admin(Ask::new("GET", path).bearer(ADMIN_KEY)).await.status;
        let known = document["paths"].get(path).is_some();
        assert_eq!(status == 404, !known, "{path}: {status}");
    }
}

#[tokio::test]
async fn connections_are_kept_and_reused() {
    let (gateway, up) = start("").await;
    let mut line = Line::open(gateway.data).await.unwrap();
    let asks = [
        Ask::chat("m", false),
        Ask::chat("m", true),
        Ask::chat("nothing", false),
        Ask::get("/v1/models"),
        Ask::chat("m", false).chunked(10),
        Ask::messages("claude-x", true),
        Ask::chat("m", false).bearer("wrong"),
        Ask::chat("bad", true),
        Ask::new("GET", "/livez"),
    ];
    for turn in 0..3 {
        for (at, ask) in asks.iter().enumerate() {
            let answer = line.ask(ask).await;
            let answer =
                answer.unwrap_or_else(|error| panic!("turn {turn}: request {at}: {error}"));
            assert!(answer.whole, "turn {turn}: request {at}");
            // A body of somebody without a key is not read, so that connection has an end.
            let closes = answer.header("connection") == "close";
            assert_eq!(closes, answer.status == 401, "turn {turn}: request {at}");
            if closes {
                line = Line::open(gateway.data).await.unwrap();
            }
        }
    }
    assert!(
        up.connections() <= 4,
        "{} connections for {} requests",
        up.connections(),
        up.requests().len()
    );
}

#[tokio::test]
async fn many_requests_at_once_are_kept_apart() {
    let (gateway, _up) = start("").await;
    let mut asks = tokio::task::JoinSet::new();
    for at in 0..60_usize {
        let address = gateway.data;
        asks.spawn(async move {
            let body = format!(
                r#"{{"model":"m","stream":{},"n":1,"max_tokens":{},"messages":[]}}"#,
                at % 2 == 0,
                at % 4 + 1
            );
            let mut line = Line::open(address).await.unwrap();
            let mut head = line.begin(&Ask::post("/v1/chat/completions", body)).await.unwrap();
            while let Piece::Bytes(bytes) = line.piece().await {
                head.body.extend(bytes);
            }
            (at, head.status, head.text())
        });
    }
    while let Some(done) = asks.join_next().await {
        let (at, status, text) = done.unwrap();
        assert_eq!(status, 200);
        // As many words as tokens were allowed.
        let (last, next) = (format!("w{} ", at % 4), format!("w{} ", at % 4 + 1));
        assert!(text.contains(&last) && !text.contains(&next), "{at}: {text}");
    }
}
