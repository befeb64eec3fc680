//! The gateway's own calls: limits pulled from a console and spend pushed to it (S0-06, S0-23), and alerts
//! told to a web hook. None of them may touch the traffic, however the other side behaves.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::certificate::Authority;
use crate::client::{Ask, Line};
use crate::gateway::{ADMIN_KEY, Gateway, SOON, Setup, free_port, wait_until};
use crate::provider::{mock, openai, read_request};

const CONSOLE_KEY: &str = "it-console-key-0123456789";
const SYNCS: &str = "weir_console_syncs_total";

/// Somebody who is called: notes every request, and answers as told.
struct Service {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    says: Arc<Mutex<Says>>,
    serving: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Seen {
    /// Like `GET /budgets`.
    what: String,
    head: String,
    body: String,
}

/// Answers.
#[derive(Clone)]
struct Says {
    /// The whole answer to a GET; `None` = silence.
    get: Option<String>,
    /// The statuses of answers to POSTs, in order; 204 after them.
    post: Vec<u16>,
}

impl Service {
    async fn start(get: &str) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), Some(answer("200 OK", get))).await
    }

    async fn start_at(address: SocketAddr, get: Option<String>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let says = Arc::new(Mutex::new(Says { get, post: Vec::new() }));
        let (notes, words) = (Arc::clone(&seen), Arc::clone(&says));
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some((head, body)) = read_request(&mut stream).await else { continue };
                let what = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
                let reply = reply(&mut words.lock(), what.starts_with("GET "));
                let body = String::from_utf8(body).unwrap();
                notes.lock().push(Seen { what, head: head.to_ascii_lowercase(), body });
                match reply {
                    Some(reply) => drop(stream.write_all(reply.as_bytes()).await),
                    // Kept open for as long as the service is.
                    None => drop(Box::leak(Box::new(stream))),
                }
            }
        });
        Self { address, seen, says, serving }
    }

    fn says(&self, get: &str) {
        self.says.lock().get = Some(answer("200 OK", get));
    }

    fn seen(&self, what: &str) -> Vec<Seen> {
        self.seen.lock().iter().filter(|seen| seen.what == what).cloned().collect()
    }

    async fn until_asked(&self, what: &str, times: usize) -> Vec<Seen> {
        wait_until(what, || async { self.seen(what).len() >= times }).await;
        self.seen(what)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn reply(says: &mut Says, is_get: bool) -> Option<String> {
    if is_get {
        return says.get.clone();
    }
    let status = if says.post.is_empty() { 204 } else { says.post.remove(0) };
    Some(answer(&format!("{status} x"), ""))
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn yaml(provider: SocketAddr, more: &str) -> String {
    format!(
        "providers:\n{}models:\n  - {{id: m, provider: up, upstream_id: mock-price=1:5, price: {{input: 1, output: 5}}, \
         context_tokens: 100000, output_tokens_max: 4096}}\nagents: {{default: {{}}, agent-1: {{budget: {{limit_usd: \
         50}}}}, agent-2: {{}}}}\n{more}",
        openai("up", provider, "")
    )
}

fn console(url: &str) -> String {
    format!(
        "console: {{enabled: true, url: '{url}', sync_interval_seconds: 1, api_key: {CONSOLE_KEY}}}\n"
    )
}

async fn chat(gateway: &Gateway) -> u16 {
    gateway.ask(Ask::chat("m", false).header("x-agent-id", "agent-1")).await.status
}

async fn get(gateway: &Gateway, path: &str) -> Value {
    let answer = gateway.ask_admin(Ask::get(path).bearer(ADMIN_KEY)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn until_limit(gateway: &Gateway, agent: &str, total: Value, source: &str) {
    let path = format!("/api/spend/{agent}");
    wait_until("the limit is there", || async {
        let standing = get(gateway, &path).await;
        standing["budget_total"] == total && standing["budget_source"] == source
    })
    .await;
}

async fn post(gateway: &Gateway, path: &str, body: &str) {
    let ask = Ask::post(path, body.to_owned()).bearer(ADMIN_KEY);
    let answer = gateway.ask_admin(ask.header("content-type", "application/json")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn times(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[tokio::test]
async fn budgets_are_pulled_and_spend_is_pushed() {
    let up = mock("up").await;
    let budgets = r#"{"budgets": {"agent-1": {"budget_total": 12.5, "budget_spent": 7}, "agent-2": {"budget_total": "0.000000001"},
                     "fleet": {"budget_total": 100}, "nobody": {"budget_total": 1}, "agent:agent-1": {"budget_total": 2}}}"#;
    let service = Service::start(budgets).await;
    let url = format!("http://{}/weir/", service.address);
    let gateway = Setup::new(yaml(up.addr, &console(&url))).start().await;
    until_limit(&gateway, "agent-1", json!(12.5), "console").await;
    until_limit(&gateway, "agent-2", json!(1e-9), "console").await;
    until_limit(&gateway, "fleet", json!(100), "console").await;
    assert_eq!(chat(&gateway).await, 200);
    let own = get(&gateway, "/api/spend/agent-1").await;
    assert!(own["budget_spent"].as_f64().unwrap() > 0.0, "{own}");
    assert!(
        own["budget_spent"].as_f64().unwrap() < 1.0,
        "the console's figure is not taken: {own}"
    );
    wait_until("the spend is told", || async {
        let told = service.seen("POST /weir/spend").pop();
        let told = told.map_or(Value::Null, |seen| serde_json::from_str(&seen.body).unwrap());
        told["agent-1"]["budget_spent"] == own["budget_spent"]
            && told == get(&gateway, "/api/spend").await
    })
    .await;
    let asked = service.until_asked("GET /weir/budgets", 3).await;
    let authorization = format!("authorization: bearer {CONSOLE_KEY}");
    assert!(asked.iter().all(|seen| seen.head.contains(&authorization)), "{asked:?}");
    assert!(gateway.metric(SYNCS, &["success"]).await >= 2);
    assert_eq!(gateway.metric(SYNCS, &["failure"]).await, 0);
    let said = gateway.said();
    assert_eq!(times(&said, "the console sets a limit"), 3, "{said}");
    assert_eq!(times(&said, "\"name\":\"nobody\""), 1, "{said}");
    assert_eq!(times(&said, "\"name\":\"agent:agent-1\""), 1, "{said}");
    assert!(!said.contains(CONSOLE_KEY), "{said}");

    // Another limit, one that is taken back, one that is not named any more.
    service
        .says(r#"{"budgets": {"agent-1": {"budget_total": 3}, "fleet": {"budget_total": null}}}"#);
    until_limit(&gateway, "agent-1", json!(3), "console").await;
    until_limit(&gateway, "fleet", Value::Null, "local").await;
    until_limit(&gateway, "agent-2", json!(1e-9), "console").await;
}

#[tokio::test]
async fn a_reload_changes_the_console() {
    let up = mock("up").await;
    let first = Service::start(r#"{"budgets": {"agent-1": {"budget_total": 1}}}"#).await;
    let second = Service::start(r#"{"budgets": {"agent-1": {"budget_total": 2}}}"#).await;
    let gateway = Setup::new(yaml(up.addr, "")).start().await;
    gateway.write(&yaml(up.addr, &console(&format!("http://{}", first.address))));
    assert_eq!(gateway.reload().await.status, 200);
    until_limit(&gateway, "agent-1", json!(1), "console").await;
    gateway.write(&yaml(up.addr, &console(&format!("http://{}", second.address))));
    assert_eq!(gateway.reload().await.status, 200);
    until_limit(&gateway, "agent-1", json!(2), "console").await;
    let asked = first.seen("GET /budgets").len();
    second.until_asked("GET /budgets", 3).await;
    assert_eq!(first.seen("GET /budgets").len(), asked);
    gateway.write(&yaml(up.addr, ""));
    assert_eq!(gateway.reload().await.status, 200);
    // What a console has set holds until it is taken back.
    until_limit(&gateway, "agent-1", json!(2), "console").await;
}

#[tokio::test]
async fn a_console_that_is_down_hinders_nobody_and_is_found_again() {
    let up = mock("up").await;
    let address = free_port();
    let more = console(&format!("http://{address}"));
    let mut gateway = Setup::new(yaml(up.addr, &more)).start().await;
    wait_until("it fails twice", || async { gateway.metric(SYNCS, &["failure"]).await >= 2 }).await;
    assert_eq!(chat(&gateway).await, 200);
    let standing = get(&gateway, "/api/spend/agent-1").await;
    assert_eq!(
        (&standing["budget_total"], &standing["budget_source"]),
        (&json!(50), &json!("local"))
    );
    let said = gateway.said();
    assert_eq!(times(&said, "out of step with the console"), 1, "{said}");
    let budgets = answer("200 OK", r#"{"budgets": {"agent-1": {"budget_total": 9}}}"#);
    let service = Service::start_at(address, Some(budgets)).await;
    until_limit(&gateway, "agent-1", json!(9), "console").await;
    wait_until("it is well", || async { gateway.said().contains("in step with the console") })
        .await;
    // It takes calls, but says nothing: neither traffic nor the end of the process wait for it.
    service.says.lock().get = None;
    let asked = service.seen("GET /budgets").len();
    service.until_asked("GET /budgets", asked + 1).await;
    for _ in 0..20 {
        assert_eq!(chat(&gateway).await, 200);
    }
    gateway.signal("TERM");
    assert_eq!(gateway.exit_code(SOON).await, Some(0));
}

#[tokio::test]
async fn bad_answers_change_nothing() {
    let up = mock("up").await;
    let service = Service::start(r#"{"budgets": {"agent-1": {"budget_total": 9}}}"#).await;
    let at = |path: usize| yaml(up.addr, &console(&format!("http://{}/{path}", service.address)));
    let gateway = Setup::new(at(0)).start().await;
    until_limit(&gateway, "agent-1", json!(9), "console").await;
    let good = r#"{"budgets": {"agent-1": {"budget_total": 1}}}"#;
    let huge = format!(r#"{{"padding": "{}", {}"#, "x".repeat(5 << 20), &good[1..]);
    let bad = [
        answer("200 OK", "<html>"),
        answer(
            "200 OK",
            r#"{"budgets": {"agent-1": {"budget_total": 1}, "agent-2": {"budget_total": -1}}}"#,
        ),
        answer("200 OK", r#"{"budgets": {"agent-1": {"budget_total": 1e-10}}}"#),
        answer("200 OK", r#"{"agent-1": {"budget_total": 1}}"#),
        answer("200 OK", &huge),
        answer("500 Oops", good),
        answer("302 Found\r\nlocation: /0/elsewhere", good),
        "not HTTP\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{good}"),
    ];
    for (number, bad) in bad.into_iter().enumerate() {
        let what: String = bad.chars().take(100).collect();
        let failures = gateway.metric(SYNCS, &["failure"]).await;
        service.says.lock().get = Some(bad);
        // Another address begins anew, without the wait after a failure.
        gateway.write(&at(number + 1));
        assert_eq!(gateway.reload().await.status, 200);
        wait_until(&what, || async { gateway.metric(SYNCS, &["failure"]).await > failures }).await;
        // Spend is told all the same.
        assert!(!service.seen(&format!("POST /{}/spend", number + 1)).is_empty(), "{what}");
        let standing = get(&gateway, "/api/spend/agent-1").await;
        assert_eq!(standing["budget_total"], json!(9), "{what}");
        assert_eq!(chat(&gateway).await, 200, "{what}");
    }
    assert!(service.seen("GET /0/elsewhere").is_empty(), "redirects are not followed");
}

#[tokio::test]
async fn the_web_hook_is_told_each_change_once() {
    let up = mock("up").await;
    let service = Service::start("").await;
    service.says.lock().post = vec![500, 302];
    let hook = "POST /hook/secret-part";
    let fleet = format!(
        "fleet: {{levels: {{warning_usd: 10, soft_usd: 20, hard_usd: 30, emergency_usd: 40}}, webhook: \
         'http://{}/hook/secret-part'}}\n",
        service.address
    );
    let gateway = Setup::new(yaml(up.addr, &fleet)).start().await;
    let delivered = |count| {
        let gateway = &gateway;
        async move {
            let name = "weir_webhook_calls_total";
            wait_until("alerts are delivered", || async {
                gateway.metric(name, &["delivered"]).await >= count
            })
            .await;
        }
    };
    post(&gateway, "/api/budget/fleet", r#"{"budget_spent": 12.5}"#).await;
    // Refused twice, and taken at last.
    delivered(1).await;
    assert_eq!(service.seen(hook).len(), 3);
    for (spent, count) in [("13", 1), ("25", 2), ("26", 2), ("45", 3)] {
        post(&gateway, "/api/budget/fleet", &format!(r#"{{"budget_spent": {spent}}}"#)).await;
        delivered(count).await;
    }
    assert_eq!(chat(&gateway).await, 402);
    post(&gateway, "/api/thaw/fleet", "").await;
    delivered(4).await;
    let told: Vec<Value> =
        service.seen(hook).iter().map(|seen| serde_json::from_str(&seen.body).unwrap()).collect();
    let levels: Vec<&str> = told.iter().map(|alert| alert["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["warning", "warning", "warning", "soft", "emergency", "hard"], "{told:?}");
    assert_eq!((&told[0]["account"], &told[0]["spent"]), (&json!("fleet"), &json!(12.5)));
    assert!(told[0]["limit"].is_null() && told[0]["at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(gateway.metric("weir_webhook_calls_total", &["failed"]).await, 2);
    assert!(!gateway.said().contains("secret-part"), "{}", gateway.said());
}

#[tokio::test]
async fn a_web_hook_that_is_silent_holds_up_neither_traffic_nor_the_end() {
    let up = mock("up").await;
    // It listens, and never takes a call.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fleet = format!(
        "fleet: {{levels: {{warning_usd: 10}}, webhook: 'http://{}/hook'}}\n",
        listener.local_addr().unwrap()
    );
    let mut gateway = Setup::new(yaml(up.addr, &fleet)).start().await;
    post(&gateway, "/api/budget/fleet", r#"{"budget_spent": 12.5}"#).await;
    let (_stream, _) = listener.accept().await.unwrap();
    assert_eq!(chat(&gateway).await, 200);
    let mut line = Line::open(gateway.data).await.unwrap();
    assert_eq!(line.ask(&Ask::chat("m", true)).await.unwrap().status, 200);
    gateway.signal("TERM");
    assert_eq!(gateway.exit_code(SOON).await, Some(0));
    assert!(gateway.said().contains("left in the middle of a call"), "{}", gateway.said());
}

/// Two gateways, one of which takes the other for its console: how far the call comes is seen in what it says.
#[tokio::test]
async fn a_console_over_tls_has_to_prove_who_it_is() {
    let (authority, other) = (Authority::new(), Authority::new());
    let up = mock("up").await;
    let server = authority.tls_of("127.0.0.1");
    let tls = Setup::new(yaml(up.addr, "")).server(&server).start().await;
    let more = console(&format!("https://{}", tls.data));
    for (trusted, said) in [(&authority, "it answered 404"), (&other, "invalid peer certificate")] {
        let setup = Setup::new(yaml(up.addr, &more)).env("SSL_CERT_FILE", &trusted.pem);
        let gateway = setup.start().await;
        wait_until(said, || async { gateway.metric(SYNCS, &["failure"]).await > 0 }).await;
        assert!(gateway.said().contains(&format!("budgets: {said}")), "{}", gateway.said());
    }
}
