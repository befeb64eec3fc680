//! Sessions that stay with a model, over virtual time: every state of a pin, the store that keeps them, and what is
//! counted. The rules themselves are tested in `pinning`.

use loadtest::upstream::server::Upstream;
use serde_json::Value;

use crate::budget_clock::{set, steered};
use crate::client::{Answer, Ask};
use crate::gateway::{ADMIN_KEY, Gateway, Setup, wait_until};
use crate::provider::{mock, openai};

/// Some instant.
const START_MS: i64 = 1_800_000_000_000;
/// Rules lead Hebrew to the middle tier, and this to the first.
const PLAIN: &str = "hello there";
/// A conversation that has grown, as they do.
const LONGER: &str = "hello there, and once more hello to all of you who are listening today";
const HEBREW: &str = "שלום, מה שלומך היום";

/// A gateway whose strategy is the rules, over three tiers; the cheap model and the middle one cache.
async fn start(more: &str) -> (Gateway, Upstream) {
    let up = mock("up").await;
    let model = |id: &str, rest: &str| format!("  - {{id: {id}, provider: up, {rest}}}\n");
    let yaml = format!(
        "providers:\n{}models:\n{}{}{}{}{}",
        openai("up", up.addr, ""),
        model(
            "small",
            "upstream_id: mock-cached=5000, tier: fast, context_tokens: 30000, \
             price: {input: 1, output: 1, cache_read: 0.9}"
        ),
        model("large", "tier: fast, context_tokens: 900000, price: {input: 2, output: 2}"),
        model(
            "middle",
            "upstream_id: mock-cached=5000, tier: reasoning, vision: true, cache_ttl_s: 900, \
             price: {input: 3, output: 3, cache_read: 0.3}"
        ),
        model("best", "tier: oracle, vision: true, price: {input: 9, output: 9}"),
        format_args!("routing: {{strategy: rule_based, cooldown_ms: 0}}\n{more}"),
    );
    (steered(Setup::new(yaml), START_MS).start().await, up)
}

fn chat(session: &str, text: &str) -> Ask {
    let body = format!(
        r#"{{"model":"auto","max_tokens":16,"messages":[{{"role":"user","content":"{text}"}}]}}"#
    );
    let ask = Ask::post("/v1/chat/completions", body);
    if session.is_empty() { ask } else { ask.header("x-session-id", session) }
}

/// Who answered, and how the pin took part.
async fn told(gateway: &Gateway, answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let line = gateway.line_of(answer).await;
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    (text("final_model"), text("pin_state"))
}

async fn ask(gateway: &Gateway, ask: Ask) -> (String, String) {
    let answer = gateway.ask(ask).await;
    told(gateway, &answer).await
}

fn after(gateway: &Gateway, seconds: i64) {
    set(gateway, START_MS + seconds * 1_000);
}

fn is(found: &(String, String), model: &str, state: &str) {
    assert_eq!((found.0.as_str(), found.1.as_str()), (model, state));
}

#[tokio::test]
async fn a_session_stays_by_the_windows() {
    let (gateway, _up) = start("").await;
    is(&ask(&gateway, chat("s", PLAIN)).await, "small", "fresh");
    after(&gateway, 250);
    is(&ask(&gateway, chat("s", HEBREW)).await, "small", "hard");
    is(&ask(&gateway, chat("other", HEBREW)).await, "middle", "fresh");
    after(&gateway, 250 + 340);
    // A stronger model is wanted: what the cache would save has no say.
    is(&ask(&gateway, chat("s", HEBREW)).await, "middle", "soft");
    // 5,000 tokens were read from the cache: it is warm, and they cost less there than at the cheap model.
    is(&ask(&gateway, chat("other", LONGER)).await, "middle", "soft");
    after(&gateway, 590 + 1_700);
    // Long dead, so that the strategy is followed, in the soft window as well.
    is(&ask(&gateway, chat("s", PLAIN)).await, "small", "soft");
    after(&gateway, 2_290 + 1_900);
    is(&ask(&gateway, chat("s", PLAIN)).await, "small", "fresh");
    assert_eq!(gateway.metric("weir_pins_active", &[]).await, 1, "the other is too old");
    assert_eq!(gateway.metric("weir_pin_states_total", &["state=\"soft\""]).await, 3);
    assert!(gateway.metric("weir_pin_saved_nanodollars_total", &[]).await > 0);
}

#[tokio::test]
async fn a_weight_of_nothing_leaves_the_soft_window_to_the_strategy() {
    let (gateway, _up) = start("pinning: {soft_bonus_weight: 0, hard_window_s: 100}\n").await;
    is(&ask(&gateway, chat("s", PLAIN)).await, "small", "fresh");
    after(&gateway, 60);
    is(&ask(&gateway, chat("s", HEBREW)).await, "small", "hard");
    after(&gateway, 260);
    is(&ask(&gateway, chat("s", HEBREW)).await, "middle", "soft");
}

#[tokio::test]
async fn every_escape_leads_away() {
    let (gateway, _up) = start("").await;
    for session in ["grows", "sees", "gone", "bursts"] {
        is(&ask(&gateway, chat(session, PLAIN)).await, "small", "fresh");
    }
    // The mock counts 5,000 tokens for some hundred bytes, and so does whoever learnt from it.
    is(&ask(&gateway, chat("grows", &"word ".repeat(300))).await, "large", "rehomed_context");
    let image = r#"{"model":"auto","max_tokens":16,"messages":[{"role":"user","content":[
        {"type":"image_url","image_url":{"url":"https://example.com/a.png"}},
        {"type":"text","text":"what is it"}]}]}"#;
    let sees = Ask::post("/v1/chat/completions", image).header("x-session-id", "sees");
    is(&ask(&gateway, sees).await, "middle", "evicted_vision");
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    let without = text.replace("{id: small,", "{id: small, enabled: false,");
    std::fs::write(gateway.config(), without.replace("900000", "31000")).unwrap();
    assert_eq!(gateway.reload().await.status, 200);
    is(&ask(&gateway, chat("gone", PLAIN)).await, "large", "evicted_missing_model");
    is(&ask(&gateway, chat("gone", PLAIN)).await, "large", "hard");
    std::fs::write(gateway.config(), text.replace("900000", "31000")).unwrap();
    assert_eq!(gateway.reload().await.status, 200);
    let burst = ask(&gateway, chat("bursts", &"word ".repeat(3_000))).await;
    assert_eq!(burst.1, "evicted_context");
}

#[tokio::test]
async fn a_model_that_fails_loses_its_sessions() {
    let (gateway, _up) = start("").await;
    is(&ask(&gateway, chat("s", PLAIN)).await, "small", "fresh");
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    std::fs::write(gateway.config(), text.replace("mock-cached=5000", "mock-429")).unwrap();
    assert_eq!(gateway.reload().await.status, 200);
    let (model, state) = ask(&gateway, chat("s", PLAIN)).await;
    assert_eq!((model != "small", state.as_str()), (true, "evicted_post_failure"));
    is(&ask(&gateway, chat("s", PLAIN)).await, &model, "hard");
}

#[tokio::test]
async fn sessions_without_a_name_are_known_by_how_they_began() {
    let (gateway, _up) = start("").await;
    let body = |rest: &str| {
        let first = format!(r#"{{"role":"user","content":"{PLAIN}"}}"#);
        let body = format!(r#"{{"model":"auto","max_tokens":16,"messages":[{first}{rest}]}}"#);
        Ask::post("/v1/chat/completions", body)
    };
    let answer = gateway.ask(body("")).await;
    is(&told(&gateway, &answer).await, "small", "fresh");
    let first = gateway.line_of(&answer).await["session_id"].clone();
    let rest =
        format!(r#",{{"role":"assistant","content":"x"}},{{"role":"user","content":"{HEBREW}"}}"#);
    let answer = gateway.ask(body(&rest)).await;
    is(&told(&gateway, &answer).await, "small", "hard");
    let second = gateway.line_of(&answer).await["session_id"].clone();
    assert_eq!(first, second);
    assert_eq!(first.as_str().map(str::len), Some(16));
    is(&ask(&gateway, chat("", HEBREW)).await, "middle", "fresh");
    let named = gateway.ask(Ask::chat("middle", false)).await;
    assert_eq!(gateway.line_of(&named).await["pin_state"], "fresh");
    assert_eq!(gateway.line_of(&named).await["session_id"], Value::Null);
}

#[tokio::test]
async fn pins_that_are_kept_outlive_the_process() {
    let (gateway, _up) = start("pinning: {keep: store}\n").await;
    is(&ask(&gateway, chat("s", PLAIN)).await, "small", "fresh");
    let file = gateway.folder.join("weir.db");
    wait_until("the pin is in the store", || async {
        let conn = rusqlite::Connection::open(&file).unwrap();
        conn.query_row("SELECT count(*) FROM pins", [], |row| row.get::<_, i64>(0)).unwrap() == 1
    })
    .await;
    after(&gateway, 20);
    let gateway = gateway.killed_and_started().await;
    is(&ask(&gateway, chat("s", HEBREW)).await, "small", "hard");
    after(&gateway, 2_000);
    wait_until("the pin is forgotten", || async {
        let conn = rusqlite::Connection::open(&file).unwrap();
        conn.query_row("SELECT count(*) FROM pins", [], |row| row.get::<_, i64>(0)).unwrap() == 0
    })
    .await;
}

#[tokio::test]
async fn how_pins_stand_is_told() {
    let (gateway, _up) = start("pinning: {soft_window_s: 900}\n").await;
    is(&ask(&gateway, chat("s", PLAIN)).await, "small", "fresh");
    let status = gateway.ask_admin(Ask::get("/optmod/status").bearer(ADMIN_KEY)).await.json();
    assert_eq!(status["active_pins"], 1);
    let windows = &status["pinning"];
    assert_eq!((&windows["hard_window_s"], &windows["soft_window_s"]), (&300.into(), &900.into()));
    after(&gateway, 1_000);
    let status = gateway.ask_admin(Ask::get("/api/routing").bearer(ADMIN_KEY)).await.json();
    assert_eq!(status["active_pins"], 0);
}

#[tokio::test]
async fn where_a_budget_is_heading_is_told() {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}models:\n\
         \x20 - {{id: m, provider: up, upstream_id: mock-chunks=50, price: {{input: 0, output: 1000}}}}\n\
         agents:\n  default: {{budget: {{limit_usd: 0.4, period: daily}}}}\n  idle: {{}}\n",
        openai("up", up.addr, "")
    );
    // An hour after midnight.
    let gateway = steered(Setup::new(yaml), START_MS - START_MS % 86_400_000 + 3_600_000);
    let gateway = gateway.start().await;
    let body = r#"{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}"#;
    let answer = gateway.ask(Ask::post("/v1/chat/completions", body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let spend = |agent: &str| Ask::get(&format!("/api/spend/{agent}")).bearer(ADMIN_KEY);
    // How fast it spends is noted when the answer has gone out.
    wait_until("the pace is known", || async {
        let found = gateway.ask_admin(spend("default")).await.json();
        found["forecast"]["hourly_usd"].as_f64().is_some_and(|usd| usd > 0.2)
    })
    .await;
    let found = gateway.ask_admin(spend("default")).await.json();
    let ahead = &found["forecast"];
    // 5 cents at once: at that pace the rest lasts for about an hour.
    assert_eq!(found["budget_spent"], 0.05);
    assert!(ahead["projected_usd"].as_f64().is_some_and(|usd| usd > 0.4), "{found}");
    let seconds = ahead["exhausted_in_s"].as_u64().unwrap();
    assert!((1_800..14_400).contains(&seconds), "{found}");
    assert!(ahead["exhausted_at"].is_string(), "{found}");
    let labels = ["agent=\"default\""];
    let shown = gateway.metric("weir_budget_exhaustion_seconds", &labels).await;
    assert!(shown.abs_diff(seconds) < 60);
    assert!(gateway.metric("weir_budget_projected_nanodollars", &labels).await > 400_000_000);
    let idle = gateway.ask_admin(spend("idle")).await.json();
    assert_eq!(idle["forecast"]["exhausted_in_s"], Value::Null);
}
