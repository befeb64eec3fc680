//! The head of one attempt's request, made from the client's.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use pingora_core::Result;

use crate::exchange::headers::{named_by_connection, request_header_passes, speaks_dialect};
use crate::exchange::rewrite::Attempt;
use crate::proxy::heads;

const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// Turns the client's head into the attempt's: its path, its host, its credential, its length.
/// Everything that belongs to the client's connection or identity is gone afterwards.
pub fn prepare(head: &mut RequestHeader, attempt: &Attempt) -> Result<()> {
    let needs_length = attempt.length > 0 || head.method == http::Method::POST;
    heads::of_request(head, attempt.target.as_bytes(), |headers| {
        drop_client(headers, attempt.foreign.is_some());
        headers.insert(HOST, attempt.provider.authority.clone());
        // Compressed answers could not be metered; one that comes all the same is decoded.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if needs_length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(attempt.length));
        }
        if let Some((name, value)) = &attempt.credential {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(foreign) = &attempt.foreign {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if let Some(version) = foreign.version {
                headers.insert(ANTHROPIC_VERSION, HeaderValue::from_static(version));
            }
        }
        for (name, value) in &attempt.provider.headers {
            headers.insert(name.clone(), value.clone());
        }
    })
}

/// Removes what belongs to the client's connection or identity, and where the request is translated, what
/// speaks to the provider of its own dialect.
fn drop_client(headers: &mut HeaderMap, foreign: bool) {
    let passes = |name: &str| request_header_passes(name) && !(foreign && speaks_dialect(name));
    let mut dropped = named_by_connection(headers);
    dropped.extend(headers.keys().filter(|name| !passes(name.as_str())).cloned());
    for name in &dropped {
        headers.remove(name);
    }
}

/// The attempt's body, as the wrapped session will give it out.
pub fn segments(attempt: &mut Attempt) -> Vec<Bytes> {
    std::mem::take(&mut attempt.segments)
}
