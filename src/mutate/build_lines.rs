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
    let named = text.get(verb.len()..)?.starts_with(' ')
        && text.split_once(" v").is_some_and(|(_, version)| numbered(version).is_some());
    (indent + verb.len() == 12 && named).then_some(verb)
}

/// What follows a beginning, where it is a line of progress and not a sentence.
type Shape = fn(&str) -> bool;

/// Lines that are known by how they begin, and by what follows.
const WORDS: [(&str, &str, Shape); 20] = [
    ("Requirement already satisfied: ", "requirements satisfied", is_requirement_in_a_place),
    ("Collecting ", "Collecting", is_requirement),
    ("Downloading ", "Downloading", is_file),
    ("Using cached ", "from cache", is_file),
    ("npm http fetch ", "npm fetches", is_good_fetch),
    ("npm http cache ", "npm fetches", |rest| rest.contains(" (cache ")),
    ("[INFO] Downloading from ", "downloads", is_of_a_repository),
    ("[INFO] Downloaded from ", "downloads", is_of_a_repository),
    ("Downloading from ", "downloads", is_of_a_repository),
    ("Downloaded from ", "downloads", is_of_a_repository),
    ("Selecting previously unselected package ", "packages", is_named_package),
    ("Preparing to unpack ", "packages", |rest| rest.ends_with(".deb ...")),
    ("Unpacking ", "packages", is_package),
    ("Setting up ", "packages", is_package),
    ("Get:", "downloads", is_numbered),
    ("Hit:", "downloads", is_numbered),
    ("> Task :", "tasks", is_task),
    ("make[", "make folders", |rest| numbered(rest).is_some_and(|it| is_folder(it, "]: "))),
    ("make: Entering directory ", "make folders", is_quoted),
    ("make: Leaving directory ", "make folders", is_quoted),
];

fn prefixed(text: &str) -> Option<&'static str> {
    let text = text.trim_end();
    let fits = |(word, _, shape): &&(&str, &str, Shape)| text.strip_prefix(word).is_some_and(shape);
    WORDS.iter().find(fits).map(|(_, name, _)| *name)
}

/// What follows digits.
fn numbered(text: &str) -> Option<&str> {
    text.starts_with(|sign: char| sign.is_ascii_digit())
        .then(|| text.trim_start_matches(|sign: char| sign.is_ascii_digit()))
}

/// apt: `1 http://a.b stable/main amd64 c 1.0 [5 kB]`.
fn is_numbered(rest: &str) -> bool {
    numbered(rest).and_then(|rest| rest.strip_prefix(' ')).is_some_and(|rest| rest.contains(":/"))
}

fn is_folder(rest: &str, before: &str) -> bool {
    rest.strip_prefix(before).is_some_and(|rest| {
        let named = rest.strip_prefix("Entering ").or_else(|| rest.strip_prefix("Leaving "));
        named.and_then(|it| it.strip_prefix("directory ")).is_some_and(is_quoted)
    })
}

fn is_quoted(rest: &str) -> bool {
    rest.starts_with(['\'', '`']) && rest.ends_with('\'')
}

/// pip: a name with its limits, as in `a[b]<3,>=2`, and at most where it comes from.
fn is_requirement(rest: &str) -> bool {
    let (name, from) = rest.split_once(' ').unwrap_or((rest, ""));
    let is_sign = |sign: char| sign.is_ascii_alphanumeric() || "._-[]<>=!~,;*+".contains(sign);
    name.starts_with(|sign: char| sign.is_ascii_alphanumeric())
        && name.chars().all(is_sign)
        && !name.ends_with('.')
        && (from.is_empty() || from.starts_with("(from ") && from.ends_with(')'))
}

fn is_requirement_in_a_place(rest: &str) -> bool {
    rest.split_once(" in ").is_some_and(|(name, place)| is_requirement(name) && !place.is_empty())
}

/// A package's file or an address, and at most its size.
fn is_file(rest: &str) -> bool {
    const ENDS: [&str; 5] = [".whl", ".metadata", ".gz", ".zip", ".jar"];
    let (name, size) = rest.split_once(' ').unwrap_or((rest, ""));
    let is_size = size.starts_with('(') && size.ends_with("B)") && numbered(&size[1..]).is_some();
    is_size || size.is_empty() && ENDS.iter().any(|end| name.ends_with(end))
}

/// npm: `GET 200 https://…`, of the good ones.
fn is_good_fetch(rest: &str) -> bool {
    let mut words = rest.split(' ').skip(1);
    matches!(words.next(), Some("200" | "304")) && words.next().is_some_and(|it| it.contains("://"))
}

/// Maven: `central: https://…`.
fn is_of_a_repository(rest: &str) -> bool {
    rest.split_once(": ").is_some_and(|(name, from)| !name.contains(' ') && from.contains("://"))
}

/// dpkg: `a:amd64.`.
fn is_named_package(rest: &str) -> bool {
    rest.ends_with('.') && !rest.contains(' ')
}

/// dpkg: `a (1.0) ...` and `a (1.0) over (0.9) ...`.
fn is_package(rest: &str) -> bool {
    rest.ends_with(") ...") && rest.split_once(" (").is_some_and(|(name, _)| !name.contains(' '))
}

/// Gradle: `a:compile`, and at most why nothing was to do.
fn is_task(rest: &str) -> bool {
    let (name, state) = rest.split_once(' ').unwrap_or((rest, ""));
    !name.is_empty() && matches!(state, "" | "UP-TO-DATE" | "SKIPPED" | "NO-SOURCE" | "FROM-CACHE")
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
            ("make: Leaving directory '/a'", "make folders"),
            ("> Task :a:compile UP-TO-DATE", "tasks"),
            ("> Task :a:compile", "tasks"),
            (
                "Requirement already satisfied: a<3,>=2 in /b (from c) (2.1)",
                "requirements satisfied",
            ),
            ("Collecting requests[socks]<3,>=2.0 (from -r a.txt (line 1))", "Collecting"),
            ("  Downloading a-1.0-py3-none-any.whl.metadata (4.6 kB)", "Downloading"),
            ("Downloading https://a.b/c.zip", "Downloading"),
            ("Downloading torch (700.1MiB)", "Downloading"),
            ("  Using cached a-1.0.tar.gz", "from cache"),
            ("Using cached a-1.0-py3-none-any.whl (62 kB)", "from cache"),
            ("npm http fetch GET 200 https://a.b/c 81ms (cache hit)", "npm fetches"),
            ("[INFO] Downloading from central: https://a.b/c.pom", "downloads"),
            ("Downloaded from central: https://a.b/c.pom (2 kB at 9 kB/s)", "downloads"),
            ("Selecting previously unselected package a:amd64.", "packages"),
            ("Preparing to unpack .../a_1.0_amd64.deb ...", "packages"),
            ("Unpacking a (1.0) over (0.9) ...", "packages"),
            ("Setting up a (1.0-1) ...", "packages"),
            ("Get:1 http://a.b stable/main amd64 c 1.0 [5 kB]", "downloads"),
            ("Hit:12 http://a.b stable InRelease", "downloads"),
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
            "Get: the value was 7",
            "Hit: wall at 3",
            "Get:1",
            "Collecting garbage took 5 s",
            "Collecting evidence...",
            "Downloading the model failed",
            "Downloading a (failed)",
            "Using cached results of yesterday",
            "Setting up the database: permission denied",
            "Unpacking failed: a",
            "Preparing to unpack a: no space left",
            "Selecting previously unselected package a: none",
            "npm http fetch GET 404 https://a.b/c 81ms",
            "npm http fetch GET https://a.b/c attempt 1 failed with ETIMEDOUT",
            "npm http cache is broken",
            "Downloading from the mirror is slow",
            "Requirement already satisfied: none",
            "> Task :a:compile went wrong",
            "make[1]: no such directory 'a'",
            "   Compiling the very best",
            "[x] done",
            "",
        ] {
            assert_eq!(progress(line), None, "{line}");
        }
    }
}
