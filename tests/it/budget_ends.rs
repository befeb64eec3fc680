//! What each end of an attempt is booked at, with a hard cap and without one: the table of budgets.md
//! section 2.5, row by row, against the bill that the mock provider keeps for itself.
//!
//! What may be spent at all is in `budget` and `budget_rules`; a process that dies is in `budget_crash`.

use std::fmt::Write;
use std::time::Duration;

use loadtest::upstream::manner::Manner;
use loadtest::upstream::server::{MockConfig, Upstream};

use crate::budget::{admin, nano};
use crate::client::{Answer, Ask, Line, Piece};
use crate::gateway::{Gateway, SOON, Setup, free_port, wait_until};
use crate::provider::{mock, openai};

/// What an end is booked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Booked {
    /// The bill, to the nano-dollar.
    Exact,
    /// Nothing, and the bill says the same.
    Nothing,
    /// With a hard cap all that was held, which covers the bill and lies in limbo; else an estimate.
    Open,
}

use Booked::{Exact, Nothing, Open};

/// One row: its name, the provider, what the mock is asked for, whether it streams, the status of the
/// answer, and what is booked.
type Row = (&'static str, &'static str, &'static str, bool, u16, Booked);

const ROWS: [Row; 19] = [
    ("whole", "up", "chunks=20", false, 200, Exact),
    ("streamed", "up", "chunks=20", true, 200, Exact),
    ("reasoning", "up", "chunks=20-reasoning=70", true, 200, Exact),
    ("cached", "up", "cached=3-usage=every", true, 200, Exact),
    ("named", "up", "cost=0.000123", false, 200, Exact),
    ("refused", "gone", "chunks=20", false, 502, Nothing),
    ("bad-request", "up", "400", false, 400, Nothing),
    ("too-many", "up", "429", true, 429, Nothing),
    ("down", "up", "503", false, 503, Nothing),
    ("inside", "up", "inside=500", false, 200, Nothing),
    ("inside-billed", "up", "billerror-inside=500", false, 200, Exact),
    ("no-head", "up", "nohead", false, 502, Open),
    ("hung", "hasty", "hang", false, 504, Open),
    ("silent", "up", "chunks=20-usage=none", false, 200, Open),
    ("silent-stream", "up", "chunks=20-usage=none", true, 200, Open),
    ("cut", "up", "chunks=20-cut=5", true, 200, Open),
    ("reset", "up", "chunks=20-reset=5", true, 200, Open),
    ("clean-cut", "up", "chunks=20-cleancut=5", true, 200, Open),
    ("error-event", "up", "chunks=20-error=5", true, 200, Open),
];

fn model(id: &str, provider: &str, upstream_id: &str) -> String {
    format!(
        "  - {{id: {id}, provider: {provider}, upstream_id: '{upstream_id}', price: {{input: 1, output: 2}}, \
         context_tokens: 100000, output_tokens_max: 1000}}\n"
    )
}

fn agent(id: &str, hard: bool) -> String {
    format!("  {id}: {{budget: {{limit_usd: 1, hard_cap: {hard}}}}}\n")
}

/// A gateway where each of those models has an agent of the same name.
async fn start(server: &str, models: &[(String, &str, String, bool)]) -> (Gateway, Upstream) {
    let up = mock("up").await;
    let mut yaml = format!(
        "providers:\n{}{}{}models:\n",
        openai("up", up.addr, ""),
        openai("hasty", up.addr, ", first_byte_timeout_ms: 300"),
        openai("gone", free_port(), "")
    );
    let mut agents = String::new();
    for (id, provider, faults, hard) in models {
        // The key of the fault grammar makes the names differ; it means nothing here.
        yaml += &model(id, provider, &format!("mock-price=1:2-{faults}-key={}", key(id)));
        agents += &agent(id, *hard);
    }
    write!(yaml, "routing: {{cooldown_ms: 0}}\nagents:\n  default: {{}}\n{agents}").unwrap();
    (Setup::new(yaml).server(server).start().await, up)
}

/// An id without what separates items of the mock's grammar.
fn key(id: &str) -> String {
    id.replace('-', "")
}

fn ask(id: &str, stream: bool) -> Ask {
    Ask::chat(id, stream).header("x-agent-id", id)
}

/// What the mock bills for that model.
fn bill(up: &Upstream, id: &str) -> i64 {
    let end = format!("-key={}", key(id));
    up.bill().iter().filter(|line| line.model.ends_with(&end)).map(|line| line.cost_nano).sum()
}

/// What an agent has spent, once nothing of it is held any more.
async fn settled(gateway: &Gateway, agent: &str) -> i64 {
    let path = format!("/api/spend/{agent}");
    let standing = || async { admin(gateway, Ask::get(&path)).await.text() };
    wait_until("everything is settled", || async { nano(&standing().await, "budget_held") == 0 })
        .await;
    nano(&standing().await, "budget_spent")
}

/// What lies in limbo for an agent; what has not been written down yet is not among it.
async fn limbo(gateway: &Gateway, agent: &str) -> i64 {
    let listed = admin(gateway, Ask::get("/api/limbo")).await.text();
    let of_agent = format!("\"agent_id\":\"{agent}\"");
    listed
        .split("{\"hold\"")
        .filter(|hold| hold.contains(&of_agent))
        .map(|hold| nano(hold, "held"))
        .sum()
}

/// The same, as soon as it is so many holds.
async fn limbo_of(gateway: &Gateway, agent: &str, holds: usize) -> i64 {
    let of_agent = format!("\"agent_id\":\"{agent}\"");
    wait_until("so many holds are in limbo", || async {
        let listed = admin(gateway, Ask::get("/api/limbo")).await.text();
        listed.matches(&of_agent).count() == holds
    })
    .await;
    limbo(gateway, agent).await
}

async fn compare(gateway: &Gateway, up: &Upstream, id: &str, (booked, hard): (Booked, bool)) {
    let spent = settled(gateway, id).await;
    if booked == Open && hard {
        wait_until("it is in limbo", || async { limbo(gateway, id).await >= spent }).await;
    }
    let (bill, open) = (bill(up, id), limbo(gateway, id).await);
    let seen = format!("{id}: spent {spent}, billed {bill}, in limbo {open}");
    match booked {
        Exact => assert!(spent == bill && bill > 0 && open == 0, "{seen}"),
        Nothing => assert!(spent == 0 && bill == 0 && open == 0, "{seen}"),
        Open if hard => assert!(spent == open && spent >= bill && bill > 0, "{seen}"),
        Open => assert!(spent > 0 && open == 0, "{seen}"),
    }
}

#[tokio::test]
async fn each_end_is_booked_as_the_table_says() {
    let both = [("strict", true), ("soft", false)];
    let models: Vec<_> = both
        .iter()
        .flat_map(|(kind, hard)| {
            ROWS.map(|(name, provider, faults, ..)| {
                (format!("{kind}-{name}"), provider, faults.to_owned(), *hard)
            })
        })
        .collect();
    let (gateway, up) = start("drain_ms: 5000", &models).await;
    for (kind, hard) in both {
        for (name, _, _, stream, status, booked) in ROWS {
            let id = format!("{kind}-{name}");
            let answer = gateway.ask(ask(&id, stream)).await;
            assert_eq!(answer.status, status, "{id}: {}", answer.text());
            gateway.line_of(&answer).await;
            compare(&gateway, &up, &id, (booked, hard)).await;
        }
    }
}

#[tokio::test]
async fn what_is_refused_before_it_is_sent_costs_nothing() {
    let (gateway, up) = start("drain_ms: 0", &[("m".into(), "up", "chunks=20".into(), true)]).await;
    let body = r#"{"budget_total":0.000001}"#;
    assert_eq!(admin(&gateway, Ask::post("/api/budget/m", body)).await.status, 200);
    let refused = gateway.ask(ask("m", false)).await;
    assert_eq!((refused.status, refused.openai_code().as_str()), (402, "budget_exhausted"));
    for ask in [
        Ask::post("/v1/chat/completions", "{\"model\":\"m\",").header("x-agent-id", "m"),
        Ask::chat("nobody-knows-it", false).header("x-agent-id", "m"),
    ] {
        assert!((400..500).contains(&gateway.ask(ask).await.status));
    }
    compare(&gateway, &up, "m", (Nothing, true)).await;
    assert!(up.requests().is_empty());
}

/// Begins a stream, reads a piece of it, and leaves.
async fn leave_early(gateway: &Gateway, id: &str) -> Answer {
    let mut line = Line::open(gateway.data).await.unwrap();
    let head = line.begin(&ask(id, true)).await.unwrap();
    assert_eq!(head.status, 200);
    assert!(matches!(line.piece().await, Piece::Bytes(_)));
    head
}

const LONG: &str = "chunks=40-interval=10";

#[tokio::test]
async fn a_stream_that_is_read_on_after_its_client_left_is_booked_exactly() {
    let models = [("strict", true), ("soft", false)];
    let models = models.map(|(id, hard)| (id.to_owned(), "up", LONG.to_owned(), hard));
    let (gateway, up) = start("drain_ms: 20000", &models).await;
    for (id, hard) in [("strict", true), ("soft", false)] {
        let head = leave_early(&gateway, id).await;
        gateway.line_of(&head).await;
        compare(&gateway, &up, id, (Exact, hard)).await;
    }
}

#[tokio::test]
async fn a_stream_that_is_given_up_with_its_client_is_booked_at_its_worst() {
    let models = [("strict", true), ("soft", false)];
    let models = models.map(|(id, hard)| (id.to_owned(), "up", LONG.to_owned(), hard));
    let (gateway, up) = start("drain_ms: 0", &models).await;
    for (id, hard) in [("strict", true), ("soft", false)] {
        let head = leave_early(&gateway, id).await;
        gateway.line_of(&head).await;
        compare(&gateway, &up, id, (Open, hard)).await;
    }
}

#[tokio::test]
async fn a_lost_attempt_is_held_at_its_worst_and_corrected_by_what_the_provider_tells_later() {
    let config = MockConfig { manner: Manner::OpenRouter, ..MockConfig::default() };
    let up = Upstream::start(config).await.unwrap();
    let mut yaml = format!(
        "providers:\n{}{}models:\n",
        openai("asked", up.addr, ", generation_lookup: true"),
        openai("silent", up.addr, "")
    );
    let mut agents = String::new();
    let ends = [("left", "asked"), ("left", "silent"), ("cut", "asked"), ("cut", "silent")];
    let ends = ends.map(|(end, by)| [(end, by, true), (end, by, false)]);
    let ends = ends.as_flattened();
    let name = |end: &str, by: &str, hard: bool| format!("{end}-{by}-{}", u8::from(hard));
    for (end, by, hard) in ends {
        let (id, faults) =
            (name(end, by, *hard), if *end == "left" { LONG } else { "chunks=20-cut=5" });
        yaml += &model(&id, by, &format!("mock-price=1:2-{faults}-key={}", key(&id)));
        agents += &agent(&id, *hard);
    }
    write!(yaml, "routing: {{cooldown_ms: 0}}\nagents:\n  default: {{}}\n{agents}").unwrap();
    let gateway = Setup::new(yaml).server("drain_ms: 0").start().await;
    for (end, by, hard) in ends {
        let id = name(end, by, *hard);
        let head = match *end {
            "left" => leave_early(&gateway, &id).await,
            _ => gateway.ask(ask(&id, true)).await,
        };
        gateway.line_of(&head).await;
        if *by == "silent" {
            compare(&gateway, &up, &id, (Open, *hard)).await;
            continue;
        }
        // The worst case is far above it, so this is no chance.
        wait_until("the attempt is looked up", || async {
            let (spent, bill) = (settled(&gateway, &id).await, bill(&up, &id));
            assert!(spent >= bill || !hard, "{id}: spent {spent}, billed {bill}");
            spent == bill && limbo(&gateway, &id).await == 0
        })
        .await;
        compare(&gateway, &up, &id, (Exact, true)).await;
    }
    // Nobody has asked about the others.
    for (end, by, hard) in ends.iter().filter(|(_, by, _)| *by == "silent") {
        compare(&gateway, &up, &name(end, by, *hard), (Open, *hard)).await;
    }
    assert!(verified(&gateway).contains("\"lookup\""));
}

/// The ledger beside the gateway is true; its entries.
fn verified(gateway: &Gateway) -> String {
    let ledger = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("ledger").args(args).current_dir(&gateway.folder);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    ledger(&["verify", "--file", "weir.db"]);
    ledger(&["export", "--file", "weir.db", "--all"])
}

#[tokio::test]
async fn a_client_that_leaves_before_the_status_has_the_worst_booked() {
    let models = [("strict", true), ("soft", false)];
    let models = models.map(|(id, hard)| (id.to_owned(), "up", "latency=60000".to_owned(), hard));
    let (gateway, up) = start("drain_ms: 5000", &models).await;
    for (at, (id, hard)) in [("strict", true), ("soft", false)].into_iter().enumerate() {
        let mut line = Line::open(gateway.data).await.unwrap();
        line.send(&ask(id, false).to_bytes()).await;
        assert!(up.wait_for_bill(SOON, |lines| lines.len() > at).await);
        drop(line);
        gateway.lines_when(at + 1).await;
        compare(&gateway, &up, id, (Open, hard)).await;
    }
}

/// 60 in place of the 1,000 of the plan, to stay quick.
#[tokio::test]
async fn cancelled_streams_never_cost_more_than_was_booked() {
    const STREAMS: usize = 60;
    for drain in ["drain_ms: 0", "drain_ms: 100", "drain_ms: 20000"] {
        let (gateway, up) = start(drain, &[("m".into(), "up", LONG.into(), true)]).await;
        let mut leaving = tokio::task::JoinSet::new();
        for at in 0..STREAMS {
            let address = gateway.data;
            leaving.spawn(async move {
                let mut line = Line::open(address).await.unwrap();
                line.send(&ask("m", true).to_bytes()).await;
                // Some leave before the head, some after so many pieces.
                if at % 4 > 0 {
                    line.head().await.unwrap();
                    for _ in 1..at % 4 {
                        line.piece().await;
                    }
                }
            });
        }
        leaving.join_all().await;
        gateway.lines_when(STREAMS).await;
        let (spent, billed) = (settled(&gateway, "m").await, up.bill_total());
        assert!(spent >= billed, "{drain}: spent {spent}, billed {billed}");
        wait_until("what is not exact is in limbo", || async {
            spent - limbo(&gateway, "m").await <= billed
        })
        .await;
    }
}

/// The chain of a model that fails after it has been paid for.
async fn chain(first: &str, hard: bool) -> (Gateway, Upstream) {
    let up = mock("up").await;
    let yaml = format!(
        "providers:\n{}models:\n{}{}routing: {{cooldown_ms: 0, fallbacks: {{first: [second]}}}}\nagents:\n  \
         default: {{}}\n{}",
        openai("up", up.addr, ""),
        model("first", "up", &format!("mock-price=1:2-{first}")),
        model("second", "up", "mock-price=1:2-chunks=7"),
        agent("a", hard)
    );
    (Setup::new(yaml).server("drain_ms: 5000").start().await, up)
}

#[tokio::test]
async fn a_failed_attempt_stays_booked_beside_the_one_that_answers() {
    for (first, stream, exact) in [
        ("billerror-inside=500", false, true),
        ("billerror-error=0", true, true),
        ("nohead", false, false),
        ("nohead", true, false),
    ] {
        let (gateway, up) = chain(first, true).await;
        let asked = Ask::chat("first", stream).header("x-agent-id", "a");
        let answer = gateway.ask(asked).await;
        assert_eq!(answer.header("x-gateway-model-used"), "second", "{first}: {}", answer.text());
        gateway.line_of(&answer).await;
        let spent = settled(&gateway, "a").await;
        let open = limbo_of(&gateway, "a", usize::from(!exact)).await;
        let lines = up.bill();
        assert_eq!(lines.len(), 2, "{first}: {lines:?}");
        assert!(lines.iter().all(|line| line.cost_nano > 0), "{first}: {lines:?}");
        if exact {
            assert_eq!((spent, open), (up.bill_total(), 0), "{first}");
        } else {
            assert_eq!(spent, open + lines[1].cost_nano, "{first}");
            assert!(open >= lines[0].cost_nano, "{first}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_it_was_used_does_not_lose_a_bill() {
    for hard in [true, false] {
        let (gateway, up) = chain("nohead", hard).await;
        let asked = |model| Ask::chat(model, false).header("x-agent-id", "a");
        // A connection that the next request finds open.
        let warm = gateway.ask(asked("second")).await;
        assert_eq!(warm.status, 200);
        let answer = gateway.ask(asked("first")).await;
        assert_eq!(answer.header("x-gateway-model-used"), "second", "{}", answer.text());
        gateway.line_of(&answer).await;
        let spent = settled(&gateway, "a").await;
        let billed = up.bill_total();
        let broken = up.bill().iter().filter(|line| line.status == 0).count();
        let open = limbo_of(&gateway, "a", if hard { broken } else { 0 }).await;
        assert!(broken > 0 && up.bill().len() == broken + 2);
        if hard {
            assert!(spent >= billed, "spent {spent}, billed {billed}, {broken} broke off");
            let lines = up.bill();
            let whole = lines.iter().filter(|line| line.status == 200);
            assert_eq!(spent - open, whole.map(|line| line.cost_nano).sum::<i64>());
        } else {
            assert!(spent > 0 && open == 0);
        }
    }
}

#[tokio::test]
async fn errors_of_a_provider_that_charges_for_them_are_booked_at_their_worst() {
    let up = mock("up").await;
    let rows = [("down", "billerror-503", 503, Open), ("wrong", "400", 400, Nothing)];
    let mut yaml = format!("providers:\n{}models:\n", openai("up", up.addr, ""));
    let mut agents = String::new();
    for (id, faults, ..) in rows {
        yaml += &model(id, "up", &format!("mock-price=1:2-{faults}-key={id}"));
        agents += &agent(id, true);
    }
    let keys = "budget: {charge_5xx: true}\nrouting: {cooldown_ms: 0}\nagents:\n  default: {}\n";
    let gateway = Setup::new(yaml + keys + &agents).start().await;
    for (id, _, status, booked) in rows {
        let answer = gateway.ask(ask(id, false)).await;
        assert_eq!(answer.status, status, "{id}: {}", answer.text());
        gateway.line_of(&answer).await;
        compare(&gateway, &up, id, (booked, true)).await;
    }
}

/// Time enough for a stream to stand still and be noticed.
const IDLE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_stream_that_stands_still_is_booked_at_its_worst() {
    let up = mock("up").await;
    let idle = format!(", idle_timeout_ms: {}", IDLE.as_millis());
    let yaml = format!(
        "providers:\n{}models:\n{}agents:\n  default: {{}}\n{}",
        openai("up", up.addr, &idle),
        model("m", "up", "mock-price=1:2-chunks=20-stall=4-key=m"),
        agent("m", true)
    );
    let gateway = Setup::new(yaml).start().await;
    let answer = gateway.ask(ask("m", true)).await;
    gateway.line_of(&answer).await;
    compare(&gateway, &up, "m", (Open, true)).await;
}

#[tokio::test]
async fn what_a_stop_ends_is_booked_at_its_worst() {
    let rows = [("stalled", "chunks=20-stall=4", true), ("late", "latency=600000", false)];
    let models =
        rows.iter().map(|(id, faults, _)| ((*id).to_owned(), "up", (*faults).to_owned(), true));
    let (mut gateway, up) = start("grace_seconds: 1", &models.collect::<Vec<_>>()).await;
    let mut open = Vec::new();
    for (id, _, stream) in rows {
        let mut line = Line::open(gateway.data).await.unwrap();
        line.send(&ask(id, stream).to_bytes()).await;
        open.push(line);
    }
    let head = open[0].head().await.unwrap();
    wait_until("the provider has both", || async { up.requests().len() == 2 }).await;
    gateway.signal("TERM");
    assert!(open[0].rest(head).await.text().contains("draining"));
    assert_eq!(open[1].answer().await.unwrap().status, 503);
    assert_eq!(gateway.exit_code(SOON).await, Some(0));
    let gateway = gateway.started_again().await;
    for (id, ..) in rows {
        compare(&gateway, &up, id, (Open, true)).await;
    }
}
