//! Who asks the control API, and whether that is enough.
//!
//! The keys and their comparison are `identity`'s.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HeaderName};

use crate::admin::handlers::Refusal;
use crate::admin::routes::Access;
use crate::base::fault::Code;
use crate::identity::keyring::Grant;
use crate::identity::principal::{Gate, Presented};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Headers by which a proxy on this machine says that its client is elsewhere.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What its key grants.
    pub grant: Option<Grant>,
    /// Whether it sent anything in place of a key.
    pub has_credential: bool,
    /// Whether it is a process of this machine.
    pub is_local: bool,
}

impl Caller {
    /// The sender of a request with those headers. A header that should stand once and does not is
    /// refused: two readers of it might not pick the same one.
    pub fn of(headers: &HeaderMap, peer: IpAddr, gate: &Gate) -> Result<Self, Refusal> {
        for name in [AUTHORIZATION, X_API_KEY] {
            if headers.get_all(&name).iter().nth(1).is_some() {
                let message = format!("the header {name} occurs more than once");
                return Err(Refusal::new(Code::InvalidRequest, message));
            }
        }
        let presented = presented(headers);
        let has_credential = presented.authorization.or(presented.x_api_key).is_some();
        let is_forwarded = FORWARDED.iter().any(|name| headers.contains_key(*name));
        let is_local = peer.to_canonical().is_loopback() && !is_forwarded;
        Ok(Self { grant: gate.grant(&presented), has_credential, is_local })
    }

    /// Which key the sender of those headers has, by the first digits of its hash; empty if none.
    pub fn key_id(headers: &HeaderMap, gate: &Gate) -> String {
        gate.key_id(&presented(headers)).unwrap_or_default()
    }

    /// Whether it may ask for a route of that kind.
    pub fn may(&self, access: Access) -> Result<(), Refusal> {
        let admin = self.grant == Some(Grant::Admin);
        match access {
            Access::Open => Ok(()),
            Access::Local if self.is_local || admin => Ok(()),
            Access::Admin if admin => Ok(()),
            // Whose data it may see is decided where the data is.
            Access::Agent if self.grant.is_some() => Ok(()),
            Access::Local | Access::Admin | Access::Agent => Err(self.refusal()),
        }
    }

    fn refusal(&self) -> Refusal {
        match (self.grant, self.has_credential) {
            (Some(_), _) => Refusal::new(Code::AgentForbidden, "this needs an admin key"),
            (None, true) => Refusal::new(Code::InvalidKey, "the key is not one of this gateway"),
            (None, false) => {
                let how = "send an admin key as `Authorization: Bearer KEY` or `x-api-key: KEY`";
                Refusal::new(Code::MissingKey, how)
            }
        }
    }
}

fn presented(headers: &HeaderMap) -> Presented<'_> {
    Presented {
        authorization: headers.get(AUTHORIZATION),
        x_api_key: headers.get(X_API_KEY),
        agent_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::source::sample::{self, ADMIN_KEY, AGENT_KEY};
    use axum::http::HeaderValue;

    const HERE: &str = "127.0.0.1";
    const AWAY: &str = "192.0.2.7";

    fn outcome(headers: &[(&'static str, &str)], peer: &str, access: Access) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let snapshot = sample::snapshot("m");
        let caller = Caller::of(&map, peer.parse().unwrap(), &snapshot.gate);
        match caller.and_then(|caller| caller.may(access)) {
            Ok(()) => 200,
            Err(refusal) => refusal.status,
        }
    }

    #[test]
    fn an_admin_key_opens_and_nothing_else_does() {
        let bearer = format!("bearer {ADMIN_KEY}");
        assert_eq!(outcome(&[("authorization", &bearer)], AWAY, Access::Admin), 200);
        assert_eq!(outcome(&[("x-api-key", ADMIN_KEY)], AWAY, Access::Admin), 200);
        assert_eq!(outcome(&[("x-api-key", AGENT_KEY)], HERE, Access::Admin), 403);
        assert_eq!(outcome(&[("x-api-key", "wrong")], HERE, Access::Admin), 401);
        assert_eq!(outcome(&[], HERE, Access::Admin), 401);
        let twice = [("authorization", &*bearer), ("authorization", "Bearer other")];
        assert_eq!(outcome(&twice, HERE, Access::Admin), 400);
    }

    #[test]
    fn local_routes_are_open_on_this_machine_only() {
        assert_eq!(outcome(&[], HERE, Access::Local), 200);
        assert_eq!(outcome(&[], "::1", Access::Local), 200);
        assert_eq!(outcome(&[], "::ffff:127.0.0.1", Access::Local), 200);
        assert_eq!(outcome(&[], AWAY, Access::Local), 401);
        assert_eq!(outcome(&[("x-forwarded-for", AWAY)], HERE, Access::Local), 401);
        assert_eq!(outcome(&[("x-api-key", ADMIN_KEY)], AWAY, Access::Local), 200);
        assert_eq!(outcome(&[], AWAY, Access::Open), 200);
    }
}
