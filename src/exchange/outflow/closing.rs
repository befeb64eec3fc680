//! Ends a stream that must not go on, in the client's dialect: what is open is closed, the answer is told to
//! have been filtered, and an error event says why. It keeps no more of a stream than that needs.

use crate::base::fault::Fault;
use crate::base::limit::GUARD_FIELDS_MAX;
use crate::base::surface::Surface;
use crate::dialect::error_body;
use crate::exchange::outflow::event::word;
use crate::exchange::outflow::walk;
use crate::exchange::sequence::Sequence;
use crate::usage::finish::Finish;
use crate::wire::json;
use crate::wire::pull::Pull;
use crate::wire::sse::{self, write_event};
use crate::wire::syntax::Span;

/// What was seen of a stream's frame.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Members that every chunk of Chat repeats, or that a response is known by, as they were written.
    head: Vec<u8>,
    /// Choices that have not finished, or blocks that have not stopped; no calls of tools, which a stop would make
    /// calls that the model never made.
    open: Vec<u64>,
    /// Where the numbers of a response's events stand.
    sequence: Sequence,
}

impl Frame {
    /// Notes what an event opens and closes.
    pub fn note(&mut self, surface: Surface, event: &sse::Event<'_>) {
        let data = event.data;
        match surface {
            Surface::Messages => self.block(data),
            Surface::Responses => {
                self.sequence.note(data);
                if !self.head.is_empty() {
                    return;
                }
                if let Some(response) = json::find(data, Span::whole(data), "response") {
                    self.head = members(data, response, &["id", "created_at", "model"]);
                }
            }
            _ => {
                if self.head.is_empty() {
                    self.head = members(data, Span::whole(data), &["id", "created", "model"]);
                }
                self.choices(data);
            }
        }
    }

    fn open(&mut self, index: u64) {
        if !self.open.contains(&index) && self.open.len() < GUARD_FIELDS_MAX {
            self.open.push(index);
        }
    }

    fn block(&mut self, data: &[u8]) {
        let Some(index) = walk::number(data, Span::whole(data), "index") else { return };
        match word(data, "type") {
            b"content_block_start" if !begins_a_call(data) => self.open(index),
            b"content_block_stop" => self.open.retain(|open| *open != index),
            _ => {}
        }
    }

    fn choices(&mut self, data: &[u8]) {
        let list = json::find(data, Span::whole(data), "choices");
        let Some(list) = list.filter(|list| list.of(data).starts_with(b"[")) else { return };
        let mut pull = Pull::new(data, list);
        pull.enter();
        let mut place = 0;
        while pull.item() {
            let choice = pull.skip();
            if choice.is_empty() {
                return;
            }
            let index = walk::index(data, choice).unwrap_or(place);
            place += 1;
            match json::find(data, choice, "finish_reason") {
                Some(reason) if Finish::of(reason.of(data)).is_some() => {
                    self.open.retain(|open| *open != index);
                }
                _ => self.open(index),
            }
        }
    }

    /// The last events of the stream.
    pub fn closing(&self, surface: Surface, fault: &Fault) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        match surface {
            Surface::Messages => {
                for index in &self.open {
                    let stop = format!("{{\"type\":\"content_block_stop\",\"index\":{index}}}");
                    write_event(&mut out, Some("content_block_stop"), stop.as_bytes());
                }
                let delta = br#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_sequence":null},"usage":{"output_tokens":0}}"#;
                write_event(&mut out, Some("message_delta"), delta);
                out.extend_from_slice(&error_body::stream_event(surface, fault, 0));
            }
            Surface::Responses => {
                let number = self.sequence.next();
                out.extend_from_slice(&error_body::stream_event(surface, fault, number));
                let mut data = format!("{{\"type\":\"response.incomplete\",\"sequence_number\":{},\"response\":{{\"object\":\"response\",", number.saturating_add(1)).into_bytes();
                data.extend_from_slice(&self.head);
                data.extend_from_slice(br#""status":"incomplete","incomplete_details":{"reason":"content_filter"},"error":null,"output":[],"parallel_tool_calls":true,"tool_choice":"auto","tools":[]}}"#);
                write_event(&mut out, Some("response.incomplete"), &data);
            }
            _ => {
                self.close_choices(surface, &mut out);
                out.extend_from_slice(&error_body::stream_event(surface, fault, 0));
            }
        }
        out
    }

    fn close_choices(&self, surface: Surface, out: &mut Vec<u8>) {
        let (object, content) = match surface {
            Surface::Completions => ("text_completion", "\"text\":\"\",\"logprobs\":null"),
            _ => ("chat.completion.chunk", "\"delta\":{}"),
        };
        for index in &self.open {
            let mut data = b"{".to_vec();
            data.extend_from_slice(&self.head);
            let rest = format!(
                "\"object\":\"{object}\",\"choices\":[{{\"index\":{index},{content},\"finish_reason\":\"content_filter\"}}]}}"
            );
            data.extend_from_slice(rest.as_bytes());
            write_event(out, None, &data);
        }
    }
}

fn begins_a_call(start: &[u8]) -> bool {
    let block = json::find(start, Span::whole(start), "content_block");
    let kind = block.and_then(|block| json::find(start, block, "type"));
    kind.is_some_and(|kind| kind.of(start).ends_with(b"tool_use\""))
}

/// Those members as they were written, each with a comma behind it. They are short, or left out.
fn members(data: &[u8], object: Span, names: &[&str]) -> Vec<u8> {
    const BYTES_MAX: usize = 512;
    let mut out = Vec::new();
    for name in names {
        let Some(value) = json::find(data, object, name).filter(|it| it.len() <= BYTES_MAX) else {
            continue;
        };
        json::quote_into(name, &mut out);
        out.push(b':');
        out.extend_from_slice(value.of(data));
        out.push(b',');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fault::Code;

    #[test]
    fn a_call_that_breaks_off_is_not_closed_into_one() {
        let mut frame = Frame::default();
        let starts = [
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"server_tool_use","id":"u"}}"#,
        ];
        for data in starts {
            let text = format!("data: {data}\n\n");
            let mut decoder = sse::Decoder::new();
            decoder.feed(text.as_bytes(), |event| frame.note(Surface::Messages, &event));
        }
        let closing = frame.closing(Surface::Messages, &Fault::new(Code::OutputBlocked, "no"));
        let closing = String::from_utf8(closing).unwrap();
        assert_eq!(closing.matches("content_block_stop\",\"index").count(), 1, "{closing}");
        assert!(closing.contains("content_block_stop\",\"index\":0"), "{closing}");
    }

    #[test]
    fn the_last_events_of_a_response_go_on_counting() {
        let mut frame = Frame::default();
        let text = "data: {\"type\":\"response.created\",\"sequence_number\":6,\"response\":{\"id\":\"r\"}}\n\n\
            data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\",\"sequence_number\":7}\n\n";
        let mut decoder = sse::Decoder::new();
        decoder.feed(text.as_bytes(), |event| frame.note(Surface::Responses, &event));
        let closing = frame.closing(Surface::Responses, &Fault::new(Code::OutputBlocked, "no"));
        let (mut decoder, mut numbers) = (sse::Decoder::new(), Vec::new());
        decoder.feed(&closing, |event| {
            let data: serde_json::Value = serde_json::from_slice(event.data).unwrap();
            numbers.push(data["sequence_number"].as_u64());
        });
        assert_eq!(numbers, [Some(8), Some(9)]);
    }
}
