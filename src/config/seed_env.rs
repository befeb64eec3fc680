//! Environment names of the systems that Weir takes the place of. Where the file is silent they give the
//! value, as if it stood there; what the file says always wins. An empty variable counts as not set. Each
//! value taken is told as a warning: some of these names are so common that it may not have been meant.
//!
//! | name | gives |
//! | --- | --- |
//! | `ADAPTER_HOST`, `ADAPTER_PORT` (S0-18); `HOST`, `PORT` (S4-13); `ORCHESTRATOR_PORT` (S1-12) | `server.listen`: the first of these three that is set in any part; a host alone keeps port 8080, a port alone keeps 127.0.0.1 |
//! | `ROUTER_ADMIN_KEY`, `ROUTER_AGENT_KEY` (S3-02) | `auth.admin_keys`, `auth.agent_keys` |
//! | `REQUIRE_AGENT_KEY_FOR_PROXY` (S3-02) | `auth.require_agent_key` |
//! | `WEIR_KMS_KEY`, else `ROUTER_KMS_KEY` (S3-04) | `profiles.kms_key`, unless `kms_key_file` is given; an empty `kms_key` is silent too |
//! | `RETRY_STATUS_CODES` (S4-13; commas between) | `routing.retry_statuses` |
//! | `GLOBAL_FALLBACK_MODELS` (S4-13; commas between) | `routing.fallback_default` |
//! | `MODEL_FALLBACK_MAP` (S4-13; a JSON object of model to model or list) | `routing.fallbacks` |
//! | `REQUEST_TIMEOUT_MS` (S4-13), else `UPSTREAM_TIMEOUT_MS` (S3-03) | `first_byte_timeout_ms` of each provider without one; at least 1000 |
//! | `UPSTREAM_API_KEY` (S4-13) | `api_key` of the one provider of the `openai` dialect, if the file has no other of that dialect, that one has no credential, and `auth.pass_through` is not on: it must never be a guess to whom a key is sent (D-07) |
//!
//! Not honoured: `UPSTREAM_BASE_URL` and `OPENCLAW_GATEWAY_URL` with its `_TOKEN`, since `providers` and
//! `models` must be in the file; `CIRCUIT_BREAKER_*`, which have no key here. Variables that the file asks
//! for with `${VAR}` are the business of `expand`.

use std::cell::RefCell;
use std::net::IpAddr;

use serde_json::Value as Json;

use crate::config::bound;
use crate::config::build::CREDENTIAL_HEADERS;
use crate::config::expand::Env;
use crate::config::problem::{At, Place, Problems};
use crate::config::raw_server::LISTEN_PORT;
use crate::config::section::number;
use crate::config::yaml::{Entry, Node, Text, Value};

/// A name, and how a problem speaks of it.
struct Variable {
    name: &'static str,
    origin: &'static str,
}

macro_rules! variable {
    ($name:literal) => {
        Variable { name: $name, origin: concat!("environment variable ", $name) }
    };
}

/// The names of one system for where it listens.
struct Listener {
    host: Option<Variable>,
    port: Variable,
    both: &'static str,
}

/// They belong together: the host of one system says nothing about the port of another.
const LISTENERS: [Listener; 3] = [
    Listener {
        host: Some(variable!("ADAPTER_HOST")),
        port: variable!("ADAPTER_PORT"),
        both: "environment variables ADAPTER_HOST and ADAPTER_PORT",
    },
    Listener {
        host: Some(variable!("HOST")),
        port: variable!("PORT"),
        both: "environment variables HOST and PORT",
    },
    Listener {
        host: None,
        port: variable!("ORCHESTRATOR_PORT"),
        both: "environment variable ORCHESTRATOR_PORT",
    },
];

/// A value of the environment in the form of the file.
struct Given {
    origin: &'static str,
    value: Value,
}

/// A section, a key in it, and what the environment says.
type Rule = (&'static str, &'static str, fn(&Seed<'_>) -> Option<Given>);

const RULES: [Rule; 8] = [
    ("server", "listen", |seed| seed.listen()),
    ("auth", "admin_keys", |seed| seed.secret(&variable!("ROUTER_ADMIN_KEY"))),
    ("auth", "agent_keys", |seed| seed.secret(&variable!("ROUTER_AGENT_KEY"))),
    ("auth", "require_agent_key", |seed| seed.plain(&variable!("REQUIRE_AGENT_KEY_FOR_PROXY"))),
    ("profiles", "kms_key", |seed| {
        let own = seed.secret(&variable!("WEIR_KMS_KEY"));
        own.or_else(|| seed.secret(&variable!("ROUTER_KMS_KEY")))
    }),
    ("routing", "retry_statuses", |seed| seed.list(&variable!("RETRY_STATUS_CODES"))),
    ("routing", "fallback_default", |seed| seed.list(&variable!("GLOBAL_FALLBACK_MODELS"))),
    ("routing", "fallbacks", |seed| seed.fallbacks()),
];

/// Adds to the tree what the environment says where the file is silent. The answer is the warnings.
pub fn overlay(top: &mut Node, env: Env<'_>, problems: &Problems) -> Vec<String> {
    let seed = Seed { env, problems, warnings: RefCell::default() };
    for rule in RULES {
        seed.fill(top, rule);
    }
    let pass_through = child(top, "auth").is_some_and(|auth| says(auth, "pass_through", "true"));
    if let Some(Node { value: Value::Map(providers), .. }) = child_mut(top, "providers") {
        seed.timeouts(providers);
        if !pass_through {
            seed.credential(providers);
        }
    }
    seed.warnings.into_inner()
}

/// The environment, and where its faults are told.
struct Seed<'a> {
    env: Env<'a>,
    problems: &'a Problems,
    warnings: RefCell<Vec<String>>,
}

impl Seed<'_> {
    /// Gives a key its value if the file does not; only then is the environment asked.
    fn fill(&self, top: &mut Node, (section, key, read): Rule) {
        let Value::Map(sections) = &mut top.value else { return };
        let at = sections.iter().position(|entry| entry.key == section).unwrap_or_else(|| {
            let node = Node { line: 1, value: Value::Null };
            sections.push(Entry { key: section.to_owned(), line: 1, origin: None, node });
            sections.len() - 1
        });
        if key == "kms_key" && !lacks_key(&mut sections[at].node) {
            return;
        }
        let Some(entries) = silent(&mut sections[at].node, key) else { return };
        if let Some(given) = read(self) {
            self.set(entries, &format!("{section}.{key}"), given);
        }
    }

    /// Puts a value behind the last key of that path.
    fn set(&self, entries: &mut Vec<Entry>, path: &str, Given { origin, value }: Given) {
        let key = path.rsplit('.').next().unwrap_or(path);
        entries.retain(|entry| entry.key != key);
        let node = Node { line: 1, value };
        entries.push(Entry { key: key.to_owned(), line: 1, origin: Some(origin), node });
        let warning = format!("{path}: taken from the {origin}, since the file does not say");
        self.warnings.borrow_mut().push(warning);
    }

    fn get(&self, variable: &Variable) -> Option<String> {
        let value = (self.env)(variable.name)?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn plain(&self, variable: &Variable) -> Option<Given> {
        let text = self.get(variable)?;
        Some(Given { origin: variable.origin, value: Value::Text(Text::plain(text)) })
    }

    fn secret(&self, variable: &Variable) -> Option<Given> {
        let text = self.get(variable)?;
        let value = Value::Text(Text { text, secret: true });
        Some(Given { origin: variable.origin, value })
    }

    fn list(&self, variable: &Variable) -> Option<Given> {
        let text = self.get(variable)?;
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let value = Value::List(items.map(plain).collect());
        Some(Given { origin: variable.origin, value })
    }

    fn listen(&self) -> Option<Given> {
        LISTENERS.iter().find_map(|listener| {
            let host = listener.host.as_ref().and_then(|host| Some((host.origin, self.get(host)?)));
            let port = self.get(&listener.port).map(|port| (listener.port.origin, port));
            let origin = match (&host, &port) {
                (None, None) => return None,
                (Some((origin, _)), None) | (None, Some((origin, _))) => origin,
                // If just one of them is to blame, only that one is named.
                (Some(_), Some((origin, port))) if port.parse::<u16>().is_err() => origin,
                (Some((origin, host)), Some(_)) if !is_host(host) => origin,
                (Some(_), Some(_)) => listener.both,
            };
            let host = host.map_or_else(|| "127.0.0.1".to_owned(), |(_, host)| host);
            let port = port.map_or_else(|| LISTEN_PORT.to_string(), |(_, port)| port);
            let bare_v6 = host.contains(':') && !host.starts_with('[');
            let text = if bare_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            Some(Given { origin, value: Value::Text(Text::plain(text)) })
        })
    }

    fn fallbacks(&self) -> Option<Given> {
        let variable = variable!("MODEL_FALLBACK_MAP");
        let text = self.get(&variable)?;
        let map = match serde_json::from_str(&text) {
            Ok(Json::Object(map)) => map,
            Ok(_) => return self.bad_map(&variable, "is not a JSON object"),
            Err(error) => return self.bad_map(&variable, &format!("is not valid JSON: {error}")),
        };
        let mut entries = Vec::new();
        for (key, chain) in map {
            let Some(value) = chain_of(chain) else {
                return self.bad_map(&variable, &format!("has something else behind {key:?}"));
            };
            entries.push(Entry { key, line: 1, origin: None, node: Node { line: 1, value } });
        }
        Some(Given { origin: variable.origin, value: Value::Map(entries) })
    }

    fn bad_map(&self, variable: &Variable, what: &str) -> Option<Given> {
        const ALLOWED: &str = "like {\"model\": \"other\", \"third\": [\"other\", \"fourth\"]}";
        let place = place_of("routing.fallbacks", variable.origin);
        self.problems.add(&place, format!("{what} ({ALLOWED})"));
        None
    }

    /// One problem for all providers that it would have been for.
    fn timeouts(&self, providers: &mut [Entry]) {
        const KEY: &str = "first_byte_timeout_ms";
        let variables = [variable!("REQUEST_TIMEOUT_MS"), variable!("UPSTREAM_TIMEOUT_MS")];
        let found = variables.iter().find_map(|of| Some((of.origin, self.get(of)?)));
        let Some((origin, text)) = found else { return };
        let mut waiting: Vec<(&str, &mut Vec<Entry>)> = providers
            .iter_mut()
            .filter_map(|entry| Some((entry.key.as_str(), silent(&mut entry.node, KEY)?)))
            .collect();
        if waiting.is_empty() {
            return;
        }
        let value = Text::plain(text);
        let place = place_of("providers.<name>.first_byte_timeout_ms", origin);
        let at = At { value: value.clone(), place };
        if number(&at, &bound::SEED_TIMEOUT_MS, self.problems).is_none() {
            return;
        }
        for (name, entries) in &mut waiting {
            let path = format!("providers.{name}.{KEY}");
            self.set(entries, &path, Given { origin, value: Value::Text(value.clone()) });
        }
    }

    /// The key goes to a provider only if no other could have been meant.
    fn credential(&self, providers: &mut [Entry]) {
        let mut openai = providers.iter_mut().filter(|at| says(&at.node, "dialect", "openai"));
        let (Some(only), None) = (openai.next(), openai.next()) else { return };
        let headers = child(&only.node, "headers").map_or(&[][..], entries);
        let fixed = |header: &Entry| {
            CREDENTIAL_HEADERS.iter().any(|name| header.key.eq_ignore_ascii_case(name))
        };
        if headers.iter().any(fixed) {
            return;
        }
        if let Some(entries) = silent(&mut only.node, "api_key")
            && let Some(given) = self.secret(&variable!("UPSTREAM_API_KEY"))
        {
            self.set(entries, &format!("providers.{}.api_key", only.key), given);
        }
    }
}

fn is_host(text: &str) -> bool {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    text == "localhost" || bare.parse::<IpAddr>().is_ok()
}

/// A model or a list of models.
fn chain_of(json: Json) -> Option<Value> {
    match json {
        Json::String(text) => Some(Value::Text(Text::plain(text))),
        Json::Array(items) => {
            let text = |item: &Json| Some(plain(item.as_str()?));
            items.iter().map(text).collect::<Option<Vec<_>>>().map(Value::List)
        }
        _ => None,
    }
}

fn plain(text: &str) -> Node {
    Node { line: 1, value: Value::Text(Text::plain(text)) }
}

fn place_of(path: &str, origin: &'static str) -> Place {
    Place { path: path.to_owned(), origin: Some(origin), ..Place::top() }
}

// --- The tree.

/// The entries of a mapping that does not have that key. What is no mapping is left to its own problem.
fn silent<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Vec<Entry>> {
    if matches!(node.value, Value::Null) {
        node.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut node.value else { return None };
    let given = |entry: &Entry| entry.key == key && !matches!(entry.node.value, Value::Null);
    if entries.iter().any(given) { None } else { Some(entries) }
}

/// Whether `profiles` names no key that seals; an empty one is taken out.
fn lacks_key(profiles: &mut Node) -> bool {
    let Value::Map(entries) = &mut profiles.value else { return true };
    let is_empty = |entry: &Entry| matches!(&entry.node.value, Value::Text(text) if text.text.trim().is_empty());
    entries.retain(|entry| !(entry.key == "kms_key" && is_empty(entry)));
    child(profiles, "kms_key_file").is_none_or(|file| matches!(file.value, Value::Null))
}

fn entries(node: &Node) -> &[Entry] {
    match &node.value {
        Value::Map(entries) => entries,
        _ => &[],
    }
}

fn child<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    entries(node).iter().find(|entry| entry.key == key).map(|entry| &entry.node)
}

fn child_mut<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let Value::Map(entries) = &mut node.value else { return None };
    entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
}

fn says(node: &Node, key: &str, word: &str) -> bool {
    let text = |node: &Node| matches!(&node.value, Value::Text(text) if text.text.eq_ignore_ascii_case(word));
    child(node, key).is_some_and(text)
}
