//! `POST /infer` and `/api/messages` between a socket and the exchange: who asks, the body, the canary; then
//! the exchange runs as for any chat request, and its whole answer is filtered and put into the seed's shape
//! before the first byte goes out.
//!
//! What the shapes are is `exchange::infer` and `exchange::infer_reply`; here is their order (S1-03).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use pingora::http::ResponseHeader;
use pingora_core::{ErrorType, Result};
use pingora_proxy::Session;

use crate::base::fault::{Code, Fault};
use crate::base::limit::INFER_UNKEYED_BYTES_MAX;
use crate::base::surface::Surface;
use crate::config::current::Current;
use crate::exchange::asked::{self, Asked};
use crate::exchange::defence::{self, Down};
use crate::exchange::infer::{self, Ask, SUB_AGENT, Sanitized};
use crate::exchange::infer_reply::{self, Cost, Filtered, Told};
use crate::exchange::relay::{Kind, Relay};
use crate::guard::canary::Token;
use crate::guard::detect::Action;
use crate::guard::detect::policy::Policy;
use crate::identity::keyring::Grant;
use crate::identity::principal::{Presented, Principal};
use crate::proxy::collect;
use crate::proxy::ctx::Ctx;
use crate::proxy::funds;
use crate::proxy::guards;
use crate::proxy::intake::{self, Admitted};
use crate::proxy::service;
use crate::proxy::ward::{self, Striker};
use crate::record::GuardRecord;

static X_SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
/// Milliseconds for which a canary stays the same: a day.
const ROTATION_MS: u64 = 86_400_000;
/// The path that a chat request would have come by.
const CHAT_PATH: &str = "/v1/chat/completions";

/// A call of `/infer` under way.
#[derive(Default)]
pub struct Infer {
    /// Whom a leak counts against.
    striker: Option<Striker>,
    /// What the validation has found.
    found: Sanitized,
    /// The canary in its system prompt.
    token: Option<Token>,
    /// What is looked for in the answer.
    policy: Arc<Policy>,
    /// A canary has come back.
    leaked: bool,
    /// What the record tells of it.
    pub guard: Option<Box<GuardRecord>>,
}

/// Takes a call in.
///
/// # Errors
/// Every refusal in the seed's shapes that needs no model, and those of every request.
pub async fn admit(
    session: &mut Session,
    ctx: &mut Ctx,
    current: Arc<Current>,
) -> Result<Admitted, Fault> {
    let rules = current.snapshot.infer;
    if !rules.enabled {
        return Err(Fault::new(Code::NotFound, "no such path; the APIs are below /v1"));
    }
    let mut bytes_max = infer::bytes_max(&rules).min(current.snapshot.server.body_bytes_max);
    if !is_known_by_head(session, ctx, &current)? {
        bytes_max = bytes_max.min(INFER_UNKEYED_BYTES_MAX);
    }
    ctx.wait_begins();
    let body = collect::read_body(session, bytes_max).await;
    ctx.wait_ends();
    let body = body?;
    ctx.draft.request_bytes = body.len() as u64;
    let mut ask = infer::read(&body, &rules)?;
    let (principal, striker) = who(session, ctx, (&current, &ask))?;
    let validated = infer::validate(&mut ask, &rules, &*ctx.shared.defence);
    let found = match validated {
        Ok(found) => found,
        Err(rejected) => {
            note(ctx, "block", rejected.rules);
            if infer::is_rejection(&rejected.fault) {
                // The seed counts every rejection (S1-08), so each has a content of its own.
                let content = ctx.id.short();
                ward::strike(ctx, &current.snapshot, (&striker, content)).await;
            }
            return Err(rejected.fault);
        }
    };
    let named = asked::short_header(&session.req_header().headers, &X_SESSION_ID)?;
    let session_id = session_of(&ask).or(named).map(Arc::from);
    let token = canary(ctx, &current, (&principal, session_id.as_deref()));
    let system = token
        .as_ref()
        .map_or_else(|| ask.system.clone(), |token| infer::planted(&ask.system, token));
    note_found(ctx, &found);
    ctx.infer = Some(Box::new(Infer {
        striker: Some(striker),
        found,
        token,
        policy: policy(&current, &principal),
        guard: ctx.infer.take().and_then(|infer| infer.guard),
        ..Infer::default()
    }));
    let mut asked =
        chat(principal, session_id, infer::chat_body(&ask, &ask.system, &rules).into())?;
    // Before the canary is in it: whoever has the request can make the hash again.
    intake::note_audit(ctx, &current, &asked);
    if ctx.infer.as_ref().is_some_and(|infer| infer.token.is_some()) {
        set_body(&mut asked, infer::chat_body(&ask, &system, &rules).into())?;
    }
    guarded(ctx, &current, &mut asked).await?;
    set_json(session)?;
    start(ctx, current, asked).await
}

/// What the provider is asked, as if a client had asked so.
fn chat(principal: Principal, session: Option<Arc<str>>, body: Bytes) -> Result<Asked, Fault> {
    let envelope = asked::scan(Surface::Chat, &http::HeaderMap::new(), &body)?;
    let target = CHAT_PATH.to_owned();
    Ok(Asked { session, ..Asked::new(Surface::Chat, principal, target, (body, envelope)) })
}

fn set_body(asked: &mut Asked, body: Bytes) -> Result<(), Fault> {
    let envelope = asked::scan(Surface::Chat, &http::HeaderMap::new(), &body)?;
    asked.set_body(body, envelope);
    Ok(())
}

async fn start(ctx: &mut Ctx, current: Arc<Current>, asked: Asked) -> Result<Admitted, Fault> {
    if let Some(model) = &asked.wish.model {
        ctx.draft.model = Arc::clone(model);
    }
    ctx.draft.session.clone_from(&asked.session);
    let tokens = current.snapshot.infer.output_tokens_max;
    let purse = funds::purse(ctx, &current, &asked).await?;
    intake::start_exchange(ctx, current, (asked, purse))?;
    if let Some(exchange) = &mut ctx.exchange {
        exchange.cap_answers(tokens);
        exchange.hold_answers();
    }
    Ok(Admitted::Upstream)
}

/// Whether the head says who asks; if so, whether he may is known before the body is read.
fn is_known_by_head(session: &Session, ctx: &mut Ctx, current: &Current) -> Result<bool, Fault> {
    let gate = &current.snapshot.gate;
    let presented = asked::presented(&session.req_header().headers)?;
    match gate.identify(&presented) {
        Ok(principal) => {
            ward::check(ctx, &current.snapshot, (&presented, &principal))?;
            ctx.draft.agent = Arc::clone(&principal.agent.id);
            Ok(gate.grant(&presented).is_some())
        }
        // The body may still have a key in it.
        Err(fault) if fault.code == Code::MissingKey => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// Who asks: the key of the head, else that of the body. The key of a sub-agent (S1-13) is a name: it counts
/// beside a key that may speak for any agent, or where no key is needed.
fn who(
    session: &Session,
    ctx: &mut Ctx,
    (current, ask): (&Current, &Ask),
) -> Result<(Principal, Striker), Fault> {
    let gate = &current.snapshot.gate;
    let head = asked::presented(&session.req_header().headers)?;
    let bad = |_| Fault::new(Code::InvalidRequest, "must be visible ASCII").param("apiKey");
    let named = ask.api_key.as_deref().map(HeaderValue::from_str).transpose().map_err(bad)?;
    let is_name = ask.api_key.as_deref().is_some_and(|key| key.starts_with(SUB_AGENT));
    let has_key = head.authorization.or(head.x_api_key).is_some();
    let bound = matches!(gate.grant(&head), Some(Grant::Agent(_)));
    let presented = Presented {
        authorization: head.authorization.or(named.as_ref().filter(|_| !has_key && !is_name)),
        x_api_key: head.x_api_key,
        agent_id: head.agent_id.or(named.as_ref().filter(|_| is_name && !bound)),
    };
    let principal = match gate.identify(&presented) {
        // Nobody of that name is configured, nor an agent `default`: whoever the key speaks for alone.
        Err(fault) if fault.code == Code::UnknownAgent && is_name => gate.identify(&head)?,
        said => said?,
    };
    ward::check(ctx, &current.snapshot, (&presented, &principal))?;
    ctx.draft.agent = Arc::clone(&principal.agent.id);
    ctx.draft.agent_alias.clone_from(&principal.alias);
    let striker = Striker::of(&current.snapshot, &presented, &principal);
    Ok((principal, striker))
}

/// The session: as named, else that of the sub-agent (S1-13).
fn session_of(ask: &Ask) -> Option<&str> {
    let sub_agent = || ask.api_key.as_deref()?.strip_prefix(SUB_AGENT);
    ask.session.as_deref().or_else(sub_agent).filter(|id| !id.is_empty())
}

/// The canary of this session; without one the call goes on (S1-10).
fn canary(
    ctx: &Ctx,
    current: &Current,
    (principal, session): (&Principal, Option<&str>),
) -> Option<Token> {
    if !current.snapshot.infer.canary {
        return None;
    }
    let rotation = ctx.now().unix_ms / ROTATION_MS;
    let of = (&**principal.id(), session.unwrap_or_default());
    let theirs = current.snapshot.guarding.secret.as_ref().map(|secret| secret.as_slice());
    let secret = theirs.unwrap_or(ctx.shared.warden.secret());
    let made = defence::ask(|| ctx.shared.defence.canary(secret, of, rotation));
    made.map_err(|Down(why)| {
        tracing::error!(why, request_id = %ctx.id, "no canary could be made");
    })
    .ok()
}

/// What is looked for in answers to that agent: what the seed looks for (S1-09), or more where that is
/// configured. That the routes of providers only observe takes nothing away here.
fn policy(current: &Current, principal: &Principal) -> Arc<Policy> {
    let guards = current.snapshot.guarding.of(principal.agent.index);
    let theirs = guards.and_then(|guards| guards.output.as_ref());
    Arc::new(theirs.map_or_else(Policy::default, |theirs| theirs.and(&Policy::default())))
}

/// Where the guards of the providers' routes do more than observe, nothing passes here that would not pass
/// there.
///
/// # Errors
/// `INPUT_VALIDATION_FAILED`, which counts as an attempt (S1-08).
async fn guarded(ctx: &mut Ctx, current: &Current, asked: &mut Asked) -> Result<(), Fault> {
    let guards = current.snapshot.guarding.of(asked.principal.agent.index).cloned();
    let Some(guards) = guards.filter(|guards| infer::is_stricter(guards)) else { return Ok(()) };
    let version = current.snapshot.version;
    let Some(screened) = guards::screened(ctx, (&guards, version), asked).await else {
        return Ok(());
    };
    if let Some(rejected) = infer::rejected(&screened) {
        note(ctx, "block", rejected.rules);
        let striker = ctx.infer.as_ref().and_then(|infer| infer.striker.as_ref());
        if let Some(striker) = striker.filter(|_| infer::is_rejection(&rejected.fault)) {
            ward::strike(ctx, &current.snapshot, (striker, ctx.id.short())).await;
        }
        return Err(rejected.fault);
    }
    if !screened.edits.is_empty() {
        note(ctx, "sanitize", screened.rules());
        if let Some(infer) = &mut ctx.infer {
            infer.found.strip(&screened.rules());
        }
        asked.amend(screened.edits)?;
    }
    Ok(())
}

/// What goes out is JSON, whatever came in.
fn set_json(session: &mut Session) -> Result<(), Fault> {
    let head = session.req_header_mut();
    let set = head.insert_header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    set.map_err(|_| Fault::new(Code::Internal, "a header could not be set"))
}

fn note(ctx: &mut Ctx, action: &'static str, rules: Vec<&'static str>) {
    if let Some(infer) = &mut ctx.infer {
        let guard = infer.guard.get_or_insert_with(Box::default);
        guard.action = action;
        guard.verdicts.extend(rules.iter().map(|rule| (*rule, action)));
        guard.rules.extend(rules);
    }
}

fn note_found(ctx: &mut Ctx, found: &Sanitized) {
    if found.stripped.is_empty() {
        note(ctx, "observe", found.noted.clone());
    } else {
        note(ctx, "sanitize", found.stripped.clone());
    }
}

/// Whether an answer with this header can be put into the seed's shape. What a model refuses is passed on as
/// it came.
///
/// # Errors
/// `upstream_invalid` for a good answer that is no JSON, which could not be filtered.
pub fn check_header(ctx: &mut Ctx, header: &ResponseHeader) -> Result<()> {
    if ctx.infer.is_none() || !header.status.is_success() {
        return Ok(());
    }
    let kind = ctx.exchange.as_ref().and_then(|it| it.relay()).map(Relay::kind);
    let is_empty = header.headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
    if matches!(kind, Some(Kind::Json | Kind::Failed)) && !is_empty && header.status != 204 {
        return Ok(());
    }
    Err(refuse(ctx, Fault::new(Code::UpstreamInvalid, "the provider's answer is no JSON")))
}

#[expect(clippy::unnecessary_box_returns, reason = "the form in which Pingora carries errors")]
fn refuse(ctx: &mut Ctx, fault: Fault) -> Box<pingora_core::Error> {
    ctx.refusal = Some(fault);
    service::upstream_error(ErrorType::InternalError, "refused")
}

/// The whole answer, filtered and in the seed's shape.
///
/// # Errors
/// One that leads to the refusal which takes its place.
pub fn deliver(ctx: &mut Ctx, bytes: &Bytes, whole: bool) -> Result<Bytes> {
    // What it has cost is owed, whatever becomes of it.
    if ctx.held.is_some() {
        funds::settle_known(ctx);
    }
    let answer = filtered(ctx, bytes, whole).map_err(|fault| refuse(ctx, fault))?;
    let cost = cost(ctx);
    let duration_ms = ctx.now().us.saturating_sub(ctx.started.us) / 1_000;
    let Some(infer) = &ctx.infer else { return Err(service::internal("no call of /infer")) };
    let canary = infer.token.is_some();
    let told = Told { input: &infer.found, cost, canary, duration_ms };
    let body = Bytes::from(infer_reply::success(&answer, &told));
    ctx.gate.open(Some(body.len()));
    ctx.attempt = None;
    ctx.body_goes_out(body.len());
    Ok(body)
}

fn filtered(ctx: &mut Ctx, bytes: &Bytes, whole: bool) -> Result<Filtered, Fault> {
    let invalid = |message| Fault::new(Code::UpstreamInvalid, message);
    if !whole {
        return Err(invalid("the provider's answer is too long to be filtered"));
    }
    let output = infer_reply::output(bytes);
    let output = output.ok_or_else(|| invalid("the provider's answer is not one"))?;
    let Some(infer) = &ctx.infer else { return Err(invalid("no call of /infer")) };
    let (token, policy) = (infer.token.as_ref(), &infer.policy);
    let done = infer_reply::filter(&output, token, policy, &*ctx.shared.defence);
    match &done {
        Ok(answer) => note_answer(ctx, answer),
        Err(fault) => note_blocked(ctx, fault),
    }
    done
}

fn note_answer(ctx: &mut Ctx, answer: &Filtered) {
    let redacted = answer.findings.iter().filter(|found| found.action == Action::Redact);
    let (rules, counts): (Vec<_>, Vec<_>) =
        redacted.map(|found| (found.detector, found.count)).unzip();
    if rules.is_empty() {
        return;
    }
    note(ctx, "redact", rules);
    if let Some(guard) = ctx.infer.as_mut().and_then(|infer| infer.guard.as_mut()) {
        guard.redactions = u32::try_from(counts.iter().sum::<u64>()).unwrap_or(u32::MAX);
    }
}

fn note_blocked(ctx: &mut Ctx, fault: &Fault) {
    let leaked = infer_reply::is_leak(fault);
    note(ctx, "block", vec![if leaked { "canary" } else { "output" }]);
    let Some(infer) = &mut ctx.infer else { return };
    infer.leaked = leaked;
    if let Some(guard) = &mut infer.guard {
        guard.canary_leaked = leaked;
    }
    if leaked {
        let agent = &*ctx.draft.agent;
        tracing::error!(severity = "CRITICAL", agent, request_id = %ctx.id, "a canary has leaked");
        ctx.shared.keeper.canary_leaked(agent, ctx.id.to_string());
    }
}

/// Counts a canary that came back as an attempt (S1-20), before its refusal is written.
pub async fn strike_leak(ctx: &Ctx) {
    let Some(infer) = ctx.infer.as_ref().filter(|infer| infer.leaked) else { return };
    let (Some(striker), Some(exchange)) = (&infer.striker, &ctx.exchange) else { return };
    ward::strike(ctx, exchange.snapshot(), (striker, ctx.id.short())).await;
}

/// What the call has cost, and how the one who pays stands.
fn cost(ctx: &Ctx) -> Cost {
    let keeper = &ctx.shared.keeper;
    let Some(exchange) = &ctx.exchange else { return Cost::default() };
    let unsettled = exchange.billed().filter(|_| !ctx.is_settled).unwrap_or_default();
    let payer = exchange.purse().map(|purse| purse.agent);
    let standing = payer.and_then(|payer| keeper.look(|book, at_ms| book.standing(payer, at_ms)));
    Cost {
        this: ctx.booked.saturating_add(unsettled),
        total: standing.map(|standing| standing.spent.saturating_add(unsettled)),
        level: keeper.level(),
    }
}
