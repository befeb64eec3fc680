//! Output of builds and test runs: passing tests and lines of progress become their number; everything else,
//! above all each failing test with its message and place, stays as it is.

use crate::mutate::build_lines;
use crate::mutate::lines::{self, push};
use crate::mutate::test_lines::{self, Said};

/// Passing tests, or lines of progress, that become a number (the seed's).
const RUN_MIN: usize = 5;
/// How much of a text must be such lines, in percent.
const SHARE: usize = 10;

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Kept,
    Passed,
    /// What is told of a test that passed: the block below a line of `TAP`.
    Detail,
    Begins,
    Progress(&'static str),
}

fn class(line: &str) -> Class {
    match test_lines::said(line) {
        Some(Said::Passed) => Class::Passed,
        Some(Said::Begins) => Class::Begins,
        None => build_lines::progress(line).map_or(Class::Kept, Class::Progress),
    }
}

/// Whether the lines are those of a build or a test run.
pub fn fits(lines: &[&str]) -> bool {
    let (found, full) = lines::count(lines, |line| class(line) != Class::Kept);
    let weak = lines.iter().filter(|line| test_lines::is_weak(line)).count();
    let believed = weak == 0 || lines.iter().any(|line| test_lines::is_summary(line));
    found >= RUN_MIN && believed && lines::is_share(found, full, SHARE)
}

/// The output, shorter.
pub fn shorten(text: &str) -> String {
    let all = lines::split(text);
    let mut classes: Vec<Class> = all.iter().map(|line| class(line)).collect();
    mark_details(&all, &mut classes);
    keep_open_beginnings(&mut classes);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < all.len() {
        let length = section(&all[at..]);
        write_section(&mut out, &all[at..at + length], &classes[at..at + length]);
        at += length;
    }
    lines::finish(out, text)
}

/// Lines between `---` and `...` below a test that passed.
fn mark_details(lines: &[&str], classes: &mut [Class]) {
    let mut is_open = false;
    for at in 1..lines.len() {
        let line = lines[at].trim();
        let is_other = line.starts_with("ok ") || line.starts_with("not ok ");
        is_open &= !is_other;
        is_open |= line == "---" && classes[at - 1] == Class::Passed;
        if is_open {
            classes[at] = Class::Detail;
        }
        is_open &= line != "...";
    }
}

/// A test that begins and is not over at once has something to say, which is read with its name.
fn keep_open_beginnings(classes: &mut [Class]) {
    let mut next = Class::Kept;
    for class in classes.iter_mut().rev() {
        if *class == Class::Begins && !matches!(next, Class::Passed | Class::Detail | Class::Begins)
        {
            *class = Class::Kept;
        }
        next = *class;
    }
}

/// Lines up to the next part of the run; the first line always belongs to it.
fn section(lines: &[&str]) -> usize {
    let opens = |line: &&str| {
        let text = line.trim_start();
        text.starts_with("running ") && text.contains(" test")
            || text.starts_with("Running ")
            || text.starts_with("Doc-tests ")
    };
    lines.iter().skip(1).position(opens).map_or(lines.len(), |at| at + 1)
}

fn write_section(out: &mut String, lines: &[&str], classes: &[Class]) {
    let passed = classes.iter().filter(|class| **class == Class::Passed).count();
    let progress: Vec<&'static str> = classes.iter().filter_map(|class| class.word()).collect();
    let folds_tests = passed >= RUN_MIN;
    let folds_progress = progress.len() >= RUN_MIN;
    let (mut told_tests, mut told_progress) = (!folds_tests, !folds_progress);
    for (line, class) in lines.iter().zip(classes) {
        match class {
            Class::Passed | Class::Detail | Class::Begins if folds_tests => {
                if !told_tests {
                    push(out, &format!("... {passed} tests passed"));
                }
                told_tests = true;
            }
            Class::Progress(_) if folds_progress => {
                if !told_progress {
                    push(out, &told(&progress));
                }
                told_progress = true;
            }
            _ => push(out, line),
        }
    }
}

impl Class {
    const fn word(self) -> Option<&'static str> {
        match self {
            Self::Progress(word) => Some(word),
            _ => None,
        }
    }
}

/// `... Compiling 12, Downloaded 3`
fn told(words: &[&'static str]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for word in words {
        match counts.iter_mut().find(|(known, _)| known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let counts: Vec<String> =
        counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
    format!("... {}", counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(count: usize) -> String {
        (0..count).map(|at| format!("test t{at} ... ok\n")).collect::<Vec<_>>().concat()
    }

    #[test]
    fn five_passing_tests_become_a_number() {
        let run = |count| shorten(&format!("running 9 tests\n{}end\n", passing(count)));
        assert_eq!(run(4), format!("running 9 tests\n{}end\n", passing(4)));
        assert_eq!(run(5), "running 9 tests\n... 5 tests passed\nend\n");
    }

    #[test]
    fn failures_stay_whole_and_parts_are_counted_by_themselves() {
        let failure = "test bad ... FAILED\n";
        let tail = "\nfailures:\n\n---- bad stdout ----\nthread 'bad' panicked at src/a.rs:3:5:\nboom\n\ntest result: FAILED. 6 passed; 1 failed\n";
        let text = format!(
            "   Compiling a v1\n   Compiling b v1\n   Compiling c v1\n   Compiling d v1\n  Downloaded e v1\nwarning: x\n     Running unittests src/lib.rs\n\nrunning 7 tests\n{}{failure}{}{tail}     Running tests/it.rs\n\nrunning 2 tests\n{}",
            passing(3),
            passing(3),
            passing(2),
        );
        assert!(fits(&lines::split(&text)));
        assert_eq!(
            shorten(&text),
            format!(
                "... Compiling 4, Downloaded 1\nwarning: x\n     Running unittests src/lib.rs\n\nrunning 7 tests\n... 6 tests passed\n{failure}{tail}     Running tests/it.rs\n\nrunning 2 tests\n{}",
                passing(2)
            )
        );
    }

    #[test]
    fn what_a_test_has_to_say_keeps_its_name() {
        let pass = "=== RUN   TestA\n--- PASS: TestA (0.00s)\n".repeat(5);
        let fail = "=== RUN   TestB\n    a_test.go:5: no\n--- FAIL: TestB (0.00s)\nFAIL\n";
        assert_eq!(shorten(&format!("{pass}{fail}")), format!("... 5 tests passed\n{fail}"));
    }

    #[test]
    fn what_tap_says_below_a_passing_test_goes_with_it() {
        let block = "  ---\n  duration_ms: 1\n  ...\n";
        let pass = format!("# Subtest: a\nok 1 - a\n{block}").repeat(5);
        let fail = format!("# Subtest: b\nnot ok 6 - b\n{block}# pass 5\n");
        assert_eq!(shorten(&format!("{pass}{fail}")), format!("... 5 tests passed\n{fail}"));
        // A block that never ends takes nothing else along.
        let open = format!("{pass}ok 6 - c\n  ---\nnot ok 7 - d\n");
        assert!(shorten(&open).ends_with("not ok 7 - d\n"));
    }

    #[test]
    fn signs_alone_are_no_test_run() {
        let list = ["✓ a"; 9];
        assert!(!fits(&list));
        assert!(fits(&[&list[..], &["Tests: 9 passed"]].concat()));
    }
}
