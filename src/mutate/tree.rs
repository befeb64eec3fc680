//! `tree`: one blank per level in the place of its lines. Every name stays, and so does the order.

use crate::mutate::lines::{self, push};

/// Fewest entries that are worth it.
const ENTRIES_MIN: usize = 5;
/// How much of a text must be a tree, in percent.
const SHARE: usize = 80;
/// The seed: lines of a tree.
const LOSSY_LINES: usize = 200;

/// What stands before a name, and for each level above it.
const BRANCHES: [&str; 4] = ["├── ", "└── ", "|-- ", "`-- "];
const LEVELS: [&str; 5] = ["│\u{a0}\u{a0} ", "│   ", "|   ", "    ", "\u{a0}\u{a0}\u{a0} "];

/// Whether the lines are those of `tree`.
pub fn fits(lines: &[&str]) -> bool {
    let (entries, full) = lines::count(lines, |line| entry(line).is_some());
    entries >= ENTRIES_MIN && lines::is_share(entries, full, SHARE)
}

/// The tree, shorter.
pub fn shorten(text: &str, lossy: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut entries = 0;
    for line in lines::split(text) {
        let Some((level, name)) = entry(line) else {
            if entries > LOSSY_LINES && lossy && !line.is_empty() {
                push(&mut out, &format!("... {} more", entries - LOSSY_LINES));
                entries = 0;
            }
            push(&mut out, line);
            continue;
        };
        entries += 1;
        if !lossy || entries <= LOSSY_LINES {
            out.extend(std::iter::repeat_n(' ', level));
            push(&mut out, name);
        }
    }
    if lossy && entries > LOSSY_LINES {
        push(&mut out, &format!("... {} more", entries - LOSSY_LINES));
    }
    lines::finish(out, text)
}

/// How deep an entry lies, from 1, and its name.
fn entry(line: &str) -> Option<(usize, &str)> {
    let mut rest = line;
    let mut level = 1;
    while let Some(behind) = LEVELS.iter().find_map(|lines| rest.strip_prefix(lines)) {
        (rest, level) = (behind, level + 1);
    }
    let name = BRANCHES.iter().find_map(|branch| rest.strip_prefix(branch))?;
    Some((level, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_blanks() {
        let text = ".\n├── a\n│   ├── b\n│\u{a0}\u{a0} └── c d\n└── e\n    └── f\n\n2 directories, 4 files\n";
        assert_eq!(shorten(text, false), ".\n a\n  b\n  c d\n e\n  f\n\n2 directories, 4 files\n");
        assert!(fits(&lines::split(&text.replace("\n\n2 directories, 4 files", ""))));
        assert_eq!(shorten("|-- a\n|   `-- b", false), " a\n  b");
    }

    #[test]
    fn the_seeds_limit() {
        let text: String = (0..203).map(|at| format!("├── {at}\n")).collect::<Vec<_>>().concat();
        assert!(shorten(&text, true).ends_with(" 199\n... 3 more\n"));
        let ended = format!("{text}\n1 directory\n");
        assert!(shorten(&ended, true).ends_with(" 199\n\n... 3 more\n1 directory\n"));
    }
}
