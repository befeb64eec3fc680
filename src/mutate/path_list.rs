//! Lists of paths (`find`, `git ls-files`, `rg -l`): folded by folder. Every path stays, and so does their order.

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

/// The paths, those of one folder that follow each other in one line: their order can mean something.
pub fn shorten(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let all = lines::split(text);
    for run in all.chunk_by(|one, next| folder(one).is_some() && folder(one) == folder(next)) {
        match run.first().and_then(|line| folder(line)) {
            Some(folder) => write_folder(&mut out, folder, run),
            None => lines::push_all(&mut out, run),
        }
    }
    lines::finish(out, text)
}

/// The folder of a path; `None` if the line is none. The last sign of a folder's own path belongs to its name.
fn folder(line: &str) -> Option<&str> {
    if !is_path(line) {
        return None;
    }
    let line = line.trim_end_matches('\r');
    let end = line.len() - usize::from(line.ends_with('/'));
    Some(&line[..line[..end].rfind('/').map_or(0, |at| at + 1)])
}

fn write_folder(out: &mut String, folder: &str, paths: &[&str]) {
    if folder.is_empty() || paths.len() == 1 {
        // Shorter as they are.
        lines::push_all(out, paths);
        return;
    }
    out.push_str(folder);
    out.push(':');
    for path in paths {
        out.push(' ');
        push_name(out, path[folder.len()..].trim_end_matches('\r'));
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_folded_by_folder() {
        let text = "a/b/c.rs\na/b/d.rs\na/x\na/b/e.rs\ntop\n./e/\n./f\nother\n";
        assert_eq!(shorten(text), "a/b/: c.rs d.rs\na/x\na/b/e.rs\ntop\n./: e/ f\nother\n");
        let many: String = (0..20).map(|at| format!("src/{at}.rs\n")).collect::<Vec<_>>().concat();
        assert!(fits(&lines::split(&many)));
        assert!(!fits(&["https://a/b"; 20]) && !fits(&["a/b"; 5]) && !fits(&["see a/b"; 20]));
    }

    #[test]
    fn what_is_no_path_stays() {
        assert_eq!(shorten("a/b\na/c\nfind: x: denied\n"), "a/: b c\nfind: x: denied\n");
    }
}
