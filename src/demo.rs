//! `weir demo`: a gateway with mock providers on free loopback ports, a little traffic through it, and
//! the lines to try it by hand. Needs no key, no file of the user's and no network.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use loadtest::fetch::{self, Ask, Fetched};
use loadtest::upstream::server::{MockConfig, Upstream};
use once_cell::sync::OnceCell;

use crate::app::{self, Start, say};
use crate::base::limit::{DEMO_START_MS_MAX, DEMO_TRICKLE_REQUESTS};
use crate::engine::source::Source;
use crate::identity::key;
use crate::telemetry::logging::Format;

/// The pause between two requests that keep the dashboard moving.
const TRICKLE_PAUSE: Duration = Duration::from_secs(1);
/// Whom they ask, in turn.
const TRICKLE_MODELS: [&str; 13] = [
    "auto",
    "swift",
    "auto",
    "deep",
    "saver",
    "auto",
    "swift",
    "busy",
    "claude-mock",
    "auto",
    "swift",
    "saver",
    "responses-mock",
];
/// What they ask.
const TRICKLE_PROMPTS: [&str; 7] = [
    "What is a weir?",
    "Summarize the following notes in three sentences: the river rose by two metres in the night, the gates were \
     opened at four, and by noon the level was back to normal.",
    "Write a Rust function that returns the median of a slice of integers, with a test.",
    "Extract all dates as JSON: the weir was built in 1911, raised in 1954 and repaired in March 2020.",
    "Prove step by step that the sum of the first n odd numbers is n squared.",
    "Translate into German: the water level is falling.",
    "Debug this: the gauge shows a level of -3 metres since the update, although the sensor is dry.",
];

/// Where the demonstration keeps its configuration.
static FOLDER: OnceCell<PathBuf> = OnceCell::new();

/// Where everything listens, and the key to it.
#[derive(Clone)]
struct Stage {
    data: SocketAddr,
    admin: SocketAddr,
    openai: SocketAddr,
    anthropic: SocketAddr,
    responses: SocketAddr,
    key: String,
    admin_key: String,
}

/// Runs the demonstration until a signal ends it.
///
/// # Errors
/// A port or a folder that cannot be had.
pub fn run() -> Result<(), String> {
    app::start_log(Format::Human)?;
    let stage = Stage {
        data: free_port()?,
        admin: free_port()?,
        openai: free_port()?,
        anthropic: free_port()?,
        responses: free_port()?,
        key: key::fresh(&app::random()?).key,
        admin_key: key::fresh(&app::random()?).key,
    };
    let path = write_configuration(&stage)?;
    // Whatever is set on this machine, the demonstration is the same.
    let source = Source::with_env(path, Box::new(|_| None));
    let snapshot = source.read().map_err(|problems| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    })?;
    let actors = stage.clone();
    std::thread::Builder::new()
        .name("demo".into())
        .spawn(move || perform(&actors))
        .map_err(|error| error.to_string())?;
    app::run(source, snapshot, Start::new(true, false))
}

/// Takes away what the demonstration left on the disk.
pub fn clean_up() {
    if let Some(folder) = FOLDER.get()
        && let Err(error) = std::fs::remove_dir_all(folder)
    {
        tracing::warn!(%error, "{} could not be removed", folder.display());
    }
}

fn free_port() -> Result<SocketAddr, String> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map_err(|error| error.to_string())
}

fn write_configuration(stage: &Stage) -> Result<PathBuf, String> {
    let folder = std::env::temp_dir().join(format!("weir-demo-{}", std::process::id()));
    let path = folder.join("weir.yaml");
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&path, configuration(stage, &folder)))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let _ = FOLDER.set(folder);
    Ok(path)
}

fn configuration(stage: &Stage, folder: &Path) -> String {
    let ledger = folder.join("weir.db");
    let ledger = ledger.display();
    let Stage { data, admin, openai, anthropic, responses, key, admin_key } = stage;
    format!(
        "server: {{listen: '{data}', admin: '{admin}', grace_seconds: 5}}
auth: {{agent_keys: ['{key}'], admin_keys: ['{admin_key}']}}
log: {{access: off}}
store: 'sqlite:{ledger}?synchronous=normal'
providers:
  mock-openai: {{dialect: openai, base_url: 'http://{openai}/v1', api_key: mock-openai-credential, responses: false}}
  mock-anthropic: {{dialect: anthropic, base_url: 'http://{anthropic}', api_key: mock-anthropic-credential}}
  mock-responses: {{dialect: openai, base_url: 'http://{responses}/v1', api_key: mock-responses-credential, chat: false}}
models:
  - {{id: swift, provider: mock-openai, upstream_id: mock-latency=40-chunks=12, tier: fast, price: {{input: 0.15, output: 0.60}}, output_tokens_max: 4096}}
  - {{id: deep, provider: mock-openai, upstream_id: mock-latency=300-chunks=40-cached=3, tier: oracle, price: {{input: 3.00, output: 15.00, cache_read: 0.30}}, output_tokens_max: 4096}}
  - {{id: busy, provider: mock-openai, upstream_id: mock-429, enabled: true, price: {{input: 1, output: 2}}}}
  # One of each dialect for text, and one that calls the first tool it is given; without one it speaks.
  - {{id: chat-mock, provider: mock-openai, upstream_id: mock, tier: fast, price: {{input: 0.15, output: 0.60}}}}
  - {{id: claude-mock, provider: mock-anthropic, upstream_id: mock, tier: oracle, price: {{input: 3.00, output: 15.00}}}}
  - {{id: responses-mock, provider: mock-responses, upstream_id: mock, price: {{input: 1.00, output: 8.00}}}}
  - {{id: chat-tools, provider: mock-openai, upstream_id: mock-tools=offered, price: {{input: 0.15, output: 0.60}}}}
  - {{id: claude-tools, provider: mock-anthropic, upstream_id: mock-tools=offered, price: {{input: 3.00, output: 15.00}}}}
  - {{id: responses-tools, provider: mock-responses, upstream_id: mock-tools=offered, price: {{input: 1.00, output: 8.00}}}}
aliases: {{gpt-4o: deep}}
routing:
  fallbacks: {{busy: [swift]}}
agents:
  default: {{mode: auto}}
  saver:
    mode: budget
    budget: {{limit_usd: 1.00, period: daily}}
    tiers: [{{remaining_min: 0.50, models: [deep]}}, {{remaining_min: 0, models: [swift]}}]
"
    )
}

/// The traffic, on a thread and a runtime of its own: the gateway's start when Pingora does.
fn perform(stage: &Stage) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let played = match runtime {
        Ok(runtime) => runtime.block_on(play(stage)),
        Err(error) => Err(error),
    };
    if let Err(error) = played {
        app::say_error(&format!("the demonstration broke off: {error}"));
    }
}

async fn play(stage: &Stage) -> std::io::Result<()> {
    let mock =
        |listen, name: &str| MockConfig { listen, name: name.to_owned(), ..MockConfig::default() };
    let _openai = Upstream::start(mock(stage.openai, "mock-openai")).await?;
    let _anthropic = Upstream::start(mock(stage.anthropic, "mock-anthropic")).await?;
    let _responses = Upstream::start(mock(stage.responses, "mock-responses")).await?;
    wait_until_up(stage).await?;
    say("weir demo: a gateway and three mock providers are up. A little traffic:\n");
    show("a named model", &chat(stage, "swift", false).await?);
    show("an alias, streamed", &chat(stage, "gpt-4o", true).await?);
    show(
        "a model whose provider answers 429: the next one takes over, and says so",
        &chat(stage, "busy", true).await?,
    );
    for _ in 0..2 {
        show("`auto`: turn by turn", &chat(stage, "auto", false).await?);
    }
    show("Anthropic Messages", &messages(stage, "claude-mock").await?);
    show("the same client at a Chat provider: translated", &messages(stage, "chat-mock").await?);
    show("a wrong model", &chat(stage, "deeep", false).await?);
    show("an agent with a budget of 1 USD", &saver(stage).await?);
    set_spent(stage, "0.70").await?;
    show("the same agent when 30 % is left: its cheaper tier", &saver(stage).await?);
    set_spent(stage, "1").await?;
    show("and when nothing is left", &saver(stage).await?);
    set_spent(stage, "0.2").await?;
    say(&instructions(stage));
    if let Err(error) = trickle(stage).await {
        app::say_error(&format!("the sample requests have ended early: {error}"));
    }
    std::future::pending().await
}

/// A gentle stream of requests for ten minutes, so that the dashboard has something to show.
async fn trickle(stage: &Stage) -> std::io::Result<()> {
    let mut pause = tokio::time::interval(TRICKLE_PAUSE);
    for turn in 0..DEMO_TRICKLE_REQUESTS {
        pause.tick().await;
        let prompt = TRICKLE_PROMPTS[turn % TRICKLE_PROMPTS.len()];
        let model = TRICKLE_MODELS[turn % TRICKLE_MODELS.len()];
        let (agent, model) = if model == "saver" { (model, "auto") } else { ("default", model) };
        let body = serde_json::json!({
            "model": model, "stream": turn % 3 == 0, "messages": [{"role": "user", "content": prompt}],
        });
        let authorization = format!("Bearer {}", stage.key);
        let headers = [("authorization", authorization.as_str()), ("x-agent-id", agent)];
        send((stage.data, "/v1/chat/completions"), &headers, &body.to_string()).await?;
    }
    Ok(())
}

async fn wait_until_up(stage: &Stage) -> std::io::Result<()> {
    let up = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            look.tick().await;
            let ask =
                Ask { addr: stage.data, method: "GET", path: "/readyz", headers: &[], body: b"" };
            if fetch::fetch(ask).await.is_ok() {
                return;
            }
        }
    };
    let wait = Duration::from_millis(DEMO_START_MS_MAX);
    tokio::time::timeout(wait, up).await.map_err(|_| std::io::ErrorKind::TimedOut.into())
}

async fn chat(stage: &Stage, model: &str, stream: bool) -> std::io::Result<Fetched> {
    let body = format!(
        r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"What is a weir?"}}]}}"#
    );
    post(stage, "/v1/chat/completions", &body).await
}

async fn messages(stage: &Stage, model: &str) -> std::io::Result<Fetched> {
    let body = format!(
        r#"{{"model":"{model}","max_tokens":64,"messages":[{{"role":"user","content":"What is a weir?"}}]}}"#
    );
    post(stage, "/v1/messages", &body).await
}

/// A request of the agent that has a budget; the budget chooses the model.
async fn saver(stage: &Stage) -> std::io::Result<Fetched> {
    let body = r#"{"model":"auto","messages":[{"role":"user","content":"What is a weir?"}]}"#;
    let authorization = format!("Bearer {}", stage.key);
    let headers = [("authorization", authorization.as_str()), ("x-agent-id", "saver")];
    send((stage.data, "/v1/chat/completions"), &headers, body).await
}

/// Says what that agent has spent, as a control plane may (S0-16).
async fn set_spent(stage: &Stage, usd: &str) -> std::io::Result<()> {
    let authorization = format!("Bearer {}", stage.admin_key);
    let headers = [("authorization", authorization.as_str())];
    let body = format!(r#"{{"budget_spent":{usd}}}"#);
    let answer = send((stage.admin, "/api/budget/saver"), &headers, &body).await?;
    if answer.status == 200 { Ok(()) } else { Err(std::io::Error::other(answer.text())) }
}

async fn post(stage: &Stage, path: &str, body: &str) -> std::io::Result<Fetched> {
    let authorization = format!("Bearer {}", stage.key);
    let headers = [("authorization", authorization.as_str()), ("anthropic-version", "2023-06-01")];
    send((stage.data, path), &headers, body).await
}

async fn send(
    (addr, path): (SocketAddr, &str),
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Fetched> {
    fetch::fetch(Ask { addr, method: "POST", path, headers, body: body.as_bytes() }).await
}

fn show(what: &str, answer: &Fetched) {
    let switched = if answer.header("x-gateway-switched") == "1" { ", switched" } else { "" };
    let (model, attempts) =
        (answer.header("x-gateway-model-used"), answer.header("x-gateway-attempt-count"));
    say(&format!("- {what}: {}", answer.status));
    if !model.is_empty() {
        say(&format!("    model {model}, attempts {attempts}{switched}"));
    }
    let text = answer.text();
    let first = text.lines().find(|line| line.contains("gateway_notice")).or(text.lines().next());
    let line: String = first.unwrap_or_default().chars().take(160).collect();
    say(&format!("    {line}"));
}

fn instructions(stage: &Stage) -> String {
    let Stage { data, admin, key, admin_key, .. } = stage;
    let folder = FOLDER.get().map_or_else(String::new, |folder| folder.display().to_string());
    format!(
        "
data plane  http://{data}/v1      (OpenAI base URL; Anthropic: http://{data})
admin port  http://{admin}        /metrics /status /openapi.json
dashboard   http://{admin}/ui     key: {admin_key}
settings    {folder}/weir.yaml    (edit it: it is reloaded at once)

curl http://{data}/v1/chat/completions -H 'authorization: Bearer {key}' \\
  -d '{{\"model\":\"auto\",\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}'
curl -N http://{data}/v1/chat/completions -H 'authorization: Bearer {key}' \\
  -d '{{\"model\":\"busy\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}'
curl http://{data}/v1/messages -H 'x-api-key: {key}' -H 'anthropic-version: 2023-06-01' \\
  -d '{{\"model\":\"claude-mock\",\"max_tokens\":64,\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}'
# any client reaches any provider: chat-mock, claude-mock and responses-mock by each of the three APIs
# (and chat-tools, claude-tools, responses-tools, which call the first tool that they are given)
curl -N http://{data}/v1/messages -H 'x-api-key: {key}' -H 'anthropic-version: 2023-06-01' \\
  -d '{{\"model\":\"chat-mock\",\"stream\":true,\"max_tokens\":64,\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}'
curl http://{data}/v1/responses -H 'authorization: Bearer {key}' -d '{{\"model\":\"claude-mock\",\"input\":\"hi\"}}'
curl http://{data}/v1/models -H 'authorization: Bearer {key}'
curl -s http://{admin}/metrics | grep ^weir_
curl http://{admin}/api/spend -H 'authorization: Bearer {admin_key}'
curl -X POST http://{admin}/api/reset/saver -H 'authorization: Bearer {admin_key}'
curl 'http://{admin}/api/stats?range=1h' -H 'authorization: Bearer {admin_key}'
curl -X POST http://{admin}/api/reload -H 'authorization: Bearer {admin_key}'

A sample request a second follows for ten minutes, so that the dashboard has something to show. Ctrl-C ends it."
    )
}
