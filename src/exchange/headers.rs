//! Which headers cross the gateway, in either direction.
//!
//! Requests are an open list: everything passes but what belongs to one connection, to the gateway or
//! to somebody's identity (`anthropic-*` headers must survive, `wire.md` section 7.1). Answers lose
//! what belongs to the upstream's connection and origin.

/// Request headers that never go upstream, lower case and sorted.
const REQUEST_DROPPED: [&str; 30] = [
    "accept-encoding",
    "api-key",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-agent-id",
    "x-api-key",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-goog-api-key",
    "x-real-ip",
    "x-weir-key",
    "x-weir-route",
];

/// Answer headers that never reach the client, lower case and sorted. Length and transfer coding are
/// set anew by whoever writes the answer.
const ANSWER_DROPPED: [&str; 12] = [
    "alt-svc",
    "connection",
    "content-encoding",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "upgrade",
    "www-authenticate",
];

/// Whether a request header of that name (lower case) goes upstream.
pub fn request_header_passes(name: &str) -> bool {
    REQUEST_DROPPED.binary_search(&name).is_err() && !name.starts_with("x-gateway-")
}

/// Whether a request header of that name (lower case) means something in one dialect only, so that it
/// stays behind when the request is translated.
pub fn speaks_dialect(name: &str) -> bool {
    name.starts_with("anthropic-") || name.starts_with("openai-")
}

/// Whether an answer header of that name (lower case) reaches the client.
pub fn answer_header_passes(name: &str) -> bool {
    ANSWER_DROPPED.binary_search(&name).is_err() && !name.starts_with("x-gateway-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_because_they_are_searched() {
        assert!(REQUEST_DROPPED.is_sorted());
        assert!(ANSWER_DROPPED.is_sorted());
    }

    #[test]
    fn credentials_stay_and_provider_headers_pass() {
        for name in ["authorization", "x-api-key", "cookie", "x-forwarded-for", "x-agent-id"] {
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
