//! What goes out of one piece of a stream: its bytes as they came, with events that change in their place.
//!
//! Which events change, and how, is decided by the search.

use memchr::memmem;

use crate::exchange::outflow::Stop;
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

    /// An event goes on with those changes of its data.
    pub fn replace(&mut self, event: &sse::Event<'_>, edits: &[(Span, Vec<u8>)]) {
        let end = self.place(event.range.end);
        let block = &self.whole[self.done.min(end)..end];
        let data = changed(event.data, edits);
        let at = memmem::find(block, event.data).filter(|_| !event.data.is_empty());
        if let Some(at) = at {
            self.out.extend_from_slice(&block[..at]);
            self.out.extend_from_slice(&data);
            self.out.extend_from_slice(&block[at + event.data.len()..]);
        } else {
            // Its data stood in several lines.
            let name = event.name.map(String::from_utf8_lossy);
            write_event(&mut self.out, name.as_deref(), &data);
        }
        self.done = end;
    }
}

/// The text with those places changed, which are in order.
pub fn changed(text: &[u8], edits: &[(Span, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for (span, with) in edits {
        out.extend_from_slice(text.get(at..span.start).unwrap_or_default());
        out.extend_from_slice(with);
        at = span.end;
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    out
}
