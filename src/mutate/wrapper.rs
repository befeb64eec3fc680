//! What an agent's harness writes around the output of a command: the command itself, its exit code, marks.
//!
//! These lines are kept as they are; what lies between them is what filters look at.

/// Lines that are looked at from each end.
const LINES_MAX: usize = 8;

/// How such lines begin, in lower case.
const WORDS: [&str; 24] = [
    "$ ",
    "exit code",
    "[exit code",
    "(exit code",
    "exit status",
    "[exit status",
    "process exited with code",
    "command exited with code",
    "command: ",
    "wall time",
    "duration: ",
    "total output lines",
    "original token count",
    "chunk id",
    "output:",
    "stdout:",
    "stderr:",
    "<stdout>",
    "<output>",
    "<returncode>",
    "<exit_code>",
    "</stdout>",
    "</output>",
    "[stderr]",
];

/// An output and what stands around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrapped<'a> {
    /// The lines before it, with their ends.
    pub head: &'a str,
    /// The output.
    pub body: &'a str,
    /// The lines behind it.
    pub tail: &'a str,
}

/// Parts an output from what stands around it.
pub fn split(text: &str) -> Wrapped<'_> {
    let mut start = 0;
    let mut passed = 0;
    for line in text.split_inclusive('\n').take(LINES_MAX) {
        passed += line.len();
        if is_mark(line) {
            start = passed;
        } else if !line.trim().is_empty() {
            break;
        }
    }
    let behind = &text[start..];
    let mut end = behind.len();
    let mut left = behind.len();
    for line in behind.split_inclusive('\n').rev().take(LINES_MAX) {
        left -= line.len();
        if is_mark(line) {
            end = left;
        } else if !line.trim().is_empty() {
            break;
        }
    }
    Wrapped { head: &text[..start], body: &behind[..end], tail: &behind[end..] }
}

fn is_mark(line: &str) -> bool {
    let starts =
        |word: &str| line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    WORDS.iter().any(|word| starts(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_exit_codes_stand_around() {
        let text = "$ git diff\n\nExit code: 1\nOutput:\na\nexit code b\nc\n\n[exit code: 0]\n";
        let Wrapped { head, body, tail } = split(text);
        assert_eq!(head, "$ git diff\n\nExit code: 1\nOutput:\n");
        assert_eq!(body, "a\nexit code b\nc\n\n");
        assert_eq!(tail, "[exit code: 0]\n");
    }

    #[test]
    fn most_outputs_stand_alone() {
        for text in ["", "a\nb", "\n\na\n", "é$ x\n"] {
            assert_eq!(split(text), Wrapped { head: "", body: text, tail: "" });
        }
        assert_eq!(split("$ ls").body, "");
    }
}
