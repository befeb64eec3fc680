//! A disk that is full while the gateway works: no hard cap is served without a hold that is kept, and
//! nothing that was billed is forgotten.
//!
//! The process gets a limit for the size of its files, so that its next write fails (its own log's too), and
//! later none. What the engine says to a full database itself is tested in `store`.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use loadtest::upstream::bill::BillLine;
use loadtest::upstream::server::Upstream;

use crate::budget::{admin, nano, spent_nano};
use crate::budget_crash::{dice, ledger, limbo, said};
use crate::client::{Answer, Ask, Line, Piece};
use crate::gateway::{Gateway, SOON, Setup, wait_until};
use crate::provider::{mock, openai};

/// How often the disk becomes full under load.
const FILLS: usize = 5;
/// Clients that ask without a pause.
const CLIENTS: usize = 6;

/// Ends nothing by a write that goes too far: it fails as on a full disk.
pub const PATIENT: [&str; 3] =
    ["-c", r#"trap "" XFSZ; exec "$0" "$@""#, env!("CARGO_BIN_EXE_weir")];

async fn start() -> (Gateway, Upstream) {
    let up = mock("up").await;
    let model = |id: &str, faults: &str| {
        format!(
            "  - {{id: {id}, provider: up, upstream_id: 'mock-price=1:2-tokens=bytes-{faults}', price: {{input: 1, \
             output: 2}}, context_tokens: 100000, output_tokens_max: 400}}\n"
        )
    };
    let yaml = format!(
        "providers:\n{}models:\n{}{}agents:\n  default: {{}}\n  hard: {{budget: {{limit_usd: 50}}}}\n  soft: {{budget: \
         {{limit_usd: 50, hard_cap: false}}}}\n",
        openai("up", up.addr, ""),
        model("quick", "chunks=20"),
        model("slow", "chunks=60-interval=25"),
    );
    let [flag, line, weir] = PATIENT;
    (Setup::new(yaml).program("sh", &[flag, line, weir, "serve"]).start().await, up)
}

/// Makes every write to a file fail, or lets them succeed again.
pub fn disk(gateway: &Gateway, full: bool) {
    let size = if full { "--fsize=1:" } else { "--fsize=unlimited:" };
    let done = Command::new("prlimit").args(["--pid", &gateway.pid().to_string(), size]).status();
    assert!(done.unwrap().success());
}

fn chat(agent: &str, model: &str) -> Ask {
    Ask::chat(model, model == "slow").header("x-agent-id", agent)
}

fn unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.openai_code(), "overloaded");
    assert!(answer.text().contains("the ledger cannot be written"), "{}", answer.text());
    assert!(answer.has("retry-after"));
}

async fn hard_is_served(gateway: &Gateway) -> bool {
    gateway.ask(chat("hard", "quick")).await.status == 200
}

async fn none_held(gateway: &Gateway) {
    let all = || async { admin(gateway, Ask::get("/api/spend/fleet")).await.text() };
    wait_until("nothing is held", || async { nano(&all().await, "budget_held") == 0 }).await;
}

fn verified(gateway: &Gateway) {
    let checked = ledger(&gateway.folder, &["verify"]);
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
}

/// The provider's bill, once none of its requests runs.
async fn billed(up: &Upstream) -> i64 {
    let ended = |lines: &[BillLine]| lines.iter().all(|line| line.ended);
    assert!(up.wait_for_bill(SOON, ended).await);
    up.bill_total()
}

#[tokio::test]
async fn a_full_disk_refuses_what_must_be_held_until_there_is_room() {
    let (gateway, up) = start().await;
    assert!(hard_is_served(&gateway).await);
    // A stream that is under way when the disk gets full comes to its end, and is settled when that can be.
    let mut line = Line::open(gateway.data).await.unwrap();
    let begun = line.begin(&chat("hard", "slow")).await.unwrap();
    assert!(matches!(line.piece().await, Piece::Bytes(_)));
    disk(&gateway, true);
    let asked = up.requests().len();
    for _ in 0..5 {
        unavailable(&gateway.ask(chat("hard", "quick")).await);
    }
    assert_eq!(up.requests().len(), asked, "something was sent without a hold");
    // Whoever spreads load is told the same.
    for address in [gateway.data, gateway.admin] {
        let mut line = Line::open(address).await.unwrap();
        let ready = line.ask(&Ask::new("GET", "/readyz")).await.unwrap();
        assert_eq!(
            (ready.status, ready.text().as_str()),
            (503, r#"{"status":"ledger_unwritable"}"#)
        );
    }
    // A soft limit only warns, and what it comes to is booked later.
    assert_eq!(gateway.ask(chat("soft", "quick")).await.status, 200);
    assert!(line.rest(begun).await.text().ends_with("data: [DONE]\n\n"));
    unavailable(&gateway.ask(chat("hard", "quick")).await);
    disk(&gateway, false);
    // It is ready again without a request that would try.
    wait_until("it is ready", || async {
        gateway.ask(Ask::new("GET", "/readyz")).await.status == 200
    })
    .await;
    wait_until("there is room again", || hard_is_served(&gateway)).await;
    none_held(&gateway).await;
    assert_eq!(spent_nano(&gateway, "fleet").await, billed(&up).await);
    assert_eq!(limbo(&gateway).await, (0, 0));
    verified(&gateway);
}

#[tokio::test]
async fn what_an_operator_changes_on_a_full_disk_is_in_force_and_he_is_told() {
    let (gateway, _up) = start().await;
    assert!(hard_is_served(&gateway).await);
    disk(&gateway, true);
    let frozen = admin(&gateway, Ask::new("POST", "/api/freeze/soft")).await;
    assert_eq!(frozen.status, 503, "{}", frozen.text());
    assert!(frozen.text().contains("the change is in force"), "{}", frozen.text());
    let refused = gateway.ask(chat("soft", "quick")).await;
    assert_eq!(refused.status, 402, "{}", refused.text());
    disk(&gateway, false);
    wait_until("there is room again", || hard_is_served(&gateway)).await;
    // It was kept as soon as that could be.
    let gateway = gateway.killed_and_started().await;
    assert_eq!(gateway.ask(chat("soft", "quick")).await.status, 402);
    verified(&gateway);
}

#[tokio::test]
async fn a_process_that_dies_on_a_full_disk_has_counted_all_that_was_sent() {
    let (gateway, up) = start().await;
    assert!(hard_is_served(&gateway).await);
    let mut line = Line::open(gateway.data).await.unwrap();
    let _begun = line.begin(&chat("hard", "slow")).await.unwrap();
    disk(&gateway, true);
    // Settled on paper only: the answers are the client's, the entries cannot be kept.
    unavailable(&gateway.ask(chat("hard", "quick")).await);
    let gateway = gateway.killed_and_started().await;
    none_held(&gateway).await;
    let bill = billed(&up).await;
    let spent = spent_nano(&gateway, "hard").await;
    assert!(spent >= bill, "spent {spent}, billed {bill}");
    wait_until("the stream is in limbo", || async { limbo(&gateway).await.0 == 1 }).await;
    assert!(hard_is_served(&gateway).await);
    verified(&gateway);
}

/// Asks until it is told to stop. Every answer is whole or a clear refusal.
async fn ask_on(
    address: std::net::SocketAddr,
    client: usize,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
) {
    let mut line = Line::open(address).await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        let model = if client == 0 { "slow" } else { "quick" };
        let answer = line.ask(&chat("hard", model)).await.unwrap();
        if answer.status == 200 {
            served.fetch_add(1, Ordering::Relaxed);
        } else {
            unavailable(&answer);
            line = Line::open(address).await.unwrap();
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_again_and_again_loses_nothing() {
    let (gateway, up) = start().await;
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(ask_on(gateway.data, client, stop.clone(), served.clone()));
    }
    let mut seed = 0x5EED_0011_usize;
    for _ in 0..FILLS {
        let wanted = served.load(Ordering::Relaxed) + 5 + dice(&mut seed, 60) as u64;
        wait_until("more is served", || async { served.load(Ordering::Relaxed) >= wanted }).await;
        disk(&gateway, true);
        wait_until("the next hold fails", || async { !hard_is_served(&gateway).await }).await;
        disk(&gateway, false);
    }
    wait_until("there is room again", || hard_is_served(&gateway)).await;
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    none_held(&gateway).await;
    // Nothing crashed: all that was sent is known, however often the disk was full meanwhile.
    let bill = billed(&up).await;
    assert_eq!(spent_nano(&gateway, "hard").await, bill);
    assert_eq!(limbo(&gateway).await, (0, 0));
    verified(&gateway);
}

#[tokio::test]
async fn a_disk_without_room_ends_the_start_with_its_reason() {
    let (mut gateway, _up) = start().await;
    gateway.signal("TERM");
    assert_eq!(gateway.exit_code(SOON).await, Some(0), "{}", gateway.said());
    let output = Command::new("prlimit")
        .args(["--fsize=1:", "sh"])
        .args(PATIENT)
        .args(["serve", "-c", "weir.yaml"])
        .current_dir(&gateway.folder)
        .env_remove("WEIR_CONFIG")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("store: "), "{}", said(&output));
    let gateway = gateway.started_again().await;
    assert!(hard_is_served(&gateway).await);
}
