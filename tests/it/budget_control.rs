//! The control API's calls about money, asked badly: amounts that make no sense, agents that nobody knows,
//! keys that are not good enough, and who may read whose spend.
//!
//! What the calls do when they are asked well is in `budget` and `budget_rules`.

use loadtest::upstream::server::Upstream;
use serde_json::{Value, json};

use crate::budget::{admin, nano, push, spend};
use crate::client::{Answer, Ask};
use crate::gateway::{ADMIN_KEY, AGENT_KEY, Gateway, Setup, wait_until};
use crate::provider::{mock, openai};

const OWN_KEY: &str = "it-own-key-0123456789";
const OTHER_KEY: &str = "it-other-key-0123456789";

async fn start() -> (Gateway, Upstream) {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up, upstream_id: mock-nohead, price: {{input: 1, output: 2}}, \
         context_tokens: 1000, output_tokens_max: 100}}\nteams: {{t: {{budget: {{limit_usd: 90}}}}}}\nagents:\n  \
         default: {{}}\n  own: {{keys: ['{OWN_KEY}'], team: t, budget: {{limit_usd: 50, period: none}}}}\n  other: \
         {{keys: ['{OTHER_KEY}'], budget: {{limit_usd: 50, period: monthly}}}}\n",
        openai("up", up.addr, "")
    );
    (Setup::new(yaml).start().await, up)
}

fn code(answer: &Answer) -> String {
    answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

const CALLS: [(&str, &str); 8] = [
    ("GET", "/api/spend/own"),
    ("GET", "/api/spend"),
    ("POST", "/api/budget/own"),
    ("POST", "/api/reset/own"),
    ("POST", "/api/freeze/own"),
    ("POST", "/api/thaw/own"),
    ("GET", "/api/limbo"),
    ("POST", "/api/limbo/1"),
];

fn call(method: &str, path: &str) -> Ask {
    let ask = Ask::new(method, path);
    if method == "POST" { ask.body(r#"{"budget_spent":1,"cost":1}"#) } else { ask }
}

#[tokio::test]
async fn keys_open_what_they_are_for_and_nothing_else() {
    let (gateway, _up) = start().await;
    for (method, path) in CALLS {
        let asked = || call(method, path);
        let none = gateway.ask_admin(asked()).await;
        assert_eq!(none.status, 401, "{method} {path}: {}", none.text());
        let wrong = gateway.ask_admin(asked().bearer("it-wrong-key-0123456789")).await;
        assert_eq!(wrong.status, 401, "{method} {path}: {}", wrong.text());
        for key in [AGENT_KEY, OTHER_KEY] {
            let answer = gateway.ask_admin(asked().bearer(key)).await;
            if path == "/api/spend" && key == OTHER_KEY {
                continue;
            }
            assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
            assert_eq!(code(&answer), "agent_forbidden", "{method} {path}");
        }
        let ours = gateway.ask_admin(asked().bearer(ADMIN_KEY)).await;
        assert!(![401, 403].contains(&ours.status), "{method} {path}: {}", ours.text());
    }
}

#[tokio::test]
async fn an_agent_reads_its_own_spend_and_nobody_elses() {
    let (gateway, _up) = start().await;
    let read = |path: &'static str, key| gateway.ask_admin(Ask::get(path).bearer(key));
    let own = read("/api/spend/own", OWN_KEY).await;
    assert_eq!((own.status, &own.json()["agent_id"]), (200, &json!("own")));
    for path in ["/api/spend/other", "/api/spend/fleet", "/api/spend/team:t", "/api/spend/nobody"] {
        let answer = read(path, OWN_KEY).await;
        assert_eq!((answer.status, code(&answer).as_str()), (403, "agent_forbidden"), "{path}");
    }
    let listed = read("/api/spend", OWN_KEY).await;
    let listed = listed.json();
    assert_eq!(listed.as_object().unwrap().keys().collect::<Vec<_>>(), ["own"], "{listed}");
    let all = read("/api/spend", ADMIN_KEY).await.json();
    for name in ["own", "other", "team:t", "fleet", "default"] {
        assert!(all[name].is_object(), "{name}: {all}");
    }
    assert_eq!(all["own"]["period"], "none");
    assert!(all["own"]["period_ends"].is_null() && all["other"]["period_ends"].is_string());
}

#[tokio::test]
async fn nobody_knows_that_agent() {
    let (gateway, _up) = start().await;
    for (method, path) in CALLS.into_iter().filter(|(_, path)| path.ends_with("/own")) {
        for name in ["nobody", "team:nobody", "session:own/none", "agent:own:x", "%2e%2e", "own%2f"]
        {
            let path = path.replace("own", name);
            let answer = admin(&gateway, call(method, &path)).await;
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
            if name == "nobody" {
                assert_eq!(code(&answer), "agent_not_found", "{method} {path}");
            }
        }
    }
}

/// Bodies that must change nothing, and the code of the refusal.
const BAD: [(&str, &str); 26] = [
    ("", "invalid_json"),
    ("{", "invalid_json"),
    ("nonsense", "invalid_json"),
    (r#"{"budget_spent":NaN}"#, "invalid_json"),
    (r#"{"budget_spent":Infinity}"#, "invalid_json"),
    (r#"{"budget_spent":1,}"#, "invalid_json"),
    (r#"{"budget_spent":+1}"#, "invalid_json"),
    (r#"{"budget_spent":01}"#, "invalid_json"),
    ("[]", "invalid_request"),
    ("null", "invalid_request"),
    ("{}", "invalid_request"),
    (r#"{"budget":1}"#, "invalid_request"),
    (r#"{"budget_spent":-1}"#, "invalid_request"),
    (r#"{"budget_total":-0.01}"#, "invalid_request"),
    (r#"{"budget_spent":"-1"}"#, "invalid_request"),
    (r#"{"budget_spent":0.0000000001}"#, "invalid_request"),
    (r#"{"budget_total":1.1234567891}"#, "invalid_request"),
    (r#"{"budget_total":10000000000}"#, "invalid_request"),
    (r#"{"budget_total":1e300}"#, "invalid_request"),
    (r#"{"budget_spent":"NaN"}"#, "invalid_request"),
    (r#"{"budget_spent":"abc"}"#, "invalid_request"),
    (r#"{"budget_spent":""}"#, "invalid_request"),
    (r#"{"budget_spent":null}"#, "invalid_request"),
    (r#"{"budget_spent":true}"#, "invalid_request"),
    (r#"{"budget_spent":[1]}"#, "invalid_request"),
    (r#"{"budget_spent":3,"budget_total":{}}"#, "invalid_request"),
];

#[tokio::test]
async fn amounts_that_make_no_sense_change_nothing() {
    let (gateway, _up) = start().await;
    let before = spend(&gateway, "own").await;
    for (body, wanted) in BAD {
        let answer = admin(&gateway, Ask::post("/api/budget/own", body)).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert_eq!(code(&answer), wanted, "{body}: {}", answer.text());
        if let Some(field) = ["budget_total", "budget_spent"].into_iter().find(|f| {
            wanted == "invalid_request"
                && body.matches(f).count() == 1
                && body.matches(':').count() == 1
        }) {
            assert!(answer.text().contains(field), "{body}: {}", answer.text());
        }
        assert_eq!(spend(&gateway, "own").await, before, "{body}");
    }
    for (body, spent) in [
        (r#"{"budget_spent":"1.5"}"#, 1_500_000_000),
        (r#"{"budget_spent":0.000000001}"#, 1),
        (r#"{"budget_spent":1e-6}"#, 1_000),
        (r#"{"budget_spent":0}"#, 0),
        (r#"{ "x" : [1], "budget_spent" : 9000000000 }"#, 9_000_000_000_000_000_000),
    ] {
        let answer = admin(&gateway, Ask::post("/api/budget/own", body)).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        assert_eq!(nano(&answer.text(), "budget_spent"), spent, "{body}");
    }
    assert_eq!(push(&gateway, "own", json!({"budget_total": 7})).await.status, 200);
    assert_eq!(spend(&gateway, "own").await["budget_total"], 7);
    assert_eq!(push(&gateway, "own", json!({"budget_total": null})).await.status, 200);
    assert_eq!(spend(&gateway, "own").await["budget_total"], 50);
}

#[tokio::test]
async fn whoever_says_what_is_spent_vouches_for_the_whole_budget() {
    let (gateway, _up) = start().await;
    let source = async |gateway: &Gateway, agent: &str| {
        let standing = spend(gateway, agent).await;
        (standing["budget_source"].clone(), standing["budget_total"].clone())
    };
    assert_eq!(source(&gateway, "own").await, (json!("local"), json!(50)));
    assert_eq!(push(&gateway, "own", json!({"budget_spent": 3})).await.status, 200);
    assert_eq!(source(&gateway, "own").await, (json!("console"), json!(50)), "S0-16");
    assert_eq!(source(&gateway, "other").await.0, "local");
    let gateway = gateway.killed_and_started().await;
    assert_eq!(source(&gateway, "own").await, (json!("console"), json!(50)), "it is durable");
    let both = json!({"budget_spent": 3, "budget_total": 40});
    assert_eq!(push(&gateway, "own", both).await.status, 200);
    assert_eq!(source(&gateway, "own").await, (json!("console"), json!(40)));
    assert_eq!(push(&gateway, "own", json!({"budget_total": null})).await.status, 200);
    assert_eq!(source(&gateway, "own").await, (json!("local"), json!(50)));
    // Where there is no limit there is none to vouch for.
    assert_eq!(push(&gateway, "default", json!({"budget_spent": 3})).await.status, 200);
    assert_eq!(source(&gateway, "default").await, (json!("local"), Value::Null));
}

#[tokio::test]
async fn a_hold_in_limbo_that_cost_more_is_charged_and_freezes_its_agent() {
    let (gateway, _up) = start().await;
    assert_eq!(gateway.ask(Ask::chat("m", false).bearer(OWN_KEY)).await.status, 502);
    let listed = || admin(&gateway, Ask::get("/api/limbo"));
    wait_until("the hold is in limbo", || async { listed().await.json()["count"] == 1 }).await;
    let all = listed().await;
    let held = nano(&all.text(), "held");
    let path = format!("/api/limbo/{}", all.json()["holds"][0]["hold"].as_str().unwrap());
    let charged = admin(&gateway, Ask::post(&path, r#"{"cost":2.5}"#)).await;
    assert_eq!(charged.status, 200, "{}", charged.text());
    assert_eq!(nano(&charged.text(), "charged"), 2_500_000_000 - held);
    assert_eq!(charged.json()["refunded"], 0);
    let standing = spend(&gateway, "own").await;
    assert_eq!((&standing["budget_spent"], &standing["frozen"]), (&json!(2.5), &json!(true)));
    assert_eq!(spend(&gateway, "team:t").await["budget_spent"], 2.5);
    assert_eq!(gateway.metric("weir_budget_bound_violation_total", &[]).await, 1);
    assert_eq!(gateway.ask(Ask::chat("m", false).bearer(OWN_KEY)).await.status, 402);
    let gateway = gateway.killed_and_started().await;
    // How fast it was spent is not kept, and so what lies ahead looks different.
    let now = spend(&gateway, "own").await;
    let kept = |key: &str| now[key] == standing[key];
    let keys = ["budget_spent", "budget_held", "budget_remaining", "frozen", "period"];
    assert!(keys.iter().all(|key| kept(key)), "it is durable: {now} {standing}");
}

#[tokio::test]
async fn a_hold_in_limbo_is_settled_once_and_by_its_number() {
    let (gateway, _up) = start().await;
    let answer = gateway.ask(Ask::chat("m", false).bearer(OWN_KEY)).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    let listed = || admin(&gateway, Ask::get("/api/limbo"));
    wait_until("the hold is in limbo", || async { listed().await.json()["count"] == 1 }).await;
    let all = listed().await;
    let one = all.json()["holds"][0].clone();
    assert_eq!((&one["agent_id"], &one["model"]), (&json!("own"), &json!("m")));
    assert_eq!(one["request_id"], answer.header("x-gateway-request-id"));
    let held = nano(&all.text(), "held");
    let path = format!("/api/limbo/{}", one["hold"].as_str().unwrap());
    for (path, body, status) in [
        (path.as_str(), r#"{"cost":-1}"#, 400),
        (path.as_str(), r#"{"cost":"x"}"#, 400),
        (path.as_str(), "{}", 400),
        ("/api/limbo/x", r#"{"cost":0}"#, 404),
        ("/api/limbo/-1", r#"{"cost":0}"#, 404),
        ("/api/limbo/123", r#"{"cost":0}"#, 404),
    ] {
        let refused = admin(&gateway, Ask::post(path, body)).await;
        assert_eq!(refused.status, status, "{path} {body}: {}", refused.text());
    }
    let settle = || admin(&gateway, Ask::post(&path, r#"{"cost":0.000000007}"#));
    let settled = settle().await;
    assert_eq!((settled.status, &settled.json()["status"]), (200, &json!("settled")));
    assert_eq!(nano(&settled.text(), "refunded"), held - 7);
    assert_eq!(settle().await.status, 404, "once");
    assert_eq!(listed().await.json()["count"], 0);
    let standing = admin(&gateway, Ask::get("/api/spend/own")).await.text();
    assert_eq!(nano(&standing, "budget_spent"), 7);
}
