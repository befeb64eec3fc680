//! The dashboard and the numbers behind it: in a real Chromium, and over plain HTTP.
//!
//! What a person sees is checked by `tests/clients/dashboard_checks.mjs`. Nothing here is skipped: without
//! Chromium or the packages a test fails and names what installs them.

use serde_json::Value;

use crate::client::{Answer, Ask, Line, Piece};
use crate::clients::{node, play_with};
use crate::gateway::{ADMIN_KEY, AGENT_KEY, Gateway, SOON, Setup, wait_until};
use crate::provider::{mock, openai};

async fn gateway() -> (loadtest::upstream::server::Upstream, Gateway) {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}models:\n\
         \x20 - {{id: plain, provider: up, upstream_id: mock-cached=1, tier: fast, output_tokens_max: 4096, price: {{input: 1, output: 2}}}}\n\
         \x20 - {{id: switch, provider: up, upstream_id: mock-429, tier: oracle, output_tokens_max: 4096, price: {{input: 3, output: 9}}}}\n\
         routing: {{cooldown_ms: 0, fallbacks: {{switch: [plain]}}}}\n\
         agents: {{default: {{}}, builder: {{budget: {{limit_usd: 5, period: daily}}}}}}\n",
        openai("up", up.addr, "")
    );
    let gateway = Setup::new(yaml).start().await;
    (up, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_chromium() {
    let (_up, gateway) = gateway().await;
    let (data, admin) = (format!("http://{}", gateway.data), format!("http://{}", gateway.admin));
    let env = [("WEIR_DATA", &*data), ("WEIR_ADMIN", &*admin), ("WEIR_ADMIN_KEY", ADMIN_KEY)];
    play_with(&node(&["dashboard_checks.mjs"]), &[gateway], &env).await;
}

async fn stats(gateway: &Gateway, path: &str) -> Value {
    let answer = gateway.ask_admin(Ask::new("GET", path).bearer(ADMIN_KEY)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_are_for_admin_keys_and_show_the_request_before() {
    let (_up, gateway) = gateway().await;
    for path in ["/api/stats", "/api/stats/live", "/api/stats/stream"] {
        assert_eq!(gateway.ask_admin(Ask::new("GET", path)).await.status, 401, "{path}");
        assert_eq!(gateway.ask_admin(Ask::new("GET", path).bearer(AGENT_KEY)).await.status, 403);
    }
    let unaware = Ask::new("GET", "/api/stats/stream").bearer(ADMIN_KEY);
    assert_eq!(gateway.ask_admin(unaware).await.status, 406, "it would wait for an end in vain");
    assert_eq!(stats(&gateway, "/api/stats").await["total_requests"], 0);
    for model in ["plain", "switch", "unknown-model"] {
        gateway.ask(Ask::chat(model, false)).await;
    }
    let got = stats(&gateway, "/api/stats?range=1h").await;
    assert_eq!((&got["total_requests"], &got["error_count"]), (&3.into(), &1.into()));
    assert_eq!((&got["escalation_count"], &got["baseline_model"]), (&1.into(), &"switch".into()));
    assert_eq!(got["model_tiers"]["plain"], "fast");
    assert!(got["saved_usd"].as_f64().unwrap() > 0.0, "{got}");
    assert_eq!(stats(&gateway, "/api/stats?range=2").await["total_requests"], 2);
    assert_eq!(stats(&gateway, "/api/stats?range=nonsense").await["total_requests"], 3);
    let live = stats(&gateway, "/api/stats/live").await;
    assert_eq!((&live["total"], &live["recent_ok"]), (&3.into(), &2.into()));
    let described = gateway.ask_admin(Ask::new("GET", "/openapi.json")).await.json();
    let described = &described["components"]["schemas"]["Stats"]["properties"];
    for (name, value) in got.as_object().unwrap() {
        assert!(described[name].is_object(), "{name}: {value} is not described");
    }
    assert_eq!(described.as_object().unwrap().len(), got.as_object().unwrap().len());
    // Lists of models and health are no requests for a model.
    gateway.ask(Ask::new("GET", "/v1/models").bearer(AGENT_KEY)).await;
    assert_eq!(stats(&gateway, "/api/stats?range=all").await["total_requests"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_can_be_emptied_at_both_paths() {
    let (_up, gateway) = gateway().await;
    let lines = || {
        let log = std::fs::read_to_string(gateway.folder.join("access.jsonl")).unwrap_or_default();
        log.lines().count()
    };
    for path in ["/api/log/clear", "/optmod/log/clear"] {
        gateway.ask(Ask::chat("plain", false)).await;
        wait_until("the line is written", || async { lines() > 0 }).await;
        assert_eq!(gateway.ask_admin(Ask::new("POST", path)).await.status, 401);
        let answer = gateway.ask_admin(Ask::new("POST", path).bearer(ADMIN_KEY)).await;
        let body: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!((answer.status, &body["ok"]), (200, &true.into()));
        assert_eq!(lines(), 0);
        assert_eq!(stats(&gateway, "/api/stats?range=all").await["total_requests"], 0);
    }
    gateway.ask(Ask::chat("plain", false)).await;
    wait_until("the log goes on at its new beginning", || async { lines() == 1 }).await;
}

/// A stream of the numbers, just opened.
async fn stream(gateway: &Gateway) -> (Answer, Line) {
    let mut line = Line::open(gateway.admin).await.unwrap();
    let asked = Ask::new("GET", "/api/stats/stream?range=all").bearer(ADMIN_KEY);
    let asked = asked.header("accept", "text/event-stream");
    let head = line.begin(&asked).await.unwrap();
    (head, line)
}

/// The next event of a stream; `None` at its end.
async fn event(line: &mut Line) -> Option<Value> {
    let mut text = Vec::new();
    while !text.ends_with(b"\n\n") {
        let Piece::Bytes(bytes) = line.piece().await else { return None };
        text.extend(bytes);
    }
    let text = String::from_utf8(text).unwrap();
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    Some(serde_json::from_str(data).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_each_request_once_and_ends_with_the_process() {
    let (_up, mut gateway) = gateway().await;
    gateway.ask(Ask::chat("plain", false)).await;
    let (head, mut line) = stream(&gateway).await;
    assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
    let mut seen = Vec::new();
    let mut asked = 1;
    while seen.len() < 3 {
        let event = event(&mut line).await.unwrap();
        seen.extend(
            event["rows"].as_array().unwrap().iter().map(|row| row["seq"].as_u64().unwrap()),
        );
        assert_eq!(event["missed"], 0);
        assert_eq!(event["live"]["total"], seen.len());
        if asked < 3 && seen.len() == asked {
            asked += 1;
            gateway.ask(Ask::chat("plain", false)).await;
        }
    }
    assert_eq!(seen, [1, 2, 3]);
    gateway.signal("TERM");
    while event(&mut line).await.is_some() {}
    assert_eq!(gateway.exit_code(SOON).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded_and_end_when_their_key_does() {
    let (_up, gateway) = gateway().await;
    let mut open = Vec::new();
    let refused = loop {
        let (head, line) = stream(&gateway).await;
        if head.status != 200 {
            break head.status;
        }
        open.push(line);
        assert!(open.len() < 100, "there is no bound");
    };
    assert_eq!(refused, 503);
    let mut first = open.swap_remove(0);
    drop(open);
    let config = std::fs::read_to_string(gateway.config()).unwrap();
    std::fs::write(gateway.config(), config.replace(ADMIN_KEY, "it-another-key-0123456789"))
        .unwrap();
    gateway.signal("HUP");
    while event(&mut first).await.is_some() {}
    assert_eq!(
        gateway.ask_admin(Ask::new("GET", "/api/stats").bearer(ADMIN_KEY)).await.status,
        401
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_open_and_sent_once() {
    let (_up, gateway) = gateway().await;
    for path in ["/ui", "/ui/app.js", "/ui/style.css", "/ui/uplot.js", "/ui/uplot.css"] {
        let answer = gateway.ask_admin(Ask::new("GET", path)).await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let again = Ask::new("GET", path).header("if-none-match", answer.header("etag"));
        let again = gateway.ask_admin(again).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
}
