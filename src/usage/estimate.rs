//! Tokens guessed from bytes, for answers whose usage never came.
//!
//! Guesses are for booking what cannot be known, not for admitting requests: they are no bound. What
//! a request could cost at most is a question of byte bounds and output caps (`budgets.md` 2.4).
//!
//! Measured tokens per byte (`wire.md` section 10): English 0.24 to 0.27, code 0.33 to 0.37, JSON
//! 0.32 to 0.35, Chinese 0.19 to 0.39. We take 0.40, above all of them. Base64 has 0.70 and random
//! text up to 0.92, so media has to be taken out of the bytes first; it is charged by other rules
//! anyway. Hidden reasoning has no bytes at all: an output estimate can be far too low for models
//! that reason, and nothing that we see tells by how much.

use crate::usage::count::Usage;

/// Tokens per byte: 2 to 5.
const TOKENS: u64 = 2;
const BYTES: u64 = 5;

/// Tokens of the text in a request: `text_bytes` of its body, media taken out. Field names and
/// braces of the body make up for the template that the provider adds.
pub const fn input_tokens(text_bytes: u64) -> u64 {
    tokens(text_bytes)
}

/// Tokens of an answer of which `text_bytes` have been seen, in `events` pieces. A piece is at least
/// one token, which is the better reading for digits and for languages of short words.
pub const fn output_tokens(text_bytes: u64, events: u64) -> u64 {
    let by_bytes = tokens(text_bytes);
    if by_bytes > events { by_bytes } else { events }
}

/// What to book for an answer that was broken off or never reported: what is known of its usage,
/// filled up by estimates where they are higher.
#[must_use]
pub fn fill(known: Option<Usage>, input_tokens: u64, output_tokens: u64) -> Usage {
    let mut usage = known.unwrap_or_default();
    // Reported input is exact from the first report on, also where it is small thanks to a cache.
    if usage.input_total() == 0 {
        usage.input = input_tokens;
    }
    usage.output = usage.output.max(output_tokens);
    // A cost that was reported before the end does not cover the end.
    usage.provider_cost = None;
    usage
}

const fn tokens(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES).saturating_mul(TOKENS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_above_what_was_measured() {
        assert_eq!(input_tokens(0), 0);
        assert_eq!(input_tokens(1), 2);
        assert_eq!(input_tokens(1000), 400);
        assert_eq!(output_tokens(1000, 10), 400);
        assert_eq!(output_tokens(10, 10), 10);
        assert!(input_tokens(u64::MAX) > u64::MAX / 3);
    }

    #[test]
    fn what_is_known_stays() {
        let start = Usage { input: 25, cache_read: 100, output: 1, ..Usage::default() };
        let filled = fill(Some(start), 9_000, 40);
        assert_eq!((filled.input, filled.cache_read, filled.output), (25, 100, 40));
        let running = Usage { output: 500, ..start };
        assert_eq!(fill(Some(running), 0, 40).output, 500);
        assert_eq!(fill(None, 9, 4), Usage { input: 9, output: 4, ..Usage::default() });
    }
}
