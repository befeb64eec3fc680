//! The switch notice: tells a client that another model answered than the one it asked for.
//!
//! Its four forms are measured against real SDKs (C-12 in the acceptance list): a bare
//! `gateway_notice` event breaks three of them, a valid chunk of the client's own dialect none.

use crate::base::surface::{Dialect, Surface};
use crate::wire::json::quote_into;
use crate::wire::sse::write_event;

/// How a notice is put into a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoticeMode {
    /// A valid, empty chunk of the client's dialect that carries the notice as extra fields.
    #[default]
    Chunk,
    /// The bare event of openclaw-autoproxy: for its own clients; typed SDKs break on it.
    Event,
    /// An SSE comment.
    Comment,
    /// None, neither in streams nor in JSON answers.
    Off,
}

impl NoticeMode {
    /// The mode of that name, as written in configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "chunk" => Some(Self::Chunk),
            "event" => Some(Self::Event),
            "comment" => Some(Self::Comment),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
}

/// The facts of one switch.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The model that was chosen first.
    pub from_model: &'a str,
    /// The model that answers.
    pub to_model: &'a str,
    /// The status that made us leave the first model; 502 for no connection, 504 for no answer.
    pub trigger_status: u16,
    /// The provider of the first model.
    pub from_route: &'a str,
    /// The provider that answers.
    pub to_route: &'a str,
    /// Attempts so far, the answering one included.
    pub attempts: usize,
}

/// What a chunk needs to be valid beside the notice.
#[derive(Clone, Copy, Debug)]
pub struct ChunkFrame<'a> {
    /// Our request id, used as the chunk's id.
    pub id: &'a str,
    /// Seconds since the Unix epoch.
    pub created: u64,
}

/// The notice as a JSON object, with every key in camel and in snake case (C-11).
pub fn object(notice: &Notice<'_>) -> Vec<u8> {
    let mut out = vec![b'{'];
    push_fields(&mut out, notice);
    out.push(b'}');
    out
}

/// The notice as the first bytes of a stream; empty when the mode is off.
pub fn stream_prefix(
    mode: NoticeMode,
    surface: Surface,
    notice: &Notice<'_>,
    frame: ChunkFrame<'_>,
) -> Vec<u8> {
    let mut out = Vec::new();
    match mode {
        NoticeMode::Off => {}
        NoticeMode::Event => write_event(&mut out, Some("gateway_notice"), &object(notice)),
        NoticeMode::Comment => push_comment(&mut out, notice),
        NoticeMode::Chunk => push_chunk(&mut out, surface, notice, frame),
    }
    out
}

fn push_chunk(out: &mut Vec<u8>, surface: Surface, notice: &Notice<'_>, frame: ChunkFrame<'_>) {
    match surface {
        Surface::Chat => write_event(
            out,
            Some("gateway_notice"),
            &openai_chunk("chat.completion.chunk", "\"delta\":{\"content\":\"\"}", notice, frame),
        ),
        Surface::Completions => write_event(
            out,
            Some("gateway_notice"),
            &openai_chunk("text_completion", "\"text\":\"\",\"logprobs\":null", notice, frame),
        ),
        _ if surface.dialect() == Dialect::Anthropic => {
            let mut json = b"{\"type\":\"ping\",\"gateway_notice\":".to_vec();
            json.extend_from_slice(&object(notice));
            json.push(b'}');
            write_event(out, Some("ping"), &json);
        }
        // Every event of the Responses API must have a type that its clients know, and none of them
        // is empty: a comment is the one form that all clients skip.
        _ => push_comment(out, notice),
    }
}

/// A chunk with one choice whose content is empty. The seed's keys stand at the top level, where its
/// clients look for them, and once more in `gateway_notice`, as in JSON answers.
fn openai_chunk(
    object_name: &str,
    content: &str,
    notice: &Notice<'_>,
    frame: ChunkFrame<'_>,
) -> Vec<u8> {
    let mut json = format!(
        "{{\"id\":\"{}\",\"object\":\"{object_name}\",\"created\":{},\"model\":",
        frame.id, frame.created
    )
    .into_bytes();
    quote_into(notice.to_model, &mut json);
    json.extend_from_slice(
        format!(",\"choices\":[{{\"index\":0,{content},\"finish_reason\":null}}],").as_bytes(),
    );
    push_fields(&mut json, notice);
    json.extend_from_slice(b",\"gateway_notice\":");
    json.extend_from_slice(&object(notice));
    json.push(b'}');
    json
}

fn push_comment(out: &mut Vec<u8>, notice: &Notice<'_>) {
    out.extend_from_slice(b": gateway_notice ");
    out.extend_from_slice(&object(notice));
    out.extend_from_slice(b"\n\n");
}

fn push_fields(out: &mut Vec<u8>, notice: &Notice<'_>) {
    let texts = [
        (["fromModel", "from_model"], notice.from_model),
        (["toModel", "to_model"], notice.to_model),
        (["fromRoute", "from_route"], notice.from_route),
        (["toRoute", "to_route"], notice.to_route),
    ];
    for (keys, value) in texts {
        for key in keys {
            quote_into(key, out);
            out.push(b':');
            quote_into(value, out);
            out.push(b',');
        }
    }
    let Notice { trigger_status, attempts, .. } = notice;
    out.extend_from_slice(
        format!(
            "\"triggerStatus\":{trigger_status},\"trigger_status\":{trigger_status},\"attempts\":{attempts}"
        )
        .as_bytes(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const NOTICE: Notice<'static> = Notice {
        from_model: "a/\"b\"",
        to_model: "c",
        trigger_status: 429,
        from_route: "one",
        to_route: "two",
        attempts: 2,
    };
    const FRAME: ChunkFrame<'static> = ChunkFrame { id: "weir-1", created: 7 };

    fn event(mode: NoticeMode, surface: Surface) -> String {
        String::from_utf8(stream_prefix(mode, surface, &NOTICE, FRAME)).unwrap()
    }

    fn data(text: &str) -> Value {
        let line = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn a_chat_notice_is_a_chunk_that_a_naive_loop_can_read() {
        let text = event(NoticeMode::Chunk, Surface::Chat);
        assert!(text.starts_with("event: gateway_notice\n") && text.ends_with("\n\n"));
        let chunk = data(&text);
        assert_eq!(chunk["choices"][0]["delta"]["content"], "");
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["fromModel"], "a/\"b\"");
        assert_eq!(chunk["gateway_notice"]["trigger_status"], 429);
    }

    #[test]
    fn the_other_surfaces_have_their_own_empty_event() {
        let ping = event(NoticeMode::Chunk, Surface::Messages);
        assert!(ping.starts_with("event: ping\n"));
        assert_eq!(data(&ping)["gateway_notice"]["toRoute"], "two");
        assert!(event(NoticeMode::Chunk, Surface::Responses).starts_with(": gateway_notice {"));
        assert_eq!(data(&event(NoticeMode::Chunk, Surface::Completions))["choices"][0]["text"], "");
    }

    #[test]
    fn the_seed_form_the_comment_and_silence() {
        assert_eq!(data(&event(NoticeMode::Event, Surface::Chat))["triggerStatus"], 429);
        assert!(event(NoticeMode::Comment, Surface::Chat).starts_with(": gateway_notice {"));
        assert_eq!(event(NoticeMode::Off, Surface::Chat), "");
    }
}
