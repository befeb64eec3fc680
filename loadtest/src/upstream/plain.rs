//! The small surfaces: models, embeddings, account, health, echoes.
//!
//! Nothing here streams.

use bytes::Bytes;
use hyper::Method;
use hyper::http::request::Parts;
use serde_json::{Value, json};

use super::answer::Answer;
use super::ask::{Ask, Surface};
use super::chat::CREATED;
use super::manner::{Manner, UsagePlace};
use super::price::dollars;
use super::refuse;
use super::seen::{sha256_hex, split_headers};

/// Models listed by `/models`; every other name works as well.
const MODELS: [&str; 6] =
    ["mock-model", "mock-429", "mock-503", "mock-slow", "mock-cut", "text-embedding-mock"];
/// Numbers of one embedding.
const DIMENSIONS: usize = 8;
/// The same embedding as base64 of little-endian numbers.
const VECTOR_BASE64: &str = "AAAAPgAAAD4AAAA+AAAAPgAAAD4AAAA+AAAAPgAAAD4=";
/// Characters of a credential's hash shown by an echo.
const HASH_PREFIX: usize = 16;

/// `/models`, in the form that both dialects' clients accept.
pub fn models() -> Answer {
    let list: Vec<Value> = MODELS.iter().map(|id| model_object(id)).collect();
    let body = json!({
        "object": "list", "data": list, "has_more": false,
        "first_id": MODELS.first(), "last_id": MODELS.last(),
    });
    Answer::json(200, body.to_string())
}

/// `/models/{id}`.
pub fn model(id: &str) -> Answer {
    Answer::json(200, model_object(id).to_string())
}

fn model_object(id: &str) -> Value {
    json!({
        "id": id, "object": "model", "type": "model", "created": CREATED,
        "created_at": "2026-09-21T13:33:20Z", "owned_by": "mock", "display_name": id,
    })
}

/// `/embeddings`.
pub fn embeddings(ask: &Ask) -> Answer {
    let vector = if ask.base64 { json!(VECTOR_BASE64) } else { json!(vec![0.125_f32; DIMENSIONS]) };
    let list: Vec<Value> = (0..ask.inputs)
        .map(|index| json!({"object": "embedding", "index": index, "embedding": vector}))
        .collect();
    let mut body = json!({"object": "list", "data": list, "model": ask.model});
    if ask.fault.usage != Some(UsagePlace::None) {
        let input = ask.tokens.prompt();
        body["usage"] = json!({"prompt_tokens": input, "total_tokens": input});
        if ask.fault.costs.is_told || ask.manner == Manner::OpenRouter {
            body["usage"]["cost"] = dollars(ask.cost_nano(&ask.tokens));
        }
    }
    Answer::json(200, body.to_string())
}

/// `/key`: `OpenRouter`'s account limits.
pub fn key() -> Answer {
    let body = json!({"data": {
        "label": "mock", "limit": 100, "limit_reset": "monthly", "limit_remaining": 74.5,
        "usage": 25.5, "is_free_tier": false,
    }});
    Answer::json(200, body.to_string())
}

/// `/generation?id=`: what one answer cost, or 404 as long as that is not known.
pub fn generation(head: &Parts, find: impl FnOnce(&str) -> Option<Value>) -> Answer {
    let query = head.uri.query().unwrap_or_default();
    let id = query.split('&').find_map(|part| part.strip_prefix("id=")).unwrap_or_default();
    if let Some(told) = find(id) {
        return Answer::json(200, told.to_string());
    }
    let error = json!({"code": 404, "message": format!("Generation {id} not found")});
    Answer::json(404, json!({"error": error}).to_string())
}

/// `/health`.
pub fn health(name: &str) -> Answer {
    Answer::json(200, json!({"status": "ok", "mock": name}).to_string())
}

/// Anything else below `/v1`.
pub fn other(head: &Parts, body: &Bytes) -> Answer {
    let body = json!({
        "method": head.method.as_str(), "path": full_path(head), "body_bytes": body.len(),
    });
    Answer::json(200, body.to_string())
}

/// Not found.
pub fn unknown(head: &Parts) -> Answer {
    let message = format!("mock: no {} {}", head.method, head.uri.path());
    let error = json!({"message": message, "type": "invalid_request_error", "param": null,
        "code": null});
    Answer::json(404, json!({"error": error}).to_string())
}

/// A wrong method on a known path.
pub fn is_wrong_method(surface: &Surface, method: &Method) -> bool {
    let is_read = *method == Method::GET || *method == Method::HEAD;
    match surface {
        Surface::Chat
        | Surface::Completions
        | Surface::Embeddings
        | Surface::Responses
        | Surface::Messages
        | Surface::CountTokens
        | Surface::BillReset => *method != Method::POST,
        Surface::Models | Surface::Key | Surface::Generation | Surface::Bill => !is_read,
        _ => false,
    }
}

/// `mock-echo`: what arrived, with credentials as hash prefixes, and a usage object.
pub fn echo(ask: &Ask, head: &Parts, body: &Bytes) -> Answer {
    let (plain, credentials) = split_headers(&head.headers);
    let hidden = credentials.into_iter().map(|credential| {
        (credential.header, format!("sha256:{}", &credential.sha256[..HASH_PREFIX]))
    });
    let headers: Vec<Value> =
        plain.into_iter().chain(hidden).map(|(name, value)| json!([name, value])).collect();
    let body = json!({
        "object": "mock.echo",
        "method": head.method.as_str(),
        "path": full_path(head),
        "headers": headers,
        "body_bytes": body.len(),
        "body_sha256": sha256_hex(body),
        "model": ask.model,
        "usage": refuse::usage(ask),
    });
    Answer::json(200, body.to_string())
}

fn full_path(head: &Parts) -> &str {
    head.uri.path_and_query().map_or(head.uri.path(), |path| path.as_str())
}
