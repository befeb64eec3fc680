//! Changes while the gateway works: reloads under load, files that are broken, stops, hand-overs. Stops that cut
//! something are the subject of `farewell`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use loadtest::upstream::server::Upstream;
use tokio::task::JoinSet;

use crate::client::{Ask, Line, Piece};
use crate::gateway::{Gateway, SOON, Setup, wait_until};
use crate::provider::{mock, openai};

/// Clients that ask without a pause, and the most that each of them asks.
const CLIENTS: usize = 6;
const ASKS_MAX: usize = 20_000;

fn yaml(up: &Upstream, models: &[&str]) -> String {
    let models: Vec<String> =
        models.iter().map(|id| format!("  - {{id: {id}, provider: up}}\n")).collect();
    let models = models.concat();
    format!(
        "providers:\n{}models:\n{models}  - {{id: long, provider: up, upstream_id: mock-chunks=40-interval=50}}\n",
        openai("up", up.addr, "")
    )
}

/// Requests without a pause, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    /// Each client uses one connection, or a new one for each request.
    fn start(gateway: &Gateway, keep: bool) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = JoinSet::new();
        for at in 0..CLIENTS {
            let (stop, done, address) = (Arc::clone(&stop), Arc::clone(&done), gateway.data);
            clients.spawn(async move {
                let mut failures = Vec::new();
                let mut line = None;
                for _ in 0..ASKS_MAX {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    match ask(&mut line, address, at).await {
                        Ok(closes) if closes || !keep => line = None,
                        Ok(_) => {}
                        Err(failure) => failures.push(failure),
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                failures
            });
        }
        Self { stop, done, clients }
    }

    /// Waits until so many more requests have been answered.
    async fn more(&self, count: usize) {
        let goal = self.done.load(Ordering::Relaxed) + count;
        wait_until("load", || async { self.done.load(Ordering::Relaxed) >= goal }).await;
    }

    /// How many were answered; panics if any failed.
    async fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        while let Some(more) = self.clients.join_next().await {
            failures.extend(more.unwrap());
        }
        assert!(
            failures.is_empty(),
            "{} failed, the first: {:?}",
            failures.len(),
            &failures[..failures.len().min(5)]
        );
        self.done.load(Ordering::Relaxed)
    }
}

/// One request; whether the connection is closed after it.
async fn ask(
    line: &mut Option<Line>,
    address: std::net::SocketAddr,
    at: usize,
) -> Result<bool, String> {
    if line.is_none() {
        *line = Some(Line::open(address).await.map_err(|error| format!("connect: {error}"))?);
    }
    let stream = at.is_multiple_of(2);
    let answer = line.as_mut().unwrap().ask(&Ask::chat("steady", stream)).await;
    let answer = answer.map_err(|error| {
        *line = None;
        format!("no answer: {error}")
    })?;
    let complete = if stream {
        answer.text().ends_with("data: [DONE]\n\n")
    } else {
        answer.json()["choices"].is_array()
    };
    if answer.status != 200 || !answer.whole || !complete {
        *line = None;
        return Err(format!("{}: {}", answer.status, answer.text()));
    }
    Ok(answer.header("connection") == "close")
}

async fn reloads(gateway: &Gateway, result: &str) -> u64 {
    gateway.metric("weir_config_reloads_total", &[result]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_fail_no_request() {
    let up = mock("up").await;
    let gateway = Setup::new(yaml(&up, &["steady", "other"])).start().await;
    let load = Load::start(&gateway, true);
    load.more(20).await;
    // A stream of a model that the next configuration does not have.
    let mut line = Line::open(gateway.data).await.unwrap();
    let head = line.begin(&Ask::chat("other", true)).await.unwrap();
    assert_eq!(head.status, 200);
    for turn in 0..4_u64 {
        let models: &[&str] =
            if turn.is_multiple_of(2) { &["steady"] } else { &["steady", "other"] };
        gateway.write(&yaml(&up, models));
        let before = reloads(&gateway, "success").await;
        if turn < 2 {
            gateway.signal("HUP");
            wait_until("the signal is obeyed", || async {
                reloads(&gateway, "success").await > before
            })
            .await;
        } else {
            let answer = gateway.reload().await;
            assert_eq!(
                (answer.status, &answer.json()["status"]),
                (200, &"reloaded".into()),
                "{}",
                answer.text()
            );
            assert_eq!(answer.json()["agents"], serde_json::json!(["default"]));
        }
        let other = gateway.ask(Ask::chat("other", false)).await.status;
        assert_eq!(other, if models.len() == 1 { 404 } else { 200 }, "turn {turn}");
        load.more(20).await;
    }
    let answer = line.rest(head).await;
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    assert!(load.end().await >= 100);
    assert_eq!((reloads(&gateway, "success").await, reloads(&gateway, "failure").await), (4, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_outlives_its_model() {
    let up = mock("up").await;
    let gateway = Setup::new(yaml(&up, &["steady"])).start().await;
    let mut line = Line::open(gateway.data).await.unwrap();
    let head = line.begin(&Ask::chat("long", true)).await.unwrap();
    assert!(matches!(line.piece().await, Piece::Bytes(_)));
    let without = yaml(&up, &["steady"])
        .lines()
        .filter(|line| !line.contains("id: long"))
        .collect::<Vec<_>>()
        .join("\n");
    gateway.write(&without);
    assert_eq!(gateway.reload().await.status, 200);
    assert_eq!(gateway.ask(Ask::chat("long", true)).await.status, 404);
    let answer = line.rest(head).await;
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    assert_eq!(gateway.line_of(&answer).await["completion_tokens"], 40);
}

const BROKEN: &str = "providers: {up: {dialect: opnai, base_url: x}}\nmodels: [{id: m, provider: down}]\nnonsense: 1\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_changes_nothing_and_lists_every_problem() {
    let up = mock("up").await;
    let gateway = Setup::new(yaml(&up, &["steady"])).start().await;
    let load = Load::start(&gateway, false);
    gateway.write(BROKEN);
    let answer = gateway.reload().await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (422, &"invalid_config".into()));
    let problems = answer.json()["error"]["problems"].clone();
    let paths: Vec<&str> =
        problems.as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    for path in ["providers.up.dialect", "providers.up.base_url", "models[0].provider", "nonsense"]
    {
        assert!(paths.contains(&path), "{path} is not in {paths:?}");
    }
    gateway.signal("HUP");
    wait_until("the signal is obeyed", || async { reloads(&gateway, "failure").await == 2 }).await;
    std::fs::remove_file(gateway.config()).unwrap();
    assert_eq!(gateway.reload().await.status, 422, "a file that is gone");
    let status = gateway.ask_admin(Ask::new("GET", "/status")).await;
    assert_eq!((status.status, &status.json()["status"]), (503, &"degraded".into()));
    assert_eq!(gateway.ask(Ask::chat("steady", false)).await.status, 200);
    load.more(30).await;
    gateway.write(&yaml(&up, &["steady", "new"]));
    assert_eq!(gateway.reload().await.status, 200);
    assert_eq!(gateway.ask(Ask::chat("new", false)).await.status, 200);
    load.end().await;
    assert_eq!((reloads(&gateway, "success").await, reloads(&gateway, "failure").await), (1, 3));
    let status = gateway.ask_admin(Ask::new("GET", "/status")).await;
    assert_eq!(
        (status.status, &status.json()["status"]),
        (200, &"healthy".into()),
        "{}",
        status.text()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_file_is_reloaded_under_load() {
    let up = mock("up").await;
    let gateway = Setup::new(yaml(&up, &["steady"])).arg("--watch").start().await;
    let load = Load::start(&gateway, true);
    for id in ["first", "second"] {
        gateway.write(&yaml(&up, &["steady", id]));
        wait_until("the edit is seen", || async {
            gateway.ask(Ask::chat(id, false)).await.status == 200
        })
        .await;
    }
    gateway.write(BROKEN);
    wait_until("the mistake is seen", || async { reloads(&gateway, "failure").await >= 1 }).await;
    assert_eq!(gateway.ask(Ask::chat("second", false)).await.status, 200);
    load.more(20).await;
    load.end().await;
    assert_eq!(reloads(&gateway, "success").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_keys_and_rests_survive_it() {
    let (up, spare) = (mock("up").await, mock("spare").await);
    let config = |more: &str| {
        format!(
            "providers:\n{}{}models:\n  - {{id: x, provider: up, upstream_id: mock-503}}\n  - {{id: y, provider: spare}}\n\
             routing: {{cooldown_ms: 600000, fallbacks: {{x: [y]}}}}\n{more}",
            openai("up", up.addr, ""),
            openai("spare", spare.addr, "")
        )
    };
    let gateway = Setup::new(config("")).start().await;
    assert_eq!(gateway.ask(Ask::chat("x", false)).await.header("x-gateway-attempt-count"), "2");
    gateway.write(&config("agents: {default: {}, late: {keys: [it-late-key-0123456789]}}\n"));
    let late = Ask::chat("x", false).bearer("it-late-key-0123456789");
    assert_eq!(gateway.ask(late.clone()).await.status, 401);
    assert_eq!(gateway.reload().await.json()["agents"], serde_json::json!(["default", "late"]));
    let answer = gateway.ask(late).await;
    assert_eq!(
        (answer.status, answer.header("x-gateway-attempt-count")),
        (200, "1"),
        "x still rests"
    );
    assert_eq!(up.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_finishes_streams_and_is_prompt_when_idle() {
    for signal in ["TERM", "INT"] {
        let up = mock("up").await;
        let mut gateway =
            Setup::new(yaml(&up, &["steady"])).server("grace_seconds: 600").start().await;
        let mut open = Vec::new();
        for at in 0..4 {
            let mut line = Line::open(gateway.data).await.unwrap();
            let ask = Ask::chat(if at == 3 { "steady" } else { "long" }, at != 3);
            let head = line.begin(&ask).await.unwrap();
            assert_eq!(head.status, 200);
            open.push((line, head));
        }
        // An idle connection must not keep the process.
        let mut idle = Line::open(gateway.data).await.unwrap();
        idle.ask(&Ask::new("GET", "/livez")).await.unwrap();
        gateway.signal(signal);
        for (mut line, head) in open {
            let answer = line.rest(head).await;
            assert!(answer.whole, "{signal} cut it: {}", answer.text());
            assert!(answer.text().contains("[DONE]") || answer.json()["choices"].is_array());
        }
        assert_eq!(
            gateway.exit_code(SOON).await,
            Some(0),
            "{signal}: it waits for its whole grace"
        );
        let lines = gateway.lines();
        assert_eq!(lines.len(), 4, "every request has its line: {lines:#?}");
        assert!(lines.iter().all(|line| line["end"] == "complete"), "{lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_fails_no_request_on_new_connections() {
    hand_over(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_fails_no_request_on_kept_connections() {
    hand_over(true).await;
}

/// Hands over to a second process under load, with connections that are kept or not.
async fn hand_over(keep: bool) {
    let up = mock("up").await;
    let mut old = Setup::new(yaml(&up, &["steady"])).server("grace_seconds: 60").start().await;
    let load = Load::start(&old, keep);
    load.more(20).await;
    let mut line = Line::open(old.data).await.unwrap();
    let head = line.begin(&Ask::chat("long", true)).await.unwrap();
    let mut new = old.upgrade();
    let socket = old.folder.join("up.sock");
    wait_until("the new process waits for the listeners", || async { socket.exists() }).await;
    old.signal("QUIT");
    let answer = line.rest(head).await;
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    assert_eq!(old.exit_code(2 * SOON).await, Some(0), "the old process ends");
    load.more(40).await;
    assert!(load.end().await >= 60);
    assert!(!new.has_ended(), "{}", new.said());
    // The new one has the admin port as well, sooner or later.
    let admin = new.admin;
    wait_until("the admin port is back", || async {
        let Ok(mut line) = Line::open(admin).await else { return false };
        line.ask(&Ask::new("GET", "/readyz")).await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    let served = || async { new.metric("weir_requests_total", &["status=\"200\""]).await };
    wait_until("the new process has served", || async { served().await >= 40 }).await;
    new.signal("TERM");
    assert_eq!(new.exit_code(SOON).await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_ends_when_the_stop_begins() {
    let up = mock("up").await;
    let mut gateway = Setup::new(yaml(&up, &["steady"])).server("grace_seconds: 60").start().await;
    let mut line = Line::open(gateway.data).await.unwrap();
    let head = line.begin(&Ask::chat("long", true)).await.unwrap();
    gateway.signal("TERM");
    let admin = gateway.admin;
    wait_until("readiness says so, or nobody answers", || async {
        let Ok(mut line) = Line::open(admin).await else { return true };
        line.ask(&Ask::new("GET", "/readyz")).await.map_or(true, |answer| answer.status == 503)
    })
    .await;
    assert!(line.rest(head).await.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(gateway.exit_code(SOON + Duration::from_secs(5)).await, Some(0));
}
