//! The head of one attempt's request, made from the client's.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use pingora_core::Result;

use crate::exchange::headers::{request_header_passes, speaks_dialect};
use crate::exchange::rewrite::Attempt;

/// Turns the client's head into the attempt's: its path, its host, its credential, its length.
/// Everything that belongs to the client's connection or identity is gone afterwards.
pub fn prepare(head: &mut RequestHeader, attempt: &Attempt) -> Result<()> {
    let passes = |name: &str| {
        request_header_passes(name) && (attempt.foreign.is_none() || !speaks_dialect(name))
    };
    let dropped: Vec<HeaderName> =
        head.headers.keys().filter(|name| !passes(name.as_str())).cloned().collect();
    for name in &dropped {
        head.remove_header(name);
    }
    head.set_raw_path(attempt.target.as_bytes())?;
    head.insert_header(HOST, attempt.provider.authority.clone())?;
    // Compressed answers could not be metered; one that comes all the same is decoded.
    head.insert_header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))?;
    if attempt.length > 0 || head.method == http::Method::POST {
        head.insert_header(CONTENT_LENGTH, HeaderValue::from(attempt.length))?;
    }
    if let Some((name, value)) = &attempt.credential {
        head.insert_header(name.clone(), value.clone())?;
    }
    if let Some(foreign) = &attempt.foreign {
        head.insert_header(CONTENT_TYPE, HeaderValue::from_static("application/json"))?;
        if let Some(version) = foreign.version {
            head.insert_header("anthropic-version", HeaderValue::from_static(version))?;
        }
    }
    for (name, value) in &attempt.provider.headers {
        head.insert_header(name.clone(), value.clone())?;
    }
    Ok(())
}

/// The attempt's body, as the wrapped session will give it out.
pub fn segments(attempt: &mut Attempt) -> Vec<Bytes> {
    std::mem::take(&mut attempt.segments)
}
