//! Which headers cross the gateway, in either direction.
//!
//! Requests are an open list: everything passes but what belongs to one connection, to the gateway or
//! to somebody's identity (`anthropic-*` headers must survive, `wire.md` section 7.1). Where a request is
//! translated, what a client says to the provider of its own dialect alone stays behind: who its user's
//! account, session and agents are is no business of another. Answers lose what belongs to the upstream's
//! connection and origin.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName};

/// Request headers that never go upstream: those of one connection or hop, the gateway's own, and every header
/// by which a client may show a credential, whoever it is for. One that a provider needs is set from its
/// configuration afterwards. A match, because most names differ from all of these in length: a binary search
/// compares texts four or five times for each header of each request.
fn is_kept_from_upstream(name: &str) -> bool {
    matches!(
        name,
        "accept-encoding"
            | "api-key"
            | "authorization"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "cookie"
            | "expect"
            | "forwarded"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "ocp-apim-subscription-key"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "via"
            | "x-agent-id"
            | "x-amz-security-token"
            | "x-api-key"
            | "x-auth-token"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-proto"
            | "x-goog-api-key"
            | "x-real-ip"
            | "x-weir-key"
            | "x-weir-route"
    )
}

/// Beginnings of the names of request headers, lower case, that mean something to providers of one dialect
/// only: versions of its API, what its clients are made of, and whom they work for.
const PRIVATE_BEGINNINGS: [&str; 8] = [
    "anthropic-",
    "chatgpt-",
    "openai-",
    "x-anthropic-",
    "x-claude-",
    "x-codex-",
    "x-openai-",
    "x-stainless-",
];

/// Whole names of such headers, sorted: Codex's and Claude Code's.
const PRIVATE_NAMES: [&str; 7] = [
    "conversation-id",
    "conversation_id",
    "originator",
    "session-id",
    "session_id",
    "version",
    "x-app",
];

/// Answer headers that never reach the client. Length and transfer coding are set anew by whoever writes the
/// answer.
fn is_kept_from_client(name: &str) -> bool {
    matches!(
        name,
        "alt-svc"
            | "connection"
            | "content-encoding"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-connection"
            | "set-cookie"
            | "strict-transport-security"
            | "te"
            | "trailer"
            | "upgrade"
            | "www-authenticate"
    )
}

/// The headers that `Connection` names: they belong to this connection, whatever they are called (S4-08).
pub fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).into_iter();
    let names = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    let names = names.map(<[u8]>::trim_ascii).filter(|name| !is_about_connection(name));
    names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect()
}

/// Whether a word of `Connection` is no name of a header, or of one that passes nowhere: nearly all are.
fn is_about_connection(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"keep-alive") || word.eq_ignore_ascii_case(b"close")
}

/// Whether a request header of that name (lower case) goes upstream.
pub fn request_header_passes(name: &str) -> bool {
    !is_kept_from_upstream(name) && !name.starts_with("x-gateway-")
}

/// Whether a request header of that name (lower case) means something in one dialect only, so that it
/// stays behind when the request is translated.
pub fn speaks_dialect(name: &str) -> bool {
    PRIVATE_NAMES.binary_search(&name).is_ok()
        || PRIVATE_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

/// Whether an answer header of that name (lower case) reaches the client.
pub fn answer_header_passes(name: &str) -> bool {
    !is_kept_from_client(name) && !name.starts_with("x-gateway-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_connection_names_is_found_however_it_is_written() {
        let mut headers = HeaderMap::new();
        assert!(named_by_connection(&headers).is_empty());
        for value in ["keep-alive, X-Hop ,", "x-Other", "a b, @;, close"] {
            headers.append(CONNECTION, http::HeaderValue::from_str(value).unwrap());
        }
        assert_eq!(named_by_connection(&headers), ["x-hop", "x-other"]);
    }

    #[test]
    fn the_lists_are_sorted_because_they_are_searched() {
        assert!(PRIVATE_NAMES.is_sorted());
    }

    #[test]
    fn what_clients_say_to_their_own_provider_is_known() {
        for name in [
            "anthropic-beta",
            "anthropic-version",
            "x-claude-code-session-id",
            "x-app",
            "openai-organization",
            "chatgpt-account-id",
            "x-codex-turn-state",
            "originator",
            "session_id",
            "x-stainless-lang",
        ] {
            assert!(request_header_passes(name) && speaks_dialect(name), "{name}");
        }
        for name in ["user-agent", "x-session-id", "x-title", "http-referer", "x-request-id"] {
            assert!(!speaks_dialect(name), "{name}");
        }
    }

    #[test]
    fn credentials_stay_and_provider_headers_pass() {
        for name in [
            "api-key",
            "authorization",
            "cookie",
            "ocp-apim-subscription-key",
            "proxy-authorization",
            "x-agent-id",
            "x-amz-security-token",
            "x-api-key",
            "x-auth-token",
            "x-forwarded-for",
            "x-goog-api-key",
        ] {
            assert!(!request_header_passes(name), "{name}");
        }
        for name in ["anthropic-version", "anthropic-beta", "openai-organization", "x-session-id"] {
            assert!(request_header_passes(name), "{name}");
        }
        for name in ["set-cookie", "x-gateway-model-used"] {
            assert!(!answer_header_passes(name), "{name}");
        }
        for name in ["x-request-id", "request-id", "retry-after", "x-ratelimit-limit-tokens"] {
            assert!(answer_header_passes(name), "{name}");
        }
    }
}
