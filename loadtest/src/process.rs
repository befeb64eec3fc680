//! What a process costs, read from `/proc`: CPU time and memory of a process and its children.
//!
//! Linux only. It measures processes; it neither starts nor ends any.

use std::fs;
use std::io;
use std::str::FromStr;

/// Nanoseconds of one tick in `/proc/<pid>/stat` (`USER_HZ` is 100 on every Linux we run on).
const TICK_NS: u64 = 10_000_000;

/// CPU time (user and system) so far, in nanoseconds, of a process, its threads and its children.
pub fn cpu_ns(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for pid in family(pid)? {
        let ticks = stat_field(pid, 13).unwrap_or(0) + stat_field(pid, 14).unwrap_or(0);
        // The scheduler's own count is exact but forgets threads that have ended; the ticks do
        // not, so that what is lost with a thread stays below two ticks.
        sum += schedstat_ns(pid).max(ticks * TICK_NS);
    }
    Ok(sum)
}

/// Resident memory in KiB of a process and its children.
pub fn rss_kib(pid: u32) -> io::Result<u64> {
    Ok(family(pid)?.into_iter().filter_map(|pid| status_kib(pid, "VmRSS:")).sum())
}

/// The process and all its descendants; an error if it does not exist.
fn family(pid: u32) -> io::Result<Vec<u32>> {
    fs::metadata(format!("/proc/{pid}"))?;
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = stat_field::<u32>(child, 3) {
            parents.push((child, parent));
        }
    }
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    Ok(found)
}

/// A field of `/proc/<pid>/stat`, counted from 0; the name in brackets may contain blanks.
fn stat_field<T: FromStr>(pid: u32, field: usize) -> Option<T> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(field.checked_sub(2)?)?.parse().ok()
}

fn schedstat_ns(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let read = |path| fs::read_to_string(path).ok()?.split_whitespace().next()?.parse::<u64>().ok();
    tasks.flatten().filter_map(|task| read(task.path().join("schedstat"))).sum()
}

fn status_kib(pid: u32, key: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_costs_cpu_and_memory() {
        let pid = std::process::id();
        let before = cpu_ns(pid).unwrap();
        let mut sum = 0_u64;
        // Threads of other tests end meanwhile, which may take some of the count away again.
        while cpu_ns(pid).unwrap() < before + 3 * TICK_NS {
            sum = (0..100_000_u64).fold(sum, u64::wrapping_add);
        }
        assert!(sum > 0);
        assert!(rss_kib(pid).unwrap() > 500);
        assert!(cpu_ns(u32::MAX).is_err());
    }
}
