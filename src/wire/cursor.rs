//! Walks over JSON once, checking all of it, and remembers nothing but where it is.
//!
//! Hot path: `benches/envelope.rs`. Nesting is kept as one bit per level, so depth costs no stack
//! and no allocation. Text is checked to be well-formed JSON here, except for UTF-8: see `is_wide`.

use crate::base::limit;
use crate::wire::string;
use crate::wire::syntax::{Member, Problem, Span, SyntaxError};

/// The open containers, innermost in the lowest bit: 1 is an object, 0 an array.
#[derive(Clone, Copy, Debug, Default)]
struct Nesting {
    kinds: u128,
    depth: usize,
}

const _: () = assert!(limit::JSON_DEPTH_MAX <= u128::BITS as usize, "one bit per level");

impl Nesting {
    #[inline]
    fn push(&mut self, object: bool) -> bool {
        if self.depth == limit::JSON_DEPTH_MAX {
            return false;
        }
        self.kinds = self.kinds << 1 | u128::from(object);
        self.depth += 1;
        true
    }

    #[inline]
    fn pop(&mut self) {
        self.kinds >>= 1;
        self.depth -= 1;
    }

    #[inline]
    fn in_object(&self) -> bool {
        self.kinds & 1 == 1
    }
}

/// What comes after a value has been read.
enum Next {
    /// Another value of the container around it.
    Value,
    /// Nothing: the value asked for is complete.
    Done,
}

/// A place in a text, moving forward only.
#[derive(Clone, Debug)]
pub struct Cursor<'b> {
    body: &'b [u8],
    at: usize,
    nesting: Nesting,
    wide: bool,
}

impl<'b> Cursor<'b> {
    /// Stands at the start of `within`; what lies behind it is out of reach.
    pub fn new(body: &'b [u8], within: Span) -> Self {
        let body = body.get(..within.end).unwrap_or(body);
        Self { body, at: within.start, nesting: Nesting::default(), wide: false }
    }

    /// Whether bytes beyond ASCII may have been passed, so that the text has to be checked for
    /// UTF-8. Never false when there were some.
    pub const fn is_wide(&self) -> bool {
        self.wide
    }

    /// Passes white space and looks at the byte behind it; 0, which starts nothing in JSON, at
    /// the end.
    #[inline]
    pub fn peek(&mut self) -> u8 {
        loop {
            let byte = self.here();
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
    }

    /// The error that this stands here.
    #[cold]
    pub fn error(&self, problem: Problem) -> SyntaxError {
        SyntaxError::at(problem, self.body, self.at)
    }

    /// Checks that nothing but white space is left.
    pub fn finish(&mut self) -> Result<(), SyntaxError> {
        self.peek();
        if self.at < self.body.len() { Err(self.error(Problem::Trailing)) } else { Ok(()) }
    }

    /// Reads the one value that starts here, however deep it is.
    pub fn value(&mut self) -> Result<Span, SyntaxError> {
        self.peek();
        let start = self.at;
        let floor = self.nesting.depth;
        while !(self.begin_value()? && matches!(self.after_value(floor)?, Next::Done)) {}
        Ok(Span::new(start, self.at))
    }

    /// Reads a value or opens a container. Returns whether that was a complete value; if not, the
    /// container's first value comes next.
    #[inline]
    fn begin_value(&mut self) -> Result<bool, SyntaxError> {
        match self.peek() {
            b'"' => self.at = string::skip(self.body, self.at + 1, &mut self.wide)?,
            b'{' => return self.open_object(),
            b'[' => return self.open_array(),
            b't' => self.literal(b"true")?,
            b'f' => self.literal(b"false")?,
            b'n' => self.literal(b"null")?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => return Err(self.error(Problem::Value)),
        }
        Ok(true)
    }

    /// Passes commas and closing brackets until the next value, or until no more than `floor`
    /// containers are open.
    #[inline]
    fn after_value(&mut self, floor: usize) -> Result<Next, SyntaxError> {
        while self.nesting.depth > floor {
            let in_object = self.nesting.in_object();
            match (self.peek(), in_object) {
                (b',', _) => {
                    self.at += 1;
                    if in_object {
                        self.key(Problem::Key)?;
                    }
                    return Ok(Next::Value);
                }
                (b'}', true) | (b']', false) => self.close(),
                (_, true) => return Err(self.error(Problem::CommaOrObjectEnd)),
                (_, false) => return Err(self.error(Problem::CommaOrArrayEnd)),
            }
        }
        Ok(Next::Done)
    }

    #[inline]
    fn open(&mut self, object: bool) -> Result<(), SyntaxError> {
        if !self.nesting.push(object) {
            return Err(self.error(Problem::TooDeep));
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn close(&mut self) {
        self.nesting.pop();
        self.at += 1;
    }

    fn open_object(&mut self) -> Result<bool, SyntaxError> {
        self.open(true)?;
        if self.peek() == b'}' {
            self.close();
            return Ok(true);
        }
        self.key(Problem::KeyOrClose)?;
        Ok(false)
    }

    fn open_array(&mut self) -> Result<bool, SyntaxError> {
        self.open(false)?;
        let empty = self.peek() == b']';
        if empty {
            self.close();
        }
        Ok(empty)
    }

    /// Reads a key and its colon. Returns where the key lies between its quotes.
    #[inline]
    fn key(&mut self, otherwise: Problem) -> Result<Span, SyntaxError> {
        if self.peek() != b'"' {
            return Err(self.error(otherwise));
        }
        let start = self.at + 1;
        self.at = string::skip(self.body, start, &mut self.wide)?;
        let key = Span::new(start, self.at - 1);
        if self.peek() != b':' {
            return Err(self.error(Problem::Colon));
        }
        self.at += 1;
        Ok(key)
    }

    #[inline]
    fn literal(&mut self, word: &[u8]) -> Result<(), SyntaxError> {
        let rest = self.body.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(self.error(Problem::Value));
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), SyntaxError> {
        if self.here() == b'-' {
            self.at += 1;
        }
        let leading_zero = self.here() == b'0';
        let whole = self.digits()?;
        if leading_zero && whole > 1 {
            return Err(self.error(Problem::Digit));
        }
        if self.here() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.here(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.here(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// The byte here, white space included; 0 at the end.
    #[inline]
    fn here(&self) -> u8 {
        self.body.get(self.at).copied().unwrap_or(0)
    }

    /// Passes digits, of which there must be at least one, and counts them.
    #[inline]
    fn digits(&mut self) -> Result<usize, SyntaxError> {
        let start = self.at;
        while self.here().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.error(Problem::Digit));
        }
        Ok(self.at - start)
    }
}

/// Walks over the members of one object.
#[derive(Clone, Debug)]
pub struct Walk<'b> {
    cursor: Cursor<'b>,
    /// Offset of the `{` or `,` that was passed last; `None` after the closing brace.
    before: Option<usize>,
    /// Offset of the opening brace.
    open: usize,
}

impl<'b> Walk<'b> {
    /// Enters the object that starts here.
    pub fn enter(mut cursor: Cursor<'b>) -> Result<Self, SyntaxError> {
        if cursor.peek() != b'{' {
            return Err(cursor.error(Problem::Object));
        }
        let open = cursor.at;
        cursor.open(true)?;
        Ok(Self { cursor, before: Some(open), open })
    }

    /// Offset of the opening brace.
    pub const fn open_brace(&self) -> usize {
        self.open
    }

    /// The next member, or `None` after the last one.
    pub fn next_member(&mut self) -> Result<Option<Member>, SyntaxError> {
        let Some(before) = self.before else { return Ok(None) };
        let cursor = &mut self.cursor;
        if before == self.open && cursor.peek() == b'}' {
            self.leave();
            return Ok(None);
        }
        let first = before == self.open;
        let key = cursor.key(if first { Problem::KeyOrClose } else { Problem::Key })?;
        let value = cursor.value()?;
        let found = cursor.peek();
        let after = cursor.at;
        match found {
            b',' => {
                cursor.at += 1;
                self.before = Some(after);
            }
            b'}' => self.leave(),
            _ => return Err(cursor.error(Problem::CommaOrObjectEnd)),
        }
        Ok(Some(Member { key, value, before, after }))
    }

    fn leave(&mut self) {
        self.cursor.close();
        self.before = None;
    }

    /// The cursor, behind the object once `next_member` has returned `None`.
    pub fn into_cursor(self) -> Cursor<'b> {
        self.cursor
    }
}
