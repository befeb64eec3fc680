//! Which request a budget lets pass, and with how much output: caps that are clamped, limits above the
//! agent, sessions, bounds that do not hold, prices that change, levels of the fleet.
//!
//! What an attempt is booked at is in `budget_ends`; the control API's own refusals are in `budget_control`.

use loadtest::upstream::server::Upstream;
use serde_json::{Value, json};

use crate::budget::{admin, nano, push, spend, spent_nano};
use crate::client::{Answer, Ask, Line, Piece};
use crate::gateway::{AGENT_KEY, Gateway, Setup, wait_until};
use crate::provider::{Canned, mock, openai};

/// A model whose input is free and whose output costs so many dollars per million, so that what is held is
/// known to the token.
fn model(id: &str, provider: &str, faults: &str, output: &str) -> String {
    format!(
        "  - {{id: {id}, provider: {provider}, upstream_id: 'mock-price=0:{output}-{faults}', price: {{input: 0, \
         output: {output}}}, context_tokens: 100000, output_tokens_max: 4096}}\n"
    )
}

async fn start(models: &str, rest: &str) -> (Gateway, Upstream) {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}{}models:\n{models}routing: {{cooldown_ms: 0}}\n{rest}",
        openai("up", up.addr, ""),
        openai("older", up.addr, ", output_cap_field: max_tokens")
    );
    (Setup::new(yaml).start().await, up)
}

fn ask(agent: &str, model: &str, more: &str) -> Ask {
    let body =
        format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]{more}}}"#);
    Ask::post("/v1/chat/completions", body).header("x-agent-id", agent)
}

async fn all_settled(gateway: &Gateway, agent: &str) {
    let path = format!("/api/spend/{agent}");
    wait_until("everything is settled", || async {
        nano(&admin(gateway, Ask::get(&path)).await.text(), "budget_held") == 0
    })
    .await;
}

fn budget_exhausted(answer: &Answer, account: &str) {
    assert_eq!(answer.status, 402, "{}", answer.text());
    assert_eq!(answer.openai_code(), "budget_exhausted");
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains(account), "{message}");
}

const CAPS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

#[tokio::test]
async fn the_output_cap_is_what_the_budget_leaves_in_the_one_field_that_counts() {
    let models = model("new", "up", "chunks=3", "1") + &model("old", "older", "chunks=3", "1");
    let agents = "agents:\n  default: {}\n  a: {budget: {limit_usd: 0.001}}\n  b: {budget: {limit_usd: 0.001}}\n";
    let (gateway, up) = start(&models, agents).await;
    for (agent, model, field) in [("a", "new", None), ("b", "old", Some("max_tokens"))] {
        // 1,000 tokens are left. A smaller wish stays, a larger one and none at all are cut to that.
        for (more, wanted) in [
            ("", None),
            (r#","max_tokens":3000"#, None),
            (r#","max_completion_tokens":3000,"max_tokens":2000"#, None),
            (r#","max_completion_tokens":300"#, Some(300)),
            (r#","max_tokens":300"#, Some(300)),
        ] {
            let left = nano(&spend(&gateway, agent).await.to_string(), "budget_remaining") / 1_000;
            let answer = gateway.ask(ask(agent, model, more)).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let seen: Value = up.requests().last().unwrap().json();
            let given: Vec<&str> =
                CAPS.into_iter().filter(|name| seen.get(name).is_some()).collect();
            assert_eq!(given.len(), 1, "{model} {more}: {seen}");
            assert!(field.is_none_or(|field| given == [field]), "{model} {more}: {seen}");
            assert_eq!(seen[given[0]], wanted.unwrap_or(left), "{model} {more}: {seen}");
            all_settled(&gateway, agent).await;
        }
        assert_eq!(spent_nano(&gateway, agent).await, 5 * 3_000);
    }
}

#[tokio::test]
async fn below_the_floor_the_next_tier_is_used_and_then_none() {
    let models = model("dear", "up", "chunks=1", "1") + &model("cheap", "up", "chunks=1", "0.1");
    let agents = "agents:\n  default: {}\n  a: {mode: budget, budget: {limit_usd: 0.000256}, tiers: [{remaining_min: \
                  0.5, models: [dear]}, {remaining_min: 0, models: [cheap]}]}\n";
    let (gateway, up) = start(&models, agents).await;
    let used = |answer: &Answer| answer.header("x-gateway-model-used").to_owned();
    let first = gateway.ask(ask("a", "auto", "")).await;
    assert_eq!((first.status, used(&first).as_str()), (200, "dear"), "{}", first.text());
    all_settled(&gateway, "a").await;
    // 255 tokens of the dear model are left.
    let second = gateway.ask(ask("a", "auto", "")).await;
    assert_eq!((second.status, used(&second).as_str()), (200, "cheap"), "{}", second.text());
    all_settled(&gateway, "a").await;
    // A wish below the floor counts as it is.
    let small = gateway.ask(ask("a", "auto", r#","max_tokens":200"#)).await;
    assert_eq!((small.status, used(&small).as_str()), (200, "dear"), "{}", small.text());
    all_settled(&gateway, "a").await;
    assert_eq!(push(&gateway, "a", json!({"budget_total": 0.00002})).await.status, 200);
    let asked = up.requests().len();
    budget_exhausted(&gateway.ask(ask("a", "auto", "")).await, "agent:a");
    assert_eq!(up.requests().len(), asked);
}

#[tokio::test]
async fn a_limit_above_the_agent_holds_although_the_agent_has_room() {
    let models = model("m", "up", "chunks=10", "1");
    let agents = "teams: {t: {budget: {limit_usd: 0.002, hard_cap: true}}}\nagents:\n  default: {}\n  a: {team: t, \
                  budget: {limit_usd: 50}}\n  b: {team: t}\n  c: {budget: {limit_usd: 50}}\n";
    for (rest, refusing, others) in [
        (agents.to_owned(), "team:t", 200),
        (format!("fleet: {{budget: {{limit_usd: 0.001}}}}\n{agents}"), "fleet", 402),
    ] {
        let (gateway, up) = start(&models, &rest).await;
        assert_eq!(gateway.ask(ask("a", "m", "")).await.status, 200);
        all_settled(&gateway, refusing).await;
        assert_eq!(spent_nano(&gateway, refusing).await, up.bill_total());
        assert_eq!(push(&gateway, refusing, json!({"budget_spent": 0.0019})).await.status, 200);
        for (agent, total) in [("a", json!(50)), ("b", Value::Null)] {
            let refused = gateway.ask(ask(agent, "m", "")).await;
            budget_exhausted(&refused, refusing);
            // Who refused is named; in figures stands what is the agent's own, and nobody else's.
            let body = refused.json();
            assert_eq!(body["account"], refusing);
            assert_eq!(body["scope"], refusing.split(':').next().unwrap());
            assert_eq!((&body["agent_id"], &body["budget_total"]), (&json!(agent), &total));
            let own = spend(&gateway, agent).await;
            for field in ["budget_spent", "budget_remaining"] {
                assert_eq!(body[field], own[field], "{agent} {field}");
            }
            assert_eq!(body["models_allowed"], json!(["m"]));
            assert!(!refused.text().contains("0.0019"), "{}", refused.text());
        }
        assert_eq!(gateway.ask(ask("c", "m", "")).await.status, others);
    }
}

#[tokio::test]
async fn a_cost_above_the_bound_is_booked_in_full_and_freezes_the_agent() {
    let models = model("m", "up", "chunks=50-overrun=500", "1");
    let agents =
        "agents:\n  default: {}\n  a: {budget: {limit_usd: 1}}\n  b: {budget: {limit_usd: 1}}\n";
    let (gateway, up) = start(&models, agents).await;
    let answer = gateway.ask(ask("a", "m", r#","max_tokens":100"#)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    all_settled(&gateway, "a").await;
    assert!(up.bill_total() > 100_000, "{:?}", up.bill());
    assert_eq!(spent_nano(&gateway, "a").await, up.bill_total());
    assert_eq!(gateway.metric("weir_budget_bound_violation_total", &[]).await, 1);
    let refused = gateway.ask(ask("a", "m", "")).await;
    budget_exhausted(&refused, "frozen");
    assert_eq!(refused.json()["frozen"], true);
    assert_eq!(gateway.ask(ask("b", "m", r#","max_tokens":4096"#)).await.status, 200);
    let thawed = admin(&gateway, Ask::post("/api/thaw/a", "")).await;
    assert_eq!((thawed.status, &thawed.json()["status"]), (200, &json!("thawed")));
    assert_eq!(gateway.ask(ask("a", "m", "")).await.status, 200);
}

#[tokio::test]
async fn the_fee_of_a_request_is_held_and_booked_beside_its_tokens() {
    let fee = |id: &str| {
        model(id, "up", "chunks=7", "1").replace("output: 1}", "output: 1, request: 0.01}")
    };
    let agents = "agents:\n  default: {}\n  a: {budget: {limit_usd: 0.0203}}\n  b: {}\n";
    let (gateway, up) = start(&fee("m"), agents).await;
    for (done, stream) in [(1, "false"), (2, "true")] {
        let more = format!(r#","max_tokens":20,"stream":{stream}"#);
        let answer = gateway.ask(ask("a", "m", &more)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        all_settled(&gateway, "a").await;
        let fees = 10_000_000 * done;
        assert_eq!(spent_nano(&gateway, "a").await, up.bill_total() + fees);
    }
    // There is money for the tokens, and none for another fee.
    budget_exhausted(&gateway.ask(ask("a", "m", r#","max_tokens":20"#)).await, "agent:a");
    let before = up.bill_total();
    assert_eq!(gateway.ask(ask("b", "m", "")).await.status, 200);
    let booked = 10_000_000 + up.bill_total() - before;
    wait_until("it is booked", || async { spent_nano(&gateway, "b").await == booked }).await;
}

#[tokio::test]
async fn a_model_that_searches_by_itself_needs_a_fee_under_a_hard_cap() {
    let one = |id: &str, fee: &str| {
        format!(
            "  - {{id: {id}, provider: up, upstream_id: vendor/sonar-pro, price: {{input: 1, output: 1{fee}}}, context_tokens: 9000}}\n"
        )
    };
    let agents = "agents:\n  default: {}\n  hard: {budget: {limit_usd: 1}}\n  soft: {budget: {limit_usd: 1, hard_cap: \
                  false}}\n";
    let (gateway, up) = start(&(one("bare", "") + &one("priced", ", request: 0.02")), agents).await;
    let refused = gateway.ask(ask("hard", "bare", "")).await;
    budget_exhausted(&refused, "price.request");
    assert_eq!(up.requests().len(), 0);
    for (agent, model) in [("hard", "priced"), ("soft", "bare")] {
        let answer = gateway.ask(ask(agent, model, "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// What a provider says of an image that it made beside the text.
const IMAGE: &str = r#"{"id":"r","object":"response","status":"completed","model":"x","output":[],"usage":{"input_tokens":9,"output_tokens":1,"total_tokens":10},"tool_usage":{"image_gen":{"output_tokens":4160}}}"#;

#[tokio::test]
async fn what_has_no_price_is_booked_as_its_whole_hold_under_a_hard_cap() {
    let provider = Canned::json("200 OK", "", IMAGE.as_bytes()).await;
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up, price: {{input: 1, output: 1}}, context_tokens: 9000}}\n\
         agents:\n  default: {{}}\n  hard: {{budget: {{limit_usd: 1}}}}\n  soft: {{budget: {{limit_usd: 1, hard_cap: \
         false}}}}\n",
        openai("up", provider.address, "")
    );
    let gateway = Setup::new(yaml).start().await;
    let body = r#"{"model":"m","input":"hi","max_output_tokens":500}"#;
    for (agent, booked) in [("hard", 500_000..9_500_000), ("soft", 10_000..10_001)] {
        let answer =
            gateway.ask(Ask::post("/v1/responses", body).header("x-agent-id", agent)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        all_settled(&gateway, agent).await;
        let spent = spent_nano(&gateway, agent).await;
        assert!(booked.contains(&spent), "{agent}: {spent}");
    }
    assert_eq!(gateway.metric("weir_usage_unknown_total", &[]).await, 2);
}

#[tokio::test]
async fn a_success_that_cannot_be_read_is_booked_by_what_was_seen_or_held() {
    let body = "x".repeat(10_000);
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 10000\r\n\r\n{body}"
    );
    let provider = Canned::start(text).await;
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up, price: {{input: 0, output: 1}}, context_tokens: 9000}}\n\
         agents:\n  default: {{}}\n  hard: {{budget: {{limit_usd: 1}}}}\n  soft: {{budget: {{limit_usd: 1, hard_cap: \
         false}}}}\n  free: {{}}\n",
        openai("up", provider.address, "")
    );
    let gateway = Setup::new(yaml).start().await;
    // What is held: 9,000 tokens. What is seen: 10,000 bytes, which are 4,000 tokens at most.
    for (at, (agent, booked)) in
        [("hard", 9_000_000), ("soft", 4_000_000), ("free", 4_000_000)].iter().enumerate()
    {
        let answer = gateway.ask(ask(agent, "m", "")).await;
        assert_eq!((answer.status, answer.body.len()), (200, 10_000));
        let spent = || async { spent_nano(&gateway, agent).await == *booked };
        wait_until(agent, spent).await;
        assert_eq!(gateway.metric("weir_usage_unknown_total", &[]).await, at as u64 + 1);
    }
}

#[tokio::test]
async fn near_its_end_a_budget_counts_tokens_where_bytes_do_not_fit() {
    let one = |id: &str, more: &str| {
        format!(
            "  - {{id: {id}, provider: up, upstream_id: 'mock-price=1:0-chunks=3', price: {{input: 1, output: 0}}, \
             context_tokens: 1000000, output_tokens_max: 4096{more}}}\n"
        )
    };
    let models = one("bytes", "") + &one("tokens", ", tokenizer: o200k");
    let agents = "agents:\n  default: {}\n  a: {budget: {limit_usd: 0.04}}\n  b: {budget: {limit_usd: 0.04}}\n";
    let (gateway, up) = start(&models, agents).await;
    // 90,000 bytes of prose are some 20,000 tokens: at a dollar a million 0.02 USD.
    let prose = "The quick brown fox jumps over the lazy dog. ".repeat(2_000);
    let ask = |agent: &str, model: &str, text: &str| {
        let body =
            format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"{text}"}}]}}"#);
        Ask::post("/v1/chat/completions", body).header("x-agent-id", agent)
    };
    budget_exhausted(&gateway.ask(ask("a", "bytes", &prose)).await, "agent:a");
    assert_eq!(up.requests().len(), 0);
    let answer = gateway.ask(ask("a", "tokens", &prose)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(gateway.line_of(&answer).await["bound"], "soft", "nothing is proved of a mock");
    all_settled(&gateway, "a").await;
    assert_eq!(spent_nano(&gateway, "a").await, up.bill_total());
    assert_eq!(gateway.metric("weir_budget_bound_violation_total", &[]).await, 0);
    // Digits are a token for three of them at most: counted, and still too much.
    let digits = "1 ".repeat(50_000);
    budget_exhausted(&gateway.ask(ask("b", "tokens", &digits)).await, "agent:b");
    assert_eq!(up.requests().len(), 1);
}

#[tokio::test]
async fn a_cap_below_what_is_spent_lets_a_stream_finish_and_nothing_after_it() {
    let models = model("m", "up", "chunks=30-interval=20", "1");
    let (gateway, up) =
        start(&models, "agents:\n  default: {}\n  a: {budget: {limit_usd: 1}}\n").await;
    let mut line = Line::open(gateway.data).await.unwrap();
    let head = line.begin(&ask("a", "m", r#","stream":true"#)).await.unwrap();
    assert!(matches!(line.piece().await, Piece::Bytes(_)));
    let lowered = push(&gateway, "a", json!({"budget_total": 0.000_001})).await;
    assert_eq!(lowered.status, 200, "{}", lowered.text());
    let answer = line.rest(head).await;
    assert!(answer.whole && answer.text().contains("[DONE]"), "{}", answer.text());
    gateway.line_of(&answer).await;
    all_settled(&gateway, "a").await;
    assert_eq!(spent_nano(&gateway, "a").await, up.bill_total());
    let text = admin(&gateway, Ask::get("/api/spend/a")).await.text();
    assert_eq!(nano(&text, "budget_remaining"), 1_000 - up.bill_total(), "{text}");
    budget_exhausted(&gateway.ask(ask("a", "m", "")).await, "agent:a");
}

#[tokio::test]
async fn text_that_grows_in_normal_form_is_held_at_what_it_grows_to() {
    /// Bytes of text in the body.
    const BYTES: usize = 200_000;
    let models = "  - {id: m, provider: up, upstream_id: 'mock-price=1:1-tokens=nfkc-chunks=10', price: {input: 1, \
                  output: 1}, context_tokens: 10000000, output_tokens_max: 100}\n";
    let agents = "agents:\n  default: {}\n  wide: {budget: {limit_usd: 9}}\n  tight: {budget: {limit_usd: 0.3}}\n";
    let (gateway, up) = start(models, agents).await;
    for text in ["\u{fdfa}", "\\ufdfa", "\\uFDFA"] {
        let text = text.repeat(BYTES / text.len());
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
        let asked =
            |agent| Ask::post("/v1/chat/completions", body.clone()).header("x-agent-id", agent);
        up.reset_bill();
        assert_eq!(push(&gateway, "wide", json!({"budget_spent": 0})).await.status, 200);
        let answer = gateway.ask(asked("wide")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        all_settled(&gateway, "wide").await;
        assert!(up.bill_total() > 1_000_000_000, "{:?}", up.bill());
        assert_eq!(spent_nano(&gateway, "wide").await, up.bill_total());
        budget_exhausted(&gateway.ask(asked("tight")).await, "agent:tight");
    }
    assert_eq!(gateway.metric("weir_budget_bound_violation_total", &[]).await, 0);
}

#[tokio::test]
async fn an_attempt_keeps_the_price_that_it_began_with() {
    let agents = "agents:\n  default: {}\n  a: {budget: {limit_usd: 1}}\n";
    let models = model("m", "up", "chunks=30-interval=20", "1");
    let (gateway, up) = start(&models, agents).await;
    let mut line = Line::open(gateway.data).await.unwrap();
    let head = line.begin(&ask("a", "m", r#","stream":true"#)).await.unwrap();
    assert!(matches!(line.piece().await, Piece::Bytes(_)));
    let dearer = models.replace("output: 1}", "output: 3}");
    assert_ne!(dearer, models);
    gateway.write(&format!("providers:\n{}models:\n{dearer}{agents}", openai("up", up.addr, "")));
    let reloaded = gateway.reload().await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let answer = line.rest(head).await;
    gateway.line_of(&answer).await;
    all_settled(&gateway, "a").await;
    let old = spent_nano(&gateway, "a").await;
    assert_eq!(old, up.bill_total(), "by the price that it began with");
    assert_eq!(gateway.ask(ask("a", "m", "")).await.status, 200);
    all_settled(&gateway, "a").await;
    assert_eq!(
        spent_nano(&gateway, "a").await,
        4 * old,
        "by the new one, and what was spent stays"
    );
    let file = gateway.folder.join("weir.db");
    wait_until("both settlements are written", || async { versions(&file) == 2 }).await;
}

/// How many price tables the ledger knows.
fn versions(file: &std::path::Path) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(file, flags).unwrap();
    let sql = "SELECT count(DISTINCT price_version) FROM entry WHERE price_version <> 0";
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// How many of so many parallel requests are answered; the others must be refused for want of money.
async fn answered(gateway: &Gateway, agent: &'static str, sessions: usize) -> usize {
    const ASKS: usize = 100;
    let mut asks = tokio::task::JoinSet::new();
    for at in 0..ASKS {
        let address = gateway.data;
        let asked = ask(agent, "m", r#","max_tokens":1000"#)
            .header("x-session-id", &format!("session-{}", at % sessions));
        asks.spawn(async move { Line::open(address).await.unwrap().ask(&asked).await.unwrap() });
    }
    let answers = asks.join_all().await;
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    let broke = answers.iter().filter(|answer| answer.status == 402).count();
    assert_eq!(good + broke, ASKS);
    good
}

#[tokio::test]
async fn first_requests_of_sessions_fit_exactly_as_often_as_there_is_room() {
    // Each holds 0.001 USD and costs as much.
    let models = model("m", "up", "chunks=1000-latency=300", "1");
    let agents = "agents:\n  default: {}\n  one: {budget: {limit_usd: 1}, session_budget: {limit_usd: 0.005}}\n  \
                  many: {budget: {limit_usd: 0.037}, session_budget: {limit_usd: 0.001}}\n  few: {budget: {limit_usd: \
                  1}, session_budget: {limit_usd: 0.003}}\n";
    let (gateway, up) = start(&models, agents).await;
    for (agent, sessions, fit) in [("one", 1, 5), ("many", 100, 37), ("few", 10, 30)] {
        up.reset_bill();
        assert_eq!(answered(&gateway, agent, sessions).await, fit, "{agent}");
        all_settled(&gateway, agent).await;
        assert_eq!(spent_nano(&gateway, agent).await, up.bill_total(), "{agent}");
        assert_eq!(up.bill_total(), i64::try_from(fit).unwrap() * 1_000_000, "{agent}");
    }
}

async fn at_level(gateway: &Gateway, spent: &str, level: u64) {
    let body = format!(r#"{{"budget_spent":{spent}}}"#);
    let pushed = admin(gateway, Ask::post("/api/budget/fleet", body)).await;
    assert_eq!(pushed.status, 200, "{}", pushed.text());
    level_is(gateway, level).await;
}

async fn level_is(gateway: &Gateway, level: u64) {
    wait_until("the fleet is at that level", || async {
        gateway.metric("weir_fleet_level", &[]).await == level
    })
    .await;
}

#[tokio::test]
async fn the_fleet_spends_less_from_level_to_level_until_it_is_thawed() {
    let models = ["dear", "mid", "cheap"].map(|id| model(id, "up", "chunks=1", "1")).concat();
    let rest = "fleet: {levels: {warning_usd: 1, soft_usd: 2, hard_usd: 3, emergency_usd: 4}, downgrade: {dear: mid}, \
                cheapest: [cheap]}\nagents:\n  default: {}\n  a: {budget: {limit_usd: 50}}\n";
    let (gateway, _up) = start(&models, rest).await;
    for (spent, level, dear, mid) in [
        ("0.5", 0, "dear", "mid"),
        ("1", 1, "dear", "mid"),
        ("2.5", 2, "mid", "mid"),
        ("3", 3, "cheap", "cheap"),
    ] {
        at_level(&gateway, spent, level).await;
        for (named, used) in [("dear", dear), ("mid", mid)] {
            for agent in ["a", "nobody"] {
                let answer = gateway.ask(ask(agent, named, "")).await;
                assert_eq!(
                    answer.header("x-gateway-model-used"),
                    used,
                    "{spent}: {}",
                    answer.text()
                );
            }
        }
    }
    at_level(&gateway, "4.5", 4).await;
    for agent in ["a", "nobody"] {
        let refused = gateway.ask(ask(agent, "cheap", "")).await;
        budget_exhausted(&refused, "fleet is frozen");
        assert_eq!(refused.json()["frozen"], true);
    }
    // Less spend does not end it, a word does.
    at_level(&gateway, "4.4", 4).await;
    assert_eq!(admin(&gateway, Ask::post("/api/thaw/fleet", "")).await.status, 200);
    level_is(&gateway, 3).await;
    let answer = gateway.ask(ask("a", "dear", "")).await;
    assert_eq!(answer.header("x-gateway-model-used"), "cheap", "{}", answer.text());
    for level in ["warning", "soft", "emergency"] {
        let label = format!("level=\"{level}\"");
        let told = gateway.metric("weir_budget_alerts_total", &["\"fleet\"", &label]).await;
        assert_eq!(told, 1, "{level}: {}", gateway.metrics().await);
    }
    let down = gateway.metric("weir_budget_alerts_total", &["\"fleet\"", "level=\"hard\""]).await;
    assert_eq!(down, 2, "on the way up, and when it was thawed");
}

#[tokio::test]
async fn what_was_told_before_a_kill_is_not_told_again() {
    let models = model("m", "up", "chunks=1", "1");
    let rest = "fleet: {levels: {warning_usd: 1, soft_usd: 2, hard_usd: 3, emergency_usd: 4}}\nagents:\n  default: {}\n  \
                a: {budget: {limit_usd: 10, hard_cap: false}}\n";
    let (gateway, _up) = start(&models, rest).await;
    let told = async |gateway: &Gateway, account: &str, level: &str| {
        let level = format!("level=\"{level}\"");
        gateway.metric("weir_budget_alerts_total", &[account, &level]).await
    };
    let push = async |gateway: &Gateway, spent: &str| {
        let body = format!(r#"{{"budget_spent":{spent}}}"#);
        let pushed = admin(gateway, Ask::post("/api/budget/a", body)).await;
        assert_eq!(pushed.status, 200, "{}", pushed.text());
    };
    at_level(&gateway, "2.5", 2).await;
    push(&gateway, "8").await;
    wait_until("it is told", || async { told(&gateway, "\"agent:a\"", "80%").await == 1 }).await;
    assert_eq!(told(&gateway, "\"fleet\"", "soft").await, 1);
    let gateway = gateway.killed_and_started().await;
    level_is(&gateway, 2).await;
    push(&gateway, "8.5").await;
    // What comes next is told, and only that.
    at_level(&gateway, "3", 3).await;
    push(&gateway, "10").await;
    wait_until("it is told", || async { told(&gateway, "\"agent:a\"", "100%").await == 1 }).await;
    assert_eq!(told(&gateway, "\"fleet\"", "hard").await, 1);
    for (account, level) in [("\"fleet\"", "soft"), ("\"fleet\"", "normal"), ("\"agent:a\"", "80%")]
    {
        assert_eq!(told(&gateway, account, level).await, 0, "{account} {level}");
    }
    // Nor is an emergency, which stays.
    at_level(&gateway, "4", 4).await;
    let gateway = gateway.killed_and_started().await;
    level_is(&gateway, 4).await;
    assert_eq!(admin(&gateway, Ask::post("/api/thaw/fleet", "")).await.status, 200);
    level_is(&gateway, 3).await;
    assert_eq!(told(&gateway, "\"fleet\"", "emergency").await, 0);
    let gateway = gateway.killed_and_started().await;
    level_is(&gateway, 3).await;
    assert_eq!(told(&gateway, "\"fleet\"", "hard").await, 0, "it was lifted before");
}

#[tokio::test]
async fn a_key_in_hand_of_nobody_pays_from_the_default() {
    let models = model("m", "up", "chunks=10", "1");
    let (gateway, up) = start(&models, "agents:\n  default: {budget: {limit_usd: 0.001}}\n").await;
    let mut asks = tokio::task::JoinSet::new();
    for at in 0..50 {
        let address = gateway.data;
        let asked = ask(&format!("new-{at}"), "m", r#","max_tokens":100"#).bearer(AGENT_KEY);
        asks.spawn(async move { Line::open(address).await.unwrap().ask(&asked).await.unwrap() });
    }
    let statuses: Vec<u16> = asks.join_all().await.iter().map(|answer| answer.status).collect();
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    let (served, refused) = (count(200), count(402));
    assert_eq!(served + refused, 50, "{statuses:?}");
    assert!(served > 0 && refused > 0, "the budget is for some of them: {statuses:?}");
    all_settled(&gateway, "default").await;
    assert!(up.bill_total() <= 1_000_000);
    assert_eq!(spent_nano(&gateway, "default").await, up.bill_total());
}

#[tokio::test]
async fn what_is_left_is_told_where_nothing_can_be_held_and_what_has_no_bound_is_no_empty_budget() {
    let models = "  - {id: open, provider: up, upstream_id: 'mock-chunks=3', price: {input: 1, output: 1}}\n";
    let agents = "agents:\n  default: {}\n  soft: {budget: {limit_usd: 5, hard_cap: false}}\n  \
                  hard: {budget: {limit_usd: 5}}\n";
    let (gateway, _up) = start(models, agents).await;
    let answer = gateway.ask(ask("soft", "open", "")).await;
    assert_eq!((answer.status, answer.header("x-gateway-budget-remaining-usd")), (200, "5"));
    assert!(answer.json()["_weir"]["budget_remaining"].is_number(), "{}", answer.text());
    let refused = gateway.ask(ask("hard", "open", "")).await;
    budget_exhausted(&refused, "the output has no bound");
    let body = refused.json();
    assert_eq!((&body["exhausted"], &body["unbounded"]), (&json!(false), &json!(true)));
    assert!(gateway.said().contains("has neither output_tokens_max nor context_tokens"));
    assert_eq!(gateway.ask(ask("hard", "open", r#","max_tokens":9"#)).await.status, 200);
}
