//! E-mail addresses and telephone numbers. Both are off unless asked for: any word may be the beginning of
//! an address, so that in streams each word waits for its end.

use super::look::{Class, Look, Sight};

/// Characters before the `@`, by RFC 5321.
pub const LOCAL_MAX: usize = 64;
/// Characters of a domain.
const DOMAIN_MAX: usize = 253;

/// Where the local part begins that ends at `at`; `None` = there is none.
pub fn local_start(look: &Look<'_>, at: usize) -> Option<usize> {
    let is_local = |back: usize| look.before(at, back).is_some_and(|byte| Class::Local.has(byte));
    let length = (1..=LOCAL_MAX + 1).take_while(|back| is_local(*back)).count();
    (1..=LOCAL_MAX).contains(&length).then(|| at - length)
}

/// Where an address ends whose `@` ends at `from`: labels with full stops between, the last of letters.
pub fn email_end(look: &mut Look<'_>, from: usize) -> Sight<Option<usize>> {
    let mut place = from;
    let mut end = None;
    while place - from < DOMAIN_MAX {
        let label = look.run(Class::Word, place, DOMAIN_MAX)?;
        if label == 0 {
            break;
        }
        let is_top =
            look.span(place, place + label).iter().all(u8::is_ascii_alphabetic) && label >= 2;
        if place > from {
            end = is_top.then_some(place + label);
        }
        place += label;
        if look.at(place)? != Some(b'.') || !look.is(Class::Alnum, place + 1)? {
            break;
        }
        place += 1;
    }
    let is_path =
        matches!(look.at(place)?, Some(b':' | b'/')) && look.is(Class::Alnum, place + 1)?;
    Ok(end.filter(|end| *end == place && !is_path))
}

/// Digits of a number with its country, by E.164.
const INTERNATIONAL: std::ops::RangeInclusive<usize> = 9..=15;
/// Digits of a North American number.
const NATIONAL: usize = 10;
/// Characters of the longest number in print.
const PRINT_MAX: usize = 24;

/// Where a telephone number ends: `+` and digits in groups, or three, three and four digits.
pub fn phone_end(look: &mut Look<'_>, from: usize) -> Sight<Option<usize>> {
    match look.at(from)? {
        Some(b'+') => international_end(look, from + 1),
        Some(b'(') => area_end(look, from),
        _ => groups_end(look, from),
    }
}

fn international_end(look: &mut Look<'_>, from: usize) -> Sight<Option<usize>> {
    let (mut place, mut digits) = (from, 0);
    let mut end = None;
    while place - from < PRINT_MAX {
        let group = look.few(Class::Digit, place, *INTERNATIONAL.end() + 1)?;
        if group == 0 {
            break;
        }
        digits += group;
        place += group;
        if digits > *INTERNATIONAL.end() {
            return Ok(None);
        }
        end = Some(place);
        match look.at(place)? {
            Some(b' ' | b'-' | b'.') if look.is(Class::Digit, place + 1)? => place += 1,
            _ => break,
        }
    }
    let is_number = INTERNATIONAL.contains(&digits) && !look.is(Class::Alnum, place)?;
    Ok(end.filter(|_| is_number))
}

fn area_end(look: &mut Look<'_>, from: usize) -> Sight<Option<usize>> {
    if look.few(Class::Digit, from + 1, 4)? != 3 || !look.says(from + 4, ")")? {
        return Ok(None);
    }
    let blank = usize::from(look.at(from + 5)? == Some(b' '));
    last_seven(look, from + 5 + blank)
}

fn groups_end(look: &mut Look<'_>, from: usize) -> Sight<Option<usize>> {
    let is_area = look.few(Class::Digit, from, 4)? == 3
        && matches!(look.at(from)?, Some(b'2'..=b'9'))
        && matches!(look.at(from + 3)?, Some(b'-' | b'.'));
    if is_area { last_seven(look, from + 4) } else { Ok(None) }
}

fn last_seven(look: &mut Look<'_>, from: usize) -> Sight<Option<usize>> {
    let is_number = look.few(Class::Digit, from, 4)? == 3
        && matches!(look.at(from)?, Some(b'2'..=b'9'))
        && matches!(look.at(from + 3)?, Some(b'-' | b'.' | b' '))
        && look.few(Class::Digit, from + 4, 5)? == 4
        && !look.is(Class::Word, from + NATIONAL - 2)?;
    Ok(is_number.then_some(from + NATIONAL - 2))
}
