//! The answers that the gateway gives itself: refusals, model lists, health.
//!
//! One place turns a `Fault` into status, headers and body. Upstream answers never pass here, but for
//! the last failed one, which is returned as it came.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue};
use pingora::http::ResponseHeader;
use pingora_core::Result;
use pingora_core::protocols::http::ServerSession;

use crate::base::fault::{Code, Fault};
use crate::base::id::RequestId;
use crate::base::surface::Dialect;
use crate::dialect::error_body;

/// One answer, ready to be written.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Headers beside length and request id.
    pub headers: Vec<(http::HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// Whether the connection must be closed after it, because the request was not read.
    pub close: bool,
}

impl Reply {
    /// A JSON answer.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        if status == 401 {
            // A refusal for want of a key must say which kind of key (RFC 9110 section 15.5.2).
            headers.push((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        Self { status, headers, body: body.into(), close: false }
    }

    /// A refusal in the client's dialect.
    pub fn refusal(dialect: Dialect, fault: &Fault) -> Self {
        let mut reply = Self::json(fault.code.status(), error_body::body(dialect, fault));
        if let Some(seconds) = fault.retry_after_s.or(fault.code.retry_after_seconds()) {
            reply.headers.push((RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if let Some(methods) = fault.allow {
            reply.headers.push((ALLOW, HeaderValue::from_static(methods.list())));
        }
        if matches!(fault.code, Code::BudgetExhausted | Code::KeyQuarantined) {
            // SDKs would try again by themselves, and be refused again (C-09).
            let never = HeaderValue::from_static("false");
            reply.headers.push((HeaderName::from_static("x-should-retry"), never));
        }
        // What was not read cannot be told from the next request.
        reply.close = matches!(
            fault.code,
            Code::BodyTooLarge
                | Code::RequestTimeout
                | Code::UnsupportedEncoding
                | Code::Draining
                | Code::KeyQuarantined
        );
        reply
    }
}

/// Writes the answer to the client; for `HEAD` only its header.
pub async fn write(session: &mut ServerSession, id: RequestId, reply: Reply) -> Result<()> {
    let head_only = session.req_header().method == http::Method::HEAD;
    let mut header = ResponseHeader::build(reply.status, Some(reply.headers.len() + 2))?;
    for (name, value) in reply.headers {
        header.append_header(name, value)?;
    }
    header.set_content_length(reply.body.len())?;
    header.insert_header("x-gateway-request-id", id.to_string())?;
    if reply.close {
        session.set_keepalive(None);
    }
    session.write_response_header(Box::new(header)).await?;
    if head_only || reply.body.is_empty() {
        return session.finish_body().await;
    }
    session.write_response_body(reply.body, true).await
}
