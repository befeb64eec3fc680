//! What synchronous costs: one commit of 1, 16 and 64 requests (a hold and what it came to), with and
//! without waiting for the disk; and the start beside a long ledger.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir::base::id::RequestId;
use weir::base::money::NanoUsd;
use weir::config::snapshot::Synchronous;
use weir::ledger::account::AccountId;
use weir::ledger::entry::{Entry, HoldId, Kind, Reason, Step, Tokens};
use weir::store::Store;
use weir::store::sqlite::{Opening, SqliteStore};

/// Requests in the ledger beside which the start is measured.
const LONG: u64 = 100_000;

/// A folder that goes with the bench.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("weir.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(file: &Path, synchronous: Synchronous) -> SqliteStore {
    SqliteStore::open(file, synchronous, Opening::Own).expect("it opens")
}

/// An agent in a team of the fleet.
fn path() -> Arc<[Step]> {
    let cap = Some(NanoUsd(i64::MAX));
    [3, 2, 1]
        .map(|account| Step { account: AccountId(account), start_ms: 0, end_ms: i64::MAX, cap })
        .into()
}

fn request(epoch: u32, number: u64, path: &Arc<[Step]>) -> [Entry; 2] {
    let hold = Entry {
        at_ms: 1_700_000_000_000,
        kind: Kind::Hold,
        hold: Some(HoldId::new(epoch, number)),
        path: Arc::clone(path),
        held: 40_000_000,
        spent: 0,
        request: Some(RequestId::from_bits(u128::from(number) << 64 | 0xabcd)),
        attempt: 1,
        model: Some(Arc::from("first")),
        price_version: u64::MAX,
        tokens: None,
        generation: None,
        reason: Reason::Admitted,
        account: None,
        was: None,
    };
    let settle = Entry {
        kind: Kind::Settle,
        held: -hold.held,
        spent: 12_345_678,
        tokens: Some(Tokens { input: 1_234, output: 567, ..Tokens::default() }),
        reason: Reason::Exact,
        ..hold.clone()
    };
    [hold, settle]
}

fn commits(bench: &mut Criterion) {
    let path = path();
    for (name, synchronous) in [("normal", Synchronous::Normal), ("full", Synchronous::Full)] {
        let folder = Folder::new(name);
        let mut store = open(&folder.file(), synchronous);
        let epoch = store.open_epoch().expect("an epoch").epoch;
        let mut number = 0;
        let mut group = bench.benchmark_group(format!("commit/{name}"));
        for requests in [1_u64, 16, 64] {
            group.throughput(Throughput::Elements(requests));
            group.bench_function(BenchmarkId::from_parameter(requests), |bench| {
                let batch = || {
                    number += requests;
                    let numbers = number - requests..number;
                    numbers.flat_map(|number| request(epoch, number, &path)).collect::<Vec<_>>()
                };
                let commit = |batch: Vec<Entry>| store.commit(&batch).expect("it is kept");
                bench.iter_batched(batch, commit, BatchSize::SmallInput);
            });
        }
        group.finish();
    }
}

fn start(bench: &mut Criterion) {
    let folder = Folder::new("start");
    let mut store = open(&folder.file(), Synchronous::Normal);
    let epoch = store.open_epoch().expect("an epoch").epoch;
    let path = path();
    for first in (0..LONG).step_by(1_000) {
        let numbers = first..first + 1_000;
        let batch: Vec<Entry> = numbers.flat_map(|number| request(epoch, number, &path)).collect();
        store.commit(&batch).expect("it is kept");
    }
    store.close_epoch().expect("it ends");
    drop(store);
    let bytes = std::fs::metadata(folder.file()).expect("a file").len();
    let name = format!("start/{LONG} requests of {} bytes", bytes / LONG);
    bench.bench_function(&name, |bench| {
        bench.iter(|| open(&folder.file(), Synchronous::Normal).open_epoch().expect("an epoch"));
    });
}

criterion_group!(benches, commits, start);
criterion_main!(benches);
