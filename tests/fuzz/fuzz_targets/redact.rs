//! Any bytes as text of an answer, and as arguments of a call: however they are cut, the filter lets the same
//! out, text without finds as it was, and JSON as JSON.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use weir::guard::detect::Action;
use weir::guard::detect::policy::Policy;
use weir::guard::filter::Filter;
use weir::guard::json_inner::Form;
use weir::guard::json_text::JsonText;
use weir::wire::json;

/// Cuts a text into pieces.
fn pieces(seed: u8, text: &[u8], mut each: impl FnMut(&[u8])) {
    let (mut size, mut rest) = (usize::from(seed), text);
    while !rest.is_empty() {
        size = size * 5 % 13;
        let (piece, after) = rest.split_at(rest.len().min(size + 1));
        each(piece);
        rest = after;
    }
}

fn arguments(policy: &Arc<Policy>, seed: u8, text: &[u8]) {
    let mut whole = JsonText::new(Arc::clone(policy), Form::Bare);
    let mut wanted = Vec::new();
    whole.feed(text, &mut wanted);
    whole.finish(&mut wanted);
    if whole.findings().is_empty() {
        assert_eq!(wanted, text);
    }
    if json::check(text).is_ok() {
        assert!(json::check(&wanted).is_ok(), "{}", String::from_utf8_lossy(&wanted));
    }
    let (mut args, mut out) = (JsonText::new(Arc::clone(policy), Form::Bare), Vec::new());
    pieces(seed, text, |piece| args.feed(piece, &mut out));
    args.finish(&mut out);
    assert_eq!(out, wanted);
    assert_eq!(args.findings(), whole.findings());
}

fuzz_target!(|input: (u8, &[u8])| {
    let (seed, text) = input;
    let policy = Arc::new(Policy::all(Action::Redact));
    arguments(&policy, seed, text);
    let mut whole = Filter::new(Arc::clone(&policy));
    let mut wanted = Vec::new();
    whole.feed(text, &mut wanted);
    whole.finish(&mut wanted);
    if whole.findings().is_empty() {
        assert_eq!(wanted, text);
    }
    let (mut filter, mut out) = (Filter::new(policy), Vec::new());
    pieces(seed, text, |piece| filter.feed(piece, &mut out));
    filter.finish(&mut out);
    assert_eq!(out, wanted);
    assert_eq!(filter.findings(), whole.findings());
});
