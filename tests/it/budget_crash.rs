//! Processes that die, files that cannot be used: what is booked outlives them, and never falls below the
//! provider's own bill.
//!
//! Ends of single attempts are in `budget_ends`. Nothing here kills a process that it did not start.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use loadtest::upstream::server::Upstream;
use serde_json::Value;

use crate::budget::{admin, nano, push};
use crate::client::{Ask, Line};
use crate::gateway::{Gateway, SOON, Setup, free_port, new_folder, wait_until};
use crate::provider::{mock, openai};

/// How often the gateway is killed.
const KILLS: u64 = 6;
/// Clients that ask without a pause.
const CLIENTS: usize = 8;
/// The hard cap of `agent-0`, so low that it is reached.
const TIGHT_NANO: i64 = 8_000_000;

const AGENTS: [&str; 3] = ["agent-0", "agent-1", "agent-2"];

async fn start() -> (Gateway, Upstream) {
    let up = mock("up").await;
    let model = |id: &str, faults: &str| {
        format!(
            "  - {{id: {id}, provider: up, upstream_id: 'mock-price=1:2-tokens=bytes-{faults}', price: {{input: 1, \
             output: 2}}, context_tokens: 100000, output_tokens_max: 400}}\n"
        )
    };
    let yaml = format!(
        "providers:\n{}models:\n{}{}{}{}routing: {{cooldown_ms: 0}}\nagents:\n  default: {{}}\n  agent-0: \
         {{budget: {{limit_usd: 0.008}}}}\n  agent-1: {{budget: {{limit_usd: 5}}}}\n  agent-2: {{budget: \
         {{limit_usd: 5}}, session_budget: {{limit_usd: 1}}}}\n",
        openai("up", up.addr, ""),
        model("quick", "chunks=50"),
        model("streamed", "chunks=30-interval=2"),
        model("late", "chunks=90-latency=15"),
        model("cut", "chunks=80-cut=20"),
    );
    (Setup::new(yaml).start().await, up)
}

/// Asks until it is told to stop; what becomes of an answer is of no interest.
async fn ask_on(address: std::net::SocketAddr, client: usize, stop: Arc<AtomicBool>) {
    let models = [("quick", false), ("streamed", true), ("late", false), ("cut", true)];
    let mut turn = client;
    while !stop.load(Ordering::Relaxed) {
        let (model, stream) = models[turn % models.len()];
        let ask = Ask::chat(model, stream)
            .header("x-agent-id", AGENTS[turn % AGENTS.len()])
            .header("x-session-id", &format!("s{}", turn % 2));
        turn += 1;
        match Line::open(address).await {
            Ok(mut line) => drop(line.ask(&ask).await),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// A seeded sequence, so that a failure can be had again (xorshift).
pub fn dice(seed: &mut usize, sides: usize) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % sides
}

async fn total(gateway: &Gateway, field: &str) -> i64 {
    let all = admin(gateway, Ask::get("/api/spend/fleet")).await;
    assert_eq!(all.status, 200, "{}", all.text());
    nano(&all.text(), field)
}

/// Count and sum of what is in limbo.
pub async fn limbo(gateway: &Gateway) -> (usize, i64) {
    let listed = admin(gateway, Ask::get("/api/limbo")).await;
    assert_eq!(listed.status, 200, "{}", listed.text());
    let count = listed.json()["count"].as_u64().unwrap();
    (usize::try_from(count).unwrap(), nano(&listed.text(), "total"))
}

/// A command of `weir ledger` on the ledger in that folder.
pub fn ledger(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("ledger")
        .args(args)
        .args(["--file", "weir.db"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// All that a command printed.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// After a crash: nothing is held, everything that was is in limbo, and the books cover the bill.
async fn audit(gateway: &Gateway, up: &Upstream, round: u64) {
    wait_until("what the dead process held is settled", || async {
        total(gateway, "budget_held").await == 0
    })
    .await;
    let no_request_runs =
        |lines: &[loadtest::upstream::bill::BillLine]| lines.iter().all(|line| line.ended);
    assert!(up.wait_for_bill(SOON, no_request_runs).await, "round {round}");
    let (spent, billed) = (total(gateway, "budget_spent").await, up.bill_total());
    assert!(spent >= billed, "round {round}: spent {spent}, billed {billed}");
    wait_until("what is not exact is in limbo", || async {
        spent - limbo(gateway).await.1 <= billed
    })
    .await;
    let tight = admin(gateway, Ask::get("/api/spend/agent-0")).await.text();
    assert!(nano(&tight, "budget_spent") <= TIGHT_NANO, "round {round}: {tight}");
    let verified = ledger(&gateway.folder, &["verify"]);
    assert_eq!(verified.status.code(), Some(0), "round {round}: {}", said(&verified));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_never_forgets_what_was_billed() {
    let (mut gateway, up) = start().await;
    let mut seed = 0x5EED_0003_usize;
    for round in 0..KILLS {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = up.bill().len();
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(ask_on(gateway.data, client + dice(&mut seed, 7), stop.clone()));
        }
        // The point of the kill: after so many more requests have come to the provider, and a little later.
        let requests = asked + 3 + dice(&mut seed, 60);
        assert!(up.wait_for_bill(SOON, |lines| lines.len() >= requests).await);
        for _ in 0..dice(&mut seed, 500) {
            tokio::task::yield_now().await;
        }
        stop.store(true, Ordering::Relaxed);
        gateway = gateway.killed_and_started().await;
        clients.join_all().await;
        audit(&gateway, &up, round).await;
    }
    assert!(limbo(&gateway).await.0 > 0, "no kill met a request under way");
}

/// Runs `weir serve` where it must not start.
fn refused(folder: &Path, store: &str) -> String {
    let yaml = format!(
        "server: {{listen: '{}', admin: '{}'}}\nstore: 'sqlite:{store}'\nproviders: {{up: {{dialect: openai, \
         base_url: 'http://127.0.0.1:9/v1', api_key: k}}}}\nmodels: [{{id: m, provider: up}}]\n",
        free_port(),
        free_port()
    );
    fs::write(folder.join("refused.yaml"), yaml).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["serve", "-c", "refused.yaml"])
        .current_dir(folder)
        .env_remove("WEIR_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{store}: {}", said(&output));
    said(&output)
}

#[test]
fn a_ledger_in_a_folder_that_is_not_there_ends_the_start() {
    let folder = new_folder();
    let said = refused(&folder, "nowhere/weir.db");
    assert!(said.contains("store: ") && said.contains("nowhere/weir.db"), "{said}");
    assert!(!folder.join("nowhere").exists());
}

#[test]
fn a_file_that_is_no_ledger_ends_the_start_and_is_left_alone() {
    let folder = new_folder();
    let text = "something else entirely\n".repeat(500);
    fs::write(folder.join("other.db"), &text).unwrap();
    let said = refused(&folder, "other.db");
    assert!(said.contains("other.db is not a ledger that can be used"), "{said}");
    assert_eq!(fs::read_to_string(folder.join("other.db")).unwrap(), text);
    // A database of somebody else.
    let conn = rusqlite::Connection::open(folder.join("theirs.db")).unwrap();
    conn.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1);").unwrap();
    drop(conn);
    let said = refused(&folder, "theirs.db");
    assert!(said.contains("theirs.db is not a ledger that can be used"), "{said}");
}

#[tokio::test]
async fn a_ledger_belongs_to_one_process_and_to_its_own_schema() {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up}}\nagents: {{default: {{}}}}\n",
        openai("up", up.addr, "")
    );
    let mut gateway = Setup::new(yaml).start().await;
    assert_eq!(gateway.ask(Ask::chat("m", false)).await.status, 200);
    let taken = refused(&gateway.folder, "weir.db");
    assert!(taken.contains("weir.db belongs to another process"), "{taken}");
    assert!(taken.contains(&gateway.pid().to_string()), "{taken}");
    gateway.signal("TERM");
    assert_eq!(gateway.exit_code(SOON).await, Some(0), "{}", gateway.said());
    let conn = rusqlite::Connection::open(gateway.folder.join("weir.db")).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let newer = refused(&gateway.folder, "weir.db");
    assert!(newer.contains("newer version (schema 99"), "{newer}");
}

#[tokio::test]
async fn a_cut_ledger_ends_the_start() {
    let (mut gateway, _up) = start().await;
    let body = serde_json::json!({"budget_spent": 1});
    assert_eq!(push(&gateway, "agent-1", body).await.status, 200);
    gateway.signal("TERM");
    assert_eq!(gateway.exit_code(SOON).await, Some(0), "{}", gateway.said());
    let file = gateway.folder.join("weir.db");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let said = refused(&gateway.folder, "weir.db");
    assert!(said.contains("weir.db is not a ledger that can be used"), "{said}");
}

#[tokio::test]
async fn what_was_spent_and_said_outlives_a_proper_restart() {
    let (mut gateway, up) = start().await;
    for _ in 0..3 {
        let ask = Ask::chat("quick", false).header("x-agent-id", "agent-1");
        assert_eq!(gateway.ask(ask).await.status, 200);
    }
    let body = serde_json::json!({"budget_total": 3});
    assert_eq!(push(&gateway, "agent-1", body).await.status, 200);
    assert_eq!(admin(&gateway, Ask::post("/api/freeze/agent-2", "")).await.status, 200);
    gateway.signal("TERM");
    assert_eq!(gateway.exit_code(SOON).await, Some(0), "{}", gateway.said());
    let gateway = gateway.started_again().await;
    let standing = |agent: &str| Ask::get(&format!("/api/spend/{agent}"));
    let text = admin(&gateway, standing("agent-1")).await.text();
    assert_eq!(nano(&text, "budget_spent"), up.bill_total(), "{text}");
    assert_eq!(nano(&text, "budget_total"), 3_000_000_000, "{text}");
    let frozen: Value = admin(&gateway, standing("agent-2")).await.json();
    assert_eq!(frozen["frozen"], true, "{frozen}");
    assert_eq!(limbo(&gateway).await, (0, 0));
    // So does a reload.
    assert_eq!(gateway.reload().await.status, 200);
    let text = admin(&gateway, standing("agent-1")).await.text();
    assert_eq!(nano(&text, "budget_spent"), up.bill_total(), "{text}");
    assert_eq!(nano(&text, "budget_total"), 3_000_000_000, "{text}");
}
