//! A gateway in small, from one seed: a clock that jumps, a store that loses batches, crashes between any
//! two steps, settlements twice and out of order, another process that writes, a provider that bills.
//!
//! After every step the invariants of the ledger are checked against the provider's own bill and against
//! sums made from entries alone. A failure names its seed; `play(SEED, Scene)` shows it again.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::base::id::RequestId;
use crate::base::money::PicoUsd;
use crate::ledger::account::{Cadence, Node};
use crate::ledger::dice::Dice;
use crate::ledger::saved::{Kept, News};
use crate::ledger::tree::Holder;

const ZONES: [&str; 5] =
    ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "America/Sao_Paulo"];
const HOUR: i64 = 3_600_000;

/// What may happen in a run.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
struct Scene {
    /// The process is killed now and then.
    crashes: bool,
    /// People reset, correct, freeze and set limits; the configuration changes.
    people: bool,
    /// Another process spends from the same store.
    neighbour: bool,
    /// The provider bills more than the bound now and then.
    liar: bool,
}

/// Account and beginning of the period.
type Place = (AccountId, i64);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    spent: i64,
    held: i64,
    end_ms: i64,
}

/// Sums over entries, and nothing else.
#[derive(Clone, Debug, Default)]
struct Ledger {
    accounts: BTreeMap<AccountId, Account>,
    sums: BTreeMap<Place, Sums>,
    open: BTreeMap<HoldId, OpenHold>,
    /// What was spent without a hold.
    unheld: BTreeMap<Place, i64>,
    /// Places that have changed since the last check.
    touched: BTreeSet<Place>,
    epoch: u32,
    last_ms: i64,
}

impl Ledger {
    fn keep(&mut self, entry: &Entry) -> Kept {
        let known = entry.hold.and_then(|hold| self.open.get(&hold));
        let fits = |step: &Step| {
            let sums = self.sums.get(&(step.account, step.start_ms)).copied().unwrap_or_default();
            step.cap.is_none_or(|cap| sums.spent + sums.held + entry.held <= cap.0)
        };
        match entry.kind {
            Kind::Hold if !entry.path.iter().all(fits) => return Kept::NoRoom,
            Kind::Settle | Kind::Void | Kind::Limbo if known.is_none_or(|open| open.limbo) => {
                return Kept::NotOpen;
            }
            Kind::Refund if known.is_none_or(|open| !open.limbo) => return Kept::NotOpen,
            Kind::Adjust if entry.hold.is_some_and(|hold| self.open.contains_key(&hold)) => {
                return Kept::NotOpen;
            }
            _ => {}
        }
        self.add(entry);
        Kept::Done
    }

    fn add(&mut self, entry: &Entry) {
        assert!(entry.at_ms >= self.last_ms, "entries run backwards: {entry:?}");
        self.last_ms = entry.at_ms;
        self.count(entry, 1);
        let Some(hold) = entry.hold else { return };
        match entry.kind {
            Kind::Hold => {
                let (path, made) = (Arc::clone(&entry.path), entry.clone());
                self.open.insert(
                    hold,
                    OpenHold { hold, path, made, generation: None, booked: None, limbo: false },
                );
            }
            Kind::Limbo => {
                let open = self.open.get_mut(&hold).unwrap();
                (open.limbo, open.booked) = (true, Some(entry.spent));
            }
            _ => drop(self.open.remove(&hold)),
        }
    }

    /// Sums an entry up, or takes it back.
    fn count(&mut self, entry: &Entry, sign: i64) {
        for step in entry.path.iter() {
            assert!(step.start_ms < step.end_ms, "{entry:?}");
            let place = (step.account, step.start_ms);
            self.touched.insert(place);
            let sums = self.sums.entry(place).or_default();
            sums.spent += sign * entry.spent;
            sums.held += sign * entry.held;
            sums.end_ms = step.end_ms;
            if entry.kind == Kind::Spend {
                *self.unheld.entry(place).or_default() += sign * entry.spent;
            }
        }
        if let Some(account) = &entry.account {
            self.accounts.insert(account.id, Account::clone(account));
        }
    }

    /// All periods that can still matter, as a store gives them.
    fn balances(&self) -> Vec<Balance> {
        let latest: BTreeMap<AccountId, i64> = self.sums.keys().copied().collect();
        let matters = |place: &Place, sums: &Sums| latest[&place.0] == place.1 || sums.held != 0;
        let all = self.sums.iter().filter(|(place, sums)| matters(place, sums));
        all.map(|(&(account, start_ms), sums)| Balance {
            account,
            start_ms,
            end_ms: sums.end_ms,
            spent: sums.spent,
            held: sums.held,
        })
        .collect()
    }

    fn news(&self) -> News {
        let accounts = self.accounts.values().cloned().collect();
        News { accounts, balances: self.balances() }
    }

    fn open_epoch(&mut self) -> Saved {
        self.epoch += 1;
        self.last_ms = 0;
        Saved {
            epoch: self.epoch,
            next_account: AccountId(0),
            accounts: self.accounts.values().cloned().collect(),
            balances: self.balances(),
            open: self.open.values().cloned().collect(),
            ..Saved::default()
        }
    }
}

/// One attempt that is held and not settled.
#[derive(Clone, Debug)]
struct Flight {
    hold: HoldId,
    path: Arc<[Step]>,
    amount: i64,
    durable: bool,
    /// What the provider bills for it, once it was sent.
    bill: Option<i64>,
}

struct World {
    scene: Scene,
    dice: Dice,
    clock_ms: i64,
    plan: Vec<Planned>,
    book: Book,
    store: Ledger,
    /// The store as it will be when all that waits is kept.
    expected: Ledger,
    pending: Vec<Entry>,
    flights: Vec<Flight>,
    /// What the provider bills, per account and period, and per hold.
    bills: BTreeMap<Place, i64>,
    billed: BTreeMap<HoldId, i64>,
    crashes: u32,
}

fn any_terms(dice: &mut Dice, cadence: Cadence, zone: &str) -> Terms {
    let limit = (!dice.happens(25)).then(|| NanoUsd(1 + dice.up_to(20_000)));
    Terms { limit, cadence, zone: Arc::from(zone), hard: dice.happens(70) }
}

/// A tree of up to five floors: fleet, teams in teams, agents.
fn any_plan(dice: &mut Dice, cadence: Option<(Cadence, &str)>) -> Vec<Planned> {
    let mut plan: Vec<(Planned, usize)> = Vec::new();
    for at in 0..3 + dice.below(8) {
        let inner: Vec<(AccountKey, usize)> = plan
            .iter()
            .filter(|(above, depth)| above.key.node() != Node::Agent && *depth < 4)
            .map(|(above, depth)| (above.key.clone(), *depth))
            .collect();
        let (cadence, zone) =
            cadence.unwrap_or_else(|| (*dice.pick(&Cadence::ALL), *dice.pick(&ZONES)));
        let terms = any_terms(dice, cadence, zone);
        let (key, parent) = if inner.is_empty() {
            (AccountKey::fleet(), None)
        } else {
            let is_team = dice.happens(40);
            let name = at.to_string();
            let key = if is_team { AccountKey::team(&name) } else { AccountKey::agent(&name) };
            (key, Some(dice.pick(&inner).clone()))
        };
        let depth = parent.as_ref().map_or(1, |(_, depth)| depth + 1);
        plan.push((Planned { key, parent: parent.map(|(key, _)| key), terms }, depth));
    }
    plan.into_iter().map(|(planned, _)| planned).collect()
}

impl World {
    fn new(seed: u64, scene: Scene) -> Self {
        let mut dice = Dice::new(seed);
        // Where the sums of children are compared, all floors have the same periods.
        let same = (!scene.people).then(|| (*dice.pick(&Cadence::ALL), *dice.pick(&ZONES)));
        let plan = any_plan(&mut dice, same);
        let mut store = Ledger::default();
        let book = Book::restore(store.open_epoch());
        let clock_ms = 1_700_000_000_000 + dice.up_to(40_000_000) * 1_000;
        let mut world = Self {
            scene,
            dice,
            clock_ms,
            plan,
            book,
            expected: store.clone(),
            store,
            pending: Vec::new(),
            flights: Vec::new(),
            bills: BTreeMap::new(),
            billed: BTreeMap::new(),
            crashes: 0,
        };
        world.configure();
        world
    }

    fn configure(&mut self) {
        let entries = self.book.configure(&self.plan, self.clock_ms).unwrap();
        self.emit(entries);
    }

    fn any_account(&mut self) -> AccountId {
        let ids: Vec<AccountId> = self.book.accounts().map(|account| account.id).collect();
        *self.dice.pick(&ids)
    }

    /// An account without children: an agent, or one of its sessions.
    fn any_leaf(&mut self) -> Option<AccountId> {
        let agents: Vec<AccountId> = self
            .book
            .accounts()
            .filter(|account| account.key.node() == Node::Agent)
            .map(|account| account.id)
            .collect();
        if agents.is_empty() {
            return None;
        }
        let agent = *self.dice.pick(&agents);
        // In a scene where children are summed up, an agent never pays without a session.
        if self.scene.people && self.dice.happens(50) {
            return Some(agent);
        }
        let holder = self.book.tree.get(agent).unwrap();
        let (name, mut terms) =
            (holder.account.key.name().to_owned(), holder.account.terms.clone());
        terms.limit = terms.limit.map(|limit| NanoUsd(limit.0 / 2 + 1));
        let key = AccountKey::session(&name, &self.dice.below(3).to_string());
        let (session, entry) = self.book.open_session(agent, key, terms, self.clock_ms);
        self.emit(entry);
        Some(session)
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..30 => self.admit(),
            30..50 => self.commit(),
            50..62 => self.send(),
            62..80 => self.settle(),
            80..85 => self.refund(),
            85..92 => self.pass_time(),
            92..94 => self.spend(),
            94 if self.scene.crashes => self.crash(),
            95..98 if self.scene.people => self.intervene(),
            98 if self.scene.neighbour => self.neighbour(),
            99 => drop(self.book.forget_sessions(usize::MAX)),
            _ => {}
        }
    }

    fn admit(&mut self) {
        let Some(leaf) = self.any_leaf() else { return };
        let order = HoldOrder {
            leaf,
            fixed: PicoUsd(i128::from(self.dice.up_to(400_000))),
            per_output_token: PicoUsd(i128::from(self.dice.up_to(3_000))),
            output_cap: self.dice.any(13),
            output_floor: 256,
            request: RequestId::from_bits(u128::from(self.dice.roll())),
            attempt: 1,
            model: Arc::from("m"),
            price_version: 1,
        };
        match self.book.hold(&order, self.clock_ms) {
            Ok((grant, entry)) => {
                for step in entry.path.iter() {
                    let sums = self.book.tree.amounts(step).unwrap();
                    let fits = step.cap.is_none_or(|cap| sums.spent + sums.held <= cap.0);
                    assert!(fits, "I4: a hold passes a limit: {step:?} {sums:?}");
                }
                assert_eq!(order.amount(grant.output_cap), Some(grant.amount.0));
                let path = Arc::clone(&entry.path);
                let (hold, amount) = (grant.hold, grant.amount.0);
                self.flights.push(Flight { hold, path, amount, durable: false, bill: None });
                self.emit([entry]);
            }
            Err(Refusal::Exhausted { needed, standing, .. }) => {
                assert!(standing.remaining.unwrap() < needed, "refused what fits");
            }
            Err(Refusal::Frozen { .. }) => assert!(self.scene.people || self.scene.liar),
            Err(Refusal::Unknown { .. }) => panic!("an account is lost"),
        }
    }

    /// One batch. When it fails, holds are taken back, and all else waits for the next one.
    fn commit(&mut self) {
        let batch: Vec<Entry> = std::mem::take(&mut self.pending);
        if self.dice.happens(25) {
            for entry in batch {
                match entry.hold.filter(|_| entry.kind == Kind::Hold) {
                    Some(hold) if self.is_in_flight(hold) => self.take_back(hold, &entry),
                    _ => self.pending.push(entry),
                }
            }
            return;
        }
        for (at, entry) in batch.iter().enumerate() {
            let kept = self.store.keep(entry);
            match (kept, entry.hold) {
                (Kept::Done, Some(hold)) => {
                    let flights = self.flights.iter_mut().filter(|flight| flight.hold == hold);
                    flights.for_each(|flight| flight.durable = true);
                }
                (Kept::Done, None) => {}
                (Kept::NoRoom, Some(hold)) if self.scene.neighbour => {
                    self.take_back(hold, entry);
                    let mut rest: Vec<Entry> = batch[at + 1..].to_vec();
                    let mut rest: Vec<&mut Entry> = rest.iter_mut().collect();
                    self.book.rebase(&self.store.news(), &mut rest);
                }
                refused => panic!("{refused:?}: {entry:?}"),
            }
        }
    }

    fn is_in_flight(&self, hold: HoldId) -> bool {
        self.flights.iter().any(|flight| flight.hold == hold)
    }

    fn take_back(&mut self, hold: HoldId, made: &Entry) {
        self.expected.count(made, -1);
        self.book.undo_hold(hold);
        self.flights.retain(|flight| flight.hold != hold);
    }

    /// From the first byte on, the provider bills.
    fn send(&mut self) {
        let ready: Vec<usize> = (0..self.flights.len())
            .filter(|at| self.flights[*at].durable && self.flights[*at].bill.is_none())
            .collect();
        if ready.is_empty() {
            return;
        }
        let at = *self.dice.pick(&ready);
        let most = self.flights[at].amount;
        let bill = match self.dice.below(10) {
            0 => 0,
            1 | 2 => most,
            3 if self.scene.liar && self.dice.happens(20) => most + 1 + self.dice.up_to(500),
            _ => self.dice.up_to(most),
        };
        self.flights[at].bill = Some(bill);
        self.billed.insert(self.flights[at].hold, bill);
        for step in self.flights[at].path.iter() {
            self.store.touched.insert((step.account, step.start_ms));
            *self.bills.entry((step.account, step.start_ms)).or_default() += bill;
        }
    }

    fn settle(&mut self) {
        let ready: Vec<usize> =
            (0..self.flights.len()).filter(|at| self.flights[*at].durable).collect();
        if ready.is_empty() {
            return;
        }
        let flight = self.flights.swap_remove(*self.dice.pick(&ready));
        let outcome = match flight.bill {
            None => Outcome::Nothing { reason: Reason::NotSent },
            Some(bill) if bill <= flight.amount && self.dice.happens(20) => {
                Outcome::Unknown { reason: Reason::Cut }
            }
            Some(bill) => {
                Outcome::Cost { cost: NanoUsd(bill), tokens: None, reason: Reason::Exact }
            }
        };
        // Now and then an estimate, to be looked up: at most the hold, and no less than the bill.
        let guess = flight.bill.filter(|bill| *bill <= flight.amount && self.dice.happens(20));
        let settled = match guess {
            Some(bill) => {
                let cost = NanoUsd(bill + self.dice.up_to(flight.amount - bill));
                let guess = Outcome::Cost { cost, tokens: None, reason: Reason::Estimated };
                self.book.settle_for_now(flight.hold, &guess, self.clock_ms).unwrap()
            }
            None => self.book.settle(flight.hold, &outcome, self.clock_ms).unwrap(),
        };
        assert_eq!(settled.bound_violated, flight.bill.is_some_and(|bill| bill > flight.amount));
        self.emit(settled.entries);
        let twice = self.book.settle(flight.hold, &outcome, self.clock_ms);
        assert_eq!(twice, None, "I5: settled twice");
    }

    /// Somebody asks the provider what a lost attempt came to.
    fn refund(&mut self) {
        let limbo: Vec<OpenHold> =
            self.store.open.values().filter(|open| open.limbo).cloned().collect();
        if limbo.is_empty() {
            return;
        }
        let open = self.dice.pick(&limbo).clone();
        self.refund_one(&open);
    }

    fn refund_one(&mut self, open: &OpenHold) {
        let bill = NanoUsd(self.billed.get(&open.hold).copied().unwrap_or(0));
        let entries = self.book.correct(open, bill, Reason::Lookup, self.clock_ms);
        assert!(entries.iter().all(|entry| entry.spent >= -open.booked()));
        self.emit(entries);
        assert_eq!(self.book.refund(open, bill, Reason::Lookup, self.clock_ms), None, "I5");
    }

    fn pass_time(&mut self) {
        self.clock_ms += match self.dice.below(10) {
            0 => -self.dice.up_to(2 * HOUR),
            1 => self.dice.up_to(40 * 24 * HOUR),
            2..5 => self.dice.up_to(26 * HOUR),
            _ => self.dice.up_to(HOUR / 4),
        };
    }

    /// A cost that was never held, where no limit stands in its way.
    fn spend(&mut self) {
        let Some(leaf) = self.any_leaf() else { return };
        if self.book.is_strict(leaf) {
            return;
        }
        let order = SpendOrder {
            leaf,
            cost: NanoUsd(self.dice.up_to(500)),
            request: RequestId::from_bits(1),
            attempt: 1,
            model: Arc::from("m"),
            price_version: 1,
            tokens: None,
            reason: Reason::Estimated,
        };
        let entry = self.book.spend(&order, self.clock_ms).unwrap();
        self.emit([entry]);
    }

    /// All that was in memory is gone; what was sent is still billed.
    fn crash(&mut self) {
        self.crashes += 1;
        self.flights.clear();
        self.pending.clear();
        self.book = Book::restore(self.store.open_epoch());
        self.expected = self.store.clone();
        self.touch_all();
        self.configure();
        let entries = self.book.recover(self.clock_ms);
        self.emit(entries);
        assert_eq!(self.book.open_holds(), 0, "I6: a hold of a dead epoch is open");
    }

    fn intervene(&mut self) {
        let account = self.any_account();
        let now_ms = self.clock_ms;
        let amount = NanoUsd(self.dice.up_to(20_000));
        let entries: Vec<Entry> = match self.dice.below(6) {
            0 => self.book.reset(account, Reason::Admin, now_ms),
            1 => self.book.set_spent(account, amount, Reason::Admin, now_ms).into_iter().collect(),
            2 => {
                let limit = self.dice.happens(60).then_some(amount);
                self.book.set_limit(account, limit, Reason::Admin, now_ms).into_iter().collect()
            }
            3 => {
                let frozen = self.dice.happens(20);
                let entry = self.book.set_frozen(account, frozen, Reason::Admin, now_ms);
                entry.into_iter().collect()
            }
            4 => {
                let at = self.dice.below(self.plan.len());
                let terms = &mut self.plan[at].terms;
                terms.limit = Some(amount);
                terms.hard = self.dice.happens(70);
                self.book.configure(&self.plan, now_ms).unwrap()
            }
            _ => {
                let at = self.dice.below(self.plan.len());
                let (cadence, zone) = (*self.dice.pick(&Cadence::ALL), *self.dice.pick(&ZONES));
                self.plan[at].terms = any_terms(&mut self.dice, cadence, zone);
                self.book.configure(&self.plan, now_ms).unwrap()
            }
        };
        self.emit(entries);
    }

    /// Another process has spent from the same store.
    fn neighbour(&mut self) {
        let Some(leaf) = self.any_leaf() else { return };
        // It knows only what is durable.
        if !self.store.accounts.contains_key(&leaf) {
            return;
        }
        let now_ms = self.book.now_ms();
        let path = self.book.tree.path(leaf, now_ms).unwrap();
        if path.iter().any(|step| !self.store.accounts.contains_key(&step.account)) {
            return;
        }
        let cost = self.dice.up_to(300);
        let about =
            About { kind: Kind::Spend, reason: Reason::Exact, held: 0, spent: cost, path: &path };
        let entry = Entry { at_ms: self.store.last_ms, ..self.book.entry(&about) };
        assert_eq!(self.store.keep(&entry), Kept::Done);
        self.expected.count(&entry, 1);
        let mut pending: Vec<&mut Entry> = self.pending.iter_mut().collect();
        self.book.rebase(&self.store.news(), &mut pending);
    }

    /// Entries that the store does not know yet.
    fn emit(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            self.expected.count(&entry, 1);
            self.pending.push(entry);
        }
    }

    /// The invariants, wherever anything has moved since the last step.
    fn check(&mut self) {
        let mut touched = std::mem::take(&mut self.store.touched);
        touched.append(&mut self.expected.touched);
        self.book.check().unwrap();
        self.check_sums();
        if !self.scene.people {
            for ledger in [&self.store, &self.expected] {
                self.check_bills(ledger, &touched);
                check_children(ledger, &touched);
            }
        }
        if !self.scene.people && !self.scene.liar && !self.scene.neighbour {
            self.check_limits(&touched);
        }
    }

    fn touch_all(&mut self) {
        self.store.touched.extend(self.store.sums.keys().chain(self.bills.keys()));
    }

    /// Balances are sums over entries.
    fn check_sums(&self) {
        for holder in self.book.tree.all() {
            for amounts in holder.balances.all() {
                let place = (holder.account.id, amounts.span.start_ms);
                let sums = self.expected.sums.get(&place).copied().unwrap_or_default();
                let ours = (amounts.spent, amounts.held);
                assert!(amounts.spent >= 0, "a credit at {place:?}: {amounts:?}");
                assert_eq!(ours, (sums.spent, sums.held), "conservation at {place:?}");
            }
        }
    }

    /// I2: what the ledger says is never below what the provider bills.
    fn check_bills(&self, ledger: &Ledger, touched: &BTreeSet<Place>) {
        // A lie is known only when it settles.
        let lie = |flight: &Flight| flight.bill.is_some_and(|bill| bill > flight.amount);
        if self.scene.liar
            && (self.flights.iter().any(lie) || self.crashes > 0 || !self.pending.is_empty())
        {
            return;
        }
        for place in touched {
            let bill = self.bills.get(place).unwrap_or(&0);
            let sums = ledger.sums.get(place).copied().unwrap_or_default();
            assert!(sums.spent + sums.held >= *bill, "I2 at {place:?}: {sums:?} below {bill}");
        }
    }

    /// I1 and I4, where nobody has moved a limit.
    fn check_limits(&self, touched: &BTreeSet<Place>) {
        for place in touched {
            let Some(cap) = self.book.tree.get(place.0).and_then(Holder::cap) else { continue };
            let sums = self.expected.sums.get(place).copied().unwrap_or_default();
            assert!(sums.spent + sums.held <= cap.0, "I4 at {place:?}: {sums:?}");
            let bill = self.bills.get(place).unwrap_or(&0);
            assert!(*bill <= cap.0, "I1 at {place:?}: {bill}");
        }
    }

    /// Everything ends, and every lost attempt is looked up.
    fn finish(&mut self) {
        while !self.flights.is_empty() || !self.pending.is_empty() {
            self.commit();
            self.settle();
        }
        for open in self.store.open.values().cloned().collect::<Vec<_>>() {
            assert!(open.limbo, "I6: {open:?}");
            self.refund_one(&open);
        }
        while !self.pending.is_empty() {
            self.commit();
        }
        self.touch_all();
        self.check();
        assert!(self.store.open.is_empty());
        assert!(self.store.sums.values().all(|sums| sums.held == 0), "something is held for ever");
    }

    /// I3: with nothing open and every lost attempt looked up, spent is the bill.
    fn check_exact(&self) {
        for (place, sums) in &self.store.sums {
            let bill = self.bills.get(place).copied().unwrap_or(0);
            let other = self.store.unheld.get(place).copied().unwrap_or(0);
            assert_eq!(sums.spent, bill + other, "I3 at {place:?}");
        }
    }
}

/// I8: an account has spent and holds what its children have and hold.
fn check_children(ledger: &Ledger, touched: &BTreeSet<Place>) {
    let parent = |id: AccountId| ledger.accounts.get(&id).and_then(|account| account.parent);
    let above = touched.iter().filter_map(|(id, start_ms)| Some((parent(*id)?, *start_ms)));
    for (id, start_ms) in touched.iter().copied().chain(above) {
        let children = ledger.accounts.values().filter(|account| account.parent == Some(id));
        let below: Vec<Sums> = children
            .map(|child| ledger.sums.get(&(child.id, start_ms)).copied().unwrap_or_default())
            .collect();
        if below.is_empty() {
            continue;
        }
        let own = ledger.sums.get(&(id, start_ms)).copied().unwrap_or_default();
        assert_eq!(own.spent, below.iter().map(|sums| sums.spent).sum::<i64>(), "I8 at {id:?}");
        assert_eq!(own.held, below.iter().map(|sums| sums.held).sum::<i64>(), "I8 at {id:?}");
    }
}

/// Says the seed of a run that does not end well.
struct Named(u64, Scene);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation broke: play({:#x}, {:?})", self.0, self.1);
        }
    }
}

fn play(seed: u64, scene: Scene, steps: usize) -> World {
    let named = Named(seed, scene);
    let mut world = World::new(seed, scene);
    for _ in 0..steps {
        world.step();
        world.check();
    }
    world.finish();
    drop(named);
    world
}

const CALM: Scene = Scene { crashes: false, people: false, neighbour: false, liar: false };

#[test]
fn a_calm_day_ends_with_the_bill_to_the_nano_dollar() {
    for seed in 0..40 {
        play(seed, CALM, 400).check_exact();
    }
}

#[test]
fn crashes_never_forget_money_and_look_ups_make_it_exact() {
    let mut crashes = 0;
    for seed in 0..80 {
        let world = play(seed, Scene { crashes: true, ..CALM }, 400);
        world.check_exact();
        crashes += world.crashes;
    }
    assert!(crashes > 100, "{crashes}");
}

#[test]
fn a_neighbour_that_spends_is_seen() {
    for seed in 0..40 {
        play(seed, Scene { crashes: true, neighbour: true, ..CALM }, 400).check_exact();
    }
}

#[test]
fn a_provider_that_lies_is_booked_in_full() {
    for seed in 0..40 {
        play(seed, Scene { liar: true, ..CALM }, 400).check_exact();
    }
}

#[test]
fn people_move_limits_and_every_sum_stays_a_sum() {
    for seed in 0..80 {
        play(seed, Scene { crashes: true, people: true, neighbour: true, liar: true }, 400);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]

    /// Seeds that nobody has chosen; a broken one is printed, and belongs into a test of its own then.
    #[test]
    fn no_seed_breaks_the_ledger(seed: u64, crashes: bool, people: bool, neighbour: bool, liar: bool) {
        play(seed, Scene { crashes, people, neighbour, liar }, 250);
    }
}
