//! `guard.quarantine`: when a key is shut out, and for how long.

use crate::config::bound;
use crate::config::section::Section;
use crate::guard::quarantine::Terms;

/// Reads `guard.quarantine`.
pub fn quarantine(section: &Section<'_>) -> Terms {
    let count = |key, bound| u32::try_from(section.number(key, bound)).unwrap_or(u32::MAX);
    let times = |key, bound, unit_ms: i64| {
        let number = i64::try_from(section.number(key, bound)).unwrap_or(i64::MAX);
        number.saturating_mul(unit_ms)
    };
    let terms = Terms {
        enabled: section.flag_or("enabled", true),
        strikes: count("strikes", &bound::STRIKES),
        window_ms: times("window_s", &bound::STRIKE_WINDOW_S, 1_000),
        rest_ms: times("minutes", &bound::QUARANTINE_MINUTES, 60_000),
        permanent_strikes: count("permanent_strikes", &bound::PERMANENT_STRIKES),
    };
    if terms.permanent_strikes < terms.strikes {
        section.problem("permanent_strikes", "is less than strikes (it must be at least as many)");
    }
    terms
}
