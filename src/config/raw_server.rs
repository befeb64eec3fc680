//! The sections `server` and `auth`: addresses, limits and keys.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::config::Outside;
use crate::config::bound;
use crate::config::keys;
use crate::config::problem::{At, Place, Problems};
use crate::config::section::{Section, shown};
use crate::config::snapshot::Tls;
use crate::config::yaml::Text;
use crate::identity::key::KeyHash;

/// The port of the data plane unless configured otherwise.
pub const LISTEN_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 9090;
/// How the keys of our examples begin.
const DEMO_KEY_PREFIX: &str = "weir-demo-";
/// The path of a Unix socket has room for 107 bytes on Linux, and for 103 on macOS.
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// `server`.
pub struct RawServer {
    /// Addresses of the data plane.
    pub listen: Vec<At<SocketAddr>>,
    /// Address of the control API.
    pub admin: At<SocketAddr>,
    /// Certificate and key.
    pub tls: Option<At<Tls>>,
    /// Worker threads; 0 = one per core.
    pub threads: usize,
    /// Most bytes of a request body.
    pub body_bytes_max: usize,
    /// Seconds for running requests at the end.
    pub grace_seconds: u64,
    /// Whether a network without keys is wanted.
    pub allow_open: bool,
    /// HTTP/2 in clear text.
    pub h2c: bool,
    /// Most requests at the same time.
    pub requests_max: usize,
    /// Most streams at the same time.
    pub streams_max: usize,
    /// Most connections at the same time.
    pub connections_max: usize,
    /// How long an abandoned stream is read on, in milliseconds.
    pub drain_ms: u64,
    /// The hand-over socket, if named.
    pub upgrade_sock: Option<PathBuf>,
}

/// `auth`.
pub struct RawAuth {
    /// Keys of the control API.
    pub admin_keys: Keys,
    /// Keys that may speak for any agent.
    pub agent_keys: Keys,
    /// Whether a key is needed, if said.
    pub require_agent_key: Option<At<bool>>,
    /// Whether a client's credential may go upstream.
    pub pass_through: bool,
}

/// A list of keys.
pub struct Keys {
    /// Those that can be used.
    pub hashes: Vec<At<KeyHash>>,
    /// Whether any was given, usable or not.
    pub given: bool,
    /// Where a key stands that everybody knows, since it is printed in our own examples.
    pub demo: Option<Place>,
}

/// Reads `server`.
pub fn server(section: &Section<'_>, problems: &Problems) -> RawServer {
    RawServer {
        listen: listen(section, problems),
        admin: admin(section, problems),
        tls: tls(section),
        threads: section.count("threads", &bound::THREADS),
        body_bytes_max: section.count("body_bytes_max", &bound::BODY_BYTES),
        grace_seconds: section.number("grace_seconds", &bound::GRACE_SECONDS),
        allow_open: section.flag_or("allow_open", false),
        h2c: section.flag_or("h2c", false),
        requests_max: section.count("requests_max", &bound::REQUESTS),
        streams_max: section.count("streams_max", &bound::STREAMS),
        connections_max: section.count("connections_max", &bound::CONNECTIONS),
        drain_ms: section.number("drain_ms", &bound::DRAIN_MS),
        upgrade_sock: upgrade_sock(section),
    }
}

impl RawServer {
    /// Has certificate and key looked at, if they are named.
    pub fn check_tls(&self, outside: &Outside<'_>, problems: &Problems) {
        let Some(At { value, place }) = &self.tls else { return };
        if let Err((key, message)) = (outside.server_certificate)(value) {
            problems.add(&place.key(key, place.line), message);
        }
    }
}

/// Reads `auth`.
pub fn auth(section: &Section<'_>, problems: &Problems) -> RawAuth {
    RawAuth {
        admin_keys: keys(section, "admin_keys", problems),
        agent_keys: keys(section, "agent_keys", problems),
        require_agent_key: section.flag("require_agent_key"),
        pass_through: section.flag_or("pass_through", false),
    }
}

/// Reads a list of keys. Their text is never shown.
pub fn keys(section: &Section<'_>, key: &str, problems: &Problems) -> Keys {
    let texts = section.texts(key).unwrap_or_default();
    let given = section.items(key).is_some_and(|items| !items.is_empty());
    let demo = texts.iter().find(|text| text.value.text.starts_with(DEMO_KEY_PREFIX));
    let demo = demo.map(|text| text.place.clone());
    let hash = |At { value, place }: At<Text>| match KeyHash::from_configured(&value.text) {
        Ok(value) => Some(At { value, place }),
        Err(error) => {
            problems.add(&place, error.to_string());
            None
        }
    };
    Keys { hashes: texts.into_iter().filter_map(hash).collect(), given, demo }
}

fn listen(section: &Section<'_>, problems: &Problems) -> Vec<At<SocketAddr>> {
    let Some(texts) = section.texts("listen") else {
        return vec![local(section, LISTEN_PORT)];
    };
    if section.items("listen").is_none_or(|items| items.is_empty()) {
        section.problem("listen", "is empty (at least one address, like 127.0.0.1:8080)");
    }
    texts.into_iter().filter_map(|text| address(text, problems)).collect()
}

fn admin(section: &Section<'_>, problems: &Problems) -> At<SocketAddr> {
    let given = section.text("admin").and_then(|text| address(text, problems));
    given.unwrap_or_else(|| local(section, ADMIN_PORT))
}

fn local(section: &Section<'_>, port: u16) -> At<SocketAddr> {
    let key = if port == ADMIN_PORT { "admin" } else { "listen" };
    At { value: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), place: section.place_of(key) }
}

fn address(text: At<Text>, problems: &Problems) -> Option<At<SocketAddr>> {
    let At { value, place } = text;
    let given = value.text.trim();
    let local = given.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let parsed = local.as_deref().unwrap_or(given).parse::<SocketAddr>();
    match parsed {
        Ok(address) if address.port() != 0 => Some(At { value: address, place }),
        _ => {
            bad_address(&value, &place, problems);
            None
        }
    }
}

fn bad_address(text: &Text, place: &Place, problems: &Problems) {
    let allowed = "(an address and a port from 1 to 65535, like 127.0.0.1:8080, [::1]:8080 or \
                   0.0.0.0:8080)";
    problems.add(place, format!("{} is not an address to listen on {allowed}", shown(text)));
}

fn tls(section: &Section<'_>) -> Option<At<Tls>> {
    let tls = section.section_if_given("tls", &keys::TLS)?;
    let file = |key| {
        tls.require(key, "the path of a PEM file");
        let At { value, .. } = tls.text(key)?;
        if value.text.is_empty() {
            tls.problem(key, "is empty (the path of a PEM file)");
        }
        Some(PathBuf::from(value.text))
    };
    // Both are asked for, so that both are named if both are missing.
    let (cert, key) = (file("cert"), file("key"));
    Some(At { value: Tls { cert: cert?, key: key? }, place: tls.place })
}

fn upgrade_sock(section: &Section<'_>) -> Option<PathBuf> {
    let At { value, .. } = section.text("upgrade_sock")?;
    if !value.text.starts_with('/') || value.text.len() > SOCKET_PATH_BYTES_MAX {
        let allowed = format!("(an absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes)");
        let message = format!("{} is not a path for a socket {allowed}", shown(&value));
        section.problem("upgrade_sock", message);
    }
    Some(PathBuf::from(value.text))
}
