//! Diffs in the unified form: every changed line and every file stays; of what is unchanged around them, the line
//! before each change.
//!
//! A hunk is read by the counts in its header, so that a changed line may look like anything. What does not
//! keep to its counts (mail, combined diffs, a diff that was cut off) is left as it is written.

use crate::mutate::lines::{self, number, push};

/// Fewest unchanged lines that are worth a mark in their place.
const CUT_MIN: usize = 2;
/// The seed: unchanged runs above this become their first and last lines.
const LOSSY_RUN: usize = 5;
const LOSSY_HEAD: usize = 3;
const LOSSY_TAIL: usize = 2;
/// The seed: lines of one file.
const LOSSY_FILE_LINES: usize = 100;

/// Whether there is a diff in a text.
pub fn fits(text: &str) -> bool {
    let has = |mark: &str| text.starts_with(&mark[1..]) || text.contains(mark);
    has("\n@@ -") && (has("\ndiff --git ") || has("\n--- ") && has("\n+++ "))
}

/// The diff, shorter.
pub fn shorten(text: &str, lossy: bool) -> String {
    let lines = lines::split(text);
    let mut page =
        Page { out: String::with_capacity(text.len()), lossy, in_file: None, left_out: 0 };
    let mut rest = &lines[..];
    while let Some((line, behind)) = rest.split_first() {
        let taken = match Hunk::open(line) {
            Some(hunk) if hunk.fits(behind) => page.hunk(&hunk, behind),
            _ if line.starts_with("diff --git ") => page.file(line, behind),
            _ => {
                page.other(line);
                0
            }
        };
        rest = behind.get(taken..).unwrap_or_default();
    }
    page.end_file();
    lines::finish(page.out, text)
}

/// The header of a hunk.
struct Hunk<'a> {
    old_start: usize,
    old_lines: usize,
    new_start: usize,
    new_lines: usize,
    /// What git says of the place: the function around.
    section: &'a str,
}

impl<'a> Hunk<'a> {
    fn open(line: &'a str) -> Option<Self> {
        let (old_start, old_lines, rest) = range(line.strip_prefix("@@ -")?)?;
        let (new_start, new_lines, rest) = range(rest.strip_prefix(" +")?)?;
        let section = rest.strip_prefix(" @@")?;
        Some(Self { old_start, old_lines, new_start, new_lines, section })
    }

    /// How many of the lines behind it are its own; `None` if they do not keep to its counts.
    fn lines(&self, behind: &[&str]) -> Option<usize> {
        let (mut old, mut new) = (self.old_lines, self.new_lines);
        for (at, line) in behind.iter().enumerate() {
            if old == 0 && new == 0 && !line.starts_with('\\') {
                return Some(at);
            }
            match line.as_bytes().first() {
                Some(b'-') => old = old.checked_sub(1)?,
                Some(b'+') => new = new.checked_sub(1)?,
                // An empty line may have lost its blank on the way.
                Some(b' ' | b'\r') | None => {
                    (old, new) = (old.checked_sub(1)?, new.checked_sub(1)?);
                }
                Some(b'\\') => {}
                Some(_) => return None,
            }
        }
        (old == 0 && new == 0).then_some(behind.len())
    }

    fn fits(&self, behind: &[&str]) -> bool {
        self.lines(behind).is_some()
    }
}

/// `12,3` or `12`.
fn range(text: &str) -> Option<(usize, usize, &str)> {
    let (start, rest) = number(text)?;
    match rest.strip_prefix(',') {
        None => Some((start, 1, rest)),
        Some(rest) => number(rest).map(|(count, rest)| (start, count, rest)),
    }
}

const fn is_change(line: &str) -> bool {
    matches!(line.as_bytes().first(), Some(b'+' | b'-'))
}

/// What is said of the line before (that it has no line break).
const fn is_remark(line: &str) -> bool {
    matches!(line.as_bytes().first(), Some(b'\\'))
}

struct Page {
    out: String,
    lossy: bool,
    /// Lines of the present file that were written.
    in_file: Option<usize>,
    /// Lines of it that were not, above the limit.
    left_out: usize,
}

impl Page {
    /// A line of a file's diff; with the seed's limits only so many of them.
    fn line(&mut self, line: &str) {
        let written = self.in_file.get_or_insert(0);
        if self.lossy && *written >= LOSSY_FILE_LINES {
            self.left_out += 1;
            return;
        }
        *written += 1;
        push(&mut self.out, line);
    }

    fn lines(&mut self, lines: &[&str]) {
        for line in lines {
            self.line(line);
        }
    }

    fn end_file(&mut self) {
        if self.left_out > 0 {
            let mark = format!("... {} more lines of this file", self.left_out);
            push(&mut self.out, &mark);
        }
        (self.in_file, self.left_out) = (None, 0);
    }

    /// What belongs to no hunk: messages, and headers of other kinds.
    fn other(&mut self, line: &str) {
        if self.in_file.is_some_and(|lines| lines > 0) {
            self.end_file();
        }
        push(&mut self.out, line);
    }

    /// The header of a file in one line, where it says what such headers say. Returns the lines taken.
    fn file(&mut self, line: &str, behind: &[&str]) -> usize {
        self.end_file();
        let Some((path, taken, note)) = header(line, behind).filter(|_| !self.lossy) else {
            push(&mut self.out, line);
            return 0;
        };
        let short = format!("diff {path}{note}");
        push(&mut self.out, &short);
        taken
    }

    /// A hunk. Returns the lines taken.
    fn hunk(&mut self, hunk: &Hunk<'_>, behind: &[&str]) -> usize {
        let taken = hunk.lines(behind).unwrap_or(0);
        let lines = &behind[..taken];
        if self.lossy {
            let header = format!(
                "@@ -{},{} +{},{} @@{}",
                hunk.old_start, hunk.old_lines, hunk.new_start, hunk.new_lines, hunk.section
            );
            self.line(&header);
        } else {
            let lead = lines.iter().take_while(|line| !is_change(line) && !is_remark(line)).count();
            let cut = if lead == taken { 0 } else { lead - told_last(&lines[..lead]) };
            let moved = |start: usize| start.saturating_add(cut);
            let (old, new) = (moved(hunk.old_start), moved(hunk.new_start));
            self.line(&format!("@@ -{old} +{new} @@{}", hunk.section));
        }
        let mut rest = lines;
        while let Some(first) = rest.first() {
            let changed = is_change(first);
            let belongs = |line: &&&str| is_change(line) == changed || is_remark(line);
            let length = rest.iter().take_while(belongs).count();
            let (run, behind) = rest.split_at(length);
            if changed {
                self.lines(run);
            } else {
                let edges = (rest.len() == taken, behind.is_empty());
                self.unchanged(run, edges);
            }
            rest = behind;
        }
        taken
    }

    /// A run of unchanged lines; `edges` say whether it begins and whether it ends its hunk.
    fn unchanged(&mut self, run: &[&str], edges: (bool, bool)) {
        let (head, tail) = match edges {
            _ if self.lossy && run.len() > LOSSY_RUN => (LOSSY_HEAD, LOSSY_TAIL),
            (true, true) => (run.len(), 0),
            _ if self.lossy => (run.len(), 0),
            (_, true) => (0, 0),
            (_, false) => (0, told_last(run)),
        };
        let is_marked = self.lossy || edges == (false, false);
        let cut = run.len().saturating_sub(head + tail);
        if cut == 0 || is_marked && !self.lossy && cut < CUT_MIN {
            self.lines(run);
            return;
        }
        self.lines(&run[..head]);
        if self.lossy {
            self.line(&format!("... {cut} unchanged lines"));
        } else if is_marked {
            self.line(&format!("~{cut}"));
        }
        self.lines(&run[head + cut..]);
    }
}

/// How many of the last unchanged lines are told: the one before the change, if it says something.
fn told_last(run: &[&str]) -> usize {
    run.last().map_or(0, |line| usize::from(says_something(line)))
}

/// Whether a line is more than brackets and blanks, which tell nothing of a place.
fn says_something(line: &str) -> bool {
    line.contains(char::is_alphanumeric)
}

/// The path of a file's header, how many lines belong to it, and what it says beside the path. `None` if it
/// says more than can be said shortly (renames, modes, odd names).
fn header<'a>(line: &'a str, behind: &[&'a str]) -> Option<(&'a str, usize, String)> {
    let names = line.strip_prefix("diff --git a/")?;
    let path = names.get(..names.len().checked_sub(3)? / 2)?;
    if names.strip_prefix(path)?.strip_prefix(" b/")? != path {
        return None;
    }
    let mut note = String::new();
    let mut taken = 0;
    let mut has_paths = false;
    for line in behind {
        let kept = match line.split_once(' ') {
            Some(("index", _)) => None,
            Some(("new" | "deleted", rest)) if rest.starts_with("file mode ") => Some(*line),
            Some(("---" | "+++", name)) => {
                let known = name == "/dev/null" || name.get(2..).map(str::trim_end) == Some(path);
                if !known {
                    return None;
                }
                has_paths = true;
                None
            }
            _ => break,
        };
        if let Some(kept) = kept {
            note.push_str(" (");
            note.push_str(kept);
            note.push(')');
        }
        taken += 1;
        if line.starts_with("+++ ") {
            break;
        }
    }
    has_paths.then_some((path, taken, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "commit 1\n\n    Say it\n\ndiff --git a/src/a.rs b/src/a.rs\nindex 1..2 100644\n--- a/src/a.rs\n+++ b/src/a.rs\n@@ -10,13 +10,14 @@ fn a() {\n 1\n 2\n 3\n--- old\n+++ new\n 4\n 5\n 6\n 7\n 8\n 9\n+added\n a\n b\n c\n\\ No newline at end of file\ndiff --git a/n b/n\nnew file mode 100644\nindex 0..1\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+x\n";

    #[test]
    fn what_is_changed_stays_and_what_is_not_is_cut() {
        let expected = "commit 1\n\n    Say it\n\ndiff src/a.rs\n@@ -12 +12 @@ fn a() {\n 3\n--- old\n+++ new\n~5\n 9\n+added\ndiff n (new file mode 100644)\n@@ -0 +1 @@\n+x\n";
        assert!(fits(DIFF));
        assert_eq!(shorten(DIFF, false), expected);
    }

    #[test]
    fn the_seeds_limits() {
        let run = |count: usize| {
            let lines: String =
                (0..count).map(|at| format!(" {at}\n")).collect::<Vec<_>>().concat();
            let hunk = format!("@@ -1,{} +1,{} @@\n-a\n+b\n{lines}", count + 1, count + 1);
            shorten(&format!("--- a\n+++ a\n{hunk}"), true)
        };
        assert_eq!(run(5), "--- a\n+++ a\n@@ -1,6 +1,6 @@\n-a\n+b\n 0\n 1\n 2\n 3\n 4\n");
        assert_eq!(
            run(6),
            "--- a\n+++ a\n@@ -1,7 +1,7 @@\n-a\n+b\n 0\n 1\n 2\n... 1 unchanged lines\n 4\n 5\n"
        );
        let file = |count: usize| {
            let lines: String =
                (0..count).map(|at| format!("+{at}\n")).collect::<Vec<_>>().concat();
            shorten(&format!("diff --git a/a b/a\n@@ -0,0 +1,{count} @@\n{lines}"), true)
        };
        assert_eq!(file(99).lines().count(), 101);
        let cut = file(120);
        assert_eq!(cut.lines().count(), 102);
        assert!(cut.ends_with("+98\n... 21 more lines of this file\n"), "{cut}");
    }

    #[test]
    fn starts_beyond_all_numbers_are_no_mistake_of_ours() {
        let text = format!("--- a\n+++ a\n@@ -{0},4 +{0},4 @@\n a\n b\n c\n-d\n+e\n", usize::MAX);
        assert_eq!(
            shorten(&text, false),
            format!("--- a\n+++ a\n@@ -{0} +{0} @@\n c\n-d\n+e\n", usize::MAX)
        );
    }

    #[test]
    fn what_does_not_keep_to_its_counts_stays() {
        for text in [
            "--- a\n+++ b\n@@ -1,9 +1,9 @@\n a\n b\n c\n d\n-x\n+y\n",
            "diff --cc a\n@@@ -1,2 -1,2 +1,2 @@@\n  a\n- b\n",
            "--- a\n+++ b\n@@ -x +1 @@\n a\n",
        ] {
            assert_eq!(shorten(text, false), text);
        }
    }

    #[test]
    fn renames_and_odd_names_keep_their_headers() {
        let text = "diff --git a/x b/y\nsimilarity index 90%\nrename from x\nrename to y\nindex 1..2\n--- a/x\n+++ b/y\n@@ -1,3 +1,3 @@\n a\n-b\n+c\n d\n";
        assert!(shorten(text, false).starts_with("diff --git a/x b/y\nsimilarity"));
        let binary = "diff --git a/i b/i\nindex 1..2 100644\nBinary files a/i and b/i differ\n";
        assert_eq!(shorten(binary, false), binary);
    }
}
