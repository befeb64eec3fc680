//! Takes out what only a terminal needs: colours, cursor moves, and states of a progress bar that were written
//! over.
//!
//! Line ends are left as they are, so that text without such signs is the same text.

use std::borrow::Cow;

const ESCAPE: char = '\u{1b}';
const BELL: char = '\u{7}';
const BACKSPACE: char = '\u{8}';

/// The text as a terminal would show it. What comes out stays as it is when it is cleaned again.
pub fn clean(text: &str) -> Cow<'_, str> {
    let plain = without_escapes(text);
    if !has_lone_return(&plain) {
        return plain;
    }
    let mut out = String::with_capacity(plain.len());
    for line in plain.split_inclusive('\n') {
        overwrite(line, &mut out);
    }
    Cow::Owned(out)
}

fn has_lone_return(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Without any other line break they may be the line breaks.
    memchr::memchr(b'\n', bytes).is_some()
        && memchr::memchr_iter(b'\r', bytes).any(|at| bytes.get(at + 1) != Some(&b'\n'))
}

fn without_escapes(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if memchr::memchr2(0x1b, 0x08, bytes).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr2(0x1b, 0x08, rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let sign = &rest[at..];
        rest = &sign[1..];
        if sign.starts_with(BACKSPACE) {
            if !out.ends_with('\n') {
                out.pop();
            }
        } else {
            rest = behind_escape(rest);
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// What follows an escape sequence, of which the first sign has been passed.
fn behind_escape(rest: &str) -> &str {
    let Some(kind) = rest.chars().next() else { return rest };
    let body = &rest[kind.len_utf8()..];
    match kind {
        '[' => {
            // Parameters, then one letter. What is none is left.
            let end = body.find(|sign: char| !matches!(sign, ' '..='?')).unwrap_or(body.len());
            let last = body[end..].chars().next().filter(|sign| matches!(sign, '@'..='~'));
            &body[end + last.map_or(0, char::len_utf8)..]
        }
        ']' => {
            // One search for all ends: a search of its own for the line's would cover the whole rest each time.
            let Some(end) = body.find(['\n', BELL, ESCAPE]) else { return body };
            let after = &body[end + 1..];
            match body.as_bytes().get(end) {
                Some(b'\n') => body,
                Some(0x1b) => after.strip_prefix('\\').unwrap_or(after),
                _ => after,
            }
        }
        '(' | ')' | '#' | ' ' => {
            let set = body.chars().next().filter(char::is_ascii_alphanumeric);
            &body[set.map_or(0, char::len_utf8)..]
        }
        '@'..='~' | '0'..='9' | '=' | '>' => body,
        _ => rest,
    }
}

/// Writes one line, of which parts may have been written over.
fn overwrite(line: &str, out: &mut String) {
    let text = line.trim_end_matches('\n');
    let is_ended = text.len() < line.len();
    let (shown, end) = match (text.trim_end_matches('\r'), is_ended) {
        (shown, true) if shown.len() < text.len() => (shown, "\r\n"),
        (shown, true) => (shown, "\n"),
        (shown, false) => (shown, ""),
    };
    let mut states = shown.split('\r').filter(|state| !state.is_empty()).peekable();
    while let Some(state) = states.next() {
        match states.peek() {
            None => out.push_str(state),
            Some(next) if is_progress(state, next) => {}
            // Old line ends, or something that nobody meant to hide.
            Some(_) => {
                out.push_str(state);
                out.push('\n');
            }
        }
    }
    out.push_str(end);
}

/// Whether `next` is a later state of the same progress: both say how far it is, in shares or else in the same
/// words.
fn is_progress(state: &str, next: &str) -> bool {
    let letters = |text: &str| text.chars().filter(|sign| sign.is_alphabetic()).collect::<String>();
    let shares = state.contains('%') && next.contains('%');
    let measured = || says_how_far(state) && says_how_far(next) && letters(state) == letters(next);
    shares || state.trim().is_empty() || measured()
}

/// Whether a text has a share, a counter (`3/9`, or a number that words explain) or a bar.
fn says_how_far(text: &str) -> bool {
    let is_digit = |sign: char| sign.is_ascii_digit();
    let of_all = text.split('/').zip(text.split('/').skip(1));
    let mut of_all = of_all.filter(|(done, all)| {
        done.trim_end().ends_with(is_digit) && all.trim_start().starts_with(is_digit)
    });
    let explained = text.contains(is_digit) && text.contains(char::is_alphabetic);
    let bar = ["###", "===", "███", "━━━", "[#", "[="].iter().any(|signs| text.contains(signs));
    text.contains('%') || explained || bar || of_all.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_only_a_terminal_needs_is_gone() {
        for (text, expected) in [
            ("\u{1b}[1;31merror\u{1b}[0m: x", "error: x"),
            ("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\b", "ab"),
            ("\u{1b}(Ba\u{1b}Mb\u{1b}", "ab"),
            ("a\u{1b}[", "a"),
            ("a\u{1b}[0\nb", "a\nb"),
            ("ab\u{8}c\n\u{8}d", "ac\nd"),
            ("10%\r20%\r100%\ndone", "100%\ndone"),
            ("loading 1\rloading 2\rloading 3.\r\nx", "loading 3.\r\nx"),
            ("é\r\nb\r\n", "é\r\nb\r\n"),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn titles_without_end_cost_one_pass() {
        // Looking over all that is left for each of them would take minutes.
        let titles = "\u{1b}]0;a\u{7}".repeat(1_500_000);
        assert_eq!(clean(&titles), "");
        let open = "\u{1b}]".repeat(1_500_000);
        assert!(clean(&open).len() <= open.len() / 2);
    }

    #[test]
    fn a_title_ends_with_its_line() {
        assert_eq!(clean("\u{1b}]0;a\nb\u{7}\u{1b}]1;c\u{7}d"), "0;a\nb\u{7}d");
    }

    #[test]
    fn equal_letters_alone_are_no_progress() {
        for (text, expected) in [
            ("go?\rgo!\n", "go?\ngo!\n"),
            ("+--\r| a\n", "+--\n| a\n"),
            ("1 2\r3 4\n", "1 2\n3 4\n"),
            ("a = 1\ra = b\n", "a = 1\na = b\n"),
            ("got [==> ]\rgot [===]\n", "got [===]\n"),
            ("3/9\r4/9\n", "4/9\n"),
            ("##### \r######\n", "######\n"),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn nothing_is_hidden_that_is_no_progress() {
        assert_eq!(clean("first line\rsecond one\rthird\n"), "first line\nsecond one\nthird\n");
        assert!(matches!(clean("data: 1\rdata: 2\r"), Cow::Borrowed(_)));
        assert!(matches!(clean("plain\r\ntext"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn clean_text_stays(text in "(a|é|%|\r|\n|\u{1b}|\\[|0|;|m|\\]|\u{7}|\u{8}|\\\\){0,40}") {
            let once = clean(&text).into_owned();
            prop_assert_eq!(clean(&once), once.as_str(), "{:?}", text);
            prop_assert!(!once.contains(ESCAPE) && !once.contains(BACKSPACE));
        }
    }
}
