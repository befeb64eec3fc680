//! Of which requests the sums are asked (S2-21): the last hours, the last N, or all.

use crate::base::limit::STATS_ROWS_MAX;

/// How many requests are meant when nothing else is said.
pub const DEFAULT_ROWS: usize = 200;

/// Which requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Those of the last so many minutes.
    Minutes(u64),
    /// The last so many, at most `STATS_ROWS_MAX`.
    Last(usize),
    /// All since the start, or since the log was cleared.
    All,
}

impl Range {
    /// Reads `1h`, `6h`, `24h`, `all` or a number; anything else is the last 200, as the seed has it.
    pub fn read(text: Option<&str>) -> Self {
        match text.unwrap_or_default() {
            "1h" => Self::Minutes(60),
            "6h" => Self::Minutes(6 * 60),
            "24h" => Self::Minutes(24 * 60),
            "all" => Self::All,
            other => {
                let rows = other.parse().ok().filter(|rows| *rows > 0).unwrap_or(DEFAULT_ROWS);
                Self::Last(rows.min(STATS_ROWS_MAX))
            }
        }
    }

    /// As it is written.
    pub fn text(self) -> String {
        match self {
            Self::Minutes(minutes) => format!("{}h", minutes / 60),
            Self::Last(rows) => rows.to_string(),
            Self::All => "all".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_nonsense_is_the_last_200() {
        for text in ["1h", "6h", "24h", "all", "7", "200"] {
            assert_eq!(Range::read(Some(text)).text(), text);
        }
        for text in [None, Some(""), Some("2h"), Some("-5"), Some("0"), Some("1.5"), Some("ALL")] {
            assert_eq!(Range::read(text), Range::Last(200), "{text:?}");
        }
        assert_eq!(Range::read(Some("99999999")), Range::Last(STATS_ROWS_MAX));
    }
}
