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
    /// Of a whole request, in USD; nothing is said of it if it is 0.
    pub request: NanoUsd,
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
    /// The ceilings by name, in the order in which they are written: USD per million tokens, and USD per
    /// request, both in 1e-9 of that.
    fn named(&self) -> impl Iterator<Item = (&'static str, i128)> {
        let rate = |price: PicoUsdPerToken| i128::from(price.0) * 1_000;
        let fee = Some(i128::from(self.request.0)).filter(|fee| *fee > 0);
        let rates = [("prompt", rate(self.prompt)), ("completion", rate(self.completion))];
        rates.into_iter().chain(fee.map(|fee| ("request", fee)))
    }

    fn object(&self) -> Vec<u8> {
        let members: Vec<String> =
            self.named().map(|(name, most)| format!("\"{name}\":{}", decimal(most))).collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    }

    /// Puts our ceilings into one `max_price` wherever they are lower.
    fn lower(&self, body: &[u8], object: Span) -> Vec<Edit> {
        if !is_object(body, object) {
            return vec![Edit::replace(object, self.object().into())];
        }
        let mut edits = Vec::new();
        for (name, most) in self.named() {
            let ours = decimal(most);
            let theirs = named(body, object, name);
            if theirs.is_empty() {
                edits.push(Edit::insert(object.start, name, ours.as_bytes()));
            }
            // A key may stand there twice; then it does not matter which one is read.
            let higher = theirs.iter().filter(|member| !is_at_most(member.value.of(body), most));
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

/// An amount in 1e-9 as a plain decimal without trailing zeros.
fn decimal(nano: i128) -> String {
    let (whole, part) = (nano / 1_000_000_000, nano % 1_000_000_000);
    if part == 0 {
        return whole.to_string();
    }
    format!("{whole}.{part:09}").trim_end_matches('0').to_owned()
}

/// Whether an amount that a client wrote, as a number or as a string, is at most `most`, in 1e-9. What
/// cannot be read is not.
fn is_at_most(token: &[u8], most: i128) -> bool {
    let text = token.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(token);
    let theirs = std::str::from_utf8(text).ok().map(NanoUsd::parse_usd_rounding_up);
    let Some(Ok(theirs)) = theirs else { return false };
    // Rounded up, so that nothing above passes.
    i128::from(theirs.0) <= most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{envelope, splice};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn applied(body: &str, edits: impl Fn(&Envelope, &[u8]) -> Vec<Edit>) -> String {
        let body = Bytes::from(body.to_owned());
        let envelope = envelope::scan(&body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
        let out = splice::splice(&body, edits(&envelope, &body)).unwrap().contiguous();
        assert!(envelope::scan(&out).is_ok(), "{out:?}");
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn capped(body: &str, field: CapField) -> String {
        applied(body, |envelope, _| set_output_cap(envelope, field, 77))
    }

    fn priced(body: &str, prompt: i64, completion: i64) -> String {
        let max = MaxPrice {
            prompt: PicoUsdPerToken(prompt),
            completion: PicoUsdPerToken(completion),
            ..MaxPrice::default()
        };
        applied(body, |envelope, body| set_max_price(envelope, body, &max))
    }

    #[test]
    fn exactly_one_cap_is_left() {
        let field = CapField::MaxTokens;
        assert_eq!(capped("{}", field), r#"{"max_tokens":77}"#);
        assert_eq!(capped(r#"{ "max_tokens" : 5 }"#, field), r#"{ "max_tokens" : 77 }"#);
        assert_eq!(capped(r#"{"max_tokens":null,"a":1}"#, field), r#"{"max_tokens":77,"a":1}"#);
        assert_eq!(
            capped(r#"{"max_completion_tokens":5,"max_output_tokens":6}"#, field),
            r#"{"max_tokens":77}"#
        );
        assert_eq!(
            capped(r#"{"a":1,"max_tokens_to_sample":5,"max_tokens":6}"#, field),
            r#"{"a":1,"max_tokens":77}"#
        );
        assert_eq!(
            capped(r#"{"max\u005ftokens":6}"#, CapField::MaxOutputTokens),
            r#"{"max_output_tokens":77}"#
        );
        for field in CapField::ALL {
            assert_eq!(CapField::from_name(field.name()), Some(field));
        }
    }

    #[test]
    fn the_service_tier_is_pinned() {
        let pinned = |body: &str| {
            let quoted = Bytes::from_static(b"\"default\"");
            applied(body, |envelope, _| vec![set_service_tier(envelope, &quoted)])
        };
        assert_eq!(pinned(r#"{"service_tier":"auto"}"#), r#"{"service_tier":"default"}"#);
        assert_eq!(pinned("{}"), r#"{"service_tier":"default"}"#);
    }

    #[test]
    fn prices_are_written_as_dollars_per_million() {
        for (price, text) in
            [(3_000_000, "3"), (150_000, "0.15"), (1, "0.000001"), (0, "0"), (12_500_000, "12.5")]
        {
            assert_eq!(decimal(price * 1_000), text);
            let read = PicoUsdPerToken::parse_usd_per_million(text).unwrap();
            assert_eq!(i128::from(read.0), price);
        }
        assert_eq!(decimal(i128::from(i64::MAX) * 1_000), "9223372036854.775807");
        assert_eq!((decimal(1), decimal(10_000_000)), ("0.000000001".into(), "0.01".into()));
    }

    #[test]
    fn the_lower_ceiling_holds() {
        let ours = r#"{"max_price":{"prompt":3,"completion":15}}"#;
        for (before, after) in [
            ("{}", format!(r#"{{"provider":{ours}}}"#)),
            (r#"{"provider":null}"#, format!(r#"{{"provider":{ours}}}"#)),
            (r#"{"provider":{}}"#, format!(r#"{{"provider":{ours}}}"#)),
            (
                r#"{"provider":{"order":["a"]}}"#,
                r#"{"provider":{"max_price":{"prompt":3,"completion":15},"order":["a"]}}"#.into(),
            ),
            (r#"{"provider":{"max_price":7}}"#, format!(r#"{{"provider":{ours}}}"#)),
            (
                r#"{"provider":{"max_price":{"prompt":3.0000001,"completion":"14.99"}}}"#,
                r#"{"provider":{"max_price":{"prompt":3,"completion":"14.99"}}}"#.into(),
            ),
            (
                r#"{"provider":{"max_price":{"prompt":0.0000001,"image":5}}}"#,
                r#"{"provider":{"max_price":{"completion":15,"prompt":0.0000001,"image":5}}}"#
                    .into(),
            ),
            (
                r#"{"provider":{"max_price":{"prompt":-1,"prompt":9,"completion":15}}}"#,
                r#"{"provider":{"max_price":{"prompt":3,"prompt":3,"completion":15}}}"#.into(),
            ),
        ] {
            assert_eq!(priced(before, 3_000_000, 15_000_000), after);
        }
    }

    fn space() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["", "", " ", "\n\t"])
    }

    fn price() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["1", "3", "3.5", "\"2\"", "\"4\"", "null", "1e1", "{}"])
            .prop_map(String::from)
    }

    /// A key as a string, its first letter escaped or not.
    fn key(name: &str, escaped: bool) -> String {
        let first = name.chars().next().map_or(0, u32::from);
        if escaped { format!("\"\\u{first:04x}{}\"", &name[1..]) } else { format!("\"{name}\"") }
    }

    fn object(members: Vec<(String, String)>, gap: &'static str) -> String {
        let members: Vec<_> = members
            .into_iter()
            .map(|(key, value)| format!("{gap}{key}{gap}:{gap}{value}{gap}"))
            .collect();
        format!("{{{}}}", members.join(","))
    }

    prop_compose! {
        fn max_price()(
            prompt in prop::option::of(price()),
            completion in prop::option::of(price()),
            request in prop::option::of(price()),
            escaped in any::<bool>(),
            gap in space(),
        ) -> String {
            let members = [("prompt", prompt), ("completion", completion), ("request", request), ("image", Some("1".into()))];
            let members = members.into_iter().filter_map(|(name, value)| Some((key(name, escaped), value?)));
            object(members.collect(), gap)
        }
    }

    prop_compose! {
        fn provider()(price in prop::option::of(max_price()), escaped in any::<bool>(), gap in space()) -> String {
            let mut members = vec![(key("order", escaped), "[\"a\"]".to_owned())];
            members.extend(price.map(|price| (key("max_price", escaped), price)));
            object(members, gap)
        }
    }

    prop_compose! {
        /// A body with any of the caps and providers, in any order.
        fn bodies()(
            members in prop::collection::vec(prop::option::of((0..9_999u64, any::<bool>())), 4),
            provider in prop::option::of(prop_oneof![Just("null".to_owned()), provider()]),
            others in prop::collection::btree_map("[a-f]_[a-f]", Just("[1, {}]".to_owned()), 0..4),
            escaped in any::<bool>(),
        )(
            members in Just({
                let caps = Slot::CAPS.into_iter().zip(members);
                let mut all: Vec<_> = caps
                    .filter_map(|(slot, cap)| Some((key(slot.name(), cap?.1), cap?.0.to_string())))
                    .collect();
                all.extend(provider.map(|provider| (key("provider", escaped), provider)));
                all.extend(others.into_iter().map(|(name, value)| (key(&name, escaped), value)));
                all
            }).prop_shuffle(),
            gap in space(),
        ) -> String {
            object(members, gap)
        }
    }

    /// What a client's ceiling is after ours was set, in a tree.
    fn lowered(theirs: Option<&Value>, ours: f64) -> bool {
        let theirs = theirs.and_then(|v| v.as_f64().or_else(|| v.as_str()?.parse().ok()));
        theirs.is_none_or(|theirs| theirs > ours)
    }

    proptest! {
        #[test]
        fn caps_and_prices_become_what_a_tree_says(body in bodies(), which in 0..3usize) {
            let field = CapField::ALL[which];
            let max = MaxPrice {
                prompt: PicoUsdPerToken(3_000_000),
                completion: PicoUsdPerToken(2_500_000),
                request: NanoUsd(10_000_000),
            };
            let mut tree: Value = serde_json::from_str(&body).unwrap();
            let object = tree.as_object_mut().unwrap();
            for slot in Slot::CAPS {
                object.remove(slot.name());
            }
            object.insert(field.name().into(), json!(77));
            let provider = object.entry("provider").or_insert(Value::Null);
            if provider.is_null() {
                *provider = json!({});
            }
            let prices = provider.as_object_mut().unwrap().entry("max_price").or_insert(json!({}));
            for (name, ours, value) in [("prompt", 3.0, json!(3)), ("completion", 2.5, json!(2.5)), ("request", 0.01, json!(0.01))] {
                if lowered(prices.get(name), ours) {
                    prices[name] = value;
                }
            }
            let out = applied(&body, |envelope, body| {
                let mut edits = set_output_cap(envelope, field, 77);
                edits.extend(set_max_price(envelope, body, &max));
                edits
            });
            prop_assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), tree, "{}", out);
        }
    }
}
