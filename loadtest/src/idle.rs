//! Many slow streams at once: how much memory a proxy keeps per open stream.
//!
//! All streams are opened, the proxy is measured while every one of them has had its first byte
//! and none has ended, then all are read to their end and verified.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::client::{Hit, Shot, connect, finish, request};
use crate::process::rss_kib;
use crate::report::Tally;

/// Connections being opened at once: below the usual listen backlog.
const OPENING_MAX: usize = 64;
/// Longest wait until all streams are open.
const OPEN_TIME_MAX: Duration = Duration::from_mins(1);

/// What open streams cost.
#[derive(Debug, Clone, Default)]
pub struct IdleReport {
    /// How the streams went.
    pub tally: Tally,
    /// Resident KiB before the first stream.
    pub rss_before_kib: u64,
    /// Resident KiB with all streams open.
    pub rss_open_kib: u64,
    /// Streams open when that was read.
    pub open: u64,
}

impl IdleReport {
    /// KiB per open stream.
    pub fn kib_per_stream(&self) -> u64 {
        self.rss_open_kib.saturating_sub(self.rss_before_kib).checked_div(self.open).unwrap_or(0)
    }
}

struct Gate {
    opening: Semaphore,
    open: AtomicUsize,
    changed: Notify,
}

/// Opens `streams` and measures the process `pid` (the proxy) while they are open.
pub async fn run(shot: Shot, streams: usize, pid: u32) -> io::Result<IdleReport> {
    let rss_before_kib = rss_kib(pid)?;
    let start = Instant::now();
    let gate = Arc::new(Gate {
        opening: Semaphore::new(OPENING_MAX),
        open: AtomicUsize::new(0),
        changed: Notify::new(),
    });
    let shot = Arc::new(shot);
    let mut readers = JoinSet::new();
    for _ in 0..streams {
        readers.spawn(stream(Arc::clone(&shot), Arc::clone(&gate)));
    }
    // A stream that fails never opens: then the count below tells.
    let _ = tokio::time::timeout(OPEN_TIME_MAX, all_open(&gate, streams)).await;
    let open = gate.open.load(Ordering::Acquire) as u64;
    let rss_open_kib = rss_kib(pid)?;
    let mut tally = Tally::default();
    while let Some(read) = readers.join_next().await {
        match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(hit) => tally.hit(hit.total, hit.first_byte, hit.events),
            Err(error) => {
                tally.failed += 1;
                tally.failure.get_or_insert(error.to_string());
            }
        }
    }
    tally.elapsed = start.elapsed();
    Ok(IdleReport { tally, rss_before_kib, rss_open_kib, open })
}

async fn all_open(gate: &Gate, streams: usize) {
    loop {
        let changed = gate.changed.notified();
        if gate.open.load(Ordering::Acquire) >= streams {
            return;
        }
        changed.await;
    }
}

async fn stream(shot: Arc<Shot>, gate: Arc<Gate>) -> io::Result<Hit> {
    let permit = gate.opening.acquire().await.map_err(io::Error::other)?;
    let mut sender = connect(shot.addr).await?;
    let start = Instant::now();
    let response = sender.send_request(request(&shot)?).await.map_err(io::Error::other)?;
    drop(permit);
    let opened = || {
        gate.open.fetch_add(1, Ordering::AcqRel);
        gate.changed.notify_one();
    };
    finish(response, shot.kind, start, opened).await
}
