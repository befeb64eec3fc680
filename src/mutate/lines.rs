//! Small things that all filters need of lines.

/// Puts a line behind what is there.
pub fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

/// Puts lines behind what is there.
pub fn push_all(out: &mut String, lines: &[&str]) {
    for line in lines {
        push(out, line);
    }
}

/// The lines of a text without their line breaks (carriage returns stay); a last line break ends the last
/// line.
pub fn split(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    lines
}

/// A text made of lines, ending as `like` does.
pub fn finish(mut out: String, like: &str) -> String {
    if !like.ends_with('\n') && out.ends_with('\n') {
        out.pop();
    }
    out
}

/// Whether `part` is at least that share of `whole`.
pub const fn is_share(part: usize, whole: usize, percent: usize) -> bool {
    part * 100 >= whole * percent
}

/// How many of `lines` are so, and how many are not blank.
pub fn count(lines: &[&str], is_so: impl Fn(&str) -> bool) -> (usize, usize) {
    let full = lines.iter().filter(|line| !line.trim().is_empty());
    full.fold((0, 0), |(so, all), line| (so + usize::from(is_so(line)), all + 1))
}

/// The number at the start of a text, and what follows it.
pub fn number(text: &str) -> Option<(usize, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

/// A name in a list whose items stand between blanks: quoted where it would be read as several.
pub fn push_name(out: &mut String, name: &str) {
    let plain = !name.is_empty() && !name.contains([' ', '\t', '"', ',']);
    if plain {
        out.push_str(name);
    } else {
        out.push('"');
        out.push_str(name);
        out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_what_follows() {
        assert_eq!(number("12:x"), Some((12, ":x")));
        assert_eq!(number("7"), Some((7, "")));
        assert_eq!(number("x"), None);
        assert_eq!(number("99999999999999999999999"), None);
    }

    #[test]
    fn names_with_blanks_are_quoted() {
        let mut out = String::new();
        for name in ["a", "b c", ""] {
            push_name(&mut out, name);
        }
        assert_eq!(out, "a\"b c\"\"\"");
    }
}
