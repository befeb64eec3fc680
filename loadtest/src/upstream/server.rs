//! The mock's life: listen, serve, stop.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use loadtest::upstream::server::{MockConfig, Upstream};
//! let mock = Upstream::start(MockConfig { name: "a".to_owned(), ..MockConfig::default() }).await?;
//! println!("{}", mock.base_url());
//! let seen = mock.requests();
//! mock.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Dropping an [`Upstream`] closes everything at once; [`Upstream::shutdown`] lets answers end.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::bill::{Bill, BillLine};
use super::desk::{Connection, Desk};
use super::fault::Fault;
use super::manner::Manner;
use super::price::Price;
use super::seen::{Book, Seen};
use super::tap::{Socket, Tap};

/// Requests kept for tests unless told otherwise.
const REQUESTS_KEPT: usize = 1024;
/// How long `shutdown` waits for answers under way.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);
/// Pause after a failed accept (too many open files), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How a mock is set up.
#[derive(Debug, Clone)]
pub struct MockConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Its name in the log and in `/health`.
    pub name: String,
    /// File that gets one JSON line per request (appended).
    pub log: Option<PathBuf>,
    /// Where `mock-fixture=` finds its files.
    pub fixtures_dir: Option<PathBuf>,
    /// Whose habits answers follow unless a request says otherwise.
    pub manner: Manner,
    /// What requests ask for if they do not say otherwise, for example
    /// `Fault::from_model("mock-cost=0.0123-cap=max_tokens")`.
    pub habits: Fault,
    /// What models cost, by the name that arrives; `*` is the price of all others, without it
    /// [`Price::default`].
    pub prices: BTreeMap<String, Price>,
    /// How many requests are kept for [`Upstream::requests`]; 0 (and no log) = load runs, where
    /// a repeated request is answered from memory.
    pub requests_max: usize,
}

impl Default for MockConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            name: "mock".to_owned(),
            log: None,
            fixtures_dir: None,
            manner: Manner::default(),
            habits: Fault::default(),
            prices: BTreeMap::new(),
            requests_max: REQUESTS_KEPT,
        }
    }
}

/// A running mock provider.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens.
    pub addr: SocketAddr,
    book: Arc<Book>,
    bill: Arc<Bill>,
    connections: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    accepting: Option<JoinHandle<()>>,
}

impl Upstream {
    /// Binds and serves on the current tokio runtime.
    pub async fn start(config: MockConfig) -> io::Result<Self> {
        let book = Arc::new(Book::open(&config.name, config.requests_max, config.log.as_deref())?);
        let bill = Arc::new(Bill::new(!book.is_blind()));
        let listener = TcpListener::bind(config.listen).await?;
        let addr = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let connections = Arc::new(AtomicU64::new(0));
        let desk = Arc::new(Desk::new(config, Arc::clone(&book), Arc::clone(&bill)));
        let accepting = tokio::spawn(accept(listener, desk, Arc::clone(&connections), stopped));
        Ok(Self { addr, book, bill, connections, stop, accepting: Some(accepting) })
    }

    /// `http://<addr>/v1`, ready for a configuration.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// What has arrived, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.book.requests()
    }

    /// Forgets what has arrived.
    pub fn clear(&self) {
        self.book.clear();
    }

    /// Waits until a request fulfils the condition, at most for `time`.
    pub async fn wait_for(&self, time: Duration, wanted: impl Fn(&Seen) -> bool) -> Option<Seen> {
        self.book.wait_for(time, wanted).await
    }

    /// The lines of the bill, oldest first: the newest 20,000, none in load runs.
    pub fn bill(&self) -> Vec<BillLine> {
        self.bill.lines()
    }

    /// The sum of the bill since the start or the last reset, in nano-dollars.
    pub fn bill_total(&self) -> i64 {
        self.bill.total_nano()
    }

    /// Forgets the bill; requests under way are forgotten as well.
    pub fn reset_bill(&self) {
        self.bill.reset();
    }

    /// Waits until the lines of the bill fulfil the condition, at most for `time`; false if they
    /// never did.
    pub async fn wait_for_bill(
        &self,
        time: Duration,
        wanted: impl Fn(&[BillLine]) -> bool,
    ) -> bool {
        self.bill.wait_for(time, wanted).await
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Stops accepting, lets answers under way end (5 s at most), closes.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        if let Some(mut accepting) = self.accepting.take()
            && tokio::time::timeout(SHUTDOWN_WAIT, &mut accepting).await.is_err()
        {
            accepting.abort();
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }
}

/// Serves until SIGINT or SIGTERM, on a runtime of its own with one thread.
pub fn run(config: MockConfig, on_ready: impl FnOnce(SocketAddr)) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let upstream = Upstream::start(config).await?;
        on_ready(upstream.addr);
        tokio::select! {
            _ = terminate.recv() => {}
            result = tokio::signal::ctrl_c() => result?,
        }
        upstream.shutdown().await;
        Ok(())
    })
}

async fn accept(
    listener: TcpListener,
    desk: Arc<Desk>,
    count: Arc<AtomicU64>,
    mut stopped: watch::Receiver<bool>,
) {
    // Dropping the set ends every connection with this task.
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                    open.spawn(serve(stream, number, Arc::clone(&desk), stopped.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = open.join_next() => {}
            _ = stopped.changed() => break,
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn serve(
    stream: TcpStream,
    number: u64,
    desk: Arc<Desk>,
    mut stopped: watch::Receiver<bool>,
) {
    // A socket that refuses the option still works, only slower.
    let _ = stream.set_nodelay(true);
    let tap = Arc::new(Tap::default());
    let connection = Arc::new(Connection::new(number, Arc::clone(&tap)));
    let io = TokioIo::new(Socket::new(stream, tap));
    let service = service_fn(move |request| {
        let (desk, connection) = (Arc::clone(&desk), Arc::clone(&connection));
        async move { desk.answer(&connection, request).await }
    });
    let mut serving = std::pin::pin!(http1::Builder::new().serve_connection(io, service));
    // Errors here are peers that left and breaks that were asked for.
    tokio::select! {
        _ = serving.as_mut() => {}
        _ = stopped.changed() => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}
