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
use crate::exchange::asked::Asked;
use crate::upstream::provider::Provider;
use crate::wire::json;
use crate::wire::splice::{self, Edit};
use crate::wire::syntax::Span;

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
}

/// Builds the attempt at `provider`, for the first of `models` where there is one. The others are
/// those that the same provider would be asked for next.
///
/// # Errors
/// `internal` when the edits do not fit the body, which would be our own mistake.
pub fn attempt(
    asked: &Asked,
    provider: &Arc<Provider>,
    models: &[&Model],
    client_credential: bool,
) -> Result<Attempt, Fault> {
    let asks_usage = asks_usage(asked, provider);
    let mut edits = edits(asked, models.first().copied(), asks_usage);
    if provider.abilities.native_fallback {
        edits.extend(native_fallback(asked, models));
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
    })
}

fn asks_usage(asked: &Asked, provider: &Provider) -> bool {
    matches!(asked.surface, Surface::Chat | Surface::Completions)
        && asked.wish.stream
        && !asked.wish.usage
        && provider.abilities.ask_usage
}

fn edits(asked: &Asked, model: Option<&Model>, asks_usage: bool) -> Vec<Edit> {
    let Some(envelope) = &asked.envelope else { return Vec::new() };
    let mut edits = Vec::with_capacity(2);
    if let Some(model) = model.filter(|model| !model.is_wildcard())
        && asked.model() != Some(&*model.upstream_id)
    {
        edits.push(splice::set_model(envelope, &model.model_json));
    }
    if asks_usage {
        edits.extend(splice::ask_for_usage(envelope, &asked.body));
    }
    edits
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
    use crate::exchange::asked::{self, Wish};
    use crate::identity::principal::Presented;
    use http::HeaderMap;
    use serde_json::{Value, json};

    const CONFIG: &str = "
providers:
  router: {dialect: openai, base_url: 'https://openrouter.ai/api/v1', api_key: k0123456789abcdef, native_fallback: true}
  plain: {dialect: openai, base_url: 'http://127.0.0.1:9', api_key: p0123456789abcdef}
models:
  - {id: one, upstream_id: vendor/one, provider: router, price: {input: 1, output: 2}}
  - {id: two, upstream_id: vendor/two, provider: router, price: {input: 1, output: 2}}
  - {id: same, provider: plain, price: {input: 1, output: 2}}
";

    fn snapshot() -> Snapshot {
        config::load(CONFIG, "test", &|_| None).unwrap()
    }

    fn asked(snapshot: &Snapshot, body: &str) -> Asked {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let envelope = asked::scan(Surface::Chat, &HeaderMap::new(), &body).unwrap();
        Asked {
            surface: Surface::Chat,
            principal: snapshot.gate.identify(&Presented::default()).unwrap(),
            target: "/v1/chat/completions?a=b".to_owned(),
            wish: Wish::of(envelope.as_deref(), &body),
            envelope,
            body,
            route: None,
            session: None,
        }
    }

    fn models<'a>(catalog: &'a Catalog, ids: &[&str]) -> Vec<&'a Model> {
        let by_id = |id: &&str| catalog.models().iter().find(|model| *model.id == **id).unwrap();
        ids.iter().map(by_id).collect()
    }

    fn sent(body: &str, ids: &[&str]) -> (Attempt, Value) {
        let snapshot = snapshot();
        let models = models(&snapshot.catalog, ids);
        let attempt =
            attempt(&asked(&snapshot, body), &models[0].provider, &models, false).unwrap();
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
    fn an_unchanged_body_is_the_very_buffer() {
        let snapshot = snapshot();
        let asked = asked(&snapshot, r#"{"model":"same","messages":[]}"#);
        let models = models(&snapshot.catalog, &["same"]);
        let attempt = attempt(&asked, &models[0].provider, &models, false).unwrap();
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
