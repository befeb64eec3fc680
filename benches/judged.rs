//! What a learnt choice costs after the prompt was read: sixteen models judged, and one chosen. Budget: one microsecond.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use weir::learned::choose::{self, Preference};
use weir::learned::embedding::Scratch;
use weir::learned::file::{Router, Setting};
use weir::learned::heads::{Column, Tier};

const ROUTER: &[u8] = include_bytes!("../conf/router/router.bin");
const PROMPT: &str =
    "Write a function that returns the n-th prime number, and explain why it is fast enough.";

fn decide(bench: &mut Criterion) {
    let router = Router::parse(ROUTER).expect("the router that ships is one");
    let names = router.heads().weights().models.iter().take(13);
    let known: Vec<Column> = names.map(|name| router.resolve(name, Tier::Fast)).collect();
    let tiers = Tier::ALL.map(|tier| router.resolve("of another catalog", tier));
    let columns: Vec<Column> = known.into_iter().chain(tiers).collect();
    let costs: Vec<i64> = (1..=16).map(|at| at * 10_000).collect();
    let reading = router.read(PROMPT, &mut Scratch::default());
    bench.bench_function("judge and choose among 16", |bench| {
        bench.iter(|| {
            let judged = router.judge(black_box(&reading), Setting::default(), black_box(&columns));
            choose::choose(&judged, black_box(&costs), &Preference::default())
        });
    });
    bench.bench_function("read, judge and choose, a short prompt", |bench| {
        let mut scratch = Scratch::default();
        bench.iter(|| {
            let reading = router.read(black_box(PROMPT), &mut scratch);
            let judged = router.judge(&reading, Setting::default(), black_box(&columns));
            choose::choose(&judged, black_box(&costs), &Preference::default())
        });
    });
}

criterion_group!(benches, decide);
criterion_main!(benches);
