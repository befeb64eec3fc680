//! What a strategy decides, and what it is told of attempts that have failed.
//!
//! How a tier becomes a model is decided where the models are known.

/// The tier of models that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aim {
    /// A small and cheap one.
    Fast,
    /// One for ordinary work.
    Reasoning,
    /// The best there is.
    Oracle,
}

impl Aim {
    /// All, the weakest first.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Reasoning, Self::Oracle];

    /// The name used in configuration and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Reasoning => "reasoning",
            Self::Oracle => "oracle",
        }
    }

    /// The tier of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|aim| aim.name() == name)
    }
}

/// What a strategy wants, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// From which tier.
    pub aim: Aim,
    /// Whether the model should think before it answers, if it can (S2-10).
    pub thinks: bool,
    /// The name of the rule.
    pub rule: &'static str,
    /// How sure it is, in millionths.
    pub confidence_ppm: u32,
}

/// What was tried before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Every model had its turn.
    pub all: bool,
    /// The best tier was tried, and the last failure was a rate limit.
    pub oracle_rate_limited: bool,
}

/// Why an attempt failed, as far as it matters for who is asked next (S2-04).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Too many requests there.
    RateLimit,
    /// The provider is at fault, or cannot be reached.
    Server,
    /// No answer in time.
    Timeout,
    /// Our credential was refused.
    Auth,
    /// The request was.
    BadRequest,
}

impl Failure {
    /// The seed's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Auth => "auth",
            Self::BadRequest => "bad_request",
        }
    }

    /// The failure that a status stands for.
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Auth,
            408 | 504 | 524 => Self::Timeout,
            429 => Self::RateLimit,
            400..=499 => Self::BadRequest,
            _ => Self::Server,
        }
    }

    /// Whether a stronger tier may help.
    pub const fn escalates(self) -> bool {
        matches!(self, Self::RateLimit | Self::Server | Self::Timeout)
    }
}

/// The tiers to ask in after a failure in `at`, in order: upwards, then the same, then downwards; from a rate
/// limit at the top one step down first (S2-08, rule 2).
pub const fn after(at: Aim, failure: Failure) -> [Aim; 3] {
    use Aim::{Fast, Oracle, Reasoning};
    match (at, failure) {
        (Fast, _) | (Oracle, Failure::RateLimit) => [Reasoning, Oracle, Fast],
        (Reasoning | Oracle, _) => [Oracle, Reasoning, Fast],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_by_their_status() {
        for (status, name, escalates) in [
            (429, "rate_limit", true),
            (500, "server", true),
            (503, "server", true),
            (529, "server", true),
            (408, "timeout", true),
            (504, "timeout", true),
            (401, "auth", false),
            (403, "auth", false),
            (400, "bad_request", false),
            (422, "bad_request", false),
        ] {
            let failure = Failure::of_status(status);
            assert_eq!((failure.name(), failure.escalates()), (name, escalates), "{status}");
        }
    }

    #[test]
    fn the_way_leads_upwards_and_round_a_rate_limit() {
        assert_eq!(after(Aim::Fast, Failure::Server), [Aim::Reasoning, Aim::Oracle, Aim::Fast]);
        assert_eq!(after(Aim::Reasoning, Failure::Timeout)[0], Aim::Oracle);
        assert_eq!(after(Aim::Oracle, Failure::RateLimit)[0], Aim::Reasoning);
        for at in Aim::ALL {
            let mut all = after(at, Failure::Server);
            all.sort_unstable();
            assert_eq!(all, Aim::ALL, "nobody is left out");
            assert_eq!(Aim::from_name(at.name()), Some(at));
        }
    }
}
