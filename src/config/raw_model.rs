//! The items of `models`, prices included.

use crate::base::limit::MODEL_NAME_BYTES_MAX;
use crate::base::money::{MoneyError, NanoUsd, PicoUsdPerToken};
use crate::config::bound;
use crate::config::catalog::{ThinkingParam, Tier, Translation, WILDCARD};
use crate::config::keys;
use crate::config::problem::{At, Place, Problems};
use crate::config::raw::check_name;
use crate::config::section::{Section, shown};
use crate::config::yaml::{Node, Text};
use crate::usage::price::{LongContext, Price, QuotedRates, Rates};
use crate::usage::vocabulary::Vocabulary;

/// What `tokenizer` may say.
const VOCABULARIES: [(&str, Option<Vocabulary>); 3] = [
    ("none", None),
    (Vocabulary::Cl100k.name(), Some(Vocabulary::Cl100k)),
    (Vocabulary::O200k.name(), Some(Vocabulary::O200k)),
];

/// `models[]`.
#[expect(clippy::struct_excessive_bools, reason = "four independent facts of one model")]
pub struct RawModel {
    /// What clients call it.
    pub id: At<Text>,
    /// The name of its provider, if given.
    pub provider: Option<At<Text>>,
    /// What the provider calls it, if otherwise.
    pub upstream_id: Option<String>,
    /// How able it is.
    pub tier: Tier,
    /// What it costs, if said.
    pub price: Option<Price>,
    /// Tokens of input and output together, if said.
    pub context_tokens: Option<u64>,
    /// Most tokens of one answer, if said.
    pub output_tokens_max: Option<u64>,
    /// Most tokens of one image, if said.
    pub image_tokens_max: Option<u64>,
    /// Takes images.
    pub vision: bool,
    /// Takes tools.
    pub tools: bool,
    /// Thinks before it answers.
    pub thinking: bool,
    /// How it is told to.
    pub thinking_param: ThinkingParam,
    /// Its vocabulary, if said: `Some(None)` = none.
    pub vocabulary: Option<Option<Vocabulary>>,
    /// What happens to fields that its provider's dialect cannot say, if said.
    pub translation: Option<Translation>,
    /// Seconds that its prompt cache lives, if said.
    pub cache_ttl_s: Option<u64>,
    /// Whether it is used.
    pub enabled: bool,
}

/// Reads one model; without an id there is none.
pub fn read(node: &Node, place: Place, problems: &Problems) -> Option<RawModel> {
    let section = Section::open(node, place, &keys::MODEL, problems);
    section.require("provider", "the name of one of `providers`");
    let price =
        section.section_if_given("price", &keys::PRICE).and_then(|price| self::price(&price));
    let tiers = [Tier::Fast, Tier::Reasoning, Tier::Oracle].map(|tier| (tier.name(), tier));
    section.require("id", "the name by which clients ask for it");
    let id = section.text("id")?;
    check_name(&id, MODEL_NAME_BYTES_MAX, problems);
    Some(RawModel {
        upstream_id: upstream_id(&section, id.value.text == WILDCARD),
        id,
        provider: section.text("provider"),
        tier: section.choice("tier", &tiers, &[]).unwrap_or_default(),
        price,
        context_tokens: section.number_if_given("context_tokens", &bound::CONTEXT_TOKENS),
        output_tokens_max: section.number_if_given("output_tokens_max", &bound::OUTPUT_TOKENS),
        image_tokens_max: section.number_if_given("image_tokens_max", &bound::IMAGE_TOKENS),
        vision: section.flag_or("vision", false),
        tools: section.flag_or("tools", true),
        thinking: section.flag_or("thinking", false),
        thinking_param: section
            .choice("thinking_param", &ThinkingParam::WORDS, &[])
            .unwrap_or_default(),
        vocabulary: section.choice("tokenizer", &VOCABULARIES, &[]),
        translation: section.choice("translation", &Translation::WORDS, &[]),
        cache_ttl_s: section.number_if_given("cache_ttl_s", &bound::CACHE_TTL_S),
        enabled: section.flag_or("enabled", true),
    })
}

fn upstream_id(section: &Section<'_>, is_wildcard: bool) -> Option<String> {
    let At { value, .. } = section.text("upstream_id")?;
    if is_wildcard {
        let message = "has no meaning for the model \"*\" (names are sent on as they came)";
        section.problem("upstream_id", message);
    } else if value.text.is_empty() || value.text.len() > MODEL_NAME_BYTES_MAX {
        let message = format!("must have 1 to {MODEL_NAME_BYTES_MAX} characters");
        section.problem("upstream_id", message);
    } else if value.text.contains(char::is_control) {
        section.problem("upstream_id", "holds control characters (remove them)");
    }
    Some(value.text)
}

fn price(section: &Section<'_>) -> Option<Price> {
    let base = rates(section);
    let long_context = section.section_if_given("long_context", &keys::LONG_CONTEXT);
    let long_context = long_context.map(|section| {
        section.require("above_tokens", &bound::ABOVE_TOKENS.to_string());
        let above = section.number_if_given("above_tokens", &bound::ABOVE_TOKENS);
        (above, rates(&section))
    });
    let long_context = match long_context {
        Some((above, rates)) => Some(LongContext { above_input_tokens: above?, rates: rates? }),
        None => None,
    };
    let request = fee(section, "request", "request").ok()?.unwrap_or_default();
    let search = fee(section, "search", "run of a tool of the provider").ok()?;
    Some(Price { base: base?, long_context, request, search })
}

/// The rates of one mapping; how gaps are filled is the price's own business.
fn rates(section: &Section<'_>) -> Option<Rates> {
    for key in ["input", "output"] {
        section.require(key, "USD per million tokens; 0 if it is free");
    }
    let given = ["input", "output", "cache_read", "cache_write", "cache_write_1h"];
    let [input, output, cache_read, cache_write, cache_write_1h] =
        given.map(|key| rate(section, key));
    let (input, output) = (input?, output?);
    Some(QuotedRates { input, output, cache_read, cache_write, cache_write_1h }.rates())
}

/// A fee beside the tokens, if there is one.
fn fee(section: &Section<'_>, key: &str, what: &str) -> Result<Option<NanoUsd>, MoneyError> {
    let Some(At { value, .. }) = section.text(key) else { return Ok(None) };
    let refuse = |error: &MoneyError| {
        let allowed = format!("(USD per {what}, at most 9 digits after the point)");
        section.problem(key, format!("{} {error} {allowed}", shown(&value)));
    };
    NanoUsd::parse_usd(&value.text).map(Some).inspect_err(refuse)
}

fn rate(section: &Section<'_>, key: &str) -> Option<PicoUsdPerToken> {
    let At { value, .. } = section.text(key)?;
    let rate = PicoUsdPerToken::parse_usd_per_million(&value.text);
    let refuse = |error| {
        let allowed = "(USD per million tokens, at most 6 digits after the point)";
        section.problem(key, format!("{} {error} {allowed}", shown(&value)));
    };
    rate.map_err(refuse).ok()
}
