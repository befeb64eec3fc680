//! Any bytes as an answer of every dialect, and as a stream of it, searched on its way out: however a stream was
//! cut, the same comes out; one in which nothing was found, or which is only watched, says what it said, though what
//! was held may come in later events, and watched words are not held; and JSON stays JSON.

#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir::base::surface::Surface;
use weir::config::guards::Guards;
use weir::exchange::outflow::event::{self, Key, Way};
use weir::exchange::outflow::tally::Tally;
use weir::exchange::outflow::{Outflow, Stop, Terms, document, echo};
use weir::guard::canary::Token;
use weir::guard::detect::Action;
use weir::guard::detect::policy::Policy;
use weir::wire::json;
use weir::wire::sse::Decoder;

const SURFACES: [Surface; 4] =
    [Surface::Chat, Surface::Completions, Surface::Messages, Surface::Responses];

fuzz_target!(|input: (u8, bool, Vec<u8>, &[u8])| {
    let (surface, has_canary, cuts, body) = input;
    let surface = SURFACES[usize::from(surface) % SURFACES.len()];
    let (terms, watching) = (terms(Action::Redact, has_canary), terms(Action::Observe, false));
    // The same as events, so that their readers are reached at once.
    let line: Vec<u8> = body.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
    let event = [b"event: content_block_delta\ndata: ", &line[..], b"\n\n"].concat();
    for stream in [body, &[&event[..], &event].concat()] {
        streamed(&terms, surface, (stream, &cuts));
        let (flown, told) = (flown(&watching, surface, (stream, &cuts)), said(surface, stream));
        // Of arguments, escapes wait for their end.
        let may_wait = flown.stop.is_some() || told.has_arguments;
        assert!(may_wait || flown.bytes == stream);
        says_the_same(surface, &told, &flown);
    }
    let mut tally = Tally::default();
    let whole = document::document(&terms, surface, Bytes::copy_from_slice(body), &mut tally);
    searched(body, &whole.bytes, whole.stop);
    let mut tally = Tally::default();
    let failure = echo::failure(&terms, &Bytes::copy_from_slice(body), &mut tally);
    searched(body, &failure.bytes, failure.stop);
});

fn terms(action: Action, has_canary: bool) -> Terms {
    let output = Some(Arc::new(Policy::all(action)));
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
    let whole = flown(terms, surface, (stream, &[]));
    let cut = flown(terms, surface, (stream, cuts));
    assert_eq!(String::from_utf8_lossy(&whole.bytes), String::from_utf8_lossy(&cut.bytes));
    assert_eq!((whole.stop, whole.is_clean), (cut.stop, cut.is_clean));
    let told = said(surface, stream);
    if told.is_json && whole.stop.is_none() {
        assert!(said(surface, &whole.bytes).is_json, "{}", String::from_utf8_lossy(&whole.bytes));
    }
    if whole.is_clean && whole.bytes != stream {
        says_the_same(surface, &told, &whole);
    }
}

fn says_the_same(surface: Surface, told: &Said, flown: &Flown) {
    let shown = said(surface, &flown.bytes);
    for (key, text) in told.texts.iter().filter(|_| flown.stop.is_none()) {
        assert_eq!(Some(text), shown.texts.get(key), "{}", String::from_utf8_lossy(&flown.bytes));
    }
}

/// What came out of a stream.
struct Flown {
    bytes: Vec<u8>,
    stop: Option<Stop>,
    /// Nothing was found in it.
    is_clean: bool,
}

/// What comes out of a stream in those pieces.
fn flown(terms: &Terms, surface: Surface, (stream, cuts): (&[u8], &[u8])) -> Flown {
    let (mut flow, mut bytes) = (Outflow::new(terms.clone(), surface), Vec::new());
    let (mut rest, mut stop) = (stream, None);
    let ends = cuts.iter().map(|cut| Some(usize::from(*cut))).chain([None]);
    for end in ends {
        let (piece, later) = rest.split_at(end.unwrap_or(rest.len()).min(rest.len()));
        let passed = flow.feed(Bytes::copy_from_slice(piece), end.is_none());
        bytes.extend_from_slice(&passed.bytes);
        if let Some(why) = passed.stop {
            bytes.extend_from_slice(&flow.closing(why));
            stop = passed.stop;
            break;
        }
        rest = later;
    }
    let is_clean = stop.is_none() && flow.record().is_none();
    Flown { bytes, stop, is_clean }
}

/// What a client hears in a stream.
struct Said {
    /// The texts that go on from event to event, but for those that are said again as a whole.
    texts: BTreeMap<Key, Vec<u8>>,
    /// All data are JSON, or the mark of the end.
    is_json: bool,
    /// One of the texts is JSON itself.
    has_arguments: bool,
}

fn said(surface: Surface, stream: &[u8]) -> Said {
    let mut said = Said { texts: BTreeMap::new(), is_json: true, has_arguments: false };
    let (mut decoder, mut again) = (Decoder::new(), Vec::new());
    let mut read = |event: weir::wire::sse::Event<'_>| {
        let data = event.data.trim_ascii_start();
        if data.is_empty() || event::is_done(data) {
            return;
        }
        let is_object = json::check(data).is_ok() && data.starts_with(b"{");
        said.is_json &= json::check(data).is_ok();
        if !is_object {
            return;
        }
        let event = weir::wire::sse::Event { data, ..event };
        for text in event::parse(surface, &event).texts {
            said.has_arguments |= text.is_json;
            match text.way {
                Way::More => said.texts.entry(text.key).or_default().extend(text.span.of(data)),
                Way::Start(_) | Way::SoFar => again.push(text.key),
            }
        }
    };
    decoder.feed(stream, &mut read);
    decoder.finish(&mut read);
    said.texts.retain(|key, text| !again.contains(key) && !text.is_empty());
    said
}
