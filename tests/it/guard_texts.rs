//! The texts in `conf/guard` are what their README says: labelled lines of JSON that may ship, each of them once.
//! How well the screen judges them is not measured here.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

const FIELDS: [&str; 8] = ["id", "text", "label", "slice", "source", "licence", "role", "lang"];

struct Kind {
    file: &'static str,
    label: u64,
    source: &'static str,
    least: usize,
    letter: char,
}

const KINDS: [Kind; 2] = [
    Kind { file: "attacks.jsonl", label: 1, source: "weir:attacks", least: 1200, letter: 'a' },
    Kind { file: "harmless.jsonl", label: 0, source: "weir:harmless", least: 2500, letter: 'h' },
];

fn rows(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/guard").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    (1..)
        .zip(text.lines())
        .map(|(number, line)| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{file}: line {number}: {error}"))
        })
        .collect()
}

fn id(letter: char, text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let hex = weir::base::hex::hex(&digest[..6]);
    format!("{letter}-{hex}")
}

#[test]
fn every_text_to_learn_from_is_labelled_and_may_ship() {
    for kind in KINDS {
        let rows = rows(kind.file);
        assert!(rows.len() >= kind.least, "{}: {} rows", kind.file, rows.len());
        for row in &rows {
            let fields: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(BTreeSet::from_iter(fields), BTreeSet::from(FIELDS), "{}: {row}", kind.file);
            let text = row["text"].as_str().unwrap();
            assert!(!text.trim().is_empty(), "{}: {row}", kind.file);
            assert_eq!(row["id"], id(kind.letter, text), "{}: {row}", kind.file);
            assert_eq!(row["label"], kind.label, "{}: {row}", kind.file);
            assert_eq!(row["source"], kind.source, "{}: {row}", kind.file);
            assert_eq!(row["licence"], env!("CARGO_PKG_LICENSE"), "{}: {row}", kind.file);
            assert!(
                ["user", "tool", "system"].contains(&row["role"].as_str().unwrap()),
                "{}: {row}",
                kind.file
            );
        }
    }
}

#[test]
fn no_text_to_learn_from_is_there_twice() {
    let mut seen = BTreeSet::new();
    for row in KINDS.iter().flat_map(|kind| rows(kind.file)) {
        let text = row["text"].as_str().unwrap().to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(seen.insert(words.join(" ")), "{text}");
    }
}

#[test]
fn each_language_has_texts_of_both_kinds() {
    let [attacks, harmless] = KINDS.map(|kind| {
        let rows = rows(kind.file);
        rows.iter().map(|row| row["lang"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    });
    assert_eq!(attacks, harmless);
    assert!(attacks.len() >= 25);
}
