//! `/infer` while one of its security parts is down (S1-10): the validator and the output filter fail closed, a
//! call goes on without its canary.
//!
//! The process is the gateway itself with parts that break: this test binary, started as `broken_gateway`.

use std::path::PathBuf;
use std::sync::Arc;

use loadtest::upstream::server::Upstream;
use serde_json::{Value, json};
use weir::app::{self, Start};
use weir::config::raw_infer::Infer;
use weir::exchange::defence::{Checked, Defence, Down, Filtered, Guard};
use weir::guard::canary::Token;
use weir::guard::detect::policy::Policy;

use crate::budget::admin;
use crate::client::{Answer, Ask};
use crate::gateway::{Gateway, Setup};
use crate::provider::{mock, openai};

/// The variable that names the part which is down.
const DOWN: &str = "WEIR_IT_PART_DOWN";

/// The guard's parts but for one.
struct Without(String);

impl Defence for Without {
    fn validate(&self, text: &str, rules: &Infer) -> Result<Checked, Down> {
        if self.0 == "validator" { Err(Down("test")) } else { Guard.validate(text, rules) }
    }

    fn canary(&self, secret: &[u8], session: (&str, &str), rotation: u64) -> Result<Token, Down> {
        assert_ne!(self.0, "canary", "as the test wants it");
        Guard.canary(secret, session, rotation)
    }

    fn filter(
        &self,
        output: &str,
        canary: Option<&Token>,
        policy: &Arc<Policy>,
    ) -> Result<Filtered, Down> {
        assert_ne!(self.0, "output filter", "as the test wants it");
        Guard.filter(output, canary, policy)
    }
}

/// Not a test but the process that the tests below start.
#[test]
#[ignore = "runs a gateway until it is told to end"]
fn broken_gateway() {
    let Ok(down) = std::env::var(DOWN) else { return };
    let start = Start { defence: Arc::new(Without(down)), ..Start::new(false, false) };
    let refused = app::serve(PathBuf::from("weir.yaml"), start);
    panic!("it does not run: {refused:?}");
}

async fn without(part: &str) -> (Gateway, Upstream) {
    let up = mock("up").await;
    let provider = openai("up", up.addr, "");
    let yaml = format!("providers:\n{provider}models:\n  - {{id: m, provider: up}}\n");
    let line = r#"exec "$0" --exact infer_parts::broken_gateway --ignored --nocapture"#;
    let this = std::env::current_exe().unwrap();
    let setup = Setup::new(yaml).program("sh", &["-c", line, this.to_str().unwrap()]);
    (setup.env(DOWN, part).start().await, up)
}

async fn call(gateway: &Gateway) -> Answer {
    let body = json!({"messages": [{"role": "user", "content": "hello"}], "systemPrompt": "Be brief.", "model": "m"});
    gateway.ask(Ask::post("/infer", body.to_string())).await
}

/// What `/status` tells of the parts.
async fn told(gateway: &Gateway) -> (u16, Value) {
    let answer = admin(gateway, Ask::get("/status")).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn without_the_validator_nothing_is_asked() {
    let (gateway, up) = without("validator").await;
    for _ in 0..4 {
        let answer = call(&gateway).await;
        // It is no attempt of the caller: nobody is shut out for it.
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(answer.json()["error"], "INPUT_VALIDATION_FAILED");
    }
    assert_eq!(up.requests().len(), 0);
    let (status, said) = told(&gateway).await;
    assert_eq!(status, 503, "{said}");
    assert!(said.to_string().contains("validator: test"), "{said}");
}

#[tokio::test]
async fn without_the_output_filter_nothing_is_told() {
    let (gateway, up) = without("output filter").await;
    let answer = call(&gateway).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(answer.json()["error"], "OUTPUT_SECURITY_CHECK_FAILED");
    assert!(answer.json().get("output").is_none());
    assert_eq!(up.requests().len(), 1);
    let (status, said) = told(&gateway).await;
    assert_eq!(status, 503, "{said}");
    assert!(said.to_string().contains("output filter: it broke off"), "{said}");
}

#[tokio::test]
async fn without_a_canary_the_call_goes_on() {
    let (gateway, up) = without("canary").await;
    let answer = call(&gateway).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["metadata"]["canary"], json!({"injected": false}));
    let sent = up.requests()[0].json();
    assert_eq!(sent["messages"][0], json!({"role": "system", "content": "Be brief."}), "{sent}");
    assert!(gateway.said().contains("no canary could be made"), "{}", gateway.said());
    let (status, said) = told(&gateway).await;
    assert_eq!(status, 503, "{said}");
}
