//! Results of grep and ripgrep: `path:line:text` becomes one line for the path, and one for each place in it.
//!
//! Every path, every line number and every text stays. The seed's limit of places per file only on demand.

use crate::mutate::lines::{self, push};

/// Fewest places that are worth it.
const PLACES_MIN: usize = 5;
/// How much of a text must be places, in percent.
const SHARE: usize = 90;
/// Bytes of a path; beyond it is a line of something else.
const PATH_BYTES_MAX: usize = 512;
/// The seed: places of one file.
const LOSSY_PLACES: usize = 10;

/// A place in a file. `rest` is what follows the path and its sign, the line number first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found<'a> {
    path: &'a str,
    rest: &'a str,
    is_match: bool,
}

/// Whether the lines are results of a search.
pub fn fits(lines: &[&str]) -> bool {
    let (found, _) = lines::count(lines, |line| place(line).is_some());
    let (known, full) =
        lines::count(lines, |line| line == "--" || place(line).is_some() || may_be_context(line));
    found >= PLACES_MIN && lines::is_share(known, full, SHARE)
}

/// The results, shorter.
pub fn shorten(text: &str, lossy: bool) -> String {
    let all = lines::split(text);
    // A line of context does not say where its path ends; the match that it belongs to does.
    let mut next: Vec<&str> = vec![""; all.len()];
    let mut behind = "";
    for (slot, line) in next.iter_mut().zip(&all).rev() {
        behind = place(line).map_or(behind, |found| found.path);
        *slot = behind;
    }
    let mut page = Page { out: String::with_capacity(text.len()), path: "", places: 0, lossy };
    for (line, next) in all.iter().zip(next) {
        page.line(line, next);
    }
    page.end_file();
    lines::finish(page.out, text)
}

struct Page<'a> {
    out: String,
    path: &'a str,
    /// Places of the present file.
    places: usize,
    lossy: bool,
}

impl<'a> Page<'a> {
    fn line(&mut self, line: &'a str, next: &'a str) {
        let context = || around(line, self.path).or_else(|| around(line, next));
        let Some(found) = place(line).or_else(context) else {
            // The numbers tell where lines are left out.
            if line != "--" {
                self.end_file();
                push(&mut self.out, line);
            }
            return;
        };
        if found.path != self.path {
            self.end_file();
            self.path = found.path;
            push(&mut self.out, found.path);
        }
        self.places += usize::from(found.is_match);
        if !self.lossy || self.places <= LOSSY_PLACES {
            push(&mut self.out, found.rest);
        }
    }

    fn end_file(&mut self) {
        if self.lossy && self.places > LOSSY_PLACES {
            let mark = format!("... {} more in this file", self.places - LOSSY_PLACES);
            push(&mut self.out, &mark);
        }
        (self.path, self.places) = ("", 0);
    }
}

/// A line of context in a file that is known.
fn around<'a>(line: &'a str, path: &'a str) -> Option<Found<'a>> {
    if path.is_empty() {
        return None;
    }
    let rest = line.strip_prefix(path)?.strip_prefix('-')?;
    let (_, behind) = lines::number(rest)?;
    behind.starts_with('-').then_some(Found { path, rest, is_match: false })
}

/// Whether it may be a line of context.
fn may_be_context(line: &str) -> bool {
    let mut parts = line.split('-').skip(1);
    parts.any(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `path:12:text`. A path with a colon in it is rare; a text with one is not.
fn place(line: &str) -> Option<Found<'_>> {
    let head = &line.as_bytes()[..line.len().min(PATH_BYTES_MAX)];
    let (path, rest) = line.split_at(memchr::memchr(b':', head)?);
    let rest = &rest[1..];
    let (_, behind) = lines::number(rest)?;
    (behind.starts_with(':') && is_path(path)).then_some(Found { path, rest, is_match: true })
}

/// Whether it can be a path: no blanks, a name of letters, and a sign that words do not have.
fn is_path(path: &str) -> bool {
    !path.contains(|sign: char| sign.is_whitespace() || matches!(sign, '[' | '(' | '"' | ','))
        && path.contains(['/', '.'])
        && path.contains(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stand_below_their_path() {
        let text = "src/a.rs:1:fn a() {\nsrc/a.rs:20:    b: 2\nBinary file x.bin matches\nsrc/a.rs:30:c\nsrc/b-1-2.rs-6-ctx\nsrc/b-1-2.rs:7:x:8:y\nsrc/b-1-2.rs-8-ctx\n--\nsrc/b-1-2.rs:9:z";
        assert!(fits(&lines::split(text)[..2].repeat(3)));
        assert_eq!(
            shorten(text, false),
            "src/a.rs\n1:fn a() {\n20:    b: 2\nBinary file x.bin matches\nsrc/a.rs\n30:c\nsrc/b-1-2.rs\n6-ctx\n7:x:8:y\n8-ctx\n9:z"
        );
    }

    #[test]
    fn the_seeds_limit() {
        let text: String = (0..13).map(|at| format!("a.rs:{at}:x\n")).collect::<Vec<_>>().concat();
        let short = shorten(&text, true);
        assert!(short.ends_with("9:x\n... 3 more in this file\n"), "{short}");
        assert_eq!(shorten(&text, false).lines().count(), 14);
        let ten: String = (0..10).map(|at| format!("a.rs:{at}:x\n")).collect::<Vec<_>>().concat();
        assert_eq!(shorten(&ten, true).lines().count(), 11);
    }

    #[test]
    fn times_and_addresses_are_no_paths() {
        for line in [
            "2026-11-21 12:41:40 x",
            "2026-11-21T12:41:40Z x",
            "12:41:40 x",
            "127.0.0.1:80:x",
            "[a/b 12:41:40] x",
            "word:12:x",
            "a.rs:x:12:y",
        ] {
            assert!(place(line).is_none(), "{line}");
        }
    }
}
