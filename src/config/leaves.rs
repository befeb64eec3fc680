//! What a configuration says, value by value, so that a reload can tell which of them have changed.
//!
//! Of values there are hashes only: they may be secrets, and nobody is told what they were or are.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::base::limit::CHANGES_TOLD_MAX;
use crate::config::problem::Place;
use crate::config::yaml::{Node, Value};

/// Kinds of things whose coming and going is told by their names.
const NAMED: [&str; 3] = ["providers", "models", "agents"];

/// The values of one configuration, by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaves(BTreeMap<String, Leaf>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leaf {
    /// Of the value.
    hash: u64,
    /// Bytes of the path that lead to the thing it belongs to: `agents.worker` of `agents.worker.mode`.
    thing: usize,
}

impl Leaves {
    /// The values below a node whose variables are filled in.
    pub fn of(node: &Node) -> Self {
        let mut leaves = Self::default();
        leaves.walk(node, &Place::top(), (0, 0));
        leaves
    }

    /// Adds what lies below a place, `depth` steps from the top.
    fn walk(&mut self, node: &Node, place: &Place, (depth, thing): (usize, usize)) {
        let thing = if depth <= 2 { place.path.len() } else { thing };
        let below = (depth + 1, thing);
        match &node.value {
            Value::Null | Value::Broken => {}
            Value::Map(entries) => {
                for entry in entries {
                    self.walk(&entry.node, &place.key(&entry.key, entry.line), below);
                }
            }
            Value::List(items) if items.iter().any(|item| id(item).is_some()) => {
                for (at, item) in items.iter().enumerate() {
                    let mut place = place.clone();
                    // By its name: a place in a list means something else when one before it goes.
                    match id(item) {
                        Some(id) => place.path = format!("{}[{id}]", place.path),
                        None => place = place.item(at, item.line),
                    }
                    self.walk(item, &place, below);
                }
            }
            Value::Text(_) | Value::List(_) => {
                let mut hasher = DefaultHasher::new();
                hash(node, &mut hasher);
                self.0.insert(place.path.clone(), Leaf { hash: hasher.finish(), thing });
            }
        }
    }

    /// What is different in the `new` ones, each as `path: changed`, `added` or `removed`; no more than anybody
    /// reads. Whole providers, models and agents are not among them, since they are told by name.
    pub fn changes(&self, new: &Self) -> Vec<String> {
        let (had, has) = (self.things(), new.things());
        let mut told = BTreeSet::new();
        for path in self.0.keys().chain(new.0.keys()) {
            let (before, after) = (self.0.get(path), new.0.get(path));
            let (what, leaf, others) = match (before, after) {
                (Some(before), Some(after)) if before.hash == after.hash => continue,
                (Some(leaf), Some(_)) => ("changed", leaf, &has),
                (Some(leaf), None) => ("removed", leaf, &has),
                (None, Some(leaf)) => ("added", leaf, &had),
                (None, None) => continue,
            };
            let thing = path.get(..leaf.thing).unwrap_or(path);
            if others.contains(thing) {
                told.insert(format!("{path}: {what}"));
            } else if !NAMED.contains(&thing.split(['.', '[']).next().unwrap_or_default()) {
                told.insert(format!("{thing}: {what}"));
            }
        }
        let more = told.len().saturating_sub(CHANGES_TOLD_MAX);
        let mut told: Vec<String> = told.into_iter().take(CHANGES_TOLD_MAX).collect();
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        told
    }

    fn things(&self) -> BTreeSet<&str> {
        self.0.iter().filter_map(|(path, leaf)| path.get(..leaf.thing)).collect()
    }
}

/// What an item of a list is called.
fn id(item: &Node) -> Option<&str> {
    let Value::Map(entries) = &item.value else { return None };
    let entry = entries.iter().find(|entry| entry.key == "id")?;
    match &entry.node.value {
        Value::Text(text) if !text.secret => Some(&text.text),
        _ => None,
    }
}

fn hash(node: &Node, hasher: &mut DefaultHasher) {
    match &node.value {
        Value::Null | Value::Broken => 0_u8.hash(hasher),
        Value::Text(text) => (1_u8, &text.text).hash(hasher),
        Value::List(items) => {
            (2_u8, items.len()).hash(hasher);
            for item in items {
                hash(item, hasher);
            }
        }
        Value::Map(entries) => {
            (3_u8, entries.len()).hash(hasher);
            for entry in entries {
                entry.key.hash(hasher);
                hash(&entry.node, hasher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Problems;
    use crate::config::yaml;

    fn leaves(text: &str) -> Leaves {
        Leaves::of(&yaml::read(text, "test.yaml", &Problems::default()).unwrap())
    }

    const FIRST: &str = "auth: {agent_keys: [one, two]}\n\
        models:\n  - {id: a, price: {input: 1, output: 2}}\n  - {id: b.c, price: {input: 1}}\n\
        teams: {t: {budget: {limit_usd: 1}}}\nagents: {w: {team: t, budget: {period: daily}}}\n";

    fn changes(from: &str, to: &str) -> Vec<String> {
        leaves(FIRST).changes(&leaves(&FIRST.replace(from, to)))
    }

    #[test]
    fn what_changed_is_told_by_its_path_and_never_by_its_value() {
        assert_eq!(changes("", ""), Vec::<String>::new());
        assert_eq!(changes("one, two", "one, hush"), ["auth.agent_keys: changed"]);
        assert_eq!(
            changes("id: a, price: {input: 1", "id: a, price: {input: 3"),
            ["models[a].price.input: changed"]
        );
        assert_eq!(changes(", output: 2", ""), ["models[a].price.output: removed"]);
        assert_eq!(changes("period: daily", "period: hourly"), ["agents.w.budget.period: changed"]);
        assert_eq!(changes("{team: t, ", "{"), ["agents.w.team: removed"]);
        assert_eq!(
            changes("{t: {budget: {limit_usd: 1}}}", "{u: {budget: {limit_usd: 1}}}"),
            ["teams.t: removed", "teams.u: added"]
        );
        assert_eq!(
            changes("teams:", "fleet: {budget: {limit_usd: 1}}\nteams:"),
            ["fleet.budget: added"]
        );
    }

    #[test]
    fn what_is_told_by_name_is_not_told_twice() {
        let one = "  - {id: a, price: {input: 1, output: 2}}\n";
        assert_eq!(changes(one, ""), Vec::<String>::new());
        assert_eq!(changes("id: b.c", "id: d"), Vec::<String>::new());
        assert_eq!(changes("{w: {", "{v: {}, w: {"), Vec::<String>::new());
    }

    #[test]
    fn no_more_is_told_than_anybody_reads() {
        let many = |value: u8| {
            let keys: Vec<String> =
                (0..CHANGES_TOLD_MAX + 5).map(|at| format!("k{at}: {value}")).collect();
            leaves(&format!("top: {{all: {{{}}}}}", keys.join(", ")))
        };
        let told = many(1).changes(&many(2));
        assert_eq!(told.len(), CHANGES_TOLD_MAX + 1);
        assert_eq!(told.last().map(String::as_str), Some("and 5 more"));
    }
}
