//! What a pin means for a request: by the time since its last use, and by what the request needs (S2-12,
//! S2-14).
//!
//! Whether leaving in the soft window pays is `worth`'s business, where an outgrown session goes `rehome`'s.

use crate::pinning::pin::Pin;

/// How long a pin holds, in milliseconds since its last use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Up to then the session stays where it is, and no strategy is asked; 0 = one is always asked.
    pub hard_ms: u64,
    /// Up to then a strategy is asked, and the warm cache has a say; not less than `hard_ms`.
    pub soft_ms: u64,
}

/// How a session's pin took part in a request (S2-16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// There was none.
    #[default]
    Fresh,
    /// It decided.
    Hard,
    /// A strategy was asked, with regard to the cache.
    Soft,
    /// The context of its model was too small, and a larger one was found.
    RehomedContext,
    /// The request has images, and its model sees none.
    EvictedVision,
    /// Its model is gone, or may not answer this request any more.
    EvictedMissingModel,
    /// The context of its model was too small, and none was larger.
    EvictedContext,
    /// Its model failed, or was short of capacity.
    EvictedPostFailure,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Fresh,
        Self::Hard,
        Self::Soft,
        Self::RehomedContext,
        Self::EvictedVision,
        Self::EvictedMissingModel,
        Self::EvictedContext,
        Self::EvictedPostFailure,
    ];

    /// The word of the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Hard => "hard",
            Self::Soft => "soft",
            Self::RehomedContext => "rehomed_context",
            Self::EvictedVision => "evicted_vision",
            Self::EvictedMissingModel => "evicted_missing_model",
            Self::EvictedContext => "evicted_context",
            Self::EvictedPostFailure => "evicted_post_failure",
        }
    }

    /// Whether the session stayed with a pin of its own.
    pub const fn holds(self) -> bool {
        matches!(self, Self::Hard | Self::Soft | Self::RehomedContext)
    }
}

/// What the pinned model can do at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// It takes images.
    pub vision: bool,
    /// Tokens of input and output together; `None` = not known.
    pub context_tokens: Option<u64>,
    /// It has just failed, or asked to be left alone.
    pub rests: bool,
}

/// A request, as far as a pin goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Tokens that it needs.
    pub tokens: u64,
    /// It holds images.
    pub images: bool,
    /// It ends with the result of a tool, which the model that asked for it waits for.
    pub answers_tool: bool,
    /// The pinned model, if it may answer.
    pub pinned: Option<Fit>,
}

/// What follows from a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A strategy chooses, and this is why.
    Ask(State),
    /// The pinned model, in this state.
    Stay(State),
    /// A strategy proposes, and leaving has to pay.
    Weigh,
    /// The pinned model's context is too small: another home, or none.
    Outgrown,
}

impl Windows {
    /// What a session's pin means for a request.
    pub fn judge(&self, pin: Option<&Pin>, sight: &Sight) -> Verdict {
        let Some(pin) = pin.filter(|pin| !pin.is_older(sight.now_ms, self.soft_ms)) else {
            return Verdict::Ask(State::Fresh);
        };
        let Some(fit) = sight.pinned else { return Verdict::Ask(State::EvictedMissingModel) };
        if fit.rests {
            return Verdict::Ask(State::EvictedPostFailure);
        }
        if sight.images && !fit.vision {
            return Verdict::Ask(State::EvictedVision);
        }
        if fit.context_tokens.is_some_and(|most| sight.tokens > most) {
            return Verdict::Outgrown;
        }
        if self.hard_ms > 0 && !pin.is_older(sight.now_ms, self.hard_ms) {
            return Verdict::Stay(State::Hard);
        }
        if sight.answers_tool { Verdict::Stay(State::Soft) } else { Verdict::Weigh }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: Windows = Windows { hard_ms: 300_000, soft_ms: 1_800_000 };
    const FIT: Fit = Fit { vision: false, context_tokens: Some(1_000), rests: false };

    fn at(seconds: u64) -> Sight {
        Sight {
            now_ms: 1_000_000 + seconds * 1_000,
            tokens: 500,
            images: false,
            answers_tool: false,
            pinned: Some(FIT),
        }
    }

    fn judged(sight: Sight) -> Verdict {
        let pin = Pin { used_ms: 1_000_000, turns: 1, ..Pin::default() };
        WINDOWS.judge(Some(&pin), &sight)
    }

    #[test]
    fn windows_follow_the_clock() {
        let verdicts = [0, 300, 301, 1_800, 1_801, 9_999].map(|seconds| judged(at(seconds)));
        let (hard, fresh) = (Verdict::Stay(State::Hard), Verdict::Ask(State::Fresh));
        assert_eq!(verdicts, [hard, hard, Verdict::Weigh, Verdict::Weigh, fresh, fresh]);
        assert_eq!(WINDOWS.judge(None, &at(0)), fresh);
        let open = Windows { hard_ms: 0, ..WINDOWS };
        assert_eq!(
            open.judge(Some(&Pin { used_ms: 1_000_000, ..Pin::default() }), &at(0)),
            Verdict::Weigh
        );
    }

    #[test]
    fn every_escape_is_taken_in_both_windows() {
        for seconds in [1, 1_000] {
            let sight = at(seconds);
            let fit = |fit| judged(Sight { pinned: fit, ..sight });
            let ask = Verdict::Ask;
            assert_eq!(fit(None), ask(State::EvictedMissingModel));
            assert_eq!(fit(Some(Fit { rests: true, ..FIT })), ask(State::EvictedPostFailure));
            assert_eq!(judged(Sight { images: true, ..sight }), ask(State::EvictedVision));
            assert_eq!(judged(Sight { tokens: 1_001, ..sight }), Verdict::Outgrown);
            let sees = Some(Fit { vision: true, context_tokens: None, rests: false });
            let large = Sight { images: true, tokens: u64::MAX, pinned: sees, ..sight };
            assert!(matches!(judged(large), Verdict::Stay(State::Hard) | Verdict::Weigh));
        }
    }

    #[test]
    fn a_tool_loop_is_not_left_open() {
        let sight = Sight { answers_tool: true, ..at(900) };
        assert_eq!(judged(sight), Verdict::Stay(State::Soft));
        assert_eq!(
            judged(Sight { pinned: None, ..sight }),
            Verdict::Ask(State::EvictedMissingModel)
        );
        assert_eq!(judged(Sight { now_ms: u64::MAX, ..sight }), Verdict::Ask(State::Fresh));
    }

    #[test]
    fn every_state_has_a_word_of_its_own() {
        for (at, state) in State::ALL.iter().enumerate() {
            assert!(State::ALL[at + 1..].iter().all(|other| other.name() != state.name()));
        }
        assert_eq!(State::ALL.iter().filter(|state| state.holds()).count(), 3);
    }
}
