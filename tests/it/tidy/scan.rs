//! A light reader of Rust source, enough for the rules of `tidy`: words and marks without comments and
//! text, test code taken out, functions, paths, and names of types.
//!
//! It is no parser: code that rustfmt has laid out and the compiler has accepted is all it must read.

/// One word or mark, and the line it stands on (from 0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The word, or one character.
    pub text: String,
    /// Its line.
    pub line: usize,
}

/// One function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// From the signature's first line to the closing brace.
    pub lines: usize,
    /// Parameters without `self`.
    pub parameters: usize,
}

/// The words and marks of a file: comments are gone, text is an empty `""`.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader { rest: source.chars().collect(), at: 0, line: 0, out: Vec::new() };
    while reader.step() {}
    reader.out
}

struct Reader {
    rest: Vec<char>,
    at: usize,
    line: usize,
    out: Vec<Token>,
}

impl Reader {
    fn peek(&self, ahead: usize) -> char {
        self.rest.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn take(&mut self) -> char {
        let taken = self.peek(0);
        self.at += 1;
        self.line += usize::from(taken == '\n');
        taken
    }

    /// Reads one token, comment or blank; false at the end.
    fn step(&mut self) -> bool {
        if self.at >= self.rest.len() {
            return false;
        }
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.take_while(|next| next != '\n'),
            ('/', '*') => self.block_comment(),
            ('"', _) => self.text(),
            ('\'', _) => self.quote(),
            (first, _) if first.is_whitespace() => self.skip(1),
            (first, _) if is_word(first) => self.word(),
            _ => {
                let line = self.line;
                let text = self.take().to_string();
                self.out.push(Token { text, line });
            }
        }
        true
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.take();
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.at < self.rest.len() && wanted(self.peek(0)) {
            self.take();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                ('\0', '\0') => return,
                _ => {
                    self.take();
                    continue;
                }
            }
            self.skip(2);
            if depth == 0 {
                return;
            }
        }
    }

    fn text(&mut self) {
        let line = self.line;
        self.take();
        while self.at < self.rest.len() {
            match self.take() {
                '\\' => self.skip(1),
                '"' => break,
                _ => {}
            }
        }
        self.out.push(Token { text: "\"\"".to_owned(), line });
    }

    fn raw_text(&mut self) {
        let line = self.line;
        let hashes = self.rest[self.at..].iter().take_while(|next| **next == '#').count();
        self.skip(hashes + 1);
        while self.at < self.rest.len() {
            let ends = self.take() == '"' && (0..hashes).all(|ahead| self.peek(ahead) == '#');
            if ends {
                self.skip(hashes);
                break;
            }
        }
        self.out.push(Token { text: "\"\"".to_owned(), line });
    }

    /// A character, or a lifetime, which is dropped like one.
    fn quote(&mut self) {
        self.take();
        if self.peek(0) == '\\' {
            self.take();
            self.take();
            self.take_while(|next| next != '\'');
            self.take();
        } else if self.peek(1) == '\'' {
            self.take();
            self.take();
        } else {
            self.take_while(is_word);
        }
    }

    fn word(&mut self) {
        let (start, line) = (self.at, self.line);
        self.take_while(is_word);
        let text: String = self.rest[start..self.at].iter().collect();
        let is_raw = matches!(text.as_str(), "r" | "br" | "cr");
        match self.peek(0) {
            '"' | '#' if is_raw => self.raw_text(),
            '"' if matches!(text.as_str(), "b" | "c") => self.text(),
            '\'' if text == "b" => self.quote(),
            _ => self.out.push(Token { text, line }),
        }
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The same tokens without everything that stands behind `#[cfg(test)]`.
pub fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut out = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_at(tokens, at, &mark) {
            at = item_end(tokens, at + mark.len());
        } else {
            out.push(tokens[at].clone());
            at += 1;
        }
    }
    out
}

/// The modules that a file declares: name, and whether only tests have it.
pub fn modules(tokens: &[Token]) -> Vec<(String, bool)> {
    let mark = ["cfg", "(", "test", ")", "]"];
    let declared = tokens.windows(3).enumerate().filter(|(_, three)| {
        three[0].text == "mod" && three[2].text == ";" && three[1].text.chars().all(is_word)
    });
    let declared = declared.map(|(at, three)| {
        let is_test = at >= mark.len() && is_at(tokens, at - mark.len(), &mark);
        (three[1].text.clone(), is_test)
    });
    declared.collect()
}

/// Whether these words stand there.
fn is_at(tokens: &[Token], at: usize, words: &[&str]) -> bool {
    let here = tokens.get(at..at + words.len());
    here.is_some_and(|here| here.iter().zip(words).all(|(token, word)| token.text == *word))
}

/// Behind the item that begins there: its closing brace, or the semicolon of one without a body.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => return at + 1,
            "}" | ")" | "]" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Every function with a body, nested ones included.
pub fn functions(tokens: &[Token]) -> Vec<Function> {
    let starts = tokens.windows(2).enumerate().filter(|(_, two)| {
        two[0].text == "fn"
            && two[1].text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    });
    starts.filter_map(|(at, two)| function(tokens, at, two[1].text.clone())).collect()
}

fn function(tokens: &[Token], start: usize, name: String) -> Option<Function> {
    let open = (start..tokens.len()).find(|at| tokens[*at].text == "(")?;
    let close = closing(tokens, open)?;
    let body = (close..tokens.len()).find(|at| matches!(tokens[*at].text.as_str(), "{" | ";"))?;
    if tokens[body].text == ";" {
        return None;
    }
    let end = closing(tokens, body)?;
    let lines = tokens[end].line - tokens[start].line + 1;
    Some(Function { name, lines, parameters: parameters(&tokens[open + 1..close]) })
}

/// The mark that closes the one that stands there.
fn closing(tokens: &[Token], open: usize) -> Option<usize> {
    let mut depth = 0;
    (open..tokens.len()).find(|at| {
        match tokens[*at].text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// Parameters in the list between the parentheses, without `self`.
fn parameters(list: &[Token]) -> usize {
    let (mut count, mut depth, mut is_open) = (0, 0, false);
    let mut first = Vec::new();
    for (at, token) in list.iter().enumerate() {
        let is_arrow = token.text == ">" && at > 0 && list[at - 1].text == "-";
        match token.text.as_str() {
            "(" | "[" | "{" | "<" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            ">" if !is_arrow => depth -= 1,
            "," if depth == 0 => {
                count += usize::from(is_open);
                is_open = false;
                continue;
            }
            word if count == 0 && depth == 0 => first.push(word),
            _ => {}
        }
        is_open = true;
    }
    count += usize::from(is_open);
    count - usize::from(first.contains(&"self"))
}

/// Every path of the file, `use` trees spelled out: `crate::wire::sse::Decoder`.
pub fn paths(tokens: &[Token]) -> Vec<(String, usize)> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].text == "use" {
            let end = item_end(tokens, at + 1).min(tokens.len());
            let end = (at..tokens.len()).find(|end| tokens[*end].text == ";").unwrap_or(end);
            tree(&tokens[at + 1..end], "", &mut out);
            at = end;
        } else if is_name(&tokens[at].text) && is_joined(tokens, at) {
            let (path, next) = chain(tokens, at);
            out.push((path, tokens[at].line));
            at = next;
        } else {
            at += 1;
        }
    }
    out
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Whether `::` follows.
fn is_joined(tokens: &[Token], at: usize) -> bool {
    is_at(tokens, at + 1, &[":", ":"])
}

/// The longest path from there, and what follows it.
fn chain(tokens: &[Token], mut at: usize) -> (String, usize) {
    let mut path = tokens[at].text.clone();
    while is_joined(tokens, at) && tokens.get(at + 3).is_some_and(|next| is_name(&next.text)) {
        at += 3;
        path += "::";
        path += &tokens[at].text;
    }
    (path, at + 1)
}

/// Spells out one `use` tree.
fn tree(tokens: &[Token], prefix: &str, out: &mut Vec<(String, usize)>) {
    let Some(first) = tokens.first() else { return };
    let join = |path: &str| match prefix {
        "" => path.to_owned(),
        prefix => format!("{prefix}::{path}"),
    };
    if first.text == "{" {
        return branches(tokens).into_iter().for_each(|branch| tree(branch, prefix, out));
    }
    let (path, next) = chain(tokens, 0);
    if is_at(tokens, next, &[":", ":", "{"]) {
        tree(&tokens[next + 2..], &join(&path), out);
    } else {
        out.push((join(&path), first.line));
    }
}

/// The parts of `{a, b::{c, d}}`.
fn branches(tokens: &[Token]) -> Vec<&[Token]> {
    let end = closing(tokens, 0).unwrap_or(tokens.len());
    let inner = tokens.get(1..end).unwrap_or_default();
    let mut depth = 0;
    let parts = inner.split(|token| {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        depth == 0 && token.text == ","
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// Names that the file gives to types and traits.
pub fn types(tokens: &[Token]) -> Vec<(String, usize)> {
    let named = tokens.windows(2).filter(|two| {
        matches!(two[0].text.as_str(), "struct" | "enum" | "trait" | "type" | "union")
            && two[1].text.starts_with(char::is_uppercase)
    });
    named.map(|two| (two[1].text.clone(), two[1].line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r##"
//! Head with fn not_code() {}
use crate::{base::{fault::Fault, id}, wire as w};
fn one(&self, a: Map<u8, (u8, u8)>, b: impl Fn(u8, u8) -> u8) -> u8 { let c = '{'; let _ = "} fn x() {"; 0 }
struct Longer<'a>(&'a str);
fn two(
    a: u8,
) {
    let _ = r#"}"#; /* } */
    tokio::time::sleep(crate::wire::sse::NOW).await
}
#[cfg(test)]
mod tests { fn three() {} }
#[cfg(test)]
mod other_tests;
mod plain;
"##;

    #[test]
    fn functions_are_found_and_measured() {
        let found = functions(&without_tests(&tokens(SAMPLE)));
        let wanted = [("one", 1, 2), ("two", 6, 1)];
        let wanted = wanted.map(|(name, lines, parameters)| Function {
            name: name.to_owned(),
            lines,
            parameters,
        });
        assert_eq!(found, wanted);
    }

    #[test]
    fn paths_are_spelled_out() {
        let found: Vec<String> = paths(&tokens(SAMPLE)).into_iter().map(|(path, _)| path).collect();
        assert_eq!(found[..3], ["crate::base::fault::Fault", "crate::base::id", "crate::wire"]);
        assert_eq!(found[3..], ["tokio::time::sleep", "crate::wire::sse::NOW"]);
    }

    #[test]
    fn modules_and_types_are_named() {
        let tokens = tokens(SAMPLE);
        assert_eq!(
            modules(&tokens),
            [("other_tests".to_owned(), true), ("plain".to_owned(), false)]
        );
        assert_eq!(types(&tokens), [("Longer".to_owned(), 4)]);
    }
}
