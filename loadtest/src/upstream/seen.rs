//! What arrived: a bounded list that tests ask, and the request log (S0-20).
//!
//! Credentials are kept as SHA-256 only and never reach the log. It does not judge a request.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

/// Bodies up to this size are kept whole.
const BODY_KEPT_BYTES_MAX: usize = 1024 * 1024;
/// Parts of the names of headers whose values are secrets.
const CREDENTIAL_WORDS: [&str; 7] =
    ["authorization", "api-key", "apikey", "cookie", "secret", "token", "x-auth"];

/// A secret that came with a request, as a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The header, in lower case.
    pub header: String,
    /// SHA-256 in hex of the value without a `Bearer ` or `Basic ` in front.
    pub sha256: String,
}

/// One request as it arrived and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Counts from 1 in the order of arrival.
    pub number: u64,
    /// When the head arrived.
    pub at: SystemTime,
    /// Counts the connections of the mock from 1: equal numbers mean a reused connection.
    pub connection: u64,
    /// The method.
    pub method: String,
    /// Path and query, exactly as sent.
    pub path: String,
    /// Header names (lower case) and values without credentials, in order.
    pub headers: Vec<(String, String)>,
    /// Every credential that came.
    pub credentials: Vec<Credential>,
    /// The hash of the first of them.
    pub credential_sha256: Option<String>,
    /// The model named in the body or path.
    pub model: Option<String>,
    /// Whether the body asked for a stream.
    pub stream: bool,
    /// Length of the body.
    pub body_bytes: u64,
    /// SHA-256 of the body in hex; empty until the body is complete.
    pub body_sha256: String,
    /// The body itself, up to 1 MiB.
    pub body: Option<Bytes>,
    /// Status answered; 0 until then.
    pub status: u16,
    /// The mock has played its whole answer (a cut it was asked for counts as whole).
    pub finished: bool,
    /// The peer left before the answer was played to its end.
    pub closed_early: bool,
}

impl Seen {
    /// The first value of a header (name in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// True if this key came as one of the credentials.
    pub fn carried(&self, key: &str) -> bool {
        let hash = sha256_hex(key.as_bytes());
        self.credentials.iter().any(|credential| credential.sha256 == hash)
    }

    /// The body as JSON; `Null` if it is none or was too large to keep.
    pub fn json(&self) -> Value {
        self.body.as_ref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or(Value::Null)
    }

    /// The line of the request log: no credentials, no text.
    fn log_line(&self, name: &str) -> Value {
        let headers: Map<String, Value> =
            self.headers.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        json!({
            "at_unix_ms": unix_ms(self.at),
            "mock": name,
            "number": self.number,
            "connection": self.connection,
            "method": self.method,
            "path": self.path,
            "headers": headers,
            "model": self.model,
            "stream": self.stream,
            "body_bytes": self.body_bytes,
            "body_sha256": self.body_sha256,
            "status": self.status,
        })
    }
}

/// SHA-256 in lower-case hex, as used for keys and bodies in [`Seen`].
pub fn sha256_hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit).collect()
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// True for headers that must not be shown.
pub fn is_credential(name: &str) -> bool {
    CREDENTIAL_WORDS.iter().any(|word| name.contains(word))
}

/// The secret itself: the value without its scheme.
pub fn secret_of(value: &HeaderValue) -> &[u8] {
    let bytes = value.as_bytes();
    ["Bearer ", "bearer ", "Basic ", "basic "]
        .iter()
        .find_map(|scheme| bytes.strip_prefix(scheme.as_bytes()))
        .unwrap_or(bytes)
}

/// The requests a mock has seen, newest last, and its log.
#[derive(Debug)]
pub struct Book {
    name: String,
    requests_max: usize,
    log: Option<Mutex<File>>,
    kept: Mutex<Kept>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    count: u64,
    entries: VecDeque<Arc<Mutex<Seen>>>,
}

impl Book {
    /// Opens the log (appending); keeps the last `requests_max` requests, none at all if 0.
    pub fn open(name: &str, requests_max: usize, log: Option<&Path>) -> io::Result<Self> {
        let open = |path| File::options().create(true).append(true).open(path);
        let log = log.map(open).transpose()?.map(Mutex::new);
        let kept = Mutex::new(Kept::default());
        Ok(Self { name: name.to_owned(), requests_max, log, kept, changes: watch::Sender::new(0) })
    }

    /// True if nobody wants to know what arrived: load runs.
    pub fn is_blind(&self) -> bool {
        self.requests_max == 0 && self.log.is_none()
    }

    /// Notes the head of a request; the [`Watch`] takes what follows.
    pub fn arrive(self: &Arc<Self>, connection: u64, head: &hyper::http::request::Parts) -> Watch {
        if self.is_blind() {
            return Watch::default();
        }
        let mut seen = read_head(connection, head);
        let mut kept = self.kept.lock();
        kept.count += 1;
        seen.number = kept.count;
        let entry = Arc::new(Mutex::new(seen));
        if self.requests_max > 0 {
            if kept.entries.len() == self.requests_max {
                kept.entries.pop_front();
            }
            kept.entries.push_back(Arc::clone(&entry));
        }
        drop(kept);
        self.changed();
        Watch { open: Some((Arc::clone(self), entry)) }
    }

    /// Copies of the requests kept, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        let entries: Vec<_> = self.kept.lock().entries.iter().cloned().collect();
        entries.iter().map(|entry| entry.lock().clone()).collect()
    }

    /// Forgets the requests kept.
    pub fn clear(&self) {
        self.kept.lock().entries.clear();
    }

    /// Waits until a request kept fulfils the condition; none when the time is over.
    pub async fn wait_for(&self, time: Duration, wanted: impl Fn(&Seen) -> bool) -> Option<Seen> {
        let mut changes = self.changes.subscribe();
        let search = async {
            loop {
                changes.borrow_and_update();
                if let Some(seen) = self.requests().into_iter().find(|seen| wanted(seen)) {
                    return Some(seen);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(time, search).await.ok().flatten()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn write_log(&self, seen: &Seen) {
        if let Some(log) = &self.log {
            let mut line = seen.log_line(&self.name).to_string();
            line.push('\n');
            // A full disk must not stop the mock: the log is an aid.
            let _ = log.lock().write_all(line.as_bytes());
        }
    }
}

fn read_head(connection: u64, head: &hyper::http::request::Parts) -> Seen {
    let (headers, credentials) = split_headers(&head.headers);
    let path = head.uri.path_and_query().map_or(head.uri.path(), |path| path.as_str());
    Seen {
        number: 0,
        at: SystemTime::now(),
        connection,
        method: head.method.to_string(),
        path: path.to_owned(),
        headers,
        credential_sha256: credentials.first().map(|first| first.sha256.clone()),
        credentials,
        model: None,
        stream: false,
        body_bytes: 0,
        body_sha256: String::new(),
        body: None,
        status: 0,
        finished: false,
        closed_early: false,
    }
}

/// Plain headers, and credentials as hashes.
pub fn split_headers(headers: &HeaderMap) -> (Vec<(String, String)>, Vec<Credential>) {
    let mut plain = Vec::with_capacity(headers.len());
    let mut credentials = Vec::new();
    for (name, value) in headers {
        let header = name.as_str().to_owned();
        if is_credential(&header) {
            credentials.push(Credential { header, sha256: sha256_hex(secret_of(value)) });
        } else {
            plain.push((header, String::from_utf8_lossy(value.as_bytes()).into_owned()));
        }
    }
    (plain, credentials)
}

/// Follows one request to its end. Dropped before [`Watch::finish`], it notes that the peer left.
#[derive(Debug, Default)]
pub struct Watch {
    open: Option<(Arc<Book>, Arc<Mutex<Seen>>)>,
}

impl Watch {
    /// The number of the request; 0 if nobody counts.
    pub fn number(&self) -> u64 {
        self.open.as_ref().map_or(0, |(_, entry)| entry.lock().number)
    }

    /// The body is complete.
    pub fn body(&self, body: &Bytes) {
        self.change(|seen| {
            seen.body_bytes = body.len() as u64;
            seen.body_sha256 = sha256_hex(body);
            seen.body = (body.len() <= BODY_KEPT_BYTES_MAX).then(|| body.clone());
        });
    }

    /// What the body asks for.
    pub fn asked(&self, model: Option<&str>, stream: bool) {
        self.change(|seen| {
            seen.model = model.map(str::to_owned);
            seen.stream = stream;
        });
    }

    /// The answer is decided; this writes the log line.
    pub fn answered(&self, status: u16) {
        self.change(|seen| seen.status = status);
        if let Some((book, entry)) = &self.open {
            book.write_log(&entry.lock());
        }
    }

    /// The whole answer has been played.
    pub fn finish(&mut self) {
        self.change(|seen| seen.finished = true);
        self.open = None;
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        if let Some((book, entry)) = &self.open {
            change(&mut entry.lock());
            book.changed();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.change(|seen| seen.closed_early = true);
    }
}
