//! From a request's head to an exchange: checks, identity, limits, body, plan.
//!
//! Every refusal happens here, before anything goes upstream, in the order in which it is cheapest.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{HOST, HeaderName, TRANSFER_ENCODING, UPGRADE};
use pingora::http::RequestHeader;
use pingora_core::protocols::http::ServerSession;
use pingora_proxy::Session;

use crate::base::fault::{Code, Fault};
use crate::base::surface::{Dialect, Surface};
use crate::config::current::Current;
use crate::exchange::asked::{self, Asked};
use crate::exchange::path::{self, Destination, RequestLine};
use crate::exchange::pinned::Leash;
use crate::exchange::prompt;
use crate::exchange::purse::Purse;
use crate::exchange::route::{self, Scene};
use crate::exchange::{Exchange, Now};
use crate::identity::principal::Principal;
use crate::proxy::collect;
use crate::proxy::ctx::Ctx;
use crate::proxy::doorman;
use crate::proxy::funds;
use crate::proxy::guards;
use crate::proxy::infer;
use crate::proxy::local;
use crate::proxy::operator;
use crate::proxy::reply::Reply;
use crate::proxy::shorten;
use crate::proxy::ward;

static X_SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
static X_GATEWAY_EXPLAIN: HeaderName = HeaderName::from_static("x-gateway-explain");
static X_WEIR_ROUTE: HeaderName = HeaderName::from_static("x-weir-route");

/// What a request comes to.
pub enum Admitted {
    /// It goes to a provider; the context holds its exchange.
    Upstream,
    /// It is answered here.
    Here(Reply),
}

/// Takes a request in.
///
/// # Errors
/// Every refusal of `api.md` section 3 that needs no upstream.
pub async fn admit(session: &mut Session, ctx: &mut Ctx) -> Result<Admitted, Fault> {
    let current = ctx.shared.live.load_full();
    let head = session.req_header();
    let path = head.uri.path().to_owned();
    let line = line(head, &path);
    let destination = match path::classify(&line) {
        Ok(destination) => destination,
        Err(fault) => {
            // Whoever speaks that dialect reads refusals in it.
            let dialect = path::dialect_of(&line);
            ctx.draft.surface = (dialect == Dialect::Anthropic).then_some(Surface::Other(dialect));
            return Err(fault);
        }
    };
    if let Destination::Provider(surface) = destination {
        ctx.draft.surface = Some(surface);
    }
    if destination == Destination::Infer {
        // From here on every refusal has the seed's shape.
        (ctx.draft.surface, ctx.infer) = (Some(Surface::Chat), Some(Box::default()));
    }
    check_head(session)?;
    let head = session.req_header();
    let draining = ctx.shared.draining.load(Ordering::Relaxed);
    let state = (draining, &*ctx.shared.keeper);
    // Before there may be too much else to do: whoever asks for signs of life would end a gateway that is only busy.
    if let Some(mut reply) = local::open_answer(&destination, &current, head, state)? {
        reply.close |= doorman::is_crowded();
        return Ok(Admitted::Here(reply));
    }
    if doorman::is_crowded() {
        return Err(overloaded("connections"));
    }
    let ticket = ctx.shared.load.requests.enter(current.snapshot.server.requests_max);
    ctx.tickets.push(ticket.ok_or_else(|| overloaded("requests"))?);
    let head = session.req_header();
    if destination == Destination::Infer {
        return infer::admit(session, ctx, current).await;
    }
    let presented = asked::presented(&head.headers)?;
    let principal = current.snapshot.gate.identify(&presented)?;
    ward::check(ctx, &current.snapshot, (&presented, &principal))?;
    ctx.draft.agent = Arc::clone(&principal.agent.id);
    ctx.draft.agent_alias.clone_from(&principal.alias);
    if let (Destination::Api, Some(call)) = (destination, operator::call_of(head)?) {
        return operator::answer(session, ctx, (&current, call)).await.map(Admitted::Here);
    }
    let Destination::Provider(surface) = destination else {
        return local::keyed_answer(&destination, (&current, &ctx.shared.keeper), head)
            .map(Admitted::Here);
    };
    let mut asked = read_request(session, ctx, &current, (surface, principal)).await?;
    let passed = guards::pass(ctx, &current, &mut asked).await;
    ward::judge(session, ctx, (&current.snapshot, &asked.principal), passed.is_err()).await?;
    let search = passed?;
    let purse = funds::purse(ctx, &current, &asked).await?;
    if asked.surface == Surface::CountTokens
        && route::is_counted_here(&scene(ctx, &current, (purse.as_ref(), None), ctx.now()), &asked)
    {
        return Ok(Admitted::Here(local::counted(&asked)));
    }
    shorten::tool_results(ctx, &current, &mut asked).await?;
    start_exchange(ctx, current, (asked, purse))?;
    if let Some(exchange) = ctx.exchange.take() {
        ctx.exchange = Some(Box::new(exchange.guarded_by(search)));
    }
    Ok(Admitted::Upstream)
}

fn line<'a>(head: &'a RequestHeader, path: &'a str) -> RequestLine<'a> {
    let upgrade = head.headers.get(UPGRADE);
    RequestLine {
        method: head.method.as_str(),
        path,
        web_socket: upgrade
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket")),
        anthropic_version: head.headers.contains_key("anthropic-version"),
    }
}

/// Refuses heads that two readers could read in two ways, as far as Pingora lets them through.
fn check_head(session: &ServerSession) -> Result<(), Fault> {
    let head = session.req_header();
    let bad = |message| Err(Fault::new(Code::InvalidRequest, message));
    if session.is_http2() {
        return Ok(());
    }
    if !head.headers.contains_key(HOST) && head.version == http::Version::HTTP_11 {
        return bad("the Host header is missing");
    }
    let raw = session.to_h1_raw();
    if memchr::memchr_iter(b'\n', &raw).any(|at| at == 0 || raw[at - 1] != b'\r') {
        return bad("header lines must end in CR LF");
    }
    if head.raw_path().iter().any(|byte| !byte.is_ascii_graphic()) {
        return bad("the request target holds bytes that do not belong there");
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
    {
        return bad("the only transfer coding is chunked, once");
    }
    // Pingora has taken the length away by then; only the raw bytes still show both.
    if has_field(&raw, b"content-length") {
        return bad("Content-Length and Transfer-Encoding exclude each other");
    }
    Ok(())
}

fn has_field(raw: &[u8], name: &[u8]) -> bool {
    raw.split(|byte| *byte == b'\n').any(|line| {
        line.split_at_checked(name.len())
            .is_some_and(|(start, rest)| start.eq_ignore_ascii_case(name) && rest.starts_with(b":"))
    })
}

async fn read_request(
    session: &mut Session,
    ctx: &mut Ctx,
    current: &Current,
    (surface, principal): (Surface, Principal),
) -> Result<Asked, Fault> {
    let bytes_max = current.snapshot.server.body_bytes_max;
    ctx.wait_begins();
    let body = collect::read_body(session, bytes_max).await;
    ctx.wait_ends();
    let body = body?;
    ctx.draft.request_bytes = body.len() as u64;
    let head = session.req_header();
    let path_and_query = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let envelope = asked::scan(surface, &head.headers, &body)?;
    let target = path::upstream_path(path_and_query).to_owned();
    let asked = Asked {
        route: asked::short_header(&head.headers, &X_WEIR_ROUTE)?.map(str::to_owned),
        explain: head.headers.get(&X_GATEWAY_EXPLAIN).is_some_and(|value| value == "1"),
        session: asked::short_header(&head.headers, &X_SESSION_ID)?.map(Arc::from),
        wide_context: asked::asks_wide_context(&head.headers),
        ..Asked::new(surface, principal, target, (body, envelope)).with_form(&head.headers)
    };
    if let Some(model) = &asked.wish.model {
        ctx.draft.model = Arc::clone(model);
    }
    ctx.draft.session.clone_from(&asked.session);
    note_audit(ctx, current, &asked);
    Ok(asked)
}

/// Notes what the audit will keep of a request, once it has a plan. Before any guard changes it: whoever has the request can make the
/// hash again.
pub fn note_audit(ctx: &mut Ctx, current: &Current, asked: &Asked) {
    let audited = prompt::is_audited(current.snapshot.audit.requests, asked);
    ctx.draft.to_audit = audited.then(|| prompt::sha256(asked));
}

fn scene<'a>(
    ctx: &'a Ctx,
    current: &'a Current,
    (purse, session): (Option<&'a Purse>, Option<&'a Leash>),
    now: Now,
) -> Scene<'a> {
    let (rotation, now_ms) = (&ctx.shared.rotation, now.ms());
    Scene { current, rotation, now_ms, purse, session }
}

/// Makes the plan, and with it the exchange.
///
/// # Errors
/// Too many streams at once; no model that may answer.
pub fn start_exchange(
    ctx: &mut Ctx,
    current: Arc<Current>,
    (asked, purse): (Asked, Option<Purse>),
) -> Result<(), Fault> {
    if asked.wish.stream {
        let ticket = ctx.shared.load.streams.enter(current.snapshot.server.streams_max);
        ctx.tickets.push(ticket.ok_or_else(|| overloaded("streams"))?);
    }
    let now = ctx.now();
    let session = ctx.shared.pins.leash(&current, &asked, now.unix_ms);
    let with = (purse.as_ref(), session.as_ref());
    let plan = route::plan(&scene(ctx, &current, with, now), &asked)?;
    if let (Some(tier), Some(purse)) = (plan.tier, &purse) {
        ctx.shared.tiers.note(purse.agent, tier);
    }
    ctx.draft.audit = ctx.draft.to_audit.take();
    ctx.exchange = Some(Box::new(Exchange::new(ctx.id, current, asked, plan).paid_by(purse)));
    Ok(())
}

fn overloaded(what: &str) -> Fault {
    Fault::new(Code::Overloaded, format!("too many {what} at the same time; try again shortly"))
}
