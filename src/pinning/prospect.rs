//! From what is remembered of a session to what its next turns would be at one model or another.

use crate::pinning::cache::{Rule, WHOLE_PPM};
use crate::pinning::habits::Pauses;
use crate::pinning::pin::Pin;
use crate::pinning::worth::{Outlook, Side, Tariff};

/// A model, as far as a session's money goes.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its prices, with that of short-lived writes.
    pub tariff: Tariff,
    /// How it caches.
    pub rule: Rule,
}

/// The next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Tokens of its prompt.
    pub prompt_tokens: u64,
    /// It says itself what is to be cached.
    pub has_marks: bool,
}

impl Pin {
    /// That model as the next one of this session, which pauses like others.
    pub fn side(&self, model: &Known<'_>, (next, pauses): (&Next, &Pauses)) -> Side {
        let trail = self.trail_of(model.id);
        // A prompt that has become shorter does not begin like the one before it.
        let is_broken = next.prompt_tokens < trail.prefix_tokens;
        let later = trail.hits_ppm.unwrap_or_else(|| model.rule.first_guess_ppm(next.has_marks));
        let gap_ppm = pauses.outlived_ppm(&model.rule, trail.is_long);
        Side {
            tariff: model.tariff,
            rule: model.rule,
            cached_tokens: if is_broken { 0 } else { trail.prefix_tokens },
            warm_ppm: trail.warm_ppm(&model.rule, next.now_ms, next.has_marks),
            later_ppm: both(later, gap_ppm),
        }
    }

    /// The turns to come, of which so many thousandths are expected after the next one.
    pub const fn outlook(&self, next: &Next, later_milli: u64) -> Outlook {
        Outlook {
            prompt_tokens: next.prompt_tokens,
            output_tokens: self.output_tokens,
            growth_tokens: self.growth_tokens,
            later_milli,
        }
    }
}

fn both(one_ppm: u32, other_ppm: u32) -> u32 {
    let product = u64::from(one_ppm) * u64::from(other_ppm) / u64::from(WHOLE_PPM);
    u32::try_from(product).unwrap_or(WHOLE_PPM)
}
