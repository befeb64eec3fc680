//! Any bytes as request, answer, error and stream of every dialect: nothing panics, what comes out is JSON,
//! and a translated stream does not depend on how it was cut.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use weir::base::surface::Surface;
use weir::dialect::canonical::style::{Memory, Style, Target};
use weir::dialect::translate::Passage;
use weir::wire::{envelope, json};

const SURFACES: [Surface; 3] = [Surface::Chat, Surface::Messages, Surface::Responses];

fuzz_target!(|input: (u8, u8, Vec<u8>, &[u8])| {
    let (from, to, cuts, body) = input;
    let from = SURFACES[usize::from(from) % SURFACES.len()];
    let to = SURFACES[usize::from(to) % SURFACES.len()];
    let Some(passage) = Passage::between(from, to) else { return };
    let target = Target {
        output_cap_field: "max_tokens",
        output_cap_default: 1000,
        keeps_cache_marks: cuts.first().is_some_and(|cut| cut % 2 == 1),
        ask_usage: true,
    };
    // Bodies come checked; what is no request at all does not get this far.
    if envelope::scan(body).is_ok() {
        for strict in [false, true] {
            if let Ok(translated) = passage.request(body, &target, strict) {
                envelope::scan(&translated.body).expect("a request");
                assert!(!strict || translated.dropped.is_empty());
            }
        }
    }
    if let Some(answer) = passage.answer(body, &style()) {
        json::check(&answer).expect("an answer");
    }
    let (status, failure) = passage.failure(500, body);
    assert!((400..600).contains(&status));
    json::check(&failure).expect("an error");
    let whole = streamed(passage, body, &[]);
    assert_eq!(whole, streamed(passage, body, &cuts));
    // The same as one event, so that the readers of events are reached at once.
    let line: Vec<u8> = body.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
    let event = [b"event: message_start\ndata: ", &line[..], b"\n\n"].concat();
    streamed(passage, &[&event[..], &event].concat(), &cuts);
});

fn style() -> Style {
    Style {
        request_id: "0".to_owned(),
        created: 1,
        model: "m".to_owned(),
        stream_usage: true,
        memory: Arc::new(Memory::default()),
    }
}

fn streamed(passage: Passage, stream: &[u8], cuts: &[u8]) -> Vec<u8> {
    let (mut translator, mut out) = (passage.stream(style()), Vec::new());
    let mut rest = stream;
    for cut in cuts {
        let (chunk, later) = rest.split_at(rest.len().min(usize::from(*cut)));
        translator.feed(chunk, &mut out);
        rest = later;
    }
    translator.feed(rest, &mut out);
    translator.finish(&mut out);
    for event in out.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: ")) {
        assert!(event == b"[DONE]" || json::check(event).is_ok());
    }
    out
}
