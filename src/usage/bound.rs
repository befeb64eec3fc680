//! The worst case of one attempt: what it can cost at most, known before it is sent.
//!
//! The formula is that of `budgets.md` 2.4: most input times the dearest rate that any of it can
//! meet, and most output times the dearest rate of output. What the body weighs is read by
//! `wire::weigh`; whether a budget has room is asked of the ledger. No estimates here: what has no
//! bound is refused by name.

use crate::base::money::{NanoUsd, PicoUsd, PicoUsdPerToken};
use crate::base::surface::Surface;
use crate::usage::price::{Price, Rates};
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
    let tier = match weight.service_tier {
        // Without the field the settings of the project hold, which nobody can see from here.
        None | Some(Tier::Auto | Tier::Priority | Tier::Other) if tiers => DEAREST_TIER_PERCENT,
        // A discount is not a given: a flexible request may be answered at the ordinary price.
        _ => 100,
    };
    let fast = if weight.fast { FAST_PERCENT } else { 100 };
    let region = if weight.region { REGION_PERCENT } else { 100 };
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
    let fees =
        i128::from(model.tool_run_fee.0).saturating_mul(1_000).saturating_mul((runs - 1).into());
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
        } else if self.counted_input.is_some() {
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
            Some(tokens) => tokens.saturating_add(weight.messages.saturating_mul(MESSAGE_TOKENS)),
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

    /// The largest cap of the output for which `room` suffices, at most the one that was reckoned
    /// with; `None` if there is no room for the input.
    pub fn cap_within(&self, room: NanoUsd) -> Option<u64> {
        let left = i128::from(room.0) * 1_000 - self.fixed.0;
        if left < 0 {
            return None;
        }
        match left.checked_div(self.per_output_token.0) {
            Some(cap) => Some(u64::try_from(cap).unwrap_or(u64::MAX).min(self.output_cap)),
            None => Some(self.output_cap),
        }
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
