//! Budgets over sockets: the walk-through of S0-21, hard caps under parallel load, what each end of an
//! attempt is booked at, and the control API. The mock providers keep a bill of their own, which shares no
//! code with the gateway; it is the judge.

use loadtest::upstream::server::Upstream;
use serde_json::{Value, json};

use crate::client::{Answer, Ask, Line};
use crate::gateway::{ADMIN_KEY, Gateway, Setup, wait_until};
use crate::provider::{anthropic, mock, openai};

const TIERED: &str = "agents:\n  default: {}\n  agent-1:\n    mode: budget\n    budget: {limit_usd: 50.00, period: daily, \
                      hard_cap: true}\n    tiers:\n      - {remaining_min: 0.80, models: [best, good]}\n      \
                      - {remaining_min: 0.30, models: [plain]}\n      - {remaining_min: 0.00, models: [cheap]}\n";

/// Four models from dear to cheap, all at one mock, and what the test adds.
async fn start(agents: &str) -> (Gateway, Upstream) {
    let up = mock("up").await;
    let model = |id: &str, upstream: &str, price: &str| {
        format!(
            "  - {{id: {id}, provider: up, upstream_id: {upstream}, price: {price}, context_tokens: 100000, output_tokens_max: 4096}}\n"
        )
    };
    let models = model("best", "mock-price=30:150", "{input: 30, output: 150}")
        + &model("good", "mock-price=3:15", "{input: 3, output: 15}")
        + &model("plain", "mock-price=1:5", "{input: 1, output: 5}")
        + &model("cheap", "mock-price=0.1:0.5", "{input: 0.1, output: 0.5}");
    let yaml = format!(
        "providers:\n{}{}models:\n{models}{agents}",
        openai("up", up.addr, ""),
        anthropic("claude", up.addr, "")
    );
    (Setup::new(yaml).start().await, up)
}

fn chat(agent: &str, model: &str) -> Ask {
    Ask::chat(model, false).header("x-agent-id", agent)
}

/// Asks the control API with its key.
pub async fn admin(gateway: &Gateway, ask: Ask) -> Answer {
    gateway.ask_admin(ask.bearer(ADMIN_KEY)).await
}

/// How an account stands.
pub async fn spend(gateway: &Gateway, agent: &str) -> Value {
    let answer = admin(gateway, Ask::get(&format!("/api/spend/{agent}"))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Sets the budget of an account.
pub async fn push(gateway: &Gateway, agent: &str, body: Value) -> Answer {
    let ask = Ask::post(&format!("/api/budget/{agent}"), body.to_string());
    admin(gateway, ask.header("content-type", "application/json")).await
}

/// An amount as the API writes it, in nano-dollars, read without a float.
pub fn nano(text: &str, field: &str) -> i64 {
    let at = text.find(&format!("\"{field}\":")).unwrap_or_else(|| panic!("{field} in {text}"));
    let rest = &text[at + field.len() + 3..];
    let number: String =
        rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | '-')).collect();
    let (whole, part) = number.split_once('.').unwrap_or((&number, ""));
    let digits = format!("{whole}{part:0<9}");
    digits.parse().unwrap_or_else(|_| panic!("{field} in {text}"))
}

/// What an account has spent, in nano-dollars.
pub async fn spent_nano(gateway: &Gateway, agent: &str) -> i64 {
    let answer = admin(gateway, Ask::get(&format!("/api/spend/{agent}"))).await;
    nano(&answer.text(), "budget_spent")
}

#[tokio::test]
async fn the_walk_through_of_the_seed() {
    let (gateway, up) = start(TIERED).await;
    let first = gateway.ask(chat("agent-1", "auto")).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(first.header("x-gateway-model-used"), "best");
    let own = first.json()["_weir"].clone();
    assert_eq!(own["agent_id"], "agent-1");
    assert!(first.has("x-gateway-budget-remaining-usd"));
    assert!(own["cost"].as_f64().unwrap() > 0.0 && own["budget_remaining"].is_number(), "{own}");

    let before = spend(&gateway, "agent-1").await;
    assert_eq!(before["budget_source"], "local");
    assert_eq!((&before["period"], &before["hard_cap"]), (&json!("daily"), &json!(true)));
    assert_eq!(before["budget_spent"], own["cost"], "{before}");

    let pushed = push(&gateway, "agent-1", json!({"budget_spent": 40})).await;
    assert_eq!((pushed.status, &pushed.json()["status"]), (200, &json!("updated")));
    assert_eq!(pushed.json()["budget_source"], "console", "S0-16");
    let second = gateway.ask(chat("agent-1", "auto")).await;
    // 20 % is left: below 30 %, so the last tier (C-16).
    assert_eq!(second.header("x-gateway-model-used"), "cheap", "{}", second.text());

    assert_eq!(push(&gateway, "agent-1", json!({"budget_spent": "50"})).await.status, 200);
    let asked = up.requests().len();
    let refused = gateway.ask(chat("agent-1", "auto")).await;
    assert_eq!(refused.status, 402, "{}", refused.text());
    assert_eq!(refused.header("x-should-retry"), "false");
    assert_eq!(refused.openai_code(), "budget_exhausted");
    let body = refused.json();
    assert_eq!(body["agent_id"], "agent-1");
    assert_eq!((&body["budget_total"], &body["budget_spent"]), (&json!(50), &json!(50)));
    assert_eq!((&body["exhausted"], &body["hard_cap"]), (&json!(true), &json!(true)));
    assert_eq!(up.requests().len(), asked, "nothing is forwarded");

    let reset = admin(&gateway, Ask::post("/api/reset/agent-1", "")).await;
    assert_eq!((reset.status, &reset.json()["status"]), (200, &json!("reset")));
    assert_eq!(reset.json()["budget_spent"], 0);
    assert_eq!(gateway.ask(chat("agent-1", "auto")).await.header("x-gateway-model-used"), "best");
}

#[tokio::test]
async fn a_usage_chunk_that_was_asked_for_tells_what_the_stream_cost() {
    let agents = "agents:\n  default: {}\n  limited: {budget: {limit_usd: 50}}\n";
    let (gateway, up) = start(agents).await;
    let ask = |agent: &str, options: &str| {
        let body = format!(
            r#"{{"model":"good","stream":true{options},"messages":[{{"role":"user","content":"hi"}}]}}"#
        );
        Ask::post("/v1/chat/completions", body).header("x-agent-id", agent)
    };
    let wished = r#","stream_options":{"include_usage":true}"#;
    let answer = gateway.ask(ask("limited", wished)).await;
    let chunks: Vec<Value> = answer
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("data: ").filter(|data| *data != "[DONE]"))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let (last, others) = chunks.split_last().unwrap();
    assert!(others.iter().all(|chunk| chunk.get("_weir").is_none()), "{}", answer.text());
    assert!(last["usage"].is_object() && last["choices"] == json!([]), "{last}");
    let own = &last["_weir"];
    assert_eq!((&own["agent_id"], &own["model"]), (&json!("limited"), &json!("good")));
    let told = answer.text();
    let (cost, left) = (nano(&told, "cost"), nano(&told, "budget_remaining"));
    assert_eq!((cost, left), (up.bill_total(), 50_000_000_000 - cost));
    wait_until("just that is booked", || async { spent_nano(&gateway, "limited").await == cost })
        .await;
    // Who did not ask for it, and who has no limit, gets the provider's own bytes.
    assert!(!gateway.ask(ask("limited", "")).await.text().contains("_weir"));
    let free = gateway.ask(ask("default", wished)).await.text();
    assert!(free.contains("\"usage\":{") && !free.contains("_weir"), "{free}");
}

#[tokio::test]
async fn parallel_requests_fit_exactly_as_often_as_there_is_room() {
    // A request that asks for exactly 1,000 tokens at 1 USD a token-million and whose input is free is held
    // at 0.001 USD: 37 of them fit.
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up, upstream_id: mock-price=0:1-overrun=0-latency=300-chunks=1000, \
         price: {{input: 0, output: 1}}, context_tokens: 100000}}\nagents: {{default: {{}}, a: {{budget: \
         {{limit_usd: 0.037}}}}}}\n",
        openai("up", up.addr, "")
    );
    let gateway = Setup::new(yaml).start().await;
    let mut asks = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let address = gateway.data;
        asks.spawn(async move {
            let body =
                r#"{"model":"m","max_tokens":1000,"messages":[{"role":"user","content":"hi"}]}"#;
            let ask = Ask::post("/v1/chat/completions", body)
                .bearer(crate::gateway::AGENT_KEY)
                .header("x-agent-id", "a");
            Line::open(address).await.unwrap().ask(&ask).await.unwrap().status
        });
    }
    let mut counts = std::collections::BTreeMap::new();
    while let Some(status) = asks.join_next().await {
        *counts.entry(status.unwrap()).or_insert(0) += 1;
    }
    assert_eq!(counts, [(200, 37), (402, 463)].into());
    assert_eq!(up.requests().len(), 37);
    let bill = up.bill_total();
    assert!(bill <= 37_000_000, "{bill}");
    wait_until("everything is settled", || async {
        nano(&admin(&gateway, Ask::get("/api/spend/a")).await.text(), "budget_held") == 0
    })
    .await;
    assert_eq!(spent_nano(&gateway, "a").await, bill);
}
