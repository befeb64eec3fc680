//! One attempt's provider as a Pingora peer: address, TLS and whom it trusts, timeouts.
//!
//! Addresses are looked up off the request path as far as possible: Pingora's own peers would resolve
//! names with a blocking call on every request.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use parking_lot::RwLock;
use pingora::upstreams::peer::HttpPeer;
use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CaType;
use pingora_core::utils::tls::{WrappedX509, parse_x509};
use pingora_core::{Error, ErrorType, Result};

use crate::base::limit::{
    CA_SETS_MAX, DNS_HOSTS_MAX, DNS_TTL_MS, DNS_WAIT_MS, IDLE_UPSTREAM_MS_MAX, UNTIMED_BYTES_MAX,
};
use crate::upstream::authorities::Authorities;
use crate::upstream::provider::Provider;

/// The addresses of the providers' hosts: only names from the configuration, and of accounts, are ever looked
/// up. Bounded: see `DNS_HOSTS_MAX`.
#[derive(Default)]
pub struct Resolver {
    hosts: RwLock<HashMap<Box<str>, Resolved>>,
}

struct Resolved {
    addresses: Vec<IpAddr>,
    at: Instant,
}

impl Resolver {
    /// The address to connect to for that provider. That of an account which was made through the API is
    /// judged here, for every connection: a name may lead elsewhere than when the account was made.
    ///
    /// # Errors
    /// A connect error when the name cannot be resolved, or leads where accounts may not.
    pub async fn address(&self, provider: &Provider) -> Result<SocketAddr> {
        let address = self.any_address(provider).await?;
        match &provider.fence {
            Some(fence) if !fence.admits(provider.host(), address.ip()) => {
                no_route(provider, "lies where accounts may not lead")
            }
            _ => Ok(address),
        }
    }

    async fn any_address(&self, provider: &Provider) -> Result<SocketAddr> {
        if let Ok(ip) = provider.host().parse::<IpAddr>() {
            return Ok(SocketAddr::new(ip, provider.port()));
        }
        let fresh = Duration::from_millis(DNS_TTL_MS);
        let known = self
            .hosts
            .read()
            .get(provider.host())
            .map(|host| (host.addresses.first().copied(), host.at.elapsed() < fresh));
        if let Some((Some(ip), true)) = known {
            return Ok(SocketAddr::new(ip, provider.port()));
        }
        match self.look_up(provider).await {
            Ok(ip) => Ok(SocketAddr::new(ip, provider.port())),
            // An old address is better than none while the name service is away.
            Err(error) => match known {
                Some((Some(ip), _)) => Ok(SocketAddr::new(ip, provider.port())),
                _ => Err(error),
            },
        }
    }

    /// Moves the first address of a host to the end, after it could not be reached.
    pub fn rotate(&self, host: &str) {
        if let Some(host) = self.hosts.write().get_mut(host)
            && !host.addresses.is_empty()
        {
            host.addresses.rotate_left(1);
        }
    }

    async fn look_up(&self, provider: &Provider) -> Result<IpAddr> {
        let query = tokio::net::lookup_host((provider.host(), provider.port()));
        let wait = Duration::from_millis(DNS_WAIT_MS);
        let found: Vec<IpAddr> = match tokio::time::timeout(wait, query).await {
            Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
            _ => Vec::new(),
        };
        let Some(first) = found.first().copied() else {
            return no_route(provider, "has no address");
        };
        let resolved = Resolved { addresses: found, at: Instant::now() };
        let mut hosts = self.hosts.write();
        if hosts.len() >= DNS_HOSTS_MAX {
            hosts.clear();
        }
        hosts.insert(provider.host().into(), resolved);
        Ok(first)
    }
}

fn no_route<T>(provider: &Provider, why: &str) -> Result<T> {
    let why = format!("the host of provider {} {why}", provider.name);
    let mut error = Error::explain(ErrorType::ConnectNoRoute, why);
    error.as_up();
    Err(error)
}

/// The certificates of providers in Pingora's form, so that no request has to parse them. Bounded: see
/// `CA_SETS_MAX`.
#[derive(Default)]
pub struct Trust {
    sets: RwLock<HashMap<u64, Arc<CaType>>>,
}

impl Trust {
    fn set(&self, authorities: &Authorities) -> Arc<CaType> {
        if let Some(set) = self.sets.read().get(&authorities.id) {
            return Arc::clone(set);
        }
        // The parser panics on what it cannot read; each of them has passed it once, in `engine::trust`.
        let certificate = |der: &Vec<u8>| WrappedX509::new(der.clone(), parse_x509);
        let set: Arc<CaType> = authorities.certificates.iter().map(certificate).collect();
        let mut sets = self.sets.write();
        if sets.len() >= CA_SETS_MAX {
            sets.clear();
        }
        sets.insert(authorities.id, Arc::clone(&set));
        set
    }
}

/// Bytes of the headers of a head, roughly.
pub fn head_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// The peer for one attempt that writes about so many bytes, head and body.
pub fn peer(
    provider: &Provider,
    (address, bytes): (SocketAddr, usize),
    trust: &Trust,
) -> Box<HttpPeer> {
    let mut peer = Box::new(HttpPeer::new(address, provider.tls(), provider.sni().to_owned()));
    let options = &mut peer.options;
    let connect = Duration::from_millis(provider.timeouts.connect_ms);
    options.connection_timeout = Some(connect);
    // TCP and TLS together.
    options.total_connection_timeout = Some(connect);
    // Of the header as well, whose own deadline is the gate's: so is a pause within the answer that is shorter.
    options.read_timeout = Some(Duration::from_millis(provider.timeouts.read_ms()));
    // Each write under a timer pays for it, also where it cannot block.
    if bytes > UNTIMED_BYTES_MAX {
        options.write_timeout = Some(Duration::from_millis(provider.timeouts.idle_ms));
    }
    options.idle_timeout = Some(Duration::from_millis(IDLE_UPSTREAM_MS_MAX));
    if provider.tls() {
        options.alpn = ALPN::H2H1;
        if let Some(authorities) = &provider.authorities {
            options.ca = Some(trust.set(authorities));
            // The pool of connections does not look at certificates: one that was verified with these
            // must not serve a provider (or, after a reload, a configuration) that has others.
            peer.group_key = authorities.id;
        }
    }
    peer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::overlay::{Account, AccountModel, Overlay, apply};
    use crate::engine::source::sample;
    use crate::upstream::kind::ProviderKind;
    use crate::upstream::reach::Fence;
    use crate::upstream::target::BaseUrl;

    async fn reaches(url: &str, fence: Fence) -> Option<SocketAddr> {
        let account = Account {
            name: "made".into(),
            kind: ProviderKind::OpenAi,
            base: BaseUrl::parse(url, false).unwrap(),
            auth: ProviderKind::OpenAi.credential("sk-x"),
            models: Vec::<AccountModel>::new(),
        };
        let fence = Arc::new(fence);
        let overlay = Overlay { accounts: vec![account], fence, ..Overlay::default() };
        let snapshot = apply(sample::snapshot("one"), &overlay);
        Resolver::default().address(&snapshot.providers[1]).await.ok()
    }

    #[tokio::test]
    async fn accounts_lead_to_public_addresses_and_exceptions_only() {
        for url in [
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://169.254.169.254",
            "http://localhost:1",
            "http://2130706433:1",
            "http://0177.0.0.1:1",
            "http://[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(reaches(url, Fence::default()).await, None, "{url}");
        }
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let url = "http://127.0.0.1:1";
        assert_eq!(reaches(url, Fence::new(true, []).unwrap()).await, Some(address));
        assert_eq!(reaches(url, Fence::new(false, ["127.0.0.0/8"]).unwrap()).await, Some(address));
        let public = "http://8.8.8.8:1";
        assert_eq!(reaches(public, Fence::default()).await, Some("8.8.8.8:1".parse().unwrap()));
    }

    #[tokio::test]
    async fn providers_of_the_file_may_lead_anywhere() {
        let snapshot = sample::snapshot("one");
        let address = Resolver::default().address(&snapshot.providers[0]).await.unwrap();
        assert_eq!(address, "127.0.0.1:9000".parse().unwrap());
    }
}
