//! Providers at one whole address (`exact_url`): whatever a client asks, nothing goes there but what the path of
//! that address names, so that holds, caps and guards are those of what is really asked.

use loadtest::upstream::server::Upstream;
use serde_json::{Value, json};

use crate::client::{Ask, chat_body};
use crate::gateway::{Gateway, Setup};
use crate::provider::mock;

/// A gateway whose every provider is one address of the same mock; its only agent is under a hard cap.
async fn start() -> (Gateway, Upstream) {
    let up = mock("up").await;
    let provider = |name: &str, dialect: &str, path: &str| {
        format!(
            "  {name}: {{dialect: {dialect}, base_url: 'http://{}{path}', exact_url: true, api_key: key-of-{name}}}\n",
            up.addr
        )
    };
    let model = |id: &str| {
        format!(
            "  - {{id: {id}, provider: {id}, price: {{input: 1, output: 2}}, context_tokens: 100000, \
             output_tokens_max: 1000}}\n"
        )
    };
    let yaml = format!(
        "providers:\n{}{}{}models:\n{}{}{}agents:\n  default: {{budget: {{limit_usd: 10, hard_cap: true}}}}\n  \
         free: {{}}\n",
        provider("chat", "openai", "/own/v1/chat/completions"),
        provider("claude", "anthropic", "/own/v1/messages"),
        provider("embed", "openai", "/own/v1/embeddings"),
        model("chat"),
        model("claude"),
        model("embed"),
    );
    (Setup::new(yaml).start().await, up)
}

/// One body for every path: what an attacker would send, and what each of them needs.
fn all_in_one(model: &str) -> String {
    let messages = json!([{"role": "user", "content": "hello"}]);
    json!({"model": model, "input": "x", "prompt": "x", "max_tokens": 9, "messages": messages})
        .to_string()
}

#[tokio::test]
async fn nothing_but_what_the_address_names_is_asked_there() {
    let (gateway, up) = start().await;
    for agent in ["default", "free"] {
        for (model, path) in [
            ("chat", "/v1/embeddings"),
            ("chat", "/v1/completions"),
            ("chat", "/v1/images/generations"),
            ("embed", "/v1/chat/completions"),
            ("embed", "/v1/responses"),
            ("embed", "/v1/messages"),
            ("embed", "/v1/completions"),
            ("claude", "/v1/embeddings"),
            ("claude", "/v1/messages/batches"),
        ] {
            let ask = Ask::post(path, all_in_one(model)).header("x-agent-id", agent);
            let answer = gateway.ask(ask).await;
            assert!(
                matches!(answer.status, 400 | 403),
                "{agent}, {model}, {path}: {}",
                answer.text()
            );
        }
        for path in ["/v1/files", "/v1/messages/batches"] {
            let answer = gateway.ask(Ask::get(path).header("x-agent-id", agent)).await;
            assert!(matches!(answer.status, 400 | 403), "{agent}, {path}: {}", answer.text());
        }
    }
    let call = json!({"messages": [{"role": "user", "content": "hi"}], "systemPrompt": "s", "model": "embed"});
    let answer = gateway.ask(Ask::post("/infer", call.to_string())).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    // Tokens are counted here where the provider has no such path.
    let answer = gateway.ask(Ask::post("/v1/messages/count_tokens", all_in_one("claude"))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json()["input_tokens"].as_u64().is_some_and(|count| count > 0));
    assert_eq!(up.requests().len(), 0);
}

#[tokio::test]
async fn what_can_be_translated_is_asked_in_the_form_of_the_address() {
    let (gateway, up) = start().await;
    for (model, path) in [("chat", "/own/v1/chat/completions"), ("claude", "/own/v1/messages")] {
        let infer = json!({"messages": [{"role": "user", "content": "hi"}], "systemPrompt": "s", "model": model});
        for ask in [
            Ask::post("/v1/chat/completions", chat_body(model, false)),
            Ask::post("/v1/chat/completions", chat_body(model, true)),
            Ask::messages(model, true),
            Ask::responses(model, false),
            Ask::post("/infer", infer.to_string()),
        ] {
            up.clear();
            let answer = gateway.ask(ask.clone()).await;
            assert_eq!(answer.status, 200, "{model}, {ask:?}: {}", answer.text());
            let seen = up.requests().remove(0);
            assert_eq!(seen.path, path, "{ask:?}");
            let body = seen.json();
            assert!(body["messages"].is_array() && body.get("input").is_none(), "{ask:?}: {body}");
            let cap = body["max_tokens"].as_u64().unwrap_or(u64::MAX);
            assert!(cap <= 2_000, "its output is bounded by the hold: {body}");
        }
    }
    up.clear();
    // A strategy passes over whoever has no such path.
    let answer = gateway.ask(Ask::post("/v1/embeddings", r#"{"model":"auto","input":"x"}"#)).await;
    assert_eq!(
        (answer.status, answer.header("x-gateway-model-used")),
        (200, "embed"),
        "{}",
        answer.text()
    );
    let sent: Value = up.requests()[0].json();
    assert_eq!(
        (up.requests()[0].path.as_str(), &sent["input"]),
        ("/own/v1/embeddings", &json!("x"))
    );
}
