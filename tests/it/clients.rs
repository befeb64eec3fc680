//! Real SDKs against the real gateway, in all four notice modes: what they read, what they refuse, and
//! that a broken stream never looks like an answer; and the same at providers of other dialects.
//!
//! The checks themselves are scripts in `tests/clients`, one per SDK. Nothing here is skipped: without the
//! SDKs a test fails and names the command that installs them.

use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::gateway::{AGENT_KEY, Gateway, Setup};
use crate::provider::{anthropic, mock, openai};

/// The modes of `stream.notice`; the scripts find each gateway in `WEIR_<MODE>`.
const MODES: [&str; 4] = ["chunk", "event", "comment", "off"];
/// Id of a model -> what it asks of the mock. Each exists for both dialects, `claude-` before the second.
const MODELS: [(&str, &str); 12] = [
    ("plain", "mock"),
    ("tools", "mock-tools"),
    ("switch", "mock-429"),
    ("switch-tools", "mock-429"),
    ("busy", "mock-503"),
    ("limited", "mock-429-retryafter=1"),
    ("cut", "mock-cut=3"),
    ("cut-half", "mock-cuthalf=3"),
    ("reset", "mock-reset=3"),
    ("clean-cut", "mock-cleancut=3"),
    ("stall", "mock-stall=3"),
    ("error-event", "mock-error=3"),
];
/// Id of a model -> what it asks of the mock. Each exists at a provider of each dialect, with the
/// provider's name before it.
const MODELS_ACROSS: [(&str, &str); 12] = [
    ("mock", "mock"),
    ("tools", "mock-tools"),
    ("counted", "mock-cached=7-written=3-reasoning=2"),
    ("busy", "mock-503"),
    ("limited", "mock-429-retryafter=1"),
    ("bad", "mock-400"),
    ("cut", "mock-cut=3"),
    ("cut-half", "mock-cuthalf=3"),
    ("reset", "mock-reset=3"),
    ("clean-cut", "mock-cleancut=3"),
    ("stall", "mock-stall=3"),
    ("error-event", "mock-error=3"),
];
/// Most time for one script. They take seconds; start-up of an interpreter on a busy machine takes more.
const SCRIPT_TIME_MAX: Duration = Duration::from_mins(3);
/// The pause between two looks whether a script has ended.
const LOOK: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn openai_python() {
    run(&python("openai_checks.py", "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_python_of_the_generation_before() {
    run(&python("openai_checks.py", ".venv/old")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_python() {
    run(&python("anthropic_checks.py", "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_python_of_the_generation_before() {
    run(&python("anthropic_checks.py", ".venv/old")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_node() {
    run(&node(&["openai_checks.mjs", "openai"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_node_of_the_generation_before() {
    run(&node(&["openai_checks.mjs", "openai-6"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anthropic_node() {
    run(&node(&["anthropic_checks.mjs"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vercel_ai() {
    run(&node(&["vercel_checks.mjs"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_across_dialects() {
    run_across(&python("translation_checks.py", "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_of_the_generation_before_across_dialects() {
    run_across(&python("translation_checks.py", ".venv/old")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_across_dialects() {
    run_across(&node(&["translation_checks.mjs", "openai"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_of_the_generation_before_across_dialects() {
    run_across(&node(&["translation_checks.mjs", "openai-6"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vercel_ai_across_dialects() {
    run_across(&node(&["vercel_translation_checks.mjs"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain_across_dialects() {
    run_across(&python("langchain_checks.py", "")).await;
}

/// One script: the words of its command and the packages that come before the installed ones.
pub struct Script<'a> {
    words: Vec<&'a str>,
    packages: &'a str,
}

pub fn python<'a>(script: &'a str, packages: &'a str) -> Script<'a> {
    Script { words: vec![".venv/bin/python", "-B", script], packages }
}

pub fn node<'a>(arguments: &[&'a str]) -> Script<'a> {
    Script { words: [&[".venv/bin/node"], arguments].concat(), packages: "" }
}

/// Runs one script against a gateway per notice mode.
async fn run(script: &Script<'_>) {
    let upstream = mock("clients").await;
    let mut gateways = Vec::new();
    for mode in MODES {
        gateways.push(Setup::new(config(upstream.addr, mode)).start().await);
    }
    play(script, &gateways).await;
}

/// Runs one script against a gateway with a provider of each dialect.
async fn run_across(script: &Script<'_>) {
    let upstream = mock("clients").await;
    let gateway = Setup::new(config_across(upstream.addr)).start().await;
    play(script, &[gateway]).await;
}

/// Runs one script; fails with what it said.
pub async fn play(script: &Script<'_>, gateways: &[Gateway]) {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    assert!(
        home.join(".venv/installed").exists() && home.join("node_modules").exists(),
        "the SDKs are missing; install them with: tests/clients/install.sh"
    );
    let said = gateways[0].folder.join("script.log");
    let ok = ends_well(&mut command(&home, script, gateways, &said)).await;
    let text = std::fs::read_to_string(&said).unwrap();
    assert!(ok, "{} failed:\n{text}", script.words.join(" "));
}

/// A configuration whose models ask for every fault, and whose idle time is short.
fn config(upstream: SocketAddr, mode: &str) -> String {
    let short = ", idle_timeout_ms: 1000";
    let mut yaml = String::from("providers:\n");
    yaml += &openai("openai", upstream, short);
    yaml += &anthropic("anthropic", upstream, short);
    yaml += "models:\n";
    for (prefix, provider) in [("", "openai"), ("claude-", "anthropic")] {
        for (id, asks) in MODELS {
            let model = format!("id: {prefix}{id}, provider: {provider}, upstream_id: {asks}");
            yaml += &["  - {", &model, ", price: {input: 1, output: 2}}\n"].concat();
        }
    }
    yaml += "routing:\n  cooldown_ms: 0\n  fallbacks:\n    switch: [plain]\n    switch-tools: [tools]\n";
    yaml += "    claude-switch: [claude-plain]\n    claude-switch-tools: [claude-tools]\n";
    yaml += "agents: {default: {}, narrow: {models: [plain]}}\n";
    yaml += &["stream: {notice: ", mode, "}\n"].concat();
    yaml
}

/// A configuration whose providers speak one dialect each, with every fault and every fixture as a model.
fn config_across(upstream: SocketAddr) -> String {
    let short = ", idle_timeout_ms: 1000";
    let mut yaml = String::from("providers:\n");
    yaml += &openai("chat", upstream, &[short, ", responses: false"].concat());
    yaml += &anthropic("claude", upstream, short);
    yaml += &openai("responses", upstream, &[short, ", chat: false"].concat());
    yaml += "models:\n";
    let mut add = |id: &str, provider: &str, asks: &str| {
        let model = format!("id: {id}, provider: {provider}, upstream_id: '{asks}'");
        writeln!(yaml, "  - {{{model}, price: {{input: 1, output: 2}}}}").unwrap();
    };
    for provider in ["chat", "claude", "responses"] {
        for (id, asks) in MODELS_ACROSS {
            add(&format!("{provider}-{id}"), provider, asks);
        }
    }
    let manifest = std::fs::read(fixtures().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    for (name, facts) in manifest["fixtures"].as_object().unwrap() {
        let provider = match facts["dialect"].as_str().unwrap() {
            "anthropic_messages" | "gateway/anthropic" => "claude",
            "openai_responses" => "responses",
            _ => "chat",
        };
        let id = format!("fixture-{}", name.replace('/', "-"));
        add(&id, provider, &format!("mock-fixture={name}+rand7"));
    }
    yaml += "routing: {cooldown_ms: 0}\n";
    yaml
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn command(home: &Path, script: &Script<'_>, gateways: &[Gateway], said: &PathBuf) -> Command {
    let out = File::create(said).unwrap();
    let mut command = Command::new(home.join(script.words[0]));
    command
        .args(&script.words[1..])
        .current_dir(home)
        .env("WEIR_KEY", AGENT_KEY)
        .env("PYTHONPATH", script.packages)
        .env("WEIR_FIXTURES", fixtures())
        .stdin(Stdio::null())
        .stderr(out.try_clone().unwrap())
        .stdout(out);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
    {
        command.env_remove(name);
    }
    // A script that is given one gateway finds it in every place.
    for (mode, gateway) in MODES.into_iter().zip(gateways.iter().cycle()) {
        command.env(format!("WEIR_{}", mode.to_uppercase()), format!("http://{}", gateway.data));
    }
    command
}

/// Waits for the end of the process, and ends it if it takes too long.
async fn ends_well(command: &mut Command) -> bool {
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + SCRIPT_TIME_MAX;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        tokio::time::sleep(LOOK).await;
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}
