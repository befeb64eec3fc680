//! YAML text to a tree of nodes that keep their line and the source text of every scalar.
//!
//! Numbers stay text: a price must never pass through a binary float. Variables are not expanded
//! here, and no key is known here.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use crate::base::limit::CONFIG_BYTES_MAX;
use crate::config::problem::{Place, Problem, Problems};

/// Deepest indentation. The parser recurses once per level, so this bounds its stack; a file of ours
/// needs a tenth of it.
const INDENT_COLUMNS_MAX: usize = 160;

/// A value of the file.
#[derive(Debug)]
pub struct Node {
    /// The line it begins on, from 1.
    pub line: usize,
    /// What it is.
    pub value: Value,
}

/// What a value is.
#[derive(Debug)]
pub enum Value {
    /// Nothing after the colon, `~` or `null`: as if the key were not there.
    Null,
    /// Text, a number or a truth value, as written.
    Text(Text),
    /// A list.
    List(Vec<Node>),
    /// A mapping in the order of the file.
    Map(Vec<Entry>),
    /// A value about which a problem has been reported; ask no more of it.
    Broken,
}

/// A scalar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// As written, without quotes; after `expand`, with variables filled in.
    pub text: String,
    /// Whether part of it came from the environment, so that it must not be shown.
    pub secret: bool,
}

impl Text {
    /// A word of the file itself.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), secret: false }
    }
}

/// A key and its value.
#[derive(Debug)]
pub struct Entry {
    /// The key as written.
    pub key: String,
    /// The line of the key, from 1.
    pub line: usize,
    /// Where it came from, if not from the file; see `Place::origin`.
    pub origin: Option<&'static str>,
    /// Its value.
    pub node: Node,
}

/// Reads a file of ours. `Err` = it could not be read as a whole; smaller problems go to `problems`.
pub fn read(text: &str, file_name: &str, problems: &Problems) -> Result<Node, Problem> {
    let whole = |message: &str, line| whole(file_name, message, line);
    match read_any(text, file_name, problems)? {
        Node { value: Value::Null, .. } => {
            Err(whole("is empty (providers and models are needed)", None))
        }
        node @ Node { value: Value::Map(_) | Value::Broken, .. } => Ok(node),
        node => Err(whole("must be a mapping (key: value)", Some(node.line))),
    }
}

/// Reads any file of one document; one with nothing in it is `Null`.
pub fn read_any(text: &str, file_name: &str, problems: &Problems) -> Result<Node, Problem> {
    let whole = |message: String, line| whole(file_name, &message, line);
    if text.len() > CONFIG_BYTES_MAX {
        return Err(whole(format!("is too large (at most {CONFIG_BYTES_MAX} bytes)"), None));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(line) = too_deep(text) {
        let message = format!("is indented too far (at most {INDENT_COLUMNS_MAX} columns)");
        return Err(whole(message, Some(line)));
    }
    let documents = MarkedYaml::load_from_str(text).map_err(|error| {
        let (line, column) = (error.marker().line(), error.marker().col() + 1);
        let what = match error.info() {
            "duplicated key in mapping" => {
                format!("the key {:?} is given twice in one mapping", key_at(text, line, column))
            }
            info => format!("is not valid YAML: {info}"),
        };
        whole(format!("{what} (line {line}, column {column})"), Some(line))
    })?;
    match documents.as_slice() {
        [] => Ok(Node { line: 1, value: Value::Null }),
        [document] => Ok(Source::new(text, problems).node(document, &Place::top())),
        [_, second, ..] => {
            let line = Some(second.span.start.line());
            Err(whole("holds more than one YAML document (only one is read)".to_owned(), line))
        }
    }
}

/// A problem of the whole file.
fn whole(file_name: &str, message: &str, line: Option<usize>) -> Problem {
    Problem { path: file_name.to_owned(), message: message.to_owned(), line }
}

/// The first line that is indented too far, counting the marks of lists and keys as indentation.
fn too_deep(text: &str) -> Option<usize> {
    let far = |line: &str| {
        let rest = line.trim_start_matches([' ', '\t', '-', '?', ':']);
        let says_nothing = line.trim().is_empty() || rest.starts_with('#');
        line.len() - rest.len() > INDENT_COLUMNS_MAX && !says_nothing
    };
    text.lines().position(far).map(|at| at + 1)
}

/// The key that stands there, for a message.
fn key_at(text: &str, line: usize, column: usize) -> &str {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let start = line.char_indices().nth(column.saturating_sub(1)).map_or(0, |(at, _)| at);
    line[start..].split(": ").next().unwrap_or_default().trim().trim_end_matches(':')
}

/// The text behind the tree, to find the words of a scalar again.
struct Source<'a> {
    text: &'a str,
    /// The parser counts characters; slices need bytes.
    offsets: Vec<usize>,
    problems: &'a Problems,
}

impl<'a> Source<'a> {
    fn new(text: &'a str, problems: &'a Problems) -> Self {
        let offsets = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        Self { text, offsets, problems }
    }

    fn node(&self, yaml: &MarkedYaml<'_>, place: &Place) -> Node {
        let line = yaml.span.start.line();
        let place = Place { line, ..place.clone() };
        let value = match &yaml.data {
            YamlData::Value(scalar) => self.scalar(yaml, scalar, &place),
            YamlData::Sequence(items) => {
                let item = |(at, item)| self.node(item, &place.item(at, line));
                Value::List(items.iter().enumerate().map(item).collect())
            }
            YamlData::Mapping(entries) => {
                let entry = |(key, value)| self.entry(key, value, &place);
                Value::Map(entries.iter().filter_map(entry).collect())
            }
            YamlData::Tagged(..) => self.broken(&place, "has a YAML tag (write it without `!`)"),
            _ => self.broken(&place, "is not a value (text, list or mapping)"),
        };
        Node { line, value }
    }

    fn entry(&self, key: &MarkedYaml<'_>, value: &MarkedYaml<'_>, place: &Place) -> Option<Entry> {
        let line = key.span.start.line();
        let Node { value: Value::Text(Text { text: name, .. }), .. } = self.node(key, place) else {
            self.problems.add(&Place { line, ..place.clone() }, "has a key that is not plain text");
            return None;
        };
        let node = self.node(value, &place.key(&name, line));
        Some(Entry { key: name, line, origin: None, node })
    }

    /// The words of a scalar. Only strings come from the parser; for the rest the source is asked, and
    /// reading it again proves that the right words were found.
    fn scalar(&self, yaml: &MarkedYaml<'_>, scalar: &Scalar<'_>, place: &Place) -> Value {
        let text = match scalar {
            Scalar::Null => return Value::Null,
            Scalar::String(text) => text.clone().into_owned(),
            other => match (self.words(yaml), other) {
                (Some(words), other) if Scalar::parse_from_cow(words.into()) == *other => {
                    words.to_owned()
                }
                (_, Scalar::Integer(number)) => number.to_string(),
                (_, Scalar::Boolean(truth)) => truth.to_string(),
                // Behind a `*alias` stand other words than those of the number.
                _ => return self.broken(place, "must be written out (no alias, no tag)"),
            },
        };
        Value::Text(Text::plain(text))
    }

    fn words(&self, yaml: &MarkedYaml<'_>) -> Option<&'a str> {
        let start = *self.offsets.get(yaml.span.start.index())?;
        let end = *self.offsets.get(yaml.span.end.index())?;
        // An anchor (`&name`) stands before the number, and numbers have no blanks.
        self.text.get(start..end)?.split_whitespace().last()
    }

    fn broken(&self, place: &Place, message: &str) -> Value {
        self.problems.add(place, message);
        Value::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(node: &Node) -> String {
        match &node.value {
            Value::Null => "~".to_owned(),
            Value::Broken => "!".to_owned(),
            Value::Text(text) => text.text.clone(),
            Value::List(items) => {
                format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" "))
            }
            Value::Map(entries) => {
                let entry =
                    |entry: &Entry| format!("{}@{}={}", entry.key, entry.line, show(&entry.node));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(" "))
            }
        }
    }

    fn tree(text: &str) -> String {
        let problems = Problems::default();
        let node = read(text, "f.yaml", &problems).unwrap();
        let found: Vec<String> = problems.into_sorted().iter().map(Problem::to_string).collect();
        format!("{}{}", show(&node), found.join("; "))
    }

    fn refusal(text: &str) -> Problem {
        read(text, "f.yaml", &Problems::default()).unwrap_err()
    }

    #[test]
    fn scalars_keep_their_words() {
        assert_eq!(
            tree("a: 3.00\nb: 0.1\nc: 1e-06\nd: 007\ne: 0x10"),
            "{a@1=3.00 b@2=0.1 c@3=1e-06 d@4=007 e@5=0x10}"
        );
        assert_eq!(tree("a: 0.30000000000000004 # x"), "{a@1=0.30000000000000004}");
        assert_eq!(tree("a: \"3.00\"\nb: 'true'\nc: True"), "{a@1=3.00 b@2=true c@3=True}");
        assert_eq!(tree("a: {b: 1.50, c: [2.50,3.0]}"), "{a@1={b@1=1.50 c@1=[2.50 3.0]}}");
        assert_eq!(tree("ä: ö\nπ: 3.14\n"), "{ä@1=ö π@2=3.14}");
        assert_eq!(tree("a: 1.10\r\nb: 2.20\r\n"), "{a@1=1.10 b@2=2.20}");
        assert_eq!(tree("\u{feff}a: 1.0"), "{a@1=1.0}");
        assert_eq!(tree("a:\nb: ~\nc: null\nd: \"\""), "{a@1=~ b@2=~ c@3=~ d@4=}");
        assert_eq!(tree("8080: x"), "{8080@1=x}");
    }

    #[test]
    fn aliases_work_where_they_are_exact() {
        assert_eq!(tree("a: &x {b: 1.50}\nc: *x"), "{a@1={b@1=1.50} c@2={b@1=1.50}}");
        assert_eq!(tree("a: &x 15\nc: *x"), "{a@1=15 c@2=15}");
        assert_eq!(
            tree("a: &x 1.50\nc: *x"),
            "{a@1=1.50 c@2=!}c: must be written out (no alias, no tag) [line 2]"
        );
    }

    #[test]
    fn odd_nodes_are_problems_at_their_place() {
        assert_eq!(tree("a: !x 1"), "{a@1=!}a: has a YAML tag (write it without `!`) [line 1]");
        assert_eq!(tree("b:\n  [1, 2]: x"), "{b@1={}}b: has a key that is not plain text [line 2]");
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        for text in ["", "\n# only a comment\n", "~", "---\n"] {
            let problem = refusal(text);
            assert_eq!(problem.path, "f.yaml", "{text:?}");
            assert!(problem.message.contains("is empty"), "{text:?}: {problem}");
        }
        for text in ["- a", "word", "3", "[1]"] {
            assert!(refusal(text).message.contains("must be a mapping"), "{text:?}");
        }
        assert!(refusal("a: 1\n---\nb: 1").message.contains("more than one"));
    }

    #[test]
    fn broken_yaml_names_line_and_column() {
        let problem = refusal("a: 1\nb: [1, 2\nc: 3\n");
        assert!(problem.message.starts_with("is not valid YAML: "), "{problem}");
        assert!(problem.message.contains("(line "), "{problem}");
        assert!(problem.line.is_some());
        assert!(refusal("a: \"open").message.contains("not valid YAML"));
        assert!(refusal("a: 1\n\tb: 2").message.contains("not valid YAML"));
    }

    #[test]
    fn a_key_given_twice_is_named() {
        let problem = refusal("server:\n  threads: 1\n  h2c: false\n  threads: 2\n");
        assert_eq!(
            problem.to_string(),
            "f.yaml: the key \"threads\" is given twice in one mapping (line 4, column 3) [line 4]"
        );
    }

    #[test]
    fn depth_is_bounded() {
        assert!(refusal(&"- ".repeat(100_000)).message.contains("indented"));
        assert!(refusal(&"? ".repeat(100_000)).message.contains("indented"));
        assert!(refusal(&" ".repeat(100_000)).message.contains("is empty"));
        assert!(refusal(&format!("{}x", "- ".repeat(100_000))).message.contains("indented"));
        assert!(refusal(&"[".repeat(100_000)).message.contains("not valid YAML"));
        let stairs: String = (0..500).flat_map(|n| [" ".repeat(n), "a:\n".to_owned()]).collect();
        assert!(refusal(&stairs).message.contains("indented"));
        assert!(read(&stairs[..160 * 80], "f", &Problems::default()).is_ok());
        assert!(refusal(&"a: 1\n".repeat(CONFIG_BYTES_MAX / 5 + 1)).message.contains("too large"));
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..9 {
            let inner = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb = format!("{bomb}a{n}: &a{n} [{inner}]\n");
        }
        assert!(refusal(&bomb).message.contains("not valid YAML"));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[-a-c:?\\[\\]{},&*!|>'\"#%@` \\n\\t0-9.~$é]{0,80}") {
            let _ = read(&text, "f.yaml", &Problems::default());
        }
    }
}
