//! `ls -l`, with or without `-R`: names by folder. Sizes, owners and times go; what a name is stays, as
//! `ls -F` marks it: `/` folder, `*` program, ` -> ` link.

use crate::mutate::lines::{self, push, push_name};

/// Fewest entries that are worth it.
const ENTRIES_MIN: usize = 5;
/// How much of a text must be a listing, in percent.
const SHARE: usize = 90;
/// The seed: entries of one listing.
const LOSSY_ENTRIES: usize = 80;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Whether the lines are those of `ls -l`.
pub fn fits(lines: &[&str]) -> bool {
    let (entries, _) = lines::count(lines, |line| entry(line).is_some());
    let (known, full) =
        lines::count(lines, |line| entry(line).is_some() || is_total(line) || is_folder(line));
    entries >= ENTRIES_MIN && lines::is_share(known, full, SHARE)
}

/// The listing, shorter.
pub fn shorten(text: &str, lossy: bool) -> String {
    let mut out = String::with_capacity(text.len() / 3);
    let mut names = 0;
    let mut left_out = 0;
    for line in lines::split(text) {
        match entry(line) {
            Some(_) if lossy && names >= LOSSY_ENTRIES => left_out += 1,
            Some(entry) => {
                if names > 0 || out.ends_with(':') {
                    out.push(' ');
                }
                push_entry(&mut out, &entry);
                names += 1;
            }
            None if line.trim().is_empty() || is_total(line) => {}
            None => {
                end(&mut out, &mut left_out);
                names = 0;
                if is_folder(line) {
                    out.push_str(line.trim_end());
                } else {
                    push(&mut out, line);
                }
            }
        }
    }
    end(&mut out, &mut left_out);
    lines::finish(out, text)
}

/// Ends the line of a folder.
fn end(out: &mut String, left_out: &mut usize) {
    if *left_out > 0 {
        out.push_str(" ... ");
        out.push_str(&left_out.to_string());
        out.push_str(" more");
    }
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    *left_out = 0;
}

/// `total 48`
fn is_total(line: &str) -> bool {
    let size = line.trim_end().strip_prefix("total ");
    size.is_some_and(|size| size.starts_with(|sign: char| sign.is_ascii_digit()))
}

/// `./src/base:`
fn is_folder(line: &str) -> bool {
    line.trim_end().ends_with(':') && !line.starts_with(char::is_whitespace)
}

struct Entry<'a> {
    kind: u8,
    is_program: bool,
    name: &'a str,
}

/// An entry of a listing: mode, links, owners, size, time and name.
fn entry(line: &str) -> Option<Entry<'_>> {
    let line = line.trim_end();
    let mode = line.as_bytes().get(..10)?;
    let is_mode =
        b"-dlbcps".contains(&mode[0]) && mode[1..].iter().all(|byte| b"rwxsStT-".contains(byte));
    if !is_mode {
        return None;
    }
    let name = name(line)?;
    let is_program = mode[0] == b'-' && [3, 6, 9].iter().any(|&at| b"xst".contains(&mode[at]));
    Some(Entry { kind: mode[0], is_program, name })
}

/// What stands behind the time.
fn name(line: &str) -> Option<&str> {
    let mut words = Words { line, at: 0 };
    words.next()?;
    for _ in 0..7 {
        let word = words.next()?;
        let is_date = word.len() == 10 && word.bytes().filter(|byte| *byte == b'-').count() == 2;
        if MONTHS.contains(&word) {
            words.next().filter(|day| lines::number(day).is_some())?;
            words.next()?;
        } else if is_date {
            words.next().filter(|time| time.contains(':'))?;
            let before = words.at;
            let zone = words.next()?;
            if !(zone.len() == 5 && zone.starts_with(['+', '-'])) {
                words.at = before;
            }
        } else {
            continue;
        }
        return line.get(words.at + 1..).filter(|name| !name.is_empty());
    }
    None
}

/// Words of a line, one after the other.
struct Words<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = &self.line[self.at..];
        let start = rest.find(|sign| sign != ' ')?;
        let word = rest[start..].split(' ').next()?;
        self.at += start + word.len();
        Some(word)
    }
}

fn push_entry(out: &mut String, entry: &Entry<'_>) {
    let (name, target) = match entry.name.split_once(" -> ") {
        Some((name, target)) if entry.kind == b'l' => (name, Some(target)),
        _ => (entry.name, None),
    };
    push_name(out, name);
    match entry.kind {
        b'd' => out.push('/'),
        b'-' if entry.is_program => out.push('*'),
        b'-' => {}
        b'l' => out.push('@'),
        b'p' => out.push('|'),
        b's' => out.push('='),
        _ => out.push('#'),
    }
    if let Some(target) = target {
        out.push_str("->");
        push_name(out, target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_behind_their_folder() {
        let text = "./src:\ntotal 48\ndrwxr-xr-x  2 root root 4096 Nov 21 12:41 base\n-rw-r--r--  1 root root  120 Jan  1  2025 a b.rs\n-rwxr-xr-x. 1 root root 1.2K Nov 21 12:41 run\nlrwxrwxrwx  1 root root    4 Nov 21 12:41 l -> run\n\n./src/base:\ntotal 0\n-rw-r--r-- 1 root root 1 2026-11-21 12:41 iso\n-rw-r--r-- 1 root root 1 2026-11-21 12:41:40.000 +0000 full\ncrw--w---- 1 root tty 4, 1 Nov 21 12:41 tty1\nls: cannot open directory 'x'\n";
        assert!(fits(&lines::split(text)));
        assert_eq!(
            shorten(text, false),
            "./src: base/ \"a b.rs\" run* l@->run\n./src/base: iso full tty1#\nls: cannot open directory 'x'\n"
        );
    }

    #[test]
    fn a_listing_without_folders_is_one_line() {
        let line = |at: usize| format!("-rw-r--r-- 1 root root 1 Nov 21 12:41 f{at}\n");
        let text: String = (0..90).map(line).collect();
        let names: Vec<String> = (0..90).map(|at| format!("f{at}")).collect();
        assert_eq!(shorten(&text, false), names.join(" ") + "\n");
        assert_eq!(shorten(&text, true), names[..80].join(" ") + " ... 10 more\n");
    }

    #[test]
    fn other_lines_are_no_entries() {
        for line in ["", "drwx", "total x", "-rw-r--r-- 1 root root 1 now f", "----------", "é"] {
            assert!(entry(line).is_none(), "{line}");
        }
    }
}
