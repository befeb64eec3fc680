//! The rules of providers' prompt caches, and how likely a prefix still lies in one.
//!
//! Rules differ by who made the model, wherever it is served; lifetimes that no provider states are taken
//! short, since a cache that is believed warm and is not makes a session stay for nothing. What reads and
//! writes cost is the configuration's word.

/// One whole in parts per million.
pub const WHOLE_PPM: u32 = 1_000_000;

/// The share of expected hits that counts before any was seen: where the client says what is cached, and where
/// the provider does its best.
const MARKED_PPM: u32 = 990_000;
const BEST_EFFORT_PPM: u32 = 950_000;

/// What the same is where the client has to mark what is to be cached, and has not.
const UNMARKED_PPM: u32 = 0;

/// Seconds of Anthropic's long cache.
const LONG_SECONDS: u64 = 3_600;

/// How a model's prompts are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Seconds after the last use in which a prefix is there for sure.
    pub sure_s: u64,
    /// Seconds after which it is gone; in between it is there less and less.
    pub gone_s: u64,
    /// Fewest tokens of a prompt that is cached at all.
    pub tokens_min: u64,
    /// Whether what is written to the cache has a price of its own; else it costs what input costs.
    pub bills_writes: bool,
    /// Whether the client has to say what is cached.
    pub is_marked: bool,
    /// The share of expected hits that came true in all sessions, in millionths, or a guess of it.
    pub usual_ppm: u32,
}

const AUTOMATIC: Rule = Rule {
    sure_s: 300,
    gone_s: 600,
    tokens_min: 1_024,
    bills_writes: false,
    is_marked: false,
    usual_ppm: BEST_EFFORT_PPM,
};
const ANTHROPIC: Rule =
    Rule { gone_s: 300, bills_writes: true, is_marked: true, usual_ppm: MARKED_PPM, ..AUTOMATIC };

/// Parts of names and their rules; the first that a name holds counts.
const FAMILIES: [(&[&str], Rule); 15] = [
    (&["claude", "opus-5"], Rule { tokens_min: 512, ..ANTHROPIC }),
    (&["claude", "fable-5"], Rule { tokens_min: 512, ..ANTHROPIC }),
    (&["claude", "haiku-4"], Rule { tokens_min: 4_096, ..ANTHROPIC }),
    (&["claude", "opus-4-5"], Rule { tokens_min: 4_096, ..ANTHROPIC }),
    (&["claude", "opus-4.5"], Rule { tokens_min: 4_096, ..ANTHROPIC }),
    (&["claude", "opus-4-6"], Rule { tokens_min: 4_096, ..ANTHROPIC }),
    (&["claude", "opus-4.6"], Rule { tokens_min: 4_096, ..ANTHROPIC }),
    (&["claude"], ANTHROPIC),
    // Half an hour, and writes cost a quarter more, since this version.
    (&["gpt-5.6"], Rule { sure_s: 1_800, gone_s: 1_800, bills_writes: true, ..AUTOMATIC }),
    (&["gpt-6"], Rule { sure_s: 1_800, gone_s: 1_800, bills_writes: true, ..AUTOMATIC }),
    // On disk, for hours to days.
    (&["deepseek"], Rule { sure_s: 7_200, gone_s: 86_400, tokens_min: 64, ..AUTOMATIC }),
    // Short, and no promise.
    (&["gemini", "pro"], Rule { sure_s: 120, gone_s: 300, tokens_min: 4_096, ..AUTOMATIC }),
    (&["gemini"], Rule { sure_s: 120, gone_s: 300, ..AUTOMATIC }),
    (&["minimax"], Rule { bills_writes: true, ..AUTOMATIC }),
    (&["gpt-"], AUTOMATIC),
];

/// The rule for a model by the name that its provider calls it, whatever stands before it
/// (`anthropic/claude-sonnet-5`), and whether the provider speaks Anthropic's dialect.
pub fn rule(model: &str, is_anthropic: bool) -> Rule {
    let name = model.to_ascii_lowercase();
    let holds = |parts: &[&str]| parts.iter().all(|part| name.contains(part));
    let known = FAMILIES.iter().find(|(parts, _)| holds(parts)).map(|(_, rule)| *rule);
    known.unwrap_or(if is_anthropic { ANTHROPIC } else { AUTOMATIC })
}

impl Rule {
    /// The same rule where the operator knows the lifetime.
    #[must_use]
    pub const fn lasting(self, seconds: Option<u64>) -> Self {
        match seconds {
            Some(seconds) => Self { sure_s: seconds, gone_s: seconds, ..self },
            None => self,
        }
    }

    /// The same rule where it is known how many of the expected hits come true.
    #[must_use]
    pub const fn hitting(self, usual_ppm: Option<u32>) -> Self {
        match usual_ppm {
            Some(usual_ppm) => Self { usual_ppm, ..self },
            None => self,
        }
    }

    /// How much of an expected hit counts before any was seen in a session.
    pub const fn first_guess_ppm(&self, has_marks: bool) -> u32 {
        if self.is_marked && !has_marks { UNMARKED_PPM } else { self.usual_ppm }
    }

    /// The probability that a prefix which was used `idle_ms` ago still lies in the cache, by the clock
    /// alone. `is_long`: it was written for an hour.
    pub fn alive_ppm(&self, idle_ms: u64, is_long: bool) -> u32 {
        let longest = if is_long { LONG_SECONDS } else { 0 };
        let sure_ms = self.sure_s.max(longest).saturating_mul(1_000);
        let gone_ms = self.gone_s.max(longest).saturating_mul(1_000);
        if idle_ms <= sure_ms {
            return WHOLE_PPM;
        }
        let left = u128::from(gone_ms.saturating_sub(idle_ms));
        let span = u128::from(gone_ms.saturating_sub(sure_ms)).max(1);
        u32::try_from(left * u128::from(WHOLE_PPM) / span).unwrap_or(WHOLE_PPM)
    }
}

/// What is known of one model's cache for one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// When it was used last, in milliseconds since the Unix epoch.
    pub used_ms: u64,
    /// Tokens of the prompt that was sent then: the prefix of the next one.
    pub prefix_tokens: u64,
    /// The share of expected hits that came true, in millionths, the recent ones counting most; `None`
    /// before any could be seen.
    pub hits_ppm: Option<u32>,
    /// What was written was written for an hour.
    pub is_long: bool,
}

/// What an answer said of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheReport {
    /// Tokens of the prompt, cached or not.
    pub prompt: u64,
    /// Those read from the cache.
    pub read: u64,
    /// Those written to it for the usual time.
    pub written: u64,
    /// Those written to it for an hour.
    pub written_long: u64,
}

impl Trail {
    /// The probability that its prefix is read again at `now_ms`.
    pub fn warm_ppm(&self, rule: &Rule, now_ms: u64, has_marks: bool) -> u32 {
        let alive = rule.alive_ppm(now_ms.saturating_sub(self.used_ms), self.is_long);
        let hits = self.hits_ppm.unwrap_or_else(|| rule.first_guess_ppm(has_marks));
        share(u64::from(alive), hits)
    }

    /// The share of its prefix that an answer at `now_ms` read from the cache, where all of it should have been
    /// there.
    pub fn hit_ppm(&self, report: &CacheReport, rule: &Rule, now_ms: u64) -> Option<u32> {
        let idle_ms = now_ms.saturating_sub(self.used_ms);
        let expected = self.prefix_tokens.min(report.prompt);
        let could_hit = expected >= rule.tokens_min.max(1)
            && rule.alive_ppm(idle_ms, self.is_long) == WHOLE_PPM;
        could_hit.then(|| ratio_ppm(report.read, expected))
    }

    /// What is known after one more answer at `now_ms`.
    #[must_use]
    pub fn after(&self, report: &CacheReport, rule: &Rule, now_ms: u64) -> Self {
        let touched = report.read > 0 || report.written > 0 || report.written_long > 0;
        // A cache that must be asked for was not, and now it is.
        let old = self.hits_ppm.filter(|&hits| hits > 0 || !rule.is_marked || !touched);
        let hits_ppm = match self.hit_ppm(report, rule, now_ms) {
            _ if rule.is_marked && !touched => Some(0),
            Some(new) => Some(recent(old.unwrap_or(rule.usual_ppm), new)),
            None => old,
        };
        Self {
            used_ms: now_ms,
            prefix_tokens: report.prompt,
            hits_ppm,
            is_long: report.written_long > 0 || self.is_long && report.read > 0,
        }
    }
}

/// One sixteenth of what is new, so that a single miss does not drive a session away.
const fn recent(old: u32, new: u32) -> u32 {
    old - old / 16 + new / 16
}

fn ratio_ppm(part: u64, whole: u64) -> u32 {
    let ppm = u128::from(part.min(whole)) * u128::from(WHOLE_PPM) / u128::from(whole.max(1));
    u32::try_from(ppm).unwrap_or(WHOLE_PPM)
}

/// That many millionths of `of`, which are millionths themselves.
fn share(of: u64, ppm: u32) -> u32 {
    u32::try_from(of * u64::from(ppm) / u64::from(WHOLE_PPM)).unwrap_or(WHOLE_PPM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_follow_the_family_wherever_it_is_served() {
        let of = |name| rule(name, false);
        assert_eq!(of("anthropic/claude-opus-5").tokens_min, 512);
        assert_eq!(of("claude-haiku-4-5-20251001").tokens_min, 4_096);
        assert_eq!(of("claude-sonnet-4-5").tokens_min, 1_024);
        assert!(of("claude-sonnet-4-5").is_marked && of("claude-sonnet-4-5").bills_writes);
        assert_eq!((of("gpt-5.4").bills_writes, of("gpt-5.6-sol").bills_writes), (false, true));
        assert_eq!(of("deepseek/DeepSeek-V4-Flash").tokens_min, 64);
        assert_eq!(
            (of("gemini-3-pro").tokens_min, of("gemini-3-flash").tokens_min),
            (4_096, 1_024)
        );
        assert!(rule("house-model", true).is_marked && !of("house-model").is_marked);
        assert_eq!(of("house-model").lasting(Some(50)).gone_s, 50);
    }

    #[test]
    fn a_cache_lives_as_long_as_its_provider_says() {
        let claude = rule("claude-sonnet-5", true);
        assert_eq!(claude.alive_ppm(300_000, false), WHOLE_PPM);
        assert_eq!(claude.alive_ppm(300_001, false), 0, "and not a second more");
        assert_eq!(claude.alive_ppm(3_600_000, true), WHOLE_PPM);
        let gpt = rule("gpt-5.4", false);
        assert_eq!(
            [300, 450, 600, 900].map(|s| gpt.alive_ppm(s * 1_000, false)),
            [WHOLE_PPM, 500_000, 0, 0]
        );
        assert_eq!(rule("deepseek-v4", false).alive_ppm(7_200_000, false), WHOLE_PPM);
    }

    #[test]
    fn observed_hits_outweigh_the_first_guess() {
        let gpt = rule("gpt-5.4", false);
        let report = |prompt, read| CacheReport { prompt, read, ..CacheReport::default() };
        let trail = Trail::default().after(&report(10_000, 0), &gpt, 1_000);
        assert_eq!(trail.warm_ppm(&gpt, 2_000, false), BEST_EFFORT_PPM);
        let missed = trail.after(&report(11_000, 0), &gpt, 2_000);
        assert_eq!(missed.warm_ppm(&gpt, 3_000, false), 890_625, "it was to be read, and was not");
        let hit = missed.after(&report(12_000, 11_000), &gpt, 3_000);
        assert_eq!(hit.warm_ppm(&gpt, 4_000, false), 897_461);
        let late = hit.after(&report(13_000, 0), &gpt, 3_000_000);
        assert_eq!(late.hits_ppm, hit.hits_ppm, "a miss after its time says nothing");
    }

    #[test]
    fn what_all_sessions_saw_is_the_first_guess() {
        let poor = rule("gpt-5.4", false).hitting(Some(100_000));
        let fresh = Trail { prefix_tokens: 9_000, ..Trail::default() };
        assert_eq!(fresh.warm_ppm(&poor, 0, false), 100_000);
        assert_eq!(rule("gpt-5.4", false).hitting(None), rule("gpt-5.4", false));
        let half = CacheReport { prompt: 20_000, read: 4_500, ..CacheReport::default() };
        assert_eq!(fresh.hit_ppm(&half, &poor, 1_000), Some(500_000));
        assert_eq!(fresh.hit_ppm(&half, &poor, 1_000_000), None);
    }

    #[test]
    fn what_nobody_marked_is_not_cached() {
        let claude = rule("claude-sonnet-5", true);
        let fresh = Trail { used_ms: 0, prefix_tokens: 9_000, hits_ppm: None, is_long: false };
        assert_eq!(fresh.warm_ppm(&claude, 0, false), 0);
        assert_eq!(fresh.warm_ppm(&claude, 0, true), MARKED_PPM);
        let plain = CacheReport { prompt: 9_000, ..CacheReport::default() };
        let trail = Trail::default().after(&plain, &claude, 0);
        assert_eq!(trail.warm_ppm(&claude, 0, true), 0);
        let marked = CacheReport { written_long: 9_000, ..plain };
        let trail = trail.after(&marked, &claude, 1);
        assert!(trail.warm_ppm(&claude, 3_000_000, true) > 800_000, "for an hour");
    }
}
