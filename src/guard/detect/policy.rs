//! What is done about each kind of find, worked out once per configuration: which literals matter at all, and
//! which of them hold text back.

use super::automaton::{LITERALS, Literals};
use super::{Action, Detector};

/// A set of actions, one per detector, ready for scanning.
#[derive(Clone, Debug)]
pub struct Policy {
    actions: [Action; Detector::ALL.len()],
    /// Detectors that hold text back, as bits.
    acting: u16,
    /// Detectors that only count, as bits.
    watching: u16,
    /// By literal: the detectors among its rules that are not off, as bits.
    literals: Vec<u16>,
}

impl Default for Policy {
    /// Secrets and numbers are redacted, prompt leaks observed; addresses and telephone numbers pass.
    fn default() -> Self {
        let mut actions = [Action::Redact; Detector::ALL.len()];
        actions[Detector::Email as usize] = Action::Off;
        actions[Detector::Phone as usize] = Action::Off;
        actions[Detector::PromptLeak as usize] = Action::Observe;
        Self::of(actions)
    }
}

impl Policy {
    /// The default but for these.
    #[must_use]
    pub fn with(&self, changes: &[(Detector, Action)]) -> Self {
        let mut actions = self.actions;
        for (detector, action) in changes {
            actions[*detector as usize] = *action;
        }
        Self::of(actions)
    }

    /// What is the stricter of both for each detector.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self::of(std::array::from_fn(|at| self.actions[at].max(other.actions[at])))
    }

    /// The same action for every detector.
    pub fn all(action: Action) -> Self {
        Self::of([action; Detector::ALL.len()])
    }

    fn of(actions: [Action; Detector::ALL.len()]) -> Self {
        let bits = |wanted: fn(Action) -> bool| {
            let all = Detector::ALL.into_iter().filter(|d| wanted(actions[*d as usize]));
            all.fold(0, |bits, detector| bits | detector.bit())
        };
        let (acting, watching) = (bits(Action::acts), bits(|action| action == Action::Observe));
        let mut literals = LITERALS.as_ref().map(detectors).unwrap_or_default();
        for literal in &mut literals {
            *literal &= acting | watching;
        }
        Self { actions, acting, watching, literals }
    }

    /// What is done about the finds of a detector.
    pub const fn action(&self, detector: Detector) -> Action {
        self.actions[detector as usize]
    }

    /// Detectors that hold text back, as bits.
    pub const fn acting(&self) -> u16 {
        self.acting
    }

    /// Detectors that only count, as bits.
    pub const fn watching(&self) -> u16 {
        self.watching
    }

    /// The detectors of a literal that are not off, as bits.
    pub fn of_literal(&self, literal: u16) -> u16 {
        self.literals.get(usize::from(literal)).copied().unwrap_or_default()
    }
}

fn detectors(literals: &Literals) -> Vec<u16> {
    let of = |rules: &[u16]| {
        let rules = rules.iter().filter_map(|rule| literals.rules.get(usize::from(*rule)));
        rules.fold(0, |bits, rule| bits | rule.detector.bit())
    };
    literals.literals.iter().map(|literal| of(&literal.rules)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_policies_the_stricter_counts_by_detector() {
        let mild = Policy::all(Action::Off).with(&[(Detector::Email, Action::Block)]);
        let both = mild.and(&Policy::default());
        assert_eq!(both.action(Detector::Email), Action::Block);
        assert_eq!(both.action(Detector::Ssn), Action::Redact);
        assert_eq!(both.action(Detector::PromptLeak), Action::Observe);
        assert_eq!(both.action(Detector::Phone), Action::Off);
    }
}
