//! What shortening tool results saves, what it keeps, and what it costs.
//!
//! `cargo bench --no-default-features --features tokenizer --bench mutate` runs git, grep, ls and find in the
//! repositories named by `WEIR_REPOS` (with `:` between; this one if not set), reads captured outputs of tests
//! and services from the folder `WEIR_OUTPUTS` (`run-*.txt`, `log-*.txt`) if it is set, and prints per kind the
//! bytes and tokens saved and the least share of facts kept. Then it measures the time.

#![expect(clippy::print_stdout, reason = "the table is what it is run for")]

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hint::black_box;
use std::process::Command;

use criterion::{Criterion, Throughput, criterion_group};
use weir::mutate::compress::{self, Settings};
use weir::mutate::kind::Kind;
use weir::mutate::{build_lines, stamp, test_lines};
use weir::usage::vocabulary::Vocabulary;

/// Bytes of an output; harnesses cut longer ones.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// What the outputs of one kind came to.
#[derive(Default)]
struct Tally {
    outputs: usize,
    before: usize,
    after: usize,
    tokens_before: u64,
    tokens_after: u64,
    facts: usize,
    kept: usize,
    least_recall: Option<usize>,
    untouched: usize,
    shares: Vec<usize>,
}

fn run(repo: &str, command: &[&str]) -> String {
    let output = Command::new(command[0]).args(&command[1..]).current_dir(repo).output();
    let text =
        output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned()).unwrap_or_default();
    let end = text.len().min(OUTPUT_BYTES_MAX);
    let end = if end == text.len() {
        end
    } else {
        text[..end.min(text.floor_char_boundary(end))].rfind('\n').map_or(0, |at| at + 1)
    };
    text[..end].to_owned()
}

fn diffs(repo: &str) -> Vec<String> {
    let commits = run(repo, &["git", "log", "--no-merges", "--format=%H", "-n", "120"]);
    let show = |id: &str| run(repo, &["git", "show", id]);
    commits.lines().map(show).collect()
}

fn greps(repo: &str) -> Vec<String> {
    let words =
        ["fn ", "use ", "struct", "impl", "Error", "TODO", "pub ", "assert", "return", "config"];
    let mut all: Vec<String> = words
        .iter()
        .map(|word| {
            run(repo, &["grep", "-rnI", "--exclude-dir=.git", "--exclude-dir=target", word, "."])
        })
        .collect();
    all.extend(words.iter().map(|word| run(repo, &["git", "grep", "-n", "-C1", word])));
    all
}

fn listings(repo: &str) -> Vec<String> {
    let all = run(
        repo,
        &["find", ".", "-type", "d", "-not", "-path", "*/.git*", "-not", "-path", "*/target*"],
    );
    let mut out: Vec<String> =
        all.lines().take(60).map(|dir| run(repo, &["ls", "-la", dir])).collect();
    out.push(run(repo, &["ls", "-lR", "src"]));
    out.push(run(repo, &["ls", "-l", "."]));
    out
}

fn finds(repo: &str) -> Vec<String> {
    vec![
        run(
            repo,
            &[
                "find",
                ".",
                "-type",
                "f",
                "-not",
                "-path",
                "*/.git/*",
                "-not",
                "-path",
                "*/target/*",
            ],
        ),
        run(repo, &["git", "ls-files"]),
        run(repo, &["find", "src"]),
    ]
}

/// Outputs of a test run as libtest writes them: `failing` of `tests` fail.
fn test_run(tests: usize, failing: usize) -> String {
    let mut out = String::from(
        "   Compiling weir v0.1.0 (/work)\n    Finished `test` profile [unoptimized] target(s) in 9.12s\n     Running unittests src/lib.rs (target/debug/deps/weir-1)\n\n",
    );
    let _ = writeln!(out, "running {tests} tests");
    let every = tests / failing.max(1);
    for at in 0..tests {
        let failed = failing > 0 && at % every == 0;
        let _ = writeln!(
            out,
            "test wire::room{}::tests::does_thing_{at} ... {}",
            at % 7,
            if failed { "FAILED" } else { "ok" }
        );
    }
    out.push_str("\nfailures:\n\n");
    for at in (0..tests).filter(|at| failing > 0 && at % every == 0) {
        let _ = write!(
            out,
            "---- wire::room{}::tests::does_thing_{at} stdout ----\n\nthread 'x' panicked at src/wire/room.rs:{at}:9:\nassertion `left == right` failed\n  left: {at}\n right: 0\n\n",
            at % 7
        );
    }
    let _ = writeln!(
        out,
        "test result: FAILED. {} passed; {failing} failed; 0 ignored",
        tests - failing
    );
    out
}

/// A service's log: few statements, many values, some errors.
fn service_log(lines: usize) -> String {
    let mut out = String::new();
    for at in 0..lines {
        let time =
            format!("2026-11-21T12:{:02}:{:02}.{:03}Z", at / 60 % 60, at % 60, at * 7 % 1000);
        let _ = match at % 11 {
            0..=6 => writeln!(
                out,
                "{time}  INFO request id=req-{at:06x} path=/v1/chat status=200 took={}ms",
                at * 13 % 900
            ),
            7 | 8 => writeln!(out, "{time} DEBUG pool: {} idle connections", at % 5),
            9 => writeln!(out, "{time}  WARN retry {} of request req-{at:06x}", at % 3),
            _ => writeln!(out, "{time} ERROR upstream: connection reset by 10.0.0.{}", at % 4),
        };
    }
    out
}

fn captured(kind: &str) -> Vec<String> {
    let Ok(folder) = std::env::var("WEIR_OUTPUTS") else { return Vec::new() };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let fitting = entries.filter(|it| it.file_name().to_string_lossy().starts_with(kind));
    fitting.filter_map(|it| std::fs::read_to_string(it.path()).ok()).collect()
}

/// What must be found again in the shortened output, as lines of it or parts of them.
fn facts(kind: Kind, text: &str) -> Vec<String> {
    let lines = text.lines();
    match kind {
        Kind::Diff => changed_lines(text),
        Kind::Grep => lines.filter(|line| *line != "--").map(str::to_owned).collect(),
        Kind::LongListing => lines
            .filter(|line| line.len() > 40 && !line.ends_with(':'))
            .filter_map(|line| line.split(" -> ").next()?.rsplit(' ').next().map(str::to_owned))
            .collect(),
        Kind::Run => lines
            .filter(|line| {
                test_lines::said(line).is_none()
                    && build_lines::progress(line).is_none()
                    // Below a passing test it is no fact, below a failing one it is looked for too rarely.
                    && !line.trim_start().starts_with("duration_ms")
            })
            .map(str::to_owned)
            .collect(),
        Kind::Log => {
            let mut templates: HashMap<String, usize> = HashMap::new();
            for line in lines {
                let mut key = String::new();
                stamp::template(&line[stamp::end_of_time(line).unwrap_or(0)..], &mut key);
                *templates.entry(key).or_default() += 1;
            }
            templates.into_keys().collect()
        }
        _ => lines.map(str::to_owned).collect(),
    }
}

/// Changed lines and files, by the counts of the hunks.
fn changed_lines(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let (mut old, mut new) = (0usize, 0usize);
    for line in text.lines() {
        if old == 0 && new == 0 {
            if let Some(rest) = line.strip_prefix("@@ -") {
                let count = |part: &str| {
                    part.split_once(',').map_or(1, |(_, count)| count.parse().unwrap_or(0))
                };
                let mut parts = rest.split(' ');
                old = parts.next().map_or(0, count);
                new = parts.next().map_or(0, |part| count(&part[1..]));
            } else if let Some(names) = line.strip_prefix("diff --git a/") {
                out.push(names.split(" b/").next().unwrap_or_default().to_owned());
            }
            continue;
        }
        match line.as_bytes().first() {
            Some(b'+') => new = new.saturating_sub(1),
            Some(b'-') => old = old.saturating_sub(1),
            Some(b'\\') => {}
            _ => (old, new) = (old.saturating_sub(1), new.saturating_sub(1)),
        }
        if line.starts_with(['+', '-']) {
            out.push(line.to_owned());
        }
    }
    out
}

/// The facts that a shortened output still tells.
fn told(kind: Kind, text: &str) -> HashSet<String> {
    let mut out = HashSet::new();
    let mut path = String::new();
    for line in text.lines() {
        match kind {
            Kind::Diff => {
                out.insert(line.to_owned());
                out.extend(
                    line.strip_prefix("diff ")
                        .map(|rest| rest.split(" (").next().unwrap_or(rest).to_owned()),
                );
                out.extend(
                    line.strip_prefix("diff --git a/")
                        .and_then(|rest| rest.split(" b/").next())
                        .map(str::to_owned),
                );
            }
            Kind::Grep => {
                if line.starts_with(|it: char| it.is_ascii_digit()) {
                    out.extend([':', '-'].map(|sign| format!("{path}{sign}{line}")));
                } else {
                    line.clone_into(&mut path);
                    out.insert(line.to_owned());
                }
            }
            Kind::Paths => {
                out.insert(line.to_owned());
                if let Some((folder, names)) = line.split_once(": ") {
                    out.extend(names.split(' ').map(|name| format!("{folder}{name}")));
                }
            }
            Kind::LongListing => {
                for name in line.split(' ') {
                    out.insert(name.to_owned());
                    out.insert(name.trim_end_matches(['/', '*', '@']).to_owned());
                    out.extend(name.split("@->").next().map(str::to_owned));
                }
            }
            Kind::Log => {
                let line = line.rsplit_once(" (x").map_or(line, |(line, _)| line);
                let mut key = String::new();
                stamp::template(&line[stamp::end_of_time(line).unwrap_or(0)..], &mut key);
                out.insert(key);
            }
            _ => {
                out.insert(line.to_owned());
            }
        }
    }
    out
}

fn tokens(text: &str) -> u64 {
    let body = format!("{text:?}");
    Vocabulary::O200k.count(body.as_bytes()).unwrap_or(text.len() as u64 / 4)
}

fn judge(kind: Kind, outputs: &[String]) -> Tally {
    let settings = Settings::default();
    let mut tally = Tally::default();
    for text in outputs.iter().filter(|text| text.chars().count() >= settings.chars_min) {
        let found = compress::compress(text, &settings);
        tally.untouched += usize::from(found.is_none());
        if let Some(other) = found.as_ref().and_then(|it| it.kind).filter(|it| *it != kind) {
            println!("  taken for {other:?}: {:?}", &text[..text.floor_char_boundary(80)]);
        }
        let kind = found.as_ref().and_then(|it| it.kind).unwrap_or(kind);
        let short = found.map_or_else(|| text.clone(), |it| it.text);
        assert_eq!(compress::compress(&short, &settings), None, "twice changes nothing");
        let (facts, told) = (facts(kind, text), told(kind, &short));
        let kept = if short == *text {
            facts.len()
        } else {
            facts.iter().filter(|fact| told.contains(*fact)).count()
        };
        if kept < facts.len() {
            let lost = facts.iter().find(|fact| !told.contains(*fact));
            println!("  lost {} of {}: {lost:?}", facts.len() - kept, facts.len());
        }
        let recall = (kept * 10_000).checked_div(facts.len()).unwrap_or(10_000);
        tally.least_recall = Some(tally.least_recall.map_or(recall, |least| least.min(recall)));
        tally.outputs += 1;
        (tally.facts, tally.kept) = (tally.facts + facts.len(), tally.kept + kept);
        (tally.before, tally.after) = (tally.before + text.len(), tally.after + short.len());
        (tally.tokens_before, tally.tokens_after) =
            (tally.tokens_before + tokens(text), tally.tokens_after + tokens(&short));
        tally.shares.push((text.len() - short.len()) * 1_000 / text.len());
    }
    tally.shares.sort_unstable();
    tally
}

/// Reads every file of the repositories as if a tool had printed it, and prints how many of them would be
/// changed: none that is no diff, log or list of paths should be.
fn sources(repos: &[&str]) {
    let (mut files, mut changed) = (0, 0);
    for repo in repos {
        let names = run(
            repo,
            &[
                "find",
                ".",
                "-type",
                "f",
                "-not",
                "-path",
                "*/.git/*",
                "-not",
                "-path",
                "*/target/*",
            ],
        );
        for name in names.lines() {
            let Ok(text) = std::fs::read_to_string(format!("{repo}/{name}")) else { continue };
            files += 1;
            let Some(found) = compress::compress(&text, &Settings::default()) else { continue };
            changed += 1;
            println!(
                "  {name} is taken for {:?}: {} -> {}",
                found.kind,
                text.len(),
                found.text.len()
            );
        }
    }
    println!("files printed: {files}, of which {changed} would be changed");
}

/// Prints the table.
fn report() {
    let repos = std::env::var("WEIR_REPOS").unwrap_or_else(|_| ".".to_owned());
    let repos: Vec<&str> = repos.split(':').collect();
    let of = |make: fn(&str) -> Vec<String>| repos.iter().flat_map(|repo| make(repo)).collect();
    let mut runs = captured("run-");
    runs.extend([(40, 0), (100, 1), (400, 5), (800, 3)].map(|(tests, bad)| test_run(tests, bad)));
    let mut logs = captured("log-");
    logs.extend([50, 300, 900].map(service_log));
    let kinds: [(&str, Kind, Vec<String>); 6] = [
        ("diff", Kind::Diff, of(diffs)),
        ("grep", Kind::Grep, of(greps)),
        ("ls -l", Kind::LongListing, of(listings)),
        ("find", Kind::Paths, of(finds)),
        ("test runs", Kind::Run, runs),
        ("logs", Kind::Log, logs),
    ];
    sources(&repos);
    println!(
        "kind       outputs untouched   bytes  saved  median  tokens saved  facts    recall  least"
    );
    for (name, kind, outputs) in kinds {
        let tally = judge(kind, &outputs);
        let permille = |part: u64, whole: u64| (part * 1_000).checked_div(whole).unwrap_or(0);
        let bytes = permille((tally.before - tally.after) as u64, tally.before as u64);
        let tokens =
            permille(tally.tokens_before.saturating_sub(tally.tokens_after), tally.tokens_before);
        let recall = (tally.kept * 10_000).checked_div(tally.facts).unwrap_or(10_000);
        let median = tally.shares.get(tally.shares.len() / 2).copied().unwrap_or(0);
        let dot = |value: u64| format!("{}.{} %", value / 10, value % 10);
        println!(
            "{name:<10} {:>7} {:>9} {:>8} {:>6} {:>6} {:>9} {:>9} {:>8} {:>6}",
            tally.outputs,
            tally.untouched,
            tally.before,
            dot(bytes),
            dot(median as u64),
            dot(tokens),
            tally.facts,
            format!("{}.{:02}", recall / 100, recall % 100),
            tally.least_recall.map_or(0, |least| least / 100),
        );
    }
}

fn speed(criterion: &mut Criterion) {
    let code = std::fs::read_to_string("src/exchange/mod.rs").unwrap_or_default();
    let cases = [
        ("diff", run(".", &["git", "log", "-p", "-n", "3"])),
        ("grep", run(".", &["grep", "-rn", "use ", "src"])),
        ("ls -lR", run(".", &["ls", "-lR", "src"])),
        ("test run", test_run(800, 3)),
        ("log", service_log(600)),
        ("source code, left alone", code),
    ];
    let mut group = criterion.benchmark_group("compress");
    for (name, text) in &cases {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(*name, |bench| {
            bench.iter(|| compress::compress(black_box(text), &Settings::default()));
        });
    }
    group.finish();
}

criterion_group!(benches, speed);

fn main() {
    report();
    benches();
}
