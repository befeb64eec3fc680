//! What the guards do, worked out: for all agents, and for those that have their own words.
//!
//! Requests are screened unless that is switched off; another part that is not configured, or is off, is not there at
//! all, so that it costs nothing.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::guard::detect::policy::Policy;
use crate::guard::linear::Model;
use crate::guard::verdict::{Action, Level};
use crate::wire::texts::Source;

/// The guards of one configuration.
#[derive(Clone, Default)]
pub struct Guarding {
    /// For agents without words of their own; `None` = nothing is looked at.
    pub all: Option<Arc<Guards>>,
    /// By `Agent::index`.
    pub agents: Vec<Option<Arc<Guards>>>,
    /// What canaries are derived from; `None` = the random one that the store keeps.
    pub secret: Option<Arc<Zeroizing<Vec<u8>>>>,
    /// Whether the screening of all agents is as somebody has said, not as it is by itself.
    pub is_input_given: bool,
}

impl std::fmt::Debug for Guarding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { all, agents, secret, is_input_given } = self;
        let mut shown = f.debug_struct("Guarding");
        shown.field("all", all).field("agents", agents).field("has_secret", &secret.is_some());
        shown.field("is_input_given", is_input_given);
        shown.finish()
    }
}

impl Guarding {
    /// The guards of the agent at that place.
    pub fn of(&self, agent: usize) -> Option<&Arc<Guards>> {
        self.agents.get(agent).unwrap_or(&self.all).as_ref()
    }

    /// The screening of all agents, if somebody has said how it is to be.
    pub fn given_input(&self) -> Option<&Input> {
        let guards = self.all.as_ref().filter(|_| self.is_input_given)?;
        guards.input.as_ref()
    }
}

/// The guards of one agent.
#[derive(Clone, Debug, Default)]
pub struct Guards {
    /// How requests are screened; `None` = they are not.
    pub input: Option<Input>,
    /// What is looked for in answers; `None` = nothing.
    pub output: Option<Arc<Policy>>,
    /// What a canary that comes back leads to.
    pub canary: Canary,
    /// What becomes of a request or answer that cannot be looked at.
    pub on_failure: OnFailure,
}

impl Guards {
    /// Whether anything is looked for in answers.
    pub const fn watches_answers(&self) -> bool {
        self.output.is_some() || !matches!(self.canary, Canary::Off)
    }

    /// Whether anything that is found may change or end a request or answer.
    pub fn acts(&self) -> bool {
        let input = self.input.as_ref().is_some_and(|input| input.actions.most() > Action::Observe);
        let output = self.output.as_ref().is_some_and(|policy| policy.acting() != 0);
        input || output || self.canary == Canary::Block
    }
}

/// How requests are screened.
#[derive(Clone)]
pub struct Input {
    /// What judges.
    pub model: Arc<Model>,
    /// What is done about a finding.
    pub actions: Actions,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("actions", &self.actions).finish_non_exhaustive()
    }
}

/// What is done at most, by who a text comes from. The operator's own words are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actions {
    /// For text of the key's holder.
    pub user: Action,
    /// For results of tools.
    pub tool: Action,
    /// For documents.
    pub document: Action,
    /// For earlier answers.
    pub assistant: Action,
    /// Whether texts that are merely suspect count as well; else those are observed.
    pub on_suspicion: bool,
    /// Whether the seed's blocked phrases count as certain in text of the key's holder.
    pub seed_rules: bool,
}

impl Actions {
    /// Everything is counted and nothing is changed: what a proxy route starts with (S1-16..18).
    pub const OBSERVE: Self = Self {
        user: Action::Observe,
        tool: Action::Observe,
        document: Action::Observe,
        assistant: Action::Observe,
        on_suspicion: false,
        seed_rules: false,
    };

    /// What is done at most, whoever a text comes from.
    pub fn most(&self) -> Action {
        self.user.max(self.tool).max(self.document).max(self.assistant)
    }

    /// What is done at most about texts of `source`.
    pub const fn at_most(&self, source: Source) -> Action {
        match source {
            Source::System => Action::Off,
            Source::User => self.user,
            Source::Tool => self.tool,
            Source::Document => self.document,
            Source::Assistant => self.assistant,
        }
    }

    /// What follows from a finding.
    pub fn action(&self, level: Level, source: Source) -> Action {
        let wanted = self.at_most(source);
        match level {
            Level::Certain => wanted,
            Level::Suspect if self.on_suspicion => wanted,
            Level::Suspect | Level::Clear => wanted.min(Action::Observe),
        }
    }
}

/// What a canary that comes back leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Canary {
    /// There is none.
    #[default]
    Off,
    /// An alarm.
    Observe,
    /// An alarm, and the end of the answer.
    Block,
}

impl Canary {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Observe, Self::Block];

    /// Its name in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Block => "block",
        }
    }
}

/// What becomes of what cannot be looked at (S1-10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is refused.
    #[default]
    Block,
    /// It passes, and is counted.
    Pass,
}

impl OnFailure {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Block, Self::Pass];

    /// Its name in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Pass => "pass",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_its_own_action_and_suspicion_is_observed() {
        let actions = Actions { user: Action::Block, tool: Action::Sanitize, ..Actions::OBSERVE };
        assert_eq!(actions.action(Level::Certain, Source::User), Action::Block);
        assert_eq!(actions.action(Level::Suspect, Source::User), Action::Observe);
        assert_eq!(actions.action(Level::Certain, Source::Tool), Action::Sanitize);
        assert_eq!(actions.action(Level::Certain, Source::System), Action::Off);
        let strict = Actions { on_suspicion: true, ..actions };
        assert_eq!(strict.action(Level::Suspect, Source::User), Action::Block);
    }
}
