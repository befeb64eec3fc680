//! Coding agents as they speak: the shapes of Claude Code's and Codex's requests, to a provider of their own
//! dialect unchanged, and to others translated.
//!
//! The requests are written after what the agents send, with everything in them that a gateway could trip
//! over; that SDKs read the answers is in `clients`.

use loadtest::upstream::server::Upstream;
use serde_json::{Value, json};

use crate::client::{Answer, Ask, Line};
use crate::gateway::{AGENT_KEY, Gateway, Setup};
use crate::provider::{anthropic, key_of, mock, openai};

const BETA: &str = "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,prompt-caching-scope-2026-01-05";
const TEXT: &str = "w0 w1 w2 w3 ";

async fn start() -> (Gateway, Upstream) {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}{}{}models:\n\
         \x20 - {{id: claude-sonnet-4-5, provider: native, upstream_id: mock-native}}\n\
         \x20 - {{id: claude-by-chat, provider: chat, upstream_id: mock-tools}}\n\
         \x20 - {{id: gpt-5-codex, provider: responses, upstream_id: mock-native}}\n\
         \x20 - {{id: codex-by-chat, provider: chat, upstream_id: mock-reasoning=2}}\n\
         \x20 - {{id: codex-by-chat-cut, provider: chat, upstream_id: mock-cleancut=3}}\n\
         \x20 - {{id: codex-by-chat-uncounted, provider: chat, upstream_id: mock-usage=none}}\n\
         \x20 - {{id: codex-by-messages, provider: native, upstream_id: mock}}\n\
         \x20 - {{id: codex-by-messages-tools, provider: native, upstream_id: mock-tools}}\n\
         aliases: {{sonnet: claude-sonnet-4-5}}\n",
        anthropic("native", up.addr, ""),
        openai("chat", up.addr, ", responses: false"),
        openai("responses", up.addr, ", chat: false"),
    );
    (Setup::new(yaml).start().await, up)
}

/// The request of a turn in which a tool was used, written as Claude Code writes it: with white space,
/// key order and unknown fields that a gateway must not touch.
fn claude_code(model: &str) -> String {
    const BODY: &str = r#"{"model":"MODEL", "messages":[
      {"role":"user","content":[{"type":"text","text":"<system-reminder>\nToday is a day.\n</system-reminder>"},{"type":"text","text":"List the files","cache_control":{"type":"ephemeral"}}]},
      {"role":"assistant","content":[{"type":"thinking","thinking":"I should look.","signature":"c2lnbmF0dXJl"},{"type":"text","text":"I look."},{"type":"tool_use","id":"toolu_01A","name":"Bash","input":{"command":"ls -la","description":"List files"}}]},
      {"role":"user","content":[{"tool_use_id":"toolu_01A","type":"tool_result","content":"total 0\n\u0000 caf\u00e9","is_error":false,"cache_control":{"type":"ephemeral"}}]}
    ],"system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.37.abc; cc_entrypoint=cli;"},{"type":"text","text":"You are Claude Code, Anthropic's official CLI for Claude.","cache_control":{"type":"ephemeral","ttl":"1h"}},{"type":"text","text":"Rules.","cache_control":{"type":"ephemeral"}}],
    "tools":[{"name":"Bash","description":"Runs a command","input_schema":{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"command":{"type":"string"},"timeout":{"type":"number"}},"required":["command"],"additionalProperties":false}},{"name":"mcp__a_server_with_a_long_name__and_a_tool_with_a_name_that_is_longer_still","description":"","input_schema":{"type":"object","properties":{}},"cache_control":{"type":"ephemeral"}}],
    "metadata":{"user_id":"user_0f_account__session_11111111-2222-3333-4444-555555555555"},"max_tokens":32000,"thinking":{"budget_tokens":31999,"type":"enabled"},"context_management":null,"stream":true}"#;
    BODY.replace("MODEL", model)
}

fn as_claude_code(path: &str, body: String) -> Ask {
    Ask::new("POST", path)
        .body(body)
        .header("authorization", &format!("Bearer {AGENT_KEY}"))
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", BETA)
        .header("anthropic-dangerous-direct-browser-access", "true")
        .header("user-agent", "claude-cli/2.1.37 (external, cli)")
        .header("x-app", "cli")
        .header("x-claude-code-session-id", "11111111-2222-3333-4444-555555555555")
        .header("x-stainless-lang", "js")
}

/// The events of a stream: their names and their data.
fn events(answer: &Answer) -> Vec<(String, Value)> {
    let text = answer.text();
    let blocks = text.split("\n\n").filter_map(|block| {
        let name = block.lines().find_map(|line| line.strip_prefix("event: "))?;
        let data = block.lines().find_map(|line| line.strip_prefix("data: "))?;
        Some((name.to_owned(), serde_json::from_str(data).unwrap()))
    });
    blocks.collect()
}

#[tokio::test]
async fn claude_code_reaches_its_own_dialect_byte_for_byte() {
    let (gateway, up) = start().await;
    for named in ["claude-sonnet-4-5", "sonnet"] {
        let body = claude_code(named);
        let answer = gateway.ask(as_claude_code("/v1/messages?beta=true", body.clone())).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(events(&answer).last().unwrap().0, "message_stop");
        let seen = up.requests().pop().unwrap();
        assert_eq!(seen.path, "/v1/messages?beta=true");
        let expected = body.replace(&format!("\"{named}\""), "\"mock-native\"");
        assert_eq!(String::from_utf8_lossy(seen.body.as_ref().unwrap()), expected);
        for (name, value) in [
            ("anthropic-beta", BETA),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-dangerous-direct-browser-access", "true"),
            ("x-app", "cli"),
            ("x-claude-code-session-id", "11111111-2222-3333-4444-555555555555"),
            ("x-stainless-lang", "js"),
        ] {
            assert_eq!(seen.header(name), Some(value), "{name}");
        }
        assert!(seen.carried(&key_of("native")) && !seen.carried(AGENT_KEY));
    }
}

#[tokio::test]
async fn claude_code_reaches_a_chat_provider_translated() {
    let (gateway, up) = start().await;
    let body = claude_code("claude-by-chat");
    let answer = gateway.ask(as_claude_code("/v1/messages?beta=true", body.clone())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let all = events(&answer);
    let text: String = all.iter().filter_map(|(_, data)| data["delta"]["text"].as_str()).collect();
    assert_eq!(text, TEXT, "{}", answer.text());
    assert_eq!(all[0].0, "message_start");
    assert_eq!(all.last().unwrap().0, "message_stop");
    assert!(all.iter().all(|(name, data)| data["type"] == **name));
    let dropped = answer.header("x-gateway-dropped-params");
    assert!(dropped.contains("cache_control") && dropped.contains("thinking"), "{dropped}");

    let seen = up.requests().pop().unwrap();
    assert_eq!(seen.path, "/v1/chat/completions", "the query is of the other dialect");
    let private = [
        "anthropic-beta",
        "anthropic-version",
        "x-app",
        "x-claude-code-session-id",
        "x-stainless-lang",
    ];
    for name in private {
        assert_eq!(seen.header(name), None, "{name}");
    }
    let said = seen.json();
    let roles: Vec<_> =
        said["messages"].as_array().unwrap().iter().map(|one| one["role"].clone()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    assert!(!said.to_string().contains("c2lnbmF0dXJl"), "a signature means nothing there: {said}");
    let call = &said["messages"][2]["tool_calls"][0];
    assert_eq!((&call["id"], &call["function"]["name"]), (&json!("toolu_01A"), &json!("Bash")));
    assert_eq!(said["messages"][3]["tool_call_id"], "toolu_01A");
    assert_eq!(said["messages"][3]["content"], "total 0\n\u{0} café");
    let long = said["tools"][1]["function"]["name"].as_str().unwrap();
    assert!(long.len() <= 64, "{long}");
    assert_eq!(said["stream_options"]["include_usage"], true);
    assert!(said["reasoning_effort"].is_string(), "{said}");

    let mut asked: Value = serde_json::from_str(&body).unwrap();
    asked["messages"] = json!([{"role": "user", "content": "List the files"}]);
    let answer = gateway.ask(as_claude_code("/v1/messages?beta=true", asked.to_string())).await;
    let all = events(&answer);
    let started = all.iter().find(|(name, _)| name == "content_block_start").unwrap();
    assert_eq!(started.1["content_block"]["name"], "Bash", "{}", answer.text());
    let ended = all.iter().find(|(name, _)| name == "message_delta").unwrap();
    assert_eq!(ended.1["delta"]["stop_reason"], "tool_use");
}

#[tokio::test]
async fn what_claude_code_asks_of_a_long_conversation_is_no_obstacle() {
    let (gateway, _up) = start().await;
    let with = |edit: &str| {
        let edits = format!(r#""context_management":{{"edits":[{{"type":"{edit}"}}]}}"#);
        claude_code("claude-by-chat").replace(r#""context_management":null"#, &edits)
    };
    for edit in ["clear_thinking_20251015", "clear_tool_uses_20250919"] {
        let answer = gateway.ask(as_claude_code("/v1/messages?beta=true", with(edit))).await;
        assert_eq!(answer.status, 200, "{edit}: {}", answer.text());
        let dropped = answer.header("x-gateway-dropped-params");
        assert!(dropped.contains("context_management"), "{edit}: {dropped}");
    }
    // A summary in the place of what was said is something else.
    let body = with("compact_20260112");
    let answer = gateway.ask(as_claude_code("/v1/messages?beta=true", body)).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("context_management"), "{}", answer.text());
}

#[tokio::test]
async fn claude_code_may_probe_list_and_count() {
    let (gateway, up) = start().await;
    let mut line = Line::open(gateway.data).await.unwrap();
    line.send(&Ask::new("HEAD", "/").to_bytes()).await;
    let probe = line.head().await.unwrap();
    assert!(probe.status < 500 && !(300..400).contains(&probe.status), "{}", probe.status);
    for credential in
        [("authorization", format!("Bearer {AGENT_KEY}")), ("x-api-key", AGENT_KEY.to_owned())]
    {
        let ask = Ask::new("GET", "/v1/models?limit=1000")
            .header(credential.0, &credential.1)
            .header("anthropic-version", "2023-06-01");
        let list = gateway.ask(ask).await;
        assert_eq!(list.status, 200, "{}", list.text());
        let list = list.json();
        let ids: Vec<&str> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap())
            .collect();
        // Claude Code shows only those that begin so: a model of another provider is given such an id.
        for id in ["claude-sonnet-4-5", "claude-by-chat"] {
            assert!(ids.contains(&id), "{ids:?}");
        }
        assert_eq!(list["has_more"], false);
    }
    assert!(up.requests().is_empty(), "nobody was asked for that");
    for (model, estimated) in [("claude-sonnet-4-5", false), ("claude-by-chat", true)] {
        let mut body: Value = serde_json::from_str(&claude_code(model)).unwrap();
        for key in ["max_tokens", "stream", "metadata", "context_management"] {
            body.as_object_mut().unwrap().remove(key);
        }
        let ask = as_claude_code("/v1/messages/count_tokens?beta=true", body.to_string());
        let answer = gateway.ask(ask).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.json()["input_tokens"].as_u64().unwrap() > 20, "{}", answer.text());
        assert_eq!(answer.has("x-gateway-estimated"), estimated);
    }
}

/// The request of a turn after a patch and a command, as Codex sends it.
fn codex(model: &str) -> Value {
    json!({
        "model": model,
        "instructions": "You are Codex, based on GPT-5.",
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions instructions>"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context>\n  <cwd>/w</cwd>\n</environment_context>"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix it"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "**Looking**"}], "content": null, "encrypted_content": "gAAAAABo-only-for-its-provider"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "name": "exec_command", "arguments": "{\"cmd\":\"ls\"}", "call_id": "call_1"},
            {"type": "function_call_output", "call_id": "call_1", "output": "Exit code: 0\nmain.rs"},
            {"type": "custom_tool_call", "status": "completed", "call_id": "call_2", "name": "apply_patch", "input": "*** Begin Patch\n*** End Patch"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": "{\"output\":\"Done\"}"}
        ],
        "tools": [
            {"type": "function", "name": "exec_command", "description": "Runs a command.", "strict": false, "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"], "additionalProperties": false}},
            {"type": "function", "name": "update_plan", "description": "Plans.", "strict": false, "parameters": {"type": "object", "properties": {"plan": {"type": "array", "items": {"type": "object"}}}, "required": ["plan"]}},
            {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch hunk+ end_patch"}}
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": true,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": false,
        "stream": true,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0199a213-81c0-7800-8aa1-bbab2a035a53",
        "text": {"verbosity": "low"}
    })
}

/// As Codex sends it, packed.
fn as_codex(body: &Value) -> Ask {
    let packed = zstd::encode_all(body.to_string().as_bytes(), 3).unwrap();
    Ask::post("/v1/responses", packed)
        .header("content-encoding", "zstd")
        .header("accept", "text/event-stream")
        .header("originator", "codex_cli_rs")
        .header("session_id", "0199a213-81c0-7800-8aa1-bbab2a035a53")
        .header("conversation_id", "0199a213-81c0-7800-8aa1-bbab2a035a53")
        .header("user-agent", "codex_cli_rs/0.162.1 (Debian 12; x86_64) xterm")
        .header("x-codex-turn-metadata", "{}")
}

/// What Codex cannot do without: an id and usage in the event that completes the answer.
fn completed(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let all = events(answer);
    assert_eq!(all[0].0, "response.created", "{}", answer.text());
    let (name, last) = all.last().unwrap();
    assert_eq!(name, "response.completed", "{}", answer.text());
    let response = &last["response"];
    assert!(response["id"].as_str().is_some_and(|id| !id.is_empty()), "{response}");
    for key in ["input_tokens", "output_tokens", "total_tokens"] {
        assert!(response["usage"][key].is_u64(), "{key}: {response}");
    }
    for (number, (name, data)) in all.iter().enumerate() {
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(number)));
    }
    let done = all.iter().filter(|(name, _)| name == "response.output_item.done").count();
    assert_eq!(done, response["output"].as_array().unwrap().len(), "{}", answer.text());
    response.clone()
}

#[tokio::test]
async fn codex_reaches_its_own_dialect_with_nothing_changed_but_the_packing() {
    let (gateway, up) = start().await;
    let body = codex("gpt-5-codex");
    completed(&gateway.ask(as_codex(&body)).await);
    let seen = up.requests().pop().unwrap();
    let expected = body.to_string().replace("\"gpt-5-codex\"", "\"mock-native\"");
    assert_eq!(String::from_utf8_lossy(seen.body.as_ref().unwrap()), expected);
    assert_eq!(seen.header("content-encoding"), None);
    for name in ["originator", "session_id"] {
        assert!(seen.header(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn codex_reaches_providers_of_both_other_dialects() {
    let (gateway, up) = start().await;
    for model in ["codex-by-chat", "codex-by-messages"] {
        let answer = gateway.ask(as_codex(&codex(model))).await;
        let response = completed(&answer);
        let texts = response["output"].as_array().unwrap().iter();
        let texts: Vec<_> = texts.filter_map(|item| item["content"][0]["text"].as_str()).collect();
        assert_eq!(texts, [TEXT], "{response}");
        let dropped = answer.header("x-gateway-dropped-params");
        assert!(dropped.contains("reasoning.encrypted_content"), "{model}: {dropped}");
        let said = up.requests().pop().unwrap().json();
        let text = said.to_string();
        assert!(!text.contains("only-for-its-provider"), "{model}: {said}");
        for kept in [
            "You are Codex",
            "<permissions instructions>",
            "Fix it",
            "main.rs",
            "*** Begin Patch",
            "apply_patch",
            "call_2",
        ] {
            assert!(text.contains(kept), "{model}: {kept} in {said}");
        }
    }
    // A provider that counts nothing: Codex gets an answer that is complete all the same.
    completed(&gateway.ask(as_codex(&codex("codex-by-chat-uncounted"))).await);
    let answer = gateway.ask(as_codex(&codex("codex-by-chat-cut"))).await;
    assert!(!answer.text().contains("response.completed"), "{}", answer.text());
}

#[tokio::test]
async fn codex_gets_calls_of_its_tools_from_a_messages_provider() {
    let (gateway, _up) = start().await;
    let mut body = codex("codex-by-messages-tools");
    body["input"].as_array_mut().unwrap().truncate(3);
    let response = completed(&gateway.ask(as_codex(&body)).await);
    let call = &response["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("exec_command")));
    assert!(call["call_id"].is_string(), "{call}");
    // The first tool is the one that the mock calls: a custom one is called with free text.
    body["tools"].as_array_mut().unwrap().reverse();
    let response = completed(&gateway.ask(as_codex(&body)).await);
    let call = &response["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("custom_tool_call"), &json!("apply_patch")));
    assert!(call["input"].is_string(), "{call}");
}

#[tokio::test]
async fn tools_that_only_codex_own_provider_runs_are_refused_by_name() {
    let (gateway, up) = start().await;
    for (tool, model) in [("web_search", "codex-by-chat"), ("local_shell", "codex-by-messages")] {
        let mut body = codex(model);
        body["tools"].as_array_mut().unwrap().push(json!({"type": tool}));
        let answer = gateway.ask(as_codex(&body)).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        let error = &answer.json()["error"];
        assert_eq!(error["param"], "tools[3].type");
        assert!(error["message"].as_str().unwrap().contains(tool), "{error}");
        body["model"] = json!("gpt-5-codex");
        completed(&gateway.ask(as_codex(&body)).await);
    }
    assert_eq!(up.requests().len(), 2, "its own provider got both");
}

#[tokio::test]
async fn codex_is_told_to_speak_http() {
    let (gateway, up) = start().await;
    let ask = Ask::get("/v1/responses")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("openai-beta", "responses_websockets=2026-02-06")
        .header("originator", "codex_cli_rs");
    assert_eq!(gateway.ask(ask).await.status, 426);
    assert!(up.requests().is_empty());
}
