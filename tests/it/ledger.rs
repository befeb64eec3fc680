//! `weir ledger`: what its commands print, and how they end.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use weir::base::money::NanoUsd;
use weir::config::snapshot::Synchronous;
use weir::ledger::account::{Account, AccountId, AccountKey, Cadence, Terms};
use weir::ledger::entry::{Entry, Kind, Reason, Step};
use weir::store::Store;
use weir::store::sqlite::{Opening, SqliteStore};

use crate::gateway::new_folder;

fn ledger(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("ledger")
        .args(args)
        .current_dir(folder)
        .env_remove("WEIR_CONFIG")
        .env_remove("CONFIG_PATH")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(&folder.join("a.db"), Synchronous::Normal, Opening::Own).unwrap()
}

/// One agent that spent half a dollar.
fn spend(store: &mut SqliteStore) {
    let terms = Terms { limit: None, cadence: Cadence::None, zone: Arc::from("UTC"), hard: false };
    let account = Account {
        id: AccountId(1),
        key: AccountKey::agent("builder"),
        parent: None,
        terms,
        limit_set: None,
        frozen: false,
        reset_at_ms: None,
    };
    let made = Entry {
        at_ms: 1_700_000_000_000,
        kind: Kind::Account,
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
        reason: Reason::Config,
        account: Some(Arc::new(account)),
        was: None,
    };
    let cap = Some(NanoUsd(1_000_000_000));
    let step = Step { account: AccountId(1), start_ms: 0, end_ms: i64::MAX, cap };
    let spent = Entry {
        kind: Kind::Spend,
        path: Arc::from([step]),
        spent: 500_000_000,
        reason: Reason::Exact,
        account: None,
        ..made.clone()
    };
    store.open_epoch().unwrap();
    store.commit(&[made, spent]).unwrap();
}

#[test]
fn commands_end_as_they_must() {
    let folder = new_folder();
    let at = ["--file", "a.db"];
    let missing = ledger(&folder, &["verify", at[0], at[1]]);
    assert_eq!(missing.status.code(), Some(1), "{}", said(&missing));
    assert!(!folder.join("a.db").exists());

    let mut store = open(&folder);
    spend(&mut store);
    let good = ledger(&folder, &["verify", at[0], at[1]]);
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
    let busy = ledger(&folder, &["replay", at[0], at[1]]);
    assert_eq!(busy.status.code(), Some(1), "{}", said(&busy));
    assert!(said(&busy).contains(&std::process::id().to_string()), "{}", said(&busy));
    drop(store);

    let lines = ledger(&folder, &["export", at[0], at[1]]);
    assert!(said(&lines).contains("\"agent_id\":\"builder\",\"cost\":0.5,"), "{}", said(&lines));
    let csv = ledger(&folder, &["export", "--format", "csv", "-o", "a.csv", at[0], at[1]]);
    assert_eq!(csv.status.code(), Some(0), "{}", said(&csv));
    assert!(fs::read_to_string(folder.join("a.csv")).unwrap().starts_with("timestamp,agent_id,"));
    let self_made = ledger(&folder, &["export", "-o", "a.db", at[0], at[1]]);
    assert_eq!(self_made.status.code(), Some(1), "{}", said(&self_made));
    let replayed = ledger(&folder, &["replay", at[0], at[1]]);
    assert!(said(&replayed).contains("0 rows were wrong"), "{}", said(&replayed));
}

#[test]
fn a_changed_entry_ends_in_one_and_is_named() {
    let folder = new_folder();
    spend(&mut open(&folder));
    // The amount of the second entry, as the file holds it.
    let mut bytes = fs::read(folder.join("a.db")).unwrap();
    let amount = 500_000_000_u32.to_be_bytes();
    for at in 0..bytes.len() - 4 {
        if bytes[at..at + 4] == amount {
            bytes[at + 3] ^= 1;
        }
    }
    fs::write(folder.join("a.db"), bytes).unwrap();
    let output = ledger(&folder, &["verify", "--file", "a.db"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("first, entry 2 has another hash"), "{}", said(&output));
}
