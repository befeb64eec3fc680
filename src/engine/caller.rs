//! Makes the gateway's own calls, to the console and to web hooks: one connection each, bounded in time and
//! size, without redirects, proxies from the environment, or a second try.
//!
//! Blocks the thread. What an error says is safe to be logged: neither the address, whose path may be a
//! secret, nor a header is in it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::crypto::ring;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Error};

use crate::base::limit::{OUTGOING_CALL_MS, OUTGOING_CONNECT_MS};

const JSON: &str = "application/json";

/// Makes calls.
#[derive(Default)]
pub struct Caller {
    /// Made for the first call: most gateways never make one, and the system's authorities are many.
    agent: Option<Agent>,
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
        .timeout_global(Some(Duration::from_millis(OUTGOING_CALL_MS)))
        .build()
        .new_agent()
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
