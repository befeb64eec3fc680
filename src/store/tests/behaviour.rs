//! What a store does when all is well: keep, refuse, give back.

use super::{
    AGENT, FLEET, Folder, about, account, blank, founding, hold, limbo, path, refund, settle, step,
};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use crate::base::money::NanoUsd;
use crate::ledger::account::{Account, AccountId, AccountKey, Cadence, Terms};
use crate::ledger::book::Book;
use crate::ledger::entry::{Entry, HoldId, Kind, Reason, Step};
use crate::ledger::hold::SpendOrder;
use crate::ledger::plan::Planned;
use crate::ledger::saved::{Balance, Kept};
use crate::store::replay::replay;
use crate::store::sqlite::SqliteStore;
use crate::store::verify::verify;
use crate::store::{Orphans, Store, StoreError};

fn balance(account: u32, spent: i64, held: i64) -> Balance {
    Balance { account: AccountId(account), start_ms: 0, end_ms: i64::MAX, spent, held }
}

#[test]
fn a_new_ledger_is_empty_and_private() {
    let folder = Folder::new();
    let mut store = folder.own();
    let saved = store.open_epoch().unwrap();
    assert_eq!((saved.epoch, saved.accounts.len(), saved.balances.len()), (1, 0, 0));
    store.commit(&founding()).unwrap();
    for name in ["weir.db", "weir.db-wal", "weir.db-shm", "weir.db.lock"] {
        let found = std::fs::metadata(folder.path().join(name)).expect(name);
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

/// A calendar may end a period elsewhere than it did before.
#[test]
fn a_period_that_ends_elsewhere_is_stored_so() {
    let folder = Folder::new();
    let mut store = folder.own();
    let epoch = store.open_epoch().unwrap().epoch;
    store.commit(&founding()).unwrap();
    for (number, end_ms) in [(1, 500), (2, 500), (3, 700), (4, 600)] {
        let step = Step { end_ms, ..step(AGENT, Some(100)) };
        let path = Arc::from([step, super::step(FLEET, None)]);
        let made = Entry { path, ..hold(HoldId::new(epoch, number), 1, 100) };
        assert_eq!(store.commit(&[made.clone(), settle(&made, 1)]).unwrap(), [Kept::Done; 2]);
        let conn = rusqlite::Connection::open(folder.file()).unwrap();
        let sql =
            "SELECT end_ms FROM period INDEXED BY period_end WHERE account = ? AND end_ms > 0";
        let stored: i64 = conn.query_row(sql, [AGENT], |row| row.get(0)).unwrap();
        assert_eq!(stored, end_ms);
    }
    assert_eq!(crate::store::verify::verify(&folder.file()).unwrap().broken, []);
}

#[test]
fn what_was_kept_comes_back() {
    let folder = Folder::new();
    let mut store = folder.own();
    let epoch = store.open_epoch().unwrap().epoch;
    let first = hold(HoldId::new(epoch, 1), 60, 100);
    let second = hold(HoldId::new(epoch, 2), 40, 100);
    store.commit(&founding()).unwrap();
    let kept = store.commit(&[first.clone(), second.clone(), settle(&first, 7)]).unwrap();
    assert_eq!(kept, [Kept::Done; 3]);
    // No close: the process ends here.
    drop(store);
    let mut store = folder.own();
    let saved = store.open_epoch().unwrap();
    assert_eq!(saved.epoch, 2);
    let accounts: Vec<Entry> = saved.accounts.into_iter().map(about).collect();
    assert_eq!(accounts, founding());
    assert_eq!(saved.balances, [balance(FLEET, 7, 40), balance(AGENT, 7, 40)]);
    let Orphans { holds: open, balances } = store.orphans().unwrap().unwrap();
    assert_eq!((open.len(), &balances), (1, &saved.balances));
    assert_eq!(open[0].hold.epoch(), 1);
    assert_eq!((&open[0].made, open[0].limbo), (&second, false));
    assert_eq!(open[0].path, second.path);
    assert_eq!(store.hold(HoldId::new(1, 2)).unwrap(), Some(open[0].clone()));
    assert_eq!(store.hold(HoldId::new(1, 1)).unwrap(), None);
}

fn reopened(folder: &Folder) -> SqliteStore {
    let mut store = folder.own();
    store.open_epoch().unwrap();
    store
}

#[test]
fn a_hold_that_does_not_fit_leaves_no_trace() {
    let folder = Folder::new();
    let mut store = folder.own();
    store.open_epoch().unwrap();
    let holds =
        [60, 41, 40].map(|amount: i64| hold(HoldId::new(1, amount.unsigned_abs()), amount, 100));
    let kept = store.commit(&holds).unwrap();
    assert_eq!(kept, [Kept::Done, Kept::NoRoom, Kept::Done]);
    let late = hold(HoldId::new(1, 9), 1, 100);
    assert_eq!(store.commit(&[late]).unwrap(), [Kept::NoRoom]);
    drop(store);
    let open = reopened(&folder).orphans().unwrap().unwrap().holds;
    assert_eq!(open.len(), 2);
    // The fleet stands after the agent, whose cap refused.
    assert!(open.iter().all(|open| open.path.len() == 2));
}

#[test]
fn a_cap_further_up_refuses_as_well() {
    let folder = Folder::new();
    let mut store = folder.own();
    let id = HoldId::new(store.open_epoch().unwrap().epoch, 1);
    let path: Arc<[Step]> = Arc::from([step(AGENT, None), step(FLEET, Some(5))]);
    let over = Entry { path: Arc::clone(&path), ..hold(id, 6, 0) };
    assert_eq!(store.commit(&[over]).unwrap(), [Kept::NoRoom]);
    // Nor has the agent been charged.
    let fits = Entry { path, ..hold(id, 5, 0) };
    assert_eq!(store.commit(&[fits]).unwrap(), [Kept::Done]);
    drop(store);
    let open = reopened(&folder).orphans().unwrap().unwrap().holds;
    assert_eq!(open[0].made.held, 5);
}

#[test]
fn each_hold_is_resolved_once() {
    let folder = Folder::new();
    let mut store = folder.own();
    let epoch = store.open_epoch().unwrap().epoch;
    store.commit(&founding()).unwrap();
    let made = hold(HoldId::new(epoch, 1), 10, 100);
    let void = Entry { kind: Kind::Void, spent: 0, ..settle(&made, 0) };
    assert_eq!(store.commit(&[settle(&made, 3)]).unwrap(), [Kept::NotOpen]);
    let twice =
        [made.clone(), made.clone(), settle(&made, 3), settle(&made, 3), void, limbo(&made)];
    let kept = store.commit(&twice).unwrap();
    assert_eq!(&kept[..3], [Kept::Done; 3]);
    assert_eq!(&kept[3..], [Kept::NotOpen; 3]);
    assert_eq!(store.commit(&[settle(&made, 3), refund(&made, 1)]).unwrap(), [Kept::NotOpen; 2]);
    let (_, found) = store.account(&AccountKey::fleet()).unwrap().unwrap();
    assert_eq!(found, Some(balance(FLEET, 3, 0)));
}

#[test]
fn limbo_is_spent_until_it_is_refunded() {
    let folder = Folder::new();
    let mut store = folder.own();
    let epoch = store.open_epoch().unwrap().epoch;
    store.commit(&founding()).unwrap();
    let made = [1, 2, 3].map(|number| hold(HoldId::new(epoch, number), 10, 100));
    store.commit(&made).unwrap();
    // A refund has nothing to give back before.
    assert_eq!(store.commit(&[refund(&made[0], 4)]).unwrap(), [Kept::NotOpen]);
    store.commit(&[limbo(&made[1]), limbo(&made[0])]).unwrap();
    let listed = store.limbo(9).unwrap();
    assert_eq!(listed.iter().map(|open| open.made.clone()).collect::<Vec<_>>(), made[..2]);
    assert!(listed.iter().all(|open| open.limbo));
    assert_eq!(store.limbo(1).unwrap().len(), 1);
    assert_eq!(store.commit(&[settle(&made[0], 1)]).unwrap(), [Kept::NotOpen]);
    assert_eq!(
        store.commit(&[refund(&made[0], 4), refund(&made[0], 4)]).unwrap(),
        [Kept::Done, Kept::NotOpen]
    );
    let (_, found) = store.account(&AccountKey::fleet()).unwrap().unwrap();
    assert_eq!(found, Some(balance(FLEET, 16, 10)));
}

#[test]
fn a_late_settlement_by_the_old_process_counts() {
    let folder = Folder::new();
    let mut old = folder.own();
    let made = hold(HoldId::new(old.open_epoch().unwrap().epoch, 1), 10, 100);
    old.commit(&founding()).unwrap();
    old.commit(std::slice::from_ref(&made)).unwrap();
    let mut new = folder.take_over();
    new.open_epoch().unwrap();
    assert_eq!(new.orphans().unwrap(), None);
    assert_eq!(new.refresh().unwrap(), None);
    assert_eq!(old.commit(&[settle(&made, 4)]).unwrap(), [Kept::Done]);
    let news = new.refresh().unwrap().unwrap();
    assert_eq!(news.balances, [balance(FLEET, 4, 0), balance(AGENT, 4, 0)]);
    assert_eq!(news.accounts, []);
    assert_eq!(new.refresh().unwrap(), None);
    assert_eq!(new.commit(&[limbo(&made)]).unwrap(), [Kept::NotOpen]);
    old.close_epoch().unwrap();
    drop(old);
    assert_eq!(new.orphans().unwrap(), Some(Orphans::default()));
}

#[test]
fn own_changes_are_no_news_but_those_of_others_are() {
    let folder = Folder::new();
    let (mut old, mut new) = (folder.own(), folder.take_over());
    let (first, second) = (old.open_epoch().unwrap().epoch, new.open_epoch().unwrap().epoch);
    new.commit(&[hold(HoldId::new(second, 1), 1, 100)]).unwrap();
    assert_eq!(new.refresh().unwrap(), None);
    old.commit(&[hold(HoldId::new(first, 1), 2, 100)]).unwrap();
    // The news is not lost by a commit of our own in between.
    new.commit(&[hold(HoldId::new(second, 2), 4, 100)]).unwrap();
    let news = new.refresh().unwrap().expect("news");
    assert_eq!(news.balances, [balance(FLEET, 0, 7), balance(AGENT, 0, 7)]);
}

#[test]
fn two_processes_race_for_the_last_cent() {
    let folder = Folder::new();
    let stores = [folder.own(), folder.take_over()];
    let racers = stores.map(|mut store| {
        std::thread::spawn(move || {
            let epoch = store.open_epoch().unwrap().epoch;
            let mut admitted = 0;
            for number in 0..100 {
                let kept = store.commit(&[hold(HoldId::new(epoch, number), 1, 37)]).unwrap();
                admitted += i32::from(kept == [Kept::Done]);
            }
            admitted
        })
    });
    let admitted: i32 = racers.map(|racer| racer.join().unwrap()).iter().sum();
    assert_eq!(admitted, 37);
}

#[test]
fn an_account_changes_and_keeps_its_number() {
    let folder = Folder::new();
    let mut store = folder.own();
    store.open_epoch().unwrap();
    store.commit(&founding()).unwrap();
    let mut agent = account(AGENT, AccountKey::agent("builder"), Some(FLEET));
    (agent.limit_set, agent.frozen, agent.reset_at_ms) = (Some(NanoUsd(-1)), true, Some(5));
    agent.terms.zone = Arc::from("Europe/Berlin");
    let change = Entry { was: founding()[1].account.clone(), ..about(agent.clone()) };
    store.commit(&[change]).unwrap();
    let found = store.account(&agent.key).unwrap();
    assert_eq!(found, Some((agent, None)));
    assert_eq!(store.account(&AccountKey::agent("nobody")).unwrap(), None);
}

/// The account, changed.
fn changed(of: &Account, change: impl FnOnce(&mut Account)) -> Entry {
    let mut now = of.clone();
    change(&mut now);
    Entry { was: Some(Arc::new(of.clone())), ..about(now) }
}

#[test]
fn two_processes_change_different_things_of_one_account() {
    let folder = Folder::new();
    let (mut old, mut new) = (folder.own(), folder.take_over());
    old.open_epoch().unwrap();
    old.commit(&founding()).unwrap();
    new.open_epoch().unwrap();
    let agent = account(AGENT, AccountKey::agent("builder"), Some(FLEET));
    old.commit(&[changed(&agent, |agent| agent.frozen = true)]).unwrap();
    // It does not know of the freeze.
    new.commit(&[changed(&agent, |agent| agent.limit_set = Some(NanoUsd(70)))]).unwrap();
    let both = Account { frozen: true, limit_set: Some(NanoUsd(70)), ..agent.clone() };
    // Its own transaction found nothing new, so the first look afterwards is spared.
    assert_eq!(old.refresh().unwrap(), None);
    for store in [&mut old, &mut new] {
        assert_eq!(store.refresh().unwrap().unwrap().accounts, std::slice::from_ref(&both));
        assert_eq!(store.refresh().unwrap(), None);
    }
    // What is the case already is no entry, and an account that is opened again is left as it is.
    let again = [changed(&agent, |agent| agent.frozen = true), about(agent)];
    assert_eq!(old.commit(&again).unwrap(), [Kept::Done; 2]);
    assert_eq!(new.refresh().unwrap(), None);
    drop((old, new));
    let found = verify(&folder.file()).unwrap();
    assert_eq!((found.entries, found.broken), (4, Vec::new()));
    assert_eq!(replay(&folder.file()).unwrap(), Vec::<String>::new());
}

#[test]
fn a_hold_meets_the_limits_and_freezes_that_another_process_has_set_meanwhile() {
    let folder = Folder::new();
    let (mut old, mut new) = (folder.own(), folder.take_over());
    old.open_epoch().unwrap();
    old.commit(&founding()).unwrap();
    let epoch = new.open_epoch().unwrap().epoch;
    let agent = account(AGENT, AccountKey::agent("builder"), Some(FLEET));
    let lowered = changed(&agent, |agent| agent.limit_set = Some(NanoUsd(50)));
    old.commit(std::slice::from_ref(&lowered)).unwrap();
    // Both were made under the limit of 100.
    let holds = [51, 50].map(|amount| hold(HoldId::new(epoch, amount), amount.cast_signed(), 100));
    assert_eq!(new.commit(&holds).unwrap(), [Kept::NoRoom, Kept::Done]);
    new.refresh().unwrap();
    let fleet = account(FLEET, AccountKey::fleet(), None);
    old.commit(&[changed(&fleet, |fleet| fleet.frozen = true)]).unwrap();
    let late = hold(HoldId::new(epoch, 1), 0, 100);
    assert_eq!(new.commit(&[late]).unwrap(), [Kept::NoRoom]);
}

#[test]
fn accounts_that_clash_stop_the_batch() {
    let folder = Folder::new();
    let mut store = folder.own();
    store.open_epoch().unwrap();
    store.commit(&founding()).unwrap();
    for (id, key, same) in [(AGENT, "other", None), (9, "builder", Some(AccountId(AGENT)))] {
        let clash = about(account(id, AccountKey::agent(key), Some(FLEET)));
        let spend = Entry { path: path(1), spent: 5, ..blank(Kind::Spend, Reason::Exact) };
        let error = store.commit(&[spend, clash]).expect_err("two of one number or name");
        let StoreError::Clash { wanted, same: there, free, .. } = error else { panic!("{error}") };
        assert_eq!((wanted, there, free), (AccountId(id), same, AccountId(AGENT + 1)));
    }
    let (_, found) = store.account(&AccountKey::fleet()).unwrap().unwrap();
    assert_eq!(found, None);
}

#[test]
fn periods_that_matter_are_given_back() {
    let folder = Folder::new();
    let mut store = folder.own();
    store.open_epoch().unwrap();
    store.commit(&founding()).unwrap();
    let at = |start_ms: i64, end_ms: i64| {
        let agent = Step { start_ms, end_ms, ..step(AGENT, None) };
        Entry {
            path: Arc::from([agent]),
            spent: 1,
            at_ms: 1_000,
            ..blank(Kind::Spend, Reason::Exact)
        }
    };
    // Long over; still running though it began before the next; over, but the latest.
    store.commit(&[at(0, 500), at(100, 2_000), at(900, 1_000), at(950, 1_000)]).unwrap();
    let open = Entry { held: 1, ..at(200, 300) };
    let open = Entry { kind: Kind::Hold, hold: Some(HoldId::new(1, 1)), ..open };
    store.commit(&[open]).unwrap();
    drop(store);
    let mut store = folder.own();
    let starts = |balances: &[Balance]| balances.iter().map(|one| one.start_ms).collect::<Vec<_>>();
    assert_eq!(starts(&store.open_epoch().unwrap().balances), [100, 950]);
    assert_eq!(starts(&store.orphans().unwrap().unwrap().balances), [200]);
}

#[test]
fn an_entry_without_what_it_needs_is_not_kept() {
    let folder = Folder::new();
    let mut store = folder.own();
    store.open_epoch().unwrap();
    for kind in [Kind::Account, Kind::Hold, Kind::Settle, Kind::Void, Kind::Limbo, Kind::Refund] {
        let kept = store.commit(&[blank(kind, Reason::Admin)]).unwrap();
        assert_eq!(kept, [Kept::NotOpen], "{kind:?}");
    }
}

/// A book of one agent in a real store, configured by a calendar.
fn configured(folder: &Folder, cadence: Cadence, at_ms: i64) -> (SqliteStore, Book) {
    let mut store = folder.own();
    let mut book = Book::restore(store.open_epoch().unwrap());
    let limit = Some(NanoUsd(1_000));
    let terms = Terms { limit, cadence, zone: Arc::from("UTC"), hard: true };
    let plan = [Planned { key: AccountKey::agent("a"), parent: None, terms }];
    store.commit(&book.configure(&plan, at_ms).unwrap()).unwrap();
    (store, book)
}

fn spend(store: &mut SqliteStore, book: &mut Book, cost: i64, at_ms: i64) -> i64 {
    let leaf = book.id(&AccountKey::agent("a")).unwrap();
    let order = SpendOrder {
        leaf,
        cost: NanoUsd(cost),
        tokens: None,
        reason: Reason::Exact,
        request: crate::base::id::RequestId::from_bits(1),
        attempt: 1,
        model: Arc::from("m"),
        price_version: 0,
    };
    store.commit(&[book.spend(&order, at_ms).unwrap()]).unwrap();
    book.standing(leaf, at_ms).unwrap().spent.0
}

#[test]
fn what_was_spent_under_another_calendar_is_known_after_a_restart() {
    let folder = Folder::new();
    let day = 86_400_000;
    // 2026-11-21T12:00Z.
    let noon = 1_795_219_200_000 + day / 2;
    let (mut store, mut book) = configured(&folder, Cadence::Monthly, noon - 3 * day);
    assert_eq!(spend(&mut store, &mut book, 500, noon - 3 * day), 500);
    assert_eq!(spend(&mut store, &mut book, 40, noon - 1), 540);
    drop(store);
    let (mut store, mut book) = configured(&folder, Cadence::Daily, noon);
    assert_eq!(spend(&mut store, &mut book, 1, noon), 541, "all of the month at first");
    let [stretch] = book.take_stretches()[..] else { panic!("one stretch") };
    assert_eq!((stretch.counted, stretch.until_ms), (540, noon));
    assert_eq!(store.spent_within(&stretch, 100).unwrap(), Some(40), "only 40 of it today");
    assert_eq!(store.spent_within(&stretch, 2).unwrap(), None, "too many entries to be sure");
    let less = book.carry_less(&stretch, 40, noon).unwrap();
    store.commit(std::slice::from_ref(&less)).unwrap();
    assert_eq!(book.carry_less(&stretch, 40, noon), None, "and no second time");
    assert_eq!(spend(&mut store, &mut book, 1, noon), 42);
    drop(store);
    let (mut store, mut book) = configured(&folder, Cadence::Monthly, noon + 1);
    assert_eq!(spend(&mut store, &mut book, 0, noon + 1), 542, "each part once");
    assert_eq!(book.take_stretches(), []);
    drop(store);
    let (mut store, mut book) = configured(&folder, Cadence::Hourly, noon + 2);
    assert_eq!(spend(&mut store, &mut book, 0, noon + 2), 2);
    drop(store);
    assert_eq!(verify(&folder.file()).unwrap().broken, []);
}

/// 2026-11-21T12:00Z.
const NOON: i64 = 1_795_219_200_000 + 43_200_000;
const DAY: i64 = 86_400_000;

#[test]
fn what_lies_behind_a_first_period_without_end_is_known_after_a_restart() {
    let folder = Folder::new();
    let (mut store, mut book) = configured(&folder, Cadence::None, NOON - 70 * DAY);
    spend(&mut store, &mut book, 7, NOON - 70 * DAY);
    drop(store);
    let (mut store, mut book) = configured(&folder, Cadence::Daily, NOON - 65 * DAY);
    let [stretch] = book.take_stretches()[..] else { panic!("one stretch") };
    store.commit(&[book.carry_less(&stretch, 0, NOON - 65 * DAY).unwrap()]).unwrap();
    for day in 0..=60 {
        spend(&mut store, &mut book, 1, NOON - (60 - day) * DAY);
    }
    drop(store);
    let (mut store, mut book) = configured(&folder, Cadence::None, NOON + 1);
    assert_eq!(spend(&mut store, &mut book, 0, NOON + 1), 7 + 61);
}

#[test]
fn the_latest_period_counts_once_however_long_ago_it_was() {
    let folder = Folder::new();
    let (mut store, mut book) = configured(&folder, Cadence::Daily, NOON - 60 * DAY);
    spend(&mut store, &mut book, 5, NOON - 60 * DAY);
    let other = Step { account: AccountId(77), ..step(AGENT, None) };
    let path = Arc::from([other]);
    store
        .commit(&[Entry { path, spent: 1, at_ms: NOON, ..blank(Kind::Spend, Reason::Exact) }])
        .unwrap();
    drop(store);
    let (mut store, mut book) = configured(&folder, Cadence::None, NOON + 1);
    assert_eq!(spend(&mut store, &mut book, 0, NOON + 1), 5);
}

#[test]
fn what_was_spent_in_the_millisecond_of_the_change_counts() {
    let folder = Folder::new();
    let (mut store, mut book) = configured(&folder, Cadence::Monthly, NOON - 3 * DAY);
    spend(&mut store, &mut book, 500, NOON - 3 * DAY);
    spend(&mut store, &mut book, 40, NOON - 1);
    spend(&mut store, &mut book, 3, NOON);
    drop(store);
    let (mut store, mut book) = configured(&folder, Cadence::Daily, NOON);
    spend(&mut store, &mut book, 100, NOON);
    let [stretch] = book.take_stretches()[..] else { panic!("one stretch") };
    assert_eq!(store.spent_within(&stretch, 100).unwrap(), Some(43), "of the old period only");
}

#[test]
fn what_follows_from_a_refund_is_kept_with_it_or_not_at_all() {
    let folder = Folder::new();
    let mut store = folder.own();
    store.open_epoch().unwrap();
    store.commit(&founding()).unwrap();
    let made = hold(HoldId::new(1, 1), 100, 1_000);
    store.commit(&[made.clone(), limbo(&made)]).unwrap();
    let fleet = |store: &mut SqliteStore| {
        store.account(&AccountKey::fleet()).unwrap().unwrap().1.unwrap().spent
    };
    assert_eq!(fleet(&mut store), 100);
    let back = refund(&made, 0);
    let above: Arc<[Step]> = made.path.iter().skip(1).copied().collect();
    let rest = Entry { kind: Kind::Adjust, path: above, spent: -80, ..back.clone() };
    assert_eq!(store.commit(std::slice::from_ref(&rest)).unwrap(), [Kept::NotOpen], "alone");
    assert_eq!(store.commit(&[back.clone(), rest.clone()]).unwrap(), [Kept::Done; 2]);
    assert_eq!(fleet(&mut store), 20);
    // Another process, or the same batch once more.
    assert_eq!(store.commit(&[back, rest]).unwrap(), [Kept::NotOpen; 2]);
    assert_eq!(fleet(&mut store), 20, "no second credit");
    drop(store);
    assert_eq!(verify(&folder.file()).unwrap().broken, []);
}
