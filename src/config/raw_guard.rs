//! The sections `guard` and `agents.<id>.guard`: what is screened, what is searched for in answers, and what
//! follows. A part that is not given is off; a part that is given observes, unless it says more.
//!
//! The file of weights is read here by way of `Outside`, so that a bad one is a problem of the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::config::Outside;
use crate::config::guards::{Actions, Canary, Guarding, Guards, Input, OnFailure};
use crate::config::keys;
use crate::config::problem::{At, Problems};
use crate::config::raw_agent::RawAgent;
use crate::config::raw_quarantine;
use crate::config::section::Section;
use crate::guard::detect::policy::Policy;
use crate::guard::detect::{self, Detector};
use crate::guard::linear::Model;
use crate::guard::quarantine::Terms;
use crate::guard::verdict::Action;
use crate::guard::weights;

/// Characters of a canary's secret: enough that nobody guesses it.
const SECRET_CHARS_MIN: usize = 16;

/// Which key of `output` stands for which detectors.
const DETECTORS: [(&str, &[Detector]); 8] = [
    ("secrets", &[Detector::ApiKey, Detector::Secret]),
    ("private_keys", &[Detector::PrivateKey]),
    ("ssn", &[Detector::Ssn]),
    ("cards", &[Detector::Card]),
    ("iban", &[Detector::Iban]),
    ("email", &[Detector::Email]),
    ("phone", &[Detector::Phone]),
    ("prompt_leak", &[Detector::PromptLeak]),
];

/// `guard` of the file.
pub struct RawGuard {
    /// What holds for all agents.
    pub part: RawPart,
    /// What canaries are derived from.
    pub secret: Option<Arc<Zeroizing<Vec<u8>>>>,
    /// The file of weights; `None` = those of the program.
    pub weights: Option<At<PathBuf>>,
    /// When a key is shut out.
    pub quarantine: Terms,
}

/// What the file and an agent may both say.
#[derive(Default)]
pub struct RawPart {
    input: Option<RawInput>,
    /// By `DETECTORS`.
    output: Option<[Option<detect::Action>; DETECTORS.len()]>,
    canary: Option<Canary>,
    on_failure: Option<OnFailure>,
}

#[derive(Clone, Copy, Default)]
struct RawInput {
    user: Option<Action>,
    tool: Option<Action>,
    document: Option<Action>,
    assistant: Option<Action>,
    on_suspicion: Option<bool>,
    seed_rules: Option<bool>,
}

/// Reads `guard`.
pub fn read(top: &Section<'_>) -> RawGuard {
    let section = top.section("guard", &keys::GUARD);
    RawGuard {
        part: part(&section),
        secret: secret(&section),
        quarantine: raw_quarantine::quarantine(&section.section("quarantine", &keys::QUARANTINE)),
        weights: section
            .text("weights")
            .map(|At { value, place }| At { value: PathBuf::from(value.text), place }),
    }
}

/// Reads `agents.<id>.guard`.
pub fn of_agent(agent: &Section<'_>) -> Option<RawPart> {
    agent.section_if_given("guard", &keys::AGENT_GUARD).map(|section| part(&section))
}

fn part(section: &Section<'_>) -> RawPart {
    RawPart {
        input: section
            .section_if_given("input", &keys::GUARD_INPUT)
            .map(|input| self::input(&input)),
        output: section.section_if_given("output", &keys::GUARD_OUTPUT).map(|it| output(&it)),
        canary: section.choice("canary", &Canary::ALL.map(|it| (it.name(), it)), &[]),
        on_failure: section.choice("on_failure", &OnFailure::ALL.map(|it| (it.name(), it)), &[]),
    }
}

fn input(section: &Section<'_>) -> RawInput {
    let words = [Action::Off, Action::Observe, Action::Sanitize, Action::Block];
    let words = words.map(|action| (action.name(), action));
    let action = |key| section.choice(key, &words, &[]);
    let flag = |key| section.flag(key).map(|flag| flag.value);
    RawInput {
        user: action("user"),
        tool: action("tool"),
        document: action("document"),
        assistant: action("assistant"),
        on_suspicion: flag("on_suspicion"),
        seed_rules: flag("seed_rules"),
    }
}

fn output(section: &Section<'_>) -> [Option<detect::Action>; DETECTORS.len()] {
    use detect::Action::{Block, Observe, Off, Redact};
    let words = [Off, Observe, Redact, Block].map(|action| (action.name(), action));
    DETECTORS.map(|(key, _)| section.choice(key, &words, &[]))
}

fn secret(section: &Section<'_>) -> Option<Arc<Zeroizing<Vec<u8>>>> {
    let given = section.text("canary_secret").filter(|text| !text.value.text.is_empty())?;
    if given.value.text.len() < SECRET_CHARS_MIN {
        let message = format!("is too short (at least {SECRET_CHARS_MIN} characters)");
        section.problem("canary_secret", message);
    }
    Some(Arc::new(Zeroizing::new(given.value.text.into_bytes())))
}

impl RawPart {
    /// What it comes to over `base`, and whether anything is left to do.
    fn over(&self, base: &Guards, model: Option<&Arc<Model>>) -> Guards {
        let input = match (&self.input, &base.input) {
            (None, base) => base.clone(),
            (Some(said), base) => {
                let before = base.as_ref().map_or(Actions::OBSERVE, |input| input.actions);
                let actions = said.over(before);
                let looks = [actions.user, actions.tool, actions.document, actions.assistant]
                    .iter()
                    .any(|action| *action > Action::Off);
                model.filter(|_| looks).map(|model| Input { model: Arc::clone(model), actions })
            }
        };
        let output = match &self.output {
            None => base.output.clone(),
            Some(said) => policy(*said, base.output.as_deref()),
        };
        Guards {
            input,
            output,
            canary: self.canary.unwrap_or(base.canary),
            on_failure: self.on_failure.unwrap_or(base.on_failure),
        }
    }
}

impl RawInput {
    fn over(self, base: Actions) -> Actions {
        Actions {
            user: self.user.unwrap_or(base.user),
            tool: self.tool.unwrap_or(base.tool),
            document: self.document.unwrap_or(base.document),
            assistant: self.assistant.unwrap_or(base.assistant),
            on_suspicion: self.on_suspicion.unwrap_or(base.on_suspicion),
            seed_rules: self.seed_rules.unwrap_or(base.seed_rules),
        }
    }
}

/// What observes everything but what holds words back and is found everywhere.
fn observing() -> Policy {
    let off = [(Detector::Email, detect::Action::Off), (Detector::Phone, detect::Action::Off)];
    Policy::all(detect::Action::Observe).with(&off)
}

fn policy(
    said: [Option<detect::Action>; DETECTORS.len()],
    base: Option<&Policy>,
) -> Option<Arc<Policy>> {
    let changes: Vec<(Detector, detect::Action)> = DETECTORS
        .iter()
        .zip(said)
        .filter_map(|((_, detectors), action)| Some((detectors, action?)))
        .flat_map(|(detectors, action)| detectors.iter().map(move |it| (*it, action)))
        .collect();
    let policy = base.cloned().unwrap_or_else(observing).with(&changes);
    ((policy.acting() | policy.watching()) != 0).then(|| Arc::new(policy))
}

/// Works out the guards of all agents.
pub fn build(
    raw: &RawGuard,
    agents: &[RawAgent],
    (outside, problems): (&Outside<'_>, &Problems),
) -> Guarding {
    let screens = raw.part.input.is_some()
        || agents.iter().filter_map(|agent| agent.guard.as_ref()).any(|it| it.input.is_some());
    let model = if screens || raw.weights.is_some() { model(raw, outside, problems) } else { None };
    let kept = |guards: Guards| {
        let any = guards.input.is_some() || guards.watches_answers();
        any.then(|| Arc::new(guards))
    };
    let all = raw.part.over(&Guards::default(), model.as_ref());
    let own = |agent: &RawAgent| match &agent.guard {
        Some(part) => kept(part.over(&all, model.as_ref())),
        None => kept(all.clone()),
    };
    let any_own = agents.iter().any(|agent| agent.guard.is_some());
    let agents = if any_own { agents.iter().map(own).collect() } else { Vec::new() };
    Guarding { all: kept(all.clone()), agents, secret: raw.secret.clone() }
}

fn model(raw: &RawGuard, outside: &Outside<'_>, problems: &Problems) -> Option<Arc<Model>> {
    let Some(At { value: path, place }) = &raw.weights else {
        return match weights::built_in() {
            Ok(model) => Some(Arc::new(model.clone())),
            Err(error) => {
                let place = crate::config::problem::Place::top().key("guard", 0);
                problems.add(&place, format!("the program's own weights are broken: {error}"));
                None
            }
        };
    };
    match file(path, outside) {
        Ok(model) => Some(Arc::new(model)),
        Err(message) => {
            problems.add(place, message);
            None
        }
    }
}

fn file(path: &Path, outside: &Outside<'_>) -> Result<Model, String> {
    let bytes = (outside.weights)(path).map_err(|error| format!("{}: {error}", path.display()))?;
    weights::read(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}
