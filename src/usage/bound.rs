//! The worst case of one attempt: what it can cost at most, known before it is sent.
//!
//! The formula is that of `budgets.md` 2.4: most input times the dearest rate that any of it can
//! meet, and most output times the dearest rate of output. What the body weighs is read by
//! `wire::weigh`; whether a budget has room is asked of the ledger. No estimates here: what has no
//! bound is refused by name.
//!
//! What it rests on: tokenizers work on bytes, perhaps after NFKC; a provider writes tools and
//! messages into its template with no more tokens than they have bytes in the body, plus a constant;
//! caps cover all billed output (`Model::proved`); no answer costs more runs than its tools may make.

use crate::base::money::{NanoUsd, PicoUsd, PicoUsdPerToken};
use crate::base::surface::Surface;
use crate::usage::price::{Price, Rates};
use crate::usage::served::{Served, ServedTier};
use crate::wire::part::Reason;
use crate::wire::weigh::{ServerTools, Tier, Weight};

/// Tokens for the template of a conversation and the provider's own words about tools.
const TEMPLATE_TOKENS: u64 = 1_024;
/// Tokens around one message, where the text itself has been counted exactly.
const MESSAGE_TOKENS: u64 = 64;
/// Tokens of a tool that the provider describes itself; the longest one known has about 1,200.
const BUILTIN_TOOL_TOKENS: u64 = 2_048;
/// The dearest service tier, in percent of the ordinary price.
const DEAREST_TIER_PERCENT: u64 = 250;
/// The fast way of Messages.
const FAST_PERCENT: u64 = 200;
/// Pico-dollars in one nano-dollar.
const PICO_PER_NANO: i128 = 1_000;
/// A named region.
const REGION_PERCENT: u64 = 110;

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What its body weighs.
    pub weight: &'a Weight,
    /// Where it goes: embeddings have no output, counting tokens is free.
    pub surface: Surface,
    /// Most output of one answer that the client wants, in tokens.
    pub output_cap: Option<u64>,
    /// Tokens of its text by a counter that is exact for this model; takes the place of the bound
    /// in bytes.
    pub counted_input: Option<u64>,
    /// Factor on all rates, in percent: `rate_percent`.
    pub rate_percent: u64,
}

/// What is known of the model that may answer it.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// Its price.
    pub price: &'a Price,
    /// Most input of one run, in tokens.
    pub context_tokens: Option<u64>,
    /// Most output of one answer, in tokens.
    pub output_tokens_max: Option<u64>,
    /// Most tokens that one image becomes.
    pub image_tokens_max: u64,
    /// What one run of a provider's own tool costs beside its tokens.
    pub tool_run_fee: NanoUsd,
    /// Whether it is proved of the provider that the cap covers all billed output.
    pub proved: bool,
}

/// How far a bound can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Nothing is assumed but the price table and that the provider keeps to its documentation.
    Hard,
    /// It rests on a counter of tokens.
    Counted,
    /// It rests on something that is not proved of this provider.
    Soft,
}

impl Class {
    /// The name used in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Counted => "counted",
            Self::Soft => "soft",
        }
    }
}

/// What one attempt can cost at most, as a line over the cap of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// What it costs without any output: the input at its dearest, and fees.
    pub fixed: PicoUsd,
    /// What each token of the cap adds: all answers and all runs together.
    pub per_output_token: PicoUsd,
    /// The cap of one answer's output that was reckoned with: no more than asked for, and no more
    /// than the model gives.
    pub output_cap: u64,
    /// Input that was reckoned with, in tokens of one run.
    pub input_tokens: u64,
    /// How far it can be trusted.
    pub class: Class,
}

/// There is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbounded {
    /// The request has no end that its body names.
    #[error("the request has no bound: {}", .0.name())]
    Open(Reason),
    /// More input than the body shows, and nothing is known of the model's window.
    #[error("the input has no bound ({}), and `context_tokens` of the model is not set", .0.name())]
    Input(Reason),
    /// It goes to a path whose prices are not known.
    #[error("requests of this path have no bound")]
    Path,
    /// No cap of the output, and nothing is known of the model's own.
    #[error("the output has no bound: neither the request nor the model's configuration caps it")]
    Output,
}

impl Unbounded {
    /// What stands in the way, in one word.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Open(reason) | Self::Input(reason) => reason.name(),
            Self::Path => "path",
            Self::Output => "output",
        }
    }
}

/// The factor on all rates, in percent, that a request can meet by what it asks for. `tiers` says
/// whether the provider may take a dearer service tier than the ordinary one: it has tiers, and the
/// attempt does not pin one.
pub const fn rate_percent(weight: &Weight, tiers: bool) -> u64 {
    factor(tier_percent(weight, tiers), weight.fast, weight.region)
}

/// The factor by what an answer says of the way it was served; where it says nothing, by what was asked for.
pub fn served_percent(asked: Option<(&Weight, bool)>, served: Served) -> u64 {
    let by_wish = |(weight, tiers): (&Weight, bool)| tier_percent(weight, tiers);
    let tier = match served.tier {
        Some(ServedTier::Ordinary) => 100,
        Some(ServedTier::Dear) => DEAREST_TIER_PERCENT,
        Some(ServedTier::Unknown) | None => asked.map_or(100, by_wish),
    };
    let fast = served.fast.unwrap_or_else(|| asked.is_some_and(|(weight, _)| weight.fast));
    let region = served.region.unwrap_or_else(|| asked.is_some_and(|(weight, _)| weight.region));
    factor(tier, fast, region)
}

const fn tier_percent(weight: &Weight, tiers: bool) -> u64 {
    match weight.service_tier {
        // Without the field the settings of the project hold, which nobody can see from here.
        None | Some(Tier::Auto | Tier::Priority | Tier::Other) if tiers => DEAREST_TIER_PERCENT,
        // A discount is not a given: a flexible request may be answered at the ordinary price.
        _ => 100,
    }
}

const fn factor(tier: u64, is_fast: bool, is_regional: bool) -> u64 {
    let fast = if is_fast { FAST_PERCENT } else { 100 };
    let region = if is_regional { REGION_PERCENT } else { 100 };
    (tier * fast * region).div_ceil(100 * 100)
}

/// The worst case of one attempt.
pub fn bound(ask: &Ask<'_>, model: &Model<'_>) -> Result<Bound, Unbounded> {
    let class = ask.class(model);
    match ask.surface {
        Surface::CountTokens => return Ok(Bound::free(class)),
        Surface::Other(_) => return Err(Unbounded::Path),
        _ => {}
    }
    let runs = ask.runs()?;
    let input_tokens = ask.input_tokens(model)?;
    let output_cap = ask.output_cap(model)?;
    let answers = if ask.has_output() { ask.weight.answers.max(1) } else { 0 };
    let dearest = Dearest::new(model.price, input_tokens, ask.weight.long_cache);
    let percent = |amount: i128| div_ceil(amount.saturating_mul(ask.rate_percent.into()), 100);
    let of = |tokens: u64, rate: PicoUsdPerToken| PicoUsd::default().plus(tokens, rate).0;
    let predicted = ask.weight.predicted_bytes.saturating_mul(answers);
    let once = of(input_tokens, dearest.input).saturating_add(of(predicted, dearest.output));
    let runs_fee = i128::from(model.tool_run_fee.0).saturating_mul((runs - 1).into());
    let fees = runs_fee.saturating_add(model.price.request.0.into()).saturating_mul(PICO_PER_NANO);
    let token = of(answers, dearest.output).saturating_mul(runs.into());
    Ok(Bound {
        fixed: PicoUsd(percent(once.saturating_mul(runs.into())).saturating_add(fees)),
        per_output_token: PicoUsd(percent(token)),
        output_cap,
        input_tokens,
        class,
    })
}

impl Ask<'_> {
    const fn has_output(&self) -> bool {
        !matches!(self.surface, Surface::Embeddings)
    }

    const fn class(&self, model: &Model<'_>) -> Class {
        if !model.proved {
            Class::Soft
        } else if self.counted_input.is_some() && self.weight.unbounded.is_none() {
            Class::Counted
        } else {
            Class::Hard
        }
    }

    /// How often the model may be run: once, and once more after each run of a provider's tool.
    const fn runs(&self) -> Result<u64, Unbounded> {
        if let Some(reason) = self.weight.open {
            return Err(Unbounded::Open(reason));
        }
        match self.weight.server_tools {
            ServerTools::None => Ok(1),
            ServerTools::Limited(runs) => Ok(runs.saturating_add(1)),
            ServerTools::Unlimited => Err(Unbounded::Open(Reason::ServerTool)),
        }
    }

    /// Most input of one run.
    fn input_tokens(&self, model: &Model<'_>) -> Result<u64, Unbounded> {
        let hidden = match self.weight.unbounded {
            // What a provider's tool brings in is not in the body.
            None if self.weight.server_tools != ServerTools::None => Some(Reason::ServerTool),
            hidden => hidden,
        };
        match (hidden, model.context_tokens) {
            (Some(_), Some(context)) => Ok(context),
            (Some(reason), None) => Err(Unbounded::Input(reason)),
            (None, context) => Ok(self.seen_tokens(model).min(context.unwrap_or(u64::MAX))),
        }
    }

    /// Most tokens that what the body shows can become.
    fn seen_tokens(&self, model: &Model<'_>) -> u64 {
        let weight = self.weight;
        let text = match self.counted_input {
            // Many short messages may be worse by their frames than by their bytes.
            Some(tokens) => tokens
                .saturating_add(weight.messages.saturating_mul(MESSAGE_TOKENS))
                .min(weight.text_bytes),
            None => weight.text_bytes,
        };
        text.saturating_add(TEMPLATE_TOKENS)
            .saturating_add(weight.builtin_tools.saturating_mul(BUILTIN_TOOL_TOKENS))
            .saturating_add(model.image_tokens_max.saturating_mul(weight.images.into()))
    }

    /// Most output of one answer.
    fn output_cap(&self, model: &Model<'_>) -> Result<u64, Unbounded> {
        if !self.has_output() {
            return Ok(0);
        }
        let most = model.output_tokens_max.or(model.context_tokens);
        match (self.output_cap, most) {
            (Some(cap), Some(most)) => Ok(cap.min(most)),
            (cap, most) => cap.or(most).ok_or(Unbounded::Output),
        }
    }
}

impl Bound {
    /// The bound of what costs nothing.
    const fn free(class: Class) -> Self {
        Self {
            fixed: PicoUsd(0),
            per_output_token: PicoUsd(0),
            output_cap: 0,
            input_tokens: 0,
            class,
        }
    }

    /// What is to be held for an output of at most `cap` tokens per answer.
    pub fn at(&self, cap: u64) -> NanoUsd {
        let output = self.per_output_token.0.saturating_mul(cap.into());
        PicoUsd(self.fixed.0.saturating_add(output)).round_up()
    }

    /// What is to be held for the whole of it.
    pub fn total(&self) -> NanoUsd {
        self.at(self.output_cap)
    }
}

/// The highest rates that any token of a request can meet.
struct Dearest {
    input: PicoUsdPerToken,
    output: PicoUsdPerToken,
}

impl Dearest {
    fn new(price: &Price, input_tokens: u64, long_cache: bool) -> Self {
        let base = Self::of(&price.base, long_cache);
        match &price.long_context {
            Some(step) if input_tokens > step.above_input_tokens => {
                let long = Self::of(&step.rates, long_cache);
                Self { input: base.input.max(long.input), output: base.output.max(long.output) }
            }
            _ => base,
        }
    }

    fn of(rates: &Rates, long_cache: bool) -> Self {
        let short = rates.input.max(rates.cache_read).max(rates.cache_write);
        let input = if long_cache { short.max(rates.cache_write_1h) } else { short };
        Self { input, output: rates.output }
    }
}

fn div_ceil(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::surface::Dialect;
    use crate::usage::count::Usage;
    use crate::usage::price::LongContext;
    use proptest::prelude::*;

    const fn pico(value: i64) -> PicoUsdPerToken {
        PicoUsdPerToken(value)
    }

    /// Sonnet: 3 in, 15 out, 0.30 cache reads, 3.75 and 6 cache writes.
    fn price() -> Price {
        let base = Rates {
            input: pico(3_000_000),
            output: pico(15_000_000),
            cache_read: pico(300_000),
            cache_write: pico(3_750_000),
            cache_write_1h: pico(6_000_000),
        };
        Price { base, ..Price::default() }
    }

    fn model(price: &Price) -> Model<'_> {
        Model {
            price,
            context_tokens: Some(200_000),
            output_tokens_max: Some(64_000),
            image_tokens_max: 1_600,
            tool_run_fee: NanoUsd(10_000_000),
            proved: true,
        }
    }

    fn weight(text_bytes: u64) -> Weight {
        Weight { text_bytes, answers: 1, ..Weight::default() }
    }

    fn ask(weight: &Weight) -> Ask<'_> {
        Ask {
            weight,
            surface: Surface::Messages,
            output_cap: Some(1_000),
            counted_input: None,
            rate_percent: 100,
        }
    }

    fn total(weight: &Weight) -> Result<NanoUsd, Unbounded> {
        let price = price();
        bound(&ask(weight), &model(&price)).map(|bound| bound.total())
    }

    #[test]
    fn the_worst_case_of_a_plain_request() {
        let price = price();
        let weight = weight(8_976);
        let found = bound(&ask(&weight), &model(&price)).unwrap();
        // 10,000 tokens written to the cache, 1,000 tokens of output.
        assert_eq!(found.fixed, PicoUsd(37_500_000_000));
        assert_eq!(found.total(), NanoUsd(52_500_000));
        assert_eq!((found.input_tokens, found.output_cap), (10_000, 1_000));
        assert_eq!(found.class, Class::Hard);
    }

    #[test]
    fn each_part_of_a_request_adds_its_own() {
        let plain = weight(8_976);
        let held = |change: fn(&mut Weight)| {
            let mut weight = plain.clone();
            change(&mut weight);
            total(&weight).map(|held| held.0)
        };
        assert_eq!(held(|weight| weight.long_cache = true), Ok(75_000_000));
        assert_eq!(held(|weight| weight.images = 2), Ok(64_500_000));
        assert_eq!(held(|weight| weight.builtin_tools = 1), Ok(60_180_000));
        assert_eq!(held(|weight| weight.answers = 3), Ok(82_500_000));
        assert_eq!(held(|weight| weight.predicted_bytes = 100), Ok(54_000_000));
        assert_eq!(held(|weight| weight.unbounded = Some(Reason::Document)), Ok(765_000_000));
        // Three runs over the whole window, and the fees of two tool calls.
        let limited = held(|weight| weight.server_tools = ServerTools::Limited(2));
        assert_eq!(limited, Ok(3 * 765_000_000 + 20_000_000));
        let unlimited = held(|weight| weight.server_tools = ServerTools::Unlimited);
        assert_eq!(unlimited, Err(Unbounded::Open(Reason::ServerTool)));
        let open = held(|weight| weight.open = Some(Reason::Background));
        assert_eq!(open, Err(Unbounded::Open(Reason::Background)));
        // However heavy: no more than the window takes.
        assert_eq!(held(|weight| weight.text_bytes = u64::MAX), Ok(765_000_000));
    }

    #[test]
    fn caps_come_from_the_client_then_from_the_model() {
        let price = price();
        let weight = weight(0);
        let cap = |client, model_max, context_tokens| {
            let model = Model { output_tokens_max: model_max, context_tokens, ..model(&price) };
            let ask = Ask { output_cap: client, ..ask(&weight) };
            bound(&ask, &model).map(|bound| bound.output_cap)
        };
        assert_eq!(cap(Some(5), Some(9), Some(99)), Ok(5));
        assert_eq!(cap(Some(50), Some(9), Some(99)), Ok(9));
        assert_eq!(cap(None, Some(9), Some(99)), Ok(9));
        assert_eq!(cap(None, None, Some(99)), Ok(99));
        assert_eq!(cap(Some(50), None, None), Ok(50));
        assert_eq!(cap(None, None, None), Err(Unbounded::Output));
    }

    #[test]
    fn the_fee_of_a_request_is_held_once_and_at_no_higher_rate() {
        let fee = Price { request: NanoUsd(5_000_001), ..price() };
        for rate_percent in [100, 250] {
            let weight =
                Weight { server_tools: ServerTools::Limited(2), answers: 3, ..weight(900) };
            let of = |price| {
                let ask = Ask { rate_percent, ..ask(&weight) };
                bound(&ask, &model(price)).unwrap()
            };
            let (with, without) = (of(&fee), of(&price()));
            assert_eq!(with.total().0 - without.total().0, 5_000_001);
            assert_eq!(with.per_output_token, without.per_output_token);
        }
    }

    #[test]
    fn without_a_window_hidden_input_has_no_bound() {
        let price = price();
        let model = Model { context_tokens: None, ..model(&price) };
        let hidden = Weight { unbounded: Some(Reason::Conversation), ..weight(9) };
        let found = bound(&ask(&hidden), &model);
        assert_eq!(found, Err(Unbounded::Input(Reason::Conversation)));
        assert_eq!(found.unwrap_err().why(), "conversation");
        assert!(bound(&ask(&weight(9)), &model).is_ok());
    }

    #[test]
    fn surfaces_differ() {
        let price = price();
        let weight = weight(8_976);
        let on =
            |surface| bound(&Ask { surface, output_cap: None, ..ask(&weight) }, &model(&price));
        assert_eq!(on(Surface::CountTokens).unwrap().total(), NanoUsd::ZERO);
        assert_eq!(on(Surface::Embeddings).unwrap().total(), NanoUsd(37_500_000));
        assert_eq!(on(Surface::Other(Dialect::OpenAi)), Err(Unbounded::Path));
    }

    #[test]
    fn a_count_takes_the_place_of_bytes() {
        let price = price();
        let weight = Weight { messages: 2, ..weight(90_000) };
        let counted = Ask { counted_input: Some(10_000), ..ask(&weight) };
        let found = bound(&counted, &model(&price)).unwrap();
        assert_eq!((found.input_tokens, found.class), (10_000 + 128 + 1_024, Class::Counted));
        let model = Model { proved: false, ..model(&price) };
        assert_eq!(bound(&counted, &model).unwrap().class, Class::Soft);
    }

    #[test]
    fn dear_ways_are_dear() {
        let plain = weight(8_976);
        assert_eq!((rate_percent(&plain, false), rate_percent(&plain, true)), (100, 250));
        let default = Weight { service_tier: Some(Tier::Default), ..plain.clone() };
        assert_eq!(rate_percent(&default, true), 100);
        let all = Weight { fast: true, region: true, ..plain.clone() };
        assert_eq!((rate_percent(&all, false), rate_percent(&all, true)), (220, 550));
        let told = |tier, fast| Served { tier, fast, region: Some(false) };
        let asked = Some((&all, true));
        assert_eq!(served_percent(asked, Served::default()), 550);
        assert_eq!(served_percent(asked, told(Some(ServedTier::Ordinary), Some(false))), 100);
        assert_eq!(served_percent(None, told(Some(ServedTier::Dear), Some(true))), 500);
        assert_eq!(served_percent(None, told(Some(ServedTier::Unknown), None)), 100);
        let price = price();
        let ask = Ask { rate_percent: 220, ..ask(&plain) };
        assert_eq!(bound(&ask, &model(&price)).unwrap().total(), NanoUsd(115_500_000));
    }

    prop_compose! {
        fn rates()(rates in prop::array::uniform5(0..2_000_000_000_i64)) -> Rates {
            let [input, output, cache_read, cache_write, cache_write_1h] = rates.map(pico);
            Rates { input, output, cache_read, cache_write, cache_write_1h }
        }
    }

    prop_compose! {
        fn prices()(
            base in rates(),
            step in prop::option::of((rates(), 0..300_000_u64)),
            fee in prop_oneof![Just(0), 0..1_000_000_000_i64],
        ) -> Price {
            let long_context = step
                .map(|(rates, above_input_tokens)| LongContext { above_input_tokens, rates });
            Price { base, long_context, request: NanoUsd(fee), search: None }
        }
    }

    /// What a provider may report for a request of at most so much.
    fn usage(input: u64, output: u64, split: [u64; 5], long_cache: bool) -> Usage {
        // Cut at three places into the four kinds; `split` is in thousandths.
        let mut cuts = [split[0], split[1], split[2], 1_000].map(|cut| input * cut / 1_000);
        cuts.sort_unstable();
        let [a, b, c, d] = cuts;
        let scale = |part: u64| part * split[3] / 1_000;
        let (short, long) = if long_cache { (c - b, d - c) } else { (d - b, 0) };
        Usage {
            input: scale(a),
            cache_read: scale(b - a),
            cache_write: scale(short),
            cache_write_1h: scale(long),
            output: output * split[4] / 1_000,
            ..Usage::default()
        }
    }

    prop_compose! {
        fn weights()(
            (text_bytes, images, builtin_tools) in (0..500_000_u64, 0..5_u32, 0..3_u64),
            (answers, long_cache, hidden) in (1..5_u64, any::<bool>(), any::<bool>()),
        ) -> Weight {
            let unbounded = hidden.then_some(Reason::Document);
            Weight { builtin_tools, images, answers, unbounded, long_cache, ..weight(text_bytes) }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn no_usage_within_the_request_costs_more_than_its_bound(
            price in prices(),
            weight in weights(),
            (context_tokens, output_max, cap) in (1..400_000_u64, 1..99_000_u64, prop::option::of(0..99_000_u64)),
            split in prop::array::uniform5(0..=1_000_u64),
            rate_percent in 100..600_u64,
        ) {
            let model = Model {
                context_tokens: Some(context_tokens),
                output_tokens_max: Some(output_max),
                ..model(&price)
            };
            let ask = Ask { output_cap: cap, rate_percent, ..ask(&weight) };
            let found = bound(&ask, &model).unwrap();
            let images = u64::from(weight.images) * model.image_tokens_max;
            let seen = weight.text_bytes + 1_024 + 2_048 * weight.builtin_tools + images;
            let most = if weight.unbounded.is_some() { context_tokens } else { seen.min(context_tokens) };
            prop_assert_eq!(found.input_tokens, most);
            let output = found.output_cap * weight.answers;
            prop_assert!(found.output_cap <= cap.unwrap_or(u64::MAX).min(output_max));
            let usage = usage(most, output, split, weight.long_cache);
            let fee = i128::from(price.request.0) * 1_000 * 100;
            let exact = price.exact(&usage).0 * i128::from(rate_percent) + fee;
            let held = found.fixed.0 + i128::from(found.output_cap) * found.per_output_token.0;
            prop_assert!(held * 100 >= exact, "{:?}", usage);
            prop_assert!(found.total().0 >= price.cost(&usage).0);
            // Never above the whole window at the dearest rates.
            let full = Weight { unbounded: Some(Reason::Document), ..weight.clone() };
            let full = bound(&Ask { weight: &full, output_cap: None, ..ask }, &model).unwrap();
            prop_assert!(found.total() <= full.total());
        }

        #[test]
        fn no_number_overflows(bytes in any::<u64>(), rate in 0..=i64::MAX, answers in any::<u64>()) {
            let price = Price { base: Rates { input: pico(rate), output: pico(rate), ..Rates::default() }, ..Price::default() };
            let model = Model { context_tokens: None, output_tokens_max: None, image_tokens_max: u64::MAX, ..model(&price) };
            let weight = Weight {
                answers, images: u32::MAX, builtin_tools: bytes, predicted_bytes: bytes,
                ..weight(bytes)
            };
            let ask = Ask { output_cap: Some(u64::MAX), rate_percent: u64::from(u32::MAX), ..ask(&weight) };
            let found = bound(&ask, &model).unwrap();
            prop_assert!(found.total() >= NanoUsd::ZERO);
        }
    }
}
