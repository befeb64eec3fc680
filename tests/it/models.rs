//! The other paths of the data plane: lists of models, counting tokens, everything else below `/v1`, health
//! and probes.

use loadtest::upstream::seen::sha256_hex;
use loadtest::upstream::server::Upstream;

use crate::client::{Ask, Line};
use crate::gateway::{ADMIN_KEY, Gateway, Setup};
use crate::provider::{anthropic, key_of, mock, openai};

async fn start() -> (Gateway, Upstream, Upstream) {
    let (a, c) = (mock("a").await, mock("c").await);
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: vendor/one, provider: a, upstream_id: up-one, context_tokens: 1000}}\n\
         \x20 - {{id: off, provider: a, enabled: false}}\n  - {{id: claude-x, provider: c, upstream_id: claude-up}}\n\
         \x20 - {{id: '*', provider: a}}\naliases: {{sonnet: claude-x, short: vendor/one, gone: off}}\nagents:\n  default: {{}}\n  agent-7: {{}}\n",
        openai("a", a.addr, ""),
        anthropic("c", c.addr, "")
    );
    (Setup::new(yaml).start().await, a, c)
}

fn ids(list: &serde_json::Value) -> Vec<String> {
    list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn models_are_listed_in_both_dialects() {
    let (gateway, a, c) = start().await;
    let models = ["vendor/one", "claude-x"];
    let aliases = ["sonnet", "short"];
    let autos = ["auto", "weir", "optmod", "optmod-router", "openrouter/auto"];
    let expected = [&models[..], &aliases[..], &autos[..]].concat();
    let openai = gateway.ask(Ask::get("/v1/models")).await;
    assert_eq!((openai.status, openai.header("content-type")), (200, "application/json"));
    assert_eq!(openai.json()["object"], "list");
    assert_eq!(ids(&openai.json()), expected, "no disabled model, no alias of one, no wildcard");
    assert!(openai.json()["data"].as_array().unwrap().iter().all(|one| one["object"] == "model"));
    let version = |path: &str| Ask::get(path).header("anthropic-version", "2023-06-01");
    for ask in [version("/v1/models?limit=1000"), Ask::get("/anthropic/v1/models")] {
        let claude = gateway.ask(ask).await.json();
        assert_eq!(ids(&claude), expected);
        assert_eq!(
            (&claude["has_more"], &claude["first_id"]),
            (&false.into(), &"vendor/one".into())
        );
        assert!(claude["data"].as_array().unwrap().iter().all(|one| one["type"] == "model"));
    }
    for path in ["/v1/models/vendor/one", "/v1/models/vendor%2Fone"] {
        assert_eq!(gateway.ask(Ask::get(path)).await.json()["id"], "vendor/one", "{path}");
    }
    assert_eq!(gateway.ask(version("/v1/models/claude-x")).await.json()["type"], "model");
    let short = gateway.ask(Ask::get("/v1/models/short")).await.json();
    assert_eq!((&short["id"], &short["alias_of"]), (&"short".into(), &"vendor/one".into()));
    assert_eq!((&short["owned_by"], &short["context_length"]), (&"a".into(), &1000.into()));
    let sonnet = gateway.ask(version("/v1/models/sonnet")).await.json();
    assert_eq!((&sonnet["id"], &sonnet["alias_of"]), (&"sonnet".into(), &"claude-x".into()));
    assert_eq!((&sonnet["type"], &sonnet["display_name"]), (&"model".into(), &"sonnet".into()));
    for gone in ["/v1/models/off", "/v1/models/gone", "/v1/models/nothing", "/v1/models/*"] {
        let answer = gateway.ask(Ask::get(gone)).await;
        assert_eq!(
            (answer.status, answer.openai_code().as_str()),
            (404, "model_not_found"),
            "{gone}"
        );
    }
    let answer = gateway.ask(Ask::new("GET", "/v1/models")).await;
    assert_eq!((answer.status, answer.openai_code().as_str()), (401, "missing_key"));
    assert!(a.requests().is_empty() && c.requests().is_empty());
}

#[tokio::test]
async fn the_anthropic_prefix_and_token_counting() {
    let (gateway, _a, c) = start().await;
    let body =
        r#"{"model":"claude-x","max_tokens":5,"messages":[{"role":"user","content":"hello"}]}"#;
    for (path, upstream) in [
        ("/anthropic/v1/messages", "/v1/messages"),
        ("/anthropic/v1/messages?beta=true", "/v1/messages?beta=true"),
        ("/v1/messages?beta=true", "/v1/messages?beta=true"),
        ("/v1/messages/count_tokens", "/v1/messages/count_tokens"),
        ("/anthropic/v1/messages/count_tokens?beta=true", "/v1/messages/count_tokens?beta=true"),
    ] {
        c.clear();
        let answer = gateway.ask(Ask::post(path, body)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let seen = c.requests().remove(0);
        assert_eq!((seen.path.as_str(), &seen.json()["model"]), (upstream, &"claude-up".into()));
        assert!(seen.carried(&key_of("c")));
        let line = gateway.line_of(&answer).await;
        if path.contains("count_tokens") {
            assert!(answer.json().get("_weir").is_none() && answer.json()["input_tokens"].is_u64());
            assert_eq!(
                (&line["surface"], &line["cost_usd"]),
                (&"count_tokens".into(), &"0".into())
            );
        } else {
            assert_eq!(
                (&line["surface"], &line["completion_tokens"]),
                (&"messages".into(), &4.into())
            );
        }
    }
}

#[tokio::test]
async fn other_paths_go_to_the_first_provider_of_the_dialect() {
    let (gateway, a, c) = start().await;
    for (method, path) in [
        ("GET", "/v1/files?limit=2"),
        ("DELETE", "/v1/files/file-1"),
        ("PUT", "/v1/x"),
        ("PATCH", "/v1/y"),
        ("OPTIONS", "/v1/z"),
        ("GET", "/v1"),
    ] {
        a.clear();
        let answer = gateway.ask(Ask::get(path).with_method(method)).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        let seen = a.requests().remove(0);
        assert_eq!((seen.method.as_str(), seen.path.as_str()), (method, path));
        assert!(seen.carried(&key_of("a")) && seen.credentials.len() == 1);
        assert_eq!(answer.json()["method"], method, "{}", answer.text());
        assert_eq!(answer.header("x-gateway-provider"), "a");
    }
    let form =
        "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nvendor/one\r\n--b--\r\n";
    let ask = Ask::post("/v1/audio/transcriptions", form)
        .set("content-type", "multipart/form-data; boundary=b");
    a.clear();
    assert_eq!(gateway.ask(ask.chunked(20)).await.status, 200);
    let seen = a.requests().remove(0);
    // A form names its model, too.
    let sent = form.replace("vendor/one", "up-one");
    assert_eq!(seen.body_sha256, sha256_hex(sent.as_bytes()));
    assert_eq!(seen.header("content-type"), Some("multipart/form-data; boundary=b"));
    // A JSON body names its model here too.
    a.clear();
    let answer =
        gateway.ask(Ask::post("/v1/moderations", r#"{"model":"vendor/one","input":"x"}"#)).await;
    assert_eq!((answer.status, &a.requests()[0].json()["model"]), (200, &"up-one".into()));
    let ask = Ask::get("/v1/messages/batches").header("anthropic-version", "2023-06-01");
    assert_eq!(gateway.ask(ask).await.header("x-gateway-provider"), "c");
    assert_eq!(c.requests().len(), 1);
    let embed = r#"{"model":"vendor/one","input":["hello","you"]}"#;
    let answer = gateway.ask(Ask::post("/v1/embeddings", embed)).await;
    let line = gateway.line_of(&answer).await;
    assert_eq!(
        (answer.status, &line["input_tokens"], &line["completion_tokens"]),
        (200, &2.into(), &0.into())
    );
    let answer =
        gateway.ask(Ask::post("/v1/completions", r#"{"model":"vendor/one","prompt":"hi"}"#)).await;
    assert_eq!((answer.status, answer.json()["_weir"].is_object()), (200, true));
}

#[tokio::test]
async fn the_model_of_other_paths_counts_however_it_is_written() {
    let (up, far) = (mock("up").await, mock("far").await);
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: near, provider: up, upstream_id: near-up}}\n  - {{id: voice, provider: far, \
         upstream_id: voice-up}}\nagents:\n  default: {{}}\n  narrow: {{models: [near]}}\n",
        openai("up", up.addr, ""),
        openai("far", far.addr, "")
    );
    let gateway = Setup::new(yaml).start().await;
    let form = |model: &str| {
        format!(
            "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n\
             --X\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--X--\r\n"
        )
    };
    let kind = "multipart/form-data; boundary=X";
    let ask = |kind: &str, body: String| {
        Ask::post("/v1/audio/transcriptions", body).set("content-type", kind)
    };
    for (ask, sent) in [
        (ask(kind, form("voice")), form("voice-up")),
        (
            ask("text/plain", r#"{"model":"voice"}"#.to_owned()),
            r#"{"model":"voice-up"}"#.to_owned(),
        ),
    ] {
        gateway.ask(ask).await;
        let seen = far.requests().pop().expect("it goes to the provider of its model");
        assert_eq!(seen.body_sha256, sha256_hex(sent.as_bytes()));
    }
    assert!(up.requests().is_empty());
    for (kind, body) in [
        (kind, form("voice")),
        ("text/plain", r#" {"model":"voice"}"#.to_owned()),
        ("application/json", r#"{"model":"voice"}"#.to_owned()),
        (kind, form("near") + &form("voice")),
        ("application/octet-stream", "model=voice".to_owned()),
    ] {
        let answer = gateway.ask(ask(kind, body.clone()).header("x-agent-id", "narrow")).await;
        assert_eq!(answer.status, 403, "{kind} {body}: {}", answer.text());
    }
    let near = ask(kind, form("near")).header("x-agent-id", "narrow");
    assert_ne!(gateway.ask(near).await.status, 403);
    assert_eq!(far.requests().len(), 2);
}

#[tokio::test]
async fn paths_that_are_not_there() {
    let (gateway, a, c) = start().await;
    for (method, path, status, code) in [
        ("GET", "/v2/chat", 404, "not_found"),
        ("POST", "/", 404, "not_found"),
        ("GET", "/v1x", 404, "not_found"),
        ("GET", "/admin", 404, "not_found"),
        ("GET", "/metrics", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/messages", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("POST", "/api/reload", 404, "not_found"),
    ] {
        let answer = gateway.ask(Ask::get(path).with_method(method)).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        let told = if answer.json().get("type").is_some() {
            answer.json()["error"]["details"]["error_code"].as_str().unwrap().to_owned()
        } else {
            answer.openai_code()
        };
        assert_eq!(told, code, "{method} {path}");
        let theirs = path.starts_with("/v1/messages");
        assert_eq!(answer.json().get("type").is_some(), theirs, "{method} {path}");
    }
    // Ways out of /v1 must not reach other paths of a provider with our key.
    for path in
        ["/v1/../admin", "/v1/%2e%2e/admin", "/v1/./../../secret", "//v1/files", "/v1/..%2fadmin"]
    {
        gateway.ask(Ask::get(path)).await;
    }
    for seen in a.requests().iter().chain(&c.requests()) {
        let path = seen
            .path
            .replace("%2e", ".")
            .replace("%2E", ".")
            .replace("%2f", "/")
            .replace("%2F", "/");
        assert!(
            path.starts_with("/v1") && !path.contains("/.."),
            "a provider was asked for {}",
            seen.path
        );
    }
}

#[tokio::test]
async fn probes_need_no_key_and_health_hides_names() {
    let (gateway, a, _c) = start().await;
    for path in ["/healthz", "/livez"] {
        assert_eq!(gateway.ask(Ask::new("GET", path)).await.json()["status"], "ok", "{path}");
    }
    assert_eq!(gateway.ask(Ask::new("GET", "/readyz")).await.json()["status"], "ready");
    for path in ["/", "/health", "/healthz", "/readyz", "/livez", "/api/health"] {
        let mut line = Line::open(gateway.data).await.unwrap();
        line.send(&Ask::new("HEAD", path).to_bytes()).await;
        let head = line.head().await.unwrap();
        assert_eq!(head.status, 200, "HEAD {path}");
        line.expect_no_body();
        // The connection goes on, so no body came.
        let next = line.ask(&Ask::new("GET", "/livez")).await.unwrap();
        assert_eq!((next.status, &next.json()["status"]), (200, &"ok".into()), "after HEAD {path}");
    }
    for path in ["/health", "/api/health"] {
        let open = gateway.ask(Ask::new("GET", path)).await;
        assert_eq!((open.status, &open.json()["status"]), (200, &"ok".into()));
        assert_eq!(open.json()["retryStatusCodes"].as_array().unwrap().len(), 9);
        assert!(open.json()["enabledRouteCount"].is_u64());
        for secret in ["agent-7", "127.0.0.1", &a.addr.port().to_string()] {
            assert!(!open.text().contains(secret), "{path} shows {secret}: {}", open.text());
        }
        for ask in [Ask::get(path), Ask::new("GET", path).header("x-api-key", ADMIN_KEY)] {
            let known = gateway.ask(ask).await.json();
            assert_eq!(known["agents"], serde_json::json!(["default", "agent-7"]));
            assert!(
                known["openrouter_url"].as_str().unwrap().contains(&a.addr.to_string()),
                "{known}"
            );
        }
        let wrong = gateway.ask(Ask::get(path).bearer("it-wrong-key-0123456789")).await;
        assert!(wrong.status == 200 && !wrong.text().contains("agent-7"), "{}", wrong.text());
    }
}

#[tokio::test]
async fn a_web_socket_is_told_to_use_http() {
    let (gateway, a, _c) = start().await;
    let ask =
        Ask::get("/v1/responses").header("connection", "Upgrade").header("upgrade", "websocket");
    let ask = ask
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
    for ask in [ask.clone(), ask.without("authorization")] {
        let answer = gateway.ask(ask).await;
        assert_eq!((answer.status, answer.openai_code().as_str()), (426, "upgrade_required"));
    }
    assert!(a.requests().is_empty());
}
