//! Speed of what a strategy reads of a request: features of short, ordinary and very long prompts, and the nine
//! rules over them. The budget is 50 microseconds for 500 tokens.
//!
//! `cargo bench --no-default-features --bench routing`

#![allow(missing_docs, reason = "the macro of criterion makes a public function")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use serde_json::json;
use weir::routing::decision::Tried;
use weir::routing::{features, rules};
use weir::wire::texts;

/// Prose with the words that the lists look for, and words that only begin like them.
const LINES: [&str; 6] = [
    "Please look at the plan below and tell me whether the tests that it names cover every case. ",
    "The restaurant of the planet Earth serves a classic, basically coded, reasonable soup. ",
    "Compare both versions of the function, explain why the second one is slower,\nand fix it. ",
    "let total = items.iter().map(|item| item.price * item.count).sum::<u64>();\n",
    "The quarterly report says that \"revenue\" went up by 12.5 % while costs stayed as they were. ",
    "Nothing else in this paragraph is of any interest to anybody who has read the others. ",
];

/// A request whose last prompt has about that many tokens.
fn body(tokens: usize) -> Vec<u8> {
    let words = LINES.iter().cycle().flat_map(|line| line.split_inclusive(' '));
    let prompt: String = words.take(tokens * 10 / 13).collect();
    let messages = json!([{"role": "system", "content": "You are a careful assistant."},
        {"role": "user", "content": prompt}]);
    json!({"model": "auto", "messages": messages}).to_string().into_bytes()
}

fn routing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing");
    for tokens in [32, 500, 2_000, 200_000] {
        let body = body(tokens);
        let found = texts::texts(&body);
        group.bench_function(BenchmarkId::new("features", tokens), |bench| {
            bench.iter(|| features::read(black_box(&body), &found, false));
        });
        group.bench_function(BenchmarkId::new("texts, features and rules", tokens), |bench| {
            bench.iter(|| {
                let found = texts::texts(black_box(&body));
                let read = features::read(&body, &found, false);
                rules::decide(&read.features, Tried::default())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, routing);
criterion_main!(benches);
