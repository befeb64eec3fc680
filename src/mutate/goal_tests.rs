//! The goals: how much is saved of each kind of output, and that every fact of it is still there. Outputs as the
//! real commands write them; `benches/mutate.rs` measures the same on real repositories.

use crate::mutate::compress::{self, Settings};
use crate::mutate::kind::Kind;

/// The output, shortened; checked to be of that kind and to save that share, in percent.
#[track_caller]
fn short(text: &str, kind: Kind, saved_min: usize) -> String {
    let found = compress::compress(text, &Settings::default()).expect("it is shortened");
    assert_eq!(found.kind, Some(kind));
    let saved = (text.len() - found.text.len()) * 100 / text.len();
    assert!(saved >= saved_min, "saved {saved} %\n{}", found.text);
    found.text
}

fn joined(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().concat()
}

/// A commit that changes a few lines at several places of some files.
fn commit() -> String {
    let hunk = |at: usize| {
        let line = at * 40 + 7;
        format!(
            "@@ -{line},9 +{line},10 @@ impl Exchange {{\n     }}\n \n     /// What was asked.\n-    pub fn asked(&self) -> &Asked {{\n-        &self.asked_{at}\n+    pub const fn asked(&self) -> &Asked {{\n+        // Borrowed for as long as the exchange lives.\n+        &self.asked\n     }}\n \n     /// The configuration that holds from beginning to end.\n     pub fn snapshot(&self) -> &Snapshot {{\n"
        )
    };
    let file = |at: usize| {
        format!(
            "diff --git a/src/exchange/part_{at}.rs b/src/exchange/part_{at}.rs\nindex 1f{at}2c..8a{at}1b 100644\n--- a/src/exchange/part_{at}.rs\n+++ b/src/exchange/part_{at}.rs\n{}",
            joined(3, hunk)
        )
    };
    format!(
        "commit 8f7de4ca\nAuthor: A <a@example.org>\nDate:   Sat Nov 21 12:35:24 2026 +0000\n\n    Borrow what is asked\n\n{}",
        joined(5, file)
    )
}

#[test]
fn a_diff_keeps_every_changed_line_and_file() {
    let text = commit();
    let out = short(&text, Kind::Diff, 15);
    let is_changed = |line: &&str| {
        line.starts_with(['+', '-']) && !line.starts_with("+++ ") && !line.starts_with("--- ")
    };
    let changed = |text: &str| -> Vec<String> {
        text.lines().filter(is_changed).map(str::to_owned).collect()
    };
    assert_eq!(changed(&text).len(), 75);
    assert_eq!(changed(&text), changed(&out), "in their order");
    assert!((0..5).all(|at| out.contains(&format!("diff src/exchange/part_{at}.rs\n"))));
    assert!(out.contains("    Borrow what is asked\n"));
}

#[test]
fn a_search_keeps_every_place() {
    let place = |at: usize| {
        let (file, line) = (at / 9, at * 13);
        format!("src/exchange/part_{file}.rs:{line}:        let value = self.value({at});\n")
    };
    let text = joined(90, place);
    let out = short(&text, Kind::Grep, 25);
    let mut path = "";
    let mut places = Vec::new();
    for line in out.lines().skip(1) {
        if line.starts_with(|sign: char| sign.is_ascii_digit()) {
            places.push(format!("{path}:{line}"));
        } else {
            path = line;
        }
    }
    assert_eq!(places, text.lines().collect::<Vec<_>>());
}

#[test]
fn a_listing_keeps_every_name() {
    let entry =
        |at: usize| format!("-rw-r--r--  1 root root  {:>6} Nov 21 12:41 part_{at}.rs\n", at * 77);
    let text = format!(
        "./src:\ntotal 48\ndrwxr-xr-x 2 root root 4096 Nov 21 12:41 base\n{}",
        joined(40, entry)
    );
    let out = short(&text, Kind::LongListing, 70);
    let names: Vec<&str> = out.lines().nth(1).unwrap().split(' ').collect();
    assert_eq!(names[..2], ["./src:", "base/"]);
    assert!((0..40).all(|at| names.contains(&&*format!("part_{at}.rs"))));
}

#[test]
fn a_test_run_keeps_every_failure_and_the_exit_code() {
    let verdict = |at: usize| {
        let said = if at % 50 == 7 { "FAILED" } else { "ok" };
        format!("test exchange::part_{at}::tests::does_what_it_says ... {said}\n")
    };
    let failure = |at: usize| {
        let at = at * 50 + 7;
        format!(
            "---- exchange::part_{at}::tests::does_what_it_says stdout ----\n\nthread 'main' panicked at src/exchange/part_{at}.rs:{at}:9:\nassertion `left == right` failed\n  left: {at}\n right: 0\n\n"
        )
    };
    let text = format!(
        "$ cargo test\n   Compiling weir v0.1.0 (/work)\n\nrunning 300 tests\n{}\nfailures:\n\n{}test result: FAILED. 294 passed; 6 failed\n\n[exit code: 101]\n",
        joined(300, verdict),
        joined(6, failure),
    );
    let out = short(&text, Kind::Run, 80);
    let is_fact = |line: &&str| !line.ends_with(" ... ok");
    let facts: Vec<&str> = text.lines().filter(is_fact).collect();
    let told: Vec<&str> = out
        .lines()
        .filter(|line| !line.starts_with("[weir: ") && *line != "... 294 tests passed")
        .collect();
    assert_eq!(told, facts);
}

#[test]
fn a_log_keeps_every_template_and_its_count() {
    let entry = |at: usize| {
        let time = format!("2026-11-21T12:{:02}:{:02}.001Z", at / 60, at % 60);
        match at % 10 {
            0 => format!("{time} ERROR upstream 10.0.0.{} reset the connection\n", at % 3),
            1..=3 => format!("{time} DEBUG pool has {at} idle connections\n"),
            _ => format!("{time}  INFO request req-{at:04x} answered in {at} ms\n"),
        }
    };
    let out = short(&joined(300, entry), Kind::Log, 70);
    // Errors are told apart by their values, everything else by its words.
    for fact in [
        "ERROR upstream 10.0.0.0 reset the connection (x10, last 2026-11-21T12:04:30.001Z)",
        "ERROR upstream 10.0.0.1 reset the connection (x10, last ",
        "ERROR upstream 10.0.0.2 reset the connection (x10, last ",
        "DEBUG pool has 1 idle connections (x90, last ",
        " INFO request req-0004 answered in 4 ms (x180, last ",
    ] {
        assert!(out.contains(fact), "{fact}\n{out}");
    }
    assert_eq!(out.lines().count(), 6);
}

#[test]
fn a_list_of_paths_keeps_every_path() {
    let path = |at: usize| format!("./src/dialect/part_{}/file_{at}.rs\n", at / 15);
    let text = joined(100, path);
    let out = short(&text, Kind::Paths, 40);
    let mut paths: Vec<String> = Vec::new();
    for line in out.lines().skip(1) {
        let (folder, names) = line.split_once(": ").unwrap();
        paths.extend(names.split(' ').map(|name| format!("{folder}{name}")));
    }
    assert_eq!(paths, text.lines().collect::<Vec<_>>());
}
