//! Equal lines one after the other, in output of no known kind: one of them and their number. Nothing is lost.

use crate::mutate::lines::{self, push};

/// Equal lines that become one.
const RUN_MIN: usize = 3;
/// How much of a text must be such runs, in percent.
const SHARE: usize = 30;
/// Fewest lines in such runs.
const LINES_MIN: usize = 10;

fn runs<'a, 'l>(lines: &'l [&'a str]) -> impl Iterator<Item = &'l [&'a str]> {
    lines.chunk_by(|one, next| one == next)
}

fn is_folded(run: &[&str]) -> bool {
    run.len() >= RUN_MIN && run.first().is_some_and(|line| !line.trim().is_empty())
}

/// Whether much of the text is lines that come again and again.
pub fn fits(lines: &[&str]) -> bool {
    let equal: usize = runs(lines).filter(|run| is_folded(run)).map(<[_]>::len).sum();
    equal >= LINES_MIN && lines::is_share(equal, lines.len(), SHARE)
}

/// The text, each such run as one line.
pub fn shorten(text: &str) -> String {
    let all = lines::split(text);
    let mut out = String::with_capacity(text.len() / 2);
    for run in runs(&all) {
        match run.first() {
            Some(line) if is_folded(run) => push(&mut out, &format!("{line} (x{})", run.len())),
            _ => lines::push_all(&mut out, run),
        }
    }
    lines::finish(out, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_equal_lines_become_one() {
        assert_eq!(shorten("a\na\nb\nb\nb\n\n\n\nc"), "a\na\nb (x3)\n\n\n\nc");
        assert!(fits(&["w"; 10]) && !fits(&["w"; 9]) && !fits(&[""; 50]));
    }
}
