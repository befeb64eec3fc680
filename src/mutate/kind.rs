//! What a tool's output is, by how it looks. What is not surely known is nothing, and stays as it is.

use crate::mutate::{
    diff, git_status, grep, log, long_listing, path_list, repeats, run, tree, truncate,
};

/// Lines of an output that are looked at to find out what it is. The filters go over all of them, and leave
/// alone what does not fit.
const LINES_LOOKED_AT: usize = 400;

/// The kinds of output that can be shortened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A diff.
    Diff,
    /// `git status`.
    GitStatus,
    /// A build or a test run.
    Run,
    /// `ls -l`.
    LongListing,
    /// `tree`.
    Tree,
    /// Places in files.
    Grep,
    /// Paths.
    Paths,
    /// A log.
    Log,
    /// Lines that come again and again.
    Repeats,
    /// Long output of no known kind, with the seed's limits only.
    Long,
}

impl Kind {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Self; 10] = [
        Self::Diff,
        Self::GitStatus,
        Self::LongListing,
        Self::Tree,
        Self::Run,
        Self::Grep,
        Self::Paths,
        Self::Log,
        Self::Repeats,
        Self::Long,
    ];

    /// What the model is told about what was done.
    pub const fn note(self, lossy: bool) -> &'static str {
        match self {
            Self::Diff if lossy => "diff, shortened",
            Self::Diff => {
                "diff, of the context only the line before a change, ~N = N lines left out"
            }
            Self::GitStatus => "git status, hints left out",
            Self::Run => "passing tests and progress counted",
            Self::LongListing => "ls -l, names only",
            Self::Tree => "tree, indented",
            Self::Grep => "grep, by file",
            Self::Paths => "paths, by folder",
            Self::Log => "log, similar entries counted",
            Self::Repeats => "equal lines counted",
            Self::Long => "middle left out",
        }
    }

    fn fits(self, text: &str, lines: &[&str]) -> bool {
        match self {
            Self::Diff => diff::fits(text),
            Self::GitStatus => git_status::fits(lines),
            Self::Run => run::fits(lines),
            Self::LongListing => long_listing::fits(lines),
            Self::Tree => tree::fits(lines),
            Self::Grep => grep::fits(lines),
            Self::Paths => path_list::fits(lines),
            Self::Log => log::fits(lines),
            Self::Repeats => repeats::fits(lines),
            Self::Long => truncate::fits(lines),
        }
    }

    /// The output in fewer bytes, if it is what it seems to be.
    pub fn shorten(self, text: &str, lossy: bool) -> String {
        match self {
            Self::Diff => diff::shorten(text, lossy),
            Self::GitStatus => git_status::shorten(text),
            Self::Run => run::shorten(text),
            Self::LongListing => long_listing::shorten(text, lossy),
            Self::Tree => tree::shorten(text, lossy),
            Self::Grep => grep::shorten(text, lossy),
            Self::Paths => path_list::shorten(text),
            Self::Log => log::shorten(text, lossy),
            Self::Repeats => repeats::shorten(text),
            Self::Long => truncate::shorten(text),
        }
    }
}

/// What that output is, as far as it is known.
pub fn of(text: &str, lossy: bool) -> Option<Kind> {
    let lines: Vec<&str> =
        text.split('\n').take(LINES_LOOKED_AT).map(|line| line.trim_end_matches('\r')).collect();
    let lines = match lines.split_last() {
        Some((&"", before)) => before,
        _ => &lines[..],
    };
    let known = Kind::ALL.into_iter().filter(|kind| lossy || *kind != Kind::Long);
    known.into_iter().find(|kind| kind.fits(text, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_no_known_kind_is_nothing() {
        let code = "     1\tfn main() {\n     2\t    let x = 1;\n     3\t}\n".repeat(100);
        let prose =
            "The quick brown fox: it jumps over the lazy dog. See src/a.rs, line 12.\n".repeat(3);
        let json = "{\"a\": 1,\n \"b\": [1, 2, 3]}\n".repeat(20);
        let csv: String =
            (0..300).map(|at| format!("{at},name{at},2026-11-21\n")).collect::<Vec<_>>().concat();
        for text in [&*code, &prose, &json, &csv, "", "\n\n\n"] {
            assert_eq!(of(text, false), None, "{text}");
        }
        assert_eq!(of(&code, true), Some(Kind::Long));
        assert!(code.lines().count() > 180);
    }
}
