//! Makes the gateway's own calls, to the console, to web hooks and for lists of models: one connection each, bounded in time and
//! size, without redirects, proxies from the environment, or a second try.
//!
//! Blocks the thread. What an error says is safe to be logged: neither the address, whose path may be a
//! secret, nor a header is in it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use rustls::crypto::ring;
use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Error};

use crate::base::limit::{OUTGOING_CALL_MS, OUTGOING_CONNECT_MS, SYNC_CALL_MS};
use crate::upstream::reach::Fence;

const JSON: &str = "application/json";

/// Makes calls.
#[derive(Default)]
pub struct Caller {
    /// Made for the first call: most gateways never make one, and the system's authorities are many.
    agent: Option<Agent>,
}

/// Whom to call for an account that was made through the API.
pub struct Fenced<'a> {
    /// The whole URL.
    pub url: String,
    /// Our credential and what else belongs to the dialect.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// Which addresses may be called.
    pub fence: Arc<Fence>,
}

/// The body of the answer to a GET, if it is at most `max` bytes. Every address that the host's name leads
/// to is judged, and one of those judged is the one that is called.
///
/// # Errors
/// Why there is none, for whoever asked: safe to be shown.
pub fn get_fenced(call: &Fenced<'_>, max: u64) -> Result<Vec<u8>, String> {
    let resolver =
        FencedResolver { inner: DefaultResolver::default(), fence: Arc::clone(&call.fence) };
    let time = Duration::from_millis(SYNC_CALL_MS);
    let agent = Agent::with_parts(config(time), DefaultConnector::default(), resolver);
    let mut request = agent.get(&call.url).header("accept", JSON);
    for (name, value) in call.headers {
        request = request.header(name, value);
    }
    let mut answer = good(request.call())?;
    answer.body_mut().with_config().limit(max).read_to_vec().map_err(|error| told(&error))
}

/// Gives no address that the fence does not admit.
#[derive(Debug)]
struct FencedResolver {
    inner: DefaultResolver,
    fence: Arc<Fence>,
}

impl Resolver for FencedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let found = self.inner.resolve(uri, config, timeout)?;
        if found.iter().all(|address| self.fence.admits(host, address.ip())) {
            return Ok(found);
        }
        let denied =
            io::Error::new(io::ErrorKind::PermissionDenied, "it lies where accounts may not lead");
        Err(Error::Io(denied))
    }
}

/// Whom to call.
pub struct Callee<'a> {
    /// The whole URL.
    pub url: String,
    /// The value of `Authorization`.
    pub authorization: Option<&'a HeaderValue>,
}

impl Caller {
    /// The body of the answer to a GET, if it is at most `max` bytes.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub fn get(&mut self, callee: &Callee<'_>, max: u64) -> Result<Vec<u8>, String> {
        let mut call = self.agent().get(&callee.url).header("accept", JSON);
        if let Some(value) = callee.authorization {
            call = call.header("authorization", value);
        }
        let mut answer = good(call.call())?;
        answer.body_mut().with_config().limit(max).read_to_vec().map_err(|error| told(&error))
    }

    /// Sends JSON by POST. What is answered is not read.
    ///
    /// # Errors
    /// Why it was not taken, for the log.
    pub fn post(&mut self, callee: &Callee<'_>, body: &str) -> Result<(), String> {
        let mut call = self.agent().post(&callee.url).header("content-type", JSON);
        if let Some(value) = callee.authorization {
            call = call.header("authorization", value);
        }
        good(call.send(body)).map(drop)
    }

    fn agent(&mut self) -> &Agent {
        self.agent.get_or_insert_with(agent)
    }
}

fn agent() -> Agent {
    config(Duration::from_millis(OUTGOING_CALL_MS)).new_agent()
}

fn config(time: Duration) -> Config {
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(authorities())))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        // Calls are far apart: a kept connection would mostly be one that has just been closed.
        .max_idle_connections(0)
        .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(Duration::from_millis(OUTGOING_CONNECT_MS)))
        .timeout_connect(Some(Duration::from_millis(OUTGOING_CONNECT_MS)))
        .timeout_global(Some(time))
        .build()
}

/// Those that providers are known by as well.
fn authorities() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs().unwrap_or_else(|error| {
        tracing::error!(%error, "the system's certificates cannot be read");
        Vec::new()
    });
    found.iter().map(|one| Certificate::from_der(one).to_owned()).collect()
}

fn good(answer: Result<Response<Body>, Error>) -> Result<Response<Body>, String> {
    let answer = answer.map_err(|error| told(&error))?;
    let status = answer.status();
    if status.is_success() { Ok(answer) } else { Err(format!("it answered {}", status.as_u16())) }
}

/// What went wrong, in words that name no address.
fn told(error: &Error) -> String {
    match error {
        Error::Timeout(_) => "it took too long".to_owned(),
        Error::HostNotFound => "its name is not known".to_owned(),
        Error::ConnectionFailed => "it cannot be reached".to_owned(),
        Error::BodyExceedsLimit(_) => "its answer is too large".to_owned(),
        Error::Io(error) => error.to_string(),
        Error::Tls(error) => format!("TLS: {error}"),
        Error::Rustls(error) => format!("TLS: {error}"),
        Error::Protocol(_) => "its answer is no HTTP".to_owned(),
        _ => "the call failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

    /// Answers one request with those bytes, and gives what it was asked.
    fn answering(bytes: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            let mut piece = [0; 1024];
            while !seen.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut piece).unwrap();
                seen.extend_from_slice(&piece[..count]);
            }
            stream.write_all(bytes.as_bytes()).unwrap();
            String::from_utf8(seen).unwrap()
        });
        (address, asked)
    }

    fn get(url: String, fence: Fence, max: u64) -> Result<Vec<u8>, String> {
        let mut value = HeaderValue::from_static("Bearer sk-x");
        value.set_sensitive(true);
        let headers = [(http::header::AUTHORIZATION, value)];
        get_fenced(&Fenced { url, headers: &headers, fence: Arc::new(fence) }, max)
    }

    fn open() -> Fence {
        Fence::new(true, []).unwrap()
    }

    #[test]
    fn addresses_inside_the_fence_are_called_and_no_others() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let (address, asked) = answering(ok);
        assert_eq!(get(format!("http://{address}/v1/models"), open(), 9).unwrap(), b"{}");
        let asked = asked.join().unwrap();
        assert!(asked.starts_with("GET /v1/models HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("authorization: Bearer sk-x"), "{asked}");
        let port = address.port();
        for host in [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
            "2130706433",
            "0x7f.1",
        ] {
            let refused = get(format!("http://{host}:{port}/v1/models"), Fence::default(), 9);
            let error = refused.unwrap_err();
            assert!(
                error.contains("may not lead") || error.contains("not known"),
                "{host}: {error}"
            );
            assert!(!error.contains("sk-x"));
        }
    }

    #[test]
    fn redirects_errors_and_large_answers_are_failures() {
        let to_metadata =
            "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
        let (address, _asked) = answering(to_metadata);
        assert_eq!(get(format!("http://{address}/"), open(), 9).unwrap_err(), "it answered 302");
        let (address, _asked) = answering("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(get(format!("http://{address}/"), open(), 9).unwrap_err(), "it answered 401");
        let (address, _asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n1234");
        assert_eq!(
            get(format!("http://{address}/"), open(), 3).unwrap_err(),
            "its answer is too large"
        );
    }
}
