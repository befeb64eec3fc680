//! Times at the start of a log's lines, and what makes two lines of a log alike.

/// Words that begin lines of logs without a time.
const LEVELS: [&str; 9] =
    ["TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Signs in a time, beside digits.
const TIME_SIGNS: [u8; 10] = *b":-/.,TZ+ ]";
/// Words of lines that say that something is wrong.
const SEVERE: [&str; 7] = ["error", "warn", "fatal", "panic", "exception", "fail", "critical"];

/// Where the time at the start of a line ends; `None` if none is there.
pub fn end_of_time(line: &str) -> Option<usize> {
    let open = usize::from(line.starts_with('['));
    let bytes = &line.as_bytes()[open..];
    let start = month_end(&line[open..]).unwrap_or(0);
    let signs = |byte: &u8| byte.is_ascii_digit() || TIME_SIGNS.contains(byte);
    let end = start + bytes[start..].iter().take_while(|byte| signs(byte)).count();
    let text = &bytes[..end];
    let has_clock = text
        .windows(5)
        .any(|it| it[2] == b':' && [0, 1, 3, 4].iter().all(|&at| it[at].is_ascii_digit()));
    let seconds = end >= 12 && text[..10].iter().all(u8::is_ascii_digit) && text[10] == b'.';
    if !has_clock && !seconds {
        return None;
    }
    // A sign or blank that belongs to what follows is given back.
    let kept = text.iter().rposition(u8::is_ascii_alphanumeric).map_or(0, |last| last + 1);
    Some(open + kept)
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

/// The line with every word that holds a digit as `#`: what lines of one statement have in common.
pub fn template(line: &str, out: &mut String) {
    let mut rest = line;
    while !rest.is_empty() {
        let is_word = |sign: char| sign.is_alphanumeric() || matches!(sign, '-' | '_' | '.' | ':');
        let end = rest.find(|sign| !is_word(sign)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        out.push_str(if word.bytes().any(|byte| byte.is_ascii_digit()) { "#" } else { word });
        let sign = behind.chars().next();
        out.extend(sign);
        rest = &behind[sign.map_or(0, char::len_utf8)..];
    }
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
    }
}
