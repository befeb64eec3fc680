//! The house, held by tests: floors, pure rooms, sizes, names, and the files that belong together.
//!
//! Each rule lists every place that breaks it. What must break a rule stands in `EXCEPTIONS` with its
//! reason; the list only shrinks, since an exception that nothing needs any more fails too.

mod files;
mod floors;
mod scan;
mod sizes;
mod tree;

/// One place that breaks a rule.
struct Breach {
    /// A path, or a path and a name in it.
    place: String,
    /// What is wrong there.
    what: String,
}

/// Rule, place, reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("lines of a file", "src/base/limit.rs", "a table: every bound with its reason, in one place"),
    ("parameters", "src/proxy/service.rs::error_while_proxy", "the signature is Pingora's"),
    (
        "names",
        "src/usage/price.rs::LongContext",
        "the providers' word for the part of a price list",
    ),
    ("names", "loadtest/src/upstream/play.rs::Data", "an associated type of hyper's"),
];

impl Breach {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

/// Fails unless the breaches of a rule are just its exceptions.
fn judge(rule: &str, breaches: &[Breach]) {
    let exceptions: Vec<&str> = EXCEPTIONS
        .iter()
        .filter(|exception| exception.0 == rule)
        .map(|exception| exception.1)
        .collect();
    let broken = breaches.iter().filter(|breach| !exceptions.contains(&breach.place.as_str()));
    let mut lines: Vec<String> =
        broken.map(|breach| format!("{}: {}", breach.place, breach.what)).collect();
    let stale =
        exceptions.iter().filter(|place| breaches.iter().all(|breach| breach.place != **place));
    lines.extend(stale.map(|place| format!("{place}: needs its exception no more, take it out")));
    assert!(lines.is_empty(), "{rule}, {} places:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn every_exception_has_a_reason() {
    assert!(EXCEPTIONS.iter().all(|(_, _, reason)| !reason.is_empty()));
}
