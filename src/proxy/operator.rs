//! The calls about models and switches that agents may make on the data plane too, so that they need one
//! address only. What they do is the control API's; here they are brought to it.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use pingora::http::RequestHeader;
use pingora_core::protocols::http::ServerSession;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::admin::ask::Params;
use crate::admin::handlers::Refusal;
use crate::admin::profiles;
use crate::admin::switching::{self, Asker};
use crate::base::fault::{Code, Fault, Methods};
use crate::base::limit::{ADMIN_BODY_BYTES_MAX, ADMIN_WORK_MS_MAX};
use crate::config::current::Current;
use crate::exchange::asked;
use crate::proxy::collect;
use crate::proxy::ctx::Ctx;
use crate::proxy::reply::Reply;

/// One of those calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `GET /api/models`.
    Models,
    /// `GET /api/active`.
    Active,
    /// `POST /api/switch`.
    Switch,
}

/// Which call that head is, if it is one of them.
///
/// # Errors
/// `method_not_allowed`.
pub fn call_of(head: &RequestHeader) -> Result<Option<Call>, Fault> {
    let call = match head.uri.path() {
        "/api/models" => Call::Models,
        "/api/active" => Call::Active,
        "/api/switch" => Call::Switch,
        _ => return Ok(None),
    };
    match (call, &head.method) {
        (Call::Switch, &Method::POST)
        | (Call::Models | Call::Active, &Method::GET | &Method::HEAD) => Ok(Some(call)),
        (Call::Switch, _) => Err(Fault::only(Methods::Post)),
        (Call::Models | Call::Active, _) => Err(Fault::only(Methods::Read)),
    }
}

/// Answers it.
///
/// # Errors
/// No key of ours; a body that cannot be read.
pub async fn answer(
    session: &mut ServerSession,
    ctx: &Ctx,
    (current, call): (&Current, Call),
) -> Result<Reply, Fault> {
    let body = collect::read_body(session, ADMIN_BODY_BYTES_MAX).await?;
    let head = session.req_header();
    let gate = &current.snapshot.gate;
    let presented = asked::presented(&head.headers)?;
    let (Some(grant), Some(key_id)) = (gate.grant(&presented), gate.key_id(&presented)) else {
        // Also where requests need no key: whoever may switch is known by one.
        let how = "send a key of this gateway as `Authorization: Bearer KEY` or `x-api-key: KEY`";
        return Err(Fault::new(Code::MissingKey, how));
    };
    let now_ms = i64::try_from(ctx.now().unix_ms).unwrap_or(i64::MAX);
    let asker = Asker { grant: Some(grant), key_id, now_ms };
    let params = Params::of(&head.uri);
    let accounts = Arc::clone(&ctx.shared.accounts);
    let work = move || match call {
        Call::Models => profiles::models(&accounts, &params?),
        Call::Active => switching::active(&accounts, &asker, &params?),
        Call::Switch => switching::switch(&accounts, &asker, &body),
    };
    let done = timeout(Duration::from_millis(ADMIN_WORK_MS_MAX), spawn_blocking(work)).await;
    let said = match done {
        Ok(Ok(said)) => said,
        Ok(Err(_)) => Err(Refusal::new(Code::Internal, "the handler broke off")),
        Err(_) => Err(Refusal::new(Code::Overloaded, "this took too long, and may still happen")),
    };
    Ok(match said {
        Ok(value) => Reply::json(200, value.to_string()),
        Err(refusal) => Reply::json(refusal.status, refusal.to_json().to_string()),
    })
}
