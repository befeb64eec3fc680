//! Tests of the ledger in real files, and the small world that they share.

mod behaviour;
mod faults;
mod random;
mod registry;
mod reports;
mod sharing;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::base::id::RequestId;
use crate::base::money::NanoUsd;
use crate::config::snapshot::Synchronous;
use crate::ledger::account::{Account, AccountId, AccountKey, Cadence, Terms};
use crate::ledger::entry::{Entry, HoldId, Kind, Reason, Step, Tokens};
use crate::store::sqlite::{Opening, SqliteStore};

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self) -> PathBuf {
        self.0.join("weir.db")
    }

    pub fn own(&self) -> SqliteStore {
        SqliteStore::open(&self.file(), Synchronous::Normal, Opening::Own).expect("it opens")
    }

    pub fn take_over(&self) -> SqliteStore {
        SqliteStore::open(&self.file(), Synchronous::Normal, Opening::TakeOver).expect("it opens")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub const FLEET: u32 = 1;
pub const AGENT: u32 = 2;

pub fn step(account: u32, cap: Option<i64>) -> Step {
    Step { account: AccountId(account), start_ms: 0, end_ms: i64::MAX, cap: cap.map(NanoUsd) }
}

/// The agent under the fleet, with a cap on the agent.
pub fn path(cap: i64) -> Arc<[Step]> {
    Arc::from([step(AGENT, Some(cap)), step(FLEET, None)])
}

pub fn account(id: u32, key: AccountKey, parent: Option<u32>) -> Account {
    Account {
        id: AccountId(id),
        key,
        parent: parent.map(AccountId),
        terms: Terms {
            limit: Some(NanoUsd(100)),
            cadence: Cadence::None,
            zone: Arc::from("UTC"),
            hard: true,
        },
        limit_set: None,
        frozen: false,
        reset_at_ms: None,
    }
}

pub fn blank(kind: Kind, reason: Reason) -> Entry {
    Entry {
        at_ms: 1_700_000_000_000,
        kind,
        hold: None,
        path: Arc::from([]),
        held: 0,
        spent: 0,
        request: None,
        attempt: 0,
        model: None,
        price_version: 0,
        tokens: None,
        generation: None,
        reason,
        account: None,
        was: None,
    }
}

pub fn about(account: Account) -> Entry {
    Entry { account: Some(Arc::new(account)), ..blank(Kind::Account, Reason::Config) }
}

/// The entries that make the fleet and the agent.
pub fn founding() -> [Entry; 2] {
    [
        about(account(FLEET, AccountKey::fleet(), None)),
        about(account(AGENT, AccountKey::agent("builder"), Some(FLEET))),
    ]
}

pub fn hold(id: HoldId, amount: i64, cap: i64) -> Entry {
    Entry {
        hold: Some(id),
        path: path(cap),
        held: amount,
        request: Some(RequestId::from_bits(u128::from(id.0) << 64 | 0xabcd)),
        attempt: 1,
        model: Some(Arc::from("first")),
        price_version: u64::MAX - 5,
        ..blank(Kind::Hold, Reason::Admitted)
    }
}

pub fn settle(made: &Entry, cost: i64) -> Entry {
    let tokens = Tokens {
        input: 10,
        cache_read: 2,
        cache_write: 3,
        cache_write_1h: 4,
        output: 5,
        reasoning: 1,
    };
    Entry {
        kind: Kind::Settle,
        reason: Reason::Exact,
        held: -made.held,
        spent: cost,
        tokens: Some(tokens),
        ..made.clone()
    }
}

pub fn limbo(made: &Entry) -> Entry {
    Entry {
        kind: Kind::Limbo,
        reason: Reason::Cut,
        generation: Some(Arc::from("gen-1")),
        held: -made.held,
        spent: made.held,
        ..made.clone()
    }
}

pub fn refund(made: &Entry, amount: i64) -> Entry {
    Entry { kind: Kind::Refund, reason: Reason::Admin, held: 0, spent: -amount, ..made.clone() }
}
