//! The end of a stop's grace: what is still open then ends in words. Stops that nobody has to be cut for are the
//! subject of `reload`.

use loadtest::upstream::server::Upstream;
use tokio::net::TcpStream;

use crate::client::{Answer, Ask, Line, Piece};
use crate::gateway::{Gateway, SOON, Setup, wait_until};
use crate::http2_client::Wire;
use crate::provider::{mock, openai};
use crate::streaming::{asks, check_error_event, start, until_it_stops_reading};

const SILENT: &str = "mock-stall=3";
const FLOWING: &str = "mock-chunks=100000-interval=250";
const LATE: &str = "mock-latency=600000";

/// Every request has its line, and all of them say this of it.
fn check_lines(gateway: &Gateway, count: usize, wanted: &[(&str, serde_json::Value)]) {
    let lines = gateway.lines();
    assert_eq!(lines.len(), count, "every request has its line: {lines:#?}");
    for line in lines {
        for (key, value) in wanted {
            assert_eq!(&line[*key], value, "{key}: {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_still_open_end_in_an_error_event_of_the_dialect() {
    for grace in ["grace_seconds: 0, h2c: true", "grace_seconds: 3, h2c: true"] {
        let (up, mut gateway) = start(", idle_timeout_ms: 600000", grace).await;
        let mut open = Vec::new();
        for (at, ask) in
            asks(SILENT).into_iter().enumerate().chain(asks(FLOWING).into_iter().enumerate())
        {
            let mut line = Line::open(gateway.data).await.unwrap();
            let head = line.begin(&ask).await.unwrap();
            assert!(matches!(line.piece().await, Piece::Bytes(_)));
            open.push((at, line, head));
        }
        let wire = Wire::over(TcpStream::connect(gateway.data).await.unwrap()).await.unwrap();
        let mut call = wire.begin(&Ask::chat(SILENT, true)).await.unwrap();
        assert!(matches!(call.piece().await, Piece::Bytes(_)));
        gateway.signal("TERM");
        for (at, mut line, head) in open {
            check_error_event(at, &line.rest(head).await, "draining");
        }
        check_error_event(0, &call.rest().await, "draining");
        assert_eq!(gateway.exit_code(SOON).await, Some(0));
        check_lines(
            &gateway,
            7,
            &[
                ("end", "cut".into()),
                ("ok", false.into()),
                ("fault", "draining".into()),
                ("usage_source", "estimated".into()),
            ],
        );
        assert_eq!(up.requests().len(), 7, "nothing is tried again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_still_waits_for_a_provider_is_refused() {
    let (up, mut gateway) = start(", first_byte_timeout_ms: 600000", "grace_seconds: 2").await;
    let mut waiting = Vec::new();
    for ask in [Ask::chat(LATE, false), Ask::chat(LATE, true), Ask::messages(LATE, false)] {
        let mut line = Line::open(gateway.data).await.unwrap();
        line.send(&ask.to_bytes()).await;
        waiting.push(line);
    }
    all_arrived(&up, 3).await;
    gateway.signal("TERM");
    let mut answers: Vec<Answer> = Vec::new();
    for mut line in waiting {
        answers.push(line.answer().await.unwrap());
    }
    for answer in &answers {
        assert_eq!((answer.status, answer.whole), (503, true), "{}", answer.text());
        assert_eq!(answer.header("retry-after"), "1");
    }
    assert_eq!((&*answers[0].openai_code(), &*answers[1].openai_code()), ("draining", "draining"));
    assert_eq!(answers[2].anthropic_type(), "overloaded_error");
    assert_eq!(gateway.exit_code(SOON).await, Some(0));
    let told = [("end", "local".into()), ("fault", "draining".into()), ("status", 503.into())];
    check_lines(&gateway, 3, &told);
}

/// Waits until the mock has read so many requests.
async fn all_arrived(up: &Upstream, count: usize) {
    wait_until("the provider has the requests", || async {
        up.requests().iter().filter(|seen| seen.body_bytes > 0).count() == count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_provider_is_asked_for_what_a_stop_ends() {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}models:\n  - {{id: x, provider: up, upstream_id: {LATE}}}\n  \
         - {{id: y, provider: up}}\nrouting: {{fallbacks: {{x: [y]}}}}\n",
        openai("up", up.addr, ", first_byte_timeout_ms: 600000")
    );
    let mut gateway = Setup::new(yaml).server("grace_seconds: 1").start().await;
    let mut line = Line::open(gateway.data).await.unwrap();
    line.send(&Ask::chat("x", true).to_bytes()).await;
    all_arrived(&up, 1).await;
    gateway.signal("TERM");
    assert_eq!(line.answer().await.unwrap().status, 503);
    assert_eq!(gateway.exit_code(SOON).await, Some(0));
    assert_eq!(up.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_does_not_keep_the_process() {
    let (_up, mut gateway) = start("", "grace_seconds: 1").await;
    let mut line = Line::open_narrow(gateway.data).await.unwrap();
    let head = line.begin(&Ask::chat("mock-chunks=3000-bytes=25165824", true)).await.unwrap();
    until_it_stops_reading(&gateway).await;
    gateway.signal("TERM");
    assert_eq!(gateway.exit_code(SOON).await, Some(0));
    assert!(!line.rest(head).await.whole, "the client can tell that it was cut");
    // What was consumed is booked.
    check_lines(&gateway, 1, &[("end", "dropped".into()), ("usage_source", "estimated".into())]);
}
