//! The `ProxyHttp` of Weir: Pingora's callbacks in phase order, each handing over to the exchange.
//!
//! Hot path: `loadtest/scenarios`. Nothing is decided here but how an exchange's answer looks to
//! Pingora.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio::time::Instant;

use crate::base::fault::{Code, Fault};
use crate::base::limit::ERROR_BODY_WAIT_MS;
use crate::exchange::OnHeader;
use crate::exchange::headers::{answer_header_passes, named_by_connection};
use crate::exchange::relay::{Kind, Relay};
use crate::proxy::ctx::Ctx;
use crate::proxy::funds;
use crate::proxy::heads;
use crate::proxy::held;
use crate::proxy::infer;
use crate::proxy::inflate::Inflate;
use crate::proxy::intake::{self, Admitted};
use crate::proxy::peer;
use crate::proxy::reply;
use crate::proxy::shared::Shared;
use crate::proxy::upstream_request;
use crate::record::End;
use crate::upstream::retry::Reply as Heard;

/// What the guards found, for the client.
pub const X_GATEWAY_GUARD: HeaderName = HeaderName::from_static("x-gateway-guard");

/// The data plane.
pub struct Weir {
    shared: Arc<Shared>,
}

impl Weir {
    /// A data plane over those parts.
    pub const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[async_trait]
impl ProxyHttp for Weir {
    // Boxed: Pingora's futures hold a context in several places, and they live as long as a stream.
    type CTX = Box<Ctx>;

    fn new_ctx(&self) -> Box<Ctx> {
        crate::proxy::doorman::head_is_read();
        Box::new(Ctx::new(&self.shared))
    }

    fn init_downstream_modules(&self, _: &mut pingora_core::modules::http::HttpModules) {
        // None: answers are neither compressed nor otherwise changed by Pingora.
    }

    /// Begin, scan, admit, route: everything up to the plan, or an answer of our own.
    async fn request_filter(&self, session: &mut Session, ctx: &mut Box<Ctx>) -> Result<bool> {
        if self.shared.draining.load(Ordering::Relaxed) {
            session.set_keepalive(None);
        }
        let reply = match intake::admit(session, ctx).await {
            // Whatever is refused for want of money is refused before anything of an upstream is made.
            Ok(Admitted::Upstream) => match funds::next_attempt(ctx).await {
                Ok(Some(attempt)) => {
                    ctx.ready = Some(attempt);
                    ctx.attend();
                    held::wrap(session, &ctx.gate);
                    return Ok(false);
                }
                Ok(None) => ctx.failed_reply(),
                Err(fault) => ctx.refusal_reply(&fault),
            },
            Ok(Admitted::Here(reply)) => reply,
            Err(fault) => ctx.refuse(&fault),
        };
        ctx.status = reply.status;
        ctx.end = Some(End::Local);
        ctx.body_goes_out(reply.body.len());
        reply::write(session, ctx.id, reply).await?;
        Ok(true)
    }

    /// The next candidate, resolved; candidates whose name cannot be resolved are passed over.
    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Box<Ctx>,
    ) -> Result<Box<HttpPeer>> {
        ctx.wants_next = false;
        if ctx.gate.is_leaving() {
            ctx.refusal = Some(stopping());
            return Err(internal("the process is about to end"));
        }
        loop {
            let next = match ctx.ready.take() {
                Some(ready) => Ok(Some(ready)),
                None => funds::next_attempt(ctx).await,
            };
            let attempt = match next {
                Ok(Some(attempt)) => attempt,
                Ok(None) => {
                    return Err(upstream_error(ErrorType::ConnectError, "all candidates failed"));
                }
                Err(fault) => {
                    ctx.refusal = Some(fault);
                    return Err(internal("the attempt cannot be made"));
                }
            };
            ctx.wait_begins();
            let address = self.shared.resolver.address(&attempt.provider).await;
            let provider = Arc::clone(&attempt.provider);
            let bytes = attempt.length + peer::head_bytes(&session.req_header().headers);
            ctx.attempt = Some(attempt);
            match address {
                Ok(address) => {
                    return Ok(peer::peer(&provider, (address, bytes), &self.shared.trust));
                }
                Err(error) if !ctx.cannot_connect() => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Box<Ctx>,
        mut e: Box<Error>,
    ) -> Box<Error> {
        if let Some(attempt) = &ctx.attempt {
            self.shared.resolver.rotate(attempt.provider.host());
        }
        e.set_retry(ctx.cannot_connect());
        e
    }

    /// The attempt's own head and body in place of the client's.
    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        let Some(attempt) = ctx.attempt.as_mut() else { return Err(internal("no attempt")) };
        upstream_request::prepare(upstream_request, attempt)?;
        let wait = Duration::from_millis(attempt.provider.timeouts.first_byte_ms);
        match &mut ctx.held {
            Some(held) => held.mark_sent(),
            None => ctx.is_sent_unheld = true,
        }
        ctx.gate.begin_attempt(attempt.segments.iter().cloned(), Instant::now() + wait);
        Ok(())
    }

    /// Relay, next candidate, or refusal; and what the client sees of the header.
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        header: &mut ResponseHeader,
        ctx: &mut Box<Ctx>,
    ) -> Result<()> {
        if header.status.is_informational() {
            return Ok(());
        }
        funds::name(ctx, &header.headers);
        let now = ctx.now();
        let Some(exchange) = ctx.exchange.as_mut() else { return Err(internal("no exchange")) };
        match exchange.on_header(header.status.as_u16(), &header.headers, now) {
            OnHeader::Retry => return Err(ctx.next_candidate()),
            OnHeader::Refuse(fault) => {
                ctx.refusal = Some(fault);
                return Err(upstream_error(ErrorType::InternalError, "refused"));
            }
            OnHeader::Relay => {}
        }
        let encoding = header.headers.get(CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
        ctx.inflate = Inflate::of(encoding).map_err(|_| broken_encoding())?;
        if ctx.inflate.is_some() {
            header.remove_header(&CONTENT_LENGTH);
        }
        infer::check_header(ctx, header)?;
        accept_header(session, header, ctx)
    }

    /// A piece of the answer through the relay.
    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Box<Ctx>,
    ) -> Result<Option<Duration>> {
        let chunk = body.take().unwrap_or_default();
        *body = Some(ctx.relay(chunk, end_of_stream)?);
        Ok(None)
    }

    /// An answer over HTTP/2 may end in trailers instead of a last piece of its body.
    async fn response_trailer_filter(
        &self,
        _: &mut Session,
        _: &mut http::HeaderMap,
        ctx: &mut Box<Ctx>,
    ) -> Result<Option<Bytes>> {
        ctx.relay(Bytes::new(), true).map(Some)
    }

    /// Whose fault a broken attempt was, and whether another one follows.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        _: &mut Session,
        e: Box<Error>,
        ctx: &mut Box<Ctx>,
        client_reused: bool,
    ) -> Box<Error> {
        let mut e = e.more_context(format!("peer {peer}"));
        let next = ctx.wants_next || ctx.refusal.is_none() && ctx.attempt_broke(&e, client_reused);
        e.set_retry(next);
        e
    }

    /// What the client gets when no candidate gave an answer, or when one broke off.
    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        e: &Error,
        ctx: &mut Box<Ctx>,
    ) -> FailToProxy {
        held::unwrap(session, &ctx.gate);
        tracing::debug!(request_id = %ctx.id, error = %e, "an exchange failed");
        let error_code = ctx.finish_failed(session).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut Box<Ctx>) {
        held::unwrap(session, &ctx.gate);
        ctx.record(if e.is_some() { End::Cut } else { End::Complete });
    }

    fn suppress_error_log(&self, _: &Session, _: &Box<Ctx>, _: &Error) -> bool {
        // The record says it, in one line for each request.
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Box<Ctx>,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// An answer whose body will be relayed, or whose failure will be kept.
fn accept_header(session: &Session, header: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
    let Some(exchange) = ctx.exchange.as_mut() else { return Err(internal("no exchange")) };
    let kind = exchange.relay().map_or(Kind::Opaque, Relay::kind);
    if kind == Kind::Failed {
        let wait = Duration::from_millis(ERROR_BODY_WAIT_MS);
        ctx.gate.set_deadline(Instant::now() + wait);
        return Ok(());
    }
    ctx.gate
        .answer_begins(exchange.current_provider().and_then(|it| it.timeouts.shorter_idle_ms()));
    ctx.status = header.status.as_u16();
    // An empty answer of a model is none: the exchange says what becomes of it.
    let empty = header.headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
    let bodiless = session.req_header().method == http::Method::HEAD
        || matches!(ctx.status, 204 | 304)
        || empty && !exchange.expects_answer();
    let opens = kind == Kind::Opaque || bodiless;
    let own = exchange.gateway_headers();
    let translated = exchange.is_translated();
    if opens {
        exchange.open_now();
        ctx.gate.open(None);
    }
    let found = ctx.draft.screened.as_ref().and_then(|screened| screened.header());
    let found = found.map(HeaderValue::try_from).transpose().map_err(|_| internal("no header"))?;
    heads::of_answer(header, |headers| {
        drop_upstream(headers);
        headers.extend(own.into_iter().map(|(name, value)| (Some(name), value)));
        if let Some(found) = found {
            headers.insert(X_GATEWAY_GUARD, found);
        }
        if translated {
            let written =
                if kind == Kind::Stream { "text/event-stream" } else { "application/json" };
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(written));
            headers.remove(CONTENT_LENGTH);
        }
        if kind == Kind::Stream {
            // Something may be put in or cut out: its length is open, and Pingora makes it chunked.
            headers.remove(CONTENT_LENGTH);
            headers.remove(TRANSFER_ENCODING);
        }
    })?;
    if kind == Kind::Stream {
        ctx.stream_begins();
    }
    Ok(())
}

/// Removes what belongs to the upstream's connection or origin.
fn drop_upstream(headers: &mut HeaderMap) {
    let mut dropped = named_by_connection(headers);
    dropped.extend(headers.keys().filter(|name| !answer_header_passes(name.as_str())).cloned());
    for name in &dropped {
        headers.remove(name);
    }
}

/// An error of our own making.
pub fn internal(why: &'static str) -> Box<Error> {
    let mut error = Error::explain(ErrorType::InternalError, why);
    error.set_retry(false);
    error
}

/// An error that stands for an upstream's failure.
pub fn upstream_error(kind: ErrorType, why: &'static str) -> Box<Error> {
    let mut error = Error::explain(kind, why);
    error.as_up();
    error.set_retry(false);
    error
}

/// The error of an answer whose content encoding cannot be undone.
pub fn broken_encoding() -> Box<Error> {
    upstream_error(ErrorType::InvalidHTTPHeader, "the content encoding cannot be undone")
}

/// Whether the error came from the client's side of the connection.
pub fn is_downstream(error: &Error) -> bool {
    matches!(error.esource(), ErrorSource::Downstream)
}

/// What Pingora's error says of the upstream.
pub fn heard(error: &Error) -> Heard {
    match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Heard::TimedOut,
        _ => Heard::Broken,
    }
}

/// What clients are told whose answers end because the process does.
pub fn stopping() -> Fault {
    Fault::new(Code::Draining, "the gateway is being stopped; try again")
}

/// The refusal when a stream breaks off.
pub fn broken_stream(timed_out: bool) -> Fault {
    if timed_out {
        return Fault::new(
            Code::UpstreamTimeout,
            "the provider fell silent in the middle of the answer",
        );
    }
    Fault::new(Code::UpstreamInvalid, "the provider broke off in the middle of the answer")
}
