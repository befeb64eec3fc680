//! File descriptors: every connection takes some, and who runs out of them can answer nobody.
//!
//! The soft limit is raised to the hard one, which needs no privilege. The hard one is the operator's: where it
//! is lower than what is configured, that is said, and fewer connections are let in.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::base::limit::{DESCRIPTORS_KEPT, DESCRIPTORS_PER_CONNECTION};

/// Raises the soft limit to the hard one.
///
/// # Errors
/// What the system says against it; the limit is as it was.
pub fn raise() -> Result<(), String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return Ok(());
    }
    let raised = Rlimit { current: maximum, maximum };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| format!("the limit of open files cannot be raised: {error}"))
}

/// How many connections the descriptors suffice for that this process may open at present.
pub fn connections() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, connections_of)
}

/// What is to be said of `connections_max`, if the hard limit does not allow so many.
pub fn warning(connections_max: usize) -> Option<String> {
    told(connections_max, getrlimit(Resource::Nofile).maximum?)
}

fn connections_of(limit: u64) -> usize {
    let left = limit.saturating_sub(DESCRIPTORS_KEPT) / DESCRIPTORS_PER_CONNECTION;
    usize::try_from(left).unwrap_or(usize::MAX).max(1)
}

fn told(connections_max: usize, limit: u64) -> Option<String> {
    let possible = connections_of(limit);
    if possible >= connections_max {
        return None;
    }
    let wanted = u64::try_from(connections_max).unwrap_or(u64::MAX);
    let needed = wanted.saturating_mul(DESCRIPTORS_PER_CONNECTION).saturating_add(DESCRIPTORS_KEPT);
    Some(format!(
        "server.connections_max: {connections_max} connections need {needed} open files, of which the hard limit \
         (`ulimit -Hn`) allows {limit}: {possible} connections are let in"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_takes_two_beside_what_is_kept() {
        assert_eq!(connections_of(DESCRIPTORS_KEPT + 200), 100);
        assert_eq!((connections_of(0), connections_of(DESCRIPTORS_KEPT)), (1, 1));
        assert_eq!(told(100, DESCRIPTORS_KEPT + 200), None);
        let said = told(101, DESCRIPTORS_KEPT + 201).expect("too few");
        assert!(said.contains("101 connections") && said.contains("100 connections"), "{said}");
    }

    #[test]
    fn raised_is_raised() {
        raise().expect("no privilege is needed");
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(connections(), limit.maximum.map_or(usize::MAX, connections_of));
    }
}
