//! From a strategy to an order of models: what the request is about, the tier that is wanted, the models that can
//! do it, and the reason for all that.
//!
//! Which models are at hand, and what health, money and sessions make of the order, is `route`'s business; what
//! follows a failure is `escalation`'s.

use std::sync::{Arc, LazyLock};

use crate::config::catalog::{Model, Tier};
use crate::config::snapshot::Snapshot;
use crate::exchange::asked::Asked;
use crate::exchange::pinned::{Leash, Session};
use crate::record::ChoiceRecord;
use crate::routing::decision::{self, Aim, Decision, Failure, Tried};
use crate::routing::features::{self, Features, Reading};
use crate::routing::rules;
use crate::routing::strategy::Strategy;
use crate::wire::slot::Slot;
use crate::wire::syntax::Span;

/// Bytes of a tool's description in one token.
const TOOL_BYTES_PER_TOKEN: u64 = 4;
/// A strategy that does not look at the request is sure of itself.
const CERTAIN_PPM: u32 = 1_000_000;

static ITS_TURN: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("its turn"));
static PRIMARY: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("the primary model"));
static UNREAD: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));

/// How a strategy chose.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What is told about it.
    pub record: ChoiceRecord,
    /// Whether the model should think first, if it can (S2-10).
    pub thinks: bool,
    /// What decides who follows a failure; `None` for strategies that do not look at requests.
    pub ladder: Option<Ladder>,
    /// How the session's pin took part, where sessions are pinned.
    pub session: Option<Box<Session>>,
}

/// What decides who follows a failure.
#[derive(Clone, Copy, Debug)]
pub struct Ladder {
    /// What the request is about.
    pub features: Features,
    /// Most models that follow the first one.
    pub max_escalations: u32,
}

impl Ladder {
    /// The tiers to ask in after a failure of a model of tier `at`, and whether the next model should think. The
    /// second of the nine rules sees what was tried.
    pub fn after(&self, at: Tier, failure: Failure) -> ([Aim; 3], bool) {
        let mut aims = decision::after(aim_of(at), failure);
        if at != Tier::Oracle || failure != Failure::RateLimit {
            return (aims, false);
        }
        let tried = Tried { all: false, oracle_rate_limited: true };
        let wanted = rules::decide(&self.features, tried);
        aims.sort_by_key(|aim| *aim != wanted.aim);
        (aims, wanted.thinks)
    }
}

/// An order of models, by their places, and how it came about.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Who is asked, in order.
    pub order: Vec<usize>,
    /// Why.
    pub choice: Choice,
    /// What it would be if no cache were warm, where warm ones have had a say in the order.
    pub cold: Option<Cold>,
}

/// A decision without regard to prompt caches: where the session's pin weighs them, they must not count twice.
#[derive(Clone, Debug)]
pub struct Cold {
    /// Who would be asked, in order.
    pub order: Vec<usize>,
    /// Why.
    pub reason: Arc<str>,
}

/// What a strategy works with.
#[derive(Clone, Copy, Debug)]
pub struct Desk<'a> {
    /// The configuration.
    pub snapshot: &'a Snapshot,
    /// The request.
    pub asked: &'a Asked,
    /// What is known of its session, where sessions are pinned.
    pub session: Option<&'a Leash>,
}

impl Desk<'_> {
    /// The order in which a strategy that does not look at requests wants them, as `order` says.
    pub fn unread(&self, strategy: Strategy, order: Vec<usize>) -> Chosen {
        let reason = match strategy {
            Strategy::RoundRobin => &*ITS_TURN,
            _ => &*PRIMARY,
        };
        let record = ChoiceRecord {
            strategy: strategy.name(),
            task_type: Arc::clone(&UNREAD),
            model: self.id_of(order.first()),
            reason: Arc::clone(reason),
            confidence_ppm: CERTAIN_PPM,
            ..ChoiceRecord::default()
        };
        let choice = Choice { record, thinks: false, ladder: None, session: None };
        Chosen { order, choice, cold: None }
    }

    /// The order in which a strategy that looks at the request wants the models of `pool`.
    pub fn by_request(&self, strategy: Strategy, pool: &[usize]) -> Chosen {
        let reading = self.read();
        // Of an image alone, or of nothing, nothing can be predicted.
        if strategy == Strategy::Learned
            && !reading.text.trim_ascii().is_empty()
            && let Some(chosen) = self.learned(pool, &reading)
        {
            return chosen;
        }
        let features = reading.features;
        let (decision, note) = self.decide(strategy, &features);
        let able = self.able(pool, &features);
        let order = self.by_tier(&able, decision.aim);
        let reached = order.first().and_then(|&index| self.model(index)).map(|model| model.tier);
        let choice = Choice {
            record: ChoiceRecord {
                model: self.id_of(order.first()),
                reason: Arc::from(reason(&decision, reached, note)),
                confidence_ppm: decision.confidence_ppm,
                ..told(strategy, &features)
            },
            thinks: decision.thinks,
            ladder: Some(self.ladder(features)),
            session: None,
        };
        Chosen { order, choice, cold: None }
    }

    pub(super) fn ladder(&self, features: Features) -> Ladder {
        Ladder { features, max_escalations: self.snapshot.routing.max_escalations }
    }

    /// Reads what the request is about.
    fn read(&self) -> Reading {
        features::read(&self.asked.body, self.asked.texts(), self.tool_bytes() > 2)
    }

    /// What is wanted, and what has to be told about who decided.
    fn decide(&self, strategy: Strategy, features: &Features) -> (Decision, &'static str) {
        let by_rules = || rules::decide(features, Tried::default());
        match (strategy, &self.snapshot.routing.tree) {
            (Strategy::DecisionTree, Some(tree)) => (tree.decide(features), ""),
            (Strategy::DecisionTree, None) => (by_rules(), "; no tree is configured"),
            (Strategy::Learned, _) if self.snapshot.routing.learned.is_some() => {
                (by_rules(), "; there is no text to read")
            }
            (Strategy::Learned, _) => (by_rules(), "; no model file is loaded"),
            _ => (by_rules(), ""),
        }
    }

    /// Those that can do it. If nobody can, all of them: what a model lacks is known from the configuration only.
    pub(super) fn able(&self, pool: &[usize], features: &Features) -> Vec<usize> {
        self.fit(pool.to_vec(), Some(features), true)
    }

    /// Those that can do what is asked, where that is known; if nobody can, all of them or none.
    pub fn fit(&self, pool: Vec<usize>, asked: Option<&Features>, else_all: bool) -> Vec<usize> {
        let Some(features) = asked else { return pool };
        let can = |index: &usize| self.lacks(*index, features).is_none();
        let able: Vec<usize> = pool.iter().copied().filter(can).collect();
        if able.is_empty() && else_all { pool } else { able }
    }

    /// What the model at that place lacks for such a request.
    pub fn lacks(&self, index: usize, features: &Features) -> Option<&'static str> {
        let model = self.model(index)?;
        if features.has_tools && !model.tools {
            return Some("tools");
        }
        if features.has_images && !model.vision {
            return Some("vision");
        }
        let room = model.context_tokens.filter(|_| !self.asked.wide_context)?;
        (self.tokens_needed(features) > room).then_some("context")
    }

    /// Tokens of input and output together, as far as they can be known.
    fn tokens_needed(&self, features: &Features) -> u64 {
        let cap = self.asked.envelope.as_ref().and_then(|envelope| envelope.meant_output_cap());
        self.input_tokens(features).saturating_add(cap.unwrap_or(0))
    }

    /// Tokens of the input: texts and tools.
    pub fn input_tokens(&self, features: &Features) -> u64 {
        features.token_count.saturating_add(self.tool_bytes() / TOOL_BYTES_PER_TOKEN)
    }

    /// Bytes of the tools on offer; an empty list has two.
    fn tool_bytes(&self) -> u64 {
        self.tools().map_or(0, |tools| tools.len() as u64)
    }

    /// Where the list of tools lies, if there is one.
    pub(super) fn tools(&self) -> Option<Span> {
        let member = self.asked.envelope.as_ref()?.slot(Slot::Tools)?;
        Some(member.value).filter(|value| value.of(&self.asked.body).starts_with(b"["))
    }

    /// The models of the wanted tier, then those of stronger ones, then weaker ones; in a tier as in the file.
    fn by_tier(&self, models: &[usize], aim: Aim) -> Vec<usize> {
        let aims = match aim {
            Aim::Fast => [Aim::Fast, Aim::Reasoning, Aim::Oracle],
            Aim::Reasoning => [Aim::Reasoning, Aim::Oracle, Aim::Fast],
            Aim::Oracle => [Aim::Oracle, Aim::Reasoning, Aim::Fast],
        };
        let mut order = models.to_vec();
        let rank = |index: &usize| {
            let tier = self.model(*index).map(|model| aim_of(model.tier));
            aims.iter().position(|aim| Some(*aim) == tier)
        };
        order.sort_by_key(rank);
        order
    }

    pub(super) fn model(&self, index: usize) -> Option<&Model> {
        self.snapshot.catalog.get(index)
    }

    pub(super) fn id_of(&self, index: Option<&usize>) -> Arc<str> {
        let model = index.and_then(|index| self.model(*index));
        model.map_or_else(|| Arc::clone(&UNREAD), |model| Arc::clone(&model.id))
    }
}

/// What is told about any choice by what was asked.
pub(super) fn told(strategy: Strategy, features: &Features) -> ChoiceRecord {
    ChoiceRecord {
        task_type: Arc::from(features.task.name()),
        difficulty: features.difficulty.name(),
        token_count: features.token_count,
        has_tools: features.has_tools,
        has_images: features.has_images,
        language: features.language.name(),
        strategy: strategy.name(),
        ..ChoiceRecord::default()
    }
}

fn reason(decision: &Decision, reached: Option<Tier>, note: &str) -> String {
    let Decision { rule, aim, .. } = decision;
    let wanted = aim.name();
    match reached {
        Some(tier) if aim_of(tier) != *aim => {
            format!("{rule} -> {wanted}, of which there is none: {}{note}", tier.name())
        }
        _ => format!("{rule} -> {wanted}{note}"),
    }
}

/// The tier of a model in the words of strategies.
pub const fn aim_of(tier: Tier) -> Aim {
    match tier {
        Tier::Fast => Aim::Fast,
        Tier::Reasoning => Aim::Reasoning,
        Tier::Oracle => Aim::Oracle,
    }
}
