//! The sections `guard` and `agents.<id>.guard`: what is screened, what is searched for in answers, and what
//! follows. Requests are observed unless `input` says otherwise; another part that is not given is off, and one that is
//! given observes, unless it says more.
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
        input: input(section),
        output: section.section_if_given("output", &keys::GUARD_OUTPUT).map(|it| output(&it)),
        canary: section.choice("canary", &Canary::ALL.map(|it| (it.name(), it)), &[]),
        on_failure: section.choice("on_failure", &OnFailure::ALL.map(|it| (it.name(), it)), &[]),
    }
}

/// One word for all texts, or what is done by whom they come from.
fn input(part: &Section<'_>) -> Option<RawInput> {
    let words = [Action::Off, Action::Observe, Action::Sanitize, Action::Block];
    let words = words.map(|action| (action.name(), action));
    if part.is_text("input") {
        let all = part.choice("input", &words, &[]);
        return all.map(|_| RawInput {
            user: all,
            tool: all,
            document: all,
            assistant: all,
            ..RawInput::default()
        });
    }
    let section = part.section_if_given("input", &keys::GUARD_INPUT)?;
    let action = |key| section.choice(key, &words, &[]);
    let flag = |key| section.flag(key).map(|flag| flag.value);
    Some(RawInput {
        user: action("user"),
        tool: action("tool"),
        document: action("document"),
        assistant: action("assistant"),
        on_suspicion: flag("on_suspicion"),
        seed_rules: flag("seed_rules"),
    })
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

/// What an agent's words are said over: the guards, and what they come to of parts that are off.
#[derive(Clone)]
struct Said {
    guards: Guards,
    actions: Actions,
    /// Nothing = nobody has said a word about answers.
    policy: Option<Policy>,
}

impl RawPart {
    /// What it comes to over `base`.
    fn over(&self, base: &Said, model: Option<&Arc<Model>>) -> Said {
        let Said { guards, actions, policy } = base;
        let (actions, input) = match self.input {
            None => (*actions, guards.input.clone()),
            Some(said) => {
                let actions = said.over(*actions);
                (actions, screening(actions, model))
            }
        };
        let (policy, output) = match self.output {
            None => (policy.clone(), guards.output.clone()),
            Some(said) => {
                let policy = policed(said, policy.as_ref());
                let looks = (policy.acting() | policy.watching()) != 0;
                let output = looks.then(|| Arc::new(policy.clone()));
                (Some(policy), output)
            }
        };
        let canary = self.canary.unwrap_or(guards.canary);
        let on_failure = self.on_failure.unwrap_or(guards.on_failure);
        Said { guards: Guards { input, output, canary, on_failure }, actions, policy }
    }
}

/// Screening that does so; nothing where all of it is off.
fn screening(actions: Actions, model: Option<&Arc<Model>>) -> Option<Input> {
    let model = model.filter(|_| actions.most() > Action::Off)?;
    Some(Input { model: Arc::clone(model), actions })
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

fn policed(said: [Option<detect::Action>; DETECTORS.len()], base: Option<&Policy>) -> Policy {
    let changes: Vec<(Detector, detect::Action)> = DETECTORS
        .iter()
        .zip(said)
        .filter_map(|((_, detectors), action)| Some((detectors, action?)))
        .flat_map(|(detectors, action)| detectors.iter().map(move |it| (*it, action)))
        .collect();
    base.cloned().unwrap_or_else(observing).with(&changes)
}

/// Works out the guards of all agents.
pub fn build(
    raw: &RawGuard,
    agents: &[RawAgent],
    (outside, problems): (&Outside<'_>, &Problems),
) -> Guarding {
    let model = model(raw, outside, problems);
    let input = screening(Actions::OBSERVE, model.as_ref());
    let guards = Guards { input, ..Guards::default() };
    let start = Said { guards, actions: Actions::OBSERVE, policy: None };
    let all = raw.part.over(&start, model.as_ref());
    let kept = |own: &RawPart| {
        let mut guards = own.over(&all, model.as_ref()).guards;
        let is_said = own.on_failure.is_some() || raw.part.on_failure.is_some();
        if !is_said && !guards.acts() {
            // Who only looks on cannot protect anybody by standing in the way.
            guards.on_failure = OnFailure::Pass;
        }
        let any = guards.input.is_some() || guards.watches_answers();
        any.then(|| Arc::new(guards))
    };
    let usual = kept(&RawPart::default());
    let own = |agent: &RawAgent| match &agent.guard {
        Some(part) => kept(part),
        None => usual.clone(),
    };
    let any_own = agents.iter().any(|agent| agent.guard.is_some());
    let agents = if any_own { agents.iter().map(own).collect() } else { Vec::new() };
    let is_input_given = raw.part.input.is_some();
    Guarding { agents, all: usual, secret: raw.secret.clone(), is_input_given }
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
