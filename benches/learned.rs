//! What a decision has to read: a prompt's tokens, its embedding and its shape.
//!
//! `cargo bench --no-default-features --bench learned`. The goals are 5 us for 32 tokens and 50 us for 512; what is
//! longer costs no more. The results stand in the README.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use weir::learned::embedding::Scratch;
use weir::learned::table::Table;
use weir::learned::wordpiece::Pieces;

const TABLE: &[u8] = include_bytes!("../conf/router/embedding.bin");

/// A question with some code in it, from which prompts are cut.
const PROMPT: &str = "I maintain a small service that reconciles invoices with bank statements, and since the last \
deployment roughly 3% of the rows end up unmatched. Could you explain why the following function misclassifies \
partial payments, and rewrite it so that it tolerates rounding differences of up to 0.02 EUR?\n\n```python\ndef \
match(invoice, payments):\n    remaining = invoice.total\n    for payment in sorted(payments, key=lambda p: \
p.booked_at):\n        if payment.amount <= remaining:\n            remaining -= payment.amount\n            \
yield payment\n    if remaining > 0:\n        raise UnmatchedError(invoice.id, remaining)\n```\n\nThe statement \
contains about 12,000 payments per month. Please answer step by step:\n1. What is the invariant?\n2. Which inputs \
break it?\n3. How would you test the fix? Naïve approaches (e.g. brute-force search) aren't acceptable.\n\n";

/// As many tokens of prompts as asked for.
fn prompt(table: &Table, tokens: usize) -> String {
    let mut text = PROMPT.repeat(tokens / 150 + 1);
    let read = table.vocabulary().tokenise(&text, tokens, &mut Pieces::default());
    text.truncate(read);
    text
}

fn readings(criterion: &mut Criterion) {
    let table = Table::parse(TABLE).expect("the table that ships");
    let mut scratch = Scratch::default();
    for tokens in [32, 128, 500, 512, 1900] {
        let text = prompt(&table, tokens);
        criterion.bench_function(&format!("embed {tokens} tokens"), |bencher| {
            bencher.iter(|| table.embed(black_box(&text), &mut scratch));
        });
    }
    let large = PROMPT.repeat(1024 * 1024 / PROMPT.len());
    criterion.bench_function("embed 1 MB", |bencher| {
        bencher.iter(|| table.embed(black_box(&large), &mut scratch));
    });
}

fn tokens(criterion: &mut Criterion) {
    let table = Table::parse(TABLE).expect("the table that ships");
    let mut pieces = Pieces::default();
    let many = [
        ("English", PROMPT.repeat(4)),
        ("Chinese", "深层学习是什么？请用中文解释一下。".repeat(30)),
        ("accents", "Le garçon naïf a mangé une crème brûlée à l'Élysée. ".repeat(30)),
        ("rare words", "xqzjkv wpxlmn qwrtzp ".repeat(30)),
    ];
    for (name, text) in many {
        criterion.bench_function(&format!("tokenise 512 tokens, {name}"), |bencher| {
            bencher.iter(|| {
                pieces.tokens.clear();
                table.vocabulary().tokenise(black_box(&text), 512, &mut pieces)
            });
        });
    }
}

fn parse(criterion: &mut Criterion) {
    criterion.bench_function("parse the table", |bencher| {
        bencher.iter(|| Table::parse(black_box(TABLE)));
    });
}

criterion_group!(benches, readings, tokens, parse);
criterion_main!(benches);
