//! One attempt's request: the held body with this attempt's model in place, and who carries it where.
//!
//! Hot path: `benches/exchange.rs`. Only the changed places are new bytes; everything else of the body
//! is shared by all attempts and reaches the provider byte for byte.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::base::fault::{Code, Fault};
use crate::base::limit::JOIN_BYTES_MAX;
use crate::base::surface::Surface;
use crate::config::catalog::Model;
use crate::dialect::canonical::marks;
use crate::exchange::asked::{Asked, Form};
use crate::exchange::mutation;
use crate::upstream::provider::{OutputCapField, Provider};
use crate::usage::price::Price;
use crate::wire::ceiling::{self, CapField, MaxPrice};
use crate::wire::json;
use crate::wire::splice::{self, Edit};
use crate::wire::syntax::Span;
use crate::wire::weigh::{Tier, Weight};

/// Everything that one upstream request needs.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Where it goes.
    pub provider: Arc<Provider>,
    /// Path and query.
    pub target: String,
    /// The body in pieces, none of them empty.
    pub segments: Vec<Bytes>,
    /// The body's length in bytes.
    pub length: usize,
    /// The credential that goes with it: ours, or the client's own.
    pub credential: Option<(HeaderName, HeaderValue)>,
    /// Whether that credential, or the lack of any, is our doing.
    pub own_credential: bool,
    /// Whether we ask for a usage chunk that the client does not want to see.
    pub asks_usage: bool,
    /// Whether the model is told to think.
    pub thinks: bool,
    /// Set if the body is a translation: the client's headers speak of another dialect then.
    pub foreign: Option<Foreign>,
}

/// What the head of a translated request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The version of the API to ask for (`anthropic-version`).
    pub version: Option<&'static str>,
}

/// Who carries an attempt, and how far it may go.
#[derive(Clone, Debug)]
pub struct Carrier<'a> {
    /// Where it goes.
    pub provider: Arc<Provider>,
    /// Whether the client's own credential goes with it.
    pub with_theirs: bool,
    /// What was granted for it; `None` where nothing is held.
    pub within: Option<Within<'a>>,
    /// Whether the model is to be told to think, if it can.
    pub thinks: bool,
}

/// What an attempt must not exceed.
#[derive(Clone, Copy, Debug)]
pub struct Within<'a> {
    /// Tokens of each answer.
    pub output_cap: u64,
    /// The price that the hold was made for.
    pub price: Option<&'a Price>,
    /// What the body weighs.
    pub weight: Option<&'a Weight>,
}

/// Builds the attempt at the carrier's provider, for the first of `models` where there is one. The others
/// are those that the same provider would be asked for next.
///
/// # Errors
/// `internal` when the edits do not fit the body, which would be our own mistake.
pub fn attempt(asked: &Asked, models: &[&Model], carrier: &Carrier<'_>) -> Result<Attempt, Fault> {
    let provider = &carrier.provider;
    let client_credential = carrier.with_theirs;
    let asks_usage = asks_usage(asked, provider);
    let mut edits = edits(asked, models.first().copied(), asks_usage);
    if let Some(within) = carrier.within {
        edits.extend(caps(asked, provider, within));
    }
    let thoughts = match models.first().filter(|_| carrier.thinks) {
        Some(model) => mutation::think(asked, model, carrier.within.map(|it| it.output_cap)),
        None => Vec::new(),
    };
    let thinks = !thoughts.is_empty();
    edits.extend(thoughts);
    if provider.abilities.native_fallback {
        let mut models = models.to_vec();
        if carrier.within.is_some() {
            // What is held for the first one must do for whoever answers.
            let first = models.first().copied();
            models.retain(|model| first.is_some_and(|first| is_covered(model, first)));
        }
        edits.extend(native_fallback(asked, &models));
    }
    let (segments, length) = body(asked, edits)?;
    let credential = match (&provider.auth, &asked.principal.client_credential) {
        (Some(ours), _) => Some(ours.clone()),
        (None, Some(theirs)) if client_credential => {
            Some((HeaderName::from_static(theirs.header.name()), theirs.value.clone()))
        }
        (None, _) => None,
    };
    let own_credential = provider.has_credential() || credential.is_none();
    Ok(Attempt {
        provider: Arc::clone(provider),
        target: provider.target(&asked.target),
        segments,
        length,
        credential,
        own_credential,
        asks_usage,
        thinks,
        foreign: None,
    })
}

fn asks_usage(asked: &Asked, provider: &Provider) -> bool {
    matches!(asked.surface, Surface::Chat | Surface::Completions)
        && asked.wish.stream
        && !asked.wish.usage
        && provider.abilities.ask_usage
}

fn edits(asked: &Asked, model: Option<&Model>, asks_usage: bool) -> Vec<Edit> {
    let is_renamed =
        |model: &Model| !model.is_wildcard() && asked.model() != Some(&*model.upstream_id);
    let model = model.filter(|model| is_renamed(model));
    let Some(envelope) = &asked.envelope else {
        let Form::Model(span) = asked.form else { return Vec::new() };
        let name = |model: &Model| Bytes::copy_from_slice(model.upstream_id.as_bytes());
        return model.map(|model| Edit::replace(span, name(model))).into_iter().collect();
    };
    let mut edits = Vec::with_capacity(2);
    if let Some(model) = model {
        edits.push(splice::set_model(envelope, &model.model_json));
    }
    if asks_usage {
        edits.extend(splice::ask_for_usage(envelope, &asked.body));
    }
    // What an answer that was translated has put into the conversation, and only we know.
    edits.extend(match asked.surface {
        Surface::Messages => marks::messages_cuts(&asked.body),
        Surface::Responses => marks::responses_cuts(&asked.body),
        _ => Vec::new(),
    });
    edits
}

/// What keeps an attempt within what is held for it: the one cap that its provider reads, the ordinary
/// service tier, and for `OpenRouter` the price that was reckoned with.
fn caps(asked: &Asked, provider: &Provider, within: Within<'_>) -> Vec<Edit> {
    let Some(envelope) = asked.envelope.as_deref() else { return Vec::new() };
    let mut edits = Vec::new();
    if let Some(field) = cap_field(asked.surface, provider) {
        edits.extend(ceiling::set_output_cap(envelope, field, within.output_cap));
    }
    if let Some(tier) = within.weight.and_then(|weight| ordinary_tier(provider, weight)) {
        let quoted = Bytes::from(format!("\"{tier}\""));
        edits.push(ceiling::set_service_tier(envelope, &quoted));
    }
    if let Some(price) = within.price.filter(|_| provider.is_openrouter()) {
        let dearest = price.long_context.as_ref().map_or(&price.base, |step| &step.rates);
        let max = MaxPrice {
            prompt: price.base.input.max(dearest.input),
            completion: price.base.output.max(dearest.output),
            request: price.request,
        };
        edits.extend(ceiling::set_max_price(envelope, &asked.body, &max));
    }
    edits
}

/// Whether what is held for `first` covers an answer of `model` as well.
fn is_covered(model: &Model, first: &Model) -> bool {
    let within_window = match (model.context_tokens, first.context_tokens) {
        (_, None) => true,
        (Some(window), Some(held)) => window <= held,
        (None, Some(_)) => false,
    };
    std::ptr::eq(model, first)
        || model.priced && model.price.is_at_most(&first.price) && within_window
}

/// The field by which that provider lets an answer be capped; `None` where there is no output to cap.
fn cap_field(surface: Surface, provider: &Provider) -> Option<CapField> {
    match surface {
        Surface::Chat => Some(match provider.abilities.output_cap_field {
            OutputCapField::MaxTokens => CapField::MaxTokens,
            OutputCapField::MaxCompletionTokens => CapField::MaxCompletionTokens,
        }),
        Surface::Completions | Surface::Messages => Some(CapField::MaxTokens),
        Surface::Responses => Some(CapField::MaxOutputTokens),
        Surface::Embeddings | Surface::CountTokens | Surface::Other(_) => None,
    }
}

/// The service tier to ask for, where the provider has dearer ones and the client leaves the choice to it:
/// what the choice would cost could not be known before.
pub fn ordinary_tier(provider: &Provider, weight: &Weight) -> Option<&'static str> {
    let open = matches!(weight.service_tier, None | Some(Tier::Auto));
    provider.ordinary_tier().filter(|_| open)
}

/// The fallback that `OpenRouter` does itself (S0-04): the models in order, unless the client sends a
/// list of its own.
fn native_fallback(asked: &Asked, models: &[&Model]) -> Vec<Edit> {
    let Some(envelope) = asked.envelope.as_deref().filter(|_| models.len() > 1) else {
        return Vec::new();
    };
    let whole = Span::whole(&asked.body);
    if models.iter().any(|model| model.is_wildcard()) {
        return Vec::new();
    }
    let has = |name| json::find(&asked.body, whole, name).is_some();
    if has("models") || has("route") {
        return Vec::new();
    }
    let names: Vec<&[u8]> = models.iter().map(|model| &model.model_json[..]).collect();
    let list = [b"[", names.join(&b","[..]).as_slice(), b"]"].concat();
    let open = envelope.open_brace();
    vec![Edit::insert(open, "models", &list), Edit::insert(open, "route", b"\"fallback\"")]
}

fn body(asked: &Asked, edits: Vec<Edit>) -> Result<(Vec<Bytes>, usize), Fault> {
    if asked.body.is_empty() {
        return Ok((Vec::new(), 0));
    }
    if edits.is_empty() {
        return Ok((vec![asked.body.clone()], asked.body.len()));
    }
    let spliced = splice::splice(&asked.body, edits)
        .map_err(|error| Fault::new(Code::Internal, error.to_string()))?;
    Ok((spliced.pieces(JOIN_BYTES_MAX), spliced.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::surface::Surface;
    use crate::config::{self, catalog::Catalog, snapshot::Snapshot};
    use crate::exchange::staged;
    use serde_json::{Value, json};

    const CONFIG: &str = "
providers:
  router: {dialect: openai, base_url: 'https://openrouter.ai/api/v1', api_key: k0123456789abcdef, native_fallback: true}
  plain: {dialect: openai, base_url: 'http://127.0.0.1:9', api_key: p0123456789abcdef}
models:
  - {id: one, upstream_id: vendor/one, provider: router, price: {input: 1, output: 2}}
  - {id: two, upstream_id: vendor/two, provider: router, price: {input: 1, output: 2}}
  - {id: dear, upstream_id: vendor/dear, provider: router, price: {input: 1, output: 3}}
  - {id: same, provider: plain, price: {input: 1, output: 2}}
  - {id: thinker, provider: plain, thinking: true}
  - {id: prompted, provider: plain, thinking: true, thinking_param: prompt}
";

    fn snapshot() -> Snapshot {
        config::load(CONFIG, "test", &|_| None).unwrap()
    }

    fn asked(snapshot: &Snapshot, body: &str) -> Asked {
        let target = "/v1/chat/completions?a=b".to_owned();
        Asked { target, ..staged::asked(snapshot, Surface::Chat, body) }
    }

    fn models<'a>(catalog: &'a Catalog, ids: &[&str]) -> Vec<&'a Model> {
        let by_id = |id: &&str| catalog.models().iter().find(|model| *model.id == **id).unwrap();
        ids.iter().map(by_id).collect()
    }

    fn carrier(models: &[&Model]) -> Carrier<'static> {
        let provider = Arc::clone(&models[0].provider);
        Carrier { provider, with_theirs: false, within: None, thinks: false }
    }

    fn sent(body: &str, ids: &[&str]) -> (Attempt, Value) {
        let snapshot = snapshot();
        let models = models(&snapshot.catalog, ids);
        let attempt = attempt(&asked(&snapshot, body), &models, &carrier(&models)).unwrap();
        let whole = attempt.segments.concat();
        assert_eq!(whole.len(), attempt.length);
        (attempt, serde_json::from_slice(&whole).unwrap())
    }

    #[test]
    fn the_model_and_the_usage_are_put_in_and_nothing_else() {
        let (attempt, body) = sent(r#"{"model":"one","stream":true,"x":[1.0e5]}"#, &["one"]);
        assert_eq!(attempt.target, "/api/v1/chat/completions?a=b");
        assert!(attempt.asks_usage && attempt.own_credential);
        let usage = json!({"include_usage": true});
        assert_eq!(
            body,
            json!({"stream_options": usage, "model": "vendor/one", "stream": true, "x": [1.0e5]})
        );
    }

    #[test]
    fn under_a_hold_only_models_that_it_covers_are_named() {
        let snapshot = snapshot();
        let asked = asked(&snapshot, r#"{"model":"one"}"#);
        let sent = |ids: &[&str]| -> Value {
            let models = models(&snapshot.catalog, ids);
            let within =
                Some(Within { output_cap: 300, price: Some(&models[0].price), weight: None });
            let carrier = Carrier { within, ..carrier(&models) };
            let attempt = attempt(&asked, &models, &carrier).unwrap();
            serde_json::from_slice(&attempt.segments.concat()).unwrap()
        };
        let body = sent(&["one", "dear", "two"]);
        assert_eq!(body["models"], json!(["vendor/one", "vendor/two"]));
        assert_eq!(body["max_tokens"], 300);
        assert_eq!(body["provider"]["max_price"]["prompt"], 1.0);
        assert_eq!(sent(&["dear", "one"])["models"], json!(["vendor/dear", "vendor/one"]));
    }

    #[test]
    fn a_model_that_can_is_told_to_think() {
        let snapshot = snapshot();
        let sent = |body: &str, id: &str, thinks: bool| -> (bool, Value) {
            let models = models(&snapshot.catalog, &[id]);
            let carrier = Carrier { thinks, ..carrier(&models) };
            let attempt = attempt(&asked(&snapshot, body), &models, &carrier).unwrap();
            (attempt.thinks, serde_json::from_slice(&attempt.segments.concat()).unwrap())
        };
        let text = r#"{"model":"same","messages":[{"role":"user","content":"a"}]}"#;
        assert_eq!(sent(text, "same", true), (false, serde_json::from_str(text).unwrap()));
        let (thinks, body) = sent(text, "thinker", true);
        assert_eq!((thinks, &body["reasoning_effort"]), (true, &json!("high")));
        let (thinks, body) = sent(text, "prompted", true);
        assert_eq!((thinks, &body["messages"][0]["content"]), (true, &json!("/think a")));
        let (thinks, body) = sent(text, "thinker", false);
        assert_eq!((thinks, &body["reasoning_effort"]), (false, &Value::Null));
        assert!(!sent(r#"{"reasoning_effort":"low"}"#, "thinker", true).0);
    }

    #[test]
    fn an_unchanged_body_is_the_very_buffer() {
        let snapshot = snapshot();
        let asked = asked(&snapshot, r#"{"model":"same","messages":[]}"#);
        let models = models(&snapshot.catalog, &["same"]);
        let attempt = attempt(&asked, &models, &carrier(&models)).unwrap();
        assert_eq!(attempt.segments[0].as_ptr(), asked.body.as_ptr());
        assert!(!attempt.asks_usage);
    }

    #[test]
    fn a_provider_that_falls_back_itself_gets_the_list() {
        let (_, body) = sent(r#"{"model":"one"}"#, &["one", "two"]);
        let list = json!(["vendor/one", "vendor/two"]);
        assert_eq!(body, json!({"model": "vendor/one", "models": list, "route": "fallback"}));
        let (_, body) = sent(r#"{"model":"one","models":["mine"]}"#, &["one", "two"]);
        assert_eq!(body, json!({"model": "vendor/one", "models": ["mine"]}));
        let (_, body) = sent(r#"{"model":"one"}"#, &["one"]);
        assert_eq!(body, json!({"model": "vendor/one"}));
    }
}
