//! Any bytes as an answer of every dialect, and as a stream of it, searched on its way out: however a stream was
//! cut, the same comes out; what nothing was found in comes out as it was; and JSON stays JSON.

#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir::base::surface::Surface;
use weir::config::guards::Guards;
use weir::exchange::outflow::tally::Tally;
use weir::exchange::outflow::{Outflow, Stop, Terms, document, echo};
use weir::guard::canary::Token;
use weir::guard::detect::Action;
use weir::guard::detect::policy::Policy;
use weir::wire::json;

const SURFACES: [Surface; 4] =
    [Surface::Chat, Surface::Completions, Surface::Messages, Surface::Responses];

fuzz_target!(|input: (u8, bool, Vec<u8>, &[u8])| {
    let (surface, has_canary, cuts, body) = input;
    let surface = SURFACES[usize::from(surface) % SURFACES.len()];
    let terms = terms(has_canary);
    streamed(&terms, surface, (body, &cuts));
    // The same as events, so that their readers are reached at once.
    let line: Vec<u8> = body.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
    let event = [b"event: content_block_delta\ndata: ", &line[..], b"\n\n"].concat();
    streamed(&terms, surface, (&[&event[..], &event].concat(), &cuts));
    let mut tally = Tally::default();
    let whole = document::document(&terms, surface, Bytes::copy_from_slice(body), &mut tally);
    searched(body, &whole.bytes, whole.stop);
    let mut tally = Tally::default();
    let failure = echo::failure(&terms, &Bytes::copy_from_slice(body), &mut tally);
    searched(body, &failure.bytes, failure.stop);
});

fn terms(has_canary: bool) -> Terms {
    let output = Some(Arc::new(Policy::all(Action::Redact)));
    let guards = Arc::new(Guards { output, ..Guards::default() });
    let token = has_canary.then(|| Token::derive(b"a secret", ("tenant", "session"), 1));
    Terms::of(&guards, token.flatten()).expect("something is looked for")
}

/// JSON that may be shown is JSON still.
fn searched(body: &[u8], out: &[u8], stop: Option<Stop>) {
    if stop.is_none() && json::check(body).is_ok() {
        json::check(out).expect("an answer");
    }
}

fn streamed(terms: &Terms, surface: Surface, (stream, cuts): (&[u8], &[u8])) {
    let (whole, is_clean) = flown(terms, surface, (stream, &[]));
    let (cut, is_clean_too) = flown(terms, surface, (stream, cuts));
    assert_eq!(String::from_utf8_lossy(&whole), String::from_utf8_lossy(&cut));
    assert_eq!(is_clean, is_clean_too);
    if is_clean {
        assert_eq!(whole, stream);
    }
}

/// What comes out of a stream in those pieces, and whether nothing was found in it.
fn flown(terms: &Terms, surface: Surface, (stream, cuts): (&[u8], &[u8])) -> (Vec<u8>, bool) {
    let (mut flow, mut out) = (Outflow::new(terms.clone(), surface), Vec::new());
    let mut rest = stream;
    for cut in cuts {
        let (piece, later) = rest.split_at(rest.len().min(usize::from(*cut)));
        let passed = flow.feed(Bytes::copy_from_slice(piece), false);
        out.extend_from_slice(&passed.bytes);
        if let Some(stop) = passed.stop {
            out.extend_from_slice(&flow.closing(stop));
            return (out, false);
        }
        rest = later;
    }
    let passed = flow.feed(Bytes::copy_from_slice(rest), true);
    out.extend_from_slice(&passed.bytes);
    if let Some(stop) = passed.stop {
        out.extend_from_slice(&flow.closing(stop));
    }
    (out, passed.stop.is_none() && flow.record().is_none())
}
