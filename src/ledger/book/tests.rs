//! The rules of the book, one by one.

use super::*;
use crate::base::id::RequestId;
use crate::base::money::PicoUsd;
use crate::ledger::account::{Cadence, Source};
use crate::ledger::saved::News;

const DAY: i64 = 86_400_000;
/// 2026-11-21T00:00Z.
const TODAY: i64 = 1_795_219_200_000;

fn terms(limit: Option<i64>, cadence: Cadence, hard: bool) -> Terms {
    Terms { limit: limit.map(NanoUsd), cadence, zone: Arc::from("UTC"), hard }
}

fn planned(key: AccountKey, parent: Option<AccountKey>, terms: Terms) -> Planned {
    Planned { key, parent, terms }
}

/// Fleet and agent, both hard, by the day.
fn two(fleet: Option<i64>, agent: Option<i64>) -> Vec<Planned> {
    vec![
        planned(AccountKey::fleet(), None, terms(fleet, Cadence::Daily, true)),
        planned(
            AccountKey::agent("a"),
            Some(AccountKey::fleet()),
            terms(agent, Cadence::Daily, true),
        ),
    ]
}

fn book(plan: &[Planned]) -> Book {
    let mut book = Book::restore(Saved { epoch: 1, ..Saved::default() });
    book.configure(plan, TODAY).unwrap();
    book
}

fn agent(book: &Book) -> AccountId {
    book.id(&AccountKey::agent("a")).unwrap()
}

fn fleet(book: &Book) -> AccountId {
    book.id(&AccountKey::fleet()).unwrap()
}

/// Of a fixed amount in nano-dollars.
fn order(leaf: AccountId, amount: i64) -> HoldOrder {
    HoldOrder {
        leaf,
        fixed: PicoUsd(i128::from(amount) * 1_000),
        per_output_token: PicoUsd(0),
        output_cap: 4_096,
        output_floor: 256,
        request: RequestId::from_bits(7),
        attempt: 1,
        model: Arc::from("m"),
        price_version: 3,
    }
}

fn cost(cost: i64) -> Outcome {
    Outcome::Cost { cost: NanoUsd(cost), tokens: None, reason: Reason::Exact }
}

/// Spent and held.
fn sums(book: &Book, account: AccountId, at_ms: i64) -> (i64, i64) {
    let standing = book.standing(account, at_ms).unwrap();
    (standing.spent.0, standing.held.0)
}

#[test]
fn a_hold_is_held_on_the_whole_path_and_settles_to_its_cost() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let leaf = agent(&book);
    let (grant, entry) = book.hold(&order(leaf, 300), TODAY + 5).unwrap();
    assert_eq!((grant.amount, grant.output_cap), (NanoUsd(300), 4_096));
    assert_eq!(grant.remaining, Some(NanoUsd(200)));
    assert_eq!((entry.kind, entry.held, entry.spent), (Kind::Hold, 300, 0));
    let path: Vec<_> = entry.path.iter().map(|step| (step.account, step.cap)).collect();
    assert_eq!(path, [(leaf, Some(NanoUsd(500))), (fleet(&book), Some(NanoUsd(1_000)))]);
    assert_eq!(sums(&book, fleet(&book), TODAY + 5), (0, 300));
    let settled = book.settle(grant.hold, &cost(120), TODAY + 6).unwrap();
    assert_eq!((settled.cost, settled.bound_violated), (NanoUsd(120), false));
    assert_eq!(settled.remaining, Some(NanoUsd(380)));
    assert_eq!((settled.entries[0].held, settled.entries[0].spent), (-300, 120));
    for account in [leaf, fleet(&book)] {
        assert_eq!(sums(&book, account, TODAY + 6), (120, 0));
    }
    assert_eq!(book.settle(grant.hold, &cost(120), TODAY + 7), None, "once");
    book.check().unwrap();
}

#[test]
fn nothing_costs_nothing_and_the_unknown_costs_all() {
    let mut book = book(&two(None, Some(500)));
    let leaf = agent(&book);
    let (first, _) = book.hold(&order(leaf, 300), TODAY).unwrap();
    let void =
        book.settle(first.hold, &Outcome::Nothing { reason: Reason::NotSent }, TODAY).unwrap();
    assert_eq!((void.entries[0].kind, void.cost), (Kind::Void, NanoUsd(0)));
    let (second, made) = book.hold(&order(leaf, 300), TODAY).unwrap();
    let limbo = book.settle(second.hold, &Outcome::Unknown { reason: Reason::Cut }, TODAY).unwrap();
    assert_eq!((limbo.entries[0].kind, limbo.cost), (Kind::Limbo, NanoUsd(300)));
    let open = OpenHold {
        hold: second.hold,
        path: Arc::clone(&made.path),
        made,
        generation: None,
        booked: None,
        limbo: true,
    };
    let refund = book.refund(&open, NanoUsd(100), Reason::Lookup, TODAY).unwrap();
    assert_eq!((refund.kind, refund.spent, refund.hold), (Kind::Refund, -200, Some(second.hold)));
    assert_eq!(sums(&book, leaf, TODAY), (100, 0));
    assert_eq!(book.refund(&open, NanoUsd(0), Reason::Admin, TODAY), None, "once");
    assert_eq!(sums(&book, leaf, TODAY), (100, 0));
}

#[test]
fn the_output_cap_is_lowered_to_what_the_narrowest_limit_leaves() {
    let mut book = book(&two(Some(1_000_000), Some(2_000_000)));
    let leaf = agent(&book);
    let mut wish = order(leaf, 100_000);
    wish.per_output_token = PicoUsd(1_000_001);
    let (grant, _) = book.hold(&wish, TODAY).unwrap();
    assert_eq!((grant.output_cap, grant.amount), (899, NanoUsd(999_001)));
    let refused = book.hold(&wish, TODAY).unwrap_err();
    let Refusal::Exhausted { account, needed, standing } = refused else { panic!("{refused:?}") };
    assert_eq!((account, needed), (AccountKey::fleet(), NanoUsd(356_001)));
    assert_eq!((standing.remaining, standing.held), (Some(NanoUsd(999)), NanoUsd(999_001)));
    wish.output_cap = 0;
    wish.fixed = PicoUsd(999_000);
    assert_eq!(book.hold(&wish, TODAY).unwrap().0.amount, NanoUsd(999), "to the last nano-dollar");
    wish.fixed = PicoUsd(1);
    assert!(book.hold(&wish, TODAY).is_err());
    book.check().unwrap();
}

#[test]
fn a_soft_limit_refuses_nothing_and_shows_the_overdraft() {
    let mut book =
        book(&[planned(AccountKey::agent("a"), None, terms(Some(100), Cadence::None, false))]);
    let leaf = agent(&book);
    let (grant, entry) = book.hold(&order(leaf, 300), TODAY).unwrap();
    assert_eq!((grant.remaining, entry.path[0].cap), (Some(NanoUsd(-200)), None));
    let settled = book.settle(grant.hold, &cost(350), TODAY).unwrap();
    assert!(settled.bound_violated && settled.entries.len() == 1, "no limit relied on the bound");
    assert!(book.path_is_limited(leaf) && !book.is_strict(leaf));
    assert_eq!(book.room(leaf, TODAY).unwrap().tightest, NanoUsd(-250));
}

#[test]
fn a_cost_above_its_hold_is_booked_in_full_and_freezes_the_leaf() {
    let mut book = book(&two(None, Some(500)));
    let leaf = agent(&book);
    let (grant, _) = book.hold(&order(leaf, 300), TODAY).unwrap();
    let settled = book.settle(grant.hold, &cost(900), TODAY).unwrap();
    assert!(settled.bound_violated);
    assert_eq!((settled.cost, settled.remaining), (NanoUsd(900), Some(NanoUsd(-400))));
    let [_, freeze] = &settled.entries[..] else { panic!("{settled:?}") };
    assert_eq!((freeze.kind, freeze.reason), (Kind::Account, Reason::Breaker));
    assert!(freeze.account.as_ref().unwrap().frozen);
    let refused = book.hold(&order(leaf, 1), TODAY).unwrap_err();
    assert_eq!(refused, Refusal::Frozen { account: AccountKey::agent("a") });
    assert!(book.set_frozen(leaf, false, Reason::Admin, TODAY).is_some());
    assert_eq!(book.set_frozen(leaf, false, Reason::Admin, TODAY), None);
    assert!(matches!(book.hold(&order(leaf, 1), TODAY), Err(Refusal::Exhausted { .. })));
}

#[test]
fn an_attempt_settles_into_the_period_that_admitted_it() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let leaf = agent(&book);
    let (old, _) = book.hold(&order(leaf, 400), TODAY + DAY - 1).unwrap();
    let (new, entry) = book.hold(&order(leaf, 400), TODAY + DAY).unwrap();
    assert_eq!(entry.path[0].start_ms, TODAY + DAY);
    assert_eq!(sums(&book, leaf, TODAY + DAY), (0, 400));
    let settled = book.settle(old.hold, &cost(50), TODAY + DAY + 1).unwrap();
    assert_eq!(settled.entries[0].path[0].start_ms, TODAY);
    assert_eq!(sums(&book, leaf, TODAY + DAY + 1), (0, 400), "not this period's money");
    book.settle(new.hold, &cost(60), TODAY + DAY + 2).unwrap();
    assert_eq!(sums(&book, leaf, TODAY + DAY + 2), (60, 0));
    book.check().unwrap();
}

#[test]
fn a_clock_that_is_set_back_opens_no_period_again() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let leaf = agent(&book);
    book.hold(&order(leaf, 100), TODAY + DAY).unwrap();
    let (_, entry) = book.hold(&order(leaf, 100), TODAY + DAY - 3_600_000).unwrap();
    assert_eq!((entry.at_ms, entry.path[0].start_ms), (TODAY + DAY, TODAY + DAY));
    assert_eq!(sums(&book, leaf, 0), (0, 200));
    let balance = Balance {
        account: leaf,
        start_ms: TODAY + DAY,
        end_ms: TODAY + 2 * DAY,
        spent: 450,
        held: 0,
    };
    let accounts = book.accounts().cloned().collect();
    let saved = Saved { epoch: 2, accounts, balances: vec![balance], ..Saved::default() };
    let mut again = Book::restore(saved);
    assert!(again.hold(&order(leaf, 100), TODAY + DAY - 1).is_err(), "not even by a restart");
}

#[test]
fn a_plan_is_followed_as_a_whole_or_not_at_all() {
    let mut book = book(&[]);
    let plain = || terms(None, Cadence::None, false);
    let (fleet, agent) = (AccountKey::fleet(), AccountKey::agent("a"));
    let orphan = [
        planned(agent.clone(), Some(fleet.clone()), plain()),
        planned(fleet.clone(), None, plain()),
    ];
    let no_parent = PlanError::NoParent { child: agent.clone(), parent: fleet.clone() };
    assert_eq!(book.configure(&orphan, TODAY), Err(no_parent));
    let itself = [planned(agent.clone(), Some(agent.clone()), plain())];
    assert!(matches!(book.configure(&itself, TODAY), Err(PlanError::NoParent { .. })));
    let twice = [planned(fleet.clone(), None, plain()), planned(fleet.clone(), None, plain())];
    assert_eq!(book.configure(&twice, TODAY), Err(PlanError::Twice(fleet)));
    let zone = Terms { zone: Arc::from("Mars/Olympus"), ..plain() };
    let zoned = book.configure(&[planned(agent, None, zone)], TODAY);
    assert!(matches!(zoned, Err(PlanError::Zone { .. })));
    let chain = |length: usize| -> Vec<Planned> {
        let team = |at: usize| AccountKey::team(&at.to_string());
        let above = |at: usize| at.checked_sub(1).map(team);
        (0..length).map(|at| planned(team(at), above(at), plain())).collect()
    };
    let deep = book.configure(&chain(16), TODAY);
    assert_eq!(deep, Err(PlanError::TooDeep(AccountKey::team("15"))));
    assert_eq!(book.accounts().count(), 0, "nothing of a bad plan is done");
    assert_eq!(book.configure(&chain(15), TODAY).unwrap().len(), 15);
    let leaf = book.id(&AccountKey::team("14")).unwrap();
    let (session, _) = book.open_session(leaf, AccountKey::session("a", "1"), plain(), TODAY);
    assert_eq!(book.hold(&order(session, 1), TODAY).unwrap().1.path.len(), 16);
}

#[test]
fn a_reload_keeps_what_was_spent_and_what_people_have_said() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let leaf = agent(&book);
    let (grant, _) = book.hold(&order(leaf, 300), TODAY).unwrap();
    let limit = book.set_limit(leaf, Some(NanoUsd(400)), Reason::Admin, TODAY).unwrap();
    assert_eq!(limit.account.unwrap().limit(), Some(NanoUsd(400)));
    book.set_frozen(fleet(&book), true, Reason::Admin, TODAY).unwrap();
    assert_eq!(book.configure(&two(Some(1_000), Some(500)), TODAY).unwrap(), []);
    let entries = book.configure(&two(Some(1_000), Some(200)), TODAY).unwrap();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((entry.kind, entry.reason, entry.path.len()), (Kind::Account, Reason::Config, 0));
    let standing = book.standing(leaf, TODAY).unwrap();
    assert_eq!((standing.limit, standing.source), (Some(NanoUsd(400)), Source::Console));
    assert_eq!((standing.held, standing.remaining), (NanoUsd(300), Some(NanoUsd(100))));
    assert!(book.standing(fleet(&book), TODAY).unwrap().frozen);
    book.set_frozen(fleet(&book), false, Reason::Admin, TODAY).unwrap();
    book.set_limit(leaf, None, Reason::Admin, TODAY).unwrap();
    assert_eq!(book.standing(leaf, TODAY).unwrap().remaining, Some(NanoUsd(-100)));
    assert!(matches!(book.hold(&order(leaf, 0), TODAY), Err(Refusal::Exhausted { .. })));
    book.configure(&[], TODAY).unwrap();
    assert_eq!(sums(&book, leaf, TODAY), (0, 300), "not planned any more, but not forgotten");
    assert!(book.settle(grant.hold, &cost(1), TODAY).is_some());
}

/// One agent by itself.
fn alone(cadence: Cadence, zone: &str) -> Vec<Planned> {
    let terms = Terms { zone: Arc::from(zone), ..terms(Some(500), cadence, true) };
    vec![planned(AccountKey::agent("a"), None, terms)]
}

fn pay(book: &mut Book, amount: i64, at_ms: i64) {
    let (grant, _) = book.hold(&order(agent(book), amount), at_ms).unwrap();
    book.settle(grant.hold, &cost(amount), at_ms).unwrap();
}

/// What an agent has spent by the calendar that is put in force.
fn by(book: &mut Book, plan: &[Planned], at_ms: i64) -> i64 {
    book.configure(plan, at_ms).unwrap();
    sums(book, agent(book), at_ms).0
}

#[test]
fn another_calendar_begins_a_period_and_carries_what_lies_within() {
    let plan = |cadence| alone(cadence, "UTC");
    let mut book = book(&plan(Cadence::Daily));
    let leaf = agent(&book);
    let noon = TODAY + DAY / 2;
    let (grant, _) = book.hold(&order(leaf, 100), noon).unwrap();
    book.settle(grant.hold, &cost(70), noon).unwrap();
    let (grant, _) = book.hold(&order(leaf, 50), noon).unwrap();
    let entries = book.configure(&plan(Cadence::Monthly), noon + 1).unwrap();
    let [_, carry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((carry.kind, carry.reason), (Kind::Adjust, Reason::Carried));
    assert_eq!((carry.spent, carry.path[0].start_ms), (120, noon + 1), "what is held as well");
    assert_eq!(sums(&book, leaf, noon + 1), (120, 0), "today's spend is this month's as well");
    let settled = book.settle(grant.hold, &cost(40), noon + 2).unwrap();
    assert_eq!(sums(&book, leaf, noon + 2), (110, 0), "what it has not cost comes off");
    let [_, less] = &settled.entries[..] else { panic!("{settled:?}") };
    assert_eq!((less.kind, less.reason, less.spent), (Kind::Adjust, Reason::Carried, -10));
    assert_eq!((less.hold, less.path[0].start_ms), (Some(grant.hold), noon + 1));
    assert_eq!(by(&mut book, &plan(Cadence::Daily), noon + 3), 110, "and has come to 40");
    let later = noon + 3_600_000;
    assert_eq!(by(&mut book, &plan(Cadence::Hourly), later), 0, "all of it was spent before");
    let (_, entry) = book.hold(&order(leaf, 500), later + 2).unwrap();
    assert_eq!(entry.path[0].end_ms, later + 3_600_000);
    book.check().unwrap();
}

#[test]
fn holds_that_a_new_calendar_counts_come_off_once_and_only_by_what_is_certain() {
    let mut book = book(&alone(Cadence::Monthly, "UTC"));
    let leaf = agent(&book);
    let holds: Vec<HoldId> =
        (0..4).map(|_| book.hold(&order(leaf, 75), TODAY).unwrap().0.hold).collect();
    assert_eq!(by(&mut book, &alone(Cadence::None, "UTC"), TODAY + 1), 300);
    book.settle(holds[0], &cost(1), TODAY + 2).unwrap();
    assert_eq!(sums(&book, leaf, TODAY + 2), (226, 0));
    book.settle(holds[1], &Outcome::Nothing { reason: Reason::NotSent }, TODAY + 3).unwrap();
    assert_eq!(sums(&book, leaf, TODAY + 3), (151, 0));
    let guess = Outcome::Cost { cost: NanoUsd(5), tokens: None, reason: Reason::Estimated };
    let open = book.settle_for_now(holds[2], &guess, TODAY + 4).unwrap();
    assert_eq!((open.entries.len(), sums(&book, leaf, TODAY + 4)), (1, (151, 0)), "not known yet");
    book.reset(leaf, Reason::Admin, TODAY + 5);
    book.settle(holds[3], &cost(1), TODAY + 6).unwrap();
    assert_eq!(sums(&book, leaf, TODAY + 6), (0, 0), "forgiven already");
    book.check().unwrap();
}

#[test]
fn no_change_of_the_calendar_there_and_back_forgets_what_was_spent() {
    let mut book = book(&alone(Cadence::Monthly, "UTC"));
    let month = alone(Cadence::Monthly, "UTC");
    let day = alone(Cadence::Daily, "UTC");
    pay(&mut book, 300, TODAY + 1);
    for turn in 0..20 {
        let at_ms = TODAY + 10 + 2 * turn;
        assert_eq!(by(&mut book, &day, at_ms), 300, "and counts none of it twice");
        assert_eq!(by(&mut book, &month, at_ms + 1), 300);
    }
    pay(&mut book, 100, TODAY + 60);
    assert_eq!(by(&mut book, &alone(Cadence::Monthly, "Europe/Berlin"), TODAY + 61), 400);
    assert_eq!(by(&mut book, &alone(Cadence::Monthly, "America/New_York"), TODAY + 62), 400);
    assert_eq!(by(&mut book, &alone(Cadence::None, "UTC"), TODAY + 63), 400);
    // Ten days of ten each, and then the month again.
    assert_eq!(by(&mut book, &day, TODAY + 64), 400);
    for at in 1..=9 {
        pay(&mut book, 10, TODAY + at * DAY);
    }
    assert_eq!(by(&mut book, &month, TODAY + 9 * DAY + 1), 490);
    assert_eq!(by(&mut book, &day, TODAY + 9 * DAY + 2), 10, "this day by itself was known");
    assert_eq!(by(&mut book, &month, TODAY + 12 * DAY), 0, "a month that has begun since");
    assert_eq!(by(&mut book, &alone(Cadence::None, "UTC"), TODAY + 100 * DAY), 490);
    book.check().unwrap();
}

#[test]
fn a_reset_is_not_undone_by_the_period_that_it_was_carried_into() {
    let mut book = book(&alone(Cadence::Monthly, "UTC"));
    let leaf = agent(&book);
    pay(&mut book, 300, TODAY + 1);
    assert_eq!(by(&mut book, &alone(Cadence::Daily, "UTC"), TODAY + 2), 300);
    book.reset(leaf, Reason::Admin, TODAY + 3);
    pay(&mut book, 20, TODAY + 4);
    assert_eq!(sums(&book, leaf, TODAY + 5).0, 20);
    assert_eq!(by(&mut book, &alone(Cadence::Hourly, "UTC"), TODAY + 6), 320, "never too little");
}

#[test]
fn a_hold_that_was_not_kept_never_was() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let leaf = agent(&book);
    let (grant, _) = book.hold(&order(leaf, 500), TODAY).unwrap();
    assert!(book.hold(&order(leaf, 1), TODAY).is_err());
    book.undo_hold(grant.hold);
    book.undo_hold(grant.hold);
    assert_eq!(sums(&book, fleet(&book), TODAY), (0, 0));
    assert_eq!(book.settle(grant.hold, &cost(1), TODAY), None);
    assert!(book.hold(&order(leaf, 500), TODAY).is_ok_and(|(new, _)| new.hold != grant.hold));
}

/// The book of the next epoch, from what a store would know.
fn restarted(book: &Book, made: Vec<Entry>) -> Book {
    let balances = book.accounts().map(|account| {
        let standing = book.standing(account.id, 0).unwrap();
        Balance {
            account: account.id,
            start_ms: standing.start_ms,
            end_ms: standing.end_ms,
            spent: standing.spent.0,
            held: standing.held.0,
        }
    });
    let open = made.into_iter().map(|made| OpenHold {
        generation: None,
        booked: None,
        hold: made.hold.unwrap(),
        path: Arc::clone(&made.path),
        made,
        limbo: false,
    });
    Book::restore(Saved {
        epoch: 2,
        next_account: AccountId(50),
        balances: balances.collect(),
        accounts: book.accounts().cloned().collect(),
        open: open.collect(),
        ..Saved::default()
    })
}

#[test]
fn what_a_dead_process_held_is_spent_until_somebody_knows_better() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let leaf = agent(&book);
    let (grant, made) = book.hold(&order(leaf, 300), TODAY).unwrap();
    let mut next = restarted(&book, vec![made]);
    next.check().unwrap();
    let recovered = next.recover(TODAY + DAY);
    let [limbo] = &recovered[..] else { panic!("{recovered:?}") };
    assert_eq!((limbo.kind, limbo.reason), (Kind::Limbo, Reason::Restart));
    assert_eq!((limbo.hold, limbo.held, limbo.spent), (Some(grant.hold), -300, 300));
    assert_eq!(limbo.path[0].start_ms, TODAY, "in the period that admitted it");
    assert_eq!((next.open_holds(), next.recover(TODAY + DAY).len()), (0, 0));
    next.check().unwrap();
    let key = AccountKey::session("a", "1");
    let (session, _) = next.open_session(leaf, key, terms(None, Cadence::None, false), TODAY);
    assert_eq!(session, AccountId(50), "no number is given twice");
    let (new, _) = next.hold(&order(session, 1), TODAY).unwrap();
    assert_eq!((new.hold.epoch(), grant.hold.epoch()), (2, 1));
}

#[test]
fn an_estimate_can_be_looked_up_and_goes_up_or_down() {
    for (actual, entries) in
        [(30, vec![(Kind::Refund, -10)]), (70, vec![(Kind::Spend, 30), (Kind::Refund, 0)])]
    {
        let mut book = book(&two(Some(1_000), Some(500)));
        let leaf = agent(&book);
        let (open, made) = book.hold(&order(leaf, 100), TODAY).unwrap();
        let (cost, reason) = (NanoUsd(40), Reason::Estimated);
        let guess = Outcome::Cost { cost, tokens: None, reason };
        let settled = book.settle_for_now(open.hold, &guess, TODAY).unwrap();
        let entry = &settled.entries[0];
        assert_eq!((entry.kind, entry.spent, entry.reason), (Kind::Limbo, 40, reason));
        let path = Arc::clone(&made.path);
        let lost = OpenHold {
            hold: open.hold,
            path,
            made,
            generation: None,
            booked: Some(40),
            limbo: true,
        };
        let found = book.correct(&lost, NanoUsd(actual), Reason::Lookup, TODAY + 1);
        let told: Vec<(Kind, i64)> = found.iter().map(|entry| (entry.kind, entry.spent)).collect();
        assert_eq!(told, entries);
        assert_eq!(sums(&book, leaf, TODAY + 1), (actual, 0));
        assert!(book.frozen(leaf).is_none(), "the bound held");
    }
}

#[test]
fn what_a_lost_attempt_has_cost_above_its_hold_is_charged_and_freezes() {
    for (actual, entries, spent, frozen) in [
        (30, vec![(Kind::Refund, -70)], 30, false),
        (100, vec![(Kind::Refund, 0)], 100, false),
        (130, vec![(Kind::Spend, 30), (Kind::Refund, 0), (Kind::Account, 0)], 130, true),
    ] {
        let mut book = book(&two(Some(1_000), Some(500)));
        let leaf = agent(&book);
        let (open, made) = book.hold(&order(leaf, 100), TODAY).unwrap();
        book.settle(open.hold, &Outcome::Unknown { reason: Reason::Cut }, TODAY).unwrap();
        let path = Arc::clone(&made.path);
        let lost =
            OpenHold { hold: open.hold, path, made, generation: None, booked: None, limbo: true };
        let found = book.correct(&lost, NanoUsd(actual), Reason::Lookup, TODAY + 1);
        let told: Vec<(Kind, i64)> = found.iter().map(|entry| (entry.kind, entry.spent)).collect();
        assert_eq!(told, entries, "{actual}");
        assert!(found.iter().take(2).all(|entry| entry.path.len() != 1), "all of the path");
        assert_eq!(sums(&book, leaf, TODAY + 1), (spent, 0));
        assert_eq!(sums(&book, fleet(&book), TODAY + 1), (spent, 0));
        assert_eq!(book.frozen(leaf).is_some(), frozen);
        assert_eq!(book.correct(&lost, NanoUsd(actual), Reason::Lookup, TODAY + 2), [], "once");
    }
}

#[test]
fn a_reset_forgives_once() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let leaf = agent(&book);
    let (open, made) = book.hold(&order(leaf, 200), TODAY).unwrap();
    book.settle(open.hold, &Outcome::Unknown { reason: Reason::Cut }, TODAY).unwrap();
    let (flying, _) = book.hold(&order(leaf, 100), TODAY).unwrap();
    let entries = book.reset(leaf, Reason::Admin, TODAY + 5);
    let [reset, account] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((reset.kind, reset.spent, reset.path.len()), (Kind::Reset, -200, 1));
    assert_eq!(account.account.as_ref().unwrap().reset_at_ms, Some(TODAY + 5));
    assert_eq!(sums(&book, leaf, TODAY + 5), (0, 100), "what is on its way stays held");
    book.settle(flying.hold, &cost(90), TODAY + 6).unwrap();
    assert_eq!(sums(&book, leaf, TODAY + 6), (90, 0));
    let lost = OpenHold {
        hold: open.hold,
        path: Arc::clone(&made.path),
        made,
        generation: None,
        booked: None,
        limbo: true,
    };
    let refund = book.refund(&lost, NanoUsd(0), Reason::Lookup, TODAY + 7).unwrap();
    assert_eq!((refund.path.len(), refund.spent), (2, 0), "no credit to who was forgiven already");
    assert_eq!(sums(&book, leaf, TODAY + 7), (90, 0));
    assert_eq!(sums(&book, fleet(&book), TODAY + 7), (290, 0), "all of the path or none of it");
}

#[test]
fn who_was_not_reset_gets_back_what_a_lost_attempt_did_not_cost() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let leaf = agent(&book);
    let (open, made) = book.hold(&order(leaf, 200), TODAY).unwrap();
    book.settle(open.hold, &Outcome::Unknown { reason: Reason::Cut }, TODAY).unwrap();
    book.reset(leaf, Reason::Admin, TODAY + 5);
    let path = Arc::clone(&made.path);
    let (generation, booked) = (None, None);
    let lost = OpenHold { hold: open.hold, path, made, generation, booked, limbo: true };
    let entries = book.correct(&lost, NanoUsd(20), Reason::Lookup, TODAY + 7);
    let [refund, rest] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((refund.kind, refund.spent), (Kind::Refund, 0));
    assert_eq!((rest.kind, rest.spent, rest.path.len()), (Kind::Adjust, -180, 1));
    assert_eq!(sums(&book, leaf, TODAY + 7), (0, 0), "forgiven already");
    assert_eq!(sums(&book, fleet(&book), TODAY + 7), (20, 0), "the fleet was not");
    assert_eq!(book.correct(&lost, NanoUsd(0), Reason::Lookup, TODAY + 8), [], "once");
}

#[test]
fn a_correction_sets_what_was_spent_whatever_was_known() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let leaf = agent(&book);
    let up = book.set_spent(leaf, NanoUsd(480), Reason::Console, TODAY).unwrap();
    assert_eq!((up.kind, up.spent, up.reason), (Kind::Adjust, 480, Reason::Console));
    assert!(book.hold(&order(leaf, 21), TODAY).is_err());
    let down = book.set_spent(leaf, NanoUsd(-7), Reason::Admin, TODAY).unwrap();
    assert_eq!((down.spent, sums(&book, leaf, TODAY)), (-480, (0, 0)), "nobody has credit");
    assert_eq!(sums(&book, fleet(&book), TODAY), (0, 0), "one account only");
    assert_eq!(book.set_spent(AccountId(99), NanoUsd(1), Reason::Admin, TODAY), None);
}

#[test]
fn what_another_process_says_of_accounts_counts_and_our_own_words_come_on_top() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let leaf = agent(&book);
    let mut limit = book.set_limit(leaf, Some(NanoUsd(300)), Reason::Admin, TODAY).unwrap();
    // The other one has frozen and reset it, and has another configuration.
    let mut stored = Account::clone(limit.was.as_ref().unwrap());
    (stored.frozen, stored.reset_at_ms) = (true, Some(7));
    stored.terms.limit = Some(NanoUsd(400));
    let news = News { accounts: vec![stored.clone()], ..News::default() };
    book.rebase(&news, &mut [&mut limit]);
    let known = book.frozen(leaf).unwrap();
    assert_eq!((known.limit(), known.reset_at_ms), (Some(NanoUsd(300)), Some(7)));
    assert_eq!(known.terms.limit, Some(NanoUsd(400)));
    assert!(matches!(book.hold(&order(leaf, 1), TODAY), Err(Refusal::Frozen { .. })));
    // When ours is kept, the store says both.
    let merged = stored.with_change(limit.was.as_deref(), limit.account.as_ref().unwrap());
    assert_eq!(book.accounts().find(|account| account.id == leaf), Some(&merged));
    book.check().unwrap();
}

#[test]
fn an_account_that_another_process_has_named_first_gets_its_number_everywhere() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let (leaf, session) = (agent(&book), AccountKey::session("a", "1"));
    let (ours, mut opened) =
        book.open_session(leaf, session.clone(), terms(Some(90), Cadence::Daily, true), TODAY);
    let (grant, mut held) = book.hold(&order(ours, 60), TODAY).unwrap();
    let theirs =
        Account { id: AccountId(77), ..Account::clone(opened[0].account.as_ref().unwrap()) };
    let step = Step { account: theirs.id, ..held.path[0] };
    let balance = Balance {
        account: theirs.id,
        start_ms: step.start_ms,
        end_ms: step.end_ms,
        spent: 20,
        held: 0,
    };
    let news = News { accounts: vec![theirs], balances: vec![balance] };
    book.rebase(&news, &mut [&mut opened[0], &mut held]);
    book.check().unwrap();
    assert_eq!(book.id(&session), Some(AccountId(77)));
    assert_eq!(opened[0].account.as_ref().unwrap().id, AccountId(77));
    assert_eq!(held.path[0], step);
    // Whoever knows it by its first number still pays there.
    assert_eq!(sums(&book, ours, TODAY), (20, 60));
    assert!(book.hold(&order(ours, 11), TODAY).is_err());
    let settled = book.settle(grant.hold, &cost(50), TODAY).unwrap();
    assert_eq!(settled.entries[0].path[0], step);
    assert_eq!(sums(&book, AccountId(77), TODAY), (70, 0));
    // One whose number another account has there gets a fresh one.
    let mut none: [&mut Entry; 0] = [];
    book.renumber_anew(AccountId(77), AccountId(500), &mut none);
    assert_eq!(book.id(&session), Some(AccountId(500)));
    assert_eq!(sums(&book, ours, TODAY), (70, 0));
}

#[test]
fn another_process_counts_and_our_own_entries_come_on_top() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let leaf = agent(&book);
    let (kept, entry) = book.hold(&order(leaf, 100), TODAY).unwrap();
    let step = entry.path[0];
    let (_, mut waiting) = book.hold(&order(leaf, 50), TODAY).unwrap();
    let mut settle = book.settle(kept.hold, &cost(30), TODAY).unwrap().entries.remove(0);
    // The store knows our first hold, and that the other one has spent 200 and holds 70.
    let balance = |account| Balance {
        account,
        start_ms: step.start_ms,
        end_ms: step.end_ms,
        spent: 200,
        held: 170,
    };
    let balances = vec![balance(leaf), balance(fleet(&book))];
    let news = News { balances, ..News::default() };
    book.rebase(&news, &mut [&mut waiting, &mut settle]);
    book.check().unwrap();
    assert_eq!(sums(&book, leaf, TODAY), (230, 120));
    assert_eq!(book.room(leaf, TODAY).unwrap().tightest, NanoUsd(150));
    let tomorrow = Balance { start_ms: step.end_ms, end_ms: step.end_ms + DAY, ..balance(leaf) };
    book.rebase(&News { balances: vec![tomorrow], ..News::default() }, &mut []);
    assert_eq!(book.now_ms(), step.end_ms, "its clock has seen the next period");
    assert_eq!(sums(&book, leaf, TODAY), (200, 170));
    let (_, next) = book.hold(&order(leaf, 50), TODAY).unwrap();
    assert_eq!(next.path[0].start_ms, step.end_ms);
    book.check().unwrap();
}

#[test]
fn room_is_told_for_the_leaf_and_for_the_tightest() {
    let mut book = book(&two(Some(100), Some(500)));
    let leaf = agent(&book);
    let key = AccountKey::session("a", "1");
    let (session, entries) =
        book.open_session(leaf, key.clone(), terms(None, Cadence::None, false), TODAY);
    assert_eq!((entries.len(), book.id(&key)), (1, Some(session)));
    let room = book.room(session, TODAY).unwrap();
    assert_eq!(
        (room.tightest, room.limit, room.remaining),
        (NanoUsd(100), NanoUsd(500), NanoUsd(500))
    );
    assert!(book.is_strict(session) && book.path_is_limited(session));
    let (_, again) = book.open_session(leaf, key.clone(), terms(None, Cadence::None, false), TODAY);
    assert_eq!(again, []);
    let (_, other) = book.open_session(leaf, key, terms(Some(7), Cadence::None, true), TODAY);
    assert_eq!(other[0].account.as_ref().unwrap().limit(), Some(NanoUsd(7)));
    assert_eq!(book.room(session, TODAY).unwrap().remaining, NanoUsd(7));
}

#[test]
fn idle_sessions_are_forgotten_and_found_again() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let leaf = agent(&book);
    let open = |book: &mut Book, name: &str, at_ms| {
        let key = AccountKey::session("a", name);
        book.open_session(leaf, key, terms(Some(90), Cadence::None, true), at_ms).0
    };
    let (old, held, new) = (
        open(&mut book, "old", TODAY),
        open(&mut book, "held", TODAY),
        open(&mut book, "new", TODAY),
    );
    book.hold(&order(held, 5), TODAY).unwrap();
    let spent = SpendOrder {
        leaf: old,
        cost: NanoUsd(60),
        request: RequestId::from_bits(1),
        attempt: 1,
        model: Arc::from("m"),
        price_version: 1,
        tokens: None,
        reason: Reason::Exact,
    };
    book.spend(&spent, TODAY + 1).unwrap();
    book.spend(&SpendOrder { leaf: new, ..spent.clone() }, TODAY + 2).unwrap();
    let account = book.accounts().find(|account| account.id == old).cloned().unwrap();
    assert_eq!(book.forget_sessions(3), 0);
    assert_eq!(book.forget_sessions(2), 1);
    assert_eq!(book.hold(&order(old, 1), TODAY), Err(Refusal::Unknown { leaf: old }));
    assert_eq!((book.spend(&spent, TODAY), book.standing(old, TODAY)), (None, None));
    assert!(book.id(&AccountKey::session("a", "new")).is_some());
    let balance = Balance { account: old, start_ms: 0, end_ms: i64::MAX, spent: 60, held: 0 };
    book.admit_account(account.clone(), Some(balance));
    book.admit_account(account, None);
    assert!(book.hold(&order(old, 31), TODAY).is_err());
    assert!(book.hold(&order(old, 30), TODAY).is_ok());
    assert_eq!(book.forget_sessions(0), 1, "open holds keep their sessions");
    book.check().unwrap();
}

#[test]
fn an_account_whose_parent_is_not_in_memory_holds_nothing() {
    let mut book = book(&two(Some(1_000), Some(500)));
    let mut orphan = book.accounts().last().cloned().unwrap();
    (orphan.id, orphan.key) = (AccountId(70), AccountKey::agent("b"));
    orphan.parent = Some(AccountId(60));
    book.admit_account(orphan, None);
    let leaf = AccountId(70);
    assert_eq!(book.hold(&order(leaf, 1), TODAY), Err(Refusal::Unknown { leaf }));
    let (nobody, key) = (AccountId(80), AccountKey::session("c", "1"));
    let opened = book.open_session(nobody, key, terms(None, Cadence::None, false), TODAY);
    assert_eq!(opened, (nobody, Vec::new()), "nor has a session without its agent an account");
}

#[test]
fn no_sum_overflows() {
    let mut book =
        book(&[planned(AccountKey::agent("a"), None, terms(None, Cadence::None, false))]);
    let leaf = agent(&book);
    book.set_spent(leaf, NanoUsd(i64::MAX - 100), Reason::Admin, TODAY).unwrap();
    let (grant, _) = book.hold(&order(leaf, 60), TODAY).unwrap();
    let refused = book.hold(&order(leaf, 41), TODAY).unwrap_err();
    assert!(matches!(refused, Refusal::Exhausted { .. }), "what cannot be written down");
    let settled = book.settle(grant.hold, &cost(i64::MAX), TODAY).unwrap();
    assert_eq!((settled.cost, settled.entries[0].spent), (NanoUsd(100), 100));
    assert_eq!(sums(&book, leaf, TODAY), (i64::MAX, 0));
    book.set_spent(leaf, NanoUsd(5), Reason::Admin, TODAY).unwrap();
    assert_eq!(sums(&book, leaf, TODAY), (5, 0));
}

#[test]
fn an_idle_account_takes_less_than_a_kibibyte() {
    use crate::ledger::balance::Amounts;
    use crate::ledger::tree::Holder;
    let key = "session:an-agent-with-a-long-name/0123456789abcdef0123456789abcdef".len();
    let (step, counts) = (size_of::<Step>(), 2 * size_of::<usize>());
    // The account in its box, its name, its cached path of five, and an old period with an open hold.
    let own = size_of::<Holder>() + key + 5 * step + size_of::<Amounts>() + 2 * counts;
    // Both maps, at the worst just after they have grown: half full, and a byte of control each.
    let maps =
        2 * (size_of::<(AccountId, Box<Holder>)>() + size_of::<(AccountKey, AccountId)>() + 2);
    // What an allocator adds to each of the four pieces.
    let bytes = own + maps + 4 * 16;
    assert!(bytes <= 1_024, "{bytes}");
}
