//! The load tool: mock upstream, small load client, measuring of a proxy, the table.
//!
//! `scenarios/*.sh` are made of these commands and oha. It starts no proxy, `faults` apart.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use bytes::Bytes;
use clap::{Args, Parser, Subcommand};
use hyper::header::{HeaderName, HeaderValue};
use loadtest::budget::{self, Burst};
use loadtest::client::{self, Kind, Shot};
use loadtest::faults::{self, Plan};
use loadtest::report::{Round, Tally, read_tool, table};
use loadtest::upstream::fault::Fault;
use loadtest::upstream::server::{self, MockConfig};
use loadtest::{idle, process};
use serde_json::{Value, json};

/// Where ports are looked for: below those that systems hand out to whoever asks for any.
const PORTS: Range<u16> = 12_000..32_000;

#[derive(Parser)]
#[command(about = "Mock providers and load client for Weir", version)]
struct Cli {
    #[command(subcommand)]
    command: Order,
}

#[derive(Subcommand)]
enum Order {
    /// Mock providers, tuned for load: keeps and logs nothing unless told to.
    Mock {
        #[arg(long, default_value = "127.0.0.1:9000")]
        listen: SocketAddr,
        #[arg(long)]
        log: Option<PathBuf>,
        #[arg(long)]
        fixtures: Option<PathBuf>,
        /// Requests and lines of the bill kept; none for speed, the sum of the bill goes on.
        #[arg(long, default_value_t = 0)]
        keep: usize,
        /// What requests ask for by default, in the grammar of model names: mock-cost=0.0123.
        #[arg(long, default_value = "mock")]
        habits: String,
    },
    /// Unary requests, closed loop.
    Unary(LoadArgs),
    /// Streams: events counted, ends verified, closed loop.
    Sse(LoadArgs),
    /// Requests with large bodies, 1 MB unless --bytes says otherwise.
    Body(LoadArgs),
    /// --requests, --connections at a time: answers by status, and the mock's bill.
    Budget {
        #[command(flatten)]
        load: LoadArgs,
        /// Address of the mock behind --addr.
        #[arg(long)]
        mock: SocketAddr,
    },
    /// Kills, reloads and hands over a gateway under load for so long, and compares its ledger with the bills.
    Faults(FaultArgs),
    /// Opens --connections slow streams and measures the memory of --pid per stream.
    IdleStreams {
        #[command(flatten)]
        load: LoadArgs,
        #[arg(long)]
        pid: u32,
    },
    /// CPU time and memory of a process and its children so far.
    Cpu {
        #[arg(long)]
        pid: u32,
    },
    /// Runs a load command (oha with JSON output, or one of these) and adds the cost of --pid.
    Measure(MeasureArgs),
    /// One table of a file of `measure` lines.
    Table { file: PathBuf },
    /// Prints a request body.
    MakeBody(BodyArgs),
    /// Prints free loopback ports, one per line.
    FreePorts {
        #[arg(default_value_t = 1)]
        count: usize,
    },
}

#[derive(Args)]
struct LoadArgs {
    /// Address of proxy or mock.
    #[arg(long)]
    addr: SocketAddr,
    #[arg(long, default_value = "/v1/chat/completions")]
    path: String,
    #[arg(short = 'c', long, default_value_t = 8)]
    connections: usize,
    #[arg(short = 'n', long, default_value_t = 1000)]
    requests: u64,
    /// `name: value`, may be repeated.
    #[arg(short = 'H', long = "header")]
    headers: Vec<String>,
    #[command(flatten)]
    body: BodyArgs,
}

#[derive(Args)]
struct FaultArgs {
    /// The gateway's program.
    #[arg(long)]
    weir: PathBuf,
    /// An empty folder for configuration, log and ledger, which are left there.
    #[arg(long)]
    folder: PathBuf,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 300)]
    seconds: u64,
}

#[derive(Args)]
struct BodyArgs {
    #[arg(long, default_value = "mock-model")]
    model: String,
    /// Size of the whole body.
    #[arg(long)]
    bytes: Option<usize>,
    #[arg(long)]
    stream: bool,
}

#[derive(Args)]
struct MeasureArgs {
    #[arg(long)]
    scenario: String,
    #[arg(long)]
    proxy: String,
    /// Process whose CPU and memory count; none for direct runs.
    #[arg(long)]
    pid: Option<u32>,
    /// CPU units per request, for load tools that count no events.
    #[arg(long, default_value_t = 1)]
    units: u64,
    /// The status of a good answer, for oha.
    #[arg(long, default_value_t = 200)]
    status: u16,
    /// The load command.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Body size of the unary scenarios.
const UNARY_BYTES: usize = 1_000;
/// Body size of `body`.
const LARGE_BYTES: usize = 1_000_000;

fn main() -> ExitCode {
    let failure = match run(Cli::parse().command) {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => return ExitCode::FAILURE,
        Err(error) => error,
    };
    let _ = writeln!(io::stderr(), "loadtest: {failure}");
    ExitCode::FAILURE
}

/// True if everything went as it should.
fn run(order: Order) -> io::Result<bool> {
    match order {
        Order::Mock { listen, log, fixtures, keep, habits } => {
            let config = MockConfig {
                listen,
                log,
                fixtures_dir: fixtures,
                requests_max: keep,
                habits: Fault::from_model(&habits),
                ..MockConfig::default()
            };
            server::run(config, |addr| {
                let _ = say(&format!("mock listens on http://{addr}/v1"));
            })?;
            Ok(true)
        }
        Order::Unary(load) => closed_loop(&load, Kind::Unary, UNARY_BYTES),
        Order::Sse(load) => closed_loop(&load, Kind::Sse, UNARY_BYTES),
        Order::Body(load) => closed_loop(&load, Kind::Unary, LARGE_BYTES),
        Order::Budget { load, mock } => budget(&load, mock),
        Order::Faults(args) => faulted(args),
        Order::IdleStreams { load, pid } => idle_streams(&load, pid),
        Order::Cpu { pid } => {
            let (cpu_ns, rss_kib) = (process::cpu_ns(pid)?, process::rss_kib(pid)?);
            say(&json!({"cpu_us": cpu_ns / 1000, "rss_kib": rss_kib}).to_string())?;
            Ok(true)
        }
        Order::Measure(measure) => measured(&measure),
        Order::Table { file } => {
            let text = fs::read_to_string(file)?;
            let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            let rounds: Vec<Round> = lines.map(|line: Value| Round::from_json(&line)).collect();
            say(table(&rounds).trim_end())?;
            Ok(true)
        }
        Order::MakeBody(body) => {
            io::stdout().write_all(&make_body(&body, UNARY_BYTES, body.stream))?;
            Ok(true)
        }
        Order::FreePorts { count } => free_ports(count),
    }
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// A chat request of the wanted size; the filler stands in the message.
fn make_body(args: &BodyArgs, bytes: usize, stream: bool) -> Bytes {
    let shape = |filler: &str| {
        let model = json!(args.model);
        format!(
            r#"{{"model":{model},"stream":{stream},"messages":[{{"role":"user","content":"{filler}"}}]}}"#
        )
    };
    let missing = args.bytes.unwrap_or(bytes).saturating_sub(shape("").len());
    let words = "the quick brown fox jumps over the lazy dog ";
    let filler: String = words.chars().cycle().take(missing).collect();
    shape(&filler).into()
}

fn shot(load: &LoadArgs, kind: Kind, bytes: usize) -> io::Result<Shot> {
    let mut headers = Vec::new();
    for header in &load.headers {
        let (name, value) = header.split_once(':').ok_or(io::ErrorKind::InvalidInput)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(io::Error::other)?;
        headers.push((name, HeaderValue::from_str(value.trim()).map_err(io::Error::other)?));
    }
    let body = make_body(&load.body, bytes, load.body.stream || kind == Kind::Sse);
    Ok(Shot { addr: load.addr, path: load.path.clone(), headers, body, kind })
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn closed_loop(load: &LoadArgs, kind: Kind, bytes: usize) -> io::Result<bool> {
    let shot = shot(load, kind, bytes)?;
    let tally = runtime()?.block_on(client::run(shot, load.connections, load.requests));
    say(&tally.to_json().to_string())?;
    Ok(is_good(&tally))
}

fn budget(load: &LoadArgs, mock: SocketAddr) -> io::Result<bool> {
    let split = |header: &String| {
        let (name, value) = header.split_once(':').ok_or(io::ErrorKind::InvalidInput)?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    let headers = load.headers.iter().map(split).collect::<io::Result<_>>()?;
    let body = make_body(&load.body, UNARY_BYTES, load.body.stream);
    let burst = Burst { addr: load.addr, path: load.path.clone(), headers, body };
    let (outcome, bill) = runtime()?.block_on(async {
        let outcome = budget::run(burst, load.connections, load.requests).await;
        budget::bill(mock).await.map(|bill| (outcome, bill))
    })?;
    let mut line = outcome.to_json();
    line["bill_nano_usd"] = bill["total_nano_usd"].clone();
    line["billed_requests"] = bill["count"].clone();
    say(&line.to_string())?;
    Ok(outcome.broken == 0)
}

fn faulted(args: FaultArgs) -> io::Result<bool> {
    let weir = fs::canonicalize(args.weir)?;
    let folder = fs::canonicalize(args.folder)?;
    let FaultArgs { seed, seconds, .. } = args;
    let plan = Plan { weir, folder, seed, seconds };
    // Mocks and clients share it; one thread more for them would be one less for the gateway.
    let report = runtime()?.block_on(faults::run(plan))?;
    say(&report.text())?;
    Ok(report.is_good())
}

fn is_good(tally: &Tally) -> bool {
    tally.failed == 0 && tally.done > 0
}

fn idle_streams(load: &LoadArgs, pid: u32) -> io::Result<bool> {
    let shot = shot(load, Kind::Sse, UNARY_BYTES)?;
    let report = runtime()?.block_on(idle::run(shot, load.connections, pid))?;
    let mut line = report.tally.to_json();
    line["open"] = json!(report.open);
    line["rss_before_kib"] = json!(report.rss_before_kib);
    line["rss_open_kib"] = json!(report.rss_open_kib);
    line["kib_per_stream"] = json!(report.kib_per_stream());
    say(&line.to_string())?;
    Ok(is_good(&report.tally) && report.open == load.connections as u64)
}

fn measured(args: &MeasureArgs) -> io::Result<bool> {
    let cpu_ns = || args.pid.map_or(Ok(0), process::cpu_ns);
    let (program, rest) = args.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let before = cpu_ns()?;
    let output = Command::new(program).args(rest).stderr(Stdio::inherit()).output()?;
    let spent = cpu_ns()?.saturating_sub(before);
    let printed: Value = serde_json::from_slice(&output.stdout).map_err(io::Error::other)?;
    let (mut round, events) = read_tool(&printed, args.status);
    let units = if events > 0 { events } else { round.requests * args.units };
    round.scenario.clone_from(&args.scenario);
    round.proxy.clone_from(&args.proxy);
    round.cpu_ns = spent.checked_div(units).unwrap_or_default();
    round.rss_kib = args.pid.map_or(Ok(0), process::rss_kib)?;
    say(&round.to_json().to_string())?;
    if round.requests == 0 {
        let causes = [&printed["statusCodeDistribution"], &printed["errorDistribution"]];
        writeln!(io::stderr(), "{} had no good answer: {causes:?}", round.proxy)?;
    }
    Ok(round.requests > 0)
}

fn free_ports(count: usize) -> io::Result<bool> {
    // Not the system's own choice: it hands the same ports out to outgoing connections a moment later.
    let start = std::process::id().wrapping_mul(2_654_435_761);
    let ports = u32::from(PORTS.end - PORTS.start);
    let named = (0..ports).filter_map(|step| {
        let port = PORTS.start + u16::try_from(start.wrapping_add(step) % ports).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
    });
    // All are held until the last is known, so that no port comes twice.
    let held: Vec<TcpListener> = named.take(count).collect();
    for listener in &held {
        say(&listener.local_addr()?.port().to_string())?;
    }
    Ok(held.len() == count)
}
