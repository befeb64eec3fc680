//! Times at the start of a log's lines, and what makes two lines of a log alike.

/// Words that begin lines of logs without a time.
const LEVELS: [&str; 9] =
    ["TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Signs in a time, beside digits.
const TIME_SIGNS: [u8; 8] = *b":-/.,TZ+";
/// Words of a time: a blank for a day of one digit, the date, the time of day.
const WORDS_MAX: usize = 3;
/// Words of lines that say that something is wrong.
const SEVERE: [&str; 7] = ["error", "warn", "fatal", "panic", "exception", "fail", "critical"];

/// Where the time at the start of a line ends; `None` if none is there. Numbers that follow are not part of it.
pub fn end_of_time(line: &str) -> Option<usize> {
    let open = usize::from(line.starts_with('['));
    let mut at = open + month_end(&line[open..]).unwrap_or(0);
    // A date, a day of the month with one blank more, and the time of day at last.
    for _ in 0..WORDS_MAX {
        let word = time_word(&line[at..]);
        if has_clock(word) || at == open && is_seconds(word) {
            return Some(at + kept(word));
        }
        at += word.len() + 1;
        if line.as_bytes().get(at - 1) != Some(&b' ') {
            return None;
        }
    }
    None
}

/// What of the line's start can be a part of a time.
fn time_word(text: &str) -> &str {
    let signs = |byte: &u8| byte.is_ascii_digit() || TIME_SIGNS.contains(byte);
    &text[..text.bytes().take_while(signs).count()]
}

/// `12:41`
fn has_clock(word: &str) -> bool {
    word.as_bytes()
        .windows(5)
        .any(|it| it[2] == b':' && [0, 1, 3, 4].iter().all(|&at| it[at].is_ascii_digit()))
}

/// `1700000000.123`
fn is_seconds(word: &str) -> bool {
    let word = word.as_bytes();
    word.len() >= 12 && word[..10].iter().all(u8::is_ascii_digit) && word[10] == b'.'
}

/// How much of a word is time: a sign that belongs to what follows is given back.
fn kept(word: &str) -> usize {
    word.bytes().rposition(|byte| byte.is_ascii_alphanumeric()).map_or(0, |last| last + 1)
}

/// Where `Nov ` ends.
fn month_end(line: &str) -> Option<usize> {
    let word = line.get(..3)?;
    (MONTHS.contains(&word) && line.as_bytes().get(3) == Some(&b' ')).then_some(4)
}

/// Whether an entry of a log begins here.
pub fn is_entry(line: &str) -> bool {
    let word = line.trim_start_matches('[').split([' ', ':', ']', '\t']).next().unwrap_or_default();
    end_of_time(line).is_some() || LEVELS.contains(&word) || is_access(line) || is_object(line)
}

/// `127.0.0.1 - - [21/Nov/2026:12:41:40 +0000] "GET / HTTP/1.1" 200 1`
fn is_access(line: &str) -> bool {
    let Some((before, after)) = line.split_once(" [") else { return false };
    before.len() < 64 && after.as_bytes().get(2) == Some(&b'/') && after.contains("] \"")
}

/// `{"level":"info","ts":…}`
fn is_object(line: &str) -> bool {
    let keys = ["\"level\":", "\"timestamp\":", "\"ts\":", "\"time\":", "\"severity\":"];
    line.starts_with("{\"") && keys.iter().any(|key| line.contains(key))
}

/// Whether a line says that something is wrong.
pub fn is_severe(line: &str) -> bool {
    let line = line.as_bytes();
    let at = |from: usize, word: &str| {
        line.get(from..from + word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word.as_bytes()))
    };
    let starts = (0..line.len()).filter(|&from| b"ewfpcEWFPC".contains(&line[from]));
    starts.into_iter().any(|from| SEVERE.iter().any(|word| at(from, word)))
}

/// The line with every word that holds a digit as `#`: what lines of one statement have in common. Statuses of
/// failed requests stay.
pub fn template(line: &str, out: &mut String) {
    let has_status = line.contains("HTTP") || line.contains("status");
    let mut rest = line;
    while !rest.is_empty() {
        let is_word = |sign: char| sign.is_alphanumeric() || matches!(sign, '-' | '_' | '.' | ':');
        let end = rest.find(|sign| !is_word(sign)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        let is_value = word.bytes().any(|byte| byte.is_ascii_digit());
        let is_kept = has_status && is_failure(word);
        out.push_str(if is_value && !is_kept { "#" } else { word });
        let sign = behind.chars().next();
        out.extend(sign);
        rest = &behind[sign.map_or(0, char::len_utf8)..];
    }
}

/// `404`
fn is_failure(word: &str) -> bool {
    word.len() == 3
        && word.starts_with(['4', '5'])
        && word.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found() {
        for (line, time) in [
            ("2026-11-21T12:41:40.123Z INFO a", "2026-11-21T12:41:40.123Z"),
            ("[2026-11-21 12:41:40] x", "[2026-11-21 12:41:40"),
            ("Nov 21 12:41:40 host d[1]: x", "Nov 21 12:41:40"),
            ("12:41:40 x", "12:41:40"),
            ("1700000000.123 x", "1700000000.123"),
            ("Nov  1 12:41:40 x", "Nov  1 12:41:40"),
            ("2026/11/21 12:41:40 404 x", "2026/11/21 12:41:40"),
            ("12:41:40 - x", "12:41:40"),
        ] {
            assert_eq!(end_of_time(line).map(|end| &line[..end]), Some(time));
        }
        for line in ["", "12 x", "a 12:41:40", "1.2.3", "é", "[", "Nov", "src/a.rs:12:34: x"] {
            assert_eq!(end_of_time(line), None, "{line}");
        }
    }

    #[test]
    fn entries_of_many_kinds() {
        for line in [
            "INFO x",
            "[WARN] x",
            "127.0.0.1 - - [21/Nov/2026:12:41:40 +0000] \"GET / HTTP/1.1\" 200 1",
            r#"{"level":"info","msg":"x"}"#,
        ] {
            assert!(is_entry(line), "{line}");
        }
        assert!(!is_entry("INFORMATION") && !is_entry("    at x") && !is_entry("{\"a\":1}"));
        assert!(is_severe("x Error y") && is_severe("unexpected failure") && !is_severe("err fa"));
    }

    #[test]
    fn lines_of_one_statement_are_alike() {
        let of = |line: &str| {
            let mut out = String::new();
            template(line, &mut out);
            out
        };
        assert_eq!(of("req ab12-c took 5ms, x=é"), "req # took #, x=é");
        assert_eq!(of("a b"), "a b");
        assert_ne!(of("user=anna"), of("user=bert"));
        assert_ne!(of("\"GET /a HTTP/1.1\" 500 1"), of("\"GET /a HTTP/1.1\" 200 1"));
    }
}
