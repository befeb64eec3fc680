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
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use crate::base::limit::{H2_STREAMS_MAX, HEAD_MS_MAX};
use crate::proxy::service::Weir;
use crate::proxy::shared::Shared;

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
        let max = self.shared.live.load().snapshot.server.connections_max;
        let connections = &self.shared.load.connections;
        // A few more than allowed are let in to be told so; beyond that there is only the door.
        let Some(ticket) = connections.enter(max.saturating_add(max / 8 + 16)) else {
            return Box::pin(std::future::ready(None));
        };
        let door = Door { head_read: Cell::new(false), crowded: connections.count() > max };
        Box::pin(DOOR.scope(door, async move {
            let _ticket = ticket;
            head_in_time(work).await
        }))
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
