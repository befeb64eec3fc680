//! Writes a stream of the Messages API, event by event.
//!
//! Hot path. What an event brings is written at once; only pieces of calls wait that come mixed with
//! those of another, and the reason of the end, which this dialect sends together with the final usage.

use std::io::Write as _;

use crate::dialect::anthropic::failure;
use crate::dialect::anthropic::queue::{Held, Queue, What, Whole};
use crate::dialect::anthropic::reply::{call_head_into, head_into};
use crate::dialect::anthropic::words::{Begun, Said, stop_into, usage_into};
use crate::dialect::canonical::answer::Stop;
use crate::dialect::canonical::event::{Event, Failure, Start};
use crate::dialect::canonical::inside::quote;
use crate::dialect::canonical::marks::UNSIGNED;
use crate::dialect::canonical::style::Style;
use crate::dialect::canonical::text::Text;
use crate::usage::count::Usage;
use crate::wire::sse::{write_comment, write_event};

/// A stream being written.
#[derive(Debug)]
pub struct Writer {
    style: Style,
    phase: Phase,
    open: Open,
    /// The number of the next block.
    next: usize,
    /// Of the call that is open.
    whole: Whole,
    queue: Queue,
    said: Said,
    stop: Option<Stop>,
    sequence: Option<Text<'static>>,
    usage: Usage,
    /// The data of the event being written.
    data: Vec<u8>,
}

/// How far the stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Before,
    Within,
    Over,
}

/// The block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    None,
    Text,
    Thinking { is_signed: bool },
    Call { index: usize, is_custom: bool, has_input: bool },
}

impl Writer {
    /// Before the first event.
    pub fn new(style: Style) -> Self {
        Self {
            style,
            phase: Phase::Before,
            open: Open::None,
            next: 0,
            whole: Whole::default(),
            queue: Queue::default(),
            said: Said::default(),
            stop: None,
            sequence: None,
            usage: Usage::default(),
            data: Vec::new(),
        }
    }

    /// Appends to `out` what that event makes of the stream: whole events, or nothing.
    pub fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.phase == Phase::Over {
            return;
        }
        match event {
            Event::Text(text) => self.text(text, out),
            Event::CallInput { index, piece } => self.input(*index, piece, out),
            Event::Refusal(text) => {
                self.said.has_refusal = true;
                self.text(text, out);
            }
            Event::Thinking(text) => self.thinking(text, out),
            Event::Signature(signature) => self.signature(signature, out),
            Event::Redacted(data) => self.redacted(data, out),
            Event::CallStart { index, id, name, is_custom } => {
                self.said.has_calls = true;
                let (id, name) = (id.clone(), name.clone());
                self.call(Begun { index: *index, id, name, is_custom: *is_custom }, out);
            }
            Event::Start(start) => self.start(start, out),
            Event::Stop { stop, sequence } => {
                self.settle(out);
                self.stop = Some(*stop);
                self.sequence = sequence.clone().map(Text::into_owned);
            }
            Event::Usage(usage) => self.usage = *usage,
            // Before the answer begins the clients take no event at all.
            Event::Ping if self.phase == Phase::Before => write_comment(out, "ping"),
            Event::Ping => write_event(out, Some("ping"), b"{\"type\":\"ping\"}"),
            Event::Error(failure) => self.error(failure, out),
            Event::End => self.end(out),
        }
        if self.queue.is_overfull() {
            let message = "the provider mixes more tool calls than can be put in order";
            let message = Some(Text::of(message));
            self.error(&Failure { message, ..Failure::default() }, out);
        }
    }

    /// Whether the last event has been written: the end, or an error.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn start(&mut self, start: &Start<'_>, out: &mut Vec<u8>) {
        if self.phase != Phase::Before {
            return;
        }
        self.phase = Phase::Within;
        self.usage = start.usage.unwrap_or_default();
        self.data.clear();
        self.data.extend_from_slice(b"{\"type\":\"message_start\",\"message\":");
        head_into(start.id.as_ref(), start.model.as_ref(), &self.style, &mut self.data);
        self.data.extend_from_slice(
            b"],\"stop_reason\":null,\"stop_sequence\":null,\"stop_details\":null,\"usage\":",
        );
        usage_into(&self.usage, &mut self.data);
        self.data.extend_from_slice(b"}}");
        write_event(out, Some("message_start"), &self.data);
    }

    /// Whether blocks have to wait for a call that still comes in.
    fn must_wait(&self) -> bool {
        let in_call = matches!(self.open, Open::Call { .. }) && !self.whole.is_whole();
        in_call || !self.queue.is_empty()
    }

    fn text(&mut self, text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if self.must_wait() {
            self.queue.push(What::Text, text);
            return;
        }
        if self.open != Open::Text {
            self.close(out);
            self.open = Open::Text;
            self.begin(b"{\"type\":\"text\",\"text\":\"\"}", out);
        }
        self.piece(b"\"text_delta\",\"text\":\"", text.as_written(), out);
    }

    fn thinking(&mut self, text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if self.must_wait() {
            self.queue.push(What::Thinking, text);
        } else {
            self.think(out);
            self.piece(b"\"thinking_delta\",\"thinking\":\"", text.as_written(), out);
        }
    }

    fn signature(&mut self, signature: &Text<'_>, out: &mut Vec<u8>) {
        if self.must_wait() {
            self.queue.push(What::Signature, signature);
            return;
        }
        self.think(out);
        self.open = Open::Thinking { is_signed: true };
        self.piece(b"\"signature_delta\",\"signature\":\"", signature.as_written(), out);
    }

    /// Makes thoughts the open block. What is signed is over.
    fn think(&mut self, out: &mut Vec<u8>) {
        if self.open != (Open::Thinking { is_signed: false }) {
            self.close(out);
            self.open = Open::Thinking { is_signed: false };
            self.begin(b"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}", out);
        }
    }

    fn redacted(&mut self, data: &Text<'_>, out: &mut Vec<u8>) {
        if self.must_wait() {
            self.queue.push(What::Redacted, data);
            return;
        }
        self.close(out);
        let mut block = b"{\"type\":\"redacted_thinking\",\"data\":".to_vec();
        data.quote_into(&mut block);
        block.push(b'}');
        self.begin(&block, out);
        self.stop_block(out);
    }

    fn call(&mut self, call: Begun<'_>, out: &mut Vec<u8>) {
        if self.must_wait() {
            return self.queue.push(What::Call(call.into_owned()), &Text::default());
        }
        self.close(out);
        self.whole = Whole::default();
        let Begun { index, is_custom, .. } = call;
        self.open = Open::Call { index, is_custom, has_input: false };
        let mut block = Vec::with_capacity(128);
        call_head_into(&call, &self.style, &mut block);
        block.extend_from_slice(b"{}}");
        self.begin(&block, out);
    }

    fn input(&mut self, of: usize, piece: &Text<'_>, out: &mut Vec<u8>) {
        match self.open {
            Open::Call { index, is_custom, has_input } if index == of => {
                if !piece.is_empty() {
                    self.open = Open::Call { index, is_custom, has_input: true };
                    self.input_piece(piece, is_custom, has_input, out);
                    self.advance(out);
                }
            }
            _ => self.queue.input(of, piece),
        }
    }

    /// Writes a piece of the open call's input. The free text for a custom tool, of which this dialect
    /// knows none, becomes the one argument of a function.
    fn input_piece(&mut self, piece: &Text<'_>, is_custom: bool, goes_on: bool, out: &mut Vec<u8>) {
        const HEAD: &[u8] = b"\"input_json_delta\",\"partial_json\":\"";
        if !is_custom {
            self.whole.feed(piece);
            return self.piece(HEAD, piece.as_written(), out);
        }
        let mut quoted = if goes_on { Vec::new() } else { br#"{\"input\":\""#.to_vec() };
        quote(piece.as_written(), &mut quoted);
        self.piece(HEAD, &quoted, out);
    }

    /// Lets those go on that wait, as far as they can.
    fn advance(&mut self, out: &mut Vec<u8>) {
        while self.whole.is_whole() || !matches!(self.open, Open::Call { .. }) {
            let Some(held) = self.queue.next() else { return };
            self.resume(held, out);
        }
    }

    /// Writes what has waited, and leaves its block open.
    fn resume(&mut self, held: Held, out: &mut Vec<u8>) {
        // The others wait for it, not it for them.
        let behind = std::mem::take(&mut self.queue);
        let said = Text::written(&held.said);
        match held.what {
            What::Call(call) => {
                let index = call.index;
                self.call(call, out);
                self.input(index, &said, out);
            }
            What::Text => self.text(&said, out),
            What::Thinking => self.thinking(&said, out),
            What::Signature => self.signature(&said, out),
            What::Redacted => self.redacted(&said, out),
        }
        self.queue = behind;
    }

    /// Ends the open block and all that wait.
    fn settle(&mut self, out: &mut Vec<u8>) {
        loop {
            if matches!(self.open, Open::Call { .. }) {
                self.close(out);
            }
            let Some(held) = self.queue.next() else { break };
            self.resume(held, out);
        }
        self.close(out);
    }

    /// Ends the open block.
    fn close(&mut self, out: &mut Vec<u8>) {
        const INPUT: &[u8] = b"\"input_json_delta\",\"partial_json\":\"";
        match self.open {
            Open::None => return,
            Open::Call { is_custom: true, has_input, .. } => {
                let end: &[u8] = if has_input { br#"\"}"# } else { br#"{\"input\":\"\"}"# };
                self.piece(INPUT, end, out);
            }
            Open::Call { has_input: false, .. } => self.piece(INPUT, b"{}", out),
            // Nobody signed it: we mark it, so that it is never sent to Anthropic.
            Open::Thinking { is_signed: false } => {
                self.piece(b"\"signature_delta\",\"signature\":\"", UNSIGNED.as_bytes(), out);
            }
            Open::Text | Open::Thinking { .. } | Open::Call { .. } => {}
        }
        self.stop_block(out);
        self.open = Open::None;
    }

    /// Writes the beginning of a block.
    fn begin(&mut self, block: &[u8], out: &mut Vec<u8>) {
        self.data.clear();
        // Writing to a `Vec` cannot fail.
        let _ = write!(
            self.data,
            "{{\"type\":\"content_block_start\",\"index\":{},\"content_block\":",
            self.next
        );
        self.data.extend_from_slice(block);
        self.data.push(b'}');
        write_event(out, Some("content_block_start"), &self.data);
        self.next += 1;
    }

    /// Writes a piece of the open block: the kind of piece up to the quote before its text.
    fn piece(&mut self, head: &[u8], text: &[u8], out: &mut Vec<u8>) {
        self.data.clear();
        let _ = write!(
            self.data,
            "{{\"type\":\"content_block_delta\",\"index\":{},\"delta\":{{\"type\":",
            self.next.saturating_sub(1)
        );
        self.data.extend_from_slice(head);
        self.data.extend_from_slice(text);
        self.data.extend_from_slice(b"\"}}");
        write_event(out, Some("content_block_delta"), &self.data);
    }

    fn stop_block(&mut self, out: &mut Vec<u8>) {
        self.data.clear();
        let index = self.next.saturating_sub(1);
        let _ = write!(self.data, "{{\"type\":\"content_block_stop\",\"index\":{index}}}");
        write_event(out, Some("content_block_stop"), &self.data);
    }

    fn error(&mut self, failure: &Failure<'_>, out: &mut Vec<u8>) {
        self.phase = Phase::Over;
        self.data.clear();
        failure::write(failure, &mut self.data);
        write_event(out, Some("error"), &self.data);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.settle(out);
        self.phase = Phase::Over;
        self.data.clear();
        self.data.extend_from_slice(b"{\"type\":\"message_delta\",\"delta\":{");
        let stop = Some(self.stop.unwrap_or(Stop::End));
        stop_into(stop, self.sequence.as_ref(), self.said, &mut self.data);
        self.data.extend_from_slice(b"},\"usage\":");
        usage_into(&self.usage, &mut self.data);
        self.data.push(b'}');
        write_event(out, Some("message_delta"), &self.data);
        write_event(out, Some("message_stop"), b"{\"type\":\"message_stop\"}");
    }
}
