//! Any bytes as text of an answer: however it is cut, the filter lets the same out, and text without finds as
//! it was.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use weir::guard::detect::Action;
use weir::guard::detect::policy::Policy;
use weir::guard::filter::Filter;

fuzz_target!(|input: (u8, &[u8])| {
    let (seed, text) = input;
    let policy = Arc::new(Policy::all(Action::Redact));
    let mut whole = Filter::new(Arc::clone(&policy));
    let mut wanted = Vec::new();
    whole.feed(text, &mut wanted);
    whole.finish(&mut wanted);
    if whole.findings().is_empty() {
        assert_eq!(wanted, text);
    }
    let (mut filter, mut out, mut rest) = (Filter::new(policy), Vec::new(), text);
    let mut size = usize::from(seed);
    while !rest.is_empty() {
        size = size * 5 % 13;
        let (piece, after) = rest.split_at(rest.len().min(size + 1));
        filter.feed(piece, &mut out);
        rest = after;
    }
    filter.finish(&mut out);
    assert_eq!(out, wanted);
    assert_eq!(filter.findings(), whole.findings());
});
