//! One request and its whole answer, for demonstrations and tests. Not for load: every call opens a
//! connection of its own.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{HeaderMap, Request};

use crate::client;

/// No answer in a demonstration or a test takes longer.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// What to ask for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Where.
    pub addr: SocketAddr,
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Headers besides host and content type.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body; sent with a JSON content type unless the headers say otherwise, empty = none.
    pub body: &'a [u8],
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Fetched {
    /// The value of a header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Sends the request and reads the answer to its end.
///
/// # Errors
/// No connection, no HTTP, a body that breaks off, or no end within a minute.
pub async fn fetch(ask: Ask<'_>) -> io::Result<Fetched> {
    let wait = tokio::time::timeout(WAIT_MAX, exchange(ask));
    wait.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn exchange(ask: Ask<'_>) -> io::Result<Fetched> {
    let mut connection = client::connect(ask.addr).await?;
    let mut request = Request::builder().method(ask.method).uri(ask.path);
    if !ask.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header(HOST, ask.addr.to_string());
    }
    let typed = ask.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if !typed && !ask.body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    for (name, value) in ask.headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::copy_from_slice(ask.body));
    let request = request.body(body).map_err(io::Error::other)?;
    let response = connection.send_request(request).await.map_err(io::Error::other)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Fetched { status: head.status.as_u16(), headers: head.headers, body })
}
