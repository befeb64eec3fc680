//! Shortened tool results over sockets (S2-11): what a provider gets while it is on and off, switched at run
//! time, in every dialect; that old turns stay the same bytes from turn to turn; what is counted.

use loadtest::upstream::server::Upstream;
use serde_json::{Value, json};

use crate::budget::admin;
use crate::client::Ask;
use crate::gateway::{AGENT_KEY, Gateway, Setup, sum_of, wait_until};
use crate::provider::{anthropic, mock, openai};

async fn start(mutators: &str) -> (Gateway, Upstream) {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}{}models:\n\
         \x20 - {{id: one, provider: up, upstream_id: mock-price=1:5, price: {{input: 4, output: 8, cache_read: 4}}}}\n\
         \x20 - {{id: claude, provider: claude, upstream_id: mock-price=1:5}}\n{mutators}",
        openai("up", up.addr, ""),
        anthropic("claude", up.addr, "")
    );
    (Setup::new(yaml).start().await, up)
}

const ON: &str = "mutators: {tool_results: {enabled: true}}\n";

/// What `grep -rn` prints.
fn found(lines: usize) -> String {
    (0..lines)
        .map(|at| format!("src/exchange/mod.rs:{at}:    let \"é\" = {at};\n"))
        .collect::<Vec<_>>()
        .concat()
}

fn result(id: &str, text: &str) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": text})
}

fn chat(messages: &[Value]) -> Ask {
    Ask::post("/v1/chat/completions", json!({"model": "one", "messages": messages}).to_string())
}

/// The bodies that came, as text.
fn bodies(up: &Upstream) -> Vec<String> {
    let of = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
    up.requests().iter().map(|seen| of(seen.body.as_ref().unwrap())).collect()
}

async fn switch(gateway: &Gateway, path: &str) -> Value {
    let answer = admin(gateway, Ask::post(path, "")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn old_turns_are_shortened_to_the_same_bytes_in_every_turn() {
    let (gateway, up) = start(ON).await;
    let mut turns = vec![json!({"role": "user", "content": found(40)}), result("1", &found(40))];
    for turn in 0..3 {
        let answer = gateway.ask(chat(&turns)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        turns.push(json!({"role": "assistant", "content": "so"}));
        turns.push(result(&format!("{turn}"), &found(60 + turn)));
    }
    let bodies = bodies(&up);
    for pair in bodies.windows(2) {
        let (start, _) = pair[0].split_once("],\"model\"").unwrap();
        assert!(pair[1].starts_with(start), "{}\n{}", pair[0], pair[1]);
    }
    let last: Value = serde_json::from_str(bodies.last().unwrap()).unwrap();
    assert_eq!(last["messages"][0]["content"], found(40), "what a user says stays");
    for at in [1, 3, 5] {
        let text = last["messages"][at]["content"].as_str().unwrap();
        assert!(
            text.starts_with("[weir: grep, by file]\nsrc/exchange/mod.rs\n0:    let"),
            "{text}"
        );
    }
    let saved = |page: &str| sum_of(page, "weir_mutator_saved_tokens_total", &["tool_results"]);
    wait_until("savings in the metrics", || async { saved(&gateway.metrics().await) > 0 }).await;
    let page = gateway.metrics_after(3).await;
    let tokens = saved(&page);
    let cost = sum_of(&page, "weir_mutator_saved_nanodollars_total", &["tool_results"]);
    // 4 USD per million tokens, rounded down once per request.
    assert!(cost <= tokens * 4_000 && cost + 3 >= tokens * 4_000, "{tokens} tokens, {cost}");
}

#[tokio::test]
async fn it_is_switched_at_run_time_and_off_by_default() {
    let (gateway, up) = start("").await;
    let ask = || chat(&[result("1", &found(40))]);
    let sent = json!({"model": "one", "messages": [result("1", &found(40))]}).to_string();
    gateway.ask(ask()).await;
    let path = "/api/mutators/tool-results/on";
    assert_eq!(switch(&gateway, path).await, json!({"ok": true, "compressor": "on"}));
    gateway.ask(ask()).await;
    // A reload leaves the switch as it is.
    assert_eq!(gateway.reload().await.status, 200);
    gateway.ask(ask()).await;
    switch(&gateway, "/optmod/compressor/off").await;
    gateway.ask(ask()).await;
    let bodies = bodies(&up);
    let with_model = sent.replace("\"one\"", "\"mock-price=1:5\"");
    assert_eq!((&bodies[0], &bodies[3]), (&with_model, &with_model));
    assert!(bodies[1].contains("[weir: grep") && bodies[1].len() < sent.len());
    assert_eq!(bodies[1], bodies[2]);
    let odd = admin(&gateway, Ask::post("/optmod/compressor/maybe", "")).await;
    assert_eq!((odd.status, &odd.json()["error"]["code"]), (400, &json!("invalid_request")));
    let stranger = Ask::post("/optmod/compressor/on", "").bearer(AGENT_KEY);
    assert_eq!(gateway.ask_admin(stranger).await.status, 403);
    let nobody = Ask::new("POST", "/optmod/compressor/on");
    assert_eq!(gateway.ask_admin(nobody).await.status, 401);
}

#[tokio::test]
async fn the_thinking_of_models_has_a_switch() {
    let (gateway, _up) = start("mutators: {thinking: false}\n").await;
    for word in ["on", "off"] {
        let path = format!("/api/mutators/thinking/{word}");
        assert_eq!(switch(&gateway, &path).await, json!({"ok": true, "thinking": word}));
    }
    let odd = admin(&gateway, Ask::post("/api/mutators/thinking/maybe", "")).await;
    assert_eq!((odd.status, &odd.json()["error"]["code"]), (400, &json!("invalid_request")));
    let stranger = Ask::post("/api/mutators/thinking/on", "").bearer(AGENT_KEY);
    assert_eq!(gateway.ask_admin(stranger).await.status, 403);
}

fn marked(with_marker: bool) -> Ask {
    let mut last = json!({"type": "text", "text": "go on"});
    if with_marker {
        last["cache_control"] = json!({"type": "ephemeral"});
    }
    let tool = json!({"type": "tool_result", "tool_use_id": "t", "content": found(40)});
    let body = json!({"model": "claude", "max_tokens": 64,
        "messages": [{"role": "user", "content": [tool, last]}]});
    Ask::post("/v1/messages", body.to_string()).header("anthropic-version", "2023-06-01")
}

#[tokio::test]
async fn requests_with_cache_markers_are_left_alone_unless_said_otherwise() {
    let with = "mutators: {tool_results: {enabled: true, with_cache_markers: true}}\n";
    for (config, marker, shortened) in [(ON, true, false), (ON, false, true), (with, true, true)] {
        let (gateway, up) = start(config).await;
        let answer = gateway.ask(marked(marker)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = &bodies(&up)[0];
        assert_eq!(body.contains("[weir: grep"), shortened, "{config} {marker}");
        assert_eq!(body.contains("cache_control"), marker);
    }
}

#[tokio::test]
async fn large_requests_and_translated_ones_are_shortened_too() {
    let (gateway, up) = start(ON).await;
    let turns: Vec<Value> = (0..40).map(|at| result(&at.to_string(), &found(200))).collect();
    let call = |at: usize| json!({"id": at.to_string(), "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let calls: Vec<Value> = (0..40).map(call).collect();
    let first = [
        json!({"role": "user", "content": "x"}),
        json!({"role": "assistant", "tool_calls": calls}),
    ];
    let messages = [&first[..], &turns[..]].concat();
    let size = chat(&messages).to_bytes().len();
    assert!(size > 256 * 1024);
    assert_eq!(gateway.ask(chat(&messages)).await.status, 200);
    let body = json!({"model": "claude", "messages": messages});
    let answer = gateway.ask(Ask::post("/v1/chat/completions", body.to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for body in bodies(&up) {
        assert_eq!(body.matches("[weir: grep").count(), 40);
        assert!(body.len() < size * 3 / 4);
    }
}

#[tokio::test]
async fn the_audit_keeps_the_hash_of_what_the_client_sent() {
    let (gateway, _up) = start("").await;
    let ask = || chat(&[result("1", &found(40))]);
    let hashes = || async {
        let audit = admin(&gateway, Ask::get("/api/audit/requests")).await.json();
        let rows = audit["requests"].as_array().unwrap().clone();
        rows.iter().map(|row| row["prompt_sha256"].clone()).collect::<Vec<Value>>()
    };
    gateway.ask(ask()).await;
    switch(&gateway, "/api/mutators/tool-results/on").await;
    gateway.ask(ask()).await;
    wait_until("both in the audit", || async { hashes().await.len() == 2 }).await;
    let hashes = hashes().await;
    assert!(hashes[0].is_string());
    assert_eq!(hashes[0], hashes[1]);
}
