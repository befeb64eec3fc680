//! Metering one streamed answer: bytes in as they pass, what it used and how it ended out.
//!
//! The relay feeds every upstream chunk; the meter answers with one fact per event, so that the
//! relay can cut the usage chunk that only we asked for, hold a stream that opens with an error, or
//! write before the end. The bytes themselves are forwarded by the relay and never changed here.
//! JSON answers are read by `usage::answer`. Rules: `wire.md` sections 0, 2 and 9.
//!
//! Hot path: `benches/sse.rs`. No allocation per event once the first few have passed.

use std::ops::Range;

use crate::base::surface::Surface;
use crate::usage::code;
use crate::usage::count::{Iteration, Remarks, Report, Usage};
use crate::usage::envelope::Envelope;
use crate::usage::field::{self, Counts};
use crate::usage::finish::Finish;
use crate::usage::scan::{elements, is_empty, members, unquoted};
use crate::usage::served::ServedTier;
use crate::usage::text::measure;
use crate::usage::top::Top;
use crate::wire::sse::{Decoder, Event};

/// What the relay has to know about one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFact {
    /// Where it lies in the byte stream, its blank line included.
    pub range: Range<u64>,
    /// What it is.
    pub kind: EventKind,
    /// False for the last event of a stream that ends without its blank line; clients discard such
    /// an event, so the relay has to write the blank line.
    pub terminated: bool,
}

/// What an event is to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A sign of life that no client dispatches: a comment, or a block without data.
    Comment,
    /// Says that an answer begins, or is on its way, and holds nothing of it.
    Opening,
    /// Anything with data that is none of the others.
    Content,
    /// A chunk that holds a usage report, no choices, and nothing else that a client could miss: to
    /// be cut if the client did not ask for it.
    UsageOnly,
    /// An error, with its status-like code where it has one.
    Error(Option<u16>),
    /// The end as the provider declares it: `[DONE]`, `message_stop`, `response.completed` or
    /// `.incomplete`.
    Done,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamEnd {
    /// Complete, and the usage is final.
    DoneUsage,
    /// Complete, but the usage is unknown or only its beginning is known.
    DoneNoUsage,
    /// It carried an error.
    ErrorEvent,
    /// It stopped without the end that its surface prescribes.
    Cut,
}

/// Everything a stream said about itself.
#[derive(Clone, Debug)]
pub struct MeterOutcome {
    /// How it ended.
    pub end: StreamEnd,
    /// The last report. Unless `usage_is_final` it is a part: the input of a `message_start`, or
    /// the running count at the moment of the cut.
    pub usage: Option<Usage>,
    /// Whether `usage` is what will be billed. True also for a Messages stream that was cut
    /// between its last `message_delta` and `message_stop`.
    pub usage_is_final: bool,
    /// The turns of the answer, where listed; see [`crate::usage::count::Report::iterations`].
    pub iterations: Vec<Iteration>,
    /// The report contradicts itself; the larger reading was taken.
    pub inconsistent: bool,
    /// Web searches and fetches that the provider ran.
    pub server_tool_requests: u64,
    /// Something was consumed that has a price of its own, which no table of ours has.
    pub unpriced: bool,
    /// What the report says beside its counts.
    pub remarks: Remarks,
    /// The code of the first error, where it has one. Whether there was an error says `end`.
    pub error_code: Option<u16>,
    /// Why the model stopped, as last reported.
    pub finish: Option<Finish>,
    /// The model that the stream names.
    pub model: Option<Box<str>>,
    /// The service tier that was billed.
    pub service_tier: Option<Box<str>>,
    /// Bytes of text, reasoning and tool arguments seen, roughly; the basis of the estimate.
    pub output_bytes: u64,
    /// Events that brought any of them. Each is at least one token.
    pub content_events: u64,
    /// Events that were too large to be read.
    pub oversized_events: u64,
}

impl MeterOutcome {
    /// The last report, where there was one.
    pub fn report(&self) -> Option<Report> {
        Some(Report {
            usage: self.usage?,
            iterations: self.iterations.clone(),
            inconsistent: self.inconsistent,
            server_tool_requests: self.server_tool_requests,
            unpriced: self.unpriced,
            remarks: self.remarks,
        })
    }
}

/// Meters one stream, fed with its bytes as they pass.
#[derive(Debug)]
pub struct Meter {
    decoder: Decoder,
    tally: Tally,
}

impl Meter {
    /// A meter for one streamed answer on that surface.
    pub fn new(surface: Surface) -> Self {
        Self::with_decoder(surface, Decoder::new())
    }

    /// The same with a decoder of other limits.
    pub fn with_decoder(surface: Surface, decoder: Decoder) -> Self {
        Self { decoder, tally: Tally::new(surface) }
    }

    /// Reads the next bytes and calls `on_event` for each event that they complete.
    pub fn feed(&mut self, chunk: &[u8], mut on_event: impl FnMut(EventFact)) {
        let tally = &mut self.tally;
        self.decoder.feed(chunk, |event| on_event(tally.event(&event)));
    }

    /// The upstream has ended, well or not. Calls `on_event` for an event that lacks its blank
    /// line, and sums up.
    pub fn finish(&mut self, mut on_event: impl FnMut(EventFact)) -> MeterOutcome {
        let tally = &mut self.tally;
        self.decoder.finish(|event| on_event(tally.event(&event)));
        self.tally.outcome()
    }

    /// The last report that has been read so far, in the normal form.
    pub fn report(&self) -> Option<Report> {
        self.tally.counts.clone().and_then(Counts::into_report)
    }

    /// Bytes fed so far.
    pub const fn offset(&self) -> u64 {
        self.decoder.offset()
    }

    /// Where the event starts that is not complete yet. A relay that may have to cut an event
    /// forwards bytes up to here only.
    pub fn open_start(&self) -> u64 {
        self.decoder.open_start()
    }

    /// Bytes of the byte order mark that the stream began with: 3 or 0. Better not forwarded.
    pub fn bom_len(&self) -> u64 {
        self.decoder.bom_len()
    }
}

/// The members of a stream that a name or a `type` gives away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// Text and nothing else.
    Delta,
    /// Nothing to meter.
    Idle,
    /// Nothing to meter, and nothing of an answer.
    Opening,
    MessageStart,
    MessageDelta,
    MessageStop,
    Error,
    ResponseDone,
    ResponseFailed,
    /// Not one of the names: a chunk of the Chat kind, most likely.
    Unknown,
}

impl Named {
    fn of(name: &[u8]) -> Self {
        match name {
            b"content_block_delta" => Self::Delta,
            b"ping" | b"response.created" | b"response.in_progress" | b"response.queued" => {
                Self::Opening
            }
            b"content_block_start" | b"content_block_stop" => Self::Idle,
            b"message_start" => Self::MessageStart,
            b"message_delta" => Self::MessageDelta,
            b"message_stop" => Self::MessageStop,
            b"error" => Self::Error,
            b"response.completed" | b"response.incomplete" => Self::ResponseDone,
            b"response.failed" => Self::ResponseFailed,
            _ if name.starts_with(b"response.") && name.ends_with(b".delta") => Self::Delta,
            _ if name.starts_with(b"response.") => Self::Idle,
            _ => Self::Unknown,
        }
    }
}

/// An error that the stream carried.
#[derive(Clone, Copy, Debug)]
struct Failure {
    code: Option<u16>,
}

/// The declared ends that have been seen.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    /// `[DONE]`.
    done_marker: bool,
    message_stop: bool,
    /// `response.completed` or `.incomplete`.
    response_end: bool,
}

/// What has been seen of a stream so far.
#[derive(Debug)]
struct Tally {
    surface: Surface,
    envelope: Envelope,
    counts: Option<Counts>,
    /// `counts` is only the beginning of a report (`message_start`).
    counts_are_provisional: bool,
    error: Option<Failure>,
    finish: Option<Finish>,
    /// One bit per choice that has been seen, and that has finished.
    choices_seen: u64,
    choices_finished: u64,
    ends: Ends,
    usage_only: bool,
    /// A first chunk has been read as a whole.
    opened: bool,
    model: Option<Box<str>>,
    service_tier: Option<Box<str>>,
    output_bytes: u64,
    content_events: u64,
    oversized_events: u64,
}

impl Tally {
    fn new(surface: Surface) -> Self {
        let anchor: &[u8] =
            if surface == Surface::Completions { b"\"text\"" } else { b"\"delta\"" };
        Self {
            surface,
            envelope: Envelope::new(anchor),
            counts: None,
            counts_are_provisional: false,
            error: None,
            finish: None,
            choices_seen: 0,
            choices_finished: 0,
            ends: Ends::default(),
            usage_only: false,
            opened: false,
            model: None,
            service_tier: None,
            output_bytes: 0,
            content_events: 0,
            oversized_events: 0,
        }
    }

    fn event(&mut self, event: &Event<'_>) -> EventFact {
        let kind = if event.oversized {
            self.oversized_events += 1;
            self.words(event.range.end - event.range.start);
            EventKind::Content
        } else if event.has_data {
            self.data(event.name, event.data)
        } else {
            EventKind::Comment
        };
        EventFact { range: event.range.clone(), kind, terminated: event.terminated }
    }

    fn data(&mut self, name: Option<&[u8]>, data: &[u8]) -> EventKind {
        // A prefix is enough, as it is for the SDKs.
        if data.starts_with(b"[DONE]") {
            self.ends.done_marker = true;
            return EventKind::Done;
        }
        match name.or_else(|| leading_type(data)).map_or(Named::Unknown, Named::of) {
            Named::Delta => {
                let bytes = self.envelope.delta_bytes(data);
                self.words(bytes);
                EventKind::Content
            }
            Named::Idle => EventKind::Content,
            Named::Opening => EventKind::Opening,
            Named::Unknown => self.chunk(data),
            named => self.inspect(named, data),
        }
    }

    /// A chunk without a telling name. Most are like the one before.
    fn chunk(&mut self, data: &[u8]) -> EventKind {
        if let Some(bytes) = self.envelope.same_again(data) {
            self.words(bytes);
            return EventKind::Content;
        }
        if self.opened
            && let Some(ordinary) = self.envelope.learn(data)
        {
            self.words(ordinary.bytes);
            self.choices_seen |= choice_bit(ordinary.choice);
            return EventKind::Content;
        }
        self.opened = true;
        self.inspect(Named::Unknown, data)
    }

    /// Reads an event that holds, or may hold, something that matters.
    fn inspect(&mut self, named: Named, data: &[u8]) -> EventKind {
        let top = Top::read(data);
        let named = match (named, top.kind.and_then(unquoted)) {
            (Named::Unknown, Some(kind)) => Named::of(kind),
            (named, _) => named,
        };
        let inside = match named {
            Named::MessageStart => top.message,
            Named::ResponseDone | Named::ResponseFailed => top.response,
            _ => None,
        };
        let (body, body_text) = inside.map_or((top, data), |json| (Top::read(json), json));
        self.identity(&body);
        self.report(named, body.counts(body_text).or_else(|| top.counts(data)));
        let failed = self.choices(&body) || matches!(named, Named::Error | Named::ResponseFailed);
        let error = body.any_error().or_else(|| top.any_error());
        if failed || error.is_some() {
            let code = error.and_then(code::of_error);
            self.error = self.error.or(Some(Failure { code }));
            return EventKind::Error(code);
        }
        self.ending(named, &top, &body)
    }

    fn identity(&mut self, body: &Top<'_>) {
        keep_text(&mut self.model, body.model);
        keep_text(&mut self.service_tier, body.service_tier);
        if let (None, Some(usage)) = (body.service_tier, body.usage) {
            // Anthropic has it inside the usage.
            members(usage, |key, value| {
                if key == b"service_tier" {
                    keep_text(&mut self.service_tier, Some(value));
                }
            });
        }
    }

    /// The last report counts; they are running totals and never summed. Anthropic's later ones
    /// replace only the fields that they have.
    fn report(&mut self, named: Named, counts: Option<Counts>) {
        let Some(counts) = counts else {
            return;
        };
        match &mut self.counts {
            Some(start) if named == Named::MessageDelta => start.overlay(counts),
            slot => *slot = Some(counts),
        }
        self.counts_are_provisional = named == Named::MessageStart;
    }

    /// Text and finish reasons of the choices in a chunk. True if one of them failed.
    fn choices(&mut self, body: &Top<'_>) -> bool {
        let mut failed = false;
        for list in [body.choices, body.candidates].into_iter().flatten() {
            let bytes = measure(list, 0).map_or(0, |(bytes, _)| bytes);
            self.words(bytes);
            elements(list, |choice| failed |= self.choice(choice) == Some(Finish::Error));
        }
        failed
    }

    fn choice(&mut self, choice: &[u8]) -> Option<Finish> {
        let mut index = 0;
        let mut finish = None;
        members(choice, |key, value| match key {
            b"index" => index = code::small(value),
            b"finish_reason" | b"finishReason" => finish = Finish::of(value).or(finish),
            _ => {}
        });
        self.choices_seen |= choice_bit(index);
        if finish.is_some() {
            self.choices_finished |= choice_bit(index);
            self.finish = finish;
        }
        finish
    }

    /// What the event means for the end of the stream.
    fn ending(&mut self, named: Named, top: &Top<'_>, body: &Top<'_>) -> EventKind {
        match named {
            Named::MessageStart => return EventKind::Opening,
            Named::MessageStop => self.ends.message_stop = true,
            Named::ResponseDone => {
                self.ends.response_end = true;
                self.finish = Some(Finish::of_response(body));
            }
            Named::MessageDelta => {
                let reason = top.delta.map(Top::read).and_then(|delta| delta.stop_reason);
                self.finish = reason.and_then(Finish::of).or(self.finish);
                return EventKind::Content;
            }
            _ if self.is_usage_only(top) => {
                self.usage_only = true;
                return EventKind::UsageOnly;
            }
            _ => return EventKind::Content,
        }
        EventKind::Done
    }

    /// An empty list of choices is no proof: Azure's prompt filter results and `OpenAI`'s moderation
    /// results come that way too. Nothing unknown may be lost with the chunk.
    fn is_usage_only(&self, top: &Top<'_>) -> bool {
        matches!(self.surface, Surface::Chat | Surface::Completions)
            && top.end.is_some()
            && top.usage.is_some_and(|usage| usage.starts_with(b"{"))
            && top.choices.is_some_and(is_empty)
            && !top.has_more
    }

    fn words(&mut self, bytes: u64) {
        self.output_bytes += bytes;
        self.content_events += u64::from(bytes > 0);
    }

    /// Whether the stream had the end that its surface prescribes.
    fn is_complete(&self) -> bool {
        let finished =
            self.choices_finished != 0 && self.choices_seen & !self.choices_finished == 0;
        match self.surface {
            Surface::Messages | Surface::CountTokens => self.ends.message_stop,
            Surface::Responses => self.ends.response_end,
            Surface::Chat | Surface::Completions | Surface::Embeddings => {
                // Providers without `[DONE]` exist; a finish reason for every choice will do.
                self.ends.done_marker || finished || self.usage_only
            }
            Surface::Other(_) => {
                self.ends.done_marker
                    || finished
                    || self.ends.message_stop
                    || self.ends.response_end
            }
        }
    }

    /// The tier may stand in another chunk than the usage.
    fn remarked(&self, mut remarks: Remarks) -> Remarks {
        let tier = self.service_tier.as_deref().and_then(|name| ServedTier::of(name.as_bytes()));
        remarks.served.tier = remarks.served.tier.or(tier);
        remarks
    }

    fn outcome(&mut self) -> MeterOutcome {
        let report = self.counts.take().and_then(Counts::into_report);
        let complete = self.is_complete();
        // A report that is no beginning is final when the stream is complete. Before that only
        // Anthropic's can be: it comes once, when all text has been sent.
        let closed = complete || (self.surface == Surface::Messages && self.finish.is_some());
        let usage_is_final = report.is_some() && closed && !self.counts_are_provisional;
        let end = match (self.error, complete) {
            (Some(_), _) => StreamEnd::ErrorEvent,
            (None, false) => StreamEnd::Cut,
            (None, true) if usage_is_final => StreamEnd::DoneUsage,
            (None, true) => StreamEnd::DoneNoUsage,
        };
        let known = report.is_some();
        let report = report.unwrap_or_default();
        MeterOutcome {
            end,
            usage: known.then_some(report.usage),
            usage_is_final,
            iterations: report.iterations,
            inconsistent: report.inconsistent,
            server_tool_requests: report.server_tool_requests,
            unpriced: report.unpriced,
            remarks: self.remarked(report.remarks),
            error_code: self.error.and_then(|failure| failure.code),
            finish: self.finish,
            model: self.model.take(),
            service_tier: self.service_tier.take(),
            output_bytes: self.output_bytes,
            content_events: self.content_events,
            oversized_events: self.oversized_events,
        }
    }
}

/// The `type` of an event whose name the `event:` line should have given.
fn leading_type(data: &[u8]) -> Option<&[u8]> {
    let rest = data.strip_prefix(b"{\"type\":\"")?;
    let end = rest.iter().take(64).position(|byte| *byte == b'"')?;
    Some(&rest[..end])
}

/// The bit of a choice. Requests for more than 64 choices share the last one.
fn choice_bit(index: u32) -> u64 {
    1 << index.min(63)
}

/// Keeps a short text, allocating only when it is a new one.
fn keep_text(slot: &mut Option<Box<str>>, value: Option<&[u8]>) {
    let Some(value) = value else {
        return;
    };
    let known = slot.as_deref().map(str::as_bytes);
    if unquoted(value) != known
        && let Some(text) = field::text(value)
    {
        *slot = Some(text);
    }
}
