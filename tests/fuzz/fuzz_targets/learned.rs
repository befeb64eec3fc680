//! Any bytes as the table of an embedding, and any text as a prompt: nothing panics, what a tokenizer reads
//! ends at a character, and a reading is made of numbers.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use weir::learned::embedding::Scratch;
use weir::learned::table::Table;
use weir::learned::wordpiece::Pieces;

static SHIPPED: LazyLock<Table> = LazyLock::new(|| {
    Table::parse(include_bytes!("../../../conf/router/embedding.bin"))
        .expect("the table that ships")
});

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
    read(&SHIPPED, text);
    let mut pieces = Pieces::default();
    let read = SHIPPED.vocabulary().tokenise(text, usize::from(limit), &mut pieces);
    assert!(text.is_char_boundary(read));
    assert!(read == text.len() || pieces.tokens.len() >= usize::from(limit));
});

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
