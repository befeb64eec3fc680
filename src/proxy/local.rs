//! Requests of the data plane that no provider is needed for: health, model lists, probes.

use pingora::http::RequestHeader;

use crate::admin::handlers;
use crate::base::fault::{Code, Fault};
use crate::base::surface::Dialect;
use crate::config::current::Current;
use crate::exchange::asked;
use crate::exchange::models;
use crate::exchange::path::Destination;
use crate::proxy::reply::Reply;

/// Answers that need no key; `None` for everything else.
///
/// # Errors
/// `upgrade_required` for a web socket.
pub fn open_answer(
    destination: &Destination<'_>,
    current: &Current,
    (head, draining): (&RequestHeader, bool),
) -> Result<Option<Reply>, Fault> {
    let reply = match destination {
        Destination::Health => {
            let presented = asked::presented(&head.headers)?;
            let with_key = current.snapshot.gate.grant(&presented).is_some();
            Reply::json(200, handlers::health_body(&current.snapshot, with_key))
        }
        Destination::Live => Reply::json(200, handlers::LIVE_BODY),
        Destination::Ready if draining => Reply::json(503, handlers::DRAINING_BODY),
        Destination::Ready => Reply::json(200, handlers::READY_BODY),
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
    current: &Current,
    head: &RequestHeader,
) -> Result<Reply, Fault> {
    let catalog = &current.snapshot.catalog;
    match destination {
        Destination::Models => Ok(Reply::json(200, models::list(catalog, dialect(head)))),
        Destination::Model(id) => {
            models::one(catalog, dialect(head), id).map(|body| Reply::json(200, body))
        }
        _ => Err(Fault::new(Code::NotFound, "no such path on the data plane; see the admin port")),
    }
}

fn dialect(head: &RequestHeader) -> Dialect {
    let anthropic = head.headers.contains_key("anthropic-version")
        || head.uri.path().starts_with("/anthropic/");
    if anthropic { Dialect::Anthropic } else { Dialect::OpenAi }
}
