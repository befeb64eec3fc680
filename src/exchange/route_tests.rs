//! Plans for whole requests: what tiers, levels and abilities leave of a strategy's choice, and what sessions make
//! of it.

use std::sync::Arc;

use super::asked::Asked;
use super::pinned::{self, Leash};
use super::purse::Purse;
use super::route::{self, Plan, Scene};
use super::staged;
use crate::base::id::RequestId;
use crate::base::money::NanoUsd;
use crate::base::surface::Surface;
use crate::config;
use crate::config::current::Current;
use crate::ledger::level::Level;
use crate::ledger::standing::Room;
use crate::pinning::cache::Trail;
use crate::pinning::pin::Pin;
use crate::record::{ChoiceRecord, End, Record, UsageSource};
use crate::routing::round_robin::Rotation;
use crate::upstream::breaker::Cooldowns;

const NOW_MS: u64 = 1_800_000_000_000;
const LIMIT: NanoUsd = NanoUsd(1_000_000_000);

/// Three models that can do everything, one for each tier, and `plain`, which takes no tools.
const MODELS: &str = "
providers:
  p: {dialect: openai, base_url: 'http://127.0.0.1:9/v1', api_key: k0123456789abcdef}
models:
  - {id: fast, provider: p, tier: fast, price: {input: 1, output: 1, cache_read: 0.1}}
  - {id: middle, provider: p, tier: reasoning, price: {input: 3, output: 3, cache_read: 0.3}}
  - {id: best, provider: p, tier: oracle, price: {input: 9, output: 9, cache_read: 0.9}}
  - {id: plain, provider: p, tier: oracle, tools: false, price: {input: 1, output: 1}}
";

struct Stage {
    current: Current,
    purse: Purse,
}

impl Stage {
    fn new(more: &str) -> Self {
        let snapshot = config::load(&format!("{MODELS}{more}"), "test", &|_| None).unwrap();
        let endpoints = snapshot.endpoints(&mut Cooldowns::default());
        let current = Current { snapshot, endpoints, controls: Arc::default() };
        let room = Some(Room { tightest: LIMIT, limit: LIMIT, remaining: LIMIT });
        let purse = Purse { room, ..staged::purse() };
        Self { current, purse }
    }

    fn asked(&self, text: &str, more: &str) -> Asked {
        let body = format!(
            r#"{{"model":"auto","messages":[{{"role":"user","content":"{text}"}}]{more}}}"#
        );
        let asked = staged::asked(&self.current.snapshot, Surface::Chat, &body);
        Asked { explain: true, ..asked }
    }

    fn plan(&self, asked: &Asked, session: Option<&Leash>) -> Plan {
        let (rotation, purse) = (Rotation::default(), Some(&self.purse));
        let current = &self.current;
        let scene = Scene { current, rotation: &rotation, now_ms: 0, purse, session };
        route::plan(&scene, asked).unwrap()
    }

    /// The ids of a plan, in order.
    fn order(&self, plan: &Plan) -> Vec<String> {
        let places = plan.candidates.iter().filter_map(route::Candidate::place);
        let id = |place| self.current.snapshot.catalog.get(place).unwrap().id.to_string();
        places.map(id).collect()
    }
}

const TOOLS: &str = r#","tools":[{"type":"function","function":{"name":"f"}}]"#;

#[test]
fn the_primary_model_stays_within_the_budgets_tier() {
    let mut stage = Stage::new(
        "routing: {strategy: passthrough, primary_model: best}\n\
         agents:\n  default:\n    budget: {limit_usd: 1}\n    tiers:\n\
         \x20     - {remaining_min: 0.5, models: [best, fast]}\n      - {remaining_min: 0, models: [fast]}\n",
    );
    let asked = stage.asked("hello", "");
    assert_eq!(stage.order(&stage.plan(&asked, None)), ["best", "fast"]);
    stage.purse.room = Some(Room { tightest: LIMIT, limit: LIMIT, remaining: NanoUsd(1) });
    assert_eq!(stage.order(&stage.plan(&asked, None)), ["fast"]);
}

#[test]
fn nobody_stands_behind_who_cannot_do_what_is_asked() {
    let chain = "routing: {strategy: rule_based, fallback_default: [plain]}\n";
    let stage = Stage::new(chain);
    let plain = stage.plan(&stage.asked("hello", ""), None);
    assert_eq!(stage.order(&plain), ["fast", "middle", "best", "plain"]);
    let tools = stage.plan(&stage.asked("hello", TOOLS), None);
    assert_eq!(stage.order(&tools).len(), 3);
    assert!(!stage.order(&tools).contains(&"plain".to_owned()));
}

#[test]
fn a_level_prefers_those_that_can_do_what_is_asked() {
    let fleet = "routing: {strategy: rule_based}\nfleet: {levels: {soft_usd: 1, hard_usd: 2}, cheapest: [plain], \
                 downgrade: {fast: plain, best: plain}}\n";
    let mut stage = Stage::new(fleet);
    stage.purse.level = Level::Soft;
    let plain = stage.plan(&stage.asked("hello", ""), None);
    assert_eq!(stage.order(&plain), ["plain", "middle"]);
    let tools = stage.asked("hello", TOOLS);
    assert_eq!(stage.order(&stage.plan(&tools, None)), ["middle"]);
    stage.purse.level = Level::Hard;
    assert_eq!(stage.order(&stage.plan(&tools, None)), ["plain"], "money goes first");
}

#[test]
fn who_may_not_use_a_model_is_not_told_of_it() {
    let stage =
        Stage::new("routing: {strategy: rule_based}\nagents: {default: {models: [fast]}}\n");
    let plan = stage.plan(&stage.asked("hello", ""), None);
    let line = plan.explain.as_deref().unwrap();
    assert!(line.contains("order=fast") && !line.contains("best"), "{line}");
}

/// A session that was at that model in the soft window with 50,000 tokens in its cache.
fn leash(model: &str, body_bytes: u64) -> Leash {
    let used_ms = NOW_MS - 310_000;
    let trail = Trail { used_ms, prefix_tokens: 50_000, hits_ppm: Some(1_000_000), is_long: false };
    let pin = Pin { model: model.into(), used_ms, turns: 2, trail, body_bytes, ..Pin::default() };
    Leash { key: 7, pin: Some(pin), habits: Arc::default(), hits: Arc::default(), now_ms: NOW_MS }
}

#[test]
fn a_warm_cache_keeps_a_session_from_its_own_tier_and_below_only() {
    let stage = Stage::new(
        "routing: {strategy: rule_based}\npinning: {cache_aware: false, soft_bonus_weight: 1}\n",
    );
    let first = |model: &str, text: &str| {
        let asked = stage.asked(text, "");
        let plan = stage.plan(&asked, Some(&leash(model, asked.wish.body_bytes)));
        let pin = plan.choice.as_ref().unwrap().session.as_ref().unwrap().state.name();
        (stage.order(&plan)[0].clone(), pin)
    };
    assert_eq!(first("middle", "hello"), ("middle".to_owned(), "soft"), "a weaker one is wanted");
    assert_eq!(first("fast", "prove this theorem"), ("best".to_owned(), "soft"));
    assert_eq!(first("middle", "prove this theorem"), ("best".to_owned(), "soft"));
}

#[test]
fn what_lies_in_a_models_cache_is_known_before_the_choice() {
    let stage = Stage::new("");
    let asked = stage.asked("hello", "");
    let leash = leash("fast", asked.wish.body_bytes);
    let next = leash.next(&asked).unwrap();
    let model = |at| stage.current.snapshot.catalog.get(at).unwrap();
    let warm = leash.warm_tokens(model(0), &next);
    assert!((40_000..50_000).contains(&warm), "{warm}: a little has gone since");
    assert_eq!(leash.warm_tokens(model(1), &next), 0);
    assert!(Leash { pin: None, ..leash }.next(&asked).is_none());
}

#[test]
fn a_pin_counts_the_bytes_that_were_planned_with() {
    let stage = Stage::new("routing: {strategy: rule_based}\n");
    let asked = stage.asked("hello", "");
    let mut plan = stage.plan(&asked, Some(&leash("fast", 400)));
    let session = plan.choice.as_mut().unwrap().session.take().unwrap();
    let mut record = answered("fast");
    let lesson = pinned::learn(&session, &mut record, (&stage.current.snapshot, NOW_MS)).unwrap();
    assert_eq!(lesson.pin.unwrap().body_bytes, asked.wish.body_bytes);
}

/// A request whose body was much longer before a mutator shortened it.
fn answered(model: &str) -> Record {
    Record {
        request_id: RequestId::from_bits(1),
        started_unix_ms: NOW_MS,
        duration_us: 1,
        first_byte_us: None,
        overhead_us: 1,
        surface: Some(Surface::Chat),
        agent: "default".into(),
        agent_alias: None,
        session: None,
        requested_model: "auto".into(),
        served_model: Some(model.into()),
        provider: Some("p".into()),
        decision: "rule_based",
        status: 200,
        fault: None,
        attempts: Vec::new(),
        switched: false,
        notice: false,
        streaming: false,
        end: End::Complete,
        bound: None,
        usage: None,
        usage_source: UsageSource::Exact,
        cost: NanoUsd::ZERO,
        table_cost: NanoUsd::ZERO,
        unpriced: false,
        audited: false,
        prompt_sha256: None,
        choice: Some(Box::new(ChoiceRecord::default())),
        saved_tokens: 1_000,
        saved_cost: NanoUsd::ZERO,
        mutators: "",
        guard: None,
        request_bytes: 1_000_000,
        response_bytes: 1,
    }
}
