//! Whole numbers as JSON writes them, without a formatter: every event of a stream has several.

/// Appends a number in decimal.
pub fn push(mut number: u64, out: &mut Vec<u8>) {
    // As many digits as the largest has.
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        let digit = u8::try_from(number % 10).unwrap_or(0);
        if let Some(place) = digits.get_mut(at) {
            *place = b'0' + digit;
        }
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// Reads a whole number; `None` if it is anything else, or too large.
pub fn read(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_and_read() {
        for number in [0, 7, 10, 1_790_000_000, u64::MAX] {
            let mut out = Vec::new();
            push(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
            assert_eq!(read(&out), Some(number));
        }
        assert_eq!(read(b"1.5"), None);
    }
}
