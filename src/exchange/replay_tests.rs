//! Sessions of many turns under `learned` and pins together, turn by turn through the code that requests go through:
//! by staying wherever they began, by always asking the strategy, and by weighing what a warm cache is worth.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::base::surface::Surface;
use crate::config::snapshot::Snapshot;
use crate::exchange::asked::Asked;
use crate::exchange::choose::{Chosen, Desk};
use crate::exchange::pinned::{Bench, Leash};
use crate::exchange::staged;
use crate::learned::file::INPUTS;
use crate::learned::heads::Weights;
use crate::pinning::cache::CacheReport;
use crate::pinning::habits::{Habits, Hits};
use crate::pinning::pin::{Answer, Pin};
use crate::pinning::window::State;
use crate::routing::strategy::Strategy;

/// Tasks by their quality at each model, then at the tiers: with tools, and without.
const QUALITY: [[f32; 7]; 2] =
    [[0.80, 0.62, 0.60, 0.58, 0.5, 0.6, 0.7], [0.60, 0.66, 0.70, 0.58, 0.5, 0.6, 0.7]];
/// Seconds of a pause after which nothing is left in a cache here.
const CACHE_MS: u64 = 300_000;
/// Tokens below which nothing is cached.
const CACHED_MIN: u64 = 1_024;
/// Tokens that an answer has.
const OUTPUT: u64 = 300;

/// A router that tells requests with tools from those without.
fn router() -> Vec<u8> {
    let mut classifier = vec![0.0; (INPUTS + 1) * 2];
    let tools = (INPUTS - 2) * 2;
    (classifier[tools], classifier[tools + 1]) = (400.0, -400.0);
    (classifier[INPUTS * 2], classifier[INPUTS * 2 + 1]) = (-12.0, 12.0);
    staged::router(Weights {
        tasks: vec!["act".to_owned(), "talk".to_owned()],
        models: ["gpt-5.4", "kimi-k2.6", "minimax-m2.5", "deepseek-v4-flash"]
            .map(str::to_owned)
            .to_vec(),
        classifier,
        quality: QUALITY.concat(),
        ..Weights::default()
    })
}

/// All models in one tier but the last, which is weaker; `top` is the tier of the first.
fn snapshot(alpha: &str, top: &str) -> Snapshot {
    let text = format!(
        "providers:\n  p: {{dialect: openai, base_url: http://127.0.0.1:9}}\nmodels:\n\
         \x20 - {{id: gpt-5.4, provider: p, tier: {top}, price: {{input: 2.5, output: 15, cache_read: 0.25}}}}\n\
         \x20 - {{id: kimi-k2.6, provider: p, tier: reasoning, price: {{input: 0.6, output: 2.5, cache_read: 0.102}}}}\n\
         \x20 - {{id: minimax-m2.5, provider: p, tier: reasoning, price: {{input: 0.3, output: 1.2, cache_read: 0.03, cache_write: 0.375}}}}\n\
         \x20 - {{id: deepseek-v4-flash, provider: p, tier: fast, price: {{input: 0.14, output: 0.28, cache_read: 0.003}}}}\n\
         routing:\n  strategy: learned\n  learned: {{file: it.router, alpha: {alpha}}}\n\
         pinning: {{hard_window_s: 0, cache_ttl_s: 300}}\n"
    );
    staged::learned(&text, &Ok(router())).unwrap()
}

/// One turn: when, how much has been said, and whether tools are offered.
#[derive(Clone, Copy, Debug)]
struct Turn {
    at_ms: u64,
    words: usize,
    tools: bool,
}

/// A die that falls the same in every run.
struct Die(u64);

impl Die {
    fn roll(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Sessions of one agent: all of a length, with tools in so many of a hundred stretches.
fn sessions(seed: u64) -> Vec<Vec<Turn>> {
    let mut die = Die(seed);
    let length = 3 + usize::try_from(die.roll(10)).unwrap();
    let changes = 10 + die.roll(50);
    let mut session = || {
        let mut turn = Turn {
            at_ms: 1_000_000_000,
            words: 900 + usize::try_from(die.roll(1_200)).unwrap(),
            tools: die.roll(2) == 0,
        };
        let mut turns = Vec::new();
        for _ in 0..length {
            turns.push(turn);
            turn.at_ms += if die.roll(12) == 0 { 400_000 } else { 5_000 + die.roll(60_000) };
            turn.words += 60 + usize::try_from(die.roll(200)).unwrap();
            turn.tools ^= die.roll(100) < changes;
        }
        turns
    };
    (0..8).map(|_| session()).collect()
}

fn request(snapshot: &Snapshot, turn: &Turn) -> Asked {
    let mut body = String::from("{\"messages\":[{\"role\":\"user\",\"content\":\"");
    (0..turn.words).for_each(|_| body.push_str("water "));
    body.push_str("\"}]");
    if turn.tools {
        let _ = write!(body, ",\"tools\":[{{}}]");
    }
    body.push('}');
    staged::asked(snapshot, Surface::Chat, &body)
}

/// How a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    /// With its first model.
    Pinned,
    /// With whatever the strategy wants, which knows of no cache.
    Never,
    /// As the gateway does it.
    Weighed,
}

/// What the providers' caches hold of one session, and what it has cost in nano-dollars.
#[derive(Default)]
struct World {
    caches: [Option<(u64, u64)>; 4],
    cost: i64,
}

impl World {
    fn answer(
        &mut self,
        place: usize,
        (snapshot, turn, tokens): (&Snapshot, &Turn, u64),
    ) -> CacheReport {
        let model = snapshot.catalog.get(place).unwrap();
        let warm = self.caches[place].filter(|(used_ms, _)| turn.at_ms - used_ms <= CACHE_MS);
        let read = warm.map_or(0, |(_, prefix)| prefix.min(tokens));
        self.caches[place] = (tokens >= CACHED_MIN).then_some((turn.at_ms, tokens));
        let written = if model.cache_rule.bills_writes { tokens - read } else { 0 };
        let usage = crate::usage::count::Usage {
            input: tokens - read - written,
            cache_read: read,
            cache_write: written,
            output: OUTPUT,
            ..Default::default()
        };
        self.cost += model.price.cost(&usage).0;
        CacheReport { prompt: tokens, read, written, written_long: 0 }
    }
}

/// What was learnt of the agent.
#[derive(Clone, Default)]
struct Known {
    habits: Habits,
    hits: Hits,
}

fn leash(known: &Known, pin: Option<Pin>, now_ms: u64) -> Leash {
    let (habits, hits) = (Arc::new(known.habits.clone()), Arc::new(known.hits.clone()));
    Leash { key: 1, pin, habits, hits, now_ms }
}

/// The decision of one turn, and how the pin took part.
fn decide(snapshot: &Snapshot, asked: &Asked, leash: Option<&Leash>) -> (Chosen, Option<State>) {
    let pool = [0, 1, 2, 3];
    let desk = Desk { snapshot, asked, session: leash };
    let mut chosen = desk.by_request(Strategy::Learned, &pool);
    let bench =
        Bench { snapshot, asked, pool: &pool, rests: &|_| false, images: false, tools: false };
    let state = leash.map(|leash| bench.hold(leash.clone(), &mut chosen).state);
    (chosen, state)
}

fn replay(snapshot: &Snapshot, turns: &[Turn], (policy, known): (Policy, &mut Known)) -> i64 {
    let (mut world, mut pin, mut first) = (World::default(), None::<Pin>, None);
    for turn in turns {
        let asked = request(snapshot, turn);
        let held = leash(known, pin.clone(), turn.at_ms);
        let seen = (policy == Policy::Weighed).then_some(&held);
        let wanted = decide(snapshot, &asked, seen).0.order[0];
        let place = if policy == Policy::Pinned { *first.get_or_insert(wanted) } else { wanted };
        let tokens = asked.wish.body_bytes / 4;
        let report = world.answer(place, (snapshot, turn, tokens));
        let model = snapshot.catalog.get(place).unwrap();
        known.habits.lengths.saw(pin.as_ref().map_or(1, |pin| pin.turns + 1));
        let answer = Answer {
            model: Arc::clone(&model.id),
            now_ms: turn.at_ms,
            report: Some(report),
            output_tokens: OUTPUT,
            body_bytes: asked.wish.body_bytes,
        };
        pin = Some(Pin::after(pin.as_ref(), &answer, &model.cache_rule));
    }
    world.cost
}

/// What all sessions of a seed cost: pinned, never pinned, and weighed after others like them were seen.
fn workload(snapshot: &Snapshot, seed: u64) -> [i64; 3] {
    let sessions = sessions(seed);
    let mut known = Known::default();
    let mut all = |policy| {
        let costs = sessions.iter().map(|turns| replay(snapshot, turns, (policy, &mut known)));
        costs.sum::<i64>()
    };
    all(Policy::Weighed);
    [Policy::Pinned, Policy::Never, Policy::Weighed].map(all)
}

#[test]
fn learned_and_pinned_cost_at_most_what_either_plain_policy_costs() {
    let mut sums = [0; 3];
    for alpha in ["0.05", "0.3"] {
        let snapshot = snapshot(alpha, "reasoning");
        for seed in 0..4 {
            let costs = workload(&snapshot, seed);
            let [pinned, never, weighed] = costs;
            let least = pinned.min(never);
            assert!(weighed * 100 <= least * 101, "{alpha}, {seed}: {weighed} instead of {least}");
            sums.iter_mut().zip(costs).for_each(|(sum, cost)| *sum += cost);
        }
    }
    let [pinned, never, weighed] = sums;
    assert!(weighed < pinned.min(never), "{pinned} {never} {weighed}");
}

/// A session that has just been answered by a model, and now wants another.
fn after(snapshot: &Snapshot, place: usize, words: usize) -> (Pin, Turn) {
    let turn = Turn { at_ms: 1_000_000_000, words, tools: false };
    let asked = request(snapshot, &turn);
    let model = snapshot.catalog.get(place).unwrap();
    let prompt = asked.wish.body_bytes / 4;
    let answer = Answer {
        model: Arc::clone(&model.id),
        now_ms: turn.at_ms,
        report: Some(CacheReport { prompt, ..CacheReport::default() }),
        output_tokens: OUTPUT,
        body_bytes: asked.wish.body_bytes,
    };
    let next = Turn { at_ms: turn.at_ms + 10_000, words: words + 100, tools: true };
    (Pin::after(None, &answer, &model.cache_rule), next)
}

#[test]
fn the_cache_has_its_say_once() {
    let snapshot = snapshot("0.215", "reasoning");
    let (pin, next) = after(&snapshot, 2, 4_000);
    let asked = request(&snapshot, &next);
    let held = leash(&Known::default(), Some(pin), next.at_ms);
    let cold = Desk { snapshot: &snapshot, asked: &asked, session: None };
    let cold = cold.by_request(Strategy::Learned, &[0, 1, 2, 3]);
    let warm = Desk { snapshot: &snapshot, asked: &asked, session: Some(&held) };
    let warm = warm.by_request(Strategy::Learned, &[0, 1, 2, 3]);
    assert_ne!(warm.order[0], cold.order[0], "the strategy alone would stay for the cache");
    let (chosen, state) = decide(&snapshot, &asked, Some(&held));
    assert_eq!(state, Some(State::Soft));
    assert_eq!(
        (&chosen.choice.record.model, &chosen.choice.record.reason),
        (&cold.choice.record.model, &cold.choice.record.reason),
        "the strategy is heard as if no cache were warm"
    );
    assert_eq!(chosen.order.len(), 4);
    assert!(chosen.cold.is_none());
}

#[test]
fn a_stronger_model_is_weighed_by_the_strategy_alone() {
    // Without a cache the oracle is worth its price; against a warm one it is not.
    let mut seen = [false; 2];
    for alpha in ["0.1", "0.215"] {
        let snapshot = snapshot(alpha, "oracle");
        let (pin, next) = after(&snapshot, 2, 4_000);
        let asked = request(&snapshot, &next);
        let held = leash(&Known::default(), Some(pin), next.at_ms);
        let desk = Desk { snapshot: &snapshot, asked: &asked, session: Some(&held) };
        let warm = desk.by_request(Strategy::Learned, &[0, 1, 2, 3]).order;
        let cold =
            Desk { session: None, ..desk }.by_request(Strategy::Learned, &[0, 1, 2, 3]).order;
        if cold[0] == 0 {
            seen[usize::from(warm[0] == 0)] = true;
            assert_eq!(decide(&snapshot, &asked, Some(&held)).0.order, warm, "{alpha}");
        }
    }
    assert_eq!(seen, [true, true], "wanted against a warm cache, and not");
}
