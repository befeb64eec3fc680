//! A clock that jumps, over the end of a day, of an hour, of summer time, and back: every stream is booked in
//! the period that admitted it, and no jump gives a budget twice.
//!
//! The process is the gateway itself with another clock than the system's: this test binary, started as
//! `steered_gateway`. What the calendar says of any day is tested in `ledger::period`.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use loadtest::upstream::bill::BillLine;
use loadtest::upstream::server::Upstream;
use rusqlite::{Connection, OpenFlags};
use weir::app::{self, Start};
use weir::engine::clock::{Clock, SystemClock};

use crate::budget::admin;
use crate::budget_crash::{dice, ledger, limbo, said};
use crate::client::{Answer, Ask, Line, Piece};
use crate::gateway::{Gateway, SOON, Setup, wait_until};
use crate::provider::{mock, openai};

/// The variable with what is added to the system's clock at first, in milliseconds.
const AHEAD: &str = "WEIR_IT_CLOCK_AHEAD_MS";
/// The file with what is added from then on.
const AHEAD_FILE: &str = "ahead_ms";
/// What a request is held at: 1,000 tokens at 1 USD per million.
const HELD_NANO: i64 = 1_000_000;
/// What it comes to: 50 tokens.
const COST_NANO: i64 = 50_000;
const HOUR_MS: i64 = 3_600_000;

/// The system's clock, and what a test adds to it.
struct Steered(i64);

impl Clock for Steered {
    fn unix_ms(&self) -> i64 {
        let told = fs::read_to_string(AHEAD_FILE).ok();
        let ahead = told.and_then(|text| text.parse().ok()).unwrap_or(self.0);
        SystemClock.unix_ms() + ahead
    }
}

/// Not a test but the process that the tests below start.
#[test]
#[ignore = "runs a gateway until it is told to end"]
fn steered_gateway() {
    let Some(ahead) = std::env::var(AHEAD).ok().and_then(|text| text.parse().ok()) else { return };
    let start = Start { clock: Arc::new(Steered(ahead)), ..Start::new(false, false) };
    let refused = app::serve(PathBuf::from("weir.yaml"), start);
    panic!("it does not run: {refused:?}");
}

/// Milliseconds of an instant since the Unix epoch.
fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

/// How far ahead of the system's clock that instant is now.
fn ahead_of(unix_ms: i64) -> String {
    (unix_ms - SystemClock.unix_ms()).to_string()
}

/// Puts the gateway's clock to that instant.
pub fn set(gateway: &Gateway, unix_ms: i64) {
    // Moved into place, so that the gateway never reads half a number.
    let new = gateway.folder.join("ahead_ms.new");
    fs::write(&new, ahead_of(unix_ms)).unwrap();
    fs::rename(new, gateway.folder.join(AHEAD_FILE)).unwrap();
}

/// A gateway at that instant, with one agent for each period; each has room for three requests at a time.
async fn start(unix_ms: i64) -> (Gateway, Upstream) {
    let up = mock("up").await;
    let model = |id: &str, faults: &str| {
        format!(
            "  - {{id: {id}, provider: up, upstream_id: 'mock-price=0:1-chunks=50{faults}', price: {{input: 0, \
             output: 1}}, context_tokens: 100000}}\n"
        )
    };
    let agent = |period: &str| {
        format!(
            "  {period}: {{budget: {{limit_usd: 0.003, period: {period}, timezone: Europe/Berlin}}}}\n"
        )
    };
    let yaml = format!(
        "providers:\n{}models:\n{}{}agents:\n  default: {{}}\n{}{}{}{}",
        openai("up", up.addr, ""),
        model("quick", ""),
        model("slow", "-interval=20"),
        agent("hourly"),
        agent("daily"),
        agent("weekly"),
        agent("monthly"),
    );
    (steered(Setup::new(yaml), unix_ms).start().await, up)
}

/// The same gateway with a clock that `set` turns, at that instant at first.
pub fn steered(setup: Setup, unix_ms: i64) -> Setup {
    let line = r#"exec "$0" --exact budget_clock::steered_gateway --ignored --nocapture"#;
    let this = std::env::current_exe().unwrap();
    let setup = setup.program("sh", &["-c", line, this.to_str().unwrap()]);
    setup.env(AHEAD, ahead_of(unix_ms))
}

fn chat(agent: &str, model: &str) -> Ask {
    let stream = model == "slow";
    let body = format!(
        r#"{{"model":"{model}","stream":{stream},"max_tokens":1000,"messages":[{{"role":"user","content":"hi"}}]}}"#
    );
    Ask::post("/v1/chat/completions", body).header("x-agent-id", agent)
}

async fn status(gateway: &Gateway, agent: &str) -> u16 {
    gateway.ask(chat(agent, "quick")).await.status
}

/// A stream that is under way.
struct Running(Line, Answer);

async fn begin(gateway: &Gateway, agent: &str) -> Running {
    let mut line = Line::open(gateway.data).await.unwrap();
    let begun = line.begin(&chat(agent, "slow")).await.unwrap();
    assert_eq!(begun.status, 200, "{}", begun.text());
    assert!(matches!(line.piece().await, Piece::Bytes(_)));
    Running(line, begun)
}

async fn end(running: Vec<Running>) {
    for Running(mut line, begun) in running {
        assert!(line.rest(begun).await.text().ends_with("data: [DONE]\n\n"));
    }
}

async fn none_held(gateway: &Gateway) {
    wait_until("nothing is held", || async {
        let all = admin(gateway, Ask::get("/api/spend")).await.text();
        !all.is_empty() && periods(gateway, "%").iter().all(|period| period.held == 0)
    })
    .await;
}

#[derive(Debug, PartialEq, Eq)]
struct Period {
    start_ms: i64,
    end_ms: i64,
    cap: Option<i64>,
    spent: i64,
    held: i64,
}

/// The periods of those agents that anything was booked in, as the file has them.
fn periods(gateway: &Gateway, agent: &str) -> Vec<Period> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = Connection::open_with_flags(gateway.folder.join("weir.db"), flags).unwrap();
    let mut rows = conn
        .prepare(
            "SELECT start_ms, end_ms, cap, spent, held FROM period JOIN account ON account.id = account \
             WHERE key LIKE 'agent:' || ? AND spent + held <> 0 ORDER BY start_ms",
        )
        .unwrap();
    let period = |row: &rusqlite::Row<'_>| {
        let (start_ms, end_ms) = (row.get(0)?, row.get(1)?);
        Ok(Period { start_ms, end_ms, cap: row.get(2)?, spent: row.get(3)?, held: row.get(4)? })
    };
    rows.query_map([agent], period).unwrap().map(Result::unwrap).collect()
}

/// Start, hours and spend of each period.
fn shape(gateway: &Gateway, agent: &str) -> Vec<(i64, i64, i64)> {
    let hours = |period: &Period| (period.end_ms - period.start_ms) / HOUR_MS;
    let all = periods(gateway, agent);
    all.iter().map(|period| (period.start_ms, hours(period), period.spent)).collect()
}

async fn billed(up: &Upstream) -> i64 {
    let ended = |lines: &[BillLine]| lines.iter().all(|line| line.ended);
    assert!(up.wait_for_bill(SOON, ended).await);
    up.bill_total()
}

fn verified(gateway: &Gateway) {
    let checked = ledger(&gateway.folder, &["verify"]);
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
}

/// Three streams fill the day; the day ends while they run, and the next one, whose length is given, is filled
/// as well. A clock that is set back gives neither of them again.
async fn over_midnight(eve: &str, day: &str, hours: i64) {
    let (eve, day) = (at(eve), at(day));
    let (gateway, up) = start(day - 30_000).await;
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(begin(&gateway, "daily").await);
    }
    assert_eq!(status(&gateway, "daily").await, 402, "the day is full");
    set(&gateway, day + 30_000);
    for _ in 0..3 {
        running.push(begin(&gateway, "daily").await);
    }
    assert_eq!(status(&gateway, "daily").await, 402, "the next day is full");
    for back in [day - 30_000, day - HOUR_MS, eve, day - 40 * 24 * HOUR_MS] {
        set(&gateway, back);
        assert_eq!(status(&gateway, "daily").await, 402, "a day came back");
    }
    // Over the hour that is left out, or comes twice.
    for minutes in [119, 121, 179, 181] {
        set(&gateway, day + minutes * 60_000);
        assert_eq!(status(&gateway, "daily").await, 402, "summer time is no new day");
    }
    end(running).await;
    none_held(&gateway).await;
    let length = (day - eve) / HOUR_MS;
    assert_eq!(
        shape(&gateway, "daily"),
        [(eve, length, 3 * COST_NANO), (day, hours, 3 * COST_NANO)]
    );
    set(&gateway, day + hours * HOUR_MS - 5_000);
    let last = begin(&gateway, "daily").await;
    set(&gateway, day + hours * HOUR_MS + 1);
    end(vec![last, begin(&gateway, "daily").await]).await;
    none_held(&gateway).await;
    let found = shape(&gateway, "daily");
    assert_eq!(
        (found[1].2, found[2].0, found[2].2),
        (4 * COST_NANO, day + hours * HOUR_MS, COST_NANO)
    );
    assert_eq!(billed(&up).await, 8 * COST_NANO);
    verified(&gateway);
}

#[tokio::test]
async fn streams_over_midnight_before_summer_time() {
    over_midnight("2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z", 23).await;
}

#[tokio::test]
async fn streams_over_midnight_before_winter_time() {
    over_midnight("2026-10-23T22:00:00Z", "2026-10-24T22:00:00Z", 25).await;
}

#[tokio::test]
async fn a_restart_with_a_clock_that_was_set_back_gives_no_budget_again() {
    let hour = at("2026-05-05T10:00:00Z");
    let (gateway, up) = start(hour + HOUR_MS / 2).await;
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(begin(&gateway, "hourly").await);
    }
    assert_eq!(status(&gateway, "hourly").await, 402);
    set(&gateway, hour - HOUR_MS / 2);
    assert_eq!(status(&gateway, "hourly").await, 402);
    // What dies here was held in the hour that admitted it, and stays there.
    let gateway = gateway.killed_and_started().await;
    drop(running);
    wait_until("what the dead process held is in limbo", || async {
        limbo(&gateway).await == (3, 3 * HELD_NANO)
    })
    .await;
    assert_eq!(status(&gateway, "hourly").await, 402);
    set(&gateway, hour + HOUR_MS + 1);
    assert_eq!(status(&gateway, "hourly").await, 200);
    none_held(&gateway).await;
    let now = (hour + HOUR_MS, 1, COST_NANO);
    assert_eq!(shape(&gateway, "hourly"), [(hour, 1, 3 * HELD_NANO), now]);
    assert!(billed(&up).await <= 3 * HELD_NANO + COST_NANO);
    verified(&gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jumps_under_load_lose_nothing_and_exceed_nothing() {
    let mut now = at("2026-10-24T20:30:00Z");
    let (gateway, up) = start(now).await;
    let mut seed = 0x5EED_0005_usize;
    let mut running = Vec::new();
    let mut served = 0;
    for _ in 0..40 {
        for agent in ["hourly", "daily", "weekly", "monthly"] {
            served += i64::from(status(&gateway, agent).await == 200);
            let mut line = Line::open(gateway.data).await.unwrap();
            let begun = line.begin(&chat(agent, "slow")).await.unwrap();
            if begun.status == 200 {
                served += 1;
                running.push(Running(line, begun));
            }
        }
        let step = [HOUR_MS, -HOUR_MS, 90_000, 5 * HOUR_MS, -26 * HOUR_MS, 24 * HOUR_MS];
        now += step[dice(&mut seed, step.len())];
        set(&gateway, now);
    }
    end(running).await;
    none_held(&gateway).await;
    let all = periods(&gateway, "%");
    assert!(all.len() > 8, "too few periods to tell: {all:?}");
    assert!(all.iter().all(|period| period.cap.is_some_and(|cap| period.spent <= cap)), "{all:?}");
    let spent: i64 = all.iter().map(|period| period.spent).sum();
    assert_eq!((spent, billed(&up).await), (served * COST_NANO, served * COST_NANO));
    for agent in ["hourly", "daily", "weekly", "monthly"] {
        let own = periods(&gateway, agent);
        assert!(own.is_sorted_by(|one, next| one.end_ms <= next.start_ms), "{agent}: {own:?}");
    }
    verified(&gateway);
}
