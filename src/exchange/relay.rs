//! One upstream answer on its way to the client: judged, metered, completed.
//!
//! Hot path: `benches/exchange.rs`, per answer and per stream chunk.
//!
//! Bytes of a same-dialect stream pass untouched but for four things: a notice before the first
//! event, the usage chunk that the client did not ask for, our own object in one that it did ask for,
//! and an error event where the upstream broke off. Whole chunks pass as the very buffers they came in. It holds bytes back only until the
//! first event is seen (so that another candidate can still be tried) and until an event is complete.
//! It knows nothing of sockets; times are parameters.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memmem, memrchr2};

use crate::base::fault::{Code, Fault};
use crate::base::limit::{
    ANSWER_BYTES_MAX, ERROR_BODY_BYTES_MAX, FIRST_EVENT_HOLD_MS, HOLD_BYTES_MAX, TAIL_BYTES_MAX,
};
use crate::base::surface::Surface;
use crate::dialect::error_body;
use crate::dialect::translate::Stream;
use crate::exchange::sequence::Sequence;
use crate::usage::answer::{AnswerFacts, read_answer};
use crate::usage::count::Report;
use crate::usage::meter::{EventFact, EventKind, Meter, MeterOutcome, StreamEnd};
use crate::usage::walk::Walk;

/// What the client gets of a piece of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet: the gate stays shut.
    Hold,
    /// The gate opens with these bytes. A length is given when they are the whole body.
    Open {
        /// The first bytes.
        bytes: Bytes,
        /// The length of the whole body, where it is known.
        content_length: Option<usize>,
    },
    /// These bytes, behind an open gate; may be empty.
    Pass(Bytes),
    /// A JSON document is complete. Nothing of it but blank lines has been shown; its reader decides
    /// what becomes of it.
    Whole(Bytes),
    /// These bytes are the last: they end the answer well, and nothing of the provider follows.
    Cut(Bytes),
    /// The answer must not be shown, and nothing of it has been: the client gets this refusal.
    Refuse(Fault),
    /// The answer is a failure after all, and nothing of it has been shown: try the next candidate.
    Retry,
}

/// What an answer is made of, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Server-sent events.
    Stream,
    /// One JSON document.
    Json,
    /// A JSON document too large to be read.
    Unread,
    /// Anything else, and every error that is passed on: neither read nor changed.
    Opaque,
    /// The body of a failed attempt, collected in case that all candidates fail.
    Failed,
}

/// What the relay of one answer is to do.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one answer")]
pub struct Orders {
    /// What the client speaks.
    pub surface: Surface,
    /// What the provider speaks.
    pub heard: Surface,
    /// What brings a stream from the one to the other, where they differ.
    pub translator: Option<Box<Stream>>,
    /// What comes.
    pub kind: Kind,
    /// Whether another candidate is left.
    pub may_retry: bool,
    /// Cut the usage chunk out of the stream: we asked for it, the client did not.
    pub strip_usage: bool,
    /// Find the place in the usage chunk where our own object belongs: the client asked for the chunk.
    pub mark_usage: bool,
    /// Whoever asks reads the answer as a whole: nothing is shown before that, blank lines least of all.
    pub whole: bool,
    /// Bytes to put before the first event of a stream: the notice, or nothing.
    pub prefix: Vec<u8>,
    /// When the answer's header arrived, in milliseconds of any monotonic clock.
    pub header_at_ms: u64,
}

/// One answer in flight.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one answer")]
pub struct Relay {
    orders: Orders,
    /// Streams only.
    meter: Option<Box<Meter>>,
    facts: Vec<EventFact>,
    /// Bytes not passed on yet: a whole document, or the beginning of a stream event.
    held: BytesMut,
    /// Offset in the stream of the first byte of `held`.
    held_at: u64,
    /// Offset behind the last whole event.
    whole_until: u64,
    open: bool,
    /// The whole body of a failed attempt is held.
    failure_is_whole: bool,
    /// What the meter said at the end of the stream.
    outcome: Option<MeterOutcome>,
    first_event_seen: bool,
    /// Its first event was an error.
    failed_by_error: bool,
    /// Bytes that have come.
    bytes_seen: u64,
    /// The walk over a document that is too large to be held.
    walk: Option<Box<Walk>>,
    /// Where the usage chunk ends in the bytes that were just given out: the offset of its last brace.
    usage_mark: Option<usize>,
    /// Where the numbers of a response's events stand.
    sequence: Sequence,
}

impl Relay {
    /// The relay of an answer whose header has just been read.
    pub fn new(orders: Orders) -> Self {
        Self {
            meter: (orders.kind == Kind::Stream).then(|| Box::new(Meter::new(orders.heard))),
            facts: Vec::new(),
            held: BytesMut::new(),
            held_at: 0,
            whole_until: 0,
            open: false,
            failure_is_whole: false,
            outcome: None,
            first_event_seen: false,
            failed_by_error: false,
            bytes_seen: 0,
            walk: None,
            usage_mark: None,
            sequence: Sequence::default(),
            orders,
        }
    }

    /// What the answer is made of.
    pub const fn kind(&self) -> Kind {
        self.orders.kind
    }

    /// Whether anything may have gone to the client.
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// Whether what is held may be returned as the answer of a failed attempt: part of an answer is
    /// none. An error event is the last that a stream says.
    pub const fn is_returnable(&self) -> bool {
        match self.orders.kind {
            Kind::Failed => self.failure_is_whole,
            Kind::Stream => self.failed_by_error,
            Kind::Unread => false,
            Kind::Json | Kind::Opaque => true,
        }
    }

    /// Whether the stream began with an error.
    pub const fn is_error(&self) -> bool {
        self.failed_by_error
    }

    /// Bytes of the answer that have come so far.
    pub const fn bytes_seen(&self) -> u64 {
        self.bytes_seen
    }

    /// The offset of the last brace of a usage chunk in the bytes that `feed` has just given out, and what
    /// the stream has reported by then; at most once for each of them.
    pub fn take_usage_mark(&mut self) -> Option<(usize, Report)> {
        let at = self.usage_mark.take()?;
        let told = self.outcome.as_ref().map(MeterOutcome::report);
        let report = told.unwrap_or_else(|| self.meter.as_ref().and_then(|meter| meter.report()));
        Some((at, report?))
    }

    /// How the stream ended for the client; `None` while it runs and for anything but streams. What is
    /// whole where it comes from may be more than the client's dialect can tell.
    pub fn stream_end(&self) -> Option<StreamEnd> {
        let has_failed = self.orders.translator.as_ref().is_some_and(|stream| stream.has_failed());
        let told = |outcome: &MeterOutcome| {
            if has_failed { StreamEnd::ErrorEvent } else { outcome.end }
        };
        self.outcome.as_ref().map(told)
    }

    /// What the stream said about itself, also when it never came to its end.
    pub fn into_outcome(mut self) -> Option<MeterOutcome> {
        self.outcome.or_else(|| self.meter.as_mut().map(|meter| meter.finish(|_| {})))
    }

    /// What a stream that is given up has said about itself by now; `None` for anything but streams.
    pub fn told(&mut self) -> Option<MeterOutcome> {
        if self.outcome.is_none() {
            self.outcome = self.meter.as_mut().map(|meter| meter.finish(|_| {}));
        }
        self.outcome.clone()
    }

    /// Notes that the answer is shown from its header on.
    pub fn mark_open(&mut self) {
        self.open = true;
    }

    /// Notes that nothing is shown after all, although it was about to be.
    pub fn mark_shut(&mut self) {
        self.open = false;
    }

    /// Takes the next piece of the answer; `end` when it is the last one.
    pub fn feed(&mut self, chunk: Bytes, end: bool, now_ms: u64) -> Step {
        self.bytes_seen += chunk.len() as u64;
        match self.orders.kind {
            Kind::Stream => self.feed_stream(chunk, end, now_ms),
            Kind::Json => self.feed_json(&chunk, end, now_ms),
            Kind::Unread => self.feed_unread(chunk),
            Kind::Opaque => self.pass(chunk),
            Kind::Failed => self.collect_failure(&chunk, end),
        }
    }

    /// The bytes that end a stream which the upstream broke off, and nothing for other answers.
    pub fn break_off(&mut self, fault: &Fault) -> Bytes {
        let Some(meter) = self.meter.as_mut().filter(|_| self.outcome.is_none()) else {
            return Bytes::new();
        };
        self.outcome = Some(meter.finish(|_| {}));
        let mut whole = self.stream_end() != Some(StreamEnd::Cut);
        let mut out = Vec::new();
        if let Some(translator) = &mut self.orders.translator {
            translator.finish(&mut out);
            whole = translator.is_over();
        }
        // What is held is a piece of an event: no client can read it.
        self.held.clear();
        // A provider that said all and then dropped the connection has done its work.
        if !whole {
            out.extend_from_slice(&self.error_event(fault));
        }
        Bytes::from(out)
    }

    /// Whether the stream stopped without its prescribed end. Streams of other paths than the known
    /// ones have their own ends, or none: nothing can be said of them.
    fn is_cut(&self) -> bool {
        self.stream_end() == Some(StreamEnd::Cut) && !matches!(self.orders.heard, Surface::Other(_))
    }

    /// The event that says that the stream is not whole, behind whatever is on the wire.
    fn error_event(&self, fault: &Fault) -> Bytes {
        let translator = self.orders.translator.as_ref();
        let number = translator.map_or(self.sequence.next(), |stream| stream.next_number());
        let event = error_body::stream_event(self.orders.surface, fault, number);
        if self.has_open_event() {
            // On the line of that event it would be lost with it.
            return Bytes::from([&b"\n\n"[..], &event].concat());
        }
        Bytes::from(event)
    }

    /// Whether the client has a piece of an event that was too large to be held back.
    const fn has_open_event(&self) -> bool {
        self.orders.translator.is_none() && self.held_at > self.whole_until
    }

    /// What has been held back, for an answer that is given up.
    pub fn take_held(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    /// The same as the client reads it.
    pub fn take_held_for_client(&mut self) -> Bytes {
        if self.orders.translator.is_some() {
            return self.translated(&[], false);
        }
        self.take_held()
    }

    fn pass(&mut self, bytes: Bytes) -> Step {
        if self.open {
            return Step::Pass(bytes);
        }
        self.open = true;
        Step::Open { bytes, content_length: None }
    }

    fn collect_failure(&mut self, chunk: &Bytes, end: bool) -> Step {
        if self.held.len() + chunk.len() > ERROR_BODY_BYTES_MAX {
            return Step::Retry;
        }
        self.held.extend_from_slice(chunk);
        self.failure_is_whole = end;
        if end { Step::Retry } else { Step::Hold }
    }

    // --- JSON documents

    fn feed_json(&mut self, chunk: &Bytes, end: bool, now_ms: u64) -> Step {
        if end && self.held.is_empty() {
            // The common case: one read, no copy.
            return Step::Whole(chunk.clone());
        }
        self.held.extend_from_slice(chunk);
        if end {
            return Step::Whole(self.take_held());
        }
        if self.held.len() > ANSWER_BYTES_MAX {
            self.walk.get_or_insert_default().feed(&self.held);
            if self.orders.heard != self.orders.surface {
                // It could be passed on only as it is, which the client cannot read.
                return self.too_large();
            }
            self.orders.kind = Kind::Unread;
            let bytes = self.take_held();
            return self.pass(bytes);
        }
        self.first_event_seen |= !chunk.trim_ascii_start().is_empty();
        if !(self.first_event_seen || self.orders.whole) && self.hold_is_over(now_ms) {
            // Blank lines are a provider's keep-alive: the client's time-outs need them.
            let bytes = self.take_held();
            return self.pass(bytes);
        }
        if self.open { Step::Pass(Bytes::new()) } else { Step::Hold }
    }

    /// Another piece of a document that nobody holds: its usage is looked for all the same.
    fn feed_unread(&mut self, chunk: Bytes) -> Step {
        self.walk.get_or_insert_default().feed(&chunk);
        if self.orders.heard != self.orders.surface {
            return Step::Pass(Bytes::new());
        }
        self.pass(chunk)
    }

    /// What a document that was too large to be held has said of itself, if it came whole.
    pub fn unread_facts(&self) -> Option<AnswerFacts> {
        let kept = self.walk.as_ref()?.finish()?;
        let facts = read_answer(self.orders.heard, &kept);
        Some(AnswerFacts { output_bytes: self.bytes_seen, ..facts })
    }

    /// The end of an answer that is too large to be translated.
    fn too_large(&mut self) -> Step {
        self.held.clear();
        self.orders.kind = Kind::Unread;
        if !self.open {
            return Step::Retry;
        }
        let fault =
            Fault::new(Code::UpstreamInvalid, "the provider's answer is too large to translate");
        Step::Pass(Bytes::from(error_body::body(self.orders.surface.dialect(), &fault)))
    }

    fn hold_is_over(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.orders.header_at_ms) >= FIRST_EVENT_HOLD_MS
    }

    // --- streams

    fn feed_stream(&mut self, chunk: Bytes, end: bool, now_ms: u64) -> Step {
        let chunk_at = self.held_at + self.held.len() as u64;
        self.read(&chunk, end);
        if !self.first_event_seen {
            match self.first_event() {
                Some(_) if self.may_retry() && self.says_nothing_but_an_error() => {
                    self.failed_by_error = true;
                    return self.fail_with(&chunk);
                }
                None if end && self.may_retry() => return self.fail_with(&chunk),
                Some(EventKind::Done) if self.is_empty_end() => return self.fail_with(&chunk),
                Some(_) => self.first_event_seen = true,
                None => {}
            }
        }
        let full = self.held.len() + chunk.len() > HOLD_BYTES_MAX;
        let over = full || self.hold_is_over(now_ms);
        if !(self.first_event_seen || self.open || end || over) {
            self.held.extend_from_slice(&chunk);
            return Step::Hold;
        }
        let bytes = self.ready_bytes(chunk, chunk_at, end);
        self.open_with_prefix(bytes)
    }

    fn read(&mut self, chunk: &[u8], end: bool) {
        let Some(meter) = &mut self.meter else { return };
        let facts = &mut self.facts;
        facts.clear();
        meter.feed(chunk, |fact| facts.push(fact));
        self.whole_until = meter.open_start();
        if end {
            self.outcome = Some(meter.finish(|fact| facts.push(fact)));
        }
    }

    fn fail_with(&mut self, chunk: &[u8]) -> Step {
        self.held.extend_from_slice(chunk);
        Step::Retry
    }

    fn may_retry(&self) -> bool {
        self.orders.may_retry && !self.open
    }

    /// Whether an end is no answer where nothing came before it, and can still be kept from the client. It is
    /// as good as an empty body: nobody is told of a success. Only in Responses an end tells a whole answer.
    const fn is_empty_end(&self) -> bool {
        let ends_only =
            matches!(self.orders.heard, Surface::Chat | Surface::Completions | Surface::Messages);
        ends_only && !self.open
    }

    fn first_event(&self) -> Option<EventKind> {
        self.facts.iter().map(|fact| fact.kind).find(|kind| *kind != EventKind::Comment)
    }

    /// Whether what has been read is an error, and before it at most that an answer begins: a provider that is
    /// overloaded says both in one breath. An opening alone is not waited behind: nobody knows for how long.
    fn says_nothing_but_an_error(&self) -> bool {
        let is_none = |kind: &EventKind| matches!(kind, EventKind::Comment | EventKind::Opening);
        let first = self.facts.iter().map(|fact| fact.kind).find(|kind| !is_none(kind));
        matches!(first, Some(EventKind::Error(_)))
    }

    fn open_with_prefix(&mut self, bytes: Bytes) -> Step {
        if self.open {
            return Step::Pass(bytes);
        }
        let prefix = std::mem::take(&mut self.orders.prefix);
        if prefix.is_empty() {
            return self.pass(bytes);
        }
        self.usage_mark = self.usage_mark.map(|at| at + prefix.len());
        let mut joined = BytesMut::with_capacity(prefix.len() + bytes.len());
        joined.extend_from_slice(&prefix);
        joined.extend_from_slice(&bytes);
        self.pass(joined.freeze())
    }

    /// Everything up to the end of the last whole event, without what is to be cut out; at the end
    /// of the stream also what must follow the last event.
    fn ready_bytes(&mut self, chunk: Bytes, chunk_at: u64, end: bool) -> Bytes {
        if self.orders.translator.is_some() {
            return self.translated(&chunk, end);
        }
        let chunk_end = chunk_at + chunk.len() as u64;
        let safe_end = self.safe_end(chunk_end, end);
        let cuts = self.cuts();
        let begin = self.held_at;
        let out = if self.held.is_empty() && safe_end == chunk_end && cuts.is_empty() {
            self.held_at = chunk_end;
            chunk
        } else {
            self.held.extend_from_slice(&chunk);
            self.take_until(safe_end, &cuts)
        };
        // What was cut lay before the first event.
        let begin = begin + cuts.iter().map(|cut| cut.end - cut.start).sum::<u64>();
        if self.orders.surface == Surface::Responses {
            self.sequence.note_last(&self.facts, (&out, begin));
        }
        if self.orders.mark_usage {
            self.usage_mark = self.mark_usage(&out, begin);
        }
        self.completed(out, end)
    }

    /// Where the last usage chunk of these bytes ends, which begin at that offset of the stream. Only a
    /// chunk whose last line is data is one that something can be put into.
    fn mark_usage(&self, out: &[u8], begin: u64) -> Option<usize> {
        let is_usage = |fact: &&EventFact| fact.kind == EventKind::UsageOnly;
        let range = &self.facts.iter().rev().find(is_usage)?.range;
        let event =
            out.get(offset(range.start, begin, out.len())..offset(range.end, begin, out.len()))?;
        let text = event.trim_ascii_end();
        let line = memrchr2(b'\n', b'\r', text).map_or(0, |at| at + 1);
        let is_data = text.ends_with(b"}") && text.get(line..)?.starts_with(b"data:");
        is_data.then(|| offset(range.start, begin, out.len()) + text.len() - 1)
    }

    /// What the client gets of these bytes, and of those held back before, in its own dialect.
    fn translated(&mut self, chunk: &[u8], end: bool) -> Bytes {
        let held = self.held.split();
        self.held_at += (held.len() + chunk.len()) as u64;
        let Some(translator) = &mut self.orders.translator else { return Bytes::new() };
        let mut out = Vec::with_capacity(chunk.len() + chunk.len() / 2);
        translator.feed(&held, &mut out);
        translator.feed(chunk, &mut out);
        if end {
            translator.finish(&mut out);
            if !translator.is_over() {
                let message = "the provider ended the stream before the answer was complete";
                let fault = Fault::new(Code::UpstreamInvalid, message);
                out.extend_from_slice(&self.error_event(&fault));
            }
        }
        if self.orders.mark_usage {
            self.usage_mark = written_usage(&out);
        }
        Bytes::from(out)
    }

    /// Up to where bytes may be passed on: the end of the last whole event, unless the unfinished one
    /// has outgrown its bound.
    fn safe_end(&self, chunk_end: u64, end: bool) -> u64 {
        let whole = self.whole_until;
        let complete = end && !self.is_cut();
        if complete || chunk_end - whole.max(self.held_at) > TAIL_BYTES_MAX as u64 {
            return chunk_end;
        }
        whole.max(self.held_at)
    }

    /// What must not reach the client: the usage chunk that only we asked for, and a byte order mark,
    /// on which SDKs lose the first event.
    fn cuts(&self) -> Vec<Range<u64>> {
        let bom_len = self.meter.as_ref().map_or(0, |meter| meter.bom_len());
        let bom = (self.held_at < bom_len).then_some(0..bom_len);
        let strip = self.orders.strip_usage;
        let usage_only =
            self.facts.iter().filter(|fact| strip && fact.kind == EventKind::UsageOnly);
        bom.into_iter().chain(usage_only.map(|fact| fact.range.clone())).collect()
    }

    fn take_until(&mut self, safe_end: u64, cuts: &[Range<u64>]) -> Bytes {
        let length = usize::try_from(safe_end - self.held_at).unwrap_or(self.held.len());
        let ready = self.held.split_to(length.min(self.held.len())).freeze();
        let base = self.held_at;
        self.held_at = safe_end;
        if cuts.is_empty() {
            return ready;
        }
        let mut out = BytesMut::with_capacity(ready.len());
        let mut from = 0;
        for cut in cuts {
            let start = offset(cut.start, base, ready.len());
            out.extend_from_slice(&ready[from.min(start)..start]);
            from = offset(cut.end, base, ready.len());
        }
        out.extend_from_slice(&ready[from..]);
        out.freeze()
    }

    /// At the end of a stream: the blank line that its last event lacks, or the error event that tells
    /// that it is not whole.
    fn completed(&mut self, bytes: Bytes, end: bool) -> Bytes {
        if !end {
            return bytes;
        }
        let unterminated = self.facts.last().is_some_and(|fact| !fact.terminated);
        let tail = if self.is_cut() {
            let message = "the provider ended the stream before the answer was complete";
            self.error_event(&Fault::new(Code::UpstreamInvalid, message))
        } else if unterminated {
            Bytes::from_static(b"\n\n")
        } else {
            return bytes;
        };
        let mut out = BytesMut::with_capacity(bytes.len() + tail.len());
        out.extend_from_slice(&bytes);
        out.extend_from_slice(&tail);
        out.freeze()
    }
}

/// Where the usage chunk that a translator has written ends: its last brace.
fn written_usage(out: &[u8]) -> Option<usize> {
    let at = memmem::rfind(out, b"\"choices\":[],\"usage\":{")?;
    memchr(b'\n', &out[at..])?.checked_add(at)?.checked_sub(1)
}

/// Where that place of the stream lies in so many bytes which begin at `base`.
pub(super) fn offset(at: u64, base: u64, length: usize) -> usize {
    usize::try_from(at.saturating_sub(base)).map_or(length, |at| at.min(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limit::ANSWER_KEPT_BYTES_MAX;
    use crate::dialect::canonical::style::Style;
    use crate::dialect::translate::Passage;
    use proptest::prelude::*;

    const USAGE: &[u8] = include_bytes!("../../tests/fixtures/openai_chat_stream_usage.sse");
    const TRUNCATED: &[u8] =
        include_bytes!("../../tests/fixtures/openai_chat_stream_truncated.sse");
    const COMMENTS: &[u8] = include_bytes!("../../tests/fixtures/openrouter_stream_comments.sse");

    fn orders(kind: Kind) -> Orders {
        Orders {
            surface: Surface::Chat,
            heard: Surface::Chat,
            translator: None,
            kind,
            may_retry: true,
            strip_usage: false,
            mark_usage: false,
            whole: false,
            prefix: Vec::new(),
            header_at_ms: 0,
        }
    }

    /// Everything that the client gets when the answer comes in those pieces, or nothing if the
    /// answer was given up.
    fn relayed(orders: Orders, pieces: &[&[u8]]) -> Option<Vec<u8>> {
        let mut relay = Relay::new(orders);
        let mut out = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let end = at + 1 == pieces.len();
            match relay.feed(Bytes::copy_from_slice(piece), end, 0) {
                Step::Hold => assert!(out.is_empty(), "held back behind an open gate"),
                Step::Open { bytes, .. } | Step::Pass(bytes) | Step::Whole(bytes) => {
                    out.extend_from_slice(&bytes);
                }
                Step::Retry | Step::Refuse(_) => return None,
                Step::Cut(_) => panic!("nothing is searched here"),
            }
        }
        Some(out)
    }

    fn cut_at<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    fn without_usage(stream: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(stream).unwrap();
        let events = text.split_inclusive("\n\n");
        events.filter(|event| !event.contains("\"choices\":[]")).collect::<String>().into_bytes()
    }

    proptest! {
        #[test]
        fn a_stream_passes_byte_for_byte(cuts in prop::collection::vec(any::<usize>(), 0..40)) {
            for stream in [USAGE, COMMENTS] {
                let out = relayed(orders(Kind::Stream), &cut_at(stream, &cuts));
                prop_assert_eq!(out.as_deref(), Some(stream));
            }
        }

        #[test]
        fn only_the_usage_chunk_is_cut_out(cuts in prop::collection::vec(any::<usize>(), 0..40)) {
            let strip = Orders { strip_usage: true, ..orders(Kind::Stream) };
            let out = relayed(strip, &cut_at(USAGE, &cuts));
            prop_assert_eq!(out, Some(without_usage(USAGE)));
        }

        #[test]
        fn a_broken_stream_ends_in_one_whole_error_event(
            cuts in prop::collection::vec(any::<usize>(), 0..40)
        ) {
            let out = relayed(orders(Kind::Stream), &cut_at(TRUNCATED, &cuts)).unwrap();
            let text = String::from_utf8(out).unwrap();
            let whole = std::str::from_utf8(TRUNCATED).unwrap().rfind("\n\n").unwrap() + 2;
            prop_assert!(text.as_bytes().starts_with(&TRUNCATED[..whole]));
            let ends_in_error =
                text[whole..].starts_with("data: {\"error\":{") && text.ends_with("}\n\n");
            prop_assert!(ends_in_error);
        }

        #[test]
        fn any_bytes_are_answered(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            cuts in prop::collection::vec(any::<usize>(), 0..9),
        ) {
            for kind in [Kind::Stream, Kind::Json, Kind::Opaque, Kind::Failed] {
                let _ = relayed(orders(kind), &cut_at(&bytes, &cuts));
            }
        }
    }

    #[test]
    fn every_byte_alone_comes_out_the_same() {
        let bytes: Vec<&[u8]> = USAGE.chunks(1).collect();
        assert_eq!(relayed(orders(Kind::Stream), &bytes).as_deref(), Some(USAGE));
    }

    #[test]
    fn whole_chunks_pass_as_the_buffers_they_came_in() {
        let mut relay = Relay::new(orders(Kind::Stream));
        let chunk = Bytes::from_static(b"data: {\"choices\":[{\"index\":0,\"delta\":{}}]}\n\n");
        assert!(matches!(relay.feed(chunk.clone(), false, 0), Step::Open { .. }));
        let Step::Pass(out) = relay.feed(chunk.clone(), false, 0) else { panic!("not passed") };
        assert_eq!(out.as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn an_error_as_first_event_is_a_failure_while_another_candidate_is_left() {
        let error: &[u8] = b": wait\n\ndata: {\"error\":{\"code\":502,\"message\":\"no\"}}\n\n";
        assert_eq!(relayed(orders(Kind::Stream), &[error]), None);
        let last = Orders { may_retry: false, ..orders(Kind::Stream) };
        assert!(relayed(last, &[error]).unwrap().starts_with(error));
        let event: &[u8] = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
        let late = [event, error].concat();
        assert!(relayed(orders(Kind::Stream), &[&late]).unwrap().starts_with(&late));
    }

    #[test]
    fn an_end_without_an_answer_is_a_failure_whoever_is_left() {
        let stop: &[u8] = b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
        let done: &[u8] = b": hi\n\ndata: [DONE]\n\n";
        for (heard, end) in [(Surface::Chat, done), (Surface::Messages, stop)] {
            for surface in [Surface::Chat, Surface::Messages, Surface::Responses] {
                for may_retry in [true, false] {
                    let passage = Passage::between(surface, heard);
                    let translator = passage.map(|it| Box::new(it.stream(Style::default())));
                    let orders = orders(Kind::Stream);
                    let orders = Orders { surface, heard, translator, may_retry, ..orders };
                    assert_eq!(relayed(orders, &[end, b""]), None, "{surface:?} {heard:?}");
                }
            }
        }
        let whole: &[u8] = b"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{}}\n\n";
        let (surface, heard) = (Surface::Responses, Surface::Responses);
        let responses = Orders { surface, heard, ..orders(Kind::Stream) };
        assert_eq!(relayed(responses, &[whole]).as_deref(), Some(whole));
    }

    #[test]
    fn an_error_right_behind_an_opening_is_a_failure_too() {
        let events = b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\n\
            event: ping\ndata: {\"type\":\"ping\"}\n\n";
        let error = b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
        let messages = |may_retry| {
            let orders = orders(Kind::Stream);
            let (surface, heard) = (Surface::Messages, Surface::Messages);
            Relay::new(Orders { surface, heard, may_retry, ..orders })
        };
        let both = Bytes::from([&events[..], error].concat());
        assert_eq!(messages(true).feed(both.clone(), false, 0), Step::Retry);
        // Where nobody else is left it is passed on; and an opening alone is shown at once.
        let step = messages(false).feed(both, false, 0);
        assert!(matches!(step, Step::Open { .. }), "{step:?}");
        let mut relay = messages(true);
        let step = relay.feed(Bytes::from_static(events), false, 0);
        let Step::Open { bytes, .. } = step else { panic!("{step:?}") };
        assert_eq!(bytes, &events[..]);
        assert_eq!(
            relay.feed(Bytes::from_static(error), false, 0),
            Step::Pass(Bytes::from_static(error))
        );
    }

    #[test]
    fn comments_are_held_back_for_a_while_and_then_passed() {
        let mut relay = Relay::new(orders(Kind::Stream));
        let comment = Bytes::from_static(b": PROCESSING\n\n");
        assert_eq!(relay.feed(comment.clone(), false, 10), Step::Hold);
        let twice = Bytes::from_static(b": PROCESSING\n\n: PROCESSING\n\n");
        let step = relay.feed(comment, false, FIRST_EVENT_HOLD_MS);
        assert_eq!(step, Step::Open { bytes: twice, content_length: None });
        let error = Bytes::from_static(b"data: {\"error\":{\"code\":502}}\n\n");
        assert_eq!(relay.feed(error.clone(), false, FIRST_EVENT_HOLD_MS), Step::Pass(error));
    }

    #[test]
    fn the_notice_comes_before_everything() {
        let told = Orders { prefix: b": notice\n\n".to_vec(), ..orders(Kind::Stream) };
        let out = relayed(told, &[COMMENTS]).unwrap();
        assert_eq!(out, [b": notice\n\n", COMMENTS].concat());
    }

    #[test]
    fn a_huge_event_passes_in_pieces() {
        let mut relay = Relay::new(orders(Kind::Stream));
        let start =
            Bytes::from_static(b"data: {\"choices\":[{\"index\":0,\"delta\":{}}]}\n\ndata: \"");
        assert!(matches!(relay.feed(start, false, 0), Step::Open { .. }));
        let piece = Bytes::from(vec![b'x'; TAIL_BYTES_MAX / 2]);
        let mut passed = 0;
        for _ in 0..8 {
            let Step::Pass(bytes) = relay.feed(piece.clone(), false, 0) else {
                panic!("not passed")
            };
            passed += bytes.len();
        }
        assert!(passed > 6 * piece.len(), "{passed}");
    }

    #[test]
    fn a_stream_without_a_first_event_is_not_held_for_ever() {
        let mut relay = Relay::new(orders(Kind::Stream));
        let piece = Bytes::from(vec![b'x'; HOLD_BYTES_MAX / 2]);
        assert_eq!(relay.feed(piece.clone(), false, 0), Step::Hold);
        assert_eq!(relay.feed(piece.clone(), false, 0), Step::Hold);
        let Step::Open { bytes, .. } = relay.feed(piece, false, 0) else { panic!("held") };
        assert!(bytes.len() > HOLD_BYTES_MAX);
    }

    #[test]
    fn a_document_is_handed_over_whole() {
        assert_eq!(relayed(orders(Kind::Json), &[b"{}"]).unwrap(), b"{}");
        assert_eq!(relayed(orders(Kind::Json), &[b"{", b"}", b""]).unwrap(), b"{}");
    }

    #[test]
    fn who_reads_the_answer_as_a_whole_is_shown_no_blank_lines() {
        let mut relay = Relay::new(Orders { whole: true, ..orders(Kind::Json) });
        for at_ms in [0, FIRST_EVENT_HOLD_MS, 9 * FIRST_EVENT_HOLD_MS] {
            assert_eq!(relay.feed(Bytes::from_static(b"\n\n"), false, at_ms), Step::Hold);
        }
        let last = relay.feed(Bytes::from_static(b"{}"), true, 10 * FIRST_EVENT_HOLD_MS);
        assert_eq!(last, Step::Whole(Bytes::from_static(b"\n\n\n\n\n\n{}")));
        assert!(!relay.is_open());
    }

    #[test]
    fn blank_lines_are_passed_on_after_a_while_and_the_document_still_comes_whole() {
        let mut relay = Relay::new(orders(Kind::Json));
        assert_eq!(relay.feed(Bytes::from_static(b"\n"), false, 0), Step::Hold);
        let step = relay.feed(Bytes::from_static(b"\n"), false, FIRST_EVENT_HOLD_MS);
        assert_eq!(step, Step::Open { bytes: Bytes::from_static(b"\n\n"), content_length: None });
        assert_eq!(relay.feed(Bytes::from_static(b"{"), false, 9_000), Step::Pass(Bytes::new()));
        let whole = relay.feed(Bytes::from_static(b"}"), true, 9_000);
        assert_eq!(whole, Step::Whole(Bytes::from_static(b"{}")));
    }

    #[test]
    fn the_end_of_the_usage_chunk_is_found_however_the_stream_is_cut() {
        let usage =
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}";
        let text = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}";
        for (stream, found) in [
            (format!("{text}\n\n{usage}\n\ndata: [DONE]\n\n"), true),
            (format!("\u{feff}{text}\r\n\r\n{usage} \r\n\r\n"), true),
            (usage.to_owned(), true),
            (format!("{text}\n\n{usage}\nid: 7}}\n\n"), false),
            (format!("{text}\n\ndata: [DONE]\n\n"), false),
        ] {
            for prefix in ["", ": hello\n\n"] {
                for size in 1..=stream.len() {
                    let orders =
                        Orders { mark_usage: true, prefix: prefix.into(), ..orders(Kind::Stream) };
                    let out = marked(orders, stream.as_bytes(), size);
                    let whole = format!("{prefix}{}", stream.trim_start_matches('\u{feff}'));
                    let wanted = whole.replacen("4}}", "4}<3,4>}", usize::from(found));
                    assert_eq!(out.trim_end(), wanted.trim_end(), "{size}");
                }
            }
        }
    }

    /// What comes out of pieces of that size, with the usage in the marked place.
    fn marked(orders: Orders, stream: &[u8], size: usize) -> String {
        let mut relay = Relay::new(orders);
        let mut out = Vec::new();
        let count = stream.chunks(size).count();
        for (at, piece) in stream.chunks(size).enumerate() {
            let step = relay.feed(Bytes::copy_from_slice(piece), at + 1 == count, 0);
            let mark = relay.take_usage_mark();
            let (Step::Open { bytes, .. } | Step::Pass(bytes)) = step else {
                assert!((step, mark) == (Step::Hold, None));
                continue;
            };
            let Some((at, report)) = mark else {
                out.extend_from_slice(&bytes);
                continue;
            };
            out.extend_from_slice(&bytes[..at]);
            out.extend_from_slice(
                format!("<{},{}>", report.usage.input, report.usage.output).as_bytes(),
            );
            out.extend_from_slice(&bytes[at..]);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_failure_is_kept_whole_or_not_at_all() {
        let mut relay = Relay::new(orders(Kind::Failed));
        assert_eq!(relay.feed(Bytes::from_static(b"{\"error\""), false, 0), Step::Hold);
        assert_eq!(relay.feed(Bytes::from_static(b":1}"), true, 0), Step::Retry);
        assert!(relay.is_returnable());
        assert_eq!(relay.take_held(), "{\"error\":1}");
        let mut relay = Relay::new(orders(Kind::Failed));
        assert_eq!(
            relay.feed(Bytes::from(vec![b'x'; ERROR_BODY_BYTES_MAX + 1]), false, 0),
            Step::Retry
        );
        assert!(!relay.is_returnable());
    }

    /// What the client gets in all when the provider falls silent after these pieces.
    fn broken_off(orders: Orders, pieces: &[&[u8]]) -> Vec<u8> {
        let mut relay = Relay::new(orders);
        let mut out = Vec::new();
        for piece in pieces {
            if let Step::Open { bytes, .. } | Step::Pass(bytes) =
                relay.feed(Bytes::copy_from_slice(piece), false, 0)
            {
                out.extend_from_slice(&bytes);
            }
        }
        out.extend_from_slice(&relay.break_off(&Fault::new(Code::UpstreamInvalid, "it broke off")));
        out
    }

    /// The names and data of all events.
    fn events(stream: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut decoder, mut all) = (crate::wire::sse::Decoder::new(), Vec::new());
        decoder.feed(stream, |event| {
            all.push((event.name.unwrap_or_default().to_vec(), event.data.to_vec()));
        });
        assert_eq!(decoder.open_start(), stream.len() as u64, "an event is left open");
        all
    }

    /// The last event, which must be our error and nothing else.
    fn last_error(stream: &[u8]) -> serde_json::Value {
        let (_, data) = events(stream).pop().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&data).expect("an event of its own");
        assert!(json["error"].is_object() || json["type"] == "error", "{json}");
        json
    }

    proptest! {
        #[test]
        fn who_has_a_piece_of_a_huge_event_still_reads_the_error(
            length in 0..3 * TAIL_BYTES_MAX,
            cuts in prop::collection::vec(any::<usize>(), 0..9),
            behind in prop::sample::select(vec!["", "\r", "\n", "\r\n", "\ndata: more", "\n: and"]),
        ) {
            let text = "x".repeat(length);
            let first = "data: {\"choices\":[{\"index\":0,\"delta\":{}}]}\n\n";
            let stream = format!("{first}data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}{behind}");
            for surface in [Surface::Chat, Surface::Messages, Surface::Responses] {
                let orders = || Orders { surface, heard: surface, ..orders(Kind::Stream) };
                let pieces = cut_at(stream.as_bytes(), &cuts);
                let silent = broken_off(orders(), &pieces);
                last_error(&silent);
                let ended = relayed(orders(), &pieces).unwrap();
                last_error(&ended);
                // Who has whole events only gets nothing but the error behind them.
                let fault = Fault::new(Code::UpstreamInvalid, "it broke off");
                let error = error_body::stream_event(surface, &fault, 0);
                let is_held = stream.len() - first.len() <= TAIL_BYTES_MAX;
                prop_assert!(!is_held || silent == [first.as_bytes(), &error].concat());
            }
        }

        #[test]
        fn the_error_goes_on_counting_where_the_response_stopped(
            cuts in prop::collection::vec(any::<usize>(), 0..9),
            first in 0..99_u64,
            count in 1..9_u64,
        ) {
            let event = |number: u64| format!(
                "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\
                 \"delta\":\"a\",\"sequence_number\":{number}}}\n\n: ping\n\n"
            );
            let stream = (first..first + count).map(event).collect::<Vec<_>>().concat();
            let stream = format!("\u{feff}{stream}event: response.output_text.delta\ndata: {{\"se");
            let (surface, heard) = (Surface::Responses, Surface::Responses);
            let orders = || Orders { surface, heard, ..orders(Kind::Stream) };
            let pieces = cut_at(stream.as_bytes(), &cuts);
            let wanted = first + count;
            prop_assert_eq!(&last_error(&broken_off(orders(), &pieces))["sequence_number"], wanted);
            let ended = relayed(orders(), &pieces).unwrap();
            prop_assert_eq!(&last_error(&ended)["sequence_number"], wanted);
        }
    }

    #[test]
    fn the_error_of_a_translated_response_is_numbered_too() {
        let passage = Passage::between(Surface::Responses, Surface::Chat).unwrap();
        let translator = Some(Box::new(passage.stream(Style::default())));
        let orders = Orders { surface: Surface::Responses, translator, ..orders(Kind::Stream) };
        let whole = memmem::rfind(TRUNCATED, b"\n\n").unwrap() + 2;
        let out = broken_off(orders, &[&TRUNCATED[..whole]]);
        let all = events(&out);
        let numbers = all.iter().map(|(_, data)| {
            serde_json::from_slice::<serde_json::Value>(data).unwrap()["sequence_number"].as_u64()
        });
        let wanted: Vec<_> = (0..all.len() as u64).map(Some).collect();
        assert_eq!(numbers.collect::<Vec<_>>(), wanted);
        assert!(all.len() > 3 && last_error(&out)["code"] == "upstream_invalid");
    }

    #[test]
    fn an_answer_that_the_clients_dialect_cannot_tell_is_no_complete_one() {
        let piece = format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
            "x".repeat(1 << 16)
        );
        let passage = Passage::between(Surface::Responses, Surface::Chat).unwrap();
        for (end, is_broken) in [("data: [DONE]\n\n", false), ("", false), ("", true)] {
            let translator = Some(Box::new(passage.stream(Style::default())));
            let surface = Surface::Responses;
            let mut relay = Relay::new(Orders { surface, translator, ..orders(Kind::Stream) });
            let mut out = Vec::new();
            for _ in 0..=ANSWER_KEPT_BYTES_MAX / (1 << 16) {
                match relay.feed(Bytes::from(piece.clone()), false, 0) {
                    Step::Open { bytes, .. } | Step::Pass(bytes) => out.extend_from_slice(&bytes),
                    step => panic!("{step:?}"),
                }
            }
            if is_broken {
                let fault = Fault::new(Code::UpstreamInvalid, "it broke off");
                out.extend_from_slice(&relay.break_off(&fault));
            } else if let Step::Pass(bytes) = relay.feed(Bytes::from(end), true, 0) {
                out.extend_from_slice(&bytes);
            }
            assert_eq!(relay.stream_end(), Some(StreamEnd::ErrorEvent));
            let text = String::from_utf8(out).unwrap();
            let lasts = text.lines().filter(|line| {
                ["event: response.failed", "event: error", "event: response.completed"]
                    .contains(line)
            });
            assert_eq!(lasts.collect::<Vec<_>>(), ["event: response.failed"]);
        }
    }
}
