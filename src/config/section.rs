//! Typed reading of one mapping of the file: each question is answered with a value, a default, or
//! nothing and a problem in the list.

use http::header::HeaderValue;

use crate::config::bound::Bound;
use crate::config::keys::Table;
use crate::config::problem::{At, Place, Problems, hint};
use crate::config::yaml::{Entry, Node, Text, Value};

/// One mapping, whose keys have been compared with its table.
#[derive(Clone)]
pub struct Section<'a> {
    /// Where it stands.
    pub place: Place,
    entries: &'a [Entry],
    problems: &'a Problems,
    /// Whether something else than a mapping stood here, so that nothing can be missing in it.
    broken: bool,
}

/// What stands behind a key.
enum Slot<'a> {
    Absent,
    /// There was something, but a problem about it has been reported.
    Broken,
    Given(&'a Node, Place),
}

impl<'a> Section<'a> {
    /// The mapping `node`, with a problem for every key that `table` does not know.
    pub fn open(node: &'a Node, place: Place, table: &Table, problems: &'a Problems) -> Self {
        let section = Self::bare(node, place, problems);
        for (key, place) in section.strangers(table.known) {
            let message = if table.later.contains(&key) {
                "is not supported yet by this version (remove it)".to_owned()
            } else {
                format!(
                    "is not a known key {}",
                    hint(key, "known here:", table.known.iter().copied())
                )
            };
            problems.add(&place, message);
        }
        section
    }

    /// The mapping `node`, whatever its keys are.
    pub fn bare(node: &'a Node, place: Place, problems: &'a Problems) -> Self {
        let entries = entries(node, &place, problems);
        let broken = !matches!(node.value, Value::Map(_) | Value::Null);
        Self { place, entries, problems, broken }
    }

    /// The keys that are not among these, each with its place.
    pub fn strangers(&self, known: &[&str]) -> Vec<(&'a str, Place)> {
        let strange = self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str()));
        strange.map(|entry| (&*entry.key, self.place.key(&entry.key, entry.line))).collect()
    }

    /// The mapping behind a key, whatever its keys are.
    pub fn child(&self, key: &str) -> Option<Section<'a>> {
        match self.slot(key) {
            Slot::Given(node, place) => Some(Section::bare(node, place, self.problems)),
            Slot::Absent | Slot::Broken => None,
        }
    }

    /// The section behind a key, empty if it is not given.
    pub fn section(&self, key: &str, table: &Table) -> Section<'a> {
        self.section_if_given(key, table).unwrap_or_else(|| Section {
            place: self.place.key(key, self.place.line),
            entries: &[],
            problems: self.problems,
            broken: false,
        })
    }

    /// The section behind a key.
    pub fn section_if_given(&self, key: &str, table: &Table) -> Option<Section<'a>> {
        match self.slot(key) {
            Slot::Given(node, place) => Some(Section::open(node, place, table, self.problems)),
            Slot::Absent | Slot::Broken => None,
        }
    }

    /// Whether the key is given with any value.
    pub fn is_given(&self, key: &str) -> bool {
        !matches!(self.slot(key), Slot::Absent)
    }

    /// Whether a single word stands behind the key, in place of a mapping or list.
    pub fn is_text(&self, key: &str) -> bool {
        matches!(self.slot(key), Slot::Given(node, _) if matches!(node.value, Value::Text(_)))
    }

    /// Where the key stands, or would stand.
    pub fn place_of(&self, key: &str) -> Place {
        match self.entries.iter().find(|entry| entry.key == key) {
            Some(entry) => self.place_of_entry(entry),
            None => self.place.key(key, self.place.line),
        }
    }

    /// A problem at a key.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        self.problems.add(&self.place_of(key), message);
    }

    /// The text behind a key.
    pub fn text(&self, key: &str) -> Option<At<Text>> {
        match self.slot(key) {
            Slot::Given(node, place) => text(node, place, self.problems),
            Slot::Absent | Slot::Broken => None,
        }
    }

    /// A problem if a key that has to be there is not; `allowed` is added in parentheses.
    pub fn require(&self, key: &str, allowed: &str) {
        if !self.is_given(key) && !self.broken {
            self.problem(key, format!("is missing ({allowed})"));
        }
    }

    /// A truth value.
    pub fn flag(&self, key: &str) -> Option<At<bool>> {
        let At { value, place } = self.text(key)?;
        let flag = match value.text.as_str() {
            "true" | "True" | "TRUE" => true,
            "false" | "False" | "FALSE" => false,
            _ => {
                self.problems
                    .add(&place, format!("{} is not allowed (true, false)", shown(&value)));
                return None;
            }
        };
        Some(At { value: flag, place })
    }

    /// A truth value with a default.
    pub fn flag_or(&self, key: &str, default: bool) -> bool {
        self.flag(key).map_or(default, |flag| flag.value)
    }

    /// A number within its range, or its default.
    pub fn number(&self, key: &str, bound: &Bound) -> u64 {
        self.number_if_given(key, bound).unwrap_or(bound.default)
    }

    /// The same for counts that index memory.
    pub fn count(&self, key: &str, bound: &Bound) -> usize {
        usize::try_from(self.number(key, bound)).unwrap_or(usize::MAX)
    }

    /// A number within its range.
    pub fn number_if_given(&self, key: &str, bound: &Bound) -> Option<u64> {
        number(&self.text(key)?, bound, self.problems)
    }

    /// One of a few words. Words in `later` are promised, but not yet understood.
    pub fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)], later: &[&str]) -> Option<T> {
        let At { value, place } = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == value.text);
        if found.is_none() {
            let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let what = if later.contains(&value.text.as_str()) {
                "is not supported yet by this version"
            } else {
                "is not allowed"
            };
            let message = format!("{} {what} ({})", shown(&value), allowed.join(", "));
            self.problems.add(&place, message);
        }
        found.map(|(_, meaning)| *meaning)
    }

    /// The items behind a key; a single value counts as a list of one.
    pub fn items(&self, key: &str) -> Option<Vec<(&'a Node, Place)>> {
        match self.slot(key) {
            Slot::Given(Node { value: Value::List(items), .. }, place) => {
                let item = |(at, node): (usize, &'a Node)| (node, place.item(at, node.line));
                Some(items.iter().enumerate().map(item).collect())
            }
            Slot::Given(node, place) => Some(vec![(node, place)]),
            Slot::Absent | Slot::Broken => None,
        }
    }

    /// The texts behind a key; a single text counts as a list of one.
    pub fn texts(&self, key: &str) -> Option<Vec<At<Text>>> {
        let items = self.items(key)?;
        Some(
            items
                .into_iter()
                .filter_map(|(node, place)| text(node, place, self.problems))
                .collect(),
        )
    }

    /// The entries of the mapping behind a key whose keys are free.
    pub fn map(&self, key: &str) -> Vec<(At<Text>, &'a Node)> {
        let Slot::Given(node, place) = self.slot(key) else {
            return Vec::new();
        };
        let entry = |entry: &'a Entry| {
            let place = place.key(&entry.key, entry.line);
            (At { value: Text::plain(&*entry.key), place }, &entry.node)
        };
        entries(node, &place, self.problems).iter().map(entry).collect()
    }

    fn slot(&self, key: &str) -> Slot<'a> {
        let Some(entry) = self.entries.iter().find(|entry| entry.key == key) else {
            return Slot::Absent;
        };
        match entry.node.value {
            Value::Null => Slot::Absent,
            Value::Broken => Slot::Broken,
            _ => Slot::Given(&entry.node, self.place_of_entry(entry)),
        }
    }

    fn place_of_entry(&self, entry: &Entry) -> Place {
        let place = self.place.key(&entry.key, entry.line);
        Place { origin: entry.origin.or(place.origin), ..place }
    }
}

/// The entries of a mapping; nothing, and perhaps a problem, for anything else.
fn entries<'a>(node: &'a Node, place: &Place, problems: &Problems) -> &'a [Entry] {
    match &node.value {
        Value::Map(entries) => entries,
        Value::Null | Value::Broken => &[],
        Value::Text(_) | Value::List(_) => {
            problems.add(place, "must be a mapping (key: value)");
            &[]
        }
    }
}

/// The text of a node.
pub fn text(node: &Node, place: Place, problems: &Problems) -> Option<At<Text>> {
    match &node.value {
        Value::Text(text) => return Some(At { value: text.clone(), place }),
        Value::Broken => {}
        Value::Null => problems.add(&place, "is empty (a text is needed)"),
        Value::List(_) => problems.add(&place, "must be a single value, not a list"),
        Value::Map(_) => problems.add(&place, "must be a single value, not a mapping"),
    }
    None
}

/// A value that can stand in a header. The standard lets bytes beyond ASCII pass, of which no two servers think
/// the same.
pub fn header_value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok().filter(|_| text.is_ascii())
}

/// A whole number within its range.
pub fn number(text: &At<Text>, bound: &Bound, problems: &Problems) -> Option<u64> {
    let At { value, place } = text;
    let digits = !value.text.is_empty() && value.text.bytes().all(|b| b.is_ascii_digit());
    let number = value.text.parse::<u64>().ok().filter(|_| digits);
    let what = match number {
        Some(number) if (bound.min..=bound.max).contains(&number) => return Some(number),
        // Digits that do not fit are a number all the same.
        _ if digits => "is out of range",
        _ => "is not a whole number",
    };
    problems.add(place, format!("{} {what} ({bound})", shown(value)));
    None
}

/// A value for a message: quoted and cut, and not at all if it came from the environment or looks like a URL
/// with a password in it.
pub fn shown(text: &Text) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    if text.secret {
        return "the value (from the environment, not shown)".to_owned();
    }
    if text.text.rsplit_once('@').is_some_and(|(before, _)| before.contains(':')) {
        return "the value (it may hold a password, not shown)".to_owned();
    }
    let cut: String = text.text.chars().take(SHOWN_CHARS_MAX).collect();
    let more = if cut.len() < text.text.len() { "..." } else { "" };
    format!("{cut:?}{more}")
}
