//! Any bytes as an event stream, cut anywhere: the cuts change nothing, events lie in order inside
//! the stream, and what an event says does not depend on what surrounds it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::wire::sse::{Decoder, Event, write_event};

/// An event of our own: name, data, start, end, and the three flags.
type Found = (Option<Vec<u8>>, Vec<u8>, u64, u64, [bool; 3]);

fuzz_target!(|input: (u8, Vec<u8>, Vec<u8>)| {
    let (limit, cuts, stream) = input;
    let limit = if limit == 0 { usize::MAX } else { usize::from(limit) };
    let whole = decode(limit, &stream, &[]);
    assert_eq!(decode(limit, &stream, &cuts), whole);
    let mut reached = 0;
    for (_, _, start, end, _) in &whole {
        assert!(reached <= *start && start < end && *end <= stream.len() as u64);
        reached = *end;
    }
    for (name, data, start, end, [has_data, oversized, terminated]) in whole {
        if oversized || !terminated {
            continue;
        }
        // Alone, and with a mark before it that cannot be mistaken for its own start.
        let block = &stream[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
        let alone = decode(limit, &[b"\xEF\xBB\xBF", block].concat(), &[]);
        assert_eq!((alone.len(), &alone[0].0, &alone[0].1), (1, &name, &data));
        if has_data {
            rewritten(name.as_deref(), &data);
        }
    }
});

/// An event written by our encoder reads the same.
fn rewritten(name: Option<&[u8]>, data: &[u8]) {
    let Some(name) = name.map(std::str::from_utf8).transpose().ok() else {
        return;
    };
    let mut out = Vec::new();
    write_event(&mut out, name, data);
    let again = decode(usize::MAX, &out, &[]);
    assert_eq!((again[0].0.as_deref(), &again[0].1[..]), (name.map(str::as_bytes), data));
}

/// Feeds `stream` in chunks of the lengths in `cuts`, then the rest.
fn decode(limit: usize, stream: &[u8], cuts: &[u8]) -> Vec<Found> {
    let mut decoder = Decoder::with_event_bytes_max(limit);
    let mut found = Vec::new();
    let mut rest = stream;
    for cut in cuts {
        let (chunk, later) = rest.split_at(rest.len().min(usize::from(*cut)));
        decoder.feed(chunk, |event| found.push(own(&event)));
        assert!(decoder.open_start() <= decoder.offset());
        rest = later;
    }
    decoder.feed(rest, |event| found.push(own(&event)));
    decoder.finish(|event| found.push(own(&event)));
    found
}

fn own(event: &Event<'_>) -> Found {
    let flags = [event.has_data, event.oversized, event.terminated];
    let name = event.name.map(<[u8]>::to_vec);
    (name, event.data.to_vec(), event.range.start, event.range.end, flags)
}
