//! Numbers that belong to people: cards, social security numbers, bank accounts, bots of Telegram.

use super::checksum::{is_luhn, is_mod97};
use super::look::{Class, Look, Sight};
use super::proof::is_varied;

/// Digits of the longest card.
const CARD_DIGITS_MAX: usize = 19;

/// What may stand between groups of digits: blanks and hyphens, also those that typographers and models
/// like. The number is their length in bytes.
fn separator(look: &Look<'_>, place: usize) -> Sight<Option<(Gap, usize)>> {
    let Some(first) = look.at(place)? else { return Ok(None) };
    Ok(match first {
        b' ' => Some((Gap::Blank, 1)),
        b'-' => Some((Gap::Hyphen, 1)),
        0xC2 => (look.at(place + 1)? == Some(0xA0)).then_some((Gap::Blank, 2)),
        0xE2 => wide_separator(look, place)?,
        _ => None,
    })
}

fn wide_separator(look: &Look<'_>, place: usize) -> Sight<Option<(Gap, usize)>> {
    if look.at(place + 1)? != Some(0x80) {
        return Ok(None);
    }
    Ok(match look.at(place + 2)? {
        Some(0x90..=0x93) => Some((Gap::Hyphen, 3)),
        Some(0x87 | 0x89 | 0xAF) => Some((Gap::Blank, 3)),
        _ => None,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    Blank,
    Hyphen,
}

/// Where a number may end: what follows is neither letter, digit nor underscore, and does not go on in it.
fn ends_at(look: &Look<'_>, place: usize) -> Sight<bool> {
    let Some(byte) = look.at(place)? else { return Ok(true) };
    match byte {
        b'_' => Ok(false),
        b'-' | b'.' => Ok(!look.is(Class::Alnum, place + 1)?),
        byte => Ok(!byte.is_ascii_alphanumeric()),
    }
}

/// Three, two and four digits with hyphens: areas 000, 666 and 900 to 999, group 00 and serial 0000 were
/// never given.
pub fn ssn_end(look: &mut Look<'_>, from: usize) -> Sight<Option<usize>> {
    let mut place = from;
    for (at, wanted) in [3, 2, 4].into_iter().enumerate() {
        if at > 0 {
            match separator(look, place)? {
                Some((Gap::Hyphen, length)) => place += length,
                _ => return Ok(None),
            }
        }
        let digits = look.few(Class::Digit, place, wanted + 1)?;
        if digits != wanted || !is_given(look.span(place, place + wanted), wanted) {
            return Ok(None);
        }
        place += wanted;
    }
    Ok(ends_at(look, place)?.then_some(place))
}

fn is_given(digits: &[u8], wanted: usize) -> bool {
    let is_area = wanted == 3;
    !digits.iter().all(|digit| *digit == b'0')
        && !(is_area && (digits == b"666" || digits.first() == Some(&b'9')))
}

/// The digits of a card, and where they end.
#[derive(Clone, Copy)]
struct Groups {
    digits: [u8; CARD_DIGITS_MAX],
    count: usize,
    end: usize,
}

/// How cards are grouped; the one that is longer comes first. Sizes of groups stand in half bytes, the first one
/// lowest.
const GROUPINGS: [u32; 5] = [0x3_4444, 0x4444, 0x564, 0x464, 0x1444];

/// Digits and the byte after them that a look ahead needs.
pub const AHEAD: usize = CARD_DIGITS_MAX + 1;

/// Whether a number that begins with what is seen may be a card, a social security number or a bot: a cheap look
/// at how many digits there are and what follows, before anybody looks closely.
pub fn may_be_any(seen: &[u8]) -> bool {
    let count = seen.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let Some(next) = seen.get(count) else { return count <= CARD_DIGITS_MAX };
    match count {
        3 => matches!(next, b'-' | 0xE2),
        4 => matches!(next, b' ' | b'-' | 0xC2 | 0xE2) && may_be_card(seen),
        8..=10 => *next == b':',
        13..=CARD_DIGITS_MAX => may_be_card(seen),
        _ => false,
    }
}

/// Where a card number ends that begins at `from`.
pub fn card_end(look: &mut Look<'_>, from: usize) -> Sight<Option<usize>> {
    if !may_be_card(look.ahead(from, ISSUER_DIGITS)) {
        return Ok(None);
    }
    let length = look.few(Class::Digit, from, CARD_DIGITS_MAX + 1)?;
    if length == 4 {
        return grouped_end(look, from);
    }
    if !(13..=CARD_DIGITS_MAX).contains(&length) {
        return Ok(None);
    }
    let mut card = Groups::new(from);
    card.take(look, length);
    card.judged(look)
}

/// Groups of the card that has most of them.
const GROUPS_MAX: usize = 5;

fn grouped_end(look: &mut Look<'_>, from: usize) -> Sight<Option<usize>> {
    let mut card = Groups::new(from);
    let (mut sizes, mut after, mut gap) = (0_u32, [card; GROUPS_MAX], None);
    for (at, after) in after.iter_mut().enumerate() {
        let begins = |known: &&u32| (**known ^ sizes) & ((1 << (4 * at)) - 1) == 0;
        let size_of = |known: &u32| (known >> (4 * at) & 15) as usize;
        let most = GROUPINGS.iter().filter(begins).map(size_of).max().unwrap_or_default();
        if most == 0 {
            break;
        }
        if at > 0 {
            match separator(look, card.end)? {
                Some((seen, length)) if gap.is_none_or(|gap| gap == seen) => {
                    gap = Some(seen);
                    card.end += length;
                }
                _ => break,
            }
        }
        let size = look.few(Class::Digit, card.end, most + 1)?;
        if size > most {
            break;
        }
        card.take(look, size);
        sizes |= u32::try_from(size).unwrap_or_default() << (4 * at);
        *after = card;
    }
    for known in GROUPINGS {
        let groups = (32 - known.leading_zeros()).div_ceil(4);
        if sizes & ((1 << (4 * groups)) - 1) != known {
            continue;
        }
        if let Some(end) = after[groups as usize - 1].judged(look)? {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

impl Groups {
    const fn new(from: usize) -> Self {
        Self { digits: [0; CARD_DIGITS_MAX], count: 0, end: from }
    }

    fn take(&mut self, look: &Look<'_>, size: usize) {
        let seen = look.span(self.end, self.end + size);
        for (place, byte) in self.digits.iter_mut().skip(self.count).zip(seen) {
            *place = byte - b'0';
        }
        self.count += size;
        self.end += size;
    }

    fn judged(&self, look: &Look<'_>) -> Sight<Option<usize>> {
        let digits = &self.digits[..self.count];
        let is_card =
            issuer_takes(digits) && is_luhn(digits) && digits.iter().any(|d| *d != digits[0]);
        Ok((is_card && ends_at(look, self.end)?).then_some(self.end))
    }
}

/// First digits that tell an issuer, or that there is none.
const ISSUER_DIGITS: usize = 4;

/// Whether an issuer gives numbers that begin with the digits that are seen; digits as characters.
fn may_be_card(seen: &[u8]) -> bool {
    let digits = seen.iter().take(ISSUER_DIGITS).take_while(|byte| byte.is_ascii_digit());
    let (count, head) = digits
        .fold((0, 0), |(count, head), digit| (count + 1, head * 10 + u32::from(digit - b'0')));
    match count {
        0 => true,
        1 => matches!(head, 2..=6),
        2 | 3 => {
            let two = if count == 2 { head } else { head / 10 };
            matches!(two, 22..=27 | 30 | 34..=56 | 58 | 60 | 62..=65 | 67)
        }
        _ => takes_four(head),
    }
}

/// Whether there are cards of any length that begin with these four digits.
fn takes_four(four: u32) -> bool {
    matches!(four / 100, 34 | 36..=49 | 51..=55 | 60 | 62 | 64 | 65)
        || matches!(four, 2200..=2204 | 2221..=2720 | 3000..=3059 | 3095 | 3528..=3589)
        || matches!(four, 5019 | 5060 | 5061 | 5067 | 5078 | 5079 | 5090 | 6370..=6399)
        || is_maestro(four)
}

/// Whether an issuer gives numbers of this beginning and length.
fn issuer_takes(digits: &[u8]) -> bool {
    let head = |count: usize| {
        digits.iter().take(count).fold(0_u32, |head, digit| head * 10 + u32::from(*digit))
    };
    let (two, three, four) = (head(2), head(3), head(4));
    match digits.len() {
        13 => (40..=49).contains(&two),
        14 => matches!(two, 36 | 38) || (300..=305).contains(&three) || four == 3095,
        15 => matches!(two, 34 | 37),
        16 => takes_sixteen(two, four, head(6)),
        17 | 18 => two == 62 || is_maestro(four),
        19 => {
            (40..=49).contains(&two) || matches!(two, 62 | 65) || four == 6011 || is_maestro(four)
        }
        _ => false,
    }
}

fn takes_sixteen(two: u32, four: u32, six: u32) -> bool {
    matches!(two, 36 | 38 | 39 | 40..=49 | 51..=55 | 60 | 62 | 64 | 65)
        || (2200..=2204).contains(&four)
        || (2221..=2720).contains(&four)
        || (3528..=3589).contains(&four)
        || matches!(four, 5019 | 5067 | 5090 | 6370..=6399)
        || matches!(six, 506_099..=506_198 | 507_865..=507_964)
        || is_maestro(four)
}

fn is_maestro(four: u32) -> bool {
    matches!(four, 5018 | 5020 | 5038 | 5612 | 5893 | 6304 | 6390 | 6759 | 6761..=6763 | 6799)
}

/// How many characters the IBANs of a country have.
fn iban_length(country: &[u8]) -> Option<usize> {
    Some(match country {
        b"NO" => 15,
        b"BE" => 16,
        b"DK" | b"FO" | b"FI" | b"GL" | b"NL" | b"SD" | b"FK" => 18,
        b"MK" | b"SI" => 19,
        b"AT" | b"BA" | b"EE" | b"KZ" | b"LT" | b"LU" | b"XK" | b"MN" => 20,
        b"CH" | b"HR" | b"LI" | b"LV" => 21,
        b"BG" | b"BH" | b"CR" | b"DE" | b"GB" | b"GE" | b"IE" | b"ME" | b"RS" | b"VA" => 22,
        b"AE" | b"GI" | b"IL" | b"IQ" | b"TL" | b"OM" | b"SO" => 23,
        b"AD" | b"CZ" | b"ES" | b"MD" | b"PK" | b"RO" | b"SA" | b"SE" | b"SK" | b"TN" | b"VG" => 24,
        b"LY" | b"PT" | b"ST" => 25,
        b"IS" | b"TR" => 26,
        b"FR" | b"GR" | b"IT" | b"MC" | b"MR" | b"SM" | b"BI" | b"DJ" => 27,
        b"AL" | b"AZ" | b"BY" | b"CY" | b"DO" | b"GT" | b"HU" | b"LB" | b"PL" | b"HN" | b"NI"
        | b"SV" => 28,
        b"BR" | b"EG" | b"PS" | b"QA" | b"UA" => 29,
        b"JO" | b"KW" | b"MU" | b"YE" => 30,
        b"MT" | b"SC" => 31,
        b"LC" => 32,
        b"RU" => 33,
        _ => return None,
    })
}

/// Characters of the longest IBAN.
const IBAN_MAX: usize = 34;
/// Characters of a group in print.
const IBAN_GROUP: usize = 4;

/// Where an IBAN ends: compact, or in groups of four.
pub fn iban_end(look: &mut Look<'_>, from: usize) -> Sight<Option<usize>> {
    if look.few(Class::Digit, from + 2, 2)? != 2 {
        return Ok(None);
    }
    let Some(length) = iban_length(look.span(from, from + 2)) else { return Ok(None) };
    let mut compact = [0; IBAN_MAX];
    let (mut place, mut count) = (from, 0);
    let is_grouped = separator(look, from + IBAN_GROUP)?.is_some();
    while count < length {
        if is_grouped && count > 0 {
            let Some((_, gap)) = separator(look, place)? else { return Ok(None) };
            place += gap;
        }
        let group = if is_grouped { IBAN_GROUP.min(length - count) } else { length };
        if look.few(Class::Upper, place, group)? != group {
            return Ok(None);
        }
        compact[count..count + group].copy_from_slice(look.span(place, place + group));
        (place, count) = (place + group, count + group);
    }
    let is_iban = is_mod97(&compact[..length]) && !look.is(Class::Alnum, place)?;
    Ok(is_iban.then_some(place))
}

/// Digits of a bot's number.
const BOT_DIGITS: std::ops::RangeInclusive<usize> = 8..=10;
/// Characters of a bot's secret, the first of which is an A.
const BOT_SECRET: usize = 35;

/// Where the token of a Telegram bot ends.
pub fn bot_end(look: &mut Look<'_>, from: usize) -> Sight<Option<usize>> {
    if look.ahead(from, 1) == b"0" {
        return Ok(None);
    }
    let digits = look.few(Class::Digit, from, BOT_DIGITS.end() + 1)?;
    let secret = from + digits + 1;
    if !BOT_DIGITS.contains(&digits) || !look.says(from + digits, ":A")? {
        return Ok(None);
    }
    let length = look.run(Class::Word, secret, BOT_SECRET + 1)?;
    let end = secret + BOT_SECRET;
    let is_long = length >= BOT_SECRET && !look.is(Class::Alnum, end)?;
    Ok((is_long && is_varied(look.span(secret, end))).then_some(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_issuer_is_ruled_out_by_the_first_digits_of_its_numbers() {
        for head in 0..1_000_000_u32 {
            let text = format!("{head:06}");
            let mut digits = [0; CARD_DIGITS_MAX];
            for (place, byte) in digits.iter_mut().zip(text.bytes()) {
                *place = byte - b'0';
            }
            let is_taken = (13..=CARD_DIGITS_MAX).any(|count| issuer_takes(&digits[..count]));
            let may_be = (1..=ISSUER_DIGITS).all(|seen| may_be_card(&text.as_bytes()[..seen]));
            assert!(may_be || !is_taken, "{text}");
        }
    }

    #[test]
    fn what_no_issuer_gives_is_no_card_by_its_first_digits() {
        for head in
            ["0", "1", "7", "20", "29", "32", "57", "61", "69", "2199", "2721", "5021", "6303"]
        {
            assert!(!may_be_card(head.as_bytes()), "{head}");
        }
        assert!(may_be_card(b"41 11") && may_be_card(b""));
    }
}
