//! Writes events of a stream, numbered in the order in which they leave.

use crate::dialect::openai_responses::number;
use crate::wire::sse;

/// Bytes of the buffer for one event that are kept for the next one. Pieces need less; the last events
/// repeat the whole answer.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// The events so far.
#[derive(Debug, Default)]
pub struct Line {
    sequence: u64,
    data: Vec<u8>,
}

/// Where the next events go.
pub struct Pen<'p> {
    /// What they are numbered by.
    pub line: &'p mut Line,
    /// The stream.
    pub out: &'p mut Vec<u8>,
}

impl Line {
    /// The number of the next event.
    pub const fn next(&self) -> u64 {
        self.sequence
    }
}

impl Pen<'_> {
    /// Writes an event. `fill` appends its members, each with a comma in front.
    pub fn event(&mut self, name: &str, fill: impl FnOnce(&mut Vec<u8>)) {
        let data = &mut self.line.data;
        data.clear();
        data.extend_from_slice(b"{\"type\":\"");
        data.extend_from_slice(name.as_bytes());
        data.extend_from_slice(b"\",\"sequence_number\":");
        number::push(self.line.sequence, data);
        fill(data);
        data.push(b'}');
        sse::write_event(self.out, Some(name), data);
        data.shrink_to(KEPT_BYTES_MAX);
        self.line.sequence += 1;
    }
}
