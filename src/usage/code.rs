//! The status-like number of an error that came inside a 200 answer or a stream.
//!
//! Only numbers are found here; whether a number calls for another candidate is decided by the
//! configured `retry_statuses`.

use crate::usage::scan::{elements, members, unquoted};

/// Numbers that can be a status or a provider's code; others are counters or versions.
const CODES: std::ops::RangeInclusive<u16> = 100..=9999;

/// The number of an error value: from `status`, `code` or `errorCode`, else by the name in `type`
/// or `code` that the providers document. `error` is the value of an `error` member.
pub(crate) fn of_error(error: &[u8]) -> Option<u16> {
    let mut number = None;
    let mut named = None;
    members(error, |key, value| match key {
        b"status" | b"code" | b"errorCode" => {
            number = number.or(numeric(value));
            named = named.or(unquoted(value).and_then(by_name));
        }
        b"type" => named = named.or(unquoted(value).and_then(by_name)),
        _ => {}
    });
    number.or(named)
}

/// The numbers in `status`, `code` and `errorCode` of an object, in that order of finding; an error
/// number wins over one below 400.
pub(crate) fn in_object(object: &[u8]) -> Option<u16> {
    let mut found = None;
    members(object, |key, value| {
        if matches!(key, b"status" | b"code" | b"errorCode") {
            found = worse(found, numeric(value));
        }
    });
    found
}

/// The same over the objects of an array.
pub(crate) fn in_list(list: &[u8]) -> Option<u16> {
    let mut found = None;
    elements(list, |object| found = worse(found, in_object(object)));
    found
}

/// Keeps the first number, unless it is none of an error and the second is.
pub(crate) fn worse(first: Option<u16>, second: Option<u16>) -> Option<u16> {
    match (first, second) {
        (Some(first), Some(second)) if first < 400 && second >= 400 => Some(second),
        (first, second) => first.or(second),
    }
}

/// A number, plain or as a string, within the range of codes.
pub(crate) fn numeric(value: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(unquoted(value).unwrap_or(value)).ok()?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|code| CODES.contains(code))
}

/// A small number such as the index of a choice; what is none counts as 0.
pub(crate) fn small(value: &[u8]) -> u32 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The documented names (`wire.md` 1.3, 3 and 4.5), by the status that each stands for.
fn by_name(name: &[u8]) -> Option<u16> {
    Some(match name {
        b"invalid_request_error" => 400,
        b"authentication_error" | b"invalid_api_key" => 401,
        b"billing_error" | b"insufficient_quota" | b"payment_required" => 402,
        b"permission_error" => 403,
        b"not_found_error" | b"model_not_found" => 404,
        b"request_too_large" => 413,
        b"rate_limit_error" | b"rate_limit_exceeded" | b"rate_limit" => 429,
        b"api_error" | b"server_error" | b"internal_error" => 500,
        b"server_is_overloaded" | b"slow_down" => 503,
        b"timeout_error" => 504,
        b"overloaded_error" | b"overloaded" => 529,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_win_over_names() {
        let cases: &[(&str, Option<u16>)] = &[
            (r#"{"code":502,"message":"x"}"#, Some(502)),
            (r#"{"code":"429"}"#, Some(429)),
            (r#"{"type":"overloaded_error"}"#, Some(529)),
            (r#"{"type":"tokens","code":"rate_limit_exceeded"}"#, Some(429)),
            (r#"{"type":"overloaded_error","code":418}"#, Some(418)),
            (r#"{"message":"?"}"#, None),
            (r#"{"code":5}"#, None),
            (r#"{"code":-429}"#, None),
            (r#"{"code":429.5}"#, None),
            (r#"{"code":10000}"#, None),
            (r#"{"code":99999999999}"#, None),
            (r#"{"code":""}"#, None),
            (r#""rate limited""#, None),
        ];
        for (error, code) in cases {
            assert_eq!(of_error(error.as_bytes()), *code, "{error}");
        }
    }

    #[test]
    fn an_error_number_wins_over_a_good_one() {
        assert_eq!(in_object(br#"{"status":200,"code":503}"#), Some(503));
        assert_eq!(in_object(br#"{"status":429,"code":503}"#), Some(429));
        assert_eq!(in_object(br#"{"status":"completed"}"#), None);
        assert_eq!(in_list(br#"[{"message":"x"},{"errorCode":"412"}]"#), Some(412));
    }
}
