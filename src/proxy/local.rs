//! Requests of the data plane that no provider is needed for: health, model lists, probes.

use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use crate::admin::handlers;
use crate::admin::money::{self, Sight};
use crate::base::fault::{Code, Fault};
use crate::base::surface::Dialect;
use crate::config::current::Current;
use crate::engine::bookkeeper::Bookkeeper;
use crate::exchange::asked::{self, Asked};
use crate::exchange::models;
use crate::exchange::path::Destination;
use crate::proxy::reply::Reply;
use crate::usage::estimate;
use crate::wire::weigh;

/// Answers that need no key; `None` for everything else.
///
/// # Errors
/// `upgrade_required` for a web socket.
pub fn open_answer(
    destination: &Destination<'_>,
    current: &Current,
    head: &RequestHeader,
    (draining, keeper): (bool, &Bookkeeper),
) -> Result<Option<Reply>, Fault> {
    let reply = match destination {
        Destination::Health => {
            let presented = asked::presented(&head.headers)?;
            let with_key = current.snapshot.gate.grant(&presented).is_some();
            Reply::json(200, handlers::health_body(&current.snapshot, with_key))
        }
        Destination::Live => Reply::json(200, handlers::LIVE_BODY),
        Destination::Ready => {
            let (status, body) = handlers::readiness(draining, keeper);
            Reply::json(status, body)
        }
        Destination::Probe => Reply::json(200, &b"{\"service\":\"weir\"}"[..]),
        Destination::WebSocket => {
            let message = "web sockets are not spoken here; send POST /v1/responses over HTTP";
            return Err(Fault::new(Code::UpgradeRequired, message));
        }
        _ => return Ok(None),
    };
    Ok(Some(reply))
}

/// Answers that need the key which the proxied paths need too (C-17).
///
/// # Errors
/// `model_not_found`; `not_found` for paths of the control API that agents cannot use.
pub fn keyed_answer(
    destination: &Destination<'_>,
    (current, keeper): (&Current, &Bookkeeper),
    head: &RequestHeader,
) -> Result<Reply, Fault> {
    let catalog = &current.snapshot.catalog;
    match destination {
        Destination::Api if is_spend(head) => spend(current, keeper, head),
        Destination::Models => Ok(Reply::json(200, models::list(catalog, dialect(head)))),
        Destination::Model(id) => {
            models::one(catalog, dialect(head), id).map(|body| Reply::json(200, body))
        }
        _ => Err(Fault::new(Code::NotFound, "no such path on the data plane; see the admin port")),
    }
}

/// The tokens of a request to a provider that cannot count them, estimated from its bytes.
pub fn counted(asked: &Asked) -> Reply {
    let bytes = match &asked.envelope {
        Some(envelope) => weigh::weigh(envelope, &asked.body).text_bytes,
        None => asked.wish.body_bytes,
    };
    let tokens = estimate::input_tokens(bytes);
    let mut reply = Reply::json(200, format!("{{\"input_tokens\":{tokens}}}"));
    let estimated = (HeaderName::from_static("x-gateway-estimated"), HeaderValue::from_static("1"));
    reply.headers.push(estimated);
    reply
}

fn is_spend(head: &RequestHeader) -> bool {
    let path = head.uri.path();
    let reads = matches!(head.method, http::Method::GET | http::Method::HEAD);
    reads && (path == "/api/spend" || path.starts_with("/api/spend/"))
}

/// What the control API says of spend, for agents that know this address only.
fn spend(current: &Current, keeper: &Bookkeeper, head: &RequestHeader) -> Result<Reply, Fault> {
    let snapshot = &current.snapshot;
    let grant = snapshot.gate.grant(&asked::presented(&head.headers)?);
    let said = Sight::of(grant, snapshot).and_then(|sight| {
        match head.uri.path().strip_prefix("/api/spend/") {
            None => Ok(money::spend_all(keeper, &sight)),
            Some(name) => money::spend_one((keeper, snapshot), &sight, name),
        }
    });
    Ok(match said {
        Ok(body) => Reply::json(200, body),
        Err(refusal) => Reply::json(refusal.status, refusal.to_json().to_string()),
    })
}

fn dialect(head: &RequestHeader) -> Dialect {
    let anthropic = head.headers.contains_key("anthropic-version")
        || head.uri.path().starts_with("/anthropic/");
    if anthropic { Dialect::Anthropic } else { Dialect::OpenAi }
}
