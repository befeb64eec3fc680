//! Any bytes as an answer and as a stream: nothing panics, counts stay within their bounds, and
//! metering does not depend on how the stream was cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::base::money::{NanoUsd, PicoUsdPerToken};
use weir::base::surface::{Dialect, Surface};
use weir::usage::answer::read_answer;
use weir::usage::count::{Report, Usage};
use weir::usage::meter::{EventFact, Meter, MeterOutcome};
use weir::usage::price::{Price, QuotedRates};

const SURFACES: [Surface; 6] = [
    Surface::Chat,
    Surface::Completions,
    Surface::Embeddings,
    Surface::Responses,
    Surface::Messages,
    Surface::Other(Dialect::OpenAi),
];

fuzz_target!(|input: (u8, Vec<u8>, &[u8])| {
    let (surface, cuts, body) = input;
    let surface = SURFACES[usize::from(surface) % SURFACES.len()];
    if let Some(report) = Report::read(body) {
        check(&report.usage);
    }
    let facts = read_answer(surface, body);
    facts.usage.iter().for_each(check);
    if let Some(brace) = facts.closing_brace {
        assert_eq!(body[brace], b'}');
        assert!(body[brace + 1..].iter().all(u8::is_ascii_whitespace));
    }
    let (whole, outcome) = meter(surface, body, &[]);
    let (cut, again) = meter(surface, body, &cuts);
    assert_eq!(whole, cut);
    assert_eq!(format!("{outcome:?}"), format!("{again:?}"));
    outcome.usage.iter().for_each(check);
    // The same as one event, so that the reader of chunks is reached at once.
    let line: Vec<u8> = body.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
    let event = [b"data: ", &line[..], b"\n\n"].concat();
    let (facts, _) = meter(surface, &[&event[..], &event, &event].concat(), &cuts);
    assert_eq!(facts.len(), 3);
});

fn check(usage: &Usage) {
    assert!(usage.total() < 1 << 40);
    assert!(usage.reasoning <= usage.output);
    assert!(usage.provider_cost.is_none_or(|cost| cost >= NanoUsd::ZERO));
    let rate = PicoUsdPerToken(1_000_000);
    let rates = QuotedRates { input: rate, output: rate, ..QuotedRates::default() }.rates();
    let charge = Price { base: rates, ..Price::default() }.charge(usage);
    assert!(charge.table_cost >= NanoUsd::ZERO);
}

fn meter(surface: Surface, stream: &[u8], cuts: &[u8]) -> (Vec<EventFact>, MeterOutcome) {
    let (mut meter, mut facts) = (Meter::new(surface), Vec::new());
    let mut rest = stream;
    for cut in cuts {
        let (chunk, later) = rest.split_at(rest.len().min(usize::from(*cut)));
        meter.feed(chunk, |fact| facts.push(fact));
        rest = later;
    }
    meter.feed(rest, |fact| facts.push(fact));
    let outcome = meter.finish(|fact| facts.push(fact));
    (facts, outcome)
}
