//! What a guarded answer costs when it is kept back, and what a provider's refusal shows.

use serde_json::json;

use crate::budget::{admin, nano};
use crate::client::Ask;
use crate::gateway::{Gateway, Setup, wait_until};
use crate::provider::{Canned, openai};

const SECRET: &str = "gsk_q7Zk2Vb9Lx4Wm8Rt3Ny6Hc5Jd1Pf0GsTuEaKiXoBvQlMwYzCrDhSg";

async fn guarded(provider: &Canned, guard: &str) -> Gateway {
    capped(provider, guard, true).await
}

/// One whose budget is hard or soft.
async fn capped(provider: &Canned, guard: &str, hard: bool) -> Gateway {
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up, price: {{input: 1, output: 2}}, context_tokens: \
         100000, output_tokens_max: 1000}}\nrouting: {{cooldown_ms: 0}}\nagents:\n  default: {{budget: \
         {{limit_usd: 1, hard_cap: {hard}}}}}\nguard: {guard}\n",
        openai("up", provider.address, ""),
    );
    Setup::new(yaml).start().await
}

/// What has been spent, once it is booked.
async fn spent(gateway: &Gateway) -> i64 {
    let standing = || async { admin(gateway, Ask::get("/api/spend/default")).await.text() };
    wait_until("it is booked", || async {
        let standing = standing().await;
        nano(&standing, "budget_held") == 0 && nano(&standing, "budget_spent") > 0
    })
    .await;
    nano(&standing().await, "budget_spent")
}

/// How many holds are in limbo.
async fn limbo(gateway: &Gateway) -> usize {
    let listed = admin(gateway, Ask::get("/api/limbo")).await.text();
    listed.matches("\"agent_id\":\"default\"").count()
}

#[tokio::test]
async fn an_answer_that_is_kept_back_without_a_report_is_booked_at_its_worst() {
    let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": SECRET},
        "finish_reason": "stop"}]});
    let up = Canned::json("200 OK", "connection: close\r\n", answer.to_string().as_bytes()).await;
    let gateway = guarded(&up, "{output: {secrets: block}}").await;
    let refused = gateway.ask(Ask::chat("m", false)).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    wait_until("it is in limbo", || async { limbo(&gateway).await == 1 }).await;
    // A thousand tokens at two dollars a million, and the question.
    let spent = spent(&gateway).await;
    assert!(spent > 2_000_000, "{spent}");
}

#[tokio::test]
async fn a_stream_that_is_kept_back_is_booked_as_it_was_reported() {
    let said = |delta: serde_json::Value, finish: Option<&str>| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let usage = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}});
    let text = format!("The key is {SECRET}, keep it.");
    let events = [said(json!({"content": text}), None), said(json!({}), Some("stop")), usage];
    let events = events.map(|event| format!("data: {event}\n\n")).concat();
    let up = Canned::start(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{events}data: [DONE]\n\n"
    ))
    .await;
    let gateway = guarded(&up, "{output: {secrets: block}}").await;
    let refused = gateway.ask(Ask::chat("m", true)).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!((spent(&gateway).await, limbo(&gateway).await), (20_000, 0));
}

#[tokio::test]
async fn what_is_kept_back_is_booked_by_what_has_come_where_nothing_was_held() {
    let long = "word ".repeat(8_000);
    let text = format!("{long} {SECRET}");
    let said = |object: &str, name: &str| {
        json!({"id": "c", "object": object, "created": 1, "model": "m",
            "choices": [{"index": 0, name: {"role": "assistant", "content": text},
            "finish_reason": "stop"}]})
    };
    let whole = said("chat.completion", "message").to_string();
    let event = format!("data: {}\n\ndata: [DONE]\n\n", said("chat.completion.chunk", "delta"));
    for (kind, body, stream) in
        [("application/json", whole, false), ("text/event-stream", event, true)]
    {
        let up = Canned::start(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n{body}"
        ))
        .await;
        let gateway = capped(&up, "{output: {secrets: block}}", false).await;
        let refused = gateway.ask(Ask::chat("m", stream)).await;
        assert_eq!(refused.status, 403, "{}", refused.text());
        // Forty thousand letters are more than five thousand tokens, at two dollars a million.
        let spent = spent(&gateway).await;
        assert!(spent > 10_000_000, "{kind}: {spent}");
    }
}

#[tokio::test]
async fn what_a_server_repeats_in_its_refusal_is_searched() {
    let body = json!({"detail": [{"loc": ["body"], "input": {"name": SECRET}}]}).to_string();
    for status in ["422 Unprocessable Entity", "503 Service Unavailable", "200 OK"] {
        let up = Canned::json(status, "connection: close\r\n", body.as_bytes()).await;
        let gateway = guarded(&up, "{output: {secrets: redact}}").await;
        let answer = gateway.ask(Ask::chat("m", false)).await;
        let text = answer.text();
        assert!(status.starts_with(&answer.status.to_string()), "{status}: {text}");
        assert_eq!(answer.json()["detail"][0]["input"]["name"], "[REDACTED_API_KEY_GROQ_1]");
        // It is told as it would be without a guard.
        let line = gateway.line_of(&answer).await;
        let attempt = &line["attempts"][0]["outcome"];
        assert_eq!((&line["end"], attempt), (&json!("complete"), &json!("answered")), "{line}");
        assert_eq!(line["final_model"], "m", "{line}");
        let gateway = guarded(&up, "{output: {secrets: block}}").await;
        let answer = gateway.ask(Ask::chat("m", false)).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(!answer.text().contains("q7Zk"));
        let line = gateway.line_of(&answer).await;
        assert_eq!(line["attempts"][0]["outcome"], "blocked", "{line}");
    }
}
