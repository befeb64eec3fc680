//! What the output filter looks for, and what is done about it. `rule` is the table of everything known;
//! `automaton` finds its literals in one pass; `look` lets verifiers see text that is still coming; `key`,
//! `number`, `secret` and `contact` are those verifiers; `proof` and `checksum` judge last.
//!
//! No regular expressions: bounded repeats make lazy automata explode on hostile text. Every verifier here
//! is a few questions about runs of character classes, whose ends are remembered, so that a text costs time
//! in proportion to its length.

pub mod automaton;
pub mod checksum;
pub mod contact;
pub mod key;
pub mod look;
pub mod number;
pub mod policy;
pub mod proof;
pub mod rule;
pub mod rules;
pub mod scan;
pub mod secret;
#[cfg(test)]
mod tests;

/// A kind of thing that the filter finds; policy is set per kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Detector {
    /// Keys and tokens of known form.
    ApiKey,
    /// Private keys in PEM.
    PrivateKey,
    /// Passwords: assigned to a telling name, or inside a URL.
    Secret,
    /// US social security numbers.
    Ssn,
    /// Payment cards.
    Card,
    /// International bank account numbers.
    Iban,
    /// E-mail addresses. They cost a word of delay in streams.
    Email,
    /// Telephone numbers. They cost a number of delay in streams.
    Phone,
    /// The model about to tell its instructions.
    PromptLeak,
}

impl Detector {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ApiKey,
        Self::PrivateKey,
        Self::Secret,
        Self::Ssn,
        Self::Card,
        Self::Iban,
        Self::Email,
        Self::Phone,
        Self::PromptLeak,
    ];

    /// Its name in configuration and findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::PrivateKey => "private_key",
            Self::Secret => "secret",
            Self::Ssn => "ssn",
            Self::Card => "credit_card",
            Self::Iban => "iban",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::PromptLeak => "prompt_leak",
        }
    }

    /// What comes before a rule's own name in marks (S1-19).
    pub const fn mark_prefix(self) -> &'static str {
        if matches!(self, Self::ApiKey) { "API_KEY_" } else { "" }
    }

    /// Its bit in a set of detectors.
    pub const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// What is done about a find, from nothing to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// It is not looked for.
    Off,
    /// It is counted, and the text passes at once.
    Observe,
    /// A mark takes its place.
    Redact,
    /// The text ends before it.
    Block,
}

impl Action {
    /// Its name in configuration and findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Redact => "redact",
            Self::Block => "block",
        }
    }

    /// Whether text is held back for it.
    pub const fn acts(self) -> bool {
        matches!(self, Self::Redact | Self::Block)
    }
}
