//! What goes out of one piece of a stream: its bytes as they came, with events that change in their place.
//!
//! Which events change, and how, is decided by the search.

use crate::exchange::outflow::Stop;
use crate::exchange::outflow::beside::is_name;
use crate::wire::sse::{self, write_event};
use crate::wire::syntax::Span;

/// What came of the bytes of a stream that are there.
pub struct Looked {
    /// So many of them are dealt with.
    pub ready: usize,
    /// What goes on in their place; `None` if they do.
    pub changed: Option<Vec<u8>>,
    /// Why nothing may follow.
    pub stop: Option<Stop>,
}

/// What goes out of one piece of a stream.
pub struct Cut<'a> {
    /// Its bytes.
    pub whole: &'a [u8],
    /// Offset of its first byte.
    pub base: u64,
    /// Up to here everything is in `out`, changed or not.
    pub done: usize,
    /// What goes on.
    pub out: Vec<u8>,
    /// Why nothing may follow.
    pub stop: Option<Stop>,
    /// The last event lacks its blank line.
    pub is_open: bool,
}

impl Cut<'_> {
    fn place(&self, offset: u64) -> usize {
        usize::try_from(offset.saturating_sub(self.base))
            .map_or(self.whole.len(), |at| at.min(self.whole.len()))
    }

    /// Everything before that offset goes on as it came.
    pub fn keep_until(&mut self, offset: u64) {
        let at = self.place(offset);
        if at > self.done {
            self.out.extend_from_slice(&self.whole[self.done..at]);
            self.done = at;
        }
    }

    /// The bytes of an event.
    pub fn block(&self, event: &sse::Event<'_>) -> &[u8] {
        let (start, end) = (self.place(event.range.start), self.place(event.range.end));
        self.whole.get(start..end).unwrap_or_default()
    }

    /// Neither an event nor anything behind it goes on.
    pub fn end(&mut self, event: &sse::Event<'_>, stop: Stop) {
        self.keep_until(event.range.start);
        self.stop = Some(stop);
    }

    /// Other bytes go on in the place of an event. What is before it must be in `out`.
    pub fn put(&mut self, event: &sse::Event<'_>, block: &[u8]) {
        self.out.extend_from_slice(block);
        self.done = self.place(event.range.end);
    }

    /// An event goes on with other data; `lines` is what the bytes of the event have become, if anything.
    pub fn replace(&mut self, event: &sse::Event<'_>, (lines, data): (Option<&[u8]>, &[u8])) {
        let mut out = Vec::new();
        let block = lines.unwrap_or_else(|| self.block(event));
        let at = data_at(block, event.data).filter(|_| !event.data.is_empty());
        if let Some(at) = at.filter(|_| !data.contains(&b'\n')) {
            out.extend_from_slice(&block[..at]);
            out.extend_from_slice(data);
            out.extend_from_slice(&block[at + event.data.len()..]);
        } else {
            // Its data stood in several lines.
            let name = event.name.filter(|name| is_name(name)).map(String::from_utf8_lossy);
            write_event(&mut out, name.as_deref(), data);
        }
        self.put(event, &out);
    }
}

/// Where data lie in their block, if one line holds them. The same words may stand before them in a comment.
fn data_at(block: &[u8], data: &[u8]) -> Option<usize> {
    let mut end = 0;
    for line in block.split(|byte| matches!(byte, b'\n' | b'\r')) {
        end += line.len();
        let before = line.strip_prefix(b"data:").and_then(|value| value.strip_suffix(data));
        if before.is_some_and(|before| before.trim_ascii().is_empty()) {
            return Some(end - data.len());
        }
        end += 1;
    }
    None
}

/// The text with those places changed, in the order in which they begin. Of two that overlap all is gone, and the
/// first says what stands there.
pub fn changed(text: &[u8], edits: &[(Span, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for (span, with) in edits {
        if span.start < at {
            at = at.max(span.end);
            continue;
        }
        out.extend_from_slice(text.get(at..span.start).unwrap_or_default());
        out.extend_from_slice(with);
        at = span.end;
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_does_not_come_back() {
        let edit = |start, end, with: &str| (Span::new(start, end), with.as_bytes().to_vec());
        let edits = [edit(1, 5, "X"), edit(2, 3, ""), edit(5, 5, "Y"), edit(6, 7, "Z")];
        assert_eq!(changed(b"abcdefgh", &edits), b"aXYfZh");
        let across = [edit(1, 4, "X"), edit(3, 6, "Y")];
        assert_eq!(changed(b"abcdefgh", &across), b"aXgh");
        // What stands twice in the list is changed once.
        assert_eq!(changed(b"abc", &[edit(1, 2, "X"), edit(1, 2, "X")]), b"aXc");
    }

    #[test]
    fn data_lie_in_their_own_line() {
        for (block, at) in [
            ("data: {}\n\n", Some(6)),
            (": {}\ndata:{}\n\n", Some(10)),
            ("event: {}\r\ndata:  {}\r\n\r\n", Some(18)),
            ("data:\ndata: {}\n\n", Some(12)),
            ("data: {\ndata: }\n\n", None),
            ("database: {}\n\n", None),
        ] {
            assert_eq!(data_at(block.as_bytes(), b"{}"), at, "{block}");
        }
    }
}
