//! Logs: entries that differ only in times and numbers are told once, with how often they came and when last.
//!
//! Entries that say that something is wrong are joined only if they differ in nothing but their time. Every
//! distinct template stays, with its count.

use std::collections::HashMap;

use crate::mutate::lines::{self, push};
use crate::mutate::stamp;

/// Entries alike that become one.
const ALIKE_MIN: usize = 3;
/// Fewest entries of a log.
const ENTRIES_MIN: usize = 10;
/// How much of a text must begin entries, in percent.
const SHARE: usize = 60;
/// The seed: lines of a log, the last ones.
const LOSSY_LINES: usize = 2_000;

/// Whether the lines are a log.
pub fn fits(lines: &[&str]) -> bool {
    let (entries, full) = lines::count(lines, stamp::is_entry);
    entries >= ENTRIES_MIN && lines::is_share(entries, full, SHARE)
}

/// Entries that are alike.
struct Alike<'a> {
    count: usize,
    last: &'a str,
}

/// The log, shorter.
pub fn shorten(text: &str, lossy: bool) -> String {
    let all = lines::split(text);
    let entries: Vec<&[&str]> = all.chunk_by(|_, next| !stamp::is_entry(next)).collect();
    let keys: Vec<String> = entries.iter().map(|entry| key(entry)).collect();
    let mut groups: HashMap<&str, Alike<'_>> = HashMap::new();
    for (entry, key) in entries.iter().zip(&keys) {
        let group = groups.entry(key).or_insert(Alike { count: 0, last: "" });
        group.count += 1;
        group.last = entry.first().copied().unwrap_or_default();
    }
    let mut out = String::with_capacity(text.len());
    for (entry, key) in entries.iter().zip(&keys) {
        match groups.get_mut(key.as_str()) {
            // Told already.
            Some(group) if group.count == 0 => {}
            Some(group) if group.count >= ALIKE_MIN => {
                write_alike(&mut out, entry, group);
                group.count = 0;
            }
            _ => lines::push_all(&mut out, entry),
        }
    }
    let out = lines::finish(out, text);
    if lossy { last_lines(out) } else { out }
}

fn write_alike(out: &mut String, entry: &[&str], group: &Alike<'_>) {
    let Some((first, rest)) = entry.split_first() else { return };
    out.push_str(first);
    let time = stamp::end_of_time(group.last).map_or("", |end| &group.last[..end]);
    let time = time.trim_start_matches('[');
    let last = if time.is_empty() { String::new() } else { format!(", last {time}") };
    push(out, &format!(" (x{}{last})", group.count));
    lines::push_all(out, rest);
}

/// What entries have in common that are alike.
fn key(entry: &[&str]) -> String {
    let mut key = String::new();
    for (at, line) in entry.iter().enumerate() {
        let time = if at == 0 { stamp::end_of_time(line).unwrap_or(0) } else { 0 };
        if at == 0 && !stamp::is_severe(line) {
            stamp::template(&line[time..], &mut key);
        } else {
            key.push_str(&line[time..]);
        }
        key.push('\n');
    }
    key
}

/// The last of very many lines.
fn last_lines(text: String) -> String {
    let lines = lines::split(&text);
    let Some(cut) = lines.len().checked_sub(LOSSY_LINES).filter(|cut| *cut > 0) else {
        return text;
    };
    let mut out = String::with_capacity(text.len());
    push(&mut out, &format!("... {cut} lines left out"));
    lines::push_all(&mut out, &lines[cut..]);
    lines::finish(out, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_entries_alike_become_one() {
        let text = "2026-11-21T12:00:00Z INFO start\n2026-11-21T12:00:01Z INFO got 1 of a\n2026-11-21T12:00:02Z ERROR at 1\n  at x\n2026-11-21T12:00:03Z INFO got 22 of a\n2026-11-21T12:00:04Z ERROR at 2\n  at x\n2026-11-21T12:00:05Z INFO got 3 of a\n2026-11-21T12:00:06Z ERROR at 2\n  at x\n2026-11-21T12:00:07Z ERROR at 2\n  at x\n2026-11-21T12:00:07Z INFO got 3 of b\n";
        assert_eq!(
            shorten(text, false),
            "2026-11-21T12:00:00Z INFO start\n2026-11-21T12:00:01Z INFO got 1 of a (x3, last 2026-11-21T12:00:05Z)\n2026-11-21T12:00:02Z ERROR at 1\n  at x\n2026-11-21T12:00:04Z ERROR at 2 (x3, last 2026-11-21T12:00:07Z)\n  at x\n2026-11-21T12:00:07Z INFO got 3 of b\n"
        );
    }

    #[test]
    fn the_seeds_cap() {
        let text: String = ('a'..='z')
            .flat_map(|a| ('a'..='z').map(move |b| (a, b)))
            .flat_map(|(a, b)| ('a'..='d').map(move |c| format!("INFO {a}{b}{c}\n")))
            .collect();
        assert_eq!(shorten(&text, false), text);
        let cut = shorten(&text, true);
        assert_eq!(cut.lines().count(), 2_001);
        assert!(cut.starts_with("... 704 lines left out\n") && cut.ends_with("INFO zzd\n"));
    }

    #[test]
    fn a_log_is_mostly_entries() {
        assert!(fits(&["INFO x"; 10]) && !fits(&["INFO x"; 9]));
        assert!(!fits(&[["INFO x"; 10], ["y"; 10]].concat()));
    }
}
