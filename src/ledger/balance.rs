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
    /// Ended periods with open holds, and periods that another cadence or zone has begun. Mostly empty.
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

    /// Whether the latest period begun is still going on.
    pub const fn is_present(&self, now_ms: i64) -> bool {
        now_ms < self.current.span.end_ms
    }

    /// Goes on to the period `span`, with what is known of it.
    pub fn turn(&mut self, span: Span, now_ms: i64) {
        let next = self.of(span.start_ms).copied().unwrap_or(Amounts::new(span));
        let last = std::mem::replace(&mut self.current, Amounts { span, ..next });
        self.others.retain(|other| other.span.start_ms != span.start_ms);
        if last.span != Self::NEVER && last.span.start_ms != span.start_ms {
            self.others.push(last);
        }
        self.others.retain(|other| other.held != 0 || now_ms < other.span.end_ms);
        self.others.shrink_to_fit();
    }

    /// What is kept for `amounts.span` is `amounts` from now on.
    pub fn put(&mut self, amounts: Amounts) {
        match self.of_mut(amounts.span.start_ms) {
            Some(known) => *known = Amounts { span: known.span, ..amounts },
            None => self.others.push(amounts),
        }
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
        balances.turn(span(0, 10), 5);
        balances.of_mut(0).unwrap().shift(3, 4);
        balances.turn(span(10, 20), 12);
        assert_eq!(balances.current(), &Amounts::new(span(10, 20)));
        assert_eq!(balances.of(0).map(|old| (old.held, old.spent)), Some((3, 4)));
        balances.of_mut(0).unwrap().shift(-3, 1);
        balances.turn(span(20, 30), 25);
        assert_eq!(balances.of(0), None, "nothing waits for it");
        assert_eq!(balances.of(10), None);
    }

    #[test]
    fn a_period_of_another_cadence_is_found_again() {
        let mut balances = Balances::default();
        balances.turn(span(0, 100), 5);
        balances.of_mut(0).unwrap().shift(0, 7);
        balances.turn(span(4, 8), 5);
        assert_eq!(balances.current().spent, 0);
        balances.turn(span(0, 100), 6);
        assert_eq!(balances.current().spent, 7);
        balances.turn(span(0, 50), 6);
        assert_eq!((balances.current().spent, balances.current().span.end_ms), (7, 50));
    }

    #[test]
    fn room_does_not_wrap() {
        let amounts = Amounts { spent: i64::MAX, held: 5, ..Amounts::new(span(0, 1)) };
        assert_eq!(amounts.room(i64::MAX), -5);
        assert_eq!(amounts.room(-10), i64::MIN);
        assert_eq!(Amounts { spent: -5, ..amounts }.room(i64::MAX), i64::MAX);
    }
}
