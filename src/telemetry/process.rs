//! What the kernel says about this process: memory, processor time, open files. Read at a scrape.
//!
//! Linux only: elsewhere the files are missing and the figures stay zero.

use std::fs;

/// Clock ticks in a second as `/proc` counts them; the same on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// One look at the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Resident memory.
    pub resident_bytes: u64,
    /// User and system time used so far.
    pub cpu_ms: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// Threads.
    pub threads: u64,
}

impl Vitals {
    /// Asks the kernel.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            resident_bytes: field(&status, "VmRSS:") * 1024,
            cpu_ms: cpu_ticks(&stat) * 1000 / TICKS_PER_SECOND,
            open_files: fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
            threads: field(&status, "Threads:"),
        }
    }
}

/// The number after `name` in `/proc/self/status`.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// User plus system time: the 14th and 15th field of `/proc/self/stat`. The second field is the
/// program's name in brackets and may hold blanks, so the count starts behind it.
fn cpu_ticks(stat: &str) -> u64 {
    let Some((_, rest)) = stat.rsplit_once(')') else { return 0 };
    rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_formats_are_read() {
        assert_eq!(field("Name:\tx\nVmRSS:\t  2048 kB\nThreads:\t7\n", "VmRSS:"), 2048);
        assert_eq!(cpu_ticks("1 (a) b) S 2 3 4 5 6 7 8 9 10 11 120 30 0 0"), 150);
        assert_eq!((field("", "VmRSS:"), cpu_ticks("")), (0, 0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_files_and_threads() {
        let vitals = Vitals::read();
        assert!(vitals.resident_bytes > 0 && vitals.open_files > 0 && vitals.threads > 0);
    }
}
