//! Steps through JSON that has been checked before, entering only the containers that matter.
//!
//! `cursor` finds out whether a text is JSON; this only finds its way. Text that is not JSON is safe
//! to hand in: the first thing that is out of place ends the walk, and nothing is reported.

use crate::wire::cursor::Cursor;
use crate::wire::string;
use crate::wire::syntax::Span;

/// A place in a text, moving forward only.
#[derive(Clone, Debug)]
pub struct Pull<'b> {
    body: &'b [u8],
    at: usize,
}

impl<'b> Pull<'b> {
    /// Stands at the start of `within`; what lies behind it is out of reach.
    pub fn new(body: &'b [u8], within: Span) -> Self {
        let body = body.get(..within.end).unwrap_or(body);
        Self { body, at: within.start }
    }

    /// Where it stands: behind what was passed last.
    #[inline]
    pub const fn at(&self) -> usize {
        self.at
    }

    /// Passes white space and looks at the byte behind it; 0 at the end.
    #[inline]
    pub fn peek(&mut self) -> u8 {
        loop {
            let byte = self.body.get(self.at).copied().unwrap_or(0);
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
    }

    /// Steps into the object or array that starts here. Every call of `key` or `item` that finds
    /// something must be followed by a step over, or into, that value.
    #[inline]
    pub fn enter(&mut self) {
        self.peek();
        self.at += 1;
    }

    /// The next key of the object around, between its quotes and as written; `None` after the last
    /// one, when the object has been left.
    #[inline]
    pub fn key(&mut self) -> Option<Span> {
        match self.peek() {
            b',' => self.at += 1,
            b'}' => {
                self.at += 1;
                return None;
            }
            _ => {}
        }
        if self.peek() != b'"' {
            return self.lost();
        }
        let start = self.at + 1;
        let Ok(end) = string::skip(self.body, start, &mut false) else { return self.lost() };
        self.at = end;
        if self.peek() != b':' {
            return self.lost();
        }
        self.at += 1;
        Some(Span::new(start, end - 1))
    }

    /// Whether another item of the array around follows; if not, the array has been left.
    #[inline]
    pub fn item(&mut self) -> bool {
        match self.peek() {
            0 => false,
            b']' => {
                self.at += 1;
                false
            }
            b',' => {
                self.at += 1;
                true
            }
            _ => true,
        }
    }

    /// Steps over the value that starts here. Returns where it lies.
    #[inline]
    pub fn skip(&mut self) -> Span {
        if self.peek() == b'"' {
            let start = self.at;
            let Some(end) = string::pass(self.body, start + 1) else {
                return self.lost().unwrap_or_default();
            };
            self.at = end;
            return Span::new(start, end);
        }
        match Cursor::new(self.body, Span::new(self.at, self.body.len())).value() {
            Ok(value) => {
                self.at = value.end;
                value
            }
            Err(_) => self.lost().unwrap_or_default(),
        }
    }

    #[cold]
    fn lost(&mut self) -> Option<Span> {
        self.at = self.body.len();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text again, without white space, by way of single steps only.
    fn retold(pull: &mut Pull<'_>, body: &[u8], out: &mut Vec<u8>) {
        match pull.peek() {
            b'{' => {
                pull.enter();
                out.push(b'{');
                while let Some(key) = pull.key() {
                    out.extend([b"\"", key.of(body), b"\":"].concat());
                    retold(pull, body, out);
                    out.push(b',');
                }
                out.push(b'}');
            }
            b'[' => {
                pull.enter();
                out.push(b'[');
                while pull.item() {
                    retold(pull, body, out);
                    out.push(b',');
                }
                out.push(b']');
            }
            _ => out.extend_from_slice(pull.skip().of(body)),
        }
    }

    fn told(text: &str) -> String {
        let mut out = Vec::new();
        let body = text.as_bytes();
        retold(&mut Pull::new(body, Span::whole(body)), body, &mut out);
        String::from_utf8(out).unwrap().replace(",}", "}").replace(",]", "]")
    }

    #[test]
    fn every_value_is_reached() {
        for text in [
            r#"{"a":1,"b":[true,null,"x"],"c":{"d":[[],{}]},"a":"\n"}"#,
            "[]",
            "{}",
            "\"\"",
            "-1.5e3",
        ] {
            assert_eq!(told(text), text);
        }
        assert_eq!(told(" { \"a\" : [ 1 , { } ] , \"b\" : 2 } "), r#"{"a":[1,{}],"b":2}"#);
    }

    proptest! {
        #[test]
        fn any_text_comes_to_an_end(text in r#"([\[\]{},: "a1]|\\n|true){0,40}"#) {
            told(&text);
        }
    }
}
