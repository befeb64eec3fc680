//! The book: what a hold, its settlement and a refusal cost each request, without the store.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir::base::id::RequestId;
use weir::base::money::{NanoUsd, PicoUsd};
use weir::ledger::account::{AccountId, AccountKey, Cadence, Terms};
use weir::ledger::book::Book;
use weir::ledger::entry::Reason;
use weir::ledger::hold::{HoldOrder, Outcome};
use weir::ledger::period::{Zone, period_at};
use weir::ledger::plan::Planned;
use weir::ledger::saved::Saved;

const NOW_MS: i64 = 1_795_219_200_000;
/// Accounts beside the path, so that look-ups miss the nearest cache as they do in a fleet.
const OTHERS: usize = 10_000;

fn terms(limit: i64) -> Terms {
    let limit = Some(NanoUsd(limit));
    Terms { limit, cadence: Cadence::Daily, zone: Arc::from("Europe/Berlin"), hard: true }
}

/// A book with a path of that many accounts, each limited.
fn book(depth: usize, limit: i64) -> (Book, AccountId) {
    let mut plan: Vec<Planned> = Vec::new();
    for floor in 0..depth {
        let is_leaf = floor + 1 == depth;
        let key =
            if is_leaf { AccountKey::agent("leaf") } else { AccountKey::team(&floor.to_string()) };
        let parent = plan.last().map(|above| above.key.clone());
        plan.push(Planned { key, parent, terms: terms(limit) });
    }
    plan.extend((0..OTHERS).map(|other| Planned {
        key: AccountKey::agent(&other.to_string()),
        parent: None,
        terms: terms(limit),
    }));
    let mut book = Book::restore(Saved { epoch: 1, ..Saved::default() });
    book.configure(&plan, NOW_MS).expect("a good plan");
    let leaf = book.id(&AccountKey::agent("leaf")).expect("planned");
    (book, leaf)
}

fn order(leaf: AccountId) -> HoldOrder {
    HoldOrder {
        leaf,
        fixed: PicoUsd(3_000_000_000),
        per_output_token: PicoUsd(15_000_000),
        output_cap: 4_096,
        output_floor: 256,
        request: RequestId::from_bits(1),
        attempt: 1,
        model: Arc::from("large"),
        price_version: 1,
    }
}

fn hold_and_settle(c: &mut Criterion) {
    let mut group = c.benchmark_group("ledger");
    group.throughput(Throughput::Elements(1));
    for depth in [1, 4] {
        let (mut book, leaf) = book(depth, i64::MAX / 2);
        let order = order(leaf);
        // One nano-dollar each: the limit outlasts the bench.
        let outcome = Outcome::Cost { cost: NanoUsd(1), tokens: None, reason: Reason::Exact };
        group.bench_function(format!("hold and settle, depth {depth}"), |b| {
            b.iter(|| {
                let (grant, entry) = book.hold(black_box(&order), NOW_MS).expect("room");
                let settled = book.settle(grant.hold, &outcome, NOW_MS).expect("open");
                (entry, settled)
            });
        });
    }
    for depth in [1, 4] {
        let (mut book, leaf) = book(depth, 1_000);
        let order = order(leaf);
        group.bench_function(format!("refusal, depth {depth}"), |b| {
            b.iter(|| book.hold(black_box(&order), NOW_MS).expect_err("no room"));
        });
    }
    let (mut book, leaf) = book(4, i64::MAX / 2);
    book.hold(&order(leaf), NOW_MS).expect("room");
    group.bench_function("room, depth 4", |b| b.iter(|| book.room(black_box(leaf), NOW_MS)));
    group.finish();
}

fn periods(c: &mut Criterion) {
    let zone = Zone::parse("Europe/Berlin").expect("a zone");
    let mut group = c.benchmark_group("period");
    for cadence in [Cadence::Hourly, Cadence::Daily, Cadence::Monthly] {
        group.bench_function(cadence.name(), |b| {
            b.iter(|| period_at(cadence, black_box(&zone), black_box(NOW_MS)));
        });
    }
    group.finish();
}

criterion_group!(benches, hold_and_settle, periods);
criterion_main!(benches);
