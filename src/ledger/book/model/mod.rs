//! A model of admit, settle and crash around the real book, for a checker that tries every order of steps.
//!
//! Modelled: a fleet and two agents under hard caps of a few nano-dollars; requests that ask, wait for
//! their hold to be kept, are sent, are billed late and bit by bit up to their worst case, are answered,
//! cut or left by their client; a store that keeps any first part of what waits, keeps nothing, or keeps
//! it and says that it did not; a process that dies between any two steps, and comes back; look-ups of
//! what a lost attempt came to. `Book` is the one that ships, and is part of the state.
//!
//! Not modelled: time and periods, soft limits, people, other processes, providers that bill more than
//! the worst case, and `SQLite`. `simulation` plays most of these, at random and in long runs, and
//! `tests/it` has the rest.

mod attempt;
mod shelf;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::*;
use crate::base::id::RequestId;
use crate::base::money::PicoUsd;
use crate::ledger::account::Cadence;
use crate::ledger::saved::Kept;
use attempt::{Attempt, Phase};
use shelf::Shelf;

/// Nothing here depends on it.
const NOW: i64 = 1_795_219_200_000;
/// What an attempt wants to hold, in nano-dollars; and the least that it takes.
const WANTED: u64 = 2;
const LEAST: u64 = 1;

const I1: &str = "I1: the bill stays within the cap";
const I2: &str = "I2: what is spent and held covers the bill, in memory and in the store";
const I3: &str = "I3: each attempt counts what it came to, or its worst case while nobody knows";
const I4: &str = "I4: what is spent and held stays within the cap, in memory and in the store";
const I6: &str = "I6: no hold of a dead process stays open";
const STEPS: &str = "I5, and every other promise that a single step makes";
const SOUND: &str = "the sums of the book agree with each other";
const WHOLE: &str = "the whole budget can be used";
const EXACT: &str = "without a crash, the store ends with the bill";
const REPAIRED: &str = "after a crash, look-ups bring the store back to the bill";

/// What the gateway does; all but the first are mistakes that the checker has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    AsItIs,
    /// A restart gives open holds back.
    RestartForgives,
    /// A request whose client has left counts as nothing, sent or not.
    CancelRefunds,
    /// A request is sent before its hold is durable.
    SendsEarly,
}

/// How large the world is. The fleet is account 0 everywhere, its agents are 1 and 2.
#[derive(Clone, Debug)]
struct World {
    rule: Rule,
    /// In nano-dollars.
    caps: [i64; 3],
    /// The agent of each request.
    agents: &'static [usize],
    crashes: u8,
    /// How often the store may fail.
    faults: u8,
}

#[derive(Clone, Debug)]
struct State {
    book: Book,
    shelf: Shelf,
    /// Entries that the store has not been given yet, or did not take.
    pending: Vec<Entry>,
    attempts: Vec<Attempt>,
    crashes: u8,
    faults: u8,
    /// A step that did what it must not do.
    wrong: Option<&'static str>,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    /// Nothing was written.
    Failed,
    /// It was written, but the store says that it was not.
    Unsure,
}

/// One step. The number is that of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Ask(usize),
    /// The first so many of the entries that wait.
    Commit(usize, Fate),
    Send(usize),
    /// The provider bills one nano-dollar more.
    Bill(usize),
    /// The provider says what it came to.
    Answer(usize),
    Settle(usize),
    /// Every settlement so far once more, however late.
    SettleAgain,
    /// The answer breaks off, or the settlement is given up.
    Lose(usize),
    /// The client leaves.
    Cancel(usize),
    /// The provider is asked what a lost attempt came to.
    LookUp(usize),
    /// The process dies, and the next one starts.
    Crash,
}

impl State {
    /// Everything that can differ between two states: of the book, all that moves.
    fn essence(&self) -> impl Hash + PartialEq {
        let book = &self.book;
        let mut holds: Vec<(HoldId, i64)> =
            book.holds.iter().map(|(hold, taken)| (*hold, taken.amount)).collect();
        holds.sort_unstable();
        let refunded: Vec<HoldId> = book.refunded.iter().copied().collect();
        let balances = |id: &AccountId| {
            let holder = book.tree.get(*id).unwrap();
            let amounts = holder.balances.current();
            (amounts.spent, amounts.held, amounts.foreign, holder.account.frozen)
        };
        let balances: Vec<_> = self.shelf.accounts.keys().map(balances).collect();
        let waits = |entry: &Entry| (entry.kind, entry.hold, entry.held, entry.spent);
        let pending: Vec<_> = self.pending.iter().map(waits).collect();
        let book = (book.epoch, book.next_hold, refunded, holds, balances);
        let seen = (self.attempts.clone(), self.crashes, self.faults, self.wrong);
        (book, self.shelf.essence(), pending, seen)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.essence().hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.essence() == other.essence()
    }
}

impl State {
    fn wrong(&mut self, what: &'static str) {
        self.wrong = self.wrong.or(Some(what));
    }

    /// Spent and held of one account, in memory.
    fn sums(&self, account: AccountId) -> (i64, i64) {
        let amounts = self.book.tree.get(account).unwrap().balances.current();
        (amounts.spent, amounts.held)
    }

    fn bill(&self) -> i64 {
        self.attempts.iter().map(|attempt| attempt.bill).sum()
    }

    fn is_durable(&self) -> bool {
        let over = |attempt: &Attempt| attempt.phase == Phase::Idle || attempt.is_over();
        self.pending.is_empty() && self.shelf.open.is_empty() && self.attempts.iter().all(over)
    }

    fn settle(&mut self, at: usize, outcome: &Outcome, phase: Phase) {
        self.attempts[at].phase = phase;
        let hold = self.attempts[at].hold.unwrap();
        match self.book.settle(hold, outcome, NOW) {
            Some(settled) if !settled.bound_violated => self.pending.extend(settled.entries),
            Some(_) => self.wrong("a bound was violated that was not"),
            None => self.wrong("an open hold was not open"),
        }
    }

    fn settle_again(&mut self) -> bool {
        let over = self.attempts.iter().filter(|attempt| attempt.is_over());
        let (tokens, reason) = (None, Reason::Exact);
        let mut again = over.filter_map(|attempt| {
            let outcome = Outcome::Cost { cost: NanoUsd(attempt.bill), tokens, reason };
            self.book.settle(attempt.hold?, &outcome, NOW)
        });
        let is_changed = again.next().is_some();
        if is_changed {
            self.wrong("I5: settled twice");
        }
        is_changed
    }

    fn attempt_of(&mut self, entry: &Entry) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|attempt| attempt.hold == entry.hold)
    }

    /// As the scribe keeps a batch.
    fn keep(&mut self, batch: &[Entry]) {
        for entry in batch {
            match self.shelf.keep(entry) {
                Kept::NoRoom => self.wrong("the store has no room for what the book has granted"),
                Kept::NotOpen if self.faults == 0 => self.wrong("the store knows of no such hold"),
                Kept::Done if entry.kind == Kind::Hold => {
                    let asked = |attempt: &&mut Attempt| attempt.phase == Phase::Asked;
                    if let Some(attempt) = self.attempt_of(entry).filter(asked) {
                        attempt.phase = Phase::Held;
                    }
                }
                _ => {}
            }
        }
    }

    /// As the scribe fails: holds are given back, with an entry in case that they were kept all the same;
    /// the rest is tried again, before what came later.
    fn fail(&mut self, batch: Vec<Entry>) {
        let mut again = Vec::new();
        for entry in batch {
            if entry.kind != Kind::Hold {
                again.push(entry);
                continue;
            }
            self.book.undo_hold(entry.hold.unwrap());
            if let Some(attempt) = self.attempt_of(&entry)
                && attempt.phase == Phase::Asked
            {
                attempt.phase = Phase::Void;
            }
            let (held, reason) = (-entry.held, Reason::NotDurable);
            again.push(Entry { kind: Kind::Void, held, reason, ..entry });
        }
        again.append(&mut self.pending);
        self.pending = again;
    }

    fn commit(&mut self, count: usize, fate: Fate) {
        let batch: Vec<Entry> = self.pending.drain(..count).collect();
        match fate {
            Fate::Kept => return self.keep(&batch),
            Fate::Unsure => {
                // What it would have answered is never heard.
                for entry in &batch {
                    let _unheard = self.shelf.keep(entry);
                }
            }
            Fate::Failed => {}
        }
        self.faults += 1;
        self.fail(batch);
    }

    fn look_up(&mut self, at: usize) -> bool {
        let attempt = &mut self.attempts[at];
        let open = attempt.hold.and_then(|hold| self.shelf.open.get(&hold));
        let Some(open) = open.filter(|open| open.limbo) else { return false };
        let was_lost = attempt.phase == Phase::Lost;
        attempt.closed = true;
        match (self.book.refund(open, NanoUsd(attempt.bill), Reason::Lookup, NOW), was_lost) {
            (Some(entry), true) => {
                attempt.phase = Phase::Refunded;
                self.pending.push(entry);
            }
            (None, false) => return false,
            (Some(_), false) => self.wrong("I5: refunded twice"),
            (None, true) => self.wrong("what is in limbo cannot be refunded"),
        }
        true
    }
}

impl World {
    /// Two agents whose caps together are more than the fleet's, one request each.
    const PAIR: Self =
        Self { rule: Rule::AsItIs, caps: [3, 2, 3], agents: &[1, 2], crashes: 2, faults: 1 };

    fn plan(&self) -> Vec<Planned> {
        let terms = |cap: i64| Terms {
            limit: Some(NanoUsd(cap)),
            cadence: Cadence::None,
            zone: Arc::from("UTC"),
            hard: true,
        };
        let fleet = AccountKey::fleet();
        let agent = |name: &str, cap| Planned {
            key: AccountKey::agent(name),
            parent: Some(fleet.clone()),
            terms: terms(cap),
        };
        let [all, one, two] = self.caps;
        let root = Planned { key: fleet.clone(), parent: None, terms: terms(all) };
        vec![root, agent("1", one), agent("2", two)]
    }

    /// The three accounts: number, cap, and whose attempts it pays for.
    fn accounts(&self) -> impl Iterator<Item = (AccountId, i64, usize)> {
        (0u32..).zip(self.caps).zip(0..).map(|((id, cap), place)| (AccountId(id), cap, place))
    }

    /// The attempts that the account at that place pays for.
    fn of<'a>(&'a self, state: &'a State, place: usize) -> impl Iterator<Item = &'a Attempt> {
        let pays = move |agent: usize| place == 0 || place == agent;
        let all = self.agents.iter().zip(&state.attempts);
        all.filter(move |(agent, _)| pays(**agent)).map(|(_, attempt)| attempt)
    }

    /// Whether something is true of every account: its sums in memory or in the store, its cap, its bill.
    fn all(&self, state: &State, holds: impl Fn((i64, i64), i64, i64) -> bool) -> bool {
        self.accounts().all(|(id, cap, place)| {
            let bill = self.of(state, place).map(|attempt| attempt.bill).sum();
            holds(state.sums(id), cap, bill) && holds(state.shelf.sums(id), cap, bill)
        })
    }

    /// Whether the book counts every attempt as what it is, to the nano-dollar.
    fn counts_each(&self, state: &State) -> bool {
        self.accounts().all(|(id, _, place)| {
            let worth = self.of(state, place).map(Attempt::worth);
            let sums = worth.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
            state.sums(id) == sums
        })
    }

    /// What the narrowest account leaves for that request.
    fn room(&self, state: &State, at: usize) -> i64 {
        let left = |(_, cap, place): (AccountId, i64, usize)| {
            let worth = self.of(state, place).map(Attempt::worth);
            (place == 0 || place == self.agents[at])
                .then(|| cap - worth.map(|(spent, held)| spent + held).sum::<i64>())
        };
        self.accounts().filter_map(left).min().unwrap()
    }

    fn ask(&self, state: &mut State, at: usize) -> bool {
        let order = HoldOrder {
            leaf: AccountId(u32::try_from(self.agents[at]).unwrap()),
            fixed: PicoUsd(0),
            per_output_token: PicoUsd(1_000),
            output_cap: WANTED,
            output_floor: LEAST,
            request: RequestId::from_bits(0),
            attempt: 1,
            model: Arc::from("m"),
            price_version: 1,
        };
        let room = self.room(state, at);
        let fits = room.min(WANTED.cast_signed());
        match state.book.hold(&order, NOW) {
            Ok((grant, entry)) => {
                if grant.amount.0 != fits {
                    state.wrong("another amount was granted than fits");
                }
                let (hold, amount) = (Some(grant.hold), grant.amount.0);
                state.attempts[at] = Attempt { phase: Phase::Asked, hold, amount, ..Attempt::NEW };
                state.pending.push(entry);
            }
            Err(_) if room < LEAST.cast_signed() => return false,
            Err(_) => state.wrong("what fits was refused"),
        }
        true
    }

    fn cancel(&self, state: &mut State, at: usize) {
        let sent = state.attempts[at].sent;
        if sent && self.rule != Rule::CancelRefunds {
            let outcome = Outcome::Unknown { reason: Reason::ClientGone };
            return state.settle(at, &outcome, Phase::Lost);
        }
        let reason = if sent { Reason::ClientGone } else { Reason::NotSent };
        state.settle(at, &Outcome::Nothing { reason }, Phase::Void);
    }

    /// All that was in memory is gone; what was sent is still billed.
    fn crash(&self, state: &mut State) {
        state.crashes += 1;
        state.pending.clear();
        state.book = Book::restore(state.shelf.open_epoch());
        if !state.book.configure(&self.plan(), NOW).unwrap().is_empty() {
            state.wrong("a restart changes the accounts");
        }
        for attempt in &mut state.attempts {
            match attempt.hold {
                Some(hold) if state.shelf.open.contains_key(&hold) => attempt.phase = Phase::Lost,
                _ if attempt.phase == Phase::Asked => attempt.phase = Phase::Void,
                _ => {}
            }
        }
        if self.rule == Rule::RestartForgives {
            let mut open: Vec<HoldId> = state.book.holds.keys().copied().collect();
            open.sort_unstable();
            let outcome = Outcome::Nothing { reason: Reason::Restart };
            let settled = open.iter().filter_map(|hold| state.book.settle(*hold, &outcome, NOW));
            state.pending = settled.flat_map(|settled| settled.entries).collect();
        } else {
            state.pending = state.book.recover(NOW);
        }
    }

    fn acts_on(&self, state: &State, at: usize, acts: &mut Vec<Act>) {
        let attempt = &state.attempts[at];
        match attempt.phase {
            // Requests of one agent are all alike: they ask in their order.
            Phase::Idle => {
                let agent = self.agents[at];
                let mut before = self.agents[..at].iter().zip(&state.attempts);
                if before.all(|(other, earlier)| *other != agent || earlier.phase != Phase::Idle) {
                    acts.push(Act::Ask(at));
                }
            }
            Phase::Asked if self.rule == Rule::SendsEarly && !attempt.sent => {
                acts.push(Act::Send(at));
            }
            Phase::Asked => acts.push(Act::Cancel(at)),
            Phase::Held => acts.extend([Act::Send(at), Act::Cancel(at)]),
            Phase::Sent => acts.extend([Act::Answer(at), Act::Lose(at), Act::Cancel(at)]),
            Phase::Answered => acts.extend([Act::Settle(at), Act::Lose(at)]),
            Phase::Lost | Phase::Refunded => acts.push(Act::LookUp(at)),
            Phase::Settled | Phase::Void => {}
        }
        if attempt.sent && !attempt.closed && attempt.bill < attempt.amount {
            acts.push(Act::Bill(at));
        }
    }

    /// Whether the step has changed anything.
    fn step(&self, state: &mut State, act: Act) -> bool {
        match act {
            Act::Ask(at) => return self.ask(state, at),
            Act::LookUp(at) => return state.look_up(at),
            Act::SettleAgain => return state.settle_again(),
            Act::Commit(count, fate) => state.commit(count, fate),
            Act::Send(at) => {
                state.attempts[at].phase = Phase::Sent;
                state.attempts[at].sent = true;
            }
            Act::Bill(at) => state.attempts[at].bill += 1,
            Act::Answer(at) => {
                state.attempts[at].phase = Phase::Answered;
                state.attempts[at].closed = true;
            }
            Act::Settle(at) => {
                let cost = NanoUsd(state.attempts[at].bill);
                let outcome = Outcome::Cost { cost, tokens: None, reason: Reason::Exact };
                state.settle(at, &outcome, Phase::Settled);
            }
            Act::Lose(at) => {
                state.settle(at, &Outcome::Unknown { reason: Reason::Cut }, Phase::Lost);
            }
            Act::Cancel(at) => self.cancel(state, at),
            Act::Crash => self.crash(state),
        }
        true
    }
}

impl Model for World {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let mut store = Shelf::default();
        let mut book = Book::restore(store.open_epoch());
        for entry in book.configure(&self.plan(), NOW).unwrap() {
            store.add(&entry);
        }
        let attempts = vec![Attempt::NEW; self.agents.len()];
        let pending = Vec::new();
        vec![State { book, shelf: store, pending, attempts, crashes: 0, faults: 0, wrong: None }]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        (0..state.attempts.len()).for_each(|at| self.acts_on(state, at, acts));
        if state.attempts.iter().any(Attempt::is_over) {
            acts.push(Act::SettleAgain);
        }
        for count in 1..=state.pending.len() {
            acts.push(Act::Commit(count, Fate::Kept));
            if state.faults < self.faults {
                acts.extend([Act::Commit(count, Fate::Failed), Act::Commit(count, Fate::Unsure)]);
            }
        }
        if state.crashes < self.crashes {
            acts.push(Act::Crash);
        }
    }

    fn next_state(&self, last: &State, act: Act) -> Option<State> {
        let mut state = last.clone();
        self.step(&mut state, act).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(I1, |world, state| world.all(state, |_, cap, bill| bill <= cap)),
            Property::always(I2, |world, state| {
                world.all(state, |(spent, held), _, bill| spent + held >= bill)
            }),
            Property::always(I3, Self::counts_each),
            Property::always(I4, |world, state| {
                world.all(state, |(spent, held), cap, _| spent + held <= cap)
            }),
            Property::always(I6, |_, state: &State| {
                state.book.holds.keys().all(|hold| hold.epoch() == state.book.epoch)
            }),
            Property::always(STEPS, |_, state: &State| state.wrong.is_none()),
            Property::always(SOUND, |_, state: &State| state.book.check().is_ok()),
            Property::sometimes(WHOLE, |world, state: &State| state.bill() == world.caps[0]),
            Property::sometimes(EXACT, |world, state: &State| {
                let ends_with_the_bill = state.shelf.sums(AccountId(0)) == (state.bill(), 0);
                let full = state.bill() == world.caps[0];
                state.crashes == 0 && full && state.is_durable() && ends_with_the_bill
            }),
            Property::sometimes(REPAIRED, |_, state: &State| {
                let refunded = |attempt: &Attempt| attempt.phase == Phase::Refunded;
                let ends_with_the_bill = state.shelf.sums(AccountId(0)) == (state.bill(), 0);
                let lost = state.attempts.iter().any(refunded) && state.bill() > 0;
                state.crashes > 0 && lost && state.is_durable() && ends_with_the_bill
            }),
        ]
    }
}

/// Tries every order of steps. The number of states shows that the world is as large as it looks.
fn check(world: World) {
    let checker = world.checker().spawn_bfs().join();
    checker.assert_properties();
    let states = checker.unique_state_count();
    assert!(states > 50_000, "only {states} states");
}

/// A way in which a mistake leaves a bill uncovered.
fn refute(rule: Rule) -> Vec<Act> {
    let wanted = HasDiscoveries::AnyOf(BTreeSet::from([I2]));
    let checker = World { rule, ..World::PAIR }.checker().finish_when(wanted).spawn_bfs().join();
    checker.assert_any_discovery(I2).into_actions()
}

#[test]
fn no_order_of_crashes_and_failing_batches_breaks_the_book() {
    check(World::PAIR);
}

#[test]
fn no_order_of_three_requests_and_a_crash_breaks_the_book() {
    check(World { caps: [3, 1, 3], agents: &[1, 2, 1], crashes: 1, faults: 0, ..World::PAIR });
}

#[test]
fn a_restart_that_forgives_open_holds_is_refuted() {
    let way = refute(Rule::RestartForgives);
    assert!(way.contains(&Act::Crash), "{way:?}");
}

#[test]
fn a_cancelled_request_that_is_refunded_is_refuted() {
    let way = refute(Rule::CancelRefunds);
    assert!(way.iter().any(|act| matches!(act, Act::Cancel(_))), "{way:?}");
}

#[test]
fn a_request_that_is_sent_on_a_hold_in_memory_is_refuted() {
    let way = refute(Rule::SendsEarly);
    assert!(way.iter().any(|act| matches!(act, Act::Send(_))), "{way:?}");
}
