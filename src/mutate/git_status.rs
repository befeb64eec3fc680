//! `git status`: the advice in brackets goes, every path and its state stay.

use crate::mutate::lines::{self, push};

/// Titles, and what is written in their place.
const TITLES: [(&str, &str); 4] = [
    ("Changes to be committed:", "staged:"),
    ("Changes not staged for commit:", "not staged:"),
    ("Untracked files:", "untracked:"),
    ("Unmerged paths:", "unmerged:"),
];

/// What the states are shortened to, as `git status --short` writes them.
const STATES: [(&str, &str); 5] = [
    ("modified:", "M"),
    ("new file:", "A"),
    ("deleted:", "D"),
    ("renamed:", "R"),
    ("typechange:", "T"),
];

/// Whether the lines are those of `git status`.
pub fn fits(lines: &[&str]) -> bool {
    let starts = |line: &&&str| {
        ["On branch ", "HEAD detached at ", "Not currently on any branch"]
            .iter()
            .any(|word| line.starts_with(word))
    };
    lines.iter().take(3).any(|line| starts(&line))
        && lines.iter().any(|line| TITLES.iter().any(|(title, _)| line.trim_end() == *title))
}

/// The status, shorter.
pub fn shorten(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in lines::split(text) {
        let line = line.trim_end();
        let is_advice = line.starts_with("  (") && line.ends_with(')');
        if line.is_empty() || is_advice && line.contains("\"git ") {
            continue;
        }
        match (TITLES.iter().find(|(title, _)| *title == line), line.strip_prefix('\t')) {
            (Some((_, short)), _) => push(&mut out, short),
            (None, Some(entry)) => push(&mut out, &short_entry(entry)),
            (None, None) => push(&mut out, line),
        }
    }
    lines::finish(out, text)
}

fn short_entry(entry: &str) -> String {
    let state = STATES.iter().find_map(|(long, short)| Some((short, entry.strip_prefix(long)?)));
    match state {
        Some((short, path)) => format!("{short} {}", path.trim_start()),
        None => format!(" {entry}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_goes_and_paths_stay() {
        let text = "On branch main\nYour branch is ahead of 'origin/main' by 1 commit.\n  (use \"git push\" to publish your local commits)\n\nChanges to be committed:\n  (use \"git restore --staged <file>...\" to unstage)\n\trenamed:    a -> b c\n\tnew file:   n\n\nChanges not staged for commit:\n  (use \"git add <file>...\" to update what will be committed)\n\tmodified:   src/a.rs\n\nUntracked files:\n  (use \"git add <file>...\" to include in what will be committed)\n\tx/\n\n";
        assert!(fits(&lines::split(text)));
        assert_eq!(
            shorten(text),
            "On branch main\nYour branch is ahead of 'origin/main' by 1 commit.\nstaged:\nR a -> b c\nA n\nnot staged:\nM src/a.rs\nuntracked:\n x/\n"
        );
        assert!(!fits(&["On branch main", "nothing to commit, working tree clean"]));
    }
}
