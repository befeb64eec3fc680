//! Edits that put a ceiling on what an attempt can cost: the cap of its output, the price that a
//! broker may pay, the service tier.
//!
//! How high the ceilings are is decided by `usage::bound` and the budget; how edits are applied, by
//! `splice`.

use bytes::Bytes;

use crate::base::money::{NanoUsd, PicoUsdPerToken};
use crate::wire::envelope::Envelope;
use crate::wire::json;
use crate::wire::slot::Slot;
use crate::wire::splice::Edit;
use crate::wire::syntax::{Member, Span};

/// The one field by which a provider lets its output be capped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CapField {
    /// `max_tokens`: Messages, and everything that copies the old Chat API.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`: `OpenAI` Chat.
    MaxCompletionTokens,
    /// `max_output_tokens`: Responses.
    MaxOutputTokens,
}

impl CapField {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MaxTokens, Self::MaxCompletionTokens, Self::MaxOutputTokens];

    /// The field in a body.
    pub const fn slot(self) -> Slot {
        match self {
            Self::MaxTokens => Slot::MaxTokens,
            Self::MaxCompletionTokens => Slot::MaxCompletionTokens,
            Self::MaxOutputTokens => Slot::MaxOutputTokens,
        }
    }

    /// The name used in bodies and in configuration.
    pub const fn name(self) -> &'static str {
        self.slot().name()
    }

    /// The field of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// Most that a broker may pay for one token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxPrice {
    /// Of input.
    pub prompt: PicoUsdPerToken,
    /// Of output.
    pub completion: PicoUsdPerToken,
}

/// Caps the output at `tokens` by that field, and takes every other cap out, so that no field can
/// take effect but the one that was reckoned with.
pub fn set_output_cap(envelope: &Envelope, field: CapField, tokens: u64) -> Vec<Edit> {
    let value = Bytes::from(tokens.to_string());
    let others = Slot::CAPS.into_iter().filter(|slot| *slot != field.slot());
    let mut edits: Vec<_> =
        others.filter_map(|slot| envelope.slot(slot)).map(Edit::remove).collect();
    edits.push(match envelope.slot(field.slot()) {
        Some(member) => Edit::replace(member.value, value),
        None => Edit::insert(envelope.open_brace(), field.name(), &value),
    });
    edits
}

/// Makes the body ask for that service tier; `quoted` is its name as a JSON string.
pub fn set_service_tier(envelope: &Envelope, quoted: &Bytes) -> Edit {
    match envelope.slot(Slot::ServiceTier) {
        Some(member) => Edit::replace(member.value, quoted.clone()),
        None => Edit::insert(envelope.open_brace(), Slot::ServiceTier.name(), quoted),
    }
}

/// Makes `OpenRouter` refuse providers that are dearer than `max`. Ceilings of the client that are
/// lower stay, and so does everything else that it says about providers.
pub fn set_max_price(envelope: &Envelope, body: &[u8], max: &MaxPrice) -> Vec<Edit> {
    const MAX_PRICE: &str = "max_price";
    let fresh = [&b"{\"max_price\":"[..], &max.object(), b"}"].concat();
    let Some(provider) = envelope.slot(Slot::Provider) else {
        return vec![Edit::insert(envelope.open_brace(), Slot::Provider.name(), &fresh)];
    };
    if !is_object(body, provider.value) {
        return vec![Edit::replace(provider.value, fresh.into())];
    }
    let prices = named(body, provider.value, MAX_PRICE);
    if prices.is_empty() {
        return vec![Edit::insert(provider.value.start, MAX_PRICE, &max.object())];
    }
    prices.iter().flat_map(|price| max.lower(body, price.value)).collect()
}

impl MaxPrice {
    /// The ceilings by name, in the order in which they are written.
    const fn named(&self) -> [(&'static str, PicoUsdPerToken); 2] {
        [("prompt", self.prompt), ("completion", self.completion)]
    }

    fn object(&self) -> Vec<u8> {
        let [prompt, completion] =
            self.named().map(|(name, price)| format!("\"{name}\":{}", usd_per_million(price)));
        format!("{{{prompt},{completion}}}").into_bytes()
    }

    /// Puts our ceilings into one `max_price` wherever they are lower.
    fn lower(&self, body: &[u8], object: Span) -> Vec<Edit> {
        if !is_object(body, object) {
            return vec![Edit::replace(object, self.object().into())];
        }
        let mut edits = Vec::new();
        for (name, price) in self.named() {
            let ours = usd_per_million(price);
            let theirs = named(body, object, name);
            if theirs.is_empty() {
                edits.push(Edit::insert(object.start, name, ours.as_bytes()));
            }
            // A key may stand there twice; then it does not matter which one is read.
            let higher = theirs.iter().filter(|member| !is_at_most(member.value.of(body), price));
            edits.extend(higher.map(|member| Edit::replace(member.value, ours.clone().into())));
        }
        edits
    }
}

fn is_object(body: &[u8], value: Span) -> bool {
    value.of(body).starts_with(b"{")
}

fn named(body: &[u8], object: Span, name: &str) -> Vec<Member> {
    json::members(body, object).filter(|member| json::key_is(member.key.of(body), name)).collect()
}

/// A price as dollars per million tokens: 1e-12 USD per token are 1e-6 of that.
fn usd_per_million(price: PicoUsdPerToken) -> String {
    // The same digits as an amount of a thousand times as many nano-dollars, without overflow.
    let (whole, part) = (price.0 / 1_000_000, price.0 % 1_000_000);
    if part == 0 {
        return whole.to_string();
    }
    format!("{whole}.{part:06}").trim_end_matches('0').to_owned()
}

/// Whether a price that a client wrote, as a number or as a string, is at most `price`. What cannot
/// be read is not.
fn is_at_most(token: &[u8], price: PicoUsdPerToken) -> bool {
    let text = token.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(token);
    let theirs = std::str::from_utf8(text).ok().map(NanoUsd::parse_usd_rounding_up);
    let Some(Ok(theirs)) = theirs else { return false };
    // Both in 1e-9 dollars per million tokens; rounded up, so that nothing above passes.
    i128::from(theirs.0) <= i128::from(price.0) * 1_000
}
