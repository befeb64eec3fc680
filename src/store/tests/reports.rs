//! What is read from a ledger: exports, the proof that nothing was changed, the way back to it.

use rusqlite::Connection;
use rusqlite::types::Value;
use std::path::Path;
use std::sync::Arc;

use super::{
    AGENT, FLEET, Folder, about, account, blank, founding, hold, limbo, path, refund, settle, step,
};
use crate::base::money::NanoUsd;
use crate::ledger::account::AccountKey;
use crate::ledger::entry::{Entry, HoldId, Kind, Reason};
use crate::store::export::{Format, Wish, export};
use crate::store::replay::replay;
use crate::store::verify::verify;
use crate::store::{Store, StoreError};

/// A ledger with every kind of entry, an open hold and one in limbo; closed without `close_epoch`.
fn lived_in() -> Folder {
    let folder = Folder::new();
    let mut store = folder.own();
    let epoch = store.open_epoch().unwrap().epoch;
    let mut agent = account(AGENT, AccountKey::agent("builder"), Some(FLEET));
    agent.limit_set = Some(NanoUsd(1_500_000_000));
    agent.reset_at_ms = Some(7);
    let made: Vec<Entry> =
        (1..=5).map(|number| hold(HoldId::new(epoch, number), 10, 1_000)).collect();
    let mut batch = founding().to_vec();
    batch.push(Entry { was: batch[1].account.clone(), ..about(agent) });
    batch.extend(made.clone());
    let void =
        Entry { kind: Kind::Void, reason: Reason::NotSent, tokens: None, ..settle(&made[1], 0) };
    batch.extend([settle(&made[0], 7), void, limbo(&made[2]), limbo(&made[3])]);
    batch.push(refund(&made[2], 4));
    let session = about(account(3, AccountKey::session("builder", "a,\"b"), Some(AGENT)));
    let steps = Arc::from([step(3, None), step(AGENT, None), step(FLEET, None)]);
    let spend =
        Entry { path: steps, spent: 2_000_000_001, ..blank(Kind::Spend, Reason::Estimated) };
    let alone =
        Entry { path: Arc::from([step(AGENT, None)]), ..blank(Kind::Adjust, Reason::Admin) };
    let adjust = Entry { spent: -5, ..alone.clone() };
    let reset = Entry { kind: Kind::Reset, spent: -2_000_000_000, ..alone };
    batch.extend([session, spend, adjust, reset]);
    store.commit(&batch).unwrap();
    folder
}

fn exported(file: &Path, format: Format, all: bool) -> String {
    let mut out = Vec::new();
    export(file, Wish { format, all }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn an_untouched_ledger_is_true() {
    let folder = lived_in();
    let found = verify(&folder.file()).unwrap();
    assert_eq!(found.broken, []);
    assert_eq!((found.entries, found.held, found.limbo), (17, 1, 1));
    // Beside a gateway that is at work, too.
    let mut store = folder.own();
    store.open_epoch().unwrap();
    store.commit(&[hold(HoldId::new(2, 1), 1, 1_000)]).unwrap();
    assert_eq!(verify(&folder.file()).unwrap().entries, 18);
}

/// Tables whose rows say nothing about money, and columns of others that do not.
const MUTE: [&str; 2] = ["meta", "sqlite_sequence"];

/// Every column of every row is changed in turn, and every row is taken out.
#[test]
fn whatever_is_changed_is_found() {
    let folder = lived_in();
    let whole = std::fs::read(folder.file()).unwrap();
    let log = folder.path().join("weir.db-wal");
    assert!(!log.exists(), "the last connection has brought everything into the file");
    let all: Vec<String> = cells(&folder.file())
        .iter()
        .flat_map(|(table, column, row)| changes(&folder.file(), table, column, row))
        .collect();
    for change in all {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(folder.path().join(format!("weir.db{suffix}")));
        }
        std::fs::write(folder.file(), &whole).unwrap();
        let conn = Connection::open(folder.file()).unwrap();
        // The engine itself refuses some of them: two rows of one key, nothing where there must be
        // something, a text for a number.
        if conn.execute_batch(&change).is_ok() && conn.changes() > 0 {
            drop(conn);
            let found = verify(&folder.file());
            assert!(found.map_or(true, |found| !found.broken.is_empty()), "{change}");
        }
    }
}

/// Table, column and the condition that finds the row, for every cell there is.
fn cells(file: &Path) -> Vec<(String, String, String)> {
    let conn = Connection::open(file).unwrap();
    let mut found = Vec::new();
    let mut columns = conn
        .prepare(
            "SELECT m.name, c.name, (SELECT group_concat(k.name) FROM pragma_table_info(m.name) k
                 WHERE k.pk > 0) FROM sqlite_schema m, pragma_table_info(m.name) c
             WHERE m.type = 'table'",
        )
        .unwrap();
    let mut rows = columns.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (table, column): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
        if MUTE.contains(&table.as_str()) {
            continue;
        }
        // When a process ran is for people to read; nothing follows from it but whether it has ended.
        if table == "node" && column != "epoch" {
            continue;
        }
        let keys: String = row.get(2).unwrap();
        let condition: Vec<String> =
            keys.split(',').map(|key| format!("'{key} = ' || quote({key})")).collect();
        let condition = condition.join(" || ' AND ' || ");
        let mut select = conn.prepare(&format!("SELECT {condition} FROM {table}")).unwrap();
        for condition in select.query_map([], |row| row.get::<_, String>(0)).unwrap() {
            found.push((table.clone(), column.clone(), condition.unwrap()));
        }
    }
    assert!(found.len() > 400, "{}", found.len());
    found
}

fn changes(file: &Path, table: &str, column: &str, condition: &str) -> Vec<String> {
    let conn = Connection::open(file).unwrap();
    let sql = format!("SELECT {column} FROM {table} WHERE {condition}");
    let value: Value = conn.query_row(&sql, [], |row| row.get(0)).unwrap();
    let set = |to: &str| format!("UPDATE {table} SET {column} = {to} WHERE {condition}");
    let mut changes = vec![format!("DELETE FROM {table} WHERE {condition}")];
    match value {
        Value::Null => changes.extend([set("1"), set("999"), set("'x'"), set("zeroblob(16)")]),
        Value::Blob(_) => {
            changes.extend([set("NULL"), set(&format!("zeroblob(length({column}))"))]);
        }
        Value::Text(_) => changes.extend([set(&format!("{column} || 'x'")), set("'agent:x'")]),
        _ => changes
            .extend(["NULL", &format!("{column} + 1"), &format!("{column} - 1"), "999"].map(set)),
    }
    changes
}

#[test]
fn the_first_broken_entry_is_named() {
    let folder = lived_in();
    let conn = Connection::open(folder.file()).unwrap();
    conn.execute_batch(
        "UPDATE entry SET spent = 1 WHERE seq = 9; UPDATE entry SET held = 0 WHERE seq = 6",
    )
    .unwrap();
    let found = verify(&folder.file()).unwrap();
    assert_eq!(found.broken[0].seq, Some(6));
    assert!(found.broken[0].what.contains("hash"), "{:?}", found.broken);
}

#[test]
fn spending_above_a_cap_is_found_even_in_a_whole_chain() {
    let folder = Folder::new();
    let mut store = folder.own();
    store.open_epoch().unwrap();
    store.commit(&founding()).unwrap();
    let spend = Entry { path: path(5), spent: 5, ..blank(Kind::Spend, Reason::Exact) };
    store.commit(&[spend, hold(HoldId::new(1, 1), 3, 8)]).unwrap();
    assert_eq!(verify(&folder.file()).unwrap().broken, []);
    // What a gateway would never write, though every hash is right.
    let below = Entry { path: path(5), spent: -9, ..blank(Kind::Spend, Reason::Exact) };
    let off = Entry { path: Arc::from([step(AGENT, None)]), spent: 9, ..below.clone() };
    store.commit(&[below, off]).unwrap();
    let found = verify(&folder.file()).unwrap().broken;
    assert_eq!(found.iter().map(|broken| broken.seq).collect::<Vec<_>>(), [Some(5), Some(6)]);
    assert!(found[0].what.contains("below zero"), "{found:?}");
    assert!(found[1].what.contains("nothing above account 2"), "{found:?}");
}

#[test]
fn a_hold_of_an_epoch_that_has_ended_is_found() {
    let folder = lived_in();
    let conn = Connection::open(folder.file()).unwrap();
    conn.execute_batch("UPDATE node SET ended_ms = 1").unwrap();
    let found = verify(&folder.file()).unwrap().broken;
    assert!(found[0].what.contains("of epoch 1, which has ended"), "{found:?}");
}

#[test]
fn what_was_changed_in_the_tables_is_rebuilt() {
    let folder = lived_in();
    let before = exported(&folder.file(), Format::Csv, true);
    let conn = Connection::open(folder.file()).unwrap();
    conn.execute_batch(
        "UPDATE period SET spent = spent + 1 WHERE account = 2; DELETE FROM open;
         UPDATE account SET hard = 7, limit_nano = 1; INSERT INTO period VALUES (9, 9, 9, 9, 9, 9)",
    )
    .unwrap();
    drop(conn);
    assert!(!replay(&folder.file()).unwrap().is_empty());
    assert_eq!(verify(&folder.file()).unwrap().broken, []);
    assert_eq!(replay(&folder.file()).unwrap(), Vec::<String>::new());
    assert_eq!(exported(&folder.file(), Format::Csv, true), before);
}

#[test]
fn nothing_is_rebuilt_from_a_broken_chain_or_under_a_gateway() {
    let folder = lived_in();
    let store = folder.own();
    assert!(matches!(replay(&folder.file()), Err(StoreError::Taken { .. })));
    drop(store);
    let conn = Connection::open(folder.file()).unwrap();
    conn.execute_batch("UPDATE entry SET spent = 1 WHERE seq = 9; DELETE FROM period").unwrap();
    drop(conn);
    let error = replay(&folder.file()).expect_err("the chain is broken").to_string();
    assert!(error.contains("entry 9 "), "{error}");
}

#[test]
fn lines_have_the_names_of_the_seed() {
    let folder = lived_in();
    let text = exported(&folder.file(), Format::Jsonl, false);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let attempts: Vec<_> = lines.iter().filter(|line| line.get("event").is_none()).collect();
    assert_eq!(attempts.len(), 2);
    let first = text.lines().find(|line| !line.contains("event")).unwrap();
    assert_eq!(
        first,
        "{\"timestamp\":\"2023-11-14T22:13:20Z\",\"agent_id\":\"builder\",\"cost\":0.000000007,\
         \"model\":\"first\",\"tokens\":24,\"request_id\":\"0000010000000001000000000000abcd\",\
         \"attempt\":1,\"input\":10,\"cache_read\":2,\"cache_write\":3,\"cache_write_1h\":4,\
         \"output\":5,\"reasoning\":1,\"reason\":\"exact\",\"account\":\"agent:builder\",\"price_version\":\"fffffffffffffffa\",\"seq\":9}"
    );
    assert_eq!(attempts[1]["model"], serde_json::Value::Null);
    assert_eq!(attempts[1]["session_id"], "a,\"b");
    assert!(text.contains("\"cost\":2.000000001"), "{text}");
    let events: Vec<_> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    let expected = [
        "budget", "budget", "budget", "void", "limbo", "limbo", "refund", "budget", "adjust",
        "reset",
    ];
    assert_eq!(events, expected);
    assert!(text.contains("\"event\":\"reset\",\"reason\":\"admin\""), "{text}");
    assert!(text.contains("\"previous_spent\":2,"), "{text}");
    assert!(text.contains("\"limit\":1.5,\"source\":\"console\""), "{text}");
    assert_eq!(exported(&folder.file(), Format::Jsonl, true).lines().count(), 17);
}

#[test]
fn csv_has_one_header_and_quotes_what_must_be() {
    let folder = lived_in();
    let text = exported(&folder.file(), Format::Csv, false);
    let mut rows = text.split("\r\n");
    let header = rows.next().unwrap();
    assert!(header.starts_with("timestamp,agent_id,cost,model,tokens,request_id,event,"));
    assert_eq!(rows.clone().filter(|row| !row.is_empty()).count(), 12);
    let quoted = rows.find(|row| row.contains("2.000000001")).unwrap();
    assert!(quoted.contains(",\"a,\"\"b\","), "{quoted}");
    let commas = header.matches(',').count();
    let plain = text.split("\r\n").find(|row| row.contains("0.000000007")).unwrap();
    assert_eq!(plain.matches(',').count(), commas);
}

/// Bytes of the file per request (a hold and what it came to), page overhead included.
#[test]
fn a_request_takes_few_bytes() {
    const REQUESTS: u64 = 5_000;
    let folder = Folder::new();
    let mut store = folder.own();
    let epoch = store.open_epoch().unwrap().epoch;
    store.commit(&founding()).unwrap();
    store.close_epoch().unwrap();
    let before = std::fs::metadata(folder.file()).unwrap().len();
    for first in (0..REQUESTS).step_by(50) {
        let made = (first..first + 50)
            .map(|number| hold(HoldId::new(epoch, number), 40_000_000, i64::MAX));
        let batch: Vec<Entry> =
            made.flat_map(|made| [made.clone(), settle(&made, 12_345_678)]).collect();
        store.commit(&batch).unwrap();
    }
    drop(store);
    let bytes = std::fs::metadata(folder.file()).unwrap().len() - before;
    assert!(bytes / REQUESTS <= 230, "{}", bytes / REQUESTS);
    assert!(bytes / REQUESTS >= 150, "{}", bytes / REQUESTS);
}
