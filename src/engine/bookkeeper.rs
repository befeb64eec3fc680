//! Keeps the book: places holds, settles them, and has every change made durable by the scribe's thread.
//!
//! Hot path: `benches/ledger.rs`, `benches/store.rs`. The book lies in memory behind one lock, which is
//! held for a microsecond at a time; whatever changes it leaves an entry in a queue, under the same lock,
//! so that entries are kept in the order in which they happened. A hold is good only when its entry is
//! durable: `hold` waits for that, and whoever waits at the same time shares one transaction. Nobody
//! waits for a settlement. What money may be spent is decided by `ledger::book`, and what is durable by
//! the store; nothing of either is decided here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::base::limit::{LEDGER_HOLD_MS_MAX, LEDGER_QUEUE_MAX};
use crate::base::money::NanoUsd;
use crate::config::budgets::{Budgets, Opening};
use crate::engine::carrying;
use crate::engine::clock::{Clock, SystemClock};
use crate::engine::paces::Paces;
use crate::engine::runaways::Runaways;
use crate::engine::scribe::{self, Desk, OnDesk};
use crate::engine::watch::Alert;
use crate::ledger::account::{Account, AccountId, AccountKey, Terms};
use crate::ledger::book::Book;
use crate::ledger::entry::{Entry, HoldId, Kind, Reason, Tokens};
use crate::ledger::hold::{Grant, HoldOrder, Outcome, Refusal, Settled, SpendOrder};
use crate::ledger::level::Level;
use crate::ledger::plan::Planned;
use crate::ledger::saved::{Kept, Stretch};
use crate::ledger::shown;
use crate::ledger::standing::{Room, Standing};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::wire::object::Object;

/// How long the end of the process waits for the last entries.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// How long a request waits for its hold to be durable.
const HOLD_WAIT: Duration = Duration::from_millis(LEDGER_HOLD_MS_MAX);
/// Waiting entries among which a cost looks for one of its kind.
const MERGED_LOOK: usize = 8;

/// The book, and the thread that writes it down.
pub struct Bookkeeper {
    /// Which agents look as if they had lost their way.
    pub runaways: Runaways,
    /// How fast agents spend.
    pub paces: Paces,
    pub(super) desk: Arc<Desk>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What lies on the desk between those who change the book and the scribe.
#[derive(Default)]
pub(super) struct Tray {
    /// Entries that are not durable yet, in order.
    pub(super) waiting: Vec<Waiting>,
    /// Those that the scribe is just writing.
    pub(super) in_hand: Vec<Entry>,
    /// Work for the scribe that needs the store itself.
    pub(super) errands: Vec<Errand>,
    /// What the scribe shall make exact, one after each batch.
    pub(super) stretches: VecDeque<Stretch>,
    /// How many of `waiting` somebody waits for.
    pub(super) urgent: usize,
    /// The scribe sleeps until it is woken.
    pub(super) asleep: bool,
    /// The scribe shall finish what lies here and end.
    pub(super) closed: bool,
    /// The scribe has ended.
    pub(super) ended: bool,
    /// Why the last transaction failed, until one succeeds.
    pub(super) broken: Option<String>,
}

/// An entry on its way to the store.
pub(super) struct Waiting {
    pub(super) entry: Entry,
    pub(super) told: Option<oneshot::Sender<Told>>,
}

/// What the scribe says of an entry.
pub(super) type Told = Result<Kept, String>;

/// Something that only the scribe can do, because it has the store.
pub(super) type Errand = Box<dyn FnOnce(&mut dyn Store, &Desk) + Send>;

/// What a request has to know of the account that pays for it.
#[derive(Clone, Debug)]
pub struct View {
    /// The account of the path that is frozen, if one is.
    pub frozen: Option<AccountKey>,
    /// Somebody on the path has a limit.
    pub limited: bool,
    /// One of those limits is hard.
    pub strict: bool,
    /// What is left.
    pub room: Option<Room>,
}

/// Why there is no hold.
#[derive(Clone, Debug)]
pub enum NoHold {
    /// The book says no.
    Refused(Refusal),
    /// Other processes that share the store have spent what this one believed to be left.
    NoRoom,
    /// It could not be made durable; text for the log.
    NotDurable(String),
}

/// A hold that is durable. Settle it; one that is dropped settles itself as what is certain: nothing if
/// the request was never sent, all of it if it was.
pub struct Held {
    keeper: Arc<Bookkeeper>,
    grant: Grant,
    /// The provider's name for the attempt.
    generation: Option<Arc<str>>,
    /// By that name its cost can be asked for later.
    can_be_asked: bool,
    sent: bool,
    open: bool,
}

impl Bookkeeper {
    /// A bookkeeper with that book and the system's clock. Its scribe begins to write with `start`.
    pub fn new(book: Book, metrics: Arc<Metrics>) -> Self {
        Self::timed(book, metrics, Arc::new(SystemClock))
    }

    /// The same with another clock.
    pub fn timed(book: Book, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let desk = Arc::new(Desk::new(book, metrics, clock));
        Self {
            runaways: Runaways::default(),
            paces: Paces::default(),
            desk,
            thread: Mutex::default(),
        }
    }

    /// Milliseconds since the Unix epoch, by the clock that periods follow.
    pub fn unix_ms(&self) -> i64 {
        self.desk.unix_ms()
    }

    /// Starts the scribe. As long as another process uses the store, what that one holds is left alone.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(&self, store: Box<dyn Store>) -> std::io::Result<()> {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let desk = Arc::clone(&self.desk);
            let named = std::thread::Builder::new().name("weir-ledger".into());
            *thread = Some(named.spawn(move || scribe::run(&desk, store))?);
        }
        Ok(())
    }

    /// Places a hold and waits until it is durable.
    ///
    /// # Errors
    /// The book refuses, or the store does not keep it. Nothing is held then.
    pub async fn hold(self: &Arc<Self>, order: &HoldOrder, at_ms: i64) -> Result<Held, NoHold> {
        let (held, told) = {
            let mut desk = self.desk.lock();
            if let Some(why) = &desk.tray.broken {
                return Err(NoHold::NotDurable(why.clone()));
            }
            if desk.tray.ended {
                return Err(NoHold::NotDurable("the ledger is closed".to_owned()));
            }
            if desk.tray.waiting.len() >= LEDGER_QUEUE_MAX {
                return Err(NoHold::NotDurable("too many entries wait for the store".to_owned()));
            }
            let (grant, entry) = desk.book.hold(order, at_ms).map_err(NoHold::Refused)?;
            let told = desk.tray.put_urgent(entry);
            self.desk.wake(&mut desk.tray);
            // Made before the wait: a client that leaves meanwhile must not leave a hold behind.
            let keeper = Arc::clone(self);
            let held = Held {
                keeper,
                grant,
                generation: None,
                can_be_asked: false,
                sent: false,
                open: true,
            };
            (held, told)
        };
        // Late: whoever drops a hold that was not sent has it voided, whether it is kept in the end or not.
        let Ok(told) = tokio::time::timeout(HOLD_WAIT, told).await else {
            return Err(NoHold::NotDurable("the store does not answer in time".to_owned()));
        };
        match told {
            Ok(Ok(Kept::Done)) => Ok(held),
            // The scribe has taken it back.
            Ok(Ok(_)) => Err(held.gone(NoHold::NoRoom)),
            Ok(Err(why)) => Err(held.gone(NoHold::NotDurable(why))),
            Err(_) => Err(held.gone(NoHold::NotDurable("the ledger is closed".to_owned()))),
        }
    }

    /// Books a cost that was never held. Costs of the same agent and model that wait for the same
    /// transaction become one entry: nobody has a limit here, and the log has each request.
    pub fn spend(&self, order: &SpendOrder, at_ms: i64) {
        let mut desk = self.desk.lock();
        let Some(entry) = desk.book.spend(order, at_ms) else { return };
        desk.tray.put_spend(entry);
        self.desk.nudge(&mut desk.tray);
    }

    fn settle(
        &self,
        (hold, generation, can_be_asked): (HoldId, Option<Arc<str>>, bool),
        outcome: &Outcome,
    ) -> Option<Settled> {
        let at_ms = self.unix_ms();
        let mut desk = self.desk.lock();
        let mut settled = if can_be_asked {
            desk.book.settle_for_now(hold, outcome, at_ms)?
        } else {
            desk.book.settle(hold, outcome, at_ms)?
        };
        let first = settled.entries.first_mut();
        if let Some(entry) = first.filter(|entry| entry.kind != Kind::Void) {
            entry.generation = generation;
        }
        for entry in &settled.entries {
            desk.tray.put(entry.clone());
        }
        self.desk.nudge(&mut desk.tray);
        drop(desk);
        if settled.bound_violated {
            self.desk.metrics.money.bound_violated();
            tracing::error!(
                hold = hold.0,
                cost = settled.cost.0,
                "a provider charged more than the worst case that was held; the account is frozen"
            );
        }
        Some(settled)
    }

    /// Changes the book and waits until that is durable.
    ///
    /// # Errors
    /// The store does not keep it; the change is in force until the next start all the same, and is tried
    /// again.
    pub async fn change<T>(
        &self,
        change: impl FnOnce(&mut Book, i64) -> (T, Vec<Entry>),
    ) -> Result<T, String> {
        let (value, told) = {
            let mut desk = self.desk.lock();
            if desk.tray.ended {
                return Err("the ledger is closed".to_owned());
            }
            let (value, entries) = change(&mut desk.book, self.unix_ms());
            let told: Vec<_> =
                entries.into_iter().map(|entry| desk.tray.put_urgent(entry)).collect();
            self.desk.wake(&mut desk.tray);
            (value, told)
        };
        for told in told {
            told.await.map_err(|_| "the ledger is closed".to_owned())??;
        }
        Ok(value)
    }

    /// Brings the accounts in line with a configuration. What is spent stays.
    pub fn configure(&self, budgets: &Budgets) {
        let at_ms = self.unix_ms();
        let plan: Vec<Planned> =
            budgets.accounts.iter().map(|opening| opening.planned.clone()).collect();
        let mut desk = self.desk.lock();
        let OnDesk { book, tray } = &mut *desk;
        // What an account has spent before it came to us counts once, when it is opened.
        let fresh: Vec<&Opening> = budgets
            .accounts
            .iter()
            .filter(|opening| opening.initial_spent > NanoUsd::ZERO)
            .filter(|opening| book.id(&opening.planned.key).is_none())
            .collect();
        let mut entries = book.configure(&plan, at_ms).unwrap_or_else(|error| {
            // The configuration was checked for all of this; what is left is a ledger whose accounts
            // contradict it. Requests go on with the accounts as they are.
            tracing::error!(%error, "the accounts of the configuration cannot be opened");
            Vec::new()
        });
        for opening in fresh {
            if let Some(id) = book.id(&opening.planned.key) {
                entries.extend(book.set_spent(id, opening.initial_spent, Reason::Config, at_ms));
            }
        }
        tray.waiting.extend(entries.into_iter().map(|entry| Waiting { entry, told: None }));
        self.desk.watch.configure(&budgets.fleet);
        carrying::put(tray, book.take_stretches());
        self.desk.wake(tray);
    }

    /// A look at the book, which must be short.
    pub fn look<T>(&self, look: impl FnOnce(&Book, i64) -> T) -> T {
        look(&self.desk.lock().book, self.unix_ms())
    }

    /// The standing of one account.
    pub fn standing(&self, key: &AccountKey) -> Option<Standing> {
        self.look(|book, at_ms| book.standing(book.id(key)?, at_ms))
    }

    /// The number of an account.
    pub fn account(&self, key: &AccountKey) -> Option<AccountId> {
        self.desk.lock().book.id(key)
    }

    /// What a request has to know of the account that pays for it.
    pub fn view(&self, leaf: AccountId, at_ms: i64) -> View {
        let desk = self.desk.lock();
        let book = &desk.book;
        View {
            frozen: book.frozen(leaf).map(|account| account.key.clone()),
            limited: book.path_is_limited(leaf),
            strict: book.is_strict(leaf),
            room: book.room(leaf, at_ms),
        }
    }

    /// How much the whole fleet has spent.
    pub fn level(&self) -> Level {
        self.desk.watch.level()
    }

    /// The account of a session below `agent`, made if there is none yet.
    ///
    /// # Errors
    /// The store cannot say whether there is one.
    pub async fn session(
        &self,
        agent: AccountId,
        key: AccountKey,
        terms: Terms,
    ) -> Result<AccountId, String> {
        {
            let mut desk = self.desk.lock();
            if desk.book.id(&key).is_some() {
                // Its terms may have changed since.
                let (id, entries) = desk.book.open_session(agent, key, terms, self.unix_ms());
                for entry in entries {
                    desk.tray.put(entry);
                }
                return Ok(id);
            }
        }
        let found = self.ask(move |store, desk| {
            let saved = store.account(&key)?;
            let mut desk_now = desk.lock();
            if let Some(id) = desk_now.book.id(&key) {
                return Ok(id);
            }
            if let Some((account, balance)) = saved {
                let id = account.id;
                desk_now.book.admit_account(account, balance);
                return Ok(id);
            }
            let (id, entries) = desk_now.book.open_session(agent, key, terms, desk.unix_ms());
            for entry in entries {
                desk_now.tray.put(entry);
            }
            Ok(id)
        });
        found.await
    }

    /// Has the scribe ask the store.
    ///
    /// # Errors
    /// What the store says; that nobody is there to ask it.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Store, &Desk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, String> {
        let (tell, told) = oneshot::channel();
        let errand: Errand = Box::new(move |store, desk| {
            // Nobody may be waiting any more.
            let _ = tell.send(question(store, desk).map_err(|error| error.to_string()));
        });
        {
            let mut desk = self.desk.lock();
            if desk.tray.errands.len() >= LEDGER_QUEUE_MAX || desk.tray.ended {
                return Err("the ledger is closed or overloaded".to_owned());
            }
            desk.tray.errands.push(errand);
            self.desk.wake(&mut desk.tray);
        }
        told.await.map_err(|_| "the ledger is closed".to_owned())?
    }

    /// Why nothing can be made durable at present.
    pub fn trouble(&self) -> Option<String> {
        self.desk.lock().tray.broken.clone()
    }

    /// Changes the book without a wait until that is durable: for changes that are told again if they
    /// are lost. False if the store stands still; nothing is changed then.
    pub fn change_soon(&self, change: impl FnOnce(&mut Book, i64) -> Option<Entry>) -> bool {
        let mut desk = self.desk.lock();
        if desk.tray.waiting.len() >= LEDGER_QUEUE_MAX {
            return false;
        }
        if let Some(entry) = change(&mut desk.book, self.unix_ms()) {
            desk.tray.put(entry);
        }
        self.desk.nudge(&mut desk.tray);
        true
    }

    /// How the accounts stand that `shows` lets through, as the JSON object of `GET /api/spend`.
    pub fn spend_json(&self, shows: impl Fn(&AccountKey) -> bool) -> String {
        let mut all = Object::default();
        for account in self.accounts().iter().filter(|account| shows(&account.key)) {
            if let Some(standing) = self.standing(&account.key) {
                all = all.raw(shown::name(&account.key), &shown::json(&standing));
            }
        }
        all.end()
    }

    /// Tells that an answer to this agent gave its canary away; the request is named by its id.
    pub fn canary_leaked(&self, agent: &str, request: String) {
        let desk = &self.desk;
        desk.watch.canary_leaked(&desk.metrics, (agent, request), desk.unix_ms());
    }

    /// Alerts that wait to be told over the network.
    pub fn take_alerts(&self) -> Vec<Alert> {
        self.desk.watch.take_alerts()
    }

    /// All accounts as they are.
    pub fn accounts(&self) -> Vec<Account> {
        self.look(|book, _| book.accounts().cloned().collect())
    }

    /// Makes everything durable and ends the scribe; waits for that, but not for ever.
    pub fn stop(&self) {
        let mut thread = self.thread.lock();
        let Some(running) = thread.take() else { return };
        let until = Instant::now() + LAST_WAIT;
        let mut desk = self.desk.lock();
        desk.tray.closed = true;
        self.desk.work.notify_one();
        while !desk.tray.ended {
            if self.desk.done.wait_until(&mut desk, until).timed_out() {
                tracing::error!(
                    "the ledger could not be closed in time; what is open counts as spent"
                );
                return;
            }
        }
        drop(desk);
        // It has said that it is at its end.
        let _ = running.join();
    }
}

impl Drop for Bookkeeper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Held {
    /// What was granted.
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The provider has named the attempt, and can be asked by that name for its cost, or cannot.
    pub fn name(&mut self, generation: Arc<str>, can_be_asked: bool) {
        self.generation = Some(generation);
        self.can_be_asked = can_be_asked;
    }

    /// From now on it has to be assumed that the provider got the request.
    pub const fn mark_sent(&mut self) {
        self.sent = true;
    }

    /// Whether that is so.
    pub const fn is_sent(&self) -> bool {
        self.sent
    }

    /// Settles it; what was booked.
    pub fn settle(mut self, outcome: &Outcome) -> Option<Settled> {
        self.open = false;
        let what = (self.grant.hold, self.generation.take(), self.can_be_asked);
        self.keeper.settle(what, outcome)
    }

    fn gone(mut self, why: NoHold) -> NoHold {
        self.open = false;
        why
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.open {
            let outcome = if self.sent {
                Outcome::Unknown { reason: Reason::Cut }
            } else {
                Outcome::Nothing { reason: Reason::NotSent }
            };
            let what = (self.grant.hold, self.generation.take(), self.can_be_asked);
            self.keeper.settle(what, &outcome);
        }
    }
}

impl Tray {
    /// The entries that lie here, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.iter().map(|waiting| &waiting.entry)
    }

    /// Puts an entry down that nobody waits for.
    pub(super) fn put(&mut self, entry: Entry) {
        self.waiting.push(Waiting { entry, told: None });
    }

    /// Puts a cost down, together with one of the same kind that lies here already.
    fn put_spend(&mut self, entry: Entry) {
        let alike = |there: &&mut Waiting| {
            let there = &there.entry;
            there.kind == Kind::Spend
                && there.path == entry.path
                && there.model == entry.model
                && there.price_version == entry.price_version
                && there.reason == entry.reason
        };
        // The newest few are enough: traffic of many agents at once is worth an entry each.
        // While nothing can be written every kind has one entry, so that the queue cannot grow with traffic.
        let look = if self.broken.is_some() { usize::MAX } else { MERGED_LOOK };
        let recent = self.waiting.iter_mut().rev().take(look).find(alike);
        match recent {
            Some(there) => {
                there.entry.spent = there.entry.spent.saturating_add(entry.spent);
                there.entry.tokens = sum(there.entry.tokens, entry.tokens);
                // It stands for several requests now, and so for none of them.
                (there.entry.request, there.entry.attempt) = (None, 0);
            }
            None => self.put(entry),
        }
    }

    /// Puts an entry down that somebody waits for.
    pub(super) fn put_urgent(&mut self, entry: Entry) -> oneshot::Receiver<Told> {
        let (tell, told) = oneshot::channel();
        self.waiting.push(Waiting { entry, told: Some(tell) });
        self.urgent += 1;
        told
    }
}

fn sum(one: Option<Tokens>, other: Option<Tokens>) -> Option<Tokens> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
    Some(Tokens {
        input: one.input.saturating_add(other.input),
        cache_read: one.cache_read.saturating_add(other.cache_read),
        cache_write: one.cache_write.saturating_add(other.cache_write),
        cache_write_1h: one.cache_write_1h.saturating_add(other.cache_write_1h),
        output: one.output.saturating_add(other.output),
        reasoning: one.reasoning.saturating_add(other.reasoning),
    })
}

/// Wakes the scribe, now or soon.
impl Desk {
    pub(super) fn wake(&self, tray: &mut Tray) {
        tray.asleep = false;
        self.work.notify_one();
    }

    /// Something lies here that may wait a little for company.
    pub(super) fn nudge(&self, tray: &mut Tray) {
        if std::mem::take(&mut tray.asleep) {
            self.work.notify_one();
        }
    }
}

/// A condition that the desk's lock belongs to.
pub(super) type Bell = Condvar;
