//! What the three importers ask of a file: values with their place, faults where they cannot be used, and
//! losses where they cannot be kept.

use crate::base::money::NanoUsd;
use crate::config::problem::{At, Place, Problems};
use crate::config::raw::is_name;
use crate::config::section::{Section, shown};
use crate::config::yaml::{Node, Text};
use crate::upstream::target::BaseUrl;

/// Where what is found goes.
pub(super) struct Reader<'a> {
    /// What makes the file unusable.
    pub faults: &'a Problems,
    /// What is not carried over, and why.
    pub losses: &'a Problems,
}

impl<'a> Reader<'a> {
    /// A mapping; keys that nobody here knows are losses.
    pub fn open(&self, node: &'a Node, place: Place, known: &[&str]) -> Section<'a> {
        let section = Section::bare(node, place, self.faults);
        self.leave_strangers(&section, known);
        section
    }

    /// Every key but these is a loss.
    pub fn leave_strangers(&self, section: &Section<'_>, known: &[&str]) {
        for (_, place) in section.strangers(known) {
            self.losses.add(&place, "is not known to this importer, and is left out");
        }
    }

    /// These keys, where given, are losses for one and the same reason.
    pub fn leave(&self, section: &Section<'_>, keys: &[&str], why: &str) {
        for key in keys.iter().filter(|key| section.is_given(key)) {
            self.losses.add(&section.place_of(key), why);
        }
    }

    /// Whether something of that name can come along; it is a loss otherwise.
    pub fn has_name(&self, at: &At<Text>) -> bool {
        let text = at.value.text.trim();
        // Nothing at all is a fault, and told as one.
        let is_one = text.is_empty() || is_name(text);
        if !is_one {
            let why = "is left out: names have visible ASCII characters only here, and no blanks";
            self.losses.add(&at.place, format!("{} {why}", shown(&at.value)));
        }
        is_one
    }

    /// A fault at a value: what it is, and in parentheses what is allowed.
    pub fn refuse(&self, at: &At<Text>, what: &str) {
        self.faults.add(&at.place, format!("{} {what}", shown(&at.value)));
    }

    /// An amount of money or a price, as it is written.
    pub fn usd(&self, section: &Section<'_>, key: &str) -> Option<At<NanoUsd>> {
        let at = section.text(key)?;
        match NanoUsd::parse_usd(at.value.text.trim()) {
            Ok(value) => Some(At { value, place: at.place }),
            Err(error) => {
                self.refuse(&at, &format!("{error} (USD, at most 9 digits after the point)"));
                None
            }
        }
    }

    /// Seconds, perhaps with a fraction, in milliseconds from 1 to an hour.
    pub fn millis(&self, section: &Section<'_>, key: &str) -> Option<u64> {
        let at = section.text(key)?;
        let millis = millis(at.value.text.trim());
        if millis.is_none() {
            self.refuse(&at, "is not a number of seconds (0.001 to 3600)");
        }
        millis
    }

    /// A whole number from 1 up.
    pub fn count(&self, section: &Section<'_>, key: &str, max: u64) -> Option<u64> {
        let at = section.text(key)?;
        let count = at.value.text.parse().ok().filter(|count| (1..=max).contains(count));
        if count.is_none() {
            self.refuse(&at, &format!("is not a whole number from 1 to {max}"));
        }
        count
    }

    /// The address of a provider. One with a variable in it is looked at when it is filled in.
    pub fn url(&self, section: &Section<'_>, key: &str, exact: bool) -> Option<At<Text>> {
        let At { value, place } = section.text(key)?;
        let text = value.text.trim();
        if !text.contains("${")
            && let Err(error) = BaseUrl::parse(text, exact)
        {
            // The text itself is not shown: a URL with a password in it is one of the errors.
            self.faults.add(&place, error.to_string());
            return None;
        }
        Some(At { value: Text::plain(text), place })
    }

    /// The name of an environment variable.
    pub fn variable_name(&self, section: &Section<'_>, key: &str) -> Option<String> {
        let at = section.text(key)?;
        let name = at.value.text.trim();
        if name.is_empty() {
            return None;
        }
        if !is_variable(name) {
            self.refuse(&at, "is not the name of an environment variable (letters, digits and _)");
            return None;
        }
        Some(name.to_owned())
    }
}

fn millis(text: &str) -> Option<u64> {
    const MILLIS_MAX: u64 = 3_600_000;
    // Amounts of money are decimals that are read without a float, and so are seconds.
    let NanoUsd(nanos) = NanoUsd::parse_usd(text).ok()?;
    let millis = u64::try_from(nanos).ok()?.div_ceil(1_000_000);
    (1..=MILLIS_MAX).contains(&millis).then_some(millis)
}

/// Whether `${...}` could hold that name.
pub(super) fn is_variable(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    name.bytes().next().is_some_and(letter) && name.bytes().all(|b| letter(b) || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_without_a_float() {
        let read = ["60.0", "120", "0.5", "0.0001", "3600"].map(millis);
        assert_eq!(read, [Some(60_000), Some(120_000), Some(500), Some(1), Some(3_600_000)]);
        for bad in ["0", "-1", "3601", "1m", "", "inf"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_of_variables_are_those_of_a_shell() {
        assert!(["A", "_a1", "OPENAI_API_KEY"].into_iter().all(is_variable));
        assert!(!["", "1A", "A-B", "A B", "Ä", "${A}"].into_iter().any(is_variable));
    }
}
