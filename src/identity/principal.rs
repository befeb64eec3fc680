//! The rule that says on whose behalf a request is made (`api.md` section 3, S0-02, C-04, C-06).
//!
//! Key-bound agent before header before `default`. It decides nothing about models or budgets.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;

use crate::base::fault::{Code, Fault};
use crate::base::limit::ID_HEADER_BYTES_MAX;
use crate::identity::agent::{Agent, Agents, DEFAULT_AGENT};
use crate::identity::key::KeyHash;
use crate::identity::keyring::{Grant, Keyring};

/// All that the rule needs from the configuration.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The keys of the gateway.
    pub keyring: Keyring,
    /// The agents.
    pub agents: Agents,
    /// Whether a request on the data plane needs a key of ours.
    pub require_agent_key: bool,
    /// Whether a client's own credential may go upstream.
    pub pass_through: bool,
}

/// The header values that speak about identity, each already known to occur at most once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presented<'a> {
    /// `Authorization`.
    pub authorization: Option<&'a HeaderValue>,
    /// `x-api-key`.
    pub x_api_key: Option<&'a HeaderValue>,
    /// `X-Agent-ID`.
    pub agent_id: Option<&'a HeaderValue>,
}

/// The header that a credential came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialHeader {
    /// `authorization`.
    Authorization,
    /// `x-api-key`.
    XApiKey,
}

impl CredentialHeader {
    /// The name in lower case, as HTTP/2 wants it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::XApiKey => "x-api-key",
        }
    }
}

/// A client's own credential, to be sent upstream exactly as it came, and only to a provider that
/// has no key of its own.
#[derive(Clone)]
pub struct ClientCredential {
    /// Where it came from and goes to.
    pub header: CredentialHeader,
    /// The whole header value, marked sensitive.
    pub value: HeaderValue,
}

impl fmt::Debug for ClientCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCredential({})", self.header.name())
    }
}

/// On whose behalf a request is made.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The agent it counts to.
    pub agent: Arc<Agent>,
    /// The id that the request named where no agent of that id is configured: it counts to `default`, but
    /// has a switch of its own.
    pub alias: Option<Arc<str>>,
    /// What its key grants; `None` = it came without a key of ours.
    pub grant: Option<Grant>,
    /// A credential of the client's own, kept only under `auth.pass_through`.
    pub client_credential: Option<ClientCredential>,
}

impl Principal {
    /// The id by which it can be switched.
    pub fn id(&self) -> &Arc<str> {
        self.alias.as_ref().unwrap_or(&self.agent.id)
    }
}

impl Gate {
    /// What the presented credentials grant, looked for in both headers; `Authorization` is asked
    /// first.
    pub fn grant(&self, presented: &Presented<'_>) -> Option<Grant> {
        self.grants(presented).into_iter().flatten().next()
    }

    /// Which of our keys was presented, by the first digits of its hash.
    pub fn key_id(&self, presented: &Presented<'_>) -> Option<String> {
        self.key(presented).map(|key| key.id())
    }

    fn key(&self, presented: &Presented<'_>) -> Option<KeyHash> {
        let values = [presented.authorization, presented.x_api_key];
        let mut keys = values.into_iter().flatten().map(key_of);
        let ours = keys.find(|key| self.keyring.find(key).is_some())?;
        Some(KeyHash::of(ours))
    }

    /// What a request is held to account by: its key, ours or the client's own; where it came without one, the
    /// name of its agent, hashed like a key.
    pub fn holder(&self, presented: &Presented<'_>, principal: &Principal) -> KeyHash {
        let theirs = || {
            let own = principal.client_credential.as_ref()?;
            Some(KeyHash::of(key_of(&own.value)))
        };
        let nameless = || KeyHash::of(format!("agent:{}", principal.id()).as_bytes());
        self.key(presented).or_else(theirs).unwrap_or_else(nameless)
    }

    /// Who is asking, or why they may not.
    pub fn identify(&self, presented: &Presented<'_>) -> Result<Principal, Fault> {
        let [authorization, x_api_key] = self.grants(presented);
        let grant = authorization.or(x_api_key);
        if authorization.is_some() && x_api_key.is_some() && are_two(presented) {
            // One of them would win in silence, and the request be billed to somebody by chance.
            let why = "holds another key of this gateway than `authorization`: send one of them";
            return Err(Fault::new(Code::InvalidRequest, why).param("x-api-key"));
        }
        if grant.is_none() && self.require_agent_key {
            return Err(refusal(presented));
        }
        // A value that matched a key of ours is consumed, whichever header it came in.
        let foreign_authorization = presented.authorization.filter(|_| authorization.is_none());
        let foreign_x_api_key = presented.x_api_key.filter(|_| x_api_key.is_none());
        let client_credential = if self.pass_through {
            own_credential(foreign_authorization, foreign_x_api_key)
        } else {
            None
        };
        let agent = self.agent(grant, presented.agent_id)?;
        let named = presented.agent_id.map(agent_id).transpose()?.flatten();
        let alias = named.filter(|named| **named != *agent.id).map(Arc::from);
        Ok(Principal { agent, alias, grant, client_credential })
    }

    fn grants(&self, presented: &Presented<'_>) -> [Option<Grant>; 2] {
        [presented.authorization, presented.x_api_key]
            .map(|value| self.keyring.find(key_of(value?)).copied())
    }

    fn agent(
        &self,
        grant: Option<Grant>,
        header: Option<&HeaderValue>,
    ) -> Result<Arc<Agent>, Fault> {
        let named = header.map(agent_id).transpose()?.flatten();
        if let Some(Grant::Agent(index)) = grant {
            let bound = self.agents.at(index).ok_or_else(|| Fault::new(Code::Internal, "key"))?;
            return match named {
                Some(id) if id != &*bound.id => Err(forbidden()),
                _ => Ok(Arc::clone(bound)),
            };
        }
        let id = named.unwrap_or(DEFAULT_AGENT);
        let agent = self
            .agents
            .get(id)
            .or_else(|| self.agents.default_agent())
            .ok_or_else(|| self.unknown_agent(id, grant.is_some()))?;
        if grant.is_none() && agent.keyed {
            // Without this, anybody could spend in the name of an agent that took care to have a
            // key, as soon as keys are optional for the others.
            return Err(Fault::new(Code::MissingKey, "this agent has a key of its own: send it"));
        }
        Ok(Arc::clone(agent))
    }

    fn unknown_agent(&self, id: &str, has_key: bool) -> Fault {
        let listed = if has_key { self.agents.all() } else { &[] };
        let names: Vec<&str> = listed.iter().map(|agent| &*agent.id).collect();
        Fault::new(
            Code::UnknownAgent,
            "no agent of this name is configured, nor an agent `default`",
        )
        .param("X-Agent-ID")
        .extra("agent_id", serde_json::Value::from(id).to_string())
        .extra("available_agents", serde_json::Value::from(names).to_string())
    }
}

/// Whether the two headers hold different keys.
fn are_two(presented: &Presented<'_>) -> bool {
    presented.authorization.map(key_of) != presented.x_api_key.map(key_of)
}

fn forbidden() -> Fault {
    Fault::new(Code::AgentForbidden, "this key is bound to another agent than X-Agent-ID names")
        .param("X-Agent-ID")
}

fn refusal(presented: &Presented<'_>) -> Fault {
    let empty = |value: &&HeaderValue| !value.as_bytes().trim_ascii().is_empty();
    if presented.authorization.filter(empty).or(presented.x_api_key.filter(empty)).is_none() {
        let how = "send a key of this gateway as `Authorization: Bearer KEY` or `x-api-key: KEY`";
        return Fault::new(Code::MissingKey, how);
    }
    Fault::new(Code::InvalidKey, "the key is not one of this gateway")
}

fn own_credential(
    authorization: Option<&HeaderValue>,
    x_api_key: Option<&HeaderValue>,
) -> Option<ClientCredential> {
    let (header, value) = authorization
        .map(|value| (CredentialHeader::Authorization, value))
        .or_else(|| x_api_key.map(|value| (CredentialHeader::XApiKey, value)))
        .filter(|(_, value)| !value.as_bytes().trim_ascii().is_empty())?;
    let mut value = value.clone();
    value.set_sensitive(true);
    Some(ClientCredential { header, value })
}

/// The key in a header value: what follows `Bearer `, or all of it. Both are looked for in both
/// headers, since a key of ours in an odd place would otherwise be taken for the client's own and go
/// upstream. The scheme's case does not matter (RFC 9110 section 11.1).
fn key_of(value: &HeaderValue) -> &[u8] {
    let value = value.as_bytes().trim_ascii();
    match value.split_at_checked("bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
        _ => value,
    }
}

/// The id of the header, `None` if it is blank.
fn agent_id(value: &HeaderValue) -> Result<Option<&str>, Fault> {
    let id = value.to_str().map(str::trim).ok().filter(|id| id.len() <= ID_HEADER_BYTES_MAX);
    let id = id.ok_or_else(|| {
        let why = format!("must be visible ASCII of at most {ID_HEADER_BYTES_MAX} characters");
        Fault::new(Code::InvalidRequest, why).param("X-Agent-ID")
    })?;
    Ok(Some(id).filter(|id| !id.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::agent::Mode;

    const ADMIN: &str = "admin-key-of-tests";
    const ANY: &str = "agent-key-of-tests";
    const OWN: &str = "bound-key-of-agent-a";

    fn agent(id: &str, keyed: bool) -> Agent {
        Agent {
            index: 0,
            id: Arc::from(id),
            mode: Mode::Auto,
            models: None,
            keyed,
            may_route: true,
        }
    }

    fn gate(agents: Vec<Agent>) -> Gate {
        let hash = |key: &str| KeyHash::of(key.as_bytes());
        let keys = [(ADMIN, Grant::Admin), (ANY, Grant::AnyAgent), (OWN, Grant::Agent(0))];
        Gate {
            keyring: Keyring::new(keys.map(|(key, grant)| (hash(key), grant))),
            agents: Agents::new(agents),
            require_agent_key: true,
            pass_through: false,
        }
    }

    fn two_agents() -> Gate {
        gate(vec![agent("a", true), agent("default", false)])
    }

    /// Asks with these values of `Authorization`, `x-api-key` and `X-Agent-ID`; "" = no header.
    fn ask(gate: &Gate, values: [&str; 3]) -> Result<Principal, Fault> {
        let values = values.map(|value| HeaderValue::from_str(value).unwrap());
        let [authorization, x_api_key, agent_id] =
            values.each_ref().map(|value| Some(value).filter(|value| !value.is_empty()));
        gate.identify(&Presented { authorization, x_api_key, agent_id })
    }

    fn who(gate: &Gate, values: [&str; 3]) -> String {
        match ask(gate, values) {
            Ok(principal) => principal.agent.id.to_string(),
            Err(fault) => fault.code.name().to_owned(),
        }
    }

    fn bearer(key: &str) -> String {
        format!("Bearer {key}")
    }

    #[test]
    fn a_key_is_needed_in_either_header() {
        let gate = two_agents();
        assert_eq!(who(&gate, ["", "", ""]), "missing_key");
        assert_eq!(who(&gate, ["Bearer ", "", ""]), "invalid_key");
        assert_eq!(who(&gate, [" ", "", ""]), "missing_key");
        assert_eq!(who(&gate, [&bearer("nonsense"), "", ""]), "invalid_key");
        assert_eq!(who(&gate, ["", "nonsense", ""]), "invalid_key");
        assert_eq!(who(&gate, [ANY, "", ""]), "default", "a missing scheme is forgiven");
        assert_eq!(who(&gate, ["", &bearer(ANY), ""]), "default");
        assert_eq!(who(&gate, [&bearer(ANY), "", ""]), "default");
        assert_eq!(who(&gate, [&format!("bearer   {ANY} "), "", ""]), "default");
        assert_eq!(who(&gate, ["", ANY, ""]), "default");
        assert_eq!(who(&gate, ["Basic abc", ANY, ""]), "default");
    }

    #[test]
    fn a_bound_key_speaks_for_its_agent_only() {
        let gate = two_agents();
        assert_eq!(who(&gate, [&bearer(OWN), "", ""]), "a");
        assert_eq!(who(&gate, ["", OWN, "a"]), "a");
        assert_eq!(who(&gate, ["", OWN, "default"]), "agent_forbidden");
        assert_eq!(who(&gate, ["", OWN, "nobody"]), "agent_forbidden");
        assert_eq!(who(&gate, ["", ANY, "a"]), "a");
        assert_eq!(who(&gate, ["", ADMIN, "a"]), "a");
        assert_eq!(ask(&gate, ["", ADMIN, ""]).unwrap().grant, Some(Grant::Admin));
        assert_ne!(ask(&gate, ["", ANY, ""]).unwrap().grant, Some(Grant::Admin));
    }

    #[test]
    fn unknown_agents_count_to_default_where_there_is_one() {
        assert_eq!(who(&two_agents(), ["", ANY, "nobody"]), "default");
        assert_eq!(who(&gate(Vec::new()), ["", ANY, "nobody"]), "default");
        assert_eq!(who(&gate(Vec::new()), ["", ANY, ""]), "default");
    }

    #[test]
    fn without_a_default_unknown_agents_are_refused() {
        let mut gate = gate(vec![agent("a", true), agent("b", false)]);
        let fault = ask(&gate, ["", ANY, "no\"body"]).unwrap_err();
        assert_eq!((fault.code, fault.code.status()), (Code::UnknownAgent, 400));
        let extra = [
            ("agent_id", "\"no\\\"body\"".to_owned()),
            ("available_agents", "[\"a\",\"b\"]".to_owned()),
        ];
        assert_eq!(fault.extra, extra);
        assert_eq!(ask(&gate, ["", ANY, ""]).unwrap_err().extra[0].1, "\"default\"");
        gate.require_agent_key = false;
        let fault = ask(&gate, ["", "nonsense", "nobody"]).unwrap_err();
        assert_eq!(fault.extra[1].1, "[]", "names are for those with a key");
    }

    #[test]
    fn without_required_keys_an_agent_with_keys_is_still_its_own() {
        let mut gate = two_agents();
        gate.require_agent_key = false;
        assert_eq!(who(&gate, ["", "", ""]), "default");
        assert_eq!(who(&gate, ["", "", "nobody"]), "default");
        assert_eq!(who(&gate, ["", "", "a"]), "missing_key");
        assert_eq!(who(&gate, ["", OWN, "a"]), "a");
    }

    #[test]
    fn whoever_has_a_key_is_held_to_account_by_it_and_others_by_their_name() {
        let mut gate = two_agents();
        let holder = |gate: &Gate, values: [&str; 3]| {
            let principal = ask(gate, values).unwrap();
            let values = values.map(|value| HeaderValue::from_str(value).unwrap());
            let [authorization, x_api_key, agent_id] =
                values.each_ref().map(|value| Some(value).filter(|value| !value.is_empty()));
            gate.holder(&Presented { authorization, x_api_key, agent_id }, &principal)
        };
        let of = |text: &str| KeyHash::of(text.as_bytes());
        assert_eq!(holder(&gate, [&bearer(ANY), "", "somebody"]), of(ANY));
        assert_eq!(holder(&gate, ["", OWN, ""]), of(OWN));
        gate.require_agent_key = false;
        assert_eq!(holder(&gate, ["", "", ""]), of("agent:default"));
        assert_eq!(holder(&gate, ["Bearer junk", "", "somebody"]), of("agent:somebody"));
        gate.pass_through = true;
        assert_eq!(holder(&gate, ["Bearer theirs", "", "somebody"]), of("theirs"));
    }

    #[test]
    fn ids_have_bounds() {
        let gate = two_agents();
        let long = "x".repeat(ID_HEADER_BYTES_MAX + 1);
        assert_eq!(who(&gate, ["", ANY, &long]), "invalid_request");
        assert_eq!(who(&gate, ["", ANY, &long[1..]]), "default");
        assert_eq!(who(&gate, ["", ANY, "  "]), "default");
    }

    /// The credential that would go upstream, as `header: value`.
    fn upstream(gate: &Gate, values: [&str; 3]) -> String {
        match ask(gate, values) {
            Ok(Principal { client_credential: Some(own), .. }) => {
                assert!(own.value.is_sensitive());
                assert!(!format!("{own:?}").contains(own.value.to_str().unwrap()));
                format!("{}: {}", own.header.name(), own.value.to_str().unwrap())
            }
            Ok(_) => "none".to_owned(),
            Err(fault) => fault.code.name().to_owned(),
        }
    }

    #[test]
    fn a_foreign_credential_goes_upstream_only_in_pass_through_mode() {
        let mut gate = two_agents();
        let foreign = bearer("sk-of-the-client");
        assert_eq!(upstream(&gate, [&foreign, ANY, ""]), "none");
        gate.pass_through = true;
        assert_eq!(upstream(&gate, [&foreign, ANY, ""]), "authorization: Bearer sk-of-the-client");
        assert_eq!(upstream(&gate, [&bearer(ANY), "sk-x", ""]), "x-api-key: sk-x");
        assert_eq!(upstream(&gate, [&foreign, "", ""]), "invalid_key");
        assert_eq!(upstream(&gate, ["Basic eDp5", ANY, ""]), "authorization: Basic eDp5");
        gate.require_agent_key = false;
        assert_eq!(upstream(&gate, [&foreign, "", ""]), "authorization: Bearer sk-of-the-client");
        assert_eq!(
            upstream(&gate, [&foreign, "sk-x", ""]),
            "authorization: Bearer sk-of-the-client"
        );
        gate.pass_through = false;
        assert_eq!(upstream(&gate, [&foreign, "", ""]), "none");
    }

    #[test]
    fn a_key_of_ours_never_goes_upstream() {
        let mut gate = two_agents();
        gate.pass_through = true;
        assert_eq!(upstream(&gate, [&bearer(ANY), "", ""]), "none");
        assert_eq!(upstream(&gate, [&bearer(ANY), OWN, ""]), "invalid_request");
        assert_eq!(upstream(&gate, [&bearer(ANY), ANY, ""]), "none");
        gate.require_agent_key = false;
        assert_eq!(upstream(&gate, [&format!(" Bearer {ADMIN} "), "", ""]), "none");
        assert_eq!(upstream(&gate, [ANY, "", ""]), "none");
        assert_eq!(upstream(&gate, [ADMIN, &bearer(OWN), ""]), "invalid_request");
    }

    #[test]
    fn two_keys_of_ours_must_be_the_same() {
        let mut gate = two_agents();
        let fault = ask(&gate, [&bearer(ANY), OWN, ""]).unwrap_err();
        assert_eq!((fault.code, fault.param.as_deref()), (Code::InvalidRequest, Some("x-api-key")));
        assert_eq!(who(&gate, [&bearer(OWN), OWN, ""]), "a");
        assert_eq!(who(&gate, ["Bearer nonsense", OWN, ""]), "a");
        gate.pass_through = true;
        assert_eq!(upstream(&gate, ["Bearer theirs", OWN, ""]), "authorization: Bearer theirs");
    }
}
