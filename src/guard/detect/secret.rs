//! Passwords: in URLs, and assigned to telling names; private keys in PEM.

use super::key::trimmed;
use super::look::{Class, Look, Sight, Wait, is_quote_mark};
use super::proof::{distinct, is_example, kinds};
use crate::base::limit::GUARD_FIND_BYTES_MAX;

/// Characters of the longest URL that is looked at.
const URL_MAX: usize = 2_048;
/// Characters of a user name in it.
const USER_MAX: usize = 128;
/// Characters of the shortest password that is taken for one.
const PASSWORD_MIN: usize = 6;

/// Where a URL with a password ends, whose scheme ends at `from`.
pub fn url_end(look: &mut Look<'_>, from: usize) -> Sight<Option<usize>> {
    let user = look.run(Class::User, from, USER_MAX)?;
    if !look.says(from + user, ":")? {
        return Ok(None);
    }
    let password = from + user + 1;
    let length = look.run(Class::Url, password, URL_MAX)?;
    let rest = look.span(password, password + length);
    let Some(at) = password_length(rest) else { return Ok(None) };
    if !is_password(&rest[..at]) {
        return Ok(None);
    }
    Ok(Some(trimmed(look, password + at, password + length)))
}

/// How long the password is at the beginning of the rest of a URL. It holds no second scheme: so no two URLs share
/// a password, and each is read once.
fn password_length(rest: &[u8]) -> Option<usize> {
    let ends = |at: &usize| rest[*at] == b'@' || rest[*at..].starts_with(b"://");
    let at = memchr::memchr2_iter(b'@', b':', rest).find(ends)?;
    (rest[at] == b'@' && !rest.starts_with(b"//")).then_some(at)
}

fn is_password(word: &[u8]) -> bool {
    let is_reference = word.iter().any(|byte| matches!(byte, b'{' | b'}' | b'(' | b'[' | b'<'));
    word.len() >= PASSWORD_MIN
        && !is_reference
        && word.first() != Some(&b'$')
        && distinct(word) >= PASSWORD_MIN - 1
        && kinds(word) >= 2
        && !is_example(word)
}

/// Blanks on one side of a sign of assignment.
const BLANKS_MAX: usize = 4;
/// Characters of an assigned password.
const VALUE_MAX: usize = 256;
/// Characters of the shortest one between quotes.
const QUOTED_MIN: usize = 8;
/// Characters of the shortest one without quotes, where code looks much the same.
const BARE_MIN: usize = 16;

/// A name that may stand for itself: its assignment goes as a whole. Of a longer name only the end is known.
pub fn may_be_whole(look: &Look<'_>, name: usize) -> bool {
    look.is_word_edge(name) && !matches!(look.before(name, 1), Some(b'_' | b'-' | b'.'))
}

/// The same of a whole name that ends at `after`: one between quotes is part of an object that must stay one.
fn is_whole(look: &Look<'_>, name: usize, after: usize) -> Sight<bool> {
    Ok(may_be_whole(look, name) && quote_at(look, after)?.is_none())
}

/// A quote, maybe escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quote {
    mark: u8,
    is_escaped: bool,
}

impl Quote {
    const fn len(self) -> usize {
        1 + self.is_escaped as usize
    }
}

fn quote_at(look: &Look<'_>, place: usize) -> Sight<Option<Quote>> {
    let is_escaped = look.at(place)? == Some(b'\\');
    let mark = look.at(place + usize::from(is_escaped))?;
    Ok(mark
        .filter(|mark| matches!(mark, b'"' | b'\'' | b'`'))
        .map(|mark| Quote { mark, is_escaped }))
}

fn blanks(look: &Look<'_>, place: usize) -> Sight<usize> {
    let mut count = 0;
    while count < BLANKS_MAX && look.at(place + count)? == Some(b' ') {
        count += 1;
    }
    Ok(count)
}

/// Whether something may be assigned to a name, by the byte after it.
pub fn may_be_assigned(seen: &[u8]) -> bool {
    matches!(seen, [] | [b'"' | b'\'' | b'`' | b'\\' | b' ' | b':' | b'='])
}

/// Where the value begins that is assigned to a name which ends at `place`, its quote included.
fn value_at(look: &Look<'_>, place: usize) -> Sight<Option<usize>> {
    let mut place = place;
    if let Some(quote) = quote_at(look, place)? {
        place += quote.len();
    }
    place += blanks(look, place)?;
    match look.at(place)? {
        Some(b':') => {
            place += 1 + usize::from(look.at(place + 1)? == Some(b'='));
        }
        Some(b'=') => {
            place += 1 + usize::from(look.at(place + 1)? == Some(b'>'));
        }
        _ => return Ok(None),
    }
    Ok(Some(place + blanks(look, place)?))
}

/// From where on text must be held back for a name at `name` that ends at `after`.
pub fn held_from(look: &Look<'_>, name: usize, after: usize) -> usize {
    if is_whole(look, name, after).unwrap_or_else(|Wait| may_be_whole(look, name)) {
        return name;
    }
    match value_at(look, after) {
        Ok(Some(value)) => value,
        Ok(None) | Err(Wait) => look.end(),
    }
}

/// The span of an assignment to a name at `name` that ends at `after`.
pub fn assigned(look: &mut Look<'_>, name: usize, after: usize) -> Sight<Option<(usize, usize)>> {
    let Some(value) = value_at(look, after)? else { return Ok(None) };
    let is_whole = is_whole(look, name, after)?;
    let found = match quote_at(look, value)? {
        Some(quote) => quoted(look, value + quote.len(), quote)?,
        None => bare(look, value)?,
    };
    Ok(found.map(|(from, to)| match quote_at(look, value) {
        Ok(Some(quote)) if is_whole => (name, to + quote.len()),
        _ if is_whole => (name, to),
        _ => (from, to),
    }))
}

fn quoted(look: &mut Look<'_>, from: usize, quote: Quote) -> Sight<Option<(usize, usize)>> {
    let length = look.run(Class::Quoted, from, VALUE_MAX + 1)?;
    let to = from + length;
    if !(QUOTED_MIN..=VALUE_MAX).contains(&length) || quote_at(look, to)? != Some(quote) {
        return Ok(None);
    }
    let word = look.span(from, to);
    let is_one = kinds(word) >= 3 && is_password(word) && !is_handle(word);
    Ok(is_one.then_some((from, to)))
}

fn bare(look: &mut Look<'_>, from: usize) -> Sight<Option<(usize, usize)>> {
    let length = look.run(Class::Bare, from, VALUE_MAX + 1)?;
    let to = from + length;
    if !(BARE_MIN..=VALUE_MAX).contains(&length) || is_code(look, to)? {
        return Ok(None);
    }
    let is_one =
        look.is_varied(from, to) && look.is_noisy(from, to) && !is_handle(look.span(from, to));
    Ok(is_one.then_some((from, to)))
}

/// Whether what follows makes an expression of a word.
fn is_code(look: &Look<'_>, place: usize) -> Sight<bool> {
    match look.at(place)? {
        Some(b'(' | b'[' | b'{' | b'<' | b'$' | b':') => Ok(true),
        Some(b'.') => look.is(Class::Alnum, place + 1),
        _ => Ok(false),
    }
}

/// Beginnings of what gateways and providers call things by: no secrets.
const HANDLES: [&str; 14] = [
    "call_",
    "toolu_",
    "chatcmpl-",
    "msg_",
    "resp_",
    "gen-",
    "req_",
    "run_",
    "thread_",
    "asst_",
    "file-",
    "batch_",
    "item-",
    "sha256",
];

fn is_handle(word: &[u8]) -> bool {
    HANDLES.iter().any(|handle| word.starts_with(handle.as_bytes()))
}

/// What the last line of a key begins with.
const PEM_END: &str = "-----END ";
/// Characters of the name in a PEM line.
const PEM_NAME_MAX: usize = 40;
/// Characters of base64 that make a body of what has no end line.
const PEM_BODY_MIN: usize = 40;

/// Where a private key ends, whose `-----BEGIN ` ends at `from`. One that breaks off counts as well.
pub fn pem_end(look: &mut Look<'_>, from: usize) -> Sight<Option<usize>> {
    let Some(body) = pem_body(look, from)? else { return Ok(None) };
    match look.first(PEM_END, (Class::Pem, body, GUARD_FIND_BYTES_MAX))? {
        Some(foot) => pem_foot(look, body, foot),
        None => broken_pem(look, body),
    }
}

fn pem_body(look: &Look<'_>, from: usize) -> Sight<Option<usize>> {
    let mut place = from;
    while place - from < PEM_NAME_MAX {
        match look.at(place)? {
            Some(b'A'..=b'Z' | b'0'..=b'9' | b' ') => place += 1,
            _ => break,
        }
    }
    let name = look.span(from, place);
    let is_private = name.ends_with(b"PRIVATE KEY") || name.ends_with(b"PRIVATE KEY BLOCK");
    Ok((is_private && look.says(place, "-----")?).then_some(place + 5))
}

fn pem_foot(look: &mut Look<'_>, body: usize, foot: usize) -> Sight<Option<usize>> {
    let mut place = foot + PEM_END.len();
    // No further than ASCII, of which names are made: a find ends between two characters.
    let is_of_name = |byte: u8| byte.is_ascii() && !matches!(byte, b'-' | b'\n');
    while place - foot < PEM_NAME_MAX && look.at(place)?.is_some_and(is_of_name) {
        place += 1;
    }
    let end = if look.says(place, "-----")? { place + 5 } else { place };
    Ok((foot - body >= PEM_BODY_MIN).then_some(end))
}

/// The lines of base64 of a key without an end.
fn broken_pem(look: &mut Look<'_>, body: usize) -> Sight<Option<usize>> {
    let (mut place, mut end) = (body, None);
    while place - body < GUARD_FIND_BYTES_MAX {
        while place - body < GUARD_FIND_BYTES_MAX {
            let blank = blank_at(look, place)?;
            if blank == 0 {
                break;
            }
            place += blank;
        }
        let line = look.run(
            Class::Base64,
            place,
            GUARD_FIND_BYTES_MAX - (place - body).min(GUARD_FIND_BYTES_MAX),
        )?;
        if line < PEM_BODY_MIN {
            break;
        }
        place += line;
        end = Some(place);
    }
    Ok(end)
}

/// The length of a blank, of a mark of what is quoted, or of the end of a line as it is written in JSON and in code.
fn blank_at(look: &Look<'_>, place: usize) -> Sight<usize> {
    if look.is(Class::Space, place)? || look.at(place)?.is_some_and(is_quote_mark) {
        return Ok(1);
    }
    Ok(if look.says(place, "\\n")? || look.says(place, "\\r")? { 2 } else { 0 })
}
