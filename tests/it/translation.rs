//! Any client at any provider, over sockets: text and tools, whole and streamed, errors, broken streams,
//! fallbacks from one dialect to another, and the bill of all of it.
//!
//! What each translation says to the letter is in `golden`; that SDKs read it is in `clients`.

use std::fmt::Write as _;

use loadtest::upstream::server::Upstream;
use serde_json::{Value, json};

use crate::budget::{admin, spent_nano};
use crate::client::{Answer, Ask};
use crate::gateway::{ADMIN_KEY, AGENT_KEY, Gateway, Setup, wait_until};
use crate::provider::{Canned, anthropic, key_of, mock, openai};

/// What a healthy mock says.
const TEXT: &str = "w0 w1 w2 w3 ";
/// Id of a model -> what it asks of the mock; each exists at each provider.
const MODELS: [(&str, &str); 8] = [
    ("plain", "mock-price=1:5"),
    ("tools", "mock-tools-price=1:5"),
    ("busy", "mock-503"),
    ("limited", "mock-429-retryafter=7"),
    ("bad", "mock-400"),
    ("cut", "mock-cut=3"),
    ("clean-cut", "mock-cleancut=3"),
    ("error-event", "mock-error=3"),
];
/// What clients speak.
const CLIENTS: [Client; 3] = [Client::Chat, Client::Messages, Client::Responses];
/// The providers: one for each dialect, all of them the same mock.
const PROVIDERS: [&str; 3] = ["chat", "messages", "responses"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Chat,
    Messages,
    Responses,
}

impl Client {
    const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Messages => "messages",
            Self::Responses => "responses",
        }
    }

    fn ask(self, model: &str, stream: bool) -> Ask {
        let tool = json!({"type": "object", "properties": {"path": {"type": "string"}}});
        let mut body = json!({"model": model, "stream": stream});
        let (path, more) = match self {
            Self::Chat => (
                "/v1/chat/completions",
                json!({"messages": [{"role": "user", "content": "hello"}],
                       "tools": [{"type": "function", "function": {"name": "read", "parameters": tool}}]}),
            ),
            Self::Messages => (
                "/v1/messages",
                json!({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 64,
                       "tools": [{"name": "read", "input_schema": tool}]}),
            ),
            Self::Responses => (
                "/v1/responses",
                json!({"input": "hello",
                       "tools": [{"type": "function", "name": "read", "parameters": tool}]}),
            ),
        };
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        let ask = Ask::post(path, body.to_string());
        if self == Self::Messages {
            return ask
                .header("anthropic-version", "2023-06-01")
                .header("anthropic-beta", "only-for-anthropic");
        }
        ask.header("openai-organization", "only-for-openai")
    }

    /// Text and arguments of tool calls of a whole answer.
    fn said(self, answer: &Value) -> (String, String) {
        let mut said = (String::new(), String::new());
        match self {
            Self::Chat => {
                let message = &answer["choices"][0]["message"];
                said.0 += message["content"].as_str().unwrap_or_default();
                for call in message["tool_calls"].as_array().into_iter().flatten() {
                    said.1 += call["function"]["arguments"].as_str().unwrap();
                }
            }
            Self::Messages => {
                for block in answer["content"].as_array().unwrap() {
                    said.0 += block["text"].as_str().unwrap_or_default();
                    if block["type"] == "tool_use" {
                        said.1 += &block["input"].to_string();
                    }
                }
            }
            Self::Responses => {
                for item in answer["output"].as_array().unwrap() {
                    said.0 += item["content"][0]["text"].as_str().unwrap_or_default();
                    said.1 += item["arguments"].as_str().unwrap_or_default();
                }
            }
        }
        said
    }

    /// The same of a stream, and whether it came to its end.
    fn streamed(self, text: &str) -> (String, String, bool) {
        let (mut said, mut arguments, mut ended) = (String::new(), String::new(), false);
        for event in text.split("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            let Some(data) = data else { continue };
            if data == "[DONE]" {
                ended = true;
                continue;
            }
            let data: Value = serde_json::from_str(data).unwrap();
            match self {
                Self::Chat => {
                    let delta = &data["choices"][0]["delta"];
                    said += delta["content"].as_str().unwrap_or_default();
                    let call = &delta["tool_calls"][0]["function"]["arguments"];
                    arguments += call.as_str().unwrap_or_default();
                }
                Self::Messages => {
                    said += data["delta"]["text"].as_str().unwrap_or_default();
                    arguments += data["delta"]["partial_json"].as_str().unwrap_or_default();
                    ended |= data["type"] == "message_stop";
                }
                Self::Responses => {
                    let delta = data["delta"].as_str().unwrap_or_default();
                    if data["type"] == "response.output_text.delta" {
                        said += delta;
                    } else if data["type"] == "response.function_call_arguments.delta" {
                        arguments += delta;
                    }
                    ended |= data["type"] == "response.completed";
                }
            }
        }
        (said, arguments, ended)
    }

    /// Input and output tokens of a whole answer.
    fn used(self, answer: &Value) -> (u64, u64) {
        let (input, output) = match self {
            Self::Chat => ("prompt_tokens", "completion_tokens"),
            Self::Messages | Self::Responses => ("input_tokens", "output_tokens"),
        };
        let of = |name: &str| answer["usage"][name].as_u64().unwrap_or_default();
        (of(input), of(output))
    }

    /// What kind of error it is.
    fn error(self, answer: &Value) -> String {
        let error = &answer["error"];
        let word = if self == Self::Messages { &error["type"] } else { &error["code"] };
        word.as_str().unwrap_or_default().to_owned()
    }
}

async fn start(more: &str) -> (Gateway, Upstream) {
    let up = mock("up").await;
    let mut yaml = "providers:\n".to_owned();
    yaml += &openai("chat", up.addr, ", responses: false");
    yaml += &anthropic("messages", up.addr, "");
    yaml += &openai("responses", up.addr, ", chat: false");
    yaml += "models:\n";
    for provider in PROVIDERS {
        for (id, upstream) in MODELS {
            writeln!(
                yaml,
                "  - {{id: {provider}-{id}, provider: {provider}, upstream_id: {upstream}, price: {{input: 1, \
                 output: 5}}, context_tokens: 100000, output_tokens_max: 500}}"
            )
            .unwrap();
        }
    }
    yaml += more;
    (Setup::new(yaml).start().await, up)
}

/// Every client with every provider.
fn pairs() -> impl Iterator<Item = (Client, &'static str)> {
    CLIENTS.into_iter().flat_map(|client| PROVIDERS.map(|provider| (client, provider)))
}

fn header(up: &Upstream, name: &str) -> Option<String> {
    up.requests().last().unwrap().header(name).map(str::to_owned)
}

#[tokio::test]
async fn text_and_tools_cross_in_every_direction() {
    let (gateway, up) = start("").await;
    for (client, provider) in pairs() {
        let shown = format!("{client:?} at {provider}");
        let answer = gateway.ask(client.ask(&format!("{provider}-plain"), false)).await;
        assert_eq!(answer.status, 200, "{shown}: {}", answer.text());
        assert_eq!(client.said(&answer.json()), (TEXT.to_owned(), String::new()), "{shown}");
        let (input, output) = client.used(&answer.json());
        assert!(input > 0 && output == 4, "{shown}: {input} {output}");
        assert_eq!(answer.header("x-gateway-provider"), provider);
        assert_eq!(answer.json()["_weir"]["model"], format!("{provider}-plain"), "{shown}");
        let seen = up.requests().pop().unwrap();
        let path = match provider {
            "chat" => "/v1/chat/completions",
            "messages" => "/v1/messages",
            _ => "/v1/responses",
        };
        assert_eq!(seen.path, path, "{shown}");
        assert!(seen.carried(&key_of(provider)) && !seen.carried(AGENT_KEY), "{shown}");
        if client.name() != provider {
            let foreign = [header(&up, "anthropic-beta"), header(&up, "openai-organization")];
            assert_eq!(foreign, [None, None], "{shown}");
        }
        if provider == "messages" {
            assert!(header(&up, "anthropic-version").is_some(), "{shown}");
        }
        let answer = gateway.ask(client.ask(&format!("{provider}-tools"), false)).await;
        let (_, arguments) = client.said(&answer.json());
        assert_eq!(arguments, r#"{"path":"src/main.rs"}"#, "{shown}: {}", answer.text());
    }
}

#[tokio::test]
async fn streams_cross_in_every_direction() {
    let (gateway, _up) = start("").await;
    for (client, provider) in pairs() {
        let shown = format!("{client:?} at {provider}");
        let answer = gateway.ask(client.ask(&format!("{provider}-plain"), true)).await;
        assert_eq!(answer.status, 200, "{shown}: {}", answer.text());
        assert!(answer.header("content-type").starts_with("text/event-stream"), "{shown}");
        let streamed = client.streamed(&answer.text());
        assert_eq!(streamed, (TEXT.to_owned(), String::new(), true), "{shown}: {}", answer.text());
        let usage_chunk = answer.text().contains("\"prompt_tokens\"");
        assert!(!(client == Client::Chat && usage_chunk), "{shown}: nobody asked for usage");
        let line = gateway.line_of(&answer).await;
        assert_eq!(line["usage_source"], "exact", "{shown}: {line}");
        let answer = gateway.ask(client.ask(&format!("{provider}-tools"), true)).await;
        let (_, arguments, ended) = client.streamed(&answer.text());
        assert_eq!((&*arguments, ended), (r#"{"path":"src/main.rs"}"#, true), "{shown}");
    }
}

#[tokio::test]
async fn refusals_of_providers_come_in_the_clients_dialect() {
    let (gateway, _up) = start("routing: {cooldown_ms: 0}\n").await;
    for (client, provider) in pairs().filter(|(client, provider)| client.name() != *provider) {
        let shown = format!("{client:?} at {provider}");
        for stream in [false, true] {
            let answer = gateway.ask(client.ask(&format!("{provider}-bad"), stream)).await;
            assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
            let kind = answer.json()["error"]["type"].clone();
            assert_eq!(kind, "invalid_request_error", "{shown}: {}", answer.text());
            let answer = gateway.ask(client.ask(&format!("{provider}-limited"), stream)).await;
            assert_eq!(answer.status, 429, "{shown}: {}", answer.text());
            assert_eq!(answer.header("retry-after"), "7", "{shown}");
            let wanted =
                if client == Client::Messages { "rate_limit_error" } else { "rate_limit_exceeded" };
            assert_eq!(client.error(&answer.json()), wanted, "{shown}: {}", answer.text());
            assert_eq!(answer.header("x-gateway-attempt-count"), "1", "{shown}");
        }
    }
}

#[tokio::test]
async fn a_broken_stream_never_looks_like_an_answer() {
    let (gateway, _up) = start("").await;
    for (client, provider) in pairs().filter(|(client, provider)| client.name() != *provider) {
        for model in ["cut", "clean-cut", "error-event"] {
            let shown = format!("{client:?} at {provider}, {model}");
            let answer = gateway.ask(client.ask(&format!("{provider}-{model}"), true)).await;
            let text = answer.text();
            let (said, _, ended) = client.streamed(&text);
            assert!(!ended, "{shown}: {text}");
            assert!(TEXT.starts_with(&said) && said != TEXT, "{shown}: {text}");
            // Of three events of Chat, two are text.
            assert!(provider != "chat" || !said.is_empty(), "{shown}: {text}");
            let has_error = text.contains("\"error\"") || text.contains("response.failed");
            assert!(has_error, "{shown}: {text}");
        }
    }
}

#[tokio::test]
async fn a_chain_crosses_dialects_and_both_attempts_are_billed_right() {
    let mut more = "routing:\n  cooldown_ms: 0\n  fallbacks:\n".to_owned();
    for (from, to) in [("chat", "messages"), ("messages", "responses"), ("responses", "chat")] {
        writeln!(more, "    {from}-busy: [{to}-plain]").unwrap();
    }
    more += "agents:\n  default: {}\n  capped: {budget: {limit_usd: 1, period: daily, hard_cap: true}}\n";
    let (gateway, up) = start(&more).await;
    for (client, provider) in pairs() {
        for stream in [false, true] {
            let shown = format!("{client:?} from {provider}, stream {stream}");
            let ask =
                client.ask(&format!("{provider}-busy"), stream).header("x-agent-id", "capped");
            let answer = gateway.ask(ask).await;
            assert_eq!(answer.status, 200, "{shown}: {}", answer.text());
            assert_eq!(answer.header("x-gateway-switched"), "1", "{shown}");
            assert_eq!(answer.header("x-gateway-attempt-count"), "2", "{shown}");
            assert!(answer.text().contains("fromModel"), "{shown}: {}", answer.text());
            let said = if stream {
                client.streamed(&answer.text()).0
            } else {
                client.said(&answer.json()).0
            };
            assert_eq!(said, TEXT, "{shown}");
        }
    }
    wait_until("all of it is settled", || async {
        let answer = admin(&gateway, Ask::get("/api/spend/capped")).await;
        crate::budget::nano(&answer.text(), "budget_held") == 0
    })
    .await;
    assert_eq!(spent_nano(&gateway, "capped").await, up.bill_total());
}

#[tokio::test]
async fn what_cannot_be_said_is_listed_or_refused_by_name() {
    let models = "  - {id: picky, provider: messages, upstream_id: mock, translation: strict}\n";
    let (gateway, up) = start(models).await;
    let ask = |model: &str, more: Value| {
        let mut body = json!({"model": model, "messages": [{"role": "user", "content": "x"}]});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        Ask::post("/v1/chat/completions", body.to_string())
    };
    let answer =
        gateway.ask(ask("messages-plain", json!({"seed": 1, "logit_bias": {"9": -1}}))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-gateway-dropped-params"), "logit_bias, seed");
    let answer = gateway.ask(ask("picky", json!({"seed": 1}))).await;
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("seed")));
    let before = up.requests().len();
    let answer = gateway.ask(ask("messages-plain", json!({"n": 2}))).await;
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!("n")));
    assert_eq!(up.requests().len(), before);
}

#[tokio::test]
async fn tokens_are_estimated_where_the_provider_cannot_count_them() {
    let (gateway, up) = start("").await;
    let body = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "hello ".repeat(100)}]});
    let ask = |model: &str| Ask::post("/v1/messages/count_tokens", body(model).to_string());
    let answer = gateway.ask(ask("chat-plain")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let tokens = answer.json()["input_tokens"].as_u64().unwrap();
    assert!((100..600).contains(&tokens), "{tokens}");
    assert_eq!(answer.header("x-gateway-estimated"), "1");
    assert!(up.requests().is_empty());
    let answer = gateway.ask(ask("messages-plain")).await;
    assert!(!answer.has("x-gateway-estimated") && up.requests().len() == 1, "{}", answer.text());
}

/// Whatever such an agent names, others choose: it is counted as by the model that would answer.
#[tokio::test]
async fn tokens_are_estimated_for_an_agent_whose_budget_or_operator_chooses() {
    let agents = "agents:\n  default: {}\n  tiered: {mode: budget, budget: {limit_usd: 1}, \
                  tiers: [{remaining_min: 0, models: [chat-plain]}]}\n";
    let (gateway, up) = start(agents).await;
    let body =
        json!({"model": "messages-plain", "messages": [{"role": "user", "content": "hello"}]});
    let ask = Ask::post("/v1/messages/count_tokens", body.to_string());
    let answer = gateway.ask(ask.header("x-agent-id", "tiered")).await;
    assert_eq!(
        (answer.status, answer.header("x-gateway-estimated")),
        (200, "1"),
        "{}",
        answer.text()
    );
    assert!(up.requests().is_empty());
}

/// A Chat provider whose answer is these bytes, for a Messages client.
async fn foreign(answer: &str, stream: bool) -> Answer {
    let up = Canned::start(answer).await;
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: m, provider: up}}\nrouting: {{cooldown_ms: 0}}\n",
        openai("up", up.address, ", responses: false")
    );
    Setup::new(yaml).start().await.ask(Ask::messages("m", stream)).await
}

const DELTA: &str =
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n";

#[tokio::test]
async fn a_connection_that_breaks_within_an_event_ends_in_an_error_event() {
    // The length says that more was to come.
    for tail in ["", "\n", "\n: wait", "\ndata: {\"choi"] {
        let body = format!("{DELTA}{tail}");
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n";
        let answer = foreign(&format!("{head}{DELTA}\n{body}"), true).await;
        let text = answer.text();
        assert!(text.contains("\"hi\""), "{tail:?}: {text}");
        assert!(
            text.trim_end().ends_with('}') && text.contains("event: error"),
            "{tail:?}: {text}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_does_not_say_what_it_is_comes_in_the_clients_dialect_all_the_same() {
    let whole =
        r#"{"id":"c","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{whole}", whole.len());
    let answer = foreign(&head, false).await;
    assert_eq!((answer.status, &answer.json()["type"]), (200, &json!("message")));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";
    let answer = foreign(head, false).await;
    assert_eq!((answer.status, answer.anthropic_type().as_str()), (502, "api_error"));
    let answer = foreign("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
}

#[tokio::test]
async fn a_refusal_without_a_body_keeps_its_status() {
    for (status, kind) in [(413, "request_too_large"), (429, "rate_limit_error")] {
        let answer = format!("HTTP/1.1 {status} No\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n");
        let answer = foreign(&answer, false).await;
        assert_eq!((answer.status, answer.anthropic_type().as_str()), (status, kind));
        assert_eq!(answer.header("retry-after"), "7");
    }
}

#[tokio::test]
async fn a_clients_own_key_stays_in_its_dialect() {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n  a: {{dialect: openai, base_url: 'http://{0}/v1', responses: false}}\n  \
         b: {{dialect: anthropic, base_url: 'http://{0}'}}\nmodels:\n  - {{id: x, provider: a, upstream_id: mock-503}}\n  \
         - {{id: y, provider: b, upstream_id: mock}}\nrouting: {{cooldown_ms: 0, fallbacks: {{x: [y]}}}}\n",
        up.addr
    );
    let gateway =
        Setup::new(yaml).auth("{require_agent_key: false, pass_through: true}").start().await;
    let own = "sk-clients-own-0123456789";
    for model in ["x", "y"] {
        gateway.ask(Ask::chat(model, false).bearer(own)).await;
    }
    for seen in up.requests() {
        assert!(!(seen.path == "/v1/messages" && seen.carried(own)), "sent to another dialect");
    }
    assert!(up.requests().iter().any(|seen| seen.carried(own)));
}

#[tokio::test]
async fn no_credential_of_a_client_goes_upstream_and_two_of_ours_must_agree() {
    let (gateway, up) = start("").await;
    let ask = || Client::Chat.ask("chat-plain", false);
    let foreign =
        ["x-auth-token", "ocp-apim-subscription-key", "x-amz-security-token", "x-goog-api-key"];
    let with_all = foreign.iter().fold(ask(), |ask, name| ask.header(name, "a-secret"));
    let answer = gateway.ask(with_all.header("x-api-key", AGENT_KEY)).await;
    assert_eq!(answer.status, 200, "the same key twice: {}", answer.text());
    let seen = up.requests().pop().unwrap();
    assert!(!seen.carried("a-secret") && foreign.iter().all(|name| seen.header(name).is_none()));
    let answer = gateway.ask(ask().header("x-api-key", ADMIN_KEY)).await;
    assert_eq!((answer.status, &*answer.openai_code()), (400, "invalid_request"));
    assert_eq!(answer.json()["error"]["param"], "x-api-key");
    let answer = gateway.ask(ask().bearer("wrong")).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"));
}

#[tokio::test]
async fn a_conversation_goes_on_after_a_call_that_was_cut_off() {
    let (gateway, up) = start("").await;
    let call = json!({"id": "c", "type": "function",
        "function": {"name": "read", "arguments": "{\"path\": \"src/ma"}});
    let body = json!({"model": "messages-plain", "messages": [
        {"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "no JSON"}]});
    let answer = gateway.ask(Ask::post("/v1/chat/completions", body.to_string())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let field = "messages[1].tool_calls[0].function.arguments";
    assert_eq!(answer.header("x-gateway-dropped-params"), field);
    let sent = up.requests().pop().unwrap().json();
    assert_eq!(sent["messages"][1]["content"][0]["input"], json!({"input": "{\"path\": \"src/ma"}));
}
