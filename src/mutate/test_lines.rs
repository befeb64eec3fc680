//! Lines of test runners: which say that one test passed, and which only that one begins.

/// What a line of a test run says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// A test passed.
    Passed,
    /// A test begins; what becomes of it is said later.
    Begins,
}

/// What that line says, if no more than one of these.
pub fn said(line: &str) -> Option<Said> {
    let text = line.trim();
    if begins(text) {
        return Some(Said::Begins);
    }
    (by_name(text) || by_frame(text) || by_sign(text)).then_some(Said::Passed)
}

/// `=== RUN TestA`, `[ RUN      ] A.b`, `Start 1: a`
fn begins(text: &str) -> bool {
    ["# Subtest: ", "=== RUN ", "=== PAUSE ", "=== CONT ", "=== NAME ", "[ RUN      ] "]
        .iter()
        .any(|word| text.starts_with(word))
        || text.strip_prefix("Start ").is_some_and(|rest| {
            rest.trim_start().starts_with(|sign: char| sign.is_ascii_digit()) && rest.contains(": ")
        })
}

/// Those that name the test first: libtest, unittest, pytest, Gradle.
fn by_name(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix("test ") {
        let verdict = rest.rsplit_once(" ... ").map(|(_, verdict)| verdict);
        return verdict.is_some_and(|it| it == "ok" || it.starts_with("ok <"));
    }
    if text.starts_with("test") && text.ends_with(" ... ok") {
        return text.contains(" (");
    }
    if let Some((test, rest)) = text.split_once(" PASSED") {
        return (test.contains("::") || test.contains(" > ")) && is_share_of_run(rest);
    }
    if let Some(test) = text.strip_prefix("PASSED ") {
        return test.contains("::") && !test.contains(' ');
    }
    dots(text)
}

/// `tests/a.py ......   [ 12%]`, or the dots alone.
fn dots(text: &str) -> bool {
    let Some((before, share)) = text.rsplit_once('[') else { return false };
    let results = before.trim_end().rsplit(' ').next().unwrap_or_default();
    let named = before.trim_end().len() > results.len();
    let before = before.trim_end().split(' ').next().unwrap_or_default();
    share.ends_with("%]")
        && !results.is_empty()
        && results.bytes().all(|byte| byte == b'.')
        && (!named || before.contains(".py"))
}

/// What follows a verdict of pytest: nothing, or `[ 12%]`.
fn is_share_of_run(rest: &str) -> bool {
    let rest = rest.trim();
    rest.is_empty() || rest.starts_with('[') && rest.ends_with("%]") || rest.starts_with('(')
}

/// Those that frame the verdict: go, gtest, nextest, ctest, `TAP`, surefire, .NET.
fn by_frame(text: &str) -> bool {
    let starts = |word: &str| text.starts_with(word);
    if starts("--- PASS: ") || starts("[       OK ] ") {
        return true;
    }
    if starts("PASS [") || starts("Passed ") {
        return text.ends_with("ms]") || text.contains("s] ");
    }
    if let Some(rest) = text.strip_prefix("ok ") {
        // `not ok` and remarks (`# TODO`, `# SKIP`) are no such lines.
        return rest.starts_with(|sign: char| sign.is_ascii_digit())
            && rest.contains(" - ")
            && !rest.contains(" # ");
    }
    if let Some(rest) =
        text.split_once("Test").and_then(|(_, rest)| rest.trim_start().strip_prefix('#'))
    {
        return rest.contains("   Passed ");
    }
    starts("[INFO] Tests run: ")
        && text.contains(", Failures: 0, Errors: 0, ")
        && text.contains(" - in ")
}

/// Those that only put a sign before the name: jest, vitest, mocha, node.
fn by_sign(text: &str) -> bool {
    ["✓ ", "✔ ", "√ "].iter().any(|sign| text.starts_with(sign))
        || text.strip_prefix("PASS ").is_some_and(|file| {
            file.contains(".test.") || file.contains(".spec.") || file.contains("__tests__")
        })
}

/// Whether that line sums a run up, or says that a test failed: signs alone could be any list.
pub fn is_summary(line: &str) -> bool {
    let text = line.trim();
    let words = [
        "test result: ",
        "Tests: ",
        "Tests ",
        "Test Files ",
        "Test Suites: ",
        "--- FAIL",
        "FAIL ",
        "# pass ",
    ];
    words.iter().any(|word| text.starts_with(word))
        || [" passed", " passing", " failed", " failing"].iter().any(|word| {
            let before = text.find(word).map(|at| &text[..at]);
            before.is_some_and(|it| it.ends_with(|sign: char| sign.is_ascii_digit()))
        })
}

/// Whether that line is a sign before a name, which needs a summary to be believed.
pub fn is_weak(line: &str) -> bool {
    by_sign(line.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_tests_of_many_runners() {
        for line in [
            "test a::b ... ok",
            "test a::b - should panic ... ok",
            "test a ... ok <0.001s>",
            "        PASS [   0.005s] weir wire::json::tests::a",
            "tests/test_a.py::test_b PASSED                 [  5%]",
            "tests/test_a.py::test_b[x y] PASSED",
            "PASSED tests/test_a.py::test_b",
            "tests/test_a.py .......                        [ 25%]",
            ".......                        [ 25%]",
            "test_a (pkg.Case.test_a) ... ok",
            "    --- PASS: TestA/b (0.00s)",
            "[       OK ] A.b (0 ms)",
            "ok 12 - does it",
            " 1/20 Test  #1: foo ....................   Passed    0.01 sec",
            "[INFO] Tests run: 5, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.1 s - in com.A",
            "  Passed Foo.Bar [1 ms]",
            "  ✓ adds (5 ms)",
            "PASS src/a.test.ts",
            "ATest > b() PASSED",
        ] {
            assert_eq!(said(line), Some(Said::Passed), "{line}");
        }
        for line in ["=== RUN   TestA", "[ RUN      ] A.b", "      Start  1: foo"] {
            assert_eq!(said(line), Some(Said::Begins), "{line}");
        }
    }

    #[test]
    fn everything_else_stays() {
        for line in [
            "",
            "test a::b ... FAILED",
            "test a::b ... ignored",
            "test result: ok. 5 passed; 0 failed",
            "tests/a.py::b FAILED [ 5%]",
            "tests/a.py ..F.. [ 5%]",
            "not ok 3 - x",
            "ok 4 - x # TODO later",
            "--- FAIL: TestA (0.00s)",
            "[  FAILED  ] A.b",
            "ok  \tpkg\t0.1s",
            "PASS",
            "[INFO] Tests run: 5, Failures: 1, Errors: 0, Skipped: 0 - in A",
            "Start: x",
            "x PASSED y",
            "All good [100%]",
            "...",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
        for line in ["test result: ok. 5", "= 5 passed in 1s =", "  12 passing (3s)", "FAIL src/a"]
        {
            assert!(is_summary(line), "{line}");
        }
        assert!(!is_summary("it has passed") && !is_summary(""));
    }
}
