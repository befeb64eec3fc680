//! Lines by which builds and installers tell how far they are. None of them is a finding.

/// What a line of progress is called in the count of such lines; `None` if it is none.
pub fn progress(line: &str) -> Option<&'static str> {
    let text = line.trim_start();
    let indent = line.len() - text.len();
    if indent > 0
        && let Some(word) = cargo(text, indent)
    {
        return Some(word);
    }
    prefixed(text).or_else(|| shared(text))
}

/// The verbs of cargo stand at the right edge of 12 columns, and a name with its version follows.
fn cargo(text: &str, indent: usize) -> Option<&'static str> {
    const VERBS: [&str; 10] = [
        "Compiling",
        "Checking",
        "Downloaded",
        "Downloading",
        "Fresh",
        "Documenting",
        "Adding",
        "Unpacking",
        "Updating",
        "Dirty",
    ];
    let verb = VERBS.into_iter().find(|verb| text.starts_with(verb))?;
    let named = text.get(verb.len()..)?.starts_with(' ') && text.contains(" v");
    (indent + verb.len() == 12 && named).then_some(verb)
}

/// Lines that are known by how they begin.
fn prefixed(text: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 17] = [
        ("Requirement already satisfied: ", "requirements satisfied"),
        ("Collecting ", "Collecting"),
        ("Downloading ", "Downloading"),
        ("Using cached ", "from cache"),
        ("npm http fetch ", "npm fetches"),
        ("npm http cache ", "npm fetches"),
        ("[INFO] Downloading from ", "downloads"),
        ("[INFO] Downloaded from ", "downloads"),
        ("Downloading from ", "downloads"),
        ("Downloaded from ", "downloads"),
        ("Selecting previously unselected package ", "packages"),
        ("Preparing to unpack ", "packages"),
        ("Unpacking ", "packages"),
        ("Setting up ", "packages"),
        ("Get:", "downloads"),
        ("Hit:", "downloads"),
        ("> Task :", "tasks"),
    ];
    if text.starts_with("make[") && text.contains(" directory '") {
        return Some("make folders");
    }
    if text.starts_with("> Task :") && text.ends_with("FAILED") {
        return None;
    }
    WORDS.iter().find(|(word, _)| text.starts_with(word)).map(|(_, name)| *name)
}

/// `[ 12%] Building CXX object a.o` and `[12/300] CXX a.o`.
fn shared(text: &str) -> Option<&'static str> {
    const STEPS: [&str; 8] = [
        "Building ",
        "Linking ",
        "Built target ",
        "CXX ",
        "CC ",
        "Compiling ",
        "Generating ",
        "LINK ",
    ];
    let (share, rest) = text.strip_prefix('[')?.split_once(']')?;
    let share = share.trim();
    let counts = share.strip_suffix('%').unwrap_or(share);
    let numeric = !counts.is_empty() && counts.bytes().all(|it| it.is_ascii_digit() || it == b'/');
    let rest = rest.trim_start();
    let is_step = STEPS.iter().any(|step| rest.starts_with(step));
    (numeric && share.contains(['%', '/']) && is_step).then_some("steps")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_of_many_tools() {
        for (line, word) in [
            ("   Compiling weir v0.1.0 (/work)", "Compiling"),
            ("  Downloaded bytes v1.2", "Downloaded"),
            ("Requirement already satisfied: a in /b", "requirements satisfied"),
            ("[ 12%] Building CXX object a.o", "steps"),
            ("[12/300] CXX a.o", "steps"),
            ("make[2]: Entering directory '/a'", "make folders"),
            ("> Task :a:compile UP-TO-DATE", "tasks"),
        ] {
            assert_eq!(progress(line), Some(word), "{line}");
        }
    }

    #[test]
    fn findings_are_no_progress() {
        for line in [
            "error: could not compile `a`",
            "warning: unused",
            "Compiling the docs",
            "    Finished `dev` profile",
            "> Task :a:compile FAILED",
            "[1/2] FAILED: a.o",
            "[ 12%] error",
            "[x] done",
            "",
        ] {
            assert_eq!(progress(line), None, "{line}");
        }
    }
}
