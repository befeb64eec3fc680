//! Long-lived parts as Pingora background services, so that their threads start after everything else
//! is in place and stop with the server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora_core::services::background::BackgroundService;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::admin::handlers::Parts;
use crate::admin::http;
use crate::base::limit::{DRAIN_LOOK_MS, FAREWELL_MS, HANDOVER_MS_MAX};
use crate::engine::reloader::Reloader;
use crate::proxy::shared::Shared;

/// Waits for SIGHUP and for changes of the file.
pub struct Reloading {
    /// What reloads.
    pub reloader: Arc<Reloader>,
    /// Whether to look at the file too.
    pub watch: bool,
}

#[async_trait]
impl BackgroundService for Reloading {
    async fn start(&self, shutdown: ShutdownWatch) {
        let stop = stopped(shutdown);
        if let Err(error) = Arc::clone(&self.reloader).run(self.watch, stop).await {
            tracing::error!(%error, "the configuration cannot be reloaded by signal");
        }
    }
}

/// The admin port.
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its listener, taken when it starts; `None` to wait until the address is free.
    pub listener: Mutex<Option<std::net::TcpListener>>,
    /// What its handlers need.
    pub parts: Arc<Parts>,
    /// Set when a new process takes over, which needs the address at once. Otherwise the port answers
    /// to the end, so that readiness probes see the stop.
    pub handing_over: Arc<AtomicBool>,
}

#[async_trait]
impl BackgroundService for Admin {
    async fn start(&self, shutdown: ShutdownWatch) {
        let listener = self.listener.lock().take();
        let served = match self.listen(listener).await {
            Ok(listener) => {
                let stop = handed_over(shutdown, Arc::clone(&self.handing_over));
                http::serve(listener, Arc::clone(&self.parts), stop).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::error!(%error, "the admin port has failed");
        }
    }
}

impl Admin {
    async fn listen(&self, listener: Option<std::net::TcpListener>) -> io::Result<TcpListener> {
        if let Some(listener) = listener {
            return TcpListener::from_std(listener);
        }
        let mut look = tokio::time::interval(Duration::from_millis(DRAIN_LOOK_MS));
        let until = Instant::now() + Duration::from_millis(HANDOVER_MS_MAX);
        loop {
            look.tick().await;
            match TcpListener::bind(self.address).await {
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => {}
                bound => return bound,
            }
        }
    }
}

/// Ends the process as soon as its last request has ended. Without it Pingora would wait for the whole
/// grace period, however idle it is.
pub struct Leaving {
    /// Where the open requests are counted.
    pub shared: Arc<Shared>,
    /// The last thing to do.
    pub leave: Leave,
    /// Milliseconds from the signal on after which running requests are ended in words.
    pub patience_ms: u64,
}

/// Writes what is still to be written and ends the process.
pub type Leave = Arc<dyn Fn() + Send + Sync>;

#[async_trait]
impl BackgroundService for Leaving {
    async fn start(&self, shutdown: ShutdownWatch) {
        stopped(shutdown).await;
        // Registered only now: the very signal that began the stop would be delivered here as well.
        let mut again = signal(SignalKind::interrupt()).ok();
        self.shared.draining.store(true, Ordering::Relaxed);
        let load = &self.shared.load;
        tokio::select! {
            () = no_requests(load) => {}
            () = self.farewell() => {}
            () = next(again.as_mut()) => tracing::warn!(open = load.requests.count(), "stopped at once, as asked"),
        }
        (self.leave)();
    }
}

impl Leaving {
    /// Ends what still runs shortly before Pingora would cut it. Whoever waits for the last request goes on
    /// waiting.
    async fn farewell(&self) {
        tokio::time::sleep(Duration::from_millis(self.patience_ms)).await;
        let told = self.shared.farewell.say();
        if told > 0 {
            tracing::warn!(requests = told, "ended, as the grace of the stop is over");
        }
        std::future::pending::<()>().await;
    }
}

/// How long running requests are left alone in a grace of so many seconds.
pub const fn patience_ms(grace_seconds: u64) -> u64 {
    let grace_ms = grace_seconds.saturating_mul(1_000);
    let last_ms = if grace_ms / 2 < FAREWELL_MS { grace_ms / 2 } else { FAREWELL_MS };
    grace_ms - last_ms
}

async fn no_requests(load: &crate::proxy::shared::Load) {
    let mut look = tokio::time::interval(Duration::from_millis(DRAIN_LOOK_MS));
    load.linger().await;
    while load.requests.count() > 0 {
        look.tick().await;
    }
}

async fn next(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

async fn handed_over(shutdown: ShutdownWatch, handing_over: Arc<AtomicBool>) {
    stopped(shutdown).await;
    if !handing_over.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

async fn stopped(mut shutdown: ShutdownWatch) {
    // An error means that the server is gone, which is a stop as well.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// SIGTERM and SIGINT finish what runs; SIGQUIT hands the listeners to a new process first.
pub struct Signals {
    /// Set by SIGQUIT.
    pub handing_over: Arc<AtomicBool>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let signals =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()].map(signal);
        let [Ok(mut terminate), Ok(mut interrupt), Ok(mut quit)] = signals else {
            tracing::error!("no signal handlers can be set: only SIGKILL ends this process");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => ShutdownSignal::GracefulTerminate,
            _ = interrupt.recv() => ShutdownSignal::GracefulTerminate,
            _ = quit.recv() => {
                self.handing_over.store(true, Ordering::Relaxed);
                ShutdownSignal::GracefulUpgrade
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farewell_is_taken_from_the_grace_and_never_more_than_half_of_it() {
        let all = [0, 1, 2, 3, 30, 3_600].map(patience_ms);
        assert_eq!(all, [0, 500, 1_000, 2_000, 29_000, 3_599_000]);
    }
}
