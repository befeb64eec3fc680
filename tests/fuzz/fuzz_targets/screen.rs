//! Any bytes as a request body: every text is found within the body, the second look says what the first did,
//! unless the first had no work left to read all that is hidden, and every place of a verdict lies in its text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::guard::attached;
use weir::guard::linear::Model;
use weir::guard::screen::{self, Known};
use weir::guard::verdict;
use weir::wire::texts::texts;

fuzz_target!(|body: &[u8]| {
    let model = Model::blank();
    let found = texts(body);
    for piece in found.pieces.iter().chain(&found.tools).chain(&found.files) {
        assert!(piece.span.end <= body.len());
        screen::meant(piece, body);
    }
    let mut known = Known::new(100, 7);
    let first = screen::screen(&model, (body, &texts(body)), &mut known);
    let second = screen::screen(&model, (body, &texts(body)), &mut known);
    // What is known to hold nothing takes no work any more, which is left for what could not be read.
    if first.iter().all(|finding| finding.verdict.is_whole()) {
        assert_eq!(levels(&first), levels(&second));
    }
    let text = String::from_utf8_lossy(body);
    assert!(!attached::is_other(body) || attached::text(&text).is_none());
    for mark in verdict::judge(&model, &text).marks {
        assert!(mark.start <= mark.end && mark.end <= text.len());
    }
});

fn levels(found: &[screen::Finding]) -> Vec<verdict::Level> {
    found.iter().map(|finding| finding.verdict.level).collect()
}
