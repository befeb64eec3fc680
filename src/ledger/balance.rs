//! The balances of one account: of its present period, of earlier ones while holds on them are open, and
//! what was spent before, as far as a period of another calendar could reach back.
//!
//! Sums only; what may be spent is decided in `book`.

use crate::base::limit::{PAST_PERIODS_MS_MAX, PAST_PIECES_MS_MAX};
use crate::ledger::period::Span;
use crate::ledger::saved::Past;

const DAY_MS: i64 = 86_400_000;

/// What one account has spent and holds in one period, in nano-dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amounts {
    /// The period.
    pub span: Span,
    /// Spent. Never beyond `i64::MAX - held`.
    pub spent: i64,
    /// Held by attempts that are not settled.
    pub held: i64,
    /// The part of `held` that other epochs have to settle.
    pub foreign: i64,
    /// The part of `spent` that was carried over from periods of another calendar, and is counted there.
    pub carried: i64,
}

/// All balances of one account that can still matter.
#[derive(Clone, Debug)]
pub struct Balances {
    current: Amounts,
    /// Earlier periods with open holds, and those of the last days. Few, oldest first as a rule.
    others: Vec<Amounts>,
    /// What was spent before those, day by day.
    past: Vec<Piece>,
    /// What was spent before all of these.
    before: Piece,
    /// The earlier periods, by their starts, whose holds count as spent in the present one, which began while
    /// they were open.
    carried_holds: Vec<i64>,
}

/// What was spent in a stretch of time, without what was carried into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// When.
    pub span: Span,
    /// How much, in nano-dollars.
    pub spent: i64,
}

/// What is known to be spent since an instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// At most, in nano-dollars: all of every stretch that reaches into it, and what is held.
    pub most: i64,
    /// The stretches that began before the instant and end after it.
    pub straddling: Vec<Piece>,
}

impl Amounts {
    /// Nothing yet.
    pub const fn new(span: Span) -> Self {
        Self { span, spent: 0, held: 0, foreign: 0, carried: 0 }
    }

    /// How much more may be spent and held together under `cap`; negative if it is overdrawn.
    /// Saturates at the ends of `i64`, which no sum of money reaches.
    pub fn room(&self, cap: i64) -> i64 {
        let room = i128::from(cap) - i128::from(self.spent) - i128::from(self.held);
        i64::try_from(room).unwrap_or(if room < 0 { i64::MIN } else { i64::MAX })
    }

    /// Spent in it, without what was carried into it.
    const fn own(&self) -> i64 {
        self.spent.saturating_sub(self.carried)
    }

    /// Moves both sums. Callers keep them in range.
    pub const fn shift(&mut self, held: i64, spent: i64) {
        self.held = self.held.saturating_add(held);
        self.spent = self.spent.saturating_add(spent);
    }
}

impl Default for Balances {
    fn default() -> Self {
        let before = Piece { span: Self::NEVER, spent: 0 };
        let current = Amounts::new(Self::NEVER);
        let (others, past, carried_holds) = (Vec::new(), Vec::new(), Vec::new());
        Self { current, others, past, before, carried_holds }
    }
}

impl Balances {
    /// The period of an account that was not used yet: it has ended before all others.
    const NEVER: Span = Span { start_ms: i64::MIN, end_ms: i64::MIN };

    /// The latest period begun.
    pub const fn current(&self) -> &Amounts {
        &self.current
    }

    /// Whether any period was begun.
    pub fn is_begun(&self) -> bool {
        self.current.span != Self::NEVER
    }

    /// Whether the latest period begun is still going on.
    pub const fn is_present(&self, now_ms: i64) -> bool {
        now_ms < self.current.span.end_ms
    }

    /// The next period, when the calendar says `span`: it never reaches back into one that has been.
    pub fn next_span(&self, span: Span) -> Span {
        Span { start_ms: span.start_ms.max(self.current.span.end_ms), ..span }
    }

    /// Goes on to the period `span`, which begins no earlier than the latest one. One that begins at
    /// the same instant is the same, with another end.
    pub fn turn(&mut self, span: Span) {
        if self.current.span.start_ms == span.start_ms {
            self.current.span = span;
        } else {
            self.go_to(Amounts::new(span));
        }
    }

    /// What the store knows of a period. A later one than the present takes its place; an earlier one
    /// matters only while holds on it are open.
    pub fn put(&mut self, amounts: Amounts) {
        if let Some(known) = self.of_mut(amounts.span.start_ms) {
            // What was carried is our own knowledge; it is part of what is spent.
            *known = Amounts { carried: known.carried, ..amounts };
        } else if amounts.span.start_ms > self.current.span.start_ms {
            self.go_to(amounts);
        } else if amounts.held != 0 {
            self.others.push(amounts);
        }
    }

    /// What the store knows of a time before the periods that it gave, oldest first.
    pub fn put_past(&mut self, past: &Past) {
        if self.of(past.start_ms).is_some() {
            return;
        }
        let span = Span { start_ms: past.start_ms, end_ms: past.end_ms };
        self.keep_past(Piece { span, spent: past.spent });
    }

    /// Goes on to a period of another calendar, which counts what was spent and is held since `from_ms`.
    pub fn turn_from(&mut self, span: Span, from_ms: i64) {
        let reaches = |amounts: &&Amounts| {
            amounts.held != 0
                && amounts.span.start_ms != span.start_ms
                && self.lasted(amounts).end_ms > from_ms
        };
        let held = self.all().filter(reaches).map(|amounts| amounts.span.start_ms).collect();
        self.turn(span);
        self.carried_holds = held;
    }

    /// Takes off what a hold of the period that began then has not cost of what it counts for in the
    /// present one, and says which that is. `None` if it counts for nothing there, or if somebody has said
    /// since what is spent.
    pub fn uncarry(&mut self, start_ms: i64, less: i64) -> Option<Span> {
        let current = &mut self.current;
        let counts = self.carried_holds.contains(&start_ms);
        if !counts || less > current.carried || less > current.spent {
            return None;
        }
        current.carried -= less;
        current.spent -= less;
        Some(current.span)
    }

    fn go_to(&mut self, next: Amounts) {
        self.carried_holds = Vec::new();
        let now_ms = next.span.start_ms;
        let last = std::mem::replace(&mut self.current, next);
        if last.span != Self::NEVER {
            self.others.push(last);
        }
        if !self.others.is_empty() || !self.past.is_empty() {
            self.fold(now_ms);
        }
    }

    /// Puts together what lies long ago, so that hourly periods do not fill the memory.
    fn fold(&mut self, now_ms: i64) {
        let recent_ms = now_ms.saturating_sub(PAST_PERIODS_MS_MAX);
        for other in std::mem::take(&mut self.others) {
            let piece = Piece { span: self.lasted(&other), spent: other.own() };
            if other.held != 0 || (piece.spent != 0 && piece.span.end_ms > recent_ms) {
                self.others.push(other);
            } else {
                self.keep_past(piece);
            }
        }
        let reach_ms = now_ms.saturating_sub(PAST_PIECES_MS_MAX);
        for piece in self.past.extract_if(.., |piece| piece.span.end_ms <= reach_ms) {
            self.before.spent = self.before.spent.saturating_add(piece.spent);
            self.before.span.end_ms = self.before.span.end_ms.max(piece.span.end_ms);
        }
        self.others.shrink_to_fit();
        self.past.shrink_to_fit();
    }

    fn keep_past(&mut self, piece: Piece) {
        if piece.spent == 0 {
            return;
        }
        let day_of = |piece: &Piece| {
            let (first, last) = (piece.span.start_ms, piece.span.end_ms.saturating_sub(1));
            (first.div_euclid(DAY_MS) == last.div_euclid(DAY_MS)).then(|| last.div_euclid(DAY_MS))
        };
        match self.past.last_mut() {
            Some(last) if day_of(last).is_some() && day_of(last) == day_of(&piece) => {
                last.spent = last.spent.saturating_add(piece.spent);
                last.span.start_ms = last.span.start_ms.min(piece.span.start_ms);
                last.span.end_ms = last.span.end_ms.max(piece.span.end_ms);
            }
            _ => self.past.push(piece),
        }
    }

    /// When a period really was: another calendar may have ended it early.
    fn lasted(&self, amounts: &Amounts) -> Span {
        let start_ms = amounts.span.start_ms;
        let later = self.all().map(|other| other.span.start_ms).filter(|other| *other > start_ms);
        Span { start_ms, end_ms: later.min().unwrap_or(i64::MAX).min(amounts.span.end_ms) }
    }

    /// What was spent since `from_ms`, never less than that. What is held counts with it: it settles into
    /// its own period, which a new one knows nothing of.
    pub fn since(&self, from_ms: i64) -> Since {
        let mut since = Since::default();
        for amounts in self.all().filter(|amounts| self.lasted(amounts).end_ms > from_ms) {
            since.most = since.most.saturating_add(amounts.held);
        }
        let known =
            self.all().map(|amounts| Piece { span: self.lasted(amounts), spent: amounts.own() });
        let pieces = known.chain(self.past.iter().copied()).chain([self.before]);
        for piece in pieces.filter(|piece| piece.span.end_ms > from_ms && piece.spent > 0) {
            since.most = since.most.saturating_add(piece.spent);
            if piece.span.start_ms < from_ms {
                since.straddling.push(piece);
            }
        }
        since
    }

    /// The balance of the period that began then, if it is still kept.
    pub fn of(&self, start_ms: i64) -> Option<&Amounts> {
        self.all().find(|amounts| amounts.span.start_ms == start_ms)
    }

    /// The balance of the period that began then, to be changed.
    pub fn of_mut(&mut self, start_ms: i64) -> Option<&mut Amounts> {
        if self.current.span.start_ms == start_ms {
            return Some(&mut self.current);
        }
        self.others.iter_mut().find(|amounts| amounts.span.start_ms == start_ms)
    }

    /// All balances that are kept.
    pub fn all(&self) -> impl Iterator<Item = &Amounts> {
        std::iter::once(&self.current)
            .filter(|amounts| amounts.span != Self::NEVER)
            .chain(&self.others)
    }

    /// Whether any attempt is not settled.
    pub fn is_held(&self) -> bool {
        self.all().any(|amounts| amounts.held != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn span(start_ms: i64, end_ms: i64) -> Span {
        Span { start_ms, end_ms }
    }

    #[test]
    fn a_new_period_begins_with_nothing_and_the_old_one_waits_for_its_holds() {
        let mut balances = Balances::default();
        assert!(!balances.is_begun() && !balances.is_present(0));
        balances.turn(span(0, 10));
        balances.of_mut(0).unwrap().shift(3, 4);
        balances.turn(span(10, 20));
        assert_eq!(balances.current(), &Amounts::new(span(10, 20)));
        assert_eq!(balances.of(0).map(|old| (old.held, old.spent)), Some((3, 4)));
        balances.of_mut(0).unwrap().shift(-3, 1);
        balances.turn(span(20, 30));
        assert_eq!(balances.of(0).map(|old| old.spent), Some(5), "it may be asked for");
        assert_eq!(balances.of(10), None, "nothing was spent");
        assert_eq!(balances.next_span(span(25, 40)), span(30, 40), "no period reaches back");
    }

    #[test]
    fn what_lies_long_ago_is_known_by_the_day_and_then_as_one_sum() {
        let hour = 3_600_000;
        let mut balances = Balances::default();
        for at in 0..100 * 24 {
            balances.turn(span(at * hour, (at + 1) * hour));
            balances.of_mut(at * hour).unwrap().shift(0, 1);
            assert!(balances.others.len() <= 48 && balances.past.len() <= 40, "{at}");
            let now = (at + 1) * hour;
            let month = balances.since(now - 31 * DAY_MS);
            let expected = (at + 1).min(31 * 24);
            assert!((expected..=expected + 23).contains(&month.most), "{at} {month:?}");
            assert_eq!(balances.since(now - 5 * hour).most, 5.min(at + 1));
            assert_eq!(balances.since(0).most, at + 1);
        }
        // A store gives back what was known.
        let mut next = Balances::default();
        next.put(*balances.current());
        let account = crate::ledger::account::AccountId(1);
        next.put_past(&Past { account, start_ms: i64::MIN, end_ms: 99 * 24 * hour, spent: 9 });
        assert_eq!(next.since(0).most, 10);
        assert_eq!(next.since(99 * 24 * hour).most, 1);
        assert_eq!(next.since(0).straddling.len(), 1);
    }

    #[test]
    fn the_store_knows_later_and_earlier_periods() {
        let mut balances = Balances::default();
        let stored =
            |start_ms, held| Amounts { held, ..Amounts::new(span(start_ms, start_ms + 9)) };
        balances.put(stored(20, 0));
        balances.put(stored(10, 5));
        balances.put(stored(0, 0));
        assert_eq!(balances.current(), &stored(20, 0));
        let starts: Vec<i64> = balances.all().map(|amounts| amounts.span.start_ms).collect();
        assert_eq!(starts, [20, 10]);
        balances.put(stored(30, 1));
        assert_eq!((balances.current(), balances.of(20)), (&stored(30, 1), None));
    }

    #[test]
    fn room_does_not_wrap() {
        let amounts = Amounts { spent: i64::MAX, held: 5, ..Amounts::new(span(0, 1)) };
        assert_eq!(amounts.room(i64::MAX), -5);
        assert_eq!(amounts.room(-10), i64::MIN);
        assert_eq!(Amounts { spent: -5, ..amounts }.room(i64::MAX), i64::MAX);
    }
}
