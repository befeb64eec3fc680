//! What a session's earlier requests make of the next one: it stays with its model, another home is found, or
//! leaving is weighed against the warm cache (S2-12 to S2-16). And what an answer makes of the pin.
//!
//! Who is at hand, and what the strategy wants, `route` knows; where pins lie between requests, `engine`.

use std::sync::Arc;

use crate::base::money::{NanoUsd, PicoUsd};
use crate::config::catalog::{Choice as Meant, Model};
use crate::config::current::Current;
use crate::config::snapshot::Snapshot;
use crate::exchange::Exchange;
use crate::exchange::asked::Asked;
use crate::exchange::choose::Chosen;
use crate::exchange::session;
use crate::identity::agent::Mode;
use crate::pinning::cache::{CacheReport, Rule};
use crate::pinning::habits::{Habits, Hits};
use crate::pinning::pin::{Answer, Pin, SessionKey};
use crate::pinning::prospect::{Known, Next};
use crate::pinning::rehome::{self, Home};
use crate::pinning::window::{Fit, Sight, State, Verdict};
use crate::pinning::worth::{self, Margin, Side, Tariff};
use crate::record::{Outcome, Record, UsageSource};
use crate::usage::count::Usage;
use crate::usage::price::Price;

/// What is known of a request's session before it is planned.
#[derive(Clone, Debug)]
pub struct Leash {
    /// Which session it is.
    pub key: SessionKey,
    /// Where it is pinned.
    pub pin: Option<Pin>,
    /// How sessions of its agent go on.
    pub habits: Arc<Habits>,
    /// How often each model's cache hits.
    pub hits: Arc<Hits>,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl Leash {
    /// The request, as far as its session's caches go; `None` where it has no pin.
    pub fn next(&self, asked: &Asked) -> Option<Next> {
        let marks = memchr::memmem::find(&asked.body, b"cache_control");
        Some(Next {
            now_ms: self.now_ms,
            prompt_tokens: self.pin.as_ref()?.tokens_of(asked.wish.body_bytes),
            has_marks: marks.is_some(),
        })
    }

    /// That model as the next one of the session; `None` where it has no pin.
    fn side(&self, model: &Model, next: &Next) -> Option<Side> {
        let pin = self.pin.as_ref()?;
        let is_long = pin.trail_of(&model.id).is_long || pin.trail.is_long;
        let known = Known {
            id: &model.id,
            tariff: tariff(&model.price, next.prompt_tokens, is_long),
            rule: model.cache_rule.hitting(self.hits.of(&model.id)),
        };
        Some(pin.side(&known, (next, &self.habits.pauses)))
    }

    /// How many tokens of that request are expected to be read from the model's cache.
    pub fn warm_tokens(&self, model: &Model, next: &Next) -> u64 {
        let side = self.side(model, next);
        let side = side.filter(|side| next.prompt_tokens >= side.rule.tokens_min);
        side.map_or(0, |side| side.warm_tokens())
    }
}

/// How the pin took part in a plan; kept until the answer is there.
#[derive(Clone, Debug)]
pub struct Session {
    /// What was known before.
    pub leash: Leash,
    /// How the pin took part.
    pub state: State,
    /// The place of the model that the strategy wanted, where the session stayed against it.
    pub against: Option<usize>,
    /// Bytes of the body that was planned with: what a mutator has cut away counts neither before nor after.
    pub body_bytes: u64,
}

impl Session {
    /// The first half of its key: the name that the log shows.
    pub fn name(&self) -> u64 {
        u64::try_from(self.leash.key >> 64).unwrap_or_default()
    }
}

impl Exchange {
    /// How the session's pin took part, for whoever learns from the answer.
    pub fn take_session(&mut self) -> Option<Box<Session>> {
        self.plan.choice.as_mut()?.session.take()
    }
}

/// What an answer changes.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// The session.
    pub key: SessionKey,
    /// Its new pin; `None` = it has none any more.
    pub pin: Option<Pin>,
    /// How long it had paused.
    pub pause_ms: Option<u64>,
    /// The model, how much of an expected hit came true in millionths, and what was thought before.
    pub hit: Option<(Arc<str>, u32, u32)>,
}

/// Whether a request's session is looked at: a strategy that looks at requests chooses its model.
pub fn concerns(current: &Current, asked: &Asked, reads_requests: bool) -> bool {
    let snapshot = &current.snapshot;
    snapshot.pinning.enabled
        && reads_requests
        && asked.principal.agent.mode == Mode::Auto
        && matches!(snapshot.catalog.resolve(asked.model()), Meant::Auto)
}

/// What a plan is pinned with.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    /// The configuration.
    pub snapshot: &'a Snapshot,
    /// The request.
    pub asked: &'a Asked,
    /// The places of all models that may answer it.
    pub pool: &'a [usize],
    /// Whether a model rests with all its keys.
    pub rests: &'a dyn Fn(usize) -> bool,
    /// Whether the request holds images.
    pub images: bool,
    /// Whether it offers tools.
    pub tools: bool,
}

impl Bench<'_> {
    /// Puts the session's model in front of what was chosen where it stays, and says how that came.
    pub fn hold(&self, leash: Leash, chosen: &mut Chosen) -> Session {
        let (state, front) = match &leash.pin {
            None => (State::Fresh, None),
            Some(pin) => self.decide(pin, &leash, chosen),
        };
        let body_bytes = self.asked.wish.body_bytes;
        let order = &mut chosen.order;
        let wanted = order.first().copied();
        let Some(front) = front else { return Session { leash, state, against: None, body_bytes } };
        order.retain(|&index| index != front);
        order.insert(0, front);
        Session { leash, state, against: wanted.filter(|&wanted| wanted != front), body_bytes }
    }

    fn decide(&self, pin: &Pin, leash: &Leash, chosen: &mut Chosen) -> (State, Option<usize>) {
        // Without tools it cannot answer, which counts as if it were gone.
        let is_pinned = |model: &Model| *model.id == *pin.model && (model.tools || !self.tools);
        let mut places = self.pool.iter().copied();
        let here = places.find(|&index| self.model(index).is_some_and(is_pinned));
        let tokens = pin.tokens_of(self.asked.wish.body_bytes);
        let fit =
            here.and_then(|index| Some((index, self.model(index)?))).map(|(index, model)| Fit {
                vision: model.vision,
                context_tokens: model.context_tokens.filter(|_| !self.asked.wide_context),
                rests: (self.rests)(index),
            });
        let sight = Sight {
            now_ms: leash.now_ms,
            tokens,
            images: self.images,
            answers_tool: session::answers_tool(self.asked),
            pinned: fit,
        };
        match (self.snapshot.pinning.windows.judge(Some(pin), &sight), here) {
            (Verdict::Stay(state), here) => (state, here),
            (Verdict::Weigh, Some(here)) => (State::Soft, self.weigh(leash, here, chosen)),
            (Verdict::Outgrown, Some(here)) => match self.rehome(here, tokens) {
                Some(home) => (State::RehomedContext, Some(home)),
                None => (State::EvictedContext, None),
            },
            (Verdict::Ask(state), _) => (state, None),
            (Verdict::Weigh | Verdict::Outgrown, None) => (State::EvictedMissingModel, None),
        }
    }

    /// The pinned model, where leaving it for the strategy's does not pay. The cache has a say against models of
    /// its own tier and weaker ones: a saving is no answer to a request that wants a stronger model. It has it once:
    /// a strategy that knows the caches is heard as if none were warm, but where it alone decides.
    fn weigh(&self, leash: &Leash, here: usize, chosen: &mut Chosen) -> Option<usize> {
        let pinning = &self.snapshot.pinning;
        let wanted = chosen.cold.as_ref().map_or(&chosen.order, |cold| &cold.order);
        let there = *wanted.first()?;
        if pinning.bonus_ppm == 0 || self.model(there)?.tier > self.model(here)?.tier {
            return None;
        }
        if let Some(cold) = chosen.cold.take() {
            chosen.choice.record.model =
                self.model(there).map(|model| Arc::clone(&model.id)).unwrap_or_default();
            (chosen.order, chosen.choice.record.reason) = (cold.order, cold.reason);
        }
        if there == here {
            return None;
        }
        let pin = leash.pin.as_ref()?;
        let next = leash.next(self.asked)?;
        let side = |index: usize| leash.side(self.model(index)?, &next);
        let (at, other) = (side(here)?, side(there)?);
        let turn = pin.turns.saturating_add(1);
        let later = leash.habits.lengths.more_milli(turn, pinning.expected_turns);
        let outlook = pin.outlook(&next, later);
        let found = if pinning.cache_aware {
            let margin = Margin { of_cost_ppm: pinning.margin_ppm };
            worth::weigh(&at, &other, (&outlook, &margin))
        } else {
            worth::weigh_by_credit(&at, &other, (&outlook, pinning.bonus_ppm))
        };
        (!found.leaves).then_some(here)
    }

    fn rehome(&self, here: usize, tokens: u64) -> Option<usize> {
        let home = |index: usize| {
            let model = self.model(index)?;
            Some(Home {
                place: index,
                tier: model.tier as u8,
                context_tokens: model.context_tokens,
                input: model.price.base.input,
                vision: model.vision,
                tools: model.tools,
            })
        };
        let awake = self.pool.iter().copied().filter(|&index| !(self.rests)(index));
        let homes: Vec<Home> = awake.filter_map(home).collect();
        rehome::closest(&home(here)?, &homes, tokens)
    }

    fn model(&self, index: usize) -> Option<&Model> {
        self.snapshot.catalog.get(index)
    }
}

/// What a model's tokens cost in a request of that length, in a session whose cache is kept that long.
fn tariff(price: &Price, prompt_tokens: u64, is_long: bool) -> Tariff {
    let rates = price.rates(prompt_tokens);
    Tariff {
        input: rates.input,
        output: rates.output,
        read: rates.cache_read,
        write: if is_long { rates.cache_write_1h } else { rates.cache_write },
        request: price.request,
    }
}

/// What the answer of a pinned session's request changes; notes in the record how the pin took part, and what it
/// saved. `None` = nothing.
pub fn learn(
    session: &Session,
    record: &mut Record,
    (snapshot, now_ms): (&Snapshot, u64),
) -> Option<Lesson> {
    let old = session.leash.pin.as_ref();
    let has_failed = old.is_some_and(|pin| has_failed(&pin.model, record));
    let state =
        if has_failed && session.state.holds() { State::EvictedPostFailure } else { session.state };
    if let Some(choice) = &mut record.choice {
        choice.pin_state = state.name();
    }
    let answered = (200..300).contains(&record.status).then_some(record.served_model.as_ref());
    let served = answered.flatten().and_then(|id| {
        let model = snapshot.catalog.models().iter().find(|model| *model.id == **id);
        Some((Arc::clone(id), model?))
    });
    let key = session.leash.key;
    let Some((id, model)) = served else {
        return has_failed.then_some(Lesson { key, pin: None, pause_ms: None, hit: None });
    };
    let saved = saved(session, (state, model), (record, snapshot));
    if let Some(choice) = &mut record.choice {
        choice.pin_saved = saved;
    }
    let report = report(record);
    // A session that is too old begins anew, for what is learnt of its length as well.
    let soft_ms = snapshot.pinning.windows.soft_ms;
    let old = old.filter(|pin| !pin.is_older(session.leash.now_ms, soft_ms));
    let rule = model.cache_rule.hitting(session.leash.hits.of(&id));
    let before = old.map(|pin| pin.trail_of(&id));
    let hit = before.zip(report).and_then(|(trail, report)| {
        Some((Arc::clone(&id), trail.hit_ppm(&report, &rule, now_ms)?, rule.usual_ppm))
    });
    let answer = Answer {
        model: id,
        now_ms,
        report,
        output_tokens: record.usage.map_or(0, |usage| usage.output),
        body_bytes: session.body_bytes,
    };
    let pause_ms = old.map(|pin| session.leash.now_ms.saturating_sub(pin.used_ms));
    Some(Lesson { key, pin: Some(Pin::after(old, &answer, &rule)), pause_ms, hit })
}

/// Whether a model was asked in vain: also with another of its keys.
fn has_failed(model: &str, record: &Record) -> bool {
    let mut own = record.attempts.iter().filter(|attempt| *attempt.model == *model);
    own.next_back().is_some_and(|attempt| is_failure(attempt.outcome))
}

/// Whether a model that ended so is to be left.
const fn is_failure(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Answered | Outcome::ClientGone | Outcome::Blocked => false,
        Outcome::RetryStatus
        | Outcome::ErrorInside
        | Outcome::AuthFailed
        | Outcome::ConnectFailed
        | Outcome::TimedOut
        | Outcome::Broken => true,
    }
}

fn report(record: &Record) -> Option<CacheReport> {
    let usage = record.usage.filter(|_| record.usage_source == UsageSource::Exact)?;
    Some(CacheReport {
        prompt: usage.input_total(),
        read: usage.cache_read,
        written: usage.cache_write,
        written_long: usage.cache_write_1h,
    })
}

/// What staying saved: against the strategy's choice, which would have read nothing from a cache; where no
/// strategy was asked, against sending anew what was read.
fn saved(
    session: &Session,
    (state, model): (State, &Model),
    (record, snapshot): (&Record, &Snapshot),
) -> NanoUsd {
    let usage = record.usage.filter(|usage| state.holds() && usage.cache_read > 0);
    let Some(usage) = usage else { return NanoUsd::ZERO };
    let other = match (state, session.against) {
        (State::Hard, _) => model,
        (_, Some(against)) => snapshot.catalog.get(against).unwrap_or(model),
        (_, None) => return NanoUsd::ZERO,
    };
    let there = cold(&other.price, &other.cache_rule, &usage);
    NanoUsd(there.0.saturating_sub(model.price.cost(&usage).0).max(0))
}

/// What the same tokens cost where nothing of them lies in a cache.
fn cold(price: &Price, rule: &Rule, usage: &Usage) -> NanoUsd {
    let prompt = usage.input_total();
    let rates = price.rates(prompt);
    let writes = rule.bills_writes && prompt >= rule.tokens_min;
    let input = if writes { rates.cache_write } else { rates.input };
    let tokens = PicoUsd::default().plus(prompt, input).plus(usage.output, rates.output);
    tokens.round_up().saturating_add(price.request)
}
