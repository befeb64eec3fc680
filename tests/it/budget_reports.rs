//! What is booked for what a provider says of its answer: reports that cannot be read, tiers and life times
//! that nobody told, answers too large to be held; and a limit whose calendar changes under way.
//!
//! How attempts end is in `budget_ends`.

use serde_json::{Value, json};

use crate::budget::{admin, nano, spend, spent_nano};
use crate::client::{Answer, Ask};
use crate::gateway::{Gateway, Setup, wait_until};
use crate::provider::{Canned, anthropic, mock, openai};

const PRICE: &str = "price: {input: 3, output: 15, cache_read: 0.3, search: 0.01}, context_tokens: 100000, \
                     output_tokens_max: 1000";

/// A gateway before a provider that always answers the same, for an agent with a hard cap and one without.
async fn before(canned: &Canned, provider: &str) -> Gateway {
    let provider = match provider {
        "claude" => anthropic("up", canned.address, ""),
        _ => openai("up", canned.address, ""),
    };
    let yaml = format!(
        "providers:\n{provider}models:\n  - {{id: m, provider: up, {PRICE}}}\n\
         agents:\n  default: {{}}\n  a: {{budget: {{limit_usd: 100}}}}\n"
    );
    Setup::new(yaml).start().await
}

fn post(path: &str, agent: &str, body: &Value) -> Ask {
    Ask::post(path, body.to_string()).header("x-agent-id", agent)
}

fn chat(agent: &str, tier: Option<&str>) -> Ask {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let mut body = json!({"model": "m", "max_tokens": 300, "messages": messages});
    if let Some(tier) = tier {
        body["service_tier"] = json!(tier);
    }
    post("/v1/chat/completions", agent, &body)
}

fn chat_answer(more: &Value) -> Vec<u8> {
    let mut answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}]});
    for (key, value) in more.as_object().unwrap() {
        answer[key] = value.clone();
    }
    answer.to_string().into_bytes()
}

/// What a request adds to the spend of an agent when all of it is settled.
async fn booked(gateway: &Gateway, agent: &str, ask: Ask) -> (Answer, i64) {
    let before = spent_nano(gateway, agent).await;
    let answer = gateway.ask(ask).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    gateway.line_of(&answer).await;
    let path = format!("/api/spend/{agent}");
    wait_until("everything is settled", || async {
        nano(&admin(gateway, Ask::get(&path)).await.text(), "budget_held") == 0
    })
    .await;
    let spent = spent_nano(gateway, agent).await - before;
    (answer, spent)
}

#[tokio::test]
async fn a_limit_is_not_spent_anew_by_other_calendars() {
    let up = mock("up").await;
    let yaml = |period: &str| {
        format!(
            "providers:\n{}models:\n  - {{id: m, provider: up, upstream_id: mock, price: {{input: 0, output: 0, request: 0.001}}, \
             context_tokens: 1000, output_tokens_max: 1000}}\n\
             agents:\n  default: {{budget: {{limit_usd: 0.005, {period}}}}}\n",
            openai("up", up.addr, "")
        )
    };
    let gateway = Setup::new(yaml("period: monthly")).start().await;
    let mut passed = 0;
    for period in [
        "period: monthly",
        "period: daily",
        "period: monthly",
        "period: monthly, timezone: Asia/Tokyo",
        "period: monthly",
        "period: none",
    ] {
        gateway.write(&yaml(period));
        let reloaded = gateway.reload().await.json();
        let told = reloaded["changes"].to_string().contains("budget of default: ");
        assert_eq!(told, passed > 0, "{reloaded}");
        for _ in 0..7 {
            let answer = gateway.ask(Ask::chat("m", false)).await;
            passed += usize::from(answer.status == 200);
        }
        assert_eq!((passed, up.requests().len()), (5, 5), "{period}");
    }
}

#[tokio::test]
async fn a_side_that_cannot_be_read_is_never_free() {
    for usage in [
        json!({"prompt_tokens": "ten", "completion_tokens": 5}),
        json!({"prompt_tokens": true, "completion_tokens": 5}),
        json!({"prompt_tokens": -10, "completion_tokens": 5}),
        json!({"prompt_tokens": 10, "completion_tokens": -5}),
    ] {
        let body = chat_answer(&json!({ "usage": usage }));
        let canned = Canned::json("200 OK", "", &body).await;
        let gateway = before(&canned, "gpt").await;
        // What was held, as far as nobody knows better.
        let (answer, spent) = booked(&gateway, "a", chat("a", None)).await;
        assert!(spent > 300 * 15_000, "{usage}: {spent}");
        assert_eq!(gateway.line_of(&answer).await["usage_source"], "estimated", "{usage}");
        let (_, spent) = booked(&gateway, "default", chat("default", None)).await;
        assert!(spent >= 10 * 3_000 + 2 * 15_000, "{usage}: {spent}");
    }
}

#[tokio::test]
async fn the_tier_that_the_answer_names_is_the_one_that_is_paid() {
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150});
    let plain = 100 * 3_000 + 50 * 15_000;
    for (served, asked, expected) in [
        (json!("default"), Some("auto"), plain),
        (json!(null), Some("auto"), plain * 5 / 2),
        (json!("priority"), None, plain * 5 / 2),
        (json!("flex"), Some("priority"), plain),
        (json!(null), None, plain),
    ] {
        let body = chat_answer(&json!({"usage": usage, "service_tier": served}));
        let canned = Canned::json("200 OK", "", &body).await;
        let gateway = before(&canned, "gpt").await;
        let (_, spent) = booked(&gateway, "a", chat("a", asked)).await;
        assert_eq!(spent, expected, "{served} {asked:?}");
    }
}

fn message_answer(more: &Value) -> Vec<u8> {
    let mut usage = json!({"input_tokens": 10, "output_tokens": 5});
    for (key, value) in more.as_object().unwrap() {
        usage[key] = value.clone();
    }
    let content = json!([{"type": "text", "text": "x"}]);
    json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content, "stop_reason":
        "end_turn", "stop_sequence": null, "usage": usage})
    .to_string()
    .into_bytes()
}

fn message(agent: &str, more: &Value) -> Ask {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let mut body = json!({"model": "m", "max_tokens": 300, "messages": messages});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    post("/v1/messages", agent, &body)
}

#[tokio::test]
async fn what_an_answer_says_of_itself_is_priced() {
    let plain = 10 * 3_000 + 5 * 15_000;
    let long = json!({"cache_control": {"type": "ephemeral", "ttl": "1h"}});
    let split = json!({"cache_creation_input_tokens": 50, "cache_creation":
        {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 0}});
    for (usage, asked, expected) in [
        (json!({"service_tier": "standard"}), json!({}), plain),
        // Capacity that was bought before.
        (json!({"service_tier": "priority"}), json!({}), plain),
        (json!({"speed": "fast"}), json!({}), plain * 2),
        (json!({"inference_geo": "us"}), json!({}), plain * 11 / 10),
        (json!({"inference_geo": "global"}), json!({}), plain),
        (json!({"cache_creation_input_tokens": 50}), json!({}), plain + 50 * 3_750),
        (json!({"cache_creation_input_tokens": 50}), long.clone(), plain + 50 * 6_000),
        (split, long, plain + 50 * 3_750),
        (json!({"server_tool_use": {"web_search_requests": 2}}), json!({}), plain + 20_000_000),
    ] {
        let canned = Canned::json("200 OK", "", &message_answer(&usage)).await;
        let gateway = before(&canned, "claude").await;
        for agent in ["a", "default"] {
            if agent == "a" && usage.get("server_tool_use").is_some() {
                // What was not asked for breaks the bound, which freezes.
                continue;
            }
            let (_, spent) = booked(&gateway, agent, message(agent, &asked)).await;
            assert_eq!(spent, expected, "{agent} {usage} {asked}");
        }
    }
}

#[tokio::test]
async fn an_answer_too_large_to_be_held_is_booked_by_its_report() {
    let numbers = "A".repeat(17 << 20);
    let data = json!([{"object": "embedding", "index": 0, "embedding": numbers}]);
    let usage = json!({"prompt_tokens": 2048, "total_tokens": 2048});
    let body = json!({"object": "list", "model": "m", "data": data, "usage": usage}).to_string();
    let canned = Canned::json("200 OK", "", body.as_bytes()).await;
    let gateway = before(&canned, "gpt").await;
    for agent in ["a", "default"] {
        let ask = post("/v1/embeddings", agent, &json!({"model": "m", "input": "x".repeat(9_000)}));
        let (answer, spent) = booked(&gateway, agent, ask).await;
        assert_eq!((answer.body.len(), spent), (body.len(), 2_048 * 3_000), "{agent}");
        assert_eq!(gateway.line_of(&answer).await["usage_source"], "exact");
    }
}

#[tokio::test]
async fn an_answer_without_usage_tells_what_is_booked() {
    let canned = Canned::json("200 OK", "", &chat_answer(&json!({}))).await;
    let gateway = before(&canned, "gpt").await;
    let (answer, spent) = booked(&gateway, "a", chat("a", None)).await;
    assert_eq!(nano(&answer.text(), "cost"), spent);
    let left = spend(&gateway, "a").await.to_string();
    assert_eq!(nano(&answer.text(), "budget_remaining"), nano(&left, "budget_remaining"));
    let header = answer.header("x-gateway-budget-remaining-usd");
    assert_eq!(nano(&format!("{{\"x\":{header}}}"), "x"), nano(&left, "budget_remaining"));
}

#[tokio::test]
async fn a_cap_of_zero_is_no_word_of_every_provider() {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up, upstream_id: mock, {PRICE}}}\n\
         agents:\n  default: {{budget: {{limit_usd: 100}}}}\n",
        anthropic("up", up.addr, "")
    );
    let gateway = Setup::new(yaml).start().await;
    gateway.ask(message("default", &json!({"max_tokens": 0}))).await;
    let seen: Value = up.requests().last().unwrap().json();
    assert_eq!(seen["max_tokens"], 1_000, "all of the model's, as held: {seen}");
}
