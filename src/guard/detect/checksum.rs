//! Check digits: Luhn of cards, ISO 7064 mod 97 of IBANs, the CRC32 in base 62 of GitHub and npm tokens.

/// Whether the last digit is the Luhn check of the others. Digits are values, not characters.
pub fn is_luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| u32::from(if at % 2 == 1 { doubled(*digit) } else { *digit }))
        .sum();
    sum.is_multiple_of(10)
}

/// Whether an IBAN in its compact form has the right check digits.
pub fn is_mod97(iban: &[u8]) -> bool {
    let Some((head, tail)) = iban.split_at_checked(4) else { return false };
    let mut rest = 0_u64;
    for byte in tail.iter().chain(head) {
        rest = match byte {
            b'0'..=b'9' => rest * 10 + u64::from(byte - b'0'),
            b'A'..=b'Z' => rest * 100 + u64::from(byte - b'A') + 10,
            _ => return false,
        };
        // Divisions are dear: one for many digits.
        if rest > u64::MAX / 1_000 {
            rest %= 97;
        }
    }
    rest % 97 == 1
}

const CRC_TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0_u32;
    while at < 256 {
        let mut crc = at;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[at as usize] = crc;
        at += 1;
    }
    table
}

/// CRC32 as in zip.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ CRC_TABLE[usize::from(low ^ byte)]
    })
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters that the check of a GitHub or npm token takes.
const CHECK_CHARS: usize = 6;

/// Whether the last six characters are the CRC32 of the others, as GitHub and npm write it.
pub fn is_crc62(body: &[u8]) -> bool {
    let Some(at) = body.len().checked_sub(CHECK_CHARS) else { return false };
    let (random, check) = body.split_at(at);
    let mut rest = crc32(random);
    check.iter().rev().all(|byte| {
        let digit = BASE62[(rest % 62) as usize];
        rest /= 62;
        digit == *byte
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_of_cards() {
        assert!(is_luhn(&[4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]));
        assert!(!is_luhn(&[4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]));
        assert!(is_luhn(&[3, 7, 8, 2, 8, 2, 2, 4, 6, 3, 1, 0, 0, 0, 5]));
    }

    #[test]
    fn check_digits_of_ibans() {
        assert!(is_mod97(b"GB82WEST12345698765432"));
        assert!(is_mod97(b"DE89370400440532013000"));
        assert!(!is_mod97(b"DE88370400440532013000"));
        assert!(!is_mod97(b"DE"));
    }

    #[test]
    fn checks_of_tokens() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let random = b"abcdefghijABCDEFGHIJ0123456789";
        let mut crc = crc32(random);
        let mut check = [0; CHECK_CHARS];
        for place in check.iter_mut().rev() {
            *place = BASE62[(crc % 62) as usize];
            crc /= 62;
        }
        let token = [random.as_slice(), &check].concat();
        assert!(is_crc62(&token));
        let changed: Vec<u8> = token.iter().map(|b| if *b == b'a' { b'b' } else { *b }).collect();
        assert!(!is_crc62(&changed));
        assert!(!is_crc62(b"abc"));
    }
}
