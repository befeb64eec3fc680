//! Which model and provider a request goes to, and what arrives there: path, host, credential, headers, body.
//!
//! What happens when they fail is in `fallback`; lists of models and health are in `models`.

use std::fmt::Write;
use std::io::Write as _;

use loadtest::upstream::seen::sha256_hex;
use loadtest::upstream::server::Upstream;

use crate::client::{Ask, chat_body};
use crate::gateway::{AGENT_KEY, Gateway, Setup};
use crate::provider::{Canned, anthropic, key_of, mock, openai};

/// A gateway before two providers, with every kind of name.
async fn start() -> (Gateway, Upstream, Upstream) {
    let (a, b) = (mock("a").await, mock("b").await);
    let yaml = format!(
        "providers:\n{}{}{}models:\n\
         \x20 - {{id: one, provider: a, price: {{input: 3.00, output: 15.00}}}}\n\
         \x20 - {{id: two, provider: b, upstream_id: vendor/two}}\n\
         \x20 - {{id: off, provider: a, enabled: false}}\n\
         \x20 - {{id: vendor/three-large, provider: a, upstream_id: \"thr\\u00e9e\\\"x\"}}\n\
         \x20 - {{id: claude-x, provider: a-claude}}\n\
         aliases: {{gpt-4: one, best: vendor/three-large}}\n\
         routing: {{cooldown_ms: 0}}\n\
         agents:\n  default: {{}}\n  nailed: {{mode: pinned}}\n  narrow: {{models: [two]}}\n\
         \x20 bound: {{keys: [it-bound-key-0123456789], models: [one]}}\n",
        openai("a", a.addr, ""),
        openai("b", b.addr, ""),
        anthropic("a-claude", a.addr, "")
    );
    (Setup::new(yaml).start().await, a, b)
}

#[tokio::test]
async fn auto_names_in_any_case_take_turns() {
    let (gateway, _a, _b) = start().await;
    let mut used = Vec::new();
    for name in ["auto", "AUTO", "Weir", "optmod", "OptMod-Router", "OpenRouter/AUTO"] {
        let answer = gateway.ask(Ask::chat(name, false)).await;
        assert_eq!((answer.status, answer.header("x-gateway-switched")), (200, "0"), "{name}");
        used.push(answer.header("x-gateway-model-used").to_owned());
        assert_eq!(gateway.line_of(&answer).await["decision"], "round_robin");
    }
    for body in [r#"{"messages":[]}"#, r#"{"model":null,"messages":[]}"#] {
        let answer = gateway.ask(Ask::post("/v1/chat/completions", body)).await;
        if answer.status == 200 {
            used.push(answer.header("x-gateway-model-used").to_owned());
        } else {
            assert_eq!(answer.openai_code(), "invalid_request", "{body}");
        }
    }
    let turns = ["one", "two", "vendor/three-large"].iter().cycle();
    assert_eq!(used, turns.take(used.len()).copied().collect::<Vec<_>>());
    let claude = gateway.ask(Ask::messages("auto", false)).await;
    assert_eq!(claude.header("x-gateway-model-used"), "claude-x", "the models of its dialect only");
    let passthrough = Ask::chat("auto", false).header("x-weir-route", "passthrough");
    for _ in 0..3 {
        let answer = gateway.ask(passthrough.clone()).await;
        assert_eq!(answer.header("x-gateway-model-used"), "one", "each begins at the first");
    }
    let wrong = gateway.ask(Ask::chat("auto", false).header("x-weir-route", "dice")).await;
    assert_eq!((wrong.status, wrong.openai_code().as_str()), (400, "invalid_request"));
}

#[tokio::test]
async fn names_lead_where_they_should() {
    let (gateway, a, b) = start().await;
    for (name, used, sent, decision) in [
        ("one", "one", "one", "named"),
        ("two", "two", "vendor/two", "named"),
        ("gpt-4", "one", "one", "alias"),
        ("best", "vendor/three-large", "thr\u{e9}e\"x", "alias"),
    ] {
        a.clear();
        b.clear();
        let answer = gateway.ask(Ask::chat(name, false)).await;
        assert_eq!((answer.status, answer.header("x-gateway-model-used")), (200, used), "{name}");
        assert_eq!(answer.header("x-gateway-attempt-count"), "1");
        let provider = if name == "two" { "b" } else { "a" };
        assert_eq!(answer.header("x-gateway-provider"), provider);
        let seen = if name == "two" { &b } else { &a }.requests().remove(0);
        assert_eq!(seen.json()["model"], sent, "{name}");
        assert!(seen.carried(&key_of(provider)) && seen.credentials.len() == 1);
        let line = gateway.line_of(&answer).await;
        assert_eq!((&line["decision"], &line["final_model"]), (&decision.into(), &used.into()));
        assert_eq!(line["requested_model"], name);
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_with_close_ids() {
    let (gateway, a, b) = start().await;
    for (name, close) in
        [("onne", "one"), ("three-large", "vendor/three-large"), ("off", "disabled")]
    {
        let answer = gateway.ask(Ask::chat(name, false)).await;
        assert_eq!(
            (answer.status, answer.openai_code().as_str()),
            (404, "model_not_found"),
            "{name}"
        );
        assert_eq!(answer.json()["error"]["param"], "model");
        assert!(answer.text().contains(close), "{name}: {}", answer.text());
    }
    let answer = gateway.ask(Ask::messages("claude-y", false)).await;
    assert_eq!((answer.status, answer.anthropic_type().as_str()), (404, "not_found_error"));
    assert!(answer.text().contains("claude-x"), "{}", answer.text());
    let embed = Ask::post("/v1/embeddings", r#"{"model":"claude-x","input":"hello"}"#);
    let answer = gateway.ask(embed).await;
    assert_eq!(
        (answer.status, answer.openai_code().as_str()),
        (400, "invalid_request"),
        "nothing of that dialect to translate to"
    );
    assert!(a.requests().is_empty() && b.requests().is_empty());
    // One label for all names that are not configured.
    gateway.lines_when(5).await;
    assert_eq!(
        gateway.metric("weir_requests_total", &["model=\"other\"", "status=\"404\""]).await,
        3
    );
}

#[tokio::test]
async fn agents_keep_to_their_models() {
    let (gateway, _a, _b) = start().await;
    let with = |agent: &str, model: &str| Ask::chat(model, false).header("x-agent-id", agent);
    assert_eq!(gateway.ask(with("narrow", "two")).await.status, 200);
    let refused = gateway.ask(with("narrow", "one")).await;
    assert_eq!((refused.status, refused.openai_code().as_str()), (403, "agent_forbidden"));
    for _ in 0..3 {
        let answer = gateway.ask(with("narrow", "auto")).await;
        assert_eq!((answer.status, answer.header("x-gateway-model-used")), (200, "two"));
    }
    let nailed = gateway.ask(with("nailed", "auto")).await;
    assert_eq!((nailed.status, nailed.openai_code().as_str()), (400, "invalid_request"));
    assert_eq!(gateway.ask(with("nailed", "one")).await.status, 200);
    // A bound key speaks for its agent without a header, and for nobody else.
    let bound = Ask::chat("one", false).bearer("it-bound-key-0123456789");
    let answer = gateway.ask(bound.clone()).await;
    assert_eq!((answer.status, &gateway.line_of(&answer).await["agent"]), (200, &"bound".into()));
    assert_eq!(gateway.ask(bound.clone().header("x-agent-id", "bound")).await.status, 200);
    let other = gateway.ask(bound.header("x-agent-id", "narrow")).await;
    assert_eq!((other.status, other.openai_code().as_str()), (403, "agent_forbidden"));
    let stranger = gateway.ask(with("stranger", "one")).await;
    assert_eq!(
        (stranger.status, &gateway.line_of(&stranger).await["agent"]),
        (200, &"default".into())
    );
}

#[tokio::test]
async fn a_pinned_agent_never_switches() {
    let (a, b) = (mock("a").await, mock("b").await);
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: x, provider: a, upstream_id: mock-503}}\n  - {{id: y, provider: b}}\n\
         routing: {{cooldown_ms: 0, fallbacks: {{x: [y]}}, fallback_default: [y]}}\n\
         agents:\n  default: {{}}\n  nailed: {{mode: pinned}}\n",
        openai("a", a.addr, ""),
        openai("b", b.addr, "")
    );
    let gateway = Setup::new(yaml).start().await;
    assert_eq!(gateway.ask(Ask::chat("x", false)).await.status, 200);
    let answer = gateway.ask(Ask::chat("x", false).header("x-agent-id", "nailed")).await;
    assert_eq!((answer.status, b.requests().len()), (503, 1), "pinned: never another model");
}

#[tokio::test]
async fn chains_belong_to_a_model_or_to_all() {
    let (a, b) = (mock("a").await, mock("b").await);
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: own, provider: a, upstream_id: mock-503}}\n\
         \x20 - {{id: plain, provider: a, upstream_id: mock-503}}\n  - {{id: none, provider: a, upstream_id: mock-503}}\n\
         \x20 - {{id: y, provider: b}}\n  - {{id: z, provider: b}}\n\
         routing: {{cooldown_ms: 0, fallbacks: {{own: [y], none: []}}, fallback_default: [z]}}\n",
        openai("a", a.addr, ""),
        openai("b", b.addr, "")
    );
    let gateway = Setup::new(yaml).start().await;
    for (model, used) in [("own", "y"), ("plain", "z"), ("none", "none")] {
        let answer = gateway.ask(Ask::chat(model, false)).await;
        assert_eq!(answer.header("x-gateway-model-used"), used, "{model}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_wildcard_sends_names_on_as_they_came() {
    let (a, b) = (mock("a").await, mock("b").await);
    let yaml = format!(
        "providers:\n{}{}models:\n  - {{id: known, provider: b}}\n  - {{id: off, provider: b, enabled: false}}\n\
         \x20 - {{id: '*', provider: a}}\n",
        openai("a", a.addr, ""),
        openai("b", b.addr, "")
    );
    let gateway = Setup::new(yaml).start().await;
    let answer = gateway.ask(Ask::chat("anything/at-all", false)).await;
    assert_eq!((answer.status, answer.header("x-gateway-model-used")), (200, "anything/at-all"));
    assert_eq!(a.requests()[0].json()["model"], "anything/at-all");
    assert_eq!(gateway.line_of(&answer).await["decision"], "wildcard");
    assert_eq!(gateway.ask(Ask::chat("known", false)).await.header("x-gateway-provider"), "b");
    assert_eq!(
        gateway.ask(Ask::chat("off", false)).await.status,
        404,
        "a disabled model stays disabled"
    );
    let auto = gateway.ask(Ask::chat("auto", false)).await;
    assert_eq!(auto.header("x-gateway-model-used"), "known", "a wildcard is never chosen");
}

/// Bodies with the model in odd places, and what the provider must get, byte for byte.
const BODIES: [(&str, &str); 8] = [
    (r#"{"model":"two","messages":[]}"#, r#"{"model":"vendor/two","messages":[]}"#),
    (
        r#"{"messages":[{"content":"\"model\":\"two\""}],"model":"two"}"#,
        r#"{"messages":[{"content":"\"model\":\"two\""}],"model":"vendor/two"}"#,
    ),
    (
        r#"{ "model"	:
 "\u0074wo" , "x" : 1.0e0}"#,
        r#"{ "model"	:
 "vendor/two" , "x" : 1.0e0}"#,
    ),
    (
        r#"{"\u006dodel":"two","a":[1,2,{"model":"one"}]}"#,
        r#"{"\u006dodel":"vendor/two","a":[1,2,{"model":"one"}]}"#,
    ),
    (
        r#"{"metadata":{"model":"one"},"model":"two"}  "#,
        r#"{"metadata":{"model":"one"},"model":"vendor/two"}  "#,
    ),
    (r#"{"model":"two"}"#, r#"{"model":"vendor/two"}"#),
    (
        r#"{"model":"two","z":123456789012345678901234567890,"e":1e-400,"s":"\ud83d\ude00é"}"#,
        r#"{"model":"vendor/two","z":123456789012345678901234567890,"e":1e-400,"s":"\ud83d\ude00é"}"#,
    ),
    (
        r#"{"model":"two","stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"model":"vendor/two","stream":true,"stream_options":{"include_usage":true}}"#,
    ),
];

#[tokio::test]
async fn the_model_is_spliced_and_nothing_else_changes() {
    let (gateway, _a, b) = start().await;
    for (body, expected) in BODIES {
        b.clear();
        let answer = gateway.ask(Ask::post("/v1/chat/completions", body)).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        let seen = b.requests().remove(0);
        let came = seen.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
        assert_eq!(came.as_deref(), Some(expected));
        assert_eq!(seen.body_sha256, sha256_hex(expected.as_bytes()));
    }
    // Absent: put in.
    for body in [r#"{"messages":[]}"#, "{ }", r#"{"a":{"model":"x"}}"#] {
        b.clear();
        let ask = Ask::post("/v1/chat/completions", body).header("x-agent-id", "narrow");
        let answer = gateway.ask(ask).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        let mut expected: serde_json::Value = serde_json::from_str(body).unwrap();
        expected["model"] = "vendor/two".into();
        assert_eq!(b.requests()[0].json(), expected, "{body}");
    }
}

#[tokio::test]
async fn usage_is_asked_for_where_the_client_did_not() {
    let (gateway, _a, b) = start().await;
    let cases = [
        (r#""stream":true"#, true, Some(true)),
        (r#""stream":true,"stream_options":null"#, true, Some(true)),
        (r#""stream":true,"stream_options":{}"#, true, Some(true)),
        (r#""stream":true,"stream_options":{"include_usage":false,"x":1}"#, true, Some(true)),
        (r#""stream":true,"stream_options":{"x":1,"include_usage":null}"#, true, Some(true)),
        (r#""stream":true,"stream_options":{"include_usage":true}"#, false, Some(true)),
        (r#""stream":false"#, false, None),
        (r#""stream":null"#, false, None),
    ];
    for (rest, hidden, asked) in cases {
        b.clear();
        let body =
            format!(r#"{{"model":"two",{rest},"messages":[{{"role":"user","content":"hi"}}]}}"#);
        let answer = gateway.ask(Ask::post("/v1/chat/completions", body.clone())).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        let seen = b.requests()[0].json();
        assert_eq!(seen["stream_options"]["include_usage"].as_bool(), asked, "{body}");
        if rest.contains("\"x\"") {
            assert_eq!(seen["stream_options"]["x"], 1, "{body}");
        }
        if asked.is_some() {
            assert_eq!(answer.text().contains("\"prompt_tokens\""), !hidden, "{}", answer.text());
        }
        let line = gateway.line_of(&answer).await;
        assert_eq!(
            (&line["usage_source"], &line["completion_tokens"]),
            (&"exact".into(), &4.into()),
            "{body}"
        );
    }
}

#[tokio::test]
async fn base_urls_are_joined_without_doubling_the_version() {
    let up = mock("up").await;
    let bases = [
        ("/v1", "", "/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/", "", "/v1/chat/completions", "/v1/chat/completions"),
        ("", "", "/v1/chat/completions", "/v1/chat/completions"),
        ("/api/v1", "", "/v1/chat/completions?a=b&c=%20", "/api/v1/chat/completions?a=b&c=%20"),
        ("/openai", "", "/v1/chat/completions", "/openai/v1/chat/completions"),
        ("/v1beta/openai", "", "/v1/chat/completions", "/v1beta/openai/chat/completions"),
        ("/x/chat/completions", ", exact_url: true", "/v1/chat/completions", "/x/chat/completions"),
    ];
    let mut yaml = "providers:\n".to_owned();
    let mut models = String::new();
    for (at, (base, more, ..)) in bases.iter().enumerate() {
        let address = up.addr;
        writeln!(yaml, "  p{at}: {{dialect: openai, base_url: 'http://{address}{base}'{more}}}")
            .unwrap();
        writeln!(models, "  - {{id: m{at}, provider: p{at}}}").unwrap();
    }
    let gateway = Setup::new(format!("{yaml}models:\n{models}")).start().await;
    for (at, (base, _, path, expected)) in bases.into_iter().enumerate() {
        up.clear();
        let answer = gateway.ask(Ask::post(path, chat_body(&format!("m{at}"), false))).await;
        assert_eq!(answer.status, 200, "{base}: {}", answer.text());
        assert_eq!(up.requests()[0].path, expected, "{base}");
    }
}

#[tokio::test]
async fn credentials_and_headers_are_the_providers() {
    let up = mock("up").await;
    let base = format!("base_url: 'http://{}/v1'", up.addr);
    let yaml = format!(
        "providers:\n  plain: {{dialect: openai, {base}, api_key: key-of-plain, headers: {{X-Title: weir, openai-organization: org}}}}\n\
         \x20 odd: {{dialect: openai, {base}, api_key: key-of-odd, auth_header: api-key}}\n\
         \x20 scheme: {{dialect: openai, {base}, api_key: key-of-scheme, auth_header: x-auth, auth_prefix: 'Token '}}\n\
         \x20 claude: {{dialect: anthropic, {base}, api_key: key-of-claude}}\n  bare: {{dialect: openai, {base}}}\n\
         models:\n  - {{id: plain, provider: plain}}\n  - {{id: odd, provider: odd}}\n  - {{id: scheme, provider: scheme}}\n\
         \x20 - {{id: claude, provider: claude}}\n  - {{id: bare, provider: bare}}\n"
    );
    let gateway = Setup::new(yaml).start().await;
    let extra = |ask: Ask| {
        ask.header("x-title", "mine")
            .header("x-gateway-model-used", "forged")
            .header("anthropic-beta", "a,b")
    };
    for (model, header, secret) in [
        ("plain", "authorization", "key-of-plain"),
        ("odd", "api-key", "key-of-odd"),
        ("scheme", "x-auth", "Token key-of-scheme"),
    ] {
        up.clear();
        let answer = gateway.ask(extra(Ask::chat(model, false))).await;
        assert_eq!(answer.status, 200, "{model}");
        assert_ne!(answer.header("x-gateway-model-used"), "forged");
        let seen = up.requests().remove(0);
        assert_eq!(seen.credentials.len(), 1, "{model}: {:?}", seen.credentials);
        assert_eq!(seen.credentials[0].header, header);
        assert!(seen.carried(secret), "{model}");
        assert_eq!(seen.header("anthropic-beta"), Some("a,b"), "unknown headers pass");
        assert_eq!(seen.header("accept-encoding"), Some("identity"));
        assert_eq!(seen.header("x-gateway-model-used"), None);
        assert_eq!(seen.header("x-agent-id"), None);
        if model == "plain" {
            assert_eq!(
                (seen.header("x-title"), seen.header("openai-organization")),
                (Some("weir"), Some("org"))
            );
        } else {
            assert_eq!(seen.header("x-title"), Some("mine"));
        }
    }
    up.clear();
    let ask =
        Ask::messages("claude", false).without("authorization").header("x-api-key", AGENT_KEY);
    assert_eq!(gateway.ask(extra(ask)).await.status, 200);
    let seen = up.requests().remove(0);
    assert_eq!(
        (seen.path.as_str(), seen.credentials[0].header.as_str()),
        ("/v1/messages", "x-api-key")
    );
    assert!(seen.carried("key-of-claude") && seen.credentials.len() == 1);
    assert_eq!(seen.header("anthropic-version"), Some("2023-06-01"));
    up.clear();
    assert_eq!(gateway.ask(Ask::chat("bare", false)).await.status, 200);
    assert!(up.requests()[0].credentials.is_empty());
}

#[tokio::test]
async fn what_a_connection_names_ends_with_it() {
    let body = br#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[]}"#;
    let hop = "connection: keep-alive, X-Hop\r\nx-hop: 1\r\nx-own: 2\r\n";
    let up = mock("up").await;
    let canned = Canned::json("200 OK", hop, body).await;
    let (plain, other) = (openai("up", up.addr, ""), openai("canned", canned.address, ""));
    let models = "models:\n  - {id: m, provider: up}\n  - {id: c, provider: canned}\n";
    let gateway = Setup::new(format!("providers:\n{plain}{other}{models}")).start().await;
    let ask = Ask::chat("m", false)
        .header("connection", "keep-alive, X-Mine")
        .header("connection", "x-Too")
        .header("x-mine", "1")
        .header("x-too", "2")
        .header("x-kept", "3");
    assert_eq!(gateway.ask(ask).await.status, 200);
    let seen = up.requests().remove(0);
    assert_eq!((seen.header("x-mine"), seen.header("x-too")), (None, None));
    assert_eq!(seen.header("x-kept"), Some("3"));
    let answer = gateway.ask(Ask::chat("c", false)).await;
    assert_eq!((answer.status, answer.has("x-hop"), answer.header("x-own")), (200, false, "2"));
}

#[tokio::test]
async fn compressed_requests_are_sent_on_decoded() {
    let (gateway, a, _b) = start().await;
    let body = format!(
        r#"{{"model":"one","messages":[{{"role":"user","content":"{}"}}]}}"#,
        "weir ".repeat(50_000)
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(body.as_bytes(), 1).unwrap();
    for (encoding, packed) in
        [("gzip", gzip), ("zstd", zstd), ("identity", body.clone().into_bytes())]
    {
        for chunked in [false, true] {
            a.clear();
            let ask = Ask::post("/v1/chat/completions", packed.clone())
                .header("content-encoding", encoding);
            let answer = gateway.ask(if chunked { ask.chunked(1_000) } else { ask }).await;
            assert_eq!(answer.status, 200, "{encoding}: {}", answer.text());
            let seen = a.requests().remove(0);
            assert_eq!(seen.body_sha256, sha256_hex(body.as_bytes()), "{encoding}");
            assert_eq!(seen.header("content-encoding"), None, "{encoding}");
            assert_eq!(gateway.line_of(&answer).await["request_bytes"], body.len());
        }
    }
}

#[tokio::test]
async fn the_metadata_object_tells_the_exact_cost() {
    let (gateway, _a, _b) = start().await;
    // "hello" is 2 tokens for the mock, its answer 4: 2 x 3.00 + 4 x 15.00 per million.
    let ask =
        Ask::chat("gpt-4", false).header("x-agent-id", "narrow-not").header("x-session-id", "s-1");
    let answer = gateway.ask(ask).await;
    let text = answer.text();
    assert!(text.contains("\"cost\":0.000066,"), "{text}");
    let object = answer.json()["_weir"].clone();
    assert_eq!(object["agent_id"], "default");
    assert_eq!((&object["original_model"], &object["model"]), (&"gpt-4".into(), &"one".into()));
    assert_eq!(object["models_allowed"], serde_json::json!(["one"]));
    let line = gateway.line_of(&answer).await;
    assert_eq!((&line["cost_usd"], &line["session_id"]), (&"0.000066".into(), &"s-1".into()));
    assert_eq!(
        gateway
            .metric("weir_spend_nanodollars_total", &["model=\"one\"", "agent=\"default\""])
            .await,
        66_000
    );
    let seed = "routing: {cooldown_ms: 0}\nstream: {metadata_field: _execwall, notice: comment}\n";
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up}}\n{seed}",
        openai("up", up.addr, "")
    );
    let gateway = Setup::new(yaml).start().await;
    let answer = gateway.ask(Ask::chat("m", false)).await;
    assert!(answer.json()["_execwall"].is_object() && answer.json().get("_weir").is_none());
}

#[tokio::test]
async fn notices_take_the_configured_form() {
    for (mode, start) in [
        ("event", "event: gateway_notice\ndata: {\"fromModel\""),
        ("comment", ": gateway_notice {"),
        ("off", "data: {\"id\""),
    ] {
        let up = mock("up").await;
        let yaml = format!(
            "providers:\n{}models:\n  - {{id: x, provider: up, upstream_id: mock-503}}\n  - {{id: y, provider: up}}\n\
             routing: {{cooldown_ms: 0, fallbacks: {{x: [y]}}}}\nstream: {{notice: {mode}}}\n",
            openai("up", up.addr, "")
        );
        let gateway = Setup::new(yaml).start().await;
        let answer = gateway.ask(Ask::chat("x", true)).await;
        assert!(answer.text().starts_with(start), "{mode}: {}", answer.text());
        assert_eq!(answer.text().matches("gateway_notice").count(), usize::from(mode != "off"));
        let json = gateway.ask(Ask::chat("x", false)).await.json();
        assert_eq!(json.get("gateway_notice").is_some(), mode != "off", "{json}");
    }
}
