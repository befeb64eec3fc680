//! Any bytes as the table of an embedding, as a router, a decision tree or the guard's weights, and any text as a
//! prompt: nothing panics, what a tokenizer reads ends at a character, and a reading is made of numbers.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use weir::guard::weights;
use weir::learned::embedding::Scratch;
use weir::learned::file::{Router, Setting};
use weir::learned::table::Table;
use weir::learned::wordpiece::Pieces;
use weir::routing::features::Features;
use weir::routing::tree::Tree;

static SHIPPED: LazyLock<Table> = LazyLock::new(|| {
    Table::parse(include_bytes!("../../../conf/router/embedding.bin"))
        .expect("the table that ships")
});

/// The router that ships: what it says of itself, its heads, its table.
static ROUTER: LazyLock<[&[u8]; 3]> = LazyLock::new(|| {
    let file = include_bytes!("../../../conf/router/router.bin");
    let length = |at: usize| {
        file[at..at + 4].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (about, rest) = file[24..].split_at(length(12));
    let (heads, rest) = rest.split_at(length(16));
    [about, heads, &rest[..length(20)]]
});

const TREE: &str = r#"{"format": "weir-tree", "version": 1, "nodes": [
    {"feature": "task:code", "at_most": 0, "yes": 1, "no": 2},
    {"feature": "token_count", "at_most": 500, "yes": 3, "no": 4},
    {"tier": "oracle", "thinks": true, "confidence": 0.875},
    {"tier": "fast"}, {"tier": "reasoning", "confidence": 1}]}"#;

/// Where the digest lies, and the content begins.
const DIGEST: usize = 24;
const CONTENT: usize = DIGEST + 32;

fuzz_target!(|input: (&[u8], u8, &str)| {
    let (file, limit, text) = input;
    if let Ok(table) = Table::parse(file) {
        read(&table, text);
    }
    if let Ok(table) = Table::parse(&confirmed(file)) {
        read(&table, text);
    }
    files(file, limit, text);
    read(&SHIPPED, text);
    let mut pieces = Pieces::default();
    let read = SHIPPED.vocabulary().tokenise(text, usize::from(limit), &mut pieces);
    assert!(text.is_char_boundary(read));
    assert!(read == text.len() || pieces.tokens.len() >= usize::from(limit));
});

/// The same as the other files that are loaded.
fn files(file: &[u8], change: u8, text: &str) {
    let [about, heads, table] = *ROUTER;
    // The table takes its time.
    let table = if change == 255 { table } else { &[] };
    let about = String::from_utf8_lossy(about).replacen(char::from(change), text, 1);
    for file in [
        framed(about.as_bytes(), heads, table),
        framed(about.as_bytes(), file, table),
        file.to_vec(),
    ] {
        if let Ok(router) = Router::parse(&file) {
            let reading = router.read(text, &mut Scratch::default());
            router.judge(&reading, Setting::default(), &[]);
            assert!(router.alpha(0.9).is_none_or(f64::is_finite));
        }
    }
    if let Ok(tree) = Tree::parse(file) {
        tree.decide(&Features::default());
    }
    let tree = TREE.replacen(char::from(change), text, 1);
    if let Ok(tree) = Tree::parse(tree.as_bytes()) {
        tree.decide(&Features::default());
    }
    assert!(weights::read(file).is_err());
    assert!(weights::read(&[b"weir guard weights 2\n", file].concat()).is_err());
}

/// The parts of a router in the frame of one, with a digest that is right.
fn framed(about: &[u8], heads: &[u8], table: &[u8]) -> Vec<u8> {
    let mut file = b"WEIRRTR\0\x01\0\0\0".to_vec();
    for part in [about, heads, table] {
        file.extend_from_slice(&u32::try_from(part.len()).expect("a small part").to_le_bytes());
    }
    file.extend_from_slice(&[about, heads, table].concat());
    let digest = Sha256::digest(&file);
    file.extend_from_slice(&digest);
    file
}

/// The file with a digest that is right, so that what follows it is looked at.
fn confirmed(file: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    if let Some(content) = file.get(CONTENT..) {
        let digest = Sha256::digest(content);
        file[DIGEST..CONTENT].copy_from_slice(&digest);
    }
    file
}

fn read(table: &Table, text: &str) {
    let reading = table.embed(text, &mut Scratch::default());
    assert!(reading.vector.iter().all(|value| value.is_finite()));
    assert!(reading.shape.iter().all(|feature| (0.0..=1.0).contains(feature)));
}
