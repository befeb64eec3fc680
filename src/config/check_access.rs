//! Doors: listeners that clash, networks without keys, keys that occur twice, credentials in clear
//! text.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::config::problem::{At, Place, Problems};
use crate::config::raw::Raw;
use crate::config::raw_provider::RawProvider;
use crate::identity::key::KeyHash;
use crate::upstream::target::BaseUrl;

const HOW_TO_CLOSE: &str = "listen on 127.0.0.1, or set server.allow_open: true";

/// Checks the doors; the answer says whether requests need a key of ours.
pub fn check(raw: &Raw, problems: &Problems, warnings: &mut Vec<String>) -> bool {
    clashes(raw, problems);
    keys_given_twice(raw, problems);
    admin_door(raw, problems);
    demo_keys(raw, problems);
    for provider in &raw.providers {
        credential_in_clear(provider, warnings);
    }
    data_door(raw, problems, warnings)
}

fn clashes(raw: &Raw, problems: &Problems) {
    let listen = &raw.server.listen;
    for (at, address) in listen.iter().enumerate() {
        if let Some(first) = listen[..at].iter().find(|first| overlap(first.value, address.value)) {
            problems.add(&address.place, format!("takes the same port as {}", first.place));
        }
    }
    let admin = &raw.server.admin;
    if let Some(first) = listen.iter().find(|first| overlap(first.value, admin.value)) {
        let allowed = "(the admin API needs an address of its own)";
        let message = format!("takes the same port as {} {allowed}", first.place);
        problems.add(&admin.place, message);
    }
}

/// Whether both cannot be listened on: the same port on the same address, or on all of them.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (any || one.ip().to_canonical() == other.ip().to_canonical())
}

fn keys_given_twice(raw: &Raw, problems: &Problems) {
    let mut first_places: HashMap<KeyHash, &Place> = HashMap::new();
    let agents = raw.agents.iter().flat_map(|agent| &agent.keys.hashes);
    let shared = raw.auth.admin_keys.hashes.iter().chain(&raw.auth.agent_keys.hashes);
    for At { value, place } in shared.chain(agents) {
        if let Some(first) = first_places.insert(*value, place) {
            let message = format!("is the same key as {first} (each key belongs to one)");
            problems.add(place, message);
        }
    }
}

fn is_public(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

fn admin_door(raw: &Raw, problems: &Problems) {
    let admin = &raw.server.admin;
    let open = is_public(admin.value) && !raw.auth.admin_keys.given;
    if open && !raw.server.allow_open {
        let message = "is open to the network, but there is no admin key (add auth.admin_keys,";
        problems.add(&admin.place, format!("{message} {HOW_TO_CLOSE})"));
    }
}

/// The keys of our examples are as good as none.
fn demo_keys(raw: &Raw, problems: &Problems) {
    let server = &raw.server;
    let public = |listen: &[At<SocketAddr>]| listen.iter().any(|address| is_public(address.value));
    let data_is_public = public(&server.listen);
    let any_is_public = data_is_public || public(std::slice::from_ref(&server.admin));
    let agents = raw.agents.iter().map(|agent| (&agent.keys, data_is_public));
    let shared = [(&raw.auth.admin_keys, any_is_public), (&raw.auth.agent_keys, any_is_public)];
    for (keys, is_public) in shared.into_iter().chain(agents) {
        if let Some(place) = keys.demo.as_ref().filter(|_| is_public && !server.allow_open) {
            let why = "is a demo key that everybody knows, on an address open to the network";
            problems.add(place, format!("{why} (`weir key new` makes one of your own)"));
        }
    }
}

fn data_door(raw: &Raw, problems: &Problems, warnings: &mut Vec<String>) -> bool {
    let agent_keys = raw.agents.iter().map(|agent| &agent.keys).chain([&raw.auth.agent_keys]);
    let has_keys = agent_keys.into_iter().any(|keys| keys.given);
    let said = raw.auth.require_agent_key.as_ref();
    if let Some(said) = said.filter(|said| said.value && !has_keys) {
        let message =
            "is true, but there is no agent key (add auth.agent_keys or agents.<id>.keys)";
        problems.add(&said.place, message);
    }
    let required = said.map_or(has_keys, |said| said.value);
    let public = raw.server.listen.iter().find(|address| is_public(address.value));
    if let Some(public) = public.filter(|_| !required && !raw.server.allow_open) {
        let why = if has_keys {
            "auth.require_agent_key is false (set it to true"
        } else {
            "there is no agent key (add auth.agent_keys"
        };
        let message = format!("is open to the network, but {why}, {HOW_TO_CLOSE})");
        problems.add(&public.place, message);
    }
    if !required && !has_keys {
        let who = if public.is_some() { "everybody on the network" } else { "every local process" };
        warnings
            .push(format!("auth.agent_keys: there is no agent key, so {who} may use the gateway"));
    }
    required
}

fn credential_in_clear(provider: &RawProvider, warnings: &mut Vec<String>) {
    if provider.has_key && provider.base.as_ref().is_some_and(goes_in_clear) {
        let path = &provider.name.place.path;
        warnings.push(format!("{path}.base_url: the api_key goes over the network in clear text"));
    }
}

/// Whether what is sent there leaves this machine without TLS.
pub fn goes_in_clear(base: &BaseUrl) -> bool {
    let address = base.host.parse::<std::net::IpAddr>();
    let local = base.host == "localhost" || address.is_ok_and(|ip| ip.to_canonical().is_loopback());
    !base.tls && !local
}
