//! Ends a stream that must not go on, in the client's dialect: what is open is closed, the answer is told to
//! have been filtered, and an error event says why. It keeps no more of a stream than that needs.

use crate::base::fault::Fault;
use crate::base::limit::GUARD_FIELDS_MAX;
use crate::base::surface::Surface;
use crate::dialect::error_body;
use crate::exchange::outflow::event::word;
use crate::exchange::outflow::walk;
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
    /// Choices that have not finished, or blocks that have not stopped.
    open: Vec<u64>,
}

impl Frame {
    /// Notes what an event opens and closes.
    pub fn note(&mut self, surface: Surface, event: &sse::Event<'_>) {
        let data = event.data;
        match surface {
            Surface::Messages => self.block(data),
            Surface::Responses if self.head.is_empty() => {
                if let Some(response) = json::find(data, Span::whole(data), "response") {
                    self.head = members(data, response, &["id", "created_at", "model"]);
                }
            }
            Surface::Responses => {}
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
            b"content_block_start" => self.open(index),
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
                out.extend_from_slice(&error_body::stream_event(surface, fault));
            }
            Surface::Responses => {
                out.extend_from_slice(&error_body::stream_event(surface, fault));
                let mut data = b"{\"type\":\"response.incomplete\",\"sequence_number\":0,\"response\":{\"object\":\"response\",".to_vec();
                data.extend_from_slice(&self.head);
                data.extend_from_slice(br#""status":"incomplete","incomplete_details":{"reason":"content_filter"},"error":null,"output":[],"parallel_tool_calls":true,"tool_choice":"auto","tools":[]}}"#);
                write_event(&mut out, Some("response.incomplete"), &data);
            }
            _ => {
                self.close_choices(surface, &mut out);
                out.extend_from_slice(&error_body::stream_event(surface, fault));
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
