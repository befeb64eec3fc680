//! Lists of paths (`find`, `git ls-files`, `rg -l`): folded by folder. Every path stays.

use std::collections::HashMap;

use crate::mutate::lines::{self, push_name};

/// Fewest paths that are worth it.
const PATHS_MIN: usize = 10;
/// How much of a text must be paths, in percent.
const SHARE: usize = 95;
/// Bytes of a path; beyond it is a line of something else.
const PATH_BYTES_MAX: usize = 512;

/// Whether the lines are paths.
pub fn fits(lines: &[&str]) -> bool {
    let (deep, _) = lines::count(lines, |line| is_path(line) && line.contains('/'));
    let (paths, full) = lines::count(lines, is_path);
    deep >= PATHS_MIN && lines::is_share(paths, full, SHARE) && lines::is_share(deep, full, 50)
}

fn is_path(line: &str) -> bool {
    let line = line.trim_end_matches('\r');
    let odd = |sign: char| {
        sign.is_whitespace() || matches!(sign, '"' | '\'' | ',' | ';' | '<' | '(' | '=')
    };
    !line.is_empty()
        && line.len() <= PATH_BYTES_MAX
        && !line.contains(odd)
        && !line.contains("://")
        && !line.ends_with(':')
}

/// The paths by folder, in the order in which the folders come first. Lines that are none stay at the end of
/// what came before them.
pub fn shorten(text: &str) -> String {
    let mut folders: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    let mut others: Vec<&str> = Vec::new();
    for line in lines::split(text) {
        let line = line.trim_end_matches('\r');
        if !is_path(line) {
            others.push(line);
            continue;
        }
        // The sign of a folder belongs to its name.
        let end = line.len() - usize::from(line.ends_with('/'));
        let (folder, name) = line.split_at(line[..end].rfind('/').map_or(0, |at| at + 1));
        let place = *known.entry(folder).or_insert_with(|| {
            folders.push((folder, Vec::new()));
            folders.len() - 1
        });
        folders[place].1.push(name);
    }
    let mut out = String::with_capacity(text.len());
    for (folder, names) in &folders {
        write_folder(&mut out, folder, names);
    }
    for line in others.iter().filter(|line| !line.is_empty()) {
        lines::push(&mut out, line);
    }
    lines::finish(out, text)
}

fn write_folder(out: &mut String, folder: &str, names: &[&str]) {
    if let [name] = names {
        // A path by itself is shorter as it is.
        out.push_str(folder);
        out.push_str(name);
    } else {
        out.push_str(if folder.is_empty() { "." } else { folder });
        out.push(':');
        for name in names {
            out.push(' ');
            push_name(out, name);
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_folded_by_folder() {
        let text = "a/b/c.rs\na/x\na/b/d.rs\ntop\n./e/\n./f\nother\n";
        assert_eq!(shorten(text), "a/b/: c.rs d.rs\na/x\n.: top other\n./: e/ f\n");
        let many: String = (0..20).map(|at| format!("src/{at}.rs\n")).collect::<Vec<_>>().concat();
        assert!(fits(&lines::split(&many)));
        assert!(!fits(&["https://a/b"; 20]) && !fits(&["a/b"; 5]) && !fits(&["see a/b"; 20]));
    }

    #[test]
    fn what_is_no_path_stays() {
        assert_eq!(shorten("a/b\na/c\nfind: x: denied\n"), "a/: b c\nfind: x: denied\n");
    }
}
