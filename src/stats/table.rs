//! A small table of sums by name that cannot grow without end: the first names have a line of their own, all
//! that come later share one.

use std::sync::Arc;

/// What the shared line is called.
pub const OTHER: &str = "other";

/// What can be added up.
pub trait Sum: Clone + Default {
    /// Adds another one.
    fn plus(&mut self, more: &Self);
    /// What lines are put in order by.
    fn weight(&self) -> u64;
}

impl Sum for u64 {
    fn plus(&mut self, more: &Self) {
        *self = self.saturating_add(*more);
    }

    fn weight(&self) -> u64 {
        *self
    }
}

/// A name of one or several words.
pub trait Name: Clone + PartialEq {
    /// The name of the shared line.
    fn other() -> Self;
}

impl Name for Arc<str> {
    fn other() -> Self {
        OTHER.into()
    }
}

impl Name for &'static str {
    fn other() -> Self {
        OTHER
    }
}

impl<A: Name, B: Name> Name for (A, B) {
    fn other() -> Self {
        (A::other(), B::other())
    }
}

/// Sums by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<K, V> {
    lines: Vec<(K, V)>,
    other: Option<V>,
    room: usize,
}

impl<K: Name, V: Sum> Table<K, V> {
    /// An empty one with lines for so many names.
    pub const fn with_room(room: usize) -> Self {
        Self { lines: Vec::new(), other: None, room }
    }

    /// The sum under a name.
    pub fn at(&mut self, name: &K) -> &mut V {
        match self.lines.iter().position(|(known, _)| known == name) {
            Some(found) => &mut self.lines[found].1,
            None if self.lines.len() < self.room => {
                let new = self.lines.len();
                self.lines.push((name.clone(), V::default()));
                &mut self.lines[new].1
            }
            None => self.other.get_or_insert_default(),
        }
    }

    /// Adds everything of another one.
    pub fn merge(&mut self, more: &Self) {
        for (name, sum) in &more.lines {
            self.at(name).plus(sum);
        }
        if let Some(sum) = &more.other {
            self.other.get_or_insert_default().plus(sum);
        }
    }

    /// The heaviest lines, the heaviest first, and behind them the rest as one line.
    pub fn top(&self, most: usize) -> Vec<(K, V)> {
        let mut lines = self.lines.clone();
        // Stable: equals keep the order in which they came.
        lines.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.weight()));
        let rest = lines.split_off(lines.len().min(most));
        let mut other = self.other.clone();
        for (_, sum) in &rest {
            other.get_or_insert_default().plus(sum);
        }
        lines.extend(other.map(|sum| (K::other(), sum)));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_shares_a_line_and_nothing_is_lost() {
        let mut table: Table<Arc<str>, u64> = Table::with_room(3);
        for at in 0..10_u64 {
            *table.at(&format!("n{}", at % 5).into()) += 1;
        }
        *table.at(&"n2".into()) += 5;
        let names = |lines: &[(Arc<str>, u64)]| -> Vec<String> {
            lines.iter().map(|(name, sum)| format!("{name} {sum}")).collect()
        };
        assert_eq!(names(&table.top(9)), ["n2 7", "n0 2", "n1 2", "other 4"]);
        assert_eq!(names(&table.top(1)), ["n2 7", "other 8"]);
        let mut sum = Table::with_room(8);
        sum.merge(&table);
        sum.merge(&table);
        assert_eq!(names(&sum.top(1)), ["n2 14", "other 16"]);
        assert_eq!(Table::<Arc<str>, u64>::with_room(1).top(5), []);
    }
}
