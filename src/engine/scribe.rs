//! The thread that writes the ledger: takes what lies on the desk, keeps it in one transaction, and tells
//! those who wait.
//!
//! Group commit comes by itself: while one transaction is made durable, the next batch gathers. After a
//! failure holds are given back at once, because nobody may send on a hold that is not durable, and
//! everything else is tried again until it is kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::base::limit::{
    LEDGER_LINGER_MS, LEDGER_RETRY_MS, LEDGER_WATCH_MS, SESSIONS_IN_MEMORY_MAX,
};
use crate::engine::bookkeeper::{Bell, Errand, Tray, Waiting};
use crate::engine::carrying;
use crate::engine::clock::Clock;
use crate::engine::watch::{self, Watch};
use crate::ledger::account::AccountId;
use crate::ledger::book::Book;
use crate::ledger::entry::{Entry, HoldId, Kind, Reason};
use crate::ledger::saved::{Kept, News};
use crate::store::{Orphans, Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// Where the book lies.
pub struct Desk {
    state: Mutex<OnDesk>,
    /// Something to write.
    pub(super) work: Bell,
    /// The scribe has ended.
    pub(super) done: Bell,
    pub(super) metrics: Arc<Metrics>,
    /// Who looks at the totals.
    pub(super) watch: Watch,
    clock: Arc<dyn Clock>,
}

/// The book and what is not durable of it yet.
pub struct OnDesk {
    pub(super) book: Book,
    pub(super) tray: Tray,
}

impl Desk {
    pub(super) fn new(book: Book, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let state = Mutex::new(OnDesk { book, tray: Tray::default() });
        let watch = Watch::default();
        Self { state, work: Bell::new(), done: Bell::new(), metrics, watch, clock }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, OnDesk> {
        self.state.lock()
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn unix_ms(&self) -> i64 {
        self.clock.unix_ms()
    }
}

/// Writes until the desk is closed and empty.
pub(super) fn run(desk: &Arc<Desk>, store: Box<dyn Store>) {
    let _ending = Ending(desk);
    let told = watch::Told::default();
    let mut scribe = Scribe { desk: Arc::clone(desk), store, alone: false, is_busy: false, told };
    scribe.take_over();
    scribe.look(&BTreeSet::new());
    while scribe.turn() {}
    if let Err(error) = scribe.store.close_epoch() {
        tracing::error!(%error, "the ledger could not be closed properly");
    }
}

/// Says that the scribe has ended, however it ended: nobody must wait for it any more.
struct Ending<'a>(&'a Desk);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut desk = self.0.lock();
        desk.tray.ended = true;
        desk.tray.urgent = 0;
        // Whoever waits is told by this that nobody will answer.
        desk.tray.waiting.clear();
        desk.tray.errands.clear();
        if std::thread::panicking() {
            desk.tray.broken = Some("the ledger's thread has ended".to_owned());
        }
        drop(desk);
        self.0.done.notify_all();
    }
}

struct Scribe {
    desk: Arc<Desk>,
    store: Box<dyn Store>,
    /// No other process uses the store.
    alone: bool,
    /// What was told of the accounts.
    told: watch::Told,
    /// There has been work not long ago: the next is waited for by the clock, so that a settlement need not
    /// wake this thread, only to let it wait for company.
    is_busy: bool,
}

impl Scribe {
    /// One batch. False at the end.
    fn turn(&mut self) -> bool {
        let Some((batch, errands)) = self.collect() else { return false };
        if !self.alone {
            self.take_over();
        }
        for errand in errands {
            errand(&mut *self.store, &self.desk);
        }
        let moved: BTreeSet<AccountId> = batch
            .iter()
            .flat_map(|waiting| waiting.entry.path.iter().map(|step| step.account))
            .collect();
        if !batch.is_empty() {
            self.keep(batch);
        }
        // After the batch: no hold waits for more than one such look.
        carrying::refine_next(&mut *self.store, &self.desk);
        self.refresh();
        self.look(&moved);
        self.forget_sessions();
        true
    }

    fn look(&mut self, moved: &BTreeSet<AccountId>) {
        watch::look(&self.desk, &mut *self.store, &mut self.told, moved);
    }

    /// Waits for work and takes all of it.
    fn collect(&mut self) -> Option<(Vec<Waiting>, Vec<Errand>)> {
        let mut desk = self.desk.lock();
        loop {
            let tray = &desk.tray;
            let is_called = tray.urgent > 0 || !tray.errands.is_empty();
            if is_called || !tray.stretches.is_empty() || tray.closed {
                break;
            }
            let wait = if !tray.waiting.is_empty() || self.is_busy {
                LEDGER_LINGER_MS
            } else if !self.alone {
                LEDGER_WATCH_MS
            } else {
                desk.tray.asleep = true;
                self.desk.work.wait(&mut desk);
                continue;
            };
            let late = self.desk.work.wait_for(&mut desk, Duration::from_millis(wait)).timed_out();
            if late && (!std::mem::take(&mut self.is_busy) || !desk.tray.waiting.is_empty()) {
                break;
            }
        }
        let tray = &mut desk.tray;
        if tray.closed && tray.waiting.is_empty() && tray.errands.is_empty() {
            return None;
        }
        tray.asleep = false;
        tray.urgent = 0;
        let batch = std::mem::take(&mut tray.waiting);
        self.is_busy = !batch.is_empty();
        tray.in_hand = batch.iter().map(|waiting| waiting.entry.clone()).collect();
        Some((batch, std::mem::take(&mut tray.errands)))
    }

    /// Keeps a batch and tells those who wait for it.
    fn keep(&mut self, mut batch: Vec<Waiting>) {
        let started = std::time::Instant::now();
        let mut done = self.commit();
        // Each account of the batch can clash once, and then has a number that is free.
        for _ in 0..batch.len() {
            let Err(StoreError::Clash { wanted, same, free, .. }) = done else { break };
            self.adopt(&mut batch, wanted, same.ok_or(free));
            done = self.commit();
        }
        match done {
            Ok(kept) => {
                self.desk.metrics.money.flushed(started.elapsed());
                self.kept(batch, &kept);
            }
            Err(error) => self.failed(batch, &error),
        }
    }

    fn commit(&mut self) -> Result<Vec<Kept>, StoreError> {
        let entries: Vec<Entry> = self.desk.lock().tray.in_hand.clone();
        self.store.commit(&entries)
    }

    /// Another process has opened an account first: ours becomes that one, or takes a number that is free.
    fn adopt(&self, batch: &mut [Waiting], ours: AccountId, there: Result<AccountId, AccountId>) {
        let mut desk = self.desk.lock();
        let OnDesk { book, tray } = &mut *desk;
        let batch = batch.iter_mut().map(|waiting| &mut waiting.entry);
        let later = tray.waiting.iter_mut().map(|waiting| &mut waiting.entry);
        let mut all: Vec<&mut Entry> = batch.chain(&mut tray.in_hand).chain(later).collect();
        match there {
            Ok(same) => book.renumber((ours, same), &mut all),
            Err(free) => book.renumber_anew(ours, free, &mut all),
        }
    }

    fn kept(&self, batch: Vec<Waiting>, kept: &[Kept]) {
        let mut desk = self.desk.lock();
        if desk.tray.broken.take().is_some() {
            tracing::warn!("the ledger can be written again");
        }
        desk.tray.in_hand.clear();
        for (waiting, &kept) in batch.into_iter().zip(kept) {
            if kept != Kept::Done
                && waiting.entry.kind == Kind::Hold
                && let Some(hold) = waiting.entry.hold
            {
                desk.book.undo_hold(hold);
            }
            if let Some(told) = waiting.told {
                // A client that left has dropped its end; its hold has settled itself by that.
                let _ = told.send(Ok(kept));
            }
        }
    }

    /// Nothing was kept. Holds are given back; the rest waits.
    fn failed(&self, batch: Vec<Waiting>, error: &StoreError) {
        let why = &*error.to_string();
        // An account that clashes however often it is renumbered must not stop all that comes after it.
        let clash = matches!(error, StoreError::Clash { .. });
        let mut desk = self.desk.lock();
        if desk.tray.broken.is_none() {
            tracing::error!(error = why, "the ledger cannot be written");
        }
        self.desk.metrics.money.flush_failed();
        // The store itself works after a clash, and nothing may be left whose success would say so.
        desk.tray.broken = (!clash).then(|| why.to_owned());
        desk.tray.in_hand.clear();
        let mut again = Vec::new();
        for waiting in batch {
            if waiting.entry.kind == Kind::Hold {
                again.extend(void_of(&waiting.entry));
                if let Some(hold) = waiting.entry.hold {
                    desk.book.undo_hold(hold);
                }
            } else if !(clash && waiting.entry.kind == Kind::Account) {
                again.push(waiting.entry);
            }
            if let Some(told) = waiting.told {
                let _ = told.send(Err(why.to_owned()));
            }
        }
        let later = std::mem::take(&mut desk.tray.waiting);
        desk.tray.waiting = again.into_iter().map(|entry| Waiting { entry, told: None }).collect();
        desk.tray.waiting.extend(later);
        if desk.tray.closed {
            // What is lost here counts as spent at the next start.
            tracing::error!(
                entries = desk.tray.waiting.len(),
                "the ledger is left without its last entries"
            );
            desk.tray.waiting.clear();
        } else {
            self.desk.work.wait_for(&mut desk, Duration::from_millis(LEDGER_RETRY_MS));
        }
    }

    /// Lets go of the sessions used longest ago, when there are many and all that they did is durable.
    fn forget_sessions(&self) {
        let mut desk = self.desk.lock();
        let OnDesk { book, tray } = &mut *desk;
        let durable = tray.waiting.is_empty() && tray.in_hand.is_empty();
        if durable && book.size() > SESSIONS_IN_MEMORY_MAX {
            // Down to half, so that this is seldom done.
            book.forget_sessions(SESSIONS_IN_MEMORY_MAX / 2);
        }
    }

    /// What other processes wrote.
    fn refresh(&mut self) {
        match self.store.refresh() {
            Ok(None) => {}
            Ok(Some(news)) => self.take_in(&news),
            Err(error) => tracing::error!(%error, "the ledger cannot be read"),
        }
    }

    fn take_in(&mut self, news: &News) {
        let unheld = self.unheld();
        let mut desk = self.desk.lock();
        let OnDesk { book, tray } = &mut *desk;
        let counts = |entry: &Entry| entry.hold.is_none_or(|hold| !unheld.contains(&hold));
        let all = tray.in_hand.iter_mut().chain(tray.waiting.iter_mut().map(|one| &mut one.entry));
        let mut pending: Vec<&mut Entry> = all.filter(|entry| counts(entry)).collect();
        book.rebase(news, &mut pending);
    }

    /// The holds that entries on the desk would resolve, though the store has not kept them: they were
    /// refused there, or nobody knows. What such an entry frees was never held.
    fn unheld(&mut self) -> BTreeSet<HoldId> {
        let mut resolved: BTreeSet<HoldId> = {
            let desk = self.desk.lock();
            let mut resolved = BTreeSet::new();
            for entry in desk.tray.in_hand.iter().chain(desk.tray.entries()) {
                match (entry.kind, entry.hold) {
                    (Kind::Settle | Kind::Void | Kind::Limbo, Some(hold)) => resolved.insert(hold),
                    _ => false,
                };
            }
            // A hold that waits for the store comes before what resolves it.
            for made in desk.tray.in_hand.iter().chain(desk.tray.entries()) {
                if let (Kind::Hold, Some(hold)) = (made.kind, made.hold) {
                    resolved.remove(&hold);
                }
            }
            resolved
        };
        // What cannot be asked is taken for held, as it mostly is.
        resolved.retain(|hold| matches!(self.store.hold(*hold), Ok(None)));
        resolved
    }

    /// Settles what processes before this one left open, once they have gone: all of it counts as spent.
    fn take_over(&mut self) {
        let Orphans { holds, balances } = match self.store.orphans() {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "open holds of earlier processes cannot be read");
                return;
            }
        };
        self.alone = true;
        if holds.is_empty() {
            return;
        }
        self.take_in(&News { balances, ..News::default() });
        tracing::warn!(
            holds = holds.len(),
            "holds that an earlier process left open count as spent; see /api/limbo"
        );
        let mut desk = self.desk.lock();
        let OnDesk { book, tray } = &mut *desk;
        book.adopt(&holds);
        for entry in book.recover(self.desk.unix_ms()) {
            tray.put(entry);
        }
    }
}

/// The entry that undoes a hold of which nobody knows whether it was kept.
fn void_of(hold: &Entry) -> Option<Entry> {
    hold.hold?;
    Some(Entry {
        kind: Kind::Void,
        held: -hold.held,
        spent: 0,
        reason: Reason::NotDurable,
        ..hold.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::RequestId;
    use crate::base::money::{NanoUsd, PicoUsd};
    use crate::config::snapshot::Synchronous;
    use crate::engine::bookkeeper::{Bookkeeper, NoHold};
    use crate::ledger::account::{Account, AccountKey, Cadence, Terms};
    use crate::ledger::entry::HoldId;
    use crate::ledger::hold::{HoldOrder, Outcome};
    use crate::ledger::level::Told;
    use crate::ledger::plan::Planned;
    use crate::ledger::saved::{Balance, OpenHold, Saved, Stretch};
    use crate::store::sqlite::{Opening, SqliteStore};

    /// A store whose next transactions fail as they are told to.
    #[derive(Default)]
    struct Sick {
        failures: Arc<Mutex<Vec<StoreError>>>,
        kept: Arc<Mutex<Vec<Entry>>>,
        /// What it says of other processes, once.
        news: Option<News>,
        /// How many entries were kept before each look at what was spent.
        looks: Arc<Mutex<Vec<usize>>>,
    }

    impl Store for Sick {
        fn open_epoch(&mut self) -> Result<Saved, StoreError> {
            Ok(Saved { epoch: 1, ..Saved::default() })
        }

        fn orphans(&mut self) -> Result<Option<Orphans>, StoreError> {
            Ok(Some(Orphans::default()))
        }

        fn commit(&mut self, entries: &[Entry]) -> Result<Vec<Kept>, StoreError> {
            if let Some(error) = self.failures.lock().pop() {
                return Err(error);
            }
            self.kept.lock().extend_from_slice(entries);
            Ok(vec![Kept::Done; entries.len()])
        }

        fn spent_within(&mut self, _: &Stretch, _: u32) -> Result<Option<i64>, StoreError> {
            self.looks.lock().push(self.kept.lock().len());
            Ok(None)
        }

        fn refresh(&mut self) -> Result<Option<News>, StoreError> {
            Ok(self.news.take())
        }

        fn account(
            &mut self,
            _: &AccountKey,
        ) -> Result<Option<(Account, Option<Balance>)>, StoreError> {
            Ok(None)
        }

        fn limbo(&mut self, _: usize) -> Result<Vec<OpenHold>, StoreError> {
            Ok(Vec::new())
        }

        fn named(&mut self, _: i64, _: usize) -> Result<Vec<OpenHold>, StoreError> {
            Ok(Vec::new())
        }

        fn hold(&mut self, _: HoldId) -> Result<Option<OpenHold>, StoreError> {
            Ok(None)
        }

        fn told(&mut self, _: AccountId) -> Result<Option<Told>, StoreError> {
            Ok(None)
        }

        fn tell(&mut self, _: AccountId, _: Option<&Told>, _: &Told) -> Result<bool, StoreError> {
            Ok(true)
        }

        fn close_epoch(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    struct Stand {
        keeper: Arc<Bookkeeper>,
        order: HoldOrder,
        kept: Arc<Mutex<Vec<Entry>>>,
    }

    /// An agent with 100 nano-dollars, and a request that may cost 60.
    fn stand(failures: Vec<StoreError>) -> Stand {
        stand_with(Sick { failures: Arc::new(Mutex::new(failures)), ..Sick::default() })
    }

    fn stand_with(mut store: Sick) -> Stand {
        let mut book = Book::restore(store.open_epoch().unwrap());
        let terms = Terms {
            limit: Some(NanoUsd(100)),
            cadence: Cadence::None,
            zone: Arc::from("UTC"),
            hard: true,
        };
        let planned = Planned { key: AccountKey::agent("a"), parent: None, terms };
        book.configure(&[planned], 0).unwrap();
        let order = HoldOrder {
            leaf: book.id(&AccountKey::agent("a")).unwrap(),
            fixed: PicoUsd(60_000),
            per_output_token: PicoUsd(0),
            output_cap: 0,
            output_floor: 0,
            request: RequestId::from_bits(1),
            attempt: 1,
            model: Arc::from("m"),
            price_version: 1,
        };
        let kept = Arc::clone(&store.kept);
        let keeper = Arc::new(Bookkeeper::new(book, Arc::new(Metrics::new("0").unwrap())));
        keeper.start(Box::new(store)).unwrap();
        Stand { keeper, order, kept }
    }

    fn held_nano(keeper: &Bookkeeper) -> i64 {
        keeper.standing(&AccountKey::agent("a")).unwrap().held.0
    }

    fn unusable() -> StoreError {
        StoreError::Unusable { path: "l".into(), detail: "disk full".into() }
    }

    fn clash() -> StoreError {
        let (wanted, same, free) = (AccountId(0), Some(AccountId(8)), AccountId(9));
        StoreError::Clash { path: "l".into(), wanted, same, free }
    }

    #[tokio::test]
    async fn a_hold_that_cannot_be_kept_is_given_back_and_the_next_one_works() {
        let Stand { keeper, order, kept } = stand(vec![unusable()]);
        let refused = keeper.hold(&order, 1).await;
        assert!(matches!(refused, Err(NoHold::NotDurable(why)) if why.contains("disk full")));
        assert_eq!(held_nano(&keeper), 0);
        // The entry that undoes it is tried until it is kept.
        let again = async {
            while keeper.trouble().is_some() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), again).await.unwrap();
        let held = keeper.hold(&order, 2).await.unwrap_or_else(|why| panic!("{why:?}"));
        assert_eq!(held_nano(&keeper), 60);
        assert!(matches!(keeper.hold(&order, 3).await, Err(NoHold::Refused(_))), "no room for two");
        drop(held);
        assert_eq!(held_nano(&keeper), 0, "it was never sent");
        keeper.stop();
        let kinds: Vec<Kind> = kept.lock().iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [Kind::Void, Kind::Hold, Kind::Void]);
    }

    #[tokio::test]
    async fn what_was_never_held_frees_nothing_when_another_process_has_written() {
        let (start_ms, end_ms) = (0, i64::MAX);
        let balance = Balance { account: AccountId(0), start_ms, end_ms, spent: 7, held: 0 };
        let news = Some(News { balances: vec![balance], ..News::default() });
        let failures = Arc::new(Mutex::new(vec![unusable()]));
        let Stand { keeper, order, .. } = stand_with(Sick { failures, news, ..Sick::default() });
        let before = keeper.look(|book, _| book.standing(AccountId(0), 1)).unwrap();
        assert_eq!((before.start_ms, before.end_ms), (start_ms, end_ms), "the period of the news");
        assert!(keeper.hold(&order, 1).await.is_err());
        let seen = async {
            while keeper.standing(&AccountKey::agent("a")).unwrap().spent.0 != 7 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap();
        // The entry that undoes the hold still waits; the store has never had it.
        assert_eq!(held_nano(&keeper), 0);
        keeper.look(|book, _| book.check()).unwrap();
    }

    #[test]
    fn no_entry_waits_for_more_than_one_look_at_what_was_spent() {
        let store = Sick::default();
        let looks = Arc::clone(&store.looks);
        let mut book = Book::restore(Saved { epoch: 1, ..Saved::default() });
        let terms = Terms { limit: None, cadence: Cadence::None, zone: "UTC".into(), hard: true };
        let planned = Planned { key: AccountKey::agent("a"), parent: None, terms };
        book.configure(&[planned], 0).unwrap();
        let account = book.id(&AccountKey::agent("a")).unwrap();
        let metrics = Arc::new(Metrics::new("0").unwrap());
        let clock = Arc::new(crate::engine::clock::SystemClock);
        let desk = Arc::new(Desk::new(book, metrics, clock));
        let (into_ms, from_ms, start_ms, until_ms, counted) = (9, 5, 0, 9, 7);
        let stretch = Stretch { account, into_ms, from_ms, start_ms, until_ms, counted };
        carrying::put(&mut desk.lock().tray, vec![stretch; 3]);
        let told = watch::Told::default();
        let (desk, store) = (Arc::clone(&desk), Box::new(store));
        let mut scribe = Scribe { desk, store, alone: true, is_busy: false, told };
        for _ in 0..3 {
            {
                let mut desk = scribe.desk.lock();
                let entry = desk.book.set_spent(account, NanoUsd(1), Reason::Admin, 1).unwrap();
                desk.tray.put(entry);
            }
            assert!(scribe.turn());
        }
        assert_eq!(*looks.lock(), [1, 2, 3], "one look behind each batch");
        assert!(scribe.desk.lock().tray.stretches.is_empty());
    }

    #[tokio::test]
    async fn an_account_that_clashes_takes_the_number_that_the_store_has_for_it() {
        let Stand { keeper, order, kept } = stand(vec![clash()]);
        let changed = keeper.change(|book, at_ms| {
            let leaf = book.id(&AccountKey::agent("a")).unwrap();
            (
                (),
                book.set_limit(leaf, Some(NanoUsd(90)), Reason::Admin, at_ms).into_iter().collect(),
            )
        });
        changed.await.unwrap();
        // Whoever knows the account by its first number still finds it.
        assert!(keeper.hold(&order, 1).await.is_ok());
        keeper.stop();
        let kept = kept.lock();
        let account = kept[0].account.as_ref().unwrap();
        assert_eq!((account.id, account.limit_set), (AccountId(8), Some(NanoUsd(90))));
        assert_eq!(kept[1].path[0].account, AccountId(8));
    }

    /// A process that shares the ledger in `folder`.
    fn sharer(folder: &std::path::Path, opening: Opening) -> Arc<Bookkeeper> {
        let file = folder.join("weir.db");
        let mut store = SqliteStore::open(&file, Synchronous::Normal, opening).unwrap();
        let mut saved = store.open_epoch().unwrap();
        saved.next_account.0 += if opening == Opening::TakeOver { 1_000 } else { 0 };
        let metrics = Arc::new(Metrics::new("0").unwrap());
        let keeper = Arc::new(Bookkeeper::new(Book::restore(saved), metrics));
        keeper.start(Box::new(store)).unwrap();
        keeper
    }

    /// Opens an agent that may spend 100.
    async fn open(keeper: &Bookkeeper, name: &str) -> AccountId {
        let terms = Terms {
            limit: Some(NanoUsd(100)),
            cadence: Cadence::None,
            zone: Arc::from("UTC"),
            hard: true,
        };
        let plan = [Planned { key: AccountKey::agent(name), parent: None, terms }];
        let opened = keeper.change(|book, at_ms| ((), book.configure(&plan, at_ms).unwrap()));
        opened.await.unwrap();
        keeper.look(|book, _| book.id(&AccountKey::agent(name)).unwrap())
    }

    #[tokio::test]
    async fn what_one_process_sets_the_other_one_obeys_before_its_next_request_is_sent() {
        let folder = std::env::temp_dir().join(format!("weir-sharers-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let old = sharer(&folder, Opening::Own);
        let leaf = open(&old, "a").await;
        let new = sharer(&folder, Opening::TakeOver);
        // Both open the same account: it gets one number.
        let first = open(&old, "b").await;
        assert_eq!(open(&new, "b").await, first);
        let frozen = |keeper: &Bookkeeper| keeper.view(leaf, 0).frozen.is_some();
        let order = stand(Vec::new()).order;
        let order = HoldOrder { leaf, ..order };
        let freeze = new.change(|book, at_ms| {
            ((), book.set_frozen(leaf, true, Reason::Admin, at_ms).into_iter().collect())
        });
        freeze.await.unwrap();
        assert!(!frozen(&old), "it has not looked");
        assert!(matches!(old.hold(&order, 1).await, Err(NoHold::NoRoom)));
        // It has looked by then; its own change leaves the freeze alone.
        let limit = old.change(|book, at_ms| {
            (
                (),
                book.set_limit(leaf, Some(NanoUsd(70)), Reason::Admin, at_ms).into_iter().collect(),
            )
        });
        limit.await.unwrap();
        assert!(matches!(old.hold(&order, 1).await, Err(NoHold::Refused(_))));
        // The new one looks by itself.
        let seen = async {
            while new.standing(&AccountKey::agent("a")).unwrap().limit != Some(NanoUsd(70)) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap();
        assert!(frozen(&new) && frozen(&old));
        old.stop();
        new.stop();
        let verified = crate::store::verify::verify(&folder.join("weir.db")).unwrap();
        assert_eq!(verified.broken, []);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// Whether the scribe is asleep or waits for company, a settlement that no hold follows is kept.
    #[tokio::test]
    async fn a_settlement_that_nobody_follows_is_kept_all_the_same() {
        let Stand { keeper, order, kept } = stand(Vec::new());
        let until = |reached: &dyn Fn() -> bool| {
            let late = std::time::Instant::now() + Duration::from_secs(20);
            while !reached() {
                assert!(std::time::Instant::now() < late);
                std::thread::yield_now();
            }
        };
        let asleep = || keeper.desk.lock().tray.asleep;
        for round in 1..=2 {
            let held = keeper.hold(&order, 1).await.unwrap_or_else(|why| panic!("{why:?}"));
            if round == 2 {
                until(&asleep);
            }
            held.settle(&Outcome::Nothing { reason: Reason::NotSent });
            until(&|| kept.lock().len() == 2 * round);
            until(&asleep);
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_scribe_that_has_ended() {
        let Stand { keeper, order, .. } = stand(Vec::new());
        keeper.stop();
        assert!(matches!(keeper.hold(&order, 1).await, Err(NoHold::NotDurable(_))));
        assert_eq!(held_nano(&keeper), 0);
        assert!(keeper.change(|_, _| ((), Vec::new())).await.is_err());
    }
}
