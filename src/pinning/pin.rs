//! What is remembered of a session: the model that answered last, how its cache stands, and those before it.
//!
//! No text is kept, only counts and times; a session is known by a hash.

use std::sync::Arc;

use crate::base::limit::PIN_FORMER_MAX;
use crate::pinning::cache::{CacheReport, Rule, Trail};

/// A session of one agent, as a hash that other agents cannot meet.
pub type SessionKey = u128;

/// Bytes of a body that one token stands for before any answer has told.
const BYTES_PER_TOKEN: u64 = 4;

/// A session's place at a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    /// The id of the model that answered last.
    pub model: Arc<str>,
    /// When it did, in milliseconds since the Unix epoch.
    pub used_ms: u64,
    /// Answers that the session has had.
    pub turns: u32,
    /// How the model's cache stands.
    pub trail: Trail,
    /// The models before it, the latest first, and how their caches stand.
    pub former: [Option<(Arc<str>, Trail)>; PIN_FORMER_MAX],
    /// Bytes of the last request's body.
    pub body_bytes: u64,
    /// Tokens by which prompts grow from turn to turn, recent ones counting most.
    pub growth_tokens: u64,
    /// Tokens of an answer, in the same way.
    pub output_tokens: u64,
}

/// One answer, as far as pins go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The id of the model.
    pub model: Arc<str>,
    /// When it came to its end, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// What it said of the cache; `None` = it said nothing.
    pub report: Option<CacheReport>,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Bytes of the request's body.
    pub body_bytes: u64,
}

impl Pin {
    /// The pin after an answer of a model whose cache follows that rule.
    #[must_use]
    pub fn after(old: Option<&Self>, answer: &Answer, rule: &Rule) -> Self {
        let first = Self::default();
        let was = old.unwrap_or(&first);
        let report = answer.report.unwrap_or_else(|| CacheReport {
            prompt: was.tokens_of(answer.body_bytes),
            ..CacheReport::default()
        });
        let before = was.trail_of(&answer.model);
        let trail = match answer.report {
            Some(_) => before.after(&report, rule, answer.now_ms),
            // Nothing was said of the cache; that it was written is likely all the same.
            None => Trail { used_ms: answer.now_ms, prefix_tokens: report.prompt, ..before },
        };
        let is_first = was.turns == 0;
        let recent = |old: u64, new: u64| if is_first { new } else { mixed(old, new) };
        let grown = report.prompt.saturating_sub(was.trail.prefix_tokens);
        Self {
            model: Arc::clone(&answer.model),
            used_ms: answer.now_ms,
            turns: was.turns.saturating_add(1),
            trail,
            former: was.former_without(&answer.model),
            body_bytes: answer.body_bytes,
            // The first prompt is no growth.
            growth_tokens: match was.turns {
                0 => answer.output_tokens,
                1 => grown,
                _ => mixed(was.growth_tokens, grown),
            },
            output_tokens: recent(was.output_tokens, answer.output_tokens),
        }
    }

    /// Whether it was not used within `life_ms` before `now_ms`. A clock that was set back makes nothing old.
    pub const fn is_older(&self, now_ms: u64, life_ms: u64) -> bool {
        now_ms.saturating_sub(self.used_ms) > life_ms
    }

    /// The tokens of a body of that length, by what the last one had.
    pub fn tokens_of(&self, body_bytes: u64) -> u64 {
        let (tokens, bytes) = (self.trail.prefix_tokens, self.body_bytes);
        if tokens == 0 || bytes == 0 {
            return body_bytes / BYTES_PER_TOKEN;
        }
        let scaled = u128::from(body_bytes) * u128::from(tokens) / u128::from(bytes);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// How the cache of that model stands for this session.
    pub fn trail_of(&self, model: &str) -> Trail {
        if *self.model == *model && self.turns > 0 {
            return self.trail;
        }
        let found = self.former.iter().flatten().find(|(name, _)| **name == *model);
        found.map(|(_, trail)| *trail).unwrap_or_default()
    }

    /// Those before it once `next` has answered: the present one first, `next` itself not among them.
    fn former_without(&self, next: &str) -> [Option<(Arc<str>, Trail)>; PIN_FORMER_MAX] {
        if *self.model == *next || self.turns == 0 {
            return self.former.clone();
        }
        let present = (Arc::clone(&self.model), self.trail);
        let others = self.former.iter().flatten().filter(|(name, _)| **name != *next).cloned();
        let mut all = std::iter::once(present).chain(others);
        std::array::from_fn(|_| all.next())
    }
}

/// Three parts of what was and one of what is.
const fn mixed(old: u64, new: u64) -> u64 {
    old - old / 4 + new / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pinning::cache;

    fn answer(model: &str, now_ms: u64, prompt: u64) -> Answer {
        Answer {
            model: Arc::from(model),
            now_ms,
            report: Some(CacheReport { prompt, ..CacheReport::default() }),
            output_tokens: 100,
            body_bytes: prompt * 3,
        }
    }

    fn session(turns: &[(&str, u64, u64)]) -> Pin {
        let step = |pin: Option<Pin>, &(model, at, prompt): &(&str, u64, u64)| {
            let rule = cache::rule(model, false);
            Some(Pin::after(pin.as_ref(), &answer(model, at, prompt), &rule))
        };
        turns.iter().fold(None, step).unwrap_or_default()
    }

    #[test]
    fn a_session_remembers_the_caches_that_it_left() {
        let pin = session(&[("a", 1, 2_000), ("b", 2, 3_000), ("c", 3, 4_000), ("b", 4, 5_000)]);
        assert_eq!((&*pin.model, pin.turns, pin.trail.prefix_tokens), ("b", 4, 5_000));
        assert_eq!(pin.trail_of("c").used_ms, 3);
        assert_eq!(pin.trail_of("a").prefix_tokens, 2_000);
        assert_eq!(pin.trail_of("d"), Trail::default());
        let names: Vec<&str> = pin.former.iter().flatten().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["c", "a"]);
        let many = session(&[("a", 1, 1), ("b", 2, 2), ("c", 3, 3), ("d", 4, 4), ("e", 5, 5)]);
        assert_eq!(many.trail_of("a"), Trail::default(), "only so many");
    }

    #[test]
    fn what_turns_are_like_is_learnt_from_the_session() {
        let pin = session(&[("a", 1_000, 2_000), ("a", 61_000, 2_400), ("a", 81_000, 4_000)]);
        assert_eq!((pin.growth_tokens, pin.output_tokens), (700, 100));
        assert_eq!(pin.tokens_of(6_000), 2_000);
        assert_eq!(Pin::default().tokens_of(400), 100);
        let silent = Answer { report: None, ..answer("a", 90_000, 5_000) };
        let next = Pin::after(Some(&pin), &silent, &cache::rule("a", false));
        assert_eq!((next.trail.prefix_tokens, next.trail.used_ms), (5_000, 90_000));
        assert_eq!(next.trail.hits_ppm, pin.trail.hits_ppm);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_old() {
        let pin = session(&[("a", 5_000, 1)]);
        assert!(!pin.is_older(0, 0) && !pin.is_older(6_000, 1_000) && pin.is_older(6_001, 1_000));
    }
}
