//! A burst of parallel requests against a budget: answers by status, beside the provider's bill.
//!
//! It judges nothing: how many answers there must be is known to whoever set the budget.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::fetch::{Ask, fetch};

/// The request that is sent over and over, each on a connection of its own.
#[derive(Debug, Clone)]
pub struct Burst {
    /// The gateway.
    pub addr: SocketAddr,
    /// Path and query.
    pub path: String,
    /// Headers besides host and content type.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// What came of a burst.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Answers read to their end, by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without a whole answer.
    pub broken: u64,
}

impl Outcome {
    fn add(&mut self, other: &Self) {
        self.broken += other.broken;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
    }

    /// As one object.
    pub fn to_json(&self) -> Value {
        let statuses: BTreeMap<String, u64> =
            self.statuses.iter().map(|(status, count)| (status.to_string(), *count)).collect();
        json!({"statuses": statuses, "broken": self.broken})
    }
}

/// Sends `requests`, `parallel` of them at a time, and counts the answers.
pub async fn run(burst: Burst, parallel: usize, requests: u64) -> Outcome {
    let burst = Arc::new(burst);
    let left = Arc::new(AtomicU64::new(requests));
    let mut workers = JoinSet::new();
    for _ in 0..parallel {
        workers.spawn(worker(Arc::clone(&burst), Arc::clone(&left)));
    }
    let mut outcome = Outcome::default();
    while let Some(part) = workers.join_next().await {
        outcome.add(&part.unwrap_or_default());
    }
    outcome
}

async fn worker(burst: Arc<Burst>, left: Arc<AtomicU64>) -> Outcome {
    let mut outcome = Outcome::default();
    let headers: Vec<(&str, &str)> =
        burst.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let take = |left: u64| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        let (addr, path, body) = (burst.addr, burst.path.as_str(), burst.body.as_ref());
        match fetch(Ask { addr, method: "POST", path, headers: &headers, body }).await {
            Ok(answer) => *outcome.statuses.entry(answer.status).or_default() += 1,
            Err(_) => outcome.broken += 1,
        }
    }
    outcome
}

/// The bill of the mock at this address: `total_nano_usd`, `count` and `lines`.
///
/// # Errors
/// No mock there, or an answer that is no bill.
pub async fn bill(mock: SocketAddr) -> io::Result<Value> {
    let path = "/mock/bill";
    let answer = fetch(Ask { addr: mock, method: "GET", path, headers: &[], body: b"" }).await?;
    let bill = answer.json();
    if bill["total_nano_usd"].is_i64() { Ok(bill) } else { Err(io::ErrorKind::InvalidData.into()) }
}
