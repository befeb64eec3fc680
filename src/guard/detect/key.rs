//! Keys of known form: parts one after another, then the proof of their body.

use super::checksum::is_crc62;
use super::look::{Class, Look, Sight};
use super::proof::Proof;
use super::rule::Part;

/// Where a key ends whose literal ends at `from`; `None` = it is none.
pub fn end(look: &mut Look<'_>, from: usize, parts: &[Part], proof: Proof) -> Sight<Option<usize>> {
    let mut place = from;
    for part in parts {
        match after(look, place, *part)? {
            Some(next) => place = next,
            None => return Ok(None),
        }
    }
    if let Some(Part::Run(Class::Url | Class::Path, ..)) = parts.last() {
        place = trimmed(look, from, place);
    }
    Ok(is_proved(look, proof, (from, place)).then_some(place))
}

fn is_proved(look: &mut Look<'_>, proof: Proof, (from, to): (usize, usize)) -> bool {
    match proof {
        Proof::Crc62 => is_crc62(look.span(from, to)),
        Proof::Varied => look.is_varied(from, to),
        Proof::Random => look.has_mixed_part(from, to) && look.is_varied(from, to),
        Proof::Holds(words) => look.seek(words, from, to).is_some() && look.is_varied(from, to),
    }
}

fn after(look: &mut Look<'_>, place: usize, part: Part) -> Sight<Option<usize>> {
    match part {
        Part::Says(words) => Ok(look.says(place, words)?.then(|| place + words.len())),
        Part::Run(class, least, most) => {
            let length = look.run(class, place, most + 1)?;
            Ok((least..=most).contains(&length).then_some(place + length))
        }
        Part::Exact(class, length) => {
            let end = place + length;
            let fits = look.run(class, place, length)? == length && !look.is(Class::Alnum, end)?;
            Ok(fits.then_some(end))
        }
    }
}

/// Without the punctuation at the end of a URL that belongs to the sentence around it.
pub fn trimmed(look: &Look<'_>, from: usize, to: usize) -> usize {
    let is_sentence = |byte: &u8| {
        matches!(byte, b'.' | b',' | b';' | b':' | b'!' | b'?' | b')' | b']' | b'}' | b'*' | b'|')
    };
    let span = look.span(from, to);
    to - span.iter().rev().take_while(|byte| is_sentence(byte)).count()
}
