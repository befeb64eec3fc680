//! Writes a streamed answer as the events of this dialect.
//!
//! Calls of tools stay open until the answer stops: pieces of several may come mixed, and where one
//! ends nobody says. Everything that came is repeated in the last events, so it is kept, up to a bound.

use crate::base::limit::ANSWER_KEPT_BYTES_MAX;
use crate::dialect::canonical::answer::Stop;
use crate::dialect::canonical::event::{Event, Failure, Start};
use crate::dialect::canonical::style::Style;
use crate::dialect::canonical::text::Text;
use crate::dialect::openai_responses::failure::Words;
use crate::dialect::openai_responses::item::{self, Called, Kind, Said, Status};
use crate::dialect::openai_responses::object::{self, Head, Standing};
use crate::dialect::openai_responses::open::{Call, Message, Spot, Thoughts};
use crate::dialect::openai_responses::pen::{Line, Pen};
use crate::usage::count::Usage;
use crate::wire::sse;

/// Bytes that every item is counted for beside its text: ids, names, and its frame.
const ITEM_BYTES: usize = 512;

/// A stream of this dialect being written.
#[derive(Debug)]
pub struct Writer {
    style: Style,
    line: Line,
    head: Option<Head>,
    message: Option<Message>,
    thoughts: Option<Thoughts>,
    /// The calls by their numbers, until the answer stops.
    calls: Vec<Call>,
    /// Every item by its place, as JSON; empty while it is open.
    output: Vec<Vec<u8>>,
    /// Bytes kept for the last events.
    kept: usize,
    stop: Option<Stop>,
    usage: Option<Usage>,
    /// Whether the last event has been written.
    is_over: bool,
}

impl Writer {
    /// A stream that has not begun.
    pub fn new(style: Style) -> Self {
        Self {
            style,
            line: Line::default(),
            head: None,
            message: None,
            thoughts: None,
            calls: Vec::new(),
            output: Vec::new(),
            kept: 0,
            stop: None,
            usage: None,
            is_over: false,
        }
    }

    /// Appends what an event becomes: none or several whole events of the dialect.
    pub fn write(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        match event {
            Event::Start(start) => self.start(start, out),
            Event::Text(text) => self.say(Said::Text, text, out),
            Event::Refusal(text) => self.say(Said::Refusal, text, out),
            Event::Thinking(text) => self.think(text, out),
            Event::Signature(text) => self.sign(text, out),
            Event::Redacted(data) => self.redacted(data, out),
            Event::CallStart { id, name, is_custom, .. } => {
                self.call(id, name, *is_custom, out);
            }
            Event::CallInput { index, piece } => self.call_input(*index, piece, out),
            Event::Stop { stop, .. } => {
                self.stop = Some(*stop);
                self.close_all(out);
            }
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::Ping => sse::write_comment(out, "ping"),
            Event::Error(failure) => self.fail(failure, out),
            Event::End => self.end(out),
        }
    }

    /// Whether the last event has been written: the end, or an error.
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// The number of the event that would come next.
    pub const fn next_number(&self) -> u64 {
        self.line.next()
    }

    fn start(&mut self, start: &Start<'_>, out: &mut Vec<u8>) {
        if self.head.is_some() {
            return;
        }
        let head = self.head.insert(Head::new(start, &self.style));
        let mut pen = Pen { line: &mut self.line, out };
        for name in ["response.created", "response.in_progress"] {
            pen.event(name, |data| {
                data.extend_from_slice(b",\"response\":");
                object::push(head, Standing::InProgress, (b"", None), data);
            });
        }
    }

    /// Counts bytes that are kept from now on; whether the answer may go on.
    fn keep(&mut self, bytes: usize, out: &mut Vec<u8>) -> bool {
        self.start(&Start::default(), out);
        self.kept = self.kept.saturating_add(bytes);
        if self.kept <= ANSWER_KEPT_BYTES_MAX {
            return true;
        }
        let message = Text::of("the answer is longer than what a stream of this API can repeat");
        let failure = Failure { status: Some(502), message: Some(message), ..Failure::default() };
        self.fail(&failure, out);
        false
    }

    /// The place of one more item.
    fn place(&mut self) -> usize {
        self.output.push(Vec::new());
        self.kept = self.kept.saturating_add(ITEM_BYTES);
        self.output.len() - 1
    }

    fn spot(&mut self, kind: Kind) -> Spot {
        let place = self.place();
        Spot { place, id: item::id(kind, &self.style, place) }
    }

    fn say(&mut self, said: Said, text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() || !self.keep(text.as_written().len(), out) {
            return;
        }
        self.close_thoughts(out);
        if self.message.is_none() {
            let spot = self.spot(Kind::Message);
            self.message = Some(Message::open(spot, &mut Pen { line: &mut self.line, out }));
        }
        if let Some(message) = &mut self.message {
            message.say(said, text.as_written(), &mut Pen { line: &mut self.line, out });
        }
    }

    /// The thoughts that are open, opened now if there are none.
    fn open_thoughts(&mut self, out: &mut Vec<u8>) -> Option<&mut Thoughts> {
        self.close_message(Status::Completed, out);
        if self.thoughts.is_none() {
            let spot = self.spot(Kind::Thoughts);
            self.thoughts = Some(Thoughts::open(spot, &mut Pen { line: &mut self.line, out }));
        }
        self.thoughts.as_mut()
    }

    fn think(&mut self, text: &Text<'_>, out: &mut Vec<u8>) {
        if !self.keep(text.as_written().len(), out) {
            return;
        }
        // Those that are signed are whole. An empty piece says that others begin, and no more.
        if self.thoughts.as_ref().is_some_and(Thoughts::is_signed) {
            self.close_thoughts(out);
        }
        if text.is_empty() {
            return;
        }
        self.open_thoughts(out);
        if let Some(thoughts) = &mut self.thoughts {
            thoughts.think(text.as_written(), &mut Pen { line: &mut self.line, out });
        }
    }

    fn sign(&mut self, text: &Text<'_>, out: &mut Vec<u8>) {
        if text.is_empty() || !self.keep(text.as_written().len(), out) {
            return;
        }
        if let Some(thoughts) = self.open_thoughts(out) {
            thoughts.sign(text.as_written());
        }
    }

    fn redacted(&mut self, data: &Text<'_>, out: &mut Vec<u8>) {
        if !self.keep(data.as_written().len(), out) {
            return;
        }
        self.close_message(Status::Completed, out);
        self.close_thoughts(out);
        let spot = self.spot(Kind::Thoughts);
        let mut pen = Pen { line: &mut self.line, out };
        let closed = Thoughts::redacted(spot, data.as_written(), &mut pen);
        self.closed(closed);
    }

    fn call(&mut self, id: &Text<'_>, name: &Text<'_>, is_custom: bool, out: &mut Vec<u8>) {
        if !self.keep(id.as_written().len() + name.as_written().len(), out) {
            return;
        }
        self.close_message(Status::Completed, out);
        self.close_thoughts(out);
        let place = self.place();
        let mut called = Called::new(id, name, &self.style, place);
        let unwraps = called.is_custom && !is_custom;
        called.is_custom |= is_custom;
        let mut pen = Pen { line: &mut self.line, out };
        self.calls.push(Call::open(called, place, unwraps, &mut pen));
    }

    fn call_input(&mut self, index: usize, piece: &Text<'_>, out: &mut Vec<u8>) {
        if !self.keep(piece.as_written().len(), out) {
            return;
        }
        if let Some(call) = self.calls.get_mut(index) {
            call.feed(piece, &mut Pen { line: &mut self.line, out });
        }
    }

    fn closed(&mut self, (place, item): (usize, Vec<u8>)) {
        if let Some(space) = self.output.get_mut(place) {
            *space = item;
        }
    }

    fn close_message(&mut self, status: Status, out: &mut Vec<u8>) {
        if let Some(message) = self.message.take() {
            let closed = message.close(status, &mut Pen { line: &mut self.line, out });
            self.closed(closed);
        }
    }

    fn close_thoughts(&mut self, out: &mut Vec<u8>) {
        if let Some(thoughts) = self.thoughts.take() {
            let closed = thoughts.close(&mut Pen { line: &mut self.line, out });
            self.closed(closed);
        }
    }

    /// Closes what is open, in the order of the places. Of an answer that was cut off, the last item
    /// is not whole.
    fn close_all(&mut self, out: &mut Vec<u8>) {
        let is_cut = matches!(self.stop, Some(Stop::Length | Stop::Window));
        let last = self.output.len();
        let status = |place: usize| {
            if is_cut && place + 1 == last { Status::Incomplete } else { Status::Completed }
        };
        for call in std::mem::take(&mut self.calls) {
            let status = status(call.place());
            let closed = call.close(status, &mut Pen { line: &mut self.line, out });
            self.closed(closed);
        }
        self.close_thoughts(out);
        let status = self.message.as_ref().map_or(Status::Completed, |one| status(one.place()));
        self.close_message(status, out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.start(&Start::default(), out);
        self.close_all(out);
        let standing = Standing::of_stop(self.stop);
        let name = match standing {
            Standing::Incomplete(_) => "response.incomplete",
            _ => "response.completed",
        };
        // Clients take an answer without usage for a broken one.
        let usage = self.usage.unwrap_or_default();
        self.last(name, standing, Some(&usage), out);
    }

    fn fail(&mut self, failure: &Failure<'_>, out: &mut Vec<u8>) {
        self.start(&Start::default(), out);
        let words = Words::of(failure);
        let standing = Standing::Failed(words.code_in_stream(), words.message);
        let usage = self.usage;
        self.last("response.failed", standing, usage.as_ref(), out);
    }

    fn last(
        &mut self,
        name: &str,
        standing: Standing<'_>,
        usage: Option<&Usage>,
        out: &mut Vec<u8>,
    ) {
        self.is_over = true;
        let Some(head) = &self.head else { return };
        let whole = std::mem::take(&mut self.output);
        let whole: Vec<Vec<u8>> = whole.into_iter().filter(|item| !item.is_empty()).collect();
        let output = whole.join(&b","[..]);
        Pen { line: &mut self.line, out }.event(name, |data| {
            data.extend_from_slice(b",\"response\":");
            object::push(head, standing, (&output, usage), data);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai_responses::reply::tests::style;
    use crate::dialect::openai_responses::stream::Reader;
    use crate::wire::sse::Decoder;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn played(events: &[Event<'_>]) -> Vec<u8> {
        let mut writer = Writer::new(style());
        let mut out = Vec::new();
        for event in events {
            writer.write(event, &mut out);
        }
        out
    }

    /// The events of a stream as typed clients see them: names and data agree, and the numbers rise.
    fn values(stream: &[u8]) -> Vec<Value> {
        let mut values = Vec::new();
        let mut decoder = Decoder::new();
        decoder.feed(stream, |event| {
            if event.has_data {
                let value: Value = serde_json::from_slice(event.data).expect("JSON");
                assert_eq!(value["type"].as_str().map(str::as_bytes), event.name);
                assert_eq!(value["sequence_number"], json!(values.len()));
                values.push(value);
            }
        });
        values
    }

    fn types(values: &[Value]) -> Vec<&str> {
        let name = |value| Value::as_str(value).unwrap_or_default().trim_start_matches("response.");
        values.iter().map(|value| name(&value["type"])).collect()
    }

    fn text(text: &str) -> Text<'static> {
        Text::of(text)
    }

    fn call(index: usize, id: &str, name: &str, is_custom: bool) -> Event<'static> {
        Event::CallStart { index, id: text(id), name: text(name), is_custom }
    }

    fn input(index: usize, piece: &str) -> Event<'static> {
        Event::CallInput { index, piece: text(piece) }
    }

    fn stop(stop: Stop) -> Event<'static> {
        Event::Stop { stop, sequence: None }
    }

    #[test]
    fn a_turn_with_text_and_calls_has_every_event() {
        let values = values(&played(&[
            Event::Start(Start { id: Some(text("chatcmpl-1")), ..Start::default() }),
            Event::Ping,
            Event::Text(text("")),
            Event::Text(text("Two")),
            Event::Text(text(" \"cranes\"\n")),
            call(0, "c1", "short", false),
            call(1, "", "list", false),
            input(0, "{\"n\":"),
            input(0, "2}"),
            Event::Usage(Usage { input: 3, output: 4, ..Usage::default() }),
            stop(Stop::Tools),
            Event::End,
            Event::Text(text("late")),
        ]));
        assert_eq!(
            types(&values),
            [
                "created",
                "in_progress",
                "output_item.added",
                "content_part.added",
                "output_text.delta",
                "output_text.delta",
                "output_text.done",
                "content_part.done",
                "output_item.done",
                "output_item.added",
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
                "completed",
            ]
        );
        assert_eq!(values[0]["response"]["id"], json!("resp_chatcmpl-1"));
        assert_eq!(values[0]["response"]["model"], json!("asked"));
        assert_eq!(
            values[5],
            json!({"type": "response.output_text.delta", "sequence_number": 5, "item_id": "msg_weir_7_0",
                "output_index": 0, "content_index": 0, "delta": " \"cranes\"\n", "logprobs": []})
        );
        assert_eq!(
            values[12],
            json!({"type": "response.function_call_arguments.delta", "sequence_number": 12,
                "item_id": "fc_weir_7_1", "output_index": 1, "delta": "2}"})
        );
        let last = &values[18]["response"];
        let done = |at: usize| values[at]["item"].clone();
        assert_eq!(last["output"], json!([done(8), done(14), done(17)]));
        assert_eq!(
            done(14),
            json!({"id": "fc_weir_7_1", "type": "function_call", "status": "completed",
                "arguments": "{\"n\":2}", "call_id": "c1", "name": "a long name"})
        );
        assert_eq!(
            (&done(17)["arguments"], &done(17)["call_id"]),
            (&json!("{}"), &json!("call_7_2"))
        );
        assert_eq!((&last["status"], &last["store"]), (&json!("completed"), &json!(false)));
        assert_eq!(last["usage"]["total_tokens"], json!(7));
    }

    #[test]
    fn thoughts_are_items_of_their_own() {
        let values = values(&played(&[
            Event::Thinking(text("a")),
            Event::Thinking(text("b")),
            Event::Signature(text("si")),
            Event::Signature(text("g")),
            Event::Thinking(text("")),
            Event::Signature(text("weir-unsigned:gAAA")),
            Event::Redacted(text("data")),
            Event::Thinking(text("")),
            Event::Text(text("c")),
            Event::Refusal(text("no")),
            stop(Stop::End),
            Event::End,
        ]));
        let output = &values.last().expect("events")["response"]["output"];
        assert_eq!(
            output,
            &json!([
                {"id": "rs_weir_7_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "ab"}], "encrypted_content": "weir1:sig"},
                {"id": "rs_weir_7_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
                {"id": "rs_weir_7_2", "type": "reasoning", "summary": [], "encrypted_content": "weir1r:data"},
                {"id": "msg_weir_7_3", "type": "message", "status": "completed", "role": "assistant", "content": [
                    {"type": "output_text", "annotations": [], "logprobs": [], "text": "c"},
                    {"type": "refusal", "refusal": "no"}]}])
        );
        assert_eq!(
            types(&values)[2..8],
            [
                "output_item.added",
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
            ]
        );
        assert!(types(&values).contains(&"refusal.done"));
    }

    #[test]
    fn custom_tools_get_free_text_even_where_a_function_stood_for_them() {
        let values = values(&played(&[
            call(0, "c0", "grep", true),
            input(0, "x y"),
            call(1, "c1", "patch", false),
            input(1, "{\"input\":\"*** \\\"p"),
            input(1, "\\\"\"}"),
            stop(Stop::Tools),
            Event::End,
        ]));
        let output = &values.last().expect("events")["response"]["output"];
        assert_eq!(
            (&output[0]["type"], &output[0]["input"]),
            (&json!("custom_tool_call"), &json!("x y"))
        );
        assert_eq!(
            (&output[1]["type"], &output[1]["input"]),
            (&json!("custom_tool_call"), &json!("*** \"p\""))
        );
        assert!(types(&values).contains(&"custom_tool_call_input.delta"));
    }

    #[test]
    fn an_answer_that_was_cut_says_so() {
        let values = values(&played(&[
            Event::Text(text("a")),
            call(0, "c", "f", false),
            input(0, "{\"x"),
            stop(Stop::Length),
            Event::End,
        ]));
        let last = values.last().expect("events");
        assert_eq!(last["type"], json!("response.incomplete"));
        assert_eq!(last["response"]["incomplete_details"], json!({"reason": "max_output_tokens"}));
        let status = |at: usize| last["response"]["output"][at]["status"].clone();
        assert_eq!((status(0), status(1)), (json!("completed"), json!("incomplete")));
    }

    #[test]
    fn an_error_ends_the_stream_and_a_broken_one_gets_no_end() {
        let failure = Failure {
            kind: Some(text("overloaded_error")),
            message: Some(text("Overloaded")),
            ..Failure::default()
        };
        let failed = [Event::Text(text("a")), Event::Error(failure), Event::End];
        let stream = played(&failed);
        let seen = values(&stream);
        let last = seen.last().expect("events");
        assert_eq!(last["type"], json!("response.failed"));
        assert_eq!(
            last["response"]["error"],
            json!({"code": "server_is_overloaded", "message": "Overloaded"})
        );
        let early = values(&played(&[Event::Error(Failure::default())]));
        assert_eq!(types(&early), ["created", "in_progress", "failed"]);
        let broken = values(&played(&[Event::Text(text("a"))]));
        assert_eq!(types(&broken).last(), Some(&"output_text.delta"));
        assert!(played(&[]).is_empty());
        let empty = values(&played(&[Event::Start(Start::default()), Event::End]));
        assert_eq!(types(&empty), ["created", "in_progress", "completed"]);
    }

    #[test]
    fn an_answer_too_long_to_repeat_fails() {
        let mut writer = Writer::new(style());
        let piece = Event::Text(text(&"x".repeat(1024 * 1024)));
        let mut out = Vec::new();
        for _ in 1..ANSWER_KEPT_BYTES_MAX / (1024 * 1024) {
            out.clear();
            writer.write(&piece, &mut out);
            assert!(out.starts_with(b"event: response.") && !writer.is_over);
        }
        out.clear();
        writer.write(&piece, &mut out);
        assert!(out.starts_with(b"event: response.failed") && writer.is_over);
    }

    /// What a stream says, however it was cut.
    fn told(events: &[Event<'_>]) -> Vec<(char, String)> {
        let mut told: Vec<(char, String)> = Vec::new();
        for event in events {
            let (kind, piece) = match event {
                Event::Text(text) => ('t', text),
                Event::Refusal(text) => ('r', text),
                Event::Thinking(text) => ('h', text),
                Event::Signature(text) => ('s', text),
                Event::Redacted(text) => ('x', text),
                Event::CallStart { id, .. } => ('c', id),
                Event::CallInput { piece, .. } => ('i', piece),
                _ => continue,
            };
            let piece = piece.plain().expect("text").into_owned();
            match told.last_mut() {
                Some((last, text)) if *last == kind && !"cx".contains(kind) => {
                    text.push_str(&piece);
                }
                _ if piece.is_empty() => {}
                _ => told.push((kind, piece)),
            }
        }
        told
    }

    fn read_back(stream: &[u8], chunk: usize) -> Vec<(char, String)> {
        let mut decoder = Decoder::new();
        let mut reader = Reader::new();
        let mut all = Vec::new();
        let mut ended = false;
        for bytes in stream.chunks(chunk) {
            decoder.feed(bytes, |event| {
                reader.read(event.name, event.data, &mut |event| {
                    ended |= event == Event::End;
                    all.push(told(&[event]));
                });
            });
        }
        assert!(ended);
        let mut joined: Vec<(char, String)> = Vec::new();
        for (kind, piece) in all.into_iter().flatten() {
            match joined.last_mut() {
                Some((last, text)) if *last == kind && !"cx".contains(kind) => {
                    text.push_str(&piece);
                }
                _ => joined.push((kind, piece)),
            }
        }
        joined
    }

    fn event() -> impl Strategy<Value = Vec<Event<'static>>> {
        let some = || any::<String>().prop_map(|text| Text::of(&text));
        prop_oneof![
            some().prop_map(|text| vec![Event::Text(text)]),
            some().prop_map(|text| vec![Event::Refusal(text)]),
            "[a-z]{1,9}".prop_map(|text| vec![Event::Redacted(Text::of(&text))]),
            (some(), "[a-z]{1,9}").prop_map(|(text, signature)| {
                vec![Event::Thinking(text), Event::Signature(Text::of(&signature))]
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_played_is_read_as_the_same(
            events in prop::collection::vec(event(), 0..8),
            calls in prop::collection::vec(("[a-z]{1,5}", "[a-z]{1,5}"), 0..3),
            chunk in 1..400_usize,
        ) {
            let mut events: Vec<Event<'_>> = events.concat();
            for (index, (id, piece)) in calls.iter().enumerate() {
                events.extend([call(index, id, "f", false), input(index, piece)]);
            }
            let expected = told(&events);
            events.extend([stop(Stop::End), Event::End]);
            let stream = played(&events);
            values(&stream);
            prop_assert_eq!(read_back(&stream, chunk), expected);
        }
    }
}
