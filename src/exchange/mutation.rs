//! What mutators change of an exchange's request: tool results once, before the plan is made, and for each
//! attempt whether its model is told to think. Also what that has saved, and by how much it may grow a request.
//!
//! Which bytes change is decided by `mutate`; how they are put in, by `asked` and `rewrite`.

use crate::base::money::NanoUsd;
use crate::base::surface::Surface;
use crate::config::catalog::{Model, ThinkingParam};
use crate::config::current::Current;
use crate::exchange::asked::Asked;
use crate::mutate::compress::Settings;
use crate::mutate::covered;
use crate::mutate::thinking::{self, Way};
use crate::mutate::tool_results;
use crate::record::Record;
use crate::usage::count::Usage;
use crate::usage::price::Price;
use crate::wire::splice::Edit;
use crate::wire::weigh::Weight;

/// Bytes of text that become one token: below what is measured for code and logs, so that savings are shown
/// too low rather than too high.
const BYTES_PER_TOKEN: u64 = 4;
/// Both mutators, as a record names them.
const BOTH: &str = "tool_results,thinking";

/// How the tool results of a request are to be shortened; `None` if they are not.
pub fn tool_results(current: &Current, asked: &Asked) -> Option<Settings> {
    let config = &current.snapshot.mutators.tool_results;
    let is_on = current.shortens_tool_results();
    let has_results =
        matches!(asked.surface, Surface::Chat | Surface::Messages | Surface::Responses);
    if !is_on || !has_results || asked.envelope.is_none() {
        return None;
    }
    let spared = !config.with_cache_markers && covered::has_cache_markers(&asked.body);
    (!spared).then_some(config.settings)
}

/// Tokens that so many bytes of text would have been.
pub const fn tokens(saved_bytes: u64) -> u64 {
    saved_bytes / BYTES_PER_TOKEN
}

/// Whether models may be told to think where a strategy asks for it. Decided once, before anything is held for
/// the attempt, so that what is held covers what is sent.
pub fn may_think(current: &Current) -> bool {
    current.controls.thinking().unwrap_or(current.snapshot.mutators.thinking)
}

/// Whether what is sent to that model on that surface tells it to think.
pub fn way(surface: Surface, model: &Model, output_cap: Option<u64>) -> Option<Way> {
    if !model.thinking {
        return None;
    }
    match (surface, model.thinking_param) {
        (Surface::Chat | Surface::Messages | Surface::Responses, ThinkingParam::Prompt) => {
            Some(Way::Prompt)
        }
        (Surface::Chat, _) => Some(Way::Chat { output_cap }),
        (Surface::Responses, _) => Some(Way::Responses { output_cap }),
        (Surface::Messages, ThinkingParam::Adaptive) => Some(Way::Adaptive),
        (Surface::Messages, _) => Some(Way::Budget { output_cap }),
        _ => None,
    }
}

/// The edits that tell that model to think, within the cap that was granted.
pub fn think(asked: &Asked, model: &Model, granted_cap: Option<u64>) -> Vec<Edit> {
    let Some(envelope) = asked.envelope.as_deref() else { return Vec::new() };
    let cap = granted_cap.or_else(|| envelope.meant_output_cap());
    let Some(way) = way(asked.surface, model, cap) else { return Vec::new() };
    thinking::edits(&asked.body, envelope.open_brace(), way, || asked.texts().clone())
}

/// What a body weighs at most once its model has been told to think.
pub fn grown(weight: &Weight) -> Weight {
    let text_bytes = weight.text_bytes.saturating_add(thinking::TEXT_BYTES_MAX);
    Weight { text_bytes, ..weight.clone() }
}

/// Puts into the record what its mutators did, once it is known what was consumed at which price: the tokens
/// saved cost what the tokens of this request's input cost on average, those from the cache included.
pub fn complete(record: &mut Record, thinks: bool, price: Option<&Price>) {
    let Some(usage) = record.usage else {
        // Nothing was consumed, so nothing was saved.
        (record.saved_tokens, record.mutators) = (0, "");
        return;
    };
    if let Some(price) = price {
        record.saved_cost = saved(&usage, price, record.saved_tokens);
    }
    record.mutators = match (record.mutators, thinks) {
        (names, false) => names,
        (tool_results::NAME, true) => BOTH,
        (_, true) => thinking::NAME,
    };
}

/// What so many more tokens of input would have cost.
fn saved(usage: &Usage, price: &Price, tokens: u64) -> NanoUsd {
    let input = Usage { output: 0, reasoning: 0, provider_cost: None, ..*usage };
    let total = i128::from(input.input_total());
    let cost = price.exact(&input).0.saturating_mul(i128::from(tokens));
    let nano = cost.checked_div(total.saturating_mul(1_000)).unwrap_or(0);
    NanoUsd(i64::try_from(nano).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::RequestId;
    use crate::base::money::PicoUsdPerToken;
    use crate::config;
    use crate::exchange::route::{self, Scene};
    use crate::exchange::staged;
    use crate::exchange::{Exchange, Now};
    use crate::ledger::entry::HoldId;
    use crate::ledger::hold::{Grant, HoldOrder};
    use crate::routing::round_robin::Rotation;
    use crate::upstream::breaker::Cooldowns;
    use crate::usage::price::Rates;
    use serde_json::Value;
    use std::sync::Arc;

    const CONFIG: &str = "
providers:
  chat: {dialect: openai, base_url: 'http://127.0.0.1:9/v1', api_key: k0123456789abcdef}
  claude: {dialect: anthropic, base_url: 'http://127.0.0.1:9', api_key: k0123456789abcdef}
models:
  - {id: prompted, provider: chat, thinking: true, thinking_param: prompt, price: {input: 1, output: 2}}
  - {id: claude, provider: claude, thinking: true, price: {input: 1, output: 2}}
";

    /// What is held for a request, and what is sent within `output_cap`.
    fn asked_for(body: &str, think: bool, output_cap: u64) -> (HoldOrder, Value) {
        asked_of(&configured(""), body, think, output_cap)
    }

    fn configured(mutators: &str) -> Arc<Current> {
        let text = format!("{CONFIG}{mutators}");
        let snapshot = config::load(&text, "test", &|_| None).unwrap();
        let endpoints = snapshot.endpoints(&mut Cooldowns::default());
        Arc::new(Current { snapshot, endpoints, controls: Arc::default() })
    }

    fn asked_of(
        current: &Arc<Current>,
        body: &str,
        think: bool,
        output_cap: u64,
    ) -> (HoldOrder, Value) {
        let mut asked = staged::asked(&current.snapshot, Surface::Chat, body);
        if asked.model() == Some("claude") {
            asked.surface = Surface::Messages;
        }
        let rotation = Rotation::default();
        let scene = Scene { current, rotation: &rotation, now_ms: 0, purse: None, session: None };
        let mut plan = route::plan(&scene, &asked).unwrap();
        plan.think = think;
        let mut exchange = Exchange::new(RequestId::from_bits(7), Arc::clone(current), asked, plan)
            .paid_by(Some(staged::purse()));
        let order = exchange.next_candidate(Now::default()).unwrap().unwrap().hold.unwrap();
        let (hold, amount) = (HoldId(1), NanoUsd(1));
        let grant = Grant { hold, amount, output_cap, remaining: None };
        let attempt = exchange.attempt(Some(grant)).unwrap();
        (order, serde_json::from_slice(&attempt.segments.concat()).unwrap())
    }

    #[test]
    fn the_worst_case_covers_what_is_put_before_the_users_words() {
        let body =
            r#"{"model":"prompted","max_tokens":9,"messages":[{"role":"user","content":"a"}]}"#;
        let (plain, sent) = asked_for(body, false, 9);
        assert_eq!(sent["messages"][0]["content"], "a");
        let (order, sent) = asked_for(body, true, 9);
        assert_eq!(sent["messages"][0]["content"], "/think a");
        // Written to the cache at 1.25 USD per million.
        assert_eq!(order.fixed.0 - plain.fixed.0, 7 * 1_250_000);
    }

    #[test]
    fn no_model_is_told_to_think_where_that_is_switched_off() {
        let body =
            r#"{"model":"prompted","max_tokens":9,"messages":[{"role":"user","content":"a"}]}"#;
        let (plain, _) = asked_for(body, false, 9);
        let said = |current: &Arc<Current>| {
            let (order, sent) = asked_of(current, body, true, 9);
            let is_told = sent["messages"][0]["content"] == "/think a";
            // What is held is as much as for what is sent.
            assert_eq!(order.fixed != plain.fixed, is_told);
            is_told
        };
        let by_file = configured("mutators: {thinking: false}\n");
        assert!(!said(&by_file));
        by_file.controls.set_thinking(true);
        assert!(said(&by_file));
        let as_ever = configured("");
        assert!(said(&as_ever));
        as_ever.controls.set_thinking(false);
        assert!(!said(&as_ever));
    }

    #[test]
    fn the_budget_of_messages_lies_within_the_cap_that_was_granted() {
        let body =
            r#"{"model":"claude","max_tokens":8000,"messages":[{"role":"user","content":"a"}]}"#;
        let (_, sent) = asked_for(body, true, 3_000);
        assert_eq!(
            (&sent["max_tokens"], &sent["thinking"]["budget_tokens"]),
            (&3_000.into(), &1_500.into())
        );
        let (_, sent) = asked_for(body, true, 2_000);
        assert_eq!((&sent["max_tokens"], &sent["thinking"]), (&2_000.into(), &Value::Null));
        let (_, sent) = asked_for(body, false, 3_000);
        assert_eq!(sent["thinking"], Value::Null);
    }

    #[test]
    fn what_was_saved_costs_what_the_input_cost_on_average() {
        let rate = PicoUsdPerToken;
        let base = Rates {
            input: rate(3_000_000),
            output: rate(15_000_000),
            cache_read: rate(300_000),
            cache_write: rate(3_750_000),
            cache_write_1h: rate(6_000_000),
        };
        let price = Price { base, ..Price::default() };
        let usage = Usage { input: 100, output: 999, ..Usage::default() };
        assert_eq!(saved(&usage, &price, 1_000), NanoUsd(3_000_000));
        let cached = Usage { input: 100, cache_read: 900, ..Usage::default() };
        assert_eq!(saved(&cached, &price, 1_000), NanoUsd(570_000));
        assert_eq!(saved(&Usage::default(), &price, 1_000), NanoUsd(0));
    }
}
