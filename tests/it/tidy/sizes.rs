//! How long things may be, and what they may be called.

use super::scan::{functions, types};
use super::tree::{Source, rust_files, source, sources};
use super::{Breach, judge};

/// Lines of a function, from its signature to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 600;
/// Parameters beside `self`.
const PARAMETERS_MAX: usize = 4;
/// Names that say nothing.
const EMPTY_NAMES: [&str; 10] =
    ["util", "utils", "common", "helper", "helpers", "manager", "types", "data", "context", "misc"];

/// What is built and measured, tests apart: the gateway, the load tools, benches and fuzz targets.
fn measured() -> Vec<Source> {
    let others = rust_files().into_iter().filter(|path| {
        ["loadtest/src/", "benches/", "tests/fuzz/"].iter().any(|folder| path.starts_with(folder))
    });
    let mut all = sources();
    all.extend(others.map(|path| source(&path)));
    all
}

#[test]
fn functions_are_short() {
    let mut breaches = Vec::new();
    for source in measured() {
        for function in functions(&source.code) {
            let place = format!("{}::{}", source.path, function.name);
            if function.lines > FUNCTION_LINES_MAX {
                breaches.push(Breach::new(place, format!("{} lines", function.lines)));
            }
        }
    }
    judge("lines of a function", &breaches);
}

#[test]
fn functions_take_few_parameters() {
    let mut breaches = Vec::new();
    for source in measured() {
        for function in functions(&source.code) {
            let place = format!("{}::{}", source.path, function.name);
            if function.parameters > PARAMETERS_MAX {
                breaches.push(Breach::new(place, format!("{} parameters", function.parameters)));
            }
        }
    }
    judge("parameters", &breaches);
}

#[test]
fn files_are_short() {
    let mut breaches = Vec::new();
    for source in measured() {
        let lines = lines_without_tests(&source);
        if lines > FILE_LINES_MAX {
            breaches.push(Breach::new(&source.path, format!("{lines} lines without tests")));
        }
    }
    judge("lines of a file", &breaches);
}

/// Lines up to the last one of code that is no test; comments between them count.
fn lines_without_tests(source: &Source) -> usize {
    let total = source.text.lines().count();
    let of_tests = source.all.len() - source.code.len();
    let last = source.code.last().map_or(0, |token| token.line + 1);
    if of_tests == 0 && last > 0 { total } else { last }
}

#[test]
fn every_file_says_what_it_is_for() {
    let headless =
        rust_files().into_iter().filter(|path| !super::tree::read(path).starts_with("//! "));
    let breaches: Vec<Breach> =
        headless.map(|path| Breach::new(path, "does not begin with //! and its purpose")).collect();
    judge("heads", &breaches);
}

#[test]
fn names_say_something() {
    let mut breaches = Vec::new();
    for path in rust_files() {
        let parts = path.trim_end_matches(".rs").split('/');
        if parts.into_iter().any(|part| EMPTY_NAMES.contains(&part)) {
            breaches.push(Breach::new(&path, "a file or room with an empty name"));
        }
    }
    for source in measured() {
        for (name, line) in types(&source.all) {
            if EMPTY_NAMES.contains(&last_word(&name).as_str()) {
                let what = format!("line {}: a type with an empty name", line + 1);
                breaches.push(Breach::new(format!("{}::{name}", source.path), what));
            }
        }
    }
    judge("names", &breaches);
}

/// `RequestContext` -> `context`.
fn last_word(name: &str) -> String {
    let at = name.rfind(char::is_uppercase).unwrap_or_default();
    name[at..].to_lowercase()
}
