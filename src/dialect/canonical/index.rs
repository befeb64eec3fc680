//! Finds what a request says elsewhere of a name or an id: a call by its id, a tool by its name.
//!
//! Names are the same if they mean the same, however they are written; each is decoded once. A few of
//! them are looked through, more are hashed, so that the work grows with the request and no faster.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::dialect::canonical::text::Text;

/// How many are looked through before they are hashed.
const FEW: usize = 16;

/// Values by names; of those with the same name, the one put in last.
#[derive(Debug)]
pub struct Index<'a, V> {
    few: Vec<(Cow<'a, [u8]>, V)>,
    /// All of them, once they are more than a few.
    many: HashMap<Cow<'a, [u8]>, V>,
}

impl<V> Default for Index<'_, V> {
    fn default() -> Self {
        Self { few: Vec::new(), many: HashMap::new() }
    }
}

impl<'a, V> Index<'a, V> {
    /// Puts a value in, before all others of that name.
    pub fn insert(&mut self, name: Text<'a>, value: V) {
        let name = name.meaning();
        if self.many.is_empty() && self.few.len() < FEW {
            self.few.push((name, value));
            return;
        }
        self.many.extend(self.few.drain(..));
        self.many.insert(name, value);
    }

    /// The value of that name.
    pub fn get(&self, name: &Text<'_>) -> Option<&V> {
        let name = Text::written(name.as_written()).meaning();
        if !self.many.is_empty() {
            return self.many.get(&*name);
        }
        self.few.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Whether something has that name.
    pub fn has(&self, name: &Text<'_>) -> bool {
        self.get(name).is_some()
    }

    /// Takes everything out. An emptied map would keep its size, and cost it at every turn.
    pub fn clear(&mut self) {
        self.few.clear();
        if !self.many.is_empty() {
            self.many = HashMap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_what_they_mean() {
        let mut index = Index::default();
        index.insert(Text::written(br"\u0061"), 1);
        index.insert(Text::written(br"\ud800"), 2);
        assert_eq!(index.get(&Text::of("a")), Some(&1));
        assert_eq!(index.get(&Text::written(br"\ud800")), Some(&2));
        assert!(!index.has(&Text::of(r"\ud800")), "half a pair is not the text of its escape");
        assert!(!index.has(&Text::written(br"\ud801")));
    }

    proptest! {
        #[test]
        fn the_last_of_a_name_is_found_however_many_there_are(
            names in proptest::collection::vec(0_u8..40, 0..60),
            asked in 0_u8..40,
        ) {
            let mut index = Index::default();
            let text = |name: u8| match name % 2 {
                0 => Text::of(&format!("é{name}")),
                _ => Text::written(format!(r"\u00e9{name}").as_bytes()).into_owned(),
            };
            for round in [0, 100] {
                for (at, &name) in names.iter().enumerate() {
                    index.insert(text(name), at + round);
                }
                let last = names.iter().rposition(|&name| name == asked).map(|at| at + round);
                prop_assert_eq!(index.get(&Text::of(&format!("é{asked}"))).copied(), last);
                index.clear();
                prop_assert!(!index.has(&text(asked)));
            }
        }
    }
}
