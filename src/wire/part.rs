//! The kinds of parts that conversations are made of, and of tools, by the names of their types.
//!
//! Only tells what a name means for the size of a request; `weigh` reads the bodies. Names that are
//! not known here count as not bounded: the safe side of not knowing.

use std::borrow::Cow;

use crate::wire::json;
use crate::wire::syntax::Span;

/// What a part means for the size of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it is text in the body.
    Text,
    /// An image.
    Image,
    /// Recorded sound.
    Audio,
    /// A document of `Messages`, whose source decides.
    Document,
    /// Hidden reasoning of an earlier answer: in the body if it is sealed there, else kept at the
    /// provider.
    Reasoning,
    /// Something whose size is not seen.
    Hidden(Reason),
}

/// Why the body of a request does not bound what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A document or a file: pages have no bound in bytes.
    Document,
    /// A video.
    Video,
    /// Sound, whose tokens have prices of their own.
    Audio,
    /// Answers in sound or pictures, whose tokens have prices of their own.
    OutputMedia,
    /// A part of a type that is not known.
    UnknownPart,
    /// The answer before is kept by the provider (`previous_response_id`).
    PreviousResponse,
    /// The conversation is kept by the provider.
    Conversation,
    /// The prompt is kept by the provider.
    StoredPrompt,
    /// One item is kept by the provider.
    StoredItem,
    /// Results of tools that the provider ran.
    ServerToolResult,
    /// Tools that the provider runs, each run of which bills the input again.
    ServerTool,
    /// A request that goes on after its answer.
    Background,
    /// The provider may take another model.
    OtherModel,
    /// The provider may shorten the conversation by a run of its own.
    Compaction,
}

impl Reason {
    /// The name used in logs and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::OutputMedia => "output_media",
            Self::UnknownPart => "unknown_part",
            Self::PreviousResponse => "previous_response_id",
            Self::Conversation => "conversation",
            Self::StoredPrompt => "stored_prompt",
            Self::StoredItem => "stored_item",
            Self::ServerToolResult => "server_tool_result",
            Self::ServerTool => "server_tool",
            Self::Background => "background",
            Self::OtherModel => "other_model",
            Self::Compaction => "compaction",
        }
    }
}

impl Part {
    /// The kind of a part, an item or a message of that type.
    pub fn of_type(name: &[u8]) -> Self {
        match name {
            b"text"
            | b"input_text"
            | b"output_text"
            | b"summary_text"
            | b"reasoning_text"
            | b"refusal"
            | b"thinking"
            | b"redacted_thinking"
            | b"message"
            | b"compaction"
            | b"search_result"
            | b"tool_use"
            | b"tool_result"
            | b"tool_reference"
            | b"server_tool_use"
            | b"mcp_tool_use"
            | b"mcp_tool_result"
            | b"function_call"
            | b"function_call_output"
            | b"custom_tool_call"
            | b"custom_tool_call_output"
            | b"local_shell_call"
            | b"local_shell_call_output"
            | b"shell_call"
            | b"shell_call_output"
            | b"apply_patch_call"
            | b"apply_patch_call_output"
            | b"computer_call"
            | b"computer_call_output"
            | b"tool_search_call"
            | b"tool_search_output"
            | b"mcp_call"
            | b"mcp_list_tools"
            | b"mcp_approval_request"
            | b"mcp_approval_response" => Self::Text,
            b"image_url" | b"image" | b"input_image" | b"computer_screenshot" => Self::Image,
            b"input_audio" | b"audio" | b"audio_url" => Self::Audio,
            b"document" => Self::Document,
            b"reasoning" => Self::Reasoning,
            b"file" | b"input_file" | b"container_upload" => Self::Hidden(Reason::Document),
            b"video_url" | b"video" | b"input_video" => Self::Hidden(Reason::Video),
            b"item_reference" => Self::Hidden(Reason::StoredItem),
            b"web_search_call"
            | b"file_search_call"
            | b"code_interpreter_call"
            | b"image_generation_call" => Self::Hidden(Reason::ServerToolResult),
            _ if name.ends_with(b"_tool_result") => Self::Hidden(Reason::ServerToolResult),
            _ => Self::Hidden(Reason::UnknownPart),
        }
    }
}

/// Who runs a tool, and where its description lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The client runs it, and the body describes it.
    Described,
    /// The client runs it, and the provider adds a description that it keeps itself.
    Builtin,
    /// A folder of tools.
    Folder,
    /// The provider runs it, as often as its `max_uses` says.
    Search,
    /// The provider runs it, as often as `max_tool_calls` of the request says.
    Server,
    /// The provider runs it, and no field is known to limit that.
    Boundless,
}

impl Tool {
    /// The kind of a tool of that type.
    pub fn of_type(name: &[u8]) -> Self {
        const DATED: [&[u8]; 4] = [b"bash_2", b"text_editor_2", b"computer_2", b"memory_2"];
        match name {
            b"function" | b"custom" => Self::Described,
            b"namespace" => Self::Folder,
            b"local_shell" | b"apply_patch" => Self::Builtin,
            _ if DATED.iter().any(|prefix| name.starts_with(prefix)) => Self::Builtin,
            _ if name.starts_with(b"web_search_2") || name.starts_with(b"web_fetch_2") => {
                Self::Search
            }
            b"file_search" | b"code_interpreter" => Self::Server,
            _ if name.starts_with(b"web_search") || name.starts_with(b"computer") => Self::Server,
            _ => Self::Boundless,
        }
    }
}

/// Where the bytes of an image or a document lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// In the body, as that many bytes of base64.
    Image(usize),
    /// Somewhere else.
    Elsewhere,
    /// In the body, and it is no image.
    NoImage,
}

/// What a URL of an image holds; `token` is the string as written, quotes included.
pub fn of_url(token: &[u8]) -> Payload {
    /// As many bytes as tell the type, slashes escaped or not.
    const HEAD_BYTES: usize = 64;
    let url = token.strip_prefix(b"\"").unwrap_or(token);
    let head = url.get(..HEAD_BYTES).unwrap_or(url);
    // A slash may be escaped, as PHP does; other escapes have no place in the head of a URL.
    let head: Vec<u8> = head.iter().copied().filter(|&byte| byte != b'\\').collect();
    let is = |prefix: &[u8]| {
        head.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    if is(b"data:image/") {
        Payload::Image(url.len())
    } else if is(b"http://") || is(b"https://") {
        Payload::Elsewhere
    } else {
        Payload::NoImage
    }
}

/// What the `source` of an image of `Messages` holds.
pub fn of_source(body: &[u8], source: Span) -> Payload {
    match json::find(body, source, "data") {
        Some(data) => Payload::Image(data.len()),
        None => Payload::Elsewhere,
    }
}

/// A key or a name as written between its quotes, without escapes.
pub fn plain(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'\\') {
        return Cow::Borrowed(raw);
    }
    match json::unescape(raw) {
        Some(text) => Cow::Owned(text.into_owned().into_bytes()),
        None => Cow::Borrowed(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_bounded() {
        assert_eq!(Part::of_type(b"hologram"), Part::Hidden(Reason::UnknownPart));
        assert_eq!(Part::of_type(b""), Part::Hidden(Reason::UnknownPart));
        assert_eq!(
            Part::of_type(b"web_search_tool_result"),
            Part::Hidden(Reason::ServerToolResult)
        );
        assert_eq!(Tool::of_type(b"google_search"), Tool::Boundless);
    }

    #[test]
    fn tools_of_one_name_are_told_apart() {
        assert_eq!(Tool::of_type(b"computer_20250124"), Tool::Builtin);
        assert_eq!(Tool::of_type(b"computer_use_preview"), Tool::Server);
        assert_eq!(Tool::of_type(b"web_search_20250305"), Tool::Search);
        assert_eq!(Tool::of_type(b"custom"), Tool::Described);
    }

    #[test]
    fn urls_say_what_they_hold() {
        assert_eq!(of_url(br#""data:image/png;base64,AAAA""#), Payload::Image(27));
        assert_eq!(of_url(br#""data:image\/png;base64,AA\/A""#), Payload::Image(29));
        assert_eq!(of_url(br#""DATA:Image/png;base64,AAAA""#), Payload::Image(27));
        assert_eq!(of_url(br#""https://example.org/a.png""#), Payload::Elsewhere);
        for other in [
            br#""data:application/pdf;base64,AAAA""#.as_slice(),
            br#""\u0064ata:image/png;base64,AAAA""#,
            br#""file-123""#,
            b"null",
            b"",
        ] {
            assert_eq!(of_url(other), Payload::NoImage);
        }
        let body = br#"{"type":"base64","media_type":"image/png","data":"AAAA"}"#;
        assert_eq!(of_source(body, Span::whole(body)), Payload::Image(6));
        assert_eq!(of_source(b"{\"type\":\"url\"}", Span::new(0, 14)), Payload::Elsewhere);
    }
}
