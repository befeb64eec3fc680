//! What of an answer has to wait while a tool call before it still comes in: Messages knows one block
//! after the other only, and some providers mix the pieces of several calls.

use std::collections::VecDeque;

use crate::base::limit::CALLS_HELD_BYTES_MAX;
use crate::dialect::anthropic::words::Begun;
use crate::dialect::canonical::text::Text;

/// Bytes that an entry is reckoned with beside its text.
const ENTRY_BYTES: usize = 64;

/// A block that waits, or a piece of one.
#[derive(Debug)]
pub struct Held {
    /// What it is.
    pub what: What,
    /// What has come of it, as written.
    pub said: Vec<u8>,
}

/// What waits.
#[derive(Debug)]
pub enum What {
    /// Text.
    Text,
    /// Thoughts.
    Thinking,
    /// The signature of thoughts.
    Signature,
    /// Thoughts that only their provider can read.
    Redacted,
    /// A call and its input.
    Call(Begun<'static>),
}

impl What {
    const fn index(&self) -> Option<usize> {
        match self {
            Self::Call(call) => Some(call.index),
            _ => None,
        }
    }

    /// Whether more of `self` behind `last` goes on with it.
    const fn goes_on(&self, last: &Self) -> bool {
        matches!((self, last), (Self::Text, Self::Text) | (Self::Thinking, Self::Thinking))
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Call(call) => call.id.as_written().len() + call.name.as_written().len(),
            _ => 0,
        }
    }
}

/// Blocks that wait, in their order.
#[derive(Debug, Default)]
pub struct Queue {
    held: VecDeque<Held>,
    bytes: usize,
}

impl Queue {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether more waits than may.
    pub const fn is_overfull(&self) -> bool {
        self.bytes > CALLS_HELD_BYTES_MAX
    }

    /// Lets that wait.
    pub fn push(&mut self, what: What, said: &Text<'_>) {
        let said = said.as_written();
        self.bytes += said.len();
        if let Some(last) = self.held.back_mut().filter(|last| what.goes_on(&last.what)) {
            last.said.extend_from_slice(said);
            return;
        }
        self.bytes += ENTRY_BYTES + what.bytes();
        self.held.push_back(Held { what, said: said.to_vec() });
    }

    /// Lets a piece of a waiting call's input wait; one of another call is none of ours.
    pub fn input(&mut self, index: usize, piece: &Text<'_>) {
        let of_call = |held: &&mut Held| held.what.index() == Some(index);
        if let Some(held) = self.held.iter_mut().find(of_call) {
            held.said.extend_from_slice(piece.as_written());
            self.bytes += piece.as_written().len();
        }
    }

    /// The one that has waited longest.
    pub fn next(&mut self) -> Option<Held> {
        let next = self.held.pop_front()?;
        self.bytes = self.bytes.saturating_sub(ENTRY_BYTES + next.what.bytes() + next.said.len());
        Some(next)
    }
}

/// Finds out when a JSON object is whole that comes in pieces, each of them the inside of a string.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whole {
    depth: usize,
    has_begun: bool,
    in_string: bool,
    is_escaped: bool,
}

impl Whole {
    /// Whether the object is whole, so that nothing can follow.
    pub const fn is_whole(self) -> bool {
        self.has_begun && self.depth == 0
    }

    /// Looks at the next piece.
    pub fn feed(&mut self, piece: &Text<'_>) {
        let mut rest = piece.as_written();
        while let [byte, behind @ ..] = rest {
            let (meant, behind) = match (byte, behind) {
                (b'\\', [b'u', behind @ ..]) => (of_digits(behind), behind.get(4..)),
                (b'\\', [letter, behind @ ..]) => (plain(*letter), Some(behind)),
                _ => (*byte, Some(behind)),
            };
            self.step(meant);
            rest = behind.unwrap_or_default();
        }
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            self.in_string = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => {
                self.depth += 1;
                self.has_begun = true;
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// What an escape of one letter means; white space is as good as any other.
const fn plain(letter: u8) -> u8 {
    match letter {
        b'"' | b'\\' | b'/' => letter,
        _ => b' ',
    }
}

/// The character of `\u0022`, if it is one that matters.
fn of_digits(digits: &[u8]) -> u8 {
    let digits = digits.get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or(b' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole_after(pieces: &[&str]) -> Vec<bool> {
        let mut whole = Whole::default();
        let fed = |piece: &&str| {
            whole.feed(&Text::of(piece));
            whole.is_whole()
        };
        pieces.iter().map(fed).collect()
    }

    #[test]
    fn an_object_is_whole_with_its_last_brace() {
        assert_eq!(
            whole_after(&["", "{\"a\":", "\"}\\\"", "}\"", "}", " "]),
            [false, false, false, false, true, true]
        );
        assert_eq!(whole_after(&["{}"]), [true]);
        let mut whole = Whole::default();
        whole.feed(&Text::written(br"{\u0022}\u0022:[1]\n"));
        assert!(!whole.is_whole());
        whole.feed(&Text::written(br"}"));
        assert!(whole.is_whole());
    }

    #[test]
    fn what_waits_keeps_its_order_and_has_a_bound() {
        let mut queue = Queue::default();
        let call = |index| {
            let (id, name) = (Text::of("c"), Text::of("f"));
            What::Call(Begun { index, id, name, is_custom: false })
        };
        queue.push(call(1), &Text::default());
        queue.push(What::Text, &Text::of("a"));
        queue.push(What::Text, &Text::of("b"));
        queue.push(call(2), &Text::default());
        queue.input(1, &Text::of("one"));
        queue.input(2, &Text::of("two"));
        queue.input(9, &Text::of("lost"));
        let order: Vec<Vec<u8>> =
            std::iter::from_fn(|| queue.next()).map(|held| held.said).collect();
        assert_eq!(order, [b"one".to_vec(), b"ab".to_vec(), b"two".to_vec()]);
        queue.push(What::Signature, &Text::of(&"x".repeat(CALLS_HELD_BYTES_MAX)));
        assert!(queue.is_overfull());
        queue.next();
        assert!(!queue.is_overfull() && queue.is_empty());
    }

    proptest! {
        #[test]
        fn only_the_whole_text_is_whole(key in any::<String>(), value in any::<String>(), cut in any::<usize>()) {
            let object = serde_json::json!({key: [value, {"x": 1}]}).to_string();
            let cut = (0..=cut % object.len()).rev().find(|&cut| object.is_char_boundary(cut)).unwrap_or(0);
            let (front, back) = object.split_at(cut);
            prop_assert_eq!(whole_after(&[front, back]), [false, true]);
        }
    }
}
