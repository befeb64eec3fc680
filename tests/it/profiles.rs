//! Accounts, switches and the audit over sockets (S3-05 to S3-14, S3-18): what an operator sets through the
//! API is what the next request meets, and no credential is ever seen again.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::budget::{admin, spent_nano};
use crate::client::{Answer, Ask};
use crate::gateway::{AGENT_KEY, Gateway, Setup, wait_until};
use crate::provider::{mock, openai, read_request};

const MARKER: &str = "sk-MARKER-7f3a9c";
/// 32 bytes in base64.
const KMS_KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";

/// A provider that answers each key in its own way and remembers who asked.
struct ByKey {
    address: SocketAddr,
    /// The key and the model of each request.
    asked: Arc<Mutex<Vec<(String, String)>>>,
    statuses: Arc<Mutex<HashMap<String, u16>>>,
    serving: JoinHandle<()>,
}

impl ByKey {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let statuses: Arc<Mutex<HashMap<String, u16>>> = Arc::default();
        let (seen, answers) = (Arc::clone(&asked), Arc::clone(&statuses));
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some((head, body)) = read_request(&mut stream).await else { continue };
                let key = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    let ours = ["authorization", "x-api-key"]
                        .iter()
                        .any(|one| name.eq_ignore_ascii_case(one));
                    ours.then(|| value.trim_start_matches("Bearer ").to_owned())
                });
                let key = key.unwrap_or_default();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let model = body["model"].as_str().unwrap_or_default().to_owned();
                let status = answers.lock().get(&key).copied().unwrap_or(200);
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                seen.lock().push((key, model));
                let _ = stream.write_all(answer_of(status, &path).as_bytes()).await;
            }
        });
        Self { address, asked, statuses, serving }
    }

    fn answers(&self, key: &str, status: u16) {
        self.statuses.lock().insert(key.to_owned(), status);
    }

    fn keys_asked(&self) -> Vec<String> {
        self.asked.lock().drain(..).map(|(key, _)| key).collect()
    }

    fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

impl Drop for ByKey {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn answer_of(status: u16, path: &str) -> String {
    let body = if path.ends_with("/models") {
        json!({"object": "list", "data": [{"id": "listed-1"}, {"id": "listed-2"}, {"nothing": 1}]})
    } else {
        json!({
            "id": "c", "object": "chat.completion", "model": "m", "choices": [{"index": 0,
            "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        })
    };
    let body =
        if status == 200 { body } else { json!({"error": {"message": "no", "code": status}}) };
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Agents that are switched by hand, but for `free`, and what the test adds to `profiles`.
fn config(file_provider: SocketAddr, profiles: &str) -> String {
    format!(
        "providers:\n{}models:\n  - {{id: of-file, provider: up, upstream_id: mock-file}}\nprofiles: {{kms_key: \
         '{KMS_KEY}'{profiles}}}\nagents:\n  default: {{mode: manual}}\n  free: {{}}\n  own: {{mode: manual, keys: \
         [it-bound-key-0123456789]}}\n",
        openai("up", file_provider, "")
    )
}

async fn start(file_provider: SocketAddr, profiles: &str) -> Gateway {
    Setup::new(config(file_provider, profiles)).start().await
}

async fn post(gateway: &Gateway, path: &str, body: Value) -> Answer {
    let ask = Ask::post(path, body.to_string()).header("content-type", "application/json");
    admin(gateway, ask).await
}

async fn add(gateway: &Gateway, name: &str, (key, url): (&str, &str)) -> String {
    let answer = post(
        gateway,
        "/admin/profiles",
        json!({"profile_name": name, "provider_type": "openai_compatible",
               "credentials": {"api_key": key}, "base_url": url}),
    )
    .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn switch(gateway: &Gateway, agent: &str, (profile, model): (&str, &str)) -> Answer {
    let body = json!({"agent_id": agent, "profile_name": profile, "model_name": model});
    let ask = Ask::post("/api/switch", body.to_string()).bearer(AGENT_KEY);
    // On the data plane, where agents are.
    gateway.ask(ask.header("content-type", "application/json")).await
}

fn chat(agent: &str, model: &str, stream: bool) -> Ask {
    Ask::chat(model, stream).header("x-agent-id", agent)
}

#[tokio::test]
async fn an_agent_follows_its_switch_at_once_whatever_it_asks_for() {
    let up = mock("up").await;
    let gateway = start(up.addr, ", allow_private: true").await;
    let url = format!("http://{}/v1", up.addr);
    add(&gateway, "prod", (MARKER, &url)).await;
    add(&gateway, "dev", ("sk-dev", &url)).await;

    let none = gateway.ask(chat("worker", "of-file", false)).await;
    assert_eq!(none.status, 400);
    assert!(none.text().contains("No active model set for agent_id"), "{}", none.text());

    let switched = switch(&gateway, "worker", ("prod", "mock-one")).await;
    assert_eq!(switched.status, 200, "{}", switched.text());
    assert_eq!(
        (&switched.json()["created"], &switched.json()["mode"]),
        (&json!(true), &json!("manual"))
    );
    let answer = gateway.ask(chat("worker", "no-such-model", false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-gateway-model-used"), "prod::mock-one");
    assert_eq!(
        (answer.header("x-gateway-provider"), answer.header("x-gateway-switched")),
        ("prod", "0")
    );
    let streamed = gateway.ask(chat("worker", "x", true)).await;
    assert!(
        streamed.status == 200 && streamed.text().contains("data: [DONE]"),
        "{}",
        streamed.text()
    );
    assert!(!streamed.text().contains("gateway_notice"));
    assert_eq!(up.requests().last().unwrap().model.as_deref(), Some("mock-one"));

    switch(&gateway, "worker", ("up", "mock-file")).await;
    let answer = gateway.ask(chat("worker", "x", false)).await;
    assert_eq!(answer.header("x-gateway-model-used"), "of-file");
    let other = gateway.ask(chat("somebody", "x", false)).await;
    assert_eq!(other.status, 400, "each agent has a switch of its own: {}", other.text());

    let active = Ask::get("/api/active?agent_id=worker").bearer(AGENT_KEY);
    assert_eq!(gateway.ask(active).await.json()["model"], "up::mock-file");
    let audit = admin(&gateway, Ask::get("/api/audit/switches")).await.json();
    let rows = audit["switches"].as_array().unwrap();
    let steps: Vec<(&Value, &Value)> = rows.iter().map(|row| (&row["from"], &row["to"])).collect();
    assert_eq!(
        steps,
        [
            (&Value::Null, &json!("prod::mock-one")),
            (&json!("prod::mock-one"), &json!("up::mock-file"))
        ]
    );
}

#[tokio::test]
async fn a_bound_key_switches_its_own_agent_only_and_bad_switches_are_refused() {
    let up = mock("up").await;
    let gateway = start(up.addr, ", allow_private: true").await;
    add(&gateway, "prod", ("sk-x", &format!("http://{}/v1", up.addr))).await;
    let bound = |agent: &str| {
        let body = json!({"agent_id": agent, "profile_name": "prod", "model_name": "mock-one"});
        Ask::post("/api/switch", body.to_string()).bearer("it-bound-key-0123456789")
    };
    assert_eq!(gateway.ask(bound("other")).await.status, 403);
    assert_eq!(gateway.ask(bound("own")).await.status, 200);
    assert_eq!(gateway.ask_admin(bound("own")).await.status, 200);
    let body = json!({"model_name": "off", "profile_name": "prod", "enabled": false});
    assert_eq!(post(&gateway, "/admin/models", body).await.status, 200);
    let disabled = switch(&gateway, "worker", ("prod", "off")).await;
    assert!(
        disabled.status == 400 && disabled.text().contains("model_name"),
        "{}",
        disabled.text()
    );
    let unknown = switch(&gateway, "worker", ("nobody", "m")).await;
    assert!(unknown.status == 404 && unknown.text().contains("profile_name"), "{}", unknown.text());
    let keyless = Ask::post("/api/switch", "{}").without("authorization");
    assert_eq!(gateway.ask(keyless).await.status, 401);
    let read = Ask::get("/api/switch").bearer(AGENT_KEY);
    assert_eq!(gateway.ask(read).await.status, 405);
    switch(&gateway, "worker", ("prod", "mock-one")).await;
    let body = json!({"model_name": "mock-one", "profile_name": "prod", "enabled": false});
    post(&gateway, "/admin/models", body).await;
    let refused = gateway.ask(chat("worker", "x", false)).await;
    assert!(refused.status == 400 && refused.text().contains("is disabled"), "{}", refused.text());
}

#[tokio::test]
async fn models_of_accounts_are_listed_named_and_synced() {
    let (up, other) = (mock("up").await, ByKey::start().await);
    let gateway = start(up.addr, ", allow_private: true").await;
    let id = add(&gateway, "lab", ("sk-lab", &other.url())).await;
    let synced = post(&gateway, &format!("/admin/profiles/{id}/sync-models"), json!({})).await;
    assert_eq!(synced.json(), json!({"ok": true, "count": 2, "models": ["listed-1", "listed-2"]}));
    assert_eq!(other.keys_asked(), ["sk-lab"]);
    let list = gateway.ask(Ask::get("/v1/models").bearer(AGENT_KEY)).await.json();
    let ids: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    for wanted in ["of-file", "lab::listed-1", "lab::listed-2", "auto"] {
        assert!(ids.contains(&wanted), "{ids:?}");
    }
    let one = gateway.ask(Ask::get("/v1/models/lab::listed-1").bearer(AGENT_KEY)).await;
    assert_eq!((one.status, &one.json()["owned_by"]), (200, &json!("lab")));
    for name in ["lab::listed-1", "listed-1"] {
        let answer = gateway.ask(chat("free", name, false)).await;
        assert_eq!(answer.header("x-gateway-model-used"), "lab::listed-1", "{}", answer.text());
    }
    other.answers("sk-lab", 401);
    let failed = post(&gateway, &format!("/admin/profiles/{id}/sync-models"), json!({})).await;
    assert_eq!(
        (failed.status, failed.json()),
        (200, json!({"ok": false, "error": "it answered 401"}))
    );
    let unknown = post(&gateway, "/admin/profiles/00ff/sync-models", json!({})).await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn another_account_of_the_provider_takes_over_where_a_key_is_refused_or_used_up() {
    let (up, provider) = (mock("up").await, ByKey::start().await);
    let gateway = start(up.addr, ", allow_private: true").await;
    for (name, key) in [("a", "sk-a"), ("b", "sk-b"), ("c", "sk-c")] {
        add(&gateway, name, (key, &provider.url())).await;
        let body = json!({"profile_name": name, "model_name": "m"});
        assert_eq!(post(&gateway, "/admin/models", body).await.status, 200);
    }
    provider.answers("sk-a", 401);
    provider.answers("sk-b", 429);
    let answer = gateway.ask(chat("free", "a::m", false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(provider.keys_asked(), ["sk-a", "sk-b", "sk-c"]);
    let seen = |name| answer.header(name).to_owned();
    assert_eq!(seen("x-gateway-provider"), "c");
    assert_eq!(
        (seen("x-gateway-switched"), seen("x-gateway-attempt-count")),
        ("0".into(), "3".into())
    );
    assert!(!answer.text().contains("gateway_notice"), "{}", answer.text());
    let again = gateway.ask(chat("free", "a::m", false)).await;
    assert_eq!(
        (again.status, provider.keys_asked()),
        (200, vec!["sk-c".to_owned()]),
        "the others rest"
    );
    // A provider that is down is not asked once for every key.
    for key in ["sk-a", "sk-b", "sk-c"] {
        provider.answers(key, 500);
    }
    let failed = gateway.ask(chat("free", "c::m", false)).await;
    assert_eq!((failed.status, provider.keys_asked().len()), (500, 1), "{}", failed.text());
}

#[tokio::test]
async fn the_keys_of_a_provider_of_the_file_are_tried_in_turn() {
    let provider = ByKey::start().await;
    let yaml = format!(
        "providers:\n  p: {{dialect: openai, base_url: '{}', api_keys: [sk-1, sk-2]}}\nmodels:\n  - {{id: m, \
         provider: p}}\n",
        provider.url()
    );
    let gateway = Setup::new(yaml).start().await;
    provider.answers("sk-1", 403);
    for (count, keys) in [("2", vec!["sk-1", "sk-2"]), ("1", vec!["sk-2"])] {
        let answer = gateway.ask(Ask::chat("m", false)).await;
        assert_eq!((answer.status, answer.header("x-gateway-switched")), (200, "0"));
        assert_eq!(answer.header("x-gateway-attempt-count"), count);
        assert_eq!(provider.keys_asked(), keys);
    }
    provider.answers("sk-2", 401);
    let answer = gateway.ask(Ask::chat("m", false)).await;
    assert_eq!((answer.status, answer.openai_code()), (502, "upstream_auth_failed".into()));
}

#[tokio::test]
async fn a_restart_keeps_everything_and_a_used_account_cannot_be_removed() {
    let up = mock("up").await;
    let gateway = start(up.addr, ", allow_private: true").await;
    let id = add(&gateway, "prod", ("sk-x", &format!("http://{}/v1", up.addr))).await;
    switch(&gateway, "worker", ("prod", "mock-one")).await;
    let gateway = gateway.killed_and_started().await;
    let answer = gateway.ask(chat("worker", "x", false)).await;
    assert_eq!(answer.header("x-gateway-model-used"), "prod::mock-one", "{}", answer.text());
    let remove = || Ask::new("DELETE", &format!("/admin/profiles/{id}"));
    assert_eq!(admin(&gateway, remove()).await.status, 409);
    switch(&gateway, "worker", ("up", "mock-file")).await;
    assert_eq!(admin(&gateway, remove()).await.status, 200);
    assert_eq!(admin(&gateway, remove()).await.status, 404);
    let gone = gateway.ask(chat("free", "prod::mock-one", false)).await;
    assert_eq!((gone.status, gone.openai_code()), (404, "model_not_found".into()));
    assert_eq!(gateway.reload().await.status, 200);
    let answer = gateway.ask(chat("worker", "x", false)).await;
    assert_eq!(answer.header("x-gateway-model-used"), "of-file");
}

#[tokio::test]
async fn accounts_cannot_lead_into_the_own_network() {
    let up = mock("up").await;
    let gateway = start(up.addr, "").await;
    let port = up.addr.port();
    for host in [
        "127.0.0.1",
        "[::1]",
        "localhost",
        "2130706433",
        "0177.0.0.1",
        "169.254.169.254",
        "[::ffff:127.0.0.1]",
    ] {
        let body = json!({"profile_name": "x", "provider_type": "openai_compatible",
                          "credentials": {"api_key": MARKER}, "base_url": format!("http://{host}:{port}/v1")});
        let answer = post(&gateway, "/admin/profiles", body).await;
        let text = answer.text();
        assert!(answer.status == 400 && text.contains("base_url"), "{host}: {text}");
        assert!(!text.contains(MARKER));
    }
    assert_eq!(up.requests().len(), 0);
}

#[tokio::test]
async fn an_account_made_before_the_fence_stood_is_not_connected_to() {
    let up = mock("up").await;
    let gateway = start(up.addr, ", allow_private: true").await;
    let id =
        add(&gateway, "prod", ("sk-x", &format!("http://localhost:{}/v1", up.addr.port()))).await;
    switch(&gateway, "worker", ("prod", "mock-one")).await;
    assert_eq!(gateway.ask(chat("worker", "x", false)).await.status, 200);
    let config = std::fs::read_to_string(gateway.config()).unwrap();
    std::fs::write(gateway.config(), config.replace(", allow_private: true", "")).unwrap();
    assert_eq!(gateway.reload().await.status, 200);
    let before = up.requests().len();
    let refused = gateway.ask(chat("worker", "x", false)).await;
    assert_eq!((refused.status, refused.openai_code()), (502, "upstream_unreachable".into()));
    let synced =
        post(&gateway, &format!("/admin/profiles/{id}/sync-models"), json!({})).await.json();
    assert_eq!((&synced["ok"], synced["error"].is_string()), (&json!(false), true));
    assert_eq!(up.requests().len(), before);
}

#[tokio::test]
async fn a_credential_is_never_seen_again() {
    let (up, provider) = (mock("up").await, ByKey::start().await);
    let gateway = start(up.addr, ", allow_private: true").await;
    let mut seen: Vec<String> = Vec::new();
    let body = json!({"profile_name": "prod", "provider_type": "openai",
                      "credentials": {"api_key": MARKER}, "base_url": provider.url()});
    let made = post(&gateway, "/admin/profiles", body.clone()).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    seen.push(made.text());
    seen.push(post(&gateway, "/admin/profiles", body).await.text());
    let broken =
        Ask::post("/admin/profiles", format!("{{\"credentials\": {{\"api_key\": \"{MARKER}"));
    seen.push(admin(&gateway, broken).await.text());
    seen.push(post(&gateway, &format!("/admin/profiles/{id}/sync-models"), json!({})).await.text());
    seen.push(switch(&gateway, "worker", ("prod", "m")).await.text());
    for status in [200, 401, 429, 500] {
        provider.answers(MARKER, status);
        for stream in [false, true] {
            seen.push(gateway.ask(chat("worker", "x", stream)).await.text());
        }
        seen.push(
            post(&gateway, &format!("/admin/profiles/{id}/sync-models"), json!({})).await.text(),
        );
    }
    assert!(provider.keys_asked().iter().any(|key| key == MARKER), "it was really used");
    for path in [
        "/admin/profiles",
        "/api/models",
        "/api/active?agent_id=worker",
        "/api/audit/switches",
        "/api/audit/requests",
        "/status",
        "/health",
        "/metrics",
        "/api/spend",
        "/openapi.json",
    ] {
        seen.push(admin(&gateway, Ask::get(path)).await.text());
    }
    assert_eq!(admin(&gateway, Ask::new("POST", "/api/reload")).await.status, 200);
    gateway.lines_when(8).await;
    for text in &seen {
        assert!(!text.contains(MARKER), "{text}");
    }
    let marked = files_with(&gateway.folder, MARKER.as_bytes());
    assert!(marked.is_empty(), "{marked:?}");
    let gateway = gateway.killed_and_started().await;
    let marked = files_with(&gateway.folder, MARKER.as_bytes());
    assert!(marked.is_empty(), "{marked:?}");
    assert!(!gateway.said().contains(MARKER));
}

/// The files of a folder that hold those bytes: store, logs, whatever else is there.
fn files_with(folder: &Path, marker: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        if memchr::memmem::find(&bytes, marker).is_some() {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test]
async fn proxied_requests_are_in_the_audit_by_their_hash() {
    let up = mock("up").await;
    let gateway = start(up.addr, ", allow_private: true").await;
    add(&gateway, "prod", ("sk-x", &format!("http://{}/v1", up.addr))).await;
    switch(&gateway, "worker", ("prod", "mock-one")).await;
    let answer = gateway.ask(chat("worker", "x", false)).await;
    assert_eq!(answer.status, 200);
    let rows = || async {
        let audit = admin(&gateway, Ask::get("/api/audit/requests")).await.json();
        audit["requests"].as_array().unwrap().clone()
    };
    wait_until("the request in the audit", || async { !rows().await.is_empty() }).await;
    let row = rows().await.remove(0);
    assert_eq!((&row["provider"], &row["status"]), (&json!("prod"), &json!(200)));
    assert_eq!(row["request_id"], answer.header("x-gateway-request-id"));
    assert_eq!(row["prompt_sha256"].as_str().unwrap().len(), 64);
    assert_eq!((&row["agent_id"], &row["model"]), (&json!("worker"), &json!("prod::mock-one")));
}

#[tokio::test]
async fn a_hard_cap_holds_for_accounts_by_the_prices_of_the_file() {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: mock-priced, provider: up, price: {{input: 1, output: 2}}, context_tokens: \
         10000, output_tokens_max: 100}}\nprofiles: {{kms_key: '{KMS_KEY}', allow_private: true}}\nagents:\n  \
         default: {{mode: manual, budget: {{limit_usd: 1, hard_cap: true}}}}\n",
        openai("up", up.addr, "")
    );
    let gateway = Setup::new(yaml).start().await;
    add(&gateway, "prod", ("sk-x", &format!("http://{}/v1", up.addr))).await;
    assert_eq!(switch(&gateway, "worker", ("prod", "mock-nobody-knows")).await.status, 200);
    let refused = gateway.ask(chat("worker", "x", false)).await;
    assert_eq!(refused.status, 402, "{}", refused.text());
    assert_eq!(up.requests().len(), 0, "nothing is sent that cannot be bounded");
    assert_eq!(switch(&gateway, "worker", ("prod", "mock-priced")).await.status, 200);
    let answer = gateway.ask(chat("worker", "x", false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.has("x-gateway-budget-remaining-usd"));
    assert!(spent_nano(&gateway, "default").await > 0);
}

#[tokio::test]
async fn a_reload_with_a_wrong_key_changes_nothing_and_says_why() {
    let (provider, up) = (ByKey::start().await, mock("up").await);
    let gateway = start(up.addr, ", allow_private: true").await;
    add(&gateway, "one", ("sk-one-0123456789", &provider.url())).await;
    assert_eq!(switch(&gateway, "default", ("one", "m")).await.status, 200);
    let config = config(up.addr, ", allow_private: true");
    let other = KMS_KEY.replacen("a2tr", "b2tr", 1);
    gateway.write(&config.replace(KMS_KEY, &other));
    let answer = gateway.reload().await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("profiles.kms_key"), "{}", answer.text());
    assert_eq!(gateway.ask(chat("default", "x", false)).await.status, 200);
    // With the former key named beside it, it is a step of a rotation.
    gateway.write(&config.replace(
        &format!("kms_key: '{KMS_KEY}'"),
        &format!("kms_key: '{other}', kms_keys_old: ['{KMS_KEY}']"),
    ));
    assert_eq!(gateway.reload().await.status, 200);
    assert_eq!(gateway.ask(chat("default", "x", false)).await.status, 200);
}

#[tokio::test]
async fn a_switch_leads_clients_of_every_dialect_to_the_account() {
    let up = mock("up").await;
    let gateway = start(up.addr, ", allow_private: true").await;
    add(&gateway, "one", ("sk-one-0123456789", &format!("http://{}/v1", up.addr))).await;
    assert_eq!(switch(&gateway, "default", ("one", "mock-1")).await.status, 200);
    for stream in [false, true] {
        for ask in [Ask::chat("x", stream), Ask::messages("x", stream), Ask::responses("x", stream)]
        {
            let answer = gateway.ask(ask).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(answer.text().contains("w3 "), "{}", answer.text());
            let seen = up.requests().pop().unwrap();
            assert_eq!(
                (&*seen.path, seen.model.as_deref()),
                ("/v1/chat/completions", Some("mock-1"))
            );
        }
    }
}
