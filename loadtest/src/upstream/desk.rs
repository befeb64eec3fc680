//! One request to one answer: reads it, decides which surface or fault answers, remembers.
//!
//! Hot path in load runs: a request that repeats the connection's last one gets the same answer
//! again without being parsed.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use parking_lot::Mutex;

use super::answer::{Answer, Frames};
use super::ask::{Ask, Surface};
use super::bill::{Bill, BillLine, Terms};
use super::count::Tokens;
use super::fault::{Ending, Shape};
use super::manner::Manner;
use super::play::{Audience, Play, Step};
use super::seen::{Book, secret_of, sha256_hex, split_headers};
use super::server::MockConfig;
use super::tap::Tap;
use super::{chat, messages, odd, plain, refuse, responses};

/// Largest request body taken.
const BODY_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The lowest status that is no answer of a model.
const FIRST_REFUSAL: u16 = 300;
/// Keys counted by `fail-first`; beyond it the counts start anew.
const KEYS_MAX: usize = 10_000;

/// What one connection remembers.
#[derive(Debug)]
pub struct Connection {
    number: u64,
    tap: Arc<Tap>,
    last: Mutex<Option<Memo>>,
}

#[derive(Debug, Clone)]
struct Memo {
    path: String,
    body: Bytes,
    answer: Answer,
    latency: Duration,
    /// None on surfaces that cost nothing.
    terms: Option<Terms>,
}

impl Connection {
    /// A connection with its number and tap.
    pub fn new(number: u64, tap: Arc<Tap>) -> Self {
        Self { number, tap, last: Mutex::new(None) }
    }
}

/// What all connections of a mock share.
#[derive(Debug)]
pub struct Desk {
    config: MockConfig,
    book: Arc<Book>,
    bill: Arc<Bill>,
    serial: AtomicU64,
    failures: Mutex<HashMap<String, u32>>,
}

impl Desk {
    /// A desk with no request served.
    pub fn new(config: MockConfig, book: Arc<Book>, bill: Arc<Bill>) -> Self {
        Self { config, book, bill, serial: AtomicU64::new(0), failures: Mutex::default() }
    }

    /// Reads the request to its end and answers it.
    pub async fn answer(
        &self,
        connection: &Connection,
        request: Request<Incoming>,
    ) -> io::Result<Response<Play>> {
        let (head, body) = request.into_parts();
        let surface = Surface::of(head.uri.path());
        if surface.is_own() {
            return Ok(play(self.own(&surface, &head), connection, Audience::default()));
        }
        let watch = self.book.arrive(connection.number, &head);
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map_err(io::Error::other)?.to_bytes();
        if let Some(memo) = self.remembered(connection, &head, &body) {
            let charge = memo.terms.map(|terms| self.bill.book(BillLine::default(), terms));
            let audience = Audience { charge: charge.unwrap_or_default(), watch };
            pause(memo.latency).await;
            return Ok(play(memo.answer, connection, audience));
        }
        watch.body(&body);
        let ask = Ask::read(surface, &head.headers, &body, &self.config);
        watch.asked(ask.named.as_deref(), ask.stream);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed) + 1;
        let answer = self.finished(&ask, &head, &body, serial);
        let terms = ask.surface.is_billed().then(|| terms(&ask, &answer));
        let charge = terms.map(|terms| {
            let (number, status) = (watch.number(), answer.status);
            self.bill.book(BillLine { number, status, ..self.line(&ask, &head, serial) }, terms)
        });
        watch.answered(answer.status);
        let latency = Duration::from_millis(ask.fault.latency_ms);
        if self.book.is_blind() && ask.fault.is_repeatable() {
            let path = head.uri.path().to_owned();
            let answer = answer.clone();
            *connection.last.lock() = Some(Memo { path, body, answer, latency, terms });
        }
        let audience = Audience { charge: charge.unwrap_or_default(), watch };
        pause(latency).await;
        if ask.fault.is_silent() {
            return Err(silence(ask.fault.shape, audience).await);
        }
        Ok(play(answer, connection, audience))
    }

    /// What is decided, with what belongs to the method and to silence.
    fn finished(&self, ask: &Ask, head: &Parts, body: &Bytes, serial: u64) -> Answer {
        let mut answer = self.decide(ask, head, body, serial);
        if head.method == Method::HEAD {
            answer.script = Arc::new([]);
        }
        if ask.fault.is_silent() {
            answer.status = 0;
        }
        answer
    }

    /// A line of the bill, as far as the request tells; empty if no lines are kept.
    fn line(&self, ask: &Ask, head: &Parts, serial: u64) -> BillLine {
        if !self.bill.has_lines() {
            return BillLine::default();
        }
        let (mut headers, _) = split_headers(&head.headers);
        headers.retain(|(name, _)| name.starts_with("x-") || name == "traceparent");
        let (generation, model) = (chat::generation_id(serial), ask.model.clone());
        BillLine { generation, model, stream: ask.stream, headers, ..BillLine::default() }
    }

    /// The mock's own account.
    fn own(&self, surface: &Surface, head: &Parts) -> Answer {
        if plain::is_wrong_method(surface, &head.method) {
            return plain::unknown(head);
        }
        if *surface == Surface::BillReset {
            self.bill.reset();
        }
        Answer::json(200, self.bill.to_json().to_string())
    }

    /// The connection's last answer, if this request is the same and asks for nothing by header.
    fn remembered(&self, connection: &Connection, head: &Parts, body: &Bytes) -> Option<Memo> {
        if !self.book.is_blind() {
            return None;
        }
        let last = connection.last.lock();
        let memo = last.as_ref()?;
        let is_same = memo.path == head.uri.path() && memo.body == *body;
        let is_plain = || !head.headers.keys().any(|name| name.as_str().starts_with("x-mock-"));
        (is_same && is_plain()).then(|| memo.clone())
    }

    fn decide(&self, ask: &Ask, head: &Parts, body: &Bytes, serial: u64) -> Answer {
        let request_id = format!("req_mock_{serial}");
        if let Some(status) = self.failing_status(ask, head) {
            return refuse::status(ask, status, &request_id).with("x-request-id", &request_id);
        }
        let fault = &ask.fault;
        let mut answer = match (fault.shape, &fault.fixture, fault.inside) {
            (Shape::NotHttp, ..) => odd::not_http(),
            (Shape::GzipBomb, ..) => odd::gzip_bomb(),
            (Shape::Endless, ..) => odd::endless(ask.stream),
            (Shape::Echo, ..) => plain::echo(ask, head, body),
            (_, Some(name), _) => odd::fixture(self.config.fixtures_dir.as_deref(), name),
            (_, _, Some(code)) if !matches!(fault.ending, Ending::Error(_)) => {
                refuse::inside(ask, code, &request_id)
            }
            _ => self.surface(ask, head, body, serial),
        };
        if ask.manner == Manner::OpenRouter {
            answer = answer.with("x-generation-id", &chat::generation_id(serial));
        }
        answer = answer.with("x-request-id", &request_id);
        answer = match fault.shape {
            Shape::Blank => odd::blank(answer),
            Shape::HugeHeader => odd::huge_header(answer),
            Shape::Gzip => odd::gzip(answer),
            _ => answer,
        };
        match fault.split {
            Some(split) => answer.split(split),
            None => answer,
        }
    }

    fn surface(&self, ask: &Ask, head: &Parts, body: &Bytes, serial: u64) -> Answer {
        if plain::is_wrong_method(&ask.surface, &head.method) {
            return plain::unknown(head);
        }
        let stream = |frames: Frames| Answer::stream(&frames, &ask.fault);
        match &ask.surface {
            Surface::Chat | Surface::Completions if ask.stream => stream(chat::stream(ask, serial)),
            Surface::Messages if ask.stream => stream(messages::stream(ask, serial)),
            Surface::Responses if ask.stream => stream(responses::stream(ask, serial)),
            Surface::Chat | Surface::Completions => whole(ask, chat::unary(ask, serial)),
            Surface::Messages => whole(ask, messages::unary(ask, serial)),
            Surface::Responses => whole(ask, responses::unary(ask, serial)),
            Surface::Embeddings => whole(ask, plain::embeddings(ask)),
            Surface::CountTokens => messages::count_tokens(ask),
            Surface::Models => plain::models(),
            Surface::Model(id) => plain::model(id),
            Surface::Key => plain::key(),
            Surface::Generation => {
                plain::generation(head, |id: &str| self.bill.generation_json(id))
            }
            Surface::Health => plain::health(&self.config.name),
            Surface::Other => plain::other(head, body),
            Surface::Unknown | Surface::Bill | Surface::BillReset => plain::unknown(head),
        }
    }

    /// The status to fail with: always, or while the key's count is below `fail-first`.
    fn failing_status(&self, ask: &Ask, head: &Parts) -> Option<u16> {
        let Some(first) = ask.fault.fail_first else { return ask.fault.status };
        let key = ask.fault.key.clone().unwrap_or_else(|| default_key(ask, head));
        let mut failures = self.failures.lock();
        if failures.len() >= KEYS_MAX && !failures.contains_key(&key) {
            failures.clear();
        }
        let count = failures.entry(key).or_default();
        if *count >= first {
            return None;
        }
        *count += 1;
        Some(ask.fault.status.unwrap_or(refuse::STATUS_DEFAULT))
    }
}

/// Credential and model.
fn default_key(ask: &Ask, head: &Parts) -> String {
    let names = ["authorization", "x-api-key", "api-key"];
    let secret = names.iter().find_map(|name| head.headers.get(*name)).map_or(&[][..], secret_of);
    format!("{} {}", sha256_hex(secret), ask.model)
}

/// A JSON answer with the endings that make sense for it: some bytes, then the break.
fn whole(ask: &Ask, mut answer: Answer) -> Answer {
    let last = match ask.fault.ending {
        Ending::Cut(_) | Ending::CutHalf(_) => Step::Cut,
        Ending::Reset(_) => Step::Reset,
        Ending::Stall(_) => Step::Stall,
        Ending::Full | Ending::Clean(_) | Ending::Error(_) => {
            if ask.manner == Manner::DeepSeek {
                return odd::blank(answer);
            }
            return answer;
        }
    };
    answer.is_whole = false;
    let bytes = odd::body_bytes(&answer.script);
    let half = Bytes::copy_from_slice(&bytes[..bytes.len() / 2]);
    let pause = Step::Wait(Duration::from_millis(5));
    answer.script = Arc::new([Step::Send(half), Step::Flush, pause, last]);
    answer.bytes_total = None;
    answer
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// What the request costs if it gets this answer.
fn terms(ask: &Ask, answer: &Answer) -> Terms {
    let fault = &ask.fault;
    let is_free = is_refusal(ask, answer) && !fault.costs.has_errors;
    let is_unread = fault.fixture.is_some();
    Terms {
        tokens: if is_free || is_unread { Tokens::default() } else { ask.tokens },
        price: ask.price,
        fixed_nano: fault.costs.fixed_nano.filter(|_| !is_free),
        abandoned: fault.costs.abandoned,
        bytes: answer.bytes_written,
    }
}

/// True if the answer is an error from its first byte on.
fn is_refusal(ask: &Ask, answer: &Answer) -> bool {
    let ending = ask.fault.ending;
    let is_error_body = ask.fault.inside.is_some() && !matches!(ending, Ending::Error(_));
    let begins_with_error = ask.stream && ending == Ending::Error(0);
    answer.status >= FIRST_REFUSAL || is_error_body || begins_with_error
}

/// Never answers, or only by closing the connection.
async fn silence(shape: Shape, mut audience: Audience) -> io::Error {
    if shape == Shape::Hang {
        std::future::pending::<()>().await;
    }
    audience.finish(false);
    io::ErrorKind::ConnectionAborted.into()
}

fn play(answer: Answer, connection: &Connection, audience: Audience) -> Response<Play> {
    let tap = Arc::clone(&connection.tap);
    let mut response = Response::new(Play::new(&answer, tap, audience));
    if let Some(bytes) = answer.instead {
        connection.tap.send_instead(bytes);
    }
    // A status outside 100..=999 cannot be asked for.
    *response.status_mut() = hyper::StatusCode::from_u16(answer.status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.reserve(answer.headers.len());
    for (name, value) in answer.headers {
        headers.append(name, value);
    }
    response
}
