//! The balances of one account: of its present period, and of earlier ones while holds on them are open.
//!
//! Sums only; what may be spent is decided in `book`.

use crate::ledger::period::Span;

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
}

/// All balances of one account that can still matter.
#[derive(Clone, Debug)]
pub struct Balances {
    current: Amounts,
    /// Earlier periods with open holds. Mostly empty.
    others: Vec<Amounts>,
}

impl Amounts {
    /// Nothing yet.
    pub const fn new(span: Span) -> Self {
        Self { span, spent: 0, held: 0, foreign: 0 }
    }

    /// How much more may be spent and held together under `cap`; negative if it is overdrawn.
    /// Saturates at the ends of `i64`, which no sum of money reaches.
    pub fn room(&self, cap: i64) -> i64 {
        let room = i128::from(cap) - i128::from(self.spent) - i128::from(self.held);
        i64::try_from(room).unwrap_or(if room < 0 { i64::MIN } else { i64::MAX })
    }

    /// Moves both sums. Callers keep them in range.
    pub const fn shift(&mut self, held: i64, spent: i64) {
        self.held = self.held.saturating_add(held);
        self.spent = self.spent.saturating_add(spent);
    }
}

impl Default for Balances {
    fn default() -> Self {
        Self { current: Amounts::new(Self::NEVER), others: Vec::new() }
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
            *known = amounts;
        } else if amounts.span.start_ms > self.current.span.start_ms {
            self.go_to(amounts);
        } else if amounts.held != 0 {
            self.others.push(amounts);
        }
    }

    fn go_to(&mut self, next: Amounts) {
        let last = std::mem::replace(&mut self.current, next);
        self.others.push(last);
        self.others.retain(|other| other.held != 0);
        self.others.shrink_to_fit();
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
        assert_eq!(balances.of(0), None, "nothing waits for it");
        assert_eq!(balances.of(10), None);
        assert_eq!(balances.next_span(span(25, 40)), span(30, 40), "no period reaches back");
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
