//! Server-sent events: an incremental decoder that says where each event lies in the byte stream,
//! and a small encoder.
//!
//! The relay forwards upstream bytes untouched and only reads along, so the decoder reports offsets
//! instead of rewriting anything. It knows nothing of JSON or of providers, and it keeps no `id` and
//! no `retry` state, because nothing here reconnects. Input rules: `wire.md` section 8.
//!
//! Hot path: `benches/sse.rs`. An event that lies inside one chunk is never copied.

use std::ops::Range;

use memchr::{memchr, memchr2};

use crate::base::limit::SSE_EVENT_BYTES_MAX;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Buffers that a large event has blown up beyond this are given back, since thousands of streams
/// are open at a time and most never need a buffer at all.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// One block of the stream: a comment line, or an event with its blank line.
#[derive(Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The value of the last `event:` line, unless empty.
    pub name: Option<&'a [u8]>,
    /// The values of all `data:` lines, joined by line feeds.
    pub data: &'a [u8],
    /// Whether there was a `data:` line. Without one the block is a comment or bare `id:`, `retry:`
    /// or `event:` lines: a sign of life that a client does not dispatch.
    pub has_data: bool,
    /// Where the block lies, in bytes since the start of the stream, its blank line included.
    /// Blank lines between blocks, and a byte order mark, belong to no block.
    pub range: Range<u64>,
    /// The block was larger than the limit and has not been read: `name` and `data` are empty.
    pub oversized: bool,
    /// False for a block that the stream's end has cut short. Clients discard such an event.
    pub terminated: bool,
}

/// Splits a byte stream into events, fed with chunks cut anywhere.
#[derive(Debug)]
pub struct Decoder {
    /// Bytes fed so far.
    offset: u64,
    /// How many bytes of a byte order mark the stream began with; `None` while that is open.
    bom_len: Option<usize>,
    /// While `bom_len` is open: how many bytes of the mark have come.
    bom_matched: usize,
    /// The block that the last chunk left unfinished.
    open: Option<Open>,
    /// Its bytes so far.
    held: Vec<u8>,
    /// Data of an event with several data lines.
    joined: Vec<u8>,
    event_bytes_max: usize,
}

/// An unfinished block.
#[derive(Clone, Copy, Debug)]
struct Open {
    start: u64,
    line: Line,
    /// A comment ends with its line, an event with a blank line.
    comment: bool,
    oversized: bool,
}

/// How far the line has come that the last chunk left unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// No byte of it yet.
    Empty,
    /// Some bytes, no line end.
    Filled,
    /// The last byte was a CR: whether a LF belongs to this line end shows only in the next chunk.
    CarriageReturn { blank: bool },
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the start of a stream. Allocates nothing until an event spans chunks.
    pub const fn new() -> Self {
        Self::with_event_bytes_max(SSE_EVENT_BYTES_MAX)
    }

    /// The same with another limit, so that tests need no megabytes to reach it.
    pub const fn with_event_bytes_max(event_bytes_max: usize) -> Self {
        Self {
            offset: 0,
            bom_len: None,
            bom_matched: 0,
            open: None,
            held: Vec::new(),
            joined: Vec::new(),
            event_bytes_max,
        }
    }

    /// Bytes fed so far.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the block starts that is not finished yet; [`Self::offset`] if none is. Whoever may
    /// have to cut an event out of the stream holds back the bytes from here on.
    pub fn open_start(&self) -> u64 {
        match (&self.open, self.bom_len) {
            (Some(open), _) => open.start,
            (None, None) => 0,
            (None, Some(_)) => self.offset,
        }
    }

    /// Bytes of the byte order mark that the stream began with: 3 or 0. They are never part of an
    /// event, and clients stumble over them.
    pub fn bom_len(&self) -> u64 {
        self.bom_len.unwrap_or(0) as u64
    }

    /// Reads the next bytes of the stream and calls `on_event` for each block that they complete.
    pub fn feed(&mut self, chunk: &[u8], mut on_event: impl FnMut(Event<'_>)) {
        if chunk.is_empty() {
            return;
        }
        let mut at = if self.bom_len.is_none() { self.skip_bom(chunk) } else { 0 };
        if let Some(open) = self.open {
            match self.resume(open, &chunk[at..], &mut on_event) {
                Some(used) => at += used,
                None => at = chunk.len(),
            }
        }
        while at < chunk.len() {
            if is_line_end(chunk[at]) {
                at += 1;
                continue;
            }
            at += self.block(&chunk[at..], self.offset + at as u64, &mut on_event);
        }
        self.offset += chunk.len() as u64;
    }

    /// The stream is over: calls `on_event` for an event that lacks its blank line.
    pub fn finish(&mut self, mut on_event: impl FnMut(Event<'_>)) {
        let Some(open) = self.open.take() else {
            return;
        };
        let terminated = match open.line {
            Line::CarriageReturn { blank } => blank || open.comment,
            Line::Empty | Line::Filled => false,
        };
        let range = open.start..self.offset;
        if open.oversized {
            on_event(Event { terminated, ..oversized(range) });
        } else if let Ok((_, fields)) = read_block(&self.held, &mut self.joined, Extent::Whole) {
            on_event(Event { terminated, ..fields.into_event(range, &self.joined) });
        }
        self.held.clear();
    }

    /// Passes over a byte order mark at the start of the stream; returns how many bytes of the
    /// chunk that took.
    fn skip_bom(&mut self, chunk: &[u8]) -> usize {
        for (at, &byte) in chunk.iter().enumerate() {
            if byte != BOM[self.bom_matched] {
                self.bom_len = Some(0);
                self.keep_false_bom(self.bom_matched - at);
                return 0;
            }
            self.bom_matched += 1;
            if self.bom_matched == BOM.len() {
                self.bom_len = Some(BOM.len());
                return at + 1;
            }
        }
        chunk.len()
    }

    /// What earlier chunks brought looked like a mark but was the start of a block.
    fn keep_false_bom(&mut self, earlier: usize) {
        if earlier > 0 {
            self.held.extend_from_slice(&BOM[..earlier]);
            let line = Line::Filled;
            self.open = Some(Open { start: 0, line, comment: false, oversized: false });
        }
    }

    /// Reads one block at the start of `text`; returns how many bytes that took.
    fn block(&mut self, text: &[u8], start: u64, on_event: &mut impl FnMut(Event<'_>)) -> usize {
        match read_block(text, &mut self.joined, Extent::Prefix) {
            Ok((used, fields)) => {
                let range = start..start + used as u64;
                if used > self.event_bytes_max {
                    on_event(oversized(range));
                } else {
                    on_event(fields.into_event(range, &self.joined));
                }
                shrink(&mut self.joined);
                used
            }
            Err(line_start) => {
                let line = unfinished_line(text, line_start);
                let oversized = text.len() > self.event_bytes_max;
                self.open = Some(Open { start, line, comment: text[0] == b':', oversized });
                if !oversized {
                    self.held.extend_from_slice(text);
                }
                text.len()
            }
        }
    }

    /// Looks for the end of the open block; returns how many bytes of `text` belonged to it, or
    /// `None` if all of them do and it is still open.
    fn resume(
        &mut self,
        mut open: Open,
        text: &[u8],
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Option<usize> {
        let end = block_end(text, &mut open);
        let more = &text[..end.unwrap_or(text.len())];
        // `offset` still is the start of this chunk, and an open block reaches up to it.
        let len = self.offset - open.start + more.len() as u64;
        if open.oversized || len > self.event_bytes_max as u64 {
            open.oversized = true;
            self.held.clear();
        } else {
            self.held.extend_from_slice(more);
        }
        self.open = end.is_none().then_some(open);
        let used = end?;
        let range = open.start..open.start + len;
        if open.oversized {
            on_event(oversized(range));
        } else if let Ok((_, fields)) = read_block(&self.held, &mut self.joined, Extent::Whole) {
            on_event(fields.into_event(range, &self.joined));
        }
        self.held.clear();
        shrink(&mut self.held);
        shrink(&mut self.joined);
        Some(used)
    }
}

/// Appends an event: an `event:` line if it has a name, one `data:` line per line of `data`, and
/// the blank line.
pub fn write_event(out: &mut Vec<u8>, name: Option<&str>, data: &[u8]) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        // A line end inside the name would start a field of its own.
        out.extend(name.bytes().take_while(|&byte| !is_line_end(byte)));
        out.push(b'\n');
    }
    write_lines(out, b"data: ", data);
    out.push(b'\n');
}

/// Appends a comment, one comment line per line of `text`, and a blank line.
pub fn write_comment(out: &mut Vec<u8>, text: &str) {
    write_lines(out, b": ", text.as_bytes());
    out.push(b'\n');
}

fn write_lines(out: &mut Vec<u8>, prefix: &[u8], text: &[u8]) {
    let mut at = 0;
    loop {
        let line = next_line(text, at, Extent::Whole);
        let (end, next) = line.unwrap_or((text.len(), text.len()));
        out.extend_from_slice(prefix);
        out.extend_from_slice(&text[at..end]);
        out.push(b'\n');
        // A line end at the very end is followed by one more, empty line.
        if end == next {
            return;
        }
        at = next;
    }
}

/// The fields of a block.
#[derive(Clone, Copy)]
struct Fields<'a> {
    name: &'a [u8],
    data: Lines<'a>,
}

/// The data lines of a block so far. Most have one, which is then never copied.
#[derive(Clone, Copy)]
enum Lines<'a> {
    None,
    One(&'a [u8]),
    Joined,
}

impl<'a> Fields<'a> {
    /// Takes in one line.
    fn line(&mut self, line: &'a [u8], joined: &mut Vec<u8>) {
        // The two shapes that make up nearly all lines, before the general one.
        if let Some(value) = line.strip_prefix(b"data:") {
            self.data_line(value.strip_prefix(b" ").unwrap_or(value), joined);
            return;
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.name = value,
            b"data" => self.data_line(value, joined),
            _ => {}
        }
    }

    fn data_line(&mut self, value: &'a [u8], joined: &mut Vec<u8>) {
        if let Lines::None = self.data {
            self.data = Lines::One(value);
            return;
        }
        if let Lines::One(first) = self.data {
            joined.clear();
            joined.extend_from_slice(first);
            self.data = Lines::Joined;
        }
        joined.push(b'\n');
        joined.extend_from_slice(value);
    }

    fn into_event(self, range: Range<u64>, joined: &'a [u8]) -> Event<'a> {
        let (data, has_data) = match self.data {
            Lines::None => (&joined[..0], false),
            Lines::One(data) => (data, true),
            Lines::Joined => (joined, true),
        };
        let name = (!self.name.is_empty()).then_some(self.name);
        Event { name, data, has_data, range, oversized: false, terminated: true }
    }
}

fn oversized(range: Range<u64>) -> Event<'static> {
    // What it was cannot be known, so it counts as an event.
    Event { name: None, data: b"", has_data: true, range, oversized: true, terminated: true }
}

/// Whether more bytes may follow a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// The text may go on: an unfinished line is not a line yet.
    Prefix,
    /// The text is all there is: it also ends its last line.
    Whole,
}

/// Reads the block at the start of `text`: how many bytes it takes, and its fields. An error is the
/// offset of the line that is not finished.
fn read_block<'a>(
    text: &'a [u8],
    joined: &mut Vec<u8>,
    extent: Extent,
) -> Result<(usize, Fields<'a>), usize> {
    let mut fields = Fields { name: b"", data: Lines::None };
    let comment = text.first() == Some(&b':');
    let mut at = 0;
    loop {
        if extent == Extent::Whole && at == text.len() {
            return Ok((at, fields));
        }
        let (end, next) = next_line(text, at, extent).ok_or(at)?;
        if end == at || comment {
            return Ok((next, fields));
        }
        fields.line(&text[at..end], joined);
        at = next;
    }
}

/// Where the line ends that starts at `at`, and where the next one starts.
fn next_line(text: &[u8], at: usize, extent: Extent) -> Option<(usize, usize)> {
    // Every other line is the blank one, which needs no search.
    if text.get(at) == Some(&b'\n') {
        return Some((at, at + 1));
    }
    let Some(len) = memchr2(b'\n', b'\r', &text[at..]) else {
        return (extent == Extent::Whole).then_some((text.len(), text.len()));
    };
    let end = at + len;
    if text[end] == b'\n' {
        return Some((end, end + 1));
    }
    match text.get(end + 1) {
        Some(b'\n') => Some((end, end + 2)),
        None if extent == Extent::Prefix => None,
        _ => Some((end, end + 1)),
    }
}

/// The state of the line that starts at `line_start` and that `text` does not finish.
fn unfinished_line(text: &[u8], line_start: usize) -> Line {
    let line = &text[line_start..];
    match line.last() {
        None => Line::Empty,
        Some(b'\r') => Line::CarriageReturn { blank: line.len() == 1 },
        Some(_) => Line::Filled,
    }
}

/// How many bytes of `text` belong to the open block, if it ends there; else moves `open.line` on.
fn block_end(text: &[u8], open: &mut Open) -> Option<usize> {
    let mut at = 0;
    if let Line::CarriageReturn { blank } = open.line {
        let first = *text.first()?;
        at = usize::from(first == b'\n');
        if blank || open.comment {
            return Some(at);
        }
        open.line = Line::Empty;
    }
    let mut line_is_empty = open.line == Line::Empty;
    while let Some((end, next)) = next_line(text, at, Extent::Prefix) {
        if open.comment || (line_is_empty && end == at) {
            return Some(next);
        }
        line_is_empty = true;
        at = next;
    }
    if at < text.len() || line_is_empty {
        open.line = match unfinished_line(text, at) {
            Line::CarriageReturn { blank } => {
                Line::CarriageReturn { blank: blank && line_is_empty }
            }
            line => line,
        };
    }
    None
}

const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn shrink(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_BYTES_MAX {
        *buffer = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An event of our own.
    type Found = (Option<String>, String, bool, Range<u64>, bool, bool);

    fn own(event: &Event<'_>) -> Found {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            event.name.map(text),
            text(event.data),
            event.has_data,
            event.range.clone(),
            event.oversized,
            event.terminated,
        )
    }

    /// Decodes `stream` cut at the given places.
    fn decode(mut decoder: Decoder, stream: &[u8], cuts: &[usize]) -> Vec<Found> {
        let mut found = Vec::new();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        for pair in cuts.windows(2) {
            assert!(decoder.open_start() <= decoder.offset());
            decoder.feed(&stream[pair[0]..pair[1]], |event| found.push(own(&event)));
        }
        decoder.finish(|event| found.push(own(&event)));
        found
    }

    fn whole(stream: &[u8]) -> Vec<Found> {
        decode(Decoder::new(), stream, &[])
    }

    /// What the specification says, word by word and byte by byte.
    fn by_the_book(stream: &[u8]) -> Vec<(Option<String>, String)> {
        let text = String::from_utf8_lossy(stream.strip_prefix(BOM).unwrap_or(stream));
        let unified = text.replace("\r\n", "\n").replace('\r', "\n");
        let mut lines: Vec<&str> = unified.split('\n').collect();
        lines.pop();
        let (mut events, mut name, mut data) = (Vec::new(), String::new(), String::new());
        for line in lines {
            if line.is_empty() {
                if data.pop().is_some() {
                    events.push(((!name.is_empty()).then(|| name.clone()), data.clone()));
                }
                name.clear();
                data.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut name),
                "data" => data.extend([value, "\n"]),
                _ => {}
            }
        }
        events
    }

    fn dispatched(found: &[Found]) -> Vec<(Option<String>, String)> {
        let live = found.iter().filter(|event| event.2 && event.5);
        live.map(|event| (event.0.clone(), event.1.clone())).collect()
    }

    #[test]
    fn events_come_with_their_place() {
        let stream = b"\xEF\xBB\xBF: hello\n\nevent: a\ndata: 1\n\n\ndata:2\r\n\r\ndata: x";
        let found = whole(stream);
        let places: Vec<_> =
            found.iter().map(|event| (event.1.as_str(), event.3.clone())).collect();
        assert_eq!(places, [("", 3..11), ("1", 12..30), ("2", 31..41), ("x", 41..48)]);
        assert_eq!(found[0].0, None);
        assert_eq!(found[1].0.as_deref(), Some("a"));
        assert!(found[2].5 && !found[3].5);
    }

    #[test]
    fn odd_lines_are_read_as_specified() {
        let found =
            whole(b"data\n\ndata:  a\ndata\ndata:b\nid: 7\n: c\n\nretry: 1\n\nevent: e\n\n");
        let read: Vec<_> = found.iter().map(|event| (event.1.as_str(), event.2)).collect();
        assert_eq!(read, [("", true), (" a\n\nb", true), ("", false), ("", false)]);
    }

    #[test]
    fn what_is_open_is_held_back_from_its_start() {
        let mut decoder = Decoder::new();
        decoder.feed(b"data: 1\n\n: c\n", |_| {});
        assert_eq!((decoder.open_start(), decoder.offset()), (13, 13));
        decoder.feed(b"data: 2\r\n\r", |_| panic!("a line feed may follow"));
        assert_eq!((decoder.open_start(), decoder.offset()), (13, 23));
        let mut ranges = Vec::new();
        decoder.feed(b"\n\n", |event| ranges.push(event.range));
        assert_eq!(ranges.pop(), Some(13..24));
        assert_eq!((decoder.open_start(), decoder.offset()), (25, 25));
    }

    #[test]
    fn an_event_beyond_the_limit_is_passed_over() {
        for cuts in [&[][..], &[1, 2, 9, 30], &[40, 41]] {
            let stream = b"data: 0123456789012345678901234567890123456789\n\ndata: 1\n\n";
            let found = decode(Decoder::with_event_bytes_max(20), stream, cuts);
            assert_eq!(found.len(), 2, "{cuts:?}");
            assert!(found[0].4 && found[0].3 == (0..48), "{cuts:?}");
            assert_eq!((found[1].1.as_str(), found[1].4), ("1", false));
        }
    }

    #[test]
    fn no_buffer_stays_large() {
        let mut decoder = Decoder::new();
        decoder.feed(b"data: ", |_| {});
        decoder.feed(&vec![b'x'; 1 << 20], |_| {});
        decoder.feed(b"\n\n", |event| assert_eq!(event.data.len(), 1 << 20));
        assert!(decoder.held.capacity() <= KEPT_BYTES_MAX);
    }

    /// Bytes that make streams with all the oddities likely.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => Just("\n"), 2 => Just("\r\n"), 1 => Just("\r"), 3 => Just("data: "),
            1 => Just("data"), 1 => Just("data:"), 1 => Just("event: e"), 1 => Just(": c"),
            1 => Just("id: 1"), 1 => Just(":"), 1 => Just(" "), 2 => Just("x"),
            1 => Just("\u{FEFF}"), 1 => Just("鷺"), 2 => Just("\n\n"), 1 => Just("data: {}\n\n"),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn decoding_follows_the_book(stream in stream()) {
            prop_assert_eq!(dispatched(&whole(&stream)), by_the_book(&stream));
        }

        #[test]
        fn chunking_changes_nothing(
            stream in stream(),
            cuts in proptest::collection::vec(any::<usize>(), 0..12),
            event_bytes_max in prop_oneof![Just(usize::MAX), 1_usize..40],
        ) {
            let decoder = || Decoder::with_event_bytes_max(event_bytes_max);
            let reference = decode(decoder(), &stream, &[]);
            prop_assert_eq!(&decode(decoder(), &stream, &cuts), &reference);
            let every_byte: Vec<usize> = (0..stream.len()).collect();
            prop_assert_eq!(&decode(decoder(), &stream, &every_byte), &reference);
        }

        #[test]
        fn cutting_an_event_out_leaves_the_others(stream in stream(), pick in any::<usize>()) {
            // With a mark in front, no cut can move a second one to the start.
            let stream = [BOM, &stream].concat();
            let mut found = whole(&stream);
            let places: Vec<_> = found.iter().map(|event| event.3.clone()).collect();
            prop_assert!(places.windows(2).all(|pair| pair[0].end <= pair[1].start));
            if !found.is_empty() {
                let gone = found.remove(pick % found.len()).3;
                let mut rest = stream.clone();
                rest.drain(usize::try_from(gone.start).unwrap()..usize::try_from(gone.end).unwrap());
                prop_assert_eq!(dispatched(&whole(&rest)), dispatched(&found));
            }
        }

        #[test]
        fn what_is_written_is_read(name in "[a-z.\n]{0,9}", data in "[a-z \r\n:]{0,20}") {
            let mut out = Vec::new();
            write_comment(&mut out, &data);
            write_event(&mut out, Some(&name), data.as_bytes());
            let found = dispatched(&whole(&out));
            let name = name.split('\n').next().filter(|name| !name.is_empty());
            let data = data.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(found, [(name.map(str::to_owned), data)]);
        }
    }
}
