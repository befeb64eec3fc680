//! A trained decision tree as a flat list of nodes, for the strategy `decision_tree` (S2-07).
//!
//! The file is JSON: `{"format": "weir-tree", "version": 1, "nodes": [...]}`. A node asks one question and names
//! the places of the two that follow, `{"feature": "token_count", "at_most": 3000, "yes": 1, "no": 2}`, or it is
//! a leaf: `{"tier": "fast", "thinks": false, "confidence": 0.9}`. Features are `token_count`, `difficulty` (0 easy,
//! 1 medium, 2 hard), `has_tools`, `has_images`, `hebrew` and `task:<name>` (all 0 or 1). Places only lead forward,
//! so every walk ends. Trees are made elsewhere.

use serde_json::{Map, Value};

use crate::base::limit::TREE_NODES_MAX;
use crate::routing::decision::{Aim, Decision};
use crate::routing::features::{Difficulty, Features, Language, Task};

/// The version of the format that is read here.
const VERSION: u64 = 1;
/// How sure a leaf is that does not say.
const UNSURE_PPM: u32 = 700_000;

/// A tree; every walk from its first node ends at a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Question { about: About, at_most: u64, yes: usize, no: usize },
    Leaf { aim: Aim, thinks: bool, confidence_ppm: u32 },
}

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    TokenCount,
    Difficulty,
    HasTools,
    HasImages,
    Hebrew,
    Task(Task),
}

impl About {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "token_count" => Self::TokenCount,
            "difficulty" => Self::Difficulty,
            "has_tools" => Self::HasTools,
            "has_images" => Self::HasImages,
            "hebrew" => Self::Hebrew,
            _ => Self::Task(Task::from_name(name.strip_prefix("task:")?)?),
        })
    }

    fn value(self, features: &Features) -> u64 {
        match self {
            Self::TokenCount => features.token_count,
            Self::Difficulty => match features.difficulty {
                Difficulty::Easy => 0,
                Difficulty::Medium => 1,
                Difficulty::Hard => 2,
            },
            Self::HasTools => u64::from(features.has_tools),
            Self::HasImages => u64::from(features.has_images),
            Self::Hebrew => u64::from(features.language == Language::Hebrew),
            Self::Task(task) => u64::from(features.task == task),
        }
    }
}

impl Tree {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: Value =
            serde_json::from_slice(bytes).map_err(|error| format!("is no JSON: {error}"))?;
        if file["format"] != "weir-tree" {
            return Err("is no decision tree (`format` must be \"weir-tree\")".to_owned());
        }
        if file["version"] != VERSION {
            let version = &file["version"];
            return Err(format!("has version {version}; this program reads {VERSION}"));
        }
        let nodes = file["nodes"].as_array().map_or(&[][..], Vec::as_slice);
        if nodes.is_empty() || nodes.len() > TREE_NODES_MAX {
            let found = nodes.len();
            return Err(format!("has {found} nodes (1 to {TREE_NODES_MAX})"));
        }
        let read = nodes.iter().enumerate().map(|(at, value)| {
            node(value, at, nodes.len()).map_err(|why| format!("nodes[{at}] {why}"))
        });
        Ok(Self { nodes: read.collect::<Result<_, _>>()? })
    }

    /// What the tree wants for such a request.
    pub fn decide(&self, features: &Features) -> Decision {
        let mut at = 0;
        // Places lead forward only, so a walk has at most as many steps as there are nodes.
        while let Some(Node::Question { about, at_most, yes, no }) = self.nodes.get(at) {
            at = if about.value(features) <= *at_most { *yes } else { *no };
        }
        let (aim, thinks, confidence_ppm) = match self.nodes.get(at) {
            Some(Node::Leaf { aim, thinks, confidence_ppm }) => (*aim, *thinks, *confidence_ppm),
            _ => (Aim::Reasoning, false, 0),
        };
        Decision { aim, thinks, rule: "tree", confidence_ppm }
    }
}

fn node(value: &Value, at: usize, count: usize) -> Result<Node, String> {
    let Value::Object(fields) = value else { return Err("is no object".to_owned()) };
    if fields.contains_key("tier") {
        return leaf(fields);
    }
    let place = |key: &str| {
        let place = fields.get(key).and_then(Value::as_u64).and_then(|it| usize::try_from(it).ok());
        let fits = place.filter(|place| (at + 1..count).contains(place));
        fits.ok_or_else(|| format!("has no `{key}` that leads to a later node"))
    };
    let name = fields.get("feature").and_then(Value::as_str).unwrap_or_default();
    let about = About::from_name(name).ok_or_else(|| {
        let shown: String = name.chars().take(40).collect();
        format!("asks about no known feature ({shown:?})")
    })?;
    let at_most = fields.get("at_most").and_then(Value::as_u64);
    let at_most = at_most.ok_or("has no `at_most` (a whole number)")?;
    Ok(Node::Question { about, at_most, yes: place("yes")?, no: place("no")? })
}

fn leaf(fields: &Map<String, Value>) -> Result<Node, String> {
    let tier = fields.get("tier").and_then(Value::as_str).unwrap_or_default();
    let aim = Aim::from_name(tier).ok_or("has no `tier` of fast, reasoning and oracle")?;
    let thinks = match fields.get("thinks") {
        None => false,
        Some(value) => value.as_bool().ok_or("has a `thinks` that is neither true nor false")?,
    };
    let confidence_ppm = match fields.get("confidence") {
        None => UNSURE_PPM,
        Some(value) => millionths(value).ok_or("has a `confidence` that is not from 0 to 1")?,
    };
    Ok(Node::Leaf { aim, thinks, confidence_ppm })
}

/// A share from 0 to 1 in millionths, read as decimal digits.
fn millionths(value: &Value) -> Option<u32> {
    let Value::Number(number) = value else { return None };
    let text = number.to_string();
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(rest) {
        return None;
    }
    let rest: String = rest.chars().chain("000000".chars()).take(6).collect();
    let ppm = whole.parse::<u32>().ok()?.checked_mul(1_000_000)?.checked_add(rest.parse().ok()?)?;
    (ppm <= 1_000_000).then_some(ppm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: Features = Features {
        task: Task::General,
        difficulty: Difficulty::Easy,
        token_count: 100,
        has_tools: false,
        has_images: false,
        language: Language::English,
    };

    fn file(nodes: &str) -> String {
        format!(r#"{{"format": "weir-tree", "version": 1, "nodes": [{nodes}]}}"#)
    }

    #[test]
    fn a_tree_is_walked_to_its_leaves() {
        let tree = Tree::parse(
            file(
                r#"{"feature": "task:code", "at_most": 0, "yes": 1, "no": 2},
                {"feature": "token_count", "at_most": 500, "yes": 3, "no": 4},
                {"tier": "oracle", "thinks": true, "confidence": 0.875},
                {"tier": "fast"}, {"tier": "reasoning", "confidence": 1}"#,
            )
            .as_bytes(),
        )
        .unwrap();
        let code = tree.decide(&Features { task: Task::Code, ..PLAIN });
        assert_eq!((code.aim, code.thinks, code.confidence_ppm), (Aim::Oracle, true, 875_000));
        assert_eq!((code.rule, tree.decide(&PLAIN).aim), ("tree", Aim::Fast));
        let long = tree.decide(&Features { token_count: 501, ..PLAIN });
        assert_eq!((long.aim, long.confidence_ppm), (Aim::Reasoning, 1_000_000));
    }

    #[test]
    fn what_is_no_tree_says_why() {
        let because = |text: &str| Tree::parse(text.as_bytes()).unwrap_err();
        assert!(because("").contains("no JSON"));
        assert!(
            because(r#"{"format": "weir-tree", "version": 1, "nodes": [{"#).contains("no JSON")
        );
        assert!(because("[]").contains("format"));
        assert!(because(r#"{"format": "weir-tree", "version": 2}"#).contains("version 2"));
        assert!(because(&file("")).contains("0 nodes"));
        let circle = r#"{"feature": "hebrew", "at_most": 0, "yes": 0, "no": 0}"#;
        assert!(because(&file(circle)).contains("nodes[0] has no `yes`"));
        assert!(because(&file(r#"{"feature": "mood"}"#)).contains("mood"));
        assert!(because(&file(r#"{"tier": "best"}"#)).contains("tier"));
        for wrong in ["1.5", "-1", "\"x\"", "1e3"] {
            let leaf = format!(r#"{{"tier": "fast", "confidence": {wrong}}}"#);
            assert!(because(&file(&leaf)).contains("confidence"), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Tree::parse(&bytes).is_err());
        }

        #[test]
        fn every_walk_ends(places in prop::collection::vec((any::<u16>(), any::<u16>()), 1..50), tokens: u64) {
            let count = places.len() + 1;
            let to = |at: usize, by: u16| at + 1 + usize::from(by) % (count - at - 1);
            let mut nodes: Vec<String> = places.iter().enumerate().map(|(at, (yes, no))| {
                let (yes, no) = (to(at, *yes), to(at, *no));
                format!(r#"{{"feature": "token_count", "at_most": 9, "yes": {yes}, "no": {no}}}"#)
            }).collect();
            nodes.push(r#"{"tier": "oracle"}"#.to_owned());
            let tree = Tree::parse(file(&nodes.join(",")).as_bytes()).unwrap();
            prop_assert_eq!(tree.decide(&Features { token_count: tokens, ..PLAIN }).aim, Aim::Oracle);
        }
    }
}
