//! Answers no provider should give: garbage, bombs, endless lines; and fixtures byte for byte.
//!
//! Sizes are bounded here, so that a mock cannot be made to fill the memory.

use std::io::Write;
use std::path::{Component, Path};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;

use super::answer::Answer;
use super::play::Step;

/// Bytes of the endless line and of the unpacked bomb.
const ENDLESS_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of one piece of them.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes of the huge header.
const HEADER_BYTES: usize = 256 * 1024;
/// Blank lines before the JSON, and the pause after each.
const BLANKS: usize = 5;
const BLANK_PAUSE: Duration = Duration::from_millis(20);
/// What `nothttp` sends.
const NOT_HTTP: &[u8] = b"\x16\x03\x01 this is not HTTP\r\n\r\n\x00\xff\xfe";

static BOMB: LazyLock<Bytes> = LazyLock::new(|| {
    let zeros = vec![0_u8; PIECE_BYTES];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..ENDLESS_BYTES / PIECE_BYTES {
        // Writing to a vector does not fail.
        let _ = encoder.write_all(&zeros);
    }
    encoder.finish().unwrap_or_default().into()
});

/// Bytes that are no HTTP.
pub fn not_http() -> Answer {
    let mut answer = Answer::json(200, Bytes::from_static(b"{}"));
    answer.instead = Some(Bytes::from_static(NOT_HTTP));
    answer
}

/// Adds a response header larger than any sane limit.
pub fn huge_header(answer: Answer) -> Answer {
    answer.with("x-mock-huge", &"h".repeat(HEADER_BYTES))
}

/// One line that does not end, chunked.
pub fn endless(is_stream: bool) -> Answer {
    let piece = Bytes::from(vec![b'z'; PIECE_BYTES]);
    let first = Bytes::from_static(if is_stream { b"data: {\"choices\":\"" } else { b"{\"a\":\"" });
    let mut steps = vec![Step::Send(first)];
    steps.resize(ENDLESS_BYTES / PIECE_BYTES, Step::Send(piece));
    let content_type = if is_stream { "text/event-stream" } else { "application/json" };
    Answer::chunked(content_type, steps)
}

/// Delayed blank lines before the body, as `DeepSeek` sends them while a request is queued.
pub fn blank(mut answer: Answer) -> Answer {
    let mut steps = Vec::new();
    for _ in 0..BLANKS {
        steps.push(Step::Send(Bytes::from_static(b"\n")));
        steps.push(Step::Flush);
        steps.push(Step::Wait(BLANK_PAUSE));
    }
    steps.extend(answer.script.iter().cloned());
    answer.script = steps.into();
    answer.bytes_total = None;
    answer
}

/// The same body in gzip, whatever the request accepts. Each piece sent stays one piece.
pub fn gzip(mut answer: Answer) -> Answer {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut steps = Vec::with_capacity(answer.script.len() + 1);
    for step in answer.script.iter() {
        let Step::Send(bytes) = step else {
            steps.push(step.clone());
            continue;
        };
        // Writing to a vector does not fail.
        let _ = encoder.write_all(bytes);
        let _ = encoder.flush();
        steps.push(Step::Send(std::mem::take(encoder.get_mut()).into()));
    }
    let rest = encoder.finish().unwrap_or_default();
    let is_cut = matches!(steps.last(), Some(Step::Cut | Step::Reset | Step::Stall));
    if !is_cut {
        steps.push(Step::Send(rest.into()));
    }
    answer.script = steps.into();
    answer.bytes_total = None;
    encoded(answer)
}

/// 64 KiB of gzip that unpack to 64 MiB.
pub fn gzip_bomb() -> Answer {
    encoded(Answer::json(200, BOMB.clone()))
}

fn encoded(mut answer: Answer) -> Answer {
    let value = HeaderValue::from_static("gzip");
    answer.headers.push((HeaderName::from_static("content-encoding"), value));
    answer
}

/// Replays a file of the fixtures folder. Files below `errors/` hold status, headers and body.
pub fn fixture(dir: Option<&Path>, name: &str) -> Answer {
    let path = Path::new(name);
    let is_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    let bytes = dir.filter(|_| is_inside).and_then(|dir| std::fs::read(dir.join(path)).ok());
    let Some(bytes) = bytes.map(Bytes::from) else {
        let text = format!("mock: no fixture {name}");
        return Answer::whole(500, "text/plain", text.into());
    };
    if path.starts_with("errors") {
        return envelope(&bytes).unwrap_or_else(|| Answer::json(200, bytes));
    }
    if path.extension().is_some_and(|extension| extension == "sse") {
        return Answer::chunked("text/event-stream", vec![Step::Send(bytes)]);
    }
    Answer::json(200, bytes)
}

/// `{"status":…,"headers":{…},"body":…}`; the body is taken as its bytes stand in the file.
fn envelope(bytes: &Bytes) -> Option<Answer> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let status = u16::try_from(value["status"].as_u64()?).ok()?;
    let text = std::str::from_utf8(bytes).ok()?;
    let start = text.find("\"body\":")? + "\"body\":".len();
    let end = text.trim_end().len() - 1;
    let mut answer = Answer::json(status, bytes.slice(start..end));
    for (name, value) in value["headers"].as_object()? {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        answer.headers.push((name, HeaderValue::from_str(value.as_str()?).ok()?));
    }
    Some(answer)
}

/// The script of an answer as one piece of bytes, for tests.
pub fn body_bytes(script: &Arc<[Step]>) -> Vec<u8> {
    let sends = script.iter().filter_map(|step| match step {
        Step::Send(bytes) => Some(bytes.as_ref()),
        _ => None,
    });
    sends.flatten().copied().collect()
}
