//! Two processes that share a ledger for a while, from one seed: each has a book of its own and does with
//! the store what the scribe does; both hold and settle, set limits, freeze, reset, and open the same sessions.
//!
//! A provider keeps its own bill. At every step no hard limit that both know is exceeded by what was sent,
//! and the ledger is never below the bill; at the end both books say what the file says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Folder;
use crate::base::id::RequestId;
use crate::base::money::{NanoUsd, PicoUsd};
use crate::ledger::account::{Account, AccountId, AccountKey, Cadence, Terms};
use crate::ledger::book::Book;
use crate::ledger::dice::Dice;
use crate::ledger::entry::{Entry, HoldId, Kind, Reason};
use crate::ledger::hold::{HoldOrder, Outcome};
use crate::ledger::plan::Planned;
use crate::ledger::saved::Kept;
use crate::store::sqlite::SqliteStore;
use crate::store::verify::verify;
use crate::store::{Store, StoreError};

const NOW: i64 = 1_795_219_200_000;

/// One process.
struct Process {
    store: SqliteStore,
    book: Book,
    pending: Vec<Entry>,
    /// Holds without an outcome: what each holds, whether it is durable, and the bill once it was sent.
    flights: BTreeMap<HoldId, (i64, bool, Option<i64>)>,
}

fn terms(limit: Option<i64>) -> Terms {
    Terms {
        limit: limit.map(NanoUsd),
        cadence: Cadence::Daily,
        zone: Arc::from("UTC"),
        hard: limit.is_some(),
    }
}

fn plan(limit: i64) -> Vec<Planned> {
    let agent = |id: &str| Planned {
        key: AccountKey::agent(id),
        parent: Some(AccountKey::fleet()),
        terms: terms(Some(limit)),
    };
    let fleet = Planned { key: AccountKey::fleet(), parent: None, terms: terms(Some(3 * limit)) };
    vec![fleet, agent("a"), agent("b")]
}

impl Process {
    /// `ahead` numbers are left to the process before.
    fn start(mut store: SqliteStore, ahead: u32) -> Self {
        let mut saved = store.open_epoch().unwrap();
        saved.next_account.0 += ahead;
        let book = Book::restore(saved);
        Self { store, book, pending: Vec::new(), flights: BTreeMap::new() }
    }

    fn account(&self, dice: &mut Dice) -> AccountId {
        let ids: Vec<AccountId> = self.book.accounts().map(|account| account.id).collect();
        *dice.pick(&ids)
    }

    fn hold(&mut self, dice: &mut Dice) {
        let name = *dice.pick(&["a", "b"]);
        let Some(agent) = self.book.id(&AccountKey::agent(name)) else { return };
        let mut leaf = agent;
        if dice.happens(50) {
            let key = AccountKey::session(name, &dice.below(40).to_string());
            // As the bookkeeper does: what the store has is not opened anew.
            match self.store.account(&key).unwrap() {
                Some((account, balance)) if self.book.id(&key).is_none() => {
                    leaf = account.id;
                    self.book.admit_account(account, balance);
                }
                _ => {
                    let opened = self.book.open_session(agent, key, terms(Some(400)), NOW);
                    leaf = opened.0;
                    self.pending.extend(opened.1);
                }
            }
        }
        let order = HoldOrder {
            leaf,
            fixed: PicoUsd(i128::from(dice.up_to(200)) * 1_000),
            per_output_token: PicoUsd(0),
            output_cap: 0,
            output_floor: 0,
            request: RequestId::from_bits(u128::from(dice.roll())),
            attempt: 1,
            model: Arc::from("m"),
            price_version: 1,
        };
        if let Ok((grant, entry)) = self.book.hold(&order, NOW) {
            self.flights.insert(grant.hold, (grant.amount.0, false, None));
            self.pending.push(entry);
        }
    }

    /// What was sent is billed from then on.
    fn send(&mut self, dice: &mut Dice) -> i64 {
        let ready = self.flights.values_mut().find(|flight| flight.1 && flight.2.is_none());
        let Some((amount, _, bill)) = ready else { return 0 };
        *bill.insert(dice.up_to(*amount))
    }

    fn settle(&mut self) {
        let Some((&hold, &(_, _, bill))) = self.flights.iter().find(|(_, flight)| flight.1) else {
            return;
        };
        self.flights.remove(&hold);
        let outcome = match bill {
            None => Outcome::Nothing { reason: Reason::NotSent },
            Some(bill) => {
                Outcome::Cost { cost: NanoUsd(bill), tokens: None, reason: Reason::Exact }
            }
        };
        self.pending.extend(self.book.settle(hold, &outcome, NOW).unwrap().entries);
    }

    /// A client leaves before its hold is durable: the void waits behind a hold that may be refused.
    fn leave(&mut self) {
        let Some((&hold, _)) = self.flights.iter().find(|(_, flight)| !flight.1) else { return };
        self.flights.remove(&hold);
        let outcome = Outcome::Nothing { reason: Reason::NotSent };
        self.pending.extend(self.book.settle(hold, &outcome, NOW).unwrap().entries);
    }

    fn intervene(&mut self, dice: &mut Dice) {
        let account = self.account(dice);
        let limit = dice.happens(70).then(|| NanoUsd(dice.up_to(3_000)));
        let entries: Vec<Entry> = match dice.below(3) {
            0 => self.book.set_limit(account, limit, Reason::Admin, NOW).into_iter().collect(),
            1 => {
                let frozen = dice.happens(30);
                self.book.set_frozen(account, frozen, Reason::Admin, NOW).into_iter().collect()
            }
            _ => {
                let planned = plan(1 + dice.up_to(3_000));
                self.book.configure(&planned, NOW).unwrap()
            }
        };
        self.pending.extend(entries);
    }

    /// One turn of the scribe: up to `most` of what waits.
    fn commit(&mut self, most: usize) {
        let mut later = self.pending.split_off(most.min(self.pending.len()));
        let mut batch = std::mem::take(&mut self.pending);
        let kept = loop {
            match self.store.commit(&batch) {
                Ok(kept) => break kept,
                Err(StoreError::Clash { wanted, same, free, .. }) => {
                    let mut all: Vec<&mut Entry> = batch.iter_mut().chain(&mut later).collect();
                    match same {
                        Some(same) => self.book.renumber((wanted, same), &mut all),
                        None => self.book.renumber_anew(wanted, free, &mut all),
                    }
                }
                Err(error) => panic!("{error}"),
            }
        };
        let mut never = Vec::new();
        for (entry, kept) in batch.iter().zip(kept) {
            let Some(hold) = entry.hold.filter(|_| entry.kind == Kind::Hold) else { continue };
            if kept == Kept::Done {
                self.flights.entry(hold).and_modify(|flight| flight.1 = true);
            } else {
                self.book.undo_hold(hold);
                self.flights.remove(&hold);
                never.push(hold);
            }
        }
        self.pending = later;
        if let Some(news) = self.store.refresh().unwrap() {
            let held = |entry: &Entry| entry.hold.is_none_or(|hold| !never.contains(&hold));
            let pending = self.pending.iter_mut().filter(|entry| held(entry));
            self.book.rebase(&news, &mut pending.collect::<Vec<_>>());
        }
        self.pending.retain(|entry| entry.hold.is_none_or(|hold| !never.contains(&hold)));
        self.book.check().unwrap();
    }

    fn step(&mut self, dice: &mut Dice) -> i64 {
        match dice.below(20) {
            0..8 => self.hold(dice),
            8..11 => self.commit(1 + dice.below(9)),
            11..14 => return self.send(dice),
            14..17 => self.settle(),
            17 => self.leave(),
            18 => self.intervene(dice),
            _ => {}
        }
        0
    }

    fn finish(&mut self) {
        while !self.pending.is_empty() || !self.flights.is_empty() {
            self.commit(usize::MAX);
            self.settle();
        }
    }

    /// The accounts but for sessions, whose terms are each process's own.
    fn accounts(&self) -> Vec<Account> {
        let accounts = self.book.accounts().filter(|one| !one.key.as_str().starts_with("session"));
        accounts.cloned().collect()
    }
}

fn play(seed: u64) {
    let (folder, mut dice) = (Folder::new(), Dice::new(seed));
    let mut old = Process::start(folder.own(), 0);
    let founding = old.book.configure(&plan(2_000), NOW).unwrap();
    old.pending.extend(founding);
    old.commit(usize::MAX);
    let mut new = Process::start(folder.take_over(), *dice.pick(&[0, 3, 1_000]));
    let mut bill = 0;
    for _ in 0..300 {
        let process = if dice.happens(50) { &mut old } else { &mut new };
        bill += process.step(&mut dice);
        let (_, fleet) = process.store.account(&AccountKey::fleet()).unwrap().unwrap();
        let known = fleet.map_or(0, |fleet| fleet.spent + fleet.held);
        assert!(known >= bill, "I2: {known} is below the bill of {bill}");
    }
    old.finish();
    new.finish();
    for process in [&mut old, &mut new] {
        process.commit(0);
        let (account, fleet) = process.store.account(&AccountKey::fleet()).unwrap().unwrap();
        let standing = process.book.standing(account.id, NOW).unwrap();
        let sums = fleet.map_or((0, 0), |fleet| (fleet.spent, fleet.held));
        assert_eq!((standing.spent.0, standing.held.0), sums);
        assert_eq!(sums, (bill, 0), "I3");
    }
    assert_eq!(old.accounts(), new.accounts());
    drop((old, new));
    let found = verify(&folder.file()).unwrap();
    assert_eq!(found.broken, Vec::new());
}

#[test]
fn two_processes_never_lose_a_change_nor_money() {
    for seed in 0..30 {
        eprintln!("play({seed})");
        play(seed);
    }
}
