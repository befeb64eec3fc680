//! The load client against the mock: what it counts, and that it notices what is not right.

#![allow(clippy::unwrap_used, reason = "the whole file is tests; the lint knows only functions")]

use std::collections::BTreeMap;

use bytes::Bytes;
use loadtest::budget::{self, Burst};
use loadtest::client::{self, Kind, Shot};
use loadtest::idle;
use loadtest::upstream::server::{MockConfig, Upstream};

async fn mock() -> Upstream {
    Upstream::start(MockConfig::default()).await.unwrap()
}

fn shot(mock: &Upstream, model: &str, kind: Kind) -> Shot {
    let stream = kind == Kind::Sse;
    let body = format!(r#"{{"model":"{model}","stream":{stream},"messages":[]}}"#);
    Shot {
        addr: mock.addr,
        path: "/v1/chat/completions".to_owned(),
        headers: Vec::new(),
        body: Bytes::from(body),
        kind,
    }
}

#[tokio::test]
async fn unary_runs_reuse_their_connections() {
    let mock = mock().await;
    let tally = client::run(shot(&mock, "mock-model", Kind::Unary), 3, 50).await;
    assert_eq!((tally.done, tally.failed), (50, 0));
    assert_eq!(tally.total_us.len(), 50);
    assert_eq!(mock.connections(), 3);
}

#[tokio::test]
async fn streams_are_counted_and_verified() {
    let mock = mock().await;
    let tally = client::run(shot(&mock, "mock-chunks=10", Kind::Sse), 2, 6).await;
    // Role, ten chunks, finish, [DONE].
    assert_eq!((tally.done, tally.failed, tally.events), (6, 0, 6 * 13));
    for model in ["mock-cut=3", "mock-cleancut=3", "mock-error=1", "mock-503"] {
        let tally = client::run(shot(&mock, model, Kind::Sse), 1, 2).await;
        assert_eq!((tally.done, tally.failed), (0, 2), "{model}");
        assert!(tally.failure.is_some());
    }
}

#[tokio::test]
async fn idle_streams_are_all_open_at_once() {
    let mock = mock().await;
    let slow = shot(&mock, "mock-chunks=6-interval=50", Kind::Sse);
    let report = idle::run(slow, 40, std::process::id()).await.unwrap();
    assert_eq!((report.open, report.tally.done, report.tally.failed), (40, 40, 0));
    assert!(report.rss_open_kib > 0);
}

#[tokio::test]
async fn a_burst_is_counted_by_status_beside_the_bill() {
    let mock = mock().await;
    let burst = |model: &str| Burst {
        addr: mock.addr,
        path: "/v1/chat/completions".to_owned(),
        headers: vec![("authorization".to_owned(), "Bearer key".to_owned())],
        body: Bytes::from(format!(r#"{{"model":"{model}","messages":[]}}"#)),
    };
    let outcome = budget::run(burst("mock-fail=7-402"), 8, 30).await;
    assert_eq!((outcome.statuses, outcome.broken), (BTreeMap::from([(200, 23), (402, 7)]), 0));
    let outcome = budget::run(burst("mock-nohead-bill=none"), 2, 3).await;
    assert_eq!((outcome.statuses.len(), outcome.broken), (0, 3));
    let bill = budget::bill(mock.addr).await.unwrap();
    assert_eq!(bill["total_nano_usd"], 23 * (1_000 + 4 * 2_000));
    assert_eq!(bill["count"], 33);
}
