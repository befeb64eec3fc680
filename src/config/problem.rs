//! What is wrong with a configuration, and the list in which the reader and the checks collect it.

use std::cell::RefCell;
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `models[2].price.input`, or `environment variable PORT` if the value came from there, or
    /// the name of the file if it could not be read at all.
    pub path: String,
    /// What is wrong, and in parentheses what is allowed. Never holds a secret.
    pub message: String,
    /// The line of the file, from 1; `None` = it is not about a line of the file.
    pub line: Option<usize>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        match self.line {
            Some(line) => write!(f, " [line {line}]"),
            None => Ok(()),
        }
    }
}

/// A place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The keys that lead to it.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// Where the value came from, if not from the file: `environment variable PORT`.
    pub origin: Option<&'static str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            None => f.write_str(&self.path),
            Some(origin) => write!(f, "{} ({origin})", self.path),
        }
    }
}

impl Place {
    /// The place of the whole file.
    pub fn top() -> Self {
        Self { path: String::new(), line: 1, origin: None }
    }

    /// The place of a key inside this one. Keys with dots or spaces are quoted, so that a path can be
    /// read back.
    #[must_use]
    pub fn key(&self, key: &str, line: usize) -> Self {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'/');
        let path = match (self.path.as_str(), !key.is_empty() && key.bytes().all(plain)) {
            ("", true) => key.to_owned(),
            (path, true) => format!("{path}.{key}"),
            (path, false) => format!("{path}[{key:?}]"),
        };
        Self { path, line, origin: self.origin }
    }

    /// The place of a list's item, from 0.
    #[must_use]
    pub fn item(&self, index: usize, line: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), line, origin: self.origin }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// The problems found so far. Shared by reader and checks, so that nobody has to hand it on.
#[derive(Debug, Default)]
pub struct Problems {
    list: RefCell<Vec<Problem>>,
}

impl Problems {
    /// One more problem.
    pub fn add(&self, place: &Place, message: impl Into<String>) {
        let (path, message) = (place.path.clone(), message.into());
        let problem = match place.origin {
            None => Problem { path, message, line: Some(place.line) },
            // The key is not in the file: it is no use to look for it there.
            Some(origin) => {
                let message = format!("{path}: {message}");
                Problem { path: origin.to_owned(), message, line: None }
            }
        };
        self.list.borrow_mut().push(problem);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.borrow().is_empty()
    }

    /// All of them: those of the environment, then those of the file in its order.
    pub fn into_sorted(self) -> Vec<Problem> {
        let mut list = self.list.into_inner();
        list.sort_by_key(|problem| problem.line);
        list
    }
}

/// The one of `names` that was probably meant, if any is near.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is a slip; more is another word. The distance is not even asked for
    // if the lengths rule it out, since it takes the product of both.
    const SLIPS_MAX: usize = 8;
    let slips_max = (name.chars().count() / 3).clamp(1, SLIPS_MAX);
    let near = |candidate: &&str| candidate.len().abs_diff(name.len()) <= 4 * SLIPS_MAX;
    names
        .into_iter()
        .filter(near)
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// ``(did you mean `x`?)`` for the nearest name, else `(lead a, b, c)` with the first few of them.
pub fn hint<'a>(name: &str, lead: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    const NAMES_SHOWN_MAX: usize = 24;
    if let Some(near) = nearest(name, names.clone()) {
        return format!("(did you mean `{near}`?)");
    }
    let shown: Vec<&str> = names.clone().take(NAMES_SHOWN_MAX).collect();
    let more = if names.count() > NAMES_SHOWN_MAX { ", ..." } else { "" };
    format!(
        "({lead} {}{more})",
        if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_keys_and_items() {
        let price = Place::top().key("models", 3).item(2, 4).key("price", 5).key("input", 5);
        assert_eq!((price.path.as_str(), price.line), ("models[2].price.input", 5));
        let chain = Place::top().key("routing", 1).key("openai/gpt-4.1", 2);
        assert_eq!(chain.path, "routing[\"openai/gpt-4.1\"]");
        assert_eq!(Place::top().key("", 1).path, "[\"\"]");
    }

    #[test]
    fn a_value_from_elsewhere_is_looked_for_there() {
        let port = Place { origin: Some("environment variable PORT"), ..Place::top() };
        let port = port.key("server", 1).key("listen", 1).item(0, 1);
        assert_eq!(port.to_string(), "server.listen[0] (environment variable PORT)");
        let problems = Problems::default();
        problems.add(&Place::top().key("a", 2), "of the file");
        problems.add(&port, "is bad");
        let lines: Vec<String> = problems.into_sorted().iter().map(Problem::to_string).collect();
        let expected = "environment variable PORT: server.listen[0]: is bad";
        assert_eq!(lines, [expected, "a: of the file [line 2]"]);
    }

    #[test]
    fn the_nearest_name_is_named() {
        let names = ["listen", "admin", "tls"];
        assert_eq!(nearest("listn", names), Some("listen"));
        assert_eq!(nearest("lsiten", names), Some("listen"));
        assert_eq!(nearest("somewhere", names), None);
        assert_eq!(
            hint("somewhere", "known here:", names.into_iter()),
            "(known here: listen, admin, tls)"
        );
        assert_eq!(hint("x", "known here:", std::iter::empty()), "(known here: none)");
    }

    #[test]
    fn a_problem_prints_path_message_and_line() {
        let problems = Problems::default();
        problems.add(&Place::top().key("b", 9), "late");
        problems.add(&Place::top().key("a", 2), "early");
        assert!(!problems.is_empty());
        let lines: Vec<String> = problems.into_sorted().iter().map(Problem::to_string).collect();
        assert_eq!(lines, ["a: early [line 2]", "b: late [line 9]"]);
    }
}
