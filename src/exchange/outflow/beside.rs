//! What stands in a stream beside the objects that dialects are made of: comments, names, ids and lines that
//! nobody knows, and data that are no JSON object. Clients show them when they fail to read them, and logs keep
//! them, so each is searched as one text by itself, and goes on at once: nothing of it is held.
//!
//! Not covered: what is cut in two between such lines or events, of which nobody puts a text together. Short
//! words, like the comments that keep connections alive, are not looked at: nothing that is looked for fits.

use bytes::Bytes;

use crate::exchange::outflow::cut::Cut;
use crate::exchange::outflow::event::is_done;
use crate::exchange::outflow::tally::Tally;
use crate::exchange::outflow::{Stop, Terms, echo};
use crate::wire::json;
use crate::wire::sse;

/// Bytes of the longest comment that may be nothing but words.
const WORDS_BYTES_MAX: usize = 32;
/// Bytes of the longest of these words: `PROCESSING`, `keep-alive`.
const WORD_BYTES_MAX: usize = 12;
/// Bytes of the longest name of an event that is one; those in use have some 50.
const NAME_BYTES_MAX: usize = 64;
/// Bytes that a block takes besides its data and its name: `data: `, `event: `, and ends of lines of two bytes.
const FRAME_BYTES: usize = 6 + 4;
const NAMED_FRAME_BYTES: usize = FRAME_BYTES + 7 + 2;

/// Searches what is no object of an event, and sends it on. What is left to be looked at is the event with its
/// data from their first byte on, and what its bytes have become if lines of it have changed.
pub fn rest<'e>(
    terms: &Terms,
    event: &sse::Event<'e>,
    cut: &mut Cut<'_>,
    tally: &mut Tally,
) -> Option<(sse::Event<'e>, Option<Vec<u8>>)> {
    let data = event.data.trim_ascii_start();
    let is_left = event.has_data && (is_done(data) || is_object(data));
    let look = |tally: &mut Tally| {
        let lines = has_lines(event).then(|| lines(terms, cut.block(event), tally));
        let lines = lines.transpose()?.flatten();
        if is_left || data.is_empty() {
            return Ok((lines, None));
        }
        Ok((lines, searched(terms, data, tally)?))
    };
    match look(tally) {
        Err(stop) => cut.end(event, stop),
        Ok((lines, _)) if is_left => {
            return Some((sse::Event { data, range: event.range.clone(), ..*event }, lines));
        }
        Ok((None, None)) => {}
        Ok((Some(lines), None)) => {
            cut.keep_until(event.range.start);
            cut.put(event, &lines);
        }
        Ok((lines, Some(data))) => {
            cut.keep_until(event.range.start);
            cut.replace(event, (lines.as_deref(), &data));
        }
    }
    None
}

/// Whether a block has lines to be looked at besides its data.
fn has_lines(event: &sse::Event<'_>) -> bool {
    let length = usize::try_from(event.range.end - event.range.start).unwrap_or(usize::MAX);
    let beside = length.saturating_sub(event.data.len());
    match event.name {
        _ if !event.has_data => true,
        Some(name) => !is_name(name) || beside > NAMED_FRAME_BYTES + name.len(),
        None => beside > FRAME_BYTES,
    }
}

/// Whether the name of an event is a name: letters and what parts them.
pub fn is_name(name: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || b"._-/".contains(byte);
    name.len() <= NAME_BYTES_MAX && name.iter().all(is_letter)
}

/// Whether a line is a few short words.
fn is_words(line: &[u8]) -> bool {
    let line = line.strip_prefix(b":").unwrap_or(line);
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || b".-".contains(byte);
    line.len() <= WORDS_BYTES_MAX
        && line.split(|byte| *byte == b' ').all(|it| it.len() <= WORD_BYTES_MAX)
        && line.iter().all(|byte| *byte == b' ' || is_letter(byte))
}

/// Whether data are the object of an event.
fn is_object(data: &[u8]) -> bool {
    json::check(data).is_ok_and(|value| value.of(data).starts_with(b"{"))
}

/// Searches the lines of a block but for its data. The block with what stands in their place, if anything does.
///
/// # Errors
/// Why the answer must not go on.
fn lines(terms: &Terms, block: &[u8], tally: &mut Tally) -> Result<Option<Vec<u8>>, Stop> {
    let (mut out, mut is_changed) = (Vec::new(), false);
    for line in block.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
        let length = line.len() - usize::from(line.ends_with(b"\n") || line.ends_with(b"\r"));
        let (text, end) = line.split_at(length);
        if text.is_empty() || is_data(text) || is_words(text) || is_named(text) {
            out.extend_from_slice(line);
            continue;
        }
        match searched(terms, text, tally)? {
            Some(shown) => {
                is_changed = true;
                out.extend_from_slice(&shown);
                out.extend_from_slice(end);
            }
            None => out.extend_from_slice(line),
        }
    }
    Ok(is_changed.then_some(out))
}

fn is_data(line: &[u8]) -> bool {
    line.strip_prefix(b"data").is_some_and(|it| it.is_empty() || it.starts_with(b":"))
}

fn is_named(line: &[u8]) -> bool {
    let name = line.strip_prefix(b"event:");
    name.is_some_and(|name| is_name(name.strip_prefix(b" ").unwrap_or(name)))
}

/// Searches a line, or data that are no object. What stands in its place, if anything does.
///
/// # Errors
/// Why the answer must not go on.
fn searched(terms: &Terms, text: &[u8], tally: &mut Tally) -> Result<Option<Bytes>, Stop> {
    let text = Bytes::copy_from_slice(text);
    let passed = echo::failure(terms, &text, tally);
    match passed.stop {
        Some(stop) => Err(stop),
        None => Ok((passed.bytes != text).then_some(passed.bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_life_are_words_and_nothing_that_is_looked_for_is() {
        for line in [": ping", ":", ": OPENROUTER PROCESSING", ":keep-alive", ": heartbeat"] {
            assert!(is_words(line.as_bytes()), "{line}");
        }
        for line in [": 219-09-9999", ": password=swordfish", ": sk-abcdefghijklmnop", "id: 7"] {
            assert!(!is_words(line.as_bytes()), "{line}");
        }
        assert!(is_name(b"response.output_text.delta") && !is_name(b"gsk_q7Zk2Vb9"));
    }

    #[test]
    fn usual_events_have_no_lines_to_look_at() {
        let has = |stream: &str| {
            let (mut decoder, mut all) = (sse::Decoder::new(), Vec::new());
            decoder.feed(stream.as_bytes(), |event| all.push(has_lines(&event)));
            all
        };
        for stream in [
            "data: {\"a\":1}\n\n",
            "data:{}\r\n\r\n",
            "event: message_start\ndata: {\"a\":1}\n\n",
            "event:a\r\ndata: {}\r\n\r\n",
        ] {
            assert_eq!(has(stream), [false], "{stream}");
        }
        for stream in [
            ": c\n",
            "id: 1234\ndata: {}\n\n",
            "data: {}\n:219-09-9999\n\n",
            "event: a1\ndata: {}\n\n",
            "event: 219-09-9999\nevent: a\ndata: {}\n\n",
        ] {
            assert_eq!(has(stream), [true], "{stream}");
        }
        assert!(is_data(b"data") && is_data(b"data:x") && !is_data(b"database: x"));
    }
}
