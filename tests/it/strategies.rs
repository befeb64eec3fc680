//! Strategies: which model a request without a name goes to and why, what follows a failure, and switching between
//! them while requests run.
//!
//! Named models and chains are in `routing` and `fallback`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use loadtest::upstream::server::Upstream;
use serde_json::Value;

use crate::client::{Answer, Ask};
use crate::gateway::{ADMIN_KEY, AGENT_KEY, Gateway, Setup};
use crate::provider::{mock, openai};

/// A gateway before one model of each tier, each at a provider of its own.
struct Stage {
    gateway: Gateway,
    ups: [Upstream; 3],
}

/// The models `fast`, `reasoning` and `oracle`, with what their providers call them.
fn models(upstream_ids: [&str; 3]) -> String {
    let model = |(at, tier): (usize, &str)| {
        let (provider, id) = (["a", "b", "c"][at], upstream_ids[at]);
        format!(
            "  - {{id: {tier}, provider: {provider}, upstream_id: '{id}', tier: {tier}, vision: {}, price: {{input: \
             {}, output: 10}}}}\n",
            at == 2,
            at + 1
        )
    };
    ["fast", "reasoning", "oracle"].into_iter().enumerate().map(model).collect()
}

impl Stage {
    async fn start(upstream_ids: [&str; 3], routing: &str) -> Self {
        let ups = [mock("a").await, mock("b").await, mock("c").await];
        let providers: String =
            ["a", "b", "c"].iter().zip(&ups).map(|(name, up)| openai(name, up.addr, "")).collect();
        let yaml = format!(
            "providers:\n{providers}models:\n{}routing:\n  cooldown_ms: 0\n  primary_model: reasoning\n{routing}\
             agents:\n  default: {{}}\n  plain: {{may_route: false}}\n",
            models(upstream_ids)
        );
        Self { gateway: Setup::new(yaml).start().await, ups }
    }

    async fn ask(&self, prompt: &str) -> Answer {
        self.gateway.ask(asking(prompt)).await
    }

    async fn post(&self, path: &str) -> (u16, Value) {
        let answer = self.gateway.ask_admin(Ask::new("POST", path).bearer(ADMIN_KEY)).await;
        (answer.status, answer.json())
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.gateway.ask_admin(Ask::new("GET", path).bearer(ADMIN_KEY)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// How many requests each provider has seen.
    fn counts(&self) -> [usize; 3] {
        [0, 1, 2].map(|at| self.ups[at].requests().len())
    }
}

fn asking(prompt: &str) -> Ask {
    let body =
        serde_json::json!({"model": "auto", "messages": [{"role": "user", "content": prompt}]});
    Ask::post("/v1/chat/completions", body.to_string())
}

fn used(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-gateway-model-used")
}

const GOOD: [&str; 3] = ["m1", "m2", "m3"];
const RULES: &str = "  strategy: rule_based\n";

#[tokio::test]
async fn rules_choose_by_what_is_asked_and_say_why() {
    let stage = Stage::start(GOOD, RULES).await;
    for (prompt, model, rule) in [
        ("hello", "fast", "default -> fast"),
        ("summarize this text", "fast", "short_extract -> fast"),
        ("compare both step by step", "reasoning", "reasoning -> reasoning"),
        ("prove this theorem", "oracle", "hard_or_long -> oracle"),
        ("\u{5e9}\u{5dc}\u{5d5}\u{5dd} \u{5dc}\u{5da}", "reasoning", "hebrew -> reasoning"),
    ] {
        let answer = stage.ask(prompt).await;
        assert_eq!(used(&answer), model, "{prompt}");
        assert!(!answer.has("x-gateway-explain"), "nobody asked for it");
        let line = stage.gateway.line_of(&answer).await;
        assert_eq!(
            (&line["router"], &line["decision_reason"]),
            (&"rule_based".into(), &rule.into())
        );
        assert_eq!((&line["decision_model"], &line["final_model"]), (&model.into(), &model.into()));
    }
    let line = stage.gateway.line_with(|line| line["task_type"] == "summarize").await;
    assert_eq!((&line["difficulty"], &line["language"]), (&"easy".into(), &"en".into()));
    assert_eq!((&line["token_count"], &line["has_tools"]), (&3.into(), &false.into()));
    assert_eq!((&line["confidence"], &line["escalation_count"]), (&0.9.into(), &0.into()));
    let labels = ["strategy=\"rule_based\"", "model=\"fast\""];
    assert_eq!(stage.gateway.metric("weir_route_decisions_total", &labels).await, 2);
    let long = stage.ask(&"word ".repeat(200_000)).await;
    assert_eq!(used(&long), "oracle", "a megabyte is long");
    let named = stage.gateway.ask(Ask::chat("fast", false)).await;
    assert_eq!(stage.gateway.line_of(&named).await["router"], Value::Null);
}

#[tokio::test]
async fn what_a_model_lacks_is_passed_over_and_explained() {
    let stage = Stage::start(GOOD, RULES).await;
    let body = r#"{"model": "auto", "messages": [{"role": "user", "content": [{"type": "image_url",
        "image_url": {"url": "https://example.com/a.png"}}]}]}"#;
    let ask = Ask::post("/v1/chat/completions", body).header("x-gateway-explain", "1");
    let answer = stage.gateway.ask(ask).await;
    assert_eq!(used(&answer), "oracle", "the only one that takes images");
    let why = answer.header("x-gateway-explain");
    for part in [
        "mode=auto",
        "strategy=rule_based",
        "pin=fresh",
        "order=oracle",
        "fast:vision",
        "reasoning:vision",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    assert!(why.len() <= 1_024);
    let named = stage.gateway.ask(Ask::chat("fast", false).header("x-gateway-explain", "1")).await;
    assert_eq!(named.header("x-gateway-explain"), "mode=auto; decision=named; order=fast");
    assert!(stage.ups[2].requests()[0].header("x-gateway-explain").is_none(), "it is ours");
    let off = stage.gateway.ask(Ask::chat("fast", false).header("x-gateway-explain", "0")).await;
    assert!(!off.has("x-gateway-explain"));
}

#[tokio::test]
async fn failures_lead_upwards_a_bounded_number_of_times() {
    let stage = Stage::start(["mock-429", "mock-503", "m3"], RULES).await;
    let answer = stage.ask("hello").await;
    assert_eq!((used(&answer), answer.header("x-gateway-attempt-count")), ("oracle", "3"));
    let line = stage.gateway.line_of(&answer).await;
    assert_eq!(line["models_tried"], serde_json::json!(["fast", "reasoning", "oracle"]));
    assert_eq!((&line["escalation_count"], &line["decision_model"]), (&2.into(), &"fast".into()));

    let bounded = Stage::start(
        ["mock-429", "mock-503", "m3"],
        "  strategy: rule_based\n  max_escalations: 1\n",
    );
    let bounded = bounded.await;
    let failed = bounded.ask("hello").await;
    assert_eq!(failed.status, 502);
    let error = &failed.json()["error"];
    assert_eq!(error["message"], "optmod: all models failed (server)");
    assert_eq!(
        (&error["type"], &error["code"]),
        (&"proxy_error".into(), &"all_models_failed".into())
    );
    assert_eq!(bounded.counts(), [1, 1, 0]);
    assert_eq!(bounded.gateway.line_of(&failed).await["error_type"], "all_models_failed");
}

#[tokio::test]
async fn when_all_fail_the_answer_is_that_of_the_seed() {
    let stage = Stage::start(["mock-500", "mock-503", "mock-429"], RULES).await;
    for prompt in ["hello", "prove this theorem"] {
        let failed = stage.ask(prompt).await;
        assert_eq!(failed.status, 502);
        let message = failed.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("optmod: all models failed ("), "{message}");
    }
    // From a rate limit at the top the way leads one step down.
    let line = stage.gateway.line_with(|line| line["difficulty"] == "hard").await;
    assert_eq!(line["models_tried"], serde_json::json!(["oracle", "reasoning", "fast"]));
    let round = stage.gateway.ask(asking("hello").header("x-weir-route", "passthrough")).await;
    assert_ne!(round.openai_code(), "all_models_failed", "only where a strategy looks at requests");
}

#[tokio::test]
async fn bad_requests_and_refused_keys_do_not_escalate() {
    let stage = Stage::start(["mock-400", "m2", "m3"], RULES).await;
    let answer = stage.ask("hello").await;
    assert_eq!((answer.status, stage.counts()), (400, [1, 0, 0]));
    let stage = Stage::start(["mock-401", "m2", "m3"], RULES).await;
    let answer = stage.ask("hello").await;
    assert_eq!((answer.status, answer.openai_code().as_str()), (502, "upstream_auth_failed"));
    assert_eq!(stage.counts(), [1, 0, 0]);
}

#[tokio::test]
async fn a_request_may_name_a_strategy_if_its_agent_may() {
    let stage = Stage::start(GOOD, "").await;
    let with = |name: &str| asking("prove this theorem").header("x-weir-route", name);
    for (name, model) in [
        ("passthrough", "reasoning"),
        ("rule_based", "oracle"),
        ("decision_tree", "oracle"),
        ("learned", "oracle"),
        ("trouter", "oracle"),
        ("perf_router", "oracle"),
    ] {
        assert_eq!(used(&stage.gateway.ask(with(name)).await), model, "{name}");
    }
    let unknown = stage.gateway.ask(with("dice")).await;
    assert_eq!((unknown.status, unknown.openai_code().as_str()), (400, "invalid_request"));
    assert!(unknown.text().contains("unknown router: dice"), "{}", unknown.text());
    let refused = stage.gateway.ask(with("rule_based").header("x-agent-id", "plain")).await;
    assert_eq!((refused.status, refused.openai_code().as_str()), (403, "agent_forbidden"));
    let line = stage.gateway.line_with(|line| line["router"] == "passthrough").await;
    assert_eq!(
        (&line["decision_reason"], &line["pin_state"]),
        (&"the primary model".into(), &"fresh".into())
    );
}

#[tokio::test]
async fn a_tree_decides_and_a_bad_file_is_told() {
    let stage = Stage::start(GOOD, "").await;
    let yaml = std::fs::read_to_string(stage.gateway.config()).unwrap();
    let with = |file: &str, on_error: &str| {
        let tree = format!(
            "routing:\n  strategy: decision_tree\n  decision_tree: {{file: {file}, on_error: {on_error}}}\n"
        );
        let (_, rest) = yaml.split_once("providers:").unwrap();
        stage.gateway.write(&format!("providers:{}", rest.replace("routing:\n", &tree)));
    };
    let tree = r#"{"format": "weir-tree", "version": 1, "nodes": [
        {"feature": "task:code", "at_most": 0, "yes": 1, "no": 2},
        {"tier": "reasoning"}, {"tier": "fast", "confidence": 0.5}]}"#;
    std::fs::write(stage.gateway.folder.join("tree.json"), tree).unwrap();
    with("tree.json", "fail");
    assert_eq!(stage.gateway.reload().await.status, 200);
    assert_eq!(used(&stage.ask("hello").await), "reasoning");
    let answer = stage.ask("debug this code").await;
    assert_eq!(used(&answer), "fast");
    assert_eq!(stage.gateway.line_of(&answer).await["confidence"], 0.5);
    std::fs::write(stage.gateway.folder.join("cut.json"), &tree[..90]).unwrap();
    for file in ["cut.json", "missing.json"] {
        with(file, "fail");
        let refused = stage.gateway.reload().await;
        assert_eq!(refused.status, 422, "{file}");
        assert!(refused.text().contains("routing.decision_tree.file"), "{}", refused.text());
        with(file, "rule_based");
        let taken = stage.gateway.reload().await;
        assert_eq!(taken.status, 200, "{file}");
        assert!(taken.text().contains("rule_based takes its place"), "{}", taken.text());
    }
    assert_eq!(used(&stage.ask("prove this theorem").await), "oracle", "the rules decide");
}

#[tokio::test]
async fn strategies_are_switched_under_load_without_a_failed_request() {
    let stage = Stage::start(GOOD, "").await;
    let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = async {
        while !done.load(Ordering::Relaxed) {
            let answer = stage.ask("hello").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    let operator = async {
        let names =
            ["passthrough", "rule_based", "decision_tree", "trouter", "perf_router", "round_robin"];
        for (at, name) in names.iter().cycle().take(24).enumerate() {
            let path = if at % 2 == 0 { "/optmod/router" } else { "/api/routing" };
            let (status, said) = stage.post(&format!("{path}/{name}")).await;
            assert_eq!((status, &said["ok"]), (200, &true.into()), "{name}");
            let before = asked.load(Ordering::Relaxed);
            crate::gateway::wait_until("a request since", || async {
                asked.load(Ordering::Relaxed) > before
            })
            .await;
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(client, operator);
    let lines = stage.gateway.lines_when(asked.load(Ordering::Relaxed)).await;
    for name in ["passthrough", "rule_based", "decision_tree", "learned", "round_robin"] {
        assert!(lines.iter().any(|line| line["router"] == name), "{name}");
    }
}

#[tokio::test]
async fn the_control_api_shows_switches_and_clears() {
    let stage = Stage::start(GOOD, "").await;
    assert_eq!(
        stage.post("/optmod/router/rule_based").await.1,
        serde_json::json!({"router": "rule_based", "ok": true})
    );
    let (status, said) = stage.post("/optmod/router/dice").await;
    assert_eq!((status, said), (400, serde_json::json!({"error": "unknown router: dice"})));
    let (status, said) = stage.post("/api/routing/dice").await;
    assert_eq!((status, &said["error"]["code"]), (400, &"invalid_request".into()));
    assert_eq!(said["error"]["message"], "unknown router: dice");
    for path in ["/api/routing", "/optmod/status"] {
        let shown = stage.get(path).await;
        assert_eq!(
            (&shown["router"], &shown["router_source"]),
            (&"rule_based".into(), &"switched".into())
        );
        assert_eq!(
            (&shown["primary_model"], &shown["compressor"]),
            (&"reasoning".into(), &"off".into())
        );
        assert_eq!(shown["models"][1]["cost_per_1k"], 0.002);
        assert_eq!(shown["models"][2]["tier"], "oracle");
    }
    // A reload leaves the switch as it is.
    let (status, said) = stage.post("/optmod/restart").await;
    assert_eq!((status, &said["ok"]), (200, &true.into()));
    assert!(said["message"].as_str().unwrap().contains("version 2"), "{said}");
    assert_eq!(stage.get("/api/routing").await["router"], "rule_based");
    for path in ["/api/log/clear", "/optmod/log/clear"] {
        let answer = stage.ask("hello").await;
        stage.gateway.line_of(&answer).await;
        let (status, said) = stage.post(path).await;
        assert_eq!((status, &said["ok"]), (200, &true.into()));
        assert!(stage.gateway.lines().is_empty(), "{path}");
    }
    let after = stage.ask("hello").await;
    assert_eq!(stage.gateway.line_of(&after).await["router"], "rule_based", "the log goes on");
    for path in ["/api/routing/rule_based", "/optmod/restart", "/api/log/clear"] {
        let ask = Ask::new("POST", path).bearer(AGENT_KEY);
        assert_eq!(stage.gateway.ask_admin(ask).await.status, 403, "{path}");
    }
}
