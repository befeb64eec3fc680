//! Writes a stream for clients of Chat Completions.
//!
//! Finish reason and usage are held until the stream's end, so that an answer which fails behind its
//! last word does not look finished. A stream without an end gets none from here.
//!
//! Hot path: one chunk per event, from parts that are written once.

use crate::base::limit::SIGNED_THOUGHT_BYTES_MAX;
use crate::dialect::canonical::answer::Stop;
use crate::dialect::canonical::event::{Event, Start};
use crate::dialect::canonical::inside::Unwrap;
use crate::dialect::canonical::style::Style;
use crate::dialect::canonical::text::Text;
use crate::dialect::openai_chat::ending::{number_into, usage_into, word};
use crate::dialect::openai_chat::failure;
use crate::dialect::openai_chat::reply::{call_id_into, id_into, model_into};
use crate::dialect::openai_chat::script::{aloud_detail, is_anthropic, redacted_detail};
use crate::usage::count::Usage;
use crate::wire::sse::{write_comment, write_event};

/// Bytes of the chunk's buffer that are kept between events; thousands of streams are open at a time.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// Writes one stream.
#[derive(Debug, Default)]
pub struct Writer {
    style: Style,
    /// What every chunk begins with, up to its choices.
    head: Vec<u8>,
    /// The chunk being written.
    chunk: Vec<u8>,
    calls: Vec<Called>,
    thought: Thought,
    stop: Option<Stop>,
    usage: Option<Usage>,
    is_over: bool,
}

/// How the input of a call is written.
#[derive(Debug)]
enum Called {
    /// As arguments; whether there were any.
    Function(bool),
    /// As free text.
    Custom,
    /// As free text, which comes as the one argument of a function.
    Emulated(Box<Unwrap>),
}

/// The thought that is being told.
#[derive(Debug, Default)]
struct Thought {
    text: Vec<u8>,
    /// It has become too long to be kept.
    is_long: bool,
    /// Thoughts with details so far.
    details: usize,
}

impl Writer {
    /// At the start of a stream.
    pub fn new(style: Style) -> Self {
        Self { style, ..Self::default() }
    }

    /// Appends the server-sent events that say `event`.
    pub fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        match event {
            Event::Start(start) => self.start(start, out),
            Event::Text(text) => self.said(b"\"content\":", text, out),
            Event::Refusal(text) => self.said(b"\"refusal\":", text, out),
            Event::Thinking(text) => self.thinking(text, out),
            Event::Signature(signature) => self.signature(signature, out),
            Event::Redacted(data) => self.redacted(data, out),
            Event::CallStart { index, id, name, is_custom } => {
                self.call(*index, (id, name), *is_custom, out);
            }
            Event::CallInput { index, piece } => self.input(*index, piece, out),
            Event::Stop { stop, .. } => self.stop = Some(*stop),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Ping => write_comment(out, "ping"),
            Event::Error(error) => {
                self.is_over = true;
                self.chunk.clear();
                failure::write(error, &mut self.chunk);
                write_event(out, None, &self.chunk);
            }
            Event::End => self.end(out),
        }
        if self.chunk.capacity() > KEPT_BYTES_MAX {
            self.chunk.clear();
            self.chunk.shrink_to(KEPT_BYTES_MAX);
        }
    }

    /// Whether the last event has been written: the end, or an error.
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    fn start(&mut self, start: &Start<'_>, out: &mut Vec<u8>) {
        let head = &mut self.head;
        head.extend_from_slice(b"{\"id\":");
        id_into(start.id.as_ref(), &self.style, head);
        head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        number_into(start.created.unwrap_or(self.style.created), head);
        head.extend_from_slice(b",\"model\":");
        model_into(start.model.as_ref(), &self.style, head);
        head.extend_from_slice(b",\"choices\":[");
        self.usage = start.usage;
        self.open();
        self.put(b"\"role\":\"assistant\",\"content\":\"\"");
        self.close(out);
    }

    /// Begins a chunk with a delta.
    fn open(&mut self) {
        self.chunk.clear();
        self.chunk.extend_from_slice(&self.head);
        self.put(b"{\"index\":0,\"delta\":{");
    }

    fn put(&mut self, json: &[u8]) {
        self.chunk.extend_from_slice(json);
    }

    /// Ends a chunk that does not finish the answer.
    fn close(&mut self, out: &mut Vec<u8>) {
        self.put(b"},\"logprobs\":null,\"finish_reason\":null}]");
        self.send(out);
    }

    /// Ends a chunk behind its choices. Who wants usage at the end gets `null` until then.
    fn send(&mut self, out: &mut Vec<u8>) {
        self.put(if self.style.stream_usage { b",\"usage\":null}" } else { b"}" });
        write_event(out, None, &self.chunk);
    }

    fn said(&mut self, key: &[u8], text: &Text<'_>, out: &mut Vec<u8>) {
        self.thought.forget();
        self.open();
        self.put(key);
        text.quote_into(&mut self.chunk);
        self.close(out);
    }

    fn thinking(&mut self, text: &Text<'_>, out: &mut Vec<u8>) {
        self.thought.keep(text);
        self.open();
        self.put(b"\"reasoning_content\":");
        text.quote_into(&mut self.chunk);
        self.close(out);
    }

    fn signature(&mut self, signature: &Text<'_>, out: &mut Vec<u8>) {
        if !is_anthropic(signature) {
            return;
        }
        self.open();
        self.put(b"\"reasoning_details\":[");
        let text = Text::written(&self.thought.text);
        aloud_detail(&text, Some(signature), self.thought.details, &mut self.chunk);
        self.put(b"]");
        self.close(out);
        self.thought.details += 1;
        self.thought.forget();
    }

    fn redacted(&mut self, data: &Text<'_>, out: &mut Vec<u8>) {
        self.thought.forget();
        self.open();
        self.put(b"\"reasoning_details\":[");
        redacted_detail(data, self.thought.details, &mut self.chunk);
        self.put(b"]");
        self.close(out);
        self.thought.details += 1;
    }

    /// Begins a call, of which the id and the name come as a pair.
    fn call(
        &mut self,
        index: usize,
        (id, name): (&Text<'_>, &Text<'_>),
        is_custom: bool,
        out: &mut Vec<u8>,
    ) {
        self.thought.forget();
        let called = if is_custom {
            Called::Custom
        } else if self.style.memory.is_custom(name) {
            Called::Emulated(Box::default())
        } else {
            Called::Function(false)
        };
        let is_function = matches!(called, Called::Function(_));
        // Calls are numbered in the order in which they come.
        self.calls.push(called);
        self.open_call(index);
        self.put(b",\"id\":");
        call_id_into(id, index, &self.style, &mut self.chunk);
        self.put(if is_function {
            b",\"type\":\"function\",\"function\":{\"name\":"
        } else {
            b",\"type\":\"custom\",\"custom\":{\"name\":".as_slice()
        });
        self.style.memory.original(name).quote_into(&mut self.chunk);
        self.put(if is_function { b",\"arguments\":\"\"}}]" } else { b",\"input\":\"\"}}]" });
        self.close(out);
    }

    fn open_call(&mut self, index: usize) {
        self.open();
        self.put(b"\"tool_calls\":[{\"index\":");
        number_into(index as u64, &mut self.chunk);
    }

    fn input(&mut self, index: usize, piece: &Text<'_>, out: &mut Vec<u8>) {
        if piece.is_empty() {
            return;
        }
        match self.calls.get_mut(index) {
            Some(Called::Function(has_input)) => {
                *has_input = true;
                self.arguments(index, piece, out);
            }
            Some(Called::Custom) => self.free(index, piece, out),
            Some(Called::Emulated(unwrap)) => {
                let mut text = Vec::new();
                unwrap.feed(piece, &mut text);
                if !text.is_empty() {
                    self.free(index, &Text::written(&text), out);
                }
            }
            None => {}
        }
    }

    fn arguments(&mut self, index: usize, piece: &Text<'_>, out: &mut Vec<u8>) {
        self.open_call(index);
        self.put(b",\"function\":{\"arguments\":");
        piece.quote_into(&mut self.chunk);
        self.put(b"}}]");
        self.close(out);
    }

    fn free(&mut self, index: usize, piece: &Text<'_>, out: &mut Vec<u8>) {
        self.open_call(index);
        self.put(b",\"custom\":{\"input\":");
        piece.quote_into(&mut self.chunk);
        self.put(b"}}]");
        self.close(out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.is_over = true;
        for index in 0..self.calls.len() {
            if matches!(self.calls.get(index), Some(Called::Function(false))) {
                self.arguments(index, &Text::written(b"{}"), out);
            }
        }
        if let Some(stop) = self.stop {
            self.open();
            self.put(b"},\"logprobs\":null,\"finish_reason\":\"");
            self.put(word(stop).as_bytes());
            self.put(b"\"}]");
            self.send(out);
        }
        if let Some(usage) = self.usage.filter(|_| self.style.stream_usage) {
            self.chunk.clear();
            self.chunk.extend_from_slice(&self.head);
            self.put(b"],\"usage\":");
            usage_into(&usage, &mut self.chunk);
            self.put(b"}");
            write_event(out, None, &self.chunk);
        }
        write_event(out, None, b"[DONE]");
    }
}

impl Thought {
    fn keep(&mut self, text: &Text<'_>) {
        let more = text.as_written();
        self.is_long |= self.text.len() + more.len() > SIGNED_THOUGHT_BYTES_MAX;
        if self.is_long {
            self.text.clear();
        } else {
            self.text.extend_from_slice(more);
        }
    }

    fn forget(&mut self) {
        self.text.clear();
        self.is_long = false;
    }
}
