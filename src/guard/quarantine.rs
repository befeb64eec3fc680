//! Who is shut out for a while, and why: strikes of a key within a sliding window, and what follows from
//! their number (S1-08, S1-21). Arithmetic only: where strikes are kept, and who asks, is decided elsewhere.
//!
//! The same content is one strike however often it is sent: agents send their history again with every turn.

use std::fmt;

use crate::base::limit::STRIKES_PER_KEY_MAX;

/// Hex digits of a key's name.
const ID_DIGITS: usize = 12;
/// Milliseconds of a minute.
const MINUTE_MS: i64 = 60_000;

/// What a key is called where it must not be shown: the first 12 hex digits of its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

impl KeyId {
    /// The name of what has a SHA-256 that begins with those eight bytes, as a big-endian number.
    pub const fn of_prefix(prefix: u64) -> Self {
        Self(prefix >> 16)
    }

    /// Reads a name: 12 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

/// When a key is shut out, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Whether anybody is.
    pub enabled: bool,
    /// Strikes within the window that shut a key out for a while.
    pub strikes: u32,
    /// How long a strike counts, in milliseconds.
    pub window_ms: i64,
    /// How long a key is shut out, in milliseconds.
    pub rest_ms: i64,
    /// Strikes within the window that shut it out until somebody lets it in again.
    pub permanent_strikes: u32,
}

impl Default for Terms {
    /// Those of the seed.
    fn default() -> Self {
        Self {
            enabled: true,
            strikes: 3,
            window_ms: 86_400_000,
            rest_ms: 60 * MINUTE_MS,
            permanent_strikes: 10,
        }
    }
}

/// How long a key is shut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ban {
    /// Until that instant, in milliseconds since the Unix epoch.
    Until(i64),
    /// Until somebody lets it in again.
    Permanent,
}

impl Ban {
    /// Whether it still holds.
    pub const fn holds(self, at_ms: i64) -> bool {
        match self {
            Self::Until(until_ms) => at_ms < until_ms,
            Self::Permanent => true,
        }
    }

    /// The seed's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Until(_) => "temporary",
            Self::Permanent => "permanent",
        }
    }

    /// Milliseconds that are left; `None` = it does not end by itself.
    pub fn remaining_ms(self, at_ms: i64) -> Option<i64> {
        match self {
            Self::Until(until_ms) => Some(until_ms.saturating_sub(at_ms).max(0)),
            Self::Permanent => None,
        }
    }

    /// Minutes that are left, begun ones counted.
    pub fn remaining_minutes(self, at_ms: i64) -> Option<i64> {
        self.remaining_ms(at_ms).map(|left| left.saturating_add(MINUTE_MS - 1) / MINUTE_MS)
    }
}

/// One strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// A hash of what it was for.
    pub content: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// What is held against one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sheet {
    /// Its strikes, the oldest first.
    pub strikes: Vec<Strike>,
    /// Whether it is shut out, or was.
    pub ban: Option<Ban>,
}

/// What a strike has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Struck {
    /// The content was known: nothing has changed.
    Known,
    /// It counts.
    Counted,
    /// It counts, and shuts the key out.
    Out(Ban),
}

impl Sheet {
    /// Adds a strike. Those that have left the window are forgotten.
    pub fn strike(&mut self, strike: Strike, terms: &Terms) -> Struck {
        let from_ms = strike.at_ms.saturating_sub(terms.window_ms);
        self.strikes.retain(|old| old.at_ms > from_ms);
        if self.strikes.iter().any(|old| old.content == strike.content) {
            return Struck::Known;
        }
        if self.strikes.len() >= STRIKES_PER_KEY_MAX {
            self.strikes.remove(0);
        }
        self.strikes.push(strike);
        let count = u32::try_from(self.strikes.len()).unwrap_or(u32::MAX);
        let ban = if self.ban == Some(Ban::Permanent) || count >= terms.permanent_strikes {
            Ban::Permanent
        } else if count >= terms.strikes {
            Ban::Until(strike.at_ms.saturating_add(terms.rest_ms))
        } else {
            return Struck::Counted;
        };
        self.ban = Some(ban);
        Struck::Out(ban)
    }

    /// The ban that holds.
    pub fn ban(&self, at_ms: i64) -> Option<Ban> {
        self.ban.filter(|ban| ban.holds(at_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;

    fn strike(sheet: &mut Sheet, content: u64, at_ms: i64) -> Struck {
        sheet.strike(Strike { content, at_ms }, &Terms::default())
    }

    #[test]
    fn three_shut_out_for_an_hour_and_ten_for_good() {
        let mut sheet = Sheet::default();
        assert_eq!(strike(&mut sheet, 1, 0), Struck::Counted);
        assert_eq!(strike(&mut sheet, 2, 10), Struck::Counted);
        assert_eq!(strike(&mut sheet, 3, 20), Struck::Out(Ban::Until(20 + HOUR)));
        assert_eq!(sheet.ban(HOUR), Some(Ban::Until(20 + HOUR)));
        assert_eq!(sheet.ban(HOUR + 20), None);
        for content in 4..10 {
            let at_ms = HOUR * i64::try_from(content).unwrap();
            assert_eq!(strike(&mut sheet, content, at_ms), Struck::Out(Ban::Until(at_ms + HOUR)));
        }
        assert_eq!(strike(&mut sheet, 10, 11 * HOUR), Struck::Out(Ban::Permanent));
        assert!(sheet.ban(i64::MAX).is_some());
    }

    #[test]
    fn the_same_content_counts_once_and_the_window_slides() {
        let mut sheet = Sheet::default();
        for at_ms in 0..50 {
            strike(&mut sheet, 7, at_ms);
        }
        assert_eq!(sheet.strikes.len(), 1);
        assert_eq!(strike(&mut sheet, 8, 23 * HOUR), Struck::Counted);
        // The first has left the window by now, so that it may be counted again.
        assert_eq!(strike(&mut sheet, 7, 24 * HOUR), Struck::Counted);
        assert_eq!(strike(&mut sheet, 9, 24 * HOUR), Struck::Out(Ban::Until(25 * HOUR)));
    }

    #[test]
    fn what_is_left_is_told_in_the_words_of_the_seed() {
        let ban = Ban::Until(HOUR);
        assert_eq!((ban.remaining_ms(0), ban.remaining_minutes(0)), (Some(HOUR), Some(60)));
        assert_eq!(ban.remaining_minutes(1), Some(60));
        assert_eq!((ban.name(), Ban::Permanent.name()), ("temporary", "permanent"));
        assert_eq!(Ban::Permanent.remaining_ms(0), None);
        assert_eq!(ban.remaining_ms(2 * HOUR), Some(0));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let id = KeyId::of_prefix(0x0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "0123456789ab");
        assert_eq!(KeyId::parse("0123456789ab"), Some(id));
        for bad in ["", "0123456789a", "0123456789abc", "0123456789ag", "+12345678901"] {
            assert_eq!(KeyId::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        /// However strikes come, no more than the bound are kept, and none is older than the window.
        #[test]
        fn what_is_kept_is_bounded(strikes in prop::collection::vec((0..2_000_u64, 0..10 * HOUR), 0..300)) {
            let mut sheet = Sheet::default();
            let terms = Terms { window_ms: HOUR, ..Terms::default() };
            let mut now = 0;
            for (content, later) in strikes {
                now += later / 100;
                sheet.strike(Strike { content, at_ms: now }, &terms);
                prop_assert!(sheet.strikes.len() <= STRIKES_PER_KEY_MAX);
                prop_assert!(sheet.strikes.iter().all(|old| old.at_ms > now - HOUR));
            }
        }
    }
}
