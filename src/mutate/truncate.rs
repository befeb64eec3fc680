//! The seed's cut of long output: its beginning and its end. Facts are lost, so it is made on demand only.

use crate::mutate::lines::{self, push};

/// Lines kept of the beginning.
const HEAD: usize = 120;
/// Lines kept of the end.
const TAIL: usize = 60;

/// Whether there is something to cut.
pub fn fits(lines: &[&str]) -> bool {
    lines.len() > HEAD + TAIL
}

/// The text without its middle.
pub fn shorten(text: &str) -> String {
    let all = lines::split(text);
    let Some(cut) = all.len().checked_sub(HEAD + TAIL).filter(|cut| *cut > 0) else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(text.len() / 2);
    lines::push_all(&mut out, &all[..HEAD]);
    push(&mut out, &format!("... {cut} lines left out"));
    lines::push_all(&mut out, &all[HEAD + cut..]);
    lines::finish(out, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_limits() {
        let text =
            |lines: usize| (0..lines).map(|at| format!("{at}\n")).collect::<Vec<_>>().concat();
        assert_eq!(shorten(&text(180)), text(180));
        let cut = shorten(&text(200));
        assert_eq!(cut.lines().count(), 181);
        assert!(cut.contains("119\n... 20 lines left out\n140\n") && cut.ends_with("199\n"));
        assert!(fits(&["x"; 181]) && !fits(&["x"; 180]));
    }
}
