//! Which failures call for the next candidate, and how long an upstream asks to be left alone.
//!
//! Pure policy: who is next is the plan's business, and that no body byte may have reached the client
//! is the exchange's.

use std::fmt;

use http::HeaderMap;

use crate::base::limit::COOLDOWN_MS_MAX;

/// The statuses that call for the next candidate unless configured otherwise (S4-03 and the
/// overload codes of `wire.md` 1.3).
pub const RETRY_STATUSES: [u16; 9] = [408, 412, 429, 500, 502, 503, 504, 524, 529];

/// A set of codes from 0 to 999.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusSet([u64; 16]);

impl StatusSet {
    /// Those codes; codes above 999 are left out.
    pub fn new(codes: impl IntoIterator<Item = u16>) -> Self {
        let mut bits = [0; 16];
        for code in codes {
            if let Some(word) = bits.get_mut(usize::from(code / 64)).filter(|_| code <= 999) {
                *word |= 1_u64 << (code % 64);
            }
        }
        Self(bits)
    }

    /// Whether the code is in the set.
    pub fn contains(&self, code: u16) -> bool {
        self.0.get(usize::from(code / 64)).is_some_and(|word| word >> (code % 64) & 1 == 1)
    }

    /// The codes in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..=999).filter(|&code| self.contains(code))
    }
}

impl fmt::Debug for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// How one attempt failed, or answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It answered with that status, and the body holds no error that we know of.
    Status(u16),
    /// A 200 JSON body carried that code (S4-04).
    CodeInside(u16),
    /// The first event of a 200 stream was an error.
    ErrorEvent,
    /// No connection.
    ConnectFailed,
    /// No first byte in time.
    TimedOut,
    /// The connection broke before the first body byte, or what came was not HTTP.
    Broken,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The answer goes to the client.
    Return,
    /// The next candidate is tried; the endpoint rests for a while.
    Next,
    /// Our credential was refused: the provider rests, an alarm is raised, the next candidate is
    /// tried, and this body never reaches the client.
    NextAuth,
}

/// The policy of one configuration.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// The statuses (and codes inside 200 answers) that call for the next candidate.
    pub statuses: StatusSet,
    /// Most attempts for one request, the first included.
    pub attempts_max: usize,
    /// Whether a timeout before the first byte calls for the next candidate.
    pub on_timeout: bool,
}

impl RetryPolicy {
    /// What follows from a reply. `own_credential` says that the attempt carried a credential of
    /// ours (or none at all), not the client's.
    pub fn judge(&self, reply: Reply, own_credential: bool) -> Verdict {
        let next = match reply {
            Reply::Status(401 | 403) if own_credential => return Verdict::NextAuth,
            Reply::Status(status) => self.statuses.contains(status),
            Reply::CodeInside(code) => self.statuses.contains(code),
            Reply::TimedOut => self.on_timeout,
            Reply::ErrorEvent | Reply::ConnectFailed | Reply::Broken => true,
        };
        if next { Verdict::Next } else { Verdict::Return }
    }
}

/// How long the upstream asks to be left alone, in milliseconds, at most `COOLDOWN_MS_MAX`.
/// `retry-after-ms` wins, as in the SDKs; `retry-after` is seconds or an HTTP date.
pub fn retry_after_ms(headers: &HeaderMap, now_unix_ms: u64) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let exact = text("retry-after-ms").and_then(|text| scaled(text, 1));
    let wait = exact.or_else(|| {
        let text = text("retry-after")?;
        let until = |at_ms: u64| at_ms.saturating_sub(now_unix_ms);
        scaled(text, 1_000).or_else(|| http_date_unix_ms(text).map(until))
    });
    wait.map(|ms| ms.min(COOLDOWN_MS_MAX))
}

/// A decimal times `factor`; digits finer than the unit are dropped, since some providers send
/// `retry-after: 7.66`.
fn scaled(text: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut value = whole.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(factor);
    let mut unit = factor;
    for digit in fraction.bytes() {
        unit /= 10;
        value = value.saturating_add(u64::from(digit - b'0') * unit);
    }
    Some(value)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that may still be sent (RFC 9110 section 5.6.7).
fn http_date_unix_ms(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_once(", ")?.1.split(' ');
    let day: u64 = parts.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year: u64 = parts.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = parts.next()?.split(':').map(str::parse::<u64>);
    let mut part = |max: u64| clock.next()?.ok().filter(|&value| value <= max);
    let seconds = part(23)? * 3_600 + part(59)? * 60 + part(60)?;
    let days = days_since_epoch(year, u64::try_from(month).ok()? + 1, day);
    (parts.next()? == "GMT").then_some((days * 86_400 + seconds) * 1_000)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, with years that begin in March so that
/// the leap day is the last one.
fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn policy() -> RetryPolicy {
        RetryPolicy { statuses: StatusSet::new(RETRY_STATUSES), attempts_max: 4, on_timeout: true }
    }

    fn wait(name: &'static str, value: &str, now_unix_ms: u64) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        retry_after_ms(&headers, now_unix_ms)
    }

    #[test]
    fn the_listed_statuses_call_for_the_next() {
        let policy = policy();
        for status in RETRY_STATUSES {
            assert_eq!(policy.judge(Reply::Status(status), true), Verdict::Next);
            assert_eq!(policy.judge(Reply::CodeInside(status), true), Verdict::Next);
        }
        for status in [200, 400, 404, 413, 422, 501] {
            assert_eq!(policy.judge(Reply::Status(status), true), Verdict::Return);
            assert_eq!(policy.judge(Reply::CodeInside(status), true), Verdict::Return);
        }
    }

    #[test]
    fn a_refused_credential_is_ours_or_the_clients() {
        let policy = policy();
        for status in [401, 403] {
            assert_eq!(policy.judge(Reply::Status(status), true), Verdict::NextAuth);
            assert_eq!(policy.judge(Reply::Status(status), false), Verdict::Return);
            assert_eq!(policy.judge(Reply::CodeInside(status), true), Verdict::Return);
        }
    }

    #[test]
    fn transport_failures_call_for_the_next() {
        let mut policy = policy();
        for reply in [Reply::ConnectFailed, Reply::Broken, Reply::ErrorEvent, Reply::TimedOut] {
            assert_eq!(policy.judge(reply, true), Verdict::Next);
        }
        policy.on_timeout = false;
        assert_eq!(policy.judge(Reply::TimedOut, true), Verdict::Return);
    }

    #[test]
    fn a_status_set_holds_what_was_put_in() {
        let set = StatusSet::new([100, 999, 503, 503, 1_000, 65_535]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [100, 503, 999]);
        assert!(!set.contains(1_000) && !set.contains(65_535) && !set.contains(0));
        assert_eq!(format!("{set:?}"), "{100, 503, 999}");
    }

    #[test]
    fn waits_are_read_in_every_form() {
        assert_eq!(wait("retry-after", "30", 0), Some(30_000));
        assert_eq!(wait("retry-after", "7.665", 0), Some(7_665));
        assert_eq!(wait("retry-after-ms", "1500.5", 0), Some(1_500));
        assert_eq!(wait("retry-after", "0", 0), Some(0));
        assert_eq!(wait("retry-after", "99999999999999999999999", 0), Some(COOLDOWN_MS_MAX));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(wait("retry-after", date, 784_111_777_000 - 5_000), Some(5_000));
        assert_eq!(wait("retry-after", date, 784_111_777_000 + 5_000), Some(0));
        assert_eq!(http_date_unix_ms("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date_unix_ms("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000_000));
        for bad in
            ["", "soon", "-1", "1s", ".5", "Sun, 06 Nov 1994", "Sun, 40 Nov 1994 00:00:00 GMT"]
        {
            assert_eq!(wait("retry-after", bad, 0), None, "{bad:?}");
        }
    }

    #[test]
    fn milliseconds_win_over_seconds() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", HeaderValue::from_static("30"));
        headers.insert("retry-after-ms", HeaderValue::from_static("250"));
        assert_eq!(retry_after_ms(&headers, 0), Some(250));
        headers.insert("retry-after-ms", HeaderValue::from_static("soon"));
        assert_eq!(retry_after_ms(&headers, 0), Some(30_000));
        assert_eq!(retry_after_ms(&HeaderMap::new(), 0), None);
    }

    proptest! {
        #[test]
        fn any_header_is_answered_within_the_bound(
            text in "[ -~]{0,40}|[0-9]{1,30}(\\.[0-9]{0,9})?", now in any::<u64>()
        ) {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", HeaderValue::from_str(&text).unwrap());
            prop_assert!(retry_after_ms(&headers, now).is_none_or(|ms| ms <= COOLDOWN_MS_MAX));
            http_date_unix_ms(&format!("Sun, {text}"));
        }
    }
}
