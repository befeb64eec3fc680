//! What a store does when its file, its disk or its neighbour is bad: it says so, and never begins anew.

use crate::base::money::NanoUsd;
use crate::ledger::account::AccountId;
use crate::ledger::level::{Alarm, Level, Share, Thresholds, Told};
use std::fs;
use std::path::Path;

use rusqlite::Connection;

use super::{AGENT, FLEET, Folder, founding, hold, settle};
use crate::config::snapshot::Synchronous;
use crate::ledger::entry::HoldId;
use crate::ledger::saved::Kept;
use crate::store::sqlite::{Opening, SqliteStore};
use crate::store::verify::verify;
use crate::store::{Store, StoreError};

fn refused(file: &Path) -> StoreError {
    SqliteStore::open(file, Synchronous::Full, Opening::Own).expect_err("it cannot be used")
}

/// A ledger with a few entries, closed.
fn used() -> Folder {
    let folder = Folder::new();
    let mut store = folder.own();
    let epoch = store.open_epoch().unwrap().epoch;
    store.commit(&founding()).unwrap();
    for number in 0..200 {
        let made = hold(HoldId::new(epoch, number), 5, 10_000);
        store.commit(&[made.clone(), settle(&made, 3)]).unwrap();
    }
    store.close_epoch().unwrap();
    folder
}

fn sql(file: &Path, text: &str) {
    Connection::open(file).unwrap().execute_batch(text).unwrap();
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let folder = Folder::new();
    let first = folder.own();
    let error = refused(&folder.file());
    assert!(matches!(error, StoreError::Taken { .. }), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(first);
    folder.own();
}

#[test]
fn no_other_name_leads_past_the_lock() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    let first = folder.own();
    let link = folder.path().join("link.db");
    symlink(folder.file(), &link).unwrap();
    let error = refused(&link);
    assert!(matches!(error, StoreError::Taken { .. }), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(first);
    let by_link = SqliteStore::open(&link, Synchronous::Normal, Opening::Own).unwrap();
    assert!(matches!(refused(&folder.file()), StoreError::Taken { .. }));
    drop(by_link);
    let hard = folder.path().join("hard.db");
    fs::hard_link(folder.file(), &hard).unwrap();
    for file in [&hard, &folder.file()] {
        let error = refused(file).to_string();
        assert!(error.contains("2 names (hard links)"), "{error}");
    }
    fs::remove_file(hard).unwrap();
    folder.own();
}

#[test]
fn what_is_no_ledger_is_refused_and_left_alone() {
    let folder = Folder::new();
    let text = vec![b'x'; 5_000];
    for content in [&b""[..], b"SQLite", &text] {
        fs::write(folder.file(), content).unwrap();
        let error = refused(&folder.file());
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert_eq!(fs::read(folder.file()).unwrap(), content);
        assert!(verify(&folder.file()).is_err());
    }
    fs::remove_file(folder.file()).unwrap();
    sql(&folder.file(), "CREATE TABLE other (x)");
    let error = refused(&folder.file());
    assert!(error.to_string().contains("another program"), "{error}");
}

#[test]
fn a_missing_folder_and_a_folder_are_named() {
    let folder = Folder::new();
    let error = refused(&folder.path().join("no/weir.db"));
    assert!(error.to_string().contains("there is no folder"), "{error}");
    fs::create_dir(folder.path().join("weir.db")).unwrap();
    let error = refused(&folder.file());
    assert!(error.to_string().contains("is not a file"), "{error}");
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = used();
    sql(&folder.file(), "PRAGMA user_version = 4");
    let error = refused(&folder.file());
    assert!(matches!(error, StoreError::Newer { found: 4, known: 3, .. }), "{error}");
    assert!(matches!(verify(&folder.file()), Err(StoreError::Newer { .. })));
}

/// A ledger as the version before left it: its own tables, and a freeze.
fn of_schema_one() -> Folder {
    let folder = used();
    sql(
        &folder.file(),
        "DROP INDEX entry_level; DROP TABLE told; ALTER TABLE entry DROP COLUMN generation;
         ALTER TABLE open DROP COLUMN generation; ALTER TABLE open DROP COLUMN booked; PRAGMA user_version = 1",
    );
    folder
}

#[test]
fn an_older_schema_is_brought_up_to_date_once() {
    let folder = of_schema_one();
    let error = verify(&folder.file()).unwrap_err();
    assert!(error.to_string().contains("older version (schema 1)"), "{error}");
    let before = {
        let mut store = folder.own();
        // The process before goes on writing beside the one that has done it.
        let mut next = folder.take_over();
        next.open_epoch().unwrap();
        let saved = store.open_epoch().unwrap();
        assert_eq!(next.told(AccountId(FLEET)).unwrap(), None);
        saved
    };
    assert!(!before.accounts.is_empty());
    assert_eq!(verify(&folder.file()).unwrap().broken, []);
    assert_eq!(folder.own().open_epoch().unwrap().accounts, before.accounts);
    // Half of a migration is nothing that this program can have left.
    let odd = of_schema_one();
    sql(&odd.file(), "CREATE TABLE told (account INTEGER PRIMARY KEY) STRICT");
    assert!(refused(&odd.file()).to_string().contains("tables"));
}

#[test]
fn what_was_told_is_kept_and_told_by_one_process_only() {
    let folder = used();
    let (mut old, mut new) = (folder.own(), folder.take_over());
    let agent = AccountId(AGENT);
    let shares =
        Thresholds { began: (5, Some(6)), limit: Some(NanoUsd(7)), told: Some(Share::Most) };
    let first = Told { alarm: Alarm::restored(Level::Soft, true), shares };
    assert_eq!(old.told(agent).unwrap(), None);
    assert!(old.tell(agent, None, &first).unwrap());
    assert!(!new.tell(agent, None, &first).unwrap(), "it was told already");
    assert_eq!(new.told(agent).unwrap(), Some(first));
    assert!(new.tell(agent, Some(&first), &Told::default()).unwrap());
    drop((old, new));
    assert_eq!(folder.own().told(agent).unwrap(), Some(Told::default()));
    assert_eq!(verify(&folder.file()).unwrap().broken, []);
    sql(
        &folder.file(),
        "UPDATE told SET share = 51; INSERT INTO told VALUES (9, 7, 0, 0, NULL, NULL, 50)",
    );
    let found = verify(&folder.file()).unwrap().broken;
    let found: Vec<&str> = found.iter().map(|broken| &*broken.what).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("what was told of account 2 makes no sense"), "{found:?}");
    assert!(found[1].starts_with("something was told of account 9"), "{found:?}");
}

#[test]
fn other_tables_are_refused() {
    let folder = used();
    sql(&folder.file(), "ALTER TABLE period DROP COLUMN cap");
    let error = refused(&folder.file());
    assert!(error.to_string().contains("tables"), "{error}");
}

#[test]
fn a_log_without_its_file_is_refused() {
    let folder = used();
    fs::remove_file(folder.file()).unwrap();
    fs::write(folder.path().join("weir.db-wal"), b"some log").unwrap();
    let error = refused(&folder.file());
    assert!(error.to_string().contains("is gone"), "{error}");
    assert!(!folder.file().exists());
}

#[test]
fn a_shorter_file_is_refused() {
    let folder = used();
    let length = fs::metadata(folder.file()).unwrap().len();
    for left in [length - 1, length - 4096, 4096, 100] {
        let file = fs::OpenOptions::new().write(true).open(folder.file()).unwrap();
        file.set_len(left).unwrap();
        let error = refused(&folder.file());
        assert!(matches!(error, StoreError::Corrupt { .. }), "{left}: {error}");
    }
}

/// Every page in turn is overwritten: opening or `verify` finds it.
#[test]
fn a_spoilt_page_is_found() {
    let folder = used();
    let whole = fs::read(folder.file()).unwrap();
    for page in 0..whole.len() / 4096 {
        let mut spoilt = whole.clone();
        spoilt[page * 4096 + 8..(page + 1) * 4096].fill(0xa5);
        fs::write(folder.file(), &spoilt).unwrap();
        let opened = SqliteStore::open(&folder.file(), Synchronous::Normal, Opening::Own)
            .and_then(|mut store| store.open_epoch());
        let found = opened.is_err()
            || verify(&folder.file()).map_or(true, |found| !found.broken.is_empty());
        // A table without rows has nothing to spoil: its count of cells is zero.
        let start = if page == 0 { 100 } else { page * 4096 };
        let is_empty = whole[start + 3..start + 5] == [0, 0];
        assert!(found || is_empty, "page {page}");
        let _ = fs::remove_file(folder.path().join("weir.db-wal"));
    }
}

#[test]
fn a_changed_last_entry_keeps_it_from_opening() {
    let folder = used();
    sql(
        &folder.file(),
        "UPDATE entry SET spent = spent - 1 WHERE seq = (SELECT max(seq) FROM entry)",
    );
    let error = refused(&folder.file());
    assert!(error.to_string().contains("does not follow"), "{error}");
}

#[test]
fn a_full_disk_takes_nothing_and_heals() {
    let folder = used();
    let mut store = folder.own();
    let epoch = store.open_epoch().unwrap().epoch;
    let pages = store.limit_pages(1);
    let holds: Vec<_> =
        (0..500).map(|number| hold(HoldId::new(epoch, number), 1, 10_000)).collect();
    let error = store.commit(&holds).expect_err("there is no room");
    assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(store.hold(HoldId::new(epoch, 0)).unwrap(), None);
    store.limit_pages(pages + 1_000);
    assert_eq!(store.commit(&holds).unwrap(), vec![Kept::Done; 500]);
    drop(store);
    assert_eq!(verify(&folder.file()).unwrap().broken, []);
}

/// The disk is full after the first page, the second, and so on, until there is enough: each time the
/// whole batch is kept, or nothing of it.
#[test]
fn a_batch_is_kept_as_a_whole_or_not_at_all() {
    let folder = Folder::new();
    let mut store = folder.own();
    let epoch = store.open_epoch().unwrap().epoch;
    store.commit(&founding()).unwrap();
    let used = store.limit_pages(1);
    let holds: Vec<_> =
        (0..200).map(|number| hold(HoldId::new(epoch, number), 1, 10_000)).collect();
    let mut failures = 0;
    for more in 0.. {
        store.limit_pages(used + more);
        if store.commit(&holds).is_ok() {
            break;
        }
        failures += 1;
        let head = verify(&folder.file()).unwrap();
        assert_eq!((head.entries, head.broken.len()), (2, 0));
    }
    assert!(failures > 3, "{failures}");
    assert_eq!(verify(&folder.file()).unwrap().entries, 202);
}

#[test]
fn a_read_only_file_is_refused() {
    let folder = used();
    let file = folder.file();
    let mut rights = fs::metadata(&file).unwrap().permissions();
    rights.set_readonly(true);
    fs::set_permissions(&file, rights).unwrap();
    if fs::OpenOptions::new().write(true).open(&file).is_ok() {
        // The superuser writes all the same, and so may the gateway.
        drop(folder.own());
        return;
    }
    let error = refused(&file);
    assert!(error.to_string().contains("read-only"), "{error}");
}

#[test]
fn a_process_that_is_taken_over_from_must_have_a_ledger() {
    let folder = Folder::new();
    let first = folder.own();
    fs::remove_file(folder.file()).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(folder.path().join(format!("weir.db{suffix}")));
    }
    let error = SqliteStore::open(&folder.file(), Synchronous::Full, Opening::TakeOver);
    assert!(error.expect_err("it is gone").to_string().contains("does not exist"));
    drop(first);
}

/// The process, or the machine, ends at any point of writing its log: whole batches are there, from the
/// first one on, and the chain is whole.
#[test]
fn a_log_that_ends_anywhere_holds_whole_batches() {
    let folder = used();
    let mut store = folder.own();
    let epoch = store.open_epoch().unwrap().epoch;
    let before = verify(&folder.file()).unwrap().entries;
    for number in 0..8 {
        let made = hold(HoldId::new(epoch, number), 5, 10_000);
        let batch =
            [made.clone(), settle(&made, 3), hold(HoldId::new(epoch, 100 + number), 1, 10_000)];
        store.commit(&batch).unwrap();
    }
    let log = fs::read(folder.path().join("weir.db-wal")).unwrap();
    let mut seen = Vec::new();
    for length in (0..=log.len()).step_by(1_000).chain([log.len()]) {
        let crashed = Folder::new();
        fs::copy(folder.file(), crashed.file()).unwrap();
        fs::write(crashed.path().join("weir.db-wal"), &log[..length]).unwrap();
        let mut store = crashed.own();
        store.open_epoch().unwrap();
        let open = store.orphans().unwrap().unwrap().holds;
        let found = verify(&crashed.file()).unwrap();
        assert_eq!(found.broken, [], "{length}");
        let batches = (found.entries - before) / 3;
        assert_eq!(found.entries, before + 3 * batches, "{length}");
        assert_eq!(open.len() as u64, batches, "{length}");
        seen.push(batches);
    }
    assert!(seen.is_sorted());
    assert_eq!((seen[0], seen[seen.len() - 1]), (0, 8));
}
