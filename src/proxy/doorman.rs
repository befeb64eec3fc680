//! Stands before the proxy at each connection: counts connections, and ends those whose request head
//! does not arrive in time.
//!
//! Pingora's time-out is per read, so a client that sends a byte now and then would hold a connection
//! for ever; and its filters run only once the head is complete.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use crate::base::limit::{H2_STREAMS_MAX, HEAD_MS_MAX};
use crate::proxy::service::Weir;
use crate::proxy::shared::{Shared, Ticket};

tokio::task_local! {
    /// What the doorman and the request behind it tell each other.
    static DOOR: Door;
}

struct Door {
    head_read: Cell<bool>,
    crowded: bool,
}

/// Tells the doorman that the head of the request has been read.
pub fn head_is_read() {
    // HTTP/2 streams have no doorman: their head is complete when they begin.
    let _ = DOOR.try_with(|door| door.head_read.set(true));
}

/// Whether more connections are open than allowed, so that this request must be refused.
pub fn is_crowded() -> bool {
    DOOR.try_with(|door| door.crowded).unwrap_or(false)
}

/// The way to the door: connections are counted here, whatever is spoken on them.
pub struct Porch {
    doorman: Arc<Doorman>,
}

impl Porch {
    /// Puts the porch before that doorman.
    pub fn new(doorman: Doorman) -> Self {
        Self { doorman: Arc::new(doorman) }
    }

    /// A place for one more connection. A few more than allowed are let in to be told so; beyond that, and
    /// over HTTP/2, where nobody could tell them, there is only the way back.
    fn enter(&self, http2: bool) -> Option<Ticket> {
        let shared = &self.doorman.shared;
        let max = shared.connections_max();
        let more = if http2 { 0 } else { max / 8 + 16 };
        shared.load.connections.enter(max.saturating_add(more))
    }
}

#[async_trait]
impl ServerApp for Porch {
    async fn process_new(
        self: &Arc<Self>,
        connection: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let _ticket = self.enter(connection.selected_alpn_proto() == Some(ALPN::H2))?;
        self.doorman.process_new(connection, shutdown).await
    }

    async fn cleanup(&self) {
        self.doorman.cleanup().await;
    }
}

/// The proxy behind its door.
pub struct Doorman {
    proxy: Arc<HttpProxy<Weir>>,
    shared: Arc<Shared>,
    options: HttpServerOptions,
}

impl Doorman {
    /// Puts the doorman before that proxy.
    pub fn new(proxy: HttpProxy<Weir>, shared: Arc<Shared>, h2c: bool) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2c = h2c;
        options.h2_idle_timeout = Some(Duration::from_millis(HEAD_MS_MAX));
        Self { proxy: Arc::new(proxy), shared, options }
    }
}

/// What a connection's turn comes to: the connection itself, if it can take another request.
type Turn<'a> = Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'a>>;

/// Runs the turn, but ends it if its head is not there in time.
async fn head_in_time(mut work: Turn<'_>) -> Option<ReusedHttpStream> {
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(Duration::from_millis(HEAD_MS_MAX)) => {}
    }
    if DOOR.with(|door| door.head_read.get()) { work.await } else { None }
}

#[async_trait]
impl HttpServerApp for Doorman {
    // Written out instead of `async fn`: the session moves straight into the proxy's own future and
    // takes no second place in ours, for as long as a stream runs.
    fn process_new_http<'a, 'b, 'c>(
        self: &'a Arc<Self>,
        session: ServerSession,
        shutdown: &'b ShutdownWatch,
    ) -> Turn<'c>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        let http2 = session.is_http2();
        let work = self.proxy.process_new_http(session, shutdown);
        if http2 {
            return work;
        }
        let max = self.shared.connections_max();
        let crowded = self.shared.load.connections.count() > max;
        let door = Door { head_read: Cell::new(false), crowded };
        Box::pin(DOOR.scope(door, head_in_time(work)))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = H2Options::new();
        options.max_concurrent_streams(H2_STREAMS_MAX);
        Some(options)
    }

    async fn http_cleanup(&self) {
        // Pingora would cut every idle connection now, also those whose next request is on its way.
        self.shared.load.linger().await;
        self.proxy.http_cleanup().await;
    }
}
