//! Reads the events of a provider's stream into the neutral form.
//!
//! The dialect says everything twice, in pieces and whole: the pieces are taken, and of what comes
//! whole only that which had no pieces. Kinds of events and items that are unknown are passed over.

use crate::base::limit::STREAM_ITEMS_MAX;
use crate::dialect::canonical::answer::Block;
use crate::dialect::canonical::event::{Event, Failure, Start};
use crate::dialect::canonical::fields::{items, members};
use crate::dialect::canonical::request::Input;
use crate::dialect::canonical::text::Text;
use crate::dialect::openai_responses::failure;
use crate::dialect::openai_responses::number;
use crate::dialect::openai_responses::outcome::{Item, Outcome, PARAGRAPH};
use crate::wire::json;

/// Where the events go.
type Sink<'s> = &'s mut dyn FnMut(Event<'_>);

/// A stream of this dialect, event by event.
#[derive(Debug, Default)]
pub struct Reader {
    is_started: bool,
    /// Whether the last event that counts has come: the end, or an error.
    is_over: bool,
    items: Vec<Seen>,
    calls: usize,
}

/// An item that has begun.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Its place in the answer.
    output: u64,
    /// The number of the call that it is.
    call: Option<usize>,
    /// Whether anything of it has come yet.
    has_pieces: bool,
    /// Whether a new part of a summary has begun.
    breaks: bool,
}

/// The members of an event that have a meaning.
#[derive(Clone, Copy, Default)]
struct Found<'a> {
    kind: Option<&'a [u8]>,
    output: Option<u64>,
    delta: Option<&'a [u8]>,
    item: Option<&'a [u8]>,
    response: Option<&'a [u8]>,
    error: Option<&'a [u8]>,
}

impl<'a> Found<'a> {
    fn read(object: &'a [u8]) -> Self {
        let mut found = Self::default();
        for (key, value) in members(object) {
            match &*key {
                b"type" => {
                    found.kind = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
                }
                b"output_index" => found.output = number::read(value),
                b"delta" => found.delta = Some(value),
                b"item" => found.item = Some(value),
                b"response" => found.response = Some(value),
                b"error" => found.error = Some(value),
                _ => {}
            }
        }
        found
    }
}

impl Reader {
    /// A stream that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one event: its name, where it has one, and its data, of any bytes.
    pub fn read(&mut self, name: Option<&[u8]>, data: &[u8], sink: &mut dyn FnMut(Event<'_>)) {
        // The dialect has no such end; servers that speak both dialects of theirs write it.
        if self.is_over || data.trim_ascii() == b"[DONE]" {
            return;
        }
        let object = json::check(data).map(|span| span.of(data)).unwrap_or_default();
        if !object.starts_with(b"{") {
            return self.fail("the provider sent an event that is not a JSON object", sink);
        }
        let found = Found::read(object);
        match found.kind.or(name).unwrap_or_default() {
            b"response.output_text.delta" => self.piece(found, Event::Text, sink),
            b"response.refusal.delta" => self.piece(found, Event::Refusal, sink),
            b"response.reasoning_summary_text.delta" | b"response.reasoning_text.delta" => {
                self.piece(found, Event::Thinking, sink);
            }
            b"response.function_call_arguments.delta"
            | b"response.custom_tool_call_input.delta" => self.call_piece(found, sink),
            b"response.reasoning_summary_part.added" => {
                if let Some(seen) = self.seen(found.output) {
                    seen.breaks = seen.has_pieces;
                }
            }
            b"response.output_item.added" => self.added(found, sink),
            b"response.output_item.done" => self.done(found, sink),
            b"response.completed" | b"response.incomplete" => self.end(found, sink),
            b"response.failed" => self.failed(found, sink),
            b"response.created" | b"response.in_progress" | b"response.queued" => {
                self.start(found.response, sink);
            }
            b"error" => self.error(object, found, sink),
            b"" if found.error.is_some() => self.error(object, found, sink),
            _ => {}
        }
    }

    /// The stream's bytes are over. Its end is an event of its own, so there is nothing to add: without
    /// that event the stream broke off.
    pub fn finish(&mut self, _sink: &mut dyn FnMut(Event<'_>)) {
        self.is_over = true;
    }

    fn fail(&mut self, message: &str, sink: Sink<'_>) {
        self.is_over = true;
        let message = Some(Text::of(message));
        sink(Event::Error(Failure { status: Some(502), message, ..Failure::default() }));
    }

    fn start(&mut self, response: Option<&[u8]>, sink: Sink<'_>) {
        if self.is_started {
            return;
        }
        self.is_started = true;
        let Outcome { id, model, created, usage, .. } =
            response.map(Outcome::read).unwrap_or_default();
        sink(Event::Start(Start { id, model, created, usage }));
    }

    /// The item at that place; the last one where the event names none.
    fn seen(&mut self, output: Option<u64>) -> Option<&mut Seen> {
        match output {
            Some(output) => self.items.iter_mut().rev().find(|seen| seen.output == output),
            None => self.items.last_mut(),
        }
    }

    /// The item at that place, begun now if it has not been.
    fn begin(&mut self, output: Option<u64>, sink: Sink<'_>) -> Option<&mut Seen> {
        self.start(None, sink);
        if self.seen(output).is_none() {
            if self.items.len() >= STREAM_ITEMS_MAX {
                self.fail("the provider's answer has too many items", sink);
                return None;
            }
            let output = output.unwrap_or_default();
            self.items.push(Seen { output, call: None, has_pieces: false, breaks: false });
        }
        self.seen(output)
    }

    fn piece<'a>(
        &mut self,
        found: Found<'a>,
        event: impl Fn(Text<'a>) -> Event<'a>,
        sink: Sink<'_>,
    ) {
        let Some(text) = found.delta.and_then(Text::token).filter(|text| !text.is_empty()) else {
            return;
        };
        let Some(seen) = self.begin(found.output, sink) else { return };
        seen.has_pieces = true;
        if std::mem::take(&mut seen.breaks) {
            sink(Event::Thinking(Text::of(PARAGRAPH)));
        }
        sink(event(text));
    }

    fn call_piece(&mut self, found: Found<'_>, sink: Sink<'_>) {
        let piece = found.delta.and_then(Text::token).filter(|text| !text.is_empty());
        let (Some(seen), Some(piece)) = (self.seen(found.output), piece) else { return };
        if let Some(index) = seen.call {
            seen.has_pieces = true;
            sink(Event::CallInput { index, piece });
        }
    }

    fn added(&mut self, found: Found<'_>, sink: Sink<'_>) {
        let item = Item::read(found.item.unwrap_or_default());
        if self.begin(found.output, sink).is_some() && item.call_kind().is_some() {
            self.call(found.output, &item, sink);
        }
    }

    /// Tells of a call once.
    fn call(&mut self, output: Option<u64>, item: &Item<'_>, sink: Sink<'_>) -> Option<usize> {
        let is_custom = item.call_kind()?;
        let next = self.calls;
        let seen = self.seen(output)?;
        if let Some(index) = seen.call {
            return Some(index);
        }
        seen.call = Some(next);
        self.calls += 1;
        let id = Text::token(item.call_id).unwrap_or_default();
        let name = Text::token(item.name).unwrap_or_default();
        sink(Event::CallStart { index: next, id, name, is_custom });
        Some(next)
    }

    /// An item is whole: of it comes what has not come in pieces.
    fn done(&mut self, found: Found<'_>, sink: Sink<'_>) {
        let item = Item::read(found.item.unwrap_or_default());
        self.whole(found.output, &item, sink);
    }

    fn whole(&mut self, output: Option<u64>, item: &Item<'_>, sink: Sink<'_>) {
        let Some(seen) = self.begin(output, sink) else { return };
        let had_pieces = std::mem::replace(&mut seen.has_pieces, true);
        let index = self.call(output, item, sink);
        item.blocks(&mut |block| match block {
            Block::Thinking(thinking) => {
                if !had_pieces {
                    sink(Event::Thinking(thinking.text));
                }
                thinking.signature.into_iter().for_each(|text| sink(Event::Signature(text)));
            }
            Block::Redacted(data) => sink(Event::Redacted(data)),
            _ if had_pieces => {}
            Block::Text(text) => sink(Event::Text(text)),
            Block::Refusal(text) => sink(Event::Refusal(text)),
            Block::Call(call) => {
                let (Input::Quoted(piece) | Input::Free(piece)) = call.input else { return };
                if let Some(index) = index.filter(|_| !piece.is_empty()) {
                    sink(Event::CallInput { index, piece });
                }
            }
        });
    }

    fn end(&mut self, found: Found<'_>, sink: Sink<'_>) {
        let outcome = Outcome::read(found.response.unwrap_or_default());
        self.start(found.response, sink);
        if self.items.is_empty() {
            for (output, item) in (0..).zip(items(outcome.output.unwrap_or_default())) {
                self.whole(Some(output), &Item::read(item), sink);
            }
        }
        if self.is_over {
            return;
        }
        self.is_over = true;
        outcome.usage.into_iter().for_each(|usage| sink(Event::Usage(usage)));
        // What the event is called counts where the object does not say it.
        let incomplete = found.kind == Some(b"response.incomplete");
        let status = if incomplete { Some(&b"\"incomplete\""[..]) } else { outcome.status };
        let stop = Outcome { status, ..outcome }.stop(self.calls > 0);
        sink(Event::Stop { stop, sequence: None });
        sink(Event::End);
    }

    fn failed(&mut self, found: Found<'_>, sink: Sink<'_>) {
        self.is_over = true;
        let outcome = Outcome::read(found.response.unwrap_or_default());
        outcome.usage.into_iter().for_each(|usage| sink(Event::Usage(usage)));
        sink(Event::Error(failure::of_value(outcome.error.unwrap_or_default())));
    }

    fn error(&mut self, object: &[u8], found: Found<'_>, sink: Sink<'_>) {
        self.is_over = true;
        let failure = match found.error {
            Some(error) => failure::of_value(error),
            // The flat form, whose `type` says no more than that it is an error.
            None => Failure { kind: None, ..failure::of_value(object) },
        };
        sink(Event::Error(failure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::answer::Stop;
    use crate::wire::sse::Decoder;
    use proptest::prelude::*;

    const FIXTURE: &[u8] = include_bytes!("../../../tests/fixtures/responses_stream.sse");
    const FAILED: &[u8] = include_bytes!("../../../tests/fixtures/responses_stream_failed.sse");

    /// What a stream says, fed in chunks of that size, one line for each event.
    fn events(stream: &[u8], chunk: usize) -> Vec<String> {
        let mut decoder = Decoder::new();
        let mut reader = Reader::new();
        let mut seen = Vec::new();
        let mut sink = |event: Event<'_>| seen.push(format!("{event:?}"));
        for bytes in stream.chunks(chunk) {
            decoder.feed(bytes, |event| {
                if event.has_data {
                    reader.read(event.name, event.data, &mut sink);
                }
            });
        }
        reader.finish(&mut sink);
        seen
    }

    fn told(lines: &[&str]) -> Vec<Event<'static>> {
        let mut reader = Reader::new();
        let mut seen = Vec::new();
        for line in lines {
            reader.read(None, line.as_bytes(), &mut |event| seen.push(owned(event)));
        }
        seen
    }

    fn owned(event: Event<'_>) -> Event<'static> {
        match event {
            Event::Start(_) => Event::Start(Start::default()),
            Event::Text(text) => Event::Text(text.into_owned()),
            Event::Refusal(text) => Event::Refusal(text.into_owned()),
            Event::Thinking(text) => Event::Thinking(text.into_owned()),
            Event::Signature(text) => Event::Signature(text.into_owned()),
            Event::Redacted(text) => Event::Redacted(text.into_owned()),
            Event::CallStart { index, id, name, is_custom } => {
                Event::CallStart { index, id: id.into_owned(), name: name.into_owned(), is_custom }
            }
            Event::CallInput { index, piece } => {
                Event::CallInput { index, piece: piece.into_owned() }
            }
            Event::Stop { stop, .. } => Event::Stop { stop, sequence: None },
            Event::Usage(usage) => Event::Usage(usage),
            Event::Error(failure) => Event::Error(Failure {
                status: failure.status,
                kind: failure.kind.map(Text::into_owned),
                code: failure.code.map(Text::into_owned),
                message: failure.message.map(Text::into_owned),
                param: failure.param.map(Text::into_owned),
            }),
            Event::Ping => Event::Ping,
            Event::End => Event::End,
        }
    }

    #[test]
    fn the_recorded_stream_is_read_whole_and_cut_anywhere() {
        let whole = events(FIXTURE, FIXTURE.len());
        for chunk in 1..80 {
            assert_eq!(events(FIXTURE, chunk), whole);
        }
        let text = String::from_utf8_lossy(FIXTURE);
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let told = told(&data);
        let call = |index| Event::CallStart {
            index,
            id: Text::of("call_r1"),
            name: Text::of("count"),
            is_custom: false,
        };
        let input = |piece| Event::CallInput { index: 0, piece: Text::of(piece) };
        let Some(Event::Usage(usage)) = told.get(6) else { panic!("usage: {told:?}") };
        assert_eq!((usage.input, usage.cache_read, usage.cache_write), (86, 1920, 0));
        assert_eq!((usage.output, usage.reasoning), (300, 192));
        assert_eq!(
            [&told[..6], &told[7..]].concat(),
            [
                Event::Start(Start::default()),
                Event::Text(Text::of("Two")),
                Event::Text(Text::of(" cranes")),
                call(0),
                input("{\"n\":"),
                input("2}"),
                Event::Stop { stop: Stop::Tools, sequence: None },
                Event::End,
            ]
        );
    }

    #[test]
    fn a_failed_stream_ends_with_its_error() {
        let seen = events(FAILED, 7);
        let last = seen.last().expect("events");
        assert!(last.starts_with("Error(") && !seen.iter().any(|event| event == "End"), "{seen:?}");
        let text = String::from_utf8_lossy(FAILED);
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let Some(Event::Error(failure)) = told(&data).pop() else { panic!("an error") };
        assert_eq!((failure.status, failure.code), (Some(500), Some(Text::of("server_error"))));
    }

    #[test]
    fn errors_come_flat_and_nested() {
        for line in [
            r#"{"type":"error","code":"rate_limit_exceeded","message":"slow","param":null,"sequence_number":1}"#,
            r#"{"type":"error","error":{"code":"rate_limit_exceeded","message":"slow"}}"#,
            r#"{"error":{"code":"rate_limit_exceeded","message":"slow"}}"#,
        ] {
            let seen = told(&[line, r#"{"type":"response.completed","response":{}}"#]);
            let [Event::Error(failure)] = &*seen else { panic!("{line}") };
            assert_eq!((failure.status, failure.kind.as_ref()), (Some(429), None));
            assert_eq!(failure.message, Some(Text::of("slow")));
        }
        for line in ["", "x", "[]", "{\"type\":", "{} {}"] {
            assert!(matches!(told(&[line]).as_slice(), [Event::Error(_)]), "{line}");
        }
        assert!(told(&["[DONE]"]).is_empty());
    }

    #[test]
    fn thoughts_keep_their_paragraphs_and_their_seal() {
        let seen = told(&[
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","summary":[]}}"#,
            r#"{"type":"response.reasoning_summary_part.added","output_index":0,"summary_index":0}"#,
            r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"delta":"a"}"#,
            r#"{"type":"response.reasoning_summary_part.added","output_index":0,"summary_index":1}"#,
            r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"delta":"b"}"#,
            r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","summary":[{"text":"a"},{"text":"b"}],"encrypted_content":"gAAA"}}"#,
            r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"reasoning","summary":[],"encrypted_content":"gBBB"}}"#,
        ]);
        let thought = |text| Event::Thinking(Text::of(text));
        let signature = |text| Event::Signature(Text::of(text));
        assert_eq!(
            seen[1..],
            [
                thought("a"),
                thought("\n\n"),
                thought("b"),
                signature("weir-unsigned:gAAA"),
                thought(""),
                signature("weir-unsigned:gBBB"),
            ]
        );
    }

    #[test]
    fn what_comes_whole_only_is_taken_whole() {
        let call = r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}"#;
        let message = r#"{"type":"message","content":[{"type":"output_text","text":"hi"}]}"#;
        let started =
            Event::CallStart { index: 0, id: Text::of("c"), name: Text::of("f"), is_custom: false };
        let expected = [
            Event::Start(Start::default()),
            Event::Text(Text::of("hi")),
            started,
            Event::CallInput { index: 0, piece: Text::of("{}") },
        ];
        let items = told(&[
            &format!(r#"{{"type":"response.output_item.done","output_index":0,"item":{message}}}"#),
            &format!(r#"{{"type":"response.output_item.done","output_index":1,"item":{call}}}"#),
        ]);
        assert_eq!(items, expected);
        let whole = told(&[&format!(
            r#"{{"type":"response.incomplete","response":{{"output":[{message},{call}]}}}}"#
        )]);
        assert_eq!(whole[..4], expected);
        assert_eq!(whole[4..], [Event::Stop { stop: Stop::Length, sequence: None }, Event::End]);
    }

    #[test]
    fn an_answer_of_too_many_items_is_an_error() {
        let mut reader = Reader::new();
        let mut last = None;
        for output in 0..=STREAM_ITEMS_MAX {
            let line = format!(
                r#"{{"type":"response.output_item.added","output_index":{output},"item":{{}}}}"#
            );
            reader.read(None, line.as_bytes(), &mut |event| last = Some(owned(event)));
        }
        assert!(matches!(last, Some(Event::Error(_))));
    }

    proptest! {
        #[test]
        fn any_damage_is_answered(at in 0..FIXTURE.len(), byte: u8, cut in 0..FIXTURE.len()) {
            let mut stream = FIXTURE.to_vec();
            stream[at] = byte;
            events(&stream, 100);
            let seen = events(&FIXTURE[..cut], 100);
            let whole = events(FIXTURE, 100);
            prop_assert_eq!(&seen[..], &whole[..seen.len()]);
        }
    }
}
