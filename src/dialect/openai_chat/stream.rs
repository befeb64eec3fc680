//! Reads a stream of Chat Completions, event by event, of whichever provider.
//!
//! The reason of the end is held back until the end itself, because usage, and with some providers
//! content, comes after it. A stream that breaks off before any reason gets no end.
//!
//! Hot path: one check and two walks over each event, and no allocation but for new calls.

use crate::dialect::canonical::answer::Stop;
use crate::dialect::canonical::event::{Event, Failure, Start};
use crate::dialect::canonical::fields::{find, items, members};
use crate::dialect::canonical::text::Text;
use crate::dialect::openai_chat::answer::{Piece, filled, pieces, seconds};
use crate::dialect::openai_chat::calls::Calls;
use crate::dialect::openai_chat::ending::{self, Ending};
use crate::dialect::openai_chat::failure::{is_error, of_body, of_error};
use crate::dialect::openai_chat::thought::Detail;
use crate::wire::json;

/// Where the events of a stream go.
pub(super) type Sink<'s> = &'s mut dyn FnMut(Event<'_>);

/// Reads one stream.
#[derive(Debug, Default)]
pub struct Reader {
    state: State,
    /// The best that was said of the end so far.
    ending: Option<Ending>,
    calls: Calls,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    Within,
    /// After the end, or an error: whatever follows is not looked at.
    Over,
}

/// The members of a chunk.
#[derive(Default)]
struct Chunk<'a> {
    id: Option<Text<'a>>,
    model: Option<Text<'a>>,
    created: Option<u64>,
    choices: &'a [u8],
    usage: Option<&'a [u8]>,
    groq: Option<&'a [u8]>,
    timings: Option<&'a [u8]>,
    error: Option<&'a [u8]>,
    /// It says of itself that it is an error.
    is_error: bool,
}

/// The members of a delta.
#[derive(Default)]
struct Delta<'a> {
    reasoning: Option<Text<'a>>,
    details: &'a [u8],
    content: &'a [u8],
    refusal: Option<Text<'a>>,
    calls: &'a [u8],
    old_call: Option<&'a [u8]>,
}

impl Reader {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one server-sent event, and gives what it says to `sink`. An event that is no JSON ends
    /// the stream with an error.
    pub fn read(&mut self, name: Option<&[u8]>, data: &[u8], sink: Sink<'_>) {
        let data = data.trim_ascii();
        if self.is_over() || data.is_empty() {
            return;
        }
        if data.starts_with(b"[DONE]") {
            return self.end(sink);
        }
        if json::check(data).is_err() {
            return self.fail(&ours("The provider sent an event that is not JSON."), sink);
        }
        let chunk = Chunk::of(data);
        if let Some(choice) = items(chunk.choices).find(|choice| is_first(choice)) {
            self.start(&chunk, sink);
            self.choice(choice, sink);
        }
        if self.is_over() {
            return;
        }
        let groq = |name| chunk.groq.and_then(|groq| find(groq, name));
        let usage = chunk.usage.or_else(|| groq("usage")).or(chunk.timings);
        if let Some(usage) = usage.and_then(ending::usage) {
            self.start(&chunk, sink);
            sink(Event::Usage(usage));
        }
        let error = chunk.error.or_else(|| groq("error")).filter(|error| is_error(error));
        if let Some(error) = error {
            self.fail(&of_error(error), sink);
        } else if chunk.is_error || name == Some(b"error") {
            self.fail(&of_body(data), sink);
        } else if self.ending == Some(Ending::Failed) {
            self.fail(&ours("The provider ended the answer with an error."), sink);
        }
    }

    /// The bytes have ended. Providers that do not say so have at least given a reason.
    pub fn finish(&mut self, sink: Sink<'_>) {
        if !self.is_over() && matches!(self.ending, Some(Ending::Said(_))) {
            self.end(sink);
        }
    }

    fn is_over(&self) -> bool {
        self.state == State::Over
    }

    fn start(&mut self, chunk: &Chunk<'_>, sink: Sink<'_>) {
        if self.state != State::Before {
            return;
        }
        self.state = State::Within;
        let Chunk { id, model, created, .. } = chunk;
        let (id, model) = (id.clone(), model.clone());
        sink(Event::Start(Start { id, model, created: *created, usage: None }));
    }

    fn choice(&mut self, choice: &[u8], sink: Sink<'_>) {
        let (mut ending, mut error) = (None, None);
        for (key, value) in members(choice) {
            match &*key {
                b"delta" => self.delta(value, sink),
                b"finish_reason" => ending = ending::read(value),
                // Moonshot puts it here.
                b"usage" => ending::usage(value).map(Event::Usage).into_iter().for_each(&mut *sink),
                b"error" if is_error(value) => error = Some(value),
                _ => {}
            }
            if self.is_over() {
                return;
            }
        }
        if let Some(error) = error {
            return self.fail(&of_error(error), sink);
        }
        // What went wrong, if so, may stand beside the choices.
        match ending {
            Some(Ending::Silent) => self.ending = self.ending.or(ending),
            _ => self.ending = ending.or(self.ending),
        }
    }

    fn delta(&mut self, value: &[u8], sink: Sink<'_>) {
        let delta = Delta::of(value);
        let has_plain = delta.reasoning.is_some();
        delta.reasoning.into_iter().map(Event::Thinking).for_each(&mut *sink);
        for detail in items(delta.details).map(Detail::read) {
            let text = detail.text.filter(|text| !has_plain && !text.is_empty());
            text.into_iter().map(Event::Thinking).for_each(&mut *sink);
            detail.signature.into_iter().map(Event::Signature).for_each(&mut *sink);
            detail.redacted.into_iter().map(Event::Redacted).for_each(&mut *sink);
        }
        pieces(delta.content, |piece| {
            sink(match piece {
                Piece::Text(text) => Event::Text(text),
                Piece::Thinking(text) => Event::Thinking(text),
            });
        });
        delta.refusal.into_iter().map(Event::Refusal).for_each(&mut *sink);
        let calls = items(delta.calls).map(|call| (call, false));
        for (call, is_old) in calls.chain(delta.old_call.map(|call| (call, true))) {
            if let Err(why) = self.calls.piece(call, is_old, sink) {
                return self.fail(&ours(why), sink);
            }
        }
    }

    fn end(&mut self, sink: Sink<'_>) {
        if self.calls.has_nameless() {
            return self.fail(&ours("The provider called a tool without its name."), sink);
        }
        if self.ending.is_none() && !self.calls.is_empty() {
            // Half a call would look like a whole one.
            return self
                .fail(&ours("The provider ended the stream within a call of a tool."), sink);
        }
        let said = match self.ending {
            Some(Ending::Said(stop)) => Some(stop),
            Some(Ending::Silent) => Some(Stop::End),
            Some(Ending::Failed) | None => None,
        };
        if let Some(stop) = ending::reason(said, !self.calls.is_empty()) {
            sink(Event::Stop { stop, sequence: None });
        }
        self.state = State::Over;
        sink(Event::End);
    }

    fn fail(&mut self, failure: &Failure<'_>, sink: Sink<'_>) {
        self.state = State::Over;
        sink(Event::Error(failure.clone()));
    }
}

/// Whether a choice is the one that counts.
fn is_first(choice: &[u8]) -> bool {
    find(choice, "index").is_none_or(|index| index == b"0")
}

/// A failure in our own words.
fn ours(message: &'static str) -> Failure<'static> {
    let message = Some(Text::written(message.as_bytes()));
    Failure { status: Some(502), message, ..Failure::default() }
}

impl<'a> Chunk<'a> {
    fn of(data: &'a [u8]) -> Self {
        let mut chunk = Self::default();
        for (key, value) in members(data) {
            match &*key {
                b"id" => chunk.id = filled(value),
                b"model" => chunk.model = filled(value),
                b"created" => chunk.created = seconds(value),
                b"choices" => chunk.choices = value,
                b"usage" => chunk.usage = Some(value),
                b"x_groq" => chunk.groq = Some(value),
                b"timings" => chunk.timings = Some(value),
                b"error" => chunk.error = Some(value),
                b"object" | b"type" => chunk.is_error |= value == b"\"error\"",
                _ => {}
            }
        }
        chunk
    }
}

impl<'a> Delta<'a> {
    fn of(value: &'a [u8]) -> Self {
        let mut delta = Self::default();
        for (key, value) in members(value) {
            match &*key {
                b"content" => delta.content = value,
                b"reasoning_content" => delta.reasoning = filled(value).or(delta.reasoning),
                b"reasoning" => delta.reasoning = delta.reasoning.or_else(|| filled(value)),
                b"reasoning_details" => delta.details = value,
                b"refusal" => delta.refusal = filled(value),
                b"tool_calls" => delta.calls = value,
                b"function_call" => delta.old_call = Some(value),
                _ => {}
            }
        }
        delta
    }
}
