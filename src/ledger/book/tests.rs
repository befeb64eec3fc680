//! The rules of the book, one by one.

use super::*;
use crate::base::id::RequestId;
use crate::base::money::PicoUsd;
use crate::ledger::account::Cadence;

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
    let open = OpenHold { hold: second.hold, path: Arc::clone(&made.path), made, limbo: true };
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
